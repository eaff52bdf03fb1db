// The losses that are sums over elements, and their derivatives: the terms of `src/cpu/terms.rs`,
// by the same names.
//
// An element has a number x, its target t, and in a binary cross entropy the weight v of the
// positive part. In all of this 0 times infinity is 0, and a NaN stays one.
#pragma once
#include "log.cuh"

namespace xent {

// How logarithms of probabilities are kept finite. `src/cuda/params.rs` has the twin.
struct Clip {
  float low, high;               // the smallest and the largest p that is not clipped
  float below, above;            // -log p beyond them
  float rest_below, rest_above;  // -log(1 - p) beyond them
  float lowest, highest;         // what p becomes beyond them
  float bound;                   // the largest -log p
  float epsilon;                 // added to p
};
static_assert(sizeof(Clip) == 40, "as in src/cuda/params.rs");

// What a term needs beside the numbers of its element.
struct TermParams {
  Clip clip;
  float keep, share;  // of the targets of a binary cross entropy, under label smoothing

  // `inside` where p is not clipped, else another number.
  __device__ __forceinline__ float select(float p, float inside, float below, float above) const {
    return p < clip.low ? below : p > clip.high ? above : inside;
  }
};
static_assert(sizeof(TermParams) == 48, "as in src/cuda/params.rs");

// The loss of an element, or its surprisal -log p, and the derivative by x.
struct Term {
  float loss, slope;
};

// x is log p.
struct OfLogarithm {
  static __device__ __forceinline__ Term at(const TermParams&, float x) { return {-x, -1}; }
};

// -log p and its derivative. Adding 0 makes +0 of -0, whose inverse is positive then.
__device__ __forceinline__ Term surprisal(float p) {
  const Raised raised(p + 0.f);
  return {-ln(raised), quotient(-1, raised.x) * raised.by};
}

// x is p, clipped to an interval.
struct OfProbability {
  static __device__ __forceinline__ Term at(const TermParams& p, float x) {
    const Term inside = surprisal(x);
    return {p.select(x, inside.loss, p.clip.below, p.clip.above), p.select(x, inside.slope, 0, 0)};
  }
};

// x is p, and its logarithm is at least -b.
struct OfFloored {
  static __device__ __forceinline__ Term at(const TermParams& p, float x) {
    const Term inside = surprisal(x);
    return inside.loss > p.clip.bound ? Term{p.clip.bound, 0} : inside;
  }
};

// x is p, and the logarithm is that of p + e.
struct OfSum {
  static __device__ __forceinline__ Term at(const TermParams& p, float x) {
    return surprisal(x + p.clip.epsilon);
  }
};

// t l for a surprisal l.
template <class Surprisal>
struct CrossEntropy {
  static __device__ __forceinline__ Term at(const TermParams& p, float x, float t, float) {
    const Term l = Surprisal::at(p, x);
    return {times(t, l.loss), times(t, l.slope)};
  }
};

// q (log q + l) for a surprisal l and q = t, or log q = t.
template <class Surprisal, bool kLogTargets>
struct Divergence {
  static __device__ __forceinline__ Term at(const TermParams& p, float x, float t, float) {
    const Term l = Surprisal::at(p, x);
    const float q = kLogTargets ? exp_exact(t) : t, log_q = kLogTargets ? t : ln(t);
    return {times(q, q == 0 ? l.loss : log_q + l.loss), times(q, l.slope)};
  }
};

// p l, where x is p.
struct EntropyOfProbability {
  static __device__ __forceinline__ Term at(const TermParams&, float x, float, float) {
    const float l = -ln(x);
    return {times(x, l), l - 1};
  }
};

// p l, where x is log p.
struct EntropyOfLogarithm {
  static __device__ __forceinline__ Term at(const TermParams&, float x, float, float) {
    const float p = exp_exact(x);
    return {times(p, -x), times(p, -x - 1)};
  }
};

// What the two parts of a binary cross entropy are multiplied by: 1 - t and v t, both smoothed.
struct Labels {
  float negative, positive;

  __device__ __forceinline__ Labels(const TermParams& p, float t, float v)
      : negative(fmaf(1 - t, p.keep, p.share)), positive(v * fmaf(t, p.keep, p.share)) {}
  __device__ __forceinline__ Term of(const Term& l, const Term& rest) const {
    return {times(positive, l.loss) + times(negative, rest.loss),
            times(positive, l.slope) + times(negative, rest.slope)};
  }
};

// (1 - t) softplus(x) + v t softplus(-x).
struct BinaryOfLogit {
  static __device__ __forceinline__ Term at(const TermParams& p, float x, float t, float v) {
    const float above = at_least(x, 0), below = at_least(-x, 0);
    const float e = exp_of_minus(x), rest = log1p_to_1(e);
    const float large = reciprocal(1 + e), small = e * large;
    const Labels labels(p, t, v);
    return {times(labels.positive, below + rest) + times(labels.negative, above + rest),
            labels.negative * (x < 0 ? small : large) - labels.positive * (x < 0 ? large : small)};
  }
};

// -log(1 - p) and its derivative by p.
__device__ __forceinline__ Term surprisal_of_rest(float p) {
  return {-log1p(-p), quotient(1, 1 - p)};
}

// v t l(p) + (1 - t) l(1 - p), where x is p, clipped to an interval.
struct BinaryOfProbability {
  static __device__ __forceinline__ Term at(const TermParams& p, float x, float t, float v) {
    const Term inside = surprisal_of_rest(x);
    const Term rest = {p.select(x, inside.loss, p.clip.rest_below, p.clip.rest_above),
                       p.select(x, inside.slope, 0, 0)};
    return Labels(p, t, v).of(OfProbability::at(p, x), rest);
  }
};

// The same with logarithms of at least -b, each for itself, and the derivative that PyTorch has.
struct BinaryOfFloored {
  static __device__ __forceinline__ Term at(const TermParams& p, float x, float t, float v) {
    constexpr float kSmallest = 1e-12f;
    const float l = OfFloored::at(p, x).loss, rest = at_most(-log1p(-x), p.clip.bound);
    const float variance = at_least(x * (1 - x), kSmallest);
    const Labels labels(p, t, v);
    return {times(labels.positive, l) + times(labels.negative, rest),
            quotient(labels.negative * x - labels.positive * (1 - x), variance)};
  }
};

// -v t log(p + e) - (1 - t) log(1 - p + e), where x is p.
struct BinaryOfSum {
  static __device__ __forceinline__ Term at(const TermParams& p, float x, float t, float v) {
    const float epsilon = p.clip.epsilon, sum = (1 - x) + epsilon;
    // 1 - p is exact above 1/2; below, the logarithm must not lose a small p.
    const Term rest = {x < 0.5f ? -log1p(epsilon - x) : -ln(sum), quotient(1, sum + 0.f)};
    return Labels(p, t, v).of(OfSum::at(p, x), rest);
  }
};

}  // namespace xent
