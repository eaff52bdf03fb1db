//! Rows of a gradient that wait to be written.
//!
//! Memory takes longer to write than the gradient to be made of kept exponentials. So such rows wait,
//! and are written little by little while the exponentials of the next ones are computed.

use half::{bf16, f16};

use super::keep::Half;
use super::medium;
use super::memory::Row;
use super::numbers::{Affine, InMemory};
use super::simd::{LANES, Line, Simd, Vectorised};
use super::writer::{Special, Writer};
use crate::DType;

/// Lines that are written at a time while exponentials are computed: as many as a processor lets wait.
const LINES: usize = 64;

/// A packed row that is written later.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub row: Row,
    /// Where its exponentials are kept.
    pub place: usize,
    pub classes: usize,
    /// From exponentials to the gradient.
    pub map: Affine,
    pub special: Special,
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
    /// Writes as much of what waits as has been computed since; `kept` has the exponentials.
    #[inline(always)]
    pub fn write_some<S: Simd>(&mut self, s: S, kept: &Half, computed: usize) {
        if let Some(blocks) = self.waiting.due(computed) {
            s.call(Blocks { writer: self, kept, blocks });
        }
    }

    /// Writes all that waits.
    #[inline(always)]
    pub fn write_waiting<S: Simd>(&mut self, s: S, kept: &Half) {
        while self.waiting.next < self.waiting.len {
            s.call(Blocks { writer: self, kept, blocks: usize::MAX });
        }
        self.waiting = Queue::EMPTY;
    }
}

/// Writes blocks of the next row, no more than `blocks`.
struct Blocks<'a, 'b> {
    writer: &'a mut Writer<'b>,
    kept: &'a Half<'a>,
    blocks: usize,
}

impl Vectorised for Blocks<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Blocks { writer, kept, blocks } = self;
        let Some(Waiting { row, place, classes, map, special }) =
            writer.waiting.rows[writer.waiting.next]
        else {
            return;
        };
        let (data, at) = (row.data, writer.waiting.written);
        let numbers = InMemory::mapped(kept.exponentials(place), classes, map);
        let written = match row.dtype {
            DType::F32 => writer.stream(s, data.cast::<f32>(), &numbers, special, at, blocks),
            DType::F16 => writer.stream(s, data.cast::<f16>(), &numbers, special, at, blocks),
            DType::BF16 => writer.stream(s, data.cast::<bf16>(), &numbers, special, at, blocks),
            other => unreachable!("a kernel of {other}"),
        };
        writer.waiting.written = written;
        if written == classes {
            (writer.waiting.next, writer.waiting.written) = (writer.waiting.next + 1, 0);
        }
    }
}
