//! Runs of cases on any device, with their tensors anywhere.

use xent::{
    Args, BackwardArgs, Context, DType, Outputs, Plan, Reduction, Result, Tensor, View, ViewMut,
};

use super::place::Place;
use crate::case::{Case, Output, Target};

/// What fills the gaps between the elements of a gradient: a number that every type has.
const CANARY: f64 = 123.0;

/// What came out of a run.
#[derive(Debug)]
pub struct Outcome {
    pub output: Output,
    /// The outputs of it: those of the problem, and the gradient where statistics give it.
    pub outputs: Outputs,
    /// What no bound tells.
    pub faults: Vec<&'static str>,
}

/// Buffers of a case on its device.
struct Inputs<'a> {
    case: &'a Case,
    place: &'a Place,
    context: &'a Context,
    logits: Tensor,
    targets: Tensor,
    class_weights: Option<Tensor>,
    row_weights: Option<Tensor>,
    dloss: Option<Tensor>,
}

/// Sets what forward and backward arguments have in common.
macro_rules! with_weights {
    ($args:expr, $inputs:expr) => {{
        let mut args = $args.denominator($inputs.case.denominator);
        if let Some(weights) = &$inputs.class_weights {
            args = args.class_weights(weights);
        }
        if let Some(weights) = &$inputs.row_weights {
            args = args.row_weights(weights);
        }
        if let Some(dloss) = &$inputs.dloss {
            args = args.dloss(dloss);
        }
        args
    }};
}

/// Runs a case on the device of its plan, and where it has statistics the separate gradient too.
pub fn run(context: &Context, plan: &Plan, case: &Case, place: &Place) -> Result<Outcome> {
    let inputs = Inputs::new(case, place, context)?;
    let (mut output, logits) = inputs.forward(plan)?;
    let mut outputs = case.problem.outputs;
    let (fused, mut faults) = (outputs.contains(Outputs::DLOGITS), Vec::new());
    if let Some(gradient) = &logits {
        let (dlogits, overwritten) = inputs.gather(gradient)?;
        if overwritten {
            faults.push("the run wrote between or around the elements of the gradient");
        }
        output.dlogits = dlogits;
    }
    if outputs.contains(Outputs::STATS) {
        let (dlogits, overwritten) = inputs.gather(&inputs.backward(plan, &output.stats)?)?;
        if overwritten {
            faults.push("the backward run wrote between or around the elements of the gradient");
        }
        if fused && !same(&dlogits, &output.dlogits) {
            faults.push("the gradient from statistics differs from that of the run in some bit");
        }
        output.dlogits = dlogits;
        outputs |= Outputs::DLOGITS;
    }
    Ok(Outcome { output, outputs, faults })
}

impl<'a> Inputs<'a> {
    fn new(case: &'a Case, place: &'a Place, context: &'a Context) -> Result<Self> {
        let placed = |elements: &[f64], dtype| {
            let buffer = place.scatter(elements, f64::NAN);
            Tensor::from_slice(&buffer, &[buffer.len()])?.cast(dtype)?.to(context)
        };
        let column = |column: &Option<Vec<f32>>| {
            let copy = |x: &Vec<f32>| Tensor::from_slice(x, &[x.len()])?.to(context);
            column.as_ref().map(copy).transpose()
        };
        let targets = match &case.target {
            Target::Classes(classes) => indices(classes, case.problem.targets)?.to(context)?,
            Target::Probabilities(q) => placed(q, case.problem.targets)?,
        };
        Ok(Inputs {
            logits: placed(&case.logits, case.problem.logits)?,
            targets,
            class_weights: column(&case.class_weights)?,
            row_weights: column(&case.row_weights)?,
            dloss: column(&case.dloss)?,
            case,
            place,
            context,
        })
    }

