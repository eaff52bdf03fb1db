//! `Tensor`, and what a device says of itself.

mod common;

use common::{context, on_gpu, plan};
use xent::{
    Args, Context, ContextOptions, DType, Device, DeviceKind, Error, Layout, Outputs, Problem,
    Tensor, bf16, f16,
};

const ALL: [DType; 8] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::F64,
    DType::I64,
    DType::I32,
    DType::U32,
    DType::U8,
];

/// A copy on the device of the process.
fn there(x: Tensor) -> Tensor {
    x.to(&context()).unwrap()
}

#[test]
fn zeros_have_their_type_shape_and_device() {
    for dtype in ALL {
        let x = there(Tensor::zeros(dtype, &[2, 0, 3]).unwrap());
        assert_eq!((x.dtype(), x.len(), x.is_empty()), (dtype, 0, true));
        let x = there(Tensor::zeros(dtype, &[2, 3]).unwrap());
        assert_eq!((x.dtype(), x.shape(), x.len()), (dtype, &[2, 3][..], 6));
        assert_eq!((x.device(), x.is_empty()), (context().device(), false));
        let scalar = there(Tensor::zeros(dtype, &[]).unwrap());
        assert_eq!((scalar.shape().len(), scalar.len()), (0, 1));
    }
    let zeros = there(Tensor::zeros(DType::I32, &[2]).unwrap());
    assert_eq!(zeros.to_vec::<i32>(), Ok(vec![0, 0]));
}

#[test]
fn elements_come_back_as_the_type_that_they_are() {
    let mut x = Tensor::from_slice(&[1i64, -2, 3], &[3]).unwrap();
    x.as_mut_slice::<i64>().unwrap()[1] = 7;
    assert_eq!(x.as_slice::<i64>(), Ok(&[1, 7, 3][..]));
    assert_eq!(x.to_vec::<i64>(), Ok(vec![1, 7, 3]));
    let copy = x.clone();
    assert_eq!(x, copy);
    x.as_mut_slice::<i64>().unwrap()[0] = 9;
    assert_ne!(x, copy);
}

#[test]
fn copies_on_any_device_are_equal_and_apart() {
    let x = Tensor::from_slice(&[1i64, -2, 3], &[3]).unwrap();
    let (a, b) = (there(x.clone()), there(x.clone()));
    for copy in [a.clone(), a.to(&Context::cpu()).unwrap(), b] {
        assert_eq!((&copy, copy.to_vec::<i64>()), (&x, Ok(vec![1, -2, 3])));
        assert_ne!(copy.as_ptr(), a.as_ptr());
    }
    assert_eq!(a.clone().device(), context().device());
    assert_ne!(a, Tensor::from_slice(&[1i64, -2, 4], &[3]).unwrap());
    assert_ne!(a, Tensor::from_slice(&[1i64, -2, 3], &[1, 3]).unwrap());
    // Elements of a GPU are not here.
    let not_here = matches!(a.as_slice::<i64>(), Err(Error::Unsupported { .. }));
    assert_eq!(not_here, on_gpu());
    assert_eq!(not_here, there(x).as_mut_slice::<i64>().is_err());
}

