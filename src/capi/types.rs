//! The types of xent.h. cbindgen copies the comments: they are written for the C reader.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;

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
    /// For logits: f32. For their gradient: the type of the logits.
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
    /// Probabilities are clipped to [e, 1 - e], as in Keras and scikit-learn: 0 < e < 1/2.
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

/// Hand-declared in the header, after its includes.
pub type xent_stream = *mut CUstream_st;

/// What a CUstream of the CUDA driver points to.
pub struct CUstream_st;

/// One task of a parallel loop. May be called from any thread.
///
/// @param task_data  as xent_parallel_for got it
/// @param index      from 0 to tasks - 1
pub type xent_task = Option<unsafe extern "C" fn(task_data: *mut c_void, index: usize)>;

/// A parallel loop on the threads of the caller: calls task(task_data, index) for every index
/// below tasks, in any order and on any threads, and returns when all these calls have returned.
/// Results never depend on how it does so. It may be called from several threads at once, must not
/// throw a C++ exception or longjmp, and must not call task after it has returned.
///
/// @param user       parallel_for_user of the context's options
/// @param tasks      the number of tasks
/// @param task       the task
/// @param task_data  what the task wants as its first argument
pub type xent_parallel_for = Option<
    unsafe extern "C" fn(user: *mut c_void, tasks: usize, task: xent_task, task_data: *mut c_void),
>;

/// How to make a context. All zero but struct_size: the device chooses itself, and the CPU uses
/// all processors. Starts as xent_context_options_default().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct xent_context_options {
    /// sizeof(xent_context_options).
    pub struct_size: usize,
    /// The kind of device.
    pub device: MaybeUninit<xent_device>,
    /// The number of the GPU, from 0, in the order of CUDA and CUDA_VISIBLE_DEVICES; 0 unless
    /// device is XENT_DEVICE_CUDA.
    pub ordinal: i32,
    /// Threads of the CPU: 0 shares one pool of all processors with other contexts, 1 works on the
    /// calling thread, more starts a pool of that many, at most 1024.
    pub threads: u32,
    /// 0.
    pub reserved: u32,
    /// Takes the place of threads of xent's own; then threads is 0. NULL is none.
    pub parallel_for: xent_parallel_for,
    /// The first argument of parallel_for. Stays valid until the context and its plans are gone.
    pub parallel_for_user: *mut c_void,
    /// The folder where compiled GPU kernels are kept, UTF-8; NULL is the user's. It is not used if
    /// others than its owner can write to it. Copied.
    pub cache_directory: *const c_char,
}

/// What to compute: an operation, types, sizes, options and the outputs that are wanted.
///
/// All zero but classes, it is the mean cross entropy of logits, for which most options are. What an
/// operation has no use for is refused. For one row of logits x, with logit_scale k, softcap c, class weights w, label_smoothing s over
/// C classes, row weight r and z_loss a:
///
///   z    = k x, and with a softcap c tanh(k x / c)
///   lse  = log(sum(exp(z))), and -log p = lse - z
///   loss = r ((1 - s) w[y] (lse - z[y]) + s/C sum(w (lse - z))) + a lse^2    class index y
///   loss = r sum(w ((1 - s) q + s/C) (lse - z)) + a lse^2                    probabilities q
///
/// These are PyTorch's definitions, with z-loss as in PaLM and softcap as in Gemma 2. In them 0
/// times infinity is 0. Weights do not enter the z-loss. Starts as xent_problem_default().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct xent_problem {
    /// sizeof(xent_problem).
    pub struct_size: usize,
    /// The number of classes C, from 1 to 2^31 - 1. The one field that has no default.
    pub classes: i64,
    /// The type of the logits.
    pub logits_dtype: MaybeUninit<xent_dtype>,
    /// The type of the gradient: that of the logits, or f32.
    pub dlogits_dtype: MaybeUninit<xent_dtype>,
    /// What the targets are.
    pub target_type: MaybeUninit<xent_target>,
    /// How the losses of the rows become the result.
    pub reduction: MaybeUninit<xent_reduction>,
    /// The outputs, xent_output combined; 0 is XENT_OUTPUT_LOSS.
    pub outputs: u32,
    /// The options, xent_flag combined.
    pub flags: u32,
    /// With XENT_FLAG_IGNORE_INDEX, the target of rows that do not count: any value, inside
    /// [0, classes) too. Else 0.
    pub ignore_index: i64,
    /// The share s of the target that is spread evenly over all classes, in [0, 1].
    pub label_smoothing: f64,
    /// The factor k of the logits, the inverse of a temperature: finite. 0 is 1.
    pub logit_scale: f64,
    /// The bound c of the scaled logits: positive and finite. 0 is none.
    pub softcap: f64,
    /// The factor a of lse^2: finite.
    pub z_loss: f64,
    /// How many rows a run will have, as a hint. 0 is unknown.
    pub expected_rows: i64,
    /// A promise: logits, their gradient and the strides of their rows are multiples of this many
    /// bytes. A power of two up to 4096; 0 promises nothing.
    pub alignment: i64,
    /// What is computed of each row.
    pub operation: MaybeUninit<xent_operation>,
    /// What the logits are.
    pub input: MaybeUninit<xent_form>,
    /// How logarithms of probabilities are kept finite.
    pub clip: MaybeUninit<xent_clip>,
    /// Whether probabilities are first divided by their sum over the row.
    pub renormalise: MaybeUninit<xent_renormalise>,
    /// The number of clip: e or b. 0 without one.
    pub clip_value: f64,
    /// The unit of the loss.
    pub unit: MaybeUninit<xent_unit>,
    /// The type of the softmax or its logarithm: that of the logits, or f32.
    pub output_dtype: MaybeUninit<xent_dtype>,
}

