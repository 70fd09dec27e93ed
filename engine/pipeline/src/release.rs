//! The last station: canonical spelling and redactions, and the message may leave.

use std::borrow::Cow;
use std::sync::Arc;

use mcpf_model::{
    Action, Direction, MessageKind, Mode, ProtocolVersion, Reason, ReasonCode, Stage, Verdict,
};
use mcpf_wire::{Edit, Parser, apply, merge};

use crate::method::Method;
use crate::outcome::{Facts, Held, Outcome, Released};
use crate::permit::Permitted;
use crate::session::{Pending, Session};
use crate::walk::{Step, Walk};

/// What a released walk leaves behind.
pub(crate) struct Gone<'f> {
    pub(crate) outcome: Outcome<'f>,
    pub(crate) facts: Facts,
}

pub(crate) fn release<'f>(
    permitted: Permitted<'_>,
    frame: &'f [u8],
    session: &mut Session,
) -> Step<Gone<'f>> {
    let (mut walk, question) = permitted.into_parts();
    let engine = &walk.generation.engine;
    let redact_all = walk.redact_all || walk.pending.as_ref().is_some_and(|p| p.redact);
    if redact_all {
        for finding in walk
            .findings
            .iter_mut()
            .filter(|f| f.action == Action::Alert)
        {
            finding.action = Action::Redact;
        }
        walk.note_findings();
    }
    // Shadow mode changes nothing, not even a secret: what it would have done is in the record.
    let enforced = walk.generation.policy.mode() == Mode::Enforce;
    let redactions = engine.redactions(
        walk.findings
            .iter()
            .filter(|f| enforced && f.action == Action::Redact),
    );
    let redacted = !redactions.is_empty() || !walk.edits.is_empty();
    let bytes = if redacted {
        let mut own: Vec<Edit> = redactions
            .into_iter()
            .map(|(span, with)| Edit {
                span,
                with: Cow::Owned(with),
            })
            .collect();
        own.append(walk.edits);
        own.sort_by_key(|edit| (edit.span.start, edit.span.end));
        let mut edits = Vec::new();
        merge(walk.message.edits(), &own, &mut edits);
        let mut out = Vec::new();
        apply(frame, &edits, &mut out);
        // A redaction can make two keys equal; what has no single meaning does not leave.
        if Parser::new(&walk.generation.limits).parse(&out).is_err() {
            let reason = Reason {
                stage: Stage::Content,
                code: ReasonCode::Failed,
                rule: None,
                text: "the message could not be redacted and still be one message".to_owned(),
            };
            return Err(walk.stop(reason));
        }
        Cow::Owned(out)
    } else if walk.message.edits().is_empty() {
        Cow::Borrowed(frame)
    } else {
        let mut out = Vec::new();
        apply(frame, walk.message.edits(), &mut out);
        Cow::Owned(out)
    };
    if walk.facts.verdict == Verdict::Allow {
        if redacted {
            walk.facts.verdict = Verdict::Redact;
        } else if walk
            .findings
            .iter()
            .any(|finding| finding.action == Action::Redact)
        {
            walk.facts.verdict = Verdict::Monitor;
        }
    }
    let released = Released::new(bytes);
    remember(&walk, session, question.is_some());
    let answer = walk.answer(ReasonCode::Denied);
    let outcome = match (question, answer) {
        (Some(question), Some(answer)) => Outcome::Hold(Box::new(Held {
            released: Released::new(Cow::Owned(released.bytes().to_vec())),
            answer,
            question,
        })),
        _ => Outcome::Forward(released),
    };
    Ok(Gone {
        outcome,
        facts: walk.facts,
    })
}

/// What the session must know once the message is gone.
fn remember(walk: &Walk<'_>, session: &mut Session, is_held: bool) {
    match walk.kind {
        MessageKind::Request => {
            if let Some(id) = walk.id.clone() {
                let mut pending = Pending::new(walk.method, Arc::clone(&walk.facts.method));
                pending.tool.clone_from(&walk.facts.tool);
                pending.modern = walk.message_is_modern();
                pending.steps.clone_from(&walk.steps_awaiting);
                pending.redact = walk.redact_all;
                let pending = if is_held { pending.held() } else { pending };
                session.in_flight_mut(walk.direction).begin(id, pending);
            }
        }
        MessageKind::Notification => {
            if walk.method == Method::Cancelled
                && let Some(id) = walk.message.cancelled_request()
            {
                session.in_flight_mut(walk.direction).cancel(&id.to_owned());
            }
        }
        MessageKind::Response | MessageKind::Error => {
            if let Some(id) = &walk.id {
                session.in_flight_mut(walk.direction.reverse()).settle(id);
            }
            let initialized = walk.direction == Direction::Outbound
                && walk.kind == MessageKind::Response
                && walk.method == Method::Initialize;
            if initialized && let Some(version) = walk.message.protocol_version() {
                session.version = ProtocolVersion::from_date(version);
                session.batch_ok = session.version.is_some_and(ProtocolVersion::allows_batches);
            }
        }
    }
}
