/* What the C and C++ programs share: checks that say where they failed, and aligned memory. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <xent.h>

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

/* The first aligned address of memory that has XENT_WORKSPACE_ALIGNMENT bytes to spare. C99 has no
 * aligned_alloc. */
static inline void* align(void* memory) {
  const uintptr_t mask = XENT_WORKSPACE_ALIGNMENT - 1;
  return (char*)memory + ((~(uintptr_t)memory + 1) & mask);
}

#endif
