//! Random problems and cases, and what can be said in two ways.
#![allow(dead_code)] // each test file uses its part

pub mod change;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use xent::{DType, Layout, Outputs, Problem, Reduction};

use crate::common::{Case, normal, on_gpu, sized};

pub const FLOATS: &[DType] = &[DType::F32, DType::F16, DType::BF16];
pub const INDICES: &[DType] = &[DType::I64, DType::I32, DType::U32, DType::U8];
pub const TARGETS: &[DType] = &[DType::I64, DType::U8, DType::F32, DType::F16, DType::BF16];
const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Mean, Reduction::Sum];

/// Problems of these types, each option set or not.
pub fn problems(
    logits: &'static [DType],
    targets: &'static [DType],
) -> impl Strategy<Value = Problem> {
    let classes = prop_oneof![8 => 1..40usize, 1 => 1000..2100usize];
    let types = (select(logits), select(targets), any::<bool>(), classes);
    let smoothing = prop_oneof![2 => Just(0.0), 1 => Just(1.0), 2 => 0.001..1.0];
    let scale = prop_oneof![2 => Just(1.0), 1 => -3.0..-0.1, 1 => 0.1..3.0];
    let z_loss = prop_oneof![Just(0.0), 1e-4..0.1];
    let options = (smoothing, scale, option::of(1.0..50.0f64), z_loss);
    let rest = (any::<bool>(), any::<bool>(), select(&REDUCTIONS[..]));
    let any = (types, options, rest).prop_map(|(types, options, rest)| {
        let (logits, targets, wide_gradient, classes) = types;
        let mut problem =
            Problem::new(logits, classes).targets(targets).outputs(Outputs::CROSS_ENTROPY);
        if wide_gradient {
            problem.dlogits = DType::F32;
        }
        (problem.label_smoothing, problem.logit_scale, problem.softcap, problem.z_loss) = options;
        (problem.class_weights, problem.row_weights, problem.reduction) = rest;
        problem
    });
    (any, 0..4usize).prop_map(move |(any, kind)| match on_gpu() {
        true => of_a_kind(any, logits[kind % logits.len()], targets[kind % targets.len()], kind),
        false => any,
    })
}

/// The problem with what a kernel is compiled for from one of four kinds. A GPU takes a second
/// for each.
fn of_a_kind(mut problem: Problem, logits: DType, targets: DType, kind: usize) -> Problem {
    (problem.logits, problem.targets) = (logits, targets);
    (problem.dlogits, problem.output) = (logits, logits);
    problem.classes = [3, 37, 1030, 37][kind];
    (problem.class_weights, problem.logit_scale, problem.softcap) = match kind {
        0 => (false, 1.0, None),
        1 => (true, 1.0, problem.softcap.or(Some(7.0))),
        2 => (true, problem.logit_scale * 0.9, None),
        _ => (false, 1.0, Some(30.0)),
    };
    problem.label_smoothing = if kind == 1 { problem.label_smoothing.max(1e-3) } else { 0.0 };
    problem
}

/// The problem with rows that lie alike to 128 bytes, where packed: then a GPU gives them the same
/// bits at any place of a batch.
pub fn lying_alike(mut problem: Problem) -> Problem {
    if on_gpu() {
        problem.classes = problem.classes.next_multiple_of(64);
    }
    problem
}

/// Cases of a problem: up to seven rows, flat or peaked.
pub fn cases_of(problems: impl Strategy<Value = Problem>) -> impl Strategy<Value = Case> {
    let deviation = prop_oneof![Just(0.1), Just(2.0), Just(12.0)];
    (problems, 1..=7usize, any::<u64>(), deviation, any::<bool>()).prop_map(
        |(problem, rows, seed, deviation, upstream)| {
            let logits = normal(seed, rows * problem.classes, deviation);
            let per_row = problem.reduction == Reduction::None;
            let case = Case::new(problem, rows, logits, seed);
            let dloss = [1.5, -0.25, 3.0, 1e-3, 1.0, -7.0, 0.5];
            match (upstream, per_row) {
                (false, _) => case,
                (true, true) => case.dloss(&dloss[..rows]),
                (true, false) => case.dloss(&dloss[..1]),
            }
        },
    )
}

pub fn cases(logits: &'static [DType], targets: &'static [DType]) -> impl Strategy<Value = Case> {
    cases_of(problems(logits, targets))
}

/// Any outputs.
pub fn outputs() -> impl Strategy<Value = Outputs> {
    let few = [
        Outputs::LOSS,
        Outputs::LSE | Outputs::DLOGITS,
        Outputs::STATS | Outputs::ARGMAX,
        Outputs::ENTROPY | Outputs::CORRECT,
    ];
    let any = (1..=Outputs::CROSS_ENTROPY.bits()).prop_map(Outputs::from_bits_retain);
    (any, select(few.to_vec())).prop_map(|(any, few)| sized(any, few))
}

/// A layout of these rows with its axes in some order and padding after each.
pub fn layout(
    rows: (usize, usize),
    classes: usize,
    order: [usize; 3],
    padding: [usize; 3],
) -> Layout {
    let mut layout = Layout::packed(rows.0, classes, rows.1);
    let extents = [rows.0, classes, rows.1];
    let mut reach = 1;
    for (axis, padding) in order.into_iter().zip(padding) {
        layout.strides[axis] = reach + padding;
        reach += (extents[axis] - 1) * layout.strides[axis];
    }
    layout
}
