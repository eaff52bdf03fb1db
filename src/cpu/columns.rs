//! Columns of several short rows: a block holds one class of 32 rows.

use std::ops::Range;

use super::chunk::BLOCKS;
use super::memory::Row;
use super::numbers::InMemory;
use super::scratch::BUFFER;
use super::simd::{LANES, Lanes, Level, Simd};
use super::writer::Writer;
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

/// How many batches are read later than they are asked for.
const AHEAD: usize = 2;

/// Rows and columns of a tile.
const SIDE: usize = 8;

/// How many tiles cover so many classes.
fn tiles(classes: usize) -> usize {
    classes.div_ceil(SIDE)
}

/// The first class of a tile. Tiles overlap where the classes are no multiple of them, and reach beyond
/// the last class where it is in the first tile.
fn first_class(tile: usize, classes: usize) -> usize {
    (tile * SIDE).min(classes.saturating_sub(SIDE))
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
            let mut ahead = all.ahead(AHEAD * LANES * classes, Level::First);
            for _ in 0..blocks {
                ahead.fetch(s);
            }
            all.load(s, 0, len * classes, 0.0, &mut flat[..blocks]);
            flat[blocks..=classes].iter_mut().for_each(|lanes| lanes.0.fill(0.0));
            let flat = Lanes::flat(flat);
            for row in (0..LANES).step_by(SIDE) {
                for first in (0..tiles(classes)).map(|tile| first_class(tile, classes)) {
                    let mut tile = [[0.0; SIDE]; SIDE];
                    for (index, tile) in tile.iter_mut().enumerate() {
                        let at = (row + index) * classes + first;
                        tile.copy_from_slice(&flat[at..at + SIDE]);
                    }
                    s.transpose(&mut tile);
                    for (index, tile) in tile.iter().enumerate() {
                        to[first + index].0[row..row + SIDE].copy_from_slice(tile);
                    }
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
            for row in (0..LANES).step_by(SIDE) {
                for first in (0..tiles(classes)).map(|tile| first_class(tile, classes)) {
                    let mut tile = [[0.0; SIDE]; SIDE];
                    for (index, tile) in tile.iter_mut().enumerate() {
                        tile.copy_from_slice(&from[first + index].0[row..row + SIDE]);
                    }
                    s.transpose(&mut tile);
                    // What a row of few classes writes too much, the next one writes again.
                    for (index, tile) in tile.iter().enumerate() {
                        let at = (row + index) * classes + first;
                        to[at..at + SIDE].copy_from_slice(tile);
                    }
                }
            }
            let mut first = 0;
            for some in flat[..(len * classes).div_ceil(LANES)].chunks(BLOCKS) {
                let count = (len * classes - first).min(some.len() * LANES);
                writer.write_from_memory(s, &all, first, &InMemory::new(some, count), None);
                first += count;
            }
        }
        (None, Arrangement::ByClass) => {
            let first = tensor.row(rows.start, inner);
            for (class, from) in from[..classes].iter().enumerate() {
                let numbers = InMemory::new(std::slice::from_ref(from), len);
                writer.write_from_memory(s, &first.across(class), 0, &numbers, None);
            }
        }
        _ => {
            for (lane, row) in rows.clone().enumerate() {
                if wanted.is_none_or(|wanted| wanted[lane]) {
                    for (x, from) in Lanes::flat_mut(flat).iter_mut().zip(&from[..classes]) {
                        *x = from.0[lane];
                    }
                    let numbers = InMemory::new(&flat[..classes.div_ceil(LANES)], classes);
                    writer.write_from_memory(s, &tensor.row(row, inner), 0, &numbers, None);
                }
            }
        }
    }
}
