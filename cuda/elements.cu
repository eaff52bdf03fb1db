// Losses that are sums over elements.
#include "elements.cuh"

namespace xent {

// All elements count. Grid: as Sharing has it. `OfElement`: the term.
template <class Logit, class Gradient, class Target, class OfElement, u32 kOptions, u32 kThreads>
__global__ void __launch_bounds__(Sharing<kThreads>::kCtaThreads) elements(const ElementParams p) {
  using Group = typename Sharing<kThreads>::Group;
  const ElementRow<Logit, Target, kOptions> row(p, Group::row());
  const TensorRow<Gradient> gradient(p.of.output, row.place);
  const TensorRow<float> losses(p.losses, row.place), upstream(p.of.upstream, row.place);
  const float of_loss = static_cast<float>(row.of_loss),
              of_slope = static_cast<float>(row.of_slope);
  double sum = 0;
  each_turn<Group>(p.of, row.read_count(), [&](auto turn) {
    float x[turn.kCount], loss[turn.kCount], slope[turn.kCount];
    row.logits.read(turn, x);
    row.template terms<OfElement>(turn, x, loss, slope);
    sum += in_pairs(loss);
    if constexpr (kOptions & kPerElement) {
      multiply(loss, of_loss);
      if (p.losses.data) losses.write(turn, loss);
    }
    if constexpr (kHasGradient<Gradient>) {
      if constexpr (kOptions & kPerElement) {
        if (p.of.upstream.data) {
          upstream.read(turn, x);
#pragma unroll
          for (u32 k = 0; k < turn.kCount; k++) slope[k] = times(slope[k], x[k]);
        }
      }
      multiply(slope, of_slope);
      gradient.write(turn, slope);
    }
  });
  if constexpr (kHasGradient<Gradient>) {
    if (!row.target.counted) {
      each_turn<Group>(p.of, row.count(), [&](auto turn) { gradient.fill(turn, 0); });
    }
  }
  sum = Group::reduce(sum, [](double a, double b) { return a + b; });
  if (Group::thread() == 0) row.finish(sum);
}

// The element of a class index is the only one that counts, and is read. The thread that reads it
// writes its gradient, after those of its other elements: that may replace it.
template <class Logit, class Gradient, class OfElement, u32 kThreads>
__global__ void __launch_bounds__(Sharing<kThreads>::kCtaThreads) one_class(const ElementParams p) {
  using Group = typename Sharing<kThreads>::Group;
  const ElementRow<Logit, classes, 0> row(p, Group::row());
  const RowTarget& target = row.target;
  const u32 reader = target.index >= 0 ? target.index % Group::kThreads : 0;
  const bool reads = Group::thread() == reader;
  const Turn<1, 1, false> own = {static_cast<u32>(target.index)};
  Term term = {0, 0};
  if (reads && target.index >= 0) {
    float x[1];
    row.logits.read(own, x);
    term = OfElement::at(p.clip, x[0], {1, 0, 1});
    term = {times(target.weight, term.loss), times(target.weight, term.slope)};
  }
  if (reads) row.finish(0. + term.loss);  // as a sum of elements, of which -0 makes +0
  if constexpr (kHasGradient<Gradient>) {
    const TensorRow<Gradient> gradient(p.of.output, row.place);
    const float others = target.counted && !target.valid ? nan() : 0;
    each_turn<Group>(p.of, row.count(), [&](auto turn) { gradient.fill(turn, others); });
    if (reads && target.index >= 0) {
      gradient.fill(own, times(term.slope, static_cast<float>(row.of_slope)));
    }
  }
}

}  // namespace xent
