//! The gradient of one row: dz/dx (p sum(u) - u), plus the part of the z-loss.

use std::ops::Range;

use super::chunk::{self, COLUMNS};
use super::kernel::{Kernel, Softmax, Target};
use super::math::{HEADROOM, MAX_ABOVE};
use super::memory;
use super::scratch::{Kept, Scratch};
use super::simd::{LANES, Lanes, Simd, Vectorised};
use super::writer::Numbers;

/// What the classes of a row share: the gradient is `factor` e - `of_u` u, where e are exponentials and
/// u the probabilities, or the weights of label smoothing.
pub(super) struct Terms {
    pub factor: f32,
    pub of_u: f32,
    /// The exponential of the largest logit.
    pub largest: f32,
    /// Whether exponentials are first multiplied by [`LOWERED`], because the factor would be too small
    /// for an `f32`.
    pub lowered: bool,
    /// Whether those can be used that were kept: no result can be so small that it depends on the
    /// reference.
    pub ordinary: bool,
    /// Upstream gradient, times the row's weight, over the denominator.
    unit: f64,
    /// Factor of p that comes from the z-loss.
    z_part: f64,
    /// dz/dx, where it is the same for all classes; else 1.
    slope: f64,
    /// Sum of exp(z - z(m)) without one maximum.
    s: f64,
    /// What label smoothing adds to u of a class of weight 1.
    even: f64,
}

/// Brings the largest exponential that there can be to about 1.
const LOWERED: f32 = 1.0 / (1u128 << (HEADROOM + MAX_ABOVE as i32)) as f32;

impl Kernel<'_> {
    #[inline(always)]
    fn write_gradient<S: Simd>(&self, s: S, work: Gradient) {
        let Gradient { row, columns, target, softmax, mass, scratch, kept, .. } = work;
        let Some(dlogits) = self.call.dlogits else { return };
        let dlogits = dlogits.row(row, self.call.inner);
        let logits = self.call.logits.row(row, self.call.inner);
        let reference = self.squash.reference(softmax.y);
        let exponential = self.squash.exponential(s, reference);
        let terms = self.terms(row, target, softmax, mass, exponential.of(s, softmax.y));
        let smoothing = self.problem.label_smoothing;
        let is_class = matches!(target, Target::Class(_));
        let plain = is_class && smoothing == 0.0 && !self.squash.has_slopes();
        for (first, len) in Self::chunks(columns) {
            let blocks = len.div_ceil(LANES);
            let Scratch { y, e, g, u, slope: slopes, writer } = &mut *scratch;
            let (y, g, u) = (&mut y[..blocks], &mut g[..blocks], &mut u[..blocks]);
            let kept =
                kept.filter(|kept| terms.ordinary && kept.references[first / COLUMNS] == reference);
            let (e, slopes) = match kept {
                Some(kept) => {
                    let blocks = first / LANES..first / LANES + blocks;
                    (&kept.e[blocks.clone()], kept.slope.get(blocks).unwrap_or(&[]))
                }
                None => {
                    let (e, slopes) = (&mut e[..blocks], &mut slopes[..blocks]);
                    self.load(s, softmax.shift, logits, first, len, y, slopes);
                    chunk::exponentials(s, &exponential, y, e);
                    if terms.lowered {
                        chunk::scale(s, LOWERED, e);
                    }
                    (&*e, &*slopes)
                }
            };
            let factor = terms.factor;
            let special = match target {
                Target::Class(class) if (first..first + len).contains(&class) => {
                    let at = class - first;
                    Some((at, self.at_target(s, &terms, class, chunk::get(e, at))))
                }
                _ => None,
            };
            if plain {
                writer.write(s, &dlogits, first, &Numbers { from: e, len, factor, special });
                continue;
            }
            match (target, self.class_weights) {
                (Target::Probabilities(q), _) => {
                    self.mix(s, q, first, len, u);
                    chunk::less_weighted(s, e, factor, u, terms.of_u, g);
                    at_maxima(s, mass, &terms, e, u, g);
                }
                (Target::Class(_), Some(weights)) if smoothing != 0.0 => {
                    weights.load(s, first, len, 0.0, u);
                    chunk::less_weighted(s, e, factor, u, terms.of_u, g);
                }
                (Target::Class(_), _) => chunk::less(s, e, factor, terms.of_u, g),
            }
            if let Some((at, value)) = special {
                chunk::set(g, at, value);
            }
            if self.squash.has_slopes() {
                chunk::multiply(s, slopes, g);
            }
            writer.write(s, &dlogits, first, &Numbers::new(g, len));
        }
    }

    /// Writes the same value for every class.
    #[inline(always)]
    pub(super) fn fill_gradient<S: Simd>(
        &self,
        s: S,
        row: usize,
        columns: Range<usize>,
        value: f32,
        scratch: &mut Scratch,
    ) {
        let Some(dlogits) = self.call.dlogits else { return };
        let dlogits = dlogits.row(row, self.call.inner);
        let Scratch { g, writer, .. } = scratch;
        g.iter_mut().for_each(|lanes| lanes.0.fill(value));
        for (first, len) in Self::chunks(columns) {
            writer.write(s, &dlogits, first, &Numbers::new(&g[..len.div_ceil(LANES)], len));
        }
    }

    /// The terms of a counted row with a softmax. `mass` is sum(u) of probability targets, `largest` the
    /// exponential of the largest logit.
    #[inline(always)]
    pub(super) fn terms(
        &self,
        row: usize,
        target: Target,
        softmax: Softmax,
        mass: f64,
        largest: f32,
    ) -> Terms {
        let upstream = self.call.dloss.map_or(1.0, |dloss| {
            f64::from(memory::get::<f32>(dloss.data, if dloss.per_row { row } else { 0 }))
        });
        let unit = upstream * self.scale.cross_entropy * self.row_weight(row);
        let z_part = match self.problem.z_loss {
            0.0 => 0.0,
            factor => upstream * self.scale.z_loss * 2.0 * factor * softmax.lse,
        };
        let slope = self.squash.constant_slope();
        let even = unit * self.problem.label_smoothing / self.problem.classes as f64;
        let (of_p, of_u) = match target {
            Target::Probabilities(_) => (unit * mass + z_part, unit),
            Target::Class(class) => (self.hit(unit, class) + even * self.weight_sum + z_part, even),
        };
        let factor = of_p * slope / ((1.0 + softmax.s) * f64::from(largest));
        let lowered = factor.abs() < 2f64.powi(-100);
        let by = if lowered { LOWERED } else { 1.0 };
        Terms {
            factor: (factor / f64::from(by)) as f32,
            of_u: (of_u * slope) as f32,
            largest: largest * by,
            lowered,
            ordinary: !lowered && factor.abs() < 2f64.powi(-30),
            unit,
            z_part,
            slope,
            s: softmax.s,
            even,
        }
    }

    /// What the class of the target adds to its u.
    #[inline(always)]
    fn hit(&self, unit: f64, class: usize) -> f64 {
        unit * (1.0 - self.problem.label_smoothing) * self.class_weight(class)
    }

    /// The gradient at the class of the target, before slopes, from its exponential: at a maximum,
    /// p - 1 is formed without cancellation.
    #[inline(always)]
    pub(super) fn at_target<S: Simd>(&self, s: S, terms: &Terms, class: usize, e: f32) -> f32 {
        let hit = self.hit(terms.unit, class);
        let even = terms.even * self.class_weight(class);
        if e == terms.largest {
            let others = terms.even * self.weight_sum + terms.z_part;
            (((others - hit * terms.s) / (1.0 + terms.s) - even) * terms.slope) as f32
        } else {
            let less = s.splat((-(hit + even) * terms.slope) as f32);
            s.first(s.mul_add(s.splat(e), s.splat(terms.factor), less))
        }
    }
}

