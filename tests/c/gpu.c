/* What only a GPU has: reports, denominators in its memory, streams, graphs; and what becomes of
 * the current context, of handles in any order, of a child of the process.
 */
#define _POSIX_C_SOURCE 200809L /* fork */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xent.h>

#include "check.h"
#include "device.h"

enum { kRows = 4096, kClasses = 5, kWrong = 3 };

/* Everything a run reads and writes. */
typedef struct {
  float logits[kRows * kClasses];
  int64_t targets[kRows];
  float denominator;
  float loss[kRows], dlogits[kRows * kClasses], stats[2 * kRows];
  xent_report report;
} buffers;

static device where;
static xent_context* context;
static buffers fresh; /* inputs, and zeros */

static xent_plan* make_plan(xent_reduction reduction) {
  xent_plan* plan = NULL;
  xent_problem problem = xent_problem_default();
  problem.classes = kClasses;
  problem.reduction = reduction;
  problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_DLOGITS | XENT_OUTPUT_STATS;
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  return plan;
}

static xent_args args_of(buffers* there, const xent_workspace* workspace) {
  xent_args args = xent_args_default();
  args.outer = kRows;
  args.logits = there->logits;
  args.targets = there->targets;
  args.loss = there->loss;
  args.dlogits = there->dlogits;
  args.stats = there->stats;
  args.workspace = workspace->data;
  args.workspace_size = workspace->size;
  return args;
}

static xent_backward_args backward_of(const xent_args* args) {
  xent_backward_args backward = xent_backward_args_default();
  backward.outer = args->outer;
  backward.logits = args->logits;
  backward.targets = args->targets;
  backward.stats = args->stats;
  backward.dlogits = args->dlogits;
  backward.report = args->report;
  backward.workspace = args->workspace;
  backward.workspace_size = args->workspace_size;
  backward.stream = args->stream;
  return backward;
}

static buffers* results(const buffers* there) {
  buffers* here = (buffers*)malloc(sizeof *here);
  CHECK(here != NULL);
  get(&where, here, there, sizeof *here);
  return here;
}

static void fill(void) {
  uint32_t random = 1;
  for (int i = 0; i < kRows * kClasses; ++i) {
    random = random * 1664525 + 1013904223;
    fresh.logits[i] = (float)(random >> 8) * (1.0f / 1048576) - 8;
  }
  for (int row = 0; row < kRows; ++row) fresh.targets[row] = row % kClasses;
  fresh.denominator = 12.5f;
}

static int same_rows(const float* a, const float* b, int row, int width) {
  return memcmp(a + row * width, b + row * width, sizeof *a * (size_t)width) == 0;
}

/* Wrong targets in a large batch: NaN rows, the report, and all else as without them. */
static void test_report(void) {
  static const struct {
    int row;
    int64_t target;
  } wrong[kWrong] = {{4000, INT64_MIN}, {77, kClasses}, {4095, -1}};
  xent_plan* plan = make_plan(XENT_REDUCTION_NONE);
  xent_workspace* workspace = NULL;
  xent_report report;
  CHECK_OK(xent_workspace_create(plan, kRows, &workspace));
  buffers* there = (buffers*)copy(&where, &fresh, sizeof fresh);
  xent_args args = args_of(there, workspace);
  args.report = &there->report;
  CHECK_OK(xent_run(plan, &args));
  buffers* right = results(there);
  memset(&report, 0xA5, sizeof report);
  CHECK_OK(xent_report_read(plan, &there->report, NULL, &report));
  CHECK(report.count == 0 && report.row == 0 && report.value == 0 && report.reserved == 0);

  for (int i = 0; i < kWrong; ++i) {
    put(&where, &there->targets[wrong[i].row], &wrong[i].target, sizeof wrong[i].target);
  }
  CHECK_OK(xent_run(plan, &args));
  buffers* out = results(there);
  for (int row = 0; row < kRows; ++row) {
    if (row == 77 || row == 4000 || row == 4095) {
      CHECK(isnan(out->loss[row]));
      for (int c = 0; c < kClasses; ++c) CHECK(isnan(out->dlogits[row * kClasses + c]));
    } else {
      CHECK(same_rows(out->loss, right->loss, row, 1));
      CHECK(same_rows(out->dlogits, right->dlogits, row, kClasses));
    }
  }
  CHECK(xent_report_read(plan, &there->report, NULL, &report) == XENT_STATUS_INVALID_TARGET);
  CHECK(strcmp(xent_last_error(), "targets: row 77 holds 5, which is not in [0, 5)") == 0);
  CHECK(report.count == 3 && report.row == 77 && report.value == kClasses && report.reserved == 0);

  /* It adds up, in a backward too, until it is cleared. */
  const xent_backward_args backward = backward_of(&args);
  CHECK_OK(xent_backward(plan, &backward));
  CHECK(xent_report_read(plan, &there->report, NULL, &report) == XENT_STATUS_INVALID_TARGET);
  CHECK(report.count == 6 && report.row == 77);
  put(&where, &there->report, &fresh.report, sizeof report);
  CHECK_OK(xent_report_read(plan, &there->report, NULL, &report));
  CHECK(report.count == 0);

  free(right);
  free(out);
  drop(&where, there);
  xent_workspace_destroy(workspace);
  xent_plan_destroy(plan);
}

