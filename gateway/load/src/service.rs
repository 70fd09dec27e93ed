//! A server that is started for a measurement.
//!
//! Enter: a command and the address it will listen at. Leave: a process that answers there. Never: a process
//! that is left behind: it is ended when its owner goes, whatever the reason.

use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use crate::stop::Stop;

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Service {
    child: Child,
    log: PathBuf,
}

/// Why a server is not there.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The program is missing, or may not be run.
    #[error("cannot start `{program}`: {why}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        why: io::Error,
    },
    /// It has gone.
    #[error("`{program}` ended ({status}) before it listened at {address}: {said}")]
    Ended {
        /// The program.
        program: String,
        /// How.
        status: ExitStatus,
        /// Where it was awaited.
        address: SocketAddr,
        /// The end of what it wrote on standard error.
        said: String,
    },
    /// It takes too long.
    #[error("`{program}` does not listen at {address} after {} s", UP_WITHIN.as_secs())]
    Late {
        /// The program.
        program: String,
        /// Where it was awaited.
        address: SocketAddr,
    },
    /// A signal, or [`Stop::set`].
    #[error("interrupted before the measurement was complete")]
    Interrupted,
}

/// How long a server may take to listen.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to end after SIGTERM; then it is killed.
const DOWN_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How much of its last words is told, in bytes.
const MAX_SAID: usize = 2_000;

impl Service {
    /// Starts `command` and waits until a connection to `address` succeeds.
    ///
    /// The process gets a group of its own, so that the terminal's Ctrl-C reaches only this program, which
    /// then ends it in order. Its standard error is kept in `log`, which is told when it ends too early.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or does not listen in time. It is not running then.
    pub fn start(
        mut command: Command,
        address: SocketAddr,
        log: &Path,
        stop: &Stop,
    ) -> Result<Self, ServiceError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let cannot = |why| ServiceError::Start {
            program: program.clone(),
            why,
        };
        let said = std::fs::File::create(log).map_err(cannot)?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .map_err(cannot)?;
        let mut service = Self {
            child,
            log: log.to_owned(),
        };
        let begin = Instant::now();
        loop {
            if let Some(status) = service.child.try_wait().map_err(cannot)? {
                return Err(ServiceError::Ended {
                    program,
                    status,
                    address,
                    said: last_words(log),
                });
            }
            if TcpStream::connect_timeout(&address, LOOK).is_ok() {
                return Ok(service);
            }
            if stop.is_set() {
                return Err(ServiceError::Interrupted);
            }
            if begin.elapsed() > UP_WITHIN {
                return Err(ServiceError::Late { program, address });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it has written on standard error so far.
    #[must_use]
    pub fn said(&self) -> String {
        last_words(&self.log)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let term = |child: &Child| kill_process(Pid::from_child(child), Signal::TERM);
        // A process that has gone already cannot be sent a signal, and need not be.
        let _gone = term(&self.child);
        let begin = Instant::now();
        while begin.elapsed() < DOWN_WITHIN {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(LOOK),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// An address of this machine at which nobody listens now.
///
/// # Errors
///
/// When no port is free.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn last_words(log: &Path) -> String {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(log).and_then(|mut file| file.read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    let begin = bytes.len().saturating_sub(MAX_SAID);
    let end = bytes.get(begin..).unwrap_or_default();
    String::from_utf8_lossy(end).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("mcpf-load-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_server_that_ends_at_once_says_why() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such option >&2; exit 3"]);
        let log = log("ends");
        let started = Service::start(command, free_address().unwrap(), &log, &Stop::default());
        std::fs::remove_file(log).unwrap();
        let error = started.unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.ends_with("no such option"),
            "{error}"
        );
    }

    #[test]
    fn a_server_is_ended_with_its_owner() {
        // Somebody else listens: enough to be taken for up.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let log = log("ended");
        let address = listener.local_addr().unwrap();
        let service = Service::start(command, address, &log, &Stop::default()).unwrap();
        assert_eq!(service.said(), "");
        std::fs::remove_file(log).unwrap();
        let pid = Pid::from_child(&service.child);
        drop(service);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn waiting_is_broken_off() {
        let stop = Stop::default();
        stop.set();
        let mut command = Command::new("sleep");
        command.arg("60");
        let log = log("stop");
        let started = Service::start(command, free_address().unwrap(), &log, &stop);
        std::fs::remove_file(log).unwrap();
        assert!(matches!(started, Err(ServiceError::Interrupted)));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let log = log("missing");
        let command = Command::new("/no/such/program");
        let started = Service::start(command, free_address().unwrap(), &log, &Stop::default());
        std::fs::remove_file(log).unwrap();
        let error = started.unwrap_err().to_string();
        assert!(
            error.starts_with("cannot start `/no/such/program`: "),
            "{error}"
        );
    }
}
