//! Short rows: a block holds one column of 32 rows.
//!
//! The rows of a batch lie side by side, so that what a long row needs once for itself is done for 32
//! of them at a time. A lane knows nothing of the others. Rows without a softmax, and those that an
//! `f32` needs special care for, are left to the kernel of long rows.

use std::ops::Range;

use super::Pass;
use super::chunk::GROUP;
use super::columns::{read, write};
use super::finish::{RowSums, Rows, Softmax};
use super::gradient::{Gradient, Terms};
use super::kernel::{Kernel, Totals, Wide};
use super::lanes::{Exponentials, Weights, add, largest, weighted};
use super::memory;
use super::scratch::Scratch;
use super::simd::{LANES, Lanes, Simd};
use crate::Outputs;

/// The longest row of this kernel.
pub(super) const NARROW: usize = 63;

/// At most 32 rows.
struct Batch {
    rows: Rows<LANES>,
    kinds: [Kind; LANES],
}

/// What becomes of a row.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Not there.
    None,
    Ignored,
    Ordinary,
    /// Left to the kernel of long rows.
    Special,
    /// The same, but only its gradient.
    SpecialGradient,
}

impl Batch {
    /// The lanes of this kind.
    fn all(&self, kind: Kind) -> impl Iterator<Item = usize> + use<> {
        let kinds = self.kinds;
        (0..LANES).filter(move |&lane| kinds[lane] == kind)
    }

    /// The rows.
    fn range(&self) -> Range<usize> {
        self.rows.first..self.rows.first + self.rows.len
    }

    fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}

