//! Integer arithmetic and logic.

use super::{F2, F3};
use crate::types::{Type, extend, mask};

/// Picks the instance of a generic function for the bits of a type.
macro_rules! by_bits {
    ($ty:expr, $name:ident) => {
        match $ty.bits() {
            8 => Some($name::<8> as _),
            16 => Some($name::<16> as _),
            32 => Some($name::<32> as _),
            64 => Some($name::<64> as _),
            _ => None,
        }
    };
}

macro_rules! binary {
    ($($name:ident($a:ident, $b:ident) $body:expr;)*) => {
        $(fn $name<const BITS: u32>($a: u64, $b: u64) -> u64 { $body })*
    };
}

fn s<const BITS: u32>(value: u64) -> i64 {
    extend(value, BITS)
}

binary! {
    add(a, b) a.wrapping_add(b) & mask(BITS);
    sub(a, b) a.wrapping_sub(b) & mask(BITS);
    add_sat(a, b) saturate::<BITS>(i128::from(s::<BITS>(a)) + i128::from(s::<BITS>(b)));
    sub_sat(a, b) saturate::<BITS>(i128::from(s::<BITS>(a)) - i128::from(s::<BITS>(b)));
    mul_low(a, b) a.wrapping_mul(b) & mask(BITS);
    mul_high_u(a, b) ((u128::from(a) * u128::from(b)) >> BITS) as u64 & mask(BITS);
    mul_high_s(a, b) ((i128::from(s::<BITS>(a)) * i128::from(s::<BITS>(b))) >> BITS) as u64 & mask(BITS);
    mul_wide_u(a, b) (a & mask(BITS)).wrapping_mul(b & mask(BITS));
    mul_wide_s(a, b) s::<BITS>(a).wrapping_mul(s::<BITS>(b)) as u64 & mask(2 * BITS);
    // The hardware's result of a division by zero is not specified; it is all ones.
    div_u(a, b) a.checked_div(b).unwrap_or(u64::MAX) & mask(BITS);
    div_s(a, b) if b == 0 { mask(BITS) } else { s::<BITS>(a).wrapping_div(s::<BITS>(b)) as u64 & mask(BITS) };
    rem_u(a, b) a.checked_rem(b).unwrap_or(a);
    rem_s(a, b) if b == 0 { a } else { s::<BITS>(a).wrapping_rem(s::<BITS>(b)) as u64 & mask(BITS) };
    min_u(a, b) a.min(b);
    max_u(a, b) a.max(b);
    min_s(a, b) if s::<BITS>(a) < s::<BITS>(b) { a } else { b };
    max_s(a, b) if s::<BITS>(a) > s::<BITS>(b) { a } else { b };
    and(a, b) a & b & mask(BITS);
    or(a, b) (a | b) & mask(BITS);
    xor(a, b) (a ^ b) & mask(BITS);
    shift_left(a, b) if b as u32 >= BITS { 0 } else { a << b as u32 & mask(BITS) };
    shift_right_u(a, b) if b as u32 >= BITS { 0 } else { a >> b as u32 };
    shift_right_s(a, b) (s::<BITS>(a) >> (b as u32).min(BITS - 1)) as u64 & mask(BITS);
}

fn saturate<const BITS: u32>(value: i128) -> u64 {
    let most = i128::from(mask(BITS) >> 1);
    value.clamp(-most - 1, most) as u64 & mask(BITS)
}

