//! Faults planted in the CUDA kernels are found: a test of the tests. Each faulty source compiles,
//! and fails a small suite for a reason that fits; the kernels as they are pass it.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod bugs;
mod common;
mod gpu;

use std::sync::Arc;

use common::{Case, Target};
use gpu::check::{Fault, bits, caught, lean, try_check, wide_bits};
use gpu::force::{Force, KERNELS};
use gpu::launch::launch;
use gpu::run::{Columns, How, run};
use gpu::sparse::{self, Sparse};
use gpu::{Patch, pool};
use xent::cuda::params::{ColumnParams, Params};
use xent::cuda::variant;
use xent::{DType, Outputs, Problem, Reduction};
use xent_simulator::{Fill, Memory};

/// The kernel of columns.
const COLUMNS: Force = Force {
    name: "columns",
    variant: |problem, backward, how| {
        let width = how.columns?.width;
        let kept = variant::columns(problem, backward, width, true);
        kept.or_else(|| variant::columns(problem, backward, width, false))
    },
};

type Probe = Box<dyn Fn(&How, &Force) -> Result<(), Fault> + Sync + Send>;

/// Holds a case, if the kernel can compute it, to its bounds, to the same bits under another schedule, and the gradient from the
/// statistics to that of the same pass.
fn held(case: Case, outputs: Outputs, how: How) -> Probe {
    Box::new(move |base, force| {
        let how = How { patch: base.patch, ..how.clone() };
        let problem = case.problem.clone().outputs(outputs);
        let variant = |backward| (force.variant)(&problem, backward, &how);
        let Some(whole) = variant(false) else { return Ok(()) };
        let output = try_check(&case, outputs, &how, &whole)?;
        let lean = lean(&case, outputs);
        let again = |seed: u64, stats: Option<&[f32]>| {
            let how = How { seed, ..how.clone() };
            let variant = variant(stats.is_some()).unwrap();
            let (output, _) =
                caught(|| run(&lean, &how, &variant, stats))?.map_err(Fault::Access)?;
            Ok(output)
        };
        if bits(&again(2, None)?) != bits(&output) {
            return Err(Fault::Result("other bits under another schedule".into()));
        }
        if outputs.contains(Outputs::STATS | Outputs::DLOGITS) {
            let separate = again(3, Some(&output.stats))?;
            if wide_bits(&separate.dlogits) != wide_bits(&output.dlogits) {
                return Err(Fault::Result("other bits from the statistics".into()));
            }
        }
        Ok(())
    })
}

