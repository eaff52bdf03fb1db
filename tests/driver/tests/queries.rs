//! Everything else that programs and frameworks ask a driver.

mod common;

use std::ffi::{CString, c_char, c_void};
use std::ptr::{from_ref, null, null_mut};

use common::{CLUSTERS, Config, KERNELS, Sim, cluster, get, ok, try_get};
use libloading::Symbol;

api! {
    fn cuDeviceComputeCapability(major: *mut i32, minor: *mut i32, device: i32);
    fn cuDeviceGetPCIBusId(text: *mut c_char, bytes: i32, device: i32);
    fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: i32);
    fn cuDeviceCanAccessPeer(can: *mut i32, device: i32, peer: i32);
    fn cuDeviceGetDefaultMemPool(pool: *mut u64, device: i32);
    fn cuDeviceGetMemPool(pool: *mut u64, device: i32);
    fn cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: u32);
    fn cuMemPoolSetAttribute(pool: u64, attribute: u32, value: *mut c_void);
    fn cuMemPoolTrimTo(pool: u64, keep: usize);
    fn cuMemAllocFromPoolAsync(pointer: *mut u64, bytes: usize, pool: u64, stream: u64);
    fn cuMemAllocHost_v2(pointer: *mut *mut c_void, bytes: usize);
    fn cuMemHostGetDevicePointer_v2(pointer: *mut u64, host: *mut c_void, flags: u32);
    fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: u64);
    fn cuMemcpyHtoD_v2_ptds(to: u64, from: *const c_void, bytes: usize);
    fn cuMemsetD16_v2(to: u64, value: u16, count: usize);
    fn cuMemsetD32_v2(to: u64, value: u32, count: usize);
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: u64);
    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: u64);
    fn cuCtxCreate_v4(context: *mut u64, params: *const c_void, flags: u32, device: i32);
    fn cuCtxGetFlags(flags: *mut u32);
    fn cuCtxSetFlags(flags: u32);
    fn cuCtxGetId(context: u64, id: *mut u64);
    fn cuCtxGetApiVersion(context: u64, version: *mut u32);
    fn cuCtxGetLimit(value: *mut usize, limit: u32);
    fn cuCtxSetLimit(limit: u32, value: usize);
    fn cuCtxGetCacheConfig(config: *mut u32);
    fn cuCtxSetCacheConfig(config: u32);
    fn cuCtxGetStreamPriorityRange(least: *mut i32, greatest: *mut i32);
    fn cuStreamCreateWithPriority(stream: *mut u64, flags: u32, priority: i32);
    fn cuStreamGetFlags(stream: u64, flags: *mut u32);
    fn cuStreamGetPriority(stream: u64, priority: *mut i32);
    fn cuStreamGetDevice(stream: u64, device: *mut i32);
    fn cuStreamGetId(stream: u64, id: *mut u64);
    fn cuStreamGetCaptureInfo_v2(
        stream: u64,
        status: *mut u32,
        id: *mut u64,
        graph: *mut u64,
        dependencies: *mut *const c_void,
        count: *mut usize,
    );
    fn cuStreamGetCaptureInfo_v3(
        stream: u64,
        status: *mut u32,
        id: *mut u64,
        graph: *mut u64,
        dependencies: *mut *const c_void,
        edges: *mut *const c_void,
        count: *mut usize,
    );
    fn cuEventRecordWithFlags(event: u64, stream: u64, flags: u32);
    fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: u64, end: u64);
    fn cuGraphCreate(graph: *mut u64, flags: u32);
    fn cuGraphInstantiate_v2(
        executable: *mut u64,
        graph: u64,
        node: *mut u64,
        log: *mut c_char,
        bytes: usize,
    );
    fn cuGraphUpload(executable: u64, stream: u64);
    fn cuModuleLoad(module: *mut u64, path: *const c_char);
    fn cuModuleGetLoadingMode(mode: *mut u32);
    fn cuFuncGetModule(module: *mut u64, function: u64);
    fn cuFuncSetCacheConfig(function: u64, config: u32);
    fn cuFuncLoad(function: u64);
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        count: *mut i32,
        function: u64,
        threads: i32,
        shared: usize,
        flags: u32,
    );
    fn cuOccupancyMaxPotentialClusterSize(ctas: *mut i32, function: u64, config: *const Config);
    fn cuProfilerStart();
    fn cuProfilerStop();
    fn cuGetProcAddress(
        name: *const c_char,
        function: *mut *const c_void,
        version: i32,
        flags: u64,
    );
    fn cuGetExportTable(table: *mut *const c_void, id: *const c_void);
}

