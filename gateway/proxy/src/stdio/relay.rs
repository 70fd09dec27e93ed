//! One stdio session without its input and output: bytes in, bytes out, time as an argument.
//!
//! Enter: what either peer wrote, wake-ups, the clock. Leave: what either peer is to read. Never: a
//! system call, so that every interleaving can be tried in a test.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mcpf_audit::{AppendError, Durability, Event, Log};
use mcpf_model::{Direction, Mode, Reason, ReasonCode, RequestId, Stage, Verdict};
use mcpf_pipeline::{
    Answer, Blocked, Context, Facts, Held, Inspection, Nanos, Outcome, Released, Scratch, Session,
    inspect, refuse,
};
use mcpf_wire::LineFramer;

use super::outlet::Outlet;
use crate::approve::{Approver, Ticket, Word};
use crate::record::entry;
use crate::respond::{DenyAs, respond};

/// What a relay needs to begin.
pub struct Parts {
    /// Policy, rules, limits, and what all sessions share.
    pub context: Context,
    /// Who talks to which server.
    pub session: Session,
    /// Where decisions are recorded.
    pub log: Arc<Log>,
    /// How a refused `tools/call` is answered.
    pub deny_as: DenyAs,
    /// Who is asked when policy wants a person's word.
    pub approver: Box<dyn Approver>,
}

/// One session between a client and a server, over bytes.
pub struct Relay {
    framers: [LineFramer; 2],
    ended: [bool; 2],
    core: Core,
}

/// Everything but the bytes that have not been cut into frames yet.
struct Core {
    context: Context,
    session: Session,
    scratch: Scratch,
    log: Arc<Log>,
    deny_as: DenyAs,
    approver: Box<dyn Approver>,
    /// Towards the server, towards the client.
    outlets: [Outlet; 2],
    sinks_gone: [bool; 2],
    held: Vec<Waiting>,
    next_ticket: u64,
    started: Instant,
    log_failed: bool,
    server_gone: bool,
}

/// A call that a person is being asked about.
struct Waiting {
    ticket: Ticket,
    held: Held,
    facts: Facts,
    before: Nanos,
}

impl Relay {
    /// Most calls that wait for a person at once; further ones are refused. 64.
    pub const MAX_HELD: usize = 64;

    /// Most bytes of our own answers that wait for a server which does not read; past it the
    /// server's messages are no longer read either. 1 MiB.
    pub const MAX_UNREAD: usize = 1024 * 1024;

    /// A relay at the start of a session.
    ///
    /// # Errors
    ///
    /// When the scan library cannot allocate its scratch.
    pub fn new(parts: Parts) -> Result<Self, mcpf_pipeline::ScanError> {
        let Parts {
            context,
            session,
            log,
            deny_as,
            approver,
        } = parts;
        let max = context.generation.limits.max_frame;
        Ok(Self {
            framers: [LineFramer::new(max), LineFramer::new(max)],
            ended: [false; 2],
            core: Core {
                scratch: Scratch::new(&context.generation)?,
                context,
                session,
                log,
                deny_as,
                approver,
                outlets: [Outlet::default(), Outlet::default()],
                sinks_gone: [false; 2],
                held: Vec::new(),
                next_ticket: 0,
                started: Instant::now(),
                log_failed: false,
                server_gone: false,
            },
        })
    }

    /// Where bytes of the peer that sends in `direction` are to be read into.
    pub fn space(&mut self, direction: Direction) -> &mut [u8] {
        match direction {
            Direction::Inbound => self.framers[0].space(),
            Direction::Outbound => self.framers[1].space(),
        }
    }

    /// `n` bytes were read into [`Relay::space`].
    pub fn advance(&mut self, direction: Direction, n: usize) {
        match direction {
            Direction::Inbound => self.framers[0].advance(n),
            Direction::Outbound => self.framers[1].advance(n),
        }
    }

