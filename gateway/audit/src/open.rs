//! Opening a log: what to write, where, how surely; and taking up a file that was left.
//!
//! Settings and a key enter; an open [`Log`] leaves, whose file already begins (or goes on) with a
//! signed `start` record. One process writes one file: it is locked for as long as it is open.

use crate::chain::{Chain, Hash};
use crate::encode::{self, Place};
use crate::files::{self, Create, FileError, system};
use crate::log::{Hook, Log};
use crate::queue::Queue;
use crate::recover::{Ending, RecoverError, ending};
use crate::time::Utc;
use crate::writer::{Failure, Sink, Writer, sync, write_all};
use crate::{PublicKey, SigningKey};
use mcpf_model::{ByteSize, Mode};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Ending of log file names in a directory.
pub const EXTENSION: &str = "jsonl";
/// Most earlier files looked at to find the one to continue.
const MAX_LOOKED_AT: usize = 64;
/// Most names tried for a new file.
const MAX_NAMES: u32 = 1_000;

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
    pub const ASYNC: Self = Self::Async { interval: Duration::from_millis(50) };

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
            Self::Async { .. } => "process crash: the loss window; power loss: what the system had not written",
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
        Self { time, program: program.into(), mode: Mode::Enforce, policy: None, rules: None, server: None }
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

/// Why a log cannot be opened. Nothing is recorded then, so nothing may be let through.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or directory is unsafe or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process writes the file.
    #[error("`{}` is being written by another process; give each gateway a file of its own, or a directory", .0.display())]
    Locked(PathBuf),
    /// The file cannot be gone on with.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The first records could not be written.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// No thread could be started.
    #[error("cannot start the audit writer")]
    Thread(#[source] std::io::Error),
}

impl Log {
    /// Opens a log, recovers what a crash left, writes the `start` record durably and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`]: see its variants.
    pub fn open(settings: &Settings, key: SigningKey, start: &Start, hook: Hook) -> Result<(Self, Recovery), OpenError> {
        let found = match &settings.location {
            Location::File(path) => take_up(path, &key.public())?,
            Location::Directory(path) => begin(path, start.time)?,
        };
        let Found { mut file, path, ending, recovery } = found;
        let next = match &ending.last {
            Some(last) => Place { seq: last.seq + 1, group: last.group + 1 },
            None => Place { seq: 0, group: 0 },
        };
        let head = recovery.continues.as_ref().map_or(ending.head(), |continues| continues.hash);
        let public = key.public();
        let mut chain = Chain::new(key, settings.sign, next, head);
        let mut buffer = Vec::with_capacity(4096);
        chain.push(&mut buffer, |out, place| {
            let how = (&public, settings.durability, settings.sign);
            encode::start(out, place, start, how, recovery.continues.as_ref());
        });
        if recovery.crashed {
            let (unsigned, torn) = (recovery.unsigned, ending.torn.as_ref());
            chain.push(&mut buffer, |out, place| encode::recovery(out, place, start.time, unsigned, torn));
        }
        chain.seal(&mut buffer);
        check_space(&mut file, settings.reserve)?;
        write_all(&mut file, &buffer)?;
        sync(&mut file)?;
        files::sync_dir(files::parent(&path))?;
        let queue = Queue::new(settings.queue_records, settings.queue_bytes.bytes(), chain.next_seq());
        let writer = Writer {
            queue: Arc::new(queue),
            chain,
            sink: Box::new(file),
            durability: settings.durability,
            reserve: settings.reserve,
            hook,
            buffer,
            decisions: 0,
            since_look: 0,
        };
        let log = Self::start(writer, path).map_err(OpenError::Thread)?;
        Ok((log, recovery))
    }
}

/// A locked file, ready to be appended to.
struct Found {
    file: File,
    path: PathBuf,
    ending: Ending,
    recovery: Recovery,
}

/// Opens (or makes) the one file `path`, and cuts off what a crash left half-written.
fn take_up(path: &Path, key: &PublicKey) -> Result<Found, OpenError> {
    files::sound_parent(path)?;
    let (file, resumed) = match files::open_log(path, Create::No) {
        Err(error) if error.is_missing() => (files::open_log(path, Create::New)?, false),
        other => (other?, true),
    };
    lock(&file, path)?;
    let ending = ending(&file, path, &[*key])?;
    if ending.torn.is_some() {
        rustix::fs::ftruncate(&file, ending.end).map_err(|error| system("truncate", path)(error.into()))?;
    }
    let recovery = Recovery {
        resumed,
        crashed: ending.torn.is_some() || ending.last.as_ref().is_some_and(|last| !last.stop),
        unsigned: ending.last.as_ref().map_or(0, |last| last.unsigned),
        torn_bytes: ending.torn.as_ref().map_or(0, |torn| torn.bytes),
        continues: None,
        damaged: None,
    };
    Ok(Found { file, path: path.to_owned(), ending, recovery })
}

/// Makes this run's file in the directory `dir`.
fn begin(dir: &Path, now: SystemTime) -> Result<Found, OpenError> {
    files::private_dir(dir)?;
    let mut recovery = predecessor(dir)?;
    recovery.resumed = false;
    let stem = format!("{}-{}", Utc::of(now).file_name(), std::process::id());
    for count in 0..MAX_NAMES {
        let name = if count == 0 { format!("{stem}.{EXTENSION}") } else { format!("{stem}-{count}.{EXTENSION}") };
        let path = dir.join(name);
        let file = match files::open_log(&path, Create::New) {
            Err(FileError::System { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => continue,
            other => other?,
        };
        lock(&file, &path)?;
        let ending = Ending { end: 0, torn: None, last: None };
        return Ok(Found { file, path, ending, recovery });
    }
    Err(OpenError::Locked(dir.to_owned()))
}

/// The newest file in `dir` that nobody writes and that holds a record.
fn predecessor(dir: &Path) -> Result<Recovery, OpenError> {
    let mut recovery = Recovery::default();
    let names = log_files(dir)?;
    for path in names.iter().rev().take(MAX_LOOKED_AT) {
        let Ok(file) = files::open_log(path, Create::No) else { continue };
        // Shared, so that gateways starting together do not hide the file from each other.
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
            continue;
        }
        match ending(&file, path, &[]) {
            Ok(Ending { last: Some(last), .. }) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                recovery.continues = Some(Continues { file, seq: last.seq, hash: last.hash });
                return Ok(recovery);
            }
            Ok(_) => {}
            Err(error) => {
                recovery.damaged = Some((path.clone(), error.to_string()));
                return Ok(recovery);
            }
        }
    }
    Ok(recovery)
}

/// The log files of a directory, oldest name first.
pub(crate) fn log_files(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(system("read directory", dir))? {
        let path = entry.map_err(system("read directory", dir))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn lock(file: &File, path: &Path) -> Result<(), OpenError> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked(path.to_owned())),
        Err(error) => Err(system("lock", path)(error.into()).into()),
    }
}

fn check_space(file: &mut File, reserve: u64) -> Result<(), Failure> {
    let free = file.free().map_err(|error| Failure::Write(error.to_string()))?;
    if free < reserve { Err(Failure::Space { free, reserve }) } else { Ok(()) }
}
