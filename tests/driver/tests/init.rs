//! Initialisation, devices, errors, entry points; as a driver that programs find by its name.

mod common;

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::{null, null_mut};

use common::{Sim, child, get, is_child, ok, said, try_get};

#[test]
fn nothing_works_before_init() {
    let sim = Sim::new("");
    assert_eq!(get::<i32>(|version| sim.cuDriverGetVersion(version)), 13000);
    assert_eq!(try_get::<i32>(|count| sim.cuDeviceGetCount(count)), Err(3));
    assert_eq!(sim.cuInit(1), 1);
    ok(sim.cuInit(0));
    ok(sim.cuInit(0));
    assert_eq!(get::<i32>(|count| sim.cuDeviceGetCount(count)), 1);
    assert_eq!(sim.cuDeviceGetCount(null_mut()), 1);
}

#[test]
fn devices_of_any_capability() {
    let settings = "XENT_SIM_DEVICES=9.0, 8.0,12.1\nXENT_SIM_DRIVER_VERSION=12080
        XENT_SIM_MEMORY=1000000";
    let sim = Sim::new(settings);
    ok(sim.cuInit(0));
    assert_eq!(get::<i32>(|version| sim.cuDriverGetVersion(version)), 12080);
    assert_eq!(get::<i32>(|count| sim.cuDeviceGetCount(count)), 3);
    let mut uuids = Vec::new();
    for (ordinal, [major, minor, optin, clusters]) in
        [[9, 0, 227, 1], [8, 0, 163, 0], [12, 1, 99, 1]].into_iter().enumerate()
    {
        let device = get::<i32>(|device| sim.cuDeviceGet(device, ordinal as i32));
        let attribute = |number| sim.device_attribute(number, device);
        assert_eq!([attribute(75), attribute(76)], [major, minor]);
        assert_eq!(attribute(97), optin * 1024);
        assert_eq!(attribute(120), clusters);
        assert_eq!([1, 10, 5].map(attribute), [1024, 32, i32::MAX]);
        assert!(attribute(16) > 0);
        assert_eq!(get::<usize>(|bytes| sim.cuDeviceTotalMem_v2(bytes, device)), 1_000_000);
        let mut name = [0; 100];
        ok(sim.cuDeviceGetName(name.as_mut_ptr().cast(), 100, device));
        let name = CStr::from_bytes_until_nul(&name).unwrap().to_str().unwrap();
        assert!(name.ends_with(&format!("{major}.{minor}")), "{name}");
        uuids.push(get::<[u8; 16]>(|uuid| sim.cuDeviceGetUuid_v2(uuid, device)));
    }
    assert!(uuids[0] != uuids[1] && uuids[1] != uuids[2]);
    for wrong in [-1, 3] {
        assert_eq!(try_get::<i32>(|device| sim.cuDeviceGet(device, wrong)), Err(101));
        assert_eq!(try_get::<i32>(|value| sim.cuDeviceGetAttribute(value, 75, wrong)), Err(101));
    }
    assert_eq!(try_get::<i32>(|value| sim.cuDeviceGetAttribute(value, 100_000, 0)), Err(1));
}

#[test]
fn limits_are_settings() {
    let sim = Sim::new("XENT_SIM_MULTIPROCESSORS=7\nXENT_SIM_CLUSTER=0");
    ok(sim.cuInit(0));
    assert_eq!([16, 120].map(|attribute| sim.device_attribute(attribute, 0)), [7, 0]);
}

#[test]
fn errors_have_names() {
    let sim = Sim::new("");
    let texts = |code| {
        let texts = [
            try_get::<usize>(|text| sim.cuGetErrorName(code, text.cast())),
            try_get::<usize>(|text| sim.cuGetErrorString(code, text.cast())),
        ];
        #[allow(unsafe_code)]
        // SAFETY: a successful call gives a C string that lasts.
        texts.map(|text| Ok(unsafe { CStr::from_ptr(text? as *const _) }.to_str().unwrap()))
    };
    assert_eq!(texts(0), [Ok("CUDA_SUCCESS"), Ok("no error")]);
    assert_eq!(texts(2), [Ok("CUDA_ERROR_OUT_OF_MEMORY"), Ok("out of memory")]);
    let illegal = "an illegal memory access was encountered";
    assert_eq!(texts(700), [Ok("CUDA_ERROR_ILLEGAL_ADDRESS"), Ok(illegal)]);
    assert_eq!(texts(12345), [Err(1), Err(1)]);
}

