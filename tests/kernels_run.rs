//! The CUDA kernels compute what the library promises: executed by the interpreter of
//! `tests/simulator` and held against the reference, like the CPU path.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use std::time::Instant;

use common::{Case, Output};
use gpu::run::{How, run};
use gpu::sample::{Setting, settings};
use rand::RngExt;
use xent::cuda::variant::{self, Variant};
use xent::{DType, Outputs, Problem, Reduction};

/// Runs a case and holds what it wrote against the reference. What its outputs do not name is
/// taken from the CPU.
fn check(case: &Case, outputs: Outputs, how: &How, variant: &Variant) -> Output {
    let lean = Case { problem: case.problem.clone().outputs(outputs), ..case.clone() };
    let (output, trace) = run(&lean, how, variant, None)
        .unwrap_or_else(|error| panic!("{variant:?} {how:?} {:?}: {error}", lean.problem));
    assert_eq!(trace.report, [0; 4]);
    let mut full = output.clone();
    if outputs != Outputs::all() {
        // Not in place: this runs on a copy.
        let apart = Case { problem: case.problem.clone().in_place(false), ..case.clone() };
        let cpu = apart.run();
        let or = |wanted: Outputs| outputs.contains(wanted);
        let fill = |wanted, mine: &mut Vec<f32>, other: Vec<f32>| {
            if !or(wanted) {
                *mine = other;
            }
        };
        fill(Outputs::LOSS, &mut full.loss, cpu.loss);
        fill(Outputs::LSE, &mut full.lse, cpu.lse);
        fill(Outputs::STATS, &mut full.stats, cpu.stats);
        fill(Outputs::ENTROPY, &mut full.entropy, cpu.entropy);
        if !or(Outputs::DLOGITS) {
            full.dlogits = cpu.dlogits;
        }
        if !or(Outputs::ARGMAX) {
            full.argmax = cpu.argmax;
        }
        if !or(Outputs::CORRECT) {
            full.correct = cpu.correct;
        }
    }
    if std::panic::catch_unwind(|| common::bounds::check(case, &full)).is_err() {
        panic!("{variant:?}, {how:?}");
    }
    output
}

/// The streaming kernel for a setting.
fn stream(case: &Case, outputs: Outputs, how: &How) -> Variant {
    variant::stream(&case.problem.clone().outputs(outputs), false, how.threads)
}

#[test]
fn every_small_row_at_every_offset() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let start = Instant::now();
    let mut runs = 0;
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for classes in 1..=70 {
            let problem = Problem::new(dtype, classes).outputs(Outputs::all());
            let case = Case::random(problem.clone(), 2, classes as u64);
            let offsets = 16 / dtype.size() as u64;
            for offset in (classes as u64 % 3..offsets).step_by(3) {
                let dlogits_offset = if offset % 2 == 0 { offset } else { 5 };
                let how = How { logits_offset: offset, dlogits_offset, ..How::default() };
                check(&case, Outputs::all(), &how, &stream(&case, Outputs::all(), &how));
                runs += 1;
            }
        }
    }
    println!("{runs} runs in {:.1?}", start.elapsed());
}

/// Runs settings, with the schedule changed in every third, and the gradient from the statistics
/// where a run gave both.
fn check_settings(settings: &[Setting], variant: fn(&Setting, bool) -> Variant) {
    let mut failures = 0;
    for (number, setting) in settings.iter().enumerate() {
        let Setting { case, outputs, how } = setting;
        let result = std::panic::catch_unwind(|| {
            let output = check(case, *outputs, how, &variant(setting, false));
            let lean = Case { problem: case.problem.clone().outputs(*outputs), ..case.clone() };
            if number % 3 == 0 {
                let other = How { seed: how.seed ^ 1, ..how.clone() };
                let (again, _) = run(&lean, &other, &variant(setting, false), None).unwrap();
                assert_eq!(bits(&output), bits(&again), "another schedule, {how:?}");
            }
            if outputs.contains(Outputs::DLOGITS | Outputs::STATS) {
                let stats = Some(output.stats.as_slice());
                let (separate, _) = run(&lean, how, &variant(setting, true), stats).unwrap();
                let (fused, separate) = (wide_bits(&output.dlogits), wide_bits(&separate.dlogits));
                assert_eq!(fused, separate, "from the statistics, {how:?}");
            }
        });
        failures += u32::from(result.is_err());
    }
    assert_eq!(failures, 0);
}

fn wide_bits(x: &[f64]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// All of an output, NaN included.
fn bits(output: &Output) -> Vec<u64> {
    let floats = [&output.loss, &output.lse, &output.stats, &output.entropy];
    let floats = floats.into_iter().flatten().map(|x| u64::from(x.to_bits()));
    let integers = output.argmax.iter().chain([&output.correct]).map(|&x| x as u64);
    floats.chain(integers).chain(wide_bits(&output.dlogits)).collect()
}

const SIZES: [usize; 24] = [
    1, 2, 9, 31, 32, 33, 63, 65, 127, 129, 255, 257, 511, 513, 1000, 1023, 1025, 2047, 2049, 4095,
    4097, 5000, 8191, 8193,
];

#[test]
fn settings_by_pairs() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let start = Instant::now();
    let mut count = 0;
    for round in 0..3 {
        let settings = settings(20, |rng| SIZES[(rng.random_range(0..24) + 8 * round) % 24]);
        check_settings(&settings, |setting, backward| {
            let problem = setting.case.problem.clone().outputs(setting.outputs);
            variant::stream(&problem, backward, setting.how.threads)
        });
        count += settings.len();
    }
    println!("{count} settings in {:.1?}", start.elapsed());
}

