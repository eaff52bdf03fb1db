//! The CUDA driver, found and loaded at run time: one table of functions.
//!
//! cudarc finds the library, as for all who use it, and has its types. Its own calls panic where a
//! driver lacks a function, and give result codes as a Rust enum, of which a later driver may have
//! more: so functions are looked up here, and codes are integers.
#![allow(unsafe_code)] // loads a library and calls it

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdeviceptr, CUfunction, CUmodule, CUstream};

use super::selection::Gpu;
use super::target::{Capability, Version};
use super::{Error, Result};

/// The oldest CUDA that a driver must know: that of the oldest NVRTC.
pub const OLDEST: Version = super::nvrtc::OLDEST;

/// A result code: an integer, since later versions may have codes that no list here has.
pub(super) type Code = c_int;

/// The result of a call that did what it was asked to.
pub(super) const SUCCESS: Code = 0;
/// That of a call that got what it does not take, an address that it does not know say.
pub(super) const INVALID_VALUE: Code = 1;

/// Declares the table with its loader, so that no function can be forgotten.
macro_rules! api {
    ($($field:ident = $symbol:literal ($($argument:ty),*);)*) => {
        /// The functions of the driver that are used, from NVIDIA's description of its interface.
        pub(super) struct Api {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> Code,)*
        }

        impl Api {
            /// Finds all functions, or says which is missing.
            fn load(library: &libloading::Library) -> std::result::Result<Self, &'static str> {
                Ok(Api {
                    $($field: {
                        // SAFETY: the type is that of the driver's interface, in all versions.
                        let symbol = unsafe { library.get($symbol) };
                        *symbol.map_err(|_| $symbol)?
                    },)*
                })
            }
        }
    };
}

api! {
    error_name = "cuGetErrorName"(Code, *mut *const c_char);
    error_string = "cuGetErrorString"(Code, *mut *const c_char);
    init = "cuInit"(c_uint);
    version = "cuDriverGetVersion"(*mut c_int);
    device_count = "cuDeviceGetCount"(*mut c_int);
    device = "cuDeviceGet"(*mut CUdevice, c_int);
    device_name = "cuDeviceGetName"(*mut c_char, c_int, CUdevice);
    device_attribute = "cuDeviceGetAttribute"(*mut c_int, c_int, CUdevice);
    primary_retain = "cuDevicePrimaryCtxRetain"(*mut CUcontext, CUdevice);
    primary_release = "cuDevicePrimaryCtxRelease_v2"(CUdevice);
    push = "cuCtxPushCurrent_v2"(CUcontext);
    pop = "cuCtxPopCurrent_v2"(*mut CUcontext);
    module_load = "cuModuleLoadData"(*mut CUmodule, *const c_void);
    module_unload = "cuModuleUnload"(CUmodule);
    function = "cuModuleGetFunction"(*mut CUfunction, CUmodule, *const c_char);
    launch = "cuLaunchKernel"(
        CUfunction,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        CUstream,
        *mut *mut c_void,
        *mut *mut c_void
    );
    allocate = "cuMemAlloc_v2"(*mut CUdeviceptr, usize);
    free = "cuMemFree_v2"(CUdeviceptr);
    to_device = "cuMemcpyHtoDAsync_v2"(CUdeviceptr, *const c_void, usize, CUstream);
    to_host = "cuMemcpyDtoHAsync_v2"(*mut c_void, CUdeviceptr, usize, CUstream);
    on_device = "cuMemcpyDtoDAsync_v2"(CUdeviceptr, CUdeviceptr, usize, CUstream);
    fill = "cuMemsetD8_v2"(CUdeviceptr, c_uchar, usize);
    synchronize = "cuStreamSynchronize"(CUstream);
    synchronize_all = "cuCtxSynchronize"();
    pointer_attribute = "cuPointerGetAttribute"(*mut c_void, c_int, CUdeviceptr);
}

/// The driver, initialised. All threads share it as long as the process lives.
pub struct Driver {
    pub(super) api: Api,
    version: Version,
    process: u32,
}

/// The driver, once it has been initialised. After a failure the next call tries again.
static DRIVER: OnceLock<Driver> = OnceLock::new();

/// Held while it is initialised. Not before that is asked for: a fork may leave it locked.
static START: Mutex<()> = Mutex::new(());

/// What helps where there is no driver.
const INSTALL: &str = "install the NVIDIA driver (525 or newer), or in a container make the GPUs \
                       visible (docker run --gpus all)";
/// What helps where there is an old one.
const UPDATE: &str = "update the NVIDIA driver to 525 or newer";

/// Why the library could not be loaded.
fn absence() -> String {
    // SAFETY: its constructors run, if it is there.
    let loaded = unsafe { libloading::Library::new("libcuda.so.1") };
    let cause = loaded.err().and_then(|error| Some(std::error::Error::source(&error)?.to_string()));
    match cause.filter(|cause| !cause.contains("No such file")) {
        Some(cause) => format!("could not be loaded: {cause}"),
        None => "was not found".into(),
    }
}

/// What helps where `cuInit` fails.
fn remedy(code: Code) -> &'static str {
    match code {
        34 => {
            "the libcuda that was found is the toolkit's, for linking alone: take its folder out \
               of LD_LIBRARY_PATH"
        }
        35 | 36 | 804 => UPDATE,
        100 | 101 => {
            "plug one in, or in a container make the GPUs visible (docker run --gpus all); \
                      CUDA_VISIBLE_DEVICES may hide them"
        }
        803 => "the driver has been updated since the machine started: restart it",
        _ => {
            "run nvidia-smi, which says whether the driver works; if not, restart the machine or \
              install the NVIDIA driver (525 or newer) again"
        }
    }
}

