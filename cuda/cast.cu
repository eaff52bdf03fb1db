// Elements as those of another type, rounded to nearest even.
#include "element.cuh"

namespace xent {

constexpr u32 kCastThreads = 256;
constexpr u32 kCastElements = 4;  // of each thread, that many loads in flight

struct CastParams {
  const void* from;  // (count)
  void* to;          // (count)
  i64 count;
};
static_assert(sizeof(CastParams) == 24, "as in src/cuda/params.rs");

// Grid: one CTA of 256 threads for each 1024 elements.
template <class From, class To>
__global__ void __launch_bounds__(kCastThreads) cast(const CastParams p) {
  const From* from = static_cast<const From*>(p.from);
  To* to = static_cast<To*>(p.to);
  const i64 first = static_cast<i64>(blockIdx.x) * (kCastThreads * kCastElements) + threadIdx.x;
  float x[kCastElements][2] = {};  // of the two halves of a word, the first
#pragma unroll
  for (u32 k = 0; k < kCastElements; ++k) {
    const i64 i = first + k * kCastThreads;
    if (i < p.count) Element<From>::unpack(Element<From>::load(from + i), x[k]);
  }
#pragma unroll
  for (u32 k = 0; k < kCastElements; ++k) {
    const i64 i = first + k * kCastThreads;
    if (i < p.count) Element<To>::store(to + i, Element<To>::pack(x[k]));
  }
}

}  // namespace xent
