//! Who talks with the server, and since when.
//!
//! Enter: session ids that a server has made, callers. Leave: the [`Conversation`] a request belongs
//! to, or nothing: an id made for another caller is as unknown as one that was never made.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use hyper::Uri;
use mcpf_pipeline::{Memory, Nanos, Session};
use tokio::sync::mpsc;

use super::gate::Credential;

/// Most callers without sessions that are remembered one by one; the rest share one memory.
const MAX_CALLERS: usize = 65_536;

/// One session, or one request of a caller that has none.
#[derive(Debug)]
pub(crate) struct Conversation {
    session: Mutex<Session>,
    credential: Credential,
    used: AtomicU64,
    /// Where its messages go and its answers come, if the server named a place of its own
    /// (2024-11-05).
    endpoint: OnceLock<Endpoint>,
}

impl Conversation {
    pub(crate) fn new(session: Session, credential: Credential, now: Nanos) -> Self {
        Self {
            session: Mutex::new(session),
            credential,
            used: AtomicU64::new(now.0),
            endpoint: OnceLock::new(),
        }
    }

    /// The server named a place for its messages; the first word counts.
    pub(crate) fn attach(&self, endpoint: Endpoint) {
        let _kept = self.endpoint.set(endpoint);
    }

    /// The place that the server named.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.get()
    }

    /// Held while one message is inspected, never while anything is awaited.
    pub(crate) fn open(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One end of 2024-11-05's transport: messages are posted to a place of the server's choice, and
/// every answer comes in the stream that named it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Where the server takes messages.
    pub(crate) target: Uri,
    /// What the client reads.
    pub(crate) stream: mpsc::Sender<Bytes>,
}

/// Whoever has no session is told from others by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    pub(crate) address: IpAddr,
    pub(crate) credential: Credential,
}

/// All conversations of a gateway.
#[derive(Debug)]
pub(crate) struct Conversations {
    sessions: DashMap<Box<str>, Arc<Conversation>>,
    callers: DashMap<Caller, Known>,
    crowd: Memory,
    max: usize,
    ttl: u64,
}

#[derive(Debug)]
struct Known {
    memory: Memory,
    used: AtomicU64,
}

impl Conversations {
    pub(crate) fn new(max: usize, ttl: Duration) -> Self {
        Self {
            sessions: DashMap::new(),
            callers: DashMap::new(),
            crowd: Memory::default(),
            max,
            ttl: u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// The session called `id`, if `credential` may use it.
    pub(crate) fn find(
        &self,
        id: &str,
        credential: Credential,
        now: Nanos,
    ) -> Option<Arc<Conversation>> {
        let found = self.sessions.get(id)?;
        if found.credential != credential {
            return None;
        }
        found.used.store(now.0, Ordering::Relaxed);
        Some(Arc::clone(&found))
    }

    /// Whether another session may begin.
    pub(crate) fn has_room(&self) -> bool {
        self.sessions.len() < self.max
    }

    /// A server has called `conversation` `id`.
    pub(crate) fn enter(&self, id: &str, conversation: Arc<Conversation>) {
        self.sessions.insert(id.into(), conversation);
    }

    /// The session has ended.
    pub(crate) fn leave(&self, id: &str) {
        self.sessions.remove(id);
    }

    /// What is remembered of a caller without sessions.
    pub(crate) fn memory(&self, caller: Caller, now: Nanos) -> Memory {
        if let Some(known) = self.callers.get(&caller) {
            known.used.store(now.0, Ordering::Relaxed);
            return known.memory.clone();
        }
        if self.callers.len() >= MAX_CALLERS {
            return self.crowd.clone();
        }
        let known = self.callers.entry(caller).or_insert_with(|| Known {
            memory: Memory::default(),
            used: AtomicU64::new(now.0),
        });
        known.memory.clone()
    }

    /// Forgets whoever has not been heard of for too long.
    pub(crate) fn sweep(&self, now: Nanos) {
        let is_fresh =
            |used: &AtomicU64| now.0.saturating_sub(used.load(Ordering::Relaxed)) <= self.ttl;
        // A stream that is open holds its conversation: that one is in use.
        self.sessions
            .retain(|_, found| is_fresh(&found.used) || Arc::strong_count(found) > 1);
        self.callers.retain(|_, known| is_fresh(&known.used));
    }

    /// The policy has changed: sequences are numbered anew.
    pub(crate) fn forget_chains(&self) {
        for found in &self.sessions {
            found.open().memory().forget_chains();
        }
        for known in &self.callers {
            known.memory.forget_chains();
        }
        self.crowd.forget_chains();
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }
}
