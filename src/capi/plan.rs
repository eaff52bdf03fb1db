//! Plans.

use std::ffi::{CString, c_char};

use super::context::xent_context;
use super::convert::{Outcome, bits, choice, handle, load, result, size, zero};
use super::types::*;
use super::{c_string, destroy, guard};
use crate::{
    Clip, DType, EmptyMean, Form, Operation, Outputs, Plan, Problem, Reduction, Renormalise, Unit,
};

/// A problem that is ready to run on a device. Made by xent_plan_create, freed by
/// xent_plan_destroy.
///
/// Immutable: any threads may run it at once, each with outputs and a workspace of its own.
pub struct xent_plan {
    pub(super) plan: Plan,
    kernel_name: CString,
}

/// Checks a problem and chooses how to compute it; on a GPU, compiles the kernels, or takes those
/// of another plan or of the cache.
///
/// Allocates; on a GPU, memory for code too, which may wait for the GPU and must not be done while
/// a stream is captured.
///
/// @param context  need not outlive the plan
/// @param problem  read only during the call
/// @param out      the plan, which is the caller's; untouched if the call fails
/// @return XENT_STATUS_OK; XENT_STATUS_UNSUPPORTED for what the device does not do: f64 on a GPU, and all
///         but the cross entropy of logits;
///         XENT_STATUS_DEVICE_UNAVAILABLE if the kernels cannot be compiled; XENT_STATUS_CUDA if
///         the driver fails; XENT_STATUS_OUT_OF_RESOURCES if there is no memory for them; the 1xx
///         of wrong arguments
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_plan_create(
    context: *const xent_context,
    problem: *const xent_problem,
    out: *mut *mut xent_plan,
) -> xent_status {
    guard(|| {
        // SAFETY: the caller's handle and struct.
        let (context, problem) = unsafe { (handle("context", context)?, load(problem)?) };
        let out = result("out", out)?;
        let plan = Plan::new(&context.context, &rust_problem(&problem)?)?;
        let kernel_name = c_string(plan.kernel_name());
        let handle = Box::into_raw(Box::new(xent_plan { plan, kernel_name }));
        // SAFETY: the caller's variable, which is not NULL.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Frees a plan. NULL is fine. No other thread may use it during the call or later; on a GPU, its
/// runs are done, and the graphs that captured them are gone. May wait for the GPU.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_plan_destroy(plan: *mut xent_plan) {
    // SAFETY: the caller's handle.
    unsafe { destroy(plan) }
}

/// The size of the workspace that a run of so many rows needs. It does not shrink as rows grow.
///
/// For programs that allocate it themselves; xent_workspace_create does it for others. Does not
/// allocate, nor ask the device.
///
/// @param plan  the plan
/// @param rows  outer times inner, at least 0
/// @param out   bytes: never 0, and a multiple of XENT_WORKSPACE_ALIGNMENT, as aligned_alloc wants
///              it; untouched if the call fails
/// @return XENT_STATUS_OK, or the 1xx of wrong arguments
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_plan_workspace_size(
    plan: *const xent_plan,
    rows: i64,
    out: *mut usize,
) -> xent_status {
    guard(|| {
        // SAFETY: the caller's handle.
        let plan = unsafe { handle("plan", plan)? };
        let out = result("out", out)?;
        let bytes = plan.plan.workspace_size(size("rows", rows)?);
        // SAFETY: the caller's variable, which is not NULL.
        unsafe { out.write(bytes) };
        Ok(())
    })
}

/// The name of what computes the problem, for logs; on a GPU, that of the kernel for the rows, as
/// profilers show it. "" for NULL.
///
/// The text is the plan's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_plan_kernel_name(plan: *const xent_plan) -> *const c_char {
    // SAFETY: NULL, or a handle of the caller.
    let plan = unsafe { plan.as_ref() };
    plan.map_or(c"", |plan| &plan.kernel_name).as_ptr()
}

fn rust_problem(problem: &xent_problem) -> Outcome<Problem> {
    let operation = choice("operation", problem.operation)?;
    let softmax = matches!(operation, xent_operation::Softmax | xent_operation::LogSoftmax);
    let outputs = match bits::<xent_output>("outputs", problem.outputs)? {
        0 if softmax => Outputs::OUTPUT,
        0 => Outputs::LOSS,
        outputs => Outputs::from_bits_retain(outputs),
    };
    let flags = bits::<xent_flag>("flags", problem.flags)?;
    let has = |flag: xent_flag| flags & flag as u32 != 0;
    let logits = choice("logits_dtype", problem.logits_dtype)?.or(DType::F32);

    let mut ours = Problem::new(logits, size("classes", problem.classes)?);
    ours.dlogits = choice("dlogits_dtype", problem.dlogits_dtype)?.or(logits);
    ours.targets = choice("target_type", problem.target_type)?.into();
    ours.outputs = outputs;
    ours.reduction = match choice("reduction", problem.reduction)? {
        xent_reduction::Mean => Reduction::Mean,
        xent_reduction::None => Reduction::None,
        xent_reduction::Sum => Reduction::Sum,
        xent_reduction::BatchMean => Reduction::BatchMean,
        xent_reduction::RowMean => Reduction::RowMean,
        xent_reduction::Elements => Reduction::Elements,
    };
    set_operation(&mut ours, problem)?;
    if has(xent_flag::EmptyMeanZero) {
        ours.empty_mean = EmptyMean::Zero;
    }
    if has(xent_flag::IgnoreIndex) {
        ours.ignore_index = Some(problem.ignore_index);
    } else {
        zero("ignore_index", problem.ignore_index, " without XENT_FLAG_IGNORE_INDEX in flags")?;
    }
    ours.class_weights = has(xent_flag::ClassWeights);
    ours.row_weights = has(xent_flag::RowWeights);
    ours.element_weights = has(xent_flag::ElementWeights);
    ours.pos_weights = has(xent_flag::PosWeights);
    ours.log_targets = has(xent_flag::LogTargets);
    ours.in_place = has(xent_flag::InPlace);
    ours.label_smoothing = problem.label_smoothing;
    ours.z_loss = problem.z_loss;
    if problem.logit_scale != 0.0 {
        ours.logit_scale = problem.logit_scale;
    }
    if problem.softcap != 0.0 {
        ours.softcap = Some(problem.softcap);
    }
    ours.expected_rows = size("expected_rows", problem.expected_rows)?;
    if problem.alignment != 0 {
        ours.alignment = size("alignment", problem.alignment)?;
    }
    Ok(ours)
}

/// The operation, and what belongs to operations on probabilities.
fn set_operation(ours: &mut Problem, problem: &xent_problem) -> Outcome<()> {
    ours.operation = match choice("operation", problem.operation)? {
        xent_operation::CrossEntropy => Operation::CrossEntropy,
        xent_operation::BinaryCrossEntropy => Operation::BinaryCrossEntropy,
        xent_operation::KlDivergence => Operation::KlDivergence,
        xent_operation::Entropy => Operation::Entropy,
        xent_operation::Softmax => Operation::Softmax,
        xent_operation::LogSoftmax => Operation::LogSoftmax,
    };
    ours.input = match choice("input", problem.input)? {
        xent_form::Logits => Form::Logits,
        xent_form::LogProbabilities => Form::LogProbabilities,
        xent_form::Probabilities => Form::Probabilities,
    };
    ours.clip = match choice("clip", problem.clip)? {
        xent_clip::None => Clip::None,
        xent_clip::Range => Clip::Range(problem.clip_value),
        xent_clip::Lower => Clip::Lower(problem.clip_value),
        xent_clip::Add => Clip::Add(problem.clip_value),
        xent_clip::Logarithm => Clip::Logarithm(problem.clip_value),
    };
    if ours.clip == Clip::None {
        zero("clip_value", problem.clip_value, " without a clip")?;
    }
    ours.renormalise = match choice("renormalise", problem.renormalise)? {
        xent_renormalise::No => Renormalise::No,
        xent_renormalise::BeforeClip => Renormalise::BeforeClip,
        xent_renormalise::AfterClip => Renormalise::AfterClip,
    };
    ours.unit = match choice("unit", problem.unit)? {
        xent_unit::Nats => Unit::Nats,
        xent_unit::Bits => Unit::Bits,
    };
    ours.output = choice("output_dtype", problem.output_dtype)?.or(ours.logits);
    Ok(())
}

// The bits of C are those of Rust.
const _: () = {
    assert!(xent_output::Loss as u32 == Outputs::LOSS.bits());
    assert!(xent_output::Lse as u32 == Outputs::LSE.bits());
    assert!(xent_output::Stats as u32 == Outputs::STATS.bits());
    assert!(xent_output::Dlogits as u32 == Outputs::DLOGITS.bits());
    assert!(xent_output::Argmax as u32 == Outputs::ARGMAX.bits());
    assert!(xent_output::Correct as u32 == Outputs::CORRECT.bits());
    assert!(xent_output::Entropy as u32 == Outputs::ENTROPY.bits());
    assert!(xent_output::Output as u32 == Outputs::OUTPUT.bits());
};
