//! Borrowed buffers: who has tensors already lends them to a run.
#![allow(unsafe_code)] // views of raw memory, for callers from C

use std::marker::PhantomData;

use crate::{DType, Element, Error, Result};

/// Where the elements of a tensor with a class axis lie: shape (outer, classes, inner), with one
/// stride for each axis, in elements.
///
/// The class axis of a tensor of any rank can be named: all axes before it are `outer`, all after
/// it are `inner`. The rows of a run are counted as (outer, inner), inner fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of rows before the class axis.
    pub outer: usize,
    /// Number of classes.
    pub classes: usize,
    /// Number of rows after the class axis; 1 where classes are the last axis.
    pub inner: usize,
    /// Distance of neighbours along (outer, classes, inner), in elements, at least 1.
    pub strides: [usize; 3],
}

impl Layout {
    /// Packed rows of classes: shape (rows, classes).
    pub const fn rows(rows: usize, classes: usize) -> Self {
        Layout { outer: rows, classes, inner: 1, strides: [classes, 1, 1] }
    }

    /// Packed (outer, classes, inner), for instance (N, C, H * W).
    pub const fn packed(outer: usize, classes: usize, inner: usize) -> Self {
        let row = classes.saturating_mul(inner);
        Layout { outer, classes, inner, strides: [row, inner, 1] }
    }

    /// A packed tensor of any rank whose class axis is `axis`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such axis; [`Error::Mismatch`] if the sizes overflow.
    pub fn axis(shape: &[usize], axis: usize) -> Result<Self> {
        if axis >= shape.len() {
            let allowed = format!("in [0, {})", shape.len());
            return Err(Error::invalid("axis", axis, allowed));
        }
        let product = |sizes: &[usize]| {
            sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
        };
        match (product(&shape[..axis]), product(&shape[axis + 1..]), product(shape)) {
            (Some(outer), Some(inner), Some(_)) => Ok(Self::packed(outer, shape[axis], inner)),
            _ => Err(Error::mismatch("shape", format!("{shape:?}"), "a product below 2^64")),
        }
    }

    /// The same with another distance between rows, in elements: a padded vocabulary, say.
    pub const fn row_stride(mut self, stride: usize) -> Self {
        self.strides[0] = stride;
        self
    }

    /// The same with other distances along (outer, classes, inner), in elements.
    pub const fn strides(mut self, strides: [usize; 3]) -> Self {
        self.strides = strides;
        self
    }

    /// Whether the elements follow each other without a gap, as in [`Layout::packed`].
    pub(crate) fn is_packed(&self) -> bool {
        let packed = Self::packed(self.outer, self.classes, self.inner);
        let steps = self.strides.into_iter().zip(packed.strides).zip(self.extents());
        steps.into_iter().all(|((stride, packed), extent)| extent <= 1 || stride == packed)
    }

    pub(crate) fn extents(&self) -> [usize; 3] {
        [self.outer, self.classes, self.inner]
    }

    /// Elements from the first to the last, both included; `None` if that overflows.
    pub fn span(&self) -> Option<usize> {
        if self.extents().contains(&0) {
            return Some(0);
        }
        let axes = self.extents().into_iter().zip(self.strides);
        axes.map(|(extent, stride)| (extent - 1).checked_mul(stride))
            .try_fold(1usize, |span, last| span.checked_add(last?))
    }

    /// Whether no two elements can share an address: each stride steps over all that the smaller
    /// ones reach.
    pub(crate) fn is_injective(&self) -> bool {
        let [outer, classes, inner] = self.strides;
        let mut axes = [(outer, self.outer), (classes, self.classes), (inner, self.inner)];
        axes.sort_unstable();
        let mut reach = 0usize;
        axes.into_iter().all(|(stride, extent)| {
            let apart = extent <= 1 || stride > reach;
            reach = reach.saturating_add(extent.saturating_sub(1).saturating_mul(stride));
            apart
        })
    }
}

