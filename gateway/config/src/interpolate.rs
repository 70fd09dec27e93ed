//! `${VAR}` and `${VAR:-default}` in the texts of a configuration file.
//!
//! A tree enters and leaves with its texts filled in. `$${` stands for `${`. Keys and the inline
//! policy are left alone: a policy means the same in its own file. Values are never shown.

use mcpf_policy::yaml::{Node, Value};
use mcpf_policy::{Code, Sink};

use crate::setting::Environment;

/// Fills in every text under `node`, except the mapping under a top-level `policy`.
pub(crate) fn fill(node: &mut Node, environment: &Environment, sink: &mut Sink) {
    let Value::Map(entries) = &mut node.value else {
        return;
    };
    for (key, value) in entries {
        if !(key.text == "policy" && matches!(value.value, Value::Map(_))) {
            fill_any(value, environment, sink);
        }
    }
}

fn fill_any(node: &mut Node, environment: &Environment, sink: &mut Sink) {
    let at = node.at;
    match &mut node.value {
        Value::Text(text) if text.contains("${") => match filled(text, environment) {
            Ok(new) => *text = new,
            Err(mistake) => {
                let (code, message, help) = mistake.explain();
                sink.error_with_help(at, code, message, help);
            }
        },
        Value::List(items) => items
            .iter_mut()
            .for_each(|item| fill_any(item, environment, sink)),
        Value::Map(entries) => {
            entries
                .iter_mut()
                .for_each(|(_, value)| fill_any(value, environment, sink));
        }
        _ => {}
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Mistake {
    Unset(String),
    Malformed,
}

impl Mistake {
    fn explain(self) -> (Code, String, String) {
        match self {
            Self::Unset(name) => (
                Code::UnsetVariable,
                format!("the variable `{name}` is not set"),
                format!("set it, or write ${{{name}:-default}}"),
            ),
            Self::Malformed => (
                Code::BadValue,
                "`${` does not begin a variable".to_owned(),
                "${NAME}, ${NAME:-default}, or $${ for the characters themselves".to_owned(),
            ),
        }
    }
}

fn filled(text: &str, environment: &Environment) -> Result<String, Mistake> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (inside, tail) = after.split_once('}').ok_or(Mistake::Malformed)?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !well_formed {
            return Err(Mistake::Malformed);
        }
        match environment.value(name).or(default) {
            Some(value) => out.push_str(value),
            None => return Err(Mistake::Unset(name.to_owned())),
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_once() {
        let pairs = [("A", "1"), ("B", "${A}"), ("EMPTY", "")];
        let environment = pairs
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into_iter()
            .collect();
        let fill = |text| filled(text, &environment);
        assert_eq!(fill("x${A}y${A}").unwrap(), "x1y1");
        assert_eq!(fill("${B}").unwrap(), "${A}", "no second round");
        assert_eq!(fill("${NONE:-d:-e}${EMPTY:-f}").unwrap(), "d:-ef");
        assert_eq!(fill("$${A} $A").unwrap(), "${A} $A");
        assert_eq!(fill("${NONE:-}").unwrap(), "");
        assert_eq!(fill("${NONE}"), Err(Mistake::Unset("NONE".into())));
        for bad in ["${", "${}", "${1}", "${A B}", "${A"] {
            assert_eq!(fill(bad), Err(Mistake::Malformed), "{bad}");
        }
    }
}
