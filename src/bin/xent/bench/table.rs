//! A report as a table to read.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use super::report::{Kind, Measured, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.command)?;
        let versions: Vec<String> =
            self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        writeln!(f, "{}, {}", self.created, versions.join(", "))?;
        let machine = &self.machine;
        writeln!(
            f,
            "{} on {}, {} processors",
            machine.system, machine.processor, machine.processors
        )?;
        writeln!(f, "{}", self.of_device())?;
        let protocol = &self.protocol;
        let quick = if protocol.quick { "; quick: nothing to quote" } else { "" };
        writeln!(f, "medians of {} rounds, seed {}{quick}\n", protocol.rounds, protocol.seed)?;
        writeln!(f, "{}", table(&self.results))?;
        for result in &self.results {
            if let Some(wrong) = &result.wrong {
                let Measured { contender, dtype, rows, classes, mode, option, .. } = result;
                let cell = format!("{dtype}, {rows} x {classes}, {mode}, option {option}");
                writeln!(f, "WRONG: {contender}, {cell}: {wrong}")?;
            }
        }
        for missing in &self.missing {
            writeln!(f, "missing: {}: {}", missing.contender, missing.reason)?;
        }
        Ok(())
    }
}

impl Report {
    fn of_device(&self) -> String {
        let device = &self.device;
        let mut words = vec![match device.kind {
            Kind::Cpu => format!("on {} threads of the CPU", device.threads.unwrap_or(1)),
            Kind::Cuda => format!("on the GPU {}", device.name),
        }];
        words.extend(device.compute_capability.as_ref().map(|x| format!("compute capability {x}")));
        words.extend(device.multiprocessors.map(|x| format!("{x} multiprocessors")));
        words.extend(device.memory_bytes.map(|x| format!("{:.0} GB", x as f64 / 1e9)));
        words.extend(device.cache_bytes.map(|x| format!("last cache {:.0} MiB", mebibytes(x))));
        words.extend(device.clocks_mhz.as_ref().map(|clocks| {
            let (sm, memory) = ((clocks.sm, clocks.sm_max), (clocks.memory, clocks.memory_max));
            format!("clocks {} of {} MHz, memory {} of {} MHz", sm.0, sm.1, memory.0, memory.1)
        }));
        words.join(", ")
    }
}

fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn table(results: &[Measured]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "type",
        "classes",
        "rows",
        "mode",
        "option",
        "ms",
        "GB/s",
        "of copy",
        "host us",
        "plan ms: cold",
        "cached",
        "ulp: loss",
        "gradient",
        "by",
        "kernel",
    ]);
    let dash = || "-".to_owned();
    for result in results {
        let ms = |seconds: f64| format!("{:.3}", 1e3 * seconds);
        let plan = |of: fn(&super::report::PlanSeconds) -> f64| {
            result.plan_seconds.as_ref().map_or_else(dash, |plan| format!("{:.2}", 1e3 * of(plan)))
        };
        let ulp = |x: f64| format!("{x:.2}");
        table.add_row([
            result.dtype.clone(),
            result.classes.to_string(),
            result.rows.to_string(),
            result.mode.to_string(),
            result.option.clone(),
            result.seconds.map_or("WRONG".into(), |seconds| ms(seconds.median)),
            result.gb_per_s.map_or_else(dash, |speed| format!("{speed:.1}")),
            result.of_copy.map_or_else(dash, |share| format!("{:.0} %", 100.0 * share)),
            result.host_seconds.map_or_else(dash, |seconds| format!("{:.2}", 1e6 * seconds)),
            plan(|plan| plan.cold),
            plan(|plan| plan.cached),
            result.error.map_or_else(dash, |error| ulp(error.loss)),
            result.error.and_then(|error| error.gradient).map_or_else(dash, ulp),
            result.contender.clone(),
            result.kernel.clone().unwrap_or_else(dash),
        ]);
    }
    let words = ["mode", "option", "by", "kernel"];
    let is_word: Vec<bool> = (0..table.column_count())
        .map(|index| {
            let header = table.header().and_then(|row| row.cell_iter().nth(index));
            header.is_some_and(|cell| words.contains(&cell.content().as_str()))
        })
        .collect();
    for (column, is_word) in table.column_iter_mut().zip(is_word) {
        let side = if is_word { CellAlignment::Left } else { CellAlignment::Right };
        column.set_cell_alignment(side);
    }
    table
}
