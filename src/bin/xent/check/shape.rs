//! What the logits of a row look like: ordinary, or hard in some way.

use std::fmt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xent::DType;

use crate::case::{Case, Target, normal, round};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As of a network that is not trained yet.
    Small,
    Normal,
    /// All classes are equal, so that all rounding errors of a sum point the same way.
    Flat,
    /// The target is far ahead: the loss is tiny, and must not become 0.
    Confident,
    /// Few different values; the first of the largest wins.
    Tied,
    /// Far from 0, a little apart.
    Offset,
    /// Most probabilities are tiny or none.
    Wide,
    /// Whole stretches of -inf.
    Masked,
    /// As far as f16 goes, on both sides.
    Extreme,
    /// A NaN in one row, which no other row may notice.
    Poisoned,
}

impl Shape {
    pub const ALL: [Shape; 10] = [
        Shape::Normal,
        Shape::Confident,
        Shape::Masked,
        Shape::Offset,
        Shape::Tied,
        Shape::Wide,
        Shape::Flat,
        Shape::Small,
        Shape::Extreme,
        Shape::Poisoned,
    ];

    /// Sets the logits of a case. Those of ignored rows become NaN, which nobody may read.
    pub fn fill(self, case: &mut Case, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (problem, classes) = (&case.problem, case.problem.classes);
        let far = if problem.logits == DType::F16 { 3e4 } else { 1e8 };
        for (row, x) in case.logits.chunks_mut(classes).enumerate() {
            let target = match &case.target {
                Target::Classes(y) if problem.ignore_index == Some(y[row]) => {
                    x.fill(f64::NAN);
                    continue;
                }
                Target::Classes(y) => y[row] as usize,
                Target::Probabilities(_) => rng.random_range(0..classes),
            };
            let ahead = rng.random_range(8.0..40.0);
            let width = rng.random_range(1..=classes);
            let visible = rng.random_range(0..=classes - width)..;
            let noise = normal(rng.random(), classes, 1.0);
            for (class, (x, noise)) in x.iter_mut().zip(noise).enumerate() {
                let value = match self {
                    Shape::Small => noise / 50.0,
                    Shape::Normal | Shape::Poisoned => 3.0 * noise,
                    Shape::Flat => 0.7,
                    Shape::Confident if class == target => ahead + 4.0,
                    Shape::Confident => noise,
                    Shape::Tied => noise.round(),
                    Shape::Offset => far + (3.0 * noise).round() * far / 3e7,
                    Shape::Wide => 30.0 * noise,
                    Shape::Masked if visible.contains(&class) && class < visible.start + width => {
                        3.0 * noise
                    }
                    Shape::Masked => f64::NEG_INFINITY * problem.logit_scale.signum(),
                    Shape::Extreme => 65_504f64.copysign(noise),
                };
                *x = round(value, problem.logits);
            }
        }
        if self == Shape::Poisoned {
            let at = (case.rows / 2) * classes + rng.random_range(0..classes);
            case.logits[at] = f64::NAN;
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::Small => "small logits",
            Shape::Normal => "normal logits",
            Shape::Flat => "equal logits",
            Shape::Confident => "confident rows",
            Shape::Tied => "ties",
            Shape::Offset => "far from 0",
            Shape::Wide => "tiny probabilities",
            Shape::Masked => "stretches of -inf",
            Shape::Extreme => "extreme logits",
            Shape::Poisoned => "a NaN",
        })
    }
}
