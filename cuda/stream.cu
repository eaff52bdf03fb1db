// K4: any number of classes. One CTA for each row reads it once for its sums, and for the gradient
// once more, from the end: what was read last is likeliest to be in the cache still.
#include "faint.cuh"
#include "gradient.cuh"

namespace xent {

// Reads a row. All threads of the CTA take part; each adds vectors of its own.
template <class Logit, class Target, u32 kOptions, u32 kThreads>
__device__ __forceinline__ Part<Target, kOptions> read_row(
    const Adder<Logit, Target, kOptions>& adder) {
  // Vectors that a thread loads before it uses the first; as many of another tensor go with them.
  constexpr bool kReadsTwo = kProbabilities<Target> || (kOptions & kClassWeights);
  constexpr u32 kFlight = kReadsTwo ? 2 : 4;
  const Span<Logit>& span = adder.span;
  const i32 thread = threadIdx.x;
  Running<Target, kOptions> sums(adder.squash);
  i32 j = thread < span.first ? thread + kThreads : thread;
  const char* at = span.address(j);
#pragma unroll 1
  for (; j + (kFlight - 1) * kThreads < span.end; j += kFlight * kThreads) {
    uint4 v[kFlight];
#pragma unroll
    for (u32 k = 0; k < kFlight; k++) v[k] = adder.oriented(load16(at + k * kThreads * 16));
    adder.template add<kFlight>(sums, v, j, kThreads);
    at += kFlight * kThreads * 16;
  }
#pragma unroll 1
  for (; j < span.end; j += kThreads) {
    const uint4 v[1] = {adder.oriented(load16(span.address(j)))};
    adder.template add<1>(sums, v, j, kThreads);
  }
  span.each_partial(thread, kThreads, [&](i32 k) { adder.add_partial(sums, k); });
  return sums.part(adder.squash);
}

// Writes the gradient of a row. All threads of the CTA take part.
template <u32 kThreads, class Logit, class Gradient, class Target, u32 kOptions>
__device__ __forceinline__ void write_row_gradient(
    const Writer<Logit, Gradient, Target, kOptions>& writer, const Factors& factors,
    const Softmax<kOptions>& softmax, const RowTarget& target, float x) {
  const Span<Logit>& span = writer.adder.span;
  const i32 thread = threadIdx.x;
  const i32 last = (span.end - 1 - thread) / static_cast<i32>(kThreads);
#pragma unroll 2
  for (i32 k = span.end > thread ? last : -1; k >= 0; k--) {
    const i32 j = thread + k * kThreads;
    if (j < span.first) break;
    writer.write(factors, softmax, writer.adder.oriented(load16(span.address(j))), j);
  }
  span.each_partial(thread, kThreads, [&](i32 j) { writer.write_partial(factors, softmax, j); });
  if (target.index >= 0 && span.vector_of(target.index) % kThreads == thread) {
    writer.write_target(factors, softmax, target, x);
  }
}

// Threads that share an SM. Below sm_80 pairs of 16-bit numbers are converted one by one.
template <class Target, u32 kOptions>
__host__ __device__ constexpr u32 resident_threads() {
#if __CUDA_ARCH__ < 800
  return 768;
#else
  return kHeavy<Target, kOptions> ? 768 : 1024;
#endif
}

// Grid: one CTA for each row. `Gradient`: none, or the type of dlogits. `Target`: classes, or the
// type of the probabilities.
template <class Logit, class Gradient, class Target, u32 kOptions, u32 kThreads>
__global__ void __launch_bounds__(kThreads, (resident_threads<Target, kOptions>() / kThreads))
    stream(const Params p) {
  using RowPart = Part<Target, kOptions>;
  __shared__ Slots<RowPart, kThreads / kWarp> shared;
  __shared__ Slots<FaintSums, kThreads / kWarp> shared_faint;
  const i64 row = row_of_cta(1);
  if (row >= p.rows) return;
  const RowTarget target = row_target<Target>(p, row);
  const Logit* logits = static_cast<const Logit*>(p.logits) + row * p.logits_stride;
  const Target* q = nullptr;
  if constexpr (kProbabilities<Target>) {
    q = static_cast<const Target*>(p.targets) + row * p.targets_stride;
  }
  const Span<Logit> span(logits, p.classes);
  const Squash<kOptions> squash(p);
  const Adder<Logit, Target, kOptions> adder(p, squash, span, logits, q);
  if (!target.counted) {
    if constexpr (!(kOptions & kBackward)) {
      if (threadIdx.x == 0) write_ignored(p, row);
    }
    if constexpr (kHasGradient<Gradient>) {
      Writer<Logit, Gradient, Target, kOptions>(adder, row).fill(0, threadIdx.x, kThreads);
    }
    return;
  }
  float x = target.index >= 0 ? load(logits + target.index) : 0;
  if (p.sign_flip) x = -x;

  RowPart part;
  if constexpr (kProbabilities<Target> || !(kOptions & kBackward)) {
    const RowPart own = read_row<Logit, Target, kOptions, kThreads>(adder);
    const RowPart warp = merge_lanes<Target, kOptions>(own, squash);
    if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = warp;
    __syncthreads();
    part = merge_shared(shared, squash);
    if (!(kOptions & kBackward) && is_faint(part.s, span.classes)) {
      const FaintSums own = faint_sums(adder, part.largest, threadIdx.x, kThreads);
      take(part, reduce_threads<kThreads>(own, FaintSums(), shared_faint, FaintSums::plus));
    }
  } else {
    __syncthreads();  // x is read before another thread writes in its place
  }
  if constexpr (kOptions & kBackward) {
    const Stats stats = p.stats[row];
    part.largest = p.sign_flip ? -stats.largest : stats.largest;
    part.s = is_nan(stats.largest) ? stats.largest : stats.s;
  }
  const Softmax<kOptions> softmax(squash, part.largest, part.s);
  if constexpr (!(kOptions & kBackward)) {
    if (threadIdx.x == 0) write_row(p, row, target, x, part, squash, softmax);
  }
  if constexpr (kHasGradient<Gradient>) {
    float mass = 0;
    if constexpr (RowPart::kHasTarget) mass = part.mass;
    const Factors factors = row_factors<Target>(p, row, target, mass, squash, softmax);
    const Writer<Logit, Gradient, Target, kOptions> writer(adder, row);
    write_row_gradient<kThreads>(writer, factors, softmax, target, x);
  }
}

}  // namespace xent
