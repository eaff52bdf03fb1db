//! The tests of the foundation, which other tests run again in processes of another kind: with a GPU
//! that is simulated, with vectors of another instruction set.

use std::path::Path;
use std::process::{Command, Output};

use xent::{Context, DType, Plan, Problem};

/// The files.
pub const FOUNDATION: [&str; 14] = [
    "bounds",
    "determinism",
    "edge_cases",
    "family",
    "family_edges",
    "golden",
    "gradients",
    "identities",
    "invalid_input",
    "layouts",
    "properties",
    "tensor",
    "tutorials",
    "tutorials_family",
];

/// The program that [`run`] gives arguments.
pub const CARGO: &str = env!("CARGO");

/// Runs files of the foundation. Cargo knows where they are, and has built them as this test.
pub fn run(cargo: &mut Command, files: &[&str]) {
    let features = [
        ("capi", cfg!(feature = "capi")),
        ("cli", cfg!(feature = "cli")),
        ("cuda", cfg!(feature = "cuda")),
        ("default", cfg!(feature = "default")),
        ("header", cfg!(feature = "header")),
    ];
    let features: Vec<&str> =
        features.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let executable = std::env::current_exe().unwrap();
    // target/<folder of the profile>/deps/<test>
    let profile = executable.ancestors().nth(2).and_then(Path::file_name).unwrap();
    let profile = profile.to_str().map(|name| if name == "debug" { "dev" } else { name }).unwrap();
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["test", "--no-fail-fast", "--no-default-features"]);
    cargo.args(["--features", &features.join(","), "--profile", profile]);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    cargo.arg("--target-dir").arg(target);
    cargo.args(files.iter().flat_map(|file| ["--test", file]));
    let Output { status, stdout, stderr } = cargo.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&stdout), text(&stderr));
    assert!(status.success(), "{cargo:?}: {status}\n{out}\n{err}");

    // In the order of their names, as cargo runs them.
    let results: Vec<&str> =
        out.lines().filter_map(|line| line.strip_prefix("test result: ")).collect();
    assert_eq!(results.len(), files.len(), "{out}");
    for (file, result) in files.iter().zip(results) {
        let all = result.split_once(" passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        let count = all.and_then(|(count, _)| count.strip_prefix("ok. ")?.parse().ok());
        assert!(count > Some(0), "{file}: {result}");
    }
}

/// What computes 16-bit and `f32` logits on the CPU.
pub fn cpu_kernel() -> String {
    Plan::new(&Context::cpu(), &Problem::new(DType::F32, 3)).unwrap().kernel_name().to_owned()
}

/// The same, where this instruction set does.
pub fn cpu_kernel_of(instruction_set: &str) -> String {
    format!("cpu_{instruction_set}")
}
