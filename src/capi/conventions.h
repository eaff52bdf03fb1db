/*
 * xent.h - fused cross entropy: the loss of a batch of logits, its gradient, log-sum-exp, argmax,
 * accuracy and entropy from one call, for f32, f16, bf16 and (on the CPU) f64 logits.
 *
 * Generated from src/capi; edits here are lost.
 *
 * EXAMPLE
 *
 *     #include <stdio.h>
 *     #include <stdlib.h>
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
 *       if (failed(xent_context_create_auto(&context))) return 1;
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
 *       if (failed(xent_plan_workspace_size(plan, 2, &args.workspace_size))) return 1;
 *       args.workspace = aligned_alloc(XENT_WORKSPACE_ALIGNMENT, args.workspace_size);
 *       if (failed(xent_run(plan, &args))) return 1;
 *       printf("loss %.6f, gradient of the first logit %.6f\n", loss, dlogits[0]);
 *
 *       free(args.workspace);
 *       xent_plan_destroy(plan);
 *       xent_context_destroy(context);
 *       return 0;
 *     }
 *
 * HOW IT GOES
 * A context is a device with its threads. A plan is a problem (types, sizes, options, outputs)
 * that is ready to run on it: what takes long is done when the plan is made. A run brings the
 * buffers of one batch, and may be repeated as often as one likes with any number of rows.
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
 * Buffers are the caller's: xent never keeps a pointer beyond the call, nor frees one. On the CPU
 * they are host memory, on a GPU (workspace included) device memory. Addresses are multiples of the
 * size of the element. What lies between the first and the last element of an output must not meet
 * another buffer, but for a gradient in place. What xent makes is freed by the xent_..._destroy of
 * its type; texts are xent's.
 *
 * THREADS
 * Contexts and plans do not change once they are made: any threads may use one at the same time,
 * with outputs and workspaces of their own. Destroy them when no thread uses them any more.
 *
 * ERRORS
 * A function that can fail returns an xent_status; xent_last_error() then has the details for this
 * thread. A call that fails has written nothing. Nothing is printed, but for a bug (a panic), which
 * also goes to stderr before the call returns XENT_STATUS_INTERNAL. No C++ exception or panic
 * comes out of a call, and none may come in through a callback.
 *
 * NUMERICS
 * 1. Arithmetic is f32 for f32, f16 and bf16, and f64 for f64; only the gradient is rounded to the
 *    type of the logits. Losses, statistics and weights are never 16 bits wide.
 * 2. Errors are bounded relative to each element, down to the smallest normal f32: a target that
 *    leads 32767 others by 30 has loss 3.07e-9, not 0, and three logits of 1e8 have loss log 3.
 * 3. Results are the same bits from run to run, for any number of threads, and whatever rounding
 *    mode or flush-to-zero the caller has set; a row's results do not depend on the other rows.
 * 4. A NaN or +inf makes loss and gradient of its own row NaN (and a mean or sum of losses), but of
 *    no other. -inf is a class of probability 0.
 * 5. A class index that is no class never reads out of bounds: on the CPU the call fails before it
 *    writes, on a GPU that row is NaN and the report names it.
 *
 * VERSIONS
 * The ABI follows semantic versioning, where the minor version of 0.x counts as major. A program
 * can compare XENT_VERSION_NUMBER with xent_version(). Unloading the library (dlclose) is not
 * supported, nor is its use in the child of a fork() in which the parent had already run a plan.
 */

#ifndef XENT_H
#define XENT_H
