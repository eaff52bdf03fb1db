//! The same bits from run to run: whatever the threads and who brings them, what the workspace
//! held, the caller's rounding mode and flush-to-zero flags, and who else runs the plan.
#![allow(unsafe_code)] // workspaces in memory of the test, control registers

mod common;
mod trial;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::placed::{Bits, Place};
use common::{Case, logit_types, normal, on_gpu, plan, sized, thinned};
use trial::operations;
use xent::{
    Context, ContextOptions, DType, ParallelFor, Plan, Problem, Reduction, Tensor, Workspace,
};

/// Small ones, which one thread computes, and ones for several threads: many rows, long rows. On a
/// GPU: rows of a lane, a CTA and a cluster, and rows whose losses several CTAs add.
fn cases() -> Vec<Case> {
    let sizes: &[_] = match cfg!(miri) {
        true => &[(12, 5)],
        false => sized(
            &[(5, 7), (600, 257), (6, 16_411), (12_000, 8)],
            &[(5, 7), (6, 1100), (3, 16_411), (5000, 3)],
        ),
    };
    let mut cases = Vec::new();
    for &(rows, classes) in sizes {
        let problem = Problem::new(DType::F32, classes)
            .label_smoothing(0.1)
            .class_weights(true)
            .row_weights(true)
            .softcap(30.0)
            .z_loss(1e-4);
        cases.push(Case::random(problem.clone().ignore_index(2), rows, 1));
        let problem = problem.targets(DType::F32).reduction(Reduction::None);
        cases.push(Case::random(problem, rows, 2));
        let problem = Problem::new(DType::BF16, classes).reduction(Reduction::Sum);
        cases.push(Case::random(problem, rows, 3));
    }
    let (rows, classes) = if cfg!(miri) { (2, 3) } else { (50, 40) };
    if logit_types().contains(&DType::F64) {
        cases.push(Case::random(Problem::new(DType::F64, classes), rows, 4));
    }
    cases
}

fn options() -> ContextOptions {
    ContextOptions::default().device(common::context().device().clone())
}

fn context(threads: usize) -> Context {
    Context::new(options().threads(threads)).unwrap()
}

fn hosted(host: Arc<ParallelFor>) -> Context {
    let mut options = options();
    options.parallel_for = Some(host);
    Context::new(options).unwrap()
}

fn run(case: &Case, context: &Context) -> Bits {
    case.bits_on(context, &Place::packed(case.rows, case.problem.classes))
}

/// All operations, on blocks of rows that several threads compute; on a GPU some.
fn trials() -> Vec<trial::Trial> {
    let sizes: &[_] = match cfg!(miri) {
        true => &[(12, 5)],
        false => sized(&[(5, 7), (75, 700), (2500, 8)], &[(5, 7), (6, 1100)]),
    };
    thinned(operations::all(sizes), 8)
}

/// Holds every case on each context against the calling thread alone.
fn assert_same_on(contexts: Vec<(String, Context)>) {
    let contexts = thinned(contexts, 1); // a GPU does not need them
    let alone = context(1);
    for trial in trials() {
        let expected = trial.run(&alone).bits();
        for (name, context) in &contexts {
            assert!(trial.run(context).bits() == expected, "{name}: {:?}", trial.problem);
        }
    }
    for case in cases() {
        let expected = run(&case, &alone);
        for (name, context) in &contexts {
            let same = run(&case, context) == expected;
            assert!(same, "{name}: {} rows of {:?}", case.rows, case.problem);
        }
    }
}

#[test]
fn any_number_of_threads() {
    let counts = if cfg!(miri) { vec![0, 2] } else { vec![0, 2, 7, 16] };
    assert_same_on(counts.into_iter().map(|n| (format!("{n} threads"), context(n))).collect());
}

#[test]
fn any_host_that_brings_threads() {
    type Task<'a> = &'a (dyn Fn(usize) + Sync);
    let serial = |n, task: Task| (0..n).for_each(task);
    let reversed = |n, task: Task| (0..n).rev().for_each(task);
    let threaded = |n, task: Task| {
        std::thread::scope(|scope| (0..n).for_each(|i| drop(scope.spawn(move || task(i)))))
    };
    let lazy = |_, _: Task| ();
    let broken = |n, task: Task| {
        [0, 0, n / 2, n, n + 7, usize::MAX].into_iter().for_each(task);
        (0..3 * n).step_by(2).for_each(task);
    };
    assert_same_on(vec![
        ("serial".into(), hosted(Arc::new(serial))),
        ("reversed".into(), hosted(Arc::new(reversed))),
        ("threaded".into(), hosted(Arc::new(threaded))),
        ("calls no task".into(), hosted(Arc::new(lazy))),
        ("repeats, skips and invents indices".into(), hosted(Arc::new(broken))),
    ]);
}

