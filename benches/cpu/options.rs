//! What each option costs, as a ratio to the same problem without it.

use xent::{DType, Problem};

use crate::cli::Cli;
use crate::crew::Crew;
use crate::goals::{Goal, NOISE, Score, milliseconds, table};
use crate::job::{Buffers, Job, fused};
use crate::limits;
use crate::rounds::{rounds, seconds};

/// What a change may cost.
#[derive(Clone, Copy)]
enum Cost {
    /// This ratio.
    Ratio(f64),
    /// The time to read the probabilities beside the logits.
    Read,
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Plain,
    Option(usize),
    /// Reading the probabilities of an option.
    Read(usize),
}

fn options(dtype: DType, classes: usize) -> Vec<(String, Problem, Cost)> {
    let plain = || fused(dtype, classes);
    let small = Cost::Ratio(1.1);
    let mut options = vec![
        ("label smoothing".to_owned(), plain().label_smoothing(0.1), small),
        ("class weights".to_owned(), plain().class_weights(true), small),
        ("row weights".to_owned(), plain().row_weights(true), small),
        ("z-loss".to_owned(), plain().z_loss(1e-4), small),
        ("scale".to_owned(), plain().logit_scale(0.7), small),
        ("softcap".to_owned(), plain().softcap(30.0), Cost::Ratio(1.6)),
    ];
    for soft in soft_types(dtype) {
        let name = format!("{soft} probabilities");
        options.push((name, plain().targets(soft), Cost::Read));
    }
    options
}

/// Types of probabilities: that of the logits, and `f32`.
fn soft_types(dtype: DType) -> Vec<DType> {
    let mut types = vec![dtype, DType::F32];
    types.dedup();
    types
}

pub fn print(cli: &Cli, crew: &Crew, score: &mut Score) {
    let title = format!(
        "Options, {} thread(s): milliseconds, and ratios to the same problem without; probabilities \
         may take the time to read them",
        crew.threads
    );
    let mut table = table(&title, &["type", "classes", "option", "without", "with", "ratio"]);
    for classes in cli.classes(&[32_000, 1000], &[32_000]) {
        for &dtype in &cli.types {
            let rows = cli.rows(classes).div_ceil(2);
            let options = options(dtype, classes);
            let mut buffers = Buffers::new(dtype, rows, classes).with_soft(&soft_types(dtype));
            let mut plain = Job::new(&crew.context, fused(dtype, classes), rows);
            let job = |problem: &Problem| Job::new(&crew.context, problem.clone(), rows);
            let mut jobs: Vec<Job> = options.iter().map(|(_, problem, _)| job(problem)).collect();

            let mut works = vec![Work::Plain];
            works.extend((0..options.len()).map(Work::Option));
            let reads = options.iter().enumerate();
            let reads = reads.filter(|(_, (_, _, cost))| matches!(cost, Cost::Read));
            works.extend(reads.map(|(index, _)| Work::Read(index)));
            let times = rounds(cli.rounds(), &works, |work| match work {
                Work::Plain => seconds(|| plain.run(&mut buffers)),
                Work::Option(index) => seconds(|| jobs[index].run(&mut buffers)),
                Work::Read(index) => {
                    let soft = buffers.soft(options[index].1.targets);
                    seconds(|| limits::read(&crew.pool, soft.lines()))
                }
            });

            for (index, (name, _, cost)) in options.iter().enumerate() {
                let work = Work::Option(index);
                let goal = match cost {
                    Cost::Ratio(ratio) => *ratio,
                    Cost::Read => 1.0 + NOISE + times.ratio(Work::Read(index), Work::Plain),
                };
                table.add_row([
                    dtype.to_string(),
                    classes.to_string(),
                    name.clone(),
                    milliseconds(times.seconds(Work::Plain)),
                    milliseconds(times.seconds(work)),
                    score.judge(times.ratio(work, Work::Plain), Goal::AtMost(goal)),
                ]);
            }
        }
    }
    println!("{table}");
}
