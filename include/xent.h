/*
 * xent.h - fused cross entropy: the loss of a batch of logits, its gradient, log-sum-exp, argmax,
 * accuracy and entropy from one call, for f32, f16, bf16 and (on the CPU) f64 logits.
 *
 * Generated from src/capi; edits here are lost.
 *
 * EXAMPLE
 *
 *     #include <stdio.h>
 *     #include <xent.h>
 *
 *     static int failed(xent_status status) {
 *       if (status != XENT_STATUS_OK) {
 *         fprintf(stderr, "%s: %s\n", xent_status_string(status), xent_last_error());
 *       }
 *       return status != XENT_STATUS_OK;
 *     }
 *
 *     int main(void) {
 *       const float logits[2 * 3] = {1, 2, 3, 2, 4, 6};
 *       const int64_t targets[2] = {0, 2};
 *       float loss = 0, dlogits[2 * 3] = {0};
 *
 *       xent_context *context = NULL;
 *       if (failed(xent_context_create_cpu(&context))) return 1;
 *       printf("on the %s\n", xent_context_describe(context));
 *
 *       xent_problem problem = xent_problem_default();
 *       problem.classes = 3;
 *       problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_DLOGITS;
 *       xent_plan *plan = NULL;
 *       if (failed(xent_plan_create(context, &problem, &plan))) return 1;
 *
 *       xent_args args = xent_args_default();
 *       args.outer = 2;
 *       args.logits = logits;
 *       args.targets = targets;
 *       args.loss = &loss;
 *       args.dlogits = dlogits;
 *       xent_workspace *workspace = NULL;
 *       if (failed(xent_workspace_create(plan, 2, &workspace))) return 1;
 *       args.workspace = workspace->data;
 *       args.workspace_size = workspace->size;
 *       if (failed(xent_run(plan, &args))) return 1;
 *       printf("loss %.6f, gradient of the first logit %.6f\n", loss, dlogits[0]);
 *
 *       xent_workspace_destroy(workspace);
 *       xent_plan_destroy(plan);
 *       xent_context_destroy(context);
 *       return 0;
 *     }
 *
 * On a GPU (xent_context_create_auto takes one if it is there, xent_context_create_cuda demands it)
 * the same program has logits, targets, loss and dlogits in device memory, and copies the results
 * back when the stream is done.
 *
 * HOW IT GOES
 * A context is a device with its threads. A plan is a problem (types, sizes, options, outputs)
 * that is ready to run on it: what takes long is done when the plan is made. A run brings the
 * buffers of one batch, and may be repeated as often as one likes with any number of rows.
 *
 * xent_problem_preset makes problems by the names that they have elsewhere: nll_loss, kl_div, the
 * losses of Keras. xent_one_hot and xent_distributions make targets from labels.
 *
 * STRUCTS
 * Start each from its xent_..._default(), which zeroes it and sets struct_size. Zero is the default
 * of every field. Later versions only append fields: a library accepts the shorter struct of an
 * older program, and a longer one whose unknown fields are zero; anything else is
 * XENT_STATUS_VERSION_MISMATCH. A number that an enum does not have, and a bit that a set of flags
 * does not have, are refused.
 *
 * SHAPES AND STRIDES
 * Logits, their gradient and probabilities have shape (outer, classes, inner), so that any axis of
 * a tensor can be the class axis: outer is the product of the axes before it, inner of those after
 * it. Row r is (r / inner, r % inner). Everything else is packed: one element for each row, or what
 * the field says. Strides are counted in elements, along (outer, class, inner). All 0 is packed;
 * else each stride of an axis longer than 1 is positive. (N, C) with rows padded to P elements is
 * outer = N and strides (P, 1, 1); (N, C, H, W) is outer = N, inner = H W and strides 0.
 *
 * MEMORY
 * Buffers are the caller's: xent never keeps a pointer beyond the call, or on a GPU beyond its
 * work, nor frees one. On the CPU they are host memory; on a GPU all of them, the workspace too,
 * are memory that this GPU can reach (see GPU). Addresses are multiples of the size of the element.
 * What lies between the first and the last element of an output must not meet another buffer, but
 * for a gradient in place. What xent makes is freed by the xent_..._destroy of its type; texts are
 * xent's.
 *
 * THREADS
 * Contexts and plans do not change once they are made: any threads may use one at the same time,
 * with outputs and workspaces of their own. Destroy them when no thread, and on a GPU no stream,
 * uses them any more, in any order: a plan keeps what it needs of its context.
 *
 * ERRORS
 * A function that can fail returns an xent_status; xent_last_error() then has the details for this
 * thread. A call that fails has written nothing, but for XENT_STATUS_CUDA, after which outputs may
 * hold anything. Nothing is printed, but for a bug (a panic), which also goes to stderr before the
 * call returns XENT_STATUS_INTERNAL. No C++ exception or panic comes out of a call, and none may
 * come in through a callback.
 *
 * GPU
 * Needed: Linux, an NVIDIA GPU, its driver (525 or newer), and NVRTC, the compiler of the kernels,
 * as `pip install nvidia-cuda-nvrtc` or the CUDA toolkit has it. They are found at run time; where
 * one is missing, XENT_DEVICE_AUTO takes the CPU, and XENT_DEVICE_CUDA is
 * XENT_STATUS_DEVICE_UNAVAILABLE with the same words. No header of CUDA is needed, and libcudart is
 * neither needed nor used.
 *
 * Context: a context shares the primary context of its GPU, which PyTorch and the CUDA runtime use
 * too: their memory and streams are good here. Contexts of cuCtxCreate are not. Each call makes the
 * primary context current for its own duration, and leaves the thread with what it had, or with
 * none. With several GPUs, make a context for each; cudaSetDevice changes nothing here.
 *
 * Pointers: for each buffer of a run, and the workspace, the driver is asked whose memory its first
 * byte is. Allowed is what belongs to the plan's GPU: memory of cudaMalloc, cudaMallocAsync and
 * allocators that use them; managed memory that was allocated with that GPU current; page-locked
 * memory of the host, which works but is slow. Memory of another GPU is refused, with peer access
 * too, and so is pageable memory of the host (malloc, the stack), on machines whose GPU could read
 * it too: both are XENT_STATUS_SIZE_MISMATCH and name the field. How long the memory is, nobody
 * asks: as on the CPU, that is the caller's promise.
 *
 * Streams: a CUstream or cudaStream_t of the primary context. NULL and (xent_stream)1 are the
 * legacy default stream, (xent_stream)2 is the default stream of the calling thread; a program that
 * is compiled for per-thread default streams gives the 2. A run puts its kernels on the stream and
 * returns. It never waits, allocates no memory of the device, creates nothing, and may be captured
 * in a CUDA graph, to be replayed with new contents at the same addresses; the plan stays until
 * that graph is gone. Buffers stay until the stream is done with them. Runs on one stream may share
 * a workspace; runs on several streams have one each.
 *
 * Wrong targets: a GPU cannot stop for a class index that is no class. Its row has a NaN loss and
 * gradient, a mean or sum of losses is NaN, all other rows are as they would be without it, and the
 * run returns XENT_STATUS_OK. Give an xent_report to be told: 32 bytes of device memory, aligned to
 * 8, that the program clears, runs on one stream add to, and xent_report_read reads, after each
 * step or after a thousand.
 *
 * Errors: arguments are checked before anything is put on the stream. What goes wrong later, in the
 * work of others too, the driver tells at any later call, here as XENT_STATUS_CUDA. An illegal
 * access, a trap or an endless kernel of anybody in the process loses the primary context: from
 * then on every run on this GPU is XENT_STATUS_CUDA; xent_..._destroy still works, and so do
 * contexts on the CPU and on other GPUs. A new process has the GPU back.
 *
 * Fork: CUDA that was started before a fork does not work in the child. There, plans of the parent
 * are XENT_STATUS_DEVICE_UNAVAILABLE, and no context on a GPU can be made; destroying the parent's
 * does nothing to the parent. Spawn the child instead, or start CUDA only there.
 *
 * Kernels are compiled when a plan is made, in about a second, and kept in cache_directory, else in
 * the folder that XENT_CACHE names (none if that is empty), else in xent in $XDG_CACHE_HOME or
 * ~/.cache: the next plan like it takes milliseconds. A cache that cannot be written or is damaged
 * is no error. The variable XENT_NVRTC names the file or folder of an NVRTC that is elsewhere.
 * Without NVRTC, kernels that the program xent has compiled ahead serve, from the folder that
 * XENT_KERNELS names, else from xent-kernels beside libxent.so; making a plan whose kernels are not
 * in there is XENT_STATUS_DEVICE_UNAVAILABLE.
 *
 * ON A CPU
 *
 * A run returns when its outputs are written. It uses the widest vectors that the processor has; the
 * variable XENT_CPU (portable, avx2, avx512, neon) names others, and a name that there is not makes
 * xent_context_create return XENT_STATUS_INVALID_ARGUMENT. Gradients of 16 MiB or more are written
 * past the caches, while the next rows are computed. Rows go to threads; a few long rows are split
 * among them. What a workspace holds for each thread is 41 KiB and, where a gradient of up to 131072
 * classes is wanted, 4 bytes for each class, those of 8 rows up to 2048 classes; twice that with a
 * softcap, and twice that again for 16 MiB or more.
 *
 * NUMERICS
 * 1. Arithmetic is f32 for f32, f16 and bf16, and f64 for f64; only the gradient is rounded to the
 *    type of the logits. Losses, statistics and weights are never 16 bits wide.
 * 2. Errors are bounded relative to each element, down to the smallest normal f32: a target that
 *    leads 32767 others by 30 has loss 3.07e-9, not 0, and three logits of 1e8 have loss log 3.
 * 3. Results are the same bits from run to run, for any number of threads, and whatever rounding
 *    mode or flush-to-zero the caller has set; a row's results do not depend on the other rows.
 *    AVX2, AVX-512 and NEON give the same bits, portable vectors others. On a GPU that holds for rows
 *    that lie alike within 128 bytes; its bits are not those of the CPU.
 * 4. A NaN or +inf makes loss and gradient of its own row NaN (and a mean or sum of losses), but of
 *    no other. -inf is a class of probability 0.
 * 5. A class index that is no class never reads out of bounds: on the CPU the call fails before it
 *    writes, on a GPU that row is NaN and the report names it.
 *
 * VERSIONS
 * The ABI follows semantic versioning, where the minor version of 0.x counts as major. A program
 * can compare XENT_VERSION_NUMBER with xent_version(). Unloading the library (dlclose) is not
 * supported, nor is its use in the child of a fork() in which the parent had already run a plan on
 * the CPU with more than one thread.
 */

