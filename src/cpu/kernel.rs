//! Cross entropy of one row in `f32`.
//!
//! A row is read in chunks that fit the first-level cache:
//!
//! 1. for its largest logit m, and whether it holds a NaN;
//! 2. for the sums over t = z - z(m) <= 0. The sum of exponentials leaves out *one* maximum:
//!    s = sum(exp t) - 1, so that lse - z\[y\] = log1p(s) - t\[y\] has no cancellation, however
//!    large the logits are and however far the target is ahead;
//! 3. for the gradient, from p = exp(t) / (1 + s). At a maximal class 1 - p is s / (1 + s).
//!
//! What is done once per row is done in `f64`.

use std::ops::Range;

use super::lanes::{self, CHUNK};
use super::memory::{self, Row};
use super::squash::{Reference, Squash};
use super::{old_math, times};
use crate::call::Call;
use crate::{Outputs, Problem, Reduction};

/// Computes the rows of a call.
pub(super) struct Kernel<'a> {
    pub(super) problem: &'a Problem,
    pub(super) call: &'a Call,
    pub(super) scale: Scale,
    pub(super) squash: Squash,
    pub(super) class_weights: Option<&'a [f32]>,
    /// Sum of the class weights; their number without any.
    pub(super) weight_sum: f64,
}

/// One chunk of a row, and what was made of it.
pub(super) struct Scratch {
    /// t = z - z(m).
    pub(super) t: [f32; CHUNK],
    /// exp(t).
    pub(super) e: [f32; CHUNK],
    /// dz/dx, where it differs between classes.
    pub(super) slope: [f32; CHUNK],
    /// u = w ((1 - s) q + s/C) of probability targets q.
    pub(super) u: [f32; CHUNK],
    /// The gradient.
    pub(super) gradient: [f32; CHUNK],
    /// The first column of the chunk that t, e and slope hold, if any.
    prepared: Option<usize>,
}

impl Default for Scratch {
    fn default() -> Self {
        let zeros = [0.0; CHUNK];
        Scratch { t: zeros, e: zeros, slope: zeros, u: zeros, gradient: zeros, prepared: None }
    }
}

/// The target of one row.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Class(usize),
    Probabilities(Row),
}

/// The softmax of a row: p = exp(z - z(m)) / (1 + s).
#[derive(Clone, Copy)]
pub(super) struct Softmax {
    pub(super) reference: Reference,
    /// Sum of exp(z - z(m)) without one maximum: an `f32`, as the statistics keep it.
    pub(super) s: f64,
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

/// The sums over one row.
#[derive(Default)]
struct Sums {
    /// sum(exp t) without one maximum.
    exp: f64,
    /// -sum(t exp t).
    entropy: f64,
    /// -sum(w t), which label smoothing needs.
    spread: f64,
    /// -t\[y\], or -sum(u t).
    target: f64,
    /// sum(u).
    mass: f64,
}

/// What one row gives, besides its gradient.
struct RowOutputs {
    loss: f64,
    lse: f64,
    entropy: f64,
    /// The largest logit, and s.
    stats: [f32; 2],
    argmax: i64,
}

impl<'a> Kernel<'a> {
    pub fn new(problem: &'a Problem, call: &'a Call, scale: Scale) -> Self {
        let class_weights =
            call.class_weights.map(|data| memory::slice::<f32>(data, problem.classes));
        let weight_sum = match class_weights {
            Some(weights) => weights.iter().copied().map(f64::from).sum(),
            None => problem.classes as f64,
        };
        let squash = Squash::new(problem);
        Kernel { problem, call, scale, squash, class_weights, weight_sum }
    }

    /// Writes all outputs of a row, and returns what it adds to the totals.
    pub fn forward(&self, row: usize, scratch: &mut Scratch) -> Totals {
        scratch.prepared = None;
        let call = self.call;
        let Some(target) = self.target(row) else {
            self.write(row, RowOutputs::IGNORED);
            self.fill_gradient(row, 0.0, scratch);
            return Totals::default();
        };
        let logits = call.logits.row(row, call.inner);
        let (largest, has_nan) = self.largest(logits, scratch);
        if has_nan || !self.squash.is_defined_for(largest) {
            let largest = if has_nan { f32::NAN } else { largest };
            self.write(row, RowOutputs::undefined(largest.into(), self.squash.orient(largest)));
            self.fill_gradient(row, f32::NAN, scratch);
            return Totals { cross_entropy: f64::NAN, ..Totals::default() };
        }
        let argmax = self.argmax(logits, largest, scratch);
        let reference = self.squash.reference(largest);
        let sums = self.sums(logits, target, reference, scratch);
        let softmax = Softmax { reference, s: f64::from(sums.exp as f32) };

        let cross_entropy = self.cross_entropy(target, &sums, softmax);
        let totals = Totals {
            cross_entropy: times(self.row_weight(row), cross_entropy),
            z_loss: match self.problem.z_loss {
                0.0 => 0.0,
                factor => factor * softmax.lse().powi(2),
            },
            correct: argmax.is_some_and(|argmax| argmax == self.best(target)).into(),
        };
        let outputs = RowOutputs {
            loss: totals.cross_entropy + totals.z_loss,
            lse: softmax.lse(),
            entropy: softmax.log1p_s() + sums.entropy / (1.0 + softmax.s),
            stats: [self.squash.orient(largest), softmax.s as f32],
            argmax: argmax.map_or(-1, |argmax| argmax as i64),
        };
        self.write(row, outputs);
        self.write_gradient(row, target, softmax, sums.mass, scratch);
        totals
    }

