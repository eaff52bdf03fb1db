//! One call, checked: what comes out of here is safe to compute.

use std::ffi::c_void;

use crate::checks::Checks;
use crate::site::Site;
use crate::workspace::Workspace;
use crate::{
    Args, BackwardArgs, DType, Denominator, Error, Outputs, Problem, Reduction, Report, Result,
    Stream, View,
};

/// A checked call: every address is valid, aligned, long enough and apart from the outputs.
/// Outputs that are not wanted are `None`. *T* is [`DType::companion`] of the logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub work: Work,
    pub rows: usize,
    /// Rows after the class axis; row r is (r / inner, r % inner).
    pub inner: usize,
    /// The logits, or in the backward of a softmax its output.
    pub logits: Strided,
    /// One index for each row (`inner` apart), or probabilities of the shape of the logits; the logits
    /// again in an operation without targets.
    pub targets: Strided,
    pub class_weights: Option<*const u8>,
    pub row_weights: Option<*const u8>,
    pub element_weights: Option<Strided>,
    pub pos_weights: Option<*const u8>,
    pub dloss: Option<Upstream>,
    pub denominator: Denominator,
    /// Written by a forward run, read by a backward one.
    pub stats: Option<*mut u8>,
    pub loss: Option<*mut u8>,
    pub lse: Option<*mut u8>,
    pub dlogits: Option<Strided>,
    /// The softmax or its logarithm.
    pub output: Option<Strided>,
    /// The upstream gradient of a softmax, or of a gradient.
    pub upstream: Option<Strided>,
    pub argmax: Option<*mut i64>,
    pub correct: Option<*mut i64>,
    pub entropy: Option<*mut u8>,
    pub workspace: *mut u8,
    #[allow(dead_code)] // where the CUDA path is not built
    pub on_gpu: OnGpu,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// From the logits to all outputs.
    Forward,
    /// From the logits and statistics, or from the output of a softmax, to the gradient.
    Backward,
    /// From the logits, statistics and a direction to the derivative of the gradient in it.
    DoubleBackward,
}

/// What only a run on a GPU has.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)] // as above
pub(crate) struct OnGpu {
    pub stream: *mut c_void,
    pub report: Option<*mut u8>,
    pub denominator: Option<*const u8>,
}

/// A tensor of shape (outer, classes, inner).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided {
    pub data: *mut u8,
    pub dtype: DType,
    pub strides: [usize; 3],
}

/// The upstream gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream {
    pub data: *const u8,
    pub per: Per,
}

/// What there is one number for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Per {
    Batch,
    Row,
    /// (outer, classes, inner), packed.
    Element,
}

impl Per {
    /// What there is one loss for.
    pub fn loss(problem: &Problem) -> Per {
        match problem.reduction {
            Reduction::None | Reduction::RowMean => Per::Row,
            Reduction::Elements => Per::Element,
            Reduction::Mean | Reduction::Sum | Reduction::BatchMean => Per::Batch,
        }
    }

    /// How many numbers that is.
    pub fn count(self, rows: usize, classes: usize) -> usize {
        match self {
            Per::Batch => 1,
            Per::Row => rows,
            Per::Element => rows.saturating_mul(classes),
        }
    }
}

impl Call {
    pub fn forward(
        problem: &Problem,
        args: Args<'_>,
        workspace: &mut Workspace<'_>,
        site: &dyn Site,
    ) -> Result<Call> {
        let mut checks =
            Checks::new(problem, "logits", &args.inputs.logits, args.inputs.stream, site)?;
        let mut call =
            checks.inputs(Work::Forward, &args.inputs, problem.logits, problem.has_targets())?;
        let (rows, one) = (call.rows, 1);
        let per_loss = Per::loss(problem).count(rows, problem.classes);
        let t = problem.logits.companion();
        call.loss = checks.output("loss", Outputs::LOSS, &args.loss, t, per_loss)?;
        call.lse = checks.output("lse", Outputs::LSE, &args.lse, t, rows)?;
        let two = rows.saturating_mul(2);
        call.stats = checks.output("stats", Outputs::STATS, &args.stats, t, two)?;
        let argmax = checks.output("argmax", Outputs::ARGMAX, &args.argmax, DType::I64, rows)?;
        call.argmax = argmax.map(|data| data.cast());
        let correct = checks.output("correct", Outputs::CORRECT, &args.correct, DType::I64, one)?;
        call.correct = correct.map(|data| data.cast());
        call.entropy = checks.output("entropy", Outputs::ENTROPY, &args.entropy, t, rows)?;
        checks.wanted("output", Outputs::OUTPUT, args.output.is_some())?;
        if let Some(output) = &args.output {
            let replaces = ("logits", call.logits);
            call.output = Some(checks.tensor("output", output, problem.output, replaces)?);
        }
        checks.wanted("dlogits", Outputs::DLOGITS, args.dlogits.is_some())?;
        match &args.dlogits {
            Some(dlogits) => {
                let replaces = ("logits", call.logits);
                call.dlogits =
                    Some(checks.tensor("dlogits", dlogits, problem.dlogits, replaces)?);
            }
            None if args.inputs.dloss.is_some() => {
                let reason = "only a gradient reads it, and the problem's outputs name none";
                return Err(Error::Unexpected { field: "dloss", reason });
            }
            None => (),
        }
        checks.finish(call, workspace)
    }

