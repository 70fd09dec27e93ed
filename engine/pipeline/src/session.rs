//! One conversation between a client and a server: who calls, which revision, what awaits an answer.
//!
//! Enter: facts read from messages that were let through. Leave: answers to "whose response is
//! this" and "which tool did that result come from". Never: message contents.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mcpf_model::{
    Direction, Limits, MessageKind, Mode, Principal, ProtocolVersion, Reason, RequestId, Verdict,
};

use crate::chain::Progress;
use crate::method::Method;
use crate::outcome::{Answer, AnsweredCall, Facts};
use crate::walk::{blank_facts, call_of};

/// State of one connection. Owned by its worker, passed by `&mut`.
#[derive(Debug)]
pub struct Session {
    /// Random id of this session, for audit.
    pub id: Arc<str>,
    /// The server's name, as the operator gave it.
    pub server: Arc<str>,
    /// Who is calling.
    pub principal: Principal,
    /// The revision that `initialize` settled on; `None` before, and always for 2026-07-28.
    pub version: Option<ProtocolVersion>,
    pub(crate) from_client: InFlight,
    pub(crate) from_server: InFlight,
    pub(crate) memory: Memory,
    pub(crate) batch_ok: bool,
    pub(crate) awaited: Awaited,
}

/// Which of the client's requests a message of the server may answer where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Awaited {
    /// Any that waits, as where there is one stream for all. What cannot be read is taken for the
    /// answer to the only request that waits.
    #[default]
    Any,
    /// Any that waits and is named: what cannot be read answers nothing.
    Named,
    /// This one: others have streams of their own.
    Only(RequestId),
    /// None any more.
    Nothing,
}

impl Awaited {
    /// Whether the request called `id` may be answered.
    pub(crate) fn holds(&self, id: &RequestId) -> bool {
        match self {
            Self::Any | Self::Named => true,
            Self::Only(only) => only == id,
            Self::Nothing => false,
        }
    }
}

impl Session {
    /// A session of `principal` with `server`.
    #[must_use]
    pub fn new(id: Arc<str>, server: Arc<str>, principal: Principal, limits: &Limits) -> Self {
        Self {
            id,
            server,
            principal,
            version: None,
            from_client: InFlight::new(limits.max_in_flight as usize),
            from_server: InFlight::new(limits.max_in_flight as usize),
            memory: Memory::default(),
            batch_ok: false,
            awaited: Awaited::Any,
        }
    }

    /// From now on the server's messages stand where they may answer these requests.
    pub fn await_answers(&mut self, awaited: Awaited) {
        self.awaited = awaited;
    }

    /// The same session with a memory that others share: each request of the sessionless revision
    /// is a session of its own, and its caller's memory outlives it.
    #[must_use]
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// What this session remembers.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Requests that travelled in `direction` and await their answer.
    #[must_use]
    pub fn in_flight(&self, direction: Direction) -> &InFlight {
        match direction {
            Direction::Inbound => &self.from_client,
            Direction::Outbound => &self.from_server,
        }
    }

    pub(crate) fn in_flight_mut(&mut self, direction: Direction) -> &mut InFlight {
        match direction {
            Direction::Inbound => &mut self.from_client,
            Direction::Outbound => &mut self.from_server,
        }
    }

    /// Takes every request of `direction` that still awaits an answer, oldest first: the peer
    /// that owed the answers is gone, and each is to be answered with an error.
    pub fn abandon(&mut self, direction: Direction) -> Vec<(RequestId, Pending)> {
        self.in_flight_mut(direction).drain()
    }

    /// A person approved the request called `id`: it goes to the peer, which may answer it now.
    pub fn approved(&mut self, direction: Direction, id: &RequestId) {
        self.in_flight_mut(direction).approve(id);
    }

    /// Ids of the requests of `direction` that await an answer.
    #[must_use]
    pub fn waiting(&self, direction: Direction) -> Vec<RequestId> {
        let flight = self.in_flight(direction);
        let waiting = flight
            .map
            .iter()
            .filter(|(_, p)| p.state != State::Cancelled);
        waiting.map(|(id, _)| id.clone()).collect()
    }

