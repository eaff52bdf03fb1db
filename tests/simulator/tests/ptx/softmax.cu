// One CTA per row of bf16 logits: probabilities in f32. Vectors of 16 bytes, shuffles, shared
// memory.
static __device__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

static __device__ float largest(float x) {
  for (int step = 16; step > 0; step /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  }
  return x;
}

static __device__ float total(float x) {
  for (int step = 16; step > 0; step /= 2) {
    x += __shfl_xor_sync(0xffffffffu, x, step);
  }
  return x;
}

extern "C" __global__ void __launch_bounds__(128)
    softmax(const uint4* logits, float* probabilities, int classes) {
  __shared__ float shared[2][4];
  const float log2e = 1.4426950408889634f;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int vectors = classes / 8;
  const uint4* row = logits + (long long)blockIdx.x * vectors;
  float* out = probabilities + (long long)blockIdx.x * classes;

  float maximum = __int_as_float(0xff800000);
  for (int i = threadIdx.x; i < vectors; i += blockDim.x) {
    uint4 v = row[i];
    unsigned words[4] = {v.x, v.y, v.z, v.w};
    for (int j = 0; j < 4; j++) {
      maximum = fmaxf(maximum, __int_as_float(words[j] << 16));
      maximum = fmaxf(maximum, __int_as_float(words[j] & 0xffff0000u));
    }
  }
  maximum = largest(maximum);
  if (lane == 0) {
    shared[0][warp] = maximum;
  }
  __syncthreads();
  maximum = largest(shared[0][lane % 4]);

  float sum = 0;
  for (int i = threadIdx.x; i < classes; i += blockDim.x) {
    unsigned short bits = ((const unsigned short*)row)[i];
    sum += exp2_of((__int_as_float((unsigned)bits << 16) - maximum) * log2e);
  }
  sum = total(sum);
  if (lane == 0) {
    shared[1][warp] = sum;
  }
  __syncthreads();
  sum = 0;
  for (int i = 0; i < 4; i++) {
    sum += shared[1][i];
  }
  for (int i = threadIdx.x; i < classes; i += blockDim.x) {
    unsigned short bits = ((const unsigned short*)row)[i];
    out[i] = exp2_of((__int_as_float((unsigned)bits << 16) - maximum) * log2e) / sum;
  }
}
