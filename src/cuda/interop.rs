//! cudarc's slices and streams as buffers and streams of a run.
#![allow(unsafe_code)] // views of cudarc's memory

use std::fmt;
use std::ptr::without_provenance_mut;
use std::sync::Arc;

use cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};

use crate::view::Memory;
use crate::{Element, Layout, Stream, View, ViewMut};

/// A slice of cudarc's that a run reads. While it lives the slice is borrowed; when it is dropped,
/// after the run was put on the stream, cudarc notes that the stream reads it. A run on another stream
/// is refused.
///
/// ```no_run
/// # use xent::{Args, Lent, LentMut, Plan, Workspace};
/// # use cudarc::driver::{CudaSlice, CudaStream};
/// # use std::sync::Arc;
/// # fn run(
/// #     plan: &Plan, workspace: &mut Workspace<'_>, stream: &Arc<CudaStream>,
/// #     logits: &CudaSlice<f32>, targets: &CudaSlice<i64>, loss: &mut CudaSlice<f32>,
/// # ) -> xent::Result<()> {
/// let (logits, targets) = (Lent::new(logits, stream), Lent::new(targets, stream));
/// let mut loss = LentMut::new(loss, stream);
/// plan.run(Args::new(&logits, &targets).loss(&mut loss).stream(stream), workspace)
/// # }
/// ```
pub struct Lent<'a> {
    view: View<'a>,
    _read: SyncOnDrop<'a>,
}

/// A slice of cudarc's that a run writes. See [`Lent`].
pub struct LentMut<'a> {
    address: *mut u8,
    len: usize,
    dtype: crate::DType,
    layout: Option<Layout>,
    stream: usize,
    _written: SyncOnDrop<'a>,
}

impl<'a> Lent<'a> {
    /// Lends a slice to runs on this stream.
    pub fn new<T: Element>(slice: &'a impl DevicePtr<T>, stream: &'a CudaStream) -> Self {
        let len = slice.len();
        let (address, read) = slice.device_ptr(stream);
        let address = without_provenance_mut::<u8>(address as usize);
        // SAFETY: the slice is borrowed, and freed on its stream after the work that is noted there.
        let view = unsafe { View::from_raw(address, len, T::DTYPE) };
        let view = view.in_memory(Memory::Lent(stream.cu_stream().addr()));
        Lent { view, _read: read }
    }

    /// The same elements seen with this layout.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.view = self.view.layout(layout);
        self
    }
}

impl<'a> LentMut<'a> {
    /// Lends a slice to runs on this stream.
    pub fn new<T: Element>(slice: &'a mut impl DevicePtrMut<T>, stream: &'a CudaStream) -> Self {
        let len = slice.len();
        let (address, written) = slice.device_ptr_mut(stream);
        let address = without_provenance_mut(address as usize);
        let stream = stream.cu_stream().addr();
        LentMut { address, len, dtype: T::DTYPE, layout: None, stream, _written: written }
    }

    /// The same elements seen with this layout.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = Some(layout);
        self
    }
}

impl<'a> From<&'a Lent<'_>> for View<'a> {
    fn from(lent: &'a Lent<'_>) -> Self {
        lent.view
    }
}

impl<'a> From<&'a mut LentMut<'_>> for ViewMut<'a> {
    fn from(lent: &'a mut LentMut<'_>) -> Self {
        // SAFETY: the slice is borrowed exclusively.
        let view = unsafe { ViewMut::from_raw(lent.address, lent.len, lent.dtype) };
        let view = view.in_memory(Memory::Lent(lent.stream));
        match lent.layout {
            Some(layout) => view.layout(layout),
            None => view,
        }
    }
}

impl<'a> From<&'a CudaStream> for Stream<'a> {
    fn from(stream: &'a CudaStream) -> Self {
        // SAFETY: borrowed. That it belongs to the plan's context, the driver checks at the launch.
        unsafe { Stream::from_raw(stream.cu_stream().cast()) }
    }
}

impl<'a> From<&'a Arc<CudaStream>> for Stream<'a> {
    fn from(stream: &'a Arc<CudaStream>) -> Self {
        Stream::from(&**stream)
    }
}

impl fmt::Debug for Lent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("view", &self.view).finish_non_exhaustive()
    }
}

impl fmt::Debug for LentMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentMut").field("len", &self.len).finish_non_exhaustive()
    }
}
