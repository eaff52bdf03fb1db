//! How a call of `f64` logits becomes slices of the reference, and its results are written.

use super::super::memory;
use super::{Inputs, Results, Targets, backward, compute, double_backward};
use crate::call::{Call, Per, Strided, Work};
use crate::{DType, Problem, Result};

/// Computes a call. What starts from statistics computes them again.
pub(in super::super) fn run(problem: &Problem, call: &Call) -> Result<()> {
    let upstream = call.upstream.map(|upstream| gather(problem, call, &upstream));
    let dlogits = match (call.work, &upstream) {
        (Work::Backward, Some(doutput)) => {
            backward(problem, &gather(problem, call, &call.logits), doutput)?
        }
        (Work::DoubleBackward, Some(ddlogits)) => {
            with_inputs(problem, call, |inputs| double_backward(problem, inputs, ddlogits))?
        }
        _ => {
            let results = with_inputs(problem, call, |inputs| compute(problem, inputs))?;
            if call.work == Work::Forward {
                write(problem, call, &results);
            }
            results.dlogits
        }
    };
    scatter(problem, call, call.dlogits, &dlogits);
    Ok(())
}

/// Hands on what the call reads, widened and packed.
fn with_inputs<R>(
    problem: &Problem,
    call: &Call,
    then: impl FnOnce(&Inputs<'_>) -> Result<R>,
) -> Result<R> {
    let (rows, classes) = (call.rows, problem.classes);
    let logits = gather(problem, call, &call.logits);
    let (indices, probabilities): (Vec<i64>, Vec<f64>);
    let targets = match problem.has_targets() {
        true if problem.targets_are_probabilities() => {
            probabilities = gather(problem, call, &call.targets);
            Targets::Probabilities(&probabilities)
        }
        true => {
            indices = (0..rows).map(|row| call.targets.index(row)).collect();
            Targets::Classes(&indices)
        }
        false => Targets::None,
    };
    let element_weights = call.element_weights.map(|weights| gather(problem, call, &weights));
    let dloss = call.dloss.map(|dloss| match dloss.per {
        Per::Element => gather(problem, call, &elements(problem, call, dloss.data.cast_mut())),
        per => memory::slice(dloss.data, per.count(rows, classes)).to_vec(),
    });
    then(&Inputs {
        class_weights: call.class_weights.map(|data| memory::slice(data, classes)),
        row_weights: call.row_weights.map(|data| memory::slice(data, rows)),
        element_weights: element_weights.as_deref(),
        pos_weights: call.pos_weights.map(|data| memory::slice(data, classes)),
        dloss: dloss.as_deref(),
        denominator: call.denominator,
        ..Inputs::new(&logits, targets)
    })
}

/// One `f64` for each element, packed.
fn elements(problem: &Problem, call: &Call, data: *mut u8) -> Strided {
    let strides = [problem.classes * call.inner, call.inner, 1];
    Strided { data, dtype: DType::F64, strides }
}

/// The elements of a tensor as packed rows.
fn gather(problem: &Problem, call: &Call, tensor: &Strided) -> Vec<f64> {
    let mut packed = vec![0.0; call.rows * problem.classes];
    for (row, packed) in packed.chunks_exact_mut(problem.classes).enumerate() {
        tensor.row(row, call.inner).load_f64(packed);
    }
    packed
}

/// Packed rows to where a tensor has them.
fn scatter(problem: &Problem, call: &Call, tensor: Option<Strided>, packed: &[f64]) {
    let Some(tensor) = tensor else { return };
    for (row, packed) in packed.chunks_exact(problem.classes).enumerate() {
        tensor.row(row, call.inner).store_f64(packed);
    }
}

/// Writes the outputs of a forward run, but for the gradient.
fn write(problem: &Problem, call: &Call, results: &Results) {
    let mut columns =
        vec![(call.lse, results.lse.as_slice()), (call.entropy, results.entropy.as_slice())];
    match (Per::loss(problem), call.loss) {
        (Per::Element, Some(loss)) => {
            scatter(problem, call, Some(elements(problem, call, loss)), &results.loss);
        }
        (_, loss) => columns.push((loss, &results.loss)),
    }
    for (column, values) in columns {
        for (index, value) in values.iter().enumerate() {
            column.into_iter().for_each(|data| memory::set(data, index, *value));
        }
    }
    scatter(problem, call, call.output, &results.output);
    if let Some(stats) = call.stats {
        for (row, pair) in results.largest.iter().zip(&results.exp_sum).enumerate() {
            memory::set(stats, row, [*pair.0, *pair.1]);
        }
    }
    if let Some(argmax) = call.argmax {
        for (row, class) in results.argmax.iter().enumerate() {
            memory::set(argmax.cast(), row, *class);
        }
    }
    if let Some(correct) = call.correct {
        memory::set(correct.cast(), 0, results.correct);
    }
}
