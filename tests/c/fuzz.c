/* Random combinations of odd values in every field: no crash, no bug in xent, and nothing written
 * by a call that is refused. Values that are accepted stay within the buffers. On a GPU, where each
 * problem is compiled, few problems are run, with fewer calls.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <xent.h>

#include "check.h"
#include "device.h"

enum {
  kCalls = 200000,
  kCallsOnGpu = 4000,
  kPlansOnGpu = 4,
  kBuffers = 8,
  kBytes = 1024,
  kWorkspace = 8192
};

static uint64_t state = 20261122;

static uint64_t random_below(uint64_t limit) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (state >> 11) % limit;
}

static const int64_t integers[] = {0, 0, 1, 1, 2, 3, -1, INT64_MIN, INT64_MAX, INT64_C(1) << 62, 4};
static const double reals[] = {0, 0, 0, 1, 0.5, -1, 1e-320, 1e300, (double)INFINITY, (double)NAN};

/* Mostly what is there; else an odd value. */
static int odd(void) { return random_below(16) == 0; }

static void odd_integer(int64_t* field) {
  if (odd()) *field = integers[random_below(sizeof integers / sizeof *integers)];
}

static void odd_strides(int64_t* strides) {
  for (int i = 0; i < 3; ++i) odd_integer(&strides[i]);
}

static void odd_real(double* field) {
  if (odd()) *field = reals[random_below(sizeof reals / sizeof *reals)];
}

static void odd_bits(void* field, uint32_t below) {
  const uint32_t bits = odd() ? (uint32_t)random_below(1u << 31) : (uint32_t)random_below(below);
  memcpy(field, &bits, sizeof bits);
}

/* Each of its own, so that no access beyond one goes unseen. */
static char *inputs[kBuffers], *buffers[kBuffers];
static device where;
static char* workspace;

static void fill(char** all, int byte) {
  char bytes[kBytes];
  memset(bytes, byte, sizeof bytes);
  for (int i = 0; i < kBuffers; ++i) put(&where, all[i], bytes, sizeof bytes);
}

static int is_full_of(char** all, int byte) {
  char bytes[kBytes], expected[kBytes];
  int same = 1;
  memset(expected, byte, sizeof expected);
  for (int i = 0; i < kBuffers; ++i) {
    get(&where, bytes, all[i], sizeof bytes);
    same &= memcmp(bytes, expected, sizeof bytes) == 0;
  }
  return same;
}

/* One of the buffers, NULL, or an address that is misaligned or another buffer's. */
static void* odd_pointer(char* usual, int null) {
  if (null) return odd() ? usual : NULL;
  switch (random_below(64)) {
    case 0:
      return NULL;
    case 1:
      return usual + 1;
    case 2:
      return buffers[random_below(kBuffers)];
    case 3:
      return inputs[random_below(kBuffers)] + 8;
    default:
      return usual;
  }
}

/* The cross entropy of logits with many options. */
static xent_problem random_cross_entropy(void) {
  xent_problem problem = xent_problem_default();
  problem.classes = (int64_t)random_below(5);
  odd_integer(&problem.classes);
  odd_bits(&problem.logits_dtype, 5);
  odd_bits(&problem.dlogits_dtype, 2);
  odd_bits(&problem.target_type, 4);
  if (random_below(3) == 0) problem.target_type = XENT_TARGET_PROBABILITIES_F16;
  odd_bits(&problem.reduction, 3);
  odd_bits(&problem.outputs, 128);
  odd_bits(&problem.flags, 32);
  problem.flags &= random_below(2) ? ~5u : ~0u;
  return problem;
}

/* What has a name elsewhere, with few options. */
static xent_problem random_preset(void) {
  xent_problem problem = xent_problem_default();
  xent_preset preset = XENT_PRESET_SOFTMAX;
  xent_dtype dtype = XENT_DTYPE_F32;
  int64_t classes = (int64_t)random_below(5);
  odd_bits(&preset, XENT_PRESET_CAFFE_MULTINOMIAL_LOGISTIC_LOSS + 1);
  odd_bits(&dtype, 5);
  odd_integer(&classes);
  if (xent_problem_preset(preset, dtype, classes, &problem) != XENT_STATUS_OK) return problem;
  if (random_below(2)) problem.outputs |= problem.outputs & 1 ? XENT_OUTPUT_DLOGITS : 0u;
  if (random_below(2)) problem.flags = 1u << random_below(8);
  if (random_below(3) == 0) odd_bits(&problem.reduction, 6);
  if (odd()) odd_bits(&problem.target_type, 20);
  if (odd()) odd_bits(&problem.outputs, 256);
  if (odd()) odd_bits(&problem.operation, 6);
  if (odd()) odd_bits(&problem.input, 3);
  if (odd()) odd_bits(&problem.clip, 5);
  if (odd()) odd_bits(&problem.renormalise, 3);
  if (odd()) odd_bits(&problem.unit, 2);
  if (odd()) odd_bits(&problem.output_dtype, 2);
  odd_real(&problem.clip_value);
  return problem;
}