#[test]
fn a_host_is_asked_where_there_is_enough_to_do() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let host = hosted(Arc::new(move |n, task: &(dyn Fn(usize) + Sync)| {
        count.fetch_add(1, Ordering::Relaxed);
        (0..n).for_each(task);
    }));
    run(&Case::random(Problem::new(DType::F32, 5), 3, 1), &host);
    assert_eq!(asked.load(Ordering::Relaxed), 0, "3 rows of 5");
    if std::thread::available_parallelism().is_ok_and(|n| n.get() == 1) {
        return eprintln!("skipped: one processor");
    }
    let (rows, classes) = if cfg!(miri) { (12, 5) } else { (512, 512) };
    run(&Case::random(Problem::new(DType::F32, classes), rows, 1), &host);
    let is_asked = asked.load(Ordering::Relaxed) > 0;
    assert_eq!(is_asked, !on_gpu(), "{rows} rows of {classes}");
}

#[test]
fn two_hundred_runs() {
    let rows = if cfg!(miri) { 2 } else { sized(1024, 64) };
    let case = Case::random(Problem::new(DType::F16, 257).z_loss(1e-3), rows, 5);
    let expected = case.bits();
    for _ in 0..if cfg!(miri) { 2 } else { 200 } {
        assert!(case.bits() == expected);
    }
}

#[test]
fn any_contents_of_the_workspace() {
    for case in cases() {
        let plan = plan(&case.problem).unwrap();
        let packed = Place::packed(case.rows, case.problem.classes);
        let expected = case.bits();
        for byte in [0, 0xff, 0x7f, 0x5a] {
            let size = plan.workspace_size(case.rows);
            let bytes = vec![byte; size + Workspace::ALIGNMENT];
            let bytes = Tensor::from_slice(&bytes, &[bytes.len()]).unwrap();
            let mut bytes = bytes.to(&common::context()).unwrap();
            let start = bytes.as_ptr().addr().wrapping_neg() % Workspace::ALIGNMENT;
            let data = bytes.as_mut_ptr().wrapping_add(start);
            // SAFETY: so many bytes of the tensor, and nobody else uses them.
            let mut workspace = unsafe { Workspace::from_raw(data, size) };
            let bits = case.bits_of(&packed, |args| plan.run(args, &mut workspace));
            assert!(bits == expected, "{byte:#x}, {:?}", case.problem);
        }
    }
}

#[test]
fn one_plan_on_eight_threads() {
    let (rows, classes) = if cfg!(miri) { (12, 5) } else { sized((600, 500), (60, 300)) };
    let problem = Problem::new(DType::F32, classes).label_smoothing(0.1);
    let context = context(2);
    let plan = Plan::new(&context, &problem.clone().outputs(xent::Outputs::CROSS_ENTROPY)).unwrap();
    drop(context); // the plan keeps its threads
    std::thread::scope(|scope| {
        for seed in 0..if cfg!(miri) { 2 } else { 8 } {
            let (plan, case) = (&plan, Case::random(problem.clone(), rows, seed));
            scope.spawn(move || {
                let expected = case.bits();
                let mut workspace = plan.workspace(rows).unwrap();
                for _ in 0..if cfg!(miri) { 1 } else { sized(10, 3) } {
                    let packed = Place::packed(rows, classes);
                    let bits = case.bits_of(&packed, |args| plan.run(args, &mut workspace));
                    assert!(bits == expected, "seed {seed}");
                }
            });
        }
    });
}

