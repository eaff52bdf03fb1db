// The double backward of the cross entropy of logits: the Hessian of the loss of a row times a
// direction v. With u the weights of its -log p and m = sum(p v) that is, for a scale k, k^2 p
// ((sum(u) + 2 a lse) (v - m) + 2 a m).
#include "loss.cuh"
#include "tensor.cuh"

namespace xent {

// Sums over a row.
struct HessianSums {
  double mean = 0;  // sum(e v)
  double mass = 0;  // sum(u), of probabilities

  static __device__ __forceinline__ HessianSums plus(const HessianSums& a, const HessianSums& b) {
    HessianSums sum;
    sum.mean = a.mean + b.mean;
    sum.mass = a.mass + b.mass;
    return sum;
  }
};

// Grid: as Sharing has it. `Gradient`: the type of the direction, too.
template <class Logit, class Gradient, class Target, u32 kOptions, u32 kThreads>
__global__ void __launch_bounds__(Sharing<kThreads>::kCtaThreads) hessian(const TensorParams p) {
  using Group = typename Sharing<kThreads>::Group;
  const i64 row = Group::row();
  const bool exists = row < p.rows.rows;
  const RowTarget target = exists ? row_target<Target>(p.rows, row) : RowTarget{false, true, -1, 1};
  const u32 count = exists ? p.rows.classes : 0, read_count = target.counted ? count : 0;
  const Place place(p, row);
  const OrientedRow<Logit, kOptions> logits(p, place);
  const TensorRow<Gradient> direction(p.upstream, place), product(p.output, place);
  const TensorRow<Target> targets(p.targets, place);
  const Stats stats = exists ? p.rows.stats[row] : Stats{0, 0};
  const Squash<kOptions> squash(p.rows);
  const float largest = p.rows.sign_flip ? -stats.largest : stats.largest;
  const Softmax<kOptions> softmax(squash, largest, stats.s);

  HessianSums sums;
  each_turn<Group>(p, read_count, [&](auto turn) {
    float x[turn.kCount], v[turn.kCount];
    logits.read(turn, x);
    direction.read(turn, v);
#pragma unroll
    for (u32 k = 0; k < turn.kCount; k++) {
      v[k] = times(squash.power(x[k], softmax.reference), v[k]);
    }
    sums.mean += in_pairs(v);
    if constexpr (kProbabilities<Target>) {
      float u[turn.kCount];
      targets.read(turn, u);
#pragma unroll
      for (u32 k = 0; k < turn.kCount; k++) {
        u[k] = fmaf(u[k], p.rows.keep, p.rows.share);
        if (p.rows.class_weights) u[k] = times(u[k], p.rows.class_weights[turn[k]]);
      }
      sums.mass += in_pairs(u);
    }
  });
  sums = Group::reduce(sums, HessianSums::plus);

  double mass = sums.mass;
  if constexpr (!kProbabilities<Target>) {
    mass = p.rows.keep * static_cast<double>(target.weight);
    if (p.rows.share != 0)
      mass += p.rows.share * static_cast<double>(p.rows.scaled_by(&Scales::weight_sum));
  }
  const bool per_row = p.rows.flags & kDlossPerRow;
  const double dloss = p.rows.dloss && exists ? p.rows.dloss[per_row ? row : 0] : 1;
  const double row_weight = p.rows.row_weights && exists ? p.rows.row_weights[row] : 1;
  double curvature = dloss * p.rows.scaled_by(&Scales::cross_entropy) * row_weight * mass;
  double of_lse = 0;
  if (p.rows.z_loss != 0) {
    of_lse = dloss * p.rows.scaled_by(&Scales::z_loss) * 2 * p.rows.z_loss;
    curvature += of_lse * softmax.lse(squash);
  }
  if (!softmax.defined || !target.valid) curvature = nan();
  const double slope = squash.constant_slope(), per_e = slope * slope * softmax.p_max;
  const float of_v = static_cast<float>(curvature * per_e);
  const float rest = static_cast<float>((of_lse - curvature) * sums.mean * softmax.p_max * per_e);
  each_turn<Group>(p, read_count, [&](auto turn) {
    float x[turn.kCount], v[turn.kCount];
    logits.read(turn, x);
    direction.read(turn, v);
#pragma unroll
    for (u32 k = 0; k < turn.kCount; k++) {
      x[k] = times(squash.power(x[k], softmax.reference), fmaf(v[k], of_v, rest));
    }
    product.write(turn, x);
  });
  if (!target.counted) {
    each_turn<Group>(p, count, [&](auto turn) { product.fill(turn, 0); });
  }
}

}  // namespace xent
