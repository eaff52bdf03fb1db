// Element types, vectors of 16 bytes, and the approximations of the special function unit. All
// inline PTX for arithmetic and global memory is here.
#pragma once
#include "prelude.cuh"

namespace xent {

struct half {
  u16 bits;
};
struct bfloat {
  u16 bits;
};

// Marks a kernel without a gradient.
struct none {};

template <class Gradient>
constexpr bool kHasGradient = true;
template <>
constexpr bool kHasGradient<none> = false;

// 2^x to 2 ulp; 0 below 2^-126; 1 at 0.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 2^(high + low) to 1.2 * 2^-24, without the special function unit, of high in [-126, 126] and a
// low that is smaller than its last place.
__device__ __forceinline__ float exp2_exact(float high, float low) {
  constexpr float kRound = 12582912;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = high + kRound;
  const float f = (high - (shifted - kRound)) + low;
  float p = 1.545316336e-04f;
  p = fmaf(p, f, 1.339086331e-03f);
  p = fmaf(p, f, 9.618083015e-03f);
  p = fmaf(p, f, 5.550356954e-02f);
  p = fmaf(p, f, 2.402265072e-01f);
  p = fmaf(p, f, 6.931471825e-01f);
  p = fmaf(p, f, 1);
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

// Adds e to `sum`, or where x is the largest logit, 1 to `count`. Three instructions, which the
// compiler does not find by itself.
__device__ __forceinline__ void add_or_count(float x, float largest, float e, float& sum,
                                             u32& count) {
  asm("{\n\t"
      ".reg .pred p;\n\t"
      "setp.eq.f32 p, %2, %3;\n\t"
      "@!p add.f32 %0, %0, %4;\n\t"
      "@p add.u32 %1, %1, 1;\n\t"
      "}"
      : "+f"(sum), "+r"(count)
      : "f"(x), "f"(largest), "f"(e));
}

// 1/x, of x in [1, 2], to 1 ulp.
__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return fmaf(fmaf(-x, y, 1), y, y);
}

// Global memory. Volatile, and clobbers memory: with a gradient in the place of the logits the
// order of reads and writes is that of the program. Logits are read once or from L2: not kept in
// L1.
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
__device__ __forceinline__ u32 load_bits(const float* at) {
  u32 v;
  asm volatile("ld.global.u32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
  return v;
}
__device__ __forceinline__ u32 load_bits2(const void* at) {
  u16 v;
  asm volatile("ld.global.u16 %0, [%1];" : "=h"(v) : "l"(at) : "memory");
  return v;
}
__device__ __forceinline__ void store_bits(float* at, u32 v) {
  asm volatile("st.global.u32 [%0], %1;" ::"l"(at), "r"(v) : "memory");
}
__device__ __forceinline__ void store_bits2(void* at, u32 v) {
  asm volatile("st.global.u16 [%0], %1;" ::"l"(at), "h"(static_cast<u16>(v)) : "memory");
}

__device__ __forceinline__ float widen_half(u32 bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(static_cast<u16>(bits)));
  return x;
}

// What kernels need of an element type: conversion, rounded to nearest even, and in one word two
// elements of 16 bits or one of 32.
template <class T>
struct Element;

template <>
struct Element<float> {
  static constexpr u32 kPerWord = 1;
  static constexpr u32 kSignBits = 0x80000000;
  static constexpr u32 kLowest = 0xff800000;  // -inf
  static __device__ __forceinline__ void unpack(u32 word, float* x) {
    x[0] = __uint_as_float(word);
  }
  static __device__ __forceinline__ u32 pack(const float* x) { return __float_as_uint(x[0]); }
  static __device__ __forceinline__ u32 max(u32 a, u32 b) {
    return __float_as_uint(fmaxf(__uint_as_float(a), __uint_as_float(b)));
  }
  static __device__ __forceinline__ u32 load(const float* at) { return load_bits(at); }
  static __device__ __forceinline__ void store(float* at, u32 bits) { store_bits(at, bits); }
};

template <>
struct Element<half> {
  static constexpr u32 kPerWord = 2;
  static constexpr u32 kSignBits = 0x80008000;
  static constexpr u32 kLowest = 0xfc00fc00;
  static __device__ __forceinline__ void unpack(u32 word, float* x) {
    x[0] = widen_half(word);
    x[1] = widen_half(word >> 16);
  }
  static __device__ __forceinline__ u32 pack(const float* x) {
#if __CUDA_ARCH__ >= 800
    u32 word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(x[1]), "f"(x[0]));
    return word;
#else
    u16 low, high;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(low) : "f"(x[0]));
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(high) : "f"(x[1]));
    return low | static_cast<u32>(high) << 16;
#endif
  }
  static __device__ __forceinline__ u32 max(u32 a, u32 b) {
#if __CUDA_ARCH__ >= 800
    u32 word;
    asm("max.f16x2 %0, %1, %2;" : "=r"(word) : "r"(a), "r"(b));
    return word;
#else
    float x[2], y[2];
    unpack(a, x);
    unpack(b, y);
    const float larger[2] = {fmaxf(x[0], y[0]), fmaxf(x[1], y[1])};
    return pack(larger);
#endif
  }
  static __device__ __forceinline__ u32 load(const half* at) { return load_bits2(at); }
  static __device__ __forceinline__ void store(half* at, u32 bits) { store_bits2(at, bits); }
};

template <>
struct Element<bfloat> {
  static constexpr u32 kPerWord = 2;
  static constexpr u32 kSignBits = 0x80008000;
  static constexpr u32 kLowest = 0xff80ff80;
  static __device__ __forceinline__ void unpack(u32 word, float* x) {
    x[0] = __uint_as_float(word << 16);
    x[1] = __uint_as_float(word & 0xffff0000);
  }
  static __device__ __forceinline__ u32 pack(const float* x) {
#if __CUDA_ARCH__ >= 800
    u32 word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(x[1]), "f"(x[0]));
    return word;
#else
    return round(x[0]) | round(x[1]) << 16;
#endif
  }
  static __device__ __forceinline__ u32 round(float x) {
    const u32 bits = __float_as_uint(x);
    return is_nan(x) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  }
  static __device__ __forceinline__ u32 max(u32 a, u32 b) {
#if __CUDA_ARCH__ >= 800
    u32 word;
    asm("max.bf16x2 %0, %1, %2;" : "=r"(word) : "r"(a), "r"(b));
    return word;
#else
    float x[2], y[2];
    unpack(a, x);
    unpack(b, y);
    return __float_as_uint(fmaxf(x[0], y[0])) >> 16 |
           (__float_as_uint(fmaxf(x[1], y[1])) & 0xffff0000);
#endif
  }
  static __device__ __forceinline__ u32 load(const bfloat* at) { return load_bits2(at); }
  static __device__ __forceinline__ void store(bfloat* at, u32 bits) { store_bits2(at, bits); }
};

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

template <class T>
__device__ __forceinline__ float load(const T* at) {
  float x[2];
  Element<T>::unpack(Element<T>::load(at), x);
  return x[0];
}

template <class T>
__device__ __forceinline__ void store(T* at, float value) {
  const float x[2] = {value, 0};
  Element<T>::store(at, Element<T>::pack(x));
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
