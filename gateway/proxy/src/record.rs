//! What the audit is told of a message.
//!
//! Enter: what the corridor decided and in which session. Leave: one [`Entry`]. Never: the queue.

use std::sync::Arc;
use std::time::SystemTime;

use mcpf_audit::{Arguments, Entry, FindingRecord, ResultSummary};
use mcpf_model::Direction;
use mcpf_pipeline::{Facts, Generation, Method, Nanos, Session};

/// The record of `facts`, decided on at `before` after `spent` nanoseconds.
pub(crate) fn entry(
    generation: &Generation,
    session: &Session,
    facts: Facts,
    before: Nanos,
    spent: u64,
) -> Entry {
    let mut entry = Entry::new(
        SystemTime::now(),
        facts.direction,
        Arc::clone(&session.id),
        Arc::clone(&session.principal.agent),
        facts.verdict,
    );
    entry.monotonic_ns = before.0;
    entry.kind = facts.kind;
    entry.method = Some(facts.method).filter(|method| !method.is_empty());
    entry.server = Some(Arc::clone(&session.server)).filter(|server| !server.is_empty());
    match Method::of(entry.method.as_deref().unwrap_or_default()) {
        Method::PromptsGet => entry.prompt = facts.target,
        _ => entry.resource = facts.target,
    }
    if facts.direction == Direction::Outbound && facts.kind.is_some() {
        entry.result = Some(ResultSummary {
            bytes: u64::try_from(facts.bytes).unwrap_or(u64::MAX),
            is_error: facts.is_error,
        });
    }
    entry.tool = facts.tool;
    entry.request = facts.id;
    entry.arguments = facts.arguments.map(|text| Arguments {
        text: text.into_boxed_str(),
        truncated: facts.arguments_cut,
    });
    entry.reason = facts.reason;
    entry.findings = facts
        .findings
        .iter()
        .map(|finding| {
            FindingRecord::of(
                finding,
                Arc::clone(&generation.engine.rule(finding.rule).id),
            )
        })
        .collect();
    entry.mode = facts.mode;
    entry.policy = Some(Arc::clone(generation.policy.revision()));
    entry.rules = Some(Arc::clone(&generation.rules));
    entry.latency_ns = Some(spent);
    entry
}
