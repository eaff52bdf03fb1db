/* Every operation that has a loss of each element, with weights, upstream gradients, reductions and
 * in place: losses and gradients against the formulas in double. With u = 2^-24 they are off by at
 * most 8 u of the magnitudes of their terms, before a gradient is rounded to its type.
 */
#include "bounds.h"

enum { kRows = 5, kClasses = 7, kCount = kRows * kClasses, kTypes = 3, kSettings = 6 };

static const xent_dtype kType[kTypes] = {XENT_DTYPE_F32, XENT_DTYPE_F16, XENT_DTYPE_BF16};

/* A problem, its kind of targets, and what it has a use for. */
typedef struct {
  const char* name;
  xent_preset preset;
  enum { kNothing, kIndices, kNumbers, kLogarithms } targets;
  double clip; /* a range, if not 0 */
  int of_elements;
} operation;

static const operation kOperations[] = {
    {"nll_loss", XENT_PRESET_NLL_LOSS, kIndices, 0, 0},
    {"nll_loss of probabilities", XENT_PRESET_NLL_LOSS, kNumbers, 0, 0},
    {"cross entropy of classes", XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, kIndices, 0, 0},
    {"cross entropy of distributions", XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, kNumbers, 0, 0},
    {"clipped cross entropy", XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, kNumbers, 0.25, 0},
    {"binary cross entropy of logits", XENT_PRESET_BCE_WITH_LOGITS, kNumbers, 0, 1},
    {"binary cross entropy", XENT_PRESET_BCE, kNumbers, 0, 1},
    {"clipped binary cross entropy", XENT_PRESET_BCE, kNumbers, 0.25, 1},
    {"kl_div", XENT_PRESET_KL_DIV, kNumbers, 0, 1},
    {"kl_div of logarithms", XENT_PRESET_KL_DIV, kLogarithms, 0, 1},
    {"entropy", XENT_PRESET_ENTROPY, kNothing, 0, 0},
};

/* What a run reads, as it is after rounding. */
typedef struct {
  double x[kCount], q[kCount];
  int64_t y[kRows];
  double class_weights[kClasses], row_weights[kRows], element_weights[kCount];
  double pos_weights[kClasses], dloss[kCount];
} inputs;

static void draw(inputs* to, const operation* of, xent_form input, xent_dtype dtype) {
  const xent_dtype f32 = XENT_DTYPE_F32;
  fill(to->x, kCount, 0.02, 0.98, dtype);
  if (input == XENT_FORM_LOGITS) fill(to->x, kCount, -9, 9, dtype);
  if (input == XENT_FORM_LOG_PROBABILITIES) fill(to->x, kCount, -8, 0, dtype);
  fill(to->q, kCount, 0, 1, f32);
  to->q[3] = 0;
  to->q[4] = 1;
  if (of->targets == kLogarithms) fill(to->q, kCount, -8, 0, f32);
  for (int row = 0; row < kRows; ++row) to->y[row] = row * 3 % kClasses;
  fill(to->class_weights, kClasses, 0.5, 2, f32);
  fill(to->row_weights, kRows, 0.5, 2, f32);
  fill(to->element_weights, kCount, -1, 2, f32);
  fill(to->pos_weights, kClasses, 0.25, 4, f32);
  fill(to->dloss, kCount, -2, 2, f32);
}

/* The loss of an element and its derivative, with the magnitudes that they are made of. */
typedef struct {
  double loss, size, slope, steep;
} term;

/* -log p and its derivative by p, clipped. */
static term surprisal(const xent_problem* problem, double p) {
  const double e = problem->clip == XENT_CLIP_RANGE ? problem->clip_value : 0;
  if (p < e) return (term){-log(e), -log(e), 0, 0};
  if (p > 1 - e) return (term){-log(1 - e), -log(1 - e), 0, 0};
  return (term){-log(p), -log(p), -1 / p, 1 / p};
}

/* Both parts of a binary cross entropy: q of them is positive, with the weight v. */
static term both(term positive, term negative, double q, double v) {
  const term sum = {v * q * positive.loss + (1 - q) * negative.loss,
                    v * q * positive.size + (1 - q) * negative.size,
                    v * q * positive.slope - (1 - q) * negative.slope,
                    v * q * positive.steep + (1 - q) * negative.steep};
  return sum;
}

static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* x log x. */
static double times_log(double x) { return x == 0 ? 0 : x * log(x); }

static term term_of(const xent_problem* problem, double x, double q, double v) {
  const int of_logarithms = problem->input == XENT_FORM_LOG_PROBABILITIES;
  const term l = of_logarithms ? (term){-x, -x, -1, 1} : surprisal(problem, x);
  switch (problem->operation) {
    case XENT_OPERATION_BINARY_CROSS_ENTROPY:
      if (problem->input == XENT_FORM_LOGITS) {
        const term positive = {softplus(-x), softplus(-x), -sigmoid(-x), sigmoid(-x)};
        const term negative = {softplus(x), softplus(x), -sigmoid(x), sigmoid(x)};
        return both(positive, negative, q, v);
      }
      return both(l, surprisal(problem, 1 - x), q, v);
    case XENT_OPERATION_KL_DIVERGENCE:
      if ((problem->flags & XENT_FLAG_LOG_TARGETS) != 0) {
        return (term){exp(q) * (q + l.loss), exp(q) * (l.size - 2 * q), exp(q) * l.slope,
                      exp(q) * l.steep};
      }
      return (term){times_log(q) + q * l.loss, q * l.size - times_log(q), q * l.slope, q * l.steep};
    case XENT_OPERATION_ENTROPY:
      return (term){x * l.loss, x * l.size, l.loss - 1, l.size + 1};
    default:
      return (term){q * l.loss, q * l.size, q * l.slope, q * l.steep};
  }
}

