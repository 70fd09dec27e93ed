//! The loop of `wrap`: one thread, one `poll(2)`, four streams.
//!
//! Enter: readiness. Leave: bytes moved between the two peers and the [`Relay`], and at the end
//! the server's exit status. Never: a decision about a message.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use mcpf_model::Direction;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::child::{Server, exit_code};
use super::port::ClientOut;
use super::relay::Relay;
use super::signals::{Heard, Waker, Wakes};

/// How long the server may be silent after its input was closed, or after a first signal,
/// before it is sent SIGTERM. Default 5 s.
const GRACE: Duration = Duration::from_secs(5);
/// How long after SIGTERM it is sent SIGKILL. Default 2 s.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long the last answers may take to reach a client that does not read. Default 5 s.
const FLUSH_GRACE: Duration = Duration::from_secs(5);

/// What runs a session could not do.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// The command could not be started.
    #[error("cannot start `{command}`")]
    Start {
        /// The command as typed.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// A system call that this program needs failed.
    #[error("cannot {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> WrapError {
    move |source| WrapError::System { doing, source }
}

/// Signals and wake-ups, installed before the relay is made so that its helpers can wake it.
#[derive(Debug)]
pub struct Ears(Wakes);

impl Ears {
    /// Installs the signal handlers of `wrap`.
    ///
    /// # Errors
    ///
    /// When a handler or the pipe behind it cannot be made.
    pub fn install() -> Result<Self, WrapError> {
        Wakes::install()
            .map(Self)
            .map_err(system("install signal handlers"))
    }

    /// A handle that other threads wake the reactor with.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be duplicated.
    pub fn waker(&self) -> Result<Waker, WrapError> {
        self.0.waker().map_err(system("duplicate the wake pipe"))
    }
}

/// Runs `command` behind `relay` until either side ends; returns the exit code to leave with.
///
/// # Errors
///
/// [`WrapError`] when the command cannot be started or `poll` fails. A failing peer is no error:
/// it ends the session.
pub fn run(
    command: &OsString,
    args: &[OsString],
    relay: &mut Relay,
    ears: Ears,
) -> Result<u8, WrapError> {
    let client_out = ClientOut::stdout().map_err(system("use standard output"))?;
    let (server, pipes) = Server::start(command, args).map_err(|source| WrapError::Start {
        command: command.to_string_lossy().into_owned(),
        source,
    })?;
    tracing::debug!(pid = server.pid(), "server started");
    let client_in = rustix::io::dup(rustix::stdio::stdin())
        .map_err(io::Error::from)
        .map_err(system("use standard input"))?;
    let mut reactor = Reactor {
        relay,
        server,
        client_in: Some(client_in),
        client_out: Some(client_out),
        server_in: Some(pipes.stdin),
        server_out: Some(pipes.stdout),
        wakes: ears.0,
        ending: None,
    };
    let outcome = reactor.turn();
    let status = reactor
        .server
        .finish()
        .map_err(system("wait for the server"));
    outcome?;
    Ok(exit_code(status?))
}

/// How far the end of the session has come.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// Input closed or first signal sent; SIGTERM follows at the given time.
    Asked(Instant),
    /// SIGTERM sent; SIGKILL follows at the given time.
    Told(Instant),
    /// SIGKILL sent, or the server has ended by itself: only the client's last bytes remain.
    Flushing(Instant),
}

impl Ending {
    const fn deadline(self) -> Instant {
        match self {
            Self::Asked(at) | Self::Told(at) | Self::Flushing(at) => at,
        }
    }
}

struct Reactor<'r> {
    relay: &'r mut Relay,
    server: Server,
    client_in: Option<OwnedFd>,
    client_out: Option<ClientOut>,
    server_in: Option<OwnedFd>,
    server_out: Option<OwnedFd>,
    wakes: Wakes,
    ending: Option<Ending>,
}

/// Which streams `poll` found ready.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    wake: bool,
    client_in: bool,
    client_out: bool,
    client_gone: bool,
    server_out: bool,
}

