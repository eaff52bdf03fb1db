//! The CUDA kernels where numbers are at their ends: executed by the interpreter of
//! `tests/simulator` and held against the bounds, like the CPU path.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use common::{Case, Output, Target};
use gpu::run::{How, run};
use xent::cuda::variant::{self, Variant};
use xent::{DType, Outputs, Problem, Reduction};

/// The kernels that compute a problem: the streaming one, and those with the row in the registers
/// of one CTA and of clusters, where it fits.
fn kernels(problem: &Problem) -> Vec<Variant> {
    let problem = problem.clone().outputs(Outputs::CROSS_ENTROPY);
    let held = [(1, 4), (2, 4), (4, 8)];
    let held = held
        .iter()
        .filter_map(|&(cluster, vectors)| variant::block(&problem, false, 128, vectors, cluster));
    [variant::stream(&problem, false, 128)].into_iter().chain(held).collect()
}

/// Runs a case with its kernels, and holds what they write against the bounds. What the first wrote.
fn check(case: &Case, how: &How) -> Output {
    check_with(case, how, usize::MAX)
}

/// With so many of its kernels.
fn check_with(case: &Case, how: &How, count: usize) -> Output {
    let outputs = kernels(&case.problem).into_iter().take(count).map(|variant| {
        let (output, _) = run(case, how, &variant, None)
            .unwrap_or_else(|error| panic!("{variant:?} {how:?} {:?}: {error}", case.problem));
        if std::panic::catch_unwind(|| common::bounds::check(case, &output)).is_err() {
            panic!("{variant:?}, {how:?}");
        }
        output
    });
    outputs.collect::<Vec<_>>().swap_remove(0)
}

fn plain(dtype: DType, classes: usize) -> Problem {
    Problem::new(dtype, classes).reduction(Reduction::None)
}

/// Many classes, each so far behind that its exponential is below 2^-126: together they are not.
#[test]
fn many_classes_of_vanishing_probability() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (classes, dtype) in [(100_000, DType::F32), (4000, DType::F32), (4001, DType::BF16)] {
        for behind in [60.0, 80.0, 87.0, 88.0, 92.0, 95.0, 103.0, 110.0] {
            let mut logits = vec![0.0; classes];
            logits[7] = behind;
            let case = Case::new(plain(dtype, classes), 1, logits, 1).targets(&[7]);
            let how = How { logits_offset: 3, dlogits_offset: 3, ..How::default() };
            let output = check(&case, &how);
            assert!(behind > 95.0 || output.stats[1] > 0.0);
        }
    }
}

/// The same where the exponentials differ, under scales, caps, smoothing and probabilities, and
/// with the gradient in the place of the logits.
#[test]
fn vanishing_probabilities_of_all_problems() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let classes = 3000;
    let scaled = |scale| plain(DType::F32, classes).logit_scale(scale);
    for (number, problem) in [
        plain(DType::F32, classes),
        plain(DType::F16, classes),
        plain(DType::BF16, classes).in_place(true),
        plain(DType::F32, classes).in_place(true).label_smoothing(0.1),
        plain(DType::F32, classes).targets(DType::F32).label_smoothing(0.1).class_weights(true),
        scaled(-0.5),
        scaled(3.0).in_place(true),
        plain(DType::F32, classes).softcap(50.0),
        plain(DType::F32, classes).softcap(48.0).logit_scale(-2.0),
    ]
    .into_iter()
    .enumerate()
    {
        // Spread over what is lost and what is kept; one class alone; none but -inf beside it.
        let mut logits = common::normal(number as u64, 4 * classes, 1.0);
        for (row, x) in logits.chunks_mut(classes).enumerate() {
            if row == 3 {
                x.fill(f64::NEG_INFINITY);
            }
            x[row * 900 + 1] = 92.0 + 3.0 * row as f64;
            if problem.softcap.is_some() {
                x.iter_mut().for_each(|x| *x = *x * 1.2 - 46.0);
            }
            let scale = problem.logit_scale;
            x.iter_mut().for_each(|x| *x /= scale);
        }
        let case = Case::new(problem, 4, logits, 1);
        check(&case, &How { gap: 5, ..How::default() });
    }
}

/// What makes the rounding errors of a long row point the same way.
#[derive(Clone, Copy, Debug)]
enum Long {
    Equal,
    /// One class ahead of others whose exponentials are the same bits, bad ones to add up.
    Behind,
    Geometric,
    /// By so much from the first class to the last: chunk after chunk has a new maximum.
    Rising(f64),
    /// Most classes equal, the last of them by steps ahead.
    Steps,
    Sorted,
}

