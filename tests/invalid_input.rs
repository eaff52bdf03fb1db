//! Each field wrong in turn is the right error, its text names the field, the value and what is
//! allowed, and no byte of any buffer has been written.

mod common;

use std::sync::Arc;

use common::raw::{Buffer, CLASSES, Call, FIELDS, PAGE, ROWS, assert_error, calls, forward};
use common::{Case, logit_types, on_gpu, plan, thinned};
use xent::reference::{self, Inputs, Targets};
use xent::{
    Args, Context, ContextOptions, DType, Denominator, Error, Layout, Outputs, Problem, Reduction,
    Workspace,
};

/// The calls that the tests break do run: they write all outputs and nothing else.
#[test]
fn sound_calls_run() {
    for call in calls() {
        let outputs: Vec<_> = FIELDS.into_iter().filter(|f| call.buffers.contains_key(f)).collect();
        let expected =
            outputs.into_iter().filter(|&f| call.is_output(f) && f != "workspace").collect();
        assert_eq!(call.run(), Ok(expected), "{:?}", call.problem);
    }
}

#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn fields_of_a_problem() {
    type Edit = fn(Problem) -> Problem;
    let float = "f32, f16, bf16 or f64";
    let scale = "finite and not 0, also as f32";
    let cap = "positive and finite, also as f32";
    let index_type = "f32, f16, bf16 or an integer type (f64 probabilities need f64 logits)";
    let own_or_f32 = "f32 or the type of the logits (f32)";
    let some_output = "at least one output, and none that is unknown";
    let table: &[(&str, &str, &str, Edit)] = &[
        ("logits", "i64", float, |p| Problem::new(DType::I64, p.classes)),
        ("logits", "u8", float, |p| Problem::new(DType::U8, p.classes)),
        ("classes", "0", "in [1, 2^31 - 1]", |p| Problem::new(p.logits, 0)),
        ("classes", "2147483648", "in [1, 2^31 - 1]", |p| Problem::new(p.logits, 1 << 31)),
        ("targets", "f64", index_type, |p| p.targets(DType::F64)),
        ("dlogits", "f16", own_or_f32, |p| p.dlogits(DType::F16)),
        ("dlogits", "f64", own_or_f32, |p| p.dlogits(DType::F64)),
        ("dlogits", "i32", own_or_f32, |p| p.dlogits(DType::I32)),
        ("outputs", "0x0", some_output, |p| p.outputs(Outputs::empty())),
        ("outputs", "0x81", some_output, |p| p.outputs(Outputs::from_bits_retain(0x81))),
        ("ignore_index", "-100", "unset with probability targets", |p| {
            p.targets(DType::F32).ignore_index(-100)
        }),
        ("label_smoothing", "-0.1", "in [0, 1]", |p| p.label_smoothing(-0.1)),
        ("label_smoothing", "1.5", "in [0, 1]", |p| p.label_smoothing(1.5)),
        ("label_smoothing", "NaN", "in [0, 1]", |p| p.label_smoothing(f64::NAN)),
        ("logit_scale", "0", scale, |p| p.logit_scale(0.0)),
        ("logit_scale", "NaN", scale, |p| p.logit_scale(f64::NAN)),
        ("logit_scale", "inf", scale, |p| p.logit_scale(f64::INFINITY)),
        ("logit_scale", &format!("{}", 1e-60), scale, |p| p.logit_scale(1e-60)),
        ("logit_scale", &format!("{}", 1e39), scale, |p| p.logit_scale(1e39)),
        ("softcap", "0", cap, |p| p.softcap(0.0)),
        ("softcap", "-1", cap, |p| p.softcap(-1.0)),
        ("softcap", "NaN", cap, |p| p.softcap(f64::NAN)),
        ("softcap", "inf", cap, |p| p.softcap(f64::INFINITY)),
        ("softcap", &format!("{}", 1e-60), cap, |p| p.softcap(1e-60)),
        ("z_loss", "NaN", "finite, also as f32", |p| p.z_loss(f64::NAN)),
        ("z_loss", "-inf", "finite, also as f32", |p| p.z_loss(f64::NEG_INFINITY)),
        ("z_loss", &format!("{}", 1e39), "finite, also as f32", |p| p.z_loss(1e39)),
        ("in_place", "true", "unset when the gradient is not an output", |p| {
            p.in_place(true).outputs(Outputs::LOSS)
        }),
        ("in_place", "true", "unset when the gradient is of another type than the logits", |p| {
            let p = Problem::new(DType::F16, p.classes).outputs(p.outputs);
            p.in_place(true).dlogits(DType::F32)
        }),
        ("alignment", "0", "a power of two in [1, 4096]", |p| p.alignment(0)),
        ("alignment", "3", "a power of two in [1, 4096]", |p| p.alignment(3)),
        ("alignment", "8192", "a power of two in [1, 4096]", |p| p.alignment(8192)),
    ];
    for (field, value, allowed, edit) in table {
        let call = forward().problem(edit);
        let text = format!("{field}: {value} is not allowed; it must be {allowed}");
        call.refused(field, "Invalid", &text);
        let error = call.problem.validate().unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(matches!(error, Error::Invalid { field: name, .. } if name == *field));
        let (inputs, targets) = ([0.0; 4], [0i64]);
        let inputs = Inputs::new(&inputs, Targets::Classes(&targets));
        assert_eq!(reference::compute(&call.problem, &inputs), Err(error));
    }
}

