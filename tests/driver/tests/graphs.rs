//! Capture and replay, and what must not be done meanwhile.

mod common;

use std::ffi::c_void;
use std::ptr::null_mut;

use common::{Sim, get, ok, try_get};

const GLOBAL: u32 = 0;
const THREAD_LOCAL: u32 = 1;
const RELAXED: u32 = 2;
const UNSUPPORTED: i32 = 900;
const INVALIDATED: i32 = 901;

fn status(sim: &Sim, stream: u64) -> u32 {
    get(|status| sim.cuStreamIsCapturing(stream, status))
}

fn end(sim: &Sim, stream: u64) -> Result<u64, i32> {
    try_get(|graph| sim.cuStreamEndCapture(stream, graph))
}

fn instantiate(sim: &Sim, graph: u64) -> u64 {
    get(|executable| sim.cuGraphInstantiateWithFlags(executable, graph, 0))
}

#[test]
fn a_captured_program_runs_a_hundred_times_with_new_contents() {
    let sim = Sim::new("");
    for seed in 0..4 {
        sim.restart(seed);
        let (stream, step) = (sim.stream(1), sim.kernel("step"));
        let (p, q) = (sim.words(&[0; 8]), sim.alloc(32));
        ok(sim.cuStreamBeginCapture_v2(stream, GLOBAL));
        assert_eq!(status(&sim, stream), 1);
        ok(sim.launch(step, 8, stream, &[p, 1]));
        ok(sim.launch(step, 8, stream, &[p, 2]));
        ok(sim.cuMemcpyDtoDAsync_v2(q, p, 32, stream));
        let graph = end(&sim, stream).unwrap();
        assert_eq!(status(&sim, stream), 0);
        assert_eq!(sim.read(p, 8), [0; 8]); // nothing was done
        assert_eq!(get::<usize>(|count| sim.cuGraphGetNodes(graph, null_mut(), count)), 3);
        let executable = instantiate(&sim, graph);
        ok(sim.cuGraphDestroy(graph)); // the executable has what it needs
        for round in 0..100 {
            let words = [round; 8];
            let bytes = words.as_ptr().cast();
            ok(sim.cuMemcpyHtoDAsync_v2(p, bytes, 32, stream));
            ok(sim.cuGraphLaunch(executable, stream));
            let mut found = [0u32; 8];
            ok(sim.cuMemcpyDtoHAsync_v2(found.as_mut_ptr().cast(), q, 32, stream));
            assert_eq!(found, [9 * round + 5; 8]);
        }
        ok(sim.cuGraphLaunch(executable, stream));
        ok(sim.cuGraphExecDestroy(executable)); // what was launched still runs
        ok(sim.cuStreamSynchronize(stream));
        assert_eq!(sim.read(q, 1), [9 * (9 * 99 + 5) + 5]);
        assert_eq!(sim.cuGraphLaunch(executable, stream), 400);
        assert_eq!(sim.cuGraphDestroy(graph), 400);
    }
}

