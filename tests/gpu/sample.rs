//! Which cases to run: settings in which every pair of values of two factors meets, by a seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xent::cuda::variant::Variant;
use xent::{DType, EmptyMean, Outputs, Problem, Reduction};

use super::force::{Force, KERNELS};
use super::pairs::{Pairs, pairwise};
use super::run::How;
use crate::common::{Case, Target, normal};

/// Names the factors of a setting. A [`Choice`] has the number of the value of each.
macro_rules! factors {
    ($($name:ident)*) => {
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Choice {
            $(pub $name: usize,)*
        }

        impl Choice {
            const COUNT: usize = [$(stringify!($name)),*].len();
            const NAMES: [&str; Self::COUNT] = [$(stringify!($name)),*];

            fn new(row: &[usize]) -> Self {
                let mut values = row.iter();
                Choice { $($name: *values.next().unwrap(),)* }
            }

            fn values(&self) -> [usize; Self::COUNT] {
                [$(self.$name),*]
            }
        }
    };
}

factors! {
    classes kernel geometry logits targets logits_offset dlogits_offset schedules shape nans in_place
    gap rows squash arch outputs gradient smoothing class_weights row_weights z_loss reduction
    ignored dloss noise
}

/// How many values each factor has, in a matrix of settings.
pub struct Matrix {
    pub levels: Choice,
    /// The numbers of classes that a value of that factor stands for.
    pub classes: Vec<Vec<usize>>,
}

impl Matrix {
    /// Every number of classes, at every offset, of every type, by every kernel. No options.
    pub fn sizes() -> Matrix {
        let classes: Vec<Vec<usize>> = classes().into_iter().map(|n| vec![n]).collect();
        let levels = Choice { classes: classes.len(), targets: 5, ..Self::plain() };
        Matrix { levels, classes }
    }

    /// Every option, in every architecture; with classes of numbers of classes.
    pub fn options() -> Matrix {
        let groups = [1..9, 9..71, 71..600, 600..1100, 1100..5000, 5000..20_000, 20_000..200_000];
        let all = classes();
        let group = |range: &std::ops::Range<usize>| -> Vec<usize> {
            all.iter().copied().filter(|n| range.contains(n)).collect()
        };
        let classes: Vec<Vec<usize>> = groups.iter().map(group).collect();
        let levels = Choice {
            classes: classes.len(),
            targets: TARGETS.len(),
            squash: SQUASH.len(),
            arch: ARCHS.len(),
            outputs: OUTPUTS.len(),
            gradient: 2,
            smoothing: SMOOTHING.len(),
            class_weights: 2,
            row_weights: 2,
            z_loss: 2,
            reduction: REDUCTIONS.len(),
            ignored: 2,
            dloss: 3,
            noise: 2,
            ..Self::plain()
        };
        Matrix { levels, classes }
    }

    fn plain() -> Choice {
        Choice {
            kernel: KERNELS.len(),
            geometry: GEOMETRIES.len(),
            logits: LOGITS.len(),
            logits_offset: OFFSETS,
            dlogits_offset: OFFSETS,
            schedules: 2,
            shape: SHAPES.len(),
            nans: 2,
            in_place: 2,
            gap: GAPS.len(),
            rows: 3,
            squash: 1,
            arch: 1,
            outputs: 1,
            gradient: 1,
            smoothing: 1,
            class_weights: 1,
            row_weights: 1,
            z_loss: 1,
            reduction: 1,
            ignored: 1,
            dloss: 1,
            noise: 1,
            ..Choice::default()
        }
    }

    /// Choices in which all pairs meet that can, and the pairs that cannot, by name.
    pub fn pairwise(&self, seed: u64) -> (Vec<Choice>, Pairs) {
        let levels = self.levels.values();
        let (rows, pairs) = pairwise(&levels, seed, |row| self.is_possible(Choice::new(row)));
        (rows.iter().map(|row| Choice::new(row)).collect(), pairs)
    }

