//! A server as a child process: its own process group, never a shell, never a zombie.
//!
//! Enter: a command and its arguments, untouched. Leave: two pipe ends and an exit status. Never: bytes
//! of the conversation.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::net::unix::pipe;
use tokio::signal::unix::{self, SignalKind};

/// A running server. Dropped, it is killed with its process group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Option<Pid>,
    deaths: unix::Signal,
    is_reaped: bool,
}

/// Our ends of its standard input and output.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: pipe::Sender,
    pub(crate) stdout: pipe::Receiver,
}

impl Process {
    /// Starts `command` in a process group of its own; standard error is inherited.
    pub(crate) fn start(command: &OsString, args: &[OsString]) -> io::Result<(Self, Pipes)> {
        // Heard from before there is one to die.
        let deaths = unix::signal(SignalKind::child())?;
        let mut child = Command::new(command)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()?;
        let ends = child.stdin.take().zip(child.stdout.take());
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // From here on it is killed if anything fails.
        let process = Self {
            child,
            pid,
            deaths,
            is_reaped: false,
        };
        let (stdin, stdout) =
            ends.ok_or_else(|| io::Error::other("the child was started without pipes"))?;
        let pipes = Pipes {
            stdin: pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?,
            stdout: pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?,
        };
        Ok((process, pipes))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns once it has ended, and says how. It stays a member of its group, so that what is left of
    /// the group can still be signalled.
    pub(crate) async fn ended(&mut self) -> String {
        loop {
            if let Some(how) = self.how_it_ended() {
                return how;
            }
            self.deaths.recv().await;
        }
    }

    fn how_it_ended(&self) -> Option<String> {
        let unknown = || Some("the server ended".to_owned());
        let Some(pid) = self.pid.filter(|_| !self.is_reaped) else {
            return unknown();
        };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(None) | Err(rustix::io::Errno::INTR) => None,
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Some(format!("the server ended with exit code {code}")),
                (None, Some(signal)) => Some(format!("the server was ended by signal {signal}")),
                (None, None) => unknown(),
            },
            Err(_) => unknown(),
        }
    }

    /// Waits, then sends SIGTERM, waits, and kills what is left of the group.
    pub(crate) async fn end(mut self, grace: Duration, term_grace: Duration) {
        for (signal, wait) in [(None, grace), (Some(Signal::TERM), term_grace)] {
            if let Some(signal) = signal {
                self.signal(signal);
            }
            if tokio::time::timeout(wait, self.ended()).await.is_ok() {
                break;
            }
        }
        self.finish();
    }

    /// Signals the whole process group.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.pid.filter(|_| !self.is_reaped) {
            // ESRCH only says that the group has ended, which is what was wanted.
            let _ended = kill_process_group(group, signal);
        }
    }

    fn finish(&mut self) {
        if self.is_reaped {
            return;
        }
        self.signal(Signal::KILL);
        // Killed, it ends at once.
        if let Err(error) = self.child.wait() {
            tracing::error!(%error, "a child could not be waited for");
        }
        self.is_reaped = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.finish();
    }
}