/// The buffers of one xent_run. Starts as xent_args_default().
///
/// Which pointers must be there and which must be NULL, the problem says. T is float, or double
/// with f64 logits. Rows are outer times inner.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct xent_args {
    /// sizeof(xent_args).
    pub struct_size: usize,
    /// Rows before the class axis. 0 is an empty batch, whose buffers without elements may be NULL.
    pub outer: i64,
    /// Rows after the class axis. 0 is 1.
    pub inner: i64,
    /// Logits, (outer, classes, inner).
    pub logits: *const c_void,
    /// Their strides; all 0 is packed.
    pub logits_strides: [i64; 3],
    /// One class index for each row, or probabilities, (outer, classes, inner).
    pub targets: *const c_void,
    /// The strides of probabilities; all 0 is packed. With class indices, all 0.
    pub target_strides: [i64; 3],
    /// One T for each class, with XENT_FLAG_CLASS_WEIGHTS. Any sign; a class of weight 0 adds
    /// nothing, whatever its logit.
    pub class_weights: *const c_void,
    /// How many class weights there are: the number of classes.
    pub class_weights_count: i64,
    /// One T for each row, with XENT_FLAG_ROW_WEIGHTS.
    pub row_weights: *const c_void,
    /// The upstream gradient, T. NULL is 1. Only with XENT_OUTPUT_DLOGITS.
    pub dloss: *const c_void,
    /// 0: one upstream gradient. 1: one for each loss, where the reduction leaves several.
    pub dloss_stride: i64,
    /// What a mean divides by.
    pub denominator_kind: MaybeUninit<xent_denominator>,
    /// 0.
    pub reserved: u32,
    /// With XENT_DENOMINATOR_VALUE, the denominator: finite and at least 0, where 0 is the mean
    /// over nothing. Else 0.
    pub denominator_value: f64,
    /// With XENT_DENOMINATOR_POINTER, the denominator: one f32 in memory of the GPU, read when the
    /// stream is there; 0 is the mean over nothing. Else NULL, as on the CPU.
    pub denominator_pointer: *const c_void,
    /// Where the loss goes: one T, or one for each row.
    pub loss: *mut c_void,
    /// Where log(sum(exp(z))) goes: one T for each row.
    pub lse: *mut c_void,
    /// Where the statistics for xent_backward go: two T for each row.
    pub stats: *mut c_void,
    /// Where the gradient goes, (outer, classes, inner).
    pub dlogits: *mut c_void,
    /// Its strides; all 0 is packed.
    pub dlogits_strides: [i64; 3],
    /// Where the most probable class goes: one for each row.
    pub argmax: *mut i64,
    /// Where the number of correct rows goes: one.
    pub correct: *mut i64,
    /// Where the entropy of the softmax goes: one T for each row.
    pub entropy: *mut c_void,
    /// An xent_report in memory of the GPU, to which wrong targets are added; NULL is none. NULL on
    /// the CPU, which answers XENT_STATUS_INVALID_TARGET itself.
    pub report: *mut c_void,
    /// Scratch memory on the device, aligned to XENT_WORKSPACE_ALIGNMENT bytes: of
    /// xent_workspace_create, or one's own. Its contents mean nothing.
    pub workspace: *mut c_void,
    /// Its size in bytes, at least that of xent_plan_workspace_size.
    pub workspace_size: usize,
    /// The stream of a GPU that does the work; NULL is the legacy default stream. NULL on the CPU.
    pub stream: xent_stream,
    /// One T for each element, (outer, classes, inner), with XENT_FLAG_ELEMENT_WEIGHTS.
    pub element_weights: *const c_void,
    /// Their strides; all 0 is packed.
    pub element_weights_strides: [i64; 3],
    /// One T for each class, with XENT_FLAG_POS_WEIGHTS.
    pub pos_weights: *const c_void,
    /// Where the softmax or its logarithm goes, (outer, classes, inner).
    pub output: *mut c_void,
    /// Its strides; all 0 is packed.
    pub output_strides: [i64; 3],
}