    /// Whether the values say something together, and the kernel can compute it.
    fn is_possible(&self, c: Choice) -> bool {
        let outputs = OUTPUTS[c.outputs];
        let has_gradient = outputs.contains(Outputs::DLOGITS);
        let moves = c.gradient == 0 && has_gradient && c.dlogits_offset == c.logits_offset;
        let largest = self.classes[c.classes].iter().copied().max().unwrap_or(1);
        (c.in_place == 0 || moves)
            && (c.gradient == 0 || has_gradient)
            && (c.ignored == 0 || !c.problem(largest).targets_are_probabilities())
            && (c.dloss == 0 || has_gradient)
            && (c.dloss < 2 || REDUCTIONS[c.reduction] == Reduction::None)
            && c.variant(&c.problem(largest), false).is_some()
    }

    /// The setting of a choice; what it leaves open comes from `seed`.
    pub fn setting(&self, choice: Choice, seed: u64) -> Setting {
        let mut rng = StdRng::seed_from_u64(seed);
        let sizes = &self.classes[choice.classes];
        choice.setting(sizes[rng.random_range(0..sizes.len())], &mut rng)
    }
}

/// 1 to 70, the neighbours of powers of two, these powers while they are small, and vocabularies.
fn classes() -> Vec<usize> {
    let powers = (7..=17).flat_map(|k| [(1 << k) - 1, 1 << k, (1 << k) + 1]);
    let powers = powers.filter(|&n| n < 10_000 || n % 2 == 1);
    (1..=70).chain(powers).chain([1000, 32_000, 50_257, 128_256]).collect()
}

const LOGITS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const TARGETS: [DType; 7] =
    [DType::I64, DType::I32, DType::U8, DType::U32, DType::F32, DType::F16, DType::BF16];
/// Elements in 16 bytes, at most.
const OFFSETS: usize = 8;
/// Threads of a CTA and vectors in the registers of one.
const GEOMETRIES: [(u32, u32); 3] = [(128, 4), (64, 1), (256, 8)];
const GAPS: [usize; 4] = [0, 1, 3, 8];
/// Scale and cap.
const SQUASH: [(f64, Option<f64>); 5] =
    [(1.0, None), (0.7, None), (-1.25, None), (1.0, Some(5.0)), (-0.5, Some(2.0))];
/// Architectures, and the major version of NVRTC that compiles for them.
const ARCHS: [(u32, u32); 6] = [(90, 13), (70, 12), (75, 13), (80, 13), (90, 12), (100, 13)];
const OUTPUTS: [Outputs; 4] = [
    Outputs::CROSS_ENTROPY,
    Outputs::LOSS.union(Outputs::DLOGITS),
    Outputs::LOSS.union(Outputs::LSE).union(Outputs::STATS),
    Outputs::DLOGITS.union(Outputs::CORRECT),
];
const SMOOTHING: [f64; 3] = [0.0, 0.1, 1.0];
const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Mean, Reduction::Sum];

/// What the logits of a row look like.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Normal,
    Flat,
    /// The target is far ahead.
    Confident,
    /// Far from 0, a little apart.
    Offset,
    /// Whole stretches of -inf.
    Masked,
    /// Few different values.
    Tied,
}

const SHAPES: [Shape; 6] =
    [Shape::Normal, Shape::Flat, Shape::Confident, Shape::Offset, Shape::Masked, Shape::Tied];

/// A case, what it is to write, and how it is run.
#[derive(Debug)]
pub struct Setting {
    pub choice: Choice,
    pub case: Case,
    pub outputs: Outputs,
    pub how: How,
}

impl Setting {
    /// The kernel of the setting, or (`true`) the one for the gradient alone.
    pub fn variant(&self, backward: bool) -> Variant {
        let problem = self.case.problem.clone().outputs(self.outputs);
        self.choice.variant(&problem, backward).unwrap()
    }
}

