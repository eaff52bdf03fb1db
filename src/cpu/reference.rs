//! Cross entropy in `f64`, as plain as the formulas: the oracle of every test, and what computes
//! `f64` logits.
//!
//! A class index y is the distribution that is 1 at y. With u = w ((1 - s) q + s/C) for the
//! target distribution q, the loss of a row is sum(u (-log p)), and its gradient with respect to
//! z is sum(u) p - u.

use super::memory;
use super::times;
use crate::call::{Call, Work};
use crate::{Denominator, EmptyMean, Error, Problem, Reduction, Result};

/// The input of [`cross_entropy`]: packed rows, all in `f64`.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Logits, (rows, classes).
    pub logits: &'a [f64],
    /// What the rows should have been.
    pub targets: Targets<'a>,
    /// Weights, (classes).
    pub class_weights: Option<&'a [f64]>,
    /// Weights, (rows).
    pub row_weights: Option<&'a [f64]>,
    /// Upstream gradient: one value, or with [`Reduction::None`] (rows).
    pub dloss: Option<&'a [f64]>,
    /// What the mean divides by.
    pub denominator: Denominator,
}

/// The targets of [`Inputs`].
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// One class for each row.
    Classes(&'a [i64]),
    /// Probabilities, (rows, classes).
    Probabilities(&'a [f64]),
}

/// All outputs of a problem, whichever it names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// The loss: one value, or with [`Reduction::None`] one for each row.
    pub loss: Vec<f64>,
    /// log(sum(exp(z))), (rows).
    pub lse: Vec<f64>,
    /// The logit of the most probable class, before scale and cap, (rows).
    pub largest: Vec<f64>,
    /// The sum of exp(z - max z) without one maximum, (rows).
    pub exp_sum: Vec<f64>,
    /// The gradient, (rows, classes).
    pub dlogits: Vec<f64>,
    /// The most probable class, or -1, (rows).
    pub argmax: Vec<i64>,
    /// How many counted rows are correct.
    pub correct: i64,
    /// The entropy of the softmax in nats, (rows).
    pub entropy: Vec<f64>,
}

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

