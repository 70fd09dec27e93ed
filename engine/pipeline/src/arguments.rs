//! A call's arguments as policy reads them.

use std::ops::ControlFlow;

use mcpf_policy::Arguments;
use mcpf_wire::{Kind, Value};

/// A call's parameters: `arguments` and whatever stands beside them.
///
/// A path is looked for in the arguments and in the parameters; "every value" is every value and
/// key below the parameters, so that nothing hides in a member that the method does not define.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'m> {
    pub(crate) arguments: Option<Value<'m>>,
    pub(crate) params: Option<Value<'m>>,
}

type Visit<'v> = &'v mut dyn FnMut(&str) -> ControlFlow<()>;

impl Arguments for View<'_> {
    fn leaves(&self, path: &str, visit: Visit<'_>) {
        for value in [self.arguments, self.params].into_iter().flatten() {
            if at_path(value, path, visit).is_break() {
                return;
            }
        }
    }

    fn all(&self, visit: Visit<'_>) {
        let Some(params) = self.params else { return };
        for (key, member) in params.members() {
            // What is called is matched by `tools` and `prompts`.
            if key != "name" && everything(member, visit).is_break() {
                return;
            }
        }
    }
}

/// Every key and leaf.
fn everything(value: Value<'_>, visit: Visit<'_>) -> ControlFlow<()> {
    for element in value.elements() {
        everything(element, visit)?;
    }
    for (key, member) in value.members() {
        visit(key)?;
        everything(member, visit)?;
    }
    match value.kind() {
        Kind::Array | Kind::Object => ControlFlow::Continue(()),
        _ => below(value, visit),
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
