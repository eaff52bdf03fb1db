/* Presets and labels with each argument wrong in turn, and the fields of arguments that operations
 * beyond the cross entropy of logits have.
 */
#include <math.h>

#include "refused.h"

/* What the functions of presets and labels get, until a test changes it. */
static struct {
  xent_preset preset;
  xent_dtype dtype;
  int64_t outer, classes, inner;
  const void* from;
  xent_target from_type;
  const int64_t* from_strides;
  void* to;
  const int64_t* to_strides;
  double tolerance;
} given;

static const int64_t kIndices[2] = {2, 0};
static float labels[6], rows[8];

/* Two rows of labels, and what is right for them. */
static void start_family(void) {
  static const float kLabels[6] = {1, 0, 1, 0, 4, 0};
  memcpy(labels, kLabels, sizeof labels);
  memset(rows, 0xA5, sizeof rows);
  memset(&given, 0, sizeof given);
  given.outer = 2;
  given.classes = 3;
  given.to = rows;
}

static void untouched(xent_status status) {
  float before[8];
  memset(before, 0xA5, sizeof before);
  CHECK((status == XENT_STATUS_OK) == (memcmp(before, rows, sizeof rows) != 0));
}

static xent_status one_hot(void) {
  const void* indices = given.from == NULL ? kIndices : given.from;
  const xent_status status = xent_one_hot(given.outer, given.classes, given.inner, indices,
                                          given.from_type, given.to, given.dtype, given.to_strides);
  untouched(status);
  return status;
}

static xent_status distributions(void) {
  const xent_target type =
      given.from_type == XENT_TARGET_I64 ? XENT_TARGET_PROBABILITIES_F32 : given.from_type;
  const xent_status status = xent_distributions(
      given.outer, given.classes, given.inner, given.from == NULL ? labels : given.from, type,
      given.from_strides, given.to, given.dtype, given.to_strides);
  untouched(status);
  return status;
}

static xent_status check_distributions(void) {
  return xent_check_distributions(given.outer, given.classes, given.inner,
                                  given.from == NULL ? labels : given.from, given.dtype,
                                  given.from_strides, given.tolerance);
}

static xent_status preset(void) {
  xent_problem before = problem;
  const xent_status status =
      xent_problem_preset(given.preset, given.dtype, given.classes, &problem);
  CHECK((status == XENT_STATUS_OK) == (memcmp(&before, &problem, sizeof before) != 0));
  return status;
}

#define WRONG(call, change, status, text) REFUSED(call, start_family(); change, status, text)
#define RIGHT(call, change) ACCEPTED(call, start_family(); change)

static void test_presets(void) {
  for (int i = 0; i <= XENT_PRESET_CAFFE_MULTINOMIAL_LOGISTIC_LOSS; ++i) {
    for (int dtype = XENT_DTYPE_DEFAULT; dtype <= XENT_DTYPE_F64; ++dtype) {
      xent_plan* plan = NULL;
      RIGHT(preset, given.preset = (xent_preset)i; given.dtype = (xent_dtype)dtype);
      CHECK(problem.struct_size == sizeof problem && problem.classes == 3 && problem.flags == 0);
      if (dtype != XENT_DTYPE_F32 && i % 5 != 0) continue; /* a GPU compiles for a second */
      if (dtype == XENT_DTYPE_F64 && on_gpu(&where)) continue;
      CHECK_OK(xent_plan_create(context, &problem, &plan));
      xent_plan_destroy(plan);
    }
  }
  WRONG(
      preset, WRONG_ENUM(given.preset, 14), INVALID_ARGUMENT,
      "preset: 14 is not allowed; it must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13");
  WRONG(preset, WRONG_ENUM(given.preset, -1), INVALID_ARGUMENT, "preset: 4294967295 is not");
  WRONG(preset, WRONG_ENUM(given.dtype, 5), INVALID_ARGUMENT,
        "dtype: 5 is not allowed; it must be one of 0, 1, 2, 3, 4");
  WRONG(preset, given.classes = 0, INVALID_ARGUMENT,
        "classes: 0 is not allowed; it must be in [1, 2^31 - 1]");
  WRONG(preset, given.classes = -3, INVALID_ARGUMENT, "classes: -3 is not allowed; it must be in");
  WRONG(preset, given.classes = INT64_MAX, INVALID_ARGUMENT, "classes: 92233720368547758");
  WRONG(preset, problem.struct_size = 0, VERSION_MISMATCH, "xent_problem: struct_size 0 is not");
  start_family();
  CHECK(xent_problem_preset(XENT_PRESET_BCE, XENT_DTYPE_F32, 3, NULL) == XENT_STATUS_NULL_POINTER);
  CHECK(strstr(xent_last_error(), "xent_problem: missing") != NULL);
}

