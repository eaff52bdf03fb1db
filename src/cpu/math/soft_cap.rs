//! Softly capped logits.
//!
//! With v = |k x / c|, z is c tanh(v) with the sign of x, and its slope is 1 - tanh(v)^2, times a power of
//! 2, the steepest one. Near 0, tanh(v) is v (1 + h) with a polynomial h of v^2. Far from there, with
//! E = e^(-2v) and q = E / (1 + E), tanh(v) is 1 - 2q, and the slope is 4 q (1 - q), whose relative error
//! is small however close |z| comes to c. Most logits are near 0: the exponentials of a block are only
//! taken where some are not, and which formula a logit takes depends on nothing but itself.
//!
//! z is off by at most 2.2 * 2^-24 relative, the slope by 3.9 * 2^-24; without a fused multiply-add z is
//! off by 2.7 * 2^-24, the slope by 4.8 * 2^-24. This was measured on a dense sample.

use std::f64::consts::LOG2_E;

use super::{Exponential, Factor, HEAD};
use crate::cpu::simd::Simd;

/// tanh(v) / v - 1 = v^2 (t1 + v^2 (t2 + ...)), t6 first: the smallest largest relative error of tanh
/// up to 0.85, which is beyond [`LIMIT`]: 2^-26.9.
const TANH: [f64; 6] = [
    1.440_028_3e-3,
    -7.142_535_4e-3,
    2.112_089e-2,
    -5.379_640_3e-2,
    1.333_147_9e-1,
    -3.333_326_6e-1,
];

/// The v where the two formulas for tanh err about as much.
const LIMIT: f64 = 0.75;

/// From x to z and its slope, for a cap c and a scale |k|.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct SoftCap<S: Simd> {
    /// E.
    exponential: Exponential<S>,
    /// The -|x| that belongs to [`LIMIT`].
    limit: S::V,
    /// A power of 2 near |k / c|.
    unit: S::V,
    /// |k| h of x times the unit. The last summand completes |k|, which is an `f32`.
    polynomial: [S::V; TANH.len() + 1],
    scale: S::V,
    cap: S::V,
    twice: S::V,
    /// A power of 2 near 1 / c.
    inverse: S::V,
    /// The slope at 0, and that of the slope by (z times the inverse)^2 near there.
    steepest: S::V,
    bend: S::V,
    /// 4 times the steepest, less the headroom of exponentials.
    slope: S::V,
}

impl<S: Simd> SoftCap<S> {
    /// `factor` is 2 |k| / c log2(e), between 2^-100 and 2^100; `steepest` is at most 2^30.
    #[inline(always)]
    pub fn new(s: S, factor: Factor, cap: f32, steepest: f32) -> Self {
        let inner = (f64::from(factor.high) + f64::from(factor.low)) / (2.0 * LOG2_E);
        let unit = power_below(inner);
        let magnitude = inner * f64::from(cap); // |k|, as the exponential has it
        let mut polynomial =
            [s.splat((magnitude - f64::from(magnitude as f32)) as f32); TANH.len() + 1];
        let mut power = magnitude;
        for (c, t) in polynomial.iter_mut().zip(TANH).rev() {
            power *= (inner / unit) * (inner / unit);
            *c = s.splat((t * power) as f32);
        }
        let inverse = power_below(1.0 / f64::from(cap)).clamp(2f64.powi(-126), 2f64.powi(127));
        let bend = f64::from(steepest) / (f64::from(cap) * inverse).powi(2);
        SoftCap {
            exponential: Exponential::new(s, factor, 0.0),
            limit: s.splat((-LIMIT / inner) as f32),
            unit: s.splat(unit as f32),
            polynomial,
            scale: s.splat(magnitude as f32),
            cap: s.splat(cap),
            twice: s.splat(-2.0 * HEAD * cap),
            inverse: s.splat(inverse as f32),
            steepest: s.splat(steepest),
            bend: s.splat(-bend as f32),
            slope: s.splat(4.0 * HEAD * steepest),
        }
    }

    /// z with the sign of x, and slopes; two registers at a time, as of exponentials.
    #[inline(always)]
    pub fn block(&self, s: S, x: S::Block) -> (S::Block, S::Block) {
        let (mut z, mut slope, mut far) = (x, x, 0);
        for &x in x.as_ref() {
            far |= s.equal(s.max(self.limit, below(s, x)), self.limit);
        }
        let slopes = slope.as_mut().as_chunks_mut::<2>().0;
        for (z, slope) in z.as_mut().as_chunks_mut::<2>().0.iter_mut().zip(slopes) {
            let x = *z;
            (*z, *slope) = self.near(s, x);
            if far != 0 {
                (*z, *slope) = self.far(s, x, *z, *slope);
            }
        }
        (z, slope)
    }

    /// z and slopes near 0.
    #[inline(always)]
    fn near<const N: usize>(&self, s: S, x: [S::V; N]) -> ([S::V; N], [S::V; N]) {
        let (mut y2, mut h) = (x, [self.polynomial[0]; N]);
        for y2 in &mut y2 {
            let y = s.mul(*y2, self.unit);
            *y2 = s.mul(y, y);
        }
        for c in &self.polynomial[1..] {
            for (h, y2) in h.iter_mut().zip(&y2) {
                *h = s.mul_add(*h, *y2, *c);
            }
        }
        let (mut z, mut slope) = (x, x);
        for n in 0..N {
            z[n] = s.mul_add(x[n], self.scale, s.mul(x[n], h[n]));
            let t = s.mul(z[n], self.inverse);
            slope[n] = s.mul_add(s.mul(t, t), self.bend, self.steepest);
        }
        (z, slope)
    }

    /// z and slopes of what is far, else those that are given.
    #[inline(always)]
    fn far<const N: usize>(
        &self,
        s: S,
        x: [S::V; N],
        mut z: [S::V; N],
        mut slope: [S::V; N],
    ) -> ([S::V; N], [S::V; N]) {
        let mut lower = x;
        for lower in &mut lower {
            *lower = below(s, *lower);
        }
        let q = self.exponential.each(s, lower);
        for n in 0..N {
            let q = s.div(q[n], s.mul_add(q[n], s.splat(HEAD), s.splat(1.0)));
            let far = s.copysign(s.mul_add(q, self.twice, self.cap), x[n]);
            let first = s.mul(q, self.slope);
            let far_slope = s.mul_add(first, s.mul(q, s.splat(-HEAD)), first);
            let larger = s.max(self.limit, lower[n]);
            z[n] = s.if_equal(larger, lower[n], z[n], far);
            slope[n] = s.if_equal(larger, lower[n], slope[n], far_slope);
        }
        (z, slope)
    }
}

/// -|x|.
#[inline(always)]
fn below<S: Simd>(s: S, x: S::V) -> S::V {
    s.copysign(x, s.splat(-1.0))
}

/// The largest power of 2 up to this normal number.
fn power_below(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & 0xfff0_0000_0000_0000)
}
