/* Runs on the calling thread, or on threads of the caller, do not allocate. Nor do those on a GPU;
 * what the driver does is its own affair.
 */
#define _GNU_SOURCE /* dladdr */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xent.h>

#include "check.h"
#include "device.h"

#ifdef __GLIBC__
enum { kRows = 64, kFewRows = 4, kClasses = 3000 };

static device where;
static long allocations;

static void note(void* caller) {
  Dl_info library;
  if (!on_gpu(&where)) {
    ++allocations;
  } else if (dladdr(caller, &library) != 0 && strstr(library.dli_fname, "libxent.") != NULL) {
    ++allocations;
  }
}

/* They take the place of libc's, for the library too. */
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

void* malloc(size_t size) {
  note(__builtin_return_address(0));
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
  note(__builtin_return_address(0));
  return __libc_calloc(count, size);
}

void* realloc(void* memory, size_t size) {
  note(__builtin_return_address(0));
  return __libc_realloc(memory, size);
}

int posix_memalign(void** memory, size_t alignment, size_t size) {
  note(__builtin_return_address(0));
  *memory = __libc_memalign(alignment, size);
  return 0;
}

static void loop(void* calls, size_t tasks, xent_task task, void* data) {
  ++*(int*)calls;
  for (size_t i = 0; i < tasks; ++i) task(data, i);
}

/* Everything a run reads and writes. */
typedef struct {
  float logits[kRows * kClasses], dlogits[kRows * kClasses], lse[kRows], entropy[kRows];
  float stats[2 * kRows], loss;
  int64_t targets[kRows], argmax[kRows], correct;
} buffers;

static buffers zeros;

/* A problem by its name, with the gradient that it may have. */
static void run_preset(const xent_context* context, xent_preset preset, buffers* there) {
  xent_plan* plan = NULL;
  xent_workspace* workspace = NULL;
  xent_problem problem = xent_problem_default();
  CHECK_OK(xent_problem_preset(preset, XENT_DTYPE_F32, kClasses, &problem));
  const int is_softmax = problem.outputs == XENT_OUTPUT_OUTPUT;
  if (!is_softmax) problem.outputs |= XENT_OUTPUT_DLOGITS;
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  CHECK_OK(xent_workspace_create(plan, kFewRows, &workspace));
  xent_args args = xent_args_default();
  args.outer = kFewRows;
  args.logits = there->logits;
  args.targets = problem.target_type == XENT_TARGET_I64 ? (void*)there->targets : there->logits;
  if (is_softmax || problem.operation == XENT_OPERATION_ENTROPY) args.targets = NULL;
  *(is_softmax ? &args.output : &args.dlogits) = there->dlogits;
  if (!is_softmax) args.loss = there->lse; /* one, or one for each row */
  args.workspace = workspace->data;
  args.workspace_size = workspace->size;
  const long before = allocations;
  CHECK_OK(xent_run(plan, &args));
  if (is_softmax) {
    xent_backward_args backward = xent_backward_args_default();
    backward.outer = kFewRows;
    backward.output = there->logits;
    backward.doutput = there->logits;
    backward.dlogits = there->dlogits;
    backward.workspace = args.workspace;
    backward.workspace_size = args.workspace_size;
    CHECK_OK(xent_backward(plan, &backward));
  }
  CHECK(allocations == before);
  xent_workspace_destroy(workspace);
  xent_plan_destroy(plan);
}

static void run(const xent_context_options* options, double softcap) {
  xent_context* context = NULL;
  xent_plan* plan = NULL;
  xent_workspace* workspace = NULL;
  buffers* there = (buffers*)copy(&where, &zeros, sizeof zeros);
  xent_problem problem = xent_problem_default();
  problem.classes = kClasses;
  problem.label_smoothing = 0.1;
  problem.softcap = softcap;
  problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_LSE | XENT_OUTPUT_STATS | XENT_OUTPUT_DLOGITS |
                    XENT_OUTPUT_ARGMAX | XENT_OUTPUT_CORRECT | XENT_OUTPUT_ENTROPY;
  CHECK_OK(xent_context_create(options, &context));
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  CHECK_OK(xent_workspace_create(plan, kRows, &workspace));
  CHECK(allocations > 0); /* so the counters count */

  xent_args args = xent_args_default();
  args.outer = kRows;
  args.logits = there->logits;
  args.targets = there->targets;
  args.loss = &there->loss;
  args.lse = there->lse;
  args.stats = there->stats;
  args.dlogits = there->dlogits;
  args.argmax = there->argmax;
  args.correct = &there->correct;
  args.entropy = there->entropy;
  args.workspace = workspace->data;
  args.workspace_size = workspace->size;
  const long before = allocations;
  CHECK_OK(xent_run(plan, &args));
  CHECK(allocations == before);

  xent_backward_args backward = xent_backward_args_default();
  backward.outer = kRows;
  backward.logits = there->logits;
  backward.targets = there->targets;
  backward.stats = there->stats;
  backward.dlogits = there->dlogits;
  backward.workspace = args.workspace;
  backward.workspace_size = args.workspace_size;
  CHECK_OK(xent_backward(plan, &backward));
  backward.ddlogits = there->logits;
  if (softcap == 0) CHECK_OK(xent_double_backward(plan, &backward));
  CHECK(allocations == before);
  xent_workspace_destroy(workspace);
  xent_plan_destroy(plan);
  for (int i = 0; softcap == 0 && i <= XENT_PRESET_CAFFE_MULTINOMIAL_LOGISTIC_LOSS; ++i) {
    run_preset(context, (xent_preset)i, there);
  }
  xent_context_destroy(context);
  drop(&where, there);
}

int main(int argc, char** argv) {
  int calls = 0;
  where = device_of(argc, argv);
  xent_context_options options = options_on(&where);
  options.threads = 1;
  run(&options, 0);
  run(&options, 30);
  options.threads = 0;
  options.parallel_for = loop;
  options.parallel_for_user = &calls;
  run(&options, 0);
  run(&options, 30);
  CHECK(calls > 0 || on_gpu(&where));
  close_device(&where);
  return 0;
}
#else
int main(void) { return 0; }
#endif
