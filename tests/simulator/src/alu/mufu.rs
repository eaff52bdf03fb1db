//! The approximations of the special function unit: computed in double precision and rounded, so
//! that they are better than the hardware's. Noise makes up for it.

use super::half::{bf16, f16};
use super::round::{BF16, F16, Rounding};
use crate::op::{Mufu, MufuType};
use crate::random::mix;

/// The value of a function, before rounding.
fn exact(f: Mufu, x: f64) -> f64 {
    match f {
        Mufu::Ex2 => x.exp2(),
        Mufu::Lg2 => x.log2(),
        Mufu::Rcp => 1.0 / x,
        Mufu::Sqrt => x.sqrt(),
        Mufu::Rsqrt => 1.0 / x.sqrt(),
        Mufu::Sin => x.sin(),
        Mufu::Cos => x.cos(),
        Mufu::Tanh => x.tanh(),
    }
}

/// The result for one lane. `noise`: a seed of errors, in all up to 2 units in the last place, which
/// depend on nothing but the seed, the function and its operand, as an approximation does.
pub(crate) fn mufu(f: Mufu, ty: MufuType, a: u64, noise: Option<u64>) -> u64 {
    let half = |bits: u64| F16.round(exact(f, f16(bits)), Rounding::Nearest);
    let brain = |bits: u64, ftz: bool| {
        let flush = |bits: u64| if ftz && bits & 0x7f80 == 0 { bits & 0x8000 } else { bits };
        flush(BF16.round(exact(f, bf16(flush(bits))), Rounding::Nearest))
    };
    match ty {
        MufuType::F32 { ftz } => single(f, ftz, f32::from_bits(a as u32), noise),
        MufuType::F64 => {
            // The hardware keeps the upper half of the result, and of the operand.
            let y = exact(f, f64::from_bits(a & !0 << 32));
            if y.is_nan() { 0x7fff_ffff_0000_0000 } else { y.to_bits() & !0 << 32 }
        }
        MufuType::F16 { pair: false } => half(a & 0xffff),
        MufuType::F16 { pair: true } => half(a & 0xffff) | half(a >> 16) << 16,
        MufuType::Bf16 { pair: false, ftz } => brain(a & 0xffff, ftz),
        MufuType::Bf16 { pair: true, ftz } => brain(a & 0xffff, ftz) | brain(a >> 16, ftz) << 16,
    }
}

fn single(f: Mufu, ftz: bool, x: f32, noise: Option<u64>) -> u64 {
    let x = if ftz && x.is_subnormal() { 0f32.copysign(x) } else { x };
    let exact = exact(f, x.into());
    let mut y = exact as f32;
    if let Some(seed) = noise
        && y.is_normal()
        && y != 1.0
        && y != -1.0
    {
        let mixed = mix(seed ^ u64::from(x.to_bits()) ^ (f as u64) << 40);
        let by = |ulps: i32| f32::from_bits(y.to_bits().wrapping_add_signed(ulps));
        let ulp = f64::from(by(1)) - f64::from(y);
        let ulps = (mixed % 5) as i32 - 2;
        // Of the exact result, which is up to half a unit beside y.
        let within = ((f64::from(by(ulps)) - exact) / ulp).abs() <= 2.0;
        let moved = by(if within { ulps } else { ulps - ulps.signum() });
        y = if moved.is_normal() { moved } else { y };
    }
    if ftz && y.is_subnormal() {
        y = 0f32.copysign(y);
    }
    super::float::bits(y)
}
