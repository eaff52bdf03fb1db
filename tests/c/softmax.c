/* The softmax and its logarithm with their backward, and the double backward of a cross entropy,
 * against the formulas in double. With u = 2^-24, t the distance of a logit from the largest one, q
 * the softmax without one maximum, and T the mean of t in it:
 *
 * a softmax is off by u p (8 + 2.5 (t + T q)), its logarithm by u ((6 + 1.5 T) q + 3 |log p|);
 * a backward is off by 8 u of the magnitudes of its terms, a double backward by what p is, in each
 * of its factors.
 */
#include "bounds.h"

enum { kRows = 4, kClasses = 9, kCount = kRows * kClasses, kTypes = 3 };

static const xent_dtype kType[kTypes] = {XENT_DTYPE_F32, XENT_DTYPE_F16, XENT_DTYPE_BF16};

/* The softmax of a row, and what its bounds are made of. */
typedef struct {
  double p[kClasses], log_p[kClasses], t[kClasses], q, mean, lse;
} row_of_p;

static row_of_p softmax(const double* x, double scale) {
  row_of_p row;
  double largest = scale * x[0], sum = 0, moment = 0;
  for (int i = 1; i < kClasses; ++i) largest = fmax(largest, scale * x[i]);
  for (int i = 0; i < kClasses; ++i) {
    row.t[i] = largest - scale * x[i];
    sum += exp(-row.t[i]);
    moment += row.t[i] * exp(-row.t[i]);
  }
  for (int i = 0; i < kClasses; ++i) {
    row.log_p[i] = -row.t[i] - log(sum);
    row.p[i] = exp(row.log_p[i]);
  }
  row.q = (sum - 1) / sum;
  row.mean = moment / (sum - 1);
  row.lse = largest + log(sum);
  return row;
}

static void check_output(const job* it, const results* found, xent_dtype output) {
  const int is_logarithm = it->problem.operation == XENT_OPERATION_LOG_SOFTMAX;
  const double k = it->problem.logit_scale;
  for (int at = 0; at < kCount; ++at) {
    const int i = at % kClasses;
    const row_of_p row = softmax(it->x + at - i, k);
    const double of_p = (8 + 2.5 * (row.t[i] + row.mean * row.q)) * row.p[i];
    const double of_log = (6 + 1.5 * row.mean) * row.q - 3 * row.log_p[i];
    near(found->output[at], is_logarithm ? row.log_p[i] : row.p[i],
         kU * (is_logarithm ? of_log : of_p), output, "output", at);
  }
}

/* From the output that was found: y (g - sum(g y)), and of the logarithm g - exp(y) sum(g). */
static void check_backward(const job* it, const results* found, xent_dtype dlogits) {
  const int is_logarithm = it->problem.operation == XENT_OPERATION_LOG_SOFTMAX;
  const double k = it->problem.logit_scale;
  for (int at = 0; at < kCount; ++at) {
    const double *y = found->output + at - at % kClasses, *g = it->doutput + at - at % kClasses;
    const int own = at % kClasses;
    double sum = 0, size = 0;
    for (int i = 0; i < kClasses; ++i) {
      const double term = g[i] * (is_logarithm ? 1 : y[i]);
      sum += term;
      size += fabs(term);
    }
    const double p = is_logarithm ? exp(y[own]) : y[own];
    const double alone = is_logarithm ? 1 : p;
    near(found->dlogits[at], k * (alone * g[own] - p * sum),
         8 * kU * fabs(k) * (alone * fabs(g[own]) + p * size), dlogits, "gradient", at);
  }
}

static void test_softmax(xent_preset preset, xent_dtype dtype, double scale, int setting) {
  double x[kCount], g[kCount];
  job it;
  memset(&it, 0, sizeof it);
  it.problem = xent_problem_default();
  CHECK_OK(xent_problem_preset(preset, dtype, kClasses, &it.problem));
  it.problem.logit_scale = scale;
  if (setting == 1) it.problem.flags = XENT_FLAG_IN_PLACE;
  if (setting == 2) it.problem.output_dtype = it.problem.dlogits_dtype = XENT_DTYPE_F32;
  const xent_dtype wide = setting == 2 ? XENT_DTYPE_F32 : dtype;
  fill(x, kCount, -9, 9, dtype);
  fill(g, kCount, -2, 2, wide);
  it.rows = kRows;
  it.x = x;
  it.doutput = g;
  const results found = run_job(it);
  check_output(&it, &found, wide);
  check_backward(&it, &found, wide);
}

