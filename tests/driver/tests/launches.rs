//! Launches: what they compute, what is refused, and what a fault leaves.

mod common;

use std::ffi::c_void;
use std::ptr::{from_ref, null, null_mut};

use common::{Attribute, CLUSTERS, Config, KERNELS, Sim, cluster, get, ok, overlaps, try_get};

#[test]
fn a_kernel_computes() {
    let sim = Sim::started("");
    let p = sim.words(&[1; 64]);
    let step = sim.kernel("step");
    let (value, pointers) = (5u32, [from_ref(&p).cast::<c_void>(), null()]);
    let pointers = [pointers[0], from_ref(&value).cast()];
    let pointers = pointers.as_ptr();
    ok(sim.cuLaunchKernel(step, 2, 1, 1, 16, 1, 1, 0, 0, pointers, null()));
    let found = sim.read(p, 64);
    assert!(found[..32].iter().all(|&x| x == 8) && found[32..].iter().all(|&x| x == 1));
}

#[test]
fn parameters_of_all_sizes_by_pointers_or_packed() {
    let sim = Sim::started("");
    let p = sim.words(&[0, 0]);
    let mixed = sim.kernel("mixed");
    let (small, real) = (7u8, 2.5f32);
    let pointers = [from_ref(&p).cast(), from_ref(&small).cast(), from_ref(&real).cast::<c_void>()];
    ok(sim.cuLaunchKernel(mixed, 1, 1, 1, 1, 1, 1, 0, 0, pointers.as_ptr(), null()));
    assert_eq!(sim.read(p, 2), [7, 2.5f32.to_bits()]);

    let mut packed = p.to_le_bytes().to_vec();
    packed.extend([9, 0, 0, 0]);
    packed.extend(1.5f32.to_le_bytes());
    let launch = |size: usize| {
        let (pointer, size) = (packed.as_ptr().cast(), from_ref(&size).cast::<c_void>());
        let name = |number: usize| number as *const c_void;
        let extra = [name(1), pointer, name(2), size, name(0)];
        sim.cuLaunchKernel(mixed, 1, 1, 1, 1, 1, 1, 0, 0, null(), extra.as_ptr())
    };
    ok(launch(16));
    assert_eq!(sim.read(p, 2), [9, 1.5f32.to_bits()]);
    assert_eq!(launch(15), 1);
    assert_eq!(sim.cuLaunchKernel(mixed, 1, 1, 1, 1, 1, 1, 0, 0, null(), null()), 1);
}

#[test]
fn shapes_that_no_device_takes() {
    let sim = Sim::started("XENT_SIM_DEVICES=8.0");
    let module = sim.load(KERNELS).unwrap();
    let nothing = sim.function(module, "nothing");
    let launch = |function, [x, y, z]: [u32; 3], [a, b, c]: [u32; 3], shared| {
        sim.cuLaunchKernel(function, x, y, z, a, b, c, shared, 0, null(), null())
    };
    ok(launch(nothing, [1, 1, 1], [1024, 1, 1], 48 * 1024));
    for (grid, block, shared) in [
        ([0, 1, 1], [1, 1, 1], 0),
        ([1, 1, 1], [1, 0, 1], 0),
        ([1, 65536, 1], [1, 1, 1], 0),
        ([1, 1, 65536], [1, 1, 1], 0),
        ([1 << 31, 1, 1], [1, 1, 1], 0),
        ([1, 1, 1], [1025, 1, 1], 0),
        ([1, 1, 1], [1, 1, 65], 0),
        ([1, 1, 1], [512, 3, 1], 0),
        ([1, 1, 1], [1, 1, 1], 48 * 1024 + 1),
    ] {
        assert_eq!(launch(nothing, grid, block, shared), 1, "{grid:?} {block:?} {shared}");
    }
    let few = sim.function(module, "few");
    ok(launch(few, [1; 3], [64, 1, 1], 0));
    assert_eq!(launch(few, [1; 3], [65, 1, 1], 0), 1);
    let shared = sim.function(module, "shared");
    assert_eq!(launch(shared, [1; 3], [1; 3], 48 * 1024 - 40000 + 1), 1);
    ok(sim.cuFuncSetAttribute(shared, 8, 100_000));
    ok(launch(shared, [1; 3], [1; 3], 100_000));
    assert_eq!(launch(shared, [1; 3], [1; 3], 100_001), 1);
    ok(sim.cuCtxSynchronize());
    assert_eq!(sim.pending(), 0);
    assert_eq!(launch(12345, [1; 3], [1; 3], 0), 400);
}

