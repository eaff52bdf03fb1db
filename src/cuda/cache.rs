//! Compiled kernels, kept on disk from process to process.
//!
//! A cache is a folder that only its user can write to. Each entry is a file of its own, named after
//! its key and holding a digest of key and content: what is not whole, or is of another key, is as
//! if it were not there. Files appear by renaming, so that nobody sees half of one. Whatever fails,
//! nothing is kept: a cache makes nothing wrong, and no call fail.
#![allow(unsafe_code)] // asks for the user

use std::env;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The first bytes of a file, which change with its form.
const FORM: &[u8; 8] = b"xent  1\n";
const DIGEST: usize = 32;
/// The largest content: kernels have some ten thousand bytes.
const LARGEST: u64 = 64 << 20;

/// A folder of compiled kernels, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: Option<PathBuf>,
    reason: Option<String>,
    whose: Whose,
}

/// Whose folder it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The user's alone.
    Users,
    /// Everybody may read it; it belongs to the user, or to root.
    Installed,
}

impl Cache {
    /// The cache in this folder, which is made if need be; without one, in the folder that
    /// `XENT_CACHE` names (empty: none), or `xent` in `XDG_CACHE_HOME` or `~/.cache`.
    ///
    /// Where that cannot be, or others may write to it, nothing is kept.
    pub fn open(folder: Option<&Path>) -> Self {
        let found = match folder {
            Some(folder) => Ok(folder.to_owned()),
            None => users_folder(),
        };
        Self::of(found.and_then(|folder| prepare(&folder, 0o700).map(|()| folder)), Whose::Users)
    }

    /// The same in a folder that is made for others to read, as part of a program.
    pub fn create(folder: &Path) -> Self {
        let found = prepare(folder, 0o755).map(|()| folder.to_owned());
        Self::of(found, Whose::Installed)
    }

    /// A folder that was made so. It belongs to the user or to root, and nobody else may write to it.
    pub fn installed(folder: &Path) -> Self {
        let found = examine(folder, Whose::Installed).map(|()| folder.to_owned());
        Self::of(found, Whose::Installed)
    }

    /// Nothing is kept.
    pub fn none(reason: &str) -> Self {
        Self::of(Err(reason.into()), Whose::Users)
    }

    fn of(found: Result<PathBuf, String>, whose: Whose) -> Self {
        match found {
            Ok(folder) => Cache { folder: Some(folder), reason: None, whose },
            Err(reason) => Cache { folder: None, reason: Some(reason), whose },
        }
    }

    /// Where entries are; `None` if nothing is kept.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Why nothing is kept.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The content that was stored with this key, if it is there and whole.
    pub fn load(&self, key: &[u8]) -> Option<Vec<u8>> {
        let bytes = self.read(&name_of(key))?;
        let rest = bytes.strip_prefix(FORM)?;
        let (digest, content) = rest.split_at_checked(DIGEST)?;
        (digest == digest_of(key, content)).then(|| content.to_vec())
    }

    /// Stores content with this key, in the place of what was there.
    pub fn store(&self, key: &[u8], content: &[u8]) {
        // Another process or a later call will do what this one could not.
        let _ = self.try_store(key, content);
    }

    /// The same, and says why it could not.
    ///
    /// # Errors
    /// Those of files.
    pub fn try_store(&self, key: &[u8], content: &[u8]) -> io::Result<()> {
        let bytes = [FORM, &digest_of(key, content)[..], content].concat();
        self.write(&name_of(key), &bytes)
    }

    /// A file of the folder.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let file = open_own(&self.folder()?.join(name), self.whose).ok()?;
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Puts a file into the folder.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let Some(folder) = self.folder() else { return Ok(()) };
        let mode = if self.whose == Whose::Installed { 0o644 } else { 0o600 };
        let mode = Permissions::from_mode(mode);
        // Removed if anything fails before it has its name.
        let mut file =
            tempfile::Builder::new().prefix(".").permissions(mode).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(folder.join(name))?;
        Ok(())
    }
}

fn name_of(key: &[u8]) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest_of(key: &[u8], content: &[u8]) -> [u8; DIGEST] {
    let mut digest = Sha256::new();
    digest.update((key.len() as u64).to_le_bytes());
    digest.update(key);
    digest.update(content);
    digest.finalize().into()
}

/// The folder of this user.
fn users_folder() -> Result<PathBuf, String> {
    if let Some(folder) = env::var_os("XENT_CACHE") {
        let none = || "XENT_CACHE is empty".to_owned();
        return Some(PathBuf::from(folder)).filter(|f| !f.as_os_str().is_empty()).ok_or_else(none);
    }
    // A relative path would depend on where the program was started.
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    let none = || "neither XDG_CACHE_HOME nor HOME is an absolute path".to_owned();
    base.map(|base| base.join("xent")).ok_or_else(none)
}

/// Makes the folder, for its user alone or for others to read.
fn prepare(folder: &Path, mode: u32) -> Result<(), String> {
    if !folder.exists() {
        let made = fs::DirBuilder::new().recursive(true).mode(mode).create(folder);
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    examine(folder, Whose::Users)
}

/// Makes sure that nobody else can write to the folder: its files are run.
fn examine(folder: &Path, whose: Whose) -> Result<(), String> {
    let fail = |reason: &dyn std::fmt::Display| format!("{}: {reason}", folder.display());
    let about = fs::symlink_metadata(folder).map_err(|error| fail(&error))?;
    if !about.is_dir() {
        return Err(fail(&"is not a folder"));
    }
    own(&about, whose).map_err(|reason| fail(&reason))
}

/// Whether what this describes belongs to the right user, and nobody else may write to it.
fn own(about: &fs::Metadata, whose: Whose) -> Result<(), &'static str> {
    const ROOT: u32 = 0;
    // SAFETY: asks for a number, and cannot fail.
    let user = unsafe { libc::geteuid() };
    if about.uid() != user && (about.uid(), whose) != (ROOT, Whose::Installed) {
        return Err("belongs to another user");
    }
    if about.mode() & 0o022 != 0 {
        return Err("others may write to it");
    }
    Ok(())
}

/// Opens a file of the right user's: no link, no pipe that would wait for a writer.
fn open_own(path: &Path, whose: Whose) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    own(&about, whose).map_err(io::Error::other)?;
    Ok(file)
}
