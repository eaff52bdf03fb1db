//! The C ABI, from C and C++ programs in `c/`. They are compiled here, and linked with the library
//! that cargo built next to this test.
#![cfg(all(feature = "capi", unix, not(miri)))]

mod c;
mod common;

use std::collections::BTreeSet;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::Path;
use std::process::Command;

use c::{C, CXX, Compiler, folder, library_folder, run, succeed};
use common::skip;

/// A program that checks itself, in every version of its language.
fn passes(source: &str, standards: &[&str], flags: &[&str]) {
    for compiler in standards.iter().filter_map(|standard| Compiler::new(standard)) {
        let compiler = compiler.flags(flags);
        run(&compiler.program(source), &[]);
    }
}

#[test]
fn the_headers_stand_alone_in_every_standard() {
    for (standards, flags) in [(&C[..], &[][..]), (&CXX, &[]), (&CXX, &["-DWITH_HPP"])] {
        for compiler in standards.iter().filter_map(|standard| Compiler::new(standard)) {
            let main = [flags, &["-DMAIN"]].concat();
            let units = [
                compiler.object("header_alone.c", "main.o", &main),
                compiler.object("header_alone.c", "other.o", flags),
            ];
            run(&compiler.link("program", &units), &[]);
        }
    }
}

/// Compiles and runs an example of the documentation.
fn prints(standard: &str, text: &str, expected: &str) {
    let Some(compiler) = Compiler::new(standard) else { return };
    let name = if standard.starts_with("c++") { "example.cc" } else { "example.c" };
    let source = compiler.out().join(name);
    std::fs::write(&source, text).unwrap();
    let printed = run(&compiler.program(source), &[]);
    // Where there is no GPU, the device says why, in parentheses.
    let (device, rest) = printed.split_once('\n').unwrap_or((&printed, ""));
    let (before, after) = (device.find(" ("), device.rfind(')'));
    let device = match (before, after) {
        (Some(start), Some(end)) => format!("{}{}", &device[..start], &device[end + 1..]),
        _ => device.to_owned(),
    };
    assert_eq!(format!("{device}\n{rest}"), expected);
}

#[test]
fn the_example_of_the_header_runs() {
    let header = include_str!("../include/xent.h");
    let (_, example) = header.split_once(" * EXAMPLE\n").unwrap();
    let (example, _) = example.split_once(" * HOW IT GOES\n").unwrap();
    let lines = example.lines().map(|line| line.strip_prefix(" *     ").unwrap_or(""));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let expected = "on the CPU\n\
                    loss 1.275269, gradient of the first logit -0.454985\n";
    prints("c11", &text, expected);
}

#[test]
fn the_cxx_example_of_the_readme_runs() {
    let readme = include_str!("../README.md");
    let (_, example) = readme.split_once("```cpp\n").unwrap();
    let (example, _) = example.split_once("```\n").unwrap();
    let expected = "on the CPU: loss 1.275269\n";
    prints("c++17", example, expected);
}

#[test]
fn bad_input_is_refused_by_name() {
    passes("bad_input.c", &C, &[]);
    passes("bad_args.c", &C, &[]);
    passes("bad_family.c", &C, &[]);
}

#[test]
fn operations_are_what_their_formulas_say() {
    passes("operations.c", &["c99", "c17"], &[]);
    passes("softmax.c", &["c11"], &[]);
}

#[test]
fn the_numbers_of_tutorials() {
    passes("tutorials.c", &["c99", "c17"], &[]);
    passes("tutorials_of_libraries.c", &["c11"], &[]);
}

#[test]
fn one_plan_serves_many_threads_and_environments() {
    passes("threads.c", &["c99", "c11"], &[]);
}

#[test]
fn runs_do_not_allocate() {
    passes("allocations.c", &["c11"], &[]);
}

#[test]
fn odd_input_crashes_nothing() {
    passes("fuzz.c", &["c11"], &["-O1"]);
}

#[test]
fn cxx_handles_free_themselves_and_failures_throw() {
    passes("raii.cc", &CXX, &[]);
}

