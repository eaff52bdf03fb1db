//! Losses of probabilities and log-probabilities, binary cross entropy, divergences, entropies, softmax
//! and the double backward: the kernels in `f32` against the reference in `f64`, element by element, in
//! every type and layout, by the bounds of `tests/trial/bounds.rs`.

mod common;
mod trial;

use common::{context, round, sized};
use trial::Trial;
use trial::operations::{LOSSES, SOFTMAXES};
use xent::{Clip, DType, Form, Layout, Operation, Outputs, Problem, Reduction, Renormalise, Unit};

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// Around the sizes at which kernels take other ways; on a GPU for one thread, some lanes, a warp, and a
/// CTA for each row.
fn sizes() -> &'static [usize] {
    sized(&[1, 2, 31, 33, 63, 64, 100, 1025, 2048, 2050], &[1, 2, 31, 33, 100, 1025])
}

/// Packed rows, padded ones, and classes that are not the last axis.
fn layout(turn: usize, classes: usize) -> Layout {
    let rows = if classes > 1000 { 3 } else { sized(35, 7) };
    let packed = Layout::rows(rows, classes);
    [packed, packed.row_stride(classes + 3), Layout::packed(2, classes, rows)][turn % 3]
}

/// Runs it, within bounds.
fn check(trial: &Trial) {
    trial.check(&trial.run(&context()));
}

#[test]
fn softmax_and_its_logarithm() {
    let long = sized(&[50_257][..], &[]);
    for (number, &classes) in sizes().iter().chain(long).enumerate() {
        for (turn, scale) in [1.0, 0.3, -2.0].into_iter().enumerate() {
            for of in SOFTMAXES {
                let problem = of(TYPES[(number + turn) % 3], classes).logit_scale(scale);
                let f32s = problem.clone().output(DType::F32).dlogits(DType::F32);
                let problem = if turn == 0 { problem } else { f32s };
                let mut trial = Trial::new(problem, layout(number + turn, classes), number as u64);
                let (offset, dtype) = ([0.0, 300.0, -1e4][number % 3], trial.problem.logits);
                trial.logits.iter_mut().for_each(|x| *x = round(*x + offset, dtype));
                check(&trial);
            }
        }
    }
}

type Setting = fn(Problem) -> Problem;

const SETTINGS: [Setting; 18] = [
    |p| p.reduction(Reduction::None),
    |p| p.reduction(Reduction::None).ignore_index(0),
    |p| p.ignore_index(0).label_smoothing(0.1).class_weights(true),
    |p| p,
    |p| p.outputs(Outputs::LOSS),
    |p| p.reduction(Reduction::Sum).row_weights(true),
    |p| p.reduction(Reduction::Elements).element_weights(true).row_weights(true),
    |p| p.reduction(Reduction::RowMean).pos_weights(true),
    |p| p.reduction(Reduction::BatchMean).class_weights(true),
    |p| p.class_weights(true).row_weights(true),
    |p| p.reduction(Reduction::None).label_smoothing(0.1).class_weights(true),
    |p| p.unit(Unit::Bits).dlogits(DType::F32),
    |p| p.clip(Clip::Range(1e-7)).reduction(Reduction::None),
    |p| p.clip(Clip::Lower(1e-20)).reduction(Reduction::Elements),
    |p| p.clip(Clip::Logarithm(100.0)).reduction(Reduction::None),
    |p| p.clip(Clip::Add(1e-12)).reduction(Reduction::None),
    |p| p.clip(Clip::Range(0.01)).class_weights(true).pos_weights(true),
    |p| p.log_targets(true).reduction(Reduction::None),
];

/// Every operation with every setting that it has; on a GPU with two numbers of classes.
#[test]
fn losses_and_gradients() {
    let mut count = 0;
    for (number, operation) in LOSSES.iter().enumerate() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            for step in 0..sized(sizes().len(), 2) {
                let turn = number + index + 7 * step;
                let classes = sizes()[turn % sizes().len()];
                let problem = operation(TYPES[turn % 3], classes);
                let problem = setting(problem.outputs(Outputs::LOSS | Outputs::DLOGITS));
                if problem.validate().is_err() {
                    continue;
                }
                let seed = (100 * number + index) as u64;
                check(&Trial::new(problem, layout(number + step, classes), seed));
                count += 1;
            }
        }
    }
    assert_eq!(count, 113 * sized(sizes().len(), 2));
}

