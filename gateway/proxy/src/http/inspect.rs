//! One worker's way through the corridor, and what is recorded of it.
//!
//! Enter: a frame and its conversation. Leave: what is to be done, and the record it has to wait
//! for. Never: an `await`.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use mcpf_audit::AppendError;
use mcpf_model::{Direction, MessageKind, Mode, Reason, ReasonCode, RequestId, Stage, Verdict};
use mcpf_pipeline::{
    Answer, AnsweredCall, Awaited, Blocked, Context, Facts, Generation, Inspection, Nanos, Outcome,
    Scratch, Session, inspect,
};
use mcpf_wire::Refusal;

use super::conversation::Conversation;
use super::gate::Head;
use super::pool::Pool;
use super::server::Gateway;
use super::tide::Shore;
use crate::record::entry;
use crate::respond::respond;

/// One core's share of the gateway.
pub(crate) struct Worker {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) pool: Pool,
    pub(crate) shore: Shore,
    /// Which of the gateway's workers this is.
    pub(crate) number: usize,
    bench: RefCell<Bench>,
}

/// What inspects: buffers, and the generation that they fit.
struct Bench {
    generation: Arc<Generation>,
    scratch: Scratch,
}

/// What is to be done about a frame.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) fate: Fate,
    /// The record that must be durable before anything of this leaves.
    pub(crate) seq: Option<u64>,
}

#[derive(Debug)]
pub(crate) enum Fate {
    /// It goes on.
    Forward(Passing),
    /// It does not, and somebody is told.
    Answer(Own),
    /// It does not, and nobody waits. Whose fault it was.
    Drop(ReasonCode),
    /// A batch that was negotiated: the elements are to be inspected one by one.
    Batch(Vec<Range<usize>>),
}

/// A message that may leave.
#[derive(Debug)]
pub(crate) struct Passing {
    pub(crate) bytes: Bytes,
    pub(crate) kind: MessageKind,
    pub(crate) id: Option<RequestId>,
    pub(crate) is_initialize: bool,
}

/// An answer of ours.
#[derive(Debug)]
pub(crate) struct Own {
    /// Where it travels: outbound is to the client.
    pub(crate) direction: Direction,
    pub(crate) id: Option<RequestId>,
    pub(crate) frame: Bytes,
    pub(crate) status: StatusCode,
}

