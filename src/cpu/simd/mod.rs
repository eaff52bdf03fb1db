//! Vectors. Kernels are written once over [`Simd`], and compiled for each instruction set.
//!
//! They work on blocks of 32 numbers, which are 2 to 8 registers: sums add the same lanes in the same
//! order everywhere, so that all instruction sets with a fused multiply-add give the same bits.
//!
//! [`InstructionSet::best`] is the one place that chooses.
#![allow(unsafe_code)] // blocks as slices

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(test)]
mod tests;

use half::{bf16, f16};

use crate::{Error, Result};

/// Numbers in a block.
pub(crate) const LANES: usize = 32;

/// Rows and columns of a tile that is transposed.
pub(crate) const TILE: (usize, usize) = (16, 8);

/// How many numbers the rows of a tile reach over.
#[cfg(target_arch = "x86_64")]
fn rows_reach(stride: usize) -> usize {
    (TILE.0 - 1) * stride + TILE.1
}

/// The same of its columns, which are [`LANES`] apart.
const COLUMNS_REACH: usize = (TILE.1 - 1) * LANES + TILE.0;

/// The bits of sqrt(1/2), to split numbers at.
const SQRT_HALF: i32 = std::f32::consts::FRAC_1_SQRT_2.to_bits().cast_signed();

/// A block in memory.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Lanes<T = f32>(pub [T; LANES]);

impl Lanes {
    /// The numbers of some blocks.
    pub fn flat(blocks: &[Lanes]) -> &[f32] {
        // SAFETY: a block is its numbers, without padding.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * LANES) }
    }

    /// The same, to be changed.
    pub fn flat_mut(blocks: &mut [Lanes]) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast(), blocks.len() * LANES) }
    }
}

impl<T> Lanes<T> {
    /// The lines that it fills.
    pub fn lines(&self) -> &[Line] {
        const { assert!(size_of::<Lanes<T>>().is_multiple_of(size_of::<Line>())) };
        let count = size_of::<Self>() / size_of::<Line>();
        // SAFETY: whole lines, as aligned, whose bytes are all numbers.
        unsafe { std::slice::from_raw_parts((&raw const *self).cast(), count) }
    }
}

/// The lanes in a set, of which each has a bit, the first the lowest.
pub(crate) fn lanes_of(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = set.trailing_zeros() as usize;
        set &= set.checked_sub(1)?;
        Some(lane)
    })
}

/// A cache line, the unit of non-temporal stores.
pub(crate) type Line = Lanes<u16>;

/// A cache.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    First,
    Second,
}

/// The operations of an instruction set. A value of the type is the proof that the processor has it.
///
/// A conversion to 16 bits rounds to nearest, ties to even; a NaN stays one.
pub(crate) trait Simd: Copy {
    /// A register of numbers.
    type V: Copy;
    /// [`LANES`] numbers, in the order of memory.
    type Block: Copy + AsRef<[Self::V]> + AsMut<[Self::V]>;
    /// A sum in `f64`, of which each of 8 lanes adds every eighth number.
    type Sum: Copy;

    /// Runs work that is compiled for these instructions, in a function of its own.
    fn call<W: Vectorised>(self, work: W) -> W::Output;

    fn load(self, from: &[f32; LANES]) -> Self::Block;
    fn load_f16(self, from: &[f16; LANES]) -> Self::Block;
    fn load_bf16(self, from: &[bf16; LANES]) -> Self::Block;
    fn store(self, block: Self::Block, to: &mut [f32; LANES]);
    fn store_f16(self, block: Self::Block, to: &mut [f16; LANES]);
    fn store_bf16(self, block: Self::Block, to: &mut [bf16; LANES]);
    /// Like [`Simd::store`], but past the caches; [`Simd::fence`] makes it visible to other threads.
    fn stream(self, block: Self::Block, to: &mut Lanes);
    fn stream_f16(self, block: Self::Block, to: &mut Lanes<f16>);
    fn stream_bf16(self, block: Self::Block, to: &mut Lanes<bf16>);
    fn stream_line(self, from: &Line, to: &mut Line);
    fn fence(self);
    /// Asks for a line that will be read soon, wherever it is: into the first-level cache or the second.
    fn prefetch(self, address: *const u8, level: Level);

    /// Writes the columns of a tile, of which the rows are `stride` apart, [`LANES`] apart.
    #[inline(always)]
    fn to_columns(self, from: &[f32], stride: usize, to: &mut [f32]) {
        let to = &mut to[..COLUMNS_REACH];
        for row in 0..TILE.0 {
            for (column, x) in from[row * stride..][..TILE.1].iter().enumerate() {
                to[column * LANES + row] = *x;
            }
        }
    }

