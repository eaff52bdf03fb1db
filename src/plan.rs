//! The decision how to compute a problem, and its execution.

use std::fmt;
use std::sync::Arc;

use crate::call::Call;
use crate::cpu::parallel::Threads;
use crate::cpu::{self, Pass};
use crate::{Args, BackwardArgs, Context, Device, Problem, Result, Workspace};

/// A problem that is ready to run on a device, as often as one likes and from any thread at once.
///
/// ```
/// use xent::{Args, Context, DType, Outputs, Plan, Problem};
///
/// let problem = Problem::new(DType::F32, 3).outputs(Outputs::LOSS | Outputs::DLOGITS);
/// let plan = Plan::new(&Context::auto(), &problem)?;
/// let mut workspace = plan.workspace(2);
///
/// let logits = [1.0f32, 2.0, 3.0, 2.0, 4.0, 6.0];
/// let (mut loss, mut dlogits) = (0f32, [0f32; 6]);
/// let args = Args::new(&logits, &[0i64, 2]).loss(&mut loss).dlogits(&mut dlogits);
/// plan.run(args, &mut workspace)?;
/// assert!((loss - 1.2752688).abs() < 1e-6);
/// assert!((dlogits[0] + 0.45498471).abs() < 1e-7);
/// # Ok::<(), xent::Error>(())
/// ```
#[derive(Clone)]
pub struct Plan {
    problem: Problem,
    device: Device,
    threads: Arc<Threads>,
}

impl Plan {
    /// Checks the problem and chooses how to compute it.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for the first field of the problem that is
    /// outside its range or contradicts another.
    pub fn new(context: &Context, problem: &Problem) -> Result<Self> {
        problem.validate()?;
        Ok(Plan {
            problem: problem.clone(),
            device: context.device().clone(),
            threads: Arc::clone(context.threads()),
        })
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The device that runs it.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The name of what computes it, for logs.
    pub fn kernel_name(&self) -> &'static str {
        cpu::kernel_name(&self.problem)
    }

    /// The size in bytes of the workspace that a run of so many rows needs: a multiple of
    /// [`Workspace::ALIGNMENT`], never 0, and `usize::MAX` if it is more than that.
    pub fn workspace_size(&self, rows: usize) -> usize {
        let size = cpu::workspace_size(&self.problem, rows);
        size.checked_next_multiple_of(Workspace::ALIGNMENT).unwrap_or(usize::MAX)
    }

    /// Allocates a workspace for runs of up to so many rows.
    ///
    /// # Panics
    /// As [`Vec`] does if there is not so much memory.
    pub fn workspace(&self, rows: usize) -> Workspace<'static> {
        Workspace::allocate(self.workspace_size(rows))
    }

    /// Computes all outputs of the problem in one call.
    ///
    /// On the CPU it returns when they are written. It allocates nothing itself, but for `f64`
    /// logits; rayon may, for the queue of its threads.
    ///
    /// # Errors
    /// A buffer that is missing, not asked for, too short, of another type or shape, misaligned,
    /// or that overlaps an output; a denominator that is negative or not finite;
    /// [`Error::InvalidTarget`](crate::Error::InvalidTarget) for a class index that is no class.
    /// No output has then been written.
    pub fn run(&self, args: Args<'_>, workspace: &mut Workspace<'_>) -> Result<()> {
        let size = |rows| self.workspace_size(rows);
        let call = Call::forward(&self.problem, args, workspace, size)?;
        cpu::run(&self.problem, &call, Pass::Forward, &self.threads)
    }

    /// Computes the gradient from the statistics of a run, for an upstream gradient that was not
    /// known then. The problem names `STATS` among its outputs.
    ///
    /// The gradient is that of a run with `DLOGITS`, bit for bit.
    ///
    /// # Errors
    /// As [`Plan::run`]; [`Error::Unsupported`](crate::Error::Unsupported) where the problem does
    /// not name `STATS`.
    pub fn backward(&self, args: BackwardArgs<'_>, workspace: &mut Workspace<'_>) -> Result<()> {
        let size = |rows| self.workspace_size(rows);
        let call = Call::backward(&self.problem, args, workspace, size)?;
        cpu::run(&self.problem, &call, Pass::Backward, &self.threads)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("kernel", &self.kernel_name())
            .field("device", &self.device)
            .field("problem", &self.problem)
            .finish()
    }
}
