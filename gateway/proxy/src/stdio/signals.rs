//! Signals and other wake-ups, turned into a readable descriptor and flags.
//!
//! Enter: signals, and nudges from other threads. Leave: what happened since the last look.
//! Never: work in a signal handler.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::{flag, low_level::pipe};

/// Wakes the reactor from another thread.
#[derive(Debug)]
pub struct Waker(UnixStream);

impl Waker {
    /// Makes the reactor look. Never blocks; a full pipe means that it will look anyway.
    pub fn wake(&self) {
        let _full = (&self.0).write(&[1]);
    }

    /// Another handle to the same reactor.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be duplicated.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// The reactor's ear.
#[derive(Debug)]
pub(crate) struct Wakes {
    reader: UnixStream,
    writer: UnixStream,
    /// SIGTERM, SIGINT, SIGHUP: end the session.
    end: [(i32, Arc<AtomicBool>); 3],
    /// SIGUSR1: the kill switch goes on.
    kill_on: Arc<AtomicBool>,
    /// SIGUSR2: the kill switch goes off.
    kill_off: Arc<AtomicBool>,
}

/// What the operator asked for by signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) end: Option<i32>,
    pub(crate) kill_on: bool,
    pub(crate) kill_off: bool,
}

impl Wakes {
    pub(crate) fn install() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let flagged = |signal: i32| -> io::Result<Arc<AtomicBool>> {
            let heard = Arc::new(AtomicBool::new(false));
            flag::register(signal, Arc::clone(&heard))?;
            pipe::register(signal, writer.try_clone()?)?;
            Ok(heard)
        };
        pipe::register(SIGCHLD, writer.try_clone()?)?;
        Ok(Self {
            end: [
                (SIGTERM, flagged(SIGTERM)?),
                (SIGINT, flagged(SIGINT)?),
                (SIGHUP, flagged(SIGHUP)?),
            ],
            kill_on: flagged(SIGUSR1)?,
            kill_off: flagged(SIGUSR2)?,
            reader,
            writer,
        })
    }

    pub(crate) fn waker(&self) -> io::Result<Waker> {
        self.writer.try_clone().map(Waker)
    }

    /// Empties the descriptor and takes the flags.
    pub(crate) fn take(&mut self) -> Heard {
        let mut sink = [0_u8; 64];
        while matches!(self.reader.read(&mut sink), Ok(n) if n > 0) {}
        let end = self
            .end
            .iter()
            .find(|(_, heard)| heard.swap(false, Ordering::Relaxed));
        Heard {
            end: end.map(|(signal, _)| *signal),
            kill_on: self.kill_on.swap(false, Ordering::Relaxed),
            kill_off: self.kill_off.swap(false, Ordering::Relaxed),
        }
    }
}

impl AsFd for Wakes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