/// Quick cases, each for several faults.
fn suite() -> Vec<(&'static str, Probe)> {
    let (f32, bf16) = (DType::F32, DType::BF16);
    let plain = |dtype, classes| Problem::new(dtype, classes).reduction(Reduction::None);
    let gradient = Outputs::LOSS | Outputs::LSE | Outputs::STATS | Outputs::DLOGITS;
    // With few vectors for each thread: rows go far through CTAs and clusters.
    let how = || How { logits_offset: 3, dlogits_offset: 3, gap: 5, vectors: 1, ..How::default() };
    let packed = || How { logits_offset: 1, dlogits_offset: 1, gap: 0, ..how() };

    let upstream =
        Case::random(plain(bf16, 1100).ignore_index(-1), 4, 1).dloss(&[1.0, -3.0, 0.5, 2.0]);
    let mut upstream = upstream.targets(&[5, 1099, -1, 600]);
    upstream.logits[2200..3300].fill(f64::NAN);

    let weighted = Problem::new(f32, 700).ignore_index(9).class_weights(true).row_weights(true);
    let weighted = weighted.label_smoothing(0.1).z_loss(0.01);
    let weighted = Case::random(weighted, 4, 2).targets(&[0, 9, 699, 300]);

    let (classes, mut rows) = (1500, Case::random(plain(f32, 1500), 5, 3));
    rows = rows.targets(&[700, 20, 1499, 3, 8]);
    rows.logits[700] = 40.0;
    rows.logits[classes..2 * classes].iter_mut().for_each(|x| *x = (*x * 64.0).round() + 1e6);
    rows.logits[2 * classes..2 * classes + 1200].fill(f64::NEG_INFINITY);
    rows.logits[2 * classes + 1499] = 12.0;
    rows.logits[3 * classes..4 * classes].fill(2.5);
    rows.logits[4 * classes + 1499] = f64::NAN;

    let smooth = plain(f32, 300).label_smoothing(0.3);
    let mut smooth = Case::random(smooth, 2, 4);
    smooth.logits.iter_mut().for_each(|x| *x = (*x * 64.0).round() / 64.0 + 3e4);
    smooth.logits[310..590].fill(f64::NEG_INFINITY);

    let mut capped = Case::random(plain(f32, 300).softcap(1.0), 3, 5);
    capped.logits[..300].iter_mut().for_each(|x| *x *= 4.0);
    capped.logits[650] = f64::NAN;

    let in_place = Case::random(plain(f32, 1000).in_place(true), 3, 6);
    let scaled = Case::random(plain(bf16, 500).logit_scale(-0.75), 2, 7);
    let soft = Case::random(plain(f32, 650).targets(f32), 2, 8);
    let apart = Case::random(plain(bf16, 530), 2, 9);
    let smooth_short = Case::random(plain(bf16, 20).label_smoothing(0.1), 9, 10);

    vec![
        ("upstream, ignored, bf16", held(upstream, gradient, how())),
        ("in place", held(in_place, gradient, packed())),
        ("shapes of rows", held(rows, Outputs::CROSS_ENTROPY, How { gap: 0, ..how() })),
        (
            "a gradient that lies otherwise",
            held(apart, gradient, How { dlogits_offset: 7, ..how() }),
        ),
        ("rows of a warp", held(short_rows(), Outputs::CROSS_ENTROPY, how())),
        ("smoothed rows of a warp", held(smooth_short, gradient, how())),
        ("faint rows", held(faint(1500), Outputs::CROSS_ENTROPY, packed())),
        ("faint short rows", held(faint(18), Outputs::CROSS_ENTROPY, packed())),
        ("weights, smoothing, z-loss", held(weighted, gradient, how())),
        ("smoothing far from 0", held(smooth, gradient, how())),
        ("softcap", held(capped, gradient, how())),
        ("negative scale", held(scaled, gradient, how())),
        ("probabilities", held(soft, gradient, how())),
        ("invalid targets", Box::new(invalid_targets)),
        ("far rows", Box::new(far_rows)),
        ("a long row", held(long_row(), Outputs::LOSS, How { threads: 32, ..How::default() })),
        ("lanes that add little", held(small_lanes(), gradient, How::default())),
    ]
}

/// Several rows in each warp, of which some are ignored, tied or have a NaN; the last warp has more
/// lanes than rows.
fn short_rows() -> Case {
    let (classes, rows) = (18, 37);
    let problem = Problem::new(DType::F32, classes).reduction(Reduction::None).ignore_index(-1);
    let mut case = Case::random(problem, rows, 11);
    let Target::Classes(y) = &mut case.target else { unreachable!() };
    for (row, (x, y)) in case.logits.chunks_mut(classes).zip(y).enumerate() {
        match row % 5 {
            1 => {
                *y = -1;
                x.fill(f64::NAN);
            }
            2 => x.fill(1.5),
            3 => x[17] = 20.0,
            4 => x[row % classes] = f64::NAN,
            _ => {}
        }
    }
    case
}

/// Rows in place whose other exponentials vanish.
fn faint(classes: usize) -> Case {
    let problem = Problem::new(DType::F32, classes).reduction(Reduction::None).in_place(true);
    let mut case = Case::random(problem, 4, 12).targets(&[7; 4]);
    for (x, ahead) in case.logits.chunks_mut(classes).zip([90.0, 95.0, 100.0, 103.0]) {
        x[7] = ahead;
    }
    case
}

/// A row of equal exponentials, with a larger logit for each of 32 threads: each adds up as many
/// rounding errors as it can, and all the same.
fn long_row() -> Case {
    let classes = 1 << 18;
    let problem = Problem::new(DType::F32, classes).reduction(Reduction::None);
    let mut logits = vec![-6.5; classes];
    logits[..32 * 4].iter_mut().step_by(4).for_each(|x| *x = 0.0);
    Case::new(problem, 1, logits, 13).targets(&[4])
}

/// Two maxima in the first lane, and wherever their sum meets that of other lanes and warps, less
/// than half of its last place.
fn small_lanes() -> Case {
    let mut logits = vec![f64::NEG_INFINITY; 512];
    logits[..2].fill(0.0);
    for thread in [1, 2, 4, 8, 16, 32, 64] {
        logits[4 * thread] = (0.49 / 2f64.powi(23)).ln();
    }
    let problem = Problem::new(DType::F32, logits.len()).reduction(Reduction::None);
    Case::new(problem, 1, logits, 14).targets(&[1])
}