impl Driver {
    /// Loads and initialises the driver.
    ///
    /// # Errors
    /// [`Error::NoDriver`] if there is none, it is too old, or it does not start; [`Error::Forked`]
    /// in a child of the process that initialised it.
    pub fn get() -> Result<&'static Driver> {
        let driver = match DRIVER.get() {
            Some(driver) => driver,
            None => Self::first()?,
        };
        if driver.process == std::process::id() { Ok(driver) } else { Err(Error::Forked) }
    }

    fn first() -> Result<&'static Driver> {
        let _alone = START.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = DRIVER.get() {
            return Ok(driver);
        }
        let started = Self::start()?;
        Ok(DRIVER.get_or_init(|| started))
    }

    fn start() -> Result<Driver> {
        let fail = |reason: String, remedy| Err(Error::NoDriver { reason, remedy });
        // SAFETY: the library's constructors run. Without a library, the second would panic.
        let library = unsafe {
            if !sys::is_culib_present() {
                return fail(format!("libcuda.so.1, the NVIDIA driver, {}", absence()), INSTALL);
            }
            sys::culib()
        };
        let api = match Api::load(library) {
            Ok(api) => api,
            Err(symbol) => {
                return fail(format!("libcuda.so.1, the NVIDIA driver, lacks {symbol}"), UPDATE);
            }
        };
        let process = std::process::id();
        let mut driver = Driver { api, version: Version::new(0, 0), process };
        // SAFETY: takes no flags.
        match unsafe { (driver.api.init)(0) } {
            SUCCESS => {}
            code => return fail(format!("cuInit: {}", driver.reason(code)), remedy(code)),
        }
        let mut number = 0;
        // SAFETY: writes an integer.
        match unsafe { (driver.api.version)(&mut number) } {
            SUCCESS => driver.version = Version::from_driver(number.unsigned_abs()),
            code => {
                let reason = format!("cuDriverGetVersion: {}", driver.reason(code));
                return fail(reason, remedy(code));
            }
        }
        if driver.version < OLDEST {
            let version = driver.version;
            let reason = format!("the NVIDIA driver is one of CUDA {version}; {OLDEST} is needed");
            return fail(reason, UPDATE);
        }
        Ok(driver)
    }

    /// The newest CUDA that it knows.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The number of GPUs that it shows.
    ///
    /// # Errors
    /// [`Error::Driver`] if it cannot say.
    pub fn gpus(&self) -> Result<u32> {
        let mut count = 0;
        // SAFETY: writes an integer.
        self.check("cuDeviceGetCount", unsafe { (self.api.device_count)(&mut count) })?;
        Ok(count.unsigned_abs())
    }

    /// The handle of the GPU with this number.
    pub(super) fn device(&self, ordinal: u32) -> Result<CUdevice> {
        let count = self.gpus()?;
        if ordinal >= count {
            let reason = format!("there is no such GPU: the driver shows {count}");
            let remedy = "their numbers start at 0, and CUDA_VISIBLE_DEVICES may hide some";
            return Err(Error::Target { reason, remedy: remedy.into() });
        }
        let mut device = 0;
        let number = ordinal as c_int;
        // SAFETY: writes a handle.
        self.check("cuDeviceGet", unsafe { (self.api.device)(&mut device, number) })?;
        Ok(device)
    }

    /// The name of the GPU with this number.
    ///
    /// # Errors
    /// [`Error::Driver`] if there is no such GPU.
    pub fn name(&self, ordinal: u32) -> Result<String> {
        let device = self.device(ordinal)?;
        let mut name = [0u8; 256];
        // SAFETY: writes a C string of at most so many bytes.
        let code = unsafe {
            (self.api.device_name)(name.as_mut_ptr().cast(), name.len() as c_int, device)
        };
        self.check("cuDeviceGetName", code)?;
        let text = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        Ok(text.to_string_lossy().into_owned())
    }

    /// What the choice of a kernel needs of the GPU with this number.
    ///
    /// # Errors
    /// [`Error::Driver`] if there is no such GPU.
    pub fn gpu(&self, ordinal: u32) -> Result<Gpu> {
        use sys::CUdevice_attribute as Attribute;
        let device = self.device(ordinal)?;
        let attribute = |attribute: Attribute| {
            let mut value = 0;
            // SAFETY: writes an integer.
            let code =
                unsafe { (self.api.device_attribute)(&mut value, attribute as c_int, device) };
            self.check("cuDeviceGetAttribute", code).map(|()| value.unsigned_abs())
        };
        Ok(Gpu {
            capability: Capability::new(
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        })
    }

    /// An error where a call failed.
    pub(super) fn check(&self, call: &'static str, code: Code) -> Result<()> {
        match code {
            SUCCESS => Ok(()),
            _ => Err(Error::Driver { call, code, reason: self.reason(code) }),
        }
    }

    /// The driver's words for a result code.
    fn reason(&self, code: Code) -> String {
        let text = |function: unsafe extern "C" fn(Code, *mut *const c_char) -> Code| {
            let mut text = std::ptr::null();
            // SAFETY: takes any code, and gives a text that lives as long as the library, or NULL.
            unsafe {
                function(code, &mut text);
                (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy())
            }
        };
        match (text(self.api.error_name), text(self.api.error_string)) {
            (Some(name), Some(words)) => format!("{words} ({name}, {code})"),
            _ => format!("error {code}"),
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("version", &self.version).finish_non_exhaustive()
    }
}