    /// Writes the gradient of a row from its statistics.
    pub fn backward(&self, row: usize, scratch: &mut Scratch) {
        scratch.prepared = None;
        let Some(stats) = self.call.stats else { return };
        let Some(target) = self.target(row) else {
            return self.fill_gradient(row, 0.0, scratch);
        };
        let [largest, s] = memory::get::<[f32; 2]>(stats, row);
        if largest.is_nan() || s.is_nan() {
            return self.fill_gradient(row, f32::NAN, scratch);
        }
        let reference = self.squash.reference(self.squash.orient(largest));
        let softmax = Softmax { reference, s: f64::from(s) };
        let mass = match target {
            Target::Class(_) => 0.0,
            Target::Probabilities(q) => self
                .chunks()
                .map(|columns| {
                    let u = self.mix(q, &columns, &mut scratch.u);
                    lanes::sum_by(u, u, |u, _| u)
                })
                .sum(),
        };
        self.write_gradient(row, target, softmax, mass, scratch);
    }

    /// The target of a row; `None` for an ignored one.
    fn target(&self, row: usize) -> Option<Target> {
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
        self.class_weights.map_or(1.0, |weights| weights[class].into())
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let classes = self.problem.classes;
        (0..classes).step_by(CHUNK).map(move |first| first..classes.min(first + CHUNK))
    }

    /// The largest oriented logit, and whether there is a NaN.
    fn largest(&self, logits: Row, scratch: &mut Scratch) -> (f32, bool) {
        self.chunks().fold((f32::NEG_INFINITY, false), |(largest, has_nan), columns| {
            let (chunk_largest, chunk_has_nan) = lanes::max(self.load(logits, &columns, scratch));
            (largest.max(chunk_largest), has_nan | chunk_has_nan)
        })
    }

    /// The first class with the largest logit, if anybody wants to know.
    fn argmax(&self, logits: Row, largest: f32, scratch: &mut Scratch) -> Option<usize> {
        if !self.problem.outputs.intersects(Outputs::ARGMAX | Outputs::CORRECT) {
            return None;
        }
        self.chunks().find_map(|columns| {
            let x = self.load(logits, &columns, scratch);
            x.iter().position(|&x| x == largest).map(|class| columns.start + class)
        })
    }

    /// The class that the target says: the first most probable one.
    fn best(&self, target: Target) -> usize {
        match target {
            Target::Class(class) => class,
            Target::Probabilities(q) => {
                let mut chunk = [0.0; CHUNK];
                let mut best = (0, f32::NEG_INFINITY);
                for columns in self.chunks() {
                    q.load(columns.start, &mut chunk[..columns.len()]);
                    for (class, &q) in columns.zip(&chunk) {
                        best = if q > best.1 { (class, q) } else { best };
                    }
                }
                best.0
            }
        }
    }

    fn sums(
        &self,
        logits: Row,
        target: Target,
        reference: Reference,
        scratch: &mut Scratch,
    ) -> Sums {
        let wants_entropy = self.problem.outputs.contains(Outputs::ENTROPY);
        let mut sums = Sums::default();
        let mut maxima = 0;
        for columns in self.chunks() {
            self.prepare(logits, &columns, reference, scratch);
            let (t, e) = (&scratch.t[..columns.len()], &scratch.e[..columns.len()]);
            sums.exp += lanes::sum_by(e, t, |e, t| if t == 0.0 { 0.0 } else { e });
            maxima += lanes::count_zeros(t);
            if wants_entropy {
                sums.entropy += lanes::sum_by(e, t, |e, t| if e == 0.0 { 0.0 } else { -t * e });
            }
            match target {
                Target::Class(class) => {
                    if columns.contains(&class) {
                        sums.target = f64::from(-t[class - columns.start]);
                    }
                    if self.problem.label_smoothing != 0.0 {
                        sums.spread += match self.class_weights {
                            None => lanes::sum_by(t, t, |t, _| -t),
                            Some(weights) => lanes::sum_by(&weights[columns], t, minus_product),
                        };
                    }
                }
                Target::Probabilities(q) => {
                    let u = self.mix(q, &columns, &mut scratch.u);
                    sums.target += lanes::sum_by(u, t, minus_product);
                    sums.mass += lanes::sum_by(u, u, |u, _| u);
                }
            }
        }
        sums.exp += f64::from(maxima - 1);
        sums
    }

