//! What shows only in many runs, in many elements, or after a failure, on a GPU: with `XENT_TEST_GPU` set
//! on that of the machine, else on the simulated one. With `XENT_EXTENDED` set as much of it as a GPU does
//! in minutes; the simulated one would take days.
#![cfg(all(feature = "cuda", target_os = "linux"))]
#![allow(unsafe_code)] // calls the driver

mod common;
mod endurance;

use std::array::from_fn;
use std::time::Instant;

use common::foreign::{OwnKernels, OwnStream, Primary, capture, launch};
use common::job::{Job, problem};
use common::say;
use common::simulated::{assert_passes, this_test};
use cudarc::driver::sys;
use endurance::work::{Contents, KINDS, Work};
use endurance::{begin, exponential, extent, far};
use xent::{Context, DType, Error, Outputs, Plan, Problem, Reduction, Result, Stream, Tensor};

/// Runs in flight at once, each on a stream of its own with buffers and a workspace of its own.
const STREAMS: usize = 8;

#[test]
fn runs_on_many_streams_give_the_same_bits() {
    let Some(_alone) = begin("runs_on_many_streams_give_the_same_bits") else { return };
    let _primary = Primary::enter(0);
    let context = Context::auto();
    let streams: [OwnStream; STREAMS] = from_fn(|_| OwnStream::new(1));
    let rounds = extent(2, 1000 / STREAMS);
    for kind in &KINDS {
        let start = Instant::now();
        let plan = kind.plan(&context);
        let contents = kind.contents(0);
        let mut works: [Work; STREAMS] = from_fn(|_| Work::new(&plan, &context, &contents));
        works[0].launch(&streams[0]);
        let expected = works[0].found(&streams[0]);
        for round in 0..rounds {
            works.iter_mut().zip(&streams).for_each(|(work, stream)| work.launch(stream));
            for (index, (work, stream)) in works.iter().zip(&streams).enumerate() {
                let same = work.found(stream) == expected;
                assert!(same, "{}: run {index} of round {round} differs", kind.name);
            }
        }
        let (runs, time) = (rounds * STREAMS, start.elapsed());
        say(&format!("{}: {runs} runs with the same bits, {time:.1?}", kind.name));
    }
}

#[test]
fn a_graph_is_replayed_many_times() {
    let Some(_alone) = begin("a_graph_is_replayed_many_times") else { return };
    let _primary = Primary::enter(0);
    let context = Context::auto();
    let stream = OwnStream::new(1);
    let replays = extent(6, 1000);
    for kind in &KINDS {
        let start = Instant::now();
        let plan = kind.plan(&context);
        let contents: [Contents; 3] = from_fn(|seed| kind.contents(seed));
        let mut work = Work::new(&plan, &context, &contents[0]);
        let expected = contents.each_ref().map(|contents| {
            work.write(contents, &stream);
            work.launch(&stream);
            work.found(&stream)
        });
        assert!(expected[0] != expected[1] && expected[1] != expected[2]);
        let graph = capture(&stream, || work.launch(&stream));
        for replay in 0..replays {
            let now = replay % contents.len();
            work.write(&contents[now], &stream);
            graph.launch(&stream);
            let same = work.found(&stream) == expected[now];
            assert!(same, "{}: replay {replay} differs", kind.name);
        }
        let time = start.elapsed();
        say(&format!("{}: {replays} replays with the bits of runs, {time:.1?}", kind.name));
    }
}

/// A row reads and writes what is its own wherever it is, or another row's numbers show in it.
#[test]
fn elements_beyond_2_to_the_31_and_32() {
    let Some(_alone) = begin("elements_beyond_2_to_the_31_and_32") else { return };
    let _primary = Primary::enter(0);
    let context = Context::auto();
    for power in [31, 32] {
        for (name, shape) in &far::SHAPES {
            let start = Instant::now();
            let elements = extent(far::period(shape) * 9 / 8, (1 << power) + 1);
            match far::check(&context, shape, elements) {
                Ok(elements) => {
                    say(&format!("{name}: {elements} elements, {:.1?}", start.elapsed()));
                }
                Err(reason) => say(&format!("SKIPPED: {name} beyond 2^{power}: {reason}")),
            }
        }
    }
}

