//! What the CUDA kernels count and sum over rows: exactly, over many slices, and beyond 2^31 rows.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use std::sync::Arc;

use common::normal;
use gpu::launch::launch;
use gpu::run::{How, kernel};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xent::DType;
use xent::cuda::params::{self, CountParams, FinishParams};
use xent_simulator::{Fill, Memory};

const CLASSES: u32 = 50;

/// Device memory for the kernels that count.
struct Counter {
    memory: Memory,
    params: CountParams,
}

fn input(memory: &mut Memory, name: &str, bytes: Vec<u8>) -> u64 {
    let at = memory.allocate_from(name, &bytes, 0).address();
    memory.protect(at, true).unwrap();
    at
}

fn bytes<T: Copy, const N: usize>(x: &[T], to_bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    x.iter().flat_map(|&x| to_bytes(x)).collect()
}

fn i64s(bytes: &[u8]) -> Vec<i64> {
    bytes.chunks(8).map(|b| i64::from_ne_bytes(b.try_into().unwrap())).collect()
}

fn f64_at(bytes: &[u8], at: usize) -> f64 {
    f64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl Counter {
    fn new(targets: &[i64], weights: Option<(&[f32], &[f32])>, slice_rows: u32) -> Counter {
        let mut memory = Memory::new();
        let rows = targets.len();
        let slices = rows.div_ceil(slice_rows as usize);
        let targets = input(&mut memory, "targets", bytes(targets, i64::to_ne_bytes));
        let mut floats = |name: &str, x: Option<&[f32]>| {
            x.map_or(0, |x| input(&mut memory, name, bytes(x, f32::to_ne_bytes)))
        };
        let class_weights = floats("class weights", weights.map(|(classes, _)| classes));
        let row_weights = floats("row weights", weights.map(|(_, rows)| rows));
        let counts = (slices * params::COUNT_BYTES) as u64;
        let counts = memory.allocate("counts", counts, 0, Fill::Unwritten).address();
        let scales = memory.allocate("scales", 24, 0, Fill::Unwritten).address();
        let report = memory.allocate_from("report", &[0; 32], 0).address();
        let params = CountParams {
            targets,
            class_weights,
            row_weights,
            counts,
            scales,
            report,
            rows: rows as i64,
            slices: slices as i64,
            slice_rows,
            classes: CLASSES,
            target_type: params::target_type(DType::I64),
            ignore_index: -100,
            flags: params::IGNORE,
            denominator_kind: params::DENOMINATOR_COUNTED,
            ..CountParams::default()
        };
        Counter { memory, params }
    }

    /// Of the cross entropy and of the z-loss.
    fn run(&mut self, seed: u64) -> (f64, f64) {
        let (how, slices) = (How { seed, ..How::default() }, self.params.slices as u64);
        let count = kernel("count.cu", "count_targets", 256);
        let params = self.params.to_bytes();
        launch(&how, &count, slices, &[], params.clone(), &mut self.memory).unwrap();
        let scale = kernel("count.cu", "make_scales", 512);
        launch(&how, &scale, 1, &[], params, &mut self.memory).unwrap();
        let scales = self.memory.read(self.params.scales, 24).unwrap();
        (f64_at(&scales, 0), f64_at(&scales, 8))
    }

    fn report(&mut self) -> Vec<i64> {
        i64s(&self.memory.read(self.params.report, 32).unwrap())
    }
}

/// Targets of which some are ignored, and weights whose sums are exact.
fn random(rows: usize, seed: u64) -> (Vec<i64>, Vec<f32>, Vec<f32>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let ignored = |y: i64| if y % 7 == 0 { -100 } else { y };
    let targets = (0..rows).map(|_| ignored(rng.random_range(0..i64::from(CLASSES)))).collect();
    let mut weights = |count: usize| -> Vec<f32> {
        (0..count).map(|_| rng.random_range(1..64) as f32 / 8.0).collect()
    };
    (targets, weights(CLASSES as usize), weights(rows))
}

#[test]
fn more_slices_than_threads_are_counted_exactly() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (rows, slice_rows) in [(1, 4096), (4096, 4096), (4097, 4096), (9000, 7), (20_001, 13)] {
        let (mut targets, class_weights, row_weights) = random(rows, rows as u64);
        targets[0] = 5; // a row that counts
        let counted = || (0..rows).filter(|&row| targets[row] != -100);
        let sum: f64 = counted()
            .map(|row| {
                f64::from(class_weights[targets[row] as usize]) * f64::from(row_weights[row])
            })
            .sum();
        let count = counted().count() as f64;
        let weights = (class_weights.as_slice(), row_weights.as_slice());
        let mut weighted = Counter::new(&targets, Some(weights), slice_rows);
        for seed in 0..2 {
            assert_eq!(weighted.run(seed), (1.0 / sum, 1.0 / count), "{rows} rows");
        }
        assert_eq!(weighted.report(), [0; 4]);
        assert_eq!(Counter::new(&targets, None, slice_rows).run(1), (1.0 / count, 1.0 / count));
    }
}