/// The number whose exponential, added to itself in `f32`, has the largest error.
fn worst_addend() -> f64 {
    let error = |x: f64| {
        let e = x.exp() as f32;
        let sum = (0..4096).fold(0f32, |sum, _| sum + e);
        (f64::from(sum) / (4096.0 * f64::from(e)) - 1.0).abs()
    };
    let candidates = (1..500).map(|k| f64::from(-1e-3 * k as f32));
    candidates.max_by(|&a, &b| error(a).total_cmp(&error(b))).unwrap()
}

fn long_row(shape: Long, classes: usize) -> Vec<f64> {
    match shape {
        Long::Equal => vec![2.5; classes],
        Long::Behind => {
            let mut x = vec![worst_addend(); classes];
            x[classes / 3] = 0.0;
            x
        }
        Long::Geometric => (0..classes).map(|c| c as f64 * -1e-3).collect(),
        Long::Rising(by) => (0..classes).map(|c| by * c as f64 / classes as f64).collect(),
        Long::Steps => {
            let late = |c: usize| (c + 20_000).saturating_sub(classes);
            (0..classes).map(|c| (late(c) / 2500) as f64 * 1.01).collect()
        }
        Long::Sorted => {
            let mut x = common::normal(5, classes, 3.0);
            x.sort_by(f64::total_cmp);
            x
        }
    }
}

const SHAPES: [Long; 8] = [
    Long::Equal,
    Long::Behind,
    Long::Geometric,
    Long::Rising(1.0),
    Long::Rising(20.0),
    Long::Rising(200.0),
    Long::Steps,
    Long::Sorted,
];

fn check_long(problem: Problem, threads: u32, shapes: &[Long]) {
    for &shape in shapes {
        let logits = long_row(shape, problem.classes);
        let case = Case::new(problem.clone(), 1, logits, 1);
        let how = How { threads, logits_offset: 1, dlogits_offset: 1, ..How::default() };
        let variant = variant::stream(&case.problem, false, threads);
        let (output, _) = run(&case, &how, &variant, None).unwrap();
        if std::panic::catch_unwind(|| common::bounds::check(&case, &output)).is_err() {
            panic!("{shape:?}, {threads} threads");
        }
    }
}

#[test]
fn long_rows() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for dtype in [DType::F32, DType::BF16] {
        for threads in [128, 256, 512] {
            check_long(plain(dtype, 1 << 20), threads, &SHAPES);
        }
    }
}

#[test]
fn the_longest_rows() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for dtype in [DType::F32, DType::BF16] {
        let shapes = [Long::Equal, Long::Behind, Long::Rising(1.0), Long::Sorted];
        check_long(plain(dtype, (1 << 22) + 1), 128, &shapes);
    }
}

/// Sums over targets too.
#[test]
fn long_rows_of_all_sums() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let classes = (1 << 20) + 3;
    let smoothed = plain(DType::F32, classes).label_smoothing(0.1);
    check_long(smoothed.clone().class_weights(true), 128, &SHAPES);
    check_long(smoothed.logit_scale(-0.5), 256, &SHAPES);
    check_long(plain(DType::BF16, classes).targets(DType::BF16), 128, &SHAPES);
    check_long(plain(DType::BF16, classes).softcap(30.0), 128, &[Long::Rising(1.0), Long::Sorted]);
}

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// Runs a row of five classes for some targets, in f32 and bf16, streamed and in registers; the
/// gradient also from the statistics, which must give the same bits.
fn check_row(problem: &Problem, x: [f64; 5]) {
    for dtype in [DType::F32, DType::BF16] {
        for target in [0, 1, 3] {
            let mut problem = problem.clone();
            (problem.logits, problem.dlogits, problem.output) = (dtype, dtype, dtype);
            let case = Case::new(problem, 1, x.to_vec(), 1).targets(&[target]);
            check_case(&case);
        }
    }
}

fn check_case(case: &Case) {
    let how = How::default();
    let output = check_with(case, &how, 2);
    let backward = variant::stream(&case.problem, true, 128);
    let (separate, _) = run(case, &how, &backward, Some(&output.stats)).unwrap();
    let bits = |output: &Output| output.dlogits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&output), bits(&separate), "{:?} {:?}", case.problem, case.logits);
}

