// K2 and K3: a row stays in the registers of one CTA, or of a cluster of CTAs, as raw vectors of 16
// bytes. It is read once, and its gradient written once.
#include "cluster.cuh"
#include "faint.cuh"
#include "gradient.cuh"

namespace xent {

// The vectors of a thread: number first + k kThreads for k below kVectors.
template <class Logit, u32 kThreads, u32 kVectors>
struct Held {
  uint4 v[kVectors];
  i32 first;

  // Whether vector k is a full one of the row. `zero` is 0: what a second loop asks is not what the
  // compiler has kept since the first, in a predicate for each vector.
  __device__ __forceinline__ bool has(const Span<Logit>& span, u32 k, u32 zero = 0) const {
    const i32 j = first + static_cast<i32>(k * kThreads);
    return j < (span.end ^ static_cast<i32>(zero)) && (k > 0 || j >= span.first);
  }
  // Whether the thread has vector j, which may be a partial one.
  __device__ __forceinline__ bool owns(i32 j) const {
    const i32 distance = j - first;
    return distance >= 0 && distance < static_cast<i32>(kThreads * kVectors) &&
           distance % static_cast<i32>(kThreads) == 0;
  }
};

// Adds the vectors of a thread, and its partial ones.
template <class Logit, class Target, u32 kOptions, u32 kThreads, u32 kVectors>
__device__ __forceinline__ Part<Target, kOptions> add_held(
    const Adder<Logit, Target, kOptions>& adder, const Held<Logit, kThreads, kVectors>& held) {
  using RowPart = Part<Target, kOptions>;
  const Span<Logit>& span = adder.span;
  Running<Target, kOptions> own(adder.squash);
  if constexpr (RowPart::kHasTarget || Squash<kOptions>::kCapped) {
#pragma unroll
    for (u32 k = 0; k < kVectors; k++) {
      if (!held.has(span, k)) continue;
      const uint4 one[1] = {held.v[k]};
      adder.template add<1>(own, one, held.first + k * kThreads, kThreads);
    }
  } else {
    adder.template add<kVectors>(own, held.v, held.first, kThreads);  // -inf adds nothing
  }
#pragma unroll 1
  for (u32 number = 0; number < 2; number++) {
    const i32 j = span.partial(number);
    if (j >= 0 && held.owns(j)) adder.add_partial(own, j);
  }

  return own.part(adder.squash);
}

// Puts a value of each warp of the cluster into `shared` of all CTAs. All threads take part, and
// their CTAs have started.
template <u32 kWarps, u32 kCluster, class T>
__device__ __forceinline__ void publish(const T& of_warp, u32 rank,
                                        Slots<T, kWarps * kCluster>& shared) {
  const u32 thread = threadIdx.x, warp = thread / kWarp;
  if constexpr (kCluster == 1) {
    if (thread % kWarp == 0) shared[warp] = of_warp;
    __syncthreads();
  } else {
#if __CUDA_ARCH__ >= 900
    u32 words[sizeof(T) / 4];
    memcpy(words, &of_warp, sizeof(T));
    if (thread % kWarp < kCluster) {
      const char* place = reinterpret_cast<const char*>(&shared[rank * kWarps + warp]);
#pragma unroll
      for (u32 i = 0; i < sizeof(T) / 4; i++) {
        store_to_peer(place + 4 * i, thread % kWarp, words[i]);
      }
    }
    cluster_arrive();
    cluster_wait();
#endif
  }
}

// Grid: kCluster CTAs for each row; as many are a cluster. 16 kThreads kVectors kCluster bytes hold
// the row from the 128-byte line on in which it begins.
template <class Logit, class Gradient, class Target, u32 kOptions, u32 kThreads, u32 kVectors,
          u32 kCluster>
__device__ __forceinline__ void block_row(const Params& p) {
  using RowPart = Part<Target, kOptions>;
  constexpr bool kSums = kProbabilities<Target> || !(kOptions & kBackward);
  constexpr u32 kWarps = kThreads / kWarp;
  __shared__ Slots<RowPart, kWarps * kCluster> shared;
  __shared__ Slots<FaintSums, kWarps * kCluster> shared_faint;
  const u32 thread = threadIdx.x;
  const i64 row = row_of_cta(kCluster);
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
  u32 rank = 0;
#if __CUDA_ARCH__ >= 900
  if constexpr (kCluster > 1) rank = cluster_rank();
#endif
  if (!target.counted) {
    if (!(kOptions & kBackward) && rank == 0 && thread == 0) write_ignored(p, row);
    if constexpr (kHasGradient<Gradient>) {
      const Writer<Logit, Gradient, Target, kOptions> writer(adder, row);
      writer.fill(0, rank * kThreads + thread, kCluster * kThreads);
    }
    return;
  }
#if __CUDA_ARCH__ >= 900
  if constexpr (kCluster > 1 && kSums) cluster_started();
#endif

  Held<Logit, kThreads, kVectors> held;
  held.first = rank * kThreads * kVectors + thread;
  const char* at = span.address(held.first);
  const bool owns_target = target.index >= 0 && held.owns(span.vector_of(target.index));
  // Without sums there is no barrier between this and another thread's write in its place.
  const bool reads_target = kSums ? target.index >= 0 : owns_target;
  float x = reads_target ? load(logits + target.index) : 0;
  if (p.sign_flip) x = -x;
  const u32 none = Element<Logit>::kLowest;
#pragma unroll
  for (u32 k = 0; k < kVectors; k++) {
    held.v[k] = make_uint4(none, none, none, none);
    if (held.has(span, k)) held.v[k] = load16(at + k * kThreads * 16);
  }
  if constexpr (kOptions & kScale || kOptions & kSoftcap) {
#pragma unroll
    for (u32 k = 0; k < kVectors; k++) {
      if (held.has(span, k)) held.v[k] = flip_signs(held.v[k], p.sign_flip);
    }
  }
  RowPart part;
  if constexpr (kSums) {
    const RowPart of_warp = merge_lanes<Target, kOptions>(add_held(adder, held), squash);
#if __CUDA_ARCH__ >= 900
    if constexpr (kCluster > 1) cluster_wait();  // all CTAs have started
#endif
    publish<kWarps, kCluster>(of_warp, rank, shared);
    part = merge_shared(shared, squash);
    if (!(kOptions & kBackward) && is_faint(part.s, span)) {
      const FaintSums own =
          faint_sums(adder, part.largest, rank * kThreads + thread, kCluster * kThreads);
      const FaintSums sums = reduce_lanes(own, FaintSums::plus);
      publish<kWarps, kCluster>(sums, rank, shared_faint);
      take(part, reduce_shared(shared_faint, FaintSums(), FaintSums::plus));
    }
  }
  if constexpr (kOptions & kBackward) {
    const float2 stats = p.stats[row];
    part.largest = p.sign_flip ? -stats.x : stats.x;
    part.s = is_nan(stats.x) ? stats.x : stats.y;
  }
  const Softmax<kOptions> softmax(squash, part.largest, part.s);
  const Scales scales = p.scales ? *p.scales : p.fixed;
  if (!(kOptions & kBackward) && rank == 0 && thread == 0) {
    write_row(p, scales, row, target, x, part, squash, softmax);
  }
  if constexpr (kHasGradient<Gradient>) {
    float mass = 0;
    if constexpr (RowPart::kHasTarget) mass = part.mass;
    const Factors factors = row_factors<Target>(p, scales, row, target, mass, squash, softmax);
    const Writer<Logit, Gradient, Target, kOptions> writer(adder, row);
#pragma unroll
    for (u32 k = 0; k < kVectors; k++) {
      if (!held.has(span, k, p.zero)) continue;
      writer.write_again(factors, softmax, held.v[k], held.first + k * kThreads);
    }
#pragma unroll 1
    for (u32 number = 0; number < 2; number++) {
      const i32 j = span.partial(number);
      if (j >= 0 && held.owns(j)) writer.write_partial(factors, softmax, j);
    }
    if (owns_target) writer.write_target(factors, softmax, target, x);
  }
}

// CTAs that an SM of 65536 registers holds, at what their threads need.
template <class Target, u32 kOptions, u32 kThreads, u32 kVectors>
__host__ __device__ constexpr u32 resident() {
  const u32 needed = 34 + 4 * kVectors + (kHeavy<Target, kOptions> ? 24 : 0);
  const u32 ctas = 65536 / (needed < 56 ? 56 : needed) / kThreads;
  return ctas == 0 ? 1 : ctas;
}

template <class Logit, class Gradient, class Target, u32 kOptions, u32 kThreads, u32 kVectors>
__global__ void __launch_bounds__(kThreads, (resident<Target, kOptions, kThreads, kVectors>()))
    block(const Params p) {
  block_row<Logit, Gradient, Target, kOptions, kThreads, kVectors, 1>(p);
}

#if __CUDA_ARCH__ >= 900
template <class Logit, class Gradient, class Target, u32 kOptions, u32 kThreads, u32 kVectors,
          u32 kCluster>
__global__ void __cluster_dims__(kCluster, 1, 1)
    __launch_bounds__(kThreads, (resident<Target, kOptions, kThreads, kVectors>()))
        cluster(const Params p) {
  block_row<Logit, Gradient, Target, kOptions, kThreads, kVectors, kCluster>(p);
}
#endif

}  // namespace xent
