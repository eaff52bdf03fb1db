//! Tensors whose class axis is not the last: the kernel of columns, executed by the interpreter of
//! `tests/simulator` and held against the reference.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use std::time::Instant;

use common::{Case, Target};
use gpu::check::{bits, caught, check, lean, wide_bits};
use gpu::run::{Columns, How, run};
use gpu::sample::{Shape, fill};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xent::cuda::variant::{self, Variant};
use xent::{DType, EmptyMean, Outputs, Problem, Reduction};

/// The kernel for a problem, with vectors as wide as the layout allows, at most `widest`. Sets the
/// width of `how`.
fn columns(problem: &Problem, how: &mut How, widest: u32, kept: bool) -> [Variant; 2] {
    let wants_gradient = problem.outputs.contains(Outputs::DLOGITS);
    let most = variant::widest(problem, false).min(widest);
    let widths: Vec<u32> = [8, 4, 2, 1].into_iter().filter(|&width| width <= most).collect();
    let width = how.cut(problem, wants_gradient, &widths).width;
    how.columns.as_mut().unwrap().width = width;
    [false, true].map(|backward| {
        let kernel = |kept| variant::columns(problem, backward, width, kept);
        kernel(kept).or_else(|| kernel(false)).unwrap()
    })
}

/// Packed, but for `how.gap`.
fn packed(inner: usize) -> Option<Columns> {
    Some(Columns { inner, step: 1, transposed: false, more: 0, width: 1 })
}

#[test]
fn every_small_tensor_at_every_offset() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let start = Instant::now();
    let mut widths = Vec::new();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for (number, inner) in [1, 2, 3, 7, 8, 31, 32, 33, 64, 100].into_iter().enumerate() {
            let problem = Problem::new(dtype, 3 + number % 2).outputs(Outputs::all());
            let case = Case::random(problem.clone(), 2 * inner, number as u64);
            for offset in 0..16 {
                let mut how = How {
                    logits_offset: offset,
                    dlogits_offset: if offset % 3 == 0 { 5 } else { offset },
                    gap: if offset % 2 == 0 { inner.next_multiple_of(8) - inner } else { 0 },
                    columns: packed(inner),
                    seed: offset,
                    ..How::default()
                };
                let [variant, _] = columns(&case.problem, &mut how, 8, offset % 4 < 2);
                check(&case, Outputs::all(), &how, &variant);
                widths.push(how.columns.unwrap().width);
            }
        }
    }
    for width in [1, 2, 4] {
        assert!(widths.contains(&width), "no vectors of {width}");
    }
    println!("{} runs in {:.1?}", widths.len(), start.elapsed());
}

/// A case with options by chance, what it is to write, and how it is run.
fn setting(rng: &mut StdRng, classes: usize, inner: usize, outer: usize) -> (Case, Outputs, How) {
    fn one<T: Copy>(rng: &mut StdRng, values: &[T]) -> T {
        values[rng.random_range(0..values.len())]
    }
    use DType::{BF16, F16, F32, I32, I64, U8, U32};
    let half = [false, true];
    let logits = one(rng, &[F32, F16, BF16]);
    let targets = one(rng, &[I64, I32, U8, U32, F32, F16, BF16]);
    let outputs = one(
        rng,
        &[
            Outputs::all(),
            Outputs::LOSS | Outputs::DLOGITS,
            Outputs::LOSS | Outputs::LSE | Outputs::STATS,
            Outputs::DLOGITS | Outputs::STATS,
            Outputs::DLOGITS | Outputs::CORRECT,
        ],
    );
    let dlogits = one(rng, &[logits, F32]);
    let in_place = one(rng, &half) && dlogits == logits && outputs.contains(Outputs::DLOGITS);
    let (scale, cap) =
        one(rng, &[(1.0, None), (0.7, None), (-1.25, None), (1.0, Some(5.0)), (-0.5, Some(2.0))]);
    let mut problem = Problem::new(logits, classes)
        .targets(targets)
        .dlogits(dlogits)
        .in_place(in_place)
        .outputs(outputs)
        .logit_scale(scale)
        .label_smoothing(one(rng, &[0.0, 0.0, 0.1, 1.0]))
        .class_weights(one(rng, &half))
        .row_weights(one(rng, &half))
        .z_loss(one(rng, &[0.0, 0.01]))
        .reduction(one(rng, &[Reduction::None, Reduction::Mean, Reduction::Sum]))
        .empty_mean(EmptyMean::Zero);
    problem.softcap = cap;
    let ignores = one(rng, &half) && !problem.targets_are_probabilities();
    if ignores {
        problem = problem.ignore_index(if targets == U8 { 255 } else { 7 });
    }
    let rows = outer * inner;
    let mut case = Case::new(problem, rows, vec![0.0; rows * classes], rng.random());
    if let (Target::Classes(y), Some(index)) = (&mut case.target, case.problem.ignore_index) {
        // Single rows, and all of a stretch.
        let from = rng.random_range(0..rows);
        for (row, y) in y.iter_mut().enumerate() {
            let ignored = rng.random_range(0..3) == 0 || (from..from + 40).contains(&row);
            *y = if ignored {
                index
            } else if *y == index {
                0
            } else {
                *y
            };
        }
    }
    let shapes =
        [Shape::Normal, Shape::Flat, Shape::Confident, Shape::Offset, Shape::Masked, Shape::Tied];
    fill(&mut case, one(rng, &shapes), rng);
    if one(rng, &[false, false, false, true]) {
        let at = rng.random_range(0..rows * classes);
        case.logits[at] = f64::NAN;
    }
    if one(rng, &half) && outputs.contains(Outputs::DLOGITS) {
        let per_row = one(rng, &half) && case.problem.reduction == Reduction::None;
        let dloss: Vec<f32> = (0..rows).map(|_| one(rng, &[-1.5, 1e-3, 0.25, 7.5])).collect();
        case = case.dloss(&dloss[..if per_row { rows } else { 1 }]);
    }
    let (arch, nvrtc) = one(rng, &[(70, 12), (75, 13), (80, 13), (90, 13), (90, 12), (100, 13)]);
    let offset = rng.random_range(0..16);
    let aligned = rng.random_range(0..4) != 0;
    let how = How {
        arch,
        nvrtc,
        logits_offset: offset,
        dlogits_offset: if aligned || in_place { offset } else { rng.random_range(0..16) },
        targets_offset: if aligned { offset } else { rng.random_range(0..16) },
        gap: if aligned { inner.next_multiple_of(8) - inner } else { one(rng, &[0, 1, 3]) },
        columns: Some(Columns {
            inner,
            step: if aligned { 1 } else { one(rng, &[1, 2, 3]) },
            transposed: !aligned && one(rng, &half),
            more: if aligned { one(rng, &[0, 8]) } else { 1 },
            width: 1,
        }),
        seed: rng.random(),
        noise: one(rng, &half).then(|| rng.random()),
        ..How::default()
    };
    (case, outputs, how)
}

