//! The kernels meet the promised error bounds on every element: all numbers of classes, dtypes,
//! distributions and options. And the bounds mean something: they catch a dropped column.
//!
//! A failing case prints its name, which holds its seed.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Case, Output, Target, bounds, normal, round, sized, thinned};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xent::{DType, Denominator, Problem, Reduction};

const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// An option, or a setting of one.
struct Knob {
    /// Of one group, a problem has at most one knob.
    group: &'static str,
    name: &'static str,
    problem: fn(Problem) -> Problem,
    case: fn(Case) -> Case,
}

const fn option(group: &'static str, name: &'static str, problem: fn(Problem) -> Problem) -> Knob {
    Knob { group, name, problem, case: |case| case }
}

const KNOBS: [Knob; 36] = [
    option("smoothing", "smoothing 0.1", |p| p.label_smoothing(0.1)),
    option("smoothing", "smoothing 1e-6", |p| p.label_smoothing(1e-6)),
    option("smoothing", "smoothing 1", |p| p.label_smoothing(1.0)),
    option("weights", "class weights", |p| p.class_weights(true)),
    Knob {
        group: "weights",
        name: "many classes of weight 0",
        problem: |p| p.class_weights(true),
        case: |mut case| {
            let weights = case.class_weights.iter_mut().flatten().enumerate();
            weights.filter(|(class, _)| class % 3 == 1).for_each(|(_, weight)| *weight = 0.0);
            case
        },
    },
    Knob {
        group: "weights",
        name: "class weights of both signs",
        problem: |p| p.class_weights(true),
        case: |mut case| {
            let weights = case.class_weights.iter_mut().flatten();
            weights.step_by(2).for_each(|weight| *weight = -*weight);
            case
        },
    },
    option("row weights", "row weights", |p| p.row_weights(true)),
    Knob {
        group: "row weights",
        name: "negative row weight",
        problem: |p| p.row_weights(true),
        case: |mut case| {
            case.row_weights.iter_mut().for_each(|weights| weights[0] *= -0.125);
            case
        },
    },
    option("softcap", "softcap 0.5", |p| p.softcap(0.5)),
    option("softcap", "softcap 30", |p| p.softcap(30.0)),
    option("softcap", "softcap 1e6", |p| p.softcap(1e6)),
    option("scale", "scale 0.7", |p| p.logit_scale(0.7)),
    option("scale", "scale -1.5", |p| p.logit_scale(-1.5)),
    option("scale", "scale 1e-30", |p| p.logit_scale(1e-30)),
    option("scale", "scale 1e-3", |p| p.logit_scale(1e-3)),
    option("scale", "scale 1e6", |p| p.logit_scale(1e6)),
    option("z-loss", "z-loss 1e-4", |p| p.z_loss(1e-4)),
    option("z-loss", "z-loss 2", |p| p.z_loss(2.0)),
    option("z-loss", "z-loss -0.1", |p| p.z_loss(-0.1)),
    Knob {
        group: "targets",
        name: "ignored rows",
        problem: |p| p.ignore_index(-100),
        case: |mut case| {
            let Target::Classes(y) = &mut case.target else { unreachable!() };
            y.iter_mut().step_by(2).for_each(|y| *y = -100);
            case
        },
    },
    option("targets", "an ignored class", |p| p.ignore_index(0)),
    option("targets", "i32 targets", |p| p.targets(DType::I32)),
    option("targets", "u8 targets", |p| p.targets(DType::U8)),
    option("targets", "f32 probabilities", |p| p.targets(DType::F32)),
    option("targets", "f16 probabilities", |p| p.targets(DType::F16)),
    option("targets", "bf16 probabilities", |p| p.targets(DType::BF16)),
    Knob {
        group: "targets",
        name: "probabilities that add up to much",
        problem: |p| p.targets(DType::F32),
        case: |mut case| {
            let Target::Probabilities(q) = &mut case.target else { unreachable!() };
            q.iter_mut().step_by(3).for_each(|q| *q *= 256.0);
            case
        },
    },
    option("reduction", "none", |p| p.reduction(Reduction::None)),
    option("reduction", "sum", |p| p.reduction(Reduction::Sum)),
    Knob {
        group: "reduction",
        name: "upstream gradient of each row",
        problem: |p| p.reduction(Reduction::None),
        case: |case| {
            let upstream = [1e-3, -2.0, 0.0, 7.5].into_iter().cycle().take(case.rows);
            let upstream: Vec<f32> = upstream.collect();
            case.dloss(&upstream)
        },
    },
    Knob {
        group: "reduction",
        name: "upstream gradient of a mean",
        problem: |p| p,
        case: |case| case.dloss(&[-65536.0]),
    },
    Knob {
        group: "reduction",
        name: "denominator 12345.5",
        problem: |p| p,
        case: |mut case| {
            case.denominator = Denominator::Value(12345.5);
            case
        },
    },
    Knob {
        group: "reduction",
        name: "denominator 1e-3",
        problem: |p| p,
        case: |mut case| {
            case.denominator = Denominator::Value(1e-3);
            case
        },
    },
    option("gradient", "f32 gradient", |p| p.dlogits(DType::F32)),
    option("rows", "many rows expected", |p| p.expected_rows(1 << 20)),
    option("rows", "alignment 2", |p| p.alignment(2)),
];

