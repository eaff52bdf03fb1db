//! All rows of a call: blocks, denominators, reductions.
//!
//! Rows are summed in blocks whose size depends on the number of classes alone, each block in
//! order, and then the blocks in order. No result depends on the threads.

use std::ops::Range;

use super::elements::Elements;
use super::hessian::Hessian;
use super::keep::Keep;
use super::kernel::{Fused, Kernel, Scale, Totals};
use super::parallel::{Queue, Threads};
use super::scratch::{Scratch, Slots};
use super::simd::{Simd, Vectorised};
use super::softmax::{OfSoftmax, Softmax};
use super::split::{self, Split};
use super::sums::segments;
use super::terms::AnyTerm;
use super::{Processor, memory, times};
use crate::call::{Call, Work};
use crate::{Denominator, EmptyMean, Error, Operation, Problem, Reduction, Result};

/// Which way a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// From the logits to all outputs.
    Forward,
    /// From the logits and statistics to the gradient.
    Backward,
}

/// A gradient of this many bytes does not stay in the caches until somebody reads it.
const STREAMED: usize = 16 << 20;

/// What the targets of some rows say before any logit is read.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// Sum of the weights of the counted rows.
    weight: f64,
    /// Number of counted rows.
    rows: u64,
    /// The first row whose target is no class; `usize::MAX` if there is none. An `Option` would
    /// leave bytes of the workspace uninitialised, which its owner may want to read.
    first_invalid: usize,
}

/// What computes rows of a call, all their outputs, and says what they add to the totals.
pub(super) trait RowKernel: Sync {
    fn rows<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        scratch: &mut Scratch,
        keep: &mut Keep,
    ) -> Totals;
}

/// Computes all outputs of a call, or writes none if a target is not a class.
pub(super) fn run(problem: &Problem, call: &Call, processor: &Processor) -> Result<()> {
    let blocks = Blocks::new(problem, call.rows);
    let count = count(problem, call, &blocks, &processor.threads)?;
    let scale = scale(problem, call.denominator, &count);
    let kernel = &Kernel::new(problem, call, scale);
    let results = blocks.results_size();
    let slots = Slots::new(problem, call, results, blocks.streams);
    let whole = WholeRows { call, blocks: &blocks, slots: &slots, processor };
    let totals = match (problem.operation, call.work) {
        _ if problem.is_fused() && call.work != Work::DoubleBackward => {
            let pass = if call.work == Work::Forward { Pass::Forward } else { Pass::Backward };
            if blocks.splits(problem, &processor.threads) {
                let threads = processor.threads.count();
                let slots_end = Slots::end(problem, results, threads, blocks.streams);
                let memory = call.workspace.wrapping_add(slots_end);
                let split = Split { kernel, pass, slots: &slots, memory, rows: call.rows };
                split.run(&processor.threads, processor.instructions)
            } else {
                whole.run(&Fused { kernel, pass })
            }
        }
        (Operation::Softmax | Operation::LogSoftmax, Work::Forward) => whole.run(&Softmax(kernel)),
        (Operation::Softmax | Operation::LogSoftmax, _) => whole.run(&OfSoftmax(kernel)),
        (_, Work::DoubleBackward) => whole.run(&Hessian(kernel)),
        _ => whole.run(&Elements { kernel, term: AnyTerm::new(problem) }),
    };
    if call.work == Work::Forward {
        finish(problem, call, scale, totals);
    }
    Ok(())
}

/// All rows of a call, each computed by one thread.
struct WholeRows<'a> {
    call: &'a Call,
    blocks: &'a Blocks,
    slots: &'a Slots<'a>,
    processor: &'a Processor,
}

impl WholeRows<'_> {
    fn run(&self, kernel: &impl RowKernel) -> Totals {
        let &WholeRows { call, blocks, slots, processor } = self;
        let totals = blocks.map(&processor.threads, call, |slot, queue| {
            let (scratch, keep) = slots.get(slot);
            processor.instructions.run(Rows { kernel, call, scratch, keep, blocks, queue });
        });
        totals.iter().copied().fold(Totals::default(), Totals::plus)
    }
}

