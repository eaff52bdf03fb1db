//! Which kernel computes a problem: a pure decision, kept in tables.

use crate::{DType, Outputs, Problem};

/// A kernel, and how it is launched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The file that it is in.
    pub program: &'static str,
    /// It, as C++ names it.
    pub expression: String,
    /// Threads of a CTA.
    pub threads: u32,
}

/// What a kernel is compiled for; `Option` of `cuda/prelude.cuh`.
pub mod option {
    /// Label smoothing of class indices.
    pub const SMOOTHING: u32 = 1;
    /// Class weights inside sums over classes.
    pub const CLASS_WEIGHTS: u32 = 1 << 1;
    /// z = k x.
    pub const SCALE: u32 = 1 << 2;
    /// z = c tanh(k x / c).
    pub const SOFTCAP: u32 = 1 << 3;
    /// The entropy.
    pub const ENTROPY: u32 = 1 << 4;
    /// The most probable class, and whether it is the target.
    pub const ARGMAX: u32 = 1 << 5;
    /// The gradient alone, from statistics.
    pub const BACKWARD: u32 = 1 << 6;
}

/// The options of a problem, for a run or for the gradient from statistics.
pub fn options(problem: &Problem, backward: bool) -> u32 {
    let when = |condition: bool, option: u32| if condition { option } else { 0 };
    let wants = |outputs: Outputs| !backward && problem.outputs.intersects(outputs);
    let probabilities = problem.targets_are_probabilities();
    let smoothing = problem.label_smoothing != 0.0;
    let capped = problem.softcap.is_some();
    when(smoothing && !probabilities, option::SMOOTHING)
        | when(problem.class_weights && (smoothing || probabilities), option::CLASS_WEIGHTS)
        | when(problem.logit_scale != 1.0 && !capped, option::SCALE)
        | when(capped, option::SOFTCAP)
        | when(wants(Outputs::ENTROPY), option::ENTROPY)
        | when(wants(Outputs::ARGMAX | Outputs::CORRECT), option::ARGMAX)
        | when(backward, option::BACKWARD)
}

/// How C++ names an element type.
pub fn element(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "xent::half",
        DType::BF16 => "xent::bfloat",
        _ => "float",
    }
}

/// The first four arguments of a kernel's template.
fn arguments(problem: &Problem, backward: bool) -> String {
    let wants_gradient = backward || problem.outputs.contains(Outputs::DLOGITS);
    let gradient = if wants_gradient { element(problem.dlogits) } else { "xent::none" };
    let target = match problem.targets_are_probabilities() {
        true => element(problem.targets),
        false => "xent::classes",
    };
    let logits = element(problem.logits);
    format!("{logits}, {gradient}, {target}, {}", options(problem, backward))
}

/// The streaming kernel, which computes any problem.
pub fn stream(problem: &Problem, backward: bool, threads: u32) -> Variant {
    let arguments = arguments(problem, backward);
    let expression = format!("xent::stream<{arguments}, {threads}>");
    Variant { program: "stream.cu", expression, threads }
}
