//! The bridge a match crosses: from the C library into a Rust closure.
//!
//! Enters: one C call that may report matches. Leaves: whether it ran to the
//! end. Never lets a panic unwind through C frames.

use std::any::Any;
use std::ffi::{c_int, c_uint, c_ulonglong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::error::ScanError;
use crate::raw::{self, hs};

/// What the callback wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Report nothing more. A stream stays stopped until it is reset.
    Stop,
}

/// How a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// All bytes were looked at.
    Done,
    /// The callback stopped the scan: the rest was not looked at.
    Stopped,
}

/// One match as the library reports it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) id: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// State shared with the trampoline for the length of one C call.
struct Relay<F> {
    on_match: F,
    stopped: bool,
    panic: Option<Box<dyn Any + Send>>,
}

/// Runs `call` with a C callback and its context that forward to `on_match`.
///
/// `call` must pass both on to one library function and return its code.
pub(crate) fn run<F>(
    on_match: F,
    call: impl FnOnce(hs::match_event_handler, *mut c_void) -> c_int,
) -> Result<Outcome, ScanError>
where
    F: FnMut(Report) -> Flow,
{
    let mut relay = Relay {
        on_match,
        stopped: false,
        panic: None,
    };
    let code = call(Some(trampoline::<F>), (&raw mut relay).cast());
    if let Some(payload) = relay.panic {
        resume_unwind(payload);
    }
    match code {
        hs::HS_SCAN_TERMINATED => Ok(Outcome::Stopped),
        code => raw::check(code).map(|()| {
            if relay.stopped {
                Outcome::Stopped
            } else {
                Outcome::Done
            }
        }),
    }
}

/// What the library calls for each match; anything but 0 ends the scan.
///
/// # Safety
/// `context` must point to a live `Relay<F>` that nothing else is using.
unsafe extern "C" fn trampoline<F>(
    id: c_uint,
    from: c_ulonglong,
    to: c_ulonglong,
    _flags: c_uint,
    context: *mut c_void,
) -> c_int
where
    F: FnMut(Report) -> Flow,
{
    // SAFETY: `run` passes a pointer to its own `Relay<F>` and does not touch
    // it until the C call is over; the library calls back from this thread only.
    let relay = unsafe { &mut *context.cast::<Relay<F>>() };
    if relay.stopped {
        return 1;
    }
    let report = Report {
        id,
        start: from,
        end: to,
    };
    // The closure is not used again after a panic: the relay is stopped.
    let flow = catch_unwind(AssertUnwindSafe(|| (relay.on_match)(report)));
    relay.stopped = match flow {
        Ok(Flow::Continue) => false,
        Ok(Flow::Stop) => true,
        Err(payload) => {
            relay.panic = Some(payload);
            true
        }
    };
    c_int::from(relay.stopped)
}
