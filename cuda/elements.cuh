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
  TermParams term;
};
static_assert(sizeof(ElementParams) == 504, "as in src/cuda/params.rs");

// `Target` is classes, the type of probabilities, or none.
template <class Target>
constexpr bool kHasTargets = true;
template <>
constexpr bool kHasTargets<none> = false;

// A row, and what its losses and derivatives are multiplied by.
template <class Logit, class Target>
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
  __device__ __forceinline__ i32 read_count() const {
    return target.counted ? p.of.rows.classes : 0;
  }
  __device__ __forceinline__ i32 count() const { return exists ? p.of.rows.classes : 0; }

  // The target of a class, smoothed.
  __device__ __forceinline__ float operator[](i32 c) const {
    if constexpr (!kHasTargets<Target>) return 0;
    float t;
    if constexpr (kProbabilities<Target> && kHasTargets<Target>) {
      t = probabilities[c];
    } else {
      t = c == target.index ? 1 : 0;
    }
    return fmaf(t, p.of.rows.keep, p.of.rows.share);
  }

  // The weight of an element, but for that of its row.
  __device__ __forceinline__ float weight(i32 c) const {
    float w = p.of.rows.class_weights ? p.of.rows.class_weights[c] : 1;
    if (p.weights.data) w = times(w, TensorRow<float>(p.weights, place)[c]);
    return w;
  }

  // The loss of an element with x in the place of its number, and its derivative by x.
  template <class OfElement>
  __device__ __forceinline__ Term term(i32 c, float x) const {
    const float v = p.pos_weights ? p.pos_weights[c] : 1;
    const Term term = OfElement::at(p.term, x, (*this)[c], v);
    const float w = weight(c);
    return {times(w, term.loss), times(w, term.slope)};
  }

  // Writes the loss of the row. One thread does.
  __device__ __forceinline__ void finish(double sum) const {
    if (exists && p.of.rows.loss) p.of.rows.loss[row] = static_cast<float>(times(sum, of_loss));
  }
};

}  // namespace xent
