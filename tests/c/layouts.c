/* Prints where every field of every struct of the ABI is, and how wide the enums are. */
#include <xent.h>

#include "check.h"

#define TYPE(type) printf("%s %zu\n", #type, sizeof(type))
#define FIELD(type, field) \
  printf("  %s %zu %zu\n", #field, offsetof(type, field), sizeof(((type*)0)->field))

int main(void) {
  TYPE(xent_status);
  TYPE(xent_dtype);
  TYPE(xent_target);
  TYPE(xent_operation);
  TYPE(xent_form);
  TYPE(xent_clip);
  TYPE(xent_renormalise);
  TYPE(xent_unit);
  TYPE(xent_preset);
  TYPE(xent_reduction);
  TYPE(xent_device);
  TYPE(xent_denominator);
  TYPE(xent_output);
  TYPE(xent_flag);

  TYPE(xent_context_options);
  FIELD(xent_context_options, struct_size);
  FIELD(xent_context_options, device);
  FIELD(xent_context_options, ordinal);
  FIELD(xent_context_options, threads);
  FIELD(xent_context_options, reserved);
  FIELD(xent_context_options, parallel_for);
  FIELD(xent_context_options, parallel_for_user);
  FIELD(xent_context_options, cache_directory);

  TYPE(xent_problem);
  FIELD(xent_problem, struct_size);
  FIELD(xent_problem, classes);
  FIELD(xent_problem, logits_dtype);
  FIELD(xent_problem, dlogits_dtype);
  FIELD(xent_problem, target_type);
  FIELD(xent_problem, reduction);
  FIELD(xent_problem, outputs);
  FIELD(xent_problem, flags);
  FIELD(xent_problem, ignore_index);
  FIELD(xent_problem, label_smoothing);
  FIELD(xent_problem, logit_scale);
  FIELD(xent_problem, softcap);
  FIELD(xent_problem, z_loss);
  FIELD(xent_problem, expected_rows);
  FIELD(xent_problem, alignment);
  FIELD(xent_problem, operation);
  FIELD(xent_problem, input);
  FIELD(xent_problem, clip);
  FIELD(xent_problem, renormalise);
  FIELD(xent_problem, clip_value);
  FIELD(xent_problem, unit);
  FIELD(xent_problem, output_dtype);

  TYPE(xent_args);
  FIELD(xent_args, struct_size);
  FIELD(xent_args, outer);
  FIELD(xent_args, inner);
  FIELD(xent_args, logits);
  FIELD(xent_args, logits_strides);
  FIELD(xent_args, targets);
  FIELD(xent_args, target_strides);
  FIELD(xent_args, class_weights);
  FIELD(xent_args, class_weights_count);
  FIELD(xent_args, row_weights);
  FIELD(xent_args, dloss);
  FIELD(xent_args, dloss_stride);
  FIELD(xent_args, denominator_kind);
  FIELD(xent_args, reserved);
  FIELD(xent_args, denominator_value);
  FIELD(xent_args, denominator_pointer);
  FIELD(xent_args, loss);
  FIELD(xent_args, lse);
  FIELD(xent_args, stats);
  FIELD(xent_args, dlogits);
  FIELD(xent_args, dlogits_strides);
  FIELD(xent_args, argmax);
  FIELD(xent_args, correct);
  FIELD(xent_args, entropy);
  FIELD(xent_args, report);
  FIELD(xent_args, workspace);
  FIELD(xent_args, workspace_size);
  FIELD(xent_args, stream);
  FIELD(xent_args, element_weights);
  FIELD(xent_args, element_weights_strides);
  FIELD(xent_args, pos_weights);
  FIELD(xent_args, output);
  FIELD(xent_args, output_strides);

  TYPE(xent_backward_args);
  FIELD(xent_backward_args, struct_size);
  FIELD(xent_backward_args, outer);
  FIELD(xent_backward_args, inner);
  FIELD(xent_backward_args, logits);
  FIELD(xent_backward_args, logits_strides);
  FIELD(xent_backward_args, targets);
  FIELD(xent_backward_args, target_strides);
  FIELD(xent_backward_args, class_weights);
  FIELD(xent_backward_args, class_weights_count);
  FIELD(xent_backward_args, row_weights);
  FIELD(xent_backward_args, dloss);
  FIELD(xent_backward_args, dloss_stride);
  FIELD(xent_backward_args, denominator_kind);
  FIELD(xent_backward_args, reserved);
  FIELD(xent_backward_args, denominator_value);
  FIELD(xent_backward_args, denominator_pointer);
  FIELD(xent_backward_args, stats);
  FIELD(xent_backward_args, dlogits);
  FIELD(xent_backward_args, dlogits_strides);
  FIELD(xent_backward_args, report);
  FIELD(xent_backward_args, workspace);
  FIELD(xent_backward_args, workspace_size);
  FIELD(xent_backward_args, stream);
  FIELD(xent_backward_args, output);
  FIELD(xent_backward_args, output_strides);
  FIELD(xent_backward_args, doutput);
  FIELD(xent_backward_args, doutput_strides);
  FIELD(xent_backward_args, ddlogits);
  FIELD(xent_backward_args, ddlogits_strides);

  TYPE(xent_report);
  FIELD(xent_report, count);
  FIELD(xent_report, row);
  FIELD(xent_report, value);
  FIELD(xent_report, reserved);

  TYPE(xent_workspace);
  FIELD(xent_workspace, data);
  FIELD(xent_workspace, size);
  return 0;
}
