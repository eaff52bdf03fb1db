//! What to measure.

use std::path::PathBuf;
use std::thread;

use clap::ValueEnum;
use xent::{ContextOptions, DType};

use super::cell::{Cell, Mode, Setting};
use super::report::Kind;
use crate::device::Choice;
use crate::values::{count, dtype};

#[derive(clap::Args)]
pub struct Arguments {
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: Choice,

    /// Types of logits and gradient: f32, f16, bf16
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',', value_parser = dtype, default_value = "f32,f16,bf16")]
    types: Vec<DType>,

    /// Numbers of classes [default: from 128 to 262144]
    #[arg(long, value_name = "CLASSES,...", value_delimiter = ',', value_parser = count)]
    classes: Vec<usize>,

    /// Numbers of rows [default: as many as have --size]
    #[arg(long, value_name = "ROWS,...", value_delimiter = ',', value_parser = count)]
    rows: Vec<usize>,

    /// MiB of the logits, where no rows are given [default: 256 on a CPU, 1024 on a GPU]
    #[arg(long, value_name = "MIB", value_parser = count)]
    size: Option<usize>,

    /// In how many runs, and where to
    #[arg(
        long,
        value_name = "MODE,...",
        value_delimiter = ',',
        default_value = "forward,fused,separate,in-place"
    )]
    modes: Vec<Mode>,

    /// Options of the loss, one at a time
    #[arg(long, value_name = "OPTION,...", value_delimiter = ',', default_value = "none")]
    options: Vec<Setting>,

    /// All options of the loss
    #[arg(long, conflicts_with = "options")]
    all_options: bool,

    /// Threads of the CPU path [default: all processors]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=ContextOptions::MAX_THREADS as u64))]
    threads: Option<u64>,

    /// Rounds, of which medians are taken
    #[arg(long, value_name = "COUNT", value_parser = count, default_value = "15")]
    rounds: usize,

    /// Few rounds of few and smaller tensors: below a minute, and nothing to quote
    #[arg(long)]
    pub quick: bool,

    /// What the inputs are made from
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Folder for the report, its table, and pictures
    #[arg(long, value_name = "FOLDER", default_value = "xent-bench")]
    pub output: PathBuf,
}

#[derive(clap::Args)]
pub struct DrawArguments {
    /// What xent bench or benches/peers wrote
    pub report: PathBuf,

    /// Folder for the pictures
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub output: PathBuf,
}

/// What that amounts to on a device.
pub struct Setup {
    pub cells: Vec<Cell>,
    pub modes: Vec<Mode>,
    pub rounds: usize,
}

/// From few classes to the largest vocabularies; 50257 of them have rows that begin anywhere.
const CLASSES: [usize; 9] = [128, 1000, 4096, 32_000, 50_257, 50_304, 128_256, 151_936, 262_144];
const QUICK_CLASSES: [usize; 2] = [1000, 32_000];

impl Arguments {
    pub fn threads(&self) -> usize {
        let all = || thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(all, |threads| threads as usize)
    }

    pub fn setup(&self, kind: Kind) -> Setup {
        let size = match (self.size, self.quick, kind) {
            (Some(size), ..) => size,
            (None, true, Kind::Cpu) => 16,
            (None, true, Kind::Cuda) => 128,
            (None, false, Kind::Cpu) => 256,
            (None, false, Kind::Cuda) => 1024,
        };
        let usual = if self.quick { &QUICK_CLASSES[..] } else { &CLASSES[..] };
        let classes = if self.classes.is_empty() { usual } else { &self.classes };
        let settings = match self.all_options {
            true => Setting::value_variants(),
            false => &self.options,
        };
        let mut cells = Vec::new();
        for &setting in settings {
            for &classes in classes {
                for &dtype in &self.types {
                    let filling = [((size << 20) / (classes * dtype.size())).max(1)];
                    let rows = if self.rows.is_empty() { &filling[..] } else { &self.rows };
                    cells.extend(rows.iter().map(|&rows| Cell { dtype, classes, rows, setting }));
                }
            }
        }
        let rounds = if self.quick { self.rounds.min(5) } else { self.rounds };
        Setup { cells, modes: self.modes.clone(), rounds }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Bench {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn setup(arguments: &[&str], kind: Kind) -> Setup {
        let arguments = [&["bench"], arguments].concat();
        Bench::parse_from(arguments).arguments.setup(kind)
    }

    #[test]
    fn rows_fill_the_size_unless_they_are_given() {
        let setup_ = setup(&["--types", "bf16", "--classes", "32000"], Kind::Cuda);
        assert_eq!(setup_.cells.len(), 1);
        assert_eq!(setup_.cells[0].rows, (1 << 30) / 64_000);
        let setup_ = setup(&["--size", "1", "--classes", "1000000", "--types", "f32"], Kind::Cpu);
        assert_eq!(setup_.cells[0].rows, 1);
        let setup_ = setup(&["--rows", "3,8", "--types", "f16", "--classes", "10"], Kind::Cpu);
        assert_eq!(setup_.cells.iter().map(|cell| cell.rows).collect::<Vec<_>>(), [3, 8]);
    }

    #[test]
    fn everything_is_measured_with_everything() {
        let all = setup(&["--all-options", "--rows", "1,2"], Kind::Cpu);
        assert_eq!(all.cells.len(), 9 * CLASSES.len() * 3 * 2);
        assert_eq!(all.modes.len(), 4);
        assert_eq!((all.rounds, setup(&["--quick"], Kind::Cpu).rounds), (15, 5));
        assert_eq!(setup(&["--quick"], Kind::Cpu).cells.len(), 6);
    }
}
