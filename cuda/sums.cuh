// The sums over part of a row, of its elements as they come.
#pragma once
#include "part.cuh"

namespace xent {

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
