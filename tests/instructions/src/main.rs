//! Runs each kernel of the CPU path in a function of its own, `counted`, which a tool counts. Prints
//! what each call computes, in their order: kernel, type, classes, logits.
//!
//! On one thread, with logits in the first-level cache or the second: the count is of the arithmetic
//! and of what each row costs. With probabilities in the place of classes (`soft`). And with a gradient
//! that is too large for the caches (`large`), which other code writes.

use std::hint::black_box;

use half::{bf16, f16};
use xent::{
    Args, BackwardArgs, Context, ContextOptions, DType, Device, Element, Outputs, Plan, Problem,
    View,
};

/// Rows of many classes, where the loop over classes is all; of 1000, where what a row costs shows;
/// and of few, which have kernels of their own.
const SHAPES: [(usize, usize); 3] = [(4, 32_000), (64, 1000), (4096, 10)];

/// A gradient of more bytes is written past the caches.
const LARGE: usize = 16 << 20;

fn main() {
    type_of_logits(|x| x);
    type_of_logits(bf16::from_f32);
    type_of_logits(f16::from_f32);
}

fn type_of_logits<T: Element>(convert: impl Fn(f32) -> T) {
    for (rows, classes) in SHAPES {
        let logits: Vec<T> = numbers(rows * classes).map(&convert).collect();
        let targets = targets(rows, classes);
        let mut stats = vec![0f32; 2 * rows];
        let mut loss = 0f32;
        let mut dlogits = logits.clone();
        let share = 1.0 / classes as f32;
        let probabilities: Vec<T> =
            numbers(logits.len()).map(|x| convert((8.0 + x) * share)).collect();
        count_fused("fused", classes, (&targets).into(), DType::I64, &logits, &mut dlogits);
        count_fused("soft", classes, (&probabilities).into(), T::DTYPE, &logits, &mut dlogits);

        let forward = plan::<T>(classes, DType::I64, Outputs::LOSS | Outputs::STATS);
        let mut workspace = forward.workspace(rows).expect("a workspace");
        count::<T>("forward", rows, classes, &mut || {
            let args = Args::new(&logits, &targets).loss(&mut loss).stats(&mut stats);
            forward.run(args, &mut workspace).expect("a run");
        });
        count::<T>("backward", rows, classes, &mut || {
            let args = BackwardArgs::new(&logits, &targets, &stats, &mut dlogits);
            forward.backward(args, &mut workspace).expect("a run");
        });
        black_box((loss, &dlogits));
    }
    for classes in [32_000, 1000] {
        let rows = LARGE / size_of::<T>() / classes + 1;
        let logits: Vec<T> = numbers(rows * classes).map(&convert).collect();
        let (targets, mut dlogits) = (targets(rows, classes), logits.clone());
        count_fused("large", classes, (&targets).into(), DType::I64, &logits, &mut dlogits);
    }
}

/// Loss and gradient, of targets of a type.
fn count_fused<T: Element>(
    kernel: &str,
    classes: usize,
    targets: View,
    dtype: DType,
    logits: &[T],
    dlogits: &mut [T],
) {
    let (rows, mut loss) = (logits.len() / classes, 0f32);
    let fused = plan::<T>(classes, dtype, Outputs::LOSS | Outputs::DLOGITS);
    let mut workspace = fused.workspace(rows).expect("a workspace");
    count::<T>(kernel, rows, classes, &mut || {
        let args = Args::new(logits, targets).loss(&mut loss).dlogits(&mut *dlogits);
        fused.run(args, &mut workspace).expect("a run");
    });
    black_box((loss, dlogits));
}

fn plan<T: Element>(classes: usize, targets: DType, outputs: Outputs) -> Plan {
    let options = ContextOptions::default().device(Device::cpu()).threads(1);
    let context = Context::new(options).expect("a context");
    let problem = Problem::new(T::DTYPE, classes).targets(targets).outputs(outputs);
    Plan::new(&context, &problem).expect("a plan")
}

fn count<T: Element>(kernel: &str, rows: usize, classes: usize, run: &mut dyn FnMut()) {
    run(); // what only the first call does
    counted(run);
    println!("{kernel} {} {classes} {}", T::DTYPE, rows * classes);
}

fn targets(rows: usize, classes: usize) -> Vec<i64> {
    (0..rows).map(|row| (row * 7 % classes) as i64).collect()
}

/// What is counted: all that is done until it returns.
#[inline(never)]
fn counted(run: &mut dyn FnMut()) {
    black_box(run)();
}

/// Logits as those of a network: of both signs, of some size, in no order.
fn numbers(count: usize) -> impl Iterator<Item = f32> {
    let mut state = 1u32;
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as f32 / 4096.0 - 8.0
    })
}
