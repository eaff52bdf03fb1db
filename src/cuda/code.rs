//! Code of kernels: compiled, or kept from an earlier compilation.

use std::ffi::CString;
use std::fmt::Write as _;
use std::io;

use super::cache::Cache;
use super::compile::{Image, Request, Source, compile};
use super::nvrtc::Nvrtc;
use super::target::{Target, Version};
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
    /// Whether code is to say of which lines of the source it is, which makes it four times larger:
    /// for profilers. Machine code then has its PTX with it, for who has no machine of this kind.
    pub lines: bool,
}

impl Supply {
    /// Finds kernels in the cache, or compiles them.
    ///
    /// `files`: those of `cuda/` that they are in. `expressions`: they, as C++ names them.
    ///
    /// # Errors
    /// Those of [`compile`](super::compile::compile).
    pub fn obtain(&self, files: &[&str], expressions: &[&str]) -> Result<Code> {
        match kept(&self.cache, self.nvrtc.version(), self.target, files, expressions) {
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
            options: if self.lines { &["--generate-line-info"] } else { &[] },
            ..Request::new(self.target)
        };
        let compiled = compile(self.nvrtc, source, request)?;
        let names = compiled.kernels.into_iter().map(|kernel| {
            CString::new(kernel.name).map_err(|_| Error::ZeroByte { what: kernel.expression })
        });
        let names = names.collect::<Result<_>>()?;
        let code = Code { image: compiled.image, names, kept: false };
        let version = self.nvrtc.version();
        self.cache.store(&key(version, self.target, &text, expressions), &to_bytes(&code));
        Ok(code)
    }
}

/// The code of kernels that this version of NVRTC has made, if a cache has it.
pub(super) fn kept(
    cache: &Cache,
    nvrtc: Version,
    target: Target,
    files: &[&str],
    expressions: &[&str],
) -> Option<Code> {
    from_bytes(&cache.load(&key(nvrtc, target, &program(files), expressions))?, target)
}

/// Keeps code where [`kept`] finds it.
pub(super) fn keep(
    cache: &Cache,
    nvrtc: Version,
    target: Target,
    (files, expressions): (&[&str], &[&str]),
    code: &Code,
) -> io::Result<()> {
    cache.try_store(&key(nvrtc, target, &program(files), expressions), &to_bytes(code))
}

/// All that the code depends on.
fn key(nvrtc: Version, target: Target, text: &str, expressions: &[&str]) -> Vec<u8> {
    let mut key = Vec::new();
    let mut add = |part: &str| {
        key.extend((part.len() as u64).to_le_bytes());
        key.extend(part.as_bytes());
    };
    add(&nvrtc.to_string());
    add(&target.to_string());
    add(text);
    expressions.iter().for_each(|expression| add(expression));
    for (name, text) in source::FILES {
        add(name);
        add(text);
    }
    key
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
