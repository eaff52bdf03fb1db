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

use super::chunk::{self, COLUMNS};
use super::gradient::Gradient;
use super::math::log1p;
use super::memory::{self, Row};
use super::narrow::NARROW;
use super::partial::{Largest, Partial};
use super::scratch::{Kept, Scratch};
use super::simd::{LANES, Lanes, Simd, Vectorised};
use super::squash::Squash;
use super::{Pass, times};
use crate::call::Call;
use crate::{Outputs, Problem, Reduction};

/// Columns whose sums are made in one go: large enough to be worth a task of its own.
const SEGMENT: usize = 32 * COLUMNS;

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

/// The target of one row.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Class(usize),
    Probabilities(Row),
}

/// The softmax of a row.
#[derive(Clone, Copy)]
pub(super) struct Softmax {
    /// What is subtracted to make y.
    pub(super) shift: f32,
    /// The largest y.
    pub(super) y: f32,
    /// Sum of exp(z - z(m)) without one maximum: an `f32`, as the statistics keep it.
    pub(super) s: f64,
    /// z + log(1 + s).
    pub(super) lse: f64,
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

/// What one row gives, besides its gradient.
pub(super) struct RowOutputs {
    loss: f64,
    lse: f64,
    entropy: f64,
    /// The largest logit, and s.
    stats: [f32; 2],
    argmax: i64,
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
    pub fn forward<'b, S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        scratch: &mut Scratch<'b>,
        kept: &mut Option<Kept<'b>>,
    ) -> Totals {
        let mut totals = Totals::default();
        if self.problem.classes <= NARROW {
            for rows in batches(rows) {
                totals = self.narrow_forward(s, rows, totals, scratch);
            }
        } else {
            for row in rows {
                totals = totals.plus(self.wide_forward(s, row, scratch, kept));
            }
        }
        totals
    }

