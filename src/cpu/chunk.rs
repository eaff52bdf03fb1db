//! Loops over a chunk of a row: few enough numbers for the first-level cache.
//!
//! A sum in `f32` adds at most [`GROUP`] numbers in each of 32 lanes; the rest is added in `f64`. Equal
//! addends make all rounding errors point the same way; 8 of them stay within 2 units of rounding.

use super::keep::Half;
use super::math::Exponential;
use super::memory::Ahead;
use super::numbers::Numbers;
use super::simd::{LANES, Lanes, Simd};
use super::writer::Writer;

/// Blocks of a chunk.
pub(super) const BLOCKS: usize = 64;

/// Columns that are worked on together.
pub(super) const COLUMNS: usize = BLOCKS * LANES;

/// Blocks that are added in `f32`.
pub(super) const GROUP: usize = 8;

/// The same of addends that have been rounded more often.
pub(super) const SHORT_GROUP: usize = 4;

/// One number of a chunk.
pub(super) fn get(chunk: &[Lanes], column: usize) -> f32 {
    chunk[column / LANES].0[column % LANES]
}

/// Changes one number of a chunk.
pub(super) fn set(chunk: &mut [Lanes], column: usize, value: f32) {
    chunk[column / LANES].0[column % LANES] = value;
}

/// Fills up the last block behind this many columns.
#[inline(always)]
pub(super) fn pad(chunk: &mut [Lanes], columns: usize, value: f32) {
    if let Some(rest) = chunk.get_mut(columns / LANES) {
        rest.0[columns % LANES..].fill(value);
    }
}

/// The first column with this value.
#[inline(always)]
pub(super) fn find<S: Simd>(s: S, chunk: &[Lanes], value: f32) -> Option<usize> {
    let wanted = s.splat(value);
    for (index, lanes) in chunk.iter().enumerate() {
        let found = s.find(s.load(&lanes.0), wanted);
        if found != 0 {
            return Some(index * LANES + found.trailing_zeros() as usize);
        }
    }
    None
}

/// The lanes of a sum, added.
#[inline(always)]
fn total<S: Simd>(s: S, sum: S::Sum) -> f64 {
    let x = s.lanes(sum);
    ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}

/// The sum of numbers that may cancel: all of it in `f64`.
#[inline(always)]
pub(super) fn exact_sum<S: Simd>(s: S, x: &[Lanes]) -> f64 {
    let mut all = s.no_sum();
    for x in x {
        all = s.add_to(all, s.load(&x.0));
    }
    total(s, all)
}

/// The sum of exponentials; meanwhile memory is fetched.
#[inline(always)]
pub(super) fn exp_sum<S: Simd>(
    s: S,
    exponential: &Exponential<S>,
    y: &[Lanes],
    mut ahead: Ahead,
) -> f64 {
    let mut all = s.no_sum();
    for y in y.chunks(GROUP) {
        let mut sum = s.fill(0.0);
        for y in y {
            ahead.fetch(s);
            let block = exponential.block(s, s.load(&y.0));
            for (e, sum) in block.as_ref().iter().zip(sum.as_mut()) {
                *sum = s.add(*sum, *e);
            }
        }
        all = s.add_to(all, sum);
    }
    total(s, all)
}

/// Exponentials, and their sum; meanwhile memory is fetched, and what waits for it is written.
#[inline(always)]
pub(super) fn exponentials<S: Simd>(
    s: S,
    exponential: &Exponential<S>,
    y: &[Lanes],
    e: &mut [Lanes],
    mut ahead: Ahead,
    mut waiting: Option<(&mut Writer, &Half)>,
) -> f64 {
    let mut all = s.no_sum();
    for (y, e) in y.chunks(GROUP).zip(e.chunks_mut(GROUP)) {
        if let Some((writer, kept)) = &mut waiting {
            writer.write_some(s, kept, y.len());
        }
        let mut sum = s.fill(0.0);
        for (y, e) in y.iter().zip(e) {
            ahead.fetch(s);
            let block = exponential.block(s, s.load(&y.0));
            for (e, sum) in block.as_ref().iter().zip(sum.as_mut()) {
                *sum = s.add(*sum, *e);
            }
            s.store(block, &mut e.0);
        }
        all = s.add_to(all, sum);
    }
    total(s, all)
}

/// The sum of e (largest - y), where an e of 0 counts as 0. `lowest`: where e is 0 anyway.
#[inline(always)]
pub(super) fn moment<S: Simd>(s: S, largest: f32, lowest: S::V, y: &[Lanes], e: &[Lanes]) -> f64 {
    let (largest, mut all) = (s.splat(largest), s.no_sum());
    for (y, e) in y.chunks(GROUP).zip(e.chunks(GROUP)) {
        let mut sum = s.fill(0.0);
        for (y, e) in y.iter().zip(e) {
            let (y, e) = (s.load(&y.0), s.load(&e.0));
            for ((y, e), sum) in y.as_ref().iter().zip(e.as_ref()).zip(sum.as_mut()) {
                let distance = s.sub(largest, s.max(*y, lowest));
                *sum = s.add(*sum, s.mul(*e, distance));
            }
        }
        all = s.add_to(all, sum);
    }
    total(s, all)
}