/// Subnormal logits and gradients, exact halves, rows without a softmax.
fn delicate_cases() -> Vec<Case> {
    let mut cases = cases();
    let tiny = normal(9, 40, 1e-39);
    let problem = Problem::new(DType::F32, 8).reduction(Reduction::None);
    cases.push(Case::new(problem.clone(), 5, tiny.clone(), 1).dloss(&[1e-38]));
    cases.push(Case::new(problem.clone().logit_scale(1e30), 5, tiny, 1));
    let infinite = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1.0].repeat(10);
    cases.push(Case::new(problem, 5, infinite, 1));
    let f16 = Problem::new(DType::F16, 8).reduction(Reduction::None);
    cases.push(Case::new(f16, 5, normal(3, 40, 1e-6), 1).dloss(&[1e-6]));
    cases
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod float_env {
    use super::*;
    use std::arch::asm;
    use std::hint::black_box;

    const DEFAULT: u32 = 0x1f80;
    const RAISED: u32 = 0x3f; // what arithmetic has raised
    const ENVIRONMENTS: [(&str, u32); 7] = [
        ("downward", DEFAULT | 0x2000),
        ("upward", DEFAULT | 0x4000),
        ("toward zero", DEFAULT | 0x6000),
        ("flush to zero", DEFAULT | 0x8000),
        ("subnormals are zero", DEFAULT | 0x0040),
        ("all at once", DEFAULT | 0x8000 | 0x0040 | 0x4000),
        ("invalid and division by zero trap", DEFAULT & !0x0280),
    ];

    fn control_word() -> u32 {
        let mut word = 0u32;
        // SAFETY: stores MXCSR to the word.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack)) };
        word
    }

    fn set_control_word(word: u32) {
        // SAFETY: loads MXCSR, whose reserved bits are 0, from the word.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &word, options(nostack)) };
    }

    /// Works in an environment, and returns what its control word is then.
    fn within<R>(word: u32, work: impl FnOnce() -> R) -> (R, u32) {
        set_control_word(word);
        let result = work();
        let after = control_word();
        set_control_word(DEFAULT);
        (result, after)
    }

    /// A function of its own: inlined, its arithmetic could move to where the word is another.
    #[inline(never)]
    fn arithmetic() -> [f32; 3] {
        let [tiny, small, three] = black_box([1e-40f32, 1e-20, 3.0]);
        black_box([small * small, 1.0 / three, tiny * 2.0])
    }

    #[test]
    fn these_environments_change_results() {
        for (name, word) in &ENVIRONMENTS[..6] {
            let (here, _) = within(*word, arithmetic);
            assert_ne!(here, arithmetic(), "{name}");
        }
    }

    #[test]
    fn any_rounding_mode_and_flags_of_the_caller() {
        for case in delicate_cases() {
            let plan = plan(&case.problem).unwrap();
            let mut workspace = plan.workspace(case.rows).unwrap();
            let expected = case.bits();
            for (name, word) in ENVIRONMENTS {
                let mut after = 0;
                let bits = case.bits_of(&Place::packed(case.rows, case.problem.classes), |args| {
                    let (result, control_word) = within(word, || plan.run(args, &mut workspace));
                    after = control_word;
                    result
                });
                assert_eq!(after, word, "{name}: not restored");
                assert!(bits == expected, "{name}: {:?}", case.problem);
            }
        }
    }

    #[test]
    fn any_rounding_mode_and_flags_of_the_caller_of_other_operations() {
        if on_gpu() {
            return; // whose driver would trap
        }
        for trial in operations::all(&[(5, 7), (40, 8), (3, 300)]) {
            let context = common::context();
            let expected = trial.run(&context).bits();
            for (name, word) in ENVIRONMENTS {
                // What else is done is exact, but for what it raises: numbers that their types have.
                let (found, after) = within(word, || trial.run(&context));
                assert_eq!(after & !RAISED, word & !RAISED, "{name}: not restored");
                assert!(found.bits() == expected, "{name}: {:?}", trial.problem);
            }
        }
    }

    #[test]
    fn any_rounding_mode_and_flags_of_a_hosts_threads() {
        if on_gpu() {
            return; // which asks no host
        }
        for (name, word) in ENVIRONMENTS {
            let host = hosted(Arc::new(move |n, task: &(dyn Fn(usize) + Sync)| {
                std::thread::scope(|scope| {
                    for i in 0..n {
                        scope.spawn(move || assert_eq!(within(word, || task(i)).1, word));
                    }
                });
            }));
            for case in delicate_cases() {
                assert!(run(&case, &host) == case.bits(), "{name}: {:?}", case.problem);
            }
        }
    }

    #[test]
    fn flags_are_restored_after_an_error() {
        let problem = Problem::new(DType::F32, 3);
        let plan = plan(&problem).unwrap();
        for (name, word) in ENVIRONMENTS {
            for targets in [&[3i64][..], &[0, 1]] {
                let (mut loss, mut workspace) = ([0f32], plan.workspace(1).unwrap());
                let args = xent::Args::new(&[1f32, 2.0, 3.0], targets).loss(&mut loss);
                let (result, after) = within(word, || plan.run(args, &mut workspace));
                assert!(result.is_err());
                assert_eq!(after, word, "{name}, {targets:?}");
            }
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[test]
#[ignore = "setting the control word is written for x86-64"]
fn any_rounding_mode_and_flags_of_the_caller() {
    drop(delicate_cases());
}
