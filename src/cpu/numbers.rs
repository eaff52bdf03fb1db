//! What is written to a gradient: numbers that are made when they are asked for, 32 at a time.

use super::gradient::Terms;
use super::math::Exponential;
use super::memory::{Element, Packed};
use super::simd::{LANES, Lanes, Simd};

/// Numbers of a row.
pub(super) trait Numbers<S: Simd> {
    fn len(&self) -> usize;

    /// Those from `at` on; any numbers behind the last one.
    fn block(&self, s: S, at: usize) -> S::Block;
}

/// The function from x to x `factor` + `term`.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub factor: f32,
    /// -0 adds nothing, not even to the sign of a 0.
    pub term: f32,
}

impl Affine {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, mut block: S::Block) -> S::Block {
        let (factor, term) = (s.splat(self.factor), s.splat(self.term));
        for v in block.as_mut() {
            *v = s.mul_add(*v, factor, term);
        }
        block
    }
}

/// Numbers in memory, mapped.
#[derive(Clone, Copy)]
pub(super) struct InMemory<'a> {
    from: &'a [f32],
    len: usize,
    map: Affine,
}

impl<'a> InMemory<'a> {
    /// The first `len` numbers of some blocks.
    pub fn new(from: &'a [Lanes], len: usize) -> Self {
        InMemory { from: Lanes::flat(from), len, map: Affine { factor: 1.0, term: -0.0 } }
    }

    /// The same, mapped.
    pub fn mapped(from: &'a [Lanes], len: usize, map: Affine) -> Self {
        InMemory { from: Lanes::flat(from), len, map }
    }
}

impl<S: Simd> Numbers<S> for InMemory<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn block(&self, s: S, at: usize) -> S::Block {
        let block = match self.from[at..].first_chunk() {
            Some(lanes) => s.load(lanes),
            None => {
                let mut lanes = [0.0; LANES];
                lanes[..self.len - at].copy_from_slice(&self.from[at..self.len]);
                s.load(&lanes)
            }
        };
        self.map.of(s, block)
    }
}

/// Numbers in memory times slopes.
pub(super) struct Sloped<'a> {
    pub numbers: InMemory<'a>,
    pub slopes: InMemory<'a>,
}

impl<S: Simd> Numbers<S> for Sloped<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.numbers.len
    }

    #[inline(always)]
    fn block(&self, s: S, at: usize) -> S::Block {
        let (mut block, slopes) = (self.numbers.block(s, at), self.slopes.block(s, at));
        for (v, slope) in block.as_mut().iter_mut().zip(slopes.as_ref()) {
            *v = s.mul(*v, *slope);
        }
        block
    }
}

/// The gradient of exponentials e and probabilities: e factor - u, with u of each probability.
pub(super) struct Mixed<'a, T> {
    pub e: InMemory<'a>,
    pub probabilities: Packed<T>,
    pub mix: Mix,
    pub terms: &'a Terms,
}

/// The function from a probability to its u.
#[derive(Clone, Copy)]
pub(super) struct Mix {
    pub keep: f32,
    pub share: f32,
}

impl Mix {
    /// Whether u is not the probability itself.
    fn changes(self) -> bool {
        (self.keep, self.share) != (1.0, 0.0)
    }
}

impl<S: Simd, T: Element> Numbers<S> for Mixed<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        Numbers::<S>::len(&self.probabilities)
    }

    #[inline(always)]
    fn block(&self, s: S, at: usize) -> S::Block {
        let (keep, share) = (s.splat(self.mix.keep), s.splat(self.mix.share));
        let (factor, unit) = (s.splat(self.terms.factor[0]), s.splat(-self.terms.of_u[0]));
        let (zero, nothing) = (s.splat(0.0), s.splat(-0.0)); // as in a chunk
        let largest = s.splat(self.terms.largest[0]);
        let (e, mut u) = (self.e.block(s, at), self.probabilities.block(s, at));
        let (mut g, maxima) = (e, s.find(e, largest));
        for (g, u) in g.as_mut().iter_mut().zip(u.as_mut()) {
            if self.mix.changes() {
                *u = s.add(s.mul(*u, keep), share);
            }
            let term = s.if_equal(*u, zero, nothing, s.mul(*u, unit));
            *g = s.mul_add(*g, factor, term);
        }
        if maxima != 0 { self.terms.at_maxima(s, maxima, u, g) } else { g }
    }
}

/// Exponentials of packed logits, mapped.
pub(super) struct Exponentials<S: Simd, T> {
    pub logits: Packed<T>,
    pub exponential: Exponential<S>,
    pub map: Affine,
}

impl<S: Simd, T: Element> Numbers<S> for Exponentials<S, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        Numbers::<S>::len(&self.logits)
    }

    #[inline(always)]
    fn block(&self, s: S, at: usize) -> S::Block {
        self.map.of(s, self.exponential.block(s, self.logits.block(s, at)))
    }
}
