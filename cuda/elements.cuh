// Losses that are sums over elements: what the kernels get, and what a row has of it.
#pragma once
#include "loss.cuh"
#include "tensor.cuh"
#include "terms.cuh"

namespace xent {

// `src/cuda/params.rs` has the twin.
struct ElementParams {
  TensorParams of;           // `upstream` is that of the losses of elements, `output` the gradient
  Tensor weights;            // of elements
  Tensor losses;             // of elements
  const float* pos_weights;  // (classes)
  double of_loss;            // what the loss of a row or of an element is multiplied by
  double of_slope;           // and its derivatives, beside the scales
  Clip clip;
};
static_assert(sizeof(ElementParams) == 496, "as in src/cuda/params.rs");

// `Target` is classes, the type of probabilities, or none.
template <class Target>
constexpr bool kHasTargets = true;
template <>
constexpr bool kHasTargets<none> = false;

// Multiplies all by a factor that is seldom 0 or infinite, as `times` does.
template <u32 kCount>
__device__ __forceinline__ void multiply(float (&x)[kCount], float factor) {
  if (factor != 0 && is_finite(factor)) {
#pragma unroll
    for (u32 k = 0; k < kCount; k++) x[k] *= factor;
  } else {
#pragma unroll
    for (u32 k = 0; k < kCount; k++) x[k] = times(x[k], factor);
  }
}

// A row, and what its losses and derivatives are multiplied by.
template <class Logit, class Target, u32 kOptions>
struct ElementRow {
  const ElementParams& p;
  i64 row;
  bool exists;       // a grid may have more rows than there are
  RowTarget target;  // not valid, but counted: all of the row is NaN
  Place place;
  TensorRow<Logit> logits;
  TensorRow<Target> probabilities;
  double of_loss, of_slope;

  __device__ __forceinline__ ElementRow(const ElementParams& p, i64 row)
      : p(p),
        row(row),
        exists(row < p.of.rows.rows),
        target{false, true, -1, 1},
        place(p.of, row),
        logits(p.of.logits, place),
        probabilities(p.of.targets, place),
        of_loss(0),
        of_slope(0) {
    if (!exists) return;
    const Params& rows = p.of.rows;
    target = row_target<Target>(rows, row);
    if (!target.counted) return;  // whose loss is 0
    double weight = rows.row_weights ? rows.row_weights[row] : 1;
    if (!target.valid) weight = nan();
    const double dloss = rows.dloss ? rows.dloss[rows.flags & kDlossPerRow ? row : 0] : 1;
    of_loss = weight * p.of_loss;
    of_slope = weight * p.of_slope * rows.scaled_by(&Scales::cross_entropy) * dloss;
  }

  // Classes that are read, and that are written.
  __device__ __forceinline__ u32 read_count() const {
    return target.counted ? p.of.rows.classes : 0;
  }
  __device__ __forceinline__ u32 count() const { return exists ? p.of.rows.classes : 0; }

  // The targets of a turn.
  template <class Turn>
  __device__ __forceinline__ void labels(const Turn& turn, Label (&label)[Turn::kCount]) const {
    float t[Turn::kCount], v[Turn::kCount];
    if constexpr (kProbabilities<Target> && kHasTargets<Target>) probabilities.read(turn, t);
    of_classes(p.pos_weights, turn, v);
#pragma unroll
    for (u32 k = 0; k < Turn::kCount; k++) {
      if constexpr (!kHasTargets<Target>) t[k] = 0;
      if constexpr (!kProbabilities<Target>) t[k] = turn[k] == static_cast<u32>(target.index);
      label[k] = {smoothed(t[k]), smoothed(1 - t[k]), v[k]};
    }
  }
  __device__ __forceinline__ float smoothed(float t) const {
    return kOptions & kSmoothing ? fmaf(t, p.of.rows.keep, p.of.rows.share) : t;
  }

  // Numbers of a turn that an array has for each class; 1 without one.
  template <class Turn>
  static __device__ __forceinline__ void of_classes(const float* numbers, const Turn& turn,
                                                    float (&x)[Turn::kCount]) {
    if ((kOptions & kWeights) && numbers) {
#pragma unroll
      for (u32 k = 0; k < Turn::kCount; k++) x[k] = numbers[turn[k]];
    } else {
#pragma unroll
      for (u32 k = 0; k < Turn::kCount; k++) x[k] = 1;
    }
  }

  // The weights of its elements, but for that of the row.
  template <class Turn>
  __device__ __forceinline__ void weights(const Turn& turn, float (&w)[Turn::kCount]) const {
    of_classes(p.of.rows.class_weights, turn, w);
    if constexpr (kOptions & kWeights) {
      if (p.weights.data) {
        float of_element[Turn::kCount];
        TensorRow<float>(p.weights, place).read(turn, of_element);
#pragma unroll
        for (u32 k = 0; k < Turn::kCount; k++) w[k] = times(w[k], of_element[k]);
      }
    }
  }

  // The losses of its elements with x in the places of their numbers, and the derivatives by x.
  template <class OfElement, class Turn>
  __device__ __forceinline__ void terms(const Turn& turn, const float (&x)[Turn::kCount],
                                        float (&loss)[Turn::kCount],
                                        float (&slope)[Turn::kCount]) const {
    Label label[Turn::kCount];
    float w[Turn::kCount];
    labels(turn, label);
    weights(turn, w);
#pragma unroll
    for (u32 k = 0; k < Turn::kCount; k++) {
      const Term term = OfElement::at(p.clip, x[k], label[k]);
      loss[k] = kOptions & kWeights ? times(w[k], term.loss) : term.loss;
      slope[k] = kOptions & kWeights ? times(w[k], term.slope) : term.slope;
    }
  }

  // Writes the loss of the row. One thread does.
  __device__ __forceinline__ void finish(double sum) const {
    if (exists && p.of.rows.loss) p.of.rows.loss[row] = static_cast<float>(times(sum, of_loss));
  }
};

}  // namespace xent
