//! The launches of a run: which kernels, in which order, on how many CTAs, with which parameters. A
//! pure decision from the problem and the addresses of the call; nothing is read or launched here.

use super::columns::{self, Cut};
use super::params::{self, ColumnParams, CountParams, FinishParams, Params};
use crate::call::{Call, Per, Strided};
use crate::{Denominator, EmptyMean, Outputs, Problem, Reduction};

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
    /// `sum_rows`
    Sum(FinishParams),
    /// `finish_sums`
    Finish(FinishParams),
}

/// How a workspace is cut: offsets in bytes, each a multiple of 256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts {
    scales: u64,
    counts: u64,
    sums: u64,
    losses: u64,
    z_losses: u64,
    correct: u64,
    size: u64,
}

/// The bytes of workspace that a run of so many rows needs.
pub(crate) fn workspace_size(problem: &Problem, rows: usize) -> usize {
    usize::try_from(Parts::new(problem, rows as u64).size).unwrap_or(usize::MAX)
}

impl Parts {
    fn new(problem: &Problem, rows: u64) -> Parts {
        let mut parts = Parts::default();
        let mut take = |wanted: bool, bytes: u64| {
            let at = parts.size;
            let bytes =
                if wanted { bytes.checked_next_multiple_of(256).unwrap_or(u64::MAX) } else { 0 };
            parts.size = at.saturating_add(bytes);
            at
        };
        let slices = rows.div_ceil(params::SLICE_ROWS.into());
        let outputs = problem.outputs;
        let reduced = reduces_loss(problem);
        let sums = reduced || outputs.contains(Outputs::CORRECT);
        let scales = take(true, size_of::<params::Scales>() as u64);
        let counts = take(by_index(problem), slices.saturating_mul(params::COUNT_BYTES as u64));
        let sums = take(sums, slices.saturating_mul(params::SUM_BYTES as u64));
        let losses = take(reduced, rows.saturating_mul(4));
        let z_losses = take(reduced && problem.z_loss != 0.0, rows.saturating_mul(4));
        let correct = take(outputs.contains(Outputs::CORRECT), rows);
        Parts { scales, counts, sums, losses, z_losses, correct, size: parts.size }
    }
}

fn by_index(problem: &Problem) -> bool {
    !problem.targets_are_probabilities()
}

