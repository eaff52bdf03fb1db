// Who shares a row that stays in registers, and how they say to one another what each has found.
//
// A group has kThreads threads in each of kCluster CTAs. kAlone: no other row is in its warps, and
// all of it may leave early.
#pragma once
#include "cluster.cuh"
#include "part.cuh"

namespace xent {

// kLanes neighbouring lanes of a warp, a power of two, in a CTA of kCtaThreads. They shuffle; so
// all lanes of the warp take part, those of other rows and of none too.
template <u32 kCtaThreads, u32 kLanes>
struct Lanes {
  static constexpr u32 kThreads = kLanes;
  static constexpr u32 kWarpThreads = kLanes;
  static constexpr u32 kCluster = 1;
  static constexpr u32 kLineBytes = 16;
  static constexpr bool kAlone = kLanes == kWarp;

  static __device__ __forceinline__ i64 row() {
    return row_of_cta(1) * (kCtaThreads / kLanes) + threadIdx.x / kLanes;
  }
  static __device__ __forceinline__ u32 rank() { return 0; }
  static __device__ __forceinline__ u32 thread() { return threadIdx.x % kLanes; }
  static __device__ __forceinline__ void start() {}
  // Merges the parts of the group's warps, of which there is one.
  template <class RowPart, u32 kOptions>
  static __device__ __forceinline__ RowPart merge(const RowPart& part, const Squash<kOptions>&) {
    return part;
  }
  // Whether any row of the warp says yes.
  static __device__ __forceinline__ bool any(bool yes) { return __any_sync(kAllLanes, yes); }
  // Combines a value of each thread; all hold the result. What threads read before is ordered
  // before what they write after.
  template <class T, class Combine>
  static __device__ __forceinline__ T reduce(const T& own, Combine combine) {
    const T all = reduce_lanes<kLanes>(own, combine);
    __syncwarp();
    return all;
  }
};

// kCtaThreads threads of each of so many CTAs, which are a cluster where they are more than one.
template <u32 kCtaThreads, u32 kCtas>
struct Ctas {
  static constexpr u32 kThreads = kCtaThreads;
  static constexpr u32 kWarpThreads = kWarp;
  static constexpr u32 kCluster = kCtas;
  static constexpr u32 kLineBytes = 128;
  static constexpr bool kAlone = true;
  static constexpr u32 kWarps = kCtaThreads / kWarp;

  static __device__ __forceinline__ i64 row() { return row_of_cta(kCtas); }
  static __device__ __forceinline__ u32 rank() {
#if __CUDA_ARCH__ >= 900
    if constexpr (kCtas > 1) return cluster_rank();
#endif
    return 0;
  }
  static __device__ __forceinline__ u32 thread() { return threadIdx.x; }
  // Before `merge`: says that this CTA has started.
  static __device__ __forceinline__ void start() {
#if __CUDA_ARCH__ >= 900
    if constexpr (kCtas > 1) cluster_started();
#endif
  }
  // Puts a value of each warp into `shared` of all CTAs, which have started. All threads take part;
  // all values are there when it returns.
  template <class T>
  static __device__ __forceinline__ void publish(const T& of_warp,
                                                 Slots<T, kWarps * kCtas>& shared) {
    const u32 lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    if constexpr (kCtas == 1) {
      if (lane == 0) shared[warp] = of_warp;
      __syncthreads();
    } else {
#if __CUDA_ARCH__ >= 900
      u32 words[sizeof(T) / 4];
      memcpy(words, &of_warp, sizeof(T));
      if (lane < kCtas) {
        const char* place = reinterpret_cast<const char*>(&shared[rank() * kWarps + warp]);
#pragma unroll
        for (u32 i = 0; i < sizeof(T) / 4; i++) store_to_peer(place + 4 * i, lane, words[i]);
      }
      cluster_arrive();
      cluster_wait();
#endif
    }
  }
  // Merges the parts of the group's warps. All threads take part, and hold the result.
  template <class RowPart, u32 kOptions>
  static __device__ __forceinline__ RowPart merge(const RowPart& of_warp,
                                                  const Squash<kOptions>& squash) {
    __shared__ Slots<RowPart, kWarps * kCtas> shared;
#if __CUDA_ARCH__ >= 900
    if constexpr (kCtas > 1) cluster_wait();  // all have started: there is a place to write to
#endif
    publish(of_warp, shared);
    return merge_shared(shared, squash);
  }
  // Whether the row says yes, as all threads know.
  static __device__ __forceinline__ bool any(bool yes) { return yes; }
  // After `merge`: combines a value of each thread; all hold the result. What threads read before
  // is ordered before what they write after.
  template <class T, class Combine>
  static __device__ __forceinline__ T reduce(const T& own, Combine combine) {
    __shared__ Slots<T, kWarps * kCtas> shared;
    publish(reduce_lanes(own, combine), shared);
    return reduce_shared(shared, T(), combine);
  }
};

}  // namespace xent
