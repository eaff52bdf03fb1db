// xent.hpp - xent.h for C++11 and later: handles that free themselves, and exceptions.
//
//   xent::context context;                                    // the device chooses itself
//   xent_problem problem = xent::problem(XENT_PRESET_CROSS_ENTROPY, XENT_DTYPE_F32, 3);
//   problem.target_type = xent::target_of<int64_t>::value;
//   problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_DLOGITS;
//   xent::plan plan(context, problem);
//
//   xent::workspace workspace;                                // once, for all steps
//   xent_args args = xent_args_default();
//   args.outer = rows;
//   ...                                                       // logits, targets, loss, dlogits:
//                                                             // memory of the context's device
//   workspace.prepare(plan, args);                            // grows if rows do
//   plan.run(args);                                           // throws xent::error
//
// Every function that throws has a twin that returns an xent_status: create, try_..., and of
// problem xent_problem_preset. Without exceptions (-fno-exceptions, or XENT_NO_EXCEPTIONS) only
// those are there. The structs, enums and promises are those of xent.h.
#ifndef XENT_HPP
#define XENT_HPP

#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "xent.h"

#if !defined(XENT_NO_EXCEPTIONS) && !defined(__cpp_exceptions) && !defined(__EXCEPTIONS) && \
    !defined(_CPPUNWIND)
#define XENT_NO_EXCEPTIONS
#endif
#ifndef XENT_NO_EXCEPTIONS
#include <stdexcept>
#endif

namespace xent {

#ifndef XENT_NO_EXCEPTIONS
// A call that failed: its status, and as what() the text of xent_last_error.
class error : public std::runtime_error {
 public:
  error(xent_status status, const char* text) : std::runtime_error(text), status_(status) {}
  xent_status status() const noexcept { return status_; }

 private:
  xent_status status_;
};

// Throws unless a call succeeded.
inline void check(xent_status status) {
  if (status != XENT_STATUS_OK) throw error(status, xent_last_error());
}

// A problem by the name that it has elsewhere, to be changed as one likes.
inline xent_problem problem(xent_preset preset, xent_dtype dtype, int64_t classes) {
  xent_problem made = xent_problem_default();
  check(xent_problem_preset(preset, dtype, classes, &made));
  return made;
}
#endif

// A device with its threads. Movable; plans may outlive it.
class context {
 public:
  // Replaces *out, or leaves it as it is and says why.
  static xent_status create(const xent_context_options& options, context* out) noexcept {
    xent_context* made = nullptr;
    const xent_status status = xent_context_create(&options, &made);
    if (status == XENT_STATUS_OK) out->handle_.reset(made);
    return status;
  }
#ifndef XENT_NO_EXCEPTIONS
  explicit context(const xent_context_options& options = xent_context_options_default()) {
    check(create(options, this));
  }
  explicit context(xent_device device, int32_t ordinal = 0) {
    xent_context_options options = xent_context_options_default();
    options.device = device;
    options.ordinal = ordinal;
    check(create(options, this));
  }
#else
  context() = default;  // empty, until create() fills it
#endif
  const char* describe() const noexcept { return xent_context_describe(get()); }
  xent_context* get() const noexcept { return handle_.get(); }

 private:
  struct destroy {
    void operator()(xent_context* handle) const noexcept { xent_context_destroy(handle); }
  };
  std::unique_ptr<xent_context, destroy> handle_;
};

// A problem that is ready to run. Movable; any threads may run it at once.
class plan {
 public:
  plan() = default;  // empty: every call answers XENT_STATUS_NULL_POINTER

  // Replaces *out, or leaves it as it is and says why.
  static xent_status create(const context& on, const xent_problem& problem, plan* out) noexcept {
    xent_plan* made = nullptr;
    const xent_status status = xent_plan_create(on.get(), &problem, &made);
    if (status == XENT_STATUS_OK) out->handle_.reset(made);
    return status;
  }

  xent_status try_run(const xent_args& args) const noexcept { return xent_run(get(), &args); }
  xent_status try_backward(const xent_backward_args& args) const noexcept {
    return xent_backward(get(), &args);
  }
  xent_status try_double_backward(const xent_backward_args& args) const noexcept {
    return xent_double_backward(get(), &args);
  }
#ifndef XENT_NO_EXCEPTIONS
  plan(const context& on, const xent_problem& problem) { check(create(on, problem, this)); }
  void run(const xent_args& args) const { check(try_run(args)); }
  void backward(const xent_backward_args& args) const { check(try_backward(args)); }
  void double_backward(const xent_backward_args& args) const { check(try_double_backward(args)); }
#endif
  const char* kernel_name() const noexcept { return xent_plan_kernel_name(get()); }
  xent_plan* get() const noexcept { return handle_.get(); }

