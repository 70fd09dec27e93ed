//! The corridor: every message, both directions, stage by stage.
//!
//! Enter: a frame, the direction it travels in, the session it belongs to, and the time. Leave: an
//! [`Inspection`]: the message released, an answer in its stead, or a question for a person, and
//! what the audit is to record. Never: sockets, files, clocks, or an `await`.
//!
//! ```text
//! frame -> Message -> Admitted -> Scanned -> Permitted -> Released
//!          wire       admit      detect     permit       release
//! ```
//!
//! Each station takes the previous one's type by value, so a skipped station does not compile.

mod admit;
mod arguments;
mod buckets;
mod chain;
mod content;
mod corridor;
mod detect;
mod egress;
mod generation;
mod method;
mod outcome;
mod permit;
mod quarantine;
mod refuse;
mod release;
mod session;
mod stages;
mod walk;

pub use buckets::{Buckets, Gcra, Nanos, OverRate, Rate, Scope};
pub use content::check_content;
pub use corridor::inspect;
pub use generation::{Context, Generation, KillSwitch, Scratch, Shared};
pub use mcpf_scan::ScanError;
pub use method::Method;
pub use outcome::{
    Answer, AnsweredCall, Blocked, Facts, Held, Inspection, Outcome, Question, Released,
};
pub use refuse::refuse;
pub use session::{Awaited, InFlight, Memory, Pending, Session};
pub use stages::{INBOUND, OUTBOUND};
