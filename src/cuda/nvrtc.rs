//! NVRTC, found and loaded at run time: one table of functions for each library.
#![allow(unsafe_code)] // loads libraries and calls them

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::search::{Candidate, Surroundings, libraries};
use super::target::{Capability, Target, Version, choose};
use super::{Error, Result};

/// The oldest version that compiles the kernels.
pub const OLDEST: Version = Version::new(12, 0);

/// Declares the table with its loader, so that no function can be forgotten.
macro_rules! api {
    ($($field:ident = $symbol:literal ($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions of NVRTC that are used, from NVIDIA's description of its interface.
        pub(super) struct Api {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Api {
            /// Finds all functions, or says which is missing.
            fn load(library: &Library) -> std::result::Result<Self, &'static str> {
                Ok(Api {
                    $($field: {
                        // SAFETY: the type is that of NVRTC's interface, in all versions.
                        let symbol = unsafe { library.get($symbol) };
                        *symbol.map_err(|_| $symbol)?
                    },)*
                })
            }
        }
    };
}

/// NVRTC's handle of a program.
pub(super) type Program = *mut c_void;

/// NVRTC's result code: an integer, since later versions may have codes that no list here has.
pub(super) type Code = c_int;

/// The result of a call that did what it was asked to.
pub(super) const SUCCESS: Code = 0;

api! {
    error_string = "nvrtcGetErrorString"(Code) -> *const c_char;
    version = "nvrtcVersion"(*mut c_int, *mut c_int) -> Code;
    arch_count = "nvrtcGetNumSupportedArchs"(*mut c_int) -> Code;
    archs = "nvrtcGetSupportedArchs"(*mut c_int) -> Code;
    create = "nvrtcCreateProgram"(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char
    ) -> Code;
    destroy = "nvrtcDestroyProgram"(*mut Program) -> Code;
    add_name = "nvrtcAddNameExpression"(Program, *const c_char) -> Code;
    compile = "nvrtcCompileProgram"(Program, c_int, *const *const c_char) -> Code;
    lowered_name = "nvrtcGetLoweredName"(Program, *const c_char, *mut *const c_char) -> Code;
    ptx_size = "nvrtcGetPTXSize"(Program, *mut usize) -> Code;
    ptx = "nvrtcGetPTX"(Program, *mut c_char) -> Code;
    cubin_size = "nvrtcGetCUBINSize"(Program, *mut usize) -> Code;
    cubin = "nvrtcGetCUBIN"(Program, *mut c_char) -> Code;
    log_size = "nvrtcGetProgramLogSize"(Program, *mut usize) -> Code;
    log = "nvrtcGetProgramLog"(Program, *mut c_char) -> Code;
}

/// A loaded NVRTC. It stays loaded as long as the process lives, and all threads share it.
pub struct Nvrtc {
    path: PathBuf,
    version: Version,
    supported: Vec<Capability>,
    pub(super) api: Api,
}

/// The libraries that are loaded, by their file.
static LOADED: Mutex<BTreeMap<PathBuf, &'static Nvrtc>> = Mutex::new(BTreeMap::new());

impl Nvrtc {
    /// Finds NVRTC: the path in the environment variable `XENT_NVRTC` if it is set; else one that
    /// the process has loaded already, one that the dynamic loader finds, that of a toolkit
    /// (`CUDA_HOME`, `CUDA_PATH`, `/usr/local/cuda*`), or that of a Python package.
    ///
    /// # Errors
    /// [`Error::NotFound`] lists where it looked. With `XENT_NVRTC` set, the errors of
    /// [`Nvrtc::open`].
    pub fn find() -> Result<&'static Nvrtc> {
        Self::find_in(&Surroundings::current())
    }

    /// The same in other surroundings than those of the process.
    ///
    /// # Errors
    /// As [`Nvrtc::find`].
    pub fn find_in(surroundings: &Surroundings) -> Result<&'static Nvrtc> {
        Self::select(surroundings, |_| Ok(true))
    }

    /// Finds the NVRTC that suits a device and the newest CUDA that its driver knows, and what to
    /// compile for. Of several the first that makes machine code for it, else the first that makes
    /// PTX.
    ///
    /// # Errors
    /// As [`Nvrtc::find`], and [`Error::Target`] if those that are there do not suit.
    pub fn find_for(
        device: Capability,
        driver: Version,
        surroundings: &Surroundings,
    ) -> Result<(&'static Nvrtc, Target)> {
        let target = |nvrtc: &Nvrtc| choose(device, nvrtc.version, &nvrtc.supported, Some(driver));
        let is_cubin = |nvrtc: &Nvrtc| Ok(matches!(target(nvrtc)?, Target::Cubin(_)));
        let nvrtc = Self::select(surroundings, is_cubin)?;
        Ok((nvrtc, target(nvrtc)?))
    }

    /// The first library for which `suits` is true, else the first for which it is false, else
    /// the first error that it gave.
    fn select(
        surroundings: &Surroundings,
        suits: impl Fn(&Nvrtc) -> Result<bool>,
    ) -> Result<&'static Nvrtc> {
        let explicit = surroundings.variables.contains_key("XENT_NVRTC");
        let (mut second, mut refusal, mut looked) = (None, None, Vec::new());
        for place in surroundings.places() {
            let mut reasons = Vec::new();
            for candidate in &place.candidates {
                match Self::load(candidate) {
                    Ok(nvrtc) => match suits(nvrtc) {
                        Ok(true) => return Ok(nvrtc),
                        Ok(false) => second = second.or(Some(nvrtc)),
                        Err(error) => refusal = refusal.or(Some(error)),
                    },
                    Err(error) if explicit => return Err(error),
                    Err(error) => reasons.extend(why(error)),
                }
            }
            if reasons.is_empty() {
                looked.push(place.label);
            } else {
                looked.push(format!("{}: {}", place.label, reasons.join("; ")));
            }
        }
        match (second, refusal) {
            (Some(found), _) => Ok(found),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::NotFound { looked }),
        }
    }

    /// Opens the library in this file, or the newest one in this folder. Several versions can be
    /// open side by side.
    ///
    /// # Errors
    /// [`Error::Library`] if there is none, it cannot be loaded, or is older than [`OLDEST`];
    /// [`Error::MissingSymbol`] if it is another library.
    pub fn open(path: impl Into<PathBuf>) -> Result<&'static Nvrtc> {
        Self::load(&Candidate::File(path.into()))
    }

    fn load(candidate: &Candidate) -> Result<&'static Nvrtc> {
        let named = match candidate {
            Candidate::File(path) => resolve(path)?,
            Candidate::Loaded(name) | Candidate::Loader(name) => PathBuf::from(name),
        };
        // Held while loading, so that a library is loaded once however many threads want it.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nvrtc) = loaded.get(&named) {
            return Ok(nvrtc);
        }
        let only_loaded = matches!(candidate, Candidate::Loaded(_));
        let flags = if only_loaded { libc::RTLD_NOLOAD } else { 0 } | RTLD_NOW | RTLD_LOCAL;
        let failed = |reason: String| Error::Library { path: named.clone(), reason };
        // SAFETY: a library's constructors run. That is what naming a library asks for.
        let library = unsafe { Library::open(Some(named.as_os_str()), flags) }
            .map_err(|error| failed(cause(&error, &named)))?;
        let api = Api::load(&library)
            .map_err(|symbol| Error::MissingSymbol { path: named.clone(), symbol })?;
        // The file is not known of a library that the loader found.
        let path = file_of(&api).and_then(|path| path.canonicalize().ok());
        let path = path.unwrap_or_else(|| named.clone());
        if let Some(nvrtc) = loaded.get(&path) {
            return Ok(nvrtc);
        }
        let failed = |reason: String| Error::Library { path: path.clone(), reason };
        let version = version(&api).map_err(failed)?;
        if version < OLDEST {
            return Err(failed(format!("it is version {version}, but {OLDEST} is needed")));
        }
        let supported = supported(&api).map_err(failed)?;
        load_builtins(&path, version).map_err(failed)?;
        let nvrtc = &*Box::leak(Box::new(Nvrtc { path: path.clone(), version, supported, api }));
        loaded.insert(path, nvrtc);
        std::mem::forget(library); // the table points into it
        Ok(nvrtc)
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The capabilities that it makes code for, the oldest first.
    pub fn supported(&self) -> &[Capability] {
        &self.supported
    }

    /// NVRTC's words for a result code.
    pub(super) fn reason(&self, code: Code) -> String {
        reason(&self.api, code)
    }
}

