//! The stand-in, loaded as a client loads a driver: by path, its functions by name. Every test has
//! a copy of its own, with a state of its own.
#![allow(dead_code, non_snake_case)] // each test file uses its part; the names are those of C
#![allow(unsafe_code)] // calls C

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::process::{Command, Output};
use std::ptr::null;

use libloading::{Library, Symbol};

/// Kernels of one thread each, unless they say more.
pub const KERNELS: &str = "
    .version 8.0
    .target sm_70
    .address_size 64
    // p[i] = 3 p[i] + value: the order of two of them shows.
    .visible .entry step(.param .u64 p, .param .u32 value) {
        .reg .b32 %r<5>; .reg .b64 %rd<3>;
        ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [value];
        mov.u32 %r2, %tid.x; mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x;
        mad.lo.u32 %r2, %r3, %r4, %r2; mul.wide.u32 %rd2, %r2, 4; add.s64 %rd1, %rd1, %rd2;
        ld.global.u32 %r3, [%rd1]; mad.lo.u32 %r3, %r3, 3, %r1; st.global.u32 [%rd1], %r3;
        ret;
    }
    // Writes far behind p.
    .visible .entry stray(.param .u64 p) {
        .reg .b64 %rd<2>;
        ld.param.u64 %rd1, [p]; add.s64 %rd1, %rd1, 1048576; st.global.u32 [%rd1], 1;
        ret;
    }
    .visible .entry odd(.param .u64 p) {
        .reg .b64 %rd<2>;
        ld.param.u64 %rd1, [p]; add.s64 %rd1, %rd1, 2; st.global.u32 [%rd1], 1;
        ret;
    }
    .visible .entry give_up() { trap; ret; }
    .visible .entry nothing() { ret; }
    .visible .entry few() .maxntid 64, 1, 1 { ret; }
    .visible .entry shared() { .shared .align 4 .b8 a[40000]; ret; }
    .visible .entry mixed(.param .u64 p, .param .u8 small, .param .f32 real) {
        .reg .b16 %h<2>; .reg .b32 %r<2>; .reg .f32 %f<2>; .reg .b64 %rd<2>;
        ld.param.u64 %rd1, [p]; ld.param.u8 %h1, [small]; ld.param.f32 %f1, [real];
        cvt.u32.u16 %r1, %h1; st.global.u32 [%rd1], %r1; st.global.f32 [%rd1+4], %f1;
        ret;
    }";

/// Kernels for devices that have clusters.
pub const CLUSTERS: &str = "
    .version 8.0
    .target sm_90
    .address_size 64
    .visible .entry any() { ret; }
    .visible .entry four() .reqnctapercluster 4, 1, 1 { ret; }
    .visible .entry rank(.param .u64 p) {
        .reg .b32 %r<3>; .reg .b64 %rd<3>;
        ld.param.u64 %rd1, [p]; mov.u32 %r1, %ctaid.x; mul.wide.u32 %rd2, %r1, 4;
        add.s64 %rd1, %rd1, %rd2; mov.u32 %r2, %cluster_ctarank; st.global.u32 [%rd1], %r2;
        ret;
    }";

/// `CUlaunchAttribute`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Attribute {
    pub id: u32,
    pub pad: u32,
    pub value: [u64; 8],
}

/// `CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION` of x CTAs.
pub fn cluster(x: u32) -> Attribute {
    let mut value = [0; 8];
    value[0] = u64::from(x) | 1 << 32;
    value[1] = 1;
    Attribute { id: 4, pad: 0, value }
}

/// `CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION`
pub fn overlaps() -> Attribute {
    let mut value = [0; 8];
    value[0] = 1;
    Attribute { id: 6, pad: 0, value }
}

/// `CUlaunchConfig`
#[repr(C)]
pub struct Config {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub stream: u64,
    pub attributes: *const Attribute,
    pub count: u32,
}

impl Config {
    pub fn new(grid: u32, block: u32, attributes: &[Attribute]) -> Config {
        let (grid, block) = ([grid, 1, 1], [block, 1, 1]);
        let (attributes, count) = (attributes.as_ptr(), attributes.len() as u32);
        Config { grid, block, shared: 0, stream: 0, attributes, count }
    }
}

