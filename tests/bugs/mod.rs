//! Faults to plant in the CUDA kernels.

mod columns;
mod registers;
mod rows;

use xent_simulator::Kind;

/// A planted fault.
pub struct Bug {
    pub name: &'static str,
    /// The kernel that is held to the suite.
    pub kernel: &'static str,
    pub from: &'static str,
    pub to: &'static str,
    /// What the interpreter finds; nothing, if what finds it is a wrong result.
    pub found: &'static [Kind],
}

const WRONG: &[Kind] = &[];

const fn bug(
    name: &'static str,
    kernel: &'static str,
    [from, to]: [&'static str; 2],
    found: &'static [Kind],
) -> Bug {
    Bug { name, kernel, from, to, found }
}

pub fn all() -> Vec<&'static Bug> {
    [rows::BUGS, registers::BUGS, columns::BUGS].into_iter().flatten().collect()
}
