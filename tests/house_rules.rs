//! What every file of the tree keeps to: formatting, lints, and documentation without warnings.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Cargo, with its own target directory: the one of the tests may be in use.
fn cargo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .current_dir(ROOT)
        .args(arguments)
        .env("CARGO_TARGET_DIR", Path::new(ROOT).join("target/house_rules"))
        .env("RUSTDOCFLAGS", "-D warnings")
        .output()
        .unwrap()
}

fn assert_clean(output: Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stdout));
}

/// All C, C++ and CUDA files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            sources(&path, found);
        } else if matches!(extension, Some("c" | "h" | "cc" | "cpp" | "hpp" | "cu" | "cuh")) {
            found.push(path);
        }
    }
}

#[test]
fn rust_is_formatted() {
    assert_clean(cargo(&["fmt", "--all", "--check"]));
}

#[test]
fn clippy_and_rustdoc_have_nothing_to_say() {
    let all = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    assert_clean(cargo(&all));
    assert_clean(cargo(&["clippy", "--no-default-features", "--", "-D", "warnings"]));
    assert_clean(cargo(&["doc", "--workspace", "--no-deps", "--all-features"]));
}

#[test]
fn c_and_cpp_are_formatted() {
    let Ok(version) = Command::new("clang-format").arg("--version").output() else {
        return common::skip("clang-format is not installed (pip install clang-format)");
    };
    println!("{}", String::from_utf8_lossy(&version.stdout).trim());
    let mut files = Vec::new();
    for folder in ["include", "tests", "examples", "cuda"] {
        sources(&Path::new(ROOT).join(folder), &mut files);
    }
    files.retain(|file| !file.ends_with("include/xent.h")); // generated
    assert!(files.iter().any(|file| file.ends_with("include/xent.hpp")));
    let output = Command::new("clang-format")
        .current_dir(ROOT)
        .args(["--dry-run", "--Werror"])
        .args(files)
        .output()
        .unwrap();
    assert_clean(output);
}
