//! `cvt` between all types.

use super::F2;
use super::half::{bf16, f16};
use super::round::{BF16, F16, F32, Rounding};
use crate::types::{Type, extend, mask};

/// A conversion that is not a mere change of width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convert {
    to: Type,
    from: Type,
    rounding: Rounding,
    /// The result is an integer, if only in value: `cvt.rni.f32.f32`.
    integral: bool,
    ftz: bool,
    sat: bool,
    relu: bool,
}

/// The direction of a modifier, and whether it rounds to an integer.
fn direction(modifier: Option<&str>) -> Option<(Rounding, bool)> {
    Some(match modifier {
        None => (Rounding::Nearest, false),
        Some("rn") => (Rounding::Nearest, false),
        Some("rz") => (Rounding::Zero, false),
        Some("rm") => (Rounding::Down, false),
        Some("rp") => (Rounding::Up, false),
        Some("rna") => (Rounding::Away, false),
        Some("rni") => (Rounding::Nearest, true),
        Some("rzi") => (Rounding::Zero, true),
        Some("rmi") => (Rounding::Down, true),
        Some("rpi") => (Rounding::Up, true),
        Some(_) => return None,
    })
}

/// Between integers without saturation, and from 16 bits to `f32`. `register`: bits of the
/// destination, which sign extension fills.
pub(crate) fn simple(to: Type, from: Type, register: u64, sat: bool) -> Option<fn(u64) -> u64> {
    match (to, from) {
        (Type::F32, Type::F16) if !sat => Some(|a| super::float::bits(f16(a) as f32)),
        (Type::F32, Type::Bf16) if !sat => Some(|a| super::float::bits(bf16(a) as f32)),
        _ if to.is_integer() && from.is_integer() && !sat => narrow_then_extend(to, from, register),
        _ => None,
    }
}

/// The value is cut to the narrower type. If either type is signed, its sign goes up: of the
/// source to the destination, of the destination to its register.
fn narrow_then_extend(to: Type, from: Type, register: u64) -> Option<fn(u64) -> u64> {
    let bits = to.bits().min(from.bits());
    let wider = register.count_ones() > bits;
    let signed = if to.bits() > from.bits() { from.is_signed() } else { to.is_signed() };
    Some(match (bits, signed && wider) {
        (8, false) => |a| a & mask(8),
        (16, false) => |a| a & mask(16),
        (32, false) => |a| a & mask(32),
        (64, false) => |a| a,
        (8, true) if to.bits() == 16 => |a| extend(a, 8) as u64 & mask(16),
        (8, true) if to == Type::Unsigned(32) => |a| extend(a, 8) as u64 & mask(32),
        (16, true) if to == Type::Unsigned(32) => |a| extend(a, 16) as u64 & mask(32),
        (8, true) => |a| extend(a, 8) as u64,
        (16, true) => |a| extend(a, 16) as u64,
        (32, true) => |a| extend(a, 32) as u64,
        _ => return None,
    })
}

/// `cvt.rn.bf16x2.f32 d, a, b`: `a` in the upper half.
pub(crate) fn pair(to: Type, rounding: Option<&str>, relu: bool, sat: bool) -> Option<F2> {
    fn value(bits: u64, relu: bool) -> f64 {
        let x = f64::from(f32::from_bits(bits as u32));
        if relu && x <= 0.0 { 0.0 } else { x }
    }
    macro_rules! packed {
        ($format:ident, $rounding:ident, $relu:literal) => {
            Some(|a, b| {
                let part = |bits| $format.round(value(bits, $relu), Rounding::$rounding);
                part(a) << 16 | part(b)
            })
        };
    }
    match (to, rounding, relu, sat) {
        (Type::F16x2, Some("rn"), false, false) => packed!(F16, Nearest, false),
        (Type::F16x2, Some("rn"), true, false) => packed!(F16, Nearest, true),
        (Type::F16x2, Some("rz"), false, false) => packed!(F16, Zero, false),
        (Type::F16x2, Some("rz"), true, false) => packed!(F16, Zero, true),
        (Type::Bf16x2, Some("rn"), false, false) => packed!(BF16, Nearest, false),
        (Type::Bf16x2, Some("rn"), true, false) => packed!(BF16, Nearest, true),
        (Type::Bf16x2, Some("rz"), false, false) => packed!(BF16, Zero, false),
        (Type::Bf16x2, Some("rz"), true, false) => packed!(BF16, Zero, true),
        _ => None,
    }
}