/// Rows that one thread computes: all that it gets from the queue.
struct Rows<'a, K> {
    kernel: &'a K,
    call: &'a Call,
    scratch: Scratch<'a>,
    keep: Keep<'a>,
    blocks: &'a Blocks,
    queue: &'a Queue,
}

impl<K: RowKernel> Vectorised for Rows<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Rows { kernel, call, mut scratch, mut keep, blocks, queue } = self;
        while let Some(some) = queue.take() {
            for block in some {
                let totals = kernel.rows(s, blocks.rows(block), &mut scratch, &mut keep);
                memory::set(call.workspace, block, totals);
            }
        }
        scratch.writer.write_waiting(s, keep.last());
        scratch.writer.finish(s);
    }
}

/// The workspace of a call in bytes: one result for each block, and what each thread keeps.
pub(super) fn workspace_size(problem: &Problem, rows: usize, processor: &Processor) -> usize {
    let blocks = Blocks::new(problem, rows);
    let (results, threads) = (blocks.results_size(), &processor.threads);
    if !Blocks::can_split(problem, threads) {
        return Slots::end(problem, results, blocks.tasks(threads), blocks.streams);
    }
    // Also for fewer rows, which may be split where these are not.
    let rows = rows.min(Blocks::ROUNDS * threads.count());
    let slots_end = Slots::end(problem, results, threads.count(), blocks.streams);
    slots_end.saturating_add(split::size(problem, rows))
}

fn count(problem: &Problem, call: &Call, blocks: &Blocks, threads: &Threads) -> Result<Count> {
    if !problem.has_class_targets() {
        let rows = call.rows as u64;
        return Ok(Count { weight: call.rows as f64, rows, ..Count::NONE });
    }
    let classes = problem.classes;
    let weight = |data: Option<*const u8>, index| {
        data.map_or(1.0, |data| f64::from(memory::get::<f32>(data, index)))
    };
    let weighted = call.class_weights.is_some() || call.row_weights.is_some();
    let counts = blocks.map(threads, call, |_, queue| {
        let mut indices = [0; Blocks::MOST_ROWS];
        while let Some(some) = queue.take() {
            for block in some {
                let rows = blocks.rows(block);
                let indices = &mut indices[..rows.len()];
                call.targets.indices(rows.start, indices);
                let mut count = Count::NONE;
                let is_counted = |&index: &i64| problem.ignore_index != Some(index);
                let is_class = |index: &i64| (0..classes as i64).contains(index);
                let wrong = |index: &i64| is_counted(index) && !is_class(index);
                if indices.iter().fold(false, |any, index| any | wrong(index)) {
                    let first = indices.iter().position(wrong);
                    count.first_invalid = first.map_or(usize::MAX, |first| rows.start + first);
                } else {
                    count.rows = indices.iter().map(|index| u64::from(is_counted(index))).sum();
                    count.weight = count.rows as f64;
                }
                if weighted && count.first_invalid == usize::MAX {
                    let counted = rows.zip(&*indices).filter(|(_, index)| is_counted(index));
                    count.weight = counted.fold(0.0, |sum, (row, &index)| {
                        let class = weight(call.class_weights, index as usize);
                        sum + class * weight(call.row_weights, row)
                    });
                }
                memory::set(call.workspace, block, count);
            }
        }
    });
    let count = counts.iter().copied().fold(Count::NONE, Count::plus);
    match count.first_invalid {
        usize::MAX => Ok(count),
        row => Err(Error::InvalidTarget { row, value: call.targets.index(row), classes }),
    }
}

fn finish(problem: &Problem, call: &Call, scale: Scale, totals: Totals) {
    if let (Some(loss), true) = (call.loss, problem.reduction.is_of_batch()) {
        let cross_entropy = times(totals.cross_entropy, scale.cross_entropy);
        let z_loss = match problem.z_loss {
            0.0 => 0.0,
            _ => times(totals.z_loss, scale.z_loss),
        };
        memory::set(loss, 0, (cross_entropy + z_loss) as f32);
    }
    if let Some(correct) = call.correct {
        memory::set(correct.cast(), 0, totals.correct);
    }
}

