//! The order of work: what streams, events and the legacy stream promise, and nothing more.

mod common;

use std::ffi::c_void;
use std::ptr::null_mut;

use common::{Sim, get, ok, try_get};

/// CU_STREAM_NON_BLOCKING
const NON_BLOCKING: u32 = 1;
const LEGACY: u64 = 1;
const PER_THREAD: u64 = 2;
const SEEDS: u64 = 24;

/// The results of a program for every seed.
fn results(program: impl Fn(&Sim) -> Vec<u32>) -> Vec<Vec<u32>> {
    let sim = Sim::new("");
    let run = |seed| {
        sim.restart(seed);
        program(&sim)
    };
    (0..SEEDS).map(run).collect()
}

/// The program gives this, whatever the order.
#[track_caller]
fn always(expected: &[u32], program: impl Fn(&Sim) -> Vec<u32>) {
    for (seed, found) in results(program).into_iter().enumerate() {
        assert_eq!(found, expected, "seed {seed}");
    }
}

/// The program lacks a dependency: it gives this under some seed, and something else under another.
#[track_caller]
fn sometimes(expected: &[u32], program: impl Fn(&Sim) -> Vec<u32>) {
    let found = results(program);
    assert!(found.iter().any(|found| found == expected), "{found:?}");
    assert!(found.iter().any(|found| found != expected), "{found:?}");
}

#[test]
fn a_stream_keeps_its_order() {
    always(&[(3 + 1) * 9 + 6 + 3], |sim| {
        let (stream, step) = (sim.stream(NON_BLOCKING), sim.kernel("step"));
        let p = sim.words(&[1]);
        for value in [1, 2, 3] {
            ok(sim.launch(step, 1, stream, &[p, value]));
        }
        ok(sim.cuStreamSynchronize(stream));
        sim.read(p, 1)
    });
}

/// Two kernels on two streams, with or without the event between them.
fn two_streams(sim: &Sim, with_event: bool) -> Vec<u32> {
    let (one, other) = (sim.stream(NON_BLOCKING), sim.stream(NON_BLOCKING));
    let (step, event) = (sim.kernel("step"), sim.event());
    let p = sim.words(&[0]);
    ok(sim.cuCtxSynchronize());
    ok(sim.launch(step, 1, one, &[p, 1]));
    ok(sim.cuEventRecord(event, one));
    if with_event {
        ok(sim.cuStreamWaitEvent(other, event, 0));
    }
    ok(sim.launch(step, 1, other, &[p, 2]));
    ok(sim.cuCtxSynchronize());
    sim.read(p, 1)
}

#[test]
fn an_event_orders_two_streams() {
    always(&[5], |sim| two_streams(sim, true));
}

#[test]
fn a_missing_event_shows() {
    sometimes(&[5], |sim| two_streams(sim, false));
}

#[test]
fn an_event_stands_for_what_was_recorded_before_the_wait() {
    sometimes(&[5], |sim| {
        let (one, other) = (sim.stream(NON_BLOCKING), sim.stream(NON_BLOCKING));
        let (step, event) = (sim.kernel("step"), sim.event());
        let p = sim.words(&[0]);
        ok(sim.cuStreamWaitEvent(other, event, 0)); // not recorded yet: waits for nothing
        ok(sim.launch(step, 1, one, &[p, 1]));
        ok(sim.cuEventRecord(event, one));
        ok(sim.launch(step, 1, other, &[p, 2]));
        ok(sim.cuCtxSynchronize());
        sim.read(p, 1)
    });
}

#[test]
fn the_host_must_wait_before_it_reads() {
    let program = |sim: &Sim, waits: bool| {
        let (stream, step) = (sim.stream(NON_BLOCKING), sim.kernel("step"));
        let p = sim.words(&[2]);
        ok(sim.launch(step, 1, stream, &[p, 1]));
        if waits {
            ok(sim.cuStreamSynchronize(stream));
        }
        // The copy is the legacy stream's, which a non-blocking one has nothing to do with.
        sim.read(p, 1)
    };
    always(&[7], |sim| program(sim, true));
    sometimes(&[7], |sim| program(sim, false));
}

#[test]
fn the_legacy_stream_and_blocking_streams_wait_for_each_other() {
    always(&[14], |sim| {
        let (blocking, step) = (sim.stream(0), sim.kernel("step"));
        let p = sim.words(&[0]);
        ok(sim.launch(step, 1, blocking, &[p, 1]));
        ok(sim.launch(step, 1, LEGACY, &[p, 1]));
        ok(sim.launch(step, 1, blocking, &[p, 2]));
        sim.read(p, 1)
    });
    let sim = Sim::new("");
    for seed in 0..SEEDS {
        sim.restart(seed);
        let nothing = sim.kernel("nothing");
        for flags in [0, NON_BLOCKING] {
            ok(sim.launch(nothing, 1, sim.stream(flags), &[]));
        }
        ok(sim.cuStreamSynchronize(LEGACY));
        assert!(sim.pending() <= 1, "seed {seed}");
    }
    // A destroyed stream's work is still waited for.
    always(&[5], |sim| {
        let (blocking, step) = (sim.stream(0), sim.kernel("step"));
        let p = sim.words(&[0]);
        ok(sim.launch(step, 1, blocking, &[p, 1]));
        ok(sim.cuStreamDestroy_v2(blocking));
        ok(sim.launch(step, 1, 0, &[p, 2]));
        sim.read(p, 1)
    });
    sometimes(&[5], |sim| {
        let (one, other, step) = (sim.stream(0), sim.stream(0), sim.kernel("step"));
        let p = sim.words(&[0]);
        ok(sim.launch(step, 1, one, &[p, 1]));
        ok(sim.launch(step, 1, other, &[p, 2]));
        sim.read(p, 1)
    });
}

