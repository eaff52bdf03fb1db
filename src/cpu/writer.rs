//! Writes gradients.
//!
//! What is larger than the caches goes past them: a non-temporal store writes a whole line without
//! reading it first, and leaves in the caches what is still needed. Rows end within lines, so the
//! numbers are put in order in a few lines of our own, from which whole ones go to memory; a line that
//! two rows share is written once.
#![allow(unsafe_code)] // memory of a call

use half::{bf16, f16};

use super::chunk::BLOCKS;
use super::memory::{Element, Row};
use super::simd::{LANES, Lanes, Line, Simd, Vectorised};
use crate::DType;

const LINE: usize = size_of::<Line>();

/// A chunk of `f32`, the start of a line, and what a whole block may write behind the end.
pub(super) const LINES: usize = BLOCKS * LANES * size_of::<f32>() / LINE + 3;

/// What is written.
pub(super) struct Numbers<'a> {
    pub from: &'a [Lanes],
    /// How many they are.
    pub len: usize,
    /// What they are multiplied by.
    pub factor: f32,
    /// One that is another number.
    pub special: Option<(usize, f32)>,
}

impl<'a> Numbers<'a> {
    pub fn new(from: &'a [Lanes], len: usize) -> Self {
        Numbers { from, len, factor: 1.0, special: None }
    }

    #[inline(always)]
    fn times_factor<S: Simd>(&self, s: S, from: &Lanes) -> S::Block {
        let (mut block, factor) = (s.load(&from.0), s.splat(self.factor));
        for v in block.as_mut() {
            *v = s.mul(*v, factor);
        }
        block
    }
}

/// Writes rows of a gradient, best in the order of memory.
pub(super) struct Writer<'a> {
    streams: bool,
    lines: &'a mut [Line; LINES],
    /// The address of the first line.
    base: *mut u8,
    /// The bytes of the lines that are to be written.
    start: usize,
    end: usize,
}

/// [`Writer::write`].
struct Write<'a, 'b> {
    writer: &'a mut Writer<'b>,
    row: &'a Row,
    first: usize,
    numbers: &'a Numbers<'a>,
}

impl Vectorised for Write<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Write { writer, row, first, numbers } = self;
        match row.dtype {
            DType::F32 => writer.write_as::<S, f32>(s, row, first, numbers),
            DType::F16 => writer.write_as::<S, f16>(s, row, first, numbers),
            DType::BF16 => writer.write_as::<S, bf16>(s, row, first, numbers),
            other => unreachable!("a kernel of {other}"),
        }
    }
}

impl<'a> Writer<'a> {
    /// `streams`: past the caches.
    pub fn new(streams: bool, lines: &'a mut [Line; LINES]) -> Self {
        Writer { streams, lines, base: std::ptr::null_mut(), start: 0, end: 0 }
    }

    /// Writes numbers for the classes of a row from `first` on, rounded to nearest even.
    #[inline(always)]
    pub fn write<S: Simd>(&mut self, s: S, row: &Row, first: usize, numbers: &Numbers) {
        s.call(Write { writer: self, row, first, numbers });
    }

    #[inline(always)]
    fn write_as<S: Simd, T: Element>(&mut self, s: S, row: &Row, first: usize, numbers: &Numbers) {
        let data = row.data.cast::<T>().wrapping_add(first * row.stride);
        if row.stride == 1 && self.streams {
            return self.stage(s, data, numbers);
        }
        let &Numbers { from, len, .. } = numbers;
        let whole = if row.stride == 1 { len / LANES } else { 0 };
        // SAFETY: the call checked every class of the row, no other thread has this row, and any bits
        // are a number.
        let packed = unsafe { std::slice::from_raw_parts_mut(data, whole * LANES) };
        for (from, to) in from.iter().zip(packed.as_chunks_mut().0) {
            T::store(s, numbers.times_factor(s, from), to);
        }
        for (block, from) in from.iter().enumerate().skip(whole) {
            let mut lanes = [T::ZERO; LANES];
            T::store(s, numbers.times_factor(s, from), &mut lanes);
            for (at, lane) in (block * LANES..len).zip(lanes) {
                // SAFETY: as above.
                unsafe { data.add(at * row.stride).write(lane) };
            }
        }
        if let Some((at, value)) = numbers.special {
            // SAFETY: as above.
            unsafe { data.add(at * row.stride).write(T::round(s, value)) };
        }
    }

    /// Adds numbers to the lines, and writes those that are whole.
    #[inline(always)]
    fn stage<S: Simd, T: Element>(&mut self, s: S, data: *mut T, numbers: &Numbers) {
        let data = data.cast::<u8>();
        if data != self.base.wrapping_add(self.end) {
            self.flush();
            self.start = data.addr() % LINE;
            self.end = self.start;
            self.base = data.wrapping_sub(self.start);
        }
        let to = self.lines.as_mut_ptr().cast::<u8>().wrapping_add(self.end).cast::<T>();
        debug_assert!(
            self.end + numbers.from.len() * LANES * size_of::<T>() <= size_of_val(self.lines)
        );
        // SAFETY: the lines have room for a chunk behind a line, as aligned as `data`.
        let lanes = unsafe { std::slice::from_raw_parts_mut(to, numbers.from.len() * LANES) };
        for (from, to) in numbers.from.iter().zip(lanes.as_chunks_mut().0) {
            T::store(s, numbers.times_factor(s, from), to);
        }
        if let Some((at, value)) = numbers.special {
            lanes[at] = T::round(s, value);
        }
        self.end += numbers.len * size_of::<T>();

        let whole = self.end / LINE;
        if whole == 0 {
            return;
        }
        let first = usize::from(self.start > 0);
        if first == 1 {
            self.copy(self.start, LINE);
        }
        // SAFETY: whole lines of the gradient from `first` on, which only this thread writes.
        let to = unsafe {
            let to = self.base.cast::<Line>().wrapping_add(first);
            std::slice::from_raw_parts_mut(to, whole - first)
        };
        s.stream(&self.lines[first..whole], to);
        self.lines[0] = self.lines[whole];
        self.base = self.base.wrapping_add(whole * LINE);
        self.end -= whole * LINE;
        self.start = 0;
    }

    /// Writes what is left, and makes all visible to other threads.
    pub fn finish<S: Simd>(&mut self, s: S) {
        if self.streams {
            self.flush();
            s.fence();
        }
    }

    fn flush(&mut self) {
        self.copy(self.start, self.end);
        (self.start, self.end) = (0, 0);
        self.base = std::ptr::null_mut();
    }

    /// Writes bytes of the first lines in the ordinary way.
    fn copy(&self, start: usize, end: usize) {
        if start < end {
            let from = self.lines.as_ptr().cast::<u8>();
            // SAFETY: these bytes of the lines belong to numbers of the gradient.
            unsafe {
                let to = self.base.wrapping_add(start);
                std::ptr::copy_nonoverlapping(from.add(start), to, end - start);
            }
        }
    }
}
