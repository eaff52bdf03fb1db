//! The losses that are sums over elements, and their derivatives: one [`Term`] each.
//!
//! An element has a number x, its target t, and in a binary cross entropy the weight v of the positive
//! part. What it is multiplied by afterwards, a term does not know. In all of this 0 times infinity is
//! 0, and a NaN stays one.

use super::math::exp;
use super::math::log::{ln, log1p};
use super::simd::Simd;
use crate::{Clip, Form, Operation, Problem};

/// The loss of an element and its derivative by x.
pub(super) trait Term: Copy + Sync {
    fn at<S: Simd>(&self, s: S, x: S::V, t: S::V, v: S::V) -> (S::V, S::V);
}

/// The surprisal -log p of an element and its derivative by x.
pub(super) trait Surprisal: Copy + Sync {
    fn at<S: Simd>(&self, s: S, x: S::V) -> (S::V, S::V);
}

/// a b, where 0 times infinity is 0.
#[inline(always)]
pub(super) fn product<S: Simd>(s: S, a: S::V, b: S::V) -> S::V {
    let product = s.mul(a, b);
    let zero_or_nan = s.if_equal(a, a, s.if_equal(b, b, s.splat(0.0), product), product);
    s.if_equal(product, product, product, zero_or_nan)
}

/// x is log p.
#[derive(Clone, Copy)]
pub(super) struct OfLogarithm;

impl Surprisal for OfLogarithm {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V) -> (S::V, S::V) {
        (negate(s, x), s.splat(-1.0))
    }
}

/// x is p, of which the logarithm is clipped: it is that of p from `low` to `high`, and a number of its
/// own on either side.
#[derive(Clone, Copy)]
pub(crate) struct OfProbability {
    /// The smallest and the largest `f32` that is not clipped.
    pub low: f32,
    pub high: f32,
    /// The surprisals below and above.
    pub below: f32,
    pub above: f32,
}

impl OfProbability {
    pub fn new(clip: Clip) -> Self {
        let surprisal = |p: f64| -p.ln() as f32;
        let unclipped = OfProbability {
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
            below: f32::INFINITY,
            above: f32::NEG_INFINITY,
        };
        match clip {
            Clip::None | Clip::Add(_) => unclipped,
            Clip::Lower(e) => OfProbability { low: at_least(e), below: surprisal(e), ..unclipped },
            Clip::Range(e) => OfProbability {
                low: at_least(e),
                // 1 is clipped, however small e is.
                high: at_most((1.0 - e).min(1.0f64.next_down())),
                below: surprisal(e),
                above: -(-e).ln_1p() as f32,
            },
            Clip::Logarithm(b) => {
                OfProbability { low: at_least((-b).exp()), below: b as f32, ..unclipped }
            }
        }
    }

    /// `inside` where x is not clipped, else another number.
    #[inline(always)]
    pub fn select<S: Simd>(&self, s: S, x: S::V, inside: S::V, below: S::V, above: S::V) -> S::V {
        let clipped = s.if_less(x, s.splat(self.low), below, inside);
        s.if_less(s.splat(self.high), x, above, clipped)
    }
}

impl Surprisal for OfProbability {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V) -> (S::V, S::V) {
        let zero = s.splat(0.0);
        let (surprisal, slope) =
            (negate(s, ln(s, x)), s.div(s.splat(-1.0), magnitude_of_zero(s, x)));
        (
            self.select(s, x, surprisal, s.splat(self.below), s.splat(self.above)),
            self.select(s, x, slope, zero, zero),
        )
    }
}

/// x is p, and the logarithm at least -b.
#[derive(Clone, Copy)]
pub(super) struct OfFloored {
    pub bound: f32,
}

impl Surprisal for OfFloored {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V) -> (S::V, S::V) {
        let bound = s.splat(self.bound);
        let surprisal = negate(s, ln(s, x));
        let slope = s.div(s.splat(-1.0), magnitude_of_zero(s, x));
        let clipped = s.if_less(bound, surprisal, s.splat(0.0), slope);
        (s.if_less(bound, surprisal, bound, surprisal), clipped)
    }
}

/// x is p, and the logarithm is that of p + e.
#[derive(Clone, Copy)]
pub(super) struct OfSum {
    pub epsilon: f32,
}

impl Surprisal for OfSum {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V) -> (S::V, S::V) {
        let sum = s.add(x, s.splat(self.epsilon));
        (negate(s, ln(s, sum)), s.div(s.splat(-1.0), magnitude_of_zero(s, sum)))
    }
}

