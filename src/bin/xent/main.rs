//! The program `xent`: says what there is to compute with, how, whether it computes right, and how fast.
//!
//! It needs nothing of the source tree, so that the file can be copied to a machine with a GPU.

mod bench;
mod bounds;
mod case;
mod check;
mod device;
#[cfg(target_os = "linux")]
mod explain;
mod info;
#[cfg(target_os = "linux")]
mod kernels;
mod progress;
mod values;

use std::process::{ExitCode, Termination};

use clap::Parser;

/// Fused cross entropy on this machine: what there is to compute with, whether it computes right, and how fast
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
    /// Time problems, beside what the memory allows, with the largest error of each
    ///
    /// Exit status: 0, 1 if a result is wrong and so has no speed, or could not be had, 2 for wrong
    /// usage, a device that is not there, or a folder that cannot be written.
    Bench(bench::Arguments),
    /// Draw the pictures of a report
    Draw(bench::DrawArguments),
    /// Say which kernel a GPU takes for rows of which length, and why; no GPU is needed
    ///
    /// Exit status: 0, 2 for wrong usage.
    #[cfg(target_os = "linux")]
    Explain(explain::Arguments),
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
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Draw(arguments) => bench::draw(&arguments),
        #[cfg(target_os = "linux")]
        Command::Explain(arguments) => explain::explain(&arguments),
        #[cfg(target_os = "linux")]
        Command::Kernels(arguments) => kernels::kernels(&arguments),
    }
}
