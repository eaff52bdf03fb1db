//! Tensors whose class axis is not the last: the kernel of columns, executed by the interpreter of
//! `tests/simulator` and held against the reference.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use std::sync::Arc;
use std::time::Instant;

use common::{Case, Target};
use gpu::check::{bits, caught, check, lean, wide_bits};
use gpu::run::{Columns, How, module, run};
use gpu::sample::{Shape, fill};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xent::cuda::columns::{Cut, Strided};
use xent::cuda::params::{ColumnParams, Params};
use xent::cuda::variant::{self, Variant};
use xent::{DType, EmptyMean, Outputs, Problem, Reduction};
use xent_simulator::{Fill, Launch, Memory, Rule};

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
            let problem = Problem::new(dtype, 3 + number % 2).outputs(Outputs::CROSS_ENTROPY);
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
                check(&case, Outputs::CROSS_ENTROPY, &how, &variant);
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
            Outputs::CROSS_ENTROPY,
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

/// The tensors of a call to the kernel itself, beyond what `run` can hold: more than 2^33 rows and
/// elements, of which the last tile is computed.
#[test]
fn more_rows_and_elements_than_32_bits_count() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let (outer, classes, inner) = (2u64, 2u64, (1u64 << 32) + 37);
    let stride = inner.next_multiple_of(4);
    let problem = Problem::new(DType::F32, 2).outputs(Outputs::LSE | Outputs::DLOGITS);
    let variant = variant::columns(&problem, false, 4, true).unwrap();
    let how = How::default();
    let (module, name) = module(&how, &variant);
    fn logit(element: u64) -> f32 {
        (element.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as f32 / 1024.0
    }
    let rule = |value: fn(u64) -> u32, offset: u64, bytes: &mut [u8]| {
        for (at, byte) in bytes.iter_mut().enumerate() {
            let place = offset + at as u64;
            *byte = value(place / 4).to_le_bytes()[(place % 4) as usize];
        }
    };
    let numbers = Arc::new(move |offset: u64, bytes: &mut [u8]| {
        rule(|element| logit(element).to_bits(), offset, bytes);
    });
    let ones = Arc::new(move |offset: u64, bytes: &mut [u8]| rule(|_| 1, offset, bytes));
    let mut memory = Memory::new();
    let mut large = |name: &str, elements: u64, rule: Arc<Rule>| {
        memory.allocate(name, 4 * elements, 0, Fill::Rule(rule)).address()
    };
    let elements = outer * classes * stride;
    let logits = large("logits", elements, numbers);
    let dlogits = large("dlogits", elements, ones.clone());
    let targets = large("targets", outer * inner, ones.clone());
    let lse = large("lse", outer * inner, ones);
    let of = |address| Strided {
        address,
        dtype: DType::F32,
        strides: [classes * stride, stride, 1].map(|stride| stride as usize),
    };
    let cut = Cut::new(inner as usize, &of(logits), &[Some(of(dlogits))], &[4]);
    let params = ColumnParams {
        rows: Params {
            logits,
            dlogits,
            targets,
            lse,
            logits_stride: (classes * stride) as i64,
            dlogits_stride: (classes * stride) as i64,
            rows: (outer * inner) as i64,
            ..Params::new(&problem.clone().targets(DType::I32))
        },
        inner: inner as i64,
        vectors: cut.vectors as i64,
        logits_class: stride as i64,
        logits_inner: 1,
        dlogits_class: stride as i64,
        dlogits_inner: 1,
        ..ColumnParams::default()
    };
    let mut launch = Launch::new(&name);
    let vectors = cut.total(outer as usize).unwrap();
    let [x, y] = variant.grid(vectors).unwrap();
    (launch.grid, launch.block) = ([x, y, 1], [variant.threads, 1, 1]);
    launch.params = params.to_bytes();
    launch.only = vec![(vectors - 1) / u64::from(variant.rows)];
    launch.run(&module, &mut memory).unwrap();
    let mut float = |address: u64| {
        f64::from(f32::from_le_bytes(memory.read(address, 4).unwrap().try_into().unwrap()))
    };
    for column in [inner - 1, inner - 9] {
        let element = classes * stride + column;
        let (a, b) = (f64::from(logit(element)), f64::from(logit(element + stride)));
        let exact = (a.exp() + b.exp()).ln();
        let found = float(lse + 4 * (inner + column));
        assert!((found - exact).abs() < 1e-6, "{found}, exactly {exact}");
        for (class, expected) in
            [(a - exact).exp(), (b - exact).exp() - 1.0].into_iter().enumerate()
        {
            let found = float(dlogits + 4 * (element + class as u64 * stride));
            assert!((found - expected).abs() < 1e-6, "{found}, exactly {expected}");
        }
    }
}

