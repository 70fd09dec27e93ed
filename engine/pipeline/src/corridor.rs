//! The walk from end to end.

use std::sync::Arc;

use mcpf_model::{Direction, MessageKind, Mode, Reason, ReasonCode, RequestId, Stage};
use mcpf_wire::Message;

use crate::admit::admit;
use crate::buckets::Nanos;
use crate::detect::detect;
use crate::generation::{Context, Scratch};
use crate::method::Method;
use crate::outcome::{Facts, Inspection, Outcome};
use crate::permit::permit;
use crate::refuse::refuse;
use crate::release::{Gone, release};
use crate::session::{Pending, Refused, Session};
use crate::walk::{Step, Stopped, Walk, blank_facts};

/// Walks one frame through the corridor.
///
/// `direction` is where it travels, `now` a monotonic time. The caller records the facts, then does
/// what the outcome says: nothing is to leave before its record is queued.
pub fn inspect<'f>(
    context: &Context,
    session: &mut Session,
    scratch: &mut Scratch,
    direction: Direction,
    frame: &'f [u8],
    now: Nanos,
) -> Inspection<'f> {
    let Scratch {
        parser,
        scan,
        findings,
        edits,
    } = scratch;
    findings.clear();
    edits.clear();
    if session.batch_ok && frame.trim_ascii_start().first() == Some(&b'[') {
        return split(session, parser, direction, frame);
    }
    let message = match parser.parse(frame) {
        Ok(message) => message,
        Err(refusal) => return refuse(session, direction, frame.len(), &refusal),
    };
    let generation = &*context.generation;
    let kind = message.kind();
    let id = message.id().map(|id| id.to_owned());
    let may_answer = |id: &RequestId| direction == Direction::Inbound || session.awaited.holds(id);
    let pending = match (kind, &id) {
        (MessageKind::Response | MessageKind::Error, Some(id)) if may_answer(id) => session
            .in_flight(direction.reverse())
            .answerable(id)
            .cloned(),
        _ => None,
    };
    let method = match (kind, &pending) {
        (MessageKind::Request | MessageKind::Notification, _) => {
            Method::of(message.method().unwrap_or_default())
        }
        (_, Some(pending)) => pending.method,
        (_, None) => Method::Other,
    };
    let facts = facts_of(
        &message,
        direction,
        kind,
        pending.as_ref(),
        frame.len(),
        generation.policy.mode(),
    );
    let walk = Walk {
        generation,
        direction,
        kind,
        method,
        surface: method.surface(direction, kind),
        id,
        pending,
        findings,
        edits,
        facts,
        message,
        steps_awaiting: Vec::new(),
        redact_all: false,
    };
    let gone = correlate(walk, session)
        .and_then(|walk| admit(walk, session, &context.shared, now))
        .and_then(|admitted| detect(admitted, session, scan))
        .and_then(|scanned| permit(scanned, session, now))
        .and_then(|permitted| release(permitted, frame, session));
    match gone {
        Ok(Gone { outcome, facts }) => Inspection { outcome, facts },
        Err(stopped) => {
            let Stopped { blocked, facts } = *stopped;
            if let (MessageKind::Response | MessageKind::Error, Some(id)) = (kind, &facts.id)
                && (direction == Direction::Inbound || session.awaited.holds(id))
            {
                session.in_flight_mut(direction.reverse()).settle(id);
            }
            Inspection {
                outcome: Outcome::Block(blocked),
                facts,
            }
        }
    }
}

/// A request's id must be free; a response must answer something.
fn correlate<'w>(walk: Walk<'w>, session: &Session) -> Step<Walk<'w>> {
    let misbehaved = |rule: &str, code: ReasonCode, text: &str| Reason {
        stage: Stage::Wire,
        code,
        rule: Some(rule.into()),
        text: text.to_owned(),
    };
    match (walk.kind, &walk.id) {
        (MessageKind::Request, Some(id)) => match session.in_flight(walk.direction).check(id) {
            Ok(()) => Ok(walk),
            Err(Refused::DuplicateId) => Err(walk.stop(misbehaved(
                "id_in_flight",
                ReasonCode::PeerMisbehaved,
                "a request with this id still awaits its answer",
            ))),
            Err(Refused::TooMany) => Err(walk.stop(misbehaved(
                "max_in_flight",
                ReasonCode::Overloaded,
                "too many requests await an answer",
            ))),
        },
        (MessageKind::Response | MessageKind::Error, Some(_)) if walk.pending.is_none() => {
            Err(walk.stop(misbehaved(
                "unknown_id",
                ReasonCode::PeerMisbehaved,
                "the response answers no request that is waiting",
            )))
        }
        _ => Ok(walk),
    }
}

fn facts_of(
    message: &Message<'_>,
    direction: Direction,
    kind: MessageKind,
    pending: Option<&Pending>,
    bytes: usize,
    mode: Mode,
) -> Facts {
    let mut facts = blank_facts(direction, bytes, mode);
    facts.kind = Some(kind);
    facts.id = message.id().map(|id| id.to_owned());
    if let Some(method) = message.method() {
        facts.method = Arc::from(method);
        facts.revision = (method != "initialize")
            .then(|| message.protocol_version().map(Arc::from))
            .flatten();
        facts.tool = message.tool_name().map(Arc::from);
        facts.target = message
            .resource_uri()
            .or_else(|| message.prompt_name())
            .map(Arc::from);
    } else if let Some(pending) = pending {
        facts.method = Arc::clone(&pending.name);
        facts.tool = pending.tool.clone();
        facts.is_error = kind == MessageKind::Error
            || message
                .result()
                .and_then(|r| r.get("isError"))
                .and_then(|e| e.as_bool())
                == Some(true);
    }
    facts
}

/// The elements of a batch, each to be inspected as a message of its own.
fn split<'f>(
    session: &mut Session,
    parser: &mut mcpf_wire::Parser,
    direction: Direction,
    frame: &'f [u8],
) -> Inspection<'f> {
    let mut spans = Vec::new();
    match parser.split_batch(frame, &mut spans) {
        Ok(()) => Inspection {
            outcome: Outcome::Split(spans.iter().map(|span| span.range()).collect()),
            facts: blank_facts(direction, frame.len(), Mode::Enforce),
        },
        Err(refusal) => refuse(session, direction, frame.len(), &refusal),
    }
}