/// `add`, `sub`, `min` and so on of a type that is an integer.
pub(crate) fn binary(name: &str, ty: Type, sat: bool) -> Option<F2> {
    let signed = ty.is_signed();
    if sat {
        return match (name, ty) {
            ("add", Type::Signed(32)) => by_bits!(ty, add_sat),
            ("sub", Type::Signed(32)) => by_bits!(ty, sub_sat),
            _ => None,
        };
    }
    match (name, signed) {
        ("add", _) => by_bits!(ty, add),
        ("sub", _) => by_bits!(ty, sub),
        ("mul.lo", _) => by_bits!(ty, mul_low),
        ("mul.hi", false) => by_bits!(ty, mul_high_u),
        ("mul.hi", true) => by_bits!(ty, mul_high_s),
        ("mul.wide", _) if ty.bits() > 32 => None,
        ("mul.wide", false) => by_bits!(ty, mul_wide_u),
        ("mul.wide", true) => by_bits!(ty, mul_wide_s),
        ("div", false) => by_bits!(ty, div_u),
        ("div", true) => by_bits!(ty, div_s),
        ("rem", false) => by_bits!(ty, rem_u),
        ("rem", true) => by_bits!(ty, rem_s),
        ("min", false) => by_bits!(ty, min_u),
        ("min", true) => by_bits!(ty, min_s),
        ("max", false) => by_bits!(ty, max_u),
        ("max", true) => by_bits!(ty, max_s),
        ("and", _) => by_bits!(ty, and),
        ("or", _) => by_bits!(ty, or),
        ("xor", _) => by_bits!(ty, xor),
        ("shl", _) => by_bits!(ty, shift_left),
        ("shr", false) => by_bits!(ty, shift_right_u),
        ("shr", true) => by_bits!(ty, shift_right_s),
        _ => None,
    }
}

/// `redux.sync`: a function that is applied lane by lane.
pub(crate) fn reduction(name: &str, ty: Type, abs: bool, nan: bool) -> Option<F2> {
    match (name, ty) {
        ("add" | "min" | "max" | "and" | "or" | "xor", _)
            if ty.is_integer() && ty.bits() == 32 && !abs && !nan =>
        {
            binary(name, ty, false)
        }
        ("min" | "max", Type::F32) if !abs => super::float::minmax(name == "max", false, nan),
        _ => None,
    }
}

fn mad_low<const BITS: u32>(a: u64, b: u64, c: u64) -> u64 {
    a.wrapping_mul(b).wrapping_add(c) & mask(BITS)
}

fn mad_high_u<const BITS: u32>(a: u64, b: u64, c: u64) -> u64 {
    mul_high_u::<BITS>(a, b).wrapping_add(c) & mask(BITS)
}

fn mad_high_s<const BITS: u32>(a: u64, b: u64, c: u64) -> u64 {
    mul_high_s::<BITS>(a, b).wrapping_add(c) & mask(BITS)
}

fn mad_wide_u<const BITS: u32>(a: u64, b: u64, c: u64) -> u64 {
    mul_wide_u::<BITS>(a, b).wrapping_add(c) & mask(2 * BITS)
}

fn mad_wide_s<const BITS: u32>(a: u64, b: u64, c: u64) -> u64 {
    mul_wide_s::<BITS>(a, b).wrapping_add(c) & mask(2 * BITS)
}

fn sad_u<const BITS: u32>(a: u64, b: u64, c: u64) -> u64 {
    a.abs_diff(b).wrapping_add(c) & mask(BITS)
}

fn sad_s<const BITS: u32>(a: u64, b: u64, c: u64) -> u64 {
    s::<BITS>(a).abs_diff(s::<BITS>(b)).wrapping_add(c) & mask(BITS)
}

/// `bfe`: bits of `a` from position `b` on, `c` of them.
fn extract_u<const BITS: u32>(a: u64, b: u64, c: u64) -> u64 {
    let (start, length) = (b as u32 & 0xff, c as u32 & 0xff);
    if start >= BITS { 0 } else { a >> start & mask(length) }
}

fn extract_s<const BITS: u32>(a: u64, b: u64, c: u64) -> u64 {
    let (start, length) = (b as u32 & 0xff, c as u32 & 0xff);
    if length == 0 {
        return 0;
    }
    let sign = a >> (start + length - 1).min(BITS - 1) & 1;
    let bits = extract_u::<BITS>(a, b, c);
    let length = length.min(BITS.saturating_sub(start));
    if sign == 1 { (bits | !mask(length)) & mask(BITS) } else { bits }
}

