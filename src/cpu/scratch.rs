//! Memory of one thread.
#![allow(unsafe_code)] // memory of a workspace

use std::marker::PhantomData;

use super::keep::{Keep, Shape};
use super::simd::{Lanes, Line};
use super::writer::Writer;
use crate::Problem;
use crate::call::Call;

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

/// Scratch memory and rows that are kept for each thread, behind the results in the workspace of a call.
pub(super) struct Slots<'a> {
    data: *mut Lanes,
    kept: Shape,
    streams: bool,
    workspace: PhantomData<&'a mut [u8]>,
}

// SAFETY: each thread has a slot of its own.
unsafe impl Sync for Slots<'_> {}

impl<'a> Slots<'a> {
    /// Blocks of the scratch memory of a thread: five buffers and a line.
    const SCRATCH: usize = 5 * BUFFER + size_of::<Line>().div_ceil(size_of::<Lanes>());

    /// Slots behind the first `results` bytes of the workspace of a call.
    /// `streams`: whether gradients are written past the caches.
    pub fn new(problem: &Problem, call: &'a Call, results: usize, streams: bool) -> Self {
        let data =
            call.workspace.wrapping_add(results.next_multiple_of(align_of::<Lanes>())).cast();
        Slots { data, kept: Shape::new(problem), streams, workspace: PhantomData }
    }

    /// The bytes of a workspace with so many slots.
    pub fn end(problem: &Problem, results: usize, count: usize, streams: bool) -> usize {
        let lanes = Self::SCRATCH + Shape::new(problem).lanes(streams);
        let slot = lanes.saturating_mul(size_of::<Lanes>());
        results.saturating_add(align_of::<Lanes>()).saturating_add(slot.saturating_mul(count))
    }

    /// The memory of a thread.
    pub fn get(&self, slot: usize) -> (Scratch<'a>, Keep<'a>) {
        let size = Self::SCRATCH + self.kept.lanes(self.streams);
        let data = self.data.wrapping_add(slot * size);
        let at = |buffer: usize| data.wrapping_add(buffer * BUFFER);
        // SAFETY: the call checked that its workspace holds a slot for each thread, and each slot is
        // asked for by one of them. Any bits are numbers.
        unsafe {
            let scratch = Scratch {
                y: &mut *at(0).cast(),
                e: &mut *at(1).cast(),
                g: &mut *at(2).cast(),
                slope: &mut *at(3).cast(),
                u: &mut *at(4).cast(),
                writer: Writer::new(self.streams, &mut *at(5).cast()),
            };
            (scratch, Keep::new(data.wrapping_add(Self::SCRATCH), self.kept, self.streams))
        }
    }
}
