//! Primary contexts, others, and which is current.

mod common;

use common::{Sim, get, ok, try_get};

fn current(sim: &Sim) -> u64 {
    get(|context| sim.cuCtxGetCurrent(context))
}

fn pop(sim: &Sim) -> Result<u64, i32> {
    try_get(|context| sim.cuCtxPopCurrent_v2(context))
}

#[test]
fn a_primary_context_lives_while_it_is_retained() {
    let sim = Sim::new("XENT_SIM_DEVICES=9.0,8.0");
    ok(sim.cuInit(0));
    let active = |device| {
        let mut active = 0;
        ok(sim.cuDevicePrimaryCtxGetState(device, std::ptr::null_mut(), &mut active));
        active
    };
    let (first, other) = (sim.retain(0), sim.retain(1));
    assert_eq!(sim.retain(0), first);
    assert_ne!(first, other);
    assert_eq!([active(0), active(1)], [1, 1]);
    ok(sim.cuCtxSetCurrent(first));
    assert_eq!(sim.cuCtxDestroy_v2(first), 201);
    ok(sim.cuDevicePrimaryCtxRelease_v2(0));
    ok(sim.cuCtxSynchronize());
    ok(sim.cuDevicePrimaryCtxRelease_v2(0));
    assert_eq!([active(0), active(1)], [0, 1]);
    assert_eq!(sim.cuCtxSynchronize(), 709);
    assert_eq!(sim.cuDevicePrimaryCtxRelease_v2(0), 201);
    assert_eq!(sim.leaks(), 1, "{}", sim.report());
    ok(sim.cuDevicePrimaryCtxRelease_v2(1));
    assert_eq!(sim.leaks(), 0);
    assert_eq!(sim.retain(0), first); // as a program that retains it again finds it
    ok(sim.cuCtxSynchronize());
}

#[test]
fn the_current_context_is_the_top_of_the_threads_stack() {
    let sim = Sim::new("XENT_SIM_DEVICES=9.0,8.0");
    ok(sim.cuInit(0));
    assert_eq!(current(&sim), 0);
    assert_eq!(sim.cuCtxSynchronize(), 201);
    assert_eq!(pop(&sim), Err(201));
    let contexts = [sim.retain(0), sim.retain(1)];
    ok(sim.cuCtxPushCurrent_v2(contexts[0]));
    ok(sim.cuCtxPushCurrent_v2(contexts[1]));
    assert_eq!(get::<i32>(|device| sim.cuCtxGetDevice(device)), 1);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(current(&sim), 0));
    });
    assert_eq!(pop(&sim), Ok(contexts[1]));
    assert_eq!(current(&sim), contexts[0]);
    ok(sim.cuCtxSetCurrent(contexts[1])); // replaces the top
    ok(sim.cuCtxSetCurrent(0));
    assert_eq!(current(&sim), 0);
    for wrong in [0, 1, 12345] {
        assert_eq!(sim.cuCtxPushCurrent_v2(wrong), 201);
    }
}

#[test]
fn a_created_context_is_current_until_it_is_destroyed() {
    let sim = Sim::new("");
    ok(sim.cuInit(0));
    let context: u64 = get(|context| sim.cuCtxCreate_v2(context, 0, 0));
    assert_eq!(current(&sim), context);
    let pointer = sim.alloc(100);
    assert_eq!(sim.leaks(), 2);
    ok(sim.cuCtxDestroy_v2(context));
    assert_eq!(current(&sim), 0);
    // What it took with it was leaked by the program.
    assert_eq!(sim.leaks(), 1);
    assert!(
        sim.report().contains(&format!("100 bytes of device memory at {pointer:#x}, destroyed"))
    );
    assert_eq!(sim.cuCtxDestroy_v2(context), 201);
    assert_eq!(sim.cuCtxPushCurrent_v2(context), 201);
}

#[test]
fn another_threads_context_may_be_destroyed_under_it() {
    let sim = Sim::new("");
    ok(sim.cuInit(0));
    let context: u64 = get(|context| sim.cuCtxCreate_v2(context, 0, 0));
    std::thread::scope(|scope| {
        scope.spawn(|| ok(sim.cuCtxDestroy_v2(context)));
    });
    assert_eq!(current(&sim), context);
    assert_eq!(sim.cuCtxSynchronize(), 709);
    assert_eq!(try_get::<u64>(|pointer| sim.cuMemAlloc_v2(pointer, 1)), Err(709));
    assert_eq!(pop(&sim), Ok(context));
}

#[test]
fn a_reset_takes_what_is_in_the_context_and_leaves_it_usable() {
    let sim = Sim::started("");
    let pointer = sim.alloc(8);
    ok(sim.cuDevicePrimaryCtxReset_v2(0));
    assert_eq!(sim.cuMemFree_v2(pointer), 1);
    ok(sim.cuMemFree_v2(sim.alloc(8)));
    ok(sim.cuDevicePrimaryCtxRelease_v2(0));
    assert_eq!(sim.leaks(), 1);
}
