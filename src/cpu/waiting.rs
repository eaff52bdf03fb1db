//! Rows of a gradient that wait to be written.
//!
//! Memory takes longer to write than the gradient to be made of kept exponentials. So such rows wait,
//! and are written little by little while the exponentials of the next ones are computed.

use super::gradient::Terms;
use super::keep::{Half, Kept};
use super::medium;
use super::memory::{Row, with_element};
use super::numbers::{Affine, InMemory, Mix, Mixed, Numbers, Sloped};
use super::simd::{LANES, Lanes, Line, Simd, Vectorised};
use super::writer::{Special, Writer};

/// Lines that are written at a time while exponentials are computed: as many as a processor lets wait.
const LINES: usize = 64;

/// A packed row that is written later.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub row: Row,
    /// Where its exponentials are kept.
    pub place: usize,
    pub classes: usize,
    pub of: Of,
}

/// What makes a gradient of kept exponentials.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Class { map: Affine, special: Special },
    Probabilities { probabilities: Row, mix: Mix, terms: Terms },
}

/// The rows that wait, in the order in which they are written.
pub(super) struct Queue {
    rows: [Option<Waiting>; medium::ROWS],
    /// How many there are, and which is the next.
    len: usize,
    next: usize,
    /// The classes of the next one that are written.
    written: usize,
    /// The blocks of exponentials that have been computed since.
    computed: usize,
}

impl Queue {
    pub const EMPTY: Queue =
        Queue { rows: [None; medium::ROWS], len: 0, next: 0, written: 0, computed: 0 };

    pub fn push(&mut self, row: Waiting) {
        debug_assert_eq!(row.row.stride, 1);
        self.rows[self.len] = Some(row);
        self.len += 1;
    }

    /// The next row, and how many blocks of it are to be written after so many were computed.
    #[inline(always)]
    fn due(&mut self, computed: usize) -> Option<usize> {
        let row = self.rows[..self.len].get(self.next)?.as_ref()?;
        self.computed += computed;
        let enough = LINES * size_of::<Line>() / row.row.dtype.size();
        (self.computed * LANES >= enough).then(|| std::mem::take(&mut self.computed))
    }
}

impl Writer<'_> {
    /// Lets a row wait if it goes past the caches, else writes it.
    #[inline(always)]
    pub fn write_or_wait<S: Simd>(&mut self, s: S, row: Waiting, kept: &Kept) {
        if self.streams() && row.row.stride == 1 {
            self.waiting.push(row);
        } else {
            let kept = (&*kept.e, &*kept.slope);
            s.call(FromKept { writer: self, row: &row, kept, at: 0, blocks: usize::MAX });
        }
    }

    /// Writes as much of what waits as has been computed since; `kept` has the exponentials.
    #[inline(always)]
    pub fn write_some<S: Simd>(&mut self, s: S, kept: &Half, computed: usize) {
        if let Some(blocks) = self.waiting.due(computed) {
            self.write_blocks(s, kept, blocks);
        }
    }

    /// Writes all that waits.
    #[inline(always)]
    pub fn write_waiting<S: Simd>(&mut self, s: S, kept: &Half) {
        while self.waiting.next < self.waiting.len {
            self.write_blocks(s, kept, usize::MAX);
        }
        self.waiting = Queue::EMPTY;
    }

    /// Writes blocks of the next row, no more than `blocks`.
    #[inline(always)]
    fn write_blocks<S: Simd>(&mut self, s: S, kept: &Half, blocks: usize) {
        let Some(row) = self.waiting.rows[self.waiting.next] else { return };
        let (kept, at) = (kept.of_row(row.place), self.waiting.written);
        let written = s.call(FromKept { writer: self, row: &row, kept, at, blocks });
        let whole = written == row.classes;
        self.waiting.next += usize::from(whole);
        self.waiting.written = if whole { 0 } else { written };
    }
}

/// Writes blocks of a row from `at` on, no more than `blocks`. Gives the place that it comes to.
struct FromKept<'a, 'b> {
    writer: &'a mut Writer<'b>,
    row: &'a Waiting,
    /// Exponentials, and slopes, if there are any.
    kept: (&'a [Lanes], &'a [Lanes]),
    at: usize,
    blocks: usize,
}

impl Vectorised for FromKept<'_, '_> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        let ((e, slopes), classes) = (self.kept, self.row.classes);
        match &self.row.of {
            Of::Class { map, special } => {
                let numbers = InMemory::mapped(e, classes, *map);
                if slopes.is_empty() {
                    return self.write(s, &numbers, *special);
                }
                let slopes = InMemory::new(slopes, classes);
                self.write(s, &Sloped { numbers, slopes }, *special)
            }
            Of::Probabilities { probabilities, mix, terms } => {
                let (e, mix) = (InMemory::new(e, classes), *mix);
                with_element!(probabilities.dtype, T => {
                    let probabilities = probabilities.packed::<T>(0..classes);
                    self.write(s, &Mixed { e, probabilities, mix, terms }, None)
                })
            }
        }
    }
}

impl FromKept<'_, '_> {
    #[inline(always)]
    fn write<S: Simd>(self, s: S, numbers: &impl Numbers<S>, special: Special) -> usize {
        self.writer.write_part(s, &self.row.row, 0, numbers, special, self.at, self.blocks)
    }
}
