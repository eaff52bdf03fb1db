//! The CUDA kernels compute what the library promises: executed by the interpreter of
//! `tests/simulator` and held against the reference, like the CPU path. The same cases on every run;
//! with `XENT_EXTENDED` set, as many more as ten minutes hold, others each time.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Case, Target};
use gpu::check::{bits, check, lean, wide_bits};
use gpu::force::variants;
use gpu::pool;
use gpu::run::{How, module, run};
use gpu::sample::{Choice, Matrix, Setting};
use xent::cuda::variant::{self, Variant};
use xent::{DType, Outputs, Problem, Reduction};

/// What each matrix may take on processors, without compiling: all pairs must fit.
const BUDGET: Duration = Duration::from_secs(60);
/// How long more random settings are run for each matrix, where they are asked for.
const EXTENDED: Duration = Duration::from_secs(300);

/// Runs a setting under several schedules, and the gradient from the statistics where it gives
/// both: the same bits each time.
fn check_setting(setting: &Setting, separate: bool) {
    let Setting { choice, case, outputs, how } = setting;
    let variant = setting.variant(false);
    let output = check(case, *outputs, how, &variant);
    let lean = lean(case, *outputs);
    for number in 0..choice.schedules as u64 {
        let other = How { seed: how.seed ^ (number + 1), ..how.clone() };
        let (again, _) = run(&lean, &other, &variant, None).unwrap();
        assert_eq!(bits(&output), bits(&again), "another schedule, {variant:?}, {how:?}");
    }
    if separate && outputs.contains(Outputs::DLOGITS | Outputs::STATS) {
        let stats = Some(output.stats.as_slice());
        let variant = setting.variant(true);
        let (separate, _) = run(&lean, how, &variant, stats).unwrap();
        let same = wide_bits(&output.dlogits) == wide_bits(&separate.dlogits);
        assert!(same, "from the statistics, {variant:?}, {how:?}");
    }
}

/// Runs choices; their number among all is part of what they leave to chance.
fn check_choices(matrix: &Matrix, choices: &[Choice], seed: u64, separate: bool) -> pool::Done {
    let seeded: Vec<(u64, Choice)> = (seed..).zip(choices.iter().copied()).collect();
    let compile = |&(seed, choice): &(u64, Choice)| {
        let setting = matrix.setting(choice, seed);
        module(&setting.how, &setting.variant(false));
    };
    assert_eq!(pool::each(&seeded, compile).failures, 0);
    pool::each(&seeded, |&(seed, choice)| check_setting(&matrix.setting(choice, seed), separate))
}

/// All pairs of a matrix, and what else there is time for.
fn check_matrix(name: &str, matrix: &Matrix, separate: bool) {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let start = Instant::now();
    let (choices, pairs) = matrix.pairwise(1);
    let done = check_choices(matrix, &choices, 0, separate);
    println!(
        "{name}: {} settings, in which all {} pairs meet that can ({} cannot); {:.1?} of processors, \
         allowed are {BUDGET:?}; {:.1?} with compiling, on {} cores",
        choices.len(),
        pairs.met,
        pairs.impossible,
        done.time,
        start.elapsed(),
        pool::cores(),
    );
    assert_eq!(done.failures, 0);
    assert!(done.time <= BUDGET, "the pairs of {name} do not fit the budget");
    if std::env::var_os("XENT_EXTENDED").is_none() {
        return;
    }
    let (start, mut seed) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let mut count = 0;
    while start.elapsed() < EXTENDED {
        seed += Duration::from_nanos(1_000_000);
        let seed = seed.as_nanos() as u64;
        let (choices, _) = matrix.pairwise(seed);
        for part in choices.chunks(100).take_while(|_| start.elapsed() < EXTENDED) {
            let done = check_choices(matrix, part, seed, separate);
            assert_eq!(done.failures, 0, "seed {seed}");
            count += part.len();
        }
    }
    println!("{name}: {count} more settings in {:.1?}", start.elapsed());
}

#[test]
fn every_size_at_every_offset_by_every_kernel() {
    check_matrix("sizes", &Matrix::sizes(), false);
}

#[test]
fn options_in_combination() {
    check_matrix("options", &Matrix::options(), true);
}

/// What by chance was found beyond its bound: two maxima besides the first, in warps of their own,
/// and so many classes 8 behind them that where warps and CTAs merged, each sum was rounded up.
#[test]
fn maxima_in_other_warps_beside_a_few_smaller_classes() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let matrix = Matrix::sizes();
    let choice = Choice {
        classes: matrix.classes.iter().position(|sizes| sizes[0] == 16_383).unwrap(),
        kernel: 8,
        geometry: 2,
        targets: 4,
        logits_offset: 6,
        dlogits_offset: 6,
        schedules: 1,
        shape: 3,
        in_place: 1,
        gap: 1,
        ..Choice::default()
    };
    check_setting(&matrix.setting(choice, 1_795_396_371_821_651_767), false);
}

