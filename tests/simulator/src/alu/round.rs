//! Rounding to a narrower floating-point format, in every direction.

/// Where a value between two neighbours goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To the nearest, ties to even.
    Nearest,
    /// To the nearest, ties away from zero.
    Away,
    Zero,
    Down,
    Up,
}

/// A binary format of IEEE 754's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub exponent_bits: u32,
    pub fraction_bits: u32,
}

pub(crate) const F16: Format = Format { exponent_bits: 5, fraction_bits: 10 };
pub(crate) const BF16: Format = Format { exponent_bits: 8, fraction_bits: 7 };
pub(crate) const F32: Format = Format { exponent_bits: 8, fraction_bits: 23 };

impl Format {
    fn infinity(self) -> u64 {
        ((1 << self.exponent_bits) - 1) << self.fraction_bits
    }

    /// The NaN that every operation of the hardware returns: all bits but the sign.
    fn nan(self) -> u64 {
        (1 << (self.exponent_bits + self.fraction_bits)) - 1
    }

    /// The bits of `x` in this format.
    pub fn round(self, x: f64, rounding: Rounding) -> u64 {
        if x.is_nan() {
            return self.nan();
        }
        let sign = u64::from(x.is_sign_negative()) << (self.exponent_bits + self.fraction_bits);
        if x.is_infinite() {
            return sign | self.infinity();
        }
        if x == 0.0 {
            return sign;
        }
        let bias = (1 << (self.exponent_bits - 1)) - 1;
        let (mantissa, exponent) = parts(x);
        // The value is mantissa * 2^(exponent - 52); its last bit in this format is 2^quantum.
        let quantum = exponent.max(1 - bias) - self.fraction_bits as i32;
        let drop = (quantum - (exponent - 52)).min(60) as u32;
        let mut kept = mantissa >> drop;
        let rest = mantissa & ((1 << drop) - 1);
        let half = 1u64 << (drop - 1);
        kept += u64::from(match rounding {
            Rounding::Nearest => rest > half || (rest == half && kept & 1 == 1),
            Rounding::Away => rest >= half,
            Rounding::Zero => false,
            Rounding::Down => sign != 0 && rest > 0,
            Rounding::Up => sign == 0 && rest > 0,
        });
        let mut bits = kept;
        if exponent >= 1 - bias {
            bits += ((exponent + bias - 1) as u64) << self.fraction_bits;
        }
        if bits >= self.infinity() {
            let to_infinity = match rounding {
                Rounding::Nearest | Rounding::Away => true,
                Rounding::Zero => false,
                Rounding::Down => sign != 0,
                Rounding::Up => sign == 0,
            };
            bits = self.infinity() - u64::from(!to_infinity);
        }
        sign | bits
    }
}

/// A mantissa with its highest bit at 52, and the exponent of that bit.
fn parts(x: f64) -> (u64, i32) {
    let bits = x.to_bits();
    let field = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    if field > 0 {
        return (fraction | 1 << 52, field - 1023);
    }
    let shift = fraction.leading_zeros() - 11;
    (fraction << shift, -1022 - shift as i32)
}

/// `a + b` in double precision, rounded to odd: a second rounding to a narrower format then gives
/// what a single one would.
pub(crate) fn add_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if !sum.is_finite() {
        return sum;
    }
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    if error == 0.0 || sum.to_bits() & 1 == 1 {
        sum
    } else if (error > 0.0) == (sum > 0.0) {
        f64::from_bits(sum.to_bits() + 1)
    } else {
        f64::from_bits(sum.to_bits() - 1)
    }
}
