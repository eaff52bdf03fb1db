//! What happens at the edges: nothing to compute, infinities, NaN, extreme numbers, ties, and
//! targets at the ends of their types. Each case also has the NaN, infinities and numbers of the
//! reference, in every output and from a separate backward call.

mod common;

use std::f64::consts::LN_2;

use approx::assert_relative_eq;
use common::{Case, Output, Target, logit_types, normal, on_gpu, plan, sized, thinned};
use xent::{DType, Denominator, EmptyMean, Outputs, Problem, Reduction, Tensor};

const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Mean, Reduction::Sum];
const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

fn dtypes() -> Vec<DType> {
    thinned([DType::F32, DType::F16, DType::BF16], 2)
}

fn none(dtype: DType, classes: usize) -> Problem {
    Problem::new(dtype, classes).reduction(Reduction::None)
}

fn case(problem: Problem, logits: &[f64], targets: &[i64]) -> Case {
    Case::new(problem, targets.len(), logits.to_vec(), 0).targets(targets)
}

/// Runs a case after it was held against the reference and the bounds.
fn checked(case: &Case) -> Output {
    case.checked()
}

fn bits(x: &[f64]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn all_positive_zero(x: &[f64]) -> bool {
    x.iter().all(|x| x.to_bits() == 0)
}

/// NaN equals NaN here.
fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || a.is_nan() && b.is_nan())
}

#[test]
fn no_rows() {
    for dtype in dtypes() {
        for (reduction, empty_mean, loss) in [
            (Reduction::None, EmptyMean::Nan, vec![]),
            (Reduction::Sum, EmptyMean::Nan, vec![0.0]),
            (Reduction::Mean, EmptyMean::Nan, vec![f32::NAN]),
            (Reduction::Mean, EmptyMean::Zero, vec![0.0]),
        ] {
            for targets in [DType::I64, DType::F32] {
                let problem = Problem::new(dtype, 3).targets(targets).z_loss(0.1);
                let problem = problem.reduction(reduction).empty_mean(empty_mean);
                let output = checked(&Case::new(problem, 0, vec![], 0));
                assert!(same(&output.loss, &loss), "{reduction:?}, {empty_mean:?}: {output:?}");
                assert_eq!((output.lse, output.dlogits, output.correct), (vec![], vec![], 0));
            }
        }
        let mut none_of_five = Case::new(Problem::new(dtype, 3), 0, vec![], 0);
        none_of_five.denominator = Denominator::Value(5.0);
        assert_eq!(checked(&none_of_five).loss, [0.0]);
    }
}

#[test]
fn one_class() {
    for dtype in dtypes() {
        let plain = none(dtype, 1);
        let options = plain.clone().label_smoothing(0.3).class_weights(true).row_weights(true);
        for problem in [plain.clone(), options] {
            let output = checked(&case(problem, &[5.0, -3.0], &[0, 0]));
            assert_eq!((output.loss, output.lse), (vec![0.0, 0.0], vec![5.0, -3.0]));
            assert_eq!((output.entropy, output.dlogits), (vec![0.0, 0.0], vec![0.0, 0.0]));
            assert_eq!((output.argmax, output.correct), (vec![0, 0], 2));
        }
        assert!(checked(&case(plain, &[-INF], &[0])).loss[0].is_nan());
    }
}

/// Not even NaN in their logits, and no option, touches rows that are not counted.
#[test]
fn all_rows_ignored() {
    let logits = [NAN, INF, -INF, 1.0, 2.0, 3.0];
    for reduction in REDUCTIONS {
        for empty_mean in [EmptyMean::Nan, EmptyMean::Zero] {
            for (smoothing, weights, z_loss) in
                [(0.0, false, 0.0), (0.1, false, 0.0), (1.0, true, 0.0), (0.1, true, 0.01)]
            {
                let problem = Problem::new(DType::F32, 3)
                    .reduction(reduction)
                    .empty_mean(empty_mean)
                    .ignore_index(-100)
                    .label_smoothing(smoothing)
                    .class_weights(weights)
                    .z_loss(z_loss);
                let output = checked(&case(problem, &logits, &[-100, -100]));
                assert!(all_positive_zero(&output.dlogits), "{output:?}");
                let loss = match (reduction, empty_mean) {
                    (Reduction::None, _) => vec![0.0, 0.0],
                    (Reduction::Mean, EmptyMean::Nan) => vec![f32::NAN],
                    _ => vec![0.0],
                };
                assert!(same(&output.loss, &loss), "{reduction:?}, {empty_mean:?}: {output:?}");
                assert!(output.loss.iter().all(|loss| !loss.is_sign_negative() || loss.is_nan()));
                assert_eq!((output.argmax, output.correct), (vec![-1, -1], 0));
            }
        }
    }
}

