//! How a log is to be kept, and what was found when it was opened.
//!
//! Plain values: they enter from the configuration, and leave to whoever tells the operator.

use crate::chain::Hash;
use mcpf_model::{ByteSize, Mode};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Where the records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory: each run makes a file of its own there, `<UTC time>-<pid>.jsonl`, whose chain
    /// goes on from the newest file nobody is writing.
    Directory(PathBuf),
    /// One file that each run goes on with.
    File(PathBuf),
}

/// When a record counts as recorded, and so what a crash can take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once `fdatasync(2)` has returned. Nothing recorded is lost, even to a power cut.
    #[default]
    Fsync,
    /// Once `write(2)` has returned. A crash of the gateway loses nothing recorded; a crash of the
    /// system or a power cut may lose what the kernel had not written yet.
    Flush,
    /// At once; records are written every `interval` or so. A crash of the gateway may lose that much.
    Async {
        /// Longest time a record waits in memory. Default 50 ms.
        interval: Duration,
    },
}

impl Durability {
    /// [`Durability::Async`] with the default interval.
    pub const ASYNC: Self = Self::Async {
        interval: Duration::from_millis(50),
    };

    /// The name used in configuration and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Flush => "flush",
            Self::Async { .. } => "async",
        }
    }

    /// How much a crash of the gateway may take.
    #[must_use]
    pub const fn loss_window(self) -> Duration {
        match self {
            Self::Fsync | Self::Flush => Duration::ZERO,
            Self::Async { interval } => interval,
        }
    }

    /// What can be lost, as the log itself says it.
    #[must_use]
    pub const fn loss(self) -> &'static str {
        match self {
            Self::Fsync => "process crash: nothing; power loss: nothing",
            Self::Flush => "process crash: nothing; power loss: what the system had not written",
            Self::Async { .. } => {
                "process crash: the loss window; power loss: what the system had not written"
            }
        }
    }
}

/// Which records carry a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sign {
    /// The last of each group written together. Through the chain it covers all before it.
    #[default]
    Group,
    /// Every one.
    Every,
}

impl Sign {
    /// The name used in configuration and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Every => "every",
        }
    }
}

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where.
    pub location: Location,
    /// When a record counts. Default [`Durability::Fsync`].
    pub durability: Durability,
    /// What is signed. Default [`Sign::Group`].
    pub sign: Sign,
    /// Most records waiting to be written, rounded up to a power of two. Default 8,192.
    pub queue_records: u32,
    /// Most bytes waiting to be written, which bounds the memory of the queue. Default 32 MiB.
    pub queue_bytes: ByteSize,
    /// Bytes of disk to be kept free: the log fails, and so the gateway denies, before the disk is
    /// full. Default 16 MiB; 0 turns the check off.
    pub reserve: u64,
}

impl Settings {
    /// The defaults, for a log at `location`.
    #[must_use]
    pub const fn new(location: Location) -> Self {
        Self {
            location,
            durability: Durability::Fsync,
            sign: Sign::Group,
            queue_records: 8_192,
            queue_bytes: ByteSize::mib(32),
            reserve: 16 * 1024 * 1024,
        }
    }
}

/// What the `start` record says about the run.
#[derive(Clone, Debug)]
pub struct Start {
    /// Now.
    pub time: SystemTime,
    /// Program and version.
    pub program: String,
    /// Whether refusals are enforced.
    pub mode: Mode,
    /// Revision of the policy.
    pub policy: Option<Arc<str>>,
    /// Revision of the rule set.
    pub rules: Option<Arc<str>>,
    /// The server in front of which the gateway stands, when there is one.
    pub server: Option<Arc<str>>,
}

impl Start {
    /// A start that says no more than the time and the program.
    #[must_use]
    pub fn new(time: SystemTime, program: impl Into<String>) -> Self {
        Self {
            time,
            program: program.into(),
            mode: Mode::Enforce,
            policy: None,
            rules: None,
            server: None,
        }
    }
}

/// The end of an earlier file that a new file's chain goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continues {
    /// The earlier file's name.
    pub file: String,
    /// Its last record.
    pub seq: u64,
    /// That record's hash.
    pub hash: Hash,
}

/// What was found when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the file was there before.
    pub resumed: bool,
    /// Whether the run before did not close it.
    pub crashed: bool,
    /// Whole records of that run that no signature covers.
    pub unsigned: u64,
    /// Bytes of a cut write that were taken off.
    pub torn_bytes: u64,
    /// The earlier file this one continues (in a directory).
    pub continues: Option<Continues>,
    /// An earlier file that could not be continued, and why.
    pub damaged: Option<(PathBuf, String)>,
}
