//! The CPU path: [`kernel`] computes a row in `f32`, [`batch`] all rows of a call on all threads.
//! [`reference`] is the same in `f64`, as plain as the formulas.

mod batch;
mod chunk;
mod columns;
mod finish;
pub(crate) mod float_env;
mod gradient;
mod kernel;
mod math;
mod memory;
mod narrow;
pub(crate) mod parallel;
mod partial;
pub mod reference;
mod scratch;
pub(crate) mod simd;
mod split;
mod squash;
mod sums;
mod writer;

pub(crate) use batch::Pass;
use parallel::Threads;
use simd::InstructionSet;

use crate::call::Call;
use crate::{DType, Problem, Result};

/// What computes.
pub(crate) struct Processor {
    pub threads: Threads,
    pub instructions: InstructionSet,
}

/// Computes a call under the default floating-point environment.
pub(crate) fn run(problem: &Problem, call: &Call, pass: Pass, processor: &Processor) -> Result<()> {
    float_env::with_default(|| match problem.logits {
        DType::F64 => reference::run(problem, call, pass),
        _ => batch::run(problem, call, pass, processor),
    })
}

/// What computes the problem.
pub(crate) fn kernel_name(problem: &Problem, processor: &Processor) -> &'static str {
    match problem.logits {
        DType::F64 => "cpu_reference_f64",
        _ => processor.instructions.kernel_name(),
    }
}

/// The bytes of workspace that a call uses; never 0.
pub(crate) fn workspace_size(problem: &Problem, rows: usize, processor: &Processor) -> usize {
    batch::workspace_size(problem, rows, processor).max(1)
}

/// a b, where 0 times infinity is 0 and a NaN stays one.
fn times(a: f64, b: f64) -> f64 {
    let skip = (a == 0.0 || b == 0.0) && !a.is_nan() && !b.is_nan();
    if skip { 0.0 } else { a * b }
}