/// Computes every output of a problem.
///
/// ```
/// use xent::reference::{Inputs, Targets, cross_entropy};
/// use xent::{DType, Denominator, Problem};
///
/// let problem = Problem::new(DType::F64, 3);
/// let results = cross_entropy(&problem, &Inputs {
///     logits: &[1.0, 2.0, 3.0, 2.0, 4.0, 6.0],
///     targets: Targets::Classes(&[0, 2]),
///     class_weights: None,
///     row_weights: None,
///     dloss: None,
///     denominator: Denominator::Default,
/// })?;
/// assert!((results.loss[0] - 1.27526879647).abs() < 1e-11);
/// # Ok::<(), xent::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a problem that is none, [`Error::Mismatch`] for a slice of the wrong
/// length, [`Error::InvalidTarget`] for a class index that is no class.
pub fn cross_entropy(problem: &Problem, inputs: &Inputs<'_>) -> Result<Results> {
    problem.validate()?;
    let rows = checked_rows(problem, inputs)?;
    let classes = problem.classes;

    let targets: Vec<Option<Vec<f64>>> =
        (0..rows).map(|row| distribution(problem, &inputs.targets, row)).collect::<Result<_>>()?;
    let row_weight = |row: usize| inputs.row_weights.map_or(1.0, |weights| weights[row]);
    let (scale, z_scale) = scales(problem, inputs, &targets);

    let mut results = Results::default();
    let (mut loss_sum, mut z_loss_sum) = (0.0, 0.0);
    for (row, target) in targets.iter().enumerate() {
        let Some(q) = target else {
            results.push_ignored(classes);
            continue;
        };
        let logits = &inputs.logits[row * classes..(row + 1) * classes];
        let computed = compute(problem, logits, q, inputs.class_weights);
        let upstream = inputs.dloss.map_or(1.0, |dloss| dloss[row.min(dloss.len() - 1)]);
        let cross_entropy = times(row_weight(row), computed.cross_entropy);
        loss_sum += cross_entropy;
        z_loss_sum += computed.z_loss;
        results.loss.push(cross_entropy + computed.z_loss);
        results.lse.push(computed.lse);
        results.largest.push(computed.largest);
        results.exp_sum.push(computed.exp_sum);
        results.argmax.push(computed.argmax.map_or(-1, |argmax| argmax as i64));
        results.correct += i64::from(computed.argmax == Some(first_largest(q)));
        results.entropy.push(computed.entropy);
        for class in 0..classes {
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
    Ok(results)
}

fn checked_rows(problem: &Problem, inputs: &Inputs<'_>) -> Result<usize> {
    let classes = problem.classes;
    let rows = inputs.logits.len() / classes;
    let check = |field, given: usize, needed: usize| match given == needed {
        true => Ok(()),
        false => Err(Error::mismatch(field, format!("{given} elements"), needed)),
    };
    check("logits", inputs.logits.len(), rows * classes)?;
    match (inputs.targets, problem.targets_are_probabilities()) {
        (Targets::Classes(targets), false) => check("targets", targets.len(), rows)?,
        (Targets::Probabilities(targets), true) => check("targets", targets.len(), rows * classes)?,
        (Targets::Classes(_), true) => {
            return Err(Error::mismatch("targets", "classes", "probabilities"));
        }
        (Targets::Probabilities(_), false) => {
            return Err(Error::mismatch("targets", "probabilities", "classes"));
        }
    }
    if let Some(weights) = inputs.class_weights {
        check("class_weights", weights.len(), classes)?;
    }
    if let Some(weights) = inputs.row_weights {
        check("row_weights", weights.len(), rows)?;
    }
    if let Some(dloss) = inputs.dloss {
        let per_row = problem.reduction == Reduction::None && dloss.len() != 1;
        check("dloss", dloss.len(), if per_row { rows } else { 1 })?;
    }
    Ok(rows)
}

/// The target distribution q of a row; `None` for an ignored row.
fn distribution(problem: &Problem, targets: &Targets<'_>, row: usize) -> Result<Option<Vec<f64>>> {
    let classes = problem.classes;
    match targets {
        Targets::Probabilities(q) => Ok(Some(q[row * classes..(row + 1) * classes].to_vec())),
        Targets::Classes(indices) if problem.ignore_index == Some(indices[row]) => Ok(None),
        Targets::Classes(indices) => match usize::try_from(indices[row]) {
            Ok(class) if class < classes => {
                Ok(Some((0..classes).map(|c| f64::from(u8::from(c == class))).collect()))
            }
            _ => Err(Error::InvalidTarget { row, value: indices[row], classes }),
        },
    }
}

/// What the cross entropy and the z-loss, and their gradients, are multiplied by.
fn scales(problem: &Problem, inputs: &Inputs<'_>, targets: &[Option<Vec<f64>>]) -> (f64, f64) {
    let rows = targets.iter().flatten().count() as f64;
    let weight = match inputs.targets {
        Targets::Probabilities(_) => rows,
        Targets::Classes(_) => (0..targets.len())
            .filter_map(|row| Some((row, targets[row].as_ref()?)))
            .map(|(row, q)| {
                let class_weight = inputs.class_weights.map_or(1.0, |w| w[first_largest(q)]);
                class_weight * inputs.row_weights.map_or(1.0, |w| w[row])
            })
            .sum(),
    };
    let over = |denominator: f64| match problem.empty_mean {
        _ if denominator != 0.0 => 1.0 / denominator,
        EmptyMean::Nan => f64::NAN,
        EmptyMean::Zero => 0.0,
    };
    match (problem.reduction, inputs.denominator) {
        (Reduction::Mean, Denominator::Default) => (over(weight), over(rows)),
        (Reduction::BatchMean, Denominator::Default) => (over(rows), over(rows)),
        (Reduction::Mean | Reduction::BatchMean, Denominator::Value(value)) => {
            (over(value), over(value))
        }
        _ => (1.0, 1.0),
    }
}

/// One row that is counted.
fn compute(problem: &Problem, logits: &[f64], q: &[f64], weights: Option<&[f64]>) -> Row {
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

    let oriented: Vec<f64> = logits.iter().map(|x| scale.signum() * x).collect();
    let at = first_largest(&oriented);
    let max = z[at];
    let has_nan = logits.iter().any(|x| x.is_nan());
    if has_nan || !max.is_finite() {
        let (lse, largest) = if has_nan { (f64::NAN, f64::NAN) } else { (max, logits[at]) };
        return Row::undefined(classes, lse, largest);
    }

    // t = z - max z; s without one maximum; -log p = log1p(s) - t.
    let t: Vec<f64> = z.iter().map(|z| z - max).collect();
    let s: f64 = (0..classes).filter(|&c| c != at).map(|c| t[c].exp()).sum();
    let p: Vec<f64> = t.iter().map(|t| t.exp() / (1.0 + s)).collect();
    let lse = max + s.ln_1p();

    let smoothing = problem.label_smoothing;
    let u: Vec<f64> = (0..classes)
        .map(|c| {
            let weight = weights.map_or(1.0, |weights| weights[c]);
            weight * ((1.0 - smoothing) * q[c] + smoothing / classes as f64)
        })
        .collect();
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
        exp_sum: s,
        argmax: Some(at),
        entropy: s.ln_1p() - (0..classes).map(|c| times(p[c], t[c])).sum::<f64>(),
        cross_entropy_gradient: (0..classes).map(gradient).collect(),
        z_loss_gradient: (0..classes)
            .map(|c| 2.0 * problem.z_loss * lse * p[c] * slope[c])
            .collect(),
    }
}

fn first_largest(x: &[f64]) -> usize {
    (0..x.len()).fold(0, |best, c| if x[c] > x[best] { c } else { best })
}

impl Row {
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

/// Computes a call of `f64` logits. The backward pass computes the statistics again.
pub(super) fn run(problem: &Problem, call: &Call) -> Result<()> {
    let (rows, classes) = (call.rows, problem.classes);
    let gather = |tensor: &crate::call::Strided| {
        let mut packed = vec![0.0; rows * classes];
        for (row, packed) in packed.chunks_exact_mut(classes).enumerate() {
            tensor.row(row, call.inner).load_f64(packed);
        }
        packed
    };
    let logits = gather(&call.logits);
    let (indices, probabilities) = match problem.targets_are_probabilities() {
        true => (Vec::new(), gather(&call.targets)),
        false => ((0..rows).map(|row| call.targets.index(row)).collect(), Vec::new()),
    };
    let inputs = Inputs {
        logits: &logits,
        targets: match problem.targets_are_probabilities() {
            true => Targets::Probabilities(&probabilities),
            false => Targets::Classes(&indices),
        },
        class_weights: call.class_weights.map(|data| memory::slice(data, classes)),
        row_weights: call.row_weights.map(|data| memory::slice(data, rows)),
        dloss: call.dloss.map(|dloss| memory::slice(dloss.data, dloss.per.count(rows, classes))),
        denominator: call.denominator,
    };
    let results = cross_entropy(problem, &inputs)?;

    if let Some(dlogits) = call.dlogits {
        for (row, gradient) in results.dlogits.chunks_exact(classes).enumerate() {
            dlogits.row(row, call.inner).store_f64(gradient);
        }
    }
    if call.work == Work::Backward {
        return Ok(());
    }
    let columns =
        [(call.loss, &results.loss), (call.lse, &results.lse), (call.entropy, &results.entropy)];
    for (column, values) in columns {
        for (index, value) in values.iter().enumerate() {
            column.into_iter().for_each(|data| memory::set(data, index, *value));
        }
    }
    if let Some(stats) = call.stats {
        for (row, pair) in results.largest.iter().zip(&results.exp_sum).enumerate() {
            memory::set(stats, row, [*pair.0, *pair.1]);
        }
    }
    if let Some(argmax) = call.argmax {
        results
            .argmax
            .iter()
            .enumerate()
            .for_each(|(row, class)| memory::set(argmax.cast(), row, *class));
    }
    if let Some(correct) = call.correct {
        memory::set(correct.cast(), 0, results.correct);
    }
    Ok(())
}
