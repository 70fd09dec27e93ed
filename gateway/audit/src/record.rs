//! What a caller gives the audit: one [`Entry`] for each decision, one [`Event`] for each change of
//! the gateway's own state.
//!
//! Owned values enter, already redacted; the body of a record leaves ([`encode`](crate::encode)).
//! Matched text has no place to go: a finding is its rule and its span, never the text.

use mcpf_model::{
    Action, Direction, Family, Finding, MessageKind, Mode, Reason, RequestId, Severity, Span,
    Surface, Verdict, View,
};
use std::sync::Arc;
use std::time::SystemTime;

/// Most bytes of arguments kept in a record. Longer text is cut, stored as a JSON string and named
/// in the record's `truncated` list.
pub const MAX_ARGUMENTS: usize = 64 * 1024;
/// Most bytes kept of a method, tool, prompt, agent or other name, and of a reason's sentence.
pub const MAX_NAME: usize = 1_024;
/// Most bytes kept of a resource URI.
pub const MAX_URI: usize = 8_192;
/// Most findings kept in a record; how many were left out is written as `findings_omitted`.
pub const MAX_FINDINGS: usize = 64;
/// Most labels kept in a record (and most details of an event).
pub const MAX_LABELS: usize = 32;
/// Most bytes kept of a label's key or value.
pub const MAX_LABEL: usize = 256;
/// Longest record line that is written or read, in bytes with its line end. The limits above keep
/// every record below it even when each character has to be escaped.
pub const MAX_LINE: usize = 1024 * 1024;

/// One decision on one message.
///
/// Strings may hold anything a peer sent; they are escaped on the way out. `arguments` must be
/// redacted by the caller.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When the message was decided on, by the wall clock.
    pub time: SystemTime,
    /// The same moment in nanoseconds of a clock that never goes back (since an origin of the caller's).
    pub monotonic_ns: u64,
    /// Which way the message travelled.
    pub direction: Direction,
    /// The shape of the message; `None` when it was refused before that was known.
    pub kind: Option<MessageKind>,
    /// JSON-RPC method.
    pub method: Option<Arc<str>>,
    /// Who called.
    pub agent: Arc<str>,
    /// On whose behalf, with tenants.
    pub tenant: Option<Arc<str>>,
    /// The gateway's own name for the session.
    pub session: Arc<str>,
    /// The server's name in the configuration.
    pub server: Option<Arc<str>>,
    /// Tool name of a `tools/call`.
    pub tool: Option<Arc<str>>,
    /// Resource URI.
    pub resource: Option<Arc<str>>,
    /// Prompt name.
    pub prompt: Option<Arc<str>>,
    /// JSON-RPC id.
    pub request: Option<RequestId>,
    /// The arguments, redacted.
    pub arguments: Option<Arguments>,
    /// What came back, when this is about an answer.
    pub result: Option<ResultSummary>,
    /// What was decided.
    pub decision: Verdict,
    /// Why, unless it was simply allowed.
    pub reason: Option<Reason>,
    /// What the scan found.
    pub findings: Vec<FindingRecord>,
    /// Labels of the caller, in the order given.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Revision of the policy that decided.
    pub policy: Option<Arc<str>>,
    /// Revision of the rule set that scanned.
    pub rules: Option<Arc<str>>,
    /// Whether refusals were enforced.
    pub mode: Mode,
    /// Where the message went: command or URL without credentials.
    pub upstream: Option<Arc<str>>,
    /// Time spent: in the gateway for a request, since the request for an answer. Nanoseconds.
    pub latency_ns: Option<u64>,
}

impl Entry {
    /// An entry with the members that are always known; everything else is empty.
    #[must_use]
    pub fn new(
        time: SystemTime,
        direction: Direction,
        session: Arc<str>,
        agent: Arc<str>,
        decision: Verdict,
    ) -> Self {
        Self {
            time,
            monotonic_ns: 0,
            direction,
            kind: None,
            method: None,
            agent,
            tenant: None,
            session,
            server: None,
            tool: None,
            resource: None,
            prompt: None,
            request: None,
            arguments: None,
            result: None,
            decision,
            reason: None,
            findings: Vec::new(),
            labels: Vec::new(),
            policy: None,
            rules: None,
            mode: Mode::Enforce,
            upstream: None,
            latency_ns: None,
        }
    }

    /// Bytes this entry holds while it waits, near enough to bound the queue.
    pub(crate) fn weight(&self) -> usize {
        let texts = [&self.method, &self.tool, &self.resource, &self.prompt];
        let names: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        let request = match &self.request {
            Some(RequestId::String(id)) => id.len(),
            _ => 0,
        };
        let reason = self.reason.as_ref().map_or(0, |reason| reason.text.len());
        let labels: usize = self
            .labels
            .iter()
            .map(|(key, value)| key.len() + value.len() + 32)
            .sum();
        size_of::<Self>()
            + names
            + request
            + reason
            + labels
            + self
                .arguments
                .as_ref()
                .map_or(0, |arguments| arguments.text.len())
            + self.findings.len() * size_of::<FindingRecord>()
    }
}

/// The arguments of a call: redacted JSON text.
///
/// Text that is one JSON value is stored as that value; any other text, and text longer than
/// [`MAX_ARGUMENTS`], is stored as a JSON string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Redacted JSON text, cut by the caller if it likes.
    pub text: Box<str>,
    /// Whether the caller cut it.
    pub truncated: bool,
}

/// What came back, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultSummary {
    /// Bytes of the answer's frame.
    pub bytes: u64,
    /// Whether it was a JSON-RPC error or a result with `isError`.
    pub is_error: bool,
}

/// A finding as it is recorded: everything but the matched text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingRecord {
    /// The rule's id.
    pub rule: Arc<str>,
    /// The rule's family.
    pub family: Family,
    /// The rule's severity.
    pub severity: Severity,
    /// What was done because of it.
    pub action: Action,
    /// Who would have read the text.
    pub surface: Surface,
    /// Which reading of the text matched.
    pub view: View,
    /// Where in the original frame.
    pub span: Span,
}

impl FindingRecord {
    /// The record of `finding`, whose rule is called `rule`.
    #[must_use]
    pub fn of(finding: &Finding, rule: Arc<str>) -> Self {
        let Finding {
            family,
            severity,
            action,
            surface,
            view,
            span,
            ..
        } = *finding;
        Self {
            rule,
            family,
            severity,
            action,
            surface,
            view,
            span,
        }
    }
}

/// Something that changed how the gateway decides: a reload, the kill switch, a new mode.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub time: SystemTime,
    /// The same moment by a clock that never goes back, in nanoseconds.
    pub monotonic_ns: u64,
    /// What happened, in `snake_case`: `reload`, `kill_switch`.
    pub name: &'static str,
    /// What there is to say about it: at most [`MAX_LABELS`] pairs of [`MAX_LABEL`] bytes each side.
    pub detail: Vec<(&'static str, Arc<str>)>,
}

/// What waits in the queue.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is boxed whole, and nearly all of them are the large one"
)]
pub(crate) enum Item {
    Decision(Entry),
    Event(Event),
    /// Nothing but a place for the signature over the records before it.
    Seal,
}

impl Item {
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Decision(entry) => entry.weight(),
            Self::Seal => size_of::<Self>(),
            Self::Event(event) => {
                size_of::<Self>()
                    + event
                        .detail
                        .iter()
                        .map(|(key, value)| key.len() + value.len() + 32)
                        .sum::<usize>()
            }
        }
    }
}
