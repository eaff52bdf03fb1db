/* The numbers that well-known cross-entropy tutorials print, one test for each row of the project's
 * list of them: here those that compare a computation by hand with scikit-learn, Keras and PyTorch.
 * Comments say where a tutorial erred.
 */
#include "lesson.h"

/* The two samples of the comparison with other libraries, of classes 2 and 1. */
static const double kProbabilities[6] = {0.3, 0.7, 0, 0.5, 0.2, 0.3};
static const double kOneHot[6] = {0, 0, 1, 0, 1, 0};
static const int64_t kClasses[2] = {2, 1};

/* Cross entropy of so many samples of three, against one-hot rows. */
static job samples(xent_preset preset, int64_t rows) {
  return with_probabilities(lesson(preset, rows, 3, kProbabilities), kOneHot);
}

static job samples_clipped_at_1e_15(int64_t rows) {
  return clipped(samples(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, rows), XENT_CLIP_RANGE, 1e-15);
}

/* A preset whose clip is that of the type of its probabilities, in this type. */
static double loss_in(xent_preset preset, xent_dtype dtype, int64_t rows) {
  job it = samples(preset, rows);
  CHECK_OK(xent_problem_preset(preset, dtype, 3, &it.problem));
  return run_job(it).loss[0];
}

/* The table prints 0.1, .69 and 2.30, and cuts .9 off to .1. */
static void row_19_negative_log_likelihood_of_probabilities(void) {
  const double log_p[5] = {0, log(0.9), log(0.5), log(0.1), log(0.01)};
  const int64_t y[5] = {0, 0, 0, 0, 0};
  const job it = with_classes(lesson(XENT_PRESET_NLL_LOSS, 5, 1, log_p), y);
  EXPECT(reduced(it, XENT_REDUCTION_NONE), loss, 1e-9, 1e-6, 0, 0.1053605157, 0.6931471806,
         2.302585093, 4.605170186);
}

/* Printed as .8797142505645752, from more digits of the logits than were printed. The heading says
 * class indices; the target is one-hot.
 */
static void row_20_one_hot_probabilities(void) {
  const double x[5] = {-0.3838, -0.2113, 0.5376, -1.6915, -0.3022}, q[5] = {0, 0, 1, 0, 0};
  const job it = with_probabilities(lesson(XENT_PRESET_CROSS_ENTROPY, 1, 5, x), q);
  EXPECT(it, loss, 1e-10, 1e-6, 0.8797388035);
  EXPECT(it, loss, 5e-5, 5e-5, 0.8797142505645752);
}

static void row_21_a_single_sample(void) {
  const double p[2] = {0.5, 0.5}, q[2] = {0, 1};
  const job it = with_probabilities(lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 1, 2, p), q);
  EXPECT(it, loss, 1e-15, 1e-7, 0.6931471805599453);
}

/* And no NaN of the classes without a target. */
static void row_22_the_logarithm_of_0_is_infinite(void) {
  const job it = samples(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 1);
  EXPECT(it, loss, 0, 0, (double)INFINITY);
}

/* Clipped to [1e-15, 1 - 1e-15]: a certain one loses what is clipped. */
static void row_23_unless_probabilities_are_clipped(void) {
  EXPECT(samples_clipped_at_1e_15(1), loss, 1e-15, 1e-7, 34.538776394910684);
  const double p[2] = {0, 1}, q[2] = {0, 1};
  const job it = with_probabilities(lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 1, 2, p), q);
  const job of_certainty = clipped(it, XENT_CLIP_RANGE, 1e-15);
  const double of_f32 = run_in(of_certainty, XENT_DTYPE_F32).loss[0];
  CHECK(of_f32 >= 0 && of_f32 <= 1.01e-15);
  if (on_gpu(&where)) return;
  const double of_f64 = run_in(of_certainty, XENT_DTYPE_F64).loss[0];
  CHECK(of_f64 >= 0.99e-15 && of_f64 <= 1.01e-15);
}

/* A vector is one sample and not a batch: a version of the code divides by its three classes, and
 * has 11.512925464970229.
 */
static void row_24_a_vector_is_one_sample(void) {
  const job it = samples_clipped_at_1e_15(1);
  EXPECT(it, loss, 1e-15, 1e-7, 34.538776394910684);
  EXPECT(reduced(it, XENT_REDUCTION_SUM), loss, 1e-15, 1e-7, 34.538776394910684);
}

