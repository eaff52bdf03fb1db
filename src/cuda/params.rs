//! The parameters of the kernels: twins of the structs of the same names in `cuda/`. Addresses are
//! those of device memory; 0 is NULL: an input that is not given, an output that is not wanted.

use crate::{DType, Problem};

/// Declares structs that C lays out in the same way, with their bytes. Their size is asserted here
/// and there, and there is no padding.
macro_rules! twins {
    ($($(#[$about:meta])* $name:ident, $size:literal {
        $($(#[$field_about:meta])* $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$about])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)*
        }

        const _: () = assert!(size_of::<$name>() == $size);
        const _: () = assert!(0 $(+ size_of::<$type>())* == $size);

        impl $name {
            /// As a kernel gets them.
            pub fn to_bytes(&self) -> Vec<u8> {
                let mut bytes = Vec::with_capacity($size);
                $(self.$field.put(&mut bytes);)*
                bytes
            }
        }

        impl Put for $name {
            fn put(&self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_bytes());
            }
        }
    )*};
}

trait Put {
    fn put(&self, bytes: &mut Vec<u8>);
}

macro_rules! put {
    ($($type:ty)*) => {$(
        impl Put for $type {
            fn put(&self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_ne_bytes());
            }
        }
    )*};
}

put!(u32 f32 u64 i64 f64);

