//! What a call costs beyond its arithmetic, where there is little of that.

use xent::Context;

use crate::allocations;
use crate::cli::Cli;
use crate::crew::Crew;
use crate::goals::{Goal, Score, table};
use crate::job::{Buffers, Job, fused};
use crate::rounds::{enough_calls, rounds, seconds_per_call};

const CLASSES: [usize; 3] = [10, 100, 1000];
const ROWS: [usize; 4] = [1, 4, 16, 64];

/// Logits of the problem whose time for a row is taken for the arithmetic: many calls' worth, and
/// still in the second-level cache with their gradient.
const ARITHMETIC: usize = 1 << 16;

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Arithmetic,
    OneThread,
    AllThreads,
}

pub fn print(cli: &Cli, crew: &Crew, score: &mut Score) {
    let title = format!(
        "Small problems, loss and gradient: nanoseconds of a call, less those of as many rows of a \
         cached problem, on 1 thread and where {} may be used",
        crew.threads
    );
    let mut table = table(
        &title,
        &["type", "classes", "rows", "1: call", "overhead", "all: call", "overhead", "allocations"],
    );
    let one = Crew::new(1);
    for &dtype in &cli.types {
        for classes in cli.classes(&CLASSES, &CLASSES) {
            let cached = (ARITHMETIC / classes).max(1);
            let mut many_rows = Buffers::new(dtype, cached, classes);
            let mut arithmetic = Job::new(&one.context, fused(dtype, classes), cached);
            for rows in ROWS {
                let mut buffers = Buffers::new(dtype, rows, classes);
                let job = |context: &Context| Job::new(context, fused(dtype, classes), rows);
                let [mut alone, mut together] = [&one, crew].map(|crew| job(&crew.context));
                let calls = enough_calls(|| alone.run(&mut buffers));
                let works = [Work::Arithmetic, Work::OneThread, Work::AllThreads];
                let times = rounds(cli.rounds(), &works, |work| match work {
                    Work::Arithmetic => {
                        seconds_per_call(4, || arithmetic.run(&mut many_rows)) / cached as f64
                    }
                    Work::OneThread => seconds_per_call(calls, || alone.run(&mut buffers)),
                    Work::AllThreads => seconds_per_call(calls, || together.run(&mut buffers)),
                });
                let allocations = allocations::per_call(1000, || together.run(&mut buffers));
                let nanoseconds = |seconds: f64| format!("{:.0}", 1e9 * seconds);
                let mut overhead = |work| {
                    let more =
                        times.median(|times| times(work) - rows as f64 * times(Work::Arithmetic));
                    score.judge_as(more, Goal::AtMost(1e-6), nanoseconds)
                };
                table.add_row([
                    dtype.to_string(),
                    classes.to_string(),
                    rows.to_string(),
                    nanoseconds(times.seconds(Work::OneThread)),
                    overhead(Work::OneThread),
                    nanoseconds(times.seconds(Work::AllThreads)),
                    overhead(Work::AllThreads),
                    score.judge(allocations, Goal::AtMost(0.0)),
                ]);
            }
        }
    }
    println!("{table}");
    if let Some(started) = threads_that_start(cli) {
        let started = score.judge_as(started as f64, Goal::AtMost(0.0), |count| count.to_string());
        println!("\nThreads that all of these start: {started}");
    }
}

/// How many threads the process has after the first small runs on the context that shares rayon's
/// global pool, which nothing else here uses; where the system tells.
fn threads_that_start(cli: &Cli) -> Option<usize> {
    let threads = || Some(std::fs::read_dir("/proc/self/task").ok()?.count());
    let before = threads()?;
    for &dtype in &cli.types {
        for (classes, rows) in CLASSES.iter().flat_map(|&c| ROWS.map(|rows| (c, rows))) {
            let mut buffers = Buffers::new(dtype, rows, classes);
            Job::new(&Context::cpu(), fused(dtype, classes), rows).run(&mut buffers);
        }
    }
    Some(threads()? - before)
}