#[test]
fn a_report_gathers_runs() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let rows = 9000;
    let (targets, ..) = random(rows, 1);
    let broken = |bad: &[(usize, i64)]| {
        let mut targets = targets.clone();
        bad.iter().for_each(|&(row, value)| targets[row] = value);
        targets
    };
    let mut report = vec![0; 4];
    for (bad, expected) in [
        (vec![], [0, 0, 0, 0]),
        (vec![(8999, -1), (5000, 1 << 40), (5001, 50)], [3, 5000, 1 << 40, 0]),
        (vec![(6000, 77)], [4, 5000, 1 << 40, 0]),
        (vec![(4096, 51), (8192, -2)], [6, 4096, 51, 0]),
        (vec![], [6, 4096, 51, 0]),
        (vec![(0, i64::MIN), (1, i64::MAX)], [8, 0, i64::MIN, 0]),
    ] {
        for slice_rows in [4096, 7] {
            let mut counter = Counter::new(&broken(&bad), None, slice_rows);
            let given = bytes(&report, i64::to_ne_bytes);
            counter.memory.write(counter.params.report, &given).unwrap();
            counter.run(3);
            assert_eq!(counter.report(), expected, "{bad:?}");
        }
        report = expected.to_vec();
    }
}

/// What is given in the place of a count; what reads it, and what follows if it is nothing.
#[test]
fn denominators() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let (targets, ..) = random(100, 2);
    let ignored = vec![-100; 5000];
    for empty_is_zero in [0, 1] {
        let nothing = |scale: f64| if empty_is_zero == 1 { scale == 0.0 } else { scale.is_nan() };
        for (targets, kind, value, check) in [
            (&targets, params::DENOMINATOR_ONE, 9.0, None),
            (&targets, params::DENOMINATOR_VALUE, 3.0, Some(1.0 / 3.0)),
            (&targets, params::DENOMINATOR_POINTER, 3.0, Some(1.0 / 3.0)),
            (&targets, params::DENOMINATOR_POINTER, -0.5, Some(-2.0)),
            (&targets, params::DENOMINATOR_POINTER, f32::INFINITY, Some(0.0)),
            (&targets, params::DENOMINATOR_POINTER, f32::NAN, Some(f64::NAN)),
            (&targets, params::DENOMINATOR_POINTER, 0.0, None),
            (&targets, params::DENOMINATOR_VALUE, 0.0, None),
            (&ignored, params::DENOMINATOR_COUNTED, 9.0, None),
        ] {
            let mut counter = Counter::new(targets, None, 4096);
            let at = input(&mut counter.memory, "denominator", value.to_ne_bytes().to_vec());
            counter.params = CountParams {
                denominator_kind: kind,
                empty_is_zero,
                value: value.into(),
                denominator: if kind == params::DENOMINATOR_POINTER { at } else { 0 },
                ..counter.params
            };
            let scales = counter.run(1);
            for scale in [scales.0, scales.1] {
                let good = match (check, kind) {
                    (_, params::DENOMINATOR_ONE) => scale == 1.0,
                    (None, _) => nothing(scale),
                    (Some(exact), _) => scale == exact || scale.is_nan() && exact.is_nan(),
                };
                assert!(good, "{kind}, {value}, {empty_is_zero}: {scale}");
            }
        }
    }
    // Probabilities: all rows, without reading targets.
    let mut counter = Counter::new(&targets, None, 4096);
    (counter.params.slices, counter.params.targets) = (0, 0);
    let how = How::default();
    let make = kernel("count.cu", "make_scales", 512);
    let params = counter.params.to_bytes();
    launch(&how, &make, 1, &[], params, &mut counter.memory).unwrap();
    let scales = counter.memory.read(counter.params.scales, 24).unwrap();
    assert_eq!((f64_at(&scales, 0), f64_at(&scales, 8)), (0.01, 0.01));
}

