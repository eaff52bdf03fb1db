//! Sums over some columns of a row, relative to the largest logit among them.

use super::simd::Simd;
use super::squash::Squash;

/// The largest logit of some columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Largest {
    /// sign(k) x.
    pub x: f32,
    /// What exponentials are taken of.
    pub y: f32,
    /// Its class, the first one where several are equal; `usize::MAX` where there is none but NaN.
    pub class: usize,
}

/// What a pass over some columns knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    /// Sum of the exponentials, over 2^reference, of all columns but the largest.
    pub exp: f64,
    /// Sum of (largest y - y) times the exponentials.
    pub moment: f64,
    /// Sum of u (largest y - y), where u are probabilities of the target or weights of label smoothing.
    pub distance: f64,
    /// Sum of u.
    pub mass: f64,
    /// The same of the class of the target: largest y - y, and 1, if it is one of the columns.
    pub target: f64,
    pub has_target: f64,
    pub largest: Largest,
    /// The binary exponent that exponentials are relative to; -inf before there are any.
    pub reference: f32,
}

impl Partial {
    /// No columns.
    pub const EMPTY: Partial = Partial {
        exp: 0.0,
        moment: 0.0,
        distance: 0.0,
        mass: 0.0,
        target: 0.0,
        has_target: 0.0,
        largest: Largest { x: f32::NEG_INFINITY, y: f32::NEG_INFINITY, class: usize::MAX },
        reference: f32::NEG_INFINITY,
    };

    /// Whether this logit would be the largest.
    #[inline(always)]
    pub fn is_below(&self, x: f32) -> bool {
        x > self.largest.x || self.largest.class == usize::MAX
    }

    /// Makes all sums relative to a larger logit, which is not among the columns. Gives the
    /// exponential of the one that was the largest, which now counts like all others.
    #[inline(always)]
    pub fn raise<S: Simd>(&mut self, s: S, squash: &Squash, to: Largest) -> f32 {
        let from = std::mem::replace(&mut self.largest, to);
        if from.class == usize::MAX {
            return 0.0;
        }
        let e = squash.exponential(s, self.reference).of(s, from.y);
        let by = f64::from(squash.bounded(to.y)) - f64::from(squash.bounded(from.y));
        self.exp += f64::from(e);
        self.moment += self.exp * by;
        self.distance += self.mass * by;
        self.target += self.has_target * by;
        e
    }

    /// Makes the exponentials relative to another reference.
    #[inline(always)]
    pub fn refer(&mut self, reference: f32) {
        if self.reference != reference {
            let power = power_of_2(self.reference - reference);
            self.exp *= power;
            self.moment *= power;
            self.reference = reference;
        }
    }

    /// Both, of which `other` are the later columns.
    #[inline(always)]
    pub fn plus<S: Simd>(mut self, s: S, squash: &Squash, mut other: Partial) -> Partial {
        let reference =
            if other.reference > self.reference { other.reference } else { self.reference };
        if self.is_below(other.largest.x) {
            self.raise(s, squash, other.largest);
        } else {
            other.raise(s, squash, self.largest);
        }
        self.refer(reference);
        other.refer(reference);
        Partial {
            exp: self.exp + other.exp,
            moment: self.moment + other.moment,
            distance: self.distance + other.distance,
            mass: self.mass + other.mass,
            target: self.target + other.target,
            has_target: self.has_target + other.has_target,
            ..self
        }
    }
}

/// 2^exponent of an integer of at most 0; 0 where that would not be a normal number.
fn power_of_2(exponent: f32) -> f64 {
    f64::from_bits(((exponent.max(-1023.0) as i64 + 1023) << 52) as u64)
}
