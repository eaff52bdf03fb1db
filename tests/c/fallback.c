/* What becomes of asking for a GPU, and what a context says of itself that has chosen its device:
 * if that is the CPU, what the GPU lacks.
 */
#include <stdio.h>
#include <string.h>
#include <xent.h>

#include "check.h"

int main(void) {
  xent_context *chosen = NULL, *demanded = NULL;
  CHECK_OK(xent_context_create_auto(&chosen));
  const char* description = xent_context_describe(chosen);
  const int gpu = xent_context_device(chosen, NULL) == XENT_DEVICE_CUDA;
  const xent_status status = xent_context_create_cuda(0, &demanded);
  CHECK((status == XENT_STATUS_OK) == gpu && (demanded != NULL) == gpu);
  CHECK((strcmp(description, "CUDA 0") == 0) == gpu);
  if (!gpu) {
    const char *error = xent_last_error(), *prefix = "CUDA device 0: ";
    if (strncmp(error, prefix, strlen(prefix)) == 0) error += strlen(prefix);
    CHECK(strncmp(description, "CPU (", 5) == 0 && strstr(description, error) == description + 5);
  }
  CHECK(strstr(xent_version_string(), " (CPU") != NULL);
  printf("%s\n%s\n", xent_status_string(status), description);
  xent_context_destroy(chosen);
  xent_context_destroy(demanded);
  return 0;
}
