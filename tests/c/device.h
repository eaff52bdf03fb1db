/* Memory for the programs, on the device that their last argument names: "cuda", else the
 * processor. That of a GPU comes from functions of the driver, which a program with the CUDA
 * toolkit would call by their names, in the primary context.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <xent.h>

#include "check.h"

/* The functions of the driver; a CUresult is an int, and 0 if all went well. */
typedef struct {
  int (*device)(int* device, int ordinal);
  int (*retain)(void** context, int device);
  int (*release)(int device);
  int (*push)(void* context);
  int (*pop)(void** context);
  int (*current)(void** context);
  int (*allocate)(uintptr_t* address, size_t size);
  int (*release_memory)(uintptr_t address);
  int (*put)(uintptr_t to, const void* from, size_t size);
  int (*get)(void* to, uintptr_t from, size_t size);
  int (*stream_create)(xent_stream* stream, unsigned flags);
  int (*stream_wait)(xent_stream stream);
  int (*stream_destroy)(xent_stream stream);
} driver;

/* The device of a program. */
typedef struct {
  xent_device kind;
  int32_t ordinal;
  void* context; /* the primary one of a GPU */
  driver cuda;
} device;

static inline void find(void* library, const char* name, void* function) {
  void* found = dlsym(library, name);
  CHECK(found != NULL);
  memcpy(function, &found, sizeof found); /* ISO C has no cast to a function */
}

static inline device open_device(xent_device kind, int32_t ordinal) {
  device made;
  memset(&made, 0, sizeof made);
  made.kind = kind;
  made.ordinal = ordinal;
  if (kind == XENT_DEVICE_CPU) return made;
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  CHECK(library != NULL);
  driver* cuda = &made.cuda;
  int (*init)(unsigned) = NULL;
  int handle = 0;
  find(library, "cuInit", &init);
  find(library, "cuDeviceGet", &cuda->device);
  find(library, "cuDevicePrimaryCtxRetain", &cuda->retain);
  find(library, "cuDevicePrimaryCtxRelease_v2", &cuda->release);
  find(library, "cuCtxPushCurrent_v2", &cuda->push);
  find(library, "cuCtxPopCurrent_v2", &cuda->pop);
  find(library, "cuCtxGetCurrent", &cuda->current);
  find(library, "cuMemAlloc_v2", &cuda->allocate);
  find(library, "cuMemFree_v2", &cuda->release_memory);
  find(library, "cuMemcpyHtoD_v2", &cuda->put);
  find(library, "cuMemcpyDtoH_v2", &cuda->get);
  find(library, "cuStreamCreate", &cuda->stream_create);
  find(library, "cuStreamSynchronize", &cuda->stream_wait);
  find(library, "cuStreamDestroy_v2", &cuda->stream_destroy);
  CHECK(init(0) == 0 && cuda->device(&handle, ordinal) == 0);
  CHECK(cuda->retain(&made.context, handle) == 0);
  return made;
}

static inline void close_device(const device* there) {
  int handle = 0;
  if (there->kind == XENT_DEVICE_CPU) return;
  CHECK(there->cuda.device(&handle, there->ordinal) == 0);
  CHECK(there->cuda.release(handle) == 0);
}

/* The device that the last argument names. */
static inline device device_of(int argc, char** argv) {
  const int cuda = argc > 1 && strcmp(argv[argc - 1], "cuda") == 0;
  return open_device(cuda ? XENT_DEVICE_CUDA : XENT_DEVICE_CPU, 0);
}

static inline int on_gpu(const device* there) { return there->kind == XENT_DEVICE_CUDA; }

/* Makes the primary context that of this thread, and takes it back. */
static inline void enter(const device* there) { CHECK(there->cuda.push(there->context) == 0); }
static inline void leave(const device* there) {
  void* context = NULL;
  CHECK(there->cuda.pop(&context) == 0 && context == there->context);
}

/* Copies to the device, and from it when its default stream is done. */
static inline void put(const device* there, void* to, const void* from, size_t size) {
  if (!on_gpu(there)) {
    memcpy(to, from, size);
    return;
  }
  enter(there);
  CHECK(there->cuda.put((uintptr_t)to, from, size) == 0);
  leave(there);
}

static inline void get(const device* there, void* to, const void* from, size_t size) {
  if (!on_gpu(there)) {
    memcpy(to, from, size);
    return;
  }
  enter(there);
  CHECK(there->cuda.get(to, (uintptr_t)from, size) == 0);
  leave(there);
}

/* Memory of exactly this size, full of bytes 0xA5. */
static inline void* make(const device* there, size_t size) {
  uintptr_t address = 0;
  void* memory = malloc(size + (size == 0));
  CHECK(memory != NULL);
  memset(memory, 0xA5, size);
  if (!on_gpu(there)) return memory;
  enter(there);
  CHECK(there->cuda.allocate(&address, size + (size == 0)) == 0);
  leave(there);
  put(there, (void*)address, memory, size);
  free(memory);
  return (void*)address;
}

static inline void drop(const device* there, void* memory) {
  if (!on_gpu(there)) {
    free(memory);
    return;
  }
  enter(there);
  CHECK(there->cuda.release_memory((uintptr_t)memory) == 0);
  leave(there);
}

/* A copy on the device. */
static inline void* copy(const device* there, const void* from, size_t size) {
  void* made = make(there, size);
  put(there, made, from, size);
  return made;
}

/* A stream that does not wait for the default stream; NULL on the processor. */
static inline xent_stream make_stream(const device* there) {
  xent_stream stream = NULL;
  if (!on_gpu(there)) return stream;
  enter(there);
  CHECK(there->cuda.stream_create(&stream, 1) == 0);
  leave(there);
  return stream;
}

static inline void wait_for(const device* there, xent_stream stream) {
  if (!on_gpu(there)) return;
  enter(there);
  CHECK(there->cuda.stream_wait(stream) == 0);
  leave(there);
}

static inline void drop_stream(const device* there, xent_stream stream) {
  if (!on_gpu(there)) return;
  enter(there);
  CHECK(there->cuda.stream_destroy(stream) == 0);
  leave(there);
}

/* Options for a context there. */
static inline xent_context_options options_on(const device* there) {
  xent_context_options options = xent_context_options_default();
  options.device = there->kind;
  options.ordinal = there->ordinal;
  return options;
}

#endif
