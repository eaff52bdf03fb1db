/* What a context says of itself that has chosen its device, and what a GPU lacks that is asked for:
 * two lines.
 */
#include <stdio.h>
#include <string.h>
#include <xent.h>

#include "check.h"

int main(void) {
  xent_context *context = NULL, *demanded = NULL;
  CHECK_OK(xent_context_create_auto(&context));
  printf("%s\n", xent_context_describe(context));
  const int gpu = xent_context_device(context, NULL) == XENT_DEVICE_CUDA;
  CHECK((strncmp(xent_context_describe(context), "CUDA ", 5) == 0) == gpu);
  xent_context_destroy(context);

  const xent_status status = xent_context_create_cuda(0, &demanded);
  CHECK(status == (gpu ? XENT_STATUS_OK : XENT_STATUS_DEVICE_UNAVAILABLE));
  printf("%s\n", xent_last_error());
  xent_context_destroy(demanded);
  CHECK(strstr(xent_version_string(), " (CPU") != NULL);
  return 0;
}
