// Tensors of any layout, a row at a time, and who shares a row.
#pragma once
#include "group.cuh"

namespace xent {

// (outer, classes, inner). Strides are in elements.
struct Tensor {
  void* data;  // NULL: not wanted, or not given
  i64 outer;
  i64 by_class;
  i64 inner;
};

// Of the kernels for tensors of any layout. `src/cuda/params.rs` has the twins of these structs.
struct TensorParams {
  Params rows;      // but for its addresses and strides of tensors
  Tensor logits;    // or the output of a softmax
  Tensor targets;   // probabilities
  Tensor upstream;  // gradient of a softmax, of a gradient, or of the losses of elements
  Tensor output;    // a softmax, or a gradient
  i64 inner;
};
static_assert(sizeof(TensorParams) == 368, "as in src/cuda/params.rs");

// Who shares a row: some lanes of a warp, or a CTA.
template <u32 kThreads>
struct Sharing {
  using Group = typename Either<(kThreads <= kWarp), Lanes<128, kThreads>, Ctas<kThreads, 1>>::Type;
  static constexpr u32 kCtaThreads = kThreads <= kWarp ? 128 : kThreads;
};

// A row of all tensors.
struct Place {
  i64 outer, inner;

  __device__ __forceinline__ Place(const TensorParams& p, i64 row) : outer(row), inner(0) {
    if (p.inner == 1) return;
    outer = row / p.inner;
    inner = row - outer * p.inner;
  }
};

// A row of a tensor of this type.
template <class T>
struct TensorRow {
  T* first;
  i64 step;

  __device__ __forceinline__ TensorRow(const Tensor& tensor, const Place& place)
      : first(static_cast<T*>(tensor.data) + place.outer * tensor.outer +
              place.inner * tensor.inner),
        step(tensor.by_class) {}
  __device__ __forceinline__ float operator[](i32 c) const { return load(first + c * step); }
  __device__ __forceinline__ void set(i32 c, float value) const { store(first + c * step, value); }
};

// Logits of a row, with signs flipped where k < 0.
template <class Logit, u32 kOptions>
struct OrientedRow {
  TensorRow<Logit> logits;
  bool flips;

  __device__ __forceinline__ OrientedRow(const TensorParams& p, const Place& place)
      : logits(p.logits, place), flips(p.rows.sign_flip != 0) {}
  __device__ __forceinline__ float operator[](i32 c) const {
    const float x = logits[c];
    return (kOptions & kScale) && flips ? -x : x;
  }
};

// Calls f(c) for those classes, of `count`, that belong to the thread.
template <class Group, class F>
__device__ __forceinline__ void each_class(i32 count, F f) {
#pragma unroll 1
  for (i32 c = Group::thread(); c < count; c += Group::kThreads) f(c);
}

}  // namespace xent
