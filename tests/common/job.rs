//! A small run on a GPU, with its buffers.
#![cfg(all(feature = "cuda", target_os = "linux"))]

use xent::{
    Args, BackwardArgs, Context, DType, Outputs, Plan, Problem, Reduction, Report, Result, Stream,
    Tensor, Workspace,
};

/// A plan, and buffers for it that the library allocated.
pub struct Job {
    pub plan: Plan,
    pub rows: usize,
    pub logits: Tensor,
    pub targets: Tensor,
    pub loss: Tensor,
    pub stats: Tensor,
    pub dlogits: Tensor,
    pub separate: Tensor,
    pub report: Tensor,
    pub workspace: Workspace<'static>,
}

/// The mean over rows of these classes, its gradient, and what the gradient can be computed from.
pub fn problem(classes: usize) -> Problem {
    Problem::new(DType::F32, classes)
        .reduction(Reduction::Mean)
        .outputs(Outputs::LOSS | Outputs::STATS | Outputs::DLOGITS)
}

/// Logits that differ from seed to seed.
pub fn logits(seed: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + seed * 5) % 23) as f32 / 3.0 - seed as f32 / 8.0).collect()
}

/// Targets below 5.
pub fn targets(rows: usize) -> Vec<i64> {
    (0..rows).map(|row| (row * 3 % 5) as i64).collect()
}

impl Job {
    pub fn new(context: &Context, rows: usize, classes: usize, seed: usize) -> Job {
        Job::with(&Plan::new(context, &problem(classes)).unwrap(), context, rows, seed)
    }

    /// Another one of the same plan.
    pub fn with(plan: &Plan, context: &Context, rows: usize, seed: usize) -> Job {
        let classes = plan.problem().classes;
        let there = |tensor: Result<Tensor>| tensor.unwrap().to(context).unwrap();
        let zeros = |dtype, shape: &[usize]| there(Tensor::zeros(dtype, shape));
        let losses = if plan.problem().reduction == Reduction::None { rows } else { 1 };
        Job {
            plan: plan.clone(),
            rows,
            logits: there(Tensor::from_slice(&logits(seed, rows * classes), &[rows, classes])),
            targets: there(Tensor::from_slice(&targets(rows), &[rows])),
            loss: zeros(DType::F32, &[losses]),
            stats: zeros(DType::F32, &[2 * rows]),
            dlogits: zeros(DType::F32, &[rows, classes]),
            separate: zeros(DType::F32, &[rows, classes]),
            report: zeros(DType::I64, &[Report::LEN]),
            workspace: plan.workspace(rows).unwrap(),
        }
    }

    pub fn run(&mut self, stream: Stream<'_>) -> Result<()> {
        let args = Args::new(&self.logits, &self.targets).loss(&mut self.loss);
        let args = args.stats(&mut self.stats).dlogits(&mut self.dlogits).stream(stream);
        self.plan.run(args, &mut self.workspace)
    }

    pub fn backward(&mut self, stream: Stream<'_>) -> Result<()> {
        let args = BackwardArgs::new(&self.logits, &self.targets, &self.stats, &mut self.separate);
        self.plan.backward(args.stream(stream), &mut self.workspace)
    }

    /// The loss and both gradients, when the GPU is done; their bits.
    pub fn found(&self) -> Vec<u32> {
        let floats = |tensor: &Tensor| tensor.to_vec::<f32>().unwrap();
        let all = [&self.loss, &self.dlogits, &self.separate].map(floats).concat();
        all.into_iter().map(f32::to_bits).collect()
    }
}
