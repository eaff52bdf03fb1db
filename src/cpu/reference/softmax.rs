//! The softmax, its logarithm, and how they turn an upstream gradient back.

use super::{Results, times};
use crate::{Operation, Problem};

/// The softmax of one row of z.
pub(super) struct Softmax {
    /// max z.
    pub max: f64,
    /// z - max z.
    pub t: Vec<f64>,
    /// The sum of exp(t) without one maximum: -log p = log1p(s) - t.
    pub s: f64,
    /// exp(t) / (1 + s).
    pub p: Vec<f64>,
}

impl Softmax {
    /// From z and where it is largest; `None` where there is none: of a NaN, +inf, or nothing but
    /// -inf.
    pub fn of(z: &[f64], at: usize) -> Option<Softmax> {
        let max = z[at];
        if !max.is_finite() || z.iter().any(|z| z.is_nan()) {
            return None;
        }
        let t: Vec<f64> = z.iter().map(|z| z - max).collect();
        let s: f64 = (0..z.len()).filter(|&c| c != at).map(|c| t[c].exp()).sum();
        let p = t.iter().map(|t| t.exp() / (1.0 + s)).collect();
        Some(Softmax { max, t, s, p })
    }

    /// log(sum(exp(z))).
    pub fn lse(&self) -> f64 {
        self.max + self.s.ln_1p()
    }
}

pub(super) fn first_largest(x: &[f64]) -> usize {
    (0..x.len()).fold(0, |best, c| if x[c] > x[best] { c } else { best })
}

/// Logits in the order of their z, which may be equal where they are not.
pub(super) fn oriented(problem: &Problem, logits: &[f64]) -> Vec<f64> {
    logits.iter().map(|x| problem.logit_scale.signum() * x).collect()
}

/// Computes the output.
pub(super) fn compute(problem: &Problem, logits: &[f64]) -> Results {
    let mut results = Results::default();
    for logits in logits.chunks_exact(problem.classes) {
        let z: Vec<f64> = logits.iter().map(|x| problem.logit_scale * x).collect();
        results.output.extend(match Softmax::of(&z, first_largest(&z)) {
            None => vec![f64::NAN; z.len()],
            Some(softmax) if problem.operation == Operation::Softmax => softmax.p,
            Some(Softmax { t, s, .. }) => t.iter().map(|t| t - s.ln_1p()).collect(),
        });
    }
    results
}

/// k y (g - sum(g y)) of a softmax y, k (g - exp(y) sum(g)) of its logarithm.
pub(super) fn backward(problem: &Problem, output: &[f64], doutput: &[f64]) -> Vec<f64> {
    let (classes, scale) = (problem.classes, problem.logit_scale);
    let mut dlogits = Vec::new();
    for (y, g) in output.chunks_exact(classes).zip(doutput.chunks_exact(classes)) {
        let is_softmax = problem.operation == Operation::Softmax;
        let sum: f64 = match is_softmax {
            true => y.iter().zip(g).map(|(y, g)| times(*y, *g)).sum(),
            false => g.iter().sum(),
        };
        dlogits.extend(y.iter().zip(g).map(|(y, g)| match is_softmax {
            true => scale * times(*y, g - sum),
            false => scale * (g - times(y.exp(), sum)),
        }));
    }
    dlogits
}
