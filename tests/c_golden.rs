//! The C ABI computes what the Rust API does: PyTorch's cases, and random ones with every option,
//! through a C program. PyTorch's `f64` numbers hold to 1e-12, the others within the promised
//! bounds.
#![cfg(all(feature = "capi", unix, not(miri)))]

mod c;
mod common;
#[path = "c/serial.rs"]
mod serial;

use std::fs;
use std::path::Path;

use c::{Compiler, run};
use common::golden::Golden;
use common::{Case, Output, Target, bounds};
use serial::{Done, Job, Targets};
use xent::{DType, Denominator, EmptyMean, Layout, Problem, Reduction};

/// Runs the jobs in one go on the processor; `None` without a C compiler.
fn run_all(compiler: Option<Compiler>, jobs: &[&Job]) -> Option<Vec<Done>> {
    Some(run_by(&compiler?, jobs, run))
}

/// Runs the jobs by a call of `runner.c` with the names of two files.
fn run_by(
    compiler: &Compiler,
    jobs: &[&Job],
    run: impl Fn(&Path, &[&Path]) -> String,
) -> Vec<Done> {
    let [cases, results] = ["cases", "results"].map(|name| compiler.out().join(name));
    let mut bytes = Vec::new();
    jobs.iter().for_each(|job| job.write(&mut bytes));
    fs::write(&cases, bytes).unwrap();
    run(&compiler.program("runner.c"), &[&cases, &results]);
    let bytes = fs::read(results).unwrap();
    let mut rest = &bytes[..];
    let done = jobs.iter().map(|job| job.read(&mut rest)).collect();
    assert!(rest.is_empty());
    done
}

/// (outer, classes, inner) with room between neighbours along each axis.
fn padded(outer: usize, classes: usize, inner: usize) -> Layout {
    let along = inner + 1;
    Layout::packed(outer, classes, inner).strides([classes * along + 3, along, 1])
}

fn wide(x: &Option<Vec<f32>>) -> Vec<f64> {
    x.iter().flatten().map(|&x| x.into()).collect()
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

/// A case of the other tests, with its rows laid out as (outer, classes, inner).
fn job(case: &Case, inner: usize) -> Job {
    let (outer, classes) = (case.rows / inner, case.problem.classes);
    let packed = Layout::packed(outer, classes, inner);
    Job {
        problem: case.problem.clone(),
        logits: (padded(outer, classes, inner), case.logits.clone()),
        dlogits: packed,
        targets: match &case.target {
            Target::Classes(classes) => Targets::Classes(classes.clone()),
            Target::Probabilities(q) => Targets::Probabilities(packed, q.clone()),
        },
        class_weights: wide(&case.class_weights),
        row_weights: wide(&case.row_weights),
        dloss: wide(&case.dloss),
        denominator: case.denominator,
    }
}

fn check(case: &Case, done: Done) {
    let output = Output {
        loss: narrow(&done.loss),
        lse: narrow(&done.lse),
        stats: narrow(&done.stats),
        dlogits: done.dlogits,
        argmax: done.argmax,
        correct: done.correct,
        entropy: narrow(&done.entropy),
    };
    bounds::check(case, &output);
}

#[test]
fn golden_cases_in_f64() {
    let goldens = Golden::all();
    let job = |golden: &Golden| {
        let Layout { outer, classes, inner, .. } = golden.layout;
        Job {
            problem: golden.problem.clone(),
            logits: (golden.layout, golden.rows(&golden.logits)),
            dlogits: padded(outer, classes, inner),
            targets: if golden.problem.targets_are_probabilities() {
                let q = golden.rows(&golden.probabilities);
                Targets::Probabilities(padded(outer, classes, inner), q)
            } else {
                Targets::Classes(golden.classes.clone())
            },
            class_weights: golden.class_weights.clone().unwrap_or_default(),
            row_weights: vec![],
            dloss: golden.dloss.clone().unwrap_or_default(),
            denominator: Denominator::Default,
        }
    };
    let jobs: Vec<_> = goldens.iter().map(job).collect();
    let Some(done) = run_all(Compiler::new("c99"), &jobs.iter().collect::<Vec<_>>()) else {
        return;
    };
    for (golden, done) in goldens.iter().zip(done) {
        // PyTorch makes p - 1 of a rounded p, so its own gradient is only good to 2^-52 of dloss.
        let unit = golden.dloss.iter().flatten().fold(1.0, |unit: f64, x| unit.max(x.abs()));
        all_near("loss", golden, &done.loss, &golden.loss, 0.0);
        all_near("lse", golden, &done.lse, &golden.promised_lse(), 0.0);
        let floor = unit * f64::EPSILON;
        all_near("gradient", golden, &done.dlogits, &golden.rows(&golden.dlogits), floor);
    }
}

fn all_near(what: &str, golden: &Golden, actual: &[f64], exact: &[f64], floor: f64) {
    assert_eq!(actual.len(), exact.len(), "{what} of case {}", golden.index);
    for (&actual, &exact) in actual.iter().zip(exact) {
        let same = actual == exact || actual.is_nan() && exact.is_nan();
        let near = (actual - exact).abs() <= (1e-12 * exact.abs()).max(floor);
        assert!(same || near, "{what} of case {}: {actual:e}, not {exact:e}", golden.index);
    }
}

#[test]
fn golden_cases_in_f32_f16_and_bf16() {
    let mut jobs = Vec::new();
    for golden in Golden::all() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let case = golden.case(dtype);
            jobs.push((job(&case, golden.layout.inner), case));
        }
    }
    check_all(Compiler::new("c11"), jobs);
}