/// Differences of logits may be infinite where they, times the scale, are not.
#[test]
fn scales_of_logits_far_apart_and_near() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let apart = [3e38, -3e38, 0.0, 1.0, 2e38];
    let near = [1e-38, 2e-38, -1e-38, 0.0, 3e-38];
    for scale in [1.0, -1.0, 0.5, 0.1, 0.9, -0.5, 2.0, 1e30, 1e-30, 3e38, 1e-38, -1e-38, 1e-45] {
        let problem = plain(DType::F32, 5).logit_scale(scale);
        for x in [apart, near, [1.0, -2.0, 3.0, 2.5, 0.0]] {
            check_row(&problem, x);
        }
        let smoothed = problem.label_smoothing(0.1);
        check_row(&smoothed, near);
        if scale.abs() < 0.2 {
            check_row(&smoothed, apart);
        }
    }
}

#[test]
fn caps_of_infinite_and_huge_logits() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let rows = [
        [3e38, -3e38, 0.0, 1.0, 2e38],
        [INF, -INF, 0.0, 1.0, INF],
        [-INF; 5],
        [INF; 5],
        [1.0, 2.0, -1.0, 0.0, 1e-3],
    ];
    let squashes = [
        (5.0, 1.0),
        (30.0, -2.0),
        (1e-30, 1.0),
        (1e30, 1.0),
        (3e38, 1.0),
        (5.0, 1e30),
        (5.0, 1e-30),
    ];
    for (cap, scale) in squashes {
        let problem = plain(DType::F32, 5).softcap(cap).logit_scale(scale);
        for x in rows {
            check_row(&problem, x);
            if cap < 1e3 {
                check_row(&problem.clone().label_smoothing(0.3), x);
            }
        }
    }
}

#[test]
fn rows_of_infinities() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for scale in [1.0, -1.0, 0.3] {
        let problem = plain(DType::F32, 5).logit_scale(scale);
        for x in [
            [-INF; 5],
            [INF; 5],
            [INF, -INF, 0.0, 1.0, NAN],
            [INF, -INF, 0.0, 1.0, 2.0],
            [NAN; 5],
            [-INF, -INF, 1.0, -INF, -INF],
            [-INF, NAN, -INF, -INF, -INF],
        ] {
            check_row(&problem, x);
            check_row(&problem.clone().label_smoothing(0.1), x);
            check_row(&problem.clone().z_loss(0.1), x);
        }
    }
}

/// 0 times infinity is 0.
#[test]
fn weights_of_0_at_minus_infinity() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let x = [-INF, 1.0, 1.0, -INF, 0.5];
    for smoothing in [0.0, 0.2, 1.0] {
        let problem = plain(DType::F32, 5).label_smoothing(smoothing);
        for target in [0, 1, 3] {
            let row = |problem| Case::new(problem, 1, x.to_vec(), 1).targets(&[target]);
            let mut classes = row(problem.clone().class_weights(true));
            check_case(&classes);
            classes.class_weights = Some(vec![0.0, 1.0, 1.0, 0.0, 0.5]);
            check_case(&classes);
            let mut rows = row(problem.clone().row_weights(true));
            rows.row_weights = Some(vec![0.0]);
            check_case(&rows);
        }
    }
    let mut soft = Case::new(plain(DType::F32, 5).targets(DType::F32), 1, x.to_vec(), 1);
    for q in [[0.0, 0.5, 0.25, 0.0, 0.25], [0.5, 0.5, 0.0, 0.0, 0.0]] {
        soft.target = Target::Probabilities(q.to_vec());
        check_case(&soft);
    }
}

#[test]
fn z_losses_of_huge_lse() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for z in [1e15, 1e19, 1e25, -1e25, 3e38] {
        for factor in [1e-4, 1e-30, -1e-4] {
            check_row(&plain(DType::F32, 5).z_loss(factor), [z, z, 0.0, z, 1.0]);
        }
    }
}

#[test]
fn rows_of_one_class() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let smoothed = plain(DType::BF16, 1).label_smoothing(0.1);
    for problem in [plain(DType::F32, 1), smoothed.clone().logit_scale(-0.5), smoothed.softcap(2.0)]
    {
        for x in [-3.0, 0.0, INF, -INF, NAN] {
            check_case(&Case::new(problem.clone(), 1, vec![x], 1).targets(&[0]));
        }
    }
}
