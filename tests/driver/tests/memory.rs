//! Allocations, copies, pointers, leaks.

mod common;

use std::ffi::c_void;
use std::ptr::{from_mut, null_mut};

use common::{Sim, get, ok, try_get};

fn alloc(sim: &Sim, bytes: usize) -> Result<u64, i32> {
    try_get(|pointer| sim.cuMemAlloc_v2(pointer, bytes))
}

#[test]
fn what_is_copied_in_comes_out() {
    let sim = Sim::started("");
    let a = sim.words(&[1, 2, 3, 4]);
    let b = sim.alloc(16);
    ok(sim.cuMemcpyDtoD_v2(b, a + 4, 12));
    ok(sim.cuMemcpyDtoD_v2(b + 12, a, 4));
    assert_eq!(sim.read(b, 4), [2, 3, 4, 1]);
    ok(sim.cuMemsetD8_v2(a + 1, 0xff, 2));
    ok(sim.cuMemsetD32Async(a + 8, 9, 2, 0));
    ok(sim.cuMemcpy(a + 4, b, 4));
    assert_eq!(sim.read(a, 4), [0x00ff_ff01, 2, 9, 9]);
    ok(sim.cuMemcpyHtoD_v2(a, [7u32].as_ptr().cast(), 0));
    assert_eq!(sim.read(a, 1), [0x00ff_ff01]);
    assert_eq!(a % 256, 0);
    ok(sim.cuMemFree_v2(a));
    ok(sim.cuMemFree_v2(b));
    ok(sim.cuMemFree_v2(0));
    ok(sim.cuDevicePrimaryCtxRelease_v2(0));
    assert_eq!(sim.leaks(), 0, "{}", sim.report());
}

#[test]
fn ranges_outside_one_allocation_are_refused() {
    let sim = Sim::started("");
    let a = sim.words(&[1, 2]);
    let mut host = [0u32; 4];
    let to: *mut c_void = host.as_mut_ptr().cast();
    for (pointer, bytes) in [(a, 9), (a + 8, 1), (a - 1, 1), (to as u64, 4), (0, 4)] {
        assert_eq!(sim.cuMemcpyDtoH_v2(to, pointer, bytes), 1, "{pointer:#x}");
        assert_eq!(sim.cuMemcpyHtoD_v2(pointer, to, bytes), 1);
        assert_eq!(sim.cuMemcpyDtoHAsync_v2(to, pointer, bytes, 0), 1);
        assert_eq!(sim.cuMemcpyDtoD_v2(a, pointer, bytes), 1);
        assert_eq!(sim.cuMemsetD8_v2(pointer, 0, bytes), 1);
    }
    // A device pointer is no host pointer.
    assert_eq!(sim.cuMemcpyHtoD_v2(a, a as *const c_void, 4), 1);
    assert_eq!(sim.cuMemcpyDtoH_v2(a as *mut c_void, a, 4), 1);
    assert_eq!(sim.cuMemcpyDtoH_v2(null_mut(), a, 4), 1);
    assert_eq!(sim.cuMemsetD32Async(a + 2, 0, 1, 0), 1);
    assert_eq!(sim.cuMemFree_v2(a + 4), 1);
    ok(sim.cuMemFree_v2(a));
    assert_eq!(sim.cuMemFree_v2(a), 1);
    assert_eq!(sim.cuMemcpyDtoH_v2(to, a, 4), 1);
    assert_eq!(alloc(&sim, 0), Err(1));
    assert_eq!(sim.cuMemAlloc_v2(null_mut(), 4), 1);
}

#[test]
fn memory_comes_to_an_end() {
    let sim = Sim::started("XENT_SIM_MEMORY=1000");
    let a = sim.alloc(600);
    assert_eq!(alloc(&sim, 401), Err(2));
    let b = sim.alloc(400);
    let (mut free, mut total) = (9, 9);
    ok(sim.cuMemGetInfo_v2(&mut free, &mut total));
    assert_eq!((free, total), (0, 1000));
    ok(sim.cuMemFree_v2(a));
    ok(sim.cuMemFree_v2(b));
    // What a stream frees later counts when there is no other.
    let stream = sim.stream(1);
    let allocate = |bytes| try_get::<u64>(|pointer| sim.cuMemAllocAsync(pointer, bytes, stream));
    let c = allocate(900).unwrap();
    ok(sim.cuMemFreeAsync(c, stream));
    let d = allocate(900).unwrap();
    assert_eq!(allocate(101), Err(2));
    ok(sim.cuMemFree_v2(d));
}

#[test]
fn addresses_are_never_used_twice() {
    let sim = Sim::started("");
    let mut found: Vec<u64> = (0..100)
        .map(|_| {
            let pointer = sim.alloc(64);
            ok(sim.cuMemFree_v2(pointer));
            pointer
        })
        .collect();
    found.dedup();
    assert_eq!(found.len(), 100);
}

