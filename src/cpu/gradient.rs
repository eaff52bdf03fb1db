//! The gradient of one row: dz/dx (p sum(u) - u), plus the part of the z-loss.

use std::ops::Range;

use super::chunk::{self, COLUMNS};
use super::kernel::{Kernel, Softmax, Target};
use super::math::{HEADROOM, MAX_ABOVE};
use super::memory;
use super::scratch::{Kept, Scratch};
use super::simd::{LANES, Lanes, Simd};
use super::writer::Numbers;

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

/// What exponentials are multiplied by.
struct OfExponentials {
    /// Of the exponentials.
    reference: f32,
    /// The exponential of the largest logit.
    largest: f32,
    factor: f32,
    /// Whether exponentials are first multiplied by [`LOWERED`], because the factor would be too small
    /// for an `f32`.
    lowered: bool,
    /// Whether those can be used that were kept: no result can be so small that it depends on the
    /// reference.
    ordinary: bool,
}

/// Brings the largest exponential that there can be to about 1.
const LOWERED: f32 = 1.0 / (1u128 << (HEADROOM + MAX_ABOVE as i32)) as f32;

/// The gradient at the target of a row.
enum Special {
    /// Of a class, which adds `hit` to its u.
    Class { class: usize, hit: f64, even: f64, others: f64 },
    Probabilities,
}

