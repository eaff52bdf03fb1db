//! Where NVRTC may be. Nothing is loaded here: the list says what to try, in order.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Names under which the dynamic loader may know the library, newest first.
const SONAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

/// Where in a Python environment the wheels put it: `nvidia-cuda-nvrtc`, and the same `-cu12`.
const WHEELS: [&str; 2] = ["nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"];

/// The variables that the search reads.
const VARIABLES: [&str; 7] = [
    "XENT_NVRTC",
    "CUDA_HOME",
    "CUDA_PATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONUSERBASE",
    "HOME",
];

/// What of the process and the machine a search looks at. Tests make their own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Environment variables.
    pub variables: BTreeMap<&'static str, OsString>,
    /// Files that are mapped into the process, its libraries among them.
    pub mapped: Vec<PathBuf>,
    /// The folder that holds toolkits: `/usr/local`.
    pub toolkits: PathBuf,
    /// Whether to ask the dynamic loader for libraries that it has loaded, or finds itself.
    pub loader: bool,
}

impl Surroundings {
    /// Those of this process.
    pub fn current() -> Self {
        let variables = VARIABLES
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let toolkits = PathBuf::from("/usr/local");
        Surroundings { variables, mapped: mapped_files(), toolkits, loader: true }
    }

    /// The places to look in, the best first. `XENT_NVRTC` is the only one where it is set.
    pub fn places(&self) -> Vec<Place> {
        if let Some(path) = self.variables.get("XENT_NVRTC") {
            let path = PathBuf::from(path);
            let label = format!("XENT_NVRTC={}", path.display());
            return vec![Place { label, candidates: vec![Candidate::File(path)] }];
        }
        let mut places = vec![Place::new("XENT_NVRTC (not set)", [])];
        places.push(Place::new("libraries that the process has loaded", self.loaded()));
        if self.loader {
            let label = format!("the dynamic loader's path, for {}", SONAMES.join(", "));
            places.push(Place::new(label, SONAMES.map(Candidate::Loader)));
        }
        for name in ["CUDA_HOME", "CUDA_PATH"] {
            places.push(match self.variables.get(name) {
                Some(root) => {
                    let root = Path::new(root);
                    let files = ["lib64", "lib"].map(|lib| files(&root.join(lib))).concat();
                    Place::new(format!("{name}={}", root.display()), files)
                }
                None => Place::new(format!("{name} (not set)"), []),
            });
        }
        let label = format!("{}/cuda*/lib64", self.toolkits.display());
        let roots = toolkits(&self.toolkits);
        places.push(Place::new(label, roots.iter().flat_map(|root| files(&root.join("lib64")))));
        places.extend(self.python());
        places
    }

    /// Libraries in the process: by their usual names, then whatever else is mapped, as a copy
    /// that PyTorch has under a name of its own.
    fn loaded(&self) -> Vec<Candidate> {
        let sonames = SONAMES.into_iter().filter(|_| self.loader).map(Candidate::Loaded);
        let mut mapped: Vec<_> = self.mapped.iter().filter(|path| is_library(path)).collect();
        mapped.sort_by_key(|path| Reverse(version(path)));
        sonames.chain(mapped.into_iter().cloned().map(Candidate::File)).collect()
    }

    /// Packages of Python: of the environments that are active, of the user, and of the Python
    /// that this process may be, which shows by the files that it has mapped.
    fn python(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for name in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
            places.push(match self.variables.get(name) {
                Some(root) => {
                    let root = Path::new(root);
                    let conda = files(&root.join("lib"));
                    let wheels = packages(root).into_iter().flat_map(|folder| wheels(&folder));
                    let label = format!("{name}={}", root.display());
                    Place::new(label, conda.into_iter().chain(wheels))
                }
                None => Place::new(format!("{name} (not set)"), []),
            });
        }
        let is_packages = |path: &&Path| {
            path.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages")
        };
        let of_file = |path: &PathBuf| path.ancestors().find(is_packages).map(Path::to_owned);
        let mut own: Vec<_> = self.mapped.iter().filter_map(of_file).collect();
        own.sort();
        own.dedup();
        let label = "site-packages of the Python that runs, if one does";
        places.push(Place::new(label, own.iter().flat_map(|folder| wheels(folder))));
        let user = self.variables.get("PYTHONUSERBASE").map(PathBuf::from);
        let home = || Some(Path::new(self.variables.get("HOME")?).join(".local"));
        if let Some(root) = user.or_else(home) {
            let label = format!("{}/lib/python*/site-packages", root.display());
            places.push(Place::new(label, packages(&root).iter().flat_map(|path| wheels(path))));
        }
        places
    }
}

