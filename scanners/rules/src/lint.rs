//! What a checked rule may still get wrong: patterns that would be slow, match nothing, or mean
//! one thing to the prefilter and another to the confirming engine; missing examples; ids used
//! twice. Rules enter, diagnostics leave; nothing is matched and nothing is changed.

use std::collections::{BTreeSet, HashMap};

use mcpf_model::{Action, Severity};
use mcpf_scan::{Anchor, PatternSpec};

use crate::diagnostic::{At, Code, Diagnostic, Place};
use crate::pattern::{self, MAX_WIDTH, Syntax};
use crate::rule::Rule;

/// Shortest literal worth a place in the database, in bytes.
const MIN_LITERAL: usize = 4;

/// Shortest literal even with `lint.allow: [short-literal]`, in bytes.
const MIN_SHORT_LITERAL: usize = 3;

/// Longest keyword, in bytes.
const MAX_KEYWORD: usize = 64;

/// Longest match of `extend`, in bytes.
const MAX_EXTEND: usize = mcpf_scan::MAX_EXTENSION;

/// Everything wrong with `rules`, in file order. Pass all rules that will be loaded together:
/// ids are compared across files.
#[must_use]
pub fn lint(rules: &[Rule]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut seen: HashMap<&str, &Rule> = HashMap::new();
    for rule in rules {
        if let Some(first) = seen.get(rule.id.value.as_ref()) {
            found.push(
                Diagnostic::new(
                    &rule.source.file,
                    rule.id.place,
                    Code::DuplicateId,
                    format!("rule id `{}` is used twice", rule.id.value),
                )
                .help(format!(
                    "first used at {}:{}:{}",
                    first.source.file, first.id.place.line, first.id.place.column
                )),
            );
        } else {
            seen.insert(&rule.id.value, rule);
        }
        Linter {
            rule,
            found: &mut found,
        }
        .run();
    }
    found
}

struct Linter<'a> {
    rule: &'a Rule,
    found: &'a mut Vec<Diagnostic>,
}

