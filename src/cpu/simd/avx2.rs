//! AVX2, FMA and F16C: registers of 8 numbers.
#![allow(unsafe_code)] // intrinsics

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{COLUMNS_REACH, LANES, Lanes, Level, Line, SQRT_HALF, Simd, Vectorised, rows_reach};

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
    type Sum = [__m256d; 2];

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
            let to = to.as_mut_ptr().cast::<__m256i>();
            _mm256_storeu_si256(to, narrow_f16(block[0], block[1]));
            _mm256_storeu_si256(to.add(1), narrow_f16(block[2], block[3]));
        }

        fn store_bf16(block: [__m256; 4], to: &mut [bf16; LANES]) {
            let to = to.as_mut_ptr().cast::<__m256i>();
            _mm256_storeu_si256(to, narrow_bf16(block[0], block[1]));
            _mm256_storeu_si256(to.add(1), narrow_bf16(block[2], block[3]));
        }

        fn stream(block: [__m256; 4], to: &mut Lanes) {
            let to = to.0.as_mut_ptr();
            _mm256_stream_ps(to, block[0]);
            _mm256_stream_ps(to.add(8), block[1]);
            _mm256_stream_ps(to.add(16), block[2]);
            _mm256_stream_ps(to.add(24), block[3]);
        }

        fn stream_f16(block: [__m256; 4], to: &mut Lanes<f16>) {
            let to = to.0.as_mut_ptr().cast::<__m256i>();
            _mm256_stream_si256(to, narrow_f16(block[0], block[1]));
            _mm256_stream_si256(to.add(1), narrow_f16(block[2], block[3]));
        }

        fn stream_bf16(block: [__m256; 4], to: &mut Lanes<bf16>) {
            let to = to.0.as_mut_ptr().cast::<__m256i>();
            _mm256_stream_si256(to, narrow_bf16(block[0], block[1]));
            _mm256_stream_si256(to.add(1), narrow_bf16(block[2], block[3]));
        }

        fn stream_line(from: &Line, to: &mut Line) {
            let (from, to) = (from.0.as_ptr().cast::<__m256i>(), to.0.as_mut_ptr().cast());
            _mm256_stream_si256(to, _mm256_load_si256(from));
            _mm256_stream_si256(to.add(1), _mm256_load_si256(from.add(1)));
        }

        fn fence() {
            _mm_sfence();
        }

        fn prefetch(address: *const u8, level: Level) {
            match level {
                Level::First => _mm_prefetch::<_MM_HINT_T0>(address.cast()),
                Level::Second => _mm_prefetch::<_MM_HINT_T1>(address.cast()),
            }
        }

        fn to_columns(from: &[f32], stride: usize, to: &mut [f32]) {
            let (from, to) = (from[..rows_reach(stride)].as_ptr(), to[..COLUMNS_REACH].as_mut_ptr());
            for half in [0, 8] {
                let mut rows = [_mm256_setzero_ps(); 8];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = _mm256_loadu_ps(from.add((half + i) * stride));
                }
                for (i, column) in transpose(rows).into_iter().enumerate() {
                    _mm256_storeu_ps(to.add(i * LANES + half), column);
                }
            }
        }

        fn to_rows(from: &[f32], to: &mut [f32], stride: usize) {
            let (from, to) = (from[..COLUMNS_REACH].as_ptr(), to[..rows_reach(stride)].as_mut_ptr());
            for half in [0, 8] {
                let mut columns = [_mm256_setzero_ps(); 8];
                for (i, column) in columns.iter_mut().enumerate() {
                    *column = _mm256_loadu_ps(from.add(i * LANES + half));
                }
                for (i, row) in transpose(columns).into_iter().enumerate() {
                    _mm256_storeu_ps(to.add((half + i) * stride), row);
                }
            }
        }

        fn largest(block: [__m256; 4]) -> f32 {
            let x = _mm256_max_ps(_mm256_max_ps(block[2], block[0]), _mm256_max_ps(block[3], block[1]));
            let x = _mm_max_ps(_mm256_extractf128_ps::<1>(x), _mm256_castps256_ps128(x));
            let x = _mm_max_ps(_mm_movehl_ps(x, x), x);
            _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(x), x))
        }

        fn no_sum() -> [__m256d; 2] {
            [_mm256_setzero_pd(); 2]
        }

        fn add_to(sum: [__m256d; 2], block: [__m256; 4]) -> [__m256d; 2] {
            let (a, b) = (widen_f64(block[0]), widen_f64(block[1]));
            let (c, d) = (widen_f64(block[2]), widen_f64(block[3]));
            let low = _mm256_add_pd(_mm256_add_pd(a[0], b[0]), _mm256_add_pd(c[0], d[0]));
            let high = _mm256_add_pd(_mm256_add_pd(a[1], b[1]), _mm256_add_pd(c[1], d[1]));
            [_mm256_add_pd(sum[0], low), _mm256_add_pd(sum[1], high)]
        }

        fn lanes(sum: [__m256d; 2]) -> [f64; 8] {
            let mut lanes = [0.0; 8];
            _mm256_storeu_pd(lanes.as_mut_ptr(), sum[0]);
            _mm256_storeu_pd(lanes.as_mut_ptr().add(4), sum[1]);
            lanes
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

        fn split(a: __m256) -> (__m256, __m256) {
            let bits = _mm256_castps_si256(a);
            let n = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(SQRT_HALF)));
            let v = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(n));
            (_mm256_castsi256_ps(v), _mm256_cvtepi32_ps(n))
        }

        fn if_equal(a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
            _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b))
        }

        fn if_less(a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
            _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b))
        }

        fn equal(a: __m256, b: __m256) -> u32 {
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)) as u32
        }
    }
}

/// bf16 is the upper half of an `f32`.
#[inline(always)]
unsafe fn widen(x: __m128i) -> __m256 {
    // SAFETY: see above.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x))) }
}

/// The f16 that are nearest to these numbers.
#[inline(always)]
unsafe fn narrow_f16(low: __m256, high: __m256) -> __m256i {
    // SAFETY: see above.
    unsafe {
        _mm256_set_m128i(
            _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(high),
            _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(low),
        )
    }
}

#[inline(always)]
unsafe fn narrow_bf16(low: __m256, high: __m256) -> __m256i {
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

#[inline(always)]
unsafe fn widen_f64(x: __m256) -> [__m256d; 2] {
    // SAFETY: see above.
    unsafe {
        let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(x));
        [_mm256_cvtps_pd(_mm256_castps256_ps128(x)), high]
    }
}

/// Exchanges rows and columns of 8 by 8 numbers: by pairs of numbers, then of pairs, then of halves.
#[inline(always)]
unsafe fn transpose([a, b, c, d, e, f, g, h]: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: see above.
    unsafe {
        let (low, high) = (quads([a, b, c, d]), quads([e, f, g, h]));
        let mut x = [_mm256_setzero_ps(); 8];
        for (i, (&low, &high)) in low.iter().zip(&high).enumerate() {
            x[i] = _mm256_permute2f128_ps::<0x20>(low, high);
            x[i + 4] = _mm256_permute2f128_ps::<0x31>(low, high);
        }
        x
    }
}

/// Transposes 4 by 4 numbers in each half of the registers.
#[inline(always)]
unsafe fn quads([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: see above.
    unsafe {
        let (ab0, ab1) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd0, cd1) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0x44>(ab0, cd0),
            _mm256_shuffle_ps::<0xee>(ab0, cd0),
            _mm256_shuffle_ps::<0x44>(ab1, cd1),
            _mm256_shuffle_ps::<0xee>(ab1, cd1),
        ]
    }
}
