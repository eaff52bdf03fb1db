//! The CUDA kernels address more than 2^31 and 2^32 elements, bytes and rows: chosen CTAs of launches
//! over tensors that do not exist but where they are read or written.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use common::Case;
use gpu::check::check;
use gpu::force::variants;
use gpu::pool;
use gpu::run::How;
use gpu::sparse::{OUTPUTS, Sparse};
use xent::cuda::variant::Variant;
use xent::{DType, Outputs, Problem, Reduction};

fn problem(dtype: DType, classes: usize) -> Problem {
    Problem::new(dtype, classes).reduction(Reduction::None).outputs(OUTPUTS)
}

/// Rows of a batch by every kernel, with the gradient in the same pass and from the statistics.
fn check_rows(sparse: &Sparse, chosen: &[u64]) {
    let how = How { logits_offset: 3, dlogits_offset: 2, ..How::default() };
    let fused = variants(&sparse.problem, false, &how);
    let backward = variants(&sparse.problem, true, &how);
    let kernels: Vec<(_, Variant, Variant)> =
        fused.into_iter().zip(backward).map(|((name, a), (_, b))| (name, a, b)).collect();
    let done = pool::each(&kernels, |(name, fused, backward)| {
        let result = sparse.check(chosen, &how, fused, Some(backward));
        result.unwrap_or_else(|fault| panic!("{name}: {fault}"));
    });
    assert_eq!(done.failures, 0);
}

#[test]
fn tensors_of_more_than_2_to_the_31_and_32_elements() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for power in [31, 32] {
        // The last row begins at the power; and one that has it in its middle.
        for classes in [4096, 5001] {
            let middle = (1 << power) / classes as u64;
            let rows = middle + if classes == 4096 { 1 } else { 2 };
            let problem = problem(DType::BF16, classes);
            let sparse = Sparse { problem, rows, stride: classes as u64 };
            check_rows(&sparse, &[0, middle / 2, middle - 1, middle, rows - 1]);
        }
    }
}

#[test]
fn rows_that_are_far_apart() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (dtype, stride) in [(DType::F32, (1 << 27) + 3), (DType::BF16, (1 << 31) + 1)] {
        let sparse = Sparse { problem: problem(dtype, 1000), rows: 41, stride };
        check_rows(&sparse, &[0, 1, 2, 15, 16, 17, 31, 32, 40]);
    }
}

/// A grid goes on along y.
#[test]
fn more_rows_than_a_grid_is_wide() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let sparse = Sparse { problem: problem(DType::BF16, 3), rows: (1 << 32) + 77, stride: 3 };
    let mut chosen = vec![0];
    for power in [27, 28, 29, 30, 31, 32] {
        chosen.extend([(1 << power) - 1, 1 << power, (1 << power) + 1]);
    }
    chosen.push(sparse.rows - 1);
    check_rows(&sparse, &chosen);
}

#[test]
fn a_row_of_four_million_classes() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let classes = (1 << 22) + 1;
    let outputs = Outputs::LOSS | Outputs::DLOGITS;
    let case = Case::random(problem(DType::BF16, classes), 1, 22);
    let how = How { logits_offset: 1, dlogits_offset: 1, threads: 512, ..How::default() };
    let problem = case.problem.clone().outputs(outputs);
    for (_, variant) in variants(&problem, false, &how) {
        check(&case, outputs, &how, &variant);
    }
}
