//! Memory of one thread.
#![allow(unsafe_code)] // memory of a workspace

use std::marker::PhantomData;
use std::slice;

use super::chunk::BLOCKS;
use super::narrow::NARROW;
use super::simd::{LANES, Lanes, Line};
use super::writer::{LINES, Writer};
use crate::call::Call;
use crate::{Outputs, Problem};

/// Blocks of a buffer: enough for a chunk of a row, and for some columns of 32 rows.
pub(super) const BUFFER: usize = 64;

/// A chunk of a row, or several short rows, and what is made of them. It holds anything at first.
pub(super) struct Scratch<'a> {
    /// Oriented logits, and then y.
    pub y: &'a mut [Lanes; BUFFER],
    /// Exponentials.
    pub e: &'a mut [Lanes; BUFFER],
    /// The gradient.
    pub g: &'a mut [Lanes; BUFFER],
    /// dz/dx, where it differs between classes.
    pub slope: &'a mut [Lanes; BUFFER],
    /// u = w ((1 - s) q + s/C) of probability targets q, or weights.
    pub u: &'a mut [Lanes; BUFFER],
    pub writer: Writer<'a>,
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

/// Scratch memory and a row that is kept for each thread, behind the results in the workspace of a call.
pub(super) struct Slots<'a> {
    data: *mut Lanes,
    kept: Shape,
    workspace: PhantomData<&'a mut [u8]>,
}

// SAFETY: each thread has a slot of its own.
unsafe impl Sync for Slots<'_> {}

impl<'a> Slots<'a> {
    /// Blocks of the scratch memory of a thread: five buffers and the lines.
    const SCRATCH: usize = 5 * BUFFER + (LINES * size_of::<Line>()).div_ceil(size_of::<Lanes>());

    /// Slots behind the first `results` bytes of the workspace of a call.
    pub fn new(problem: &Problem, call: &'a Call, results: usize) -> Self {
        let data =
            call.workspace.wrapping_add(results.next_multiple_of(align_of::<Lanes>())).cast();
        Slots { data, kept: Shape::new(problem), workspace: PhantomData }
    }

    /// The bytes of a workspace with so many slots.
    pub fn end(problem: &Problem, results: usize, count: usize) -> usize {
        let slot = (Self::SCRATCH + Shape::new(problem).lanes()).saturating_mul(size_of::<Lanes>());
        results.saturating_add(align_of::<Lanes>()).saturating_add(slot.saturating_mul(count))
    }

    /// The memory of a thread; `None` for rows that are not kept. `streams`: see [`Writer::new`].
    pub fn get(&self, slot: usize, streams: bool) -> (Scratch<'a>, Option<Kept<'a>>) {
        let data = self.data.wrapping_add(slot * (Self::SCRATCH + self.kept.lanes()));
        let at = |buffer: usize| data.wrapping_add(buffer * BUFFER);
        let Shape { blocks, slopes } = self.kept;
        let row = data.wrapping_add(Self::SCRATCH);
        // SAFETY: the call checked that its workspace holds a slot for each thread, and each slot is
        // asked for by one of them. Any bits are numbers.
        unsafe {
            let scratch = Scratch {
                y: &mut *at(0).cast(),
                e: &mut *at(1).cast(),
                g: &mut *at(2).cast(),
                slope: &mut *at(3).cast(),
                u: &mut *at(4).cast(),
                writer: Writer::new(streams, &mut *at(5).cast()),
            };
            let kept = |slopes: usize| Kept {
                e: slice::from_raw_parts_mut(row, blocks),
                slope: slice::from_raw_parts_mut(row.wrapping_add(blocks), slopes),
                references: slice::from_raw_parts_mut(
                    row.wrapping_add(blocks + slopes).cast(),
                    blocks.div_ceil(BLOCKS),
                ),
            };
            (scratch, (blocks > 0).then(|| kept(if slopes { blocks } else { 0 })))
        }
    }
}

/// What is kept of a row.
#[derive(Clone, Copy)]
struct Shape {
    /// Its blocks; 0 where it is not kept.
    blocks: usize,
    /// Whether slopes are kept too.
    slopes: bool,
}

impl Shape {
    /// The longest row that is kept.
    const CLASSES: usize = 128 * 1024;

    fn new(problem: &Problem) -> Self {
        let keeps = problem.outputs.contains(Outputs::DLOGITS)
            && (NARROW + 1..=Self::CLASSES).contains(&problem.classes);
        let blocks = if keeps { problem.classes.div_ceil(LANES) } else { 0 };
        Shape { blocks, slopes: problem.softcap.is_some() }
    }

    /// The size of a slot, with a reference for each chunk.
    fn lanes(self) -> usize {
        self.blocks * (1 + usize::from(self.slopes)) + self.blocks.div_ceil(BLOCKS).div_ceil(LANES)
    }
}
