//! The examples end to end: those in Rust as cargo built them, and the C++ one as a user would compile
//! it. The training programs learn to read in every type of logits, on the processor and on a GPU, and
//! they agree; the tour finds all of its numbers on both.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DTYPES: [&str; 3] = ["f32", "bf16", "f16"];
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where cargo put what it built for this test: `target/<profile>`.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("target/<profile>/deps/examples-*").to_path_buf()
}

fn rust_example() -> PathBuf {
    example("train_digits")
}

fn example(name: &str) -> PathBuf {
    let path = built().join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is missing: cargo build --example {name}", path.display());
    path
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

fn assert_agree(a: &str, b: &str) {
    for (dtype, (a, b)) in DTYPES.iter().zip(accuracies(a).into_iter().zip(accuracies(b))) {
        assert!((a - b).abs() <= 1.5, "{dtype}: {a} % and {b} %");
    }
}

/// Where the C++ example finds the library. Cargo's search path has target/<profile> first, where an
/// older one may lie.
fn libraries() -> PathBuf {
    built().join("deps")
}

/// Compiles the C++ example against the library of this build; `None` without a compiler.
fn cpp_example(directory: &Path) -> Option<PathBuf> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        common::skip(&format!("there is no compiler \"{compiler}\" for the C++ example"));
        return None;
    }
    let libraries = libraries();
    let program = directory.join("train_digits");
    let mut compile = Command::new(compiler);
    compile
        .args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"])
        .arg(format!("-I{ROOT}/include"))
        .arg(format!("{ROOT}/examples/cpp/train_digits.cpp"))
        .arg("-o")
        .arg(&program)
        .arg(format!("-L{}", libraries.display()))
        .args(["-lxent", "-ldl"])
        .arg(format!("-Wl,-rpath,{}", libraries.display()));
    printed(&mut compile);
    Some(program)
}

/// A command of the C++ example, which finds its libraries there too.
fn with_libraries<'c>(command: &'c mut Command, folder: &Path) -> &'c mut Command {
    let search = std::env::join_paths([&libraries(), folder]).expect("paths without colons");
    command.env("LD_LIBRARY_PATH", search).arg(format!("{ROOT}/examples/data/digits.csv"))
}

#[test]
fn both_programs_learn_in_every_dtype_and_agree() {
    let directory = tempfile::tempdir().expect("a directory");
    let picture = directory.path().join("new/losses.svg");
    let report = printed(Command::new(rust_example()).arg("--out").arg(&picture));
    assert_learned(&report);
    assert!(report.contains("device   CPU (") || report.contains("device   CUDA"), "{report}");
    assert!(report.contains(&format!("picture  {}", picture.display())), "{report}");
    assert_is_picture_of_three_curves(&std::fs::read_to_string(&picture).expect("the picture"));

    let Some(cpp) = cpp_example(directory.path()) else { return };
    let cpp_report = printed(with_libraries(&mut Command::new(cpp), directory.path()));
    assert_learned(&cpp_report);
    assert_agree(&report, &cpp_report);
}

/// The programs as they are, on a machine whose GPU is simulated.
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod on_a_gpu {
    use super::common::simulated::Machine;
    use super::*;

    #[test]
    fn the_rust_program_learns_as_on_the_processor() {
        let Some(machine) = Machine::new() else { return };
        let [here, there] = ["here.svg", "there.svg"].map(|name| machine.folder().join(name));
        let on_cpu = printed(Command::new(rust_example()).arg("--out").arg(here));
        let on_gpu = printed(machine.command(rust_example()).arg("--out").arg(there));
        assert_learned_there(&on_gpu, &on_cpu);
    }

    #[test]
    fn the_cpp_program_learns_as_on_the_processor() {
        let Some(machine) = Machine::new() else { return };
        let directory = tempfile::tempdir().expect("a directory");
        let Some(cpp) = cpp_example(directory.path()) else { return };
        let on_cpu = printed(with_libraries(&mut Command::new(&cpp), directory.path()));
        let on_gpu = printed(with_libraries(&mut machine.command(cpp), machine.folder()));
        assert_learned_there(&on_gpu, &on_cpu);
    }

    #[test]
    fn the_tour_finds_its_numbers() {
        let Some(machine) = Machine::new() else { return };
        let page = printed(machine.command(example("tour")).arg("--out").arg(machine.folder()));
        assert!(page.starts_with("device  CUDA 0\n"), "{page}");
        assert_is_tour(&page, machine.folder());
    }

    fn assert_learned_there(on_gpu: &str, on_cpu: &str) {
        assert!(on_gpu.starts_with("device   CUDA 0\n"), "{on_gpu}");
        assert_learned(on_gpu);
        assert_agree(on_gpu, on_cpu);
    }
}

#[test]
fn the_tour_finds_its_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = printed(Command::new(example("tour")).arg("--out").arg(folder.path()));
    assert_is_tour(&page, folder.path());
    let Output { status, stderr, .. } = output(Command::new(example("tour")).arg("--ouch"));
    assert_eq!(status.code(), Some(2));
    assert!(String::from_utf8_lossy(&stderr).contains("--ouch"));
}

/// Numbers beside those that are expected, and two pictures: a curve, and one of eleven marks.
fn assert_is_tour(page: &str, folder: &Path) {
    assert!(page.matches(" expected ").count() >= 60, "{page}");
    for (name, points, marks) in [("loss.svg", 1000, 0), ("steps.svg", 11, 11)] {
        let svg = std::fs::read_to_string(folder.join(name)).expect(name);
        assert_is_svg(&svg);
        let lines = svg.split('<').filter(|tag| tag.starts_with("polyline"));
        let most = lines.filter_map(|tag| coordinates(tag, 760.0)).map(|xy| xy.len() / 2).max();
        assert_eq!(most, Some(points), "{name}");
        assert_eq!(svg.matches("<circle").count(), marks, "{name}");
        assert!(page.contains(&folder.join(name).display().to_string()), "{page}");
    }
}

/// Every element is closed.
fn assert_is_svg(svg: &str) {
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
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// The coordinates of a line, none of which leaves a picture of this width.
fn coordinates(tag: &str, width: f64) -> Option<Vec<f64>> {
    let points = attribute(tag, "points")?;
    let numbers = points.split([' ', ',']).filter(|number| !number.is_empty());
    let points: Vec<f64> = numbers.map(|number| number.parse().expect("a coordinate")).collect();
    assert!(points.iter().all(|p| (0.0..=width).contains(p)), "{tag} leaves the picture");
    Some(points)
}

/// A curve of each colour has a point for each of the 30 epochs.
fn assert_is_picture_of_three_curves(svg: &str) {
    assert_is_svg(svg);
    let mut colors: Vec<String> = Vec::new();
    for tag in svg.split('<').filter(|tag| tag.starts_with("polyline")) {
        let points = coordinates(tag, 840.0).expect("points");
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
        let Output { status, stdout, stderr } =
            output(Command::new(rust_example()).args(arguments));
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stdout.is_empty());
        assert!(stderr.contains(arguments[0]) && stderr.contains("usage:"), "{stderr}");
    }
}
