//! Problems of `f64` logits through a plan, with what the reference would get, in the order of a layout
//! of the class axis anywhere. On the CPU: no GPU computes them.

use xent::reference::{Inputs, Results, Targets};
use xent::{
    Args, BackwardArgs, Context, Form, Layout, Operation, Outputs, Plan, Problem, Reduction, View,
    ViewMut,
};

/// All outputs of an operation.
pub fn all_outputs(problem: &Problem) -> Outputs {
    match (problem.operation, problem.input) {
        (Operation::Softmax | Operation::LogSoftmax, _) => Outputs::OUTPUT,
        (Operation::CrossEntropy, Form::Logits) => Outputs::CROSS_ENTROPY,
        _ => Outputs::LOSS | Outputs::DLOGITS,
    }
}

/// Gives arguments what else the reference would get.
macro_rules! with_inputs {
    ($args:expr, $inputs:expr, $layout:expr) => {{
        let mut args = $args.denominator($inputs.denominator);
        let element_weights = $inputs.element_weights.map(|w| View::from(w).layout($layout));
        give!(args, class_weights: $inputs.class_weights, row_weights: $inputs.row_weights);
        give!(args, element_weights: element_weights, pos_weights: $inputs.pos_weights);
        give!(args, dloss: $inputs.dloss);
        args
    }};
}

fn targets<'a>(inputs: &Inputs<'a>, layout: Layout) -> Option<View<'a>> {
    match inputs.targets {
        Targets::Classes(classes) => Some(View::from(classes)),
        Targets::Probabilities(q) => Some(View::from(q).layout(layout)),
        Targets::None => None,
    }
}

fn bits(x: &[f64]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Every output. Where there are statistics, the gradient from them is the same, bit for bit.
pub fn run_f64(problem: &Problem, layout: Layout, inputs: &Inputs<'_>) -> Results {
    let outputs = all_outputs(problem);
    let problem = problem.clone().outputs(outputs);
    let has = |output, len| if outputs.contains(output) { len } else { 0 };
    let (rows, elements) = (layout.outer * layout.inner, inputs.logits.len());
    let losses = match problem.reduction {
        Reduction::None | Reduction::RowMean => rows,
        Reduction::Elements => elements,
        _ => 1,
    };
    let mut results = Results {
        loss: vec![0.0; has(Outputs::LOSS, losses)],
        lse: vec![0.0; has(Outputs::LSE, rows)],
        dlogits: vec![0.0; has(Outputs::DLOGITS, elements)],
        argmax: vec![0; has(Outputs::ARGMAX, rows)],
        entropy: vec![0.0; has(Outputs::ENTROPY, rows)],
        output: vec![0.0; has(Outputs::OUTPUT, elements)],
        ..Results::default()
    };
    let (mut stats, mut correct) = (vec![0.0; has(Outputs::STATS, 2 * rows)], [0]);

    let plan = Plan::new(&Context::cpu(), &problem).unwrap();
    let logits = View::from(inputs.logits).layout(layout);
    let mut args = match targets(inputs, layout) {
        Some(targets) => with_inputs!(Args::new(logits, targets), inputs, layout),
        None => with_inputs!(Args::without_targets(logits), inputs, layout),
    };
    if outputs.contains(Outputs::LOSS) {
        let dlogits = ViewMut::from(&mut results.dlogits).layout(layout);
        args = args.loss(&mut results.loss).dlogits(dlogits);
    }
    if outputs.contains(Outputs::STATS) {
        args = args.lse(&mut results.lse).stats(&mut stats).entropy(&mut results.entropy);
        args = args.argmax(&mut results.argmax).correct(&mut correct);
    }
    if outputs.contains(Outputs::OUTPUT) {
        args = args.output(ViewMut::from(&mut results.output).layout(layout));
    }
    plan.run(args, &mut plan.workspace(rows).unwrap()).unwrap();

    if outputs.contains(Outputs::STATS) {
        let separate = from_stats(&problem, layout, inputs, &stats, None);
        assert_eq!(bits(&results.dlogits), bits(&separate), "fused and separate gradients differ");
    }
    results.largest = stats.iter().step_by(2).copied().collect();
    results.exp_sum = stats.iter().skip(1).step_by(2).copied().collect();
    results.correct = correct[0];
    results
}

/// The gradient from statistics, or with a direction the double backward.
pub fn from_stats(
    problem: &Problem,
    layout: Layout,
    inputs: &Inputs<'_>,
    stats: &[f64],
    ddlogits: Option<&[f64]>,
) -> Vec<f64> {
    let problem = problem.clone().outputs(Outputs::CROSS_ENTROPY);
    let plan = Plan::new(&Context::cpu(), &problem).unwrap();
    let mut workspace = plan.workspace(layout.outer * layout.inner).unwrap();
    let mut dlogits = vec![0.0; inputs.logits.len()];
    let logits = View::from(inputs.logits).layout(layout);
    let targets = targets(inputs, layout).unwrap();
    let args =
        BackwardArgs::new(logits, targets, stats, ViewMut::from(&mut dlogits).layout(layout));
    let args = with_inputs!(args, inputs, layout);
    match ddlogits {
        None => plan.backward(args, &mut workspace),
        Some(v) => {
            plan.double_backward(args.ddlogits(View::from(v).layout(layout)), &mut workspace)
        }
    }
    .unwrap();
    dlogits
}

/// The gradient of logits from a softmax or its logarithm.
pub fn from_output(problem: &Problem, layout: Layout, output: &[f64], doutput: &[f64]) -> Vec<f64> {
    let plan = Plan::new(&Context::cpu(), problem).unwrap();
    let mut dlogits = vec![0.0; output.len()];
    let view = |x| View::from(x).layout(layout);
    let to = ViewMut::from(&mut dlogits).layout(layout);
    let args = BackwardArgs::of_output(view(output), view(doutput), to);
    plan.backward(args, &mut plan.workspace(layout.outer * layout.inner).unwrap()).unwrap();
    dlogits
}
