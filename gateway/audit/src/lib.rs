//! Audit: record, chain, sign, write, verify.
//!
//! Decisions enter as [`Entry`] values; one JSON line each leaves, into a file that only grows. Each
//! line holds the hash of the one before and its own, and each group of lines written together ends
//! with an Ed25519 signature, so that [`verify`](verify()) finds any byte that was changed, and any
//! line that was taken out, doubled or moved. Nothing here decides anything, and nothing here ever
//! sees unredacted text: the caller redacts before it appends.
//!
//! [`Log::append`] never waits. A log that cannot write says so from then on and never tries again;
//! the gateway then denies everything (no record, no action).
//!
//! What the chain cannot show on its own: that the end of the newest file was cut off at a record's
//! border. The report says how a file ends (closed, or not); keeping [`Closed::hash`] elsewhere, or
//! the next file in the directory, which names the end of the one before, closes that gap.
//!
//! ```
//! use mcpf_audit::{Ending, Entry, Location, Log, Settings, SigningKey, Start, verify};
//! use mcpf_model::{Direction, Verdict};
//! use std::time::SystemTime;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let state = std::env::temp_dir().join(format!("audit-example-{}", std::process::id()));
//! let key = SigningKey::load_or_create(&state)?;
//! let trusted = [key.public()];
//! let settings = Settings::new(Location::Directory(state.join("audit")));
//! let start = Start::new(SystemTime::now(), "example 1.0");
//! let (log, _recovery) = Log::open(&settings, key, &start, Box::new(|| {}))?;
//!
//! let entry = Entry::new(SystemTime::now(), Direction::Inbound, "s1".into(), "cursor".into(), Verdict::Allow);
//! let ticket = log.append(entry)?;
//! while !log.is_recorded(ticket) {
//!     std::thread::yield_now(); // a gateway waits for the hook instead, then forwards the message
//! }
//! log.close()?;
//!
//! let report = verify(&state.join("audit"), &trusted)?;
//! assert_eq!((report.decisions(), report.files[0].ending), (1, Ending::Closed));
//! # std::fs::remove_dir_all(&state)?;
//! # Ok(())
//! # }
//! ```

mod bytes;
mod chain;
mod encode;
mod files;
mod json;
mod key;
mod line;
mod log;
mod open;
mod queue;
mod record;
mod recover;
mod report;
mod settings;
mod tail;
#[cfg(test)]
mod testing;
mod time;
mod verify;
mod walk;
mod writer;

pub use files::FileError;
pub use key::{KEY_FILE, KeyError, PUBLIC_KEY_FILE, PublicKey, SigningKey};
pub use log::{Hook, Log, Ticket};
pub use open::{EXTENSION, OpenError};
pub use queue::AppendError;
pub use record::{
    Arguments, Entry, Event, FindingRecord, MAX_ARGUMENTS, MAX_FINDINGS, MAX_LABEL, MAX_LABELS,
    MAX_LINE, MAX_NAME, MAX_URI, ResultSummary,
};
pub use recover::RecoverError;
pub use report::{BadRecord, Ending, Fault, FileReport, Report, Stamp, Verdicts, VerifyError};
pub use settings::{Continues, Durability, Location, Recovery, Settings, Sign, Start};
pub use tail::{TailError, TailOptions, human, tail};
pub use time::timestamp;
pub use verify::{verify, verify_reader};
pub use writer::{Closed, Failure};
