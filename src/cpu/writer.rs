//! Writes gradients.
//!
//! What is larger than the caches goes past them: a non-temporal store writes a whole line without
//! reading it first, and leaves in the caches what is still needed. Rows begin and end within lines; a
//! line that is not yet whole is kept until the next row completes it, so that it is written once.
#![allow(unsafe_code)] // memory of a call

use super::memory::{Element, Row, with_element};
use super::numbers::{InMemory, Numbers};
use super::simd::{LANES, Lanes, Line, Simd, Vectorised};
use super::waiting::Queue;

const LINE: usize = size_of::<Line>();

/// Writes rows of a gradient, best in the order of memory.
pub(super) struct Writer<'a> {
    streams: bool,
    /// A line that is not yet whole: its address, and the bytes of it that are to be written.
    line: &'a mut Line,
    base: *mut u8,
    start: usize,
    end: usize,
    pub waiting: Queue,
}

/// One of the numbers that is another one.
pub(super) type Special = Option<(usize, f32)>;

impl<'a> Writer<'a> {
    /// `streams`: past the caches. The line holds anything.
    pub fn new(streams: bool, line: &'a mut Line) -> Self {
        let (base, start, end) = (std::ptr::null_mut(), 0, 0);
        Writer { streams, line, base, start, end, waiting: Queue::EMPTY }
    }

    /// Whether rows can wait.
    pub fn streams(&self) -> bool {
        self.streams
    }

    /// [`Writer::write`] in a function of its own.
    #[inline(always)]
    pub fn write_from_memory<S: Simd>(
        &mut self,
        s: S,
        row: &Row,
        first: usize,
        numbers: &InMemory,
        special: Special,
    ) {
        s.call(FromMemory { writer: self, row, first, numbers, special });
    }

    /// Writes numbers for the classes of a row from `first` on, rounded to nearest even.
    #[inline(always)]
    pub fn write<S: Simd>(
        &mut self,
        s: S,
        row: &Row,
        first: usize,
        numbers: &impl Numbers<S>,
        special: Special,
    ) {
        self.write_part(s, row, first, numbers, special, 0, usize::MAX);
    }

