//! What the tests share: cases, how to run one, and what to hold the result against.
#![allow(dead_code)] // each test file uses its part

/// Gives arguments those of some buffers that are there.
macro_rules! give {
    ($args:ident, $($field:ident: $buffer:expr),*) => {$(
        if let Some(buffer) = $buffer {
            $args = $args.$field(buffer);
        }
    )*};
}

pub mod bounds;
#[path = "../../src/bin/xent/case.rs"]
mod case;
pub mod foreign;
pub mod foundation;
pub mod golden;
pub mod job;
#[path = "../../src/bin/xent/bounds.rs"]
mod judge;
pub mod placed;
pub mod raw;
pub mod simulated;
pub mod standin;
pub mod wide;
pub mod wrong;

use std::cell::RefCell;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use rand::SeedableRng;
use rand::rngs::StdRng;
use xent::{
    Args, BackwardArgs, Context, DType, DeviceKind, Outputs, Plan, Problem, Reduction, Report,
    Stream, Tensor,
};

pub use case::{Case, Output, Target, normal, round};
#[allow(unused_imports)] // each test file uses its part
pub use wide::run_f64;

/// What a case reads, in memory of a device.
struct InputTensors {
    logits: Tensor,
    targets: Tensor,
    class_weights: Option<Tensor>,
    row_weights: Option<Tensor>,
    dloss: Option<Tensor>,
}

/// Says to the tests of a process that they have a GPU: that of a [`simulated::Machine`], or of the machine.
const GPU: &str = "XENT_TEST_GPU";

/// Whether the tests of this process run on a GPU.
pub fn on_gpu() -> bool {
    std::env::var_os(GPU).is_some()
}

/// The device that they run on, else the CPU on all processors.
pub fn context() -> Context {
    let context = if on_gpu() { Context::auto() } else { Context::cpu() };
    let is_gpu = context.device().kind() != DeviceKind::Cpu;
    assert_eq!(is_gpu, on_gpu(), "the device is {}", context.device());
    context
}

/// A plan on it. The last one of each thread is kept: a GPU's takes a while to load.
pub fn plan(problem: &Problem) -> xent::Result<Plan> {
    thread_local! {
        static LAST: RefCell<Option<Plan>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some(plan) if plan.problem() == problem => Ok(plan.clone()),
        _ => plan_on(&context(), problem).inspect(|plan| *last = Some(plan.clone())),
    })
}

/// A plan. One thread makes one at a time: what NVRTC makes for one, others find in the cache.
pub fn plan_on(context: &Context, problem: &Problem) -> xent::Result<Plan> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    Plan::new(context, problem)
}

/// The types of logits that it computes.
pub fn logit_types() -> &'static [DType] {
    match on_gpu() {
        true => &[DType::F32, DType::F16, DType::BF16],
        false => &[DType::F32, DType::F16, DType::BF16, DType::F64],
    }
}

/// How much of something there is to be: less on a simulated GPU, which takes a second for each new
/// problem, and ten times as long for the numbers of a run.
pub fn sized<T>(cpu: T, gpu: T) -> T {
    if on_gpu() { gpu } else { cpu }
}

