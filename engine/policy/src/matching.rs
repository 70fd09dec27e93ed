//! Conditions: which calls a rule or a step of a chain is about.
//!
//! The `match` mapping of a rule enters; yes or no about one call leaves. Every condition given
//! must hold; a condition on something the call does not have does not hold.

use std::ops::ControlFlow;

use mcpf_model::Direction;
use regex::Regex;

use crate::call::Call;
use crate::content::DIRECTIONS;
use crate::diagnostic::{Code, Sink};
use crate::lexical::Forms;
use crate::methods::{is_exempt, speaks_to_a_model};
use crate::pattern::{Intent, Names, Values, regex};
use crate::screen::Screened;
use crate::yaml::{Fields, Node, Value};

/// The conditions of one rule. Without any, every call that is subject to policy matches.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    intent: Intent,
    direction: Option<Direction>,
    methods: Option<Methods>,
    tools: Option<Names>,
    agents: Option<Names>,
    servers: Option<Names>,
    subjects: Option<Names>,
    roles: Option<Names>,
    tenants: Option<Names>,
    resources: Option<Values>,
    prompts: Option<Prompts>,
    arguments: Vec<Argument>,
}

#[derive(Clone, Debug)]
struct Methods {
    names: Names,
    /// Without bare stars: only these name a method that policy otherwise leaves alone.
    explicit: Names,
}

#[derive(Clone, Debug, Default)]
struct Prompts {
    names: Option<Names>,
    deny_regex: Vec<Regex>,
    max_length: Option<usize>,
}

#[derive(Clone, Debug)]
struct Argument {
    /// `None` is any argument.
    path: Option<String>,
    values: Values,
}

/// Which conditions a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of them.
    Rule,
    /// Those that say what is called, for the step of a chain.
    Step,
}

impl Match {
    /// The conditions that always hold.
    pub(crate) fn everything(intent: Intent) -> Self {
        Self {
            intent,
            direction: None,
            methods: None,
            tools: None,
            agents: None,
            servers: None,
            subjects: None,
            roles: None,
            tenants: None,
            resources: None,
            prompts: None,
            arguments: Vec::new(),
        }
    }

    /// Takes the conditions out of `fields`, which the caller finishes.
    pub(crate) fn take(
        fields: &mut Fields<'_>,
        intent: Intent,
        scope: Scope,
        sink: &mut Sink,
    ) -> Self {
        let mut found = Self::everything(intent);
        if let Some(node) = fields.take("methods") {
            found.methods = Names::read(node, "methods", sink).map(|names| Methods {
                explicit: names.explicit(),
                names,
            });
        }
        let mut names = |key, place: &mut Option<Names>, sink: &mut Sink| {
            if let Some(node) = fields.take(key) {
                *place = Names::read(node, key, sink);
            }
        };
        names("tools", &mut found.tools, sink);
        if scope == Scope::Rule {
            names("agents", &mut found.agents, sink);
            names("servers", &mut found.servers, sink);
            names("subjects", &mut found.subjects, sink);
            names("roles", &mut found.roles, sink);
            names("tenants", &mut found.tenants, sink);
            if let Some(node) = fields.take("direction") {
                found.direction = node.word("direction", &DIRECTIONS, sink).flatten();
            }
            if let Some(node) = fields.take("prompts") {
                found.prompts = Prompts::read(node, sink);
            }
        }
        if let Some(node) = fields.take("resources") {
            found.resources = Values::read(node, "resources", intent, sink);
        }
        if let Some(node) = fields.take("arguments") {
            found.arguments = read_arguments(node, intent, sink);
        }
        found
    }

    /// Whether every condition holds.
    pub(crate) fn holds(&self, call: &Call<'_>) -> bool {
        self.holds_before_content(call) && self.holds_for_content(call)
    }

    /// As [`Match::holds`], with the answer of a screen made of every rule's
    /// [`Match::screened`] patterns.
    pub(crate) fn holds_screened(&self, call: &Call<'_>, screened: &Screened<'_>) -> bool {
        self.holds_before_content(call)
            && (!self
                .arguments
                .iter()
                .any(|argument| argument.is_screened(self.intent))
                || screened.may_match())
            && self.holds_for_content(call)
    }

    /// The names of tools it is about, unless it is about any.
    pub(crate) fn tools(&self) -> Option<&Names> {
        self.tools.as_ref()
    }

    /// The patterns of which one must match some argument, if any argument will do.
    pub(crate) fn screened(&self) -> impl Iterator<Item = &str> {
        self.arguments
            .iter()
            .filter(|argument| argument.is_screened(self.intent))
            .flat_map(|argument| argument.values.patterns())
    }

