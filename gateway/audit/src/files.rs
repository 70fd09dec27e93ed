//! Opening files that nobody else may have a hand in.
//!
//! Paths enter; open files leave, or a reason why not. Never follows a symbolic link in the last
//! component, never opens a pipe or a device, never trusts what another user owns or may write.

use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a file or directory was not used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system said no.
    #[error("cannot {doing} `{}`", path.display())]
    System {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is there, but not safe to use.
    #[error("`{}` {what}", path.display())]
    Unsafe {
        /// What is wrong, to follow the name.
        what: &'static str,
        /// With what.
        path: PathBuf,
    },
}

impl FileError {
    /// Whether there simply is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

pub(crate) fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::System {
        doing,
        path,
        source,
    }
}

fn errno(doing: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> FileError {
    let system = system(doing, path);
    move |error| system(error.into())
}

/// Makes the directory (and its parents) with mode 0700, and checks that it is ours alone to write.
pub(crate) fn private_dir(path: &Path) -> Result<(), FileError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(system("create directory", path))?;
    let dir = open_dir(path)?;
    let stat = rustix::fs::fstat(&dir).map_err(errno("examine", path))?;
    ours(&stat, path)?;
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        sync_dir(parent)?;
    }
    Ok(())
}

/// Checks the directory a single named file is to stand in: ours or root's, and either writable by
/// the owner only or with the sticky bit, so that nobody else can put another file in our file's place.
pub(crate) fn sound_parent(path: &Path) -> Result<(), FileError> {
    let parent = parent(path);
    let dir = open_dir(parent)?;
    let stat = rustix::fs::fstat(&dir).map_err(errno("examine", parent))?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let owner = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
    if !owner {
        return Err(refuse(parent, "belongs to another user"));
    }
    if mode.intersects(Mode::WGRP | Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return Err(refuse(parent, "can be written by its group or by others"));
    }
    Ok(())
}

/// How a log file is to come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Create {
    /// It must not exist yet; mode 0600.
    New,
    /// It must exist.
    No,
}

/// Opens a log file to read and to append to.
pub(crate) fn open_log(path: &Path, create: Create) -> Result<File, FileError> {
    let made = match create {
        Create::New => OFlags::CREATE | OFlags::EXCL,
        Create::No => OFlags::empty(),
    };
    let flags = OFlags::RDWR
        | OFlags::APPEND
        | OFlags::NONBLOCK
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | made;
    let file =
        rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(errno("open", path))?;
    let stat = rustix::fs::fstat(&file).map_err(errno("examine", path))?;
    regular(&stat, path)?;
    ours(&stat, path)?;
    Ok(File::from(file))
}

/// Opens a file of someone's to read: a log to verify, a public key.
pub(crate) fn open_read(path: &Path) -> Result<File, FileError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(errno("open", path))?;
    let stat = rustix::fs::fstat(&file).map_err(errno("examine", path))?;
    regular(&stat, path)?;
    Ok(File::from(file))
}

/// All of a file of at most `limit` bytes.
pub(crate) fn read_small(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    read_all(open_read(path)?, path, limit)
}

/// All of a file of at most `limit` bytes that only we can read.
pub(crate) fn read_private(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(errno("open", path))?;
    let stat = rustix::fs::fstat(&file).map_err(errno("examine", path))?;
    regular(&stat, path)?;
    ours(&stat, path)?;
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
        return Err(refuse(
            path,
            "can be read by its group or by others; it must have mode 0600",
        ));
    }
    read_all(File::from(file), path, limit)
}

/// Makes a file whose whole content is there from the first moment and survives a power loss.
/// If the file is there already it is left alone.
pub(crate) fn create_whole(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let draft = parent(path).join(format!(".{name}.{}.{count}", std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&draft, flags, Mode::from_raw_mode(mode))
        .map_err(errno("create", &draft))?;
    let mut file = File::from(file);
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = std::fs::remove_file(&draft);
    linked.map_err(system("create", path))?;
    removed.map_err(system("remove", &draft))?;
    sync_dir(parent(path))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), FileError> {
    let dir = open_dir(path)?;
    rustix::fs::fsync(&dir).map_err(errno("sync directory", path))
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn open_dir(path: &Path) -> Result<File, FileError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(errno("open directory", path))
}

fn read_all(file: File, path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut content = Vec::new();
    file.take(most)
        .read_to_end(&mut content)
        .map_err(system("read", path))?;
    if content.len() > limit {
        return Err(refuse(path, "is longer than it should be"));
    }
    Ok(content)
}

fn regular(stat: &Stat, path: &Path) -> Result<(), FileError> {
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(())
    } else {
        Err(refuse(path, "is not a regular file"))
    }
}

fn ours(stat: &Stat, path: &Path) -> Result<(), FileError> {
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refuse(path, "belongs to another user"));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        return Err(refuse(path, "can be written by its group or by others"));
    }
    Ok(())
}

fn refuse(path: &Path, what: &'static str) -> FileError {
    FileError::Unsafe {
        what,
        path: path.to_owned(),
    }
}
