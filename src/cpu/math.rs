//! Elementary functions without branches, so that they work on all lanes of a vector.
//!
//! # The exponential
//!
//! e^(k x) is wanted for logits x whose largest is known only at the end of the row. With
//! L = k log2(e), e^(k x) = 2^(L x), and L x = n + r with an integer n and |r| <= 1/2. L is kept as the
//! sum of two `f32`, 48 bits, so that r = L x - n, formed by two fused multiply-adds, is exact but for
//! about 2^-25 of |r| and 2^-49 of |L x|: however large n is, 2^r and with it e^(k x) has the full
//! precision of `f32`, and nothing has to be subtracted from x before. A reference 2^m for the row
//! only changes the exponent, n - m, so that the bits of the significand are the same for every
//! reference: an exponential that was kept equals one that is computed again.
//!
//! 2^r is 1 + r (c1 + r (c2 + ...)) of degree 6. The coefficients are `f32` that were rounded one after
//! the other, from c1 on, the rest fitted anew each time to the smallest largest relative error on
//! \[-1/2, 1/2\]: 2^-28.3 before rounding. Every result is a normal number or 0: exponents have [`HEADROOM`] below the reference.

use super::simd::Simd;

/// The largest |L x| that the reduction takes.
pub(super) const MAX_EXPONENT: f32 = 2_097_152.0; // 2^21

/// Results are multiplied by 2^HEADROOM, so that e^-126 of the reference's exponential, of which a
/// row of 2^31 classes may hold many, is far from the numbers that are not normal.
pub(super) const HEADROOM: i32 = 60;

/// 2^r = 1 + r (c1 + r (c2 + ...)), c6 first.
const EXP2: [f32; 6] =
    [1.532_949_5e-4, 1.339_096e-3, 9.618_498e-3, 5.550_359_6e-2, 2.402_264_8e-1, 6.931_472e-1];

/// 1.5 * 2^23: adding it rounds a small `f32` to an integer, which then is in the low bits.
const ROUND: f32 = 12_582_912.0;

/// A factor that an `f32` is too short for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    pub high: f32,
    pub low: f32,
}

impl Factor {
    pub fn new(value: f64) -> Self {
        let high = value as f32;
        Factor { high, low: (value - f64::from(high)) as f32 }
    }
}

/// 2^(L x - reference + [`HEADROOM`]).
#[derive(Clone, Copy)]
pub(super) struct Exponential<S: Simd> {
    high: S::V,
    low: S::V,
    /// Adding it to L x rounds to an integer, and leaves the biased exponent in the low bits.
    round: S::V,
    /// The x whose biased exponent is 0, which makes a power of 0.
    lowest: S::V,
}

impl<S: Simd> Exponential<S> {
    /// `factor` is L, of which the absolute value is normal and not huge; `reference` is an integer
    /// of at most [`MAX_EXPONENT`].
    #[inline(always)]
    pub fn new(s: S, factor: Factor, reference: f32) -> Self {
        let bias = (127 + HEADROOM) as f32;
        Exponential {
            high: s.splat(factor.high),
            low: s.splat(factor.low),
            round: s.splat(ROUND + (bias - reference)),
            lowest: s.splat((reference - bias) / factor.high),
        }
    }

    /// For L x of at most the reference + 1; 0 where it is far below, NaN for NaN and +inf.
    #[inline(always)]
    pub fn at(&self, s: S, x: S::V) -> S::V {
        let x = s.max(self.lowest, x);
        let shifted = s.mul_add(x, self.high, self.round);
        let n = s.sub(shifted, self.round);
        let r = s.remainder(x, self.high, self.low, n);
        let one = s.splat(1.0);
        s.mul(s.mul_add(exp2_m1_over(s, r), r, one), s.integer_to_exponent(shifted))
    }

    /// The same of one number.
    #[inline(always)]
    pub fn of(&self, s: S, x: f32) -> f32 {
        s.first(self.at(s, s.splat(x)))
    }
}

/// (2^r - 1) / r.
#[inline(always)]
fn exp2_m1_over<S: Simd>(s: S, r: S::V) -> S::V {
    let mut p = s.splat(EXP2[0]);
    for c in &EXP2[1..] {
        p = s.mul_add(p, r, s.splat(*c));
    }
    p
}

/// z = c tanh(k x / c) and dz/dx, for a cap c and a scale k.
///
/// With E = e^(-2|k x / c|) = 2^(n + r), 1 - E is (1 - 2^n) - 2^n (2^r - 1), which has no cancellation
/// for small x; then |z| = c (1 - E) / (1 + E), and dz/dx = 4 k E / (1 + E)^2.
#[derive(Clone, Copy)]
pub(super) struct SoftCap<S: Simd> {
    exponential: Exponential<S>,
    cap: S::V,
    slope: S::V,
}

impl<S: Simd> SoftCap<S> {
    /// `factor` is 2 |k| / c log2(e), of which the absolute value is normal and not huge.
    #[inline(always)]
    pub fn new(s: S, factor: Factor, cap: f32, scale: f32) -> Self {
        let slope = 4.0 * f64::from(scale) * 2f64.powi(-HEADROOM);
        SoftCap {
            exponential: Exponential::new(s, factor, 0.0),
            cap: s.splat(cap),
            slope: s.splat(slope as f32),
        }
    }

    /// z with the sign of x, and dz/dx.
    #[inline(always)]
    pub fn at(&self, s: S, x: S::V) -> (S::V, S::V) {
        let Exponential { high, low, round, lowest } = self.exponential;
        let x_low = s.max(lowest, s.copysign(x, s.splat(-1.0))); // -|x|; a NaN stays
        let shifted = s.mul_add(x_low, high, round);
        let n = s.sub(shifted, round);
        let r = s.remainder(x_low, high, low, n);
        let exp2_m1 = s.mul(exp2_m1_over(s, r), r);
        let raised = s.integer_to_exponent(shifted); // 2^(n + HEADROOM)
        let power = s.mul(raised, s.splat(2f32.powi(-HEADROOM)));
        let one = s.splat(1.0);
        let exp_m1 = s.mul_add(power, exp2_m1, s.sub(power, one)); // E - 1
        let inverse = s.div(one, s.add(s.splat(2.0), exp_m1));
        let z = s.mul(s.mul(self.cap, exp_m1), inverse);
        let exp = s.mul_add(raised, exp2_m1, raised);
        let slope = s.mul(s.mul(exp, self.slope), s.mul(inverse, inverse));
        (s.copysign(z, x), slope)
    }
}

/// log(1 + s) for a finite s >= 0, to 2^-40 relative.
///
/// 1 + s = 2^n v with v between sqrt(1/2) and sqrt(2); log(v) = 2 atanh(w) with w = f / (2 + f) and
/// f = v - 1, by the series w + w^3/3 + ...; for n = 0, f is s itself.
#[inline(always)]
pub(super) fn log1p(s: f64) -> f64 {
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    const TWO_52: u64 = 0x4330_0000_0000_0000;
    let bits = (1.0 + s).to_bits();
    let n = (bits - SQRT_HALF) >> 52;
    let v = f64::from_bits(bits - (n << 52));
    let f = if n == 0 { s } else { v - 1.0 };
    let w = f / (2.0 + f);
    let w2 = w * w;
    let mut p = 1.0 / 17.0;
    for k in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        p = p * w2 + 1.0 / k;
    }
    let log_v = 2.0 * (w + w * w2 * p);
    let n = f64::from_bits(TWO_52 | n) - f64::from_bits(TWO_52);
    n * std::f64::consts::LN_2 + log_v
}
