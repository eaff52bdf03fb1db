//! Plain Rust, in a shape that compilers turn into whatever vectors the target has.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::{LANES, Lanes, Level, Line, SQRT_HALF, Simd, Vectorised};

/// Needs no proof.
#[derive(Clone, Copy)]
pub(super) struct Portable;

/// What half of the registers of common instruction sets hold.
const WIDTH: usize = 8;

type V = [f32; WIDTH];
type Block = [V; LANES / WIDTH];

impl Simd for Portable {
    type V = V;
    type Block = Block;
    type Sum = [f64; 8];

    #[inline(never)]
    fn call<W: Vectorised>(self, work: W) -> W::Output {
        work.run(self)
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Block {
        gather(from, |x| x)
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Block {
        let mut block = [[0.0; WIDTH]; LANES / WIDTH];
        from.convert_to_f32_slice(block.as_flattened_mut());
        block
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16; LANES]) -> Block {
        gather(from, |x| f32::from_bits(u32::from(x.to_bits()) << 16))
    }

    #[inline(always)]
    fn store(self, block: Block, to: &mut [f32; LANES]) {
        scatter(block, to, |x| x);
    }

    #[inline(always)]
    fn store_f16(self, block: Block, to: &mut [f16; LANES]) {
        to.convert_from_f32_slice(block.as_flattened());
    }

    #[inline(always)]
    fn store_bf16(self, block: Block, to: &mut [bf16; LANES]) {
        scatter(block, to, narrow);
    }

    #[inline(always)]
    fn stream(self, block: Block, to: &mut Lanes) {
        self.store(block, &mut to.0);
    }

    #[inline(always)]
    fn stream_f16(self, block: Block, to: &mut Lanes<f16>) {
        self.store_f16(block, &mut to.0);
    }

    #[inline(always)]
    fn stream_bf16(self, block: Block, to: &mut Lanes<bf16>) {
        self.store_bf16(block, &mut to.0);
    }

    #[inline(always)]
    fn stream_line(self, from: &Line, to: &mut Line) {
        *to = *from;
    }

    #[inline(always)]
    fn fence(self) {}

    #[inline(always)]
    fn prefetch(self, _: *const u8, _: Level) {}

    #[inline(always)]
    fn no_sum(self) -> [f64; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    fn add_to(self, mut sum: [f64; 8], block: Block) -> [f64; 8] {
        let x = block.as_flattened();
        for (lane, sum) in sum.iter_mut().enumerate() {
            let [a, b, c, d] = [x[lane], x[8 + lane], x[16 + lane], x[24 + lane]];
            *sum += (f64::from(a) + f64::from(b)) + (f64::from(c) + f64::from(d));
        }
        sum
    }

    #[inline(always)]
    fn lanes(self, sum: [f64; 8]) -> [f64; 8] {
        sum
    }

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; WIDTH]
    }

    #[inline(always)]
    fn first(self, a: V) -> f32 {
        a[0]
    }

    #[inline(always)]
    fn fill(self, x: f32) -> Block {
        [[x; WIDTH]; LANES / WIDTH]
    }

    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: V, b: V, c: V) -> V {
        zip(zip(a, b, |a, b| a * b), c, |a, c| a + c)
    }

    #[inline(always)]
    fn remainder(self, x: V, high: V, low: V, n: V) -> V {
        let mut result = n;
        for lane in 0..WIDTH {
            // The product of two f32 is exact in f64.
            let factor = f64::from(high[lane]) + f64::from(low[lane]);
            result[lane] = (f64::from(x[lane]) * factor - f64::from(n[lane])) as f32;
        }
        result
    }

    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn copysign(self, a: V, b: V) -> V {
        zip(a, b, f32::copysign)
    }

    #[inline(always)]
    fn integer_to_exponent(self, a: V) -> V {
        zip(a, a, |a, _| f32::from_bits(a.to_bits() << 23))
    }

    #[inline(always)]
    fn split(self, mut a: V) -> (V, V) {
        let mut exponent = a;
        for (a, exponent) in a.iter_mut().zip(&mut exponent) {
            let bits = a.to_bits().cast_signed();
            let n = bits.wrapping_sub(SQRT_HALF) >> 23;
            *a = f32::from_bits(bits.wrapping_sub(n << 23).cast_unsigned());
            *exponent = n as f32;
        }
        (a, exponent)
    }

    #[inline(always)]
    fn if_equal(self, a: V, b: V, x: V, y: V) -> V {
        let mut result = y;
        for lane in 0..WIDTH {
            result[lane] = if a[lane] == b[lane] { x[lane] } else { y[lane] };
        }
        result
    }

    #[inline(always)]
    fn if_less(self, a: V, b: V, x: V, y: V) -> V {
        let mut result = y;
        for lane in 0..WIDTH {
            result[lane] = if a[lane] < b[lane] { x[lane] } else { y[lane] };
        }
        result
    }

    #[inline(always)]
    fn equal(self, a: V, b: V) -> u32 {
        let mut lanes = 0;
        for (lane, (a, b)) in a.iter().zip(b).enumerate() {
            lanes |= u32::from(*a == b) << lane;
        }
        lanes
    }
}

#[inline(always)]
fn zip(mut a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    for (a, b) in a.iter_mut().zip(b) {
        *a = f(*a, b);
    }
    a
}

#[inline(always)]
fn gather<T: Copy>(from: &[T; LANES], widen: impl Fn(T) -> f32) -> Block {
    let mut block = [[0.0; WIDTH]; LANES / WIDTH];
    for (to, &from) in block.as_flattened_mut().iter_mut().zip(from) {
        *to = widen(from);
    }
    block
}

#[inline(always)]
fn scatter<T>(block: Block, to: &mut [T; LANES], round: impl Fn(f32) -> T) {
    for (to, &from) in to.iter_mut().zip(block.as_flattened()) {
        *to = round(from);
    }
}

/// The nearest bf16, ties to even. Of a NaN the quiet bit is set, and the rest cut off.
#[inline(always)]
fn narrow(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let kept = if x.is_nan() { bits | 0x0040_0000 } else { rounded };
    bf16::from_bits((kept >> 16) as u16)
}
