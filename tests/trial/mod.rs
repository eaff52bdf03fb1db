//! Calls of all operations with their tensors wherever a test wants them, and what they may be off by.
#![allow(dead_code)] // each test file uses its part

mod bounds;
pub mod golden;
pub mod operations;

use xent::reference::{self, Targets};
use xent::{
    Args, BackwardArgs, Context, DType, Denominator, Form, Layout, Operation, Outputs, Plan,
    Problem, Reduction, Tensor, View, ViewMut,
};

use crate::common::placed::{Place, view, view_mut};
use crate::common::{indices, normal, plan_on, round, tensor, widen};

/// A problem and what one call brings, as packed rows of numbers that its types have.
#[derive(Clone, Debug)]
pub struct Trial {
    pub problem: Problem,
    pub layout: Layout,
    pub logits: Vec<f64>,
    pub classes: Vec<i64>,
    pub probabilities: Vec<f64>,
    pub class_weights: Option<Vec<f64>>,
    pub row_weights: Option<Vec<f64>>,
    pub element_weights: Option<Vec<f64>>,
    pub pos_weights: Option<Vec<f64>>,
    pub dloss: Option<Vec<f64>>,
    pub denominator: Denominator,
    /// The upstream gradient of a softmax, or the direction of a double backward.
    pub upstream: Vec<f64>,
}

/// What calls write, as packed rows; empty where the problem has no such output.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub loss: Vec<f64>,
    pub output: Vec<f64>,
    pub dlogits: Vec<f64>,
    pub stats: Vec<f64>,
    /// The backward of a softmax, or the double backward.
    pub backward: Vec<f64>,
}

impl Found {
    /// The bits of all numbers; all NaNs are one.
    pub fn bits(&self) -> [Vec<u64>; 5] {
        let bits = |x: &f64| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() };
        [&self.loss, &self.output, &self.dlogits, &self.stats, &self.backward]
            .map(|x| x.iter().map(bits).collect())
    }
}

/// Gives arguments what both kinds of them take.
macro_rules! give {
    ($args:ident, $trial:ident, $inputs:ident) => {{
        let mut args = $args.denominator($trial.denominator);
        if let Some(weights) = &$inputs.class_weights {
            args = args.class_weights(weights);
        }
        if let Some(weights) = &$inputs.row_weights {
            args = args.row_weights(weights);
        }
        if let Some(weights) = &$inputs.element_weights {
            args = args.element_weights($trial.lend(weights));
        }
        if let Some(weights) = &$inputs.pos_weights {
            args = args.pos_weights(weights);
        }
        if let Some(dloss) = &$inputs.dloss {
            args = args.dloss(dloss);
        }
        args
    }};
}

/// What fills the gaps between elements that are written.
const CANARY: f64 = 96.0;

/// From 0 to 1, with both ends among them.
fn probabilities(seed: u64, count: usize) -> Vec<f64> {
    let spread = normal(seed, count, 3.0).into_iter().map(|x| 1.0 / (1.0 + (-x).exp()));
    spread.enumerate().map(|(i, p)| [p, p, p, p, p, 0.0, p, p, 1.0][i * 7 % 9]).collect()
}

impl Trial {
    /// Numbers that the operation is for, and weights where the problem declares them.
    pub fn new(problem: Problem, layout: Layout, seed: u64) -> Trial {
        let (rows, classes) = (layout.outer * layout.inner, problem.classes);
        let count = rows * classes;
        let of = |dtype: DType, numbers: Vec<f64>| -> Vec<f64> {
            numbers.into_iter().map(|x| round(x, dtype)).collect()
        };
        let p = probabilities(seed, count);
        let x = match problem.input {
            Form::Logits => normal(seed, count, 5.0),
            Form::LogProbabilities => p.iter().map(|p| p.max(1e-30).ln()).collect(),
            Form::Probabilities => p,
        };
        let mut q = probabilities(seed + 1, count);
        if problem.log_targets {
            q.iter_mut().for_each(|q| *q = q.max(1e-20).ln());
        }
        let targets = if problem.targets.is_float() { problem.targets } else { DType::F32 };
        let weights = |given: bool, turn, count| {
            given.then(|| of(DType::F32, normal(seed + turn, count, 1.0)))
        };
        let positive = |weights: Vec<f64>| weights.into_iter().map(f64::abs).collect();
        let is_softmax = problem.outputs == Outputs::OUTPUT;
        let second = if is_softmax { problem.output } else { problem.dlogits };
        Trial {
            logits: of(problem.logits, x),
            classes: (0..rows).map(|row| (row * 7 % classes) as i64).collect(),
            probabilities: of(targets, q),
            class_weights: weights(problem.class_weights, 2, classes),
            row_weights: weights(problem.row_weights, 3, rows),
            element_weights: weights(problem.element_weights, 4, count),
            pos_weights: weights(problem.pos_weights, 5, classes).map(positive),
            dloss: None,
            denominator: Denominator::Default,
            upstream: of(second, normal(seed + 6, count, 2.0)),
            layout,
            problem,
        }
    }

