//! The CUDA kernels keep to the bounds where their roundings all point the same way: in sums of one
//! large addend and of many small ones, of which each partial sum loses as much as it can; and in
//! exponents, of which the difference of two logits and its product lose as much as they can.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use common::{Case, Target, round};
use gpu::check::check;
use gpu::force::variants;
use gpu::pool;
use gpu::run::{Columns, How};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xent::cuda::variant;
use xent::{DType, Outputs, Problem, Reduction};

/// A logit of which `count` exponentials together lie between two neighbours just below 1, as near to
/// their middle as they can, at as little of T as they can.
fn lost(count: f64, dtype: DType) -> f64 {
    let loss = |x: f64| {
        let steps = count * f64::from(x.exp() as f32) * 2f64.powi(24);
        (steps - steps.round()).abs() / (1.0 + steps / 50.0)
    };
    let logits = (0..5000).map(|k| round(-10.0 - f64::from(k) / 500.0, dtype));
    logits.max_by(|&a, &b| loss(a).total_cmp(&loss(b))).unwrap()
}

/// Rows whose largest class is followed by one that is hardly behind; all others are as far behind as
/// makes the sum of some of them be [`lost`]. They are in the same thread, warp or CTA, or in others.
fn case_of_sums(problem: &Problem) -> Case {
    let classes = problem.classes;
    let counts = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
    let others = counts.map(|count| lost(count, problem.logits));
    let places = [(classes / 2, classes / 3), (1, 0), (32, 0)];
    let rows: Vec<_> = places.iter().flat_map(|&at| others.map(|x| (at, x))).collect();
    let logits = rows.iter().flat_map(|&((largest, second), x)| {
        let mut row = vec![x; classes];
        (row[largest], row[second]) = (0.0, -1.0 / 256.0);
        row
    });
    let mut case = Case::new(problem.clone(), rows.len(), logits.collect(), 1);
    if let Target::Probabilities(q) = &mut case.target {
        q.fill(round(1.49 / 2f64.powi(24), problem.targets));
        q.iter_mut().step_by(classes).for_each(|q| *q = 0.75);
    }
    case
}

/// Two logits whose distance t, of `f32`, and t log2(e) are rounded as far as they can be, and in the same
/// direction: of some at random, those for which it is worst. Distances of 16-bit logits are exact.
fn rounded_twice(rng: &mut StdRng, dtype: DType) -> [f64; 2] {
    let pairs = (0..20_000)
        .map(|_| [rng.random_range(1.0..64.0), rng.random_range(-64.0..1.0)])
        .map(|pair| pair.map(|x| round(x, dtype)));
    let error = |[largest, other]: [f64; 2]| {
        let exact = other - largest;
        let product = exact as f32 * std::f32::consts::LOG2_E;
        (f64::from(product) * std::f64::consts::LN_2 / exact - 1.0).abs()
    };
    let allowed = pairs.filter(|[largest, other]| {
        let distance = largest - other;
        let exact = f64::from(distance as f32) == distance;
        (10.0..46.0).contains(&distance) && (dtype == DType::F32 || exact)
    });
    allowed.max_by(|&a, &b| error(a).total_cmp(&error(b))).unwrap()
}

/// Rows of two such logits, with others at -inf between them. The target is the larger one: its loss has
/// the error of the exponential.
fn case_of_exponents(problem: &Problem) -> Case {
    let mut rng = StdRng::seed_from_u64(5);
    let (rows, classes) = (24, problem.classes);
    let mut logits = vec![f64::NEG_INFINITY; rows * classes];
    for row in logits.chunks_exact_mut(classes) {
        [row[0], row[classes - 1]] = rounded_twice(&mut rng, problem.logits);
    }
    let mut case = Case::new(problem.clone(), rows, logits, 1);
    if let Target::Classes(indices) = &mut case.target {
        indices.fill(0);
    }
    case
}

/// By every kernel, for rows and for columns.
fn check_kernels(case: &Case) {
    let problem = &case.problem;
    let (inner, outputs) = (case.rows, problem.outputs);
    let threads = if problem.classes < 20_000 { 256 } else { 1024 };
    let how = How { threads, vectors: 8, ..How::default() };
    let columns = Columns { inner, step: 1, transposed: false, more: 0, width: 1 };
    let of_columns = variant::columns(problem, false, 1, false).unwrap();
    let mut kernels = vec![(of_columns, How { columns: Some(columns), ..how.clone() })];
    let of_rows = variants(problem, false, &how);
    kernels.extend(of_rows.into_iter().map(|(_, variant)| (variant, how.clone())));
    let done = pool::each(&kernels, |(variant, how)| drop(check(case, outputs, how, variant)));
    assert_eq!(done.failures, 0);
}

#[test]
fn additions_that_are_rounded_alike() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let outputs = Outputs::LOSS | Outputs::STATS | Outputs::ENTROPY;
    for dtype in [DType::F32, DType::BF16] {
        for classes in [64, 1000, 8000, 120_000] {
            let problem = Problem::new(dtype, classes).reduction(Reduction::None).outputs(outputs);
            check_kernels(&case_of_sums(&problem));
            check_kernels(&case_of_sums(&problem.clone().label_smoothing(0.1)));
            check_kernels(&case_of_sums(&problem.targets(DType::F32)));
        }
    }
}

#[test]
fn exponents_that_are_rounded_twice() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let outputs = Outputs::LOSS | Outputs::STATS | Outputs::DLOGITS;
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for classes in [2, 3, 1000, 20_000] {
            let problem = Problem::new(dtype, classes).reduction(Reduction::None).outputs(outputs);
            check_kernels(&case_of_exponents(&problem));
            check_kernels(&case_of_exponents(&problem.logit_scale(0.7)));
        }
    }
}
