//! Gradients of the reference beyond the cross entropy of logits: each is the derivative of its loss,
//! of every operation with every option, and the double backward that of the gradient. By finite
//! differences, as in `gradients.rs`: Richardson's of a step of 2^-10, which leave an error below
//! 1e-12 here but for rounding, about 4 eps loss / step.

mod common;

use common::normal;
use xent::reference::{Inputs, Targets, backward, compute, double_backward};
use xent::{
    Clip, DType, Denominator, Form, Operation, Outputs, Problem, Reduction, Renormalise, Unit,
};

const STEP: f64 = 1.0 / 1024.0;
const TOLERANCE: f64 = 1e-10;
const ROWS: usize = 3;
const CLASSES: usize = 4;

/// A problem with what a run brings.
#[derive(Clone, Debug)]
struct Setup {
    problem: Problem,
    x: Vec<f64>,
    classes: Vec<i64>,
    q: Vec<f64>,
    dloss: Option<Vec<f64>>,
    denominator: Denominator,
}

/// An option, and whether a problem can have it.
type Setting = (&'static str, fn(&mut Setup));

const SETTINGS: [Setting; 20] = [
    ("plain", |_| ()),
    ("no reduction", |setup| setup.problem.reduction = Reduction::None),
    ("sum", |setup| setup.problem.reduction = Reduction::Sum),
    ("mean over rows", |setup| setup.problem.reduction = Reduction::BatchMean),
    ("mean over each row", |setup| setup.problem.reduction = Reduction::RowMean),
    ("elements", |setup| setup.problem.reduction = Reduction::Elements),
    ("denominator", |setup| setup.denominator = Denominator::Value(5.0)),
    ("upstream", |setup| setup.dloss = Some(vec![-2.5])),
    ("bits", |setup| setup.problem.unit = Unit::Bits),
    ("smoothing", |setup| setup.problem.label_smoothing = 0.25),
    ("class weights", |setup| setup.problem.class_weights = true),
    ("row weights", |setup| setup.problem.row_weights = true),
    ("element weights", |setup| setup.problem.element_weights = true),
    ("positive weights", |setup| setup.problem.pos_weights = true),
    ("range", |setup| setup.problem.clip = Clip::Range(0.2)),
    ("lower", |setup| setup.problem.clip = Clip::Lower(0.2)),
    ("added", |setup| setup.problem.clip = Clip::Add(0.125)),
    ("renormalised before", |setup| setup.problem.renormalise = Renormalise::BeforeClip),
    ("renormalised after", |setup| setup.problem.renormalise = Renormalise::AfterClip),
    ("ignored row", |setup| setup.problem.ignore_index = Some(2)),
];

fn uniform(seed: u64, count: usize) -> Vec<f64> {
    normal(seed, count, 1.0).iter().map(|x| 0.5 + 0.45 * x.tanh()).collect()
}

/// Three rows of four classes of every operation and form that there is, against every kind of target.
fn operations() -> Vec<Setup> {
    use Operation::*;
    let mut setups = Vec::new();
    for operation in [CrossEntropy, BinaryCrossEntropy, KlDivergence, Entropy] {
        for input in [Form::Logits, Form::LogProbabilities, Form::Probabilities] {
            for (targets, log_targets) in
                [(DType::I64, false), (DType::F64, false), (DType::F64, true)]
            {
                let problem = Problem::new(DType::F64, CLASSES)
                    .operation(operation)
                    .input(input)
                    .targets(targets)
                    .log_targets(log_targets)
                    .outputs(Outputs::LOSS | Outputs::DLOGITS);
                let p = uniform(5, ROWS * CLASSES);
                let x = match input {
                    Form::Logits => normal(5, ROWS * CLASSES, 1.5),
                    Form::LogProbabilities => p.iter().map(|p| p.ln()).collect(),
                    Form::Probabilities => p,
                };
                let q = uniform(6, ROWS * CLASSES);
                let q = if log_targets { q.iter().map(|q| q.ln()).collect() } else { q };
                let (dloss, denominator) = (None, Denominator::Default);
                let setup = Setup { problem, x, classes: vec![1, 2, 0], q, dloss, denominator };
                if setup.problem.validate().is_ok() {
                    setups.push(setup);
                }
            }
        }
    }
    setups
}

impl Setup {
    /// With two settings, if it can have them.
    fn with(mut self, a: Setting, b: Setting) -> Option<Setup> {
        a.1(&mut self);
        b.1(&mut self);
        let mean = matches!(self.problem.reduction, Reduction::Mean | Reduction::BatchMean);
        let fits = mean || self.denominator == Denominator::Default;
        (fits && self.problem.validate().is_ok()).then_some(self)
    }

    fn targets(&self) -> Targets<'_> {
        match (self.problem.operation, self.problem.targets.is_float()) {
            (Operation::Entropy, _) => Targets::None,
            (_, true) => Targets::Probabilities(&self.q),
            (_, false) => Targets::Classes(&self.classes),
        }
    }

    /// Hands on the inputs with these logits.
    fn with_inputs<R>(&self, x: &[f64], then: impl FnOnce(&Inputs<'_>) -> R) -> R {
        let problem = &self.problem;
        let class_weights = [0.5, -0.75, 1.25, 2.0];
        let row_weights = [1.75, -0.5, 0.25];
        let element_weights = normal(7, ROWS * CLASSES, 1.0);
        let pos_weights = [3.0, 0.25, 1.0, 2.0];
        then(&Inputs {
            class_weights: problem.class_weights.then_some(&class_weights),
            row_weights: problem.row_weights.then_some(&row_weights),
            element_weights: problem.element_weights.then_some(&element_weights),
            pos_weights: problem.pos_weights.then_some(&pos_weights),
            dloss: self.dloss.as_deref(),
            denominator: self.denominator,
            ..Inputs::new(x, self.targets())
        })
    }

    fn gradient(&self, x: &[f64]) -> Vec<f64> {
        self.with_inputs(x, |inputs| compute(&self.problem, inputs).unwrap().dlogits)
    }

    /// What the gradient is the derivative of: the losses, times the upstream gradient.
    fn objective(&self, x: &[f64]) -> f64 {
        let loss = self.with_inputs(x, |inputs| compute(&self.problem, inputs).unwrap().loss);
        match self.dloss.as_deref() {
            None => loss.iter().sum(),
            Some([one]) => one * loss.iter().sum::<f64>(),
            Some(each) => loss.iter().zip(each).map(|(loss, dloss)| loss * dloss).sum(),
        }
    }

    fn error(&self) -> f64 {
        let exact = |at: usize| {
            along(|offset| {
                let mut x = self.x.clone();
                x[at] += offset;
                self.objective(&x)
            })
        };
        let gradient = self.gradient(&self.x);
        off(&gradient, &(0..self.x.len()).map(exact).collect::<Vec<_>>())
    }
}

/// The derivative at 0.
fn along(f: impl Fn(f64) -> f64) -> f64 {
    let difference = |step: f64| (f(step) - f(-step)) / (2.0 * step);
    // Errors of the second and of the fourth order are taken out.
    let first = |step: f64| (4.0 * difference(step / 2.0) - difference(step)) / 3.0;
    (16.0 * first(STEP / 2.0) - first(STEP)) / 15.0
}

/// The largest difference, relative to the largest number.
fn off(actual: &[f64], exact: &[f64]) -> f64 {
    assert_eq!(actual.len(), exact.len());
    let largest = exact.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let off = actual.iter().zip(exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(!actual.iter().any(|x| x.is_nan()), "{actual:?}");
    if off == 0.0 { 0.0 } else { off / largest }
}

#[test]
fn every_operation_with_every_pair_of_options() {
    let mut combinations = 0;
    for setup in operations() {
        for (index, &a) in SETTINGS.iter().enumerate() {
            for &b in &SETTINGS[index..] {
                let Some(setup) = setup.clone().with(a, b) else { continue };
                let error = setup.error();
                assert!(error <= TOLERANCE, "{}, {}: {error:e}, {setup:?}", a.0, b.0);
                combinations += 1;
            }
        }
    }
    println!("{combinations} combinations");
    assert!(combinations >= 900, "only {combinations}");
}

/// One for each loss that the reduction leaves.
#[test]
fn upstream_gradients_of_rows_and_of_elements() {
    for setup in operations() {
        for reduction in [Reduction::None, Reduction::RowMean, Reduction::Elements] {
            let mut setup = setup.clone();
            setup.problem.reduction = reduction;
            if setup.problem.validate().is_err() {
                continue;
            }
            let losses = if reduction == Reduction::Elements { ROWS * CLASSES } else { ROWS };
            setup.dloss = Some(normal(8, losses, 1.0));
            let error = setup.error();
            assert!(error <= TOLERANCE, "{error:e}, {setup:?}");
        }
    }
}

/// Logarithms of at least -b: 0 where that bites, but PyTorch's gradient of a binary cross entropy,
/// which is not the derivative then.
#[test]
fn clipped_logarithms() {
    let clip = Clip::Logarithm(2.0);
    let p = [0.5, 0.1, 0.9, 0.0];
    let problem = Problem::cross_entropy_from_probs(DType::F64, 2)
        .targets(DType::F64)
        .clip(clip)
        .reduction(Reduction::Sum);
    let inputs = Inputs::new(&p, Targets::Probabilities(&[1.0, 2.0, 4.0, 8.0]));
    let results = compute(&problem, &inputs).unwrap();
    assert_eq!(results.dlogits, [-2.0, 0.0, -4.0 / 0.9, 0.0]);
    let loss = 2f64.ln() + 4.0 - 4.0 * 0.9f64.ln() + 16.0;
    assert!((results.loss[0] - loss).abs() < 1e-14);

    let problem = Problem::bce(DType::F64, 1).targets(DType::F64).reduction(Reduction::None);
    let inputs =
        Inputs::new(&[0.0, 1.0, 1e-30, 0.75], Targets::Probabilities(&[1.0, 0.0, 1.0, 0.5]));
    let results = compute(&problem, &inputs).unwrap();
    assert_eq!(results.loss[..3], [100.0, 100.0, -(1e-30f64.ln())]);
    let expected = [-1e12, 1e12, -1e12, 0.25 / 0.1875];
    assert!(off(&results.dlogits, &expected) <= 1e-15, "{:?}", results.dlogits);
}

/// Of the softmax and its logarithm: sum(g y) is the objective.
#[test]
fn softmax_and_its_logarithm() {
    let (x, g) = (normal(1, ROWS * CLASSES, 1.5), normal(2, ROWS * CLASSES, 1.0));
    for operation in [Operation::Softmax, Operation::LogSoftmax] {
        for scale in [1.0, 1.5, -0.5] {
            let problem =
                Problem::softmax(DType::F64, CLASSES).operation(operation).logit_scale(scale);
            let output =
                |x: &[f64]| compute(&problem, &Inputs::new(x, Targets::None)).unwrap().output;
            let exact = |at: usize| {
                along(|offset| {
                    let mut x = x.clone();
                    x[at] += offset;
                    output(&x).iter().zip(&g).map(|(y, g)| y * g).sum()
                })
            };
            let exact: Vec<f64> = (0..x.len()).map(exact).collect();
            let error = off(&backward(&problem, &output(&x), &g).unwrap(), &exact);
            assert!(error <= TOLERANCE, "{operation:?}, {scale}: {error:e}");
        }
    }
}

/// The derivative of the gradient in a direction. Rows have their own, as the Hessian has no elements
/// between them.
#[test]
fn double_backward_is_the_derivative_of_the_gradient() {
    let v = normal(3, ROWS * CLASSES, 1.0);
    let mut combinations = 0;
    let of_logits: [Setting; 4] = [
        ("scale", |setup| setup.problem.logit_scale = 1.5),
        ("scale below 0", |setup| setup.problem.logit_scale = -0.5),
        ("z-loss", |setup| setup.problem.z_loss = 0.25),
        ("z-loss below 0", |setup| setup.problem.z_loss = -0.125),
    ];
    let settings: Vec<Setting> = SETTINGS.into_iter().chain(of_logits).collect();
    let is_fused = |setup: &Setup| {
        (setup.problem.operation, setup.problem.input) == (Operation::CrossEntropy, Form::Logits)
    };
    for setup in operations().into_iter().filter(is_fused) {
        for (index, &a) in settings.iter().enumerate() {
            for &b in &settings[index..] {
                let Some(setup) = setup.clone().with(a, b) else { continue };
                let exact = |at: usize| {
                    along(|offset| {
                        let x: Vec<f64> =
                            setup.x.iter().zip(&v).map(|(x, v)| x + offset * v).collect();
                        setup.gradient(&x)[at]
                    })
                };
                let exact: Vec<f64> = (0..v.len()).map(exact).collect();
                let second = setup.with_inputs(&setup.x, |inputs| {
                    double_backward(&setup.problem, inputs, &v).unwrap()
                });
                let error = off(&second, &exact);
                assert!(error <= TOLERANCE, "{}, {}: {error:e}, {setup:?}", a.0, b.0);
                combinations += 1;
            }
        }
    }
    assert!(combinations >= 100, "only {combinations}");
}

/// A direction that is the same for all classes only turns the z-loss; next to a certain class the
/// derivative does not cancel.
#[test]
fn double_backward_does_not_cancel() {
    let problem = Problem::new(DType::F64, 3).reduction(Reduction::Sum);
    let second = |x: &[f64], v: &[f64]| {
        double_backward(&problem, &Inputs::new(x, Targets::Classes(&[0])), v).unwrap()
    };
    assert_eq!(second(&[1.0, 2.0, 3.0], &[0.7; 3]), [0.0; 3]);
    let q = (-40f64).exp(); // p of the others, to 1e-17
    let expected = [2.0 * q, -q, -q];
    assert!(off(&second(&[40.0, 0.0, 0.0], &[1.0, 0.0, 0.0]), &expected) <= 1e-15);
}