/// t l for a surprisal l.
#[derive(Clone, Copy)]
pub(super) struct CrossEntropy<L>(pub L);

impl<L: Surprisal> Term for CrossEntropy<L> {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V, t: S::V, _: S::V) -> (S::V, S::V) {
        let (surprisal, slope) = self.0.at(s, x);
        (product(s, t, surprisal), product(s, t, slope))
    }
}

/// q (log q + l) for a surprisal l and q = t, or log q = t.
#[derive(Clone, Copy)]
pub(super) struct Divergence<L> {
    pub of: L,
    pub log_targets: bool,
}

impl<L: Surprisal> Term for Divergence<L> {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V, t: S::V, _: S::V) -> (S::V, S::V) {
        let (surprisal, slope) = self.of.at(s, x);
        let (q, log_q) = if self.log_targets { (exp(s, t), t) } else { (t, ln(s, t)) };
        let sum = s.if_equal(q, s.splat(0.0), surprisal, s.add(log_q, surprisal));
        (product(s, q, sum), product(s, q, slope))
    }
}

/// p l, where x is p.
#[derive(Clone, Copy)]
pub(super) struct EntropyOfProbability;

impl Term for EntropyOfProbability {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V, _: S::V, _: S::V) -> (S::V, S::V) {
        let surprisal = negate(s, ln(s, x));
        (product(s, x, surprisal), s.sub(surprisal, s.splat(1.0)))
    }
}

/// p l, where x is log p.
#[derive(Clone, Copy)]
pub(super) struct EntropyOfLogarithm;

impl Term for EntropyOfLogarithm {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V, _: S::V, _: S::V) -> (S::V, S::V) {
        let (p, surprisal) = (exp(s, x), negate(s, x));
        (product(s, p, surprisal), product(s, p, s.sub(surprisal, s.splat(1.0))))
    }
}

/// Targets of a binary cross entropy under label smoothing.
#[derive(Clone, Copy)]
pub(super) struct Labels {
    keep: f32,
    share: f32,
}

impl Labels {
    pub fn new(smoothing: f64) -> Self {
        Labels { keep: (1.0 - smoothing) as f32, share: (0.5 * smoothing) as f32 }
    }

    /// 1 - t and t, both smoothed: the one is not what rounding left of the other.
    #[inline(always)]
    fn of<S: Simd>(&self, s: S, t: S::V, v: S::V) -> (S::V, S::V) {
        let (keep, share) = (s.splat(self.keep), s.splat(self.share));
        let negative = s.mul_add(s.sub(s.splat(1.0), t), keep, share);
        (negative, s.mul(v, s.mul_add(t, keep, share)))
    }
}

/// (1 - t) softplus(x) + v t softplus(-x).
#[derive(Clone, Copy)]
pub(super) struct BinaryOfLogit(Labels);

impl Term for BinaryOfLogit {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V, t: S::V, v: S::V) -> (S::V, S::V) {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        // A NaN is the second one, so that it stays.
        let (above, below) = (s.max(zero, x), s.max(zero, negate(s, x)));
        let e = exp(s, s.copysign(x, s.splat(-1.0)));
        let rest = log1p(s, e);
        let (large, small) = (s.div(one, s.add(one, e)), s.div(e, s.add(one, e)));
        let (of_x, of_minus_x) =
            (s.if_less(x, zero, small, large), s.if_less(x, zero, large, small));
        let (negative, positive) = self.0.of(s, t, v);
        let loss = s.add(
            product(s, negative, s.add(above, rest)),
            product(s, positive, s.add(below, rest)),
        );
        (loss, s.sub(s.mul(negative, of_x), s.mul(positive, of_minus_x)))
    }
}

/// v t l(p) + (1 - t) l(1 - p), where x is p, clipped to an interval.
#[derive(Clone, Copy)]
pub(super) struct BinaryOfProbability {
    labels: Labels,
    /// Of p, and what l(1 - p) is on either side.
    of: OfProbability,
    rest_below: f32,
    rest_above: f32,
}

impl BinaryOfProbability {
    pub fn new(labels: Labels, clip: Clip) -> Self {
        let of = OfProbability::new(clip);
        match clip {
            Clip::Range(e) => BinaryOfProbability {
                labels,
                of,
                rest_below: -(-e).ln_1p() as f32,
                rest_above: -e.ln() as f32,
            },
            Clip::Lower(e) => BinaryOfProbability {
                labels,
                of: OfProbability { high: 1.0, above: 0.0, ..of },
                rest_below: -(-e).ln_1p() as f32,
                rest_above: f32::INFINITY,
            },
            _ => BinaryOfProbability { labels, of, rest_below: f32::NAN, rest_above: f32::NAN },
        }
    }
}

