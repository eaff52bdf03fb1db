//! All operations.

use xent::{Clip, DType, Form, Layout, Outputs, Problem, Reduction};

use super::Trial;

pub type Of = fn(DType, usize) -> Problem;

/// Losses that are sums over elements, of every form of the input.
pub const LOSSES: &[Of] = &[
    Problem::nll_loss,
    |dtype, classes| Problem::nll_loss(dtype, classes).targets(DType::F32),
    Problem::cross_entropy_from_probs,
    |dtype, classes| Problem::cross_entropy_from_probs(dtype, classes).targets(dtype),
    Problem::bce_with_logits,
    |dtype, classes| Problem::bce_with_logits(dtype, classes).targets(dtype),
    |dtype, classes| Problem::bce(dtype, classes).clip(Clip::None),
    Problem::kl_div,
    |dtype, classes| Problem::kl_div(dtype, classes).input(Form::Probabilities),
    Problem::entropy,
    |dtype, classes| Problem::entropy(dtype, classes).input(Form::LogProbabilities),
];

/// Those that have a loss for each element.
pub const OF_ELEMENTS: &[Of] =
    &[Problem::bce_with_logits, Problem::bce, Problem::kl_div, |dtype, classes| {
        Problem::kl_div(dtype, classes).input(Form::Probabilities)
    }];

pub const SOFTMAXES: &[Of] = &[Problem::softmax, Problem::log_softmax];

const MORE: &[Of] = &[
    |dtype, classes| Problem::keras_categorical_crossentropy(dtype, classes).targets(DType::F32),
    Problem::sklearn_legacy_log_loss,
    |dtype, classes| Problem::new(dtype, classes).z_loss(1e-3).outputs(Outputs::STATS),
    |dtype, classes| Problem::new(dtype, classes).targets(DType::F32).outputs(Outputs::STATS),
];

/// The problem, changed if it is one then.
pub fn with(problem: Problem, change: impl Fn(Problem) -> Problem) -> Problem {
    let changed = change(problem.clone());
    if changed.validate().is_ok() { changed } else { problem }
}

/// Each operation with so many rows of so many classes, and the double backward: with weights, as a
/// mean and not reduced, in types that take turns.
pub fn all(sizes: &[(usize, usize)]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for &(rows, classes) in sizes {
        for (turn, of) in [LOSSES, SOFTMAXES, MORE].concat().into_iter().enumerate() {
            let turn = turn + trials.len();
            let dtype = [DType::F32, DType::F16, DType::BF16][turn % 3];
            let mut problem = of(dtype, classes);
            if problem.outputs == Outputs::LOSS {
                problem.outputs |= Outputs::DLOGITS;
                problem.reduction = [Reduction::Mean, Reduction::None][turn / 2 % 2];
            }
            let problem = with(problem, |problem| problem.class_weights(true).row_weights(true));
            trials.push(Trial::new(problem, Layout::rows(rows, classes), turn as u64));
        }
    }
    trials
}