    /// Rows that lie one after the other.
    pub fn packed(problem: Problem, rows: usize, seed: u64) -> Trial {
        let classes = problem.classes;
        Trial::new(problem, Layout::rows(rows, classes), seed)
    }

    pub fn rows(&self) -> usize {
        self.layout.outer * self.layout.inner
    }

    /// What the reference gets.
    pub fn inputs(&self) -> reference::Inputs<'_> {
        let targets = match (self.has_targets(), self.problem.targets.is_float()) {
            (false, _) => Targets::None,
            (_, true) => Targets::Probabilities(&self.probabilities),
            (_, false) => Targets::Classes(&self.classes),
        };
        reference::Inputs {
            class_weights: self.class_weights.as_deref(),
            row_weights: self.row_weights.as_deref(),
            element_weights: self.element_weights.as_deref(),
            pos_weights: self.pos_weights.as_deref(),
            dloss: self.dloss.as_deref(),
            denominator: self.denominator,
            ..reference::Inputs::new(&self.logits, targets)
        }
    }

    fn has_targets(&self) -> bool {
        !(self.is_softmax() || self.problem.operation == Operation::Entropy)
    }

    /// All calls that the problem has on a device: a run; the backward of a softmax from what it wrote,
    /// the double backward from its statistics.
    pub fn run(&self, context: &Context) -> Found {
        let plan = plan_on(context, &self.problem).unwrap();
        let mut found = self.forward(&plan, context);
        if self.is_softmax() {
            found.backward = self.backward_of_output(&plan, context, &found.output);
        } else if self.problem.outputs.contains(Outputs::STATS) {
            found.backward = self.double_backward(&plan, context, &found.stats);
        }
        found
    }

    pub fn is_softmax(&self) -> bool {
        self.problem.outputs == Outputs::OUTPUT
    }

    fn place(&self) -> Place {
        Place::new(self.layout, 1)
    }

    /// A tensor with these elements, and NaN where there is none.
    fn placed(&self, context: &Context, elements: &[f64], dtype: DType) -> Tensor {
        let buffer = self.place().scatter(elements, f64::NAN);
        tensor(&buffer, dtype, &[buffer.len()]).to(context).unwrap()
    }

    /// A tensor to write.
    fn unwritten(&self, context: &Context, dtype: DType) -> Tensor {
        self.replaced(context, &vec![CANARY; self.logits.len()], dtype)
    }

    /// A tensor with these elements, to write.
    fn replaced(&self, context: &Context, elements: &[f64], dtype: DType) -> Tensor {
        let buffer = self.place().scatter(elements, CANARY);
        tensor(&buffer, dtype, &[buffer.len()]).to(context).unwrap()
    }

    /// What was written; what lies between is as it was.
    fn read(&self, tensor: &Tensor) -> Vec<f64> {
        let buffer = widen(tensor);
        let written = self.place().gather(&buffer);
        let gaps = self.place().scatter(&vec![CANARY; written.len()], f64::NAN);
        for (gap, x) in gaps.iter().zip(&buffer) {
            assert!(!gap.is_nan() || *x == CANARY, "a write between elements");
        }
        written
    }

    /// Where losses of elements lie.
    fn of_elements(&self) -> Place {
        let Layout { outer, classes, inner, .. } = self.layout;
        Place::new(Layout::packed(outer, classes, inner), 0)
    }

    fn as_losses_lie(&self, dloss: &[f64]) -> Vec<f64> {
        if dloss.len() != self.logits.len() {
            return dloss.to_vec();
        }
        let mut buffer = self.of_elements().scatter(dloss, f64::NAN);
        buffer.truncate(dloss.len());
        buffer
    }

    /// Room for so many numbers, one after the other.
    fn column(&self, context: &Context, count: usize) -> Tensor {
        let companion = self.problem.logits.companion();
        tensor(&vec![CANARY; count], companion, &[count]).to(context).unwrap()
    }

    /// Lends a tensor with its layout.
    fn lend<'a>(&self, tensor: &'a Tensor) -> View<'a> {
        view(tensor, self.place().offset).layout(self.layout)
    }

    fn lend_mut<'a>(&self, tensor: &'a mut Tensor) -> ViewMut<'a> {
        view_mut(tensor, self.place().offset).layout(self.layout)
    }

    fn forward(&self, plan: &Plan, context: &Context) -> Found {
        let (problem, rows) = (&self.problem, self.rows());
        let losses = match problem.reduction {
            Reduction::Elements => self.logits.len(),
            Reduction::None | Reduction::RowMean => rows,
            _ => 1,
        };
        let inputs = Inputs::new(self, context);
        let mut loss = self.column(context, losses);
        let mut stats = self.column(context, 2 * rows);
        let mut output = self.unwritten(context, problem.output);
        let mut dlogits = self.unwritten(context, problem.dlogits);
        let mut replaced = self.replaced(context, &self.logits, problem.logits);
        let wants = |output| problem.outputs.contains(output);
        let logits = self.lend(&inputs.logits);
        let args = match (inputs.targets(self), problem.in_place) {
            (Some(targets), false) => Args::new(logits, targets),
            (Some(targets), true) => Args::in_place(self.lend_mut(&mut replaced), targets),
            (None, false) => Args::without_targets(logits),
            (None, true) => Args::softmax_in_place(self.lend_mut(&mut replaced)),
        };
        let mut args = give!(args, self, inputs);
        args = if wants(Outputs::LOSS) { args.loss(&mut loss) } else { args };
        args = if wants(Outputs::STATS) { args.stats(&mut stats) } else { args };
        if wants(Outputs::OUTPUT) && !problem.in_place {
            args = args.output(self.lend_mut(&mut output));
        }
        if wants(Outputs::DLOGITS) && !problem.in_place {
            args = args.dlogits(self.lend_mut(&mut dlogits));
        }
        plan.run(args, &mut plan.workspace(rows).unwrap()).unwrap();

        if problem.in_place {
            (output, dlogits) = (replaced.clone(), replaced);
        }
        let read = |output, tensor| if wants(output) { self.read(tensor) } else { vec![] };
        let column = |output, tensor| if wants(output) { widen(tensor) } else { vec![] };
        let mut found = Found {
            loss: column(Outputs::LOSS, &loss),
            stats: column(Outputs::STATS, &stats),
            output: read(Outputs::OUTPUT, &output),
            dlogits: read(Outputs::DLOGITS, &dlogits),
            backward: vec![],
        };
        if problem.reduction == Reduction::Elements {
            found.loss = self.of_elements().gather(&found.loss);
        }
        found
    }

    fn backward_of_output(&self, plan: &Plan, context: &Context, output: &[f64]) -> Vec<f64> {
        let output = self.placed(context, output, self.problem.output);
        let upstream = self.placed(context, &self.upstream, self.problem.output);
        let mut dlogits = self.unwritten(context, self.problem.dlogits);
        let args = if self.problem.in_place {
            dlogits = self.replaced(context, &self.upstream, self.problem.output);
            BackwardArgs::of_output_in_place(self.lend(&output), self.lend_mut(&mut dlogits))
        } else {
            let to = self.lend_mut(&mut dlogits);
            BackwardArgs::of_output(self.lend(&output), self.lend(&upstream), to)
        };
        plan.backward(args, &mut plan.workspace(self.rows()).unwrap()).unwrap();
        self.read(&dlogits)
    }

    fn double_backward(&self, plan: &Plan, context: &Context, stats: &[f64]) -> Vec<f64> {
        let inputs = Inputs::new(self, context);
        let stats = tensor(stats, self.problem.logits.companion(), &[stats.len()]);
        let stats = stats.to(context).unwrap();
        let direction = self.placed(context, &self.upstream, self.problem.dlogits);
        let mut dlogits = self.unwritten(context, self.problem.dlogits);
        let to = self.lend_mut(&mut dlogits);
        let targets = inputs.targets(self).unwrap();
        let args = BackwardArgs::new(self.lend(&inputs.logits), targets, &stats, to);
        let args = give!(args, self, inputs).ddlogits(self.lend(&direction));
        plan.double_backward(args, &mut plan.workspace(self.rows()).unwrap()).unwrap();
        self.read(&dlogits)
    }
}

