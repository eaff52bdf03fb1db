//! The program `xent`: what it says, what it checks, and how it ends.
#![cfg(feature = "cli")]

mod common;

use std::process::{Command, Output};

use common::foundation::cpu_kernel;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xent");

/// Status and text of a command.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn xent(arguments: &[&str]) -> (Option<i32>, String, String) {
    run(Command::new(PROGRAM).args(arguments))
}

#[test]
fn info_says_what_there_is_whatever_is_missing() {
    let mut command = Command::new(PROGRAM);
    let (status, out, _) =
        run(command.arg("info").env("XENT_NVRTC", "/nowhere").env("XENT_CACHE", ""));
    assert_eq!(status, Some(0), "{out}");
    let version = format!("xent {}", env!("CARGO_PKG_VERSION"));
    for part in
        [&version, "computes on", "/nowhere", "pip install", "XENT_CACHE is empty", "threads"]
    {
        assert!(out.contains(part), "{part:?} is missing:\n{out}");
    }
}

#[test]
fn wrong_usage_is_told_from_wrong_results() {
    for arguments in [
        &[][..],
        &["compute"],
        &["check", "--device", "tpu"],
        &["check", "--device", "cuda:x"],
        &["check", "--device", "cuda:1000"],
        &["check", "--seed", "-1"],
        &["check", "all"],
        &["explain", "--gpu", "9.0"],
        &["explain", "--gpu", "9.0:0"],
        &["explain", "--alignment", "3"],
        &["explain", "--classes", "0"],
    ] {
        let (status, out, err) = xent(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {out}{err}");
        assert_eq!(out, "", "{arguments:?}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
    assert!(xent(&["check", "--device", "tpu"]).2.contains("expected auto, cpu, cuda or cuda:N"));
}

/// Of a GPU that is not there, which a machine without any can do.
#[test]
#[cfg(target_os = "linux")]
fn explain_says_why_a_kernel_is_chosen() {
    let explain = |arguments: &[&str]| {
        let gpu = ["explain", "--gpu", "9.0:132", "--types", "bf16"];
        let (status, out, err) = xent(&[&gpu, arguments].concat());
        assert_eq!((status, &err[..]), (Some(0), ""), "{out}");
        out
    };
    let all = explain(&[]);
    for part in [
        "9.0, 132 multiprocessors",
        "49090 to 65473  read once: a cluster of 4 CTAs of 256 threads with 8 vectors each holds a row",
        "from 262082  read twice: registers hold rows of up to 524288 bytes",
        "cluster<bfloat, bfloat, classes, 0, 256, 8, 4>",
    ] {
        assert!(all.contains(part), "{part:?} is missing:\n{all}");
    }
    let few = explain(&["--classes", "128256", "--rows", "8"]);
    assert!(few.contains("all 8 rows at the same time"), "{few}");
    assert_eq!(few.lines().count(), 4, "{few}");
    let loss = explain(&["--classes", "128256", "--modes", "forward"]);
    assert!(loss.contains("for its sums alone"), "{loss}");
}

/// The lines that are the same in every run: all but the last but one, which has the time.
fn lasting(out: &str) -> Vec<&str> {
    out.lines().filter(|line| !line.contains(" million logits, in ")).collect()
}

#[test]
fn check_passes_on_the_cpu_and_says_the_same_again() {
    let quick = ["check", "--quick", "--device", "cpu", "--seed", "7"];
    let (status, out, err) = xent(&quick);
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with("on CPU, seed 7\n"), "{out}");
    assert!(out.contains(&format!("{}  bf16", cpu_kernel())), "{out}");
    assert!(out.ends_with("every result is within its bound\n"), "{out}");
    assert_eq!(lasting(&out), lasting(&xent(&quick).1));
    let other = xent(&["check", "--quick", "--device", "cpu", "--seed", "8"]).1;
    assert_ne!(lasting(&out)[1..], lasting(&other)[1..]);
}

#[cfg(target_os = "linux")]
mod on_a_simulated_gpu {
    use super::common::simulated::Machine;
    use super::{PROGRAM, run};

    #[test]
    fn info_names_gpu_driver_and_compiler() {
        let Some(machine) = Machine::new() else { return };
        let mut command = machine.command(PROGRAM);
        let (status, out, _) = run(command.arg("info").env("XENT_SIM_DEVICES", "9.0,8.0,5.2"));
        assert_eq!(status, Some(0), "{out}");
        for part in [
            "computes on: CUDA 0\n",
            "CUDA 1        ",
            "compute capability 9.0, 132 multiprocessors",
            "kernels are compiled for compute_80",
            "below 7.0",
            "libnvrtc.so",
            "tmp/cache",
        ] {
            assert!(out.contains(part), "{part:?} is missing:\n{out}");
        }
    }

    #[test]
    fn check_passes_with_every_kind_of_kernel() {
        let Some(machine) = Machine::new() else { return };
        let (status, out, err) = run(machine.command(PROGRAM).args(["check", "--quick"]));
        assert_eq!(status, Some(0), "{out}{err}");
        for kernel in ["lanes", "block", "cluster", "columns"] {
            assert!(out.lines().any(|line| line.starts_with(kernel)), "{kernel}:\n{out}");
        }
        assert!(out.starts_with("on CUDA 0, Simulated GPU"), "{out}");
    }

    #[test]
    fn a_gpu_that_fails_is_a_wrong_result_and_one_that_is_not_there_wrong_usage() {
        let Some(machine) = Machine::new() else { return };
        let quick = ["check", "--quick", "--device", "cuda"];
        let mut command = machine.command(PROGRAM);
        command.args(quick).env("XENT_SIM_FAIL", "cuLaunchKernel:5");
        let (status, out, err) = run(&mut command);
        assert_eq!(status, Some(1), "{out}{err}");
        assert!(out.contains("WRONG: ") && out.contains("cuLaunchKernel"), "{out}");
        assert!(out.contains("results are wrong on CUDA 0"), "{out}");

        let mut command = machine.command(PROGRAM);
        let (status, _, err) = run(command.args(quick).env("XENT_SIM_DEVICES", "none"));
        assert_eq!(status, Some(2), "{err}");
        assert!(err.contains("CUDA device 0"), "{err}");
    }
}
