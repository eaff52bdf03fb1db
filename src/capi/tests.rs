use std::ffi::CStr;
use std::fmt::Write;
use std::mem::offset_of;
use std::ptr::null_mut;

use super::convert::{Failure, load};
use super::enums::*;
use super::structs::*;
use super::workspace::xent_workspace;
use super::*;

fn last_error() -> String {
    // SAFETY: the text of this thread.
    unsafe { CStr::from_ptr(xent_last_error()) }.to_str().unwrap().into()
}

#[test]
fn a_panic_becomes_a_status() {
    std::thread::spawn(|| {
        assert_eq!(last_error(), "");
        assert_eq!(guard(|| panic!("one {}", 1)), xent_status::Internal);
        assert_eq!(last_error(), "bug in xent, please report it: one 1");
        assert_eq!(guard(|| std::panic::panic_any(7)), xent_status::Internal);
        assert_eq!(last_error(), "bug in xent, please report it: a panic without a text");
    })
    .join()
    .unwrap();
}

#[test]
fn the_last_error_outlives_success_and_has_no_nul() {
    let fail = |message: &str| {
        guard(|| Err(Failure { status: xent_status::Overlap, message: message.into() }))
    };
    assert_eq!(fail("a\0b"), xent_status::Overlap);
    assert_eq!(last_error(), "a\u{fffd}b");
    assert_eq!(guard(|| Ok(())), xent_status::Ok);
    assert_eq!(last_error(), "a\u{fffd}b");
    std::thread::spawn(|| assert_eq!(last_error(), "")).join().unwrap();
}

/// A struct as a newer or older program, or one that forgot its size, would hand it over.
#[repr(C)]
#[derive(Clone, Copy)]
struct Other {
    problem: xent_problem,
    tail: [u64; 2],
}

fn load_as(struct_size: usize, tail: [u64; 2]) -> Result<xent_problem, Failure> {
    // SAFETY: zeros are a value of it.
    let mut other: Other = unsafe { std::mem::zeroed() };
    other.problem.classes = 7;
    other.problem.struct_size = struct_size;
    other.tail = tail;
    // SAFETY: as large as its size says, if that is a size.
    unsafe { load((&raw const other).cast()) }
}

#[test]
fn structs_of_other_versions() {
    let known = size_of::<xent_problem>();
    assert_eq!(load_as(known, [1, 1]).unwrap().classes, 7);
    assert_eq!(load_as(known + 16, [0, 0]).unwrap().classes, 7);
    assert_eq!(load_as(known + 8, [0, 1]).unwrap().classes, 7);
    for (size, tail) in [
        (0, [0, 0]),
        (8, [0, 0]),
        (known - 1, [0, 0]),
        (known + 16, [0, 1 << 63]),
        (usize::MAX, [0, 0]),
    ] {
        let failure = load_as(size, tail).map(|problem| problem.classes).unwrap_err();
        assert_eq!(failure.status, xent_status::VersionMismatch, "{size}: {}", failure.message);
        assert!(failure.message.starts_with("xent_problem: "), "{}", failure.message);
    }
    // SAFETY: NULL is refused.
    let failure = unsafe { load::<xent_problem>(null_mut()) }.map(|_| ()).unwrap_err();
    assert_eq!(failure.status, xent_status::NullPointer);
}

/// A line for each struct and each of its fields: offset and size, like tests/c/layouts.c.
macro_rules! layouts {
    ($($name:ident { $($field:ident),* $(,)? })*) => {{
        let mut text = String::new();
        $(
            writeln!(text, "{} {}", stringify!($name), size_of::<$name>()).unwrap();
            // SAFETY: any bytes are a value of it.
            let zero: $name = unsafe { std::mem::zeroed() };
            let mut sum = 0;
            $(
                let (offset, size) = (offset_of!($name, $field), size_of_val(&zero.$field));
                writeln!(text, "  {} {offset} {size}", stringify!($field)).unwrap();
                sum += size;
            )*
            assert_eq!(sum, size_of::<$name>(), "{} has padding", stringify!($name));
        )*
        text
    }};
}

#[test]
#[cfg(target_pointer_width = "64")]
fn layouts_are_those_of_c() {
    let structs = layouts! {
        xent_context_options {
            struct_size, device, ordinal, threads, reserved, parallel_for, parallel_for_user,
            cache_directory,
        }
        xent_problem {
            struct_size, classes, logits_dtype, dlogits_dtype, target_type, reduction, outputs,
            flags, ignore_index, label_smoothing, logit_scale, softcap, z_loss, expected_rows,
            alignment, operation, input, clip, renormalise, clip_value, unit, output_dtype,
        }
        xent_args {
            struct_size, outer, inner, logits, logits_strides, targets, target_strides,
            class_weights, class_weights_count, row_weights, dloss, dloss_stride, denominator_kind,
            reserved, denominator_value, denominator_pointer, loss, lse, stats, dlogits,
            dlogits_strides, argmax, correct, entropy, report, workspace, workspace_size, stream,
            element_weights, element_weights_strides, pos_weights, output, output_strides,
        }
        xent_backward_args {
            struct_size, outer, inner, logits, logits_strides, targets, target_strides,
            class_weights, class_weights_count, row_weights, dloss, dloss_stride, denominator_kind,
            reserved, denominator_value, denominator_pointer, stats, dlogits, dlogits_strides,
            report, workspace, workspace_size, stream, output, output_strides, doutput,
            doutput_strides, ddlogits, ddlogits_strides,
        }
        xent_report { count, row, value, reserved }
        xent_workspace { data, size }
    };
    let enums = [
        ("xent_status", size_of::<xent_status>()),
        ("xent_dtype", size_of::<xent_dtype>()),
        ("xent_target", size_of::<xent_target>()),
        ("xent_operation", size_of::<xent_operation>()),
        ("xent_form", size_of::<xent_form>()),
        ("xent_clip", size_of::<xent_clip>()),
        ("xent_renormalise", size_of::<xent_renormalise>()),
        ("xent_unit", size_of::<xent_unit>()),
        ("xent_preset", size_of::<xent_preset>()),
        ("xent_reduction", size_of::<xent_reduction>()),
        ("xent_device", size_of::<xent_device>()),
        ("xent_denominator", size_of::<xent_denominator>()),
        ("xent_output", size_of::<xent_output>()),
        ("xent_flag", size_of::<xent_flag>()),
    ];
    let enums: String = enums.map(|(name, size)| format!("{name} {size}\n")).concat();
    assert_eq!(enums + &structs, include_str!("../../tests/c/layouts.txt"));
}
