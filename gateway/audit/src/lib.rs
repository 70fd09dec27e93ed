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
mod tail;
#[cfg(test)]
mod testing;
mod time;
mod verify;
mod writer;

pub use files::FileError;
pub use key::{KEY_FILE, KeyError, PUBLIC_KEY_FILE, PublicKey, SigningKey};
pub use log::{Hook, Log, Ticket};
pub use open::{Continues, Durability, EXTENSION, Location, OpenError, Recovery, Settings, Sign, Start};
pub use queue::AppendError;
pub use record::{
    Arguments, Entry, Event, FindingRecord, MAX_ARGUMENTS, MAX_FINDINGS, MAX_LABEL, MAX_LABELS, MAX_LINE, MAX_NAME,
    MAX_URI, ResultSummary,
};
pub use recover::RecoverError;
pub use report::{BadRecord, Ending, Fault, FileReport, Report, Stamp, Verdicts, VerifyError};
pub use tail::{TailError, TailOptions, human, tail};
pub use verify::{verify, verify_reader};
pub use writer::{Closed, Failure};