#ifndef XENT_H
#define XENT_H


#include <stddef.h>
#include <stdint.h>
#include <string.h>

/// The version of this header. xent_version() is that of the library.
#define XENT_VERSION_MAJOR 0
#define XENT_VERSION_MINOR 1
#define XENT_VERSION_PATCH 0
#define XENT_VERSION_NUMBER \
  (XENT_VERSION_MAJOR * 1000000 + XENT_VERSION_MINOR * 1000 + XENT_VERSION_PATCH)

/// The alignment of a workspace, in bytes.
#define XENT_WORKSPACE_ALIGNMENT 256

#if defined(__GNUC__) || defined(__clang__)
#define XENT_MUST_USE __attribute__((warn_unused_result))
#else
#define XENT_MUST_USE
#endif

/// A CUstream or cudaStream_t, which are the same type: no header of CUDA is needed here.
typedef struct CUstream_st *xent_stream;


/// What a call came to. status / 100 is the family: 1 a wrong argument, 2 not supported,
/// 3 something missing on this machine, 4 out of resources, 5 wrong data, 9 a bug in xent.
/// Later versions may add statuses to these families.
typedef enum xent_status {
  /// Done.
  XENT_STATUS_OK = 0,
  /// A value is outside its range, or contradicts another one.
  XENT_STATUS_INVALID_ARGUMENT = 100,
  /// A pointer that is needed is NULL.
  XENT_STATUS_NULL_POINTER = 101,
  /// A pointer is given that the problem does not use.
  XENT_STATUS_UNEXPECTED_POINTER = 102,
  /// A buffer has another size, shape or type than the problem needs.
  XENT_STATUS_SIZE_MISMATCH = 103,
  /// An address is not a multiple of the alignment that it needs.
  XENT_STATUS_MISALIGNED = 104,
  /// An output shares memory with another buffer.
  XENT_STATUS_OVERLAP = 105,
  /// The workspace is smaller than xent_plan_workspace_size says.
  XENT_STATUS_WORKSPACE_TOO_SMALL = 106,
  /// A struct_size that this library does not know, or a field that is newer than it.
  XENT_STATUS_VERSION_MISMATCH = 107,
  /// The request is sound, but this build, device or plan does not do it.
  XENT_STATUS_UNSUPPORTED = 200,
  /// Something that computing on a GPU needs is not there; xent_last_error says what, and how to
  /// get it.
  XENT_STATUS_DEVICE_UNAVAILABLE = 300,
  /// The CUDA driver failed, now or in earlier work; xent_last_error has its words.
  XENT_STATUS_CUDA = 301,
  /// Memory, of the GPU too, or threads could not be had.
  XENT_STATUS_OUT_OF_RESOURCES = 400,
  /// A class index is neither a class nor the ignored index.
  XENT_STATUS_INVALID_TARGET = 500,
  /// A bug in xent. The text of xent_last_error is worth a report.
  XENT_STATUS_INTERNAL = 900,
} xent_status;

