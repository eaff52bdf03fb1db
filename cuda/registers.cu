// K1, K2 and K3: a row stays in the registers of a group of threads, as raw vectors of 16 bytes. It
// is read once, and its gradient written once. The kernels differ in who the group is: lanes of a
// warp, which exchange what they found by shuffles; a CTA, through shared memory; or a cluster of
// CTAs, each through the shared memory of all.
#include "faint.cuh"
#include "held.cuh"

namespace xent {

// 16 bytes for each of a group's vectors hold the row from the line on in which it begins.
template <class Group, class Logit, class Gradient, class Target, u32 kOptions, u32 kVectors>
__device__ __forceinline__ void held_row(const Params& p) {
  using RowPart = Part<Target, kOptions>;
  constexpr bool kSums = kProbabilities<Target> || !(kOptions & kBackward);
  // Few exponentials stay in registers, if they are relative to the row's largest logit.
  constexpr u32 N = kPerVector<Logit>;
  constexpr bool kKeepsPowers = kSums && kHoldsPartial<Target, kOptions> &&
                                Group::kThreads == Group::kWarpThreads && kVectors * N <= 32;
  const i64 row = Group::row();
  const bool exists = row < p.rows;
  if (Group::kAlone && !exists) return;
  RowTarget target = {false, false, -1, 1};
  if (exists) target = row_target<Target>(p, row);
  const Logit* logits = static_cast<const Logit*>(p.logits) + row * p.logits_stride;
  const Target* q = nullptr;
  if constexpr (kProbabilities<Target>) {
    q = static_cast<const Target*>(p.targets) + row * p.targets_stride;
  }
  const Span<Logit> span(logits, p.classes, Group::kLineBytes);
  const Squash<kOptions> squash(p);
  const Adder<Logit, Target, kOptions> adder(p, squash, span, logits, q);
  if (exists && !target.counted) {
    const u32 thread = Group::rank() * Group::kThreads + Group::thread();
    if (!(kOptions & kBackward) && thread == 0) write_ignored(p, row);
    if constexpr (kHasGradient<Gradient>) {
      const Writer<Logit, Gradient, Target, kOptions> writer(adder, row);
      writer.fill(0, thread, Group::kCluster * Group::kThreads);
    }
    if constexpr (Group::kAlone) return;
  }
  if constexpr (kSums) Group::start();

  Held<Logit, Group, kVectors> held(span, target.counted);
  // Its owner reads the logit of the target, and writes the gradient in its place.
  const bool owns_target = target.index >= 0 && held.owns(target.index);
  float x = owns_target ? load(logits + target.index) : 0;
  if (p.sign_flip) x = -x;
  held.template load<kHoldsPartial<Target, kOptions>>(logits,
                                                      Element<Logit>::kLowest ^ p.sign_flip);
  if constexpr (kOptions & kScale || kOptions & kSoftcap) {
#pragma unroll
    for (u32 k = 0; k < kVectors; k++) held.v[k] = flip_signs(held.v[k], p.sign_flip);
  }
  RowPart part;
  float powers[kVectors][N];
  if constexpr (kSums) {
    part = Group::merge(add_held(adder, held, powers), squash);
    const bool faint = !(kOptions & kBackward) && target.counted && is_faint(part.s, span.classes);
    if (Group::any(faint)) {
      FaintSums own;
      if (faint) {
        const u32 thread = Group::rank() * Group::kThreads + Group::thread();
        own = faint_sums(adder, part.largest, thread, Group::kCluster * Group::kThreads);
      }
      const FaintSums sums = Group::reduce(own, FaintSums::plus);
      if (faint) take(part, sums);
    }
  }
  if (!target.counted) return;
  if constexpr (kOptions & kBackward) {
    const Stats stats = p.stats[row];
    part.largest = p.sign_flip ? -stats.largest : stats.largest;
    part.s = is_nan(stats.largest) ? stats.largest : stats.s;
  }
  const Softmax<kOptions> softmax(squash, part.largest, part.s);
  const bool is_first = Group::rank() == 0 && Group::thread() == 0;
  if (!(kOptions & kBackward) && (target.index >= 0 ? owns_target : is_first)) {
    write_row(p, row, target, x, part, squash, softmax);
  }
  if constexpr (kHasGradient<Gradient>) {
    float mass = 0;
    if constexpr (RowPart::kHasTarget) mass = part.mass;
    const Factors factors = row_factors<Target>(p, row, target, mass, squash, softmax);
    const Writer<Logit, Gradient, Target, kOptions> writer(adder, row);
    Gradient* at = settled(writer.piece(held.first));
    const u32 zero = p.zero;
#pragma unroll
    for (u32 k = 0; k < kVectors; k++, at += Group::kThreads * N) {
      const bool partial = kHoldsPartial<Target, kOptions> && held.has_partial(k);
      if (!partial && !held.has(k, zero)) continue;
      if constexpr (kKeepsPowers) {
        writer.write_powers(factors, powers[k], held.number(k), at, partial);
      } else {
        writer.write_again(factors, softmax, held.v[k], zero, held.number(k), at, partial);
      }
    }
    if constexpr (!kHoldsPartial<Target, kOptions>) {
      held.each_partial([&](bool, i32 j) { writer.write_partial(factors, softmax, j); });
    }
    if (owns_target) writer.write_target(factors, softmax, target, x);
  }
}

// CTAs that an SM of 65536 registers holds, at what their threads need. The compiler is to be told:
// by itself it spills a little for the sake of a few CTAs more. `kPowers`: vectors become
// exponentials. Below sm_80 the elements of pairs are floats for a while, too; below sm_90 what an
// exponential keeps needs more.
template <class Logit, class Target, u32 kOptions, u32 kThreads, u32 kVectors, bool kPowers>
__host__ __device__ constexpr u32 resident() {
#if __CUDA_ARCH__ < 800
  constexpr u32 kOfVector = kPerVector<Logit>;
#else
  constexpr u32 kOfVector = kPowers ? kPerVector<Logit> : 4;
#endif
#if __CUDA_ARCH__ < 900
  constexpr u32 kBase = kOptions & kFloat ? 41 : 36;
#else
  constexpr u32 kBase = 36;
#endif
  constexpr u32 kNeeded = kBase + kOfVector * kVectors + (kPowers ? 14 : 0) +
                          (kOptions & kArgmax ? 24 : 0) + (kOptions & kScale ? 8 : 0) +
                          (kHeavy<Target, kOptions> ? 24 : 0);
  constexpr u32 kCtas = 65536 / (kNeeded < 56 ? 56 : kNeeded) / kThreads;
  return kCtas == 0 ? 1 : kCtas;
}

// Grid: a CTA for each 128 / kLanes rows.
template <class Logit, class Gradient, class Target, u32 kOptions, u32 kLanes, u32 kVectors>
__global__ void __launch_bounds__(128, (resident<Logit, Target, kOptions, 128, kVectors, true>()))
    lanes(const Params p) {
  held_row<Lanes<128, kLanes>, Logit, Gradient, Target, kOptions, kVectors>(p);
}

// Grid: a CTA for each row.
template <class Logit, class Gradient, class Target, u32 kOptions, u32 kThreads, u32 kVectors>
__global__ void __launch_bounds__(kThreads,
                                  (resident<Logit, Target, kOptions, kThreads, kVectors, false>()))
    block(const Params p) {
  held_row<Ctas<kThreads, 1>, Logit, Gradient, Target, kOptions, kVectors>(p);
}

#if __CUDA_ARCH__ >= 900
// Grid: a cluster of kCluster CTAs for each row.
template <class Logit, class Gradient, class Target, u32 kOptions, u32 kThreads, u32 kVectors,
          u32 kCluster>
__global__ void __cluster_dims__(kCluster, 1, 1)
    __launch_bounds__(kThreads, (resident<Logit, Target, kOptions, kThreads, kVectors, false>()))
        cluster(const Params p) {
  held_row<Ctas<kThreads, kCluster>, Logit, Gradient, Target, kOptions, kVectors>(p);
}
#endif

}  // namespace xent
