//! What the tests share: cases, how to run one, and what to hold the result against.
#![allow(dead_code)] // each test file uses its part

pub mod bounds;
#[path = "../../src/bin/xent/case.rs"]
mod case;
pub mod foreign;
pub mod golden;
pub mod job;
#[path = "../../src/bin/xent/bounds.rs"]
mod judge;
pub mod placed;
pub mod raw;
pub mod simulated;
pub mod standin;

use std::io::Write;

use xent::reference::{Inputs, Results, Targets};
use xent::{
    Args, BackwardArgs, Context, DType, DeviceKind, Layout, Outputs, Plan, Problem, Reduction,
    Tensor, View, ViewMut,
};

pub use case::{Case, Output, Target, normal, round};

impl Case {
    /// Rows of normally distributed logits, with targets of the type that the problem names, and
    /// weights where it declares them. Asks for all outputs.
    pub fn random(problem: Problem, rows: usize, seed: u64) -> Case {
        Case::new(problem.clone(), rows, normal(seed, rows * problem.classes, 3.0), seed)
    }

    pub fn targets(mut self, classes: &[i64]) -> Case {
        self.target = Target::Classes(classes.to_vec());
        self
    }

    pub fn dloss(mut self, dloss: &[f32]) -> Case {
        self.dloss = Some(dloss.to_vec());
        self
    }

    /// The logits as a tensor of their type, (rows, classes).
    pub fn logits_tensor(&self) -> Tensor {
        tensor(&self.logits, self.problem.logits, &[self.rows, self.problem.classes])
    }

    /// The targets as a tensor of their type.
    pub fn targets_tensor(&self) -> Tensor {
        match &self.target {
            Target::Classes(classes) => indices(classes, self.problem.targets),
            Target::Probabilities(q) => {
                tensor(q, self.problem.targets, &[self.rows, self.problem.classes])
            }
        }
    }

    /// Runs the case on all processors.
    pub fn run(&self) -> Output {
        self.run_on(&Context::cpu())
    }

    /// Runs the case, with whichever outputs its problem names.
    pub fn run_on(&self, context: &Context) -> Output {
        self.try_run_on(context).unwrap()
    }

    pub fn try_run_on(&self, context: &Context) -> xent::Result<Output> {
        if context.device().kind() != DeviceKind::Cpu {
            return self.run_on_gpu(context);
        }
        let (problem, rows, classes) = (&self.problem, self.rows, self.problem.classes);
        let plan = Plan::new(context, problem)?;
        let logits = self.logits_tensor();
        let targets = self.targets_tensor();
        let mut output = Output::default();
        let losses = if problem.reduction == Reduction::None { rows } else { 1 };
        let mut dlogits = Tensor::zeros(problem.dlogits, &[rows, classes])?;
        let mut correct = [0];

        let mut args = Args::new(&logits, &targets).denominator(self.denominator);
        if let Some(weights) = &self.class_weights {
            args = args.class_weights(weights);
        }
        if let Some(weights) = &self.row_weights {
            args = args.row_weights(weights);
        }
        if let Some(dloss) = &self.dloss {
            args = args.dloss(dloss);
        }
        let outputs = problem.outputs;
        let column = |column: &mut Vec<f32>, name, len| {
            let wanted = outputs.contains(name);
            column.resize(if wanted { len } else { 0 }, f32::from_bits(u32::MAX));
            wanted
        };
        if column(&mut output.loss, Outputs::LOSS, losses) {
            args = args.loss(&mut output.loss);
        }
        if column(&mut output.lse, Outputs::LSE, rows) {
            args = args.lse(&mut output.lse);
        }
        if column(&mut output.stats, Outputs::STATS, 2 * rows) {
            args = args.stats(&mut output.stats);
        }
        if column(&mut output.entropy, Outputs::ENTROPY, rows) {
            args = args.entropy(&mut output.entropy);
        }
        if outputs.contains(Outputs::DLOGITS) {
            args = args.dlogits(&mut dlogits);
        }
        if outputs.contains(Outputs::ARGMAX) {
            output.argmax = vec![i64::MIN; rows];
            args = args.argmax(&mut output.argmax);
        }
        if outputs.contains(Outputs::CORRECT) {
            args = args.correct(&mut correct);
        }
        plan.run(args, &mut plan.workspace(rows).unwrap())?;
        if outputs.contains(Outputs::DLOGITS) {
            output.dlogits = widen(&dlogits);
        }
        output.correct = correct[0];
        Ok(output)
    }

