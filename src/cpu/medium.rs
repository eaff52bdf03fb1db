//! Rows of one chunk: 8 of them are summed one after the other, and then finished together, because what
//! is done once for a row would take as long as its sums.

use std::ops::Range;

use super::Pass;
use super::chunk::{self, COLUMNS};
use super::finish::{RowSums, Rows, Softmax};
use super::gradient::Gradient;
use super::keep::{Half, Keep};
use super::kernel::{Kernel, Target, Totals, Wide};
use super::scratch::Scratch;
use super::simd::Simd;
use super::sums::Sums;

/// The longest row of this kernel.
pub(super) const MEDIUM: usize = COLUMNS;

/// Rows that are finished together.
pub(super) const ROWS: usize = 8;

impl Kernel<'_> {
    /// Writes all outputs of at most 8 rows, and adds to the totals.
    #[inline(always)]
    pub(super) fn medium_forward<S: Simd>(
        &self,
        s: S,
        range: Range<usize>,
        mut totals: Totals,
        scratch: &mut Scratch,
        keep: &mut Keep,
    ) -> Totals {
        let columns = 0..self.problem.classes;
        let mut rows = Rows::<ROWS> {
            first: range.start,
            len: range.len(),
            counted: [false; ROWS],
            classes: [0; ROWS],
            weights: [1.0; ROWS],
        };
        let mut targets = [None; ROWS];
        let mut special = [false; ROWS];
        let mut all = RowSums::ZERO;
        let (next, last) = keep.turn();
        for (index, row) in range.clone().enumerate() {
            let Some(target) = self.target(row) else {
                self.fill_gradient(s, row, columns.clone(), 0.0, scratch);
                continue;
            };
            let mut kept = next.row(index, last);
            let sums = s.call(Sums {
                kernel: self,
                shift: 0.0,
                reference: f32::NEG_INFINITY,
                logits: self.call.logits.row(row, self.call.inner),
                target,
                columns: columns.clone(),
                scratch,
                kept: &mut kept,
            });
            special[index] = !self.is_ordinary(sums.exp, sums.largest.x, sums.largest.y);
            rows.counted[index] = true;
            rows.classes[index] = target.class();
            rows.weights[index] = self.class_weight(target.class());
            targets[index] = Some(target);
            all.set(s, &self.squash, index, &sums);
        }
        scratch.writer.write_waiting(s, last);
        let softmax = all.softmax(0.0);
        let of_rows = self.finish(&rows, &all, &softmax);
        for (index, row) in range.enumerate() {
            let own = if special[index] {
                targets[index] = None;
                s.call(Wide { kernel: self, pass: Pass::Forward, row, scratch })
            } else {
                of_rows.of(index)
            };
            totals = totals.plus(own);
        }
        if self.call.dlogits.is_some() {
            self.medium_gradient(s, &rows, &targets, &softmax, &all.one, next, last, scratch);
        }
        totals
    }

    /// Writes the gradients of rows with these targets. `largest`: the exponentials of their largest
    /// logits.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn medium_gradient<S: Simd>(
        &self,
        s: S,
        rows: &Rows<ROWS>,
        targets: &[Option<Target>; ROWS],
        softmax: &Softmax<ROWS>,
        largest: &[f32; ROWS],
        next: &mut Half,
        last: &Half,
        scratch: &mut Scratch,
    ) {
        let terms = self.terms(rows, softmax, largest);
        let mut e = [0.0; ROWS];
        for (index, e) in e.iter_mut().enumerate() {
            if let (Some(target), Some(kept)) = (targets[index], next.row(index, last)) {
                *e = chunk::get(kept.e, target.class());
            }
        }
        let at_target = self.at_target(s, rows, &terms, &e);
        for (index, target) in targets.iter().enumerate() {
            let Some(target) = *target else { continue };
            let (row, kept) = (rows.first + index, next.row(index, last));
            let (kept, at_target) = (kept.as_ref(), at_target[index]);
            if let (Some(kept), true) = (kept, terms.ordinary[index]) {
                let (terms, writer) = (terms.of(index), &mut scratch.writer);
                if self.write_kept(s, row, target, terms, at_target, kept, writer) {
                    continue;
                }
            }
            let (columns, softmax) = (0..self.problem.classes, softmax.of(index));
            s.call(Gradient { kernel: self, row, columns, target, softmax, scratch, kept });
        }
    }
}
