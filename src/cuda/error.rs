//! What can go wrong before a kernel is compiled. Every text says what would help.

use std::fmt;
use std::path::PathBuf;

use super::target::{Target, Version};

/// A kernel that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No usable NVRTC in any of the places that are searched.
    NotFound {
        /// The places, each with what was there.
        looked: Vec<String>,
    },
    /// A library that was asked for by name cannot be used.
    Library {
        /// Its file, or what was asked for.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A library lacks a function.
    MissingSymbol {
        /// Its file.
        path: PathBuf,
        /// The function's name.
        symbol: &'static str,
    },
    /// A call failed that only fails when memory does, or by an error of this crate.
    Call {
        /// The function.
        call: &'static str,
        /// NVRTC's words.
        reason: String,
        /// NVRTC's version.
        nvrtc: Version,
    },
    /// A text has a zero byte, which no C string has.
    ZeroByte {
        /// The text's name.
        what: String,
    },
    /// The device, the driver and NVRTC do not go together.
    Target {
        /// What does not fit.
        reason: String,
        /// What would.
        remedy: String,
    },
    /// The source was refused.
    Compile(Box<CompileError>),
    /// No compiler, and prebuilt kernels that cannot take its place.
    NoKernels {
        /// Why there is no compiler.
        compiler: Box<Error>,
        /// Why the kernels cannot be used.
        prebuilt: String,
    },
    /// There is no compiler, and the prebuilt kernels do not have this one.
    NotPrebuilt {
        /// Their folder.
        folder: PathBuf,
        /// The kernel, as C++ names it.
        kernel: String,
        /// What they are made for.
        target: Target,
    },
    /// A folder of prebuilt kernels that could not be made.
    Folder {
        /// The folder, and why not.
        reason: String,
    },
    /// There is no driver, or none that works.
    NoDriver {
        /// What is missing.
        reason: String,
        /// What would help.
        remedy: &'static str,
    },
    /// A call of the driver failed.
    Driver {
        /// The function.
        call: &'static str,
        /// The driver's result code.
        code: i32,
        /// The driver's words for it.
        reason: String,
    },
    /// More rows than a launch can have.
    Grid {
        /// The rows.
        rows: i64,
    },
    /// The process is a child of the one that started the driver, which does not work here.
    Forked,
}

/// The result of this module's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// A source that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// The program's name.
    pub program: String,
    /// NVRTC's words for the failure.
    pub reason: String,
    /// Where the first error is, if the log names a place.
    pub first: Option<Location>,
    /// All that NVRTC has to say.
    pub log: String,
    /// What was to be made.
    pub target: Target,
    /// NVRTC's version.
    pub nvrtc: Version,
    /// NVRTC's file.
    pub library: PathBuf,
    /// What would help, where it is known.
    pub remedy: Option<String>,
}

/// A line of a source, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The program or header.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The compiler's message.
    pub message: String,
}

/// How to get NVRTC. The package without a suffix is that of the newest major version.
const REMEDY: &str = "Get it by `pip install nvidia-cuda-nvrtc` (nvidia-cuda-nvrtc-cu12 for a \
                      driver of CUDA 12), or with the CUDA toolkit, or set XENT_NVRTC to the \
                      library's file or folder";

/// What follows from such a code.
const CONTEXT_LOST: &str = "; context lost: a kernel of this process failed, and the GPU does nothing \
                            more for the process until it is started again";

/// Whether a driver's result code means that a kernel, anybody's in the process, has ended the
/// context: all later calls in it fail alike.
fn loses_context(code: i32) -> bool {
    // Errors of memory and links; faults of kernels; leaked tensor memory.
    matches!(code, 214 | 220 | 226 | 700 | 702 | 710 | 714..=719 | 721)
}

/// Whether a driver's result code means that it does not take code, or lacks a kernel in it.
pub(super) fn refuses_code(code: i32) -> bool {
    matches!(code, 200 | 209 | 218 | 221..=223 | 500)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound { looked } => {
                f.write_str("NVRTC, the library that compiles the CUDA kernels, was not found:")?;
                for place in looked {
                    write!(f, "\n  {place}")?;
                }
                write!(f, "\n{REMEDY}.")
            }
            Error::Library { path, reason } => {
                write!(f, "{}: not a usable NVRTC: {reason}. {REMEDY}.", path.display())
            }
            Error::MissingSymbol { path, symbol } => {
                write!(f, "{}: not a usable NVRTC: it lacks {symbol}. {REMEDY}.", path.display())
            }
            Error::Call { call, reason, nvrtc } => write!(f, "{call} of NVRTC {nvrtc}: {reason}"),
            Error::ZeroByte { what } => write!(f, "{what}: has a zero byte"),
            Error::Target { reason, remedy } => write!(f, "{reason}; {remedy}"),
            Error::Compile(error) => error.fmt(f),
            Error::NoKernels { compiler, prebuilt } => {
                write!(f, "{compiler}\nNor can prebuilt kernels be used: {prebuilt}.")
            }
            Error::NotPrebuilt { folder, kernel, target } => write!(
                f,
                "the prebuilt kernels in {} do not have {kernel} for {target}, and there is no NVRTC \
                 to compile it. {REMEDY}.",
                folder.display()
            ),
            Error::Folder { reason } => f.write_str(reason),
            Error::NoDriver { reason, remedy } => write!(f, "{reason}; {remedy}"),
            Error::Driver { call, code, reason } => {
                write!(f, "{call}: {reason}")?;
                if loses_context(*code) { f.write_str(CONTEXT_LOST) } else { Ok(()) }
            }
            Error::Grid { rows } => write!(f, "{rows} rows are more than a GPU takes at once"),
            Error::Forked => f.write_str(
                "CUDA was started before this process was forked, and does not work in the child; \
                 start it in the child, or spawn the child instead",
            ),
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.first {
            Some(Location { file, line, message }) => write!(f, "{file}({line}): {message}")?,
            None => write!(f, "{}: {}", self.program, self.reason)?,
        }
        write!(f, " [{} for {}, NVRTC {}", self.program, self.target, self.nvrtc)?;
        write!(f, " of {}]", self.library.display())?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n{remedy}")?;
        }
        match self.log.trim_end() {
            "" => Ok(()),
            log => write!(f, "\n{log}"),
        }
    }
}

impl std::error::Error for Error {}

/// The driver's result code for memory that it does not have, of the GPU or of the host.
const OUT_OF_MEMORY: i32 = 2;

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        let what = error.to_string();
        match error {
            Error::Driver { code: OUT_OF_MEMORY, .. } => crate::Error::Resource { what },
            Error::Driver { code, .. } => crate::Error::Cuda { what, code },
            Error::Grid { rows } => crate::Error::invalid("rows", rows, "fewer"),
            _ => crate::Error::Unavailable { what },
        }
    }
}

impl std::error::Error for CompileError {}