fn launch_ex(sim: &Sim, function: u64, grid: u32, attributes: &[Attribute]) -> i32 {
    let config = Config::new(grid, 32, attributes);
    sim.cuLaunchKernelEx(&config, function, null(), null())
}

#[test]
fn clusters_by_attribute_and_by_compilation() {
    let sim = Sim::started("");
    let module = sim.load(CLUSTERS).unwrap();
    let (any, four) = (sim.function(module, "any"), sim.function(module, "four"));
    for (function, grid, size, result) in [
        (any, 8, 1, 0),
        (any, 8, 8, 0),
        (any, 12, 8, 1),
        (any, 9, 9, 912),
        (any, 16, 16, 912),
        (any, 8, 0, 912),
        (four, 8, 4, 0),
        (four, 8, 2, 912),
    ] {
        assert_eq!(launch_ex(&sim, function, grid, &[cluster(size)]), result, "{grid} {size}");
    }
    ok(launch_ex(&sim, four, 8, &[]));
    assert_eq!(launch_ex(&sim, four, 6, &[]), 1);
    ok(sim.cuFuncSetAttribute(any, 14, 1));
    ok(launch_ex(&sim, any, 16, &[cluster(16), overlaps()]));
    assert_eq!(launch_ex(&sim, any, 1, &[Attribute { id: 99, ..overlaps() }]), 801);

    let rank = sim.function(module, "rank");
    let p = sim.alloc(16);
    let attributes = [cluster(2)];
    let config = Config::new(4, 1, &attributes);
    let parameters = [from_ref(&p).cast::<c_void>()];
    ok(sim.cuLaunchKernelEx(&config, rank, parameters.as_ptr(), null()));
    assert_eq!(sim.read(p, 4), [0, 1, 0, 1]);
}

#[test]
fn old_devices_have_no_clusters() {
    let sim = Sim::started("XENT_SIM_DEVICES=8.9");
    let nothing = sim.kernel("nothing");
    ok(launch_ex(&sim, nothing, 2, &[cluster(1)]));
    assert_eq!(launch_ex(&sim, nothing, 2, &[cluster(2)]), 912);
    assert_eq!(launch_ex(&sim, nothing, 2, &[overlaps()]), 801);
    let small = Sim::started("XENT_SIM_CLUSTER=4");
    let any = small.function(small.load(CLUSTERS).unwrap(), "any");
    ok(launch_ex(&small, any, 4, &[cluster(4)]));
    assert_eq!(launch_ex(&small, any, 8, &[cluster(8)]), 912);
}

#[test]
fn contexts_of_kernel_stream_and_thread_must_agree() {
    let sim = Sim::started("XENT_SIM_DEVICES=9.0,9.0");
    let nothing = sim.kernel("nothing");
    let stream = sim.stream(0);
    ok(sim.launch(nothing, 1, stream, &[]));
    ok(sim.cuCtxSetCurrent(sim.retain(1)));
    assert_eq!(sim.launch(nothing, 1, 0, &[]), 400);
    assert_eq!(sim.launch(nothing, 1, stream, &[]), 400);
    ok(sim.cuCtxSetCurrent(0));
    assert_eq!(sim.launch(nothing, 1, stream, &[]), 201);
}

#[test]
fn a_device_finds_nothing_of_another() {
    let sim = Sim::started("XENT_SIM_DEVICES=9.0,9.0");
    let p = sim.words(&[1]);
    ok(sim.cuCtxSetCurrent(sim.retain(1)));
    let step = sim.kernel("step");
    ok(sim.launch(step, 1, 0, &[p, 1]));
    assert_eq!(sim.cuCtxSynchronize(), 700);
}

