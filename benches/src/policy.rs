//! The policy room: a handful of calls decided one after the other.

use mcpf_policy::{Call, Effect, Plan};

use crate::arguments::Flat;
use crate::work::{Observation, Work};

/// The tools called. Each policy knows some of them.
const TOOLS: [&str; 8] = [
    "read_file",
    "list_directory",
    "search_notes",
    "get_weather",
    "write_file",
    "send_message",
    "tool_49",
    "unheard_of",
];

pub(crate) struct Policy<'f> {
    plan: &'f Plan,
    arguments: Flat,
}

impl<'f> Policy<'f> {
    pub(crate) fn new(plan: &'f Plan, text: String) -> Self {
        let path = "/home/user/project/src/main.rs".to_owned();
        Self {
            plan,
            arguments: Flat(vec![("path", path), ("content", text)]),
        }
    }
}

impl Work for Policy<'_> {
    fn run(&mut self) -> Observation {
        let allowed = TOOLS.iter().filter(|tool| {
            let call = Call::tool("claude-code", tool, &self.arguments);
            self.plan.decide(&call).effect == Effect::Allow
        });
        Observation::of(allowed.count())
    }
}