#[test]
fn streams_of_threads() {
    always(&[5], |sim| {
        let step = sim.kernel("step");
        let p = sim.words(&[0]);
        ok(sim.launch(step, 1, PER_THREAD, &[p, 1]));
        // Names that end so mean the thread's stream by 0.
        let (value, pointer) = (2u32, p);
        let parameters = [std::ptr::from_ref(&pointer).cast::<c_void>(), (&raw const value).cast()];
        let parameters = parameters.as_ptr();
        let null = std::ptr::null();
        ok(sim.cuLaunchKernel_ptsz(step, 1, 1, 1, 1, 1, 1, 0, 0, parameters, null));
        ok(sim.cuStreamSynchronize(PER_THREAD));
        sim.read(p, 1)
    });
    sometimes(&[5], |sim| {
        let step = sim.kernel("step");
        let p = sim.words(&[0]);
        let context = get(|context| sim.cuCtxGetCurrent(context));
        ok(sim.launch(step, 1, PER_THREAD, &[p, 1]));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                ok(sim.cuCtxSetCurrent(context));
                ok(sim.launch(step, 1, PER_THREAD, &[p, 2]));
            });
        });
        ok(sim.cuCtxSynchronize());
        sim.read(p, 1)
    });
}

#[test]
fn copies_in_the_order_of_a_stream() {
    always(&[10, 7], |sim| {
        let (stream, step) = (sim.stream(NON_BLOCKING), sim.kernel("step"));
        let p = sim.words(&[0, 0]);
        ok(sim.cuCtxSynchronize());
        let mut source = 3u32;
        ok(sim.cuMemcpyHtoDAsync_v2(p, (&raw const source).cast(), 4, stream));
        source = 99; // what is not page-locked was read when the call returned
        ok(sim.launch(step, 1, stream, &[p, 1]));
        ok(sim.cuMemsetD32Async(p + 4, 7, 1, stream));
        let mut found = [source; 2];
        ok(sim.cuMemcpyDtoHAsync_v2(found.as_mut_ptr().cast(), p, 8, stream));
        found.to_vec()
    });
}

#[test]
fn page_locked_memory_is_read_when_the_stream_is_there() {
    let program = |sim: &Sim, waits: bool| {
        let stream = sim.stream(NON_BLOCKING);
        let p = sim.words(&[0]);
        let mut host = null_mut();
        ok(sim.cuMemHostAlloc(&mut host, 4, 0));
        let write = |value: u32| {
            // SAFETY: the driver gave out four bytes.
            #[allow(unsafe_code)]
            unsafe {
                host.cast::<u32>().write_volatile(value);
            }
        };
        write(1);
        ok(sim.cuMemcpyHtoDAsync_v2(p, host, 4, stream));
        if waits {
            ok(sim.cuStreamSynchronize(stream));
        }
        write(2);
        ok(sim.cuCtxSynchronize());
        let found = sim.read(p, 1);
        ok(sim.cuMemFreeHost(host));
        found
    };
    always(&[1], |sim| program(sim, true));
    sometimes(&[1], |sim| program(sim, false));
}

#[test]
fn freeing_waits_unless_the_memory_is_a_streams() {
    let sim = Sim::new("");
    for seed in 0..SEEDS {
        sim.restart(seed);
        let (stream, step) = (sim.stream(NON_BLOCKING), sim.kernel("step"));
        let p = sim.words(&[0]);
        ok(sim.launch(step, 1, stream, &[p, 1]));
        ok(sim.cuMemFree_v2(p));
        assert_eq!(sim.pending(), 0);
    }
    let fault = |seed| {
        sim.restart(seed);
        let (stream, step) = (sim.stream(NON_BLOCKING), sim.kernel("step"));
        let p = get(|pointer| sim.cuMemAllocAsync(pointer, 4, stream));
        ok(sim.cuMemsetD32Async(p, 1, 1, stream));
        ok(sim.launch(step, 1, stream, &[p, 1]));
        let code = sim.cuMemFree_v2(p);
        code == 700 || sim.cuStreamSynchronize(stream) == 700
    };
    assert!((0..SEEDS).any(fault));
}

