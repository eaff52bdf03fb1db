// Where the elements of a row lie, in vectors of 16 bytes.
#pragma once
#include "vector.cuh"

namespace xent {

// A row of `classes` elements, cut into vectors that are counted from the 128-byte line in which
// the row begins: warps that read 32 vectors in a row read whole lines, wherever the row begins.
// The first and the last vector may be partial; nothing outside the row is ever touched.
template <class T>
struct Span {
  const char* line;
  i32 shift;  // element e of the row is element e + shift of the line
  i32 classes;
  i32 first;  // vectors [first, end) are full
  i32 end;

  __device__ __forceinline__ Span(const T* row, i32 classes) : classes(classes) {
    const u32 offset = reinterpret_cast<u64>(row) & 127;
    line = reinterpret_cast<const char*>(row) - offset;
    shift = offset / sizeof(T);
    first = (offset + 15) / 16;
    end = (static_cast<i64>(shift) + classes) / static_cast<i32>(kPerVector<T>);
  }

  // The element of the row that vector j begins with; negative for a partial first vector.
  __device__ __forceinline__ i32 element(i32 j) const {
    return j * static_cast<i32>(kPerVector<T>) - shift;
  }
  __device__ __forceinline__ i32 vector_of(i32 element) const {
    return (element + shift) / static_cast<i32>(kPerVector<T>);
  }
  __device__ __forceinline__ const char* address(i32 j) const {
    return line + static_cast<i64>(j) * 16;
  }
  // The partial vectors: number 0 at the start, number 1 at the end; -1 where there is none. A row
  // that begins and ends within one vector has it once.
  __device__ __forceinline__ i32 partial(u32 number) const {
    const bool head = element(first) > 0;
    if (number == 0) return head ? first - 1 : -1;
    return element(end) < classes && !(head && end < first) ? end : -1;
  }
  // Calls `f` for those partial vectors that belong to a thread: vector j to j % threads.
  template <class F>
  __device__ __forceinline__ void each_partial(i32 thread, i32 threads, F f) const {
#pragma unroll 1
    for (u32 number = 0; number < 2; number++) {
      const i32 j = partial(number);
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

// A partial vector; outside the row it holds `padding`, a word of the type's. One element after the
// other: it is read where registers are full of other vectors.
template <class T>
__device__ __forceinline__ uint4 load_partial(const T* row, const Span<T>& span, i32 j,
                                              u32 padding) {
  uint4 v = make_uint4(padding, padding, padding, padding);
  constexpr u32 kBits = 32 / Element<T>::kPerWord;
#pragma unroll 1
  for (u32 i = 0; i < kPerVector<T>; i++) {
    const i32 element = span.element(j) + static_cast<i32>(i);
    const u32 bits = span.contains(element) ? Element<T>::load(row + element) : padding;
    if constexpr (kBits == 32) {
      v = make_uint4(v.y, v.z, v.w, bits);
    } else {
      v = make_uint4(__funnelshift_r(v.x, v.y, kBits), __funnelshift_r(v.y, v.z, kBits),
                     __funnelshift_r(v.z, v.w, kBits), __funnelshift_r(v.w, bits, kBits));
    }
  }
  return v;
}

// Writes what is inside the row.
template <class G, class T>
__device__ __forceinline__ void store_partial(G* row, const Span<T>& span, i32 j,
                                              const float (&x)[kPerVector<T>]) {
#pragma unroll
  for (u32 i = 0; i < kPerVector<T>; i++) {
    const i32 element = span.element(j) + static_cast<i32>(i);
    if (span.contains(element)) store(row + element, x[i]);
  }
}

}  // namespace xent