/// Where a context computes.
typedef enum xent_device {
  /// The first GPU where everything that it needs is there, else the CPU.
  /// xent_context_describe says which, and why.
  XENT_DEVICE_AUTO = 0,
  /// The CPU.
  XENT_DEVICE_CPU = 1,
  /// An NVIDIA GPU; XENT_STATUS_DEVICE_UNAVAILABLE where it, its driver or NVRTC is missing.
  XENT_DEVICE_CUDA = 2,
} xent_device;

/// The type of the elements of a buffer.
typedef enum xent_dtype {
  /// For the gradient of the logits, and an output: the type of the logits. Else f32.
  XENT_DTYPE_DEFAULT = 0,
  /// IEEE 754 binary32, a C float.
  XENT_DTYPE_F32 = 1,
  /// IEEE 754 binary16.
  XENT_DTYPE_F16 = 2,
  /// bfloat16, the upper half of a binary32.
  XENT_DTYPE_BF16 = 3,
  /// IEEE 754 binary64, a C double. Only on the CPU.
  XENT_DTYPE_F64 = 4,
} xent_dtype;

/// What the targets are.
typedef enum xent_target {
  /// One class index for each row, int64_t.
  XENT_TARGET_I64 = 0,
  /// One class index for each row, int32_t.
  XENT_TARGET_I32 = 1,
  /// One class index for each row, uint32_t.
  XENT_TARGET_U32 = 2,
  /// One class index for each row, uint8_t.
  XENT_TARGET_U8 = 3,
  /// One probability for each logit, f32.
  XENT_TARGET_PROBABILITIES_F32 = 16,
  /// One probability for each logit, f16.
  XENT_TARGET_PROBABILITIES_F16 = 17,
  /// One probability for each logit, bf16.
  XENT_TARGET_PROBABILITIES_BF16 = 18,
  /// One probability for each logit, f64. Only with f64 logits.
  XENT_TARGET_PROBABILITIES_F64 = 19,
} xent_target;

/// How the losses of the rows become the result. The loss of a row is the sum over its classes.
typedef enum xent_reduction {
  /// PyTorch's mean. With class indices, the sum of losses is divided by the sum of the
  /// weights of the counted rows; with probabilities, by the number of rows; the z-loss always
  /// by the number of counted rows. A binary cross entropy and a divergence are divided by the
  /// number of elements. The denominator of xent_args replaces all of these.
  XENT_REDUCTION_MEAN = 0,
  /// One loss for each row.
  XENT_REDUCTION_NONE = 1,
  /// The sum.
  XENT_REDUCTION_SUM = 2,
  /// The sum over the number of counted rows, whatever their weights, as Keras' mean and PyTorch's
  /// batchmean. The denominator of xent_args replaces it.
  XENT_REDUCTION_BATCH_MEAN = 3,
  /// One loss for each row of a binary cross entropy or a divergence, divided by the number of
  /// classes.
  XENT_REDUCTION_ROW_MEAN = 4,
  /// One loss for each element of a binary cross entropy or a divergence, (outer, classes, inner).
  XENT_REDUCTION_ELEMENTS = 5,
} xent_reduction;

/// What is computed of each row. With l = -log p of the input (xent_form), targets q, weights w, and
/// 0 times infinity as 0, the loss of a row is what stands here.
typedef enum xent_operation {
  /// sum(w q l); of a class index y, w[y] l[y]. xent_problem has more for logits.
  XENT_OPERATION_CROSS_ENTROPY = 0,
  /// sum(w (v q l + (1 - q) l')) with l' = -log(1 - p) and weights v of the positive part. For
  /// logits and probabilities.
  XENT_OPERATION_BINARY_CROSS_ENTROPY = 1,
  /// sum(w q (log q + l)). For log-probabilities and probabilities.
  XENT_OPERATION_KL_DIVERGENCE = 2,
  /// sum(w p l). For log-probabilities and probabilities; without targets.
  XENT_OPERATION_ENTROPY = 3,
  /// No loss but an output, exp(k x) / sum(exp(k x)) for the scale k. For logits; without targets.
  XENT_OPERATION_SOFTMAX = 4,
  /// No loss but an output, k x - log(sum(exp(k x))). For logits; without targets.
  XENT_OPERATION_LOG_SOFTMAX = 5,
} xent_operation;

/// What the input is, which is called logits in all operations.
typedef enum xent_form {
  /// Numbers whose softmax, or sigmoid in a binary cross entropy, are the probabilities.
  XENT_FORM_LOGITS = 0,
  /// Logarithms of probabilities, in nats. They need not add up to anything.
  XENT_FORM_LOG_PROBABILITIES = 1,
  /// Probabilities, or anything at least 0. They need not add up to 1.
  XENT_FORM_PROBABILITIES = 2,
} xent_form;

/// How the logarithm of a probability is kept finite. The gradient is 0 where something was clipped.
typedef enum xent_clip {
  /// Not at all: the loss of a target of probability 0 is infinite.
  XENT_CLIP_NONE = 0,
  /// Probabilities are clipped to [e, 1 - e], as in Keras and scikit-learn: 0 < e < 1/2. That is
  /// exact: 1 is clipped also where 1 - e is rounded to it.
  XENT_CLIP_RANGE = 1,
  /// Probabilities are clipped to at least e, as in Caffe: 0 < e < 1.
  XENT_CLIP_LOWER = 2,
  /// The logarithm is that of p + e: 0 < e < 1. A loss may then be below 0.
  XENT_CLIP_ADD = 3,
  /// Logarithms are clipped to at least -b, as in PyTorch, where b is 100. In a binary cross
  /// entropy the gradient is not 0 then, but (p - q) / max(p (1 - p), 1e-12).
  XENT_CLIP_LOGARITHM = 4,
} xent_clip;

/// Whether probabilities are first divided by their sum over the row.
typedef enum xent_renormalise {
  /// They are taken as they are.
  XENT_RENORMALISE_NO = 0,
  /// Before they are clipped, as in Keras.
  XENT_RENORMALISE_BEFORE_CLIP = 1,
  /// After they are clipped, as in scikit-learn up to 1.1.
  XENT_RENORMALISE_AFTER_CLIP = 2,
} xent_renormalise;

