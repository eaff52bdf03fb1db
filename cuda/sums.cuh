// How the elements of a row join the sums of a thread.
#pragma once
#include "running.cuh"

namespace xent {

// Adds elements of a row to the sums of a thread, one chunk of vectors after the other.
template <class Logit, class Target, u32 kOptions>
struct Adder {
  static constexpr u32 N = kPerVector<Logit>;
  using RowPart = Part<Target, kOptions>;
  using RowRunning = Running<Target, kOptions>;
  using Best = FirstTarget<RowPart::kHasBest>;
  using Point = typename Squash<kOptions>::Point;
  // Elements whose points are found at once.
  static constexpr u32 kTogether = Squash<kOptions>::kCapped ? 4 : 1;
  const Params& p;
  const Squash<kOptions>& squash;
  const Span<Logit>& span;
  const Logit* logits;                         // (classes), the row
  const Target* q;                             // (classes), the row, of probabilities
  u32 q_alignment = 0, weights_alignment = 0;  // of their pieces

  __device__ __forceinline__ Adder(const Params& p, const Squash<kOptions>& squash,
                                   const Span<Logit>& span, const Logit* logits, const Target* q)
      : p(p), squash(squash), span(span), logits(logits), q(q) {
    if constexpr (kProbabilities<Target>) q_alignment = span.alignment(q);
    if constexpr (kOptions & kClassWeights) weights_alignment = span.alignment(p.class_weights);
  }

  // What a chunk of at most 32 elements adds, in short chains: a large addend rounds all that
  // follow it, and may round them alike. What is added to -0 costs no instruction.
  struct Chunk {
    static constexpr u32 kVectors = 32 / N;
    float s[4] = {0, 0, 0, 0}, entropy[2] = {0, 0};
    float distance[8], mass[8];

    __device__ __forceinline__ Chunk() {
#pragma unroll
      for (u32 i = 0; i < 8; i++) distance[i] = mass[i] = -0.f;
    }
  };

  // Adds full vectors j, j + stride, ..., with signs flipped where k < 0.
  template <u32 kVectors>
  __device__ __forceinline__ void add(RowRunning& sums, const uint4 (&v)[kVectors], i32 j,
                                      i32 stride) const {
    static_assert(kVectors <= Chunk::kVectors, "one chunk");
    uint4 top = v[0];
#pragma unroll
    for (u32 k = 1; k < kVectors; k++) top = max<Logit>(top, v[k]);
    const float top_logit = largest<Logit>(top);
    if constexpr (RowPart::kHasArgmax) {
      if (top_logit > sums.largest || sums.argmax == kNoClass) {
        sums.argmax = find(v, top_logit, j, stride);
      }
    }
    Chunk chunk;
    if (top_logit > sums.largest) chunk.s[0] = sums.rise(top_logit, squash);
#pragma unroll
    for (u32 k = 0; k < kVectors; k++) {
      float x[N], u[N];
      unpack<Logit>(v[k], x);
      if constexpr (RowPart::kHasTarget) {
        target<false>(sums, u, span.element(j + static_cast<i32>(k) * stride));
      }
#pragma unroll
      for (u32 i = 0; i < N; i += kTogether) {
        Point at[kTogether];
        squash.at(&x[i], at);
#pragma unroll
        for (u32 n = 0; n < kTogether; n++) {
          one(sums, chunk, x[i + n], at[n], u[i + n], k * N + i + n);
        }
      }
    }
    close(sums, chunk);
  }

  // Makes a part of vectors, which may be padded with -inf, where nothing is summed over classes.
  // `largest` is a logit no less than theirs; `leaves_out`: one that is as large is left out.
  // Writes the exponentials, relative to it, to `powers`.
  template <u32 kVectors>
  __device__ __forceinline__ RowPart gather(const uint4 (&v)[kVectors], float largest,
                                            bool leaves_out, i32 j, i32 stride,
                                            float (&powers)[kVectors][N]) const {
    static_assert(!RowPart::kHasTarget && !Squash<kOptions>::kCapped,
                  "padding would add something");
    RowPart part;
    if constexpr (RowPart::kHasArgmax) part.argmax = find(v, largest, j, stride);
    RowRunning sums(squash);
    sums.largest = part.largest = largest;
    sums.reference = squash.reference(largest);
    float s = -0.f, entropy = -0.f;
#pragma unroll
    for (u32 begin = 0; begin < kVectors; begin += Chunk::kVectors) {
      Chunk chunk;
#pragma unroll
      for (u32 k = begin; k < kVectors && k < begin + Chunk::kVectors; k++) {
        float x[N];
        unpack<Logit>(v[k], x);
#pragma unroll
        for (u32 i = 0; i < N; i++) powers[k][i] = one(sums, chunk, x[i], squash.at(x[i]), 0, i);
      }
      s += in_pairs(chunk.s);
      entropy += in_pairs(chunk.entropy);
    }
    part.s = s + static_cast<float>(static_cast<i32>(sums.maxima - (leaves_out ? 1 : 0)));
    if constexpr (RowPart::kHasEntropy) part.entropy = entropy;
    return part;
  }

