// The sums over classes of a vector of columns, and their gradient: what one thread does.
#pragma once
#include "running.cuh"
#include "tile.cuh"

namespace xent {

// How the threads of a CTA share a tile.
template <u32 kThreads_, u32 kGroups_, u32 kWidth_, u32 kChunk_, u32 kKept_>
struct Shape {
  static constexpr u32 kThreads = kThreads_;
  static constexpr u32 kGroups = kGroups_;         // threads of a column
  static constexpr u32 kWidth = kWidth_;           // columns of a thread
  static constexpr i32 kChunk = kChunk_;           // classes that a thread loads and adds at once
  static constexpr u32 kKept = kKept_;             // classes of a thread in shared memory, or 0
  static constexpr bool kMany = kGroups == kWarp;  // classes of a thread: any number, or few
  static constexpr u32 kLanes = kThreads / kGroups, kColumns = kLanes * kWidth;
};

// Every kGroups-th class of a vector of columns, from `first` on.
template <class Logit, class Target, u32 kOptions, class Shape>
struct ColumnReader {
  static constexpr u32 kGroups = Shape::kGroups, kWidth = Shape::kWidth;
  static constexpr i32 kChunk = Shape::kChunk;
  using RowPart = Part<Target, kOptions>;
  using Sums = Running<Target, kOptions, Shape::kMany>;
  using Logits = Piece<Logit, kWidth>;
  const ColumnParams& p;
  const Squash<kOptions>& squash;
  const Columns<kWidth>& own;
  const Logit* logits;  // of class 0
  const Target* q;      // of class 0
  Logits* kept;         // as loaded, kThreads apart
  i32 first, count;     // of classes

  __device__ __forceinline__ ColumnReader(const ColumnParams& p, const Squash<kOptions>& squash,
                                          const Columns<kWidth>& own, u32 group, Logits* kept)
      : p(p), squash(squash), own(own), q(nullptr), kept(kept), first(group) {
    logits = own.template logits<Logit>(p);
    if constexpr (kProbabilities<Target>) q = own.template targets<Target>(p);
    count = (p.rows.classes + (kGroups - 1) - group) / kGroups;
  }

  __device__ __forceinline__ i32 class_of(i32 k) const {
    return first + k * static_cast<i32>(kGroups);
  }

  // Loads classes k, k + 1, ... of the thread, `size` of them, with signs flipped where k < 0; the
  // others are -inf.
  template <bool kPartial>
  __device__ __forceinline__ void load(Logits (&v)[kChunk], i32 k, i32 size) const {
    const Logit* at = logits + class_of(k) * p.logits_class;
    const i64 step = kGroups * p.logits_class;
#pragma unroll
    for (i32 j = 0; j < kChunk; j++) {
      if (kPartial) v[j].fill(Element<Logit>::kLowest);
      if (!kPartial || j < size) v[j] = load_piece<Logit, kWidth>(at, own.inside);
      at += step;
    }
    if constexpr (kOptions & kScale || kOptions & kSoftcap) {
#pragma unroll
      for (i32 j = 0; j < kChunk; j++) {
        if (!kPartial || j < size) v[j].flip(p.rows.sign_flip);
      }
    }
  }

