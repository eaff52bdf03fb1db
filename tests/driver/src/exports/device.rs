//! Devices.

use std::ffi::{c_char, c_void};

use super::{Out, exports, put, put_if};
use crate::code::Code;
use crate::host;

/// The handle of the one memory pool of each device.
const POOL: u64 = 0x500_0000_0000;

exports! {
    Usual fn cuDeviceGetCount(count: Out<i32>) |driver| { put(count, driver.devices.len() as i32) }

    Usual fn cuDeviceGet(device: Out<i32>, ordinal: i32) |driver| {
        driver.device(ordinal)?;
        put(device, ordinal)
    }

    Usual fn cuDeviceGetName(name: *mut c_char, bytes: i32, device: i32) |driver| {
        let text = driver.device(device)?.name();
        // SAFETY: as cuda.h says.
        let written = unsafe { host::fill(name, bytes.max(0) as usize, &text) };
        if written > 0 { Ok(()) } else { Err(Code::INVALID_VALUE) }
    }

    Usual fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: i32) |driver| {
        put(uuid, driver.device(device)?.uuid())
    }

    Usual fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: i32) |driver| {
        put(uuid, driver.device(device)?.uuid())
    }

    Usual fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: i32) |driver| {
        put(bytes, driver.device(device)?.total as usize)
    }

    Usual fn cuDeviceGetAttribute(value: Out<i32>, attribute: u32, device: i32) |driver| {
        let found = driver.device(device)?.attribute(attribute);
        put(value, found.ok_or(Code::INVALID_VALUE)?)
    }

    Usual fn cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, device: i32) |driver| {
        let capability = driver.device(device)?.capability as i32;
        put(major, capability / 10)?;
        put(minor, capability % 10)
    }

    Usual fn cuDeviceGetPCIBusId(text: *mut c_char, bytes: i32, device: i32) |driver| {
        let bus = driver.device(device)?.ordinal + 1;
        // SAFETY: as cuda.h says.
        let text = unsafe { host::fill(text, bytes.max(0) as usize, &format!("0000:{bus:02X}:00.0")) };
        if text > 0 { Ok(()) } else { Err(Code::INVALID_VALUE) }
    }

    Usual fn cuDeviceCanAccessPeer(can: Out<i32>, device: i32, peer: i32) |driver| {
        driver.device(device)?;
        driver.device(peer)?;
        put(can, 0)
    }

    Usual fn cuDeviceGetDefaultMemPool(pool: Out<u64>, device: i32) |driver| {
        put(pool, POOL + driver.device(device)?.ordinal as u64)
    }

    Usual fn cuDeviceGetMemPool(pool: Out<u64>, device: i32) |driver| {
        put(pool, POOL + driver.device(device)?.ordinal as u64)
    }

    Usual fn cuMemPoolSetAttribute(pool: u64, attribute: u32, value: *mut c_void) |driver| {
        driver.device(pool.wrapping_sub(POOL) as i32)?;
        let known = (1..=8).contains(&attribute) && !value.is_null();
        if known { Ok(()) } else { Err(Code::INVALID_VALUE) }
    }

    Usual fn cuMemPoolTrimTo(pool: u64, keep: usize) |driver| {
        let _ = keep; // freed memory is gone anyhow
        driver.device(pool.wrapping_sub(POOL) as i32).map(|_| ())
    }

    Usual fn cuDevicePrimaryCtxRetain(context: Out<u64>, device: i32) |driver| {
        let context = context.ok_or(Code::INVALID_VALUE)?;
        context.write(driver.retain(device)?);
        Ok(())
    }

    Release fn cuDevicePrimaryCtxRelease_v2(device: i32) |driver| { driver.release(device) }

    Release fn cuDevicePrimaryCtxReset_v2(device: i32) |driver| { driver.reset_primary(device) }

    Usual fn cuDevicePrimaryCtxGetState(device: i32, flags: Out<u32>, active: Out<i32>) |driver| {
        let device = driver.device(device)?;
        put_if(flags, device.primary_flags);
        put_if(active, i32::from(device.retained > 0));
        Ok(())
    }

    Usual fn cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: u32) |driver| {
        driver.set_primary_flags(device, flags)
    }
}