/// What a test loops over: all on the CPU, on a GPU so many of them, always the same.
pub fn thinned<T>(all: impl IntoIterator<Item = T>, on_a_gpu: usize) -> Vec<T> {
    let mut all: Vec<T> = all.into_iter().collect();
    let count = sized(all.len(), on_a_gpu.min(all.len()));
    let kept = rand::seq::index::sample(&mut StdRng::seed_from_u64(1), all.len(), count);
    let mut is_kept = vec![false; all.len()];
    kept.into_iter().for_each(|index| is_kept[index] = true);
    let mut is_kept = is_kept.into_iter();
    all.retain(|_| is_kept.next() == Some(true));
    all
}

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

    /// Numbers as a tensor, (rows, classes).
    fn matrix(&self, x: &[f64], dtype: DType) -> Tensor {
        tensor(x, dtype, &[self.rows, self.problem.classes])
    }

    /// The logits as a tensor of their type, (rows, classes).
    pub fn logits_tensor(&self) -> Tensor {
        self.matrix(&self.logits, self.problem.logits)
    }

    /// The targets as a tensor of their type.
    pub fn targets_tensor(&self) -> Tensor {
        match &self.target {
            Target::Classes(classes) => indices(classes, self.problem.targets),
            Target::Probabilities(q) => self.matrix(q, self.problem.targets),
        }
    }

    /// Runs the case on the device of the process, with whichever outputs its problem names.
    pub fn run(&self) -> Output {
        self.try_run().unwrap()
    }

    pub fn try_run(&self) -> xent::Result<Output> {
        self.run_with(None)
    }

    /// What a run on a GPU gives, with its report.
    pub fn run_reported(&self) -> (Output, Report) {
        let none = Tensor::zeros(DType::I64, &[Report::LEN]).unwrap();
        let mut report = none.to(&context()).unwrap();
        let output = self.run_with(Some(&mut report)).unwrap();
        (output, plan(&self.problem).unwrap().report(&report, Stream::default()).unwrap())
    }

    /// What a run does not write is NaN, or `i64::MIN`.
    fn run_with(&self, report: Option<&mut Tensor>) -> xent::Result<Output> {
        let (problem, rows) = (&self.problem, self.rows);
        let (there, plan) = (context(), plan(problem)?);
        let output = |output, unwritten: Tensor| {
            problem.outputs.contains(output).then(|| unwritten.to(&there)).transpose()
        };
        let floats = |name, len| {
            output(name, Tensor::from_slice(&vec![f32::from_bits(u32::MAX); len], &[len])?)
        };
        let integers = |name, len| output(name, Tensor::from_slice(&vec![i64::MIN; len], &[len])?);
        let losses = if problem.reduction == Reduction::None { rows } else { 1 };
        let mut loss = floats(Outputs::LOSS, losses)?;
        let mut lse = floats(Outputs::LSE, rows)?;
        let mut stats = floats(Outputs::STATS, 2 * rows)?;
        let mut entropy = floats(Outputs::ENTROPY, rows)?;
        let mut argmax = integers(Outputs::ARGMAX, rows)?;
        let mut correct = integers(Outputs::CORRECT, 1)?;
        let unwritten = vec![f64::NAN; self.logits.len()];
        let mut dlogits = output(Outputs::DLOGITS, self.matrix(&unwritten, problem.dlogits))?;

        let inputs = self.inputs(&there)?;
        let mut args = Args::new(&inputs.logits, &inputs.targets).denominator(self.denominator);
        give!(args, class_weights: &inputs.class_weights, row_weights: &inputs.row_weights);
        give!(args, dloss: &inputs.dloss, loss: &mut loss, lse: &mut lse, stats: &mut stats);
        give!(args, entropy: &mut entropy, argmax: &mut argmax, correct: &mut correct);
        give!(args, dlogits: &mut dlogits, report: report);
        plan.run(args, &mut plan.workspace(rows)?)?;

        let floats = |x: Option<Tensor>| x.map_or(Ok(vec![]), |x| x.to_vec::<f32>());
        let integers = |x: Option<Tensor>| x.map_or(Ok(vec![]), |x| x.to_vec::<i64>());
        Ok(Output {
            loss: floats(loss)?,
            lse: floats(lse)?,
            stats: floats(stats)?,
            dlogits: dlogits.as_ref().map_or(vec![], widen),
            argmax: integers(argmax)?,
            correct: integers(correct)?.first().copied().unwrap_or(0),
            entropy: floats(entropy)?,
        })
    }

    /// The gradient from the statistics of a run.
    pub fn backward(&self, stats: &[f32]) -> Vec<f64> {
        let (there, plan) = (context(), plan(&self.problem).unwrap());
        let inputs = self.inputs(&there).unwrap();
        let stats = Tensor::from_slice(stats, &[stats.len()]).unwrap().to(&there).unwrap();
        let unwritten = vec![f64::NAN; self.logits.len()];
        let mut dlogits = self.matrix(&unwritten, self.problem.dlogits).to(&there).unwrap();
        let mut args = BackwardArgs::new(&inputs.logits, &inputs.targets, &stats, &mut dlogits)
            .denominator(self.denominator);
        give!(args, class_weights: &inputs.class_weights, row_weights: &inputs.row_weights);
        give!(args, dloss: &inputs.dloss);
        plan.backward(args, &mut plan.workspace(self.rows).unwrap()).unwrap();
        widen(&dlogits)
    }

    /// What a run reads, in memory of a device.
    fn inputs(&self, there: &Context) -> xent::Result<InputTensors> {
        let floats = |x: &Option<Vec<f32>>| {
            let copy = |x: &Vec<f32>| Tensor::from_slice(x, &[x.len()])?.to(there);
            x.as_ref().map(copy).transpose()
        };
        Ok(InputTensors {
            logits: self.logits_tensor().to(there)?,
            targets: self.targets_tensor().to(there)?,
            class_weights: floats(&self.class_weights)?,
            row_weights: floats(&self.row_weights)?,
            dloss: floats(&self.dloss)?,
        })
    }

    /// Runs the case and holds every output against the reference and the promised bounds; the
    /// gradient also from the statistics.
    pub fn check(&self) {
        self.checked();
    }

    /// The same, and what the run gave.
    pub fn checked(&self) -> Output {
        let output = self.run();
        bounds::check(self, &output);
        let backward = self.backward(&output.stats);
        for (index, (a, b)) in output.dlogits.iter().zip(&backward).enumerate() {
            let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(same, "fused {a:e} and separate {b:e} differ at {index} of {:?}", self.problem);
        }
        output
    }
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