/// The same for the kernel of columns.
fn columns_suite() -> Vec<(&'static str, Probe)> {
    let (f32, bf16) = (DType::F32, DType::BF16);
    let plain = |dtype, classes| Problem::new(dtype, classes).reduction(Reduction::None);
    let gradient = Outputs::LOSS | Outputs::LSE | Outputs::STATS | Outputs::DLOGITS;

    // Half of a vector is ignored, and a whole one.
    let mut ignored = Case::random(plain(bf16, 100).ignore_index(-1), 40, 1);
    let Target::Classes(y) = &mut ignored.target else { unreachable!() };
    for (row, y) in y.iter_mut().enumerate() {
        if row % 3 == 0 || (8..16).contains(&row) {
            *y = -1;
            ignored.logits[100 * row..100 * (row + 1)].fill(f64::NAN);
        }
    }
    let in_place = Case::random(plain(f32, 300).in_place(true), 12, 2);
    let smooth = Case::random(plain(f32, 37).label_smoothing(0.1).logit_scale(-0.5), 14, 3);
    let soft = Case::random(plain(f32, 600).targets(f32), 6, 4);
    let mut faint = faint(600);
    faint.problem = faint.problem.in_place(false);
    let tile = |inner, gap, offset| How {
        columns: Some(Columns { inner, step: 1, transposed: false, more: 8, width: 1 }),
        gap,
        logits_offset: offset,
        dlogits_offset: offset,
        ..How::default()
    };
    let in_columns = |case: Case, outputs, mut how: How| {
        let problem = case.problem.clone().outputs(outputs);
        let mut widths = vec![8, 4, 2, 1];
        widths.retain(|&width| width <= variant::widest(&problem, false));
        let width = how.cut(&problem, outputs.contains(Outputs::DLOGITS), &widths).width;
        how.columns.as_mut().unwrap().width = width;
        held(case, outputs, how)
    };
    vec![
        ("ignored columns", in_columns(ignored, gradient, tile(20, 4, 3))),
        ("in place", in_columns(in_place, gradient, tile(12, 0, 1))),
        ("smoothed columns", in_columns(smooth, Outputs::CROSS_ENTROPY, tile(7, 1, 0))),
        ("probabilities", in_columns(soft, Outputs::CROSS_ENTROPY, tile(3, 0, 0))),
        ("faint columns", in_columns(faint, Outputs::CROSS_ENTROPY, tile(4, 0, 0))),
        ("far classes", Box::new(far_classes)),
    ]
}

/// Targets that are no classes: their losses are NaN, and the report of an earlier run goes on.
fn invalid_targets(how: &How, force: &Force) -> Result<(), Fault> {
    let problem = Problem::new(DType::F32, 100).reduction(Reduction::None).class_weights(true);
    let case = Case::random(problem, 5, 9).targets(&[3, 100, (1 << 32) + 5, 0, -7]);
    let how = How { report: [2, 3, 500, 0], ..how.clone() };
    let Some(variant) = (force.variant)(&case.problem, false, &how) else { return Ok(()) };
    let (output, trace) = caught(|| run(&case, &how, &variant, None))?.map_err(Fault::Access)?;
    caught(|| {
        let no_number: Vec<bool> = output.loss.iter().map(|x| x.is_nan()).collect();
        assert_eq!(no_number, [false, true, true, false, true]);
        assert_eq!(trace.report, [5, 1, 100, 0]);
    })
}

/// Rows further apart than 32 bits count, and further than a grid is wide.
fn far_rows(how: &How, force: &Force) -> Result<(), Fault> {
    let problem = |classes| {
        Problem::new(DType::BF16, classes).reduction(Reduction::None).outputs(sparse::OUTPUTS)
    };
    let apart = Sparse { problem: problem(100), rows: 9, stride: (1 << 29) + 3 };
    let many = Sparse { problem: problem(3), rows: (1 << 30) + 5, stride: 3 };
    for (sparse, chosen) in [(apart, vec![0, 3, 4, 8]), (many, vec![4, (1 << 30) + 4])] {
        let Some(variant) = (force.variant)(&sparse.problem, false, how) else { continue };
        sparse.check(&chosen, how, &variant, None)?;
    }
    Ok(())
}

