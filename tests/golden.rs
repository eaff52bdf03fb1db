//! The library agrees with PyTorch: every case of `data/losses.json`, which PyTorch computed in `f64`
//! (the file names the version), in all dtypes.

mod common;
mod trial;

use common::golden::{Golden, file};
use common::placed::Place;
use common::{bounds, context, on_gpu, run_f64, thinned};
use trial::golden::Golden as GoldenTrial;
use xent::reference::{Inputs, Results, Targets, backward, compute};
use xent::{Context, DType, Layout, Reduction};

const U: f64 = 1.0 / 16_777_216.0; // half an ulp of f32, relative

impl Golden {
    fn inputs<'a>(&'a self, logits: &'a [f64], probabilities: &'a [f64]) -> Inputs<'a> {
        let targets = match self.problem.targets_are_probabilities() {
            true => Targets::Probabilities(probabilities),
            false => Targets::Classes(&self.classes),
        };
        Inputs {
            class_weights: self.class_weights.as_deref(),
            dloss: self.dloss.as_deref(),
            ..Inputs::new(logits, targets)
        }
    }

    /// To 1e-12, relative to each number. PyTorch makes p - 1 of a rounded p, so its own gradient
    /// is only good to 2^-52 times the upstream gradient.
    fn agrees(&self, results: &Results, dlogits: &[f64]) {
        let what = |name| format!("{name} of case {}, {:?}", self.index, self.problem);
        let unit = self.dloss.iter().flatten().fold(1.0, |unit: f64, x| unit.max(x.abs()));
        all_near(&what("loss"), &results.loss, &self.loss, |exact| 1e-12 * exact.abs());
        all_near(&what("lse"), &results.lse, &self.promised_lse(), |lse| 1e-12 * lse.abs());
        all_near(&what("gradient"), &results.dlogits, dlogits, |exact| {
            (1e-12 * exact.abs()).max(unit * f64::EPSILON)
        });
    }
}

/// The finite numbers' largest magnitude.
fn largest<'a>(x: impl IntoIterator<Item = &'a f64>) -> f64 {
    x.into_iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f64::max)
}

impl Golden {
    /// Holds what the reference makes of inputs that were rounded to `f32` against PyTorch's
    /// numbers. To first order in u, with every input off by a factor 1 + u:
    ///
    /// * lse moves by sum(p |z|) <= Z, the largest |z| before the softcap;
    /// * the loss by sum|x dloss/dx|, and 3 u relative: weights, their sum, probabilities;
    /// * the gradient a (W p - v), with v the weighted target and W its sum: p by 2 Z p (1 - p), a
    ///   softcap's slope by 2 Z / c relative, everything by 4 u. W is at most the largest weight, a
    ///   at most upstream / (counted rows times smallest weight).
    fn rounding_moves_little(&self, rounded: &Results) {
        let what = |name| format!("rounding moved {name} of case {}", self.index);
        let (problem, classes) = (&self.problem, self.problem.classes);
        let (logits, dlogits) = (self.rows(&self.logits), self.rows(&self.dlogits));
        let counted = (0..self.lse.len()).filter(|&row| !self.is_ignored(row));
        let weights = self.class_weights.as_deref().unwrap_or(&[1.0]);
        let heaviest = match problem.reduction {
            Reduction::Mean => {
                let lightest = weights.iter().copied().fold(f64::INFINITY, f64::min).min(1.0);
                largest(weights).max(1.0) / (lightest * counted.clone().count() as f64)
            }
            _ => largest(weights),
        };
        let mut moved_loss = vec![0.0; self.loss.len()];
        for row in counted {
            let range = row * classes..(row + 1) * classes;
            let (x, g) = (&logits[range.clone()], &dlogits[range.clone()]);
            let upstream = self.dloss.as_ref().map_or(1.0, |d| d[row % d.len()].abs());
            let work = x.iter().zip(g).filter(|(_, g)| **g != 0.0).map(|(x, g)| (x * g).abs());
            moved_loss[row % self.loss.len()] += U * work.sum::<f64>() / upstream;

            let lse = self.lse[row];
            let z_largest = largest(x) * problem.logit_scale;
            all_near(&what("lse"), &rounded.lse[row..=row], &[lse], |_| U * z_largest);
            let cap = problem.softcap.unwrap_or(f64::INFINITY);
            let z_pull = 2.0 * problem.z_loss * (lse.abs() + 1.0);
            let moved = |x: f64, g: f64| {
                let y = problem.logit_scale * x;
                let z = if cap.is_finite() { cap * (y / cap).tanh() } else { y };
                let p = (z - lse).exp();
                let a = upstream * problem.logit_scale * heaviest;
                let pull = a * (1.0 + z_pull) * p;
                let spread = 2.0 * z_largest * (1.0 - p).max(z_pull.min(1.0));
                U * (pull * (spread + 8.0) + (4.0 + 2.0 * z_largest / cap) * (g.abs() + pull))
            };
            for ((&x, &g), &rounded) in x.iter().zip(g).zip(&rounded.dlogits[range]) {
                all_near(&what("the gradient"), &[rounded], &[g], |g| moved(x, g));
            }
        }
        for (moved, (loss, exact)) in moved_loss.iter().zip(rounded.loss.iter().zip(&self.loss)) {
            all_near(&what("the loss"), &[*loss], &[*exact], |loss| moved + 3.0 * U * loss.abs());
        }
    }
}

