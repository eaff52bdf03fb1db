//! Arithmetic in single and double precision.

use super::round::{F32, Rounding, add_odd};
use super::{F2, F3, both2, both3};
use crate::types::Type;

fn f(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn flush<const FTZ: bool>(x: f32) -> f32 {
    if FTZ && x.is_subnormal() { 0f32.copysign(x) } else { x }
}

fn input<const FTZ: bool>(bits: u64) -> f32 {
    flush::<FTZ>(f(bits))
}

/// The bits of a result: flushed, saturated, and any NaN the one that the hardware returns.
fn output<const FTZ: bool, const SAT: bool>(x: f32) -> u64 {
    let x = flush::<FTZ>(x);
    if SAT {
        return if x > 0.0 { u64::from(x.min(1.0).to_bits()) } else { 0 };
    }
    bits(x)
}

/// Bits of a value, with the NaN that the hardware returns.
pub(crate) fn bits(x: f32) -> u64 {
    if x.is_nan() { 0x7fff_ffff } else { u64::from(x.to_bits()) }
}

fn bits64(x: f64) -> u64 {
    if x.is_nan() { 0x7fff_ffff_ffff_ffff } else { x.to_bits() }
}

macro_rules! single {
    ($($name:ident($($a:ident),*) $body:expr;)*) => {
        $(fn $name<const FTZ: bool, const SAT: bool>($($a: u64),*) -> u64 {
            $(let $a = input::<FTZ>($a);)*
            output::<FTZ, SAT>($body)
        })*
    };
}

single! {
    add(a, b) a + b;
    sub(a, b) a - b;
    mul(a, b) a * b;
    fma(a, b, c) a.mul_add(b, c);
    div(a, b) a / b;
    root(a) a.sqrt();
    reciprocal(a) 1.0 / a;
}

macro_rules! by_flags {
    ($ftz:expr, $sat:expr, $name:ident) => {
        Some(match ($ftz, $sat) {
            (false, false) => $name::<false, false>,
            (false, true) => $name::<false, true>,
            (true, false) => $name::<true, false>,
            (true, true) => $name::<true, true>,
        })
    };
}

macro_rules! by_rounding {
    ($rounding:expr, $exact:expr, $($a:ident),*) => {
        match $rounding {
            Rounding::Zero => |$($a),*| F32.round($exact, Rounding::Zero),
            Rounding::Down => |$($a),*| F32.round($exact, Rounding::Down),
            Rounding::Up => |$($a),*| F32.round($exact, Rounding::Up),
            Rounding::Nearest | Rounding::Away => return None,
        }
    };
}

fn wide(bits: u64) -> f64 {
    f64::from(f(bits))
}

/// `add`, `sub`, `mul`, `div` of `f32`.
pub(crate) fn binary32(name: &str, rounding: Rounding, ftz: bool, sat: bool) -> Option<F2> {
    if rounding != Rounding::Nearest {
        if ftz || sat {
            return None;
        }
        return Some(match name {
            "add" => by_rounding!(rounding, add_odd(wide(a), wide(b)), a, b),
            "sub" => by_rounding!(rounding, add_odd(wide(a), -wide(b)), a, b),
            "mul" => by_rounding!(rounding, wide(a) * wide(b), a, b),
            _ => return None,
        });
    }
    match name {
        "add" => by_flags!(ftz, sat, add),
        "sub" => by_flags!(ftz, sat, sub),
        "mul" => by_flags!(ftz, sat, mul),
        "div" => by_flags!(ftz, sat, div),
        _ => None,
    }
}

/// `fma` of `f32`.
pub(crate) fn fma32(rounding: Rounding, ftz: bool, sat: bool) -> Option<F3> {
    if rounding == Rounding::Nearest {
        return by_flags!(ftz, sat, fma);
    }
    if ftz || sat {
        return None;
    }
    Some(by_rounding!(rounding, add_odd(wide(a) * wide(b), wide(c)), a, b, c))
}

/// `sqrt.rn` and `rcp.rn` of `f32`.
pub(crate) fn unary32(name: &str, ftz: bool) -> Option<fn(u64) -> u64> {
    match name {
        "sqrt" => by_flags!(ftz, false, root),
        "rcp" => by_flags!(ftz, false, reciprocal),
        _ => None,
    }
}

/// The larger or smaller of two, -0 below +0; without `nan` the number beats the NaN.
fn choose<const MAX: bool, const NAN: bool>(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return match (NAN, a.is_nan()) {
            (true, _) => f64::NAN,
            (false, true) => b,
            (false, false) => a,
        };
    }
    if a.total_cmp(&b).is_gt() == MAX { a } else { b }
}

/// `max` or `min`, with or without `.NaN`, of values that `f64` holds exactly.
pub(crate) fn chooser(max: bool, nan: bool) -> fn(f64, f64) -> f64 {
    match (max, nan) {
        (false, false) => choose::<false, false>,
        (false, true) => choose::<false, true>,
        (true, false) => choose::<true, false>,
        (true, true) => choose::<true, true>,
    }
}

fn choose32<const MAX: bool, const NAN: bool, const FTZ: bool>(a: u64, b: u64) -> u64 {
    let (a, b) = (input::<FTZ>(a), input::<FTZ>(b));
    bits(choose::<MAX, NAN>(a.into(), b.into()) as f32)
}

