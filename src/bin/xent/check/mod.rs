//! `xent check`: runs a grid of problems on a device and holds each element against the reference.

mod grid;
mod place;
mod run;
mod shape;

use std::collections::BTreeMap;
use std::time::Instant;

use rayon::prelude::*;
use xent::{Context, ContextOptions, DType, DeviceKind, Plan};

use self::grid::{Entry, Run};
use self::run::{Outcome, run};
use super::Status;
use super::bounds::{Quantity, Verdict, judge};
use super::case::Case;
use super::device::{Choice, describe};
use super::progress::progress;

#[derive(clap::Args)]
pub struct Arguments {
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Only a few small problems
    #[arg(long)]
    quick: bool,
    /// What the numbers of the cases are made from
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// A line of the table: kernel, type and classes.
type Key = (String, usize, usize);

/// What was found for a line.
#[derive(Default)]
struct Line {
    cases: usize,
    worst: [Option<f64>; Quantity::ALL.len()],
}

/// What the check found.
#[derive(Default)]
struct Findings {
    lines: BTreeMap<Key, Line>,
    cases: usize,
    elements: usize,
    faults: Vec<String>,
}

pub fn check(arguments: &Arguments) -> Status {
    let Arguments { device, quick, seed } = *arguments;
    let context = match device.context(ContextOptions::default()) {
        Ok(context) => context,
        Err(error) => {
            eprintln!("error: {error}");
            return Status::Usage;
        }
    };
    println!("on {}, seed {seed}", describe(context.device()));
    let start = Instant::now();
    let entries = grid::entries(quick, seed);
    let bar = progress(entries.len(), "problems");
    let found = entries.par_iter().map(|entry| {
        let findings = check_entry(&context, entry);
        bar.inc(1);
        findings
    });
    let findings = found.reduce(Findings::default, Findings::and);
    bar.finish_and_clear();
    findings.print();
    println!(
        "{} cases of {} problems, {:.1} million logits, in {:.1?}",
        findings.cases,
        entries.len(),
        findings.elements as f64 / 1e6,
        start.elapsed()
    );
    match findings.faults.len() {
        0 => {
            println!("every result is within its bound");
            Status::Good
        }
        count => {
            println!("{count} results are wrong on {}", describe(context.device()));
            Status::Bad
        }
    }
}

/// Checks the cases of an entry. What fails is a fault, and the rest goes on.
fn check_entry(context: &Context, entry: &Entry) -> Findings {
    let mut findings = Findings::default();
    let plan = match Plan::new(context, &entry.problem) {
        Ok(plan) => plan,
        Err(error) => {
            findings.faults.push(format!("{:?}: {error}", entry.problem));
            return findings;
        }
    };
    for one in entry.runs() {
        let (case, place) = entry.case(one);
        let name = entry.describe(one);
        match run(context, &plan, &case, &place) {
            Ok(outcome) => findings.add(key(&plan, one), &case, &outcome, &name),
            Err(error) => findings.faults.push(format!("{name}: {error}")),
        }
    }
    findings
}

/// The line of the table that a case belongs to.
fn key(plan: &Plan, run: &Run) -> Key {
    let problem = plan.problem();
    let on_gpu = plan.device().kind() != DeviceKind::Cpu;
    let kernel = match run.has_columns() && on_gpu && problem.classes > 1 {
        true => "columns",
        false => family(plan.kernel_name()),
    };
    (kernel.to_owned(), type_rank(problem.logits), problem.classes)
}

/// What a kernel is called without the arguments of its template.
fn family(name: &str) -> &str {
    let name = name.strip_prefix("xent::").unwrap_or(name);
    name.split_once('<').map_or(name, |(family, _)| family)
}

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

fn type_rank(dtype: DType) -> usize {
    TYPES.iter().position(|&other| other == dtype).unwrap_or(0)
}

impl Findings {
    fn add(&mut self, key: Key, case: &Case, outcome: &Outcome, name: &str) {
        let Outcome { output, outputs, faults } = outcome;
        let verdict = judge(case, *outputs, output);
        self.faults.extend(faults.iter().map(|fault| format!("{name}: {fault}")));
        self.faults.extend(verdict.wrong().map(|wrong| format!("{name}: {wrong}")));
        self.cases += 1;
        self.elements += case.logits.len();
        self.lines.entry(key).or_default().add(&verdict);
    }