/// Sums of many classes: equal ones, and such that chunk after chunk has a new maximum, or none.
#[test]
fn long_columns() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let (classes, inner) = (70_000, 4);
    for (dtype, gain) in
        [(DType::F32, 0.0), (DType::F32, 2.0), (DType::F32, 200.0), (DType::BF16, -20.0)]
    {
        let rise = |class: usize| gain * class as f64 / classes as f64;
        let logits = (0..inner).flat_map(|_| (0..classes).map(rise)).collect();
        let problem = Problem::new(dtype, classes).reduction(Reduction::None);
        let case = Case::new(problem, inner, logits, 3);
        let mut how = How { columns: packed(inner), noise: Some(5), ..How::default() };
        let [variant, _] = columns(&case.problem, &mut how, 8, false);
        check(&case, Outputs::CROSS_ENTROPY, &how, &variant);
    }
}

/// Columns whose other classes are so far behind that each exponential is below 2^-126.
#[test]
fn faint_columns() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let (classes, inner) = (4000, 8);
    let problem = Problem::new(DType::F32, classes).reduction(Reduction::None);
    for problem in [problem.clone(), problem.clone().logit_scale(-0.5), problem.softcap(60.0)] {
        let mut logits = common::normal(3, inner * classes, 1.0);
        for (row, x) in logits.chunks_mut(classes).enumerate() {
            let ahead = [60.0, 80.0, 87.0, 88.0, 92.0, 95.0, 103.0, 110.0][row];
            x[7] = ahead;
            if problem.softcap.is_some() {
                x.iter_mut().for_each(|x| *x = *x * 1.5 - 60.0);
            }
            x.iter_mut().for_each(|x| *x /= problem.logit_scale);
        }
        let case = Case::new(problem, inner, logits, 1).targets(&[7; 8]);
        let mut how = How { columns: packed(inner), ..How::default() };
        let [variant, _] = columns(&case.problem, &mut how, 8, false);
        check(&case, Outputs::CROSS_ENTROPY, &how, &variant);
    }
}

/// A target that is no class: its row's loss and gradient are NaN, all else is as if it were
/// ignored, and the report tells.
#[test]
fn targets_that_are_no_classes() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let (classes, inner) = (30, 5);
    for bad in [classes as i64, -1, 1 << 32, (1 << 32) + 5, i64::MIN] {
        let problem = Problem::new(DType::BF16, classes)
            .ignore_index(-100)
            .class_weights(true)
            .label_smoothing(0.1);
        let ignored = Case::random(problem, 5, 3).targets(&[3, 5, -100, 29, -100]);
        let broken = ignored.clone().targets(&[3, 5, bad, 29, bad]);
        let report = [1, 7, 200, 0];
        let mut how = How { report, gap: 3, columns: packed(inner), ..How::default() };
        let [variant, _] = columns(&ignored.problem, &mut how, 8, true);
        assert_eq!(how.columns.unwrap().width, 4);
        let (expected, trace) = run(&ignored, &how, &variant, None).unwrap();
        assert_eq!(trace.report, report);
        let (output, trace) = run(&broken, &how, &variant, None).unwrap();
        assert_eq!(trace.report, [3, 2, bad, 0]);
        assert!(output.loss[0].is_nan());
        for row in 0..inner {
            let range = row * classes..(row + 1) * classes;
            let gradient = &output.dlogits[range.clone()];
            if [2, 4].contains(&row) {
                assert!(gradient.iter().all(|g| g.is_nan()));
                assert!(output.lse[row].is_finite() && output.argmax[row] >= 0);
            } else {
                assert_eq!(wide_bits(gradient), wide_bits(&expected.dlogits[range]));
            }
        }
        assert_eq!(output.correct, expected.correct);
    }
}

/// A tensor whose class axis is the last after all, and the same rows as the row kernels have them.
#[test]
fn rows_as_columns() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let (classes, inner) = (500, 6);
    let problem = Problem::new(DType::F32, classes).reduction(Reduction::None);
    let case = Case::random(problem, 2 * inner, 9);
    let mut how = How { columns: packed(inner), ..How::default() };
    how.columns.as_mut().unwrap().transposed = true;
    let [variant, _] = columns(&case.problem, &mut how, 8, true);
    let output = check(&case, Outputs::CROSS_ENTROPY, &how, &variant);
    let of_rows = How { columns: None, ..how };
    let stream = variant::stream(&case.problem, false, 128);
    let (expected, _) = run(&case, &of_rows, &stream, None).unwrap();
    for row in 0..case.rows {
        assert!((output.lse[row] - expected.lse[row]).abs() <= 2e-6 * expected.lse[row].abs());
        let allowed = common::bounds::gradient(&case, row);
        for (class, allowed) in allowed.into_iter().enumerate() {
            let at = row * classes + class;
            assert!((output.dlogits[at] - expected.dlogits[at]).abs() <= 2.0 * allowed);
        }
    }
    assert_eq!(output.argmax, expected.argmax);
}

const INNER: [usize; 10] = [1, 2, 3, 7, 8, 31, 32, 33, 64, 100];

#[test]
fn small_classes() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    check_settings(31, 50, |rng| {
        [rng.random_range(1..=40), INNER[rng.random_range(0..10)], rng.random_range(1..4)]
    });
}

#[test]
fn more_classes() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let sizes = [100, 128, 129, 255, 256, 257, 512, 513, 1000, 5000];
    check_settings(32, 20, |rng| {
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
