//! Another user of the GPU in the same process, as PyTorch is: the driver's own calls, in the primary
//! context.
#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(unsafe_code)] // calls the driver

use std::ptr::{null_mut, without_provenance_mut};

use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdeviceptr, CUstream};
use xent::{DType, Element, Stream, View, ViewMut};

use super::standin::ok;

/// A share of the primary context of a GPU, current on the thread that made it.
pub struct Primary {
    pub context: CUcontext,
    device: CUdevice,
}

impl Primary {
    pub fn enter(ordinal: i32) -> Primary {
        let (mut device, mut context) = (0, null_mut());
        // SAFETY: writes handles.
        unsafe {
            ok(sys::cuInit(0));
            ok(sys::cuDeviceGet(&mut device, ordinal));
            ok(sys::cuDevicePrimaryCtxRetain(&mut context, device));
            ok(sys::cuCtxSetCurrent(context));
        }
        Primary { context, device }
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        // SAFETY: gives back what was taken.
        unsafe {
            ok(sys::cuCtxSetCurrent(null_mut()));
            sys::cuDevicePrimaryCtxRelease_v2(self.device); // tells of a lost context
        }
    }
}

/// The current context of this thread.
pub fn current() -> CUcontext {
    let mut context = null_mut();
    // SAFETY: writes a handle.
    ok(unsafe { sys::cuCtxGetCurrent(&mut context) });
    context
}

/// Makes a context that of this thread; NULL: none is.
pub fn set_current(context: CUcontext) {
    // SAFETY: a live context, or none.
    ok(unsafe { sys::cuCtxSetCurrent(context) });
}

/// A stream in the current context.
pub struct OwnStream(pub CUstream);

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for OwnStream {}
// SAFETY: as above.
unsafe impl Sync for OwnStream {}

impl OwnStream {
    pub fn new(flags: u32) -> OwnStream {
        let mut stream = null_mut();
        // SAFETY: writes a handle.
        ok(unsafe { sys::cuStreamCreate(&mut stream, flags) });
        OwnStream(stream)
    }

    pub fn lend(&self) -> Stream<'_> {
        lend(self.0)
    }

    pub fn wait(&self) {
        // SAFETY: a live stream.
        ok(unsafe { sys::cuStreamSynchronize(self.0) });
    }
}

impl Drop for OwnStream {
    fn drop(&mut self) {
        // SAFETY: made here, not used again. It tells of a lost context.
        unsafe { sys::cuStreamDestroy_v2(self.0) };
    }
}

/// A stream of the test for runs: it lives long enough.
pub fn lend<'a>(stream: CUstream) -> Stream<'a> {
    // SAFETY: the tests keep their streams.
    unsafe { Stream::from_raw(stream.cast()) }
}

/// A graph that can be launched.
pub struct OwnGraph(sys::CUgraphExec);

/// What is put on a stream meanwhile.
pub fn capture(stream: &OwnStream, work: impl FnOnce()) -> OwnGraph {
    let (mut graph, mut executable) = (null_mut(), null_mut());
    let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_GLOBAL;
    // SAFETY: a live stream, and what comes of it.
    unsafe {
        ok(sys::cuStreamBeginCapture_v2(stream.0, mode));
        work();
        ok(sys::cuStreamEndCapture(stream.0, &mut graph));
        ok(sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0));
        ok(sys::cuGraphDestroy(graph));
    }
    OwnGraph(executable)
}

impl OwnGraph {
    pub fn launch(&self, stream: &OwnStream) {
        // SAFETY: both are live.
        ok(unsafe { sys::cuGraphLaunch(self.0, stream.0) });
    }
}

impl Drop for OwnGraph {
    fn drop(&mut self) {
        // SAFETY: made here, not used again.
        ok(unsafe { sys::cuGraphExecDestroy(self.0) });
    }
}

/// Elements in memory of a GPU, which the library knows by their address alone.
pub struct Elements<T> {
    pub address: CUdeviceptr,
    len: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Element + Copy + Default> Elements<T> {
    /// A copy in the current context.
    pub fn new(values: &[T]) -> Elements<T> {
        let mut address = 0;
        // SAFETY: writes an address, and so many bytes to it.
        unsafe { ok(sys::cuMemAlloc_v2(&mut address, size_of_val(values))) };
        let elements = Elements { address, len: values.len(), element: std::marker::PhantomData };
        elements.write(values, null_mut());
        // Streams that do not wait for the default one may read it now.
        // SAFETY: the default stream.
        ok(unsafe { sys::cuStreamSynchronize(null_mut()) });
        elements
    }

    /// Overwrites them, in the order of a stream.
    pub fn write(&self, values: &[T], stream: CUstream) {
        assert!(values.len() <= self.len);
        let bytes = size_of_val(values);
        // SAFETY: there is so much memory; the driver reads what is not page-locked at once.
        ok(unsafe {
            sys::cuMemcpyHtoDAsync_v2(self.address, values.as_ptr().cast(), bytes, stream)
        });
    }

    /// Reads them after what is on a stream.
    pub fn read(&self, stream: CUstream) -> Vec<T> {
        let mut values = vec![T::default(); self.len];
        let bytes = size_of_val(&*values);
        // SAFETY: there is so much memory.
        unsafe {
            ok(sys::cuMemcpyDtoHAsync_v2(values.as_mut_ptr().cast(), self.address, bytes, stream));
            ok(sys::cuStreamSynchronize(stream));
        }
        values
    }

    pub fn view(&self) -> View<'_> {
        let data = without_provenance_mut::<u8>(self.address as usize);
        // SAFETY: lives as long as this.
        unsafe { View::from_raw(data, self.len, T::DTYPE) }
    }

    pub fn view_mut(&mut self) -> ViewMut<'_> {
        let data = without_provenance_mut(self.address as usize);
        // SAFETY: as above, and borrowed exclusively.
        unsafe { ViewMut::from_raw(data, self.len, T::DTYPE) }
    }

    pub fn dtype(&self) -> DType {
        T::DTYPE
    }
}

impl<T> Drop for Elements<T> {
    fn drop(&mut self) {
        // SAFETY: allocated here. It tells of a lost context.
        unsafe { sys::cuMemFree_v2(self.address) };
    }
}

/// Two kernels: one that does nothing, one that traps.
const KERNELS: &std::ffi::CStr = c"\
.version 7.0
.target sm_70
.address_size 64
.visible .entry nothing() { ret; }
.visible .entry traps() { trap; }
";

/// Kernels of the other user.
pub struct OwnKernels(sys::CUmodule);

impl OwnKernels {
    pub fn new() -> OwnKernels {
        let mut module = null_mut();
        // SAFETY: writes a handle, reads PTX.
        ok(unsafe { sys::cuModuleLoadData(&mut module, KERNELS.as_ptr().cast()) });
        OwnKernels(module)
    }

    /// One of them, to be launched many times.
    pub fn get(&self, name: &std::ffi::CStr) -> sys::CUfunction {
        let mut function = null_mut();
        // SAFETY: a live module.
        ok(unsafe { sys::cuModuleGetFunction(&mut function, self.0, name.as_ptr()) });
        function
    }
}

/// Launches one thread of a kernel without parameters.
pub fn launch(kernel: sys::CUfunction, stream: CUstream) {
    let none = null_mut();
    // SAFETY: it takes nothing.
    ok(unsafe { sys::cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, stream, none, none) });
}

impl Drop for OwnKernels {
    fn drop(&mut self) {
        // SAFETY: loaded here. It tells of a lost context.
        unsafe { sys::cuModuleUnload(self.0) };
    }
}
