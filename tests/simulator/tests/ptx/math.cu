// Library functions and intrinsics that NVRTC expands by itself, one result each per thread.
extern "C" __global__ void math(const float* in, float* out, const long long* integers,
                                long long* whole) {
  const float x = in[threadIdx.x];
  const int n = blockDim.x;
  float* to = out + threadIdx.x;
  to[0 * n] = expf(x);
  to[1 * n] = logf(fabsf(x));
  to[2 * n] = log1pf(fabsf(x));
  to[3 * n] = tanhf(x);
  to[4 * n] = sqrtf(fabsf(x));
  to[5 * n] = rsqrtf(fabsf(x));
  to[6 * n] = sinf(x * 1000.0f);
  to[7 * n] = powf(fabsf(x), 1.7f);
  to[8 * n] = fmodf(x, 0.7f);
  to[9 * n] = __expf(x);
  to[10 * n] = __fdividef(x, 3.0f);
  to[11 * n] = 1.0f / x;
  to[12 * n] = ldexpf(x, 5);
  to[13 * n] = rintf(x);
  to[14 * n] = expm1f(x);
  to[15 * n] = (float)exp((double)x);
  to[16 * n] = erff(x);
  to[17 * n] = exp2f(x);
  const long long i = integers[threadIdx.x];
  long long* count = whole + threadIdx.x;
  count[0 * n] = i / 7;
  count[1 * n] = i % 1000003;
  count[2 * n] = __popcll(i) + 100 * __clzll(i);
  count[3 * n] = __umul64hi((unsigned long long)i, 0x9e3779b97f4a7c15ull);
  count[4 * n] = (long long)((double)i * 0.5);
  count[5 * n] = __float2int_rn(x) + (long long)__float2int_rz(x) * 1000;
  count[6 * n] = __brev((unsigned)i);
  count[7 * n] = __shfl_up_sync(0xffffffffu, (int)i, 1);
  count[8 * n] = __ballot_sync(0xffffffffu, x > 0);
  switch ((unsigned long long)i % 6) {
    case 0:
      count[9 * n] = i;
      break;
    case 1:
      count[9 * n] = -i;
      break;
    case 2:
      count[9 * n] = i * i;
      break;
    case 3:
      count[9 * n] = i ^ 5;
      break;
    case 4:
      count[9 * n] = i + 77;
      break;
    default:
      count[9 * n] = 3;
  }
}