impl Kernel<'_> {
    /// Writes the gradient of some columns of a counted row with a softmax. `mass` is sum(u) of
    /// probability targets.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn write_gradient<S: Simd>(
        &self,
        s: S,
        row: usize,
        columns: Range<usize>,
        target: Target,
        softmax: Softmax,
        mass: f64,
        scratch: &mut Scratch,
        kept: Option<&Kept>,
    ) {
        let Some(dlogits) = self.call.dlogits else { return };
        let dlogits = dlogits.row(row, self.call.inner);
        let logits = self.call.logits.row(row, self.call.inner);
        let factors = self.factors(row, softmax);
        let Factors { unit, slope, .. } = factors;
        let smoothing = self.problem.label_smoothing;
        let even = unit * smoothing / self.problem.classes as f64;
        let (special, numerator) = match target {
            Target::Probabilities(_) => {
                (Special::Probabilities, unit * mass + factors.z_part)
            }
            Target::Class(class) => {
                let hit = unit * (1.0 - smoothing) * self.class_weight(class);
                let others = even * self.weight_sum + factors.z_part;
                (Special::Class { class, hit, even, others }, hit + others)
            }
        };
        let of_e = self.of_exponentials(s, softmax, numerator * factors.p_max * slope);
        let exponential = self.squash.exponential(s, of_e.reference);
        let is_class = matches!(target, Target::Class(_));
        let plain = is_class && smoothing == 0.0 && !self.squash.has_slopes();
        for (first, len) in Self::chunks(columns) {
            let blocks = len.div_ceil(LANES);
            let Scratch { y, e, g, u, slope: slopes, writer } = &mut *scratch;
            let (y, g, u) = (&mut y[..blocks], &mut g[..blocks], &mut u[..blocks]);
            let kept = kept.filter(|kept| {
                of_e.ordinary && kept.references[first / COLUMNS] == of_e.reference
            });
            let (e, slopes) = match kept {
                Some(kept) => {
                    let blocks = first / LANES..first / LANES + blocks;
                    (&kept.e[blocks.clone()], kept.slope.get(blocks).unwrap_or(&[]))
                }
                None => {
                    let (e, slopes) = (&mut e[..blocks], &mut slopes[..blocks]);
                    self.load(s, softmax.shift, logits, first, len, y, slopes);
                    chunk::exponentials(s, &exponential, y, e);
                    if of_e.lowered {
                        chunk::scale(s, LOWERED, e);
                    }
                    (&*e, &*slopes)
                }
            };
            let factor = of_e.factor;
            let special = self.at_target(s, &special, first..first + len, &factors, &of_e, e);
            if plain {
                writer.write(s, &dlogits, first, &Numbers { from: e, len, factor, special });
                continue;
            }
            match (target, self.class_weights) {
                (Target::Probabilities(q), _) => {
                    self.mix(s, q, first, len, u);
                    chunk::less_weighted(s, e, factor, u, (unit * slope) as f32, g);
                    at_maxima(s, mass, &factors, &of_e, e, u, g);
                }
                (Target::Class(_), Some(weights)) => {
                    weights.load(s, first, len, 0.0, u);
                    chunk::less_weighted(s, e, factor, u, (even * slope) as f32, g);
                }
                (Target::Class(_), None) => chunk::less(s, e, factor, (even * slope) as f32, g),
            }
            if let Some((at, value)) = special {
                chunk::set(g, at, value);
            }
            if self.squash.has_slopes() {
                chunk::multiply(s, slopes, g);
            }
            let numbers = Numbers { from: g, len, factor: 1.0, special: None };
            writer.write(s, &dlogits, first, &numbers);
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
            let from = &g[..len.div_ceil(LANES)];
            let numbers = Numbers { from, len, factor: 1.0, special: None };
            writer.write(s, &dlogits, first, &numbers);
        }
    }

    #[inline(always)]
    fn factors(&self, row: usize, softmax: Softmax) -> Factors {
        let upstream = self.call.dloss.map_or(1.0, |dloss| {
            f64::from(memory::get::<f32>(dloss.data, if dloss.per_row { row } else { 0 }))
        });
        Factors {
            unit: upstream * self.scale.cross_entropy * self.row_weight(row),
            z_part: match self.problem.z_loss {
                0.0 => 0.0,
                factor => upstream * self.scale.z_loss * 2.0 * factor * softmax.lse,
            },
            slope: self.squash.constant_slope(),
            p_max: 1.0 / (1.0 + softmax.s),
            rest: softmax.s / (1.0 + softmax.s),
        }
    }

    /// `factor`: of exponentials of which the largest one is 1.
    #[inline(always)]
    fn of_exponentials<S: Simd>(&self, s: S, softmax: Softmax, factor: f64) -> OfExponentials {
        let reference = self.squash.reference(softmax.y);
        let largest = self.squash.exponential(s, reference).of(s, softmax.y);
        let factor = factor / f64::from(largest);
        let lowered = factor.abs() < 2f64.powi(-100);
        let by = if lowered { LOWERED } else { 1.0 };
        OfExponentials {
            reference,
            largest: largest * by,
            factor: (factor / f64::from(by)) as f32,
            lowered,
            ordinary: !lowered && factor.abs() < 2f64.powi(-30),
        }
    }

    /// The gradient at the class of the target, before slopes, if these columns have it: at a maximum,
    /// p - 1 is formed without cancellation.
    #[inline(always)]
    fn at_target<S: Simd>(
        &self,
        s: S,
        special: &Special,
        columns: Range<usize>,
        factors: &Factors,
        of_e: &OfExponentials,
        e: &[Lanes],
    ) -> Option<(usize, f32)> {
        let &Special::Class { class, hit, even, others } = special else { return None };
        if !columns.contains(&class) {
            return None;
        }
        let (at, even) = (class - columns.start, even * self.class_weight(class));
        let e = chunk::get(e, at);
        let value = if e == of_e.largest {
            ((-hit * factors.rest + others * factors.p_max - even) * factors.slope) as f32
        } else {
            let less = s.splat((-(hit + even) * factors.slope) as f32);
            s.first(s.mul_add(s.splat(e), s.splat(of_e.factor), less))
        };
        Some((at, value))
    }
}

/// The same for probabilities, at all maxima. What is 1 at one class and 0 elsewhere gives the bits of
/// that class.
#[inline(always)]
fn at_maxima<S: Simd>(
    s: S,
    mass: f64,
    factors: &Factors,
    of_e: &OfExponentials,
    e: &[Lanes],
    u: &[Lanes],
    g: &mut [Lanes],
) {
    let &Factors { unit, z_part, slope, p_max, rest } = factors;
    let largest = s.splat(of_e.largest);
    for ((e, u), g) in e.iter().zip(u).zip(g) {
        let mut any = false;
        for &e in s.load(&e.0).as_ref() {
            any |= s.any_equal(e, largest);
        }
        if !any {
            continue;
        }
        for ((&e, &u), g) in e.0.iter().zip(&u.0).zip(&mut g.0) {
            if e == of_e.largest && u != 0.0 {
                let u = f64::from(u);
                let exact = unit * ((mass - u) * p_max - u * rest) + z_part * p_max;
                *g = (exact * slope) as f32;
            }
        }
    }
}