  // Adds them, one column after the other.
  template <bool kPartial>
  __device__ __forceinline__ void add(Sums (&columns)[kWidth], i32 k, i32 size) const {
    Logits v[kChunk];
    load<kPartial>(v, k, size);
    if constexpr (Shape::kKept != 0) {
#pragma unroll
      for (i32 j = 0; j < kChunk; j++) {
        if (!kPartial || j < size) kept[(k + j) * Shape::kThreads] = v[j];
      }
    }
    Logits top = v[0];
#pragma unroll
    for (i32 j = 1; j < kChunk; j++) top.raise(v[j]);
    float u[kChunk][kWidth];
    if constexpr (RowPart::kHasTarget) {
#pragma unroll
      for (i32 j = 0; j < kChunk; j++) {
        if (!kPartial || j < size) target(columns, u[j], class_of(k + j));
      }
    }
#pragma unroll
    for (u32 i = 0; i < kWidth; i++) {
      Sums& sums = columns[i];
      const float top_logit = fmaxf(-infinity(), top[i]);
      if constexpr (RowPart::kHasArgmax) {
        if (top_logit > sums.largest || sums.argmax == kNoClass) {
          u32 found = kNoClass;
#pragma unroll
          for (i32 j = kChunk - 1; j >= 0; j--) {
            if ((!kPartial || j < size) && v[j][i] == top_logit) found = class_of(k + j);
          }
          sums.argmax = found;
        }
      }
      float s[2] = {0, 0}, entropy = 0, distance = 0, mass = 0;
      if (top_logit > sums.largest) s[0] = sums.rise(top_logit, squash);
#pragma unroll
      for (i32 j = 0; j < kChunk; j++) {
        if (kPartial && j >= size) break;
        const auto at = squash.at(v[j][i]);
        const float t = squash.distance(at, sums.reference);
        const float e = squash.power(at, sums.reference);
        // +inf counts too: then s is a NaN only where a logit is one.
        add_or_count(v[j][i], sums.largest, e, s[j % 2], sums.maxima);
        if constexpr (RowPart::kHasEntropy) entropy -= e == 0 ? 0 : t * e;
        if constexpr (RowPart::kHasTarget) {
          distance -= u[j][i] == 0 ? 0 : t * u[j][i];
          mass += u[j][i];
        }
      }
      sums.s.add(s[0] + s[1]);
      if constexpr (RowPart::kHasEntropy) sums.entropy.add(entropy);
      if constexpr (RowPart::kHasTarget) {
        sums.distance.add(distance);
        sums.mass.add(mass);
      }
    }
  }

  // Loads the same again.
  __device__ __forceinline__ void load_again(Logits (&v)[kChunk], i32 k, i32 size) const {
    if constexpr (Shape::kKept == 0) {
      load<true>(v, k, size);
    } else {
#pragma unroll
      for (i32 j = 0; j < kChunk; j++) {
        if (j < size) v[j] = kept[(k + j) * Shape::kThreads];
      }
    }
  }

  // u of a class: weighted probabilities, or class weights.
  __device__ __forceinline__ void target(Sums (&columns)[kWidth], float (&u)[kWidth], i32 c) const {
    float weight = 1;
    if constexpr (kOptions & kClassWeights) weight = p.rows.class_weights[c];
    if constexpr (kProbabilities<Target>) {
      const auto piece = load_piece<Target, kWidth>(q + c * p.targets_class, own.inside);
#pragma unroll
      for (u32 i = 0; i < kWidth; i++) {
        u[i] = piece[i];
        if constexpr (RowPart::kHasBest) {
          const bool better = u[i] > columns[i].best;
          columns[i].best_class = better ? c : columns[i].best_class;
          columns[i].best = better ? u[i] : columns[i].best;
        }
        u[i] = fmaf(u[i], p.rows.keep, p.rows.share) * weight;
      }
    } else {
#pragma unroll
      for (u32 i = 0; i < kWidth; i++) u[i] = weight;
    }
  }
};

// Reads `count` classes of a thread, all or none. `slot(i)` is where the part of column i goes.
template <class Logit, class Target, u32 kOptions, class Shape, class Slot>
__device__ __forceinline__ void read_columns(
    const ColumnReader<Logit, Target, kOptions, Shape>& reader, i32 count, Slot slot) {
  constexpr i32 kChunk = Shape::kChunk;
  typename ColumnReader<Logit, Target, kOptions, Shape>::Sums columns[Shape::kWidth];
#pragma unroll
  for (u32 i = 0; i < Shape::kWidth; i++) {
    columns[i].reference = reader.squash.reference(-infinity());
  }
  i32 k = 0;
#pragma unroll 1
  for (; k + kChunk <= count; k += kChunk) reader.template add<false>(columns, k, kChunk);
  if (k < count) reader.template add<true>(columns, k, count - k);
#pragma unroll
  for (u32 i = 0; i < Shape::kWidth; i++) slot(i) = columns[i].part(reader.squash);
}

// Merges the parts of all groups into those of the first, by a tree. All threads of the CTA take
// part.
template <class Shape, u32 kCount, class Target, u32 kOptions>
__device__ __forceinline__ void merge_groups(Slots<Part<Target, kOptions>, kCount>& parts,
                                             const Squash<kOptions>& squash) {
  using RowPart = Part<Target, kOptions>;
  __syncthreads();
#pragma unroll 1
  for (u32 end = kCount / 2; end >= Shape::kColumns; end /= 2) {
#pragma unroll 1
    for (u32 i = threadIdx.x; i < end; i += Shape::kThreads) {
      parts[i] = RowPart::merge(parts[i], parts[i + end], squash);
    }
    __syncthreads();
  }
}

}  // namespace xent
