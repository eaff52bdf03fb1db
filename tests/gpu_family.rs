//! All operations on a GPU that is simulated, against the reference, element by element.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod trial;

use common::simulated::here_or_elsewhere;
use trial::Trial;
use trial::operations::LOSSES;
use xent::{Clip, Context, DType, Layout, Outputs, Problem, Reduction, Unit};

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
/// For one thread, some lanes, a warp, and a CTA for each row.
const CLASSES: [usize; 6] = [1, 2, 31, 33, 100, 1025];

/// Packed rows, padded ones, and classes that are not the last axis.
fn layouts(classes: usize) -> [Layout; 3] {
    let rows = Layout::rows(7, classes);
    [rows, rows.row_stride(classes + 3), Layout::packed(2, classes, 5)]
}

/// Runs on the GPU, within bounds.
fn check(trial: &Trial) {
    trial.check(&trial.run(&Context::auto()));
}

#[test]
fn softmax_and_its_logarithm() {
    if !here_or_elsewhere("softmax_and_its_logarithm") {
        return;
    }
    for (number, classes) in CLASSES.into_iter().enumerate() {
        for (turn, scale) in [1.0, 0.3, -2.0].into_iter().enumerate() {
            for of in [Problem::softmax, Problem::log_softmax] {
                let problem = of(TYPES[(number + turn) % 3], classes).logit_scale(scale);
                let f32s = problem.clone().output(DType::F32).dlogits(DType::F32);
                let problem = if turn == 0 { problem } else { f32s };
                for layout in layouts(classes) {
                    let mut trial = Trial::new(problem.clone(), layout, number as u64);
                    let offset = [0.0, 300.0, -1e4][number % 3];
                    let dtype = problem.logits;
                    trial.logits.iter_mut().for_each(|x| *x = common::round(*x + offset, dtype));
                    check(&trial);
                }
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

/// Every operation with every setting that it has, in types, classes and layouts that take turns.
fn losses(turn: usize) -> usize {
    let mut count = 0;
    for (number, operation) in LOSSES.iter().enumerate() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            let which = number + index + turn;
            let classes = CLASSES[which % CLASSES.len()];
            let problem = operation(TYPES[which / 2 % 3], classes);
            let problem = setting(problem.outputs(Outputs::LOSS | Outputs::DLOGITS));
            if problem.validate().is_err() {
                continue;
            }
            let layout = layouts(classes)[(which / 3 + turn) % 3];
            check(&Trial::new(problem, layout, (100 * number + index) as u64));
            count += 1;
        }
    }
    count
}

#[test]
fn losses_and_gradients() {
    if here_or_elsewhere("losses_and_gradients") {
        assert_eq!(losses(0), 113);
    }
}

#[test]
fn losses_and_gradients_of_other_sizes() {
    if here_or_elsewhere("losses_and_gradients_of_other_sizes") {
        assert_eq!(losses(3), 113);
    }
}

#[test]
fn double_backward() {
    if !here_or_elsewhere("double_backward") {
        return;
    }
    let settings: [Setting; 6] = [
        |p| p.reduction(Reduction::None),
        |p| p.ignore_index(0).label_smoothing(0.1),
        |p| p.label_smoothing(0.1).class_weights(true),
        |p| p.z_loss(1e-2).reduction(Reduction::Sum).dlogits(DType::F32),
        |p| p.targets(DType::F32).row_weights(true).class_weights(true),
        |p| p.logit_scale(-1.5),
    ];
    for (number, classes) in CLASSES.into_iter().enumerate() {
        for (index, setting) in settings.iter().enumerate() {
            let which = number + index;
            let problem = setting(Problem::new(TYPES[which % 3], classes)).outputs(Outputs::STATS);
            check(&Trial::new(problem, layouts(classes)[which / 2 % 3], which as u64));
        }
    }
}