twins! {
    /// What loss and gradient are multiplied by.
    Scales, 24 {
        /// Of the cross entropy: 1, or 1 / sum of weights.
        cross_entropy: f64,
        /// Of the z-loss: 1, or 1 / number of rows.
        z_loss: f64,
        /// Sum of the class weights; without any, their number.
        weight_sum: f32,
        /// 0
        reserved: u32,
    }

    /// Of the kernels that work on rows.
    Params, 232 {
        /// (rows, classes)
        logits: u64,
        /// (rows, classes)
        dlogits: u64,
        /// (rows), or probabilities (rows, classes).
        targets: u64,
        /// (classes)
        class_weights: u64,
        /// (rows)
        row_weights: u64,
        /// (1), or (rows) with [`DLOSS_PER_ROW`].
        dloss: u64,
        /// [`Scales`] in the workspace; 0: `fixed`.
        scales: u64,
        /// (rows): cross entropy, and the z-loss too if `z_losses` is 0.
        loss: u64,
        /// (rows)
        z_losses: u64,
        /// (rows)
        lse: u64,
        /// (rows, 2)
        stats: u64,
        /// (rows)
        entropy: u64,
        /// (rows)
        argmax: u64,
        /// (rows) bytes.
        correct: u64,
        /// In elements.
        logits_stride: i64,
        /// In elements.
        dlogits_stride: i64,
        /// In elements; of probabilities.
        targets_stride: i64,
        /// With [`IGNORE`].
        ignore_index: i64,
        /// Number of rows.
        rows: i64,
        /// Number of classes.
        classes: u32,
        /// See [`target_type`].
        target_type: u32,
        /// [`IGNORE`], [`DLOSS_PER_ROW`], [`NEIGHBOURS`].
        flags: u32,
        /// The signs of the elements in a word, if the scale is negative.
        sign_flip: u32,
        /// 1 - label smoothing.
        keep: f32,
        /// Label smoothing / classes; / 2 of a binary cross entropy.
        share: f32,
        /// |k| / inner, without a softcap.
        scale: f32,
        /// The softcap c.
        cap: f32,
        /// Factor of logits: with a softcap |k| / c; else 1/2 if |k| < 1, or 1.
        inner: f32,
        /// k
        slope: f32,
        /// Factor of lse^2.
        z_loss: f32,
        /// |k| log2(e) / inner; with a softcap -2 |k| log2(e) / c.
        exponent: f32,
        /// What is left of it: of the same sign, and not 0.
        exponent_low: f32,
        /// 0, which the compiler does not know.
        zero: u32,
        /// What `scales` would hold.
        fixed: Scales,
    }

    /// Of the kernel of columns; see [`Cut`](super::columns::Cut).
    ColumnParams, 304 {
        /// Its strides are those of the outer axis.
        rows: Params,
        /// Columns of an outer index.
        inner: i64,
        /// Vectors of an outer index.
        vectors: i64,
        /// Strides along (classes, inner), in elements.
        logits_class: i64,
        /// See `logits_class`.
        logits_inner: i64,
        /// See `logits_class`.
        dlogits_class: i64,
        /// See `logits_class`.
        dlogits_inner: i64,
        /// See `logits_class`; of probabilities.
        targets_class: i64,
        /// See `logits_class`; of probabilities.
        targets_inner: i64,
        /// Column c is element c + shift of the vectors.
        shift: u32,
        /// 0
        reserved: u32,
    }

    /// A tensor (outer, classes, inner), or none where its address is 0. Strides are in elements.
    Tensor, 32 {
        /// Address.
        data: u64,
        /// Stride.
        outer: i64,
        /// Stride.
        by_class: i64,
        /// Stride.
        inner: i64,
    }

    /// Of the kernels for tensors of any layout.
    TensorParams, 368 {
        /// But for its addresses and strides of tensors.
        rows: Params,
        /// Logits, or the output of a softmax.
        logits: Tensor,
        /// Probabilities.
        targets: Tensor,
        /// Gradient of a softmax, of a gradient, or of the losses of elements.
        upstream: Tensor,
        /// A softmax, or a gradient.
        output: Tensor,
        /// Rows of an outer index.
        inner: i64,
    }

    /// How logarithms of probabilities are kept finite.
    Clip, 40 {
        /// The smallest p that is not clipped.
        low: f32,
        /// The largest p that is not clipped.
        high: f32,
        /// -log p below `low`.
        below: f32,
        /// -log p above `high`.
        above: f32,
        /// -log(1 - p) below `low`.
        rest_below: f32,
        /// -log(1 - p) above `high`.
        rest_above: f32,
        /// What p becomes below `low`.
        lowest: f32,
        /// What p becomes above `high`.
        highest: f32,
        /// The largest -log p.
        bound: f32,
        /// Added to p.
        epsilon: f32,
    }

    /// Of the kernels of losses that are sums over elements.
    ElementParams, 496 {
        /// `upstream` is that of the losses of elements, `output` the gradient.
        of: TensorParams,
        /// Of elements.
        weights: Tensor,
        /// Of elements.
        losses: Tensor,
        /// (classes)
        pos_weights: u64,
        /// What the loss of a row or of an element is multiplied by.
        of_loss: f64,
        /// And its derivatives, beside the scales.
        of_slope: f64,
        /// Of probabilities.
        clip: Clip,
    }

    /// Of the kernels that count.
    CountParams, 120 {
        /// (rows); not read if they are probabilities.
        targets: u64,
        /// (classes)
        class_weights: u64,
        /// (rows)
        row_weights: u64,
        /// (1), of [`DENOMINATOR_POINTER`].
        denominator: u64,
        /// (slices) of [`COUNT_BYTES`].
        counts: u64,
        /// [`Scales`].
        scales: u64,
        /// Report, 32 bytes.
        report: u64,
        /// Number of rows.
        rows: i64,
        /// Number of slices; 0 for probabilities, which are all counted.
        slices: i64,
        /// With [`IGNORE`].
        ignore_index: i64,
        /// Of [`DENOMINATOR_VALUE`].
        value: f64,
        /// [`SLICE_ROWS`]
        slice_rows: u32,
        /// Number of classes.
        classes: u32,
        /// See [`target_type`].
        target_type: u32,
        /// [`IGNORE`]
        flags: u32,
        /// [`DENOMINATOR_ONE`] and so on.
        denominator_kind: u32,
        /// Whether a mean over nothing is 0.
        empty_is_zero: u32,
        /// Whether anybody reads [`Scales::weight_sum`].
        sums_weights: u32,
        /// 0
        reserved: u32,
    }

    /// Of the kernels that make one result of the rows' losses.
    FinishParams, 104 {
        /// (rows)
        losses: u64,
        /// (rows)
        z_losses: u64,
        /// (rows) bytes.
        correct: u64,
        /// [`Scales`] in the workspace; 0: `fixed`.
        scales: u64,
        /// (slices) of [`SUM_BYTES`].
        sums: u64,
        /// (1)
        loss: u64,
        /// (1)
        correct_rows: u64,
        /// Number of rows.
        rows: i64,
        /// Number of slices.
        slices: i64,
        /// [`SLICE_ROWS`]
        slice_rows: u32,
        /// 0
        reserved: u32,
        /// What `scales` would hold.
        fixed: Scales,
    }

    /// Of the kernel that casts.
    CastParams, 24 {
        /// (count)
        from: u64,
        /// (count)
        to: u64,
        /// Elements.
        count: i64,
    }
}