/// Classes of a column further apart than 32 bits count: the same bits as where they are near.
fn far_classes(how: &How, force: &Force) -> Result<(), Fault> {
    let (classes, inner, stride) = (20u64, 8u64, (1u64 << 29) + 4);
    let problem = Problem::new(DType::F32, classes as usize).reduction(Reduction::None);
    let problem = problem.targets(DType::I32).outputs(Outputs::LSE | Outputs::DLOGITS);
    let logit = |class: u64, column: u64| (class * 37 + column * 11) as f32 % 64.0 / 16.0;
    let rows = (0..inner).flat_map(|j| (0..classes).map(move |c| f64::from(logit(c, j))));
    let near = Case::new(problem.clone(), inner as usize, rows.collect(), 1).targets(&[3; 8]);
    let columns = Columns { inner: 8, step: 1, transposed: false, more: 0, width: 4 };
    let how = How { columns: Some(columns), ..how.clone() };
    let kernel = (force.variant)(&problem, false, &how).unwrap();
    let lean = lean(&near, problem.outputs);
    let (expected, _) = caught(|| run(&lean, &how, &kernel, None))?.map_err(Fault::Access)?;

    let rule = Arc::new(move |offset: u64, bytes: &mut [u8]| {
        for (at, byte) in (offset..).zip(bytes) {
            let value = logit(at / 4 / stride, at / 4 % stride);
            *byte = value.to_le_bytes()[(at % 4) as usize];
        }
    });
    let mut memory = Memory::new();
    let bytes = 4 * ((classes - 1) * stride + inner);
    let logits = memory.allocate("logits", bytes, 0, Fill::Rule(rule)).address();
    let dlogits = memory.allocate("dlogits", bytes, 0, Fill::Unwritten).address();
    let targets = memory.allocate_from("targets", &[3, 0, 0, 0].repeat(8), 0).address();
    let lse = memory.allocate("lse", 4 * inner, 0, Fill::Unwritten).address();
    let params = ColumnParams {
        rows: Params { logits, dlogits, targets, lse, rows: inner as i64, ..Params::new(&problem) },
        inner: inner as i64,
        vectors: 2,
        logits_class: stride as i64,
        logits_inner: 1,
        dlogits_class: stride as i64,
        dlogits_inner: 1,
        ..ColumnParams::default()
    };
    launch(&how, &kernel, 2, &[], params.to_bytes(), &mut memory).map_err(Fault::Access)?;
    let mut float = |at: u64| {
        let bytes = memory.read(at, 4).map_err(Fault::Access)?;
        Ok(f32::from_le_bytes(bytes.try_into().unwrap()))
    };
    for column in 0..inner {
        let near = expected.lse[column as usize];
        let mut same = float(lse + 4 * column)?.to_bits() == near.to_bits();
        for class in 0..classes {
            let near = expected.dlogits[(column * classes + class) as usize];
            same &= f64::from(float(dlogits + 4 * (class * stride + column))?) == near;
        }
        if !same {
            return Err(Fault::Result(format!("column {column} is not what it is nearby")));
        }
    }
    Ok(())
}

/// The first fault that the suite of a kernel finds.
fn first_fault(how: &How, kernel: &str) -> Option<(&'static str, Fault)> {
    let (force, suite) = match kernel {
        "columns" => (&COLUMNS, columns_suite()),
        _ => (KERNELS.iter().find(|force| force.name == kernel).unwrap(), suite()),
    };
    suite.into_iter().find_map(|(name, probe)| Some((name, probe(how, force).err()?)))
}

#[test]
fn the_kernels_pass() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let kernels: Vec<&Force> = KERNELS.iter().chain([&COLUMNS]).collect();
    let done = pool::each(&kernels, |force| {
        if let Some((name, fault)) = first_fault(&How::default(), force.name) {
            panic!("{}, {name}: {fault}", force.name);
        }
    });
    assert_eq!(done.failures, 0);
}

#[test]
fn every_planted_bug_is_found() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let bugs = bugs::all();
    assert!(bugs.len() >= 60);
    let done = pool::each(&bugs, |bug| {
        let patch = Patch { from: bug.from, to: bug.to };
        // Panics where its text is not there, here and not where a panic is a wrong result.
        patch.touches("");
        let how = How { patch: Some(patch), ..How::default() };
        let Some((probe, fault)) = first_fault(&how, bug.kernel) else {
            panic!("nothing finds this: {}", bug.name);
        };
        match &fault {
            Fault::Access(error) if bug.found.contains(&error.kind) => {}
            Fault::Result(_) if bug.found.is_empty() => {}
            other => panic!("{}: {probe} finds {other}; expected was {:?}", bug.name, bug.found),
        }
        let what: String = fault.to_string().chars().take(90).collect();
        println!("{}: {probe}: {}", bug.name, what.lines().next().unwrap_or_default());
    });
    assert_eq!(done.failures, 0);
}
