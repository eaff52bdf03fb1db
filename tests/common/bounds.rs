//! The error bounds that the library promises, element by element: those of the program `xent`.

use xent::Outputs;

use super::case::{Case, Output};
#[allow(unused_imports)] // each test file uses its part
pub use super::judge::{Quantity, judge, ulp};
use super::judge::{Row, RowBounds, scales};

/// Holds every output of a run against the reference.
pub fn check(case: &Case, output: &Output) {
    let verdict = judge(case, Outputs::CROSS_ENTROPY, output);
    if let Some(wrong) = verdict.wrong().next() {
        panic!("{wrong}, for {:?}, {:?}", case.problem, case.denominator);
    }
}

fn of_row(case: &Case, row: usize) -> RowBounds {
    let (scale, z_scale) = scales(case);
    Row { case, index: row }.bounds(case.reference().lse[row], scale, z_scale)
}

/// How far the loss of a row may be off.
pub fn loss(case: &Case, row: usize) -> f64 {
    of_row(case, row).loss
}

/// How far each element of the gradient of a row may be off, before it is rounded to its type.
pub fn gradient(case: &Case, row: usize) -> Vec<f64> {
    let bounds = of_row(case, row);
    bounds.gradient.iter().zip(&bounds.gradient_floor).map(|(bound, floor)| bound + floor).collect()
}
