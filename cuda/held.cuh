// The vectors of a row, in the registers of a group of threads.
#pragma once
#include "gradient.cuh"
#include "group.cuh"

namespace xent {

// Whether partial vectors are in registers like full ones, with -inf for what is outside the row.
// Not where that would add something, or where something is read for each class.
template <class Target, u32 kOptions>
constexpr bool kHoldsPartial = !Part<Target, kOptions>::kHasTarget && !Squash<kOptions>::kCapped;

// The vectors of a thread of a group: number first + k kThreads for k below kVectors. The row's
// partial last vector is the last one of the last thread, wherever the row ends: there is no full
// vector in this place if there is a partial one.
template <class Logit, class Group, u32 kVectors>
struct Held {
  static constexpr u32 kThreads = Group::kThreads;
  const Span<Logit>& span;
  uint4 v[kVectors];
  i32 first;
  i32 end;      // of full vectors; 0 if the row is not read
  bool starts;  // has the partial first vector, as its first
  bool ends;    // has the partial last vector, as its last

  __device__ __forceinline__ Held(const Span<Logit>& span, bool counted)
      : span(span),
        first(Group::rank() * kThreads * kVectors + Group::thread()),
        end(counted ? span.end : 0),
        starts(counted && span.head == first),
        ends(counted && span.tail >= 0 && is_last()) {}

  __device__ __forceinline__ bool is_last() const {
    constexpr u32 kLast = (Group::kCluster - 1) * kThreads * kVectors + kThreads - 1;
    return first == static_cast<i32>(kLast);
  }
  // Whether vector k is a full one of the row. `zero` is 0: what a second loop asks is not what the
  // compiler has kept since the first, in a predicate for each vector.
  __device__ __forceinline__ bool has(u32 k, u32 zero = 0) const {
    const i32 j = first + static_cast<i32>(k * kThreads);
    return j < (end ^ static_cast<i32>(zero)) && (k > 0 || j >= span.first);
  }
  __device__ __forceinline__ bool has_partial(u32 k) const {
    return (k == 0 && starts) || (k == kVectors - 1 && ends);
  }
  // The vector of the row that vector k is.
  __device__ __forceinline__ i32 number(u32 k) const {
    return k == kVectors - 1 && ends ? end : first + static_cast<i32>(k * kThreads);
  }
  // The element of the row, or kNoClass, that the adder takes for `element`: of the last vector it
  // does not know where it is.
  __device__ __forceinline__ u32 class_of(u32 element) const {
    const i32 last = first + static_cast<i32>((kVectors - 1) * kThreads);
    const bool moves =
        ends && element != kNoClass && static_cast<i32>(element) >= span.element(last);
    return moves ? element - (span.element(last) - span.element(end)) : element;
  }
  // Whether the thread has the element.
  __device__ __forceinline__ bool owns(i32 element) const {
    const i32 j = span.vector_of(element);
    const u32 distance = j - first;
    const bool own = distance < kThreads * kVectors && distance % kThreads == 0;
    return j == span.tail ? is_last() : own;
  }

  // Calls `f(start, j)` for those partial vectors that the thread has.
  template <class F>
  __device__ __forceinline__ void each_partial(F f) const {
    if (!starts && !ends) return;
#pragma unroll 1
    for (u32 number = starts ? 0 : 1; number < (ends ? 2 : 1); number++) {
      f(number == 0, number == 0 ? span.head : span.tail);
    }
  }
  // `padding`: a word of the type's, for what is not in the row.
  template <bool kPartial>
  __device__ __forceinline__ void load(const Logit* row, u32 padding) {
    const char* at = settled(span.address(first));
#pragma unroll
    for (u32 k = 0; k < kVectors; k++) {
      v[k] = make_uint4(padding, padding, padding, padding);
      if (has(k)) v[k] = load16(at + k * kThreads * 16);
    }
    if constexpr (kPartial) {
      each_partial([&](bool start, i32 j) {
        const uint4 partial = load_partial(row, span, j, padding);
        (start ? v[0] : v[kVectors - 1]) = partial;
      });
    }
  }
};

// Adds the vectors of those threads of a warp that share a row. All lanes take part; each holds the
// result of its row. Where the vectors hold all of it, `powers` are the exponentials relative to
// the result's largest logit.
template <class Logit, class Target, u32 kOptions, class Group, u32 kVectors>
__device__ __forceinline__ Part<Target, kOptions> add_held(
    const Adder<Logit, Target, kOptions>& adder, const Held<Logit, Group, kVectors>& held,
    float (&powers)[kVectors][kPerVector<Logit>]) {
  using RowPart = Part<Target, kOptions>;
  constexpr u32 kLanes = Group::kWarpThreads, kThreads = Group::kThreads;
  if constexpr (!kHoldsPartial<Target, kOptions>) {
    Running<Target, kOptions> own(adder.squash);
#pragma unroll
    for (u32 k = 0; k < kVectors; k++) {
      if (!held.has(k)) continue;
      const uint4 one[1] = {held.v[k]};
      adder.template add<1>(own, one, held.number(k), kThreads);
    }
    held.each_partial([&](bool, i32 j) { adder.add_partial(own, j); });
    return merge_lanes<Target, kOptions, kLanes>(own.part(adder.squash), adder.squash);
  } else {
    // What the largest logit is comes first: then no sum has to be moved.
    uint4 top = held.v[0];
#pragma unroll
    for (u32 k = 1; k < kVectors; k++) top = max<Logit>(top, held.v[k]);
    const float own = largest<Logit>(top);
    const float row = reduce_lanes<kLanes>(own, [](float a, float b) { return fmaxf(a, b); });
    const bool leaves_out = first_of_lanes<kLanes>(own == row);
    RowPart part = adder.gather(held.v, row, leaves_out, held.first, kThreads, powers);
    part.s = add_lanes<kLanes>(part.s);
    if constexpr (RowPart::kHasEntropy) part.entropy = add_lanes<kLanes>(part.entropy);
    if constexpr (RowPart::kHasArgmax) {
      const auto lower = [](u32 a, u32 b) { return min(a, b); };
      part.argmax = reduce_lanes<kLanes>(held.class_of(part.argmax), lower);
    }
    return part;
  }
}

}  // namespace xent
