//! What holds for any problem: symmetries of cross entropy, and calls that say the same thing in
//! two ways. Bit for bit where the arithmetic is the same, within the promised bounds otherwise.
#![cfg(not(miri))] // thousands of runs

mod common;
mod random;

use common::placed::{Bits, Place};
use common::{Case, Output, Target, bounds, logit_types, on_gpu, sized};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use random::change::{
    bits_of_rows, by_rows, has_ties, one_hot, overlay, per_row, permute_columns, take_rows,
};
use random::{FLOATS, INDICES, TARGETS, cases, cases_of, layout, lying_alike, outputs, problems};
use xent::{DType, Denominator, Outputs, Reduction};

fn floats(bits: &[u64]) -> Vec<f64> {
    bits.iter().map(|&bits| f64::from(f32::from_bits(bits as u32))).collect()
}

/// The same 1500 cases each time, on a GPU six, or as many random ones as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let rng_seed = if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) };
    let cases = asked.unwrap_or(sized(1500, 6));
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Logits in steps of 1/16 and whole shifts are exact in `f32`. A GPU subtracts the largest logit
    /// first, the CPU only far from 0.
    #[test]
    fn an_exact_shift_changes_no_bit(
        case in cases(&[DType::F32], TARGETS),
        shifts in vec(-65_536i32..=65_536, 7),
    ) {
        let mut case = case;
        (case.problem.softcap, case.problem.z_loss) = (None, 0.0);
        let mut far = 0.0;
        if !on_gpu() {
            (far, case.problem.logit_scale) = (524_288.0, 1.0);
        }
        case.logits.iter_mut().for_each(|x| *x = far + (x.clamp(-15.0, 15.0) * 16.0).round() / 16.0);
        let mut shifted = case.clone();
        for (row, shift) in shifted.logits.chunks_mut(case.problem.classes).zip(&shifts) {
            row.iter_mut().for_each(|x| *x += f64::from(*shift));
        }
        let (mut a, mut b) = (case.bits(), shifted.bits());
        for (row, &shift) in shifts[..case.rows].iter().enumerate() {
            let largest = |bits: &Bits| floats(&bits.stats)[2 * row];
            prop_assert_eq!(largest(&a) + f64::from(shift), largest(&b));
            b.stats[2 * row] = a.stats[2 * row];
        }
        (a.lse, b.lse) = (vec![], vec![]); // moves with the shift: see the next property
        prop_assert_eq!(a, b);
    }

    #[test]
    fn any_shift_stays_within_the_bounds(
        case in cases(FLOATS, TARGETS),
        shift in prop_oneof![-1e6..1e6f64, -100.0..100.0],
    ) {
        let shift = if case.problem.logits == DType::F16 { shift % 3e4 } else { shift };
        let logits = case.logits.iter().map(|x| x + shift).collect();
        let shifted = Case::new(case.problem.clone(), case.rows, logits, 0);
        Case { dloss: case.dloss, ..shifted }.check();
    }

    #[test]
    fn columns_may_be_permuted(
        case in cases(FLOATS, &[DType::I64, DType::F32, DType::F16, DType::BF16]),
        seed: u64,
    ) {
        let classes = case.problem.classes;
        let mut from: Vec<usize> = (0..classes).collect();
        from.shuffle(&mut StdRng::seed_from_u64(seed));
        let permuted = permute_columns(&case, &from);
        let mut output: Output = permuted.run();
        let exact = case.reference();
        for row in 0..case.rows {
            let mut gradient = vec![0.0; classes];
            let of_row = row * classes..(row + 1) * classes;
            from.iter().zip(&output.dlogits[of_row.clone()]).for_each(|(&c, &g)| gradient[c] = g);
            output.dlogits[of_row].copy_from_slice(&gradient);
            output.argmax[row] = from[output.argmax[row] as usize] as i64;
        }
        if has_ties(&case) {
            (output.argmax, output.correct) = (exact.argmax, exact.correct); // the first one wins
        }
        bounds::check(&case, &output);
    }

    #[test]
    fn the_gradient_of_a_row_sums_to_zero(case in cases(&[DType::F32], TARGETS)) {
        let mut case = case;
        (case.problem.z_loss, case.problem.softcap) = (0.0, None);
        let (gradient, classes) = (case.run().dlogits, case.problem.classes);
        for (row, gradient) in gradient.chunks(classes).enumerate() {
            let sum: f64 = gradient.iter().sum();
            let rounding = gradient.iter().map(|g| 0.5 * bounds::ulp(*g, DType::F32)).sum::<f64>();
            let allowed = bounds::gradient(&case, row).iter().sum::<f64>() + rounding;
            prop_assert!(sum.abs() <= allowed, "row {}: {:e} > {:e}", row, sum, allowed);
        }
    }

    #[test]
    fn one_hot_probabilities_are_class_indices(
        case in cases(logit_types(), INDICES),
        targets in select(FLOATS),
    ) {
        let mut case = case;
        case.problem.label_smoothing = 0.0;
        (case.problem.class_weights, case.class_weights) = (false, None);
        let case = by_rows(case);
        let soft = one_hot(&case, sized(targets, case.problem.logits));
        if on_gpu() {
            bounds::check(&case, &soft.checked()); // by another kernel
            return Ok(());
        }
        prop_assert_eq!(soft.bits(), case.bits());
    }

    #[test]
    fn one_hot_probabilities_are_class_indices_with_smoothing_and_weights(
        case in cases(FLOATS, INDICES),
        targets in select(FLOATS),
    ) {
        let case = by_rows(case);
        let soft = one_hot(&case, targets);
        soft.check();
        bounds::check(&soft, &case.run());
    }

    /// Deleting them changes nothing, and nor does whatever they hold.
    #[test]
    fn ignored_rows_are_as_if_they_were_not_there(
        case in cases_of(problems(logit_types(), INDICES).prop_map(lying_alike)),
        ignored in vec(any::<bool>(), 7),
        rubbish in select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 6e4]),
    ) {
        let mut case = case;
        let index = if matches!(case.problem.targets, DType::I64 | DType::I32) { -100 } else { 0 };
        case.problem.ignore_index = Some(index);
        let Target::Classes(y) = &mut case.target else { unreachable!() };
        y.iter_mut().zip(&ignored).filter(|(_, ignored)| **ignored).for_each(|(y, _)| *y = index);
        let kept: Vec<usize> = (0..y.len()).filter(|&row| y[row] != index).collect();
        let bits = case.bits();
        prop_assert_eq!(bits_of_rows(&case, &bits, &kept), take_rows(&case, &kept).bits());

        let mut poisoned = case.clone();
        for row in (0..case.rows).filter(|row| !kept.contains(row)) {
            let classes = case.problem.classes;
            poisoned.logits[row * classes..(row + 1) * classes].fill(rubbish);
            poisoned.row_weights.iter_mut().for_each(|weights| weights[row] = rubbish as f32);
            if per_row(&case) {
                poisoned.dloss.iter_mut().for_each(|dloss| dloss[row] = rubbish as f32);
            }
        }
        prop_assert_eq!(poisoned.bits(), bits);
    }

    #[test]
    fn a_row_does_not_depend_on_its_batch(
        case in cases_of(
            problems(logit_types(), TARGETS).prop_map(|p| lying_alike(p).reduction(Reduction::None))
        ),
        seed: u64,
    ) {
        let bits = case.bits();
        let mut order: Vec<usize> = (0..case.rows).collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        prop_assert_eq!(take_rows(&case, &order).bits(), bits_of_rows(&case, &bits, &order));
        for row in 0..case.rows {
            let mut alone = take_rows(&case, &[row]).bits();
            alone.correct = bits.correct.clone();
            prop_assert_eq!(alone, bits_of_rows(&case, &bits, &[row]));
        }
    }

    #[test]
    fn a_nan_stays_in_its_row(
        case in cases_of(problems(logit_types(), TARGETS).prop_map(|p| p.reduction(Reduction::None))),
        at in any::<prop::sample::Index>(),
        poison in select(vec![f64::NAN, f64::INFINITY]),
    ) {
        let (at, classes) = (at.index(case.logits.len()), case.problem.classes);
        let mut poisoned = case.clone();
        poisoned.problem.softcap = None; // which is finite at +inf
        poisoned.logits[at] = poison * case.problem.logit_scale.signum();
        let others: Vec<usize> = (0..case.rows).filter(|&row| row != at / classes).collect();
        let (a, b) = (Case { problem: poisoned.problem.clone(), ..case }.bits(), poisoned.bits());
        let mut a = bits_of_rows(&poisoned, &a, &others);
        a.correct = b.correct.clone();
        prop_assert_eq!(a, bits_of_rows(&poisoned, &b, &others));
        let row = poisoned.reference();
        prop_assert!(row.loss[at / classes].is_nan() && row.argmax[at / classes] == -1);
        let own = bits_of_rows(&poisoned, &b, &[at / classes]);
        let is_nan = |bits: u64| match poisoned.problem.logits {
            DType::F64 => f64::from_bits(bits).is_nan(),
            _ => f32::from_bits(bits as u32).is_nan(),
        };
        prop_assert!(is_nan(own.loss[0]) && is_nan(own.entropy[0]) && own.argmax[0] == u64::MAX);
    }

    #[test]
    fn in_place_is_out_of_place(case in cases(logit_types(), TARGETS)) {
        let mut case = case;
        case.problem.dlogits = case.problem.logits;
        let expected = case.bits();
        case.problem.in_place = true;
        prop_assert_eq!(case.bits(), expected);
    }

    /// (outer, classes, inner) in any order, each axis padded, is the same rows packed; on a GPU but
    /// for the last bits.
    #[test]
    fn any_axis_may_hold_the_classes(
        case in cases(logit_types(), TARGETS),
        order in Just([0, 1, 2]).prop_shuffle(),
        padding in prop::array::uniform3(0..5usize),
        offset in 0..4usize,
        in_place: bool,
    ) {
        let mut case = case;
        let expected = case.bits();
        case.problem.in_place = in_place && case.problem.dlogits == case.problem.logits;
        for inner in (1..=case.rows).filter(|inner| case.rows % inner == 0) {
            let rows = (case.rows / inner, inner);
            let layout = layout(rows, case.problem.classes, order, padding);
            let bits = case.bits_at(&Place::new(layout, offset));
            match on_gpu() {
                true => bounds::check(&case, &bits.output(case.problem.dlogits)),
                false => prop_assert_eq!(&bits, &expected),
            }
        }
    }

    /// So little smoothing that it is lost in every sum.
    #[test]
    fn no_smoothing_is_the_limit_of_little(case in cases(FLOATS, INDICES), negative: bool) {
        let mut case = case;
        case.problem.label_smoothing = 0.0;
        let without = case.run();
        case.problem.label_smoothing = if negative { -0.0 } else { 1e-300 };
        match on_gpu() && !negative {
            true => {
                case.check(); // by another kernel
                bounds::check(&case, &without);
            }
            false => prop_assert_eq!(case.run(), without),
        }
    }

    #[test]
    fn weights_of_one_are_no_weights(
        case in cases(logit_types(), TARGETS),
        of_classes: bool,
        of_rows: bool,
    ) {
        let mut case = case;
        (case.problem.class_weights, case.class_weights) = (false, None);
        (case.problem.row_weights, case.row_weights) = (false, None);
        let without = case.bits();
        case.class_weights = of_classes.then(|| vec![1.0; case.problem.classes]);
        case.row_weights = of_rows.then(|| vec![1.0; case.rows]);
        (case.problem.class_weights, case.problem.row_weights) = (of_classes, of_rows);
        prop_assert_eq!(case.bits(), without);
    }

    /// The sum is the sum of the rows, and the mean is the sum divided: the losses to half an ulp
    /// of each rounding, the gradients bit for bit.
    #[test]
    fn reductions_agree(case in cases(FLOATS, TARGETS), log2_denominator in -3..=3i32) {
        let mut case = case;
        case.dloss = None;
        let run = |case: &Case, reduction, dloss: f32, denominator| {
            let mut case = case.clone().dloss(&[dloss]);
            (case.problem.reduction, case.denominator) = (reduction, denominator);
            case.bits()
        };
        let divisor = 2f64.powi(log2_denominator);
        let value = Denominator::Value(divisor);
        let rows = run(&case, Reduction::None, 1.0, Denominator::Default);
        let sum = run(&case, Reduction::Sum, 1.0, Denominator::Default);
        let mean = run(&case, Reduction::Mean, 1.0, value);
        prop_assert_eq!(&rows.dlogits, &sum.dlogits);
        let divided = run(&case, Reduction::Sum, (1.0 / divisor) as f32, Denominator::Default);
        prop_assert_eq!(&mean.dlogits, &divided.dlogits);

        let (losses, of_sum) = (floats(&rows.loss), floats(&sum.loss)[0]);
        let half_ulp = |x: f64| 0.5 * bounds::ulp(x, DType::F32);
        let allowed = losses.iter().copied().map(half_ulp).sum::<f64>() + half_ulp(of_sum);
        prop_assert!((losses.iter().sum::<f64>() - of_sum).abs() <= allowed);
        prop_assert_eq!(floats(&mean.loss)[0] * divisor, of_sum);
    }

    #[test]
    fn an_output_does_not_depend_on_which_others_are_asked_for(
        case in cases(logit_types(), TARGETS),
        outputs in outputs(),
    ) {
        let mut case = case;
        let all = case.bits();
        case.problem.outputs = outputs;
        if !outputs.contains(Outputs::DLOGITS) {
            case.dloss = None;
        }
        if on_gpu() {
            let some = case.run(); // by another kernel
            case.problem.outputs = Outputs::CROSS_ENTROPY;
            bounds::check(&case, &overlay(case.run(), some, outputs));
            return Ok(());
        }
        let asked = |output, bits: Vec<u64>| if outputs.contains(output) { bits } else { vec![] };
        prop_assert_eq!(case.bits(), Bits {
            loss: asked(Outputs::LOSS, all.loss),
            lse: asked(Outputs::LSE, all.lse),
            stats: asked(Outputs::STATS, all.stats),
            dlogits: asked(Outputs::DLOGITS, all.dlogits),
            argmax: asked(Outputs::ARGMAX, all.argmax),
            correct: asked(Outputs::CORRECT, all.correct),
            entropy: asked(Outputs::ENTROPY, all.entropy),
        });
    }

    #[test]
    fn an_upstream_gradient_of_one_value_is_that_for_each_row(
        case in cases_of(problems(logit_types(), TARGETS).prop_map(|p| p.reduction(Reduction::None))),
        value in prop_oneof![Just(1.0f32), -10.0f32..10.0],
    ) {
        let one = case.clone().dloss(&[value]).bits();
        let each = case.clone().dloss(&vec![value; case.rows]).bits();
        prop_assert_eq!(&one, &each);
        if value == 1.0 {
            let absent = Case { dloss: None, ..case };
            prop_assert_eq!(absent.bits(), one);
        }
    }

    /// The z-loss has a denominator of its own unless one is given, so it is off with weights.
    #[test]
    fn the_default_denominator_may_be_given(
        case in cases_of(problems(logit_types(), TARGETS).prop_map(|p| p.reduction(Reduction::Mean))),
    ) {
        let mut case = case;
        let weighted = case.class_weights.is_some() || case.row_weights.is_some();
        let denominator = match &case.target {
            Target::Probabilities(_) => case.rows as f64,
            Target::Classes(y) => {
                case.problem.z_loss = if weighted { 0.0 } else { case.problem.z_loss };
                let of = |weights: &Option<Vec<f32>>, at: usize| {
                    weights.as_ref().map_or(1.0, |weights| f64::from(weights[at]))
                };
                let weight = |(row, &y): (usize, &i64)| {
                    of(&case.class_weights, y as usize) * of(&case.row_weights, row)
                };
                y.iter().enumerate().map(weight).fold(0.0, |sum, weight| sum + weight)
            }
        };
        let default = case.bits();
        case.denominator = Denominator::Value(denominator);
        prop_assert_eq!(case.bits(), default);
    }

    /// z is the same, and the gradient with respect to the logits has the scale as a factor.
    #[test]
    fn a_power_of_two_scales_exactly(
        case in cases(sized(&[DType::F32, DType::F64], &[DType::F32]), TARGETS),
        power in -3..=3i32,
        negative: bool,
    ) {
        let mut case = case;
        let scale = 2f64.powi(power) * if negative { -1.0 } else { 1.0 };
        case.problem.dlogits = case.problem.logits;
        case.problem.logit_scale = scale;
        let mut scaled = case.clone();
        scaled.problem.logit_scale = 1.0;
        scaled.logits.iter_mut().for_each(|x| *x *= scale);
        if on_gpu() {
            case.check(); // by another kernel
            scaled.check();
            return Ok(());
        }
        let times_scale = |bits: &mut u64| *bits = match case.problem.logits {
            DType::F64 => (f64::from_bits(*bits) * scale).to_bits(),
            _ => (f32::from_bits(*bits as u32) * scale as f32).to_bits().into(),
        };
        let (mut a, mut b) = (case.bits(), scaled.bits());
        let normal = |bits: &u64| match case.problem.logits {
            DType::F64 => f64::from_bits(*bits).abs() > 1e-300,
            _ => f32::from_bits(*bits as u32).abs() > 1e-35,
        };
        a.stats.iter_mut().step_by(2).for_each(times_scale);
        b.dlogits.iter_mut().for_each(times_scale);
        for (a, b) in a.dlogits.iter_mut().zip(&mut b.dlogits).filter(|(a, _)| !normal(a)) {
            (*a, *b) = (0, 0); // subnormal numbers do not scale exactly
        }
        prop_assert_eq!(a, b);
    }
}