static xent_problem random_problem(void) {
  xent_problem problem = random_below(2) ? random_cross_entropy() : random_preset();
  if (problem.flags & XENT_FLAG_IGNORE_INDEX) odd_integer(&problem.ignore_index);
  odd_real(&problem.label_smoothing);
  odd_real(&problem.logit_scale);
  odd_real(&problem.softcap);
  odd_real(&problem.z_loss);
  odd_integer(&problem.expected_rows);
  odd_integer(&problem.alignment);
  return problem;
}

static int is_softmax(const xent_problem* problem) {
  return problem->operation == XENT_OPERATION_SOFTMAX ||
         problem->operation == XENT_OPERATION_LOG_SOFTMAX;
}

static xent_args random_args(const xent_problem* problem) {
  const uint32_t outputs = problem->outputs == 0 ? 1 : problem->outputs;
  xent_args args = xent_args_default();
  args.outer = (int64_t)random_below(3);
  odd_integer(&args.outer);
  odd_integer(&args.inner);
  args.logits = odd_pointer(inputs[0], 0);
  const int no_targets = is_softmax(problem) || problem->operation == XENT_OPERATION_ENTROPY;
  args.targets = odd_pointer(inputs[1], no_targets);
  if (random_below(4) == 0) odd_strides(args.logits_strides);
  if (random_below(4) == 0) odd_strides(args.target_strides);
  if (random_below(4) == 0) odd_strides(args.dlogits_strides);
  const int weights = (problem->flags & XENT_FLAG_CLASS_WEIGHTS) != 0;
  args.class_weights = odd_pointer(inputs[2], !weights);
  args.class_weights_count = weights ? problem->classes : 0;
  odd_integer(&args.class_weights_count);
  args.row_weights = odd_pointer(inputs[3], !(problem->flags & XENT_FLAG_ROW_WEIGHTS));
  args.element_weights = odd_pointer(inputs[5], !(problem->flags & XENT_FLAG_ELEMENT_WEIGHTS));
  if (odd()) odd_strides(args.element_weights_strides);
  args.pos_weights = odd_pointer(inputs[7], !(problem->flags & XENT_FLAG_POS_WEIGHTS));
  args.dloss = odd_pointer(inputs[4], random_below(2) == 0);
  odd_integer(&args.dloss_stride);
  if (odd()) odd_bits(&args.denominator_kind, 3);
  odd_real(&args.denominator_value);
  if (odd()) args.denominator_pointer = odd_pointer(inputs[5], 1);
  args.loss = odd_pointer(buffers[0], !(outputs & XENT_OUTPUT_LOSS));
  args.lse = odd_pointer(buffers[1], !(outputs & XENT_OUTPUT_LSE));
  args.stats = odd_pointer(buffers[2], !(outputs & XENT_OUTPUT_STATS));
  args.dlogits = odd_pointer(buffers[3], !(outputs & XENT_OUTPUT_DLOGITS));
  args.argmax = (int64_t*)odd_pointer(buffers[4], !(outputs & XENT_OUTPUT_ARGMAX));
  args.correct = (int64_t*)odd_pointer(buffers[5], !(outputs & XENT_OUTPUT_CORRECT));
  args.entropy = odd_pointer(buffers[6], !(outputs & XENT_OUTPUT_ENTROPY));
  args.output = odd_pointer(buffers[7], !(outputs & XENT_OUTPUT_OUTPUT));
  if (odd()) odd_strides(args.output_strides);
  if ((problem->flags & XENT_FLAG_IN_PLACE) && random_below(4) != 0) {
    *(is_softmax(problem) ? &args.output : &args.dlogits) = buffers[3];
    args.logits = buffers[3];
  }
  if (odd()) args.report = odd_pointer(inputs[7], 0);
  args.workspace = workspace;
  args.workspace_size = kWorkspace;
  if (odd()) args.workspace = odd_pointer((char*)args.workspace, 0);
  if (odd()) args.workspace_size = (size_t)random_below(512);
  if (odd()) args.reserved = (uint32_t)random_below(2);
  return args;
}

