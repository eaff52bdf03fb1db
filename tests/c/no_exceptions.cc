// xent.hpp without exceptions: the same calls return statuses.
#include <xent.hpp>

#include "check.h"
#include "device.h"

#ifndef XENT_NO_EXCEPTIONS
#error "compile with -fno-exceptions"
#endif

int main(int argc, char** argv) {
  const device where = device_of(argc, argv);
  xent::context context;
  xent::plan plan;
  CHECK(context.get() == nullptr);
  CHECK(plan.try_run(xent_args_default()) == XENT_STATUS_NULL_POINTER);
  CHECK(xent::context::create(options_on(&where), &context) == XENT_STATUS_OK);
  xent_problem problem = xent_problem_default();
  CHECK(xent::plan::create(context, problem, &plan) == XENT_STATUS_INVALID_ARGUMENT);
  problem.classes = 2;
  CHECK(xent::plan::create(context, problem, &plan) == XENT_STATUS_OK);

  const float zeros[2] = {0, 0};
  const int64_t one = 1;
  float result = 0;
  void* logits = copy(&where, zeros, sizeof zeros);
  void* target = copy(&where, &one, sizeof one);
  void* loss = make(&where, sizeof result);
  xent::workspace workspace;
  xent_args args = xent_args_default();
  args.outer = 1;
  args.logits = logits;
  args.targets = target;
  args.loss = loss;
  CHECK(workspace.try_prepare(plan, args) == XENT_STATUS_OK);
  CHECK(plan.try_run(args) == XENT_STATUS_OK);
  get(&where, &result, loss, sizeof result);
  CHECK(result > 0.693147f && result < 0.693148f);
  for (void* memory : {logits, target, loss}) drop(&where, memory);
  close_device(&where);
  return 0;
}