/* A newer program's struct: what the library does not know stays 0. */
static void test_preset_of_a_newer_struct(void) {
  struct {
    xent_problem problem;
    int64_t newer[2];
  } larger;
  memset(&larger, 0, sizeof larger);
  larger.problem.struct_size = sizeof larger;
  CHECK_OK(xent_problem_preset(XENT_PRESET_KL_DIV, XENT_DTYPE_F16, 5, &larger.problem));
  CHECK(larger.problem.struct_size == sizeof larger && larger.newer[0] == 0);
  CHECK(larger.problem.operation == XENT_OPERATION_KL_DIVERGENCE && larger.problem.classes == 5);
}

static void test_labels(void) {
  static const int64_t apart[3] = {4, 1, 1}, none[3] = {0, 0, 0}, wrong[3] = {3, -1, 1};
  static const int64_t met[3] = {1, 1, 1};
  static const int64_t bad[2] = {0, -1};
  start_family();
  RIGHT(one_hot, (void)0);
  CHECK(rows[0] == 0 && rows[2] == 1 && rows[3] == 1 && rows[5] == 0);
  RIGHT(one_hot, given.outer = 1; given.inner = 2; given.to_strides = none);
  CHECK(rows[1] == 1 && rows[4] == 1 && rows[0] == 0 && rows[5] == 0);
  RIGHT(one_hot, given.to_strides = apart);
  CHECK(rows[2] == 1 && rows[4] == 1 && rows[6] == 0);
  RIGHT(distributions, (void)0);
  CHECK(rows[0] == 0.5f && rows[1] == 0 && rows[2] == 0.5f && rows[4] == 1);
  RIGHT(check_distributions, labels[0] = labels[2] = 0.5f; labels[4] = 1);
  RIGHT(check_distributions, given.tolerance = 3);

  WRONG(one_hot, given.outer = -1, INVALID_ARGUMENT,
        "outer: -1 is not allowed; it must be in [0, 2^63 - 1]");
  WRONG(one_hot, given.inner = -1, INVALID_ARGUMENT, "inner: -1 is not allowed; it must be in [0,");
  WRONG(one_hot, given.classes = 0, INVALID_ARGUMENT,
        "classes: 0 is not allowed; it must be in [1, 2^31 - 1]");
  WRONG(one_hot, given.classes = INT64_MIN, INVALID_ARGUMENT, "classes: -92233720368547758");
  WRONG(one_hot, given.outer = INT64_MAX, SIZE_MISMATCH, "to: got strides [3, 1, 1] for");
  WRONG(one_hot, WRONG_ENUM(given.from_type, 4), INVALID_ARGUMENT,
        "indices_type: 4 is not allowed; it must be one of 0, 1, 2, 3, 16, 17, 18, 19");
  WRONG(one_hot, given.from_type = XENT_TARGET_PROBABILITIES_F32, SIZE_MISMATCH,
        "indices: got f32, but an integer type is needed");
  WRONG(one_hot, WRONG_ENUM(given.dtype, -1), INVALID_ARGUMENT, "to_dtype: 4294967295 is not");
  WRONG(one_hot, given.to = NULL, NULL_POINTER, "to: missing, but its size is not 0; it is NULL");
  WRONG(one_hot, given.to = (char*)rows + 2, MISALIGNED, "to: 0x");
  WRONG(one_hot, given.to_strides = wrong, INVALID_ARGUMENT,
        "to_strides: -1 is not allowed; it must be in [0, 2^63 - 1]");
  WRONG(one_hot, given.to_strides = met, INVALID_ARGUMENT,
        "to: strides [1, 1, 1] is not allowed; it must be so large that no two elements");
  WRONG(one_hot, given.from = bad, INVALID_TARGET,
        "targets: row 1 holds -1, which is not in [0, 3)");
  WRONG(one_hot, given.classes = 2, INVALID_TARGET,
        "targets: row 0 holds 2, which is not in [0, 2)");

  WRONG(distributions, given.classes = -1, INVALID_ARGUMENT, "classes: -1 is not allowed");
  WRONG(distributions, WRONG_ENUM(given.from_type, 20), INVALID_ARGUMENT, "labels_type: 20 is not");
  WRONG(distributions, WRONG_ENUM(given.dtype, 5), INVALID_ARGUMENT, "to_dtype: 5 is not allowed");
  WRONG(distributions, given.from_strides = wrong, INVALID_ARGUMENT, "labels_strides: -1 is not");
  WRONG(distributions, given.to_strides = wrong, INVALID_ARGUMENT, "to_strides: -1 is not allowed");
  WRONG(distributions, given.to = NULL, NULL_POINTER, "to: missing");
  WRONG(distributions, given.from = rows, OVERLAP, "to: shares memory with labels");
  WRONG(distributions, labels[1] = -0.5f, INVALID_ARGUMENT,
        "labels: -0.5 in row 0, class 1 is not allowed; it must be finite and at least 0");
  WRONG(distributions, labels[5] = (float)NAN, INVALID_ARGUMENT, "labels: NaN in row 1, class 2");
  WRONG(
      distributions, labels[4] = 0, INVALID_ARGUMENT,
      "labels: a sum of 0 in row 1 is not allowed; it must be above 0 for some class of each row");

  WRONG(check_distributions, (void)0, INVALID_ARGUMENT,
        "q: a sum of 2 in row 0 is not allowed; it must be within 0 of 1");
  WRONG(check_distributions, given.tolerance = -1, INVALID_ARGUMENT,
        "tolerance: -1 is not allowed; it must be finite and at least 0");
  WRONG(check_distributions, given.tolerance = (double)NAN, INVALID_ARGUMENT, "tolerance: NaN");
  WRONG(check_distributions, given.from_strides = wrong, INVALID_ARGUMENT, "q_strides: -1 is not");
  WRONG(check_distributions, WRONG_ENUM(given.dtype, 9), INVALID_ARGUMENT, "q_dtype: 9 is not");
  WRONG(check_distributions, labels[0] = -1, INVALID_ARGUMENT, "q: -1 in row 0, class 0 is not");
}