    /// The same with all buffers in memory of a GPU.
    fn run_on_gpu(&self, context: &Context) -> xent::Result<Output> {
        let (problem, rows, classes) = (&self.problem, self.rows, self.problem.classes);
        let plan = Plan::new(context, problem)?;
        let outputs = problem.outputs;
        let make = |wanted: bool, dtype, shape: &[usize]| {
            wanted.then(|| Tensor::zeros(dtype, shape)?.to(context)).transpose()
        };
        let floats = |x: &Option<Vec<f32>>| {
            let copy = |x: &Vec<f32>| Tensor::from_slice(x, &[x.len()])?.to(context);
            x.as_ref().map(copy).transpose()
        };
        let has = |output| outputs.contains(output);
        let losses = if problem.reduction == Reduction::None { rows } else { 1 };
        let logits = self.logits_tensor().to(context)?;
        let targets = self.targets_tensor().to(context)?;
        let class_weights = floats(&self.class_weights)?;
        let row_weights = floats(&self.row_weights)?;
        let dloss = floats(&self.dloss)?;
        let mut loss = make(has(Outputs::LOSS), DType::F32, &[losses])?;
        let mut lse = make(has(Outputs::LSE), DType::F32, &[rows])?;
        let mut stats = make(has(Outputs::STATS), DType::F32, &[2 * rows])?;
        let mut entropy = make(has(Outputs::ENTROPY), DType::F32, &[rows])?;
        let mut dlogits = make(has(Outputs::DLOGITS), problem.dlogits, &[rows, classes])?;
        let mut argmax = make(has(Outputs::ARGMAX), DType::I64, &[rows])?;
        let mut correct = make(has(Outputs::CORRECT), DType::I64, &[1])?;

        let mut args = Args::new(&logits, &targets).denominator(self.denominator);
        macro_rules! set {
            ($($name:ident: $tensor:expr),*) => {
                $(if let Some(tensor) = $tensor {
                    args = args.$name(tensor);
                })*
            };
        }
        set!(class_weights: &class_weights, row_weights: &row_weights, dloss: &dloss);
        set!(loss: &mut loss, lse: &mut lse, stats: &mut stats, entropy: &mut entropy);
        set!(dlogits: &mut dlogits, argmax: &mut argmax, correct: &mut correct);
        plan.run(args, &mut plan.workspace(rows)?)?;

        let floats = |x: Option<Tensor>| x.map_or(Ok(vec![]), |x| x.to_vec::<f32>());
        let integers = |x: Option<Tensor>| x.map_or(Ok(vec![]), |x| x.to_vec::<i64>());
        Ok(Output {
            loss: floats(loss)?,
            lse: floats(lse)?,
            stats: floats(stats)?,
            dlogits: dlogits.map_or(vec![], |dlogits| widen(&dlogits)),
            argmax: integers(argmax)?,
            correct: integers(correct)?.first().copied().unwrap_or(0),
            entropy: floats(entropy)?,
        })
    }

    /// The gradient from the statistics of a run.
    pub fn backward(&self, stats: &[f32]) -> Vec<f64> {
        let (rows, classes) = (self.rows, self.problem.classes);
        let plan = Plan::new(&Context::cpu(), &self.problem).unwrap();
        let (logits, targets) = (self.logits_tensor(), self.targets_tensor());
        let mut dlogits = Tensor::zeros(self.problem.dlogits, &[rows, classes]).unwrap();
        let mut args =
            BackwardArgs::new(&logits, &targets, stats, &mut dlogits).denominator(self.denominator);
        if let Some(weights) = &self.class_weights {
            args = args.class_weights(weights);
        }
        if let Some(weights) = &self.row_weights {
            args = args.row_weights(weights);
        }
        if let Some(dloss) = &self.dloss {
            args = args.dloss(dloss);
        }
        plan.backward(args, &mut plan.workspace(rows).unwrap()).unwrap();
        widen(&dlogits)
    }

    /// Runs the case and holds every output against the reference and the promised bounds; the
    /// gradient also from the statistics.
    pub fn check(&self) {
        let output = self.run();
        bounds::check(self, &output);
        let backward = self.backward(&output.stats);
        for (index, (a, b)) in output.dlogits.iter().zip(&backward).enumerate() {
            let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(same, "fused {a:e} and separate {b:e} differ at {index} of {:?}", self.problem);
        }
    }
}

