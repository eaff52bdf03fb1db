//! Kernels that were compiled ahead, for hosts that have a driver but no NVRTC.
//!
//! Such a folder is a [`Cache`] that is only read, with an entry for each kernel. A small text for
//! each target says what its kernels were made from, and by which NVRTC; it is written last.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::code::{self, Code, Supply};
use super::search;
use super::target::{Capability, Target, Version, choose};
use super::variant::Variant;
use super::{Error, Result, source};

/// Names the folder; empty: none.
const VARIABLE: &str = "XENT_KERNELS";
/// The folder's name beside the program or library that holds this crate.
const BESIDE: &str = "xent-kernels";
/// The end of the name of a target's text.
const TEXT: &str = "txt";

/// A folder of prebuilt kernels, and the target that suits a GPU.
#[derive(Clone, Debug)]
pub struct Prebuilt {
    cache: Cache,
    folder: PathBuf,
    made: Made,
}

/// What a target's text says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    target: Target,
    /// The version of this crate, for people.
    version: String,
    /// The digest of the sources.
    source: String,
    nvrtc: Version,
}

/// The folder that would be used: that of `XENT_KERNELS`, else `xent-kernels` beside the file of the
/// program or library that holds this crate. It need not be there.
pub fn place() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE) {
        Some(folder) => Some(folder).filter(|folder| !folder.is_empty()).map(PathBuf::from),
        None => Some(search::file_with(place as *const () as usize)?.with_file_name(BESIDE)),
    }
}

/// The targets that a folder has kernels of this build for, with the NVRTC that made them.
///
/// # Errors
/// Says why none of it can be used.
pub fn targets(folder: &Path) -> std::result::Result<Vec<(Target, Version)>, String> {
    Ok(read(folder)?.1.into_iter().map(|made| (made.target, made.nvrtc)).collect())
}

fn read(folder: &Path) -> std::result::Result<(Cache, Vec<Made>), String> {
    let cache = Cache::installed(folder);
    if let Some(reason) = cache.reason() {
        return Err(reason.into());
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let texts = entries.filter(|path| path.extension().is_some_and(|end| end == TEXT));
    let mut all: Vec<Made> = texts.filter_map(|path| Made::read(&cache, &path)).collect();
    all.sort_by_key(|made| (made.target.capability(), made.target.to_string()));
    let own = digest();
    let other = all.first().map(|made| made.version.clone());
    all.retain(|made| made.source == own);
    match other {
        _ if !all.is_empty() => Ok((cache, all)),
        None => Err(format!("{}: no kernels are in there", folder.display())),
        Some(version) => Err(format!(
            "{}: its kernels are those of another build of xent ({version}); `xent kernels` of this one \
             makes them",
            folder.display()
        )),
    }
}

impl Prebuilt {
    /// The kernels for a GPU and the newest CUDA that its driver knows; `None` if there is no folder
    /// and nobody named one.
    ///
    /// # Errors
    /// Says why there are none.
    pub fn find(
        device: Capability,
        driver: Version,
        only_ptx: bool,
    ) -> std::result::Result<Option<Self>, String> {
        let Some(folder) = place() else { return Ok(None) };
        if std::env::var_os(VARIABLE).is_none() && !folder.exists() {
            return Ok(None);
        }
        let (cache, all) = read(&folder)?;
        let suits = |made: &&Made| match made.target {
            Target::Cubin(arch) => {
                let target = choose(device, made.nvrtc, &[arch], Some(driver));
                !only_ptx && target == Ok(made.target)
            }
            Target::Ptx(arch) => arch <= device && made.nvrtc <= driver,
        };
        let rank =
            |made: &&Made| (matches!(made.target, Target::Cubin(_)), made.target.capability());
        let Some(made) = all.iter().filter(suits).max_by_key(rank).cloned() else {
            let names = |made: &Made| format!("{} by NVRTC {}", made.target, made.nvrtc);
            return Err(format!(
                "{}: its kernels are {}, and none of them is for a GPU of compute capability {device} \
                 with a driver of CUDA {driver}",
                folder.display(),
                all.iter().map(names).collect::<Vec<_>>().join(", ")
            ));
        };
        Ok(Some(Prebuilt { cache, folder, made }))
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What they are made for.
    pub fn target(&self) -> Target {
        self.made.target
    }

    /// The code of a kernel.
    ///
    /// # Errors
    /// [`Error::NotPrebuilt`] if it is not there, or not whole.
    pub fn obtain(&self, variant: &Variant) -> Result<Code> {
        let Made { target, nvrtc, .. } = self.made;
        let found =
            code::kept(&self.cache, nvrtc, target, &[variant.program], &[&variant.expression]);
        found.ok_or_else(|| Error::NotPrebuilt {
            folder: self.folder.clone(),
            kernel: variant.expression.clone(),
            target,
        })
    }
}

/// Puts kernels into a folder, which is made if need be; those that are there already stay. Calls
/// `done` after each, with the bytes of its code.
///
/// # Errors
/// Those of compiling; [`Error::Folder`] if the folder, or a file in it, cannot be made.
pub fn make(
    folder: &Path,
    supply: &Supply,
    variants: &[Variant],
    mut done: impl FnMut(usize),
) -> Result<()> {
    let (target, nvrtc) = (supply.target, supply.nvrtc.version());
    let fail = |reason: String| Error::Folder { folder: folder.to_owned(), reason };
    let cache = Cache::create(folder);
    if let Some(reason) = cache.reason() {
        return Err(fail(reason.into()));
    }
    for variant in variants {
        let (files, expressions) = ([variant.program], [variant.expression.as_str()]);
        let code = match code::kept(&cache, nvrtc, target, &files, &expressions) {
            Some(code) => code,
            None => {
                let code = supply.obtain(&files, &expressions)?;
                let names: (&[&str], &[&str]) = (&files, &expressions);
                code::keep(&cache, nvrtc, target, names, &code)
                    .map_err(|error| fail(error.to_string()))?;
                code
            }
        };
        done(code.image.size());
    }
    let made = Made { target, version: env!("CARGO_PKG_VERSION").into(), source: digest(), nvrtc };
    let name = format!("{target}.{TEXT}");
    cache.write(&name, made.text().as_bytes()).map_err(|error| fail(error.to_string()))
}

impl Made {
    fn text(&self) -> String {
        let Made { target, version, source, nvrtc } = self;
        format!("xent {version}\nsource {source}\nnvrtc {nvrtc}\ntarget {target}\n")
    }

    fn read(cache: &Cache, path: &Path) -> Option<Made> {
        let text =
            cache.read(path.file_name()?.to_str()?).and_then(|b| String::from_utf8(b).ok())?;
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let (major, minor) = value("nvrtc")?.split_once('.')?;
        Some(Made {
            target: value("target")?.parse().ok()?,
            version: value("xent")?.into(),
            source: value("source")?.into(),
            nvrtc: Version::new(major.parse().ok()?, minor.parse().ok()?),
        })
    }
}

/// A digest of the sources of all kernels.
fn digest() -> String {
    let mut digest = Sha256::new();
    for (name, text) in source::FILES {
        for part in [name, text] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