/// Rows are counted, but the mean divides by 0: NaN or 0, in loss and gradient.
#[test]
fn means_over_no_weight() {
    let x = [1.0, 2.0, 3.0, 2.0, 4.0, 6.0];
    let by_class = |mut case: Case| {
        case.problem.class_weights = true;
        case.class_weights = Some(vec![0.0, 1.0, 0.0]);
        case
    };
    let by_row = |mut case: Case| {
        case.problem.row_weights = true;
        case.row_weights = Some(vec![0.0, 0.0]);
        case
    };
    let by_caller = |mut case: Case| {
        case.denominator = Denominator::Value(0.0);
        case
    };
    for make in [&by_class as &dyn Fn(Case) -> Case, &by_row, &by_caller] {
        for smoothing in [0.0, 0.3, 1.0] {
            let problem = Problem::new(DType::F32, 3).label_smoothing(smoothing);
            let nan = checked(&make(case(problem.clone(), &x, &[0, 2])));
            assert!(nan.loss[0].is_nan() && nan.dlogits.iter().all(|g| g.is_nan()), "{nan:?}");
            let zero = make(case(problem.empty_mean(EmptyMean::Zero), &x, &[0, 2]));
            let zero = checked(&zero);
            assert_eq!((zero.loss[0], zero.dlogits), (0.0, vec![0.0; 6]));
        }
    }
    // Infinite losses too.
    let infinite =
        case(Problem::new(DType::F32, 2).empty_mean(EmptyMean::Zero), &[-INF, 0.0], &[0]);
    assert_eq!(checked(&by_caller(infinite)).loss, [0.0]);
}

#[test]
fn the_denominator_of_the_caller() {
    let logits = normal(1, 6, 3.0);
    let sum = case(Problem::new(DType::F32, 3).reduction(Reduction::Sum), &logits, &[0, 2]);
    for denominator in [8.0, 0.25] {
        let mut mean = case(Problem::new(DType::F32, 3), &logits, &[0, 2]);
        mean.denominator = Denominator::Value(denominator);
        let (mean, sum) = (checked(&mean), checked(&sum));
        // Powers of two: exact.
        assert_eq!(f64::from(mean.loss[0]), f64::from(sum.loss[0]) / denominator);
        let scaled: Vec<f64> = sum.dlogits.iter().map(|g| g / denominator).collect();
        assert_eq!(mean.dlogits, scaled);
    }
}

/// Whole vectors, chunks and blocks of -inf come first; the first finite class is everywhere once.
#[test]
fn minus_infinity_before_any_class() {
    const CLASSES: usize = 2200;
    let x = normal(2, CLASSES, 3.0);
    let dtypes = dtypes();
    for first in thinned(0..CLASSES, 20) {
        let dtype = dtypes[first % dtypes.len()];
        let mut logits = x.clone();
        logits[..first].fill(-INF);
        let target = (first + (first * 7) % (CLASSES - first)) as i64;
        let output = checked(&case(none(dtype, CLASSES), &logits, &[target]));
        assert!(output.loss[0].is_finite() && output.lse[0].is_finite(), "{first}");
        assert!(all_positive_zero(&output.dlogits[..first]), "{first}");
        assert!(output.dlogits.iter().all(|g| g.is_finite()), "{first}");
    }
}

