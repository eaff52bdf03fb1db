/* Each field of the arguments of a run, and of a backward, wrong in turn. */
#include <math.h>

#include "refused.h"

static char host_memory[8192]; /* not of a GPU */

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

int main(int argc, char** argv) {
  begin(argc, argv);
  test_args();
  test_backward_args();
  finish();
  return 0;
}
