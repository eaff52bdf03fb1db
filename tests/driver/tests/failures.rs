//! Calls that are made to fail, calls that are forbidden, and how a process ends.

mod common;

use std::path::Path;

use common::{KERNELS, Sim, child, get, is_child, ok, said, try_get};

/// A small program, which gives back whatever it made, as a program should that sees a failure.
fn program(sim: &Sim) -> Result<Vec<u32>, i32> {
    let check = |code| if code == 0 { Ok(()) } else { Err(code) };
    check(sim.cuInit(0))?;
    let device: i32 = try_get(|device| sim.cuDeviceGet(device, 0))?;
    let context: u64 = try_get(|context| sim.cuDevicePrimaryCtxRetain(context, device))?;
    let result = with_context(sim, context);
    let released = check(sim.cuDevicePrimaryCtxRelease_v2(device));
    result.and_then(|found| released.map(|()| found))
}

fn with_context(sim: &Sim, context: u64) -> Result<Vec<u32>, i32> {
    let check = |code| if code == 0 { Ok(()) } else { Err(code) };
    check(sim.cuCtxPushCurrent_v2(context))?;
    // Each with what undoes it, the last first.
    let mut undo: Vec<Box<dyn Fn() -> i32 + '_>> =
        vec![Box::new(|| sim.cuCtxPopCurrent_v2(std::ptr::null_mut()))];
    let result = (|| {
        let module = sim.load(KERNELS)?;
        undo.push(Box::new(move || sim.cuModuleUnload(module)));
        let step = try_get(|function| sim.cuModuleGetFunction(function, module, c"step".as_ptr()))?;
        let stream = try_get(|stream| sim.cuStreamCreate(stream, 1))?;
        undo.push(Box::new(move || sim.cuStreamDestroy_v2(stream)));
        let p = try_get(|pointer| sim.cuMemAlloc_v2(pointer, 8))?;
        undo.push(Box::new(move || sim.cuMemFree_v2(p)));
        let q = try_get(|pointer| sim.cuMemAllocAsync(pointer, 8, stream))?;
        undo.push(Box::new(move || sim.cuMemFreeAsync(q, stream)));
        let event = try_get(|event| sim.cuEventCreate(event, 0))?;
        undo.push(Box::new(move || sim.cuEventDestroy_v2(event)));
        check(sim.cuMemcpyHtoDAsync_v2(p, [1u32, 2].as_ptr().cast(), 8, stream))?;
        check(sim.launch(step, 2, stream, &[p, 1]))?;
        check(sim.cuMemcpyDtoDAsync_v2(q, p, 8, stream))?;
        check(sim.cuEventRecord(event, stream))?;
        check(sim.cuEventSynchronize(event))?;
        let mut found = vec![0u32; 2];
        check(sim.cuMemcpyDtoHAsync_v2(found.as_mut_ptr().cast(), q, 8, stream))?;
        check(sim.cuStreamSynchronize(stream))?;
        Ok(found)
    })();
    let undone: Vec<i32> = undo.iter().rev().map(|undo| undo()).collect();
    match undone.into_iter().find(|&code| code != 0) {
        Some(code) => result.and(Err(code)),
        None => result,
    }
}

#[test]
fn every_call_can_fail_and_nothing_leaks() {
    let sim = Sim::new("");
    assert_eq!(program(&sim), Ok(vec![4, 7]));
    let calls = sim.calls("");
    assert!(calls > 20);
    for k in 1..=calls + 1 {
        sim.reset(&format!("XENT_SIM_SEED={k}"));
        sim.fail(&format!("{k}=2"));
        let result = program(&sim);
        if k <= calls {
            assert_eq!(result, Err(2), "call {k}: {}", sim.report());
        } else {
            assert_eq!(result, Ok(vec![4, 7]));
        }
        assert_eq!((sim.leaks(), sim.violations()), (0, 0), "call {k}: {}", sim.report());
        // The next call works.
        sim.fail("");
        assert_eq!(program(&sim), Ok(vec![4, 7]), "after call {k}");
    }
}

#[test]
fn the_judge_sees_what_a_careless_program_leaks() {
    let sim = Sim::new("");
    let careless = || {
        sim.start();
        let p = try_get::<u64>(|pointer| sim.cuMemAlloc_v2(pointer, 8))?;
        let _: u64 = try_get(|stream| sim.cuStreamCreate(stream, 1))?; // p is lost if this fails
        ok(sim.cuMemFree_v2(p));
        Ok::<(), i32>(())
    };
    sim.fail("cuStreamCreate:1");
    assert_eq!(careless(), Err(999));
    ok(sim.cuDevicePrimaryCtxRelease_v2(0));
    assert_eq!(sim.leaks(), 1);
    assert!(sim.report().contains("8 bytes of device memory"), "{}", sim.report());
}

