//! Natural logarithms.
//!
//! x = 2^n v with v between sqrt(1/2) and sqrt(2), and f = v - 1, which is exact: log(x) = n log(2) +
//! log(1 + f). For n = 0 the first term is 0, so that results are as precise near 1 as elsewhere.
//! log(2) is the sum of two `f32`, the first so short that its product with n is exact.
//!
//! log(1 + f) is f + f^2 (c2 + f (c3 + ...)) of degree 10. The coefficients are `f32` that were rounded
//! one after the other, from c2 on, the rest fitted anew each time to the smallest largest error relative
//! to log(1 + f). With exact arithmetic it is 2^-27.8. f, the largest term, is exact, and added last but
//! for n log(2): all that was rounded before is at most a fifth of log(1 + f).
//!
//! For log(1 + x), n and v are those of the rounded sum y. What y lacks, x - (y - 1), is exact up to
//! x = 2^24, and negligible from there on; 2^-n times that is added to f. For n = 0, f is x itself then,
//! however small. For others f is exact, too, but for x from sqrt(2) - 1 to 1/2: the largest errors are
//! there.
//!
//! The relative errors in units of 2^-24, measured on every `f32`:
//!
//! | | with a fused multiply-add | without |
//! | --- | --- | --- |
//! | [`ln`] | 1.38 | 1.42 |
//! | [`log1p`] | 2.10 | 2.13 |

use std::f64::consts::LN_2;

use super::ROUND;
use crate::cpu::simd::Simd;

/// log(1 + f) = f + f^2 (c2 + f (c3 + ...)), c10 first.
const LOG: [f32; 9] = [
    -7.619_053e-2,
    1.291_294_1e-1,
    -1.324_806_8e-1,
    1.418_085_4e-1,
    -1.660_841_1e-1,
    2.000_200_5e-1,
    -2.500_161e-1,
    3.333_332_5e-1,
    -4.999_998_8e-1,
];

/// The first 15 bits of log(2), and the rest.
const LN_2_HIGH: f32 = 22_713.0 / 32_768.0;
const LN_2_LOW: f32 = (LN_2 - LN_2_HIGH as f64) as f32;

/// Subnormal numbers are multiplied by 2^RAISE, and normal then.
const RAISE: u32 = 32;

/// log(x): -inf for both zeros, NaN for what is negative.
#[inline(always)]
pub(in crate::cpu) fn ln<S: Simd>(s: S, x: S::V) -> S::V {
    let (raise, factor) = (s.splat(RAISE as f32), s.splat((1u64 << RAISE) as f32));
    let normal = s.max(s.splat(f32::MIN_POSITIVE), x);
    let (v, exponent) = s.split(s.if_equal(x, normal, x, s.mul(x, factor)));
    let n = s.sub(exponent, s.if_equal(x, normal, s.splat(0.0), raise));
    ends(s, logarithm(s, n, s.sub(v, s.splat(1.0))), x)
}

/// log(1 + x), with the sign of x for zeros, too: -inf for -1, NaN for what is less.
#[inline(always)]
pub(in crate::cpu) fn log1p<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    let y = s.add(x, one);
    let lacks = s.sub(x, s.sub(y, one));
    let (v, n) = s.split(y);
    // 2^-n, but 0 where its exponent would be too small: y lacks nothing there.
    let power = s.max(s.splat(ROUND), s.sub(s.splat(ROUND + 127.0), n));
    let f = s.mul_add(lacks, s.integer_to_exponent(power), s.sub(v, one));
    s.copysign(ends(s, logarithm(s, n, f), y), x)
}

/// n log(2) + log(1 + f).
#[inline(always)]
fn logarithm<S: Simd>(s: S, n: S::V, f: S::V) -> S::V {
    let mut log = s.splat(LOG[0]);
    for c in &LOG[1..] {
        log = s.mul_add(log, f, s.splat(*c));
    }
    let small = s.mul_add(s.mul(f, f), log, s.mul(n, s.splat(LN_2_LOW)));
    s.mul_add(n, s.splat(LN_2_HIGH), s.add(f, small))
}

/// This logarithm of x, or what it is where x is 0, infinite, negative or NaN.
#[inline(always)]
fn ends<S: Simd>(s: S, log: S::V, x: S::V) -> S::V {
    let (zero, infinite) = (s.splat(0.0), s.splat(f32::INFINITY));
    let log = s.if_equal(x, infinite, infinite, log);
    let log = s.if_equal(x, zero, s.splat(f32::NEG_INFINITY), log);
    s.if_equal(s.max(zero, x), x, log, s.splat(f32::NAN))
}
