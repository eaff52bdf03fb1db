//! How fast the CPU path is, in ratios to what the memory allows, beside what it aims at.
//! `benches/README.md` has the protocol.
//!
//! ```sh
//! cargo bench --bench cpu                # all; minutes
//! cargo bench --bench cpu -- --quick     # less than a minute, to see whether something is off
//! cargo bench --bench cpu -- --help
//! ```

mod allocations;
mod buffers;
mod cli;
mod crew;
mod fused;
mod goals;
mod job;
#[path = "../../src/bin/xent/bench/device/limits.rs"]
mod limits;
mod machine;
mod options;
mod rounds;
mod scaling;
mod serve;
mod small;
#[path = "../../src/bin/xent/bench/statistics.rs"]
mod statistics;

use clap::Parser;

use cli::{Cli, Part};
use crew::Crew;
use goals::Score;

fn main() {
    // As cargo bench asks for it; cargo test only wants to know that it runs.
    let cli = match std::env::args().any(|argument| argument == "--bench") {
        true => Cli::parse(),
        false => Cli::smoke(),
    };
    let crews: Vec<Crew> = cli.threads().into_iter().map(Crew::new).collect();
    if cli.serve {
        return serve::serve(&crews[0]);
    }
    machine::print(&cli);
    let mut score = Score::default();
    for part in cli.parts() {
        match part {
            Part::Fused => fused::print(&cli, &crews, &mut score),
            Part::Options => options::print(&cli, &crews[0], &mut score),
            Part::Scaling => scaling::print(&cli, &crews, &mut score),
            Part::Small => small::print(&cli, &crews[0], &mut score),
        }
    }
    println!("\n{score}");
}
