// The sums over a row: of elements as they come, and of parts of the row.
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
    const float f = same ? 1 : squash.power(low, reference);
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

// Merges the parts of the lanes of a warp. All lanes take part; each holds the result. Cheaper than
// merging two at a time: what the largest logit is comes first, and each part moves there once.
template <class Target, u32 kOptions>
__device__ __forceinline__ Part<Target, kOptions> merge_lanes(const Part<Target, kOptions>& part,
                                                              const Squash<kOptions>& squash) {
  using RowPart = Part<Target, kOptions>;
  const auto add = [](float a, float b) { return a + b; };
  const auto larger = [](float a, float b) { return fmaxf(a, b); };
  RowPart sum;
  sum.largest = reduce_lanes(part.largest, larger);
  const bool top = part.largest == sum.largest;
  // Of several parts with the largest logit, one goes on leaving its maximum out.
  const u32 tops = __ballot_sync(kAllLanes, top);
  const bool leaves_out = top && threadIdx.x % kWarp == __ffs(tops) - 1;
  const float reference = squash.reference(sum.largest);
  const float f = top ? 1 : squash.power(part.largest, reference);
  sum.s = reduce_lanes(leaves_out ? part.s : (part.s + 1) * f, add);
  if constexpr (RowPart::kHasEntropy || RowPart::kHasTarget) {
    const float shift = top ? 0 : squash.distance(part.largest, reference);
    if constexpr (RowPart::kHasEntropy) {
      const float moved = top ? part.entropy : f * (part.entropy - shift * (part.s + 1));
      sum.entropy = reduce_lanes(f == 0 ? 0 : moved, add);
    }
    if constexpr (RowPart::kHasTarget) {
      const float moved = RowPart::shifted(squash, part.largest, part.mass, shift);
      sum.distance = reduce_lanes(part.distance - moved, add);
      sum.mass = reduce_lanes(part.mass, add);
    }
  }
  if constexpr (RowPart::kHasArgmax) {
    const auto lower = [](u32 a, u32 b) { return min(a, b); };
    sum.argmax = reduce_lanes(top ? part.argmax : kNoClass, lower);
    if constexpr (RowPart::kHasBest) {
      sum.best = reduce_lanes(part.best, larger);
      sum.best_class = reduce_lanes(part.best == sum.best ? part.best_class : kNoClass, lower);
    }
  }
  return sum;
}

// Merges `kCount` parts in shared memory. All lanes of the warp take part; each holds the result.
template <u32 kCount, class Target, u32 kOptions>
__device__ __forceinline__ Part<Target, kOptions> merge_shared(
    Slots<Part<Target, kOptions>, kCount>& shared, const Squash<kOptions>& squash) {
  using RowPart = Part<Target, kOptions>;
  const u32 lane = threadIdx.x % kWarp;
  RowPart own = lane < kCount ? shared[lane] : RowPart();
#pragma unroll
  for (u32 i = kWarp; i < kCount; i += kWarp) {
    if (i + lane < kCount) own = RowPart::merge(own, shared[i + lane], squash);
  }
  return merge_lanes<Target, kOptions>(own, squash);
}

// Adds elements of a row to a part, one chunk of vectors after the other.
template <class Logit, class Target, u32 kOptions>
struct Adder {
  static constexpr u32 N = kPerVector<Logit>;
  using RowPart = Part<Target, kOptions>;
  const Params& p;
  const Squash<kOptions>& squash;
  const Span<Logit>& span;
  const Logit* logits;  // (classes), the row
  const Target* q;      // (classes), the row, of probabilities
  bool q_aligned = false, weights_aligned = false;

  __device__ __forceinline__ Adder(const Params& p, const Squash<kOptions>& squash,
                                   const Span<Logit>& span, const Logit* logits, const Target* q)
      : p(p), squash(squash), span(span), logits(logits), q(q) {
    if constexpr (kProbabilities<Target>) q_aligned = span.aligns(q);
    if constexpr (kOptions & kClassWeights) weights_aligned = span.aligns(p.class_weights);
  }

  // A chunk: what of its elements is added up, relative to the part's new largest logit.
  struct Chunk : RowPart {
    float reference;
    float even = 0, odd = 0;  // sum(e) of elements below the largest
    u32 maxima = 0;           // elements that are the largest
  };

  // Adds full vectors j, j + stride, ..., with signs flipped where k < 0.
  template <u32 kVectors>
  __device__ __forceinline__ void add(RowPart& part, const uint4 (&v)[kVectors], i32 j,
                                      i32 stride) const {
    uint4 top = v[0];
#pragma unroll
    for (u32 k = 1; k < kVectors; k++) top = max<Logit>(top, v[k]);
    const float top_logit = largest<Logit>(top);
    if constexpr (RowPart::kHasArgmax) {
      if (top_logit > part.largest || part.argmax == kNoClass) {
        u32 first = kNoClass;
#pragma unroll
        for (i32 k = kVectors - 1; k >= 0; k--) {
          float x[N];
          unpack<Logit>(v[k], x);
#pragma unroll
          for (i32 i = N - 1; i >= 0; i--) {
            if (x[i] == top_logit) first = span.element(j + k * stride) + i;
          }
        }
        part.argmax = first;
      }
    }
    Chunk chunk;
    const float base = open(part, chunk, top_logit);
#pragma unroll
    for (u32 k = 0; k < kVectors; k++) {
      float x[N], u[N];
      unpack<Logit>(v[k], x);
      if constexpr (RowPart::kHasTarget) {
        target<false>(part, u, span.element(j + static_cast<i32>(k) * stride));
      }
#pragma unroll
      for (u32 i = 0; i < N; i++) one(chunk, x[i], u[i], i % 2);
    }
    close(part, chunk, base);
  }

