//! Problems: from C's struct, and by the names that they have elsewhere.

use std::mem::MaybeUninit;

use super::convert::{Outcome, bits, choice, load, size, store, zero};
use super::enums::*;
use super::guard;
use super::structs::xent_problem;
use crate::{Clip, DType, EmptyMean, Outputs, Problem};

/// Makes a problem by the name that it has elsewhere. What a preset has no word on is as in
/// xent_problem_default(), and every field may be changed before the plan is made.
///
/// @param preset   the name
/// @param dtype    the type of the logits, or of what stands in their place
/// @param classes  from 1 to 2^31 - 1
/// @param problem  starts as xent_problem_default(); all its fields are set but struct_size.
///                 Untouched if the call fails
/// @return XENT_STATUS_OK, or the 1xx of wrong arguments
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_problem_preset(
    preset: MaybeUninit<xent_preset>,
    dtype: MaybeUninit<xent_dtype>,
    classes: i64,
    problem: *mut xent_problem,
) -> xent_status {
    guard(|| {
        // SAFETY: the caller's struct.
        unsafe { load(problem)? };
        let (preset, dtype) = (choice("preset", preset)?, choice("dtype", dtype)?);
        let ours = of_preset(preset, dtype.or(DType::F32), size("classes", classes)?);
        ours.validate()?;
        // SAFETY: the caller's struct, which could be loaded.
        unsafe { store(&c_problem(&ours, dtype), problem) };
        Ok(())
    })
}

fn of_preset(preset: xent_preset, dtype: DType, classes: usize) -> Problem {
    let make = match preset {
        xent_preset::CrossEntropy => Problem::new,
        xent_preset::Softmax => Problem::softmax,
        xent_preset::LogSoftmax => Problem::log_softmax,
        xent_preset::NllLoss => Problem::nll_loss,
        xent_preset::CrossEntropyFromProbs => Problem::cross_entropy_from_probs,
        xent_preset::BceWithLogits => Problem::bce_with_logits,
        xent_preset::Bce => Problem::bce,
        xent_preset::KlDiv => Problem::kl_div,
        xent_preset::Entropy => Problem::entropy,
        xent_preset::KerasCategoricalCrossentropy => Problem::keras_categorical_crossentropy,
        xent_preset::KerasBinaryCrossentropy => Problem::keras_binary_crossentropy,
        xent_preset::SklearnLogLoss => Problem::sklearn_log_loss,
        xent_preset::SklearnLegacyLogLoss => Problem::sklearn_legacy_log_loss,
        xent_preset::CaffeMultinomialLogisticLoss => Problem::caffe_multinomial_logistic_loss,
    };
    make(dtype, classes)
}

/// C's words for a preset, which sets neither flags nor numbers but that of its clip.
fn c_problem(ours: &Problem, dtype: xent_dtype) -> xent_problem {
    let (clip, clip_value) = match ours.clip {
        Clip::None => (xent_clip::None, 0.0),
        Clip::Range(value) => (xent_clip::Range, value),
        Clip::Lower(value) => (xent_clip::Lower, value),
        Clip::Add(value) => (xent_clip::Add, value),
        Clip::Logarithm(value) => (xent_clip::Logarithm, value),
    };
    xent_problem {
        struct_size: size_of::<xent_problem>(),
        classes: ours.classes as i64,
        logits_dtype: MaybeUninit::new(dtype),
        dlogits_dtype: MaybeUninit::new(xent_dtype::Default),
        target_type: MaybeUninit::new(ours.targets.into()),
        reduction: MaybeUninit::new(ours.reduction.into()),
        outputs: ours.outputs.bits(),
        flags: 0,
        ignore_index: 0,
        label_smoothing: 0.0,
        logit_scale: 0.0,
        softcap: 0.0,
        z_loss: 0.0,
        expected_rows: 0,
        alignment: 0,
        operation: MaybeUninit::new(ours.operation.into()),
        input: MaybeUninit::new(ours.input.into()),
        clip: MaybeUninit::new(clip),
        renormalise: MaybeUninit::new(ours.renormalise.into()),
        clip_value,
        unit: MaybeUninit::new(ours.unit.into()),
        output_dtype: MaybeUninit::new(xent_dtype::Default),
    }
}

