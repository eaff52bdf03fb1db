// Thread-block clusters, from sm_90 on. All inline PTX for them is here.
#pragma once
#include "prelude.cuh"

namespace xent {

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ u32 cluster_rank() {
  u32 rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// Arrives without ordering memory: says that this CTA has started.
__device__ __forceinline__ void cluster_started() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// Writes a word to the place of `at`, in shared memory, in the CTA of this rank.
__device__ __forceinline__ void store_to_peer(const void* at, u32 rank, u32 word) {
  asm volatile(
      "{\n\t"
      ".reg .u64 local;\n\t"
      ".reg .u32 place;\n\t"
      "cvta.to.shared.u64 local, %0;\n\t"
      "cvt.u32.u64 place, local;\n\t"
      "mapa.shared::cluster.u32 place, place, %1;\n\t"
      "st.shared::cluster.u32 [place], %2;\n\t"
      "}" ::"l"(at),
      "r"(rank), "r"(word)
      : "memory");
}
#endif

}  // namespace xent
