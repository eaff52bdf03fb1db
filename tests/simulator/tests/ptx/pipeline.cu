// One warp copies rows to shared memory in bulk, two warps sum them: a ring of two, with mbarriers.
static __device__ unsigned shared_address(const void* p) {
  unsigned a;
  asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(a) : "l"(p));
  return a;
}

static __device__ void wait(unsigned barrier, unsigned parity) {
  asm volatile(
      "{ .reg .pred p; AGAIN: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%0], %1; "
      "@!p bra "
      "AGAIN; }" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

static __device__ void arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

extern "C" __global__ void __launch_bounds__(96)
    pipeline(const float* values, float* totals, int rows, int count) {
  extern __shared__ __align__(128) float ring[];
  __shared__ __align__(8) unsigned long long barriers[4];
  __shared__ float parts[2];
  const unsigned full = shared_address(barriers), empty = full + 16;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; i++) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(full + 8 * i) : "memory");
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 2;" ::"r"(empty + 8 * i) : "memory");
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (warp == 2) {
    if (lane == 0) {
      for (int row = 0; row < rows; row++) {
        const int slot = row % 2, bytes = count * 4;
        wait(empty + 8 * slot, row / 2 % 2 ^ 1);
        asm volatile(
            "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(full + 8 * slot),
            "r"(bytes)
            : "memory");
        asm volatile(
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
            "[%3];" ::"r"(shared_address(ring + slot * count)),
            "l"(values + (long long)row * count), "r"(bytes), "r"(full + 8 * slot)
            : "memory");
      }
    }
    return;
  }
  for (int row = 0; row < rows; row++) {
    const int slot = row % 2;
    wait(full + 8 * slot, row / 2 % 2);
    float sum = 0;
    for (int i = threadIdx.x; i < count; i += 64) {
      sum += ring[slot * count + i];
    }
    __syncwarp();
    if (lane == 0) {
      arrive(empty + 8 * slot);
    }
    for (int step = 16; step > 0; step /= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, step);
    }
    if (lane == 0) {
      parts[warp] = sum;
    }
    asm volatile("bar.sync 1, 64;" ::: "memory");
    if (threadIdx.x == 0) {
      totals[row] = parts[0] + parts[1];
    }
    asm volatile("bar.sync 1, 64;" ::: "memory");
  }
}