#[test]
fn one_finite_class_of_many() {
    for at in thinned([0, 1, 31, 32, 1023, 1024, 2047, 2048, 2199], 4) {
        let mut logits = vec![-INF; 2200];
        logits[at] = -7.0;
        let output = checked(&case(none(DType::BF16, 2200), &logits, &[at as i64]));
        assert_eq!((output.loss[0], output.lse[0], output.entropy[0]), (0.0, -7.0, 0.0));
        assert!(output.dlogits.iter().all(|&g| g == 0.0));
        assert_eq!(output.argmax, [at as i64]);
    }
}

#[test]
fn a_target_at_minus_infinity() {
    for dtype in dtypes() {
        let output = checked(&case(none(dtype, 3), &[-INF, 1.0, 1.0], &[0]));
        assert_eq!(output.loss[0], f32::INFINITY);
        assert_eq!(output.dlogits, [-1.0, 0.5, 0.5]);
    }
}

/// A row with NaN or +inf, or nothing but -inf, has no softmax. Its neighbours do not notice.
#[test]
fn rows_without_a_softmax() {
    const CLASSES: usize = 2200;
    let logits = normal(3, 3 * CLASSES, 3.0);
    let targets = [5, 6, 7];
    for dtype in dtypes() {
        let clean = case(none(dtype, CLASSES), &logits, &targets);
        let clean = checked(&clean);
        for (value, lse) in [(NAN, f32::NAN), (INF, f32::INFINITY)] {
            let places = [0, 5, 6, 31, 32, 255, 256, 1023, 1024, 2047, 2048, CLASSES - 1];
            for at in thinned(places, 4) {
                let mut spoiled = logits.clone();
                spoiled[CLASSES + at] = value;
                let output = checked(&case(none(dtype, CLASSES), &spoiled, &targets));
                assert!(output.loss[1].is_nan() && output.entropy[1].is_nan());
                assert!(same(&output.lse[1..2], &[lse]), "{value} at {at}: {}", output.lse[1]);
                assert_eq!(output.argmax[1], -1);
                let row = |output: &Output, row: usize| {
                    let gradient = &output.dlogits[row * CLASSES..(row + 1) * CLASSES];
                    (bits(gradient), output.loss[row].to_bits(), output.lse[row].to_bits())
                };
                assert!(output.dlogits[CLASSES..2 * CLASSES].iter().all(|g| g.is_nan()));
                assert_eq!(row(&output, 0), row(&clean, 0));
                assert_eq!(row(&output, 2), row(&clean, 2));

                let mean = checked(&case(Problem::new(dtype, CLASSES), &spoiled, &targets));
                assert!(mean.loss[0].is_nan());
            }
        }
    }
    for z_loss in [0.0, 0.1] {
        let empty = case(none(DType::F32, 3).z_loss(z_loss), &[-INF; 3], &[0]);
        let output = checked(&empty);
        assert!(output.loss[0].is_nan() && output.dlogits.iter().all(|g| g.is_nan()));
        assert_eq!((output.lse[0], output.argmax[0]), (f32::NEG_INFINITY, -1));
    }
    // NaN wins over +inf.
    assert!(checked(&case(none(DType::F16, 2), &[INF, NAN], &[0])).lse[0].is_nan());
}

#[test]
fn ignored_rows_are_never_read() {
    for (smoothing, reduction) in [0.0, 0.2].into_iter().flat_map(|s| REDUCTIONS.map(|r| (s, r))) {
        let problem = Problem::new(DType::F16, 50)
            .reduction(reduction)
            .ignore_index(-1)
            .label_smoothing(smoothing)
            .class_weights(true)
            .z_loss(1e-3);
        let mut clean = Case::random(problem, 3, 4).targets(&[7, -1, 49]);
        let before = checked(&clean);
        for value in [NAN, INF, -INF] {
            clean.logits[50..100].fill(value);
            assert_eq!(checked(&clean), before);
        }
    }
}