    pub fn backward(
        problem: &Problem,
        args: BackwardArgs<'_>,
        workspace: &mut Workspace<'_>,
        site: &dyn Site,
    ) -> Result<Call> {
        if let (Some(_), reason) = (args.ddlogits, "only a double backward reads it") {
            return Err(Error::Unexpected { field: "ddlogits", reason });
        }
        if problem.is_softmax() {
            return Self::backward_of_output(problem, args, workspace, site);
        }
        let (checks, call) = Self::from_stats(Work::Backward, problem, &args, site)?;
        checks.finish(call, workspace)
    }

    pub fn double_backward(
        problem: &Problem,
        args: BackwardArgs<'_>,
        workspace: &mut Workspace<'_>,
        site: &dyn Site,
    ) -> Result<Call> {
        if problem.softcap.is_some() {
            return Err(Error::Unsupported {
                what: "double backward of a problem with a softcap".into(),
                instead: "unset the softcap".into(),
            });
        }
        let (mut checks, mut call) = Self::from_stats(Work::DoubleBackward, problem, &args, site)?;
        let Some(ddlogits) = &args.ddlogits else {
            return Err(Error::Missing { field: "ddlogits", reason: "a double backward reads it" });
        };
        call.upstream = Some(checks.strided("ddlogits", ddlogits, problem.dlogits, false)?);
        checks.finish(call, workspace)
    }

    /// What starts from the statistics of a run.
    fn from_stats<'p>(
        work: Work,
        problem: &'p Problem,
        args: &BackwardArgs<'p>,
        site: &'p dyn Site,
    ) -> Result<(Checks<'p>, Call)> {
        if !problem.outputs.contains(Outputs::STATS) {
            let what = if work == Work::Backward { "backward" } else { "double backward" };
            let instead = match problem.is_fused() {
                true => "add STATS to the outputs, or DLOGITS to compute all in one run",
                false => "add DLOGITS to the outputs, to compute all in one run",
            };
            return Err(Error::Unsupported {
                what: format!("{what} of a problem whose outputs do not name stats"),
                instead: instead.into(),
            });
        }
        if args.doutput.is_some() {
            let reason = "only the backward of a softmax reads it";
            return Err(Error::Unexpected { field: "doutput", reason });
        }
        let mut checks =
            Checks::new(problem, "logits", &args.inputs.logits, args.inputs.stream, site)?;
        let mut call = checks.inputs(work, &args.inputs, problem.logits, true)?;
        let Some(stats) = &args.stats else {
            return Err(Error::Missing { field: "stats", reason: "the gradient is made of them" });
        };
        let two = call.rows.saturating_mul(2);
        let stats = checks.packed("stats", stats, problem.logits.companion(), two, false)?;
        call.stats = Some(stats.cast_mut());
        let replaces = ("logits", call.logits);
        call.dlogits = Some(checks.tensor("dlogits", &args.dlogits, problem.dlogits, replaces)?);
        Ok((checks, call))
    }

    fn backward_of_output(
        problem: &Problem,
        args: BackwardArgs<'_>,
        workspace: &mut Workspace<'_>,
        site: &dyn Site,
    ) -> Result<Call> {
        if args.stats.is_some() {
            let reason = "the backward of a softmax reads its output";
            return Err(Error::Unexpected { field: "stats", reason });
        }
        let inputs = &args.inputs;
        let mut checks = Checks::new(problem, "output", &inputs.logits, inputs.stream, site)?;
        let mut call = checks.inputs(Work::Backward, inputs, problem.output, false)?;
        let Some(doutput) = &args.doutput else {
            return Err(Error::Missing { field: "doutput", reason: "the gradient is made of it" });
        };
        let doutput = checks.strided("doutput", doutput, problem.output, false)?;
        call.upstream = Some(doutput);
        let replaces = ("doutput", doutput);
        call.dlogits = Some(checks.tensor("dlogits", &args.dlogits, problem.dlogits, replaces)?);
        checks.finish(call, workspace)
    }

    /// The address of a report, checked.
    pub fn report(
        problem: &Problem,
        report: &View<'_>,
        stream: Stream<'_>,
        site: &dyn Site,
    ) -> Result<*const u8> {
        let none = View::from(&[0f32; 0]);
        let mut checks = Checks::new(problem, "logits", &none, Some(stream), site)?;
        checks.packed("report", report, DType::I64, Report::LEN, false)
    }
}
