//! Tensors may lie anywhere: the class axis in any place, rows padded, strides permuted, the base
//! off by an element. Results equal those of the packed rows bit for bit, and nothing outside the
//! elements is read (it is NaN) or written (it keeps its bits); inputs stay as they are.

mod common;

use common::Case;
use common::placed::Place;
use xent::{
    Args, BackwardArgs, Context, DType, Layout, Outputs, Plan, Problem, Reduction, View, ViewMut,
};

/// Under Miri, which is slow, two types see all ways to reach memory: of the kernel and of `f64`.
const FLOATS: &[DType] = match cfg!(miri) {
    true => &[DType::F16, DType::F64],
    false => &[DType::F32, DType::F16, DType::BF16, DType::F64],
};

/// Layouts of 6 rows in (outer, inner).
fn layouts(classes: usize) -> Vec<(&'static str, Place)> {
    let c = classes;
    let rows = Layout::rows(6, c);
    let (classes_first, middle) = (Layout::packed(1, c, 6), Layout::packed(2, c, 3));
    let all = vec![
        ("base off by one element", Place::new(rows, 1)),
        ("one element of padding", Place::new(rows.row_stride(c + 1), 0)),
        ("padded vocabulary", Place::new(rows.row_stride(2 * c + 8), 3)),
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

#[test]
fn every_layout_equals_packed_rows() {
    let sizes: &[usize] = if cfg!(miri) { &[3] } else { &[1, 5, 33, 1300] };
    for (logits, &classes) in FLOATS.iter().flat_map(|d| sizes.iter().map(move |c| (*d, c))) {
        for targets in [DType::I64, DType::F32, DType::BF16] {
            let case = Case::random(problem(logits, classes, targets), 6, 7);
            let packed = case.bits();
            for (name, place) in layouts(classes) {
                assert_eq!(case.bits_at(&place), packed, "{name}: {logits}, {targets}, {classes}");
            }
        }
    }
}

#[test]
fn a_gradient_in_place_equals_one_elsewhere() {
    for &logits in FLOATS {
        for classes in if cfg!(miri) { vec![3] } else { vec![1, 5, 33, 1300] } {
            let apart = Case::random(problem(logits, classes, DType::I64), 6, 11);
            let mut same = apart.clone();
            same.problem.in_place = true;
            let expected = apart.bits();
            assert_eq!(same.bits(), expected, "{logits}, {classes} classes, packed");
            for (name, place) in layouts(classes) {
                assert_eq!(same.bits_at(&place), expected, "{name}: {logits}, {classes} classes");
            }
        }
    }
}

/// Several chunks of a row, and enough rows for several threads.
#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn large_rows_equal_packed_ones() {
    for logits in [DType::F32, DType::F16, DType::BF16] {
        let case = Case::random(problem(logits, 50_257, DType::I64), 6, 3);
        let packed = case.bits();
        let padded = Place::new(Layout::rows(6, 50_257).row_stride(50_304), 1);
        let classes_first = Place::new(Layout::packed(1, 50_257, 6), 0);
        assert_eq!(case.bits_at(&padded), packed, "{logits} padded");
        assert_eq!(case.bits_at(&classes_first), packed, "{logits} classes first");
    }
}

/// Rows may share memory where they are only read.
#[test]
fn logits_that_overlap_themselves_are_read() {
    let window = [0.5f32, -1.0, 2.0, 0.25, 3.0];
    let rows: Vec<f64> = window.windows(3).flatten().copied().map(f64::from).collect();
    let problem = Problem::new(DType::F32, 3).reduction(Reduction::None);
    let case = Case::new(problem.clone(), 3, rows, 1).targets(&[0, 1, 2]);
    let plan = Plan::new(&Context::cpu(), &problem).unwrap();
    let mut loss = [0f32; 3];
    let logits = View::from(&window).layout(Layout::rows(3, 3).row_stride(1));
    plan.run(Args::new(logits, &[0i64, 1, 2]).loss(&mut loss), &mut plan.workspace(3).unwrap())
        .unwrap();
    assert_eq!(loss.map(|x| u64::from(x.to_bits())).to_vec(), case.bits().loss);
}

#[test]
fn backward_in_place_and_strided_equals_packed() {
    let problem = problem(DType::F32, 5, DType::I64).class_weights(false).row_weights(false);
    let case = Case::random(problem.clone(), 6, 5);
    let output = case.run();
    let place = Place::new(Layout::packed(2, 5, 3).strides([1, 6, 2]), 2);
    let mut logits: Vec<f32> =
        place.scatter(&case.logits, f64::NAN).into_iter().map(|x| x as f32).collect();
    let gaps = logits.iter().filter(|x| x.is_nan()).count();

    let problem = problem.outputs(Outputs::STATS | Outputs::DLOGITS).in_place(true);
    let plan = Plan::new(&Context::cpu(), &problem).unwrap();
    let targets = case.targets_tensor();
    let view = ViewMut::from(&mut logits[place.offset..]).layout(place.layout);
    let args = BackwardArgs::in_place(view, &targets, &output.stats);
    plan.backward(args, &mut plan.workspace(6).unwrap()).unwrap();
    assert_eq!(place.gather(&logits), output.dlogits.iter().map(|&x| x as f32).collect::<Vec<_>>());
    assert_eq!(logits.iter().filter(|x| x.is_nan()).count(), gaps);
}
