//! Arguments of a call as policy sees them, without a frame behind them.

use std::ops::ControlFlow;

use mcpf_policy::Arguments;

/// Top-level keys and their string values.
pub(crate) struct Flat(pub(crate) Vec<(&'static str, String)>);

impl Arguments for Flat {
    fn leaves(&self, path: &str, visit: &mut dyn FnMut(&str) -> ControlFlow<()>) {
        let _broken = self
            .0
            .iter()
            .filter(|(key, _)| *key == path)
            .try_for_each(|(_, value)| visit(value));
    }

    fn all(&self, visit: &mut dyn FnMut(&str) -> ControlFlow<()>) {
        let _broken = self.0.iter().try_for_each(|(_, value)| visit(value));
    }
}
