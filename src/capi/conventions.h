/*
 * xent.h - fused cross entropy: the loss of a batch of logits, its gradient, log-sum-exp, argmax,
 * accuracy and entropy from one call, for f32, f16, bf16 and (on the CPU) f64 logits.
 *
 * Generated from src/capi; edits here are lost.
 *
 * EXAMPLE
 *
 *     #include <stdio.h>
 *     #include <xent.h>
 *
 *     static int failed(xent_status status) {
 *       if (status != XENT_STATUS_OK) {
 *         fprintf(stderr, "%s: %s\n", xent_status_string(status), xent_last_error());
 *       }
 *       return status != XENT_STATUS_OK;
 *     }
 *
 *     int main(void) {
 *       const float logits[2 * 3] = {1, 2, 3, 2, 4, 6};
 *       const int64_t targets[2] = {0, 2};
 *       float loss = 0, dlogits[2 * 3] = {0};
 *
 *       xent_context *context = NULL;
 *       if (failed(xent_context_create_cpu(&context))) return 1;
 *       printf("on the %s\n", xent_context_describe(context));
 *
 *       xent_problem problem = xent_problem_default();
 *       problem.classes = 3;
 *       problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_DLOGITS;
 *       xent_plan *plan = NULL;
 *       if (failed(xent_plan_create(context, &problem, &plan))) return 1;
 *
 *       xent_args args = xent_args_default();
 *       args.outer = 2;
 *       args.logits = logits;
 *       args.targets = targets;
 *       args.loss = &loss;
 *       args.dlogits = dlogits;
 *       xent_workspace *workspace = NULL;
 *       if (failed(xent_workspace_create(plan, 2, &workspace))) return 1;
 *       args.workspace = workspace->data;
 *       args.workspace_size = workspace->size;
 *       if (failed(xent_run(plan, &args))) return 1;
 *       printf("loss %.6f, gradient of the first logit %.6f\n", loss, dlogits[0]);
 *
 *       xent_workspace_destroy(workspace);
 *       xent_plan_destroy(plan);
 *       xent_context_destroy(context);
 *       return 0;
 *     }
 *
 * On a GPU (xent_context_create_auto takes one if it is there, xent_context_create_cuda demands it)
 * the same program has logits, targets, loss and dlogits in device memory, and copies the results
 * back when the stream is done.
 *
 * HOW IT GOES
 * A context is a device with its threads. A plan is a problem (types, sizes, options, outputs)
 * that is ready to run on it: what takes long is done when the plan is made. A run brings the
 * buffers of one batch, and may be repeated as often as one likes with any number of rows.
 *
 * xent_problem_preset makes problems by the names that they have elsewhere: nll_loss, kl_div, the
 * losses of Keras. xent_one_hot and xent_distributions make targets from labels.
 *
 * STRUCTS
 * Start each from its xent_..._default(), which zeroes it and sets struct_size. Zero is the default
 * of every field. Later versions only append fields: a library accepts the shorter struct of an
 * older program, and a longer one whose unknown fields are zero; anything else is
 * XENT_STATUS_VERSION_MISMATCH. A number that an enum does not have, and a bit that a set of flags
 * does not have, are refused.
 *
 * SHAPES AND STRIDES
 * Logits, their gradient and probabilities have shape (outer, classes, inner), so that any axis of
 * a tensor can be the class axis: outer is the product of the axes before it, inner of those after
 * it. Row r is (r / inner, r % inner). Everything else is packed: one element for each row, or what
 * the field says. Strides are counted in elements, along (outer, class, inner). All 0 is packed;
 * else each stride of an axis longer than 1 is positive. (N, C) with rows padded to P elements is
 * outer = N and strides (P, 1, 1); (N, C, H, W) is outer = N, inner = H W and strides 0.
 *
 * MEMORY
 * Buffers are the caller's: xent never keeps a pointer beyond the call, or on a GPU beyond its
 * work, nor frees one. On the CPU they are host memory; on a GPU all of them, the workspace too,
 * are memory that this GPU can reach (see GPU). Addresses are multiples of the size of the element.
 * What lies between the first and the last element of an output must not meet another buffer, but
 * for a gradient in place. What xent makes is freed by the xent_..._destroy of its type; texts are
 * xent's.
 *
 * THREADS
 * Contexts and plans do not change once they are made: any threads may use one at the same time,
 * with outputs and workspaces of their own. Destroy them when no thread, and on a GPU no stream,
 * uses them any more, in any order: a plan keeps what it needs of its context.
 *
 * ERRORS
 * A function that can fail returns an xent_status; xent_last_error() then has the details for this
 * thread. A call that fails has written nothing, but for XENT_STATUS_CUDA, after which outputs may
 * hold anything. Nothing is printed, but for a bug (a panic), which also goes to stderr before the
 * call returns XENT_STATUS_INTERNAL. No C++ exception or panic comes out of a call, and none may
 * come in through a callback.
 *
 * GPU
 * Needed: Linux, an NVIDIA GPU, its driver (525 or newer), and NVRTC, the compiler of the kernels,
 * as `pip install nvidia-cuda-nvrtc` or the CUDA toolkit has it. They are found at run time; where
 * one is missing, XENT_DEVICE_AUTO takes the CPU, and XENT_DEVICE_CUDA is
 * XENT_STATUS_DEVICE_UNAVAILABLE with the same words. No header of CUDA is needed, and libcudart is
 * neither needed nor used.
 *
 * Context: a context shares the primary context of its GPU, which PyTorch and the CUDA runtime use
 * too: their memory and streams are good here. Contexts of cuCtxCreate are not. Each call makes the
 * primary context current for its own duration, and leaves the thread with what it had, or with
 * none. With several GPUs, make a context for each; cudaSetDevice changes nothing here.
 *
 * Pointers: for each buffer of a run, and the workspace, the driver is asked whose memory its first
 * byte is. Allowed is what belongs to the plan's GPU: memory of cudaMalloc, cudaMallocAsync and
 * allocators that use them; managed memory that was allocated with that GPU current; page-locked
 * memory of the host, which works but is slow. Memory of another GPU is refused, with peer access
 * too, and so is pageable memory of the host (malloc, the stack), on machines whose GPU could read
 * it too: both are XENT_STATUS_SIZE_MISMATCH and name the field. How long the memory is, nobody
 * asks: as on the CPU, that is the caller's promise.
 *
 * Streams: a CUstream or cudaStream_t of the primary context. NULL and (xent_stream)1 are the
 * legacy default stream, (xent_stream)2 is the default stream of the calling thread; a program that
 * is compiled for per-thread default streams gives the 2. A run puts its kernels on the stream and
 * returns. It never waits, allocates no memory of the device, creates nothing, and may be captured
 * in a CUDA graph, to be replayed with new contents at the same addresses; the plan stays until
 * that graph is gone. Buffers stay until the stream is done with them. Runs on one stream may share
 * a workspace; runs on several streams have one each.
 *
 * Wrong targets: a GPU cannot stop for a class index that is no class. Its row has a NaN loss and
 * gradient, a mean or sum of losses is NaN, all other rows are as they would be without it, and the
 * run returns XENT_STATUS_OK. Give an xent_report to be told: 32 bytes of device memory, aligned to
 * 8, that the program clears, runs on one stream add to, and xent_report_read reads, after each
 * step or after a thousand.
 *
 * Errors: arguments are checked before anything is put on the stream. What goes wrong later, in the
 * work of others too, the driver tells at any later call, here as XENT_STATUS_CUDA. An illegal
 * access, a trap or an endless kernel of anybody in the process loses the primary context: from
 * then on every run on this GPU is XENT_STATUS_CUDA; xent_..._destroy still works, and so do
 * contexts on the CPU and on other GPUs. A new process has the GPU back.
 *
 * Fork: CUDA that was started before a fork does not work in the child. There, plans of the parent
 * are XENT_STATUS_DEVICE_UNAVAILABLE, and no context on a GPU can be made; destroying the parent's
 * does nothing to the parent. Spawn the child instead, or start CUDA only there.
 *
 * Kernels are compiled when a plan is made, in about a second, and kept in cache_directory, else in
 * the folder that XENT_CACHE names (none if that is empty), else in xent in $XDG_CACHE_HOME or
 * ~/.cache: the next plan like it takes milliseconds. A cache that cannot be written or is damaged
 * is no error. The variable XENT_NVRTC names the file or folder of an NVRTC that is elsewhere.
 * Without NVRTC, kernels that the program xent has compiled ahead serve, from the folder that
 * XENT_KERNELS names, else from xent-kernels beside libxent.so; making a plan whose kernels are not
 * in there is XENT_STATUS_DEVICE_UNAVAILABLE.
 *
 * ON A CPU
 *
 * A run returns when its outputs are written. It uses the widest vectors that the processor has; the
 * variable XENT_CPU (portable, avx2, avx512, neon) names others, and a name that there is not makes
 * xent_context_create return XENT_STATUS_INVALID_ARGUMENT. Gradients of 16 MiB or more are written
 * past the caches, while the next rows are computed. Rows go to threads; a few long rows are split
 * among them. What a workspace holds for each thread is 41 KiB and, where a gradient of up to 131072
 * classes is wanted, 4 bytes for each class, those of 8 rows up to 2048 classes; twice that with a
 * softcap, and twice that again for 16 MiB or more.
 *
 * NUMERICS
 * 1. Arithmetic is f32 for f32, f16 and bf16, and f64 for f64; only the gradient is rounded to the
 *    type of the logits. Losses, statistics and weights are never 16 bits wide.
 * 2. Errors are bounded relative to each element, down to the smallest normal f32: a target that
 *    leads 32767 others by 30 has loss 3.07e-9, not 0, and three logits of 1e8 have loss log 3.
 * 3. Results are the same bits from run to run, for any number of threads, and whatever rounding
 *    mode or flush-to-zero the caller has set; a row's results do not depend on the other rows.
 *    AVX2, AVX-512 and NEON give the same bits, portable vectors others. On a GPU that holds for rows
 *    that lie alike within 128 bytes; its bits are not those of the CPU.
 * 4. A NaN or +inf makes loss and gradient of its own row NaN (and a mean or sum of losses), but of
 *    no other. -inf is a class of probability 0.
 * 5. A class index that is no class never reads out of bounds: on the CPU the call fails before it
 *    writes, on a GPU that row is NaN and the report names it.
 *
 * VERSIONS
 * The ABI follows semantic versioning, where the minor version of 0.x counts as major. A program
 * can compare XENT_VERSION_NUMBER with xent_version(). Unloading the library (dlclose) is not
 * supported, nor is its use in the child of a fork() in which the parent had already run a plan on
 * the CPU with more than one thread.
 */

#ifndef XENT_H
#define XENT_H
