//! End to end: the built program between real and fake peers, and its relay under random traffic.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail loudly, and says on standard error what it could not run"
)]

mod conformance;
mod deny;
mod differential;
mod durability;
mod process;
mod proxy;
mod regressions;
mod relay;
mod sdk;
mod shipped;
mod support;
