//! What is launched before and after the rows of a run: what the mean divides by, and one result of the
//! losses of all rows. And how a workspace is cut.

use super::params::{self, CountParams, FinishParams, Params, Scales};
use super::sequence::Step;
use crate::call::{Call, Per, Work};
use crate::{Denominator, EmptyMean, Outputs, Problem, Reduction};

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
        let scales = take(true, size_of::<Scales>() as u64);
        let by_index = problem.has_class_targets();
        let counts = take(by_index, slices.saturating_mul(params::COUNT_BYTES as u64));
        let sums = take(sums, slices.saturating_mul(params::SUM_BYTES as u64));
        let losses = take(reduced, rows.saturating_mul(4));
        let z_losses = take(reduced && problem.z_loss != 0.0, rows.saturating_mul(4));
        let correct = take(outputs.contains(Outputs::CORRECT), rows);
        Parts { scales, counts, sums, losses, z_losses, correct, size: parts.size }
    }
}

/// Whether the losses of rows become one.
fn reduces_loss(problem: &Problem) -> bool {
    problem.reduction.is_of_batch() && problem.outputs.contains(Outputs::LOSS)
}

pub(super) fn output(pointer: Option<*mut u8>) -> u64 {
    pointer.map_or(0, |pointer| pointer.addr() as u64)
}

pub(super) fn input(pointer: Option<*const u8>) -> u64 {
    pointer.map_or(0, |pointer| pointer.addr() as u64)
}

/// The launches of a run around that for its rows, and what that one has in common with them.
pub(super) struct Around {
    count: CountParams,
    /// Whether targets are counted.
    counts: bool,
    /// Whether what results are multiplied by is known on the GPU alone.
    scales: bool,
    finish: FinishParams,
    /// Of the rows, but for the addresses and strides of tensors.
    pub rows: Params,
}

impl Around {
    pub fn new(problem: &Problem, call: &Call) -> Self {
        let parts = Parts::new(problem, call.rows as u64);
        let place = |offset: u64| call.workspace.addr() as u64 + offset;
        let slices = (call.rows as u64).div_ceil(params::SLICE_ROWS.into()) as i64;
        let mut around = Around::of_targets(problem, call);
        let Around { count, counts, scales, finish, rows } = &mut around;
        (count.counts, count.scales) = (place(parts.counts), place(parts.scales));
        count.slices = if *counts { slices } else { 0 };

        let scales = if *scales { count.scales } else { 0 };
        let forward = call.work == Work::Forward;
        let reduced = reduces_loss(problem) && forward;
        let z_losses = if reduced && problem.z_loss != 0.0 { place(parts.z_losses) } else { 0 };
        let losses = if reduced { place(parts.losses) } else { 0 };
        let correct = if call.correct.is_some() { place(parts.correct) } else { 0 };
        let per_row = call.dloss.is_some_and(|dloss| dloss.per == Per::Row);
        *rows = Params {
            targets: count.targets,
            class_weights: count.class_weights,
            row_weights: count.row_weights,
            dloss: input(call.dloss.map(|dloss| dloss.data)),
            scales,
            loss: if reduced { losses } else { output(call.loss) },
            z_losses,
            lse: output(call.lse),
            stats: output(call.stats),
            entropy: output(call.entropy),
            argmax: output(call.argmax.map(|argmax| argmax.cast())),
            correct,
            rows: call.rows as i64,
            flags: count.flags | if per_row { params::DLOSS_PER_ROW } else { 0 },
            fixed: fixed(problem, count),
            ..Params::new(problem)
        };
        *finish = FinishParams {
            losses,
            z_losses,
            correct,
            scales,
            sums: place(parts.sums),
            loss: if reduced { output(call.loss) } else { 0 },
            correct_rows: output(call.correct.map(|correct| correct.cast())),
            rows: call.rows as i64,
            slices,
            slice_rows: params::SLICE_ROWS,
            fixed: rows.fixed,
            ..FinishParams::default()
        };
        around
    }