/// Writes the gradient of some columns of a counted row with a softmax.
pub(super) struct Gradient<'a, 'b> {
    pub kernel: &'a Kernel<'a>,
    pub row: usize,
    pub columns: Range<usize>,
    pub target: Target,
    pub softmax: Softmax,
    /// sum(u) of probability targets.
    pub mass: f64,
    pub scratch: &'a mut Scratch<'b>,
    pub kept: Option<&'a Kept<'b>>,
}

impl Vectorised for Gradient<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.kernel.write_gradient(s, self);
    }
}

/// The same for probabilities, at all maxima. What is 1 at one class and 0 elsewhere gives the bits of
/// that class.
#[inline(always)]
fn at_maxima<S: Simd>(s: S, mass: f64, terms: &Terms, e: &[Lanes], u: &[Lanes], g: &mut [Lanes]) {
    let largest = s.splat(terms.largest);
    for ((e, u), g) in e.iter().zip(u).zip(g) {
        let mut any = false;
        for &e in s.load(&e.0).as_ref() {
            any |= s.any_equal(e, largest);
        }
        if !any {
            continue;
        }
        for ((&e, &u), g) in e.0.iter().zip(&u.0).zip(&mut g.0) {
            if e == terms.largest && u != 0.0 {
                *g = terms.at_maximum(mass, u.into());
            }
        }
    }
}

impl Terms {
    /// The gradient at a maximum, before slopes, for a u of probabilities whose sum is `mass`.
    pub(super) fn at_maximum(&self, mass: f64, u: f64) -> f32 {
        let of_u = self.unit * (mass - u - u * self.s);
        ((of_u + self.z_part) / (1.0 + self.s) * self.slope) as f32
    }
}