/// Two branches of a graph that meet again; the order of them does not matter, that of the rest
/// does.
#[test]
fn branches_by_events() {
    let sim = Sim::new("");
    for seed in 0..16 {
        sim.restart(seed);
        let (one, other, step) = (sim.stream(1), sim.stream(1), sim.kernel("step"));
        let (fork, join) = (sim.event(), sim.event());
        let p = sim.words(&[0, 0]);
        ok(sim.cuStreamBeginCapture_v2(one, THREAD_LOCAL));
        ok(sim.launch(step, 2, one, &[p, 1]));
        ok(sim.cuEventRecord(fork, one));
        ok(sim.cuStreamWaitEvent(other, fork, 0));
        assert_eq!(status(&sim, other), 1);
        ok(sim.launch(step, 1, one, &[p, 2]));
        ok(sim.launch(step, 1, other, &[p + 4, 3]));
        ok(sim.cuEventRecord(join, other));
        ok(sim.cuStreamWaitEvent(one, join, 0));
        ok(sim.launch(step, 2, one, &[p, 4]));
        assert_eq!(sim.cuEventQuery(join), 907);
        assert_eq!(end(&sim, one), Err(INVALIDATED));
        // The same without the question.
        ok(sim.cuStreamBeginCapture_v2(one, THREAD_LOCAL));
        ok(sim.launch(step, 2, one, &[p, 1]));
        ok(sim.cuEventRecord(fork, one));
        ok(sim.cuStreamWaitEvent(other, fork, 0));
        ok(sim.launch(step, 1, one, &[p, 2]));
        ok(sim.launch(step, 1, other, &[p + 4, 3]));
        ok(sim.cuEventRecord(join, other));
        ok(sim.cuStreamWaitEvent(one, join, 0));
        ok(sim.launch(step, 2, one, &[p, 4]));
        let executable = instantiate(&sim, end(&sim, one).unwrap());
        assert_eq!(status(&sim, other), 0);
        ok(sim.cuGraphLaunch(executable, one));
        ok(sim.cuStreamSynchronize(one));
        assert_eq!(sim.read(p, 2), [(3 + 2) * 3 + 4, (3 + 3) * 3 + 4]);
    }
}

#[test]
fn branches_must_meet_again() {
    let sim = Sim::started("");
    let (one, other, nothing) = (sim.stream(1), sim.stream(1), sim.kernel("nothing"));
    let event = sim.event();
    ok(sim.cuStreamBeginCapture_v2(one, GLOBAL));
    ok(sim.cuEventRecord(event, one));
    ok(sim.cuStreamWaitEvent(other, event, 0));
    ok(sim.launch(nothing, 1, other, &[]));
    assert_eq!(end(&sim, one), Err(904));
    assert_eq!([status(&sim, one), status(&sim, other)], [0, 0]);

    ok(sim.cuStreamBeginCapture_v2(one, GLOBAL));
    ok(sim.cuEventRecord(event, one));
    ok(sim.cuStreamWaitEvent(other, event, 0));
    assert_eq!(end(&sim, other), Err(903));
    assert_eq!(end(&sim, one), Err(INVALIDATED));
    assert_eq!(end(&sim, one), Err(401));
}

#[test]
fn captures_do_not_mix_with_what_is_outside() {
    let sim = Sim::started("");
    let (one, other) = (sim.stream(1), sim.stream(1));
    let (outside, inside) = (sim.event(), sim.event());
    ok(sim.cuEventRecord(outside, other));
    ok(sim.cuStreamBeginCapture_v2(one, RELAXED));
    assert_eq!(sim.cuStreamBeginCapture_v2(one, RELAXED), 401);
    assert_eq!(sim.cuStreamWaitEvent(one, outside, 0), 905);
    assert_eq!(status(&sim, one), 2);
    assert_eq!(end(&sim, one), Err(INVALIDATED));

    ok(sim.cuStreamBeginCapture_v2(one, RELAXED));
    ok(sim.cuStreamBeginCapture_v2(other, RELAXED));
    ok(sim.cuEventRecord(inside, one));
    assert_eq!(sim.cuStreamWaitEvent(other, inside, 0), 902);
    assert_eq!([end(&sim, one), end(&sim, other)], [Err(INVALIDATED); 2]);
    for stream in [0, 1] {
        assert_eq!(sim.cuStreamBeginCapture_v2(stream, GLOBAL), UNSUPPORTED);
    }
    assert_eq!(sim.cuStreamBeginCapture_v2(one, 3), 1);
}

#[test]
fn the_legacy_stream_must_not_wait_for_a_capture() {
    let sim = Sim::started("");
    let (blocking, nothing) = (sim.stream(0), sim.kernel("nothing"));
    ok(sim.cuStreamBeginCapture_v2(blocking, RELAXED));
    assert_eq!(try_get::<u32>(|status| sim.cuStreamIsCapturing(0, status)), Err(906));
    assert_eq!(sim.launch(nothing, 1, 0, &[]), 906);
    assert_eq!(end(&sim, blocking), Err(INVALIDATED));
    let free = sim.stream(1);
    ok(sim.cuStreamBeginCapture_v2(free, RELAXED));
    ok(sim.launch(nothing, 1, 0, &[]));
    end(&sim, free).unwrap();
}