/// The unit of a loss.
typedef enum xent_unit {
  /// Natural logarithms.
  XENT_UNIT_NATS = 0,
  /// Logarithms to the base 2.
  XENT_UNIT_BITS = 1,
} xent_unit;

/// Problems by the names that they have elsewhere, for xent_problem_preset. The reduction is a mean
/// unless it says otherwise.
typedef enum xent_preset {
  /// The cross entropy of logits against int64_t class indices: xent_problem_default().
  XENT_PRESET_CROSS_ENTROPY = 0,
  /// The softmax of logits.
  XENT_PRESET_SOFTMAX = 1,
  /// The logarithm of the softmax of logits.
  XENT_PRESET_LOG_SOFTMAX = 2,
  /// PyTorch's nll_loss: log-probabilities against int64_t class indices.
  XENT_PRESET_NLL_LOSS = 3,
  /// The cross entropy of probabilities against int64_t class indices, with nothing clipped. With
  /// the target_type of probabilities, that of two distributions.
  XENT_PRESET_CROSS_ENTROPY_FROM_PROBS = 4,
  /// PyTorch's binary_cross_entropy_with_logits, against f32 targets (f64 for f64 logits).
  XENT_PRESET_BCE_WITH_LOGITS = 5,
  /// PyTorch's binary_cross_entropy of probabilities, with logarithms of at least -100.
  XENT_PRESET_BCE = 6,
  /// PyTorch's kl_div of log-probabilities from f32 probabilities (f64 for f64), over the number
  /// of elements; XENT_REDUCTION_BATCH_MEAN for that of rows.
  XENT_PRESET_KL_DIV = 7,
  /// The entropy of each row of probabilities: XENT_REDUCTION_NONE.
  XENT_PRESET_ENTROPY = 8,
  /// Keras' categorical_crossentropy of probabilities, and sparse_categorical_crossentropy with
  /// class indices: divided by their sum, clipped to [1e-7, 1 - 1e-7]; XENT_REDUCTION_BATCH_MEAN.
  XENT_PRESET_KERAS_CATEGORICAL_CROSSENTROPY = 9,
  /// Keras' binary_crossentropy of probabilities: clipped to [1e-7, 1 - 1e-7].
  /// XENT_REDUCTION_ROW_MEAN gives what Keras calls the loss of a sample.
  XENT_PRESET_KERAS_BINARY_CROSSENTROPY = 10,
  /// scikit-learn's log_loss of probabilities: clipped to [e, 1 - e], where e is the distance of 1
  /// from the next number of their type. With class indices, its sample_weight is row_weights.
  XENT_PRESET_SKLEARN_LOG_LOSS = 11,
  /// log_loss of scikit-learn up to 1.1: clipped to [1e-15, 1 - 1e-15], then divided by their sum.
  XENT_PRESET_SKLEARN_LEGACY_LOG_LOSS = 12,
  /// Caffe's MultinomialLogisticLoss of probabilities: clipped to at least 1e-20.
  XENT_PRESET_CAFFE_MULTINOMIAL_LOGISTIC_LOSS = 13,
} xent_preset;

/// What a mean divides by.
typedef enum xent_denominator {
  /// As XENT_REDUCTION_MEAN says.
  XENT_DENOMINATOR_DEFAULT = 0,
  /// denominator_value, for the loss and the z-loss: the tokens of all micro-batches, say.
  XENT_DENOMINATOR_VALUE = 1,
  /// The f32 that denominator_pointer points to in GPU memory.
  XENT_DENOMINATOR_POINTER = 2,
} xent_denominator;

/// The outputs of a run, to be combined with |. T is float, or double with f64 logits.
typedef enum xent_output {
  /// The loss: one T, one for each row, or one for each element, as the reduction says.
  XENT_OUTPUT_LOSS = 1,
  /// log(sum(exp(z))) of each row: T.
  XENT_OUTPUT_LSE = 2,
  /// Two T for each row, which xent_backward reads: the logit of the most probable class, before
  /// scale and cap, and the sum of exp(z - max z) over the other classes.
  XENT_OUTPUT_STATS = 4,
  /// The gradient of the loss with respect to the logits, in their shape.
  XENT_OUTPUT_DLOGITS = 8,
  /// The most probable class of each row: int64_t. The first where several are equal; -1 for an
  /// ignored row, and for one whose softmax is not defined (a NaN, +inf, or all -inf).
  XENT_OUTPUT_ARGMAX = 16,
  /// How many counted rows have their target as argmax: one int64_t. The target of a row of
  /// probabilities is its first most probable class.
  XENT_OUTPUT_CORRECT = 32,
  /// The entropy of the softmax of each row, in nats: T.
  XENT_OUTPUT_ENTROPY = 64,
  /// The softmax or its logarithm, in the shape of the logits.
  XENT_OUTPUT_OUTPUT = 128,
} xent_output;

/// Options of a problem, to be combined with |.
typedef enum xent_flag {
  /// Rows whose target is ignore_index do not count. They are never read; their loss, lse,
  /// entropy and gradient are +0. Only with class indices.
  XENT_FLAG_IGNORE_INDEX = 1,
  /// A mean over nothing is 0, and not NaN as in PyTorch.
  XENT_FLAG_EMPTY_MEAN_ZERO = 2,
  /// The gradient, or the softmax, replaces the logits: same pointer, type and strides. In the
  /// backward of a softmax the gradient replaces doutput.
  XENT_FLAG_IN_PLACE = 4,
  /// A run brings class_weights.
  XENT_FLAG_CLASS_WEIGHTS = 8,
  /// A run brings row_weights.
  XENT_FLAG_ROW_WEIGHTS = 16,
  /// A run brings element_weights.
  XENT_FLAG_ELEMENT_WEIGHTS = 32,
  /// A run brings pos_weights.
  XENT_FLAG_POS_WEIGHTS = 64,
  /// The targets of a divergence are logarithms of probabilities.
  XENT_FLAG_LOG_TARGETS = 128,
} xent_flag;

/// A device with its threads. Made by xent_context_create, freed by xent_context_destroy.
///
/// Immutable: any threads may use it at once. Plans keep what they need of it, so it may be
/// destroyed before them.
typedef struct xent_context xent_context;

/// A problem that is ready to run on a device. Made by xent_plan_create, freed by
/// xent_plan_destroy.
///
/// Immutable: any threads may run it at once, each with outputs and a workspace of its own.
typedef struct xent_plan xent_plan;

/// One task of a parallel loop. May be called from any thread.
///
/// @param task_data  as xent_parallel_for got it
/// @param index      from 0 to tasks - 1
typedef void (*xent_task)(void *task_data,
                          size_t index);

