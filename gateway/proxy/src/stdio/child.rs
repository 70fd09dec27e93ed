//! The MCP server as a child process: its own process group, never a shell, never a zombie.
//!
//! Enter: a command and its arguments, untouched. Leave: two pipe ends and an exit status.
//! Never: bytes of the conversation.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

/// The running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    group: Option<Pid>,
    status: Option<ExitStatus>,
}

/// Our ends of the server's standard input and output, both non-blocking.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
}

impl Server {
    /// Starts `command` with its own process group; standard error is inherited.
    pub(crate) fn start(command: &OsString, args: &[OsString]) -> io::Result<(Self, Pipes)> {
        let mut child = Command::new(command)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()?;
        let (stdin, stdout) = match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => (OwnedFd::from(stdin), OwnedFd::from(stdout)),
            _ => return Err(io::Error::other("the child was started without pipes")),
        };
        for fd in [stdin.as_fd(), stdout.as_fd()] {
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok((
            Self {
                child,
                group,
                status: None,
            },
            Pipes { stdin, stdout },
        ))
    }

    /// Process id of the server, which is also its process group's.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal` to the whole process group, if any of it is left.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // ESRCH only says that the group has ended, which is what was wanted.
            let _ended = kill_process_group(group, signal);
        }
    }

    /// The exit status, once the server has ended. Never blocks.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Kills what is left of the group and reaps the server.
    pub(crate) fn finish(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        match self.status {
            Some(status) => Ok(status),
            None => {
                let status = self.child.wait()?;
                self.status = Some(status);
                Ok(status)
            }
        }
    }
}

/// The code a shell would give for `status`: the exit code, or 128 and the signal's number.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(code & 0xff).unwrap_or(1)
}
