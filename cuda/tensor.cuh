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

// Classes of a thread that it works on at once: `first`, and those that follow it kApart apart.
// kNeighbours: in all tensors, classes are neighbours.
template <u32 kCount_, u32 kApart_, bool kNeighbours_>
struct Turn {
  static constexpr u32 kCount = kCount_, kApart = kApart_;
  static constexpr bool kNeighbours = kNeighbours_;
  u32 first;

  __device__ __forceinline__ u32 operator[](u32 k) const { return first + k * kApart; }
};

// Calls f(turn) for those classes, of `count`, that belong to the thread: as many turns of four as
// there are, then turns of one. What is summed in a turn is a function of `count` alone.
template <class Group, class F>
__device__ __forceinline__ void each_turn(const TensorParams& p, u32 count, F f) {
  constexpr u32 kCount = 4, kApart = Group::kThreads, kRest = (kCount - 1) * kApart;
  u32 c = Group::thread();
  if (p.rows.flags & kNeighbours) {
#pragma unroll 1
    for (; c + kRest < count; c += kCount * kApart) f(Turn<kCount, kApart, true>{c});
  } else {
#pragma unroll 1
    for (; c + kRest < count; c += kCount * kApart) f(Turn<kCount, kApart, false>{c});
  }
#pragma unroll 1
  for (; c < count; c += kApart) f(Turn<1, kApart, false>{c});
}

// A row of a tensor of this type.
template <class T>
struct TensorRow {
  T* first;
  i64 step;

  __device__ __forceinline__ TensorRow(const Tensor& tensor, const Place& place)
      : first(settled(static_cast<T*>(tensor.data) + place.outer * tensor.outer +
                      place.inner * tensor.inner)),
        step(tensor.by_class) {}

  // Reads the elements of a turn.
  template <class Turn>
  __device__ __forceinline__ void read(const Turn& turn, float (&x)[Turn::kCount]) const {
    const i64 step = Turn::kNeighbours ? 1 : this->step;
    const T* from = first + turn.first * step;
#pragma unroll
    for (u32 k = 0; k < Turn::kCount; k++) x[k] = load(from + k * Turn::kApart * step);
  }
  // Writes them.
  template <class Turn>
  __device__ __forceinline__ void write(const Turn& turn, const float (&x)[Turn::kCount]) const {
    const i64 step = Turn::kNeighbours ? 1 : this->step;
    T* to = first + turn.first * step;
#pragma unroll
    for (u32 k = 0; k < Turn::kCount; k++) store(to + k * Turn::kApart * step, x[k]);
  }
  // Writes one number to all of them.
  template <class Turn>
  __device__ __forceinline__ void fill(const Turn& turn, float value) const {
    float x[Turn::kCount];
#pragma unroll
    for (u32 k = 0; k < Turn::kCount; k++) x[k] = value;
    write(turn, x);
  }
};

// Logits of a row, with signs flipped where k < 0.
template <class Logit, u32 kOptions>
struct OrientedRow {
  TensorRow<Logit> logits;
  u32 flip;  // of the sign

  __device__ __forceinline__ OrientedRow(const TensorParams& p, const Place& place)
      : logits(p.logits, place), flip(p.rows.sign_flip & Element<float>::kSignBits) {}
  template <class Turn>
  __device__ __forceinline__ void read(const Turn& turn, float (&x)[Turn::kCount]) const {
    logits.read(turn, x);
    if constexpr (kOptions & kScale) {
#pragma unroll
      for (u32 k = 0; k < Turn::kCount; k++) x[k] = __uint_as_float(__float_as_uint(x[k]) ^ flip);
    }
  }
};

}  // namespace xent
