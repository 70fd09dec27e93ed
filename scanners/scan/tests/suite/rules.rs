//! A small set of rules that uses every feature once.

use std::sync::OnceLock;

use mcpf_model::{Action, Family, Severity, Surface, View};
use mcpf_scan::{Anchor, Engine, RuleSpec, SurfaceSet, Validator, ViewSet};

pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::build(specs(), None).unwrap())
}

fn rule(id: &str) -> RuleSpec {
    RuleSpec::new(id, Family::Secret, Severity::High, Action::Redact)
}

pub(crate) fn specs() -> Vec<RuleSpec> {
    vec![
        rule("INJ-001").pattern(
            r"ignore\s{1,9}(?:all\s{1,9}|any\s{1,9})?previous\s{1,9}instructions",
            true,
        ),
        rule("SEC-001").pattern(r"\bAKIA[0-9A-Z]{16}\b", false),
        RuleSpec {
            capture: Some(1),
            validators: vec![
                Validator::NotPlaceholder,
                Validator::Entropy { min_centibits: 250 },
            ],
            ..rule("SEC-002").pattern(
                r#"password["']?\s{0,3}[:=]\s{0,3}["']?([^\s"']{6,40})"#,
                true,
            )
        },
        RuleSpec {
            extend: Some(r"(?s:.)*?-----END [A-Z ]{0,20}PRIVATE KEY-----".to_owned()),
            ..rule("SEC-003").pattern("-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----", false)
        },
        RuleSpec {
            keywords: vec!["datadog".to_owned(), "DD_".to_owned()],
            keyword_window: 40,
            ..rule("SEC-004").pattern(r"\bkey[0-9a-f]{8}\b", false)
        },
        RuleSpec {
            anchor: Anchor::Digits,
            validators: vec![Validator::CreditCard],
            ..rule("PII-001").pattern(r"\b[2-6](?:[ -]?[0-9]){12,18}\b", false)
        },
        RuleSpec {
            anchor: Anchor::At,
            validators: vec![Validator::Email],
            ..rule("PII-002").pattern(
                r"[a-z0-9._%+-]{1,64}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}",
                true,
            )
        },
        RuleSpec {
            anchor: Anchor::Url,
            validators: vec![Validator::PrivateAddress],
            ..rule("EGR-001").pattern(r"[a-z]{2,10}://[^\s/]{1,100}", true)
        },
        RuleSpec {
            anchor: Anchor::Colons,
            ..rule("PII-003").pattern(r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b", true)
        },
        RuleSpec {
            surfaces: SurfaceSet::EMPTY.with(Surface::ToolDescription),
            ..rule("TOOL-001").pattern("do not tell the user", true)
        },
        RuleSpec {
            views: ViewSet::EMPTY.with(View::Decoded),
            ..rule("CMD-001").pattern(r"<script\b", true)
        },
        RuleSpec {
            views: ViewSet::EMPTY.with(View::Normalised),
            ..rule("INJ-002").pattern(r"system prompt", true)
        },
        // Overlaps itself, and its first match may be the wrong one.
        RuleSpec {
            validators: vec![Validator::MinDigits { min: 3 }],
            ..rule("SEC-005").pattern(r"tok_[a-z0-9_]{4,12}", false)
        },
        // Runs over the border of a text where the joined buffer does not stop it.
        rule("SEC-006").pattern(r#"begin[^"]{0,30}finish"#, false),
        RuleSpec {
            action: Action::Pass,
            ..rule("OFF-001").pattern("never compiled [unclosed", false)
        },
    ]
}