/// Runs settings: each against the reference; the gradient from the statistics; in every third
/// another schedule, other vectors, and logits that are read twice. All of these give the same bits.
fn check_settings(seed: u64, count: usize, mut size: impl FnMut(&mut StdRng) -> [usize; 3]) {
    let start = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut widths = [0; 9];
    let mut failures = 0;
    for number in 0..count {
        let [classes, inner, outer] = size(&mut rng);
        let (case, outputs, mut how) = setting(&mut rng, classes, inner, outer);
        let lean = lean(&case, outputs);
        let [kernel, backward] = columns(&lean.problem, &mut how, 8, true);
        widths[how.columns.unwrap().width as usize] += 1;
        let result = caught(|| {
            let output = check(&case, outputs, &how, &kernel);
            if number % 3 == 0 {
                let mut other = How { seed: how.seed ^ 1, ..how.clone() };
                let [kernel, _] = columns(&lean.problem, &mut other, 1, number % 2 == 0);
                let (again, _) = run(&lean, &other, &kernel, None).unwrap();
                assert!(bits(&output) == bits(&again), "{kernel:?}, {other:?}: other bits");
            }
            if outputs.contains(Outputs::DLOGITS | Outputs::STATS) {
                let (separate, _) = run(&lean, &how, &backward, Some(&output.stats)).unwrap();
                let (fused, separate) = (wide_bits(&output.dlogits), wide_bits(&separate.dlogits));
                assert!(fused == separate, "{backward:?}, {how:?}: from the statistics");
            }
        });
        if let Err(fault) = result {
            println!("setting {number}, {kernel:?}, {how:?}: {fault}");
            failures += 1;
        }
    }
    println!("{count} settings in {:.1?}, by width {widths:?}", start.elapsed());
    assert_eq!(failures, 0);
}

const INNER: [usize; 10] = [1, 2, 3, 7, 8, 31, 32, 33, 64, 100];

#[test]
fn small_classes() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    check_settings(31, 60, |rng| {
        [rng.random_range(1..=40), INNER[rng.random_range(0..10)], rng.random_range(1..4)]
    });
}

#[test]
fn more_classes() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let sizes = [100, 128, 129, 255, 256, 257, 512, 513, 1000, 5000];
    check_settings(32, 24, |rng| {
        let classes = sizes[rng.random_range(0..sizes.len())];
        let inner = INNER[rng.random_range(0..if classes > 300 { 5 } else { 9 })];
        [classes, inner, 1 + usize::from(inner < 9)]
    });
}

#[test]
fn very_many_classes() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    // Beyond 16384 a thread adds more than 64 chunks.
    check_settings(33, 4, |rng| {
        [20_000 + rng.random_range(0..64), [8, 3][rng.random_range(0..2)], 1]
    });
}
