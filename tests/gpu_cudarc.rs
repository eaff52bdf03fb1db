//! Memory and streams of cudarc, which Rust programs on a GPU have: slices, parts of them, events
//! between streams.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;

use std::sync::Arc;

use common::job::{Job, logits, targets};
use common::simulated::{Machine, assert_passes, here};
use common::standin::{StandIn, abort_on_panic};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DriverError};
use xent::{Args, BackwardArgs, Context, Layout, Lent, LentMut, Plan, Report, Stream};

const ROWS: usize = 6;
const CLASSES: usize = 5;

/// Whether this process has the simulated GPU; if not, others run the test, in several orders.
fn here_in_several_orders(name: &str) -> bool {
    if !here()
        && let Some(machine) = Machine::new()
    {
        for seed in ["0", "1", "2"] {
            assert_passes(machine.test(name).env("XENT_SIM_SEED", seed));
        }
    }
    if here() {
        abort_on_panic();
    }
    here()
}

/// A plan, and what its runs find.
struct Setup {
    plan: Plan,
    expected: Vec<u32>,
}

impl Setup {
    fn new() -> Setup {
        let context = Context::auto();
        let mut job = Job::new(&context, ROWS, CLASSES, 2);
        job.run(Stream::default()).unwrap();
        job.backward(Stream::default()).unwrap();
        Setup { plan: job.plan.clone(), expected: job.found() }
    }
}

/// Buffers of cudarc.
struct Slices {
    logits: CudaSlice<f32>,
    targets: CudaSlice<i64>,
    loss: CudaSlice<f32>,
    stats: CudaSlice<f32>,
    dlogits: CudaSlice<f32>,
    separate: CudaSlice<f32>,
    report: CudaSlice<i64>,
}

impl Slices {
    fn new(stream: &Arc<CudaStream>) -> Result<Slices, DriverError> {
        Ok(Slices {
            logits: stream.clone_htod(&logits(2, ROWS * CLASSES))?,
            targets: stream.clone_htod(&targets(ROWS))?,
            loss: stream.alloc_zeros(1)?,
            stats: stream.alloc_zeros(2 * ROWS)?,
            dlogits: stream.alloc_zeros(ROWS * CLASSES)?,
            separate: stream.alloc_zeros(ROWS * CLASSES)?,
            report: stream.alloc_zeros(Report::LEN)?,
        })
    }

    /// Puts a run on one stream, and the gradient from its statistics on another.
    fn run(&mut self, plan: &Plan, forward: &Arc<CudaStream>, backward: &Arc<CudaStream>) {
        let mut workspaces = [0, 1].map(|_| plan.workspace(ROWS).unwrap());
        let layout = Layout::rows(ROWS, CLASSES);
        {
            let logits = Lent::new(&self.logits, forward).layout(layout);
            let targets = Lent::new(&self.targets, forward);
            let mut loss = LentMut::new(&mut self.loss, forward);
            let mut stats = LentMut::new(&mut self.stats, forward);
            let mut dlogits = LentMut::new(&mut self.dlogits, forward).layout(layout);
            let mut report = LentMut::new(&mut self.report, forward);
            let args = Args::new(&logits, &targets).loss(&mut loss).stats(&mut stats);
            let args = args.dlogits(&mut dlogits).report(&mut report).stream(forward);
            plan.run(args, &mut workspaces[0]).unwrap();
        }
        {
            let logits = Lent::new(&self.logits, backward);
            let targets = Lent::new(&self.targets, backward);
            let stats = Lent::new(&self.stats, backward);
            let mut separate = LentMut::new(&mut self.separate, backward);
            let args = BackwardArgs::new(&logits, &targets, &stats, &mut separate);
            plan.backward(args.stream(backward), &mut workspaces[1]).unwrap();
        }
        let report = Lent::new(&self.report, forward);
        let report = plan.report(&report, forward).unwrap();
        assert_eq!(report, Report::default());
    }

    fn found(&self, stream: &Arc<CudaStream>) -> Vec<u32> {
        let all = [&self.loss, &self.dlogits, &self.separate];
        let all = all.map(|slice| stream.clone_dtoh(slice).unwrap()).concat();
        all.into_iter().map(f32::to_bits).collect()
    }
}

#[test]
fn slices_on_several_streams_are_ordered_by_events() {
    if !here_in_several_orders("slices_on_several_streams_are_ordered_by_events") {
        return;
    }
    let sim = StandIn::here();
    let Setup { plan, expected } = Setup::new();
    let cuda = CudaContext::new(0).unwrap();
    let streams = [
        cuda.new_stream().unwrap(),
        cuda.new_stream().unwrap(),
        cuda.default_stream(),
        cuda.per_thread_stream(),
    ];
    for (forward, backward, last) in [(0, 0, 0), (0, 1, 1), (1, 0, 3), (2, 1, 0), (3, 2, 1)] {
        let [forward, backward, last] =
            [forward, backward, last].map(|index: usize| &streams[index]);
        let mut slices = Slices::new(&streams[0]).unwrap();
        slices.run(&plan, forward, backward);
        assert_eq!(slices.found(last), expected);
        // Freed on the stream of the slices, when the others are done with them.
        slices.run(&plan, backward, forward);
    }
    cuda.check_err().unwrap();
    drop((streams, cuda, plan));
    assert_eq!((sim.leaks(), sim.violations()), (0, 0), "{}", sim.report());
}

