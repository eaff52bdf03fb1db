//! Tensors on the GPU: made, copied, cast.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;

use common::simulated::here_or_elsewhere;
use xent::{Context, DType, Tensor, bf16, f16};

const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// Every number of 16 bits, and those of 32 around which roundings change.
fn numbers() -> [Tensor; 3] {
    let all = 0..=u16::MAX;
    let halves: Vec<f16> = all.clone().map(f16::from_bits).collect();
    let bfloats: Vec<bf16> = all.map(bf16::from_bits).collect();
    let places = halves.iter().map(|x| x.to_f32()).chain(bfloats.iter().map(|x| x.to_f32()));
    let half_steps = [0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001];
    let floats: Vec<f32> = places
        .flat_map(|x| half_steps.map(|step| f32::from_bits(x.to_bits().wrapping_add(step))))
        .collect();
    [
        Tensor::from_slice(&floats, &[floats.len()]).unwrap(),
        Tensor::from_slice(&halves, &[halves.len()]).unwrap(),
        Tensor::from_slice(&bfloats, &[bfloats.len()]).unwrap(),
    ]
}

fn wide(tensor: &Tensor) -> Vec<f64> {
    tensor.cast(DType::F64).unwrap().to_vec().unwrap()
}

#[test]
fn casts_are_those_of_the_cpu() {
    if !here_or_elsewhere("casts_are_those_of_the_cpu") {
        return;
    }
    let context = Context::auto();
    for tensor in numbers() {
        let there = tensor.to(&context).unwrap();
        for dtype in FLOATS {
            let cast = there.cast(dtype).unwrap();
            assert_eq!((cast.dtype(), cast.shape()), (dtype, tensor.shape()));
            assert_eq!(cast.device().kind(), context.device().kind());
            let (cast, expected) = (wide(&cast), wide(&tensor.cast(dtype).unwrap()));
            for (index, (a, b)) in cast.iter().zip(&expected).enumerate() {
                let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(same, "{} to {dtype}, {index}: {a:e}, not {b:e}", tensor.dtype());
            }
        }
        assert_eq!(wide(&there.cast(DType::F64).unwrap()).len(), tensor.len());
    }
    for len in [0, 1, 3, 1023, 1024, 1025] {
        let x = Tensor::from_slice(&vec![1.5f32; len], &[len]).unwrap();
        let there = x.to(&context).unwrap().cast(DType::BF16).unwrap();
        assert_eq!(there, x.cast(DType::BF16).unwrap());
    }
}

#[test]
fn zeros_are_there_before_any_stream_reads_them() {
    if !here_or_elsewhere("zeros_are_there_before_any_stream_reads_them") {
        return;
    }
    let context = Context::auto();
    for dtype in [DType::F32, DType::F16, DType::F64, DType::I64, DType::U8] {
        for shape in [&[][..], &[0], &[7], &[3, 5, 2]] {
            let zeros = Tensor::zeros_on(&context, dtype, shape).unwrap();
            assert_eq!(zeros.device().kind(), context.device().kind());
            assert_eq!(zeros, Tensor::zeros(dtype, shape).unwrap());
            assert_eq!(zeros.shape(), shape);
        }
    }
    let many = [1 << 40, 1 << 10];
    assert!(Tensor::zeros_on(&context, DType::F32, &many).is_err());
}
