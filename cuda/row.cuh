// Where the elements of a row lie, in vectors of 16 bytes.
#pragma once
#include "pieces.cuh"

namespace xent {

// A row of `classes` elements, cut into vectors that are counted from the line in which the row
// begins. Of lines of 128 bytes: warps that read 32 vectors in a row read whole lines, wherever the
// row begins. Of lines of 16 bytes: the row has no more vectors than it needs. The first and the
// last vector may be partial; nothing outside the row is ever touched.
template <class T>
struct Span {
  const char* line;
  i32 shift;  // element e of the row is element e + shift of the line
  i32 classes;
  i32 first;  // vectors [first, end) are full
  i32 end;
  i32 head, tail;  // the partial vectors, or -1; one that is both is the head

  __device__ __forceinline__ Span(const T* row, i32 classes, u32 line_bytes = 128)
      : classes(classes) {
    const u32 offset = reinterpret_cast<u64>(row) & (line_bytes - 1);
    line = reinterpret_cast<const char*>(row) - offset;
    shift = offset / sizeof(T);
    first = (offset + 15) / 16;
    end = (static_cast<u32>(shift) + classes) / kPerVector<T>;
    head = shift % kPerVector<T> != 0 ? first - 1 : -1;
    tail = (static_cast<u32>(shift) + classes) % kPerVector<T> != 0 && end != head ? end : -1;
  }

  // The element of the row that vector j begins with; negative for a partial first vector.
  __device__ __forceinline__ i32 element(i32 j) const {
    return j * static_cast<i32>(kPerVector<T>) - shift;
  }
  // The vector with this element of the row.
  __device__ __forceinline__ i32 vector_of(i32 element) const {
    return static_cast<u32>(element + shift) / kPerVector<T>;
  }
  __device__ __forceinline__ const char* address(i32 j) const {
    return line + static_cast<i64>(j) * 16;
  }
  // Calls `f` for those partial vectors that belong to a thread: vector j to j % threads.
  template <class F>
  __device__ __forceinline__ void each_partial(i32 thread, i32 threads, F f) const {
#pragma unroll 1
    for (u32 number = 0; number < 2; number++) {
      const i32 j = number == 0 ? head : tail;
      if (j >= 0 && j % threads == thread) f(j);
    }
  }
  __device__ __forceinline__ bool contains(i32 element) const {
    return element >= 0 && element < classes;
  }
  // How pieces of another tensor, at the elements of the vectors, are aligned: in bytes, 16 at
  // most. `row`: that tensor's row.
  template <class U>
  __device__ __forceinline__ u32 alignment(const U* row) const {
    const u32 start = reinterpret_cast<u64>(row) - static_cast<u64>(shift) * sizeof(U);
    return (start | 16) & -(start | 16);
  }
};

// The part of a vector that is inside a row, where that is less than the vector.
template <class T>
struct Inside {
  i32 low, high;  // elements [low, high) of the vector

  __device__ __forceinline__ Inside(const Span<T>& span, i32 j)
      : low(::max(-span.element(j), 0)),
        high(min(span.classes - span.element(j), static_cast<i32>(kPerVector<T>))) {}
  // Whether the row begins after the vector does, and ends before it.
  __device__ __forceinline__ bool within() const {
    return low > 0 && high < static_cast<i32>(kPerVector<T>);
  }
  __device__ __forceinline__ Pieces pieces() const {
    return {static_cast<u32>(::max(high - low, 0) * static_cast<i32>(sizeof(T))), low > 0};
  }
};

// A partial vector; outside the row it holds `padding`, a word of the type's.
template <class T>
__device__ __forceinline__ uint4 load_partial(const T* row, const Span<T>& span, i32 j,
                                              u32 padding) {
  const Inside<T> inside(span, j);
  if (!inside.within()) return load_pieces<T>(span.address(j), inside.pieces(), padding);
  uint4 v = make_uint4(padding, padding, padding, padding);
  constexpr u32 kBits = 32 / Element<T>::kPerWord;
#pragma unroll 1
  for (i32 i = 0; i < static_cast<i32>(kPerVector<T>); i++) {
    const bool has = i >= inside.low && i < inside.high;
    const u32 bits = has ? Element<T>::load(row + span.element(j) + i) : padding;
    if constexpr (kBits == 32) {
      v = make_uint4(v.y, v.z, v.w, bits);
    } else {
      v = make_uint4(__funnelshift_r(v.x, v.y, kBits), __funnelshift_r(v.y, v.z, kBits),
                     __funnelshift_r(v.z, v.w, kBits), __funnelshift_r(v.w, bits, kBits));
    }
  }
  return v;
}

// Writes what is inside the row. `alignment`: as Span::alignment says of it.
template <class G, class T>
__device__ __forceinline__ void store_partial(G* row, const Span<T>& span, i32 j, u32 alignment,
                                              const float (&x)[kPerVector<T>]) {
  const Inside<T> inside(span, j);
  if constexpr (sizeof(G) == sizeof(T)) {
    if (alignment == 16 && !inside.within()) {
      store_pieces<G>(row + span.element(j), inside.pieces(), pack<G>(x));
      return;
    }
  }
#pragma unroll
  for (i32 i = 0; i < static_cast<i32>(kPerVector<T>); i++) {
    if (i >= inside.low && i < inside.high) store(row + span.element(j) + i, x[i]);
  }
}

}  // namespace xent
