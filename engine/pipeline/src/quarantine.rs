//! Poisoned entries of a list are taken out of it; the rest of the list goes on.
//!
//! Enter: a `tools/list` result, or its like, with findings that block. Leave: the same with edits
//! that remove the entries, and the removed tools' names, which nobody may call from then on.

use mcpf_model::{Action, Direction, MessageKind, Mode, Reason, ReasonCode, Span, Stage};
use mcpf_wire::{Edit, Value};

use crate::detect::blocked_by;
use crate::method::Method;
use crate::session::{Quarantine, Session};
use crate::walk::Walk;

/// Removes every entry that has a blocking finding, and marks those findings as dealt with.
pub(crate) fn take_out(walk: &mut Walk<'_>, session: &mut Session) {
    let listing = walk.direction == Direction::Outbound && walk.kind == MessageKind::Response;
    let Some(member) = walk.method.list_member().filter(|_| listing) else {
        return;
    };
    let enforced = walk.generation.policy.mode() == Mode::Enforce;
    let Some(entries) = walk.message.result().and_then(|result| result.get(member)) else {
        return;
    };
    let spans: Vec<(Span, Option<&str>)> = entries
        .elements()
        .map(|entry| (entry.span(), name_of(entry)))
        .collect();
    let poisoned = |span: &Span| {
        walk.findings.iter().find(|finding| {
            finding.action == Action::Block
                && finding.span.start >= span.start
                && finding.span.end <= span.end
        })
    };
    let mut memory = session.memory.open();
    let quarantine = &mut memory.quarantine;
    let mut removed: Vec<usize> = Vec::new();
    let mut reason: Option<Reason> = None;
    for (at, (span, name)) in spans.iter().enumerate() {
        let name = name.filter(|_| walk.method == Method::ToolsList);
        match poisoned(span) {
            Some(finding) if enforced && !quarantine.is_full() => {
                let mut why = blocked_by(walk, Stage::ToolIntegrity, finding);
                why.code = ReasonCode::Denied;
                if let (Some(name), Some(rule)) = (name, why.rule.clone()) {
                    quarantine.put(name, rule);
                }
                reason.get_or_insert(why);
                removed.push(at);
            }
            None => {
                if let Some(name) = name {
                    quarantine.release(name);
                }
            }
            Some(_) => {}
        }
    }
    if removed.is_empty() {
        return;
    }
    let frame = walk.message.frame();
    let cuts: Vec<Edit> = cuts(frame, &spans, &removed);
    for finding in walk
        .findings
        .iter_mut()
        .filter(|f| f.action == Action::Block)
    {
        let inside = removed
            .iter()
            .filter_map(|at| spans.get(*at))
            .any(|(span, _)| finding.span.start >= span.start && finding.span.end <= span.end);
        if inside {
            finding.action = Action::Alert;
        }
    }
    // A redaction inside a removed entry must not stand beside its removal.
    walk.findings.retain(|finding| {
        !(finding.action == Action::Redact
            && cuts.iter().any(|cut| {
                finding.span.start >= cut.span.start && finding.span.end <= cut.span.end
            }))
    });
    walk.edits.extend(cuts);
    walk.facts.reason = reason;
}

/// What an entry is called by.
fn name_of(entry: Value<'_>) -> Option<&str> {
    entry.get("name")?.as_str()
}

/// Edits that remove the entries at `removed` from an array, with one comma each.
fn cuts(frame: &[u8], spans: &[(Span, Option<&str>)], removed: &[usize]) -> Vec<Edit> {
    let mut cuts: Vec<Edit> = Vec::new();
    let first_kept = (0..spans.len()).find(|at| !removed.contains(at));
    for &at in removed {
        let Some((span, _)) = spans.get(at) else {
            continue;
        };
        // An entry before the first kept one goes with the comma behind it, any other with the one before.
        let before_kept = first_kept.is_none_or(|kept| at < kept);
        let (start, end) = if before_kept {
            let next = spans.get(at + 1).map_or(span.end, |(next, _)| next.start);
            (span.start, next)
        } else {
            let previous = at
                .checked_sub(1)
                .and_then(|p| spans.get(p))
                .map_or(span.start, |(p, _)| p.end);
            (previous, span.end)
        };
        debug_assert!(frame.len() >= end as usize);
        match cuts.last_mut().filter(|last| last.span.end >= start) {
            Some(last) => last.span.end = end,
            None => cuts.push(Edit {
                span: Span { start, end },
                with: "".into(),
            }),
        }
    }
    cuts
}

impl Quarantine {
    /// The refusal of a call to a tool that was taken out of the list.
    pub(crate) fn refusal(&self, tool: &str) -> Option<Reason> {
        let rule = self.why(tool)?;
        Some(Reason {
            stage: Stage::ToolIntegrity,
            code: ReasonCode::Denied,
            rule: Some(rule.clone()),
            text:
                "the tool's own description was found to be poisoned; it was taken out of the list"
                    .to_owned(),
        })
    }
}
