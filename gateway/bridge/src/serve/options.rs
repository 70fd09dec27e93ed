//! What `serve` was told.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::time::Duration;

use mcpf_model::{ByteSize, Limits};

/// Which sessions share a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Children {
    /// Each session has its own: nothing of one is ever seen in another.
    #[default]
    PerSession,
    /// All sessions share one, which must keep them apart by itself. It is told that its clients can
    /// neither sample, nor elicit, nor list roots, because it could not say whom it asks; its log
    /// messages go nowhere once there was more than one session, and what it says of changed lists and
    /// resources goes to all.
    Shared,
}

/// How [`serve`](super::serve()) runs a server and what it may take.
///
/// Requests under 2026-07-28 need no session: they share one child, whatever `children` says, beside
/// that of the sessions. A notification that does not say which of them it is about is passed on only
/// while there is one that it can be about; none that was cancelled may still be at work.
///
/// Memory is at most, for each request under way and each open stream, `queue` and twice
/// `limits.max_frame`; and for each child, `queue` and twice `limits.max_frame`.
#[derive(Clone, Debug)]
pub struct Serve {
    /// The server's program, looked for in `PATH`; never a shell.
    pub command: OsString,
    /// Its arguments, untouched.
    pub args: Vec<OsString>,
    /// Which sessions share a child.
    pub children: Children,
    /// Limits of messages, as the firewall in front has them. A longer line of a child is dropped, and
    /// its request answered with an error. `max_in_flight` holds for each child.
    pub limits: Limits,
    /// Most sessions at once. Default 64; further ones are refused with 503.
    pub max_sessions: NonZeroUsize,
    /// A session that nobody has used for so long is ended, with its child. Default 30 min. One with an
    /// open stream or a request under way is in use.
    pub session_ttl: Duration,
    /// Most bytes that wait for one reader: for one HTTP response, or for one child. Default 8 MiB.
    /// Beside these one message always fits.
    pub queue: ByteSize,
    /// How long anything may take.
    pub timeouts: ServeTimeouts,
    /// When a shared child that keeps failing is started again.
    pub restart: Restart,
}

impl Serve {
    /// Everything by default.
    #[must_use]
    pub fn new(command: OsString, args: Vec<OsString>) -> Self {
        Self {
            command,
            args,
            children: Children::default(),
            limits: Limits::default(),
            max_sessions: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN),
            session_ttl: Duration::from_secs(30 * 60),
            queue: ByteSize::mib(8),
            timeouts: ServeTimeouts::default(),
            restart: Restart::default(),
        }
    }
}

/// How long a peer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeTimeouts {
    /// For the head of a request, and between requests of a connection. Default 75 s.
    pub idle: Duration,
    /// For the body of a request. Default 30 s.
    pub body: Duration,
    /// For a child to answer `initialize`: it may have to be downloaded first. Default 2 min.
    pub start: Duration,
    /// A request whose answer takes longer is answered with a stream, and a stream that is silent for so
    /// long is told that it is still open. Default 15 s.
    pub keep_alive: Duration,
    /// For a stream to be read on, while a child of one session waits for it. Default 30 s; then the
    /// stream is cut. A shared child waits for nobody.
    pub stall: Duration,
    /// For a child to end once its input was closed. Default 2 s; then it is sent SIGTERM.
    pub grace: Duration,
    /// For a child to end after SIGTERM. Default 2 s; then its process group is sent SIGKILL.
    pub term_grace: Duration,
}

impl Default for ServeTimeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(75),
            body: Duration::from_secs(30),
            start: Duration::from_secs(120),
            keep_alive: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            grace: Duration::from_secs(2),
            term_grace: Duration::from_secs(2),
        }
    }
}

/// When a shared child that ended before it answered anything is started again. One that had answered
/// is started again at once, by the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The wait after a first failure; doubled for each further. Default 500 ms. Requests in the
    /// meantime are answered with errors.
    pub first: Duration,
    /// The longest wait. Default 30 s.
    pub longest: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
        }
    }
}
