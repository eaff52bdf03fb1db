//! The log: a line for each call, a summary at the end.

use std::fs::{File, OpenOptions};
use std::io::Write;

use crate::config::Config;

/// A file, if one was asked for.
#[derive(Debug, Default)]
pub(crate) struct Log {
    file: Option<File>,
    lines: u64,
}

impl Log {
    /// Appends to the file of the settings.
    pub fn open(config: &Config) -> Log {
        let file = config.log.as_ref().and_then(|path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.inspect_err(|error| say(&format!("{}: {error}", path.display()))).ok()
        });
        Log { file, lines: 0 }
    }

    /// Writes a line.
    pub fn line(&mut self, text: &str) {
        self.lines += 1;
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{} {text}", self.lines); // a full disk is not the caller's
        }
    }

    /// Whether anybody reads it.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }
}

/// Tells the person who runs the program.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "simulated driver: {text}"); // it may be closed
}
