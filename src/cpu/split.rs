//! Few long rows: all threads work on the segments of each.
//!
//! The segments are those that a single thread works on one after the other, and their sums are added
//! in the same order: the bits are the same.
#![allow(unsafe_code)] // memory that threads share

use super::batch::Pass;
use super::finish::Softmax;
use super::gradient::Gradient;
use super::kernel::{Kernel, Target, Totals, Wide};
use super::memory;
use super::parallel::{Queue, Threads};
use super::partial::Partial;
use super::scratch::Slots;
use super::simd::{InstructionSet, Simd, Vectorised};
use super::sums::{Sums, segments};
use crate::Problem;

/// The rows of a call, by segments.
pub(super) struct Split<'a> {
    pub kernel: &'a Kernel<'a>,
    pub pass: Pass,
    pub slots: &'a Slots<'a>,
    /// Sums of all segments, and then what is known of all rows: [`size`] bytes.
    pub memory: *mut u8,
    pub rows: usize,
}

// SAFETY: threads write different elements of the memory.
unsafe impl Sync for Split<'_> {}

/// What a row needs for its gradient; `None` for one that has it.
type Ready = Option<(Target, Softmax)>;

/// The bytes that so many rows need.
pub(super) fn size(problem: &Problem, rows: usize) -> usize {
    let row =
        segments(problem).saturating_mul(size_of::<Partial>()).saturating_add(size_of::<Ready>());
    rows.saturating_mul(row)
}

impl Split<'_> {
    /// Computes all rows, and gives what they add to the totals.
    pub fn run(&self, threads: &Threads, instructions: InstructionSet) -> Totals {
        let count = self.rows * segments(self.kernel.problem);
        let tasks = threads.count().min(count);
        let queue = Queue::new(count, count);
        threads.run(tasks, |slot| instructions.run(AllSums { split: self, slot, queue: &queue }));
        let totals = instructions.run(Finish { split: self });
        let queue = Queue::new(count, count);
        threads.run(tasks, |slot| instructions.run(Gradients { split: self, slot, queue: &queue }));
        totals
    }

    fn ready(&self) -> *mut u8 {
        let partials = self.rows * segments(self.kernel.problem) * size_of::<Partial>();
        self.memory.wrapping_add(partials)
    }
}

/// Makes the sums of segments.
struct AllSums<'a> {
    split: &'a Split<'a>,
    slot: usize,
    queue: &'a Queue,
}

impl Vectorised for AllSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let &Split { kernel, pass, slots, memory, .. } = self.split;
        let (mut scratch, _) = slots.get(self.slot);
        while let Some(index) = self.queue.take() {
            let (row, segment) = kernel.segment(index.start);
            let Some(target) = kernel.target(row) else { continue };
            let logits = kernel.call.logits.row(row, kernel.call.inner);
            let sums = match pass {
                Pass::Forward => {
                    let (columns, scratch, kept) = (segment, &mut scratch, &mut None);
                    let (shift, reference) = (0.0, f32::NEG_INFINITY);
                    let work =
                        Sums { kernel, shift, reference, logits, target, columns, scratch, kept };
                    s.call(work)
                }
                Pass::Backward => match target {
                    Target::Class(_) => Partial::EMPTY,
                    Target::Probabilities(q) => {
                        let mass = kernel.mass_of(s, q, segment, &mut scratch);
                        Partial { mass, ..Partial::EMPTY }
                    }
                },
            };
            memory::set(memory, index.start, sums);
        }
    }
}

/// Adds the sums of each row, and writes all outputs but the gradients; those of rows that need special
/// care too.
struct Finish<'a> {
    split: &'a Split<'a>,
}

impl Vectorised for Finish<'_> {
    type Output = Totals;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Totals {
        let &Split { kernel, pass, slots, memory, rows, .. } = self.split;
        let (mut scratch, _) = slots.get(0);
        let segments = segments(kernel.problem);
        let mut totals = Totals::default();
        for row in 0..rows {
            let of_row = || {
                let segments = row * segments..(row + 1) * segments;
                segments.map(|index| memory::get::<Partial>(memory, index))
            };
            let ready: Ready = match (kernel.target(row), pass) {
                (Some(target), Pass::Forward) => {
                    let squash = &kernel.squash;
                    let sums =
                        of_row().fold(Partial::EMPTY, |sums, other| sums.plus(s, squash, other));
                    let largest = sums.largest;
                    if kernel.is_ordinary(sums.exp, largest.x, largest.y) {
                        let (softmax, of_row) = kernel.finish_row(s, row, target, 0.0, &sums);
                        totals = totals.plus(of_row);
                        Some((target, softmax))
                    } else {
                        None
                    }
                }
                (Some(target), Pass::Backward) => {
                    let mass = of_row().fold(0.0, |sum, other| sum + other.mass);
                    kernel.call.stats.and_then(|stats| {
                        let stats = memory::get::<[f32; 2]>(stats, row);
                        let defined = stats.iter().all(|x| !x.is_nan());
                        defined.then(|| (target, kernel.softmax(s, stats, mass)))
                    })
                }
                (None, _) => None,
            };
            if ready.is_none() {
                let scratch = &mut scratch;
                totals = totals.plus(s.call(Wide { kernel, pass, row, scratch }));
            }
            memory::set(self.split.ready(), row, ready);
        }
        scratch.writer.finish(s);
        totals
    }
}

/// Writes the gradients of segments.
struct Gradients<'a> {
    split: &'a Split<'a>,
    slot: usize,
    queue: &'a Queue,
}

impl Vectorised for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let &Split { kernel, slots, .. } = self.split;
        let (mut scratch, _) = slots.get(self.slot);
        while let Some(index) = self.queue.take() {
            let (row, segment) = kernel.segment(index.start);
            let ready: Ready = memory::get(self.split.ready(), row);
            if let Some((target, softmax)) = ready {
                let (columns, scratch, kept) = (segment, &mut scratch, None);
                s.call(Gradient { kernel, row, columns, target, softmax, scratch, kept });
            }
        }
        scratch.writer.finish(s);
    }
}
