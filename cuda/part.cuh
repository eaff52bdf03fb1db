// What is known of part of a row, and how parts become one.
#pragma once
#include "problem.cuh"
#include "reduce.cuh"

namespace xent {

// What is known of some elements of a row; of none at first. Empty where the options do not ask.
template <bool kWanted>
struct EntropySum {};
template <>
struct EntropySum<true> {
  float entropy = 0;  // -sum(t e)
};
template <bool kWanted>
struct TargetSum {};
template <>
struct TargetSum<true> {
  float distance = 0;  // -sum(u t), with u the class weights or the weighted probabilities
  float mass = 0;      // sum(u)
};
template <bool kWanted>
struct FirstMaximum {};
template <>
struct FirstMaximum<true> {
  u32 argmax = kNoClass;
};
template <bool kWanted>
struct FirstTarget {};
template <>
struct FirstTarget<true> {
  float best = -infinity();  // largest probability of the target
  u32 best_class = kNoClass;
};

template <class Target, u32 kOptions>
struct Part : EntropySum<(kOptions & kEntropy) != 0>,
              TargetSum<kProbabilities<Target> || (kOptions & kSmoothing)>,
              FirstMaximum<(kOptions & kArgmax) != 0>,
              FirstTarget<kProbabilities<Target> && (kOptions & kArgmax)> {
  static constexpr bool kHasEntropy = kOptions & kEntropy;
  static constexpr bool kHasTarget = kProbabilities<Target> || (kOptions & kSmoothing);
  static constexpr bool kHasArgmax = kOptions & kArgmax;
  static constexpr bool kHasBest = kProbabilities<Target> && kHasArgmax;
  float largest = -infinity();
  float s = -1;  // sum(e) without one maximum: there is none yet. NaN if a logit is.

  // Two parts as one. The same bits in either order.
  static __device__ __forceinline__ Part merge(const Part& a, const Part& b,
                                               const Squash<kOptions>& squash) {
    // Every field is chosen by itself: a reference to a or b would put both into local memory.
    const bool same = a.largest == b.largest;
    const bool swap = b.largest > a.largest;
    const float high = swap ? b.largest : a.largest, low = swap ? a.largest : b.largest;
    const float high_s = swap ? b.s : a.s, low_s = swap ? a.s : b.s;
    // z(low) - z(high) <= 0; -inf where low has nothing but -inf.
    const float reference = squash.reference(high);
    const float shift = same ? 0 : squash.distance(low, reference);
    const float f = same ? 1 : squash.power_exact(low, reference);
    Part sum;
    sum.largest = high;
    sum.s = same ? (a.s + b.s) + 1 : high_s + (low_s + 1) * f;
    if constexpr (kHasEntropy) {
      const float moved = (swap ? a.entropy : b.entropy) - shift * (low_s + 1);
      sum.entropy = (swap ? b.entropy : a.entropy) + (f == 0 ? 0 : f * moved);
    }
    if constexpr (kHasTarget) {
      const float low_mass = swap ? a.mass : b.mass;
      sum.distance = (a.distance + b.distance) - shifted(squash, low, low_mass, shift);
      sum.mass = a.mass + b.mass;
    }
    if constexpr (kHasArgmax) {
      sum.argmax = same ? min(a.argmax, b.argmax) : swap ? b.argmax : a.argmax;
    }
    if constexpr (kHasBest) {
      const bool take_a = a.best > b.best || (a.best == b.best && a.best_class < b.best_class);
      sum.best = take_a ? a.best : b.best;
      sum.best_class = take_a ? a.best_class : b.best_class;
    }
    return sum;
  }

  // What -sum(u t) falls by when t grows by `shift`. Elements that are all -inf without a cap keep
  // t = -inf.
  static __device__ __forceinline__ float shifted(const Squash<kOptions>& squash, float largest,
                                                  float mass, float shift) {
    const bool infinite = !squash.kCapped && largest == -infinity();
    return mass == 0 || infinite ? 0 : shift * mass;
  }
};

// Merges the parts of groups of `kLanes` neighbouring lanes, a power of two. All lanes of the warp
// take part; each holds the result of its group. Cheaper than merging two at a time: what the
// largest logit is comes first, and each part moves there once.
template <class Target, u32 kOptions, u32 kLanes = kWarp>
__device__ __forceinline__ Part<Target, kOptions> merge_lanes(const Part<Target, kOptions>& part,
                                                              const Squash<kOptions>& squash) {
  using RowPart = Part<Target, kOptions>;
  if constexpr (kLanes == 1) return part;
  const auto larger = [](float a, float b) { return fmaxf(a, b); };
  RowPart sum;
  sum.largest = reduce_lanes<kLanes>(part.largest, larger);
  const bool top = part.largest == sum.largest;
  // Of several parts with the largest logit, one goes on leaving its maximum out.
  const bool leaves_out = first_of_lanes<kLanes>(top);
  const float reference = squash.reference(sum.largest);
  const float f = top ? 1 : squash.power_exact(part.largest, reference);
  sum.s = add_lanes<kLanes>(leaves_out ? part.s : (part.s + 1) * f);
  if constexpr (RowPart::kHasEntropy || RowPart::kHasTarget) {
    const float shift = top ? 0 : squash.distance(part.largest, reference);
    if constexpr (RowPart::kHasEntropy) {
      const float moved = top ? part.entropy : f * (part.entropy - shift * (part.s + 1));
      sum.entropy = add_lanes<kLanes>(f == 0 ? 0 : moved);
    }
    if constexpr (RowPart::kHasTarget) {
      const float moved = RowPart::shifted(squash, part.largest, part.mass, shift);
      sum.distance = add_lanes<kLanes>(part.distance - moved);
      sum.mass = add_lanes<kLanes>(part.mass);
    }
  }
  if constexpr (RowPart::kHasArgmax) {
    const auto lower = [](u32 a, u32 b) { return min(a, b); };
    sum.argmax = reduce_lanes<kLanes>(top ? part.argmax : kNoClass, lower);
    if constexpr (RowPart::kHasBest) {
      sum.best = reduce_lanes<kLanes>(part.best, larger);
      sum.best_class =
          reduce_lanes<kLanes>(part.best == sum.best ? part.best_class : kNoClass, lower);
    }
  }
  return sum;
}

// Merges `kCount` parts in shared memory. All lanes of the warp take part; each holds the result.
template <u32 kCount, class Target, u32 kOptions>
__device__ __forceinline__ Part<Target, kOptions> merge_shared(
    Slots<Part<Target, kOptions>, kCount>& shared, const Squash<kOptions>& squash) {
  using RowPart = Part<Target, kOptions>;
  // Groups of lanes that do the same are no larger than they must be.
  constexpr u32 kLanes = kCount > 16  ? 32
                         : kCount > 8 ? 16
                         : kCount > 4 ? 8
                         : kCount > 2 ? 4
                                      : kCount;
  const u32 lane = threadIdx.x % kLanes;
  RowPart own = lane < kCount ? shared[lane] : RowPart();
#pragma unroll
  for (u32 i = kLanes; i < kCount; i += kLanes) {
    if (i + lane < kCount) own = RowPart::merge(own, shared[i + lane], squash);
  }
  return merge_lanes<Target, kOptions, kLanes>(own, squash);
}

// Whether the sums of a whole row may lack too much. What was lost of s is below 2^-126 for each
// class: far below 2^-24 of an s that is no less than this.
__device__ __forceinline__ bool is_faint(float s, u32 classes) {
  constexpr float kTwoToMinus70 = 8.470329472543003e-22f;
  return s < static_cast<float>(classes) * kTwoToMinus70;
}

}  // namespace xent
