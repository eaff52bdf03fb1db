//! The whole library on a GPU that is simulated: the driver is that of `tests/driver`, which a
//! process of its own finds as it would find NVIDIA's. All tests of the foundation run there, then
//! what only a GPU has.
#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(unsafe_code)] // a raw address, which is refused

mod common;

use std::process::Output;

use common::foundation::{self, CARGO, FOUNDATION};
use common::simulated::{Machine, here, here_or_elsewhere};
use xent::{
    Args, Context, DType, Error, Outputs, Plan, Problem, Reduction, Report, Stream, Tensor, View,
};

/// Runs files of the foundation in processes that have the GPU, with settings of the driver.
fn run(machine: &Machine, files: &[&str], settings: &[(&str, &str)]) {
    foundation::run(machine.command(CARGO).envs(settings.iter().copied()), files);
}

/// Every second file, so that the other ones run at the same time.
fn half_of_the_foundation(first: usize) {
    let Some(machine) = Machine::new() else { return };
    let files: Vec<&str> = FOUNDATION.into_iter().skip(first).step_by(2).collect();
    run(&machine, &files, &[]);
}

#[test]
fn the_foundation() {
    half_of_the_foundation(0);
}

#[test]
fn the_other_half_of_the_foundation() {
    half_of_the_foundation(1);
}

/// Approximations of a GPU are off by more than nothing; and in another order of work.
#[test]
fn a_gpu_that_approximates() {
    let Some(machine) = Machine::new() else { return };
    let noise = [("XENT_SIM_NOISE", "1"), ("XENT_SIM_SEED", "7")];
    run(&machine, &["bounds", "determinism"], &noise);
}

#[test]
fn a_gpu_without_clusters() {
    let Some(machine) = Machine::new() else { return };
    let older = [("XENT_SIM_DEVICES", "8.0"), ("XENT_SIM_SEED", "3")];
    run(&machine, &["layouts", "tensor"], &older);
}

/// And why it is that one: once for each plan, and only where `XENT_LOG` asks.
#[test]
fn a_plan_tells_its_kernel() {
    const NAME: &str = "a_plan_tells_its_kernel";
    const REASON: &str =
        "read once: a cluster of 4 CTAs of 256 threads with 8 vectors each holds a row";
    if here() {
        let problem = Problem::new(DType::BF16, 50_257).outputs(Outputs::LOSS | Outputs::DLOGITS);
        let plan = Plan::new(&Context::auto(), &problem).unwrap();
        assert!(plan.kernel_name().starts_with("xent::cluster<xent::bfloat, xent::bfloat, "));
        plan.workspace(3).unwrap();
        Plan::new(&Context::cpu(), &Problem::new(DType::F32, 3)).unwrap();
        return println!("it is {}", plan.kernel_name());
    }
    let Some(machine) = Machine::new() else { return };
    for (value, lines) in [("1", 2), ("0", 0), ("", 0)] {
        let Output { status, stdout, stderr } =
            machine.test(NAME).env("XENT_LOG", value).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(stdout), text(stderr));
        assert!(status.success(), "{out}\n{err}");
        let (_, name) = out.split_once("it is ").unwrap();
        let name = name.lines().next().unwrap();
        let told: Vec<&str> = err.lines().filter(|line| line.starts_with("xent: ")).collect();
        assert_eq!(told.len(), lines, "{err}");
        let expected = [
            format!("xent: bf16 logits, 50257 classes, on CUDA 0: {name}; a row is {REASON}"),
            format!("xent: f32 logits, 3 classes, on CPU: {}", foundation::cpu_kernel()),
        ];
        assert_eq!(told, expected[..lines]);
    }
}

#[test]
fn memory_of_the_wrong_device_is_refused() {
    if !here_or_elsewhere("memory_of_the_wrong_device_is_refused") {
        return;
    }
    let context = Context::auto();
    let problem = Problem::new(DType::F32, 3);
    let (logits, targets) = ([0f32; 6], [0i64, 1]);
    let mut loss = 0f32;
    let plan = Plan::new(&context, &problem).unwrap();
    let mut workspace = plan.workspace(2).unwrap();
    let args = Args::new(&logits, &targets).loss(&mut loss);
    let error = plan.run(args, &mut workspace).unwrap_err().to_string();
    assert_eq!(error, "logits: got memory of the CPU, but memory of CUDA 0 is needed");
    // A raw address is what the driver says that it is.
    // SAFETY: memory of this process, which is refused.
    let raw = unsafe { View::from_raw(logits.as_ptr().cast(), 6, DType::F32) };
    let error = plan.run(Args::new(raw, &targets).loss(&mut loss), &mut workspace).unwrap_err();
    assert!(error.to_string().starts_with("logits: got memory that the driver does not know"));
    // And the other way round.
    let there = Tensor::from_slice(&logits, &[2, 3]).unwrap().to(&context).unwrap();
    let plan = Plan::new(&Context::cpu(), &problem).unwrap();
    let args = Args::new(&there, &targets).loss(&mut loss);
    let error = plan.run(args, &mut plan.workspace(2).unwrap()).unwrap_err().to_string();
    assert_eq!(error, "logits: got memory of CUDA 0, but memory of the CPU is needed");
    // What a GPU does not do.
    let error = Plan::new(&context, &Problem::new(DType::F64, 3)).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

/// Targets that are no classes: the rows are NaN, the report says which, all else is as without them.
#[test]
fn wrong_targets_are_reported() {
    if !here_or_elsewhere("wrong_targets_are_reported") {
        return;
    }
    let context = Context::auto();
    let problem = Problem::new(DType::F32, 3)
        .reduction(Reduction::None)
        .outputs(Outputs::LOSS | Outputs::DLOGITS);
    let plan = Plan::new(&context, &problem).unwrap();
    let to = |tensor: Tensor| tensor.to(&context).unwrap();
    let logits = to(Tensor::from_slice(&[1f32; 12], &[4, 3]).unwrap());
    let targets = to(Tensor::from_slice(&[0i64, 3, 2, -7], &[4]).unwrap());
    let mut loss = to(Tensor::zeros(DType::F32, &[4]).unwrap());
    let mut dlogits = to(Tensor::zeros(DType::F32, &[4, 3]).unwrap());
    let mut report = to(Tensor::zeros(DType::I64, &[Report::LEN]).unwrap());
    let mut workspace = plan.workspace(4).unwrap();
    for runs in 1..3 {
        let args = Args::new(&logits, &targets).loss(&mut loss).dlogits(&mut dlogits);
        plan.run(args.report(&mut report), &mut workspace).unwrap();
        let found = plan.report(&report, Stream::default()).unwrap();
        assert_eq!(found, Report { count: 2 * runs, row: 1, value: 3 });
        let error = found.check(3).unwrap_err();
        assert_eq!(error, Error::InvalidTarget { row: 1, value: 3, classes: 3 });
    }
    let loss = loss.to_vec::<f32>().unwrap();
    assert_eq!(loss.iter().map(|x| x.is_nan()).collect::<Vec<_>>(), [false, true, false, true]);
    let gradient = dlogits.to_vec::<f32>().unwrap();
    assert!(
        gradient[..3].iter().all(|g| g.is_finite()) && gradient[3..6].iter().all(|g| g.is_nan())
    );
}