/// Runs `f64` logits of this layout through a plan, with what else the reference would get, in the
/// order of the layout. The gradient from the statistics is the same, bit for bit.
pub fn run_f64(problem: &Problem, layout: Layout, inputs: &Inputs<'_>) -> Results {
    let problem = problem.clone().outputs(Outputs::all());
    let rows = layout.outer * layout.inner;
    let plan = Plan::new(&Context::cpu(), &problem).unwrap();
    let logits = || View::from(inputs.logits).layout(layout);
    let targets = match inputs.targets {
        Targets::Classes(classes) => View::from(classes),
        Targets::Probabilities(q) => View::from(q).layout(layout),
    };
    let losses = if problem.reduction == Reduction::None { rows } else { 1 };
    let mut results = Results {
        loss: vec![0.0; losses],
        lse: vec![0.0; rows],
        dlogits: vec![0.0; inputs.logits.len()],
        argmax: vec![0; rows],
        entropy: vec![0.0; rows],
        ..Results::default()
    };
    let (mut stats, mut correct) = (vec![0.0; 2 * rows], [0]);
    let mut workspace = plan.workspace(rows).unwrap();

    let mut args = Args::new(logits(), targets)
        .denominator(inputs.denominator)
        .loss(&mut results.loss)
        .lse(&mut results.lse)
        .stats(&mut stats)
        .dlogits(ViewMut::from(&mut results.dlogits).layout(layout))
        .argmax(&mut results.argmax)
        .correct(&mut correct)
        .entropy(&mut results.entropy);
    let given = [inputs.class_weights, inputs.row_weights, inputs.dloss];
    if let [Some(weights), _, _] = given {
        args = args.class_weights(weights);
    }
    if let [_, Some(weights), _] = given {
        args = args.row_weights(weights);
    }
    if let [_, _, Some(dloss)] = given {
        args = args.dloss(dloss);
    }
    plan.run(args, &mut workspace).unwrap();

    let mut separate = vec![0.0; inputs.logits.len()];
    let mut args =
        BackwardArgs::new(logits(), targets, &stats, ViewMut::from(&mut separate).layout(layout))
            .denominator(inputs.denominator);
    if let [Some(weights), _, _] = given {
        args = args.class_weights(weights);
    }
    if let [_, Some(weights), _] = given {
        args = args.row_weights(weights);
    }
    if let [_, _, Some(dloss)] = given {
        args = args.dloss(dloss);
    }
    plan.backward(args, &mut workspace).unwrap();
    let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&results.dlogits), bits(&separate), "fused and separate gradients differ");

    results.largest = stats.iter().step_by(2).copied().collect();
    results.exp_sum = stats.iter().skip(1).step_by(2).copied().collect();
    results.correct = correct[0];
    results
}

/// Numbers as a tensor.
pub fn tensor(x: &[f64], dtype: DType, shape: &[usize]) -> Tensor {
    Tensor::from_slice(x, shape).unwrap().cast(dtype).unwrap()
}

/// Class indices as a tensor of an integer type.
pub fn indices(classes: &[i64], dtype: DType) -> Tensor {
    let shape = [classes.len()];
    match dtype {
        DType::I64 => Tensor::from_slice(classes, &shape),
        DType::I32 => Tensor::from_slice(&map(classes, |c| c as i32), &shape),
        DType::U32 => Tensor::from_slice(&map(classes, |c| c as u32), &shape),
        DType::U8 => Tensor::from_slice(&map(classes, |c| c as u8), &shape),
        other => panic!("class indices of type {other}"),
    }
    .unwrap()
}

fn map<T>(classes: &[i64], f: impl Fn(i64) -> T) -> Vec<T> {
    classes.iter().map(|&class| f(class)).collect()
}

/// The numbers of a floating-point tensor.
pub fn widen(tensor: &Tensor) -> Vec<f64> {
    tensor.cast(DType::F64).unwrap().to_vec().unwrap()
}

/// Says why a test cannot run here. On CI, where everything but a GPU is there, it fails instead.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped on CI: {reason}");
    say(&format!("SKIPPED: {reason}"));
}

/// Says something that the test harness, unlike what `eprintln` prints, does not capture.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
