//! `.ci/gpu/run`, which tests and measures the library where there is a GPU but no Rust: what it says of
//! steps that pass, fail, hang, or lack something. Here the GPU is simulated, and this file is the test.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use common::job::Job;
use common::simulated::{Machine, here};
use xent::{Context, Stream};

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/gpu/run");
/// Asks the test of the bundle to hang.
const HANG: &str = "XENT_TEST_HANG";

/// What is in the place of the bundle's tests.
#[test]
fn a_run_on_the_gpu() {
    if !here() {
        return;
    }
    if std::env::var_os(HANG).is_some() {
        std::thread::sleep(Duration::from_secs(60));
    }
    let mut job = Job::new(&Context::auto(), 3, 5, 0);
    job.run(Stream::default()).unwrap();
    assert!(job.loss.to_vec::<f32>().unwrap()[0].is_finite());
}

/// A bundle of links, on a machine with a simulated GPU, and no tools but those that are put there.
struct Bundle {
    machine: Machine,
    folder: PathBuf,
}

impl Bundle {
    fn new() -> Option<Bundle> {
        if here() {
            return None;
        }
        let machine = Machine::new()?;
        let folder = machine.folder().join("bundle");
        let this = std::env::current_exe().unwrap();
        for (link, file) in [
            ("run", Path::new(RUN)),
            ("xent", Path::new(env!("CARGO_BIN_EXE_xent"))),
            ("tests/family", &this),
        ] {
            let link = folder.join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(file, link).unwrap();
        }
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::write(folder.join("versions"), "commit 0123\n").unwrap();
        Some(Bundle { machine, folder })
    }

    /// A script, of those in `bin` on the path.
    fn script(&self, name: &str, script: &str) {
        let file = self.folder.join(name);
        let _ = fs::remove_file(&file); // a link
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The exit status, the summary, and the file with the output of most steps.
    fn run(&self, steps: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let out = self.folder.join("out");
        let _ = fs::remove_dir_all(&out);
        let mut command = self.machine.command(self.folder.join("run"));
        let tools = self.folder.join("bin");
        command
            .env("PATH", format!("{}:/usr/bin:/bin", tools.display()))
            .env("CUDA_HOME", &self.folder)
            .envs(settings.iter().copied());
        let Output { status, stdout, stderr } = command.arg(&out).args(steps).output().unwrap();
        let read = |name: &str| fs::read_to_string(out.join(name)).unwrap_or_default();
        let printed = String::from_utf8(stdout).unwrap();
        assert_eq!(printed, read("summary.txt"), "{}", String::from_utf8_lossy(&stderr));
        assert!(out.read_dir().map_or(0, Iterator::count) <= 8);
        (status.code(), printed, read("checks.txt"))
    }
}

/// The words of the line of a step.
fn line<'a>(summary: &'a str, step: &str) -> Vec<&'a str> {
    let mut lines = summary.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|words| words[0] == step).unwrap_or_else(|| panic!("{step}: {summary}"))
}

#[test]
fn steps_pass_and_what_is_missing_is_named() {
    let Some(bundle) = Bundle::new() else { return };
    let steps = ["info", "tests", "endurance", "memcheck", "peers"];
    let (status, summary, checks) = bundle.run(&steps, &[]);
    assert_eq!(status, Some(0), "{summary}{checks}");
    assert_eq!(line(&summary, "info")[1], "passed");
    assert_eq!(line(&summary, "tests")[1], "passed");
    assert_eq!(line(&summary, "endurance")[4..], ["tests/gpu_endurance"]);
    assert_eq!(line(&summary, "memcheck")[1], "missing");
    assert_eq!(line(&summary, "memcheck")[4..], ["compute-sanitizer"]);
    assert!(line(&summary, "peers").contains(&"libxent.so"), "{summary}");
    assert_eq!(summary.lines().count(), steps.len());
    for part in ["commit 0123", "Simulated GPU", "missing: nvcc", "-- family\ntest result: ok."] {
        assert!(checks.contains(part), "{part}:\n{checks}");
    }
}

