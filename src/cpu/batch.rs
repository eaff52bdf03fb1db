//! All rows of a call: blocks, denominators, reductions.
//!
//! Rows are summed in blocks whose size depends on the number of classes alone, each block in
//! order, and then the blocks in order. No result depends on the threads.

use std::ops::Range;

use super::kernel::{Kernel, Scale, Scratch, Totals};
use super::memory;
use super::parallel::Threads;
use super::times;
use crate::call::Call;
use crate::{Denominator, EmptyMean, Error, Problem, Reduction, Result};

/// Which way a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// From the logits to all outputs.
    Forward,
    /// From the logits and statistics to the gradient.
    Backward,
}

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

/// Computes all outputs of a call, or writes none if a target is not a class.
pub(super) fn run(problem: &Problem, call: &Call, pass: Pass, threads: &Threads) -> Result<()> {
    let blocks = Blocks::new(problem, call.rows);
    let count = count(problem, call, &blocks, threads)?;
    let scale = scale(problem, call.denominator, &count);
    let kernel = Kernel::new(problem, call, scale);
    match pass {
        Pass::Forward => {
            let forward = |rows: Range<usize>, scratch: &mut Scratch| {
                rows.map(|row| kernel.forward(row, scratch)).fold(Totals::default(), Totals::plus)
            };
            let totals = blocks.map(threads, call, forward);
            finish(
                problem,
                call,
                scale,
                totals.iter().copied().fold(Totals::default(), Totals::plus),
            );
        }
        Pass::Backward => {
            blocks.map(threads, call, |rows, scratch| {
                rows.for_each(|row| kernel.backward(row, scratch));
            });
        }
    }
    Ok(())
}

/// The workspace of a call in bytes: one result for each block.
pub(super) fn workspace_size(problem: &Problem, rows: usize) -> usize {
    let result = size_of::<Count>().max(size_of::<Totals>());
    Blocks::new(problem, rows).count().saturating_mul(result)
}

fn count(problem: &Problem, call: &Call, blocks: &Blocks, threads: &Threads) -> Result<Count> {
    if problem.targets_are_probabilities() {
        let rows = call.rows as u64;
        return Ok(Count { weight: call.rows as f64, rows, ..Count::NONE });
    }
    let classes = problem.classes;
    let weight = |data: Option<*const u8>, index| {
        data.map_or(1.0, |data| f64::from(memory::get::<f32>(data, index)))
    };
    let counts = blocks.map(threads, call, |rows, _: &mut ()| {
        rows.map(|row| match call.targets.index(row) {
            index if problem.ignore_index == Some(index) => Count::NONE,
            index if (0..classes as i64).contains(&index) => {
                let class = weight(call.class_weights, index as usize);
                let weight = class * weight(call.row_weights, row);
                Count { weight, rows: 1, ..Count::NONE }
            }
            _ => Count { first_invalid: row, ..Count::NONE },
        })
        .fold(Count::NONE, Count::plus)
    });
    let count = counts.iter().copied().fold(Count::NONE, Count::plus);
    match count.first_invalid {
        usize::MAX => Ok(count),
        row => Err(Error::InvalidTarget { row, value: call.targets.index(row), classes }),
    }
}

fn finish(problem: &Problem, call: &Call, scale: Scale, totals: Totals) {
    if let (Some(loss), true) = (call.loss, problem.reduction != Reduction::None) {
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
    let (cross_entropy, z_loss) = match (problem.reduction, denominator) {
        (Reduction::None | Reduction::Sum, _) => (1.0, 1.0),
        (Reduction::Mean, Denominator::Default) => (over(count.weight), over(count.rows as f64)),
        (Reduction::Mean, Denominator::Value(value)) => (over(value), over(value)),
    };
    Scale { cross_entropy, z_loss }
}

/// The rows of a call, in blocks.
struct Blocks {
    rows: usize,
    rows_per_block: usize,
    /// Whether there is enough work for several threads.
    large: bool,
}

impl Blocks {
    fn new(problem: &Problem, rows: usize) -> Self {
        const ELEMENTS_PER_BLOCK: usize = if cfg!(miri) { 8 } else { 16 * 1024 };
        let classes = problem.classes;
        Blocks {
            rows,
            rows_per_block: (ELEMENTS_PER_BLOCK / classes).clamp(1, 256),
            large: rows.saturating_mul(classes) >= 4 * ELEMENTS_PER_BLOCK,
        }
    }

    fn count(&self) -> usize {
        self.rows.div_ceil(self.rows_per_block)
    }

    fn rows(&self, block: usize) -> Range<usize> {
        let first = block * self.rows_per_block;
        first..self.rows.min(first + self.rows_per_block)
    }

    /// Calls `task` for every block, each thread with a state of its own, and keeps the results in
    /// the workspace of the call.
    fn map<S: Default, T: Copy>(
        &self,
        threads: &Threads,
        call: &Call,
        task: impl Fn(Range<usize>, &mut S) -> T + Sync,
    ) -> &[T] {
        let blocks = self.count();
        let tasks = if self.large { threads.suggested_tasks().min(blocks) } else { blocks.min(1) };
        threads.run(tasks, |index| {
            let mut state = S::default();
            for block in blocks * index / tasks..blocks * (index + 1) / tasks {
                memory::set(call.workspace, block, task(self.rows(block), &mut state));
            }
        });
        memory::slice(call.workspace, blocks)
    }
}
