//! The double backward of the cross entropy of logits: the Hessian of the loss of a row times a
//! direction v.
//!
//! Each loss is sum(u) lse - sum(u z) + a lse^2, whose Hessian by z is (sum(u) + 2 a lse) (diag(p) - p p')
//! + 2 a p p'; times v, with m = sum(p v), that is p ((sum(u) + 2 a lse) (v - m) + 2 a m).

use std::ops::Range;

use super::batch::RowKernel;
use super::chunk;
use super::elements::multiply;
use super::keep::Keep;
use super::kernel::{Kernel, Target, Totals};
use super::memory;
use super::numbers::InMemory;
use super::scratch::Scratch;
use super::simd::{LANES, Lanes, Level, Simd};
use super::terms::product;
use crate::call::Per;

/// Computes rows from logits, statistics and directions.
pub(super) struct Hessian<'a>(pub &'a Kernel<'a>);

impl RowKernel for Hessian<'_> {
    #[inline(always)]
    fn rows<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        scratch: &mut Scratch,
        _: &mut Keep,
    ) -> Totals {
        for row in rows {
            self.row(s, row, scratch);
        }
        Totals::default()
    }
}

impl Hessian<'_> {
    #[inline(always)]
    fn row<S: Simd>(&self, s: S, row: usize, scratch: &mut Scratch) {
        let Hessian(kernel) = self;
        let (call, columns) = (kernel.call, 0..kernel.problem.classes);
        let (Some(stats), Some(direction), Some(dlogits)) =
            (call.stats, call.upstream, call.dlogits)
        else {
            return;
        };
        let Some(target) = kernel.target(row) else {
            return kernel.fill_gradient(s, row, columns, 0.0, scratch);
        };
        let [largest, sum] = memory::get::<[f32; 2]>(stats, row);
        if largest.is_nan() || sum.is_nan() {
            return kernel.fill_gradient(s, row, columns, f32::NAN, scratch);
        }
        let softmax = kernel.softmax(s, [largest, sum], 0.0);
        let exponential = kernel.squash.exponential(s, kernel.squash.reference(softmax.y[0]));
        let norm = f64::from(exponential.of(s, softmax.y[0])) * (1.0 + softmax.s[0]);
        let (logits, v) = (call.logits.row(row, call.inner), direction.row(row, call.inner));

        let load = |scratch: &mut Scratch, first, len| {
            let blocks = len_in_blocks(len);
            let Scratch { y, e, g, slope, .. } = scratch;
            let (y, e) = (&mut y[..blocks], &mut e[..blocks]);
            kernel.load(s, softmax.shift, logits, first, len, y, &mut slope[..]);
            let ahead = logits.ahead(first + len, Level::First);
            chunk::exponentials(s, &exponential, y, e, ahead, None);
            v.load(s, first, len, 0.0, &mut g[..blocks]);
        };
        let mut mean = 0.0;
        for (first, len) in Kernel::chunks(columns.clone()) {
            load(scratch, first, len);
            let blocks = len_in_blocks(len);
            let Scratch { e, g, .. } = &mut *scratch;
            multiply(s, &e[..blocks], &mut g[..blocks]);
            mean += chunk::exact_sum(s, &g[..blocks]);
        }
        mean /= norm;

        let (curvature, of_lse) = self.curvature(s, row, target, softmax.lse[0], scratch);
        let per_e = kernel.problem.logit_scale.powi(2) / norm;
        let (of_v, rest) = (curvature * per_e, (of_lse - curvature) * mean * per_e);
        for (first, len) in Kernel::chunks(columns) {
            load(scratch, first, len);
            let blocks = len_in_blocks(len);
            let Scratch { e, g, writer, .. } = &mut *scratch;
            let g = &mut g[..blocks];
            combine(s, of_v as f32, rest as f32, &e[..blocks], g);
            let to = dlogits.row(row, call.inner);
            writer.write_from_memory(s, &to, first, &InMemory::new(g, len), None);
        }
    }

    /// sum(u) + 2 a lse and 2 a, each with what the loss is multiplied by.
    #[inline(always)]
    fn curvature<S: Simd>(
        &self,
        s: S,
        row: usize,
        target: Target,
        lse: f64,
        scratch: &mut Scratch,
    ) -> (f64, f64) {
        let Hessian(kernel) = self;
        let (problem, scale) = (kernel.problem, kernel.scale);
        let smoothing = problem.label_smoothing;
        let mass = match target {
            Target::Class(class) => {
                let even = smoothing / problem.classes as f64 * kernel.weight_sum;
                (1.0 - smoothing) * kernel.class_weight(class) + even
            }
            Target::Probabilities(q) => kernel
                .segments()
                .fold(0.0, |sum, segment| sum + kernel.mass_of(s, q, segment, scratch)),
        };
        let upstream: f64 = kernel.call.dloss.map_or(1.0, |dloss| {
            let row = if dloss.per == Per::Row { row } else { 0 };
            memory::get::<f32>(dloss.data, row).into()
        });
        let of_lse = match problem.z_loss {
            0.0 => 0.0,
            z_loss => upstream * scale.z_loss * 2.0 * z_loss,
        };
        let of_mass = upstream * scale.cross_entropy * kernel.row_weight(row) * mass;
        (of_mass + of_lse * lse, of_lse)
    }
}

fn len_in_blocks(len: usize) -> usize {
    len.div_ceil(LANES)
}

/// Replaces v by e (v of_v + rest).
#[inline(always)]
fn combine<S: Simd>(s: S, of_v: f32, rest: f32, e: &[Lanes], v: &mut [Lanes]) {
    let (of_v, rest) = (s.splat(of_v), s.splat(rest));
    for (e, v) in e.iter().zip(v) {
        let (e, mut block) = (s.load(&e.0), s.load(&v.0));
        for (v, &e) in block.as_mut().iter_mut().zip(e.as_ref()) {
            *v = product(s, e, s.mul_add(*v, of_v, rest));
        }
        s.store(block, &mut v.0);
    }
}
