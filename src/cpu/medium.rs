//! Rows of one chunk: 8 of them are summed one after the other, and then finished together, because what
//! is done once for a row would take as long as its sums.

use std::ops::Range;

use super::Pass;
use super::chunk::COLUMNS;
use super::finish::{RowSums, Rows};
use super::gradient::Gradient;
use super::keep::Keep;
use super::kernel::{Kernel, Totals, Wide};
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
            if special[index] {
                scratch.writer.write_waiting(s, next);
                totals =
                    totals.plus(s.call(Wide { kernel: self, pass: Pass::Forward, row, scratch }));
                continue;
            }
            totals = totals.plus(of_rows.of(index));
            if let Some(target) = targets[index]
                && self.call.dlogits.is_some()
            {
                let (columns, softmax) = (columns.clone(), softmax.of(index));
                let kept = next.row(index, last);
                let kept = kept.as_ref();
                s.call(Gradient { kernel: self, row, columns, target, softmax, scratch, kept });
            }
        }
        totals
    }
}
