//! The training examples end to end: the Rust one as cargo built it, and the C++ one as a user
//! would compile it. Both learn to read in every type of logits, and they agree.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DTYPES: [&str; 3] = ["f32", "bf16", "f16"];
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where cargo put what it built for this test: `target/<profile>`.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("target/<profile>/deps/examples-*").to_path_buf()
}

fn rust_example() -> Command {
    let name = format!("train_digits{}", std::env::consts::EXE_SUFFIX);
    let path = built().join("examples").join(name);
    assert!(path.exists(), "{} is missing: cargo build --example train_digits", path.display());
    Command::new(path)
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// What a program that must succeed prints.
fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = output(command);
    let stdout = String::from_utf8(stdout).expect("UTF-8");
    assert!(
        status.success(),
        "{command:?}: {status}\n{stdout}{}",
        String::from_utf8_lossy(&stderr)
    );
    stdout
}

/// The test accuracies in percent, from the lines "bf16   95.83 %   ...".
fn accuracies(report: &str) -> [f64; 3] {
    DTYPES.map(|dtype| {
        let found = report.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [name, value, "%", ..] if name == dtype => value.parse().ok(),
                _ => None,
            }
        });
        found.unwrap_or_else(|| panic!("no accuracy for {dtype} in\n{report}"))
    })
}

fn assert_learned(report: &str) {
    for (dtype, accuracy) in DTYPES.iter().zip(accuracies(report)) {
        assert!((93.0..=100.0).contains(&accuracy), "{dtype}: {accuracy} %\n{report}");
    }
}

/// Compiles the C++ example against the library of this build; `None` without a compiler.
fn cpp_example(directory: &Path) -> Option<Command> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        // Not eprintln, which is not shown for a test that passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: no compiler {compiler} for the C++ example");
        return None;
    }
    let libraries = built().join("deps");
    let program = directory.join("train_digits");
    let mut compile = Command::new(compiler);
    compile
        .args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"])
        .arg(format!("-I{ROOT}/include"))
        .arg(format!("{ROOT}/examples/cpp/train_digits.cpp"))
        .arg("-o")
        .arg(&program)
        .arg(format!("-L{}", libraries.display()))
        .arg("-lxent")
        .arg(format!("-Wl,-rpath,{}", libraries.display()));
    printed(&mut compile);

    // Cargo's search path has target/<profile> first, where an older library may lie.
    let mut search = vec![libraries];
    let inherited = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    search.extend(std::env::split_paths(&inherited));
    let mut run = Command::new(program);
    run.env("LD_LIBRARY_PATH", std::env::join_paths(search).expect("paths without colons"));
    Some(run)
}

#[test]
fn both_programs_learn_in_every_dtype_and_agree() {
    let directory = tempfile::tempdir().expect("a directory");
    let picture = directory.path().join("new/losses.svg");
    let report = printed(rust_example().arg("--out").arg(&picture));
    assert_learned(&report);
    assert!(report.contains("device   CPU (") || report.contains("device   CUDA"), "{report}");
    assert!(report.contains(&format!("picture  {}", picture.display())), "{report}");
    assert_is_picture_of_three_curves(&std::fs::read_to_string(&picture).expect("the picture"));

    let Some(mut cpp) = cpp_example(directory.path()) else { return };
    let cpp_report = printed(cpp.arg(format!("{ROOT}/examples/data/digits.csv")));
    assert_learned(&cpp_report);
    let pairs = accuracies(&report).into_iter().zip(accuracies(&cpp_report));
    for (dtype, (rust, cpp)) in DTYPES.iter().zip(pairs) {
        assert!((rust - cpp).abs() <= 1.5, "{dtype}: {rust} % in Rust, {cpp} % in C++");
    }
}

/// Every element is closed, and a curve of each colour has a point for each of the 30 epochs.
fn assert_is_picture_of_three_curves(svg: &str) {
    assert!(svg.starts_with("<svg"), "{svg:.80}");
    assert!(svg.trim_end().ends_with("</svg>"));
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') || tag.starts_with(['?', '!']) => {}
            None => open.extend(tag.split_whitespace().next()),
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");

    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let mut colors: Vec<String> = Vec::new();
    for tag in svg.split('<').filter(|tag| tag.starts_with("polyline")) {
        let points = attribute(tag, "points").expect("points");
        let points: Vec<f64> = points
            .split([' ', ','])
            .filter(|number| !number.is_empty())
            .map(|number| number.parse().expect("a coordinate"))
            .collect();
        assert!(points.iter().all(|p| (0.0..=840.0).contains(p)), "{tag} leaves the picture");
        if points.len() == 2 * 30 {
            colors.push(attribute(tag, "stroke").expect("a colour"));
        }
    }
    colors.sort();
    colors.dedup();
    assert_eq!(colors.len(), 3, "curves of {colors:?}");
    for text in ["f32", "bf16", "f16", "epoch"] {
        assert!(svg.lines().any(|line| line.trim() == text), "no label {text}");
    }
}

#[test]
fn wrong_arguments_are_explained_and_exit_with_2() {
    for arguments in [&["--ouch"][..], &["--out"], &["--out", "a.svg", "b"]] {
        let Output { status, stdout, stderr } = output(rust_example().args(arguments));
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stdout.is_empty());
        assert!(stderr.contains(arguments[0]) && stderr.contains("usage:"), "{stderr}");
    }
}
