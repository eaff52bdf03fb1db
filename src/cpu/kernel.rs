//! Cross entropy of one row in `f32`.
//!
//! A row is read in chunks that fit the first-level cache, once for the statistics: the largest logit
//! m, and the sums over t = z - z(m) <= 0, which are kept relative to the largest logit so far. The sum
//! of exponentials leaves out *one* maximum, so that lse - z\[y\] = log1p(s) - t\[y\] has no
//! cancellation, however large the logits are and however far the target is ahead. Then comes the
//! gradient, from p = exp(t) / (1 + s). At a maximal class 1 - p is s / (1 + s).
//!
//! What is done once per row is done in `f64`.

use std::ops::Range;

use super::Pass;
use super::batch::{RowKernel, batches};
use super::finish::{RowOutputs, RowTotals};
use super::gradient::Gradient;
use super::keep::Keep;
use super::medium::{self, MEDIUM};
use super::memory::{self, Row};
use super::narrow::NARROW;
use super::scratch::Scratch;
use super::simd::{LANES, Simd, Vectorised};
use super::squash::Squash;
use crate::Problem;
use crate::call::Call;

/// Computes the rows of a call.
pub(super) struct Kernel<'a> {
    pub(super) problem: &'a Problem,
    pub(super) call: &'a Call,
    pub(super) scale: Scale,
    pub(super) squash: Squash,
    pub(super) class_weights: Option<Row>,
    /// Sum of the class weights; their number without any.
    pub(super) weight_sum: f64,
}

/// All that is computed of logits and targets, or from their statistics.
pub(super) struct Fused<'a> {
    pub kernel: &'a Kernel<'a>,
    pub pass: Pass,
}

impl RowKernel for Fused<'_> {
    #[inline(always)]
    fn rows<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        scratch: &mut Scratch,
        keep: &mut Keep,
    ) -> Totals {
        match self.pass {
            Pass::Forward => self.kernel.forward(s, rows, scratch, keep),
            Pass::Backward => {
                self.kernel.backward(s, rows, scratch);
                Totals::default()
            }
        }
    }
}

/// The target of one row.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Class(usize),
    Probabilities(Row),
}

impl Target {
    /// That of an operation without targets.
    pub const NONE: Target = Target::Class(usize::MAX);

    /// The class, 0 of probabilities.
    pub fn class(self) -> usize {
        match self {
            Target::Class(class) => class,
            Target::Probabilities(_) => 0,
        }
    }
}

/// What one row, or one block of rows, adds to the totals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Weighted cross entropy.
    pub cross_entropy: f64,
    /// z-loss, not weighted.
    pub z_loss: f64,
    /// Correct rows.
    pub correct: i64,
}

/// What the loss is multiplied by, and with it the gradient: 1, or 1 / denominator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub cross_entropy: f64,
    pub z_loss: f64,
}

impl<'a> Kernel<'a> {
    pub fn new(problem: &'a Problem, call: &'a Call, scale: Scale) -> Self {
        let weight_sum = match call.class_weights {
            Some(data) => {
                let weights = memory::slice::<f32>(data, problem.classes);
                weights.iter().copied().map(f64::from).sum()
            }
            None => problem.classes as f64,
        };
        let class_weights = call.class_weights.map(Row::of);
        let squash = Squash::new(problem);
        Kernel { problem, call, scale, squash, class_weights, weight_sum }
    }

