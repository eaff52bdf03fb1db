// The sums of a thread over elements of a row or of a column, as they come.
#pragma once
#include "part.cuh"

namespace xent {

// A sum, and what its last place could not hold of it: as good as one in double, of any number of
// addends. The one may be infinite.
struct Carried {
  float sum = 0, low = 0;

  __device__ __forceinline__ void add(float x) {
    const float next = sum + x;
    low += x - (next - sum);
    sum = next;
  }
  __device__ __forceinline__ void scale(float f) {
    sum *= f;
    low *= f;
  }
  __device__ __forceinline__ float value() const { return is_finite(sum) ? sum + low : sum; }
};

// A sum of few addends.
struct Few {
  float sum = 0;

  __device__ __forceinline__ void add(float x) { sum += x; }
  __device__ __forceinline__ void scale(float f) { sum *= f; }
  __device__ __forceinline__ float value() const { return sum; }
};

// What a thread knows of the elements that it has added. What the options do not ask for stays 0.
//
// Its sums are relative to a logit that was the largest once, and is at most `kReach` behind the
// one that is. So sums of many elements move seldom: to move at each new maximum would add up
// roundings where logits rise. If there are logits that little apart, s is not small, and neither
// are its roundings allowed to be.
//
// kMany: of any number of elements; else of so few that plain sums will do.
template <class Target, u32 kOptions, bool kMany = true>
struct Running : FirstMaximum<Part<Target, kOptions>::kHasArgmax>,
                 FirstTarget<Part<Target, kOptions>::kHasBest> {
  using RowPart = Part<Target, kOptions>;
  using Sum = typename Either<kMany, Carried, Few>::Type;
  static constexpr float kReach = kMany ? 1 : 0;  // of the largest logit ahead of the reference

  float largest = -infinity();
  float reference;  // what Squash::distance needs of the logit
  u32 maxima = 0;   // elements that are the largest
  Sum s;            // sum(e) of the others
  Sum entropy, distance, mass;

  Running() = default;
  __device__ __forceinline__ explicit Running(const Squash<kOptions>& squash)
      : reference(squash.reference(-infinity())) {}

  // Makes this logit the largest. What until now were the maxima joins the sum of the others: the
  // result is what they add.
  __device__ __forceinline__ float rise(float top_logit, const Squash<kOptions>& squash) {
    const bool nothing = !squash.kCapped && largest == -infinity();  // but -inf
    const float joins = static_cast<float>(maxima) * squash.power(largest, reference);
    maxima = 0;
    largest = top_logit;
    if (!nothing && squash.distance(top_logit, reference) <= kReach) return joins;
    const float to = squash.reference(top_logit);
    const float f = nothing ? 0 : squash.power_of(reference - to);
    const float shift = nothing ? 0 : squash.t_of(reference - to);
    if constexpr (RowPart::kHasEntropy) {
      entropy.add(-shift * (s.value() + joins));
      entropy.scale(f);
      if (f == 0) entropy = Sum();
    }
    if constexpr (RowPart::kHasTarget) {
      const float known = mass.value();
      distance.add(known == 0 ? 0 : -shift * known);
    }
    s.scale(f);
    reference = to;
    return joins * f;
  }

  // All that was added, relative to its largest logit.
  __device__ __forceinline__ RowPart part(const Squash<kOptions>& squash) const {
    const float to = squash.reference(largest);
    const bool there = to == reference;  // perhaps both are infinite
    const float ahead = there ? 0 : squash.t_of(to - reference);
    const float f = there ? 1 : exp2_exact(squash.log2_power_of(reference - to));
    const float others = s.value() * f, count = static_cast<float>(maxima);
    RowPart part;
    part.largest = largest;
    part.s = others + (count - 1);
    if constexpr (RowPart::kHasEntropy) {
      part.entropy = entropy.value() * f + ahead * (others + count);
    }
    if constexpr (RowPart::kHasTarget) {
      part.mass = mass.value();
      part.distance = distance.value() + ahead * part.mass;
    }
    if constexpr (RowPart::kHasArgmax) part.argmax = this->argmax;
    if constexpr (RowPart::kHasBest) {
      part.best = this->best;
      part.best_class = this->best_class;
    }
    return part;
  }
};

}  // namespace xent