    /// From now on `memory` is what this session remembers.
    pub fn remember_in(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// Whoever made the request called `id` does not wait any more. Its answer may still come.
    pub fn gave_up(&mut self, direction: Direction, id: &RequestId) {
        self.in_flight_mut(direction).cancel(id);
    }

    /// Forgets a request that was answered by us.
    pub fn answered(&mut self, direction: Direction, id: &RequestId) {
        self.in_flight_mut(direction).finish(id);
    }
}

/// What one caller's conversation leaves behind: how far dangerous sequences have come, and which
/// tools were poisoned. Clones are the same memory.
///
/// At most some hundred kilobytes, and only when a server is hostile.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Remembered>>);

#[derive(Debug, Default)]
pub(crate) struct Remembered {
    pub(crate) chains: Progress,
    pub(crate) quarantine: Quarantine,
}

impl Memory {
    /// Locked for a moment; never while anything is scanned.
    pub(crate) fn open(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets how far dangerous sequences have come: they are numbered by the policy, which has
    /// changed.
    pub fn forget_chains(&self) {
        self.open().chains = Progress::default();
    }
}

/// A request that awaits its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Which method was asked for.
    pub method: Method,
    /// The method as it was spelled.
    pub name: Arc<str>,
    /// The tool of a `tools/call`.
    pub tool: Option<Arc<str>>,
    /// Whether the request was made under 2026-07-28, whose results need a `resultType`.
    pub modern: bool,
    /// Steps of chains that the answer may still fulfil with a finding: chain, step.
    pub(crate) steps: Vec<(usize, usize)>,
    /// Policy wants every finding in the answer redacted.
    pub(crate) redact: bool,
    state: State,
    order: u64,
}

impl Pending {
    /// A request of `method`, spelled `name`.
    pub(crate) fn new(method: Method, name: Arc<str>) -> Self {
        Self {
            method,
            name,
            tool: None,
            modern: false,
            steps: Vec::new(),
            redact: false,
            state: State::Waiting,
            order: 0,
        }
    }

    /// The same request while a person is being asked about it.
    pub(crate) fn held(self) -> Self {
        Self {
            state: State::Held,
            ..self
        }
    }

    /// What kind of request it is, for whoever answers it.
    #[must_use]
    pub fn answered_call(&self) -> AnsweredCall {
        call_of(self.method, self.modern)
    }

    /// The answer and the facts of a request that the peer will not answer any more; the answer
    /// travels in `direction`.
    #[must_use]
    pub fn abandoned(
        &self,
        id: RequestId,
        direction: Direction,
        reason: Reason,
    ) -> (Answer, Facts) {
        let answer = Answer {
            direction,
            id: Some(id.clone()),
            call: self.answered_call(),
            code: reason.code,
        };
        let facts = Facts {
            kind: Some(MessageKind::Error),
            method: Arc::clone(&self.name),
            id: Some(id),
            tool: self.tool.clone(),
            is_error: true,
            verdict: Verdict::Deny,
            reason: Some(reason),
            ..blank_facts(direction, 0, Mode::Enforce)
        };
        (answer, facts)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A person is being asked: the peer has not seen it and cannot answer it.
    Held,
    Waiting,
    Cancelled,
}

/// Requests of one direction by id.
#[derive(Debug)]
pub struct InFlight {
    map: HashMap<RequestId, Pending>,
    cancelled: usize,
    next: u64,
    max: usize,
}

/// Why a request was not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    DuplicateId,
    TooMany,
}

impl InFlight {
    fn new(max: usize) -> Self {
        Self {
            map: HashMap::new(),
            cancelled: 0,
            next: 0,
            max,
        }
    }

    /// How many requests await an answer; cancelled ones whose answer may still come not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len() - self.cancelled
    }

    /// Whether nothing awaits an answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The request called `id`, if it awaits an answer.
    #[must_use]
    pub fn get(&self, id: &RequestId) -> Option<&Pending> {
        self.map.get(id)
    }

    /// The request called `id`, if the peer has seen it and so may answer it.
    pub(crate) fn answerable(&self, id: &RequestId) -> Option<&Pending> {
        self.map
            .get(id)
            .filter(|pending| pending.state != State::Held)
    }

    /// Whether the request called `id` is known and was not cancelled.
    #[must_use]
    pub fn awaits(&self, id: &RequestId) -> bool {
        self.map
            .get(id)
            .is_some_and(|pending| pending.state != State::Cancelled)
    }

    pub(crate) fn check(&self, id: &RequestId) -> Result<(), Refused> {
        match self.map.get(id) {
            Some(_) => Err(Refused::DuplicateId),
            None if self.len() >= self.max => Err(Refused::TooMany),
            None => Ok(()),
        }
    }

    pub(crate) fn begin(&mut self, id: RequestId, pending: Pending) {
        let order = self.next;
        self.next += 1;
        self.map.insert(id, Pending { order, ..pending });
    }

    fn approve(&mut self, id: &RequestId) {
        if let Some(pending) = self.map.get_mut(id)
            && pending.state == State::Held
        {
            pending.state = State::Waiting;
        }
    }

    /// The peer has answered, well or badly. What it has not seen it cannot answer.
    pub(crate) fn settle(&mut self, id: &RequestId) -> Option<Pending> {
        self.answerable(id)?;
        self.finish(id)
    }