/// A copy of the stand-in.
pub struct Sim {
    pub library: &'static Library,
}

/// Declares functions of the driver.
#[macro_export]
macro_rules! api {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?);)*) => {
        impl Sim {$(
            #[allow(unsafe_code, non_snake_case, clippy::too_many_arguments)] // it is C's
            pub fn $name(&self, $($argument: $type),*) -> i32 {
                // SAFETY: the signature in cuda.h; tests pass what it asks for.
                unsafe {
                    let function: Symbol<'_, unsafe extern "C" fn($($type),*) -> i32> =
                        self.library.get(stringify!($name).as_bytes()).unwrap();
                    function($($argument),*)
                }
            }
        )*}
    };
}

api! {
    fn cuInit(flags: u32);
    fn cuDriverGetVersion(version: *mut i32);
    fn cuGetErrorName(code: i32, text: *mut *const c_char);
    fn cuGetErrorString(code: i32, text: *mut *const c_char);
    fn cuGetProcAddress_v2(
        name: *const c_char,
        function: *mut *const c_void,
        version: i32,
        flags: u64,
        status: *mut u32,
    );
    fn cuDeviceGetCount(count: *mut i32);
    fn cuDeviceGet(device: *mut i32, ordinal: i32);
    fn cuDeviceGetName(name: *mut c_char, bytes: i32, device: i32);
    fn cuDeviceGetAttribute(value: *mut i32, attribute: u32, device: i32);
    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: i32);
    fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: i32);
    fn cuDevicePrimaryCtxRetain(context: *mut u64, device: i32);
    fn cuDevicePrimaryCtxRelease_v2(device: i32);
    fn cuDevicePrimaryCtxReset_v2(device: i32);
    fn cuDevicePrimaryCtxGetState(device: i32, flags: *mut u32, active: *mut i32);
    fn cuCtxCreate_v2(context: *mut u64, flags: u32, device: i32);
    fn cuCtxDestroy_v2(context: u64);
    fn cuCtxPushCurrent_v2(context: u64);
    fn cuCtxPopCurrent_v2(context: *mut u64);
    fn cuCtxSetCurrent(context: u64);
    fn cuCtxGetCurrent(context: *mut u64);
    fn cuCtxGetDevice(device: *mut i32);
    fn cuCtxSynchronize();
    fn cuMemAlloc_v2(pointer: *mut u64, bytes: usize);
    fn cuMemFree_v2(pointer: u64);
    fn cuMemAllocAsync(pointer: *mut u64, bytes: usize, stream: u64);
    fn cuMemFreeAsync(pointer: u64, stream: u64);
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    fn cuMemGetAddressRange_v2(base: *mut u64, bytes: *mut usize, pointer: u64);
    fn cuMemHostAlloc(pointer: *mut *mut c_void, bytes: usize, flags: u32);
    fn cuMemFreeHost(pointer: *mut c_void);
    fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize);
    fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize);
    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize);
    fn cuMemcpy(to: u64, from: u64, bytes: usize);
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: u64);
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: u64);
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64);
    fn cuMemsetD8_v2(to: u64, value: u8, count: usize);
    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: u64);
    fn cuPointerGetAttribute(data: *mut c_void, attribute: u32, pointer: u64);
    fn cuPointerGetAttributes(
        count: u32,
        attributes: *const u32,
        data: *const *mut c_void,
        pointer: u64,
    );
    fn cuModuleLoadData(module: *mut u64, image: *const c_void);
    fn cuModuleLoadDataEx(
        module: *mut u64,
        image: *const c_void,
        count: u32,
        options: *const u32,
        values: *mut *mut c_void,
    );
    fn cuModuleUnload(module: u64);
    fn cuModuleGetFunction(function: *mut u64, module: u64, name: *const c_char);
    fn cuFuncGetAttribute(value: *mut i32, attribute: u32, function: u64);
    fn cuFuncSetAttribute(function: u64, attribute: u32, value: i32);
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        count: *mut i32,
        function: u64,
        threads: i32,
        shared: usize,
    );
    fn cuOccupancyMaxActiveClusters(count: *mut i32, function: u64, config: *const Config);
    fn cuLaunchKernel(
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
    );
    fn cuLaunchKernel_ptsz(
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
    );
    fn cuLaunchKernelEx(
        config: *const Config,
        function: u64,
        parameters: *const *const c_void,
        extra: *const *const c_void,
    );
    fn cuLaunchHostFunc(
        stream: u64,
        function: unsafe extern "C" fn(*mut c_void),
        data: *mut c_void,
    );
    fn cuStreamCreate(stream: *mut u64, flags: u32);
    fn cuStreamDestroy_v2(stream: u64);
    fn cuStreamSynchronize(stream: u64);
    fn cuStreamQuery(stream: u64);
    fn cuStreamWaitEvent(stream: u64, event: u64, flags: u32);
    fn cuStreamGetCtx(stream: u64, context: *mut u64);
    fn cuStreamBeginCapture_v2(stream: u64, mode: u32);
    fn cuStreamEndCapture(stream: u64, graph: *mut u64);
    fn cuStreamIsCapturing(stream: u64, status: *mut u32);
    fn cuThreadExchangeStreamCaptureMode(mode: *mut u32);
    fn cuGraphInstantiateWithFlags(executable: *mut u64, graph: u64, flags: u64);
    fn cuGraphGetNodes(graph: u64, nodes: *mut u64, count: *mut usize);
    fn cuGraphLaunch(executable: u64, stream: u64);
    fn cuGraphExecDestroy(executable: u64);
    fn cuGraphDestroy(graph: u64);
    fn cuEventCreate(event: *mut u64, flags: u32);
    fn cuEventDestroy_v2(event: u64);
    fn cuEventRecord(event: u64, stream: u64);
    fn cuEventQuery(event: u64);
    fn cuEventSynchronize(event: u64);
    fn cuEventElapsedTime(milliseconds: *mut f32, start: u64, end: u64);
    fn xent_sim_fail(calls: *const c_char);
}

