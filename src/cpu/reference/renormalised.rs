//! The cross entropy of probabilities that are divided by their sum.

use super::softmax::first_largest;
use super::term::{Logarithm, Share, Term};
use super::times;
use crate::{Problem, Renormalise};

/// The terms of a row of probabilities with weighted targets u.
pub(super) fn terms(problem: &Problem, p: &[f64], u: &[f64]) -> Vec<Term> {
    match problem.renormalise {
        Renormalise::AfterClip => after_clip(problem, p, u),
        _ => before_clip(problem, p, u),
    }
}

/// What each is of the sum, and the sum.
fn shares(p: &[f64]) -> (Vec<Share>, f64) {
    let at = first_largest(p);
    let rest: f64 = (0..p.len()).filter(|&c| c != at).map(|c| p[c]).sum();
    let sum = rest + p[at];
    let others = |c: usize| if c == at { rest } else { sum - p[c] };
    ((0..p.len()).map(|c| Share { p: p[c] / sum, not_p: others(c) / sum }).collect(), sum)
}

/// sum(u (-log r)) for r = p / S. With e = dlog(r) / dlog(p), the gradient is
/// (sum(u e) - u e / r) / S.
fn before_clip(problem: &Problem, p: &[f64], u: &[f64]) -> Vec<Term> {
    let (shares, sum) = shares(p);
    let logs: Vec<_> =
        shares.iter().map(|share| Logarithm::clipped(problem.clip, *share)).collect();
    let pulls: Vec<f64> = (0..p.len())
        .map(|c| match logs[c] {
            Logarithm { follows: false, .. } => 0.0,
            log if log.of == shares[c].p => u[c],
            log => times(u[c], shares[c].p / log.of),
        })
        .collect();
    let all: f64 = pulls.iter().sum();
    (0..p.len())
        .map(|c| Term {
            loss: times(u[c], -logs[c].value),
            // 1 / r - 1 = (1 - r) / r, which does not cancel.
            gradient: ((all - pulls[c]) - times(times(u[c], shares[c].not_p), logs[c].slope()))
                / sum,
        })
        .collect()
}

/// sum(u (-log(c / S))) for clipped c and their sum S. Where c follows p, the gradient is
/// sum(u) / S - u / c.
fn after_clip(problem: &Problem, p: &[f64], u: &[f64]) -> Vec<Term> {
    let logs: Vec<_> = p.iter().map(|&p| Logarithm::clipped(problem.clip, Share::of(p))).collect();
    let clipped: Vec<f64> = logs.iter().map(|log| log.of).collect();
    let (shares, sum) = shares(&clipped);
    let all: f64 = u.iter().sum();
    let gradient = |c: usize| match logs[c].follows {
        true => (all - u[c]) / sum - times(times(u[c], shares[c].not_p), logs[c].slope()),
        false => 0.0,
    };
    (0..p.len())
        .map(|c| Term { loss: times(u[c], -shares[c].ln()), gradient: gradient(c) })
        .collect()
}