    pub(crate) fn finish(&mut self, id: &RequestId) -> Option<Pending> {
        let pending = self.map.remove(id)?;
        if pending.state == State::Cancelled {
            self.cancelled -= 1;
        }
        Some(pending)
    }

    /// Marks a request as cancelled. Its answer may still come, or never: of those that never
    /// come the oldest is forgotten once there are as many as requests may be in flight.
    pub(crate) fn cancel(&mut self, id: &RequestId) {
        if let Entry::Occupied(mut entry) = self.map.entry(id.clone())
            && entry.get().state != State::Cancelled
        {
            entry.get_mut().state = State::Cancelled;
            self.cancelled += 1;
        }
        if self.cancelled > self.max {
            let oldest = self
                .map
                .iter()
                .filter(|(_, pending)| pending.state == State::Cancelled)
                .min_by_key(|(_, pending)| pending.order)
                .map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.finish(&oldest);
            }
        }
    }

    /// The only request that awaits an answer, if there is exactly one.
    pub(crate) fn only(&self) -> Option<&RequestId> {
        let mut waiting = self.map.iter().filter(|(_, p)| p.state == State::Waiting);
        match (waiting.next(), waiting.next()) {
            (Some((id, _)), None) => Some(id),
            _ => None,
        }
    }

    fn drain(&mut self) -> Vec<(RequestId, Pending)> {
        let mut all: Vec<_> = self
            .map
            .drain()
            .filter(|(_, pending)| pending.state != State::Cancelled)
            .collect();
        self.cancelled = 0;
        all.sort_by_key(|(_, pending)| pending.order);
        all
    }
}

/// Tools whose metadata was refused: listed to nobody, callable by nobody.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    tools: HashMap<Box<str>, Arc<str>>,
}

impl Quarantine {
    /// Most names kept; a server with more poisoned tools has its whole list refused.
    pub(crate) const MAX: usize = 4_096;

    pub(crate) fn is_full(&self) -> bool {
        self.tools.len() >= Self::MAX
    }

    pub(crate) fn put(&mut self, tool: &str, rule: Arc<str>) {
        self.tools.insert(Box::from(tool), rule);
    }

    /// The rule that refused the tool's metadata.
    pub(crate) fn why(&self, tool: &str) -> Option<&Arc<str>> {
        self.tools.get(tool)
    }

    /// A tool whose metadata is clean now is free again.
    pub(crate) fn release(&mut self, tool: &str) {
        if !self.tools.is_empty() {
            self.tools.remove(tool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: i64) -> RequestId {
        RequestId::Number(n)
    }

    fn ping() -> Pending {
        Pending::new(Method::Ping, "ping".into())
    }

    #[test]
    fn an_id_is_free_again_once_it_is_answered() {
        let mut flight = InFlight::new(2);
        flight.begin(id(1), ping());
        assert_eq!(flight.check(&id(1)), Err(Refused::DuplicateId));
        assert_eq!(flight.check(&RequestId::String("1".into())), Ok(()));
        flight.begin(id(2), ping());
        assert_eq!(flight.check(&id(3)), Err(Refused::TooMany));
        assert!(flight.finish(&id(1)).is_some());
        assert!(flight.finish(&id(1)).is_none());
        assert_eq!(flight.check(&id(1)), Ok(()));
    }

    #[test]
    fn the_peer_cannot_answer_what_it_has_not_seen() {
        let mut flight = InFlight::new(2);
        flight.begin(id(1), ping().held());
        assert_eq!(flight.check(&id(1)), Err(Refused::DuplicateId));
        assert!(flight.awaits(&id(1)));
        assert_eq!(flight.only(), None);
        assert!(flight.answerable(&id(1)).is_none());
        assert!(flight.settle(&id(1)).is_none());
        flight.approve(&id(1));
        assert_eq!(flight.only(), Some(&id(1)));
        assert!(flight.settle(&id(1)).is_some());
        assert!(flight.is_empty());
    }

    #[test]
    fn cancelled_requests_do_not_fill_the_table() {
        let mut flight = InFlight::new(4);
        for n in 0..1_000 {
            assert_eq!(flight.check(&id(n)), Ok(()));
            flight.begin(id(n), ping());
            flight.cancel(&id(n));
            flight.cancel(&id(n));
        }
        assert!(flight.is_empty());
        assert!(flight.map.len() <= 5);
        assert!(
            flight.finish(&id(999)).is_some(),
            "a late answer still finds its request"
        );
    }

    #[test]
    fn what_is_abandoned_comes_back_in_the_order_it_was_asked() {
        let mut flight = InFlight::new(9);
        for n in [5, 3, 8, 1] {
            flight.begin(id(n), ping());
        }
        flight.cancel(&id(8));
        let order: Vec<_> = flight.drain().into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, [id(5), id(3), id(1)]);
        assert_eq!(flight.len(), 0);
    }
}
