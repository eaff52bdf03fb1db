//! Runs.

use std::ffi::c_void;

use super::call::{CPU_TARGETS, Call};
use super::convert::{Outcome, handle, load, result, unsupported};
use super::enums::xent_status;
use super::guard;
use super::plan::xent_plan;
use super::structs::*;
use crate::{DType, DeviceKind, Report, Stream, View};

/// Computes all outputs of the problem in one call.
///
/// On the CPU it returns when they are written. It allocates nothing, but for f64 logits, for the
/// queue of xent's own threads if it uses them, and for the text of a failure.
///
/// On a GPU it puts up to five kernels on the stream and returns; the outputs are there when
/// the stream is. It neither allocates nor synchronises, makes no copies and no events, leaves the
/// thread its current CUDA context, and may be captured in a CUDA graph.
///
/// @param plan  the plan
/// @param args  read only during the call; the buffers stay the caller's, on a GPU until the stream
///              is done with them
/// @return XENT_STATUS_OK; on the CPU, XENT_STATUS_INVALID_TARGET for a class index that is no
///         class, and XENT_STATUS_UNSUPPORTED for a stream, report or denominator_pointer; on a
///         GPU, XENT_STATUS_CUDA if the driver fails, now or in earlier work, and
///         XENT_STATUS_DEVICE_UNAVAILABLE after a fork; the 1xx of wrong arguments. Unless it is
///         XENT_STATUS_CUDA, a call that fails has written nothing
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_run(plan: *const xent_plan, args: *const xent_args) -> xent_status {
    guard(|| {
        // SAFETY: the caller's handle and struct.
        let (plan, args) = unsafe { (&handle("plan", plan)?.plan, load(args)?) };
        // SAFETY: the caller's buffers.
        unsafe { Call::new(plan, &args)?.run() }
    })
}

/// Computes the gradient from the statistics of a run, for an upstream gradient that was not known
/// then. It is that of a run with XENT_OUTPUT_DLOGITS, bit for bit. For a softmax or its logarithm,
/// computes the gradient from their output and its upstream gradient.
///
/// Allocation, synchronisation and capture are as in xent_run.
///
/// @param plan  the plan of the run; its problem's outputs have XENT_OUTPUT_STATS
/// @param args  read only during the call; the buffers stay the caller's
/// @return as xent_run, and XENT_STATUS_UNSUPPORTED for a problem without XENT_OUTPUT_STATS
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_backward(
    plan: *const xent_plan,
    args: *const xent_backward_args,
) -> xent_status {
    guard(|| {
        // SAFETY: the caller's handle, struct and buffers.
        unsafe { backward(plan, args, false) }
    })
}

/// Computes the derivative of the gradient in a direction: the Hessian of the loss of each row times
/// ddlogits of this row, times dloss, from the statistics of a run. This is what the backward of a
/// backward hands on to the logits. It goes to args->dlogits.
///
/// Allocation, synchronisation and capture are as in xent_run.
///
/// @param plan  the plan of the run; its problem is the cross entropy of logits without a softcap, and
///              its outputs have XENT_OUTPUT_STATS
/// @param args  read only during the call; the buffers stay the caller's
/// @return as xent_backward, and XENT_STATUS_UNSUPPORTED for a problem with a softcap
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_double_backward(
    plan: *const xent_plan,
    args: *const xent_backward_args,
) -> xent_status {
    guard(|| {
        // SAFETY: the caller's handle, struct and buffers.
        unsafe { backward(plan, args, true) }
    })
}

/// # Safety
/// The handle, the struct and its buffers are the caller's.
unsafe fn backward(
    plan: *const xent_plan,
    args: *const xent_backward_args,
    double: bool,
) -> Outcome<()> {
    // SAFETY: the caller's promise.
    unsafe {
        let (plan, args) = (&handle("plan", plan)?.plan, load(args)?);
        Call::new(plan, &args.into())?.backward(&args, double)
    }
}

/// Waits for a stream and reads a report from the memory of a GPU. The only call that is made to
/// wait; not while the stream is captured.
///
/// The report stays as it is: the program clears it when it likes.
///
/// @param plan           the plan whose runs wrote the report
/// @param device_report  the report, in memory of the GPU
/// @param stream         the stream of the runs
/// @param out            a copy of the report; untouched if it cannot be read
/// @return XENT_STATUS_OK if no target was wrong; XENT_STATUS_INVALID_TARGET, with the row and its
///         target as last error and in *out, if one was; XENT_STATUS_UNSUPPORTED for a plan on the
///         CPU; XENT_STATUS_CUDA if the GPU failed; the 1xx of wrong arguments
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_report_read(
    plan: *const xent_plan,
    device_report: *const c_void,
    stream: xent_stream,
    out: *mut xent_report,
) -> xent_status {
    guard(|| {
        // SAFETY: the caller's handle.
        let plan = unsafe { &handle("plan", plan)?.plan };
        if plan.device().kind() == DeviceKind::Cpu {
            return Err(unsupported("xent_report_read of a plan on the CPU", CPU_TARGETS));
        }
        let out = result("out", out)?;
        // SAFETY: the caller's report and stream.
        let (view, stream) = unsafe {
            let view = View::from_raw(device_report.cast(), 4, DType::I64);
            (view, Stream::from_raw(stream.cast()))
        };
        let report = plan.report(view, stream)?;
        let Report { count, row, value } = report;
        // SAFETY: the caller's variable, which is not NULL.
        unsafe { out.write(xent_report { count, row, value, reserved: 0 }) };
        Ok(report.check(plan.problem().classes)?)
    })
}
