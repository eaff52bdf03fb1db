/* What the numbers of the tutorials are held to: each in f64, which is the processor's alone, and
 * in f32, whose digits are fewer by what rounds the inputs.
 */
#ifndef LESSON_H
#define LESSON_H

#include "job.h"

/* The running example: two rows of three logits. */
static const double kX[6] = {1, 2, 3, 2, 4, 6};

/* A problem by its name, with options to be set. */
static inline job lesson(xent_preset preset, int64_t rows, int64_t classes, const double* x) {
  job it;
  memset(&it, 0, sizeof it);
  it.problem = xent_problem_default();
  CHECK_OK(xent_problem_preset(preset, XENT_DTYPE_F64, classes, &it.problem));
  it.rows = rows;
  it.x = x;
  return it;
}

static inline job with_classes(job it, const int64_t* y) {
  it.y = y;
  return it;
}

static inline job with_probabilities(job it, const double* q) {
  it.q = q;
  return it;
}

static inline job reduced(job it, xent_reduction reduction) {
  it.problem.reduction = reduction;
  return it;
}

static inline job clipped(job it, xent_clip clip, double value) {
  it.problem.clip = clip;
  it.problem.clip_value = value;
  return it;
}

static inline results run_in(job it, xent_dtype dtype) {
  it.problem.logits_dtype = dtype;
  return run_job(it);
}

static inline void same_digits(const double* actual, const double* exact, int count, double digits,
                               const char* file, int line) {
  for (int i = 0; i < count; ++i) {
    if (actual[i] == exact[i] || fabs(actual[i] - exact[i]) <= digits * fabs(exact[i])) continue;
    fprintf(stderr, "%s:%d: number %d is %.17g, exactly %.17g\n", file, line, i, actual[i],
            exact[i]);
    exit(1);
  }
}

/* The numbers of an output, to so many digits in f64 and in f32. */
#define EXPECT(it, output, digits_of_f64, digits_of_f32, ...)                      \
  do {                                                                             \
    const double numbers[] = {__VA_ARGS__};                                        \
    const int count = (int)(sizeof numbers / sizeof *numbers);                     \
    const results of_f32 = run_in(it, XENT_DTYPE_F32);                             \
    same_digits(of_f32.output, numbers, count, digits_of_f32, __FILE__, __LINE__); \
    if (on_gpu(&where)) break;                                                     \
    const results of_f64 = run_in(it, XENT_DTYPE_F64);                             \
    same_digits(of_f64.output, numbers, count, digits_of_f64, __FILE__, __LINE__); \
  } while (0)

/* Numbers that the host makes. */
#define SAME(actual, digits, ...)                                                           \
  do {                                                                                      \
    const double numbers[] = {__VA_ARGS__};                                                 \
    same_digits(actual, numbers, (int)(sizeof numbers / sizeof *numbers), digits, __FILE__, \
                __LINE__);                                                                  \
  } while (0)

#endif