/// `min` and `max` of `f32`.
pub(crate) fn minmax(max: bool, ftz: bool, nan: bool) -> Option<F2> {
    Some(match (max, nan, ftz) {
        (false, false, false) => choose32::<false, false, false>,
        (false, false, true) => choose32::<false, false, true>,
        (false, true, false) => choose32::<false, true, false>,
        (false, true, true) => choose32::<false, true, true>,
        (true, false, false) => choose32::<true, false, false>,
        (true, false, true) => choose32::<true, false, true>,
        (true, true, false) => choose32::<true, true, false>,
        (true, true, true) => choose32::<true, true, true>,
    })
}

/// `min` and `max` of three `f32`.
pub(crate) fn minmax3(max: bool, ftz: bool, nan: bool) -> Option<F3> {
    macro_rules! three {
        ($($max:literal $nan:literal $ftz:literal),*) => {
            match (max, nan, ftz) {
                $(($max, $nan, $ftz) => |a, b, c| {
                    let pair = choose32::<$max, $nan, $ftz>;
                    pair(pair(a, b), c)
                },)*
            }
        };
    }
    Some(three!(false false false, false false true, false true false, false true true,
                true false false, true false true, true true false, true true true))
}

/// `add` and so on of two packed `f32`.
pub(crate) fn packed2(name: &str, ftz: bool) -> Option<F2> {
    Some(match (name, ftz) {
        ("add", false) => |a, b| both2(a, b, add::<false, false>),
        ("add", true) => |a, b| both2(a, b, add::<true, false>),
        ("sub", false) => |a, b| both2(a, b, sub::<false, false>),
        ("sub", true) => |a, b| both2(a, b, sub::<true, false>),
        ("mul", false) => |a, b| both2(a, b, mul::<false, false>),
        ("mul", true) => |a, b| both2(a, b, mul::<true, false>),
        _ => return None,
    })
}

/// `fma` of two packed `f32`.
pub(crate) fn packed3(ftz: bool) -> F3 {
    match ftz {
        false => |a, b, c| both3(a, b, c, fma::<false, false>),
        true => |a, b, c| both3(a, b, c, fma::<true, false>),
    }
}

/// `add` and so on of `f64`.
pub(crate) fn binary64(name: &str) -> Option<F2> {
    Some(match name {
        "add" => |a, b| bits64(f64::from_bits(a) + f64::from_bits(b)),
        "sub" => |a, b| bits64(f64::from_bits(a) - f64::from_bits(b)),
        "mul" => |a, b| bits64(f64::from_bits(a) * f64::from_bits(b)),
        "div" => |a, b| bits64(f64::from_bits(a) / f64::from_bits(b)),
        "min" => |a, b| bits64(choose::<false, false>(f64::from_bits(a), f64::from_bits(b))),
        "max" => |a, b| bits64(choose::<true, false>(f64::from_bits(a), f64::from_bits(b))),
        _ => return None,
    })
}

/// `fma` of `f64`.
pub(crate) fn fma64(a: u64, b: u64, c: u64) -> u64 {
    bits64(f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c)))
}

/// `neg` and `abs`, which keep the payload of a NaN.
pub(crate) fn sign(name: &str, ty: Type, ftz: bool) -> Option<fn(u64) -> u64> {
    Some(match (name, ty, ftz) {
        ("neg", Type::F32, false) => |a| a ^ 0x8000_0000,
        ("neg", Type::F32, true) => |a| u64::from(input::<true>(a).to_bits()) ^ 0x8000_0000,
        ("abs", Type::F32, false) => |a| a & 0x7fff_ffff,
        ("abs", Type::F32, true) => |a| u64::from(input::<true>(a).to_bits()) & 0x7fff_ffff,
        ("neg", Type::F64, false) => |a| a ^ 1 << 63,
        ("abs", Type::F64, false) => |a| a & u64::MAX >> 1,
        ("neg", Type::F16 | Type::Bf16, false) => |a| a ^ 0x8000,
        ("abs", Type::F16 | Type::Bf16, false) => |a| a & 0x7fff,
        ("neg", Type::F16x2 | Type::Bf16x2, false) => |a| a ^ 0x8000_8000,
        ("abs", Type::F16x2 | Type::Bf16x2, false) => |a| a & 0x7fff_7fff,
        _ => return None,
    })
}

/// `copysign`: `b` with the sign of `a`.
pub(crate) fn copysign(ty: Type) -> Option<F2> {
    Some(match ty {
        Type::F32 => |a, b| a & 0x8000_0000 | b & 0x7fff_ffff,
        Type::F64 => |a, b| a & 1 << 63 | b & u64::MAX >> 1,
        _ => return None,
    })
}

/// `testp`: a property of a value; the second operand is not used.
pub(crate) fn test(name: &str, ty: Type) -> Option<fn(u64, u64) -> bool> {
    Some(match (name, ty) {
        ("finite", Type::F32) => |a, _| f(a).is_finite(),
        ("infinite", Type::F32) => |a, _| f(a).is_infinite(),
        ("number", Type::F32) => |a, _| !f(a).is_nan(),
        ("notanumber", Type::F32) => |a, _| f(a).is_nan(),
        ("normal", Type::F32) => |a, _| f(a).is_normal(),
        ("subnormal", Type::F32) => |a, _| f(a).is_subnormal(),
        ("finite", Type::F64) => |a, _| f64::from_bits(a).is_finite(),
        ("infinite", Type::F64) => |a, _| f64::from_bits(a).is_infinite(),
        ("number", Type::F64) => |a, _| !f64::from_bits(a).is_nan(),
        ("notanumber", Type::F64) => |a, _| f64::from_bits(a).is_nan(),
        _ => return None,
    })
}
