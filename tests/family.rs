//! Losses of probabilities and log-probabilities, binary cross entropy, divergences, entropies, softmax
//! and the double backward: the kernels in `f32` against the reference in `f64`, element by element.
//!
//! With u = 2^-24, a loss is off by at most 8 u of the magnitudes of its terms, and a gradient by 8 u of
//! the magnitudes that it is made of, before it is rounded to its type.

mod common;

use common::{normal, round, tensor, widen};
use xent::reference::{self, Inputs, Targets};
use xent::{
    Args, BackwardArgs, Clip, Context, DType, Form, Operation, Outputs, Plan, Problem, Reduction,
    Renormalise, Tensor, Unit,
};

const U: f64 = 1.0 / 16_777_216.0;
const TINY: f64 = 1.2e-38;
const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
/// Around the sizes at which kernels take other ways.
const CLASSES: [usize; 9] = [1, 2, 31, 33, 63, 64, 100, 2048, 2050];

struct Setup {
    problem: Problem,
    rows: usize,
    x: Vec<f64>,
    classes: Vec<i64>,
    q: Vec<f64>,
    class_weights: Vec<f64>,
    row_weights: Vec<f64>,
    element_weights: Vec<f64>,
    pos_weights: Vec<f64>,
}

fn rounded(x: Vec<f64>, dtype: DType) -> Vec<f64> {
    x.into_iter().map(|x| round(x, dtype)).collect()
}

/// From 0 to 1, with both ends among them.
fn probabilities(seed: u64, count: usize) -> Vec<f64> {
    let spread = normal(seed, count, 3.0).into_iter().map(|x| 1.0 / (1.0 + (-x).exp()));
    spread.enumerate().map(|(i, p)| [p, p, p, p, p, 0.0, p, p, 1.0][i * 7 % 9]).collect()
}