impl fmt::Debug for Nvrtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nvrtc")
            .field("path", &self.path)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Why a library that is there was passed over.
fn why(error: Error) -> Option<String> {
    match error {
        // A name that the loader does not know: nothing is there.
        Error::Library { path, .. } if path.is_relative() => None,
        Error::Library { path, reason } => Some(format!("{}: {reason}", path.display())),
        Error::MissingSymbol { path, symbol } => {
            Some(format!("{}: it lacks {symbol}", path.display()))
        }
        other => Some(other.to_string()),
    }
}

/// The file that a path means, by its one true name.
fn resolve(path: &Path) -> Result<PathBuf> {
    let failed = |reason: String| Error::Library { path: path.to_owned(), reason };
    let file = if path.is_dir() {
        let mut libraries = libraries(path).into_iter();
        libraries.next().ok_or_else(|| failed("the folder holds no libnvrtc.so".into()))?
    } else {
        path.to_owned()
    };
    file.canonicalize().map_err(|error| failed(error.to_string()))
}

/// What the loader said, without the path, which it begins with: the message of the error itself
/// is the call's name.
fn cause(error: &libloading::Error, path: &Path) -> String {
    let text = std::error::Error::source(error).unwrap_or(error).to_string();
    let prefix = format!("{}: ", path.display());
    text.strip_prefix(&prefix).map_or(text.clone(), str::to_owned)
}