/* The factor of all losses, by which their sum becomes the result. */
static double scale_of(const operation* of, const job* it) {
  double sum = 0;
  if (it->problem.reduction != XENT_REDUCTION_MEAN) return 1;
  if (of->of_elements) return 1.0 / kCount;
  if (it->y == NULL) return 1.0 / kRows;
  for (int row = 0; row < kRows; ++row) {
    sum += (it->class_weights == NULL ? 1 : it->class_weights[it->y[row]]) *
           (it->row_weights == NULL ? 1 : it->row_weights[row]);
  }
  return 1 / sum;
}

static double upstream(const job* it, int element) {
  if (it->dloss == NULL) return 1;
  if (it->dloss_stride == 0) return it->dloss[0];
  return it->dloss[losses(it) == kCount ? element : element / kClasses];
}

static void check(const operation* of, const job* it) {
  const results found = run_job(*it);
  const double scale = scale_of(of, it);
  const int per_loss = kCount / losses(it);
  const xent_dtype dlogits = or_logits_type(it, it->problem.dlogits_dtype);
  double loss[kCount] = {0}, size[kCount] = {0};
  for (int at = 0; at < kCount; ++at) {
    const int row = at / kClasses, class = at % kClasses;
    const double q = it->q != NULL ? it->q[at] : it->y != NULL && it->y[row] == class ? 1 : 0;
    const term t =
        term_of(&it->problem, it->x[at], q, it->pos_weights == NULL ? 1 : it->pos_weights[class]);
    const double weight = (it->class_weights == NULL ? 1 : it->class_weights[class]) *
                          (it->row_weights == NULL ? 1 : it->row_weights[row]) *
                          (it->element_weights == NULL ? 1 : it->element_weights[at]) * scale;
    loss[at / per_loss] += weight * t.loss;
    size[at / per_loss] += fabs(weight) * t.size;
    const double pull = weight * upstream(it, at);
    near(found.dlogits[at], pull * t.slope, 8 * kU * fabs(pull) * t.steep, dlogits, of->name, at);
  }
  for (int at = 0; at < losses(it); ++at) {
    near(found.loss[at], loss[at], 8 * kU * size[at], XENT_DTYPE_F32, of->name, at);
  }
}

/* Settings, of which some are those of operations on elements alone. */
static int set(job* it, const operation* of, const inputs* in, int setting) {
  xent_problem* problem = &it->problem;
  const int is_binary = problem->operation == XENT_OPERATION_BINARY_CROSS_ENTROPY;
  problem->reduction = XENT_REDUCTION_MEAN;
  switch (setting) {
    case 0: /* one upstream gradient */
      it->dloss = in->dloss;
      return 1;
    case 1: /* one for each row, and weights */
      problem->reduction = XENT_REDUCTION_NONE;
      it->class_weights = in->class_weights;
      it->row_weights = in->row_weights;
      it->dloss = in->dloss;
      it->dloss_stride = 1;
      return 1;
    case 2: /* one for each element, and its weights */
      problem->reduction = XENT_REDUCTION_ELEMENTS;
      it->element_weights = in->element_weights;
      it->dloss = in->dloss;
      it->dloss_stride = 1;
      return of->of_elements;
    case 3: /* weights of the positive part */
      it->pos_weights = in->pos_weights;
      it->element_weights = in->element_weights;
      return is_binary;
    case 4:
      problem->reduction = XENT_REDUCTION_SUM;
      problem->flags |= XENT_FLAG_IN_PLACE;
      return 1;
    default:
      problem->dlogits_dtype = XENT_DTYPE_F32;
      it->class_weights = in->class_weights;
      return 1;
  }
}

int main(int argc, char** argv) {
  int count = 0;
  open_context(argc, argv);
  for (size_t i = 0; i < sizeof kOperations / sizeof *kOperations; ++i) {
    const operation* of = &kOperations[i];
    for (int turn = 0; turn < kTypes * kSettings; ++turn) {
      const xent_dtype dtype = kType[turn % kTypes];
      inputs in;
      job it;
      memset(&it, 0, sizeof it);
      it.problem = xent_problem_default();
      CHECK_OK(xent_problem_preset(of->preset, dtype, kClasses, &it.problem));
      draw(&in, of, it.problem.input, dtype);
      it.problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_DLOGITS;
      if (of->targets == kLogarithms) it.problem.flags |= XENT_FLAG_LOG_TARGETS;
      if (of->clip != 0) {
        it.problem.clip = XENT_CLIP_RANGE;
        it.problem.clip_value = of->clip;
      }
      it.rows = kRows;
      it.x = in.x;
      if (of->targets == kIndices) it.y = in.y;
      if (of->targets == kNumbers || of->targets == kLogarithms) it.q = in.q;
      if (!set(&it, of, &in, turn / kTypes)) continue;
      check(of, &it);
      ++count;
    }
  }
  close_context();
  CHECK(count == 156);
  return 0;
}