/// Few vectors and threads, so that rows of all sizes fill several CTAs.
fn block(setting: &Setting, backward: bool) -> Variant {
    let Setting { case, outputs, how } = setting;
    let problem = case.problem.clone().outputs(*outputs);
    let clusters: &[u32] = if how.arch >= 90 { &[1, 2, 4, 8] } else { &[1] };
    let fit = |&cluster: &u32| variant::block(&problem, backward, 128, 4, cluster);
    let found = clusters.iter().find_map(fit);
    found.unwrap_or_else(|| variant::stream(&problem, backward, 128))
}

#[test]
fn rows_in_registers() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let start = Instant::now();
    let mut count = 0;
    for round in 0..3 {
        let settings = settings(21, |rng| SIZES[(rng.random_range(0..24) + 8 * round) % 24]);
        check_settings(&settings, block);
        count += settings.len();
    }
    println!("{count} settings in registers in {:.1?}", start.elapsed());
}

#[test]
fn large_rows() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let start = Instant::now();
    for (number, classes) in [32000, 50257, 65537, 128_256].into_iter().enumerate() {
        for dtype in [DType::BF16, DType::F32] {
            let problem = Problem::new(dtype, classes).outputs(Outputs::all());
            let case = Case::random(problem, 1, number as u64);
            let offset = number as u64 % 2;
            let how = How { logits_offset: offset, dlogits_offset: offset, ..How::default() };
            check(&case, Outputs::all(), &how, &stream(&case, Outputs::all(), &how));
            let fit = |&cluster: &u32| variant::block(&case.problem, false, 256, 10, cluster);
            let in_registers = [1, 2, 4, 8].iter().find_map(fit);
            if let Some(variant) = in_registers {
                check(&case, Outputs::all(), &how, &variant);
            }
        }
    }
    println!("large rows in {:.1?}", start.elapsed());
}

/// Rows whose first k columns are -inf, with k at every boundary of vectors, warps and chunks.
#[test]
fn masked_beginnings() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let classes = 9000;
    let widths =
        [0, 1, 7, 8, 9, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8999, 9000];
    for cap in [None, Some(4.0)] {
        for dtype in [DType::F32, DType::BF16] {
            let mut problem = Problem::new(dtype, classes).reduction(Reduction::None);
            problem.softcap = cap;
            let mut case = Case::random(problem.label_smoothing(0.1), widths.len(), 7);
            for (x, &width) in case.logits.chunks_mut(classes).zip(&widths) {
                x[..width].fill(f64::NEG_INFINITY);
            }
            let how = How { gap: 5, ..How::default() };
            check(&case, Outputs::all(), &how, &stream(&case, Outputs::all(), &how));
        }
    }
}

#[test]
fn huge_logits_and_infinities() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let classes = 300;
    for scale in [1.0, -1.0, 0.5] {
        let problem = Problem::new(DType::F32, classes).logit_scale(scale);
        let mut case = Case::random(problem.reduction(Reduction::None), 6, 11);
        let y = match &case.target {
            common::Target::Classes(y) => y.clone(),
            common::Target::Probabilities(_) => unreachable!(),
        };
        let mut rows = case.logits.chunks_mut(classes);
        rows.next().unwrap().fill(1e8); // all equal
        rows.next().unwrap().fill(f64::from(f32::MAX));
        rows.next().unwrap()[y[2] as usize] = scale.signum() * 1e30;
        rows.next().unwrap()[17] = f64::INFINITY;
        rows.next().unwrap().fill(f64::NEG_INFINITY);
        rows.next().unwrap()[250] = f64::NAN;
        let how = How::default();
        check(&case, Outputs::all(), &how, &stream(&case, Outputs::all(), &how));
    }
}

/// A target that is no class: its row's loss and gradient are NaN, all else is as if it were
/// ignored, and the report tells.
#[test]
fn targets_that_are_no_classes() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let classes = 130;
    for dtype in [DType::I64, DType::I32] {
        for bad in [classes as i64, -1, i64::from(i32::MIN), 1 << 32, (1 << 32) + 5, i64::MIN] {
            if dtype == DType::I32 && i32::try_from(bad).is_err() {
                continue;
            }
            let problem = Problem::new(DType::BF16, classes)
                .targets(dtype)
                .ignore_index(-100)
                .class_weights(true)
                .label_smoothing(0.1);
            let ignored = Case::random(problem, 5, 3).targets(&[3, 5, -100, 129, -100]);
            let mut broken = ignored.clone().targets(&[3, 5, bad, 129, bad]);
            let how = How { report: [1, 7, 200, 0], ..How::default() };
            let variant = stream(&ignored, Outputs::all(), &how);
            let (expected, trace) = run(&ignored, &how, &variant, None).unwrap();
            assert_eq!(trace.report, [1, 7, 200, 0]);
            let (output, trace) = run(&broken, &how, &variant, None).unwrap();
            assert_eq!(trace.report, [3, 2, bad, 0]);
            assert!(output.loss[0].is_nan());
            for row in 0..5 {
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
            broken.problem = broken.problem.reduction(Reduction::None);
            let (output, _) = run(&broken, &how, &variant, None).unwrap();
            assert_eq!(
                output.loss.iter().map(|x| x.is_nan()).collect::<Vec<_>>(),
                [false, false, true, false, true]
            );
        }
    }
}

/// Many rows: several slices are counted and summed.
#[test]
fn many_rows() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let problem = Problem::new(DType::BF16, 3).ignore_index(1).row_weights(true).z_loss(0.1);
    let case = Case::random(problem, 9000, 5);
    let how = How { threads: 32, ..How::default() };
    check(&case, Outputs::all(), &how, &stream(&case, Outputs::all(), &how));
}