impl Linter<'_> {
    fn run(&mut self) {
        let rule = self.rule;
        if rule.patterns.is_empty() {
            self.report(
                rule.id.place,
                Code::Empty,
                "the rule has no pattern",
                "add one under `patterns:`",
            );
        }
        let mut short = false;
        for at in &rule.patterns {
            short |= self.pattern(at);
        }
        if let (Some(place), false) = (rule.short_literal, short) {
            self.report(
                place,
                Code::Exception,
                "`short-literal` is allowed but no pattern needs it",
                "remove the exception",
            );
        }
        self.extend();
        self.examples();
        self.references();
        self.keywords();
        self.action();
    }

    fn report(
        &mut self,
        place: Place,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let id = &self.rule.id.value;
        let message = format!("{} ({id})", message.into());
        self.found
            .push(Diagnostic::new(&self.rule.source.file, place, code, message).help(help));
    }

    /// Checks one pattern; true when it needs the short-literal exception.
    fn pattern(&mut self, at: &At<PatternSpec>) -> bool {
        let pattern = &at.value;
        let analysis = match pattern::analyse(&pattern.text, pattern.caseless, pattern.dotall) {
            Ok(analysis) => analysis,
            Err(found) => {
                self.syntax(at.place, found);
                return false;
            }
        };
        self.width(at.place, analysis.min_width, analysis.max_width, MAX_WIDTH);
        if let Some(capture) = &self.rule.capture
            && usize::from(capture.value) > analysis.groups
        {
            let message = format!(
                "`capture: {}` but the pattern has {} groups",
                capture.value, analysis.groups
            );
            self.report(
                at.place,
                Code::Capture,
                message,
                "number the group that is the finding, in every pattern",
            );
        }
        self.rule.anchor == Anchor::Literal && self.literal(at.place, &analysis.required)
    }

    fn syntax(&mut self, place: Place, found: Vec<Syntax>) {
        for one in found {
            match one {
                Syntax::Invalid(message) => self.report(
                    place,
                    Code::Pattern,
                    format!("not a regular expression: {}", message.trim()),
                    "bytes, no look-around, no back-references, no Unicode classes",
                ),
                Syntax::Look(message) => self.report(
                    place,
                    Code::Look,
                    message,
                    "texts are scanned joined and their ends cannot be seen; use `\\b` or a bounded class",
                ),
                Syntax::Class(message) => self.report(
                    place,
                    Code::Class,
                    message,
                    "write plain ASCII classes, and non-ASCII text as an alternation `(?:a|b)`",
                ),
            }
        }
    }

    fn width(&mut self, place: Place, min: usize, max: Option<usize>, limit: usize) {
        if min == 0 {
            self.report(
                place,
                Code::Width,
                "the pattern matches the empty string",
                "require something",
            );
        }
        match max {
            None => self.report(
                place,
                Code::Width,
                "the pattern has no bounded width",
                "replace `*`, `+` and `{n,}` with a bound, for example `{0,200}`",
            ),
            Some(max) if max > limit => self.report(
                place,
                Code::Width,
                format!("a match may be {max} bytes long"),
                format!("keep it within {limit}"),
            ),
            Some(_) => {}
        }
    }

    /// Checks the required literals; true when the exception was needed and used.
    fn literal(&mut self, place: Place, required: &BTreeSet<Vec<u8>>) -> bool {
        let worst = required
            .iter()
            .min_by_key(|literal| (pattern::weight(literal), literal.len()));
        let weight = worst.map_or(0, |literal| pattern::weight(literal));
        if weight >= MIN_LITERAL {
            return false;
        }
        let allowed = self.rule.short_literal.is_some();
        if allowed && weight >= MIN_SHORT_LITERAL {
            return true;
        }
        let message = match worst {
            None => "no literal is required by every match".to_owned(),
            Some(literal) => {
                let shown = literal.escape_ascii();
                if weight == 0 {
                    format!("the required literal `{shown}` stands in most messages")
                } else {
                    format!("the required literal `{shown}` is shorter than {MIN_LITERAL} bytes")
                }
            }
        };
        self.report(
            place,
            Code::Literal,
            message,
            "give every branch a distinctive run of four bytes, set `anchor:`, or for a distinctive \
             prefix of three bytes `lint: { allow: [short-literal], reason: ... }`",
        );
        allowed
    }

    fn extend(&mut self) {
        let Some(extend) = &self.rule.extend else {
            return;
        };
        match pattern::analyse(&extend.value, false, true) {
            Err(found) => self.syntax(extend.place, found),
            Ok(analysis) => self.width(extend.place, 1, analysis.max_width, MAX_EXTEND),
        }
    }

    fn examples(&mut self) {
        let rule = self.rule;
        let help = "every rule shows a text it finds and a similar one it leaves alone";
        for (list, name) in [
            (&rule.examples, "examples"),
            (&rule.negative_examples, "negative_examples"),
        ] {
            if list.is_empty() {
                self.report(
                    rule.id.place,
                    Code::Examples,
                    format!("the rule has no `{name}`"),
                    help,
                );
            }
            for example in list {
                if example.value.is_empty() {
                    self.report(example.place, Code::Examples, "an example is empty", help);
                }
            }
        }
    }

    fn references(&mut self) {
        for reference in &self.rule.references {
            let rest = reference.value.strip_prefix("https://");
            let host = rest
                .and_then(|rest| rest.split('/').next())
                .unwrap_or_default();
            let good = host.contains('.') && reference.value.bytes().all(|b| b.is_ascii_graphic());
            if !good {
                self.report(
                    reference.place,
                    Code::Reference,
                    format!("`{}` is not an https URL", reference.value.escape_debug()),
                    "link to a public page over https",
                );
            }
        }
    }

    fn keywords(&mut self) {
        for keyword in &self.rule.keywords {
            let length = keyword.value.trim().len();
            if length == 0 || length != keyword.value.len() || length > MAX_KEYWORD {
                self.report(
                    keyword.place,
                    Code::Keyword,
                    format!("`{}` is not a keyword", keyword.value.escape_debug()),
                    format!("1 to {MAX_KEYWORD} bytes without space around them"),
                );
            }
        }
    }

    fn action(&mut self) {
        let rule = self.rule;
        let contradiction = match (rule.severity, rule.action.value) {
            (Severity::Critical, Action::Pass | Action::Alert) => {
                "critical severity but the message goes through"
            }
            (Severity::Low, Action::Block) => "low severity but the message is blocked",
            _ => return,
        };
        self.report(
            rule.action.place,
            Code::Action,
            contradiction,
            "make `severity` and `action` agree",
        );
    }
}
