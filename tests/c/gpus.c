/* Two GPUs: each plan computes on its own, and refuses memory of the other. */
#include <stdint.h>
#include <string.h>
#include <xent.h>

#include "check.h"
#include "device.h"

static const float kLogits[2 * 3] = {1, 2, 3, 2, 4, 6};
static const int64_t kTargets[2] = {0, 2};

int main(void) {
  device devices[2];
  xent_plan* plans[2] = {NULL, NULL};
  xent_workspace* workspaces[2] = {NULL, NULL};
  xent_args args[2];
  void* memory[2][3];
  xent_problem problem = xent_problem_default();
  problem.classes = 3;
  for (int32_t i = 0; i < 2; ++i) {
    xent_context* context = NULL;
    int32_t ordinal = -1;
    devices[i] = open_device(XENT_DEVICE_CUDA, i);
    CHECK_OK(xent_context_create_cuda(i, &context));
    CHECK(xent_context_device(context, &ordinal) == XENT_DEVICE_CUDA && ordinal == i);
    CHECK_OK(xent_plan_create(context, &problem, &plans[i]));
    CHECK_OK(xent_workspace_create(plans[i], 2, &workspaces[i]));
    xent_context_destroy(context);
    memory[i][0] = copy(&devices[i], kLogits, sizeof kLogits);
    memory[i][1] = copy(&devices[i], kTargets, sizeof kTargets);
    memory[i][2] = make(&devices[i], sizeof(float));
    args[i] = xent_args_default();
    args[i].outer = 2;
    args[i].logits = memory[i][0];
    args[i].targets = memory[i][1];
    args[i].loss = memory[i][2];
    args[i].workspace = workspaces[i]->data;
    args[i].workspace_size = workspaces[i]->size;
  }
  for (int i = 0; i < 2; ++i) {
    float loss = 0;
    char expected[80];
    CHECK_OK(xent_run(plans[i], &args[i]));
    get(&devices[i], &loss, memory[i][2], sizeof loss);
    CHECK(loss > 1.275268f && loss < 1.275269f);

    const char* fields[] = {"logits", "targets", "loss", "workspace"};
    for (int field = 0; field < 4; ++field) {
      xent_args wrong = args[i];
      if (field == 0) wrong.logits = memory[1 - i][0];
      if (field == 1) wrong.targets = memory[1 - i][1];
      if (field == 2) wrong.loss = memory[1 - i][2];
      if (field == 3) wrong.workspace = workspaces[1 - i]->data;
      CHECK(xent_run(plans[i], &wrong) == XENT_STATUS_SIZE_MISMATCH);
      snprintf(expected, sizeof expected,
               "%s: got memory of CUDA %d, but memory of CUDA %d is needed", fields[field], 1 - i,
               i);
      CHECK(strcmp(xent_last_error(), expected) == 0);
    }
  }
  for (int i = 0; i < 2; ++i) {
    xent_workspace_destroy(workspaces[i]);
    xent_plan_destroy(plans[i]);
    for (int j = 0; j < 3; ++j) drop(&devices[i], memory[i][j]);
    close_device(&devices[i]);
  }
  return 0;
}
