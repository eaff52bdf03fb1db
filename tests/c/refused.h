/* What the programs of wrong input share: structs of a call that succeeds, until a test changes
 * them, and the check that it is refused then: the status, a text that names field, value and
 * range, and nothing written.
 */
#ifndef REFUSED_H
#define REFUSED_H

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
static xent_plan* kept; /* a GPU's kernels stay as long as a plan has them */
static xent_context_options options;
static xent_problem problem;
static xent_args args;
static xent_backward_args backward;

static inline void start(void) {
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

static inline xent_status run(void) {
  xent_plan* plan = NULL;
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  xent_status status = xent_run(plan, &args);
  xent_plan_destroy(plan);
  return status;
}

static inline xent_status run_backward(void) {
  xent_plan* plan = NULL;
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  xent_status status = xent_backward(plan, &backward);
  xent_plan_destroy(plan);
  return status;
}

static int tests;

static inline void refused(xent_status status, xent_status expected, const char* text,
                           const char* change, const char* file, int line) {
  if (status != expected || strstr(xent_last_error(), text) == NULL) {
    fprintf(stderr, "%s:%d: %s: %s, \"%s\"; expected %s, \"%s\"\n", file, line, change,
            xent_status_string(status), xent_last_error(), xent_status_string(expected), text);
    exit(1);
  }
  outputs out;
  get(&where, &out, &there->out, sizeof out);
  if (memcmp(&out, &fresh.out, sizeof out) != 0) {
    fprintf(stderr, "%s:%d: %s: an output was written\n", file, line, change);
    exit(1);
  }
  ++tests;
}

/* A change to the structs after which a call is refused. */
#define REFUSED(call, change, status, text)                                   \
  do {                                                                        \
    start();                                                                  \
    change;                                                                   \
    refused(call(), XENT_STATUS_##status, text, #change, __FILE__, __LINE__); \
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

static inline void begin(int argc, char** argv) {
  xent_plan* plan = NULL;
  CHECK(xent_last_error()[0] == 0);
  where = device_of(argc, argv);
  there = (buffers*)make(&where, sizeof *there);
  options = options_on(&where);
  CHECK_OK(xent_context_create(&options, &context));
  problem = xent_problem_default();
  problem.classes = kClasses;
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  CHECK_OK(xent_workspace_create(plan, 100, &workspace));
  xent_plan_destroy(plan);
  start();
  CHECK_OK(xent_plan_create(context, &problem, &kept));
}

static inline void finish(void) {
  xent_plan_destroy(kept);
  xent_workspace_destroy(workspace);
  xent_context_destroy(context);
  drop(&where, there);
  close_device(&where);
  printf("%d refusals\n", tests);
}

#endif
