//! `xent info`: what there is to compute with.

use std::thread;

use xent::Device;

use super::Status;

pub fn info() -> Status {
    println!("xent {}", env!("CARGO_PKG_VERSION"));
    match Device::auto().fallback_reason() {
        None => println!("computes on: {}", Device::auto()),
        Some(reason) => {
            println!("computes on: CPU, because there is no GPU to be used:");
            reason.lines().for_each(|line| println!("  {line}"));
        }
    }
    #[cfg(target_os = "linux")]
    gpu::print();
    println!("\nCPU");
    let threads = thread::available_parallelism().map_or("?".into(), |count| count.to_string());
    line("processors", threads);
    line("threads", rayon::current_num_threads());
    line("vectors", vectors());
    Status::Good
}

/// Says a value, whose further lines are indented as the first.
fn line(name: &str, value: impl std::fmt::Display) {
    let text = value.to_string();
    let mut lines = text.lines();
    println!("  {name:13} {}", lines.next().unwrap_or_default());
    lines.for_each(|more| println!("  {:13} {more}", ""));
}

/// The vector extensions of the processor, as far as they matter here.
fn vectors() -> String {
    macro_rules! detected {
        ($detect:ident: $($name:tt),*) => {
            [$(($name, std::arch::$detect!($name))),*]
        };
    }
    #[cfg(target_arch = "x86_64")]
    let known = detected!(is_x86_feature_detected: "sse4.1", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bf16");
    #[cfg(target_arch = "aarch64")]
    let known = detected!(is_aarch64_feature_detected: "neon", "fp16", "bf16", "sve", "sve2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let known: [(&str, bool); 0] = [];
    let found: Vec<&str> = known.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    if found.is_empty() { "none that is known".into() } else { found.join(" ") }
}

#[cfg(target_os = "linux")]
mod gpu {
    use xent::cuda::cache::Cache;
    use xent::cuda::driver::Driver;
    use xent::cuda::engine::Origin;
    use xent::cuda::nvrtc::Nvrtc;
    use xent::cuda::{Result, prebuilt};

    use super::line;

    pub fn print() {
        println!("\nGPU");
        match Driver::get() {
            Ok(driver) => {
                line("driver", format!("CUDA {}", driver.version()));
                match driver.gpus() {
                    Ok(0) => line("devices", "none"),
                    Ok(count) => (0..count).for_each(|ordinal| device(driver, ordinal)),
                    Err(error) => line("devices", error),
                }
            }
            Err(error) => line("driver", error),
        }
        match Nvrtc::find() {
            Ok(nvrtc) => {
                line("NVRTC", format!("{}, {}", nvrtc.version(), nvrtc.path().display()));
                let archs = nvrtc.supported().iter().map(|capability| capability.to_string());
                line("compiles for", archs.collect::<Vec<_>>().join(" "));
            }
            Err(error) => line("NVRTC", error),
        }
        let cache = Cache::open(None);
        match (cache.folder(), cache.reason()) {
            (Some(folder), _) => line("cache", folder.display()),
            (None, reason) => line("cache", format!("none: {}", reason.unwrap_or_default())),
        }
        line("prebuilt", kernels());
    }

    /// The prebuilt kernels, where there are any.
    fn kernels() -> String {
        let Some(folder) = prebuilt::place() else { return "none".into() };
        let name = |(target, nvrtc)| format!("{target} (NVRTC {nvrtc})");
        match prebuilt::targets(&folder) {
            Ok(targets) => {
                let targets = targets.into_iter().map(name).collect::<Vec<_>>().join(", ");
                format!("{}: {targets}", folder.display())
            }
            Err(_) if !folder.exists() => format!("none in {}", folder.display()),
            Err(reason) => reason,
        }
    }

    fn device(driver: &Driver, ordinal: u32) {
        let name = format!("CUDA {ordinal}");
        match describe(driver, ordinal) {
            Ok(text) => line(&name, text),
            Err(error) => line(&name, error),
        }
        match Origin::find(driver, ordinal, None) {
            Ok(Origin::Compiler(supply)) => {
                line("", format!("kernels are compiled for {}", supply.target));
            }
            Ok(Origin::Prebuilt(prebuilt)) => {
                line("", format!("prebuilt kernels for {} are used", prebuilt.target()));
            }
            Err(error) => {
                // What follows is the search for NVRTC, which is told below.
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                line("", format!("cannot be used: {}", first.trim_end_matches(':')));
            }
        }
    }

    fn describe(driver: &Driver, ordinal: u32) -> Result<String> {
        let gpu = driver.gpu(ordinal)?;
        Ok(format!(
            "{}, compute capability {}, {} multiprocessors",
            driver.name(ordinal)?,
            gpu.capability,
            gpu.multiprocessors
        ))
    }
}
