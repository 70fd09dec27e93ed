//! Which destinations an argument may name, going by the policy's `egress` section.
//!
//! Enter: a scanned call. Leave: an objection to a scheme or a domain, and findings forgiven where
//! policy opens private or loopback addresses. Never: a name lookup; the server resolves again, so
//! this is a decision about what was written, to be paired with a network policy.

use std::ops::ControlFlow;

use mcpf_model::{Action, Direction, Family, MessageKind, Reason, Stage};
use mcpf_scan::{AddressClass, Destination, destinations};

use crate::detect::any_text;
use crate::walk::{Walk, denial};

/// Forgives findings of addresses that the policy opens. Metadata services are never opened.
pub(crate) fn allow_by_policy(walk: &mut Walk<'_>) {
    let egress = walk.generation.policy.egress();
    if !(egress.allow_private || egress.allow_loopback) {
        return;
    }
    let frame = walk.message.frame();
    for finding in walk
        .findings
        .iter_mut()
        .filter(|f| f.family == Family::Egress)
    {
        let text = frame.get(finding.span.range()).unwrap_or_default();
        let opened = match Destination::of(text).map(|found| found.class) {
            Some(AddressClass::Loopback) => egress.allow_loopback,
            Some(AddressClass::Private) => egress.allow_private,
            _ => false,
        };
        if opened {
            finding.action = Action::Pass;
        }
    }
}

/// The first URL in a client's request whose scheme or domain the policy forbids.
pub(crate) fn objection(walk: &Walk<'_>) -> Option<Reason> {
    let egress = walk.generation.policy.egress();
    if walk.direction != Direction::Inbound || walk.kind != MessageKind::Request || egress.is_open()
    {
        return None;
    }
    let mut reason = None;
    any_text(&walk.message, |text| {
        for found in destinations(text) {
            let (rule, text) = if !egress.permits_scheme(&found.scheme) {
                (
                    "egress.schemes",
                    format!("the URL scheme `{}` is not allowed by policy", found.scheme),
                )
            } else if found
                .host
                .as_deref()
                .is_some_and(|host| !egress.permits_domain(host))
            {
                (
                    "egress.domains",
                    "the URL's domain is not allowed by policy".to_owned(),
                )
            } else {
                continue;
            };
            reason = Some(denial(Stage::Egress, Some(rule.into()), text));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    reason
}
