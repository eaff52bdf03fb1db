// Logarithms and the exponential, as precise as those of `src/cpu/math`, which explain themselves.
#pragma once
#include "numeric.cuh"

namespace xent {

// x = 2^n v, with v from sqrt(1/2) to sqrt(2), of a normal x > 0.
struct Split {
  i32 n;
  float v;

  __device__ __forceinline__ explicit Split(float x) {
    constexpr i32 kSqrtHalf = 0x3f3504f3;
    const i32 bits = __float_as_int(x);
    n = (bits - kSqrtHalf) >> 23;
    v = __int_as_float(bits - n * (1 << 23));
  }
};

// n log(2) + log(1 + f).
__device__ __forceinline__ float logarithm(float n, float f) {
  constexpr float kHigh = 22713.f / 32768, kLow = 1.4286068203094173e-06f;  // log(2)
  float p = -7.619053e-2f;
  p = fmaf(p, f, 1.2912941e-1f);
  p = fmaf(p, f, -1.3248068e-1f);
  p = fmaf(p, f, 1.4180854e-1f);
  p = fmaf(p, f, -1.6608411e-1f);
  p = fmaf(p, f, 2.0002005e-1f);
  p = fmaf(p, f, -2.500161e-1f);
  p = fmaf(p, f, 3.3333325e-1f);
  p = fmaf(p, f, -4.9999988e-1f);
  const float small = fmaf(f * f, p, n * kLow);
  return fmaf(n, kHigh, f + small);
}

// This logarithm of x, or what it is where x is 0, infinite, negative or NaN.
__device__ __forceinline__ float with_ends(float log, float x) {
  if (x == infinity()) return x;
  if (x == 0) return -infinity();
  return x > 0 ? log : nan();
}

// log(x) to 1.4 * 2^-24: -inf for both zeros.
__device__ __forceinline__ float ln(float x) {
  constexpr float kSmallestNormal = 1.17549435e-38f, kRaise = 4294967296;  // 2^32
  const bool normal = x >= kSmallestNormal;
  const Split split(normal ? x : x * kRaise);
  return with_ends(logarithm(split.n - (normal ? 0 : 32), split.v - 1), x);
}

// log(1 + x) to 2.2 * 2^-24, with the sign of x for zeros, too.
__device__ __forceinline__ float log1p(float x) {
  const float y = x + 1;
  const float lacks = x - (y - 1);
  const Split split(y);
  const float power = __int_as_float((127 - split.n) << 23);  // 2^-n
  const float f = fmaf(lacks, power, split.v - 1);
  return copysignf(with_ends(logarithm(split.n, f), y), x);
}

// e^x to 1.4 * 2^-24; what is subnormal, to the last place.
__device__ __forceinline__ float exp_exact(float x) {
  constexpr float kLog2ELow = 1.925963033500123e-08f;
  constexpr float kTwoTo64 = 18446744073709551616.f, kTwoToMinus64 = 1 / kTwoTo64;
  if (is_nan(x)) return x;
  const float y = fminf(fmaxf(x, -110), 90);
  const float high = y * kLog2E;
  const float low = fmaf(y, kLog2E, -high) + y * kLog2ELow;
  if (high > 100) return exp2_exact(high - 64, low) * kTwoTo64;
  if (high < -100) return exp2_exact(high + 64, low) * kTwoToMinus64;
  return exp2_exact(high, low);
}

}  // namespace xent
