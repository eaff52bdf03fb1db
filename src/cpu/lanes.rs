//! Loops over a chunk of a row, in a shape that compilers turn into vector code, and in an order
//! that depends on nothing but the length.

/// Columns that are worked on together: few enough for the first-level cache.
pub(super) const CHUNK: usize = 1024;

/// Independent partial results.
const LANES: usize = 32;

/// Additions of a lane in `f32` before it is added to its `f64` total. Equal addends make all
/// rounding errors point the same way; 8 of them stay within 2 units of rounding.
const CHAIN: usize = 8;

/// The sum of `f` over the elements of two slices of the same length.
pub(super) fn sum_by(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    debug_assert!(a.len() == b.len());
    let mut totals = [0f64; LANES];
    for (a, b) in a.chunks(CHAIN * LANES).zip(b.chunks(CHAIN * LANES)) {
        let mut lanes = [0f32; LANES];
        let (a, a_rest) = a.as_chunks::<LANES>();
        let (b, b_rest) = b.as_chunks::<LANES>();
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                lanes[lane] += f(a[lane], b[lane]);
            }
        }
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            *lane += f(a, b);
        }
        for (total, lane) in totals.iter_mut().zip(lanes) {
            *total += f64::from(lane);
        }
    }
    totals.into_iter().sum()
}

/// The maximum of a slice and whether it holds a NaN; the maximum ignores NaNs.
pub(super) fn max(x: &[f32]) -> (f32, bool) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut nans = [false; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for x in chunks {
        for lane in 0..LANES {
            lanes[lane] = if x[lane] > lanes[lane] { x[lane] } else { lanes[lane] };
            nans[lane] |= x[lane].is_nan();
        }
    }
    for ((lane, nan), &x) in lanes.iter_mut().zip(&mut nans).zip(rest) {
        *lane = if x > *lane { x } else { *lane };
        *nan |= x.is_nan();
    }
    (lanes.into_iter().fold(f32::NEG_INFINITY, f32::max), nans.contains(&true))
}

/// How many elements are 0.
pub(super) fn count_zeros(x: &[f32]) -> u32 {
    x.iter().map(|&x| u32::from(x == 0.0)).sum()
}

/// f of each element.
pub(super) fn map(out: &mut [f32], a: &[f32], f: impl Fn(f32) -> f32) {
    for (out, &a) in out.iter_mut().zip(a) {
        *out = f(a);
    }
}

/// f of each pair of elements.
pub(super) fn map2(out: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) {
    for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
        *out = f(a, b);
    }
}