/// As other libraries divide probabilities by their sum: the loss also has the error of the sum.
#[test]
fn renormalised_probabilities() {
    let kinds = [
        (Renormalise::BeforeClip, Clip::Range(1e-7)),
        (Renormalise::AfterClip, Clip::Range(1e-4)),
        (Renormalise::BeforeClip, Clip::None),
        (Renormalise::AfterClip, Clip::Lower(1e-3)),
    ];
    for (number, &classes) in sizes().iter().enumerate() {
        for (turn, (renormalise, clip)) in kinds.into_iter().enumerate() {
            for targets in [DType::F32, DType::I64] {
                let problem = Problem::cross_entropy_from_probs(TYPES[number % 3], classes)
                    .targets(targets)
                    .clip(clip)
                    .renormalise(renormalise)
                    .reduction(Reduction::None)
                    .dlogits(DType::F32)
                    .outputs(Outputs::LOSS | Outputs::DLOGITS);
                let mut trial = Trial::new(problem, layout(turn, classes), number as u64);
                trial.logits.iter_mut().for_each(|x| *x = x.max(1.0 / 128.0)); // every row has a sum
                check(&trial);
            }
        }
    }
}

#[test]
fn double_backward() {
    let settings: [Setting; 7] = [
        |p| p.reduction(Reduction::None),
        |p| p.ignore_index(0).label_smoothing(0.1),
        |p| p.label_smoothing(0.1).class_weights(true),
        |p| p.z_loss(1e-2).reduction(Reduction::Sum).dlogits(DType::F32),
        |p| p.targets(DType::F32).row_weights(true).class_weights(true),
        |p| p.logit_scale(-1.5),
        |p| p.logit_scale(-1.5).ignore_index(0),
    ];
    for (number, &classes) in sizes().iter().enumerate() {
        for (index, setting) in settings.iter().enumerate() {
            let turn = number + index;
            let problem = setting(Problem::new(TYPES[turn % 3], classes)).outputs(Outputs::STATS);
            check(&Trial::new(problem, layout(turn, classes), turn as u64));
        }
    }
}

/// Infinities, NaNs and zeros give what they give in the reference. One row for each pair, so that a NaN
/// is alone.
#[test]
fn special_numbers() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let x = [0.0, -0.0, 1.0, inf, -inf, nan, 0.5, 1e-45, 89.5, -104.0, -1.0, 2.0];
    let t = [0.0, 1.0, 0.5, 2.0];
    let settings: [Setting; 7] = [
        |p| p,
        |p| p.clip(Clip::Range(1e-7)),
        |p| p.clip(Clip::Lower(1e-20)),
        |p| p.clip(Clip::Logarithm(100.0)),
        |p| p.clip(Clip::Add(1e-12)),
        |p| p.pos_weights(true),
        |p| p.log_targets(true),
    ];
    for operation in LOSSES {
        for setting in settings {
            let problem = setting(operation(DType::F32, 1)).reduction(Reduction::None);
            let problem = problem.outputs(Outputs::LOSS | Outputs::DLOGITS);
            if problem.validate().is_err() {
                continue;
            }
            let is_probability = problem.input == Form::Probabilities
                && problem.operation == Operation::BinaryCrossEntropy;
            let mut trial = Trial::new(problem, Layout::rows(x.len() * t.len(), 1), 1);
            for (row, logit) in trial.logits.iter_mut().enumerate() {
                let x = round(x[row % x.len()], DType::F32);
                *logit = if is_probability { x.clamp(0.0, 1.0) } else { x };
            }
            trial.probabilities = t.iter().flat_map(|&t| [t; 12]).collect();
            check(&trial);
        }
    }
}