impl Term for BinaryOfProbability {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V, t: S::V, v: S::V) -> (S::V, S::V) {
        let (zero, of) = (s.splat(0.0), &self.of);
        let (surprisal, slope) = of.at(s, x);
        let (rest, rest_slope) = of_rest(s, x);
        let rest = of.select(s, x, rest, s.splat(self.rest_below), s.splat(self.rest_above));
        let rest_slope = of.select(s, x, rest_slope, zero, zero);
        let (negative, positive) = self.labels.of(s, t, v);
        (
            s.add(product(s, positive, surprisal), product(s, negative, rest)),
            s.add(product(s, positive, slope), product(s, negative, rest_slope)),
        )
    }
}

/// The same with logarithms of at least -b, each for itself, and the derivative that PyTorch has.
#[derive(Clone, Copy)]
pub(super) struct BinaryOfFloored {
    labels: Labels,
    of: OfFloored,
}

impl Term for BinaryOfFloored {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V, t: S::V, v: S::V) -> (S::V, S::V) {
        const SMALLEST: f32 = 1e-12;
        let one = s.splat(1.0);
        let (surprisal, _) = self.of.at(s, x);
        let (rest, _) = of_rest(s, x);
        let bound = s.splat(self.of.bound);
        let rest = s.if_less(bound, rest, bound, rest);
        let (negative, positive) = self.labels.of(s, t, v);
        let loss = s.add(product(s, positive, surprisal), product(s, negative, rest));
        let not_x = s.sub(one, x);
        let variance = s.mul(x, not_x);
        let variance = s.if_less(variance, s.splat(SMALLEST), s.splat(SMALLEST), variance);
        let slope = s.sub(s.mul(negative, x), s.mul(positive, not_x));
        (loss, s.div(slope, variance))
    }
}

/// -v t log(p + e) - (1 - t) log(1 - p + e), where x is p.
#[derive(Clone, Copy)]
pub(super) struct BinaryOfSum {
    labels: Labels,
    of: OfSum,
}

impl Term for BinaryOfSum {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, x: S::V, t: S::V, v: S::V) -> (S::V, S::V) {
        let one = s.splat(1.0);
        let (surprisal, slope) = self.of.at(s, x);
        // 1 - p is exact above 1/2; below, the logarithm must not lose a small p.
        let epsilon = s.splat(self.of.epsilon);
        let sum = s.add(s.sub(one, x), epsilon);
        let (large, small) = (ln(s, sum), log1p(s, s.sub(epsilon, x)));
        let rest = negate(s, s.if_less(x, s.splat(0.5), small, large));
        let rest_slope = s.div(one, magnitude_of_zero(s, sum));
        let (negative, positive) = self.labels.of(s, t, v);
        (
            s.add(product(s, positive, surprisal), product(s, negative, rest)),
            s.add(product(s, positive, slope), product(s, negative, rest_slope)),
        )
    }
}

/// l(1 - p) and its derivative by p.
#[inline(always)]
fn of_rest<S: Simd>(s: S, p: S::V) -> (S::V, S::V) {
    let one = s.splat(1.0);
    let rest = negate(s, log1p(s, negate(s, p)));
    (rest, s.div(one, s.sub(one, p)))
}

#[inline(always)]
fn negate<S: Simd>(s: S, x: S::V) -> S::V {
    s.sub(s.splat(-0.0), x)
}

/// +0 for -0, else x: 1 / x is then positive.
#[inline(always)]
fn magnitude_of_zero<S: Simd>(s: S, x: S::V) -> S::V {
    s.add(x, s.splat(0.0))
}

/// The smallest `f32` that is at least x > 0.
fn at_least(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) < x { near.next_up() } else { near.max(f32::from_bits(1)) }
}

/// The largest `f32` that is at most x.
fn at_most(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) > x { near.next_down() } else { near }
}

/// Work on elements of any term.
pub(super) trait WithTerm {
    fn with<T: Term>(self, term: T);
}

