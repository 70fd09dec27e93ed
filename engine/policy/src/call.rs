//! What is decided on, and what a decision is.
//!
//! The corridor makes a [`Call`] of every request and notification; a [`Decision`] comes back.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use mcpf_model::{Direction, Mode};

use crate::pattern::Intent;

/// One request or notification, as far as policy looks at it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Which way it travels.
    pub direction: Direction,
    /// Its method.
    pub method: &'a str,
    /// The tool's name, for `tools/call`.
    pub tool: Option<&'a str>,
    /// The resource's URI, for `resources/read` and its like.
    pub resource: Option<&'a str>,
    /// The prompt's name, for `prompts/get`.
    pub prompt: Option<&'a str>,
    /// The agent's name.
    pub agent: &'a str,
    /// The authenticated subject, if there is one.
    pub subject: Option<&'a str>,
    /// The subject's roles.
    pub roles: &'a [&'a str],
    /// The subject's tenant, if there is one.
    pub tenant: Option<&'a str>,
    /// The server's name as the operator gave it; empty when it has none.
    pub server: &'a str,
    /// The arguments; for requests without arguments, every value under `params`.
    pub arguments: &'a dyn Arguments,
}

impl<'a> Call<'a> {
    /// A call of `method` by nobody in particular, without arguments.
    #[must_use]
    pub fn new(direction: Direction, method: &'a str) -> Self {
        Self {
            direction,
            method,
            tool: None,
            resource: None,
            prompt: None,
            agent: "anonymous",
            subject: None,
            roles: &[],
            tenant: None,
            server: "",
            arguments: &NoArguments,
        }
    }

    /// An inbound `tools/call` of `tool` by `agent`.
    #[must_use]
    pub fn tool(agent: &'a str, tool: &'a str, arguments: &'a dyn Arguments) -> Self {
        Self {
            tool: Some(tool),
            agent,
            arguments,
            ..Self::new(Direction::Inbound, "tools/call")
        }
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments may hold secrets and are left out.
        f.debug_struct("Call")
            .field("direction", &self.direction)
            .field("method", &self.method)
            .field("tool", &self.tool)
            .field("resource", &self.resource)
            .field("prompt", &self.prompt)
            .field("agent", &self.agent)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Access to the values of a call's arguments without copying them.
pub trait Arguments {
    /// Calls `visit` with every string, number and boolean at `path` and below it, decoded, until
    /// it breaks. `path` is a top-level key or keys joined by dots; array items count as their
    /// array. Where both a key with dots in it and a nested value fit, both are visited.
    fn leaves(&self, path: &str, visit: &mut dyn FnMut(&str) -> ControlFlow<()>);

    /// Calls `visit` with every string, number and boolean, until it breaks.
    fn all(&self, visit: &mut dyn FnMut(&str) -> ControlFlow<()>);
}

/// No arguments at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoArguments;

impl Arguments for NoArguments {
    fn leaves(&self, _path: &str, _visit: &mut dyn FnMut(&str) -> ControlFlow<()>) {}

    fn all(&self, _visit: &mut dyn FnMut(&str) -> ControlFlow<()>) {}
}

/// What policy wants done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// Let it through.
    Allow,
    /// Let it through and mark it in the audit.
    Audit,
    /// Let it through with every finding in it, and in its answer, redacted.
    Redact,
    /// Ask a person.
    Prompt,
    /// Refuse it.
    Deny,
}

impl Effect {
    /// The name used in policies and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Audit => "audit",
            Self::Redact => "redact",
            Self::Prompt => "prompt",
            Self::Deny => "deny",
        }
    }

    /// Whether a rule with this effect closes the gate or opens it.
    pub(crate) const fn intent(self) -> Intent {
        match self {
            Self::Allow | Self::Audit | Self::Redact => Intent::Permit,
            Self::Prompt | Self::Deny => Intent::Restrict,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What policy says about one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is wanted.
    pub effect: Effect,
    /// Whether it is to be done, or only recorded.
    pub mode: Mode,
    /// What decided: a rule's name, `agents.<glob>.deny` and its like, `block_keywords`,
    /// `allow_prefix`; `None` for the default and for methods outside policy.
    pub rule: Option<Arc<str>>,
    /// The rule's message to the caller, if it has one.
    pub message: Option<Arc<str>>,
    /// The first rule in monitor mode that matched on the way. It has no part in `effect`; it
    /// belongs in the audit.
    pub shadow: Option<Shadow>,
}

/// A rule in monitor mode that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// What it would have decided.
    pub effect: Effect,
    /// Its name.
    pub rule: Arc<str>,
}
