//! A call's arguments as policy reads them.

use std::ops::ControlFlow;

use mcpf_policy::Arguments;
use mcpf_wire::{Kind, Value};

/// Arguments of a call or, where it has none, its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'m>(pub(crate) Option<Value<'m>>);

type Visit<'v> = &'v mut dyn FnMut(&str) -> ControlFlow<()>;

impl Arguments for View<'_> {
    fn leaves(&self, path: &str, visit: Visit<'_>) {
        if let Some(value) = self.0 {
            let _ended_early = at_path(value, path, visit);
        }
    }

    fn all(&self, visit: Visit<'_>) {
        if let Some(value) = self.0 {
            let _ended_early = below(value, visit);
        }
    }
}

/// Every leaf below the members whose key, or keys joined by dots, are `path`.
fn at_path(value: Value<'_>, path: &str, visit: Visit<'_>) -> ControlFlow<()> {
    for element in value.elements() {
        at_path(element, path, visit)?;
    }
    for (key, member) in value.members() {
        if key == path {
            below(member, visit)?;
        }
        if let Some(rest) = path
            .strip_prefix(key)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            at_path(member, rest, visit)?;
        }
    }
    ControlFlow::Continue(())
}

fn below(value: Value<'_>, visit: Visit<'_>) -> ControlFlow<()> {
    match value.kind() {
        Kind::String => value
            .as_str()
            .map_or(ControlFlow::Continue(()), &mut *visit),
        Kind::Number => value
            .as_number()
            .map_or(ControlFlow::Continue(()), &mut *visit),
        Kind::Bool => visit(if value.as_bool() == Some(true) {
            "true"
        } else {
            "false"
        }),
        Kind::Null => ControlFlow::Continue(()),
        Kind::Array => value
            .elements()
            .try_for_each(|element| below(element, visit)),
        Kind::Object => value
            .members()
            .try_for_each(|(_, member)| below(member, visit)),
    }
}
