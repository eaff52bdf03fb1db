//! Machines that lack something: the CPU takes the place of the GPU, and says what is missing and what
//! would help. Nothing panics, whatever lies in the place of a library.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::simulated::{Machine, here, nvrtc};
use common::skip;
use common::standin::abort_on_panic;
use tempfile::TempDir;
use xent::{Args, Context, DType, Device, DeviceKind, Error, Plan, Problem};

/// Runs in another process, where a panic aborts: prints why there is no GPU.
#[test]
fn child_tells_its_device() {
    if !here() {
        return;
    }
    abort_on_panic();
    let context = Context::auto();
    let reason = context.device().fallback_reason();
    assert_eq!(context.device().kind() == DeviceKind::Cpu, reason.is_some());
    match Device::cuda(0) {
        Ok(_) => assert_eq!(reason, None),
        Err(Error::Unavailable { what }) => {
            assert_eq!(what, format!("CUDA device 0: {}", reason.unwrap()));
        }
        Err(error) => panic!("{error:?}"),
    }
    assert_eq!(Device::auto().fallback_reason(), reason, "asked again");
    if context.device().kind() == DeviceKind::Cpu {
        let plan = Plan::new(&context, &Problem::new(DType::F32, 3)).unwrap();
        let mut loss = 0f32;
        let args = Args::new(&[1.0f32, 2.0, 3.0], &[2i64]).loss(&mut loss);
        plan.run(args, &mut plan.workspace(1).unwrap()).unwrap();
        assert!((loss - 0.407606).abs() < 1e-6);
    }
    println!("reason: {reason:?}");
}

/// A process on the machine that tells its device, and has no kernels that were compiled ahead.
fn child(machine: &Machine) -> Command {
    let mut command = machine.test("child_tells_its_device");
    command.env("XENT_KERNELS", "");
    command
}

/// What the process says; `None` if it has a GPU.
fn reason(command: &mut Command) -> Option<String> {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}\n{out}\n{err}");
    let (_, text) = out.split_once("reason: ").unwrap();
    let text = text.lines().next().unwrap();
    println!("{text}");
    text.strip_prefix("Some(").map(|text| text.replace("\\n", "\n").replace("\\\"", "\""))
}

fn assert_says(command: &mut Command, parts: &[&str]) {
    let reason = reason(command).unwrap_or_else(|| panic!("{command:?} has a GPU, not {parts:?}"));
    for part in parts {
        assert!(reason.contains(part), "no \"{part}\" in \"{reason}\"");
    }
}

#[test]
fn a_machine_without_a_driver() {
    let Some(machine) = Machine::new() else { return };
    let none = TempDir::new().unwrap();
    let install =
        "install the NVIDIA driver (525 or newer), or in a container make the GPUs visible";
    if let Some(text) = reason(child(&machine).env("LD_LIBRARY_PATH", none.path())) {
        if !text.contains("libcuda.so.1, the NVIDIA driver, was not found") {
            return skip("this machine has a driver, so it cannot be absent");
        }
        assert!(text.contains(install), "{text}");
        fs::write(none.path().join("libcuda.so.1"), "not a library").unwrap();
        let parts =
            ["libcuda.so.1, the NVIDIA driver, could not be loaded: ", "file too short", install];
        assert_says(child(&machine).env("LD_LIBRARY_PATH", none.path()), &parts);
    } else {
        skip("this machine has a GPU, so it cannot be absent");
    }
    // Without a GPU, and with the driver of one that is elsewhere.
    assert_eq!(reason(&mut child(&machine)), None);
}

#[test]
fn a_driver_that_does_not_start() {
    let Some(machine) = Machine::new() else { return };
    for (code, parts) in [
        ("100", ["no CUDA-capable device is detected (CUDA_ERROR_NO_DEVICE, 100)", "GPUs visible"]),
        ("999", ["unknown error (CUDA_ERROR_UNKNOWN, 999)", "run nvidia-smi"]),
        ("35", ["cuInit: error 35", "update the NVIDIA driver to 525 or newer"]),
        ("34", ["CUDA driver is a stub library (CUDA_ERROR_STUB_LIBRARY, 34)", "LD_LIBRARY_PATH"]),
        ("3", ["initialization error (CUDA_ERROR_NOT_INITIALIZED, 3)", "run nvidia-smi"]),
        ("803", ["unsupported display driver / cuda driver combination", "restart it"]),
    ] {
        assert_says(child(&machine).env("XENT_SIM_INIT", code), &["cuInit: ", parts[0], parts[1]]);
    }
    let parts = ["no CUDA-capable device is detected", "docker run --gpus all"];
    assert_says(child(&machine).env("XENT_SIM_DEVICES", "none"), &parts);
    let parts =
        ["the NVIDIA driver is one of CUDA 11.4; 12.0 is needed", "update the NVIDIA driver"];
    assert_says(child(&machine).env("XENT_SIM_DRIVER_VERSION", "11040"), &parts);
}

