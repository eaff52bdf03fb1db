//! Softmax and its logarithm: z - z(m) - log1p(s) or its exponential, with the maximum z(m) and the sum s
//! over the other classes that the cross entropy has too; and their backward.

use std::ops::Range;

use super::batch::{RowKernel, batches};
use super::chunk;
use super::elements::multiply;
use super::keep::Keep;
use super::kernel::{Kernel, Target, Totals};
use super::math::{exp, log1p};
use super::memory::Row;
use super::narrow::NARROW;
use super::numbers::{Affine, InMemory};
use super::partial::Partial;
use super::scratch::Scratch;
use super::simd::{LANES, Lanes, Level, Simd};
use super::terms::product;
use crate::Operation;

/// From logits to a softmax or its logarithm.
pub(super) struct Softmax<'a>(pub &'a Kernel<'a>);

impl RowKernel for Softmax<'_> {
    #[inline(always)]
    fn rows<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        scratch: &mut Scratch,
        _: &mut Keep,
    ) -> Totals {
        let Softmax(kernel) = self;
        if kernel.problem.classes <= NARROW {
            for rows in batches(rows, LANES) {
                kernel.narrow_softmax(s, rows, scratch);
            }
        } else {
            for row in rows {
                self.row(s, row, scratch);
            }
        }
        Totals::default()
    }
}

impl Softmax<'_> {
    #[inline(always)]
    pub fn row<S: Simd>(&self, s: S, row: usize, scratch: &mut Scratch) {
        let Softmax(kernel) = self;
        let Some(output) = kernel.call.output else { return };
        let logits = kernel.call.logits.row(row, kernel.call.inner);
        let to = output.row(row, kernel.call.inner);
        let (shift, sums) = kernel.sums(s, logits, Target::NONE, scratch, &mut None);
        let largest = sums.largest;
        if sums.exp.is_nan() || !kernel.squash.is_defined_for(largest.x) {
            return fill(s, to, kernel.problem.classes, f32::NAN, scratch);
        }
        match kernel.problem.operation {
            Operation::LogSoftmax => self.write_logarithms(s, logits, to, &sums, scratch),
            _ => self.write_exponentials(s, logits, to, shift, &sums, scratch),
        }
    }

    /// e / (e(m) (1 + s)).
    #[inline(always)]
    fn write_exponentials<S: Simd>(
        &self,
        s: S,
        logits: Row,
        to: Row,
        shift: f32,
        sums: &Partial,
        scratch: &mut Scratch,
    ) {
        let Softmax(kernel) = self;
        let exponential = kernel.squash.exponential(s, sums.reference);
        let one = f64::from(exponential.of(s, sums.largest.y));
        let map = Affine { factor: (1.0 / (one + sums.exp)) as f32, term: -0.0 };
        for (first, len) in Kernel::chunks(0..kernel.problem.classes) {
            let blocks = len.div_ceil(LANES);
            let Scratch { y, e, slope, writer, .. } = &mut *scratch;
            let (y, e) = (&mut y[..blocks], &mut e[..blocks]);
            kernel.load(s, shift, logits, first, len, y, &mut slope[..]);
            let ahead = logits.ahead(first + len, Level::First);
            chunk::exponentials(s, &exponential, y, e, ahead, None);
            writer.write_from_memory(s, &to, first, &InMemory::mapped(e, len, map), None);
        }
    }

    /// k (x - x(m)) - log1p(s). Half the distance is no overflow.
    #[inline(always)]
    fn write_logarithms<S: Simd>(
        &self,
        s: S,
        logits: Row,
        to: Row,
        sums: &Partial,
        scratch: &mut Scratch,
    ) {
        let Softmax(kernel) = self;
        let exponential = kernel.squash.exponential(s, sums.reference);
        let rest = log1p(sums.exp / f64::from(exponential.of(s, sums.largest.y)));
        let half = s.splat(-0.5 * kernel.squash.orient(sums.largest.x));
        let map = Affine { factor: (2.0 * kernel.problem.logit_scale) as f32, term: -rest as f32 };
        for (first, len) in Kernel::chunks(0..kernel.problem.classes) {
            let blocks = len.div_ceil(LANES);
            let Scratch { y, writer, .. } = &mut *scratch;
            let y = &mut y[..blocks];
            logits.load(s, first, len, 0.0, y);
            for lanes in &mut *y {
                let mut block = s.load(&lanes.0);
                for x in block.as_mut() {
                    *x = s.mul_add(*x, s.splat(0.5), half);
                }
                s.store(block, &mut lanes.0);
            }
            writer.write_from_memory(s, &to, first, &InMemory::mapped(y, len, map), None);
        }
    }
}

