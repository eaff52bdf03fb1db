/* One plan on many threads at once, loops of the caller, and the caller's floating-point
 * environment: the same bits each time, and the environment as it was. On a GPU, each thread has a
 * stream.
 */
#include <fenv.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <xent.h>

#include "check.h"
#include "device.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

enum { kRows = 300, kClasses = 1000, kThreads = 6, kRuns = 4, kRunsOnGpu = 1 };

/* Everything a run writes. */
typedef struct {
  float loss, lse[kRows], stats[2 * kRows], dlogits[kRows * kClasses], entropy[kRows];
  int64_t argmax[kRows], correct;
} outputs;

static device where;
static float* logits; /* there */
static int64_t* targets;
static outputs expected;

static void make_inputs(void) {
  static float logits_here[kRows * kClasses];
  static int64_t targets_here[kRows];
  uint32_t random = 12345;
  for (int i = 0; i < kRows * kClasses; ++i) {
    random = random * 1664525 + 1013904223;
    logits_here[i] = (float)(random >> 8) * (1.0f / 1048576) - 8;
    if (i % 97 == 0) logits_here[i] -= 90; /* exp of it is subnormal */
    if (i % 89 == 0) logits_here[i] *= 1e-40f;
  }
  for (int i = 0; i < kRows; ++i) targets_here[i] = i * 7 % kClasses;
  logits = (float*)copy(&where, logits_here, sizeof logits_here);
  targets = (int64_t*)copy(&where, targets_here, sizeof targets_here);
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

static outputs* run(const xent_plan* plan, xent_stream stream) {
  outputs* out = (outputs*)calloc(1, sizeof *out);
  CHECK(out != NULL);
  outputs* there = (outputs*)copy(&where, out, sizeof *out);
  xent_workspace* workspace = NULL;
  CHECK_OK(xent_workspace_create(plan, kRows, &workspace));
  xent_args args = xent_args_default();
  args.outer = kRows;
  args.logits = logits;
  args.targets = targets;
  args.loss = &there->loss;
  args.lse = there->lse;
  args.stats = there->stats;
  args.dlogits = there->dlogits;
  args.argmax = there->argmax;
  args.correct = &there->correct;
  args.entropy = there->entropy;
  args.workspace = workspace->data;
  args.workspace_size = workspace->size;
  args.stream = stream;
  CHECK_OK(xent_run(plan, &args));
  wait_for(&where, stream);
  get(&where, out, there, sizeof *out);
  drop(&where, there);
  xent_workspace_destroy(workspace);
  return out;
}

static void check_run(const xent_plan* plan, xent_stream stream) {
  outputs* out = run(plan, stream);
  CHECK(memcmp(out, &expected, sizeof expected) == 0);
  free(out);
}

static void* many_runs(void* plan) {
  const int runs = on_gpu(&where) ? kRunsOnGpu : kRuns;
  xent_stream stream = make_stream(&where);
  for (int i = 0; i < runs; ++i) check_run((const xent_plan*)plan, stream);
  drop_stream(&where, stream);
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
    xent_context_options options = options_on(&where);
    options.parallel_for = loops[i];
    options.parallel_for_user = &calls;
    xent_plan* plan = make_plan(&options);
    check_run(plan, NULL);
    CHECK(calls > 0);
    xent_plan_destroy(plan);
  }
}

static void test_thread_counts(void) {
  for (uint32_t threads = 1; threads <= 5; ++threads) {
    xent_context_options options = options_on(&where);
    options.threads = threads;
    xent_plan* plan = make_plan(&options);
    check_run(plan, NULL);
    xent_plan_destroy(plan);
  }
}

static void test_environment(const xent_plan* plan) {
  const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; ++i) {
    CHECK(fesetround(modes[i]) == 0);
    outputs* out = run(plan, NULL);
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
  outputs* out = run(plan, NULL);
  CHECK((_mm_getcsr() & 0xffc0) == (flush & 0xffc0));
  _mm_setcsr(before);
  CHECK(memcmp(out, &expected, sizeof expected) == 0);
  free(out);
#endif
}

int main(int argc, char** argv) {
  where = device_of(argc, argv);
  make_inputs();
  xent_context_options options = options_on(&where);
  xent_plan* plan = make_plan(&options);
  outputs* first = run(plan, NULL);
  memcpy(&expected, first, sizeof expected);
  free(first);
  CHECK(expected.loss > 0);

  test_concurrent_runs(plan);
  if (!on_gpu(&where)) {
    test_parallel_for();
    test_thread_counts();
    test_environment(plan);
  }
  xent_plan_destroy(plan);
  drop(&where, logits);
  drop(&where, targets);
  close_device(&where);
  return 0;
}
