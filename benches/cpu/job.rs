//! Runs of the library, and the memory that they share.

use xent::{Args, Context, DType, Outputs, Plan, Problem, View, Workspace};

use crate::buffers::Buffer;

/// Inputs and outputs of all jobs of a size.
pub struct Buffers {
    pub rows: usize,
    pub logits: Buffer,
    pub gradient: Buffer,
    targets: Vec<i64>,
    soft: Vec<Buffer>,
    class_weights: Vec<f32>,
    row_weights: Vec<f32>,
    loss: f32,
}

impl Buffers {
    pub fn new(dtype: DType, rows: usize, classes: usize) -> Buffers {
        Buffers {
            rows,
            logits: Buffer::logits(dtype, rows * classes),
            gradient: Buffer::logits(dtype, rows * classes),
            targets: (0..rows).map(|row| (row * 7919 % classes) as i64).collect(),
            soft: Vec::new(),
            class_weights: (0..classes).map(|class| 0.5 + (class % 8) as f32 / 8.0).collect(),
            row_weights: (0..rows).map(|row| 0.5 + (row % 8) as f32 / 8.0).collect(),
            loss: 0.0,
        }
    }

    /// The same with targets that are probabilities of these types.
    pub fn with_soft(mut self, dtypes: &[DType]) -> Buffers {
        let (len, classes) = (self.rows * self.class_weights.len(), self.class_weights.len());
        let soft = dtypes.iter().map(|&dtype| Buffer::probabilities(dtype, len, classes));
        self.soft = soft.collect();
        self
    }

    pub fn soft(&self, dtype: DType) -> &Buffer {
        self.soft.iter().find(|buffer| buffer.dtype() == dtype).unwrap()
    }

    /// What a run in place overwrites.
    pub fn restore(&mut self) {
        self.gradient.lines_mut().copy_from_slice(self.logits.lines());
    }
}

/// A plan that is ready to run.
pub struct Job {
    plan: Plan,
    workspace: Workspace<'static>,
}

impl Job {
    pub fn new(context: &Context, problem: Problem, rows: usize) -> Job {
        let plan = Plan::new(context, &problem.expected_rows(rows)).unwrap();
        let workspace = plan.workspace(rows).unwrap();
        Job { plan, workspace }
    }

    pub fn run(&mut self, buffers: &mut Buffers) {
        let problem = self.plan.problem();
        let targets = match problem.targets_are_probabilities() {
            true => {
                buffers.soft.iter().find(|buffer| buffer.dtype() == problem.targets).unwrap().view()
            }
            false => View::from(&buffers.targets),
        };
        let mut args = match problem.in_place {
            true => Args::in_place(buffers.gradient.view_mut(), targets),
            false if problem.outputs.contains(Outputs::DLOGITS) => {
                Args::new(buffers.logits.view(), targets).dlogits(buffers.gradient.view_mut())
            }
            false => Args::new(buffers.logits.view(), targets),
        };
        if problem.class_weights {
            args = args.class_weights(&buffers.class_weights);
        }
        if problem.row_weights {
            args = args.row_weights(&buffers.row_weights);
        }
        self.plan.run(args.loss(&mut buffers.loss), &mut self.workspace).unwrap();
    }
}

/// Loss and gradient.
pub fn fused(dtype: DType, classes: usize) -> Problem {
    Problem::new(dtype, classes).outputs(Outputs::LOSS | Outputs::DLOGITS)
}
