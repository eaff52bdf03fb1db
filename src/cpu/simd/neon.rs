//! NEON: registers of 4 numbers.
#![allow(unsafe_code)] // intrinsics

use std::arch::aarch64::*;
use std::arch::asm;

use half::{bf16, f16};

use super::{LANES, Lanes, Level, Line, SQRT_HALF, Simd, Vectorised};

/// The proof of NEON, which nearly every processor of the architecture has.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    pub fn new() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

/// Makes a function of intrinsics safe. The processor has them: there is a `Neon`. They load and
/// store what is behind a reference, at any alignment.
macro_rules! safe {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: $type),*) $(-> $result)? {
            // SAFETY: see above.
            unsafe { $body }
        }
    )*};
}

impl Simd for Neon {
    type V = float32x4_t;
    type Block = [float32x4_t; 8];
    type Sum = [float64x2_t; 4];

    #[inline(never)]
    fn call<W: Vectorised>(self, work: W) -> W::Output {
        work.run(self)
    }

    #[inline(always)]
    fn fence(self) {} // such stores are ordered as others are

    safe! {
        fn load(from: &[f32; LANES]) -> [float32x4_t; 8] {
            let from = from.as_ptr();
            [
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
                vld1q_f32(from.add(16)),
                vld1q_f32(from.add(20)),
                vld1q_f32(from.add(24)),
                vld1q_f32(from.add(28)),
            ]
        }

        fn load_f16(from: &[f16; LANES]) -> [float32x4_t; 8] {
            let from = from.as_ptr().cast::<u16>();
            let halves = [
                vld1q_u16(from),
                vld1q_u16(from.add(8)),
                vld1q_u16(from.add(16)),
                vld1q_u16(from.add(24)),
            ];
            let [a, b, c, d] = halves.map(|x| widen_f16(x));
            [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]
        }

        fn load_bf16(from: &[bf16; LANES]) -> [float32x4_t; 8] {
            let from = from.as_ptr().cast::<u16>();
            let halves = [
                vld1q_u16(from),
                vld1q_u16(from.add(8)),
                vld1q_u16(from.add(16)),
                vld1q_u16(from.add(24)),
            ];
            let [a, b, c, d] = halves.map(|x| widen_bf16(x));
            [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]
        }

        fn store(block: [float32x4_t; 8], to: &mut [f32; LANES]) {
            let to = to.as_mut_ptr();
            vst1q_f32(to, block[0]);
            vst1q_f32(to.add(4), block[1]);
            vst1q_f32(to.add(8), block[2]);
            vst1q_f32(to.add(12), block[3]);
            vst1q_f32(to.add(16), block[4]);
            vst1q_f32(to.add(20), block[5]);
            vst1q_f32(to.add(24), block[6]);
            vst1q_f32(to.add(28), block[7]);
        }

        fn store_f16(block: [float32x4_t; 8], to: &mut [f16; LANES]) {
            let (to, line) = (to.as_mut_ptr().cast::<u16>(), line_of_f16(block));
            vst1q_u16(to, line[0]);
            vst1q_u16(to.add(8), line[1]);
            vst1q_u16(to.add(16), line[2]);
            vst1q_u16(to.add(24), line[3]);
        }

        fn store_bf16(block: [float32x4_t; 8], to: &mut [bf16; LANES]) {
            let (to, line) = (to.as_mut_ptr().cast::<u16>(), line_of_bf16(block));
            vst1q_u16(to, line[0]);
            vst1q_u16(to.add(8), line[1]);
            vst1q_u16(to.add(16), line[2]);
            vst1q_u16(to.add(24), line[3]);
        }

        fn stream(block: [float32x4_t; 8], to: &mut Lanes) {
            let to = to.0.as_mut_ptr().cast::<u16>();
            store_past(quarters(block[0], block[1], block[2], block[3]), to);
            store_past(quarters(block[4], block[5], block[6], block[7]), to.add(LANES));
        }

        fn stream_f16(block: [float32x4_t; 8], to: &mut Lanes<f16>) {
            store_past(line_of_f16(block), to.0.as_mut_ptr().cast());
        }

        fn stream_bf16(block: [float32x4_t; 8], to: &mut Lanes<bf16>) {
            store_past(line_of_bf16(block), to.0.as_mut_ptr().cast());
        }

        fn stream_line(from: &Line, to: &mut Line) {
            let from = from.0.as_ptr();
            let line = [
                vld1q_u16(from),
                vld1q_u16(from.add(8)),
                vld1q_u16(from.add(16)),
                vld1q_u16(from.add(24)),
            ];
            store_past(line, to.0.as_mut_ptr());
        }

        fn prefetch(address: *const u8, level: Level) {
            match level {
                Level::First => {
                    asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags));
                }
                Level::Second => {
                    asm!("prfm pldl2keep, [{}]", in(reg) address, options(nostack, preserves_flags));
                }
            }
        }

        fn no_sum() -> [float64x2_t; 4] {
            [vdupq_n_f64(0.0); 4]
        }

        fn add_to(sum: [float64x2_t; 4], block: [float32x4_t; 8]) -> [float64x2_t; 4] {
            let low = add_widened([block[0], block[2], block[4], block[6]]);
            let high = add_widened([block[1], block[3], block[5], block[7]]);
            [
                vaddq_f64(sum[0], low[0]),
                vaddq_f64(sum[1], low[1]),
                vaddq_f64(sum[2], high[0]),
                vaddq_f64(sum[3], high[1]),
            ]
        }

        fn lanes(sum: [float64x2_t; 4]) -> [f64; 8] {
            let mut lanes = [0.0; 8];
            vst1q_f64(lanes.as_mut_ptr(), sum[0]);
            vst1q_f64(lanes.as_mut_ptr().add(2), sum[1]);
            vst1q_f64(lanes.as_mut_ptr().add(4), sum[2]);
            vst1q_f64(lanes.as_mut_ptr().add(6), sum[3]);
            lanes
        }

        fn splat(x: f32) -> float32x4_t {
            vdupq_n_f32(x)
        }

        fn first(a: float32x4_t) -> f32 {
            vgetq_lane_f32::<0>(a)
        }

        fn fill(x: f32) -> [float32x4_t; 8] {
            [vdupq_n_f32(x); 8]
        }

        fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            vaddq_f32(a, b)
        }

        fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            vsubq_f32(a, b)
        }

        fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            vmulq_f32(a, b)
        }

        fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            vdivq_f32(a, b)
        }

        fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            vfmaq_f32(c, a, b)
        }

        fn remainder(
            x: float32x4_t,
            high: float32x4_t,
            low: float32x4_t,
            n: float32x4_t
        ) -> float32x4_t {
            vfmaq_f32(vfmaq_f32(vnegq_f32(n), x, high), x, low)
        }

        fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            vbslq_f32(vcgtq_f32(a, b), a, b) // the instructions for it treat NaN otherwise
        }

        fn copysign(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            vbslq_f32(vdupq_n_u32(0x8000_0000), b, a)
        }

        fn integer_to_exponent(a: float32x4_t) -> float32x4_t {
            vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(a)))
        }

        fn split(a: float32x4_t) -> (float32x4_t, float32x4_t) {
            let bits = vreinterpretq_s32_f32(a);
            let n = vshrq_n_s32::<23>(vsubq_s32(bits, vdupq_n_s32(SQRT_HALF)));
            let v = vsubq_s32(bits, vshlq_n_s32::<23>(n));
            (vreinterpretq_f32_s32(v), vcvtq_f32_s32(n))
        }

        fn if_equal(
            a: float32x4_t,
            b: float32x4_t,
            x: float32x4_t,
            y: float32x4_t
        ) -> float32x4_t {
            vbslq_f32(vceqq_f32(a, b), x, y)
        }

        fn if_less(
            a: float32x4_t,
            b: float32x4_t,
            x: float32x4_t,
            y: float32x4_t
        ) -> float32x4_t {
            vbslq_f32(vcltq_f32(a, b), x, y)
        }

        fn equal(a: float32x4_t, b: float32x4_t) -> u32 {
            let bits = [1, 2, 4, 8];
            vaddvq_u32(vandq_u32(vceqq_f32(a, b), vld1q_u32(bits.as_ptr())))
        }
    }
}