/* A binary cross entropy with all that it can have, in the buffers of another one. */
static void start_binary(void) {
  CHECK_OK(xent_problem_preset(XENT_PRESET_BCE_WITH_LOGITS, XENT_DTYPE_F32, kClasses, &problem));
  problem.flags = XENT_FLAG_ELEMENT_WEIGHTS | XENT_FLAG_POS_WEIGHTS;
  args = xent_args_default();
  args.outer = kRows;
  args.logits = there->logits;
  args.targets = there->probabilities;
  args.element_weights = there->probabilities;
  args.pos_weights = there->class_weights;
  args.loss = &there->out.loss;
  args.workspace = workspace->data;
  args.workspace_size = workspace->size;
}

/* A softmax, whose output goes where a gradient would, and its backward. */
static void start_softmax(void) {
  CHECK_OK(xent_problem_preset(XENT_PRESET_SOFTMAX, XENT_DTYPE_F32, kClasses, &problem));
  args = xent_args_default();
  args.outer = kRows;
  args.logits = there->logits;
  args.output = there->out.dlogits;
  args.workspace = workspace->data;
  args.workspace_size = workspace->size;
  backward = xent_backward_args_default();
  backward.outer = kRows;
  backward.output = there->probabilities;
  backward.doutput = there->logits;
  backward.dlogits = there->out.dlogits;
  backward.workspace = workspace->data;
  backward.workspace_size = workspace->size;
}

static void start_double_backward(void) {
  problem.flags = 0;
  backward.class_weights = backward.row_weights = NULL;
  backward.class_weights_count = 0;
  backward.ddlogits = there->probabilities;
}

static xent_status run_double_backward(void) {
  xent_plan* plan = NULL;
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  const xent_status status = xent_double_backward(plan, &backward);
  xent_plan_destroy(plan);
  return status;
}

