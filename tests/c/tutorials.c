/* The numbers that well-known cross-entropy tutorials print, one test for each row of the project's
 * list of them: here those that go from logits and vectors to losses, their gradients and
 * entropies. Comments say where a tutorial erred.
 */
#include "lesson.h"

static const int64_t kTargets[2] = {0, 2};
static const double kOneHot[6] = {1, 0, 0, 0, 0, 1};
/* The softmax of the running example. */
static const double kP[6] = {0.0900305732, 0.2447284711, 0.6652409558,
                             0.01587624,   0.1173104278, 0.8668133322};

/* The text types the last number as .8868, with which the row adds up to 1.02. */
static void row_1_softmax_of_rows(void) {
  job it = lesson(XENT_PRESET_SOFTMAX, 2, 3, kX);
  EXPECT(it, output, 1e-8, 1e-6, kP[0], kP[1], kP[2], kP[3], kP[4], kP[5]);
  const results apart = run_in(it, XENT_DTYPE_F32);
  it.problem.flags |= XENT_FLAG_IN_PLACE;
  const results in_place = run_in(it, XENT_DTYPE_F32);
  CHECK(memcmp(apart.output, in_place.output, 6 * sizeof *apart.output) == 0);
}

/* "log(0.6652) = -0.1429" is log(.8668); "log(0.09) = -2.4079" is the logarithm of .0900305732. */
static void row_2_logarithm_of_the_softmax(void) {
  const job it = lesson(XENT_PRESET_LOG_SOFTMAX, 2, 3, kX);
  EXPECT(it, output, 1e-10, 1e-6, -2.40760596444, -1.40760596444, -0.40760596444, -4.1429316285,
         -2.1429316285, -0.1429316285);
}

/* Printed as 2.5505 (sum) and 1.2753 (mean), by a loop over one-hot rows, by a dot product, which
 * leaves the 1/N of the mean out, and from logits.
 */
static void row_3_cross_entropy_of_the_running_example(void) {
  const job softmax = lesson(XENT_PRESET_SOFTMAX, 2, 3, kX);
  const results p = run_in(softmax, on_gpu(&where) ? XENT_DTYPE_F32 : XENT_DTYPE_F64);
  const job by_loop =
      with_probabilities(lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 2, 3, p.output), kOneHot);
  const job from_logits = with_classes(lesson(XENT_PRESET_CROSS_ENTROPY, 2, 3, kX), kTargets);
  const job both[2] = {by_loop, from_logits};
  for (int i = 0; i < 2; ++i) {
    EXPECT(reduced(both[i], XENT_REDUCTION_NONE), loss, 1e-10, 1e-6, 2.40760596444, 0.1429316285);
    EXPECT(reduced(both[i], XENT_REDUCTION_SUM), loss, 1e-11, 1e-6, 2.55053759294);
    EXPECT(both[i], loss, 1e-11, 1e-6, 1.27526879647);
  }
}

static void row_4_one_hot_rows_of_indices(void) {
  double rows[6];
  CHECK_OK(xent_one_hot(2, 3, 1, kTargets, XENT_TARGET_I64, rows, XENT_DTYPE_F64, NULL));
  SAME(rows, 0, 1, 0, 0, 0, 0, 1);
}

/* Clipped to [1e-20, 1 - 1e-20], whose upper end rounds to 1 in every type: a certain one loses no
 * more than what is clipped. 1e-20 is no number of f16, and does not become one.
 */
static void row_5_probabilities_clipped_at_1e_20(void) {
  const double p[4] = {0, 1, 1, 0};
  const int64_t y[2] = {0, 0};
  const xent_dtype types[3] = {XENT_DTYPE_F32, XENT_DTYPE_F16, XENT_DTYPE_F64};
  job it = with_classes(lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 2, 2, p), y);
  it = reduced(clipped(it, XENT_CLIP_RANGE, 1e-20), XENT_REDUCTION_NONE);
  for (int i = 0; i < (on_gpu(&where) ? 2 : 3); ++i) {
    const results found = run_in(it, types[i]);
    SAME(found.loss, types[i] == XENT_DTYPE_F64 ? 1e-11 : 1e-6, 46.0517018599);
    CHECK(found.loss[1] >= 0 && found.loss[1] <= 1.01e-20);
  }
}

