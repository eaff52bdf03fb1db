// Sums of a thread; reductions over the lanes of a warp and the warps of a CTA, of any struct of
// 32-bit words.
//
// `combine(a, b)` must give the same bits as `combine(b, a)`. The tree is fixed: so is the result.
#pragma once
#include "prelude.cuh"

namespace xent {

// The sum of kCount numbers, a power of two, in pairs.
template <u32 kCount>
__device__ __forceinline__ float in_pairs(const float (&addends)[kCount]) {
  float x[kCount];
#pragma unroll
  for (u32 i = 0; i < kCount; i++) x[i] = addends[i];
#pragma unroll
  for (u32 count = kCount / 2; count > 0; count /= 2) {
#pragma unroll
    for (u32 i = 0; i < count; i++) x[i] = x[2 * i] + x[2 * i + 1];
  }
  return x[0];
}

// The value of the lane whose number differs in `bits`. All lanes of the warp take part.
template <class T>
__device__ __forceinline__ T shuffle_xor(T value, u32 bits) {
  static_assert(sizeof(T) % 4 == 0, "whole words");
  u32 words[sizeof(T) / 4];
  memcpy(words, &value, sizeof(T));
#pragma unroll
  for (u32 i = 0; i < sizeof(T) / 4; i++) words[i] = __shfl_xor_sync(kAllLanes, words[i], bits);
  memcpy(&value, words, sizeof(T));
  return value;
}

// Combines the values of groups of `kLanes` neighbouring lanes, a power of two. All lanes of the
// warp take part; each lane holds the result of its group.
template <u32 kLanes = kWarp, class T, class Combine>
__device__ __forceinline__ T reduce_lanes(T value, Combine combine) {
#pragma unroll
  for (u32 bits = kLanes / 2; bits > 0; bits /= 2) {
    value = combine(value, shuffle_xor(value, bits));
  }
  return value;
}

// The sum over groups of `kLanes` neighbouring lanes, as `reduce_lanes`: in double, so that it is
// rounded once. Where one addend is far above the others, each level would round them alike.
template <u32 kLanes = kWarp>
__device__ __forceinline__ float add_lanes(float value) {
  const auto add = [](double a, double b) { return a + b; };
  return static_cast<float>(reduce_lanes<kLanes>(static_cast<double>(value), add));
}

// The lanes of the warp before this one, as bits.
__device__ __forceinline__ u32 lanes_before() {
  u32 mask;
  asm("mov.u32 %0, %%lanemask_lt;" : "=r"(mask));
  return mask;
}

// Whether a lane is the first of its group of `kLanes` neighbours to say yes. All lanes of the warp
// take part.
template <u32 kLanes = kWarp>
__device__ __forceinline__ bool first_of_lanes(bool yes) {
  const u32 begin = threadIdx.x % kWarp / kLanes * kLanes;
  const u32 before = __ballot_sync(kAllLanes, yes) & lanes_before();
  return yes && before >> begin == 0;
}

// Room for values in shared memory, of a type that may have constructors.
template <class T, u32 kCount>
struct Slots {
  alignas(16) u8 bytes[sizeof(T) * kCount];

  __device__ __forceinline__ T& operator[](u32 i) { return reinterpret_cast<T*>(bytes)[i]; }
};

// Combines `kCount` values in shared memory. All lanes of the warp take part; each holds the
// result. `nothing` combines with any value to that value.
template <class T, u32 kCount, class Combine>
__device__ __forceinline__ T reduce_shared(Slots<T, kCount>& shared, T nothing, Combine combine) {
  const u32 lane = threadIdx.x % kWarp;
  T own = lane < kCount ? shared[lane] : nothing;
#pragma unroll
  for (u32 i = kWarp; i < kCount; i += kWarp) {
    if (i + lane < kCount) own = combine(own, shared[i + lane]);
  }
  return reduce_lanes(own, combine);
}

// Combines the values of all threads of a CTA of `kThreads`, a multiple of 32, at most 1024. All of
// them take part; each holds the result. `shared` holds kThreads / 32 values; it may be used again
// after a barrier of the CTA. What threads read before is ordered before what they write after.
template <u32 kThreads, class T, class Combine>
__device__ __forceinline__ T reduce_threads(T value, T nothing, Slots<T, kThreads / kWarp>& shared,
                                            Combine combine) {
  constexpr u32 kWarps = kThreads / kWarp;
  static_assert(kThreads % kWarp == 0 && kWarps <= kWarp, "whole warps, one value for each lane");
  const u32 lane = threadIdx.x % kWarp;
  value = reduce_lanes(value, combine);
  if (lane == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  return reduce_shared(shared, nothing, combine);
}

}  // namespace xent
