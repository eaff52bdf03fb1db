//! The numbers that well-known cross-entropy tutorials print, one test for each row of the
//! project's list of them, and a table of all options on their running example. Each goes through
//! the reference, a plan of `f64` logits, and the `f32` kernel. Comments say where a tutorial erred.

mod common;

use approx::assert_relative_eq;
use common::{Case, Target, run_f64};
use xent::reference::{Inputs, Results, Targets, compute};
use xent::{Args, Context, DType, Layout, Plan, Problem, Reduction};

/// The running example: two rows of three logits.
const X: [f64; 6] = [1.0, 2.0, 3.0, 2.0, 4.0, 6.0];
/// Its softmax.
const P: [f64; 6] =
    [0.0900305732, 0.2447284711, 0.6652409558, 0.01587624, 0.1173104278, 0.8668133322];

/// What is computed: logits are `f64` here, and rounded for the kernel.
#[derive(Clone)]
struct Lesson<'a> {
    problem: Problem,
    logits: &'a [f64],
    target: Target,
    class_weights: Option<&'a [f64]>,
}

impl<'a> Lesson<'a> {
    fn classes(logits: &'a [f64], classes: &[i64]) -> Self {
        let problem = Problem::new(DType::F64, logits.len() / classes.len());
        let target = Target::Classes(classes.to_vec());
        Lesson { problem, logits, target, class_weights: None }
    }

    fn probabilities(logits: &'a [f64], classes: usize, q: &[f64]) -> Self {
        let problem = Problem::new(DType::F64, classes).targets(DType::F64);
        let target = Target::Probabilities(q.to_vec());
        Lesson { problem, logits, target, class_weights: None }
    }

    fn weights(mut self, weights: &'a [f64]) -> Self {
        self.class_weights = Some(weights);
        self.with(|problem| problem.class_weights(true))
    }

    fn with(mut self, options: impl FnOnce(Problem) -> Problem) -> Self {
        self.problem = options(self.problem);
        self
    }

    fn reduction(self, reduction: Reduction) -> Self {
        self.with(|problem| problem.reduction(reduction))
    }

    fn results(&self) -> Results {
        let targets = match &self.target {
            Target::Classes(y) => Targets::Classes(y),
            Target::Probabilities(q) => Targets::Probabilities(q),
        };
        let class_weights = self.class_weights;
        let inputs = Inputs { class_weights, ..Inputs::new(self.logits, targets) };
        let rows = self.logits.len() / self.problem.classes;
        let layout = Layout::rows(rows, self.problem.classes);
        let reference = compute(&self.problem, &inputs).unwrap();
        assert_eq!(run_f64(&self.problem, layout, &inputs), reference, "a plan and the reference");
        reference
    }

    /// The same in `f32`.
    fn case(&self) -> Case {
        let mut problem = self.problem.clone();
        (problem.logits, problem.dlogits, problem.output) = (DType::F32, DType::F32, DType::F32);
        if self.problem.targets_are_probabilities() {
            problem.targets = DType::F32;
        }
        let rows = self.logits.len() / problem.classes;
        let mut case = Case::new(problem, rows, self.logits.to_vec(), 0);
        case.target = match &self.target {
            Target::Classes(y) => Target::Classes(y.clone()),
            Target::Probabilities(q) => {
                Target::Probabilities(q.iter().map(|&q| f64::from(q as f32)).collect())
            }
        };
        case.class_weights = self.class_weights.map(|w| w.iter().map(|&w| w as f32).collect());
        case
    }

    /// The loss is what was printed, to the printed digits, and in `f32` to that or 1e-6.
    fn loses(&self, printed: &[f64], digits: f64) {
        relative(&self.results().loss, printed, digits);
        relative(&self.f32_results().loss, printed, digits.max(1e-6));
    }

    /// The same for the gradient. In `f32`, p - q cancels by a factor of up to 30.
    fn pulls(&self, printed: &[f64], digits: f64) {
        relative(&self.results().dlogits, printed, digits);
        relative(&self.f32_results().dlogits, printed, digits.max(3e-6));
    }

