//! A message on its way, and what has been learned of it so far.

use std::sync::Arc;

use mcpf_model::{
    Action, Direction, Family, Finding, MessageKind, Mode, Principal, Reason, ReasonCode,
    RequestId, Span, Stage, Surface, Verdict,
};
use mcpf_wire::{Edit, Message};

use crate::generation::Generation;
use crate::method::Method;
use crate::outcome::{Answer, AnsweredCall, Blocked, Facts, Question};
use crate::session::{Pending, Session};

/// A message between two stations. Only the stations' own types wrap it.
pub(crate) struct Walk<'w> {
    pub(crate) generation: &'w Generation,
    pub(crate) message: Message<'w>,
    pub(crate) direction: Direction,
    pub(crate) kind: MessageKind,
    /// The message's method; for a response that of the request it answers.
    pub(crate) method: Method,
    pub(crate) surface: Surface,
    pub(crate) id: Option<RequestId>,
    /// For a response: the request it answers.
    pub(crate) pending: Option<Pending>,
    pub(crate) findings: &'w mut Vec<Finding>,
    pub(crate) edits: &'w mut Vec<Edit>,
    pub(crate) facts: Facts,
    /// Steps of chains that still need a finding in this call's answer: chain, step.
    pub(crate) steps_awaiting: Vec<(usize, usize)>,
    /// Policy wants every finding in this message, and in its answer, redacted.
    pub(crate) redact_all: bool,
}

/// A walk that ended early.
pub(crate) struct Stopped {
    pub(crate) blocked: Blocked,
    pub(crate) facts: Facts,
}

/// A station's result. The error is boxed: it is rare, and large.
pub(crate) type Step<T> = Result<T, Box<Stopped>>;

impl Walk<'_> {
    /// A station objects. In monitor mode the objection is noted and the walk goes on.
    ///
    /// # Errors
    ///
    /// The end of the walk, when `mode` is to enforce.
    pub(crate) fn object(mut self, mode: Mode, reason: Reason) -> Step<Self> {
        match mode {
            Mode::Enforce => Err(self.stop(reason)),
            Mode::Monitor => {
                self.facts.mode = Mode::Monitor;
                self.facts.verdict = Verdict::Monitor;
                self.facts.reason.get_or_insert(reason);
                Ok(self)
            }
        }
    }

    /// Ends the walk.
    pub(crate) fn stop(mut self, reason: Reason) -> Box<Stopped> {
        let answer = self.answer(reason.code);
        self.note_findings();
        let mut facts = self.facts;
        facts.verdict = Verdict::Deny;
        facts.mode = Mode::Enforce;
        facts.reason = Some(reason.clone());
        Box::new(Stopped {
            blocked: Blocked { reason, answer },
            facts,
        })
    }

    /// Who is owed an answer when this message is refused.
    pub(crate) fn answer(&self, code: ReasonCode) -> Option<Answer> {
        match self.kind {
            MessageKind::Notification => None,
            MessageKind::Request => Some(Answer {
                direction: self.direction.reverse(),
                id: self.id.clone(),
                call: call_of(self.method, self.message_is_modern()),
                code,
            }),
            // The side that asked still waits.
            MessageKind::Response | MessageKind::Error => {
                self.pending.as_ref().map(|pending| Answer {
                    direction: self.direction,
                    id: self.id.clone(),
                    call: call_of(pending.method, pending.modern),
                    code,
                })
            }
        }
    }

    /// Whether the message belongs to the sessionless revisions, which name theirs in `_meta`.
    pub(crate) fn message_is_modern(&self) -> bool {
        self.method != Method::Initialize
            && self
                .message
                .protocol_version()
                .is_some_and(|version| version >= "2026-07-28")
    }

    pub(crate) fn note_findings(&mut self) {
        self.facts.findings.clear();
        self.facts.findings.extend_from_slice(self.findings);
    }

    /// Arguments for the audit and for a person: without secrets and personal data.
    pub(crate) fn note_arguments(&mut self) {
        self.hide_names();
        if self.kind != MessageKind::Request {
            return;
        }
        let span = self
            .message
            .arguments()
            .or_else(|| self.message.params())
            .map(|value| value.span());
        let Some(span) = span else { return };
        let (text, cut) = quote(
            self.message.frame(),
            span,
            self.findings,
            self.generation,
            Facts::MAX_ARGUMENTS,
        );
        self.facts.arguments = Some(text);
        self.facts.arguments_cut = cut;
    }

    /// What a person is shown who is asked about the call: the arguments, or all parameters where
    /// there are others than the method defines; `None` if it is too long to be shown whole.
    pub(crate) fn shown(&self) -> Option<String> {
        let params = self.message.params();
        let other = params.is_some_and(|params| {
            let defined = ["name", "arguments", "_meta"];
            params.members().any(|(key, _)| !defined.contains(&key))
        });
        let arguments = self.message.arguments().filter(|_| !other);
        let Some(value) = arguments.or(params) else {
            return Some(String::new());
        };
        let frame = self.message.frame();
        let (text, cut) = quote(
            frame,
            value.span(),
            self.findings,
            self.generation,
            Question::MAX_ARGUMENTS,
        );
        (!cut).then_some(text)
    }

    /// Names in the facts are recorded; one that holds a secret is not.
    fn hide_names(&mut self) {
        let hidden = |name: &Arc<str>, findings: &[Finding], frame: &[u8]| {
            findings.iter().any(|finding| {
                matches!(finding.family, Family::Secret | Family::Pii)
                    && frame
                        .get(finding.span.range())
                        .and_then(|text| std::str::from_utf8(text).ok())
                        .is_some_and(|text| name.contains(text))
            })
        };
        let frame = self.message.frame();
        for name in [&mut self.facts.tool, &mut self.facts.target]
            .into_iter()
            .flatten()
        {
            if hidden(name, self.findings, frame) {
                *name = Arc::from("[REDACTED]");
            }
        }
    }
}

