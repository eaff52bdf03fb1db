//! What the CUDA kernels cost, by the interpreter's count: instructions and approximations of the
//! special function unit for each element. A regression shows without a GPU and without a clock.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use common::Case;
use gpu::run::{Columns, How, run};
use xent::cuda::variant::{self, Variant};
use xent::{DType, Outputs, Problem};

/// PTX instructions and approximations for one more element.
fn per_element(problem: &Problem, variant: impl Fn(&Problem) -> Variant) -> (f64, f64) {
    let measure = |classes: usize| {
        let mut problem = problem.clone();
        problem.classes = classes;
        let mut case = Case::random(problem.clone(), 1, 3);
        case.problem = problem;
        // Falling: what a first maximum costs is not part of the loop.
        case.logits.sort_by(|a, b| b.total_cmp(a));
        let how = How { threads: 256, ..How::default() };
        let (_, trace) = run(&case, &how, &variant(&case.problem), None).unwrap();
        (trace.lane_instructions as f64, trace.mufu as f64)
    };
    let (small, large) = (1 << 14, 1 << 17);
    let (a, b) = (measure(small), measure(large));
    let elements = (large - small) as f64;
    ((b.0 - a.0) / elements, (b.1 - a.1) / elements)
}

/// The same where a CTA keeps a row in registers that it fills, of 4 and of 8 vectors in each thread; and
/// instructions for each element of all that the longer row costs.
fn of_registers(problem: &Problem) -> ((f64, f64), f64) {
    let measure = |vectors: u32| {
        let mut problem = problem.clone().alignment(128);
        problem.classes = vectors as usize * 256 * 16 / problem.logits.size();
        let variant = variant::block(&problem, false, 256, vectors, 1).unwrap();
        let mut case = Case::random(problem.clone(), 1, 3);
        case.problem = problem;
        let (_, trace) = run(&case, &How::default(), &variant, None).unwrap();
        let elements = case.problem.classes as f64;
        (trace.lane_instructions as f64, trace.mufu as f64, elements)
    };
    let (a, b) = (measure(4), measure(8));
    let more = b.2 - a.2;
    (((b.0 - a.0) / more, (b.1 - a.1) / more), b.0 / b.2)
}

/// PTX instructions and approximations of a tile of columns.
fn of_tile(problem: &Problem, classes: usize, width: u32, kept: bool) -> (f64, f64) {
    let mut problem = problem.clone();
    problem.classes = classes;
    let variant = variant::columns(&problem, false, width, kept).unwrap();
    let inner = (variant.rows * width) as usize;
    let mut case = Case::random(problem.clone(), inner, 3);
    case.problem = problem;
    let columns = Columns { inner, step: 1, transposed: false, more: 0, width };
    let how = How { columns: Some(columns), ..How::default() };
    let (_, trace) = run(&case, &how, &variant, None).unwrap();
    let elements = (inner * classes) as f64;
    (trace.lane_instructions as f64 / elements, trace.mufu as f64 / elements)
}

#[test]
fn columns_keep_their_budgets() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let loss = Outputs::LOSS | Outputs::LSE;
    let fused = loss | Outputs::DLOGITS;
    for (name, dtype, outputs, width, instructions, mufu) in [
        ("bf16 forward", DType::BF16, loss, 8, 10.0, 1.2),
        ("bf16 fused", DType::BF16, fused, 8, 18.0, 2.2),
        ("f16 fused", DType::F16, fused, 8, 18.5, 2.2),
        ("f32 fused", DType::F32, fused, 4, 23.0, 2.2),
        ("bf16 fused, single", DType::BF16, fused, 1, 30.0, 2.2),
    ] {
        let problem = Problem::new(dtype, 1).outputs(outputs);
        let (small, large) = (1 << 10, 1 << 12);
        let measure = |classes| of_tile(&problem, classes, width, false);
        let (a, b) = (measure(small), measure(large));
        let more = |a: f64, b: f64| (4.0 * b - a) / 3.0;
        let found = (more(a.0, b.0), more(a.1, b.1));
        println!("columns {name}: {:.2} instructions, {:.2} approximations", found.0, found.1);
        for classes in [2, 21, 256] {
            let all = of_tile(&problem, classes, width, true);
            println!("  of all that {classes} classes cost: {:.2}, {:.2}", all.0, all.1);
        }
        assert!(found.0 <= instructions && found.1 <= mufu, "{name}: {found:?}");
    }
}

