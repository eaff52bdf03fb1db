//! Kernels kept on disk, as whole programs see them: whatever lies there, results are right and no call
//! fails.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::job::{Job, logits, problem, targets};
use common::simulated::{Machine, here};
use common::standin::{StandIn, abort_on_panic};
use tempfile::TempDir;
use xent::{Args, Context, Plan, Stream};

const ROWS: usize = 3;
const CLASSES: usize = 5;

/// Runs in other processes: a plan on the GPU finds what the CPU finds. Says whether it compiled.
#[test]
fn child_runs_a_plan() {
    if !here() {
        return;
    }
    abort_on_panic();
    let context = Context::auto();
    let mut job = Job::new(&context, ROWS, CLASSES, 1);
    job.run(Stream::default()).unwrap();
    let found = job.dlogits.to_vec::<f32>().unwrap();

    let plan = Plan::new(&Context::cpu(), &problem(CLASSES)).unwrap();
    let (mut loss, mut stats, mut dlogits) = (0f32, [0f32; 2 * ROWS], [0f32; ROWS * CLASSES]);
    let (logits, targets) = (logits(1, ROWS * CLASSES), targets(ROWS));
    let args = Args::new(&logits, &targets).loss(&mut loss).stats(&mut stats);
    plan.run(args.dlogits(&mut dlogits), &mut plan.workspace(ROWS).unwrap()).unwrap();
    assert!((job.loss.to_vec::<f32>().unwrap()[0] - loss).abs() <= 1e-6 * loss);
    for (found, expected) in found.iter().zip(dlogits) {
        assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} {expected}");
    }
    println!("loaded: {}", StandIn::here().calls("cuModuleLoadData"));
}

/// A process on the machine whose kernels are kept in this folder.
fn child(machine: &Machine, folder: &Path) -> Command {
    let mut command = machine.test("child_runs_a_plan");
    command.env("XENT_CACHE", folder);
    command
}

/// Runs it: what it has loaded into the GPU.
fn run(command: &mut Command) -> u64 {
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    let (_, loaded) = out.split_once("loaded: ").unwrap();
    loaded.lines().next().unwrap().parse().unwrap()
}

/// The entries of a cache, and what else lies there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The same with what they hold: NVRTC names internal things after its process.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = files(folder).into_iter();
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Whatever lies in the place of an entry: the program compiles, and its kernels lie there again.
#[test]
fn damaged_and_refused_entries_are_made_again() {
    let Some(machine) = Machine::new() else { return };
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    run(&mut child(&machine, &cache));
    let entries = contents(&cache);
    assert!(!entries.is_empty());
    let damage = |what: &str, damage: &dyn Fn(&Path, &[u8])| {
        for (path, bytes) in &entries {
            damage(path, bytes);
        }
        run(&mut child(&machine, &cache));
        let made = contents(&cache);
        assert!(
            made.iter().all(|(path, _)| fs::symlink_metadata(path).unwrap().is_file()),
            "{what}"
        );
        assert_eq!(made.len(), entries.len(), "{what}: nothing is left behind");
        run(&mut child(&machine, &cache));
        assert!(contents(&cache) == made, "{what}: compiled again");
    };
    damage("empty", &|path, _| fs::write(path, "").unwrap());
    damage("cut", &|path, bytes| fs::write(path, &bytes[..bytes.len() / 2]).unwrap());
    damage("flipped", &|path, bytes| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(path, bytes).unwrap();
    });
    let elsewhere = folder.path().join("elsewhere");
    damage("a link", &|path, bytes| {
        fs::write(&elsewhere, bytes).unwrap();
        fs::remove_file(path).unwrap();
        symlink(&elsewhere, path).unwrap();
    });
    if chown(&elsewhere, Some(65_534), None).is_ok() {
        damage("another user's", &|path, _| chown(path, Some(65_534), None).unwrap());
    }

    // Entries that are whole, but that the driver does not take: of another driver, say.
    let loaded = run(&mut child(&machine, &cache));
    for (code, name) in [(200, "cuModuleLoadData"), (500, "cuModuleGetFunction")] {
        let mut command = child(&machine, &cache);
        command.env("XENT_SIM_FAIL", format!("{name}:1={code}"));
        assert_eq!(run(&mut command), loaded + 1, "{name}: {code}");
    }

    // Processes that start at once with nothing; few, since each compiles. `cache.rs` has more.
    let cold = folder.path().join("cold");
    let spawn = |_| {
        let mut command = child(&machine, &cold);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..8).map(spawn).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let made = contents(&cold);
    assert_eq!(made.len(), entries.len());
    run(&mut child(&machine, &cold));
    assert!(contents(&cold) == made, "they are whole");
}

/// Where nothing can be kept, everything is compiled, and nothing fails.
#[test]
fn places_where_nothing_can_be_kept() {
    let Some(machine) = Machine::new() else { return };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    for place in [&file.join("below"), &open] {
        run(&mut child(&machine, place));
    }
    assert!(files(&open).is_empty());

    let mut homeless = child(&machine, folder.path());
    run(homeless.env_remove("XENT_CACHE").env_remove("XDG_CACHE_HOME").env("HOME", "/dev/null"));
}

/// A full disk: files cannot grow beyond some bytes, as where there is no room.
#[test]
fn a_full_disk_keeps_nothing() {
    let Some(machine) = Machine::new() else { return };
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    let inner = child(&machine, &cache);
    // ulimit counts blocks of 512 or 1024 bytes. Without the signal a write fails with EFBIG.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$@\"", "sh"]);
    shell.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    run(&mut shell);
    assert_eq!(files(&cache), Vec::<PathBuf>::new(), "nothing half written is left behind");
}