  // A vector of logits with signs flipped where k < 0.
  static constexpr bool kFlips = kOptions & (kScale | kSoftcap);
  __device__ __forceinline__ uint4 oriented(uint4 v) const {
    return kFlips ? flip_signs(v, p.sign_flip) : v;
  }

  // A partial vector, with signs flipped where k < 0, and -inf outside the row.
  __device__ __forceinline__ uint4 partial(i32 j) const {
    const u32 padding = Element<Logit>::kLowest ^ p.sign_flip;
    return oriented(load_partial(logits, span, j, padding));
  }

  // Adds a partial vector, before or after others.
  __device__ __forceinline__ void add_partial(RowRunning& sums, i32 j) const {
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
      if (top_logit == sums.largest) first = min(first, sums.argmax);
      if (top_logit >= sums.largest) sums.argmax = first;
    }
    Chunk chunk;
    if (top_logit > sums.largest) chunk.s[0] = sums.rise(top_logit, squash);
    if constexpr (RowPart::kHasTarget) target<true>(sums, u, element);
#pragma unroll
    for (u32 i = 0; i < N; i++) {
      if (!span.contains(element + static_cast<i32>(i))) continue;
      one(sums, chunk, x[i], squash.at(x[i]), u[i], i);
    }
    close(sums, chunk);
  }

  // u of the elements from `element` on: weighted probabilities, or class weights.
  template <bool kPartial>
  __device__ __forceinline__ void target(Best& first, float (&u)[N], i32 element) const {
    const auto read = [&](auto* row, u32 alignment, float (&x)[N]) {
      if constexpr (kPartial) {
#pragma unroll
        for (u32 i = 0; i < N; i++) {
          const i32 at = element + static_cast<i32>(i);
          x[i] = span.contains(at) ? load(row + at) : 0;
        }
      } else {
        load_all(row + element, alignment, x);
      }
    };
    if constexpr (kProbabilities<Target>) {
      read(q, q_alignment, u);
      if constexpr (RowPart::kHasBest) {
#pragma unroll
        for (u32 i = 0; i < N; i++) {
          const i32 at = element + static_cast<i32>(i);
          bool better = u[i] > first.best;
          if constexpr (kPartial) {
            const bool before = u[i] == first.best && static_cast<u32>(at) < first.best_class;
            better = (better || before) && span.contains(at);
          }
          first.best_class = better ? at : first.best_class;
          first.best = better ? u[i] : first.best;
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
      read(p.class_weights, weights_alignment, w);
#pragma unroll
      for (u32 i = 0; i < N; i++) u[i] *= w[i];
    }
  }

 private:
  // The first element that is `x`.
  template <u32 kVectors>
  __device__ __forceinline__ u32 find(const uint4 (&v)[kVectors], float x, i32 j,
                                      i32 stride) const {
    u32 first = kNoClass;
#pragma unroll
    for (i32 k = kVectors - 1; k >= 0; k--) {
      float y[N];
      unpack<Logit>(v[k], y);
#pragma unroll
      for (i32 i = N - 1; i >= 0; i--) {
        if (y[i] == x) first = span.element(j + k * stride) + i;
      }
    }
    return first;
  }

  // `i`: the number of the element in the chunk. The result is the exponential.
  __device__ __forceinline__ float one(RowRunning& sums, Chunk& chunk, float x, const Point& at,
                                       float u, u32 i) const {
    const float t = squash.distance(at, sums.reference);
    const float e = squash.power(at, sums.reference);
    // +inf counts too: then s is a NaN only where a logit is one.
    add_or_count(x, sums.largest, e, chunk.s[i % 4], sums.maxima);
    if constexpr (RowPart::kHasEntropy) chunk.entropy[i % 2] -= e == 0 ? 0 : t * e;
    if constexpr (RowPart::kHasTarget) {
      chunk.distance[i / 4] -= u == 0 ? 0 : t * u;
      chunk.mass[i / 4] += u;
    }
    return e;
  }

  __device__ __forceinline__ void close(RowRunning& sums, const Chunk& chunk) const {
    sums.s.add(in_pairs(chunk.s));
    if constexpr (RowPart::kHasEntropy) sums.entropy.add(in_pairs(chunk.entropy));
    if constexpr (RowPart::kHasTarget) {
      sums.distance.add(in_pairs(chunk.distance));
      sums.mass.add(in_pairs(chunk.mass));
    }
  }
};

}  // namespace xent
