// Element types: how they are loaded, stored, converted and compared.
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

// In global memory. Volatile, and clobbers memory: with a gradient in the place of the logits the
// order of reads and writes is that of the program.
__device__ __forceinline__ u32 load_bits(const void* at) {
  u32 v;
  asm volatile("ld.global.u32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
  return v;
}
__device__ __forceinline__ u32 load_bits2(const void* at) {
  u32 v;  // a wider register is filled with zeros
  asm volatile("ld.global.u16 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
  return v;
}
__device__ __forceinline__ void store_bits(void* at, u32 v) {
  asm volatile("st.global.u32 [%0], %1;" ::"l"(at), "r"(v) : "memory");
}
__device__ __forceinline__ void store_bits2(void* at, u32 v) {
  asm volatile("st.global.u16 [%0], %1;" ::"l"(at), "r"(v) : "memory");
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
    asm("{\n\t"
        ".reg .b16 low, high;\n\t"
        "mov.b32 {low, high}, %2;\n\t"
        "cvt.f32.f16 %0, low;\n\t"
        "cvt.f32.f16 %1, high;\n\t"
        "}"
        : "=f"(x[0]), "=f"(x[1])
        : "r"(word));
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

// One of the elements in a word.
template <class T>
__device__ __forceinline__ float widen(u32 word, u32 i) {
  float x[2];
  Element<T>::unpack(word, x);
  return x[i];
}
template <>
__device__ __forceinline__ float widen<half>(u32 word, u32 i) {
  float x;
  if (i == 0) {
    asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, a;}" : "=f"(x) : "r"(word));
  } else {
    asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, b;}" : "=f"(x) : "r"(word));
  }
  return x;
}

template <class T>
__device__ __forceinline__ float load(const T* at) {
  return widen<T>(Element<T>::load(at), 0);
}

template <class T>
__device__ __forceinline__ void store(T* at, float value) {
  const float x[2] = {value, 0};
  Element<T>::store(at, Element<T>::pack(x));
}

}  // namespace xent
