//! Losses of a row that are sums over its elements: sum(w term).

use std::f64::consts::LN_2;

use super::term::{Term, term};
use super::{Inputs, Results, Target, Targets, renormalised, scale, times, weight_of_rows};
use crate::call::Per;
use crate::{Operation, Problem, Renormalise, Unit};

/// Computes loss and gradient.
pub(super) fn compute(
    problem: &Problem,
    inputs: &Inputs<'_>,
    targets: &[Option<Target<'_>>],
) -> Results {
    let counted = targets.iter().flatten().count() as f64;
    let mean = match (problem.operation, inputs.targets) {
        (Operation::BinaryCrossEntropy | Operation::KlDivergence, _) => {
            counted * problem.classes as f64
        }
        (_, Targets::Classes(_)) => weight_of_rows(inputs, targets),
        _ => counted,
    };
    let scale = scale(problem, inputs, mean, counted);
    let unit = match problem.unit {
        Unit::Nats => 1.0,
        Unit::Bits => LN_2,
    };

    let mut results = Results::default();
    let mut sum = 0.0;
    for (row, target) in targets.iter().enumerate() {
        let Some(target) = target else {
            results.loss.push(0.0);
            results.dlogits.extend(std::iter::repeat_n(0.0, problem.classes));
            continue;
        };
        let terms = terms(problem, inputs, row, target);
        let loss: f64 = terms.iter().map(|term| term.loss / unit).sum();
        sum += loss;
        match Per::loss(problem) {
            Per::Element => results.loss.extend(terms.iter().map(|term| term.loss / unit)),
            _ => results.loss.push(times(loss, scale)),
        }
        for (class, term) in terms.iter().enumerate() {
            let factor = times(inputs.upstream(problem, row, class), scale);
            results.dlogits.push(times(factor, term.gradient / unit) + 0.0); // and no -0
        }
    }
    if Per::loss(problem) == Per::Batch {
        results.loss = vec![times(sum, scale)];
    }
    results
}

/// The weighted terms of a row that is counted.
fn terms(problem: &Problem, inputs: &Inputs<'_>, row: usize, target: &Target<'_>) -> Vec<Term> {
    let classes = problem.classes;
    let x = &inputs.logits[row * classes..(row + 1) * classes];
    let weight = |class: usize| {
        let of_class = inputs.class_weights.map_or(1.0, |weights| weights[class]);
        let of_row = inputs.row_weights.map_or(1.0, |weights| weights[row]);
        let of_element = inputs.element_weights.map_or(1.0, |w| w[row * classes + class]);
        times(times(of_class, of_element), of_row)
    };
    let pos_weight = |class: usize| inputs.pos_weights.map_or(1.0, |weights| weights[class]);

    let is_renormalised = problem.renormalise != Renormalise::No;
    if let (Target::Class(class), 0.0, false) = (target, problem.label_smoothing, is_renormalised) {
        let mut terms = vec![Term::default(); classes]; // nothing else is read
        terms[*class] = term(problem, x[*class], 1.0, 1.0).weighted(weight(*class));
        return terms;
    }
    let smoothed_over = match problem.operation {
        Operation::BinaryCrossEntropy => 2,
        _ => classes,
    };
    let targets = target.distribution(problem, smoothed_over);
    if is_renormalised {
        let u: Vec<f64> = (0..classes).map(|class| times(weight(class), targets[class])).collect();
        return renormalised::terms(problem, x, &u);
    }
    (0..classes)
        .map(|class| {
            term(problem, x[class], targets[class], pos_weight(class)).weighted(weight(class))
        })
        .collect()
}
