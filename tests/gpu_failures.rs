//! The runtime where calls fail: of the driver, one after the other.
#![cfg(all(feature = "cuda", target_os = "linux"))]

#[cfg(feature = "capi")]
mod c;
mod common;

use std::sync::LazyLock;

use common::simulated::{Machine, assert_passes, here};
use common::standin::{self, StandIn, abort_on_panic};
use xent::{
    Args, BackwardArgs, Context, ContextOptions, DType, Device, Error, Outputs, Plan, Problem,
    Reduction, Report, Result, Stream, Tensor,
};

const ROWS: usize = 3;
const CLASSES: usize = 5;

/// Everything that a program does, on the GPU: what it finds. `plan_first`: drops the plan before its
/// context and its tensors, else after them.
fn program(plan_first: bool) -> Result<Vec<u32>> {
    let device = Device::cuda(0)?;
    // Made once: the default looks for a GPU, and says nothing if it does not find one.
    static OPTIONS: LazyLock<ContextOptions> = LazyLock::new(ContextOptions::default);
    let context = Context::new(OPTIONS.clone().device(device))?;
    let problem = Problem::new(DType::F32, CLASSES)
        .reduction(Reduction::Mean)
        .outputs(Outputs::LOSS | Outputs::STATS | Outputs::DLOGITS);
    let plan = Plan::new(&context, &problem)?;
    let mut workspace = plan.workspace(ROWS)?;
    let numbers: Vec<f32> = (0..ROWS * CLASSES).map(|i| (i * 7 % 11) as f32 / 3.0).collect();
    let logits = Tensor::from_slice(&numbers, &[ROWS, CLASSES])?.to(&context)?;
    let targets = Tensor::from_slice(&[1i64, 4, 0], &[ROWS])?.to(&context)?;
    let zeros = |dtype, shape: &[usize]| Tensor::zeros(dtype, shape)?.to(&context);
    let mut loss = zeros(DType::F32, &[1])?;
    let mut stats = zeros(DType::F32, &[2 * ROWS])?;
    let mut dlogits = zeros(DType::F32, &[ROWS, CLASSES])?;
    let mut separate = zeros(DType::F32, &[ROWS, CLASSES])?;
    let mut report = zeros(DType::I64, &[Report::LEN])?;

    let args = Args::new(&logits, &targets).loss(&mut loss).stats(&mut stats);
    plan.run(args.dlogits(&mut dlogits).report(&mut report), &mut workspace)?;
    let args = BackwardArgs::new(&logits, &targets, &stats, &mut separate);
    plan.backward(args, &mut workspace)?;
    plan.report(&report, Stream::default())?.check(CLASSES)?;
    let found = [loss.to_vec::<f32>()?, dlogits.to_vec()?, separate.to_vec()?].concat();
    if plan_first {
        drop((plan, workspace));
        drop(context);
    } else {
        drop(context);
        drop((logits, targets, loss, stats, dlogits, separate, report));
    }
    Ok(found.into_iter().map(f32::to_bits).collect())
}

/// Whether this process has the simulated GPU, and a log; if not, another one runs the test.
fn with_a_log(name: &str) -> bool {
    if !here()
        && let Some(machine) = Machine::new()
    {
        let log = machine.folder().join("log");
        assert_passes(machine.test(name).env("XENT_SIM_LOG", log));
    }
    if here() {
        abort_on_panic();
    }
    here()
}

/// How a call ends that gives something back: nobody is told, and it has done it.
const RELEASES: [&str; 4] =
    ["cuCtxPopCurrent", "cuMemFree", "cuModuleUnload", "cuDevicePrimaryCtxRelease"];

