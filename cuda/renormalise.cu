// Cross entropy of probabilities that are first divided by their sum: a row is read once for the
// sum, once for the loss, and once more for the gradient, whose elements depend on all others.
#include "elements.cuh"

namespace xent {

// A pair of sums over a row. `kTurn`: a type of its own for each pair of a kernel.
template <u32 kTurn>
struct Pair {
  double first = 0, second = 0;

  static __device__ __forceinline__ Pair plus(const Pair& a, const Pair& b) {
    Pair sum;
    sum.first = a.first + b.first;
    sum.second = a.second + b.second;
    return sum;
  }
};

// `kBefore`: they are clipped afterwards, else before they are divided.
template <class Logit, class Gradient, class Target, class OfElement, u32 kOptions, bool kBefore,
          u32 kThreads>
__global__ void __launch_bounds__(Sharing<kThreads>::kCtaThreads)
    renormalise(const ElementParams p) {
  using Group = typename Sharing<kThreads>::Group;
  const ElementRow<Logit, Target, kOptions> row(p, Group::row());
  const Clip& clip = p.clip;
  Pair<0> found;  // the sum that the loss divides by, and that of the targets
  each_turn<Group>(p.of, row.read_count(), [&](auto turn) {
    Label label[turn.kCount];
    float x[turn.kCount], w[turn.kCount];
    row.logits.read(turn, x);
    row.labels(turn, label);
    row.weights(turn, w);
#pragma unroll
    for (u32 k = 0; k < turn.kCount; k++) {
      const float clipped = clip.select(x[k], x[k], clip.lowest, clip.highest);
      x[k] = kBefore ? x[k] : clipped + clip.epsilon;
      w[k] = times(w[k], label[k].t);
    }
    found.first += in_pairs(x);
    found.second += in_pairs(w);
  });
  found = Group::reduce(found, Pair<0>::plus);
  const float divisor = kBefore ? static_cast<float>(found.first) : 1;
  Pair<1> of_terms;  // their losses, and their derivatives times what they are of
  const auto read_terms = [&](auto turn, auto& x, auto& loss, auto& slope) {
    row.logits.read(turn, x);
#pragma unroll
    for (u32 k = 0; k < turn.kCount; k++) x[k] /= divisor;
    row.template terms<OfElement>(turn, x, loss, slope);
  };
  each_turn<Group>(p.of, row.read_count(), [&](auto turn) {
    float x[turn.kCount], loss[turn.kCount], slope[turn.kCount];
    read_terms(turn, x, loss, slope);
#pragma unroll
    for (u32 k = 0; k < turn.kCount; k++) slope[k] = times(slope[k], x[k]);
    of_terms.first += in_pairs(loss);
    of_terms.second += in_pairs(slope);
  });
  of_terms = Group::reduce(of_terms, Pair<1>::plus);
  double loss = of_terms.first;
  if (!kBefore)
    loss += times(found.second, static_cast<double>(ln(static_cast<float>(found.first))));
  if (Group::thread() == 0) row.finish(row.target.counted ? loss : 0);
  if constexpr (kHasGradient<Gradient>) {
    const TensorRow<Gradient> gradient(p.of.output, row.place);
    const double factor = kBefore ? row.of_slope / found.first : row.of_slope;
    const float of_slope = static_cast<float>(factor);
    const float rest = kBefore ? static_cast<float>(-of_terms.second * factor) : -0.f;
    const float even = static_cast<float>(found.second / found.first);
    each_turn<Group>(p.of, row.read_count(), [&](auto turn) {
      float x[turn.kCount], loss[turn.kCount], slope[turn.kCount];
      read_terms(turn, x, loss, slope);
#pragma unroll
      for (u32 k = 0; k < turn.kCount; k++) {
        if (!kBefore) slope[k] += clip.select(x[k], even, 0, 0);
        slope[k] = fmaf(slope[k], of_slope, rest);
      }
      gradient.write(turn, slope);
    });
    if (!row.target.counted) {
      each_turn<Group>(p.of, row.count(), [&](auto turn) { gradient.fill(turn, 0); });
    }
  }
}

}  // namespace xent