/// The loss and the number of correct rows.
fn finish(memory: &mut Memory, params: &FinishParams, seed: u64) -> (f32, i64) {
    let how = How { seed, ..How::default() };
    let sum = kernel("finish.cu", "sum_rows", 256);
    launch(&how, &sum, params.slices as u64, &[], params.to_bytes(), memory).unwrap();
    let finish = kernel("finish.cu", "finish_sums", 512);
    launch(&how, &finish, 1, &[], params.to_bytes(), memory).unwrap();
    let loss = memory.read(params.loss, 4).unwrap();
    let correct = memory.read(params.correct_rows, 8).unwrap();
    (f32::from_ne_bytes(loss.try_into().unwrap()), i64s(&correct)[0])
}

/// Sums of numbers of many sizes, to one rounding; the same bits under every schedule.
#[test]
fn more_slices_than_threads_are_summed() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    for (rows, slice_rows) in [(1, 4096), (4097, 4096), (9000, 7), (20_001, 13)] {
        let floats = |seed, size: f64| -> Vec<f32> {
            normal(seed, rows, size).iter().map(|x| x.abs().exp() as f32).collect()
        };
        let (losses, z_losses) = (floats(1, 3.0), floats(2, 1.0));
        let correct: Vec<u8> = (0..rows).map(|row| u8::from(row % 3 == 0)).collect();
        let mut memory = Memory::new();
        let slices = rows.div_ceil(slice_rows as usize);
        let (scale, z_scale) = (0.37, 1e-3);
        let mut scales = bytes(&[scale, z_scale], f64::to_ne_bytes);
        scales.extend([0; 8]);
        let sums = (slices * params::SUM_BYTES) as u64;
        let params = FinishParams {
            losses: input(&mut memory, "losses", bytes(&losses, f32::to_ne_bytes)),
            z_losses: input(&mut memory, "z-losses", bytes(&z_losses, f32::to_ne_bytes)),
            correct: input(&mut memory, "correct", correct),
            scales: input(&mut memory, "scales", scales),
            sums: memory.allocate("sums", sums, 0, Fill::Unwritten).address(),
            loss: memory.allocate("loss", 4, 0, Fill::Unwritten).address(),
            correct_rows: memory.allocate("correct rows", 8, 0, Fill::Unwritten).address(),
            rows: rows as i64,
            slices: slices as i64,
            slice_rows,
            ..FinishParams::default()
        };
        let sum = |x: &[f32]| x.iter().map(|&x| f64::from(x)).sum::<f64>();
        let exact = sum(&losses) * scale + sum(&z_losses) * z_scale;
        for seed in 0..3 {
            let (loss, correct) = finish(&mut memory, &params, seed);
            assert_eq!((loss, correct), (exact as f32, rows.div_ceil(3) as i64), "{rows} rows");
        }
    }
}

