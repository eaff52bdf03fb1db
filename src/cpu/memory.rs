//! Reading and writing the buffers of a call. All unsafe code of the CPU path is here.
//!
//! Everything takes its addresses from a [`Call`](crate::call::Call), whose checks have shown that
//! they are valid for every row and class, aligned, and apart from each other. Threads work on
//! different rows.
#![allow(unsafe_code)]

use std::ops::Range;

use half::{bf16, f16};

use super::numbers::Numbers;
use super::simd::{LANES, Lanes, Level, Simd, Vectorised};
use crate::DType;
use crate::call::{Call, Strided};

// SAFETY: the addresses of a call stay valid while it runs, and its threads write different rows
// and read nothing that another one writes.
unsafe impl Sync for Call {}
// SAFETY: as above: rows are parts of the buffers of a call.
unsafe impl Sync for Row {}

/// One row of a tensor of shape (outer, classes, inner).
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub data: *mut u8,
    pub dtype: DType,
    pub stride: usize,
}

impl Strided {
    /// Row number `row` of rows counted as (outer, inner).
    pub(super) fn row(&self, row: usize, inner: usize) -> Row {
        let [outer_stride, stride, inner_stride] = self.strides;
        let offset = row / inner * outer_stride + row % inner * inner_stride;
        let data = self.data.wrapping_add(offset * self.dtype.size());
        Row { data, dtype: self.dtype, stride }
    }

    /// The class index of a row, of a tensor of one integer for each row.
    pub(super) fn index(&self, row: usize) -> i64 {
        let mut index = [0];
        self.indices(row, &mut index);
        index[0]
    }

    /// The class indices of some rows.
    #[inline(always)]
    pub(super) fn indices(&self, first: usize, out: &mut [i64]) {
        match self.dtype {
            DType::I64 => self.widen_indices::<i64>(first, out),
            DType::I32 => self.widen_indices::<i32>(first, out),
            DType::U32 => self.widen_indices::<u32>(first, out),
            DType::U8 => self.widen_indices::<u8>(first, out),
            float => unreachable!("class indices of type {float}"),
        }
    }

    #[inline(always)]
    fn widen_indices<T: Copy + Into<i64>>(&self, first: usize, out: &mut [i64]) {
        let data = self.data.cast::<T>();
        for (row, out) in (first..).zip(out) {
            // SAFETY: the call checked that there is one packed, aligned integer for each row.
            *out = unsafe { *data.add(row) }.into();
        }
    }
}

/// An element type that widens to `f64` and is rounded from it.
trait Number: Copy {
    fn widen(self) -> f64;
    fn round(value: f64) -> Self;
}

macro_rules! number {
    ($($type:ty: $widen:expr, $round:expr;)*) => {$(
        impl Number for $type {
            fn widen(self) -> f64 {
                $widen(self)
            }
            fn round(value: f64) -> Self {
                $round(value)
            }
        }
    )*};
}

number! {
    f64: |x| x, |x| x;
    f32: f64::from, |x| x as f32;
    f16: f16::to_f64, |x| f16::from_f32(x as f32);
    bf16: bf16::to_f64, |x| bf16::from_f32(x as f32);
    i64: |x| x as f64, |x| x as i64;
    i32: f64::from, |x| x as i32;
    u32: f64::from, |x| x as u32;
    u8: f64::from, |x| x as u8;
}

/// An element type that kernels work on.
pub(super) trait Element: Copy {
    const ZERO: Self;
    fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::Block;
    fn store<S: Simd>(s: S, block: S::Block, to: &mut [Self; LANES]);
    /// The same past the caches.
    fn stream<S: Simd>(s: S, block: S::Block, to: &mut Lanes<Self>);

    /// One number.
    #[inline(always)]
    fn round<S: Simd>(s: S, value: f32) -> Self {
        let mut lanes = [Self::ZERO; LANES];
        Self::store(s, s.fill(value), &mut lanes);
        lanes[0]
    }
}

/// Work for the element type of a kernel: `with_element!(dtype, T => work::<T>())`.
macro_rules! with_element {
    ($dtype:expr, $T:ident => $work:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $work
            }
            $crate::DType::F16 => {
                type $T = half::f16;
                $work
            }
            $crate::DType::BF16 => {
                type $T = half::bf16;
                $work
            }
            other => unreachable!("a kernel of {other}"),
        }
    };
}
pub(super) use with_element;

