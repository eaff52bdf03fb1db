//! A gradient that is too large for the caches is written past them, rows of it while later ones are
//! computed. It has the bits that the same rows have in small calls, whatever rows lie between.
#![cfg(not(miri))] // which would take hours

mod common;

use common::placed::bits;
use common::{normal, tensor};
use xent::{
    Args, Context, ContextOptions, DType, Device, Outputs, Plan, Problem, Reduction, Tensor,
};

/// More than the caches keep, in bytes.
const LARGE: usize = 17 << 20;

const IGNORED: i64 = -100;

/// Logits among which there are rows without a softmax, rows so far from 0 that they are computed in
/// another way, and rows of few finite logits.
fn logits(rows: usize, classes: usize) -> Vec<f64> {
    let mut x = normal(5, rows * classes, 3.0);
    for (row, x) in x.chunks_mut(classes).enumerate() {
        match row % 23 {
            4 => x[row % classes] = f64::NAN,
            9 => x.iter_mut().for_each(|x| *x += 60_000.0),
            13 => x[row % classes] = f64::INFINITY,
            17 => x.iter_mut().skip(1).for_each(|x| *x = f64::NEG_INFINITY),
            20 => x.iter_mut().for_each(|x| *x *= 1e-4),
            _ => (),
        }
    }
    x
}

fn targets(rows: usize, classes: usize) -> Vec<i64> {
    let class = |row: usize| (row * 7919 % classes) as i64;
    (0..rows).map(|row| if row % 9 == 5 { IGNORED } else { class(row) }).collect()
}

/// Probabilities, of which a third are 0 and some are 1.
fn probabilities(rows: usize, classes: usize) -> Vec<f64> {
    let one_hot = |row, class| f64::from(u8::from(class == row * 7919 % classes));
    let mixed = |row, class| ((row * 31 + class * 17) % 3) as f64 / classes as f64;
    let of_row =
        |row| move |class| if row % 5 == 0 { one_hot(row, class) } else { mixed(row, class) };
    (0..rows).flat_map(|row| (0..classes).map(of_row(row))).collect()
}

/// The gradient and lse of so many rows at a time. Of targets, `y` or `q` are used.
fn run(problem: &Problem, x: &[f64], y: &[i64], q: &[f64], at_once: usize) -> Vec<u64> {
    let options = ContextOptions::default().device(Device::cpu()).threads(2);
    let plan = Plan::new(&Context::new(options).unwrap(), problem).unwrap();
    let classes = problem.classes;
    let (mut gradients, mut all_lse) = (vec![], vec![]);
    for (part, (x, y)) in x.chunks(at_once * classes).zip(y.chunks(at_once)).enumerate() {
        let shape = [y.len(), classes];
        let x = tensor(x, problem.logits, &shape);
        let targets = if q.is_empty() {
            Tensor::from_slice(y, &[y.len()]).unwrap()
        } else {
            let first = part * at_once * classes;
            tensor(&q[first..first + y.len() * classes], problem.targets, &shape)
        };
        let mut dlogits = Tensor::zeros(problem.dlogits, &[y.len(), classes]).unwrap();
        let mut lse = vec![0f32; y.len()];
        let weights: Vec<f32> = (0..classes).map(|class| 0.5 + (class % 5) as f32).collect();
        let mut workspace = plan.workspace(y.len()).unwrap();
        let mut args = Args::new(&x, &targets).dlogits(&mut dlogits).lse(&mut lse);
        if problem.class_weights {
            args = args.class_weights(&weights);
        }
        plan.run(args, &mut workspace).unwrap();
        gradients.extend(bits(&dlogits));
        all_lse.extend(lse.iter().map(|lse| u64::from(lse.to_bits())));
    }
    gradients.extend(all_lse);
    gradients
}

fn large_is_as_small(problem: &Problem) {
    let classes = problem.classes;
    let rows = LARGE / problem.dlogits.size() / classes + 1;
    let (x, y) = (logits(rows, classes), targets(rows, classes));
    let soft = problem.targets != DType::I64;
    let q = if soft { probabilities(rows, classes) } else { vec![] };
    let [whole, by_parts, parts] =
        [1, 3, 7].map(|count| run(problem, &x, &y, &q, rows.div_ceil(count)));
    let gradient = rows * classes;
    let wrong = (0..whole.len()).find(|&at| whole[at] != parts[at] || by_parts[at] != parts[at]);
    if let Some(at) = wrong {
        let row = if at < gradient { at / classes } else { at - gradient };
        panic!(
            "{problem:?}: number {at}, of row {row} of {rows}: {:x}, {:x} and {:x}",
            whole[at], by_parts[at], parts[at]
        );
    }
}

fn problem(dtype: DType, classes: usize) -> Problem {
    Problem::new(dtype, classes)
        .outputs(Outputs::DLOGITS | Outputs::LSE)
        .reduction(Reduction::Sum)
        .ignore_index(IGNORED)
}

#[test]
fn of_few_classes() {
    for dtype in [DType::F32, DType::BF16] {
        for classes in [3, 10, 63] {
            large_is_as_small(&problem(dtype, classes));
        }
    }
}

#[test]
fn of_rows_that_wait_by_eights() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for classes in [64, 1001, 2048] {
            large_is_as_small(&problem(dtype, classes));
        }
    }
}

#[test]
fn of_rows_that_wait_alone() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for classes in [2049, 50_257] {
            large_is_as_small(&problem(dtype, classes));
        }
    }
}

#[test]
fn of_rows_that_are_not_kept() {
    for dtype in [DType::F32, DType::BF16] {
        large_is_as_small(&problem(dtype, 140_001));
    }
}

#[test]
fn with_options() {
    for classes in [1001, 5003] {
        let plain = || problem(DType::BF16, classes);
        for problem in [
            plain().label_smoothing(0.1),
            plain().label_smoothing(0.1).class_weights(true),
            plain().softcap(30.0),
            plain().logit_scale(-0.7),
            plain().z_loss(1e-3),
            plain().dlogits(DType::F32),
        ] {
            large_is_as_small(&problem);
        }
    }
}

#[test]
fn of_probabilities() {
    for classes in [10, 1001, 5003] {
        for targets in [DType::BF16, DType::F32] {
            let plain = Problem::new(DType::BF16, classes).targets(targets);
            let plain = plain.outputs(Outputs::DLOGITS | Outputs::LSE).reduction(Reduction::Sum);
            large_is_as_small(&plain);
            large_is_as_small(&plain.label_smoothing(0.1));
        }
    }
}
