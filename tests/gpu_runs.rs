//! What a run does to the machine: the launches of its plan, and nothing else.
#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(unsafe_code)] // counts allocations, calls the driver

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use common::foreign::{Elements, OwnKernels, OwnStream, Primary, current, launch, set_current};
use common::job::{Job, logits, problem, targets};
use common::simulated::{Machine, here, here_or_elsewhere};
use common::standin::{StandIn, abort_on_panic, ok};
use cudarc::driver::sys;
use xent::{
    Args, BackwardArgs, Context, DType, Denominator, Plan, Problem, Reduction, Stream, Tensor,
    Workspace,
};

/// The system's memory, counted by thread. The stand-in has its own.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often the host's memory is asked for.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Calls that a run must not make: all that wait, allocate, copy, or tell others to.
const FORBIDDEN: &str = "cuMemAlloc,cuMemAllocAsync,cuMemAllocFromPoolAsync,cuMemAllocHost,\
    cuMemHostAlloc,cuMemFree,cuMemFreeAsync,cuMemFreeHost,cuMemcpy,cuMemcpyAsync,cuMemcpyHtoD,\
    cuMemcpyHtoDAsync,cuMemcpyDtoH,cuMemcpyDtoHAsync,cuMemcpyDtoD,cuMemcpyDtoDAsync,cuMemsetD8,\
    cuMemsetD8Async,cuMemsetD32,cuMemsetD32Async,cuCtxSynchronize,cuStreamSynchronize,\
    cuStreamQuery,cuStreamCreate,cuStreamWaitEvent,cuEventCreate,cuEventRecord,cuEventSynchronize,\
    cuEventQuery,cuLaunchHostFunc,cuModuleLoadData,cuModuleLoadDataEx,cuModuleGetFunction,\
    cuFuncSetAttribute,cuCtxSetCurrent,cuDevicePrimaryCtxRetain,cuInit";

#[test]
fn a_run_makes_the_launches_of_its_plan_and_nothing_else() {
    if !here_or_elsewhere("a_run_makes_the_launches_of_its_plan_and_nothing_else") {
        return;
    }
    abort_on_panic();
    let sim = StandIn::here();
    let context = Context::auto();
    let (mean, none, sum) = (Reduction::Mean, Reduction::None, Reduction::Sum);
    let value = Denominator::Value(4.0);
    // Before the rows: counting the targets, and what follows from the count. After them: sums.
    for (what, reduction, reported, denominator, launches) in [
        ("rows alone", none, false, Denominator::Default, [1, 1]),
        ("rows and a report", none, true, Denominator::Default, [3, 1]),
        ("a sum", sum, false, Denominator::Default, [3, 1]),
        ("a mean", mean, false, Denominator::Default, [5, 3]),
        ("a mean and a report", mean, true, Denominator::Default, [5, 3]),
        ("a mean of known denominator", mean, false, value, [3, 1]),
        ("columns", none, false, Denominator::Default, [1, 1]),
    ] {
        let plan = Plan::new(&context, &problem(5).reduction(reduction)).unwrap();
        let mut job = Job::with(&plan, &context, 5, 0);
        let mut run = |backward: bool| {
            // The classes of columns are not neighbours.
            let axis = usize::from(what != "columns");
            let logits = job.logits.with_classes(axis).unwrap();
            let dlogits = job.dlogits.with_classes_mut(axis).unwrap();
            let separate = job.separate.with_classes_mut(axis).unwrap();
            let (targets, loss, stats) = (&job.targets, &mut job.loss, &mut job.stats);
            let (plan, workspace) = (&job.plan, &mut job.workspace);
            if backward {
                let args = BackwardArgs::new(logits, targets, &*stats, separate);
                return plan.backward(args.denominator(denominator), workspace).unwrap();
            }
            let mut args = Args::new(logits, targets).loss(loss).stats(stats).dlogits(dlogits);
            args = args.denominator(denominator);
            if reported {
                args = args.report(&mut job.report);
            }
            plan.run(args, workspace).unwrap();
        };
        run(false); // the driver's own memory grows at first
        for (backward, launches) in [(false, launches[0]), (true, launches[1])] {
            sim.forbid(FORBIDDEN);
            let counts = sim.counts(|| run(backward));
            let memory = allocations(|| run(backward));
            sim.forbid("");
            let names = ["cuCtxPopCurrent_v2", "cuCtxPushCurrent_v2", "cuLaunchKernel"];
            let expected = names.map(str::to_owned).into_iter().zip([1, 1, launches]);
            assert_eq!(counts, expected.collect::<Vec<_>>(), "{what}, backward: {backward}");
            assert_eq!(memory, 0, "{what}, backward: {backward}: memory of the host");
        }
    }
    assert_eq!(sim.violations(), 0, "{}", sim.report());
}

