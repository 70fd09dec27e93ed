//! The engine as its callers use it: findings in frames, the slow twin, redaction, allocations.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests may fail loudly"
)]

mod allocation;
mod behaviour;
mod redaction;
mod rules;
mod twin;

use mcpf_model::{Finding, Limits, Span, Surface};
use mcpf_scan::{Engine, Text};

/// A frame that is an array of strings, with the place of each.
struct Frame {
    json: String,
    texts: Vec<(String, Span)>,
}

impl Frame {
    fn new(texts: &[&str]) -> Self {
        Self::written(texts, |text| serde_json::to_string(text).unwrap())
    }

    /// As [`Frame::new`], with every character outside ASCII escaped.
    fn escaped(texts: &[&str]) -> Self {
        Self::written(texts, |text| {
            let plain = serde_json::to_string(text).unwrap();
            let mut out = String::new();
            for c in plain.chars() {
                if c.is_ascii() {
                    out.push(c);
                } else {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
            out
        })
    }

    fn written(texts: &[&str], write: impl Fn(&str) -> String) -> Self {
        let mut json = "[".to_owned();
        let mut placed = Vec::new();
        for (ix, text) in texts.iter().enumerate() {
            if ix > 0 {
                json.push(',');
            }
            let start = json.len() as u32 + 1;
            json.push_str(&write(text));
            let end = json.len() as u32 - 1;
            placed.push(((*text).to_owned(), Span { start, end }));
        }
        json.push(']');
        Self {
            json,
            texts: placed,
        }
    }

    fn texts(&self, surface: Surface) -> impl Iterator<Item = Text<'_>> {
        self.texts.iter().map(move |(text, raw)| Text {
            text,
            raw: *raw,
            surface,
        })
    }

    fn scan(&self, engine: &Engine, surface: Surface) -> Vec<Finding> {
        let mut scratch = engine.new_scratch().unwrap();
        let mut findings = Vec::new();
        engine
            .scan(
                self.json.as_bytes(),
                self.texts(surface),
                &Limits::default(),
                &mut scratch,
                &mut findings,
            )
            .unwrap();
        findings
    }

    /// What was found, as `rule: bytes of the frame`.
    fn found(&self, engine: &Engine) -> Vec<String> {
        self.scan(engine, Surface::Arguments)
            .iter()
            .map(|finding| {
                format!(
                    "{}: {}",
                    engine.rule(finding.rule).id,
                    &self.json[finding.span.range()]
                )
            })
            .collect()
    }
}