/// Every option alone, as a change to a plain problem.
fn options() -> Vec<(&'static str, Problem)> {
    let plain = Problem::new(DType::BF16, 1000).reduction(Reduction::None);
    let plain = plain.outputs(Outputs::LOSS | Outputs::LSE | Outputs::DLOGITS);
    let p = || plain.clone();
    vec![
        ("none", p()),
        ("loss alone", p().outputs(Outputs::LOSS)),
        ("gradient alone", p().outputs(Outputs::DLOGITS)),
        ("statistics", p().outputs(Outputs::STATS)),
        ("entropy", p().outputs(plain.outputs | Outputs::ENTROPY)),
        ("argmax", p().outputs(plain.outputs | Outputs::ARGMAX)),
        ("correct", p().outputs(plain.outputs | Outputs::CORRECT)),
        ("mean", p().reduction(Reduction::Mean)),
        ("sum", p().reduction(Reduction::Sum)),
        ("smoothing", p().label_smoothing(0.1)),
        ("smoothing of all", p().label_smoothing(1.0)),
        ("class weights", p().class_weights(true)),
        ("row weights", p().row_weights(true)),
        ("scale", p().logit_scale(0.3)),
        ("negative scale", p().logit_scale(-1.7)),
        ("softcap", p().softcap(3.0)),
        ("z-loss", p().z_loss(0.02)),
        ("ignored rows", p().ignore_index(-100)),
        ("in place", p().in_place(true)),
        ("i32 targets", p().targets(DType::I32)),
        ("u32 targets", p().targets(DType::U32)),
        ("u8 targets", p().targets(DType::U8)),
        ("f32 probabilities", p().targets(DType::F32)),
        ("f16 probabilities", p().targets(DType::F16)),
        ("bf16 probabilities", p().targets(DType::BF16)),
        ("f32 gradient", p().dlogits(DType::F32)),
    ]
}

#[test]
fn every_option_alone() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (name, problem) in options() {
        let outputs = problem.outputs;
        let mut case = Case::random(problem.clone(), 5, 17);
        if let (Target::Classes(y), Some(index)) = (&mut case.target, problem.ignore_index) {
            (y[1], y[4]) = (index, index);
            case.logits[1000..2000].fill(f64::NAN);
        }
        let how = How { logits_offset: 3, dlogits_offset: 3, gap: 7, ..How::default() };
        let kernels = variants(&problem, false, &how);
        let work = |(_, variant): &(_, Variant)| {
            check(&case, outputs, &how, variant);
            if outputs.contains(Outputs::DLOGITS) {
                let upstream = case.clone().dloss(&[-2.0, 0.5, 1e-3, 7.0, 1.5]);
                let upstream = match problem.reduction {
                    Reduction::None => upstream,
                    _ => upstream.dloss(&[-2.5]),
                };
                check(&upstream, outputs, &how, variant);
            }
        };
        assert_eq!(pool::each(&kernels, work).failures, 0, "{name}");
    }
}

/// Runs a case with every kernel that can.
fn check_kernels(case: &Case, how: &How) {
    let kernels = variants(&case.problem, false, how);
    let done = pool::each(&kernels, |(_, variant)| {
        drop(check(case, Outputs::CROSS_ENTROPY, how, variant))
    });
    assert_eq!(done.failures, 0);
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
            let how = How { gap: 5, vectors: 8, ..How::default() };
            check_kernels(&case, &how);
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
            Target::Classes(y) => y.clone(),
            Target::Probabilities(_) => unreachable!(),
        };
        let mut rows = case.logits.chunks_mut(classes);
        rows.next().unwrap().fill(1e8); // all equal
        rows.next().unwrap().fill(f64::from(f32::MAX));
        rows.next().unwrap()[y[2] as usize] = scale.signum() * 1e30;
        rows.next().unwrap()[17] = f64::INFINITY;
        rows.next().unwrap().fill(f64::NEG_INFINITY);
        rows.next().unwrap()[250] = f64::NAN;
        check_kernels(&case, &How::default());
    }
}

/// A target that is no class: its row's loss and gradient are NaN, all else is as if it were
/// ignored, and the report tells.
#[test]
fn targets_that_are_no_classes() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let (classes, mut number) = (130, 0);
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
            let kernels = variants(&ignored.problem, false, &how);
            let (_, variant) = &kernels[number % kernels.len()];
            number += 1;
            let (expected, trace) = run(&ignored, &how, variant, None).unwrap();
            assert_eq!(trace.report, [1, 7, 200, 0]);
            let (output, trace) = run(&broken, &how, variant, None).unwrap();
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
            let (output, _) = run(&broken, &how, variant, None).unwrap();
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
    check(&case, Outputs::CROSS_ENTROPY, &how, &variant::stream(&case.problem, false, 32));
}