/* The docstring has .71355817782; its own example fails the assertion of a shape (1, n). */
static void row_6_categorical_cross_entropy_clipped_at_1e_12(void) {
  const double p[8] = {0.25, 0.25, 0.25, 0.25, 0.01, 0.01, 0.01, 0.96};
  const double q[8] = {0, 0, 0, 1, 0, 0, 0, 1};
  const job it = lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 2, 4, p);
  EXPECT(clipped(with_probabilities(it, q), XENT_CLIP_RANGE, 1e-12), loss, 1e-15, 1e-6,
         0.7135581778200729);
}

/* Printed as .01005034. Rounded to f32, .99 is off by 1e-8, a millionth of this. */
static void row_7_binary_cross_entropy_of_elements(void) {
  const double p[2] = {0.01, 0.99}, q[2] = {0, 1};
  const job it = with_probabilities(lesson(XENT_PRESET_BCE, 1, 2, p), q);
  EXPECT(clipped(it, XENT_CLIP_RANGE, 1e-12), loss, 1e-9, 2e-6, 0.01005033585);
}

/* log(p + 1e-15): below 0 for p = 1, which is why it is nobody's default. The text takes
 * 1 log(1 + eps) for what grows without bound: that is log(0 + eps).
 */
static void row_8_logarithm_of_a_sum(void) {
  enum { kRows = 11 };
  const double p[kRows] = {1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0};
  double x[2 * kRows], q[2 * kRows];
  for (int i = 0; i < kRows; ++i) {
    x[2 * i] = 1 - p[i];
    x[2 * i + 1] = p[i];
    q[2 * i] = 0;
    q[2 * i + 1] = 1;
  }
  job it = lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, kRows, 2, x);
  it = clipped(with_probabilities(it, q), XENT_CLIP_ADD, 1e-15);
  it = reduced(it, XENT_REDUCTION_NONE);
  CHECK(run_in(it, XENT_DTYPE_F32).loss[0] == 0);
  if (!on_gpu(&where)) {
    const double of_certainty = run_in(it, XENT_DTYPE_F64).loss[0];
    CHECK(of_certainty < -0.9e-15 && of_certainty > -1.2e-15);
  }
  it.rows = kRows - 1;
  it.x = x + 2;
  EXPECT(it, loss, 1e-9, 1e-6, 0.1053605157, 0.2231435513, 0.3566749439, 0.5108256238, 0.6931471806,
         0.9162907319, 1.2039728043, 1.6094379124, 2.302585093, 34.5387763949);
}

/* -sum(p log q) of vectors that are no distributions. */
static void row_9_vectors_that_do_not_add_up_to_1(void) {
  const double p[6] = {5, 1, 4, 6, 2, 4};
  const double q[18] = {5, 1, 4, 6, 2, 4, 3, 7, 1, 4, 1, 6, 2, 5, 7, 2, 1, 5};
  const double exact[3] = {-31.27439562761785, -22.923775636027425, -23.455449144551153};
  for (int i = 0; i < 3; ++i) {
    const job it = lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 1, 6, q + 6 * i);
    EXPECT(with_probabilities(it, p), loss, 1e-15, 1e-6, exact[i]);
  }
}

/* Of ten random probabilities only the loss of class 4 was kept: the others share the rest. */
static void ten_classes(double* q) {
  for (int i = 0; i < 10; ++i) q[i] = (1 - exp(-2.79778871)) / 9;
  q[4] = exp(-2.79778871);
}

static void row_10_mask_of_a_one_hot_row(void) {
  double q[10];
  const double p[10] = {0, 0, 0, 0, 1, 0, 0, 0, 0, 0};
  ten_classes(q);
  const job it = lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 1, 10, q);
  EXPECT(with_probabilities(it, p), loss, 1e-14, 1e-6, 2.79778871);
}

/* That of class 4 becomes 20, and all are divided by their sum. Printed as .99776266 with the
 * loss .00223984, which is what the cell leaves behind when it is run twice. Once is .0458838172.
 */
static void row_11_divided_by_their_sum(void) {
  double q[10], sum = 20;
  const int64_t y = 4;
  ten_classes(q);
  q[4] = 20;
  job it = with_classes(lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 1, 10, q), &y);
  it.problem.renormalise = XENT_RENORMALISE_BEFORE_CLIP;
  EXPECT(it, loss, 2e-8, 3e-6, 0.0458838172);
  for (int i = 0; i < 10; ++i) sum += i == 4 ? 0 : q[i];
  for (int i = 0; i < 10; ++i) q[i] /= sum;
  q[4] = 20;
  EXPECT(it, loss, 2e-7, 3e-5, 0.0022398433);
}