    /// Writes some of them: past the caches those from `at` on, no more whole blocks than `blocks`, else
    /// all. Gives the place that it comes to.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub fn write_part<S: Simd>(
        &mut self,
        s: S,
        row: &Row,
        first: usize,
        numbers: &impl Numbers<S>,
        special: Special,
        at: usize,
        blocks: usize,
    ) -> usize {
        with_element!(row.dtype, T => {
            self.write_as::<S, T>(s, row, first, numbers, special, at, blocks)
        })
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn write_as<S: Simd, T: Element>(
        &mut self,
        s: S,
        row: &Row,
        first: usize,
        numbers: &impl Numbers<S>,
        special: Special,
        at: usize,
        blocks: usize,
    ) -> usize {
        let data = row.data.cast::<T>().wrapping_add(first * row.stride);
        if row.stride == 1 && self.streams {
            return self.stream(s, data, numbers, special, at, blocks);
        }
        let len = numbers.len();
        let whole = if row.stride == 1 { len - len % LANES } else { 0 };
        for at in (0..whole).step_by(LANES) {
            let block = numbers.block(s, at);
            // SAFETY: the call checked every class of the row, and no other thread has this row.
            T::store(s, block, unsafe { &mut *data.add(at).cast::<[T; LANES]>() });
        }
        for first in (whole..len).step_by(LANES) {
            let lanes = rounded::<S, T>(s, numbers, None, first);
            for (at, lane) in (first..len).zip(lanes.0) {
                // SAFETY: as above.
                unsafe { data.add(at * row.stride).write(lane) };
            }
        }
        if let Some((at, value)) = special {
            // SAFETY: as above.
            unsafe { data.add(at * row.stride).write(T::round(s, value)) };
        }
        len
    }

    /// Writes numbers from `at` on past the caches, no more whole blocks than `blocks`. Gives the
    /// place that it comes to, where a line begins or nothing is left.
    #[inline(always)]
    fn stream<S: Simd, T: Element>(
        &mut self,
        s: S,
        data: *mut T,
        numbers: &impl Numbers<S>,
        special: Special,
        mut at: usize,
        blocks: usize,
    ) -> usize {
        let (len, per_line) = (numbers.len(), LINE / size_of::<T>());
        let into_line = data.addr() % LINE / size_of::<T>();
        if at == 0 && into_line > 0 {
            at = len.min(per_line - into_line);
            self.append(s, data.cast(), &rounded::<S, T>(s, numbers, special, 0).0[..at]);
        }
        let place = special.map_or(usize::MAX, |(place, _)| place);
        for _ in 0..blocks.min((len - at) / LANES) {
            let to = data.wrapping_add(at);
            if place.wrapping_sub(at) < LANES {
                let lanes = rounded::<S, T>(s, numbers, special, at);
                stream_lines(s, lanes.lines(), to.cast());
            } else {
                let block = numbers.block(s, at);
                // SAFETY: the call checked every class of the row, and a line begins here.
                T::stream(s, block, unsafe { &mut *to.cast::<Lanes<T>>() });
            }
            at += LANES;
        }
        if at < len && at + LANES > len {
            let lanes = rounded::<S, T>(s, numbers, special, at);
            let whole = (len - at) / per_line;
            stream_lines(s, &lanes.lines()[..whole], data.wrapping_add(at).cast());
            let rest = at + whole * per_line;
            self.append(s, data.wrapping_add(rest).cast(), &lanes.0[whole * per_line..len - at]);
            at = len;
        }
        at
    }

    /// Adds numbers to the line, no more than it has room for behind their address.
    #[inline(always)]
    fn append<S: Simd, T: Element>(&mut self, s: S, data: *mut u8, numbers: &[T]) {
        if data != self.base.wrapping_add(self.end) || self.start == self.end {
            self.flush();
            (self.start, self.end) = (data.addr() % LINE, data.addr() % LINE);
            self.base = data.wrapping_sub(self.start);
        }
        let bytes = size_of_val(numbers);
        assert!(self.end + bytes <= LINE);
        // SAFETY: the line has room for them, and any bytes are numbers.
        unsafe {
            let to = (&raw mut *self.line).cast::<u8>().add(self.end);
            std::ptr::copy_nonoverlapping(numbers.as_ptr().cast(), to, bytes);
        }
        self.end += bytes;
        if (self.start, self.end) == (0, LINE) {
            stream_lines(s, std::slice::from_ref(self.line), self.base);
            self.end = 0;
        } else if self.end == LINE {
            self.flush();
        }
    }

    /// Writes what is left, and makes all visible to other threads.
    pub fn finish<S: Simd>(&mut self, s: S) {
        if self.streams {
            self.flush();
            s.fence();
        }
    }

    /// Writes the bytes of the line in the ordinary way.
    fn flush(&mut self) {
        if self.start < self.end {
            // SAFETY: they belong to numbers of the gradient.
            unsafe {
                let from = (&raw const *self.line).cast::<u8>().add(self.start);
                let to = self.base.wrapping_add(self.start);
                std::ptr::copy_nonoverlapping(from, to, self.end - self.start);
            }
        }
        (self.start, self.end) = (0, 0);
    }
}

/// Writes whole lines of the gradient.
#[inline(always)]
fn stream_lines<S: Simd>(s: S, lines: &[Line], to: *mut u8) {
    // SAFETY: the call checked every class of the row, and only this thread writes these lines.
    let to = unsafe { std::slice::from_raw_parts_mut(to.cast(), lines.len()) };
    for (from, to) in lines.iter().zip(to) {
        s.stream_line(from, to);
    }
}

/// Numbers from `at` on, rounded.
#[inline(always)]
fn rounded<S: Simd, T: Element>(
    s: S,
    numbers: &impl Numbers<S>,
    special: Special,
    at: usize,
) -> Lanes<T> {
    let mut lanes = Lanes([T::ZERO; LANES]);
    T::store(s, numbers.block(s, at), &mut lanes.0);
    if let Some((place, value)) = special
        && (at..at + LANES).contains(&place)
    {
        lanes.0[place - at] = T::round(s, value);
    }
    lanes
}

/// [`Writer::write_from_memory`].
struct FromMemory<'a, 'b> {
    writer: &'a mut Writer<'b>,
    row: &'a Row,
    first: usize,
    numbers: &'a InMemory<'a>,
    special: Special,
}

impl Vectorised for FromMemory<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let FromMemory { writer, row, first, numbers, special } = self;
        writer.write(s, row, first, numbers, special);
    }
}