/// The file that the functions were loaded from.
fn file_of(api: &Api) -> Option<PathBuf> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be asked about, and zeros are a value of the struct. The name lives
    // as long as the library.
    let name = unsafe {
        if libc::dladdr(api.version as *const c_void, info.as_mut_ptr()) == 0 {
            return None;
        }
        let name = info.assume_init().dli_fname;
        if name.is_null() {
            return None;
        }
        CStr::from_ptr(name)
    };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

fn reason(api: &Api, code: Code) -> String {
    // SAFETY: takes any code, and gives a text that lives as long as the library, or NULL.
    let text = unsafe {
        let text = (api.error_string)(code);
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy()) }
    };
    match text {
        Some(text) => format!("{text} (error {code})"),
        None => format!("error {code}"),
    }
}

fn version(api: &Api) -> std::result::Result<Version, String> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two integers.
    match unsafe { (api.version)(&mut major, &mut minor) } {
        SUCCESS => Ok(Version::new(major.unsigned_abs(), minor.unsigned_abs())),
        code => Err(format!("nvrtcVersion: {}", reason(api, code))),
    }
}

fn supported(api: &Api) -> std::result::Result<Vec<Capability>, String> {
    let failed = |code| Err(format!("nvrtcGetSupportedArchs: {}", reason(api, code)));
    let mut count = 0;
    // SAFETY: writes an integer.
    let code = unsafe { (api.arch_count)(&mut count) };
    if code != SUCCESS {
        return failed(code);
    }
    let mut archs = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: writes so many integers as it said.
    let code = unsafe { (api.archs)(archs.as_mut_ptr()) };
    if code != SUCCESS {
        return failed(code);
    }
    let mut supported: Vec<_> =
        archs.into_iter().map(|arch: c_int| Capability::from_arch(arch.unsigned_abs())).collect();
    supported.sort();
    Ok(supported)
}

/// Loads the library of builtins that lies beside NVRTC, which opens it by its bare name when it
/// compiles. In the wheel of 13.0 it lacks the search path to find it there; a library of that
/// name that is already loaded is found. Where there is none, nothing could be compiled.
fn load_builtins(nvrtc: &Path, version: Version) -> std::result::Result<(), String> {
    let name = format!("libnvrtc-builtins.so.{version}");
    let open = |path: &Path| {
        // SAFETY: constructors of a library that NVRTC would load itself.
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
    };
    let library = open(&nvrtc.with_file_name(&name)).or_else(|_| open(Path::new(&name)));
    std::mem::forget(library.map_err(|_| format!("{name} does not lie beside it"))?);
    Ok(())
}