/// A parallel loop on the threads of the caller: calls task(task_data, index) for every index
/// below tasks, in any order and on any threads, and returns when all these calls have returned.
/// Results never depend on how it does so. It may be called from several threads at once, must not
/// throw a C++ exception or longjmp, and must not call task after it has returned.
///
/// @param user       parallel_for_user of the context's options
/// @param tasks      the number of tasks
/// @param task       the task
/// @param task_data  what the task wants as its first argument
typedef void (*xent_parallel_for)(void *user,
                                  size_t tasks,
                                  xent_task task,
                                  void *task_data);

/// How to make a context. All zero but struct_size: the device chooses itself, and the CPU uses
/// all processors. Starts as xent_context_options_default().
typedef struct xent_context_options {
  /// sizeof(xent_context_options).
  size_t struct_size;
  /// The kind of device.
  enum xent_device device;
  /// The number of the GPU, from 0, in the order of CUDA and CUDA_VISIBLE_DEVICES; 0 unless
  /// device is XENT_DEVICE_CUDA.
  int32_t ordinal;
  /// Threads of the CPU, of which the calling one is the first: 0 shares one pool of all
  /// processors with other contexts, 1 works on the calling thread alone, more starts the
  /// others, at most 1024 in all.
  uint32_t threads;
  /// 0.
  uint32_t reserved;
  /// Takes the place of threads of xent's own; then threads is 0. NULL is none.
  xent_parallel_for parallel_for;
  /// The first argument of parallel_for. Stays valid until the context and its plans are gone.
  void *parallel_for_user;
  /// The folder where compiled GPU kernels are kept, UTF-8; NULL is the user's. It is not used if
  /// others than its owner can write to it. Copied.
  const char *cache_directory;
} xent_context_options;

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
typedef struct xent_problem {
  /// sizeof(xent_problem).
  size_t struct_size;
  /// The number of classes C, from 1 to 2^31 - 1. The one field that has no default.
  int64_t classes;
  /// The type of the logits.
  enum xent_dtype logits_dtype;
  /// The type of the gradient: that of the logits, or f32.
  enum xent_dtype dlogits_dtype;
  /// What the targets are.
  enum xent_target target_type;
  /// How the losses of the rows become the result.
  enum xent_reduction reduction;
  /// The outputs, xent_output combined; 0 is XENT_OUTPUT_LOSS.
  uint32_t outputs;
  /// The options, xent_flag combined.
  uint32_t flags;
  /// With XENT_FLAG_IGNORE_INDEX, the target of rows that do not count: any value, inside
  /// [0, classes) too. Else 0.
  int64_t ignore_index;
  /// The share s of the target that is spread evenly over all classes, in [0, 1].
  double label_smoothing;
  /// The factor k of the logits, the inverse of a temperature: finite. 0 is 1.
  double logit_scale;
  /// The bound c of the scaled logits: positive and finite. 0 is none.
  double softcap;
  /// The factor a of lse^2: finite.
  double z_loss;
  /// How many rows a run will have, as a hint. 0 is unknown.
  int64_t expected_rows;
  /// A promise: logits, their gradient and the strides of their rows are multiples of this many
  /// bytes. A power of two up to 4096; 0 promises nothing.
  int64_t alignment;
  /// What is computed of each row.
  enum xent_operation operation;
  /// What the logits are.
  enum xent_form input;
  /// How logarithms of probabilities are kept finite.
  enum xent_clip clip;
  /// Whether probabilities are first divided by their sum over the row.
  enum xent_renormalise renormalise;
  /// The number of clip: e or b. 0 without one.
  double clip_value;
  /// The unit of the loss.
  enum xent_unit unit;
  /// The type of the softmax or its logarithm: that of the logits, or f32.
  enum xent_dtype output_dtype;
} xent_problem;

/// The buffers of one xent_run. Starts as xent_args_default().
///
/// Which pointers must be there and which must be NULL, the problem says. T is float, or double
/// with f64 logits. Rows are outer times inner.
typedef struct xent_args {
  /// sizeof(xent_args).
  size_t struct_size;
  /// Rows before the class axis. 0 is an empty batch, whose buffers without elements may be NULL.
  int64_t outer;
  /// Rows after the class axis. 0 is 1.
  int64_t inner;
  /// Logits, (outer, classes, inner).
  const void *logits;
  /// Their strides; all 0 is packed.
  int64_t logits_strides[3];
  /// One class index for each row, or probabilities, (outer, classes, inner).
  const void *targets;
  /// The strides of probabilities; all 0 is packed. With class indices, all 0.
  int64_t target_strides[3];
  /// One T for each class, with XENT_FLAG_CLASS_WEIGHTS. Any sign; a class of weight 0 adds
  /// nothing, whatever its logit.
  const void *class_weights;
  /// How many class weights there are: the number of classes.
  int64_t class_weights_count;
  /// One T for each row, with XENT_FLAG_ROW_WEIGHTS.
  const void *row_weights;
  /// The upstream gradient, T. NULL is 1. Only with XENT_OUTPUT_DLOGITS.
  const void *dloss;
  /// 0: one upstream gradient. 1: one for each loss, where the reduction leaves several.
  int64_t dloss_stride;
  /// What a mean divides by.
  enum xent_denominator denominator_kind;
  /// 0.
  uint32_t reserved;
  /// With XENT_DENOMINATOR_VALUE, the denominator: finite and at least 0, where 0 is the mean
  /// over nothing. Else 0.
  double denominator_value;
  /// With XENT_DENOMINATOR_POINTER, the denominator: one f32 in memory of the GPU, read when the
  /// stream is there; 0 is the mean over nothing. Else NULL, as on the CPU.
  const void *denominator_pointer;
  /// Where the loss goes: one T, one for each row, or one for each element.
  void *loss;
  /// Where log(sum(exp(z))) goes: one T for each row.
  void *lse;
  /// Where the statistics for xent_backward go: two T for each row.
  void *stats;
  /// Where the gradient goes, (outer, classes, inner).
  void *dlogits;
  /// Its strides; all 0 is packed.
  int64_t dlogits_strides[3];
  /// Where the most probable class goes: one for each row.
  int64_t *argmax;
  /// Where the number of correct rows goes: one.
  int64_t *correct;
  /// Where the entropy of the softmax goes: one T for each row.
  void *entropy;
  /// An xent_report in memory of the GPU, to which wrong targets are added; NULL is none. NULL on
  /// the CPU, which answers XENT_STATUS_INVALID_TARGET itself.
  void *report;
  /// Scratch memory on the device, aligned to XENT_WORKSPACE_ALIGNMENT bytes: of
  /// xent_workspace_create, or one's own. Its contents mean nothing.
  void *workspace;
  /// Its size in bytes, at least that of xent_plan_workspace_size.
  size_t workspace_size;
  /// The stream of a GPU that does the work; NULL is the legacy default stream. NULL on the CPU.
  xent_stream stream;
  /// One T for each element, (outer, classes, inner), with XENT_FLAG_ELEMENT_WEIGHTS.
  const void *element_weights;
  /// Their strides; all 0 is packed.
  int64_t element_weights_strides[3];
  /// One T for each class, with XENT_FLAG_POS_WEIGHTS.
  const void *pos_weights;
  /// Where the softmax or its logarithm goes, (outer, classes, inner).
  void *output;
  /// Its strides; all 0 is packed.
  int64_t output_strides[3];
} xent_args;

