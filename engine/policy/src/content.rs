//! What is done about findings: actions for whole families, and the operator's own rules.
//!
//! The `inbound`, `outbound` and `content` sections enter; a table and checked patterns leave.
//! The patterns are compiled again, into the pattern database, by the scanner.

use std::sync::Arc;

use mcpf_model::{Action, Direction, Family};
use regex::bytes::RegexBuilder;

use crate::diagnostic::{Code, Sink};
use crate::pattern::MAX_PATTERN;
use crate::yaml::{Fields, Node, clip};

/// Overrides of the rules' own actions, by direction and family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyActions {
    inbound: [Option<Action>; Family::ALL.len()],
    outbound: [Option<Action>; Family::ALL.len()],
}

impl FamilyActions {
    /// What to do about findings of `family` in messages of `direction`; `None` leaves it to
    /// the rule that found them.
    #[must_use]
    pub fn action(&self, direction: Direction, family: Family) -> Option<Action> {
        let table = match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        };
        table.get(family as usize).copied().flatten()
    }

    pub(crate) fn read(&mut self, direction: Direction, node: &Node, sink: &mut Sink) {
        let table = match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        };
        let Some(mut fields) = Fields::open(node, direction.as_str(), sink) else {
            return;
        };
        for (family, place) in Family::ALL.into_iter().zip(table) {
            if let Some(node) = fields.take(family.as_str()) {
                *place = node.word("action", &ACTIONS, sink);
            }
        }
        fields.finish(sink);
    }
}

/// One of the operator's own content rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRule {
    /// The rule's name, unique in the file.
    pub name: Arc<str>,
    /// Regular expressions of at most 1,024 bytes, matched on bytes, case-sensitively unless
    /// they say `(?i)`.
    pub regexes: Vec<String>,
    /// Words looked for without regard to ASCII case.
    pub keywords: Vec<String>,
    /// What is done when one is found. Default alert.
    pub action: Action,
    /// The direction it applies to; `None` is both.
    pub direction: Option<Direction>,
}

impl ContentRule {
    pub(crate) fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let mut fields = Fields::open(node, "content rule", sink)?;
        let name = fields.need("name", sink).and_then(|n| n.text("name", sink));
        let mut regexes = Vec::new();
        for item in fields
            .take("regex")
            .map(Node::one_or_many)
            .unwrap_or_default()
        {
            regexes.extend(content_regex(item, sink));
        }
        let mut keywords = Vec::new();
        for item in fields
            .take("keywords")
            .map(Node::one_or_many)
            .unwrap_or_default()
        {
            keywords.extend(keyword(item, sink));
        }
        let action = match fields.take("action") {
            Some(node) => node.word("action", &ACTIONS, sink)?,
            None => Action::Alert,
        };
        let direction = match fields.take("direction") {
            Some(node) => node.word("direction", &DIRECTIONS, sink)?,
            None => None,
        };
        let at = fields.at;
        fields.finish(sink);
        if regexes.is_empty() && keywords.is_empty() && sink.is_clean() {
            sink.error(
                at,
                Code::MissingKey,
                "content rule has neither `regex` nor `keywords`",
            );
        }
        Some(Self {
            name: Arc::from(name?),
            regexes,
            keywords,
            action,
            direction,
        })
    }
}

fn content_regex(node: &Node, sink: &mut Sink) -> Option<String> {
    let text = node.text("regex", sink)?;
    let shown = clip(text);
    if text.len() > MAX_PATTERN {
        let message = format!("a pattern must not be longer than {MAX_PATTERN} bytes");
        sink.error(node.at, Code::BadValue, message);
        return None;
    }
    let built = RegexBuilder::new(text)
        .unicode(false)
        .size_limit(1024 * 1024)
        .build();
    match built {
        Ok(regex) if !regex.is_match(b"") => Some(text.to_owned()),
        Ok(_) => {
            let message = format!("regular expression `{shown}` matches the empty text");
            sink.error(node.at, Code::BadRegex, message);
            None
        }
        Err(error) => {
            let message = error.to_string();
            let why = message.lines().last().unwrap_or_default();
            let why = why
                .trim_start_matches("error: ")
                .trim_end_matches('.')
                .to_lowercase();
            let message = format!("bad regular expression `{shown}`: {why}");
            sink.error(node.at, Code::BadRegex, message);
            None
        }
    }
}

fn keyword(node: &Node, sink: &mut Sink) -> Option<String> {
    let text = node.text("keyword", sink)?;
    if text.trim().len() < 2 || text.len() > 256 {
        sink.error(
            node.at,
            Code::BadValue,
            "a keyword must have 2 to 256 bytes",
        );
        return None;
    }
    Some(text.to_owned())
}

pub(crate) const ACTIONS: [(&str, Action); 4] = [
    ("pass", Action::Pass),
    ("alert", Action::Alert),
    ("redact", Action::Redact),
    ("block", Action::Block),
];

pub(crate) const DIRECTIONS: [(&str, Option<Direction>); 3] = [
    ("inbound", Some(Direction::Inbound)),
    ("outbound", Some(Direction::Outbound)),
    ("both", None),
];
