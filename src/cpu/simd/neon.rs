//! NEON: registers of 4 numbers.
#![allow(unsafe_code)] // intrinsics

use std::arch::aarch64::*;
use std::arch::asm;

use half::{bf16, f16};

use super::{LANES, Line, Simd, Vectorised};

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

    #[inline(never)]
    fn call<W: Vectorised>(self, work: W) -> W::Output {
        work.run(self)
    }

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
            let to = to.as_mut_ptr().cast::<u16>();
            vst1q_u16(to, narrow_f16(block[0], block[1]));
            vst1q_u16(to.add(8), narrow_f16(block[2], block[3]));
            vst1q_u16(to.add(16), narrow_f16(block[4], block[5]));
            vst1q_u16(to.add(24), narrow_f16(block[6], block[7]));
        }

        fn store_bf16(block: [float32x4_t; 8], to: &mut [bf16; LANES]) {
            let to = to.as_mut_ptr().cast::<u16>();
            vst1q_u16(to, narrow_bf16(block[0], block[1]));
            vst1q_u16(to.add(8), narrow_bf16(block[2], block[3]));
            vst1q_u16(to.add(16), narrow_bf16(block[4], block[5]));
            vst1q_u16(to.add(24), narrow_bf16(block[6], block[7]));
        }

        fn stream(from: &[Line], to: &mut [Line]) {
            for (from, to) in from.iter().zip(to) {
                let (from, to) = (from.0.as_ptr(), to.0.as_mut_ptr());
                // Without intrinsics: pairs of registers, a hint to keep them out of the caches.
                asm!(
                    "stnp {a:q}, {b:q}, [{to}]",
                    "stnp {c:q}, {d:q}, [{to}, #32]",
                    a = in(vreg) vld1q_u16(from),
                    b = in(vreg) vld1q_u16(from.add(8)),
                    c = in(vreg) vld1q_u16(from.add(16)),
                    d = in(vreg) vld1q_u16(from.add(24)),
                    to = in(reg) to,
                    options(nostack, preserves_flags),
                );
            }
        }

        fn fence() {} // such stores are ordered as others are

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

        fn if_equal(
            a: float32x4_t,
            b: float32x4_t,
            x: float32x4_t,
            y: float32x4_t
        ) -> float32x4_t {
            vbslq_f32(vceqq_f32(a, b), x, y)
        }

        fn any_equal(a: float32x4_t, b: float32x4_t) -> bool {
            vmaxvq_u32(vceqq_f32(a, b)) != 0
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
