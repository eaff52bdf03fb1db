//! Tensors may lie anywhere: the class axis in any place, rows padded, strides permuted, the base
//! off by an element. Results equal those of the packed rows bit for bit, and nothing outside the
//! elements is read (it is NaN) or written (it keeps its bits); inputs stay as they are.
//!
//! On a GPU the last bits of a row depend on where it lies to 128 bytes. And there is another kernel
//! for classes that are no neighbours, with the same bits at all strides. All are within the bounds.

mod common;

use common::placed::{Bits, Place, bits, view_mut};
use common::{Case, bounds, context, logit_types, on_gpu, plan, tensor, thinned};
use xent::{Args, BackwardArgs, DType, Layout, Outputs, Problem, Reduction, Tensor, View};

/// Under Miri, which is slow, two types see all ways to reach memory: of the kernel and of `f64`.
fn floats() -> &'static [DType] {
    if cfg!(miri) { &[DType::F16, DType::F64] } else { logit_types() }
}

/// Numbers of classes.
const SIZES: &[usize] = if cfg!(miri) { &[3] } else { &[1, 5, 33, 1300] };

/// Layouts of 6 rows in (outer, inner).
fn layouts(classes: usize) -> Vec<(&'static str, Place)> {
    let c = classes;
    let rows = Layout::rows(6, c);
    let (classes_first, middle) = (Layout::packed(1, c, 6), Layout::packed(2, c, 3));
    let all = vec![
        ("base off by one element", Place::new(rows, 1)),
        ("one element of padding", Place::new(rows.row_stride(c + 1), 0)),
        ("padded vocabulary", Place::new(rows.row_stride(2 * c + 8), 3)),
        ("padded by lines", Place::new(rows.row_stride(c + 128), 128)),
        ("classes first", Place::new(classes_first, 0)),
        ("classes first, padded", Place::new(classes_first.strides([1, 9, 1]), 1)),
        ("classes in the middle", Place::new(middle, 0)),
        ("every axis padded", Place::new(middle.strides([7 * c + 5, 7, 2]), 1)),
        ("outer fastest", Place::new(middle.strides([1, 6, 2]), 0)),
        ("inner slowest", Place::new(middle.strides([c, 1, 2 * c + 1]), 2)),
        ("classes twice as far apart", Place::new(rows.strides([2 * c, 2, 1]), 0)),
    ];
    all.into_iter().step_by(if cfg!(miri) { 3 } else { 1 }).collect()
}

/// A problem with every option that the logits' and targets' types allow.
fn problem(logits: DType, classes: usize, targets: DType) -> Problem {
    let problem = Problem::new(logits, classes)
        .targets(targets)
        .label_smoothing(0.1)
        .z_loss(1e-3)
        .class_weights(true)
        .row_weights(true)
        .reduction(Reduction::None);
    if targets.is_float() { problem } else { problem.ignore_index(1) }
}

/// All combinations of two lists; on a GPU so many of them.
fn pairs<A: Copy, B: Copy>(a: &[A], b: &[B], on_a_gpu: usize) -> Vec<(A, B)> {
    thinned(a.iter().flat_map(|a| b.iter().map(|b| (*a, *b))), on_a_gpu)
}

/// What the results of a case are at any place.
struct Expected<'a> {
    case: &'a Case,
    packed: Bits,
    /// On a GPU, where classes are no neighbours.
    apart: Option<Bits>,
}

impl Expected<'_> {
    fn of(case: &Case) -> Expected<'_> {
        let classes_first = Place::new(Layout::packed(1, case.problem.classes, 6), 0);
        let apart = on_gpu().then(|| case.bits_at(&classes_first));
        Expected { case, packed: case.bits(), apart }
    }

    fn check(&self, bits: &Bits, place: &Place, name: &str) {
        let Problem { logits, targets, dlogits, classes, .. } = self.case.problem;
        let Layout { inner, strides, .. } = place.layout;
        let what = || format!("{name}: {logits}, {targets}, {classes} classes");
        let Some(apart) = &self.apart else {
            return assert!(*bits == self.packed, "{}", what());
        };
        bounds::check(self.case, &bits.output(dlogits));
        let neighbours = inner == 1 && (classes == 1 || strides[1] == 1);
        let lines = |elements: usize| (elements * logits.size()).is_multiple_of(128);
        if !neighbours {
            assert!(bits == apart, "{}", what());
        } else if lines(place.offset) && lines(strides[0] - classes) {
            assert!(*bits == self.packed, "{}", what());
        }
    }
}

