//! The errors that the functions state, against `f64`: on every number where `XENT_EXTENDED` is set,
//! else on some of them.

mod log;

use std::ops::RangeInclusive;

use rayon::prelude::*;

use super::*;
use crate::cpu::simd::{InstructionSet, LANES, Vectorised};

/// 2^-24, the unit of relative errors.
const U: f64 = 1.0 / 16_777_216.0;

/// Numbers that are computed at once.
const CHUNK: usize = if cfg!(miri) { LANES } else { 32 * LANES };

type Chunk = [f32; CHUNK];

/// Every so many-th number is tested: this, or all where there is time.
fn step(usually: usize) -> usize {
    match std::env::var_os("XENT_EXTENDED") {
        _ if cfg!(miri) => usually * 30_011,
        Some(_) => 1,
        None => usually,
    }
}

/// Numbers count up from 0, which is number 0.
fn index(x: f32) -> i64 {
    let magnitude = i64::from(x.abs().to_bits());
    if x < 0.0 { -magnitude } else { magnitude }
}

fn number(index: i64) -> f32 {
    let magnitude = f32::from_bits(index.unsigned_abs() as u32);
    if index < 0 { -magnitude } else { magnitude }
}

/// The largest of several things each, over all chunks of the numbers of a range.
fn largest<const N: usize>(
    numbers: RangeInclusive<f32>,
    step: usize,
    of: impl Fn(&Chunk) -> [f64; N] + Sync,
) -> [f64; N] {
    let (first, last) = (index(*numbers.start()), index(*numbers.end()));
    let stride = (CHUNK * step) as i64;
    let chunk = |chunk: i64| -> Chunk {
        let at = |lane| first + chunk * stride + (lane * step) as i64;
        std::array::from_fn(|lane| number(at(lane).min(last)))
    };
    let larger = |a: [f64; N], b: [f64; N]| std::array::from_fn(|i| f64::max(a[i], b[i]));
    let chunks = 0..(last - first) / stride + 1;
    let of = |index| of(&chunk(index));
    match cfg!(miri) {
        true => chunks.map(of).fold([0.0; N], larger), // stacked borrows do not allow rayon's queues
        false => chunks.into_par_iter().map(of).reduce(|| [0.0; N], larger),
    }
}

/// The relative error in units of u: infinite where it would be NaN.
fn error(actual: f64, exact: f64) -> f64 {
    match (actual - exact).abs() / exact.abs() / U {
        _ if actual == exact => 0.0,
        error if error.is_nan() => f64::INFINITY,
        error => error,
    }
}

#[derive(Clone, Copy)]
struct Exponentials<'a> {
    factor: Factor,
    reference: f32,
    x: &'a Chunk,
}

impl Vectorised for Exponentials<'_> {
    type Output = Chunk;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Chunk {
        let exponential = Exponential::new(s, self.factor, self.reference);
        let mut result = [0.0; CHUNK];
        for (x, to) in self.x.as_chunks().0.iter().zip(result.as_chunks_mut().0) {
            let mut block = s.load(x);
            for x in block.as_mut() {
                *x = exponential.at(s, *x);
            }
            s.store(block, to);
        }
        result
    }
}

/// L x = n + r with an integer n: n and 2^r.
fn exp2(factor: f64, x: f32) -> (f64, f64) {
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    let high = f64::from_bits(factor.to_bits() & !0xff_ffff);
    let x = f64::from(x);
    let n = (x * factor + ROUND) - ROUND;
    // The first product is exact.
    (n, ((x * high - n) + x * (factor - high)).exp2())
}

/// 2^n for what is a normal `f64`.
fn power(n: f64) -> f64 {
    f64::from_bits(((1023.0 + n) as u64) << 52)
}

/// The largest errors of the exponential, without and with a fused multiply-add.
fn exponential_errors(factor: f64, reference: f32, step: usize) -> [f64; 2] {
    let lowest = (f64::from(reference) - 187.0) / factor;
    let highest = (f64::from(reference) + 1.0) / factor;
    largest(lowest as f32..=highest as f32, step, |x| {
        let work = Exponentials { factor: Factor::new(factor), reference, x };
        let exact = x.map(|x| exp2(factor, x));
        errors_of(
            |set| set.run(work),
            |lane, actual| {
                let (n, significand) = exact[lane];
                let raised = power(n - f64::from(reference) + f64::from(HEADROOM));
                let normal = f64::from(f32::MIN_POSITIVE);
                if raised * significand >= normal {
                    error(actual / raised, significand)
                } else if (0.0..=normal).contains(&actual) {
                    0.0
                } else {
                    f64::INFINITY
                }
            },
        )
    })
}

