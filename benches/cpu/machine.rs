//! What results depend on beside the code.

use std::process::Command;
use std::time::SystemTime;

use crate::cli::Cli;

pub fn print(cli: &Cli) {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let date = humantime::format_rfc3339_seconds(SystemTime::now());
    println!("cargo bench --bench cpu -- {}", arguments.join(" "));
    println!("xent {}, {date}, {}", env!("CARGO_PKG_VERSION"), output("rustc", &["--version"]));
    // Of Linux, and of macOS.
    let processor = output("lscpu", &[]);
    let wanted = ["Model name:", "CPU(s):", "L1d cache:", "L2 cache:", "L3 cache:"];
    let lines = processor.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let lines = words.collect::<Vec<_>>().join("; ");
    println!("{lines}{}", output("sysctl", &["-n", "machdep.cpu.brand_string"]));
    println!("vectors: {}; XENT_CPU={}", vectors(), std::env::var("XENT_CPU").unwrap_or_default());
    // Of Linux: near 0 where nothing else runs.
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        println!("load before: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
    }
    println!("medians of {} rounds, all works of a row in turn", cli.rounds());
}

/// What a program says, if there is such a program and it has something to say.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let said = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    String::from_utf8_lossy(&said.unwrap_or_default()).trim().to_owned()
}

/// The vector extensions of the processor, as far as they matter here.
fn vectors() -> String {
    macro_rules! detected {
        ($detect:ident: $($name:tt),*) => {
            [$(($name, std::arch::$detect!($name))),*]
        };
    }
    #[cfg(target_arch = "x86_64")]
    let known = detected!(is_x86_feature_detected: "avx2", "fma", "f16c", "avx512f", "avx512bw");
    #[cfg(target_arch = "aarch64")]
    let known = detected!(is_aarch64_feature_detected: "neon", "fp16", "bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let known: [(&str, bool); 0] = [];
    known.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}
