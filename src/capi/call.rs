//! The arguments of a call, from C's structs to the plan.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use super::convert::{Outcome, choice, reach, size, strided, unsupported, zero};
use super::enums::xent_denominator;
use super::structs::*;
use crate::{
    Args, BackwardArgs, DType, Denominator, DeviceKind, Error, Layout, Outputs, Plan, Problem,
    Reduction, Stream, View, ViewMut, Workspace,
};

pub(super) const CPU_TARGETS: &str = "a run on the CPU answers XENT_STATUS_INVALID_TARGET itself";

/// The arguments of a call, next to the plan that says what they are.
pub(super) struct Call<'c> {
    plan: &'c Plan,
    problem: &'c Problem,
    args: &'c xent_args,
    outer: usize,
    inner: usize,
}

/// What all directions may read, in Rust's terms.
struct Inputs<'a> {
    class_weights: Option<View<'a>>,
    row_weights: Option<View<'a>>,
    element_weights: Option<View<'a>>,
    pos_weights: Option<View<'a>>,
    dloss: Option<View<'a>>,
    denominator: Denominator,
    device_denominator: Option<View<'a>>,
    stream: Option<Stream<'a>>,
    report: Option<ViewMut<'a>>,
}

/// Hands each view that is given to the setter of its name.
macro_rules! set {
    ($args:expr; $($setter:ident: $view:expr),* $(,)?) => {{
        let args = $args;
        $(let args = match $view {
            Some(view) => args.$setter(view),
            None => args,
        };)*
        args
    }};
}

/// Hands the inputs to either kind of arguments.
macro_rules! set_inputs {
    ($args:expr, $inputs:expr) => {{
        let inputs = $inputs;
        set! {
            $args.denominator(inputs.denominator);
            class_weights: inputs.class_weights,
            row_weights: inputs.row_weights,
            element_weights: inputs.element_weights,
            pos_weights: inputs.pos_weights,
            dloss: inputs.dloss,
            device_denominator: inputs.device_denominator,
            stream: inputs.stream,
            report: inputs.report,
        }
    }};
}

impl<'c> Call<'c> {
    pub fn new(plan: &'c Plan, args: &'c xent_args) -> Outcome<Self> {
        zero("reserved", args.reserved, "")?;
        let outer = size("outer", args.outer)?;
        let inner = size("inner", args.inner)?.max(1);
        let call = Call { plan, problem: plan.problem(), args, outer, inner };
        if !args.stream.is_null() && !call.on_gpu() {
            return Err(unsupported("stream: one of CUDA", "a plan on the CPU takes NULL"));
        }
        if !args.report.is_null() && !call.on_gpu() {
            return Err(unsupported("report: one in GPU memory", CPU_TARGETS));
        }
        Ok(call)
    }

    fn on_gpu(&self) -> bool {
        self.plan.device().kind() != DeviceKind::Cpu
    }

    /// # Safety
    /// The buffers are as long as the header says, and the caller's to read and write.
    pub unsafe fn run(&self) -> Outcome<()> {
        let (args, rows, problem) = (self.args, self.rows(), self.problem);
        let companion = problem.logits.companion();
        // SAFETY: the caller's promise.
        let run = unsafe {
            let logits =
                self.tensor("logits_strides", args.logits, args.logits_strides, problem.logits)?;
            let start = match self.targets()? {
                Some(targets) => Args::new(logits, targets),
                None => Args::without_targets(logits),
            };
            let of_t = |name, data, len| self.output(name, data, len, companion);
            let of_i64 =
                |name, data: *mut i64, len| self.output(name, data.cast(), len, DType::I64);
            set! {
                set_inputs!(start, self.inputs()?);
                loss: of_t(Outputs::LOSS, args.loss, self.losses()),
                lse: of_t(Outputs::LSE, args.lse, rows),
                stats: of_t(Outputs::STATS, args.stats, rows.saturating_mul(2)),
                dlogits: self.wide_output(
                    Outputs::DLOGITS,
                    args.dlogits,
                    self.layout("dlogits_strides", args.dlogits_strides)?,
                    problem.dlogits,
                ),
                output: self.wide_output(
                    Outputs::OUTPUT,
                    args.output,
                    self.layout("output_strides", args.output_strides)?,
                    problem.output,
                ),
                argmax: of_i64(Outputs::ARGMAX, args.argmax, rows),
                correct: of_i64(Outputs::CORRECT, args.correct, 1),
                entropy: of_t(Outputs::ENTROPY, args.entropy, rows),
            }
        };
        // SAFETY: the caller's promise.
        let mut workspace = unsafe { self.workspace() };
        Ok(self.plan.run(run, &mut workspace)?)
    }

