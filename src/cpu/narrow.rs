//! Short rows: a block holds one column of 32 rows.
//!
//! The rows of a batch lie side by side, so that what a long row needs once for itself is done for 32
//! of them at a time. A lane knows nothing of the others. Rows without a softmax, and those that an
//! `f32` needs special care for, are left to the kernel of long rows.

use std::ops::Range;

use super::Pass;
use super::chunk::GROUP;
use super::columns::{read, write};
use super::finish::{RowSums, RowTotals, Rows, Softmax};
use super::gradient::{Gradient, Terms};
use super::kernel::{Kernel, Wide};
use super::lanes::{Exponentials, Weights, add, largest, weighted};
use super::memory;
use super::scratch::Scratch;
use super::simd::{LANES, Lanes, Simd, lanes_of};
use crate::Outputs;

/// The longest row of this kernel.
pub(super) const NARROW: usize = 63;

/// At most 32 rows, and what becomes of them: sets have a bit for each lane.
struct Batch {
    rows: Rows<LANES>,
    /// The classes of the targets as numbers.
    targets: Lanes,
    ignored: u32,
    /// Those left to the kernel of long rows.
    special: u32,
    /// Those of which only the gradient is.
    special_gradient: u32,
}

impl Batch {
    #[inline(always)]
    fn of(rows: Range<usize>) -> Batch {
        Batch {
            rows: Rows {
                first: rows.start,
                len: rows.len(),
                counted: [false; LANES],
                classes: [0; LANES],
                weights: [1.0; LANES],
            },
            targets: Lanes([0.0; LANES]),
            ignored: 0,
            special: 0,
            special_gradient: 0,
        }
    }

    /// The rows.
    fn range(&self) -> Range<usize> {
        self.rows.first..self.rows.first + self.rows.len
    }

    /// The rows that are counted.
    fn counted(&self) -> u32 {
        (u32::MAX >> (LANES - self.rows.len)) & !self.ignored
    }
}

