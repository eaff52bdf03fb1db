//! AVX2, FMA and F16C: registers of 8 numbers.
#![allow(unsafe_code)] // intrinsics

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{LANES, Line, Simd, Vectorised};

/// The proof of AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub fn new() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then_some(Avx2(()))
    }
}

/// Makes a function of intrinsics safe. The processor has them: there is an `Avx2`. They load and
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

impl Simd for Avx2 {
    type V = __m256;
    type Block = [__m256; 4];

    fn call<W: Vectorised>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn compiled<W: Vectorised>(simd: Avx2, work: W) -> W::Output {
            work.run(simd)
        }
        // SAFETY: the processor has them: there is an `Avx2`.
        unsafe { compiled(self, work) }
    }

    safe! {
        fn load(from: &[f32; LANES]) -> [__m256; 4] {
            let from = from.as_ptr();
            [
                _mm256_loadu_ps(from),
                _mm256_loadu_ps(from.add(8)),
                _mm256_loadu_ps(from.add(16)),
                _mm256_loadu_ps(from.add(24)),
            ]
        }

        fn load_f16(from: &[f16; LANES]) -> [__m256; 4] {
            let from = from.as_ptr().cast::<__m128i>();
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from)),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(1))),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(2))),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(3))),
            ]
        }

        fn load_bf16(from: &[bf16; LANES]) -> [__m256; 4] {
            let from = from.as_ptr().cast::<__m128i>();
            [
                widen(_mm_loadu_si128(from)),
                widen(_mm_loadu_si128(from.add(1))),
                widen(_mm_loadu_si128(from.add(2))),
                widen(_mm_loadu_si128(from.add(3))),
            ]
        }

        fn store(block: [__m256; 4], to: &mut [f32; LANES]) {
            let to = to.as_mut_ptr();
            _mm256_storeu_ps(to, block[0]);
            _mm256_storeu_ps(to.add(8), block[1]);
            _mm256_storeu_ps(to.add(16), block[2]);
            _mm256_storeu_ps(to.add(24), block[3]);
        }

        fn store_f16(block: [__m256; 4], to: &mut [f16; LANES]) {
            let to = to.as_mut_ptr().cast::<__m128i>();
            _mm_storeu_si128(to, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(block[0]));
            _mm_storeu_si128(to.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(block[1]));
            _mm_storeu_si128(to.add(2), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(block[2]));
            _mm_storeu_si128(to.add(3), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(block[3]));
        }

        fn store_bf16(block: [__m256; 4], to: &mut [bf16; LANES]) {
            let to = to.as_mut_ptr().cast::<__m256i>();
            _mm256_storeu_si256(to, narrow(block[0], block[1]));
            _mm256_storeu_si256(to.add(1), narrow(block[2], block[3]));
        }

        fn stream(from: &[Line], to: &mut [Line]) {
            for (from, to) in from.iter().zip(to) {
                let (from, to) = (from.0.as_ptr().cast::<__m256i>(), to.0.as_mut_ptr().cast());
                _mm256_stream_si256(to, _mm256_load_si256(from));
                _mm256_stream_si256(to.add(1), _mm256_load_si256(from.add(1)));
            }
        }

        fn fence() {
            _mm_sfence();
        }

        fn transpose(x: &mut [[f32; 8]; 8]) {
            transpose(x);
        }

        fn splat(x: f32) -> __m256 {
            _mm256_set1_ps(x)
        }

        fn first(a: __m256) -> f32 {
            _mm256_cvtss_f32(a)
        }

        fn fill(x: f32) -> [__m256; 4] {
            [_mm256_set1_ps(x); 4]
        }

        fn add(a: __m256, b: __m256) -> __m256 {
            _mm256_add_ps(a, b)
        }

        fn sub(a: __m256, b: __m256) -> __m256 {
            _mm256_sub_ps(a, b)
        }

        fn mul(a: __m256, b: __m256) -> __m256 {
            _mm256_mul_ps(a, b)
        }

        fn div(a: __m256, b: __m256) -> __m256 {
            _mm256_div_ps(a, b)
        }

        fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            _mm256_fmadd_ps(a, b, c)
        }

        fn remainder(x: __m256, high: __m256, low: __m256, n: __m256) -> __m256 {
            _mm256_fmadd_ps(x, low, _mm256_fmsub_ps(x, high, n))
        }

        fn max(a: __m256, b: __m256) -> __m256 {
            _mm256_max_ps(a, b)
        }

        fn copysign(a: __m256, b: __m256) -> __m256 {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
        }

        fn integer_to_exponent(a: __m256) -> __m256 {
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a)))
        }

        fn if_equal(a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
            _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b))
        }

        fn any_equal(a: __m256, b: __m256) -> bool {
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)) != 0
        }
    }
}

/// bf16 is the upper half of an `f32`.
#[inline(always)]
unsafe fn widen(x: __m128i) -> __m256 {
    // SAFETY: see above.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x))) }
}

#[inline(always)]
unsafe fn narrow(low: __m256, high: __m256) -> __m256i {
    // SAFETY: see above.
    unsafe {
        // The pack works on halves of registers: their quarters come out as 0, 2, 1, 3.
        _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(upper(low), upper(high)))
    }
}

/// The bf16 that is nearest to each number. Of a NaN the quiet bit is set, and the rest cut off.
#[inline(always)]
unsafe fn upper(x: __m256) -> __m256i {
    // SAFETY: see above.
    unsafe {
        let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, is_nan))
    }
}

/// By pairs of numbers, then of pairs, then of halves.
#[inline(always)]
pub(super) unsafe fn transpose(x: &mut [[f32; 8]; 8]) {
    // SAFETY: see above.
    unsafe {
        let load = |row: usize| _mm256_loadu_ps(x[row].as_ptr());
        let (a, b, c, d) = (load(0), load(1), load(2), load(3));
        let (e, f, g, h) = (load(4), load(5), load(6), load(7));
        let (ab0, ab1) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd0, cd1) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        let (ef0, ef1) = (_mm256_unpacklo_ps(e, f), _mm256_unpackhi_ps(e, f));
        let (gh0, gh1) = (_mm256_unpacklo_ps(g, h), _mm256_unpackhi_ps(g, h));
        let quads = [
            (_mm256_shuffle_ps::<0x44>(ab0, cd0), _mm256_shuffle_ps::<0x44>(ef0, gh0)),
            (_mm256_shuffle_ps::<0xee>(ab0, cd0), _mm256_shuffle_ps::<0xee>(ef0, gh0)),
            (_mm256_shuffle_ps::<0x44>(ab1, cd1), _mm256_shuffle_ps::<0x44>(ef1, gh1)),
            (_mm256_shuffle_ps::<0xee>(ab1, cd1), _mm256_shuffle_ps::<0xee>(ef1, gh1)),
        ];
        for (row, (low, high)) in quads.into_iter().enumerate() {
            _mm256_storeu_ps(x[row].as_mut_ptr(), _mm256_permute2f128_ps::<0x20>(low, high));
            _mm256_storeu_ps(x[row + 4].as_mut_ptr(), _mm256_permute2f128_ps::<0x31>(low, high));
        }
    }
}