/// From a softmax or its logarithm y and its upstream gradient g to the gradient of the logits:
/// k y (g - sum(g y)), or k (g - exp(y) sum(g)).
pub(super) struct OfSoftmax<'a>(pub &'a Kernel<'a>);

impl RowKernel for OfSoftmax<'_> {
    #[inline(always)]
    fn rows<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        scratch: &mut Scratch,
        _: &mut Keep,
    ) -> Totals {
        let OfSoftmax(kernel) = self;
        if kernel.problem.classes <= NARROW {
            for rows in batches(rows, LANES) {
                kernel.narrow_of_softmax(s, rows, scratch);
            }
        } else {
            for row in rows {
                self.row(s, row, scratch);
            }
        }
        Totals::default()
    }
}

impl OfSoftmax<'_> {
    #[inline(always)]
    fn row<S: Simd>(&self, s: S, row: usize, scratch: &mut Scratch) {
        let OfSoftmax(kernel) = self;
        let (call, logarithm) = (kernel.call, kernel.problem.operation == Operation::LogSoftmax);
        let (Some(dlogits), Some(upstream)) = (call.dlogits, call.upstream) else { return };
        let (output, upstream) = (call.logits.row(row, call.inner), upstream.row(row, call.inner));
        let to = dlogits.row(row, call.inner);
        let mut sum = 0.0;
        for (first, len) in Kernel::chunks(0..kernel.problem.classes) {
            let blocks = len.div_ceil(LANES);
            let (y, g) = (&mut scratch.y[..blocks], &mut scratch.g[..blocks]);
            upstream.load(s, first, len, 0.0, g);
            if !logarithm {
                output.load(s, first, len, 0.0, y);
                multiply(s, y, g);
            }
            sum += chunk::exact_sum(s, g);
        }
        let scale = kernel.problem.logit_scale as f32;
        for (first, len) in Kernel::chunks(0..kernel.problem.classes) {
            let blocks = len.div_ceil(LANES);
            let Scratch { y, g, writer, .. } = &mut *scratch;
            let (y, g) = (&mut y[..blocks], &mut g[..blocks]);
            upstream.load(s, first, len, 0.0, g);
            output.load(s, first, len, 0.0, y);
            match logarithm {
                true => of_logarithms(s, sum as f32, y, g),
                false => of_exponentials(s, sum as f32, y, g),
            }
            let map = Affine { factor: scale, term: -0.0 };
            writer.write_from_memory(s, &to, first, &InMemory::mapped(g, len, map), None);
        }
    }
}

/// Replaces g by y (g - sum).
#[inline(always)]
fn of_exponentials<S: Simd>(s: S, sum: f32, y: &[Lanes], g: &mut [Lanes]) {
    let sum = s.splat(sum);
    for (y, g) in y.iter().zip(g) {
        let (y, mut block) = (s.load(&y.0), s.load(&g.0));
        for (g, &y) in block.as_mut().iter_mut().zip(y.as_ref()) {
            *g = product(s, y, s.sub(*g, sum));
        }
        s.store(block, &mut g.0);
    }
}

/// Replaces g by g - exp(y) sum.
#[inline(always)]
fn of_logarithms<S: Simd>(s: S, sum: f32, y: &[Lanes], g: &mut [Lanes]) {
    let minus = s.splat(-sum);
    for (y, g) in y.iter().zip(g) {
        let (y, mut block) = (s.load(&y.0), s.load(&g.0));
        for (g, &y) in block.as_mut().iter_mut().zip(y.as_ref()) {
            *g = s.mul_add(exp(s, y), minus, *g);
        }
        s.store(block, &mut g.0);
    }
}

/// Writes the same number for every class.
#[inline(always)]
pub(super) fn fill<S: Simd>(s: S, to: Row, classes: usize, value: f32, scratch: &mut Scratch) {
    let Scratch { g, writer, .. } = scratch;
    g.iter_mut().for_each(|lanes| lanes.0.fill(value));
    for (first, len) in Kernel::chunks(0..classes) {
        let numbers = InMemory::new(&g[..len.div_ceil(LANES)], len);
        writer.write_from_memory(s, &to, first, &numbers, None);
    }
}
