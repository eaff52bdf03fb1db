//! Loops over the columns of 32 rows side by side, each row in a lane.

use super::chunk::SHORT_GROUP;
use super::math::Exponential;
use super::memory::Row;
use super::simd::{LANES, Lanes, Simd};

/// The exponentials of a batch, each row with its reference.
pub(super) struct Exponentials<S: Simd> {
    pub shared: Exponential<S>,
    pub round: S::Block,
    pub lowest: S::Block,
}

impl<S: Simd> Exponentials<S> {
    #[inline(always)]
    fn of_register(&self, register: usize) -> Exponential<S> {
        let (round, lowest) = (self.round.as_ref()[register], self.lowest.as_ref()[register]);
        Exponential { round, lowest, ..self.shared }
    }

    /// The exponentials of a block.
    #[inline(always)]
    pub fn at(&self, s: S, y: &Lanes) -> S::Block {
        let mut block = s.load(&y.0);
        for (register, v) in block.as_mut().iter_mut().enumerate() {
            *v = self.of_register(register).at(s, *v);
        }
        block
    }
}

/// The weights u of the columns.
pub(super) enum Weights<'a> {
    One,
    Classes(Row),
    Of(&'a [Lanes]),
}

impl Weights<'_> {
    #[inline(always)]
    pub fn block<S: Simd>(&self, s: S, class: usize) -> S::Block {
        match self {
            Weights::One => s.fill(1.0),
            Weights::Classes(weights) => s.fill(weights.get(class)),
            Weights::Of(u) => s.load(&u[class].0),
        }
    }
}

/// The largest number of each row, and its first column; NaNs do not count.
#[inline(always)]
pub(super) fn largest<S: Simd>(s: S, x: &[Lanes]) -> (Lanes, Lanes) {
    let (mut largest, mut at) = (s.fill(f32::NEG_INFINITY), s.fill(0.0));
    for (class, lanes) in x.iter().enumerate() {
        let class = s.splat(class as f32);
        for (register, &v) in s.load(&lanes.0).as_ref().iter().enumerate() {
            let (largest, at) = (&mut largest.as_mut()[register], &mut at.as_mut()[register]);
            let larger = s.max(v, *largest);
            *at = s.if_equal(larger, *largest, *at, class);
            *largest = larger;
        }
    }
    let (mut values, mut columns) = (Lanes([0.0; LANES]), Lanes([0.0; LANES]));
    s.store(largest, &mut values.0);
    s.store(at, &mut columns.0);
    (values, columns)
}

/// Adds u (largest - y), where 0 times infinity is 0, and u.
#[inline(always)]
pub(super) fn weighted<S: Simd>(
    s: S,
    largest: &Lanes,
    y: &[Lanes],
    weights: &Weights,
    total: &mut [f64; LANES],
    total_mass: &mut [f64; LANES],
) {
    let (largest, zero) = (s.load(&largest.0), s.splat(0.0));
    for (group, y) in y.chunks(SHORT_GROUP).enumerate() {
        let (mut sum, mut mass) = (s.fill(0.0), s.fill(0.0));
        for (column, y) in y.iter().enumerate() {
            let (y, u) = (s.load(&y.0), weights.block(s, group * SHORT_GROUP + column));
            for register in 0..y.as_ref().len() {
                let (y, u) = (y.as_ref()[register], u.as_ref()[register]);
                let product = s.mul(u, s.sub(largest.as_ref()[register], y));
                let (sum, mass) = (&mut sum.as_mut()[register], &mut mass.as_mut()[register]);
                *sum = s.add(*sum, s.if_equal(u, zero, zero, product));
                *mass = s.add(*mass, u);
            }
        }
        add(s, sum, total);
        add(s, mass, total_mass);
    }
}

/// Adds the lanes of a block.
#[inline(always)]
pub(super) fn add<S: Simd>(s: S, block: S::Block, total: &mut [f64; LANES]) {
    let mut lanes = Lanes([0.0; LANES]);
    s.store(block, &mut lanes.0);
    for (total, lane) in total.iter_mut().zip(lanes.0) {
        *total += f64::from(lane);
    }
}
