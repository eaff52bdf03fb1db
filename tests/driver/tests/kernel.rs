//! A kernel of the library, as NVRTC makes it, through the C ABI: copied in, launched, copied out,
//! and held against the CPU.

mod common;

use std::ffi::c_void;
use std::io::Write;
use std::path::PathBuf;
use std::ptr::{from_ref, null};

use common::{Sim, get, ok, try_get};
use xent::cuda::compile::{Compiled, Image, Request, Source, compile};
use xent::cuda::nvrtc::Nvrtc;
use xent::cuda::params::Params;
use xent::cuda::source;
use xent::cuda::target::{Capability, Target};
use xent::cuda::variant::{self, Variant};
use xent::{Args, Context, DType, Outputs, Plan, Problem, Reduction, Tensor};

const ROWS: usize = 5;
const CLASSES: usize = 301;
const THREADS: u32 = 128;

/// The newest NVRTC that there is. On CI there is one.
fn nvrtc() -> Option<&'static Nvrtc> {
    let folders = ["XENT_NVRTC_13", "XENT_NVRTC_12"].map(std::env::var_os);
    let folder = folders.into_iter().flatten().find(|folder| !folder.is_empty());
    let found = match folder {
        Some(folder) => Some(Nvrtc::open(PathBuf::from(folder)).unwrap()),
        None => Nvrtc::find().ok(),
    };
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "NVRTC was not found");
        let _ = writeln!(std::io::stderr(), "SKIPPED: NVRTC was not found");
    }
    found
}

fn problem() -> Problem {
    Problem::new(DType::F32, CLASSES)
        .reduction(Reduction::None)
        .outputs(Outputs::LOSS | Outputs::LSE | Outputs::DLOGITS)
}

/// The streaming kernel with its machine code, and its version for the driver: 13050 for 13.5.
fn compiled(nvrtc: &Nvrtc, options: &[&str]) -> (Compiled, Variant, u32) {
    let variant = variant::stream(&problem(), false, THREADS);
    let text = source::text(variant.program).unwrap();
    let program = Source { name: variant.program, text, headers: source::FILES };
    let target = Target::Cubin(Capability::new(9, 0));
    let request = Request { kernels: &[&variant.expression], options, ..Request::new(target) };
    let version = nvrtc.version();
    let number = version.major * 1000 + version.minor * 10;
    (compile(nvrtc, program, request).unwrap(), variant, number)
}

fn inputs() -> (Vec<f32>, Vec<i64>) {
    let value = |at: usize| ((at * 7919) % 1009) as f32 / 80.0 - 6.0;
    let logits = (0..ROWS * CLASSES).map(value).collect();
    (logits, (0..ROWS as i64).map(|row| row * 60).collect())
}

/// Loss, lse and gradient by the CPU.
fn on_the_cpu(logits: &[f32], targets: &[i64]) -> [Vec<f32>; 3] {
    let plan = Plan::new(&Context::cpu(), &problem()).unwrap();
    let logits = Tensor::from_slice(logits, &[ROWS, CLASSES]).unwrap();
    let targets = Tensor::from_slice(targets, &[ROWS]).unwrap();
    let (mut loss, mut lse) = (vec![0.0; ROWS], vec![0.0; ROWS]);
    let mut dlogits = Tensor::zeros(DType::F32, &[ROWS, CLASSES]).unwrap();
    let args = Args::new(&logits, &targets).loss(&mut loss).lse(&mut lse).dlogits(&mut dlogits);
    plan.run(args, &mut plan.workspace(ROWS).unwrap()).unwrap();
    [loss, lse, dlogits.to_vec().unwrap()]
}

fn copy_in<T>(sim: &Sim, values: &[T]) -> u64 {
    let bytes = size_of_val(values);
    let pointer = sim.alloc(bytes);
    ok(sim.cuMemcpyHtoD_v2(pointer, values.as_ptr().cast(), bytes));
    pointer
}

fn floats(sim: &Sim, pointer: u64, count: usize) -> Vec<f32> {
    sim.read(pointer, count).into_iter().map(f32::from_bits).collect()
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32]) {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 4e-6 * expected.abs(), "{at}: {found} {expected}");
    }
}

fn cubin(compiled: &Compiled) -> &[u8] {
    match &compiled.image {
        Image::Cubin(code) => code,
        other => panic!("{other:?}"),
    }
}

fn load_cubin(sim: &Sim, compiled: &Compiled) -> Result<u64, i32> {
    try_get(|module| sim.cuModuleLoadData(module, cubin(compiled).as_ptr().cast()))
}

#[test]
fn the_streaming_kernel_from_ptx() {
    let Some(nvrtc) = nvrtc() else { return };
    let (compiled, variant, version) = compiled(nvrtc, &[]);
    let sim = Sim::started(&format!(
        "XENT_SIM_DRIVER_VERSION={version}\nXENT_SIM_NOISE=1\nXENT_SIM_SEED=5"
    ));
    // Machine code is nothing that the stand-in runs.
    assert_eq!(load_cubin(&sim, &compiled), Err(209));
    run(&sim, &compiled, &variant, sim.load(&compiled.ptx).unwrap());
}