/// What is at a raw address only the driver knows: it is asked, for each buffer.
#[test]
fn raw_addresses_are_looked_up() {
    if !here_or_elsewhere("raw_addresses_are_looked_up") {
        return;
    }
    abort_on_panic();
    let sim = StandIn::here();
    let _other = Primary::enter(0);
    let context = Context::auto();
    let problem = Problem::new(DType::F32, 5).reduction(Reduction::None);
    let plan = Plan::new(&context, &problem).unwrap();
    let (logits, targets) = (Elements::new(&logits(1, 15)), Elements::new(&targets(3)));
    let mut loss = Elements::new(&[0f32; 3]);
    let memory = Elements::<u8>::new(&vec![0; plan.workspace_size(3)]);
    let at = std::ptr::without_provenance_mut(memory.address as usize);
    // SAFETY: so much memory is there.
    let mut workspace = unsafe { Workspace::from_raw(at, plan.workspace_size(3)) };
    sim.forbid(FORBIDDEN);
    let counts = sim.counts(|| {
        let args = Args::new(logits.view(), targets.view()).loss(loss.view_mut());
        plan.run(args, &mut workspace).unwrap();
    });
    sim.forbid("");
    let number = |name: &str| counts.iter().find(|count| count.0 == name).map_or(0, |c| c.1);
    assert_eq!((number("cuPointerGetAttribute"), number("cuLaunchKernel")), (4, 1), "{counts:?}");
    assert_eq!(counts.len(), 4, "{counts:?}");
    // Where it cannot answer, the memory is not to blame.
    sim.fail("cuPointerGetAttribute:1=719");
    let args = Args::new(logits.view(), targets.view()).loss(loss.view_mut());
    let error = plan.run(args, &mut workspace).unwrap_err().to_string();
    let lost = "cuPointerGetAttribute: unspecified launch failure (CUDA_ERROR_LAUNCH_FAILED, 719); \
                context lost: a kernel of this process failed";
    assert!(error.starts_with(lost), "{error}");
    assert!(loss.read(null_mut()).iter().all(|loss| loss.is_finite()));
}

/// Every call leaves the thread the context that it had.
#[test]
fn the_callers_context_is_restored() {
    if !here_or_elsewhere("the_callers_context_is_restored") {
        return;
    }
    abort_on_panic();
    let primary = Primary::enter(0);
    let mut another = null_mut();
    // SAFETY: writes a handle.
    ok(unsafe { sys::cuCtxCreate_v4(&mut another, null_mut(), 0, 0) });
    let mut expected = None;
    for context in [null_mut(), another, primary.context] {
        set_current(null_mut()); // what creating it has pushed
        set_current(context);
        let unchanged = |what: &str| assert_eq!(current(), context, "{what}");
        let gpu = Context::auto();
        unchanged("a context");
        let plan = Plan::new(&gpu, &problem(5)).unwrap();
        unchanged("a plan");
        let mut job = Job::with(&plan, &gpu, 3, 0);
        unchanged("tensors and a workspace");
        job.run(Stream::default()).unwrap();
        job.backward(Stream::default()).unwrap();
        unchanged("runs");
        let report = plan.report(&job.report, Stream::default()).unwrap();
        assert_eq!(report.count, 0);
        unchanged("a report");
        let found = job.found();
        assert_eq!(*expected.get_or_insert(found.clone()), found);
        assert_eq!(job.logits.clone(), job.logits);
        unchanged("copies");
        assert!(plan.workspace(1 << 40).is_err());
        unchanged("a failure");
        drop((gpu, plan, job));
        unchanged("drops");
    }
    set_current(null_mut());
    // SAFETY: made here.
    ok(unsafe { sys::cuCtxDestroy_v2(another) });
}

