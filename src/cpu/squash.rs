//! From logits x to z = k x or z = c tanh(k x / c), relative to the largest z of the row.

use super::old_math;
use crate::Problem;

/// The function from a logit to z. It increases in sign(k) x, which is what kernels work on: the
/// largest z then belongs to the largest x.
#[derive(Clone, Copy, Debug)]
pub(super) struct Squash {
    scale: f64,
    cap: Option<f64>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Identity,
    Scale,
    Cap,
}

/// The element of a row that all others are compared with: its largest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    /// sign(k) x.
    pub x: f32,
    /// z.
    pub z: f64,
}

impl Squash {
    pub fn new(problem: &Problem) -> Self {
        let kind = match problem.softcap {
            Some(_) => Kind::Cap,
            None if problem.logit_scale == 1.0 => Kind::Identity,
            None => Kind::Scale,
        };
        Squash { scale: problem.logit_scale, cap: problem.softcap, kind }
    }

    /// sign(k) x, and back.
    pub fn orient(&self, x: f32) -> f32 {
        if self.scale < 0.0 { -x } else { x }
    }

    /// The same for a chunk.
    pub fn orient_all(&self, x: &mut [f32]) {
        if self.scale < 0.0 {
            x.iter_mut().for_each(|x| *x = -*x);
        }
    }

    /// The reference for a row whose largest oriented logit is `x`.
    pub fn reference(&self, x: f32) -> Reference {
        Reference { x, z: self.z(x) }
    }

    fn z(&self, x: f32) -> f64 {
        let (scale, x) = (self.scale.abs(), f64::from(x));
        match self.cap {
            Some(cap) => cap * old_math::tanh(x * (scale / cap)).0,
            None => x * scale,
        }
    }

    /// Replaces oriented logits by t = z - z(reference) <= 0, rounded once. With a cap, `slope`
    /// becomes dz/dx; without, the slope is [`Squash::constant_slope`].
    pub fn distances(&self, x: &mut [f32], slope: &mut [f32], reference: Reference) {
        let magnitude = self.scale.abs();
        match (self.kind, self.cap) {
            (Kind::Identity, _) => x.iter_mut().for_each(|x| *x -= reference.x),
            (Kind::Cap, Some(cap)) => {
                let inner = magnitude / cap;
                for (x, slope) in x.iter_mut().zip(slope) {
                    let (tanh, derivative) = old_math::tanh(f64::from(*x) * inner);
                    *x = (cap * tanh - reference.z) as f32;
                    *slope = (self.scale * derivative) as f32;
                }
            }
            _ => {
                let largest = f64::from(reference.x);
                for x in x.iter_mut() {
                    *x = ((f64::from(*x) - largest) * magnitude) as f32;
                }
            }
        }
    }

    /// dz/dx where it is the same for every logit; 1 where [`Squash::distances`] gives it.
    pub fn constant_slope(&self) -> f64 {
        if self.kind == Kind::Cap { 1.0 } else { self.scale }
    }

    /// Whether [`Squash::distances`] gives the slope.
    pub fn has_slopes(&self) -> bool {
        self.kind == Kind::Cap
    }

    /// Whether the softmax of a row with this largest oriented logit is defined.
    pub fn is_defined_for(&self, largest: f32) -> bool {
        self.kind == Kind::Cap || largest.is_finite()
    }
}