    /// The loss of a row of weight 1, without the z-loss.
    fn cross_entropy(&self, target: Target, sums: &Sums, softmax: Softmax) -> f64 {
        let log1p_s = softmax.log1p_s();
        match target {
            Target::Class(class) => {
                let smoothing = self.problem.label_smoothing;
                let hit = times(self.class_weight(class), log1p_s + sums.target);
                let spread = self.weight_sum * log1p_s + sums.spread;
                let share = smoothing / self.problem.classes as f64;
                times(1.0 - smoothing, hit) + times(share, spread)
            }
            Target::Probabilities(_) => sums.mass * log1p_s + sums.target,
        }
    }

    /// Reads a chunk of oriented logits.
    fn load<'s>(&self, logits: Row, columns: &Range<usize>, scratch: &'s mut Scratch) -> &'s [f32] {
        let x = &mut scratch.t[..columns.len()];
        logits.load(columns.start, x);
        self.squash.orient_all(x);
        x
    }

    /// Makes t, exp(t) and slopes of a chunk.
    pub(super) fn prepare(
        &self,
        logits: Row,
        columns: &Range<usize>,
        reference: Reference,
        scratch: &mut Scratch,
    ) {
        if scratch.prepared == Some(columns.start) {
            return;
        }
        self.load(logits, columns, scratch);
        let len = columns.len();
        let Scratch { t, e, slope, .. } = scratch;
        self.squash.distances(&mut t[..len], &mut slope[..len], reference);
        lanes::map(&mut e[..len], &t[..len], old_math::exp);
        scratch.prepared = Some(columns.start);
    }

    /// Reads a chunk of probabilities q and makes u = w ((1 - s) q + s/C) of it.
    pub(super) fn mix<'s>(
        &self,
        q: Row,
        columns: &Range<usize>,
        u: &'s mut [f32; CHUNK],
    ) -> &'s [f32] {
        let u = &mut u[..columns.len()];
        q.load(columns.start, u);
        let smoothing = self.problem.label_smoothing;
        if smoothing != 0.0 {
            let keep = (1.0 - smoothing) as f32;
            let share = (smoothing / self.problem.classes as f64) as f32;
            u.iter_mut().for_each(|u| *u = *u * keep + share);
        }
        if let Some(weights) = self.class_weights {
            u.iter_mut().zip(&weights[columns.clone()]).for_each(|(u, w)| *u *= w);
        }
        u
    }

    /// Writes those outputs of a row that are wanted, but for its gradient.
    fn write(&self, row: usize, outputs: RowOutputs) {
        let call = self.call;
        let write = |column: Option<*mut u8>, value: f64| {
            if let Some(data) = column {
                memory::set(data, row, value as f32);
            }
        };
        if self.problem.reduction == Reduction::None {
            write(call.loss, outputs.loss);
        }
        write(call.lse, outputs.lse);
        write(call.entropy, outputs.entropy);
        if let Some(stats) = call.stats {
            memory::set(stats, row, outputs.stats);
        }
        if let Some(argmax) = call.argmax {
            memory::set(argmax.cast(), row, outputs.argmax);
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

impl RowOutputs {
    /// A row that is not counted.
    const IGNORED: Self =
        RowOutputs { loss: 0.0, lse: 0.0, entropy: 0.0, stats: [0.0; 2], argmax: -1 };

    /// A row without a softmax, because its largest z, and so its lse, is NaN or infinite.
    fn undefined(lse: f64, largest: f32) -> Self {
        let nan = f64::NAN;
        RowOutputs { loss: nan, lse, entropy: nan, stats: [largest, f32::NAN], argmax: -1 }
    }
}

impl Softmax {
    fn log1p_s(self) -> f64 {
        self.s.ln_1p()
    }

    pub(super) fn lse(self) -> f64 {
        self.reference.z + self.log1p_s()
    }
}

/// -u t, where 0 times infinity is 0.
fn minus_product(u: f32, t: f32) -> f32 {
    if u == 0.0 { 0.0 } else { -t * u }
}
