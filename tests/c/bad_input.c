/* Each field of each struct wrong in turn: the status, a text that names field, value and range,
 * and nothing written.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <xent.h>

#include "check.h"
#include "device.h"

enum { kRows = 2, kClasses = 3 };

/* Everything a call may write. The statistics are no more aligned than they need be. */
typedef struct {
  float loss, lse[kRows], stats[2 * kRows], dlogits[kRows * kClasses], entropy[kRows];
  int64_t argmax[kRows], correct;
} outputs;

/* And everything it reads, but for a workspace. */
typedef struct {
  outputs out;
  float logits[kRows * kClasses], stats[16];
  int64_t targets[kRows];
  float probabilities[kRows * kClasses];
  float class_weights[kClasses], row_weights[kRows], dloss[kRows];
  xent_report report;
} buffers;

/* As it is before each call, here and on the device. */
static buffers fresh = {
    .logits = {1, 2, 3, 2, 4, 6},
    .stats = {3, 0.5f, 6, 0.15f},
    .targets = {0, 2},
    .probabilities = {1, 0, 0, 0, 0, 1},
    .class_weights = {1, 2, 3},
    .row_weights = {1, 1},
    .dloss = {1, 1},
};
static buffers* there;
static device where;

/* The structs of a call that succeeds, until a test changes them. */
static xent_context* context;
static xent_workspace* workspace;
static char host_memory[8192]; /* not of a GPU */
static xent_context_options options;
static xent_problem problem;
static xent_args args;
static xent_backward_args backward;

static void parallel_for(void* user, size_t tasks, xent_task task, void* data) {
  (void)user;
  for (size_t i = 0; i < tasks; ++i) task(data, i);
}

static void start(void) {
  memset(&fresh.out, 0xA5, sizeof fresh.out);
  put(&where, there, &fresh, sizeof fresh);
  options = xent_context_options_default();

  problem = xent_problem_default();
  problem.classes = kClasses;
  problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_LSE | XENT_OUTPUT_STATS | XENT_OUTPUT_DLOGITS |
                    XENT_OUTPUT_ARGMAX | XENT_OUTPUT_CORRECT | XENT_OUTPUT_ENTROPY;
  problem.flags = XENT_FLAG_CLASS_WEIGHTS | XENT_FLAG_ROW_WEIGHTS;

  args = xent_args_default();
  args.outer = kRows;
  args.logits = there->logits;
  args.targets = there->targets;
  args.class_weights = there->class_weights;
  args.class_weights_count = kClasses;
  args.row_weights = there->row_weights;
  args.loss = &there->out.loss;
  args.lse = there->out.lse;
  args.stats = there->out.stats;
  args.dlogits = there->out.dlogits;
  args.argmax = there->out.argmax;
  args.correct = &there->out.correct;
  args.entropy = there->out.entropy;
  args.workspace = workspace->data;
  args.workspace_size = workspace->size;

  backward = xent_backward_args_default();
  backward.outer = kRows;
  backward.logits = there->logits;
  backward.targets = there->targets;
  backward.class_weights = there->class_weights;
  backward.class_weights_count = kClasses;
  backward.row_weights = there->row_weights;
  backward.stats = there->stats;
  backward.dlogits = there->out.dlogits;
  backward.workspace = workspace->data;
  backward.workspace_size = workspace->size;
}

static xent_status create_context(void) {
  xent_context* made = NULL;
  xent_status status = xent_context_create(&options, &made);
  CHECK((made == NULL) == (status != XENT_STATUS_OK));
  xent_context_destroy(made);
  return status;
}

static xent_status create_plan(void) {
  xent_plan* made = NULL;
  xent_status status = xent_plan_create(context, &problem, &made);
  CHECK((made == NULL) == (status != XENT_STATUS_OK));
  xent_plan_destroy(made);
  return status;
}

static xent_status run(void) {
  xent_plan* plan = NULL;
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  xent_status status = xent_run(plan, &args);
  xent_plan_destroy(plan);
  return status;
}

static xent_status run_backward(void) {
  xent_plan* plan = NULL;
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  xent_status status = xent_backward(plan, &backward);
  xent_plan_destroy(plan);
  return status;
}

static int tests;