#[test]
fn the_ends_of_f16() {
    let output = checked(&case(none(DType::F16, 3), &[65504.0, -65504.0, 0.0], &[1]));
    assert_eq!((output.loss[0], output.lse[0]), (131008.0, 65504.0));
    assert_eq!(output.dlogits, [1.0, -1.0, 0.0]);
    // f16 holds no gradient below 2^-24 / 2, f32 does: p is exp(-18) here.
    let small = [0.0, -18.0];
    assert_eq!(checked(&case(none(DType::F16, 2), &small, &[0])).dlogits, [-0.0, 0.0]);
    let wide = none(DType::F16, 2).dlogits(DType::F32);
    let p = (-18f64).exp() / (1.0 + (-18f64).exp());
    assert_relative_eq!(checked(&case(wide, &small, &[0])).dlogits[1], p, max_relative = 1e-6);
}

#[test]
fn equal_logits_of_any_size() {
    for (dtype, size) in [
        (DType::F32, 1e8),
        (DType::F32, -1e8),
        (DType::F32, 3e38),
        (DType::F32, 1e-45),
        (DType::F16, 65504.0),
        (DType::BF16, 1e8),
        (DType::BF16, -3e38),
    ] {
        let output = checked(&case(none(dtype, 3), &[size; 3], &[1]));
        assert_eq!(output.loss[0], 3f32.ln(), "{size:e} in {dtype}");
        assert_eq!(output.entropy[0], 3f32.ln(), "{size:e} in {dtype}");
    }
}

/// Multiples of 8 near 1e8 are exact in `f32`, so that nothing may change on a GPU, which subtracts the
/// largest logit first. The CPU does that only far from 0; nearer, it is the fraction of a binary
/// exponent that it rounds, and the bounds hold.
#[test]
fn an_exact_offset_changes_no_bit() {
    let x: Vec<f64> = normal(5, 2 * 300, 1.0).iter().map(|x| 8.0 * x.round()).collect();
    let of = |offset: f64| {
        let far: Vec<f64> = x.iter().map(|x| x + offset).collect();
        let output = checked(&case(none(DType::F32, 300), &far, &[3, 299]));
        (output.loss, output.dlogits)
    };
    assert_eq!(of(1e8), of(-1e8));
    for offset in [0.0, 1e4, 1e6] {
        let near = of(offset);
        assert!(near == of(1e8) || !on_gpu() && offset < 1e6, "{offset}");
    }
}

/// Formulas with lse - x\[y\] or p - 1 give 0.
/// Exponentials that are subnormal still add up to a number that is not.
#[test]
fn many_classes_of_vanishing_probability() {
    let classes = 100_000;
    for behind in [87.0, 88.0, 95.0] {
        let mut logits = vec![0.0; classes];
        logits[7] = behind;
        let problem = Problem::new(DType::F32, classes).reduction(Reduction::None);
        Case::new(problem, 1, logits, 1).targets(&[7]).check();
    }
}

#[test]
fn a_target_far_ahead() {
    const CLASSES: usize = 32768;
    for dtype in dtypes() {
        let mut logits = vec![0.0; CLASSES];
        logits[5] = 30.0;
        let output = checked(&case(none(dtype, CLASSES).dlogits(DType::F32), &logits, &[5]));
        let s = (CLASSES - 1) as f64 * (-30f64).exp();
        assert_relative_eq!(s, 3.07e-9, max_relative = 2e-3);
        // (6 + 1.5 * 30) u
        assert_relative_eq!(f64::from(output.loss[0]), s.ln_1p(), max_relative = 3.1e-6);
        assert_relative_eq!(output.dlogits[5], -s / (1.0 + s), max_relative = 5e-6);
    }
}

#[test]
fn zero_times_infinity_is_zero() {
    let x = [-INF, 1.0, 1.0];
    for dtype in dtypes() {
        let mut soft = case(none(dtype, 3).targets(DType::F32), &x, &[0]);
        soft.target = Target::Probabilities(vec![0.0, 0.5, 0.5]);
        let output = checked(&soft);
        assert_relative_eq!(f64::from(output.loss[0]), LN_2, max_relative = 1e-6);
        assert_eq!(output.dlogits, [0.0, 0.0, 0.0]);

        for smoothing in [0.2, 1.0] {
            let mut unweighted = case(none(dtype, 3).class_weights(true), &x, &[1]);
            unweighted.problem.label_smoothing = smoothing;
            unweighted.class_weights = Some(vec![0.0, 1.0, 1.0]);
            assert!(checked(&unweighted).loss[0].is_finite());
        }
        // The target itself: its weight is 0, or smoothing leaves it nothing but a weight of 0.
        let mut target = case(none(dtype, 3).class_weights(true), &x, &[0]);
        target.class_weights = Some(vec![0.0, 1.0, 1.0]);
        let output = checked(&target);
        assert_eq!((output.loss[0], &output.dlogits), (0.0, &vec![0.0; 3]));
        let mut row = case(none(dtype, 3).row_weights(true), &x, &[0]);
        row.row_weights = Some(vec![0.0]);
        assert_eq!(checked(&row).loss[0], 0.0);
    }
}

