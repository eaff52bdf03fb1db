// Arrays in the memory of the device that a context computes on: the part that a real program has
// from the CUDA runtime (cudaMalloc, cudaMemcpy) or a framework. The functions of the driver are
// looked up here when the program runs, so that it compiles without the CUDA toolkit, and runs
// without a GPU.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>
#include <xent.hpp>

// The device of a context. On a GPU it makes the primary context, which xent uses too, that of this
// thread.
class Device {
 public:
  explicit Device(const xent::context& context) {
    std::int32_t ordinal = 0;
    if (xent_context_device(context.get(), &ordinal) == XENT_DEVICE_CPU) return;
    void* primary = nullptr;
    call<unsigned>("cuInit", 0);
    call<int*, int>("cuDeviceGet", &gpu, ordinal);
    call<void**, int>("cuDevicePrimaryCtxRetain", &primary, gpu);
    call<void*>("cuCtxSetCurrent", primary);
  }
  ~Device() {
    if (on_gpu()) find<int>("cuDevicePrimaryCtxRelease_v2")(gpu);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  void* allocate(std::size_t size) const {
    void* memory = nullptr;
    if (on_gpu()) {
      call<void**, std::size_t>("cuMemAlloc_v2", &memory, size);
    } else if ((memory = std::malloc(size)) == nullptr) {
      throw std::bad_alloc();
    }
    return memory;
  }
  void release(void* memory) const {
    if (on_gpu()) {
      find<void*>("cuMemFree_v2")(memory);
    } else {
      std::free(memory);
    }
  }
  // To the device, and from it when all that was put on its default stream is done.
  void put(void* to, const void* from, std::size_t size) const {
    if (on_gpu()) {
      call<void*, const void*, std::size_t>("cuMemcpyHtoD_v2", to, from, size);
    } else {
      std::memcpy(to, from, size);
    }
  }
  void get(void* to, const void* from, std::size_t size) const {
    if (on_gpu()) {
      call<void*, const void*, std::size_t>("cuMemcpyDtoH_v2", to, from, size);
    } else {
      std::memcpy(to, from, size);
    }
  }

 private:
  bool on_gpu() const { return gpu >= 0; }

  // A function of the driver, by its name there; a CUdeviceptr is as wide as a pointer.
  template <class... Parameters>
  static auto find(const char* name) -> int (*)(Parameters...) {
    static void* const library = dlopen("libcuda.so.1", RTLD_NOW);
    void* const found = library == nullptr ? nullptr : dlsym(library, name);
    if (found == nullptr) throw std::runtime_error(std::string(name) + " was not found");
    return reinterpret_cast<int (*)(Parameters...)>(found);
  }
  template <class... Parameters>
  static void call(const char* name, Parameters... arguments) {
    const int code = find<Parameters...>(name)(arguments...);
    if (code != 0) throw std::runtime_error(std::string(name) + ": error " + std::to_string(code));
  }

  int gpu = -1;
};

// Elements in the memory of a device, made once and used again by all steps.
template <class T>
class Array {
 public:
  Array(const Device& of, std::size_t capacity)
      : device(of), memory(of.allocate(capacity * sizeof(T))) {}
  Array(const Device& of, const std::vector<T>& values) : Array(of, values.size()) { put(values); }
  ~Array() { device.release(memory); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  T* data() const { return static_cast<T*>(memory); }

  // The first of its elements.
  void put(const std::vector<T>& values) {
    device.put(memory, values.data(), values.size() * sizeof(T));
  }
  std::vector<T> get(std::size_t count) const {
    std::vector<T> values(count);
    device.get(values.data(), memory, count * sizeof(T));
    return values;
  }

 private:
  const Device& device;
  void* memory;
};