    /// Writes the gradient of some rows from their statistics.
    #[inline(always)]
    pub fn backward<S: Simd>(&self, s: S, rows: Range<usize>, scratch: &mut Scratch) {
        if self.problem.classes <= NARROW {
            for rows in batches(rows) {
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
    fn wide_forward<'b, S: Simd>(
        &self,
        s: S,
        row: usize,
        scratch: &mut Scratch<'b>,
        kept: &mut Option<Kept<'b>>,
    ) -> Totals {
        let call = self.call;
        let Some(target) = self.target(row) else {
            self.write(row, RowOutputs::IGNORED);
            self.fill_gradient(s, row, 0..self.problem.classes, 0.0, scratch);
            return Totals::default();
        };
        let logits = call.logits.row(row, call.inner);
        let (shift, sums) = self.sums(s, logits, target, scratch, kept);
        let largest = sums.largest;
        if sums.exp.is_nan() || !self.squash.is_defined_for(largest.x) {
            let largest = if self.has_nan(s, logits, scratch) { f32::NAN } else { largest.x };
            self.write(row, RowOutputs::undefined(largest.into(), self.squash.orient(largest)));
            self.fill_gradient(s, row, 0..self.problem.classes, f32::NAN, scratch);
            return Totals { cross_entropy: f64::NAN, ..Totals::default() };
        }
        let one = self.squash.exponential(s, sums.reference).of(s, largest.y);
        let (softmax, totals) = self.finish(s, row, target, shift, &sums, one);
        let (columns, mass) = (0..self.problem.classes, sums.mass);
        let kept = kept.as_ref();
        s.call(Gradient { kernel: self, row, columns, target, softmax, mass, scratch, kept });
        totals
    }

    /// Writes all outputs of a row with a softmax but its gradient. `one`: the exponential of the
    /// largest logit.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn finish<S: Simd>(
        &self,
        s: S,
        row: usize,
        target: Target,
        shift: f32,
        sums: &Partial,
        one: f32,
    ) -> (Softmax, Totals) {
        let largest = sums.largest;
        let s_f32 = (sums.exp / f64::from(one)) as f32;
        let log1p_s = log1p(s_f32.into());
        let z = self.squash.z(s, largest.x);
        let lse = z + log1p_s;
        let softmax = Softmax { shift, y: largest.y, s: s_f32.into(), lse };
        let cross_entropy = match target {
            Target::Class(class) => {
                let distance = sums.target * self.squash.unit;
                self.cross_entropy_of_class(class, log1p_s, distance, sums.distance)
            }
            Target::Probabilities(_) => sums.mass * log1p_s + sums.distance * self.squash.unit,
        };
        let totals = Totals {
            cross_entropy: times(self.row_weight(row), cross_entropy),
            z_loss: match self.problem.z_loss {
                0.0 => 0.0,
                factor => factor * lse.powi(2),
            },
            correct: i64::from(
                self.problem.outputs.contains(Outputs::CORRECT)
                    && largest.class == self.best(target),
            ),
        };
        let entropy = match sums.moment {
            0.0 => log1p_s,
            moment => log1p_s + moment * self.squash.unit / (f64::from(one) * (1.0 + softmax.s)),
        };
        let outputs = RowOutputs {
            loss: totals.cross_entropy + totals.z_loss,
            lse,
            entropy,
            stats: [self.squash.orient(largest.x), s_f32],
            argmax: largest.class as i64,
        };
        self.write(row, outputs);
        (softmax, totals)
    }

    /// Whether exponentials can be taken of a row with these sums as it is, and make a softmax.
    #[inline(always)]
    pub(super) fn is_ordinary(&self, sums: &Partial) -> bool {
        let Largest { x, y, .. } = sums.largest;
        !sums.exp.is_nan() && self.squash.takes(y) && self.squash.is_defined_for(x)
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
        let softmax = self.softmax(s, largest, sum);
        let mass = match target {
            Target::Class(_) => 0.0,
            Target::Probabilities(q) => {
                self.segments().fold(0.0, |sum, segment| sum + self.mass_of(s, q, segment, scratch))
            }
        };
        let (columns, kept) = (0..self.problem.classes, None);
        s.call(Gradient { kernel: self, row, columns, target, softmax, mass, scratch, kept });
    }

    /// The softmax of a row from its statistics.
    #[inline(always)]
    pub(super) fn softmax<S: Simd>(&self, s: S, largest: f32, sum: f32) -> Softmax {
        let largest = self.squash.orient(largest);
        let (shift, y) = self.squash.anchor(s, largest);
        let (z, sum) = (self.squash.z(s, largest), f64::from(sum));
        Softmax { shift, y, s: sum, lse: z + log1p(sum) }
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

    /// The chunks of some columns: the first column, and how many they are.
    pub(super) fn chunks(columns: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let end = columns.end;
        columns.step_by(COLUMNS).map(move |first| (first, COLUMNS.min(end - first)))
    }

    /// The class that the target says: the first most probable one.
    fn best(&self, target: Target) -> usize {
        match target {
            Target::Class(class) => class,
            Target::Probabilities(q) => {
                let mut best = (0, f32::NEG_INFINITY);
                for class in 0..self.problem.classes {
                    let q = q.get(class);
                    best = if q > best.1 { (class, q) } else { best };
                }
                best.0
            }
        }
    }

    /// The sums over a row, by segments, and the shift of y.
    #[inline(always)]
    fn sums<'b, S: Simd>(
        &self,
        s: S,
        logits: Row,
        target: Target,
        scratch: &mut Scratch<'b>,
        kept: &mut Option<Kept<'b>>,
    ) -> (f32, Partial) {
        let mut shift = 0.0;
        loop {
            let mut sums = Partial::EMPTY;
            for columns in self.segments() {
                let work = Sums { kernel: self, shift, logits, target, columns, scratch, kept };
                let other = s.call(work);
                sums = sums.plus(s, &self.squash, other);
            }
            let x = sums.largest.x;
            match self.squash.anchor(s, x) {
                (needed, _) if needed != shift && self.squash.is_defined_for(x) => shift = needed,
                _ => return (shift, sums),
            }
        }
    }

    /// The sums over a segment of a row.
    #[inline(always)]
    fn sums_of<S: Simd>(&self, s: S, work: Sums) -> Partial {
        let Sums { shift, logits, target, columns, scratch, kept, .. } = work;
        let wants_moment = self.problem.outputs.contains(Outputs::ENTROPY);
        let squash = &self.squash;
        let mut sums = Partial::EMPTY;
        let mut exponential = squash.exponential(s, 0.0);
        for (first, len) in Self::chunks(columns) {
            let blocks = len.div_ceil(LANES);
            let y = &mut scratch.y[..blocks];
            let mut lanes = logits.load(s, first, len, f32::NEG_INFINITY, y);
            if squash.flips() {
                lanes = chunk::negate(s, y, len);
            }
            let x = chunk::largest(s, lanes);
            let largest = if sums.is_below(x) { chunk::find(s, y, x) } else { None };
            if shift != 0.0 || !squash.is_plain() {
                squash.apply(s, shift, y, &mut scratch.slope[..blocks]);
            }
            if let Some(at) = largest {
                let to = Largest { x, y: chunk::get(y, at), class: first + at };
                let from = sums.largest.class;
                let e = sums.raise(s, squash, to);
                if let (Some(kept), true) = (&mut *kept, from != usize::MAX) {
                    chunk::set(kept.e, from, e);
                }
                let reference = squash.reference(to.y);
                if reference > sums.reference {
                    sums.refer(reference);
                    exponential = squash.exponential(s, reference);
                }
            }
            let bounded = squash.bounded(sums.largest.y);
            if let Some((distance, mass)) =
                self.distances(s, bounded, target, first, len, y, scratch.u)
            {
                sums.distance += distance;
                sums.mass += mass;
            }
            match target {
                // As probabilities that are 1 at this class: the loss is the same, bit for bit.
                Target::Class(class) if (first..first + len).contains(&class) => {
                    sums.target += f64::from(bounded - chunk::get(y, class - first));
                    sums.has_target = 1.0;
                }
                _ => (),
            }
            let y = &mut scratch.y[..blocks];
            if len % LANES != 0 {
                chunk::pad(y, len, f32::NEG_INFINITY);
            }
            if let Some(at) = largest {
                chunk::set(y, at, f32::NEG_INFINITY);
            }
            if kept.is_none() && !wants_moment {
                sums.exp += chunk::exp_sum(s, &exponential, y);
                continue;
            }
            let e = match kept {
                Some(kept) => {
                    kept.references[first / COLUMNS] = sums.reference;
                    let blocks = first / LANES..first / LANES + blocks;
                    if squash.has_slopes() {
                        kept.slope[blocks.clone()].copy_from_slice(&scratch.slope[..blocks.len()]);
                    }
                    &mut kept.e[blocks]
                }
                None => &mut scratch.e[..blocks],
            };
            sums.exp += chunk::exponentials(s, &exponential, y, e);
            if wants_moment {
                sums.moment += chunk::moment(s, bounded, exponential.lowest, y, e);
            }
        }
        // All exponentials that are kept count, the largest one too.
        if let (Some(kept), true) = (kept, sums.largest.class != usize::MAX) {
            chunk::set(kept.e, sums.largest.class, exponential.of(s, sums.largest.y));
        }
        sums
    }

    /// Reads a chunk of y, and slopes where there are any; -inf behind its end.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn load<S: Simd>(
        &self,
        s: S,
        shift: f32,
        logits: Row,
        first: usize,
        len: usize,
        y: &mut [Lanes],
        slope: &mut [Lanes],
    ) {
        let squash = &self.squash;
        logits.load(s, first, len, f32::NEG_INFINITY, y);
        if squash.flips() {
            chunk::negate(s, y, len);
        }
        if shift != 0.0 || !squash.is_plain() {
            squash.apply(s, shift, y, slope);
            chunk::pad(y, len, f32::NEG_INFINITY);
        }
    }

