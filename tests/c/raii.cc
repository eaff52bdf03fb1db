// xent.hpp with exceptions: handles move and free themselves, failures throw.
#include <string>
#include <thread>
#include <type_traits>
#include <vector>
#include <xent.hpp>

#include "check.h"
#include "device.h"

static_assert(!std::is_copy_constructible<xent::context>::value, "handles move");
static_assert(!std::is_copy_constructible<xent::plan>::value, "handles move");
static_assert(std::is_nothrow_move_constructible<xent::plan>::value, "without exceptions");
static_assert(xent::dtype_of<float>::value == XENT_DTYPE_F32, "");
static_assert(xent::dtype_of<double>::value == XENT_DTYPE_F64, "");
static_assert(xent::target_of<uint8_t>::value == XENT_TARGET_U8, "");
static_assert(xent::target_of<double>::value == XENT_TARGET_PROBABILITIES_F64, "");

struct my_half {
  uint16_t bits;
};
XENT_ELEMENT(my_half, F16)
static_assert(xent::dtype_of<my_half>::value == XENT_DTYPE_F16, "");

static const float kLogits[2 * 3] = {1, 2, 3, 2, 4, 6};
static const int64_t kTargets[2] = {0, 2};

static device where;

static xent_problem problem() {
  xent_problem problem = xent_problem_default();
  problem.classes = 3;
  problem.logits_dtype = xent::dtype_of<float>::value;
  problem.target_type = xent::target_of<int64_t>::value;
  problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_STATS;
  return problem;
}

static xent::plan make_plan() {
  xent::context context(where.kind);
  CHECK(context.describe() == std::string(on_gpu(&where) ? "CUDA 0" : "CPU"));
  return xent::plan(context, problem());  // outlives its context
}

// The first error that a call throws.
template <class Call>
static xent_status thrown(Call call, const char* part) {
  try {
    call();
  } catch (const xent::error& error) {
    CHECK(std::string(error.what()).find(part) != std::string::npos);
    return error.status();
  }
  return XENT_STATUS_OK;
}

// Everything a run writes.
struct outputs {
  float loss, stats[4], dlogits[6];
};

static outputs read(const outputs* there) {
  outputs here;
  get(&where, &here, there, sizeof here);
  return here;
}

// Targets from labels, and refusals that say what is wrong with them.
static void test_labels() {
  const uint8_t labels[2 * 3] = {1, 0, 1, 0, 4, 0};
  float rows[2 * 3] = {};
  xent::one_hot(2, 3, kTargets, rows);
  CHECK(rows[0] == 1 && rows[1] == 0 && rows[2] == 0 && rows[5] == 1);
  xent::distributions(2, 3, labels, rows);
  CHECK(rows[0] == 0.5f && rows[1] == 0 && rows[2] == 0.5f && rows[4] == 1);
  xent::check_distributions(2, 3, rows, 0);
  CHECK(thrown([&] { xent::one_hot(2, 2, kTargets, rows); }, "row 1 holds 2") ==
        XENT_STATUS_INVALID_TARGET);
  CHECK(thrown([&] { xent::check_distributions(1, 6, rows, 0.5); }, "q: a sum of 2 in row 0") ==
        XENT_STATUS_INVALID_ARGUMENT);
}

// A problem by its name: on two logits, the Hessian is p (1 - p).
static void test_double_backward() {
  const float logits[2] = {0, 0}, direction[2] = {1, 0};
  const int64_t target = 0;
  xent_problem problem = xent::problem(XENT_PRESET_CROSS_ENTROPY, XENT_DTYPE_F32, 2);
  problem.outputs = XENT_OUTPUT_STATS;
  const xent::plan plan(xent::context(where.kind), problem);
  xent::workspace workspace;
  xent_args args = xent_args_default();
  args.outer = 1;
  args.logits = copy(&where, logits, sizeof logits);
  args.targets = copy(&where, &target, sizeof target);
  args.stats = make(&where, 2 * sizeof(float));
  workspace.prepare(plan, args);
  plan.run(args);
  xent_backward_args backward = xent_backward_args_default();
  backward.outer = 1;
  backward.logits = args.logits;
  backward.targets = args.targets;
  backward.stats = args.stats;
  backward.ddlogits = copy(&where, direction, sizeof direction);
  backward.dlogits = make(&where, sizeof direction);
  workspace.prepare(plan, backward);
  plan.double_backward(backward);
  float product[2];
  get(&where, product, backward.dlogits, sizeof product);
  CHECK(product[0] > 0.2499999f && product[0] < 0.2500001f && product[1] == -product[0]);
  CHECK(thrown([&] { plan.backward(backward); }, "ddlogits") == XENT_STATUS_UNEXPECTED_POINTER);
  CHECK(thrown([] { xent::problem(XENT_PRESET_BCE, XENT_DTYPE_F32, 0); }, "classes: 0") ==
        XENT_STATUS_INVALID_ARGUMENT);
  for (const void* memory : {args.logits, args.targets, backward.stats, backward.ddlogits,
                             static_cast<const void*>(backward.dlogits)}) {
    drop(&where, const_cast<void*>(memory));
  }
}

