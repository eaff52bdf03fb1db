//! The CUDA kernels compile for every architecture, without spills, with loads and stores of 16
//! bytes, and within their budgets of instructions.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use std::fmt::Write as _;

use common::Case;
use gpu::run::{Columns, How, run};
use xent::cuda::variant::{self, Variant};
use xent::{DType, Outputs, Problem};

/// Architectures by the major version of NVRTC that compiles for them.
const ARCHS: [(u32, &[u32]); 2] = [(12, &[70, 75]), (13, &[75, 80, 86, 89, 90, 100, 103, 120])];

/// The variants that are compiled, with a name, from an architecture on. None may spill.
fn variants() -> Vec<(&'static str, Variant, u32)> {
    use DType::{BF16, F16, F32};
    let loss = Outputs::LOSS | Outputs::LSE;
    let fused = loss | Outputs::DLOGITS;
    let problem = |dtype| Problem::new(dtype, 50_257).outputs(fused);
    let stream = |problem: Problem| variant::stream(&problem, false, 256);
    let block = |problem: Problem, vectors, cluster| {
        variant::block(&problem.alignment(128), false, 256, vectors, cluster).unwrap()
    };
    let small = |dtype| Problem::new(dtype, 8000).outputs(fused);
    let lanes = |problem: Problem, lanes, vectors| {
        let mut problem = problem.alignment(16);
        problem.classes = (lanes * vectors * 16) as usize / problem.logits.size();
        variant::lanes(&problem, false, lanes, vectors).unwrap()
    };
    let many = |dtype| Problem::new(dtype, 5000).outputs(fused);
    let few = |dtype| Problem::new(dtype, 21).outputs(fused);
    let columns =
        |problem: Problem, width, kept| variant::columns(&problem, false, width, kept).unwrap();
    let kernel = |program, name: &str, threads| Variant {
        program,
        expression: format!("xent::{name}"),
        threads,
        cluster: 1,
        rows: 1,
    };
    let everywhere = vec![
        ("stream bf16 forward", stream(problem(BF16).outputs(loss))),
        ("stream bf16 fused", stream(problem(BF16))),
        ("stream bf16 backward", variant::stream(&problem(BF16), true, 256)),
        ("stream f16 fused", stream(problem(F16))),
        ("stream f32 forward", stream(problem(F32).outputs(loss))),
        ("stream f32 fused", stream(problem(F32))),
        ("stream bf16, f32 gradient", stream(problem(BF16).dlogits(F32))),
        ("stream bf16 smoothing, weights", {
            stream(problem(BF16).label_smoothing(0.1).class_weights(true))
        }),
        ("stream bf16 scale", stream(problem(BF16).logit_scale(0.5))),
        ("stream bf16 softcap", stream(problem(BF16).softcap(30.0))),
        ("stream bf16 bf16 probabilities", stream(problem(BF16).targets(BF16))),
        ("stream f32 all", {
            let problem = problem(F32).targets(F32).class_weights(true).softcap(30.0);
            stream(problem.outputs(Outputs::all()))
        }),
        ("count_targets", kernel("count.cu", "count_targets", 256)),
        ("make_scales", kernel("count.cu", "make_scales", 512)),
        ("sum_rows", kernel("finish.cu", "sum_rows", 256)),
        ("finish_sums", kernel("finish.cu", "finish_sums", 512)),
        ("block f32 fused, 8 vectors", block(small(F32), 8, 1)),
        ("lanes bf16 fused, 1 x 1", lanes(small(BF16), 1, 1)),
        ("lanes bf16 fused, 4 x 4", lanes(small(BF16), 4, 4)),
        ("lanes f16 fused, 4 x 4", lanes(small(F16), 4, 4)),
        ("lanes bf16 fused, 32 x 8", lanes(small(BF16), 32, 8)),
        ("lanes f32 fused, 4 x 8", lanes(small(F32), 4, 8)),
        ("lanes f32 fused, 32 x 8", lanes(small(F32), 32, 8)),
        ("lanes bf16 softcap, 16 x 4", lanes(small(BF16).softcap(30.0), 16, 4)),
        ("lanes bf16 smoothing, 16 x 4", lanes(small(BF16).label_smoothing(0.1), 16, 4)),
        ("lanes bf16 bf16 probabilities, 16 x 4", lanes(small(BF16).targets(BF16), 16, 4)),
        ("columns f32 fused", columns(many(F32), 4, false)),
    ];
    // Below sm_80 the largest of two 16-bit numbers takes registers for both as floats.
    let from_80 = vec![
        ("block bf16 fused, 4 vectors", block(small(BF16), 4, 1)),
        ("block f16 fused, 4 vectors", block(small(F16), 4, 1)),
        ("block bf16 fused, 8 vectors", block(small(BF16), 8, 1)),
        ("block f16 fused, 8 vectors", block(small(F16), 8, 1)),
        ("block bf16 forward, 8 vectors", block(small(BF16).outputs(loss), 8, 1)),
        ("block bf16 softcap, 8 vectors", block(small(BF16).softcap(30.0), 8, 1)),
        ("block bf16 smoothing, 8 vectors", block(small(BF16).label_smoothing(0.1), 8, 1)),
        ("block bf16 bf16 probabilities, 8", block(small(BF16).targets(BF16), 8, 1)),
        ("columns bf16 fused", columns(many(BF16), 8, false)),
        ("columns bf16 backward", variant::columns(&many(BF16), true, 8, false).unwrap()),
        ("columns bf16 fused, single", columns(many(BF16), 1, false)),
        ("columns bf16 fused, kept", columns(few(BF16), 8, true)),
        ("columns bf16 argmax", columns(many(BF16).outputs(fused | Outputs::ARGMAX), 8, false)),
        ("columns bf16 smoothing, weights", {
            columns(few(BF16).label_smoothing(0.1).class_weights(true), 4, true)
        }),
        ("columns bf16 all", {
            let problem = many(BF16).targets(F32).class_weights(true).softcap(30.0).dlogits(F32);
            columns(problem.outputs(Outputs::all()), 4, false)
        }),
    ];
    let from_90 = vec![
        ("cluster bf16 fused, 8 x 4", block(problem(BF16), 8, 4)),
        ("cluster f16 fused, 8 x 4", block(problem(F16), 8, 4)),
        ("cluster f32 fused, 8 x 8", block(problem(F32), 8, 8)),
    ];
    let from = |variants: Vec<(&'static str, Variant)>, arch| {
        variants.into_iter().map(move |(name, variant)| (name, variant, arch))
    };
    from(everywhere, 70).chain(from(from_80, 80)).chain(from(from_90, 90)).collect()
}