#[test]
fn random_cases_with_every_option() {
    check_all(Compiler::sanitized("c11"), (0..72).map(random).collect());
}

/// A case with some options and its job.
fn random(seed: usize) -> (Job, Case) {
    let logits = [DType::F32, DType::F16, DType::BF16];
    let targets = [DType::I64, DType::I32, DType::U32, DType::U8, DType::F32, DType::BF16];
    let reductions = [Reduction::Mean, Reduction::None, Reduction::Sum];
    let bit = |divisor: usize| seed / divisor % 2 == 1;
    let rows = [1, 6, 12, 30][seed % 4];
    let mut problem = Problem::new(logits[seed % 3], [1, 2, 5, 37, 300][seed % 5])
        .targets(targets[seed / 3 % 6])
        .reduction(reductions[seed / 2 % 3])
        .class_weights(bit(1))
        .row_weights(bit(2))
        .label_smoothing(if bit(3) { 0.1 } else { 0.0 })
        .logit_scale(if bit(5) { -0.5 } else { 1.0 })
        .z_loss(if bit(7) { 1e-3 } else { 0.0 });
    if bit(4) {
        problem = problem.dlogits(DType::F32);
    }
    if bit(11) {
        problem = problem.softcap(20.0);
    }
    if bit(6) && !problem.targets_are_probabilities() {
        problem = problem.ignore_index(0);
        problem.empty_mean = EmptyMean::Zero;
    }
    let mut case = Case::random(problem, rows, seed as u64);
    if bit(8) {
        let per_row = case.problem.reduction == Reduction::None;
        case = case.dloss(&vec![0.75; if per_row { rows } else { 1 }]);
    }
    if bit(9) && case.problem.reduction == Reduction::Mean {
        case.denominator = Denominator::Value(12.5);
    }
    (job(&case, if rows % 3 == 0 { 3 } else { 1 }), case)
}

fn check_all(compiler: Option<Compiler>, jobs: Vec<(Job, Case)>) {
    let only: Vec<_> = jobs.iter().map(|(job, _)| job).collect();
    let Some(done) = run_all(compiler, &only) else { return };
    jobs.iter().zip(done).for_each(|((_, case), done)| check(case, done));
}

/// A sample, since each problem is compiled: every fourth case of PyTorch's in one type, and some
/// random ones.
#[test]
#[cfg(all(feature = "cuda", target_os = "linux"))]
fn cases_on_a_gpu() {
    let (Some(machine), Some(compiler)) =
        (common::simulated::Machine::new(), Compiler::sanitized("c11"))
    else {
        return;
    };
    let golden = |golden: &Golden| {
        let case = golden.case([DType::F32, DType::F16, DType::BF16][golden.index % 3]);
        (job(&case, golden.layout.inner), case)
    };
    let mut jobs: Vec<_> = Golden::all().iter().step_by(4).map(golden).collect();
    jobs.extend([7, 35, 53].map(random));
    let only: Vec<_> = jobs.iter().map(|(job, _)| job).collect();
    let done = run_by(&compiler, &only, |program, files| c::run_on_gpu(&machine, program, files));
    jobs.iter().zip(done).for_each(|((_, case), done)| check(case, done));
}