/// `mad`, `sad` and `bfe` of a type that is an integer.
pub(crate) fn ternary(name: &str, ty: Type) -> Option<F3> {
    match (name, ty.is_signed()) {
        ("mad.lo", _) => by_bits!(ty, mad_low),
        ("mad.hi", false) => by_bits!(ty, mad_high_u),
        ("mad.hi", true) => by_bits!(ty, mad_high_s),
        ("mad.wide", _) if ty.bits() > 32 => None,
        ("mad.wide", false) => by_bits!(ty, mad_wide_u),
        ("mad.wide", true) => by_bits!(ty, mad_wide_s),
        ("sad", false) => by_bits!(ty, sad_u),
        ("sad", true) => by_bits!(ty, sad_s),
        ("bfe", false) => by_bits!(ty, extract_u),
        ("bfe", true) => by_bits!(ty, extract_s),
        _ => None,
    }
}

fn negate<const BITS: u32>(a: u64) -> u64 {
    a.wrapping_neg() & mask(BITS)
}

fn absolute<const BITS: u32>(a: u64) -> u64 {
    s::<BITS>(a).unsigned_abs() & mask(BITS)
}

fn not<const BITS: u32>(a: u64) -> u64 {
    !a & mask(BITS)
}

fn is_zero<const BITS: u32>(a: u64) -> u64 {
    u64::from(a & mask(BITS) == 0)
}

fn reverse<const BITS: u32>(a: u64) -> u64 {
    a.reverse_bits() >> (64 - BITS)
}

fn leading_zeros<const BITS: u32>(a: u64) -> u64 {
    u64::from((a & mask(BITS)).leading_zeros() - (64 - BITS))
}

fn ones<const BITS: u32>(a: u64) -> u64 {
    u64::from((a & mask(BITS)).count_ones())
}

fn highest_u<const BITS: u32>(a: u64) -> u64 {
    u64::from(a.checked_ilog2().unwrap_or(u32::MAX))
}

fn highest_s<const BITS: u32>(a: u64) -> u64 {
    let value = s::<BITS>(a);
    highest_u::<BITS>(if value < 0 { !value } else { value } as u64)
}

/// `neg`, `clz` and so on of a type that is an integer.
pub(crate) fn unary(name: &str, ty: Type) -> Option<fn(u64) -> u64> {
    match (name, ty.is_signed()) {
        ("neg", _) => by_bits!(ty, negate),
        ("abs", true) => by_bits!(ty, absolute),
        ("not", _) => by_bits!(ty, not),
        ("cnot", _) => by_bits!(ty, is_zero),
        ("brev", _) => by_bits!(ty, reverse),
        ("clz", _) => by_bits!(ty, leading_zeros),
        ("popc", _) => by_bits!(ty, ones),
        ("bfind", false) => by_bits!(ty, highest_u),
        ("bfind", true) => by_bits!(ty, highest_s),
        _ => None,
    }
}

/// `bfi`: `b` with `d` bits of `a` from position `c` on.
pub(crate) fn insert(bits: u32) -> fn(u64, u64, u64, u64) -> u64 {
    fn insert<const BITS: u32>(a: u64, b: u64, c: u64, d: u64) -> u64 {
        let (start, length) = (c as u32 & 0xff, d as u32 & 0xff);
        if start >= BITS {
            return b;
        }
        let field = mask(length) << start & mask(BITS);
        b & !field | a << start & field
    }
    if bits == 64 { insert::<64> } else { insert::<32> }
}

