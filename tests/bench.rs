//! `xent bench`: what it measures and writes, and what it refuses. Its arithmetic is tested beside it.
#![cfg(feature = "cli")]

mod common;
#[path = "common/report.rs"]
mod report;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xent");

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Asserts what holds of the results of any run.
fn assert_sane(report: &Value) {
    let results = report["results"].as_array().unwrap();
    assert!(!results.is_empty());
    for result in results {
        assert_eq!(result["wrong"], Value::Null, "{result}");
        let [rows, classes, bytes] = ["rows", "classes", "bytes"].map(|name| number(&result[name]));
        let size = if result["dtype"] == "f32" { 4.0 } else { 2.0 };
        let times = if result["mode"] == "forward" { 1.0 } else { 2.0 };
        assert_eq!(bytes, rows * classes * size * times, "{result}");
        let [low, median, high] =
            ["low", "median", "high"].map(|name| number(&result["seconds"][name]));
        assert!(low <= median && median <= high, "{result}");
        let speed = number(&result["gb_per_s"]);
        assert!((speed - 1e-9 * bytes / median).abs() <= 1e-9 * speed, "{result}");
        assert!(number(&result["of_copy"]) > 0.0 && number(&result["copy_gb_per_s"]) > 0.0);
        assert!(number(&result["host_seconds"]) > 0.0, "{result}");
        // An f32 is within its bounds, and a 16-bit number is rounded once.
        let error = &result["error"];
        assert!(number(&error["loss"]) < 40.0, "{result}");
        match (result["mode"] == "forward", size) {
            (true, _) => assert_eq!(error["gradient"], Value::Null),
            (false, 2.0) => assert!(number(&error["gradient"]) < 0.51, "{result}"),
            _ => assert!(number(&error["gradient"]) < 200.0, "{result}"),
        }
    }
}

/// Asserts that a picture is one, with so many lines of points, and these words.
fn assert_shows(file: &Path, circles: usize, words: &[&str]) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let svg = roxmltree::Document::parse(&text).unwrap();
    assert_eq!(svg.root_element().tag_name().name(), "svg");
    let named = |name: &'static str| svg.descendants().filter(move |node| node.has_tag_name(name));
    assert_eq!(named("circle").count(), circles, "{}", file.display());
    let written: Vec<&str> = named("text").filter_map(|node| node.text()).map(str::trim).collect();
    for word in words {
        assert!(written.iter().any(|text| text.contains(word)), "{word}: {written:?}");
    }
}

#[test]
fn quick_measures_checks_and_draws_on_the_cpu() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("new/folder");
    let mut command = Command::new(PROGRAM);
    command
        .args(["bench", "--quick", "--device", "cpu", "--threads", "1", "--output"])
        .arg(&output);
    let (status, out, err) = run(&mut command);
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
    let report = report::read(&output.join("bench.json"));
    assert_sane(&report);
    assert_eq!(report["results"].as_array().unwrap().len(), 2 * 3 * 4);
    assert_eq!(report["device"]["kind"], "cpu");
    assert_eq!(report["device"]["threads"], 1);
    assert_eq!(report["protocol"]["quick"], true);
    assert_eq!(report["results"][0]["kernel"], common::foundation::cpu_kernel());
    // The table is what is printed.
    let table = std::fs::read_to_string(output.join("bench.txt")).unwrap();
    assert!(out.starts_with(&table), "{out}");
    for part in ["of copy", "ulp: loss", "bf16", "in place", "nothing to quote"] {
        assert!(table.contains(part), "{part}:\n{table}");
    }
    for mode in ["forward", "fused", "separate", "in-place"] {
        let file = output.join(format!("bandwidth-{mode}.svg"));
        assert_shows(&file, 6, &["copy", "bf16", "f32", "classes", "GB/s"]);
    }
    let mut files: Vec<_> =
        output.read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files.len(), 6, "{files:?}");
}

#[test]
fn every_option_is_measured_and_right() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["bench", "--device", "cpu", "--all-options", "--rounds", "1", "--seed", "3"]);
    command.args(["--classes", "1,257", "--rows", "1,70", "--output"]).arg(folder.path());
    let (status, out, err) = run(&mut command);
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
    let report = report::read(&folder.path().join("bench.json"));
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 9 * 2 * 2 * 3 * 4);
    for option in ["none", "label smoothing", "ignore index", "z-loss", "probabilities"] {
        assert!(results.iter().any(|result| result["option"] == option), "{option}");
    }
}

