//! Which destinations an argument may name, going by the policy's `egress` section.
//!
//! Enter: a scanned call. Leave: an objection to a scheme or a domain, and findings forgiven where
//! policy opens private or loopback addresses. Never: a name lookup; the server resolves again, so
//! this is a decision about what was written, to be paired with a network policy.

use std::ops::ControlFlow;

use mcpf_model::{Action, Direction, Family, MessageKind, Reason, ReasonCode, Stage};
use mcpf_policy::Egress;
use mcpf_scan::{AddressClass, Destination, destinations};
use memchr::{memchr, memchr3, memchr3_iter};

use crate::detect::any_text;
use crate::walk::{Walk, denial};

/// Most URLs of one message that are judged; a message with more is refused. 4,096.
const MAX_DESTINATIONS: usize = 4_096;

/// Forgives findings of addresses that the policy opens, and nothing else a rule of the family is
/// about: schemes, files, names made to mislead. Metadata services are never opened.
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
        // Raw bytes with an escape in them are not what the reader will see: nothing is forgiven.
        if text.contains(&b'\\') {
            continue;
        }
        let forgiven = |found: Destination| {
            let near = matches!(found.class, AddressClass::Loopback | AddressClass::Private);
            // A host may be open and `gopher` still not.
            let web = found.scheme.is_empty() || found.is_web();
            near && web && opened(egress, found.class)
        };
        if Destination::of(text).is_some_and(forgiven) {
            finding.action = Action::Pass;
        }
    }
}

const fn opened(egress: &Egress, class: AddressClass) -> bool {
    match class {
        AddressClass::Public => true,
        AddressClass::Loopback => egress.allow_loopback,
        AddressClass::Private => egress.allow_private,
        AddressClass::Metadata => false,
    }
}

/// The first URL in what a client sends whose scheme, domain or address the policy forbids.
///
/// The rules find addresses in many notations; this reads each URL once more as a lenient parser
/// would, tabs and line ends taken out as well (WHATWG URL, "basic URL parser").
pub(crate) fn objection(walk: &Walk<'_>) -> Option<Reason> {
    let asks = matches!(walk.kind, MessageKind::Request | MessageKind::Notification);
    if walk.direction != Direction::Inbound || !asks {
        return None;
    }
    let egress = walk.generation.policy.egress();
    let mut reason = None;
    let mut left = MAX_DESTINATIONS;
    any_text(&walk.message, |text| {
        reason = judge(egress, text, true, &mut left);
        if reason.is_none()
            && memchr(b':', text.as_bytes()).is_some()
            && let Some(joined) = joined(text)
        {
            // Joined lines make names that nobody wrote, so only addresses are judged here.
            reason = judge(egress, &joined, false, &mut left);
        }
        if reason.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    reason
}

/// `text` without tabs and line ends, if it has some.
fn joined(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    memchr3(b'\t', b'\r', b'\n', bytes)?;
    let mut joined = String::with_capacity(text.len());
    let mut from = 0;
    for at in memchr3_iter(b'\t', b'\r', b'\n', bytes).chain([text.len()]) {
        joined.push_str(text.get(from..at).unwrap_or_default());
        from = at + 1;
    }
    Some(joined)
}

fn judge(egress: &Egress, text: &str, lists: bool, left: &mut usize) -> Option<Reason> {
    for found in destinations(text) {
        let Some(fewer) = left.checked_sub(1) else {
            return Some(Reason {
                stage: Stage::Egress,
                code: ReasonCode::Overloaded,
                rule: Some("max_destinations".into()),
                text: "the message names more URLs than are judged".to_owned(),
            });
        };
        *left = fewer;
        let (rule, text) = if !opened(egress, found.class) {
            (
                "egress.addresses",
                "the URL leads to a private, loopback or metadata address".to_owned(),
            )
        } else if lists && !egress.permits_scheme(&found.scheme) {
            (
                "egress.schemes",
                format!("the URL scheme `{}` is not allowed by policy", found.scheme),
            )
        } else if lists
            && found
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
        return Some(denial(Stage::Egress, Some(rule.into()), text));
    }
    None
}
