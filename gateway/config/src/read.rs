//! Values of a configuration file, from raw nodes.
//!
//! Nodes enter, bounded values leave. Numbers and booleans may also be written as text, because
//! that is how they come from flags, variables and `${…}`.

use std::path::{Path, PathBuf};

use mcpf_model::ByteSize;
use mcpf_policy::yaml::{Node, Value, clip};
use mcpf_policy::{Code, Sink};

/// The whole number if it lies in `least..=most`.
pub(crate) fn whole(
    node: &Node,
    what: &str,
    least: u32,
    most: u32,
    sink: &mut Sink,
) -> Option<u32> {
    retyped(node).whole(what, least, most, sink)
}

/// The boolean.
pub(crate) fn boolean(node: &Node, what: &str, sink: &mut Sink) -> Option<bool> {
    retyped(node).boolean(what, sink)
}

fn retyped(node: &Node) -> Node {
    let mut node = node.clone();
    if let Value::Text(text) = &node.value {
        if let Ok(number) = text.trim().parse() {
            node.value = Value::Int(number);
        } else if let Ok(flag) = text.trim().parse() {
            node.value = Value::Bool(flag);
        }
    }
    node
}

/// A size such as `4MiB`, `64 KiB` or a number of bytes, if it lies in `least..=most`.
pub(crate) fn size(
    node: &Node,
    what: &str,
    least: ByteSize,
    most: ByteSize,
    sink: &mut Sink,
) -> Option<ByteSize> {
    let bytes = match &node.value {
        Value::Int(number) => u32::try_from(*number).ok(),
        Value::Text(text) => parse_size(text),
        _ => None,
    };
    match bytes.map(ByteSize) {
        Some(size) if size >= least && size <= most => Some(size),
        Some(_) => {
            let message = format!("{what} must lie between {least} and {most}");
            sink.error(node.at, Code::BadValue, message);
            None
        }
        None => {
            let message = format!("{what} is not a size");
            sink.error_with_help(
                node.at,
                Code::BadValue,
                message,
                "a whole number and KiB or MiB: 4MiB",
            );
            None
        }
    }
}

fn parse_size(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let scale: u32 = match unit.trim() {
        "" | "B" => 1,
        "KiB" | "K" => 1024,
        "MiB" | "M" => 1024 * 1024,
        _ => return None,
    };
    count.parse::<u32>().ok()?.checked_mul(scale)
}

/// A path; a relative one is taken from `base`, and `~/` from `home`.
pub(crate) fn path(
    node: &Node,
    what: &str,
    base: &Path,
    home: Option<&Path>,
    sink: &mut Sink,
) -> Option<PathBuf> {
    let text = node.text(what, sink)?;
    if text.is_empty() || text.contains('\0') {
        sink.error(node.at, Code::BadValue, format!("{what} is no path"));
        return None;
    }
    match (text.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => Some(home.join(below)),
        (Some(_), None) => {
            let message = format!("{what} begins with `~` but HOME is not set");
            sink.error(node.at, Code::UnsetVariable, message);
            None
        }
        (None, _) => Some(base.join(text)),
    }
}

/// A name for audit and policy: 1 to 128 bytes, no control characters.
pub(crate) fn name(node: &Node, what: &str, sink: &mut Sink) -> Option<String> {
    let text = node.text(what, sink)?;
    if text.trim().is_empty() || text.len() > 128 || text.chars().any(char::is_control) {
        let message = format!("{what} must have 1 to 128 bytes and no control characters");
        sink.error(node.at, Code::BadValue, message);
        return None;
    }
    Some(text.to_owned())
}

/// The id of a rule, such as `SEC-AWS-001`.
pub(crate) fn rule_id(node: &Node, text: &str, sink: &mut Sink) -> Option<String> {
    let good = (5..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
    if !good {
        let message = format!("`{}` is not the id of a rule", clip(text));
        sink.error_with_help(node.at, Code::BadValue, message, "for example SEC-AWS-001");
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("4MiB"), Some(4 << 20));
        assert_eq!(parse_size("64 KiB"), Some(65_536));
        assert_eq!(parse_size("10"), Some(10));
        for bad in ["", "MiB", "4MB", "4.5MiB", "5000000000", "4096MiB", "-1"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