    /// The elements of a tensor at the place of the case.
    fn view<'t>(&self, tensor: &'t Tensor) -> View<'t> {
        View::from(tensor).skip(self.place.offset).layout(self.place.layout)
    }

    fn view_mut<'t>(&self, tensor: &'t mut Tensor) -> ViewMut<'t> {
        ViewMut::from(tensor).skip(self.place.offset).layout(self.place.layout)
    }

    fn targets(&self) -> View<'_> {
        match self.case.problem.targets_are_probabilities() {
            true => self.view(&self.targets),
            false => View::from(&self.targets),
        }
    }

    /// What a gradient is written to: a copy of the logits, or nothing but the canary.
    fn gradient(&self) -> Result<Tensor> {
        if self.case.problem.in_place {
            return Ok(self.logits.clone());
        }
        let canaries = vec![CANARY; self.logits.len()];
        let dtype = self.case.problem.dlogits;
        Tensor::from_slice(&canaries, &[canaries.len()])?.cast(dtype)?.to(self.context)
    }

    /// The elements of a gradient, and whether others than these were written.
    fn gather(&self, gradient: &Tensor) -> Result<(Vec<f64>, bool)> {
        let wide = gradient.to(&Context::cpu())?.cast(DType::F64)?.to_vec()?;
        let gap = if self.case.problem.in_place { f64::NAN } else { CANARY };
        Ok(self.place.gather(wide, gap))
    }

    /// The outputs but for the gradient, which is the second result.
    fn forward(&self, plan: &Plan) -> Result<(Output, Option<Tensor>)> {
        let (problem, rows) = (&self.case.problem, self.case.rows);
        let has = |output| problem.outputs.contains(output);
        let losses = if problem.reduction == Reduction::None { rows } else { 1 };
        let make = |output, dtype, len| {
            let zeros = || Tensor::zeros(dtype, &[len])?.to(self.context);
            has(output).then(zeros).transpose()
        };
        let mut loss = make(Outputs::LOSS, DType::F32, losses)?;
        let mut lse = make(Outputs::LSE, DType::F32, rows)?;
        let mut stats = make(Outputs::STATS, DType::F32, 2 * rows)?;
        let mut entropy = make(Outputs::ENTROPY, DType::F32, rows)?;
        let mut argmax = make(Outputs::ARGMAX, DType::I64, rows)?;
        let mut correct = make(Outputs::CORRECT, DType::I64, 1)?;
        let mut gradient = has(Outputs::DLOGITS).then(|| self.gradient()).transpose()?;

        let args = match &mut gradient {
            Some(both) if problem.in_place => Args::in_place(self.view_mut(both), self.targets()),
            Some(gradient) => {
                Args::new(self.view(&self.logits), self.targets()).dlogits(self.view_mut(gradient))
            }
            None => Args::new(self.view(&self.logits), self.targets()),
        };
        let mut args = with_weights!(args, self);
        macro_rules! set {
            ($($name:ident),*) => {
                $(if let Some(tensor) = &mut $name {
                    args = args.$name(tensor);
                })*
            };
        }
        set!(loss, lse, stats, entropy, argmax, correct);
        plan.run(args, &mut plan.workspace(rows)?)?;

        let floats = |x: Option<Tensor>| x.map_or(Ok(vec![]), |x| x.to_vec::<f32>());
        let integers = |x: Option<Tensor>| x.map_or(Ok(vec![]), |x| x.to_vec::<i64>());
        let output = Output {
            loss: floats(loss)?,
            lse: floats(lse)?,
            stats: floats(stats)?,
            dlogits: vec![],
            argmax: integers(argmax)?,
            correct: integers(correct)?.first().copied().unwrap_or(0),
            entropy: floats(entropy)?,
        };
        Ok((output, gradient))
    }

    /// The gradient from statistics.
    fn backward(&self, plan: &Plan, stats: &[f32]) -> Result<Tensor> {
        let stats = Tensor::from_slice(stats, &[stats.len()])?.to(self.context)?;
        let mut gradient = self.gradient()?;
        let view = self.view_mut(&mut gradient);
        let args = match self.case.problem.in_place {
            true => BackwardArgs::in_place(view, self.targets(), &stats),
            false => BackwardArgs::new(self.view(&self.logits), self.targets(), &stats, view),
        };
        plan.backward(with_weights!(args, self), &mut plan.workspace(self.case.rows)?)?;
        Ok(gradient)
    }
}

/// Whether two gradients are equal in every bit; one NaN is as good as another.
fn same(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan())
}

/// Class indices as a tensor of an integer type.
fn indices(classes: &[i64], dtype: DType) -> Result<Tensor> {
    fn of<T: xent::Element>(classes: &[i64], convert: impl Fn(i64) -> T) -> Result<Tensor> {
        let classes: Vec<T> = classes.iter().map(|&class| convert(class)).collect();
        Tensor::from_slice(&classes, &[classes.len()])
    }
    match dtype {
        DType::I32 => of(classes, |class| class as i32),
        DType::U32 => of(classes, |class| class as u32),
        DType::U8 => of(classes, |class| class as u8),
        _ => of(classes, |class| class),
    }
}
