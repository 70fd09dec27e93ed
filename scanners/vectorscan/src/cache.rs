//! Compiled databases on disk, so that a start takes 0.1 ms instead of 0.4 s.
//!
//! Enters: what [`crate::compile()`] takes, and a directory. Leaves: a database,
//! from the directory or freshly compiled — the caller gets one either way.
//! Never trusts a file that another user could have written.
//!
//! A stored database is a program the library runs without checking it, so a
//! forged one is arbitrary code. The directory must therefore be the user's
//! own: it and each file in it must belong to the effective user, and neither
//! may be writable by group or others; whatever fails that is ignored, and the
//! database is compiled again. A digest over the payload catches damage, not
//! forgery. Checks are made on open descriptors, not on names.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Mode as FileMode, OFlags};
use sha2::{Digest, Sha256};

use crate::compile::{compile, compile_literals};
use crate::database::Database;
use crate::error::CompileError;
use crate::pattern::{Literal, Mode, Pattern};
use crate::target::{target, version};

/// Largest file read back, in bytes: 256 MiB. 10,000 patterns take 15 MiB.
pub const MAX_FILE: u64 = 256 << 20;

/// First bytes of every file; the last one is the version of the layout.
const MAGIC: &[u8; 8] = b"MCPFVS\0\x01";
const DIGEST: usize = 32;
/// Magic, key, digest of the payload; the payload follows.
const HEADER: usize = MAGIC.len() + 2 * DIGEST;

/// Where a database came from.
#[derive(Debug)]
pub enum Origin {
    /// Compiled; no directory was given.
    Compiled,
    /// Read from the directory.
    Restored,
    /// Compiled and stored.
    Stored,
    /// Compiled, but the directory cannot be used; worth a warning.
    Unstored(io::Error),
}

/// A database and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// Ready to scan.
    pub database: Database,
    /// How it was come by.
    pub origin: Origin,
}