impl Choice {
    pub fn kernel(&self) -> &'static Force {
        &KERNELS[self.kernel]
    }

    fn how(&self) -> How {
        let (arch, nvrtc) = ARCHS[self.arch];
        let (threads, vectors) = GEOMETRIES[self.geometry];
        How { arch, nvrtc, threads, vectors, ..How::default() }
    }

    fn variant(&self, problem: &Problem, backward: bool) -> Option<Variant> {
        (self.kernel().variant)(problem, backward, &self.how())
    }

    fn problem(&self, classes: usize) -> Problem {
        let (logits, targets) = (LOGITS[self.logits], TARGETS[self.targets]);
        let mut problem = Problem::new(logits, classes)
            .targets(targets)
            .dlogits(if self.gradient == 0 { logits } else { DType::F32 })
            .logit_scale(SQUASH[self.squash].0)
            .label_smoothing(SMOOTHING[self.smoothing])
            .class_weights(self.class_weights == 1)
            .row_weights(self.row_weights == 1)
            .z_loss([0.0, 0.01][self.z_loss])
            .reduction(REDUCTIONS[self.reduction])
            .empty_mean(EmptyMean::Zero)
            .in_place(self.in_place == 1)
            .outputs(OUTPUTS[self.outputs]);
        problem.softcap = SQUASH[self.squash].1;
        if self.ignored == 1 {
            problem = problem.ignore_index(if targets == DType::U8 { 255 } else { 7 });
        }
        problem
    }

    fn setting(self, classes: usize, rng: &mut StdRng) -> Setting {
        let many = match classes {
            0..=200 => 19, // more than a CTA may work on
            201..=20_000 => 9,
            _ => 2,
        };
        let rows = [many.min(4), 1, many][self.rows];
        let problem = self.problem(classes);
        let mut case = Case::new(problem, rows, vec![0.0; rows * classes], rng.random());
        if let (Target::Classes(y), Some(index)) = (&mut case.target, case.problem.ignore_index) {
            for (row, y) in y.iter_mut().enumerate() {
                *y = match *y {
                    _ if row % 3 == 1 => index,
                    y if y == index => 0,
                    y => y,
                };
            }
        }
        fill(&mut case, SHAPES[self.shape], rng);
        if self.nans == 1 {
            let at = (rows / 2) * classes + rng.random_range(0..classes);
            case.logits[at] = f64::NAN;
        }
        if self.dloss > 0 {
            let values = [-1.5, 1e-3, 0.25, 7.5, 2.0, -1e-4, 0.0, 1.0, 30.0].into_iter().cycle();
            let count = if self.dloss == 2 { rows } else { 1 };
            case = case.dloss(&values.take(count).collect::<Vec<f32>>());
        }
        // Lines of 128 bytes begin anywhere.
        let aligned = OFFSETS as u64 * rng.random_range(0..8);
        let how = How {
            logits_offset: self.logits_offset as u64 + aligned,
            dlogits_offset: self.dlogits_offset as u64 + aligned,
            targets_offset: rng.random_range(0..8),
            gap: GAPS[self.gap],
            seed: rng.random(),
            noise: (self.noise == 1).then(|| rng.random()),
            ..self.how()
        };
        Setting { choice: self, outputs: OUTPUTS[self.outputs], case, how }
    }
}

/// Logits of a shape; of ignored rows NaN, which nobody may read.
pub fn fill(case: &mut Case, shape: Shape, rng: &mut StdRng) {
    let (classes, dtype) = (case.problem.classes, case.problem.logits);
    let sign = case.problem.logit_scale.signum();
    for (row, x) in case.logits.chunks_mut(classes).enumerate() {
        let noise = normal(rng.random(), classes, 3.0);
        let target = match &case.target {
            Target::Classes(y) if case.problem.ignore_index == Some(y[row]) => {
                x.fill(f64::NAN);
                continue;
            }
            Target::Classes(y) => y[row] as usize,
            Target::Probabilities(_) => rng.random_range(0..classes),
        };
        let offset = if dtype == DType::F16 { 3e4 } else { 1e8 };
        let width = rng.random_range(1..=classes);
        let start = rng.random_range(0..=classes - width);
        for (class, (x, noise)) in x.iter_mut().zip(noise).enumerate() {
            let value = match shape {
                Shape::Normal => noise,
                Shape::Flat => noise / 100.0,
                Shape::Confident => noise / 3.0 + if class == target { 35.0 } else { 0.0 },
                Shape::Offset => offset + noise.round() * offset / 3e7,
                Shape::Masked if class < start || class >= start + width => {
                    f64::NEG_INFINITY * sign
                }
                Shape::Masked => noise,
                Shape::Tied => (noise / 4.0).round(),
            };
            *x = crate::common::round(value, dtype);
        }
    }
}
