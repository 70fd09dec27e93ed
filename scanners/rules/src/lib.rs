//! Detection rules: YAML enters, checked rules and the diagnostics about them leave.
//!
//! [`parse`] reads one file into [`Rule`]s with every name resolved; [`lint`] reads the patterns
//! and refuses what would be slow, dead, or read differently by the two engines. Nothing is
//! matched here.

mod diagnostic;
mod lint;
mod load;
mod pattern;
mod raw;
mod rule;

pub use diagnostic::{At, Code, Diagnostic, Place};
pub use lint::lint;
pub use load::{MAX_FILE, load_dir, load_file, parse};
pub use rule::{Anchor, Pattern, Rule, Source, Validator};
