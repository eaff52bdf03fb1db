//! A context that somebody else's kernel has ended, a process that forks, a machine with several GPUs.
#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(unsafe_code)] // calls the driver, forks

mod common;

use std::ptr::null_mut;

use common::foreign::{Elements, OwnKernels, OwnStream, Primary, current, launch, set_current};
use common::job::{Job, problem};
use common::simulated::{Machine, assert_passes, here, here_or_elsewhere};
use common::standin::{StandIn, abort_on_panic};
use cudarc::driver::sys;
use xent::{
    Args, Context, ContextOptions, DType, Device, DeviceKind, Error, Plan, Result, Stream, Tensor,
};

const ROWS: usize = 3;
const CLASSES: usize = 5;

/// That a call failed since the context is lost.
fn assert_lost<T: std::fmt::Debug>(result: Result<T>, call: &str) {
    match result {
        Err(Error::Cuda { what, code: 719 }) => {
            let words = "unspecified launch failure (CUDA_ERROR_LAUNCH_FAILED, 719); context lost: a \
                         kernel of this process failed, and the GPU does nothing more for the process \
                         until it is started again";
            assert_eq!(what, format!("{call}: {words}"));
        }
        other => panic!("{call}: {other:?}"),
    }
}

#[test]
fn a_context_that_is_lost_is_called_so_and_can_be_destroyed() {
    if !here_or_elsewhere("a_context_that_is_lost_is_called_so_and_can_be_destroyed") {
        return;
    }
    abort_on_panic();
    let sim = StandIn::here();
    let context = Context::auto();
    let mut job = Job::new(&context, ROWS, CLASSES, 0);
    job.run(Stream::default()).unwrap();
    job.backward(Stream::default()).unwrap();
    let expected = job.found();
    {
        let _primary = Primary::enter(0);
        let kernels = OwnKernels::new();
        let stream = OwnStream::new(1);
        let mut raw = Elements::new(&[0f32]);
        launch(kernels.get(c"traps"), stream.0);
        // SAFETY: a live stream.
        let code = unsafe { sys::cuStreamSynchronize(stream.0) };
        assert_eq!(code, sys::CUresult::CUDA_ERROR_LAUNCH_FAILED);

        assert_lost(job.run(Stream::default()), "cuLaunchKernel");
        assert_lost(job.run(stream.lend()), "cuLaunchKernel");
        assert_lost(job.backward(Stream::default()), "cuLaunchKernel");
        let report = job.plan.report(&job.report, Stream::default());
        assert_lost(report, "cuMemcpyDtoHAsync");
        assert_lost(job.loss.to_vec::<f32>(), "cuCtxSynchronize");
        let host = Tensor::from_slice(&[0f32], &[1]).unwrap();
        assert_lost(host.to(&context), "cuMemAlloc");
        assert_lost(job.plan.workspace(ROWS), "cuMemAlloc");
        assert_lost(Plan::new(&context, &problem(CLASSES + 1)).map(drop), "cuModuleLoadData");
        // That its owner cannot be asked for does not make memory wrong.
        let args = Args::new(&job.logits, &job.targets).loss(raw.view_mut());
        let args = args.stats(&mut job.stats).dlogits(&mut job.dlogits);
        assert_lost(job.plan.run(args, &mut job.workspace), "cuLaunchKernel");
    }
    // All of it can be given back, in any order; a context that is made anew is a new one.
    let plan = job.plan.clone();
    drop(context);
    drop(job);
    drop(plan);
    assert_eq!(sim.leaks(), 0, "{}", sim.report());
    let mut job = Job::new(&Context::auto(), ROWS, CLASSES, 0);
    job.run(Stream::default()).unwrap();
    job.backward(Stream::default()).unwrap();
    assert_eq!(job.found(), expected);
}

/// What the child of a fork finds, which has the parent's memory but no driver.
fn forked(context: &Context, job: &mut Job) -> std::result::Result<(), String> {
    let words = "CUDA was started before this process was forked, and does not work in the child";
    let is_forked = |what: &str, result: Result<()>| match result {
        Err(Error::Unavailable { what }) if what.contains(words) => Ok(()),
        other => Err(format!("{what}: {other:?}")),
    };
    is_forked("run", job.run(Stream::default()))?;
    is_forked("backward", job.backward(Stream::default()))?;
    is_forked("report", job.plan.report(&job.report, Stream::default()).map(drop))?;
    is_forked("read", job.loss.to_vec::<f32>().map(drop))?;
    is_forked("workspace", job.plan.workspace(ROWS).map(drop))?;
    is_forked("plan", Plan::new(context, &problem(CLASSES + 1)).map(drop))?;
    is_forked("device", Device::cuda(0).map(drop))?;
    let auto = Context::auto();
    let reason = auto.device().fallback_reason().unwrap_or_default();
    if auto.device().kind() != DeviceKind::Cpu || !reason.starts_with(words) {
        return Err(format!("{}", auto.device()));
    }
    let plan = Plan::new(&auto, &problem(3).outputs(xent::Outputs::LOSS)).unwrap();
    let mut loss = 0f32;
    let args = Args::new(&[1.0f32, 2.0, 3.0], &[2i64]).loss(&mut loss);
    plan.run(args, &mut plan.workspace(1).unwrap()).unwrap();
    if (loss - 0.407606).abs() < 1e-6 { Ok(()) } else { Err(format!("loss {loss}")) }
}

