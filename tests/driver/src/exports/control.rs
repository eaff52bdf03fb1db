//! What tests ask of the stand-in. No driver has these.

use std::ffi::c_char;

use crate::driver::{Driver, lock};
use crate::host;
use crate::log::say;

/// A text that may be null.
///
/// # Safety
/// The pointer is null or that of a C string.
unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { host::text(pointer) }.unwrap_or_default()
}

/// Forgets everything and begins anew, with these settings, lines of `NAME=value`, and the
/// environment's for the rest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_sim_reset(settings: *const c_char) {
    // SAFETY: the caller's promise.
    let settings = unsafe { text(settings) };
    *lock() = Driver::new(&settings);
}

/// How often a function was called; null: all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_sim_calls(name: *const c_char) -> u64 {
    // SAFETY: the caller's promise.
    lock().calls.number(&unsafe { text(name) })
}

/// Which calls fail, counted from now; as `XENT_SIM_FAIL`. 0, or 1 if that makes no sense.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_sim_fail(calls: *const c_char) -> i32 {
    // SAFETY: the caller's promise.
    match lock().calls.fail(&unsafe { text(calls) }) {
        Ok(()) => 0,
        Err(error) => {
            say(&error);
            1
        }
    }
}

/// Which calls are violations from now on; as `XENT_SIM_FORBID`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_sim_forbid(names: *const c_char) {
    // SAFETY: the caller's promise.
    lock().calls.forbid(&unsafe { text(names) });
}

/// What a run must not do, and did.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_sim_violations() -> u64 {
    lock().calls.violations.len() as u64
}

/// What was made and not given back, so far.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_sim_leaks() -> u64 {
    lock().leaks().len() as u64
}

/// Writes the summary into a buffer, as much of it as fits, and returns how many bytes all of it
/// needs, with the final 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_sim_report(buffer: *mut c_char, bytes: usize) -> usize {
    let text = lock().summary();
    // SAFETY: the caller's promise.
    unsafe { host::fill(buffer, bytes, &text) };
    text.len() + 1
}

/// How many pieces of work are submitted and not done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_sim_pending() -> u64 {
    lock().queue.pending() as u64
}

/// How many PTX instructions the threads of all kernels have executed, and how many of these are for the
/// special function unit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_sim_executed(approximations: *mut u64) -> u64 {
    let executed = lock().executed;
    // SAFETY: the caller's promise.
    unsafe { approximations.write(executed.approximations) };
    executed.instructions
}