/// Sets the logits of a case, from a seed.
type Distribution = fn(&mut Case, u64);

/// Logits that are hard in some way.
const DISTRIBUTIONS: [(&str, Distribution); 14] = [
    ("normal 0.02", |case, seed| logits(case, normal(seed, case.logits.len(), 0.02))),
    ("normal 1", |case, seed| logits(case, normal(seed, case.logits.len(), 1.0))),
    ("normal 3", |case, seed| logits(case, normal(seed, case.logits.len(), 3.0))),
    ("normal 9", |case, seed| logits(case, normal(seed, case.logits.len(), 9.0))),
    ("uniform", |case, seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        logits(case, (0..case.logits.len()).map(|_| rng.random_range(-4.0..4.0)).collect());
    }),
    ("flat", |case, _| logits(case, vec![0.7; case.logits.len()])),
    // All other addends are equal, so that all rounding errors of the sum point the same way.
    ("equal addends", |case, seed| {
        let gap = 0.1 + (seed % 64) as f64 / 32.0;
        spike(case, vec![0.0; case.logits.len()], |_| gap);
    }),
    ("peaked", |case, seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let (classes, mut x) = (case.problem.classes, normal(seed, case.logits.len(), 1.0));
        x.chunks_mut(classes).for_each(|row| row[rng.random_range(0..classes)] += 20.0);
        logits(case, x);
    }),
    ("confident", |case, seed| {
        let x = normal(seed, case.logits.len(), 1.0);
        spike(case, x, |row| 8.0 + ((seed as usize + row) % 23) as f64);
    }),
    ("offset 1e4", |case, seed| offset(case, seed, 1e4)),
    ("offset 1e6", |case, seed| offset(case, seed, 1e6)),
    ("offset 1e8", |case, seed| offset(case, seed, -1e8)),
    ("extreme", |case, seed| {
        let signs = normal(seed, case.logits.len(), 1.0);
        logits(case, signs.into_iter().map(|x| 65504f64.copysign(x)).collect());
    }),
    ("half the classes -inf", |case, seed| {
        let x = normal(seed, case.logits.len(), 3.0).into_iter().enumerate();
        let some = |at: usize| (at * 7 + seed as usize) % 16 < 8;
        logits(case, x.map(|(at, x)| if some(at) { f64::NEG_INFINITY } else { x }).collect());
    }),
];

fn logits(case: &mut Case, x: Vec<f64>) {
    case.logits = x.into_iter().map(|x| round(x, case.problem.logits)).collect();
}