    /// Whether every condition holds that does not look into arguments.
    pub(crate) fn holds_before_content(&self, call: &Call<'_>) -> bool {
        self.direction
            .is_none_or(|direction| direction == call.direction)
            && self.covers_method(call.method)
            && name_holds(self.tools.as_ref(), call.tool)
            && name_holds(self.agents.as_ref(), Some(call.agent))
            && name_holds(self.servers.as_ref(), Some(call.server))
            && name_holds(self.subjects.as_ref(), call.subject)
            && name_holds(self.tenants.as_ref(), call.tenant)
            && self
                .roles
                .as_ref()
                .is_none_or(|names| call.roles.iter().any(|role| names.matches(role)))
            && self
                .prompts
                .as_ref()
                .is_none_or(|prompts| prompts.name_holds(call))
            && self.resources.as_ref().is_none_or(|values| {
                call.resource
                    .is_some_and(|uri| values.matches(uri, self.intent))
            })
    }

    /// Whether some condition looks into arguments.
    pub(crate) fn reads_content(&self) -> bool {
        !self.arguments.is_empty() || self.prompts.as_ref().is_some_and(Prompts::reads_content)
    }

    /// Whether a condition is about texts that break a limit, which makes no sense to allow.
    pub(crate) fn asks_for_violation(&self) -> bool {
        self.prompts.as_ref().is_some_and(Prompts::reads_content)
    }

    fn holds_for_content(&self, call: &Call<'_>) -> bool {
        self.prompts
            .as_ref()
            .is_none_or(|prompts| prompts.text_holds(call))
            && self
                .arguments
                .iter()
                .all(|argument| argument.holds(call, self.intent))
    }

    fn covers_method(&self, method: &str) -> bool {
        match &self.methods {
            Some(methods) if is_exempt(method) => methods.explicit.matches(method),
            Some(methods) => methods.names.matches(method),
            None => !is_exempt(method),
        }
    }
}

fn name_holds(names: Option<&Names>, name: Option<&str>) -> bool {
    names.is_none_or(|names| name.is_some_and(|name| names.matches(name)))
}

impl Argument {
    /// Whether it is about any argument, and by regular expressions alone.
    fn is_screened(&self, intent: Intent) -> bool {
        intent == Intent::Restrict && self.path.is_none() && self.values.has_only_patterns()
    }

    /// For a restriction one value that matches is enough; a permission needs at least one value
    /// and every one of them to match.
    fn holds(&self, call: &Call<'_>, intent: Intent) -> bool {
        let (mut seen, mut held) = (false, false);
        let mut visit = |value: &str| {
            seen = true;
            held = self.values.matches(value, intent);
            match (intent, held) {
                (Intent::Restrict, true) | (Intent::Permit, false) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        };
        match &self.path {
            Some(path) => call.arguments.leaves(path, &mut visit),
            None => call.arguments.all(&mut visit),
        }
        seen && held
    }
}

impl Prompts {
    fn reads_content(&self) -> bool {
        !self.deny_regex.is_empty() || self.max_length.is_some()
    }

    fn name_holds(&self, call: &Call<'_>) -> bool {
        speaks_to_a_model(call.method) && name_holds(self.names.as_ref(), call.prompt)
    }

    /// Whether some text is too long or matches; true when neither is asked for.
    fn text_holds(&self, call: &Call<'_>) -> bool {
        if !self.reads_content() {
            return true;
        }
        let mut violated = false;
        call.arguments.all(&mut |text| {
            let long = self
                .max_length
                .is_some_and(|most| text.chars().nth(most).is_some());
            let found = |form: &str| self.deny_regex.iter().any(|regex| regex.is_match(form));
            violated = long || Forms::any(text, found);
            if violated {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        violated
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let Value::Map(_) = node.value else {
            let names = Names::read(node, "prompts", sink)?;
            return Some(Self {
                names: Some(names),
                ..Self::default()
            });
        };
        let mut fields = Fields::open(node, "`prompts`", sink)?;
        let mut prompts = Self::default();
        if let Some(node) = fields.take("names") {
            prompts.names = Names::read(node, "names", sink);
        }
        for item in fields
            .take("deny_regex")
            .map(Node::one_or_many)
            .unwrap_or_default()
        {
            prompts.deny_regex.extend(regex(item, "deny_regex", sink));
        }
        if let Some(node) = fields.take("max_length") {
            let most = node.whole("max_length", 1, MAX_PROMPT, sink);
            prompts.max_length = most.and_then(|most| usize::try_from(most).ok());
        }
        fields.finish(sink);
        Some(prompts)
    }
}

fn read_arguments(node: &Node, intent: Intent, sink: &mut Sink) -> Vec<Argument> {
    let mut arguments = Vec::new();
    for (key, value) in node.map("`arguments`", sink).unwrap_or_default() {
        let path = match key.text.as_str() {
            "*" => None,
            "" => {
                sink.error(
                    key.at,
                    Code::BadValue,
                    "an argument's path must not be empty",
                );
                continue;
            }
            path => Some(path.to_owned()),
        };
        if let Some(values) = Values::read(value, "argument", intent, sink) {
            arguments.push(Argument { path, values });
        }
    }
    arguments
}

/// Largest `max_length`, in characters. 64 Mi.
const MAX_PROMPT: u32 = 64 * 1024 * 1024;
