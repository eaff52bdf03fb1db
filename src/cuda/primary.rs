//! The primary context of a GPU, which PyTorch and the CUDA runtime use too, and what is done in it:
//! loading code, launching kernels, memory.
#![allow(unsafe_code)] // calls the driver

use std::ffi::{CStr, CString, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdeviceptr, CUfunction, CUmodule, CUstream};

use super::compile::Image;
use super::driver::{Driver, INVALID_VALUE};
use super::selection::Gpu;
use super::{Error, Result};

/// A share of a GPU's primary context.
#[derive(Debug)]
pub struct Primary {
    driver: &'static Driver,
    device: CUdevice,
    context: CUcontext,
    ordinal: u32,
    gpu: Gpu,
    process: u32,
}

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Primary {}
// SAFETY: as above; nothing here changes.
unsafe impl Sync for Primary {}

impl Primary {
    /// Takes a share of the primary context of the GPU with this number.
    ///
    /// # Errors
    /// [`Error::NoDriver`], or [`Error::Driver`] if there is no such GPU or its context could not be
    /// had.
    pub fn retain(ordinal: u32) -> Result<Arc<Self>> {
        let driver = Driver::get()?;
        let (device, gpu) = (driver.device(ordinal)?, driver.gpu(ordinal)?);
        let mut context = null_mut();
        // SAFETY: writes a handle.
        let code = unsafe { (driver.api.primary_retain)(&mut context, device) };
        driver.check("cuDevicePrimaryCtxRetain", code)?;
        let process = std::process::id();
        Ok(Arc::new(Primary { driver, device, context, ordinal, gpu, process }))
    }

    /// The number of its GPU.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Its GPU.
    pub fn gpu(&self) -> Gpu {
        self.gpu
    }

    /// The driver.
    pub fn driver(&self) -> &'static Driver {
        self.driver
    }

    /// Makes the context that of this thread, until the result is dropped: then it is what it was.
    ///
    /// # Errors
    /// [`Error::Forked`] in a child of the process that took the share: the driver does not work
    /// there. [`Error::Driver`] if the context cannot be used.
    pub fn enter(&self) -> Result<Entered<'_>> {
        if std::process::id() != self.process {
            return Err(Error::Forked);
        }
        // SAFETY: a live context.
        self.driver.check("cuCtxPushCurrent", unsafe { (self.driver.api.push)(self.context) })?;
        Ok(Entered { primary: self, thread: PhantomData })
    }

    /// The same to give something back, which is not tried again later: any call of the driver may
    /// report a failure of earlier work, so a second attempt may succeed.
    pub fn enter_to_release(&self) -> Option<Entered<'_>> {
        self.enter().or_else(|_| self.enter()).ok()
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        if std::process::id() == self.process {
            // SAFETY: gives back the share. If it fails, the driver is gone or the context lost.
            unsafe { (self.driver.api.primary_release)(self.device) };
        }
    }
}

/// A context while it is that of this thread.
#[derive(Debug)]
pub struct Entered<'p> {
    primary: &'p Primary,
    thread: PhantomData<*const ()>, // stays on its thread
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut popped = null_mut();
        // SAFETY: takes back what `enter` did.
        unsafe { (self.primary.driver.api.pop)(&mut popped) };
    }
}

