//! The prefilter may report too much, never too little.

use mcpf_model::{Action, Family, Limits, Severity, Surface};
use mcpf_scan::{Engine, RuleSpec};
use proptest::prelude::*;

use crate::Frame;
use crate::rules::engine;

/// Pieces that rules are made of, whole, broken and disguised.
const PIECES: [&str; 48] = [
    "ignore",
    "IGNORE",
    "all",
    "any",
    "previous",
    "instructions",
    " ",
    "  ",
    "\n",
    "\t",
    "AKIA",
    "AKIAQ3EGRZ7TWBN5XK2P",
    "Q3EGRZ7TWBN5XK2P",
    "password",
    "=",
    ":",
    "\"",
    "'",
    "tr0ub4dor&3",
    "changeme",
    "-----BEGIN PRIVATE KEY-----",
    "-----END PRIVATE KEY-----",
    "datadog",
    "key01234567",
    "4111 1111 1111 1111",
    "4111111111111111",
    "555-1234",
    "7",
    "ada@lovelace.org",
    "@",
    "http://127.0.0.1/",
    "://",
    "00:1b:44:11:3a:b7",
    "::",
    "&lt;script&gt;",
    "%73%79stem",
    "system prompt",
    "tok_",
    "tok_abc123",
    "_tok_12",
    "begin",
    "finish",
    "\u{200b}",
    "е",
    "é",
    "\u{301}",
    "中",
    "aWdub3JlIGFsbCBwcmV2aW91cyBpbnN0cnVjdGlvbnM=",
];

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => proptest::sample::select(&PIECES[..]).prop_map(str::to_owned),
        1 => "[ -~]{0,12}",
        1 => "\\PC{0,4}",
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn agree(engine: &Engine, texts: &[String], surface: Surface) -> Result<(), TestCaseError> {
    let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
    let frame = Frame::new(&borrowed);
    let mut scratch = engine.new_scratch().unwrap();
    let (mut fast, mut slow) = (Vec::new(), Vec::new());
    let limits = Limits::default();
    let json = frame.json.as_bytes();
    let a = engine.scan(json, frame.texts(surface), &limits, &mut scratch, &mut fast);
    let b = engine.scan_naive(json, frame.texts(surface), &limits, &mut scratch, &mut slow);
    prop_assert_eq!(a, b);
    prop_assert_eq!(&fast, &slow, "{:?}", texts);
    for finding in &fast {
        prop_assert!(std::str::from_utf8(&json[finding.span.range()]).is_ok());
    }
    Ok(())
}

/// A bounded pattern over a few letters, in syntax the two libraries do not always share.
fn pattern() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[abAB .\u{e9}-]{1,3}".prop_map(|text| text.replace('.', r"\.")),
        Just(r"\b".to_owned()),
        Just(r"\B".to_owned()),
        Just(r"\w".to_owned()),
        Just(r"[^a]".to_owned()),
        Just(r"[[ab]&&[^b]]".to_owned()),
        Just(r"(?i:ab)".to_owned()),
        Just(r"(?-i:Ab)".to_owned()),
        Just(".".to_owned()),
        Just(r"\s".to_owned()),
        Just("(?:a|)".to_owned()),
        Just("(?:é|b|ж)".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(?:{a}|{b})")),
            (inner.clone(), 0_u32..2, 1_u32..4)
                .prop_map(|(a, min, more)| format!("({a}){{{min},{}}}", min + more)),
            inner.prop_map(|a| format!("(?:{a})??")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_pattern_means_the_same_to_both_libraries(
        pattern in pattern(),
        caseless: bool,
        texts in proptest::collection::vec("[abAB .\u{e9}\u{436}\n-]{0,40}", 1..4),
    ) {
        let spec = RuleSpec::new("A-001", Family::Content, Severity::Low, Action::Alert).pattern(&pattern, caseless);
        // Patterns that match the empty string and the like are refused.
        if let Ok(engine) = Engine::build(vec![spec], None) {
            agree(&engine, &texts, Surface::Prompt)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_prefilter_changes_nothing(texts in proptest::collection::vec(text(), 1..5)) {
        agree(engine(), &texts, Surface::Arguments)?;
        agree(engine(), &texts, Surface::ToolDescription)?;
    }

    #[test]
    fn nor_does_a_flood(piece in proptest::sample::select(&PIECES[..]), count in 60_usize..400, tail in text()) {
        agree(engine(), &[piece.repeat(count) + &tail], Surface::Arguments)?;
        let spaced = format!("{piece}{}", ".".repeat(70));
        agree(engine(), &[spaced.repeat(count) + &tail], Surface::Arguments)?;
    }
}
