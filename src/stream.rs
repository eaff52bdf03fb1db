//! Streams of a GPU.
#![allow(unsafe_code)] // handles of others

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::null_mut;

/// The stream of a GPU that does the work of a run: a `CUstream` or `cudaStream_t` of somebody else,
/// in the GPU's primary context. The default is the null stream.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    handle: *mut c_void,
    borrow: PhantomData<&'a ()>,
}

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Stream<'_> {}
// SAFETY: as above.
unsafe impl Sync for Stream<'_> {}

impl Stream<'_> {
    /// A stream by its handle; NULL, 1 and 2 are CUDA's default, legacy and per-thread streams.
    ///
    /// # Safety
    /// The stream belongs to the primary context of the plan's GPU, and lives for `'a`.
    pub const unsafe fn from_raw(handle: *mut c_void) -> Self {
        Stream { handle, borrow: PhantomData }
    }

    /// Its handle.
    pub const fn as_raw(&self) -> *mut c_void {
        self.handle
    }
}

impl Default for Stream<'_> {
    fn default() -> Self {
        Stream { handle: null_mut(), borrow: PhantomData }
    }
}
