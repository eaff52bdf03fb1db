//! `xent kernels`: compiles kernels ahead, for hosts that have a driver but no NVRTC.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use clap::value_parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use xent::cuda::cache::Cache;
use xent::cuda::code::Supply;
use xent::cuda::nvrtc::Nvrtc;
use xent::cuda::prebuilt;
use xent::cuda::stock;
use xent::cuda::target::Target;
use xent::{DType, Problem};

use super::Status;
use super::values::dtype;

const MOST_CLASSES: i64 = Problem::MAX_CLASSES as i64;

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder, which is made; a program finds it as `xent-kernels` beside itself, or by XENT_KERNELS
    folder: PathBuf,
    /// What to compile for: sm_N is machine code for all GPUs of the same major version from N on,
    /// compute_N text that the driver of any newer GPU compiles
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "sm_75,sm_80,sm_90,sm_100,sm_120,compute_120"
    )]
    arch: Vec<Target>,
    /// Only what rows of these many classes take; of any size if not given
    #[arg(long, value_delimiter = ',', value_parser = value_parser!(u32).range(1..=MOST_CLASSES))]
    classes: Vec<u32>,
    /// Only these types of logits: f32, f16, bf16
    #[arg(long = "type", value_delimiter = ',', value_parser = dtype)]
    types: Vec<DType>,
}

pub fn kernels(arguments: &Arguments) -> Status {
    let fail = |status, error: &dyn std::fmt::Display| {
        eprintln!("error: {error}");
        status
    };
    let nvrtc = match Nvrtc::find() {
        Ok(nvrtc) => nvrtc,
        Err(error) => return fail(Status::Bad, &error),
    };
    println!("NVRTC {}, {}", nvrtc.version(), nvrtc.path().display());
    let unknown = |target: &&Target| !nvrtc.supported().contains(&target.capability());
    if let Some(target) = arguments.arch.iter().find(unknown) {
        let known = nvrtc.supported().iter().map(|capability| capability.arch().to_string());
        let known = known.collect::<Vec<_>>().join(", ");
        let error = format!("--arch {target}: this NVRTC compiles for {known}");
        return fail(Status::Usage, &error);
    }
    match make(arguments, nvrtc) {
        Ok(()) => Status::Good,
        Err(error) => fail(Status::Bad, &error),
    }
}

fn make(arguments: &Arguments, nvrtc: &'static Nvrtc) -> xent::cuda::Result<()> {
    let Arguments { folder, arch, classes, types } = arguments;
    let classes: Vec<usize> = classes.iter().map(|&classes| classes as usize).collect();
    let types = if types.is_empty() { &stock::TYPES[..] } else { types };
    for &target in arch {
        let variants = stock::variants(target.capability(), &classes, types);
        let (start, bar) = (Instant::now(), progress(variants.len()));
        let cache = Cache::none("these are for others");
        let supply = Supply { nvrtc, target, cache, lines: false };
        let mut bytes = 0;
        prebuilt::make(folder, &supply, &variants, |size| {
            bytes += size;
            bar.inc(1);
        })?;
        bar.finish_and_clear();
        let megabytes = bytes as f64 / 1e6;
        let time = start.elapsed();
        println!("{target}: {} kernels, {megabytes:.1} MB, in {time:.1?}", variants.len());
    }
    Ok(())
}

/// A bar on stderr, if that is a terminal.
fn progress(kernels: usize) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} kernels");
    let bar = ProgressBar::with_draw_target(Some(kernels as u64), target);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
