//! Tables, and in them what is aimed at beside what is measured.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

/// How far apart equal times are on a quiet machine: for goals to be no slower.
pub const NOISE: f64 = 0.02;

#[derive(Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// How many goals were met.
#[derive(Default)]
pub struct Score {
    met: usize,
    missed: usize,
}

impl Score {
    /// A cell that says what was measured, what the goal is, and whether it is met.
    pub fn judge(&mut self, value: f64, goal: Goal) -> String {
        self.judge_as(value, goal, |value| format!("{value:.2}"))
    }

    /// The same in other words.
    pub fn judge_as(&mut self, value: f64, goal: Goal, words: impl Fn(f64) -> String) -> String {
        let (met, sign, limit) = match goal {
            Goal::AtMost(limit) => (value <= limit, "<=", limit),
            Goal::AtLeast(limit) => (value >= limit, ">=", limit),
        };
        *(if met { &mut self.met } else { &mut self.missed }) += 1;
        let verdict = if met { "ok" } else { "missed" };
        format!("{} {sign} {} {verdict:6}", words(value), words(limit))
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} goals met", self.met, self.met + self.missed)
    }
}

/// A table without lines: words to the left, numbers to the right.
pub fn table(title: &str, header: &[&str]) -> Table {
    println!("\n{title}");
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

pub fn milliseconds(seconds: f64) -> String {
    format!("{:.2}", 1e3 * seconds)
}