#[test]
fn a_step_that_fails_or_hangs_does_not_stop_the_others() {
    let Some(bundle) = Bundle::new() else { return };
    let fails = [("XENT_SIM_FAIL", "cuLaunchKernel:1")];
    let (status, summary, checks) = bundle.run(&["tests", "info"], &fails);
    assert_eq!(status, Some(1), "{summary}{checks}");
    assert_eq!(line(&summary, "tests")[1], "FAILED");
    assert_eq!(line(&summary, "info")[1], "passed");
    assert!(checks.contains("== tests: FAILED") && checks.contains("cuLaunchKernel"), "{checks}");

    let hangs = [(HANG, "1"), ("XENT_LIMIT", "2")];
    let (status, summary, _) = bundle.run(&["tests", "info"], &hangs);
    assert_eq!(status, Some(1), "{summary}");
    assert!(summary.contains("not done in 2 s"), "{summary}");
    assert_eq!(line(&summary, "info")[1], "passed");
}

/// With tools that do as NVIDIA's do, as far as the script knows them.
#[test]
fn tools_are_given_the_programs() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.script("bin/compute-sanitizer", "#!/bin/sh\necho \"ran $*\"\nshift 6\nexec \"$@\"\n");
    let (status, summary, _) = bundle.run(&["synccheck"], &[]);
    assert_eq!((status, line(&summary, "synccheck")[1]), (Some(0), "passed"));
    let output = fs::read_to_string(bundle.folder.join("out/sanitizer.txt")).unwrap();
    assert!(output.contains("ran --tool synccheck ") && output.contains("/tests/family\n"));
    assert!(output.contains("every result is within its bound"), "{output}");

    let counters = r#"#!/bin/sh
echo '==PROF== Connected to process 1'
echo '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","ns"'
echo '"","","","","","","","","","ns"'
for kernel in 'a<b, c>' 'd' 'a<b, c>'; do
    id=$((id + 1))
    echo "\"$id\",\"1\",\"xent\",\"host\",\"$kernel\",\"1\",\"7\",\"(1, 1, 1)\",\"(1, 1, 1)\",\"$id\""
done
"#;
    bundle.script("bin/ncu", counters);
    let (status, summary, _) = bundle.run(&["ncu"], &[]);
    assert_eq!((status, line(&summary, "ncu")[1]), (Some(0), "passed"));
    let output = fs::read_to_string(bundle.folder.join("out/ncu.txt")).unwrap();
    let starts: Vec<&str> = output.lines().filter_map(|line| line.split(',').next()).collect();
    assert_eq!(starts, ["== ncu: passed", "\"ID\"", "\"\"", "\"2\"", "\"3\"", ""], "{output}");
    bundle.script("bin/ncu", "#!/bin/sh\necho '==ERROR== ERR_NVGPUCTRPERM'\n");
    let (status, _, _) = bundle.run(&["ncu"], &[]);
    assert_eq!(status, Some(1));
    let output = fs::read_to_string(bundle.folder.join("out/ncu.txt")).unwrap();
    assert!(output.contains("ERR_NVGPUCTRPERM"), "{output}");
}

#[test]
fn reports_are_files_of_their_own() {
    let Some(bundle) = Bundle::new() else { return };
    let bench = "#!/bin/sh\n[ \"$1 $2\" = 'bench --output' ] || exit 9\nmkdir \"$3\"\ncd \"$3\"\n\
        echo printed\necho table > bench.txt\necho {} > bench.json\ntouch picture.svg\n";
    bundle.script("xent", bench);
    bundle.script("bin/python3", "#!/bin/sh\n[ $# = 2 ] || cat $XENT_LIBRARY $1 > $5/peers.txt\n");
    fs::create_dir_all(bundle.folder.join("benches/peers")).unwrap();
    fs::write(bundle.folder.join("benches/peers/compare.py"), "compare").unwrap();
    fs::write(bundle.folder.join("libxent.so"), "library ").unwrap();
    let (status, summary, checks) = bundle.run(&["bench", "peers"], &[]);
    assert_eq!(status, Some(0), "{summary}{checks}");
    assert!(!checks.contains("printed"), "{checks}");
    let out = bundle.folder.join("out");
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(read("bench.txt") + &read("bench.json"), "table\n{}\n");
    assert_eq!(read("peers.txt"), "library compare");
    assert_eq!(out.read_dir().unwrap().count(), 5);
}

#[test]
fn wrong_usage_runs_nothing() {
    for arguments in [&[][..], &["out", "nonsense"], &["out", "info", "benches"]] {
        let folder = tempfile::TempDir::new().unwrap();
        let output = Command::new(RUN).args(arguments).current_dir(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: run OUT [STEP...]"));
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