static void refused(xent_status status, xent_status expected, const char* text, const char* change,
                    int line) {
  if (status != expected || strstr(xent_last_error(), text) == NULL) {
    fprintf(stderr, "bad_input.c:%d: %s: %s, \"%s\"; expected %s, \"%s\"\n", line, change,
            xent_status_string(status), xent_last_error(), xent_status_string(expected), text);
    exit(1);
  }
  outputs out;
  get(&where, &out, &there->out, sizeof out);
  if (memcmp(&out, &fresh.out, sizeof out) != 0) {
    fprintf(stderr, "bad_input.c:%d: %s: an output was written\n", line, change);
    exit(1);
  }
  ++tests;
}

/* A change to the structs after which a call is refused. */
#define REFUSED(call, change, status, text)                         \
  do {                                                              \
    start();                                                        \
    change;                                                         \
    refused(call(), XENT_STATUS_##status, text, #change, __LINE__); \
  } while (0)

/* A change after which it succeeds. */
#define ACCEPTED(call, change) \
  do {                         \
    start();                   \
    change;                    \
    CHECK_OK(call());          \
  } while (0)

/* Writes a number that the enum does not have. */
#define WRONG_ENUM(field, number)           \
  do {                                      \
    const int32_t wrong = number;           \
    memcpy(&(field), &wrong, sizeof wrong); \
  } while (0)

static void test_options(void) {
  ACCEPTED(create_context, (void)0);
  ACCEPTED(create_context, options.threads = 3);
  ACCEPTED(create_context, options.parallel_for = parallel_for; options.parallel_for_user = &fresh);
  ACCEPTED(create_context, options.cache_directory = "/dev/null/nowhere");
  REFUSED(create_context, options.struct_size = 0, VERSION_MISMATCH, "struct_size 0 is not");
  REFUSED(create_context, options.struct_size -= 1, VERSION_MISMATCH, "xent_context_options");
  REFUSED(create_context, options.struct_size = SIZE_MAX, VERSION_MISMATCH, "struct_size");
  REFUSED(create_context, WRONG_ENUM(options.device, 3), INVALID_ARGUMENT,
          "device: 3 is not allowed; it must be one of 0, 1, 2");
  REFUSED(create_context, WRONG_ENUM(options.device, -1), INVALID_ARGUMENT, "device: 4294967295");
  REFUSED(create_context, options.device = XENT_DEVICE_CUDA;
          options.ordinal = 99, DEVICE_UNAVAILABLE, "CUDA device 99: ");
  REFUSED(create_context, options.ordinal = 1, INVALID_ARGUMENT,
          "ordinal: 1 is not allowed; it must be 0 unless device is XENT_DEVICE_CUDA");
  REFUSED(create_context, options.device = XENT_DEVICE_CUDA;
          options.ordinal = -1, INVALID_ARGUMENT, "ordinal: -1 is not allowed; it must be in [0, ");
  REFUSED(create_context, options.threads = 1025, INVALID_ARGUMENT,
          "threads: 1025 is not allowed; it must be in [0, 1024]");
  REFUSED(create_context, options.threads = 2; options.parallel_for = parallel_for,
                                               INVALID_ARGUMENT,
                                               "threads: 2 is not allowed; it must be 0");
  REFUSED(create_context, options.reserved = 1, INVALID_ARGUMENT, "reserved: 1 is not allowed");
  REFUSED(create_context, options.parallel_for_user = &fresh, UNEXPECTED_POINTER,
          "parallel_for_user: given");
  REFUSED(create_context, options.cache_directory = "\xff", INVALID_ARGUMENT,
          "cache_directory: \"\\xff\" is not allowed; it must be UTF-8");
}

static void test_problem(void) {
  ACCEPTED(create_plan, (void)0);
  ACCEPTED(create_plan, problem.outputs = 0; problem.alignment = 4096);
  REFUSED(create_plan, problem.struct_size = 8, VERSION_MISMATCH, "struct_size 8");
  REFUSED(create_plan, problem.struct_size -= 8, VERSION_MISMATCH, "xent_problem");
  REFUSED(create_plan, problem.struct_size = 4097, VERSION_MISMATCH, "struct_size 4097");
  if (on_gpu(&where)) {
    REFUSED(create_plan, problem.logits_dtype = XENT_DTYPE_F64, UNSUPPORTED,
            "logits of type f64 on a GPU: not supported");
  } else {
    ACCEPTED(create_plan, problem.logits_dtype = XENT_DTYPE_F64);
  }
  REFUSED(create_plan, problem.classes = 0, INVALID_ARGUMENT,
          "classes: 0 is not allowed; it must be in [1, 2^31 - 1]");
  REFUSED(create_plan, problem.classes = -1, INVALID_ARGUMENT, "classes: -1 is not allowed");
  REFUSED(create_plan, problem.classes = 2147483648, INVALID_ARGUMENT, "classes: 2147483648");
  REFUSED(create_plan, problem.classes = INT64_MIN, INVALID_ARGUMENT, "classes: -9223372036854775");
  REFUSED(create_plan, WRONG_ENUM(problem.logits_dtype, 5), INVALID_ARGUMENT,
          "logits_dtype: 5 is not allowed; it must be one of 0, 1, 2, 3, 4");
  REFUSED(create_plan, WRONG_ENUM(problem.dlogits_dtype, 99), INVALID_ARGUMENT,
          "dlogits_dtype: 99 is not allowed");
  REFUSED(create_plan, problem.dlogits_dtype = XENT_DTYPE_F16, INVALID_ARGUMENT,
          "dlogits: f16 is not allowed; it must be f32 or the type of the logits (f32)");
  REFUSED(create_plan, WRONG_ENUM(problem.target_type, 4), INVALID_ARGUMENT,
          "target_type: 4 is not allowed; it must be one of 0, 1, 2, 3, 16, 17, 18, 19");
  REFUSED(create_plan, problem.target_type = XENT_TARGET_PROBABILITIES_F64, INVALID_ARGUMENT,
          "targets: f64 is not allowed");
  REFUSED(create_plan, WRONG_ENUM(problem.reduction, -7), INVALID_ARGUMENT, "reduction: 42949672");
  REFUSED(create_plan, problem.outputs |= 128, INVALID_ARGUMENT,
          "outputs: 0xff is not allowed; it must be within the bits 0x7f");
  REFUSED(create_plan, problem.flags = 32, INVALID_ARGUMENT,
          "flags: 0x20 is not allowed; it must be within the bits 0x1f");
  REFUSED(create_plan, problem.ignore_index = -100, INVALID_ARGUMENT,
          "ignore_index: -100 is not allowed; it must be 0 without XENT_FLAG_IGNORE_INDEX");
  REFUSED(create_plan, problem.flags |= XENT_FLAG_IGNORE_INDEX; problem.ignore_index = -100;
          problem.target_type = XENT_TARGET_PROBABILITIES_F32, INVALID_ARGUMENT,
          "ignore_index: -100 is not allowed; it must be unset with probability targets");
  REFUSED(create_plan, problem.flags |= XENT_FLAG_IN_PLACE;
          problem.outputs = XENT_OUTPUT_LOSS, INVALID_ARGUMENT, "in_place: true");
  REFUSED(create_plan, problem.flags |= XENT_FLAG_IN_PLACE; problem.logits_dtype = XENT_DTYPE_F16;
          problem.dlogits_dtype = XENT_DTYPE_F32, INVALID_ARGUMENT, "in_place: true");
  REFUSED(create_plan, problem.label_smoothing = -0.1, INVALID_ARGUMENT,
          "label_smoothing: -0.1 is not allowed; it must be in [0, 1]");
  REFUSED(create_plan, problem.label_smoothing = 1.5, INVALID_ARGUMENT, "label_smoothing: 1.5");
  REFUSED(create_plan, problem.label_smoothing = (double)NAN, INVALID_ARGUMENT, "smoothing: NaN");
  REFUSED(create_plan, problem.logit_scale = (double)INFINITY, INVALID_ARGUMENT, "scale: inf");
  REFUSED(create_plan, problem.logit_scale = 1e-60, INVALID_ARGUMENT, "logit_scale: 0.000");
  REFUSED(create_plan, problem.softcap = -1, INVALID_ARGUMENT,
          "softcap: -1 is not allowed; it must be positive and finite");
  REFUSED(create_plan, problem.softcap = (double)NAN, INVALID_ARGUMENT, "softcap: NaN");
  REFUSED(create_plan, problem.z_loss = 1e39, INVALID_ARGUMENT, "z_loss: 1000000000");
  REFUSED(create_plan, problem.expected_rows = -1, INVALID_ARGUMENT,
          "expected_rows: -1 is not allowed; it must be in [0, 2^63 - 1]");
  REFUSED(create_plan, problem.alignment = 3, INVALID_ARGUMENT,
          "alignment: 3 is not allowed; it must be a power of two in [1, 4096]");
  REFUSED(create_plan, problem.alignment = 8192, INVALID_ARGUMENT, "alignment: 8192");
  REFUSED(create_plan, problem.alignment = -16, INVALID_ARGUMENT, "alignment: -16");
}

/* The fields that both kinds of arguments have. */
#define TEST_SHARED(call, a)                                                                      \
  do {                                                                                            \
    ACCEPTED(call, (void)0);                                                                      \
    ACCEPTED(call, a.inner = 1);                                                                  \
    ACCEPTED(call, a.logits_strides[0] = 3; a.logits_strides[1] = 1);                             \
    ACCEPTED(call, a.denominator_kind = XENT_DENOMINATOR_VALUE; a.denominator_value = 7);         \
    REFUSED(call, a.struct_size = 0, VERSION_MISMATCH, "struct_size 0");                          \
    REFUSED(call, a.struct_size -= 1, VERSION_MISMATCH, "args: struct_size");                     \
    REFUSED(call, a.outer = -1, INVALID_ARGUMENT, "outer: -1 is not allowed; it must be in [0,"); \
    REFUSED(call, a.outer = INT64_MAX, SIZE_MISMATCH, "logits: got strides");                     \
    REFUSED(call, a.inner = -2, INVALID_ARGUMENT, "inner: -2 is not allowed; it must be in [0,"); \
    REFUSED(call, a.inner = INT64_MAX, SIZE_MISMATCH, "logits: got strides");                     \
    REFUSED(call, a.logits = NULL, NULL_POINTER, "logits: missing");                              \
    REFUSED(call, a.logits = (char*)there->logits + 2, MISALIGNED,                                \
            " is not a multiple of 4 bytes");                                                     \
    REFUSED(call, problem.alignment = 1024;                                                       \
            a.logits = there->logits + 1, MISALIGNED, "logits: 0x");                              \
    REFUSED(call, a.logits_strides[0] = -3, INVALID_ARGUMENT,                                     \
            "logits_strides: -3 is not allowed; it must be in [0, 2^63 - 1]");                    \
    REFUSED(call, a.logits_strides[0] = 3;                                                        \
            a.logits_strides[1] = 0, INVALID_ARGUMENT,                                            \
            "logits: strides [3, 0, 0] is not allowed; it must be positive");                     \
    REFUSED(call, a.logits_strides[0] = INT64_MAX;                                                \
            a.logits_strides[1] = 1, SIZE_MISMATCH,                                               \
            "logits: got strides [9223372036854775807, 1, 0]");                                   \
    REFUSED(call, a.targets = NULL, NULL_POINTER, "targets: missing");                            \
    REFUSED(call, a.targets = (char*)there->targets + 4, MISALIGNED, "targets: 0x");              \
    REFUSED(call, a.target_strides[2] = 1, INVALID_ARGUMENT,                                      \
            "target_strides: [0, 0, 1] is not allowed; it must be 0 with class indices");         \
    REFUSED(call, problem.target_type = XENT_TARGET_PROBABILITIES_F32;                            \
            a.targets = there->probabilities;                                                     \
            a.target_strides[1] = -1, INVALID_ARGUMENT, "target_strides: -1 is not allowed");     \
    REFUSED(call, a.class_weights = NULL, NULL_POINTER, "class_weights: missing");                \
    REFUSED(call, a.class_weights = NULL; a.class_weights_count = 0, NULL_POINTER, "class_weig"); \
    REFUSED(call, a.class_weights = (char*)there->class_weights + 1, MISALIGNED,                  \
            "class_weights: 0x");                                                                 \
    REFUSED(call, problem.flags &= ~8u, UNEXPECTED_POINTER, "class_weights: given, but the");     \
    REFUSED(call, a.class_weights_count = 2, SIZE_MISMATCH,                                       \
            "class_weights: got 2 elements, but 3 is needed");                                    \
    REFUSED(call, a.class_weights_count = -3, INVALID_ARGUMENT, "class_weights_count: -3");       \
    REFUSED(call, a.row_weights = NULL, NULL_POINTER, "row_weights: missing");                    \
    REFUSED(call, a.row_weights = (char*)there->row_weights + 1, MISALIGNED, "row_weights: 0x");  \
    REFUSED(call, problem.flags &= ~16u, UNEXPECTED_POINTER, "row_weights: given, but the");      \
    REFUSED(call, a.dloss = (char*)there->dloss + 3, MISALIGNED, "dloss: 0x");                    \
    REFUSED(call, a.dloss_stride = 2, INVALID_ARGUMENT,                                           \
            "dloss_stride: 2 is not allowed; it must be 0 or 1");                                 \
    REFUSED(call, a.dloss_stride = -1, INVALID_ARGUMENT, "dloss_stride: -1");                     \
    REFUSED(call, a.dloss = there->dloss;                                                         \
            a.dloss_stride = 1, SIZE_MISMATCH, "dloss: got 2 elements, but 1 is needed");         \
    REFUSED(call, WRONG_ENUM(a.denominator_kind, 3), INVALID_ARGUMENT,                            \
            "denominator_kind: 3 is not allowed; it must be one of 0, 1, 2");                     \
    REFUSED(call, a.denominator_value = 2, INVALID_ARGUMENT,                                      \
            "denominator_value: 2.0 is not allowed; it must be 0 unless denominator_kind is");    \
    REFUSED(call, a.denominator_kind = XENT_DENOMINATOR_VALUE;                                    \
            a.denominator_value = -1, INVALID_ARGUMENT,                                           \
            "denominator: -1 is not allowed; it must be finite and at least");                    \
    REFUSED(call, a.denominator_kind = XENT_DENOMINATOR_VALUE;                                    \
            a.denominator_value = (double)NAN, INVALID_ARGUMENT, "denominator: NaN");             \
    REFUSED(call, a.denominator_kind = XENT_DENOMINATOR_VALUE; a.denominator_value = 2;           \
            problem.reduction = XENT_REDUCTION_SUM, INVALID_ARGUMENT, "denominator: 2");          \
    REFUSED(call, a.reserved = 5, INVALID_ARGUMENT, "reserved: 5 is not allowed; it must be 0");  \
    REFUSED(call, a.dlogits = NULL, NULL_POINTER, "dlogits: missing");                            \
    REFUSED(call, a.dlogits = (char*)there->out.dlogits + 1, MISALIGNED, "dlogits: 0x");          \
    REFUSED(call, a.dlogits = there->logits, OVERLAP, "dlogits: shares memory with logits");      \
    REFUSED(call, a.dlogits = there->logits + 5, OVERLAP, "dlogits: shares memory with logits");  \
    REFUSED(call, problem.flags |= XENT_FLAG_IN_PLACE, SIZE_MISMATCH, "dlogits: got other mem");  \
    REFUSED(call, a.dlogits_strides[2] = -1, INVALID_ARGUMENT, "dlogits_strides: -1");            \
    REFUSED(call, a.dlogits_strides[0] = 1;                                                       \
            a.dlogits_strides[1] = 1, INVALID_ARGUMENT,                                           \
            "dlogits: strides [1, 1, 0] is not allowed; it must be so large that no two");        \
    REFUSED(call, a.workspace = NULL, NULL_POINTER, "workspace: missing");                        \
    REFUSED(call, a.workspace = (char*)a.workspace + 128, MISALIGNED, "of 256 bytes");            \
    REFUSED(call, a.workspace_size = 0, WORKSPACE_TOO_SMALL, "workspace: 0 bytes given, but ");   \
    REFUSED(call, a.workspace = NULL; a.workspace_size = 255, WORKSPACE_TOO_SMALL, "255 bytes");  \
    REFUSED(call, a.stats = a.workspace, OVERLAP, "workspace: shares memory with stats");         \
  } while (0)

/* What the processor has not, and what it sees that a GPU cannot. */
#define TEST_ON_CPU(call, a)                                                                       \
  do {                                                                                             \
    REFUSED(call, a.denominator_kind = XENT_DENOMINATOR_POINTER, UNSUPPORTED,                      \
            "denominator_pointer: one in GPU memory: not supported; on the CPU, give");            \
    REFUSED(call, a.denominator_pointer = there->dloss, UNSUPPORTED, "denominator_pointer");       \
    REFUSED(call, a.report = &there->report, UNSUPPORTED,                                          \
            "report: one in GPU memory: not supported");                                           \
    REFUSED(call, a.stream = (xent_stream)(void*)&fresh, UNSUPPORTED, "stream: one of CUDA: not"); \
    fresh.targets[1] = 3;                                                                          \
    REFUSED(call, (void)0, INVALID_TARGET, "targets: row 1 holds 3, which is not in [0, 3)");      \
    fresh.targets[1] = INT64_MIN;                                                                  \
    REFUSED(call, (void)0, INVALID_TARGET, "targets: row 1 holds -9223372036854775808, which");    \
    fresh.targets[1] = 2;                                                                          \
  } while (0)

/* What only a GPU has, in its memory. */
#define TEST_ON_GPU(call, a)                                                                      \
  do {                                                                                            \
    ACCEPTED(call, a.denominator_kind = XENT_DENOMINATOR_POINTER;                                 \
             a.denominator_pointer = there->dloss);                                               \
    ACCEPTED(call, a.report = &there->report);                                                    \
    ACCEPTED(call, a.stream = (xent_stream)2);                                                    \
    REFUSED(call, a.logits = fresh.logits, SIZE_MISMATCH,                                         \
            "logits: got memory that the driver does not know, but memory of CUDA 0 is needed");  \
    REFUSED(call, a.targets = fresh.targets, SIZE_MISMATCH, "targets: got memory that");          \
    REFUSED(call, a.class_weights = fresh.class_weights, SIZE_MISMATCH,                           \
            "class_weights: got memory that");                                                    \
    REFUSED(call, a.row_weights = fresh.row_weights, SIZE_MISMATCH,                               \
            "row_weights: got memory that");                                                      \
    REFUSED(call, a.dloss = fresh.dloss, SIZE_MISMATCH, "dloss: got memory that");                \
    REFUSED(call, a.dlogits = fresh.out.dlogits, SIZE_MISMATCH, "dlogits: got memory that");      \
    REFUSED(call, a.workspace = align(host_memory), SIZE_MISMATCH, "workspace: got memory that"); \
    REFUSED(call, a.denominator_kind = XENT_DENOMINATOR_POINTER, NULL_POINTER,                    \
            "denominator_pointer: missing");                                                      \
    REFUSED(call, a.denominator_kind = XENT_DENOMINATOR_POINTER;                                  \
            a.denominator_pointer = fresh.dloss, SIZE_MISMATCH,                                   \
            "denominator_pointer: got memory that");                                              \
    REFUSED(call, a.denominator_kind = XENT_DENOMINATOR_POINTER;                                  \
            a.denominator_pointer = (char*)there->dloss + 2, MISALIGNED,                          \
            "denominator_pointer: 0x");                                                           \
    REFUSED(call, a.denominator_kind = XENT_DENOMINATOR_POINTER;                                  \
            a.denominator_pointer = there->dloss;                                                 \
            problem.reduction = XENT_REDUCTION_SUM, UNEXPECTED_POINTER,                           \
            "denominator_pointer: given, but only a mean has");                                   \
    REFUSED(call, a.denominator_pointer = there->dloss, UNEXPECTED_POINTER,                       \
            "denominator_pointer: given, but denominator_kind is not");                           \
    REFUSED(call, a.report = &fresh.report, SIZE_MISMATCH, "report: got memory that");            \
    REFUSED(call, a.report = (char*)&there->report + 4, MISALIGNED, "report: 0x");                \
    REFUSED(call, a.report = there->targets, OVERLAP, "report: shares memory with targets");      \
  } while (0)

static void test_args(void) {
  TEST_SHARED(run, args);
  if (on_gpu(&where)) {
    TEST_ON_GPU(run, args);
    REFUSED(run, args.loss = &fresh.out.loss, SIZE_MISMATCH, "loss: got memory that");
  } else {
    TEST_ON_CPU(run, args);
  }
  REFUSED(run, problem.outputs &= ~1u, UNEXPECTED_POINTER,
          "loss: given, but the problem's outputs");
  REFUSED(run, args.loss = NULL, NULL_POINTER, "loss: missing, but the problem's outputs name it");
  REFUSED(run, args.lse = NULL, NULL_POINTER, "lse: missing");
  REFUSED(run, args.stats = NULL, NULL_POINTER, "stats: missing");
  REFUSED(run, args.argmax = NULL, NULL_POINTER, "argmax: missing");
  REFUSED(run, args.correct = NULL, NULL_POINTER, "correct: missing");
  REFUSED(run, args.entropy = NULL, NULL_POINTER, "entropy: missing");
  REFUSED(run, args.outer = 0; args.loss = NULL, NULL_POINTER, "loss: missing");
  REFUSED(run, args.loss = (char*)there->out.lse + 1, MISALIGNED, "loss: 0x");
  REFUSED(run, args.argmax = (int64_t*)(void*)((char*)there->out.argmax + 4), MISALIGNED,
          "of 8 bytes");
  REFUSED(run, args.loss = there->out.lse, OVERLAP, "lse: shares memory with loss");
  REFUSED(run, args.entropy = (void*)there->targets, OVERLAP,
          "entropy: shares memory with targets");
  REFUSED(run, args.lse = there->class_weights + 2, OVERLAP,
          "lse: shares memory with class_weights");
  REFUSED(run, args.dloss = there->dloss; args.dlogits = NULL;
          problem.outputs &= ~8u, UNEXPECTED_POINTER, "dloss: given, but only a gradient reads it");
}

static void test_backward_args(void) {
  TEST_SHARED(run_backward, backward);
  if (on_gpu(&where)) {
    TEST_ON_GPU(run_backward, backward);
    REFUSED(run_backward, backward.stats = fresh.stats, SIZE_MISMATCH, "stats: got memory that");
  } else {
    TEST_ON_CPU(run_backward, backward);
  }
  REFUSED(run_backward, backward.stats = NULL, NULL_POINTER, "stats: missing");
  REFUSED(run_backward, backward.stats = (char*)there->stats + 2, MISALIGNED, "stats: 0x");
  REFUSED(run_backward, backward.dlogits = there->stats, OVERLAP,
          "dlogits: shares memory with stats");
  REFUSED(run_backward, problem.outputs &= ~4u, UNSUPPORTED, "add STATS to the outputs");
}

static void test_handles(void) {
  xent_context* context_kept = (xent_context*)(void*)&fresh;
  xent_plan* plan_kept = (xent_plan*)(void*)&fresh;
  xent_workspace* workspace_kept = (xent_workspace*)(void*)&fresh;
  xent_plan* plan = NULL;
  xent_report report;
  size_t size = 77;
  int32_t ordinal = 77;
  start();
  CHECK_OK(xent_plan_create(context, &problem, &plan));
#define HANDLE(call, status, text) refused(call, XENT_STATUS_##status, text, #call, __LINE__)
  HANDLE(xent_context_create(NULL, NULL), NULL_POINTER, "out: missing");
  options.threads = 5000;
  HANDLE(xent_context_create(&options, &context_kept), INVALID_ARGUMENT, "threads: 5000");
  HANDLE(xent_context_create_cuda(99, &context_kept), DEVICE_UNAVAILABLE, "CUDA device 99: ");
  CHECK((void*)context_kept == (void*)&fresh);
  HANDLE(xent_plan_create(NULL, &problem, &plan_kept), NULL_POINTER, "context: missing");
  HANDLE(xent_plan_create(context, NULL, &plan_kept), NULL_POINTER, "xent_problem: missing");
  HANDLE(xent_plan_create(context, &problem, NULL), NULL_POINTER, "out: missing");
  problem.classes = 0;
  HANDLE(xent_plan_create(context, &problem, &plan_kept), INVALID_ARGUMENT, "classes: 0");
  CHECK((void*)plan_kept == (void*)&fresh);
  HANDLE(xent_plan_workspace_size(NULL, 1, &size), NULL_POINTER, "plan: missing");
  HANDLE(xent_plan_workspace_size(plan, 1, NULL), NULL_POINTER, "out: missing");
  HANDLE(xent_plan_workspace_size(plan, -1, &size), INVALID_ARGUMENT,
         "rows: -1 is not allowed; it must be in [0, 2^63 - 1]");
  CHECK(size == 77);
  HANDLE(xent_workspace_create(NULL, 1, &workspace_kept), NULL_POINTER, "plan: missing");
  HANDLE(xent_workspace_create(plan, 1, NULL), NULL_POINTER, "out: missing");
  HANDLE(xent_workspace_create(plan, -1, &workspace_kept), INVALID_ARGUMENT, "rows: -1 is not all");
  HANDLE(xent_workspace_create(plan, INT64_MAX, &workspace_kept), OUT_OF_RESOURCES, "emory");
  CHECK((void*)workspace_kept == (void*)&fresh);
  HANDLE(xent_run(NULL, &args), NULL_POINTER, "plan: missing");
  HANDLE(xent_run(plan, NULL), NULL_POINTER, "xent_args: missing");
  HANDLE(xent_backward(NULL, &backward), NULL_POINTER, "plan: missing");
  HANDLE(xent_backward(plan, NULL), NULL_POINTER, "xent_backward_args: missing");
  HANDLE(xent_report_read(NULL, &there->report, NULL, &report), NULL_POINTER, "plan: missing");
  if (on_gpu(&where)) {
    HANDLE(xent_report_read(plan, NULL, NULL, &report), NULL_POINTER, "report: missing");
    HANDLE(xent_report_read(plan, &fresh, NULL, &report), SIZE_MISMATCH, "report: got memory that");
    HANDLE(xent_report_read(plan, &there->report, NULL, NULL), NULL_POINTER, "out: missing");
  } else {
    HANDLE(xent_report_read(plan, &there->report, NULL, &report), UNSUPPORTED, "report_read");
  }
  CHECK(xent_context_device(NULL, &ordinal) == XENT_DEVICE_AUTO && ordinal == 77);
  CHECK(xent_context_device(context, NULL) == where.kind);
  CHECK(xent_context_device(context, &ordinal) == where.kind && ordinal == where.ordinal);
  CHECK(xent_context_describe(NULL)[0] == 0 && xent_plan_kernel_name(NULL)[0] == 0);
  CHECK(strcmp(xent_status_string((xent_status)12345), "unknown status") == 0);
  CHECK(strcmp(xent_status_string(XENT_STATUS_OVERLAP), "XENT_STATUS_OVERLAP") == 0);
  HANDLE(xent_run(NULL, &args), NULL_POINTER, "plan: missing");
  CHECK_OK(xent_plan_workspace_size(plan, INT64_MAX, &size));
  CHECK(strstr(xent_last_error(), "plan: missing") != NULL); /* success leaves it */
  xent_plan_destroy(plan);
  xent_plan_destroy(NULL);
  xent_context_destroy(NULL);
  xent_workspace_destroy(NULL);
}

/* An empty batch, whose buffers without elements may be NULL. */
static void test_empty(void) {
  outputs out;
  start();
  problem.flags = XENT_FLAG_EMPTY_MEAN_ZERO | XENT_FLAG_ROW_WEIGHTS;
  args = xent_args_default();
  args.loss = &there->out.loss;
  args.correct = &there->out.correct;
  args.workspace = workspace->data;
  args.workspace_size = workspace->size;
  CHECK_OK(run());
  get(&where, &out, &there->out, sizeof out);
  CHECK(out.loss == 0 && out.correct == 0);
  backward = xent_backward_args_default();
  backward.workspace = args.workspace;
  backward.workspace_size = args.workspace_size;
  CHECK_OK(run_backward());
}

/* Programs that are older or newer than the library. */
static void test_newer_struct(void) {
  struct {
    xent_problem problem;
    int64_t newer[2];
  } larger;
  xent_plan* plan = NULL;
  memset(&larger, 0, sizeof larger);
  start();
  larger.problem = problem;
  larger.problem.struct_size = sizeof larger;
  CHECK_OK(xent_plan_create(context, &larger.problem, &plan));
  xent_plan_destroy(plan);
  larger.newer[1] = 1;
  HANDLE(xent_plan_create(context, &larger.problem, &plan), VERSION_MISMATCH,
         "xent_problem: byte 104 is not 0, but this version knows only 96 bytes");
}

int main(int argc, char** argv) {
  xent_plan* kept = NULL; /* a GPU's kernels stay as long as a plan */
  CHECK(xent_last_error()[0] == 0);
  where = device_of(argc, argv);
  there = (buffers*)make(&where, sizeof *there);
  options = options_on(&where);
  CHECK_OK(xent_context_create(&options, &context));
  problem.struct_size = sizeof problem;
  problem.classes = kClasses;
  CHECK_OK(xent_plan_create(context, &problem, &kept));
  CHECK_OK(xent_workspace_create(kept, 100, &workspace));
  xent_plan_destroy(kept);
  start();
  CHECK_OK(xent_plan_create(context, &problem, &kept));
  test_options();
  test_problem();
  test_args();
  test_backward_args();
  test_handles();
  test_empty();
  test_newer_struct();
  xent_plan_destroy(kept);
  xent_workspace_destroy(workspace);
  xent_context_destroy(context);
  drop(&where, there);
  close_device(&where);
  printf("%d refusals\n", tests);
  return 0;
}
