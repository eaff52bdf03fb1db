/* Runs cases that another program has written: runner CASES RESULTS [cuda].
 *
 * A case is a struct of numbers and the bytes of five buffers, a result the bytes of eight; before
 * each buffer there is its length, which is 0 for a NULL. The last result is the gradient of
 * xent_backward. Outputs start as bytes 0xA5, so that one can see what was not written.
 */
#include <stdint.h>
#include <string.h>
#include <xent.h>

#include "check.h"
#include "device.h"

typedef struct {
  int64_t classes, logits_dtype, dlogits_dtype, target_type, reduction, flags, ignore_index;
  int64_t outer, inner, logits_strides[3], target_strides[3], dlogits_strides[3];
  int64_t dloss_stride, denominator_kind, dlogits_size;
  double label_smoothing, logit_scale, softcap, z_loss, denominator_value;
} numbers;

/* Memory of the device. */
typedef struct {
  void* data;
  int64_t size;
} buffer;

static device where;

static buffer load(FILE* file) {
  buffer loaded = {NULL, 0};
  CHECK(fread(&loaded.size, sizeof loaded.size, 1, file) == 1);
  if (loaded.size > 0) {
    const size_t size = (size_t)loaded.size;
    void* bytes = malloc(size);
    CHECK(bytes != NULL && fread(bytes, 1, size, file) == size);
    loaded.data = copy(&where, bytes, size);
    free(bytes);
  }
  return loaded;
}

static buffer poisoned(int64_t size) {
  const buffer made = {make(&where, (size_t)size), size};
  return made;
}

static void save(FILE* file, buffer saved) {
  const size_t size = (size_t)saved.size;
  void* bytes = malloc(size + 1);
  CHECK(bytes != NULL);
  get(&where, bytes, saved.data, size);
  CHECK(fwrite(&saved.size, sizeof saved.size, 1, file) == 1);
  CHECK(fwrite(bytes, 1, size, file) == size);
  free(bytes);
  drop(&where, saved.data);
}

static xent_plan* make_plan(const numbers* n, const xent_context* context) {
  xent_problem problem = xent_problem_default();
  problem.classes = n->classes;
  problem.logits_dtype = (xent_dtype)n->logits_dtype;
  problem.dlogits_dtype = (xent_dtype)n->dlogits_dtype;
  problem.target_type = (xent_target)n->target_type;
  problem.reduction = (xent_reduction)n->reduction;
  problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_LSE | XENT_OUTPUT_STATS | XENT_OUTPUT_DLOGITS |
                    XENT_OUTPUT_ARGMAX | XENT_OUTPUT_CORRECT | XENT_OUTPUT_ENTROPY;
  problem.flags = (uint32_t)n->flags;
  problem.ignore_index = n->ignore_index;
  problem.label_smoothing = n->label_smoothing;
  problem.logit_scale = n->logit_scale;
  problem.softcap = n->softcap;
  problem.z_loss = n->z_loss;
  xent_plan* plan = NULL;
  CHECK_OK(xent_plan_create(context, &problem, &plan));
  return plan;
}

static void run_case(const numbers* n, const xent_context* context, FILE* cases, FILE* results) {
  const int64_t rows = n->outer * n->inner;
  const int64_t t = n->logits_dtype == XENT_DTYPE_F64 ? sizeof(double) : sizeof(float);
  const buffer logits = load(cases), targets = load(cases), class_weights = load(cases),
               row_weights = load(cases), dloss = load(cases);
  const buffer loss = poisoned(n->reduction == XENT_REDUCTION_NONE ? rows * t : t);
  const buffer lse = poisoned(rows * t), stats = poisoned(2 * rows * t);
  const buffer dlogits = poisoned(n->dlogits_size), backward = poisoned(n->dlogits_size);
  const buffer argmax = poisoned(rows * 8), correct = poisoned(8), entropy = poisoned(rows * t);
  xent_plan* plan = make_plan(n, context);

  xent_args args = xent_args_default();
  args.outer = n->outer;
  args.inner = n->inner;
  args.logits = logits.data;
  args.targets = targets.data;
  args.class_weights = class_weights.data;
  args.class_weights_count = class_weights.size / t;
  args.row_weights = row_weights.data;
  args.dloss = dloss.data;
  args.dloss_stride = n->dloss_stride;
  args.denominator_kind = (xent_denominator)n->denominator_kind;
  args.denominator_value = n->denominator_value;
  args.loss = loss.data;
  args.lse = lse.data;
  args.stats = stats.data;
  args.dlogits = dlogits.data;
  args.argmax = (int64_t*)argmax.data;
  args.correct = (int64_t*)correct.data;
  args.entropy = entropy.data;
  memcpy(args.logits_strides, n->logits_strides, sizeof args.logits_strides);
  memcpy(args.target_strides, n->target_strides, sizeof args.target_strides);
  memcpy(args.dlogits_strides, n->dlogits_strides, sizeof args.dlogits_strides);
  CHECK_OK(xent_plan_workspace_size(plan, rows, &args.workspace_size));
  const buffer workspace = poisoned((int64_t)args.workspace_size + XENT_WORKSPACE_ALIGNMENT);
  args.workspace = align(workspace.data);
  CHECK_OK(xent_run(plan, &args));

  xent_backward_args again = xent_backward_args_default();
  again.outer = args.outer;
  again.inner = args.inner;
  again.logits = args.logits;
  again.targets = args.targets;
  again.class_weights = args.class_weights;
  again.class_weights_count = args.class_weights_count;
  again.row_weights = args.row_weights;
  again.dloss = args.dloss;
  again.dloss_stride = args.dloss_stride;
  again.denominator_kind = args.denominator_kind;
  again.denominator_value = args.denominator_value;
  again.stats = args.stats;
  again.dlogits = backward.data;
  again.workspace = args.workspace;
  again.workspace_size = args.workspace_size;
  memcpy(again.logits_strides, n->logits_strides, sizeof again.logits_strides);
  memcpy(again.target_strides, n->target_strides, sizeof again.target_strides);
  memcpy(again.dlogits_strides, n->dlogits_strides, sizeof again.dlogits_strides);
  CHECK_OK(xent_backward(plan, &again));
  xent_plan_destroy(plan);

  const buffer outputs[] = {loss, lse, stats, dlogits, argmax, correct, entropy, backward};
  for (size_t i = 0; i < sizeof outputs / sizeof *outputs; ++i) save(results, outputs[i]);
  const buffer inputs[] = {logits, targets, class_weights, row_weights, dloss, workspace};
  for (size_t i = 0; i < sizeof inputs / sizeof *inputs; ++i) drop(&where, inputs[i].data);
}

int main(int argc, char** argv) {
  CHECK(argc >= 3);
  FILE* cases = fopen(argv[1], "rb");
  FILE* results = fopen(argv[2], "wb");
  CHECK(cases != NULL && results != NULL);
  where = device_of(argc, argv);
  const xent_context_options options = options_on(&where);
  xent_context* context = NULL;
  CHECK_OK(xent_context_create(&options, &context));
  numbers n;
  while (fread(&n, sizeof n, 1, cases) == 1) run_case(&n, context, cases, results);
  xent_context_destroy(context);
  close_device(&where);
  CHECK(fclose(cases) == 0 && fclose(results) == 0);
  return 0;
}
