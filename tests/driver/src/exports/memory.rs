//! Memory, copies, pointers.

use std::ffi::c_void;

use super::{Out, exports, put, put_if};
use crate::code::{Code, Outcome};
use crate::copy::When;
use crate::host::{self, HostRange};
use crate::pointer::{self, Value};

exports! {
    Usual fn cuMemAlloc_v2(pointer: Out<u64>, bytes: usize) |driver| {
        let pointer = pointer.ok_or(Code::INVALID_VALUE)?;
        pointer.write(driver.allocate(bytes as u64)?);
        Ok(())
    }

    Release fn cuMemFree_v2(pointer: u64) |driver| { driver.free(pointer) }

    Usual fn cuMemAllocAsync(pointer: Out<u64>, bytes: usize, stream: u64) = cuMemAllocAsync_ptsz
    |driver| {
        let pointer = pointer.ok_or(Code::INVALID_VALUE)?;
        pointer.write(driver.allocate_async(bytes as u64, stream)?);
        Ok(())
    }

    Usual fn cuMemAllocFromPoolAsync(
        pointer: Out<u64>,
        bytes: usize,
        pool: u64,
        stream: u64,
    ) = cuMemAllocFromPoolAsync_ptsz |driver| {
        let _ = pool; // each device has one
        let pointer = pointer.ok_or(Code::INVALID_VALUE)?;
        pointer.write(driver.allocate_async(bytes as u64, stream)?);
        Ok(())
    }

    Release fn cuMemFreeAsync(pointer: u64, stream: u64) = cuMemFreeAsync_ptsz |driver| {
        driver.free_async(pointer, stream)
    }

    Usual fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) |driver| {
        let (left, all) = driver.memory_info()?;
        put_if(free, left as usize);
        put_if(total, all as usize);
        Ok(())
    }

    Usual fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<usize>, pointer: u64) |driver| {
        driver.current()?;
        let (start, allocation) = driver.find(pointer).ok_or(Code::NOT_FOUND)?;
        put_if(base, start);
        put_if(bytes, allocation.bytes as usize);
        Ok(())
    }

    Usual fn cuMemHostAlloc(pointer: Out<u64>, bytes: usize, flags: u32) |driver| {
        let pointer = pointer.ok_or(Code::INVALID_VALUE)?;
        if flags > 7 {
            return Err(Code::INVALID_VALUE);
        }
        pointer.write(driver.allocate_host(bytes)?);
        Ok(())
    }

    Usual fn cuMemAllocHost_v2(pointer: Out<u64>, bytes: usize) |driver| {
        let pointer = pointer.ok_or(Code::INVALID_VALUE)?;
        pointer.write(driver.allocate_host(bytes)?);
        Ok(())
    }

    Release fn cuMemFreeHost(pointer: u64) |driver| { driver.free_host(pointer) }

    Usual fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) = cuMemcpyHtoD_v2_ptds
    |driver| {
        // SAFETY: as cuda.h says.
        let from = unsafe { HostRange::new(from, bytes) };
        driver.copy_in(to, from, When::Now)
    }

    Usual fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) = cuMemcpyDtoH_v2_ptds
    |driver| {
        // SAFETY: as cuda.h says.
        let to = unsafe { HostRange::new(to, bytes) };
        driver.copy_out(to, from, When::Now)
    }

    Usual fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) = cuMemcpyDtoD_v2_ptds |driver| {
        driver.copy_within(to, from, bytes as u64, When::Now)
    }

    Usual fn cuMemcpy(to: *mut c_void, from: *const c_void, bytes: usize) = cuMemcpy_ptds |driver| {
        // SAFETY: as cuda.h says.
        let (to, from) = unsafe { (HostRange::new(to, bytes), HostRange::new(from, bytes)) };
        driver.copy(to, from, When::Now)
    }

    Usual fn cuMemcpyHtoDAsync_v2(
        to: u64,
        from: *const c_void,
        bytes: usize,
        stream: u64,
    ) = cuMemcpyHtoDAsync_v2_ptsz |driver| {
        // SAFETY: as cuda.h says.
        let from = unsafe { HostRange::new(from, bytes) };
        driver.copy_in(to, from, When::On(stream))
    }

    Usual fn cuMemcpyDtoHAsync_v2(
        to: *mut c_void,
        from: u64,
        bytes: usize,
        stream: u64,
    ) = cuMemcpyDtoHAsync_v2_ptsz |driver| {
        // SAFETY: as cuda.h says.
        let to = unsafe { HostRange::new(to, bytes) };
        driver.copy_out(to, from, When::On(stream))
    }

    Usual fn cuMemcpyDtoDAsync_v2(
        to: u64,
        from: u64,
        bytes: usize,
        stream: u64,
    ) = cuMemcpyDtoDAsync_v2_ptsz |driver| {
        driver.copy_within(to, from, bytes as u64, When::On(stream))
    }

    Usual fn cuMemcpyAsync(
        to: *mut c_void,
        from: *const c_void,
        bytes: usize,
        stream: u64,
    ) = cuMemcpyAsync_ptsz |driver| {
        // SAFETY: as cuda.h says.
        let (to, from) = unsafe { (HostRange::new(to, bytes), HostRange::new(from, bytes)) };
        driver.copy(to, from, When::On(stream))
    }

    Usual fn cuMemsetD8_v2(to: u64, value: u8, count: usize) = cuMemsetD8_v2_ptds |driver| {
        driver.fill(to, &[value], count, When::Now)
    }

    Usual fn cuMemsetD16_v2(to: u64, value: u16, count: usize) = cuMemsetD16_v2_ptds |driver| {
        driver.fill(to, &value.to_ne_bytes(), count, When::Now)
    }

    Usual fn cuMemsetD32_v2(to: u64, value: u32, count: usize) = cuMemsetD32_v2_ptds |driver| {
        driver.fill(to, &value.to_ne_bytes(), count, When::Now)
    }

    Usual fn cuMemsetD8Async(
        to: u64,
        value: u8,
        count: usize,
        stream: u64,
    ) = cuMemsetD8Async_ptsz |driver| {
        driver.fill(to, &[value], count, When::On(stream))
    }

    Usual fn cuMemsetD16Async(
        to: u64,
        value: u16,
        count: usize,
        stream: u64,
    ) = cuMemsetD16Async_ptsz |driver| {
        driver.fill(to, &value.to_ne_bytes(), count, When::On(stream))
    }

    Usual fn cuMemsetD32Async(
        to: u64,
        value: u32,
        count: usize,
        stream: u64,
    ) = cuMemsetD32Async_ptsz |driver| {
        driver.fill(to, &value.to_ne_bytes(), count, When::On(stream))
    }

    Usual fn cuPointerGetAttribute(data: *mut c_void, attribute: u32, pointer: u64) |driver| {
        let value = driver.pointer_attribute(pointer, attribute)?;
        // SAFETY: as cuda.h says.
        unsafe { write(data, value) }
    }

    Usual fn cuPointerGetAttributes(
        count: u32,
        attributes: *const u32,
        data: *const *mut c_void,
        pointer: u64,
    ) |driver| {
        // SAFETY: as cuda.h says.
        let attributes = unsafe { host::array(attributes, count as usize) }?;
        // SAFETY: as cuda.h says.
        let data = unsafe { host::array(data, count as usize) }?;
        for (attribute, data) in attributes.into_iter().zip(data) {
            let value = match driver.knows(pointer) {
                true => driver.pointer_attribute(pointer, attribute),
                false => pointer::unknown(attribute),
            };
            // One that the memory does not have, such as a host pointer, is as of an unknown one.
            let value = value.or_else(|_| pointer::unknown(attribute))?;
            // SAFETY: as cuda.h says.
            unsafe { write(data, value) }?;
        }
        Ok(())
    }

    Usual fn cuMemHostGetDevicePointer_v2(pointer: Out<u64>, host: u64, flags: u32) |driver| {
        driver.current()?;
        driver.find_pinned(host).filter(|_| flags == 0).ok_or(Code::INVALID_VALUE)?;
        put(pointer, host)
    }
}

/// # Safety
/// The pointer is null or that of a place of the attribute's size.
unsafe fn write(data: *mut c_void, value: Value) -> Outcome {
    if data.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: the caller's promise.
    unsafe {
        match value {
            Value::Word(value) => data.cast::<u32>().write(value),
            Value::Long(value) => data.cast::<u64>().write(value),
        }
    }
    Ok(())
}
