//! AVX-512: registers of 16 numbers.
#![allow(unsafe_code)] // intrinsics

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{COLUMNS_REACH, LANES, Lanes, Level, Line, SQRT_HALF, Simd, Vectorised, rows_reach};

/// The proof of AVX-512 F, BW and DQ.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub fn new() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        has.then_some(Avx512(()))
    }
}

/// Makes a function of intrinsics safe. The processor has them: there is an `Avx512`. They load and
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

impl Simd for Avx512 {
    type V = __m512;
    type Block = [__m512; 2];
    type Sum = __m512d;

    fn call<W: Vectorised>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
        fn compiled<W: Vectorised>(simd: Avx512, work: W) -> W::Output {
            work.run(simd)
        }
        // SAFETY: the processor has them: there is an `Avx512`.
        unsafe { compiled(self, work) }
    }

    safe! {
        fn load(from: &[f32; LANES]) -> [__m512; 2] {
            let from = from.as_ptr();
            [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))]
        }

        fn load_f16(from: &[f16; LANES]) -> [__m512; 2] {
            let from = from.as_ptr().cast::<__m256i>();
            [
                _mm512_cvtph_ps(_mm256_loadu_si256(from)),
                _mm512_cvtph_ps(_mm256_loadu_si256(from.add(1))),
            ]
        }

        fn load_bf16(from: &[bf16; LANES]) -> [__m512; 2] {
            let from = from.as_ptr().cast::<__m256i>();
            [widen(_mm256_loadu_si256(from)), widen(_mm256_loadu_si256(from.add(1)))]
        }

        fn store(block: [__m512; 2], to: &mut [f32; LANES]) {
            let to = to.as_mut_ptr();
            _mm512_storeu_ps(to, block[0]);
            _mm512_storeu_ps(to.add(16), block[1]);
        }

        fn store_f16(block: [__m512; 2], to: &mut [f16; LANES]) {
            _mm512_storeu_si512(to.as_mut_ptr().cast(), narrow_f16(block));
        }

        fn store_bf16(block: [__m512; 2], to: &mut [bf16; LANES]) {
            _mm512_storeu_si512(to.as_mut_ptr().cast(), narrow_bf16(block));
        }

        fn stream(block: [__m512; 2], to: &mut Lanes) {
            let to = to.0.as_mut_ptr();
            _mm512_stream_ps(to, block[0]);
            _mm512_stream_ps(to.add(16), block[1]);
        }

        fn stream_f16(block: [__m512; 2], to: &mut Lanes<f16>) {
            _mm512_stream_si512(to.0.as_mut_ptr().cast(), narrow_f16(block));
        }

        fn stream_bf16(block: [__m512; 2], to: &mut Lanes<bf16>) {
            _mm512_stream_si512(to.0.as_mut_ptr().cast(), narrow_bf16(block));
        }

        fn stream_line(from: &Line, to: &mut Line) {
            let line = _mm512_load_si512(from.0.as_ptr().cast());
            _mm512_stream_si512(to.0.as_mut_ptr().cast(), line);
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
            let mut rows = [_mm512_setzero_ps(); 8];
            for (i, row) in rows.iter_mut().enumerate() {
                let first = _mm512_castps256_ps512(_mm256_loadu_ps(from.add(i * stride)));
                *row = _mm512_insertf32x8::<1>(first, _mm256_loadu_ps(from.add((i + 8) * stride)));
            }
            let even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
            let odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
            let [a, b, c, d, e, f, g, h] = rows;
            let halves = quads([a, b, c, d]).into_iter().zip(quads([e, f, g, h]));
            for (i, (low, high)) in halves.enumerate() {
                _mm512_storeu_ps(to.add(i * LANES), choose(low, even, high));
                _mm512_storeu_ps(to.add((i + 4) * LANES), choose(low, odd, high));
            }
        }

        fn to_rows(from: &[f32], to: &mut [f32], stride: usize) {
            let (from, to) = (from[..COLUMNS_REACH].as_ptr(), to[..rows_reach(stride)].as_mut_ptr());
            let mut columns = [_mm512_setzero_ps(); 8];
            for (i, column) in columns.iter_mut().enumerate() {
                *column = _mm512_loadu_ps(from.add(i * LANES));
            }
            let [a, b, c, d, e, f, g, h] = columns;
            let (low, high) = (quads([a, b, c, d]), quads([e, f, g, h]));
            let lower = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
            let upper = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
            for (half, lanes) in [lower, upper].into_iter().enumerate() {
                let mut rows = [_mm512_setzero_ps(); 4];
                for (row, (&low, &high)) in rows.iter_mut().zip(low.iter().zip(&high)) {
                    *row = choose(low, lanes, high);
                }
                let to = to.add(8 * half * stride);
                for (i, &rows) in rows.iter().enumerate() {
                    _mm256_storeu_ps(to.add(i * stride), _mm512_castps512_ps256(rows));
                }
                for (i, &rows) in rows.iter().enumerate() {
                    _mm256_storeu_ps(to.add((i + 4) * stride), _mm512_extractf32x8_ps::<1>(rows));
                }
            }
        }

        fn largest(block: [__m512; 2]) -> f32 {
            _mm512_reduce_max_ps(_mm512_max_ps(block[1], block[0]))
        }

        fn no_sum() -> __m512d {
            _mm512_setzero_pd()
        }

        fn add_to(sum: __m512d, block: [__m512; 2]) -> __m512d {
            _mm512_add_pd(sum, _mm512_add_pd(add_halves(block[0]), add_halves(block[1])))
        }

        fn lanes(sum: __m512d) -> [f64; 8] {
            let mut lanes = [0.0; 8];
            _mm512_storeu_pd(lanes.as_mut_ptr(), sum);
            lanes
        }

        fn splat(x: f32) -> __m512 {
            _mm512_set1_ps(x)
        }

        fn first(a: __m512) -> f32 {
            _mm512_cvtss_f32(a)
        }

        fn fill(x: f32) -> [__m512; 2] {
            [_mm512_set1_ps(x); 2]
        }

        fn add(a: __m512, b: __m512) -> __m512 {
            _mm512_add_ps(a, b)
        }

        fn sub(a: __m512, b: __m512) -> __m512 {
            _mm512_sub_ps(a, b)
        }

        fn mul(a: __m512, b: __m512) -> __m512 {
            _mm512_mul_ps(a, b)
        }

        fn div(a: __m512, b: __m512) -> __m512 {
            _mm512_div_ps(a, b)
        }

        fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            _mm512_fmadd_ps(a, b, c)
        }

        fn remainder(x: __m512, high: __m512, low: __m512, n: __m512) -> __m512 {
            _mm512_fmadd_ps(x, low, _mm512_fmsub_ps(x, high, n))
        }

        fn max(a: __m512, b: __m512) -> __m512 {
            _mm512_max_ps(a, b)
        }

        fn copysign(a: __m512, b: __m512) -> __m512 {
            let sign = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(sign, a), _mm512_and_ps(sign, b))
        }

        fn integer_to_exponent(a: __m512) -> __m512 {
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a)))
        }

        fn split(a: __m512) -> (__m512, __m512) {
            let bits = _mm512_castps_si512(a);
            let n = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(SQRT_HALF)));
            let v = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(n));
            (_mm512_castsi512_ps(v), _mm512_cvtepi32_ps(n))
        }

        fn if_equal(a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), y, x)
        }

        fn if_less(a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x)
        }

        fn equal(a: __m512, b: __m512) -> u32 {
            _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b).into()
        }
    }
}

