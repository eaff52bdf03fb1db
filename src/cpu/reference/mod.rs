//! All operations in `f64`, as plain as the formulas: the oracle of every test, and what computes
//! `f64` logits.
//!
//! [`compute`] is a run, [`backward`] and [`double_backward`] are what starts from its results. All
//! take packed rows, whatever the types that the problem names.

mod call;
mod cross_entropy;
mod elements;
mod renormalised;
mod softmax;
mod term;

use super::times;
use crate::call::Per;
use crate::{Denominator, EmptyMean, Error, Problem, Reduction, Result};

pub(super) use call::run;

/// The input of [`compute`]: packed rows, all in `f64`. Weights count where they are given and the
/// operation has a use for them.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Logits, or the probabilities or log-probabilities that are in their place, (rows, classes).
    pub logits: &'a [f64],
    /// What the rows should have been.
    pub targets: Targets<'a>,
    /// Weights, (classes).
    pub class_weights: Option<&'a [f64]>,
    /// Weights, (rows).
    pub row_weights: Option<&'a [f64]>,
    /// Weights, (rows, classes).
    pub element_weights: Option<&'a [f64]>,
    /// Weights of the positive part, (classes).
    pub pos_weights: Option<&'a [f64]>,
    /// Upstream gradient: one value, or one for each loss that the reduction leaves, (rows) or (rows,
    /// classes).
    pub dloss: Option<&'a [f64]>,
    /// What the mean divides by.
    pub denominator: Denominator,
}

impl<'a> Inputs<'a> {
    /// Logits and targets, and nothing else.
    pub fn new(logits: &'a [f64], targets: Targets<'a>) -> Self {
        Inputs {
            logits,
            targets,
            class_weights: None,
            row_weights: None,
            element_weights: None,
            pos_weights: None,
            dloss: None,
            denominator: Denominator::Default,
        }
    }

    /// The upstream gradient of a loss.
    fn upstream(&self, problem: &Problem, row: usize, class: usize) -> f64 {
        match (self.dloss, Per::loss(problem)) {
            (None, _) => 1.0,
            (Some(&[dloss]), _) => dloss,
            (Some(dloss), Per::Element) => dloss[row * problem.classes + class],
            (Some(dloss), _) => dloss[row],
        }
    }
}

/// The targets of [`Inputs`].
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// One class for each row.
    Classes(&'a [i64]),
    /// Probabilities or their logarithms, (rows, classes).
    Probabilities(&'a [f64]),
    /// An operation without targets.
    None,
}

/// All outputs that an operation has, whichever the problem names; the others are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// The loss: one value, or as the [`Reduction`] says one for each row, (rows), or for each element,
    /// (rows, classes).
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
    /// The softmax or its logarithm, (rows, classes).
    pub output: Vec<f64>,
}

/// Computes every output of a problem.
///
/// ```
/// use xent::reference::{Inputs, Targets, compute};
/// use xent::{DType, Problem};
///
/// let logits = [1.0, 2.0, 3.0, 2.0, 4.0, 6.0];
/// let problem = Problem::new(DType::F64, 3);
/// let results = compute(&problem, &Inputs::new(&logits, Targets::Classes(&[0, 2])))?;
/// assert!((results.loss[0] - 1.27526879647).abs() < 1e-11);
/// # Ok::<(), xent::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a problem that is none, [`Error::Mismatch`] for a slice of the wrong
/// length, [`Error::InvalidTarget`] for a class index that is no class.
pub fn compute(problem: &Problem, inputs: &Inputs<'_>) -> Result<Results> {
    problem.validate()?;
    let rows = checked_rows(problem, inputs)?;
    if problem.is_softmax() {
        return Ok(softmax::compute(problem, inputs.logits));
    }
    let targets = read_targets(problem, inputs, rows)?;
    Ok(match problem.is_fused() {
        true => cross_entropy::compute(problem, inputs, &targets),
        false => elements::compute(problem, inputs, &targets),
    })
}

/// Computes the gradient of the logits from a softmax or its logarithm and the upstream gradient of it.
///
/// ```
/// use xent::reference::backward;
/// use xent::{DType, Problem};
///
/// let dlogits = backward(&Problem::softmax(DType::F64, 2), &[0.75, 0.25], &[1.0, 0.0])?;
/// assert_eq!(dlogits, [0.1875, -0.1875]);
/// # Ok::<(), xent::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a problem that is none, [`Error::Mismatch`] for a slice of the wrong
/// length, [`Error::Unsupported`] for another operation.
pub fn backward(problem: &Problem, output: &[f64], doutput: &[f64]) -> Result<Vec<f64>> {
    problem.validate()?;
    if !problem.is_softmax() {
        return Err(Error::Unsupported {
            what: format!("{:?} from its output", problem.operation),
            instead: "compute its gradient".into(),
        });
    }
    let rows = whole_rows(problem, "output", output)?;
    check("doutput", doutput.len(), rows * problem.classes)?;
    Ok(softmax::backward(problem, output, doutput))
}

