//! Targets from labels.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use super::convert::{Outcome, choice, reach, size, strided};
use super::enums::*;
use super::guard;
use crate::{DType, Layout, View, ViewMut};

/// Writes a 1 at the class of each row and 0 elsewhere: one-hot targets of class indices. All of it is
/// in host memory. Allocates one row.
///
/// @param outer         rows before the class axis
/// @param classes       from 1 to 2^31 - 1
/// @param inner         rows after the class axis. 0 is 1
/// @param indices       one class index for each row
/// @param indices_type  their type, that of an integer
/// @param to            where the rows go, (outer, classes, inner); untouched if the call fails
/// @param to_dtype      their type
/// @param to_strides    their three strides; NULL or all 0 is packed
/// @return XENT_STATUS_OK; XENT_STATUS_INVALID_TARGET for an index that is no class; the 1xx of wrong
///         arguments
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_one_hot(
    outer: i64,
    classes: i64,
    inner: i64,
    indices: *const c_void,
    indices_type: MaybeUninit<xent_target>,
    to: *mut c_void,
    to_dtype: MaybeUninit<xent_dtype>,
    to_strides: *const i64,
) -> xent_status {
    guard(|| {
        let shape = shape(outer, classes, inner)?;
        let (classes, rows) = (shape.classes, shape.outer.saturating_mul(shape.inner));
        let indices_type = choice("indices_type", indices_type)?.into();
        let to_dtype = choice("to_dtype", to_dtype)?.or(DType::F32);
        // SAFETY: the caller's buffers and strides.
        let (indices, to) = unsafe {
            let layout = layout("to_strides", shape, to_strides)?;
            let to = ViewMut::from_raw(to.cast(), reach(&layout), to_dtype).layout(layout);
            (View::from_raw(indices.cast(), rows, indices_type), to)
        };
        Ok(crate::one_hot(indices, classes, to)?)
    })
}

/// Divides each row of labels by its sum: several classes of a row share its target evenly, or as
/// their labels say. All of it is in host memory. Allocates one row, and a number for each.
///
/// @param outer           rows before the class axis
/// @param classes         from 1 to 2^31 - 1
/// @param inner           rows after the class axis. 0 is 1
/// @param labels          at least 0 and finite, (outer, classes, inner)
/// @param labels_type     the type of a label; XENT_TARGET_U8 for 0 and 1, say
/// @param labels_strides  their three strides; NULL or all 0 is packed
/// @param to              where the rows go, (outer, classes, inner); untouched if the call fails
/// @param to_dtype        their type
/// @param to_strides      their three strides; NULL or all 0 is packed
/// @return XENT_STATUS_OK; XENT_STATUS_INVALID_ARGUMENT for a label that is negative or not finite,
///         and for a row without a positive one; the 1xx of wrong arguments
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_distributions(
    outer: i64,
    classes: i64,
    inner: i64,
    labels: *const c_void,
    labels_type: MaybeUninit<xent_target>,
    labels_strides: *const i64,
    to: *mut c_void,
    to_dtype: MaybeUninit<xent_dtype>,
    to_strides: *const i64,
) -> xent_status {
    guard(|| {
        let shape = shape(outer, classes, inner)?;
        let labels_type = choice("labels_type", labels_type)?.into();
        let to_dtype = choice("to_dtype", to_dtype)?.or(DType::F32);
        // SAFETY: the caller's buffers and strides.
        let (labels, to) = unsafe {
            let from = layout("labels_strides", shape, labels_strides)?;
            let labels = View::from_raw(labels.cast(), reach(&from), labels_type).layout(from);
            let layout = layout("to_strides", shape, to_strides)?;
            (labels, ViewMut::from_raw(to.cast(), reach(&layout), to_dtype).layout(layout))
        };
        Ok(crate::distributions(labels, shape.classes, to)?)
    })
}

/// Refuses what are not distributions: each row is at least 0, and adds up to 1 within a tolerance.
/// For host memory. Allocates one row.
///
/// @param outer      rows before the class axis
/// @param classes    from 1 to 2^31 - 1
/// @param inner      rows after the class axis. 0 is 1
/// @param q          the rows, (outer, classes, inner)
/// @param q_dtype    their type
/// @param q_strides  their three strides; NULL or all 0 is packed
/// @param tolerance  finite and at least 0
/// @return XENT_STATUS_OK; XENT_STATUS_INVALID_ARGUMENT for a row that is none, and the last error
///         names the first and what is wrong with it; the 1xx of wrong arguments
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xent_check_distributions(
    outer: i64,
    classes: i64,
    inner: i64,
    q: *const c_void,
    q_dtype: MaybeUninit<xent_dtype>,
    q_strides: *const i64,
    tolerance: f64,
) -> xent_status {
    guard(|| {
        let shape = shape(outer, classes, inner)?;
        let q_dtype = choice("q_dtype", q_dtype)?.or(DType::F32);
        // SAFETY: the caller's buffer and strides.
        let q = unsafe {
            let layout = layout("q_strides", shape, q_strides)?;
            View::from_raw(q.cast(), reach(&layout), q_dtype).layout(layout)
        };
        Ok(crate::check_distributions(q, shape.classes, tolerance)?)
    })
}

/// Packed rows of labels.
fn shape(outer: i64, classes: i64, inner: i64) -> Outcome<Layout> {
    let (outer, classes) = (size("outer", outer)?, size("classes", classes)?);
    Ok(Layout::packed(outer, classes, size("inner", inner)?.max(1)))
}

/// The same rows with the caller's strides.
///
/// # Safety
/// `strides` is NULL or points to three.
unsafe fn layout(field: &'static str, packed: Layout, strides: *const i64) -> Outcome<Layout> {
    // SAFETY: the caller's promise.
    let strides = unsafe { strides.cast::<[i64; 3]>().as_ref() };
    strided(field, packed, strides.copied().unwrap_or_default())
}