/// Puts the target of each row this far ahead of the other classes.
fn spike(case: &mut Case, mut x: Vec<f64>, gap: impl Fn(usize) -> f64) {
    for (row, x) in x.chunks_mut(case.problem.classes).enumerate() {
        let at = match &case.target {
            Target::Classes(y) => y[row].max(0) as usize,
            Target::Probabilities(_) => row % x.len(),
        };
        x[at] = x.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b)) + gap(row);
    }
    logits(case, x);
}

/// Far from 0. What f16 cannot hold is as far as it goes.
fn offset(case: &mut Case, seed: u64, offset: f64) {
    let far = if case.problem.logits == DType::F16 { offset.clamp(-6e4, 6e4) } else { offset };
    logits(case, normal(seed, case.logits.len(), 3.0).into_iter().map(|x| x + far).collect());
}

/// Builds a case and holds it against the bounds.
fn check(dtype: DType, classes: usize, rows: usize, knobs: &[&Knob], logits: usize, seed: u64) {
    let (name, distribution) = DISTRIBUTIONS[logits];
    let problem = Problem::new(dtype, classes);
    let problem = knobs.iter().fold(problem, |problem, knob| (knob.problem)(problem));
    let case = Case::new(problem, rows, vec![0.0; rows * classes], seed);
    let mut case = knobs.iter().fold(case, |case, knob| (knob.case)(case));
    distribution(&mut case, seed);
    let knobs: Vec<_> = knobs.iter().map(|knob| knob.name).collect();
    if catch_unwind(AssertUnwindSafe(|| case.check())).is_err() {
        panic!("{dtype}, {rows} x {classes}, {name}, {knobs:?}, seed {seed}");
    }
}

/// A few knobs that go together.
fn draw(rng: &mut StdRng, most: usize) -> Vec<&'static Knob> {
    let mut knobs: Vec<&Knob> = vec![];
    for _ in 0..rng.random_range(0..=most) {
        let knob = &KNOBS[rng.random_range(0..KNOBS.len())];
        if knobs.iter().all(|other| other.group != knob.group) {
            knobs.push(knob);
        }
    }
    knobs
}

#[test]
fn every_number_of_classes_up_to_2100() {
    let mut rng = StdRng::seed_from_u64(1);
    for (classes, dtype) in thinned((1..=2100).flat_map(|c| DTYPES.map(|d| (c, d))), 6) {
        let knobs = draw(&mut rng, 3);
        let logits = rng.random_range(0..DISTRIBUTIONS.len());
        check(dtype, classes, 2, &knobs, logits, classes as u64);
    }
}

#[test]
fn around_powers_of_two_and_real_vocabularies() {
    let powers = (1..=18).flat_map(|k| [(1 << k) - 1, 1 << k, (1 << k) + 1]);
    let mut rng = StdRng::seed_from_u64(2);
    let sizes = powers.chain([32_000, 50_257, 128_256]);
    for (classes, dtype) in thinned(sizes.flat_map(|c| DTYPES.map(|d| (c, d))), 4) {
        let knobs = draw(&mut rng, 2);
        let logits = rng.random_range(0..DISTRIBUTIONS.len());
        check(dtype, classes, 1, &[], logits, classes as u64);
        check(dtype, classes, 1, &knobs, (logits + 5) % DISTRIBUTIONS.len(), classes as u64);
    }
}

#[test]
fn every_distribution() {
    let sizes = [(3, 2), (5, 7), (4, 33), (3, 1000), (2, 4097), (1, 50_257)];
    for (dtype, (rows, classes)) in thinned(DTYPES.iter().flat_map(|d| sizes.map(|s| (*d, s))), 6) {
        for logits in 0..DISTRIBUTIONS.len() {
            check(dtype, classes, rows, &[], logits, (rows + classes) as u64);
        }
    }
}

