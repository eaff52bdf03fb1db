//! The gradient of the reference is the derivative of its loss: by finite differences, for every
//! option alone and with every other one, with class indices and with probabilities.
//!
//! D(h) = (L(x + h) - L(x - h)) / 2h has the error c2 h^2 + c4 h^4 + ...; Richardson's
//! (4 D(h/2) - D(h)) / 3 keeps -c4 h^4 / 4, which at h = 2^-9 is below 1e-12. Rounding adds about
//! 4 eps L / h, or 2e-12 for losses up to 4. The largest gradient of every row here is above 0.02,
//! so that 1e-10 of it is what `TOLERANCE` has to allow. Every column changes its row by 1e-2.

mod common;

use std::panic::catch_unwind;

use common::{Case, Target, normal, round, thinned};
use xent::reference::Results;
use xent::{DType, Denominator, Problem, Reduction};

const STEP: f64 = 1.0 / 512.0;
const TOLERANCE: f64 = 1e-10;

/// An option of a problem: how to set it, and whether a case can have it.
struct Setting {
    name: &'static str,
    set: fn(&mut Case),
    fits: fn(&Case) -> bool,
}

const fn always(name: &'static str, set: fn(&mut Case)) -> Setting {
    Setting { name, set, fits: |_| true }
}

const SETTINGS: [Setting; 16] = [
    always("smoothing 0.1", |case| case.problem.label_smoothing = 0.1),
    always("smoothing 1", |case| case.problem.label_smoothing = 1.0),
    always("class weights", |case| {
        case.problem.class_weights = true;
        case.class_weights = Some(vec![0.5, -0.75, 1.25, 2.0]);
    }),
    always("row weights", |case| {
        case.problem.row_weights = true;
        case.row_weights = Some(vec![1.75, -0.5, 0.25]);
    }),
    Setting {
        name: "ignored row",
        set: |case| case.problem.ignore_index = Some(2),
        fits: |case| !case.problem.targets_are_probabilities(),
    },
    always("logit scale 1.5", |case| case.problem.logit_scale = 1.5),
    always("logit scale -0.5", |case| case.problem.logit_scale = -0.5),
    always("softcap 2", |case| case.problem.softcap = Some(2.0)),
    always("softcap 30", |case| case.problem.softcap = Some(30.0)),
    always("z-loss", |case| case.problem.z_loss = 0.25),
    always("z-loss below 0", |case| case.problem.z_loss = -0.125),
    always("no reduction", |case| case.problem.reduction = Reduction::None),
    always("mean", |case| case.problem.reduction = Reduction::Mean),
    always("upstream gradient", |case| case.dloss = Some(vec![-2.5])),
    Setting {
        name: "upstream gradient for each row",
        set: |case| case.dloss = Some(vec![1.5, -0.25, 3.0]),
        fits: |case| case.problem.reduction == Reduction::None,
    },
    Setting {
        name: "denominator",
        set: |case| case.denominator = Denominator::Value(5.0),
        fits: |case| case.problem.reduction == Reduction::Mean,
    },
];

/// Three rows of four classes, summed, without an option.
fn plain(targets: DType) -> Case {
    let problem = Problem::new(DType::F64, 4).targets(targets).reduction(Reduction::Sum);
    let case = Case::new(problem, 3, normal(17, 12, 0.8), 3);
    if targets.is_float() { case } else { case.targets(&[1, 2, 0]) }
}

/// The case with two settings, if it can have them; reductions are set before what needs them.
fn with(mut case: Case, a: &Setting, b: &Setting) -> Option<Case> {
    let (first, second) = if (a.fits)(&case) { (a, b) } else { (b, a) };
    for setting in [first, second] {
        (setting.fits)(&case).then(|| (setting.set)(&mut case))?;
    }
    (second.fits)(&case).then_some(case)
}

/// What the gradient is the derivative of: the losses, times the upstream gradient.
fn objective(case: &Case) -> f64 {
    let Results { loss, .. } = case.reference();
    let upstream = |row: usize| match case.dloss.as_deref() {
        None => 1.0,
        Some([one]) => f64::from(*one),
        Some(rows) => f64::from(rows[row]),
    };
    loss.iter().enumerate().map(|(row, loss)| upstream(row) * loss).sum()
}

fn derivative(case: &Case, at: usize) -> f64 {
    let difference = |step: f64| {
        let at_offset = |offset: f64| {
            let mut case = case.clone();
            case.logits[at] += offset;
            objective(&case)
        };
        (at_offset(step) - at_offset(-step)) / (2.0 * step)
    };
    (4.0 * difference(STEP / 2.0) - difference(STEP)) / 3.0
}

fn derivatives(case: &Case) -> Vec<f64> {
    (0..case.logits.len()).map(|at| derivative(case, at)).collect()
}