#[test]
fn errors_name_what_was_given_and_what_is_needed() {
    let x = Tensor::from_slice(&[1f32, 2.0], &[2]).unwrap();
    let mut y = x.clone();
    let mut z = there(x.clone());
    let texts = [
        (z.to_vec::<i64>().err(), "tensor: got f32, but i64 is needed"),
        (
            z.cast(DType::U8).err(),
            "a cast from f32 to u8: not supported; casts are between floating-point types",
        ),
        (z.with_classes(1).err(), "axis: 1 is not allowed; it must be in [0, 1)"),
        (z.with_classes_mut(9).err(), "axis: 9 is not allowed; it must be in [0, 1)"),
        (x.as_slice::<f64>().err(), "tensor: got f32, but f64 is needed"),
        (y.as_mut_slice::<f16>().err(), "tensor: got f32, but f16 is needed"),
        (x.to_vec::<i64>().err(), "tensor: got f32, but i64 is needed"),
        (
            Tensor::from_slice(&[1f32; 5], &[2, 3]).err(),
            "elements: got 5, but 6 for the shape [2, 3] is needed",
        ),
        (
            Tensor::zeros(DType::U8, &[usize::MAX, 2]).err(),
            "shape: got [18446744073709551615, 2], but a size below 2^63 bytes is needed",
        ),
        (
            Tensor::zeros(DType::F64, &[1 << 60]).err(),
            "shape: got [1152921504606846976], but a size below 2^63 bytes is needed",
        ),
        (
            x.cast(DType::I32).err(),
            "a cast from f32 to i32: not supported; casts are between floating-point types",
        ),
        (
            Tensor::zeros(DType::U8, &[1]).unwrap().cast(DType::F32).err(),
            "a cast from u8 to f32: not supported; casts are between floating-point types",
        ),
        (x.with_classes(1).err(), "axis: 1 is not allowed; it must be in [0, 1)"),
        (y.with_classes_mut(9).err(), "axis: 9 is not allowed; it must be in [0, 1)"),
        (
            Tensor::zeros(DType::F32, &[]).unwrap().with_classes(0).err(),
            "axis: 0 is not allowed; it must be in [0, 0)",
        ),
    ];
    for (error, text) in texts {
        assert_eq!(error.map(|e| e.to_string()).as_deref(), Some(text));
    }
}

/// Ties go to even, what is too large to infinity, what is too small to a signed zero.
#[test]
fn casts_round_to_nearest_even() {
    let half = 2f64.powi(-11); // of the spacing of f16 at 1
    let cases = [
        (1.0 + half, DType::F16, 1.0),
        (1.0 + half * 1.000_001, DType::F16, 1.0 + 2.0 * half),
        (1.0 + 3.0 * half, DType::F16, 1.0 + 4.0 * half),
        (65519.0, DType::F16, 65504.0),
        (65520.0, DType::F16, f64::INFINITY),
        (-65520.0, DType::F16, f64::NEG_INFINITY),
        (2f64.powi(-25), DType::F16, 0.0),
        (2f64.powi(-25) * 1.1, DType::F16, 2f64.powi(-24)),
        (-1e-30, DType::F16, -0.0),
        (1.0 + 2f64.powi(-8), DType::BF16, 1.0),
        (1.0 + 2f64.powi(-8) * 1.01, DType::BF16, 1.0 + 2f64.powi(-7)),
        (1.0 + 3.0 * 2f64.powi(-8), DType::BF16, 1.0 + 2f64.powi(-6)),
        (3.4e38, DType::BF16, f64::INFINITY),
        (1.0 + 2f64.powi(-24), DType::F32, 1.0),
        (1.0 + 2f64.powi(-24) * 1.000_001, DType::F32, 1.0 + 2f64.powi(-23)),
        (1e39, DType::F32, f64::INFINITY),
        (1e-50, DType::F32, 0.0),
        (0.1, DType::F64, 0.1),
    ];
    for (x, dtype, expected) in cases {
        let cast = there(Tensor::from_slice(&[x], &[1]).unwrap()).cast(dtype).unwrap();
        assert_eq!(cast.device(), context().device());
        assert_eq!((cast.dtype(), cast.shape()), (dtype, &[1][..]));
        let wide = cast.cast(DType::F64).unwrap().to_vec::<f64>().unwrap()[0];
        assert_eq!(wide.to_bits(), expected.to_bits(), "{x:e} as {dtype} is {wide:e}");
    }
}

/// From f64 in one step: by way of f32 the tie would be lost.
#[test]
fn casts_round_once() {
    let x = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
    let cast = there(Tensor::from_slice(&[x], &[1]).unwrap()).cast(DType::BF16).unwrap();
    assert_eq!(cast.to_vec::<bf16>().unwrap()[0].to_f64(), 1.0 + 2f64.powi(-7));
    let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
    let cast = there(Tensor::from_slice(&[x], &[1]).unwrap()).cast(DType::F16).unwrap();
    assert_eq!(cast.to_vec::<f16>().unwrap()[0].to_f64(), 1.0 + 2f64.powi(-10));
}

#[test]
fn casts_there_and_back_are_exact() {
    let numbers = [0.0, -0.0, 1.5, -1024.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let x = there(Tensor::from_slice(&numbers, &[7]).unwrap());
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let back = x.cast(dtype).unwrap().cast(DType::F64).unwrap().to_vec::<f64>().unwrap();
        let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        assert!(back.iter().zip(&numbers).all(same), "{dtype}: {back:?}");
    }
}

