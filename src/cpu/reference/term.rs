//! What one element of a row adds to the loss, in nats and without its weight.

use super::times;
use crate::{Clip, Form, Operation, Problem};

/// A part of a loss, and its derivative with respect to the input.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Term {
    pub loss: f64,
    pub gradient: f64,
}

impl Term {
    pub fn weighted(self, w: f64) -> Term {
        Term { loss: times(w, self.loss), gradient: times(w, self.gradient) }
    }
}

/// A probability and its complement, neither of which has cancelled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub p: f64,
    pub not_p: f64,
}

impl Share {
    pub fn of(p: f64) -> Share {
        Share { p, not_p: 1.0 - p }
    }

    fn complement(self) -> Share {
        Share { p: self.not_p, not_p: self.p }
    }

    pub fn ln(self) -> f64 {
        if self.p > 0.5 { (-self.not_p).ln_1p() } else { self.p.ln() }
    }
}

/// The logarithm of a clipped probability.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logarithm {
    /// Of this.
    pub of: f64,
    pub value: f64,
    /// Whether it follows the probability.
    pub follows: bool,
}

impl Logarithm {
    pub fn clipped(clip: Clip, share: Share) -> Logarithm {
        let Share { p, not_p } = share;
        let plain = Logarithm { of: p, value: share.ln(), follows: true };
        let constant = |of: f64, value: f64| Logarithm { of, value, follows: false };
        match clip {
            Clip::Range(e) | Clip::Lower(e) if p < e => constant(e, e.ln()),
            Clip::Range(e) if not_p < e => constant(1.0 - e, (-e).ln_1p()),
            Clip::Logarithm(b) if plain.value < -b => constant((-b).exp(), -b),
            Clip::Add(e) => {
                let more = Share { p: p + e, not_p: not_p - e };
                Logarithm { of: more.p, value: more.ln(), follows: true }
            }
            _ => plain,
        }
    }

    /// The derivative.
    pub fn slope(&self) -> f64 {
        if self.follows { 1.0 / self.of } else { 0.0 }
    }
}

/// The term of an element with a target, smoothed, and a weight v of its positive part.
pub(super) fn term(problem: &Problem, x: f64, target: f64, v: f64) -> Term {
    match (problem.operation, problem.input) {
        (Operation::CrossEntropy, Form::LogProbabilities) => {
            Term { loss: times(target, -x), gradient: -target }
        }
        (Operation::CrossEntropy, _) => {
            let log = Logarithm::clipped(problem.clip, Share::of(x));
            Term { loss: times(target, -log.value), gradient: times(target, -log.slope()) }
        }
        (Operation::BinaryCrossEntropy, Form::Logits) => binary_of_logits(x, target, v),
        (Operation::BinaryCrossEntropy, _) => binary(problem.clip, x, target, v),
        (Operation::KlDivergence, _) => divergence(problem, x, target),
        (Operation::Entropy, Form::LogProbabilities) => {
            Term { loss: times(x.exp(), -x), gradient: times(x.exp(), -(x + 1.0)) }
        }
        (Operation::Entropy, _) => {
            let log = Share::of(x).ln();
            Term { loss: times(x, -log), gradient: -(log + 1.0) }
        }
        (Operation::Softmax | Operation::LogSoftmax, _) => unreachable!("a softmax has no loss"),
    }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// (1 - t) softplus(x) + v t softplus(-x).
fn binary_of_logits(x: f64, t: f64, v: f64) -> Term {
    let positive = times(v, t);
    Term {
        loss: times(1.0 - t, softplus(x)) + times(positive, softplus(-x)),
        gradient: times(1.0 - t, sigmoid(x)) - times(positive, sigmoid(-x)),
    }
}

/// -v t log p - (1 - t) log(1 - p).
fn binary(clip: Clip, p: f64, t: f64, v: f64) -> Term {
    let inside = match clip {
        Clip::Lower(e) => p.clamp(e, 1.0),
        _ => p,
    };
    let share = Share::of(inside);
    let log = Logarithm::clipped(clip, share);
    let log_not = match clip {
        Clip::Lower(_) => Logarithm::clipped(Clip::None, share.complement()),
        _ => Logarithm::clipped(clip, share.complement()),
    };
    let not_p = share.not_p;
    let positive = times(v, t);
    // (1 - t) p - v t (1 - p), which is exact where p is close to t and v is 1.
    let pull = (p - t) + times(1.0 - v, t) * not_p;
    let gradient = match clip {
        Clip::Logarithm(_) => pull / (p * not_p).max(1e-12),
        Clip::Add(_) => times(1.0 - t, log_not.slope()) - times(positive, log.slope()),
        _ if !log.follows || p < inside || p > inside => 0.0,
        _ if p > 0.0 && not_p > 0.0 => pull / p / not_p,
        _ => times(1.0 - t, log_not.slope()) - times(positive, log.slope()),
    };
    Term { loss: times(positive, -log.value) + times(1.0 - t, -log_not.value), gradient }
}

/// q (log q - log p).
fn divergence(problem: &Problem, x: f64, target: f64) -> Term {
    let (q, log_q) = match problem.log_targets {
        true => (target.exp(), target),
        false => (target, Share::of(target).ln()),
    };
    let (log_p, slope, log_ratio) = match problem.input {
        Form::LogProbabilities => (x, 1.0, log_q - x),
        _ => {
            let log = Logarithm::clipped(problem.clip, Share::of(x));
            let off = (q - log.of) / log.of;
            let is_close = off.abs() < 0.5 && !problem.log_targets;
            let log_ratio = if is_close { off.ln_1p() } else { log_q - log.value };
            (log.value, log.slope(), log_ratio)
        }
    };
    let loss = if q == 0.0 { times(q, -log_p) } else { times(q, log_ratio) };
    Term { loss, gradient: times(q, -slope) }
}
