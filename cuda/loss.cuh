// Cross entropy of one row: its target, its results and its gradient.
#pragma once
#include "sums.cuh"

namespace xent {

// The target of a row.
struct RowTarget {
  bool counted;  // not an ignored row
  bool valid;    // a class, or probabilities
  i32 index;     // the class; -1 without one
  float weight;  // of the class
};

// All threads get the same.
template <class Target>
__device__ __forceinline__ RowTarget row_target(const Params& p, i64 row) {
  if constexpr (kProbabilities<Target>) return {true, true, -1, 1};
  const i64 y = class_index(p.targets, p.target_type, row);
  const bool counted = !(p.flags & kIgnore && y == p.ignore_index);
  const bool valid = static_cast<u64>(y) < p.classes;
  const i32 index = counted && valid ? static_cast<i32>(y) : -1;
  const float weight = index >= 0 && p.class_weights ? p.class_weights[index] : 1;
  return {counted, valid, index, weight};
}

// The softmax of a row: p = e / (1 + s).
template <u32 kOptions>
struct Softmax {
  float largest;    // oriented logit
  float reference;  // what Squash::distance needs of it, if it is defined
  float s;
  float p_max;   // p of the largest logit
  bool defined;  // there is no NaN, and the largest z is finite

  __device__ __forceinline__ Softmax(const Squash<kOptions>& squash, float largest, float s)
      : largest(largest), reference(squash.finite_reference(largest)), s(s) {
    p_max = 1 / (1 + s);
    defined = !is_nan(s) && (Squash<kOptions>::kCapped || is_finite(largest));
  }
  __device__ __forceinline__ float log1p_s() const { return log1pf(s); }
  __device__ __forceinline__ float lse(const Squash<kOptions>& squash) const {
    return squash.z(largest) + log1p_s();
  }
};

// What the gradient of a row needs beside t and e of its elements.
struct Factors {
  float of_p;                             // of e: (sum(u) and the part of the z-loss) p_max slope
  float of_u;                             // of u, or of the class weight: its share of smoothing
  float hit;                              // what is subtracted at the class of the target
  float at_max;                           // the gradient at that class, where it is a maximum
  float unit, mass, z_part, p_max, rest;  // for probabilities
};

template <class Target, u32 kOptions>
__device__ __forceinline__ Factors row_factors(const Params& p, i64 row, const RowTarget& target,
                                               float mass, const Squash<kOptions>& squash,
                                               const Softmax<kOptions>& softmax) {
  Factors f;
  const float dloss = p.dloss ? p.dloss[p.flags & kDlossPerRow ? row : 0] : 1;
  const float row_weight = p.row_weights ? p.row_weights[row] : 1;
  const float slope = squash.constant_slope();
  using Factor = typename Squash<kOptions>::Factor;
  Factor unit = dloss * static_cast<Factor>(p.scaled_by(&Scales::cross_entropy)) * row_weight;
  if (!softmax.defined || !target.valid) unit = nan();
  f.unit = static_cast<float>(unit);
  f.z_part = 0;
  if (p.z_loss != 0) {
    const float z_scale = dloss * static_cast<float>(p.scaled_by(&Scales::z_loss));
    f.z_part = z_scale * (2 * p.z_loss) * softmax.lse(squash);
  }
  f.mass = mass;
  f.p_max = softmax.p_max;
  f.rest = softmax.s * softmax.p_max;
  if constexpr (kProbabilities<Target>) {
    f.of_p = (f.unit * mass + f.z_part) * f.p_max * slope;
    f.of_u = static_cast<float>(unit * slope);
    f.hit = f.at_max = 0;
  } else {
    const Factor hit = unit * p.keep * target.weight;
    Factor even = 0, others = f.z_part;
    if constexpr (kOptions & kSmoothing) {
      even = unit * p.share;
      others += even * p.scaled_by(&Scales::weight_sum);
    }
    f.of_p = static_cast<float>((hit + others) * f.p_max * slope);
    f.of_u = static_cast<float>(even * slope);
    f.hit = static_cast<float>(hit * slope);
    f.at_max = static_cast<float>((others * f.p_max - hit * f.rest - even * target.weight) * slope);
  }
  return f;
}

// The gradient at a logit x, but for what is subtracted at the class of the target. `u`: as Adder
// has it.
template <class Target, u32 kOptions>
__device__ __forceinline__ float gradient(const Factors& f, const Squash<kOptions>& squash,
                                          const Softmax<kOptions>& softmax, float x,
                                          const typename Squash<kOptions>::Point& at, float u) {
  float g = squash.power(at, softmax.reference) * f.of_p;
  if constexpr (kProbabilities<Target>) {
    if (u != 0) {
      const float at_max = (f.unit * ((f.mass - u) * f.p_max - u * f.rest) + f.z_part * f.p_max) *
                           squash.constant_slope();
      g = x == softmax.largest ? at_max : fmaf(-f.of_u, u, g);
    }
  } else if constexpr (kOptions & kSmoothing) {
    g = fmaf(-f.of_u, u, g);
  }
  return Squash<kOptions>::kCapped ? g * at.slope : g;
}

// The gradient at the class of the target.
template <u32 kOptions>
__device__ __forceinline__ float target_gradient(const Factors& f, const Squash<kOptions>& squash,
                                                 const Softmax<kOptions>& softmax, float x,
                                                 float weight) {
  const auto at = squash.at(x);
  float g = squash.power(at, softmax.reference) * f.of_p;
  if constexpr (kOptions & kSmoothing) g = fmaf(-f.of_u, weight, g);
  g = x == softmax.largest ? f.at_max : g - f.hit;
  return Squash<kOptions>::kCapped ? g * at.slope : g;
}

// Writes the results of an ignored row. One thread does.
__device__ __forceinline__ void write_ignored(const Params& p, i64 row) {
  if (p.loss) p.loss[row] = 0;
  if (p.z_losses) p.z_losses[row] = 0;
  if (p.lse) p.lse[row] = 0;
  if (p.stats) p.stats[row] = {0, 0};
  if (p.entropy) p.entropy[row] = 0;
  if (p.argmax) p.argmax[row] = -1;
  if (p.correct) p.correct[row] = 0;
}

// Writes the results of a counted row. One thread does. `x`: the logit of the target's class.
template <class Target, u32 kOptions>
__device__ __forceinline__ void write_row(const Params& p, i64 row, const RowTarget& target,
                                          float x, const Part<Target, kOptions>& part,
                                          const Squash<kOptions>& squash,
                                          const Softmax<kOptions>& softmax) {
  using RowPart = Part<Target, kOptions>;
  const bool defined = softmax.defined;
  const float undefined = is_nan(part.s) ? nan() : part.largest;
  const float log1p_s = softmax.log1p_s();
  const float lse = defined ? softmax.lse(squash) : undefined;
  if (p.loss) {
    float loss;
    if constexpr (kProbabilities<Target>) {
      loss = times(part.mass, log1p_s) + part.distance;
    } else {
      const float t = squash.distance(x, softmax.reference);
      loss = times(p.keep, times(target.weight, log1p_s - t));
      if constexpr (kOptions & kSmoothing) {
        const float spread = p.scaled_by(&Scales::weight_sum) * log1p_s + part.distance;
        loss += times(p.share, spread);
      }
    }
    if (p.row_weights) loss = times(p.row_weights[row], loss);
    if (!defined || !target.valid) loss = nan();
    float z_loss = 0;
    if (p.z_loss != 0 && defined) z_loss = p.z_loss * lse * lse;
    if (p.z_losses) p.z_losses[row] = z_loss;
    p.loss[row] = p.z_losses ? loss : loss + z_loss;
  }
  if (p.lse) p.lse[row] = lse;
  if (p.stats) {
    const float largest = defined ? part.largest : undefined;
    p.stats[row] = {p.sign_flip ? -largest : largest, defined ? part.s : nan()};
  }
  if constexpr (RowPart::kHasEntropy) {
    const float entropy = log1p_s + part.entropy * softmax.p_max;
    if (p.entropy) p.entropy[row] = defined ? entropy : nan();
  }
  if constexpr (RowPart::kHasArgmax) {
    if (p.argmax) p.argmax[row] = defined ? static_cast<i64>(part.argmax) : -1;
    u32 best = target.index;
    if constexpr (RowPart::kHasBest) best = part.best_class;
    if (p.correct) p.correct[row] = defined && part.argmax == best;
  }
}

}  // namespace xent
