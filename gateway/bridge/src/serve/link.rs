//! One child and all that wait for it.
//!
//! Enter: messages of clients, lines of the child. Leave: each line of the child where it belongs, and
//! when the child has ended, an error for whoever still waits.

mod life;
mod route;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName};
use mcpf_model::RequestId;
use serde_json::json;
use tokio::sync::watch;

use super::channel::{Item, Speaker};
use super::desk::{Desk, Naming, NoPlace, Owner, Pending, Ticket};
use super::inbox::{Closed, Inbox};
use super::options::Serve;
use super::process::Process;
use super::session::Session;
use super::starts::Starts;
use crate::answer;
use crate::envelope::{Envelope, Mark, Reader, Reading};
use crate::mirror::Mirror;

/// Who talks with a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One session.
    Own,
    /// All sessions.
    Shared,
    /// Whoever needs no session (2026-07-28).
    Modern,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) kind: Kind,
    options: Rc<Serve>,
    inbox: Inbox,
    desk: RefCell<Desk>,
    reader: RefCell<Reader>,
    sessions: RefCell<Vec<Weak<Session>>>,
    /// How many sessions there have been.
    joined: Cell<usize>,
    /// Why the child is gone, once it is.
    over: RefCell<Option<Rc<str>>>,
    ending: watch::Sender<bool>,
    /// Whether it has answered anything.
    is_proven: Cell<bool>,
    used: Cell<Instant>,
    /// What a shared child answered to `initialize`.
    welcome: RefCell<Option<Bytes>>,
    /// What the child's tools want to see in the head of a call (2026-07-28).
    mirror: RefCell<Mirror>,
    /// Told how a child fared that more than one session needs.
    starts: Rc<RefCell<Starts>>,
}

/// Why nothing more comes of a child.
#[derive(Debug)]
enum End {
    /// It ended, or will not be of use any more. How.
    Failed(String),
    /// It was told to.
    Asked,
}

impl Link {
    /// Starts a child. The second value is its life, to be run to the end.
    pub(crate) fn start(
        options: &Rc<Serve>,
        kind: Kind,
        starts: Rc<RefCell<Starts>>,
    ) -> Result<(Rc<Self>, impl Future<Output = ()> + 'static), String> {
        let started = Process::start(&options.command, &options.args);
        let (process, pipes) = started.map_err(|error| {
            let command = options.command.to_string_lossy();
            format!(
                "the server's command `{command}` cannot be started: {error}; check the command"
            )
        })?;
        tracing::debug!(pid = process.id(), ?kind, "server started");
        let naming = match kind {
            Kind::Own => Naming::Kept,
            Kind::Shared | Kind::Modern => Naming::Minted,
        };
        let link = Rc::new(Self {
            kind,
            options: Rc::clone(options),
            inbox: Inbox::new(options.queue),
            desk: RefCell::new(Desk::new(naming, options.limits.max_in_flight as usize)),
            reader: RefCell::new(Reader::new(&options.limits)),
            sessions: RefCell::default(),
            joined: Cell::new(0),
            over: RefCell::default(),
            ending: watch::Sender::new(false),
            is_proven: Cell::new(false),
            used: Cell::new(Instant::now()),
            welcome: RefCell::default(),
            mirror: RefCell::default(),
            starts,
        });
        Ok((Rc::clone(&link), life::live(link, process, pipes)))
    }

    /// Why the child is gone, if it is.
    pub(crate) fn over(&self) -> Option<Rc<str>> {
        self.over.borrow().clone()
    }

    /// Whether nobody has needed the child for so long.
    pub(crate) fn is_idle(&self, ttl: Duration) -> bool {
        let has_session = self.sessions.borrow().iter().any(|s| s.strong_count() > 0);
        !has_session && self.desk.borrow().is_empty() && self.used.get().elapsed() > ttl
    }

    pub(crate) fn welcome(&self) -> Option<Bytes> {
        self.welcome.borrow().clone()
    }

    pub(crate) fn set_welcome(&self, result: Bytes) {
        *self.welcome.borrow_mut() = Some(result);
    }

    /// The field of a call's head that does not repeat the argument that it should.
    pub(crate) fn contradiction(&self, call: &Envelope, headers: &HeaderMap) -> Option<HeaderName> {
        self.mirror.borrow().contradiction(call, headers).cloned()
    }

