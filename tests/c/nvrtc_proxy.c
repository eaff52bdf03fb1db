/* Stands before NVRTC: forwards each call to the library that XENT_TEST_NVRTC names, but the k-th
 * fails, or programs get an error at their end. For one thread at a time. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void* program;

static long counted, failing, living;
static int broken;
static const char* failed = "";

/* From now on the k-th call fails; 0: none. */
void proxy_fail(long k) {
  counted = 0;
  failing = k;
}

/* Whether programs are broken. */
void proxy_break(int yes) { broken = yes; }

/* How many calls there were since proxy_fail. */
long proxy_calls(void) { return counted; }

/* How many programs have been made and not been destroyed. */
long proxy_programs(void) { return living; }

/* The last call that failed here. */
const char* proxy_failed(void) { return failed; }

static void find(const char* name, void* function) {
  static void* library;
  if (library == NULL) library = dlopen(getenv("XENT_TEST_NVRTC"), RTLD_NOW | RTLD_LOCAL);
  void* found = library == NULL ? NULL : dlsym(library, name);
  if (found == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    abort();
  }
  memcpy(function, &found, sizeof found);
}

static int fails(const char* name) {
  if (++counted != failing) return 0;
  failed = name;
  return 1; /* NVRTC_ERROR_OUT_OF_MEMORY */
}

#define FORWARD(name, parameters, arguments) \
  int name parameters {                      \
    int(*function) parameters = NULL;        \
    if (fails(#name)) return 1;              \
    find(#name, &function);                  \
    return function arguments;               \
  }

FORWARD(nvrtcVersion, (int* major, int* minor), (major, minor))
FORWARD(nvrtcGetNumSupportedArchs, (int* count), (count))
FORWARD(nvrtcGetSupportedArchs, (int* archs), (archs))
FORWARD(nvrtcAddNameExpression, (program it, const char* name), (it, name))
FORWARD(nvrtcCompileProgram, (program it, int count, const char* const* options),
        (it, count, options))
FORWARD(nvrtcGetLoweredName, (program it, const char* name, const char** lowered),
        (it, name, lowered))
FORWARD(nvrtcGetPTXSize, (program it, size_t* size), (it, size))
FORWARD(nvrtcGetPTX, (program it, char* text), (it, text))
FORWARD(nvrtcGetCUBINSize, (program it, size_t* size), (it, size))
FORWARD(nvrtcGetCUBIN, (program it, char* code), (it, code))
FORWARD(nvrtcGetProgramLogSize, (program it, size_t* size), (it, size))
FORWARD(nvrtcGetProgramLog, (program it, char* text), (it, text))

const char* nvrtcGetErrorString(int code) {
  const char* (*function)(int) = NULL;
  find("nvrtcGetErrorString", &function);
  return function(code);
}

int nvrtcCreateProgram(program* it, const char* source, const char* name, int headers,
                       const char* const* texts, const char* const* names) {
  int (*function)(program*, const char*, const char*, int, const char* const*, const char* const*) =
      NULL;
  if (fails("nvrtcCreateProgram")) return 1;
  find("nvrtcCreateProgram", &function);
  char* text = malloc(strlen(source) + 64);
  if (text == NULL) return 1;
  strcpy(text, source);
  if (broken) strcat(text, "\nint x = broken_on_purpose;\n");
  const int code = function(it, text, name, headers, texts, names);
  free(text);
  living += code == 0;
  return code;
}

/* What it gives back it gives back, even if it is to fail. */
int nvrtcDestroyProgram(program* it) {
  int (*function)(program*) = NULL;
  const int fail = fails("nvrtcDestroyProgram");
  find("nvrtcDestroyProgram", &function);
  const int code = function(it);
  living -= code == 0;
  return fail ? 1 : code;
}
