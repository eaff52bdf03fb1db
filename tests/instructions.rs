//! How many instructions each kernel of the CPU takes for a logit, by callgrind, against a committed
//! baseline: a regression shows without a clock, on a busy machine too. What gets better by more than
//! the tolerance asks for a new baseline, or it could get worse again unseen:
//!
//! ```sh
//! XENT_UPDATE_BASELINE=1 cargo test --test instructions
//! ```
#![cfg(all(target_os = "linux", not(miri)))]

mod common;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{say, skip};
use tempfile::TempDir;

/// How far a count may be from its baseline, in both directions.
const TOLERANCE: f64 = 0.05;

/// The same where another compiler made the baseline: it still shows a loop that is no longer in
/// vectors.
const TOLERANCE_FOR_ANOTHER_COMPILER: f64 = 0.25;

const COLUMNS: &str = "set kernel type classes";

/// A kernel, as a line with [`COLUMNS`], and its instructions for each logit.
type Count = (String, f64);

#[test]
fn each_kernel_takes_as_many_instructions_as_before() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return skip("valgrind is not installed (apt install valgrind)");
    }
    let program = build();
    let counts: Vec<Count> = sets().iter().flat_map(|set| count(&program, set)).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/instructions/{}.txt", std::env::consts::ARCH));
    if std::env::var_os("XENT_UPDATE_BASELINE").is_some_and(|value| value == "1") {
        return std::fs::write(&file, write(&counts)).unwrap();
    }
    let Ok(baseline) = std::fs::read_to_string(&file) else {
        return say(&format!("SKIPPED: no baseline for {}", std::env::consts::ARCH));
    };
    if tolerance(&baseline) != TOLERANCE {
        let percent = 100.0 * tolerance(&baseline);
        say(&format!("the baseline is of {}: compared within {percent} %", made_by(&baseline)));
    }
    if let Err(wrong) = compare(&baseline, &counts) {
        panic!(
            "instructions for a logit: before, now, change\n{wrong}\
             Fewer, or more for a reason: XENT_UPDATE_BASELINE=1 cargo test --test instructions"
        );
    }
}

/// The instruction sets that valgrind has, and this processor. `XENT_CPU` forces each.
fn sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let vectors = std::arch::is_x86_feature_detected!("avx2").then_some("avx2");
    #[cfg(target_arch = "aarch64")]
    let vectors = Some("neon");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let vectors = None;
    ["portable"].into_iter().chain(vectors).collect()
}

/// The program whose kernels are counted, as a release has them.
fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or(env!("CARGO").into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--release", "--package", "xent-instructions", "--target-dir"]);
    cargo.arg(target);
    for other_code in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(other_code);
    }
    run(&mut cargo);
    target.join("release/xent-instructions")
}

/// Callgrind collects in the function `counted` alone, and writes a file each time that it returns.
fn count(program: &Path, set: &str) -> Vec<Count> {
    const COUNTED: &str = "xent_instructions::counted";
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("out");
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind");
    valgrind.args(["--toggle-collect", "--dump-after"].map(|when| format!("{when}={COUNTED}")));
    valgrind.arg(format!("--callgrind-out-file={}", file.display()));
    let calls = run(valgrind.arg(program).env("XENT_CPU", set));
    let calls: Vec<&str> = calls.lines().collect();
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, calls.len() + 1, "one file for each call of {COUNTED}, and the last");
    let counts = calls.iter().enumerate().map(|(index, call)| {
        let (kernel, logits) = call.rsplit_once(' ').unwrap();
        let text = std::fs::read_to_string(file.with_extension((index + 1).to_string())).unwrap();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        let number = |text: &str| text.parse::<f64>().unwrap();
        (format!("{set} {kernel}"), number(total) / number(logits))
    });
    counts.collect()
}

/// What the command prints.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{}", text(stderr));
    text(stdout)
}

fn compiler() -> String {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    run(rustc.arg("--version")).trim().to_owned()
}

/// The words of a line as columns.
fn columns(line: &str, number: &str) -> String {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default();
    format!("{:10}{:10}{:6}{:>8}{number:>14}\n", word(), word(), word(), word())
}

fn write(counts: &[Count]) -> String {
    let mut text = String::from(
        "# Instructions of each kernel for a logit, by callgrind. Written by\n\
         # XENT_UPDATE_BASELINE=1 cargo test --test instructions\n",
    );
    write!(text, "{}\n{}", compiler(), columns(COLUMNS, "instructions")).unwrap();
    for (kernel, count) in counts {
        text += &columns(kernel, &format!("{count:.3}"));
    }
    text
}

/// The lines of a baseline: its compiler, the names of the columns, the kernels.
fn lines(baseline: &str) -> impl Iterator<Item = &str> {
    baseline.lines().filter(|line| !line.starts_with('#'))
}

fn made_by(baseline: &str) -> &str {
    lines(baseline).next().unwrap()
}

fn tolerance(baseline: &str) -> f64 {
    if made_by(baseline) == compiler() { TOLERANCE } else { TOLERANCE_FOR_ANOTHER_COMPILER }
}

/// A line for each kernel that is not as the baseline has it. Instruction sets that the processor
/// lacks are left out.
fn compare(baseline: &str, counts: &[Count]) -> Result<(), String> {
    let tolerance = tolerance(baseline);
    let expected: Vec<Count> = lines(baseline).skip(2).map(parse).collect();
    let mut wrong = String::new();
    for (kernel, before) in &expected {
        let set = kernel.split(' ').next();
        match counts.iter().find(|(name, _)| name == kernel) {
            Some((_, count)) if (count / before - 1.0).abs() <= tolerance => {}
            Some((_, count)) => {
                let change = 100.0 * (count / before - 1.0);
                wrong += &columns(kernel, &format!("{before:9.2} {count:9.2} {change:+7.1} %"));
            }
            None if counts.iter().any(|(name, _)| name.split(' ').next() == set) => {
                wrong += &columns(kernel, "is gone");
            }
            None => {}
        }
    }
    for (kernel, _) in counts {
        if !expected.iter().any(|(name, _)| name == kernel) {
            wrong += &columns(kernel, "is new");
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn parse(line: &str) -> Count {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (count, kernel) = words.split_last().unwrap();
    (kernel.join(" "), count.parse().unwrap())
}

/// The comparison can fail: for more, for fewer, for a kernel without baseline.
#[test]
fn changes_are_seen() {
    let kernel = |name: &str, count: f64| (format!("portable {name} f32 10"), count);
    let baseline = write(&[kernel("fused", 10.0), kernel("forward", 4.0)]);
    let other_compiler = baseline.replace(&compiler(), "rustc 1.0.0");
    let fused = |count| [kernel("fused", count), kernel("forward", 4.0)];
    for (count, same, other) in [
        (10.0, true, true),
        (10.49, true, true),
        (10.51, false, true),
        (9.49, false, true),
        (12.6, false, false),
        (7.4, false, false),
    ] {
        assert_eq!(compare(&baseline, &fused(count)).is_ok(), same, "{count}");
        assert_eq!(
            compare(&other_compiler, &fused(count)).is_ok(),
            other,
            "{count}, another compiler"
        );
    }
    let wrong = compare(&baseline, &[kernel("fused", 10.0)]).unwrap_err();
    assert!(wrong.ends_with("is gone\n"), "{wrong}");
    let one_more = [&fused(10.0)[..], &[kernel("backward", 1.0)]].concat();
    let wrong = compare(&baseline, &one_more).unwrap_err();
    assert!(wrong.ends_with("is new\n"), "{wrong}");
}