#[test]
fn hot_loops_keep_their_budgets() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let loss = Outputs::LOSS | Outputs::LSE;
    // Of PTX for sm_90, a little more than of machine code.
    for (name, dtype, outputs, instructions, mufu) in [
        ("bf16 forward", DType::BF16, loss, 7.5, 1.1),
        ("f16 forward", DType::F16, loss, 7.5, 1.1),
        ("f32 forward", DType::F32, loss, 10.75, 1.1),
        ("bf16 fused", DType::BF16, loss | Outputs::DLOGITS, 15.0, 2.2),
        ("f16 fused", DType::F16, loss | Outputs::DLOGITS, 15.0, 2.2),
        ("f32 fused", DType::F32, loss | Outputs::DLOGITS, 21.5, 2.2),
    ] {
        let problem = Problem::new(dtype, 1).outputs(outputs);
        let found = per_element(&problem, |problem| variant::stream(problem, false, 256));
        println!("stream {name}: {:.2} instructions, {:.2} approximations", found.0, found.1);
        assert!(found.0 <= instructions && found.1 <= mufu, "{name}: {found:?}");
    }
    // Rows that fill their CTA.
    for (name, dtype, instructions, mufu, of_row) in [
        ("bf16 fused", DType::BF16, 13.5, 2.1, 18.0),
        ("f16 fused", DType::F16, 14.0, 2.1, 18.5),
        ("f32 fused", DType::F32, 19.0, 2.1, 27.75),
    ] {
        let problem = Problem::new(dtype, 1).outputs(loss | Outputs::DLOGITS);
        let (found, all) = of_registers(&problem);
        println!(
            "block {name}: {:.2} instructions, {:.2} approximations; of all that a row costs, {all:.2}",
            found.0, found.1,
        );
        assert!(found.0 <= instructions && found.1 <= mufu, "{name}: {found:?}");
        assert!(all <= of_row, "{name}: {all}");
    }
}

/// What options add, where rows stay in registers: too little to be seen beside the memory, but for a
/// softcap.
#[test]
fn options_keep_their_budgets() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let plain = || Problem::new(DType::BF16, 1).outputs(Outputs::LOSS | Outputs::DLOGITS);
    for (name, problem, instructions, mufu) in [
        ("label smoothing", plain().label_smoothing(0.1), 18.25, 2.1),
        ("z-loss", plain().z_loss(1e-4), 14.0, 2.1),
        ("class weights", plain().class_weights(true), 14.0, 2.1),
        ("row weights", plain().row_weights(true), 14.0, 2.1),
        ("ignored rows", plain().ignore_index(-100), 14.0, 2.1),
        ("scale", plain().logit_scale(0.7), 16.25, 2.1),
        ("softcap", plain().softcap(30.0), 42.25, 2.1),
        ("probabilities", plain().targets(DType::BF16), 35.5, 2.1),
    ] {
        let (found, _) = of_registers(&problem);
        println!("{name}: {:.2} instructions, {:.2} approximations", found.0, found.1);
        assert!(found.0 <= instructions && found.1 <= mufu, "{name}: {found:?}");
    }
}

/// All that rows cost which share a warp. Their exponentials are computed once.
#[test]
fn short_rows_keep_their_budgets() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (dtype, classes, lanes, vectors, instructions) in [
        (DType::BF16, 128, 4, 4, 18.0),
        (DType::F16, 128, 4, 4, 19.5),
        (DType::F32, 128, 4, 8, 21.0),
        (DType::BF16, 1000, 32, 4, 18.0),
        (DType::F16, 1000, 32, 4, 19.5),
        (DType::F32, 1000, 32, 8, 21.0),
        (DType::BF16, 1001, 32, 4, 18.0),
    ] {
        let problem = Problem::new(dtype, classes).outputs(Outputs::LOSS | Outputs::DLOGITS);
        let problem = problem.alignment(if classes % 8 == 0 { 16 } else { 1 });
        let mut case = Case::random(problem.clone(), 64, 3);
        case.problem = problem;
        let variant = variant::lanes(&case.problem, false, lanes, vectors).unwrap();
        let (_, trace) = run(&case, &How::default(), &variant, None).unwrap();
        let elements = (64 * classes) as f64;
        let found = (trace.lane_instructions as f64 / elements, trace.mufu as f64 / elements);
        println!(
            "lanes {dtype} fused, {classes} classes: {:.2} instructions, {:.2} approximations",
            found.0, found.1
        );
        assert!(found.0 <= instructions && found.1 <= 1.1, "{dtype} {classes}: {found:?}");
    }
}