/// Every call that a capture forbids, each in a capture of its own.
#[test]
fn what_may_not_be_done_meanwhile() {
    let sim = Sim::started("");
    let (stream, other, event) = (sim.stream(1), sim.stream(1), sim.event());
    let (p, kept) = (sim.words(&[1]), sim.alloc(4));
    let mut host = null_mut();
    ok(sim.cuMemHostAlloc(&mut host, 4, 0));
    let mut word = 0u32;
    let to: *mut c_void = (&raw mut word).cast();
    type Call<'a> = (&'a str, Box<dyn Fn() -> i32 + 'a>);
    let calls: [Call<'_>; 14] = [
        ("cuMemAlloc", Box::new(|| sim.cuMemAlloc_v2(&mut 0, 4))),
        ("cuMemFree", Box::new(|| sim.cuMemFree_v2(kept))),
        ("cuMemHostAlloc", Box::new(|| sim.cuMemHostAlloc(&mut null_mut(), 4, 0))),
        ("cuMemFreeHost", Box::new(|| sim.cuMemFreeHost(host))),
        ("cuMemcpyDtoH", Box::new(|| sim.cuMemcpyDtoH_v2(to, p, 4))),
        ("cuMemcpyHtoD", Box::new(|| sim.cuMemcpyHtoD_v2(p, to, 4))),
        ("cuMemsetD8", Box::new(|| sim.cuMemsetD8_v2(p, 0, 4))),
        ("cuCtxSynchronize", Box::new(|| sim.cuCtxSynchronize())),
        ("cuStreamSynchronize", Box::new(|| sim.cuStreamSynchronize(stream))),
        ("of another", Box::new(|| sim.cuStreamSynchronize(other))),
        ("cuStreamQuery", Box::new(|| sim.cuStreamQuery(stream))),
        ("cuEventQuery", Box::new(|| sim.cuEventQuery(event))),
        ("cuEventSynchronize", Box::new(|| sim.cuEventSynchronize(event))),
        ("cuModuleLoadData", Box::new(|| sim.load(common::KERNELS).err().unwrap_or(0))),
    ];
    for (name, call) in &calls {
        ok(sim.cuStreamBeginCapture_v2(stream, GLOBAL));
        assert_eq!(call(), UNSUPPORTED, "{name}");
        assert_eq!(status(&sim, stream), 2, "{name}");
        assert_eq!(sim.cuMemsetD32Async(p, 0, 1, stream), INVALIDATED, "{name}");
        assert_eq!(end(&sim, stream), Err(INVALIDATED), "{name}");
    }
    ok(sim.cuStreamBeginCapture_v2(stream, GLOBAL));
    assert_eq!(try_get::<u64>(|pointer| sim.cuMemAllocAsync(pointer, 4, stream)), Err(801));
    assert_eq!(end(&sim, stream), Err(INVALIDATED));
    // All of them are as before.
    assert_eq!(sim.read(p, 1), [1]);
    ok(sim.cuMemFree_v2(kept));
    ok(sim.cuMemFreeHost(host));
}