#[test]
fn devices() {
    let sim = Sim::new("XENT_SIM_DEVICES=8.6,8.9");
    ok(sim.cuInit(0));
    let (mut major, mut minor) = (0, 0);
    ok(sim.cuDeviceComputeCapability(&mut major, &mut minor, 1));
    assert_eq!((major, minor), (8, 9));
    let mut text = [0; 20];
    ok(sim.cuDeviceGetPCIBusId(text.as_mut_ptr().cast(), 20, 1));
    assert_eq!(&text[..13], b"0000:02:00.0\0");
    let uuid = get::<[u8; 16]>(|uuid| sim.cuDeviceGetUuid(uuid, 1));
    assert_eq!(uuid, get(|uuid| sim.cuDeviceGetUuid_v2(uuid, 1)));
    assert_eq!(get::<i32>(|can| sim.cuDeviceCanAccessPeer(can, 0, 1)), 0);
    assert_eq!(try_get::<i32>(|can| sim.cuDeviceCanAccessPeer(can, 0, 2)), Err(101));
    ok(sim.cuProfilerStart());
    ok(sim.cuProfilerStop());
    let mut function = null();
    ok(sim.cuGetProcAddress(c"cuInit".as_ptr(), &mut function, 11030, 0));
    assert_eq!(sim.cuGetProcAddress(c"cuNo".as_ptr(), &mut function, 11030, 0), 500);
    assert_eq!(sim.cuGetExportTable(&mut function, null()), 500);
}

#[test]
fn memory() {
    let sim = Sim::started("");
    let pool = get::<u64>(|pool| sim.cuDeviceGetDefaultMemPool(pool, 0));
    assert_eq!(get::<u64>(|pool| sim.cuDeviceGetMemPool(pool, 0)), pool);
    let mut threshold = u64::MAX;
    ok(sim.cuMemPoolSetAttribute(pool, 4, (&raw mut threshold).cast()));
    assert_eq!(sim.cuMemPoolSetAttribute(pool, 4, null_mut()), 1);
    assert_eq!(sim.cuMemPoolTrimTo(pool + 1, 0), 101);
    ok(sim.cuMemPoolTrimTo(pool, 0));
    let p = get::<u64>(|pointer| sim.cuMemAllocFromPoolAsync(pointer, 16, pool, 0));
    ok(sim.cuMemsetD16_v2(p, 0x1234, 2));
    ok(sim.cuMemsetD32_v2(p + 4, 7, 1));
    ok(sim.cuMemsetD8Async(p + 8, 1, 4, 0));
    ok(sim.cuMemsetD16Async(p + 12, 2, 2, 0));
    assert_eq!(sim.read(p, 4), [0x1234_1234, 7, 0x0101_0101, 0x0002_0002]);
    let words = [5u32; 2];
    ok(sim.cuMemcpyAsync(p, from_ref(&words) as u64, 8, 0));
    ok(sim.cuMemcpyAsync(p + 8, p, 8, 0));
    ok(sim.cuMemcpyHtoD_v2_ptds(p + 12, [6u32].as_ptr().cast(), 4));
    assert_eq!(sim.read(p, 4), [5, 5, 5, 6]);
    assert_eq!(sim.cuMemcpyAsync(from_ref(&words) as u64, from_ref(&words) as u64, 8, 0), 801);

    let mut host = null_mut();
    ok(sim.cuMemAllocHost_v2(&mut host, 8));
    let mapped = get::<u64>(|pointer| sim.cuMemHostGetDevicePointer_v2(pointer, host, 0));
    assert_eq!(mapped, host as u64);
    ok(sim.cuMemFreeHost(host));
    assert_eq!(sim.cuMemFreeHost(host), 1);
}

#[test]
fn contexts() {
    let sim = Sim::started("XENT_SIM_DEVICES=9.0,8.0");
    let primary = get::<u64>(|context| sim.cuCtxGetCurrent(context));
    ok(sim.cuDevicePrimaryCtxSetFlags_v2(0, 4));
    assert_eq!(get::<u32>(|flags| sim.cuCtxGetFlags(flags)), 4);
    ok(sim.cuCtxSetFlags(1));
    assert_eq!(get::<u32>(|flags| sim.cuCtxGetFlags(flags)), 1);
    let context = get::<u64>(|context| sim.cuCtxCreate_v4(context, null(), 2, 1));
    assert_eq!(get::<u32>(|flags| sim.cuCtxGetFlags(flags)), 2);
    let id = |context| get::<u64>(|id| sim.cuCtxGetId(context, id));
    assert!(id(0) == id(context) && id(0) != id(primary));
    assert!(get::<u32>(|version| sim.cuCtxGetApiVersion(0, version)) >= 3020);
    ok(sim.cuCtxSetLimit(0, 4096));
    assert_eq!(get::<usize>(|value| sim.cuCtxGetLimit(value, 0)), 4096);
    assert_eq!(try_get::<usize>(|value| sim.cuCtxGetLimit(value, 99)), Err(215));
    ok(sim.cuCtxSetCacheConfig(1));
    assert_eq!(sim.cuCtxSetCacheConfig(4), 1);
    assert_eq!(get::<u32>(|config| sim.cuCtxGetCacheConfig(config)), 0);
    ok(sim.cuCtxDestroy_v2(context));
}

