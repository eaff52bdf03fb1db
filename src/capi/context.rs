//! Contexts.

use std::any::Any;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::convert::{Outcome, choice, load, result, zero};
use super::enums::{xent_device, xent_status};
use super::structs::*;
use super::{c_string, destroy, guard};
use crate::{Context, ContextOptions, Device, DeviceKind, Error, ParallelFor};

/// A device with its threads. Made by xent_context_create, freed by xent_context_destroy.
///
/// Immutable: any threads may use it at once. Plans keep what they need of it, so it may be
/// destroyed before them.
pub struct xent_context {
    pub(super) context: Context,
    description: CString,
}

/// Makes a context.
///
/// Allocates, and starts threads if options ask for more than one. For a GPU it loads and starts
/// the driver, unless somebody has, and takes a share of the primary context: where there is none
/// yet, that takes some tenths of a second, and some hundred MiB of the GPU's memory.
///
/// @param options  NULL is the default; read only during the call
/// @param out      the context, which is the caller's; untouched if the call fails
/// @return XENT_STATUS_OK; XENT_STATUS_DEVICE_UNAVAILABLE for XENT_DEVICE_CUDA if the GPU, or what
///         computing on it needs, is not there: the last error says what, and how to get it;
///         XENT_STATUS_CUDA if the driver fails; XENT_STATUS_OUT_OF_RESOURCES if a thread does not
///         start, or the GPU has no memory left; the 1xx of wrong arguments. XENT_DEVICE_AUTO
///         takes the CPU where XENT_DEVICE_CUDA would fail
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_context_create(
    options: *const xent_context_options,
    out: *mut *mut xent_context,
) -> xent_status {
    guard(|| {
        let out = result("out", out)?;
        let options = if options.is_null() {
            ContextOptions::default()
        } else {
            // SAFETY: the caller's struct.
            unsafe { context_options(&load(options)?)? }
        };
        let context = Context::new(options)?;
        let description = c_string(&context.device().to_string());
        let handle = Box::into_raw(Box::new(xent_context { context, description }));
        // SAFETY: the caller's variable, which is not NULL.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Frees a context. NULL is fine. No other thread may use it during the call or later; plans that
/// were made from it stay valid. The share of a GPU's primary context is given back with the last
/// of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_context_destroy(context: *mut xent_context) {
    // SAFETY: the caller's handle.
    unsafe { destroy(context) }
}

/// The device in words, and for one that chose itself why it is not a GPU:
/// "CUDA 0", "CPU (libcuda.so.1, the NVIDIA driver, was not found; ...)". "" for NULL.
///
/// The text is the context's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_context_describe(context: *const xent_context) -> *const c_char {
    // SAFETY: NULL, or a handle of the caller.
    let context = unsafe { context.as_ref() };
    context.map_or(c"", |context| &context.description).as_ptr()
}

/// Where a context computes: XENT_DEVICE_CPU or XENT_DEVICE_CUDA, never XENT_DEVICE_AUTO, which
/// stands for NULL.
///
/// Neither allocates nor fails.
///
/// @param context  the context
/// @param ordinal  the number of the GPU, 0 of the CPU; untouched for a NULL context. NULL if
///                 nobody asks
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_context_device(
    context: *const xent_context,
    ordinal: *mut i32,
) -> xent_device {
    // SAFETY: NULL, or a handle of the caller.
    let Some(context) = (unsafe { context.as_ref() }) else { return xent_device::Auto };
    let (device, number) = match context.context.device().kind() {
        DeviceKind::Cpu => (xent_device::Cpu, 0),
        DeviceKind::Cuda { ordinal } => (xent_device::Cuda, ordinal as i32),
    };
    if !ordinal.is_null() {
        // SAFETY: the caller's variable.
        unsafe { ordinal.write(number) };
    }
    device
}

/// # Safety
/// `cache_directory` is NULL or a C string; `parallel_for` keeps its promises.
unsafe fn context_options(options: &xent_context_options) -> Outcome<ContextOptions> {
    let device = choice("device", options.device)?;
    if device != xent_device::Cuda {
        zero("ordinal", options.ordinal, " unless device is XENT_DEVICE_CUDA")?;
    }
    zero("reserved", options.reserved, "")?;
    let ordinal = u32::try_from(options.ordinal)
        .map_err(|_| Error::invalid("ordinal", options.ordinal, "in [0, 2^31 - 1]"))?;
    let user = options.parallel_for_user;
    if options.parallel_for.is_none() && !user.is_null() {
        let reason = "parallel_for, which would get it, is NULL";
        return Err(Error::Unexpected { field: "parallel_for_user", reason }.into());
    }
    let device = match device {
        xent_device::Auto => None,
        xent_device::Cpu => Some(Device::cpu()),
        xent_device::Cuda => Some(Device::cuda(ordinal)?),
    };
    // SAFETY: the caller's string.
    let cache_directory = unsafe { path("cache_directory", options.cache_directory)? };
    Ok(ContextOptions {
        device,
        threads: options.threads as usize,
        parallel_for: options.parallel_for.map(|call| Host { call, user }.parallel_for()),
        cache_directory,
    })
}

/// # Safety
/// `text` is NULL or a C string.
unsafe fn path(field: &'static str, text: *const c_char) -> Outcome<Option<PathBuf>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    match text.to_str() {
        Ok(text) => Ok(Some(PathBuf::from(text))),
        Err(_) => Err(Error::invalid(field, format_args!("{text:?}"), "UTF-8").into()),
    }
}

/// The caller's parallel loop.
struct Host {
    call: unsafe extern "C" fn(*mut c_void, usize, xent_task, *mut c_void),
    user: *mut c_void,
}

// SAFETY: the header demands that it may be called from any thread, from several at once too.
unsafe impl Send for Host {}
// SAFETY: the same.
unsafe impl Sync for Host {}

/// What the tasks of one loop share.
struct Loop<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Host {
    fn parallel_for(self) -> Arc<ParallelFor> {
        Arc::new(move |tasks, task| self.run(tasks, task))
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let shared = Loop { task, panic: Mutex::new(None) };
        let data = (&raw const shared).cast_mut().cast();
        // SAFETY: the caller's function gets what it asks for, and uses it during the call only.
        unsafe { (self.call)(self.user, tasks, Some(run_task), data) };
        if let Some(panic) = shared.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

/// Runs a task for the caller's loop, through which no panic may go: it is kept until the loop
/// has ended.
unsafe extern "C" fn run_task(data: *mut c_void, index: usize) {
    // SAFETY: from `Host::run`, which waits for this call.
    let shared = unsafe { &*data.cast::<Loop<'_>>() };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (shared.task)(index))) {
        *shared.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_goes_around_the_callers_loop() {
        unsafe extern "C" fn serial(_: *mut c_void, n: usize, task: xent_task, data: *mut c_void) {
            // SAFETY: the task and its data, during the loop.
            (0..n).for_each(|index| unsafe { task.unwrap()(data, index) });
        }
        let host = Host { call: serial, user: std::ptr::null_mut() };
        let done = Mutex::new(Vec::new());
        let task = |index| {
            done.lock().unwrap().push(index);
            assert_ne!(index, 1, "task one");
        };
        let caught = catch_unwind(AssertUnwindSafe(|| host.run(3, &task)));
        assert!(caught.is_err());
        assert_eq!(done.into_inner().unwrap_or_else(PoisonError::into_inner), [0, 1, 2]);
    }
}