    /// From the kernel, within its bounds.
    fn f32_results(&self) -> Results {
        let case = self.case();
        case.check();
        let output = case.run();
        let wide = |x: Vec<f32>| x.into_iter().map(f64::from).collect();
        Results {
            loss: wide(output.loss),
            lse: wide(output.lse),
            entropy: wide(output.entropy),
            dlogits: output.dlogits,
            ..Results::default()
        }
    }
}

fn relative(actual: &[f64], printed: &[f64], digits: f64) {
    assert_eq!(actual.len(), printed.len());
    for (&actual, &printed) in actual.iter().zip(printed) {
        assert_relative_eq!(actual, printed, epsilon = 0.0, max_relative = digits);
    }
}

/// Printed as 2.5505 (sum) and 1.2753 (mean); the text types p of the second row as 0.8868, takes
/// log(0.6652) for log(0.8668), and leaves the 1/N of the mean out.
#[test]
fn row_3_cross_entropy_of_the_running_example() {
    let lesson = Lesson::classes(&X, &[0, 2]);
    let rows = [2.40760596444, 0.1429316285];
    lesson.clone().reduction(Reduction::None).loses(&rows, 1e-10);
    lesson.clone().reduction(Reduction::Sum).loses(&[2.55053759294], 1e-11);
    lesson.loses(&[1.27526879647], 1e-11);
}

/// The 4 x 10 random logits were not kept, so rows with the printed losses stand in: p of the
/// target is exp(-loss), the other classes share the rest. As there: one-hot targets in `f32`,
/// logits and loss in `f64`. Printed as 52.91274203723633, from more digits of the logits.
#[test]
fn row_13_f32_probabilities_with_f64_logits() {
    let rows = [7.2046473349, 18.5716079157, 9.740683067, 17.3958036914];
    let classes = [4, 2, 8, 6];
    let (mut logits, mut q) = (vec![0.0; 40], vec![0f32; 40]);
    for (row, (loss, class)) in rows.iter().zip(classes).enumerate() {
        logits[10 * row..10 * row + 10].fill((-f64::exp_m1(-loss) / 9.0).ln());
        logits[10 * row + class] = -loss;
        q[10 * row + class] = 1.0;
    }
    let problem = Problem::new(DType::F64, 10).targets(DType::F32).reduction(Reduction::Sum);
    let plan = Plan::new(&Context::cpu(), &problem).unwrap(); // no GPU has f64 logits
    let mut loss = [0f64];
    let args = Args::new(&logits, &q).loss(&mut loss);
    plan.run(args, &mut plan.workspace(4).unwrap()).unwrap();
    relative(&loss, &[52.912742009], 1e-10);
    Lesson::classes(&logits, &classes.map(|c| c as i64))
        .reduction(Reduction::Sum)
        .loses(&[52.912742009], 1e-10);
}

/// The 3 x 5 random logits were not kept. The printed gradient is (p - onehot) / 3, so that it
/// holds them up to a shift. The comment there says probabilities where the code has indices, and
/// the text says a single sample.
#[test]
fn row_14_mean_and_gradient_of_random_logits() {
    let classes = [1usize, 0, 4];
    let gradient = [
        [0.096222, -0.29213252, 0.04059959, 0.04753461, 0.10777632],
        [-0.29011908, 0.04527117, 0.07345481, 0.0716627, 0.09973039],
        [0.08815466, 0.04518625, 0.08151547, 0.03357537, -0.24843175],
    ]
    .concat();
    let logits: Vec<f64> = (0..15)
        .map(|at| {
            let hit = f64::from(u8::from(classes[at / 5] == at % 5));
            (3.0 * gradient[at] + hit).ln()
        })
        .collect();
    let lesson = Lesson::classes(&logits, &classes.map(|c| c as i64));
    // Eight printed decimals of p, times 3.
    let rows = [2.09068499, 2.04297255, 1.36765021];
    lesson.clone().reduction(Reduction::None).loses(&rows, 2e-7);
    lesson.loses(&[1.83376924937], 2e-7);
    lesson.pulls(&gradient, 1e-6);
}

