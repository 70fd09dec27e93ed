//! Frames that are not messages: who is told, and what is recorded.

use mcpf_model::{Direction, Mode, Reason, ReasonCode, RequestId, Stage, Verdict};
use mcpf_wire::{IdOfRefused, Refusal, Shape};

use crate::outcome::{Answer, AnsweredCall, Blocked, Facts, Inspection, Outcome};
use crate::session::{Awaited, Session};
use crate::walk::{blank_facts, call_of};

/// A refusal by the wire, as the end of an inspection: of a line that is not a frame, for one.
pub fn refuse<'f>(
    session: &mut Session,
    direction: Direction,
    bytes: usize,
    refusal: &Refusal,
) -> Inspection<'f> {
    let code = refusal.code.reason();
    let reason = Reason {
        stage: Stage::Wire,
        code,
        rule: Some(refusal.code.as_str().into()),
        text: refusal.code.sentence().to_owned(),
    };
    let facts = Facts {
        method: refusal.method.as_deref().unwrap_or_default().into(),
        id: refusal.id.known().cloned(),
        verdict: Verdict::Deny,
        reason: Some(reason.clone()),
        ..blank_facts(direction, bytes, Mode::Enforce)
    };
    let answer = answer(session, direction, refusal, code);
    Inspection {
        outcome: Outcome::Block(Blocked { reason, answer }),
        facts,
    }
}

fn answer(
    session: &mut Session,
    direction: Direction,
    refusal: &Refusal,
    code: ReasonCode,
) -> Option<Answer> {
    match refusal.shape {
        Shape::Notification => None,
        Shape::Request => Some(to_sender(direction, &refusal.id, code)),
        Shape::Response => instead_of_response(session, direction, &refusal.id),
        // A server's unreadable line is most likely the answer somebody waits for.
        Shape::Unknown if direction == Direction::Outbound => {
            instead_of_response(session, direction, &refusal.id)
        }
        Shape::Unknown => Some(to_sender(direction, &refusal.id, code)),
    }
}

fn to_sender(direction: Direction, id: &IdOfRefused, code: ReasonCode) -> Answer {
    Answer {
        direction: direction.reverse(),
        id: id.known().cloned(),
        call: AnsweredCall::Other,
        code,
    }
}

/// The side that waits for a refused response is given an error for its request: the one the
/// response names or, where no id can be read, the only one there is.
fn instead_of_response(
    session: &mut Session,
    direction: Direction,
    id: &IdOfRefused,
) -> Option<Answer> {
    let awaited = match direction {
        Direction::Inbound => Awaited::Any,
        Direction::Outbound => session.awaited.clone(),
    };
    let waiting = session.in_flight_mut(direction.reverse());
    let id: RequestId = match id {
        IdOfRefused::Known(id) if awaited.holds(id) => id.clone(),
        IdOfRefused::Unknown if awaited == Awaited::Any => waiting.only()?.clone(),
        _ => return None,
    };
    let pending = waiting.settle(&id)?;
    Some(Answer {
        direction,
        id: Some(id),
        call: call_of(pending.method, pending.modern),
        code: ReasonCode::Failed,
    })
}
