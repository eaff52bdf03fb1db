/* Makes each call of the driver fail in turn, on the simulated GPU, and prints a line for each: the
 * status of the call below which that was, and its words. */
#include <dlfcn.h>
#include <string.h>
#include <xent.h>

#include "check.h"

enum { kRows = 3, kClasses = 5 };

static int (*init)(unsigned);
static int (*retain)(void**, int);
static int (*release)(int);
static int (*push)(void*);
static int (*pop)(void**);
static int (*allocate)(uintptr_t*, size_t);
static int (*give_back)(uintptr_t);
static int (*copy_in)(uintptr_t, const void*, size_t);
static int (*fail)(const char*);
static uint64_t (*calls)(const char*);
static uint64_t (*leaks)(void);

static void find(void* library, const char* name, void* function) {
  void* found = dlsym(library, name);
  CHECK(found != NULL);
  memcpy(function, &found, sizeof found);
}

/* Buffers in the memory of the GPU. */
static struct {
  uintptr_t logits, targets, loss, stats, dlogits, report, workspace;
} on_gpu;

static uintptr_t make(const void* from, size_t bytes) {
  uintptr_t address = 0;
  CHECK(allocate(&address, bytes) == 0);
  CHECK(copy_in(address, from, bytes) == 0);
  return address;
}

static xent_status runs(const xent_plan* plan) {
  xent_report found;
  xent_args args = xent_args_default();
  xent_backward_args backward = xent_backward_args_default();
  size_t size = 0;
  CHECK_OK(xent_plan_workspace_size(plan, kRows, &size));
  CHECK(size <= 4096);
  args.outer = backward.outer = kRows;
  args.logits = backward.logits = (void*)on_gpu.logits;
  args.targets = backward.targets = (void*)on_gpu.targets;
  args.loss = (void*)on_gpu.loss;
  args.stats = (void*)on_gpu.stats;
  args.report = (void*)on_gpu.report;
  args.workspace = backward.workspace = (void*)on_gpu.workspace;
  args.workspace_size = backward.workspace_size = 4096;
  backward.stats = (void*)on_gpu.stats;
  backward.dlogits = (void*)on_gpu.dlogits;
  xent_status status = xent_run(plan, &args);
  if (status == XENT_STATUS_OK) status = xent_backward(plan, &backward);
  if (status == XENT_STATUS_OK) status = xent_report_read(plan, args.report, NULL, &found);
  return status;
}

/* Everything that a program does. */
static xent_status program(void) {
  xent_context_options options = xent_context_options_default();
  xent_problem problem = xent_problem_default();
  xent_context* context = NULL;
  xent_plan* plan = NULL;
  options.device = XENT_DEVICE_CUDA;
  problem.classes = kClasses;
  problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_STATS;
  xent_status status = xent_context_create(&options, &context);
  if (status != XENT_STATUS_OK) {
    CHECK(context == NULL);
    return status;
  }
  status = xent_plan_create(context, &problem, &plan);
  xent_context_destroy(context);
  if (status != XENT_STATUS_OK) {
    CHECK(plan == NULL);
    return status;
  }
  status = runs(plan);
  xent_plan_destroy(plan);
  return status;
}

/* Makes a call fail, by its number or name. */
static void one(const char* what) {
  const uint64_t before = leaks();
  CHECK(fail(what) == 0);
  const xent_status status = program();
  CHECK(fail("") == 0);
  printf("%d %s\n", (int)status, status == XENT_STATUS_OK ? "" : xent_last_error());
  CHECK(leaks() == before);
}

int main(void) {
  static const float logits[kRows * kClasses] = {1, 2, 3};
  static const int64_t targets[kRows] = {1, 4, 0};
  static const char zeros[4096];
  char number[32];
  void* context = NULL;
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  CHECK(library != NULL);
  find(library, "cuInit", &init);
  find(library, "cuDevicePrimaryCtxRetain", &retain);
  find(library, "cuDevicePrimaryCtxRelease_v2", &release);
  find(library, "cuCtxPushCurrent_v2", &push);
  find(library, "cuCtxPopCurrent_v2", &pop);
  find(library, "cuMemAlloc_v2", &allocate);
  find(library, "cuMemFree_v2", &give_back);
  find(library, "cuMemcpyHtoD_v2", &copy_in);
  find(library, "xent_sim_fail", &fail);
  find(library, "xent_sim_calls", &calls);
  find(library, "xent_sim_leaks", &leaks);

  one("cuInit:1");
  one("cuDriverGetVersion:1");
  CHECK(init(0) == 0 && retain(&context, 0) == 0 && push(context) == 0);
  on_gpu.logits = make(logits, sizeof logits);
  on_gpu.targets = make(targets, sizeof targets);
  on_gpu.loss = make(zeros, sizeof(float));
  on_gpu.stats = make(zeros, 2 * kRows * sizeof(float));
  on_gpu.dlogits = make(zeros, sizeof logits);
  on_gpu.report = make(zeros, sizeof(xent_report));
  on_gpu.workspace = make(zeros, sizeof zeros);
  CHECK(pop(&context) == 0);

  CHECK_OK(program());
  const uint64_t before = calls(NULL);
  CHECK_OK(program());
  const uint64_t count = calls(NULL) - before;
  for (uint64_t k = 1; k <= count; ++k) {
    snprintf(number, sizeof number, "%d", (int)k);
    one(number);
    if (k % 8 == 0) CHECK_OK(program());
  }

  CHECK(push(context) == 0);
  const uintptr_t* buffer = (const uintptr_t*)&on_gpu;
  for (size_t i = 0; i < sizeof on_gpu / sizeof *buffer; ++i) CHECK(give_back(buffer[i]) == 0);
  CHECK(pop(&context) == 0 && release(0) == 0);
  return 0;
}
