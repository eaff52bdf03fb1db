//! Compiled kernels on disk: right or absent, whatever happens to the files.
#![cfg(all(feature = "cuda", target_os = "linux"))]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use xent::cuda::cache::Cache;

const KEY: &[u8] = b"sm_90, NVRTC 13.5, source";

fn contents() -> Vec<u8> {
    (0..5000u32).map(|i| ((i * i) >> 3) as u8).collect()
}

/// A cache in a new folder, with one entry; and the entry's file.
fn filled() -> (TempDir, Cache, PathBuf) {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let cache = Cache::open(Some(folder.path()));
    assert_eq!((cache.folder(), cache.reason()), (Some(folder.path()), None));
    assert_eq!(cache.load(KEY), None);
    cache.store(KEY, &contents());
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let file = files[0].clone();
    (folder, cache, file)
}

#[test]
fn what_is_stored_is_found_under_its_key_alone() {
    let (folder, cache, file) = filled();
    assert_eq!(cache.load(KEY), Some(contents()));
    assert_eq!(Cache::open(Some(folder.path())).load(KEY), Some(contents()), "a new process");
    assert_eq!(cache.load(b"sm_90, NVRTC 13.6, source"), None);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    cache.store(b"other", b"");
    assert_eq!(cache.load(b"other"), Some(vec![]));
    // A file under another key's name is not that key's.
    let other = fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path());
    let other = other.into_iter().find(|path| *path != file).unwrap();
    fs::copy(&file, &other).unwrap();
    assert_eq!(cache.load(b"other"), None);
    cache.store(KEY, b"replaced");
    assert_eq!(cache.load(KEY), Some(b"replaced".to_vec()));
}

#[test]
fn a_damaged_file_is_as_if_absent_and_is_replaced() {
    let (_folder, cache, file) = filled();
    let whole = fs::read(&file).unwrap();
    let refuse = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        assert_eq!(cache.load(KEY), None, "{what}");
    };
    for length in (0..whole.len()).step_by(83).chain([1, 7, 8, 9, 39, 40, 41, whole.len() - 1]) {
        refuse(&whole[..length], &format!("cut to {length}"));
    }
    for at in (0..whole.len()).step_by(11).chain(0..64) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        refuse(&bytes, &format!("byte {at}"));
    }
    refuse(&[&whole[..], &[0]].concat(), "longer");
    cache.store(KEY, &contents());
    assert_eq!(cache.load(KEY), Some(contents()));
}

/// What lies in an entry's place, and is not a file of the user's.
#[test]
fn links_pipes_folders_and_files_of_others_are_not_read() {
    let (folder, cache, file) = filled();
    let kept = folder.path().join("kept");
    fs::rename(&file, &kept).unwrap();
    symlink(&kept, &file).unwrap();
    assert_eq!(cache.load(KEY), None, "a link");
    cache.store(KEY, &contents());
    assert_eq!(cache.load(KEY), Some(contents()), "the link is replaced, not followed");
    assert!(!fs::symlink_metadata(&file).unwrap().is_symlink());

    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    assert_eq!(cache.load(KEY), None, "a pipe, which nobody waits for");

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(cache.load(KEY), None, "a folder");
    cache.store(KEY, &contents());
    assert_eq!(cache.load(KEY), None);

    fs::remove_dir(&file).unwrap();
    cache.store(KEY, &contents());
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    assert_eq!(cache.load(KEY), None, "a file that others may write to");

    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(cache.load(KEY), Some(contents()));
    if chown(&file, Some(65_534), None).is_ok() {
        assert_eq!(cache.load(KEY), None, "another user's file"); // only root can try
    }
}

#[test]
fn a_folder_that_others_may_write_to_is_not_used() {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let cache = Cache::open(Some(folder.path()));
    assert_eq!(cache.folder(), None);
    assert!(cache.reason().unwrap().contains("others may write"), "{:?}", cache.reason());
    cache.store(KEY, b"");
    assert_eq!(cache.load(KEY), None);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_place_where_no_folder_can_be_is_no_cache_and_no_error() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let link = folder.path().join("link");
    symlink(folder.path(), &link).unwrap();
    for place in
        [Path::new("/dev/null"), Path::new("/proc/none/such"), &file, &file.join("below"), &link]
    {
        let cache = Cache::open(Some(place));
        assert_eq!(cache.folder(), None, "{}", place.display());
        assert!(cache.reason().unwrap().contains(place.to_str().unwrap()));
        cache.store(KEY, b"");
        assert_eq!(cache.load(KEY), None);
    }
}

/// Run again in a process of its own, whose environment says where: prints the folder.
#[test]
fn child_prints_its_folder() {
    if std::env::var_os("XENT_TEST_CHILD").is_some() {
        let cache = Cache::open(None);
        cache.store(KEY, &contents());
        let right = cache.load(KEY).is_none_or(|found| found == contents());
        println!("folder: {:?} {right}", cache.folder());
    }
}

fn child(environment: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_prints_its_folder", "--nocapture"]).env("XENT_TEST_CHILD", "1");
    for name in ["XENT_CACHE", "XDG_CACHE_HOME", "HOME"] {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    command
}

#[test]
fn the_environment_says_where() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let home = ("HOME", at);
    for (environment, expected) in [
        (vec![home], Some(at.join(".cache/xent"))),
        (vec![home, ("XDG_CACHE_HOME", &at.join("xdg"))], Some(at.join("xdg/xent"))),
        (vec![home, ("XDG_CACHE_HOME", Path::new("here"))], Some(at.join(".cache/xent"))),
        (vec![home, ("XENT_CACHE", &at.join("own"))], Some(at.join("own"))),
        (vec![home, ("XENT_CACHE", Path::new(""))], None),
        (vec![("HOME", Path::new("/dev/null"))], None),
        (vec![], None),
    ] {
        let output = child(&environment).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = format!("folder: {expected:?} true");
        assert!(text.contains(&line), "{environment:?}: {text}");
    }
}

#[test]
fn processes_that_start_at_once_see_whole_files_alone() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("cache");
    let spawn = |_| {
        let mut command = child(&[("XENT_CACHE", &place)]);
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..32).map(spawn).collect();
    for child in children {
        let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert!(text.contains(" true"), "{text}");
    }
    assert_eq!(Cache::open(Some(&place)).load(KEY), Some(contents()));
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "nothing is left behind");
}
