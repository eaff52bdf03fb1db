//! Runs on streams of all kinds, from many threads, and in graphs. The simulated GPU does what streams
//! leave open in an order of its own.
#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(unsafe_code)] // calls the driver

mod common;

use std::ptr::{null_mut, without_provenance_mut};

use common::foreign::{Elements, OwnStream, Primary, capture, lend, set_current};
use common::job::{Job, logits, problem, targets};
use common::simulated::{Machine, assert_passes, here, here_or_elsewhere};
use common::standin::{StandIn, abort_on_panic, ok};
use cudarc::driver::sys::{self, CUstream};
use xent::{Args, BackwardArgs, Context, Denominator, Plan, Reduction, Stream, Workspace};

const ROWS: usize = 6;
const CLASSES: usize = 5;

/// The same with other orders of the simulated GPU.
fn in_several_orders(name: &str) -> bool {
    if !here()
        && let Some(machine) = Machine::new()
    {
        for seed in ["0", "1", "2"] {
            assert_passes(machine.test(name).env("XENT_SIM_SEED", seed));
        }
    }
    if here() {
        abort_on_panic();
    }
    here()
}

#[test]
fn streams_of_all_kinds_give_the_same_bits() {
    if !in_several_orders("streams_of_all_kinds_give_the_same_bits") {
        return;
    }
    let context = Context::auto();
    let mut expected = Job::new(&context, ROWS, CLASSES, 0);
    expected.run(Stream::default()).unwrap();
    expected.backward(Stream::default()).unwrap();
    let expected = expected.found();
    let _primary = Primary::enter(0);
    let own = [OwnStream::new(0), OwnStream::new(1)];
    let legacy: CUstream = without_provenance_mut(1);
    let per_thread: CUstream = without_provenance_mut(2);
    for context_is_current in [true, false] {
        for stream in [null_mut(), legacy, per_thread, own[0].0, own[1].0] {
            let mut job = Job::new(&context, ROWS, CLASSES, 0);
            if !context_is_current {
                set_current(null_mut());
            }
            job.run(lend(stream)).unwrap();
            job.backward(lend(stream)).unwrap();
            let report = job.plan.report(&job.report, lend(stream)).unwrap();
            assert_eq!(report.count, 0);
            assert_eq!(job.found(), expected, "{stream:?}");
        }
    }
}

/// Each thread has buffers and a stream of its own, and the plan is one.
#[test]
fn threads_share_a_plan() {
    if !in_several_orders("threads_share_a_plan") {
        return;
    }
    let context = Context::auto();
    let plan = Plan::new(&context, &problem(CLASSES)).unwrap();
    let serial = |seed| {
        let mut job = Job::with(&plan, &context, ROWS, seed);
        job.run(Stream::default()).unwrap();
        job.backward(Stream::default()).unwrap();
        job.found()
    };
    let expected: Vec<_> = (0..4).map(serial).collect();
    assert_ne!(expected[0], expected[1]);
    std::thread::scope(|scope| {
        for (thread, expected) in expected.iter().enumerate() {
            let (plan, context) = (&plan, &context);
            scope.spawn(move || {
                let _primary = Primary::enter(0);
                let streams = [OwnStream::new(1), OwnStream::new(0)];
                let per_thread = lend(without_provenance_mut(2));
                for round in 0..6 {
                    let mut job = Job::with(plan, context, ROWS, thread);
                    let stream = [streams[0].lend(), streams[1].lend(), per_thread][round % 3];
                    job.run(stream).unwrap();
                    job.backward(stream).unwrap();
                    assert_eq!(job.found(), *expected, "thread {thread}, round {round}");
                }
            });
        }
    });
}

/// Plans of the same problem are made at once by many threads, and dropped while others run.
#[test]
fn threads_make_and_drop_plans_at_once() {
    if !here_or_elsewhere("threads_make_and_drop_plans_at_once") {
        return;
    }
    abort_on_panic();
    let sim = StandIn::here();
    let context = Context::auto();
    let mut first = Job::new(&context, ROWS, CLASSES, 0);
    first.run(Stream::default()).unwrap();
    let expected = first.found();
    let before = sim.calls("cuModuleLoadData");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let mut job = Job::new(&context, ROWS, CLASSES, 0);
                    job.run(Stream::default()).unwrap();
                    assert_eq!(job.found(), expected);
                }
            });
        }
    });
    assert_eq!(sim.calls("cuModuleLoadData"), before, "kernels are loaded once");
}

