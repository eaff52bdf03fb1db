//! Loops over a chunk of a row: few enough numbers for the first-level cache.
//!
//! A sum in `f32` adds at most [`GROUP`] numbers in each of 32 lanes; the rest is added in `f64`. Equal
//! addends make all rounding errors point the same way; 8 of them stay within 2 units of rounding.

use super::math::Exponential;
use super::simd::{LANES, Lanes, Simd};

/// Blocks of a chunk.
pub(super) const BLOCKS: usize = 32;

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
        let mut found = false;
        for &v in s.load(&lanes.0).as_ref() {
            found |= s.any_equal(v, wanted);
        }
        if found {
            let lane = lanes.0.iter().position(|&x| x == value)?;
            return Some(index * LANES + lane);
        }
    }
    None
}

/// The largest lane; lanes are not NaN.
#[inline(always)]
pub(super) fn largest<S: Simd>(s: S, block: S::Block) -> f32 {
    let mut lanes = Lanes([0.0; LANES]);
    s.store(block, &mut lanes.0);
    let x = &mut lanes.0;
    for half in [16, 8, 4, 2, 1] {
        for lane in 0..half {
            x[lane] = if x[lane + half] > x[lane] { x[lane + half] } else { x[lane] };
        }
    }
    x[0]
}

/// A sum in `f64`, of which each lane adds every eighth number.
#[derive(Clone, Copy, Default)]
struct Total([f64; 8]);

impl Total {
    #[inline(always)]
    fn add<S: Simd>(&mut self, s: S, block: S::Block) {
        let mut lanes = Lanes([0.0; LANES]);
        s.store(block, &mut lanes.0);
        for (lane, sum) in self.0.iter_mut().enumerate() {
            let x = |group: usize| f64::from(lanes.0[8 * group + lane]);
            *sum += (x(0) + x(1)) + (x(2) + x(3));
        }
    }

    #[inline(always)]
    fn sum(self) -> f64 {
        let x = self.0;
        ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
    }
}

/// The sum of exponentials.
#[inline(always)]
pub(super) fn exp_sum<S: Simd>(s: S, exponential: &Exponential<S>, y: &[Lanes]) -> f64 {
    let mut total = Total::default();
    for y in y.chunks(GROUP) {
        let mut sum = s.fill(0.0);
        for y in y {
            for (&v, sum) in s.load(&y.0).as_ref().iter().zip(sum.as_mut()) {
                *sum = s.add(*sum, exponential.at(s, v));
            }
        }
        total.add(s, sum);
    }
    total.sum()
}

/// Exponentials, and their sum.
#[inline(always)]
pub(super) fn exponentials<S: Simd>(
    s: S,
    exponential: &Exponential<S>,
    y: &[Lanes],
    e: &mut [Lanes],
) -> f64 {
    let mut total = Total::default();
    for (y, e) in y.chunks(GROUP).zip(e.chunks_mut(GROUP)) {
        let mut sum = s.fill(0.0);
        for (y, e) in y.iter().zip(e) {
            let mut block = s.load(&y.0);
            for (v, sum) in block.as_mut().iter_mut().zip(sum.as_mut()) {
                *v = exponential.at(s, *v);
                *sum = s.add(*sum, *v);
            }
            s.store(block, &mut e.0);
        }
        total.add(s, sum);
    }
    total.sum()
}

/// The sum of e (largest - y), where an e of 0 counts as 0. `lowest`: where e is 0 anyway.
#[inline(always)]
pub(super) fn moment<S: Simd>(s: S, largest: f32, lowest: S::V, y: &[Lanes], e: &[Lanes]) -> f64 {
    let (largest, mut total) = (s.splat(largest), Total::default());
    for (y, e) in y.chunks(GROUP).zip(e.chunks(GROUP)) {
        let mut sum = s.fill(0.0);
        for (y, e) in y.iter().zip(e) {
            let (y, e) = (s.load(&y.0), s.load(&e.0));
            for ((y, e), sum) in y.as_ref().iter().zip(e.as_ref()).zip(sum.as_mut()) {
                let distance = s.sub(largest, s.max(*y, lowest));
                *sum = s.add(*sum, s.mul(*e, distance));
            }
        }
        total.add(s, sum);
    }
    total.sum()
}

/// The sum of largest - y.
#[inline(always)]
pub(super) fn distances<S: Simd>(s: S, largest: f32, y: &[Lanes]) -> f64 {
    let (largest, mut total) = (s.splat(largest), Total::default());
    for y in y.chunks(SHORT_GROUP) {
        let mut sum = s.fill(0.0);
        for y in y {
            for (y, sum) in s.load(&y.0).as_ref().iter().zip(sum.as_mut()) {
                *sum = s.add(*sum, s.sub(largest, *y));
            }
        }
        total.add(s, sum);
    }
    total.sum()
}

/// The sum of u (largest - y), where 0 times infinity is 0, and that of u.
#[inline(always)]
pub(super) fn weighted<S: Simd>(s: S, largest: f32, y: &[Lanes], u: &[Lanes]) -> (f64, f64) {
    let (largest, zero) = (s.splat(largest), s.splat(0.0));
    let (mut total, mut total_mass) = (Total::default(), Total::default());
    for (y, u) in y.chunks(SHORT_GROUP).zip(u.chunks(SHORT_GROUP)) {
        let (mut sum, mut mass) = (s.fill(0.0), s.fill(0.0));
        for (y, u) in y.iter().zip(u) {
            let (y, u) = (s.load(&y.0), s.load(&u.0));
            for register in 0..y.as_ref().len() {
                let (y, u) = (y.as_ref()[register], u.as_ref()[register]);
                let product = s.if_equal(u, zero, zero, s.mul(u, s.sub(largest, y)));
                let (sum, mass) = (&mut sum.as_mut()[register], &mut mass.as_mut()[register]);
                (*sum, *mass) = (s.add(*sum, product), s.add(*mass, u));
            }
        }
        total.add(s, sum);
        total_mass.add(s, mass);
    }
    (total.sum(), total_mass.sum())
}

/// The sum of u.
#[inline(always)]
pub(super) fn sum<S: Simd>(s: S, u: &[Lanes]) -> f64 {
    let mut total = Total::default();
    for u in u.chunks(SHORT_GROUP) {
        let mut mass = s.fill(0.0);
        for u in u {
            for (u, mass) in s.load(&u.0).as_ref().iter().zip(mass.as_mut()) {
                *mass = s.add(*mass, *u);
            }
        }
        total.add(s, mass);
    }
    total.sum()
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