impl Convert {
    /// The conversion that the modifiers describe, if it is modelled.
    pub fn new(
        to: Type,
        from: Type,
        rounding: Option<&str>,
        ftz: bool,
        sat: bool,
        relu: bool,
    ) -> Option<Self> {
        let (rounding, integral) = direction(rounding)?;
        let known = |ty: Type| {
            ty.is_integer() || matches!(ty, Type::F16 | Type::Bf16 | Type::F32 | Type::F64)
        };
        let directed_double = to == Type::F64 && rounding != Rounding::Nearest && !integral;
        if !known(to) || !known(from) || directed_double || (relu && to.bits() != 16) {
            return None;
        }
        Some(Convert { to, from, rounding, integral, ftz, sat, relu })
    }

    /// The value of one lane.
    pub fn apply(self, a: u64) -> u64 {
        if self.from.is_integer() {
            let bits = self.from.bits();
            let value = match self.from.is_signed() {
                true => i128::from(extend(a, bits)),
                false => i128::from(a & mask(bits)),
            };
            return self.integer_to(value);
        }
        let x = match self.from {
            Type::F16 => f16(a),
            Type::Bf16 => bf16(a),
            Type::F32 => {
                let x = f32::from_bits(a as u32);
                f64::from(if self.ftz && x.is_subnormal() { 0f32.copysign(x) } else { x })
            }
            _ => f64::from_bits(a),
        };
        if self.to.is_integer() { self.to_integer(x) } else { self.to_float(x) }
    }

    fn integer_to(self, value: i128) -> u64 {
        match self.to {
            Type::F64 => (value as f64).to_bits(),
            // 64 bits do not fit f64: the bits that are lost there are kept as one, as in add_odd.
            Type::F16 | Type::Bf16 | Type::F32 => {
                let high = value & !0xfff;
                let sticky = i128::from(value & 0xfff != 0) << 11;
                let exact = value.unsigned_abs() < 1 << 53;
                self.to_float(if exact { value as f64 } else { (high | sticky) as f64 })
            }
            to => clamp(to, value),
        }
    }

    fn to_integer(self, x: f64) -> u64 {
        // A NaN becomes 0, but the smallest or largest value in 64 bits; see the CUDA guide.
        if x.is_nan() {
            return match (self.to.bits(), self.from) {
                (64, Type::F64 | Type::F32) => 1 << 63,
                (32, Type::F64) => 1 << 31,
                _ => 0,
            };
        }
        // Out of range saturates, with .sat or without.
        clamp(self.to, integral(x, self.rounding) as i128)
    }

    fn to_float(self, x: f64) -> u64 {
        let x = if self.integral { integral(x, self.rounding) } else { x };
        let x = match (self.sat, self.relu) {
            (true, _) if x > 0.0 => x.min(1.0),
            (true, _) => 0.0,
            (false, true) if x <= 0.0 => 0.0,
            _ => x,
        };
        match self.to {
            Type::F16 => F16.round(x, self.rounding),
            Type::Bf16 => BF16.round(x, self.rounding),
            Type::F32 => {
                let bits = F32.round(x, self.rounding);
                let subnormal = bits & 0x7f80_0000 == 0;
                if self.ftz && subnormal { bits & 0x8000_0000 } else { bits }
            }
            _ if x.is_nan() => 0x7fff_ffff_ffff_ffff,
            _ => x.to_bits(),
        }
    }
}

fn integral(x: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => x.round_ties_even(),
        Rounding::Away => x.round(),
        Rounding::Zero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
    }
}

fn clamp(to: Type, value: i128) -> u64 {
    let most = mask(to.bits());
    if to.is_signed() {
        let most = i128::from(most >> 1);
        return value.clamp(-most - 1, most) as u64;
    }
    value.clamp(0, i128::from(most)) as u64
}
