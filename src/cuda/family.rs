//! The kernels for tensors of any layout: which of them compute a problem, and what they get.

use super::around::output;
use super::params::{Params, Tensor, TensorParams};
use super::sequence::Step;
use super::variant::{Variant, element, option, options};
use crate::call::{Call, Strided, Work};
use crate::{Operation, Problem};

/// Threads that share a row, by the most classes: lanes of a warp, or a CTA. A function of the classes
/// alone: what a row becomes depends on it.
const THREADS: [(usize, u32); 4] = [(4, 1), (32, 8), (1024, 32), (usize::MAX, 256)];

/// The kernels of a problem that is no cross entropy of logits, in their order: of a softmax, forward
/// and backward.
pub fn variants(problem: &Problem) -> Vec<Variant> {
    let logits = element(problem.logits);
    let (output, gradient) = (element(problem.output), element(problem.dlogits));
    let scale = options(problem, false) & option::SCALE;
    let (threads, is_logarithm) = (threads(problem), problem.operation == Operation::LogSoftmax);
    let forward = format!("softmax<{logits}, {output}, {scale}, {threads}, {is_logarithm}>");
    let backward = format!("of_softmax<{output}, {gradient}, {threads}, {is_logarithm}>");
    [forward, backward].map(|kernel| variant("softmax.cu", &kernel, threads)).into()
}

fn threads(problem: &Problem) -> u32 {
    THREADS.iter().find(|(most, _)| problem.classes <= *most).map_or(1, |&(_, threads)| threads)
}

/// A kernel of which so many threads share a row.
fn variant(program: &'static str, kernel: &str, threads: u32) -> Variant {
    /// Threads of a CTA whose warps have rows of their own.
    const OF_LANES: u32 = 128;
    let of_cta = if threads <= 32 { OF_LANES } else { threads };
    Variant {
        program,
        expression: format!("xent::{kernel}"),
        threads: of_cta,
        cluster: 1,
        rows: of_cta / threads,
    }
}

/// The launch for the rows of a call, whose parameters are known but for its tensors.
pub(crate) fn step(_: &Problem, call: &Call, rows: Params) -> Step {
    Step::Tensors(TensorParams {
        rows,
        logits: tensor(Some(call.logits)),
        targets: Tensor::default(),
        upstream: tensor(call.upstream),
        output: tensor(if call.work == Work::Forward { call.output } else { call.dlogits }),
        inner: call.inner as i64,
    })
}

fn tensor(tensor: Option<Strided>) -> Tensor {
    tensor.map_or(Tensor::default(), |Strided { data, strides, .. }| {
        let [outer, by_class, inner] = strides.map(|stride| stride as i64);
        Tensor { data: output(Some(data)), outer, by_class, inner }
    })
}
