//! A policy, compiled.
//!
//! The text of a file enters; a [`Plan`] leaves, or every mistake in the file. A plan is
//! immutable and is shared between threads; reloading makes another.

use std::collections::HashSet;
use std::sync::Arc;

use mcpf_model::{Direction, Mode};
use sha2::{Digest, Sha256};

use crate::builtin::{Builtin, CHAINS};
use crate::call::Effect;
use crate::chain::{ChainRule, Chains, Steps};
use crate::content::{ContentRule, FamilyActions};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::egress::Egress;
use crate::pattern::Names;
use crate::quota::{Quota, Quotas};
use crate::rule::{Agent, MODES, Rule};
use crate::screen::Screen;
use crate::yaml::{self, Fields, Node, clip};

/// A policy, compiled and ready to decide.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) mode: Mode,
    pub(crate) default: Effect,
    pub(crate) agents: Vec<Agent>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) sections: Vec<Section>,
    /// One look at arguments for all rules.
    pub(crate) screen: Option<Screen>,
    pub(crate) names: NameLists,
    pub(crate) labels: Labels,
    quotas: Quotas,
    egress: Egress,
    pub(crate) chains: Vec<ChainRule>,
    /// The steps of `chains`.
    pub(crate) steps: Steps,
    families: FamilyActions,
    content: Vec<ContentRule>,
    revision: Arc<str>,
}

/// An entry of `servers`: what stands in front of the global rules for some servers.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) servers: Names,
    pub(crate) default: Option<Effect>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) names: NameLists,
}

/// Decisions by the look of a tool's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameLists {
    allow_prefix: Vec<String>,
    block_keywords: Vec<String>,
}

/// Names of decisions that no rule made.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    pub(crate) allow_prefix: Arc<str>,
    pub(crate) block_keywords: Arc<str>,
    pub(crate) nameless: Arc<str>,
}

impl Plan {
    /// Compiles the policy in `yaml`; `file` is its name in diagnostics.
    ///
    /// # Errors
    /// Every mistake in the file, in order, at most a hundred.
    pub fn parse(yaml: &str, file: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut sink = Sink::new(file, 'P');
        let node = yaml::parse(yaml, &mut sink);
        let plan = node.and_then(|node| Self::read(&node, &digest(yaml), &mut sink));
        sink.finish(plan)
    }

    /// Compiles a policy that stands inside another file, at `node`. Mistakes go to `sink`.
    pub fn from_node(node: &Node, sink: &mut Sink) -> Option<Self> {
        // The tree's shape, places and all: two different texts never share a revision.
        Self::read(node, &digest(&format!("{node:?}")), sink)
    }

    /// Compiles a built-in policy.
    ///
    /// # Errors
    /// Never for the policies as shipped: a test compiles each.
    pub fn builtin(builtin: Builtin) -> Result<Self, Vec<Diagnostic>> {
        Self::parse(builtin.yaml(), builtin.file())
    }

