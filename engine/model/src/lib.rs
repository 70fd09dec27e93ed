//! The vocabulary every room shares: which way a message travels, what was found in it,
//! what was decided and why, and how much of anything is allowed.
//!
//! Nothing enters and nothing leaves: these are plain values. This crate depends on nothing,
//! so that no room needs to import another merely to name a thing.

mod finding;
mod limits;
mod message;
mod verdict;

pub use finding::{Action, Family, Finding, RuleIx, Severity, Span, Surface, View};
pub use limits::{ByteSize, Limits};
pub use message::{Direction, MessageKind, Principal, ProtocolVersion, RequestId};
pub use verdict::{Mode, Reason, ReasonCode, Stage, Verdict};
