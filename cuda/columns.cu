// K6: the class axis is not the last. A CTA takes a tile of vectors of neighbouring columns; each
// of its threads adds every kGroups-th class of one vector, and what the threads of a column have
// found becomes one. Logits that fit stay in shared memory; others are read again, from the end.
#include "columns.cuh"

namespace xent {

// What the gradient of a column needs, between the threads that share it.
template <class Target, u32 kOptions, u32 kColumns>
struct ColumnFactors {
  float largest[kColumns], of_p[kColumns];
  float of_u[kProbabilities<Target> || kOptions & kSmoothing ? kColumns : 1];
  float of_target[kProbabilities<Target> ? 1 : kColumns];  // the gradient at the target's class
  i32 index[kProbabilities<Target> ? 1 : kColumns];        // that class, or -1
  float others[kProbabilities<Target> ? 5 : 1][kProbabilities<Target> ? kColumns : 1];

  __device__ __forceinline__ void put(u32 column, const Factors& f, float largest_logit) {
    largest[column] = largest_logit;
    of_p[column] = f.of_p;
    if constexpr (kProbabilities<Target> || kOptions & kSmoothing) of_u[column] = f.of_u;
    if constexpr (kProbabilities<Target>) {
      const float rest[5] = {f.unit, f.mass, f.z_part, f.p_max, f.rest};
#pragma unroll
      for (u32 i = 0; i < 5; i++) others[i][column] = rest[i];
    }
  }
  __device__ __forceinline__ Factors get(u32 column) const {
    Factors f = {};
    f.of_p = of_p[column];
    if constexpr (kProbabilities<Target> || kOptions & kSmoothing) f.of_u = of_u[column];
    if constexpr (kProbabilities<Target>) {
      f.unit = others[0][column];
      f.mass = others[1][column];
      f.z_part = others[2][column];
      f.p_max = others[3][column];
      f.rest = others[4][column];
    }
    return f;
  }
};

// Writes the gradient of the classes of a thread, from the end. `live`: the columns that are
// counted.
template <class Gradient, class Logit, class Target, u32 kOptions, class Shape>
__device__ __forceinline__ void write_columns(
    const ColumnReader<Logit, Target, kOptions, Shape>& reader,
    const ColumnFactors<Target, kOptions, Shape::kColumns>& factors, u32 lane, u32 live) {
  constexpr u32 kWidth = Shape::kWidth;
  constexpr i32 kChunk = Shape::kChunk;
  const ColumnParams& p = reader.p;
  Gradient* gradients = reader.own.template dlogits<Gradient>(p);
  Factors f[kWidth];
  float largest[kWidth];
#pragma unroll
  for (u32 i = 0; i < kWidth; i++) {
    f[i] = {};
    largest[i] = 0;
    if (!(live >> i & 1)) continue;
    f[i] = factors.get(lane * kWidth + i);
    largest[i] = factors.largest[lane * kWidth + i];
  }
#pragma unroll 1
  for (i32 k = (reader.count - 1) / kChunk * kChunk; k >= 0; k -= kChunk) {
    const i32 size = min(reader.count - k, kChunk);
    Piece<Logit, kWidth> v[kChunk];
    if (live != 0) reader.load_again(v, k, size);
    Gradient* at = gradients + reader.class_of(k) * p.dlogits_class;
#pragma unroll
    for (i32 j = 0; j < kChunk; j++) {
      if (j >= size) break;
      const i32 c = reader.class_of(k + j);
      float u[kWidth], g[kWidth];
      typename ColumnReader<Logit, Target, kOptions, Shape>::Sums ignored[kWidth];
      if constexpr (Part<Target, kOptions>::kHasTarget) reader.target(ignored, u, c);
#pragma unroll
      for (u32 i = 0; i < kWidth; i++) {
        const Softmax<kOptions> softmax(reader.squash, largest[i], 0);
        g[i] = gradient<Target, kOptions>(f[i], reader.squash, softmax, v[j][i],
                                          reader.squash.at(v[j][i]), u[i]);
      }
      if (live != reader.own.inside) {
#pragma unroll
        for (u32 i = 0; i < kWidth; i++) g[i] = live >> i & 1 ? g[i] : 0;
      }
      store_piece(at, reader.own.inside, g);
      at += Shape::kGroups * p.dlogits_class;
    }
  }
}

// Sums of a faint column: it is read again, by one thread. Nothing of it may have been written.
template <class Logit, class Target, u32 kOptions>
__device__ __forceinline__ void add_faint(const ColumnParams& p, const Squash<kOptions>& squash,
                                          const Logit* logits, Part<Target, kOptions>& part) {
  constexpr double kTwoToMinus64 = 5.421010862427522e-20;
  if (!is_faint(part.s, p.rows.classes)) return;
  const float reference = squash.reference(part.largest);
  double s = 0, entropy = 0;  // times 2^64
#pragma unroll 1
  for (u32 c = 0; c < p.rows.classes; c++) {
    float x = load(logits + c * p.logits_class);
    if (p.rows.sign_flip) x = -x;
    const float e = squash.power_2_64(x, reference);
    if (x == part.largest || e == 0) continue;
    s += e;
    entropy -= squash.distance(x, reference) * e;
  }
  part.s = static_cast<float>(s * kTwoToMinus64);  // what is subnormal stays
  if constexpr (kOptions & kEntropy) part.entropy = static_cast<float>(entropy * kTwoToMinus64);
}

// Threads that share an SM: fewer where each has long vectors, or its columns need much. Below
// sm_80 pairs of 16-bit numbers are taken apart.
template <class Target, u32 kOptions, u32 kBytes>
__host__ __device__ constexpr u32 resident_columns() {
#if __CUDA_ARCH__ < 800
  return 512;
#else
  return kHeavy<Target, kOptions> || kBytes == 16 ? 512 : 768;
#endif
}

// Grid: one CTA for each kThreads / kGroups vectors of kWidth columns, counted through all outer
// indices. What a row becomes depends on kGroups and kChunk, and not on its place or on kWidth.
template <class Logit, class Gradient, class Target, u32 kOptions, u32 kThreads, u32 kGroups,
          u32 kWidth, u32 kChunk, u32 kKept>
__global__ void __launch_bounds__(kThreads,
                                  (resident_columns<Target, kOptions, kWidth * sizeof(Logit)>() /
                                   kThreads)) columns(const ColumnParams p) {
  using RowPart = Part<Target, kOptions>;
  using Tile = Shape<kThreads, kGroups, kWidth, kChunk, kKept>;
  constexpr bool kSums = kProbabilities<Target> || !(kOptions & kBackward);
  constexpr bool kStoresTarget = kHasGradient<Gradient> && !kProbabilities<Target>;
  constexpr u32 kLanes = Tile::kLanes, kColumns = Tile::kColumns;
  __shared__ Slots<RowPart, kSums ? kThreads * kWidth : 1> parts;
  __shared__ Slots<Piece<Logit, kWidth>, kKept == 0 ? 1 : kKept * kThreads> kept;
  __shared__ ColumnFactors<Target, kOptions, kHasGradient<Gradient> ? kColumns : 1> factors;
  __shared__ u8 counted[kColumns];
  __shared__ Slots<Columns<kWidth>, kLanes> tile;
  static_assert(
      sizeof(parts) + sizeof(kept) + sizeof(factors) + sizeof(counted) + sizeof(tile) <= 49152,
      "src/cuda/variant.rs sees to it");

  const u32 thread = threadIdx.x, lane = thread % kLanes, group = thread / kLanes;
  const Squash<kOptions> squash(p.rows);
  const Columns<kWidth> own(p, row_of_cta(1) * kLanes + lane);
  if (group == 0) tile[lane] = own;
  __syncthreads();
  // Calls `f` for columns of the tile, each by one thread, for what is not done class by class.
  const auto each_column = [&](auto f) {
#pragma unroll 1
    for (u32 column = thread; column < kColumns; column += kThreads) {
      const Columns<kWidth>& around = tile[column / kWidth];
      const u32 i = column % kWidth;
      if (around.inside >> i & 1) f(column, around, i);
    }
  };
  u32 live = own.inside;
  if (!kProbabilities<Target> && p.rows.flags & kIgnore) {
    each_column([&](u32 column, const Columns<kWidth>& around, u32 i) {
      counted[column] = row_target<Target>(p.rows, around.row(p, i)).counted;
    });
    __syncthreads();
#pragma unroll
    for (u32 i = 0; i < kWidth; i++) {
      if (own.inside >> i & 1 && !counted[lane * kWidth + i]) live &= ~(1 << i);
    }
  }

  const ColumnReader<Logit, Target, kOptions, Tile> reader(p, squash, own, group, &kept[thread]);
  if constexpr (kSums) {
    read_columns(reader, live != 0 ? reader.count : 0,
                 [&](u32 i) -> RowPart& { return parts[group * kColumns + i * kLanes + lane]; });
    merge_groups<Tile>(parts, squash);
  }
  each_column([&](u32 column, const Columns<kWidth>& around, u32 i) {
    const i64 row = around.row(p, i);
    const RowTarget target = row_target<Target>(p.rows, row);
    if (!target.counted) {
      if (!(kOptions & kBackward)) write_ignored(p.rows, row);
      if constexpr (kStoresTarget) factors.index[column] = -1;
      return;
    }
    RowPart part;
    const Logit* logits = around.template logits<Logit>(p) + i;
    if constexpr (kSums) part = parts[i * kLanes + column / kWidth];
    if constexpr (!(kOptions & kBackward)) add_faint(p, squash, logits, part);
    if constexpr (kOptions & kBackward) {
      const Stats stats = p.rows.stats[row];
      part.largest = p.rows.sign_flip ? -stats.largest : stats.largest;
      part.s = is_nan(stats.largest) ? stats.largest : stats.s;
    }
    float x = 0;
    if (target.index >= 0) x = load(logits + target.index * p.logits_class);
    if (p.rows.sign_flip) x = -x;
    const Softmax<kOptions> softmax(squash, part.largest, part.s);
    if constexpr (!(kOptions & kBackward)) {
      write_row(p.rows, row, target, x, part, squash, softmax);
    }
    if constexpr (kHasGradient<Gradient>) {
      float mass = 0;
      if constexpr (RowPart::kHasTarget) mass = part.mass;
      const Factors f = row_factors<Target>(p.rows, row, target, mass, squash, softmax);
      factors.put(column, f, part.largest);
      if constexpr (!kProbabilities<Target>) {
        factors.index[column] = target.index;
        factors.of_target[column] = target_gradient(f, squash, softmax, x, target.weight);
      }
    }
  });
  if constexpr (kHasGradient<Gradient>) {
    __syncthreads();
    if (own.inside != 0) write_columns<Gradient>(reader, factors, lane, live);
  }
  if constexpr (kStoresTarget) {
    __syncthreads();
    each_column([&](u32 column, const Columns<kWidth>& around, u32 i) {
      const i32 c = factors.index[column];
      if (c >= 0)
        store(around.template dlogits<Gradient>(p) + i + c * p.dlogits_class,
              factors.of_target[column]);
    });
  }
}

}  // namespace xent
