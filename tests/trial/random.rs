//! Random trials.

use proptest::prelude::*;
use proptest::sample::select;
use xent::{Clip, DType, Outputs, Problem, Reduction, Unit};

use crate::common::{normal, round};
use crate::random::FLOATS;
use crate::trial::Trial;
use crate::trial::operations::{Of, with};

const SETTINGS: [fn(Problem) -> Problem; 10] = [
    |p| p.class_weights(true),
    |p| p.row_weights(true),
    |p| p.element_weights(true),
    |p| p.pos_weights(true),
    |p| p.label_smoothing(0.1),
    |p| p.unit(Unit::Bits),
    |p| p.log_targets(true),
    |p| p.clip(Clip::Range(1e-3)),
    |p| p.ignore_index(1),
    |p| p.dlogits(DType::F32),
];

const REDUCTIONS: [Reduction; 6] = [
    Reduction::None,
    Reduction::Elements,
    Reduction::RowMean,
    Reduction::Mean,
    Reduction::BatchMean,
    Reduction::Sum,
];

pub fn classes() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1..40usize, 1 => 60..70usize, 1 => 1000..1100usize]
}

/// Losses with their gradient, each setting that they have set or not.
pub fn losses(of: &'static [Of]) -> impl Strategy<Value = Trial> {
    let kind = (select(of), select(FLOATS), classes(), select(&REDUCTIONS[..]));
    (kind, any::<[bool; 10]>(), 1..=7usize, any::<u64>()).prop_map(|(kind, set, rows, seed)| {
        let (of, dtype, classes, reduction) = kind;
        let plain = of(dtype, classes).outputs(Outputs::LOSS | Outputs::DLOGITS);
        let reduced = with(plain, |problem| problem.reduction(reduction));
        let settings = SETTINGS.iter().zip(set).filter(|(_, is_set)| *is_set);
        let problem = settings.fold(reduced, |problem, (setting, _)| with(problem, setting));
        Trial::packed(problem, rows, seed)
    })
}

/// A softmax or its logarithm of rows, flat or peaked, anywhere.
pub fn softmaxes(of: &'static [Of]) -> impl Strategy<Value = Trial> {
    let deviation = select(&[0.1, 2.0, 12.0][..]);
    let offset = prop_oneof![Just(0.0), -1e4..1e4];
    let scale = prop_oneof![2 => Just(1.0), 1 => -2.0..-0.1, 1 => 0.1..2.0];
    let kind = (select(of), select(FLOATS), classes(), any::<bool>());
    (kind, deviation, offset, scale, 1..=7usize, any::<u64>()).prop_map(
        |((of, dtype, classes, wide), deviation, offset, scale, rows, seed)| {
            let mut problem = of(dtype, classes).logit_scale(scale);
            if wide {
                (problem.output, problem.dlogits) = (DType::F32, DType::F32);
            }
            let mut trial = Trial::packed(problem, rows, seed);
            let x = normal(seed, rows * classes, deviation);
            trial.logits = x.into_iter().map(|x| round(x + offset, dtype)).collect();
            trial
        },
    )
}
