// The sums over classes of one column, as a thread has them.
#pragma once
#include "part.cuh"

namespace xent {

// What a thread knows of the classes of a column that it has added.
//
// Its sums are relative to a logit that was the largest once, and is at most `kReach` behind the
// one that is. Where there are many chunks, this is 1: to move the sums at each new maximum would
// add up roundings where logits rise.
template <class Target, u32 kOptions, u32 kReach>
struct ColumnSums : EntropySum<Part<Target, kOptions>::kHasEntropy>,
                    TargetSum<Part<Target, kOptions>::kHasTarget>,
                    FirstMaximum<Part<Target, kOptions>::kHasArgmax>,
                    FirstTarget<Part<Target, kOptions>::kHasBest> {
  using RowPart = Part<Target, kOptions>;
  float largest = -infinity();
  float reference;  // what Squash::distance needs of the logit
  float s = 0;      // sum(e) of classes below the largest
  u32 maxima = 0;   // classes that are the largest

  // Makes this logit the largest. What until now were the maxima joins the others.
  __device__ __forceinline__ void rise(const Squash<kOptions>& squash, float top_logit) {
    const bool nothing = maxima == 0 || (!squash.kCapped && largest == -infinity());  // but -inf
    if (!nothing) s += static_cast<float>(maxima) * squash.power(largest, reference);
    maxima = 0;
    largest = top_logit;
    if (!nothing && squash.distance(top_logit, reference) <= kReach) return;
    const float to = squash.reference(top_logit);
    const float f = nothing ? 0 : exp2_fast(squash.log2_power_of(reference - to));
    const float shift = nothing ? 0 : squash.t_of(reference - to);
    if constexpr (RowPart::kHasEntropy) {
      this->entropy = f == 0 ? 0 : f * (this->entropy - shift * s);
    }
    if constexpr (RowPart::kHasTarget) this->distance -= this->mass == 0 ? 0 : shift * this->mass;
    s *= f;
    reference = to;
  }

  // All that was added, relative to its largest logit.
  __device__ __forceinline__ RowPart part(const Squash<kOptions>& squash) const {
    const float to = squash.reference(largest);
    const bool there = to == reference;  // perhaps both are infinite
    const float ahead = there ? 0 : squash.t_of(to - reference);
    const float f = there ? 1 : exp2_exact(squash.log2_power_of(reference - to), 0);
    const float others = s * f, top = static_cast<float>(maxima);
    RowPart part;
    part.largest = largest;
    part.s = others + (top - 1);
    if constexpr (RowPart::kHasEntropy) part.entropy = this->entropy * f + ahead * (others + top);
    if constexpr (RowPart::kHasTarget) {
      part.mass = this->mass;
      part.distance = this->distance + ahead * this->mass;
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
