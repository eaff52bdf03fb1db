//! Kernels that were compiled ahead: a host with a driver and no NVRTC runs them, bit for bit as
//! compiled there, and says in words what it cannot run and why.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::simulated::Machine;
use tempfile::TempDir;
use xent::cuda::cache::Cache;
use xent::cuda::code::Supply;
use xent::cuda::nvrtc::Nvrtc;
use xent::cuda::target::{Capability, Target};
use xent::cuda::variant::option;
use xent::cuda::{prebuilt, stock};
use xent::{Args, Context, DType, Outputs, Plan, Problem, Tensor};

const PROGRAM: &str = env!("CARGO_BIN_EXE_xent");

/// Says to a test that it is to run a case.
const CHILD: &str = "XENT_TEST_CHILD";

/// Says on which device, and the bits of a run there; or why not.
#[test]
fn child_runs_a_case() {
    let Some(wanted) = std::env::var_os(CHILD) else { return };
    let context = Context::auto();
    println!("device: {}", context.device());
    println!("NVRTC: {}", Nvrtc::find().is_ok());
    match run(&context, wanted == "rare") {
        Ok(bits) => println!("bits: {bits:?}"),
        Err(error) => println!("error: {error}"),
    }
}

/// The bits of loss and gradient.
fn run(context: &Context, rare: bool) -> xent::Result<Vec<u32>> {
    const ROWS: usize = 5;
    const CLASSES: usize = 100;
    let mut problem = Problem::new(DType::F32, CLASSES)
        .label_smoothing(0.3)
        .ignore_index(7)
        .outputs(Outputs::LOSS | Outputs::DLOGITS);
    if rare {
        problem = problem.softcap(30.0);
    }
    let plan = Plan::new(context, &problem)?;
    let logits: Vec<f32> = (0..ROWS * CLASSES).map(|i| (i * i % 101) as f32 / 9.0).collect();
    let logits = Tensor::from_slice(&logits, &[ROWS, CLASSES])?.to(context)?;
    let targets = Tensor::from_slice(&[3i64, 7, 99, 0, 50], &[ROWS])?.to(context)?;
    let mut loss = Tensor::zeros(DType::F32, &[1])?.to(context)?;
    let mut dlogits = Tensor::zeros(DType::F32, &[ROWS, CLASSES])?.to(context)?;
    let args = Args::new(&logits, &targets).loss(&mut loss).dlogits(&mut dlogits);
    plan.run(args, &mut plan.workspace(ROWS)?)?;
    let numbers = [loss.to_vec::<f32>()?, dlogits.to_vec()?].concat();
    Ok(numbers.into_iter().map(f32::to_bits).collect())
}

/// What the child says about something.
fn said<'a>(text: &'a str, what: &str) -> &'a str {
    let (_, rest) = text.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    rest.split("\ntest ").next().unwrap_or(rest).trim_end()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The same on a machine that has no NVRTC, with kernels from a folder.
fn without_nvrtc(command: &mut Command, kernels: &Path) {
    for name in ["XENT_NVRTC", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"] {
        command.env_remove(name);
    }
    command.env("HOME", "/nowhere").env("PYTHONUSERBASE", "/nowhere").env("XENT_CACHE", "");
    command.env("XENT_KERNELS", kernels);
}

/// What the child says on a machine without NVRTC; `None` where NVRTC is in a place of the system.
fn child(machine: &Machine, kernels: &Path, set: impl FnOnce(&mut Command)) -> Option<String> {
    let mut command = machine.test("child_runs_a_case");
    command.env(CHILD, "common");
    without_nvrtc(&mut command, kernels);
    set(&mut command);
    let text = output(&mut command);
    if text.contains("NVRTC: true") {
        common::skip("NVRTC is installed where every program finds it");
        return None;
    }
    Some(text)
}

/// The kernels of rows of 100 classes, kept from one run of the tests to the next.
fn pack(machine: &Machine) -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels");
        let mut command = machine.command(PROGRAM);
        command.arg("kernels").arg(&folder);
        command.args(["--arch", "compute_90", "--classes", "100", "--type", "f32"]);
        let text = output(&mut command);
        assert!(text.contains("compute_90: ") && text.contains(" kernels, "), "{text}");
        folder
    })
}

