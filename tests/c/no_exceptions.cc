// xent.hpp without exceptions: the same calls return statuses.
#include <xent.hpp>

#include "check.h"

#ifndef XENT_NO_EXCEPTIONS
#error "compile with -fno-exceptions"
#endif

int main() {
  xent::context context;
  xent::plan plan;
  CHECK(context.get() == nullptr);
  CHECK(plan.try_run(xent_args_default()) == XENT_STATUS_NULL_POINTER);
  CHECK(xent::context::create(xent_context_options_default(), &context) == XENT_STATUS_OK);
  xent_problem problem = xent_problem_default();
  CHECK(xent::plan::create(context, problem, &plan) == XENT_STATUS_INVALID_ARGUMENT);
  problem.classes = 2;
  CHECK(xent::plan::create(context, problem, &plan) == XENT_STATUS_OK);

  const float logits[2] = {0, 0};
  const int64_t target = 1;
  float loss = 0;
  xent::workspace workspace;
  xent_args args = xent_args_default();
  args.outer = 1;
  args.logits = logits;
  args.targets = &target;
  args.loss = &loss;
  CHECK(workspace.try_prepare(plan, args) == XENT_STATUS_OK);
  CHECK(plan.try_run(args) == XENT_STATUS_OK);
  CHECK(loss > 0.693147f && loss < 0.693148f);
  return 0;
}
