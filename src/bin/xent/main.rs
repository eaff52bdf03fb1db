//! The program `xent`: says what there is to compute with, and whether it computes right.
//!
//! It needs nothing of the source tree, so that the file can be copied to a machine with a GPU.

mod bounds;
mod case;
mod check;
mod grid;
mod info;
#[cfg(target_os = "linux")]
mod kernels;
mod place;
mod run;
mod shape;

use std::process::{ExitCode, Termination};

use clap::Parser;

/// Fused cross entropy on this machine: what there is to compute with, and whether it computes right
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Say what there is: GPUs, driver, compiler, cache, processor; and what is missing
    Info,
    /// Compute a grid of problems and compare every element with its error bound
    ///
    /// Exit status: 0 if all are within their bounds, 1 if not, 2 for wrong usage or a device that
    /// is not there.
    Check(check::Arguments),
    /// Compile the kernels of common problems ahead, for machines that have a driver but no NVRTC
    #[cfg(target_os = "linux")]
    Kernels(kernels::Arguments),
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Good = 0,
    /// A result is wrong, or could not be had.
    Bad = 1,
    /// What was asked for makes no sense here.
    Usage = 2,
}

impl Termination for Status {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

fn main() -> Status {
    match Command::parse() {
        Command::Info => info::info(),
        Command::Check(arguments) => check::check(&arguments),
        #[cfg(target_os = "linux")]
        Command::Kernels(arguments) => kernels::kernels(&arguments),
    }
}
