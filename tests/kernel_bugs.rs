//! Faults planted in the CUDA kernels are found: a test of the tests. Each faulty source compiles,
//! and fails a small suite for a reason that fits; the kernels as they are pass it.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use common::Case;
use gpu::check::{Fault, bits, caught, lean, try_check, wide_bits};
use gpu::force::{Force, KERNELS};
use gpu::run::{How, run};
use gpu::sparse::{self, Sparse};
use gpu::{Patch, pool};
use xent::{DType, Outputs, Problem, Reduction};
use xent_simulator::Kind;

/// A planted fault.
struct Bug {
    name: &'static str,
    /// The kernel that is held to the suite.
    kernel: &'static str,
    from: &'static str,
    to: &'static str,
    /// What the interpreter finds; nothing, if what finds it is a wrong result.
    found: &'static [Kind],
}

const WRONG: &[Kind] = &[];

const fn bug(
    name: &'static str,
    kernel: &'static str,
    [from, to]: [&'static str; 2],
    found: &'static [Kind],
) -> Bug {
    Bug { name, kernel, from, to, found }
}

const BUGS: &[Bug] = &[
    bug(
        "no gradient but at the target",
        "stream",
        ["f.of_p = (hit + others) * f.p_max * slope;", "f.of_p = 0;"],
        WRONG,
    ),
    bug(
        "the last column is not written",
        "stream",
        [
            "if (span.contains(element)) store(row + element, x[i]);",
            "if (span.contains(element + 1) && element >= 0) store(row + element, x[i]);",
        ],
        &[Kind::Uninitialised],
    ),
    bug(
        "a partial vector counts twice",
        "stream",
        [
            "if (j >= 0 && j % threads == thread) f(j);",
            "if (j >= 0 && j % threads == thread) f(j), f(j);",
        ],
        WRONG,
    ),
    bug(
        "the loss is lse - z",
        "stream",
        [
            "times(target.weight, softmax.log1p_s - t)",
            "times(target.weight, softmax.lse(squash) - squash.z(x))",
        ],
        WRONG,
    ),
    bug(
        "smoothing from the sum of z",
        "stream",
        [
            "scales.weight_sum * softmax.log1p_s + part.distance;",
            "scales.weight_sum * softmax.lse(squash) -
             (scales.weight_sum * squash.z(softmax.largest) - part.distance);",
        ],
        WRONG,
    ),
    bug(
        "the z-loss is divided by weights",
        "stream",
        ["inverse(p, static_cast<double>(all.rows));", "inverse(p, all.weight);"],
        WRONG,
    ),
    bug(
        "the mean divides by rows",
        "stream",
        ["inverse(p, all.weight);", "inverse(p, static_cast<double>(all.rows));"],
        WRONG,
    ),
    bug(
        "-inf - -inf where parts merge",
        "stream",
        ["return x == -infinity() ? 0 : x;", "return x;"],
        WRONG,
    ),
    bug(
        "offsets of rows of 32 bits",
        "stream",
        ["number * adder.p.dlogits_stride", "static_cast<i32>(number * adder.p.dlogits_stride)"],
        &[Kind::OutOfBounds],
    ),
    bug(
        "rows along x only",
        "stream",
        ["(static_cast<u64>(blockIdx.y) * gridDim.x + blockIdx.x) / ctas", "blockIdx.x / ctas"],
        &[Kind::Uninitialised, Kind::Race],
    ),
    bug(
        "no barrier between warps",
        "stream",
        [
            "__syncthreads();\n    part = merge_shared(shared, squash);",
            "part = merge_shared(shared, squash);",
        ],
        &[Kind::Race, Kind::Uninitialised],
    ),
    bug(
        "no barrier in sums over rows",
        "stream",
        [
            "if (lane == 0) shared[threadIdx.x / kWarp] = value;\n  __syncthreads();",
            "if (lane == 0) shared[threadIdx.x / kWarp] = value;",
        ],
        &[Kind::Race, Kind::Uninitialised],
    ),
    bug(
        "a peer's shared memory before it starts",
        "cluster of 2",
        ["cluster_wait();  // all CTAs have started", ";  // all CTAs have started"],
        &[Kind::Cluster, Kind::Barrier],
    ),
    bug(
        "a cluster's parts without order",
        "cluster of 2",
        ["barrier.cluster.arrive.release.aligned;", "barrier.cluster.arrive.relaxed.aligned;"],
        &[Kind::Race],
    ),
    bug(
        "no wait for a cluster's parts",
        "cluster of 2",
        ["cluster_arrive();\n    cluster_wait();", "cluster_arrive();"],
        &[Kind::Race, Kind::Uninitialised],
    ),
    bug(
        "one CTA of a cluster says that it has started",
        "cluster of 2",
        [
            "kCluster > 1 && kSums) cluster_started();",
            "kCluster > 1 && kSums) { if (rank == 0) cluster_started(); }",
        ],
        &[Kind::Deadlock, Kind::Barrier],
    ),
    bug(
        "one vector too many",
        "block",
        [
            "return j < (span.end ^ static_cast<i32>(zero))",
            "return j <= (span.end ^ static_cast<i32>(zero))",
        ],
        &[Kind::OutOfBounds],
    ),
    bug(
        "what is beside a partial vector is read",
        "block",
        [
            "const u32 bits = span.contains(element) ? Element<T>::load(row + element) : padding;",
            "const u32 bits = Element<T>::load(row + element);",
        ],
        &[Kind::OutOfBounds],
    ),
    bug(
        "targets of 64 bits read as 32",
        "stream",
        [
            "return static_cast<const i64*>(targets)[row];",
            "return static_cast<const i32*>(targets)[2 * row];",
        ],
        WRONG,
    ),
    bug("NaN is not seen", "stream", ["defined = !is_nan(s) && ", "defined = "], WRONG),
    bug(
        "a softcap makes NaN a number",
        "stream",
        [
            "fabsf(y) >= 0.625f ? copysignf(far, y) : fmaf(y * y2, p, y)",
            "fabsf(y) < 0.625f ? fmaf(y * y2, p, y) : copysignf(far, y)",
        ],
        WRONG,
    ),
    bug(
        "1 - tanh^2",
        "stream",
        ["return slope * (4 * e * w * w);", "return slope * (1 - z(x) / cap * (z(x) / cap));"],
        WRONG,
    ),
    bug(
        "the exponent of a softcap is rounded",
        "stream",
        [
            "const float f = (high - (shifted - kRound)) + low;",
            "const float f = high - (shifted - kRound);",
        ],
        WRONG,
    ),
    bug(
        "the first row's upstream gradient for all",
        "stream",
        ["p.dloss[p.flags & kDlossPerRow ? row : 0]", "p.dloss[0]"],
        WRONG,
    ),
    bug(
        "ignored rows are read",
        "block",
        ["!(p.flags & kIgnore && y == p.ignore_index);", "true;"],
        WRONG,
    ),
    bug(
        "each of equal maxima is left out",
        "stream",
        ["top && threadIdx.x % kWarp == __ffs(tops) - 1;", "top;"],
        WRONG,
    ),
    bug(
        "a target read after another thread wrote in its place",
        "stream",
        ["__syncthreads();  // x is read before another thread writes in its place", ";"],
        &[Kind::Race],
    ),
    bug(
        "the last of equal maxima",
        "stream",
        ["? part.argmax : kNoClass, lower)", "? ~part.argmax : kNoClass, lower) ^ kNoClass"],
        WRONG,
    ),
    bug(
        "the target's weight is 1",
        "stream",
        ["p.class_weights ? p.class_weights[index] : 1;", "p.class_weights ? 1 : 1;"],
        WRONG,
    ),
    bug(
        "the highest invalid row is reported",
        "stream",
        ["b.first_invalid < a.first_invalid", "b.first_invalid > a.first_invalid"],
        WRONG,
    ),
    bug(
        "a report forgets earlier runs",
        "stream",
        ["p.report->count += all.invalid;", "p.report->count = all.invalid;"],
        WRONG,
    ),
    bug(
        "a target that is no class is an index",
        "stream",
        ["const bool valid = static_cast<u64>(y) < p.classes;", "const bool valid = true;"],
        &[Kind::OutOfBounds],
    ),
    bug(
        "a negative target is an index",
        "stream",
        ["if (static_cast<u64>(y) < p.classes) {", "if (y < static_cast<i64>(p.classes)) {"],
        &[Kind::OutOfBounds],
    ),
    bug(
        "the entropy does not move with the maximum",
        "stream",
        ["f * (part.entropy - shift * (part.s + 1))", "f * part.entropy"],
        WRONG,
    ),
    bug(
        "the gradient of the z-loss without the maximum",
        "stream",
        ["(2 * p.z_loss) * softmax.lse(squash)", "(2 * p.z_loss) * softmax.log1p_s"],
        WRONG,
    ),
    bug("a shuffle too few", "stream", ["bits > 0; bits /= 2", "bits > 1; bits /= 2"], WRONG),
    bug(
        "an element with its neighbour's bits",
        "block",
        ["x[1] = __uint_as_float(word & 0xffff0000);", "x[1] = __uint_as_float(word);"],
        WRONG,
    ),
    bug(
        "the sign of the largest logit",
        "stream",
        ["make_float2(p.sign_flip ? -largest : largest,", "make_float2(largest,"],
        WRONG,
    ),
    bug(
        "the scale of the z-loss",
        "stream",
        ["times(all.z_loss, scales.z_loss)", "times(all.z_loss, scales.cross_entropy)"],
        WRONG,
    ),
];

type Probe = Box<dyn Fn(&How, &Force) -> Result<(), Fault> + Sync + Send>;

/// Holds a case, if the kernel can compute it, to its bounds, to the same bits under another schedule, and the gradient from the
/// statistics to that of the same pass.
fn held(case: Case, outputs: Outputs, how: How) -> Probe {
    Box::new(move |base, force| {
        let how = How { patch: base.patch, ..how.clone() };
        let problem = case.problem.clone().outputs(outputs);
        let variant = |backward| (force.variant)(&problem, backward, &how);
        let Some(whole) = variant(false) else { return Ok(()) };
        let output = try_check(&case, outputs, &how, &whole)?;
        let lean = lean(&case, outputs);
        let again = |seed: u64, stats: Option<&[f32]>| {
            let how = How { seed, ..how.clone() };
            let variant = variant(stats.is_some()).unwrap();
            let (output, _) =
                caught(|| run(&lean, &how, &variant, stats))?.map_err(Fault::Access)?;
            Ok(output)
        };
        if bits(&again(2, None)?) != bits(&output) {
            return Err(Fault::Result("other bits under another schedule".into()));
        }
        if outputs.contains(Outputs::STATS | Outputs::DLOGITS) {
            let separate = again(3, Some(&output.stats))?;
            if wide_bits(&separate.dlogits) != wide_bits(&output.dlogits) {
                return Err(Fault::Result("other bits from the statistics".into()));
            }
        }
        Ok(())
    })
}

/// Quick cases, each for several faults.
fn suite() -> Vec<(&'static str, Probe)> {
    let (f32, bf16) = (DType::F32, DType::BF16);
    let plain = |dtype, classes| Problem::new(dtype, classes).reduction(Reduction::None);
    let gradient = Outputs::LOSS | Outputs::LSE | Outputs::STATS | Outputs::DLOGITS;
    let how = || How { logits_offset: 3, dlogits_offset: 3, gap: 5, ..How::default() };

    let upstream =
        Case::random(plain(bf16, 1100).ignore_index(-1), 4, 1).dloss(&[1.0, -3.0, 0.5, 2.0]);
    let mut upstream = upstream.targets(&[5, 1099, -1, 600]);
    upstream.logits[2200..3300].fill(f64::NAN);

    let weighted = Problem::new(f32, 700).ignore_index(9).class_weights(true).row_weights(true);
    let weighted = weighted.label_smoothing(0.1).z_loss(0.01);
    let weighted = Case::random(weighted, 4, 2).targets(&[0, 9, 699, 300]);

    let (classes, mut rows) = (1500, Case::random(plain(f32, 1500), 5, 3));
    rows = rows.targets(&[700, 20, 1499, 3, 8]);
    rows.logits[700] = 40.0;
    rows.logits[classes..2 * classes].iter_mut().for_each(|x| *x = (*x * 64.0).round() + 1e6);
    rows.logits[2 * classes..2 * classes + 1200].fill(f64::NEG_INFINITY);
    rows.logits[3 * classes..4 * classes].fill(2.5);
    rows.logits[4 * classes + 1499] = f64::NAN;

    let smooth = plain(f32, 300).label_smoothing(0.3);
    let mut smooth = Case::random(smooth, 2, 4);
    smooth.logits.iter_mut().for_each(|x| *x = (*x * 64.0).round() / 64.0 + 3e4);
    smooth.logits[310..590].fill(f64::NEG_INFINITY);

    let mut capped = Case::random(plain(f32, 300).softcap(1.0), 3, 5);
    capped.logits[..300].iter_mut().for_each(|x| *x *= 4.0);
    capped.logits[650] = f64::NAN;

    let in_place = Case::random(plain(f32, 1000).in_place(true), 3, 6);
    let scaled = Case::random(plain(bf16, 500).logit_scale(-0.75), 2, 7);
    let soft = Case::random(plain(f32, 650).targets(f32), 2, 8);

    vec![
        ("upstream, ignored, bf16", held(upstream, gradient, how())),
        ("in place", held(in_place, gradient, How { logits_offset: 1, ..How::default() })),
        ("shapes of rows", held(rows, Outputs::all(), How { gap: 0, ..how() })),
        ("weights, smoothing, z-loss", held(weighted, gradient, how())),
        ("smoothing far from 0", held(smooth, gradient, how())),
        ("softcap", held(capped, gradient, how())),
        ("negative scale", held(scaled, gradient, how())),
        ("probabilities", held(soft, gradient, how())),
        ("invalid targets", Box::new(invalid_targets)),
        ("far rows", Box::new(far_rows)),
    ]
}

/// Targets that are no classes: their losses are NaN, and the report of an earlier run goes on.
fn invalid_targets(how: &How, force: &Force) -> Result<(), Fault> {
    let problem = Problem::new(DType::F32, 100).reduction(Reduction::None).class_weights(true);
    let case = Case::random(problem, 5, 9).targets(&[3, 100, (1 << 32) + 5, 0, -7]);
    let how = How { report: [2, 3, 500, 0], ..how.clone() };
    let variant = (force.variant)(&case.problem, false, &how).unwrap();
    let (output, trace) = caught(|| run(&case, &how, &variant, None))?.map_err(Fault::Access)?;
    caught(|| {
        let no_number: Vec<bool> = output.loss.iter().map(|x| x.is_nan()).collect();
        assert_eq!(no_number, [false, true, true, false, true]);
        assert_eq!(trace.report, [5, 1, 100, 0]);
    })
}

/// Rows further apart than 32 bits count, and further than a grid is wide.
fn far_rows(how: &How, force: &Force) -> Result<(), Fault> {
    let problem = |classes| {
        Problem::new(DType::BF16, classes).reduction(Reduction::None).outputs(sparse::OUTPUTS)
    };
    let apart = Sparse { problem: problem(100), rows: 9, stride: (1 << 29) + 3 };
    let many = Sparse { problem: problem(3), rows: (1 << 30) + 5, stride: 3 };
    for (sparse, chosen) in [(apart, vec![0, 3, 4, 8]), (many, vec![4, (1 << 30) + 4])] {
        let variant = (force.variant)(&sparse.problem, false, how).unwrap();
        sparse.check(&chosen, how, &variant, None)?;
    }
    Ok(())
}

/// The first fault that the suite finds.
fn first_fault(how: &How, kernel: &str) -> Option<(&'static str, Fault)> {
    let force = KERNELS.iter().find(|force| force.name == kernel).unwrap();
    suite().into_iter().find_map(|(name, probe)| Some((name, probe(how, force).err()?)))
}

#[test]
fn the_kernels_pass() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let done = pool::each(KERNELS, |force| {
        if let Some((name, fault)) = first_fault(&How::default(), force.name) {
            panic!("{}, {name}: {fault}", force.name);
        }
    });
    assert_eq!(done.failures, 0);
}

#[test]
fn every_planted_bug_is_found() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    assert!(BUGS.len() >= 20);
    let done = pool::each(BUGS, |bug| {
        let patch = Patch { from: bug.from, to: bug.to };
        let how = How { patch: Some(patch), ..How::default() };
        let Some((probe, fault)) = first_fault(&how, bug.kernel) else {
            panic!("nothing finds this: {}", bug.name);
        };
        match &fault {
            Fault::Access(error) if bug.found.contains(&error.kind) => {}
            Fault::Result(_) if bug.found.is_empty() => {}
            other => panic!("{}: {probe} finds {other}; expected was {:?}", bug.name, bug.found),
        }
        let what: String = fault.to_string().chars().take(90).collect();
        println!("{}: {probe}: {}", bug.name, what.lines().next().unwrap_or_default());
    });
    assert_eq!(done.failures, 0);
}
