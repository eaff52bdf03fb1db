//! Memory of one thread.
#![allow(unsafe_code)] // memory of a workspace

use std::marker::PhantomData;
use std::slice;

use super::chunk::{BLOCKS, COLUMNS};
use super::simd::{LANES, Lanes};
use super::writer::Writer;
use crate::call::Call;
use crate::{Outputs, Problem};

/// One chunk of a row, and what is made of it.
pub(super) struct Scratch {
    /// Oriented logits, and then y.
    pub y: [Lanes; BLOCKS],
    /// Exponentials.
    pub e: [Lanes; BLOCKS],
    /// The gradient.
    pub g: [Lanes; BLOCKS],
    /// dz/dx, where it differs between classes.
    pub slope: [Lanes; BLOCKS],
    /// u = w ((1 - s) q + s/C) of probability targets q, or weights.
    pub u: [Lanes; BLOCKS],
    pub writer: Writer,
}

impl Scratch {
    pub fn new(writer: Writer) -> Self {
        let zeros = [Lanes([0.0; LANES]); BLOCKS];
        Scratch { y: zeros, e: zeros, g: zeros, slope: zeros, u: zeros, writer }
    }
}

/// What the pass for the sums keeps for the gradient: a row that is short enough for the caches.
pub(super) struct Kept<'a> {
    /// Exponentials.
    pub e: &'a mut [Lanes],
    /// dz/dx, where it differs between classes.
    pub slope: &'a mut [Lanes],
    /// The references of the exponentials of each chunk.
    pub references: &'a mut [f32],
}

/// Rows that are kept, one for each thread, behind the results in the workspace of a call.
pub(super) struct Slots<'a> {
    data: *mut Lanes,
    shape: Shape,
    workspace: PhantomData<&'a mut [u8]>,
}

/// What is in a slot.
#[derive(Clone, Copy)]
struct Shape {
    /// Blocks of a row; 0 where rows are not kept.
    blocks: usize,
    /// Whether slopes are kept too.
    slopes: bool,
}

// SAFETY: each thread has a slot of its own.
unsafe impl Sync for Slots<'_> {}

impl<'a> Slots<'a> {
    /// Slots behind the first `results` bytes of the workspace of a call.
    pub fn new(problem: &Problem, call: &'a Call, results: usize) -> Self {
        let data = call.workspace.wrapping_add(results.next_multiple_of(align_of::<Lanes>())).cast();
        Slots { data, shape: Shape::new(problem), workspace: PhantomData }
    }

    /// The bytes of a workspace with so many slots.
    pub fn end(problem: &Problem, results: usize, count: usize) -> usize {
        let size = Shape::new(problem).lanes().saturating_mul(size_of::<Lanes>());
        results.saturating_add(align_of::<Lanes>()).saturating_add(size.saturating_mul(count))
    }

    /// The slot of a thread; `None` where rows are not kept.
    pub fn get(&self, slot: usize) -> Option<Kept<'a>> {
        let Shape { blocks, slopes } = self.shape;
        if blocks == 0 {
            return None;
        }
        let data = self.data.wrapping_add(slot * self.shape.lanes());
        let slope = data.wrapping_add(blocks);
        let slopes = if slopes { blocks } else { 0 };
        let references = slope.wrapping_add(slopes).cast();
        // SAFETY: the call checked that its workspace holds a slot for each thread, and each slot is
        // asked for by one of them. Any bits are numbers.
        unsafe {
            Some(Kept {
                e: slice::from_raw_parts_mut(data, blocks),
                slope: slice::from_raw_parts_mut(slope, slopes),
                references: slice::from_raw_parts_mut(references, blocks.div_ceil(BLOCKS)),
            })
        }
    }
}

impl Shape {
    /// The longest row that is kept.
    const CLASSES: usize = 128 * 1024;

    fn new(problem: &Problem) -> Self {
        let keeps = problem.outputs.contains(Outputs::DLOGITS)
            && (COLUMNS + 1..=Self::CLASSES).contains(&problem.classes);
        let blocks = if keeps { problem.classes.div_ceil(LANES) } else { 0 };
        Shape { blocks, slopes: problem.softcap.is_some() }
    }

    /// The size of a slot, with a reference for each chunk.
    fn lanes(self) -> usize {
        self.blocks * (1 + usize::from(self.slopes)) + self.blocks.div_ceil(BLOCKS).div_ceil(LANES)
    }
}