    /// Writes the rows of a tile `stride` apart, the first one first: they may overlap. Its columns are
    /// [`LANES`] apart.
    #[inline(always)]
    fn to_rows(self, from: &[f32], to: &mut [f32], stride: usize) {
        let from = &from[..COLUMNS_REACH];
        for row in 0..TILE.0 {
            for (column, x) in to[row * stride..][..TILE.1].iter_mut().enumerate() {
                *x = from[column * LANES + row];
            }
        }
    }

    fn splat(self, x: f32) -> Self::V;
    /// The first lane.
    fn first(self, a: Self::V) -> f32;
    /// The same number in a whole block.
    fn fill(self, x: f32) -> Self::Block;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b + c, rounded once where the processor can, else twice.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// x (high + low) - n for an n that is near to it: the error is that of rounding the result and
    /// x low.
    fn remainder(self, x: Self::V, high: Self::V, low: Self::V, n: Self::V) -> Self::V;
    /// The larger one; b where one of them is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The magnitude of a with the sign of b.
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V;
    /// The largest number of a block without NaN.
    #[inline(always)]
    fn largest(self, block: Self::Block) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(block, &mut lanes);
        for half in [16, 8, 4, 2, 1] {
            for lane in 0..half {
                let (a, b) = (lanes[lane], lanes[lane + half]);
                lanes[lane] = if b > a { b } else { a };
            }
        }
        lanes[0]
    }

    fn no_sum(self) -> Self::Sum;
    /// Adds to each lane (x0 + x1) + (x2 + x3), where x0 to x3 are its numbers in a block.
    fn add_to(self, sum: Self::Sum, block: Self::Block) -> Self::Sum;
    /// The lanes of a sum.
    fn lanes(self, sum: Self::Sum) -> [f64; 8];

    /// The bits of a, shifted left by 23: what was an integer becomes an exponent.
    fn integer_to_exponent(self, a: Self::V) -> Self::V;
    /// v and n with a = 2^n v and v of at least sqrt(1/2), below sqrt(2), for a positive normal a. Of
    /// others, some such v.
    fn split(self, a: Self::V) -> (Self::V, Self::V);
    /// x where a and b are equal, else y.
    fn if_equal(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// x where a is less than b, else y.
    fn if_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// The lanes where a and b are equal: a bit for each, the first the lowest.
    fn equal(self, a: Self::V, b: Self::V) -> u32;
    /// The same in a block.
    #[inline(always)]
    fn find(self, block: Self::Block, value: Self::V) -> u32 {
        let mut found = 0;
        let width = LANES / block.as_ref().len();
        for (register, &v) in block.as_ref().iter().enumerate() {
            found |= self.equal(v, value) << (register * width);
        }
        found
    }
}

/// What is compiled for an instruction set. Implementations are `#[inline(always)]`, and so is all
/// that they call in their inner loops.
pub(crate) trait Vectorised {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Names an instruction set that is to be used in the place of the best one.
const VARIABLE: &str = "XENT_CPU";

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy)]
pub(crate) enum InstructionSet {
    /// What every processor of the target has.
    Portable,
    /// AVX2, FMA and F16C: 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    /// AVX-512 F, BW and DQ: 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    /// 128 bits.
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
}

impl InstructionSet {
    /// All that this processor has, the best one last.
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let others = [
            avx2::Avx2::new().map(InstructionSet::Avx2),
            avx512::Avx512::new().map(InstructionSet::Avx512),
        ];
        #[cfg(target_arch = "aarch64")]
        let others = [neon::Neon::new().map(InstructionSet::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let others = [];
        std::iter::once(InstructionSet::Portable).chain(others.into_iter().flatten())
    }

    /// The best one, or the one that the environment variable `XENT_CPU` names.
    ///
    /// # Errors
    /// [`Error::Invalid`] if this processor has none of that name.
    pub fn chosen() -> Result<Self> {
        let Some(name) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
            return Ok(Self::best());
        };
        Self::available().find(|set| name == set.name()).ok_or_else(|| {
            let names: Vec<&str> = Self::available().map(Self::name).collect();
            Error::invalid(VARIABLE, name.display(), format!("one of {}", names.join(", ")))
        })
    }

    pub fn best() -> Self {
        Self::available().next_back().unwrap_or(InstructionSet::Portable)
    }

    pub fn name(self) -> &'static str {
        match self {
            InstructionSet::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon(_) => "neon",
        }
    }

    /// The name of the kernels.
    pub fn kernel_name(self) -> &'static str {
        match self {
            InstructionSet::Portable => "cpu_portable",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2(_) => "cpu_avx2",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512(_) => "cpu_avx512",
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon(_) => "cpu_neon",
        }
    }

    /// Runs the work with vectors of this instruction set.
    #[inline]
    pub fn run<W: Vectorised>(self, work: W) -> W::Output {
        match self {
            InstructionSet::Portable => portable::Portable.call(work),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2(simd) => simd.call(work),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512(simd) => simd.call(work),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon(simd) => simd.call(work),
        }
    }
}
