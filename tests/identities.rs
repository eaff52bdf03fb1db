//! What losses, softmax and entropies have to do with each other, and calls that say the same thing in
//! two ways. Bit for bit where the arithmetic is the same, else within the promised bounds of both
//! sides, which are less than what one column more or less would do.
#![cfg(not(miri))] // thousands of runs

mod common;
mod random;
mod trial;
#[path = "trial/random.rs"]
mod trials;

use std::f64::consts::LOG2_E;

use common::{Case, Target, bounds, context, round, sized};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestCaseResult};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use random::{FLOATS, layout};
use trial::operations::{LOSSES, OF_ELEMENTS, Of, SOFTMAXES};
use trial::{Found, Trial};
use trials::{classes, losses, softmaxes};
use xent::reference::{Targets, backward, compute};
use xent::{Clip, DType, Denominator, Form, Layout, Operation, Outputs, Problem, Reduction, Unit};

const BOTH: Outputs = Outputs::LOSS.union(Outputs::DLOGITS);

/// The same 800 cases each time, on a GPU three, or as many random ones as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let rng_seed = if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) };
    let cases = asked.unwrap_or(sized(800, 3));
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

fn run(trial: &Trial) -> Found {
    trial.run(&context())
}

/// The losses, and what each may be off by.
fn loss(trial: &Trial) -> (Vec<f64>, Vec<f64>) {
    let exact = compute(&trial.problem, &trial.inputs()).unwrap();
    (run(trial).loss, trial.of_losses(&exact.loss))
}

/// Sums of numbers at the same place.
fn sums(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn scaled(x: &[f64], by: f64) -> Vec<f64> {
    x.iter().map(|x| x * by).collect()
}

/// What is too large for a type is infinite in it.
fn overflown(x: Vec<f64>, dtype: DType) -> Vec<f64> {
    let own = |x: f64| if round(x, dtype).is_infinite() { round(x, dtype) } else { x };
    x.into_iter().map(own).collect()
}

/// Numbers are near each other, infinite ones equal.
fn near(a: &[f64], b: &[f64], allowed: &[f64]) -> TestCaseResult {
    prop_assert_eq!(a.len(), b.len());
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        let same = a == b || a.is_nan() && b.is_nan();
        let off = (a - b).abs();
        prop_assert!(
            same || off <= allowed[index],
            "{}: {:e} and {:e}, {:.3} times",
            index,
            a,
            b,
            off / allowed[index]
        );
    }
    Ok(())
}

/// The trial with some of its rows, in this order.
fn take_rows(trial: &Trial, rows: &[usize]) -> Trial {
    let classes = trial.problem.classes;
    let wide = |x: &[f64]| rows.iter().flat_map(|r| x[r * classes..][..classes].to_vec()).collect();
    let mut taken = trial.clone();
    taken.layout = Layout::rows(rows.len(), classes);
    taken.logits = wide(&trial.logits);
    taken.probabilities = wide(&trial.probabilities);
    taken.upstream = wide(&trial.upstream);
    taken.element_weights = trial.element_weights.as_deref().map(wide);
    taken.classes = rows.iter().map(|&row| trial.classes[row]).collect();
    let of_rows = |x: &Vec<f64>| rows.iter().map(|&row| x[row]).collect();
    taken.row_weights = trial.row_weights.as_ref().map(of_rows);
    taken
}

/// What a row says of all of these.
fn of_row(all: &[Vec<u64>; 5], row: usize, rows: usize) -> [&[u64]; 5] {
    all.each_ref().map(|all| all.chunks(all.len().max(rows) / rows).nth(row).unwrap_or(&[]))
}