    /// Inspects frames that are complete, as long as there is room for what comes of them.
    pub fn pump(&mut self) {
        for direction in [Direction::Outbound, Direction::Inbound] {
            let framer = match direction {
                Direction::Inbound => &mut self.framers[0],
                Direction::Outbound => &mut self.framers[1],
            };
            while self.core.has_room(direction) {
                match framer.next_frame() {
                    None => break,
                    Some(Ok(range)) => self.core.on_frame(direction, framer.frame(range)),
                    Some(Err(error)) => {
                        let refusal = error.refusal(&self.core.context.generation.limits);
                        self.core.on_refusal(direction, &refusal);
                    }
                }
            }
            framer.compact();
        }
        self.finish_ended();
        self.core.settle();
    }

    /// Once the last frame of a peer that has ended is dealt with, so is what stood after it.
    fn finish_ended(&mut self) {
        for direction in [Direction::Outbound, Direction::Inbound] {
            let (ended, framer) = match direction {
                Direction::Inbound => (self.ended[0], &mut self.framers[0]),
                Direction::Outbound => (self.ended[1], &mut self.framers[1]),
            };
            if ended
                && !framer.has_frame()
                && let Some(error) = framer.finish()
            {
                let refusal = error.refusal(&self.core.context.generation.limits);
                self.core.on_refusal(direction, &refusal);
            }
        }
        if self.ended[1] && !self.framers[1].has_frame() && !self.core.server_gone {
            self.core.server_gone = true;
            self.core
                .answer_abandoned("the server ended before it answered");
        }
    }

    /// Whether complete frames wait that [`Relay::pump`] could inspect now.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        (self.framers[0].has_frame() && self.core.has_room(Direction::Inbound))
            || (self.framers[1].has_frame() && self.core.has_room(Direction::Outbound))
    }

    /// Whether more bytes of the peer that sends in `direction` are wanted now.
    #[must_use]
    pub fn wants(&self, direction: Direction) -> bool {
        let waiting = match direction {
            Direction::Inbound => self.framers[0].has_frame(),
            Direction::Outbound => self.framers[1].has_frame(),
        };
        !waiting && self.core.has_room(direction)
    }

    /// The queue of bytes that travel in `direction`.
    #[must_use]
    pub fn outlet(&self, direction: Direction) -> &Outlet {
        self.core.outlet(direction)
    }

    /// The same, to be drained.
    pub fn outlet_mut(&mut self, direction: Direction) -> &mut Outlet {
        self.core.outlet_mut(direction)
    }

    /// The peer that sends in `direction` will send no more.
    pub fn end_of(&mut self, direction: Direction) {
        match direction {
            Direction::Inbound => self.ended[0] = true,
            Direction::Outbound => self.ended[1] = true,
        }
        self.pump();
    }

    /// The peer that reads what travels in `direction` reads no more.
    pub fn sink_gone(&mut self, direction: Direction) {
        self.core.outlet_mut(direction).close();
        match direction {
            Direction::Inbound => {
                self.core.sinks_gone[0] = true;
                self.core
                    .answer_abandoned("the server closed its input before it answered");
            }
            Direction::Outbound => self.core.sinks_gone[1] = true,
        }
        self.core.settle();
    }

    /// Whether everything that travels in `direction` has been delivered, and nothing more can come.
    #[must_use]
    pub fn is_drained(&self, direction: Direction) -> bool {
        let own_backlog = match direction {
            Direction::Inbound => self.framers[0].has_frame(),
            Direction::Outbound => self.framers[1].has_frame(),
        };
        !own_backlog && self.core.outlet(direction).is_empty() && self.core.held.is_empty()
    }

    /// Another thread has news: records are durable, a person has decided.
    pub fn on_wake(&mut self) {
        self.core.on_durable();
        self.core.collect_words();
        self.core.settle();
    }

    /// The operator turned the kill switch by signal.
    pub fn kill_switch(&mut self, on: bool) {
        self.core.context.shared.kill.set_by_signal(on);
        self.core.event(
            "kill_switch",
            vec![
                ("state", if on { "on" } else { "off" }.into()),
                ("by", "signal".into()),
            ],
        );
        tracing::warn!(on, "kill switch");
    }
}