#[test]
fn the_child_of_a_fork_gets_errors_and_the_cpu() {
    if !here_or_elsewhere("the_child_of_a_fork_gets_errors_and_the_cpu") {
        return;
    }
    abort_on_panic();
    let context = Context::auto();
    let mut job = Job::new(&context, ROWS, CLASSES, 0);
    job.run(Stream::default()).unwrap();
    // SAFETY: the child ends at once; the allocator of libc works there.
    let status = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::alarm(20); // ends it if it hangs
            let result = forked(&context, &mut job);
            drop((context, job));
            if let Err(what) = &result {
                common::say(what);
            }
            libc::_exit(if result.is_ok() { 42 } else { 1 });
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        status
    };
    assert!(libc::WIFEXITED(status), "the child hung, or crashed: {status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 42);
    // The parent goes on.
    job.run(Stream::default()).unwrap();
    assert!(job.loss.to_vec::<f32>().unwrap()[0].is_finite());
}

/// Whether this process has two GPUs; if not, another one runs the test.
fn with_two_gpus(name: &str) -> bool {
    if !here()
        && let Some(machine) = Machine::new()
    {
        assert_passes(machine.test(name).env("XENT_SIM_DEVICES", "9.0,8.0"));
    }
    if here() {
        abort_on_panic();
    }
    here()
}

#[test]
fn two_gpus_have_plans_and_memory_of_their_own() {
    if !with_two_gpus("two_gpus_have_plans_and_memory_of_their_own") {
        return;
    }
    let gpu = |ordinal| {
        let device = Device::cuda(ordinal)?;
        Context::new(ContextOptions::default().device(device))
    };
    let contexts = [gpu(0).unwrap(), gpu(1).unwrap()];
    let error = gpu(2).unwrap_err().to_string();
    let text = "CUDA device 2: there is no such GPU: the driver shows 2; their numbers start at 0";
    assert!(error.starts_with(text), "{error}");

    let mut jobs = contexts.each_ref().map(|context| Job::new(context, ROWS, CLASSES, 0));
    let found = jobs.each_mut().map(|job| {
        job.run(Stream::default()).unwrap();
        job.backward(Stream::default()).unwrap();
        job.found()
    });
    for (a, b) in found[0].iter().zip(&found[1]) {
        let (a, b) = (f32::from_bits(*a), f32::from_bits(*b));
        assert!((a - b).abs() <= 1e-6 * a.abs(), "{a} {b}");
    }

    // The context of one is current while the other works.
    let own = [Primary::enter(0), Primary::enter(1)];
    for (this, other) in [(0, 1), (1, 0)] {
        for current_one in [own[0].context, own[1].context, null_mut()] {
            set_current(current_one);
            jobs[this].run(Stream::default()).unwrap();
            jobs[this].backward(Stream::default()).unwrap();
            assert_eq!(jobs[this].found(), found[this]);
            assert_eq!(current(), current_one);
        }
        set_current(own[other].context);
        let raw = Elements::new(&[0f32; ROWS * CLASSES]);
        let [zero, one] = &mut jobs;
        let (job, foreign) = if this == 0 { (zero, one) } else { (one, zero) };
        let refused = |result: Result<()>, field: &str| {
            let text =
                format!("{field}: got memory of CUDA {other}, but memory of CUDA {this} is needed");
            assert_eq!(result.unwrap_err().to_string(), text);
        };
        let run =
            |args: Args<'_>, workspace: &mut xent::Workspace<'_>| job.plan.run(args, workspace);
        for logits in [(&foreign.logits).into(), raw.view()] {
            let args = Args::new(logits, &job.targets).loss(&mut job.loss);
            let args = args.stats(&mut job.stats).dlogits(&mut job.dlogits);
            refused(run(args, &mut job.workspace), "logits");
        }
        let args = Args::new(&job.logits, &job.targets).loss(&mut foreign.loss);
        let args = args.stats(&mut job.stats).dlogits(&mut job.dlogits);
        refused(run(args, &mut job.workspace), "loss");
        let args = Args::new(&job.logits, &job.targets).loss(&mut job.loss);
        let args = args.stats(&mut job.stats).dlogits(&mut job.dlogits);
        refused(run(args, &mut foreign.workspace), "workspace");
        let report = job.plan.report(&foreign.report, Stream::default());
        refused(report.map(drop), "report");
        // A stream of the other.
        let stream = OwnStream::new(1);
        let error = job.run(stream.lend()).unwrap_err();
        assert!(matches!(error, Error::Cuda { code: 400, .. }), "{error}");
        assert_eq!(current(), own[other].context);
    }
    set_current(null_mut());

    // From one to the other.
    let there = jobs[0].logits.to(&contexts[1]).unwrap();
    assert_eq!(there.device().kind(), DeviceKind::Cuda { ordinal: 1 });
    assert_eq!(there, jobs[0].logits);
    assert_eq!(there.dtype(), DType::F32);
    set_current(own[1].context);
}