#[test]
fn every_call_of_the_driver_can_fail() {
    if !with_a_log("every_call_of_the_driver_can_fail") {
        return;
    }
    let sim = StandIn::here();
    let unknown = "unknown error (CUDA_ERROR_UNKNOWN, 999)";

    // Starting the driver, which a process does once it succeeds.
    for call in ["cuInit", "cuDriverGetVersion"] {
        sim.fail(&format!("{call}:1"));
        let error = program(true).unwrap_err();
        let Error::Unavailable { what } = error else { panic!("{call}: {error}") };
        assert!(
            what.starts_with(&format!("CUDA device 0: {call}: {unknown}; run nvidia-smi")),
            "{what}"
        );
        sim.fail(&format!("{call}:1"));
        let context = Context::auto();
        let reason = context.device().fallback_reason().unwrap();
        assert!(reason.starts_with(&format!("{call}: {unknown}")), "{reason}");
    }
    sim.fail("");
    let expected = program(true).unwrap();

    for plan_first in [true, false] {
        let counts = sim.counts(|| assert_eq!(program(plan_first).unwrap(), expected));
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let count = |name| counts.iter().find(|(n, _)| n.starts_with(name)).map_or(0, |c| c.1);
        let returned = count("cuMemFree") + count("cuModuleUnload");
        println!("{total} calls");
        assert!(total > 60);
        let mut pushes_to_return = 0;
        // The order matters where they are given back.
        for k in if plan_first { 1 } else { total / 2 }..=total {
            sim.fail(&k.to_string());
            let result = program(plan_first);
            sim.fail("");
            let call = sim.failed();
            match result {
                Ok(found) => {
                    assert_eq!(found, expected, "call {k}, {call}");
                    pushes_to_return += u64::from(call == "cuCtxPushCurrent");
                    let silent = RELEASES.contains(&&*call) || call == "cuCtxPushCurrent";
                    assert!(silent, "call {k}, {call}: nobody was told");
                }
                Err(Error::Cuda { what, code }) => {
                    assert_eq!((what, code), (format!("{call}: {unknown}"), 999), "call {k}");
                }
                Err(error) => panic!("call {k}, {call}: {error}"),
            }
            assert_eq!(
                (sim.leaks(), sim.violations()),
                (0, 0),
                "call {k}, {call}: {}",
                sim.report()
            );
            if k % 8 == 0 {
                assert_eq!(program(plan_first).as_ref(), Ok(&expected), "after call {k}, {call}");
            }
        }
        if plan_first {
            assert_eq!(pushes_to_return, returned, "a push that fails is told where it can be");
        }
    }
}

#[test]
fn memory_that_a_gpu_does_not_have_is_told() {
    if !with_a_log("memory_that_a_gpu_does_not_have_is_told") {
        return;
    }
    let sim = StandIn::here();
    let expected = program(true).unwrap();
    let allocations = sim.calls("cuMemAlloc");
    assert_eq!(allocations, 8);
    let text = "cuMemAlloc: out of memory (CUDA_ERROR_OUT_OF_MEMORY, 2)";
    for k in 1..=allocations {
        sim.fail(&format!("cuMemAlloc:{k}=2"));
        assert_eq!(program(k % 2 == 0), Err(Error::Resource { what: text.into() }), "{k}");
        assert_eq!((sim.leaks(), sim.violations()), (0, 0), "{k}: {}", sim.report());
        assert_eq!(program(true).as_ref(), Ok(&expected), "{k}");
    }
    let problem = Problem::new(DType::F32, CLASSES);
    let plan = Plan::new(&Context::auto(), &problem).unwrap();
    assert_eq!(plan.workspace(1 << 40).unwrap_err(), Error::Resource { what: text.into() });
    assert!(plan.workspace(1).is_ok());
}

/// The same below the C ABI: `gpu_failures.c` prints a line for each call that failed.
#[test]
#[cfg(feature = "capi")]
fn every_failure_has_a_status_in_c() {
    let Some(machine) = Machine::new() else { return };
    let Some(compiler) = c::Compiler::new("c11") else { return };
    let object = compiler.object("gpu_failures.c", "gpu_failures.o", &[]);
    let program = compiler.link("gpu_failures", &[object]);
    let log = machine.folder().join("log");
    let paths = [machine.folder(), &c::library_folder()].map(|path| path.display().to_string());
    let mut command = machine.command(program);
    command.env("LD_LIBRARY_PATH", paths.join(":")).env("XENT_SIM_LOG", &log);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);

    let log = std::fs::read_to_string(log).unwrap();
    let failed = log.lines().filter(|line| line.contains("(injected)"));
    let failed: Vec<_> = failed.map(standin::call).collect();
    let printed = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<_> = printed.lines().collect();
    assert_eq!(printed.len(), failed.len());
    assert!(printed.len() > 30, "{printed:#?}");
    let mut statuses = [0; 3];
    for (line, call) in printed.into_iter().zip(failed) {
        let (status, text) = line.split_once(' ').unwrap();
        let words = format!("{call}: unknown error (CUDA_ERROR_UNKNOWN, 999)");
        let kind = match status {
            "0" => RELEASES.contains(&&*call) || call == "cuCtxPushCurrent",
            "300" => text.starts_with(&format!("CUDA device 0: {words}; run nvidia-smi")),
            _ => (status, text) == ("301", &*words),
        };
        assert!(kind, "{call}: {line}");
        statuses[if status == "0" { 0 } else { status.parse::<usize>().unwrap() - 299 }] += 1;
    }
    println!("{statuses:?} calls: nobody is told; XENT_STATUS_DEVICE_UNAVAILABLE; _CUDA");
    assert_eq!(statuses[1], 2, "cuInit and cuDriverGetVersion");
}