#[test]
fn streams_and_graphs() {
    let sim = Sim::started("");
    let (mut least, mut greatest) = (9, 9);
    ok(sim.cuCtxGetStreamPriorityRange(&mut least, &mut greatest));
    assert_eq!((least, greatest), (0, -5));
    let stream = get::<u64>(|stream| sim.cuStreamCreateWithPriority(stream, 1, -9));
    assert_eq!(get::<i32>(|priority| sim.cuStreamGetPriority(stream, priority)), -5);
    assert_eq!(get::<u32>(|flags| sim.cuStreamGetFlags(stream, flags)), 1);
    assert_eq!(get::<i32>(|device| sim.cuStreamGetDevice(stream, device)), 0);
    let id = |stream| get::<u64>(|id| sim.cuStreamGetId(stream, id));
    assert_ne!(id(stream), id(0));
    assert_eq!(try_get::<u64>(|stream| sim.cuStreamCreate(stream, 2)), Err(1));

    let info = || {
        let (mut status, mut number, mut again) = (9, 0, 0);
        let none = null_mut();
        ok(sim.cuStreamGetCaptureInfo_v2(
            stream,
            &mut status,
            &mut number,
            none,
            null_mut(),
            none.cast(),
        ));
        ok(sim.cuStreamGetCaptureInfo_v3(
            stream,
            &mut status,
            &mut again,
            none,
            null_mut(),
            null_mut(),
            none.cast(),
        ));
        assert_eq!(number, again);
        (status, number)
    };
    assert_eq!(info(), (0, 0));
    ok(sim.cuStreamBeginCapture_v2(stream, 0));
    let first = info();
    assert!(first.0 == 1 && first.1 != 0);
    let captured = get::<u64>(|graph| sim.cuStreamEndCapture(stream, graph));
    ok(sim.cuStreamBeginCapture_v2(stream, 0));
    assert_ne!(info().1, first.1);
    assert_eq!(try_get::<u64>(|pointer| sim.cuMemAlloc_v2(pointer, 4)), Err(900));
    assert_eq!(info(), (2, 0));
    assert_eq!(try_get::<u64>(|graph| sim.cuStreamEndCapture(stream, graph)), Err(901));

    let empty = get::<u64>(|graph| sim.cuGraphCreate(graph, 0));
    for graph in [captured, empty] {
        assert_eq!(get::<usize>(|count| sim.cuGraphGetNodes(graph, null_mut(), count)), 0);
        let executable = get::<u64>(|executable| {
            sim.cuGraphInstantiate_v2(executable, graph, null_mut(), null_mut(), 0)
        });
        ok(sim.cuGraphUpload(executable, stream));
        ok(sim.cuGraphLaunch(executable, stream));
    }
    let [start, end] = [sim.event(), sim.event()];
    ok(sim.cuEventRecordWithFlags(start, stream, 0));
    assert_eq!(sim.cuEventRecordWithFlags(start, stream, 2), 1);
    ok(sim.cuEventRecord(end, stream));
    ok(sim.cuStreamSynchronize(stream));
    assert!(get::<f32>(|time| sim.cuEventElapsedTime_v2(time, start, end)) > 0.0);
}

#[test]
fn kernels() {
    let sim = Sim::started("");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernels.ptx");
    std::fs::write(&path, KERNELS).unwrap();
    let name = |path: &std::path::Path| CString::new(path.to_str().unwrap()).unwrap();
    let module = get::<u64>(|module| sim.cuModuleLoad(module, name(&path).as_ptr()));
    let missing = name(&folder.path().join("x"));
    assert_eq!(try_get::<u64>(|module| sim.cuModuleLoad(module, missing.as_ptr())), Err(301));
    let function = sim.function(module, "few");
    assert_eq!(get::<u64>(|module| sim.cuFuncGetModule(module, function)), module);
    ok(sim.cuFuncSetCacheConfig(function, 1));
    ok(sim.cuFuncLoad(function));
    assert_eq!(sim.cuFuncLoad(module), 400);
    assert_eq!(get::<u32>(|mode| sim.cuModuleGetLoadingMode(mode)), 1);
    let fit = |flags| {
        try_get::<i32>(|count| {
            sim.cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(count, function, 64, 0, flags)
        })
    };
    assert_eq!([fit(0), fit(1), fit(2)], [Ok(16), Ok(16), Err(1)]);
    let any = sim.function(sim.load(CLUSTERS).unwrap(), "any");
    let largest = || {
        let config = Config::new(16, 128, &[]);
        get::<i32>(|ctas| sim.cuOccupancyMaxPotentialClusterSize(ctas, any, &config))
    };
    assert_eq!(largest(), 8);
    ok(sim.cuFuncSetAttribute(any, 14, 1));
    assert_eq!(largest(), 16);
    let attributes = [cluster(2)];
    let config = Config { shared: 228 * 1024, ..Config::new(16, 128, &attributes) };
    assert_eq!(get::<i32>(|count| sim.cuOccupancyMaxActiveClusters(count, any, &config)), 0);
}