#[test]
fn speed_ups_are_drawn_of_reports_that_have_peers() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .args(["bench", "--device", "cpu", "--rounds", "1", "--modes", "fused", "--types", "bf16"]);
    command.args(["--classes", "100,200", "--rows", "8", "--output"]).arg(folder.path());
    assert_eq!(run(&mut command).0, Some(0));
    let mut report = report::read(&folder.path().join("bench.json"));
    let results = report["results"].as_array_mut().unwrap();
    for mut result in results.clone() {
        result["contender"] = "slow".into();
        for name in ["low", "median", "high"] {
            result["seconds"][name] = (3.0 * number(&result["seconds"][name])).into();
        }
        results.push(result);
    }
    let file = folder.path().join("peers.json");
    std::fs::write(&file, report.to_string()).unwrap();
    let mut command = Command::new(PROGRAM);
    let output = folder.path().join("pictures");
    let (status, out, err) = run(command.arg("draw").arg(&file).arg("--output").arg(&output));
    assert_eq!(status, Some(0), "{out}{err}");
    assert!(out.contains("speed-up-fused-bf16.svg"), "{out}");
    assert_shows(&output.join("speed-up-fused-bf16.svg"), 2, &["slow", "xent", "3.0"]);
    assert_shows(&output.join("bandwidth-fused.svg"), 2, &["bf16", "copy"]);
}

#[test]
fn wrong_usage_ends_with_2_before_anything_is_measured() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("below");
    let below = below.to_str().unwrap();
    for (arguments, part) in [
        (&["--types", "f64"][..], "expected f32, f16 or bf16"),
        (&["--types", "bf16,int8"], "int8"),
        (&["--classes", "0"], "expected a number from 1 to 2147483647"),
        (&["--classes", "10,-1"], "-1"),
        (&["--rows", "0"], "--rows"),
        (&["--rounds", "0"], "--rounds"),
        (&["--size", "much"], "much"),
        (&["--threads", "0"], "--threads"),
        (&["--modes", "sideways"], "in-place"),
        (&["--options", "magic"], "label-smoothing"),
        (&["--all-options", "--options", "scale"], "cannot be used with"),
        (&["--device", "tpu"], "expected auto, cpu, cuda or cuda:N"),
        (&["--device", "cuda:1000"], "1000"),
        (&["--output", below], below),
    ] {
        let mut command = Command::new(PROGRAM);
        let (status, out, err) = run(command.arg("bench").args(arguments).current_dir(&folder));
        assert_eq!(status, Some(2), "{arguments:?}: {out}{err}");
        assert_eq!(out, "", "{arguments:?}");
        assert!(err.contains(part), "{arguments:?}: {err}");
        assert!(!err.contains("panicked"), "{arguments:?}: {err}");
    }
    for (arguments, part) in
        [(&["draw", "nothing.json"][..], "nothing.json"), (&["draw", "file"], "file: EOF")]
    {
        let mut command = Command::new(PROGRAM);
        let (status, _, err) = run(command.args(arguments).current_dir(&folder));
        assert_eq!(status, Some(2), "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: {err}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn quick_measures_checks_and_draws_on_a_simulated_gpu() {
    let Some(machine) = common::simulated::Machine::new() else { return };
    let output = machine.folder().join("output");
    let mut command = machine.command(PROGRAM);
    command.args(["bench", "--quick", "--rounds", "1", "--types", "bf16", "--classes", "100,3000"]);
    command.args(["--rows", "2", "--modes", "fused,in-place", "--output"]).arg(&output);
    let (status, out, err) = run(&mut command);
    assert_eq!(status, Some(0), "{out}{err}");
    let report = report::read(&output.join("bench.json"));
    assert_sane(&report);
    assert_eq!(report["device"]["kind"], "cuda");
    assert_eq!(report["device"]["compute_capability"], "9.0");
    assert!(report["versions"]["NVRTC"].is_string());
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    let kernel = |result: &Value| result["kernel"].as_str().unwrap().to_owned();
    assert!(kernel(&results[0]).starts_with("xent::lanes<"), "{}", kernel(&results[0]));
    assert!(kernel(&results[2]).starts_with("xent::block<"), "{}", kernel(&results[2]));
    let plan = &results[0]["plan_seconds"];
    assert!(number(&plan["cached"]) < number(&plan["cold"]), "{plan}");
    assert_shows(&output.join("bandwidth-fused.svg"), 2, &["Simulated GPU", "bf16", "copy"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_gpu_that_fails_gets_no_report() {
    let Some(machine) = common::simulated::Machine::new() else { return };
    let mut command = machine.command(PROGRAM);
    let output = machine.folder().join("output");
    command.args(["bench", "--quick", "--rows", "1", "--classes", "100", "--output"]).arg(&output);
    let (status, out, err) = run(command.env("XENT_SIM_FAIL", "cuLaunchKernel:3"));
    assert_eq!((status, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("cuLaunchKernel"), "{err}");
    assert!(!output.join("bench.json").exists());
}
