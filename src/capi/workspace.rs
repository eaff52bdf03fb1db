//! Workspaces.

use std::ffi::c_void;

use super::convert::{handle, result, size};
use super::enums::xent_status;
use super::plan::xent_plan;
use super::{destroy, guard};
use crate::Workspace;

/// Scratch memory of runs, on the device of a plan. Made by xent_workspace_create, freed by
/// xent_workspace_destroy.
///
/// One run at a time uses it; on a GPU, the runs of one stream, where each comes after the one
/// before. For programs that have no allocator of their own for the device; xent does not tell this
/// memory from the caller's. Later versions may append fields.
#[repr(C)]
pub struct xent_workspace {
    /// Its address, for the workspace of xent_args and xent_backward_args: of host memory if the
    /// plan is on the CPU, of device memory if it is on a GPU. Not to be changed.
    pub data: *mut c_void,
    /// Its size in bytes, for workspace_size. Not to be changed.
    pub size: usize,
}

/// A workspace with what it points to.
#[repr(C)] // its address is that of what C sees
struct Owned {
    seen: xent_workspace,
    _memory: Workspace<'static>, // freed with it
}

/// Makes a workspace for runs of up to so many rows.
///
/// Allocates: on a GPU with cuMemAlloc, in the primary context, which may wait for the GPU and must
/// not be done while a stream is captured.
///
/// @param plan  the plan; the workspace also serves other plans on its device that need no more.
///              Need not outlive the workspace
/// @param rows  outer times inner, at least 0
/// @param out   the workspace, which is the caller's; untouched if the call fails
/// @return XENT_STATUS_OK; XENT_STATUS_OUT_OF_RESOURCES if there is not so much memory;
///         XENT_STATUS_CUDA if the GPU failed; the 1xx of wrong arguments
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_workspace_create(
    plan: *const xent_plan,
    rows: i64,
    out: *mut *mut xent_workspace,
) -> xent_status {
    guard(|| {
        // SAFETY: the caller's handle.
        let plan = unsafe { &handle("plan", plan)?.plan };
        let out = result("out", out)?;
        let mut memory = plan.workspace(size("rows", rows)?)?;
        let seen = xent_workspace { data: memory.data().cast(), size: memory.size() };
        let owned = Box::into_raw(Box::new(Owned { seen, _memory: memory }));
        // SAFETY: the caller's variable, which is not NULL.
        unsafe { out.write(owned.cast()) };
        Ok(())
    })
}

/// Frees a workspace. NULL is fine. No run may be using it: on a GPU the call waits for those that
/// are on a stream, as cuMemFree does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_workspace_destroy(workspace: *mut xent_workspace) {
    // SAFETY: the caller's handle, which `xent_workspace_create` made.
    unsafe { destroy(workspace.cast::<Owned>()) }
}