    /// The same policy in another mode; rules that have a mode of their own keep it.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        if mode != self.mode {
            self.mode = mode;
            let revision = format!("{} {}", self.revision, mode.as_str());
            self.revision = Arc::from(digest(&revision));
        }
        self
    }

    /// Whether refusals are carried out or only recorded.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// SHA-256 of the policy's text in hexadecimal: two plans with one revision decide alike.
    #[must_use]
    pub fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// The rates that hold for everybody.
    #[must_use]
    pub const fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// The rate of `agent`: that of its entry, else the one for every agent.
    #[must_use]
    pub fn agent_quota(&self, agent: &str) -> Option<Quota> {
        let entry = self.agents.iter().find(|entry| entry.names.matches(agent));
        entry
            .and_then(|entry| entry.quota)
            .or(self.quotas.per_agent)
    }

    /// The destinations that may be named.
    #[must_use]
    pub const fn egress(&self) -> &Egress {
        &self.egress
    }

    /// Dangerous sequences: the policy's own, then the built-in ones unless switched off.
    #[must_use]
    pub fn chains(&self) -> &[ChainRule] {
        &self.chains
    }

    /// What is done about findings, by family.
    #[must_use]
    pub const fn family_actions(&self) -> &FamilyActions {
        &self.families
    }

    /// The operator's own content rules.
    #[must_use]
    pub fn content(&self) -> &[ContentRule] {
        &self.content
    }

    fn read(node: &Node, digest: &str, sink: &mut Sink) -> Option<Self> {
        let mut fields = Fields::open(node, "policy", sink)?;
        if let Some(version) = fields.need("version", sink) {
            version.whole("version", 1, 1, sink);
        }
        let mode = fields
            .take("mode")
            .and_then(|n| n.word("mode", &MODES, sink));
        let default = read_default(&mut fields, sink);
        let agents = fields.take("agents").map(|n| Agent::read_all(n, sink));
        let rules = read_rules(&mut fields, sink);
        let names = NameLists::take(&mut fields, sink);
        let sections = fields.take("servers").map(|n| Section::read_all(n, sink));
        let quotas = fields
            .take("rate_limits")
            .and_then(|n| Quotas::read(n, sink));
        let egress = fields.take("egress").and_then(|n| Egress::read(n, sink));
        let chains = fields.take("chains").and_then(|n| Chains::read(n, sink));
        let mut families = FamilyActions::default();
        for direction in [Direction::Inbound, Direction::Outbound] {
            if let Some(node) = fields.take(direction.as_str()) {
                families.read(direction, node, sink);
            }
        }
        let mut content = Vec::new();
        if let Some(node) = fields.take("content") {
            for item in node.list("`content`", sink).unwrap_or_default() {
                content.extend(ContentRule::read(item, sink));
            }
        }
        fields.finish(sink);
        let chains = with_builtin(chains.unwrap_or_default(), sink);
        let sections = sections.unwrap_or_default();
        let all = sections.iter().flat_map(|section: &Section| &section.rules);
        let screen = Screen::new(all.chain(&rules).flat_map(|rule| rule.matching.screened()));
        let plan = Self {
            mode: mode.unwrap_or_default(),
            default: default.unwrap_or(Effect::Deny),
            agents: agents.unwrap_or_default(),
            rules,
            sections,
            screen,
            names,
            labels: Labels {
                allow_prefix: Arc::from("allow_prefix"),
                block_keywords: Arc::from("block_keywords"),
                nameless: Arc::from("tool-without-name"),
            },
            quotas: quotas.unwrap_or_default(),
            egress: egress.unwrap_or_default(),
            steps: Steps::new(&chains),
            chains,
            families,
            content,
            revision: Arc::from(digest),
        };
        plan.check_names(node, sink);
        Some(plan)
    }

    /// Names stand in the audit, so no two rules may share one.
    fn check_names(&self, node: &Node, sink: &mut Sink) {
        let rules = self.rules.iter().map(|rule| &rule.name);
        let sections = self.sections.iter().flat_map(|section| &section.rules);
        let sections = sections.map(|rule| &rule.name);
        let chains = self.chains.iter().map(|chain| &chain.name);
        let content = self.content.iter().map(|rule| &rule.name);
        let mut seen = HashSet::new();
        for name in rules.chain(sections).chain(chains).chain(content) {
            if name.trim().is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
                let at = place_of(node, name).unwrap_or(node.at);
                let message = "a name must have 1 to 128 bytes and no control characters";
                sink.error(at, Code::BadValue, message);
            } else if !seen.insert(name) {
                let at = place_of(node, name).unwrap_or(node.at);
                let shown = clip(name);
                sink.error(
                    at,
                    Code::Duplicate,
                    format!("the name `{shown}` is used twice"),
                );
            }
        }
    }
}