    /// The sums of u (largest y - y) and u over a chunk, where the loss has any.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn distances<S: Simd>(
        &self,
        s: S,
        largest: f32,
        target: Target,
        first: usize,
        len: usize,
        y: &mut [Lanes],
        u: &mut [Lanes],
    ) -> Option<(f64, f64)> {
        let u = &mut u[..y.len()];
        match (target, self.class_weights) {
            (Target::Probabilities(q), _) => self.mix(s, q, first, len, u),
            _ if self.problem.label_smoothing == 0.0 => return None,
            (Target::Class(_), Some(weights)) => {
                weights.load(s, first, len, 0.0, u);
            }
            (Target::Class(_), None) => {
                chunk::pad(y, len, largest);
                return Some((chunk::distances(s, largest, y), len as f64));
            }
        }
        Some(chunk::weighted(s, largest, y, u))
    }

    /// The sum of u of probability targets over a segment of a row.
    #[inline(always)]
    pub(super) fn mass_of<S: Simd>(
        &self,
        s: S,
        q: Row,
        segment: Range<usize>,
        scratch: &mut Scratch,
    ) -> f64 {
        let mut mass = 0.0;
        for (first, len) in Self::chunks(segment) {
            let u = &mut scratch.u[..len.div_ceil(LANES)];
            self.mix(s, q, first, len, u);
            mass += chunk::sum(s, u);
        }
        mass
    }

    /// The segments of a row, whose sums are made apart, and then added in order.
    fn segments(&self) -> impl Iterator<Item = Range<usize>> {
        (0..segments(self.problem)).map(|index| self.segment(index).1)
    }

    /// A segment of all rows: its row, and its columns.
    pub(super) fn segment(&self, index: usize) -> (usize, Range<usize>) {
        let (classes, segments) = (self.problem.classes, segments(self.problem));
        let first = index % segments * SEGMENT;
        (index / segments, first..classes.min(first + SEGMENT))
    }

    /// The loss of a row of weight 1 with a class index, without the z-loss. `target` is the distance
    /// of the target's z from the largest one, `spread` the sum of those of y under label smoothing.
    fn cross_entropy_of_class(&self, class: usize, log1p_s: f64, target: f64, spread: f64) -> f64 {
        let smoothing = self.problem.label_smoothing;
        let hit = times(self.class_weight(class), log1p_s + target);
        if smoothing == 0.0 {
            return hit;
        }
        let spread = self.weight_sum * log1p_s + spread * self.squash.unit;
        let share = smoothing / self.problem.classes as f64;
        times(1.0 - smoothing, hit) + times(share, spread)
    }

    /// Whether a row holds a NaN.
    #[inline(always)]
    fn has_nan<S: Simd>(&self, s: S, logits: Row, scratch: &mut Scratch) -> bool {
        Self::chunks(0..self.problem.classes).any(|(first, len)| {
            let y = &mut scratch.y[..len.div_ceil(LANES)];
            logits.load(s, first, len, 0.0, y);
            y.iter().any(|lanes| lanes.0.iter().any(|x| x.is_nan()))
        })
    }

    /// Reads a chunk of probabilities q and makes u = w ((1 - s) q + s/C) of it, 0 behind its end.
    #[inline(always)]
    pub(super) fn mix<S: Simd>(&self, s: S, q: Row, first: usize, len: usize, u: &mut [Lanes]) {
        s.call(Mix { kernel: self, q, first, len, u });
    }

    /// Reads a chunk of probabilities q and makes u = w ((1 - s) q + s/C) of it, 0 behind its end.
    #[inline(always)]
    fn mixed<S: Simd>(&self, s: S, q: Row, first: usize, len: usize, u: &mut [Lanes]) {
        q.load(s, first, len, 0.0, u);
        let smoothing = self.problem.label_smoothing;
        if smoothing != 0.0 {
            let keep = (1.0 - smoothing) as f32;
            let share = (smoothing / self.problem.classes as f64) as f32;
            for lanes in &mut *u {
                lanes.0.iter_mut().for_each(|u| *u = *u * keep + share);
            }
            chunk::pad(u, len, 0.0);
        }
        if let Some(weights) = self.class_weights {
            let mut w = [Lanes([0.0; LANES]); chunk::BLOCKS];
            weights.load(s, first, len, 0.0, &mut w[..u.len()]);
            for (u, w) in u.iter_mut().zip(&w) {
                u.0.iter_mut().zip(&w.0).for_each(|(u, w)| *u *= w);
            }
        }
    }

    /// Writes those outputs of a row that are wanted, but for its gradient.
    pub(super) fn write(&self, row: usize, outputs: RowOutputs) {
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

/// How many segments a row has.
pub(super) fn segments(problem: &Problem) -> usize {
    problem.classes.div_ceil(SEGMENT)
}

/// [`Kernel::mix`].
struct Mix<'a> {
    kernel: &'a Kernel<'a>,
    q: Row,
    first: usize,
    len: usize,
    u: &'a mut [Lanes],
}

