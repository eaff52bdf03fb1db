//! The CPU path: kernels in `f32` over vectors, and [`reference`], the same in `f64`, as plain as the
//! formulas.
//!
//! | what | where |
//! | --- | --- |
//! | all rows of a call: blocks, denominators, totals; few long rows | [`batch`], [`split`] |
//! | one row after the other; 8 rows finished together; 32 short rows side by side | [`kernel`], [`medium`], [`narrow`] |
//! | from logits to sums, from sums to outputs, to gradients | [`sums`], [`finish`], [`gradient`] |
//! | other losses: what an element adds, rows of them, probabilities over their sum | [`terms`], [`elements`], [`renormalise`] |
//! | softmax and its backward; of short rows; the double backward of cross entropy; labels as targets | [`softmax`], [`narrow_softmax`], [`hessian`], [`labels`] |
//! | scale and softcap of logits; sums as they grow | [`squash`], [`partial`] |
//! | loops over a chunk of a row, over columns of short rows | [`chunk`], [`lanes`] |
//! | buffers of a call: rows, columns of short rows, scratch memory, kept exponentials | [`memory`], [`columns`], [`scratch`], [`keep`] |
//! | gradients as they are written: what of, how, when | [`numbers`], [`writer`], [`waiting`] |
//! | instruction sets, functions over vectors, threads, rounding modes | [`simd`], [`math`], [`parallel`], [`float_env`] |

mod batch;
mod chunk;
mod columns;
mod elements;
mod finish;
pub(crate) mod float_env;
mod gradient;
mod hessian;
mod keep;
mod kernel;
pub(crate) mod labels;
mod lanes;
mod math;
mod medium;
mod memory;
mod narrow;
mod narrow_softmax;
mod numbers;
pub(crate) mod parallel;
mod partial;
pub mod reference;
mod renormalise;
mod scratch;
pub(crate) mod simd;
mod softmax;
mod split;
mod squash;
mod sums;
pub(crate) mod terms;
mod waiting;
mod writer;

use batch::Pass;
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
pub(crate) fn run(problem: &Problem, call: &Call, processor: &Processor) -> Result<()> {
    float_env::with_default(|| match problem.logits {
        DType::F64 => reference::run(problem, call),
        _ => batch::run(problem, call, processor),
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