/// (2, 3, 4) with its classes in the middle: 8 rows of 3.
#[test]
fn any_axis_can_hold_the_classes() {
    assert_eq!(Layout::axis(&[2, 3, 4], 0), Ok(Layout::packed(1, 2, 12)));
    assert_eq!(Layout::axis(&[2, 3, 4], 1), Ok(Layout::packed(2, 3, 4)));
    assert_eq!(Layout::axis(&[2, 3, 4], 2), Ok(Layout::packed(6, 4, 1)));

    let problem = Problem::new(DType::F32, 3).outputs(Outputs::ARGMAX | Outputs::DLOGITS);
    let plan = plan(&problem).unwrap();
    let mut logits = vec![0f32; 24];
    let class = |row: usize| row % 3;
    for row in 0..8 {
        logits[row / 4 * 12 + class(row) * 4 + row % 4] = 1.0;
    }
    let logits = there(Tensor::from_slice(&logits, &[2, 3, 4]).unwrap());
    let mut dlogits = there(Tensor::zeros(DType::F32, &[2, 3, 4]).unwrap());
    let targets = there(Tensor::zeros(DType::I64, &[8]).unwrap());
    let mut argmax = there(Tensor::zeros(DType::I64, &[2, 4]).unwrap());
    let args = Args::new(logits.with_classes(1).unwrap(), &targets)
        .dlogits(dlogits.with_classes_mut(1).unwrap())
        .argmax(&mut argmax);
    plan.run(args, &mut plan.workspace(8).unwrap()).unwrap();
    let expected: Vec<i64> = (0..8).map(|row| class(row) as i64).collect();
    assert_eq!(argmax.to_vec(), Ok(expected));
    let negative: Vec<bool> =
        dlogits.to_vec::<f32>().unwrap().iter().map(|gradient| *gradient < 0.0).collect();
    let is_target = |at: usize| at % 12 < 4; // class 0 of each outer index
    assert_eq!(negative, (0..24).map(is_target).collect::<Vec<_>>());
}

#[test]
fn a_device_says_what_it_is_and_why() {
    assert_eq!(Device::cpu().to_string(), "CPU");
    assert_eq!((Device::cpu().kind(), Device::cpu().fallback_reason()), (DeviceKind::Cpu, None));

    let auto = Device::auto();
    if let Some(reason) = auto.fallback_reason() {
        assert_eq!(auto.kind(), DeviceKind::Cpu);
        assert!(reason.contains("NVIDIA") || reason.contains("CUDA"), "{reason}");
        assert_eq!(auto.to_string(), format!("CPU ({reason})"));
    } else {
        assert_eq!(auto.kind(), DeviceKind::Cuda { ordinal: 0 });
        assert_eq!(auto.to_string(), "CUDA 0");
    }
    assert!(!on_gpu() || auto.fallback_reason().is_none());
    assert_eq!(Context::auto().device(), &auto);
    assert_eq!(Context::cpu().device(), &Device::cpu());
    assert_eq!(ContextOptions::default().device, None);
    match Device::cuda(3) {
        Ok(device) => assert_eq!(device.to_string(), "CUDA 3"),
        Err(error) => {
            assert!(matches!(error, Error::Unavailable { .. }));
            assert!(error.to_string().starts_with("CUDA device 3: "), "{error}");
        }
    }
}

#[test]
fn types_know_their_size_and_companion() {
    let facts: Vec<_> =
        ALL.iter().map(|d| (d.to_string(), d.size(), d.is_float(), d.companion())).collect();
    let fact = |name: &str, size, float, companion| (name.to_string(), size, float, companion);
    assert_eq!(
        facts,
        [
            fact("f32", 4, true, DType::F32),
            fact("f16", 2, true, DType::F32),
            fact("bf16", 2, true, DType::F32),
            fact("f64", 8, true, DType::F64),
            fact("i64", 8, false, DType::F32),
            fact("i32", 4, false, DType::F32),
            fact("u32", 4, false, DType::F32),
            fact("u8", 1, false, DType::F32),
        ]
    );
}
