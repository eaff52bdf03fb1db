//! Code for the kernels of a plan: compiled, or found in the cache.

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
    /// Whether it came from the cache.
    pub cached: bool,
}

/// Finds the kernels in the cache, or compiles them and keeps them there.
///
/// `expressions`: the kernels, as C++ names them. `programs`: the files of `cuda/` that they are in.
///
/// # Errors
/// Those of [`compile`].
pub fn obtain(
    nvrtc: &Nvrtc,
    target: Target,
    programs: &[&str],
    expressions: &[&str],
    cache: &Cache,
) -> Result<Code> {
    let text = programs.iter().fold(String::new(), |mut text, program| {
        let _ = writeln!(text, "#include \"{program}\"");
        text
    });
    let key = key(nvrtc, target, &text, expressions);
    if let Some(code) = cache.load(&key).and_then(|bytes| from_bytes(&bytes, target)) {
        return Ok(code);
    }
    let program = Source { name: "xent.cu", text: &text, headers: source::FILES };
    let compiled =
        compile(nvrtc, program, Request { kernels: expressions, ..Request::new(target) })?;
    let names = compiled.kernels.into_iter().map(|kernel| {
        CString::new(kernel.name).map_err(|_| Error::ZeroByte { what: kernel.expression })
    });
    let code = Code { image: compiled.image, names: names.collect::<Result<_>>()?, cached: false };
    cache.store(&key, &to_bytes(&code));
    Ok(code)
}

/// All that the code depends on.
fn key(nvrtc: &Nvrtc, target: Target, text: &str, expressions: &[&str]) -> Vec<u8> {
    let mut key = Vec::new();
    let mut add = |part: &str| {
        key.extend((part.len() as u64).to_le_bytes());
        key.extend(part.as_bytes());
    };
    add(&nvrtc.version().to_string());
    add(&target.to_string());
    add(text);
    expressions.iter().for_each(|expression| add(expression));
    for (name, text) in source::FILES {
        add(name);
        add(text);
    }
    key
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
    Some(Code { image, names, cached: true })
}
