//! Cross entropy of probabilities that are first divided by their sum: a row is read once for the sum,
//! once for the loss, and once more for the gradient, whose elements depend on all others.

use super::chunk;
use super::elements::{Elements, Ignored, multiply};
use super::kernel::{Kernel, Target};
use super::memory::Row;
use super::numbers::{Affine, InMemory};
use super::scratch::Scratch;
use super::simd::{LANES, Lanes, Simd};
use super::terms::OfProbability;
use crate::{Clip, Renormalise};

/// A row, and what was found out about it.
struct Found {
    row: usize,
    logits: Row,
    target: Option<Target>,
    /// What the loss divides by: the sum of the probabilities, or of the clipped ones.
    sum: f64,
    /// The sum of the targets.
    mass: f64,
}

impl Elements<'_> {
    /// A row of any length.
    #[inline(always)]
    pub(super) fn renormalised<S: Simd>(&self, s: S, row: usize, scratch: &mut Scratch) -> f64 {
        let (kernel, call) = (self.kernel, self.kernel.call);
        let target = match self.target(row) {
            Ok(target) => target,
            Err(Ignored) => return self.ignored(s, row, scratch),
        };
        let logits = call.logits.row(row, call.inner);
        let mut found = Found { row, logits, target, sum: 0.0, mass: 0.0 };
        let before = kernel.problem.renormalise == Renormalise::BeforeClip;
        for (first, len) in Kernel::chunks(0..kernel.problem.classes) {
            self.add_chunk(s, &mut found, first, len, before, scratch);
        }
        let (mut loss, mut dot) = (0.0, 0.0);
        for (first, len) in Kernel::chunks(0..kernel.problem.classes) {
            self.evaluate_found(s, &found, first, len, before, scratch);
            let blocks = len.div_ceil(LANES);
            let Scratch { y: slope, g: x, u, .. } = &mut *scratch;
            loss += chunk::exact_sum(s, &u[..blocks]);
            multiply(s, &slope[..blocks], &mut x[..blocks]);
            chunk::pad(&mut x[..blocks], len, 0.0);
            dot += chunk::exact_sum(s, &x[..blocks]);
        }
        if let Some(dlogits) = call.dlogits {
            let to = dlogits.row(row, call.inner);
            let unit = self.unit(row);
            let map = match before {
                true => {
                    let factor = unit / found.sum;
                    Affine { factor: factor as f32, term: (-dot * factor) as f32 }
                }
                false => Affine { factor: unit as f32, term: -0.0 },
            };
            for (first, len) in Kernel::chunks(0..kernel.problem.classes) {
                self.evaluate_found(s, &found, first, len, before, scratch);
                let blocks = len.div_ceil(LANES);
                let Scratch { y: slope, g: x, writer, .. } = &mut *scratch;
                if !before {
                    let even = (found.mass / found.sum) as f32;
                    self.clip().add_inside(s, even, &x[..blocks], &mut slope[..blocks]);
                }
                let numbers = InMemory::mapped(&slope[..blocks], len, map);
                writer.write_from_memory(s, &to, first, &numbers, None);
            }
        }
        let all = if before { loss } else { loss + found.mass * found.sum.ln() };
        self.finish(row, all)
    }

    fn clip(&self) -> OfProbability {
        OfProbability::new(self.kernel.problem.clip)
    }

    /// Adds a chunk to what is found out.
    #[inline(always)]
    fn add_chunk<S: Simd>(
        &self,
        s: S,
        found: &mut Found,
        first: usize,
        len: usize,
        before: bool,
        scratch: &mut Scratch,
    ) {
        let blocks = len.div_ceil(LANES);
        let (x, t, w) =
            (&mut scratch.y[..blocks], &mut scratch.u[..blocks], &mut scratch.e[..blocks]);
        found.logits.load(s, first, len, 0.0, x);
        if !before {
            self.clip().clip(s, self.kernel.problem.clip, x);
            chunk::pad(x, len, 0.0);
        }
        found.sum += chunk::exact_sum(s, x);
        self.load_targets(s, found.target, first, len, t);
        if let Some(weights) = self.kernel.class_weights {
            weights.load(s, first, len, 0.0, w);
            multiply(s, w, t);
        }
        chunk::pad(t, len, 0.0);
        found.mass += chunk::exact_sum(s, t);
    }

    /// Makes derivatives and losses of a chunk, and keeps the probabilities that they are of.
    #[inline(always)]
    fn evaluate_found<S: Simd>(
        &self,
        s: S,
        found: &Found,
        first: usize,
        len: usize,
        before: bool,
        scratch: &mut Scratch,
    ) {
        let blocks = len.div_ceil(LANES);
        let x = &mut scratch.y[..blocks];
        found.logits.load(s, first, len, 0.0, x);
        if before {
            divide(s, found.sum as f32, x);
        }
        scratch.g[..blocks].copy_from_slice(x);
        self.evaluate_chunk(s, found.row, found.target, first, len, scratch);
    }
}

impl OfProbability {
    /// Clips probabilities.
    #[inline(always)]
    fn clip<S: Simd>(&self, s: S, clip: Clip, x: &mut [Lanes]) {
        let (low, high, more) = match clip {
            Clip::None => (0.0, 0.0, 0.0),
            Clip::Range(e) => (e, 1.0 - e, 0.0),
            Clip::Lower(e) => (e, 0.0, 0.0),
            Clip::Add(e) => (0.0, 0.0, e),
            Clip::Logarithm(b) => ((-b).exp(), 0.0, 0.0),
        };
        let (low, high, more) = (s.splat(low as f32), s.splat(high as f32), s.splat(more as f32));
        for lanes in x {
            let mut block = s.load(&lanes.0);
            for x in block.as_mut() {
                *x = s.add(self.select(s, *x, *x, low, high), more);
            }
            s.store(block, &mut lanes.0);
        }
    }

    /// Adds a number to the derivatives where x is not clipped.
    #[inline(always)]
    fn add_inside<S: Simd>(&self, s: S, number: f32, x: &[Lanes], slope: &mut [Lanes]) {
        let (zero, number) = (s.splat(0.0), s.splat(number));
        for (x, slope) in x.iter().zip(slope) {
            let (x, mut block) = (s.load(&x.0), s.load(&slope.0));
            for (slope, &x) in block.as_mut().iter_mut().zip(x.as_ref()) {
                *slope = s.add(*slope, self.select(s, x, number, zero, zero));
            }
            s.store(block, &mut slope.0);
        }
    }
}

/// Divides by a number.
#[inline(always)]
fn divide<S: Simd>(s: S, by: f32, x: &mut [Lanes]) {
    let by = s.splat(by);
    for lanes in x {
        let mut block = s.load(&lanes.0);
        for x in block.as_mut() {
            *x = s.div(*x, by);
        }
        s.store(block, &mut lanes.0);
    }
}
