//! The CUDA kernels load and store as many bytes at a time as addresses allow: counted by the
//! interpreter of `tests/simulator`, at every phase of the tensors to one another.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use common::{Case, Target};
use gpu::run::{How, Trace, run};
use xent::cuda::variant::{self, Variant};
use xent::{DType, Outputs, Problem, Reduction};

const CLASSES: usize = 77;

/// Runs a case, with its row in registers and streamed, and holds each result against the bounds.
/// What the kernels executed.
fn check(case: &Case, how: &How) -> [Trace; 2] {
    let problem = case.problem.clone().outputs(Outputs::CROSS_ENTROPY);
    let block = variant::block(&problem, false, 128, 4, 1).unwrap();
    [variant::stream(&problem, false, 128), block].map(|variant: Variant| {
        let (output, trace) = run(case, how, &variant, None)
            .unwrap_or_else(|error| panic!("{variant:?} {how:?} {:?}: {error}", case.problem));
        if std::panic::catch_unwind(|| common::bounds::check(case, &output)).is_err() {
            panic!("{variant:?}, {how:?}");
        }
        trace
    })
}

/// Loads or stores of 16, 8, 4 and 2 bytes by lanes.
fn widths(trace: &Trace, names: [&str; 4]) -> [u64; 4] {
    names.map(|name| trace.by_opcode.get(name).map_or(0, |&(_, lanes)| lanes))
}

const STORES: [&str; 4] =
    ["st.global.cs.v4.u32", "st.global.v2.u32", "st.global.u32", "st.global.u16"];

/// Full vectors of logits, and elements beside them.
fn vectors(dtype: DType, offset: u64) -> (u64, u64) {
    let size = dtype.size() as u64;
    let (start, end) = (offset * size, (offset + CLASSES as u64) * size);
    let full = end / 16 - start.div_ceil(16);
    (full, CLASSES as u64 - full * 16 / size)
}

/// The pieces of 8, 4 and 2 bytes that lie beside the full vectors of logits.
fn pieces(dtype: DType, offset: u64) -> [u64; 4] {
    let size = dtype.size() as u64;
    let (start, end) = (offset * size, (offset + CLASSES as u64) * size);
    let beside = [start.next_multiple_of(16) - start, end % 16];
    [0, 8, 4, 2].map(|piece| beside.iter().filter(|&bytes| bytes & piece != 0).count() as u64)
}

/// What is stored beside the full vectors: pieces where the gradient is like the logits, elements
/// elsewhere.
fn stores_beside(dtype: DType, offset: u64, gradient: DType, width: usize) -> [u64; 4] {
    if width == 0 && gradient.size() == dtype.size() {
        return pieces(dtype, offset);
    }
    let mut stores = [0; 4];
    stores[by_element(gradient)] = vectors(dtype, offset).1;
    stores
}

/// The access to an element, as an index of `STORES`.
fn by_element(dtype: DType) -> usize {
    if dtype == DType::F32 { 2 } else { 3 }
}

/// The widest access, as an index of `STORES`, for pieces of `size` bytes an element that lie at
/// the vectors of logits.
fn widest(dtype: DType, offset: u64, other: DType, other_offset: u64) -> usize {
    let element = offset % (128 / dtype.size() as u64);
    let start = (1024 + other_offset - element) * other.size() as u64;
    4 - (start.trailing_zeros() as usize).min(4)
}

const PAIRS: [(DType, DType); 5] = [
    (DType::F32, DType::F32),
    (DType::BF16, DType::BF16),
    (DType::F16, DType::F16),
    (DType::BF16, DType::F32),
    (DType::F16, DType::F32),
];

#[test]
fn gradients_at_every_phase() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (dtype, gradient) in PAIRS {
        let problem = Problem::new(dtype, CLASSES).dlogits(gradient).reduction(Reduction::None);
        let case = Case::random(problem, 1, 4);
        let logits_offsets = 0..16 / dtype.size() as u64;
        let offsets = logits_offsets.flat_map(|logits| {
            (0..16 / gradient.size() as u64).map(move |gradient| (logits, gradient))
        });
        for (logits_offset, dlogits_offset) in offsets {
            let how = How { logits_offset, dlogits_offset, ..How::default() };
            let (full, _) = vectors(dtype, logits_offset);
            let width = widest(dtype, logits_offset, gradient, dlogits_offset);
            let mut expected = stores_beside(dtype, logits_offset, gradient, width);
            let bytes = 16 / dtype.size() as u64 * gradient.size() as u64;
            expected[width] += (full * bytes) >> (4 - width);
            // The class of the target is stored once more.
            expected[by_element(gradient)] += 1;
            for trace in check(&case, &how) {
                assert_eq!(widths(&trace, STORES), expected, "{dtype} {gradient} {how:?}");
            }
        }
    }
}

/// Ignored rows: their gradient is filled.
#[test]
fn fills_at_every_phase() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (dtype, gradient) in PAIRS {
        let problem = Problem::new(dtype, CLASSES).dlogits(gradient).reduction(Reduction::None);
        let case = Case::random(problem.ignore_index(3), 1, 4).targets(&[3]);
        for dlogits_offset in 0..16 / gradient.size() as u64 {
            let how = How { logits_offset: 1, dlogits_offset, ..How::default() };
            let (full, _) = vectors(dtype, 1);
            let width = widest(dtype, 1, gradient, dlogits_offset);
            let mut expected = stores_beside(dtype, 1, gradient, width);
            let bytes = 16 / dtype.size() as u64 * gradient.size() as u64;
            expected[width] += (full * bytes) >> (4 - width);
            expected[2] += 5; // loss, lse, entropy and two statistics of the row, which are 0
            for trace in check(&case, &how) {
                assert_eq!(widths(&trace, STORES), expected, "{dtype} {gradient} {how:?}");
            }
        }
    }
}

const LOADS: [&str; 4] =
    ["ld.global.L1::no_allocate.v4.u32", "ld.global.v2.u32", "ld.global.u32", "ld.global.u16"];

/// Probabilities of every type beside logits of every size. They are read for the sums, and again
/// for the gradient, as the logits are where they are not kept.
#[test]
fn probabilities_at_every_phase() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let types = [DType::F32, DType::BF16, DType::F16];
    for dtype in [DType::F32, DType::BF16] {
        for target in types {
            let problem = Problem::new(dtype, CLASSES).targets(target).reduction(Reduction::None);
            let case = Case::random(problem, 1, 4);
            assert!(matches!(case.target, Target::Probabilities(_)));
            for targets_offset in 0..16 / target.size() as u64 {
                let how = How { logits_offset: 1, targets_offset, ..How::default() };
                let (full, rest) = vectors(dtype, 1);
                let bytes = 16 / dtype.size() as u64 * target.size() as u64;
                let most = if bytes == 8 { 1 } else { 0 };
                let width = widest(dtype, 1, target, targets_offset).max(most);
                for (trace, logits) in check(&case, &how).into_iter().zip([2, 1]) {
                    let mut expected = [logits * full, 0, 0, 0];
                    expected[width] += 2 * ((full * bytes) >> (4 - width));
                    let beside = expected.iter_mut().zip(pieces(dtype, 1));
                    beside.for_each(|(expected, pieces)| *expected += 2 * pieces);
                    expected[by_element(target)] += 2 * rest;
                    assert_eq!(widths(&trace, LOADS), expected, "{dtype} {target} {how:?}");
                }
            }
        }
    }
}
