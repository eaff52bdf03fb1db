//! The kernels for tensors of any layout: softmax, losses that are sums over elements, and the double
//! backward. Which of them compute a problem, and what they get.

use super::around::{input, output};
use super::params::{self, ElementParams, Params, Tensor, TensorParams};
use super::sequence::Step;
use super::variant::{Variant, element, option, options, when};
use crate::call::{Call, Per, Strided, Work};
use crate::cpu::terms::OfProbability;
use crate::{Clip, Form, Operation, Outputs, Problem, Reduction, Renormalise};

/// Threads that share a row, by the most classes: lanes of a warp, or a CTA. A function of the classes
/// alone: what a row becomes depends on it.
const THREADS: [(usize, u32); 4] = [(4, 1), (32, 8), (1024, 32), (usize::MAX, 256)];

/// The kernels of a problem that is no cross entropy of logits, in their order: of a softmax, forward
/// and backward.
pub fn variants(problem: &Problem) -> Vec<Variant> {
    if problem.is_softmax() { softmax(problem).into() } else { vec![loss(problem)] }
}

/// The options of kernels that are about the softmax of a row alone.
const OF_SOFTMAX: u32 = option::SCALE | option::FLOAT;

fn softmax(problem: &Problem) -> [Variant; 2] {
    let logits = element(problem.logits);
    let (output, gradient) = (element(problem.output), element(problem.dlogits));
    let options = options(problem, false) & OF_SOFTMAX;
    let (threads, is_logarithm) = (threads(problem), problem.operation == Operation::LogSoftmax);
    let forward = format!("softmax<{logits}, {output}, {options}, {threads}, {is_logarithm}>");
    let backward = format!("of_softmax<{output}, {gradient}, {threads}, {is_logarithm}>");
    [forward, backward].map(|kernel| variant("softmax.cu", &kernel, threads))
}

fn loss(problem: &Problem) -> Variant {
    let (logits, term, threads) = (element(problem.logits), term(problem), threads(problem));
    let has_gradient = problem.outputs.contains(Outputs::DLOGITS);
    let gradient = if has_gradient { element(problem.dlogits) } else { "xent::none" };
    let target = if problem.has_targets() { target(problem) } else { "xent::none" };
    let options = options_of_elements(problem);
    if problem.reads_one_class() {
        let threads = if has_gradient { threads } else { 1 };
        let kernel = format!("one_class<{logits}, {gradient}, {term}, {threads}>");
        return variant("elements.cu", &kernel, threads);
    }
    if problem.renormalise != Renormalise::No {
        let before = problem.renormalise == Renormalise::BeforeClip;
        let arguments =
            format!("{logits}, {gradient}, {target}, {term}, {options}, {before}, {threads}");
        return variant("renormalise.cu", &format!("renormalise<{arguments}>"), threads);
    }
    let arguments = format!("{logits}, {gradient}, {target}, {term}, {options}, {threads}");
    variant("elements.cu", &format!("elements<{arguments}>"), threads)
}

/// The kernel of the double backward of a cross entropy of logits without a softcap.
pub fn hessian(problem: &Problem) -> Variant {
    let (logits, gradient) = (element(problem.logits), element(problem.dlogits));
    let (target, threads) = (target(problem), threads(problem));
    let options = options(problem, true) & OF_SOFTMAX;
    let kernel = format!("hessian<{logits}, {gradient}, {target}, {options}, {threads}>");
    variant("hessian.cu", &kernel, threads)
}

/// What the kernels of losses that are sums over elements are compiled for.
fn options_of_elements(problem: &Problem) -> u32 {
    let weighted = problem.class_weights || problem.element_weights || problem.pos_weights;
    let per_element = problem.reduction == Reduction::Elements;
    when(problem.label_smoothing != 0.0, option::SMOOTHING)
        | when(weighted, option::WEIGHTS)
        | when(per_element, option::PER_ELEMENT)
}

fn threads(problem: &Problem) -> u32 {
    THREADS.iter().find(|(most, _)| problem.classes <= *most).map_or(1, |&(_, threads)| threads)
}

fn target(problem: &Problem) -> &'static str {
    if problem.targets_are_probabilities() { element(problem.targets) } else { "xent::classes" }
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

/// The term of a problem, as `cuda/terms.cuh` names it.
fn term(problem: &Problem) -> String {
    let surprisal = match (problem.input, problem.clip) {
        (Form::LogProbabilities, _) => "xent::OfLogarithm",
        (_, Clip::Add(_)) => "xent::OfSum",
        (_, Clip::Logarithm(_)) => "xent::OfFloored",
        _ => "xent::OfProbability",
    };
    match (problem.operation, problem.input, problem.clip) {
        (Operation::BinaryCrossEntropy, Form::Logits, _) => "xent::BinaryOfLogit".into(),
        (Operation::BinaryCrossEntropy, _, Clip::Add(_)) => "xent::BinaryOfSum".into(),
        (Operation::BinaryCrossEntropy, _, Clip::Logarithm(_)) => "xent::BinaryOfFloored".into(),
        (Operation::BinaryCrossEntropy, ..) => "xent::BinaryOfProbability".into(),
        (Operation::Entropy, Form::LogProbabilities, _) => "xent::EntropyOfLogarithm".into(),
        (Operation::Entropy, ..) => "xent::EntropyOfProbability".into(),
        (Operation::KlDivergence, ..) => {
            format!("xent::Divergence<{surprisal}, {}>", problem.log_targets)
        }
        _ => format!("xent::CrossEntropy<{surprisal}>"),
    }
}