int main(int argc, char** argv) {
  where = device_of(argc, argv);
  test_labels();
  test_double_backward();
  const xent::plan plan = make_plan();
  CHECK(plan.kernel_name()[0] != 0);

  void* logits = copy(&where, kLogits, sizeof kLogits);
  void* targets = copy(&where, kTargets, sizeof kTargets);
  outputs* there = static_cast<outputs*>(make(&where, sizeof *there));
  xent::workspace first;
  CHECK(first.data() == nullptr);
  xent_args args = xent_args_default();
  args.outer = 2;
  args.logits = logits;
  args.targets = targets;
  args.loss = &there->loss;
  args.stats = there->stats;
  first.prepare(plan, args);
  plan.run(args);
  CHECK(read(there).loss > 1.275268f && read(there).loss < 1.275269f);

  xent::workspace workspace = std::move(first);
  xent_backward_args backward = xent_backward_args_default();
  backward.outer = 2;
  backward.logits = logits;
  backward.targets = targets;
  backward.stats = there->stats;
  backward.dlogits = there->dlogits;
  first.prepare(plan, backward);  // a workspace that was moved from starts again
  plan.backward(backward);
  CHECK(read(there).dlogits[0] < -0.454984f && read(there).dlogits[0] > -0.454985f);
  workspace.prepare(plan, args);
  CHECK(reinterpret_cast<uintptr_t>(workspace.data()) % XENT_WORKSPACE_ALIGNMENT == 0);
  args.outer = 1 << 20;
  workspace.prepare(plan, args);
  put(&where, args.workspace, std::vector<char>(args.workspace_size).data(), args.workspace_size);
  args.outer = INT64_MAX;
  bool full = false;
  try {
    workspace.prepare(plan, args);
  } catch (const std::bad_alloc&) {
    full = true;
  }
  CHECK(full);
  args.inner = 2;
  CHECK(thrown([&] { workspace.prepare(plan, args); }, "rows") == XENT_STATUS_INVALID_ARGUMENT);
  args.outer = -1;
  CHECK(thrown([&] { workspace.prepare(plan, args); }, "rows: -1") == XENT_STATUS_INVALID_ARGUMENT);
  CHECK(thrown([&] { plan.run(args); }, "outer: -1") == XENT_STATUS_INVALID_ARGUMENT);

  CHECK(thrown([] { xent::context(XENT_DEVICE_CUDA, 99); }, "CUDA device 99") ==
        XENT_STATUS_DEVICE_UNAVAILABLE);
  xent_problem wrong = problem();
  wrong.classes = 0;
  const xent::context context;
  CHECK(thrown([&] { xent::plan(context, wrong); }, "classes: 0") == XENT_STATUS_INVALID_ARGUMENT);
  CHECK(thrown([] { xent::plan().run(xent_args_default()); }, "plan") == XENT_STATUS_NULL_POINTER);

  // A failed create leaves what was there; errors are per thread.
  xent::plan kept = make_plan();
  xent_plan* handle = kept.get();
  CHECK(xent::plan::create(context, wrong, &kept) == XENT_STATUS_INVALID_ARGUMENT);
  CHECK(kept.get() == handle);
  std::thread([] { CHECK(xent_last_error()[0] == 0); }).join();
  std::vector<xent::plan> plans;
  for (int i = 0; i < 5; ++i) plans.push_back(make_plan());
  drop(&where, logits);
  drop(&where, targets);
  drop(&where, there);
  close_device(&where);
  return 0;
}
