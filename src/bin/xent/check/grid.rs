//! What `xent check` runs: problems, and for each the cases that share its plan.

use std::fmt;

use xent::{DType, Denominator, Layout, Outputs, Problem, Reduction};

use super::place::Place;
use super::shape::Shape;
use crate::case::{Case, Target};

const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
/// In turn; that of each row tells the most.
const REDUCTIONS: [Reduction; 4] =
    [Reduction::None, Reduction::Mean, Reduction::None, Reduction::Sum];
/// What training asks for.
const FUSED: Outputs = Outputs::LOSS.union(Outputs::LSE).union(Outputs::DLOGITS);
/// What it asks for where the upstream gradient is not known yet.
const SEPARATE: Outputs = Outputs::LOSS.union(Outputs::STATS);

/// How much is checked. Where types or classes are taken in turn, the seed says who begins.
struct Extent {
    /// Classes for what training asks for, and in how many of the types.
    fused: (&'static [usize], usize),
    /// Classes for all outputs, and for statistics with a separate gradient; one type for each.
    all: &'static [usize],
    /// Classes for the options, one after the other, and in how many of the types.
    options: (&'static [usize], usize),
    /// Of so many options in a row, one.
    step: usize,
    /// Shapes of logits in few rows.
    shapes: usize,
    /// The most elements of the logits of a case, if a row has not more.
    elements: usize,
}

/// From one class up to beyond the largest vocabularies: a size for each family of kernels and more,
/// and an odd one, whose rows begin anywhere. Sizes that share their kernels cost little; a GPU's
/// compiler takes most of the time.
const FULL: Extent = Extent {
    fused: (&[1, 10, 128, 1000, 1003, 4099, 50_257, 128_256, 262_144], 3),
    all: &[33, 1003, 50_257],
    options: (&[128, 1003, 4099, 50_257], 2),
    step: 1,
    shapes: Shape::ALL.len(),
    elements: 1 << 20,
};
/// A taste of it.
const QUICK: Extent = Extent {
    fused: (&[10, 1003, 5003, 20_000], 1),
    all: &[33],
    options: (&[100], 1),
    step: 4,
    shapes: 3,
    elements: 1 << 12,
};

/// A problem with its cases. They share a plan.
pub struct Entry {
    pub problem: Problem,
    option: Option<&'static Setting>,
    runs: Vec<Run>,
}

/// One case of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    shape: Shape,
    rows: usize,
    placing: Placing,
    seed: u64,
}

/// Where its tensors are.
#[derive(Clone, Copy, Debug)]
enum Placing {
    /// Packed rows.
    Packed,
    /// Rows that begin this many elements into a buffer, each with a gap after it.
    Apart(usize),
    /// The class axis before one of this size, from so many elements on.
    Columns { inner: usize, offset: usize },
}

/// An option, or several, and what a case of it brings.
struct Setting {
    name: &'static str,
    problem: fn(Problem) -> Problem,
    case: fn(&mut Case),
}

const fn setting(name: &'static str, problem: fn(Problem) -> Problem) -> Setting {
    Setting { name, problem, case: |_| () }
}

const SETTINGS: &[Setting] = &[
    setting("label smoothing", |p| p.label_smoothing(0.1)),
    setting("f32 probabilities", |p| p.targets(DType::F32)),
    setting("softcap", |p| p.softcap(30.0)),
    Setting {
        name: "ignored rows, weights of classes and rows",
        problem: |p| {
            p.ignore_index(0).class_weights(true).row_weights(true).reduction(Reduction::Mean)
        },
        case: |case| ignore(case, 0),
    },
    setting("in place", |p| p.in_place(true)),
    setting("f32 gradient", |p| p.dlogits(DType::F32)),
    setting("class weights and smoothing", |p| p.label_smoothing(0.1).class_weights(true)),
    setting("negative scale, z-loss", |p| p.logit_scale(-1.5).z_loss(1e-2)),
    setting("16-bit probabilities, smoothing, class weights", |p| {
        let dtype = if p.logits == DType::F32 { DType::BF16 } else { p.logits };
        p.targets(dtype).label_smoothing(0.2).class_weights(true)
    }),
    Setting {
        name: "upstream gradient of each row, i32 targets",
        problem: |p| p.targets(DType::I32).reduction(Reduction::None),
        case: |case| {
            let upstream = [1e-3, -2.0, 0.0, 7.5].into_iter().cycle();
            case.dloss = Some(upstream.take(case.rows).collect());
        },
    },
    Setting {
        name: "denominator, u8 targets",
        problem: |p| p.targets(DType::U8).reduction(Reduction::Mean),
        case: |case| case.denominator = Denominator::Value(12_345.5),
    },
    Setting {
        name: "all options",
        problem: |p| {
            p.label_smoothing(0.1)
                .class_weights(true)
                .row_weights(true)
                .logit_scale(0.7)
                .softcap(20.0)
                .z_loss(1e-3)
                .targets(DType::U32)
                .reduction(Reduction::Mean)
                .ignore_index(1)
                .outputs(Outputs::CROSS_ENTROPY)
        },
        case: |case| {
            ignore(case, 1);
            case.dloss = Some(vec![-0.5]);
        },
    },
    // They are spread over more CTAs, however many come.
    setting("few rows expected", |p| p.expected_rows(8)),
];

/// Makes every third row, from the second on, one that is not counted, and no other.
fn ignore(case: &mut Case, index: i64) {
    let Target::Classes(y) = &mut case.target else { return };
    let other = if index == 0 { case.problem.classes as i64 - 1 } else { 0 };
    for (row, y) in y.iter_mut().enumerate() {
        *y = match *y {
            _ if row % 3 == 1 => index,
            y if y == index => other,
            y => y,
        };
    }
}

/// All entries, from a seed.
pub fn entries(quick: bool, seed: u64) -> Vec<Entry> {
    let extent = if quick { &QUICK } else { &FULL };
    let first = (seed % 12) as usize;
    let mut entries = Vec::new();
    let mut add = |problem: Problem, option| {
        let turn = first + entries.len();
        let runs = runs(&problem, extent, seed.wrapping_add(1000 * turn as u64), turn);
        entries.push(Entry { problem, option, runs });
    };
    let problem = |classes, turn: usize, outputs| {
        let reduction = REDUCTIONS[(turn / 3 + turn) % REDUCTIONS.len()];
        Problem::new(DTYPES[turn % DTYPES.len()], classes).outputs(outputs).reduction(reduction)
    };
    let (sizes, types) = extent.fused;
    for (turn, &classes) in sizes.iter().enumerate() {
        (0..types).for_each(|number| add(problem(classes, first + turn + number, FUSED), None));
    }
    for (turn, &classes) in extent.all.iter().enumerate() {
        add(problem(classes, first + turn, Outputs::CROSS_ENTROPY), None);
        add(problem(classes, first + turn + 1, SEPARATE), None);
    }
    let (sizes, types) = extent.options;
    for (turn, setting) in SETTINGS.iter().enumerate().step_by(extent.step) {
        for number in 0..types {
            let turn = first + turn + number;
            let plain = problem(sizes[turn % sizes.len()], turn, FUSED);
            add((setting.problem)(plain), Some(setting));
        }
    }
    entries
}

/// Each shape in few rows, somewhere; some of them in many rows, and where classes are no neighbours.
fn runs(problem: &Problem, extent: &Extent, seed: u64, turn: usize) -> Vec<Run> {
    let most = extent.elements.div_ceil(problem.classes);
    let mut runs = Vec::new();
    let mut add = |shape: usize, rows: usize, placing| {
        let seed = seed.wrapping_add(runs.len() as u64);
        runs.push(Run { shape: Shape::ALL[shape % Shape::ALL.len()], rows, placing, seed });
    };
    for number in 0..extent.shapes {
        let placing = match number % 3 {
            0 => Placing::Packed,
            _ => Placing::Apart(1 + (turn + number) % 7),
        };
        add(turn + number, (1 + (turn + number) % 4).min(most), placing);
    }
    let many = most.clamp(1, 4096);
    add(turn, many, Placing::Packed);
    add(turn + 1, (many / 2).max(1), Placing::Apart(1 + turn % 5));
    let offset = turn % 4;
    // An image of odd extent; one of whole vectors; and columns alone.
    for (number, inner) in [7, 16, many.max(2)].into_iter().enumerate() {
        let rows = if inner < many { many / 4 } else { 0 };
        let rows = rows.next_multiple_of(inner).max(inner);
        add(turn + 2 + number, rows, Placing::Columns { inner, offset });
    }
    runs
}

impl Entry {
    /// The cases of the entry, to be made one at a time.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Makes a case, and says where its tensors are.
    pub fn case(&self, run: &Run) -> (Case, Place) {
        let Entry { problem, option, .. } = self;
        let (rows, classes) = (run.rows, problem.classes);
        let mut case = Case::new(problem.clone(), rows, vec![0.0; rows * classes], run.seed);
        case.problem.outputs = problem.outputs;
        if let Some(setting) = option {
            (setting.case)(&mut case);
        }
        run.shape.fill(&mut case, run.seed);
        let place = match run.placing {
            Placing::Packed => Place { layout: Layout::rows(rows, classes), offset: 0 },
            Placing::Apart(offset) => {
                let layout = Layout::rows(rows, classes).row_stride(classes + 3);
                Place { layout, offset }
            }
            Placing::Columns { inner, offset } => {
                Place { layout: Layout::packed(rows / inner, classes, inner), offset }
            }
        };
        (case, place)
    }

    /// What a case of the entry is, for who has to find it again.
    pub fn describe(&self, run: &Run) -> String {
        let Problem { logits, classes, reduction, .. } = &self.problem;
        let option = self.option.map_or(String::new(), |setting| format!(", {}", setting.name));
        let Run { shape, rows, placing, seed } = run;
        let reduction = format!("{reduction:?}").to_lowercase();
        format!(
            "{logits}, {rows} x {classes}{option}, reduction {reduction}, {shape}, {placing}, seed {seed}"
        )
    }
}

impl Run {
    /// Whether the classes of a row are no neighbours in memory.
    pub fn has_columns(&self) -> bool {
        matches!(self.placing, Placing::Columns { .. })
    }
}

impl fmt::Display for Placing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placing::Packed => f.write_str("packed"),
            Placing::Apart(offset) => write!(f, "rows apart from element {offset} on"),
            Placing::Columns { inner, offset } => {
                write!(f, "classes before an axis of {inner}, from element {offset} on")
            }
        }
    }
}
