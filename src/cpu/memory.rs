//! Reading and writing the buffers of a call. All unsafe code of the CPU path is here.
//!
//! Everything takes its addresses from a [`Call`](crate::call::Call), whose checks have shown that
//! they are valid for every row and class, aligned, and apart from each other. Threads work on
//! different rows.
#![allow(unsafe_code)]

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::DType;
use crate::call::{Call, Strided};

// SAFETY: the addresses of a call stay valid while it runs, and its threads write different rows
// and read nothing that another one writes.
unsafe impl Sync for Call {}

/// One row of a tensor of shape (outer, classes, inner).
#[derive(Clone, Copy)]
pub(super) struct Row {
    data: *mut u8,
    dtype: DType,
    stride: usize,
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
        // SAFETY: the call checked that there is one packed, aligned integer for each row.
        unsafe {
            match self.dtype {
                DType::I64 => *self.data.cast::<i64>().add(row),
                DType::I32 => (*self.data.cast::<i32>().add(row)).into(),
                DType::U32 => (*self.data.cast::<u32>().add(row)).into(),
                DType::U8 => (*self.data.add(row)).into(),
                float => unreachable!("class indices of type {float}"),
            }
        }
    }
}

/// An element type that widens to `f32` or `f64` and is rounded from it.
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
    bf16: |x: bf16| widen_bf16(x).into(), |x| round_bf16(x as f32);
}

impl Row {
    /// Reads classes `first..first + out.len()`, widened.
    pub fn load(&self, first: usize, out: &mut [f32]) {
        match self.dtype {
            DType::F32 => {
                self.read(first, out, |from: &[f32], out| out.copy_from_slice(from), |x| x)
            }
            DType::F16 => {
                let packed = |from: &[f16], out: &mut [f32]| from.convert_to_f32_slice(out);
                self.read(first, out, packed, f16::to_f32);
            }
            DType::BF16 => self.read(first, out, widen_bf16_slice, widen_bf16),
            other => unreachable!("a kernel of {other}"),
        }
    }

    /// Writes classes `first..first + from.len()`, rounded to nearest even.
    pub fn store(&self, first: usize, from: &[f32]) {
        match self.dtype {
            DType::F32 => {
                self.write(first, from, |from, to: &mut [f32]| to.copy_from_slice(from), |x| x);
            }
            DType::F16 => {
                let packed = |from: &[f32], to: &mut [f16]| to.convert_from_f32_slice(from);
                self.write(first, from, packed, f16::from_f32);
            }
            DType::BF16 => self.write(first, from, round_bf16_slice, round_bf16),
            other => unreachable!("a kernel of {other}"),
        }
    }

    /// Reads the whole row as `f64`.
    pub fn load_f64(&self, out: &mut [f64]) {
        match self.dtype {
            DType::F64 => self.read_each::<f64>(out),
            DType::F32 => self.read_each::<f32>(out),
            DType::F16 => self.read_each::<f16>(out),
            DType::BF16 => self.read_each::<bf16>(out),
            other => unreachable!("a row of {other}"),
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

    fn read<T: Copy>(
        &self,
        first: usize,
        out: &mut [f32],
        packed: impl Fn(&[T], &mut [f32]),
        one: impl Fn(T) -> f32,
    ) {
        let data = self.data.cast::<T>();
        // SAFETY: the call checked every class of the row; the slice lives only in this call, in
        // which this thread writes to no part of it.
        unsafe {
            if self.stride == 1 {
                packed(std::slice::from_raw_parts(data.add(first), out.len()), out);
            } else {
                for (class, out) in (first..).zip(out) {
                    *out = one(*data.add(class * self.stride));
                }
            }
        }
    }

    fn write<T: Copy>(
        &self,
        first: usize,
        from: &[f32],
        packed: impl Fn(&[f32], &mut [T]),
        one: impl Fn(f32) -> T,
    ) {
        let data = self.data.cast::<T>();
        // SAFETY: the call checked every class of the row; no other thread has this row, and the
        // slice is of plain numbers, for which any bits are a value.
        unsafe {
            if self.stride == 1 {
                packed(from, std::slice::from_raw_parts_mut(data.add(first), from.len()));
            } else {
                for (class, &from) in (first..).zip(from) {
                    data.add(class * self.stride).write(one(from));
                }
            }
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

fn widen_bf16(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

fn widen_bf16_slice(from: &[bf16], out: &mut [f32]) {
    for (&from, out) in from.iter().zip(out) {
        *out = widen_bf16(from);
    }
}

/// Round to nearest, ties to even. A NaN stays one: its quiet bit is set before it is cut.
fn round_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let kept = if x.is_nan() { bits | 0x0040_0000 } else { rounded };
    bf16::from_bits((kept >> 16) as u16)
}

fn round_bf16_slice(from: &[f32], to: &mut [bf16]) {
    for (&from, to) in from.iter().zip(to) {
        *to = round_bf16(from);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_as_half_does() {
        for upper in 0..=u16::MAX {
            for lower in [0u16, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(upper) << 16 | u32::from(lower));
                let (ours, halfs) = (round_bf16(x), bf16::from_f32(x));
                assert!(ours.to_bits() == halfs.to_bits() || ours.is_nan() && halfs.is_nan());
            }
        }
    }
}
