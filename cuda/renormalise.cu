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
template <class Logit, class Gradient, class Target, class OfElement, bool kBefore, u32 kThreads>
__global__ void __launch_bounds__(Sharing<kThreads>::kCtaThreads)
    renormalise(const ElementParams p) {
  using Group = typename Sharing<kThreads>::Group;
  const ElementRow<Logit, Target> row(p, Group::row());
  const TermParams& clip = p.term;
  Pair<0> found;  // the sum that the loss divides by, and that of the targets
  each_class<Group>(row.read_count(), [&](i32 c) {
    const float x = row.logits[c];
    const float clipped = clip.select(x, x, clip.clip.lowest, clip.clip.highest);
    found.first += kBefore ? x : clipped + clip.clip.epsilon;
    found.second += times(row.weight(c), row[c]);
  });
  found = Group::reduce(found, Pair<0>::plus);
  const float divisor = kBefore ? static_cast<float>(found.first) : 1;
  Pair<1> of_terms;  // their losses, and their derivatives times what they are of
  each_class<Group>(row.read_count(), [&](i32 c) {
    const float x = row.logits[c] / divisor;
    const Term term = row.template term<OfElement>(c, x);
    of_terms.first += term.loss;
    of_terms.second += times(term.slope, x);
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
    each_class<Group>(row.count(), [&](i32 c) {
      float g = 0;
      if (row.target.counted) {
        const float x = row.logits[c] / divisor;
        const float slope = row.template term<OfElement>(c, x).slope;
        g = fmaf(kBefore ? slope : slope + clip.select(x, even, 0, 0), of_slope, rest);
      }
      gradient.set(c, g);
    });
  }
}

}  // namespace xent
