//! What becomes of each line of the client.
//!
//! Enter: lines, in order. Leave: the same messages on their way to the server, in the same order: the
//! next is not sent before the last byte of the one before has left, and none before `initialize` is
//! answered. Answers come in any order.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcpf_model::{MessageKind, RequestId};
use mcpf_wire::{FrameError, Shape};
use tokio::io::AsyncRead;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;

use super::ConnectError;
use super::feed::Feed;
use super::options::Connect;
use super::outlet::Outlet;
use super::session::Session;
use super::wire::Wire;
use crate::answer::{self, INVALID_REQUEST};
use crate::envelope::{Envelope, Odd, Reader, Reading};
use crate::mirror::Mirror;

/// Most notifications and answers of the client that the server has yet to take.
const MAX_NOTES: usize = 64;

/// How long a cancelled request may still be answered, or its stream be ended, by the server. 30 s.
const CANCELLED: Duration = Duration::from_secs(30);

/// A request that awaits its answer.
pub(crate) struct Asked {
    task: AbortHandle,
    pub(crate) is_modern: bool,
    pub(crate) is_initialize: bool,
    pub(crate) lists_tools: bool,
    pub(crate) is_cancelled: bool,
    /// Closed when the request is settled.
    _settled: oneshot::Sender<()>,
    _room: Rc<OwnedSemaphorePermit>,
}

impl Asked {
    pub(crate) fn abort(&self) {
        self.task.abort();
    }
}

/// One client and one server.
pub(crate) struct Client {
    pub(crate) options: Connect,
    pub(crate) wire: Wire,
    pub(crate) room: Arc<Semaphore>,
    notes: Arc<Semaphore>,
    outlet: Outlet,
    reader: RefCell<Reader>,
    waiting: RefCell<HashMap<RequestId, Asked>>,
    session: RefCell<Session>,
    mirror: RefCell<Mirror>,
}

impl Client {
    pub(crate) fn new(options: Connect, outlet: Outlet) -> Self {
        Self {
            wire: Wire::new(options.target.clone(), options.timeouts.connect),
            room: Arc::new(Semaphore::new(options.in_flight() as usize)),
            notes: Arc::new(Semaphore::new(MAX_NOTES)),
            outlet,
            reader: RefCell::new(Reader::new(&options.limits)),
            waiting: RefCell::default(),
            session: RefCell::new(Session::none()),
            mirror: RefCell::default(),
            options,
        }
    }

    // None of these is held while anything is awaited.

