//! Logits and gradients may begin at any element: results are the same, bit for bit, and nothing around
//! the gradient is written.

mod common;

use common::placed::{Place, bits, view, view_mut};
use common::{Case, normal, plan, tensor};
use xent::{Args, Context, DType, Layout, Outputs, Plan, Problem, Tensor};

const TYPES: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];

/// Around the sizes of registers and blocks, and more than a chunk of a row.
const SIZES: &[usize] = if cfg!(miri) { &[33] } else { &[1, 5, 31, 33, 64, 100, 257, 1000, 5000] };

/// Elements from one multiple of 64 bytes to the next.
fn offsets(dtype: DType) -> impl Iterator<Item = usize> + Clone {
    (0..64 / dtype.size()).step_by(if cfg!(miri) { 5 } else { 1 })
}

#[test]
fn both_at_the_same_address() {
    for dtype in TYPES {
        for &classes in SIZES {
            let problem = Problem::new(dtype, classes).outputs(Outputs::CROSS_ENTROPY);
            let case = Case::random(problem, 3, 1);
            let expected = case.bits();
            for offset in offsets(dtype) {
                let place = Place::new(Layout::rows(3, classes), offset);
                assert!(case.bits_at(&place) == expected, "{dtype}, {classes} from {offset} on");
            }
        }
    }
}

/// The gradient, of logits that begin at one element and to memory that begins at another, around
/// which nothing may be written.
fn gradient(plan: &Plan, x: &[f64], dtype: DType, from: usize, to: usize) -> Vec<u64> {
    const GUARD: f64 = 123.0;
    const AROUND: usize = 64;
    let classes = plan.problem().classes;
    let rows = x.len() / classes;
    let mut logits = vec![f64::NAN; from];
    logits.extend(x);
    let logits = tensor(&logits, dtype, &[logits.len()]);
    let guards = vec![GUARD; to + x.len() + AROUND];
    let mut dlogits = tensor(&guards, dtype, &[guards.len()]);
    let guard = bits(&dlogits)[0];
    let targets: Vec<i64> = (0..rows).map(|row| (row * 7 % classes) as i64).collect();
    let targets = Tensor::from_slice(&targets, &[rows]).unwrap();
    let mut workspace = plan.workspace(rows).unwrap();
    let layout = Layout::rows(rows, classes);
    let args = Args::new(view(&logits, from).layout(layout), &targets)
        .dlogits(view_mut(&mut dlogits, to).layout(layout));
    plan.run(args, &mut workspace).unwrap();
    let bits = bits(&dlogits);
    let end = to + x.len();
    assert!(bits[..to].iter().chain(&bits[end..]).all(|&bits| bits == guard), "wrote outside");
    bits[to..end].to_vec()
}

/// Every address of the one, with another of the other each.
#[test]
fn each_at_its_own_address() {
    for dtype in TYPES {
        for &classes in SIZES {
            let x = normal(2, 3 * classes, 3.0);
            let plan = plan(&Problem::new(dtype, classes).outputs(Outputs::DLOGITS)).unwrap();
            let expected = gradient(&plan, &x, dtype, 0, 0);
            let count = 64 / dtype.size();
            for from in offsets(dtype) {
                for to in [0, (5 * from + 3) % count, count - 1 - from] {
                    let bits = gradient(&plan, &x, dtype, from, to);
                    assert!(bits == expected, "{dtype}, {classes} from {from} to {to}");
                }
            }
        }
    }
}

/// So much that it is not kept in the caches, by two threads, whose rows meet inside lines.
#[test]
#[cfg_attr(miri, ignore = "Miri would take hours")]
fn gradients_that_exceed_the_caches() {
    let context = Context::new(xent::ContextOptions::default().threads(2)).unwrap();
    for dtype in [DType::F32, DType::BF16] {
        for (rows, classes) in [(9, 1_000_003), (9001, 1001)] {
            let x = normal(3, rows * classes, 3.0);
            let problem = Problem::new(dtype, classes).outputs(Outputs::DLOGITS);
            let plan = Plan::new(&context, &problem).unwrap();
            let expected = gradient(&plan, &x, dtype, 0, 0);
            for (from, to) in [(0, 1), (1, 0), (3, 13), (15, 15)] {
                let bits = gradient(&plan, &x, dtype, from, to);
                assert!(bits == expected, "{dtype}, {rows} x {classes} from {from} to {to}");
            }
        }
    }
}
