//! What the library tells on stderr where `XENT_LOG` asks for it.

use std::fmt;
use std::io::Write;

/// Writes a line if `XENT_LOG` is set to something other than 0.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let wanted =
        std::env::var_os("XENT_LOG").is_some_and(|value| !value.is_empty() && value != "0");
    if wanted {
        let _ = writeln!(std::io::stderr(), "xent: {text}"); // a closed stderr is no reason to stop
    }
}
