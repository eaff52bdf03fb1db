//! All threads against one.

use xent::DType;

use crate::cli::Cli;
use crate::crew::Crew;
use crate::fused::{Bench, Work};
use crate::goals::{Goal, Score, milliseconds, table};
use crate::rounds::rounds;

/// Logits of tensors that stay in the second-level cache, where the arithmetic binds; beside large
/// ones, where it may be the memory.
const CACHED: usize = 1 << 17;

pub fn print(cli: &Cli, crews: &[Crew], score: &mut Score) {
    let [many, .., one] = crews else { return };
    let title = format!("Loss and gradient, {} threads against {}", many.threads, one.threads);
    let mut table =
        table(&title, &["type", "classes", "rows", "1 ms", "many ms", "speed-up", "of the floor"]);
    for classes in cli.classes(&[1000, 32_000], &[1000]) {
        for &dtype in &cli.types {
            for (rows, calls) in [(CACHED / classes, 16), (cli.rows(classes), 1)] {
                let works = [Work::Fused, Work::Floor];
                let works = works.map(|work| [(work, 0), (work, 1)]).concat();
                let mut benches = [many, one].map(|crew| Bench::new(crew, dtype, rows, classes));
                let times = rounds(cli.rounds(), &works, |(work, crew)| {
                    (0..calls).map(|_| benches[crew].run(work)).sum::<f64>() / calls as f64
                });
                let speed_up = |work| times.ratio((work, 1), (work, 0));
                let ms = |crew| milliseconds(times.seconds((Work::Fused, crew)));
                let goal = Goal::AtLeast(0.9 * many.threads as f64 / one.threads as f64);
                table.add_row([
                    dtype.to_string(),
                    classes.to_string(),
                    rows.to_string(),
                    ms(1),
                    ms(0),
                    match calls > 1 || dtype != DType::F32 {
                        true => score.judge(speed_up(Work::Fused), goal),
                        false => format!("{:.2}", speed_up(Work::Fused)),
                    },
                    format!("{:.2}", speed_up(Work::Floor)),
                ]);
            }
        }
    }
    println!("{table}");
}