#[test]
fn cxx_works_without_exceptions() {
    passes("no_exceptions.cc", &CXX, &["-fno-exceptions"]);
}

/// What sanitizers run of both devices.
const SOURCES: [&str; 10] = [
    "bad_input.c",
    "bad_args.c",
    "bad_family.c",
    "operations.c",
    "softmax.c",
    "tutorials.c",
    "tutorials_of_libraries.c",
    "threads.c",
    "fuzz.c",
    "raii.cc",
];

/// A compiler with sanitizers for a file.
fn sanitized(source: &str) -> Option<Compiler> {
    Compiler::sanitized(if source.ends_with(".cc") { "c++17" } else { "c11" })
}

#[test]
fn sanitizers_find_nothing() {
    for source in SOURCES {
        let Some(compiler) = sanitized(source) else { continue };
        run(&compiler.program(source), &[]);
    }
}

/// A project that finds the library with CMake builds, and runs.
#[test]
fn cmake_finds_the_library() {
    let Some(compiler) = Compiler::new("c++11") else { return };
    let cmake = std::env::var("CMAKE").unwrap_or("cmake".into());
    if Command::new(&cmake).arg("--version").output().is_err() {
        return skip("CMake is not installed (pip install cmake)");
    }
    let define = |name, path: &Path| format!("-D{name}={}", path.display());
    let library = library_folder().join(format!("{DLL_PREFIX}xent{DLL_SUFFIX}"));
    let mut configure = Command::new(&cmake);
    configure.arg("-S").arg(folder().join("cmake")).arg("-B").arg(compiler.out());
    configure.arg(define("XENT_CMAKE", &folder().join("../../include/cmake")));
    configure.arg(define("XENT_LIBRARY", &library));
    succeed(&mut configure);
    succeed(Command::new(&cmake).arg("--build").arg(compiler.out()));
    run(&compiler.out().join("user"), &[]);
}

/// A unit test in src/capi holds Rust's view of the structs against the same file.
#[test]
fn c_and_rust_agree_on_layouts() {
    for compiler in ["c99", "c++11"].into_iter().filter_map(Compiler::new) {
        let object = compiler.object("layouts.c", "layouts.o", &[]);
        let printed = run(&compiler.link("layouts", &[object]), &[]);
        assert_eq!(printed, include_str!("c/layouts.txt"));
    }
}

#[test]
#[cfg(target_os = "linux")] // where nm knows -D
fn the_library_exports_what_is_listed() {
    let library = library_folder().join("libxent.so");
    let Ok(nm) = Command::new("nm").args(["-D", "--defined-only"]).arg(library).output() else {
        return skip("there is no nm to list exported symbols with");
    };
    let listing = String::from_utf8(nm.stdout).unwrap();
    let exported: BTreeSet<_> =
        listing.lines().map(|line| line.split_whitespace().last().unwrap()).collect();
    let listed: BTreeSet<_> = include_str!("c/symbols.txt").lines().collect();
    assert_eq!(exported, listed, "exported, and listed in {}", folder().display());
}

