//! The client's end: our own standard input and output, which others may share.
//!
//! Enter and leave: bytes. Never: `O_NONBLOCK` on a descriptor that another process holds too
//! (it would change theirs), nor a read or write that blocks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::net::{SendFlags, send};

/// Where frames for the client go.
#[derive(Debug)]
pub(crate) enum ClientOut {
    /// A descriptor of our own, non-blocking: any amount may be offered.
    Own(OwnedFd),
    /// A socket: each write is told not to wait.
    Socket(OwnedFd),
    /// Anything else: written in pieces that fit, after `poll` said so.
    Shared(OwnedFd),
}

impl ClientOut {
    /// `poll` says "writable" when `PIPE_BUF` bytes fit (POSIX, pipe(7)); 4,096 is Linux's value
    /// and above macOS's 512, whose pipes report writable only with that much room as well.
    const SHARED_CHUNK: usize = if cfg!(target_os = "linux") {
        4_096
    } else {
        512
    };

    /// Takes standard output.
    pub(crate) fn stdout() -> io::Result<Self> {
        let shared = rustix::io::dup(rustix::stdio::stdout())?;
        let kind = FileType::from_raw_mode(fstat(&shared)?.st_mode);
        match kind {
            FileType::Socket => Ok(Self::Socket(shared)),
            FileType::Fifo => {
                // A new open file description of the same pipe: its flags are ours alone.
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                match open("/proc/self/fd/1", flags, Mode::empty()) {
                    Ok(own) => Ok(Self::Own(own)),
                    Err(_) => Ok(Self::Shared(shared)),
                }
            }
            _ => Ok(Self::Shared(shared)),
        }
    }

    /// Most bytes that one [`ClientOut::write`] may be given.
    pub(crate) const fn chunk(&self) -> usize {
        match self {
            Self::Own(_) | Self::Socket(_) => usize::MAX,
            Self::Shared(_) => Self::SHARED_CHUNK,
        }
    }

    /// Whether a write must wait for `poll` to say "writable" each time.
    pub(crate) const fn needs_poll(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Writes without waiting.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let n = match self {
            Self::Own(fd) | Self::Shared(fd) => rustix::io::write(fd, bytes)?,
            Self::Socket(fd) => send(fd, bytes, SendFlags::DONTWAIT | NOSIGNAL)?,
        };
        Ok(n)
    }
}

#[cfg(target_os = "linux")]
const NOSIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const NOSIGNAL: SendFlags = SendFlags::empty();

impl AsFd for ClientOut {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) | Self::Socket(fd) | Self::Shared(fd) => fd.as_fd(),
        }
    }
}