#[test]
fn every_option() {
    for (index, knob) in KNOBS.iter().enumerate() {
        let sizes = DTYPES.into_iter().zip([5, 37, 1100]);
        let size = sized(0..3, index % 3..index % 3 + 1); // on a GPU one of them
        for (dtype, classes) in sizes.skip(size.start).take(size.len()) {
            for logits in thinned(0..DISTRIBUTIONS.len(), 3) {
                check(dtype, classes, 5, &[knob], logits, index as u64);
            }
        }
    }
}

#[test]
fn every_pair_of_options_and_some_larger_sets() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut check_in_all_dtypes = |knobs: &[&Knob], seed: u64| {
        for dtype in thinned(DTYPES, 1) {
            let classes = [3, 17, 64, 129, 1030][rng.random_range(0..5)];
            let logits = rng.random_range(0..DISTRIBUTIONS.len());
            check(dtype, classes, 5, knobs, logits, seed);
        }
    };
    let pairs = KNOBS.iter().enumerate().flat_map(|(index, a)| {
        let others = KNOBS[..index].iter().filter(|b| b.group != a.group);
        others.map(move |b| (index, a, b))
    });
    for (index, a, b) in thinned(pairs, 6) {
        check_in_all_dtypes(&[a, b], index as u64);
    }
    let mut rng = StdRng::seed_from_u64(4);
    for seed in 0..sized(300, 4) {
        check_in_all_dtypes(&draw(&mut rng, 9), seed);
    }
}

/// 16-bit gradients are rounded once: nearly all of them are the rounded exact number.
#[test]
fn nearly_all_16_bit_gradients_are_correctly_rounded() {
    for (dtype, promised) in [(DType::F16, 0.998), (DType::BF16, 0.999)] {
        for (rows, classes) in [(64, 50), (16, 1000), (2, 50_257)] {
            for (logits, (name, distribution)) in thinned(DISTRIBUTIONS.iter().enumerate(), 6) {
                let problem = Problem::new(dtype, classes).reduction(Reduction::Sum);
                let seed = logits as u64;
                let mut case = Case::new(problem, rows, vec![0.0; rows * classes], seed);
                distribution(&mut case, seed);
                let pairs = case.run().dlogits.into_iter().zip(case.reference().dlogits);
                let equal = pairs.filter(|(actual, exact)| *actual == round(*exact, dtype));
                let share = equal.count() as f64 / (rows * classes) as f64;
                assert!(share >= promised, "{dtype}, {name}, {rows} x {classes}: {share}");
            }
        }
    }
}

/// What a kernel with a well-known bug would write, and whether the bounds see it.
fn catches(case: &Case, bug: impl FnOnce(&mut Output)) -> bool {
    let mut output = case.run();
    bounds::check(case, &output);
    bug(&mut output);
    catch_unwind(AssertUnwindSafe(|| bounds::check(case, &output))).is_err()
}

fn rows_of(classes: usize) -> Case {
    Case::random(Problem::new(DType::F32, classes).reduction(Reduction::None), 2, 5)
}

/// In each output alone. Of a flat row of 2^17 classes, a column is 7.6e-6 of the sum.
#[test]
fn the_bounds_catch_one_dropped_column() {
    for classes in thinned([2, 3, 100, 1 << 10, 1 << 14, 1 << 17], 4) {
        let mut case = rows_of(classes).targets(&[0, 0]);
        case.logits.fill(1.0);
        let mut dropped = case.clone();
        dropped.logits.chunks_mut(classes).for_each(|row| row[classes - 1] = f64::NEG_INFINITY);
        let dropped = dropped.run();
        assert!(catches(&case, |output| output.loss.clone_from(&dropped.loss)), "{classes}");
        assert!(catches(&case, |output| output.lse.clone_from(&dropped.lse)), "{classes}");
        assert!(catches(&case, |output| output.entropy.clone_from(&dropped.entropy)), "{classes}");
        assert!(catches(&case, |output| output.stats.clone_from(&dropped.stats)), "{classes}");
        assert!(catches(&case, |output| output.dlogits[1] = dropped.dlogits[1]), "{classes}");
        assert!(catches(&case, |output| output.dlogits[classes - 1] = 0.0), "{classes}");
    }
}

