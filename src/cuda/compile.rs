//! From source text to code for a GPU.
#![allow(unsafe_code)] // calls NVRTC

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::ptr::{null, null_mut};

use super::error::CompileError;
use super::nvrtc::{Code, Nvrtc, Program, SUCCESS};
use super::report::{self, Function, Resources};
use super::target::Target;
use super::{Error, Result};

/// NVRTC's code for builtins that it did not find, or that are of another version.
const BUILTINS_FAILED: Code = 7;

/// A program. Errors name it and its headers as they are named here.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Names and texts for `#include "name"`. There are no others, those of the toolkit included.
    pub headers: &'a [(&'a str, &'a str)],
}

/// What to compile a program to, and which kernels of it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What to make.
    pub target: Target,
    /// The kernels, as C++ names them: `kernel<float, 4>`.
    pub kernels: &'a [&'a str],
    /// Macros and their values.
    pub defines: &'a [(&'a str, &'a str)],
    /// Further options of NVRTC.
    pub options: &'a [&'a str],
}

impl Request<'_> {
    /// No kernels by expression, no macros, no further options.
    pub const fn new(target: Target) -> Self {
        Request { target, kernels: &[], defines: &[], options: &[] }
    }
}

/// Code, as the driver loads it.
#[derive(Clone, PartialEq, Eq)]
pub enum Image {
    /// Machine code.
    Cubin(Vec<u8>),
    /// Text that the driver compiles further.
    Ptx(String),
}

impl Image {
    /// Its bytes.
    pub fn size(&self) -> usize {
        match self {
            Image::Cubin(code) => code.len(),
            Image::Ptx(text) => text.len(),
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Image::Cubin(code) => write!(f, "Cubin({} bytes)", code.len()),
            Image::Ptx(text) => write!(f, "Ptx({} bytes)", text.len()),
        }
    }
}

/// A compiled program.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The code.
    pub image: Image,
    /// The text that the machine code was made from, for tools.
    pub ptx: String,
    /// The kernels in the order that they were asked for.
    pub kernels: Vec<Kernel>,
    /// Functions of the machine code that were not inlined. What they spill is not in a kernel's
    /// resources.
    pub functions: Vec<Function>,
    /// All that NVRTC said.
    pub log: String,
}

/// A kernel of a compiled program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What was asked for.
    pub expression: String,
    /// Its name in the code.
    pub name: String,
    /// What it needs; `None` of PTX, which only the driver makes into machine code.
    pub resources: Option<Resources>,
}

/// Compiles a program. May be called from many threads.
///
/// # Errors
/// [`Error::Compile`] with the log if the source is refused, [`Error::ZeroByte`] for a text that
/// is no C string, [`Error::Call`] where NVRTC fails otherwise.
pub fn compile(nvrtc: &Nvrtc, source: Source<'_>, request: Request<'_>) -> Result<Compiled> {
    let run = Run { nvrtc, source, request, program: create(nvrtc, source)? };
    let expressions = strings("name expression", request.kernels.iter().copied())?;
    for expression in &expressions {
        // SAFETY: a live program and a C string, of which NVRTC keeps a copy.
        let code = unsafe { (nvrtc.api.add_name)(run.program, expression.as_ptr()) };
        run.check("nvrtcAddNameExpression", code)?;
    }
    let mut options = vec![
        format!("--gpu-architecture={}", request.target),
        "--std=c++17".into(),
        "-default-device".into(), // functions without an annotation are for the device
        "--fmad=false".into(),    // roundings are those of the source, the same in every variant
    ];
    if let Target::Cubin(_) = request.target {
        options.push("--ptxas-options=-v".into()); // the report of resources
    }
    options.extend(request.defines.iter().map(|(name, value)| format!("-D{name}={value}")));
    options.extend(request.options.iter().map(|&option| option.to_owned()));
    let options = strings("option", options.iter().map(String::as_str))?;
    let pointers = pointers(&options);
    // SAFETY: a live program, and as many C strings as said.
    let code =
        unsafe { (nvrtc.api.compile)(run.program, pointers.len() as c_int, pointers.as_ptr()) };
    let log = run.text("nvrtcGetProgramLog", nvrtc.api.log_size, nvrtc.api.log)?;
    if code != SUCCESS {
        return Err(run.refused(code, log));
    }
    let ptx = run.text("nvrtcGetPTX", nvrtc.api.ptx_size, nvrtc.api.ptx)?;
    let image = match request.target {
        Target::Cubin(_) => {
            Image::Cubin(run.bytes("nvrtcGetCUBIN", nvrtc.api.cubin_size, nvrtc.api.cubin)?)
        }
        Target::Ptx(_) => Image::Ptx(ptx.clone()),
    };
    let (reports, functions): (Vec<_>, Vec<_>) =
        report::functions(&log).into_iter().partition(|function| function.kernel);
    let kernel = |(&expression, c): (&&str, &CString)| {
        let name = run.lowered_name(c)?;
        let report = reports.iter().find(|function| function.name == name);
        let resources = report.map(|function| function.resources);
        Ok(Kernel { expression: expression.to_owned(), name, resources })
    };
    let kernels = request.kernels.iter().zip(&expressions).map(kernel).collect::<Result<_>>()?;
    Ok(Compiled { image, ptx, kernels, functions, log })
}

