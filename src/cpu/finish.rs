//! From the sums of rows to their losses and all other outputs but gradients: what is done once per row,
//! in `f64`, for one long row or for 32 short ones side by side.

use super::kernel::{Kernel, Target, Totals};
use super::math::log1p;
use super::partial::{Largest, Partial};
use super::simd::Simd;
use super::squash::Squash;
use super::{memory, times};
use crate::Outputs;

/// Rows that are finished together.
pub(super) struct Rows<const N: usize> {
    pub first: usize,
    /// How many they are, at most N.
    pub len: usize,
    /// Which of them are counted.
    pub counted: [bool; N],
    /// The classes of their targets; 0 for probabilities.
    pub classes: [usize; N],
    /// The weights of these classes.
    pub weights: [f64; N],
}

/// The sums over rows: see [`Partial`].
pub(super) struct RowSums<const N: usize> {
    /// The largest oriented logit, its y and z, and its class.
    pub x: [f32; N],
    pub y: [f32; N],
    pub z: [f64; N],
    pub class: [i64; N],
    /// Its exponential.
    pub one: [f32; N],
    pub exp: [f64; N],
    pub moment: [f64; N],
    pub distance: [f64; N],
    pub mass: [f64; N],
    pub target: [f64; N],
}

/// What rows add to the totals: see [`Totals`].
pub(super) struct RowTotals<const N: usize> {
    cross_entropy: [f64; N],
    z_loss: [f64; N],
    correct: [i64; N],
}

/// The softmax of rows.
#[derive(Clone, Copy)]
pub(super) struct Softmax<const N: usize = 1> {
    /// What is subtracted to make y.
    pub shift: f32,
    /// The largest y.
    pub y: [f32; N],
    /// Sum of exp(z - z(m)) without one maximum: an `f32`, as the statistics keep it.
    pub s: [f64; N],
    pub log1p_s: [f64; N],
    /// z + log(1 + s).
    pub lse: [f64; N],
    /// sum(u) of probability targets.
    pub mass: [f64; N],
}

/// What one row gives, besides its gradient.
pub(super) struct RowOutputs {
    loss: f64,
    lse: f64,
    entropy: f64,
    /// The largest logit, and s.
    stats: [f32; 2],
    argmax: i64,
}

impl<const N: usize> RowSums<N> {
    pub const ZERO: Self = RowSums {
        x: [0.0; N],
        y: [0.0; N],
        z: [0.0; N],
        class: [0; N],
        one: [1.0; N],
        exp: [0.0; N],
        moment: [0.0; N],
        distance: [0.0; N],
        mass: [0.0; N],
        target: [0.0; N],
    };

    /// Takes over the sums of one row.
    #[inline(always)]
    pub fn set<S: Simd>(&mut self, s: S, squash: &Squash, row: usize, sums: &Partial) {
        let Largest { x, y, class } = sums.largest;
        (self.x[row], self.y[row], self.class[row]) = (x, y, class as i64);
        self.z[row] = squash.z(s, x);
        self.one[row] = squash.exponential(s, sums.reference).of(s, y);
        (self.exp[row], self.moment[row]) = (sums.exp, sums.moment);
        (self.distance[row], self.mass[row]) = (sums.distance, sums.mass);
        self.target[row] = sums.target;
    }

    /// The softmax of rows of which `shift` was subtracted.
    #[inline(always)]
    pub fn softmax(&self, shift: f32) -> Softmax<N> {
        let mut softmax = Softmax { shift, y: self.y, mass: self.mass, ..Softmax::ZERO };
        for row in 0..N {
            let s = f64::from((self.exp[row] / f64::from(self.one[row])) as f32);
            let log1p_s = log1p(s);
            (softmax.s[row], softmax.log1p_s[row]) = (s, log1p_s);
            softmax.lse[row] = self.z[row] + log1p_s;
        }
        softmax
    }
}

impl<const N: usize> RowTotals<N> {
    pub const ZERO: Self = RowTotals { cross_entropy: [0.0; N], z_loss: [0.0; N], correct: [0; N] };