impl Section {
    fn read_all(node: &Node, sink: &mut Sink) -> Vec<Self> {
        let mut sections = Vec::new();
        for (key, value) in node.map("`servers`", sink).unwrap_or_default() {
            let Some(mut fields) = Fields::open(value, "server", sink) else {
                continue;
            };
            let servers = Names::from_key(&key.text, value, sink);
            let default = read_default(&mut fields, sink);
            let rules = read_rules(&mut fields, sink);
            let names = NameLists::take(&mut fields, sink);
            fields.finish(sink);
            if let Some(servers) = servers {
                sections.push(Self {
                    servers,
                    default,
                    rules,
                    names,
                });
            }
        }
        sections
    }
}

impl NameLists {
    /// Whether a keyword stands anywhere in the tool's name, without regard to ASCII case.
    pub(crate) fn blocks(&self, tool: &str) -> bool {
        self.block_keywords.iter().any(|keyword| {
            tool.as_bytes()
                .windows(keyword.len())
                .any(|part| part.eq_ignore_ascii_case(keyword.as_bytes()))
        })
    }

    /// Whether the tool's name begins with a prefix, exactly as written.
    pub(crate) fn allows(&self, tool: &str) -> bool {
        self.allow_prefix
            .iter()
            .any(|prefix| tool.starts_with(prefix.as_str()))
    }

    fn take(fields: &mut Fields<'_>, sink: &mut Sink) -> Self {
        let mut words = |key, what, sink: &mut Sink| {
            let mut list = Vec::new();
            let Some(node) = fields.take(key) else {
                return list;
            };
            for item in node.list(key, sink).unwrap_or_default() {
                match item.text(what, sink) {
                    Some("") => sink.error(item.at, Code::BadValue, format!("{what} is empty")),
                    Some(word) => list.push(word.to_owned()),
                    None => {}
                }
            }
            list
        };
        Self {
            allow_prefix: words("allow_prefix", "prefix", sink),
            block_keywords: words("block_keywords", "keyword", sink),
        }
    }
}

fn read_default(fields: &mut Fields<'_>, sink: &mut Sink) -> Option<Effect> {
    let node = fields.take("default")?;
    let words = [
        ("allow", Effect::Allow),
        ("deny", Effect::Deny),
        ("prompt", Effect::Prompt),
    ];
    node.word("default", &words, sink)
}

fn read_rules(fields: &mut Fields<'_>, sink: &mut Sink) -> Vec<Rule> {
    let Some(node) = fields.take("rules") else {
        return Vec::new();
    };
    let items = node.list("`rules`", sink).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| Rule::read(item, sink))
        .collect()
}

fn with_builtin(chains: Chains, sink: &mut Sink) -> Vec<ChainRule> {
    let Chains { builtin, mut rules } = chains;
    if builtin {
        let mut own = Sink::new("builtin/chains.yaml", 'P');
        let shipped = yaml::parse(CHAINS, &mut own).and_then(|n| Chains::read(&n, &mut own));
        match own.finish(shipped) {
            Ok(shipped) => rules.extend(shipped.rules),
            Err(_) => sink.error(
                crate::diagnostic::At::default(),
                Code::BadValue,
                "the built-in chains do not compile",
            ),
        }
    }
    rules
}

/// The last place in the tree where `name: <name>` stands.
fn place_of(node: &Node, name: &str) -> Option<crate::diagnostic::At> {
    match &node.value {
        yaml::Value::List(items) => items.iter().rev().find_map(|item| place_of(item, name)),
        yaml::Value::Map(entries) => entries.iter().rev().find_map(|(key, value)| {
            let named = key.text == "name"
                && matches!(&value.value, yaml::Value::Text(text) if text == name);
            if named {
                Some(value.at)
            } else {
                place_of(value, name)
            }
        }),
        _ => None,
    }
}

fn digest(text: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(text.as_bytes());
    // The built-in chains are part of what a policy means.
    hash.update([0]);
    hash.update(CHAINS.as_bytes());
    let hex = |byte: &u8| [byte >> 4, byte & 15].map(|n| char::from_digit(n.into(), 16));
    hash.finalize().iter().flat_map(hex).flatten().collect()
}
