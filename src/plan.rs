//! The decision how to compute a problem, and its execution.

use std::fmt;
use std::sync::Arc;

use crate::call::Call;
use crate::context::Backend;
use crate::cpu::{self, Processor};
use crate::cuda::kernels::{Kernels, Session};
use crate::log;
use crate::site::Site;
use crate::{
    Args, BackwardArgs, Context, DType, Device, DeviceKind, Error, Problem, Report, Result, Stream,
    View, Workspace,
};

/// A problem that is ready to run on a device, as often as one likes and from any thread at once.
///
/// ```
/// use xent::{Args, Context, DType, Outputs, Plan, Problem};
///
/// let problem = Problem::new(DType::F32, 3).outputs(Outputs::LOSS | Outputs::DLOGITS);
/// let plan = Plan::new(&Context::cpu(), &problem)?;
/// let mut workspace = plan.workspace(2)?;
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
    runner: Runner,
}

/// What computes a plan.
#[derive(Clone)]
enum Runner {
    Cpu(Arc<Processor>),
    Cuda(Arc<Kernels>),
}

impl Plan {
    /// Checks the problem and chooses how to compute it.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for the first field of the problem that is
    /// outside its range or contradicts another. On a GPU, also
    /// [`Error::Unsupported`](crate::Error::Unsupported) for `f64` logits, and those of compiling and
    /// loading; [`Error::Unavailable`](crate::Error::Unavailable) also where there is no NVRTC, and the
    /// kernels that were compiled ahead lack one of this problem.
    pub fn new(context: &Context, problem: &Problem) -> Result<Self> {
        problem.validate()?;
        let runner = match context.backend() {
            Backend::Cpu(processor) => Runner::Cpu(Arc::clone(processor)),
            Backend::Cuda(_) if problem.logits == DType::F64 => {
                return Err(Error::Unsupported {
                    what: "logits of type f64 on a GPU".into(),
                    instead: "use f32, f16 or bf16, or the CPU".into(),
                });
            }
            Backend::Cuda(engine) => Runner::Cuda(engine.kernels(problem)?),
        };
        let plan = Plan { problem: problem.clone(), device: context.device().clone(), runner };
        let (dtype, classes) = (problem.logits, problem.classes);
        let (device, kernel) = (&plan.device, plan.kernel_name());
        let reason = match &plan.runner {
            Runner::Cuda(kernels) => kernels.reason(problem),
            Runner::Cpu(_) => String::new(),
        };
        log::line(format_args!("{dtype} logits, {classes} classes, on {device}: {kernel}{reason}"));
        Ok(plan)
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
    pub fn kernel_name(&self) -> &str {
        match &self.runner {
            Runner::Cpu(processor) => cpu::kernel_name(&self.problem, processor),
            Runner::Cuda(kernels) => kernels.name(),
        }
    }

    /// The size in bytes of the workspace that a run of so many rows needs: a multiple of
    /// [`Workspace::ALIGNMENT`], never 0, and `usize::MAX` if it is more than that.
    pub fn workspace_size(&self, rows: usize) -> usize {
        let size = match &self.runner {
            Runner::Cpu(processor) => cpu::workspace_size(&self.problem, rows, processor),
            Runner::Cuda(kernels) => kernels.workspace_size(&self.problem, rows),
        };
        size.checked_next_multiple_of(Workspace::ALIGNMENT).unwrap_or(usize::MAX)
    }

    /// Allocates a workspace for runs of up to so many rows.
    ///
    /// # Errors
    /// [`Error::Resource`](crate::Error::Resource) or [`Error::Cuda`](crate::Error::Cuda) if there is
    /// not so much memory.
    pub fn workspace(&self, rows: usize) -> Result<Workspace<'static>> {
        let size = self.workspace_size(rows);
        match &self.runner {
            Runner::Cpu(_) => Workspace::allocate(size),
            Runner::Cuda(kernels) => Ok(Workspace::on_gpu(kernels.allocate(size)?)),
        }
    }

    /// Computes all outputs of the problem in one call.
    ///
    /// On the CPU it returns when they are written. It allocates nothing itself, but for `f64`
    /// logits; rayon may, for the queue of its threads.
    ///
    /// On a GPU it puts kernels on the stream of the arguments and returns: it allocates nothing,
    /// neither synchronises nor makes an event, and may be captured in a CUDA graph. All buffers must
    /// stay until the stream has done the work.
    ///
    /// # Errors
    /// A buffer that is missing, not asked for, too short, of another type or shape, misaligned,
    /// on another device, or that overlaps an output; a denominator that is negative or not finite;
    /// on the CPU [`Error::InvalidTarget`](crate::Error::InvalidTarget) for a class index that is no
    /// class. No output has then been written. [`Error::Cuda`](crate::Error::Cuda) where the driver
    /// refuses a launch: some of the work may then be done.
    pub fn run(&self, args: Args<'_>, workspace: &mut Workspace<'_>) -> Result<()> {
        let visit = self.visit()?;
        let call = Call::forward(&self.problem, args, workspace, &visit)?;
        visit.compute(&call)
    }