#[test]
fn a_fault_stays_with_its_context() {
    for (kernel, code) in [("stray", 700), ("odd", 716), ("give_up", 719)] {
        let sim = Sim::started("XENT_SIM_DEVICES=9.0,9.0");
        let p = sim.words(&[1]);
        let _kept = sim.alloc(4); // nobody can be asked to free it
        let module = sim.load(KERNELS).unwrap();
        let wrong = sim.function(module, kernel);
        let (stream, event) = (sim.stream(0), sim.event());
        ok(sim.launch(wrong, 1, stream, &[p])); // it is asynchronous
        assert_eq!(sim.cuStreamSynchronize(stream), code);
        let mut word = 0u32;
        let to: *mut c_void = std::ptr::from_mut(&mut word).cast();
        for again in [
            sim.cuCtxSynchronize(),
            sim.cuStreamSynchronize(0),
            sim.cuStreamQuery(stream),
            sim.cuEventRecord(event, stream),
            sim.cuMemcpyDtoH_v2(to, p, 4),
            sim.cuMemAlloc_v2(&mut 0, 4),
            sim.launch(wrong, 1, stream, &[p]),
            sim.load(KERNELS).unwrap_err(),
            // What gives something back says so, too, and does it.
            sim.cuMemFree_v2(p),
            sim.cuEventDestroy_v2(event),
            sim.cuStreamDestroy_v2(stream),
            sim.cuModuleUnload(module),
        ] {
            assert_eq!(again, code, "{kernel}");
        }
        assert!(sim.report().contains(kernel));
        // Another context is as it was.
        ok(sim.cuCtxSetCurrent(sim.retain(1)));
        ok(sim.cuMemFree_v2(sim.alloc(4)));
        ok(sim.cuDevicePrimaryCtxRelease_v2(1));
        // Once the broken one is gone the device is of use again.
        ok(sim.cuDevicePrimaryCtxRelease_v2(0));
        assert_eq!((sim.leaks(), sim.violations()), (0, 0), "{}", sim.report());
        ok(sim.cuCtxSetCurrent(sim.retain(0)));
        let q = sim.words(&[2]);
        assert_eq!(sim.read(q, 1), [2]);
    }
}

#[test]
fn reading_what_nobody_wrote_is_a_violation() {
    let sim = Sim::started("");
    let p = sim.alloc(4);
    let step = sim.kernel("step");
    ok(sim.launch(step, 1, 0, &[p, 1]));
    assert_eq!(sim.cuCtxSynchronize(), 719);
    assert_eq!(sim.violations(), 1);
    let filled = Sim::started("XENT_SIM_FILL=255");
    let (p, step) = (filled.alloc(4), filled.kernel("step"));
    ok(filled.launch(step, 1, 0, &[p, 1]));
    assert_eq!(filled.read(p, 1), [u32::MAX - 1]);
}

#[test]
fn the_host_is_called_in_its_turn_and_must_not_call_back() {
    static SIM: std::sync::OnceLock<Sim> = std::sync::OnceLock::new();
    #[allow(unsafe_code)]
    unsafe extern "C" fn back(data: *mut c_void) {
        let sim = SIM.get().unwrap();
        let code = try_get::<u64>(|stream| sim.cuStreamCreate(stream, 0)).unwrap_err();
        // SAFETY: the test passes a word that outlives the stream's work.
        unsafe { data.cast::<i32>().write(code) };
    }
    let sim = SIM.get_or_init(|| Sim::started(""));
    let mut code = 0i32;
    ok(sim.cuLaunchHostFunc(0, back, std::ptr::from_mut(&mut code).cast()));
    ok(sim.cuCtxSynchronize());
    assert_eq!(code, 800);
    let _: u64 = get(|stream| sim.cuStreamCreate(stream, 0));
    assert_eq!(sim.cuStreamCreate(null_mut(), 0), 1);
}