/// Labels divided by their number in each row, mean over rows; gradient (p - y / k) / N.
#[test]
fn row_15_several_labels_in_a_row() {
    let y = [0.5, 0.0, 0.5, 0.0, 0.5, 0.5];
    let lesson = Lesson::probabilities(&X, 3, &y);
    // -log p of the running example: row 2 of the list.
    let rows = [(2.40760596444 + 0.40760596444) / 2.0, (2.1429316285 + 0.1429316285) / 2.0];
    lesson.clone().reduction(Reduction::None).loses(&rows, 1e-10);
    let gradient: Vec<f64> = P.iter().zip(&y).map(|(p, y)| (p - y) / 2.0).collect();
    lesson.pulls(&gradient, 1e-8);
}

/// Classes count from 0: the sparse labels "1, 2, 3" of the text belong to no three classes.
#[test]
fn row_16_one_hot_and_sparse_labels_are_the_same_bits() {
    let sparse = Lesson::classes(&X, &[0, 2]);
    let one_hot = Lesson::probabilities(&X, 3, &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(sparse.results(), one_hot.results());
    assert_eq!(sparse.case().run(), one_hot.case().run());
}

/// Printed as .8797142505645752, from more digits of the logits than were printed. The heading
/// says class indices; the target is one-hot.
#[test]
fn row_20_one_hot_probabilities() {
    let x = [-0.3838, -0.2113, 0.5376, -1.6915, -0.3022];
    let lesson = Lesson::probabilities(&x, 5, &[0.0, 0.0, 1.0, 0.0, 0.0]);
    lesson.loses(&[0.8797388035], 1e-10);
    lesson.loses(&[0.8797142505645752], 5e-5);
}

/// [1, 0, 0, 1] is the distribution [.5, 0, 0, .5]: the softmax that the text suggests gives
/// [.3655, .1345, .1345, .3655].
#[test]
fn row_31_multi_hot_labels_are_a_distribution() {
    let x = [4.0, 1.0, 2.0, 3.0];
    let lse = 4.440189698561196; // log(e + e^2 + e^3 + e^4)
    let loss = |q: &[f64]| Lesson::probabilities(&x, 4, q);
    loss(&[0.5, 0.0, 0.0, 0.5]).loses(&[lse - 3.5], 1e-14);
    let wrong = loss(&[0.3655, 0.1345, 0.1345, 0.3655]).results().loss[0];
    assert!(wrong > lse - 3.0);
}

/// "Still a bit off", says the text of the equal results: the difference is printed digits.
#[test]
fn row_33_raw_numbers_go_through_a_softmax() {
    let x = [0.3, 0.7, 0.0, 0.5, 0.2, 0.3];
    let lesson = Lesson::classes(&x, &[2, 1]);
    lesson.clone().reduction(Reduction::None).loses(&[1.47330004, 1.23983106], 5e-9);
    lesson.loses(&[1.3565655522346258], 1e-15);
}

/// Every option on the running example, from PyTorch's autograd in `f64`.
#[test]
fn table_of_options() {
    const Q: [f64; 6] = [0.7, 0.2, 0.1, 0.1, 0.2, 0.7];
    const W: [f64; 3] = [1.0, 2.0, 4.0];
    let index = || Lesson::classes(&X, &[0, 2]);
    let padded = || Lesson::classes(&X, &[0, -100]).with(|problem| problem.ignore_index(-100));
    let soft = || Lesson::probabilities(&X, 3, &Q);
    let smooth = |problem: Problem| problem.label_smoothing(0.3);
    let z_loss = |problem: Problem| problem.z_loss(1e-2);
    let all =
        |problem: Problem| problem.logit_scale(0.5).softcap(5.0).z_loss(1e-2).label_smoothing(0.1);
    #[rustfmt::skip]
    let table = [
        (index(), 1.27526879647,
            [-0.454984713, 0.122364236, 0.332620478, 0.00793811999, 0.0586552139, -0.0665933339]),
        (index().with(smooth), 1.42526879647,
            [-0.354984713, 0.0723642355, 0.282620478, -0.04206188, 0.00865521391, 0.0334066661]),
        (index().with(|problem| problem.label_smoothing(1.0)), 1.77526879647,
            [-0.12165138, -0.0443024311, 0.165953811, -0.158728547, -0.108011453, 0.266739999]),
        (index().weights(&W), 0.595866495689,
            [-0.181993885, 0.0489456942, 0.133048191, 0.012700992, 0.0938483423, -0.106549334]),
        (index().weights(&W).with(smooth), 0.734181809994,
            [-0.13479144, 0.0285239719, 0.106267468, -0.00888663202, 0.0421172995, -0.0332306675]),
        (padded().with(smooth), 2.10760596444,
            [-0.709969427, 0.144728471, 0.565240956, 0.0, 0.0, 0.0]),
        (padded().weights(&W).with(smooth), 2.37064835022,
            [-0.673957198, 0.142619859, 0.531337338, 0.0, 0.0, 0.0]),
        (soft(), 1.47526879647,
            [-0.304984713, 0.0223642355, 0.282620478, -0.04206188, -0.0413447861, 0.0834066661]),
        (soft().weights(&W), 2.04154166036,
            [-0.28247707, -0.0164536467, 0.298930717, -0.023804204, -0.00643779409, 0.0302419981]),
        (soft().weights(&W).with(smooth), 2.22176731978,
            [-0.216223248, -0.0258625878, 0.242085836, -0.0611062588, -0.0634478061, 0.124554065]),
        (index().with(z_loss), 1.52200573348,
            [-0.4519168262, 0.1307036175, 0.3552892684, 0.0089133866, 0.0658615133, -0.0133455836]),
        (index().weights(&W).with(z_loss), 0.842603432696,
            [-0.1789259982, 0.0572850762, 0.1557169816, 0.0136762585, 0.1010546416, -0.0533015839]),
        (index().with(|problem| problem.softcap(5.0)), 1.30937766594,
            [-0.4268708866, 0.1190079296, 0.2170938062, 0.028898705, 0.078150439, -0.0529406831]),
        (index().with(|problem| problem.logit_scale(0.5)), 1.04393781754,
            [-0.2034190692, 0.0767989714, 0.1266200978, 0.0225076433, 0.0611821178, -0.0836897611]),
        (index().with(all), 1.16590138597,
            [-0.1817161453, 0.0699901677, 0.1111731291, 0.0205223009, 0.0561572081, -0.0505859407]),
    ];
    for (lesson, loss, gradient) in table {
        lesson.loses(&[loss], 1e-11);
        lesson.pulls(&gradient, 1e-8);
    }
}

/// The other columns of the table: sums, rows, lse and entropy.
#[test]
fn table_of_rows() {
    let w = [1.0, 2.0, 4.0];
    let lesson = Lesson::classes(&X, &[0, 2]);
    let weighted = lesson.clone().weights(&w);
    weighted.clone().reduction(Reduction::Sum).loses(&[2.97933247844], 1e-11);
    weighted
        .with(|problem| problem.label_smoothing(0.3).reduction(Reduction::None))
        .loses(&[2.37064835022, 1.30026069975], 1e-11);
    // A one-hot distribution is divided by the number of rows, not by the weights. (The list has
    // 1.48966610, which is off in its last digits.)
    let one_hot = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    Lesson::probabilities(&X, 3, &one_hot).weights(&w).loses(&[2.97933247844 / 2.0], 1e-11);
    for results in [lesson.results(), lesson.f32_results()] {
        relative(&results.lse, &[3.40760596444, 6.1429316285], 1e-7);
        relative(&results.entropy, &[0.83239558184, 0.441057444058], 1e-6);
    }
    relative(&lesson.results().lse, &[3.40760596444, 6.1429316285], 1e-11);
    relative(&lesson.results().entropy, &[0.83239558184, 0.441057444058], 1e-11);
}