impl Kernel<'_> {
    /// Writes all outputs of at most 32 rows, and adds to the totals.
    #[inline(always)]
    pub(super) fn narrow_forward<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        totals: Totals,
        scratch: &mut Scratch,
    ) -> Totals {
        let mut batch = self.batch(rows);
        self.load_batch(s, &batch, scratch);
        let classes = self.problem.classes;
        let (x, at) = largest(s, &scratch.y[..classes]);
        let mut y = x;
        if !self.squash.is_plain() {
            self.squash.apply(s, 0.0, &mut scratch.y[..classes], &mut scratch.slope[..classes]);
            self.squash.apply(s, 0.0, std::slice::from_mut(&mut y), &mut scratch.g[..1]);
        }
        let exponentials = self.exponentials(s, &y);
        let mut one = Lanes([0.0; LANES]);
        s.store(exponentials.at(s, &y), &mut one.0);

        let exp = self.exp_sums(s, &exponentials, &at, scratch);
        let moment = self.moments(s, &exponentials, &y, scratch);
        let (distance, mass) = self.all_distances(s, &y, scratch);
        let mut sums = RowSums {
            x: x.0,
            y: y.0,
            z: [0.0; LANES],
            class: at.0.map(|at| i64::from(at as i32)),
            one: one.0,
            exp,
            moment,
            distance,
            mass,
            target: [0.0; LANES],
        };
        for lane in 0..LANES {
            sums.z[lane] = self.squash.z_of(x.0[lane], y.0[lane]);
        }
        if !self.problem.targets_are_probabilities() {
            for lane in 0..batch.rows.len {
                let class = batch.rows.classes[lane];
                sums.target[lane] = f64::from(y.0[lane] - scratch.y[class].0[lane]);
            }
        }
        let (softmax, mut row_totals) = self.finish(&batch.rows, 0.0, &sums);
        let mut is_ordinary = [true; LANES];
        for (lane, is_ordinary) in is_ordinary.iter_mut().enumerate() {
            *is_ordinary = self.is_ordinary(exp[lane], x.0[lane], y.0[lane]);
        }
        if is_ordinary != [true; LANES] {
            for lane in batch.all(Kind::Ordinary).filter(|&lane| !is_ordinary[lane]) {
                batch.kinds[lane] = Kind::Special;
            }
        }
        self.batch_gradient(s, &mut batch, &softmax, &one, scratch);
        for lane in batch.all(Kind::Special) {
            let row = batch.rows.first + lane;
            row_totals[lane] = s.call(Wide { kernel: self, pass: Pass::Forward, row, scratch });
        }
        row_totals[..batch.rows.len].iter().copied().fold(totals, Totals::plus)
    }

    /// Writes the gradients of at most 32 rows from their statistics.
    #[inline(always)]
    pub(super) fn narrow_backward<S: Simd>(&self, s: S, rows: Range<usize>, scratch: &mut Scratch) {
        let Some(stats) = self.call.stats else { return };
        let mut batch = self.batch(rows);
        self.load_batch(s, &batch, scratch);
        let classes = self.problem.classes;
        if !self.squash.is_plain() {
            self.squash.apply(s, 0.0, &mut scratch.y[..classes], &mut scratch.slope[..classes]);
        }
        let mut softmax = Softmax {
            shift: 0.0,
            y: [0.0; LANES],
            s: [0.0; LANES],
            lse: [0.0; LANES],
            mass: [0.0; LANES],
        };
        for lane in batch.all(Kind::Ordinary) {
            let stats = memory::get::<[f32; 2]>(stats, batch.rows.first + lane);
            let own = self.softmax(s, stats, 0.0);
            if stats.iter().any(|x| x.is_nan()) || own.shift != 0.0 {
                batch.kinds[lane] = Kind::Special;
            }
            (softmax.y[lane], softmax.s[lane], softmax.lse[lane]) =
                (own.y[0], own.s[0], own.lse[0]);
        }
        let y = Lanes(softmax.y);
        let exponentials = self.exponentials(s, &y);
        let mut one = Lanes([0.0; LANES]);
        s.store(exponentials.at(s, &y), &mut one.0);
        for (y, e) in scratch.y[..classes].iter().zip(&mut *scratch.e) {
            s.store(exponentials.at(s, y), &mut e.0);
        }
        if self.problem.targets_are_probabilities() {
            let u = Weights::Of(&scratch.u[..classes]);
            softmax.mass = weighted(s, &y, &scratch.y[..classes], &u).1;
        }
        self.batch_gradient(s, &mut batch, &softmax, &one, scratch);
        for lane in batch.all(Kind::Special) {
            let row = batch.rows.first + lane;
            s.call(Wide { kernel: self, pass: Pass::Backward, row, scratch });
        }
    }

    #[inline(always)]
    fn batch(&self, range: Range<usize>) -> Batch {
        let mut rows = Rows {
            first: range.start,
            len: range.len(),
            counted: [false; LANES],
            classes: [0; LANES],
            weights: [1.0; LANES],
        };
        let mut kinds = [Kind::None; LANES];
        kinds[..rows.len].fill(Kind::Ordinary);
        rows.counted[..rows.len].fill(true);
        if !self.problem.targets_are_probabilities() {
            let mut indices = [0; LANES];
            self.call.targets.indices(rows.first, &mut indices[..rows.len]);
            for (lane, &index) in indices[..rows.len].iter().enumerate() {
                if self.problem.ignore_index == Some(index) {
                    (rows.counted[lane], kinds[lane]) = (false, Kind::Ignored);
                } else {
                    rows.classes[lane] = index as usize;
                }
            }
        }
        if self.class_weights.is_some() {
            rows.weights = rows.classes.map(|class| self.class_weight(class));
        }
        Batch { rows, kinds }
    }

    /// Reads oriented logits, and what u is made of; 0 in rows that are ignored.
    #[inline(always)]
    fn load_batch<S: Simd>(&self, s: S, batch: &Batch, scratch: &mut Scratch) {
        let classes = self.problem.classes;
        let (inner, rows) = (self.call.inner, &batch.range());
        let counted = batch.has(Kind::Ignored).then_some(batch.rows.counted);
        let Scratch { y, e, u, .. } = scratch;
        read(s, &self.call.logits, inner, rows, classes, counted.as_ref(), e, y);
        if self.squash.flips() {
            for lanes in &mut y[..classes] {
                lanes.0.iter_mut().for_each(|x| *x = -*x);
            }
        }
        if self.problem.targets_are_probabilities() {
            read(s, &self.call.targets, inner, rows, classes, None, e, u);
            let smoothing = self.problem.label_smoothing;
            let keep = (1.0 - smoothing) as f32;
            let share = (smoothing / classes as f64) as f32;
            for (class, lanes) in u[..classes].iter_mut().enumerate() {
                if smoothing != 0.0 {
                    lanes.0.iter_mut().for_each(|u| *u = *u * keep + share);
                }
                if let Some(weights) = self.class_weights {
                    let weight = weights.get(class);
                    lanes.0.iter_mut().for_each(|u| *u *= weight);
                }
            }
        }
    }

    #[inline(always)]
    fn exponentials<S: Simd>(&self, s: S, largest: &Lanes) -> Exponentials<S> {
        let mut references = Lanes([0.0; LANES]);
        for (reference, y) in references.0.iter_mut().zip(largest.0) {
            *reference = self.squash.reference(y);
        }
        let shared = self.squash.exponential(s, 0.0);
        let (mut round, mut lowest) = (s.fill(0.0), s.fill(0.0));
        let references = s.load(&references.0);
        let registers = round.as_mut().iter_mut().zip(lowest.as_mut());
        for ((round, lowest), &reference) in registers.zip(references.as_ref()) {
            let own = shared.relative_to(s, reference);
            (*round, *lowest) = (own.round, own.lowest);
        }
        Exponentials { shared, round, lowest }
    }

    /// Exponentials, and for each row the sum of all but that of the largest logit.
    #[inline(always)]
    fn exp_sums<S: Simd>(
        &self,
        s: S,
        exponentials: &Exponentials<S>,
        at: &Lanes,
        scratch: &mut Scratch,
    ) -> [f64; LANES] {
        let classes = self.problem.classes;
        let (mut total, at, zero) = ([0.0; LANES], s.load(&at.0), s.splat(0.0));
        let columns = scratch.y[..classes].chunks(GROUP).zip(scratch.e.chunks_mut(GROUP));
        for (group, (y, e)) in columns.enumerate() {
            // Neighbours in a sum would all be rounded the same way where they are equal.
            let mut sums = [s.fill(0.0); 4];
            for (column, (y, e)) in y.iter().zip(e).enumerate() {
                let class = s.splat((group * GROUP + column) as f32);
                let block = exponentials.at(s, y);
                s.store(block, &mut e.0);
                for (register, sum) in sums[column % 4].as_mut().iter_mut().enumerate() {
                    let e = block.as_ref()[register];
                    *sum = s.add(*sum, s.if_equal(at.as_ref()[register], class, zero, e));
                }
            }
            for register in 0..at.as_ref().len() {
                let [a, b, c, d] = sums.map(|sum| sum.as_ref()[register]);
                sums[0].as_mut()[register] = s.add(s.add(a, c), s.add(b, d));
            }
            add(s, sums[0], &mut total);
        }
        total
    }

    /// The sums of (largest y - y) times the exponentials, if the entropy is wanted.
    #[inline(always)]
    fn moments<S: Simd>(
        &self,
        s: S,
        exponentials: &Exponentials<S>,
        largest: &Lanes,
        scratch: &Scratch,
    ) -> [f64; LANES] {
        let mut total = [0.0; LANES];
        if !self.problem.outputs.contains(Outputs::ENTROPY) {
            return total;
        }
        let classes = self.problem.classes;
        let largest = s.load(&self.bounded(largest).0);
        for (y, e) in scratch.y[..classes].chunks(GROUP).zip(scratch.e.chunks(GROUP)) {
            let mut sum = s.fill(0.0);
            for (y, e) in y.iter().zip(e) {
                let (y, e) = (s.load(&y.0), s.load(&e.0));
                for (register, sum) in sum.as_mut().iter_mut().enumerate() {
                    let lowest = exponentials.lowest.as_ref()[register];
                    let y = s.max(y.as_ref()[register], lowest);
                    let distance = s.sub(largest.as_ref()[register], y);
                    *sum = s.add(*sum, s.mul(e.as_ref()[register], distance));
                }
            }
            add(s, sum, &mut total);
        }
        total
    }

    /// The sums of u (largest y - y) and of u, where the loss has any.
    #[inline(always)]
    fn all_distances<S: Simd>(
        &self,
        s: S,
        largest: &Lanes,
        scratch: &Scratch,
    ) -> ([f64; LANES], [f64; LANES]) {
        let classes = self.problem.classes;
        let weights = match self.class_weights {
            _ if self.problem.targets_are_probabilities() => Weights::Of(&scratch.u[..classes]),
            _ if self.problem.label_smoothing == 0.0 => return ([0.0; LANES], [0.0; LANES]),
            Some(weights) => Weights::Classes(weights),
            None => Weights::One,
        };
        weighted(s, &self.bounded(largest), &scratch.y[..classes], &weights)
    }

    fn bounded(&self, y: &Lanes) -> Lanes {
        Lanes(y.0.map(|y| self.squash.bounded(y)))
    }

    /// Writes the gradients of the ordinary rows and of those that are ignored. `one`: exponentials of
    /// their largest logits.
    #[inline(always)]
    fn batch_gradient<S: Simd>(
        &self,
        s: S,
        batch: &mut Batch,
        softmax: &Softmax<LANES>,
        one: &Lanes,
        scratch: &mut Scratch,
    ) {
        let Some(dlogits) = self.call.dlogits else { return };
        let classes = self.problem.classes;
        let terms = self.terms(&batch.rows, softmax, &one.0);
        for lane in batch.all(Kind::Ordinary) {
            if terms.lowered[lane] {
                batch.kinds[lane] = Kind::SpecialGradient;
            }
        }
        let mut e = [0.0; LANES];
        for (lane, e) in e.iter_mut().enumerate() {
            *e = scratch.e[batch.rows.classes[lane]].0[lane];
        }
        let at_target = self.at_target(s, &batch.rows, &terms, &e);
        let weights = match self.class_weights {
            _ if self.problem.targets_are_probabilities() => {
                Some(Weights::Of(&scratch.u[..classes]))
            }
            _ if self.problem.label_smoothing == 0.0 => None,
            Some(weights) => Some(Weights::Classes(weights)),
            None => Some(Weights::One),
        };
        let (factor, of_u) = (s.load(&terms.factor), s.load(&terms.of_u.map(|of_u| -of_u)));
        let (zero, nothing) = (s.splat(0.0), s.splat(-0.0)); // as in a chunk
        for (class, (e, g)) in scratch.e[..classes].iter().zip(&mut *scratch.g).enumerate() {
            let mut block = s.load(&e.0);
            match &weights {
                None => {
                    for (v, factor) in block.as_mut().iter_mut().zip(factor.as_ref()) {
                        *v = s.mul(*v, *factor);
                    }
                }
                Some(weights) => {
                    let u = weights.block(s, class);
                    for (register, v) in block.as_mut().iter_mut().enumerate() {
                        let (u, unit) = (u.as_ref()[register], of_u.as_ref()[register]);
                        let term = s.if_equal(u, zero, nothing, s.mul(u, unit));
                        *v = s.mul_add(*v, factor.as_ref()[register], term);
                    }
                }
            }
            s.store(block, &mut g.0);
        }
        for lane in batch.all(Kind::Ordinary) {
            if self.problem.targets_are_probabilities() {
                at_maxima(&terms, lane, classes, scratch);
            } else {
                scratch.g[batch.rows.classes[lane]].0[lane] = at_target[lane];
            }
        }
        if self.squash.has_slopes() {
            super::chunk::multiply(s, &scratch.slope[..classes], &mut scratch.g[..classes]);
        }
        for lane in batch.all(Kind::Ignored) {
            scratch.g[..classes].iter_mut().for_each(|g| g.0[lane] = 0.0);
        }
        let is_special = |kind| matches!(kind, Kind::Special | Kind::SpecialGradient);
        let written = batch
            .kinds
            .iter()
            .any(|&kind| is_special(kind))
            .then(|| batch.kinds.map(|kind| !is_special(kind)));
        let Scratch { y, g, writer, .. } = &mut *scratch;
        write(
            s,
            &dlogits,
            self.call.inner,
            &batch.range(),
            classes,
            written.as_ref(),
            g,
            y,
            writer,
        );
        for lane in batch.all(Kind::SpecialGradient) {
            let row = batch.rows.first + lane;
            let Some(target) = self.target(row) else { continue };
            let softmax = softmax.of(lane);
            let (columns, kept) = (0..classes, None);
            s.call(Gradient { kernel: self, row, columns, target, softmax, scratch, kept });
        }
    }
}

/// Corrects the gradient of a row of probabilities at its maxima.
#[inline(always)]
fn at_maxima(terms: &Terms<LANES>, lane: usize, classes: usize, scratch: &mut Scratch) {
    for class in 0..classes {
        let (e, u) = (scratch.e[class].0[lane], scratch.u[class].0[lane]);
        if e == terms.largest[lane] && u != 0.0 {
            scratch.g[class].0[lane] = terms.at_maximum(lane, u.into());
        }
    }
}
