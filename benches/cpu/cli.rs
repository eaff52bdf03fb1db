//! What to measure.

use clap::{Parser, ValueEnum};
use xent::DType;

/// Time the CPU path against what the memory allows
#[derive(Parser)]
#[command(name = "cpu", bin_name = "cargo bench --bench cpu --")]
pub struct Cli {
    /// What to measure [default: all]
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    part: Vec<Part>,

    /// Types of the logits
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',', value_parser = dtype, default_value = "f32,bf16,f16")]
    pub types: Vec<DType>,

    /// Numbers of classes, in place of those that each part has
    #[arg(long, value_name = "CLASSES,...", value_delimiter = ',')]
    classes: Vec<usize>,

    /// Numbers of threads [default: all processors, then 1]
    #[arg(long, value_name = "COUNT,...", value_delimiter = ',')]
    threads: Vec<usize>,

    /// Rounds, of which medians are taken
    #[arg(long, value_name = "COUNT", default_value_t = 15)]
    repeats: usize,

    /// Fewer rounds of fewer and smaller tensors: nothing to quote
    #[arg(long)]
    quick: bool,

    /// Measure what lines of the standard input ask for, for benches/peers
    #[arg(long)]
    pub serve: bool,

    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Part {
    /// Loss and gradient, in place too, and the loss alone, against memory
    Fused,
    /// Each option against the same problem without it
    Options,
    /// All threads against one
    Scaling,
    /// What a call costs beyond its arithmetic
    Small,
}

impl Cli {
    /// Everything once, on small sizes.
    pub fn smoke() -> Cli {
        let mut cli = Cli::parse_from(["cpu", "--repeats", "1"]);
        cli.bench = false;
        cli
    }

    fn is_smoke(&self) -> bool {
        !self.bench
    }

    pub fn parts(&self) -> Vec<Part> {
        if self.part.is_empty() { Part::value_variants().to_vec() } else { self.part.clone() }
    }

    pub fn threads(&self) -> Vec<usize> {
        if !self.threads.is_empty() {
            return self.threads.clone();
        }
        let mut threads = vec![std::thread::available_parallelism().map_or(1, usize::from), 1];
        threads.dedup();
        threads
    }

    pub fn rounds(&self) -> usize {
        if self.quick { self.repeats.min(3) } else { self.repeats }
    }

    /// Those that were asked for, else those of a part, of which some are enough to be quick.
    pub fn classes(&self, usual: &[usize], quick: &[usize]) -> Vec<usize> {
        match (self.classes.as_slice(), self.quick) {
            ([], false) => usual.to_vec(),
            ([], true) => quick.to_vec(),
            (asked, _) => asked.to_vec(),
        }
    }

    /// Rows of a tensor that is far larger than the caches.
    pub fn rows(&self, classes: usize) -> usize {
        let rows = match classes {
            10 => 1 << 22,
            1000 => 65_536,
            32_000 => 4096,
            50_257 => 1024,
            128_256 => 512,
            _ => (1 << 26) / classes,
        };
        let part = if self.is_smoke() {
            rows / 4096
        } else if self.quick {
            rows / 2
        } else {
            rows
        };
        part.max(1)
    }
}

pub fn dtype(name: &str) -> Result<DType, String> {
    let known = [DType::F32, DType::BF16, DType::F16];
    let found = known.into_iter().find(|dtype| dtype.to_string() == name);
    found.ok_or_else(|| "f32, bf16 or f16".into())
}
