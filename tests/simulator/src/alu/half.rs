//! Arithmetic in 16 bits, one value or two at a time. It is exact in double precision (to odd),
//! and rounded once.

use super::float::chooser;
use super::round::{self, Format, Rounding, add_odd};
use super::{F2, F3};
use crate::types::Type;

/// The value of an `f16`.
pub(crate) fn f16(bits: u64) -> f64 {
    f64::from(::half::f16::from_bits(bits as u16))
}

/// The value of a `bf16`.
pub(crate) fn bf16(bits: u64) -> f64 {
    f64::from(f32::from_bits((bits as u32 & 0xffff) << 16))
}

/// What is done to a result before it is rounded.
const PLAIN: u8 = 0;
const SAT: u8 = 1;
const RELU: u8 = 2;

/// A format with its values.
trait Small {
    const FORMAT: Format;
    fn value(bits: u64) -> f64;
    fn bits<const CLAMP: u8>(x: f64) -> u64 {
        let x = match CLAMP {
            SAT if x > 0.0 => x.min(1.0),
            SAT => 0.0,
            RELU if x <= 0.0 => 0.0,
            _ => x,
        };
        Self::FORMAT.round(x, Rounding::Nearest)
    }
}

struct Half;
struct Brain;

impl Small for Half {
    const FORMAT: Format = round::F16;
    fn value(bits: u64) -> f64 {
        f16(bits)
    }
}

impl Small for Brain {
    const FORMAT: Format = round::BF16;
    fn value(bits: u64) -> f64 {
        bf16(bits)
    }
}

fn add<S: Small, const CLAMP: u8>(a: u64, b: u64) -> u64 {
    S::bits::<CLAMP>(add_odd(S::value(a), S::value(b)))
}

fn sub<S: Small, const CLAMP: u8>(a: u64, b: u64) -> u64 {
    S::bits::<CLAMP>(add_odd(S::value(a), -S::value(b)))
}

fn mul<S: Small, const CLAMP: u8>(a: u64, b: u64) -> u64 {
    S::bits::<CLAMP>(S::value(a) * S::value(b))
}

fn fma<S: Small, const CLAMP: u8>(a: u64, b: u64, c: u64) -> u64 {
    S::bits::<CLAMP>(add_odd(S::value(a) * S::value(b), S::value(c)))
}

fn choose<S: Small, const MAX: bool, const NAN: bool>(a: u64, b: u64) -> u64 {
    S::bits::<PLAIN>(chooser(MAX, NAN)(S::value(a), S::value(b)))
}

fn pair2(a: u64, b: u64, f: F2) -> u64 {
    f(a & 0xffff, b & 0xffff) | f(a >> 16, b >> 16) << 16
}

fn pair3(a: u64, b: u64, c: u64, f: F3) -> u64 {
    f(a & 0xffff, b & 0xffff, c & 0xffff) | f(a >> 16, b >> 16, c >> 16) << 16
}

/// The instances of a function for the four types: scalar and packed, both formats.
macro_rules! by_type {
    ($ty:expr, $f:ident, $wrap:ident($($a:ident),*), $($clamp:tt)*) => {
        match $ty {
            Type::F16 => Some($f::<Half, $($clamp)*> as _),
            Type::Bf16 => Some($f::<Brain, $($clamp)*> as _),
            Type::F16x2 => Some((|$($a),*| $wrap($($a,)* $f::<Half, $($clamp)*>)) as _),
            Type::Bf16x2 => Some((|$($a),*| $wrap($($a,)* $f::<Brain, $($clamp)*>)) as _),
            _ => None,
        }
    };
}

/// `add`, `sub`, `mul` of a type of 16 bits or a pair of them.
pub(crate) fn binary(name: &str, ty: Type, sat: bool) -> Option<F2> {
    match (name, sat) {
        ("add", false) => by_type!(ty, add, pair2(a, b), PLAIN),
        ("add", true) => by_type!(ty, add, pair2(a, b), SAT),
        ("sub", false) => by_type!(ty, sub, pair2(a, b), PLAIN),
        ("sub", true) => by_type!(ty, sub, pair2(a, b), SAT),
        ("mul", false) => by_type!(ty, mul, pair2(a, b), PLAIN),
        ("mul", true) => by_type!(ty, mul, pair2(a, b), SAT),
        _ => None,
    }
}

/// `fma` of a type of 16 bits or a pair of them.
pub(crate) fn fma_of(ty: Type, sat: bool, relu: bool) -> Option<F3> {
    match (sat, relu) {
        (false, false) => by_type!(ty, fma, pair3(a, b, c), PLAIN),
        (true, false) => by_type!(ty, fma, pair3(a, b, c), SAT),
        (false, true) => by_type!(ty, fma, pair3(a, b, c), RELU),
        (true, true) => None,
    }
}

/// `min` and `max` of a type of 16 bits or a pair of them.
pub(crate) fn minmax(max: bool, ty: Type, nan: bool) -> Option<F2> {
    match (max, nan) {
        (false, false) => by_type!(ty, choose, pair2(a, b), false, false),
        (false, true) => by_type!(ty, choose, pair2(a, b), false, true),
        (true, false) => by_type!(ty, choose, pair2(a, b), true, false),
        (true, true) => by_type!(ty, choose, pair2(a, b), true, true),
    }
}

/// `add.f32.bf16` and its kind: operands of 16 bits, the last one and the result of 32.
pub(crate) fn mixed2(name: &str, ty: Type) -> Option<F2> {
    fn sum(a: f64, b: f64) -> u64 {
        round::F32.round(add_odd(a, b), Rounding::Nearest)
    }
    fn single(bits: u64) -> f64 {
        f64::from(f32::from_bits(bits as u32))
    }
    Some(match (name, ty) {
        ("add", Type::F16) => |a, b| sum(f16(a), single(b)),
        ("add", Type::Bf16) => |a, b| sum(bf16(a), single(b)),
        ("sub", Type::F16) => |a, b| sum(f16(a), -single(b)),
        ("sub", Type::Bf16) => |a, b| sum(bf16(a), -single(b)),
        _ => return None,
    })
}

/// `fma.rn.f32.bf16` and its kind.
pub(crate) fn mixed3(ty: Type) -> Option<F3> {
    fn sum(product: f64, c: u64) -> u64 {
        let c = f64::from(f32::from_bits(c as u32));
        round::F32.round(add_odd(product, c), Rounding::Nearest)
    }
    Some(match ty {
        Type::F16 => |a, b, c| sum(f16(a) * f16(b), c),
        Type::Bf16 => |a, b, c| sum(bf16(a) * bf16(b), c),
        _ => return None,
    })
}