#[test]
fn a_name_and_its_versions_fail() {
    let sim = Sim::started("");
    sim.fail("cuMemAlloc:2=2, cuMemFree_v2:1=214");
    let p = sim.alloc(4);
    assert_eq!(try_get::<u64>(|pointer| sim.cuMemAlloc_v2(pointer, 4)), Err(2));
    let q = sim.alloc(4);
    // A call that gives something back does so.
    assert_eq!(sim.cuMemFree_v2(p), 214);
    assert_eq!(sim.cuMemFree_v2(p), 1);
    ok(sim.cuMemFree_v2(q));
}

#[test]
fn forbidden_calls_are_seen() {
    let sim = Sim::started("");
    let (stream, nothing) = (sim.stream(0), sim.kernel("nothing"));
    sim.forbid("cuMemAlloc,cuCtxSynchronize, cuStreamSynchronize");
    ok(sim.launch(nothing, 1, stream, &[]));
    assert_eq!(sim.violations(), 0);
    ok(sim.cuMemFree_v2(sim.alloc(4)));
    ok(sim.cuCtxSynchronize());
    assert_eq!(sim.violations(), 2);
    assert!(sim.report().contains("cuMemAlloc_v2 was called, which is forbidden"));
    sim.forbid("");
    ok(sim.cuCtxSynchronize());
    assert_eq!(sim.violations(), 2);
}

#[test]
fn a_run_makes_the_calls_that_it_makes() {
    let sim = Sim::started("");
    let nothing = sim.kernel("nothing");
    let before = sim.calls("");
    ok(sim.launch(nothing, 1, 0, &[]));
    ok(sim.launch(nothing, 1, 0, &[]));
    assert_eq!((sim.calls("") - before, sim.calls("cuLaunchKernel")), (2, 2));
}

/// Runs as a process of its own with the driver that the loader finds.
fn in_a_process(leaks: bool) {
    let sim = Sim::open(Path::new("libcuda.so.1"));
    sim.start();
    let p = sim.alloc(4);
    if !leaks {
        ok(sim.cuMemFree_v2(p));
        ok(sim.cuDevicePrimaryCtxRelease_v2(0));
    }
}

#[test]
fn a_clean_process_ends_well() {
    if is_child() {
        return in_a_process(false);
    }
    let output = child("a_clean_process_ends_well", &[("XENT_SIM_CHECK", "1")]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_leaking_process_is_told_so_and_fails() {
    if is_child() {
        return in_a_process(true);
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let variables = [("XENT_SIM_CHECK", "1"), ("XENT_SIM_LOG", log.to_str().unwrap())];
    let output = child("a_leaking_process_is_told_so_and_fails", &variables);
    assert_eq!(output.status.code(), Some(xent_simulated_driver::CHECK_FAILED));
    let text = said(&output);
    assert!(text.contains("leak: 4 bytes of device memory"), "{text}");
    assert!(text.contains("leak: primary context of device 0"), "{text}");

    // The log has a line for each call, and the summary.
    let log = std::fs::read_to_string(log).unwrap();
    let calls = ["cuInit(flags=0) -> 0", "cuDevicePrimaryCtxRetain(", "bytes=4) -> 0, pointer=0x"];
    for what in calls.into_iter().chain(["4 calls, 0 faults, 0 violations, 2 leaks"]) {
        assert!(log.contains(what), "{what} in {log}");
    }
}

#[test]
fn a_fork_of_the_process_has_no_driver() {
    let sim = Sim::started("");
    let context = get::<u64>(|context| sim.cuCtxGetCurrent(context));
    // SAFETY: the child calls the stand-in, which takes no lock there, and ends at once.
    #[allow(unsafe_code)]
    let status = unsafe {
        let child = libc::fork();
        if child == 0 {
            let codes = [sim.cuInit(0), sim.cuCtxSetCurrent(context), sim.cuMemAlloc_v2(&mut 0, 4)];
            libc::_exit(if codes == [3; 3] { 42 } else { 1 });
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        libc::WEXITSTATUS(status)
    };
    assert_eq!(status, 42);
    ok(sim.cuMemFree_v2(sim.alloc(4))); // the parent goes on
}