/// Under every option, in the mean over several rows too.
#[test]
fn the_bounds_catch_one_gradient_that_is_zero() {
    let mut rng = StdRng::seed_from_u64(6);
    for knob in thinned(&KNOBS, 6) {
        let case = Case::random((knob.problem)(Problem::new(DType::BF16, 1000)), 3, 6);
        let case = (knob.case)(case);
        let gradient = case.run().dlogits;
        let nonzero: Vec<_> = (0..gradient.len()).filter(|&at| gradient[at] != 0.0).collect();
        for _ in 0..3 {
            let at = nonzero[rng.random_range(0..nonzero.len())];
            assert!(catches(&case, |output| output.dlogits[at] = 0.0), "{at}, {}", knob.name);
        }
    }
}

#[test]
fn the_bounds_catch_lse_minus_logit() {
    let formula = |case: &Case| {
        let exact = case.reference();
        let Target::Classes(y) = case.target.clone() else { unreachable!() };
        let loss =
            |row: usize| exact.lse[row] as f32 - case.logits_row(row)[y[row] as usize] as f32;
        let wrong = vec![loss(0), loss(1)];
        catches(case, |output| output.loss = wrong)
    };
    let mut far = rows_of(1000);
    far.logits.iter_mut().for_each(|x| *x = round(*x + 1e4, DType::F32));
    assert!(formula(&far), "offset 1e4");
    let mut confident = rows_of(1000).targets(&[7, 999]);
    confident.logits[7] = 30.0;
    confident.logits[1999] = 30.0;
    assert!(formula(&confident), "target ahead");
}

#[test]
fn the_bounds_catch_16_bits_in_between() {
    for dtype in DTYPES {
        let problem = Problem::new(dtype, 1000).reduction(Reduction::None);
        let case = Case::random(problem, 2, 9);
        let exact = case.reference();
        let bf16 = |x: f64| round(x, DType::BF16);
        let losses = [bf16(exact.loss[0]) as f32, exact.loss[1] as f32];
        assert!(catches(&case, |output| output.loss = losses.to_vec()), "{dtype}: loss in bf16");

        let p = |at: usize| (case.logits[at] - bf16(exact.lse[at / 1000])).exp();
        let Target::Classes(y) = &case.target else { unreachable!() };
        let target = y[0] as usize;
        let off = (target + 1) % 1000;
        let from_lse = round(p(off), dtype);
        assert!(catches(&case, |output| output.dlogits[off] = from_lse), "{dtype}: lse in bf16");

        // A target with p near 1, from which 1 is subtracted after p was rounded.
        let mut case = case.clone();
        case.logits[target] = 20.0;
        let exact = 1.0 + case.reference().dlogits[target];
        let late = round(exact, dtype) - 1.0;
        assert!(catches(&case, |output| output.dlogits[target] = late), "{dtype}: 1 - p");
    }
}

#[test]
fn the_bounds_catch_a_wrong_factor() {
    let weighted = Problem::new(DType::F16, 50).class_weights(true).ignore_index(3);
    let case = Case::random(weighted, 4, 10).targets(&[0, 3, 7, 49]);
    let exact = case.reference();
    let ulp = bounds::ulp(exact.loss[0], DType::F32);
    assert!(catches(&case, |output| output.loss[0] += 64.0 * ulp as f32), "a loss of 64 ulp");
    assert!(catches(&case, |output| output.loss[0] *= 3.0 / 4.0), "ignored rows counted");
    assert!(catches(&case, |output| output.dlogits[50] = -0.0), "an ignored row's gradient");
    assert!(catches(&case, |output| output.correct += 1), "one more correct row");
    let upstream = rows_of(20).dloss(&[2.0, 3.0]);
    let first = upstream.clone().dloss(&[2.0, 2.0]).run().dlogits;
    assert!(catches(&upstream, |output| output.dlogits = first), "the first upstream gradient");
}
