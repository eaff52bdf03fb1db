// K5, before the rows: what the mean divides by, and which targets are no classes. Sums in double,
// over slices of a fixed size and in a fixed tree: the same bits whatever runs beside it.
#include "problem.cuh"
#include "reduce.cuh"

namespace xent {

constexpr u32 kCountThreads = 256;
constexpr u32 kScaleThreads = 512;

// What the targets of some rows say.
struct Count {
  double weight;      // sum of the weights of the counted rows
  i64 rows;           // counted rows
  i64 invalid;        // rows whose target is no class
  i64 first_invalid;  // the first of them, if there is one

  static __device__ __forceinline__ Count plus(const Count& a, const Count& b) {
    const bool take_b = a.invalid == 0 || (b.invalid != 0 && b.first_invalid < a.first_invalid);
    return {a.weight + b.weight, a.rows + b.rows, a.invalid + b.invalid,
            take_b ? b.first_invalid : a.first_invalid};
  }
};

// How `scales` gets its denominators.
enum DenominatorKind : u32 { kOne, kCounted, kValue, kPointer, kCountedRows };

// What was wrong with targets, since the caller cleared it to 0.
struct Report {
  i64 count;  // rows whose target was no class
  i64 row;    // the lowest of them
  i64 value;  // its target
  i64 reserved;
};
static_assert(sizeof(Report) == 32, "of the C ABI");

struct CountParams {
  const void* targets;         // (rows); not read if they are probabilities
  const float* class_weights;  // (classes), or NULL
  const float* row_weights;    // (rows), or NULL
  const float* denominator;    // (1), of kPointer
  Count* counts;               // (slices)
  Scales* scales;              // (1)
  Report* report;              // (1), or NULL
  i64 rows;
  i64 slices;  // of `slice_rows` rows each; 0 for probabilities, and where nobody asks
  i64 ignore_index;
  double value;  // of kValue
  u32 slice_rows;
  u32 classes;
  u32 target_type;
  u32 flags;
  u32 denominator_kind;
  u32 empty_is_zero;  // a mean over nothing is 0, not NaN
  u32 sums_weights;   // whether anybody reads Scales::weight_sum
  u32 reserved;
};
static_assert(sizeof(CountParams) == 120, "as in src/cuda/params.rs");

// Grid: one CTA of 256 threads for each slice of rows. Writes `counts`.
__global__ void __launch_bounds__(kCountThreads, 4) count_targets(const CountParams p) {
  __shared__ Slots<Count, kCountThreads / kWarp> shared;
  Count own = {0, 0, 0, 0};
  const i64 first = static_cast<i64>(blockIdx.x) * p.slice_rows;
  const i64 end = min(first + p.slice_rows, p.rows);
  for (i64 row = first + threadIdx.x; row < end; row += kCountThreads) {
    const i64 y = class_index(p.targets, p.target_type, row);
    if (p.flags & kIgnore && y == p.ignore_index) continue;
    Count one = {0, 0, 1, row};
    if (static_cast<u64>(y) < p.classes) {
      const double class_weight = p.class_weights ? p.class_weights[y] : 1;
      const double row_weight = p.row_weights ? p.row_weights[row] : 1;
      one = {class_weight * row_weight, 1, 0, 0};
    }
    own = Count::plus(own, one);
  }
  const Count sum = reduce_threads<kCountThreads>(own, Count{0, 0, 0, 0}, shared, Count::plus);
  if (threadIdx.x == 0) p.counts[blockIdx.x] = sum;
}

__device__ __forceinline__ double inverse(const CountParams& p, double denominator) {
  if (denominator == 0) return p.empty_is_zero ? 0 : static_cast<double>(nan());
  return 1 / denominator;
}

// Grid: one CTA of 512 threads. Writes `scales`, and adds to `report`.
__global__ void __launch_bounds__(kScaleThreads) make_scales(const CountParams p) {
  __shared__ Slots<Count, kScaleThreads / kWarp> shared;
  __shared__ Slots<double, kScaleThreads / kWarp> shared_weights;
  Count own = {0, 0, 0, 0};
  for (i64 i = threadIdx.x; i < p.slices; i += kScaleThreads) own = Count::plus(own, p.counts[i]);
  Count all = reduce_threads<kScaleThreads>(own, Count{0, 0, 0, 0}, shared, Count::plus);
  double weight_sum = p.classes;
  if (p.sums_weights && p.class_weights) {
    double sum = 0;
    for (u32 c = threadIdx.x; c < p.classes; c += kScaleThreads) sum += p.class_weights[c];
    weight_sum = reduce_threads<kScaleThreads>(sum, 0.0, shared_weights,
                                               [](double a, double b) { return a + b; });
  }
  if (threadIdx.x != 0) return;
  if (p.slices == 0) {
    all.weight = static_cast<double>(p.rows);
    all.rows = p.rows;
  }
  Scales scales = {1, 1, static_cast<float>(weight_sum), 0};
  const bool by_rows = p.denominator_kind == kCountedRows;
  if (p.denominator_kind == kCounted || by_rows) {
    scales.z_loss = inverse(p, static_cast<double>(all.rows));
    scales.cross_entropy = by_rows ? scales.z_loss : inverse(p, all.weight);
  } else if (p.denominator_kind != kOne) {
    const double value = p.denominator_kind == kPointer ? *p.denominator : p.value;
    scales.cross_entropy = scales.z_loss = inverse(p, value);
  }
  *p.scales = scales;
  if (p.report && all.invalid != 0) {
    const i64 row = all.first_invalid;
    if (p.report->count == 0 || row <= p.report->row) {
      p.report->row = row;
      p.report->value = class_index(p.targets, p.target_type, row);
    }
    p.report->count += all.invalid;
  }
}

}  // namespace xent
