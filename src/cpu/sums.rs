//! The sums over a long row, segment by segment, chunk by chunk.

use std::ops::Range;

use super::chunk::{self, COLUMNS};
use super::keep::Kept;
use super::kernel::{Kernel, Target};
use super::memory::{Ahead, Row, with_element};
use super::numbers::{self, InMemory};
use super::partial::{Largest, Partial};
use super::scratch::Scratch;
use super::simd::{LANES, Lanes, Level, Simd, Vectorised};
use crate::{Outputs, Problem};

/// Columns whose sums are made in one go: large enough to be worth a task of its own.
const SEGMENT: usize = 16 * COLUMNS;

impl Kernel<'_> {
    /// The sums over a row, by segments, and the shift of y.
    #[inline(always)]
    pub(super) fn sums<S: Simd>(
        &self,
        s: S,
        logits: Row,
        target: Target,
        scratch: &mut Scratch,
        kept: &mut Option<Kept>,
    ) -> (f32, Partial) {
        let mut shift = 0.0;
        loop {
            let mut sums = Partial::EMPTY;
            for columns in self.segments() {
                let reference = sums.reference;
                let work =
                    Sums { kernel: self, shift, reference, logits, target, columns, scratch, kept };
                let other = s.call(work);
                sums = sums.plus(s, &self.squash, other);
            }
            let x = sums.largest.x;
            match self.squash.anchor(s, x) {
                (needed, _) if needed != shift && self.squash.is_defined_for(x) => shift = needed,
                _ => return (shift, sums),
            }
        }
    }

    /// The sums over a segment of a row.
    #[inline(always)]
    fn sums_of<S: Simd>(&self, s: S, work: Sums) -> Partial {
        let Sums { shift, mut reference, logits, target, columns, scratch, kept, .. } = work;
        let wants_moment = self.problem.outputs.contains(Outputs::ENTROPY);
        let squash = &self.squash;
        let mut sums = Partial::EMPTY;
        let mut exponential = squash.exponential(s, 0.0);
        let next = match (target, &kept) {
            // Non-temporal stores use the same buffers as loads into the first-level cache. With
            // probabilities, the second one has enough to hold.
            (Target::Class(_), Some(_)) if scratch.writer.streams() => {
                Next { skipped: COLUMNS, into: Level::Second }
            }
            _ => Next { skipped: 0, into: Level::First },
        };
        for (first, len) in Self::chunks(columns) {
            let blocks = len.div_ceil(LANES);
            let of_chunk = first / LANES..first / LANES + blocks;
            let y = &mut scratch.y[..blocks];
            let mut lanes = logits.load(s, first, len, f32::NEG_INFINITY, y);
            if squash.flips() {
                lanes = chunk::negate(s, y, len);
            }
            let x = s.largest(lanes);
            let largest = if sums.is_below(x) { chunk::find(s, y, x) } else { None };
            if shift != 0.0 || !squash.is_plain() {
                let slope = match kept {
                    Some(kept) if squash.has_slopes() => &mut kept.slope[of_chunk.clone()],
                    _ => &mut scratch.slope[..blocks],
                };
                squash.apply(s, shift, y, slope);
            }
            if let Some(at) = largest {
                let to = Largest { x, y: chunk::get(y, at), class: first + at };
                let from = sums.largest.class;
                let e = sums.raise(s, squash, to);
                if let (Some(kept), true) = (&mut *kept, from != usize::MAX) {
                    chunk::set(kept.e, from, e);
                }
                // Another one only where it is needed: what was kept is of use if all of a row is
                // relative to the same.
                if !reference.is_finite() || !squash.reaches(to.y, reference) {
                    reference =
                        if to.y == f32::NEG_INFINITY { 0.0 } else { squash.reference(to.y) };
                }
                if reference != sums.reference {
                    sums.refer(reference);
                    exponential = squash.exponential(s, reference);
                }
            }
            let bounded = squash.bounded(sums.largest.y);
            if let Some((distance, mass)) =
                self.distances(s, bounded, target, first, len, y, scratch.u, &next)
            {
                sums.distance += distance;
                sums.mass += mass;
            }
            match target {
                // As probabilities that are 1 at this class: the loss is the same, bit for bit.
                Target::Class(class) if (first..first + len).contains(&class) => {
                    sums.target += f64::from(bounded - chunk::get(y, class - first));
                    sums.has_target = 1.0;
                }
                _ => (),
            }
            let ahead = next.of(logits, first + len);
            let y = &mut scratch.y[..blocks];
            if len % LANES != 0 {
                chunk::pad(y, len, f32::NEG_INFINITY);
            }
            if let Some(at) = largest {
                chunk::set(y, at, f32::NEG_INFINITY);
            }
            if kept.is_none() && !wants_moment {
                sums.exp += chunk::exp_sum(s, &exponential, y, ahead);
                continue;
            }
            let (e, waiting) = match kept {
                Some(kept) => {
                    kept.references[first / COLUMNS] = sums.reference;
                    (&mut kept.e[of_chunk], Some((&mut scratch.writer, kept.waiting)))
                }
                None => (&mut scratch.e[..blocks], None),
            };
            sums.exp += chunk::exponentials(s, &exponential, y, e, ahead, waiting);
            if wants_moment {
                sums.moment += chunk::moment(s, bounded, exponential.lowest, y, e);
            }
        }
        // All exponentials that are kept count, the largest one too.
        if let (Some(kept), true) = (kept, sums.largest.class != usize::MAX) {
            chunk::set(kept.e, sums.largest.class, exponential.of(s, sums.largest.y));
        }
        sums
    }

    /// Reads a chunk of y, and slopes where there are any; -inf behind its end.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn load<S: Simd>(
        &self,
        s: S,
        shift: f32,
        logits: Row,
        first: usize,
        len: usize,
        y: &mut [Lanes],
        slope: &mut [Lanes],
    ) {
        let squash = &self.squash;
        logits.load(s, first, len, f32::NEG_INFINITY, y);
        if squash.flips() {
            chunk::negate(s, y, len);
        }
        if shift != 0.0 || !squash.is_plain() {
            squash.apply(s, shift, y, slope);
            chunk::pad(y, len, f32::NEG_INFINITY);
        }
    }

    /// The sums of u (largest y - y) and u over a chunk, where the loss has any.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn distances<S: Simd>(
        &self,
        s: S,
        largest: f32,
        target: Target,
        first: usize,
        len: usize,
        y: &mut [Lanes],
        u: &mut [Lanes],
        next: &Next,
    ) -> Option<(f64, f64)> {
        let u = &mut u[..y.len()];
        let of_u = match (target, self.class_weights) {
            (Target::Probabilities(q), None)
                if q.stride == 1 && self.problem.label_smoothing == 0.0 =>
            {
                let (columns, ahead) = (first..first + len, next.of(q, first + len));
                return Some(s.call(Unmixed { q, columns, largest, y, ahead }));
            }
            (Target::Probabilities(q), _) => {
                self.mix(s, q, first, len, u);
                q
            }
            _ if self.problem.label_smoothing == 0.0 => return None,
            (Target::Class(_), Some(weights)) => {
                weights.load(s, first, len, 0.0, u);
                weights
            }
            (Target::Class(_), None) => {
                chunk::pad(y, len, largest);
                return Some((chunk::distances(s, largest, y), len as f64));
            }
        };
        let u = InMemory::new(u, len);
        Some(chunk::weighted(s, largest, y, &u, next.of(of_u, first + len)))
    }

    /// The sum of u of probability targets over a segment of a row.
    #[inline(always)]
    pub(super) fn mass_of<S: Simd>(
        &self,
        s: S,
        q: Row,
        segment: Range<usize>,
        scratch: &mut Scratch,
    ) -> f64 {
        let mut mass = 0.0;
        for (first, len) in Self::chunks(segment) {
            let u = &mut scratch.u[..len.div_ceil(LANES)];
            self.mix(s, q, first, len, u);
            mass += chunk::sum(s, u);
        }
        mass
    }

    /// The segments of a row, whose sums are made apart, and then added in order.
    pub(super) fn segments(&self) -> impl Iterator<Item = Range<usize>> {
        (0..segments(self.problem)).map(|index| self.segment(index).1)
    }

    /// A segment of all rows: its row, and its columns.
    pub(super) fn segment(&self, index: usize) -> (usize, Range<usize>) {
        let (classes, segments) = (self.problem.classes, segments(self.problem));
        let first = index % segments * SEGMENT;
        (index / segments, first..classes.min(first + SEGMENT))
    }

    /// Whether a row holds a NaN.
    #[inline(always)]
    pub(super) fn has_nan<S: Simd>(&self, s: S, logits: Row, scratch: &mut Scratch) -> bool {
        Self::chunks(0..self.problem.classes).any(|(first, len)| {
            let y = &mut scratch.y[..len.div_ceil(LANES)];
            logits.load(s, first, len, 0.0, y);
            y.iter().any(|lanes| lanes.0.iter().any(|x| x.is_nan()))
        })
    }

    /// Reads a chunk of probabilities q and makes u = w ((1 - s) q + s/C) of it, 0 behind its end.
    #[inline(always)]
    pub(super) fn mix<S: Simd>(&self, s: S, q: Row, first: usize, len: usize, u: &mut [Lanes]) {
        s.call(Mix { kernel: self, q, first, len, u });
    }

    /// Reads a chunk of probabilities q and makes u = w ((1 - s) q + s/C) of it, 0 behind its end.
    #[inline(always)]
    fn mixed<S: Simd>(&self, s: S, q: Row, first: usize, len: usize, u: &mut [Lanes]) {
        q.load(s, first, len, 0.0, u);
        let smoothing = self.problem.label_smoothing;
        if smoothing != 0.0 {
            let keep = (1.0 - smoothing) as f32;
            let share = (smoothing / self.problem.classes as f64) as f32;
            for lanes in &mut *u {
                lanes.0.iter_mut().for_each(|u| *u = *u * keep + share);
            }
            chunk::pad(u, len, 0.0);
        }
        if let Some(weights) = self.class_weights {
            let mut w = [Lanes([0.0; LANES]); chunk::BLOCKS];
            weights.load(s, first, len, 0.0, &mut w[..u.len()]);
            for (u, w) in u.iter_mut().zip(&w) {
                u.0.iter_mut().zip(&w.0).for_each(|(u, w)| *u *= w);
            }
        }
    }

    /// [`Kernel::mix`] of single probabilities, where that is the same for all classes.
    pub(super) fn plain_mix(&self) -> Option<numbers::Mix> {
        let smoothing = self.problem.label_smoothing;
        let share = (smoothing / self.problem.classes as f64) as f32;
        let mix = numbers::Mix { keep: (1.0 - smoothing) as f32, share };
        self.class_weights.is_none().then_some(mix)
    }

    /// The chunks of some columns: the first column, and how many they are.
    pub(super) fn chunks(columns: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let end = columns.end;
        columns.step_by(COLUMNS).map(move |first| (first, COLUMNS.min(end - first)))
    }
}