/// Events order what a slice was lent for alone: a run elsewhere might find the slice gone.
#[test]
fn a_loan_is_for_one_stream_of_a_gpu() {
    if !here_in_several_orders("a_loan_is_for_one_stream_of_a_gpu") {
        return;
    }
    let Setup { plan, .. } = Setup::new();
    let cuda = CudaContext::new(0).unwrap();
    let streams = [cuda.new_stream().unwrap(), cuda.new_stream().unwrap()];
    let mut slices = Slices::new(&streams[0]).unwrap();
    let handle = |stream: &CudaStream| format!("{:#x}", stream.cu_stream().addr());
    let [first, second] = [0, 1].map(|index: usize| handle(&streams[index]));
    let refused = |result: xent::Result<()>, given: &str, needed: &str| {
        let text =
            format!("got a loan for stream {given}, but one for the stream of the call, {needed}");
        let error = result.unwrap_err().to_string();
        assert!(error.contains(&text), "{error}");
    };
    let mut workspace = plan.workspace(ROWS).unwrap();
    let logits = Lent::new(&slices.logits, &streams[0]);
    let targets = Lent::new(&slices.targets, &streams[0]);
    {
        let mut loss = LentMut::new(&mut slices.loss, &streams[1]);
        let args = || Args::new(&logits, &targets);
        refused(plan.run(args(), &mut workspace), &first, "0x0");
        refused(plan.run(args().stream(&streams[1]), &mut workspace), &first, &second);
        let args = args().loss(&mut loss).stream(&streams[0]);
        refused(plan.run(args, &mut workspace), &second, &first);
        let report = Lent::new(&slices.report, &streams[0]);
        refused(plan.report(&report, &streams[1]).map(drop), &first, &second);
    }
    let plan = Plan::new(&Context::cpu(), plan.problem()).unwrap();
    let error = plan.run(Args::new(&logits, &targets), &mut plan.workspace(ROWS).unwrap());
    let text = "logits: got memory of a GPU, but memory of the CPU is needed";
    assert_eq!(error.unwrap_err().to_string(), text);
}

#[test]
fn parts_of_slices_are_lent() {
    if !here_in_several_orders("parts_of_slices_are_lent") {
        return;
    }
    let Setup { plan, expected } = Setup::new();
    let cuda = CudaContext::new(0).unwrap();
    let stream = cuda.new_stream().unwrap();
    let numbers = logits(2, ROWS * CLASSES);
    let [before, after] = [7, 3]; // odd: a part is aligned to its elements alone
    let padded = [vec![f32::NAN; before], numbers, vec![f32::NAN; after]].concat();
    let all_logits = stream.clone_htod(&padded).unwrap();
    let all_targets = stream.clone_htod(&[vec![-9; 1], targets(ROWS)].concat()).unwrap();
    let mut results = stream.clone_htod(&vec![-1f32; 1 + 2 * ROWS + 2 * ROWS * CLASSES]).unwrap();
    let mut workspace = plan.workspace(ROWS).unwrap();
    {
        let logits = all_logits.slice(before..before + ROWS * CLASSES);
        let classes = all_targets.slice(1..);
        let (mut loss, mut rest) = results.split_at_mut(1);
        let (mut stats, mut gradients) = rest.split_at_mut(2 * ROWS);
        let (mut dlogits, mut separate) = gradients.split_at_mut(ROWS * CLASSES);
        let (logits, classes) = (Lent::new(&logits, &stream), Lent::new(&classes, &stream));
        let mut loss = LentMut::new(&mut loss, &stream);
        let mut dlogits = LentMut::new(&mut dlogits, &stream);
        let mut separate = LentMut::new(&mut separate, &stream);
        {
            let mut stats = LentMut::new(&mut stats, &stream);
            let args = Args::new(&logits, &classes).loss(&mut loss).stats(&mut stats);
            plan.run(args.dlogits(&mut dlogits).stream(&stream), &mut workspace).unwrap();
        }
        let stats = Lent::new(&stats, &stream);
        let args = BackwardArgs::new(&logits, &classes, &stats, &mut separate);
        plan.backward(args.stream(&stream), &mut workspace).unwrap();
    }
    let found = stream.clone_dtoh(&results).unwrap();
    let found = [&found[..1], &found[1 + 2 * ROWS..]].concat();
    // Where a row begins decides which lane adds which of its elements.
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let expected = f32::from_bits(expected);
        let difference = (found - expected).abs();
        assert!(difference <= 1e-6 * expected.abs(), "{index}: {found} {expected}");
    }
    let (fused, separate) = found[1..].split_at(ROWS * CLASSES);
    assert_eq!(fused, separate);
}
