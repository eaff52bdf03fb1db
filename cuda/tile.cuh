// Tiles of columns: rows whose neighbours in memory are not their own classes but those of other
// rows. Where the vectors of a tile lie, and how they are loaded and stored.
#pragma once
#include "loss.cuh"

namespace xent {

// Of the kernel of columns. Tensors have shape (outer, classes, inner); rows are counted as
// (outer, inner). The strides in `rows` are those of the outer axis.
struct ColumnParams {
  Params rows;
  i64 inner;    // columns of an outer index
  i64 vectors;  // of an outer index
  i64 logits_class, logits_inner;
  i64 dlogits_class, dlogits_inner;
  i64 targets_class, targets_inner;  // of probabilities
  u32 shift;                         // column c is element c + shift of the vectors
  u32 reserved;
};
static_assert(sizeof(ColumnParams) == 304, "as in src/cuda/params.rs");

// A vector of neighbouring columns. Those at the ends of an outer index may be partial.
template <u32 kWidth>
struct Columns {
  static constexpr u32 kAll = (1 << kWidth) - 1;
  i64 outer;
  i64 first;   // the first column; negative for a partial first vector
  u32 inside;  // bit i: column first + i exists

  __device__ __forceinline__ Columns(const ColumnParams& p, i64 number) {
    outer = static_cast<u64>(number) / static_cast<u64>(p.vectors);
    first = (number - outer * p.vectors) * kWidth - p.shift;
    const bool exists = outer * p.inner < p.rows.rows;
    const u32 before = first < 0 ? static_cast<u32>(-first) : 0;
    const u32 end = static_cast<u32>(min(p.inner - first, static_cast<i64>(kWidth)));
    inside = exists ? (1 << end) - (1 << before) : 0;
  }
  __device__ __forceinline__ i64 row(const ColumnParams& p, u32 i) const {
    return outer * p.inner + first + i;
  }
  // Class 0 of the first column in each tensor.
  template <class T>
  __device__ __forceinline__ const T* logits(const ColumnParams& p) const {
    const T* tensor = static_cast<const T*>(p.rows.logits);
    return tensor + outer * p.rows.logits_stride + first * p.logits_inner;
  }
  template <class T>
  __device__ __forceinline__ T* dlogits(const ColumnParams& p) const {
    T* tensor = static_cast<T*>(p.rows.dlogits);
    return tensor + outer * p.rows.dlogits_stride + first * p.dlogits_inner;
  }
  template <class T>
  __device__ __forceinline__ const T* targets(const ColumnParams& p) const {
    const T* tensor = static_cast<const T*>(p.rows.targets);
    return tensor + outer * p.rows.targets_stride + first * p.targets_inner;
  }
};

// Neighbouring elements as they are in memory.
template <class T, u32 kCount>
struct alignas(kCount * sizeof(T) >= 16  ? 16
               : kCount * sizeof(T) <= 4 ? 4
                                         : 8) Piece {
  static constexpr u32 n = Element<T>::kPerWord;
  static constexpr u32 kWords = (kCount + n - 1) / n;
  u32 words[kWords];

  __device__ __forceinline__ void fill(u32 word) {
#pragma unroll
    for (u32 i = 0; i < kWords; i++) words[i] = word;
  }
  // The larger of each two.
  __device__ __forceinline__ void raise(const Piece& other) {
#pragma unroll
    for (u32 i = 0; i < kWords; i++) words[i] = Element<T>::max(words[i], other.words[i]);
  }
  // Changes the sign of all elements where `signs` says so: Element<T>::kSignBits, or 0.
  __device__ __forceinline__ void flip(u32 signs) {
#pragma unroll
    for (u32 i = 0; i < kWords; i++) words[i] ^= signs;
  }
  __device__ __forceinline__ float operator[](u32 i) const { return widen<T>(words[i / n], i % n); }
};

// Loads those elements whose bit is set in `inside`: all at once, aligned to their size or to 16
// bytes, or one after the other. The others are 0.
template <class T, u32 kCount>
__device__ __forceinline__ Piece<T, kCount> load_piece(const T* at, u32 inside) {
  constexpr u32 n = Element<T>::kPerWord, kBytes = kCount * sizeof(T);
  Piece<T, kCount> piece;
  if constexpr (kCount > 1) {
    if (inside != Columns<kCount>::kAll) {
      piece.fill(0);
#pragma unroll
      for (u32 i = 0; i < kCount; i++) {
        if (inside >> i & 1) piece.words[i / n] |= Element<T>::load(at + i) << (i % n * 16);
      }
      return piece;
    }
  }
  if constexpr (kBytes == 2) {
    piece.words[0] = load_bits2(at);
  } else if constexpr (kBytes == 4) {
    piece.words[0] = load_bits(reinterpret_cast<const float*>(at));
  } else if constexpr (kBytes == 8) {
    const uint2 v = load8(at);
    piece.words[0] = v.x;
    piece.words[1] = v.y;
  } else {
#pragma unroll
    for (u32 i = 0; i < kBytes / 4; i += 4) {
      const uint4 v = load16(reinterpret_cast<const u32*>(at) + i);
      piece.words[i] = v.x;
      piece.words[i + 1] = v.y;
      piece.words[i + 2] = v.z;
      piece.words[i + 3] = v.w;
    }
  }
  return piece;
}

// Stores them, in the same way.
template <class T, u32 kCount>
__device__ __forceinline__ void store_piece(T* at, u32 inside, const float (&x)[kCount]) {
  constexpr u32 n = Element<T>::kPerWord, kBytes = kCount * sizeof(T);
  u32 words[(kCount + n - 1) / n];
#pragma unroll
  for (u32 i = 0; i < kCount; i += n) {
    const float pair[2] = {x[i], i + 1 < kCount ? x[(i + 1) % kCount] : 0};
    words[i / n] = Element<T>::pack(pair);
  }
  if constexpr (kCount > 1) {
    if (inside != Columns<kCount>::kAll) {
#pragma unroll
      for (u32 i = 0; i < kCount; i++) {
        if (inside >> i & 1) Element<T>::store(at + i, words[i / n] >> (i % n * 16));
      }
      return;
    }
  }
  if constexpr (kBytes == 2) {
    store_bits2(at, words[0]);
  } else if constexpr (kBytes == 4) {
    store_bits(reinterpret_cast<float*>(at), words[0]);
  } else if constexpr (kBytes == 8) {
    store8(at, make_uint2(words[0], words[1]));
  } else {
#pragma unroll
    for (u32 i = 0; i < kBytes / 4; i += 4) {
      store16(reinterpret_cast<u32*>(at) + i,
              make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]));
    }
  }
}

}  // namespace xent