/// The result of a call that must succeed.
#[track_caller]
pub fn ok(code: i32) {
    assert_eq!(code, 0);
}

/// What a call with one result gives.
#[track_caller]
pub fn get<T: Default>(call: impl FnOnce(*mut T) -> i32) -> T {
    let mut value = T::default();
    ok(call(&mut value));
    value
}

/// The same where it may fail.
pub fn try_get<T: Default>(call: impl FnOnce(*mut T) -> i32) -> Result<T, i32> {
    let mut value = T::default();
    match call(&mut value) {
        0 => Ok(value),
        code => Err(code),
    }
}

impl Sim {
    /// A copy that has not been initialised.
    pub fn new(settings: &str) -> Sim {
        let folder = tempfile::tempdir().unwrap();
        let path = xent_simulated_driver::install(folder.path()).unwrap();
        let sim = Sim::open(&path);
        sim.reset(settings);
        sim
    }

    /// The library that is there.
    pub fn open(path: &Path) -> Sim {
        // SAFETY: the stand-in does nothing when it is loaded. It stays, as drivers do.
        let library = unsafe { Library::new(path) }.unwrap();
        Sim { library: Box::leak(Box::new(library)) }
    }

    /// One with a current primary context on device 0.
    pub fn started(settings: &str) -> Sim {
        let sim = Sim::new(settings);
        sim.start();
        sim
    }

    /// Begins anew with this seed, as [`Sim::started`] does.
    pub fn restart(&self, seed: u64) {
        self.reset(&format!("XENT_SIM_SEED={seed}"));
        self.start();
    }

    pub fn start(&self) {
        ok(self.cuInit(0));
        ok(self.cuCtxSetCurrent(self.retain(0)));
    }

    pub fn retain(&self, device: i32) -> u64 {
        get(|context| self.cuDevicePrimaryCtxRetain(context, device))
    }

    fn control<F: Copy>(&self, name: &str) -> F {
        // SAFETY: callers name the type that the stand-in has.
        unsafe { *self.library.get::<F>(name.as_bytes()).unwrap() }
    }

    pub fn reset(&self, settings: &str) {
        let settings = CString::new(settings).unwrap();
        let reset: unsafe extern "C" fn(*const c_char) = self.control("xent_sim_reset");
        // SAFETY: a C string.
        unsafe { reset(settings.as_ptr()) }
    }

