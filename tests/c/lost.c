/* A kernel of somebody else stops the GPU: every later call there says so, the CPU goes on, and
 * what was made can be destroyed.
 */
#include <stdint.h>
#include <string.h>
#include <xent.h>

#include "check.h"
#include "device.h"

static const char kTrap[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry stop() { trap; }\n";
static const float kLogits[2 * 3] = {1, 2, 3, 2, 4, 6};
static const int64_t kTargets[2] = {0, 2};

static void stop(const device* there) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW), *module = NULL, *function = NULL;
  int (*load)(void**, const void*) = NULL;
  int (*get_function)(void**, void*, const char*) = NULL;
  int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                xent_stream, void**, void**) = NULL;
  CHECK(library != NULL);
  find(library, "cuModuleLoadData", &load);
  find(library, "cuModuleGetFunction", &get_function);
  find(library, "cuLaunchKernel", &launch);
  enter(there);
  CHECK(load(&module, kTrap) == 0 && get_function(&function, module, "stop") == 0);
  CHECK(launch(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL) == 0);
  CHECK(there->cuda.stream_wait(NULL) != 0);
  leave(there);
}

static int says_why(xent_status status) {
  return status == XENT_STATUS_CUDA && strstr(xent_last_error(), "cu") != NULL;
}

int main(int argc, char** argv) {
  const device there = device_of(argc, argv), here = open_device(XENT_DEVICE_CPU, 0);
  const device* devices[2] = {&there, &here};
  xent_plan* plans[2] = {NULL, NULL};
  xent_workspace* workspaces[2] = {NULL, NULL};
  xent_args args[2];
  xent_problem problem = xent_problem_default();
  problem.classes = 3;
  xent_context* context = NULL; /* the GPU's, in the end */
  for (int i = 1; i >= 0; --i) {
    const xent_context_options options = options_on(devices[i]);
    xent_context_destroy(context);
    CHECK_OK(xent_context_create(&options, &context));
    CHECK_OK(xent_plan_create(context, &problem, &plans[i]));
    CHECK_OK(xent_workspace_create(plans[i], 2, &workspaces[i]));
    args[i] = xent_args_default();
    args[i].outer = 2;
    args[i].logits = copy(devices[i], kLogits, sizeof kLogits);
    args[i].targets = copy(devices[i], kTargets, sizeof kTargets);
    args[i].loss = make(devices[i], sizeof(float));
    args[i].workspace = workspaces[i]->data;
    args[i].workspace_size = workspaces[i]->size;
    CHECK_OK(xent_run(plans[i], &args[i]));
  }
  void* report = make(&there, sizeof(xent_report));
  stop(&there);

  xent_plan* none = NULL;
  xent_workspace* nothing = NULL;
  xent_report copied;
  for (int again = 0; again < 2; ++again) {
    CHECK(says_why(xent_run(plans[0], &args[0])));
    CHECK(says_why(xent_report_read(plans[0], report, NULL, &copied)));
    CHECK_OK(xent_run(plans[1], &args[1]));
  }
  CHECK(says_why(xent_workspace_create(plans[0], 2, &nothing)) && nothing == NULL);
  problem.softcap = 30; /* to be compiled and loaded */
  CHECK(says_why(xent_plan_create(context, &problem, &none)) && none == NULL);

  xent_context_destroy(context);
  for (int i = 0; i < 2; ++i) {
    xent_workspace_destroy(workspaces[i]);
    xent_plan_destroy(plans[i]);
  }
  drop(&here, args[1].loss);
  drop(&here, (void*)(uintptr_t)args[1].logits);
  drop(&here, (void*)(uintptr_t)args[1].targets);
  close_device(&there);
  return 0;
}
