//! What instructions do to the value of one lane: functions from bits to bits.
//!
//! A decoded instruction holds a function of this module, so that nothing is looked up again
//! while it runs.

pub(crate) mod compare;
pub(crate) mod convert;
pub(crate) mod float;
pub(crate) mod half;
pub(crate) mod integer;
pub(crate) mod mufu;
pub(crate) mod round;

/// A function of two operands.
pub(crate) type F2 = fn(u64, u64) -> u64;

/// A function of three operands.
pub(crate) type F3 = fn(u64, u64, u64) -> u64;

/// Applies a function of single precision to both halves of 64 bits.
fn both2(a: u64, b: u64, f: F2) -> u64 {
    f(a & 0xffff_ffff, b & 0xffff_ffff) | f(a >> 32, b >> 32) << 32
}

fn both3(a: u64, b: u64, c: u64, f: F3) -> u64 {
    let low = f(a & 0xffff_ffff, b & 0xffff_ffff, c & 0xffff_ffff);
    low | f(a >> 32, b >> 32, c >> 32) << 32
}