/// The resident memory of the process, in bytes.
fn resident() -> i64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    4096 * pages.split(' ').nth(1).unwrap().parse::<i64>().unwrap()
}

/// Gives work on a stream to a graph, which is thrown away.
fn captured(stream: &OwnStream, work: impl FnOnce()) {
    let mut graph = null_mut();
    let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    // SAFETY: a live stream, and what comes of it.
    unsafe {
        ok(sys::cuStreamBeginCapture_v2(stream.0, mode));
        work();
        ok(sys::cuStreamEndCapture(stream.0, &mut graph));
        ok(sys::cuGraphDestroy(graph));
    }
}

#[test]
fn a_hundred_thousand_calls_leave_nothing_behind() {
    if !here() {
        let Some(machine) = Machine::new() else { return };
        let mut command = machine.test("a_hundred_thousand_calls_leave_nothing_behind");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{text}", output.status);
        let measured = text.lines().find(|line| line.contains("host time"));
        return common::say(measured.unwrap());
    }
    abort_on_panic();
    let sim = StandIn::here();
    let _primary = Primary::enter(0);
    let stream = OwnStream::new(1);
    let context = Context::auto();
    let problem = Problem::new(DType::F32, 2).reduction(Reduction::None);
    let plan = Plan::new(&context, &problem).unwrap();
    let there = |tensor: xent::Result<Tensor>| tensor.unwrap().to(&context).unwrap();
    let logits = there(Tensor::from_slice(&[1f32, 2.0], &[1, 2]));
    let targets = there(Tensor::from_slice(&[1i64], &[1]));
    let mut loss = there(Tensor::zeros(DType::F32, &[1]));
    let mut workspace = plan.workspace(1).unwrap();
    let mut run = |stream: Stream<'_>| {
        let args = Args::new(&logits, &targets).loss(&mut loss).stream(stream);
        plan.run(args, &mut workspace).unwrap();
    };
    // Put on the stream and done, as many as the interpreter does in time; the rest is captured, where
    // the library does the same.
    let (done, times) = (10_000, 90);
    let leaks = sim.leaks();
    let mut begin = None;
    let start = Instant::now();
    for call in 0..done {
        run(stream.lend());
        if call % 100 == 99 {
            stream.wait();
        }
        if call == done / 10 {
            begin = Some(resident());
        }
    }
    let executed = start.elapsed();
    let mut host = Duration::ZERO;
    for _ in 0..times {
        captured(&stream, || {
            let start = Instant::now();
            let memory = allocations(|| (0..1000).for_each(|_| run(stream.lend())));
            host += start.elapsed();
            assert_eq!(memory, 0);
        });
    }
    let growth = resident() - begin.unwrap();
    assert!(growth < 4 << 20, "{growth} bytes more after 100000 calls");
    assert_eq!(sim.leaks(), leaks, "{}", sim.report());

    // What a call costs on the host, against one that launches the same kernel directly.
    let mut bare = Duration::ZERO;
    let kernels = OwnKernels::new();
    let nothing = kernels.get(c"nothing");
    captured(&stream, || {
        let start = Instant::now();
        (0..1000).for_each(|_| launch(nothing, stream.0));
        bare = start.elapsed();
    });
    common::say(&format!(
        "host time of a run of one launch {:.2} us, of an empty launch {:.2} us; {done} runs on the \
         interpreter {executed:.2?}, {growth} bytes more after 100000",
        host.as_secs_f64() * 1e6 / (times * 1000) as f64,
        bare.as_secs_f64() * 1e6 / 1000.0
    ));
    assert_eq!(loss.to_vec::<f32>().unwrap()[0].to_bits(), 0.313_261_7f32.to_bits());
}
