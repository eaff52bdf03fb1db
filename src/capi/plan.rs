//! Plans.

use std::ffi::{CString, c_char};

use super::context::xent_context;
use super::convert::{handle, load, result, size};
use super::enums::xent_status;
use super::problem::rust_problem;
use super::structs::xent_problem;
use super::{c_string, destroy, guard};
use crate::Plan;

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
/// @return XENT_STATUS_OK; XENT_STATUS_UNSUPPORTED for what the device does not do: f64 on a GPU;
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
