//! Launches.

use std::ffi::c_void;

use super::exports;
use crate::code::{Code, Outcome};
use crate::host::{self, HostFunction};
use crate::launch::Shape;
use crate::queue::Op;

/// `CUlaunchConfig`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Config {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: u64,
    attributes: *const Attribute,
    count: u32,
}

/// `CUlaunchAttribute`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Attribute {
    id: u32,
    pad: u32,
    value: Value,
}

/// `CUlaunchAttributeValue`: 64 bytes, of which three words at most matter here.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Value([u32; 16]);

const _: () = assert!(size_of::<Config>() == 56 && size_of::<Attribute>() == 72);

/// `CUlaunchAttributeID`, by its numbers in cuda.h.
mod attribute {
    pub const IGNORE: u32 = 0;
    pub const COOPERATIVE: u32 = 2;
    pub const CLUSTER_DIMENSION: u32 = 4;
    pub const CLUSTER_SCHEDULING: u32 = 5;
    pub const PROGRAMMATIC_SERIALIZATION: u32 = 6;
    pub const PRIORITY: u32 = 8;
}

/// What a configuration says, and its stream.
///
/// # Safety
/// Its attributes are as many as it says.
pub(super) unsafe fn shape(config: Option<&Config>) -> Outcome<(Shape, u64)> {
    let config = config.ok_or(Code::INVALID_VALUE)?;
    let Config { grid, block, shared, stream, .. } = *config;
    let (overlaps, cooperative) = (false, false);
    let mut shape = Shape { grid, block, shared, cluster: None, overlaps, cooperative };
    // SAFETY: the caller's promise.
    let attributes = unsafe { host::array(config.attributes, config.count as usize) }?;
    for Attribute { id, value: Value(value), .. } in attributes {
        match id {
            attribute::CLUSTER_DIMENSION => shape.cluster = Some([value[0], value[1], value[2]]),
            attribute::PROGRAMMATIC_SERIALIZATION => shape.overlaps = value[0] != 0,
            attribute::COOPERATIVE => shape.cooperative = value[0] != 0,
            attribute::IGNORE | attribute::CLUSTER_SCHEDULING | attribute::PRIORITY => {}
            _ => return Err(Code::NOT_SUPPORTED),
        }
    }
    Ok((shape, stream))
}

exports! {
    Usual fn cuLaunchKernel(
        function: u64,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared: u32,
        stream: u64,
        parameters: *const *const c_void,
        extra: *const *const c_void,
    ) = cuLaunchKernel_ptsz |driver| {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let (cluster, overlaps, cooperative) = (None, false, false);
        let shape = Shape { grid, block, shared, cluster, overlaps, cooperative };
        let (sizes, bytes) = driver.parameters(function)?;
        // SAFETY: as cuda.h says.
        let values = unsafe { host::parameters(&sizes, bytes, parameters, extra) }?;
        driver.launch(function, &shape, stream, values)
    }

    Usual fn cuLaunchKernelEx(
        config: Option<&Config>,
        function: u64,
        parameters: *const *const c_void,
        extra: *const *const c_void,
    ) = cuLaunchKernelEx_ptsz |driver| {
        // SAFETY: as cuda.h says.
        let (shape, stream) = unsafe { shape(config) }?;
        let (sizes, bytes) = driver.parameters(function)?;
        // SAFETY: as cuda.h says.
        let values = unsafe { host::parameters(&sizes, bytes, parameters, extra) }?;
        driver.launch(function, &shape, stream, values)
    }

    Usual fn cuLaunchHostFunc(
        stream: u64,
        function: Option<unsafe extern "C" fn(*mut c_void)>,
        data: *mut c_void,
    ) = cuLaunchHostFunc_ptsz |driver| {
        let function = function.ok_or(Code::INVALID_VALUE)?;
        // SAFETY: as cuda.h says.
        let function = unsafe { HostFunction::new(function, data) };
        let stream = driver.stream(stream)?;
        driver.submit(stream, Op::Call(function))
    }
}