impl Worker {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        number: usize,
    ) -> Result<Self, mcpf_pipeline::ScanError> {
        let generation = gateway.generation();
        let scratch = Scratch::new(&generation)?;
        Ok(Self {
            pool: Pool::new(&gateway.settings),
            shore: gateway.tide.shore(),
            number,
            bench: RefCell::new(Bench {
                generation,
                scratch,
            }),
            gateway,
        })
    }

    /// Most bytes of a message.
    pub(crate) fn max_frame(&self) -> usize {
        self.bench.borrow().generation.limits.max_frame.bytes()
    }

    pub(crate) fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.bench.borrow().generation)
    }

    /// Walks `frame` through the corridor and records what came of it.
    ///
    /// `head` is given for what a client sends: under the sessionless revision it must say the same
    /// as the message. `awaited` is what a server's message may answer where it stands.
    pub(crate) fn inspect(
        &self,
        conversation: &Conversation,
        direction: Direction,
        frame: &Bytes,
        head: Option<&Head>,
        awaited: Awaited,
    ) -> Decided {
        let before = self.gateway.now();
        let mut bench = self.bench.borrow_mut();
        if let Err(error) = bench.renew(&self.gateway) {
            tracing::error!(%error, "a new generation cannot be used; the old one goes on");
        }
        let context = Context {
            generation: Arc::clone(&bench.generation),
            shared: Arc::clone(&self.gateway.shared),
        };
        let mut session = conversation.open();
        session.await_answers(awaited);
        let Inspection { outcome, facts } = inspect(
            &context,
            &mut session,
            &mut bench.scratch,
            direction,
            frame,
            before,
        );
        let generation = &context.generation;
        match outcome {
            Outcome::Split(elements) => Decided {
                fate: Fate::Batch(elements),
                seq: None,
            },
            Outcome::Forward(released) => {
                if let Some(why) = head.and_then(|head| contradiction(head, &facts)) {
                    return self.mismatch(generation, &mut session, facts, before, why);
                }
                let bytes = if released.is_untouched() {
                    frame.clone()
                } else {
                    Bytes::copy_from_slice(released.bytes())
                };
                self.pass(generation, &mut session, bytes, facts, before)
            }
            Outcome::Block(blocked) => self.block(generation, &session, blocked, facts, before),
            Outcome::Hold(held) => {
                let reason = Reason {
                    stage: Stage::Approval,
                    code: ReasonCode::Denied,
                    rule: held.question.rule.clone(),
                    text: "a person has to approve this, and the proxy has nobody to ask"
                        .to_owned(),
                };
                if let Some(id) = held.id() {
                    session.answered(direction, id);
                }
                let mut facts = facts;
                facts.verdict = Verdict::Deny;
                facts.mode = Mode::Enforce;
                facts.reason = Some(reason.clone());
                self.block(generation, &session, held.refuse(reason), facts, before)
            }
        }
    }

    /// Records what is not a message at all: an event that is none, a body that is too large.
    pub(crate) fn refuse(
        &self,
        conversation: &Conversation,
        direction: Direction,
        refusal: &Refusal,
        awaited: Awaited,
    ) -> Decided {
        let before = self.gateway.now();
        let generation = self.generation();
        let mut session = conversation.open();
        session.await_answers(awaited);
        let Inspection { outcome, facts } =
            mcpf_pipeline::refuse(&mut session, direction, 0, refusal);
        match outcome {
            Outcome::Block(blocked) => self.block(&generation, &session, blocked, facts, before),
            _ => Decided {
                fate: Fate::Drop(ReasonCode::Malformed),
                seq: None,
            },
        }
    }

    /// The answer to a request that the server will not answer any more, if nobody has answered it.
    pub(crate) fn abandon(
        &self,
        conversation: &Conversation,
        direction: Direction,
        id: &RequestId,
        why: &str,
    ) -> Option<Decided> {
        let before = self.gateway.now();
        let generation = self.generation();
        let mut session = conversation.open();
        let pending = session.in_flight(direction).get(id).cloned()?;
        session.answered(direction, id);
        let reason = Reason {
            stage: Stage::Wire,
            code: ReasonCode::Failed,
            rule: None,
            text: why.to_owned(),
        };
        let (answer, facts) = pending.abandoned(id.clone(), direction.reverse(), reason.clone());
        let blocked = Blocked {
            reason,
            answer: Some(answer),
        };
        Some(self.block(&generation, &session, blocked, facts, before))
    }

    fn pass(
        &self,
        generation: &Generation,
        session: &mut Session,
        bytes: Bytes,
        facts: Facts,
        before: Nanos,
    ) -> Decided {
        let Some(kind) = facts.kind else {
            return Decided {
                fate: Fate::Drop(ReasonCode::Failed),
                seq: None,
            };
        };
        let direction = facts.direction;
        let passing = Passing {
            bytes,
            kind,
            id: facts.id.clone(),
            is_initialize: &*facts.method == "initialize",
        };
        match self.record(generation, session, facts, before) {
            Ok(seq) => Decided {
                fate: Fate::Forward(passing),
                seq: Some(seq),
            },
            Err(error) => self.unrecorded(session, direction, passing.id, &error),
        }
    }

    fn block(
        &self,
        generation: &Generation,
        session: &Session,
        blocked: Blocked,
        facts: Facts,
        before: Nanos,
    ) -> Decided {
        let Blocked { reason, answer } = blocked;
        tracing::info!(
            direction = %facts.direction,
            method = &*facts.method,
            tool = facts.tool.as_deref().unwrap_or_default(),
            stage = %reason.stage,
            rule = reason.rule.as_deref().unwrap_or_default(),
            "blocked: {}", reason.text
        );
        let seq = self.record(generation, session, facts, before).ok();
        let fate = match answer {
            Some(answer) => Fate::Answer(self.own(session, &answer, &reason, seq)),
            None => Fate::Drop(reason.code),
        };
        Decided { fate, seq }
    }

    fn own(&self, session: &Session, answer: &Answer, reason: &Reason, seq: Option<u64>) -> Own {
        let reference = match seq {
            Some(seq) => format!("{}/{seq}", session.id),
            None => format!("{}/unrecorded", session.id),
        };
        Own {
            direction: answer.direction,
            id: answer.id.clone(),
            frame: respond(answer, reason, &reference, self.gateway.deny_as).into(),
            status: match answer.code {
                ReasonCode::Malformed | ReasonCode::PeerMisbehaved | ReasonCode::HeaderMismatch
                    if answer.direction == Direction::Outbound =>
                {
                    StatusCode::BAD_REQUEST
                }
                // In band: another status would end the client's whole session.
                _ => StatusCode::OK,
            },
        }
    }

    /// MCP 2026-07-28, "Streamable HTTP": 400 with -32020.
    fn mismatch(
        &self,
        generation: &Generation,
        session: &mut Session,
        mut facts: Facts,
        before: Nanos,
        why: String,
    ) -> Decided {
        let id = facts.id.clone();
        if let Some(id) = &id {
            session.answered(Direction::Inbound, id);
        }
        let reason = Reason {
            stage: Stage::Wire,
            code: ReasonCode::HeaderMismatch,
            rule: None,
            text: why,
        };
        facts.verdict = Verdict::Deny;
        facts.mode = Mode::Enforce;
        facts.reason = Some(reason.clone());
        let answer = Answer {
            direction: Direction::Outbound,
            id,
            call: AnsweredCall::Other,
            code: ReasonCode::HeaderMismatch,
        };
        let blocked = Blocked {
            reason,
            answer: Some(answer),
        };
        self.block(generation, session, blocked, facts, before)
    }

    fn record(
        &self,
        generation: &Generation,
        session: &Session,
        facts: Facts,
        before: Nanos,
    ) -> Result<u64, AppendError> {
        let spent = self.gateway.now().0.saturating_sub(before.0);
        if let Some(meter) = self.gateway.meter(self.number) {
            meter.decided(facts.direction, facts.verdict, &facts.findings, spent);
        }
        let entry = entry(generation, session, facts, before, spent);
        self.gateway
            .log
            .append_quietly(entry)
            .map(|ticket| ticket.seq)
    }

    /// No record, no action: the sender is told instead, or whoever waits for the answer.
    fn unrecorded(
        &self,
        session: &mut Session,
        direction: Direction,
        id: Option<RequestId>,
        error: &AppendError,
    ) -> Decided {
        tracing::warn!(%error, "denied what could not be recorded");
        let reason = Reason {
            stage: Stage::Audit,
            code: ReasonCode::Failed,
            rule: None,
            text: "the audit log cannot record this, and nothing goes unrecorded".to_owned(),
        };
        let Some(id) = id else {
            return Decided {
                fate: Fate::Drop(ReasonCode::Failed),
                seq: None,
            };
        };
        let waiting = session.in_flight(direction).get(&id).cloned();
        let (to, call) = match &waiting {
            Some(pending) => (direction.reverse(), pending.answered_call()),
            // A response: the side that waits for it is told, or it would wait for ever.
            None => (direction, AnsweredCall::Other),
        };
        if waiting.is_some() {
            session.answered(direction, &id);
        }
        let answer = Answer {
            direction: to,
            id: Some(id),
            call,
            code: ReasonCode::Failed,
        };
        Decided {
            fate: Fate::Answer(self.own(session, &answer, &reason, None)),
            seq: None,
        }
    }
}