/// Whose memory a buffer is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The processor's.
    Host,
    /// That of the GPU with this number.
    Gpu(u32),
    /// That of a GPU, lent to the stream with this handle alone.
    #[allow(dead_code)] // where the CUDA path is not built
    Lent(usize),
    /// Whatever the address says.
    Unknown,
}

/// A buffer that a run reads, with the type of its elements.
///
/// Made from a slice, it is packed; [`View::layout`] says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(crate) data: *const u8,
    pub(crate) len: usize,
    pub(crate) dtype: DType,
    pub(crate) layout: Option<Layout>,
    pub(crate) memory: Memory,
    borrow: PhantomData<&'a [u8]>,
}

impl<'a> View<'a> {
    /// A view of `len` elements from an address that did not come from a Rust slice, of the
    /// processor's memory or of a GPU's.
    ///
    /// A null or misaligned address is refused when the view is used.
    ///
    /// # Safety
    /// If not null, `data` points to `len` initialised elements of `dtype` that stay readable, and
    /// are not written by others, for `'a`; on a GPU until the stream has done the work.
    pub const unsafe fn from_raw(data: *const u8, len: usize, dtype: DType) -> Self {
        View { data, len, dtype, layout: None, memory: Memory::Unknown, borrow: PhantomData }
    }

    /// The elements after so many, in their order in memory: what a layout then begins with. None
    /// if there are not more.
    pub fn skip(mut self, elements: usize) -> Self {
        let skipped = elements.min(self.len);
        self.data = self.data.wrapping_add(skipped * self.dtype.size());
        self.len -= skipped;
        self
    }

    /// The same elements seen with this layout. It is checked when the view is used.
    pub const fn layout(mut self, layout: Layout) -> Self {
        self.layout = Some(layout);
        self
    }

    pub(crate) const fn in_memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }
}

/// A buffer that a run writes, with the type of its elements.
///
/// Made from a slice, it is packed; [`ViewMut::layout`] says otherwise.
#[derive(Debug)]
pub struct ViewMut<'a> {
    pub(crate) data: *mut u8,
    pub(crate) len: usize,
    pub(crate) dtype: DType,
    pub(crate) layout: Option<Layout>,
    pub(crate) memory: Memory,
    borrow: PhantomData<&'a mut [u8]>,
}

impl<'a> ViewMut<'a> {
    /// A view of `len` elements to an address that did not come from a Rust slice, of the processor's
    /// memory or of a GPU's.
    ///
    /// A null or misaligned address is refused when the view is used.
    ///
    /// # Safety
    /// If not null, `data` points to `len` elements of `dtype` that stay writable, and are neither
    /// read nor written by others, for `'a`; on a GPU until the stream has done the work. Other views of
    /// the same call may overlap them: the run refuses that, or allows it where it says so.
    pub const unsafe fn from_raw(data: *mut u8, len: usize, dtype: DType) -> Self {
        ViewMut { data, len, dtype, layout: None, memory: Memory::Unknown, borrow: PhantomData }
    }

    /// The elements after so many, in their order in memory: what a layout then begins with. None
    /// if there are not more.
    pub fn skip(mut self, elements: usize) -> Self {
        let skipped = elements.min(self.len);
        self.data = self.data.wrapping_add(skipped * self.dtype.size());
        self.len -= skipped;
        self
    }

    /// The same elements seen with this layout. It is checked when the view is used.
    pub const fn layout(mut self, layout: Layout) -> Self {
        self.layout = Some(layout);
        self
    }

    pub(crate) const fn in_memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// The same elements to read; the run looks after the order of reads and writes.
    pub(crate) const fn read_too(&self) -> View<'a> {
        View {
            data: self.data,
            len: self.len,
            dtype: self.dtype,
            layout: self.layout,
            memory: self.memory,
            borrow: PhantomData,
        }
    }
}

