//! Tensors whose class axis is not the last: the kernel of columns, executed by the interpreter of
//! `tests/simulator` and held against the reference.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use common::Case;
use gpu::run::{Columns, How, run};
use xent::cuda::variant::{self};
use xent::{DType, Outputs, Problem};

#[test]
fn smoke() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (dtype, width) in [(DType::BF16, 4), (DType::F32, 2), (DType::F16, 1)] {
        for (inner, classes) in [(64, 21), (96, 300)] {
            let problem = Problem::new(dtype, classes).outputs(Outputs::all());
            let case = Case::random(problem.clone(), 2 * inner, classes as u64);
            let columns = Columns { inner, step: 1, transposed: false, more: 0, width };
            let how = How { columns: Some(columns), ..How::default() };
            for kept in [true, false] {
                let Some(variant) = variant::columns(&case.problem, false, width, kept) else {
                    continue;
                };
                let start = std::time::Instant::now();
                let (output, _) = run(&case, &how, &variant, None)
                    .unwrap_or_else(|error| panic!("{variant:?} {error}"));
                println!("{variant:?} {:.1?}", start.elapsed());
                common::bounds::check(&case, &output);
            }
        }
    }
}