static void row_25_sum_and_mean_of_a_batch(void) {
  const job it = samples_clipped_at_1e_15(2);
  EXPECT(reduced(it, XENT_REDUCTION_SUM), loss, 1e-15, 1e-6, 36.14821430734479);
  EXPECT(it, loss, 1e-15, 1e-6, 18.074107153672394);
}

/* log_loss takes a vector for the probabilities of elements: a binary cross entropy. scikit-learn
 * up to 1.1 clips at 1e-15, which is what the text prints, and since then at the epsilon of the
 * type.
 */
static void row_26_log_loss_of_a_vector_is_binary(void) {
  const job it = samples(XENT_PRESET_BCE, 1);
  EXPECT(clipped(it, XENT_CLIP_RANGE, 1e-15), loss, 1e-15, 1e-6, 12.033141381058451);
  EXPECT(clipped(it, XENT_CLIP_RANGE, ldexp(1, -52)), loss, 1e-15, 1e-6, 12.534767045793942);
}

/* As printed by scikit-learn up to 1.1, then as by 1.9, in f64 and in f32. */
static void row_27_log_loss_of_a_matrix_is_categorical(void) {
  EXPECT(samples(XENT_PRESET_SKLEARN_LEGACY_LOG_LOSS, 1), loss, 1e-15, 1e-6, 34.538776394910684);
  EXPECT(samples(XENT_PRESET_SKLEARN_LEGACY_LOG_LOSS, 2), loss, 1e-15, 1e-6, 18.074107153672394);
  const double of_f32[2] = {loss_in(XENT_PRESET_SKLEARN_LOG_LOSS, XENT_DTYPE_F32, 1),
                            loss_in(XENT_PRESET_SKLEARN_LOG_LOSS, XENT_DTYPE_F32, 2)};
  SAME(of_f32, 1e-6, 15.942385, (15.942385 + 1.6094379124) / 2);
  if (on_gpu(&where)) return;
  const double of_f64[2] = {loss_in(XENT_PRESET_SKLEARN_LOG_LOSS, XENT_DTYPE_F64, 1),
                            loss_in(XENT_PRESET_SKLEARN_LOG_LOSS, XENT_DTYPE_F64, 2)};
  SAME(of_f64, 1e-15, 36.04365338911715, 18.82654565077563);
}

static void row_28_a_list_of_samples(void) {
  const double p[4] = {0.1, 0.2, 0.3, 0.4}, q[4] = {0, 1, 0, 0};
  const double of_two[2] = {0.4, 0.6}, q_of_two[2] = {1, 0};
  EXPECT(with_probabilities(lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 1, 4, p), q), loss, 1e-10,
         1e-6, 1.6094379124);
  EXPECT(with_probabilities(lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, 1, 2, of_two), q_of_two),
         loss, 1e-10, 1e-6, 0.9162907319);
}

/* One loss a sample, clipped at 1e-7 after a division by the sum. from_logits is about a softmax,
 * and not, as the text has it, about several labels.
 */
static void row_29_categorical_cross_entropy_of_keras(void) {
  job it = samples(XENT_PRESET_KERAS_CATEGORICAL_CROSSENTROPY, 2);
  EXPECT(reduced(it, XENT_REDUCTION_NONE), loss, 1e-10, 1e-6, 16.11809565095832,
         1.6094379124341003);
  EXPECT(samples(XENT_PRESET_KERAS_CATEGORICAL_CROSSENTROPY, 1), loss, 1e-15, 1e-6,
         16.11809565095832);
  double doubled[6];
  for (int i = 0; i < 6; ++i) doubled[i] = 2 * kProbabilities[i];
  it.x = doubled;
  EXPECT(it, loss, 1e-10, 1e-6, (16.11809565095832 + 1.6094379124341003) / 2);
}

