//! Softmax and its logarithm of short rows, and their backward: 32 rows side by side, as in
//! [`narrow`](super::narrow), which lends its sums.

use std::ops::Range;

use super::columns::{read, write};
use super::kernel::Kernel;
use super::lanes::{add, largest};
use super::math::{exp, log1p};
use super::scratch::Scratch;
use super::simd::{LANES, Lanes, Simd, Vectorised};
use super::softmax::Softmax;
use super::terms::product;
use crate::Operation;

/// No class.
const NO_TARGETS: Lanes = Lanes([-1.0; LANES]);

impl Kernel<'_> {
    /// Writes the softmax, or its logarithm, of at most 32 rows.
    #[inline(always)]
    pub(super) fn narrow_softmax<S: Simd>(&self, s: S, rows: Range<usize>, scratch: &mut Scratch) {
        let Some(output) = self.call.output else { return };
        let classes = self.problem.classes;
        self.read_logits(s, &rows, None, scratch);
        let (x, at) = largest(s, &scratch.y[..classes]);
        let is_logarithm = self.problem.operation == Operation::LogSoftmax;
        if is_logarithm {
            scratch.g[..classes].copy_from_slice(&scratch.y[..classes]);
        }
        let mut y = x;
        if !self.squash.is_plain() {
            self.squash.apply(s, 0.0, &mut scratch.y[..classes], &mut scratch.slope[..classes]);
            self.squash.apply(s, 0.0, std::slice::from_mut(&mut y), &mut scratch.u[..1]);
        }
        let exponentials = self.exponentials(s, &y);
        let mut one = Lanes([0.0; LANES]);
        s.store(exponentials.at(s, &y), &mut one.0);
        let mut sums = [0.0; LANES];
        self.exp_sums(s, &exponentials, &at, &NO_TARGETS, scratch, &mut sums);
        let mut ordinary = [true; LANES];
        for (lane, ordinary) in ordinary.iter_mut().enumerate() {
            *ordinary = self.is_ordinary(sums[lane], x.0[lane], y.0[lane]);
        }
        match is_logarithm {
            true => self.logarithms(s, &x, &one, &sums, scratch),
            false => divide(s, &one, &sums, classes, scratch),
        }
        let all = ordinary[..rows.len()].iter().fold(true, |all, own| all & own);
        let wanted = (!all).then_some(&ordinary);
        let Scratch { e: flat, g, writer, .. } = &mut *scratch;
        write(s, &output, self.call.inner, &rows, classes, wanted, g, flat, writer);
        for (row, &ordinary) in rows.zip(&ordinary) {
            if !ordinary {
                s.call(WideRow { softmax: Softmax(self), row, scratch });
            }
        }
    }

    /// k (x - x(m)) - log1p(s), of oriented logits. Half the distance is no overflow.
    #[inline(always)]
    fn logarithms<S: Simd>(
        &self,
        s: S,
        x: &Lanes,
        one: &Lanes,
        sums: &[f64; LANES],
        scratch: &mut Scratch,
    ) {
        let (mut half, mut rest) = (Lanes([0.0; LANES]), Lanes([0.0; LANES]));
        for (lane, sum) in sums.iter().enumerate() {
            half.0[lane] = -0.5 * x.0[lane];
            rest.0[lane] = -log1p(sum / f64::from(one.0[lane])) as f32;
        }
        let (half, rest) = (s.load(&half.0), s.load(&rest.0));
        let twice = s.splat((2.0 * self.problem.logit_scale.abs()) as f32);
        for x in &mut scratch.g[..self.problem.classes] {
            let mut block = s.load(&x.0);
            for (register, x) in block.as_mut().iter_mut().enumerate() {
                let (half, rest) = (half.as_ref()[register], rest.as_ref()[register]);
                *x = s.mul_add(s.mul_add(*x, s.splat(0.5), half), twice, rest);
            }
            s.store(block, &mut x.0);
        }
    }

    /// From the softmax, or its logarithm, of at most 32 rows to the gradients of their logits.
    #[inline(always)]
    pub(super) fn narrow_of_softmax<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let (call, classes) = (self.call, self.problem.classes);
        let (Some(dlogits), Some(upstream)) = (call.dlogits, call.upstream) else { return };
        let is_logarithm = self.problem.operation == Operation::LogSoftmax;
        let Scratch { y, e: flat, g, writer, .. } = &mut *scratch;
        read(s, &call.logits, call.inner, &rows, classes, None, flat, y);
        read(s, &upstream, call.inner, &rows, classes, None, flat, g);
        let mut total = [0.0; LANES];
        for (y, g) in y[..classes].iter().zip(&g[..classes]) {
            let (y, mut block) = (s.load(&y.0), s.load(&g.0));
            if !is_logarithm {
                for (g, &y) in block.as_mut().iter_mut().zip(y.as_ref()) {
                    *g = product(s, y, *g);
                }
            }
            add(s, block, &mut total);
        }
        let sum = s.load(&total.map(|sum| sum as f32));
        let scale = s.splat(self.problem.logit_scale as f32);
        for (y, g) in y[..classes].iter().zip(&mut g[..classes]) {
            let (y, mut block) = (s.load(&y.0), s.load(&g.0));
            for (register, g) in block.as_mut().iter_mut().enumerate() {
                let (y, sum) = (y.as_ref()[register], sum.as_ref()[register]);
                let own = match is_logarithm {
                    true => s.mul_add(exp(s, y), s.sub(s.splat(-0.0), sum), *g),
                    false => product(s, y, s.sub(*g, sum)),
                };
                *g = s.mul(own, scale);
            }
            s.store(block, &mut g.0);
        }
        write(s, &dlogits, call.inner, &rows, classes, None, g, flat, writer);
    }
}

/// e / (e(m) (1 + s)), where s is in units of e(m).
#[inline(always)]
fn divide<S: Simd>(s: S, one: &Lanes, sums: &[f64; LANES], classes: usize, scratch: &mut Scratch) {
    let mut factor = Lanes([0.0; LANES]);
    for (lane, factor) in factor.0.iter_mut().enumerate() {
        *factor = (1.0 / (f64::from(one.0[lane]) + sums[lane])) as f32;
    }
    let factor = s.load(&factor.0);
    for (e, p) in scratch.e[..classes].iter().zip(&mut *scratch.g) {
        let mut block = s.load(&e.0);
        for (p, &factor) in block.as_mut().iter_mut().zip(factor.as_ref()) {
            *p = s.mul(*p, factor);
        }
        s.store(block, &mut p.0);
    }
}

/// One row, computed as a long one in a function of its own.
struct WideRow<'a, 'b> {
    softmax: Softmax<'a>,
    row: usize,
    scratch: &'a mut Scratch<'b>,
}

impl Vectorised for WideRow<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.softmax.row(s, self.row, self.scratch);
    }
}
