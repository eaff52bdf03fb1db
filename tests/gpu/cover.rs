//! The variants that are compiled for every architecture that may run them, in one table: what the
//! selection chooses; every kernel with every type of logits and kind of targets; every option alone;
//! and options in all pairs; and the kernels for tensors of any layout in all pairs, of which each is
//! compiled for some architectures.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use xent::cuda::selection::{self, Gpu};
use xent::cuda::target::Capability;
use xent::cuda::variant::{self, Variant};
use xent::{DType, Outputs, Problem};

use super::pairs::pairwise;

/// A variant with its name, and the architectures that it is compiled for.
pub struct Covered {
    pub name: String,
    pub variant: Variant,
    pub archs: RangeInclusive<u32>,
}

/// GPUs that the selection tells apart: the oldest of each kind, and the architectures that it stands
/// for.
const KINDS: [(u32, RangeInclusive<u32>); 3] = [(70, 70..=75), (80, 80..=89), (90, 90..=120)];
const LOGITS: [DType; 3] = [DType::BF16, DType::F16, DType::F32];
/// Classes of rows, one for about each line of the selection's tables.
const CLASSES: [usize; 9] = [7, 100, 1000, 1900, 3900, 8100, 32_000, 128_256, 250_000];

/// How many classes make the selection take a kernel, on the newest GPUs.
const KERNELS: [(&str, usize); 5] =
    [("lanes", 300), ("block", 5000), ("cluster", 30_000), ("stream", 0), ("columns", 21)];

type Set = fn(Problem) -> Problem;
const OPTIONS: [(&str, Set); 6] = [
    ("smoothing", |problem| problem.label_smoothing(0.1)),
    ("weights", |problem| problem.label_smoothing(0.1).class_weights(true)),
    ("scale", |problem| problem.logit_scale(0.5)),
    ("softcap", |problem| problem.softcap(30.0)),
    ("entropy", |problem| more(problem, Outputs::ENTROPY)),
    ("argmax", |problem| more(problem, Outputs::ARGMAX | Outputs::CORRECT)),
];

fn more(problem: Problem, outputs: Outputs) -> Problem {
    let outputs = problem.outputs | outputs;
    problem.outputs(outputs)
}

/// Without options: loss, log-sum-exp and gradient.
fn fused(logits: DType, classes: usize) -> Problem {
    let outputs = Outputs::LOSS | Outputs::LSE | Outputs::DLOGITS;
    Problem::new(logits, classes).outputs(outputs)
}

/// The table.
pub fn all() -> Vec<Covered> {
    let mut table = Table::default();
    for kernel in variant::around_rows() {
        table.add(kernel.expression.clone(), kernel, 70..=120);
    }
    for (from, to) in
        [(DType::F32, DType::BF16), (DType::BF16, DType::F16), (DType::F16, DType::F32)]
    {
        let kernel = variant::cast(from, to).unwrap();
        table.add(kernel.expression.clone(), kernel, 70..=120);
    }
    for (arch, archs) in KINDS {
        for logits in LOGITS {
            for classes in CLASSES {
                let problem = fused(logits, classes);
                table.choose(&problem, false, "", arch, &archs);
                if logits == DType::BF16 {
                    let few = problem.expected_rows(8);
                    table.choose(&few, false, ", few rows", arch, &archs);
                }
            }
        }
    }
    for kernel in 0..KERNELS.len() {
        for logits in LOGITS {
            table.force(kernel, fused(logits, 1), false, "");
            table.force(kernel, fused(logits, 1).targets(logits), false, "");
        }
        table.force(kernel, fused(DType::BF16, 1), true, ", backward");
        let forward = fused(DType::BF16, 1).outputs(Outputs::LOSS | Outputs::LSE);
        table.force(kernel, forward, false, "");
        for (name, set) in OPTIONS {
            table.force(kernel, set(fused(DType::BF16, 1)), false, &format!(", {name}"));
        }
    }
    table.pairs();
    for (turn, (name, variant)) in super::family::pairs().into_iter().enumerate() {
        table.add(name, variant, KINDS[turn % KINDS.len()].1.clone());
    }
    table.rows.into_values().collect()
}

fn gpu(arch: u32) -> Gpu {
    Gpu { capability: Capability::from_arch(arch), multiprocessors: 100 }
}

/// Each variant once.
#[derive(Default)]
struct Table {
    rows: BTreeMap<(String, u32), Covered>,
}

impl Table {
    fn add(&mut self, name: String, variant: Variant, archs: RangeInclusive<u32>) {
        let key = (variant.expression.clone(), *archs.start());
        self.rows.entry(key).or_insert(Covered { name, variant, archs });
    }

    /// What the selection takes on such GPUs.
    fn choose(
        &mut self,
        problem: &Problem,
        backward: bool,
        more: &str,
        arch: u32,
        archs: &RangeInclusive<u32>,
    ) {
        let variant = selection::rows(problem, backward, gpu(arch)).variant;
        let name = format!("{}{more}", name(problem));
        self.add(name, variant, archs.clone());
    }

    /// A kernel, on all GPUs that have it.
    fn force(&mut self, kernel: usize, mut problem: Problem, backward: bool, more: &str) {
        let (kernel, classes) = KERNELS[kernel];
        problem.classes = classes.max(50_000 * usize::from(classes == 0));
        let more = format!("{more}, {kernel}");
        match kernel {
            "stream" => {
                let name = format!("{}{more}", name(&problem));
                self.add(name, variant::stream(&problem, backward, 256), 70..=120);
            }
            "columns" => {
                for (arch, archs) in [(70, 70..=75), (80, 80..=120)] {
                    for variant in selection::columns(&problem, backward, gpu(arch)) {
                        self.add(format!("{}{more}", name(&problem)), variant, archs.clone());
                    }
                }
            }
            _ => {
                for (arch, archs) in KINDS {
                    self.choose(&problem, backward, &more, arch, &archs);
                }
            }
        }
    }

    /// All pairs of: kernel, logits, targets, gradient, each option, backward.
    fn pairs(&mut self) {
        let levels = [KERNELS.len(), 3, 4, 3, 2, 2, 2, 2, 2, 2, 2];
        let (rows, _) = pairwise(&levels, 5, |row| row[3] != 2 || row[10] == 0);
        for row in rows {
            let mut problem = fused(LOGITS[row[1]], 1);
            if row[2] > 0 {
                problem = problem.targets(LOGITS[row[2] - 1]);
            }
            match row[3] {
                1 => problem = problem.dlogits(DType::F32),
                2 => problem = problem.outputs(Outputs::LOSS),
                _ => {}
            }
            let mut names = String::new();
            for ((name, set), _) in OPTIONS.iter().zip(&row[4..]).filter(|(_, on)| **on == 1) {
                problem = set(problem);
                names = format!("{names}, {name}");
            }
            if row[10] == 1 {
                names.push_str(", backward");
            }
            self.force(row[0], problem, row[10] == 1, &names);
        }
    }
}

fn name(problem: &Problem) -> String {
    let targets = match problem.targets_are_probabilities() {
        true => format!(", {} targets", problem.targets),
        false => String::new(),
    };
    let gradient = match problem.outputs.contains(Outputs::DLOGITS) {
        true if problem.dlogits != problem.logits => ", f32 gradient",
        true => "",
        false => ", forward",
    };
    format!("{} x {}{targets}{gradient}", problem.logits, problem.classes)
}