/* Of numbers whose 1 - p is exact, so that both get the same probabilities. */
static void row_30_binary_is_categorical_of_two(void) {
  enum { kPairs = 63 };
  const xent_dtype types[2] = {XENT_DTYPE_F32, XENT_DTYPE_F64};
  for (int label = 0; label <= 16; label += 4) {
    double p[kPairs], q[kPairs], both_p[2 * kPairs], both_q[2 * kPairs];
    for (int i = 0; i < kPairs; ++i) {
      p[i] = both_p[2 * i + 1] = (i + 1) / 64.0;
      q[i] = both_q[2 * i + 1] = label / 16.0;
      both_p[2 * i] = 1 - p[i];
      both_q[2 * i] = 1 - q[i];
    }
    job binary = with_probabilities(lesson(XENT_PRESET_BCE, kPairs, 1, p), q);
    job two = lesson(XENT_PRESET_CROSS_ENTROPY_FROM_PROBS, kPairs, 2, both_p);
    binary = reduced(clipped(binary, XENT_CLIP_NONE, 0), XENT_REDUCTION_NONE);
    two = reduced(with_probabilities(two, both_q), XENT_REDUCTION_NONE);
    for (int at = 0; at < (on_gpu(&where) ? 1 : 2); ++at) {
      const results a = run_in(binary, types[at]), b = run_in(two, types[at]);
      for (int i = 0; i < kPairs; ++i) {
        CHECK(fabs(a.loss[i] - b.loss[i]) <= ulp(b.loss[i], types[at]));
      }
    }
  }
}

/* The softmax that the text suggests gives [.3655, .1345, .1345, .3655]. */
static void row_31_multi_hot_labels_are_a_distribution(void) {
  const int64_t labels[4] = {1, 0, 0, 1};
  const double x[4] = {4, 1, 2, 3}, lse = 4.440189698561196; /* log(e + e^2 + e^3 + e^4) */
  double q[4];
  CHECK_OK(xent_distributions(1, 4, 1, labels, XENT_TARGET_I64, NULL, q, XENT_DTYPE_F64, NULL));
  SAME(q, 0, 0.5, 0, 0, 0.5);
  CHECK_OK(xent_check_distributions(1, 4, 1, q, XENT_DTYPE_F64, NULL, 0));
  EXPECT(with_probabilities(lesson(XENT_PRESET_CROSS_ENTROPY, 1, 4, x), q), loss, 1e-15, 1e-6,
         lse - 3.5);
}

/* "Still a bit off" in the text are the digits that a print leaves out. In f32 it has
 * 18.074108123779297.
 */
static void row_32_nll_loss_of_log_probabilities(void) {
  const double half[2] = {log(0.5), log(0.5)};
  const int64_t one = 1;
  double log_p[6];
  for (int i = 0; i < 6; ++i) log_p[i] = log(fmax(kProbabilities[i], 1e-15));
  EXPECT(with_classes(lesson(XENT_PRESET_NLL_LOSS, 1, 2, half), &one), loss, 1e-15, 1e-7,
         0.6931471805599453);
  const job it = with_classes(lesson(XENT_PRESET_NLL_LOSS, 2, 3, log_p), kClasses);
  EXPECT(it, loss, 1e-15, 1e-7, 18.074107153672394);
}

/* Raw numbers go through a softmax first. */
static void row_33_raw_numbers_are_logits(void) {
  job it = with_classes(lesson(XENT_PRESET_CROSS_ENTROPY, 2, 3, kProbabilities), kClasses);
  EXPECT(reduced(it, XENT_REDUCTION_NONE), loss, 5e-9, 1e-6, 1.47330004, 1.23983106);
  EXPECT(it, loss, 1e-15, 1e-6, 1.3565655522346258);
  const job softmax = lesson(XENT_PRESET_SOFTMAX, 2, 3, kProbabilities);
  const results p = run_in(softmax, on_gpu(&where) ? XENT_DTYPE_F32 : XENT_DTYPE_F64);
  it = with_classes(lesson(XENT_PRESET_SKLEARN_LOG_LOSS, 2, 3, p.output), kClasses);
  EXPECT(it, loss, 1e-15, 1e-6, 1.3565655522346258);
}

int main(int argc, char** argv) {
  open_context(argc, argv);
  row_19_negative_log_likelihood_of_probabilities();
  row_20_one_hot_probabilities();
  row_21_a_single_sample();
  row_22_the_logarithm_of_0_is_infinite();
  row_23_unless_probabilities_are_clipped();
  row_24_a_vector_is_one_sample();
  row_25_sum_and_mean_of_a_batch();
  row_26_log_loss_of_a_vector_is_binary();
  row_27_log_loss_of_a_matrix_is_categorical();
  row_28_a_list_of_samples();
  row_29_categorical_cross_entropy_of_keras();
  row_30_binary_is_categorical_of_two();
  row_31_multi_hot_labels_are_a_distribution();
  row_32_nll_loss_of_log_probabilities();
  row_33_raw_numbers_are_logits();
  close_context();
  return 0;
}