/// A program of NVRTC while it is worked on.
struct Run<'a> {
    nvrtc: &'a Nvrtc,
    source: Source<'a>,
    request: Request<'a>,
    program: Program,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // SAFETY: a live program, not used again.
        unsafe { (self.nvrtc.api.destroy)(&mut self.program) };
    }
}

type SizeOf = unsafe extern "C" fn(Program, *mut usize) -> Code;
type Get = unsafe extern "C" fn(Program, *mut c_char) -> Code;

impl Run<'_> {
    fn check(&self, call: &'static str, code: Code) -> Result<()> {
        check(self.nvrtc, call, code)
    }

    /// One of the results that NVRTC gives by a size and a copy.
    fn bytes(&self, call: &'static str, size_of: SizeOf, get: Get) -> Result<Vec<u8>> {
        let mut size = 0;
        // SAFETY: a live program; writes a size.
        self.check(call, unsafe { size_of(self.program, &mut size) })?;
        let mut bytes = vec![0u8; size];
        // SAFETY: a live program; writes so many bytes as it said.
        self.check(call, unsafe { get(self.program, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }

    /// The same for a C string.
    fn text(&self, call: &'static str, size_of: SizeOf, get: Get) -> Result<String> {
        let mut bytes = self.bytes(call, size_of, get)?;
        bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn lowered_name(&self, expression: &CStr) -> Result<String> {
        let mut name = null();
        // SAFETY: a compiled program and an expression that was added to it.
        let code =
            unsafe { (self.nvrtc.api.lowered_name)(self.program, expression.as_ptr(), &mut name) };
        self.check("nvrtcGetLoweredName", code)?;
        // SAFETY: NVRTC gave a C string that lives as long as the program.
        Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    }

    fn refused(&self, code: Code, log: String) -> Error {
        let Run { nvrtc, source, request, .. } = self;
        let builtins = (code == BUILTINS_FAILED).then(|| {
            format!(
                "libnvrtc-builtins.so.{} must lie beside the library; `pip install \
                 nvidia-cuda-nvrtc` puts both in one folder",
                nvrtc.version()
            )
        });
        Error::Compile(Box::new(CompileError {
            program: source.name.to_owned(),
            reason: nvrtc.reason(code),
            first: report::first_error(&log),
            log,
            target: request.target,
            nvrtc: nvrtc.version(),
            library: nvrtc.path().to_owned(),
            remedy: builtins,
        }))
    }
}

fn create(nvrtc: &Nvrtc, source: Source<'_>) -> Result<Program> {
    let one = |what: &str, text: &str| {
        CString::new(text).map_err(|_| Error::ZeroByte { what: what.to_owned() })
    };
    let name = one("program name", source.name)?;
    let text = one(source.name, source.text)?;
    let header_names = strings("header name", source.headers.iter().map(|&(name, _)| name))?;
    let header_texts = source.headers.iter().map(|&(name, text)| one(name, text));
    let header_texts = header_texts.collect::<Result<Vec<_>>>()?;
    let mut program = null_mut();
    // SAFETY: C strings, and arrays of as many as said. NVRTC copies all of them.
    let code = unsafe {
        (nvrtc.api.create)(
            &mut program,
            text.as_ptr(),
            name.as_ptr(),
            header_names.len() as c_int,
            pointers(&header_texts).as_ptr(),
            pointers(&header_names).as_ptr(),
        )
    };
    check(nvrtc, "nvrtcCreateProgram", code)?;
    Ok(program)
}

fn check(nvrtc: &Nvrtc, call: &'static str, code: Code) -> Result<()> {
    let failed = || Error::Call { call, reason: nvrtc.reason(code), nvrtc: nvrtc.version() };
    if code == SUCCESS { Ok(()) } else { Err(failed()) }
}

fn strings<'a>(what: &str, texts: impl Iterator<Item = &'a str>) -> Result<Vec<CString>> {
    let convert = |text| CString::new(text).map_err(|_| Error::ZeroByte { what: what.to_owned() });
    texts.map(convert).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).collect()
}