    pub fn fail(&self, calls: &str) {
        ok(self.xent_sim_fail(CString::new(calls).unwrap().as_ptr()));
    }

    pub fn forbid(&self, names: &str) {
        let names = CString::new(names).unwrap();
        let forbid: unsafe extern "C" fn(*const c_char) = self.control("xent_sim_forbid");
        // SAFETY: a C string.
        unsafe { forbid(names.as_ptr()) }
    }

    pub fn calls(&self, name: &str) -> u64 {
        let name = CString::new(name).unwrap();
        let calls: unsafe extern "C" fn(*const c_char) -> u64 = self.control("xent_sim_calls");
        // SAFETY: a C string.
        unsafe { calls(name.as_ptr()) }
    }

    fn number(&self, name: &str) -> u64 {
        let function: unsafe extern "C" fn() -> u64 = self.control(name);
        // SAFETY: it takes nothing.
        unsafe { function() }
    }

    pub fn leaks(&self) -> u64 {
        self.number("xent_sim_leaks")
    }

    pub fn violations(&self) -> u64 {
        self.number("xent_sim_violations")
    }

    pub fn pending(&self) -> u64 {
        self.number("xent_sim_pending")
    }

    pub fn report(&self) -> String {
        let report: unsafe extern "C" fn(*mut c_char, usize) -> usize =
            self.control("xent_sim_report");
        let mut text = vec![0u8; 1 << 16];
        // SAFETY: a buffer of that size.
        unsafe { report(text.as_mut_ptr().cast(), text.len()) };
        CStr::from_bytes_until_nul(&text).unwrap().to_str().unwrap().to_owned()
    }

    pub fn alloc(&self, bytes: usize) -> u64 {
        get(|pointer| self.cuMemAlloc_v2(pointer, bytes))
    }

    /// Device memory with these words.
    pub fn words(&self, words: &[u32]) -> u64 {
        let pointer = self.alloc(4 * words.len());
        ok(self.cuMemcpyHtoD_v2(pointer, words.as_ptr().cast(), 4 * words.len()));
        pointer
    }

    pub fn read(&self, pointer: u64, words: usize) -> Vec<u32> {
        let mut found = vec![0u32; words];
        ok(self.cuMemcpyDtoH_v2(found.as_mut_ptr().cast(), pointer, 4 * words));
        found
    }

    pub fn load(&self, text: &str) -> Result<u64, i32> {
        let text = CString::new(text).unwrap();
        try_get(|module| self.cuModuleLoadData(module, text.as_ptr().cast()))
    }

    pub fn function(&self, module: u64, name: &str) -> u64 {
        let name = CString::new(name).unwrap();
        get(|function| self.cuModuleGetFunction(function, module, name.as_ptr()))
    }

    /// Functions of [`KERNELS`].
    pub fn kernel(&self, name: &str) -> u64 {
        self.function(self.load(KERNELS).unwrap(), name)
    }

    /// One CTA, with parameters of 64 bits, of which a kernel may take less.
    pub fn launch(&self, function: u64, threads: u32, stream: u64, parameters: &[u64]) -> i32 {
        let pointers: Vec<*const c_void> =
            parameters.iter().map(|value| std::ptr::from_ref(value).cast()).collect();
        let pointers = pointers.as_ptr();
        self.cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, 0, stream, pointers, null())
    }

    pub fn stream(&self, flags: u32) -> u64 {
        get(|stream| self.cuStreamCreate(stream, flags))
    }

    pub fn event(&self) -> u64 {
        get(|event| self.cuEventCreate(event, 0))
    }

    pub fn device_attribute(&self, attribute: u32, device: i32) -> i32 {
        get(|value| self.cuDeviceGetAttribute(value, attribute, device))
    }

    pub fn attribute(&self, function: u64, attribute: u32) -> i32 {
        get(|value| self.cuFuncGetAttribute(value, attribute, function))
    }
}

/// Whether this process is the one that [`child`] started for a test.
pub fn is_child() -> bool {
    std::env::var_os("XENT_SIM_CHILD").is_some()
}

/// Runs a test of this file in a process of its own, where the stand-in is `libcuda.so.1`.
pub fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    xent_simulated_driver::install(folder.path()).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env("XENT_SIM_CHILD", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// All that a process said.
pub fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}
