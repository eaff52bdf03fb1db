//! Initialisation, versions, errors, entry points.

use std::ffi::{c_char, c_void};
use std::ptr::null;

use super::{Out, exports, put, put_if};
use crate::calls::base;
use crate::code::Code;
use crate::host;

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`
const PER_THREAD: u64 = 2;
/// `CU_GET_PROC_ADDRESS_SUCCESS`
const FOUND: u32 = 0;
/// `CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND`
const NOT_FOUND: u32 = 1;

/// Since which version of CUDA a name of cuda.h means a symbol, where it has not always.
const SINCE: [(&str, i32); 10] = [
    ("cuCtxCreate_v4", 13000),
    ("cuEventElapsedTime_v2", 13000),
    ("cuStreamGetCaptureInfo_v3", 13000),
    ("cuFuncLoad", 12040),
    ("cuGetProcAddress_v2", 12000),
    ("cuLaunchKernelEx", 11060),
    ("cuOccupancyMaxActiveClusters", 11070),
    ("cuOccupancyMaxPotentialClusterSize", 11070),
    ("cuGraphInstantiateWithFlags", 11040),
    ("cuMemAllocAsync", 11020),
];

/// The entry point of a function for programs built with a version of CUDA: the newest of its
/// symbols that is not too new.
fn entry_point(name: &str, version: i32, per_thread: bool) -> Option<*const ()> {
    let is_twin = |symbol: &str| symbol.ends_with("_ptsz") || symbol.ends_with("_ptds");
    let since =
        |symbol: &str| SINCE.iter().find(|(of, _)| *of == symbol).map_or(0, |since| since.1);
    let mut found: Vec<_> = super::symbols()
        .into_iter()
        .filter(|(symbol, _)| *symbol == name || base(symbol) == name)
        .filter(|(symbol, _)| since(symbol) <= version)
        .collect();
    found.sort_by_key(|(symbol, _)| (is_twin(symbol) == per_thread, symbol.to_owned()));
    let usual = |symbol: &str| per_thread || symbol == name || !is_twin(symbol);
    found.into_iter().rfind(|(symbol, _)| usual(symbol)).map(|(_, function)| function)
}

exports! {
    Early fn cuInit(flags: u32) |driver| { driver.initialise(flags) }

    Early fn cuDriverGetVersion(version: Out<i32>) |driver| {
        put(version, driver.config.driver_version)
    }

    Early fn cuGetProcAddress(symbol: *const c_char, function: Out<*const ()>, version: i32, flags: u64)
    |driver| {
        // SAFETY: as cuda.h says.
        let name = unsafe { host::text(symbol) }?;
        let version = version.min(driver.config.driver_version);
        let found = entry_point(&name, version, flags == PER_THREAD);
        put(function, found.unwrap_or(null()))?;
        found.map(|_| ()).ok_or(Code::NOT_FOUND)
    }

    Early fn cuGetProcAddress_v2(
        symbol: *const c_char,
        function: Out<*const ()>,
        version: i32,
        flags: u64,
        status: Out<u32>,
    ) |driver| {
        // SAFETY: as cuda.h says.
        let name = unsafe { host::text(symbol) }?;
        let version = version.min(driver.config.driver_version);
        let found = entry_point(&name, version, flags == PER_THREAD);
        put(function, found.unwrap_or(null()))?;
        put_if(status, if found.is_some() { FOUND } else { NOT_FOUND });
        Ok(())
    }

    Usual fn cuProfilerStart() |_driver| { Ok(()) }

    Usual fn cuProfilerStop() |_driver| { Ok(()) }
}

fn text(error: i32, text: Out<*const c_char>, which: usize) -> i32 {
    let texts = Code(error).texts();
    let pointer = texts.map_or(null(), |(name, words)| [name, words][which].as_ptr());
    match (text, texts) {
        (None, _) => Code::INVALID_VALUE.0,
        (Some(out), texts) => {
            out.write(pointer);
            if texts.is_some() { 0 } else { Code::INVALID_VALUE.0 }
        }
    }
}

/// Not counted and never failing: what a program needs to speak of a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(error: i32, name: Out<*const c_char>) -> i32 {
    text(error, name, 0)
}

/// The same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(error: i32, words: Out<*const c_char>) -> i32 {
    text(error, words, 1)
}

/// Tables of functions that only NVIDIA's own libraries know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetExportTable(table: Out<*const c_void>, _id: *const c_void) -> i32 {
    put_if(table, null());
    Code::NOT_FOUND.0
}
