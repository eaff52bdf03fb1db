//! The CUDA kernels agree with PyTorch and with the CPU, and a mean divides by what it is told to.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use common::golden::Golden;
use common::{Case, Output, bounds};
use gpu::check::{bits, check, wide_bits};
use gpu::force::{KERNELS, variants};
use gpu::pool;
use gpu::run::{How, run};
use xent::{DType, Denominator, EmptyMean, Outputs, Problem, Reduction};

/// Every case of PyTorch's by every kernel, on inputs rounded to the type, within the bounds of the
/// reference there. That these inputs' exact results are PyTorch's but for the rounding of inputs,
/// `tests/golden.rs` holds, for the same cases.
#[test]
fn the_golden_cases() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let mut items = Vec::new();
    for golden in Golden::all() {
        let how = How { gap: golden.index % 3, ..How::default() };
        let case = golden.case(DType::F32);
        for (_, variant) in variants(&case.problem, false, &how) {
            items.push((case.clone(), how.clone(), variant));
        }
        for dtype in [DType::F16, DType::BF16] {
            let case = golden.case(dtype);
            let mut kernels = variants(&case.problem, false, &how);
            let (_, variant) = kernels.swap_remove(golden.index % kernels.len());
            items.push((case, how.clone(), variant));
        }
    }
    assert!(items.len() >= 43 * (KERNELS.len().min(3) + 2), "{} runs", items.len());
    let work = |(case, how, variant): &_| drop(check(case, Outputs::CROSS_ENTROPY, how, variant));
    assert_eq!(pool::each(&items, work).failures, 0);
}

fn problems() -> Vec<Problem> {
    let plain = |dtype, classes| Problem::new(dtype, classes).reduction(Reduction::None);
    vec![
        plain(DType::BF16, 777),
        plain(DType::F32, 2000).softcap(8.0).label_smoothing(0.1).class_weights(true),
        plain(DType::F16, 1025).targets(DType::F32).z_loss(0.01).dlogits(DType::F32),
        plain(DType::F32, 130).logit_scale(-0.8).reduction(Reduction::Mean).row_weights(true),
    ]
}

/// Elementwise, the CPU's numbers and a kernel's are no further apart than the two may be from the
/// reference together; what is no rounded number is the same.
#[test]
fn the_cpu_and_the_kernels_agree() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (seed, problem) in problems().into_iter().enumerate() {
        let case = Case::random(problem, 5, seed as u64);
        let cpu = case.run();
        bounds::check(&case, &cpu);
        let rows = 0..case.rows;
        let allowed: Vec<f64> = rows.flat_map(|row| bounds::gradient(&case, row)).collect();
        let how = How { logits_offset: 1, noise: Some(3), ..How::default() };
        for (name, variant) in variants(&case.problem, false, &how) {
            let output = check(&case, Outputs::CROSS_ENTROPY, &how, &variant);
            assert_eq!((&output.argmax, output.correct), (&cpu.argmax, cpu.correct), "{name}");
            let gradients = output.dlogits.iter().zip(&cpu.dlogits);
            for (at, ((a, b), allowed)) in gradients.zip(&allowed).enumerate() {
                let rounding = bounds::ulp(a.abs().max(b.abs()), case.problem.dlogits);
                let near = (a - b).abs() <= 2.0 * allowed + rounding;
                assert!(near, "{name}: {a:e} and {b:e} at {at} of {:?}", case.problem);
            }
        }
    }
}

/// A mean over rows of which one is ignored, with the denominator in device memory.
fn mean(empty: EmptyMean) -> Case {
    let problem = Problem::new(DType::F32, 70).ignore_index(-1).z_loss(0.01).empty_mean(empty);
    let case = Case::random(problem.class_weights(true), 4, 8);
    let mut case = case.targets(&[3, -1, 69, 0]);
    case.logits[70..140].fill(f64::NAN);
    case
}

fn with_denominator(case: &Case, value: Option<f32>) -> Vec<Output> {
    let how = How { denominator: value, ..How::default() };
    let kernels = variants(&case.problem, false, &how);
    kernels.iter().map(|(_, variant)| run(case, &how, variant, None).unwrap().0).collect()
}

#[test]
fn a_denominator_in_device_memory() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for empty in [EmptyMean::Nan, EmptyMean::Zero] {
        let mut case = mean(empty);
        for value in [1.0, 12.5, 1e-20] {
            case.denominator = Denominator::Value(f64::from(value));
            let given = with_denominator(&case, None);
            for (read, given) in with_denominator(&case, Some(value)).iter().zip(given) {
                assert_eq!(bits(read), bits(&given), "{value}");
                bounds::check(&case, read);
            }
            // Of no use, but nothing else than its negative.
            for (read, positive) in with_denominator(&case, Some(-value))
                .iter()
                .zip(with_denominator(&case, Some(value)))
            {
                assert_eq!(read.loss[0], -positive.loss[0]);
                let negative: Vec<f64> = positive.dlogits.iter().map(|g| -g).collect();
                assert_eq!(read.dlogits, negative, "{value}");
            }
        }
    }
}

