//! The CUDA kernels compile for every architecture, without spills but those listed here, and with
//! loads and stores of 16 bytes.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;
mod gpu;

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::process::{Command, Stdio};
use std::time::Instant;

use gpu::cover::{self, Covered};

/// Architectures by the major version of NVRTC that compiles for them.
const ARCHS: [(u32, &[u32]); 2] = [(12, &[70, 75]), (13, &[75, 80, 86, 89, 90, 100, 103, 120])];
/// For which each kernel is compiled.
const ALWAYS: u32 = 90;
/// Of the others, each kernel in turn is compiled for one in so many; with `XENT_EXTENDED` for all.
const TURNS: usize = 3;

/// Says in which process of how many a part of the compilations is to be done.
const SHARE: &str = "XENT_TEST_SHARE";

/// Compiles in as many processes as there are processors, into the cache: NVRTC compiles one program
/// at a time in each.
#[test]
fn in_a_process_of_its_own() {
    let Some(share) = std::env::var(SHARE).ok() else { return };
    let (number, count) = share.split_once('/').unwrap();
    let (number, count): (usize, usize) = (number.parse().unwrap(), count.parse().unwrap());
    let all = cover::all().into_iter().enumerate();
    for (turn, Covered { variant, archs, .. }) in all.skip(number).step_by(count) {
        for (major, arch) in targets(turn, &archs) {
            if let Some(nvrtc) = gpu::nvrtc(major) {
                gpu::build(nvrtc, &variant, arch, true);
            }
        }
    }
}

fn compile_in_processes() {
    let count = std::thread::available_parallelism().map_or(1, |count| count.get());
    let child = |number| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "in_a_process_of_its_own"])
            .env(SHARE, format!("{number}/{count}"));
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    let children: Vec<_> = (0..count).map(child).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

fn all_targets() -> impl Iterator<Item = (u32, u32)> {
    ARCHS.iter().flat_map(|(major, archs)| archs.iter().map(|&arch| (*major, arch)))
}

/// What the kernel with this number is compiled for, of the architectures that it can have.
fn targets(turn: usize, archs: &RangeInclusive<u32>) -> impl Iterator<Item = (u32, u32)> {
    let extended = std::env::var_os("XENT_EXTENDED").is_some();
    all_targets().enumerate().filter_map(move |(number, target)| {
        let has_turn = extended || target.1 == ALWAYS || (turn + number).is_multiple_of(TURNS);
        (has_turn && archs.contains(&target.1)).then_some(target)
    })
}

/// What may spill: how the kernel's name begins, the architecture, and bytes at most of frame, stores
/// and loads together. A register or two on the oldest GPUs, where a limit that avoids them would
/// cost a CTA of four; and frames that are made and not used.
const SPILLS: &[(&str, u32, u32)] = &[
    ("block<float, float, classes, 0", 70, 16),
    ("block<bfloat, bfloat, classes, 0, 128, 4>", 70, 24),
    ("block<half, half, classes, 0, 128, 4>", 70, 24),
    ("block<bfloat, bfloat, classes, 32, 128, 6>", 80, 24),
    ("cluster<", 90, 16),
];

#[test]
fn every_architecture_compiles_without_spills() {
    if gpu::any_nvrtc().is_none() {
        return;
    }
    let start = Instant::now();
    compile_in_processes();
    let mut table = format!("{:46} registers (*: spills) on", "");
    all_targets().for_each(|(_, arch)| write!(table, " {arch:>5}").unwrap());
    table.push_str("   shared  loads and stores of 16 bytes");
    let (mut faults, mut count) = (String::new(), 0);
    for (turn, Covered { name, variant, archs }) in cover::all().into_iter().enumerate() {
        let (_, short) = variant.expression.split_once("::").unwrap();
        let short = short.replace("xent::", "");
        write!(table, "\n{name}\n    {short:66}").unwrap();
        let (mut ptx, mut shared) = (String::new(), 0);
        for (major, arch) in all_targets() {
            let has_turn = targets(turn, &archs).any(|target| target == (major, arch));
            let Some(nvrtc) = gpu::nvrtc(major).filter(|_| has_turn) else {
                table.push_str("     -");
                continue;
            };
            let kernel = gpu::build(nvrtc, &variant, arch, true);
            let resources = kernel.resources.expect("machine code has a report");
            let spilled = resources.spill_stores + resources.spill_loads + resources.stack;
            let mark = if spilled == 0 { ' ' } else { '*' };
            write!(table, " {:>4}{mark}", resources.registers).unwrap();
            let listed =
                |&&(part, on, _): &&(&str, u32, u32)| arch == on && short.starts_with(part);
            let allowed = SPILLS.iter().find(listed).map_or(0, |listed| listed.2);
            if spilled > allowed {
                writeln!(faults, "{name}, {short}, sm_{arch}: {resources:?}").unwrap();
            }
            if resources.registers * variant.threads > 65_536 {
                writeln!(faults, "{name}, {short}, sm_{arch}: no SM has so many registers")
                    .unwrap();
            }
            (ptx, shared) = (kernel.ptx, resources.shared);
            count += 1;
        }
        let lines = |start: &str, part: &str| {
            let lines = ptx.lines().map(|line| line.trim_start());
            lines.filter(|line| line.contains(start) && line.contains(part)).count()
        };
        let (loads, stores) = (lines("ld.global", ".v4."), lines("st.global", ".v4."));
        write!(table, "   {shared:>6}  {loads:>4} {stores:>4}").unwrap();
        if lines("ld.local", "") + lines("st.local", "") != 0 {
            writeln!(faults, "{name}, {short}: local memory").unwrap();
        }
    }
    println!("{table}\n{count} compilations in {:.1?}", start.elapsed());
    assert!(faults.is_empty(), "{faults}");
}