/// The same programs on a GPU that is simulated, and those of what only a GPU has.
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod on_a_gpu {
    use super::c::{Compiler, printed, run_on_gpu};
    use super::common::simulated::Machine;
    use super::{SOURCES, sanitized};

    fn passes(source: &str, standard: &str, flags: &[&str]) {
        let (Some(machine), Some(compiler)) = (Machine::new(), Compiler::new(standard)) else {
            return;
        };
        run_on_gpu(&machine, &compiler.flags(flags).program(source), &[]);
    }

    #[test]
    fn bad_input_is_refused_by_name() {
        passes("bad_input.c", "c99", &[]);
        passes("bad_args.c", "c11", &[]);
        passes("bad_family.c", "c17", &[]);
    }

    #[test]
    fn operations_are_what_their_formulas_say() {
        passes("operations.c", "c11", &[]);
        passes("softmax.c", "c99", &[]);
    }

    #[test]
    fn the_numbers_of_tutorials() {
        passes("tutorials.c", "c11", &[]);
        passes("tutorials_of_libraries.c", "c99", &[]);
    }

    #[test]
    fn one_plan_serves_many_threads() {
        passes("threads.c", "c11", &[]);
    }

    #[test]
    fn runs_do_not_allocate() {
        passes("allocations.c", "c11", &[]);
    }

    #[test]
    fn odd_input_crashes_nothing() {
        passes("fuzz.c", "c11", &["-O1"]);
    }

    #[test]
    fn cxx_handles_free_themselves_and_failures_throw() {
        passes("raii.cc", "c++11", &[]);
    }

    #[test]
    fn cxx_works_without_exceptions() {
        passes("no_exceptions.cc", "c++20", &["-fno-exceptions"]);
    }

    #[test]
    fn reports_denominators_streams_and_lifetimes() {
        passes("gpu.c", "c99", &[]);
    }

    #[test]
    fn a_gpu_that_is_lost_leaves_the_rest() {
        passes("lost.c", "c99", &[]);
    }

    #[test]
    fn several_gpus_keep_their_memory_apart() {
        let (Some(machine), Some(compiler)) = (Machine::new(), Compiler::new("c11")) else {
            return;
        };
        let mut command = machine.command(compiler.program("gpus.c"));
        printed(command.env("XENT_SIM_DEVICES", "9.0,9.0"), &[machine.folder()]);
    }

    #[test]
    fn sanitizers_find_nothing() {
        for source in SOURCES.into_iter().chain(["gpu.c"]) {
            let (Some(machine), Some(compiler)) = (Machine::new(), sanitized(source)) else {
                return;
            };
            run_on_gpu(&machine, &compiler.program(source), &[]);
        }
    }

    /// What a context chooses, and what it says, where something is missing.
    #[test]
    fn a_context_says_why_it_is_not_on_a_gpu() {
        let (Some(machine), Some(compiler)) = (Machine::new(), Compiler::new("c11")) else {
            return;
        };
        let program = compiler.program("fallback.c");
        let says = |variable: &str, value: &str| {
            let mut command = machine.command(&program);
            command.env(variable, value);
            let printed = printed(&mut command, &[machine.folder()]);
            let (status, description) = printed.split_once('\n').unwrap();
            (status.to_owned(), description.to_owned())
        };
        for (variable, value, reason) in [
            ("XENT_SIM_INIT", "100", "cuInit: no CUDA-capable device is detected"),
            ("XENT_SIM_DEVICES", "none", "cuInit: no CUDA-capable device is detected"),
            ("XENT_SIM_INIT", "999", "cuInit: unknown error"),
            ("XENT_SIM_DRIVER_VERSION", "11080", "the NVIDIA driver is one of CUDA 11.8; 12.0 is"),
            ("XENT_SIM_DEVICES", "6.1", "the GPU has compute capability 6.1, below 7.0"),
            ("XENT_NVRTC", "/nowhere", "/nowhere: not a usable NVRTC: "),
        ] {
            let (status, description) = says(variable, value);
            assert_eq!(status, "XENT_STATUS_DEVICE_UNAVAILABLE", "{description}");
            assert!(description.starts_with(&format!("CPU ({reason}")), "{description}");
        }
        // There, but without memory for a context.
        let failures = "cuDevicePrimaryCtxRetain:1=2,cuDevicePrimaryCtxRetain:2=2";
        let (status, description) = says("XENT_SIM_FAIL", failures);
        assert_eq!(status, "XENT_STATUS_OUT_OF_RESOURCES", "{description}");
        assert!(description.starts_with("CPU (cuDevicePrimaryCtxRetain: out of memory"));
    }
}

/// On this machine as it is, with a GPU or without.
#[test]
fn a_context_that_chooses_itself_says_what_and_why() {
    let Some(compiler) = Compiler::new("c99") else { return };
    run(&compiler.program("fallback.c"), &[]);
}