/// Flag: rows with `ignore_index` are not counted.
pub const IGNORE: u32 = 1;
/// Flag: the upstream gradient has a value for each row.
pub const DLOSS_PER_ROW: u32 = 2;
/// Flag: classes are neighbours in all tensors of any layout.
pub const NEIGHBOURS: u32 = 4;

/// The scales are 1.
pub const DENOMINATOR_ONE: u32 = 0;
/// The rows are counted and their weights summed.
pub const DENOMINATOR_COUNTED: u32 = 1;
/// The caller gave a number.
pub const DENOMINATOR_VALUE: u32 = 2;
/// The caller gave a place in device memory, of an `f32`.
pub const DENOMINATOR_POINTER: u32 = 3;
/// The number of counted rows.
pub const DENOMINATOR_COUNTED_ROWS: u32 = 4;

/// Rows that one CTA counts or sums.
pub const SLICE_ROWS: u32 = 4096;
/// What a slice leaves in the workspace.
pub const COUNT_BYTES: usize = 32;
/// What a slice leaves in the workspace.
pub const SUM_BYTES: usize = 24;

/// How kernels name the type of index targets.
pub fn target_type(dtype: DType) -> u32 {
    match dtype {
        DType::I32 => 0,
        DType::U8 => 2,
        DType::U32 => 3,
        _ => 1,
    }
}

impl Params {
    /// What a problem says: all but addresses, strides and the number of rows.
    pub fn new(problem: &Problem) -> Self {
        let (scale, magnitude) = (problem.logit_scale, problem.logit_scale.abs());
        let halves = if magnitude < 1.0 { 0.5 } else { 1.0 };
        let inner = problem.softcap.map_or(halves, |cap| magnitude / cap);
        let smoothing = problem.label_smoothing;
        let exponent = match problem.softcap {
            Some(_) => -2.0 * std::f64::consts::LOG2_E * inner,
            None => std::f64::consts::LOG2_E * (magnitude / inner),
        };
        let (exponent, exponent_low) = split(exponent);
        let signs = if problem.logits == DType::F32 { 0x8000_0000 } else { 0x8000_8000 };
        Params {
            ignore_index: problem.ignore_index.unwrap_or(0),
            classes: problem.classes as u32,
            target_type: target_type(problem.targets),
            flags: if problem.ignore_index.is_some() { IGNORE } else { 0 },
            sign_flip: if scale < 0.0 { signs } else { 0 },
            keep: (1.0 - smoothing) as f32,
            share: (smoothing / problem.classes as f64) as f32,
            scale: (magnitude / inner) as f32,
            cap: problem.softcap.unwrap_or(0.0) as f32,
            inner: inner as f32,
            slope: scale as f32,
            z_loss: problem.z_loss as f32,
            exponent,
            exponent_low,
            fixed: Scales {
                cross_entropy: 1.0,
                z_loss: 1.0,
                weight_sum: problem.classes as f32,
                reserved: 0,
            },
            ..Params::default()
        }
    }
}

/// A number as two whose sum it is. Both have its sign, and the lesser is not 0: infinity times the
/// one, plus infinity times the other, is no NaN.
fn split(x: f64) -> (f32, f32) {
    let nearest = x as f32;
    let high = match f64::from(nearest).abs() > x.abs() {
        true => f32::from_bits(nearest.to_bits() - 1),
        false => nearest,
    };
    let low = (x - f64::from(high)).abs() as f32;
    (high, low.max(f32::from_bits(1)).copysign(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_split_into_two_of_its_sign() {
        for x in [1.0, -1.0, std::f64::consts::LOG2_E, -0.1, 1e-30, 1e-40, 3e38, -2.0 / 3.0] {
            let (high, low) = split(x);
            assert!(high.signum() == low.signum() && low != 0.0, "{x}");
            let error = (f64::from(high) + f64::from(low) - x).abs();
            assert!(error <= x.abs() * 2f64.powi(-45) + 1.5e-45, "{x}: {error}");
        }
    }
}
