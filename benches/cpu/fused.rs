//! Loss and gradient, in place too, and the loss alone, of tensors that are larger than the caches.

use xent::{DType, Outputs, Problem};

use crate::cli::Cli;
use crate::crew::Crew;
use crate::goals::{Goal, NOISE, Score, milliseconds, table};
use crate::job::{Buffers, Job, fused};
use crate::limits;
use crate::rounds::{rounds, seconds};

#[derive(Clone, Copy, PartialEq)]
pub enum Work {
    Read,
    Floor,
    Fused,
    InPlace,
    Forward,
}

impl Work {
    pub const ALL: [(Work, &str); 5] = [
        (Work::Read, "read"),
        (Work::Floor, "floor"),
        (Work::Fused, "fused"),
        (Work::InPlace, "in place"),
        (Work::Forward, "forward"),
    ];
}

/// All works on tensors of one size.
pub struct Bench<'a> {
    crew: &'a Crew,
    buffers: Buffers,
    fused: Job,
    in_place: Job,
    forward: Job,
}

impl<'a> Bench<'a> {
    pub fn new(crew: &'a Crew, dtype: DType, rows: usize, classes: usize) -> Bench<'a> {
        let job = |problem: Problem| Job::new(&crew.context, problem, rows);
        let fused = fused(dtype, classes);
        Bench {
            crew,
            buffers: Buffers::new(dtype, rows, classes),
            forward: job(fused.clone().outputs(Outputs::LOSS)),
            in_place: job(fused.clone().in_place(true)),
            fused: job(fused),
        }
    }

    /// Seconds.
    pub fn run(&mut self, work: Work) -> f64 {
        let Bench { crew, buffers, fused, in_place, forward } = self;
        match work {
            Work::Read => seconds(|| limits::read(&crew.pool, buffers.logits.lines())),
            Work::Floor => seconds(|| {
                limits::copy(&crew.pool, buffers.logits.lines(), buffers.gradient.lines_mut());
            }),
            Work::Fused => seconds(|| fused.run(buffers)),
            Work::InPlace => {
                buffers.restore();
                seconds(|| in_place.run(buffers))
            }
            Work::Forward => seconds(|| forward.run(buffers)),
        }
    }

    fn megabytes(&self) -> String {
        format!("{:.0}", size_of_val(self.buffers.logits.lines()) as f64 / 1e6)
    }
}

/// Loss and gradient, to the floor.
fn fused_goal(dtype: DType, classes: usize) -> Goal {
    Goal::AtMost(match (dtype, classes) {
        (_, ..100) => 5.0,
        (DType::F32, ..10_000) => 1.8,
        (_, ..10_000) => 2.6,
        (DType::F32, _) => 1.6,
        _ => 2.4,
    })
}

/// Read bandwidth that the loss alone reaches. Narrow rows have no such goal.
fn forward_goal(dtype: DType, classes: usize) -> Option<Goal> {
    match (dtype, classes) {
        (_, ..100) => None,
        (DType::F32, _) => Some(Goal::AtLeast(0.9)),
        _ => Some(Goal::AtLeast(0.5)),
    }
}

pub fn print(cli: &Cli, crews: &[Crew], score: &mut Score) {
    for crew in crews {
        let title = format!(
            "Loss and gradient, {} thread(s): milliseconds, and ratios to the floor, to out of place; \
             loss alone as a share of read bandwidth",
            crew.threads
        );
        let mut table = table(
            &title,
            &[
                "type",
                "classes",
                "rows",
                "MB",
                "read",
                "floor",
                "fused",
                "fused/floor",
                "in place/fused",
                "forward",
                "read/forward",
            ],
        );
        for classes in cli.classes(&[32_000, 50_257, 128_256, 1000, 10], &[32_000, 1000, 10]) {
            for &dtype in &cli.types {
                let rows = cli.rows(classes);
                let mut bench = Bench::new(crew, dtype, rows, classes);
                let times =
                    rounds(cli.rounds(), &Work::ALL.map(|(work, _)| work), |work| bench.run(work));
                let ms = |work| milliseconds(times.seconds(work));
                let of_bandwidth = times.ratio(Work::Read, Work::Forward);
                let percent = |share: f64| format!("{:.0} %", 100.0 * share);
                table.add_row([
                    dtype.to_string(),
                    classes.to_string(),
                    rows.to_string(),
                    bench.megabytes(),
                    ms(Work::Read),
                    ms(Work::Floor),
                    ms(Work::Fused),
                    score.judge(times.ratio(Work::Fused, Work::Floor), fused_goal(dtype, classes)),
                    score.judge(times.ratio(Work::InPlace, Work::Fused), Goal::AtMost(1.0 + NOISE)),
                    ms(Work::Forward),
                    match forward_goal(dtype, classes) {
                        Some(goal) => score.judge_as(of_bandwidth, goal, percent),
                        None => percent(of_bandwidth),
                    },
                ]);
            }
        }
        println!("{table}");
    }
}
