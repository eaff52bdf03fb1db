//! No undefined behaviour: Miri interprets the unit tests and the tensors', and where `XENT_EXTENDED`
//! is set also those that reach memory in all ways, from several threads too, which takes ten
//! minutes. Other tests run there in part, with small sizes.
//!
//! ```sh
//! XENT_EXTENDED=1 cargo test --test miri -- --nocapture
//! ```
#![cfg(not(miri))]

mod common;

use std::path::Path;
use std::process::Command;

use common::say;

/// Tests and flags of one run of Miri.
type Run = (&'static [&'static str], &'static str);

const ALWAYS: [Run; 1] = [(&["--lib", "--test", "tensor"], "")];

/// Rayon's queues come with what stacked borrows, the stricter model, do not allow, and with a leak
/// on purpose; so what starts its threads is held to tree borrows.
const EXTENDED: [Run; 2] = [
    (&["--test", "layouts", "--test", "invalid_input"], ""),
    (
        &["--test", "determinism", "--test", "alignment"],
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

#[test]
fn miri_finds_nothing() {
    let is_there = nightly(&["--version"]).output().is_ok_and(|output| output.status.success());
    if !is_there {
        // No failure on CI either, which may lack a nightly toolchain.
        return say("SKIPPED: no nightly toolchain with Miri (rustup component add miri rust-src)");
    }
    let extended: &[Run] = match std::env::var_os("XENT_EXTENDED") {
        Some(_) => &EXTENDED,
        None => {
            say("Miri runs its short part; set XENT_EXTENDED=1 for all of it");
            &[]
        }
    };
    for (tests, flags) in ALWAYS.iter().chain(extended) {
        // `cuda` opens libraries.
        let without_cuda = ["--package", "xent", "--no-default-features", "--features", "capi"];
        let mut command = nightly(&["test"]);
        command.args(without_cuda);
        // Miri makes the last bits of functions such as ln random, and our tests compare bits.
        command.args(*tests).env("MIRIFLAGS", format!("-Zmiri-deterministic-floats {flags}"));
        assert!(command.status().unwrap().success(), "{command:?}");
    }
}
