//! The CPU path: [`kernel`] computes a row in `f32`, [`batch`] all rows of a call on all threads.
//! [`reference`] is the same in `f64`, as plain as the formulas.

mod batch;
pub(crate) mod float_env;
mod gradient;
mod kernel;
mod lanes;
mod math;
mod memory;
mod old_math;
pub(crate) mod parallel;
pub mod reference;
pub(crate) mod simd;
mod squash;

pub(crate) use batch::Pass;
use parallel::Threads;

use crate::call::Call;
use crate::{DType, Problem, Result};

/// Computes a call under the default floating-point environment.
pub(crate) fn run(problem: &Problem, call: &Call, pass: Pass, threads: &Threads) -> Result<()> {
    float_env::with_default(|| match problem.logits {
        DType::F64 => reference::run(problem, call, pass),
        _ => batch::run(problem, call, pass, threads),
    })
}

/// What computes the problem.
pub(crate) fn kernel_name(problem: &Problem) -> &'static str {
    match problem.logits {
        DType::F64 => "cpu_reference_f64",
        _ => "cpu_rows_f32",
    }
}

/// The bytes of workspace that a call uses; never 0.
pub(crate) fn workspace_size(problem: &Problem, rows: usize) -> usize {
    batch::workspace_size(problem, rows).max(1)
}

/// a b, where 0 times infinity is 0 and a NaN stays one.
fn times(a: f64, b: f64) -> f64 {
    let skip = (a == 0.0 || b == 0.0) && !a.is_nan() && !b.is_nan();
    if skip { 0.0 } else { a * b }
}
