/* One run of a problem on the device of a program. Inputs are doubles, which are rounded to the
 * types of the problem; so are results.
 */
#ifndef JOB_H
#define JOB_H

#include <stdint.h>
#include <string.h>
#include <xent.h>

#include "check.h"
#include "device.h"
#include "numbers.h"

enum { kMost = 256, kBuffers = 24 };

/* What a run reads. Flags of weights and the type of the targets follow from what is given. */
typedef struct {
  xent_problem problem;
  int64_t rows;
  const double* x;   /* logits, or what stands in their place */
  const int64_t* y;  /* class indices, */
  const double* q;   /* or probabilities */
  xent_dtype q_type; /* their type; default is that of the losses */
  const double *class_weights, *row_weights, *element_weights, *pos_weights;
  const double* dloss;
  int dloss_stride;
  const double* doutput;  /* then there is a backward of the softmax, */
  const double* ddlogits; /* or a double backward */
} job;

/* What it writes. */
typedef struct {
  double loss[kMost], lse[kMost], entropy[kMost], dlogits[kMost], output[kMost];
} results;

static device where;
static xent_context* context;
static void* lent[kBuffers]; /* buffers of a run, on the device */
static int lent_count;

static inline void open_context(int argc, char** argv) {
  where = device_of(argc, argv);
  const xent_context_options options = options_on(&where);
  CHECK_OK(xent_context_create(&options, &context));
}

static inline void close_context(void) {
  xent_context_destroy(context);
  close_device(&where);
}

static inline xent_dtype logits_type(const job* it) {
  const xent_dtype dtype = it->problem.logits_dtype;
  return dtype == XENT_DTYPE_DEFAULT ? XENT_DTYPE_F32 : dtype;
}

static inline xent_dtype or_logits_type(const job* it, xent_dtype dtype) {
  return dtype == XENT_DTYPE_DEFAULT ? logits_type(it) : dtype;
}

/* The type of losses and weights. */
static inline xent_dtype loss_type(const job* it) {
  return logits_type(it) == XENT_DTYPE_F64 ? XENT_DTYPE_F64 : XENT_DTYPE_F32;
}

static inline xent_dtype targets_type(const job* it) {
  return it->q_type == XENT_DTYPE_DEFAULT ? loss_type(it) : it->q_type;
}

static inline xent_target probabilities_of(xent_dtype dtype) {
  return dtype == XENT_DTYPE_F64   ? XENT_TARGET_PROBABILITIES_F64
         : dtype == XENT_DTYPE_F32 ? XENT_TARGET_PROBABILITIES_F32
         : dtype == XENT_DTYPE_F16 ? XENT_TARGET_PROBABILITIES_F16
                                   : XENT_TARGET_PROBABILITIES_BF16;
}

static inline int elements(const job* it) { return (int)(it->rows * it->problem.classes); }

/* How many losses the reduction leaves. */
static inline int losses(const job* it) {
  const xent_reduction reduction = it->problem.reduction;
  if (reduction == XENT_REDUCTION_ELEMENTS) return elements(it);
  const int of_rows = reduction == XENT_REDUCTION_NONE || reduction == XENT_REDUCTION_ROW_MEAN;
  return of_rows ? (int)it->rows : 1;
}

static inline void* lend(void* memory) {
  CHECK(lent_count < kBuffers);
  return lent[lent_count++] = memory;
}

/* Numbers on the device; NULL is none. */
static inline void* send(const double* from, xent_dtype dtype, int count) {
  double nearest[kMost], bytes[kMost];
  if (from == NULL) return NULL;
  CHECK(count <= kMost);
  for (int i = 0; i < count; ++i) nearest[i] = rounded(from[i], dtype);
  encode(bytes, dtype, nearest, count);
  return lend(copy(&where, bytes, size_of(dtype) * (size_t)count));
}

/* Room on the device for so many, if an output is wanted. */
static inline void* room(const job* it, uint32_t output, xent_dtype dtype, int count) {
  const int wanted = (it->problem.outputs & output) != 0;
  return wanted ? lend(make(&where, size_of(dtype) * (size_t)count)) : NULL;
}

static inline void receive(double* to, xent_dtype dtype, const void* from, int count) {
  double bytes[kMost];
  if (from == NULL) return;
  get(&where, bytes, from, size_of(dtype) * (size_t)count);
  decode(to, dtype, bytes, count);
}

