// Included first by every file. Nothing of the CUDA toolkit is: its headers need not exist.
#pragma once

namespace xent {

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using i32 = int;
using u64 = unsigned long long;
using i64 = long long;

// What a kernel is compiled for. What is not named costs nothing.
enum Option : u32 {
  kSmoothing = 1 << 0,     // label smoothing; of class indices it is a sum over all logits
  kClassWeights = 1 << 1,  // weights inside sums over classes; w[y] alone needs no option
  kScale = 1 << 2,         // z = k x
  kSoftcap = 1 << 3,       // z = c tanh(k x / c)
  kEntropy = 1 << 4,
  kArgmax = 1 << 5,      // argmax, correct
  kBackward = 1 << 6,    // the gradient alone, from statistics
  kWeights = 1 << 7,     // of classes, of elements, of positive parts: of losses that are sums
  kPerElement = 1 << 8,  // losses and upstream gradients are those of elements
  kFloat = 1 << 9,       // logits of f32, all of whose differences may be rounded
};

constexpr u32 kWarp = 32;
constexpr u32 kAllLanes = 0xffffffff;
constexpr u32 kNoClass = 0xffffffff;
constexpr float kLog2E = 1.4426950408889634f, kLog2ELow = 1.925963033500123e-08f;
constexpr float kLn2 = 0.6931471805599453f;

// The first type if so, else the second.
template <bool kFirst, class First, class Second>
struct Either {
  using Type = First;
};
template <class First, class Second>
struct Either<false, First, Second> {
  using Type = Second;
};

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000); }
__device__ __forceinline__ float nan() { return __uint_as_float(0x7fffffff); }
template <class T>
__device__ __forceinline__ bool is_nan(T x) {
  return x != x;
}
__device__ __forceinline__ bool is_finite(float x) { return fabsf(x) < infinity(); }

// The same pointer, of which the compiler knows nothing: what is added to it afterwards it does not
// add to each of its terms instead.
template <class T>
__device__ __forceinline__ T* settled(T* at) {
  asm("mov.b64 %0, %0;" : "+l"(at));
  return at;
}
// The same number, which the compiler does not compute anew wherever it is used.
__device__ __forceinline__ u32 settled(u32 x) {
  asm volatile("mov.b32 %0, %0;" : "+r"(x));
  return x;
}

// a b, where 0 times infinity is 0 and a NaN stays one.
template <class T>
__device__ __forceinline__ T times(T a, T b) {
  const T product = a * b;
  const bool numbers = !is_nan(a) && !is_nan(b);
  return is_nan(product) && numbers ? 0 : product;
}

}  // namespace xent