    fn and(mut self, other: Findings) -> Findings {
        for (key, line) in other.lines {
            let mine = self.lines.entry(key).or_default();
            mine.cases += line.cases;
            mine.worst = std::array::from_fn(|i| larger(mine.worst[i], line.worst[i]));
        }
        self.cases += other.cases;
        self.elements += other.elements;
        self.faults.extend(other.faults);
        self
    }

    fn print(&self) {
        let width = self.lines.keys().map(|(kernel, ..)| kernel.len()).max().unwrap_or(0).max(6);
        println!("\nlargest error beyond the rounding to its type, as a fraction of the bound");
        print!("{:width$}  type  classes  cases", "kernel");
        Quantity::ALL.iter().for_each(|quantity| print!(" {quantity:>8}"));
        println!();
        for ((kernel, dtype, classes), line) in &self.lines {
            let dtype = TYPES[*dtype].to_string();
            print!("{kernel:width$}  {dtype:4} {classes:>8} {:>6}", line.cases);
            for worst in line.worst {
                match worst {
                    Some(worst) => print!(" {worst:>8.3}"),
                    None => print!(" {:>8}", "-"),
                }
            }
            println!();
        }
        println!();
        const MOST: usize = 20;
        self.faults.iter().take(MOST).for_each(|fault| println!("WRONG: {fault}"));
        if self.faults.len() > MOST {
            println!("and {} more", self.faults.len() - MOST);
        }
    }
}

impl Line {
    fn add(&mut self, verdict: &Verdict) {
        self.cases += 1;
        for (worst, quantity) in self.worst.iter_mut().zip(Quantity::ALL) {
            let fraction = verdict.of(quantity).map(|measure| measure.fraction);
            *worst = larger(*worst, fraction);
        }
    }
}

/// The larger of two numbers, if there is any.
fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use xent::Outputs;

    use super::*;
    use crate::case::Output;

    /// What is found in the cases of all entries that have an output, if it is spoilt where there is
    /// a number.
    fn faults(outputs: Outputs, spoil: impl Fn(&mut Output) -> bool) -> Vec<Vec<String>> {
        let context = Context::cpu();
        let mut found = Vec::new();
        for entry in grid::entries(true, 3) {
            let plan = Plan::new(&context, &entry.problem).unwrap();
            for one in entry.runs() {
                let (case, place) = entry.case(one);
                let mut outcome = run(&context, &plan, &case, &place).unwrap();
                if outcome.outputs.contains(outputs) && spoil(&mut outcome.output) {
                    let mut findings = Findings::default();
                    findings.add(key(&plan, one), &case, &outcome, "a case");
                    found.push(findings.faults);
                }
            }
        }
        found
    }

    #[test]
    fn right_results_are_within_their_bounds() {
        assert!(faults(Outputs::empty(), |_| true).iter().all(Vec::is_empty));
    }

    #[test]
    fn a_wrong_result_is_found_in_every_output() {
        fn worse(x: &mut f32) -> bool {
            *x += 1e-3 + 1e-3 * x.abs();
            x.is_finite()
        }
        type Spoil = fn(&mut Output) -> bool;
        let spoils: [(&str, Outputs, Spoil); 6] = [
            ("loss", Outputs::LOSS, |output| worse(&mut output.loss[0])),
            ("lse", Outputs::LSE, |output| worse(&mut output.lse[0])),
            ("stats", Outputs::STATS, |output| worse(&mut output.stats[1])),
            ("entropy", Outputs::ENTROPY, |output| worse(&mut output.entropy[0])),
            ("argmax", Outputs::CORRECT, |output| {
                output.correct += 1;
                true
            }),
            ("gradient", Outputs::DLOGITS, |output| {
                let last = output.dlogits.len() - 1;
                output.dlogits[last] += 1e-3 + 0.1 * output.dlogits[last].abs();
                output.dlogits[last].is_finite()
            }),
        ];
        for (name, output, spoil) in spoils {
            let all = faults(output, spoil);
            assert!(all.len() >= 5, "{name}: {} cases", all.len());
            for found in all {
                assert_eq!(found.len(), 1, "{name}: {found:?}");
                assert!(found[0].starts_with(&format!("a case: {name} of row ")), "{found:?}");
            }
        }
    }
}
