//! The gradient of one row: dz/dx (p sum(u) - u), plus the part of the z-loss.

use std::ops::Range;

use super::kernel::{Kernel, Scratch, Softmax, Target};
use super::{lanes, memory};

/// What all classes of a row share.
struct Factors {
    /// Upstream gradient, times the row's weight, over the denominator.
    unit: f64,
    /// Factor of p that comes from the z-loss.
    z_part: f64,
    /// dz/dx, where it is the same for all classes; else 1.
    slope: f64,
    /// p of the largest logit.
    p_max: f64,
    /// 1 - p_max, without cancellation.
    rest: f64,
}

impl Kernel<'_> {
    /// Writes the gradient of a counted row with a softmax. `mass` is sum(u) of probability
    /// targets.
    pub(super) fn write_gradient(
        &self,
        row: usize,
        target: Target,
        softmax: Softmax,
        mass: f64,
        scratch: &mut Scratch,
    ) {
        let Some(dlogits) = self.call.dlogits else { return };
        let dlogits = dlogits.row(row, self.call.inner);
        let logits = self.call.logits.row(row, self.call.inner);
        let factors = self.factors(row, softmax);
        for columns in self.chunks() {
            self.prepare(logits, &columns, softmax.reference, scratch);
            match target {
                Target::Class(class) => self.class_gradient(class, &columns, &factors, scratch),
                Target::Probabilities(q) => {
                    self.mix(q, &columns, &mut scratch.u);
                    probabilities_gradient(mass, columns.len(), &factors, scratch);
                }
            }
            let gradient = &mut scratch.gradient[..columns.len()];
            if self.squash.has_slopes() {
                gradient.iter_mut().zip(&scratch.slope).for_each(|(g, slope)| *g *= slope);
            }
            dlogits.store(columns.start, gradient);
        }
    }

    /// Writes the same value for every class.
    pub(super) fn fill_gradient(&self, row: usize, value: f32, scratch: &mut Scratch) {
        let Some(dlogits) = self.call.dlogits else { return };
        let dlogits = dlogits.row(row, self.call.inner);
        scratch.gradient.fill(value);
        for columns in self.chunks() {
            dlogits.store(columns.start, &scratch.gradient[..columns.len()]);
        }
    }

    fn factors(&self, row: usize, softmax: Softmax) -> Factors {
        let upstream = self.call.dloss.map_or(1.0, |dloss| {
            f64::from(memory::get::<f32>(dloss.data, if dloss.per_row { row } else { 0 }))
        });
        Factors {
            unit: upstream * self.scale.cross_entropy * self.row_weight(row),
            z_part: match self.problem.z_loss {
                0.0 => 0.0,
                factor => upstream * self.scale.z_loss * 2.0 * factor * softmax.lse(),
            },
            slope: self.squash.constant_slope(),
            p_max: 1.0 / (1.0 + softmax.s),
            rest: softmax.s / (1.0 + softmax.s),
        }
    }

    /// One chunk for a class y: u is w\[y\] (1 - s) at y, and w s/C everywhere.
    fn class_gradient(
        &self,
        class: usize,
        columns: &Range<usize>,
        factors: &Factors,
        scratch: &mut Scratch,
    ) {
        let &Factors { unit, z_part, slope, p_max, rest } = factors;
        let smoothing = self.problem.label_smoothing;
        let hit = unit * (1.0 - smoothing) * self.class_weight(class);
        let even = unit * smoothing / self.problem.classes as f64;
        let others = even * self.weight_sum + z_part;
        let factor = ((hit + others) * p_max * slope) as f32;
        let even_f32 = (even * slope) as f32;

        let e = &scratch.e[..columns.len()];
        let gradient = &mut scratch.gradient[..columns.len()];
        match self.class_weights {
            _ if smoothing == 0.0 => lanes::map(gradient, e, |e| e * factor),
            None => lanes::map(gradient, e, |e| e * factor - even_f32),
            Some(weights) => lanes::map2(gradient, e, &weights[columns.clone()], |e, w| {
                e * factor - even_f32 * w
            }),
        }
        if columns.contains(&class) {
            let at = class - columns.start;
            if scratch.t[at] == 0.0 {
                let exact = -hit * rest + others * p_max - even * self.class_weight(class);
                gradient[at] = (exact * slope) as f32;
            } else {
                gradient[at] -= (hit * slope) as f32;
            }
        }
    }
}

/// One chunk for probabilities, of which u was made. What is 1 at one class and 0 elsewhere gives
/// the bits of that class.
fn probabilities_gradient(mass: f64, len: usize, factors: &Factors, scratch: &mut Scratch) {
    let &Factors { unit, z_part, slope, p_max, rest } = factors;
    let factor = ((unit * mass + z_part) * p_max * slope) as f32;
    let unit_f32 = (unit * slope) as f32;
    let (t, e, u) = (&scratch.t[..len], &scratch.e[..len], &scratch.u[..len]);
    let gradient = &mut scratch.gradient[..len];
    lanes::map2(
        gradient,
        e,
        u,
        |e, u| {
            if u == 0.0 { e * factor } else { e * factor - unit_f32 * u }
        },
    );
    if lanes::count_zeros(t) == 0 {
        return;
    }
    for (gradient, (&t, &u)) in gradient.iter_mut().zip(t.iter().zip(u)) {
        if t == 0.0 && u != 0.0 {
            let u = f64::from(u);
            let exact = unit * ((mass - u) * p_max - u * rest) + z_part * p_max;
            *gradient = (exact * slope) as f32;
        }
    }
}