/* The denominator in memory of the GPU is that which is given as a number. */
static void test_denominator(void) {
  xent_plan* plan = make_plan(XENT_REDUCTION_MEAN);
  xent_workspace* workspace = NULL;
  CHECK_OK(xent_workspace_create(plan, kRows, &workspace));
  buffers* there = (buffers*)copy(&where, &fresh, sizeof fresh);
  xent_args args = args_of(there, workspace);
  args.denominator_kind = XENT_DENOMINATOR_VALUE;
  args.denominator_value = 12.5;
  CHECK_OK(xent_run(plan, &args));
  buffers* number = results(there);
  put(&where, there, &fresh, sizeof fresh);
  args.denominator_kind = XENT_DENOMINATOR_POINTER;
  args.denominator_value = 0;
  args.denominator_pointer = &there->denominator;
  CHECK_OK(xent_run(plan, &args));
  buffers* pointer = results(there);
  CHECK(number->loss[0] > 0 && memcmp(number, pointer, sizeof *number) == 0);
  free(number);
  free(pointer);
  drop(&where, there);
  xent_workspace_destroy(workspace);
  xent_plan_destroy(plan);
}

/* Every kind of stream has the results, in order; a call leaves the current context as it was. */
static void test_streams(void) {
  xent_plan* plan = make_plan(XENT_REDUCTION_SUM);
  xent_workspace* workspace = NULL;
  CHECK_OK(xent_workspace_create(plan, kRows, &workspace));
  const xent_stream streams[4] = {NULL, (xent_stream)1, (xent_stream)2, make_stream(&where)};
  for (int i = 0; i < 4; ++i) {
    void *before = NULL, *after = NULL;
    xent_report report;
    buffers* there = (buffers*)copy(&where, &fresh, sizeof fresh);
    xent_args args = args_of(there, workspace);
    args.report = &there->report;
    args.stream = streams[i];
    CHECK(where.cuda.current(&before) == 0 && before == NULL);
    CHECK_OK(xent_run(plan, &args));
    const xent_backward_args backward = backward_of(&args);
    CHECK_OK(xent_backward(plan, &backward));
    CHECK_OK(xent_report_read(plan, &there->report, streams[i], &report)); /* waits */
    CHECK(where.cuda.current(&after) == 0 && after == NULL);
    buffers* out = results(there);
    CHECK(out->loss[0] > 0 && out->dlogits[0] < 0);
    free(out);
    drop(&where, there);
  }
  drop_stream(&where, streams[3]);
  xent_workspace_destroy(workspace);
  xent_plan_destroy(plan);
}