#[test]
fn smoothing_over_a_class_at_minus_infinity() {
    for (smoothing, loss) in [(0.0, LN_2 as f32), (0.1, f32::INFINITY), (1.0, f32::INFINITY)] {
        let problem = none(DType::F32, 3).label_smoothing(smoothing);
        let output = checked(&case(problem, &[-INF, 1.0, 1.0], &[1]));
        assert_eq!(output.loss[0], loss);
        assert!(output.dlogits.iter().all(|g| g.is_finite()));
        assert_relative_eq!(output.dlogits[0], -smoothing / 3.0, max_relative = 1e-6);
    }
}

/// A softcap makes every logit but NaN finite: z = c tanh(k x / c) in [-c, c].
#[test]
fn softcap_of_infinite_logits() {
    for dtype in dtypes() {
        let problem = none(dtype, 3).softcap(5.0);
        let output = checked(&case(problem.clone(), &[INF, -INF, 0.0], &[0]));
        let s = (-10f64).exp() + (-5f64).exp();
        assert_relative_eq!(f64::from(output.loss[0]), s.ln_1p(), max_relative = 1e-6);
        assert_eq!(output.dlogits[..2], [0.0, 0.0]);
        let output = checked(&case(problem.clone(), &[-INF; 3], &[2]));
        assert_eq!(output.loss[0], 3f32.ln());
        assert_eq!(output.argmax, [0]);
        assert!(checked(&case(problem.clone(), &[INF, NAN, 0.0], &[0])).loss[0].is_nan());
        let turned = checked(&case(problem.logit_scale(-2.0), &[INF, -INF, 0.0], &[1]));
        assert_eq!(turned.argmax, [1]);
    }
}

/// Under a soft cap a row of nothing but -inf has a softmax; a NaN among them has none, wherever it is.
#[test]
fn a_nan_among_negative_infinities() {
    for dtype in dtypes() {
        for classes in [1, 2, 3, 40, 65, 3000] {
            for at in [0, classes / 2, classes - 1] {
                let mut logits = vec![-INF; classes];
                let problem = none(dtype, classes).softcap(2.0);
                if classes > 1 {
                    assert!(checked(&case(problem.clone(), &logits, &[0])).loss[0].is_finite());
                }
                logits[at] = NAN;
                let output = checked(&case(problem, &logits, &[0]));
                assert!(output.loss[0].is_nan() && output.stats[1].is_nan(), "{classes}, {at}");
            }
        }
    }
}

#[test]
fn negative_scale() {
    for dtype in dtypes() {
        let problem = none(dtype, 4).logit_scale(-1.0);
        let x = [1.0, -2.0, 3.0, -2.0];
        let turned = checked(&case(problem.clone(), &x, &[1]));
        let plain = checked(&case(none(dtype, 4), &x.map(|x| -x), &[1]));
        assert_eq!((&turned.loss, &turned.lse), (&plain.loss, &plain.lse));
        assert_eq!((&turned.argmax, &plain.argmax), (&vec![1], &vec![1]));
        assert_eq!(turned.stats[0], -2.0, "the logit, before the scale");
        let minus: Vec<f64> = plain.dlogits.iter().map(|g| -g).collect();
        assert_eq!(turned.dlogits, minus);
        // +inf is now the class of probability 0.
        let output = checked(&case(problem.clone(), &[INF, 0.0, 0.0, INF], &[1]));
        assert_eq!(output.loss[0], 2f32.ln());
        assert!(checked(&case(problem, &[-INF, 0.0, 0.0, 0.0], &[1])).loss[0].is_nan());
    }
}

