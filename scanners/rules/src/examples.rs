//! Does every rule find what it says it finds, and leave alone what it says it leaves alone?
//! Rules and the engine built from them enter; failures leave.

use std::fmt;
use std::sync::Arc;

use mcpf_model::{Action, Finding, Limits, Span, Surface};
use mcpf_scan::{Engine, ScanError, Scratch, Text};

use crate::diagnostic::{At, Place};
use crate::rule::Rule;

/// An example that does not behave as its rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule.
    pub rule: Arc<str>,
    /// The file the rule is in.
    pub file: Arc<str>,
    /// Where the example stands.
    pub place: Place,
    /// What went wrong.
    pub kind: FailureKind,
    /// The example. Rule authors write made-up values; a real secret does not belong in a rule.
    pub example: String,
}

/// What went wrong with an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The rule does not find its example on this surface.
    Missed(Surface),
    /// The rule finds its negative example on this surface.
    Found(Surface),
    /// The scan itself failed.
    Scan(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule, file, place, ..
        } = self;
        write!(f, "{file}:{}:{}: {rule} ", place.line, place.column)?;
        match &self.kind {
            FailureKind::Missed(surface) => {
                write!(f, "does not find its example in {}", surface.as_str())?;
            }
            FailureKind::Found(surface) => {
                write!(f, "finds its negative example in {}", surface.as_str())?;
            }
            FailureKind::Scan(error) => write!(f, "could not be tried: {error}")?,
        }
        write!(f, ": {}", self.example.escape_debug())
    }
}

/// Scans every example of every rule, as a JSON string between others, on each of the rule's
/// surfaces. `engine` must have been built from all of `rules`; what other rules find does not
/// matter. Rules with the action `pass` are not compiled and not tried.
#[must_use]
pub fn check_examples(engine: &Engine, rules: &[Rule]) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut trial = match engine.new_scratch() {
        Ok(scratch) => Trial {
            engine,
            scratch,
            findings: Vec::new(),
        },
        Err(error) => {
            failures.extend(rules.iter().filter_map(|rule| {
                let example = rule.examples.first()?;
                Some(failure(rule, example, FailureKind::Scan(error.to_string())))
            }));
            return failures;
        }
    };
    for rule in rules
        .iter()
        .filter(|rule| rule.action.value != Action::Pass)
    {
        for surface in rule.surfaces.iter() {
            for example in &rule.examples {
                match trial.finds(rule, &example.value, surface) {
                    Ok(true) => {}
                    Ok(false) => {
                        failures.push(failure(rule, example, FailureKind::Missed(surface)));
                    }
                    Err(error) => {
                        failures.push(failure(rule, example, FailureKind::Scan(error.to_string())));
                    }
                }
            }
            for example in &rule.negative_examples {
                match trial.finds(rule, &example.value, surface) {
                    Ok(false) => {}
                    Ok(true) => failures.push(failure(rule, example, FailureKind::Found(surface))),
                    Err(error) => {
                        failures.push(failure(rule, example, FailureKind::Scan(error.to_string())));
                    }
                }
            }
        }
    }
    failures
}

fn failure(rule: &Rule, example: &At<String>, kind: FailureKind) -> Failure {
    Failure {
        rule: Arc::clone(&rule.id.value),
        file: Arc::clone(&rule.source.file),
        place: example.place,
        kind,
        example: example.value.clone(),
    }
}

struct Trial<'e> {
    engine: &'e Engine,
    scratch: Scratch,
    findings: Vec<Finding>,
}

impl Trial<'_> {
    /// Whether `rule` finds something in `example`, which stands as the second of three strings:
    /// a rule must not lean on the ends of the joined text.
    fn finds(&mut self, rule: &Rule, example: &str, surface: Surface) -> Result<bool, ScanError> {
        let mut frame = String::from("[");
        let mut text = |text| {
            let start = frame.len() + 1;
            quote(text, &mut frame);
            let raw = Span {
                start: u32::try_from(start).unwrap_or(u32::MAX),
                end: u32::try_from(frame.len() - 1).unwrap_or(u32::MAX),
            };
            frame.push(',');
            Text { text, raw, surface }
        };
        let texts = [text("a"), text(example), text("z")];
        let middle = texts.map(|text| text.raw);
        self.engine.scan(
            frame.as_bytes(),
            texts.into_iter(),
            &Limits::default(),
            &mut self.scratch,
            &mut self.findings,
        )?;
        let [_, inside, _] = middle;
        Ok(self.findings.iter().any(|finding| {
            self.engine.rule(finding.rule).id == rule.id.value
                && finding.span.start >= inside.start
                && finding.span.end <= inside.end
        }))
    }
}

/// Writes `text` as a JSON string.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
