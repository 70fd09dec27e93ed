//! Dangerous sequences of calls, as patterns of steps.
//!
//! The `chains` section enters; rules leave whose steps say whether a call fits them. Remembering
//! what was called is the session's work, in the pipeline.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use globset::{GlobSet, GlobSetBuilder};
use mcpf_model::{Family, Mode};

use crate::call::{Call, Effect};
use crate::diagnostic::{Code, Sink};
use crate::matching::{Match, Scope};
use crate::pattern::Intent;
use crate::plan::Plan;
use crate::rule::{MODES, read_message};
use crate::screen::{Screen, Screened};
use crate::yaml::{Fields, Node};

/// A sequence of calls that is dangerous as a whole. Other calls may lie between the steps.
#[derive(Clone, Debug)]
pub struct ChainRule {
    /// The chain's name, unique in the policy; the built-in ones begin with `chain-`.
    pub name: Arc<str>,
    /// At least two steps, in order.
    pub steps: Vec<ChainStep>,
    /// From the first step to the last at most so many calls, both counted. Default 20.
    pub within_calls: NonZeroU32,
    /// From the first step to the last at most so much time. Default ten minutes.
    pub within: Duration,
    /// What is done with the call that completes the chain: deny, prompt or audit.
    pub effect: Effect,
    /// The chain's own mode, if it has one.
    pub mode: Option<Mode>,
    /// The message to the caller, if there is one.
    pub message: Option<Arc<str>>,
}

/// One step of a chain.
#[derive(Clone, Debug)]
pub struct ChainStep {
    matching: Match,
    findings: Vec<Family>,
}

/// The steps of all chains, looked up together.
///
/// Every call is held against every step, and nearly all steps are told apart by the tool's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    /// The names of all steps that have some.
    tools: GlobSet,
    /// The chain and the step that each glob of `tools` belongs to.
    owners: Vec<(usize, usize)>,
    /// Steps about any tool.
    others: Vec<(usize, usize)>,
    screen: Option<Screen>,
}

impl Steps {
    pub(crate) fn new(chains: &[ChainRule]) -> Self {
        let mut builder = GlobSetBuilder::new();
        let mut steps = Self::default();
        let all = || {
            let numbered = chains.iter().enumerate();
            numbered.flat_map(|(chain, rule)| {
                let steps = rule.steps.iter().enumerate();
                steps.map(move |(step, found)| ((chain, step), &found.matching))
            })
        };
        for (place, matching) in all() {
            let Some(tools) = matching.tools() else {
                steps.others.push(place);
                continue;
            };
            for glob in tools.globs() {
                builder.add(glob);
                steps.owners.push(place);
            }
        }
        steps.screen = Screen::new(all().flat_map(|(_, matching)| matching.screened()));
        match builder.build() {
            Ok(tools) => steps.tools = tools,
            // Too large together: each is tried by itself.
            Err(_) => steps.others = all().map(|(place, _)| place).collect(),
        }
        steps
    }
}

impl Plan {
    /// Which steps of which chains `call` fits, findings aside: the place of the chain in
    /// [`Plan::chains`] and that of the step, in order.
    #[must_use]
    pub fn steps(&self, call: &Call<'_>) -> Vec<(usize, usize)> {
        let screened = Screened::new(self.steps.screen.as_ref(), call);
        let named = call.tool.map(|tool| self.steps.tools.matches(tool));
        let named = named.unwrap_or_default().into_iter();
        let named = named.filter_map(|glob| self.steps.owners.get(glob));
        let mut found: Vec<(usize, usize)> = named
            .chain(&self.steps.others)
            .filter(|(chain, step)| {
                let rule = self.chains.get(*chain);
                let step = rule.and_then(|rule| rule.steps.get(*step));
                step.is_some_and(|step| step.matching.holds_screened(call, &screened))
            })
            .copied()
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl ChainStep {
    /// Whether `call` fits the step, findings aside.
    #[must_use]
    pub fn matches(&self, call: &Call<'_>) -> bool {
        self.matching.holds(call)
    }

    /// The step also needs a finding of one of these families, in the call or in its answer.
    /// Empty when findings do not matter.
    #[must_use]
    pub fn findings(&self) -> &[Family] {
        &self.findings
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let mut fields = Fields::open(node, "step", sink)?;
        let matching = Match::take(&mut fields, Intent::Restrict, Scope::Step, sink);
        let families = Family::ALL.map(|family| (family.as_str(), family));
        let mut findings = Vec::new();
        for item in fields
            .take("findings")
            .map(Node::one_or_many)
            .unwrap_or_default()
        {
            findings.extend(item.word("family", &families, sink));
        }
        fields.finish(sink);
        Some(Self { matching, findings })
    }
}

/// The `chains` section of a policy, and how it was chosen.
#[derive(Clone, Debug)]
pub(crate) struct Chains {
    pub(crate) builtin: bool,
    pub(crate) rules: Vec<ChainRule>,
}

impl Default for Chains {
    fn default() -> Self {
        Self {
            builtin: true,
            rules: Vec::new(),
        }
    }
}

impl Chains {
    pub(crate) fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let mut fields = Fields::open(node, "`chains`", sink)?;
        let mut chains = Self::default();
        if let Some(node) = fields.take("builtin") {
            chains.builtin = node.boolean("builtin", sink).unwrap_or(true);
        }
        if let Some(node) = fields.take("rules") {
            for item in node.list("`rules`", sink).unwrap_or_default() {
                chains.rules.extend(ChainRule::read(item, sink));
            }
        }
        fields.finish(sink);
        Some(chains)
    }
}

impl ChainRule {
    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let mut fields = Fields::open(node, "chain", sink)?;
        let name = fields.need("name", sink).and_then(|n| n.text("name", sink));
        let effect = fields
            .need("action", sink)
            .and_then(|n| n.word("action", &CHAIN_ACTIONS, sink));
        let mut steps = Vec::new();
        if let Some(node) = fields.need("steps", sink) {
            let items = node.list("`steps`", sink).unwrap_or_default();
            if !(2..=MAX_STEPS).contains(&items.len()) {
                let message = format!("a chain must have 2 to {MAX_STEPS} steps");
                sink.error(node.at, Code::BadValue, message);
            }
            steps.extend(items.iter().filter_map(|item| ChainStep::read(item, sink)));
        }
        let within_calls = match fields.take("within_calls") {
            Some(node) => node.whole("within_calls", 2, MAX_WITHIN_CALLS, sink),
            None => Some(20),
        };
        let within = match fields.take("within") {
            Some(node) => node.duration("within", Duration::from_secs(1), MAX_WITHIN, sink),
            None => Some(Duration::from_secs(600)),
        };
        let mode = fields
            .take("mode")
            .and_then(|n| n.word("mode", &MODES, sink));
        let message = fields.take("message").and_then(|n| read_message(n, sink));
        fields.finish(sink);
        Some(Self {
            name: Arc::from(name?),
            steps,
            within_calls: NonZeroU32::new(within_calls?)?,
            within: within?,
            effect: effect?,
            mode,
            message,
        })
    }
}

/// Most steps of a chain. 16.
const MAX_STEPS: usize = 16;

/// Longest look back, in calls. 1,000: what a session has to remember.
const MAX_WITHIN_CALLS: u32 = 1_000;

/// Longest look back, in time. One day.
const MAX_WITHIN: Duration = Duration::from_secs(86_400);

const CHAIN_ACTIONS: [(&str, Effect); 3] = [
    ("deny", Effect::Deny),
    ("prompt", Effect::Prompt),
    ("audit", Effect::Audit),
];
