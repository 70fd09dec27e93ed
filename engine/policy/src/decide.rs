//! The decision itself.
//!
//! A [`Call`] enters, a [`Decision`] leaves. In this order, the first that speaks decides:
//!
//! 1. `rules`, those of the server's section before the global ones, in the order of the file.
//!    A rule in monitor mode never decides: it is noted and the walk goes on.
//! 2. Methods outside policy (see [`crate::is_exempt`]) are let through.
//! 3. For `tools/call`, restrictions before permissions: the agent's `deny`, `block_keywords`,
//!    the agent's `require_approval`, the agent's `allow`, then `allow_prefix`. An agent that has
//!    an `allow` list is held to it: what the list leaves out is refused, whatever
//!    `allow_prefix` and a default of allow say.
//! 4. `default`, the section's before the global one; deny when the file says nothing.
//!
//! Nothing is allocated unless a value under test has a second spelling.

use std::sync::Arc;

use mcpf_model::Mode;

use crate::call::{Call, Decision, Effect, Shadow};
use crate::methods::is_exempt;
use crate::plan::{Plan, Section};
use crate::rule::{Agent, Rule};
use crate::screen::Screened;

/// Which parts of a plan hold for one agent at one server. Made once a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    section: Option<usize>,
    agent: Option<usize>,
}

impl Plan {
    /// What holds for `agent` at `server`: the first section and the first entry that match.
    #[must_use]
    pub fn scope(&self, server: &str, agent: &str) -> Scope {
        Scope {
            section: self.sections.iter().position(|s| s.servers.matches(server)),
            agent: self.agents.iter().position(|a| a.names.matches(agent)),
        }
    }

    /// Decides on `call`.
    #[must_use]
    pub fn decide(&self, call: &Call<'_>) -> Decision {
        self.decide_in(self.scope(call.server, call.agent), call)
    }

    /// Decides on `call` in the scope of its server and agent, found before.
    #[must_use]
    pub fn decide_in(&self, scope: Scope, call: &Call<'_>) -> Decision {
        if call.method == "tools/call" && call.tool.is_none() {
            return Decision {
                effect: Effect::Deny,
                mode: Mode::Enforce,
                rule: Some(Arc::clone(&self.labels.nameless)),
                message: None,
                shadow: None,
            };
        }
        let section = scope.section.and_then(|i| self.sections.get(i));
        let mut shadow = None;
        let screened = Screened::new(self.screen.as_ref(), call);
        for rule in self
            .rules_for(section)
            .filter(|rule| rule.matching.holds_screened(call, &screened))
        {
            if rule.mode == Some(Mode::Monitor) {
                shadow.get_or_insert_with(|| Shadow {
                    effect: rule.effect,
                    rule: Arc::clone(&rule.name),
                });
                continue;
            }
            return Decision {
                effect: rule.effect,
                mode: rule.mode.unwrap_or(self.mode),
                rule: Some(Arc::clone(&rule.name)),
                message: rule.message.clone(),
                shadow,
            };
        }
        let (effect, rule) = match call.tool {
            _ if is_exempt(call.method) => (Effect::Allow, None),
            Some(tool) if call.method == "tools/call" => self.by_lists(scope, section, tool),
            _ => (self.default_of(section), None),
        };
        Decision {
            effect,
            mode: self.mode,
            rule: rule.cloned(),
            message: None,
            shadow,
        }
    }

    /// Whether a call of `tool` could be let through or approved with some arguments: whether
    /// `tools/list` should show it.
    ///
    /// `call` is a `tools/call` of the tool; its arguments are not looked at.
    #[must_use]
    pub fn could_permit(&self, scope: Scope, call: &Call<'_>) -> bool {
        let Some(tool) = call.tool else { return false };
        let section = scope.section.and_then(|i| self.sections.get(i));
        let decisive = |rule: &&Rule| {
            rule.mode != Some(Mode::Monitor) && rule.matching.holds_before_content(call)
        };
        for rule in self.rules_for(section).filter(decisive) {
            let refuses =
                rule.effect == Effect::Deny && rule.mode.unwrap_or(self.mode) == Mode::Enforce;
            match (refuses, rule.matching.reads_content()) {
                (false, _) => return true,
                (true, false) => return false,
                (true, true) => {}
            }
        }
        self.mode == Mode::Monitor || self.by_lists(scope, section, tool).0 != Effect::Deny
    }

    fn rules_for<'p>(&'p self, section: Option<&'p Section>) -> impl Iterator<Item = &'p Rule> {
        let first = section.map_or(&[][..], |section| &section.rules);
        first.iter().chain(&self.rules)
    }

    fn default_of(&self, section: Option<&Section>) -> Effect {
        section
            .and_then(|section| section.default)
            .unwrap_or(self.default)
    }

    fn by_lists(
        &self,
        scope: Scope,
        section: Option<&Section>,
        tool: &str,
    ) -> (Effect, Option<&Arc<str>>) {
        let agent = scope.agent.and_then(|i| self.agents.get(i));
        let list = |pick: fn(&Agent) -> Option<&crate::rule::Labelled>| {
            let list = agent.and_then(pick)?;
            list.names.matches(tool).then_some(&list.label)
        };
        if let Some(label) = list(|agent| agent.deny.as_ref()) {
            return (Effect::Deny, Some(label));
        }
        if section.is_some_and(|s| s.names.blocks(tool)) || self.names.blocks(tool) {
            return (Effect::Deny, Some(&self.labels.block_keywords));
        }
        if let Some(label) = list(|agent| agent.require_approval.as_ref()) {
            return (Effect::Prompt, Some(label));
        }
        if let Some(label) = list(|agent| agent.allow.as_ref()) {
            return (Effect::Allow, Some(label));
        }
        let default = self.default_of(section);
        match agent {
            Some(agent) if agent.allow.is_some() => {
                let effect = if default == Effect::Prompt {
                    Effect::Prompt
                } else {
                    Effect::Deny
                };
                (effect, Some(&agent.outside))
            }
            _ if section.is_some_and(|s| s.names.allows(tool)) || self.names.allows(tool) => {
                (Effect::Allow, Some(&self.labels.allow_prefix))
            }
            _ => (default, None),
        }
    }
}
