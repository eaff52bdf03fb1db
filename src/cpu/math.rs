//! Elementary functions without branches, so that they work on all lanes of a vector.
//!
//! # The exponential
//!
//! e^(k x) is wanted for logits x whose largest is known only at the end of the row. With
//! L = k log2(e), e^(k x) = 2^(L x), and L x = n + r with an integer n and |r| of at most about 1/2. L
//! is kept as the sum of two `f32`, 48 bits, so that r = L x - n, formed by two fused multiply-adds, is
//! off by two roundings, 2^-23 of |r|, and by 2^-48 of |L x|: however large n is, 2^r and with it
//! e^(k x) has the full precision of `f32`, and nothing has to be subtracted from x before. A reference
//! 2^m for the row only changes the exponent, n - m: the bits of the significand are the same for all
//! references of one parity. (Of the other, n may differ where L x lies between two integers exactly.)
//!
//! 2^r is 1 + r (c1 + r (c2 + ...)) of degree 6. The coefficients are `f32` that were rounded one after
//! the other, from c1 on, the rest fitted anew each time to the smallest largest relative error on
//! \[-1/2, 1/2\]. With exact arithmetic the polynomial is off by 2^-28.3 there, and by 2^-25.8 at
//! |r| = 1/2 + 2^-5, which the error of n, 2^-24 of |L x|, leads to for the largest |L x|.
//!
//! The relative error, measured on every x between the ends of the range: at most 1.45 * 2^-24, of which
//! the last rounding is 2^-24. Without a fused multiply-add it is 1.7 * 2^-24, and 1.9 * 2^-24 where
//! |L x| comes near to [`MAX_EXPONENT`]. Results below 2^-126 are subnormal or 0; the reference's is
//! [`HEADROOM`] above 1.

use std::f64::consts::LOG2_E;

use super::simd::Simd;

pub(super) mod log;
mod soft_cap;

pub(super) use soft_cap::SoftCap;

/// The largest |reference|: beyond it, n would be too far from L x.
pub(super) const MAX_EXPONENT: f32 = 524_288.0; // 2^19

/// The largest L x - reference that is taken exponentials of.
pub(super) const MAX_ABOVE: f32 = 32.0;

/// Results are multiplied by 2^HEADROOM, so that 2^-126 of the reference's exponential, of which a
/// row of 2^31 classes may hold many, is far from the numbers that are not normal.
pub(super) const HEADROOM: i32 = 60;

/// 2^r = 1 + r (c1 + r (c2 + ...)), c6 first.
const EXP2: [f32; 6] =
    [1.532_949_5e-4, 1.339_096e-3, 9.618_498e-3, 5.550_359_6e-2, 2.402_264_8e-1, 6.931_472e-1];

/// 1.5 * 2^23: adding it rounds a small `f32` to an integer, which then is in the low bits.
pub(super) const ROUND: f32 = 12_582_912.0;

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
    pub high: S::V,
    pub low: S::V,
    /// Adding it to L x rounds to an integer, and leaves the biased exponent in the low bits.
    pub round: S::V,
    /// The x whose biased exponent is 0, which makes a power of 0: results are 0 up to there.
    pub lowest: S::V,
}

impl<S: Simd> Exponential<S> {
    /// `factor` is L, between 2^-100 and 2^100; `reference` is an integer of at most
    /// [`MAX_EXPONENT`].
    #[inline(always)]
    pub fn new(s: S, factor: Factor, reference: f32) -> Self {
        let zero = s.splat(0.0);
        let (high, low) = (s.splat(factor.high), s.splat(factor.low));
        Exponential { high, low, round: zero, lowest: zero }.relative_to(s, s.splat(reference))
    }

    /// The same relative to other references.
    #[inline(always)]
    pub fn relative_to(self, s: S, references: S::V) -> Self {
        let below = s.sub(references, s.splat((127 + HEADROOM) as f32));
        let (round, lowest) = (s.sub(s.splat(ROUND), below), s.div(below, self.high));
        Exponential { round, lowest, ..self }
    }