/// The largest errors of what the portable and the other instruction sets give; the others agree.
fn errors_of(run: impl Fn(InstructionSet) -> Chunk, error: impl Fn(usize, f64) -> f64) -> [f64; 2] {
    let worst = |chunk: &Chunk| {
        chunk.iter().enumerate().map(|(lane, &x)| error(lane, x.into())).fold(0.0, f64::max)
    };
    let mut sets = InstructionSet::available();
    let portable = worst(&run(sets.next().unwrap()));
    let others: Vec<Chunk> = sets.map(run).collect();
    for other in &others {
        assert!(other.iter().zip(&others[0]).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
    [portable, others.first().map_or(0.0, worst)]
}

#[derive(Clone, Copy)]
struct SoftCaps<'a> {
    cap: f32,
    scale: f32,
    steepest: f32,
    x: &'a Chunk,
}

impl Vectorised for SoftCaps<'_> {
    type Output = [Chunk; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [Chunk; 2] {
        let (cap, scale) = (f64::from(self.cap), f64::from(self.scale));
        let factor = Factor::new(2.0 * scale.abs() / cap * LOG2_E);
        let soft_cap = SoftCap::new(s, factor, self.cap, self.steepest);
        let mut results = [[0.0; CHUNK]; 2];
        for (at, x) in self.x.as_chunks().0.iter().enumerate() {
            let (z, slope) = soft_cap.block(s, s.load(x));
            for (result, block) in results.iter_mut().zip([z, slope]) {
                s.store(block, &mut result.as_chunks_mut().0[at]);
            }
        }
        results
    }
}

/// The errors that the documentation states: without and with a fused multiply-add.
const EXPONENTIAL: [f64; 2] = [1.9, 1.45];
const SOFT_CAP: [f64; 2] = [2.7, 2.2];
const SLOPE: [f64; 2] = [4.8, 3.9];

fn assert_within(errors: [f64; 2], bounds: [f64; 2], of: &str) {
    println!("{of}: {errors:.3?} u");
    assert!(errors.iter().zip(bounds).all(|(&error, bound)| error <= bound), "{of}: {errors:?} u");
}

/// The first ones under Miri.
fn some<T>(all: &[T]) -> &[T] {
    if cfg!(miri) { &all[..1] } else { all }
}

/// Scales of logits: those that may come, those that leave L all 48 bits, and one that makes it 1.
const SCALES: [f64; 6] = [1.0, 0.7, 1.5, 1e-3, 1e6, std::f64::consts::LN_2];

#[test]
fn exponentials_of_a_reference_of_0() {
    for &scale in some(&SCALES) {
        let step = if scale == 1.0 { step(1009) } else { 16 * step(257) };
        let errors = exponential_errors(scale * LOG2_E, 0.0, step);
        assert_within(errors, EXPONENTIAL, &format!("scale {scale}"));
    }
}

/// Where L x is large, numbers are few.
#[test]
fn exponentials_of_other_references() {
    for &scale in some(&SCALES) {
        for size in [1000.0, 65_536.0, MAX_EXPONENT] {
            for reference in [size, -size] {
                let errors = exponential_errors(scale * LOG2_E, reference, step(3));
                let of = format!("scale {scale}, reference {reference}");
                assert_within(errors, EXPONENTIAL, &of);
            }
        }
    }
}

/// Numbers that a chunk repeats.
fn chunk(numbers: &[f32]) -> Chunk {
    std::array::from_fn(|lane| numbers[lane % numbers.len()])
}

#[test]
fn exponentials_at_the_ends() {
    let smallest = f32::from_bits(1);
    let ones = [0.0, -0.0, smallest, -smallest, 1e-20, -1e-20];
    let zeros = [f32::NEG_INFINITY, f32::MIN, -1e9, -131.0];
    let undefined = [f32::NAN, -f32::NAN, f32::INFINITY];
    for set in InstructionSet::available() {
        let run = |factor: f64, reference: f32, numbers: &[f32]| {
            let (factor, x) = (Factor::new(factor), &chunk(numbers));
            set.run(Exponentials { factor, reference, x })[..numbers.len()].to_vec()
        };
        let one = 2f32.powi(HEADROOM);
        assert_eq!(run(LOG2_E, 0.0, &ones), [one; 6]);
        assert_eq!(run(LOG2_E, 0.0, &zeros), [0.0; 4]);
        assert!(run(LOG2_E, 0.0, &undefined).iter().all(|e| e.is_nan()));
        for reference in [0.0, 1.0, 1000.0, -1000.0, MAX_EXPONENT, -MAX_EXPONENT] {
            let x = [0.0, 1.0, -1.0, -100.0, -185.0, -186.0, -187.0, -188.0, -1e30];
            let powers = x.map(|x| if x > -187.0 { 2f32.powf(x + HEADROOM as f32) } else { 0.0 });
            assert_eq!(run(1.0, reference, &x.map(|x| x + reference)), powers);
        }
        // The ends of what a factor may be.
        for factor in [2f64.powi(-100), 2f64.powi(100)] {
            let x = [0.0, -1.0 / factor as f32, f32::NEG_INFINITY, f32::NAN];
            let results = run(factor, 0.0, &x);
            assert_eq!(results[..3], [one, one / 2.0, 0.0]);
            assert!(results[3].is_nan());
        }
    }
}

/// L that the rounding to n may come to a tie of, and L that it may not.
#[test]
fn the_reference_does_not_change_significands() {
    for &factor in some(&[LOG2_E, 0.7 * LOG2_E, 1.25, 1.0]) {
        let [differences] = largest(-80.0..=80.0, 16 * step(257), |x| {
            let at = |reference| Exponentials { factor: Factor::new(factor), reference, x };
            let changed = InstructionSet::available().flat_map(|set| {
                let middle = set.run(at(0.0));
                [-40.0, -2.0, 2.0, 64.0].map(|reference| {
                    let other = set.run(at(reference)).map(|e| e * 2f32.powf(reference));
                    let in_range = |lane: &usize| {
                        let exponent = f64::from(x[*lane]) * factor;
                        let exponents = [exponent, exponent - f64::from(reference)];
                        exponents.iter().all(|x| (-180.0..60.0).contains(x))
                    };
                    let lanes = (0..CHUNK).filter(in_range);
                    lanes.filter(|&lane| middle[lane].to_bits() != other[lane].to_bits()).count()
                })
            });
            [changed.sum::<usize>() as f64]
        });
        assert_eq!(differences, 0.0, "L = {factor}");
    }
}

#[test]
fn softly_capped_logits() {
    let options: [(f32, f32, f32); 9] = [
        (30.0, 1.0, 1.0),
        (0.5, 1.0, 1.0),
        (1e6, 1.0, 1.0),
        (30.0, 0.7, 1.0),
        (50.0, -1.7, 1.0),
        (7.3, 123.456, 64.0),
        (1e-20, 1e-30, 1.0),
        (3e38, 1e37, 1_073_741_824.0),
        (1e20, 1e30, 1_073_741_824.0),
    ];
    for &(cap, scale, steepest) in some(&options) {
        let (c, k) = (f64::from(cap), f64::from(scale));
        let last = 100.0 * (cap / scale.abs());
        // All sizes; and around where one formula takes over from the other.
        for (x, step) in [(1e-30..=last, 16 * step(257)), (last / 150.0..=last / 90.0, step(257))] {
            let errors = largest(x, step, |x| {
                let y = x.map(|x| f64::from(x) * k.abs() / c);
                let all = |which: usize| {
                    move |set: InstructionSet| set.run(SoftCaps { cap, scale, steepest, x })[which]
                };
                let smallest = f64::from(f32::MIN_POSITIVE);
                let z = errors_of(all(0), |lane, z| {
                    let exact = c * y[lane].tanh();
                    if exact < smallest { 0.0 } else { error(z, exact) }
                });
                let slope = errors_of(all(1), |lane, slope| {
                    let steepest = f64::from(steepest);
                    let exact = steepest / y[lane].cosh().powi(2);
                    // Subnormal, or from an exponential that is.
                    let tiny = smallest.max(steepest * 2f64.powi(-183));
                    if exact < tiny { 0.0 } else { error(slope, exact) }
                });
                [z[0], z[1], slope[0], slope[1]]
            });
            let [z, fused_z, slope, fused_slope] = errors;
            assert_within([z, fused_z], SOFT_CAP, &format!("cap {cap:e}, scale {scale:e}"));
            assert_within([slope, fused_slope], SLOPE, "its slope");
        }
    }
}

#[test]
fn soft_caps_at_the_ends() {
    let infinite = f32::INFINITY;
    let smallest = f32::from_bits(1);
    let x = [0.0, smallest, 1e-40, 1e-30, 1e-3, 1e9, f32::MAX, infinite];
    for set in InstructionSet::available() {
        for cap in [0.5, 30.0, 1e6] {
            let run =
                |x: &[f32]| set.run(SoftCaps { cap, scale: 1.0, steepest: 1.0, x: &chunk(x) });
            let [z, slope] = run(&x);
            let [minus_z, same_slope] = run(&x.map(|x| -x));
            let expected = x.map(|x| if x < 1.0 { x } else { cap });
            let near = if cap < 1.0 { 4 } else { 5 }; // 1e-3 is not small for a cap of 0.5
            for lane in (0..near).chain(5..x.len()) {
                assert_eq!(z[lane].to_bits(), expected[lane].to_bits(), "{:e}", x[lane]);
                assert_eq!(minus_z[lane].to_bits(), (-z[lane]).to_bits());
                assert_eq!(slope[lane], if x[lane] < 1.0 { 1.0 } else { 0.0 }, "{:e}", x[lane]);
                assert_eq!(slope[lane].to_bits(), same_slope[lane].to_bits());
            }
            let [z, slope] = run(&[f32::NAN]);
            assert!(z[0].is_nan() && slope[0].is_nan());
        }
    }
}

/// A logit has the same bits whether its neighbours are near 0 or far from it.
#[test]
fn soft_caps_beside_others() {
    let x = [0.1, -3.0, 22.4, 22.6, -40.0, 1e4];
    for set in InstructionSet::available() {
        let run =
            |x: &[f32]| set.run(SoftCaps { cap: 30.0, scale: 1.0, steepest: 1.0, x: &chunk(x) });
        let [z, slope] = run(&x);
        for (lane, &alone) in x.iter().enumerate() {
            let [own_z, own_slope] = run(&[alone]);
            let bits = [z[lane], slope[lane]].map(f32::to_bits);
            assert_eq!(
                bits,
                [own_z[0], own_slope[0]].map(f32::to_bits),
                "{alone} on {}",
                set.name()
            );
        }
    }
}

/// Differs where results do.
fn sum_of_bits(results: &[f32]) -> u64 {
    results
        .iter()
        .fold(0, |sum, x| sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(x.to_bits().into()))
}

/// The sum of all results' bits is the same wherever a multiply-add is rounded once.
#[test]
fn every_processor_gives_the_same_bits() {
    let x: Chunk = std::array::from_fn(|lane| 3.0 - 0.13 * lane as f32 - 1e-6 * lane as f32);
    for set in InstructionSet::available().skip(1) {
        let exponentials =
            set.run(Exponentials { factor: Factor::new(LOG2_E), reference: 4.0, x: &x });
        let [z, slopes] = set.run(SoftCaps { cap: 30.0, scale: 0.7, steepest: 1.0, x: &x });
        let sum = sum_of_bits([exponentials, z, slopes].as_flattened());
        assert_eq!(sum, 0xf357_0719_2003_f48e, "{}: {sum:#x}", set.name());
    }
}

/// To 2^-39, whatever `f32` s is.
#[test]
fn logarithms() {
    let [error] = largest(0.0..=f32::MAX, step(1009), |s| {
        let errors = s.map(|s| error(log1p(s.into()), f64::from(s).ln_1p()));
        [errors.into_iter().fold(0.0, f64::max)]
    });
    println!("2^{:.2}", (error * U).log2());
    assert!(error * U <= 2f64.powi(-39), "2^{:.2}", (error * U).log2());
}
