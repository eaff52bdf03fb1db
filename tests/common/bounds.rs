//! The error bounds that the library promises, element by element: those of the program `xent`.

use xent::Outputs;

use super::case::{Case, Output};
#[allow(unused_imports)] // each test file uses its part
pub use super::judge::ulp;
use super::judge::{Row, judge, scales};

/// Holds every output of a run against the reference.
pub fn check(case: &Case, output: &Output) {
    let verdict = judge(case, Outputs::CROSS_ENTROPY, output);
    if let Some(wrong) = verdict.wrong().next() {
        panic!("{wrong}, for {:?}, {:?}", case.problem, case.denominator);
    }
}

/// How far each element of the gradient of a row may be off, before it is rounded to its type.
pub fn gradient(case: &Case, row: usize) -> Vec<f64> {
    let (scale, z_scale) = scales(case);
    let bounds = Row { case, index: row }.bounds(case.reference().lse[row], scale, z_scale);
    bounds.gradient.iter().zip(&bounds.gradient_floor).map(|(bound, floor)| bound + floor).collect()
}
