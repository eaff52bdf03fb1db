//! Holding what a kernel wrote against the reference.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use xent::Outputs;
use xent::cuda::variant::Variant;
use xent_simulator::Error;

use super::NotCompiled;
use super::run::{How, run};
use crate::common::{Case, Output, bounds};

/// What is wrong with a run.
#[derive(Debug)]
pub enum Fault {
    /// What the interpreter objects to.
    Access(Error),
    /// A result that is not what it should be.
    Result(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Access(error) => error.fmt(f),
            Fault::Result(what) => f.write_str(what),
        }
    }
}

/// Runs a case and holds what it wrote against the reference. What its outputs do not name is
/// taken from the CPU.
pub fn check(case: &Case, outputs: Outputs, how: &How, variant: &Variant) -> Output {
    try_check(case, outputs, how, variant)
        .unwrap_or_else(|fault| panic!("{variant:?}, {how:?}, {:?}: {fault}", case.problem))
}

/// The same, with what is wrong.
pub fn try_check(
    case: &Case,
    outputs: Outputs,
    how: &How,
    variant: &Variant,
) -> Result<Output, Fault> {
    let lean = lean(case, outputs);
    let (output, trace) = caught(|| run(&lean, how, variant, None))?.map_err(Fault::Access)?;
    let full = completed(case, outputs, &output);
    caught(|| {
        assert_eq!(trace.report, how.report, "the report of invalid targets");
        bounds::check(case, &full);
    })?;
    Ok(output)
}

/// The case with fewer outputs.
pub fn lean(case: &Case, outputs: Outputs) -> Case {
    Case { problem: case.problem.clone().outputs(outputs), ..case.clone() }
}

/// What `f` makes, or what it panics with. That a kernel does not compile is no fault of its run.
pub fn caught<T>(f: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        if panic.is::<NotCompiled>() {
            resume_unwind(panic);
        }
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Fault::Result(text.unwrap_or_default())
    })
}

/// All outputs: those that were not wanted are the CPU's.
fn completed(case: &Case, outputs: Outputs, output: &Output) -> Output {
    let mut full = output.clone();
    if outputs == Outputs::CROSS_ENTROPY {
        return full;
    }
    // Not in place: this runs on a copy.
    let apart = Case { problem: case.problem.clone().in_place(false), ..case.clone() };
    let cpu = apart.run();
    let fill = |wanted, mine: &mut Vec<f32>, other: Vec<f32>| {
        if !outputs.contains(wanted) {
            *mine = other;
        }
    };
    fill(Outputs::LOSS, &mut full.loss, cpu.loss);
    fill(Outputs::LSE, &mut full.lse, cpu.lse);
    fill(Outputs::STATS, &mut full.stats, cpu.stats);
    fill(Outputs::ENTROPY, &mut full.entropy, cpu.entropy);
    if !outputs.contains(Outputs::DLOGITS) {
        full.dlogits = cpu.dlogits;
    }
    if !outputs.contains(Outputs::ARGMAX) {
        full.argmax = cpu.argmax;
    }
    if !outputs.contains(Outputs::CORRECT) {
        full.correct = cpu.correct;
    }
    full
}

/// All of an output, NaN included.
pub fn bits(output: &Output) -> Vec<u64> {
    let floats = [&output.loss, &output.lse, &output.stats, &output.entropy];
    let floats = floats.into_iter().flatten().map(|x| u64::from(x.to_bits()));
    let integers = output.argmax.iter().chain([&output.correct]).map(|&x| x as u64);
    floats.chain(integers).chain(wide_bits(&output.dlogits)).collect()
}

pub fn wide_bits(x: &[f64]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits()).collect()
}
