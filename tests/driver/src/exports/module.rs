//! Modules, their kernels, and what fits on the device.

use std::ffi::{c_char, c_void};

use super::launch::{Config, shape};
use super::{Out, exports, put};
use crate::code::Code;
use crate::host::{self, Image};

/// `CU_JIT_INFO_LOG_BUFFER`, `CU_JIT_ERROR_LOG_BUFFER`: the option after each is the size.
const LOGS: [u32; 2] = [3, 5];

/// Writes what a JIT compiler says into the buffers that the options name: nothing into the first,
/// the error into the second; and their sizes, where those were.
///
/// # Safety
/// The options are as cuda.h says.
unsafe fn write_logs(options: &[u32], values: *mut *mut c_void, error: &str) {
    for (log, text) in LOGS.into_iter().zip(["", error]) {
        let place = |wanted| options.iter().position(|&option| option == wanted);
        let (Some(buffer), Some(size)) = (place(log), place(log + 1)) else { continue };
        // SAFETY: there is a value for each option; a buffer is as large as its size says.
        unsafe {
            let bytes = *values.add(size) as usize as u32;
            let written = host::fill((*values.add(buffer)).cast(), bytes as usize, text);
            *values.add(size) = written as *mut c_void;
        }
    }
}

exports! {
    Usual fn cuModuleLoadData(module: Out<u64>, image: *const c_void) |driver| {
        let module = module.ok_or(Code::INVALID_VALUE)?;
        // SAFETY: as cuda.h says.
        let image = unsafe { host::image(image) }?;
        module.write(driver.load(image).map_err(|(code, _)| code)?);
        Ok(())
    }

    Usual fn cuModuleLoadDataEx(
        module: Out<u64>,
        image: *const c_void,
        count: u32,
        options: *const u32,
        values: *mut *mut c_void,
    ) |driver| {
        let module = module.ok_or(Code::INVALID_VALUE)?;
        // SAFETY: as cuda.h says.
        let (image, options) = unsafe { (host::image(image)?, host::array(options, count as usize)?) };
        if count > 0 && values.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let loaded = driver.load(image);
        let words = loaded.as_ref().err().map_or("", |(_, words)| words);
        // SAFETY: as cuda.h says.
        unsafe { write_logs(&options, values, words) };
        module.write(loaded.map_err(|(code, _)| code)?);
        Ok(())
    }

    Usual fn cuModuleLoad(module: Out<u64>, path: *const c_char) |driver| {
        let module = module.ok_or(Code::INVALID_VALUE)?;
        // SAFETY: as cuda.h says.
        let path = unsafe { host::text(path) }?;
        let bytes = std::fs::read(path).map_err(|_| Code::FILE_NOT_FOUND)?;
        let image = match bytes.starts_with(b"\x7fELF") {
            true => Image::Elf(bytes),
            false => Image::Text(String::from_utf8(bytes).map_err(|_| Code::INVALID_IMAGE)?),
        };
        module.write(driver.load(image).map_err(|(code, _)| code)?);
        Ok(())
    }

    Release fn cuModuleUnload(module: u64) |driver| { driver.unload(module) }

    Usual fn cuModuleGetFunction(function: Out<u64>, module: u64, name: *const c_char) |driver| {
        let function = function.ok_or(Code::INVALID_VALUE)?;
        // SAFETY: as cuda.h says.
        let name = unsafe { host::text(name) }?;
        function.write(driver.function(module, &name)?);
        Ok(())
    }

    Usual fn cuModuleGetLoadingMode(mode: Out<u32>) |_driver| {
        put(mode, 1) // CU_MODULE_EAGER_LOADING
    }

    Usual fn cuFuncGetModule(module: Out<u64>, function: u64) |driver| {
        put(module, driver.functions.get(function)?.module)
    }

    Usual fn cuFuncGetAttribute(value: Out<i32>, attribute: u32, function: u64) |driver| {
        put(value, driver.function_attribute(function, attribute)?)
    }

    Usual fn cuFuncSetAttribute(function: u64, attribute: u32, value: i32) |driver| {
        driver.set_function_attribute(function, attribute, value)
    }

    Usual fn cuFuncSetCacheConfig(function: u64, config: u32) |driver| {
        driver.functions.get(function)?;
        if config > 3 { Err(Code::INVALID_VALUE) } else { Ok(()) }
    }

    Usual fn cuFuncLoad(function: u64) |driver| { driver.functions.get(function).map(|_| ()) }

    Usual fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        count: Out<i32>,
        function: u64,
        threads: i32,
        shared: usize,
    ) |driver| {
        let threads = u32::try_from(threads).map_err(|_| Code::INVALID_VALUE)?;
        put(count, driver.active_ctas(function, threads, shared as u64)? as i32)
    }

    Usual fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        count: Out<i32>,
        function: u64,
        threads: i32,
        shared: usize,
        flags: u32,
    ) |driver| {
        let threads = u32::try_from(threads).map_err(|_| Code::INVALID_VALUE)?;
        if flags > 1 {
            return Err(Code::INVALID_VALUE);
        }
        put(count, driver.active_ctas(function, threads, shared as u64)? as i32)
    }

    Usual fn cuOccupancyMaxActiveClusters(count: Out<i32>, function: u64, config: Option<&Config>)
    |driver| {
        // SAFETY: as cuda.h says.
        let (shape, _) = unsafe { shape(config) }?;
        put(count, driver.active_clusters(function, &shape)? as i32)
    }

    Usual fn cuOccupancyMaxPotentialClusterSize(
        ctas: Out<i32>,
        function: u64,
        config: Option<&Config>,
    ) |driver| {
        // SAFETY: as cuda.h says.
        let (shape, _) = unsafe { shape(config) }?;
        put(ctas, driver.largest_cluster(function, &shape)? as i32)
    }
}
