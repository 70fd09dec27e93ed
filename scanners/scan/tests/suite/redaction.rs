//! A redacted frame is JSON, and holds nothing that was to be removed.

use mcpf_model::{Finding, Span, Surface};
use proptest::prelude::*;

use crate::Frame;
use crate::rules::engine;

fn redacted(frame: &Frame, findings: &[Finding]) -> String {
    let mut out = String::new();
    let mut done = 0;
    for (span, with) in engine().redactions(findings) {
        assert!(span.start >= done, "replacements are in order and disjoint");
        out.push_str(&frame.json[done as usize..span.start as usize]);
        out.push_str(&with);
        done = span.end;
    }
    out.push_str(&frame.json[done as usize..]);
    out
}

#[test]
fn overlapping_findings_become_one_replacement() {
    let frame = Frame::new(&["password=AKIAQ3EGRZ7TWBN5XK2P and ada@lovelace.org"]);
    let findings = frame.scan(engine(), Surface::Arguments);
    assert!(findings.len() >= 3, "{findings:?}");
    assert_eq!(
        redacted(&frame, &findings),
        r#"["password=[REDACTED:SEC-001] and [REDACTED:PII-002]"]"#
    );
}

#[test]
fn touching_findings_stay_apart() {
    let finding = |start, end| Finding {
        span: Span { start, end },
        ..Frame::new(&["AKIAQ3EGRZ7TWBN5XK2P"]).scan(engine(), Surface::Arguments)[0]
    };
    let spans: Vec<Span> = engine()
        .redactions(&[finding(4, 8), finding(0, 4), finding(2, 3)])
        .into_iter()
        .map(|(span, _)| span)
        .collect();
    assert_eq!(
        spans,
        [Span { start: 0, end: 4 }, Span { start: 4, end: 8 }]
    );
}

proptest! {
    #[test]
    fn nothing_redacted_is_left(
        around in proptest::collection::vec("[ \u{e9}\u{4e2d}\u{1f600}\"\\\\\n.,]{0,6}", 4),
        escaped: bool,
    ) {
        let [a, b, c, d] = &around[..] else { unreachable!() };
        let secrets = ["AKIAQ3EGRZ7TWBN5XK2P", "ada@lovelace.org", "kV9$wq2Lz"];
        let first = format!("{a} {} {b} {} {c}", secrets[0], secrets[1]);
        let second = format!("{d} password: {}\u{301}", secrets[2]);
        let texts = [first.as_str(), second.as_str()];
        let frame = if escaped { Frame::escaped(&texts) } else { Frame::new(&texts) };
        let out = redacted(&frame, &frame.scan(engine(), Surface::Arguments));
        let back: Vec<String> = serde_json::from_str(&out).unwrap();
        for secret in secrets {
            prop_assert!(!back.concat().contains(secret), "{out}");
        }
        prop_assert!(back[0].starts_with(a.as_str()));
    }
}