    /// That of one row.
    pub fn of(&self, row: usize) -> Totals {
        let (cross_entropy, z_loss) = (self.cross_entropy[row], self.z_loss[row]);
        Totals { cross_entropy, z_loss, correct: self.correct[row] }
    }

    /// Sets that of one row.
    pub fn set(&mut self, row: usize, totals: Totals) {
        (self.cross_entropy[row], self.z_loss[row]) = (totals.cross_entropy, totals.z_loss);
        self.correct[row] = totals.correct;
    }

    /// Adds those of other rows, each to that in its place.
    #[inline(always)]
    pub fn add(&mut self, other: &Self) {
        for row in 0..N {
            self.cross_entropy[row] += other.cross_entropy[row];
            self.z_loss[row] += other.z_loss[row];
            self.correct[row] += other.correct[row];
        }
    }

    pub fn sum(&self) -> Totals {
        (0..N).fold(Totals::default(), |sum, row| sum.plus(self.of(row)))
    }
}

impl<const N: usize> Softmax<N> {
    pub const ZERO: Self = Softmax {
        shift: 0.0,
        y: [0.0; N],
        s: [0.0; N],
        log1p_s: [0.0; N],
        lse: [0.0; N],
        mass: [0.0; N],
    };

    /// That of one row.
    pub fn of(&self, row: usize) -> Softmax {
        let Softmax { shift, y, s, log1p_s, lse, mass } = self;
        Softmax {
            shift: *shift,
            y: [y[row]],
            s: [s[row]],
            log1p_s: [log1p_s[row]],
            lse: [lse[row]],
            mass: [mass[row]],
        }
    }
}