impl Core {
    fn outlet(&self, direction: Direction) -> &Outlet {
        match direction {
            Direction::Inbound => &self.outlets[0],
            Direction::Outbound => &self.outlets[1],
        }
    }

    fn outlet_mut(&mut self, direction: Direction) -> &mut Outlet {
        match direction {
            Direction::Inbound => &mut self.outlets[0],
            Direction::Outbound => &mut self.outlets[1],
        }
    }

    /// Whether a frame that travels in `direction` could be taken now.
    ///
    /// A client waits while its own answers or the server's input are backed up. A server waits only
    /// for the client: were it to wait for its own input as well, a server that writes before it
    /// reads would wait for ever.
    fn has_room(&self, direction: Direction) -> bool {
        if !self.log_failed && !self.log.has_room() {
            return false;
        }
        match direction {
            Direction::Inbound => !self.outlets[0].is_high() && !self.outlets[1].is_high(),
            Direction::Outbound => {
                !self.outlets[1].is_high()
                    && self.outlets[0].len()
                        < Outlet::HIGH_WATER + self.max_frame() + Relay::MAX_UNREAD
            }
        }
    }

    fn max_frame(&self) -> usize {
        self.context.generation.limits.max_frame.bytes()
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn on_frame(&mut self, direction: Direction, frame: &[u8]) {
        let before = self.now();
        let Inspection { outcome, facts } = inspect(
            &self.context,
            &mut self.session,
            &mut self.scratch,
            direction,
            frame,
            before,
        );
        match outcome {
            Outcome::Split(elements) => self.on_batch(direction, frame, &elements),
            Outcome::Forward(released) => {
                self.forward(direction, &released, facts, before);
                if !self.held.is_empty() {
                    self.drop_cancelled();
                }
            }
            Outcome::Block(blocked) => self.block(blocked, facts, before),
            Outcome::Hold(held) => self.hold(*held, facts, before),
        }
    }

    fn on_batch(&mut self, direction: Direction, frame: &[u8], elements: &[Range<usize>]) {
        for element in elements {
            self.on_frame(direction, frame.get(element.clone()).unwrap_or_default());
        }
    }

    /// A line that is not a frame.
    fn on_refusal(&mut self, direction: Direction, refusal: &mcpf_wire::Refusal) {
        let before = self.now();
        let Inspection { outcome, facts } = refuse(&mut self.session, direction, 0, refusal);
        if let Outcome::Block(blocked) = outcome {
            self.block(blocked, facts, before);
        }
    }

    fn forward(
        &mut self,
        direction: Direction,
        released: &Released<'_>,
        facts: Facts,
        before: Nanos,
    ) {
        let id = facts.id.clone();
        match self.record(facts, before) {
            Ok(_) if self.is_gone(direction) => {
                self.answer_abandoned("the server is gone");
            }
            Ok(seq) => {
                let after = self.gate(seq);
                self.outlet_mut(direction).push(released.bytes(), after);
            }
            Err(error) => self.unrecorded(direction, id, &error),
        }
    }

    fn is_gone(&self, direction: Direction) -> bool {
        match direction {
            Direction::Inbound => self.sinks_gone[0] || self.server_gone,
            Direction::Outbound => self.sinks_gone[1],
        }
    }

    fn block(&mut self, blocked: Blocked, facts: Facts, before: Nanos) {
        let Blocked { reason, answer } = blocked;
        tracing::info!(
            direction = %facts.direction,
            method = &*facts.method,
            tool = facts.tool.as_deref().unwrap_or_default(),
            stage = %reason.stage,
            rule = reason.rule.as_deref().unwrap_or_default(),
            "blocked: {}", reason.text
        );
        let recorded = self.record(facts, before);
        if let Some(answer) = answer {
            self.answer(&answer, &reason, recorded.ok());
        }
    }

    /// Queues an answer of ours. An answer may leave without its record: it carries nothing of either peer.
    fn answer(&mut self, answer: &Answer, reason: &Reason, seq: Option<u64>) {
        let reference = match seq {
            Some(seq) => format!("{}/{seq}", self.session.id),
            None => format!("{}/unrecorded", self.session.id),
        };
        let frame = respond(answer, reason, &reference, self.deny_as);
        if !self.is_gone(answer.direction) {
            let after = seq.and_then(|seq| self.gate(seq));
            self.outlet_mut(answer.direction).push(&frame, after);
        }
    }

    /// Which record must be durable before a frame leaves.
    fn gate(&self, seq: u64) -> Option<u64> {
        match self.log.durability() {
            Durability::Fsync | Durability::Flush => Some(seq),
            Durability::Async { .. } => None,
        }
    }

    /// No record, no action: the sender is told instead.
    fn unrecorded(&mut self, direction: Direction, id: Option<RequestId>, error: &AppendError) {
        if matches!(error, AppendError::Full) {
            tracing::warn!(%error, "denied what could not be recorded");
        } else {
            self.log_failed = true;
            tracing::error!(%error, "the audit log cannot record; everything is denied from now on");
        }
        let reason = Reason {
            stage: Stage::Audit,
            code: ReasonCode::Failed,
            rule: None,
            text: "the audit log cannot record this, and nothing goes unrecorded".to_owned(),
        };
        let Some(id) = id else { return };
        let waiting = self.session.in_flight(direction).get(&id).cloned();
        if let Some(pending) = waiting {
            self.session.answered(direction, &id);
            let answer = Answer {
                direction: direction.reverse(),
                id: Some(id),
                call: pending.answered_call(),
                code: ReasonCode::Failed,
            };
            self.answer(&answer, &reason, None);
        } else {
            // A response: the side that waits for it is told, or it would wait for ever.
            let answer = Answer {
                direction,
                id: Some(id),
                call: mcpf_pipeline::AnsweredCall::Other,
                code: ReasonCode::Failed,
            };
            self.answer(&answer, &reason, None);
        }
    }

    fn record(&mut self, facts: Facts, before: Nanos) -> Result<u64, AppendError> {
        let spent = self.now().0.saturating_sub(before.0);
        let entry = entry(
            &self.context.generation,
            &self.session,
            facts,
            before,
            spent,
        );
        self.log.append_quietly(entry).map(|ticket| ticket.seq)
    }

    fn event(&mut self, name: &'static str, detail: Vec<(&'static str, Arc<str>)>) {
        let event = Event {
            time: SystemTime::now(),
            monotonic_ns: self.now().0,
            name,
            detail,
        };
        if let Err(error) = self.log.append_event(event) {
            tracing::error!(%error, name, "an event could not be recorded");
            self.log_failed = true;
        }
    }