/// These rows are NaN and reported, all others are as they would be.
#[test]
fn wrong_targets_among_very_many_rows() {
    let Some(_alone) = begin("wrong_targets_among_very_many_rows") else { return };
    let _primary = Primary::enter(0);
    let context = Context::auto();
    let stream = OwnStream::new(1);
    let rows = extent(67, 131_073);
    for (name, dtype, classes) in [("lanes", DType::F32, 100), ("block", DType::BF16, 2600)] {
        let problem = Problem::new(dtype, classes)
            .reduction(Reduction::None)
            .outputs(Outputs::LOSS | Outputs::STATS | Outputs::DLOGITS);
        let plan = Plan::new(&context, &problem).unwrap();
        let mut contents = Contents::new(dtype, [rows, classes, 1], 3);
        let mut work = Work::new(&plan, &context, &contents);
        work.launch(&stream);
        let right = work.found(&stream);

        let middle = rows / 2;
        let beyond = classes as i64;
        let wrong = [(17, -1), (middle, beyond), (middle + 1, i64::MIN), (rows - 1, i64::MAX)];
        let targets = contents.targets.as_mut_slice::<i64>().unwrap();
        wrong.iter().for_each(|&(row, value)| targets[row] = value);
        work.write(&contents, &stream);
        work.launch(&stream);
        let found = work.found(&stream);
        let report = work.report(&stream);
        assert_eq!((report.count, report.row, report.value), (4, 17, -1), "{name}");
        let types = [DType::F32, dtype, dtype];
        for ((found, right), of) in found.iter().zip(&right).zip(types) {
            let of_row = found.len() / rows;
            let both = found.chunks_exact(of_row).zip(right.chunks_exact(of_row));
            for (row, (found, right)) in both.enumerate() {
                if wrong.iter().any(|&(wrong, _)| wrong == row) {
                    assert!(all_nan(found, of), "{name}: row {row} is not NaN");
                } else {
                    assert!(found == right, "{name}: row {row} differs");
                }
            }
        }
        say(&format!("{name}: {} wrong targets among {rows} rows", wrong.len()));
    }
}

/// Whether all numbers are NaN.
fn all_nan(bytes: &[u8], dtype: DType) -> bool {
    // Of both types: an exponent of all ones, and a fraction.
    let upper = |number: &[u8]| u16::from_le_bytes([number[0], number[1]]) & 0x7fff;
    bytes.chunks_exact(dtype.size()).all(|number| upper(&number[dtype.size() - 2..]) > 0x7f80)
}

/// Says to a process of this test that it is the one whose context is lost.
const LOST: &str = "XENT_TEST_LOST";

#[test]
fn a_kernel_that_traps_fails_every_call_after_it() {
    const NAME: &str = "a_kernel_that_traps_fails_every_call_after_it";
    let Some(_alone) = begin(NAME) else { return };
    if std::env::var_os(LOST).is_none() {
        return assert_passes(this_test(NAME).env(LOST, "1"));
    }
    // SAFETY: ends the process if it hangs.
    unsafe { libc::alarm(120) };
    const ROWS: usize = 3;
    const CLASSES: usize = 5;
    fn assert_fails<T: std::fmt::Debug>(call: &str, result: Result<T>) {
        assert!(matches!(result, Err(Error::Cuda { .. })), "{call}: {result:?}");
    }
    let context = Context::auto();
    let mut job = Job::new(&context, ROWS, CLASSES, 0);
    job.run(Stream::default()).unwrap();
    job.backward(Stream::default()).unwrap();
    assert!(job.found().iter().all(|&bits| f32::from_bits(bits).is_finite()));
    {
        let _primary = Primary::enter(0);
        let kernels = OwnKernels::new();
        let stream = OwnStream::new(1);
        launch(kernels.get(c"traps"), stream.0);
        // SAFETY: a live stream.
        let code = unsafe { sys::cuStreamSynchronize(stream.0) };
        assert_ne!(code, sys::CUresult::CUDA_SUCCESS);
        assert_fails("run", job.run(Stream::default()));
        assert_fails("run on a stream", job.run(stream.lend()));
        assert_fails("backward", job.backward(Stream::default()));
        assert_fails("report", job.plan.report(&job.report, Stream::default()));
        assert_fails("read", job.loss.to_vec::<f32>());
        assert_fails("write", Tensor::from_slice(&[0f32], &[1]).unwrap().to(&context));
        assert_fails("workspace", job.plan.workspace(ROWS));
        assert_fails("plan", Plan::new(&context, &problem(CLASSES + 1)).map(drop));
    }
    drop(context);
    drop(job);
}

/// The softmax of two classes, one of them 0, is the exponential of the other and a quotient.
#[test]
fn the_exponential_of_every_number() {
    let Some(_alone) = begin("the_exponential_of_every_number") else { return };
    let _primary = Primary::enter(0);
    let start = Instant::now();
    let found = exponential::scan(&Context::auto(), extent(60_013, 1));
    say(&format!("{found}, {:.1?}", start.elapsed()));
}
