//! The structs and callbacks of xent.h. cbindgen copies the comments: they are written for the C
//! reader.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;

use super::enums::*;

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
    /// Threads of the CPU, of which the calling one is the first: 0 shares one pool of all
    /// processors with other contexts, 1 works on the calling thread alone, more starts the
    /// others, at most 1024 in all.
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
/// operation has no use for is refused. For one row of logits x, with logit_scale k, softcap c, class
/// weights w, label_smoothing s over C classes, row weight r and z_loss a:
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
    /// Where the loss goes: one T, one for each row, or one for each element.
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