/// Every buffer of every call: of another type, too short, too long, null, misaligned.
#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn each_buffer_in_turn() {
    for call in calls() {
        for (&field, &Buffer { dtype, len, .. }) in &call.buffers {
            if field == "workspace" {
                continue;
            }
            let other = if dtype == DType::U8 { DType::I32 } else { DType::U8 };
            let text = format!("{field}: got {other}, but {dtype} is needed");
            call.clone().edit(field, |b| b.dtype = other).refused("type", "Mismatch", &text);

            for wrong in [len - 1, len + 1] {
                let text = format!("{field}: got {wrong} elements, but *is needed");
                call.clone().edit(field, |b| b.len = wrong).refused("length", "Mismatch", &text);
            }

            let text = format!("{field}: missing, but its size is not 0; it is NULL");
            call.clone().edit(field, |b| b.null = true).refused("null", "Missing", &text);

            let size = dtype.size();
            if size > 1 {
                let text = format!("{field}: 0x* is not a multiple of {size} bytes");
                for off in [1, size - 1, size / 2] {
                    call.clone().edit(field, |b| b.at += off).refused("off", "Misaligned", &text);
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn buffers_that_are_missing_or_not_asked_for() {
    let outputs = [
        ("loss", Outputs::LOSS),
        ("lse", Outputs::LSE),
        ("stats", Outputs::STATS),
        ("dlogits", Outputs::DLOGITS),
        ("argmax", Outputs::ARGMAX),
        ("correct", Outputs::CORRECT),
        ("entropy", Outputs::ENTROPY),
    ];
    for call in thinned(calls().into_iter().filter(|call| !call.backward), 1) {
        for (field, output) in outputs {
            let text = format!("{field}: missing, but the problem's outputs name it");
            call.clone().without(field).refused("absent", "Missing", &text);
            let unnamed = call.clone().problem(|p| p.outputs(Outputs::CROSS_ENTROPY - output));
            let text = format!("{field}: given, but the problem's outputs do not name it");
            unnamed.refused("unnamed", "Unexpected", &text);
        }
    }
    for call in calls() {
        for field in ["class_weights", "row_weights"] {
            let text = format!("{field}: missing, but the problem declares it");
            call.clone().without(field).refused("absent", "Missing", &text);
            let undeclared = call.clone().problem(|p| match field {
                "class_weights" => p.class_weights(false),
                _ => p.row_weights(false),
            });
            let text = format!("{field}: given, but the problem does not declare it");
            undeclared.refused("undeclared", "Unexpected", &text);
        }
    }
    let text = "dloss: given, but only a gradient reads it, and the problem's outputs name none";
    let call = forward()
        .without("dlogits")
        .problem(|p| p.outputs(Outputs::CROSS_ENTROPY - Outputs::DLOGITS));
    call.refused("upstream gradient of nothing", "Unexpected", text);
    let text = "backward of a problem whose outputs do not name stats: not supported; add STATS to \
                the outputs, or DLOGITS to compute all in one run";
    let call = Call::new(DType::F32, DType::I64, true).problem(|p| p.outputs(Outputs::DLOGITS));
    call.refused("backward without stats", "Unsupported", text);
}

/// No output shares a byte with any other buffer; neighbours may touch.
#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn outputs_that_overlap() {
    for call in calls() {
        let fields: Vec<_> = call.buffers.keys().copied().collect();
        for &output in fields.iter().filter(|field| call.is_output(field) && **field != "workspace")
        {
            for &other in fields.iter().filter(|&&other| other != output) {
                let of = call.buffers[other];
                let (start, end) = (of.at, of.at + of.len * of.dtype.size());
                let moved = |at: usize| call.clone().edit(output, |b| b.at = at);
                let size = call.buffers[output].len * call.buffers[output].dtype.size();
                for at in [start, (end - 1) / 8 * 8] {
                    let error = moved(at).run().unwrap_err();
                    let Error::Overlap { field, other: with } = error else {
                        panic!("{output} over {other}: {error:?}")
                    };
                    let named = [field, with];
                    assert!(named.contains(&output) && named.contains(&other), "{named:?}");
                    let text = format!(
                        "{field}: shares memory with {with}; outputs must be apart from every other \
                         buffer"
                    );
                    assert_error("overlap", &error, "Overlap", &text);
                    assert!(call.is_output(field), "{field} is no output");
                }
                let (behind, before) = (end.next_multiple_of(8), start.wrapping_sub(size) / 8 * 8);
                assert!(moved(behind).run().is_ok(), "{output} behind {other}");
                assert!(start == 0 || moved(before).run().is_ok(), "{output} before {other}");
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn layouts_that_do_not_fit() {
    let rows = Layout::rows(ROWS, CLASSES);
    let zeros = "positive";
    let apart = "so large that no two elements share memory";
    let shape = |outer, classes, inner| Layout::packed(outer, classes, inner);
    for call in calls() {
        let tensors = ["logits", "dlogits", "targets"];
        let is_soft = call.problem.targets_are_probabilities();
        for field in tensors.into_iter().filter(|field| is_soft || *field != "targets") {
            let refused = |layout: Layout, variant: &str, text: &str| {
                let text = format!("{field}: {text}");
                call.clone().layout(field, layout).refused(field, variant, &text);
            };
            let invalid = |strides: [usize; 3], allowed: &str| {
                let text = format!("strides {strides:?} is not allowed; it must be {allowed}");
                refused(rows.strides(strides), "Invalid", &text);
            };
            invalid([0, 1, 1], zeros);
            invalid([CLASSES, 0, 1], zeros);
            if field == "dlogits" {
                invalid([1, 1, 1], apart);
                invalid([CLASSES - 1, 1, 1], apart);
                invalid([1, 2, 1], apart);
            }
            let beyond =
                "got 12 elements, but 14 for (outer, classes, inner) = [3, 4, 1] is needed";
            refused(rows.row_stride(5), "Mismatch", beyond);
            refused(rows.strides([1, 4, 1]), "Mismatch", "got 12 elements, but 15 *");
            let overflow = "*, but a size below 2^63 bytes is needed";
            refused(rows.row_stride(usize::MAX), "Mismatch", overflow);
            refused(rows.row_stride(isize::MAX as usize / 2), "Mismatch", overflow);
            if field != "logits" {
                let needed = "but (outer, classes, inner) = [3, 4, 1] is needed";
                for (layout, given) in [
                    (shape(4, 3, 1), "[4, 3, 1]"),
                    (shape(1, 4, 3), "[1, 4, 3]"),
                    (shape(2, 4, 1), "[2, 4, 1]"),
                ] {
                    refused(layout, "Mismatch", &format!("got {given}, {needed}"));
                }
            }
        }
        for &field in call.buffers.keys() {
            if tensors.contains(&field) && (is_soft || field != "targets") || field == "workspace" {
                continue;
            }
            let text = format!("{field}: got a strided buffer, but a packed one is needed");
            let padded = call.clone().layout(field, rows.row_stride(CLASSES + 1));
            padded.refused("packed", "Mismatch", &text);
        }
    }
    let text = "logits: got [3, 5, 1], but (outer, classes, inner) = [3, 4, 1] is needed";
    forward().layout("logits", shape(3, 5, 1)).refused("classes", "Mismatch", text);
    let text = "logits: got 12 elements, but 16 for (outer, classes, inner) = [4, 4, 1] is needed";
    forward().layout("logits", shape(4, 4, 1)).refused("rows", "Mismatch", text);
}

/// Strides and promises mean nothing for an empty tensor; empty buffers may be null.
#[test]
fn nothing_to_do_is_no_error() {
    for mut call in calls() {
        let empty = Layout::packed(usize::MAX, CLASSES, 0).strides([usize::MAX; 3]);
        call.targets = vec![9; 3];
        for (&field, buffer) in &mut call.buffers {
            if ["class_weights", "correct", "workspace"].contains(&field) {
                continue;
            }
            (buffer.len, buffer.null) = (0, true);
        }
        for layout in [Layout::rows(0, CLASSES), empty, empty.strides([0; 3])] {
            let call = call.clone().layout("logits", layout).layout("dlogits", layout);
            let call = call.problem(|p| p.alignment(64));
            let call = match call.problem.targets_are_probabilities() {
                true => call.layout("targets", layout),
                false => call,
            };
            let expected = if call.backward { vec![] } else { vec!["correct"] };
            assert_eq!(call.run(), Ok(expected), "{layout:?}, {:?}", call.problem);
            for field in ["logits", "dlogits", "targets", "row_weights", "dloss"] {
                let call = call.clone().edit(field, |b| (b.at, b.null) = (b.at + 1, false));
                assert!(call.run().is_ok(), "{field}: {:?}", call.run());
            }
        }
    }
}

#[test]
fn a_promise_of_alignment_that_is_broken() {
    let promise = |bytes| forward().problem(|p| p.alignment(bytes));
    assert!(promise(16).run().is_ok());
    for (field, at) in [("logits", 0), ("dlogits", 6 * PAGE)] {
        let text = format!("{field}: 0x* is not a multiple of 16 bytes");
        promise(16).edit(field, |b| b.at = at + 8).refused("address", "Misaligned", &text);
        let padded = |stride| {
            let layout = Layout::rows(ROWS, CLASSES).row_stride(stride);
            promise(16).layout(field, layout).edit(field, |b| b.len = 64)
        };
        let text = format!("{field}: 0x18 is not a multiple of 16 bytes"); // 6 elements
        padded(6).refused("row stride", "Misaligned", &text);
        assert!(padded(8).run().is_ok());
    }
    let inner = Layout::packed(1, CLASSES, ROWS);
    let call = promise(16).layout("dlogits", inner).layout("logits", inner);
    call.refused("inner stride", "Misaligned", "logits: 0x4 is not a multiple of 16 bytes");
}

#[test]
fn a_gradient_in_place_is_exact_or_refused() {
    let in_place = |call: Call| call.problem(|p| p.in_place(true));
    let text = "dlogits: got other memory than the logits, but the memory and layout of the logits, \
                because the problem says in place is needed";
    for call in calls() {
        let same = |at: usize| {
            let at = call.buffers["logits"].at + at * call.problem.logits.size();
            in_place(call.clone()).edit("dlogits", |b| b.at = at)
        };
        assert!(in_place(call.clone()).without("dlogits").run().is_ok());
        assert!(same(0).run().is_ok());
        in_place(call.clone()).refused("other memory", "Mismatch", text);
        same(CLASSES).refused("next row", "Mismatch", text);
        let padded = Layout::rows(ROWS, CLASSES).row_stride(CLASSES + 1);
        same(0).layout("dlogits", padded).edit("dlogits", |b| b.len += 2).refused(
            "other strides",
            "Mismatch",
            text,
        );
    }
}

#[test]
fn denominators() {
    let call = |reduction, value| {
        let mut call = forward().problem(|p| p.reduction(reduction));
        let losses = if reduction == Reduction::None { ROWS } else { 1 };
        call.buffers.get_mut("loss").unwrap().len = losses;
        call.buffers.get_mut("dloss").unwrap().len = losses;
        let workspace = plan(&call.problem).unwrap().workspace_size(ROWS);
        call.buffers.get_mut("workspace").unwrap().len = workspace;
        call.denominator = Denominator::Value(value);
        call
    };
    assert!(call(Reduction::Mean, 0.0).run().is_ok());
    for value in [-1.0, f64::NAN, f64::INFINITY, -1e-300] {
        let text = format!("denominator: {value} is not allowed; it must be finite and at least 0");
        call(Reduction::Mean, value).refused("value", "Invalid", &text);
    }
    for reduction in [Reduction::None, Reduction::Sum] {
        let text =
            "denominator: 2 is not allowed; it must be unset unless the reduction is the mean";
        call(reduction, 2.0).refused("without a mean", "Invalid", text);
    }
}

#[test]
fn an_upstream_gradient_for_each_row_of_one_loss() {
    for reduction in [Reduction::Sum, Reduction::Mean] {
        let call = forward().problem(|p| p.reduction(reduction)).edit("loss", |b| b.len = 1);
        call.refused("rows", "Mismatch", "dloss: got 3 elements, but 1 is needed");
    }
}

#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn workspaces() {
    for call in calls() {
        let plan = plan(&call.problem).unwrap();
        let needed = plan.workspace_size(ROWS);
        assert!(needed > 0 && needed.is_multiple_of(Workspace::ALIGNMENT), "{needed}");
        assert!(call.clone().edit("workspace", |b| b.len = needed).run().is_ok());
        let text = format!("workspace: {} bytes given, but {needed} are needed", needed - 1);
        let call = |edit: fn(&mut Buffer)| call.clone().edit("workspace", edit);
        call(|_| ()).edit("workspace", |b| b.len = needed - 1).refused("size", "Work", &text);
        let text = "workspace: missing, but every run needs one";
        call(|b| b.null = true).refused("null", "Missing", text);
        let text = "workspace: 0x* is not a multiple of 256 bytes";
        call(|b| b.at += 128).refused("address", "Misaligned", text);
    }
    let plan = plan(&Problem::new(DType::F32, 50_000)).unwrap();
    assert!(plan.workspace_size(usize::MAX) >= plan.workspace_size(1 << 40));
}

/// The first row that holds one, with the value as it is in memory. A GPU's run says nothing, and
/// touches nothing that it should not.
#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn targets_that_are_no_class() {
    let cases: &[(DType, &[i64])] = &[
        (DType::U8, &[4, 255]),
        (DType::U32, &[4, u32::MAX as i64]),
        (DType::I32, &[4, -1, i32::MIN as i64, i32::MAX as i64]),
        (DType::I64, &[4, -1, 1 << 32, (1 << 32) + 2, (1 << 32) - 100, i64::MIN, i64::MAX]),
    ];
    let logits = [DType::F32, DType::F16, DType::F64];
    let logits = logits.into_iter().filter(|logits| logit_types().contains(logits));
    for (logits, (targets, values)) in logits.flat_map(|l| cases.iter().map(move |c| (l, c))) {
        for (&value, backward) in values.iter().flat_map(|v| [(v, false), (v, true)]) {
            for row in thinned(0..ROWS, 1) {
                let mut call = Call::new(logits, *targets, backward);
                call.targets[row..].fill(value);
                let text = format!("targets: row {row} holds {value}, which is not in [0, 4)");
                match on_gpu() {
                    true => drop(call.run().unwrap()),
                    false => call.refused("target", "InvalidTarget", &text),
                }
                assert!(call.problem(|p| p.ignore_index(value)).run().is_ok(), "ignored");
            }
        }
    }
}

/// With many rows, too, on all threads: the first one, and nothing is written. A GPU writes the
/// other rows as ever.
#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn targets_that_are_no_class_among_many() {
    let (rows, classes) = (70_000, 8);
    let problem = Problem::new(DType::F32, classes);
    let problem = problem.reduction(Reduction::None).outputs(Outputs::CROSS_ENTROPY);
    if on_gpu() {
        let case = Case::random(problem, 4196, 1);
        for wrong in [&[0, 77, 4095][..], &[1234], &[4096, 4195]] {
            let mut y: Vec<i64> = (0..4196).map(|row| row % 8).collect();
            wrong.iter().for_each(|&row| y[row] = 8);
            case.clone().targets(&y).check_wrong_targets(wrong);
        }
        return;
    }
    let plan = plan(&problem).unwrap();
    let logits = vec![0.5f32; rows * classes];
    let mut workspace = plan.workspace(rows).unwrap();
    for first in [0, 12_345, rows - 1] {
        let mut targets = vec![7i64; rows];
        targets[first..].fill(8);
        let poison = f32::from_bits(0xa5a5_a5a5);
        let columns = || vec![poison; rows];
        let (mut loss, mut lse, mut entropy) = (columns(), columns(), columns());
        let (mut stats, mut dlogits) = (vec![poison; 2 * rows], vec![poison; rows * classes]);
        let (mut argmax, mut correct) = (vec![-7i64; rows], [-7i64]);
        let args = Args::new(&logits, &targets)
            .loss(&mut loss)
            .lse(&mut lse)
            .stats(&mut stats)
            .dlogits(&mut dlogits)
            .argmax(&mut argmax)
            .correct(&mut correct)
            .entropy(&mut entropy);
        let error = plan.run(args, &mut workspace).unwrap_err();
        assert_eq!(error, Error::InvalidTarget { row: first, value: 8, classes });
        let floats = [loss, lse, entropy, stats, dlogits];
        assert!(floats.iter().flatten().all(|x| x.to_bits() == poison.to_bits()));
        assert!(argmax.iter().chain(&correct).all(|&x| x == -7));
    }
}

#[test]
fn options_of_a_context() {
    let refused = |edit: fn(&mut ContextOptions), text: &str| {
        let mut options = ContextOptions::default();
        edit(&mut options);
        assert_error("context", &Context::new(options).unwrap_err(), "Invalid", text);
    };
    let text = "threads: 1025 is not allowed; it must be in [0, 1024]";
    refused(|options| options.threads = 1025, text);
    let text = format!("threads: {} is not allowed; it must be in [0, 1024]", usize::MAX);
    refused(|options| options.threads = usize::MAX, &text);
    let text = "threads: 2 is not allowed; it must be 0 where parallel_for brings the threads";
    refused(
        |options| {
            options.threads = 2;
            options.parallel_for = Some(Arc::new(|n, task| (0..n).for_each(task)));
        },
        text,
    );
}

#[test]
fn axes_of_a_layout() {
    let error = |shape: &[usize], axis| Layout::axis(shape, axis).unwrap_err();
    let text = "axis: 2 is not allowed; it must be in [0, 2)";
    assert_error("axis", &error(&[2, 3], 2), "Invalid", text);
    let text = "axis: 0 is not allowed; it must be in [0, 0)";
    assert_error("axis", &error(&[], 0), "Invalid", text);
    let text = "shape: got [4294967296, 3, 4294967296], but a product below 2^64 is needed";
    assert_error("shape", &error(&[1 << 32, 3, 1 << 32], 1), "Mismatch", text);
}

#[test]
fn slices_of_the_reference() {
    let (logits, classes, q) = ([0.0; 6], [0i64, 2], [0.5; 6]);
    let index = Problem::new(DType::F64, 3);
    let soft = index.clone().targets(DType::F64);
    let inputs = Inputs::new(&logits, Targets::Classes(&classes));
    let of_soft = Inputs::new(&logits, Targets::Probabilities(&q));
    let one: &[f64] = &[1.0];
    let table = [
        (
            &index,
            Inputs { logits: &logits[..5], ..inputs },
            "logits: got 5 elements, but 3 is needed",
        ),
        (
            &index,
            Inputs { targets: Targets::Classes(&classes[..1]), ..inputs },
            "targets: got 1 elements, but 2 is needed",
        ),
        (
            &soft,
            Inputs { targets: Targets::Probabilities(&q[..5]), ..inputs },
            "targets: got 5 elements, but 6 is needed",
        ),
        (&soft, inputs, "targets: got classes, but probabilities is needed"),
        (&index, of_soft, "targets: got probabilities, but classes is needed"),
        (
            &index,
            Inputs { class_weights: Some(one), ..inputs },
            "class_weights: got 1 elements, but 3 is needed",
        ),
        (
            &index,
            Inputs { row_weights: Some(one), ..inputs },
            "row_weights: got 1 elements, but 2 is needed",
        ),
        (
            &index,
            Inputs { dloss: Some(&logits[..2]), ..inputs },
            "dloss: got 2 elements, but 1 is needed",
        ),
        (
            &index,
            Inputs { targets: Targets::Classes(&[0, 3]), ..inputs },
            "targets: row 1 holds 3, which is not in [0, 3)",
        ),
    ];
    for (problem, inputs, text) in table {
        let error = reference::compute(problem, &inputs).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}