#[test]
fn a_denominator_in_device_memory_that_is_0_or_no_number() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (empty, value) in [
        (EmptyMean::Zero, 0.0),
        (EmptyMean::Zero, -0.0),
        (EmptyMean::Zero, f32::NAN),
        (EmptyMean::Nan, 0.0),
        (EmptyMean::Nan, -0.0),
        (EmptyMean::Nan, f32::NAN),
    ] {
        let case = mean(empty);
        for output in with_denominator(&case, Some(value)) {
            let is_zero = empty == EmptyMean::Zero && value == 0.0;
            let expected = |x: f64| if is_zero { x == 0.0 } else { x.is_nan() };
            assert!(expected(output.loss[0].into()), "{empty:?} {value}: {:?}", output.loss);
            for (row, gradient) in output.dlogits.chunks(70).enumerate() {
                if row == 1 {
                    assert_eq!(wide_bits(gradient), [0; 70], "an ignored row");
                } else {
                    assert!(
                        gradient.iter().all(|&g| expected(g)),
                        "{empty:?} {value}: {gradient:?}"
                    );
                }
            }
            assert!(output.lse.iter().all(|lse| lse.is_finite()));
        }
    }
}

/// Nothing to divide by, as the rows say.
#[test]
fn all_rows_ignored() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for empty in [EmptyMean::Nan, EmptyMean::Zero] {
        let mut case = mean(empty).targets(&[-1; 4]);
        case.logits.fill(f64::NAN);
        let how = How::default();
        for (_, variant) in variants(&case.problem, false, &how) {
            let (output, _) = run(&case, &how, &variant, None).unwrap();
            bounds::check(&case, &output);
            assert_eq!(output.loss[0].is_nan(), empty == EmptyMean::Nan, "{:?}", output.loss);
            assert_eq!(wide_bits(&output.dlogits), [0; 280]);
            assert_eq!((output.argmax.as_slice(), output.correct), ([-1; 4].as_slice(), 0));
        }
    }
}

/// A row of a case by itself: its numbers, as bits.
fn of_row(case: &Case, output: &Output, row: usize) -> Vec<u64> {
    let classes = case.problem.classes;
    let row_of = |x: &[f32], n: usize| x[n * row..n * (row + 1)].to_vec();
    let floats = [
        row_of(&output.loss, 1),
        row_of(&output.lse, 1),
        row_of(&output.stats, 2),
        row_of(&output.entropy, 1),
    ];
    let floats = floats.concat().into_iter().map(|x| u64::from(x.to_bits()));
    let gradient = wide_bits(&output.dlogits[row * classes..(row + 1) * classes]);
    floats.chain([output.argmax[row] as u64]).chain(gradient).collect()
}

/// A row has the same bits alone, first, last and between others, in batches of any size and
/// whatever the order of CTAs, as long as it begins at the same place of a line of 128 bytes.
#[test]
fn a_row_anywhere_in_a_batch() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for mut problem in problems() {
        problem.reduction = Reduction::None;
        problem.targets = DType::I64;
        problem.row_weights = false;
        let classes = problem.classes;
        let size = problem.logits.size();
        let gap = (classes * size).next_multiple_of(128) / size - classes;
        let how = How { gap, logits_offset: 3, dlogits_offset: 2, ..How::default() };
        let batch = Case::random(problem, 7, 99);
        let class = match &batch.target {
            common::Target::Classes(y) => y[0],
            common::Target::Probabilities(_) => unreachable!(),
        };
        for (name, variant) in variants(&batch.problem, false, &how) {
            let mut expected: Option<Vec<u64>> = None;
            for (rows, at) in [(1, 0), (2, 0), (2, 1), (7, 0), (7, 3), (7, 6)] {
                let mut case = Case { rows, ..batch.clone() };
                case.logits.truncate(rows * classes);
                // Row 0 of the batch and row `at` change places.
                for c in 0..classes {
                    case.logits.swap(c, at * classes + c);
                }
                if let common::Target::Classes(y) = &mut case.target {
                    y.truncate(rows);
                    y.swap(0, at);
                    assert_eq!(y[at], class);
                }
                let how = How { seed: (10 * rows + at) as u64, ..how.clone() };
                let (output, _) = run(&case, &how, &variant, None).unwrap();
                let found = of_row(&case, &output, at);
                let first = expected.get_or_insert_with(|| found.clone());
                assert_eq!(first, &found, "{name}: row {at} of {rows}, {:?}", case.problem);
            }
        }
    }
}