/// Slices far into more rows than 32 bits count, and what is made of as many.
#[test]
fn more_than_2_to_the_31_rows() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let rows: u64 = (1 << 32) + 5000;
    let slices = rows.div_ceil(u64::from(params::SLICE_ROWS));
    let class = |row: u64| if row.is_multiple_of(5) { -100 } else { (row % 50) as i64 };
    let bad = rows - 3;
    let target = move |row: u64| if row == bad { 1 << 33 } else { class(row) };
    // Pages begin where elements do.
    let rule = move |offset: u64, out: &mut [u8]| {
        for (row, place) in (offset / 8..).zip(out.chunks_mut(8)) {
            place.copy_from_slice(&target(row).to_ne_bytes()[..place.len()]);
        }
    };
    let mut memory = Memory::new();
    // What slices that are not run have counted: 4096 rows of weight 1 each.
    let count =
        [bytes(&[4096.0], f64::to_ne_bytes), bytes(&[4096, 0, 0], i64::to_ne_bytes)].concat();
    let counts = move |offset: u64, out: &mut [u8]| {
        for (i, byte) in (offset as usize..).zip(out) {
            *byte = count[i % params::COUNT_BYTES];
        }
    };
    let mut sparse = |name, bytes, rule| memory.allocate(name, bytes, 0, rule).address();
    let params = CountParams {
        targets: sparse("targets", 8 * rows, Fill::Rule(Arc::new(rule))),
        counts: sparse("counts", 32 * slices, Fill::Rule(Arc::new(counts))),
        scales: sparse("scales", 24, Fill::Unwritten),
        report: sparse("report", 32, Fill::Byte(0)),
        rows: rows as i64,
        slices: slices as i64,
        slice_rows: params::SLICE_ROWS,
        classes: CLASSES,
        target_type: params::target_type(DType::I64),
        ignore_index: -100,
        flags: params::IGNORE,
        denominator_kind: params::DENOMINATOR_COUNTED,
        ..CountParams::default()
    };
    memory.protect(params.targets, true).unwrap();
    let chosen = [0, (1 << 19) - 1, 1 << 19, (1 << 20) - 1, 1 << 20, slices - 1];
    let how = How::default();
    let counter = kernel("count.cu", "count_targets", 256);
    launch(&how, &counter, slices, &chosen, params.to_bytes(), &mut memory).unwrap();
    let mut difference = 0;
    for slice in chosen {
        let own = slice * 4096..(slice * 4096 + 4096).min(rows);
        let counted = own.clone().filter(|&row| row != bad && class(row) >= 0).count() as i64;
        let found = memory.read(params.counts + 32 * slice, 32).unwrap();
        let expected = if slice == slices - 1 { [counted, 1, bad as i64] } else { [counted, 0, 0] };
        assert_eq!((f64_at(&found, 0), &i64s(&found[8..])[..]), (counted as f64, &expected[..]));
        difference += 4096 - counted;
    }
    let make = kernel("count.cu", "make_scales", 512);
    launch(&how, &make, 1, &[], params.to_bytes(), &mut memory).unwrap();
    let scales = memory.read(params.scales, 24).unwrap();
    let counted = (4096 * slices as i64 - difference) as f64;
    assert_eq!((f64_at(&scales, 0), f64_at(&scales, 8)), (1.0 / counted, 1.0 / counted));
    let report = i64s(&memory.read(params.report, 32).unwrap());
    assert_eq!(report, [1, bad as i64, 1 << 33, 0]);

    let one = |_: u64, out: &mut [u8]| out.fill(1);
    let losses = |offset: u64, out: &mut [u8]| {
        for (i, byte) in (offset..).zip(out) {
            *byte = 1.5f32.to_ne_bytes()[i as usize % 4];
        }
    };
    // Sums of 4096 losses of 1.5, and as many correct rows.
    let sum = [bytes(&[6144.0, 0.0], f64::to_ne_bytes), bytes(&[4096], i64::to_ne_bytes)].concat();
    let sums = move |offset: u64, out: &mut [u8]| {
        for (i, byte) in (offset as usize..).zip(out) {
            *byte = sum[i % params::SUM_BYTES];
        }
    };
    let mut sparse = |name, bytes, rule| memory.allocate(name, bytes, 0, rule).address();
    let params = FinishParams {
        losses: sparse("losses", 4 * rows, Fill::Rule(Arc::new(losses))),
        correct: sparse("correct", rows, Fill::Rule(Arc::new(one))),
        sums: sparse("sums", params::SUM_BYTES as u64 * slices, Fill::Rule(Arc::new(sums))),
        loss: sparse("loss", 4, Fill::Unwritten),
        correct_rows: sparse("correct rows", 8, Fill::Unwritten),
        rows: rows as i64,
        slices: slices as i64,
        slice_rows: params::SLICE_ROWS,
        fixed: params::Scales { cross_entropy: 1.0, ..params::Scales::default() },
        ..FinishParams::default()
    };
    let summer = kernel("finish.cu", "sum_rows", 256);
    launch(&how, &summer, slices, &chosen, params.to_bytes(), &mut memory).unwrap();
    let finish = kernel("finish.cu", "finish_sums", 512);
    launch(&how, &finish, 1, &[], params.to_bytes(), &mut memory).unwrap();
    let loss = memory.read(params.loss, 4).unwrap();
    let exact = 1.5 * rows as f64;
    assert_eq!(f32::from_ne_bytes(loss.try_into().unwrap()), exact as f32);
    assert_eq!(i64s(&memory.read(params.correct_rows, 8).unwrap()), [rows as i64]);
}
