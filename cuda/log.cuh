// Logarithms and the exponential, as precise as those of `src/cpu/math`, which explain themselves.
#pragma once
#include "numeric.cuh"

namespace xent {

// x = 2^n v, with v from sqrt(1/2) to sqrt(2), of a normal x > 0.
struct Split {
  i32 exponent;  // 2^23 n
  float v;

  __device__ __forceinline__ explicit Split(float x) {
    constexpr i32 kSqrtHalf = 0x3f3504f3, kFraction = (1 << 23) - 1;
    const i32 bits = __float_as_int(x);
    exponent = (bits - kSqrtHalf) & ~kFraction;
    v = __int_as_float(bits - exponent);
  }
  // 2^-n.
  __device__ __forceinline__ float inverse() const {
    return __int_as_float(__float_as_int(1.f) - exponent);
  }
};

// n log(2) + log(1 + f), from 2^23 n.
__device__ __forceinline__ float logarithm(float exponent, float f) {
  constexpr float kUnit = 1.f / (1 << 23);
  constexpr float kHigh = kUnit * 22713 / 32768, kLow = kUnit * 1.4286068203094173e-06f;  // log(2)
  float p = -7.619053e-2f;
  p = fmaf(p, f, 1.2912941e-1f);
  p = fmaf(p, f, -1.3248068e-1f);
  p = fmaf(p, f, 1.4180854e-1f);
  p = fmaf(p, f, -1.6608411e-1f);
  p = fmaf(p, f, 2.0002005e-1f);
  p = fmaf(p, f, -2.500161e-1f);
  p = fmaf(p, f, 3.3333325e-1f);
  p = fmaf(p, f, -4.9999988e-1f);
  const float small = fmaf(f * f, p, exponent * kLow);
  return fmaf(exponent, kHigh, f + small);
}

// This logarithm of x, which is one where `of` is positive and finite; else what the special
// function unit makes of x.
__device__ __forceinline__ float with_ends(float log, float of, float x) {
  constexpr u32 kInfinity = 0x7f800000;
  return __float_as_uint(of) - 1 < kInfinity - 1 ? log : log2_fast(x) * kLn2;
}

// 2^23, by which numbers are multiplied that may be subnormal.
constexpr float kTwoTo23 = 1 << 23;

// log(x) to 1.4 * 2^-24, above 2^104 to 2^-21: -inf for both zeros.
__device__ __forceinline__ float ln(float x) {
  const float raised = x * kTwoTo23;
  const Split split(raised);
  return with_ends(logarithm(split.exponent - (23 << 23), split.v - 1), raised, x);
}

// log(1 + x) to 2.2 * 2^-24, with the sign of x for zeros, too.
__device__ __forceinline__ float log1p(float x) {
  const float y = x + 1;
  const float lacks = x - (y - 1);
  const Split split(y);
  const float f = fmaf(lacks, split.inverse(), split.v - 1);
  return copysignf(with_ends(logarithm(split.exponent, f), y, y), x);
}

// The same of x in [0, 1], to 2 * 2^-24: x + x (c2 x + c3 x^2 + ...) of degree 10, of which the
// coefficients were found as those of the logarithm. With exact arithmetic it is off by 2^-27.5.
__device__ __forceinline__ float log1p_to_1(float x) {
  float p = -3.29046859e-3f;
  p = fmaf(p, x, 2.00862419e-2f);
  p = fmaf(p, x, -5.7457231e-2f);
  p = fmaf(p, x, 1.06611282e-1f);
  p = fmaf(p, x, -1.53448805e-1f);
  p = fmaf(p, x, 1.96921021e-1f);
  p = fmaf(p, x, -2.4958019e-1f);
  p = fmaf(p, x, 3.33304644e-1f);
  p = fmaf(p, x, -4.99999315e-1f);
  return fmaf(x, p * x, x);
}

// 2^kRaise, which a power is multiplied by while it is computed, and its inverse.
constexpr float kRaise = 64, kTwoTo64 = 18446744073709551616.f, kTwoToMinus64 = 1 / kTwoTo64;

// e^x from its power of two times 2^raise, which is normal, and `lower`, 2^-raise.
__device__ __forceinline__ float exp_by(float x, float raise, float lower) {
  const float round = kRound + 127 + raise;  // what is left in the lowest bits is an exponent
  const float shifted = fmaf(x, kLog2E, round), n = shifted - round;
  const float p = exp2_near_0(fmaf(x, kLog2ELow, fmaf(x, kLog2E, -n)));
  return p * __uint_as_float(__float_as_uint(shifted) << 23) * lower;
}

// e^x to 1.5 * 2^-24; what is subnormal, to the last place.
__device__ __forceinline__ float exp_exact(float x) {
  const bool large = x > 0;
  return exp_by(at_most(at_least(x, -110), 90), large ? -kRaise : kRaise,
                large ? kTwoTo64 : kTwoToMinus64);
}

// e^-|x| as precisely.
__device__ __forceinline__ float exp_of_minus(float x) {
  return exp_by(at_least(-fabsf(x), -110), kRaise, kTwoToMinus64);
}

}  // namespace xent
