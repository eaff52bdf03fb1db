//! The C ABI, include/xent.h: converts types and calls the Rust API. No logic lives here.
//!
//! Comments on what C sees are written for its readers; cbindgen copies them into the header.
#![allow(unsafe_code)] // exports symbols, and works on memory of C
#![allow(non_camel_case_types)] // C's
#![allow(clippy::missing_safety_doc)] // the header says it in C's terms

mod call;
mod context;
mod convert;
mod enums;
mod plan;
mod problem;
mod run;
mod structs;
mod targets;
mod workspace;

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use convert::{Failure, Outcome, variant};
use enums::xent_status;

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// The version of the library that is loaded, like XENT_VERSION_NUMBER:
/// 1000000 major + 1000 minor + patch.
///
/// Neither allocates nor fails.
#[unsafe(no_mangle)]
pub extern "C" fn xent_version() -> u32 {
    const fn number(text: &str) -> u32 {
        let (mut number, mut digits) = (0, text.as_bytes());
        while let [digit, rest @ ..] = digits {
            number = number * 10 + (*digit - b'0') as u32;
            digits = rest;
        }
        number
    }
    const {
        number(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
            + number(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
            + number(env!("CARGO_PKG_VERSION_PATCH"))
    }
}

/// The same as text, with the devices that are built in: "0.1.0 (CPU, CUDA)" or "0.1.0 (CPU)".
/// Which is there on this machine, xent_context_describe says.
///
/// The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn xent_version_string() -> *const c_char {
    let text = if cfg!(all(feature = "cuda", target_os = "linux")) {
        concat!(env!("CARGO_PKG_VERSION"), " (CPU, CUDA)\0")
    } else {
        concat!(env!("CARGO_PKG_VERSION"), " (CPU)\0")
    };
    c_text(text).as_ptr()
}

/// The name of a status, "XENT_STATUS_OK" say; "unknown status" for other numbers.
///
/// The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn xent_status_string(status: MaybeUninit<xent_status>) -> *const c_char {
    let Ok(status) = variant(status) else { return c"unknown status".as_ptr() };
    let name = match status {
        xent_status::Ok => c"XENT_STATUS_OK",
        xent_status::InvalidArgument => c"XENT_STATUS_INVALID_ARGUMENT",
        xent_status::NullPointer => c"XENT_STATUS_NULL_POINTER",
        xent_status::UnexpectedPointer => c"XENT_STATUS_UNEXPECTED_POINTER",
        xent_status::SizeMismatch => c"XENT_STATUS_SIZE_MISMATCH",
        xent_status::Misaligned => c"XENT_STATUS_MISALIGNED",
        xent_status::Overlap => c"XENT_STATUS_OVERLAP",
        xent_status::WorkspaceTooSmall => c"XENT_STATUS_WORKSPACE_TOO_SMALL",
        xent_status::VersionMismatch => c"XENT_STATUS_VERSION_MISMATCH",
        xent_status::Unsupported => c"XENT_STATUS_UNSUPPORTED",
        xent_status::DeviceUnavailable => c"XENT_STATUS_DEVICE_UNAVAILABLE",
        xent_status::Cuda => c"XENT_STATUS_CUDA",
        xent_status::OutOfResources => c"XENT_STATUS_OUT_OF_RESOURCES",
        xent_status::InvalidTarget => c"XENT_STATUS_INVALID_TARGET",
        xent_status::Internal => c"XENT_STATUS_INTERNAL",
    };
    name.as_ptr()
}

/// What went wrong in the last call of this thread that failed: the field, its value, and what is
/// allowed. "" if none has failed yet; never NULL.
///
/// A call that succeeds leaves it as it is, like errno. The text is the library's, and valid until
/// the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn xent_last_error() -> *const c_char {
    // A thread that is being torn down has no text any more.
    LAST_ERROR.try_with(|text| text.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

const fn c_text(text: &str) -> &CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("ends with its only NUL"),
    }
}

/// Text for C; what follows a NUL would be lost, so it is replaced.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// Runs the body of an exported function: a failure or panic becomes a status, and its text the
/// last error. Nothing unwinds into C.
fn guard(work: impl FnOnce() -> Outcome<()>) -> xent_status {
    let failure = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return xent_status::Ok,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure { status: xent_status::Internal, message: panic_text(&*panic) },
    };
    let text = c_string(&failure.message);
    let _ = LAST_ERROR.try_with(|last| last.replace(text));
    failure.status
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("bug in xent, please report it: {}", text.unwrap_or("a panic without a text"))
}

/// Frees what a handle owns; a panic while it is dropped ends here.
///
/// # Safety
/// NULL, or from [`Box::into_raw`] and not freed yet.
unsafe fn destroy<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: the caller's promise.
        let object = unsafe { Box::from_raw(handle) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(object)));
    }
}

#[cfg(test)]
mod tests;
