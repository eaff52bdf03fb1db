//! What was wrong with targets, as runs on a GPU tell.

use crate::{Error, Result};

/// What was wrong with the targets of runs on a GPU, which cannot stop for it: rows whose target is
/// no class have a NaN loss and gradient, and are counted here until the caller clears the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many targets were no class.
    pub count: i64,
    /// The lowest row that held one.
    pub row: i64,
    /// What it held.
    pub value: i64,
}

impl Report {
    /// The size of a report in memory of a GPU: four `i64`, the last of them 0.
    pub const LEN: usize = 4;

    /// An error if a target was wrong.
    ///
    /// # Errors
    /// [`Error::InvalidTarget`] names the row and the target.
    pub fn check(&self, classes: usize) -> Result<()> {
        match self.count {
            0 => Ok(()),
            _ => Err(Error::InvalidTarget {
                row: usize::try_from(self.row).unwrap_or(0),
                value: self.value,
                classes,
            }),
        }
    }
}