/// What earlier work of the same stream writes is what a run reads, and later work does not disturb it.
#[test]
fn scalars_on_the_device_are_read_in_the_order_of_the_stream() {
    if !in_several_orders("scalars_on_the_device_are_read_in_the_order_of_the_stream") {
        return;
    }
    let _primary = Primary::enter(0);
    let context = Context::auto();
    let plan = Plan::new(&context, &problem(CLASSES)).unwrap();
    let stream = OwnStream::new(1);
    let scalars = [Elements::new(&[f32::NAN]), Elements::new(&[f32::NAN])];
    let size = plan.workspace_size(ROWS);
    let memory = Elements::<u8>::new(&vec![0; size]);
    // SAFETY: so much memory is there.
    let mut workspace =
        unsafe { Workspace::from_raw(without_provenance_mut(memory.address as usize), size) };
    let inputs = Elements::new(&logits(0, ROWS * CLASSES));
    let classes = Elements::new(&targets(ROWS));
    let mut run = |stream: Stream<'_>, known: Option<(f64, f32)>, scalars: &[Elements<f32>; 2]| {
        let mut loss = Elements::new(&[0f32]);
        let mut stats = Elements::new(&[0f32; 2 * ROWS]);
        let mut gradients = [0, 1].map(|_| Elements::new(&[0f32; ROWS * CLASSES]));
        let [dlogits, separate] = &mut gradients;
        let upstream = known.map(|(_, dloss)| Elements::new(&[dloss]));
        let dloss = upstream.as_ref().unwrap_or(&scalars[1]);
        let mut args = Args::new(inputs.view(), classes.view()).loss(loss.view_mut());
        args = args.stats(stats.view_mut()).dlogits(dlogits.view_mut()).stream(stream);
        args = args.dloss(dloss.view());
        args = match known {
            Some((value, _)) => args.denominator(Denominator::Value(value)),
            None => args.device_denominator(scalars[0].view()),
        };
        plan.run(args, &mut workspace).unwrap();
        let mut args =
            BackwardArgs::new(inputs.view(), classes.view(), stats.view(), separate.view_mut());
        args = args.dloss(dloss.view()).stream(stream);
        args = match known {
            Some((value, _)) => args.denominator(Denominator::Value(value)),
            None => args.device_denominator(scalars[0].view()),
        };
        plan.backward(args, &mut workspace).unwrap();
        (loss, gradients, stats, upstream)
    };
    for (denominator, dloss) in [(7.0f32, 0.5f32), (0.25, -3.0), (1e6, 1e-3)] {
        let set = |scalar: &Elements<f32>, value: f32| {
            // SAFETY: one word.
            ok(unsafe { sys::cuMemsetD32Async(scalar.address, value.to_bits(), 1, stream.0) });
        };
        set(&scalars[0], denominator);
        set(&scalars[1], dloss);
        let found = run(stream.lend(), None, &scalars);
        scalars.iter().for_each(|scalar| set(scalar, f32::NAN));
        let expected = run(stream.lend(), Some((denominator.into(), dloss)), &scalars);
        let read = |(loss, gradients, ..): &(Elements<f32>, [Elements<f32>; 2], _, _)| {
            let all = [loss, &gradients[0], &gradients[1]].map(|x| x.read(stream.0)).concat();
            all.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(read(&found), read(&expected), "{denominator} {dloss}");
        assert!(read(&found).iter().all(|&bits| f32::from_bits(bits).is_finite()));
    }
}