#[test]
fn the_streaming_kernel_from_machine_code_with_its_ptx() {
    let Some(nvrtc) = nvrtc() else { return };
    let (compiled, variant, version) = compiled(nvrtc, &["--generate-line-info"]);
    // A driver of the same major version takes it, and a device of its generation.
    let sim = Sim::started(&format!("XENT_SIM_DRIVER_VERSION={}", version / 1000 * 1000));
    run(&sim, &compiled, &variant, load_cubin(&sim, &compiled).unwrap());
    sim.reset("XENT_SIM_DRIVER_VERSION=11080");
    sim.start();
    assert_eq!(load_cubin(&sim, &compiled), Err(200));
    sim.reset(&format!("XENT_SIM_DEVICES=10.0\nXENT_SIM_DRIVER_VERSION={version}"));
    sim.start();
    assert_eq!(load_cubin(&sim, &compiled), Err(209));
    sim.load(&compiled.ptx).unwrap();
}

/// Runs the kernel of a module, and leaves nothing.
fn run(sim: &Sim, compiled: &Compiled, variant: &Variant, module: u64) {
    let kernel = sim.function(module, &compiled.kernels[0].name);
    let (logits, targets) = inputs();
    let stream = sim.stream(1);
    let [loss, lse] = [sim.alloc(4 * ROWS), sim.alloc(4 * ROWS)];
    let dlogits = sim.alloc(4 * logits.len());
    let params = Params {
        logits: copy_in(sim, &logits),
        targets: copy_in(sim, &targets),
        loss,
        lse,
        dlogits,
        logits_stride: CLASSES as i64,
        dlogits_stride: CLASSES as i64,
        rows: ROWS as i64,
        ..Params::new(&problem())
    };
    let [x, y] = variant.grid(ROWS as u64).unwrap();
    let launch = || {
        let bytes = params.to_bytes();
        let pointers = [bytes.as_ptr().cast::<c_void>()];
        let pointers = pointers.as_ptr();
        sim.cuLaunchKernel(kernel, x, y, 1, THREADS, 1, 1, 0, stream, pointers, null())
    };
    let check = |logits: &[f32]| {
        let [expected_loss, expected_lse, gradient] = on_the_cpu(logits, &targets);
        assert_near(&floats(sim, loss, ROWS), &expected_loss);
        assert_near(&floats(sim, lse, ROWS), &expected_lse);
        assert_near(&floats(sim, dlogits, logits.len()), &gradient);
    };
    ok(launch());
    ok(sim.cuStreamSynchronize(stream));
    check(&logits);

    // The same from a graph, with new contents.
    ok(sim.cuStreamBeginCapture_v2(stream, 0));
    ok(launch());
    let graph = get(|graph| sim.cuStreamEndCapture(stream, graph));
    let executable = get(|executable| sim.cuGraphInstantiateWithFlags(executable, graph, 0));
    for round in 1..4 {
        let logits: Vec<f32> = logits.iter().map(|x| x / round as f32).collect();
        let bytes = size_of_val(logits.as_slice());
        ok(sim.cuMemcpyHtoDAsync_v2(params.logits, logits.as_ptr().cast(), bytes, stream));
        ok(sim.cuGraphLaunch(executable, stream));
        ok(sim.cuStreamSynchronize(stream));
        check(&logits);
    }

    ok(sim.cuGraphExecDestroy(executable));
    ok(sim.cuGraphDestroy(graph));
    for pointer in [params.logits, params.targets, loss, lse, dlogits] {
        ok(sim.cuMemFree_v2(pointer));
    }
    ok(sim.cuStreamDestroy_v2(stream));
    ok(sim.cuModuleUnload(module));
    ok(sim.cuDevicePrimaryCtxRelease_v2(0));
    assert_eq!((sim.leaks(), sim.violations()), (0, 0), "{}", sim.report());
}

#[test]
fn a_gradient_that_is_too_short_is_a_fault() {
    let Some(nvrtc) = nvrtc() else { return };
    let (compiled, _, version) = compiled(nvrtc, &[]);
    let sim = Sim::started(&format!("XENT_SIM_DRIVER_VERSION={version}"));
    let kernel = sim.function(sim.load(&compiled.ptx).unwrap(), &compiled.kernels[0].name);
    let (logits, targets) = inputs();
    let params = Params {
        logits: copy_in(&sim, &logits),
        targets: copy_in(&sim, &targets),
        loss: sim.alloc(4 * ROWS),
        lse: sim.alloc(4 * ROWS),
        dlogits: sim.alloc(4 * logits.len() - 4),
        logits_stride: CLASSES as i64,
        dlogits_stride: CLASSES as i64,
        rows: ROWS as i64,
        ..Params::new(&problem())
    };
    let bytes = params.to_bytes();
    let pointers = [bytes.as_ptr().cast::<c_void>()];
    let grid = ROWS as u32;
    let pointers = from_ref(&pointers[0]);
    ok(sim.cuLaunchKernel(kernel, grid, 1, 1, THREADS, 1, 1, 0, 0, pointers, null()));
    assert_eq!(sim.cuCtxSynchronize(), 700);
}

#[test]
fn ptx_of_a_newer_compiler_is_refused() {
    let Some(nvrtc) = nvrtc() else { return };
    let (compiled, _, _) = compiled(nvrtc, &[]);
    let sim = Sim::started("XENT_SIM_DRIVER_VERSION=11080");
    assert_eq!(sim.load(&compiled.ptx), Err(222));
}