macro_rules! element {
    ($($type:ty: $zero:expr, $load:ident, $store:ident, $stream:ident;)*) => {$(
        impl Element for $type {
            const ZERO: Self = $zero;
            #[inline(always)]
            fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::Block {
                s.$load(from)
            }
            #[inline(always)]
            fn store<S: Simd>(s: S, block: S::Block, to: &mut [Self; LANES]) {
                s.$store(block, to);
            }
            #[inline(always)]
            fn stream<S: Simd>(s: S, block: S::Block, to: &mut Lanes<Self>) {
                s.$stream(block, to);
            }
        }
    )*};
}

element! {
    f32: 0.0, load, store, stream;
    f16: f16::ZERO, load_f16, store_f16, stream_f16;
    bf16: bf16::ZERO, load_bf16, store_bf16, stream_bf16;
}

impl Row {
    /// A packed row of `f32`.
    pub fn of(data: *const u8) -> Row {
        Row { data: data.cast_mut(), dtype: DType::F32, stride: 1 }
    }

    /// The rows that follow in memory, as one row: its numbers are of this class.
    pub fn across(&self, class: usize) -> Row {
        let data = self.data.wrapping_add(class * self.stride * self.dtype.size());
        Row { data, dtype: self.dtype, stride: 1 }
    }

    /// Reads a chunk from this class on, widened, into as many blocks as it fills; the last one is
    /// filled up with `pad`. Gives the largest number of each lane, which ignores NaNs.
    #[inline(always)]
    pub fn load<S: Simd>(
        &self,
        s: S,
        first: usize,
        len: usize,
        pad: f32,
        to: &mut [Lanes],
    ) -> S::Block {
        let mut largest = Lanes([0.0; LANES]);
        s.call(Load { row: self, first, len, pad, to, largest: &mut largest });
        s.load(&largest.0)
    }

    /// So many classes of a packed row of `T`.
    pub fn packed<T: Element>(&self, classes: Range<usize>) -> Packed<T> {
        debug_assert_eq!((self.stride, self.dtype.size()), (1, size_of::<T>()));
        Packed { data: self.data.cast::<T>().wrapping_add(classes.start), len: classes.len() }
    }

    /// What is read soon, from this class on.
    #[inline(always)]
    pub fn ahead(&self, first: usize, into: Level) -> Ahead {
        let size = self.dtype.size();
        let next = self.data.wrapping_add(first * self.stride * size);
        Ahead { next, bytes: LANES * size, into }
    }

    /// Reads one class, widened.
    pub fn get(&self, class: usize) -> f32 {
        let at = class * self.stride;
        // SAFETY: the call checked every class of the row.
        unsafe {
            match self.dtype {
                DType::F32 => *self.data.cast::<f32>().add(at),
                DType::F16 => (*self.data.cast::<f16>().add(at)).to_f32(),
                DType::BF16 => (*self.data.cast::<bf16>().add(at)).to_f32(),
                other => unreachable!("a kernel of {other}"),
            }
        }
    }

    /// Reads the whole row as `f64`.
    pub fn load_f64(&self, out: &mut [f64]) {
        match self.dtype {
            DType::F64 => self.read_each::<f64>(out),
            DType::F32 => self.read_each::<f32>(out),
            DType::F16 => self.read_each::<f16>(out),
            DType::BF16 => self.read_each::<bf16>(out),
            DType::I64 => self.read_each::<i64>(out),
            DType::I32 => self.read_each::<i32>(out),
            DType::U32 => self.read_each::<u32>(out),
            DType::U8 => self.read_each::<u8>(out),
        }
    }

    /// Writes the whole row, rounded to nearest even.
    pub fn store_f64(&self, from: &[f64]) {
        match self.dtype {
            DType::F64 => self.write_each::<f64>(from),
            DType::F32 => self.write_each::<f32>(from),
            DType::F16 => self.write_each::<f16>(from),
            DType::BF16 => self.write_each::<bf16>(from),
            other => unreachable!("a row of {other}"),
        }
    }

    fn read_each<T: Number>(&self, out: &mut [f64]) {
        let data = self.data.cast::<T>();
        for (class, out) in out.iter_mut().enumerate() {
            // SAFETY: the call checked every class of the row.
            *out = unsafe { *data.add(class * self.stride) }.widen();
        }
    }

    fn write_each<T: Number>(&self, from: &[f64]) {
        let data = self.data.cast::<T>();
        for (class, &from) in from.iter().enumerate() {
            // SAFETY: the call checked every class of the row.
            unsafe { data.add(class * self.stride).write(T::round(from)) };
        }
    }
}

