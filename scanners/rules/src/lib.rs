//! Detection rules: YAML enters, checked rules and the diagnostics about them leave.
//!
//! [`parse`] reads one file into [`Rule`]s with every name resolved; [`lint()`] reads the patterns
//! and refuses what would be slow, dead, or have no meaning in a scan over joined texts. Nothing
//! is matched here except by [`check_examples`], which asks a built engine whether every rule
//! finds what it says it finds.

mod builtin;
mod check;
mod diagnostic;
mod examples;
mod lint;
mod load;
mod pattern;
mod raw;
mod rule;

pub use builtin::{FILES, builtin_rules, load_builtin};
pub use diagnostic::{At, Code, Diagnostic, Place};
pub use examples::{Failure, FailureKind, check_examples};
pub use lint::lint;
pub use load::{MAX_FILE, load_dir, load_file, parse};
pub use rule::{Rule, Source, specs};
