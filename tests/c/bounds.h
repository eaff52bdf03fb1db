/* Random inputs, and what results of them may be off by. */
#ifndef BOUNDS_H
#define BOUNDS_H

#include "job.h"

/* Half the distance of 1 from the next f32. */
static const double kU = 1.0 / 16777216;

/* Numbers of a type, evenly between two. */
static inline void fill(double* to, int count, double low, double high, xent_dtype dtype) {
  static uint32_t random = 1;
  for (int i = 0; i < count; ++i) {
    random = random * 1664525 + 1013904223;
    to[i] = rounded(low + (high - low) * (random >> 8) / 16777216, dtype);
  }
}

/* Holds a number to a bound and its rounding. */
static inline void near(double actual, double exact, double bound, xent_dtype dtype,
                        const char* what, int at) {
  const double allowed = bound + ulp(exact, dtype) / 2;
  if (fabs(actual - exact) <= allowed) return;
  fprintf(stderr, "%s %d is %.9g, exactly %.17g, off by %.2f times what is allowed\n", what, at,
          actual, exact, fabs(actual - exact) / allowed);
  exit(1);
}

#endif