/// What is fetched while a chunk is computed.
struct Next {
    /// The columns between.
    skipped: usize,
    into: Level,
}

impl Next {
    #[inline(always)]
    fn of(&self, row: Row, end: usize) -> Ahead {
        row.ahead(end + self.skipped, self.into)
    }
}

/// How many segments a row has.
pub(super) fn segments(problem: &Problem) -> usize {
    problem.classes.div_ceil(SEGMENT)
}

/// [`Kernel::mix`].
struct Mix<'a> {
    kernel: &'a Kernel<'a>,
    q: Row,
    first: usize,
    len: usize,
    u: &'a mut [Lanes],
}

impl Vectorised for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Mix { kernel, q, first, len, u } = self;
        kernel.mixed(s, q, first, len, u);
    }
}

/// [`chunk::weighted`] of packed probabilities as they are.
struct Unmixed<'a> {
    q: Row,
    columns: Range<usize>,
    largest: f32,
    y: &'a [Lanes],
    ahead: Ahead,
}

impl Vectorised for Unmixed<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f64, f64) {
        let Unmixed { q, columns, largest, y, ahead } = self;
        with_element!(q.dtype, T => chunk::weighted(s, largest, y, &q.packed::<T>(columns), ahead))
    }
}

/// The sums over a segment of a row.
pub(super) struct Sums<'a, 'b, 'c> {
    pub kernel: &'a Kernel<'a>,
    pub shift: f32,
    /// That of exponentials, if they can be relative to it; -inf for none in particular.
    pub reference: f32,
    pub logits: Row,
    pub target: Target,
    pub columns: Range<usize>,
    pub scratch: &'a mut Scratch<'b>,
    pub kept: &'a mut Option<Kept<'c>>,
}

impl Vectorised for Sums<'_, '_, '_> {
    type Output = Partial;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Partial {
        self.kernel.sums_of(s, self)
    }
}