/// The buffers of one xent_backward or xent_double_backward. Starts as xent_backward_args_default().
///
/// Every field means what it means in xent_args; the inputs are those of the run that wrote stats,
/// but for dloss and the denominator, which may be new. The backward of a softmax reads output and
/// doutput in the place of logits, targets and stats.
typedef struct xent_backward_args {
  /// sizeof(xent_backward_args).
  size_t struct_size;
  /// Rows before the class axis.
  int64_t outer;
  /// Rows after the class axis. 0 is 1.
  int64_t inner;
  /// Logits, (outer, classes, inner).
  const void *logits;
  /// Their strides; all 0 is packed.
  int64_t logits_strides[3];
  /// One class index for each row, or probabilities, (outer, classes, inner).
  const void *targets;
  /// The strides of probabilities; all 0 is packed. With class indices, all 0.
  int64_t target_strides[3];
  /// One T for each class, with XENT_FLAG_CLASS_WEIGHTS.
  const void *class_weights;
  /// How many class weights there are: the number of classes.
  int64_t class_weights_count;
  /// One T for each row, with XENT_FLAG_ROW_WEIGHTS.
  const void *row_weights;
  /// The upstream gradient, T. NULL is 1.
  const void *dloss;
  /// 0: one upstream gradient. 1: one for each loss, where the reduction leaves several.
  int64_t dloss_stride;
  /// What a mean divides by.
  enum xent_denominator denominator_kind;
  /// 0.
  uint32_t reserved;
  /// With XENT_DENOMINATOR_VALUE, the denominator. Else 0.
  double denominator_value;
  /// With XENT_DENOMINATOR_POINTER, where the denominator is. Else NULL, as on the CPU.
  const void *denominator_pointer;
  /// The statistics that a run wrote: two T for each row.
  const void *stats;
  /// Where the gradient goes, (outer, classes, inner).
  void *dlogits;
  /// Its strides; all 0 is packed.
  int64_t dlogits_strides[3];
  /// An xent_report in GPU memory, to which wrong targets are added. NULL on the CPU.
  void *report;
  /// Scratch memory, aligned to XENT_WORKSPACE_ALIGNMENT bytes. Its contents mean nothing.
  void *workspace;
  /// Its size in bytes, at least that of xent_plan_workspace_size.
  size_t workspace_size;
  /// The stream of a GPU that does the work; NULL is the default stream. NULL on the CPU.
  xent_stream stream;
  /// The softmax or its logarithm that a run wrote, (outer, classes, inner).
  const void *output;
  /// Its strides; all 0 is packed.
  int64_t output_strides[3];
  /// The upstream gradient of the softmax or its logarithm, of their type, (outer, classes, inner).
  const void *doutput;
  /// Its strides; all 0 is packed.
  int64_t doutput_strides[3];
  /// For xent_double_backward, the upstream gradient of the gradient, of its type, (outer, classes,
  /// inner).
  const void *ddlogits;
  /// Its strides; all 0 is packed.
  int64_t ddlogits_strides[3];
} xent_backward_args;

/// What was wrong with the targets of runs on a GPU. The program has it in memory of the GPU and
/// clears it to zeros; runs and backwards with class indices add to it, on one stream at a time.
typedef struct xent_report {
  /// How many targets were no class, in all runs since it was cleared.
  int64_t count;
  /// The lowest row that held one; 0 if count is.
  int64_t row;
  /// What that row held, in the last run where it did.
  int64_t value;
  /// 0.
  int64_t reserved;
} xent_report;

/// Scratch memory of runs, on the device of a plan. Made by xent_workspace_create, freed by
/// xent_workspace_destroy.
///
/// One run at a time uses it; on a GPU, the runs of one stream, where each comes after the one
/// before. For programs that have no allocator of their own for the device; xent does not tell this
/// memory from the caller's. Later versions may append fields.
typedef struct xent_workspace {
  /// Its address, for the workspace of xent_args and xent_backward_args: of host memory if the
  /// plan is on the CPU, of device memory if it is on a GPU. Not to be changed.
  void *data;
  /// Its size in bytes, for workspace_size. Not to be changed.
  size_t size;
} xent_workspace;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The version of the library that is loaded, like XENT_VERSION_NUMBER:
/// 1000000 major + 1000 minor + patch.
///
/// Neither allocates nor fails.
uint32_t xent_version(void);

/// The same as text, with the devices that are built in: "0.1.0 (CPU, CUDA)" or "0.1.0 (CPU)".
/// Which is there on this machine, xent_context_describe says.
///
/// The text is static.
const char *xent_version_string(void);

/// The name of a status, "XENT_STATUS_OK" say; "unknown status" for other numbers.
///
/// The text is static.
const char *xent_status_string(enum xent_status status);

/// What went wrong in the last call of this thread that failed: the field, its value, and what is
/// allowed. "" if none has failed yet; never NULL.
///
/// A call that succeeds leaves it as it is, like errno. The text is the library's, and valid until
/// the next call of this thread that fails.
const char *xent_last_error(void);

/// Makes a context.
///
/// Allocates, and starts threads if options ask for more than one. For a GPU it loads and starts
/// the driver, unless somebody has, and takes a share of the primary context: where there is none
/// yet, that takes some tenths of a second, and some hundred MiB of the GPU's memory.
///
/// @param options  NULL is the default; read only during the call
/// @param out      the context, which is the caller's; untouched if the call fails
/// @return XENT_STATUS_OK; XENT_STATUS_DEVICE_UNAVAILABLE for XENT_DEVICE_CUDA if the GPU, or what
///         computing on it needs, is not there: the last error says what, and how to get it;
///         XENT_STATUS_CUDA if the driver fails; XENT_STATUS_OUT_OF_RESOURCES if a thread does not
///         start, or the GPU has no memory left; the 1xx of wrong arguments. XENT_DEVICE_AUTO
///         takes the CPU where XENT_DEVICE_CUDA would fail
XENT_MUST_USE
enum xent_status xent_context_create(const struct xent_context_options *options,
                                     struct xent_context **out);

