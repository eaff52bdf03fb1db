// Softmax and its logarithm: t - log1p(s) or its exponential, of the t and s that the cross entropy
// has too; and their backward. A row is read twice.
#include "log.cuh"
#include "loss.cuh"
#include "tensor.cuh"

namespace xent {

// What is known of a row of `count` classes. All threads of the group take part.
template <class Group, class Logit, u32 kOptions>
__device__ __forceinline__ Part<classes, kOptions> read_row(const TensorParams& p,
                                                            const OrientedRow<Logit, kOptions>& row,
                                                            u32 count,
                                                            const Squash<kOptions>& squash) {
  Running<classes, kOptions> sums(squash);
  each_turn<Group>(p, count, [&](auto turn) {
    float x[turn.kCount], s = 0;
    row.read(turn, x);
    float top = x[0];
#pragma unroll
    for (u32 k = 1; k < turn.kCount; k++) top = fmaxf(top, x[k]);
    if (top > sums.largest) s = sums.rise(top, squash);
#pragma unroll
    for (u32 k = 0; k < turn.kCount; k++) {
      const float e = squash.power(x[k], sums.reference);
      add_or_count(x[k], sums.largest, e, s, sums.maxima);
    }
    sums.s.add(s);
  });
  const auto warp = merge_lanes<classes, kOptions, Group::kWarpThreads>(sums.part(squash), squash);
  return Group::merge(warp, squash);
}

// s of a row whose exponentials may have vanished: in double, of exponentials times 2^64.
template <class Group, class Logit, u32 kOptions>
__device__ __forceinline__ float faint_sum(const TensorParams& p,
                                           const OrientedRow<Logit, kOptions>& row, u32 count,
                                           float largest, const Squash<kOptions>& squash) {
  constexpr double kTwoToMinus64 = 5.421010862427522e-20;
  const float reference = squash.reference(largest);
  double s = 0;
  each_turn<Group>(p, count, [&](auto turn) {
    float x[turn.kCount];
    row.read(turn, x);
#pragma unroll
    for (u32 k = 0; k < turn.kCount; k++) {
      if (x[k] != largest) s += squash.power_2_64(x[k], reference);
    }
  });
  s = Group::reduce(s, [](double a, double b) { return a + b; });
  return static_cast<float>(s * kTwoToMinus64);
}

// Grid: as Sharing has it. `Output`: the type of the softmax.
template <class Logit, class Output, u32 kOptions, u32 kThreads, bool kLogarithm>
__global__ void __launch_bounds__(Sharing<kThreads>::kCtaThreads) softmax(const TensorParams p) {
  using Group = typename Sharing<kThreads>::Group;
  const i64 row = Group::row();
  const u32 count = row < p.rows.rows ? p.rows.classes : 0;
  const Place place(p, row);
  const OrientedRow<Logit, kOptions> logits(p, place);
  const TensorRow<Output> output(p.output, place);
  const Squash<kOptions> squash(p.rows);
  Part<classes, kOptions> part = read_row<Group>(p, logits, count, squash);
  if constexpr (kLogarithm) {
    if (Group::any(is_faint(part.s, p.rows.classes))) {
      const float s = faint_sum<Group>(p, logits, count, part.largest, squash);
      if (is_faint(part.s, p.rows.classes)) part.s = s;
    }
  }
  const Softmax<kOptions> softmax(squash, part.largest, part.s);
  const float log1p_s = softmax.defined ? softmax.log1p_s() : nan();
  const float p_max = softmax.defined ? softmax.p_max : nan();
  each_turn<Group>(p, count, [&](auto turn) {
    float x[turn.kCount];
    logits.read(turn, x);
#pragma unroll
    for (u32 k = 0; k < turn.kCount; k++) {
      x[k] = kLogarithm ? squash.distance(x[k], softmax.reference) - log1p_s
                        : squash.power(x[k], softmax.reference) * p_max;
    }
    output.write(turn, x);
  });
}

// From a softmax or its logarithm y and its upstream gradient g to the gradient of the logits:
// k y (g - sum(g y)), or k (g - exp(y) sum(g)).
template <class Output, class Gradient, u32 kThreads, bool kLogarithm>
__global__ void __launch_bounds__(Sharing<kThreads>::kCtaThreads) of_softmax(const TensorParams p) {
  using Group = typename Sharing<kThreads>::Group;
  const i64 row = Group::row();
  const u32 count = row < p.rows.rows ? p.rows.classes : 0;
  const Place place(p, row);
  const TensorRow<Output> output(p.logits, place), upstream(p.upstream, place);
  const TensorRow<Gradient> gradient(p.output, place);
  double sum = 0;
  each_turn<Group>(p, count, [&](auto turn) {
    float g[turn.kCount];
    upstream.read(turn, g);
    if constexpr (!kLogarithm) {
      float y[turn.kCount];
      output.read(turn, y);
#pragma unroll
      for (u32 k = 0; k < turn.kCount; k++) g[k] = times(y[k], g[k]);
    }
    sum += in_pairs(g);
  });
  const float all =
      static_cast<float>(Group::reduce(sum, [](double a, double b) { return a + b; }));
  each_turn<Group>(p, count, [&](auto turn) {
    float g[turn.kCount], y[turn.kCount];
    upstream.read(turn, g);
    output.read(turn, y);
#pragma unroll
    for (u32 k = 0; k < turn.kCount; k++) {
      g[k] = kLogarithm ? fmaf(exp_exact(y[k]), -all, g[k]) : times(y[k], g[k] - all);
      g[k] *= p.rows.slope;
    }
    gradient.write(turn, g);
  });
}

}  // namespace xent