    /// Lets `session` hear what names no request.
    pub(crate) fn join(&self, session: &Rc<Session>) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Rc::downgrade(session));
        self.joined.set(self.joined.get().saturating_add(1));
    }

    /// `session` has ended: its requests are given up, and a child of its own ends too.
    pub(crate) fn leave(&self, session: &Session) {
        session.close();
        if self.kind == Kind::Own {
            self.end();
            return;
        }
        self.used.set(Instant::now());
        let left = self.desk.borrow_mut().clear(Some(session.owner()));
        for (name, pending) in left {
            self.inbox.slip(cancelled(&name));
            fail(&pending, "the session has ended");
        }
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|other| !std::ptr::eq(other.as_ptr(), session));
    }

    /// Ends the child.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Takes a request in; gives the line to be [`put`](Self::put).
    pub(crate) fn take(
        &self,
        request: &Envelope,
        id: &Mark,
        owner: Owner,
        speaker: Speaker,
    ) -> Result<(Ticket, Bytes), NoPlace> {
        self.used.set(Instant::now());
        self.desk.borrow_mut().take(request, id, owner, speaker)
    }

    /// Sends the child a line once it has room for it.
    pub(crate) async fn put(&self, line: Bytes) -> Result<(), Closed> {
        self.inbox.put(line).await
    }

    /// Sends the child a line of ours.
    pub(crate) fn slip(&self, line: Bytes) {
        self.inbox.slip(line);
    }

    pub(crate) fn read(&self, frame: Bytes) -> Reading {
        self.reader.borrow_mut().read(frame)
    }

    pub(crate) fn oldest(&self, owner: Owner) -> Option<Speaker> {
        self.desk.borrow().oldest(owner)
    }

    /// A cancellation, as the child understands it; `None` if it names no request under way.
    pub(crate) fn cancellation(&self, message: &Envelope, owner: Owner) -> Option<Bytes> {
        let cancels = message.cancels.as_ref()?;
        let name = self.desk.borrow().find(owner, &cancels.id)?;
        Some(message.respelled([(cancels, &name)]))
    }

    /// Whoever waited for the answer is gone. Without sessions that cancels the request (MCP 2026-07-28,
    /// "Cancellation"); with them the child goes on, and its answer is nobody's.
    pub(crate) fn gave_up(&self, ticket: &Ticket, was_sent: bool) {
        if was_sent && self.kind != Kind::Modern {
            return;
        }
        let withdrawn = self.desk.borrow_mut().withdraw(ticket, was_sent);
        if withdrawn.is_some() && was_sent {
            self.inbox.slip(cancelled(&ticket.name));
        }
    }

    /// Nothing more comes of this child: all that wait are told why.
    fn ended(&self, end: &End) {
        tracing::debug!(?end, kind = ?self.kind, "a child is gone");
        let why = match end {
            End::Failed(how) => {
                format!("{how} before it answered; see what it wrote to standard error")
            }
            End::Asked => "the session has ended".to_owned(),
        };
        if self.kind != Kind::Own {
            let mut starts = self.starts.borrow_mut();
            match end {
                End::Failed(how) if !self.is_proven.get() => starts.failed(Instant::now(), how),
                _ => starts.succeeded(),
            }
        }
        *self.over.borrow_mut() = Some(why.as_str().into());
        self.inbox.close();
        for (_, pending) in self.desk.borrow_mut().clear(None) {
            fail(&pending, &why);
        }
        for session in self.sessions.borrow_mut().drain(..) {
            if let Some(session) = session.upgrade() {
                session.close();
            }
        }
    }
}

/// Tells who waits for a request that nobody else answers it.
fn fail(pending: &Pending, why: &str) {
    let line = answer::failure(Some(&pending.id), why);
    let code = Some(answer::FAILED);
    pending.speaker.push(Item::Answer { line, code });
}

/// Tells the child that nobody waits for the request that it calls `name`.
fn cancelled(name: &RequestId) -> Bytes {
    let id = match name {
        RequestId::Number(n) => json!(n),
        RequestId::String(s) => json!(&**s),
    };
    json!({
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": { "requestId": id, "reason": "the client is gone" },
    })
    .to_string()
    .into()
}
