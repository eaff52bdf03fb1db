//! Columns of several short rows: a block holds one class of 32 rows.

use std::ops::Range;

use super::chunk::BLOCKS;
use super::memory::Row;
use super::numbers::InMemory;
use super::scratch::BUFFER;
use super::simd::{LANES, Lanes, Level, Simd, TILE};
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

/// The first row and class of each tile of a batch. Tiles overlap where the classes are no multiple of
/// them, and reach beyond the last class where it is in the first tile.
#[inline(always)]
fn tiles(classes: usize) -> impl Iterator<Item = (usize, usize)> {
    let (rows, columns) = TILE;
    let last = classes.saturating_sub(columns);
    (0..LANES)
        .step_by(rows)
        .flat_map(move |row| (0..classes).step_by(columns).map(move |class| (row, class.min(last))))
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
            let to = Lanes::flat_mut(to);
            for (row, class) in tiles(classes) {
                s.to_columns(
                    &flat[row * classes + class..],
                    classes,
                    &mut to[class * LANES + row..],
                );
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
            let (from, to) = (Lanes::flat(from), Lanes::flat_mut(flat));
            // What a row of few classes writes too much, the next one writes again.
            for (row, class) in tiles(classes) {
                s.to_rows(&from[class * LANES + row..], &mut to[row * classes + class..], classes);
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
