//! No undefined behaviour: Miri interprets the unit tests, and those of the tests that reach memory
//! in all ways, from several threads too. Other tests run there in part, with small sizes.
//!
//! It takes about ten minutes and a nightly toolchain with Miri, so it runs where `XENT_EXTENDED`
//! is set:
//!
//! ```sh
//! XENT_EXTENDED=1 cargo test --test miri -- --nocapture
//! ```
#![cfg(not(miri))]

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Rayon's queues come with what stacked borrows, the stricter model, do not allow, and with a leak
/// on purpose; so what starts its threads is held to tree borrows.
const RUNS: [(&[&str], &str); 2] = [
    (&["--lib", "--test", "tensor", "--test", "layouts", "--test", "invalid_input"], ""),
    (
        &["--test", "determinism"],
        "-Zmiri-tree-borrows -Zmiri-ignore-leaks -Zmiri-disable-isolation",
    ),
];

/// Cargo of the nightly toolchain, whichever this test was built by.
fn nightly(arguments: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "miri"]).args(arguments);
    command.current_dir(root).env("CARGO_TARGET_DIR", root.join("target/miri"));
    for variable in ["RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTC_BOOTSTRAP", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command
}

/// Why Miri does not run here, if it does not.
fn obstacle() -> Option<&'static str> {
    if std::env::var_os("XENT_EXTENDED").is_none() {
        return Some("Miri takes ten minutes; set XENT_EXTENDED=1");
    }
    let is_there = nightly(&["--version"]).output().is_ok_and(|output| output.status.success());
    let how =
        "no nightly toolchain with Miri: rustup component add --toolchain nightly miri rust-src";
    (!is_there).then_some(how)
}

#[test]
fn miri_finds_nothing() {
    if let Some(reason) = obstacle() {
        // Not eprintln, which the test harness would capture.
        return writeln!(std::io::stderr(), "SKIPPED: {reason}").unwrap();
    }
    for (tests, flags) in RUNS {
        let mut command = nightly(&["test"]);
        // Miri makes the last bits of functions such as ln random, and our tests compare bits.
        command.args(tests).env("MIRIFLAGS", format!("-Zmiri-deterministic-floats {flags}"));
        assert!(command.status().unwrap().success(), "{command:?}");
    }
}