#[test]
fn the_largest_finite_logits() {
    for dtype in [DType::F32, DType::BF16] {
        let x = [3e38, -3e38, 0.0];
        let output = checked(&case(none(dtype, 3), &x, &[0]));
        assert_eq!((output.loss[0], &output.dlogits), (0.0, &vec![0.0; 3]));
        // The exact loss is 6e38, which f32 does not hold.
        let output = checked(&case(none(dtype, 3), &x, &[1]));
        assert_eq!((output.loss[0], &output.dlogits), (f32::INFINITY, &vec![1.0, -1.0, 0.0]));
        let scaled = none(dtype, 3).logit_scale(1e-38);
        assert!(checked(&case(scaled, &x, &[1])).loss[0] < 10.0);
    }
}

#[test]
fn subnormal_logits_are_numbers() {
    let tiny = f64::from(f32::from_bits(1));
    let output = checked(&case(none(DType::F32, 2), &[tiny, 2.0 * tiny], &[0]));
    assert_eq!(output.argmax, [1]);
    let scaled = none(DType::F32, 2).logit_scale(1e30);
    assert_eq!(checked(&case(scaled, &[tiny, 2e3 * tiny], &[0])).argmax, [1]);
}

#[test]
fn the_first_of_equal_logits_is_the_largest() {
    let mut logits = vec![0.0; 3 * 2200];
    logits[1023] = 1.0;
    logits[1024] = 1.0;
    logits[2199] = 1.0;
    logits[2200] = -0.0; // equals the +0 that follow
    let row = 2 * 2200;
    logits[row..].fill(-INF);
    logits[row + 2048] = -3.0;
    logits[row + 2199] = -3.0;
    for dtype in dtypes() {
        let output = checked(&case(none(dtype, 2200), &logits, &[1023, 1, 2199]));
        assert_eq!((output.argmax, output.correct), (vec![1023, 0, 2048], 1));
    }
    // The most probable class of the target is the first one too.
    let mut soft = case(none(DType::F32, 3).targets(DType::F32), &[1.0, 2.0, 2.0], &[0]);
    for (q, correct) in [([0.2, 0.4, 0.4], 1), ([0.4, 0.2, 0.4], 0), ([0.0, 0.1, 0.9], 0)] {
        soft.target = Target::Probabilities(q.map(|q| f64::from(q as f32)).to_vec());
        assert_eq!(checked(&soft).correct, correct);
    }
}

#[test]
fn equal_rows_have_equal_results() {
    let classes = sized(333, 320); // on a GPU, if they lie alike to 128 bytes
    let x = normal(6, classes, 3.0);
    let rows = case(none(DType::F16, classes), &x.repeat(9), &[77; 9]);
    let output = checked(&rows);
    assert!(output.loss.iter().all(|loss| *loss == output.loss[0]));
    let first = bits(&output.dlogits[..classes]);
    assert!(output.dlogits.chunks(classes).all(|row| bits(row) == first));
}

/// More than 2^16 equal rows, which f16 could not count: the mean is the loss of a row.
#[test]
fn the_mean_of_many_equal_rows() {
    let rows = sized(1 << 20, 1 << 17);
    for dtype in dtypes() {
        let one = case(none(dtype, 2).dlogits(DType::F32), &[65504.0, 65503.0], &[1]).run();
        let problem = Problem::new(dtype, 2).dlogits(DType::F32);
        let many = case(problem, &[65504.0, 65503.0].repeat(rows), &vec![1; rows]).run();
        assert_eq!(many.loss[0], one.loss[0]);
        assert!(many.dlogits.chunks(2).all(|g| g[0] * rows as f64 == one.dlogits[0]));
    }
}

/// The largest class of each type, in as many classes as it counts.
#[test]
fn targets_of_every_integer_type() {
    for (targets, classes, class) in [
        (DType::U8, 256, 255),
        (DType::U8, 1000, 255),
        (DType::I32, 70_000, 69_999),
        (DType::U32, 70_000, 65_536),
        (DType::I64, 70_000, 69_999),
    ] {
        let logits = normal(7, classes, 3.0);
        let problem = none(DType::BF16, classes);
        let expected = checked(&case(problem.clone(), &logits, &[class]));
        let output = checked(&case(problem.targets(targets), &logits, &[class]));
        assert_eq!(output, expected, "{class} as {targets}");
    }
}

