//! Labels as targets: one-hot rows of class indices, and distributions of multi-hot rows. Host memory
//! alone.

use crate::call::Strided;
use crate::checks::Checks;
use crate::site::Host;
use crate::{Error, Problem, Result, View, ViewMut};

/// Writes a 1 at the class of each row and 0 elsewhere.
///
/// `indices`: one class for each row, of an integer type. `to`: (outer, classes, inner), of a
/// floating-point type; a view without a layout is packed rows.
///
/// ```
/// let mut rows = [0f32; 6];
/// xent::one_hot(&[0i64, 2], 3, &mut rows)?;
/// assert_eq!(rows, [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
/// # Ok::<(), xent::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidTarget`] for an index that is no class; those of views that do not fit, are of a wrong
/// type, or overlap. Nothing has then been written.
pub fn one_hot<'a>(
    indices: impl Into<View<'a>>,
    classes: usize,
    to: impl Into<ViewMut<'a>>,
) -> Result<()> {
    let (indices, to) = (indices.into(), to.into());
    let problem = problem("to", &to.read_too(), classes)?;
    if indices.dtype.is_float() {
        return Err(Error::mismatch("indices", indices.dtype, "an integer type"));
    }
    let mut checks = Checks::new(&problem, "to", &to.read_too(), None, &Host)?;
    let written = checks.strided("to", &to.read_too(), problem.logits, true)?;
    let (rows, inner) = checks.rows()?;
    let read = checks.packed("indices", &indices, indices.dtype, rows, false)?;
    checks.apart()?;
    let read = Strided { data: read.cast_mut(), dtype: indices.dtype, strides: [inner, 0, 1] };
    let class = |row| {
        let value = read.index(row);
        let class = usize::try_from(value).ok().filter(|&class| class < classes);
        class.ok_or(Error::InvalidTarget { row, value, classes })
    };
    (0..rows).try_for_each(|row| class(row).map(drop))?;
    let mut numbers = vec![0.0; classes];
    for row in 0..rows {
        let class = class(row)?;
        numbers[class] = 1.0;
        written.row(row, inner).store_f64(&numbers);
        numbers[class] = 0.0;
    }
    Ok(())
}

/// Divides each row of labels by its sum: several classes of a row share its target evenly, or as their
/// labels say.
///
/// `labels`: (outer, classes, inner), of any type, in whichever layout; a view without one is packed
/// rows. `to`: the same shape, of a floating-point type.
///
/// ```
/// let mut q = [0f32; 4];
/// xent::distributions(&[1u8, 0, 0, 1], 4, &mut q)?;
/// assert_eq!(q, [0.5, 0.0, 0.0, 0.5]);
/// # Ok::<(), xent::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a label that is negative or not finite, and for a row without a positive one;
/// those of views that do not fit, are of a wrong type, or overlap. Nothing has then been written.
pub fn distributions<'a>(
    labels: impl Into<View<'a>>,
    classes: usize,
    to: impl Into<ViewMut<'a>>,
) -> Result<()> {
    let (labels, to) = (labels.into(), to.into());
    let problem = problem("to", &to.read_too(), classes)?;
    let mut checks = Checks::new(&problem, "to", &to.read_too(), None, &Host)?;
    let written = checks.strided("to", &to.read_too(), problem.logits, true)?;
    let read = checks.strided("labels", &labels, labels.dtype, false)?;
    checks.apart()?;
    let (rows, inner) = checks.rows()?;
    let mut numbers = vec![0.0; classes];
    let mut sums = Vec::with_capacity(rows);
    for row in 0..rows {
        read.row(row, inner).load_f64(&mut numbers);
        let sum = sum("labels", &numbers, row)?;
        if sum == 0.0 {
            let value = format!("a sum of 0 in row {row}");
            return Err(Error::invalid("labels", value, "above 0 for some class of each row"));
        }
        sums.push(sum);
    }
    for (row, sum) in sums.into_iter().enumerate() {
        read.row(row, inner).load_f64(&mut numbers);
        numbers.iter_mut().for_each(|x| *x /= sum);
        written.row(row, inner).store_f64(&numbers);
    }
    Ok(())
}

/// Refuses what are not distributions: each row is at least 0, and adds up to 1 within a tolerance.
///
/// `q`: (outer, classes, inner), of a floating-point type; a view without a layout is packed rows.
///
/// # Errors
/// [`Error::Invalid`] names the first row that is none, and what is wrong with it; those of views that do
/// not fit or are of a wrong type.
pub fn check_distributions<'a>(
    q: impl Into<View<'a>>,
    classes: usize,
    tolerance: f64,
) -> Result<()> {
    let q = q.into();
    if !(tolerance >= 0.0 && tolerance.is_finite()) {
        return Err(Error::invalid("tolerance", tolerance, "finite and at least 0"));
    }
    let problem = problem("q", &q, classes)?;
    let mut checks = Checks::new(&problem, "q", &q, None, &Host)?;
    let read = checks.strided("q", &q, q.dtype, false)?;
    let (rows, inner) = checks.rows()?;
    let mut numbers = vec![0.0; classes];
    for row in 0..rows {
        read.row(row, inner).load_f64(&mut numbers);
        let sum = sum("q", &numbers, row)?;
        if (sum - 1.0).abs() > tolerance {
            let value = format!("a sum of {sum} in row {row}");
            return Err(Error::invalid("q", value, format!("within {tolerance} of 1")));
        }
    }
    Ok(())
}

/// What checks rows of this view.
fn problem(field: &'static str, view: &View<'_>, classes: usize) -> Result<Problem> {
    if !view.dtype.is_float() {
        return Err(Error::mismatch(field, view.dtype, "a floating-point type"));
    }
    let problem = Problem::new(view.dtype, classes);
    problem.validate().map(|()| problem)
}

/// The sum of a row without negative numbers.
fn sum(field: &'static str, numbers: &[f64], row: usize) -> Result<f64> {
    match numbers.iter().position(|x| !(*x >= 0.0 && x.is_finite())) {
        None => Ok(numbers.iter().sum()),
        Some(class) => {
            let value = format!("{} in row {row}, class {class}", numbers[class]);
            Err(Error::invalid(field, value, "finite and at least 0"))
        }
    }
}
