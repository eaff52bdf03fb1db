//! `benches/peers`: the C ABI from Python, what it says of contenders that are wrong, and its reports.
#![cfg(all(feature = "capi", target_os = "linux", not(miri)))]

mod c;
mod common;
#[path = "common/report.rs"]
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use c::{library_folder, printed};
use common::skip;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PYTHON: &str = "python3";

/// A script of `tests/peers`, or another one; `None`, and a line on stderr, where there is no Python.
fn python(mut command: Command, script: impl AsRef<Path>) -> Option<Command> {
    if Command::new(PYTHON).arg("--version").output().is_err() {
        skip("there is no python3");
        return None;
    }
    let [own, peers] = ["tests/peers", "benches/peers"].map(|folder| Path::new(ROOT).join(folder));
    command
        .arg(own.join(script))
        .env("PYTHONPATH", std::env::join_paths([peers, own]).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("XENT_LIBRARY", library_folder().join("libxent.so"));
    Some(command)
}

fn script(name: &str) -> Option<Command> {
    python(Command::new(PYTHON), name)
}

#[test]
fn python_has_the_structs_of_the_header() {
    let Some(mut layouts) = script("layouts.py") else { return };
    let listed = include_str!("c/layouts.txt");
    let printed = printed(&mut layouts, &[]);
    let structs = printed.split("\nxent_").map(|text| text.trim_start_matches("xent_").trim_end());
    let structs: Vec<&str> = structs.collect();
    assert_eq!(structs.len(), 5, "{printed}");
    for text in structs {
        assert!(listed.contains(&format!("\nxent_{text}\n")), "no such struct: {text}");
    }
}

#[test]
fn python_gets_known_numbers_and_the_words_of_the_library() {
    let Some(mut binding) = script("binding.py") else { return };
    printed(binding.arg("cpu"), &[]);
}

#[cfg(feature = "cuda")]
#[test]
fn python_gets_them_on_a_gpu() {
    let Some(machine) = common::simulated::Machine::new() else { return };
    let Some(mut binding) = python(machine.command(PYTHON), "binding.py") else { return };
    printed(binding.arg("cuda"), &[machine.folder()]);
}

/// A run of `compare.py` on small shapes, without peers but these programs; what it saved.
struct Run {
    output: Output,
    folder: tempfile::TempDir,
}

impl Run {
    fn new(also: &[(&str, String)], arguments: &[&str]) -> Option<Run> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = script("../../benches/peers/compare.py")?;
        command.args(["--quick", "--peers", "", "--threads", "1", "--seed", "1", "--save"]);
        command.arg(folder.path()).args(arguments);
        for (name, program) in also {
            command.arg("--also").arg(format!("{name}={program}"));
        }
        command.env("CARGO", "/nowhere"); // the limits would have to be built
        let output = command.output().unwrap();
        Some(Run { output, folder })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it saved, which is of the form that is documented.
    fn report(&self) -> Value {
        let file = self.file("peers.json");
        assert!(file.exists(), "{}", String::from_utf8_lossy(&self.output.stderr));
        report::read(&file)
    }
}

fn planted() -> String {
    format!("{PYTHON} {ROOT}/tests/peers/planted.py")
}

/// The results of a contender in a report.
fn of<'a>(report: &'a Value, contender: &str) -> Vec<&'a Value> {
    let results = report["results"].as_array().unwrap();
    results.iter().filter(|result| result["contender"] == contender).collect()
}

#[test]
fn who_is_wrong_gets_no_speed() {
    let arguments = ["--classes", "50", "--rows", "7"];
    let Some(run) = Run::new(&[("planted", planted())], &arguments) else { return };
    let report = run.report();
    let text = run.text();
    for (right, count) in [("xent", 9), ("right", 6), ("by log p", 3)] {
        let results = of(&report, right);
        assert_eq!(results.len(), count, "{text}");
        for result in results {
            assert!(result["wrong"].is_null(), "{result}");
            let number = |value: &Value| value.as_f64().unwrap();
            let speed = 1e-9 * number(&result["bytes"]) / number(&result["seconds"]["median"]);
            assert!((number(&result["gb_per_s"]) / speed - 1.0).abs() < 1e-9, "{result}");
            assert!(number(&result["of_copy"]) > 0.0 && number(&result["copy_gb_per_s"]) > 0.0);
        }
    }
    for wrong in [
        "column dropped",
        "column of the sum dropped",
        "column of the gradient dropped",
        "zero off target",
        "row of another",
        "stale",
    ] {
        let results = of(&report, wrong);
        assert_eq!(results.len(), 3, "{text}");
        for result in results {
            assert!(result["wrong"].is_string(), "{result}");
            for speed in ["seconds", "gb_per_s", "of_copy"] {
                assert!(result[speed].is_null(), "{result}");
            }
        }
        let mut lines = text.lines().filter(|line| line.trim_start().starts_with(wrong));
        assert!(lines.any(|line| line.contains(" wrong ") && line.contains(" wrong: ")), "{text}");
    }
    assert!(run.output.status.success(), "the library is right");
    let saved = std::fs::read_to_string(run.file("peers.txt")).unwrap();
    assert!(text.starts_with(&saved), "printed: {text}\nsaved: {saved}");
}

#[test]
fn who_is_missing_is_named() {
    let also =
        [("nobody", "/nowhere/program".into()), ("silent", "true".into()), ("planted", planted())];
    let Some(run) = Run::new(&also, &["--classes", "5", "--rows", "3", "--types", "f32"]) else {
        return;
    };
    let report = run.report();
    let missing = report["missing"].as_array().unwrap();
    for (contender, words) in [
        ("copy", "/nowhere"),
        ("nobody", "No such file or directory"),
        ("silent", "ended with status 0"),
        ("fails", "MemoryError: planted"),
    ] {
        let found = missing.iter().find(|missing| missing["contender"] == contender).unwrap();
        assert!(found["reason"].as_str().unwrap().contains(words), "{found}");
        assert!(of(&report, contender).is_empty());
        assert!(run.text().contains(&format!("missing: {contender}: ")), "{}", run.text());
    }
}

#[test]
fn without_the_library_there_is_an_error() {
    let Some(mut command) = script("../../benches/peers/compare.py") else { return };
    command.args(["--quick", "--peers", "", "--classes", "5", "--rows", "3"]);
    let output = command.env("XENT_LIBRARY", "/nowhere").env("CARGO", "/nowhere").output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("missing: xent: "), "{text}");
}