/// Computes the derivative of the gradient of a cross entropy of logits in a direction, as
/// [`Plan::double_backward`](crate::Plan::double_backward).
///
/// ```
/// use xent::reference::{Inputs, Targets, double_backward};
/// use xent::{DType, Problem};
///
/// let problem = Problem::new(DType::F64, 2);
/// let inputs = Inputs::new(&[0.0, 0.0], Targets::Classes(&[0]));
/// assert_eq!(double_backward(&problem, &inputs, &[1.0, 0.0])?, [0.25, -0.25]);
/// # Ok::<(), xent::Error>(())
/// ```
///
/// # Errors
/// As [`compute`]; [`Error::Unsupported`] with a softcap, and for another operation.
pub fn double_backward(
    problem: &Problem,
    inputs: &Inputs<'_>,
    ddlogits: &[f64],
) -> Result<Vec<f64>> {
    problem.validate()?;
    if !problem.is_fused() || problem.softcap.is_some() {
        let input = problem.input;
        return Err(Error::Unsupported {
            what: format!("double backward of {:?} of {input:?}", problem.operation),
            instead: "use the cross entropy of logits without a softcap".into(),
        });
    }
    let rows = checked_rows(problem, inputs)?;
    check("ddlogits", ddlogits.len(), rows * problem.classes)?;
    let targets = read_targets(problem, inputs, rows)?;
    Ok(cross_entropy::double_backward(problem, inputs, &targets, ddlogits))
}

fn check(field: &'static str, given: usize, needed: usize) -> Result<()> {
    match given == needed {
        true => Ok(()),
        false => Err(Error::mismatch(field, format!("{given} elements"), needed)),
    }
}

/// How many rows these are.
fn whole_rows(problem: &Problem, field: &'static str, elements: &[f64]) -> Result<usize> {
    let rows = elements.len() / problem.classes;
    check(field, elements.len(), rows * problem.classes)?;
    Ok(rows)
}

fn checked_rows(problem: &Problem, inputs: &Inputs<'_>) -> Result<usize> {
    let classes = problem.classes;
    let rows = whole_rows(problem, "logits", inputs.logits)?;
    let (given, len) = match inputs.targets {
        Targets::Classes(targets) => ("classes", targets.len()),
        Targets::Probabilities(targets) => ("probabilities", targets.len()),
        Targets::None => ("none", 0),
    };
    let (needed, needed_len) = match problem.has_targets() {
        true if problem.targets_are_probabilities() => ("probabilities", rows * classes),
        true => ("classes", rows),
        false => ("none", 0),
    };
    if given != needed {
        return Err(Error::mismatch("targets", given, needed));
    }
    check("targets", len, needed_len)?;
    let weights = [
        ("class_weights", inputs.class_weights, classes),
        ("row_weights", inputs.row_weights, rows),
        ("element_weights", inputs.element_weights, rows * classes),
        ("pos_weights", inputs.pos_weights, classes),
    ];
    for (field, weights, needed) in weights {
        weights.map_or(Ok(()), |weights| check(field, weights.len(), needed))?;
    }
    match inputs.dloss {
        None | Some([_]) => (),
        Some(dloss) => check("dloss", dloss.len(), Per::loss(problem).count(rows, classes))?,
    }
    Ok(rows)
}

/// The target of one row.
#[derive(Clone, Copy, Debug)]
enum Target<'a> {
    Class(usize),
    Probabilities(&'a [f64]),
    None,
}

impl Target<'_> {
    /// The targets of all classes, smoothed towards 1 over so many.
    fn distribution(&self, problem: &Problem, of: usize) -> Vec<f64> {
        let smoothing = problem.label_smoothing;
        let plain = |class: usize| match self {
            Target::Class(target) => f64::from(u8::from(class == *target)),
            Target::Probabilities(q) => q[class],
            Target::None => 0.0,
        };
        let smooth = |class| (1.0 - smoothing) * plain(class) + smoothing / of as f64;
        (0..problem.classes).map(smooth).collect()
    }
}

/// The targets of all rows; `None` for a row that is not counted.
fn read_targets<'a>(
    problem: &Problem,
    inputs: &Inputs<'a>,
    rows: usize,
) -> Result<Vec<Option<Target<'a>>>> {
    let classes = problem.classes;
    let of_row = |row: usize| match inputs.targets {
        Targets::None => Ok(Some(Target::None)),
        Targets::Probabilities(q) => {
            Ok(Some(Target::Probabilities(&q[row * classes..(row + 1) * classes])))
        }
        Targets::Classes(indices) if problem.ignore_index == Some(indices[row]) => Ok(None),
        Targets::Classes(indices) => match usize::try_from(indices[row]) {
            Ok(class) if class < classes => Ok(Some(Target::Class(class))),
            _ => Err(Error::InvalidTarget { row, value: indices[row], classes }),
        },
    };
    (0..rows).map(of_row).collect()
}

/// The sum of the weights of the counted rows, whose targets are class indices.
fn weight_of_rows(inputs: &Inputs<'_>, targets: &[Option<Target<'_>>]) -> f64 {
    let weight = |(row, target): (usize, &Option<Target<'_>>)| match target {
        Some(Target::Class(class)) => {
            let class_weight = inputs.class_weights.map_or(1.0, |w| w[*class]);
            class_weight * inputs.row_weights.map_or(1.0, |w| w[row])
        }
        _ => 0.0,
    };
    targets.iter().enumerate().map(weight).sum()
}

/// What losses are multiplied by, where PyTorch's mean divides by `mean`, and so many rows are counted.
fn scale(problem: &Problem, inputs: &Inputs<'_>, mean: f64, rows: f64) -> f64 {
    let denominator = match (problem.reduction, inputs.denominator) {
        (Reduction::Mean | Reduction::BatchMean, Denominator::Value(value)) => value,
        (Reduction::Mean, Denominator::Default) => mean,
        (Reduction::BatchMean, Denominator::Default) => rows,
        (Reduction::RowMean, _) => problem.classes as f64,
        (Reduction::None | Reduction::Sum | Reduction::Elements, _) => 1.0,
    };
    match problem.empty_mean {
        _ if denominator != 0.0 => 1.0 / denominator,
        EmptyMean::Nan => f64::NAN,
        EmptyMean::Zero => 0.0,
    }
}