/// `lop3`: bit `4a + 2b + c` of the table for every bit.
pub(crate) fn lop3(a: u64, b: u64, c: u64, table: u64) -> u64 {
    let mut result = 0;
    for row in 0..8 {
        if table >> row & 1 == 1 {
            let pick = |value: u64, bit: u64| if row & bit == 0 { !value } else { value };
            result |= pick(a, 4) & pick(b, 2) & pick(c, 1);
        }
    }
    result & mask(32)
}

/// `prmt` and its modes.
pub(crate) fn permute(mode: &str) -> Option<F3> {
    fn pick(a: u64, b: u64, selectors: [u64; 4]) -> u64 {
        let bytes = (a & mask(32) | b << 32).to_le_bytes();
        let mut result = 0;
        for (at, selector) in selectors.into_iter().enumerate() {
            let byte = bytes[selector as usize & 7];
            let replicate = if byte & 0x80 == 0 { 0 } else { 0xff };
            let byte = if selector & 8 == 0 { byte } else { replicate };
            result |= u64::from(byte) << (8 * at);
        }
        result
    }
    Some(match mode {
        "" => |a, b, c| pick(a, b, [c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15]),
        "f4e" => |a, b, c| pick(a, b, [0, 1, 2, 3].map(|at| (c + at) & 7)),
        "b4e" => |a, b, c| pick(a, b, [0, 1, 2, 3].map(|at| c.wrapping_sub(at) & 7)),
        "rc8" => |a, b, c| pick(a, b, [c & 3; 4]),
        "ecl" => |a, b, c| pick(a, b, [0, 1, 2, 3].map(|at| at.max(c & 3))),
        "ecr" => |a, b, c| pick(a, b, [0, 1, 2, 3].map(|at| at.min(c & 3))),
        "rc16" => |a, b, c| pick(a, b, [0, 1, 0, 1].map(|at| at + 2 * (c & 1))),
        _ => return None,
    })
}

/// `shf`: a shift of 64 bits, of which one half is kept.
pub(crate) fn funnel(left: bool, clamp: bool) -> F3 {
    fn wide(a: u64, b: u64) -> u64 {
        a & mask(32) | b << 32
    }
    match (left, clamp) {
        (true, true) => |a, b, c| (wide(a, b) << (c as u32).min(32)) >> 32,
        (true, false) => |a, b, c| (wide(a, b) << (c & 31)) >> 32,
        (false, true) => |a, b, c| wide(a, b) >> (c as u32).min(32) & mask(32),
        (false, false) => |a, b, c| wide(a, b) >> (c & 31) & mask(32),
    }
}

/// `atom` and `red` on integers: the new value from the old one and the operands.
pub(crate) fn atomic(name: &str, ty: Type) -> Option<F3> {
    fn sequence_up(old: u64, b: u64, _: u64) -> u64 {
        if old >= b { 0 } else { old + 1 }
    }
    fn sequence_down(old: u64, b: u64, _: u64) -> u64 {
        if old == 0 || old > b { b } else { old - 1 }
    }
    Some(match (name, ty.is_signed(), ty.bits()) {
        ("exch", ..) => |_, b, _| b,
        ("cas", ..) => |old, b, c| if old == b { c } else { old },
        ("and", ..) => |old, b, _| old & b,
        ("or", ..) => |old, b, _| old | b,
        ("xor", ..) => |old, b, _| old ^ b,
        ("add", _, 32) => |old, b, _| add::<32>(old, b),
        ("add", _, 64) => |old, b, _| add::<64>(old, b),
        ("min", false, _) => |old, b, _| old.min(b),
        ("max", false, _) => |old, b, _| old.max(b),
        ("min", true, 32) => |old, b, _| min_s::<32>(old, b),
        ("max", true, 32) => |old, b, _| max_s::<32>(old, b),
        ("min", true, 64) => |old, b, _| min_s::<64>(old, b),
        ("max", true, 64) => |old, b, _| max_s::<64>(old, b),
        ("inc", false, 32) => sequence_up,
        ("dec", false, 32) => sequence_down,
        _ => return None,
    })
}
