//! Opening a log: a new file, or taking up one that was left.
//!
//! Settings and a key enter; an open [`Log`] leaves, whose file already begins (or goes on) with a
//! signed `start` record. One process writes one file: it is locked for as long as it is open.

use crate::chain::Chain;
use crate::encode::{self, Place};
use crate::files::{self, Create, FileError, system};
use crate::log::{Hook, Log};
use crate::queue::Queue;
use crate::recover::{Ending, RecoverError, ending};
use crate::settings::{Continues, Location, Recovery, Settings, Start};
use crate::time::Utc;
use crate::writer::{Failure, Sink, Writer, sync, write_all};
use crate::{PublicKey, SigningKey};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Ending of log file names in a directory.
pub const EXTENSION: &str = "jsonl";
/// Most earlier files looked at to find the one to continue.
const MAX_LOOKED_AT: usize = 64;
/// Most names tried for a new file.
const MAX_NAMES: u32 = 1_000;

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
    pub fn open(
        settings: &Settings,
        key: SigningKey,
        start: &Start,
        hook: Hook,
    ) -> Result<(Self, Recovery), OpenError> {
        let found = match &settings.location {
            Location::File(path) => take_up(path, &key.public())?,
            Location::Directory(path) => begin(path, start.time)?,
        };
        let Found {
            mut file,
            path,
            ending,
            recovery,
        } = found;
        let next = match &ending.last {
            Some(last) => Place {
                seq: last.seq + 1,
                group: last.group + 1,
            },
            None => Place { seq: 0, group: 0 },
        };
        let head = recovery
            .continues
            .as_ref()
            .map_or(ending.head(), |continues| continues.hash);
        let public = key.public();
        let mut chain = Chain::new(key, settings.sign, next, head);
        let mut buffer = Vec::with_capacity(4096);
        chain.push(&mut buffer, |out, place| {
            let how = (&public, settings.durability, settings.sign);
            encode::start(out, place, start, how, recovery.continues.as_ref());
        });
        if recovery.crashed {
            let (unsigned, torn) = (recovery.unsigned, ending.torn.as_ref());
            chain.push(&mut buffer, |out, place| {
                encode::recovery(out, place, start.time, unsigned, torn);
            });
        }
        chain.seal(&mut buffer);
        check_space(&mut file, settings.reserve)?;
        write_all(&mut file, &buffer)?;
        sync(&mut file)?;
        files::sync_dir(files::parent(&path))?;
        let queue = Queue::new(
            settings.queue_records,
            settings.queue_bytes.bytes(),
            chain.next_seq(),
        );
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
            unsigned: None,
            failed: None,
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
        rustix::fs::ftruncate(&file, ending.end)
            .map_err(|error| system("truncate", path)(error.into()))?;
    }
    let recovery = Recovery {
        resumed,
        crashed: ending.torn.is_some() || ending.last.as_ref().is_some_and(|last| !last.stop),
        unsigned: ending.last.as_ref().map_or(0, |last| last.unsigned),
        torn_bytes: ending.torn.as_ref().map_or(0, |torn| torn.bytes),
        continues: None,
        damaged: None,
    };
    Ok(Found {
        file,
        path: path.to_owned(),
        ending,
        recovery,
    })
}

/// Makes this run's file in the directory `dir`.
fn begin(dir: &Path, now: SystemTime) -> Result<Found, OpenError> {
    files::private_dir(dir)?;
    let mut recovery = predecessor(dir)?;
    recovery.resumed = false;
    let stem = format!("{}-{}", Utc::of(now).file_name(), std::process::id());
    for count in 0..MAX_NAMES {
        let name = if count == 0 {
            format!("{stem}.{EXTENSION}")
        } else {
            format!("{stem}-{count}.{EXTENSION}")
        };
        let path = dir.join(name);
        let file = match files::open_log(&path, Create::New) {
            Err(FileError::System { source, .. })
                if source.kind() == std::io::ErrorKind::AlreadyExists =>
            {
                continue;
            }
            other => other?,
        };
        lock(&file, &path)?;
        let ending = Ending {
            end: 0,
            torn: None,
            last: None,
        };
        return Ok(Found {
            file,
            path,
            ending,
            recovery,
        });
    }
    Err(OpenError::Locked(dir.to_owned()))
}

/// The newest file in `dir` that nobody writes and that holds a record.
fn predecessor(dir: &Path) -> Result<Recovery, OpenError> {
    let mut recovery = Recovery::default();
    let names = log_files(dir)?;
    for path in names.iter().rev().take(MAX_LOOKED_AT) {
        let Ok(file) = files::open_log(path, Create::No) else {
            continue;
        };
        // Shared, so that gateways starting together do not hide the file from each other.
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
            continue;
        }
        match ending(&file, path, &[]) {
            Ok(Ending {
                last: Some(last), ..
            }) => {
                let file = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                recovery.continues = Some(Continues {
                    file,
                    seq: last.seq,
                    hash: last.hash,
                });
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
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == EXTENSION)
        {
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
    let free = file
        .free()
        .map_err(|error| Failure::Write(error.to_string()))?;
    if free < reserve {
        Err(Failure::Space { free, reserve })
    } else {
        Ok(())
    }
}
