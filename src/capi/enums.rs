//! The enums of xent.h. cbindgen copies the comments: they are written for the C reader.

/// What a call came to. status / 100 is the family: 1 a wrong argument, 2 not supported,
/// 3 something missing on this machine, 4 out of resources, 5 wrong data, 9 a bug in xent.
/// Later versions may add statuses to these families.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_status {
    /// Done.
    Ok = 0,
    /// A value is outside its range, or contradicts another one.
    InvalidArgument = 100,
    /// A pointer that is needed is NULL.
    NullPointer = 101,
    /// A pointer is given that the problem does not use.
    UnexpectedPointer = 102,
    /// A buffer has another size, shape or type than the problem needs.
    SizeMismatch = 103,
    /// An address is not a multiple of the alignment that it needs.
    Misaligned = 104,
    /// An output shares memory with another buffer.
    Overlap = 105,
    /// The workspace is smaller than xent_plan_workspace_size says.
    WorkspaceTooSmall = 106,
    /// A struct_size that this library does not know, or a field that is newer than it.
    VersionMismatch = 107,
    /// The request is sound, but this build, device or plan does not do it.
    Unsupported = 200,
    /// Something that computing on a GPU needs is not there; xent_last_error says what, and how to
    /// get it.
    DeviceUnavailable = 300,
    /// The CUDA driver failed, now or in earlier work; xent_last_error has its words.
    Cuda = 301,
    /// Memory, of the GPU too, or threads could not be had.
    OutOfResources = 400,
    /// A class index is neither a class nor the ignored index.
    InvalidTarget = 500,
    /// A bug in xent. The text of xent_last_error is worth a report.
    Internal = 900,
}

/// The type of the elements of a buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_dtype {
    /// For the gradient of the logits, and an output: the type of the logits. Else f32.
    Default = 0,
    /// IEEE 754 binary32, a C float.
    F32 = 1,
    /// IEEE 754 binary16.
    F16 = 2,
    /// bfloat16, the upper half of a binary32.
    Bf16 = 3,
    /// IEEE 754 binary64, a C double. Only on the CPU.
    F64 = 4,
}

/// What the targets are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_target {
    /// One class index for each row, int64_t.
    I64 = 0,
    /// One class index for each row, int32_t.
    I32 = 1,
    /// One class index for each row, uint32_t.
    U32 = 2,
    /// One class index for each row, uint8_t.
    U8 = 3,
    /// One probability for each logit, f32.
    ProbabilitiesF32 = 16,
    /// One probability for each logit, f16.
    ProbabilitiesF16 = 17,
    /// One probability for each logit, bf16.
    ProbabilitiesBf16 = 18,
    /// One probability for each logit, f64. Only with f64 logits.
    ProbabilitiesF64 = 19,
}

/// What is computed of each row. With l = -log p of the input (xent_form), targets q, weights w, and
/// 0 times infinity as 0, the loss of a row is what stands here.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_operation {
    /// sum(w q l); of a class index y, w[y] l[y]. xent_problem has more for logits.
    CrossEntropy = 0,
    /// sum(w (v q l + (1 - q) l')) with l' = -log(1 - p) and weights v of the positive part. For
    /// logits and probabilities.
    BinaryCrossEntropy = 1,
    /// sum(w q (log q + l)). For log-probabilities and probabilities.
    KlDivergence = 2,
    /// sum(w p l). For log-probabilities and probabilities; without targets.
    Entropy = 3,
    /// No loss but an output, exp(k x) / sum(exp(k x)) for the scale k. For logits; without targets.
    Softmax = 4,
    /// No loss but an output, k x - log(sum(exp(k x))). For logits; without targets.
    LogSoftmax = 5,
}

/// What the input is, which is called logits in all operations.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_form {
    /// Numbers whose softmax, or sigmoid in a binary cross entropy, are the probabilities.
    Logits = 0,
    /// Logarithms of probabilities, in nats. They need not add up to anything.
    LogProbabilities = 1,
    /// Probabilities, or anything at least 0. They need not add up to 1.
    Probabilities = 2,
}

/// How the logarithm of a probability is kept finite. The gradient is 0 where something was clipped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_clip {
    /// Not at all: the loss of a target of probability 0 is infinite.
    None = 0,
    /// Probabilities are clipped to [e, 1 - e], as in Keras and scikit-learn: 0 < e < 1/2. That is
    /// exact: 1 is clipped also where 1 - e is rounded to it.
    Range = 1,
    /// Probabilities are clipped to at least e, as in Caffe: 0 < e < 1.
    Lower = 2,
    /// The logarithm is that of p + e: 0 < e < 1. A loss may then be below 0.
    Add = 3,
    /// Logarithms are clipped to at least -b, as in PyTorch, where b is 100. In a binary cross
    /// entropy the gradient is not 0 then, but (p - q) / max(p (1 - p), 1e-12).
    Logarithm = 4,
}

/// Whether probabilities are first divided by their sum over the row.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_renormalise {
    /// They are taken as they are.
    No = 0,
    /// Before they are clipped, as in Keras.
    BeforeClip = 1,
    /// After they are clipped, as in scikit-learn up to 1.1.
    AfterClip = 2,
}

/// The unit of a loss.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_unit {
    /// Natural logarithms.
    Nats = 0,
    /// Logarithms to the base 2.
    Bits = 1,
}