/// Numbers of a row, one behind the other. They may be written while this lives, but not while it is
/// asked for some.
#[derive(Clone, Copy)]
pub(super) struct Packed<T> {
    data: *const T,
    len: usize,
}

impl<S: Simd, T: Element> Numbers<S> for Packed<T> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.len
    }

    /// Widened; 0 behind the last one.
    #[inline(always)]
    fn block(&self, s: S, at: usize) -> S::Block {
        let data = self.data.wrapping_add(at);
        if at + LANES <= self.len {
            // SAFETY: the call checked every class of the row.
            return T::load(s, unsafe { &*data.cast::<[T; LANES]>() });
        }
        let mut lanes = [T::ZERO; LANES];
        for (index, lane) in lanes[..self.len - at].iter_mut().enumerate() {
            // SAFETY: as above.
            *lane = unsafe { *data.add(index) };
        }
        T::load(s, &lanes)
    }
}

/// Memory that is read next. It need not be there.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    next: *const u8,
    /// The size of a block.
    bytes: usize,
    into: Level,
}

impl Ahead {
    /// Asks for one block more.
    #[inline(always)]
    pub fn fetch<S: Simd>(&mut self, s: S) {
        s.prefetch(self.next, self.into);
        s.prefetch(self.next.wrapping_add(self.bytes / 2), self.into); // the second line of `f32`
        self.next = self.next.wrapping_add(self.bytes);
    }
}

/// [`Row::load`].
struct Load<'a> {
    row: &'a Row,
    first: usize,
    len: usize,
    pad: f32,
    to: &'a mut [Lanes],
    largest: &'a mut Lanes,
}

impl Vectorised for Load<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_element!(self.row.dtype, T => self.elements::<S, T>(s));
    }
}

impl Load<'_> {
    #[inline(always)]
    fn elements<S: Simd, T: Element>(self, s: S) {
        let Load { row: &Row { data, stride, .. }, first, len, pad, to, largest: lanes } = self;
        let (data, pad) = (data.cast::<T>(), T::round(s, pad));
        let mut largest = s.fill(f32::NEG_INFINITY);
        let (whole, rest) = if stride == 1 { (len / LANES, len % LANES) } else { (0, len) };
        // SAFETY: the call checked every class of the row; the slice lives only in this call, in
        // which this thread writes to no part of it.
        let packed = unsafe { std::slice::from_raw_parts(data.add(first), whole * LANES) };
        for (from, to) in packed.as_chunks().0.iter().zip(&mut *to) {
            load_block(s, from, to, &mut largest);
        }
        for (block, to) in to[whole..].iter_mut().enumerate() {
            let mut lanes = [pad; LANES];
            let first = first + (whole + block) * LANES;
            for (class, lane) in (first..first + rest - block * LANES).zip(&mut lanes) {
                // SAFETY: as above.
                *lane = unsafe { *data.add(class * stride) };
            }
            load_block(s, &lanes, to, &mut largest);
        }
        s.store(largest, &mut lanes.0);
    }
}

#[inline(always)]
fn load_block<S: Simd, T: Element>(
    s: S,
    from: &[T; LANES],
    to: &mut Lanes,
    largest: &mut S::Block,
) {
    let block = T::load(s, from);
    for (&v, largest) in block.as_ref().iter().zip(largest.as_mut()) {
        *largest = s.max(v, *largest);
    }
    s.store(block, &mut to.0);
}

/// Reads element `index` of a packed buffer.
pub(super) fn get<T: Copy>(data: *const u8, index: usize) -> T {
    // SAFETY: the call checked length, type and alignment of the buffer.
    unsafe { *data.cast::<T>().add(index) }
}

/// Writes element `index` of a packed buffer.
pub(super) fn set<T>(data: *mut u8, index: usize, value: T) {
    // SAFETY: as for `get`; threads write different rows.
    unsafe { data.cast::<T>().add(index).write(value) };
}

/// Reads `len` elements of a packed buffer that nothing writes during the call.
pub(super) fn slice<'a, T>(data: *const u8, len: usize) -> &'a [T] {
    if len == 0 {
        return &[]; // whose address may be anything
    }
    // SAFETY: the call checked length, type and alignment of the buffer, and that no output
    // shares its memory.
    unsafe { std::slice::from_raw_parts(data.cast(), len) }
}