/* Rows of ten classes with these losses: the others share the rest. */
static void rows_of_losses(const double* losses, const int64_t* classes, double* p) {
  for (int row = 0; row < 4; ++row) {
    for (int i = 0; i < 10; ++i) p[10 * row + i] = -expm1(-losses[row]) / 9;
    p[10 * row + classes[row]] = exp(-losses[row]);
  }
}

/* Printed as 8.579134447144245, from more digits of the probabilities. */
static void row_12_sum_over_a_batch_of_probabilities(void) {
  const double rows[4] = {1.9936551146, 2.0243369555, 1.7886442466, 2.7724981663};
  const int64_t y[4] = {4, 2, 8, 6};
  double p[40];
  rows_of_losses(rows, y, p);
  const job it = with_classes(lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 4, 10, p), y);
  EXPECT(reduced(it, XENT_REDUCTION_NONE), loss, 1e-12, 1e-6, rows[0], rows[1], rows[2], rows[3]);
  EXPECT(reduced(it, XENT_REDUCTION_SUM), loss, 1e-10, 1e-6, 8.579134483);
}

/* Printed as 52.91274203723633, from more digits of the logits. As there, the one-hot rows are f32,
 * the logits and the loss f64. The text forgets a logarithm, and sums from 0.
 */
static void row_13_f32_probabilities_with_f64_logits(void) {
  const double rows[4] = {7.2046473349, 18.5716079157, 9.740683067, 17.3958036914};
  const int64_t y[4] = {4, 2, 8, 6};
  double x[40], q[40];
  rows_of_losses(rows, y, x);
  for (int i = 0; i < 40; ++i) x[i] = log(x[i]);
  CHECK_OK(xent_one_hot(4, 10, 1, y, XENT_TARGET_I64, q, XENT_DTYPE_F64, NULL));
  job it = with_probabilities(lesson(XENT_PRESET_CROSS_ENTROPY, 4, 10, x), q);
  it.q_type = XENT_DTYPE_F32;
  EXPECT(reduced(it, XENT_REDUCTION_NONE), loss, 1e-12, 1e-6, rows[0], rows[1], rows[2], rows[3]);
  EXPECT(reduced(it, XENT_REDUCTION_SUM), loss, 1e-10, 1e-6, 52.912742009);
}

/* The logits were not kept: the printed gradient is (p - onehot) / 3, and holds them up to a shift.
 * The comment there says probabilities where the code has indices, and a single sample of three.
 */
static void row_14_mean_and_gradient_of_random_logits(void) {
  const int64_t y[3] = {1, 0, 4};
  const double gradient[15] = {0.096222,    -0.29213252, 0.04059959, 0.04753461, 0.10777632,
                               -0.29011908, 0.04527117,  0.07345481, 0.0716627,  0.09973039,
                               0.08815466,  0.04518625,  0.08151547, 0.03357537, -0.24843175};
  double x[15];
  for (int i = 0; i < 15; ++i) x[i] = log(3 * gradient[i] + (y[i / 5] == i % 5 ? 1 : 0));
  job it = with_classes(lesson(XENT_PRESET_CROSS_ENTROPY, 3, 5, x), y);
  it.problem.outputs |= XENT_OUTPUT_DLOGITS;
  EXPECT(reduced(it, XENT_REDUCTION_NONE), loss, 2e-7, 1e-6, 2.09068499, 2.04297255, 1.36765021);
  EXPECT(it, loss, 2e-7, 1e-6, 1.83376924937);
  const results of_f32 = run_in(it, XENT_DTYPE_F32);
  same_digits(of_f32.dlogits, gradient, 15, 3e-6, __FILE__, __LINE__);
}

/* Labels divided by their number, mean over rows; the gradient is (p - y / k) / N. */
static void row_15_several_labels_of_a_row(void) {
  const uint8_t labels[6] = {1, 0, 1, 0, 1, 1};
  double q[6];
  CHECK_OK(xent_distributions(2, 3, 1, labels, XENT_TARGET_U8, NULL, q, XENT_DTYPE_F64, NULL));
  job it = with_probabilities(lesson(XENT_PRESET_CROSS_ENTROPY, 2, 3, kX), q);
  it.problem.outputs |= XENT_OUTPUT_DLOGITS;
  EXPECT(reduced(it, XENT_REDUCTION_NONE), loss, 1e-10, 1e-6, (2.40760596444 + 0.40760596444) / 2,
         (2.1429316285 + 0.1429316285) / 2);
  EXPECT(it, dlogits, 1e-8, 1e-6, (kP[0] - 0.5) / 2, kP[1] / 2, (kP[2] - 0.5) / 2, kP[3] / 2,
         (kP[4] - 0.5) / 2, (kP[5] - 0.5) / 2);
}

