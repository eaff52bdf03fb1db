// bf16 and f16 as a program without a GPU toolkit may hold them: 16 bits, converted to and from
// float. C++23 has std::bfloat16_t and std::float16_t, CUDA has __nv_bfloat16 and __half.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// The upper half of a float, rounded to nearest even.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float x) {
    const std::uint32_t wide = bits_of(x);
    const std::uint32_t round = std::isnan(x) ? 0 : 0x7fff + (wide >> 16 & 1);
    bits = static_cast<std::uint16_t>((wide + round) >> 16 | (std::isnan(x) ? 0x40 : 0));
  }
  explicit operator float() const { return float_of(std::uint32_t{bits} << 16); }
};

// IEEE 754 binary16: 5 bits of exponent, 10 of mantissa, rounded to nearest even.
struct f16 {
  std::uint16_t bits = 0;

  f16() = default;
  explicit f16(float x) {
    const float size = std::fabs(x);
    std::uint32_t half;
    if (std::isnan(x)) {
      half = 0x7e00;
    } else if (size >= 65520) {
      half = 0x7c00;  // infinity
    } else if (size < 0x1p-14f) {
      half = static_cast<std::uint32_t>(std::nearbyint(size * 0x1p24f));  // a multiple of 2^-24
    } else {
      const std::uint32_t wide = bits_of(size) - (112u << 23);  // exponents are 112 apart
      half = (wide + 0xfff + (wide >> 13 & 1)) >> 13;
    }
    bits = static_cast<std::uint16_t>(half | (std::signbit(x) ? 0x8000 : 0));
  }
  explicit operator float() const {
    const std::uint32_t sign = (bits & 0x8000u) << 16, size = bits & 0x7fffu;
    if (size < 0x400) return std::copysign(static_cast<float>(size) * 0x1p-24f, float_of(sign));
    const std::uint32_t exponent = size < 0x7c00 ? 112u << 23 : 224u << 23;  // infinity, NaN
    return float_of(sign | ((size << 13) + exponent));
  }
};