static inline xent_args args_of(const job* it, const xent_workspace* workspace) {
  const xent_dtype logits = logits_type(it), loss = loss_type(it);
  const int count = elements(it), rows = (int)it->rows, classes = (int)it->problem.classes;
  const int in_place = (it->problem.flags & XENT_FLAG_IN_PLACE) != 0;
  xent_args args = xent_args_default();
  args.outer = it->rows;
  args.logits = send(it->x, logits, count);
  args.targets = send(it->q, targets_type(it), count);
  if (it->y != NULL) {
    args.targets = lend(copy(&where, it->y, sizeof *it->y * (size_t)rows));
  }
  args.class_weights = send(it->class_weights, loss, classes);
  args.class_weights_count = it->class_weights == NULL ? 0 : classes;
  args.row_weights = send(it->row_weights, loss, rows);
  args.element_weights = send(it->element_weights, loss, count);
  args.pos_weights = send(it->pos_weights, loss, classes);
  if ((it->problem.outputs & XENT_OUTPUT_DLOGITS) != 0) {
    args.dloss = send(it->dloss, loss, it->dloss_stride == 0 ? 1 : losses(it));
    args.dloss_stride = it->dloss_stride;
  }
  args.loss = room(it, XENT_OUTPUT_LOSS, loss, losses(it));
  args.lse = room(it, XENT_OUTPUT_LSE, loss, rows);
  args.entropy = room(it, XENT_OUTPUT_ENTROPY, loss, rows);
  args.stats = room(it, XENT_OUTPUT_STATS, loss, 2 * rows);
  args.dlogits =
      room(it, XENT_OUTPUT_DLOGITS, or_logits_type(it, it->problem.dlogits_dtype), count);
  args.output = room(it, XENT_OUTPUT_OUTPUT, or_logits_type(it, it->problem.output_dtype), count);
  if (in_place && args.dlogits != NULL) args.dlogits = (void*)(uintptr_t)args.logits;
  if (in_place && args.output != NULL) args.output = (void*)(uintptr_t)args.logits;
  args.workspace = workspace->data;
  args.workspace_size = workspace->size;
  return args;
}

/* What goes back after a run: of the softmax, or of the gradient. */
static inline void run_backward(const job* it, xent_plan* plan, const xent_args* args,
                                results* out) {
  const xent_dtype output = or_logits_type(it, it->problem.output_dtype);
  const xent_dtype dlogits = or_logits_type(it, it->problem.dlogits_dtype);
  const int count = elements(it), in_place = (it->problem.flags & XENT_FLAG_IN_PLACE) != 0;
  xent_backward_args backward = xent_backward_args_default();
  backward.outer = args->outer;
  backward.workspace = args->workspace;
  backward.workspace_size = args->workspace_size;
  backward.dlogits = lend(make(&where, size_of(dlogits) * (size_t)count));
  if (it->doutput != NULL) {
    backward.output = args->output;
    backward.doutput = send(it->doutput, output, count);
    if (in_place) backward.dlogits = (void*)(uintptr_t)backward.doutput;
    CHECK_OK(xent_backward(plan, &backward));
  } else {
    backward.logits = args->logits;
    backward.targets = args->targets;
    backward.class_weights = args->class_weights;
    backward.class_weights_count = args->class_weights_count;
    backward.row_weights = args->row_weights;
    backward.stats = args->stats;
    backward.dloss = send(it->dloss, loss_type(it), it->dloss_stride == 0 ? 1 : losses(it));
    backward.dloss_stride = it->dloss_stride;
    backward.ddlogits = send(it->ddlogits, dlogits, count);
    CHECK_OK(xent_double_backward(plan, &backward));
  }
  receive(out->dlogits, dlogits, backward.dlogits, count);
}

static inline results run_job(job it) {
  xent_plan* plan = NULL;
  xent_workspace* workspace = NULL;
  results out;
  memset(&out, 0xA5, sizeof out);
  if (it.q != NULL) it.problem.target_type = probabilities_of(targets_type(&it));
  if (it.class_weights != NULL) it.problem.flags |= XENT_FLAG_CLASS_WEIGHTS;
  if (it.row_weights != NULL) it.problem.flags |= XENT_FLAG_ROW_WEIGHTS;
  if (it.element_weights != NULL) it.problem.flags |= XENT_FLAG_ELEMENT_WEIGHTS;
  if (it.pos_weights != NULL) it.problem.flags |= XENT_FLAG_POS_WEIGHTS;
  CHECK_OK(xent_plan_create(context, &it.problem, &plan));
  CHECK_OK(xent_workspace_create(plan, it.rows, &workspace));
  const xent_args args = args_of(&it, workspace);
  CHECK_OK(xent_run(plan, &args));
  receive(out.loss, loss_type(&it), args.loss, losses(&it));
  receive(out.lse, loss_type(&it), args.lse, (int)it.rows);
  receive(out.entropy, loss_type(&it), args.entropy, (int)it.rows);
  receive(out.dlogits, or_logits_type(&it, it.problem.dlogits_dtype), args.dlogits, elements(&it));
  receive(out.output, or_logits_type(&it, it.problem.output_dtype), args.output, elements(&it));
  if (it.doutput != NULL || it.ddlogits != NULL) run_backward(&it, plan, &args, &out);
  while (lent_count > 0) drop(&where, lent[--lent_count]);
  xent_workspace_destroy(workspace);
  xent_plan_destroy(plan);
  return out;
}

#endif