 private:
  struct destroy {
    void operator()(xent_plan* handle) const noexcept { xent_plan_destroy(handle); }
  };
  std::unique_ptr<xent_plan, destroy> handle_;
};

// The workspace of runs on the device of a plan, one run at a time; on a GPU, the runs of one
// stream. Movable.
class workspace {
 public:
  // Makes it large enough for a run, or a backward, and hands it over in the arguments. Keeps what
  // it has if that suffices: so it serves the plans of one device. Growing waits for a GPU.
  template <class Args>
  xent_status try_prepare(const plan& for_plan, Args& args) noexcept {
    size_t needed = 0;
    const int64_t inner = args.inner == 0 ? 1 : args.inner;
    const bool fits = args.outer >= 0 && inner > 0 && args.outer <= INT64_MAX / inner;
    const int64_t rows = fits ? args.outer * inner : -1;  // which is refused
    xent_status status = xent_plan_workspace_size(for_plan.get(), rows, &needed);
    if (status != XENT_STATUS_OK) return status;
    if (!handle_ || needed > handle_->size) {
      xent_workspace* made = nullptr;
      status = xent_workspace_create(for_plan.get(), rows, &made);
      if (status != XENT_STATUS_OK) return status;
      handle_.reset(made);
    }
    args.workspace = handle_->data;
    args.workspace_size = handle_->size;
    return XENT_STATUS_OK;
  }
#ifndef XENT_NO_EXCEPTIONS
  template <class Args>
  void prepare(const plan& for_plan, Args& args) {
    const xent_status status = try_prepare(for_plan, args);
    if (status == XENT_STATUS_OUT_OF_RESOURCES) throw std::bad_alloc();
    check(status);
  }
#endif

  // Aligned to XENT_WORKSPACE_ALIGNMENT; NULL before anything was prepared.
  void* data() const noexcept { return handle_ ? handle_->data : nullptr; }

 private:
  struct destroy {
    void operator()(xent_workspace* handle) const noexcept { xent_workspace_destroy(handle); }
  };
  std::unique_ptr<xent_workspace, destroy> handle_;
};

// dtype_of<T>::value is the xent_dtype of logits and gradients of type T, target_of<T>::value the
// xent_target of class indices or probabilities of type T.
template <class T>
struct dtype_of;
template <class T>
struct target_of;

// Targets from labels, (rows, classes) in host memory; xent.h has other layouts. One-hot rows of
// class indices:
template <class Index, class Float>
xent_status try_one_hot(int64_t rows, int64_t classes, const Index* indices, Float* to) noexcept {
  return xent_one_hot(rows, classes, 1, indices, target_of<Index>::value, to,
                      dtype_of<Float>::value, nullptr);
}
// Rows of labels, divided by their sum:
template <class Label, class Float>
xent_status try_distributions(int64_t rows, int64_t classes, const Label* labels,
                              Float* to) noexcept {
  return xent_distributions(rows, classes, 1, labels, target_of<Label>::value, nullptr, to,
                            dtype_of<Float>::value, nullptr);
}
// XENT_STATUS_INVALID_ARGUMENT for rows that do not add up to 1:
template <class Float>
xent_status try_check_distributions(int64_t rows, int64_t classes, const Float* q,
                                    double tolerance) noexcept {
  return xent_check_distributions(rows, classes, 1, q, dtype_of<Float>::value, nullptr, tolerance);
}
#ifndef XENT_NO_EXCEPTIONS
template <class Index, class Float>
void one_hot(int64_t rows, int64_t classes, const Index* indices, Float* to) {
  check(try_one_hot(rows, classes, indices, to));
}
template <class Label, class Float>
void distributions(int64_t rows, int64_t classes, const Label* labels, Float* to) {
  check(try_distributions(rows, classes, labels, to));
}
template <class Float>
void check_distributions(int64_t rows, int64_t classes, const Float* q, double tolerance) {
  check(try_check_distributions(rows, classes, q, tolerance));
}
#endif

}  // namespace xent

// For a floating-point type of one's own, at global scope: XENT_ELEMENT(at::Half, F16)
#define XENT_ELEMENT(type, name)                                                          \
  template <>                                                                             \
  struct xent::dtype_of<type> : std::integral_constant<xent_dtype, XENT_DTYPE_##name> {}; \
  XENT_TARGET(type, PROBABILITIES_##name)
#define XENT_TARGET(type, name) \
  template <>                   \
  struct xent::target_of<type> : std::integral_constant<xent_target, XENT_TARGET_##name> {};

XENT_ELEMENT(float, F32)
XENT_ELEMENT(double, F64)
XENT_TARGET(int64_t, I64)
XENT_TARGET(int32_t, I32)
XENT_TARGET(uint32_t, U32)
XENT_TARGET(uint8_t, U8)
#ifdef __CUDA_FP16_H__  // include cuda_fp16.h and cuda_bf16.h before this header
XENT_ELEMENT(__half, F16)
#endif
#ifdef __CUDA_BF16_H__
XENT_ELEMENT(__nv_bfloat16, BF16)
#endif

#endif  // XENT_HPP