#[test]
fn asking_makes_progress() {
    let sim = Sim::started("");
    let (stream, step, event) = (sim.stream(NON_BLOCKING), sim.kernel("step"), sim.event());
    let p = sim.words(&[0]);
    ok(sim.cuEventQuery(event)); // never recorded: done
    for _ in 0..20 {
        ok(sim.launch(step, 1, stream, &[p, 1]));
    }
    ok(sim.cuEventRecord(event, stream));
    let mut asked = 0;
    while sim.cuEventQuery(event) == 600 {
        asked += 1;
        assert_eq!([0, 600].iter().filter(|&&code| sim.cuStreamQuery(stream) == code).count(), 1);
    }
    assert!((2..40).contains(&asked), "{asked}");
    ok(sim.cuEventSynchronize(event));
    ok(sim.cuStreamQuery(stream));
}

#[test]
fn events_tell_times() {
    let sim = Sim::started("");
    let (stream, step) = (sim.stream(0), sim.kernel("step"));
    let p = sim.words(&[0; 64]);
    let [start, end, never] = [sim.event(), sim.event(), sim.event()];
    let elapsed = |start, end| try_get::<f32>(|time| sim.cuEventElapsedTime(time, start, end));
    ok(sim.cuEventRecord(start, stream));
    ok(sim.launch(step, 64, stream, &[p, 1]));
    ok(sim.cuEventRecord(end, stream));
    ok(sim.cuEventSynchronize(end));
    assert!(elapsed(start, end).is_ok_and(|time| time > 0.0));
    assert_eq!(elapsed(start, never), Err(400));
    let untimed: u64 = get(|event| sim.cuEventCreate(event, 2));
    ok(sim.cuEventRecord(untimed, stream));
    ok(sim.cuCtxSynchronize());
    assert_eq!(elapsed(start, untimed), Err(400));
}

#[test]
fn streams_belong_to_contexts() {
    let sim = Sim::started("XENT_SIM_DEVICES=9.0,9.0");
    let (stream, event) = (sim.stream(0), sim.event());
    let (first, second) = (get(|context| sim.cuCtxGetCurrent(context)), sim.retain(1));
    ok(sim.cuCtxSetCurrent(second));
    let of = |stream| get::<u64>(|context| sim.cuStreamGetCtx(stream, context));
    assert_eq!([of(stream), of(0), of(PER_THREAD)], [first, second, second]);
    assert_eq!(sim.cuEventRecord(event, 0), 400);
    ok(sim.cuEventRecord(event, stream));
    ok(sim.cuStreamWaitEvent(0, event, 0)); // across devices
    for wrong in [12345, event] {
        assert_eq!(sim.cuStreamSynchronize(wrong), 400);
    }
    for own in [0, LEGACY, PER_THREAD] {
        assert_eq!(sim.cuStreamDestroy_v2(own), 400);
    }
    ok(sim.cuStreamDestroy_v2(stream));
    assert_eq!(sim.cuStreamDestroy_v2(stream), 400);
}

#[test]
fn threads_with_streams_of_their_own() {
    let sim = Sim::started("");
    let context = get(|context| sim.cuCtxGetCurrent(context));
    let step = sim.kernel("step");
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let sim = &sim;
            scope.spawn(move || {
                ok(sim.cuCtxPushCurrent_v2(context));
                let stream = sim.stream(NON_BLOCKING);
                for round in 0..50 {
                    let p = get(|pointer| sim.cuMemAllocAsync(pointer, 4, stream));
                    ok(sim.cuMemsetD32Async(p, round, 1, stream));
                    ok(sim.launch(step, 1, stream, &[p, thread]));
                    let mut found = 0u32;
                    ok(sim.cuMemcpyDtoHAsync_v2((&raw mut found).cast(), p, 4, stream));
                    assert_eq!(found, 3 * round + thread as u32);
                    ok(sim.cuMemFreeAsync(p, stream));
                }
                ok(sim.cuStreamSynchronize(stream));
                ok(sim.cuStreamDestroy_v2(stream));
                ok(sim.cuCtxPopCurrent_v2(null_mut()));
            });
        }
    });
    assert_eq!(sim.calls("cuLaunchKernel"), 200);
    assert_eq!(sim.leaks(), 2, "{}", sim.report()); // the module, the primary context
}

#[test]
fn much_work_is_not_left_for_later() {
    let sim = Sim::started("");
    let (stream, nothing) = (sim.stream(0), sim.kernel("nothing"));
    for _ in 0..5000 {
        ok(sim.launch(nothing, 1, stream, &[]));
    }
    assert!(sim.pending() <= 300, "{}", sim.pending());
}

#[test]
fn a_stream_that_was_recorded_again_tells_the_last_time() {
    let sim = Sim::new("");
    for seed in 0..SEEDS {
        sim.restart(seed);
        let (one, other, nothing) = (sim.stream(1), sim.stream(1), sim.kernel("nothing"));
        let [first, again] = [sim.event(), sim.event()];
        ok(sim.cuEventRecord(again, other));
        ok(sim.cuEventRecord(first, one));
        ok(sim.launch(nothing, 1, one, &[]));
        ok(sim.cuEventRecord(again, one));
        ok(sim.cuCtxSynchronize());
        let time = get::<f32>(|time| sim.cuEventElapsedTime(time, first, again));
        assert!(time > 0.0, "seed {seed}: {time}");
    }
}