  // A partial vector, with signs flipped where k < 0, and -inf outside the row.
  __device__ __forceinline__ uint4 partial(i32 j) const {
    const u32 padding = Element<Logit>::kLowest ^ p.sign_flip;
    return flip_signs(load_partial(logits, span, j, padding), p.sign_flip);
  }

  // Adds a partial vector.
  __device__ __forceinline__ void add_partial(RowPart& part, i32 j) const {
    float x[N], u[N];
    unpack<Logit>(partial(j), x);
    float top_logit = -infinity();
    const i32 element = span.element(j);
    u32 first = kNoClass;
#pragma unroll
    for (i32 i = N - 1; i >= 0; i--) {
      if (x[i] >= top_logit && span.contains(element + i)) first = element + i;
      top_logit = fmaxf(top_logit, x[i]);
    }
    if constexpr (RowPart::kHasArgmax) {
      if (top_logit > part.largest || part.argmax == kNoClass) part.argmax = first;
    }
    Chunk chunk;
    const float base = open(part, chunk, top_logit);
    if constexpr (RowPart::kHasTarget) target<true>(part, u, element);
#pragma unroll
    for (u32 i = 0; i < N; i++) {
      if (span.contains(element + static_cast<i32>(i))) one(chunk, x[i], u[i], i % 2);
    }
    close(part, chunk, base);
  }

  // u of the elements from `element` on: weighted probabilities, or class weights.
  template <bool kPartial>
  __device__ __forceinline__ void target(RowPart& part, float (&u)[N], i32 element) const {
    const auto read = [&](auto* row, bool aligned, float (&x)[N]) {
      if constexpr (kPartial) {
#pragma unroll
        for (u32 i = 0; i < N; i++) {
          const i32 at = element + static_cast<i32>(i);
          x[i] = span.contains(at) ? load(row + at) : 0;
        }
      } else {
        load_all(row + element, aligned, x);
      }
    };
    if constexpr (kProbabilities<Target>) {
      read(q, q_aligned, u);
      if constexpr (RowPart::kHasBest) {
#pragma unroll
        for (u32 i = 0; i < N; i++) {
          const i32 at = element + static_cast<i32>(i);
          const bool better = u[i] > part.best && (!kPartial || span.contains(at));
          part.best_class = better ? at : part.best_class;
          part.best = better ? u[i] : part.best;
        }
      }
#pragma unroll
      for (u32 i = 0; i < N; i++) u[i] = fmaf(u[i], p.keep, p.share);
    } else {
#pragma unroll
      for (u32 i = 0; i < N; i++) u[i] = 1;
    }
    if constexpr (kOptions & kClassWeights) {
      float w[N];
      read(p.class_weights, weights_aligned, w);
#pragma unroll
      for (u32 i = 0; i < N; i++) u[i] *= w[i];
    }
  }

 private:
  // Moves the part to the larger of its own and the chunk's largest logit. The result is what its
  // sum is then, before the chunk's own is added.
  __device__ __forceinline__ float open(RowPart& part, Chunk& chunk, float top_logit) const {
    const bool grows = top_logit > part.largest;
    chunk.reference = squash.reference(fmaxf(part.largest, top_logit));
    chunk.s = grows ? -1 : 0;  // the chunk has the maximum that is left out, or the part has
    if constexpr (RowPart::kHasEntropy) chunk.entropy = 0;
    const float shift = grows ? squash.distance(part.largest, chunk.reference) : 0;
    const float f = squash.power(part.largest, chunk.reference);
    if constexpr (RowPart::kHasEntropy) {
      const float moved = part.entropy - shift * (part.s + 1);
      part.entropy = grows ? (f == 0 ? 0 : f * moved) : part.entropy;
    }
    if constexpr (RowPart::kHasTarget) {
      part.distance -= RowPart::shifted(squash, part.largest, part.mass, shift);
    }
    const float base = grows ? (part.s + 1) * f : part.s;
    part.largest = chunk.largest = fmaxf(part.largest, top_logit);
    return base;
  }

  __device__ __forceinline__ void one(Chunk& chunk, float x, float u, bool odd) const {
    const float t = squash.distance(x, chunk.reference);
    const float e = squash.power(x, chunk.reference);
    // +inf counts too: then s is a NaN only where a logit is one.
    add_or_count(x, chunk.largest, e, odd ? chunk.odd : chunk.even, chunk.maxima);
    if constexpr (RowPart::kHasEntropy) chunk.entropy -= e == 0 ? 0 : t * e;
    if constexpr (RowPart::kHasTarget) {
      chunk.distance -= u == 0 ? 0 : t * u;
      chunk.mass += u;
    }
  }

  __device__ __forceinline__ void close(RowPart& part, const Chunk& chunk, float base) const {
    const float own = (chunk.even + chunk.odd) + (static_cast<float>(chunk.maxima) + chunk.s);
    part.s = base + own;
    if constexpr (RowPart::kHasEntropy) part.entropy += chunk.entropy;
    if constexpr (RowPart::kHasTarget) {
      part.distance += chunk.distance;
      part.mass += chunk.mass;
    }
  }
};

}  // namespace xent