/// What a polled descriptor is.
#[derive(Clone, Copy, Debug)]
enum Stream {
    Wake,
    ClientIn,
    ClientOut,
    ServerIn,
    ServerOut,
}

impl Reactor<'_> {
    fn turn(&mut self) -> Result<(), WrapError> {
        loop {
            self.relay.pump();
            self.write(Ready::default());
            self.close_finished();
            if self.is_over() {
                return Ok(());
            }
            let ready = self.wait()?;
            if ready.wake {
                let heard = self.wakes.take();
                self.hear(heard);
            }
            self.write(ready);
            if ready.client_in {
                self.read(Direction::Inbound);
            }
            if ready.server_out {
                self.read(Direction::Outbound);
            }
            self.advance_ending();
        }
    }

    fn wait(&self) -> Result<Ready, WrapError> {
        let idle = self.relay.has_backlog();
        let now = Instant::now();
        let until = self
            .ending
            .map(|e| e.deadline().saturating_duration_since(now));
        let timeout = if idle { Some(Duration::ZERO) } else { until };
        let mut fds = Vec::with_capacity(5);
        let mut names = Vec::with_capacity(5);
        fds.push(PollFd::new(&self.wakes, PollFlags::IN));
        names.push(Stream::Wake);
        if let Some(fd) = self
            .client_in
            .as_ref()
            .filter(|_| self.relay.wants(Direction::Inbound))
        {
            fds.push(PollFd::new(fd, PollFlags::IN));
            names.push(Stream::ClientIn);
        }
        if let Some(fd) = self.client_out.as_ref() {
            let waits = !self.relay.outlet(Direction::Outbound).ready().is_empty();
            // Without interest poll still reports a client that has gone.
            fds.push(PollFd::new(
                fd,
                if waits {
                    PollFlags::OUT
                } else {
                    PollFlags::empty()
                },
            ));
            names.push(Stream::ClientOut);
        }
        if let Some(fd) = self.server_in.as_ref()
            && !self.relay.outlet(Direction::Inbound).ready().is_empty()
        {
            fds.push(PollFd::new(fd, PollFlags::OUT));
            names.push(Stream::ServerIn);
        }
        if let Some(fd) = self
            .server_out
            .as_ref()
            .filter(|_| self.relay.wants(Direction::Outbound))
        {
            fds.push(PollFd::new(fd, PollFlags::IN));
            names.push(Stream::ServerOut);
        }
        let timeout = timeout.and_then(|d| Timespec::try_from(d).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            Err(e) => return Err(system("poll")(e.into())),
        }
        let mut ready = Ready::default();
        for (fd, name) in fds.iter().zip(names) {
            let any = !fd.revents().is_empty();
            match name {
                Stream::Wake => ready.wake = any,
                Stream::ClientIn => ready.client_in = any,
                Stream::ClientOut => {
                    ready.client_out = fd.revents().contains(PollFlags::OUT);
                    ready.client_gone = fd
                        .revents()
                        .intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
                }
                Stream::ServerIn => {}
                Stream::ServerOut => ready.server_out = any,
            }
        }
        Ok(ready)
    }

    /// Reads once from the peer that sends in `direction`.
    fn read(&mut self, direction: Direction) {
        let fd = match direction {
            Direction::Inbound => self.client_in.as_ref(),
            Direction::Outbound => self.server_out.as_ref(),
        };
        let Some(fd) = fd else { return };
        match rustix::io::read(fd, self.relay.space(direction)) {
            Ok(0) => self.ended(direction),
            Ok(n) => {
                self.relay.advance(direction, n);
                if let (Direction::Outbound, Some(Ending::Asked(at))) =
                    (direction, &mut self.ending)
                {
                    *at = Instant::now() + GRACE;
                }
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(e) => {
                tracing::debug!(%direction, error = %e, "peer's stream failed");
                self.ended(direction);
            }
        }
    }

    fn ended(&mut self, direction: Direction) {
        match direction {
            Direction::Inbound => self.client_in = None,
            Direction::Outbound => self.server_out = None,
        }
        self.relay.end_of(direction);
        if direction == Direction::Outbound {
            self.ending = Some(Ending::Flushing(Instant::now() + FLUSH_GRACE));
        }
    }

    /// Writes what may leave. A shared descriptor is written only when `poll` said so.
    fn write(&mut self, ready: Ready) {
        if let Some(fd) = self.server_in.as_ref() {
            let outlet = self.relay.outlet_mut(Direction::Inbound);
            let done = outlet.drain(usize::MAX, |bytes| Ok(rustix::io::write(fd, bytes)?));
            if let Err(e) = done {
                tracing::debug!(error = %e, "server closed its input");
                self.server_in = None;
                self.relay.sink_gone(Direction::Inbound);
            }
        }
        let mut client_gone = false;
        if let Some(out) = self.client_out.as_ref() {
            let outlet = self.relay.outlet_mut(Direction::Outbound);
            let mut budget = if out.needs_poll() {
                usize::from(ready.client_out)
            } else {
                usize::MAX
            };
            let done = outlet.drain(out.chunk(), |bytes| {
                if budget == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                budget -= 1;
                out.write(bytes)
            });
            client_gone = done.is_err() || ready.client_gone;
        }
        if client_gone {
            tracing::debug!("client closed its end");
            self.client_out = None;
            self.relay.sink_gone(Direction::Outbound);
            if self.client_in.take().is_some() {
                self.relay.end_of(Direction::Inbound);
            }
        }
    }

    /// Closes the server's input once the client has ended and everything was delivered.
    fn close_finished(&mut self) {
        let delivered = self.relay.is_drained(Direction::Inbound);
        if self.client_in.is_none() && delivered && self.server_in.take().is_some() {
            tracing::debug!("client ended: server's input closed");
        }
        if self.client_in.is_none() && self.server_in.is_none() && self.ending.is_none() {
            self.ending = Some(Ending::Asked(Instant::now() + GRACE));
        }
    }

    fn is_over(&mut self) -> bool {
        let flushed = self.client_out.is_none() || self.relay.is_drained(Direction::Outbound);
        match self.ending {
            Some(Ending::Flushing(at)) => {
                (flushed && (self.server.ended().is_some() || Instant::now() >= at))
                    || Instant::now() >= at
            }
            _ => false,
        }
    }

    fn hear(&mut self, heard: Heard) {
        if heard.kill_on {
            self.relay.kill_switch(true);
        }
        if heard.kill_off {
            self.relay.kill_switch(false);
        }
        if let Some(signal) = heard.end {
            tracing::info!(signal, "ending the session");
            let signal = Signal::from_named_raw(signal).unwrap_or(Signal::TERM);
            self.server.signal(signal);
            if self.client_in.take().is_some() {
                self.relay.end_of(Direction::Inbound);
            }
            self.ending
                .get_or_insert(Ending::Asked(Instant::now() + GRACE));
        }
        self.relay.on_wake();
        if self.server.ended().is_some() && self.server_out.is_some() && self.ending.is_none() {
            // What it wrote last is still in the pipe; a grandchild may hold the pipe open.
            self.ending = Some(Ending::Told(Instant::now() + TERM_GRACE));
        }
    }

    fn advance_ending(&mut self) {
        let Some(ending) = self.ending else { return };
        let now = Instant::now();
        if now < ending.deadline() {
            return;
        }
        self.ending = Some(match ending {
            Ending::Asked(_) => {
                tracing::warn!("the server did not end by itself: sending SIGTERM");
                self.server.signal(Signal::TERM);
                Ending::Told(now + TERM_GRACE)
            }
            Ending::Told(_) => {
                self.server.signal(Signal::KILL);
                if self.server_out.take().is_some() {
                    self.relay.end_of(Direction::Outbound);
                }
                Ending::Flushing(now + FLUSH_GRACE)
            }
            flushing @ Ending::Flushing(_) => flushing,
        });
    }
}
