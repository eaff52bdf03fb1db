//! The launches of a run: which kernels, in which order, on how many CTAs, with which parameters. A
//! pure decision from the problem and the addresses of the call; nothing is read or launched here.

use super::around::Around;
use super::columns::{self, Cut};
use super::family;
use super::params::{ColumnParams, CountParams, ElementParams, FinishParams, Params, TensorParams};
use crate::Problem;
use crate::call::{Call, Strided, Work};

/// A launch of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `count_targets`
    Count(CountParams),
    /// `make_scales`
    Scales(CountParams),
    /// The kernel for rows whose classes are neighbours.
    Rows(Params),
    /// The kernel for other layouts.
    Columns {
        /// What it gets.
        params: ColumnParams,
        /// Which of the widths its vectors have.
        width: usize,
        /// Vectors of all outer indices.
        vectors: i64,
    },
    /// A kernel for tensors of any layout.
    Tensors(TensorParams),
    /// A kernel of losses that are sums over elements.
    Elements(ElementParams),
    /// `sum_rows`
    Sum(FinishParams),
    /// `finish_sums`
    Finish(FinishParams),
}

/// The distance of rows whose classes are neighbours; `None` for another layout.
fn row_stride(tensor: &Strided, problem: &Problem, call: &Call) -> Option<i64> {
    let [by_outer, by_class, by_inner] = tensor.strides;
    let neighbours = by_class == 1 || problem.classes == 1;
    let stride = match (call.rows / call.inner, call.inner) {
        (_, 1) => neighbours.then_some(by_outer),
        (1, _) => neighbours.then_some(by_inner),
        _ => (neighbours && by_outer == by_inner * call.inner).then_some(by_inner),
    };
    stride.map(|stride| stride as i64)
}

/// The launch for the rows of a call, whose parameters are known but for its tensors.
fn rows(problem: &Problem, call: &Call, widths: [u32; 2], params: Params) -> Step {
    let params = Params {
        logits: call.logits.data.addr() as u64,
        dlogits: call.dlogits.map_or(0, |dlogits| dlogits.data.addr() as u64),
        ..params
    };
    let strides = |tensor: &Strided| row_stride(tensor, problem, call);
    let one = |tensor: Option<Strided>| tensor.map_or(Some(0), |tensor| strides(&tensor));
    let targets = by_class(problem, call);
    let found = (strides(&call.logits), one(call.dlogits), one(targets));
    if let (Some(logits), Some(dlogits), Some(targets)) = found {
        return Step::Rows(Params {
            logits_stride: logits,
            dlogits_stride: dlogits,
            targets_stride: targets,
            ..params
        });
    }
    let place = |tensor: Strided| columns::Strided {
        address: tensor.data.addr() as u64,
        dtype: tensor.dtype,
        strides: tensor.strides,
    };
    let others = [call.dlogits, targets].map(|tensor| tensor.map(place));
    let cut = Cut::new(call.inner, &place(call.logits), &others, &widths);
    let strides = |tensor: Option<Strided>| {
        tensor.map_or([0; 3], |tensor| tensor.strides.map(|stride| stride as i64))
    };
    let [logits, dlogits, targets] = [Some(call.logits), call.dlogits, targets].map(strides);
    let params = ColumnParams {
        rows: Params {
            logits_stride: logits[0],
            dlogits_stride: dlogits[0],
            targets_stride: targets[0],
            ..params
        },
        inner: call.inner as i64,
        vectors: cut.vectors as i64,
        logits_class: logits[1],
        logits_inner: logits[2],
        dlogits_class: dlogits[1],
        dlogits_inner: dlogits[2],
        targets_class: targets[1],
        targets_inner: targets[2],
        shift: cut.shift,
        reserved: 0,
    };
    let width = widths.iter().position(|&width| width == cut.width).unwrap_or(1);
    let vectors = cut.total(call.rows / call.inner).map_or(i64::MAX, |total| total as i64);
    Step::Columns { params, width, vectors }
}

/// The targets where they are probabilities.
fn by_class(problem: &Problem, call: &Call) -> Option<Strided> {
    problem.targets_are_probabilities().then_some(call.targets)
}

/// Says the launches of a run in their order.
pub(crate) fn run<E>(
    problem: &Problem,
    call: &Call,
    widths: [u32; 2],
    mut step: impl FnMut(Step) -> Result<(), E>,
) -> Result<(), E> {
    let around = Around::new(problem, call);
    around.before(&mut step)?;
    if call.rows != 0 {
        step(match problem.is_fused() && call.work != Work::DoubleBackward {
            true => rows(problem, call, widths, around.rows),
            false => family::step(problem, call, around.rows),
        })?;
    }
    around.after(&mut step)
}