/* The mass that the loss of a row takes to log p: sum(u). */
static double mass_of(const job* it, int row) {
  const double s = it->problem.label_smoothing;
  double mass = 0;
  for (int i = 0; i < kClasses; ++i) {
    const double q = it->q != NULL ? it->q[row * kClasses + i] : it->y[row] == i;
    mass += it->class_weights[i] * ((1 - s) * q + s / kClasses);
  }
  return mass * it->row_weights[row];
}

/* The mean of class indices is over the weights of their classes. */
static double mean_of(const job* it) {
  double sum = 0;
  if (it->problem.reduction != XENT_REDUCTION_MEAN) return 1;
  if (it->q != NULL) return 1.0 / kRows;
  for (int row = 0; row < kRows; ++row) {
    sum += it->class_weights[it->y[row]] * it->row_weights[row];
  }
  return 1 / sum;
}

/* The Hessian of a row is (m + 2 a lse) (diag(p) - p p') + 2 a p p', with m its mass. */
static void check_double_backward(const job* it, const results* found, xent_dtype dlogits) {
  const double a = it->problem.z_loss,
               k = it->problem.logit_scale == 0 ? 1 : it->problem.logit_scale;
  for (int at = 0; at < kCount; ++at) {
    const int own = at % kClasses, row = at / kClasses;
    const double* v = it->ddlogits + at - own;
    const row_of_p of = softmax(it->x + at - own, k);
    const double upstream = it->dloss[it->dloss_stride * row] * mean_of(it) * k * k;
    const double curvature = mass_of(it, row) + 2 * a * of.lse;
    double sum = 0, size = 0, off_size = 0;
    for (int i = 0; i < kClasses; ++i) {
      const double off = 16 + 2.5 * (of.t[i] + 2 * of.mean * of.q);
      sum += of.p[i] * v[i];
      size += of.p[i] * fabs(v[i]);
      off_size += off * of.p[i] * fabs(v[i]);
    }
    const double exact = of.p[own] * (curvature * (v[own] - sum) + 2 * a * sum);
    const double off = 16 + 2.5 * (of.t[own] + 2 * of.mean * of.q);
    const double steep = fabs(mass_of(it, row)) + 4 * a * (fabs(of.lse) + 1);
    const double bound = of.p[own] * steep * (off * (fabs(v[own]) + size) + off_size);
    near(found->dlogits[at], upstream * exact, kU * fabs(upstream) * bound, dlogits, "product", at);
  }
}

static void test_double_backward(xent_dtype dtype, int setting) {
  double x[kCount], q[kCount], v[kCount], class_weights[kClasses], row_weights[kRows], dloss[kRows];
  const int64_t y[kRows] = {8, 0, 3, 3};
  job it;
  memset(&it, 0, sizeof it);
  it.problem = xent_problem_default();
  CHECK_OK(xent_problem_preset(XENT_PRESET_CROSS_ENTROPY, dtype, kClasses, &it.problem));
  it.problem.outputs = XENT_OUTPUT_STATS;
  fill(x, kCount, -9, 9, dtype);
  fill(q, kCount, 0, 1, XENT_DTYPE_F32);
  fill(v, kCount, -2, 2, dtype);
  fill(class_weights, kClasses, 0.5, 2, XENT_DTYPE_F32);
  fill(row_weights, kRows, 0.5, 2, XENT_DTYPE_F32);
  fill(dloss, kRows, -2, 2, XENT_DTYPE_F32);
  it.rows = kRows;
  it.x = x;
  it.ddlogits = v;
  it.class_weights = class_weights;
  it.row_weights = row_weights;
  it.dloss = dloss;
  if (setting == 1) {
    it.q = q;
  } else {
    it.y = y;
  }
  if (setting == 2) {
    it.problem.reduction = XENT_REDUCTION_NONE;
    it.problem.z_loss = 0.01;
    it.problem.logit_scale = -0.5;
    it.dloss_stride = 1;
  }
  if (setting == 3) it.problem.label_smoothing = 0.1;
  const results found = run_job(it);
  check_double_backward(&it, &found, dtype);
}

int main(int argc, char** argv) {
  open_context(argc, argv);
  for (int turn = 0; turn < 3 * kTypes; ++turn) {
    const double scale = turn % 2 == 0 ? 1 : -0.7;
    test_softmax(XENT_PRESET_SOFTMAX, kType[turn % kTypes], scale, turn / kTypes);
    test_softmax(XENT_PRESET_LOG_SOFTMAX, kType[turn % kTypes], scale, turn / kTypes);
  }
  for (int turn = 0; turn < 4 * kTypes; ++turn) {
    test_double_backward(kType[turn % kTypes], turn / kTypes);
  }
  close_context();
  return 0;
}