/// The sums of numbers that are 8 lanes apart.
#[inline(always)]
unsafe fn add_halves(x: __m512) -> __m512d {
    // SAFETY: see above.
    unsafe {
        let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(x));
        _mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(x)), high)
    }
}

/// bf16 is the upper half of an `f32`.
#[inline(always)]
unsafe fn widen(x: __m256i) -> __m512 {
    // SAFETY: see above.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x))) }
}

/// The f16 that are nearest to these numbers.
#[inline(always)]
unsafe fn narrow_f16(x: [__m512; 2]) -> __m512i {
    // SAFETY: see above.
    unsafe {
        join(
            _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]),
            _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]),
        )
    }
}

#[inline(always)]
unsafe fn join(low: __m256i, high: __m256i) -> __m512i {
    // SAFETY: see above.
    unsafe { _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high) }
}

/// The upper halves of numbers.
const UPPER: [u16; LANES] = {
    let mut halves = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        halves[lane] = 2 * lane as u16 + 1;
        lane += 1;
    }
    halves
};

/// The bf16 that are nearest to these numbers.
#[inline(always)]
unsafe fn narrow_bf16(x: [__m512; 2]) -> __m512i {
    // SAFETY: see above.
    unsafe {
        let upper = _mm512_loadu_si512(UPPER.as_ptr().cast());
        _mm512_permutex2var_epi16(rounded(x[0]), upper, rounded(x[1]))
    }
}

/// Numbers whose upper half is the nearest bf16. Of a NaN the quiet bit is set, and the rest cut off. The
/// instruction for it would flush subnormal numbers.
#[inline(always)]
unsafe fn rounded(x: __m512) -> __m512i {
    // SAFETY: see above.
    unsafe {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(1 << 16));
        let half = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
        let even = _mm512_mask_add_epi32(half, odd, half, _mm512_set1_epi32(1));
        let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        _mm512_mask_or_epi32(even, is_nan, bits, _mm512_set1_epi32(0x0040_0000))
    }
}

/// Transposes 4 by 4 numbers in each quarter of the registers.
#[inline(always)]
unsafe fn quads([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: see above.
    unsafe {
        let (ab0, ab1) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd0, cd1) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps::<0x44>(ab0, cd0),
            _mm512_shuffle_ps::<0xee>(ab0, cd0),
            _mm512_shuffle_ps::<0x44>(ab1, cd1),
            _mm512_shuffle_ps::<0xee>(ab1, cd1),
        ]
    }
}

/// Pairs of the numbers of a, and of b from 8 on.
#[inline(always)]
unsafe fn choose(a: __m512, pairs: __m512i, b: __m512) -> __m512 {
    // SAFETY: see above.
    unsafe {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        _mm512_castpd_ps(_mm512_permutex2var_pd(a, pairs, b))
    }
}
