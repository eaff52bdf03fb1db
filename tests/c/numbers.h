/* Numbers of every floating-point type, as doubles. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <xent.h>

#include "check.h"

static inline size_t size_of(xent_dtype dtype) {
  return dtype == XENT_DTYPE_F64 ? 8 : dtype == XENT_DTYPE_F32 ? 4 : 2;
}

/* The distance of numbers of a type around x. */
static inline double ulp(double x, xent_dtype dtype) {
  const int bits = dtype == XENT_DTYPE_F64   ? 53
                   : dtype == XENT_DTYPE_F32 ? 24
                   : dtype == XENT_DTYPE_F16 ? 11
                                             : 8;
  const int least = dtype == XENT_DTYPE_F64   ? -1074
                    : dtype == XENT_DTYPE_F32 ? -149
                    : dtype == XENT_DTYPE_F16 ? -24
                                              : -133;
  int exponent = least;
  if (x != 0 && isfinite(x)) frexp(x, &exponent);
  return ldexp(1, exponent - bits > least ? exponent - bits : least);
}

/* The nearest number of a type. */
static inline double rounded(double x, xent_dtype dtype) {
  if (!isfinite(x)) return x;
  const double unit = ulp(x, dtype);
  return rint(x / unit) * unit;
}

/* Numbers of a type, from doubles that are such. Those of 16 bits are neither infinite nor NaN. */
static inline void encode(void* to, xent_dtype dtype, const double* from, int count) {
  for (int i = 0; i < count; ++i) {
    void* at = (char*)to + (size_t)i * size_of(dtype);
    const float single = (float)from[i];
    uint32_t bits = 0;
    uint16_t half = 0;
    memcpy(&bits, &single, sizeof bits);
    half = (uint16_t)(bits >> 16);
    if (dtype == XENT_DTYPE_F16) {
      const double unit = ulp(from[i], dtype); /* 2^-24 for those below the normal ones */
      const int binade = ilogb(unit) + 24;
      CHECK(fabs(from[i]) < 65520);
      half = (uint16_t)((half & 0x8000u) + ((unsigned)binade << 10));
      half = (uint16_t)(half + (unsigned)(fabs(from[i]) / unit));
    }
    if (dtype == XENT_DTYPE_F64) memcpy(at, &from[i], sizeof from[i]);
    if (dtype == XENT_DTYPE_F32) memcpy(at, &single, sizeof single);
    if (size_of(dtype) == 2) memcpy(at, &half, sizeof half);
  }
}

static inline void decode(double* to, xent_dtype dtype, const void* from, int count) {
  for (int i = 0; i < count; ++i) {
    const void* at = (const char*)from + (size_t)i * size_of(dtype);
    uint16_t half = 0;
    float single = 0;
    if (dtype == XENT_DTYPE_F64) {
      memcpy(&to[i], at, sizeof to[i]);
    } else if (dtype == XENT_DTYPE_F32) {
      memcpy(&single, at, sizeof single);
      to[i] = (double)single;
    } else if (dtype == XENT_DTYPE_BF16) {
      memcpy(&half, at, sizeof half);
      const uint32_t bits = (uint32_t)half << 16;
      memcpy(&single, &bits, sizeof single);
      to[i] = (double)single;
    } else {
      memcpy(&half, at, sizeof half);
      const int binade = half >> 10 & 31, fraction = half & 1023;
      const double size = binade == 31  ? (fraction == 0 ? (double)INFINITY : (double)NAN)
                          : binade == 0 ? ldexp(fraction, -24)
                                        : ldexp(fraction + 1024, binade - 25);
      to[i] = half & 0x8000 ? -size : size;
    }
  }
}

#endif
