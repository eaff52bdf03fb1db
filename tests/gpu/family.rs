//! Problems whose kernels are those for tensors of any layout: every two values of what such a kernel is
//! compiled for meet in one of them.

use xent::cuda::family;
use xent::cuda::variant::Variant;
use xent::{Clip, DType, Form, Operation, Outputs, Problem, Reduction, Renormalise};

use super::pairs::pairwise;

type Of = fn(DType, usize) -> Problem;

/// The kernels and their terms, as `src/cuda/family.rs` chooses them.
const OPERATIONS: [Of; 23] = [
    Problem::softmax,
    Problem::log_softmax,
    double_backward,
    Problem::nll_loss,
    Problem::cross_entropy_from_probs,
    |dtype, classes| Problem::cross_entropy_from_probs(dtype, classes).clip(Clip::Add(1e-7)),
    |dtype, classes| Problem::cross_entropy_from_probs(dtype, classes).clip(Clip::Logarithm(9.0)),
    Problem::keras_categorical_crossentropy,
    Problem::sklearn_legacy_log_loss,
    |dtype, classes| {
        let problem = Problem::cross_entropy_from_probs(dtype, classes).clip(Clip::Add(1e-7));
        problem.renormalise(Renormalise::AfterClip)
    },
    |dtype, classes| {
        let problem = Problem::cross_entropy_from_probs(dtype, classes).clip(Clip::Logarithm(9.0));
        problem.renormalise(Renormalise::BeforeClip)
    },
    Problem::bce_with_logits,
    Problem::bce,
    |dtype, classes| Problem::bce(dtype, classes).clip(Clip::None),
    |dtype, classes| Problem::bce(dtype, classes).clip(Clip::Add(1e-7)),
    Problem::kl_div,
    |dtype, classes| Problem::kl_div(dtype, classes).log_targets(true),
    |dtype, classes| Problem::kl_div(dtype, classes).input(Form::Probabilities),
    |dtype, classes| Problem::kl_div(dtype, classes).input(Form::Probabilities).log_targets(true),
    |dtype, classes| {
        Problem::kl_div(dtype, classes).input(Form::Probabilities).clip(Clip::Add(1e-7))
    },
    |dtype, classes| {
        Problem::kl_div(dtype, classes).input(Form::Probabilities).clip(Clip::Logarithm(9.0))
    },
    Problem::entropy,
    |dtype, classes| Problem::entropy(dtype, classes).input(Form::LogProbabilities),
];

fn double_backward(dtype: DType, classes: usize) -> Problem {
    Problem::new(dtype, classes).outputs(Outputs::STATS)
}

const LOGITS: [DType; 3] = [DType::BF16, DType::F16, DType::F32];
/// For each number of threads that share a row.
const CLASSES: [usize; 4] = [3, 20, 300, 5000];

/// The problem of a row of: operation, logits, gradient, targets, classes, scale, weights, reduction.
/// `None` where it has no use for one of them.
fn problem(row: &[usize]) -> Option<Problem> {
    let mut problem = OPERATIONS[row[0]](LOGITS[row[1]], CLASSES[row[4]]);
    let is_softmax = problem.outputs == Outputs::OUTPUT;
    let is_loss = problem.outputs == Outputs::LOSS;
    match row[2] {
        0 if is_loss => problem.outputs |= Outputs::DLOGITS,
        1 => {
            problem.dlogits = DType::F32;
            problem.outputs |= if is_loss { Outputs::DLOGITS } else { Outputs::empty() };
        }
        2 if is_softmax => problem.output = DType::F32,
        2 if !is_loss => return None,
        _ => {}
    }
    let has_targets = !is_softmax && problem.operation != Operation::Entropy;
    match row[3] {
        0 => {}
        _ if !has_targets => return None,
        1 => problem.label_smoothing = 0.1,
        float => problem.targets = LOGITS[float - 2],
    }
    problem.logit_scale = [1.0, 0.5][row[5]];
    problem.class_weights = row[6] == 1;
    if row[7] == 1 {
        problem.reduction = Reduction::Elements;
    }
    problem.validate().is_ok().then_some(problem)
}

/// The kernels of all pairs, with the names of their problems.
pub fn pairs() -> Vec<(String, Variant)> {
    let levels = [OPERATIONS.len(), LOGITS.len(), 3, 5, CLASSES.len(), 2, 2, 2];
    let (rows, _) = pairwise(&levels, 6, |row| problem(row).is_some());
    let mut all = Vec::new();
    for problem in rows.iter().map(|row| problem(row).unwrap()) {
        let name = format!(
            "{:?} of {:?}, {} x {}",
            problem.operation, problem.input, problem.logits, problem.classes
        );
        let variants = match problem.outputs == Outputs::STATS {
            true => vec![family::hessian(&problem)],
            false => family::variants(&problem),
        };
        all.extend(variants.into_iter().map(|variant| (name.clone(), variant)));
    }
    all
}
