// Helpers, compiled into the program.

/// The enums of the ABI are four bytes wide: -fshort-enums would change it.
typedef char xent_enums_have_four_bytes[sizeof(xent_status) == 4 ? 1 : -1];

/// Options that ask for nothing.
static inline xent_context_options xent_context_options_default(void) {
  xent_context_options options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  return options;
}

/// A problem that lacks only its classes: the mean loss of f32 logits and int64_t indices.
static inline xent_problem xent_problem_default(void) {
  xent_problem problem;
  memset(&problem, 0, sizeof problem);
  problem.struct_size = sizeof problem;
  return problem;
}

/// Arguments without buffers.
static inline xent_args xent_args_default(void) {
  xent_args args;
  memset(&args, 0, sizeof args);
  args.struct_size = sizeof args;
  return args;
}

/// Arguments without buffers.
static inline xent_backward_args xent_backward_args_default(void) {
  xent_backward_args args;
  memset(&args, 0, sizeof args);
  args.struct_size = sizeof args;
  return args;
}

/// xent_context_create: the device chooses itself.
XENT_MUST_USE static inline xent_status xent_context_create_auto(xent_context **out) {
  return xent_context_create(NULL, out);
}

/// xent_context_create: the CPU, with all processors.
XENT_MUST_USE static inline xent_status xent_context_create_cpu(xent_context **out) {
  xent_context_options options = xent_context_options_default();
  options.device = XENT_DEVICE_CPU;
  return xent_context_create(&options, out);
}

/// xent_context_create: the GPU with this number.
XENT_MUST_USE static inline xent_status xent_context_create_cuda(int32_t ordinal,
                                                                 xent_context **out) {
  xent_context_options options = xent_context_options_default();
  options.device = XENT_DEVICE_CUDA;
  options.ordinal = ordinal;
  return xent_context_create(&options, out);
}

#endif // XENT_H