    /// # Safety
    /// As for `run`.
    pub unsafe fn backward(&self, more: &xent_backward_args, double: bool) -> Outcome<()> {
        let (args, problem) = (self.args, self.problem);
        let layout = self.layout("dlogits_strides", args.dlogits_strides)?;
        let of_softmax = [
            ("output", !more.output.is_null(), more.output_strides),
            ("doutput", !more.doutput.is_null(), more.doutput_strides),
        ];
        let of_others = [
            ("logits", !args.logits.is_null(), args.logits_strides),
            ("targets", !args.targets.is_null(), args.target_strides),
            ("stats", !args.stats.is_null(), [0; 3]),
        ];
        let (reason, unused) = match problem.is_softmax() {
            true => ("the backward of a softmax reads its output", &of_others[..]),
            false => ("only the backward of a softmax reads it", &of_softmax[..]),
        };
        for &(field, given, strides) in unused {
            if given {
                return Err(Error::Unexpected { field, reason }.into());
            }
            zero(field, strides, " in the strides of what is NULL")?;
        }
        // SAFETY: the caller's promise.
        let run = unsafe {
            let dlogits = ViewMut::from_raw(args.dlogits.cast(), reach(&layout), problem.dlogits)
                .layout(layout);
            let start = if problem.is_softmax() {
                let tensor =
                    |field, data, strides| self.tensor(field, data, strides, problem.output);
                BackwardArgs::of_output(
                    tensor("output_strides", more.output, more.output_strides)?,
                    tensor("doutput_strides", more.doutput, more.doutput_strides)?,
                    dlogits,
                )
            } else {
                let (logits, strides) = (args.logits, args.logits_strides);
                let logits = self.tensor("logits_strides", logits, strides, problem.logits)?;
                let stats = View::from_raw(
                    args.stats.cast_const().cast(),
                    self.rows().saturating_mul(2),
                    problem.logits.companion(),
                );
                match self.targets()? {
                    Some(targets) => BackwardArgs::new(logits, targets, stats, dlogits),
                    None => return Err(unsupported("xent_backward", "add XENT_OUTPUT_DLOGITS")),
                }
            };
            let ddlogits = self.tensor(
                "ddlogits_strides",
                more.ddlogits,
                more.ddlogits_strides,
                problem.dlogits,
            )?;
            set! {
                set_inputs!(start, self.inputs()?);
                ddlogits: (double || !more.ddlogits.is_null()).then_some(ddlogits),
            }
        };
        // SAFETY: the caller's promise.
        let mut workspace = unsafe { self.workspace() };
        match double {
            true => self.plan.double_backward(run, &mut workspace)?,
            false => self.plan.backward(run, &mut workspace)?,
        }
        Ok(())
    }

    /// # Safety
    /// As for `run`.
    unsafe fn targets<'a>(&self) -> Outcome<Option<View<'a>>> {
        let (args, problem) = (self.args, self.problem);
        if !problem.has_targets() && args.targets.is_null() {
            zero("target_strides", args.target_strides, " without targets")?;
            return Ok(None);
        }
        if problem.targets_are_probabilities() {
            let (data, strides) = (args.targets, args.target_strides);
            // SAFETY: the caller's promise.
            return unsafe {
                self.tensor("target_strides", data, strides, problem.targets).map(Some)
            };
        }
        zero("target_strides", args.target_strides, " with class indices")?;
        // SAFETY: the caller's promise.
        Ok(Some(unsafe { View::from_raw(args.targets.cast(), self.rows(), problem.targets) }))
    }

    /// # Safety
    /// As for `run`.
    unsafe fn inputs<'a>(&self) -> Outcome<Inputs<'a>> {
        let (args, problem) = (self.args, self.problem);
        let companion = problem.logits.companion();
        let weights = size("class_weights_count", args.class_weights_count)?;
        let dloss = match args.dloss_stride {
            0 => 1,
            // One for each row is refused where the reduction leaves one loss.
            1 => self.losses().max(self.rows()),
            other => return Err(Error::invalid("dloss_stride", other, "0 or 1").into()),
        };
        // SAFETY: the caller's promise.
        let view =
            |data: *const c_void, len, dtype| unsafe { View::from_raw(data.cast(), len, dtype) };
        let (data, strides) = (args.element_weights, args.element_weights_strides);
        // SAFETY: the caller's promise.
        let of_elements =
            unsafe { self.tensor("element_weights_strides", data, strides, companion)? };
        Ok(Inputs {
            class_weights: (!args.class_weights.is_null() || weights != 0)
                .then(|| view(args.class_weights, weights, companion)),
            row_weights: self
                .given(args.row_weights, self.rows(), problem.row_weights)
                .then(|| view(args.row_weights, self.rows(), companion)),
            element_weights: self
                .given(data, of_elements.len, problem.element_weights)
                .then_some(of_elements),
            pos_weights: (!args.pos_weights.is_null())
                .then(|| view(args.pos_weights, problem.classes, companion)),
            dloss: (!args.dloss.is_null()).then(|| view(args.dloss, dloss, companion)),
            denominator: self.denominator()?,
            device_denominator: (!args.denominator_pointer.is_null())
                .then(|| view(args.denominator_pointer.cast(), 1, DType::F32)),
            // SAFETY: the caller's promise.
            stream: self.on_gpu().then(|| unsafe { Stream::from_raw(args.stream.cast()) }),
            // SAFETY: the caller's promise.
            report: (!args.report.is_null())
                .then(|| unsafe { ViewMut::from_raw(args.report.cast(), 4, DType::I64) }),
        })
    }