impl Count {
    const NONE: Count = Count { weight: 0.0, rows: 0, first_invalid: usize::MAX };

    fn plus(self, other: Count) -> Count {
        Count {
            weight: self.weight + other.weight,
            rows: self.rows + other.rows,
            first_invalid: self.first_invalid.min(other.first_invalid),
        }
    }
}

fn scale(problem: &Problem, denominator: Denominator, count: &Count) -> Scale {
    let over = |denominator: f64| match problem.empty_mean {
        _ if denominator != 0.0 => 1.0 / denominator,
        EmptyMean::Nan => f64::NAN,
        EmptyMean::Zero => 0.0,
    };
    let rows = count.rows as f64;
    let (cross_entropy, z_loss) = match (problem.reduction, denominator) {
        (Reduction::RowMean, _) => (over(problem.classes as f64), 1.0),
        (reduction, _) if !reduction.is_mean() => (1.0, 1.0),
        (_, Denominator::Value(value)) => (over(value), over(value)),
        (Reduction::BatchMean, _) => (over(rows), over(rows)),
        _ if problem.is_elementwise() => (over(rows * problem.classes as f64), 1.0),
        _ => (over(count.weight), over(rows)),
    };
    Scale { cross_entropy, z_loss }
}

/// The rows of a call, in blocks.
struct Blocks {
    rows: usize,
    rows_per_block: usize,
    /// Whether there is enough work for several threads.
    large: bool,
    /// Whether the gradient is written past the caches.
    streams: bool,
}

impl Blocks {
    /// Rows of a block, at most.
    const MOST_ROWS: usize = 256;

    fn new(problem: &Problem, rows: usize) -> Self {
        const ELEMENTS_PER_BLOCK: usize = if cfg!(miri) { 8 } else { 16 * 1024 };
        let classes = problem.classes;
        let elements = rows.saturating_mul(classes);
        Blocks {
            rows,
            rows_per_block: (ELEMENTS_PER_BLOCK / classes).clamp(1, Self::MOST_ROWS),
            large: elements >= 4 * ELEMENTS_PER_BLOCK,
            // In place, the lines are in the caches already.
            streams: !problem.in_place
                && elements.saturating_mul(problem.dlogits.size()) >= STREAMED,
        }
    }

    /// Whole rows that each thread computes where threads end at about the same time.
    const ROUNDS: usize = 4;

    /// Whether a row is work for several threads. Who asks for their number may start them.
    fn can_split(problem: &Problem, threads: &Threads) -> bool {
        problem.is_fused() && segments(problem) > 1 && threads.count() > 1
    }

    /// Whether rows are so few that each is work for all threads.
    fn splits(&self, problem: &Problem, threads: &Threads) -> bool {
        Self::can_split(problem, threads)
            && self.rows < Self::ROUNDS * threads.count()
            && !self.rows.is_multiple_of(threads.count())
    }

    /// How many threads work on whole rows.
    fn tasks(&self, threads: &Threads) -> usize {
        let threads = if self.large { threads.count() } else { 1 };
        threads.min(self.count())
    }

    fn count(&self) -> usize {
        self.rows.div_ceil(self.rows_per_block)
    }

    fn rows(&self, block: usize) -> Range<usize> {
        let first = block * self.rows_per_block;
        first..self.rows.min(first + self.rows_per_block)
    }

    /// The bytes of one result for each block.
    fn results_size(&self) -> usize {
        self.count().saturating_mul(size_of::<Count>().max(size_of::<Totals>()))
    }

    /// Calls `task` on several threads, each with its number and the queue of blocks, for all of which
    /// it leaves results in the workspace of the call.
    fn map<T: Copy>(
        &self,
        threads: &Threads,
        call: &Call,
        task: impl Fn(usize, &Queue) + Sync,
    ) -> &[T] {
        let blocks = self.count();
        let tasks = self.tasks(threads);
        let queue = Queue::new(blocks, tasks);
        threads.run(tasks, |index| task(index, &queue));
        memory::slice(call.workspace, blocks)
    }
}

/// Rows, so many at a time.
pub(super) fn batches(rows: Range<usize>, count: usize) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.step_by(count).map(move |first| first..end.min(first + count))
}
