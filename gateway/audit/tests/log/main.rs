//! The log as its users see it: written, closed, crashed, tampered with, verified.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may fail loudly"
)]

mod common;
mod concurrency;
mod crash;
mod opening;
mod record;
mod speed;
mod tamper;
