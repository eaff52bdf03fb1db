//! Probabilities of 0 and 1, infinities and rows without a softmax: what all operations make of them, by
//! their formulas with 0 times infinity as 0, in every type.

mod common;
mod trial;

use std::f64::consts::LN_2;

use common::{context, sized};
use trial::{Found, Trial};
use xent::{Clip, DType, Form, Outputs, Problem, Reduction};

const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;
/// The row of a trial that is special, between others.
const ROW: usize = 1;

/// Three rows of which the middle one is this one. The others are as without it.
fn run(problem: Problem, x: &[f64], targets: &[f64], upstream: &[f64]) -> Found {
    let classes = problem.classes;
    let mut trial = Trial::packed(problem, 3, 1);
    let before = trial.run(&context());
    let set = |all: &mut Vec<f64>, row: &[f64]| {
        all[ROW * classes..][..row.len()].copy_from_slice(row);
    };
    set(&mut trial.logits, x);
    set(&mut trial.upstream, upstream);
    match trial.problem.targets.is_float() {
        true => set(&mut trial.probabilities, targets),
        false => targets.iter().for_each(|&class| trial.classes[ROW] = class as i64),
    }
    let after = trial.run(&context());
    let all = |found: &Found| {
        [&found.loss, &found.output, &found.dlogits, &found.backward].map(Vec::clone)
    };
    let of_row = |(before, after): (Vec<f64>, Vec<f64>)| {
        let width = before.len() / 3;
        let row = ROW * width..(ROW + 1) * width;
        for at in (0..before.len()).filter(|at| !row.contains(at)) {
            assert_eq!(before[at].to_bits(), after[at].to_bits(), "element {at}");
        }
        after[row].to_vec()
    };
    let [loss, output, dlogits, backward] = all(&before);
    let [loss, output, dlogits, backward] = [(loss, 0), (output, 1), (dlogits, 2), (backward, 3)]
        .map(|(before, which)| of_row((before, all(&after)[which].clone())));
    Found { loss, output, dlogits, backward, stats: vec![] }
}

/// To the last bits of a type where a number is neither 0 nor infinite.
fn assert_near(what: &str, found: &[f64], expected: &[f64], dtype: DType) {
    let relative = match dtype {
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        _ => 3e-7,
    };
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let same = found == expected || found.is_nan() && expected.is_nan();
        let near = (found - expected).abs() <= relative * expected.abs() && expected.is_finite();
        assert!(same || near, "{what}, {dtype}: {found:e}, not {expected:e}");
    }
}

type Of = fn(DType, usize) -> Problem;

