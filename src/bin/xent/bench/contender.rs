//! Who computes a cell.

use std::time::Instant;

use xent::{Args, BackwardArgs, Context, Denominator, Plan, Result, Workspace};

use super::buffers::Call;
use super::cell::{Cell, Mode};
use super::report::PlanSeconds;

/// Something that computes a cell in some mode. The tests have some that do it wrong.
pub trait Contender {
    fn mode(&self) -> Mode;

    /// What its kernel is called.
    fn kernel(&self) -> &str;

    /// Puts a run on the stream of a call.
    ///
    /// # Errors
    /// As [`Plan::run`].
    fn run(&mut self, call: &Call<'_>) -> Result<()>;
}

/// This library.
pub struct Library {
    mode: Mode,
    plan: Plan,
    workspace: Workspace<'static>,
}

impl Library {
    /// Makes a plan twice: where nothing is in the context's cache of kernels yet, it has to compile
    /// them the first time.
    ///
    /// # Errors
    /// As [`Plan::new`] and [`Plan::workspace`].
    pub fn new(context: &Context, cell: &Cell, mode: Mode) -> Result<(Library, PlanSeconds)> {
        let problem = cell.problem(mode);
        let timed = || {
            let start = Instant::now();
            Plan::new(context, &problem).map(|plan| (plan, start.elapsed().as_secs_f64()))
        };
        let (first, cold) = timed()?;
        drop(first); // and with it the kernels in memory
        let (plan, cached) = timed()?;
        let workspace = plan.workspace(cell.rows)?;
        Ok((Library { mode, plan, workspace }, PlanSeconds { cold, cached }))
    }
}

impl Contender for Library {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn kernel(&self) -> &str {
        self.plan.kernel_name()
    }

    fn run(&mut self, call: &Call<'_>) -> Result<()> {
        let denominator = call.denominator.map_or(Denominator::Default, Denominator::Value);
        macro_rules! with_weights {
            ($args:expr) => {{
                let mut args = $args.denominator(denominator);
                if let Some(stream) = call.stream {
                    args = args.stream(stream);
                }
                if let Some(weights) = call.class_weights() {
                    args = args.class_weights(weights);
                }
                if let Some(weights) = call.row_weights() {
                    args = args.row_weights(weights);
                }
                args
            }};
        }
        let targets = call.targets();
        let args = match self.mode {
            Mode::InPlace => Args::in_place(call.gradient(), targets),
            Mode::Fused => Args::new(call.logits(), targets).dlogits(call.gradient()),
            Mode::Separate => Args::new(call.logits(), targets).stats(call.stats()),
            Mode::Forward => Args::new(call.logits(), targets),
        };
        self.plan.run(with_weights!(args.loss(call.loss())), &mut self.workspace)?;
        if self.mode == Mode::Separate {
            let stats = call.stats_to_read();
            let args = BackwardArgs::new(call.logits(), targets, stats, call.gradient());
            self.plan.backward(with_weights!(args), &mut self.workspace)?;
        }
        Ok(())
    }
}
