//! From logits x to z = k x or z = c tanh(k x / c).
//!
//! Kernels work on sign(k) x, which z increases with: the largest z belongs to the largest x. What they
//! take exponentials of is y, an `f32` that z is a multiple of.

use std::f64::consts::LOG2_E;
use std::slice;

use super::chunk;
use super::math::{Exponential, Factor, MAX_ABOVE, MAX_EXPONENT, ROUND, SoftCap};
use super::simd::{LANES, Lanes, Simd, Vectorised};
use crate::Problem;

/// The function from x to y, and from y to z.
#[derive(Clone, Copy, Debug)]
pub(super) struct Squash {
    /// k.
    scale: f64,
    cap: Option<Cap>,
    /// A power of 2 that x is multiplied by, so that other factors are ordinary `f32`; mostly 1.
    power: f32,
    /// z / y.
    pub unit: f64,
    /// log2(exp(z)) / y.
    factor: Factor,
    /// The largest |y| that exponentials can be taken of.
    limit: f32,
}

/// The exponent of the largest slope that there may be: times what exponentials may be, it is finite.
const STEEPEST: i32 = 30;

#[derive(Clone, Copy, Debug)]
struct Cap {
    cap: f32,
    /// 2 |k| / c log2(e), over the power.
    factor: Factor,
    /// What slopes are multiplied by, a power of 2 up to |k|: small ones of a large k are normal then.
    steepest: f32,
}

impl Squash {
    pub fn new(problem: &Problem) -> Self {
        const ORDINARY: std::ops::Range<f64> = 1e-18..1e18;
        let scale = problem.logit_scale;
        let steepness = scale.abs() / problem.softcap.unwrap_or(1.0);
        let power = match ORDINARY.contains(&steepness) {
            true => 1.0,
            false => 2f64.powi((steepness.log2().floor() as i32).clamp(-149, 127)),
        };
        let cap = problem.softcap.map(|cap| Cap {
            cap: cap as f32,
            factor: Factor::new(2.0 * LOG2_E * steepness / power),
            steepest: 2f64.powi((scale.abs().log2() as i32).clamp(0, STEEPEST)) as f32,
        });
        let unit = if cap.is_some() { 1.0 } else { steepness / power };
        let factor = Factor::new(unit * LOG2_E);
        let limit = MAX_EXPONENT / factor.high;
        Squash { scale, cap, power: power as f32, unit, factor, limit }
    }

    /// sign(k) x, and back.
    pub fn orient(&self, x: f32) -> f32 {
        if self.flips() { -x } else { x }
    }

    /// Whether k < 0.
    pub fn flips(&self) -> bool {
        self.scale < 0.0
    }

    /// Whether y is x for a shift of 0.
    pub fn is_plain(&self) -> bool {
        self.cap.is_none() && self.power == 1.0
    }

    /// Whether y is the logit itself.
    pub fn is_identity(&self, shift: f32) -> bool {
        shift == 0.0 && self.is_plain() && !self.flips()
    }

    /// Replaces oriented x by y less a shift, and with a cap writes dz/dx over
    /// [`Squash::constant_slope`].
    #[inline(always)]
    pub fn apply<S: Simd>(&self, s: S, shift: f32, x: &mut [Lanes], slope: &mut [Lanes]) {
        s.call(Apply { squash: self, shift, x, slope });
    }

    /// z of one oriented x.
    #[inline(always)]
    pub fn z<S: Simd>(&self, s: S, x: f32) -> f64 {
        self.z_of(x, if self.has_slopes() { self.y(s, x) } else { x })
    }

    /// z of one oriented x whose y, with a shift of 0, is known.
    #[inline(always)]
    pub fn z_of(&self, x: f32, y: f32) -> f64 {
        if self.has_slopes() { y.into() } else { f64::from(x) * self.scale.abs() }
    }

    /// y of one oriented x, with a shift of 0.
    #[inline(always)]
    fn y<S: Simd>(&self, s: S, x: f32) -> f32 {
        if self.cap.is_none() {
            return x * self.power;
        }
        let mut y = Lanes([x; LANES]);
        self.apply(s, 0.0, slice::from_mut(&mut y), &mut [Lanes([0.0; LANES])]);
        y.0[0]
    }

    /// What has to be subtracted in a row with this largest oriented x, and the largest y then. It
    /// is 0, but for rows so far from 0 that exponentials cannot be taken: there it is the largest
    /// one, and the differences are exact where they matter.
    #[inline(always)]
    pub fn anchor<S: Simd>(&self, s: S, x: f32) -> (f32, f32) {
        match self.y(s, x) {
            y if self.takes(y) => (0.0, y),
            y => (if self.has_slopes() { y } else { x }, 0.0),
        }
    }

    /// Whether exponentials can be taken of this y.
    pub fn takes(&self, y: f32) -> bool {
        y.abs() <= self.limit
    }

    /// y, but not so far below 0 that exponentials could not be taken.
    pub fn bounded(&self, y: f32) -> f32 {
        if y >= -self.limit { y } else { -self.limit }
    }

    /// e^z / 2^reference as a function of y.
    #[inline(always)]
    pub fn exponential<S: Simd>(&self, s: S, reference: f32) -> Exponential<S> {
        Exponential::new(s, self.factor, reference)
    }

    /// The reference for rows with this largest y: a multiple of [`MAX_ABOVE`], so that exponentials have
    /// the same bits for any other such reference but for the exponent.
    #[inline(always)]
    pub fn reference(&self, y: f32) -> f32 {
        let exponent = (y * self.factor.high).clamp(-MAX_EXPONENT, MAX_EXPONENT);
        (exponent / MAX_ABOVE + ROUND - ROUND) * MAX_ABOVE
    }

    /// Whether exponentials can be taken of this y relative to a reference.
    #[inline(always)]
    pub fn reaches(&self, y: f32, reference: f32) -> bool {
        y * self.factor.high <= reference + MAX_ABOVE
    }

    /// dz/dx, or that over what [`Squash::apply`] gives.
    pub fn constant_slope(&self) -> f64 {
        self.scale / self.cap.map_or(1.0, |cap| cap.steepest.into())
    }

    /// Whether dz/dx differs between logits.
    pub fn has_slopes(&self) -> bool {
        self.cap.is_some()
    }

    /// Whether the softmax of a row with this largest oriented logit is defined.
    pub fn is_defined_for(&self, largest: f32) -> bool {
        self.has_slopes() || largest.is_finite()
    }
}

/// [`Squash::apply`].
struct Apply<'a> {
    squash: &'a Squash,
    shift: f32,
    x: &'a mut [Lanes],
    slope: &'a mut [Lanes],
}

impl Vectorised for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Apply { squash, shift, x, slope } = self;
        let Some(Cap { cap, factor, steepest }) = squash.cap else {
            let (shift, power) = (s.splat(shift), s.splat(squash.power));
            for lanes in x {
                let mut block = s.load(&lanes.0);
                for v in block.as_mut() {
                    *v = s.mul(s.sub(*v, shift), power);
                }
                s.store(block, &mut lanes.0);
            }
            return;
        };
        if squash.power != 1.0 {
            chunk::scale(s, squash.power, x);
        }
        let (shift, softcap) = (s.splat(shift), SoftCap::new(s, factor, cap, steepest));
        for (lanes, slope) in x.iter_mut().zip(slope) {
            let (mut z, derivative) = softcap.block(s, s.load(&lanes.0));
            for v in z.as_mut() {
                *v = s.sub(*v, shift);
            }
            s.store(z, &mut lanes.0);
            s.store(derivative, &mut slope.0);
        }
    }
}
