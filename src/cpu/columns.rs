//! Columns of several short rows: a block holds one class of 32 rows.

use std::ops::Range;

use super::chunk::BLOCKS;
use super::memory::Row;
use super::scratch::BUFFER;
use super::simd::{LANES, Lanes, Simd};
use super::writer::{Numbers, Writer};
use crate::call::Strided;

/// How the rows of a batch lie in memory.
enum Arrangement {
    /// One behind the other.
    Packed(Row),
    /// Each class of all rows in one stretch.
    ByClass,
    Other,
}

impl Strided {
    fn arrangement(&self, inner: usize, rows: &Range<usize>, classes: usize) -> Arrangement {
        let [outer_stride, stride, inner_stride] = self.strides;
        let first = self.row(rows.start, inner);
        if inner == 1 && stride == 1 && (outer_stride == classes || rows.len() == 1) {
            Arrangement::Packed(first)
        } else if inner_stride == 1 && rows.start % inner + rows.len() <= inner {
            Arrangement::ByClass
        } else {
            Arrangement::Other
        }
    }
}

/// Reads at most 32 rows, all or those that are `wanted`; the others are 0. `flat` is for its own use.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn read<S: Simd>(
    s: S,
    tensor: &Strided,
    inner: usize,
    rows: &Range<usize>,
    classes: usize,
    wanted: Option<&[bool; LANES]>,
    flat: &mut [Lanes; BUFFER],
    to: &mut [Lanes; BUFFER],
) {
    let len = rows.len();
    match (wanted, tensor.arrangement(inner, rows, classes)) {
        (None, Arrangement::Packed(all)) => {
            let blocks = (len * classes).div_ceil(LANES);
            all.load(s, 0, len * classes, 0.0, &mut flat[..blocks]);
            flat[blocks..classes].iter_mut().for_each(|lanes| lanes.0.fill(0.0));
            let flat = Lanes::flat(&flat[..classes]);
            for (class, to) in to[..classes].iter_mut().enumerate() {
                for (row, to) in to.0.iter_mut().enumerate() {
                    *to = flat[row * classes + class];
                }
            }
        }
        (None, Arrangement::ByClass) => {
            let first = tensor.row(rows.start, inner);
            for (class, to) in to[..classes].iter_mut().enumerate() {
                first.across(class).load(s, 0, len, 0.0, std::slice::from_mut(to));
            }
        }
        _ => {
            to[..classes].iter_mut().for_each(|lanes| lanes.0.fill(0.0));
            for (lane, row) in rows.clone().enumerate() {
                if wanted.is_none_or(|wanted| wanted[lane]) {
                    let blocks = &mut flat[..classes.div_ceil(LANES)];
                    tensor.row(row, inner).load(s, 0, classes, 0.0, blocks);
                    for (to, &x) in to.iter_mut().zip(&Lanes::flat(blocks)[..classes]) {
                        to.0[lane] = x;
                    }
                }
            }
        }
    }
}

/// Writes at most 32 rows, all or those that are `wanted`. `flat` is for its own use.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn write<S: Simd>(
    s: S,
    tensor: &Strided,
    inner: usize,
    rows: &Range<usize>,
    classes: usize,
    wanted: Option<&[bool; LANES]>,
    from: &[Lanes; BUFFER],
    flat: &mut [Lanes; BUFFER],
    writer: &mut Writer,
) {
    let len = rows.len();
    match (wanted, tensor.arrangement(inner, rows, classes)) {
        (None, Arrangement::Packed(all)) => {
            let to = Lanes::flat_mut(&mut flat[..classes]);
            for (class, from) in from[..classes].iter().enumerate() {
                for (row, from) in from.0.iter().enumerate() {
                    to[row * classes + class] = *from;
                }
            }
            let mut first = 0;
            for some in flat[..(len * classes).div_ceil(LANES)].chunks(BLOCKS) {
                let count = (len * classes - first).min(some.len() * LANES);
                writer.write(s, &all, first, &Numbers::new(some, count));
                first += count;
            }
        }
        (None, Arrangement::ByClass) => {
            let first = tensor.row(rows.start, inner);
            for (class, from) in from[..classes].iter().enumerate() {
                writer.write(
                    s,
                    &first.across(class),
                    0,
                    &Numbers::new(std::slice::from_ref(from), len),
                );
            }
        }
        _ => {
            for (lane, row) in rows.clone().enumerate() {
                if wanted.is_none_or(|wanted| wanted[lane]) {
                    for (x, from) in Lanes::flat_mut(flat).iter_mut().zip(&from[..classes]) {
                        *x = from.0[lane];
                    }
                    let row = tensor.row(row, inner);
                    writer.write(
                        s,
                        &row,
                        0,
                        &Numbers::new(&flat[..classes.div_ceil(LANES)], classes),
                    );
                }
            }
        }
    }
}
