//! Memory that is allocated, filled, and so has its pages, before anything is timed.
#![allow(unsafe_code)] // one buffer for elements of each type

use half::{bf16, f16};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xent::{DType, View, ViewMut};

use crate::limits::Line;

/// Elements of a type, at the beginning of a cache line as those of tensor libraries.
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
    dtype: DType,
}

impl Buffer {
    /// Numbers that repeat after a prime number of lines, so that rows differ.
    fn repeating(dtype: DType, len: usize, mut number: impl FnMut(&mut StdRng) -> f32) -> Buffer {
        let mut rng = StdRng::seed_from_u64(1);
        let period: Vec<Line> = (0..4099).map(|_| line(dtype, || number(&mut rng))).collect();
        let mut lines = vec![Line([0; 64]); (len * dtype.size()).div_ceil(64)];
        for part in lines.chunks_mut(period.len()) {
            part.copy_from_slice(&period[..part.len()]);
        }
        Buffer { lines, len, dtype }
    }

    /// As logits of a network are: about normal, a few units wide.
    pub fn logits(dtype: DType, len: usize) -> Buffer {
        let normal = |rng: &mut StdRng| (0..4).map(|_| rng.random_range(-3f32..3.0)).sum();
        Buffer::repeating(dtype, len, normal)
    }

    /// Targets whose rows have a sum near 1.
    pub fn probabilities(dtype: DType, len: usize, classes: usize) -> Buffer {
        Buffer::repeating(dtype, len, |rng| rng.random_range(0f32..2.0) / classes as f32)
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub fn lines_mut(&mut self) -> &mut [Line] {
        &mut self.lines
    }

    pub fn view(&self) -> View<'_> {
        // SAFETY: the lines hold so many elements, which are borrowed as long as the view is.
        unsafe { View::from_raw(self.lines.as_ptr().cast(), self.len, self.dtype) }
    }

    pub fn view_mut(&mut self) -> ViewMut<'_> {
        // SAFETY: as above, exclusively.
        unsafe { ViewMut::from_raw(self.lines.as_mut_ptr().cast(), self.len, self.dtype) }
    }
}

fn line(dtype: DType, mut number: impl FnMut() -> f32) -> Line {
    let mut line = Line([0; 64]);
    for element in line.0.chunks_exact_mut(dtype.size()) {
        match dtype {
            DType::F32 => element.copy_from_slice(&number().to_ne_bytes()),
            DType::BF16 => element.copy_from_slice(&bf16::from_f32(number()).to_ne_bytes()),
            DType::F16 => element.copy_from_slice(&f16::from_f32(number()).to_ne_bytes()),
            other => panic!("logits of type {other}"),
        }
    }
    line
}
