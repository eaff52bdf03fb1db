// What a kernel computes: its parameters, and z as a function of the logits.
//
// With x the logits, m the largest and z = k x or c tanh(k x / c): t = z - z(m) <= 0 is formed
// before anything is rounded away, e = exp(t), and s = sum(e) leaves out one maximum, so that
// lse - z[y] = log1p(s) - t[y] has no cancellation. Where k < 0, x is -logit: then z increases in
// x.
#pragma once
#include "numeric.cuh"
#include "row.cuh"

namespace xent {

// What loss and gradient are multiplied by. `src/cuda/params.rs` has the twins of these structs.
struct Scales {
  double cross_entropy;  // 1, or 1 / sum of weights of the counted rows
  double z_loss;         // 1, or 1 / number of counted rows
  float weight_sum;      // of the class weights; without any, their number
  u32 reserved;
};
static_assert(sizeof(Scales) == 24, "as in src/cuda/params.rs");

// Of index targets, as `Params::target_type` says.
enum TargetType : u32 { kI32, kI64, kU8, kU32 };

enum Flag : u32 {
  kIgnore = 1 << 0,       // rows with `ignore_index` are not counted
  kDlossPerRow = 1 << 1,  // dloss has a value for each row
  kNeighbours = 1 << 2,   // classes are neighbours in all tensors of any layout
};

// Of a row. As aligned as its parts: callers have them in an array of f32.
struct Stats {
  float largest;  // logit
  float s;
};

// Of every kernel that works on rows. Strides are in elements. NULL: not wanted, or not given.
struct Params {
  const void* logits;          // (rows, classes)
  void* dlogits;               // (rows, classes)
  const void* targets;         // (rows), or probabilities (rows, classes)
  const float* class_weights;  // (classes)
  const float* row_weights;    // (rows)
  const float* dloss;          // (1) or (rows)
  const Scales* scales;        // (1), in the workspace; NULL: `fixed`
  float* loss;                 // (rows): cross entropy; and z-loss, if `z_losses` is NULL
  float* z_losses;             // (rows)
  float* lse;                  // (rows)
  Stats* stats;                // (rows); input of kBackward
  float* entropy;              // (rows)
  i64* argmax;                 // (rows)
  u8* correct;                 // (rows)
  i64 logits_stride;
  i64 dlogits_stride;
  i64 targets_stride;
  i64 ignore_index;
  i64 rows;
  u32 classes;
  u32 target_type;
  u32 flags;
  u32 sign_flip;       // 0x80008000 or, of f32, 0x80000000 where k < 0
  float keep;          // 1 - label smoothing
  float share;         // label smoothing / classes; / 2 of a binary cross entropy
  float scale;         // |k| / inner, without a cap
  float cap;           // c
  float inner;         // of the logits: with kSoftcap |k| / c; with kScale 1/2 if |k| < 1, else 1
  float slope;         // k
  float z_loss;        // factor of lse^2
  float exponent;      // with kScale |k| log2(e) / inner, with kSoftcap -2 |k| log2(e) / c
  float exponent_low;  // what is left of it: of the same sign, and not 0
  u32 zero;            // 0, which the compiler does not know
  Scales fixed;

  // A field of the scales; only what is used is read.
  template <class T>
  __device__ __forceinline__ T scaled_by(T Scales::* field) const {
    return scales ? scales->*field : fixed.*field;
  }
};
static_assert(sizeof(Params) == 232, "as in src/cuda/params.rs");

// The row of this CTA, where `ctas` of them, neighbours along x, work on each. A grid has fewer
// CTAs along x than a tensor may have rows: it goes on along y, and may have rows too many at its
// end.
__device__ __forceinline__ i64 row_of_cta(u32 ctas) {
  return (static_cast<u64>(blockIdx.y) * gridDim.x + blockIdx.x) / ctas;
}

// The class that an index target names.
__device__ __forceinline__ i64 class_index(const void* targets, u32 type, i64 row) {
  switch (type) {
    case kI32:
      return static_cast<const i32*>(targets)[row];
    case kU8:
      return static_cast<const u8*>(targets)[row];
    case kU32:
      return static_cast<const u32*>(targets)[row];
    default:
      return static_cast<const i64*>(targets)[row];
  }
}

// A function of the logits: z, relative to z of another logit.
template <u32 kOptions>
struct Squash {
  static constexpr bool kCapped = kOptions & kSoftcap;
  static constexpr bool kScaled = !kCapped && kOptions & kScale;
  // Whether an exponential keeps what the product in its exponent rounds away: the difference has
  // been rounded before, and two such errors would be more than is promised. Differences of most
  // 16-bit logits are exact, and a cap allows more.
  static constexpr bool kKeepsRest = !kCapped && kOptions & kFloat;
  // In which factors of a gradient are multiplied. The slope of a cap takes most of what a bound
  // allows: what comes before it is rounded once.
  using Factor = typename Either<kCapped, double, float>::Type;
  float scale, cap, inner, slope, exponent, exponent_low;

  // A logit, or with a cap its z, and dz/dx but for `constant_slope`, which is part of factors.
  struct Point {
    float value, slope;
  };

  __device__ __forceinline__ explicit Squash(const Params& p)
      : scale(p.scale),
        cap(p.cap),
        inner(p.inner),
        slope(p.slope),
        exponent(p.exponent),
        exponent_low(p.exponent_low) {}