/// Inside [0, classes) too: that class stays in the softmax. What a type cannot hold never occurs.
#[test]
fn any_ignore_index() {
    let logits = normal(8, 2 * 5, 3.0);
    let counted = checked(&case(none(DType::F32, 5), &logits[..5], &[3]));
    for (targets, index) in [
        (DType::I64, -100),
        (DType::I64, 2),
        (DType::I64, i64::MIN),
        (DType::I64, i64::MAX),
        (DType::I64, 1 << 32),
        (DType::I32, i32::MIN.into()),
        (DType::I32, i32::MAX.into()),
        (DType::U32, u32::MAX.into()),
        (DType::U8, 255),
        (DType::U8, 4),
    ] {
        let problem = none(DType::F32, 5).targets(targets).ignore_index(index);
        let output = checked(&case(problem, &logits, &[3, index]));
        assert_eq!(output.loss, [counted.loss[0], 0.0], "{index} as {targets}");
        assert_eq!(output.dlogits[..5], counted.dlogits, "{index} as {targets}");
        assert!(all_positive_zero(&output.dlogits[5..]), "{index} as {targets}");
    }
    for (targets, index) in [(DType::U8, -100), (DType::U32, -1), (DType::I32, (1 << 32) + 3)] {
        let problem = none(DType::F32, 5).targets(targets).ignore_index(index);
        assert_eq!(checked(&case(problem, &logits[..5], &[3])), counted);
    }
}

/// Widened before they are compared: 2^32 + 5 is not class 5, and u32::MAX not -1.
#[test]
fn targets_that_are_no_class() {
    for (targets, value) in [
        (DType::I64, 6),
        (DType::I64, -1),
        (DType::I64, -100),
        (DType::I64, 1 << 32),
        (DType::I64, (1 << 32) + 5),
        (DType::I64, (1 << 32) - 100),
        (DType::I64, i64::MIN),
        (DType::I64, i64::MAX),
        (DType::I32, -1),
        (DType::I32, i32::MIN.into()),
        (DType::U32, u32::MAX.into()),
        (DType::U8, 255),
    ] {
        for &dtype in logit_types() {
            let problem = Problem::new(dtype, 6).targets(targets).ignore_index(-7);
            let wrong = Case::random(problem.reduction(Reduction::None), 4, 9);
            let mut wrong = wrong.targets(&[5, 0, value, value]);
            if dtype == DType::F64 {
                wrong.problem.outputs = Outputs::DLOGITS; // the others are no f32
            }
            wrong.check_wrong_targets(&[2, 3]);
        }
    }
    let unset = Case::random(none(DType::F32, 6).targets(DType::U32), 1, 9);
    unset.targets(&[(1 << 32) - 1]).check_wrong_targets(&[0]); // no ignore_index, no default
}

/// The CPU's error comes before anything is written. On a GPU a mean is NaN, and no other row's
/// gradient notices.
#[test]
fn an_invalid_target_leaves_the_outputs_alone() {
    if on_gpu() {
        let problem = Problem::new(DType::F32, 3);
        return Case::random(problem, 3, 9).targets(&[0, 1, 3]).check_wrong_targets(&[2]);
    }
    let problem = Problem::new(DType::F32, 3).outputs(Outputs::LOSS | Outputs::DLOGITS);
    let plan = plan(&problem).unwrap();
    let logits = Tensor::from_slice(&[0f32; 9], &[3, 3]).unwrap();
    let (mut loss, mut dlogits) = ([7f32], [7f32; 9]);
    let args = xent::Args::new(&logits, &[0i64, 1, 3]).loss(&mut loss).dlogits(&mut dlogits);
    assert!(plan.run(args, &mut plan.workspace(3).unwrap()).is_err());
    assert_eq!((loss, dlogits), ([7.0], [7.0; 9]));
}