impl Kernel<'_> {
    /// Writes all outputs of rows with a softmax but their gradients, and those of ignored rows.
    #[inline(always)]
    pub(super) fn finish<const N: usize>(
        &self,
        rows: &Rows<N>,
        sums: &RowSums<N>,
        softmax: &Softmax<N>,
    ) -> RowTotals<N> {
        let (problem, call) = (self.problem, self.call);
        let (unit, smoothing) = (self.squash.unit, problem.label_smoothing);
        let Softmax { s, log1p_s, lse, .. } = softmax;

        let mut cross_entropy = [0.0; N];
        for row in 0..N {
            cross_entropy[row] = if problem.targets_are_probabilities() {
                sums.mass[row] * log1p_s[row] + sums.distance[row] * unit
            } else {
                log1p_s[row] + sums.target[row] * unit
            };
        }
        if self.class_weights.is_some() && !problem.targets_are_probabilities() {
            for (cross_entropy, &weight) in cross_entropy.iter_mut().zip(&rows.weights) {
                *cross_entropy = times(weight, *cross_entropy);
            }
        }
        if smoothing != 0.0 && !problem.targets_are_probabilities() {
            let share = smoothing / problem.classes as f64;
            for row in 0..N {
                let spread = self.weight_sum * log1p_s[row] + sums.distance[row] * unit;
                let hit = times(1.0 - smoothing, cross_entropy[row]);
                cross_entropy[row] = hit + times(share, spread);
            }
        }
        if call.row_weights.is_some() {
            for (row, cross_entropy) in cross_entropy[..rows.len].iter_mut().enumerate() {
                *cross_entropy = times(self.row_weight(rows.first + row), *cross_entropy);
            }
        }
        let mut z_loss = [0.0; N];
        if problem.z_loss != 0.0 {
            for row in 0..N {
                z_loss[row] = problem.z_loss * (lse[row] * lse[row]);
            }
        }

        let write = |column: Option<*mut u8>, values: &[f64; N]| {
            let Some(data) = column else { return };
            for (row, &value) in values[..rows.len].iter().enumerate() {
                let value = if rows.counted[row] { value } else { 0.0 };
                memory::set(data, rows.first + row, value as f32);
            }
        };
        if !problem.reduction.is_of_batch() && call.loss.is_some() {
            let mut loss = [0.0; N];
            for row in 0..N {
                loss[row] = cross_entropy[row] + z_loss[row];
            }
            write(call.loss, &loss);
        }
        write(call.lse, lse);
        if call.entropy.is_some() {
            let mut entropy = [0.0; N];
            for row in 0..N {
                let norm = f64::from(sums.one[row]) * (1.0 + s[row]);
                entropy[row] = log1p_s[row] + sums.moment[row] * unit / norm;
            }
            write(call.entropy, &entropy);
        }
        let counted = || rows.counted[..rows.len].iter().enumerate();
        if let Some(stats) = call.stats {
            for (row, &counted) in counted() {
                let own = [self.squash.orient(sums.x[row]), s[row] as f32];
                memory::set(stats, rows.first + row, if counted { own } else { [0.0; 2] });
            }
        }
        if let Some(argmax) = call.argmax {
            for (row, &counted) in counted() {
                let class = if counted { sums.class[row] } else { -1 };
                memory::set(argmax.cast(), rows.first + row, class);
            }
        }
        let mut totals = RowTotals::ZERO;
        if problem.outputs.contains(Outputs::CORRECT) {
            for (row, _) in counted() {
                let best = self.best(rows.first + row, rows.classes[row]);
                totals.correct[row] = i64::from(sums.class[row] == best as i64);
            }
        }
        for row in 0..N {
            let counted = rows.counted[row];
            totals.cross_entropy[row] = if counted { cross_entropy[row] } else { 0.0 };
            totals.z_loss[row] = if counted { z_loss[row] } else { 0.0 };
            totals.correct[row] = if counted { totals.correct[row] } else { 0 };
        }
        totals
    }

    /// The same for one row.
    #[inline(always)]
    pub(super) fn finish_row<S: Simd>(
        &self,
        s: S,
        row: usize,
        target: Target,
        shift: f32,
        sums: &Partial,
    ) -> (Softmax, Totals) {
        let mut all = RowSums::ZERO;
        all.set(s, &self.squash, 0, sums);
        let softmax = all.softmax(shift);
        (softmax, self.finish(&self.one_row(row, target), &all, &softmax).of(0))
    }

    /// A row that is counted.
    pub(super) fn one_row(&self, row: usize, target: Target) -> Rows<1> {
        let class = target.class();
        let weights = [self.class_weight(class)];
        Rows { first: row, len: 1, counted: [true], classes: [class], weights }
    }

    /// The softmax of a row from its statistics, and from the mass of its target.
    #[inline(always)]
    pub(super) fn softmax<S: Simd>(&self, s: S, [largest, sum]: [f32; 2], mass: f64) -> Softmax {
        let largest = self.squash.orient(largest);
        let (shift, y) = self.squash.anchor(s, largest);
        let (z, sum) = (self.squash.z(s, largest), f64::from(sum));
        let log1p_s = log1p(sum);
        let lse = z + log1p_s;
        Softmax { shift, y: [y], s: [sum], log1p_s: [log1p_s], lse: [lse], mass: [mass] }
    }

    /// The class that the target says: the first most probable one.
    fn best(&self, row: usize, class: usize) -> usize {
        if !self.problem.targets_are_probabilities() {
            return class;
        }
        let q = self.call.targets.row(row, self.call.inner);
        let mut best = (0, f32::NEG_INFINITY);
        for class in 0..self.problem.classes {
            let q = q.get(class);
            best = if q > best.1 { (class, q) } else { best };
        }
        best.0
    }

    /// Writes those outputs of a row that are wanted, but for its gradient.
    pub(super) fn write(&self, row: usize, outputs: RowOutputs) {
        let call = self.call;
        let write = |column: Option<*mut u8>, value: f64| {
            if let Some(data) = column {
                memory::set(data, row, value as f32);
            }
        };
        if !self.problem.reduction.is_of_batch() {
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

impl RowOutputs {
    /// A row that is not counted.
    pub(super) const IGNORED: Self =
        RowOutputs { loss: 0.0, lse: 0.0, entropy: 0.0, stats: [0.0; 2], argmax: -1 };

    /// A row without a softmax, because its largest z, and so its lse, is NaN or infinite.
    pub(super) fn undefined(lse: f64, largest: f32) -> Self {
        let nan = f64::NAN;
        RowOutputs { loss: nan, lse, entropy: nan, stats: [largest, f32::NAN], argmax: -1 }
    }
}
