//! Programs on a GPU that is simulated: they find the driver of `tests/driver` as they would find
//! NVIDIA's, and the compiler of the kernels by `XENT_NVRTC`.
#![cfg(all(feature = "cuda", target_os = "linux"))]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use xent::cuda::nvrtc::Nvrtc;

pub use super::on_gpu as here;
use super::{GPU, skip};

/// The newest NVRTC of a major version, if its variable is set or the library finds it by itself.
pub fn nvrtc(major: u32) -> Option<&'static Nvrtc> {
    let variable = format!("XENT_NVRTC_{major}");
    match std::env::var_os(&variable).filter(|folder| !folder.is_empty()) {
        Some(folder) => Some(
            Nvrtc::open(PathBuf::from(folder))
                .unwrap_or_else(|error| panic!("{variable}: {error}")),
        ),
        None => Nvrtc::find().ok().filter(|nvrtc| nvrtc.version().major == major),
    }
}

/// The one to run kernels of: the newest.
pub fn any_nvrtc() -> Option<&'static Nvrtc> {
    let found = nvrtc(13).or_else(|| nvrtc(12));
    if found.is_none() {
        skip("NVRTC was not found (pip install nvidia-cuda-nvrtc, set XENT_NVRTC)");
    }
    found
}

/// A machine with a GPU, for other processes.
pub struct Machine {
    folder: TempDir,
    nvrtc: &'static Nvrtc,
}

impl Machine {
    /// `None`, and a line on stderr, where there is no NVRTC.
    pub fn new() -> Option<Machine> {
        let nvrtc = any_nvrtc()?;
        let folder = TempDir::new().unwrap();
        xent_simulated_driver::install(folder.path()).unwrap();
        Some(Machine { folder, nvrtc })
    }

    /// A folder of its own, with the driver.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A program that finds the GPU. It ends with status 86 if it leaks something there, or does what
    /// it must not. Compiled kernels are kept from one run of the tests to the next.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let version = self.nvrtc.version();
        let mut command = Command::new(program);
        command
            .env(GPU, "1")
            .env("LD_LIBRARY_PATH", self.folder())
            .env("XENT_SIM_DRIVER_VERSION", (version.major * 1000 + version.minor * 10).to_string())
            .env("XENT_SIM_CHECK", "1")
            .env("XENT_NVRTC", self.nvrtc.path())
            .env("XENT_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
            .env("CUDA_FORCE_PTX_JIT", "1"); // it runs PTX, and that is compiled sooner
        command
    }

    /// A test of this file, in a process that has the GPU.
    pub fn test(&self, name: &str) -> Command {
        let mut command = self.command(std::env::current_exe().unwrap());
        command.args(alone(name));
        command
    }
}

/// A test of this file, in another process on the same machine.
pub fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(alone(name));
    command
}

/// The arguments that run a test alone.
fn alone(name: &str) -> [&str; 4] {
    ["--exact", name, "--nocapture", "--test-threads=1"]
}

/// Asserts that the command of [`Machine::test`] passed.
pub fn assert_passes(command: &mut Command) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&stdout), text(&stderr));
    assert!(status.success(), "{status}\n{out}\n{err}");
    assert!(out.contains("1 passed"), "{out}");
}

/// Whether this process has the simulated GPU; if not, another one runs the test of this name.
pub fn here_or_elsewhere(name: &str) -> bool {
    if !here()
        && let Some(machine) = Machine::new()
    {
        assert_passes(&mut machine.test(name));
    }
    here()
}
