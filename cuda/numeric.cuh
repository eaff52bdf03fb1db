// Special functions, and sums that the compiler does not find: inline PTX.
#pragma once
#include "prelude.cuh"

namespace xent {

// 2^x to 2 ulp; 0 below 2^-126; 1 at 0.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// log2(x) to a few of its last places; but exact of 0, for which it takes what is subnormal, of
// infinity, of other negative numbers and of NaN.
__device__ __forceinline__ float log2_fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The larger and the smaller of x and a bound; a NaN stays.
__device__ __forceinline__ float at_least(float x, float bound) {
#if __CUDA_ARCH__ >= 800
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(x), "f"(bound));
  return y;
#else
  return x < bound ? bound : x;
#endif
}
__device__ __forceinline__ float at_most(float x, float bound) {
#if __CUDA_ARCH__ >= 800
  float y;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(x), "f"(bound));
  return y;
#else
  return x > bound ? bound : x;
#endif
}

constexpr float kRound = 12582912;  // 1.5 * 2^23: adding it rounds to an integer

// 2^f, of |f| up to little more than 1/2.
__device__ __forceinline__ float exp2_near_0(float f) {
  float p = 1.545316336e-04f;
  p = fmaf(p, f, 1.339086331e-03f);
  p = fmaf(p, f, 9.618083015e-03f);
  p = fmaf(p, f, 5.550356954e-02f);
  p = fmaf(p, f, 2.402265072e-01f);
  p = fmaf(p, f, 6.931471825e-01f);
  return fmaf(p, f, 1);
}

// 2^(high + low) to 1.2 * 2^-24, without the special function unit, of high in [-126, 126] and a
// low that is smaller than its last place. -0 costs no instruction.
__device__ __forceinline__ float exp2_exact(float high, float low = -0.f) {
  const float shifted = high + kRound;
  const float f = (high - (shifted - kRound)) + low;
  return __uint_as_float(__float_as_uint(exp2_near_0(f)) + (__float_as_uint(shifted) << 23));
}

// Adds e to `sum`, or where x is the largest logit, 1 to `count`. Three instructions, which the
// compiler does not find by itself.
__device__ __forceinline__ void add_or_count(float x, float largest, float e, float& sum,
                                             u32& count) {
  asm("{\n\t"
      ".reg .pred p;\n\t"
      "setp.eq.f32 p, %2, %3;\n\t"
      "@!p add.f32 %0, %0, %4;\n\t"
      "@p add.u32 %1, %1, 1;\n\t"
      "}"
      : "+f"(sum), "+r"(count)
      : "f"(x), "f"(largest), "f"(e));
}

// 1 / x to a few of its last places; of a subnormal x, as of 0.
__device__ __forceinline__ float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / x to 1.1 * 2^-24, of an x that is normal as its inverse is.
__device__ __forceinline__ float reciprocal(float x) {
  const float y = reciprocal_fast(x);
  return fmaf(fmaf(-x, y, 1), y, y);
}

// 1 / (high + low) as precisely, of high in [1, 2] and a low that is smaller than its last place.
__device__ __forceinline__ float reciprocal(float high, float low) {
  const float y = reciprocal_fast(high);
  return fmaf(fmaf(-low, y, fmaf(-high, y, 1)), y, y);
}

// x / y as precisely, of a y that is normal as its inverse is, or 0 or infinite, or NaN.
__device__ __forceinline__ float quotient(float x, float y) {
  const float inverse = reciprocal_fast(y), near = x * inverse;
  const float exact = fmaf(fmaf(-y, near, x), inverse, near);
  return is_nan(exact) ? near : exact;
}

}  // namespace xent
