/* One plan on many threads at once, loops of the caller, and the caller's floating-point
 * environment: the same bits each time, and the environment as it was.
 */
#include <fenv.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <xent.h>

#include "check.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

enum { kRows = 300, kClasses = 1000, kThreads = 6, kRuns = 4 };

/* Everything a run writes. */
typedef struct {
  float loss, lse[kRows], stats[2 * kRows], dlogits[kRows * kClasses], entropy[kRows];
  int64_t argmax[kRows], correct;
} outputs;

static float logits[kRows * kClasses];
static int64_t targets[kRows];
static outputs expected;

static void fill_inputs(void) {
  uint32_t random = 12345;
  for (int i = 0; i < kRows * kClasses; ++i) {
    random = random * 1664525 + 1013904223;
    logits[i] = (float)(random >> 8) * (1.0f / 1048576) - 8;
    if (i % 97 == 0) logits[i] -= 90; /* exp of it is subnormal */
    if (i % 89 == 0) logits[i] *= 1e-40f;
  }
  for (int i = 0; i < kRows; ++i) targets[i] = i * 7 % kClasses;
}

static xent_plan* make_plan(const xent_context_options* options) {
  xent_problem problem = xent_problem_default();
  problem.classes = kClasses;
  problem.label_smoothing = 0.1;
  problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_LSE | XENT_OUTPUT_STATS | XENT_OUTPUT_DLOGITS |
                    XENT_OUTPUT_ARGMAX | XENT_OUTPUT_CORRECT | XENT_OUTPUT_ENTROPY;
  xent_context* context = NULL;
  xent_plan* plan = NULL;
  CHECK_OK(xent_context_create(options, &context));
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  xent_context_destroy(context);
  return plan;
}

static outputs* run(const xent_plan* plan) {
  outputs* out = (outputs*)calloc(1, sizeof *out);
  CHECK(out != NULL);
  xent_args args = xent_args_default();
  args.outer = kRows;
  args.logits = logits;
  args.targets = targets;
  args.loss = &out->loss;
  args.lse = out->lse;
  args.stats = out->stats;
  args.dlogits = out->dlogits;
  args.argmax = out->argmax;
  args.correct = &out->correct;
  args.entropy = out->entropy;
  CHECK_OK(xent_plan_workspace_size(plan, kRows, &args.workspace_size));
  void* memory = malloc(args.workspace_size + XENT_WORKSPACE_ALIGNMENT);
  CHECK(memory != NULL);
  args.workspace = align(memory);
  CHECK_OK(xent_run(plan, &args));
  free(memory);
  return out;
}

static void check_run(const xent_plan* plan) {
  outputs* out = run(plan);
  CHECK(memcmp(out, &expected, sizeof expected) == 0);
  free(out);
}

static void* many_runs(void* plan) {
  for (int i = 0; i < kRuns; ++i) check_run((const xent_plan*)plan);
  /* The last error is this thread's own. */
  CHECK(xent_last_error()[0] == 0);
  CHECK(xent_run(NULL, NULL) == XENT_STATUS_NULL_POINTER);
  CHECK(xent_last_error()[0] != 0);
  return NULL;
}

static void test_concurrent_runs(const xent_plan* plan) {
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i) {
    CHECK(pthread_create(&threads[i], NULL, many_runs, (void*)(uintptr_t)plan) == 0);
  }
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Loops of the caller: in order, and two that break their promise. */
static void forwards(void* calls, size_t tasks, xent_task task, void* data) {
  ++*(int*)calls;
  for (size_t i = 0; i < tasks; ++i) task(data, i);
}

static void twice_and_backwards(void* calls, size_t tasks, xent_task task, void* data) {
  ++*(int*)calls;
  for (size_t i = 2 * tasks; i > 0; --i) task(data, i / 2);
}

static void half(void* calls, size_t tasks, xent_task task, void* data) {
  ++*(int*)calls;
  for (size_t i = 0; i < tasks / 2; ++i) task(data, i);
}

/* Two threads, each with every other task. */
typedef struct {
  size_t first, tasks;
  xent_task task;
  void* data;
} share;

static void* run_share(void* argument) {
  const share* mine = (const share*)argument;
  for (size_t i = mine->first; i < mine->tasks; i += 2) mine->task(mine->data, i);
  return NULL;
}

static void on_two_threads(void* calls, size_t tasks, xent_task task, void* data) {
  ++*(int*)calls;
  share shares[2] = {{0, tasks, task, data}, {1, tasks, task, data}};
  pthread_t other;
  CHECK(pthread_create(&other, NULL, run_share, &shares[1]) == 0);
  run_share(&shares[0]);
  CHECK(pthread_join(other, NULL) == 0);
}

static void test_parallel_for(void) {
  const xent_parallel_for loops[] = {forwards, twice_and_backwards, half, on_two_threads};
  for (size_t i = 0; i < sizeof loops / sizeof *loops; ++i) {
    int calls = 0;
    xent_context_options options = xent_context_options_default();
    options.parallel_for = loops[i];
    options.parallel_for_user = &calls;
    xent_plan* plan = make_plan(&options);
    check_run(plan);
    CHECK(calls > 0);
    xent_plan_destroy(plan);
  }
}

static void test_thread_counts(void) {
  for (uint32_t threads = 1; threads <= 5; ++threads) {
    xent_context_options options = xent_context_options_default();
    options.threads = threads;
    xent_plan* plan = make_plan(&options);
    check_run(plan);
    xent_plan_destroy(plan);
  }
}

static void test_environment(const xent_plan* plan) {
  const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; ++i) {
    CHECK(fesetround(modes[i]) == 0);
    outputs* out = run(plan);
    CHECK(fegetround() == modes[i]);
    CHECK(memcmp(out, &expected, sizeof expected) == 0);
    CHECK(xent_run(plan, NULL) == XENT_STATUS_NULL_POINTER);
    CHECK(fegetround() == modes[i]);
    CHECK(fesetround(FE_TONEAREST) == 0);
    free(out);
  }
#if defined(__x86_64__)
  const unsigned int flush = _mm_getcsr() | 0x8040; /* flush to zero, denormals are zero */
  const unsigned int before = _mm_getcsr();
  _mm_setcsr(flush);
  outputs* out = run(plan);
  CHECK((_mm_getcsr() & 0xffc0) == (flush & 0xffc0));
  _mm_setcsr(before);
  CHECK(memcmp(out, &expected, sizeof expected) == 0);
  free(out);
#endif
}

int main(void) {
  fill_inputs();
  xent_plan* plan = make_plan(NULL);
  outputs* first = run(plan);
  memcpy(&expected, first, sizeof expected);
  free(first);
  CHECK(expected.loss > 0);

  test_concurrent_runs(plan);
  test_parallel_for();
  test_thread_counts();
  test_environment(plan);
  xent_plan_destroy(plan);
  return 0;
}
