//! One scan over every string, and the stations that judge what it found.
//!
//! Enter: [`Admitted`]. Leave: [`Scanned`]. Never: a second pass over the text.

use std::ops::ControlFlow;

use mcpf_model::{Action, Direction, Family, Finding, Limits, Reason, ReasonCode, Stage, Surface};
use mcpf_scan::{ScanError, Text};
use mcpf_wire::{Message, Place};

use crate::admit::Admitted;
use crate::egress;
use crate::quarantine;
use crate::session::Session;
use crate::stages::{INBOUND, OUTBOUND, judge};
use crate::walk::{Step, Walk, action_of, denial};

/// A message whose every string was looked at.
#[must_use]
pub(crate) struct Scanned<'w>(Walk<'w>);

impl<'w> Scanned<'w> {
    pub(crate) fn into_walk(self) -> Walk<'w> {
        self.0
    }
}

pub(crate) fn detect<'w>(
    admitted: Admitted<'w>,
    session: &mut Session,
    scratch: &mut mcpf_scan::Scratch,
) -> Step<Scanned<'w>> {
    let mut walk = admitted.into_walk();
    let texts = texts(&walk.message, walk.surface);
    let limits: &Limits = &walk.generation.limits;
    walk.findings.clear();
    let scanned =
        walk.generation
            .engine
            .scan(walk.message.frame(), texts, limits, scratch, walk.findings);
    match scanned {
        Err(error) => return Err(walk.stop(failure(&error))),
        Ok(scanned) if scanned.views_truncated => {
            let mode = walk.generation.policy.mode();
            walk = walk.object(mode, undecoded())?;
        }
        Ok(_) => {}
    }
    egress::allow_by_policy(&mut walk);
    for at in 0..walk.findings.len() {
        if let Some(finding) = walk.findings.get(at).copied() {
            let action = action_of(walk.generation, walk.direction, &finding);
            if let Some(finding) = walk.findings.get_mut(at) {
                finding.action = action;
            }
        }
    }
    walk.findings
        .retain(|finding| finding.action > Action::Pass);
    walk.note_findings();
    walk.note_arguments();
    quarantine::take_out(&mut walk, session);
    let stages: &[Stage] = match walk.direction {
        Direction::Inbound => &INBOUND,
        Direction::Outbound => &OUTBOUND,
    };
    let mode = walk.generation.policy.mode();
    for &stage in stages {
        if let Some(reason) = objection(&walk, stage) {
            walk = walk.object(mode, reason)?;
        }
    }
    Ok(Scanned(walk))
}

/// What the scan reads: every key and value but the envelope's own.
///
/// Nothing is exempt by its name, not even a `requestState` that only its author reads back: a
/// server could call anything so.
fn texts<'m>(message: &'m Message<'_>, surface: Surface) -> impl Iterator<Item = Text<'m>> {
    message
        .strings()
        .filter(|leaf| leaf.place != Place::Envelope && !leaf.text.is_empty())
        .map(move |leaf| Text {
            text: leaf.text,
            raw: leaf.raw,
            surface,
        })
}

/// A scan that could not be finished is a refusal: what was not looked at does not pass.
fn failure(error: &ScanError) -> Reason {
    Reason {
        stage: Stage::Wire,
        code: ReasonCode::Failed,
        rule: None,
        text: format!("the message could not be inspected: {error}"),
    }
}

/// Text that decodes to more than may be looked at does not pass unseen.
fn undecoded() -> Reason {
    Reason {
        stage: Stage::Wire,
        code: ReasonCode::Overloaded,
        rule: Some("max_view_factor".into()),
        text: "the message holds more encoded text than may be decoded".to_owned(),
    }
}

fn objection(walk: &Walk<'_>, stage: Stage) -> Option<Reason> {
    if stage == Stage::Egress
        && let Some(reason) = egress::objection(walk)
    {
        return Some(reason);
    }
    let finding = walk.findings.iter().find(|finding| {
        finding.action == Action::Block
            && judge(walk.direction, finding.family, finding.surface) == stage
    })?;
    Some(blocked_by(walk, stage, finding))
}

pub(crate) fn blocked_by(walk: &Walk<'_>, stage: Stage, finding: &Finding) -> Reason {
    let rule = walk.generation.engine.rule(finding.rule);
    let what = match finding.family {
        Family::Injection => "a prompt injection",
        Family::Secret => "a secret",
        Family::Pii => "personal data",
        Family::Exfil => "an exfiltration attempt",
        Family::Egress => "a forbidden destination",
        Family::Command => "a dangerous command or path",
        Family::Tool => "poisoned tool metadata",
        Family::Content => "forbidden content",
    };
    let place = match finding.surface {
        Surface::Arguments => "the arguments",
        Surface::Prompt => "the prompt",
        Surface::ToolResult => "the result",
        Surface::ToolDescription => "the server's description of itself",
    };
    denial(
        stage,
        Some(rule.id.clone()),
        format!("{what} was found in {place}: {}", rule.name),
    )
}

/// Visits strings until one breaks; tells whether one did.
pub(crate) fn any_text(
    message: &Message<'_>,
    mut broken: impl FnMut(&str) -> ControlFlow<()>,
) -> bool {
    message
        .strings()
        .filter(|leaf| leaf.place != Place::Envelope)
        .any(|leaf| broken(leaf.text).is_break())
}
