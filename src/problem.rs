//! What to compute.

use crate::{Clip, DType, Error, Form, Operation, Renormalise, Result, Unit};

bitflags::bitflags! {
    /// The outputs of a run. Rows are counted as (outer, inner); *T* is `f32`, or `f64` for `f64`
    /// logits ([`DType::companion`]).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Outputs: u32 {
        /// The loss, *T*: one value, one for each row, or one for each element, as the [`Reduction`]
        /// says.
        const LOSS = 1;
        /// log(sum(exp(z))) of each row, *T*, where z are the scaled and capped logits.
        const LSE = 1 << 1;
        /// Two *T* for each row, which [`Plan::backward`](crate::Plan::backward) reads: the logit of
        /// the most probable class, before scale and cap, and the sum of exp(z - max z) over the
        /// other classes.
        const STATS = 1 << 2;
        /// The gradient of the loss with respect to the logits: shape of the logits.
        const DLOGITS = 1 << 3;
        /// The most probable class of each row, `i64`: the first one where several are equal, -1
        /// for an ignored row and for a row whose softmax is not defined (a NaN, +inf, or nothing
        /// but -inf).
        const ARGMAX = 1 << 4;
        /// How many counted rows have their target as `ARGMAX`, one `i64`. The target of a row of
        /// probabilities is its first most probable class.
        const CORRECT = 1 << 5;
        /// The entropy of the softmax of each row in nats, *T*.
        const ENTROPY = 1 << 6;
        /// The softmax or its logarithm, in the shape of the logits.
        const OUTPUT = 1 << 7;
        /// All that the cross entropy of logits has.
        const CROSS_ENTROPY = (1 << 7) - 1;
    }
}

/// How the losses of the rows become the result. The loss of a row is the sum over its classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// One loss for each row.
    None,
    /// PyTorch's mean. With class indices, the sum of losses is divided by the sum of the
    /// weights of the counted rows; with probabilities, by the number of rows; the z-loss always
    /// by the number of counted rows. A binary cross entropy and a divergence are divided by the
    /// number of elements. [`Denominator`](crate::Denominator) replaces all of these.
    #[default]
    Mean,
    /// The sum.
    Sum,
    /// The sum over the number of counted rows, whatever their weights, as Keras' mean and PyTorch's
    /// `batchmean`.
    BatchMean,
    /// One loss for each row of a binary cross entropy or a divergence, divided by the number of
    /// classes.
    RowMean,
    /// One loss for each element of a binary cross entropy or a divergence, (outer, classes, inner).
    Elements,
}

impl Reduction {
    /// Whether there is one loss for all rows.
    pub(crate) fn is_of_batch(self) -> bool {
        matches!(self, Reduction::Mean | Reduction::Sum | Reduction::BatchMean)
    }

    /// Whether it divides by a denominator.
    pub(crate) fn is_mean(self) -> bool {
        matches!(self, Reduction::Mean | Reduction::BatchMean)
    }
}

/// The mean over nothing: its denominator is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EmptyMean {
    /// NaN as in PyTorch, and so is the gradient of rows that are counted.
    #[default]
    Nan,
    /// 0, and a gradient of 0.
    Zero,
}