/// A copy of a folder, to be changed.
fn copy(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    fs::set_permissions(copy.path(), Permissions::from_mode(0o755)).unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[test]
fn a_plan_runs_without_a_compiler_bit_for_bit() {
    let Some(machine) = Machine::new() else { return };
    let compiled = output(machine.test("child_runs_a_case").env(CHILD, "common"));
    assert!(compiled.contains("NVRTC: true"));
    let Some(text) = child(&machine, pack(&machine), |_| ()) else { return };
    assert!(text.contains("device: CUDA 0\n"), "{text}");
    assert_eq!(said(&text, "bits: "), said(&compiled, "bits: "));

    // Machine code; the simulated GPU runs the PTX that is with it.
    let nvrtc = common::simulated::any_nvrtc().unwrap();
    let target = Target::Cubin(Capability::new(8, 0));
    let folder = TempDir::new().unwrap();
    let variants = stock::variants(target.capability(), &[100], &[DType::F32]);
    let options = option::SMOOTHING | option::FLOAT;
    let smoothed = format!("<float, float, xent::classes, {options}, ");
    let around = |expression: &str| !expression.contains('<');
    let wanted = |expression: &str| expression.contains(&smoothed) || around(expression);
    let some: Vec<_> = variants.into_iter().filter(|v| wanted(&v.expression)).collect();
    assert_eq!(some.len(), 7, "{some:?}");
    let supply = Supply { nvrtc, target, cache: Cache::none("of a test"), lines: true };
    let place = folder.path().join("kernels");
    let mut count = 0;
    prebuilt::make(&place, &supply, &some, |_| count += 1).unwrap();
    assert_eq!(count, 7);
    let older = |command: &mut Command| {
        command.env_remove("CUDA_FORCE_PTX_JIT").env("XENT_SIM_DEVICES", "8.6");
    };
    let Some(text) = child(&machine, &place, older) else { return };
    assert_eq!(said(&text, "bits: "), said(&compiled, "bits: "));
    // A driver that is told to ignore machine code has nothing to compile there.
    let Some(text) = child(&machine, &place, |_| ()) else { return };
    assert!(text.contains("none of them is for a GPU of compute capability 9.0"), "{text}");
}

#[test]
fn a_problem_that_is_not_there_is_unavailable_in_words() {
    let Some(machine) = Machine::new() else { return };
    let rare = |command: &mut Command| _ = command.env(CHILD, "rare");
    let Some(text) = child(&machine, pack(&machine), rare) else { return };
    assert!(text.contains("device: CUDA 0\n"), "{text}");
    let error = said(&text, "error: ");
    for part in ["do not have xent::", "for compute_90", "pip install nvidia-cuda-nvrtc", "kernels"]
    {
        assert!(error.contains(part), "{part:?} is missing: {error}");
    }
}

#[test]
fn kernels_that_cannot_be_used_are_refused_with_a_reason() {
    let Some(machine) = Machine::new() else { return };
    let pack = pack(&machine);
    let refused = |folder: &Path, set: &dyn Fn(&mut Command), reason: &str| {
        let Some(text) = child(&machine, folder, set) else { return };
        let device = said(&text, "device: ");
        assert!(device.starts_with("CPU (NVRTC, the library"), "{device}");
        assert!(device.contains("Nor can prebuilt kernels be used: "), "{device}");
        assert!(device.contains(reason), "{reason:?} is missing: {device}");
    };
    let as_it_is = |_: &mut Command| ();
    refused(Path::new("/nowhere"), &as_it_is, "/nowhere: No such file");
    refused(TempDir::new().unwrap().path(), &as_it_is, "no kernels are in there");
    let older = |command: &mut Command| _ = command.env("XENT_SIM_DEVICES", "8.0");
    refused(pack, &older, "compute_90 by NVRTC");
    let driver = |command: &mut Command| _ = command.env("XENT_SIM_DRIVER_VERSION", "12000");
    refused(pack, &driver, "with a driver of CUDA 12.0");

    let open = copy(pack);
    fs::set_permissions(open.path(), Permissions::from_mode(0o777)).unwrap();
    refused(open.path(), &as_it_is, "others may write to it");

    let other = copy(pack);
    let about = other.path().join("compute_90.txt");
    let text = fs::read_to_string(&about).unwrap();
    fs::write(&about, text.replace("source ", "source 0").replace("xent 0", "xent 99.0")).unwrap();
    refused(other.path(), &as_it_is, "those of another build of xent (99.0");

    let damaged = copy(pack);
    for entry in fs::read_dir(damaged.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none() {
            let mut bytes = fs::read(&path).unwrap();
            bytes[1000] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let Some(text) = child(&machine, damaged.path(), as_it_is) else { return };
    assert!(said(&text, "error: ").contains("do not have xent::count_targets"), "{text}");
}

#[test]
fn kernels_beside_the_program_are_found() {
    let Some(machine) = Machine::new() else { return };
    let kernels = copy(pack(&machine));
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = folder.path().join("xent");
    fs::hard_link(PROGRAM, &program).unwrap();
    let beside = folder.path().join("xent-kernels");
    fs::create_dir(&beside).unwrap();
    fs::set_permissions(&beside, Permissions::from_mode(0o755)).unwrap();
    for file in fs::read_dir(kernels.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), beside.join(file.file_name())).unwrap();
    }
    let mut command = machine.command(&program);
    without_nvrtc(&mut command, Path::new(""));
    let info = |command: &mut Command| output(command.arg("info"));
    let text = info(&mut command);
    assert!(text.contains("prebuilt      none\n"), "an empty XENT_KERNELS: {text}");
    let mut command = machine.command(&program);
    without_nvrtc(&mut command, Path::new(""));
    let text = info(command.env_remove("XENT_KERNELS"));
    assert!(text.contains(&format!("{}: compute_90", beside.display())), "{text}");
    if !text.contains("NVRTC         NVRTC, the library") {
        return common::skip("NVRTC is installed where every program finds it");
    }
    assert!(text.contains("prebuilt kernels for compute_90 are used"), "{text}");
    assert!(text.contains("computes on: CUDA 0\n"), "{text}");
}