    /// What the results are multiplied by.
    fn of_targets(problem: &Problem, call: &Call) -> Self {
        let by_index = problem.has_class_targets();
        let mut count = CountParams {
            targets: call.targets.data.addr() as u64,
            class_weights: input(call.class_weights),
            row_weights: input(call.row_weights),
            denominator: input(call.on_gpu.denominator),
            report: output(call.on_gpu.report),
            rows: call.rows as i64,
            ignore_index: problem.ignore_index.unwrap_or(0),
            slice_rows: params::SLICE_ROWS,
            classes: problem.classes as u32,
            target_type: params::target_type(problem.targets),
            flags: if problem.ignore_index.is_some() { params::IGNORE } else { 0 },
            empty_is_zero: u32::from(problem.empty_mean == EmptyMean::Zero),
            sums_weights: u32::from(
                problem.class_weights
                    && problem.label_smoothing != 0.0
                    && by_index
                    && problem.is_fused(),
            ),
            ..CountParams::default()
        };
        let rows = call.rows as f64;
        (count.denominator_kind, count.value) = match (problem.reduction, call.denominator) {
            (Reduction::RowMean, _) => (params::DENOMINATOR_VALUE, problem.classes as f64),
            (reduction, _) if !reduction.is_mean() => (params::DENOMINATOR_ONE, 0.0),
            _ if call.on_gpu.denominator.is_some() => (params::DENOMINATOR_POINTER, 0.0),
            (_, Denominator::Value(value)) => (params::DENOMINATOR_VALUE, value),
            (Reduction::BatchMean, _) if by_index => (params::DENOMINATOR_COUNTED_ROWS, 0.0),
            (Reduction::BatchMean, _) => (params::DENOMINATOR_VALUE, rows),
            _ if by_index => (params::DENOMINATOR_COUNTED, 0.0),
            _ if problem.is_elementwise() => {
                (params::DENOMINATOR_VALUE, rows * problem.classes as f64)
            }
            _ => (params::DENOMINATOR_VALUE, rows),
        };
        let of_counts = [params::DENOMINATOR_COUNTED, params::DENOMINATOR_COUNTED_ROWS];
        let counted = of_counts.contains(&count.denominator_kind);
        let on_device = count.denominator_kind == params::DENOMINATOR_POINTER;
        let counts = by_index && (counted || call.on_gpu.report.is_some());
        let scales = counts || on_device || count.sums_weights != 0;
        Around { count, counts, scales, finish: FinishParams::default(), rows: Params::default() }
    }

    /// What comes before the rows.
    pub fn before<E>(&self, step: &mut impl FnMut(Step) -> Result<(), E>) -> Result<(), E> {
        if self.counts && self.count.slices != 0 {
            step(Step::Count(self.count))?;
        }
        if self.scales {
            step(Step::Scales(self.count))?;
        }
        Ok(())
    }

    /// What becomes of the losses of the rows, and of their number.
    pub fn after<E>(&self, step: &mut impl FnMut(Step) -> Result<(), E>) -> Result<(), E> {
        let finish = self.finish;
        if finish.loss == 0 && finish.correct_rows == 0 {
            return Ok(());
        }
        if finish.slices != 0 {
            step(Step::Sum(finish))?;
        }
        step(Step::Finish(finish))
    }
}

/// The same where it is known here.
fn fixed(problem: &Problem, count: &CountParams) -> Scales {
    let factor = match (count.denominator_kind, count.value) {
        (params::DENOMINATOR_VALUE, 0.0) if problem.empty_mean == EmptyMean::Zero => 0.0,
        (params::DENOMINATOR_VALUE, 0.0) => f64::NAN,
        (params::DENOMINATOR_VALUE, value) => 1.0 / value,
        _ => 1.0,
    };
    Scales {
        cross_entropy: factor,
        z_loss: factor,
        weight_sum: problem.classes as f32,
        reserved: 0,
    }
}
