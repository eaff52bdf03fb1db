/* A check that says where it failed. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

#define CHECK_OK(call)                                                                  \
  do {                                                                                  \
    xent_status status_of_call = (call);                                                \
    if (status_of_call != XENT_STATUS_OK) {                                             \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, xent_last_error()); \
      exit(1);                                                                          \
    }                                                                                   \
  } while (0)

#endif
