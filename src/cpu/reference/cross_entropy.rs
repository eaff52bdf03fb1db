//! The cross entropy of logits.
//!
//! A class index y is the distribution that is 1 at y. With u = w ((1 - s) q + s/C) for the
//! target distribution q, the loss of a row is sum(u (-log p)), and its gradient with respect to
//! z is sum(u) p - u.

use super::softmax::{Softmax, first_largest, oriented};
use super::{Inputs, Results, Target, Targets, scale, times, weight_of_rows};
use crate::{Problem, Reduction};

/// One row of the results.
struct Row {
    cross_entropy: f64,
    z_loss: f64,
    lse: f64,
    largest: f64,
    exp_sum: f64,
    argmax: Option<usize>,
    entropy: f64,
    /// d(cross entropy) / d(logits).
    cross_entropy_gradient: Vec<f64>,
    /// d(z-loss) / d(logits).
    z_loss_gradient: Vec<f64>,
}

/// Computes every output.
pub(super) fn compute(
    problem: &Problem,
    inputs: &Inputs<'_>,
    targets: &[Option<Target<'_>>],
) -> Results {
    let classes = problem.classes;
    let row_weight = |row: usize| inputs.row_weights.map_or(1.0, |weights| weights[row]);
    let (scale, z_scale) = scales(problem, inputs, targets);

    let mut results = Results::default();
    let (mut loss_sum, mut z_loss_sum) = (0.0, 0.0);
    for (row, target) in targets.iter().enumerate() {
        let Some(target) = target else {
            results.push_ignored(classes);
            continue;
        };
        let logits = &inputs.logits[row * classes..(row + 1) * classes];
        let computed = Row::compute(problem, logits, target, inputs.class_weights);
        let cross_entropy = times(row_weight(row), computed.cross_entropy);
        loss_sum += cross_entropy;
        z_loss_sum += computed.z_loss;
        results.loss.push(cross_entropy + computed.z_loss);
        results.lse.push(computed.lse);
        results.largest.push(computed.largest);
        results.exp_sum.push(computed.exp_sum);
        results.argmax.push(computed.argmax.map_or(-1, |argmax| argmax as i64));
        results.correct += i64::from(computed.argmax == Some(hit(target)));
        results.entropy.push(computed.entropy);
        for class in 0..classes {
            let upstream = inputs.upstream(problem, row, class);
            let unit = upstream * scale * row_weight(row);
            let mut gradient = unit * computed.cross_entropy_gradient[class];
            if problem.z_loss != 0.0 {
                gradient += upstream * z_scale * computed.z_loss_gradient[class];
            }
            results.dlogits.push(gradient);
        }
    }
    if problem.reduction != Reduction::None {
        let z_loss = if problem.z_loss == 0.0 { 0.0 } else { times(z_loss_sum, z_scale) };
        results.loss = vec![times(loss_sum, scale) + z_loss];
    }
    results
}

/// With m = sum(p v): k^2 (p (v - m) (sum(u) + 2 a lse) + 2 a p m).
pub(super) fn double_backward(
    problem: &Problem,
    inputs: &Inputs<'_>,
    targets: &[Option<Target<'_>>],
    ddlogits: &[f64],
) -> Vec<f64> {
    let classes = problem.classes;
    let (scale, z_scale) = scales(problem, inputs, targets);
    let mut ddloss = Vec::new();
    for (row, target) in targets.iter().enumerate() {
        let range = row * classes..(row + 1) * classes;
        let (logits, v) = (&inputs.logits[range.clone()], &ddlogits[range]);
        let z: Vec<f64> = logits.iter().map(|x| problem.logit_scale * x).collect();
        let at = first_largest(&oriented(problem, logits));
        let (target, softmax) = match (target, Softmax::of(&z, at)) {
            (Some(target), Some(softmax)) => (target, softmax),
            (None, _) => {
                ddloss.extend(std::iter::repeat_n(0.0, classes));
                continue;
            }
            (_, None) => {
                ddloss.extend(std::iter::repeat_n(f64::NAN, classes));
                continue;
            }
        };
        let Softmax { p, .. } = &softmax;
        let mass: f64 = weighted(problem, target, inputs.class_weights).iter().sum();
        let row_weight = inputs.row_weights.map_or(1.0, |weights| weights[row]);
        // v - m = (v - v[at]) + sum(p (v[at] - v)), which does not cancel at the largest p.
        let away: f64 = (0..classes).map(|c| times(p[c], v[at] - v[c])).sum();
        let m = v[at] - away;
        for class in 0..classes {
            let upstream = inputs.upstream(problem, row, class);
            let turned = times(p[class], (v[class] - v[at]) + away);
            let mut second = upstream * scale * row_weight * mass * turned;
            if problem.z_loss != 0.0 {
                let z_unit = upstream * z_scale * 2.0 * problem.z_loss;
                second += z_unit * (softmax.lse() * turned + times(p[class], m));
            }
            ddloss.push(problem.logit_scale * problem.logit_scale * second);
        }
    }
    ddloss
}

/// What the cross entropy and the z-loss, and their gradients, are multiplied by.
fn scales(problem: &Problem, inputs: &Inputs<'_>, targets: &[Option<Target<'_>>]) -> (f64, f64) {
    let rows = targets.iter().flatten().count() as f64;
    let mean = match inputs.targets {
        Targets::Classes(_) => weight_of_rows(inputs, targets),
        _ => rows,
    };
    (scale(problem, inputs, mean, rows), scale(problem, inputs, rows, rows))
}

/// The class that a row is correct with.
fn hit(target: &Target<'_>) -> usize {
    match target {
        Target::Class(class) => *class,
        Target::Probabilities(q) => first_largest(q),
        Target::None => unreachable!("a cross entropy has targets"),
    }
}

/// The weights u of -log p.
fn weighted(problem: &Problem, target: &Target<'_>, weights: Option<&[f64]>) -> Vec<f64> {
    let q = target.distribution(problem, problem.classes);
    q.iter().enumerate().map(|(c, q)| weights.map_or(1.0, |weights| weights[c]) * q).collect()
}

impl Row {
    /// One row that is counted.
    fn compute(
        problem: &Problem,
        logits: &[f64],
        target: &Target<'_>,
        weights: Option<&[f64]>,
    ) -> Row {
        let classes = problem.classes;
        let scale = problem.logit_scale;
        let (z, slope): (Vec<f64>, Vec<f64>) = match problem.softcap {
            None => logits.iter().map(|x| (scale * x, scale)).unzip(),
            Some(cap) => logits
                .iter()
                .map(|x| scale * x / cap)
                .map(|y| (cap * y.tanh(), scale / y.cosh().powi(2)))
                .unzip(),
        };

        let at = first_largest(&oriented(problem, logits));
        let Some(softmax) = Softmax::of(&z, at) else {
            let has_nan = logits.iter().any(|x| x.is_nan());
            let (lse, largest) = if has_nan { (f64::NAN, f64::NAN) } else { (z[at], logits[at]) };
            return Row::undefined(classes, lse, largest);
        };
        let Softmax { t, s, p, .. } = &softmax;
        let lse = softmax.lse();

        let u = weighted(problem, target, weights);
        let mass: f64 = u.iter().sum();

        let gradient = |c: usize| {
            let not_p = if c == at { s / (1.0 + s) } else { 1.0 - p[c] };
            ((mass - u[c]) * p[c] - u[c] * not_p) * slope[c]
        };
        Row {
            cross_entropy: (0..classes).map(|c| times(u[c], s.ln_1p() - t[c])).sum(),
            z_loss: if problem.z_loss == 0.0 { 0.0 } else { problem.z_loss * lse * lse },
            lse,
            largest: logits[at],
            exp_sum: *s,
            argmax: Some(at),
            entropy: s.ln_1p() - (0..classes).map(|c| times(p[c], t[c])).sum::<f64>(),
            cross_entropy_gradient: (0..classes).map(gradient).collect(),
            z_loss_gradient: (0..classes)
                .map(|c| 2.0 * problem.z_loss * lse * p[c] * slope[c])
                .collect(),
        }
    }

    /// A row without a softmax: its largest z is NaN or infinite.
    fn undefined(classes: usize, lse: f64, largest: f64) -> Row {
        Row {
            cross_entropy: f64::NAN,
            z_loss: 0.0,
            lse,
            largest,
            exp_sum: f64::NAN,
            argmax: None,
            entropy: f64::NAN,
            cross_entropy_gradient: vec![f64::NAN; classes],
            z_loss_gradient: vec![f64::NAN; classes],
        }
    }
}

impl Results {
    /// A row that is not counted.
    fn push_ignored(&mut self, classes: usize) {
        for column in [&mut self.loss, &mut self.lse, &mut self.entropy] {
            column.push(0.0);
        }
        self.largest.push(0.0);
        self.exp_sum.push(0.0);
        self.argmax.push(-1);
        self.dlogits.extend(std::iter::repeat_n(0.0, classes));
    }
}
