//! The whole library on a GPU that is simulated: the driver is that of `tests/driver`, which a
//! process of its own finds as it would find NVIDIA's.
#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(unsafe_code)] // a raw address, which is refused

mod common;

use common::Case;
use common::simulated::here_or_elsewhere;
use xent::{
    Args, Context, DType, Device, DeviceKind, Error, Outputs, Plan, Problem, Reduction, Report,
    Stream, Tensor, View,
};

#[test]
fn cases_within_their_bounds() {
    if !here_or_elsewhere("cases_within_their_bounds") {
        return;
    }
    assert_eq!(Device::auto().kind(), DeviceKind::Cuda { ordinal: 0 }, "{}", Device::auto());
    let context = Context::auto();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for targets in [DType::I64, DType::F32] {
            for classes in [10, 1000, 5000] {
                let problem = Problem::new(dtype, classes)
                    .targets(targets)
                    .label_smoothing(0.1)
                    .z_loss(1e-3)
                    .reduction(Reduction::Mean)
                    .outputs(Outputs::all());
                let case = Case::random(problem, 5, 3);
                common::bounds::check(&case, &case.run_on(&context));
            }
        }
    }
}

#[test]
fn tensors_move_and_are_cast() {
    if !here_or_elsewhere("tensors_move_and_are_cast") {
        return;
    }
    let context = Context::auto();
    let x = Tensor::from_slice(&[1.0f32, -2.5, 3e5], &[3]).unwrap();
    let there = x.to(&context).unwrap();
    assert_eq!(there.device().kind(), DeviceKind::Cuda { ordinal: 0 });
    assert_eq!(there.to_vec::<f32>(), Ok(vec![1.0, -2.5, 3e5]));
    assert!(matches!(there.as_slice::<f32>(), Err(Error::Unsupported { .. })));
    assert_eq!(there.cast(DType::F16).unwrap().to(&Context::cpu()), x.cast(DType::F16));
    assert_eq!(there.clone(), x);
    assert!(matches!(there.cast(DType::I32), Err(Error::Unsupported { .. })));
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

/// The class axis anywhere: the results are those of the CPU's layout tests.
#[test]
fn any_layout() {
    if !here_or_elsewhere("any_layout") {
        return;
    }
    let context = Context::auto();
    let problem = Problem::new(DType::F32, 4).outputs(Outputs::LOSS | Outputs::DLOGITS);
    let numbers: Vec<f32> = (0..24).map(|i| (i * 7 % 11) as f32 / 3.0).collect();
    let run = |context: &Context| {
        let plan = Plan::new(context, &problem).unwrap();
        let logits = Tensor::from_slice(&numbers, &[2, 4, 3]).unwrap().to(context).unwrap();
        let targets =
            Tensor::from_slice(&[0i64, 1, 2, 3, 0, 1], &[6]).unwrap().to(context).unwrap();
        let mut loss = Tensor::zeros(DType::F32, &[1]).unwrap().to(context).unwrap();
        let mut dlogits = Tensor::zeros(DType::F32, &[2, 4, 3]).unwrap().to(context).unwrap();
        let args = Args::new(logits.with_classes(1).unwrap(), &targets)
            .loss(&mut loss)
            .dlogits(dlogits.with_classes_mut(1).unwrap());
        plan.run(args, &mut plan.workspace(6).unwrap()).unwrap();
        (loss.to_vec::<f32>().unwrap()[0], dlogits.to_vec::<f32>().unwrap())
    };
    let (here, there) = (run(&Context::cpu()), run(&context));
    assert!((here.0 - there.0).abs() <= 1e-6 * here.0);
    for (a, b) in here.1.iter().zip(&there.1) {
        assert!((a - b).abs() <= 1e-6 * a.abs(), "{a} {b}");
    }
}