impl Bench {
    /// Follows the gateway to its newest generation.
    fn renew(&mut self, gateway: &Gateway) -> Result<(), mcpf_pipeline::ScanError> {
        if !gateway.is_newest(&self.generation) {
            let generation = gateway.generation();
            self.scratch = Scratch::new(&generation)?;
            self.generation = generation;
        }
        Ok(())
    }
}

/// What a client's headers say otherwise than its message.
fn contradiction(head: &Head, facts: &Facts) -> Option<String> {
    if head.endpoint.is_some() {
        // 2024-11-05 knows no such headers, whatever the message is about.
        return None;
    }
    let revision = facts.revision.as_deref();
    if let Some(revision) = revision
        && head.version.as_deref() != Some(revision)
    {
        return Some("`MCP-Protocol-Version` and the message name different revisions".to_owned());
    }
    if !head.is_modern() {
        return None;
    }
    if let Some(method) = &head.method
        && **method != *facts.method
    {
        return Some("`Mcp-Method` and the message name different methods".to_owned());
    }
    let named = facts.tool.as_deref().or(facts.target.as_deref());
    if let (Some(name), Some(named)) = (&head.name, named)
        && **name != *named
    {
        return Some("`Mcp-Name` and the message name different things".to_owned());
    }
    None
}
