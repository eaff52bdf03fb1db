//! `xent explain`: which kernel a GPU takes for rows of which length, and why. Nothing is computed, and no
//! GPU is needed.

use std::ops::RangeInclusive;

use comfy_table::{CellAlignment, Table, presets};
use xent::cuda::choice::Choice;
use xent::cuda::driver::Driver;
use xent::cuda::selection::{self, Gpu};
use xent::cuda::target::Capability;
use xent::{DType, Problem};

use super::Status;
use super::bench::cell::{Cell, Mode, Setting};
use super::values::{count, dtype};

#[derive(clap::Args)]
pub struct Arguments {
    /// The GPU, as its compute capability and multiprocessors [default: that of this machine, else 9.0:132]
    #[arg(long, value_name = "CAPABILITY:COUNT", value_parser = gpu)]
    gpu: Option<Gpu>,

    /// Types of logits and gradient: f32, f16, bf16
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',', value_parser = dtype, default_value = "f32,f16,bf16")]
    types: Vec<DType>,

    /// Numbers of classes [default: all that there can be, in ranges]
    #[arg(long, value_name = "CLASSES,...", value_delimiter = ',', value_parser = count)]
    classes: Vec<usize>,

    /// The rows that a run is expected to have [default: many]
    #[arg(long, value_name = "ROWS", value_parser = count)]
    rows: Option<usize>,

    /// Bytes that all rows are aligned to, a power of 2
    #[arg(long, value_name = "BYTES", default_value_t = 1)]
    alignment: usize,

    /// In how many runs; of separate, the gradient from statistics
    #[arg(long, value_name = "MODE,...", value_delimiter = ',', default_value = "fused")]
    modes: Vec<Mode>,

    /// Options of the loss, one at a time
    #[arg(long, value_name = "OPTION,...", value_delimiter = ',', default_value = "none")]
    options: Vec<Setting>,
}

/// An H200.
const DEFAULT: Gpu = Gpu { capability: Capability::new(9, 0), multiprocessors: 132 };

fn gpu(text: &str) -> Result<Gpu, String> {
    let parsed = || {
        let (capability, multiprocessors) = text.split_once(':')?;
        let (major, minor) = capability.split_once('.')?;
        let capability = Capability::new(major.parse().ok()?, minor.parse().ok()?);
        let multiprocessors = multiprocessors.parse().ok().filter(|&count| count > 0)?;
        Some(Gpu { capability, multiprocessors })
    };
    parsed()
        .ok_or_else(|| "expected a capability and a number of multiprocessors, as 9.0:132".into())
}

pub fn explain(arguments: &Arguments) -> Status {
    let of_machine = || Driver::get().and_then(|driver| driver.gpu(0)).ok();
    let gpu = arguments.gpu.or_else(of_machine).unwrap_or(DEFAULT);
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["type", "mode", "option", "classes", "a row is", "kernel"]);
    for &setting in &arguments.options {
        for &mode in &arguments.modes {
            for &dtype in &arguments.types {
                let asked = Asked { arguments, gpu, dtype, mode, setting };
                if let Err(error) = asked.problem(1).validate() {
                    eprintln!("error: {error}");
                    return Status::Usage;
                }
                asked.rows().into_iter().for_each(|row| {
                    table.add_row(row);
                });
            }
        }
    }
    let Gpu { capability, multiprocessors } = gpu;
    println!(
        "Compute capability {capability}, {multiprocessors} multiprocessors; vectors are of 16 bytes\n"
    );
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Status::Good
}

/// What a choice is asked for, but for the number of classes.
struct Asked<'a> {
    arguments: &'a Arguments,
    gpu: Gpu,
    dtype: DType,
    mode: Mode,
    setting: Setting,
}

impl Asked<'_> {
    fn problem(&self, classes: usize) -> Problem {
        let Asked { arguments, dtype, setting, .. } = *self;
        let cell = Cell { dtype, classes, rows: arguments.rows.unwrap_or(0), setting };
        cell.problem(self.mode).alignment(arguments.alignment)
    }

    fn choice(&self, classes: usize) -> Choice {
        selection::rows(&self.problem(classes), self.mode == Mode::Separate, self.gpu)
    }

    /// The rows of the table.
    fn rows(&self) -> Vec<[String; 6]> {
        let choices = match &self.arguments.classes[..] {
            [] => ranges(|classes| self.choice(classes)),
            some => some.iter().map(|&classes| (classes..=classes, self.choice(classes))).collect(),
        };
        let row = |(classes, choice): (RangeInclusive<usize>, Choice)| {
            let classes = match (*classes.start(), *classes.end()) {
                (first, Problem::MAX_CLASSES) => format!("from {first}"),
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first} to {last}"),
            };
            let kernel = choice.variant.expression.replace("xent::", "");
            let (mode, setting) = (self.mode.to_string(), self.setting.to_string());
            [self.dtype.to_string(), mode, setting, classes, choice.reason.to_string(), kernel]
        };
        choices.into_iter().map(row).collect()
    }
}

/// All numbers of classes, by what is chosen for them. As rows grow, no choice comes back.
fn ranges(choice: impl Fn(usize) -> Choice) -> Vec<(RangeInclusive<usize>, Choice)> {
    let (mut ranges, mut first) = (Vec::new(), 1);
    while first <= Problem::MAX_CLASSES {
        let chosen = choice(first);
        let (mut last, mut beyond) = (first, Problem::MAX_CLASSES + 1);
        while beyond - last > 1 {
            let middle = last + (beyond - last) / 2;
            if choice(middle) == chosen { last = middle } else { beyond = middle }
        }
        ranges.push((first..=last, chosen));
        first = beyond;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;

    #[derive(Parser)]
    struct Explain {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn ranges_are_what_is_chosen_for_each_number_of_classes() {
        for options in [&["--rows", "8"][..], &["--alignment", "128"]] {
            let arguments = Explain::parse_from([&["explain"], options].concat()).arguments;
            for (gpu, dtype) in
                [("9.0:132", DType::BF16), ("9.0:132", DType::F32), ("7.5:40", DType::F16)]
            {
                for (mode, setting) in [
                    (Mode::Fused, Setting::None),
                    (Mode::Forward, Setting::None),
                    (Mode::Separate, Setting::Probabilities),
                ] {
                    let gpu = super::gpu(gpu).unwrap();
                    let asked = Asked { arguments: &arguments, gpu, dtype, mode, setting };
                    let ranges = ranges(|classes| asked.choice(classes));
                    assert!(ranges.len() > 4);
                    let mut next = 1;
                    for (range, chosen) in &ranges {
                        assert_eq!(*range.start(), next);
                        next = range.end() + 1;
                        for classes in range.clone().take(1000).chain([*range.end()]) {
                            assert_eq!(asked.choice(classes), *chosen, "{classes}");
                        }
                    }
                    assert_eq!(next, Problem::MAX_CLASSES + 1);
                }
            }
        }
    }

    #[test]
    fn every_option_and_mode_is_explained() {
        let arguments = Explain::parse_from(["explain", "--classes", "10,50257"]).arguments;
        for &mode in Mode::value_variants() {
            for &setting in Setting::value_variants() {
                let asked =
                    Asked { arguments: &arguments, gpu: DEFAULT, dtype: DType::F16, mode, setting };
                assert!(asked.problem(1).validate().is_ok());
                for row in asked.rows() {
                    assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
                }
            }
        }
    }
}
