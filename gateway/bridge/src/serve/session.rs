//! One session of one client, under a revision that has them.
//!
//! Enter: what a child says that answers no request. Leave: the same, in the session's own stream or in
//! the response that is open longest; until there is either, it waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcpf_model::ByteSize;

use super::channel::{Item, Listener, Speaker, channel};
use super::desk::Owner;
use super::link::Link;

/// Most messages that wait for a session without an open stream.
const MAX_WAITING: usize = 256;
/// Most bytes of these, beside one message. 1 MiB.
const MAX_WAITING_BYTES: usize = 1_024 * 1_024;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: Box<str>,
    pub(crate) link: Rc<Link>,
    number: u64,
    stream: RefCell<Option<Speaker>>,
    waiting: RefCell<VecDeque<Bytes>>,
    busy: Cell<usize>,
    used: Cell<Instant>,
}

/// There is no room for a message.
#[derive(Debug)]
pub(crate) struct NoRoom;

/// Holds a session in use.
#[derive(Debug)]
pub(crate) struct Busy(Rc<Session>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get().saturating_sub(1));
        self.0.used.set(Instant::now());
    }
}

impl Session {
    pub(crate) fn new(id: Box<str>, number: u64, link: Rc<Link>) -> Self {
        Self {
            id,
            link,
            number,
            stream: RefCell::new(None),
            waiting: RefCell::default(),
            busy: Cell::new(0),
            used: Cell::new(Instant::now()),
        }
    }

    pub(crate) const fn owner(&self) -> Owner {
        Owner::Session(self.number)
    }

    pub(crate) fn occupy(self: &Rc<Self>) -> Busy {
        self.busy.set(self.busy.get().saturating_add(1));
        Busy(Rc::clone(self))
    }

    pub(crate) fn is_idle(&self, ttl: Duration) -> bool {
        self.busy.get() == 0 && self.used.get().elapsed() > ttl
    }

    /// Opens the session's own stream, if it is not open.
    pub(crate) fn open(&self, most: ByteSize) -> Option<Listener> {
        let mut stream = self.stream.borrow_mut();
        if stream.as_ref().is_some_and(|speaker| !speaker.is_gone()) {
            return None;
        }
        let (speaker, listener) = channel(most);
        self.catch_up(&speaker);
        *stream = Some(speaker);
        Some(listener)
    }

    /// Says what has waited for a stream to be opened.
    pub(crate) fn catch_up(&self, speaker: &Speaker) {
        for line in self.waiting.borrow_mut().drain(..) {
            speaker.push(Item::Message(line));
        }
    }

    /// Where a message goes that answers no request.
    pub(crate) fn speaker(&self) -> Option<Speaker> {
        let stream = self.stream.borrow().clone();
        stream
            .filter(|speaker| !speaker.is_gone())
            .or_else(|| self.link.oldest(self.owner()))
    }

    /// Keeps a message for a stream that is yet to be opened.
    pub(crate) fn keep(&self, line: Bytes) -> Result<(), NoRoom> {
        let mut waiting = self.waiting.borrow_mut();
        let bytes: usize = waiting.iter().map(Bytes::len).sum();
        let has_room = waiting.is_empty()
            || (waiting.len() < MAX_WAITING
                && bytes.saturating_add(line.len()) <= MAX_WAITING_BYTES);
        if !has_room {
            return Err(NoRoom);
        }
        waiting.push_back(line);
        Ok(())
    }

    /// Ends the session's own stream.
    pub(crate) fn close(&self) {
        if let Some(stream) = self.stream.borrow_mut().take() {
            stream.close();
        }
        self.waiting.borrow_mut().clear();
    }
}
