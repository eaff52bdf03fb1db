//! The relations of `setp` and `set`.

use super::half::{bf16, f16};
use crate::types::{Type, extend};

type Relation = fn(u64, u64) -> bool;

/// An ordered, or with `u` unordered, relation of a floating-point type.
macro_rules! float {
    ($name:expr, $value:path) => {
        Some(match $name {
            "eq" => |a, b| $value(a) == $value(b),
            "ne" => |a, b| {
                let (a, b) = ($value(a), $value(b));
                a != b && !a.is_nan() && !b.is_nan()
            },
            "lt" => |a, b| $value(a) < $value(b),
            "le" => |a, b| $value(a) <= $value(b),
            "gt" => |a, b| $value(a) > $value(b),
            "ge" => |a, b| $value(a) >= $value(b),
            "equ" => |a, b| {
                let (a, b) = ($value(a), $value(b));
                a == b || a.is_nan() || b.is_nan()
            },
            "neu" => |a, b| $value(a) != $value(b),
            "ltu" => |a, b| !matches!($value(a).partial_cmp(&$value(b)), Some(o) if o.is_ge()),
            "leu" => |a, b| !matches!($value(a).partial_cmp(&$value(b)), Some(o) if o.is_gt()),
            "gtu" => |a, b| !matches!($value(a).partial_cmp(&$value(b)), Some(o) if o.is_le()),
            "geu" => |a, b| !matches!($value(a).partial_cmp(&$value(b)), Some(o) if o.is_lt()),
            "num" => |a, b| !$value(a).is_nan() && !$value(b).is_nan(),
            "nan" => |a, b| $value(a).is_nan() || $value(b).is_nan(),
            _ => return None,
        })
    };
}

fn f32(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn f32_ftz(bits: u64) -> f32 {
    let value = f32(bits);
    if value.is_subnormal() { 0.0 } else { value }
}

fn signed<const BITS: u32>(bits: u64) -> i64 {
    extend(bits, BITS)
}

macro_rules! integer {
    ($name:expr, $value:expr) => {
        Some(match $name {
            "eq" => |a, b| $value(a) == $value(b),
            "ne" => |a, b| $value(a) != $value(b),
            "lt" | "lo" => |a, b| $value(a) < $value(b),
            "le" | "ls" => |a, b| $value(a) <= $value(b),
            "gt" | "hi" => |a, b| $value(a) > $value(b),
            "ge" | "hs" => |a, b| $value(a) >= $value(b),
            _ => return None,
        })
    };
}

/// The relation of a name on a type; pairs compare values of 16 bits.
pub(crate) fn relation(name: &str, ty: Type, ftz: bool) -> Option<Relation> {
    match ty {
        Type::F32 if ftz => float!(name, f32_ftz),
        Type::F32 => float!(name, f32),
        _ if ftz => None,
        Type::F64 => float!(name, f64::from_bits),
        Type::F16 | Type::F16x2 => float!(name, f16),
        Type::Bf16 | Type::Bf16x2 => float!(name, bf16),
        Type::Bits(_) if !matches!(name, "eq" | "ne") => None,
        Type::Signed(16) => integer!(name, signed::<16>),
        Type::Signed(32) => integer!(name, signed::<32>),
        Type::Signed(64) => integer!(name, signed::<64>),
        Type::Bits(_) | Type::Unsigned(_) => integer!(name, std::convert::identity::<u64>),
        _ => None,
    }
}