#[test]
fn every_layout_equals_packed_rows() {
    let targets = [DType::I64, DType::F32, DType::BF16];
    for ((logits, classes), targets) in pairs(&pairs(floats(), SIZES, 12), &targets, 6) {
        let case = Case::random(problem(logits, classes, targets), 6, 7);
        let expected = Expected::of(&case);
        for (name, place) in layouts(classes) {
            expected.check(&case.bits_at(&place), &place, name);
        }
    }
}

#[test]
fn a_gradient_in_place_equals_one_elsewhere() {
    for (logits, classes) in pairs(floats(), SIZES, 6) {
        let apart = Case::random(problem(logits, classes, DType::I64), 6, 11);
        let mut same = apart.clone();
        same.problem.in_place = true;
        let expected = Expected::of(&apart);
        assert_eq!(same.bits(), apart.bits(), "{logits}, {classes} classes, packed");
        for (name, place) in layouts(classes) {
            expected.check(&same.bits_at(&place), &place, name);
        }
    }
}

/// Several chunks of a row, and enough rows for several threads.
#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn large_rows_equal_packed_ones() {
    for logits in [DType::F32, DType::F16, DType::BF16] {
        let case = Case::random(problem(logits, 50_257, DType::I64), 6, 3);
        let expected = Expected::of(&case);
        let padded = Place::new(Layout::rows(6, 50_257).row_stride(50_304), 1);
        let classes_first = Place::new(Layout::packed(1, 50_257, 6), 0);
        for (name, place) in [("padded", padded), ("classes first", classes_first)] {
            expected.check(&case.bits_at(&place), &place, name);
        }
    }
}

/// Rows may share memory where they are only read.
#[test]
fn logits_that_overlap_themselves_are_read() {
    let window = [0.5f32, -1.0, 2.0, 0.25, 3.0];
    let rows: Vec<f64> = window.windows(3).flatten().copied().map(f64::from).collect();
    let problem = Problem::new(DType::F32, 3).reduction(Reduction::None);
    let mut case = Case::new(problem.clone(), 3, rows, 1).targets(&[0, 1, 2]);
    case.problem = problem.clone(); // the loss alone
    let plan = plan(&problem).unwrap();
    let there = |tensor: Tensor| tensor.to(&context()).unwrap();
    let window = there(Tensor::from_slice(&window, &[5]).unwrap());
    let targets = there(case.targets_tensor());
    let mut loss = there(Tensor::zeros(DType::F32, &[3]).unwrap());
    let logits = View::from(&window).layout(Layout::rows(3, 3).row_stride(1));
    let args = Args::new(logits, &targets).loss(&mut loss);
    plan.run(args, &mut plan.workspace(3).unwrap()).unwrap();
    assert_eq!(bits(&loss), case.bits().loss);
}

#[test]
fn backward_in_place_and_strided_equals_packed() {
    let problem = problem(DType::F32, 5, DType::I64).class_weights(false).row_weights(false);
    let case = Case::random(problem.clone(), 6, 5);
    let output = case.run();
    let place = Place::new(Layout::packed(2, 5, 3).strides([1, 6, 2]), 2);
    let there = |tensor: Tensor| tensor.to(&context()).unwrap();
    let logits = place.scatter(&case.logits, f64::NAN);
    let gaps = logits.iter().filter(|x| x.is_nan()).count();
    let mut logits = there(tensor(&logits, DType::F32, &[logits.len()]));

    let problem = problem.outputs(Outputs::STATS | Outputs::DLOGITS).in_place(true);
    let plan = plan(&problem).unwrap();
    let targets = there(case.targets_tensor());
    let stats = there(Tensor::from_slice(&output.stats, &[12]).unwrap());
    let view = view_mut(&mut logits, place.offset).layout(place.layout);
    let args = BackwardArgs::in_place(view, &targets, &stats);
    plan.backward(args, &mut plan.workspace(6).unwrap()).unwrap();
    let logits = logits.to_vec::<f32>().unwrap();
    assert_eq!(place.gather(&logits), output.dlogits.iter().map(|&x| x as f32).collect::<Vec<_>>());
    assert_eq!(logits.iter().filter(|x| x.is_nan()).count(), gaps);
}
