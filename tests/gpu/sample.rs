//! Which cases to run: settings that hold every pair of values of two factors, by a seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xent::{DType, EmptyMean, Outputs, Problem, Reduction};

use super::run::How;
use crate::common::{Case, Target, normal};

/// Rows of factors' values, so that every two values of different factors meet in some row: greedy,
/// the best of a few random rows at a time.
pub fn pairwise(levels: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut open: Vec<((usize, usize), (usize, usize))> = Vec::new();
    for a in 0..levels.len() {
        for b in a + 1..levels.len() {
            open.extend(
                (0..levels[a] * levels[b]).map(|i| ((a, i / levels[b]), (b, i % levels[b]))),
            );
        }
    }
    let mut rows = Vec::new();
    while let Some(&(first, second)) = open.first() {
        let met = |row: &[usize], pair: &((usize, usize), (usize, usize))| {
            row[pair.0.0] == pair.0.1 && row[pair.1.0] == pair.1.1
        };
        let candidates = (0..30).map(|_| {
            let mut row: Vec<usize> = levels.iter().map(|&n| rng.random_range(0..n)).collect();
            (row[first.0], row[second.0]) = (first.1, second.1);
            row
        });
        let count = |row: &Vec<usize>| open.iter().filter(|pair| met(row, pair)).count();
        let best = candidates.max_by_key(count).unwrap();
        open.retain(|pair| !met(&best, pair));
        rows.push(best);
    }
    rows
}

const LOGITS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const TARGETS: [DType; 7] =
    [DType::I64, DType::I32, DType::U8, DType::U32, DType::F32, DType::F16, DType::BF16];
/// Scale and cap.
const SQUASH: [(f64, Option<f64>); 5] =
    [(1.0, None), (0.7, None), (-1.25, None), (1.0, Some(5.0)), (-0.5, Some(2.0))];
/// Architectures, and the major version of NVRTC that compiles for them.
const ARCHS: [(u32, u32); 6] = [(70, 12), (75, 13), (80, 13), (90, 13), (90, 12), (100, 13)];
const OUTPUTS: [Outputs; 4] = [
    Outputs::all(),
    Outputs::LOSS.union(Outputs::DLOGITS),
    Outputs::LOSS.union(Outputs::LSE).union(Outputs::STATS),
    Outputs::DLOGITS.union(Outputs::CORRECT),
];

/// What the logits of a row look like.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Normal,
    Flat,
    /// The target is far ahead.
    Confident,
    /// Far from 0, a little apart.
    Offset,
    /// Whole stretches of -inf.
    Masked,
    /// Few different values.
    Tied,
}

const SHAPES: [Shape; 6] =
    [Shape::Normal, Shape::Flat, Shape::Confident, Shape::Offset, Shape::Masked, Shape::Tied];

/// A case, what it is to write, and how it is run.
#[derive(Debug)]
pub struct Setting {
    pub case: Case,
    pub outputs: Outputs,
    pub how: How,
}

/// All settings but for the classes, which `classes` gives for each.
pub fn settings(seed: u64, mut classes: impl FnMut(&mut StdRng) -> usize) -> Vec<Setting> {
    let levels = [
        LOGITS.len(),
        TARGETS.len(),
        SQUASH.len(),
        ARCHS.len(),
        OUTPUTS.len(),
        SHAPES.len(),
        2, // gradient: of the logits' type, or f32
        3, // smoothing
        2, // class weights
        2, // row weights
        2, // z-loss
        3, // reduction
        2, // ignored rows
        2, // in place
        3, // upstream gradient
        4, // gap
        2, // noise
    ];
    let mut rng = StdRng::seed_from_u64(seed);
    let rows = pairwise(&levels, seed);
    rows.iter().map(|row| setting(row, classes(&mut rng), &mut rng)).collect()
}