/// The largest difference in a row, relative to the largest element of the row.
fn error(case: &Case, gradient: &[f64], derivatives: &[f64]) -> f64 {
    let classes = case.problem.classes;
    let rows = gradient.chunks(classes).zip(derivatives.chunks(classes));
    rows.map(|(a, b)| {
        let largest = b.iter().fold(0.0, |largest: f64, b| largest.max(b.abs()));
        let off = a.iter().zip(b).fold(0.0, |off: f64, (a, b)| off.max((a - b).abs()));
        if off == 0.0 { 0.0 } else { off / largest }
    })
    .fold(0.0, f64::max)
}

fn assert_is_derivative(case: &Case, name: &str) {
    let error = error(case, &case.reference().dlogits, &derivatives(case));
    assert!(error <= TOLERANCE, "{name}: off by {error:e}");
}

#[test]
fn every_option_alone_and_with_every_other() {
    let mut combinations = 0;
    for targets in [DType::I64, DType::F64] {
        assert_is_derivative(&plain(targets), "plain");
        for (index, a) in SETTINGS.iter().enumerate() {
            for b in &SETTINGS[index..] {
                let Some(case) = with(plain(targets), a, b) else { continue };
                assert_is_derivative(&case, &format!("{} with {}, {targets}", a.name, b.name));
                combinations += 1;
            }
        }
    }
    println!("{combinations} combinations");
    assert!(combinations >= 200, "only {combinations}");
}

/// And what a device computes is this gradient, within its bounds: here in `f32`, on a GPU for some
/// of the combinations.
#[test]
fn a_plan_computes_this_gradient() {
    for targets in [DType::I64, DType::F32] {
        let pairs = SETTINGS.iter().enumerate();
        let pairs = pairs.flat_map(|(index, a)| SETTINGS[index..].iter().map(move |b| (a, b)));
        for (a, b) in thinned(pairs, 12) {
            let mut plain = plain(targets);
            (plain.problem.logits, plain.problem.dlogits) = (DType::F32, DType::F32);
            plain.problem.output = DType::F32;
            plain.logits.iter_mut().for_each(|x| *x = round(*x, DType::F32));
            let Some(case) = with(plain, a, b) else { continue };
            if catch_unwind(|| case.check()).is_err() {
                panic!("{} with {}, {targets}", a.name, b.name);
            }
        }
    }
}

#[test]
fn all_options_at_once() {
    for targets in [DType::I64, DType::F64] {
        for per_row in [false, true] {
            let mut case = plain(targets);
            for setting in &SETTINGS {
                if (setting.fits)(&case) {
                    (setting.set)(&mut case);
                }
            }
            let (reduction, dloss) = match per_row {
                true => (Reduction::None, vec![1.5, -0.25, 3.0]),
                false => (Reduction::Mean, vec![-2.5]),
            };
            (case.problem.reduction, case.dloss) = (reduction, Some(dloss));
            case.problem.label_smoothing = 0.1; // 1 would leave no trace of the targets
            assert_is_derivative(&case, &format!("all, {targets}, per row: {per_row}"));
        }
    }
}

/// An implementation that forgets an option fails.
#[test]
fn a_gradient_without_the_option_is_not_the_derivative() {
    for targets in [DType::I64, DType::F64] {
        let without = plain(targets);
        for setting in &SETTINGS {
            let Some(case) = with(without.clone(), setting, setting) else { continue };
            let error = error(&case, &without.reference().dlogits, &derivatives(&case));
            let forgotten = error > 1e4 * TOLERANCE;
            let changes = setting.name != "no reduction"; // the sum has the same gradient
            assert_eq!(forgotten, changes, "{}: {error:e}", setting.name);
        }
    }
}

/// One wrong element fails, however little it is off.
#[test]
fn a_gradient_with_a_wrong_element_is_not_the_derivative() {
    let case = plain(DType::I64);
    let derivatives = derivatives(&case);
    let Target::Classes(targets) = &case.target else { unreachable!() };
    let target = targets[0] as usize;
    type Mutate = fn(&mut [f64], usize); // a row of the gradient, and its target
    let mutants: [(&str, Mutate); 5] = [
        ("an element is 0", |row, target| row[(target + 1) % 4] = 0.0),
        ("the target's sign is wrong", |row, target| row[target] = -row[target]),
        ("the target's 1 is missing", |row, target| row[target] += 1.0),
        ("off by 1e-8", |row, _| row.iter_mut().for_each(|x| *x *= 1.0 + 1e-8)),
        ("columns are swapped", |row, target| row.swap((target + 1) % 4, (target + 2) % 4)),
    ];
    for (name, mutate) in mutants {
        let mut gradient = case.reference().dlogits;
        mutate(&mut gradient[..4], target);
        assert!(error(&case, &gradient, &derivatives) > 10.0 * TOLERANCE, "{name} passes");
    }
}