/* Categorical and sparse labels are the same bits. Classes count from 0: the sparse labels "1, 2,
 * 3" of the text belong to no three classes.
 */
static void row_16_one_hot_and_sparse_labels(void) {
  const job both[2] = {lesson(XENT_PRESET_CROSS_ENTROPY, 2, 3, kX),
                       lesson(XENT_PRESET_KERAS_CATEGORICAL_CROSSENTROPY, 2, 3, kP)};
  const xent_dtype types[2] = {XENT_DTYPE_F32, XENT_DTYPE_F64};
  for (int i = 0; i < 4; ++i) {
    job it = both[i % 2];
    if (types[i / 2] == XENT_DTYPE_F64 && on_gpu(&where)) continue;
    it.problem.outputs |= XENT_OUTPUT_DLOGITS;
    const results sparse = run_in(with_classes(it, kTargets), types[i / 2]);
    const results one_hot = run_in(with_probabilities(it, kOneHot), types[i / 2]);
    CHECK(sparse.loss[0] == one_hot.loss[0]);
    CHECK(memcmp(sparse.dlogits, one_hot.dlogits, 6 * sizeof *sparse.dlogits) == 0);
  }
}

/* The text prints nothing; Keras has .72060096 in f32. */
static void row_17_binary_cross_entropy_of_keras(void) {
  const double p[4] = {0.5, 0.4, 0.6, 0.3}, q[4] = {0, 1, 0, 0};
  const job it = with_probabilities(lesson(XENT_PRESET_KERAS_BINARY_CROSSENTROPY, 2, 2, p), q);
  EXPECT(reduced(it, XENT_REDUCTION_ROW_MEAN), loss, 1e-9, 1e-6, 0.8047189562, 0.6364828379);
  EXPECT(it, loss, 1e-14, 1e-6, 0.7206008970617469);
}

/* H of a fair coin, of a sure outcome, of three; H(p, q) = H(p) + KL(p || q). The text lacks the
 * formula of the entropy.
 */
static void row_18_entropy_and_divergence(void) {
  const double coin[4] = {0.5, 0.5, 1, 0};
  job it = lesson(XENT_PRESET_ENTROPY, 2, 2, coin);
  EXPECT(it, loss, 1e-9, 1e-6, 0.6931471806, 0);
  it.problem.unit = XENT_UNIT_BITS;
  EXPECT(it, loss, 1e-15, 1e-6, 1, 0);

  const double p[3] = {0.7, 0.2, 0.1}, q[3] = {0.25, 0.25, 0.5};
  const double log_q[3] = {log(0.25), log(0.25), log(0.5)};
  const double cross = (0.9 * 2 + 0.1) * log(2);
  EXPECT(lesson(XENT_PRESET_ENTROPY, 1, 3, p), loss, 1e-9, 1e-6, 0.8018185525);
  EXPECT(with_probabilities(lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 1, 3, q), p), loss, 1e-15,
         1e-6, cross);
  it = with_probabilities(lesson(XENT_PRESET_KL_DIV, 1, 3, log_q), p);
  EXPECT(reduced(it, XENT_REDUCTION_SUM), loss, 1e-9, 1e-6, cross - 0.8018185525);
}

int main(int argc, char** argv) {
  open_context(argc, argv);
  row_1_softmax_of_rows();
  row_2_logarithm_of_the_softmax();
  row_3_cross_entropy_of_the_running_example();
  row_4_one_hot_rows_of_indices();
  row_5_probabilities_clipped_at_1e_20();
  row_6_categorical_cross_entropy_clipped_at_1e_12();
  row_7_binary_cross_entropy_of_elements();
  row_8_logarithm_of_a_sum();
  row_9_vectors_that_do_not_add_up_to_1();
  row_10_mask_of_a_one_hot_row();
  row_11_divided_by_their_sum();
  row_12_sum_over_a_batch_of_probabilities();
  row_13_f32_probabilities_with_f64_logits();
  row_14_mean_and_gradient_of_random_logits();
  row_15_several_labels_of_a_row();
  row_16_one_hot_and_sparse_labels();
  row_17_binary_cross_entropy_of_keras();
  row_18_entropy_and_divergence();
  close_context();
  return 0;
}
