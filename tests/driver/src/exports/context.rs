//! Contexts.

use std::ffi::c_void;

use super::{Out, exports, put, put_if};
use crate::code::Code;
use crate::stream::MOST_PRIORITY;

exports! {
    Usual fn cuCtxCreate_v2(context: Out<u64>, flags: u32, device: i32) |driver| {
        let context = context.ok_or(Code::INVALID_VALUE)?;
        context.write(driver.create_context(flags, device)?);
        Ok(())
    }

    Usual fn cuCtxCreate_v4(context: Out<u64>, params: *const c_void, flags: u32, device: i32)
    |driver| {
        let context = context.ok_or(Code::INVALID_VALUE)?;
        if !params.is_null() {
            return Err(Code::NOT_SUPPORTED);
        }
        context.write(driver.create_context(flags, device)?);
        Ok(())
    }

    Release fn cuCtxDestroy_v2(context: u64) |driver| { driver.destroy_context(context) }

    Usual fn cuCtxPushCurrent_v2(context: u64) |driver| { driver.push(context) }

    Release fn cuCtxPopCurrent_v2(context: Out<u64>) |driver| {
        let popped = driver.pop()?;
        put_if(context, popped);
        Ok(())
    }

    Usual fn cuCtxSetCurrent(context: u64) |driver| { driver.set_current(context) }

    Usual fn cuCtxGetCurrent(context: Out<u64>) |driver| { put(context, driver.get_current()) }

    Usual fn cuCtxGetDevice(device: Out<i32>) |driver| {
        let context = driver.current_or_faulted()?;
        put(device, driver.context(context)?.device as i32)
    }

    Usual fn cuCtxGetFlags(flags: Out<u32>) |driver| {
        let context = driver.current()?;
        put(flags, driver.context(context)?.flags)
    }

    Usual fn cuCtxSetFlags(flags: u32) |driver| {
        let context = driver.current()?;
        driver.context_mut(context)?.flags = flags;
        Ok(())
    }

    Usual fn cuCtxGetId(context: u64, id: Out<u64>) |driver| {
        let context = if context == 0 { driver.current()? } else { context };
        driver.context(context)?;
        put(id, context)
    }

    Usual fn cuCtxGetApiVersion(context: u64, version: Out<u32>) |driver| {
        let context = if context == 0 { driver.current()? } else { context };
        driver.context(context)?;
        put(version, 3020)
    }

    Usual fn cuCtxSynchronize() |driver| { driver.synchronise_context() }

    Usual fn cuCtxSetLimit(limit: u32, value: usize) |driver| {
        driver.set_limit(limit, value as u64)
    }

    Usual fn cuCtxGetLimit(value: Out<usize>, limit: u32) |driver| {
        put(value, driver.get_limit(limit)? as usize)
    }

    Usual fn cuCtxGetCacheConfig(config: Out<u32>) |driver| {
        driver.current()?;
        put(config, 0)
    }

    Usual fn cuCtxSetCacheConfig(config: u32) |driver| {
        driver.current()?;
        if config > 3 { Err(Code::INVALID_VALUE) } else { Ok(()) }
    }

    Usual fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) |driver| {
        driver.current()?;
        put_if(least, 0);
        put_if(greatest, MOST_PRIORITY);
        Ok(())
    }
}