#[test]
fn a_driver_that_lacks_a_function() {
    let Some(machine) = Machine::new() else { return };
    let table = include_str!("../src/cuda/driver.rs");
    let functions = table.split(" = \"cu").skip(1).map(|rest| rest.split('"').next().unwrap());
    let functions: Vec<String> = functions.map(|name| format!("cu{name}")).collect();
    assert!(functions.len() > 20, "{functions:?}");
    for function in functions {
        let folder = TempDir::new().unwrap();
        xent_simulated_driver::install_without(folder.path(), &[&function]).unwrap();
        let lacks = format!("libcuda.so.1, the NVIDIA driver, lacks {function}; update");
        assert_says(child(&machine).env("LD_LIBRARY_PATH", folder.path()), &[&lacks]);
    }
}

#[test]
fn a_gpu_and_a_compiler_that_do_not_go_together() {
    let Some(machine) = Machine::new() else { return };
    let old = ["the GPU has compute capability 6.1, below 7.0", "use the CPU"];
    assert_says(child(&machine).env("XENT_SIM_DEVICES", "6.1"), &old);
    let Some(new) = nvrtc(13) else { return skip("NVRTC 13 was not found") };

    let with = |device: &str, driver: &str| {
        let mut command = child(&machine);
        command.env("XENT_NVRTC", new.path()).env("XENT_SIM_DEVICES", device);
        command.env("XENT_SIM_DRIVER_VERSION", driver);
        command
    };
    let version = new.version();
    let newer = format!("NVRTC {version} is of a newer major version than the driver's CUDA 12.8");
    assert_says(&mut with("9.0", "12080"), &[&newer, "pip install nvidia-cuda-nvrtc-cu12"]);
    let dropped = format!("NVRTC {version} no longer supports a GPU of compute capability 7.0");
    assert_says(&mut with("7.0", "13000"), &[&dropped, "pip install nvidia-cuda-nvrtc-cu12"]);
    let unknown = format!("NVRTC {version} has no machine code for compute capability 13.0");
    let parts = [&unknown, "its PTX is too new for the driver's CUDA 13.0"];
    if version.minor > 0 {
        let parts = [parts[0], parts[1], "pip install \"nvidia-cuda-nvrtc==13.0.*\""];
        assert_says(&mut with("13.0", "13000"), &parts);
    }
}

#[test]
fn a_machine_without_a_usable_compiler() {
    let Some(machine) = Machine::new() else { return };
    let install = "pip install nvidia-cuda-nvrtc";
    let named = |path: &Path| {
        let mut command = child(&machine);
        command.env("XENT_NVRTC", path);
        command
    };
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    assert_says(&mut named(&folder.path().join("none")), &["No such file", install]);
    let text = folder.path().join("libnvrtc.so.13");
    fs::write(&text, "not a library").unwrap();
    assert_says(
        &mut named(&text),
        &["libnvrtc.so.13: not a usable NVRTC: file too short", install],
    );

    // Nowhere at all.
    let mut command = child(&machine);
    for name in ["CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONUSERBASE"] {
        command.env_remove(name);
    }
    command.env_remove("XENT_NVRTC").env("HOME", "/nonexistent");
    match reason(&mut command) {
        Some(text) => {
            let first = "NVRTC, the library that compiles the CUDA kernels, was not found:";
            assert!(text.contains(first) && text.contains(install), "{text}");
        }
        None => skip("this machine has NVRTC where the dynamic loader finds it"),
    }

    // Without its builtins.
    let whole = common::simulated::any_nvrtc().unwrap();
    let alone = folder.path().join("alone");
    fs::create_dir(&alone).unwrap();
    let alone = alone.join("libnvrtc.so");
    if fs::hard_link(whole.path(), &alone).is_err() {
        fs::copy(whole.path(), &alone).unwrap();
    }
    let lacks = format!("libnvrtc-builtins.so.{} does not lie beside it", whole.version());
    assert_says(&mut named(&alone), &[&lacks, install]);

    // An old one: the search says which it passed over.
    let old = folder.path().join("old.c");
    let stub = "int nvrtcVersion(int *a, int *b) { *a = 11; *b = 8; return 0; }\n\
                #define STUB(name) int nvrtc##name(void) { return 77; }\n\
                STUB(GetErrorString) STUB(GetNumSupportedArchs) STUB(GetSupportedArchs)\n\
                STUB(CreateProgram) STUB(DestroyProgram) STUB(AddNameExpression)\n\
                STUB(CompileProgram) STUB(GetLoweredName) STUB(GetPTXSize) STUB(GetPTX)\n\
                STUB(GetCUBINSize) STUB(GetCUBIN) STUB(GetProgramLogSize) STUB(GetProgramLog)\n";
    fs::write(&old, stub).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let library = folder.path().join("libnvrtc-old.so");
    match Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&library, &old]).status() {
        Ok(status) => assert!(status.success()),
        Err(_) => return skip("no C compiler"),
    }
    let parts = ["it is version 11.8, but 12.0 is needed", install];
    assert_says(&mut named(&library), &parts);
}
