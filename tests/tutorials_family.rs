//! The numbers of well-known tutorials on probabilities: one test for each row of the project's list of
//! them that is no cross entropy of logits, which `tests/tutorials.rs` has. Each goes through the
//! reference, a plan of `f64`, and the kernels of `f32`, `f16` and `bf16`. Comments say where a tutorial
//! erred.
#![allow(clippy::approx_constant)] // numbers as they were printed

mod common;
mod trial;

use approx::assert_relative_eq;
use common::{context, round};
use trial::Trial;
use xent::DType::{BF16, F16, F32, F64};
use xent::reference::{self, Results};
use xent::{Clip, Context, DType, Form, Layout, Outputs, Problem, Reduction, Renormalise, Unit};

/// The running example: two rows of three logits.
const X: [f64; 6] = [1.0, 2.0, 3.0, 2.0, 4.0, 6.0];

/// Two rows whose second labels were given no more than a fifth and nothing.
const BATCH: [f64; 6] = [0.3, 0.7, 0.0, 0.5, 0.2, 0.3];
const OF_BATCH: [f64; 6] = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0];

/// A problem of numbers of any type, and what it is asked.
struct Lesson<'a> {
    problem: &'a dyn Fn(DType) -> Problem,
    numbers: &'a [f64],
    classes: &'a [i64],
    targets: &'a [f64],
}

impl<'a> Lesson<'a> {
    fn new(problem: &'a dyn Fn(DType) -> Problem, numbers: &'a [f64]) -> Self {
        Lesson { problem, numbers, classes: &[], targets: &[] }
    }

    /// Class indices.
    fn of(mut self, classes: &'a [i64]) -> Self {
        self.classes = classes;
        self
    }

    /// Probabilities.
    fn against(mut self, targets: &'a [f64]) -> Self {
        self.targets = targets;
        self
    }

    fn trial(&self, dtype: DType) -> Trial {
        let mut problem = (self.problem)(dtype);
        if problem.outputs.contains(Outputs::LOSS) {
            problem = problem.outputs(Outputs::LOSS | Outputs::DLOGITS);
        }
        let of = |numbers: &[f64]| numbers.iter().map(|&x| round(x, dtype)).collect();
        let layout = Layout::rows(self.numbers.len() / problem.classes, problem.classes);
        Trial {
            logits: of(self.numbers),
            classes: self.classes.to_vec(),
            probabilities: of(self.targets),
            ..Trial::new(problem, layout, 0)
        }
    }

    /// In `f64`, where the plan of the CPU and the reference are the same.
    fn results(&self) -> Results {
        let trial = self.trial(F64);
        let results = reference::compute(&trial.problem, &trial.inputs()).unwrap();
        let found = trial.run(&Context::cpu());
        assert_eq!(found.loss, results.loss);
        assert_eq!(found.dlogits, results.dlogits);
        assert_eq!(found.output, results.output);
        results
    }

    /// The loss, or the softmax, is what was printed, to the printed digits; in `f32` to that, or 1e-6
    /// and what rounding p, or 1 - p, leaves.
    fn gives(&self, printed: &[f64], digits: f64) {
        let results = self.results();
        let is_loss = !results.loss.is_empty();
        near(if is_loss { &results.loss } else { &results.output }, printed, 0.0, digits);
        for dtype in [F32, F16, BF16] {
            let trial = self.trial(dtype);
            let found = trial.run(&context());
            trial.check(&found);
            if dtype == F32 {
                let found = if is_loss { found.loss } else { found.output };
                near(&found, printed, f32::EPSILON.into(), digits.max(1e-6));
            }
        }
    }

    /// The gradient, in `f64` and `f32`.
    fn pulls(&self, expected: &[f64], digits: f64) {
        near(&self.results().dlogits, expected, 0.0, digits);
        near(&self.trial(F32).run(&context()).dlogits, expected, 0.0, digits.max(1e-6));
    }
}

fn near(actual: &[f64], expected: &[f64], off: f64, digits: f64) {
    assert_eq!(actual.len(), expected.len());
    for (&actual, &expected) in actual.iter().zip(expected) {
        assert_relative_eq!(actual, expected, epsilon = off, max_relative = digits);
    }
}

/// Probabilities of which the one of a class is exp(-loss), and the others share the rest.
fn stand_ins(rows: &[(f64, i64)], classes: usize) -> Vec<f64> {
    let mut q = Vec::with_capacity(rows.len() * classes);
    for &(loss, class) in rows {
        let rest = -f64::exp_m1(-loss) / (classes - 1) as f64;
        let one = |c| if c == class as usize { (-loss).exp() } else { rest };
        q.extend((0..classes).map(one));
    }
    q
}

