// Rows whose other classes are all so far behind that their exponentials, of which `exp2_fast`
// makes 0 what is below 2^-126, may together be part of s; and where so much is rounded in their
// exponents that s would show it. They are read again.
#pragma once
#include "sums.cuh"

namespace xent {

// Sums over a faint row without its maximum, times 2^64. In the order of `thread`: the same bits
// each time.
struct FaintSums {
  double s = 0;        // sum(e)
  double entropy = 0;  // -sum(t e)

  static __device__ __forceinline__ FaintSums plus(const FaintSums& a, const FaintSums& b) {
    FaintSums sum;
    sum.s = a.s + b.s;
    sum.entropy = a.entropy + b.entropy;
    return sum;
  }
};

// The sums of those vectors of a faint row that are the thread's, of `threads` that share the row.
// `largest`: of the whole row. Nothing of the row may have been written, and nothing may be before
// all of these threads are done.
template <class Logit, class Target, u32 kOptions>
__device__ __forceinline__ FaintSums faint_sums(const Adder<Logit, Target, kOptions>& adder,
                                                float largest, i32 thread, i32 threads) {
  const Span<Logit>& span = adder.span;
  const float reference = adder.squash.reference(largest);
  FaintSums sums;
#pragma unroll 1
  for (i32 j = thread; j <= span.end; j += threads) {
    const bool full = j >= span.first && j < span.end;
    const uint4 v = full ? adder.oriented(load16(span.address(j))) : adder.partial(j);
    float x[kPerVector<Logit>];
    unpack<Logit>(v, x);
    float s = 0, entropy = 0;
#pragma unroll
    for (u32 i = 0; i < kPerVector<Logit>; i++) {
      const float scaled = adder.squash.power_2_64(x[i], reference);
      const bool adds = x[i] != largest && span.contains(span.element(j) + static_cast<i32>(i));
      const float e = adds ? scaled : 0;
      s += e;
      if constexpr (kOptions & kEntropy) {
        entropy -= e == 0 ? 0 : adder.squash.distance(x[i], reference) * e;
      }
    }
    sums.s += s;
    sums.entropy += entropy;
  }
  return sums;
}

// Puts the sums of a faint row into its part. What is subnormal stays.
template <class Target, u32 kOptions>
__device__ __forceinline__ void take(Part<Target, kOptions>& part, const FaintSums& sums) {
  constexpr double kTwoToMinus64 = 5.421010862427522e-20;
  part.s = static_cast<float>(sums.s * kTwoToMinus64);
  if constexpr (kOptions & kEntropy) {
    part.entropy = static_cast<float>(sums.entropy * kTwoToMinus64);
  }
}

}  // namespace xent
