//! A problem with its inputs, and what comes out of it: what a check is made of. The tests have it
//! too.

use half::{bf16, f16};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xent::reference::{self, Inputs, Results, Targets};
use xent::{DType, Denominator, Outputs, Problem};

/// A problem with its inputs, as numbers that the types of the problem hold exactly.
#[derive(Clone, Debug)]
pub struct Case {
    pub problem: Problem,
    pub rows: usize,
    /// (rows, classes)
    pub logits: Vec<f64>,
    pub target: Target,
    pub class_weights: Option<Vec<f32>>,
    pub row_weights: Option<Vec<f32>>,
    pub dloss: Option<Vec<f32>>,
    pub denominator: Denominator,
}

#[derive(Clone, Debug)]
pub enum Target {
    Classes(Vec<i64>),
    Probabilities(Vec<f64>),
}

/// All outputs of a run, widened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    pub loss: Vec<f32>,
    pub lse: Vec<f32>,
    pub stats: Vec<f32>,
    pub dlogits: Vec<f64>,
    pub argmax: Vec<i64>,
    pub correct: i64,
    pub entropy: Vec<f32>,
}

/// The nearest number of a type.
pub fn round(x: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F32 => (x as f32).into(),
        DType::F16 => f16::from_f64(x).to_f64(),
        DType::BF16 => bf16::from_f64(x).to_f64(),
        _ => x,
    }
}

/// Normally distributed numbers.
pub fn normal(seed: u64, count: usize, deviation: f64) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut uniform = || rng.random_range(f64::MIN_POSITIVE..1.0);
    (0..count)
        .map(|_| {
            let radius = (-2.0 * uniform().ln()).sqrt();
            deviation * radius * (std::f64::consts::TAU * uniform()).cos()
        })
        .collect()
}

impl Case {
    /// These logits, rounded to the type of the problem, with targets of the type that it names, and
    /// weights where it declares them. Asks for all outputs.
    pub fn new(problem: Problem, rows: usize, logits: Vec<f64>, seed: u64) -> Case {
        let problem = problem.outputs(Outputs::CROSS_ENTROPY);
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        let classes = problem.classes;
        let target = if problem.targets_are_probabilities() {
            let mut q: Vec<f64> = (0..rows * classes).map(|_| rng.random_range(0.0..1.0)).collect();
            for q in q.chunks_mut(classes) {
                let sum: f64 = q.iter().sum();
                q.iter_mut().for_each(|q| *q = round(*q / sum, problem.targets));
            }
            Target::Probabilities(q)
        } else {
            let largest = if problem.targets == DType::U8 { classes.min(256) } else { classes };
            Target::Classes((0..rows).map(|_| rng.random_range(0..largest as i64)).collect())
        };
        let mut weights = |count| (0..count).map(|_| rng.random_range(0.25f32..2.0)).collect();
        Case {
            rows,
            logits: logits.into_iter().map(|x| round(x, problem.logits)).collect(),
            target,
            class_weights: problem.class_weights.then(|| weights(classes)),
            row_weights: problem.row_weights.then(|| weights(rows)),
            dloss: None,
            denominator: Denominator::Default,
            problem,
        }
    }

    pub fn logits_row(&self, row: usize) -> &[f64] {
        &self.logits[row * self.problem.classes..(row + 1) * self.problem.classes]
    }

    /// What the reference makes of the case.
    pub fn reference(&self) -> Results {
        let wide = |x: &Option<Vec<f32>>| {
            x.as_ref().map(|x| x.iter().copied().map(f64::from).collect::<Vec<_>>())
        };
        let class_weights = wide(&self.class_weights);
        let row_weights = wide(&self.row_weights);
        let dloss = wide(&self.dloss);
        let targets = match &self.target {
            Target::Classes(classes) => Targets::Classes(classes),
            Target::Probabilities(q) => Targets::Probabilities(q),
        };
        let inputs = Inputs {
            class_weights: class_weights.as_deref(),
            row_weights: row_weights.as_deref(),
            dloss: dloss.as_deref(),
            denominator: self.denominator,
            ..Inputs::new(&self.logits, targets)
        };
        reference::compute(&self.problem, &inputs).unwrap()
    }
}