/// What to compute: an operation, types, sizes, options and the outputs that are wanted.
///
/// [`Problem::new`] is the cross entropy of logits, for which most options are; [`Operation`] has the
/// others. For one row of logits x, with `logit_scale` k, `softcap` c, class weights w, smoothing s over C
/// classes, row weight r and z-loss factor a:
///
/// * z = k x, and with a softcap, z = c tanh(k x / c)
/// * lse = log(sum(exp(z))), and -log p = lse - z
/// * class index y: loss = r ((1 - s) w\[y\] (lse - z\[y\]) + s/C sum(w (lse - z))) + a lse^2
/// * probabilities q: loss = r sum(w ((1 - s) q + s/C) (lse - z)) + a lse^2
///
/// These are PyTorch's definitions, with z-loss as in PaLM and softcap as in Gemma 2. A product of
/// 0 and infinity in them is 0. Weights do not enter the z-loss.
///
/// ```
/// use xent::{DType, Outputs, Problem, Reduction};
///
/// let problem = Problem::new(DType::BF16, 32000)
///     .targets(DType::I64)
///     .ignore_index(-100)
///     .label_smoothing(0.1)
///     .reduction(Reduction::Mean)
///     .outputs(Outputs::LOSS | Outputs::DLOGITS);
/// assert!(problem.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// What is computed of each row.
    pub operation: Operation,
    /// What the logits are: logits, or in other operations probabilities or their logarithms.
    pub input: Form,
    /// Type of the logits: `F32`, `F16`, `BF16`, or on the CPU `F64`.
    pub logits: DType,
    /// Number of classes C, from 1 to [`Problem::MAX_CLASSES`].
    pub classes: usize,
    /// Type of the targets: an integer type for class indices, a floating-point type for
    /// probabilities (`F64` only with `F64` logits).
    pub targets: DType,
    /// Whether the targets are logarithms of probabilities.
    pub log_targets: bool,
    /// Type of the gradient: that of the logits, or `F32`.
    pub dlogits: DType,
    /// Type of the softmax: that of the logits, or `F32`.
    pub output: DType,
    /// The outputs that a run writes.
    pub outputs: Outputs,
    /// How the losses of the rows become the result.
    pub reduction: Reduction,
    /// What a mean over nothing is.
    pub empty_mean: EmptyMean,
    /// Rows with this target are not counted: they are never read, and their loss, lse, entropy
    /// and gradient are +0. Any value, inside \[0, C) too; only with class indices.
    pub ignore_index: Option<i64>,
    /// Share s of the target that is spread evenly over all classes, in \[0, 1\].
    pub label_smoothing: f64,
    /// Factor k of the logits, finite and not 0 (also as `f32`). The inverse of a temperature.
    pub logit_scale: f64,
    /// Bound c of the scaled logits, positive and finite (also as `f32`).
    pub softcap: Option<f64>,
    /// Factor a of lse^2, finite (also as `f32`).
    pub z_loss: f64,
    /// Whether a run brings weights of classes.
    pub class_weights: bool,
    /// Whether a run brings weights of rows.
    pub row_weights: bool,
    /// Whether a run brings weights of elements.
    pub element_weights: bool,
    /// Whether a run brings weights of the positive part of each class, v in [`Operation`].
    pub pos_weights: bool,
    /// How logarithms of probabilities are kept finite.
    pub clip: Clip,
    /// Whether probabilities are first divided by their sum over the row.
    pub renormalise: Renormalise,
    /// The unit of the loss.
    pub unit: Unit,
    /// Whether the gradient, or the softmax, replaces the logits in memory.
    pub in_place: bool,
    /// How many rows a run will have, as a hint; 0 is unknown.
    pub expected_rows: usize,
    /// A promise: logits, their gradient and their row strides are multiples of this many bytes.
    /// A power of two up to 4096; 1 promises nothing.
    pub alignment: usize,
}

impl Problem {
    /// The largest number of classes: 2^31 - 1.
    pub const MAX_CLASSES: usize = i32::MAX as usize;

    /// The mean cross entropy of rows of `classes` logits against `i64` class indices, with no
    /// option set, that computes the loss.
    pub fn new(logits: DType, classes: usize) -> Self {
        Problem {
            operation: Operation::CrossEntropy,
            input: Form::Logits,
            logits,
            classes,
            targets: DType::I64,
            log_targets: false,
            dlogits: logits,
            output: logits,
            outputs: Outputs::LOSS,
            reduction: Reduction::Mean,
            empty_mean: EmptyMean::Nan,
            ignore_index: None,
            label_smoothing: 0.0,
            logit_scale: 1.0,
            softcap: None,
            z_loss: 0.0,
            class_weights: false,
            row_weights: false,
            element_weights: false,
            pos_weights: false,
            clip: Clip::None,
            renormalise: Renormalise::No,
            unit: Unit::Nats,
            in_place: false,
            expected_rows: 0,
            alignment: 1,
        }
    }

    /// Sets what is computed of each row.
    pub fn operation(mut self, operation: Operation) -> Self {
        self.operation = operation;
        self
    }

    /// Sets what the logits are.
    pub fn input(mut self, form: Form) -> Self {
        self.input = form;
        self
    }

    /// Sets the type of the targets: integers are class indices, floats probabilities.
    pub fn targets(mut self, dtype: DType) -> Self {
        self.targets = dtype;
        self
    }

    /// Says that the targets are logarithms of probabilities.
    pub fn log_targets(mut self, logarithms: bool) -> Self {
        self.log_targets = logarithms;
        self
    }

    /// Sets the type of the softmax.
    pub fn output(mut self, dtype: DType) -> Self {
        self.output = dtype;
        self
    }

    /// Sets the type of the gradient.
    pub fn dlogits(mut self, dtype: DType) -> Self {
        self.dlogits = dtype;
        self
    }

    /// Sets the outputs that a run writes.
    pub fn outputs(mut self, outputs: Outputs) -> Self {
        self.outputs = outputs;
        self
    }

    /// Sets how the losses of the rows become the result.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Sets what a mean over nothing is.
    pub fn empty_mean(mut self, empty_mean: EmptyMean) -> Self {
        self.empty_mean = empty_mean;
        self
    }