    /// Computes the gradient from the statistics of a run, for an upstream gradient that was not
    /// known then. The problem names `STATS` among its outputs.
    ///
    /// The gradient is that of a run with `DLOGITS`, bit for bit.
    ///
    /// Of a softmax or its logarithm, it is made of their output and its upstream gradient
    /// ([`BackwardArgs::of_output`]).
    ///
    /// # Errors
    /// As [`Plan::run`]; [`Error::Unsupported`](crate::Error::Unsupported) where the problem does
    /// not name `STATS`.
    pub fn backward(&self, args: BackwardArgs<'_>, workspace: &mut Workspace<'_>) -> Result<()> {
        let visit = self.visit()?;
        let call = Call::backward(&self.problem, args, workspace, &visit)?;
        visit.compute(&call)
    }

    /// Computes the derivative of the gradient in a direction: the Hessian of the loss of each row
    /// times `ddlogits` of this row, times the upstream gradient, from the statistics of a run. This is
    /// what the backward of a backward hands on to the logits.
    ///
    /// For p and stats of [`Plan::run`], a row's weights u of the log-probabilities, z-loss a, scale k
    /// and direction v, with m = sum(p v):
    /// k^2 (p (v - m) (sum(u) + 2 a lse) + 2 a p m).
    ///
    /// # Errors
    /// As [`Plan::backward`]; [`Error::Unsupported`](crate::Error::Unsupported) with a softcap.
    pub fn double_backward(
        &self,
        args: BackwardArgs<'_>,
        workspace: &mut Workspace<'_>,
    ) -> Result<()> {
        let visit = self.visit()?;
        let call = Call::double_backward(&self.problem, args, workspace, &visit)?;
        visit.compute(&call)
    }

    /// Waits for a stream of a GPU and reads a report that runs have written. The only call that
    /// synchronises.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) on the CPU, where a run refuses such targets
    /// itself; a report that is not four `i64` in memory of the GPU;
    /// [`Error::Cuda`](crate::Error::Cuda) if the GPU failed.
    pub fn report<'a>(
        &self,
        report: impl Into<View<'a>>,
        stream: impl Into<Stream<'a>>,
    ) -> Result<Report> {
        let visit = self.visit()?;
        let At::Cuda(session) = &visit.at else {
            return Err(Error::Unsupported {
                what: "a report of a plan on the CPU".into(),
                instead: "a run answers with an error".into(),
            });
        };
        let stream = stream.into();
        let address = Call::report(&self.problem, &report.into(), stream, &visit)?;
        let [count, row, value, _] = session.read(address, stream.as_raw())?;
        Ok(Report { count, row, value })
    }

    fn visit(&self) -> Result<Visit<'_>> {
        let at = match &self.runner {
            Runner::Cpu(processor) => At::Cpu(processor),
            Runner::Cuda(kernels) => At::Cuda(kernels.enter()?),
        };
        Ok(Visit { plan: self, at })
    }
}

/// A plan during one call.
struct Visit<'p> {
    plan: &'p Plan,
    at: At<'p>,
}

/// Where the call is.
enum At<'p> {
    Cpu(&'p Processor),
    Cuda(Session<'p>),
}

impl Visit<'_> {
    fn compute(&self, call: &Call) -> Result<()> {
        let problem = &self.plan.problem;
        match &self.at {
            At::Cpu(processor) => cpu::run(problem, call, processor),
            // What the host makes of a denominator does not depend on the caller's rounding mode.
            At::Cuda(session) => cpu::float_env::with_default(|| session.run(problem, call)),
        }
    }
}

impl Site for Visit<'_> {
    fn gpu(&self) -> Option<u32> {
        match self.plan.device.kind() {
            DeviceKind::Cpu => None,
            DeviceKind::Cuda { ordinal } => Some(ordinal),
        }
    }

    fn foreign(&self, address: usize) -> Result<Option<String>> {
        match &self.at {
            At::Cpu(_) => Ok(None),
            At::Cuda(session) => session.foreign(address),
        }
    }

    fn workspace_size(&self, rows: usize) -> usize {
        self.plan.workspace_size(rows)
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
