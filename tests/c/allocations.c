/* Runs on the calling thread, or on threads of the caller, do not allocate. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xent.h>

#include "check.h"

#ifdef __GLIBC__
enum { kRows = 64, kClasses = 3000 };

static long allocations;

/* They take the place of libc's, for the library too. */
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

void* malloc(size_t size) {
  ++allocations;
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}

void* realloc(void* memory, size_t size) {
  ++allocations;
  return __libc_realloc(memory, size);
}

int posix_memalign(void** memory, size_t alignment, size_t size) {
  ++allocations;
  *memory = __libc_memalign(alignment, size);
  return 0;
}

static void loop(void* calls, size_t tasks, xent_task task, void* data) {
  ++*(int*)calls;
  for (size_t i = 0; i < tasks; ++i) task(data, i);
}

static float logits[kRows * kClasses], dlogits[kRows * kClasses], lse[kRows], entropy[kRows];
static float stats[2 * kRows];
static int64_t targets[kRows], argmax[kRows], correct;
static char memory[1 << 16];

static void run(const xent_context_options* options) {
  xent_context* context = NULL;
  xent_plan* plan = NULL;
  float loss = 0;
  xent_problem problem = xent_problem_default();
  problem.classes = kClasses;
  problem.label_smoothing = 0.1;
  problem.softcap = 30;
  problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_LSE | XENT_OUTPUT_STATS | XENT_OUTPUT_DLOGITS |
                    XENT_OUTPUT_ARGMAX | XENT_OUTPUT_CORRECT | XENT_OUTPUT_ENTROPY;
  CHECK_OK(xent_context_create(options, &context));
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  CHECK(allocations > 0); /* so the counters count */

  xent_args args = xent_args_default();
  args.outer = kRows;
  args.logits = logits;
  args.targets = targets;
  args.loss = &loss;
  args.lse = lse;
  args.stats = stats;
  args.dlogits = dlogits;
  args.argmax = argmax;
  args.correct = &correct;
  args.entropy = entropy;
  args.workspace = align(memory);
  args.workspace_size = sizeof memory - XENT_WORKSPACE_ALIGNMENT;
  const long before = allocations;
  CHECK_OK(xent_run(plan, &args));
  CHECK(allocations == before);

  xent_backward_args backward = xent_backward_args_default();
  backward.outer = kRows;
  backward.logits = logits;
  backward.targets = targets;
  backward.stats = stats;
  backward.dlogits = dlogits;
  backward.workspace = args.workspace;
  backward.workspace_size = args.workspace_size;
  CHECK_OK(xent_backward(plan, &backward));
  CHECK(allocations == before);
  xent_plan_destroy(plan);
  xent_context_destroy(context);
}

int main(void) {
  int calls = 0;
  xent_context_options options = xent_context_options_default();
  options.threads = 1;
  run(&options);
  options.threads = 0;
  options.parallel_for = loop;
  options.parallel_for_user = &calls;
  run(&options);
  CHECK(calls > 0);
  return 0;
}
#else
int main(void) { return 0; }
#endif