/// Frees a context. NULL is fine. No other thread may use it during the call or later; plans that
/// were made from it stay valid. The share of a GPU's primary context is given back with the last
/// of them.
void xent_context_destroy(struct xent_context *context);

/// The device in words, and for one that chose itself why it is not a GPU:
/// "CUDA 0", "CPU (libcuda.so.1, the NVIDIA driver, was not found; ...)". "" for NULL.
///
/// The text is the context's.
const char *xent_context_describe(const struct xent_context *context);

/// Where a context computes: XENT_DEVICE_CPU or XENT_DEVICE_CUDA, never XENT_DEVICE_AUTO, which
/// stands for NULL.
///
/// Neither allocates nor fails.
///
/// @param context  the context
/// @param ordinal  the number of the GPU, 0 of the CPU; untouched for a NULL context. NULL if
///                 nobody asks
enum xent_device xent_context_device(const struct xent_context *context,
                                     int32_t *ordinal);

/// Checks a problem and chooses how to compute it; on a GPU, compiles the kernels, or takes those
/// of another plan or of the cache.
///
/// Allocates; on a GPU, memory for code too, which may wait for the GPU and must not be done while
/// a stream is captured.
///
/// @param context  need not outlive the plan
/// @param problem  read only during the call
/// @param out      the plan, which is the caller's; untouched if the call fails
/// @return XENT_STATUS_OK; XENT_STATUS_UNSUPPORTED for what the device does not do: f64 on a GPU;
///         XENT_STATUS_DEVICE_UNAVAILABLE if the kernels cannot be compiled; XENT_STATUS_CUDA if
///         the driver fails; XENT_STATUS_OUT_OF_RESOURCES if there is no memory for them; the 1xx
///         of wrong arguments
XENT_MUST_USE
enum xent_status xent_plan_create(const struct xent_context *context,
                                  const struct xent_problem *problem,
                                  struct xent_plan **out);

/// Frees a plan. NULL is fine. No other thread may use it during the call or later; on a GPU, its
/// runs are done, and the graphs that captured them are gone. May wait for the GPU.
void xent_plan_destroy(struct xent_plan *plan);

/// The size of the workspace that a run of so many rows needs. It does not shrink as rows grow.
///
/// For programs that allocate it themselves; xent_workspace_create does it for others. Does not
/// allocate, nor ask the device.
///
/// @param plan  the plan
/// @param rows  outer times inner, at least 0
/// @param out   bytes: never 0, and a multiple of XENT_WORKSPACE_ALIGNMENT, as aligned_alloc wants
///              it; untouched if the call fails
/// @return XENT_STATUS_OK, or the 1xx of wrong arguments
XENT_MUST_USE
enum xent_status xent_plan_workspace_size(const struct xent_plan *plan,
                                          int64_t rows,
                                          size_t *out);

/// The name of what computes the problem, for logs; on a GPU, that of the kernel for the rows, as
/// profilers show it. "" for NULL.
///
/// The text is the plan's.
const char *xent_plan_kernel_name(const struct xent_plan *plan);

/// Makes a problem by the name that it has elsewhere. What a preset has no word on is as in
/// xent_problem_default(), and every field may be changed before the plan is made.
///
/// @param preset   the name
/// @param dtype    the type of the logits, or of what stands in their place
/// @param classes  from 1 to 2^31 - 1
/// @param problem  starts as xent_problem_default(); all its fields are set but struct_size.
///                 Untouched if the call fails
/// @return XENT_STATUS_OK, or the 1xx of wrong arguments
XENT_MUST_USE
enum xent_status xent_problem_preset(enum xent_preset preset,
                                     enum xent_dtype dtype,
                                     int64_t classes,
                                     struct xent_problem *problem);

/// Computes all outputs of the problem in one call.
///
/// On the CPU it returns when they are written. It allocates nothing, but for f64 logits, for the
/// queue of xent's own threads if it uses them, and for the text of a failure.
///
/// On a GPU it puts up to five kernels on the stream and returns; the outputs are there when
/// the stream is. It neither allocates nor synchronises, makes no copies and no events, leaves the
/// thread its current CUDA context, and may be captured in a CUDA graph.
///
/// @param plan  the plan
/// @param args  read only during the call; the buffers stay the caller's, on a GPU until the stream
///              is done with them
/// @return XENT_STATUS_OK; on the CPU, XENT_STATUS_INVALID_TARGET for a class index that is no
///         class, and XENT_STATUS_UNSUPPORTED for a stream, report or denominator_pointer; on a
///         GPU, XENT_STATUS_CUDA if the driver fails, now or in earlier work, and
///         XENT_STATUS_DEVICE_UNAVAILABLE after a fork; the 1xx of wrong arguments. Unless it is
///         XENT_STATUS_CUDA, a call that fails has written nothing
XENT_MUST_USE
enum xent_status xent_run(const struct xent_plan *plan,
                          const struct xent_args *args);

/// Computes the gradient from the statistics of a run, for an upstream gradient that was not known
/// then. It is that of a run with XENT_OUTPUT_DLOGITS, bit for bit. For a softmax or its logarithm,
/// computes the gradient from their output and its upstream gradient.
///
/// Allocation, synchronisation and capture are as in xent_run.
///
/// @param plan  the plan of the run; its problem's outputs have XENT_OUTPUT_STATS
/// @param args  read only during the call; the buffers stay the caller's
/// @return as xent_run, and XENT_STATUS_UNSUPPORTED for a problem without XENT_OUTPUT_STATS
XENT_MUST_USE
enum xent_status xent_backward(const struct xent_plan *plan,
                               const struct xent_backward_args *args);

/// Computes the derivative of the gradient in a direction: the Hessian of the loss of each row times
/// ddlogits of this row, times dloss, from the statistics of a run. This is what the backward of a
/// backward hands on to the logits. It goes to args->dlogits.
///
/// Allocation, synchronisation and capture are as in xent_run.
///
/// @param plan  the plan of the run; its problem is the cross entropy of logits without a softcap, and
///              its outputs have XENT_OUTPUT_STATS
/// @param args  read only during the call; the buffers stay the caller's
/// @return as xent_backward, and XENT_STATUS_UNSUPPORTED for a problem with a softcap
XENT_MUST_USE
enum xent_status xent_double_backward(const struct xent_plan *plan,
                                      const struct xent_backward_args *args);