    /// For L x of at most the reference + [`MAX_ABOVE`]; 0 from 187 below it on, NaN for NaN and +inf.
    #[inline(always)]
    pub fn at(&self, s: S, x: S::V) -> S::V {
        let [e] = self.each(s, [x]);
        e
    }

    /// The same of a block: two registers at a time, so that one computes while the other waits.
    #[inline(always)]
    pub fn block(&self, s: S, mut x: S::Block) -> S::Block {
        for pair in x.as_mut().as_chunks_mut::<2>().0 {
            *pair = self.each(s, *pair);
        }
        x
    }

    // Loops, not `map`: a closure would not be compiled for the instruction set.
    #[inline(always)]
    fn each<const N: usize>(&self, s: S, mut x: [S::V; N]) -> [S::V; N] {
        for x in &mut x {
            *x = s.max(self.lowest, *x);
        }
        let mut shifted = x;
        for shifted in &mut shifted {
            *shifted = s.mul_add(*shifted, self.high, self.round);
        }
        let mut r = x;
        for (r, shifted) in r.iter_mut().zip(&shifted) {
            *r = s.remainder(*r, self.high, self.low, s.sub(*shifted, self.round));
        }
        let mut p = [s.splat(EXP2[0]); N];
        for c in &EXP2[1..] {
            horner(s, &mut p, &r, *c);
        }
        horner(s, &mut p, &r, 1.0);
        for (p, shifted) in p.iter_mut().zip(&shifted) {
            *p = s.mul(*p, s.integer_to_exponent(*shifted));
        }
        p
    }

    /// The same of one number.
    #[inline(always)]
    pub fn of(&self, s: S, x: f32) -> f32 {
        s.first(self.at(s, s.splat(x)))
    }
}

/// e^x with the error of [`Exponential`], or twice that above 32; subnormal results have their own.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const LARGE: f32 = 32.0;
    const OVERFLOW: f32 = 89.0;
    let exponential = Exponential::new(s, Factor::new(LOG2_E), 0.0);
    let (large, overflow) = (s.splat(LARGE), s.splat(OVERFLOW));
    let half = s.mul(x, s.splat(0.5));
    let small = s.mul(exponential.at(s, s.if_less(large, x, half, x)), s.splat(HEAD));
    let e = s.if_less(large, x, s.mul(small, small), small);
    s.if_less(overflow, x, s.splat(f32::INFINITY), e)
}

/// p r + c.
#[inline(always)]
fn horner<S: Simd, const N: usize>(s: S, p: &mut [S::V; N], r: &[S::V; N], c: f32) {
    for (p, r) in p.iter_mut().zip(r) {
        *p = s.mul_add(*p, *r, s.splat(c));
    }
}

/// 2^-HEADROOM.
const HEAD: f32 = 1.0 / (1u64 << HEADROOM) as f32;

/// log(1 + s) for a finite s >= 0, to 2^-39 relative: measured on every `f32`. Of others some number.
///
/// 1 + s = 2^n v with v between sqrt(1/2) and sqrt(2); log(v) = 2 atanh(w) with w = f / (2 + f) and
/// f = v - 1, by the series w + w^3/3 + ...; for n = 0, f is s itself.
#[inline(always)]
pub(super) fn log1p(s: f64) -> f64 {
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    const TWO_52: u64 = 0x4330_0000_0000_0000;
    let bits = (1.0 + s).to_bits();
    let n = bits.wrapping_sub(SQRT_HALF) >> 52;
    let v = f64::from_bits(bits.wrapping_sub(n << 52));
    let f = if n == 0 { s } else { v - 1.0 };
    let w = f / (2.0 + f);
    let w2 = w * w;
    let mut p = 1.0 / 13.0;
    for k in [11.0, 9.0, 7.0, 5.0, 3.0] {
        p = p * w2 + 1.0 / k;
    }
    let log_v = 2.0 * (w + w * w2 * p);
    let n = f64::from_bits(TWO_52 | n) - f64::from_bits(TWO_52);
    n * std::f64::consts::LN_2 + log_v
}

#[cfg(test)]
mod tests;