/// The problem that C describes.
pub(super) fn rust_problem(problem: &xent_problem) -> Outcome<Problem> {
    let operation = choice("operation", problem.operation)?;
    let softmax = matches!(operation, xent_operation::Softmax | xent_operation::LogSoftmax);
    let outputs = match bits::<xent_output>("outputs", problem.outputs)? {
        0 if softmax => Outputs::OUTPUT,
        0 => Outputs::LOSS,
        outputs => Outputs::from_bits_retain(outputs),
    };
    let flags = bits::<xent_flag>("flags", problem.flags)?;
    let has = |flag: xent_flag| flags & flag as u32 != 0;
    let logits = choice("logits_dtype", problem.logits_dtype)?.or(DType::F32);

    let mut ours = Problem::new(logits, size("classes", problem.classes)?);
    ours.dlogits = choice("dlogits_dtype", problem.dlogits_dtype)?.or(logits);
    ours.targets = choice("target_type", problem.target_type)?.into();
    ours.outputs = outputs;
    ours.reduction = choice("reduction", problem.reduction)?.into();
    set_operation(&mut ours, problem)?;
    if has(xent_flag::EmptyMeanZero) {
        ours.empty_mean = EmptyMean::Zero;
    }
    if has(xent_flag::IgnoreIndex) {
        ours.ignore_index = Some(problem.ignore_index);
    } else {
        zero("ignore_index", problem.ignore_index, " without XENT_FLAG_IGNORE_INDEX in flags")?;
    }
    ours.class_weights = has(xent_flag::ClassWeights);
    ours.row_weights = has(xent_flag::RowWeights);
    ours.element_weights = has(xent_flag::ElementWeights);
    ours.pos_weights = has(xent_flag::PosWeights);
    ours.log_targets = has(xent_flag::LogTargets);
    ours.in_place = has(xent_flag::InPlace);
    ours.label_smoothing = problem.label_smoothing;
    ours.z_loss = problem.z_loss;
    if problem.logit_scale != 0.0 {
        ours.logit_scale = problem.logit_scale;
    }
    if problem.softcap != 0.0 {
        ours.softcap = Some(problem.softcap);
    }
    ours.expected_rows = size("expected_rows", problem.expected_rows)?;
    if problem.alignment != 0 {
        ours.alignment = size("alignment", problem.alignment)?;
    }
    Ok(ours)
}

/// The operation, and what belongs to operations on probabilities.
fn set_operation(ours: &mut Problem, problem: &xent_problem) -> Outcome<()> {
    ours.operation = choice("operation", problem.operation)?.into();
    ours.input = choice("input", problem.input)?.into();
    ours.clip = match choice("clip", problem.clip)? {
        xent_clip::None => Clip::None,
        xent_clip::Range => Clip::Range(problem.clip_value),
        xent_clip::Lower => Clip::Lower(problem.clip_value),
        xent_clip::Add => Clip::Add(problem.clip_value),
        xent_clip::Logarithm => Clip::Logarithm(problem.clip_value),
    };
    if ours.clip == Clip::None {
        zero("clip_value", problem.clip_value, " without a clip")?;
    }
    ours.renormalise = choice("renormalise", problem.renormalise)?.into();
    ours.unit = choice("unit", problem.unit)?.into();
    ours.output = choice("output_dtype", problem.output_dtype)?.or(ours.logits);
    Ok(())
}

// The bits of C are those of Rust.
const _: () = {
    assert!(xent_output::Loss as u32 == Outputs::LOSS.bits());
    assert!(xent_output::Lse as u32 == Outputs::LSE.bits());
    assert!(xent_output::Stats as u32 == Outputs::STATS.bits());
    assert!(xent_output::Dlogits as u32 == Outputs::DLOGITS.bits());
    assert!(xent_output::Argmax as u32 == Outputs::ARGMAX.bits());
    assert!(xent_output::Correct as u32 == Outputs::CORRECT.bits());
    assert!(xent_output::Entropy as u32 == Outputs::ENTROPY.bits());
    assert!(xent_output::Output as u32 == Outputs::OUTPUT.bits());
};

#[cfg(test)]
mod tests {
    use super::super::convert::CEnum;
    use super::*;

    #[test]
    fn a_preset_of_c_is_that_of_rust() {
        let dtypes = [xent_dtype::F32, xent_dtype::F16, xent_dtype::Bf16, xent_dtype::F64];
        for &preset in xent_preset::VALUES {
            for dtype in dtypes {
                let ours = of_preset(preset, dtype.or(DType::F32), 7);
                assert_eq!(rust_problem(&c_problem(&ours, dtype)).unwrap(), ours, "{preset:?}");
            }
        }
    }
}