#[test]
fn every_architecture_compiles_without_spills() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let targets: Vec<(u32, u32)> =
        ARCHS.iter().flat_map(|(major, archs)| archs.iter().map(|&arch| (*major, arch))).collect();
    let mut table = format!("{:32} registers on", "");
    targets.iter().for_each(|(_, arch)| write!(table, " {arch:>5}").unwrap());
    let mut faults = String::new();
    for (name, variant, from) in variants() {
        write!(table, "\n{name:44}").unwrap();
        let mut ptx = String::new();
        for &(major, arch) in &targets {
            let Some(nvrtc) = gpu::nvrtc(major).filter(|_| arch >= from) else {
                table.push_str("     -");
                continue;
            };
            let kernel = gpu::build(nvrtc, &variant, arch, true);
            let resources = kernel.resources.expect("machine code has a report");
            write!(table, " {:>5}", resources.registers).unwrap();
            if resources.spill_stores + resources.spill_loads + resources.stack != 0 {
                writeln!(faults, "{name}, sm_{arch}: {resources:?}").unwrap();
            }
            ptx = kernel.ptx;
        }
        let count = |start: &str, part: &str| {
            let lines = ptx.lines().map(|line| line.trim_start());
            lines.filter(|line| line.contains(start) && line.contains(part)).count()
        };
        let wide = (count("ld.global", ".v4."), count("st.global", ".v4."));
        write!(table, "   loads of 16 bytes {}, stores {}", wide.0, wide.1).unwrap();
        if count("ld.local", "") + count("st.local", "") != 0 {
            writeln!(faults, "{name}: local memory").unwrap();
        }
    }
    println!("{table}");
    assert!(faults.is_empty(), "{faults}");
}

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
        ("f32 fused", DType::F32, fused, 4, 18.0, 2.2),
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
        ("f32 forward", DType::F32, loss, 7.75, 1.1),
        ("bf16 fused", DType::BF16, loss | Outputs::DLOGITS, 15.0, 2.2),
        ("f16 fused", DType::F16, loss | Outputs::DLOGITS, 15.0, 2.2),
        ("f32 fused", DType::F32, loss | Outputs::DLOGITS, 15.5, 2.2),
    ] {
        let problem = Problem::new(dtype, 1).outputs(outputs);
        let found = per_element(&problem, |problem| variant::stream(problem, false, 256));
        println!("stream {name}: {:.2} instructions, {:.2} approximations", found.0, found.1);
        assert!(found.0 <= instructions && found.1 <= mufu, "{name}: {found:?}");
    }
    // Rows that fill their CTA, with 8 and with 4 vectors in each thread.
    for (name, dtype, instructions, mufu, of_row) in [
        ("bf16 fused", DType::BF16, 14.5, 2.2, 18.0),
        ("f16 fused", DType::F16, 15.0, 2.2, 21.5),
        ("f32 fused", DType::F32, 14.5, 2.2, 21.5),
    ] {
        let measure = |vectors: u32| {
            let classes = vectors as usize * 256 * 16 / dtype.size();
            let problem = Problem::new(dtype, classes).alignment(128);
            let problem = problem.outputs(loss | Outputs::DLOGITS);
            let mut case = Case::random(problem.clone(), 1, 3);
            case.problem = problem;
            let variant = variant::block(&case.problem, false, 256, vectors, 1).unwrap();
            let (_, trace) = run(&case, &How::default(), &variant, None).unwrap();
            (trace.lane_instructions as f64, trace.mufu as f64, classes as f64)
        };
        let (a, b) = (measure(4), measure(8));
        let found = ((b.0 - a.0) / (b.2 - a.2), (b.1 - a.1) / (b.2 - a.2));
        println!(
            "block {name}: {:.2} instructions, {:.2} approximations; of all that a row of {} costs, \
             {:.2}",
            found.0,
            found.1,
            b.2,
            b.0 / b.2
        );
        assert!(found.0 <= instructions && found.1 <= mufu, "{name}: {found:?}");
        assert!(b.0 / b.2 <= of_row, "{name}: {b:?}");
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
        (DType::F32, 128, 4, 8, 18.0),
        (DType::BF16, 1000, 32, 4, 18.0),
        (DType::F16, 1000, 32, 4, 19.5),
        (DType::F32, 1000, 32, 8, 18.0),
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
