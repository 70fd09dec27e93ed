//! Rules and agents' lists, as read from a policy.
//!
//! Nodes enter; [`Rule`] and [`Agent`] leave, compiled. Their order is kept; `decide` walks it.

use std::sync::Arc;

use mcpf_model::Mode;

use crate::call::Effect;
use crate::diagnostic::{Code, Sink};
use crate::matching::{Match, Scope};
use crate::pattern::Names;
use crate::quota::Quota;
use crate::yaml::{Fields, Key, Node};

/// One entry of `rules`.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    pub(crate) matching: Match,
    pub(crate) effect: Effect,
    pub(crate) mode: Option<Mode>,
    pub(crate) message: Option<Arc<str>>,
}

impl Rule {
    pub(crate) fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let mut fields = Fields::open(node, "rule", sink)?;
        let name = fields.need("name", sink).and_then(|n| n.text("name", sink));
        let effect = fields
            .need("action", sink)
            .and_then(|n| n.word("action", &EFFECTS, sink));
        let mode = fields
            .take("mode")
            .and_then(|n| n.word("mode", &MODES, sink));
        let message = fields.take("message").and_then(|n| read_message(n, sink));
        // Conditions are read even when the action is not known: their mistakes are reported too.
        let intent = effect.unwrap_or(Effect::Deny).intent();
        let mut matching = Match::everything(intent);
        if let Some(node) = fields.take("match")
            && let Some(mut conditions) = Fields::open(node, "`match`", sink)
        {
            matching = Match::take(&mut conditions, intent, Scope::Rule, sink);
            conditions.finish(sink);
        }
        let at = fields.at;
        fields.finish(sink);
        if effect == Some(Effect::Allow) && matching.asks_for_violation() {
            sink.error_with_help(
                at,
                Code::BadValue,
                "`deny_regex` and `max_length` cannot allow",
                "use them with deny, prompt, audit or redact",
            );
        }
        Some(Self {
            name: Arc::from(name?),
            matching,
            effect: effect?,
            mode,
            message,
        })
    }
}

/// One entry of `agents`.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) names: Names,
    pub(crate) allow: Option<Labelled>,
    pub(crate) deny: Option<Labelled>,
    pub(crate) require_approval: Option<Labelled>,
    pub(crate) quota: Option<Quota>,
    /// The name given to a refusal of what `allow` leaves out.
    pub(crate) outside: Arc<str>,
}

/// A list of tools and the name a decision by it bears.
#[derive(Clone, Debug)]
pub(crate) struct Labelled {
    pub(crate) names: Names,
    pub(crate) label: Arc<str>,
}

impl Labelled {
    fn read(
        fields: &mut Fields<'_>,
        agent: &str,
        key: &'static str,
        sink: &mut Sink,
    ) -> Option<Self> {
        let node = fields.take(key)?;
        node.list(key, sink)?;
        Some(Self {
            names: Names::read(node, key, sink)?,
            label: Arc::from(format!("agents.{agent}.{key}")),
        })
    }
}

impl Agent {
    fn read(key: &Key, node: &Node, sink: &mut Sink) -> Option<Self> {
        let mut fields = Fields::open(node, "agent", sink)?;
        let glob = if key.text == "default" {
            "*"
        } else {
            &key.text
        };
        let names = Names::from_key(glob, node, sink);
        let agent = &key.text;
        let allow = Labelled::read(&mut fields, agent, "allow", sink);
        let deny = Labelled::read(&mut fields, agent, "deny", sink);
        let require_approval = Labelled::read(&mut fields, agent, "require_approval", sink);
        let quota = fields.take("rate_limit").and_then(|n| Quota::read(n, sink));
        fields.finish(sink);
        Some(Self {
            names: names?,
            allow,
            deny,
            require_approval,
            quota,
            outside: Arc::from(format!("agents.{agent}")),
        })
    }

    /// Every entry, in the order of the file, the one for the rest last.
    pub(crate) fn read_all(node: &Node, sink: &mut Sink) -> Vec<Self> {
        let mut agents = Vec::new();
        let mut rest: Option<Self> = None;
        for (key, value) in node.map("`agents`", sink).unwrap_or_default() {
            let agent = Self::read(key, value, sink);
            if !matches!(key.text.as_str(), "*" | "default") {
                agents.extend(agent);
            } else if rest.is_some() {
                sink.error_with_help(
                    key.at,
                    Code::Duplicate,
                    "`*` and `default` mean the same",
                    "keep one of them",
                );
            } else {
                rest = agent;
            }
        }
        agents.extend(rest);
        agents
    }
}

/// A message to the caller: one line of at most 500 characters.
pub(crate) fn read_message(node: &Node, sink: &mut Sink) -> Option<Arc<str>> {
    let text = node.text("message", sink)?.trim();
    if text.chars().count() > 500 || text.chars().any(char::is_control) {
        sink.error(
            node.at,
            Code::BadValue,
            "a message must be one line of at most 500 characters",
        );
        return None;
    }
    Some(Arc::from(text))
}

pub(crate) const EFFECTS: [(&str, Effect); 5] = [
    ("allow", Effect::Allow),
    ("deny", Effect::Deny),
    ("prompt", Effect::Prompt),
    ("audit", Effect::Audit),
    ("redact", Effect::Redact),
];

pub(crate) const MODES: [(&str, Mode); 2] =
    [("enforce", Mode::Enforce), ("monitor", Mode::Monitor)];