#[test]
fn leaks_are_named() {
    let sim = Sim::started("");
    let kept = sim.alloc(12);
    let (stream, event) = (sim.stream(0), sim.event());
    let module = sim.load(common::KERNELS).unwrap();
    let mut host = null_mut();
    ok(sim.cuMemHostAlloc(&mut host, 100, 0));
    assert_eq!(sim.leaks(), 6, "{}", sim.report());
    let report = sim.report();
    for what in [
        format!("leak: 12 bytes of device memory at {kept:#x}"),
        format!("leak: stream {stream:#x}"),
        format!("leak: event {event:#x}"),
        format!("leak: module {module:#x}"),
        "leak: 100 bytes of host memory".into(),
        "leak: primary context of device 0, retained 1 times".into(),
        "1 cuStreamCreate".into(),
    ] {
        assert!(report.contains(&what), "{what} in {report}");
    }
    ok(sim.cuMemFree_v2(kept));
    ok(sim.cuStreamDestroy_v2(stream));
    ok(sim.cuEventDestroy_v2(event));
    ok(sim.cuModuleUnload(module));
    ok(sim.cuMemFreeHost(host));
    ok(sim.cuDevicePrimaryCtxRelease_v2(0));
    assert_eq!(sim.leaks(), 0);
}

/// `CU_POINTER_ATTRIBUTE_*`
const CONTEXT: u32 = 1;
const MEMORY_TYPE: u32 = 2;
const DEVICE_ORDINAL: u32 = 9;
const RANGE_START: u32 = 11;
const RANGE_SIZE: u32 = 12;

#[test]
fn pointers_know_where_they_belong() {
    let sim = Sim::started("XENT_SIM_DEVICES=9.0,8.0");
    let second = sim.retain(1);
    ok(sim.cuCtxPushCurrent_v2(second));
    let pointer = sim.alloc(100);
    ok(sim.cuCtxPopCurrent_v2(null_mut()));
    let word = |attribute, at| {
        try_get::<u32>(|data| sim.cuPointerGetAttribute(data.cast(), attribute, at))
    };
    let long = |attribute, at| {
        try_get::<u64>(|data| sim.cuPointerGetAttribute(data.cast(), attribute, at))
    };
    assert_eq!(word(MEMORY_TYPE, pointer + 99), Ok(2));
    assert_eq!(word(DEVICE_ORDINAL, pointer + 99), Ok(1));
    assert_eq!(long(CONTEXT, pointer + 99), Ok(second));
    assert_eq!(long(RANGE_START, pointer + 99), Ok(pointer));
    assert_eq!(long(RANGE_SIZE, pointer + 99), Ok(100));
    let host = 5u32;
    for unknown in [std::ptr::from_ref(&host) as u64, pointer + 100, 0] {
        assert_eq!(word(MEMORY_TYPE, unknown), Err(1));
    }
    let mut pinned = null_mut();
    ok(sim.cuMemHostAlloc(&mut pinned, 10, 0));
    assert_eq!(word(MEMORY_TYPE, pinned as u64 + 9), Ok(1));
    assert_eq!(word(DEVICE_ORDINAL, pinned as u64), Ok(0));

    // All at once; those of no pointer of the driver are none.
    let attributes = [MEMORY_TYPE, DEVICE_ORDINAL, CONTEXT];
    let all = |pointer| {
        let (mut kind, mut device, mut context) = (9u32, 9i32, 9u64);
        let data: [*mut c_void; 3] = [
            from_mut(&mut kind).cast(),
            from_mut(&mut device).cast(),
            from_mut(&mut context).cast(),
        ];
        ok(sim.cuPointerGetAttributes(3, attributes.as_ptr(), data.as_ptr(), pointer));
        (kind, device, context)
    };
    assert_eq!(all(pointer), (2, 1, second));
    assert_eq!(all(std::ptr::from_ref(&host) as u64), (0, -2, 0));
    let (mut base, mut bytes) = (0, 0);
    ok(sim.cuMemGetAddressRange_v2(&mut base, &mut bytes, pointer + 50));
    assert_eq!((base, bytes), (pointer, 100));
}

#[test]
fn memory_of_a_stream_exists_in_its_order() {
    let sim = Sim::new("");
    for seed in 0..8 {
        sim.restart(seed);
        let (one, other) = (sim.stream(1), sim.stream(1));
        let pointer = get(|pointer| sim.cuMemAllocAsync(pointer, 16, one));
        ok(sim.cuMemsetD32Async(pointer, 5, 4, one));
        let mut found = [0u32; 4];
        ok(sim.cuMemcpyDtoHAsync_v2(found.as_mut_ptr().cast(), pointer, 16, one));
        assert_eq!(found, [5; 4]);
        ok(sim.cuMemFreeAsync(pointer, one));
        assert_eq!(sim.cuMemFreeAsync(pointer, one), 1);
        assert_eq!(sim.cuMemcpyDtoHAsync_v2(found.as_mut_ptr().cast(), pointer, 16, one), 1);
        ok(sim.cuStreamSynchronize(one));
        for stream in [one, other] {
            ok(sim.cuStreamDestroy_v2(stream));
        }
        ok(sim.cuDevicePrimaryCtxRelease_v2(0));
        assert_eq!(sim.leaks(), 0, "{}", sim.report());
    }
}

#[test]
fn memory_of_one_stream_used_by_another_too_early_is_a_fault() {
    let sim = Sim::new("");
    let fault = |seed| {
        sim.restart(seed);
        let (one, other) = (sim.stream(1), sim.stream(1));
        let pointer = get(|pointer| sim.cuMemAllocAsync(pointer, 16, one));
        if sim.cuMemsetD32Async(pointer, 5, 4, other) != 0 {
            return true;
        }
        sim.cuStreamSynchronize(other) == 700
    };
    assert!((0..20).any(fault));
    assert!(!(0..20).all(fault));
}