/// A place, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is, for the message that nothing was found.
    pub label: String,
    /// What to try, the best first.
    pub candidates: Vec<Candidate>,
}

impl Place {
    fn new(label: impl Into<String>, candidates: impl IntoIterator<Item = Candidate>) -> Self {
        Place { label: label.into(), candidates: candidates.into_iter().collect() }
    }
}

/// A library to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// The one that the process has loaded under this name, if it has.
    Loaded(&'static str),
    /// The one that the dynamic loader finds under this name.
    Loader(&'static str),
    /// This file, or the newest in this folder.
    File(PathBuf),
}

/// The libraries in a folder, newest first.
pub fn libraries(folder: &Path) -> Vec<PathBuf> {
    let mut libraries = entries(folder);
    libraries.retain(|path| is_library(path));
    libraries.sort_by_key(|path| Reverse(version(path)));
    libraries
}

fn files(folder: &Path) -> Vec<Candidate> {
    libraries(folder).into_iter().map(Candidate::File).collect()
}

fn wheels(packages: &Path) -> Vec<Candidate> {
    WHEELS.map(|folder| files(&packages.join(folder))).concat()
}

/// The folders of packages of a Python environment, newest Python first.
fn packages(root: &Path) -> Vec<PathBuf> {
    let mut folders = entries(&root.join("lib"));
    folders.retain(|path| file_name(path).starts_with("python"));
    folders.sort_by_key(|path| Reverse(version(path)));
    folders.into_iter().map(|path| path.join("site-packages")).collect()
}

/// `/usr/local/cuda`, which is the one that the machine's owner chose, then others, newest first.
fn toolkits(folder: &Path) -> Vec<PathBuf> {
    let mut roots = entries(folder);
    roots.retain(|path| {
        let name = file_name(path);
        name == "cuda" || name.starts_with("cuda-")
    });
    roots.sort_by_key(|path| (file_name(path) != "cuda", Reverse(version(path))));
    roots
}

/// A missing or unreadable folder is an empty one.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// `libnvrtc.so`, `libnvrtc.so.13`, and `libnvrtc-1a2b3c.so.12` as some wheels of others have it;
/// not its builtins, nor the `.alt` twin that lies beside it.
fn is_library(path: &Path) -> bool {
    let Some((stem, _)) = file_name(path).split_once(".so") else { return false };
    let renamed = stem.strip_prefix("libnvrtc-").is_some_and(|rest| !rest.starts_with("builtins"));
    stem == "libnvrtc" || renamed
}

/// The numbers at the end of a name: 13 and 5 of `cuda-13.5`, 12 of `libnvrtc.so.12`.
fn version(path: &Path) -> Vec<u32> {
    let name = file_name(path);
    let name = name.split_once(".so").map_or(name, |(_, end)| end);
    let numbers = name.split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// The file of the program or library that holds this address.
pub fn file_with(address: usize) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let holds = |line: &&str| {
        let bounds = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let number = |hex| usize::from_str_radix(hex, 16).unwrap_or(0);
        bounds.is_some_and(|(start, end)| (number(start)..number(end)).contains(&address))
    };
    let line = maps.lines().find(holds)?;
    line.find('/').map(|start| PathBuf::from(&line[start..]))
}

/// The files that are mapped into this process, each once. Empty where Linux does not say.
fn mapped_files() -> Vec<PathBuf> {
    let maps = std::fs::read("/proc/self/maps").unwrap_or_default();
    let maps = String::from_utf8_lossy(&maps);
    // address permissions offset device inode path
    let path = |line: &str| line.find('/').map(|start| PathBuf::from(&line[start..]));
    let mut files: Vec<_> = maps.lines().filter_map(path).collect();
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes empty files, and says which the places name, in order, without their root.
    fn found(
        files: &[&str],
        variables: &[(&'static str, &str)],
        mapped: &[&str],
    ) -> Vec<(String, Vec<String>)> {
        let root = tempfile::tempdir().unwrap();
        let absolute = |path: &str| root.path().join(path);
        for file in files {
            std::fs::create_dir_all(absolute(file).parent().unwrap()).unwrap();
            std::fs::write(absolute(file), "").unwrap();
        }
        let surroundings = Surroundings {
            variables: variables.iter().map(|&(name, to)| (name, absolute(to).into())).collect(),
            mapped: mapped.iter().copied().map(absolute).collect(),
            toolkits: absolute("usr/local"),
            loader: false,
        };
        let relative = |candidate: &Candidate| match candidate {
            Candidate::File(path) => path.strip_prefix(&root).unwrap().display().to_string(),
            other => format!("{other:?}"),
        };
        let places = surroundings.places().into_iter();
        places
            .map(|place| (place.label, place.candidates.iter().map(relative).collect::<Vec<_>>()))
            .filter(|(_, files)| !files.is_empty())
            .collect()
    }

    #[test]
    fn places_come_in_order_and_newest_first() {
        let files = [
            "cuda_home/lib64/libnvrtc.so",
            "cuda_home/lib64/libnvrtc.so.12",
            "cuda_home/lib64/libnvrtc.so.13",
            "cuda_home/lib64/libnvrtc-builtins.so.13.0",
            "cuda_home/lib64/libnvrtc.alt.so.13",
            "cuda_home/lib64/libnvrtc_static.a",
            "usr/local/cuda-12.9/lib64/libnvrtc.so.12",
            "usr/local/cuda-13.10/lib64/libnvrtc.so.13",
            "usr/local/cuda-13.5/lib64/libnvrtc.so.13",
            "usr/local/cuda/lib64/libnvrtc.so.12",
            "usr/local/cudafish/lib64/libnvrtc.so.12",
            "venv/lib/python3.9/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "venv/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "conda/lib/libnvrtc.so.12",
            "home/.local/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "app/lib/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
        ];
        let variables = [
            ("CUDA_HOME", "cuda_home"),
            ("VIRTUAL_ENV", "venv"),
            ("CONDA_PREFIX", "conda"),
            ("HOME", "home"),
        ];
        let mapped =
            ["app/lib/site-packages/xent/libxent.so", "torch/lib/libnvrtc-672ee6.so.12", "x.so"];
        let found = found(&files, &variables, &mapped);
        let files: Vec<_> = found.iter().flat_map(|(_, files)| files).collect();
        assert_eq!(
            files,
            [
                "torch/lib/libnvrtc-672ee6.so.12",
                "cuda_home/lib64/libnvrtc.so.13",
                "cuda_home/lib64/libnvrtc.so.12",
                "cuda_home/lib64/libnvrtc.so",
                "usr/local/cuda/lib64/libnvrtc.so.12",
                "usr/local/cuda-13.10/lib64/libnvrtc.so.13",
                "usr/local/cuda-13.5/lib64/libnvrtc.so.13",
                "usr/local/cuda-12.9/lib64/libnvrtc.so.12",
                "venv/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
                "venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
                "venv/lib/python3.9/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
                "conda/lib/libnvrtc.so.12",
                "app/lib/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
                "home/.local/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            ]
        );
    }

    #[test]
    fn a_path_that_was_asked_for_is_the_only_one() {
        let files = ["cuda/lib64/libnvrtc.so.13"];
        let variables = [("CUDA_HOME", "cuda"), ("XENT_NVRTC", "elsewhere")];
        let found = found(&files, &variables, &["torch/libnvrtc.so.12"]);
        assert_eq!(found.len(), 1);
        assert!(found[0].0.starts_with("XENT_NVRTC=/"));
        assert_eq!(found[0].1, ["elsewhere"]);
    }

    #[test]
    fn this_process_has_files_mapped() {
        let own = std::env::current_exe().unwrap();
        assert!(mapped_files().contains(&own));
        assert_eq!(file_with(mapped_files as *const () as usize), Some(own));
        assert_eq!(file_with(0), None);
    }
}
