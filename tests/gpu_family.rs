//! All operations on a GPU that is simulated, against the same in `f64`.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod trial;

use common::simulated::here_or_elsewhere;
use trial::Trial;
use xent::{Context, DType, Layout, Problem};

#[test]
fn softmax() {
    if !here_or_elsewhere("softmax") {
        return;
    }
    for classes in [1, 2, 31, 33, 100, 1025] {
        for problem in [Problem::softmax(DType::F32, classes), Problem::log_softmax(DType::F32, classes)] {
            for layout in [Layout::rows(5, classes), Layout::rows(5, classes).row_stride(classes + 3), Layout::packed(2, classes, 3)] {
                let trial = Trial::new(problem.clone(), layout, 1);
                let gpu = trial.run(&Context::auto());
                let cpu = trial.run(&Context::cpu());
                let worst = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs().max(1e-30)).fold(0.0, f64::max);
                println!("{classes} {:?} {:e} {:e}", problem.operation, worst(&gpu.output, &cpu.output), worst(&gpu.backward, &cpu.backward));
            }
        }
    }
}