// SAFETY: a view is a shared borrow of plain numbers, and may go where `&[T]` may.
unsafe impl Send for View<'_> {}
// SAFETY: as above.
unsafe impl Sync for View<'_> {}
// SAFETY: a mutable view is an exclusive borrow of plain numbers, and may go where `&mut [T]` may.
unsafe impl Send for ViewMut<'_> {}
// SAFETY: a shared mutable view gives no access to its elements.
unsafe impl Sync for ViewMut<'_> {}

/// One element.
impl<'a, T: Element> From<&'a T> for View<'a> {
    fn from(element: &'a T) -> Self {
        std::slice::from_ref(element).into()
    }
}

impl<'a, T: Element> From<&'a [T]> for View<'a> {
    fn from(slice: &'a [T]) -> Self {
        // SAFETY: a shared slice is readable and unchanging for 'a.
        unsafe {
            View::from_raw(slice.as_ptr().cast(), slice.len(), T::DTYPE).in_memory(Memory::Host)
        }
    }
}

impl<'a, T: Element, const N: usize> From<&'a [T; N]> for View<'a> {
    fn from(array: &'a [T; N]) -> Self {
        array.as_slice().into()
    }
}

impl<'a, T: Element> From<&'a Vec<T>> for View<'a> {
    fn from(vec: &'a Vec<T>) -> Self {
        vec.as_slice().into()
    }
}

/// One element.
impl<'a, T: Element> From<&'a mut T> for ViewMut<'a> {
    fn from(element: &'a mut T) -> Self {
        std::slice::from_mut(element).into()
    }
}

impl<'a, T: Element> From<&'a mut [T]> for ViewMut<'a> {
    fn from(slice: &'a mut [T]) -> Self {
        // SAFETY: an exclusive slice is ours alone for 'a.
        unsafe {
            ViewMut::from_raw(slice.as_mut_ptr().cast(), slice.len(), T::DTYPE)
                .in_memory(Memory::Host)
        }
    }
}

impl<'a, T: Element, const N: usize> From<&'a mut [T; N]> for ViewMut<'a> {
    fn from(array: &'a mut [T; N]) -> Self {
        array.as_mut_slice().into()
    }
}

impl<'a, T: Element> From<&'a mut Vec<T>> for ViewMut<'a> {
    fn from(vec: &'a mut Vec<T>) -> Self {
        vec.as_mut_slice().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_of_any_axis() {
        assert_eq!(Layout::axis(&[2, 3, 5, 7], 1), Ok(Layout::packed(2, 3, 35)));
        assert_eq!(Layout::axis(&[4, 3], 1).map(|l| l.strides), Ok([3, 1, 1]));
        assert!(Layout::axis(&[4, 3], 2).is_err());
        assert!(Layout::axis(&[usize::MAX, 3], 0).is_err());
    }

    #[test]
    fn a_view_begins_later() {
        let mut elements = [1i32, 2, 3];
        let second = (&raw const elements[1]).cast::<u8>();
        let view = View::from(&elements).skip(1);
        assert_eq!((view.data, view.len), (second, 2));
        assert_eq!(View::from(&elements).skip(usize::MAX).len, 0);
        let view = ViewMut::from(&mut elements).skip(1);
        assert_eq!((view.data.cast_const(), view.len), (second, 2));
    }

    #[test]
    fn spans_and_overlap_within_a_layout() {
        assert_eq!(Layout::rows(4, 3).row_stride(8).span(), Some(27));
        assert_eq!(Layout::rows(0, 3).span(), Some(0));
        assert_eq!(Layout::rows(2, 3).row_stride(usize::MAX).span(), None);
        assert!(Layout::packed(2, 3, 5).is_injective());
        assert!(Layout::packed(2, 3, 5).strides([1, 10, 2]).is_injective());
        assert!(!Layout::rows(4, 3).row_stride(2).is_injective());
        assert!(Layout::rows(1, 3).row_stride(1).is_injective());
    }
}