/// The launch for the rows of a call, whose parameters are known but for its tensors.
pub(crate) fn step(problem: &Problem, call: &Call, rows: Params) -> Step {
    let to =
        if problem.is_softmax() && call.work == Work::Forward { call.output } else { call.dlogits };
    let of_probabilities = problem.has_targets() && problem.targets_are_probabilities();
    let mut tensors = TensorParams {
        rows,
        logits: tensor(Some(call.logits)),
        targets: tensor(of_probabilities.then_some(call.targets)),
        upstream: tensor(call.upstream),
        output: tensor(to),
        inner: call.inner as i64,
    };
    if problem.is_softmax() || call.work == Work::DoubleBackward {
        tensors.rows.flags |= neighbours(&tensors, []);
        return Step::Tensors(tensors);
    }
    let mut elements = of_elements(problem, call, tensors);
    elements.of.rows.flags |= neighbours(&elements.of, [&elements.weights, &elements.losses]);
    Step::Elements(elements)
}

/// Whether classes are neighbours in all tensors.
fn neighbours<const N: usize>(of: &TensorParams, more: [&Tensor; N]) -> u32 {
    let mut all = [&of.logits, &of.targets, &of.upstream, &of.output].into_iter().chain(more);
    when(all.all(|t| t.data == 0 || t.by_class == 1), params::NEIGHBOURS)
}

fn of_elements(problem: &Problem, call: &Call, mut of: TensorParams) -> ElementParams {
    let losses = if problem.reduction == Reduction::Elements { of.rows.loss } else { 0 };
    if losses != 0 {
        of.rows.loss = 0;
    }
    if let Some(dloss) = call.dloss.filter(|dloss| dloss.per == Per::Element) {
        of.rows.dloss = 0;
        of.upstream = packed(problem, call, dloss.data.addr() as u64);
    }
    if problem.operation == Operation::BinaryCrossEntropy {
        of.rows.share = (0.5 * problem.label_smoothing) as f32; // between t and 1 - t
    }
    let of_slope = problem.per_unit();
    let of_row = if problem.reduction == Reduction::RowMean { problem.classes as f64 } else { 1.0 };
    ElementParams {
        of,
        weights: tensor(call.element_weights),
        losses: if losses == 0 { Tensor::default() } else { packed(problem, call, losses) },
        pos_weights: input(call.pos_weights),
        of_loss: of_slope / of_row,
        of_slope,
        clip: clip(problem),
    }
}

fn clip(problem: &Problem) -> params::Clip {
    let binary = problem.operation == Operation::BinaryCrossEntropy;
    let OfProbability { low, high, below, above } = OfProbability::new(problem.clip);
    let clip = params::Clip {
        low,
        high,
        below,
        above,
        rest_below: f32::NAN,
        rest_above: f32::NAN,
        lowest: f32::NAN,
        highest: f32::NAN,
        bound: f32::INFINITY,
        epsilon: 0.0,
    };
    let rest_below = |e: f64| -(-e).ln_1p() as f32;
    match problem.clip {
        Clip::None => clip,
        Clip::Range(e) => params::Clip {
            rest_below: rest_below(e),
            rest_above: -e.ln() as f32,
            lowest: e as f32,
            highest: (1.0 - e) as f32,
            ..clip
        },
        // 1 - p, which nothing keeps from being 0, ends there.
        Clip::Lower(e) if binary => params::Clip {
            high: 1.0,
            above: 0.0,
            rest_below: rest_below(e),
            rest_above: f32::INFINITY,
            ..clip
        },
        Clip::Lower(e) => params::Clip { lowest: e as f32, ..clip },
        Clip::Add(e) => params::Clip { epsilon: e as f32, ..clip },
        Clip::Logarithm(b) => params::Clip { lowest: (-b).exp() as f32, bound: b as f32, ..clip },
    }
}

fn tensor(tensor: Option<Strided>) -> Tensor {
    tensor.map_or(Tensor::default(), |Strided { data, strides, .. }| {
        let [outer, by_class, inner] = strides.map(|stride| stride as i64);
        Tensor { data: output(Some(data)), outer, by_class, inner }
    })
}

/// One `f32` for each element.
fn packed(problem: &Problem, call: &Call, data: u64) -> Tensor {
    let inner = call.inner as i64;
    Tensor { data, outer: problem.classes as i64 * inner, by_class: inner, inner: 1 }
}