fn all_near(what: &str, actual: &[f64], exact: &[f64], allowed: impl Fn(f64) -> f64) {
    assert_eq!(actual.len(), exact.len(), "{what}");
    for (index, (&actual, &exact)) in actual.iter().zip(exact).enumerate() {
        let same = actual == exact || actual.is_nan() && exact.is_nan();
        let error = (actual - exact).abs();
        assert!(same || error <= allowed(exact), "{what}, {index}: {actual:e}, not {exact:e}");
    }
}

#[test]
fn the_reference_agrees_to_1e_12() {
    for golden in Golden::all() {
        let (logits, q) = (golden.rows(&golden.logits), golden.rows(&golden.probabilities));
        let results = compute(&golden.problem, &golden.inputs(&logits, &q)).unwrap();
        golden.agrees(&results, &golden.rows(&golden.dlogits));
    }
}

#[test]
fn f64_logits_agree_through_a_plan_with_any_class_axis() {
    for golden in Golden::all() {
        let inputs = golden.inputs(&golden.logits, &golden.probabilities);
        let results = run_f64(&golden.problem, golden.layout, &inputs);
        golden.agrees(&results, &golden.dlogits);
    }
}

/// With the test below: `f32` is within its bounds of PyTorch's own numbers, but for the rounding
/// of inputs.
#[test]
fn inputs_rounded_to_f32_give_the_golden_values_to_first_order() {
    for golden in Golden::all() {
        golden.rounding_moves_little(&golden.case(DType::F32).reference());
    }
}

/// As packed rows, and with the class axis where PyTorch had it. On a GPU some, in one type each.
#[test]
fn f32_f16_and_bf16_agree_within_the_bounds_on_the_rounded_inputs() {
    for golden in thinned(Golden::all(), 16) {
        for (number, dtype) in [DType::F32, DType::F16, DType::BF16].into_iter().enumerate() {
            if on_gpu() && golden.index % 3 != number {
                continue;
            }
            let case = golden.case(dtype);
            case.check();
            let there = case.bits_at(&Place::new(golden.layout, 0));
            bounds::check(&case, &there.output(dtype));
        }
    }
}

/// Each is one of the tests above, or one of those below.
#[test]
fn every_case_of_the_file_is_read() {
    assert_eq!(file().len(), Golden::all().len() + GoldenTrial::all().len());
}

#[test]
fn the_reference_of_other_operations_agrees_to_1e_12() {
    for golden in GoldenTrial::all() {
        let trial = &golden.trial;
        let mut results = compute(&trial.problem, &trial.inputs()).unwrap();
        if trial.is_softmax() {
            results.dlogits = backward(&trial.problem, &results.output, &trial.upstream).unwrap();
        }
        golden.agrees(&results);
    }
}

/// Packed rows, padded ones, and classes that are not the last axis.
fn layouts(rows: usize, classes: usize) -> [Layout; 3] {
    let packed = Layout::rows(rows, classes);
    [packed, packed.row_stride(classes + 3), Layout::packed(1, classes, rows)]
}

#[test]
fn other_operations_of_f64_agree_through_a_plan_with_any_class_axis() {
    for mut golden in GoldenTrial::all() {
        for layout in layouts(golden.trial.rows(), golden.trial.problem.classes) {
            golden.trial.layout = layout;
            golden.agrees(&golden.trial.run(&Context::cpu()).results());
        }
    }
}

/// On a GPU in one type and layout each.
#[test]
fn other_operations_agree_within_the_bounds_on_the_rounded_inputs() {
    for (index, golden) in GoldenTrial::all().into_iter().enumerate() {
        for (turn, dtype) in [DType::F32, DType::F16, DType::BF16].into_iter().enumerate() {
            let mut trial = golden.trial.in_type(dtype);
            for (number, layout) in layouts(trial.rows(), trial.problem.classes).iter().enumerate()
            {
                if on_gpu() && (index % 3, index / 3 % 3) != (turn, number) {
                    continue;
                }
                trial.layout = *layout;
                trial.check(&trial.run(&context()));
            }
        }
    }
}