/// The sum of largest - y.
#[inline(always)]
pub(super) fn distances<S: Simd>(s: S, largest: f32, y: &[Lanes]) -> f64 {
    let (largest, mut all) = (s.splat(largest), s.no_sum());
    for y in y.chunks(SHORT_GROUP) {
        let mut sum = s.fill(0.0);
        for y in y {
            for (y, sum) in s.load(&y.0).as_ref().iter().zip(sum.as_mut()) {
                *sum = s.add(*sum, s.sub(largest, *y));
            }
        }
        all = s.add_to(all, sum);
    }
    total(s, all)
}

/// The sum of u (largest - y), where 0 times infinity is 0, and that of u; meanwhile memory is fetched.
#[inline(always)]
pub(super) fn weighted<S: Simd>(
    s: S,
    largest: f32,
    y: &[Lanes],
    u: &impl Numbers<S>,
    mut ahead: Ahead,
) -> (f64, f64) {
    let (largest, zero) = (s.splat(largest), s.splat(0.0));
    let (mut all, mut all_mass) = (s.no_sum(), s.no_sum());
    for (group, y) in y.chunks(SHORT_GROUP).enumerate() {
        let (mut sum, mut mass) = (s.fill(0.0), s.fill(0.0));
        for (block, y) in y.iter().enumerate() {
            ahead.fetch(s);
            let at = (group * SHORT_GROUP + block) * LANES;
            let (y, u) = (s.load(&y.0), u.block(s, at));
            for register in 0..y.as_ref().len() {
                let (y, u) = (y.as_ref()[register], u.as_ref()[register]);
                let product = s.if_equal(u, zero, zero, s.mul(u, s.sub(largest, y)));
                let (sum, mass) = (&mut sum.as_mut()[register], &mut mass.as_mut()[register]);
                (*sum, *mass) = (s.add(*sum, product), s.add(*mass, u));
            }
        }
        all = s.add_to(all, sum);
        all_mass = s.add_to(all_mass, mass);
    }
    (total(s, all), total(s, all_mass))
}

/// The sum of u.
#[inline(always)]
pub(super) fn sum<S: Simd>(s: S, u: &[Lanes]) -> f64 {
    let mut all = s.no_sum();
    for u in u.chunks(SHORT_GROUP) {
        let mut mass = s.fill(0.0);
        for u in u {
            for (u, mass) in s.load(&u.0).as_ref().iter().zip(mass.as_mut()) {
                *mass = s.add(*mass, *u);
            }
        }
        all = s.add_to(all, mass);
    }
    total(s, all)
}

/// Changes all signs but those behind the end, and gives the largest number of each lane.
#[inline(always)]
pub(super) fn negate<S: Simd>(s: S, x: &mut [Lanes], columns: usize) -> S::Block {
    let (zero, mut largest) = (s.splat(-0.0), s.fill(f32::NEG_INFINITY));
    pad(x, columns, f32::INFINITY);
    for lanes in x {
        let mut block = s.load(&lanes.0);
        for (v, largest) in block.as_mut().iter_mut().zip(largest.as_mut()) {
            *v = s.sub(zero, *v);
            *largest = s.max(*v, *largest);
        }
        s.store(block, &mut lanes.0);
    }
    largest
}

/// x factor in place.
#[inline(always)]
pub(super) fn scale<S: Simd>(s: S, factor: f32, x: &mut [Lanes]) {
    let factor = s.splat(factor);
    for lanes in x {
        let mut block = s.load(&lanes.0);
        for v in block.as_mut() {
            *v = s.mul(*v, factor);
        }
        s.store(block, &mut lanes.0);
    }
}

/// x y in place.
#[inline(always)]
pub(super) fn multiply<S: Simd>(s: S, y: &[Lanes], x: &mut [Lanes]) {
    for (lanes, y) in x.iter_mut().zip(y) {
        let (mut block, y) = (s.load(&lanes.0), s.load(&y.0));
        for (v, y) in block.as_mut().iter_mut().zip(y.as_ref()) {
            *v = s.mul(*v, *y);
        }
        s.store(block, &mut lanes.0);
    }
}

/// e factor - term.
#[inline(always)]
pub(super) fn less<S: Simd>(s: S, e: &[Lanes], factor: f32, term: f32, to: &mut [Lanes]) {
    let (factor, term) = (s.splat(factor), s.splat(-term));
    for (e, to) in e.iter().zip(to) {
        let mut block = s.load(&e.0);
        for v in block.as_mut() {
            *v = s.mul_add(*v, factor, term);
        }
        s.store(block, &mut to.0);
    }
}

/// e factor - u unit, where the second product is 0 if u is.
#[inline(always)]
pub(super) fn less_weighted<S: Simd>(
    s: S,
    e: &[Lanes],
    factor: f32,
    u: &[Lanes],
    unit: f32,
    to: &mut [Lanes],
) {
    let (factor, unit) = (s.splat(factor), s.splat(-unit));
    let (zero, nothing) = (s.splat(0.0), s.splat(-0.0)); // adding -0 keeps the sign of a 0
    for ((e, u), to) in e.iter().zip(u).zip(to) {
        let (mut block, u) = (s.load(&e.0), s.load(&u.0));
        for (v, u) in block.as_mut().iter_mut().zip(u.as_ref()) {
            let term = s.if_equal(*u, zero, nothing, s.mul(*u, unit));
            *v = s.mul_add(*v, factor, term);
        }
        s.store(block, &mut to.0);
    }
}
