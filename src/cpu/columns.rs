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

/// Rows and columns of a tile.
const SIDE: usize = 8;

/// Tiles that cover 32 rows of so many classes: their rows, and their first column. They overlap where
/// the classes are no multiple of a tile, and reach beyond them where they are fewer.
fn tiles(classes: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
    let last = classes.saturating_sub(SIDE);
    let columns = move || (0..classes).step_by(SIDE).map(move |first| first.min(last));
    let rows = (0..LANES).step_by(SIDE).map(|first| first..first + SIDE);
    rows.flat_map(move |rows| columns().map(move |first| (rows.clone(), first)))
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
            flat[blocks..=classes].iter_mut().for_each(|lanes| lanes.0.fill(0.0));
            let flat = Lanes::flat(flat);
            for (rows, first) in tiles(classes) {
                let mut tile = [[0.0; SIDE]; SIDE];
                for (row, tile) in rows.clone().zip(&mut tile) {
                    let at = row * classes + first;
                    tile.copy_from_slice(&flat[at..at + SIDE]);
                }
                s.transpose(&mut tile);
                for (to, tile) in to[first..classes].iter_mut().zip(&tile) {
                    to.0[rows.clone()].copy_from_slice(tile);
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
            let to = Lanes::flat_mut(flat);
            for (rows, first) in tiles(classes) {
                let mut tile = [[0.0; SIDE]; SIDE];
                for (tile, from) in tile.iter_mut().zip(&from[first..classes]) {
                    tile.copy_from_slice(&from.0[rows.clone()]);
                }
                s.transpose(&mut tile);
                // What a row of few classes writes too much, the next one writes again.
                for (row, tile) in rows.zip(&tile) {
                    let at = row * classes + first;
                    to[at..at + SIDE].copy_from_slice(tile);
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
