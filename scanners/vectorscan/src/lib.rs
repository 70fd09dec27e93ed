//! Safe layer over Vectorscan, the multi-pattern matcher every scan starts with.
//!
//! What enters: patterns (or plain literals) at load time, bytes at run time.
//! What leaves: an immutable [`Database`], and for each scan the pattern ids
//! with the offsets where matches end. What it never does: interpret a match,
//! confirm a span, or decide anything — a report is a *candidate* for the
//! confirm pass in `mcpf-scan`.
//!
//! This is the only crate of the workspace with `unsafe` code. The rules that
//! keep its surface safe:
//!
//! * a [`Scratch`] is used through `&mut`, so the C library never sees one
//!   twice at a time; it remembers which databases it was sized for, and a
//!   scan with any other database is refused (the C check for that is partial);
//! * a panic in a match callback is caught, the scan ends, and the panic goes
//!   on once the C frames are gone;
//! * a [`StreamScanner`] holds its database, so stream state never outlives it;
//! * UTF-8 mode is not offered: on bytes that are not UTF-8 it is undefined
//!   behaviour in the C library;
//! * serialised databases are read back only by [`cache`], from files that
//!   the user owns and that carry their own digest.
//!
//! The library was chosen, and the compile target pinned, by differential
//! testing: builds exist that miss matches. [`self_test()`] looks for such a
//! build at start-up.
#![expect(
    unsafe_code,
    reason = "the crate wraps a C library; no other crate of the workspace may contain unsafe code"
)]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod cache;
mod compile;
mod database;
#[cfg(feature = "differential")]
pub mod differential;
mod error;
mod pattern;
mod raw;
mod relay;
mod scratch;
pub mod self_test;
mod stream;
mod target;

pub use cache::{Loaded, Origin, load_or_compile, load_or_compile_literals};
pub use compile::{ExprInfo, compile, compile_literals, info};
pub use database::Database;
pub use error::{CompileError, ScanError};
pub use pattern::{Ext, Flags, Literal, Mode, Pattern};
pub use relay::{Flow, Outcome};
pub use scratch::Scratch;
pub use self_test::{SelfTestError, self_test};
pub use stream::StreamScanner;
pub use target::{target, version};
