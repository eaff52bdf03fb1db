//! The kernel that keeps several rows in the registers of each warp: what is its own, beside what
//! `kernels_run.rs` asks of all kernels.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use common::{Case, Output, Target};
use gpu::check::{bits, check};
use gpu::run::{How, run};
use xent::cuda::variant::{self, Variant};
use xent::{DType, Outputs, Problem, Reduction};

const LANES: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// The kernel with so many lanes for each row, and few vectors. `None` where that takes too many.
fn with_lanes(problem: &Problem, backward: bool, lanes: u32) -> Option<Variant> {
    [1, 2, 4, 8].iter().find_map(|&vectors| variant::lanes(problem, backward, lanes, vectors))
}

/// Rows that are ignored, invalid, NaN or -inf stand beside others in a warp. None has any influence
/// on another: each gives what it gives alone, wherever it stands.
#[test]
fn rows_are_strangers() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    const ROWS: usize = 37;
    for (number, lanes) in LANES.into_iter().enumerate() {
        let dtype = [DType::BF16, DType::F32, DType::F16][number % 3];
        let classes = (9 * lanes as usize).min(150) + number;
        let problem = Problem::new(dtype, classes)
            .reduction(Reduction::None)
            .ignore_index(-100)
            .label_smoothing(if number % 2 == 0 { 0.0 } else { 0.1 })
            .in_place(number % 3 == 0);
        let mut case = Case::random(problem, ROWS, number as u64);
        let Target::Classes(y) = &mut case.target else { unreachable!() };
        for (row, (x, y)) in case.logits.chunks_mut(classes).zip(y).enumerate() {
            match row % 7 {
                1 => {
                    *y = -100;
                    x.fill(f64::NAN);
                }
                2 => *y = classes as i64,
                3 => x[row % classes] = f64::NAN,
                4 => x.fill(f64::NEG_INFINITY),
                5 => x[..classes / 2].fill(f64::NEG_INFINITY),
                _ => {}
            }
        }
        let variant = with_lanes(&case.problem, false, lanes).unwrap();
        // All rows begin alike.
        let per_vector = 16 / dtype.size();
        let gap = per_vector - classes % per_vector;
        let how = How { gap, logits_offset: 1, dlogits_offset: 1, ..How::default() };
        let (together, _) = run(&case, &how, &variant, None).unwrap();
        for row in 0..ROWS {
            // Alone, and last of a few others.
            for others in [0, 5] {
                let rows: Vec<usize> = (0..others).map(|i| (row + i) % ROWS).chain([row]).collect();
                let (moved, _) = run(&pick(&case, &rows), &how, &variant, None).unwrap();
                assert_eq!(
                    bits(&of_row(&together, row, classes)),
                    bits(&of_row(&moved, others, classes)),
                    "row {row} of {variant:?}"
                );
            }
            let found = of_row(&together, row, classes);
            let gradient_is_nan = found.dlogits.iter().all(|g| g.is_nan());
            match row % 7 {
                1 => assert!(found.dlogits.iter().all(|g| g.to_bits() == 0)),
                2 => assert!(found.loss[0].is_nan() && found.lse[0].is_finite() && gradient_is_nan),
                3 | 4 => assert!(found.loss[0].is_nan() && gradient_is_nan),
                _ => assert!(found.dlogits.iter().all(|g| g.is_finite())),
            }
        }
    }
}

/// The case of some of its rows.
fn pick(case: &Case, rows: &[usize]) -> Case {
    let Target::Classes(y) = &case.target else { unreachable!() };
    let logits = rows.iter().flat_map(|&row| case.logits_row(row).to_vec()).collect();
    let y: Vec<i64> = rows.iter().map(|&row| y[row]).collect();
    Case { rows: rows.len(), logits, ..case.clone() }.targets(&y)
}

/// What an output says of a row.
fn of_row(output: &Output, row: usize, classes: usize) -> Output {
    Output {
        loss: vec![output.loss[row]],
        lse: vec![output.lse[row]],
        stats: output.stats[2 * row..2 * row + 2].to_vec(),
        entropy: vec![output.entropy[row]],
        dlogits: output.dlogits[row * classes..(row + 1) * classes].to_vec(),
        argmax: vec![output.argmax[row]],
        correct: 0,
    }
}

/// Rows that fill the registers to the last element, with and without a promise of alignment.
#[test]
fn full_registers() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for dtype in [DType::BF16, DType::F32] {
        let per_vector = 16 / dtype.size();
        for (lanes, vectors) in [(1, 8), (4, 4), (8, 3), (32, 8)] {
            let most = (lanes * vectors) as usize * per_vector;
            for (alignment, classes) in [(16, most), (1, most + 1 - per_vector)] {
                let problem = |classes| Problem::new(dtype, classes).alignment(alignment);
                assert!(variant::lanes(&problem(classes + 1), false, lanes, vectors).is_none());
                let case = Case::random(problem(classes), 5, classes as u64);
                let offset = if alignment == 1 { per_vector as u64 - 1 } else { 0 };
                let how = How { logits_offset: offset, dlogits_offset: offset, ..How::default() };
                // Rows stay where the promise has them.
                let gap = per_vector - classes % per_vector;
                let how = How { gap: gap % per_vector, ..how };
                let variant = variant::lanes(&case.problem, false, lanes, vectors).unwrap();
                check(&case, Outputs::CROSS_ENTROPY, &how, &variant);
            }
        }
    }
}