/// The text types p of the second row as 0.8868.
#[test]
fn row_1_softmax_of_the_running_example() {
    let printed =
        [0.0900305732, 0.2447284711, 0.6652409558, 0.01587624, 0.1173104278, 0.8668133322];
    Lesson::new(&|dtype| Problem::softmax(dtype, 3), &X).gives(&printed, 4e-9);
}

/// The text says that log(0.6652) is -0.1429: that is log(0.8668).
#[test]
fn row_2_log_softmax_of_the_running_example() {
    let printed =
        [2.40760596444, 1.40760596444, 0.40760596444, 4.1429316285, 2.1429316285, 0.1429316285];
    Lesson::new(&|dtype| Problem::log_softmax(dtype, 3), &X).gives(&printed.map(|x| -x), 2e-10);
}

#[test]
fn row_4_one_hot_rows() {
    let mut rows = [0.5f64; 6];
    xent::one_hot(&[0i64, 2], 3, &mut rows).unwrap();
    assert_eq!(rows, [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
}

/// The upper bound, 1 - 1e-20, is 1 in every type, and its logarithm still is not 0; the lower one is no
/// number of `f16`, and need not be.
#[test]
fn row_5_probabilities_clipped_to_1e_minus_20() {
    let clipped = |dtype| Problem::cross_entropy_from_probs(dtype, 2).clip(Clip::Range(1e-20));
    Lesson::new(&clipped, &[0.0, 1.0]).of(&[0]).gives(&[46.0517018599], 1e-11);
    Lesson::new(&clipped, &[0.0, 1.0]).of(&[1]).gives(&[1e-20], 1e-15);
}

/// The docstring's own example, which its code refuses: that is a binary cross entropy.
#[test]
fn row_6_categorical_cross_entropy_with_epsilon_1e_minus_12() {
    let p = [0.25, 0.25, 0.25, 0.25, 0.01, 0.01, 0.01, 0.96];
    let y = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let clipped = |dtype| Problem::cross_entropy_from_probs(dtype, 4).clip(Clip::Range(1e-12));
    Lesson::new(&clipped, &p).of(&[3, 3]).gives(&[0.7135581778200729], 2e-16);
    let one_hot = |dtype| clipped(dtype).targets(dtype);
    Lesson::new(&one_hot, &p).against(&y).gives(&[0.7135581778200729], 2e-16);
}

#[test]
fn row_7_binary_cross_entropy_with_epsilon_1e_minus_12() {
    let clipped = |dtype| Problem::bce(dtype, 2).clip(Clip::Range(1e-12)).targets(dtype);
    Lesson::new(&clipped, &[0.01, 0.99]).against(&[0.0, 1.0]).gives(&[0.01005033585], 1e-9);
}

/// An epsilon that is added makes the loss of a sure hit negative: no preset has it. There, 1 + 1e-15 is
/// rounded first, which gives -1.11e-15.
#[test]
fn row_8_two_classes_with_an_epsilon_that_is_added() {
    let p = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0];
    let printed = [
        -1e-15,
        0.1053605157,
        0.2231435513,
        0.3566749439,
        0.5108256238,
        0.6931471806,
        0.9162907319,
        1.2039728043,
        1.6094379124,
        2.302585093,
        34.5387763949,
    ];
    let added = |dtype| {
        let added = Problem::cross_entropy_from_probs(dtype, 2).clip(Clip::Add(1e-15));
        added.targets(dtype).reduction(Reduction::None)
    };
    for (p, loss) in p.into_iter().zip(printed) {
        Lesson::new(&added, &[1.0 - p, p]).against(&[0.0, 1.0]).gives(&[loss], 1e-9);
    }
}

/// Neither adds up to 1: nothing divides them.
#[test]
fn row_9_cross_entropy_of_two_vectors_of_any_sum() {
    let p = [5.0, 1.0, 4.0, 6.0, 2.0, 4.0];
    let table = [
        ([5.0, 1.0, 4.0, 6.0, 2.0, 4.0], -31.27439562761785),
        ([3.0, 7.0, 1.0, 4.0, 1.0, 6.0], -22.923775636027425),
        ([2.0, 5.0, 7.0, 2.0, 1.0, 5.0], -23.455449144551153),
    ];
    let plain = |dtype| Problem::cross_entropy_from_probs(dtype, 6).targets(dtype);
    for (q, printed) in table {
        let lesson = Lesson::new(&plain, &q).against(&p);
        lesson.gives(&[printed], 3e-16);
        let slopes: Vec<f64> = p.iter().zip(&q).map(|(p, q)| -p / q).collect();
        lesson.pulls(&slopes, 2e-16);
    }
}

/// The ten numbers were not kept but for the one that counts.
#[test]
fn row_10_only_the_class_of_a_one_hot_row_counts() {
    let q = stand_ins(&[(2.79778871, 4)], 10);
    let mut y = [0.0; 10];
    y[4] = 1.0;
    let one_hot = |dtype| Problem::cross_entropy_from_probs(dtype, 10).targets(dtype);
    Lesson::new(&one_hot, &q).against(&y).gives(&[2.79778871], 1e-15);
}

/// The cell changes what it reads: .95515293 and .0458838172 the first time, and what was printed,
/// .99776266 and .00223984, the second. Here the same numbers, ten times as large, are divided by their
/// sum, and that twice gives what once gives.
#[test]
fn row_11_divided_by_their_sum() {
    let divided =
        |dtype| Problem::cross_entropy_from_probs(dtype, 10).renormalise(Renormalise::BeforeClip);
    for (loss, digits) in [(0.0458838172, 1e-14), (0.0022398433, 1e-13)] {
        let mut q = stand_ins(&[(loss, 7)], 10);
        assert_relative_eq!(
            q[7],
            if loss > 0.01 { 0.95515293 } else { 0.9977626633 },
            epsilon = 5e-9
        );
        q.iter_mut().for_each(|q| *q *= 10.0);
        Lesson::new(&divided, &q).of(&[7]).gives(&[loss], digits);
    }
}

/// The text's formula lacks the logarithm, and its sums have a term too many. Of the 4 x 10 numbers
/// only the losses were kept; printed as 8.579134447144245, from more digits of them.
#[test]
fn row_12_sum_over_a_batch() {
    let rows = [(1.9936551146, 4), (2.0243369555, 2), (1.7886442466, 8), (2.7724981663, 6)];
    let (q, classes) = (stand_ins(&rows, 10), rows.map(|(_, class)| class));
    let each = |dtype| Problem::cross_entropy_from_probs(dtype, 10).reduction(Reduction::None);
    Lesson::new(&each, &q).of(&classes).gives(&rows.map(|(loss, _)| loss), 1e-15);
    let sum = |dtype| Problem::cross_entropy_from_probs(dtype, 10).reduction(Reduction::Sum);
    Lesson::new(&sum, &q).of(&classes).gives(&[8.579134483], 1e-10);
    Lesson::new(&sum, &q).of(&classes).gives(&[8.579134447144245], 1e-7);
}

#[test]
fn row_17_keras_binary_cross_entropy() {
    let (p, y) = ([0.5, 0.4, 0.6, 0.3], [0.0, 1.0, 0.0, 0.0]);
    let mean = |dtype| Problem::keras_binary_crossentropy(dtype, 2).targets(dtype);
    Lesson::new(&mean, &p).against(&y).gives(&[0.7206008970617469], 2e-16);
    let rows = |dtype| mean(dtype).reduction(Reduction::RowMean);
    Lesson::new(&rows, &p).against(&y).gives(&[0.8047189562, 0.6364828379], 1e-10);
}

/// The text leaves the formula of the entropy out.
#[test]
fn row_18_entropy_and_divergence() {
    let bits = |dtype| Problem::entropy(dtype, 2).unit(Unit::Bits);
    Lesson::new(&bits, &[0.5, 0.5]).gives(&[1.0], 0.0);
    let nats = |dtype| Problem::entropy(dtype, 2);
    Lesson::new(&nats, &[0.5, 0.5, 1.0, 0.0]).gives(&[0.6931471806, 0.0], 1e-10);

    let (p, q) = ([0.7, 0.2, 0.1], [0.2, 0.5, 0.3]);
    let entropy = |dtype| Problem::entropy(dtype, 3);
    let of_p = Lesson::new(&entropy, &p);
    of_p.gives(&[0.8018185525], 1e-10);
    let divergence = |dtype| Problem::kl_div(dtype, 3).input(Form::Probabilities).targets(dtype);
    let divergence = |dtype| divergence(dtype).reduction(Reduction::BatchMean);
    let from_q = Lesson::new(&divergence, &q).against(&p);
    let cross = |dtype| Problem::cross_entropy_from_probs(dtype, 3).targets(dtype);
    let sum = of_p.results().loss[0] + from_q.results().loss[0];
    Lesson::new(&cross, &q).against(&p).gives(&[sum], 6e-16);
}

/// Printed as 0.1, .69, 2.30 and 4.61.
#[test]
fn row_19_table_of_the_negative_logarithm() {
    let table = [
        (1.0, 0.0),
        (0.9, 0.1053605157),
        (0.5, 0.6931471806),
        (0.1, 2.302585093),
        (0.01, 4.605170186),
    ];
    for (p, printed) in table {
        let of_probabilities = |dtype| Problem::cross_entropy_from_probs(dtype, 2);
        Lesson::new(&of_probabilities, &[p, 1.0 - p]).of(&[0]).gives(&[printed], 1e-9);
        let of_logarithms = |dtype| Problem::nll_loss(dtype, 2);
        let logarithms = [p.ln(), (1.0 - p).max(1e-300).ln()];
        Lesson::new(&of_logarithms, &logarithms).of(&[0]).gives(&[printed], 1e-9);
    }
}

#[test]
fn row_21_a_single_sample() {
    let one_hot = |dtype| Problem::cross_entropy_from_probs(dtype, 2).targets(dtype);
    Lesson::new(&one_hot, &[0.5, 0.5]).against(&[0.0, 1.0]).gives(&[0.6931471805599453], 0.0);
}

/// The text's "1 * log(1 + eps) is almost infinity" is 0: what grows is log(0 + eps).
#[test]
fn row_22_nothing_clips_unless_it_is_asked_to() {
    let plain = |dtype| Problem::cross_entropy_from_probs(dtype, 3).targets(dtype);
    let lesson = Lesson::new(&plain, &BATCH[..3]).against(&OF_BATCH[..3]);
    lesson.gives(&[f64::INFINITY], 0.0);
}

#[test]
fn row_23_clipped_to_1e_minus_15() {
    let clipped = |dtype| Problem::cross_entropy_from_probs(dtype, 3).clip(Clip::Range(1e-15));
    let one_hot = |dtype| clipped(dtype).targets(dtype);
    let lesson = Lesson::new(&one_hot, &BATCH[..3]).against(&OF_BATCH[..3]);
    lesson.gives(&[34.538776394910684], 0.0);
    lesson.pulls(&[0.0; 3], 0.0);
    // 1 becomes 1 - 1e-15, which `f64` has as .999999999999999: log(1 + x) does without it.
    Lesson::new(&clipped, &[0.0, 0.0, 1.0]).of(&[2]).gives(&[1e-15], 1e-15);
}

/// One row of three classes: the text first divided by 3, which gave 11.512925464970229.
#[test]
fn row_24_one_dimension_is_one_sample() {
    let mean = |dtype| {
        let clipped = Problem::cross_entropy_from_probs(dtype, 3).clip(Clip::Range(1e-15));
        clipped.reduction(Reduction::Mean)
    };
    Lesson::new(&mean, &BATCH[..3]).of(&[2]).gives(&[34.538776394910684], 0.0);
}

#[test]
fn row_25_sum_and_mean_of_a_batch() {
    let clipped = |dtype| Problem::cross_entropy_from_probs(dtype, 3).clip(Clip::Range(1e-15));
    let sum = |dtype| clipped(dtype).targets(dtype).reduction(Reduction::Sum);
    Lesson::new(&sum, &BATCH).against(&OF_BATCH).gives(&[36.14821430734479], 2e-16);
    let mean = |dtype| clipped(dtype).targets(dtype);
    Lesson::new(&mean, &BATCH).against(&OF_BATCH).gives(&[18.074107153672394], 2e-16);
}

/// One label and one probability for each sample: binary. With the epsilon of then, and that of
/// scikit-learn 1.9.
#[test]
fn row_26_scikit_learn_on_one_dimension() {
    for (epsilon, printed) in [(1e-15, 12.033141381058451), (f64::EPSILON, 12.534767045793942)] {
        let binary = |dtype| Problem::bce(dtype, 1).clip(Clip::Range(epsilon)).targets(dtype);
        let lesson = Lesson::new(&binary, &BATCH[..3]).against(&OF_BATCH[..3]);
        lesson.gives(&[printed], 2e-16);
    }
}

/// Today's epsilon depends on the type: the loss of 0 is 36.04 in `f64`, and 15.94 in `f32`.
#[test]
fn row_27_scikit_learn_on_two_dimensions() {
    let legacy = |dtype| Problem::sklearn_legacy_log_loss(dtype, 3).targets(dtype);
    let sample = Lesson::new(&legacy, &BATCH[..3]).against(&OF_BATCH[..3]);
    sample.gives(&[34.538776394910684], 2e-16);
    Lesson::new(&legacy, &BATCH).against(&OF_BATCH).gives(&[18.074107153672394], 2e-16);

    let today = |dtype| Problem::sklearn_log_loss(dtype, 3).targets(dtype);
    let sample = Lesson::new(&today, &BATCH[..3]).against(&OF_BATCH[..3]);
    near(&sample.results().loss, &[36.04365338911715], 0.0, 2e-16);
    let batch = Lesson::new(&today, &BATCH).against(&OF_BATCH);
    near(&batch.results().loss, &[18.82654565077563], 0.0, 2e-16);
    for dtype in [F32, F16, BF16] {
        let trial = sample.trial(dtype);
        let found = trial.run(&context());
        trial.check(&found);
        if dtype == F32 {
            near(&found.loss, &[15.942385], 0.0, 1e-7);
        }
    }
}

#[test]
fn row_28_other_single_samples() {
    let four = |dtype| Problem::cross_entropy_from_probs(dtype, 4).targets(dtype);
    let lesson = Lesson::new(&four, &[0.1, 0.2, 0.3, 0.4]).against(&[0.0, 1.0, 0.0, 0.0]);
    lesson.gives(&[1.6094379124], 3e-11);
    let two = |dtype| Problem::cross_entropy_from_probs(dtype, 2).targets(dtype);
    Lesson::new(&two, &[0.4, 0.6]).against(&[1.0, 0.0]).gives(&[0.9162907319], 3e-11);
}

/// `from_logits` is no binary cross entropy of several labels, as the text has it: this is the softmax's.
#[test]
fn row_29_keras_categorical_cross_entropy() {
    let each = |dtype| {
        let keras = Problem::keras_categorical_crossentropy(dtype, 3);
        keras.targets(dtype).reduction(Reduction::None)
    };
    let rows = [16.11809565095832, 1.6094379124341003];
    Lesson::new(&each, &BATCH).against(&OF_BATCH).gives(&rows, 2e-16);
    Lesson::new(&each, &BATCH[..3]).against(&OF_BATCH[..3]).gives(&rows[..1], 2e-16);
    let sparse =
        |dtype| Problem::keras_categorical_crossentropy(dtype, 3).reduction(Reduction::None);
    Lesson::new(&sparse, &BATCH).of(&[2, 1]).gives(&rows, 2e-16);
}

/// To an ulp, whatever the label and the prediction.
#[test]
fn row_30_binary_cross_entropy_is_that_of_two_classes() {
    let binary = |dtype| Problem::bce(dtype, 1).clip(Clip::None).targets(dtype);
    let classes = |dtype| Problem::cross_entropy_from_probs(dtype, 2).targets(dtype);
    for label in [0.0, 0.25, 0.5, 1.0] {
        for prediction in [0.125, 0.25, 0.5, 0.75, 0.9375] {
            let (p, y) = ([prediction], [label]);
            let (of_two, both) = ([1.0 - prediction, prediction], [1.0 - label, label]);
            let binary = Lesson::new(&binary, &p).against(&y);
            let classes = Lesson::new(&classes, &of_two).against(&both);
            classes.gives(&binary.results().loss, f64::EPSILON);
            binary.gives(&classes.results().loss, f64::EPSILON);
            for dtype in [F32, F16, BF16] {
                let loss = |lesson: &Lesson| lesson.trial(dtype).run(&context()).loss;
                near(&loss(&binary), &loss(&classes), 0.0, f32::EPSILON.into());
            }
        }
    }
}

/// Printed as 18.074108123779297 in `f32`.
#[test]
fn row_32_log_probabilities_of_class_indices() {
    let mean = |dtype| Problem::nll_loss(dtype, 2);
    Lesson::new(&mean, &[f64::ln(0.5); 2]).of(&[1]).gives(&[0.6931471805599453], 0.0);
    let logarithms = BATCH.map(|p| p.max(1e-15).ln());
    let mean = |dtype| Problem::nll_loss(dtype, 3);
    let lesson = Lesson::new(&mean, &logarithms).of(&[2, 1]);
    lesson.gives(&[18.074107153672394], 0.0);
    near(&lesson.trial(F32).run(&context()).loss, &[18.074108123779297], 0.0, 1e-7);
    lesson.pulls(&[0.0, 0.0, -0.5, 0.0, -0.5, 0.0], 0.0);
}