/// The database of `patterns`, from `directory` if it is there, compiled (and
/// stored) if not. The directory is made, with mode 0700, if it is missing.
///
/// Files are named after a SHA-256 of the patterns, their ids, flags and
/// limits, the mode, the library's version and the CPU target, so a stale
/// file is never read; old files may be deleted at any time.
///
/// # Errors
/// As for [`compile`]. Trouble with the directory is no error: see [`Origin::Unstored`].
pub fn load_or_compile(
    directory: Option<&Path>,
    patterns: &[Pattern<'_>],
    mode: Mode,
) -> Result<Loaded, Vec<CompileError>> {
    let key = || {
        let mut key = Key::new(b"patterns", mode);
        for pattern in patterns {
            key.field(pattern.expression.as_bytes());
            key.number(pattern.id.into());
            key.number(pattern.flags.bits().into());
            let ext = &pattern.ext;
            let distances = [ext.edit_distance, ext.hamming_distance].map(|d| d.map(u64::from));
            let limits = [ext.min_offset, ext.max_offset, ext.min_length];
            for limit in limits.into_iter().chain(distances) {
                key.number(u64::from(limit.is_some()));
                key.number(limit.unwrap_or(0));
            }
        }
        key.finish()
    };
    load(directory, key, mode, || compile(patterns, mode))
}

/// As [`load_or_compile`], for [`compile_literals`]. What is found under another `context` is not
/// read: the caller can tell by [`Origin::Restored`] that it was here before with the same one.
///
/// # Errors
/// As for [`compile_literals`].
pub fn load_or_compile_literals(
    directory: Option<&Path>,
    literals: &[Literal<'_>],
    context: &[u8],
    mode: Mode,
) -> Result<Loaded, Vec<CompileError>> {
    let key = || {
        let mut key = Key::new(b"literals", mode);
        key.field(context);
        for literal in literals {
            key.field(literal.bytes);
            key.number(literal.id.into());
            key.number(literal.flags.bits().into());
        }
        key.finish()
    };
    load(directory, key, mode, || compile_literals(literals, mode))
}

fn load(
    directory: Option<&Path>,
    key: impl FnOnce() -> [u8; DIGEST],
    mode: Mode,
    build: impl FnOnce() -> Result<Database, Vec<CompileError>>,
) -> Result<Loaded, Vec<CompileError>> {
    let Some(path) = directory else {
        return Ok(Loaded {
            database: build()?,
            origin: Origin::Compiled,
        });
    };
    let store = match Store::open(path) {
        Ok(store) => store,
        Err(error) => {
            return Ok(Loaded {
                database: build()?,
                origin: Origin::Unstored(error),
            });
        }
    };
    let key = key();
    if let Some(database) = store.read(&key, mode) {
        return Ok(Loaded {
            database,
            origin: Origin::Restored,
        });
    }
    let database = build()?;
    let origin = match store.write(&key, &database) {
        Ok(()) => Origin::Stored,
        Err(error) => Origin::Unstored(error),
    };
    Ok(Loaded { database, origin })
}

/// Digest over everything that decides what the compiler makes.
struct Key(Sha256);

impl Key {
    fn new(kind: &[u8], mode: Mode) -> Self {
        let mut key = Self(Sha256::new());
        key.field(MAGIC);
        key.field(kind);
        key.field(version().as_bytes());
        key.field(target().as_bytes());
        key.number(mode.bits().into());
        key
    }

    /// Length first, so that fields cannot run into each other.
    fn field(&mut self, bytes: &[u8]) {
        self.number(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn finish(self) -> [u8; DIGEST] {
        self.0.finalize().into()
    }
}

/// An open directory that passed the checks.
struct Store {
    directory: OwnedFd,
}

impl Store {
    fn open(path: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, path, flags, FileMode::empty())?;
        private(&directory)?;
        Ok(Self { directory })
    }

    /// The stored database, or `None` for any reason not to use it.
    fn read(&self, key: &[u8; DIGEST], mode: Mode) -> Option<Database> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name(key), flags, FileMode::empty()).ok()?;
        private(&file).ok()?;
        let file = File::from(file);
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.len() > MAX_FILE {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()?);
        file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        let payload = payload(&bytes, key)?;
        // SAFETY: the file was written by `write`: it has its layout, key and
        // digest, and only this user can have written it there.
        let database = unsafe { Database::deserialize(payload) }.ok()?;
        (database.mode() == mode).then_some(database)
    }

    /// Writes a new file and renames it, so that a reader sees all of it or none.
    fn write(&self, key: &[u8; DIGEST], database: &Database) -> io::Result<()> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let payload = database.serialize().map_err(io::Error::other)?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{}.{}.{serial}.tmp", name(key), std::process::id());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(
            &self.directory,
            &temporary,
            flags,
            FileMode::RUSR | FileMode::WUSR,
        )?;
        let written = write_all(File::from(file), key, &payload).and_then(|()| {
            rustix::fs::renameat(&self.directory, &temporary, &self.directory, name(key))
                .map_err(io::Error::from)
        });
        if written.is_err() {
            // Best effort: the first error is the one to report.
            let _ = rustix::fs::unlinkat(&self.directory, &temporary, AtFlags::empty());
        }
        written
    }
}

fn write_all(mut file: File, key: &[u8; DIGEST], payload: &[u8]) -> io::Result<()> {
    file.write_all(MAGIC)?;
    file.write_all(key)?;
    file.write_all(&Sha256::digest(payload))?;
    file.write_all(payload)
}

/// The payload of a file that has the right layout, key and digest.
fn payload<'a>(bytes: &'a [u8], key: &[u8; DIGEST]) -> Option<&'a [u8]> {
    let (header, payload) = bytes.split_at_checked(HEADER)?;
    let rest = header.strip_prefix(MAGIC)?;
    let digest = rest.strip_prefix(key)?;
    (digest == Sha256::digest(payload).as_slice()).then_some(payload)
}

/// Refuses what another user owns or could write to.
fn private(descriptor: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(descriptor)?;
    let refuse = |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return refuse("the cache belongs to another user");
    }
    let mode = FileMode::from_raw_mode(stat.st_mode);
    if mode.intersects(FileMode::WGRP | FileMode::WOTH) {
        return refuse("the cache is writable by group or others");
    }
    Ok(())
}

fn name(key: &[u8; DIGEST]) -> String {
    let mut name = String::with_capacity(2 * DIGEST + 3);
    for byte in key {
        // Writing to a string does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    name.push_str(".vs");
    name
}
