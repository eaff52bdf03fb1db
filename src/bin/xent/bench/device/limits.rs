//! What the memory of the processor allows: reading, and reading with a non-temporal write of as many
//! bytes. The benchmark of the CPU path, `benches/cpu`, has this file too.
#![allow(unsafe_code)] // the processor's own loads and stores

use std::hint::black_box;

use rayon::ThreadPool;
use rayon::prelude::*;

/// What moves between memory and caches.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line(pub [u8; 64]);

/// What a thread takes at a time, in lines: 1 MiB.
const PIECE: usize = 1 << 14;

pub fn read(pool: &ThreadPool, from: &[Line]) {
    pool.install(|| from.par_chunks(PIECE).for_each(simd::read));
}

pub fn copy(pool: &ThreadPool, from: &[Line], to: &mut [Line]) {
    let to = to[..from.len()].par_chunks_mut(PIECE);
    pool.install(|| from.par_chunks(PIECE).zip(to).for_each(|(from, to)| simd::copy(from, to)));
}

/// 32 bytes at a time: wider ones are not faster, since the processor writes whole lines.
#[cfg(target_arch = "x86_64")]
mod simd {
    use std::arch::x86_64::*;

    use super::{Line, black_box, plain};

    pub fn read(from: &[Line]) {
        match is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            true => unsafe { read_avx2(from) },
            false => plain::read(from),
        }
    }

    pub fn copy(from: &[Line], to: &mut [Line]) {
        match is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            true => unsafe { copy_avx2(from, to) },
            false => plain::copy(from, to),
        }
    }

    #[target_feature(enable = "avx2")]
    fn read_avx2(from: &[Line]) {
        let mut all = [_mm256_setzero_si256(); 4];
        for pair in from.as_chunks::<2>().0 {
            let halves = pair.as_ptr().cast::<__m256i>();
            for (index, all) in all.iter_mut().enumerate() {
                // SAFETY: two lines are four aligned halves.
                let half = unsafe { _mm256_load_si256(halves.add(index)) };
                *all = _mm256_xor_si256(*all, half);
            }
        }
        black_box(all);
    }

    #[target_feature(enable = "avx2")]
    fn copy_avx2(from: &[Line], to: &mut [Line]) {
        for (from, to) in from.iter().zip(to) {
            let (from, to) = (from.0.as_ptr().cast(), to.0.as_mut_ptr().cast::<__m256i>());
            // SAFETY: a line is two aligned halves.
            unsafe {
                let (a, b) = (_mm256_load_si256(from), _mm256_load_si256(from.add(1)));
                _mm256_stream_si256(to, a);
                _mm256_stream_si256(to.add(1), b);
            }
        }
        _mm_sfence();
    }
}

#[cfg(target_arch = "aarch64")]
mod simd {
    use std::arch::aarch64::*;
    use std::arch::asm;

    use super::{Line, black_box};

    pub fn read(from: &[Line]) {
        // SAFETY: every such processor has NEON.
        unsafe {
            let mut all = [vdupq_n_u8(0); 4];
            for line in from {
                for (index, all) in all.iter_mut().enumerate() {
                    *all = veorq_u8(*all, vld1q_u8(line.0.as_ptr().add(16 * index)));
                }
            }
            black_box(all);
        }
    }

    /// STNP, a store that is not to stay in the cache, has no function in the standard library.
    pub fn copy(from: &[Line], to: &mut [Line]) {
        for (from, to) in from.iter().zip(to) {
            // SAFETY: reads one line, writes one line.
            unsafe {
                asm!(
                    "ldp {a:q}, {b:q}, [{from}]",
                    "ldp {c:q}, {d:q}, [{from}, #32]",
                    "stnp {a:q}, {b:q}, [{to}]",
                    "stnp {c:q}, {d:q}, [{to}, #32]",
                    from = in(reg) from.0.as_ptr(),
                    to = in(reg) to.0.as_mut_ptr(),
                    a = out(vreg) _, b = out(vreg) _, c = out(vreg) _, d = out(vreg) _,
                    options(nostack, preserves_flags),
                );
            }
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use plain as simd;

/// What the compiler makes of it.
#[cfg(not(target_arch = "aarch64"))]
mod plain {
    use super::{Line, black_box};

    pub fn read(from: &[Line]) {
        let mut all = [0u8; 64];
        for line in from {
            all.iter_mut().zip(line.0).for_each(|(all, byte)| *all ^= byte);
        }
        black_box(all);
    }

    pub fn copy(from: &[Line], to: &mut [Line]) {
        to.copy_from_slice(from);
    }
}