    /// A tensor of the shape of the logits.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn tensor<'a>(
        &self,
        field: &'static str,
        data: *const c_void,
        strides: [i64; 3],
        dtype: DType,
    ) -> Outcome<View<'a>> {
        let layout = self.layout(field, strides)?;
        // SAFETY: the caller's promise.
        Ok(unsafe { View::from_raw(data.cast(), reach(&layout), dtype) }.layout(layout))
    }

    fn denominator(&self) -> Outcome<Denominator> {
        let args = self.args;
        let kind = choice("denominator_kind", args.denominator_kind)?;
        let (pointer, given) = (xent_denominator::Pointer, !args.denominator_pointer.is_null());
        if (kind == pointer || given) && !self.on_gpu() {
            let instead = "on the CPU, give XENT_DENOMINATOR_VALUE and denominator_value";
            return Err(unsupported("denominator_pointer: one in GPU memory", instead));
        }
        if kind == pointer && !given {
            let reason = "denominator_kind is XENT_DENOMINATOR_POINTER";
            return Err(Error::Missing { field: "denominator_pointer", reason }.into());
        }
        if kind != pointer && given {
            let reason = "denominator_kind is not XENT_DENOMINATOR_POINTER";
            return Err(Error::Unexpected { field: "denominator_pointer", reason }.into());
        }
        if kind == xent_denominator::Value {
            return Ok(Denominator::Value(args.denominator_value));
        }
        let unless = " unless denominator_kind is XENT_DENOMINATOR_VALUE";
        zero("denominator_value", args.denominator_value, unless)?;
        Ok(Denominator::Default)
    }

    /// # Safety
    /// As for `run`.
    unsafe fn wide_output<'a>(
        &self,
        name: Outputs,
        data: *mut c_void,
        layout: Layout,
        dtype: DType,
    ) -> Option<ViewMut<'a>> {
        // SAFETY: the caller's promise.
        let view = unsafe { self.output(name, data, reach(&layout), dtype) };
        view.map(|view| view.layout(layout))
    }

    /// # Safety
    /// As for `run`.
    unsafe fn output<'a>(
        &self,
        name: Outputs,
        data: *mut c_void,
        len: usize,
        dtype: DType,
    ) -> Option<ViewMut<'a>> {
        let given = self.given(data, len, self.problem.outputs.contains(name));
        // SAFETY: the caller's promise.
        given.then(|| unsafe { ViewMut::from_raw(data.cast(), len, dtype) })
    }

    /// # Safety
    /// As for `run`.
    unsafe fn workspace<'a>(&self) -> Workspace<'a> {
        // SAFETY: the caller's promise.
        unsafe { Workspace::from_raw(self.args.workspace.cast(), self.args.workspace_size) }
    }

    /// Whether a buffer is given: NULL is one, too, if it is wanted and has no elements.
    fn given(&self, data: *const c_void, len: usize, wanted: bool) -> bool {
        !data.is_null() || (wanted && len == 0)
    }

    /// How many losses the reduction leaves.
    fn losses(&self) -> usize {
        match self.problem.reduction {
            Reduction::None | Reduction::RowMean => self.rows(),
            Reduction::Elements => self.rows().saturating_mul(self.problem.classes),
            Reduction::Mean | Reduction::Sum | Reduction::BatchMean => 1,
        }
    }

    /// Rows, or so many that the checks of the logits refuse them.
    fn rows(&self) -> usize {
        self.outer.saturating_mul(self.inner)
    }

    fn layout(&self, field: &'static str, strides: [i64; 3]) -> Outcome<Layout> {
        let packed = Layout::packed(self.outer, self.problem.classes, self.inner);
        strided(field, packed, strides)
    }
}

impl From<xent_backward_args> for xent_args {
    fn from(args: xent_backward_args) -> Self {
        xent_args {
            struct_size: size_of::<xent_args>(),
            outer: args.outer,
            inner: args.inner,
            logits: args.logits,
            logits_strides: args.logits_strides,
            targets: args.targets,
            target_strides: args.target_strides,
            class_weights: args.class_weights,
            class_weights_count: args.class_weights_count,
            row_weights: args.row_weights,
            dloss: args.dloss,
            dloss_stride: args.dloss_stride,
            denominator_kind: args.denominator_kind,
            reserved: args.reserved,
            denominator_value: args.denominator_value,
            denominator_pointer: args.denominator_pointer,
            loss: null_mut(),
            lse: null_mut(),
            stats: args.stats.cast_mut(),
            dlogits: args.dlogits,
            dlogits_strides: args.dlogits_strides,
            argmax: null_mut(),
            correct: null_mut(),
            entropy: null_mut(),
            report: args.report,
            workspace: args.workspace,
            workspace_size: args.workspace_size,
            stream: args.stream,
            element_weights: null(),
            element_weights_strides: [0; 3],
            pos_weights: null(),
            output: null_mut(),
            output_strides: [0; 3],
        }
    }
}