/// The buffers of one xent_backward or xent_double_backward. Starts as xent_backward_args_default().
///
/// Every field means what it means in xent_args; the inputs are those of the run that wrote stats,
/// but for dloss and the denominator, which may be new. The backward of a softmax reads output and
/// doutput in the place of logits, targets and stats.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct xent_backward_args {
    /// sizeof(xent_backward_args).
    pub struct_size: usize,
    /// Rows before the class axis.
    pub outer: i64,
    /// Rows after the class axis. 0 is 1.
    pub inner: i64,
    /// Logits, (outer, classes, inner).
    pub logits: *const c_void,
    /// Their strides; all 0 is packed.
    pub logits_strides: [i64; 3],
    /// One class index for each row, or probabilities, (outer, classes, inner).
    pub targets: *const c_void,
    /// The strides of probabilities; all 0 is packed. With class indices, all 0.
    pub target_strides: [i64; 3],
    /// One T for each class, with XENT_FLAG_CLASS_WEIGHTS.
    pub class_weights: *const c_void,
    /// How many class weights there are: the number of classes.
    pub class_weights_count: i64,
    /// One T for each row, with XENT_FLAG_ROW_WEIGHTS.
    pub row_weights: *const c_void,
    /// The upstream gradient, T. NULL is 1.
    pub dloss: *const c_void,
    /// 0: one upstream gradient. 1: one for each loss, where the reduction leaves several.
    pub dloss_stride: i64,
    /// What a mean divides by.
    pub denominator_kind: MaybeUninit<xent_denominator>,
    /// 0.
    pub reserved: u32,
    /// With XENT_DENOMINATOR_VALUE, the denominator. Else 0.
    pub denominator_value: f64,
    /// With XENT_DENOMINATOR_POINTER, where the denominator is. Else NULL, as on the CPU.
    pub denominator_pointer: *const c_void,
    /// The statistics that a run wrote: two T for each row.
    pub stats: *const c_void,
    /// Where the gradient goes, (outer, classes, inner).
    pub dlogits: *mut c_void,
    /// Its strides; all 0 is packed.
    pub dlogits_strides: [i64; 3],
    /// An xent_report in GPU memory, to which wrong targets are added. NULL on the CPU.
    pub report: *mut c_void,
    /// Scratch memory, aligned to XENT_WORKSPACE_ALIGNMENT bytes. Its contents mean nothing.
    pub workspace: *mut c_void,
    /// Its size in bytes, at least that of xent_plan_workspace_size.
    pub workspace_size: usize,
    /// The stream of a GPU that does the work; NULL is the default stream. NULL on the CPU.
    pub stream: xent_stream,
    /// The softmax or its logarithm that a run wrote, (outer, classes, inner).
    pub output: *const c_void,
    /// Its strides; all 0 is packed.
    pub output_strides: [i64; 3],
    /// The upstream gradient of the softmax or its logarithm, of their type, (outer, classes, inner).
    pub doutput: *const c_void,
    /// Its strides; all 0 is packed.
    pub doutput_strides: [i64; 3],
    /// For xent_double_backward, the upstream gradient of the gradient, of its type, (outer, classes,
    /// inner).
    pub ddlogits: *const c_void,
    /// Its strides; all 0 is packed.
    pub ddlogits_strides: [i64; 3],
}

/// What was wrong with the targets of runs on a GPU. The program has it in memory of the GPU and
/// clears it to zeros; runs and backwards with class indices add to it, on one stream at a time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct xent_report {
    /// How many targets were no class, in all runs since it was cleared.
    pub count: i64,
    /// The lowest row that held one; 0 if count is.
    pub row: i64,
    /// What that row held, in the last run where it did.
    pub value: i64,
    /// 0.
    pub reserved: i64,
}