impl Vectorised for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Mix { kernel, q, first, len, u } = self;
        kernel.mixed(s, q, first, len, u);
    }
}

/// The sums over a segment of a row.
pub(super) struct Sums<'a, 'b> {
    pub kernel: &'a Kernel<'a>,
    pub shift: f32,
    pub logits: Row,
    pub target: Target,
    pub columns: Range<usize>,
    pub scratch: &'a mut Scratch<'b>,
    pub kept: &'a mut Option<Kept<'b>>,
}

impl Vectorised for Sums<'_, '_> {
    type Output = Partial;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Partial {
        self.kernel.sums_of(s, self)
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
            Pass::Forward => kernel.wide_forward(s, row, scratch, &mut None),
            Pass::Backward => {
                kernel.wide_backward(s, row, scratch);
                Totals::default()
            }
        }
    }
}

/// Rows of which a block has one in each lane.
fn batches(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.step_by(LANES).map(move |first| first..end.min(first + LANES))
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
    pub(super) const IGNORED: Self =
        RowOutputs { loss: 0.0, lse: 0.0, entropy: 0.0, stats: [0.0; 2], argmax: -1 };

    /// A row without a softmax, because its largest z, and so its lse, is NaN or infinite.
    fn undefined(lse: f64, largest: f32) -> Self {
        let nan = f64::NAN;
        RowOutputs { loss: nan, lse, entropy: nan, stats: [largest, f32::NAN], argmax: -1 }
    }
}
