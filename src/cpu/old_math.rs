//! Elementary functions without branches, so that loops over them become vector code.
//!
//! They multiply and add in separate steps: every processor gives the same bits.

/// 1.5 * 2^23: adding it rounds a small `f32` to an integer, which then is in the low bits.
const ROUND_F32: f32 = 12_582_912.0;

/// 1.5 * 2^52: the same for `f64`.
const ROUND_F64: f64 = 6_755_399_441_055_744.0;

/// e^x for x <= 0, to 1 ulp, subnormal numbers included: many of them make a sum that is none. NaN
/// gives some number of \[0, 1\].
///
/// x = n ln 2 + r with |r| <= ln(2) / 2, and e^r by the polynomial of Cephes' `expf`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -104.0; // e^-104 is below half of the smallest number, 2^-149
    const LN2_HIGH: f32 = 0.693_359_4; // 9 bits: n * LN2_HIGH is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x >= LOWEST { x } else { LOWEST };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND_F32;
    let n = shifted - ROUND_F32;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let exp_r = 1.0 + (r + r * r * p);
    // 2^n in two factors, of which neither is subnormal; only the last product can round.
    let n = shifted.to_bits().wrapping_sub(ROUND_F32.to_bits()) as i32;
    let power = |n: i32| f32::from_bits(((n << 23) as u32).wrapping_add(1f32.to_bits()));
    exp_r * power(n >> 1) * power(n - (n >> 1))
}

/// tanh(y), and 1 - tanh(y)^2 = 4E / (1 + E)^2 with E = e^(-2|y|), both to about 1e-15 relative.
///
/// -2|y| = n ln 2 + r, and e^r - 1 by its Taylor series.
#[inline(always)]
pub(super) fn tanh(y: f64) -> (f64, f64) {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1; // 32 bits: n * LN2_HIGH is exact
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const LOWEST: f64 = -700.0; // e^-700 is a normal number, and tanh has long been 1
    let x = -2.0 * y.abs();
    let x = if x >= LOWEST { x } else { LOWEST };
    let shifted = x * std::f64::consts::LOG2_E + ROUND_F64;
    let n = shifted - ROUND_F64;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // 1/13!, ..., 1/2!, 1: the next term is below 2^-57 of the sum.
    let mut p = 1.605_904_383_682_161_5e-10;
    p = p * r + 2.087_675_698_786_81e-9;
    p = p * r + 2.505_210_838_544_172e-8;
    p = p * r + 2.755_731_922_398_589e-7;
    p = p * r + 2.755_731_922_398_589_4e-6;
    p = p * r + 2.480_158_730_158_73e-5;
    p = p * r + 1.984_126_984_126_984e-4;
    p = p * r + 1.388_888_888_888_889e-3;
    p = p * r + 8.333_333_333_333_333e-3;
    p = p * r + 4.166_666_666_666_666_4e-2;
    p = p * r + 1.666_666_666_666_666_6e-1;
    p = p * r + 0.5;
    let expm1_r = r + r * r * p;
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1f64.to_bits()));
    let exp = power * expm1_r + power;
    let expm1 = power * expm1_r + (power - 1.0);
    ((-expm1 / (1.0 + exp)).copysign(y), 4.0 * exp / ((1.0 + exp) * (1.0 + exp)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(actual: f32, exact: f64) -> f64 {
        let exponent = exact.log2().floor() as i32;
        (f64::from(actual) - exact).abs() / 2f64.powi(exponent - 23)
    }

    #[test]
    fn exp_is_within_an_ulp() {
        let step = if cfg!(miri) { 1_000_003 } else { 101 };
        let worst = (0..=(-87.336_54f32).to_bits() & 0x7fff_ffff)
            .step_by(step)
            .map(|bits| f32::from_bits(bits | 0x8000_0000))
            .map(|x| ulps(exp(x), f64::from(x).exp()))
            .fold(0.0, f64::max);
        assert!(worst <= 1.0, "{worst} ulp");
    }

    #[test]
    fn exp_at_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-104.0), 0.0);
        assert_eq!(exp(f32::MIN), 0.0);
        for x in (-1039..=-870).map(|x| x as f32 / 10.0) {
            let error = f64::from(exp(x)) - f64::from(x).exp();
            assert!(error.abs() <= 2f64.powi(-149) + f64::from(x).exp() * 1e-7, "{x}: {error:e}");
        }
        assert!((0.0..=1.0).contains(&exp(f32::NAN)));
    }

    #[test]
    fn tanh_and_its_slope() {
        let y = (-400..=400).map(|k| f64::from(k) / 16.0);
        let tiny = (1..40).map(|k| 10f64.powi(-k));
        for y in y.chain(tiny).chain([f64::INFINITY, f64::NEG_INFINITY, 1e300]) {
            let (value, slope) = tanh(y);
            let exact_slope = y.abs().min(350.0).cosh().powi(-2);
            approx::assert_relative_eq!(value, y.tanh(), max_relative = 4e-15);
            approx::assert_relative_eq!(slope, exact_slope, max_relative = 4e-15);
        }
        assert!(tanh(-0.0).0.is_sign_negative() && tanh(0.0).0.is_sign_positive());
    }
}