fn setting(row: &[usize], classes: usize, rng: &mut StdRng) -> Setting {
    let (logits, targets) = (LOGITS[row[0]], TARGETS[row[1]]);
    let outputs = OUTPUTS[row[4]];
    let in_place = row[13] == 1 && row[6] == 0 && outputs.contains(Outputs::DLOGITS);
    let mut problem = Problem::new(logits, classes)
        .targets(targets)
        .dlogits(if row[6] == 0 { logits } else { DType::F32 })
        .logit_scale(SQUASH[row[2]].0)
        .label_smoothing([0.0, 0.1, 1.0][row[7]])
        .class_weights(row[8] == 1)
        .row_weights(row[9] == 1)
        .z_loss([0.0, 0.01][row[10]])
        .reduction([Reduction::None, Reduction::Mean, Reduction::Sum][row[11]])
        .empty_mean(EmptyMean::Zero)
        .in_place(in_place);
    problem.softcap = SQUASH[row[2]].1;
    let ignores = row[12] == 1 && !problem.targets_are_probabilities();
    if ignores {
        problem = problem.ignore_index(if targets == DType::U8 { 255 } else { 7 });
    }
    let count = if classes > 20_000 { 2 } else { 4 };
    let mut case = Case::new(problem, count, vec![0.0; count * classes], rng.random());
    if let (Target::Classes(y), true) = (&mut case.target, ignores) {
        for (row, y) in y.iter_mut().enumerate() {
            let index = case.problem.ignore_index.unwrap();
            *y = if row % 3 == 1 {
                index
            } else if *y == index {
                0
            } else {
                *y
            };
        }
    }
    fill(&mut case, SHAPES[row[5]], rng);
    let rows = case.rows;
    if row[14] > 0 && outputs.contains(Outputs::DLOGITS) {
        let per_row = row[14] == 2 && case.problem.reduction == Reduction::None;
        let values = [-1.5, 1e-3, 0.25, 7.5];
        case = case.dloss(&values[..if per_row { rows } else { 1 }]);
    }
    let (arch, nvrtc) = ARCHS[row[3]];
    let logits_offset = rng.random_range(0..16);
    let same = in_place || rng.random_range(0..2) == 0;
    let how = How {
        arch,
        nvrtc,
        logits_offset,
        dlogits_offset: if same { logits_offset } else { rng.random_range(0..16) },
        targets_offset: rng.random_range(0..8),
        gap: [0, 1, 3, 8][row[15]],
        seed: rng.random(),
        noise: (row[16] == 1).then(|| rng.random()),
        ..How::default()
    };
    Setting { case, outputs, how }
}

/// Logits of a shape; of ignored rows NaN, which nobody may read.
pub fn fill(case: &mut Case, shape: Shape, rng: &mut StdRng) {
    let (classes, dtype) = (case.problem.classes, case.problem.logits);
    let sign = case.problem.logit_scale.signum();
    for (row, x) in case.logits.chunks_mut(classes).enumerate() {
        let noise = normal(rng.random(), classes, 3.0);
        let target = match &case.target {
            Target::Classes(y) if case.problem.ignore_index == Some(y[row]) => {
                x.fill(f64::NAN);
                continue;
            }
            Target::Classes(y) => y[row] as usize,
            Target::Probabilities(_) => rng.random_range(0..classes),
        };
        let offset = if dtype == DType::F16 { 3e4 } else { 1e8 };
        let width = rng.random_range(1..=classes);
        let start = rng.random_range(0..=classes - width);
        for (class, (x, noise)) in x.iter_mut().zip(noise).enumerate() {
            let value = match shape {
                Shape::Normal => noise,
                Shape::Flat => noise / 100.0,
                Shape::Confident => noise / 3.0 + if class == target { 35.0 } else { 0.0 },
                Shape::Offset => offset + noise.round() * offset / 3e7,
                Shape::Masked if class < start || class >= start + width => {
                    f64::NEG_INFINITY * sign
                }
                Shape::Masked => noise,
                Shape::Tied => (noise / 4.0).round(),
            };
            *x = crate::common::round(value, dtype);
        }
    }
}