/// The term of a problem: everything but the work of [`WithTerm`] is compiled once for all of them.
#[derive(Clone, Copy)]
pub(super) enum AnyTerm {
    OfLogarithm(CrossEntropy<OfLogarithm>),
    OfProbability(CrossEntropy<OfProbability>),
    OfFloored(CrossEntropy<OfFloored>),
    OfSum(CrossEntropy<OfSum>),
    DivergenceOfLogarithm(Divergence<OfLogarithm>),
    DivergenceOfProbability(Divergence<OfProbability>),
    DivergenceOfFloored(Divergence<OfFloored>),
    DivergenceOfSum(Divergence<OfSum>),
    EntropyOfLogarithm(EntropyOfLogarithm),
    EntropyOfProbability(EntropyOfProbability),
    BinaryOfLogit(BinaryOfLogit),
    BinaryOfProbability(BinaryOfProbability),
    BinaryOfFloored(BinaryOfFloored),
    BinaryOfSum(BinaryOfSum),
}

impl AnyTerm {
    pub fn new(problem: &Problem) -> Self {
        let log_targets = problem.log_targets;
        let labels = Labels::new(problem.label_smoothing);
        let floored = |bound: f64| OfFloored { bound: bound as f32 };
        let sum = |epsilon: f64| OfSum { epsilon: epsilon as f32 };
        let probability = OfProbability::new(problem.clip);
        match (problem.operation, problem.input, problem.clip) {
            (Operation::BinaryCrossEntropy, Form::Logits, _) => {
                AnyTerm::BinaryOfLogit(BinaryOfLogit(labels))
            }
            (Operation::BinaryCrossEntropy, _, Clip::Add(e)) => {
                AnyTerm::BinaryOfSum(BinaryOfSum { labels, of: sum(e) })
            }
            (Operation::BinaryCrossEntropy, _, Clip::Logarithm(bound)) => {
                AnyTerm::BinaryOfFloored(BinaryOfFloored { labels, of: floored(bound) })
            }
            (Operation::BinaryCrossEntropy, _, clip) => {
                AnyTerm::BinaryOfProbability(BinaryOfProbability::new(labels, clip))
            }
            (Operation::Entropy, Form::LogProbabilities, _) => {
                AnyTerm::EntropyOfLogarithm(EntropyOfLogarithm)
            }
            (Operation::Entropy, ..) => AnyTerm::EntropyOfProbability(EntropyOfProbability),
            (Operation::KlDivergence, Form::LogProbabilities, _) => {
                AnyTerm::DivergenceOfLogarithm(Divergence { of: OfLogarithm, log_targets })
            }
            (Operation::KlDivergence, _, Clip::Add(e)) => {
                AnyTerm::DivergenceOfSum(Divergence { of: sum(e), log_targets })
            }
            (Operation::KlDivergence, _, Clip::Logarithm(bound)) => {
                AnyTerm::DivergenceOfFloored(Divergence { of: floored(bound), log_targets })
            }
            (Operation::KlDivergence, ..) => {
                AnyTerm::DivergenceOfProbability(Divergence { of: probability, log_targets })
            }
            (_, Form::LogProbabilities, _) => AnyTerm::OfLogarithm(CrossEntropy(OfLogarithm)),
            (_, _, Clip::Add(e)) => AnyTerm::OfSum(CrossEntropy(sum(e))),
            (_, _, Clip::Logarithm(bound)) => AnyTerm::OfFloored(CrossEntropy(floored(bound))),
            _ => AnyTerm::OfProbability(CrossEntropy(probability)),
        }
    }

    #[inline(always)]
    pub fn run(self, work: impl WithTerm) {
        match self {
            AnyTerm::OfLogarithm(term) => work.with(term),
            AnyTerm::OfProbability(term) => work.with(term),
            AnyTerm::OfFloored(term) => work.with(term),
            AnyTerm::OfSum(term) => work.with(term),
            AnyTerm::DivergenceOfLogarithm(term) => work.with(term),
            AnyTerm::DivergenceOfProbability(term) => work.with(term),
            AnyTerm::DivergenceOfFloored(term) => work.with(term),
            AnyTerm::DivergenceOfSum(term) => work.with(term),
            AnyTerm::EntropyOfLogarithm(term) => work.with(term),
            AnyTerm::EntropyOfProbability(term) => work.with(term),
            AnyTerm::BinaryOfLogit(term) => work.with(term),
            AnyTerm::BinaryOfProbability(term) => work.with(term),
            AnyTerm::BinaryOfFloored(term) => work.with(term),
            AnyTerm::BinaryOfSum(term) => work.with(term),
        }
    }
}