/// A loss of a row: the operation, the input, targets, losses and gradient.
type Row = (&'static str, Of, &'static [f64], &'static [f64], &'static [f64], &'static [f64]);

fn of_elements(problem: Problem) -> Problem {
    problem.reduction(Reduction::Elements)
}

const LOSSES: &[Row] = &[
    (
        "binary, logits",
        |dtype, classes| of_elements(Problem::bce_with_logits(dtype, classes)),
        &[INF, -INF, INF, -INF, INF, -INF],
        &[1.0, 0.0, 0.0, 1.0, 0.5, 0.5],
        &[0.0, 0.0, INF, INF, INF, INF],
        &[0.0, 0.0, 1.0, -1.0, 0.5, -0.5],
    ),
    (
        "binary",
        |dtype, classes| of_elements(Problem::bce(dtype, classes).clip(Clip::None)),
        &[1.0, 0.0, 1.0, 0.0],
        &[1.0, 0.0, 0.0, 1.0],
        &[0.0, 0.0, INF, INF],
        &[-1.0, 1.0, INF, -INF],
    ),
    (
        "binary as PyTorch's",
        |dtype, classes| of_elements(Problem::bce(dtype, classes).dlogits(DType::F32)),
        &[1.0, 0.0, 1.0, 0.0],
        &[1.0, 0.0, 0.0, 1.0],
        &[0.0, 0.0, 100.0, 100.0],
        &[0.0, 0.0, 1e12, -1e12],
    ),
    (
        "divergence of logarithms",
        |dtype, classes| of_elements(Problem::kl_div(dtype, classes)),
        &[-INF, -1.0, -INF],
        &[0.0, 0.5, 0.25],
        &[0.0, 0.5 * (1.0 - LN_2), INF],
        &[0.0, -0.5, -0.25],
    ),
    (
        "divergence",
        |dtype, classes| of_elements(Problem::kl_div(dtype, classes).input(Form::Probabilities)),
        &[0.0, 0.5, 0.0, 0.25],
        &[0.0, 0.5, 0.25, 0.0],
        &[0.0, 0.0, INF, 0.0],
        &[0.0, -1.0, -INF, 0.0],
    ),
    (
        "divergence from logarithms",
        |dtype, classes| of_elements(Problem::kl_div(dtype, classes).log_targets(true)),
        &[-INF, 0.0, -INF],
        &[-INF, 0.0, 0.0],
        &[0.0, 0.0, INF],
        &[0.0, -1.0, -1.0],
    ),
    (
        "a class of probability 0",
        Problem::cross_entropy_from_probs,
        &[0.0, 0.5, 0.5],
        &[0.0],
        &[INF],
        &[-INF, 0.0, 0.0],
    ),
    (
        "others of probability 0",
        Problem::cross_entropy_from_probs,
        &[0.0, 0.5, 0.0],
        &[1.0],
        &[LN_2],
        &[0.0, -2.0, 0.0],
    ),
    (
        "probabilities of 0 and no target there",
        |dtype, classes| Problem::cross_entropy_from_probs(dtype, classes).targets(DType::F32),
        &[0.0, 0.5, 0.5],
        &[0.0, 0.5, 0.5],
        &[LN_2],
        &[0.0, -1.0, -1.0],
    ),
    (
        "probabilities of 0 and a target there",
        |dtype, classes| Problem::cross_entropy_from_probs(dtype, classes).targets(DType::F32),
        &[0.0, 0.5, 0.5],
        &[0.25, 0.5, 0.5],
        &[INF],
        &[-INF, -1.0, -1.0],
    ),
    ("a class at -inf", Problem::nll_loss, &[-INF, -1.0], &[0.0], &[INF], &[-1.0, 0.0]),
    ("another at -inf", Problem::nll_loss, &[-INF, -1.0], &[1.0], &[1.0], &[0.0, -1.0]),
    (
        "logarithms of -inf and no target there",
        |dtype, classes| Problem::nll_loss(dtype, classes).targets(DType::F32),
        &[-INF, -1.0, 0.0],
        &[0.0, 1.0, 0.0],
        &[1.0],
        &[0.0, -1.0, 0.0],
    ),
    ("entropy", Problem::entropy, &[1.0, 0.0, 0.5], &[], &[LN_2 / 2.0], &[-1.0, INF, LN_2 - 1.0]),
    (
        "entropy of logarithms",
        |dtype, classes| Problem::entropy(dtype, classes).input(Form::LogProbabilities),
        &[0.0, -INF],
        &[],
        &[0.0],
        &[-1.0, 0.0],
    ),
];

#[test]
fn losses_at_the_ends() {
    for &(what, of, x, targets, loss, gradient) in LOSSES {
        for dtype in FLOATS {
            let problem = of(dtype, x.len()).outputs(Outputs::LOSS | Outputs::DLOGITS);
            let problem = match problem.reduction {
                Reduction::Elements => problem,
                _ => problem.reduction(Reduction::None),
            };
            let gradients = problem.dlogits;
            let found = run(problem, x, targets, &[]);
            assert_near(what, &found.loss, loss, DType::F32);
            assert_near(what, &found.dlogits, gradient, gradients);
        }
    }
}

/// The input, its softmax, an upstream gradient, and what it becomes of the softmax and of its logarithm.
type SoftmaxRow = [&'static [f64]; 5];

const SOFTMAXES: &[SoftmaxRow] = &[
    [&[-INF, 0.0, 0.0], &[0.0, 0.5, 0.5], &[1.0, 2.0, 4.0], &[0.0, -0.5, 0.5], &[1.0, -1.5, 0.5]],
    [&[-INF, -INF, 5.0], &[0.0, 0.0, 1.0], &[1.0, 2.0, 4.0], &[0.0, 0.0, 0.0], &[1.0, 2.0, -3.0]],
    [&[INF, 0.0], &[NAN, NAN], &[1.0, 2.0], &[NAN, NAN], &[NAN, NAN]],
    [&[NAN, 0.0], &[NAN, NAN], &[1.0, 2.0], &[NAN, NAN], &[NAN, NAN]],
    [&[-INF, -INF], &[NAN, NAN], &[1.0, 2.0], &[NAN, NAN], &[NAN, NAN]],
];

#[test]
fn rows_with_and_without_a_softmax() {
    for &[x, p, upstream, backward, backward_of_logarithm] in SOFTMAXES {
        for dtype in FLOATS {
            let of = |problem: Problem| run(problem, x, &[], upstream);
            let found = of(Problem::softmax(dtype, x.len()));
            assert_near("softmax", &found.output, p, dtype);
            assert_near("its backward", &found.backward, backward, dtype);
            let found = of(Problem::log_softmax(dtype, x.len()).output(DType::F32));
            let log_p: Vec<f64> = p.iter().map(|p| p.ln()).collect();
            assert_near("logarithm", &found.output, &log_p, DType::F32);
            assert_near("its backward", &found.backward, backward_of_logarithm, dtype);
        }
    }
}

/// However many columns come before the first finite one, or after the last.
#[test]
fn columns_of_minus_infinity_do_not_count() {
    let step = |classes: usize| sized(classes / 40, classes / 3).max(1);
    for of in [Problem::softmax as Of, Problem::log_softmax] {
        for (number, classes) in [3, 37, 70, 1100].into_iter().enumerate() {
            for count in (0..classes).step_by(step(classes)) {
                let mut trial = Trial::packed(of(FLOATS[number % 3], classes), 3, number as u64);
                trial.logits[classes..][..count].fill(-INF);
                trial.logits[3 * classes - count..].fill(-INF);
                trial.check(&trial.run(&context()));
            }
        }
    }
}
