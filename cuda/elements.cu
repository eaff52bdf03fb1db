// Losses that are sums over elements.
#include "elements.cuh"

namespace xent {

// All elements count. Grid: as Sharing has it. `OfElement`: the term.
template <class Logit, class Gradient, class Target, class OfElement, u32 kThreads>
__global__ void __launch_bounds__(Sharing<kThreads>::kCtaThreads) elements(const ElementParams p) {
  using Group = typename Sharing<kThreads>::Group;
  const ElementRow<Logit, Target> row(p, Group::row());
  const TensorRow<Gradient> gradient(p.of.output, row.place);
  const TensorRow<float> losses(p.losses, row.place), upstream(p.of.upstream, row.place);
  const float of_loss = static_cast<float>(row.of_loss),
              of_slope = static_cast<float>(row.of_slope);
  double sum = 0;
  each_class<Group>(row.read_count(), [&](i32 c) {
    const Term term = row.template term<OfElement>(c, row.logits[c]);
    sum += term.loss;
    if (p.losses.data) losses.set(c, times(term.loss, of_loss));
    if constexpr (kHasGradient<Gradient>) {
      const float g = p.of.upstream.data ? times(term.slope, upstream[c]) : term.slope;
      gradient.set(c, times(g, of_slope));
    }
  });
  if constexpr (kHasGradient<Gradient>) {
    if (!row.target.counted) each_class<Group>(row.count(), [&](i32 c) { gradient.set(c, 0); });
  }
  sum = Group::reduce(sum, [](double a, double b) { return a + b; });
  if (Group::thread() == 0) row.finish(sum);
}

// The element of a class index is the only one that counts, and is read. The thread that reads it
// writes its gradient: that may replace it.
template <class Logit, class Gradient, class OfElement, u32 kThreads>
__global__ void __launch_bounds__(Sharing<kThreads>::kCtaThreads) one_class(const ElementParams p) {
  using Group = typename Sharing<kThreads>::Group;
  const ElementRow<Logit, classes> row(p, Group::row());
  const RowTarget& target = row.target;
  const i32 reader = target.index >= 0 ? target.index % Group::kThreads : 0;
  const bool reads = Group::thread() == reader;
  Term term = {0, 0};
  if (reads && target.index >= 0) {
    term = OfElement::at(p.term, row.logits[target.index], 1, 1);
    term = {times(target.weight, term.loss), times(target.weight, term.slope)};
  }
  if (reads) row.finish(term.loss);
  if constexpr (kHasGradient<Gradient>) {
    const TensorRow<Gradient> gradient(p.of.output, row.place);
    const float of_slope = static_cast<float>(row.of_slope);
    const float others = target.counted && !target.valid ? nan() : 0;
    each_class<Group>(row.count(), [&](i32 c) {
      gradient.set(c, c == target.index ? times(term.slope, of_slope) : others);
    });
  }
}

}  // namespace xent
