// Vectors of 16 bytes: what they hold, and how they are loaded and stored.
#pragma once
#include "element.cuh"

namespace xent {

// In global memory, ordered like elements. Logits are read once or from L2: not kept in L1.
__device__ __forceinline__ uint4 load16(const void* at) {
  uint4 v;
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(at)
               : "memory");
  return v;
}
__device__ __forceinline__ void store16(void* at, uint4 v) {
  asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(at), "r"(v.x), "r"(v.y),
               "r"(v.z), "r"(v.w)
               : "memory");
}
__device__ __forceinline__ uint2 load8(const void* at) {
  uint2 v;
  asm volatile("ld.global.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(at) : "memory");
  return v;
}
__device__ __forceinline__ void store8(void* at, uint2 v) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(at), "r"(v.x), "r"(v.y) : "memory");
}
// Changes the sign of all elements where `flip` says so: Element<T>::kSignBits, or 0.
__device__ __forceinline__ uint4 flip_signs(uint4 v, u32 flip) {
  return make_uint4(v.x ^ flip, v.y ^ flip, v.z ^ flip, v.w ^ flip);
}

// Bytes of a word and of 0, chosen by the digits of `which`: 0 to 3, and 4 for 0.
__device__ __forceinline__ u32 permute_bytes(u32 word, u32 which) {
  u32 result;
  asm("prmt.b32 %0, %1, 0, %2;" : "=r"(result) : "r"(word), "r"(which));
  return result;
}

// Elements in 16 bytes.
template <class T>
constexpr u32 kPerVector = 4 * Element<T>::kPerWord;

template <class T>
__device__ __forceinline__ void unpack(uint4 v, float (&x)[kPerVector<T>]) {
  constexpr u32 n = Element<T>::kPerWord;
  Element<T>::unpack(v.x, x);
  Element<T>::unpack(v.y, x + n);
  Element<T>::unpack(v.z, x + 2 * n);
  Element<T>::unpack(v.w, x + 3 * n);
}

// The same by other instructions. `zero` is 0, which the compiler must not know.
template <class T>
__device__ __forceinline__ void unpack_again(uint4 v, u32 zero, float (&x)[kPerVector<T>]) {
  unpack<T>(flip_signs(v, zero), x);
}
template <>
__device__ __forceinline__ void unpack_again<float>(uint4 v, u32, float (&x)[4]) {
  unpack<float>(v, x);
}
template <>
__device__ __forceinline__ void unpack_again<bfloat>(uint4 v, u32, float (&x)[8]) {
  const u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (u32 i = 0; i < 4; i++) {
    x[2 * i] = __uint_as_float(permute_bytes(words[i], 0x1044));
    x[2 * i + 1] = __uint_as_float(permute_bytes(words[i], 0x3244));
  }
}

template <class T>
__device__ __forceinline__ uint4 pack(const float* x) {
  constexpr u32 n = Element<T>::kPerWord;
  using E = Element<T>;
  return make_uint4(E::pack(x), E::pack(x + n), E::pack(x + 2 * n), E::pack(x + 3 * n));
}

template <class T>
__device__ __forceinline__ uint4 max(uint4 a, uint4 b) {
  using E = Element<T>;
  return make_uint4(E::max(a.x, b.x), E::max(a.y, b.y), E::max(a.z, b.z), E::max(a.w, b.w));
}

// The largest element; -inf for nothing but NaN.
template <class T>
__device__ __forceinline__ float largest(uint4 v) {
  using E = Element<T>;
  float x[2];
  E::unpack(E::max(E::max(v.x, v.y), E::max(v.z, v.w)), x);
  return fmaxf(-infinity(), E::kPerWord == 2 ? fmaxf(x[0], x[1]) : x[0]);
}

// N elements, N sizeof(T) = 8, 16 or 32 bytes. `wide`: they are aligned to 16 bytes (or their
// size, if that is less).
template <class T, u32 N>
__device__ __forceinline__ void load_all(const T* at, bool wide, float (&x)[N]) {
  constexpr u32 n = kPerVector<T>;
  if constexpr (N % n == 0) {
    if (wide) {
#pragma unroll
      for (u32 i = 0; i < N; i += n) {
        unpack<T>(load16(at + i), reinterpret_cast<float (&)[n]>(x[i]));
      }
      return;
    }
  }
#pragma unroll
  for (u32 i = 0; i < N; i++) x[i] = load(at + i);
}

// Element i of a vector's 16 bytes, stored by itself.
template <class T>
__device__ __forceinline__ void store_piece(T* at, uint4 v, u32 i) {
  const u32 words[4] = {v.x, v.y, v.z, v.w};
  constexpr u32 n = Element<T>::kPerWord;
  Element<T>::store(at, words[i / n] >> (i % n * 16));
}

template <class T, u32 N>
__device__ __forceinline__ void store_all(T* at, bool wide, const float (&x)[N]) {
  constexpr u32 n = kPerVector<T>;
  static_assert(N % n == 0, "16 bytes at least");
#pragma unroll
  for (u32 i = 0; i < N; i += n) {
    const uint4 v = pack<T>(x + i);
    if (wide) {
      store16(at + i, v);
    } else {
#pragma unroll
      for (u32 k = 0; k < n; k++) store_piece(at + i + k, v, k);
    }
  }
}

}  // namespace xent