/// Whether the losses of rows become one.
fn reduces_loss(problem: &Problem) -> bool {
    problem.reduction.is_of_batch() && problem.outputs.contains(Outputs::LOSS)
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

/// The launch for the rows of a call, whose parameters are known but for its strides.
fn rows(problem: &Problem, call: &Call, widths: [u32; 2], params: Params) -> Step {
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

/// Says the launches of a run, or of the gradient from statistics, in their order.
pub(crate) fn run<E>(
    problem: &Problem,
    call: &Call,
    backward: bool,
    widths: [u32; 2],
    mut step: impl FnMut(Step) -> Result<(), E>,
) -> Result<(), E> {
    let parts = Parts::new(problem, call.rows as u64);
    let slices = (call.rows as u64).div_ceil(params::SLICE_ROWS.into()) as i64;
    let output = |pointer: Option<*mut u8>| pointer.map_or(0, |pointer| pointer.addr() as u64);
    let address = |pointer: Option<*const u8>| pointer.map_or(0, |pointer| pointer.addr() as u64);
    let place = |offset: u64| call.workspace.addr() as u64 + offset;

    // What the results are multiplied by.
    let mut count = CountParams {
        targets: call.targets.data.addr() as u64,
        class_weights: address(call.class_weights),
        row_weights: address(call.row_weights),
        denominator: address(call.on_gpu.denominator),
        counts: place(parts.counts),
        scales: place(parts.scales),
        report: output(call.on_gpu.report),
        rows: call.rows as i64,
        ignore_index: problem.ignore_index.unwrap_or(0),
        slice_rows: params::SLICE_ROWS,
        classes: problem.classes as u32,
        target_type: params::target_type(problem.targets),
        flags: if problem.ignore_index.is_some() { params::IGNORE } else { 0 },
        empty_is_zero: u32::from(problem.empty_mean == EmptyMean::Zero),
        sums_weights: u32::from(
            problem.class_weights && problem.label_smoothing != 0.0 && by_index(problem),
        ),
        ..CountParams::default()
    };
    (count.denominator_kind, count.value) = match (problem.reduction, call.denominator) {
        (reduction, _) if !reduction.is_mean() => (params::DENOMINATOR_ONE, 0.0),
        _ if call.on_gpu.denominator.is_some() => (params::DENOMINATOR_POINTER, 0.0),
        (_, Denominator::Value(value)) => (params::DENOMINATOR_VALUE, value),
        (reduction, Denominator::Default) if by_index(problem) => match reduction {
            Reduction::BatchMean => (params::DENOMINATOR_COUNTED_ROWS, 0.0),
            _ => (params::DENOMINATOR_COUNTED, 0.0),
        },
        (_, Denominator::Default) => (params::DENOMINATOR_VALUE, call.rows as f64),
    };
    let of_counts = [params::DENOMINATOR_COUNTED, params::DENOMINATOR_COUNTED_ROWS];
    let counted = of_counts.contains(&count.denominator_kind);
    let on_device = count.denominator_kind == params::DENOMINATOR_POINTER;
    let counts = by_index(problem) && (counted || call.on_gpu.report.is_some());
    let scales = counts || on_device || count.sums_weights != 0;
    if counts {
        count.slices = slices;
    }
    if counts && slices != 0 {
        step(Step::Count(count))?;
    }
    if scales {
        step(Step::Scales(count))?;
    }
    let factor = match (count.denominator_kind, count.value) {
        (params::DENOMINATOR_VALUE, 0.0) => {
            if problem.empty_mean == EmptyMean::Zero {
                0.0
            } else {
                f64::NAN
            }
        }
        (params::DENOMINATOR_VALUE, value) => 1.0 / value,
        _ => 1.0,
    };
    let fixed = params::Scales {
        cross_entropy: factor,
        z_loss: factor,
        weight_sum: problem.classes as f32,
        reserved: 0,
    };

    let scales = if scales { count.scales } else { 0 };

    // The rows, and what becomes of their losses.
    let reduced = reduces_loss(problem) && !backward;
    let z_apart = reduced && problem.z_loss != 0.0;
    let counts_correct = call.correct.is_some();
    let row_losses = if reduced { place(parts.losses) } else { output(call.loss) };
    let z_losses = if z_apart { place(parts.z_losses) } else { 0 };
    let correct = if counts_correct { place(parts.correct) } else { 0 };
    if call.rows != 0 {
        let params = Params {
            logits: call.logits.data.addr() as u64,
            dlogits: call.dlogits.map_or(0, |dlogits| dlogits.data.addr() as u64),
            targets: count.targets,
            class_weights: count.class_weights,
            row_weights: count.row_weights,
            dloss: address(call.dloss.map(|dloss| dloss.data)),
            scales,
            loss: row_losses,
            z_losses,
            lse: output(call.lse),
            stats: output(call.stats),
            entropy: output(call.entropy),
            argmax: output(call.argmax.map(|argmax| argmax.cast())),
            correct,
            rows: call.rows as i64,
            flags: count.flags
                | if call.dloss.is_some_and(|dloss| dloss.per == Per::Row) {
                    params::DLOSS_PER_ROW
                } else {
                    0
                },
            fixed,
            ..Params::new(problem)
        };
        step(rows(problem, call, widths, params))?;
    }
    if reduced || counts_correct {
        let finish = FinishParams {
            losses: if reduced { row_losses } else { 0 },
            z_losses,
            correct,
            scales,
            sums: place(parts.sums),
            loss: if reduced { output(call.loss) } else { 0 },
            correct_rows: output(call.correct.map(|correct| correct.cast())),
            rows: call.rows as i64,
            slices,
            slice_rows: params::SLICE_ROWS,
            fixed,
            ..FinishParams::default()
        };
        if slices != 0 {
            step(Step::Sum(finish))?;
        }
        step(Step::Finish(finish))?;
    }
    Ok(())
}