    /// Sets the target of rows that are not counted.
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.ignore_index = Some(index);
        self
    }

    /// Sets the share of the target that is spread evenly over all classes.
    pub fn label_smoothing(mut self, smoothing: f64) -> Self {
        self.label_smoothing = smoothing;
        self
    }

    /// Sets the factor of the logits.
    pub fn logit_scale(mut self, scale: f64) -> Self {
        self.logit_scale = scale;
        self
    }

    /// Sets the bound of the scaled logits.
    pub fn softcap(mut self, cap: f64) -> Self {
        self.softcap = Some(cap);
        self
    }

    /// Sets the factor of lse^2.
    pub fn z_loss(mut self, factor: f64) -> Self {
        self.z_loss = factor;
        self
    }

    /// Says that a run brings weights of classes.
    pub fn class_weights(mut self, given: bool) -> Self {
        self.class_weights = given;
        self
    }

    /// Says that a run brings weights of rows.
    pub fn row_weights(mut self, given: bool) -> Self {
        self.row_weights = given;
        self
    }

    /// Says that a run brings weights of elements.
    pub fn element_weights(mut self, given: bool) -> Self {
        self.element_weights = given;
        self
    }

    /// Says that a run brings weights of the positive part of each class.
    pub fn pos_weights(mut self, given: bool) -> Self {
        self.pos_weights = given;
        self
    }

    /// Sets how logarithms of probabilities are kept finite.
    pub fn clip(mut self, clip: Clip) -> Self {
        self.clip = clip;
        self
    }

    /// Sets whether probabilities are first divided by their sum over the row.
    pub fn renormalise(mut self, renormalise: Renormalise) -> Self {
        self.renormalise = renormalise;
        self
    }

    /// Sets the unit of the loss.
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// Asks that the gradient, or the softmax, replaces the logits.
    pub fn in_place(mut self, in_place: bool) -> Self {
        self.in_place = in_place;
        self
    }

    /// Sets the number of rows that a run will have, as a hint.
    pub fn expected_rows(mut self, rows: usize) -> Self {
        self.expected_rows = rows;
        self
    }

    /// Promises that logits, their gradient and their row strides are multiples of this many
    /// bytes.
    pub fn alignment(mut self, bytes: usize) -> Self {
        self.alignment = bytes;
        self
    }

    /// Whether the targets are probabilities rather than class indices.
    pub fn targets_are_probabilities(&self) -> bool {
        self.targets.is_float()
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the first field that is outside its range or contradicts another.
    pub fn validate(&self) -> Result<()> {
        let float = "f32, f16, bf16 or f64";
        require(self.logits.is_float(), "logits", self.logits, float)?;
        require(
            (1..=Self::MAX_CLASSES).contains(&self.classes),
            "classes",
            self.classes,
            "in [1, 2^31 - 1]",
        )?;
        require(
            self.targets != DType::F64 || self.logits == DType::F64,
            "targets",
            self.targets,
            "f32, f16, bf16 or an integer type (f64 probabilities need f64 logits)",
        )?;
        require(
            self.dlogits == self.logits || self.dlogits == DType::F32,
            "dlogits",
            self.dlogits,
            format_args!("f32 or the type of the logits ({})", self.logits),
        )?;
        require(
            self.output == self.logits || self.output == DType::F32,
            "output",
            self.output,
            format_args!("f32 or the type of the logits ({})", self.logits),
        )?;
        require(
            !self.outputs.is_empty() && Outputs::all().contains(self.outputs),
            "outputs",
            format_args!("{:#x}", self.outputs.bits()),
            "at least one output, and none that is unknown",
        )?;
        self.validate_uses()?;
        if let (Some(index), true) = (self.ignore_index, self.targets_are_probabilities()) {
            return Err(Error::invalid("ignore_index", index, "unset with probability targets"));
        }
        require(
            (0.0..=1.0).contains(&self.label_smoothing),
            "label_smoothing",
            self.label_smoothing,
            "in [0, 1]",
        )?;
        let scale = self.logit_scale as f32;
        require(
            scale.is_finite() && scale != 0.0,
            "logit_scale",
            self.logit_scale,
            "finite and not 0, also as f32",
        )?;
        if let Some(cap) = self.softcap {
            let ok = (cap as f32).is_finite() && cap as f32 > 0.0;
            require(ok, "softcap", cap, "positive and finite, also as f32")?;
        }
        require((self.z_loss as f32).is_finite(), "z_loss", self.z_loss, "finite, also as f32")?;
        if self.in_place {
            let (wanted, dtype, what) = match self.is_softmax() {
                true => (Outputs::OUTPUT, self.output, "output"),
                false => (Outputs::DLOGITS, self.dlogits, "gradient"),
            };
            let allowed = format!("unset when the {what} is not an output");
            require(self.outputs.contains(wanted), "in_place", true, allowed)?;
            let allowed = format!("unset when the {what} is of another type than the logits");
            require(dtype == self.logits, "in_place", true, allowed)?;
        }
        require(
            self.alignment.is_power_of_two() && self.alignment <= 4096,
            "alignment",
            self.alignment,
            "a power of two in [1, 4096]",
        )
    }
}

fn require(
    ok: bool,
    field: &'static str,
    value: impl std::fmt::Display,
    allowed: impl std::fmt::Display,
) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::invalid(field, value, allowed)) }
}
