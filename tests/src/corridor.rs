//! The oracle of the corridor: whatever walks through, what comes out is one message or nothing,
//! and the facts say which.

use std::sync::{Arc, LazyLock};

use mcpf_model::{Action, Direction, Limits, MessageKind, Principal, Verdict};
use mcpf_pipeline::{
    Blocked, Context, Facts, Generation, Inspection, Nanos, Outcome, Released, Scratch, Session,
    Shared, inspect,
};
use mcpf_policy::{Builtin, Plan};
use mcpf_wire::Parser;

/// Every shipped rule with two policies: the one people start with, and one that redacts whatever
/// a rule finds in what a server says.
static GENERATIONS: LazyLock<Result<[Arc<Generation>; 2], String>> = LazyLock::new(|| {
    let build = |policy: &str| {
        let plan = Plan::parse(policy, "oracle.yaml").map_err(|errors| format!("{errors:?}"))?;
        let rules = mcpf_rules::load_builtin().map_err(|errors| format!("{errors:?}"))?;
        Generation::build(plan, rules, Limits::default(), None)
            .map(Arc::new)
            .map_err(|errors| format!("{errors:?}"))
    };
    Ok([build(Builtin::Starter.yaml())?, build(REDACTS)?])
});

const REDACTS: &str = "
version: 1
default: allow
outbound: {injection: redact, secret: redact, pii: redact, exfil: redact, tool: redact}
rules:
  - {name: ask, match: {tools: [ask]}, action: prompt}
  - {name: hide, match: {tools: [hide]}, action: redact}
";

/// Builds the rules, which takes a while, before anybody measures how long a walk takes.
///
/// # Errors
///
/// What does not compile.
pub fn warm_up() -> Result<(), String> {
    GENERATIONS.as_ref().map(|_| ()).map_err(Clone::clone)
}

/// Walks the lines of `bytes` through one session. A line that begins with `<` comes from the
/// server, any other from the client; the first byte of all chooses the policy.
///
/// # Errors
///
/// What is wrong with what came out.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let generations = GENERATIONS.as_ref().map_err(Clone::clone)?;
    let Some((first, rest)) = bytes.split_first() else {
        return Ok(());
    };
    let [starter, redacts] = generations;
    let generation = if first % 2 == 0 { starter } else { redacts };
    let mut peer = Peer {
        context: Context {
            generation: Arc::clone(generation),
            shared: Arc::new(Shared::default()),
        },
        session: Session::new(
            "oracle".into(),
            "server".into(),
            Principal::anonymous(),
            &generation.limits,
        ),
        scratch: Scratch::new(generation).map_err(|error| error.to_string())?,
    };
    for line in rest.split(|byte| *byte == b'\n') {
        match line.strip_prefix(b"<") {
            Some(frame) => peer.walk(Direction::Outbound, frame, true)?,
            None => peer.walk(Direction::Inbound, line, true)?,
        }
    }
    Ok(())
}

struct Peer {
    context: Context,
    session: Session,
    scratch: Scratch,
}

impl Peer {
    fn walk(&mut self, direction: Direction, frame: &[u8], whole: bool) -> Result<(), String> {
        let Inspection { outcome, facts } = inspect(
            &self.context,
            &mut self.session,
            &mut self.scratch,
            direction,
            frame,
            Nanos(1),
        );
        holds("direction", facts.direction == direction)?;
        holds("bytes", facts.bytes == frame.len())?;
        let length = facts.arguments.as_ref().map_or(0, String::len);
        holds("arguments fit", length <= Facts::MAX_ARGUMENTS)?;
        for finding in &facts.findings {
            let inside = frame.get(finding.span.range());
            holds("a finding lies in the frame", inside.is_some())?;
        }
        match outcome {
            Outcome::Forward(released) => self.released(frame, &released, &facts),
            Outcome::Hold(held) => {
                holds(
                    "who is held awaits an answer",
                    facts.id.as_ref() == held.id(),
                )?;
                let released = held.approve();
                holds("held bytes are their own", !released.is_untouched())?;
                self.is_one_message(released.bytes(), &facts)
            }
            Outcome::Block(blocked) => is_refused(&blocked, &facts),
            Outcome::Split(parts) => {
                holds("a part of a batch is no batch", whole)?;
                for part in parts {
                    let part = frame.get(part).ok_or("a part lies outside the frame")?;
                    self.walk(direction, part, false)?;
                }
                Ok(())
            }
        }
    }

    fn released(&self, frame: &[u8], out: &Released<'_>, facts: &Facts) -> Result<(), String> {
        holds(
            "what leaves was not refused",
            facts.verdict != Verdict::Deny,
        )?;
        let same = out.bytes() == frame;
        holds("untouched is unchanged", !out.is_untouched() || same)?;
        holds(
            "what was redacted has changed",
            facts.verdict != Verdict::Redact || !out.is_untouched(),
        )?;
        let blocking = facts
            .findings
            .iter()
            .any(|finding| finding.action == Action::Block);
        // A tool or a server's text that blocks is taken out, and the rest may go on.
        holds(
            "nothing that blocks has left as it came",
            !blocking || facts.verdict == Verdict::Monitor || !out.is_untouched(),
        )?;
        let open = match (facts.kind, &facts.id) {
            (Some(MessageKind::Request), Some(id)) => {
                self.session.in_flight(facts.direction).get(id).is_some()
            }
            (Some(MessageKind::Response | MessageKind::Error), Some(id)) => {
                let asked = self.session.in_flight(facts.direction.reverse());
                asked.get(id).is_none()
            }
            _ => true,
        };
        holds("the session knows what is in flight", open)?;
        self.is_one_message(out.bytes(), facts)
    }

    /// Bytes that leave are one line and one message, of the kind and id that are recorded.
    fn is_one_message(&self, bytes: &[u8], facts: &Facts) -> Result<(), String> {
        let broken = bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        holds("one line", !broken)?;
        let read: Result<serde_json::Value, _> = serde_json::from_slice(bytes);
        let value = read.map_err(|error| format!("serde_json refuses what left: {error}"))?;
        holds("an object", value.is_object())?;
        // Escapes and placeholders take room: a limit met before may be exceeded after.
        let limits = Limits {
            max_frame: mcpf_model::ByteSize(u32::MAX),
            ..self.context.generation.limits
        };
        let mut parser = Parser::new(&limits);
        let message = parser
            .parse(bytes)
            .map_err(|refusal| format!("what left is refused: {}", refusal.code.as_str()))?;
        holds("kind", Some(message.kind()) == facts.kind)?;
        let id = message.id().map(|id| id.to_owned());
        holds("id", id == facts.id)?;
        holds("nothing is left to respell", message.edits().is_empty())
    }
}

fn is_refused(blocked: &Blocked, facts: &Facts) -> Result<(), String> {
    holds(
        "a refusal is recorded as one",
        facts.verdict == Verdict::Deny,
    )?;
    let reason = facts.reason.as_ref();
    holds("the reason is recorded", reason == Some(&blocked.reason))?;
    let asked = facts.kind == Some(MessageKind::Request);
    let answered = blocked
        .answer
        .as_ref()
        .is_some_and(|answer| answer.id == facts.id && answer.direction != facts.direction);
    holds("who asked is answered", !asked || answered)
}

fn holds(what: &str, it: bool) -> Result<(), String> {
    if it {
        Ok(())
    } else {
        Err(format!("does not hold: {what}"))
    }
}
