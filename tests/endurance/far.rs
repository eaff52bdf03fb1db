//! Tensors of so many elements that a row far from the first shows an index that is too narrow: rows
//! repeat, and all of them are held against the first ones, which are held against the reference.

use cudarc::driver::sys::{self, CUdeviceptr};
use xent::{Args, BackwardArgs, Context, DType, Outputs, Plan, Problem, Reduction, Tensor};

use super::work::{bytes, read};
use crate::common::bounds::judge;
use crate::common::foreign::OwnStream;
use crate::common::standin::ok;
use crate::common::{Case, Output, Target};

/// Kernels of bf16, with the numbers of classes and of rows after them.
pub const SHAPES: [(&str, [usize; 2]); 4] =
    [("lanes", [100, 1]), ("block", [5001, 1]), ("cluster", [17_001, 1]), ("columns", [100, 7])];

/// What repeats: rows at every place in the lines of 128 bytes that decide which thread adds what. 2^31 and
/// 2^32 elements are no multiple of them, so that what wraps around finds other numbers.
const OUTER: usize = 64;

const OUTPUTS: Outputs = Outputs::LOSS.union(Outputs::STATS).union(Outputs::DLOGITS);

/// The elements after which all repeats.
pub fn period([classes, inner]: &[usize; 2]) -> usize {
    OUTER * classes * inner
}

/// Runs at least so many elements, with the gradient in the same pass and from the statistics in place,
/// and says how many they were, or why they cannot be had.
pub fn check(context: &Context, shape: &[usize; 2], elements: usize) -> Result<usize, String> {
    let &[classes, inner] = shape;
    let outer = elements.div_ceil(classes * inner);
    let (elements, rows) = (outer * classes * inner, outer * inner);
    has_memory(2 * elements * DType::BF16.size() + rows * 20)?;

    let problem = Problem::new(DType::BF16, classes).reduction(Reduction::None).outputs(OUTPUTS);
    let case = Case::random(problem.clone(), OUTER * inner, 31);
    let stream = OwnStream::new(0);
    let there = |dtype, shape: &[usize]| Tensor::zeros_on(context, dtype, shape).unwrap();
    let mut logits = there(DType::BF16, &[outer, classes, inner]);
    let mut dlogits = there(DType::BF16, &[outer, classes, inner]);
    let mut targets = there(DType::I64, &[rows]);
    let mut loss = there(DType::F32, &[rows]);
    let mut stats = there(DType::F32, &[2 * rows]);
    let first = Tensor::from_slice(&along_classes(&case.logits, shape), &[case.logits.len()]);
    repeat(&mut logits, &first.unwrap().cast(DType::BF16).unwrap(), &stream);
    let Target::Classes(classes_of_rows) = &case.target else { unreachable!("classes") };
    let first = Tensor::from_slice(classes_of_rows, &[case.rows]).unwrap();
    repeat(&mut targets, &first, &stream);

    let plan = Plan::new(context, &problem).unwrap();
    let mut workspace = plan.workspace(rows).unwrap();
    let args = Args::new(logits.with_classes(1).unwrap(), &targets).stream(stream.lend());
    let args = args.loss(&mut loss).stats(&mut stats);
    let args = args.dlogits(dlogits.with_classes_mut(1).unwrap());
    plan.run(args, &mut workspace).unwrap();
    let losses = assert_repeats(&loss, case.rows, &stream);
    let statistics = assert_repeats(&stats, 2 * case.rows, &stream);
    let gradient = assert_repeats(&dlogits, case.logits.len(), &stream);

    let plan = Plan::new(context, &problem.in_place(true)).unwrap();
    let args = BackwardArgs::in_place(logits.with_classes_mut(1).unwrap(), &targets, &stats);
    plan.backward(args.stream(stream.lend()), &mut workspace).unwrap();
    let separate = assert_repeats(&logits, case.logits.len(), &stream);
    assert!(gradient == separate, "the gradient from the statistics differs");

    let floats = |bytes: &[u8]| -> Vec<f32> {
        let words = bytes.as_chunks::<4>().0;
        words.iter().map(|&word| f32::from_le_bytes(word)).collect()
    };
    let gradient = gradient.as_chunks::<2>().0.iter();
    let gradient = gradient.map(|&half| xent::bf16::from_le_bytes(half).to_f64());
    let output = Output {
        loss: floats(&losses),
        stats: floats(&statistics),
        dlogits: along_rows(&gradient.collect::<Vec<_>>(), shape),
        ..Output::default()
    };
    match judge(&case, OUTPUTS, &output).wrong().next() {
        Some(wrong) => panic!("{wrong}, in {shape:?}"),
        None => Ok(elements),
    }
}

/// Why there is not so much memory.
fn has_memory(needed: usize) -> Result<(), String> {
    let (mut free, mut total) = (0, 0);
    // SAFETY: writes two numbers.
    ok(unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) });
    let spare = needed / 16; // for workspaces and modules
    if free >= needed + spare {
        return Ok(());
    }
    let gigabytes = |bytes: usize| bytes as f64 / 1e9;
    Err(format!("{:.1} GB are needed, {:.1} free", gigabytes(needed + spare), gigabytes(free)))
}

/// Rows of classes as (outer, classes, inner).
fn along_classes(rows: &[f64], &[classes, inner]: &[usize; 2]) -> Vec<f64> {
    let mut there = vec![0.0; rows.len()];
    for (index, &x) in rows.iter().enumerate() {
        let (row, class) = (index / classes, index % classes);
        there[((row / inner) * classes + class) * inner + row % inner] = x;
    }
    there
}

/// The way back.
fn along_rows(there: &[f64], &[classes, inner]: &[usize; 2]) -> Vec<f64> {
    along_classes(there, &[inner, classes])
}

/// Fills a tensor with repetitions, in the order of a stream: all that is there is copied behind itself.
fn repeat(tensor: &mut Tensor, first: &Tensor, stream: &OwnStream) {
    let (address, all) = (tensor.as_mut_ptr().addr() as CUdeviceptr, bytes(tensor));
    let mut filled = bytes(first).min(all);
    // SAFETY: both have so many bytes; the driver reads what is not page-locked at once.
    ok(unsafe { sys::cuMemcpyHtoDAsync_v2(address, first.as_ptr().cast(), filled, stream.0) });
    while filled < all {
        let more = filled.min(all - filled);
        // SAFETY: what is filled, and as much behind it.
        ok(unsafe {
            sys::cuMemcpyDtoDAsync_v2(address + filled as CUdeviceptr, address, more, stream.0)
        });
        filled += more;
    }
}

/// Asserts that a tensor repeats its first elements; their bytes.
fn assert_repeats(tensor: &Tensor, elements: usize, stream: &OwnStream) -> Vec<u8> {
    const AT_ONCE: usize = 1 << 26;
    let period = elements * tensor.dtype().size();
    let first = read(tensor, 0, period, stream);
    let (all, step) = (bytes(tensor), period * (AT_ONCE / period).max(1));
    for from in (0..all).step_by(step) {
        let found = read(tensor, from, step.min(all - from), stream);
        for (index, found) in found.chunks(period).enumerate() {
            let same = *found == first[..found.len()];
            assert!(same, "other bits from byte {} of {all} on", from + index * period);
        }
    }
    first
}
