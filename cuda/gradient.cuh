// Writing the gradient of a row.
#pragma once
#include "loss.cuh"

namespace xent {

// Writes the gradient of a row, vector by vector. Every vector must come from the thread that read
// it: the gradient may be in the place of the logits.
template <class Logit, class Gradient, class Target, u32 kOptions>
struct Writer {
  static constexpr u32 N = kPerVector<Logit>;
  static constexpr bool kHasTarget = kProbabilities<Target> || (kOptions & kSmoothing);
  using RowAdder = Adder<Logit, Target, kOptions>;
  const RowAdder& adder;  // for what it knows of the row
  Gradient* pieces;       // where the piece of vector 0 is, or would be
  u32 alignment;          // of the pieces

  __device__ __forceinline__ Writer(const RowAdder& adder, i64 number)
      : adder(adder),
        pieces(static_cast<Gradient*>(adder.p.dlogits) + number * adder.p.dlogits_stride -
               adder.span.shift),
        alignment(settled(adder.span.alignment(row()))) {}

  // (classes)
  __device__ __forceinline__ Gradient* row() const { return pieces + adder.span.shift; }
  __device__ __forceinline__ Gradient* piece(i32 j) const {
    return pieces + static_cast<i64>(j) * N;
  }

  // Full vector j, with signs flipped where k < 0.
  __device__ __forceinline__ void write(const Factors& f, const Softmax<kOptions>& softmax, uint4 v,
                                        i32 j) const {
    float x[N], g[N];
    unpack<Logit>(v, x);
    differentiate<false>(f, softmax, x, j, g);
    store_all(piece(j), alignment, g);
  }

  // The same of a vector that has been unpacked before. In other instructions: or else the compiler
  // keeps what it unpacked, in two registers for each of the raw vector's. `zero` is 0, which the
  // compiler must not know. `at`: where the vector's place is; it may be a partial one where
  // nothing of other tensors is needed.
  __device__ __forceinline__ void write_again(const Factors& f, const Softmax<kOptions>& softmax,
                                              uint4 v, u32 zero, i32 j, Gradient* at,
                                              bool partial) const {
    float x[N], g[N];
    unpack_again<Logit>(v, zero, x);
    differentiate<false>(f, softmax, x, j, g);
    put(g, j, at, partial);
  }

  // The same of exponentials, where the gradient is made of nothing else.
  __device__ __forceinline__ void write_powers(const Factors& f, const float (&e)[N], i32 j,
                                               Gradient* at, bool partial) const {
    float g[N];
#pragma unroll
    for (u32 i = 0; i < N; i++) g[i] = e[i] * f.of_p;
    put(g, j, at, partial);
  }

  __device__ __forceinline__ void write_partial(const Factors& f, const Softmax<kOptions>& softmax,
                                                i32 j) const {
    float x[N], g[N];
    unpack<Logit>(adder.partial(j), x);
    differentiate<true>(f, softmax, x, j, g);
    store_partial(row(), adder.span, j, alignment, g);
  }

  // The class of the target; after its vector, by the thread that wrote that.
  __device__ __forceinline__ void write_target(const Factors& f, const Softmax<kOptions>& softmax,
                                               const RowTarget& target, float x) const {
    const float g = target_gradient(f, adder.squash, softmax, x, target.weight);
    store(row() + target.index, g);
  }

  // The same value everywhere, by all threads that share the row.
  __device__ __forceinline__ void fill(float value, i32 thread, i32 threads) const {
    float g[N];
#pragma unroll
    for (u32 i = 0; i < N; i++) g[i] = value;
    const Span<Logit>& span = adder.span;
#pragma unroll 1
    for (i32 j = thread; j < span.end; j += threads) {
      if (j >= span.first) store_all(piece(j), alignment, g);
    }
    span.each_partial(thread, threads, [&](i32 j) { store_partial(row(), span, j, alignment, g); });
  }

 private:
  template <bool kPartial>
  __device__ __forceinline__ void differentiate(const Factors& f, const Softmax<kOptions>& softmax,
                                                const float (&x)[N], i32 j, float (&g)[N]) const {
    float u[N];
    typename RowAdder::Best ignored;
    if constexpr (kHasTarget) adder.template target<kPartial>(ignored, u, adder.span.element(j));
    constexpr u32 kTogether = RowAdder::kTogether;
#pragma unroll
    for (u32 i = 0; i < N; i += kTogether) {
      typename RowAdder::Point at[kTogether];
      adder.squash.at(&x[i], at);
#pragma unroll
      for (u32 n = 0; n < kTogether; n++) {
        g[i + n] = gradient<Target, kOptions>(f, adder.squash, softmax, x[i + n], at[n], u[i + n]);
      }
    }
  }
  __device__ __forceinline__ void put(const float (&g)[N], i32 j, Gradient* at,
                                      bool partial) const {
    if (partial) {
      store_partial(row(), adder.span, j, alignment, g);
    } else {
      store_all(at, alignment, g);
    }
  }
};

}  // namespace xent