impl Entered<'_> {
    /// Puts a kernel on a stream. `grid`: CTAs along x and y.
    ///
    /// # Safety
    /// `params` points to what the kernel takes, and the addresses in there are good for what the
    /// kernel does with them until the stream has run it. The stream is one of this context.
    ///
    /// # Errors
    /// [`Error::Driver`] if the driver refuses.
    pub unsafe fn launch(
        &self,
        function: Function,
        grid: [u32; 2],
        threads: u32,
        stream: CUstream,
        params: *const c_void,
    ) -> Result<()> {
        let driver = self.primary.driver;
        let mut arguments = [params.cast_mut()];
        // SAFETY: a kernel of this context with one parameter, which the driver copies.
        let code = unsafe {
            (driver.api.launch)(
                function.0,
                grid[0],
                grid[1],
                1,
                threads,
                1,
                1,
                0,
                stream,
                arguments.as_mut_ptr(),
                null_mut(),
            )
        };
        driver.check("cuLaunchKernel", code)
    }

    /// Allocates memory.
    ///
    /// # Errors
    /// [`Error::Driver`] if there is not so much.
    pub fn allocate(&self, bytes: usize) -> Result<CUdeviceptr> {
        let mut address = 0;
        // SAFETY: writes an address.
        let code = unsafe { (self.primary.driver.api.allocate)(&mut address, bytes) };
        self.primary.driver.check("cuMemAlloc", code).map(|()| address)
    }

    /// Frees memory.
    ///
    /// # Safety
    /// It came from [`allocate`](Self::allocate), and is not used any more.
    ///
    /// # Errors
    /// [`Error::Driver`] if the context is lost.
    pub unsafe fn free(&self, address: CUdeviceptr) -> Result<()> {
        // SAFETY: the caller's promise.
        let code = unsafe { (self.primary.driver.api.free)(address) };
        self.primary.driver.check("cuMemFree", code)
    }

    /// Overwrites bytes with zeros, in the order of the default stream.
    ///
    /// # Safety
    /// So much memory is at the address, and nobody else uses it.
    ///
    /// # Errors
    /// [`Error::Driver`] if the context is lost.
    pub unsafe fn clear(&self, address: CUdeviceptr, size: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        let code = unsafe { (self.primary.driver.api.fill)(address, 0, size) };
        self.primary.driver.check("cuMemsetD8", code)
    }

    /// Copies bytes to the GPU and waits until they are there.
    ///
    /// # Safety
    /// So much memory is at the address, and nobody else uses it.
    ///
    /// # Errors
    /// [`Error::Driver`] if the context is lost.
    pub unsafe fn write(&self, to: CUdeviceptr, bytes: &[u8], stream: CUstream) -> Result<()> {
        // SAFETY: the caller's promise; the bytes live until the stream has read them.
        let code = unsafe {
            (self.primary.driver.api.to_device)(to, bytes.as_ptr().cast(), bytes.len(), stream)
        };
        self.primary.driver.check("cuMemcpyHtoDAsync", code)?;
        // SAFETY: the caller's stream.
        unsafe { self.synchronize(stream) }
    }

    /// Copies bytes from the GPU, after all that is on the stream.
    ///
    /// # Safety
    /// So much memory is at the address.
    ///
    /// # Errors
    /// [`Error::Driver`] if the context is lost.
    pub unsafe fn read(&self, from: CUdeviceptr, bytes: &mut [u8], stream: CUstream) -> Result<()> {
        // SAFETY: the caller's promise; the bytes live until the stream has written them.
        let code = unsafe {
            (self.primary.driver.api.to_host)(bytes.as_mut_ptr().cast(), from, bytes.len(), stream)
        };
        self.primary.driver.check("cuMemcpyDtoHAsync", code)?;
        // SAFETY: the caller's stream.
        unsafe { self.synchronize(stream) }
    }

    /// Copies bytes on the GPU and waits until they are there.
    ///
    /// # Safety
    /// So much memory is at both addresses, and nobody else uses that which is written.
    ///
    /// # Errors
    /// [`Error::Driver`] if the context is lost.
    pub unsafe fn copy(
        &self,
        to: CUdeviceptr,
        from: CUdeviceptr,
        size: usize,
        stream: CUstream,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        let code = unsafe { (self.primary.driver.api.on_device)(to, from, size, stream) };
        self.primary.driver.check("cuMemcpyDtoDAsync", code)?;
        // SAFETY: the caller's stream.
        unsafe { self.synchronize(stream) }
    }

    /// Waits for all that the GPU does in this context.
    ///
    /// # Errors
    /// [`Error::Driver`] if the context is lost.
    pub fn synchronize_all(&self) -> Result<()> {
        // SAFETY: takes nothing.
        let code = unsafe { (self.primary.driver.api.synchronize_all)() };
        self.primary.driver.check("cuCtxSynchronize", code)
    }

    /// The number of the GPU whose memory this address is of, or of the processor's memory that it
    /// was registered with. `None` if the driver does not know it.
    ///
    /// # Errors
    /// [`Error::Driver`] if the context is lost.
    pub fn owner(&self, address: CUdeviceptr) -> Result<Option<u32>> {
        let mut ordinal: c_int = -1;
        let attribute = sys::CUpointer_attribute_enum::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL;
        // SAFETY: any address may be asked about; writes an integer.
        let code = unsafe {
            let to = (&raw mut ordinal).cast();
            (self.primary.driver.api.pointer_attribute)(to, attribute as c_int, address)
        };
        if code == INVALID_VALUE {
            return Ok(None);
        }
        self.primary.driver.check("cuPointerGetAttribute", code)?;
        Ok(u32::try_from(ordinal).ok())
    }

    /// Waits for a stream.
    ///
    /// # Safety
    /// The stream is one of this context.
    ///
    /// # Errors
    /// [`Error::Driver`] if the context is lost.
    pub unsafe fn synchronize(&self, stream: CUstream) -> Result<()> {
        // SAFETY: the caller's promise.
        let code = unsafe { (self.primary.driver.api.synchronize)(stream) };
        self.primary.driver.check("cuStreamSynchronize", code)
    }
}

/// Code that is loaded into a context.
#[derive(Debug)]
pub struct Module {
    primary: Arc<Primary>,
    module: CUmodule,
}

/// A kernel of a module, good as long as that.
#[derive(Clone, Copy, Debug)]
pub struct Function(CUfunction);

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Module {}
// SAFETY: as above; nothing here changes.
unsafe impl Sync for Module {}
// SAFETY: as above.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Module {
    /// Loads code.
    ///
    /// # Errors
    /// [`Error::ZeroByte`] for text that is no PTX; [`Error::Driver`] if the driver refuses the code.
    pub fn load(primary: &Arc<Primary>, image: &Image) -> Result<Module> {
        let text;
        let start: *const c_void = match image {
            Image::Cubin(code) => code.as_ptr().cast(),
            Image::Ptx(ptx) => {
                let zero = |_| Error::ZeroByte { what: "PTX".into() };
                text = CString::new(ptx.as_str()).map_err(zero)?;
                text.as_ptr().cast()
            }
        };
        let _entered = primary.enter()?;
        let mut module = null_mut();
        // SAFETY: machine code, which says its length, or a C string; the driver copies them.
        let code = unsafe { (primary.driver.api.module_load)(&mut module, start) };
        primary.driver.check("cuModuleLoadData", code)?;
        Ok(Module { primary: Arc::clone(primary), module })
    }

    /// The kernel with this name in the code.
    ///
    /// # Errors
    /// [`Error::Driver`] if there is none.
    pub fn function(&self, name: &CStr) -> Result<Function> {
        let mut function = null_mut();
        // SAFETY: a live module and a C string.
        let code = unsafe {
            (self.primary.driver.api.function)(&mut function, self.module, name.as_ptr())
        };
        self.primary.driver.check("cuModuleGetFunction", code).map(|()| Function(function))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // In another process, or if the context is lost, there is nothing to unload.
        if let Some(_entered) = self.primary.enter_to_release() {
            // SAFETY: a live module, not used again.
            unsafe { (self.primary.driver.api.module_unload)(self.module) };
        }
    }
}