static void test_binary(void) {
  ACCEPTED(run, start_binary());
#define BINARY(change, status, text) REFUSED(run, start_binary(); change, status, text)
  BINARY(args.element_weights = NULL, NULL_POINTER, "element_weights: missing, but the problem");
  BINARY(args.pos_weights = NULL, NULL_POINTER, "pos_weights: missing, but the problem declares");
  BINARY(problem.flags = XENT_FLAG_POS_WEIGHTS, UNEXPECTED_POINTER, "element_weights: given, but");
  BINARY(problem.flags = XENT_FLAG_ELEMENT_WEIGHTS, UNEXPECTED_POINTER, "pos_weights: given, but");
  BINARY(args.element_weights = (char*)there->probabilities + 1, MISALIGNED, "element_weights: 0x");
  BINARY(args.pos_weights = (char*)there->class_weights + 2, MISALIGNED, "pos_weights: 0x");
  BINARY(args.element_weights_strides[1] = -1, INVALID_ARGUMENT,
         "element_weights_strides: -1 is not allowed; it must be in [0, 2^63 - 1]");
  BINARY(args.loss = (void*)(there->probabilities + 2), OVERLAP, "loss: shares memory with");
  BINARY(args.output = there->out.dlogits, UNEXPECTED_POINTER,
         "output: given, but the problem's outputs do not name it");
  BINARY(args.targets = NULL, NULL_POINTER, "targets: missing");
}

static void test_softmax(void) {
  ACCEPTED(run, start_softmax());
  ACCEPTED(run_backward, start_softmax());
#define SOFTMAX(call, change, status, text) REFUSED(call, start_softmax(); change, status, text)
  SOFTMAX(run, args.output = NULL, NULL_POINTER, "output: missing, but the problem's outputs");
  SOFTMAX(run, args.output = (char*)there->out.dlogits + 1, MISALIGNED, "output: 0x");
  SOFTMAX(run, args.output = there->logits + 2, OVERLAP, "output: shares memory with logits");
  SOFTMAX(run, args.output_strides[2] = -5, INVALID_ARGUMENT, "output_strides: -5 is not allowed");
  SOFTMAX(run, args.targets = there->targets, UNEXPECTED_POINTER,
          "targets: given, but the operation has no targets");
  SOFTMAX(run, problem.flags = XENT_FLAG_IN_PLACE, SIZE_MISMATCH, "output: got other memory than");
  SOFTMAX(run_backward, backward.output = NULL, NULL_POINTER, "output: missing");
  SOFTMAX(run_backward, backward.doutput = NULL, NULL_POINTER, "doutput: missing");
  SOFTMAX(run_backward, backward.doutput = (char*)there->logits + 2, MISALIGNED, "doutput: 0x");
  SOFTMAX(run_backward, backward.doutput_strides[0] = -1, INVALID_ARGUMENT, "doutput_strides: -1");
  SOFTMAX(run_backward, backward.output_strides[0] = -1, INVALID_ARGUMENT, "output_strides: -1");
  SOFTMAX(run_backward, backward.logits = there->logits, UNEXPECTED_POINTER,
          "logits: given, but the backward of a softmax reads its output");
  SOFTMAX(run_backward, backward.stats = there->stats, UNEXPECTED_POINTER, "stats: given, but");
  SOFTMAX(run_backward, backward.ddlogits = there->logits, UNEXPECTED_POINTER, "ddlogits: given");
}

static void test_double_backward(void) {
  ACCEPTED(run_double_backward, start_double_backward());
#define DOUBLE(change, status, text) \
  REFUSED(run_double_backward, start_double_backward(); change, status, text)
  DOUBLE(backward.ddlogits = NULL, NULL_POINTER, "ddlogits: missing");
  DOUBLE(backward.ddlogits = (char*)there->probabilities + 1, MISALIGNED, "ddlogits: 0x");
  DOUBLE(backward.ddlogits_strides[1] = -2, INVALID_ARGUMENT, "ddlogits_strides: -2 is not");
  DOUBLE(backward.ddlogits = backward.dlogits, OVERLAP, "shares memory with");
  DOUBLE(backward.stats = NULL, NULL_POINTER, "stats: missing");
  DOUBLE(backward.doutput = there->logits, UNEXPECTED_POINTER,
         "doutput: given, but only the backward of a softmax reads it");
  DOUBLE(problem.softcap = 5, UNSUPPORTED,
         "double backward of a problem with a softcap: not supported; unset the softcap");
  DOUBLE(problem.outputs = XENT_OUTPUT_LOSS, UNSUPPORTED, "add STATS to the outputs");
}

int main(int argc, char** argv) {
  begin(argc, argv);
  test_presets();
  test_preset_of_a_newer_struct();
  test_labels();
  test_binary();
  test_softmax();
  test_double_backward();
  finish();
  return 0;
}
