/* Each field of the options and of the problem wrong in turn, and handles that are not there. */
#include <math.h>

#include "refused.h"

static void parallel_for(void* user, size_t tasks, xent_task task, void* data) {
  (void)user;
  for (size_t i = 0; i < tasks; ++i) task(data, i);
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
  REFUSED(create_plan, problem.outputs |= 256, INVALID_ARGUMENT,
          " is not allowed; it must be within the bits 0xff");
  REFUSED(create_plan, problem.outputs |= XENT_OUTPUT_OUTPUT, INVALID_ARGUMENT,
          "outputs: 0xff is not allowed; it must be within 0x7f with CrossEntropy of Logits");
  REFUSED(create_plan, problem.flags = 256, INVALID_ARGUMENT,
          "flags: 0x100 is not allowed; it must be within the bits 0xff");
  REFUSED(create_plan, problem.flags = XENT_FLAG_ELEMENT_WEIGHTS, INVALID_ARGUMENT,
          "element_weights: true is not allowed; it must be unset with CrossEntropy of Logits");
  REFUSED(create_plan, problem.flags = XENT_FLAG_POS_WEIGHTS, INVALID_ARGUMENT, "pos_weights");
  REFUSED(create_plan, problem.flags = XENT_FLAG_LOG_TARGETS, INVALID_ARGUMENT, "log_targets");
  REFUSED(create_plan, WRONG_ENUM(problem.operation, 6), INVALID_ARGUMENT,
          "operation: 6 is not allowed; it must be one of 0, 1, 2, 3, 4, 5");
  REFUSED(create_plan, WRONG_ENUM(problem.input, 3), INVALID_ARGUMENT, "input: 3 is not allowed");
  REFUSED(create_plan, WRONG_ENUM(problem.clip, 5), INVALID_ARGUMENT, "clip: 5 is not allowed");
  REFUSED(create_plan, WRONG_ENUM(problem.renormalise, 3), INVALID_ARGUMENT, "renormalise: 3");
  REFUSED(create_plan, WRONG_ENUM(problem.unit, 2), INVALID_ARGUMENT, "unit: 2 is not allowed");
  REFUSED(create_plan, problem.clip_value = 0.1, INVALID_ARGUMENT,
          "clip_value: 0.1 is not allowed; it must be 0 without a clip");
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
#define HANDLE(call, status, text) \
  refused(call, XENT_STATUS_##status, text, #call, __FILE__, __LINE__)
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
         "xent_problem: byte 136 is not 0, but this version knows only 128 bytes");
}

int main(int argc, char** argv) {
  begin(argc, argv);
  test_options();
  test_problem();
  test_handles();
  test_empty();
  test_newer_struct();
  finish();
  return 0;
}