/// The text of `span` with secrets and personal data removed, cut at a character boundary at `most`
/// bytes.
fn quote(
    frame: &[u8],
    span: Span,
    findings: &[Finding],
    generation: &Generation,
    most: usize,
) -> (String, bool) {
    let mut out = String::new();
    let mut at = span.range().start;
    let end = span.range().end.min(frame.len());
    let room = |out: &String| most.saturating_sub(out.len());
    let hidden = findings.iter().filter(|f| {
        matches!(f.family, Family::Secret | Family::Pii)
            && f.span.start >= span.start
            && f.span.end <= span.end
    });
    for finding in hidden {
        let range = finding.span.range();
        if range.end <= at {
            continue;
        }
        push_text(
            &mut out,
            frame.get(at..range.start.max(at)).unwrap_or_default(),
        );
        out.push_str("[REDACTED:");
        out.push_str(&generation.engine.rule(finding.rule).id);
        out.push(']');
        at = range.end;
        if room(&out) == 0 {
            break;
        }
    }
    let tail = frame.get(at..end).unwrap_or_default();
    // One byte past the room tells that something was cut.
    let wanted = tail.len().min(room(&out) + 4);
    push_text(&mut out, tail.get(..wanted).unwrap_or(tail));
    let cut = out.len() > most;
    if cut {
        let mut keep = most;
        while !out.is_char_boundary(keep) {
            keep -= 1;
        }
        out.truncate(keep);
    }
    (out, cut)
}

fn push_text(out: &mut String, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => out.push_str(text),
        Err(_) => out.push_str(&String::from_utf8_lossy(bytes)),
    }
}

pub(crate) const fn call_of(method: Method, modern: bool) -> AnsweredCall {
    match method {
        Method::ToolsCall => AnsweredCall::Tool { modern },
        _ => AnsweredCall::Other,
    }
}

/// A denial by `stage`.
pub(crate) fn denial(stage: Stage, rule: Option<Arc<str>>, text: String) -> Reason {
    Reason {
        stage,
        code: ReasonCode::Denied,
        rule,
        text,
    }
}

/// A remark by `stage` on a message that goes on.
pub(crate) fn remark(stage: Stage, rule: Option<Arc<str>>, text: String) -> Reason {
    Reason {
        stage,
        code: ReasonCode::Noted,
        rule,
        text,
    }
}

/// Facts of a message nothing is known of yet.
pub(crate) fn blank_facts(direction: Direction, bytes: usize, mode: Mode) -> Facts {
    Facts {
        direction,
        kind: None,
        method: Arc::from(""),
        id: None,
        tool: None,
        target: None,
        revision: None,
        arguments: None,
        arguments_cut: false,
        bytes,
        is_error: false,
        verdict: Verdict::Allow,
        reason: None,
        findings: Vec::new(),
        mode,
    }
}

/// Names a caller by what its client says of itself, unless the operator has named it.
pub(crate) fn identify(session: &mut Session, hint: Option<&str>) {
    if session.principal.asserted_by_operator || &*session.principal.agent != "anonymous" {
        return;
    }
    let Some(hint) = hint else { return };
    let name: String = hint.chars().filter(|c| !c.is_control()).take(128).collect();
    if !name.is_empty() {
        session.principal = Principal {
            agent: Arc::from(name),
            asserted_by_operator: false,
        };
    }
}

/// What is to be done about a finding: the policy's word for its family, else the rule's own.
///
/// A rule's own wish to redact holds for what a server says. In a call's arguments it becomes an
/// alert: a call with a changed argument is another call.
pub(crate) fn action_of(
    generation: &Generation,
    direction: Direction,
    finding: &Finding,
) -> Action {
    match generation
        .policy
        .family_actions()
        .action(direction, finding.family)
    {
        // An override says how strongly to react; a rule that only alerts is not made to block by it.
        Some(over) if finding.action > Action::Alert || over < finding.action => over,
        _ if direction == Direction::Inbound && finding.action == Action::Redact => Action::Alert,
        _ => finding.action,
    }
}