static xent_backward_args as_backward(const xent_problem* problem, const xent_args* args) {
  const int softmax = is_softmax(problem);
  xent_backward_args backward = xent_backward_args_default();
  backward.outer = args->outer;
  backward.inner = args->inner;
  backward.logits = odd_pointer((char*)(uintptr_t)args->logits, softmax);
  backward.targets = args->targets;
  backward.output = odd_pointer(inputs[5], !softmax);
  backward.doutput = odd_pointer(inputs[7], !softmax);
  backward.class_weights = args->class_weights;
  backward.class_weights_count = args->class_weights_count;
  backward.row_weights = args->row_weights;
  backward.dloss = args->dloss;
  backward.dloss_stride = args->dloss_stride;
  backward.denominator_kind = args->denominator_kind;
  backward.denominator_value = args->denominator_value;
  backward.stats = odd_pointer(inputs[6], softmax);
  backward.dlogits = softmax ? odd_pointer(buffers[3], 0) : args->dlogits;
  backward.workspace = args->workspace;
  backward.workspace_size = args->workspace_size;
  memcpy(backward.logits_strides, args->logits_strides, sizeof args->logits_strides);
  memcpy(backward.target_strides, args->target_strides, sizeof args->target_strides);
  memcpy(backward.dlogits_strides, args->dlogits_strides, sizeof args->dlogits_strides);
  return backward;
}

/* A problem with its plan. */
typedef struct {
  xent_problem problem;
  xent_plan* plan;
} ready;

static xent_context *context, *on_cpu;
static ready known[kPlansOnGpu];
static int known_count;

/* A plan of a random problem, which may be refused; on a GPU, if it is not, one of a few. */
static xent_status random_plan(ready* out) {
  out->problem = random_problem();
  const xent_status status = xent_plan_create(on_cpu, &out->problem, &out->plan);
  if (!on_gpu(&where)) return status;
  if (status == XENT_STATUS_OK) xent_plan_destroy(out->plan);
  const int compiles = status == XENT_STATUS_OK && out->problem.logits_dtype != XENT_DTYPE_F64;
  if (!compiles || known_count < kPlansOnGpu) {
    const xent_status there = xent_plan_create(context, &out->problem, &out->plan);
    CHECK(there == (compiles || status != XENT_STATUS_OK ? status : XENT_STATUS_UNSUPPORTED));
    if (compiles) known[known_count++] = *out;
    return there;
  }
  *out = known[random_below(kPlansOnGpu)];
  return XENT_STATUS_OK;
}

int main(int argc, char** argv) {
  long accepted[4] = {0, 0, 0, 0}, refused[4] = {0, 0, 0, 0};
  where = device_of(argc, argv);
  const int calls = on_gpu(&where) ? kCallsOnGpu : kCalls;
  xent_context_options options = options_on(&where);
  options.threads = 1;
  CHECK_OK(xent_context_create(&options, &context));
  options = xent_context_options_default();
  options.device = XENT_DEVICE_CPU;
  options.threads = 1;
  CHECK_OK(xent_context_create(&options, &on_cpu));
  char* memory = (char*)make(&where, kWorkspace + XENT_WORKSPACE_ALIGNMENT);
  workspace = (char*)align(memory);
  for (int i = 0; i < kBuffers; ++i) {
    inputs[i] = (char*)make(&where, kBytes);
    buffers[i] = (char*)make(&where, kBytes);
  }
  for (int i = 0; i < calls; ++i) {
    ready one;
    xent_status status = random_plan(&one);
    ++*(status == XENT_STATUS_OK ? &accepted[0] : &refused[0]);
    CHECK(status != XENT_STATUS_INTERNAL);
    if (status != XENT_STATUS_OK) continue;

    xent_args args = random_args(&one.problem);
    xent_backward_args backward = as_backward(&one.problem, &args);
    for (int back = 0; back < 3; ++back) {
      fill(inputs, 0);
      fill(buffers, 1);
      if (back == 2) backward.ddlogits = odd_pointer(inputs[5], 0);
      if (back == 2 && random_below(2)) backward.dlogits = buffers[3];
      status = back == 0   ? xent_run(one.plan, &args)
               : back == 1 ? xent_backward(one.plan, &backward)
                           : xent_double_backward(one.plan, &backward);
      ++*(status == XENT_STATUS_OK ? &accepted[1 + back] : &refused[1 + back]);
      if (status == XENT_STATUS_INTERNAL || status == XENT_STATUS_CUDA) {
        fprintf(stderr, "%s\n", xent_last_error());
        exit(1);
      }
      if (status != XENT_STATUS_OK) CHECK(is_full_of(buffers, 1));
    }
    if (!on_gpu(&where)) xent_plan_destroy(one.plan);
  }
  for (int i = 0; i < known_count; ++i) xent_plan_destroy(known[i].plan);
  for (int i = 0; i < kBuffers; ++i) {
    drop(&where, inputs[i]);
    drop(&where, buffers[i]);
  }
  drop(&where, memory);
  xent_context_destroy(context);
  xent_context_destroy(on_cpu);
  close_device(&where);
  for (int i = 0; i < 4; ++i) {
    CHECK(accepted[i] > calls / 200 && refused[i] > calls / 200);
    printf("%ld accepted, %ld refused\n", accepted[i], refused[i]);
  }
  return 0;
}