/// Waits for a stream and reads a report from the memory of a GPU. The only call that is made to
/// wait; not while the stream is captured.
///
/// The report stays as it is: the program clears it when it likes.
///
/// @param plan           the plan whose runs wrote the report
/// @param device_report  the report, in memory of the GPU
/// @param stream         the stream of the runs
/// @param out            a copy of the report; untouched if it cannot be read
/// @return XENT_STATUS_OK if no target was wrong; XENT_STATUS_INVALID_TARGET, with the row and its
///         target as last error and in *out, if one was; XENT_STATUS_UNSUPPORTED for a plan on the
///         CPU; XENT_STATUS_CUDA if the GPU failed; the 1xx of wrong arguments
XENT_MUST_USE
enum xent_status xent_report_read(const struct xent_plan *plan,
                                  const void *device_report,
                                  xent_stream stream,
                                  struct xent_report *out);

/// Writes a 1 at the class of each row and 0 elsewhere: one-hot targets of class indices. All of it is
/// in host memory. Allocates one row.
///
/// @param outer         rows before the class axis
/// @param classes       from 1 to 2^31 - 1
/// @param inner         rows after the class axis. 0 is 1
/// @param indices       one class index for each row
/// @param indices_type  their type, that of an integer
/// @param to            where the rows go, (outer, classes, inner); untouched if the call fails
/// @param to_dtype      their type
/// @param to_strides    their three strides; NULL or all 0 is packed
/// @return XENT_STATUS_OK; XENT_STATUS_INVALID_TARGET for an index that is no class; the 1xx of wrong
///         arguments
XENT_MUST_USE
enum xent_status xent_one_hot(int64_t outer,
                              int64_t classes,
                              int64_t inner,
                              const void *indices,
                              enum xent_target indices_type,
                              void *to,
                              enum xent_dtype to_dtype,
                              const int64_t *to_strides);

/// Divides each row of labels by its sum: several classes of a row share its target evenly, or as
/// their labels say. All of it is in host memory. Allocates one row, and a number for each.
///
/// @param outer           rows before the class axis
/// @param classes         from 1 to 2^31 - 1
/// @param inner           rows after the class axis. 0 is 1
/// @param labels          at least 0 and finite, (outer, classes, inner)
/// @param labels_type     the type of a label; XENT_TARGET_U8 for 0 and 1, say
/// @param labels_strides  their three strides; NULL or all 0 is packed
/// @param to              where the rows go, (outer, classes, inner); untouched if the call fails
/// @param to_dtype        their type
/// @param to_strides      their three strides; NULL or all 0 is packed
/// @return XENT_STATUS_OK; XENT_STATUS_INVALID_ARGUMENT for a label that is negative or not finite,
///         and for a row without a positive one; the 1xx of wrong arguments
XENT_MUST_USE
enum xent_status xent_distributions(int64_t outer,
                                    int64_t classes,
                                    int64_t inner,
                                    const void *labels,
                                    enum xent_target labels_type,
                                    const int64_t *labels_strides,
                                    void *to,
                                    enum xent_dtype to_dtype,
                                    const int64_t *to_strides);

/// Refuses what are not distributions: each row is at least 0, and adds up to 1 within a tolerance.
/// For host memory. Allocates one row.
///
/// @param outer      rows before the class axis
/// @param classes    from 1 to 2^31 - 1
/// @param inner      rows after the class axis. 0 is 1
/// @param q          the rows, (outer, classes, inner)
/// @param q_dtype    their type
/// @param q_strides  their three strides; NULL or all 0 is packed
/// @param tolerance  finite and at least 0
/// @return XENT_STATUS_OK; XENT_STATUS_INVALID_ARGUMENT for a row that is none, and the last error
///         names the first and what is wrong with it; the 1xx of wrong arguments
XENT_MUST_USE
enum xent_status xent_check_distributions(int64_t outer,
                                          int64_t classes,
                                          int64_t inner,
                                          const void *q,
                                          enum xent_dtype q_dtype,
                                          const int64_t *q_strides,
                                          double tolerance);

/// Makes a workspace for runs of up to so many rows.
///
/// Allocates: on a GPU with cuMemAlloc, in the primary context, which may wait for the GPU and must
/// not be done while a stream is captured.
///
/// @param plan  the plan; the workspace also serves other plans on its device that need no more.
///              Need not outlive the workspace
/// @param rows  outer times inner, at least 0
/// @param out   the workspace, which is the caller's; untouched if the call fails
/// @return XENT_STATUS_OK; XENT_STATUS_OUT_OF_RESOURCES if there is not so much memory;
///         XENT_STATUS_CUDA if the GPU failed; the 1xx of wrong arguments
XENT_MUST_USE
enum xent_status xent_workspace_create(const struct xent_plan *plan,
                                       int64_t rows,
                                       struct xent_workspace **out);

/// Frees a workspace. NULL is fine. No run may be using it: on a GPU the call waits for those that
/// are on a stream, as cuMemFree does.
void xent_workspace_destroy(struct xent_workspace *workspace);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

// Helpers, compiled into the program.

/// The enums of the ABI are four bytes wide: -fshort-enums would change it.
typedef char xent_enums_have_four_bytes[sizeof(xent_status) == 4 ? 1 : -1];

/// Options that ask for nothing.
static inline xent_context_options xent_context_options_default(void) {
  xent_context_options options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  return options;
}

/// A problem that lacks only its classes: the mean loss of f32 logits and int64_t indices.
static inline xent_problem xent_problem_default(void) {
  xent_problem problem;
  memset(&problem, 0, sizeof problem);
  problem.struct_size = sizeof problem;
  return problem;
}

/// Arguments without buffers.
static inline xent_args xent_args_default(void) {
  xent_args args;
  memset(&args, 0, sizeof args);
  args.struct_size = sizeof args;
  return args;
}

/// Arguments without buffers.
static inline xent_backward_args xent_backward_args_default(void) {
  xent_backward_args args;
  memset(&args, 0, sizeof args);
  args.struct_size = sizeof args;
  return args;
}

/// xent_context_create: the device chooses itself.
XENT_MUST_USE static inline xent_status xent_context_create_auto(xent_context **out) {
  return xent_context_create(NULL, out);
}

/// xent_context_create: the CPU, with all processors.
XENT_MUST_USE static inline xent_status xent_context_create_cpu(xent_context **out) {
  xent_context_options options = xent_context_options_default();
  options.device = XENT_DEVICE_CPU;
  return xent_context_create(&options, out);
}

/// xent_context_create: the GPU with this number.
XENT_MUST_USE static inline xent_status xent_context_create_cuda(int32_t ordinal,
                                                                 xent_context **out) {
  xent_context_options options = xent_context_options_default();
  options.device = XENT_DEVICE_CUDA;
  options.ordinal = ordinal;
  return xent_context_create(&options, out);
}

#endif // XENT_H