#[test]
fn entry_points_by_version_and_stream() {
    let sim = Sim::new("");
    let find = |name: &str, version, flags| {
        let name = CString::new(name).unwrap();
        let (mut function, mut status) = (null(), 9);
        ok(sim.cuGetProcAddress_v2(name.as_ptr(), &mut function, version, flags, &mut status));
        assert_eq!(function.is_null(), status == 1);
        function as usize
    };
    let current = |name| find(name, 13000, 0);
    assert_ne!(current("cuInit"), 0);
    assert_eq!(current("cuMemAlloc"), current("cuMemAlloc_v2"));
    assert_ne!(find("cuCtxCreate", 12000, 0), current("cuCtxCreate"));
    assert_ne!(find("cuLaunchKernel", 13000, 2), current("cuLaunchKernel"));
    assert_eq!(find("cuLaunchKernel", 13000, 2), current("cuLaunchKernel_ptsz"));
    assert_eq!(find("cuMemAlloc", 13000, 2), current("cuMemAlloc"));
    assert_eq!(current("cuNoSuchThing"), 0);
    assert_eq!(current("xent_sim_calls"), 0);
}

#[test]
fn an_old_driver_lacks_functions() {
    let sim = Sim::new("XENT_SIM_DRIVER_VERSION=11050");
    let find = |name: &CStr| {
        let mut function = null();
        ok(sim.cuGetProcAddress_v2(name.as_ptr(), &mut function, 13000, 0, null_mut()));
        !function.is_null()
    };
    assert!(find(c"cuLaunchKernel") && !find(c"cuLaunchKernelEx"));

    let folder = tempfile::tempdir().unwrap();
    let missing = ["cuLaunchKernelEx", "cuMemAllocAsync"];
    let path = xent_simulated_driver::install_without(folder.path(), &missing).unwrap();
    // SAFETY: the stand-in does nothing when it is loaded.
    #[allow(unsafe_code)]
    let library = std::mem::ManuallyDrop::new(unsafe { libloading::Library::new(path) }.unwrap());
    // SAFETY: no symbol is used.
    #[allow(unsafe_code)]
    let has = |name: &str| unsafe { library.get::<*const ()>(name.as_bytes()) }.is_ok();
    for name in missing {
        assert!(!has(name), "{name}");
    }
    for name in ["cuInit", "cuLaunchKernel", "cuLaunchKernelEx_ptsz", "cuMemAllocAsync_ptsz"] {
        assert!(has(name), "{name}");
    }
    assert!(xent_simulated_driver::install_without(folder.path(), &["cuNoSuchThing"]).is_err());
}

/// What a program sees that asks the dynamic loader for the driver.
fn init_of_the_driver_that_is_found() {
    let sim = Sim::open(Path::new("libcuda.so.1"));
    let code = sim.cuInit(0);
    let devices = try_get::<i32>(|count| sim.cuDeviceGetCount(count));
    println!("init {code}, devices {devices:?}");
}

#[test]
fn settings_of_the_environment() {
    if is_child() {
        return init_of_the_driver_that_is_found();
    }
    let run = |name, value| {
        let output = child("settings_of_the_environment", &[(name, value)]);
        assert!(output.status.success());
        said(&output)
    };
    assert!(run("XENT_SIM_DEVICES", "9.0,7.5").contains("init 0, devices Ok(2)"));
    assert!(run("XENT_SIM_DEVICES", "none").contains("init 100, devices Err(3)"));
    for code in ["100", "999", "35", "34"] {
        assert!(run("XENT_SIM_INIT", code).contains(&format!("init {code}, devices Err(3)")));
    }
    assert!(run("XENT_SIM_FAIL", "cuDeviceGetCount:1=46").contains("init 0, devices Err(46)"));
    for (name, value) in
        [("XENT_SIM_DEVICES", "nine"), ("XENT_SIM_SEED", "x"), ("XENT_SIM_FAIL", "x")]
    {
        let text = run(name, value);
        assert!(text.contains("init 999") && text.contains(value), "{text}");
    }
}