    /// Has written what was recorded, and lets go what waited for that.
    fn settle(&mut self) {
        self.log.nudge();
        self.on_durable();
    }

    fn on_durable(&mut self) {
        let durable = self.log.durable();
        for outlet in &mut self.outlets {
            outlet.release(durable);
        }
        if self.log.has_failed() && !self.log_failed {
            self.log_failed = true;
            tracing::error!("the audit log failed; what it had not recorded is not forwarded");
            for outlet in &mut self.outlets {
                outlet.discard_waiting();
            }
            self.answer_abandoned("the audit log failed, and nothing goes unrecorded");
        }
    }

    /// Puts a call before a person. Its record is written once that person has decided.
    fn hold(&mut self, held: Held, facts: Facts, before: Nanos) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let asked = if self.held.len() >= Relay::MAX_HELD {
            Err("too many calls wait for a person already".to_owned())
        } else {
            self.approver.ask(ticket, &held.question)
        };
        let waiting = Waiting {
            ticket,
            held,
            facts,
            before,
        };
        match asked {
            Ok(()) => self.held.push(waiting),
            Err(why) => self.refuse_held(waiting, why),
        }
    }

    fn collect_words(&mut self) {
        while let Some((ticket, word)) = self.approver.next_word() {
            let Some(at) = self
                .held
                .iter()
                .position(|waiting| waiting.ticket == ticket)
            else {
                continue;
            };
            let waiting = self.held.remove(at);
            match word {
                Word::Approved { by } => self.approved(waiting, &by),
                Word::Denied { why } => self.refuse_held(waiting, why),
            }
        }
    }

    fn approved(&mut self, waiting: Waiting, by: &str) {
        if self.context.shared.kill.is_on() {
            let why = "the kill switch was turned on before a person decided";
            return self.refuse_held(waiting, why.to_owned());
        }
        let Waiting {
            held,
            mut facts,
            before,
            ..
        } = waiting;
        let reason = approval(format!("approved by a person ({by})"), &held);
        facts.reason = Some(Reason {
            code: ReasonCode::Noted,
            ..reason
        });
        let direction = facts.direction;
        if let Some(id) = held.id() {
            self.session.approved(direction, id);
        }
        self.forward(direction, &held.approve(), facts, before);
    }

    fn refuse_held(&mut self, waiting: Waiting, why: String) {
        let Waiting {
            held,
            mut facts,
            before,
            ..
        } = waiting;
        if let Some(id) = held.id() {
            self.session.answered(facts.direction, id);
        }
        let reason = approval(why, &held);
        facts.verdict = Verdict::Deny;
        facts.mode = Mode::Enforce;
        facts.reason = Some(reason.clone());
        self.block(held.refuse(reason), facts, before);
    }

    /// A call that its client has cancelled is not put before anybody any more.
    fn drop_cancelled(&mut self) {
        let session = &self.session;
        let cancelled = |waiting: &mut Waiting| {
            waiting
                .held
                .id()
                .is_some_and(|id| !session.in_flight(waiting.facts.direction).awaits(id))
        };
        let dropped: Vec<Waiting> = self.held.extract_if(.., cancelled).collect();
        for waiting in dropped {
            self.approver.cancel(waiting.ticket);
            let Waiting {
                held,
                mut facts,
                before,
                ..
            } = waiting;
            // The server has never seen it, so no late answer is to be let through.
            if let Some(id) = held.id() {
                self.session.answered(facts.direction, id);
            }
            facts.verdict = Verdict::Deny;
            facts.reason = Some(approval(
                "cancelled by the client before a person decided".to_owned(),
                &held,
            ));
            if let Err(error) = self.record(facts, before) {
                self.unrecorded(Direction::Inbound, None, &error);
            }
        }
    }

    /// Nobody will answer any more: every request that waits is given an error.
    fn answer_abandoned(&mut self, why: &str) {
        for waiting in std::mem::take(&mut self.held) {
            self.approver.cancel(waiting.ticket);
            self.refuse_held(waiting, why.to_owned());
        }
        let before = self.now();
        for direction in [Direction::Inbound, Direction::Outbound] {
            for (id, pending) in self.session.abandon(direction) {
                let reason = Reason {
                    stage: Stage::Wire,
                    code: ReasonCode::Failed,
                    rule: None,
                    text: why.to_owned(),
                };
                let (answer, facts) = pending.abandoned(id, direction.reverse(), reason.clone());
                let seq = self.record(facts, before).ok();
                self.answer(&answer, &reason, seq);
            }
        }
    }
}

fn approval(text: String, held: &Held) -> Reason {
    Reason {
        stage: Stage::Approval,
        code: ReasonCode::Denied,
        rule: held.question.rule.clone(),
        text,
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("session", &self.core.session.id)
            .finish_non_exhaustive()
    }
}
