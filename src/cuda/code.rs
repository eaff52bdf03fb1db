//! Code of kernels: compiled, or kept from an earlier compilation.

use std::ffi::CString;
use std::fmt::Write as _;

use super::cache::Cache;
use super::compile::{Image, Request, Source, compile};
use super::nvrtc::Nvrtc;
use super::target::Target;
use super::{Error, Result, source};

/// Code, and the names of its kernels in the order that they were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// As the driver loads it.
    pub image: Image,
    /// Names in the code.
    pub names: Vec<CString>,
    /// Whether it was made earlier.
    pub kept: bool,
}

/// Where the code for a GPU comes from.
#[derive(Debug)]
pub struct Supply {
    /// The compiler.
    pub nvrtc: &'static Nvrtc,
    /// What it compiles for.
    pub target: Target,
    /// What it has compiled.
    pub cache: Cache,
}

impl Supply {
    /// Finds kernels in the cache, or compiles them.
    ///
    /// `files`: those of `cuda/` that they are in. `expressions`: they, as C++ names them.
    ///
    /// # Errors
    /// Those of [`compile`](super::compile::compile).
    pub fn obtain(&self, files: &[&str], expressions: &[&str]) -> Result<Code> {
        let kept = self.cache.load(&self.key(&program(files), expressions));
        match kept.and_then(|bytes| from_bytes(&bytes, self.target)) {
            Some(code) => Ok(code),
            None => self.compile(files, expressions),
        }
    }

    /// Compiles kernels, and keeps them in the cache.
    ///
    /// # Errors
    /// Those of [`compile`](super::compile::compile).
    pub fn compile(&self, files: &[&str], expressions: &[&str]) -> Result<Code> {
        let text = program(files);
        let source = Source { name: "xent.cu", text: &text, headers: source::FILES };
        let request = Request {
            kernels: expressions,
            // For profilers; and the PTX comes along, for who has no machine of this kind.
            options: &["--generate-line-info"],
            ..Request::new(self.target)
        };
        let compiled = compile(self.nvrtc, source, request)?;
        let names = compiled.kernels.into_iter().map(|kernel| {
            CString::new(kernel.name).map_err(|_| Error::ZeroByte { what: kernel.expression })
        });
        let names = names.collect::<Result<_>>()?;
        let code = Code { image: compiled.image, names, kept: false };
        self.cache.store(&self.key(&text, expressions), &to_bytes(&code));
        Ok(code)
    }

    /// All that the code depends on.
    fn key(&self, text: &str, expressions: &[&str]) -> Vec<u8> {
        let mut key = Vec::new();
        let mut add = |part: &str| {
            key.extend((part.len() as u64).to_le_bytes());
            key.extend(part.as_bytes());
        };
        add(&self.nvrtc.version().to_string());
        add(&self.target.to_string());
        add(text);
        expressions.iter().for_each(|expression| add(expression));
        for (name, text) in source::FILES {
            add(name);
            add(text);
        }
        key
    }
}

/// A program of these files.
fn program(files: &[&str]) -> String {
    files.iter().fold(String::new(), |mut text, file| {
        let _ = writeln!(text, "#include \"{file}\"");
        text
    })
}

/// The names, each with a zero at its end; another zero; the image.
fn to_bytes(code: &Code) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        code.names.iter().flat_map(|name| name.as_bytes_with_nul()).copied().collect();
    bytes.push(0);
    match &code.image {
        Image::Cubin(code) => bytes.extend(code),
        Image::Ptx(text) => bytes.extend(text.as_bytes()),
    }
    bytes
}

fn from_bytes(mut bytes: &[u8], target: Target) -> Option<Code> {
    let mut names = Vec::new();
    loop {
        let end = bytes.iter().position(|&byte| byte == 0)?;
        let (name, rest) = bytes.split_at(end);
        bytes = &rest[1..];
        if name.is_empty() {
            break;
        }
        names.push(CString::new(name).ok()?);
    }
    let image = match target {
        Target::Cubin(_) => Image::Cubin(bytes.to_vec()),
        Target::Ptx(_) => Image::Ptx(String::from_utf8(bytes.to_vec()).ok()?),
    };
    Some(Code { image, names, kept: true })
}
