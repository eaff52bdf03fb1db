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

  // `inside` where p is not clipped, else another number.
  __device__ __forceinline__ float select(float p, float inside, float below, float above) const {
    return p < low ? below : p > high ? above : inside;
  }
};
static_assert(sizeof(Clip) == 40, "as in src/cuda/params.rs");

// The loss of an element, or its surprisal -log p, and the derivative by x.
struct Term {
  float loss, slope;
};

// What an element is compared with.
struct Label {
  float t, rest;  // its target and 1 - t, each smoothed for itself
  float v;        // the weight of the positive part

  __device__ __forceinline__ float positive() const { return v * t; }
  // A binary cross entropy of the surprisals of p and of 1 - p.
  __device__ __forceinline__ Term of(const Term& l, const Term& l_of_rest) const {
    return {times(positive(), l.loss) + times(rest, l_of_rest.loss),
            times(positive(), l.slope) + times(rest, l_of_rest.slope)};
  }
};

// x is log p.
struct OfLogarithm {
  static __device__ __forceinline__ Term at(const Clip&, float x) { return {-x, -1}; }
};

// -log p and its derivative. Adding 0 makes +0 of -0, whose inverse is positive then.
__device__ __forceinline__ Term surprisal(float p) {
  return {-ln(p), quotient(-1, (p + 0.f) * kTwoTo23) * kTwoTo23};
}

// x is p, clipped to an interval.
struct OfProbability {
  static __device__ __forceinline__ Term at(const Clip& clip, float x) {
    const Term inside = surprisal(x);
    return {clip.select(x, inside.loss, clip.below, clip.above),
            clip.select(x, inside.slope, 0, 0)};
  }
};

// x is p, and its logarithm is at least -b.
struct OfFloored {
  static __device__ __forceinline__ Term at(const Clip& clip, float x) {
    const Term inside = surprisal(x);
    return {at_most(inside.loss, clip.bound), inside.loss > clip.bound ? 0 : inside.slope};
  }
};

// x is p, and the logarithm is that of p + e.
struct OfSum {
  static __device__ __forceinline__ Term at(const Clip& clip, float x) {
    return surprisal(x + clip.epsilon);
  }
};

// t l for a surprisal l.
template <class Surprisal>
struct CrossEntropy {
  static __device__ __forceinline__ Term at(const Clip& clip, float x, const Label& label) {
    const Term l = Surprisal::at(clip, x);
    return {times(label.t, l.loss), times(label.t, l.slope)};
  }
};

// q (log q + l) for a surprisal l and q = t, or log q = t.
template <class Surprisal, bool kLogTargets>
struct Divergence {
  static __device__ __forceinline__ Term at(const Clip& clip, float x, const Label& label) {
    const Term l = Surprisal::at(clip, x);
    const float t = label.t;
    const float q = kLogTargets ? exp_exact(t) : t, log_q = kLogTargets ? t : ln(t);
    return {times(q, q == 0 ? l.loss : log_q + l.loss), times(q, l.slope)};
  }
};

// p l, where x is p.
struct EntropyOfProbability {
  static __device__ __forceinline__ Term at(const Clip&, float x, const Label&) {
    const float l = -ln(x);
    return {times(x, l), l - 1};
  }
};

// p l, where x is log p.
struct EntropyOfLogarithm {
  static __device__ __forceinline__ Term at(const Clip&, float x, const Label&) {
    const float p = exp_exact(x);
    return {times(p, -x), times(p, -x - 1)};
  }
};

// (1 - t) softplus(x) + v t softplus(-x).
struct BinaryOfLogit {
  static __device__ __forceinline__ Term at(const Clip&, float x, const Label& label) {
    const float above = at_least(x, 0), below = at_least(-x, 0);
    const float e = exp_of_minus(x), rest = log1p_to_1(e);
    const float large = reciprocal(1 + e), small = e * large;
    const float of_x = x < 0 ? small : large, of_minus_x = x < 0 ? large : small;
    return {times(label.positive(), below + rest) + times(label.rest, above + rest),
            fmaf(label.rest, of_x, -label.positive() * of_minus_x)};
  }
};

// -log(1 - p) and its derivative by p.
__device__ __forceinline__ Term surprisal_of_rest(float p) {
  return {-log1p(-p), quotient(1, 1 - p)};
}

// v t l(p) + (1 - t) l(1 - p), where x is p, clipped to an interval.
struct BinaryOfProbability {
  static __device__ __forceinline__ Term at(const Clip& clip, float x, const Label& label) {
    const Term inside = surprisal_of_rest(x);
    const Term rest = {clip.select(x, inside.loss, clip.rest_below, clip.rest_above),
                       clip.select(x, inside.slope, 0, 0)};
    return label.of(OfProbability::at(clip, x), rest);
  }
};

// The same with logarithms of at least -b, each for itself, and the derivative that PyTorch has.
struct BinaryOfFloored {
  static __device__ __forceinline__ Term at(const Clip& clip, float x, const Label& label) {
    constexpr float kSmallest = 1e-12f;
    const float l = OfFloored::at(clip, x).loss, rest = at_most(-log1p(-x), clip.bound);
    const float variance = at_least(x * (1 - x), kSmallest);
    return {times(label.positive(), l) + times(label.rest, rest),
            quotient(fmaf(label.rest, x, -label.positive() * (1 - x)), variance)};
  }
};

// -v t log(p + e) - (1 - t) log(1 - p + e), where x is p.
struct BinaryOfSum {
  static __device__ __forceinline__ Term at(const Clip& clip, float x, const Label& label) {
    const float epsilon = clip.epsilon, sum = (1 - x) + epsilon;
    // 1 - p is exact above 1/2; below, the logarithm must not lose a small p.
    const Term rest = {x < 0.5f ? -log1p(epsilon - x) : -ln(sum), quotient(1, sum + 0.f)};
    return label.of(OfSum::at(clip, x), rest);
  }
};

}  // namespace xent