  // What `distance` and `power` need of the logit x; 0 for -inf without a cap, so that what is
  // -inf stays it.
  __device__ __forceinline__ float reference(float x) const {
    return !kCapped && x == -infinity() ? 0 : finite_reference(x);
  }
  // The same where -inf may become anything.
  __device__ __forceinline__ float finite_reference(float x) const {
    if constexpr (kCapped) return z(x);
    return kScaled ? x * inner : x;
  }
  // t = z(x) - z(m) from reference(m).
  __device__ __forceinline__ float distance(const Point& at, float reference) const {
    return t_of(difference(at, reference));
  }
  __device__ __forceinline__ float distance(float x, float reference) const {
    return distance(at(x), reference);
  }
  // exp(t).
  __device__ __forceinline__ float power(const Point& at, float reference) const {
    return power_of(difference(at, reference));
  }
  __device__ __forceinline__ float power(float x, float reference) const {
    return power(at(x), reference);
  }
  // 2^64 exp(t), of a t below -32: the sum in the exponent is rounded once, and by less.
  __device__ __forceinline__ float power_2_64(float x, float reference) const {
    const float d = difference(at(x), reference);
    const float shift = kScaled ? fmaf(d, exponent_low, 64) : 64;
    return exp2_fast(fmaf(d, kScaled ? exponent : kLog2E, shift));
  }
  // The same as exp(t) to little more than the error of t, for what a whole part is multiplied by.
  __device__ __forceinline__ float power_exact(float x, float reference) const {
    const float d = difference(at(x), reference), y = log2_power_of(d);
    return y < -126 ? 0 : exp2_exact(y, log2_rest(d, y));
  }
  // The same of the difference of two references.
  __device__ __forceinline__ float t_of(float difference) const {
    return kScaled ? difference * scale : difference;
  }
  __device__ __forceinline__ float power_of(float difference) const {
    const float y = log2_power_of(difference), e = exp2_fast(y);
    if constexpr (!kKeepsRest) return e;
    const float rest = kScaled ? log2_rest(difference, y) * kLn2 : fmaf(-kLn2, y, difference);
    return fmaf(e, fminf(rest, 1), e);  // of -inf it is a NaN, which e = 0 takes for 1
  }
  __device__ __forceinline__ float log2_power_of(float difference) const {
    return kScaled ? fmaf(difference, exponent, difference * exponent_low) : difference * kLog2E;
  }
  __device__ __forceinline__ float z(float x) const {
    if constexpr (kCapped) return at(x).value;
    return kScaled ? x * inner * scale : x;
  }
  __device__ __forceinline__ Point at(float x) const {
    Point point[1];
    at(&x, point);
    return point[0];
  }
  // Of N logits. Most are near 0: one branch finds whether all are.
  template <u32 N>
  __device__ __forceinline__ void at(const float* x, Point (&points)[N]) const {
    constexpr float kFar = 0.625f;
    float farthest = 0;
#pragma unroll
    for (u32 i = 0; i < N; i++) {
      points[i] = {x[i], 1};
      if constexpr (kCapped) {
        const float y = x[i] * inner;
        points[i] = near(y);
        farthest = fmaxf(farthest, fabsf(y));
      }
    }
    if (farthest >= kFar) {
#pragma unroll
      for (u32 i = 0; i < N; i++) {
        if (fabsf(x[i] * inner) >= kFar) points[i] = far(x[i]);  // as no NaN is, which stays one
      }
    }
  }
  __device__ __forceinline__ float constant_slope() const { return kScaled || kCapped ? slope : 1; }

 private:
  // With a scale below 1, of halves: so that it is finite where it times |k| is.
  __device__ __forceinline__ float difference(const Point& at, float reference) const {
    return kScaled ? fmaf(at.value, inner, -reference) : at.value - reference;
  }
  // What `log2_power_of` has rounded away.
  __device__ __forceinline__ float log2_rest(float difference, float y) const {
    const float high = kScaled ? exponent : kLog2E, low = kScaled ? exponent_low : kLog2ELow;
    return fmaf(difference, low, fmaf(difference, high, -y));
  }
  // tanh(y) by an odd polynomial, to 1.3 * 2^-24.
  __device__ __forceinline__ Point near(float y) const {
    const float y2 = y * y;
    float p = -6.096714176e-03f;
    p = fmaf(p, y2, 2.099717967e-02f);
    p = fmaf(p, y2, -5.385090783e-02f);
    p = fmaf(p, y2, 1.333276927e-01f);
    p = fmaf(p, y2, -3.333332837e-01f);
    const float tanh = fmaf(y * y2, p, y);
    return {cap * tanh, fmaf(-tanh, tanh, 1)};
  }
  // tanh|y| = 1 - 2 E / (1 + E).
  __device__ __forceinline__ Point far(float x) const {
    const float e = decay(x), sum = 1 + e;
    const float w = reciprocal(sum, e - (sum - 1));  // 1 + e has been rounded
    const float part = e * w;
    return {cap * copysignf(1 - 2 * part, x), 4 * part * w};
  }
  // E = e^(-2|y|) for the cap, whose exponent is not rounded before its integer part is removed.
  __device__ __forceinline__ float decay(float x) const {
    const float high = fmaxf(fabsf(x) * exponent, -127);
    const float low = fmaf(fabsf(x), exponent, -high) + fabsf(x) * exponent_low;
    return high < -126 ? 0 : exp2_exact(high, low);
  }
};

struct classes {};  // marks a kernel whose targets are class indices

template <class Target>
constexpr bool kProbabilities = true;
template <>
constexpr bool kProbabilities<classes> = false;

// Whether a thread needs more registers than its vectors and the plainest problem do.
template <class Target, u32 kOptions>
constexpr bool kHeavy = kProbabilities<Target> || (kOptions & (kSmoothing | kSoftcap | kEntropy));

}  // namespace xent