    pub(crate) fn session(&self) -> Ref<'_, Session> {
        self.session.borrow()
    }

    pub(crate) fn session_mut(&self) -> RefMut<'_, Session> {
        self.session.borrow_mut()
    }

    pub(crate) fn waiting(&self) -> RefMut<'_, HashMap<RequestId, Asked>> {
        self.waiting.borrow_mut()
    }

    pub(crate) fn reader(&self) -> RefMut<'_, Reader> {
        self.reader.borrow_mut()
    }

    pub(crate) fn mirror(&self) -> RefMut<'_, Mirror> {
        self.mirror.borrow_mut()
    }

    pub(crate) const fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Takes lines until there are no more.
    pub(crate) async fn talk<I: AsyncRead + Unpin>(
        self: &Rc<Self>,
        mut feed: Feed<I>,
    ) -> Result<(), ConnectError> {
        let mut handshake: Option<oneshot::Receiver<()>> = None;
        let mut read: VecDeque<Envelope> = VecDeque::new();
        loop {
            let next = match handshake {
                None => read.pop_front(),
                // The server may ask something before it answers `initialize`; that comes through.
                Some(_) => {
                    let answer = read.iter().position(Envelope::is_answer);
                    answer.and_then(|at| read.remove(at))
                }
            };
            if let Some(message) = next {
                let begun = self.take(message).await;
                handshake = begun.or(handshake);
                continue;
            }
            let line = match &mut handshake {
                None => feed.next().await?,
                Some(answered) => tokio::select! {
                    _ = answered => {
                        handshake = None;
                        continue;
                    }
                    line = feed.next(), if read.is_empty() => line?,
                },
            };
            let Some(line) = line else { return Ok(()) };
            read.extend(self.messages(line).await);
        }
    }

    /// The messages on a line: one, unless it is a batch. What cannot be read is answered.
    async fn messages(&self, line: Result<Bytes, FrameError>) -> Vec<Envelope> {
        let elements = match line {
            Ok(line) => self.reader().elements(line),
            Err(error) => {
                let refusal = error.refusal(&self.options.limits);
                let (id, code) = (refusal.id.known(), i64::from(refusal.code.code()));
                tracing::warn!(why = %refusal.code, "a line of the client was refused");
                if matches!(refusal.shape, Shape::Request | Shape::Unknown) {
                    self.refuse(id, code, refusal.code.sentence()).await;
                }
                return Vec::new();
            }
        };
        let mut messages = Vec::with_capacity(elements.len());
        for element in elements {
            let reading = self.reader().read(element);
            match reading {
                Reading::Message(message) => messages.push(message),
                Reading::Odd(odd) => self.refuse_odd(&odd).await,
            }
        }
        messages
    }

    async fn refuse_odd(&self, odd: &Odd) {
        tracing::warn!(why = %odd.code, "a line of the client was refused");
        if matches!(odd.shape, Shape::Request | Shape::Unknown) {
            let code = i64::from(odd.code.code());
            self.refuse(odd.id.as_ref(), code, odd.code.sentence())
                .await;
        }
    }

    async fn refuse(&self, id: Option<&RequestId>, code: i64, why: &str) {
        let message = format!("Refused by mcp-firewall: {why}.");
        self.outlet.say(answer::error(id, code, &message)).await;
    }

    /// Sends one message on. Gives what to wait for before the next, if it was `initialize`.
    async fn take(self: &Rc<Self>, message: Envelope) -> Option<oneshot::Receiver<()>> {
        match message.kind {
            MessageKind::Request => self.ask(message).await,
            MessageKind::Notification => {
                if !self.cancel(&message) {
                    self.tell(message).await;
                }
                None
            }
            MessageKind::Response | MessageKind::Error => {
                self.tell(message).await;
                None
            }
        }
    }

    async fn ask(self: &Rc<Self>, message: Envelope) -> Option<oneshot::Receiver<()>> {
        let id = message.id.as_ref()?.id.clone();
        if self.waiting().contains_key(&id) {
            let why = "another request under this id awaits its answer";
            self.refuse(Some(&id), INVALID_REQUEST, why).await;
            return None;
        }
        let room = Arc::clone(&self.room).acquire_owned().await.ok()?;
        let room = Rc::new(room);
        let is_initialize = message.is_initialize();
        if is_initialize {
            let next = self.session().next();
            *self.session_mut() = next;
        }
        let (sent, was_sent) = oneshot::channel();
        let (settled, was_settled) = oneshot::channel();
        let asked = {
            let (is_modern, lists_tools) = (message.is_modern, &*message.method == "tools/list");
            let (client, held, id) = (Rc::clone(self), Rc::clone(&room), id.clone());
            let task = tokio::task::spawn_local(async move {
                let _held = held;
                client.carry(&message, &id, sent).await;
            });
            Asked {
                task: task.abort_handle(),
                is_modern,
                is_initialize,
                lists_tools,
                is_cancelled: false,
                _settled: settled,
                _room: room,
            }
        };
        self.waiting().insert(id, asked);
        let _failed_before = was_sent.await;
        is_initialize.then_some(was_settled)
    }

    /// Sends a message that has no answer.
    async fn tell(self: &Rc<Self>, message: Envelope) {
        let begins = &*message.method == "notifications/initialized" && !message.is_modern;
        let Ok(room) = Arc::clone(&self.notes).acquire_owned().await else {
            return;
        };
        let (sent, was_sent) = oneshot::channel();
        let client = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            let _room = room;
            client.note(&message, sent).await;
        });
        let _failed_before = was_sent.await;
        if begins {
            // Servers refuse what overtakes it on another connection.
            let _late = tokio::time::timeout(self.options.timeouts.handshake, task).await;
            self.hear();
        }
    }

    /// Deals with a cancellation that needs not be sent, or not only.
    fn cancel(self: &Rc<Self>, message: &Envelope) -> bool {
        let Some(cancelled) = message.cancels.as_ref() else {
            return false;
        };
        let mut waiting = self.waiting();
        match waiting.get_mut(&cancelled.id) {
            // Closing the stream is how it is said over HTTP (MCP 2026-07-28, "Cancellation").
            Some(asked) if asked.is_modern => {
                asked.abort();
                waiting.remove(&cancelled.id);
                true
            }
            Some(asked) => {
                asked.is_cancelled = true;
                let (client, id) = (Rc::downgrade(self), cancelled.id.clone());
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(CANCELLED).await;
                    if let Some(client) = client.upgrade() {
                        client.forget(&id);
                    }
                });
                false
            }
            None => message.is_modern || !self.session().has_begun,
        }
    }

    /// Gives up a request that was cancelled and is still open.
    fn forget(&self, id: &RequestId) {
        let mut waiting = self.waiting();
        if waiting.get(id).is_some_and(|asked| asked.is_cancelled)
            && let Some(asked) = waiting.remove(id)
        {
            asked.abort();
        }
    }
}