/* A run that was captured in a graph runs again with new contents at the same addresses. */
static void test_capture(void) {
  enum { kReplays = 3 };
  xent_plan* plan = make_plan(XENT_REDUCTION_MEAN);
  xent_workspace* workspace = NULL;
  xent_stream stream = make_stream(&where);
  void *library = dlopen("libcuda.so.1", RTLD_NOW), *graph = NULL, *ready = NULL;
  int (*begin)(xent_stream, int) = NULL;
  int (*end)(xent_stream, void**) = NULL;
  int (*instantiate)(void**, void*, unsigned long long) = NULL;
  int (*launch)(void*, xent_stream) = NULL;
  int (*drop_graph)(void*) = NULL;
  int (*drop_ready)(void*) = NULL;
  CHECK(library != NULL);
  find(library, "cuStreamBeginCapture_v2", &begin);
  find(library, "cuStreamEndCapture", &end);
  find(library, "cuGraphInstantiateWithFlags", &instantiate);
  find(library, "cuGraphLaunch", &launch);
  find(library, "cuGraphDestroy", &drop_graph);
  find(library, "cuGraphExecDestroy", &drop_ready);
  CHECK_OK(xent_workspace_create(plan, kRows, &workspace));
  buffers* there = (buffers*)copy(&where, &fresh, sizeof fresh);
  xent_args args = args_of(there, workspace);
  args.stream = stream;

  enter(&where);
  CHECK(begin(stream, 0) == 0); /* calls that wait or allocate would make it fail */
  CHECK_OK(xent_run(plan, &args));
  CHECK(end(stream, &graph) == 0 && instantiate(&ready, graph, 0) == 0);
  leave(&where);
  buffers* captured = results(there);
  CHECK(captured->loss[0] == 0); /* nothing has run */
  free(captured);

  for (int replay = 1; replay <= kReplays; ++replay) {
    static buffers changed;
    changed = fresh;
    changed.logits[0] = (float)replay;
    put(&where, there, &changed, sizeof changed);
    enter(&where);
    CHECK(launch(ready, stream) == 0 && where.cuda.stream_wait(stream) == 0);
    leave(&where);
    buffers* replayed = results(there);
    put(&where, there, &changed, sizeof changed);
    CHECK_OK(xent_run(plan, &args));
    wait_for(&where, stream);
    buffers* run = results(there);
    CHECK(run->loss[0] > 0 && memcmp(replayed, run, sizeof *run) == 0);
    free(replayed);
    free(run);
  }
  enter(&where);
  CHECK(drop_ready(ready) == 0 && drop_graph(graph) == 0);
  leave(&where);
  drop_stream(&where, stream);
  drop(&where, there);
  xent_workspace_destroy(workspace);
  xent_plan_destroy(plan);
}

/* In a child of the process, calls fail, and destroying what the parent made does nothing to it. */
static void test_fork(void) {
  xent_plan* plan = make_plan(XENT_REDUCTION_MEAN);
  xent_workspace* workspace = NULL;
  CHECK_OK(xent_workspace_create(plan, kRows, &workspace));
  buffers* there = (buffers*)copy(&where, &fresh, sizeof fresh);
  const xent_args args = args_of(there, workspace);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    xent_context* other = NULL;
    CHECK(xent_run(plan, &args) == XENT_STATUS_DEVICE_UNAVAILABLE);
    CHECK(strstr(xent_last_error(), "forked") != NULL);
    CHECK(xent_context_create_cuda(0, &other) != XENT_STATUS_OK && other == NULL);
    CHECK_OK(xent_context_create_auto(&other));
    CHECK(xent_context_device(other, NULL) == XENT_DEVICE_CPU);
    xent_context_destroy(other);
    xent_workspace_destroy(workspace);
    xent_plan_destroy(plan);
    xent_context_destroy(context);
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK_OK(xent_run(plan, &args));
  buffers* out = results(there);
  CHECK(out->loss[0] > 0);
  free(out);
  drop(&where, there);
  xent_workspace_destroy(workspace);
  xent_plan_destroy(plan);
}

/* Handles go in any order: the plan keeps what it needs, and so does the workspace. */
static void test_lifetimes(void) {
  const xent_context_options options = options_on(&where);
  CHECK_OK(xent_context_create(&options, &context));
  xent_plan* plan = make_plan(XENT_REDUCTION_MEAN);
  xent_context_destroy(context);
  xent_workspace* workspace = NULL;
  CHECK_OK(xent_workspace_create(plan, kRows, &workspace));
  buffers* there = (buffers*)copy(&where, &fresh, sizeof fresh);
  xent_args args = args_of(there, workspace);
  CHECK_OK(xent_run(plan, &args));
  buffers* out = results(there);
  CHECK(out->loss[0] > 0);
  xent_plan_destroy(plan);
  xent_workspace_destroy(workspace);
  free(out);
  drop(&where, there);
}

/* A GPU that is not there. */
static void test_missing(void) {
  xent_context* none = NULL;
  CHECK(xent_context_create_cuda(7, &none) == XENT_STATUS_DEVICE_UNAVAILABLE && none == NULL);
  CHECK(strstr(xent_last_error(), "CUDA device 7: there is no such GPU: the driver shows ") !=
        NULL);
}

int main(int argc, char** argv) {
  where = device_of(argc, argv);
  CHECK(on_gpu(&where));
  fill();
  test_missing();
  test_lifetimes();
  CHECK_OK(xent_context_create_auto(&context));
  CHECK(strcmp(xent_context_describe(context), "CUDA 0") == 0);
  CHECK(xent_context_device(context, NULL) == XENT_DEVICE_CUDA);
  test_report();
  test_denominator();
  test_streams();
  test_capture();
  test_fork();
  xent_context_destroy(context);
  close_device(&where);
  return 0;
}