#[test]
fn modes_say_whom_a_capture_disturbs() {
    let sim = Sim::started("");
    let stream = sim.stream(1);
    let context = get(|context| sim.cuCtxGetCurrent(context));
    let allocate = || sim.cuMemAlloc_v2(&mut 0, 4);
    let elsewhere = || {
        std::thread::scope(|scope| {
            let call = || {
                ok(sim.cuCtxSetCurrent(context));
                allocate()
            };
            scope.spawn(call).join().unwrap()
        })
    };
    let here_and_elsewhere =
        [(GLOBAL, UNSUPPORTED, UNSUPPORTED), (THREAD_LOCAL, UNSUPPORTED, 0), (RELAXED, 0, 0)];
    for (mode, here, there) in here_and_elsewhere {
        for (call, code) in [(&allocate as &dyn Fn() -> i32, here), (&elsewhere, there)] {
            ok(sim.cuStreamBeginCapture_v2(stream, mode));
            assert_eq!(call(), code, "{mode}");
            assert_eq!(end(&sim, stream).is_ok(), code == 0);
        }
    }
    // A thread may know better.
    let mut mode = RELAXED;
    ok(sim.cuThreadExchangeStreamCaptureMode(&mut mode));
    assert_eq!(mode, GLOBAL);
    ok(sim.cuStreamBeginCapture_v2(stream, GLOBAL));
    ok(allocate());
    end(&sim, stream).unwrap();
    ok(sim.cuThreadExchangeStreamCaptureMode(&mut mode));

    ok(sim.cuStreamBeginCapture_v2(stream, THREAD_LOCAL));
    let wrong_thread =
        std::thread::scope(|scope| scope.spawn(|| end(&sim, stream)).join().unwrap());
    assert_eq!(wrong_thread, Err(908));
    end(&sim, stream).unwrap();
}

#[test]
fn copies_of_a_graph_meet_the_host_at_each_launch() {
    let sim = Sim::started("");
    let (stream, step) = (sim.stream(1), sim.kernel("step"));
    let p = sim.words(&[0]);
    let (source, found) = (Box::leak(Box::new(0u32)), Box::leak(Box::new(0u32)));
    let (source, found): (*mut u32, *mut u32) = (source, found);
    ok(sim.cuStreamBeginCapture_v2(stream, GLOBAL));
    ok(sim.cuMemcpyHtoDAsync_v2(p, source.cast(), 4, stream));
    ok(sim.launch(step, 1, stream, &[p, 1]));
    ok(sim.cuMemcpyDtoHAsync_v2(found.cast(), p, 4, stream));
    let executable = instantiate(&sim, end(&sim, stream).unwrap());
    for round in 0..10 {
        // SAFETY: both live as long as the process, and no work is left.
        #[allow(unsafe_code)]
        let result = unsafe {
            source.write(round);
            ok(sim.cuGraphLaunch(executable, stream));
            ok(sim.cuStreamSynchronize(stream));
            found.read()
        };
        assert_eq!(result, 3 * round + 1);
    }
}

#[test]
fn a_graph_in_a_graph() {
    let sim = Sim::started("");
    let (stream, step) = (sim.stream(1), sim.kernel("step"));
    let p = sim.words(&[0]);
    ok(sim.cuStreamBeginCapture_v2(stream, GLOBAL));
    ok(sim.launch(step, 1, stream, &[p, 1]));
    let inner = instantiate(&sim, end(&sim, stream).unwrap());
    ok(sim.cuStreamBeginCapture_v2(stream, GLOBAL));
    ok(sim.cuGraphLaunch(inner, stream));
    ok(sim.launch(step, 1, stream, &[p, 2]));
    ok(sim.cuGraphLaunch(inner, stream));
    let outer = instantiate(&sim, end(&sim, stream).unwrap());
    ok(sim.cuGraphLaunch(outer, stream));
    ok(sim.cuStreamSynchronize(stream));
    assert_eq!(sim.read(p, 1), [16]);
}

#[test]
fn a_graph_outlives_its_module_only_on_paper() {
    let sim = Sim::started("");
    let stream = sim.stream(1);
    let module = sim.load(common::KERNELS).unwrap();
    let nothing = sim.function(module, "nothing");
    ok(sim.cuStreamBeginCapture_v2(stream, GLOBAL));
    ok(sim.launch(nothing, 1, stream, &[]));
    let executable = instantiate(&sim, end(&sim, stream).unwrap());
    ok(sim.cuModuleUnload(module));
    assert_eq!(sim.cuGraphLaunch(executable, stream), 1);
    assert_eq!(sim.violations(), 1);
}
