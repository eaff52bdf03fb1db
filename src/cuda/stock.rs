//! The kernels of common problems: those that are worth having compiled ahead.

use std::collections::BTreeMap;

use super::kernels::choose;
use super::selection::Gpu;
use super::target::Capability;
use super::variant::{self, Variant};
use crate::{DType, Outputs, Problem};

/// The types of logits; the gradient is of the same.
pub const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// What training and evaluation ask for. Log-sum-exp, ignored rows, weights of rows, z-loss,
/// reductions, the type of the class indices and the place of the gradient take no kernels of their
/// own; entropy, softcap, scale, probabilities and weights of classes with smoothing would, and are
/// rare where no compiler is at hand.
const OUTPUTS: [Outputs; 5] = [
    Outputs::LOSS,
    Outputs::LOSS.union(Outputs::CORRECT),
    Outputs::LOSS.union(Outputs::DLOGITS),
    Outputs::LOSS.union(Outputs::DLOGITS).union(Outputs::CORRECT),
    Outputs::LOSS.union(Outputs::STATS),
];
const SMOOTHING: [f64; 2] = [0.0, 0.1];
/// What changes where a row of a size fits.
const ALIGNMENTS: [usize; 3] = [1, 16, 128];
/// Beyond so many classes, the selection does not change.
const MOST_CLASSES: usize = 1 << 20;

/// The kernels of common problems for a GPU, each once; of all sizes, or of rows of these many classes.
/// Without a hint how many rows a run will have.
pub fn variants(capability: Capability, classes: &[usize], types: &[DType]) -> Vec<Variant> {
    let gpu = Gpu { capability, multiprocessors: 1 }; // without the hint, their number is nothing
    let sizes = if classes.is_empty() { sizes() } else { classes.to_vec() };
    let mut found = BTreeMap::new();
    let mut add = |variant: Variant| {
        found.insert(variant.expression.clone(), variant);
    };
    variant::around_rows().into_iter().for_each(&mut add);
    for &from in types {
        TYPES.iter().filter_map(|&to| variant::cast(from, to)).for_each(&mut add);
        for (classes, alignment) in sizes.iter().flat_map(|&c| ALIGNMENTS.map(|a| (c, a))) {
            for (outputs, smoothing) in OUTPUTS.iter().flat_map(|&o| SMOOTHING.map(|s| (o, s))) {
                let problem = Problem::new(from, classes).alignment(alignment).outputs(outputs);
                choose(&problem.label_smoothing(smoothing), gpu).into_iter().for_each(&mut add);
            }
        }
    }
    found.into_values().collect()
}

/// Numbers of classes at which every choice of the selection shows: all small ones, then in steps that
/// are small beside the ranges of its tables.
fn sizes() -> Vec<usize> {
    let next = |&size: &usize| Some(size + 1 + size / 128);
    std::iter::successors(Some(1), next).take_while(|&size| size <= MOST_CLASSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_there() {
        let capability = Capability::new(9, 0);
        let gpu = Gpu { capability, multiprocessors: 132 };
        let all: Vec<String> =
            variants(capability, &[], &TYPES).into_iter().map(|v| v.expression).collect();
        let sizes = (1..2000).chain((2000..70_000).step_by(97)).chain([128_256, 262_144, 1 << 30]);
        for (turn, classes) in sizes.enumerate() {
            let problem = Problem::new(TYPES[turn % 3], classes)
                .outputs(OUTPUTS[turn % 5])
                .label_smoothing(SMOOTHING[turn % 2])
                .alignment(1 << (turn % 8));
            for variant in choose(&problem, gpu) {
                assert!(all.contains(&variant.expression), "{variant:?} of {problem:?}");
            }
        }
        assert!(variants(capability, &[100], &[DType::F32]).len() < all.len() / 10);
    }
}
