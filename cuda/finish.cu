// K5, after the rows: their losses become one. Sums in double, over slices of a fixed size and in a
// fixed tree: the same bits whatever runs beside it.
#include "problem.cuh"
#include "reduce.cuh"

namespace xent {

constexpr u32 kSumThreads = 256;
constexpr u32 kFinishThreads = 512;

// What some rows add to the results.
struct Sum {
  double cross_entropy;
  double z_loss;
  i64 correct;

  static __device__ __forceinline__ Sum plus(const Sum& a, const Sum& b) {
    return {a.cross_entropy + b.cross_entropy, a.z_loss + b.z_loss, a.correct + b.correct};
  }
};

struct FinishParams {
  const float* losses;    // (rows), or NULL
  const float* z_losses;  // (rows), or NULL
  const u8* correct;      // (rows), or NULL
  const Scales* scales;   // (1), or NULL: `fixed`
  Sum* sums;              // (slices)
  float* loss;            // (1), or NULL
  i64* correct_rows;      // (1), or NULL
  i64 rows;
  i64 slices;  // of `slice_rows` rows each
  u32 slice_rows;
  u32 reserved;
  Scales fixed;
};
static_assert(sizeof(FinishParams) == 104, "as in src/cuda/params.rs");

// Grid: one CTA of 256 threads for each slice of rows. Writes `sums`.
__global__ void __launch_bounds__(kSumThreads) sum_rows(const FinishParams p) {
  __shared__ Slots<Sum, kSumThreads / kWarp> shared;
  Sum own = {0, 0, 0};
  const i64 first = static_cast<i64>(blockIdx.x) * p.slice_rows;
  const i64 end = min(first + p.slice_rows, p.rows);
  for (i64 row = first + threadIdx.x; row < end; row += kSumThreads) {
    if (p.losses) own.cross_entropy += p.losses[row];
    if (p.z_losses) own.z_loss += p.z_losses[row];
    if (p.correct) own.correct += p.correct[row];
  }
  const Sum sum = reduce_threads<kSumThreads>(own, Sum{0, 0, 0}, shared, Sum::plus);
  if (threadIdx.x == 0) p.sums[blockIdx.x] = sum;
}

// Grid: one CTA of 512 threads. Writes `loss` and `correct_rows`.
__global__ void __launch_bounds__(kFinishThreads) finish_sums(const FinishParams p) {
  __shared__ Slots<Sum, kFinishThreads / kWarp> shared;
  Sum own = {0, 0, 0};
  for (i64 i = threadIdx.x; i < p.slices; i += kFinishThreads) own = Sum::plus(own, p.sums[i]);
  const Sum all = reduce_threads<kFinishThreads>(own, Sum{0, 0, 0}, shared, Sum::plus);
  if (threadIdx.x != 0) return;
  const Scales scales = p.scales ? *p.scales : p.fixed;
  if (p.loss) {
    double loss = times(all.cross_entropy, scales.cross_entropy);
    if (p.z_losses) loss += times(all.z_loss, scales.z_loss);
    *p.loss = static_cast<float>(loss);
  }
  if (p.correct_rows) *p.correct_rows = all.correct;
}

}  // namespace xent
