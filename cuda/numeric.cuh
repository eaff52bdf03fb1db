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

// 2^(high + low) to 1.2 * 2^-24, without the special function unit, of high in [-126, 126] and a
// low that is smaller than its last place. -0 costs no instruction.
__device__ __forceinline__ float exp2_exact(float high, float low = -0.f) {
  constexpr float kRound = 12582912;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = high + kRound;
  const float f = (high - (shifted - kRound)) + low;
  float p = 1.545316336e-04f;
  p = fmaf(p, f, 1.339086331e-03f);
  p = fmaf(p, f, 9.618083015e-03f);
  p = fmaf(p, f, 5.550356954e-02f);
  p = fmaf(p, f, 2.402265072e-01f);
  p = fmaf(p, f, 6.931471825e-01f);
  p = fmaf(p, f, 1);
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
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

// 1 / (high + low), of high in [1, 2] and a low that is smaller than its last place, to 1.1 *
// 2^-24.
__device__ __forceinline__ float reciprocal(float high, float low = 0) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(high));
  return fmaf(fmaf(-low, y, fmaf(-high, y, 1)), y, y);
}

}  // namespace xent
