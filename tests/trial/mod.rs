//! Calls of all operations with their tensors wherever a test wants them, on a GPU and, widened to
//! `f64`, on the CPU.

use xent::{
    Args, BackwardArgs, Context, DType, Denominator, Layout, Operation, Outputs, Plan, Problem,
    Reduction, Tensor, View, ViewMut,
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

impl Trial {
    /// Numbers of both signs; the caller replaces what the operation wants otherwise.
    pub fn new(problem: Problem, layout: Layout, seed: u64) -> Trial {
        let (rows, classes) = (layout.outer * layout.inner, problem.classes);
        let of = |dtype: DType, numbers: Vec<f64>| -> Vec<f64> {
            numbers.into_iter().map(|x| round(x, dtype)).collect()
        };
        let numbers = |dtype, turn: u64, count| of(dtype, normal(seed + 100 * turn, count, 2.0));
        let weights = |given: bool, turn, count| given.then(|| numbers(DType::F32, turn, count));
        let targets = if problem.targets.is_float() { problem.targets } else { DType::F32 };
        let second = if problem.outputs == Outputs::OUTPUT { problem.output } else { problem.dlogits };
        Trial {
            logits: numbers(problem.logits, 1, rows * classes),
            classes: (0..rows).map(|row| (row * 7 % classes) as i64).collect(),
            probabilities: numbers(targets, 2, rows * classes),
            class_weights: weights(problem.class_weights, 3, classes),
            row_weights: weights(problem.row_weights, 4, rows),
            element_weights: weights(problem.element_weights, 5, rows * classes),
            pos_weights: weights(problem.pos_weights, 6, classes),
            dloss: None,
            denominator: Denominator::Default,
            upstream: numbers(second, 7, rows * classes),
            layout,
            problem,
        }
    }

    pub fn rows(&self) -> usize {
        self.layout.outer * self.layout.inner
    }

    /// The same with every floating-point type `f64`.
    pub fn wide(&self) -> Trial {
        let mut problem = self.problem.clone();
        (problem.logits, problem.dlogits, problem.output) = (DType::F64, DType::F64, DType::F64);
        if problem.targets.is_float() {
            problem.targets = DType::F64;
        }
        Trial { problem, ..self.clone() }
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

    fn is_softmax(&self) -> bool {
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
        let elements = vec![CANARY; self.logits.len()];
        let buffer = self.place().scatter(&elements, CANARY);
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
        let wants = |output| problem.outputs.contains(output);
        let logits = self.lend(&inputs.logits);
        let args = match inputs.targets(self) {
            Some(targets) => Args::new(logits, targets),
            None => Args::without_targets(logits),
        };
        let mut args = give!(args, self, inputs);
        args = if wants(Outputs::LOSS) { args.loss(&mut loss) } else { args };
        args = if wants(Outputs::STATS) { args.stats(&mut stats) } else { args };
        if wants(Outputs::OUTPUT) {
            args = args.output(self.lend_mut(&mut output));
        }
        if wants(Outputs::DLOGITS) {
            args = args.dlogits(self.lend_mut(&mut dlogits));
        }
        plan.run(args, &mut plan.workspace(rows).unwrap()).unwrap();

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
        let to = self.lend_mut(&mut dlogits);
        let args = BackwardArgs::of_output(self.lend(&output), self.lend(&upstream), to);
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
        let has_targets = !(trial.is_softmax() || problem.operation == Operation::Entropy);
        let targets = has_targets.then(|| match problem.targets.is_float() {
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