/// Problems by the names that they have elsewhere, for xent_problem_preset. The reduction is a mean
/// unless it says otherwise.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_preset {
    /// The cross entropy of logits against int64_t class indices: xent_problem_default().
    CrossEntropy = 0,
    /// The softmax of logits.
    Softmax = 1,
    /// The logarithm of the softmax of logits.
    LogSoftmax = 2,
    /// PyTorch's nll_loss: log-probabilities against int64_t class indices.
    NllLoss = 3,
    /// The cross entropy of probabilities against int64_t class indices, with nothing clipped. With
    /// the target_type of probabilities, that of two distributions.
    CrossEntropyFromProbs = 4,
    /// PyTorch's binary_cross_entropy_with_logits, against f32 targets (f64 for f64 logits).
    BceWithLogits = 5,
    /// PyTorch's binary_cross_entropy of probabilities, with logarithms of at least -100.
    Bce = 6,
    /// PyTorch's kl_div of log-probabilities from f32 probabilities (f64 for f64), over the number
    /// of elements; XENT_REDUCTION_BATCH_MEAN for that of rows.
    KlDiv = 7,
    /// The entropy of each row of probabilities: XENT_REDUCTION_NONE.
    Entropy = 8,
    /// Keras' categorical_crossentropy of probabilities, and sparse_categorical_crossentropy with
    /// class indices: divided by their sum, clipped to [1e-7, 1 - 1e-7]; XENT_REDUCTION_BATCH_MEAN.
    KerasCategoricalCrossentropy = 9,
    /// Keras' binary_crossentropy of probabilities: clipped to [1e-7, 1 - 1e-7].
    /// XENT_REDUCTION_ROW_MEAN gives what Keras calls the loss of a sample.
    KerasBinaryCrossentropy = 10,
    /// scikit-learn's log_loss of probabilities: clipped to [e, 1 - e], where e is the distance of 1
    /// from the next number of their type. With class indices, its sample_weight is row_weights.
    SklearnLogLoss = 11,
    /// log_loss of scikit-learn up to 1.1: clipped to [1e-15, 1 - 1e-15], then divided by their sum.
    SklearnLegacyLogLoss = 12,
    /// Caffe's MultinomialLogisticLoss of probabilities: clipped to at least 1e-20.
    CaffeMultinomialLogisticLoss = 13,
}

/// How the losses of the rows become the result. The loss of a row is the sum over its classes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_reduction {
    /// PyTorch's mean. With class indices, the sum of losses is divided by the sum of the
    /// weights of the counted rows; with probabilities, by the number of rows; the z-loss always
    /// by the number of counted rows. A binary cross entropy and a divergence are divided by the
    /// number of elements. The denominator of xent_args replaces all of these.
    Mean = 0,
    /// One loss for each row.
    None = 1,
    /// The sum.
    Sum = 2,
    /// The sum over the number of counted rows, whatever their weights, as Keras' mean and PyTorch's
    /// batchmean. The denominator of xent_args replaces it.
    BatchMean = 3,
    /// One loss for each row of a binary cross entropy or a divergence, divided by the number of
    /// classes.
    RowMean = 4,
    /// One loss for each element of a binary cross entropy or a divergence, (outer, classes, inner).
    Elements = 5,
}

/// Where a context computes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_device {
    /// The first GPU where everything that it needs is there, else the CPU.
    /// xent_context_describe says which, and why.
    Auto = 0,
    /// The CPU.
    Cpu = 1,
    /// An NVIDIA GPU; XENT_STATUS_DEVICE_UNAVAILABLE where it, its driver or NVRTC is missing.
    Cuda = 2,
}

/// What a mean divides by.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_denominator {
    /// As XENT_REDUCTION_MEAN says.
    Default = 0,
    /// denominator_value, for the loss and the z-loss: the tokens of all micro-batches, say.
    Value = 1,
    /// The f32 that denominator_pointer points to in GPU memory.
    Pointer = 2,
}

/// The outputs of a run, to be combined with |. T is float, or double with f64 logits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_output {
    /// The loss: one T, one for each row, or one for each element, as the reduction says.
    Loss = 1,
    /// log(sum(exp(z))) of each row: T.
    Lse = 2,
    /// Two T for each row, which xent_backward reads: the logit of the most probable class, before
    /// scale and cap, and the sum of exp(z - max z) over the other classes.
    Stats = 4,
    /// The gradient of the loss with respect to the logits, in their shape.
    Dlogits = 8,
    /// The most probable class of each row: int64_t. The first where several are equal; -1 for an
    /// ignored row, and for one whose softmax is not defined (a NaN, +inf, or all -inf).
    Argmax = 16,
    /// How many counted rows have their target as argmax: one int64_t. The target of a row of
    /// probabilities is its first most probable class.
    Correct = 32,
    /// The entropy of the softmax of each row, in nats: T.
    Entropy = 64,
    /// The softmax or its logarithm, in the shape of the logits.
    Output = 128,
}

/// Options of a problem, to be combined with |.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum xent_flag {
    /// Rows whose target is ignore_index do not count. They are never read; their loss, lse,
    /// entropy and gradient are +0. Only with class indices.
    IgnoreIndex = 1,
    /// A mean over nothing is 0, and not NaN as in PyTorch.
    EmptyMeanZero = 2,
    /// The gradient, or the softmax, replaces the logits: same pointer, type and strides. In the
    /// backward of a softmax the gradient replaces doutput.
    InPlace = 4,
    /// A run brings class_weights.
    ClassWeights = 8,
    /// A run brings row_weights.
    RowWeights = 16,
    /// A run brings element_weights.
    ElementWeights = 32,
    /// A run brings pos_weights.
    PosWeights = 64,
    /// The targets of a divergence are logarithms of probabilities.
    LogTargets = 128,
}