#[test]
fn a_captured_run_is_replayed_with_new_contents() {
    if !in_several_orders("a_captured_run_is_replayed_with_new_contents") {
        return;
    }
    let sim = StandIn::here();
    let _primary = Primary::enter(0);
    let stream = OwnStream::new(1);
    let leaks = sim.leaks();
    for plan_first in [true, false] {
        let context = Context::auto();
        let plan = Plan::new(&context, &problem(CLASSES)).unwrap();
        let size = plan.workspace_size(ROWS);
        let memory = Elements::<u8>::new(&vec![0; size]);
        // SAFETY: so much memory is there.
        let mut workspace =
            unsafe { Workspace::from_raw(without_provenance_mut(memory.address as usize), size) };
        let inputs = Elements::new(&[0f32; ROWS * CLASSES]);
        let classes = Elements::new(&[0i64; ROWS]);
        let mut loss = Elements::new(&[0f32]);
        let mut stats = Elements::new(&[0f32; 2 * ROWS]);
        let mut gradients = [0, 1].map(|_| Elements::new(&[0f32; ROWS * CLASSES]));
        let [dlogits, separate] = &mut gradients;
        let graph = capture(&stream, || {
            let args = Args::new(inputs.view(), classes.view()).loss(loss.view_mut());
            let args = args.stats(stats.view_mut()).dlogits(dlogits.view_mut());
            plan.run(args.stream(stream.lend()), &mut workspace).unwrap();
            let (x, y, s) = (inputs.view(), classes.view(), stats.view());
            let args = BackwardArgs::new(x, y, s, separate.view_mut()).stream(stream.lend());
            plan.backward(args, &mut workspace).unwrap();
        });
        assert_eq!(loss.read(stream.0), [0.0], "nothing has run");
        let mut direct = Job::with(&plan, &context, ROWS, 0);
        for replay in 0..50 {
            let classes_now: Vec<i64> = (0..ROWS).map(|row| ((row + replay) % 5) as i64).collect();
            let logits_now = logits(replay, ROWS * CLASSES);
            inputs.write(&logits_now, stream.0);
            classes.write(&classes_now, stream.0);
            graph.launch(&stream);
            let found = [&loss, &gradients[0], &gradients[1]].map(|x| x.read(stream.0)).concat();
            let there = |tensor: xent::Result<xent::Tensor>| tensor.unwrap().to(&context).unwrap();
            direct.logits = there(xent::Tensor::from_slice(&logits_now, &[ROWS, CLASSES]));
            direct.targets = there(xent::Tensor::from_slice(&classes_now, &[ROWS]));
            direct.run(Stream::default()).unwrap();
            direct.backward(Stream::default()).unwrap();
            let found: Vec<u32> = found.into_iter().map(f32::to_bits).collect();
            assert_eq!(found, direct.found(), "replay {replay}");
        }
        if plan_first {
            drop((direct, plan, context));
            drop(graph);
        } else {
            drop(graph);
            drop((direct, plan, context));
        }
    }
    assert_eq!((sim.leaks(), sim.violations()), (leaks, 0), "{}", sim.report());
}

/// Targets that are no class, far apart among many rows: these rows are NaN and reported, all others
/// are as they would be.
#[test]
fn wrong_targets_among_many_rows() {
    if !here_or_elsewhere("wrong_targets_among_many_rows") {
        return;
    }
    abort_on_panic();
    const MANY: usize = 4096;
    let context = Context::auto();
    let plan = Plan::new(&context, &problem(CLASSES).reduction(Reduction::None)).unwrap();
    let mut right = Job::with(&plan, &context, MANY, 3);
    right.run(Stream::default()).unwrap();
    right.backward(Stream::default()).unwrap();
    let right = right.found();

    let wrong = [(17, -1i64), (1024, 5), (1025, i64::MIN), (4095, i64::MAX)];
    let mut classes = targets(MANY);
    wrong.iter().for_each(|&(row, value)| classes[row] = value);
    let mut job = Job::with(&plan, &context, MANY, 3);
    let there = xent::Tensor::from_slice(&classes, &[MANY]).unwrap().to(&context).unwrap();
    job.targets = there;
    let args = Args::new(&job.logits, &job.targets).loss(&mut job.loss).stats(&mut job.stats);
    let args = args.dlogits(&mut job.dlogits).report(&mut job.report);
    plan.run(args, &mut job.workspace).unwrap();
    job.backward(Stream::default()).unwrap();
    let report = plan.report(&job.report, Stream::default()).unwrap();
    assert_eq!((report.count, report.row, report.value), (4, 17, -1));
    let text = report.check(CLASSES).unwrap_err().to_string();
    assert_eq!(text, "targets: row 17 holds -1, which is not in [0, 5)");
    let row = |index: usize| {
        if index < MANY { index } else { (index - MANY) % (MANY * CLASSES) / CLASSES }
    };
    for (index, (found, right)) in job.found().into_iter().zip(right).enumerate() {
        if wrong.iter().any(|&(wrong, _)| wrong == row(index)) {
            assert!(f32::from_bits(found).is_nan(), "row {}", row(index));
        } else {
            assert_eq!(found, right, "row {}", row(index));
        }
    }
}
