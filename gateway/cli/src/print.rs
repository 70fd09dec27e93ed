//! What a person reads on the terminal: errors, colour, and lines on standard output.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Writes a line to standard output. A reader that has gone is an error for the caller to pass on.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Writes a line to standard error, whose reader may be gone.
pub(crate) fn note(text: &str) {
    let _unread = writeln!(io::stderr().lock(), "{text}");
}

/// Reports why a command could not complete.
pub(crate) fn error(error: &anyhow::Error) {
    if error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    {
        return;
    }
    note(&format!("mcp-firewall: {error:#}"));
}

/// Several diagnostics as one error.
pub(crate) fn joined(all: Vec<impl Display>) -> anyhow::Error {
    let text: Vec<String> = all.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", text.join("\n"))
}

/// Whether standard output wants colour: a terminal, and `NO_COLOR` not set (no-color.org).
pub(crate) fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `text` in an ANSI colour, when colour is wanted.
pub(crate) fn paint(text: &str, code: u8, colour: bool) -> String {
    if colour {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

pub(crate) const RED: u8 = 31;
pub(crate) const GREEN: u8 = 32;
pub(crate) const YELLOW: u8 = 33;
pub(crate) const BOLD: u8 = 1;
pub(crate) const DIM: u8 = 2;
