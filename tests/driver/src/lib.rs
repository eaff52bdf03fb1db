//! A stand-in for `libcuda.so.1`, the driver of NVIDIA GPUs, that needs no GPU: it runs kernels in
//! the interpreter of `xent-simulator`, in any order that streams and events allow, and reports
//! what its caller did wrong.
//!
//! The shared library is for the program under test; the README has its settings and what it
//! checks. What is here tells a test where that library is:
//!
//! ```no_run
//! let folder = std::env::temp_dir().join("driver");
//! xent_simulated_driver::install(&folder)?;
//! let status = std::process::Command::new("train")
//!     .env("LD_LIBRARY_PATH", &folder)
//!     .env("XENT_SIM_DEVICES", "9.0,8.0")
//!     .env("XENT_SIM_CHECK", "1")
//!     .status()?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod calls;
mod capture;
mod code;
mod config;
mod context;
mod copy;
mod device;
mod driver;
mod elf;
mod event;
mod exports;
mod function;
mod graph;
mod host;
mod launch;
mod log;
mod memory;
mod module;
mod pointer;
mod queue;
mod random;
mod report;
mod stream;
mod table;
mod thread;

use std::io;
use std::path::{Path, PathBuf};

/// The name under which programs look for the driver.
pub const NAME: &str = "libcuda.so.1";

/// The exit status of a process that ran with `XENT_SIM_CHECK=1` and leaked something, or did what
/// it must not do.
pub const CHECK_FAILED: i32 = config::CHECK_FAILED;

/// The shared library that cargo built with this crate: beside the executable that runs, or in the
/// folder above.
///
/// # Errors
/// Of the kind `NotFound`, if it is not there.
pub fn library() -> io::Result<PathBuf> {
    let name = concat!("lib", env!("CARGO_CRATE_NAME"), ".so");
    let executable = std::env::current_exe()?;
    let mut folders = executable.ancestors().skip(1).take(2);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()));
    found.ok_or_else(|| {
        let what = format!("{name} is not beside {}", executable.display());
        io::Error::new(io::ErrorKind::NotFound, what)
    })
}

/// Makes it the driver of a folder, for the `LD_LIBRARY_PATH` of another process. Returns its path.
///
/// # Errors
/// If the library is not found, or the folder cannot be written.
pub fn install(folder: &Path) -> io::Result<PathBuf> {
    install_bytes(folder, &std::fs::read(library()?)?)
}

/// Puts a copy in place, by a new name for a new file: a process may have loaded the old one.
fn install_bytes(folder: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let (path, draft) = (folder.join(NAME), folder.join(".draft"));
    std::fs::write(&draft, bytes)?;
    std::fs::rename(draft, &path)?;
    Ok(path)
}

/// The same for a driver that lacks some functions, as an old one does: their symbols get another
/// name.
///
/// # Errors
/// As [`install`], and of the kind `NotFound` for a name that no function has.
pub fn install_without(folder: &Path, functions: &[&str]) -> io::Result<PathBuf> {
    let mut bytes = std::fs::read(library()?)?;
    for function in functions {
        // Names of symbols end with a zero, and so does what is before each.
        let name = format!("\0{function}\0");
        let places = bytes.windows(name.len()).enumerate();
        let places: Vec<usize> =
            places.filter(|(_, found)| *found == name.as_bytes()).map(|(at, _)| at + 1).collect();
        if places.is_empty() {
            let what = format!("no function is named {function}");
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        places.into_iter().for_each(|at| bytes[at] = b'-');
    }
    install_bytes(folder, &bytes)
}
