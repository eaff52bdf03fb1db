// A row per cluster of four CTAs: each sums a quarter, all learn the total through distributed
// shared memory.
static __device__ unsigned shared_address(const void* p) {
  unsigned a;
  asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(a) : "l"(p));
  return a;
}

extern "C" __global__ void __cluster_dims__(4, 1, 1) __launch_bounds__(64)
    cluster_sum(const float* values, float* totals, int count) {
  __shared__ float parts[4][2];
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
  const float* row = values + (long long)(blockIdx.x / 4) * count;
  float sum = 0;
  for (int i = rank * 64 + threadIdx.x; i < count; i += 256) {
    sum += row[i];
  }
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_down_sync(0xffffffffu, sum, step);
  }
  sum = __shfl_sync(0xffffffffu, sum, 0);
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (lane < 4) {
    asm volatile(
        "{ .reg .u32 t; mapa.shared::cluster.u32 t, %0, %1; st.shared::cluster.f32 [t], %2; }" ::
            "r"(shared_address(&parts[rank][warp])),
        "r"(lane), "f"(sum)
        : "memory");
  }
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
  if (threadIdx.x == 0) {
    float all = 0;
    for (int i = 0; i < 8; i++) {
      all += parts[i / 2][i % 2];
    }
    totals[blockIdx.x] = all;
  }
}
