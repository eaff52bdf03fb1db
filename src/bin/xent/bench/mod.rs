//! `xent bench`: how fast this machine computes, beside what its memory allows, and how exactly.

mod arguments;
mod buffers;
pub mod cell;
mod check;
mod contender;
mod device;
mod inputs;
mod machine;
mod pictures;
#[cfg(test)]
mod planted;
mod report;
mod statistics;
mod table;
mod timing;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;
use std::{env, fs, io};

use tempfile::{NamedTempFile, TempDir};
use xent::ContextOptions;

use self::arguments::Setup;
pub use self::arguments::{Arguments, DrawArguments};
use self::buffers::Buffers;
use self::check::{Check, Expected};
use self::contender::{Contender, Library};
use self::device::Machine;
use self::inputs::Inputs;
use self::report::{Measured, Report};
use self::timing::{Times, empty_call};
use super::Status;
use super::progress::progress;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub fn bench(arguments: &Arguments) -> Status {
    // Kernels are compiled anew, so that it can be said how long that takes.
    let prepare = || -> Result<_> {
        writable(&arguments.output)?;
        let cache = TempDir::new()?;
        let options = ContextOptions::default().cache_directory(cache.path());
        Ok((device::open(arguments.device, arguments.threads(), options)?, cache))
    };
    let (machine, _cache) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return usage(error),
    };
    let report = match run(machine.as_ref(), arguments) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return Status::Bad;
        }
    };
    if let Err(error) = save(&report, &arguments.output) {
        return usage(error);
    }
    // Whoever stops reading has seen enough.
    let _ = writeln!(io::stdout(), "{report}written: {}", arguments.output.display());
    match report.results.iter().all(|result| result.wrong.is_none()) {
        true => Status::Good,
        false => Status::Bad,
    }
}

/// `xent draw`: the pictures of a report that was written before, or by `benches/peers`.
pub fn draw(arguments: &DrawArguments) -> Status {
    let read = || -> Result<Report> {
        let text = fs::read_to_string(&arguments.report)?;
        let report: Report = serde_json::from_str(&text)?;
        match report.schema {
            report::SCHEMA => Ok(report),
            other => Err(format!("schema {other}; {} is known", report::SCHEMA).into()),
        }
    };
    let report = match read() {
        Ok(report) => report,
        Err(error) => return usage(format!("{}: {error}", arguments.report.display())),
    };
    match writable(&arguments.output).and_then(|()| pictures::draw(&report, &arguments.output)) {
        Ok(files) => {
            files.iter().for_each(|file| println!("written: {}", file.display()));
            Status::Good
        }
        Err(error) => usage(error),
    }
}

fn usage(error: impl Display) -> Status {
    eprintln!("error: {error}");
    Status::Usage
}

/// Makes a folder, unless there is one, and writes to it, before anything is measured.
fn writable(folder: &Path) -> Result<()> {
    let tried = fs::create_dir_all(folder).and_then(|()| NamedTempFile::new_in(folder));
    tried.map(drop).map_err(|error| format!("--output {}: {error}", folder.display()).into())
}

fn run(machine: &dyn Machine, arguments: &Arguments) -> Result<Report> {
    let created = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let mut versions: BTreeMap<String, String> = machine.versions().into_iter().collect();
    versions.insert("xent".into(), env!("CARGO_PKG_VERSION").into());
    let Setup { cells, modes, rounds } = arguments.setup(machine.describe().kind);
    let bar = progress(cells.len(), "problems");
    let mut plans = BTreeMap::new();
    let mut results = Vec::new();
    for (number, &cell) in cells.iter().enumerate() {
        let seed = arguments.seed.wrapping_add(number as u64);
        let inputs = Inputs::new(cell, seed);
        let mut libraries: Vec<Box<dyn Contender>> = Vec::new();
        let mut seconds = Vec::new();
        for &mode in &modes {
            let (library, plan) = Library::new(machine.context(), &cell, mode)?;
            // Where the kernel was compiled for another cell before, that took as long.
            seconds.push(*plans.entry(library.kernel().to_owned()).or_insert(plan));
            libraries.push(Box::new(library));
        }
        let measured = measure(machine, &inputs, libraries, rounds);
        let measured = measured.map_err(|error| format!("{cell}: {error}"))?;
        results.extend(
            measured
                .into_iter()
                .zip(seconds)
                .map(|(result, plan)| Measured { plan_seconds: Some(plan), ..result }),
        );
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Report {
        schema: report::SCHEMA,
        created,
        command: env::args().collect::<Vec<_>>().join(" "),
        machine: machine::describe(),
        device: machine.describe(),
        versions,
        protocol: report::Protocol { rounds, seed: arguments.seed, quick: arguments.quick },
        results,
        missing: vec![],
    })
}

/// Checks contenders, and times those that are right.
fn measure(
    machine: &dyn Machine,
    inputs: &Inputs,
    contenders: Vec<Box<dyn Contender + '_>>,
    rounds: usize,
) -> Result<Vec<Measured>> {
    let cell = inputs.cell;
    let buffers = Buffers::new(machine, inputs)?;
    let expected = Expected::new(inputs);
    let check = Check { machine, buffers: &buffers, expected: &expected };
    let mut results = Vec::new();
    let mut right = Vec::new();
    for mut contender in contenders {
        let verdict = check.run(contender.as_mut())?;
        let is_right = verdict.wrong.is_none();
        results.push(Measured {
            contender: "xent".into(),
            dtype: cell.dtype.to_string(),
            classes: cell.classes,
            rows: cell.rows,
            mode: contender.mode(),
            option: cell.setting.to_string(),
            kernel: Some(contender.kernel().to_owned()),
            bytes: cell.bytes(contender.mode()),
            seconds: None,
            gb_per_s: None,
            copy_gb_per_s: None,
            of_copy: None,
            host_seconds: None,
            plan_seconds: None,
            error: Some(verdict.error),
            wrong: verdict.wrong,
        });
        if is_right {
            right.push(contender);
        }
    }
    let times = Times::measure(machine, &buffers, &mut right, rounds)?;
    let timed = results.iter_mut().filter(|result| result.wrong.is_none());
    for (number, (result, contender)) in timed.zip(&mut right).enumerate() {
        let speed = times.speed(number, result.bytes);
        result.seconds = Some(speed.seconds);
        result.gb_per_s = Some(speed.gb_per_s);
        result.copy_gb_per_s = Some(speed.copy_gb_per_s);
        result.of_copy = Some(speed.of_copy);
        result.host_seconds = match speed.host_seconds {
            Some(seconds) => Some(seconds),
            None => Some(empty_call(machine, &buffers, contender.as_mut())?),
        };
    }
    Ok(results)
}

/// Writes all forms of a report, each of them whole or not at all.
fn save(report: &Report, folder: &Path) -> Result<()> {
    let write = |name: &str, text: String| {
        let unfinished = folder.join(format!(".{name}"));
        fs::write(&unfinished, text)?;
        fs::rename(unfinished, folder.join(name))
    };
    write("bench.json", serde_json::to_string_pretty(report)? + "\n")?;
    write("bench.txt", report.to_string())?;
    pictures::draw(report, folder).map(drop)
}