impl Setup {
    fn new(problem: Problem, rows: usize, seed: u64) -> Self {
        let (classes, count) = (problem.classes, rows * problem.classes);
        let p = probabilities(seed, count);
        let x = match problem.input {
            Form::Logits => normal(seed, count, 6.0),
            Form::LogProbabilities => p.iter().map(|p| p.max(1e-30).ln()).collect(),
            Form::Probabilities => p,
        };
        let mut q = probabilities(seed + 1, count);
        if problem.log_targets {
            q.iter_mut().for_each(|q| *q = q.max(1e-20).ln());
        }
        let targets = if problem.targets.is_float() { problem.targets } else { DType::F32 };
        let weights = |seed, count| rounded(normal(seed, count, 1.0), DType::F32);
        Setup {
            x: rounded(x, problem.logits),
            q: rounded(q, targets),
            classes: (0..rows).map(|row| (row * 7 % classes) as i64).collect(),
            class_weights: weights(seed + 2, classes),
            row_weights: weights(seed + 3, rows),
            element_weights: weights(seed + 4, count),
            pos_weights: weights(seed + 5, classes).into_iter().map(f64::abs).collect(),
            problem,
            rows,
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        let problem = &self.problem;
        let targets = match (problem.operation, problem.targets.is_float()) {
            (Operation::Entropy, _) => Targets::None,
            (_, true) => Targets::Probabilities(&self.q),
            (_, false) => Targets::Classes(&self.classes),
        };
        Inputs {
            class_weights: problem.class_weights.then_some(&self.class_weights),
            row_weights: problem.row_weights.then_some(&self.row_weights),
            element_weights: problem.element_weights.then_some(&self.element_weights),
            pos_weights: problem.pos_weights.then_some(&self.pos_weights),
            ..Inputs::new(&self.x, targets)
        }
    }

    /// Losses and gradient of the kernel.
    fn run(&self) -> (Vec<f64>, Vec<f64>) {
        let (problem, shape) = (&self.problem, [self.rows, self.problem.classes]);
        let plan = Plan::new(&Context::cpu(), problem).unwrap();
        let f32s = |x: &[f64], shape: &[usize]| tensor(x, DType::F32, shape);
        let logits = tensor(&self.x, problem.logits, &shape);
        let targets = match problem.targets.is_float() {
            true => tensor(&self.q, problem.targets, &shape),
            false => common::indices(&self.classes, problem.targets),
        };
        let losses = match problem.reduction {
            Reduction::None | Reduction::RowMean => self.rows,
            Reduction::Elements => self.x.len(),
            _ => 1,
        };
        let class_weights = f32s(&self.class_weights, &[problem.classes]);
        let row_weights = f32s(&self.row_weights, &[self.rows]);
        let element_weights = f32s(&self.element_weights, &shape);
        let pos_weights = f32s(&self.pos_weights, &[problem.classes]);
        let mut loss = f32s(&vec![f64::NAN; losses], &[losses]);
        let mut dlogits = tensor(&vec![f64::NAN; self.x.len()], problem.dlogits, &shape);
        let args = match problem.operation {
            Operation::Entropy => Args::without_targets(&logits),
            _ => Args::new(&logits, &targets),
        };
        let mut args = args.loss(&mut loss).dlogits(&mut dlogits);
        if problem.class_weights {
            args = args.class_weights(&class_weights);
        }
        if problem.row_weights {
            args = args.row_weights(&row_weights);
        }
        if problem.element_weights {
            args = args.element_weights(&element_weights);
        }
        if problem.pos_weights {
            args = args.pos_weights(&pos_weights);
        }
        plan.run(args, &mut plan.workspace(self.rows).unwrap()).unwrap();
        (widen(&loss), widen(&dlogits))
    }

    /// The magnitudes of an element's loss and derivative, with its weights.
    fn magnitudes(&self, row: usize, class: usize) -> [f64; 2] {
        let (problem, at) = (&self.problem, row * self.problem.classes + class);
        let x = self.x[at];
        let smoothing = problem.label_smoothing;
        let t = match (problem.operation, problem.targets.is_float()) {
            (Operation::Entropy, _) => 0.0,
            (_, true) => self.q[at],
            (_, false) => f64::from(u8::from(self.classes[row] == class as i64)),
        };
        let evenly = match problem.operation {
            Operation::BinaryCrossEntropy => 2.0,
            _ => problem.classes as f64,
        };
        let t = (1.0 - smoothing) * t + smoothing / evenly;
        let finite = |x: f64| if x.is_finite() { x.abs() } else { 0.0 };
        let [l, dl] = match problem.input {
            Form::LogProbabilities => [finite(x), 1.0],
            _ => surprisal(problem.clip, x, x.ln()),
        };
        let v = if problem.pos_weights { self.pos_weights[class] } else { 1.0 };
        let (loss, slope) = match (problem.operation, problem.input) {
            (Operation::BinaryCrossEntropy, Form::Logits) => {
                let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
                let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                (
                    (1.0 - t).abs() * softplus(x) + (v * t).abs() * softplus(-x),
                    (1.0 - t).abs() * sigmoid(x) + (v * t).abs() * sigmoid(-x),
                )
            }
            (Operation::BinaryCrossEntropy, _) => {
                let [m, dm] = surprisal(problem.clip, 1.0 - x, (-x).ln_1p());
                let slope = match problem.clip {
                    Clip::Logarithm(_) => {
                        let variance = (x * (1.0 - x)).max(1e-12);
                        ((1.0 - t).abs() * x + (v * t).abs() * (1.0 - x)) / variance
                    }
                    _ => (v * t).abs() * dl + (1.0 - t).abs() * dm,
                };
                ((v * t).abs() * l + (1.0 - t).abs() * m, slope)
            }
            (Operation::KlDivergence, _) => {
                let (q, log_q) = if problem.log_targets { (t.exp(), t) } else { (t, t.ln()) };
                (q * (finite(log_q) * if problem.log_targets { 2.0 } else { 1.0 } + l), q * dl)
            }
            (Operation::Entropy, Form::LogProbabilities) => (x.exp() * l, x.exp() * (l + 1.0)),
            (Operation::Entropy, _) => (x * l, l + 1.0),
            _ => (t.abs() * l, t.abs() * dl),
        };
        let weight = |wanted: bool, w: f64| if wanted { w.abs() } else { 1.0 };
        let w = weight(problem.class_weights, self.class_weights[class])
            * weight(problem.row_weights, self.row_weights[row])
            * weight(problem.element_weights, self.element_weights[at])
            * if problem.unit == Unit::Bits { std::f64::consts::LOG2_E } else { 1.0 };
        [w * loss, w * slope]
    }

    /// Holds the kernel against the reference.
    fn check(&self) {
        let (problem, classes) = (&self.problem, self.problem.classes);
        let exact = reference::compute(problem, &self.inputs()).unwrap();
        let (loss, dlogits) = self.run();
        let at = |row: usize, class: usize| self.magnitudes(row, class);
        let of_row = |row: usize| (0..classes).map(|class| at(row, class)[0]).sum::<f64>();
        let losses = exact.loss.len();
        for (index, (&actual, &exact)) in loss.iter().zip(&exact.loss).enumerate() {
            let magnitude = match losses {
                1 => (0..self.rows).map(of_row).sum::<f64>() * self.scale(),
                _ if losses == self.rows => of_row(index) * self.scale(),
                _ => at(index / classes, index % classes)[0],
            };
            near(actual, exact, 8.0 * U * magnitude, DType::F32, &|| {
                format!("loss {index} of {problem:?}")
            });
        }
        for (index, (&actual, &exact)) in dlogits.iter().zip(&exact.dlogits).enumerate() {
            let magnitude = at(index / classes, index % classes)[1] * self.scale();
            let of = || format!("gradient {index}, x {:e}, of {problem:?}", self.x[index]);
            near(actual, exact, 8.0 * U * magnitude, problem.dlogits, &of);
        }
    }

    /// What a loss is divided by, inverted.
    fn scale(&self) -> f64 {
        let (rows, classes) = (self.rows as f64, self.problem.classes as f64);
        let elementwise = matches!(
            self.problem.operation,
            Operation::BinaryCrossEntropy | Operation::KlDivergence
        );
        match self.problem.reduction {
            Reduction::Mean if elementwise => 1.0 / (rows * classes),
            Reduction::Mean if self.problem.targets.is_float() => 1.0 / rows,
            Reduction::Mean => {
                let of = |row: usize| {
                    let class = self.class_weights[self.classes[row] as usize];
                    let class = if self.problem.class_weights { class } else { 1.0 };
                    class * if self.problem.row_weights { self.row_weights[row] } else { 1.0 }
                };
                1.0 / (0..self.rows).map(of).sum::<f64>().abs()
            }
            Reduction::BatchMean => 1.0 / rows,
            Reduction::RowMean => 1.0 / classes,
            _ => 1.0,
        }
    }
}

/// Magnitudes of -log p and its derivative, clipped.
fn surprisal(clip: Clip, p: f64, log: f64) -> [f64; 2] {
    let (low, high, log, p) = match clip {
        Clip::Range(e) => (e, 1.0 - e, log, p),
        Clip::Lower(e) => (e, f64::INFINITY, log, p),
        Clip::Add(e) => (f64::NEG_INFINITY, f64::INFINITY, (p + e).ln(), p + e),
        Clip::Logarithm(b) => ((-b).exp(), f64::INFINITY, log, p),
        _ => (f64::NEG_INFINITY, f64::INFINITY, log, p),
    };
    // p + e and 1 - p are rounded before their logarithm.
    let more = if matches!(clip, Clip::Add(_)) { 1.0 } else { 0.0 };
    match p {
        p if p < low => [-low.ln(), 0.0],
        p if p > high => [-high.ln(), 0.0],
        p => [if log.is_finite() { log.abs() + more } else { 0.0 }, 1.0 / p.abs().max(1e-38)],
    }
}

/// Holds a number of a type to a bound and its rounding.
fn near(actual: f64, exact: f64, bound: f64, dtype: DType, of: &dyn Fn() -> String) {
    let same = actual == round(exact, dtype) || actual.is_nan() && exact.is_nan();
    let allowed = bound + 0.5 * common::bounds::ulp(exact, dtype) + TINY;
    let off = (actual - exact).abs();
    assert!(
        same || off <= allowed,
        "{actual:e}, exactly {exact:e}, {:.2} times, {}",
        off / allowed,
        of()
    );
}

type Setting = fn(Problem) -> Problem;

const SETTINGS: [Setting; 14] = [
    |p| p.reduction(Reduction::None),
    |p| p,
    |p| p.reduction(Reduction::Sum).row_weights(true),
    |p| p.reduction(Reduction::Elements).element_weights(true).row_weights(true),
    |p| p.reduction(Reduction::RowMean).pos_weights(true),
    |p| p.reduction(Reduction::BatchMean).class_weights(true),
    |p| p.reduction(Reduction::None).label_smoothing(0.1).class_weights(true),
    |p| p.unit(Unit::Bits).dlogits(DType::F32),
    |p| p.clip(Clip::Range(1e-7)).reduction(Reduction::None),
    |p| p.clip(Clip::Lower(1e-20)).reduction(Reduction::Elements),
    |p| p.clip(Clip::Logarithm(100.0)).reduction(Reduction::None),
    |p| p.clip(Clip::Add(1e-12)).reduction(Reduction::None),
    |p| p.clip(Clip::Range(0.01)).class_weights(true).pos_weights(true),
    |p| p.log_targets(true).reduction(Reduction::None),
];

#[test]
fn losses_and_gradients_are_within_bounds() {
    let operations: [fn(DType, usize) -> Problem; 9] = [
        Problem::nll_loss,
        |dtype, classes| Problem::nll_loss(dtype, classes).targets(DType::F32),
        Problem::cross_entropy_from_probs,
        |dtype, classes| Problem::cross_entropy_from_probs(dtype, classes).targets(dtype),
        Problem::bce_with_logits,
        |dtype, classes| Problem::bce(dtype, classes).clip(Clip::None),
        Problem::kl_div,
        |dtype, classes| Problem::kl_div(dtype, classes).input(Form::Probabilities),
        Problem::entropy,
    ];
    let mut count = 0;
    for (turn, operation) in operations.iter().enumerate() {
        for (number, setting) in SETTINGS.iter().enumerate() {
            for (step, classes) in CLASSES.into_iter().enumerate() {
                let dtype = TYPES[(turn + number + step) % 3];
                let problem = setting(operation(dtype, classes));
                let problem = problem.outputs(Outputs::LOSS | Outputs::DLOGITS);
                if problem.validate().is_err() {
                    continue;
                }
                let rows = if classes > 1000 { 3 } else { 35 };
                Setup::new(problem, rows, (100 * turn + number) as u64).check();
                count += 1;
            }
        }
    }
    assert!(count > 600, "{count}");
}

/// As other libraries divide probabilities by their sum: the loss also has the error of the sum.
#[test]
fn renormalised_probabilities() {
    for (number, classes) in CLASSES.into_iter().enumerate() {
        for (renormalise, clip) in [
            (Renormalise::BeforeClip, Clip::Range(1e-7)),
            (Renormalise::AfterClip, Clip::Range(1e-4)),
            (Renormalise::BeforeClip, Clip::None),
            (Renormalise::AfterClip, Clip::Lower(1e-3)),
        ] {
            for targets in [DType::F32, DType::I64] {
                let problem = Problem::cross_entropy_from_probs(TYPES[number % 3], classes)
                    .targets(targets)
                    .clip(clip)
                    .renormalise(renormalise)
                    .reduction(Reduction::None)
                    .dlogits(DType::F32)
                    .outputs(Outputs::LOSS | Outputs::DLOGITS);
                let mut setup = Setup::new(problem, 5, number as u64);
                setup.x.iter_mut().for_each(|x| *x = x.max(1.0 / 128.0)); // no row without a sum
                let exact = reference::compute(&setup.problem, &setup.inputs()).unwrap();
                let (loss, dlogits) = setup.run();
                let target = |at: usize| match targets {
                    DType::I64 => {
                        f64::from(u8::from(setup.classes[at / classes] == (at % classes) as i64))
                    }
                    _ => setup.q[at],
                };
                let mass =
                    |row: usize| (0..classes).map(|c| target(row * classes + c)).sum::<f64>();
                for (row, (&actual, &exact)) in loss.iter().zip(&exact.loss).enumerate() {
                    let of = || format!("loss {row} of {:?}", setup.problem);
                    near(actual, exact, 8.0 * U * (exact.abs() + mass(row)), DType::F32, &of);
                }
                for (row, exact) in exact.dlogits.chunks(classes).enumerate() {
                    let sum: f64 = setup.x[row * classes..][..classes].iter().sum();
                    for (class, &exact) in exact.iter().enumerate() {
                        let actual = dlogits[row * classes + class];
                        let of = || format!("gradient {row}, {class} of {:?}", setup.problem);
                        let at = row * classes + class;
                        let magnitude = target(at) / setup.x[at] + mass(row) / sum;
                        near(actual, exact, 12.0 * U * magnitude, DType::F32, &of);
                    }
                }
            }
        }
    }
}

fn softmax_rows(problem: &Problem, x: &[f64], rows: usize) -> (Vec<f64>, Plan) {
    let plan = Plan::new(&Context::cpu(), problem).unwrap();
    let shape = [rows, problem.classes];
    let logits = tensor(x, problem.logits, &shape);
    let mut output = tensor(&vec![f64::NAN; x.len()], problem.output, &shape);
    let mut workspace = plan.workspace(rows).unwrap();
    plan.run(Args::without_targets(&logits).output(&mut output), &mut workspace).unwrap();
    if problem.output == problem.logits {
        let in_place = Plan::new(&Context::cpu(), &problem.clone().in_place(true)).unwrap();
        let mut both = logits.clone();
        in_place.run(Args::softmax_in_place(&mut both), &mut workspace).unwrap();
        assert_eq!(widen(&both), widen(&output), "in place");
    }
    (widen(&output), plan)
}

#[test]
fn softmax_and_its_logarithm_are_within_bounds() {
    for (number, classes) in CLASSES.into_iter().chain([50_257]).enumerate() {
        for (turn, scale) in [1.0, 0.3, -2.0].into_iter().enumerate() {
            let dtype = TYPES[(number + turn) % 3];
            let rows = if classes > 10_000 { 2 } else { 20 };
            let offset = [0.0, 300.0, -1e4][number % 3];
            let x = normal(number as u64, rows * classes, 5.0).into_iter().map(|x| x + offset);
            let x = rounded(x.collect(), dtype);
            for logarithm in [false, true] {
                let of = if logarithm { Problem::log_softmax } else { Problem::softmax };
                let problem = of(dtype, classes).logit_scale(scale).output(DType::F32);
                let problem = if turn == 0 { problem.output(dtype) } else { problem };
                let inputs = Inputs::new(&x, Targets::None);
                let exact = reference::compute(&problem, &inputs).unwrap().output;
                let (output, _) = softmax_rows(&problem, &x, rows);
                for row in 0..rows {
                    let columns = row * classes..(row + 1) * classes;
                    let z: Vec<f64> = x[columns.clone()].iter().map(|x| x * scale).collect();
                    let largest = z.iter().fold(f64::NEG_INFINITY, |a, &z| a.max(z));
                    let e: Vec<f64> = z.iter().map(|z| (z - largest).exp()).collect();
                    let s = e.iter().sum::<f64>() - 1.0;
                    let moment: f64 = e.iter().zip(&z).map(|(e, z)| e * (largest - z)).sum();
                    let mean = if s > 0.0 { moment / s } else { 0.0 };
                    let q = s / (1.0 + s);
                    for class in columns {
                        let (actual, exact) = (output[class], exact[class]);
                        let t = largest - z[class % classes];
                        let bound = match logarithm {
                            true => (6.0 + 1.5 * mean) * q + 3.0 * exact.abs(),
                            false => (8.0 + 2.5 * (t + mean * q)) * exact,
                        };
                        let of = || format!("row {row}, class {class} of {problem:?}");
                        near(actual, exact, U * bound, problem.output, &of);
                    }
                }
            }
        }
    }
}

#[test]
fn backward_of_softmax_is_within_bounds() {
    for (number, classes) in CLASSES.into_iter().enumerate() {
        let (dtype, rows) = (TYPES[number % 3], 7);
        for logarithm in [false, true] {
            let of = if logarithm { Problem::log_softmax } else { Problem::softmax };
            let problem = of(dtype, classes).logit_scale(0.7);
            let x = rounded(normal(1, rows * classes, 3.0), dtype);
            let (y, plan) = softmax_rows(&problem, &x, rows);
            let g = rounded(normal(2, rows * classes, 2.0), dtype);
            let exact = reference::backward(&problem, &y, &g).unwrap();
            let shape = [rows, classes];
            let (output, doutput) = (tensor(&y, dtype, &shape), tensor(&g, dtype, &shape));
            let mut dlogits = tensor(&vec![f64::NAN; x.len()], dtype, &shape);
            let mut workspace = plan.workspace(rows).unwrap();
            let args = BackwardArgs::of_output(&output, &doutput, &mut dlogits);
            plan.backward(args, &mut workspace).unwrap();
            for (index, actual) in widen(&dlogits).into_iter().enumerate() {
                let row = index / classes * classes..(index / classes + 1) * classes;
                let p = |at: usize| if logarithm { 1.0 } else { y[at] };
                let sum: f64 = row.map(|at| (g[at] * p(at)).abs()).sum();
                let own = if logarithm { y[index].exp() } else { y[index] };
                let alone = if logarithm { g[index].abs() } else { own * g[index].abs() };
                let bound = 8.0 * U * 0.7 * (alone + own * sum);
                let of = || format!("gradient {index} of {problem:?}");
                near(actual, exact[index], bound, dtype, &of);
            }
        }
    }
}

#[test]
fn double_backward_is_within_bounds() {
    let settings: [Setting; 5] = [
        |p| p.reduction(Reduction::None),
        |p| p.label_smoothing(0.1).class_weights(true),
        |p| p.z_loss(1e-2).reduction(Reduction::Sum),
        |p| p.targets(DType::F32).row_weights(true),
        |p| p.logit_scale(-1.5).ignore_index(0),
    ];
    for (number, classes) in CLASSES.into_iter().enumerate() {
        for setting in settings {
            let (dtype, rows) = (TYPES[number % 3], 6);
            let problem = setting(Problem::new(dtype, classes)).outputs(Outputs::STATS);
            let setup = Setup::new(problem.clone(), rows, number as u64);
            let v = rounded(normal(9, rows * classes, 1.0), dtype);
            let exact = reference::double_backward(&problem, &setup.inputs(), &v).unwrap();
            let actual = double_backward(&setup, &v);
            let softmax = Problem::softmax(DType::F64, classes).logit_scale(problem.logit_scale);
            let p = Inputs::new(&setup.x, Targets::None);
            let p = reference::compute(&softmax, &p).unwrap().output;
            for row in 0..rows {
                let columns = row * classes..(row + 1) * classes;
                let mean: f64 = columns.clone().map(|at| p[at] * v[at].abs()).sum();
                let curvature = setup.curvature(row) * problem.logit_scale.powi(2);
                for at in columns {
                    let of = || format!("row {row}, element {at} of {problem:?}");
                    // As a gradient: t is up to 60 here.
                    let bound = 160.0 * U * p[at] * curvature * (v[at].abs() + mean);
                    near(actual[at], exact[at], bound, dtype, &of);
                }
            }
        }
    }
}

impl Setup {
    /// sum(u) + 2 a |lse| of a row, with what its loss is multiplied by.
    fn curvature(&self, row: usize) -> f64 {
        let (problem, classes) = (&self.problem, self.problem.classes);
        let weight = |class: usize| match problem.class_weights {
            true => self.class_weights[class].abs(),
            false => 1.0,
        };
        let smoothing = problem.label_smoothing;
        let mass = match problem.targets.is_float() {
            true => self.q[row * classes..][..classes].iter().sum::<f64>(),
            false => {
                let even = (0..classes).map(weight).sum::<f64>() * smoothing / classes as f64;
                (1.0 - smoothing) * weight(self.classes[row] as usize) + even
            }
        };
        let largest =
            self.x[row * classes..][..classes].iter().fold(0.0, |a: f64, x| a.max(x.abs()));
        let lse = largest + (classes as f64).ln();
        let row_weight = if problem.row_weights { self.row_weights[row].abs() } else { 1.0 };
        self.scale() * (mass * row_weight + 4.0 * problem.z_loss * (lse + 1.0))
    }
}

fn double_backward(setup: &Setup, v: &[f64]) -> Vec<f64> {
    let (problem, shape) = (&setup.problem, [setup.rows, setup.problem.classes]);
    let plan = Plan::new(&Context::cpu(), problem).unwrap();
    let mut workspace = plan.workspace(setup.rows).unwrap();
    let logits = tensor(&setup.x, problem.logits, &shape);
    let targets = match problem.targets.is_float() {
        true => tensor(&setup.q, problem.targets, &shape),
        false => common::indices(&setup.classes, problem.targets),
    };
    let f32s = |x: &[f64]| tensor(x, DType::F32, &[x.len()]);
    let (of_classes, of_rows) = (f32s(&setup.class_weights), f32s(&setup.row_weights));
    let mut stats = Tensor::zeros(DType::F32, &[2 * setup.rows]).unwrap();
    let mut args = Args::new(&logits, &targets).stats(&mut stats);
    if problem.class_weights {
        args = args.class_weights(&of_classes);
    }
    if problem.row_weights {
        args = args.row_weights(&of_rows);
    }
    plan.run(args, &mut workspace).unwrap();
    let v = tensor(v, problem.dlogits, &shape);
    let mut product = tensor(&vec![f64::NAN; setup.x.len()], problem.dlogits, &shape);
    let mut args = BackwardArgs::new(&logits, &targets, &stats, &mut product).ddlogits(&v);
    if problem.class_weights {
        args = args.class_weights(&of_classes);
    }
    if problem.row_weights {
        args = args.row_weights(&of_rows);
    }
    plan.double_backward(args, &mut workspace).unwrap();
    widen(&product)
}

/// A row of infinities, NaNs and zeros does what the reference does.
#[test]
fn special_numbers() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let x = [0.0, -0.0, 1.0, inf, -inf, nan, 0.5, 1e-45, 89.5, -104.0, -1.0, 2.0];
    let t = [0.0, 1.0, 0.5, 2.0];
    let settings: [Setting; 7] = [
        |p| p,
        |p| p.clip(Clip::Range(1e-7)),
        |p| p.clip(Clip::Lower(1e-20)),
        |p| p.clip(Clip::Logarithm(100.0)),
        |p| p.clip(Clip::Add(1e-12)),
        |p| p.pos_weights(true),
        |p| p.log_targets(true),
    ];
    for operation in [
        Operation::CrossEntropy,
        Operation::BinaryCrossEntropy,
        Operation::KlDivergence,
        Operation::Entropy,
    ] {
        for form in [Form::Logits, Form::LogProbabilities, Form::Probabilities] {
            for setting in settings {
                let problem = setting(Problem::new(DType::F32, 1).operation(operation).input(form))
                    .targets(DType::F32)
                    .reduction(Reduction::None)
                    .outputs(Outputs::LOSS | Outputs::DLOGITS);
                // One row for each pair, so that a NaN is alone.
                if problem.validate().is_err()
                    || problem == problem.clone().input(Form::Logits)
                        && operation == Operation::CrossEntropy
                {
                    continue;
                }
                let mut setup = Setup::new(problem, 48, 1);
                for row in 0..48 {
                    let x = round(x[row % 12], DType::F32);
                    // Of a binary cross entropy, only what can be a probability.
                    let binary = operation == Operation::BinaryCrossEntropy;
                    let clamped = form == Form::Probabilities && binary;
                    setup.x[row] = if clamped { x.clamp(0.0, 1.0) } else { x };
                    setup.q[row] = t[row / 12];
                }
                setup.check();
            }
        }
    }
}