/// What a run reads, in memory of a device.
struct Inputs {
    logits: Tensor,
    targets: Option<Tensor>,
    class_weights: Option<Tensor>,
    row_weights: Option<Tensor>,
    element_weights: Option<Tensor>,
    pos_weights: Option<Tensor>,
    dloss: Option<Tensor>,
}

impl Inputs {
    fn new(trial: &Trial, context: &Context) -> Inputs {
        let problem = &trial.problem;
        let companion = problem.logits.companion();
        let column = |numbers: &Option<Vec<f64>>| {
            numbers.as_ref().map(|x| tensor(x, companion, &[x.len()]).to(context).unwrap())
        };
        let targets = trial.has_targets().then(|| match problem.targets.is_float() {
            true => trial.placed(context, &trial.probabilities, problem.targets),
            false => indices(&trial.classes, problem.targets).to(context).unwrap(),
        });
        let weights = trial.element_weights.as_ref();
        Inputs {
            logits: trial.placed(context, &trial.logits, problem.logits),
            targets,
            class_weights: column(&trial.class_weights),
            row_weights: column(&trial.row_weights),
            element_weights: weights.map(|weights| trial.placed(context, weights, companion)),
            pos_weights: column(&trial.pos_weights),
            dloss: column(&trial.dloss.as_ref().map(|dloss| trial.as_losses_lie(dloss))),
        }
    }

    fn targets(&self, trial: &Trial) -> Option<View<'_>> {
        let targets = self.targets.as_ref()?;
        Some(if targets.dtype().is_float() { trial.lend(targets) } else { targets.into() })
    }
}