/// Any loss, softmax or logarithm.
fn any_trial() -> impl Strategy<Value = Trial> {
    prop_oneof![3 => losses(LOSSES), 1 => softmaxes(SOFTMAXES)]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_softmax_sums_to_one(trial in softmaxes(&[Problem::softmax])) {
        let exact = compute(&trial.problem, &trial.inputs()).unwrap().output;
        let (p, allowed) = (run(&trial).output, trial.of_softmax(&exact));
        let classes = trial.problem.classes;
        for (p, allowed) in p.chunks(classes).zip(allowed.chunks(classes)) {
            near(&[p.iter().sum()], &[1.0], &[allowed.iter().sum()])?;
        }
    }

    #[test]
    fn the_exponential_of_a_log_softmax_is_the_softmax(trial in softmaxes(&[Problem::softmax])) {
        let mut logarithm = trial.clone();
        logarithm.problem = trial.problem.clone().operation(Operation::LogSoftmax);
        let exact = |trial: &Trial| compute(&trial.problem, &trial.inputs()).unwrap().output;
        let (p, log_p) = (exact(&trial), exact(&logarithm));
        let off = logarithm.of_softmax(&log_p);
        let off: Vec<f64> = off.iter().zip(&p).map(|(off, p)| p * off.exp_m1()).collect();
        let exponentials: Vec<f64> = run(&logarithm).output.iter().map(|l| l.exp()).collect();
        near(&exponentials, &run(&trial).output, &sums(&off, &trial.of_softmax(&p)))?;
    }

    /// Logits in steps of 1/16 and whole shifts are exact in `f32`. A GPU subtracts the largest logit
    /// first, the CPU only far from 0.
    #[test]
    fn an_exact_shift_changes_no_bit(
        trial in softmaxes(SOFTMAXES),
        shifts in vec(-65_536i32..=65_536, 7),
    ) {
        let mut trial = trial;
        trial.problem.logits = DType::F32;
        (trial.problem.output, trial.problem.dlogits) = (DType::F32, DType::F32);
        let far = sized(524_288.0, 0.0);
        if far != 0.0 {
            trial.problem.logit_scale = 1.0;
        }
        trial.logits.iter_mut().for_each(|x| *x = far + ((*x % 15.0) * 16.0).round() / 16.0);
        let mut shifted = trial.clone();
        for (row, shift) in shifted.logits.chunks_mut(trial.problem.classes).zip(&shifts) {
            row.iter_mut().for_each(|x| *x += f64::from(*shift));
        }
        prop_assert_eq!(run(&shifted).bits(), run(&trial).bits());
    }

    /// Of a label l and a prediction p: the classes 0 and 1 with [1 - l, l] and [1 - p, p].
    #[test]
    fn a_binary_cross_entropy_is_one_of_two_classes(
        dtype in select(FLOATS),
        pairs in vec((0..=256u16, 0..=1024u16), 1..40),
        clip in select(&[Clip::None, Clip::Range(1e-3), Clip::Logarithm(2.0)][..]),
    ) {
        let p: Vec<f64> = pairs.iter().map(|pair| f64::from(pair.0) / 256.0).collect();
        let l: Vec<f64> = pairs.iter().map(|pair| f64::from(pair.1) / 1024.0).collect();
        let of_two = |x: &[f64]| x.iter().flat_map(|x| [1.0 - x, *x]).collect();
        let of_elements = Problem::bce(dtype, p.len()).reduction(Reduction::Elements);
        let mut binary = Trial::packed(of_elements, 1, 0);
        (binary.logits, binary.probabilities) = (p.clone(), l.clone());
        let of_rows = Problem::cross_entropy_from_probs(dtype, 2).reduction(Reduction::None);
        let mut of_classes = Trial::packed(of_rows.targets(DType::F32), p.len(), 0);
        (of_classes.logits, of_classes.probabilities) = (of_two(&p), of_two(&l));
        for trial in [&mut binary, &mut of_classes] {
            trial.problem = trial.problem.clone().clip(clip).dlogits(DType::F32).outputs(BOTH);
        }
        let (a, b) = (loss(&binary), loss(&of_classes));
        near(&a.0, &b.0, &sums(&a.1, &b.1))?;
        if !matches!(clip, Clip::Logarithm(_)) {
            let exact = |trial: &Trial| compute(&trial.problem, &trial.inputs()).unwrap().dlogits;
            let of_p = |g: &[f64], sign: f64| -> Vec<f64> {
                g.chunks(2).map(|g| g[1] + sign * g[0]).collect()
            };
            let off = of_p(&of_classes.of_gradient(&exact(&of_classes)), 1.0);
            let allowed = sums(&off, &binary.of_gradient(&exact(&binary)));
            near(&run(&binary).dlogits, &of_p(&run(&of_classes).dlogits, -1.0), &allowed)?;
        }
    }

    /// Of the logits 0 and x.
    #[test]
    fn a_binary_cross_entropy_with_logits_is_one_of_two_classes(
        dtype in select(FLOATS),
        pairs in vec((-60.0..60.0f64, 0..=1024u16), 1..40),
    ) {
        let x: Vec<f64> = pairs.iter().map(|pair| round(pair.0, dtype)).collect();
        let l: Vec<f64> = pairs.iter().map(|pair| f64::from(pair.1) / 1024.0).collect();
        let problem = Problem::bce_with_logits(dtype, x.len()).reduction(Reduction::Elements);
        let mut binary = Trial::packed(problem.dlogits(DType::F32).outputs(BOTH), 1, 0);
        (binary.logits, binary.probabilities) = (x.clone(), l.clone());
        let problem = Problem::new(dtype, 2).targets(DType::F32).dlogits(DType::F32);
        let of_two = x.iter().flat_map(|x| [0.0, *x]).collect();
        let mut fused = Case::new(problem.reduction(Reduction::None), x.len(), of_two, 0);
        fused.target = Target::Probabilities(l.iter().flat_map(|l| [1.0 - l, *l]).collect());

        let exact = compute(&binary.problem, &binary.inputs()).unwrap();
        let (found, output) = (run(&binary), fused.run());
        let of_loss = |row: usize| bounds::loss(&fused, row) + 0.5 * bounds::ulp(exact.loss[row], DType::F32);
        let of_fused: Vec<f64> = (0..x.len()).map(of_loss).collect();
        let losses: Vec<f64> = output.loss.iter().map(|&loss| loss.into()).collect();
        near(&found.loss, &losses, &sums(&of_fused, &binary.of_losses(&exact.loss)))?;
        let of_gradient = |row: usize| {
            let rounding = 0.5 * bounds::ulp(exact.dlogits[row], DType::F32);
            bounds::gradient(&fused, row)[1] + rounding
        };
        let of_fused: Vec<f64> = (0..x.len()).map(of_gradient).collect();
        let gradient: Vec<f64> = output.dlogits.iter().skip(1).step_by(2).copied().collect();
        near(&found.dlogits, &gradient, &sums(&of_fused, &binary.of_gradient(&exact.dlogits)))?;
    }

    /// H(p, q) = H(p) + KL(p, q), of q or its logarithm.
    #[test]
    fn a_cross_entropy_is_an_entropy_and_a_divergence(
        (dtype, form) in (select(FLOATS), select(&[Form::Probabilities, Form::LogProbabilities][..])),
        (classes, rows) in (classes(), 1..=7usize),
        seed: u64,
    ) {
        let problem = Problem::kl_div(dtype, classes).input(form).reduction(Reduction::None);
        let divergence = Trial::packed(problem, rows, seed);
        let (mut cross_entropy, mut entropy) = (divergence.clone(), divergence.clone());
        cross_entropy.problem.operation = Operation::CrossEntropy;
        entropy.problem = Problem::entropy(DType::F32, classes);
        entropy.logits = divergence.probabilities.clone();
        let (a, b, c) = (loss(&cross_entropy), loss(&entropy), loss(&divergence));
        near(&a.0, &sums(&b.0, &c.0), &sums(&a.1, &sums(&b.1, &c.1)))?;
    }

    /// The loss, and the gradient from the one's backward of the other's gradient.
    #[test]
    fn nll_of_a_log_softmax_is_the_fused_cross_entropy(
        trial in softmaxes(&[Problem::log_softmax]),
        (soft, weighted, smooth, ignoring) in any::<(bool, bool, bool, bool)>(),
        seed: u64,
    ) {
        let (classes, mut trial) = (trial.problem.classes, trial);
        trial.problem = trial.problem.output(DType::F32).dlogits(DType::F32);
        let log_p = run(&trial).output;

        let mut problem = Problem::nll_loss(DType::F32, classes).reduction(Reduction::None);
        (problem.class_weights, problem.row_weights) = (weighted, weighted);
        problem.label_smoothing = if smooth { 0.1 } else { 0.0 };
        match soft {
            true => problem.targets = DType::F32,
            false => problem.ignore_index = ignoring.then_some(0),
        }
        let mut nll = Trial::packed(problem.outputs(BOTH), trial.rows(), seed);
        nll.logits = log_p.clone();
        for weights in [&mut nll.class_weights, &mut nll.row_weights].into_iter().flatten() {
            weights.iter_mut().for_each(|w| *w = w.abs());
        }
        let of_nll = run(&nll);
        trial.upstream = of_nll.dlogits.clone();
        let dlogits = run(&trial).backward;
        let fused = fused(&nll, &trial);
        let output = fused.run();

        // What log p may be off by is weighted as it is.
        let exact = compute(&nll.problem, &nll.inputs()).unwrap();
        let exact_log_p = compute(&trial.problem, &trial.inputs()).unwrap().output;
        let off = trial.of_softmax(&exact_log_p);
        let mut weighted = nll.clone();
        weighted.logits = scaled(&off, -1.0);
        let from_log_p = compute(&nll.problem, &weighted.inputs()).unwrap().loss;
        let of_loss = |row: usize| {
            let loss: f64 = output.loss[row].into();
            bounds::loss(&fused, row) + 0.5 * bounds::ulp(loss, DType::F32) + from_log_p[row]
        };
        let allowed: Vec<f64> = (0..trial.rows()).map(of_loss).collect();
        let losses: Vec<f64> = output.loss.iter().map(|&loss| loss.into()).collect();
        near(&of_nll.loss, &losses, &sums(&nll.of_losses(&exact.loss), &allowed))?;

        let of_g = nll.of_gradient(&exact.dlogits);
        let exact = backward(&trial.problem, &log_p, &trial.upstream).unwrap();
        let mut allowed = trial.of_backward(&log_p, &exact);
        for (row, of_row) in allowed.chunks_mut(classes).enumerate() {
            let columns = row * classes..(row + 1) * classes;
            let of_fused = bounds::gradient(&fused, row);
            let sum = trial.upstream[columns.clone()].iter().sum::<f64>().abs();
            let of_sum: f64 = of_g[columns.clone()].iter().sum();
            let scale = trial.problem.logit_scale.abs();
            for ((at, allowed), of_fused) in columns.zip(of_row).zip(of_fused) {
                let rounding = 0.5 * bounds::ulp(exact[at], DType::F32);
                let of_p = off[at].exp_m1() * sum + of_sum;
                *allowed += of_fused + rounding + scale * (of_g[at] + exact_log_p[at].exp() * of_p);
            }
        }
        near(&dlogits, &output.dlogits, &allowed)?;
    }

    /// Without smoothing and weights, but for the sign of a 0 in the gradient.
    #[test]
    fn one_hot_probabilities_are_class_indices(
        of in select(&[Problem::nll_loss as Of, Problem::cross_entropy_from_probs][..]),
        dtype in select(FLOATS),
        (classes, rows, seed) in (classes(), 1..=7usize, any::<u64>()),
        reduction in select(&[Reduction::None, Reduction::Mean, Reduction::Sum][..]),
    ) {
        let problem = of(dtype, classes).reduction(reduction).outputs(BOTH);
        let sparse = Trial::packed(problem, rows, seed);
        let one_hot = |&y: &i64| (0..classes).map(move |c| f64::from(u8::from(c as i64 == y)));
        let mut categorical = sparse.clone();
        categorical.problem.targets = dtype;
        categorical.probabilities = sparse.classes.iter().flat_map(one_hot).collect();
        let [a, b] = [&sparse, &categorical].map(|trial| {
            let found = run(trial);
            let dlogits = found.dlogits.iter().map(|g| g + 0.0).collect();
            Found { dlogits, ..found }.bits()
        });
        prop_assert_eq!(a, b);
    }

    #[test]
    fn bits_are_nats_over_log_2(trial in losses(LOSSES)) {
        let (mut nats, mut two) = (trial.clone(), trial);
        (nats.problem.unit, two.problem.unit) = (Unit::Nats, Unit::Bits);
        let exact = |trial: &Trial| compute(&trial.problem, &trial.inputs()).unwrap();
        let (a, b) = (run(&nats), run(&two));
        let of_nats = scaled(&nats.of_losses(&exact(&nats).loss), LOG2_E);
        let allowed = sums(&of_nats, &two.of_losses(&exact(&two).loss));
        near(&scaled(&a.loss, LOG2_E), &b.loss, &allowed)?;
        let of_nats = scaled(&nats.of_gradient(&exact(&nats).dlogits), LOG2_E);
        let allowed = sums(&of_nats, &two.of_gradient(&exact(&two).dlogits));
        let dtype = two.problem.dlogits;
        near(&overflown(scaled(&a.dlogits, LOG2_E), dtype), &b.dlogits, &allowed)?;
    }

    /// What is divided is the same sum, which is rounded once.
    #[test]
    fn reductions_agree(trial in losses(OF_ELEMENTS)) {
        let (rows, classes) = (trial.rows(), trial.problem.classes);
        let reduced = |reduction| {
            let mut trial = trial.clone();
            trial.problem.reduction = reduction;
            loss(&trial)
        };
        let halves = |x: &[f64]| -> Vec<f64> {
            x.iter().map(|&x| 0.5000001 * bounds::ulp(x, DType::F32)).collect()
        };
        let (elements, of_elements) = reduced(Reduction::Elements);
        let (each, of_rows) = reduced(Reduction::None);
        let sum_rows = |x: &[f64]| -> Vec<f64> { x.chunks(classes).map(|x| x.iter().sum()).collect() };
        near(&each, &sum_rows(&elements), &sums(&of_rows, &sum_rows(&of_elements)))?;
        let sum = reduced(Reduction::Sum).0;
        let rounding = halves(&sum)[0] + halves(&each).iter().sum::<f64>();
        near(&sum, &[each.iter().sum()], &[rounding])?;
        let divided = |all: &[f64], reduction, by: usize| {
            let found = reduced(reduction).0;
            let by = 1.0 / by as f64;
            near(&found, &scaled(all, by), &sums(&halves(&found), &scaled(&halves(all), by)))
        };
        divided(&each, Reduction::RowMean, classes)?;
        divided(&sum, Reduction::BatchMean, rows)?;
        divided(&sum, Reduction::Mean, rows * classes)?;
    }

    #[test]
    fn the_entropy_of_one_class_is_0_and_of_equal_ones_the_logarithm_of_their_number(
        dtype in select(FLOATS),
        (classes, class) in (classes(), any::<usize>()),
    ) {
        let one = |hit: f64, miss: f64| -> Vec<f64> {
            (0..classes).map(|c| if c == class % classes { hit } else { miss }).collect()
        };
        let mut trial = Trial::packed(Problem::entropy(dtype, classes), 1, 0);
        trial.logits = one(1.0, 0.0);
        prop_assert_eq!(run(&trial).loss, [0.0]);
        let p = round(1.0 / classes as f64, dtype);
        trial.logits = vec![p; classes];
        let (equal, allowed) = loss(&trial);
        near(&equal, &[-(classes as f64) * p * p.ln()], &allowed)?;
        trial.problem = trial.problem.input(Form::LogProbabilities);
        trial.logits = one(0.0, f64::NEG_INFINITY);
        prop_assert_eq!(run(&trial).loss, [0.0]);
    }

    #[test]
    fn any_axis_may_hold_the_classes(
        trial in any_trial(),
        (order, padding) in (select(ORDERS), [0..4usize, 0..4, 0..4]),
        split: bool,
    ) {
        let rows = if split { (1, trial.rows()) } else { (trial.rows(), 1) };
        let mut strided = trial.clone();
        strided.layout = layout(rows, trial.problem.classes, order, padding);
        prop_assert_eq!(run(&strided).bits(), run(&trial).bits());
    }

    #[test]
    fn in_place_is_out_of_place(trial in any_trial()) {
        let mut trial = trial;
        let problem = &mut trial.problem;
        if problem.operation == Operation::Entropy {
            return Ok(()); // which Args has no way to ask for
        }
        (problem.output, problem.dlogits) = (problem.logits, problem.logits);
        let apart = run(&trial);
        trial.problem.in_place = true;
        prop_assert_eq!(run(&trial).bits(), apart.bits());
    }

    #[test]
    fn a_row_does_not_depend_on_its_batch(trial in any_trial(), seed: u64, count in 1..=7usize) {
        let mut trial = trial;
        let kept = [Reduction::None, Reduction::Elements, Reduction::RowMean];
        if !kept.contains(&trial.problem.reduction) {
            trial.problem.reduction = Reduction::None;
        }
        let mut rows: Vec<usize> = (0..trial.rows()).collect();
        rows.shuffle(&mut StdRng::seed_from_u64(seed));
        rows.truncate(count);
        let taken = take_rows(&trial, &rows);
        let (all, some) = (run(&trial).bits(), run(&taken).bits());
        for (at, &row) in rows.iter().enumerate() {
            prop_assert_eq!(of_row(&some, at, taken.rows()), of_row(&all, row, trial.rows()));
        }
    }

    #[test]
    fn a_nan_stays_in_its_row(trial in any_trial(), at: usize) {
        let mut trial = trial;
        let (rows, classes) = (trial.rows(), trial.problem.classes);
        trial.problem.reduction = Reduction::None;
        trial.problem.ignore_index = None;
        let (at, before) = (at % trial.logits.len(), run(&trial));
        trial.logits[at] = f64::NAN;
        let after = run(&trial);
        let [a, b] = [&before, &after].map(Found::bits);
        for row in (0..rows).filter(|&row| row != at / classes) {
            prop_assert_eq!(of_row(&a, row, rows), of_row(&b, row, rows));
        }
        let of_row = at - at % classes..at - at % classes + classes;
        if trial.is_softmax() {
            let found = after.output[of_row.clone()].iter().chain(&after.backward[of_row]);
            prop_assert!(found.into_iter().all(|x| x.is_nan()));
            return Ok(());
        }
        // One class alone may be read.
        let class = trial.classes[at / classes] as usize;
        let reads_one = matches!(trial.inputs().targets, Targets::Classes(_))
            && trial.problem.label_smoothing == 0.0;
        let is_read = !reads_one || at % classes == class;
        prop_assert_eq!(after.loss[at / classes].is_nan(), is_read);
        for other in of_row.filter(|&other| other != at) {
            prop_assert_eq!(before.dlogits[other].to_bits(), after.dlogits[other].to_bits());
        }
    }

    /// Whatever is in them: their losses and gradients are +0.
    #[test]
    fn ignored_rows_are_not_read(trial in losses(&LOSSES[..3]), filling in select(NO_NUMBERS)) {
        let (classes, mut trial) = (trial.problem.classes, trial);
        trial.problem.targets = DType::I64;
        trial.problem.reduction = Reduction::None;
        trial.problem.ignore_index = Some(trial.classes[0]);
        let before = run(&trial).bits();
        for row in (0..trial.rows()).filter(|&row| trial.classes[row] == trial.classes[0]) {
            trial.logits[row * classes..][..classes].fill(filling);
            if let Some(weights) = &mut trial.row_weights {
                weights[row] = filling;
            }
            let of_row = of_row(&before, row, trial.rows());
            prop_assert!(of_row.iter().all(|bits| bits.iter().all(|&bits| bits == 0)));
        }
        prop_assert_eq!(run(&trial).bits(), before);
    }

    #[test]
    fn any_trial_is_within_its_bounds(trial in any_trial()) {
        trial.check(&run(&trial));
    }
}

const NO_NUMBERS: &[f64] = &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
const ORDERS: &[[usize; 3]] = &[[1, 2, 0], [2, 1, 0], [2, 0, 1], [0, 2, 1], [0, 1, 2], [1, 0, 2]];

/// The cross entropy of logits with the options of a loss of their log-probabilities.
fn fused(nll: &Trial, logits: &Trial) -> Case {
    let mut problem = nll.problem.clone().input(Form::Logits).outputs(Outputs::CROSS_ENTROPY);
    problem.logits = logits.problem.logits;
    problem.output = problem.logits;
    problem.logit_scale = logits.problem.logit_scale;
    let f32s =
        |x: &Option<Vec<f64>>| x.as_ref().map(|x| x.iter().map(|&x| x as f32).collect::<Vec<_>>());
    Case {
        rows: nll.rows(),
        logits: logits.logits.clone(),
        target: match problem.targets.is_float() {
            true => Target::Probabilities(nll.probabilities.clone()),
            false => Target::Classes(nll.classes.clone()),
        },
        class_weights: f32s(&nll.class_weights),
        row_weights: f32s(&nll.row_weights),
        dloss: None,
        denominator: Denominator::Default,
        problem,
    }
}