/// The intrinsics for it are not in stable Rust.
#[inline]
#[target_feature(enable = "neon")]
fn widen_f16(x: uint16x8_t) -> [float32x4_t; 2] {
    let (low, high);
    // SAFETY: NEON has the instructions; they have no effect but their results.
    unsafe {
        asm!(
            "fcvtl {low:v}.4s, {x:v}.4h",
            "fcvtl2 {high:v}.4s, {x:v}.8h",
            x = in(vreg) x,
            low = out(vreg) low,
            high = lateout(vreg) high,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    [low, high]
}

#[inline]
#[target_feature(enable = "neon")]
fn line_of_f16(x: [float32x4_t; 8]) -> [uint16x8_t; 4] {
    [narrow_f16(x[0], x[1]), narrow_f16(x[2], x[3]), narrow_f16(x[4], x[5]), narrow_f16(x[6], x[7])]
}

#[inline]
#[target_feature(enable = "neon")]
fn line_of_bf16(x: [float32x4_t; 8]) -> [uint16x8_t; 4] {
    [
        narrow_bf16(x[0], x[1]),
        narrow_bf16(x[2], x[3]),
        narrow_bf16(x[4], x[5]),
        narrow_bf16(x[6], x[7]),
    ]
}

/// A line of `f32` as what it is written of.
#[inline]
#[target_feature(enable = "neon")]
fn quarters(a: float32x4_t, b: float32x4_t, c: float32x4_t, d: float32x4_t) -> [uint16x8_t; 4] {
    [
        vreinterpretq_u16_f32(a),
        vreinterpretq_u16_f32(b),
        vreinterpretq_u16_f32(c),
        vreinterpretq_u16_f32(d),
    ]
}

/// Writes a line past the caches. There are no intrinsics for it: pairs of registers with a hint.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_past(line: [uint16x8_t; 4], to: *mut u16) {
    // SAFETY: writes one line.
    unsafe {
        asm!(
            "stnp {a:q}, {b:q}, [{to}]",
            "stnp {c:q}, {d:q}, [{to}, #32]",
            a = in(vreg) line[0],
            b = in(vreg) line[1],
            c = in(vreg) line[2],
            d = in(vreg) line[3],
            to = in(reg) to,
            options(nostack, preserves_flags),
        );
    }
}

/// (x0 + x1) + (x2 + x3), lane by lane.
#[inline]
#[target_feature(enable = "neon")]
fn add_widened(x: [float32x4_t; 4]) -> [float64x2_t; 2] {
    let low = |x| vcvt_f64_f32(vget_low_f32(x));
    let [a, b, c, d] = [low(x[0]), low(x[1]), low(x[2]), low(x[3])];
    let [e, f, g, h] = x.map(|x| vcvt_high_f64_f32(x));
    [vaddq_f64(vaddq_f64(a, b), vaddq_f64(c, d)), vaddq_f64(vaddq_f64(e, f), vaddq_f64(g, h))]
}

/// The nearest f16, ties to even. Of a NaN the quiet bit is set, and the rest cut off.
#[inline]
#[target_feature(enable = "neon")]
fn narrow_f16(low: float32x4_t, high: float32x4_t) -> uint16x8_t {
    let x;
    // SAFETY: NEON has the instructions; they have no effect but their results.
    unsafe {
        asm!(
            "fcvtn {x:v}.4h, {low:v}.4s",
            "fcvtn2 {x:v}.8h, {high:v}.4s",
            low = in(vreg) low,
            high = in(vreg) high,
            x = out(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    x
}

/// bf16 is the upper half of an `f32`.
#[inline]
#[target_feature(enable = "neon")]
fn widen_bf16(x: uint16x8_t) -> [float32x4_t; 2] {
    let (low, high) = (vshll_n_u16::<16>(vget_low_u16(x)), vshll_high_n_u16::<16>(x));
    [vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high)]
}

#[inline]
#[target_feature(enable = "neon")]
fn narrow_bf16(low: float32x4_t, high: float32x4_t) -> uint16x8_t {
    vshrn_high_n_u32::<16>(vshrn_n_u32::<16>(upper(low)), upper(high))
}

/// The bf16 that is nearest to each number. Of a NaN the quiet bit is set, and the rest cut off.
#[inline]
#[target_feature(enable = "neon")]
fn upper(x: float32x4_t) -> uint32x4_t {
    let bits = vreinterpretq_u32_f32(x);
    let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
    let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
    vbslq_u32(vceqq_f32(x, x), rounded, quiet)
}