    /// Writes all outputs of some rows, and returns what they add to the totals.
    #[inline(always)]
    fn forward<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        scratch: &mut Scratch,
        keep: &mut Keep,
    ) -> Totals {
        let (classes, mut totals) = (self.problem.classes, Totals::default());
        if classes <= NARROW {
            let mut lanes = RowTotals::ZERO;
            for rows in batches(rows, LANES) {
                self.narrow_forward(s, rows, &mut lanes, scratch);
            }
            return lanes.sum();
        }
        if classes <= MEDIUM {
            for rows in batches(rows, medium::ROWS) {
                totals = self.medium_forward(s, rows, totals, scratch, keep);
            }
            return totals;
        }
        for row in rows {
            totals = totals.plus(self.wide_forward(s, row, scratch, keep));
        }
        totals
    }

    /// Writes the gradient of some rows from their statistics.
    #[inline(always)]
    fn backward<S: Simd>(&self, s: S, rows: Range<usize>, scratch: &mut Scratch) {
        if self.problem.classes <= NARROW {
            for rows in batches(rows, LANES) {
                self.narrow_backward(s, rows, scratch);
            }
        } else {
            for row in rows {
                self.wide_backward(s, row, scratch);
            }
        }
    }

    /// Writes all outputs of a row, and returns what it adds to the totals.
    #[inline(always)]
    fn wide_forward<S: Simd>(
        &self,
        s: S,
        row: usize,
        scratch: &mut Scratch,
        keep: &mut Keep,
    ) -> Totals {
        let call = self.call;
        let Some(target) = self.target(row) else {
            self.write(row, RowOutputs::IGNORED);
            self.fill_gradient(s, row, 0..self.problem.classes, 0.0, scratch);
            return Totals::default();
        };
        let logits = call.logits.row(row, call.inner);
        let (next, last) = keep.turn();
        let mut kept = next.row(0, last);
        let (shift, sums) = self.sums(s, logits, target, scratch, &mut kept);
        scratch.writer.write_waiting(s, last);
        let largest = sums.largest;
        if sums.exp.is_nan() || !self.squash.is_defined_for(largest.x) {
            let largest = if self.has_nan(s, logits, scratch) { f32::NAN } else { largest.x };
            self.write(row, RowOutputs::undefined(largest.into(), self.squash.orient(largest)));
            self.fill_gradient(s, row, 0..self.problem.classes, f32::NAN, scratch);
            return Totals { cross_entropy: f64::NAN, ..Totals::default() };
        }
        let (softmax, totals) = self.finish_row(s, row, target, shift, &sums);
        let (columns, kept) = (0..self.problem.classes, kept.as_ref());
        s.call(Gradient { kernel: self, row, columns, target, softmax, scratch, kept });
        totals
    }

    /// Whether exponentials can be taken of a row with this sum and largest logit, and make a softmax.
    #[inline(always)]
    pub(super) fn is_ordinary(&self, exp: f64, x: f32, y: f32) -> bool {
        !exp.is_nan() & self.squash.takes(y) & self.squash.is_defined_for(x)
    }

    /// Writes the gradient of a row from its statistics.
    #[inline(always)]
    fn wide_backward<S: Simd>(&self, s: S, row: usize, scratch: &mut Scratch) {
        let Some(stats) = self.call.stats else { return };
        let Some(target) = self.target(row) else {
            return self.fill_gradient(s, row, 0..self.problem.classes, 0.0, scratch);
        };
        let [largest, sum] = memory::get::<[f32; 2]>(stats, row);
        if largest.is_nan() || sum.is_nan() {
            return self.fill_gradient(s, row, 0..self.problem.classes, f32::NAN, scratch);
        }
        let mass = match target {
            Target::Class(_) => 0.0,
            Target::Probabilities(q) => {
                self.segments().fold(0.0, |sum, segment| sum + self.mass_of(s, q, segment, scratch))
            }
        };
        let softmax = self.softmax(s, [largest, sum], mass);
        let (columns, kept) = (0..self.problem.classes, None);
        s.call(Gradient { kernel: self, row, columns, target, softmax, scratch, kept });
    }

    /// The target of a row; `None` for an ignored one.
    pub(super) fn target(&self, row: usize) -> Option<Target> {
        let targets = &self.call.targets;
        if self.problem.targets_are_probabilities() {
            return Some(Target::Probabilities(targets.row(row, self.call.inner)));
        }
        let index = targets.index(row);
        (self.problem.ignore_index != Some(index)).then_some(Target::Class(index as usize))
    }

    pub(super) fn row_weight(&self, row: usize) -> f64 {
        self.call.row_weights.map_or(1.0, |data| memory::get::<f32>(data, row).into())
    }

    pub(super) fn class_weight(&self, class: usize) -> f64 {
        self.class_weights.map_or(1.0, |weights| weights.get(class).into())
    }
}

/// One row, computed as a long one in a function of its own.
pub(super) struct Wide<'a, 'b> {
    pub kernel: &'a Kernel<'a>,
    pub pass: Pass,
    pub row: usize,
    pub scratch: &'a mut Scratch<'b>,
}

impl Vectorised for Wide<'_, '_> {
    type Output = Totals;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Totals {
        let Wide { kernel, pass, row, scratch } = self;
        match pass {
            Pass::Forward => kernel.wide_forward(s, row, scratch, &mut Keep::nothing()),
            Pass::Backward => {
                kernel.wide_backward(s, row, scratch);
                Totals::default()
            }
        }
    }
}

impl Totals {
    pub fn plus(self, other: Totals) -> Totals {
        Totals {
            cross_entropy: self.cross_entropy + other.cross_entropy,
            z_loss: self.z_loss + other.z_loss,
            correct: self.correct + other.correct,
        }
    }
}