impl Kernel<'_> {
    /// Writes all outputs of at most 32 rows, and adds to the totals of each lane.
    #[inline(always)]
    pub(super) fn narrow_forward<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        totals: &mut RowTotals<LANES>,
        scratch: &mut Scratch,
    ) {
        let mut batch = Batch::of(rows);
        self.read_targets(&mut batch);
        self.load_batch(s, &batch, scratch);
        let classes = self.problem.classes;
        let (x, at) = largest(s, &scratch.y[..classes]);
        let mut y = x;
        if !self.squash.is_plain() {
            self.squash.apply(s, 0.0, &mut scratch.y[..classes], &mut scratch.slope[..classes]);
            self.squash.apply(s, 0.0, std::slice::from_mut(&mut y), &mut scratch.g[..1]);
        }
        let exponentials = self.exponentials(s, &y);
        let mut sums = RowSums { x: x.0, y: y.0, ..RowSums::ZERO };
        s.store(exponentials.at(s, &y), &mut sums.one);
        let targets = &batch.targets;
        let at_target = self.exp_sums(s, &exponentials, &at, targets, scratch, &mut sums.exp);
        for lane in 0..LANES {
            sums.z[lane] = self.squash.z_of(x.0[lane], y.0[lane]);
            sums.target[lane] = f64::from(y.0[lane] - at_target.y.0[lane]);
        }
        if self.problem.outputs.intersects(Outputs::ARGMAX | Outputs::CORRECT) {
            for (class, at) in sums.class.iter_mut().zip(at.0) {
                *class = i64::from(at as i32);
            }
        }
        self.moments(s, &exponentials, &y, scratch, &mut sums.moment);
        self.all_distances(s, &y, scratch, &mut sums.distance, &mut sums.mass);
        let softmax = sums.softmax(0.0);
        let mut of_rows = self.finish(&batch.rows, &sums, &softmax);
        // A NaN before nothing but -inf would be left out of the sum as the largest.
        let is_ordinary = |lane: usize| {
            let (x, y) = (sums.x[lane], sums.y[lane]);
            self.is_ordinary(sums.exp[lane], x, y) & (x != f32::NEG_INFINITY)
        };
        let mut ordinary = true;
        for lane in 0..LANES {
            ordinary &= is_ordinary(lane);
        }
        if !ordinary {
            for lane in lanes_of(batch.counted()) {
                batch.special |= u32::from(!is_ordinary(lane)) << lane;
            }
        }
        self.batch_gradient(s, &mut batch, &softmax, &sums.one, &at_target.e, scratch);
        for lane in lanes_of(batch.special) {
            let row = batch.rows.first + lane;
            of_rows.set(lane, s.call(Wide { kernel: self, pass: Pass::Forward, row, scratch }));
        }
        totals.add(&of_rows);
    }

    /// Writes the gradients of at most 32 rows from their statistics.
    #[inline(always)]
    pub(super) fn narrow_backward<S: Simd>(&self, s: S, rows: Range<usize>, scratch: &mut Scratch) {
        let Some(stats) = self.call.stats else { return };
        let mut batch = Batch::of(rows);
        self.read_targets(&mut batch);
        self.load_batch(s, &batch, scratch);
        let classes = self.problem.classes;
        if !self.squash.is_plain() {
            self.squash.apply(s, 0.0, &mut scratch.y[..classes], &mut scratch.slope[..classes]);
        }
        let mut softmax = Softmax::<LANES>::ZERO;
        for lane in lanes_of(batch.counted()) {
            let stats = memory::get::<[f32; 2]>(stats, batch.rows.first + lane);
            let own = self.softmax(s, stats, 0.0);
            let special = stats.iter().any(|x| x.is_nan()) || own.shift != 0.0;
            batch.special |= u32::from(special) << lane;
            (softmax.y[lane], softmax.s[lane], softmax.lse[lane]) =
                (own.y[0], own.s[0], own.lse[0]);
        }
        let y = Lanes(softmax.y);
        let exponentials = self.exponentials(s, &y);
        let mut one = Lanes([0.0; LANES]);
        s.store(exponentials.at(s, &y), &mut one.0);
        let (at, targets, mut unused) = (Lanes([0.0; LANES]), &batch.targets, [0.0; LANES]);
        let at_target = self.exp_sums(s, &exponentials, &at, targets, scratch, &mut unused);
        if self.problem.targets_are_probabilities() {
            let u = Weights::Of(&scratch.u[..classes]);
            weighted(s, &y, &scratch.y[..classes], &u, &mut unused, &mut softmax.mass);
        }
        self.batch_gradient(s, &mut batch, &softmax, &one.0, &at_target.e, scratch);
        for lane in lanes_of(batch.special) {
            let row = batch.rows.first + lane;
            s.call(Wide { kernel: self, pass: Pass::Backward, row, scratch });
        }
    }

    #[inline(always)]
    fn read_targets(&self, batch: &mut Batch) {
        let rows = &mut batch.rows;
        let len = rows.len;
        for (lane, counted) in rows.counted.iter_mut().enumerate() {
            *counted = lane < len;
        }
        if !self.problem.targets_are_probabilities() {
            let mut indices = [0; LANES];
            self.call.targets.indices(rows.first, &mut indices[..len]);
            if let Some(index) = self.problem.ignore_index {
                for (lane, own) in indices[..len].iter_mut().enumerate() {
                    let is_ignored = *own == index;
                    rows.counted[lane] = !is_ignored;
                    batch.ignored |= u32::from(is_ignored) << lane;
                    *own = if is_ignored { 0 } else { *own };
                }
            }
            for (lane, &index) in indices.iter().enumerate() {
                rows.classes[lane] = index as usize;
                batch.targets.0[lane] = index as i32 as f32;
            }
        }
        if self.class_weights.is_some() {
            for (weight, &class) in rows.weights.iter_mut().zip(&rows.classes) {
                *weight = self.class_weight(class);
            }
        }
    }

    /// Reads oriented logits, and what u is made of; 0 in rows that are ignored.
    #[inline(always)]
    fn load_batch<S: Simd>(&self, s: S, batch: &Batch, scratch: &mut Scratch) {
        let classes = self.problem.classes;
        let (inner, rows) = (self.call.inner, &batch.range());
        let counted = (batch.ignored != 0).then_some(batch.rows.counted);
        self.read_logits(s, rows, counted.as_ref(), scratch);
        let Scratch { e, u, .. } = scratch;
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

    /// Reads oriented logits of rows, all or those that are `wanted`.
    #[inline(always)]
    pub(super) fn read_logits<S: Simd>(
        &self,
        s: S,
        rows: &Range<usize>,
        wanted: Option<&[bool; LANES]>,
        scratch: &mut Scratch,
    ) {
        let (classes, Scratch { y, e, .. }) = (self.problem.classes, scratch);
        read(s, &self.call.logits, self.call.inner, rows, classes, wanted, e, y);
        if self.squash.flips() {
            for lanes in &mut y[..classes] {
                lanes.0.iter_mut().for_each(|x| *x = -*x);
            }
        }
    }

    #[inline(always)]
    pub(super) fn exponentials<S: Simd>(&self, s: S, largest: &Lanes) -> Exponentials<S> {
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

    /// Exponentials, and what belongs to the target of each row. Adds all of a row but that of the largest
    /// logit to its total.
    #[inline(always)]
    pub(super) fn exp_sums<S: Simd>(
        &self,
        s: S,
        exponentials: &Exponentials<S>,
        at: &Lanes,
        targets: &Lanes,
        scratch: &mut Scratch,
        total: &mut [f64; LANES],
    ) -> AtTarget {
        let classes = self.problem.classes;
        let (at, zero) = (s.load(&at.0), s.splat(0.0));
        let (targets, mut target_y, mut target_e) = (s.load(&targets.0), s.fill(0.0), s.fill(0.0));
        let columns = scratch.y[..classes].chunks(GROUP).zip(scratch.e.chunks_mut(GROUP));
        for (group, (y, e)) in columns.enumerate() {
            // Neighbours in a sum would all be rounded the same way where they are equal.
            let mut sums = [s.fill(0.0); 4];
            for (column, (y, e)) in y.iter().zip(e).enumerate() {
                let class = s.splat((group * GROUP + column) as f32);
                let (y, block) = (s.load(&y.0), exponentials.at(s, y));
                s.store(block, &mut e.0);
                for (register, sum) in sums[column % 4].as_mut().iter_mut().enumerate() {
                    let (y, e) = (y.as_ref()[register], block.as_ref()[register]);
                    let target = targets.as_ref()[register];
                    let (of_y, of_e) =
                        (&mut target_y.as_mut()[register], &mut target_e.as_mut()[register]);
                    *of_y = s.if_equal(target, class, y, *of_y);
                    *of_e = s.if_equal(target, class, e, *of_e);
                    *sum = s.add(*sum, s.if_equal(at.as_ref()[register], class, zero, e));
                }
            }
            let [mut a, b, c, d] = sums;
            for register in 0..at.as_ref().len() {
                let [b, c, d] = [b.as_ref()[register], c.as_ref()[register], d.as_ref()[register]];
                let a = &mut a.as_mut()[register];
                *a = s.add(s.add(*a, c), s.add(b, d));
            }
            add(s, a, total);
        }
        let mut at_target = AtTarget { y: Lanes([0.0; LANES]), e: Lanes([0.0; LANES]) };
        s.store(target_y, &mut at_target.y.0);
        s.store(target_e, &mut at_target.e.0);
        at_target
    }

    /// Adds (largest y - y) times the exponentials, if the entropy is wanted.
    #[inline(always)]
    fn moments<S: Simd>(
        &self,
        s: S,
        exponentials: &Exponentials<S>,
        largest: &Lanes,
        scratch: &Scratch,
        total: &mut [f64; LANES],
    ) {
        if !self.problem.outputs.contains(Outputs::ENTROPY) {
            return;
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
            add(s, sum, total);
        }
    }

    /// Adds u (largest y - y), and u, where the loss has any.
    #[inline(always)]
    fn all_distances<S: Simd>(
        &self,
        s: S,
        largest: &Lanes,
        scratch: &Scratch,
        total: &mut [f64; LANES],
        mass: &mut [f64; LANES],
    ) {
        let classes = self.problem.classes;
        let weights = match self.class_weights {
            _ if self.problem.targets_are_probabilities() => Weights::Of(&scratch.u[..classes]),
            _ if self.problem.label_smoothing == 0.0 => return,
            Some(weights) => Weights::Classes(weights),
            None => Weights::One,
        };
        weighted(s, &self.bounded(largest), &scratch.y[..classes], &weights, total, mass);
    }

    #[inline(always)]
    fn bounded(&self, y: &Lanes) -> Lanes {
        let mut bounded = *y;
        for y in &mut bounded.0 {
            *y = self.squash.bounded(*y);
        }
        bounded
    }

    /// Writes the gradients of the ordinary rows and of those that are ignored. `one` and `at_target`:
    /// exponentials of their largest logits and of those of their targets.
    #[inline(always)]
    fn batch_gradient<S: Simd>(
        &self,
        s: S,
        batch: &mut Batch,
        softmax: &Softmax<LANES>,
        one: &[f32; LANES],
        at_target: &Lanes,
        scratch: &mut Scratch,
    ) {
        let Some(dlogits) = self.call.dlogits else { return };
        let classes = self.problem.classes;
        let terms = self.terms(&batch.rows, softmax, one);
        let mut lowered = false;
        for lane in 0..LANES {
            lowered |= terms.lowered[lane];
        }
        if lowered {
            for lane in lanes_of(batch.counted() & !batch.special) {
                batch.special_gradient |= u32::from(terms.lowered[lane]) << lane;
            }
        }
        let at_target = self.at_target(s, &batch.rows, &terms, &at_target.0);
        let weights = match self.class_weights {
            _ if self.problem.targets_are_probabilities() => {
                Some(Weights::Of(&scratch.u[..classes]))
            }
            _ if self.problem.label_smoothing == 0.0 => None,
            Some(weights) => Some(Weights::Classes(weights)),
            None => Some(Weights::One),
        };
        let (factor, mut unit) = (s.load(&terms.factor), s.load(&terms.of_u));
        for unit in unit.as_mut() {
            *unit = s.sub(s.splat(-0.0), *unit);
        }
        let (targets, at_target) = (s.load(&batch.targets.0), s.load(&at_target));
        let is_class = !self.problem.targets_are_probabilities();
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
                        let (u, unit) = (u.as_ref()[register], unit.as_ref()[register]);
                        let term = s.if_equal(u, zero, nothing, s.mul(u, unit));
                        *v = s.mul_add(*v, factor.as_ref()[register], term);
                    }
                }
            }
            if is_class {
                let class = s.splat(class as f32);
                for (register, v) in block.as_mut().iter_mut().enumerate() {
                    let (target, own) = (targets.as_ref()[register], at_target.as_ref()[register]);
                    *v = s.if_equal(target, class, own, *v);
                }
            }
            s.store(block, &mut g.0);
        }
        if !is_class {
            for lane in lanes_of(batch.counted() & !batch.special) {
                at_maxima(&terms, lane, classes, scratch);
            }
        }
        if self.squash.has_slopes() {
            super::chunk::multiply(s, &scratch.slope[..classes], &mut scratch.g[..classes]);
        }
        for lane in lanes_of(batch.ignored) {
            scratch.g[..classes].iter_mut().for_each(|g| g.0[lane] = 0.0);
        }
        let special = batch.special | batch.special_gradient;
        let written = (special != 0).then(|| std::array::from_fn(|lane| special >> lane & 1 == 0));
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
        for lane in lanes_of(batch.special_gradient) {
            let row = batch.rows.first + lane;
            let Some(target) = self.target(row) else { continue };
            let softmax = softmax.of(lane);
            let (columns, kept) = (0..classes, None);
            s.call(Gradient { kernel: self, row, columns, target, softmax, scratch, kept });
        }
    }
}

/// What belongs to the classes of targets.
pub(super) struct AtTarget {
    y: Lanes,
    e: Lanes,
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
