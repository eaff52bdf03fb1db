//! What results depend on beside the code and the device.

use std::process::Command;
use std::{env, fs, thread};

use super::report;

pub fn describe() -> report::Machine {
    report::Machine {
        system: format!("{} {}", env::consts::OS, env::consts::ARCH),
        processor: processor(),
        processors: thread::available_parallelism().map_or(1, usize::from),
    }
}

/// The name of the processor, as Linux or macOS tells it.
pub fn processor() -> String {
    let known = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let asked = || {
        let output = Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output();
        let said = String::from_utf8(output.ok()?.stdout).ok()?;
        Some(said.trim().to_owned()).filter(|name| !name.is_empty())
    };
    known.or_else(asked).unwrap_or_else(|| env::consts::ARCH.to_owned())
}

/// Bytes of the last cache of the first processor, as Linux tells them.
pub fn last_cache() -> Option<usize> {
    (0..5).rev().find_map(|index| {
        let file = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
        let kilobytes = fs::read_to_string(file).ok()?;
        let kilobytes: usize = kilobytes.trim().strip_suffix('K')?.parse().ok()?;
        Some(kilobytes << 10)
    })
}
