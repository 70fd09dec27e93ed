//! The open log, as the gateway holds it.
//!
//! Entries enter, tickets leave at once; how far the log is durable is read from an atomic. Nothing
//! here waits, except [`Log::close`].

use crate::Durability;
use crate::queue::{AppendError, Queue};
use crate::record::{Entry, Event, Item};
use crate::writer::{self, Closed, Failure, Writer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Called by the writer thread each time [`Log::durable`] has moved and when the log has failed. It
/// must not block: writing a byte to a non-blocking pipe is what it is for.
pub type Hook = Box<dyn Fn() + Send>;

/// Proof that an entry has a number and a place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "an action may only follow once `Log::is_recorded` says so"]
pub struct Ticket {
    /// The record's number in its file.
    pub seq: u64,
}

/// An open audit log. Share it by reference or `Arc`; any thread may append.
///
/// Dropping it closes it.
#[derive(Debug)]
pub struct Log {
    queue: Arc<Queue>,
    writer: Arc<Mutex<Writer>>,
    path: PathBuf,
    durability: Durability,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Running(JoinHandle<Result<Closed, Failure>>),
    Ended(Result<Closed, Failure>),
}

impl Log {
    /// Starts the writer thread.
    pub(crate) fn start(writer: Writer, path: PathBuf) -> std::io::Result<Self> {
        let queue = Arc::clone(&writer.queue);
        let durability = writer.durability;
        let writer = Arc::new(Mutex::new(writer));
        let thread = {
            let (writer, queue) = (Arc::clone(&writer), Arc::clone(&queue));
            std::thread::Builder::new()
                .name("audit".into())
                .spawn(move || writer::run(&writer, &queue))?
        };
        Ok(Self {
            queue,
            writer,
            path,
            durability,
            state: Mutex::new(State::Running(thread)),
        })
    }

    /// Puts a decision into the queue. Never waits; costs about a microsecond.
    ///
    /// # Errors
    /// [`AppendError`]: the caller must then deny the message, since nothing will record it.
    pub fn append(&self, entry: Entry) -> Result<Ticket, AppendError> {
        self.queue
            .push(Item::Decision(entry))
            .map(|seq| Ticket { seq })
    }

    /// The same, but a writer that sleeps is not woken: whoever appends several entries in a row
    /// calls [`Self::nudge`] once behind them.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub fn append_quietly(&self, entry: Entry) -> Result<Ticket, AppendError> {
        self.queue
            .push_quietly(Item::Decision(entry))
            .map(|seq| Ticket { seq })
    }

    /// Sees to entries that were appended quietly: with [`Durability::Flush`] they are written here
    /// and now, which blocks for as long as that takes, some microseconds; else the writer is woken.
    /// Costs nothing when none waits.
    pub fn nudge(&self) {
        match self.durability {
            Durability::Flush => writer::write_here(&self.writer, &self.queue),
            _ => self.queue.nudge(),
        }
    }

    /// Puts an event of the gateway's own into the queue.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub fn append_event(&self, event: Event) -> Result<Ticket, AppendError> {
        self.queue
            .push(Item::Event(event))
            .map(|seq| Ticket { seq })
    }

    /// Whether there is room for what one more message brings about. A caller that can wait reads
    /// no further while there is none; the hook is called as the writer makes room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// How many records await the writer, near enough.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.queue.depth()
    }

    /// The highest number that is durable in the sense of the log's [`Durability`]: that record and
    /// all before it.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.queue.durable()
    }

    /// Whether the action a ticket stands for may go ahead: its record is durable, or the log is
    /// asynchronous and has not failed.
    #[must_use]
    pub fn is_recorded(&self, ticket: Ticket) -> bool {
        match self.durability {
            Durability::Fsync | Durability::Flush => self.durable() >= ticket.seq,
            Durability::Async { .. } => !self.has_failed() || self.durable() >= ticket.seq,
        }
    }

    /// Whether the log has failed. It stays failed; everything must be denied from then on.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.queue.has_failed()
    }

    /// Whether an append would be refused now for another reason than a full queue.
    ///
    /// # Errors
    /// [`AppendError::Failed`] or [`AppendError::Closed`].
    pub fn status(&self) -> Result<(), AppendError> {
        self.queue.marks()
    }

    /// The file being written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the log promises about a recorded entry.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.durability
    }

    /// Writes what waits, then a signed `stop` record, syncs and ends the writer. Waits for that. A
    /// second call gives the same answer.
    ///
    /// # Errors
    /// The first failure of the log, whenever it was.
    pub fn close(&self) -> Result<Closed, Failure> {
        self.queue.close();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let running = std::mem::replace(&mut *state, State::Ended(Err(Failure::Died)));
        let outcome = match running {
            State::Running(thread) => thread.join().unwrap_or(Err(Failure::Died)),
            State::Ended(outcome) => outcome,
        };
        *state = State::Ended(outcome.clone());
        outcome
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}
