//! One scan over every string of a message.
//!
//! Enters: the decoded strings of a message and where each lies in the frame. Leaves: findings
//! whose spans point into the frame, and the replacements that redact them. It never changes a
//! frame, never decides a verdict and never keeps text beyond one call.
//!
//! Vectorscan (or, for rules without a literal, a byte scanner) *finds* places; `regex-automata`
//! *confirms* them; validators decide. The finders may report too much and never too little:
//! [`Engine::scan_naive`] does the same work with `regex` alone, and the tests hold the two equal.

mod anchors;
mod build;
mod confirm;
mod destination;
mod engine;
mod find;
mod frame;
mod joined;
mod needle;
mod ordinary;
mod parallel;
mod pattern;
mod redact;
mod revision;
mod spec;
mod validate;
mod views;
mod windows;
mod words;

pub use anchors::MIN_DIGITS;
pub use build::BuildError;
pub use destination::{AddressClass, Destination, destinations};
pub use engine::{Engine, Outcome, ScanError, Scratch, Text};
pub use parallel::in_parallel;
pub use pattern::{MAX_EXTENSION, MAX_WIDTH};
pub use spec::{Anchor, PatternSpec, RuleSpec, SurfaceSet, ViewSet};
pub use validate::{UnknownValidator, Validator};
