//! The oracle of the JSON view: serde_json reads in what is forwarded what the view reads in what
//! came.

use mcpf_model::Limits;
use mcpf_wire::{Parser, apply};
use serde_json::Value;

/// Holds the view of `frame`, if it is accepted, to serde_json.
///
/// # Errors
///
/// What they disagree on.
pub fn check(frame: &[u8]) -> Result<(), String> {
    let mut parser = Parser::new(&Limits::default());
    let Ok(message) = parser.parse(frame) else {
        return Ok(());
    };
    let mut out = Vec::new();
    apply(message.frame(), message.edits(), &mut out);
    let read = |bytes: &[u8]| -> Result<Value, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("serde_json refuses it: {error}"))
    };
    let (came, leaves) = (read(frame)?, read(&out)?);
    if leaves.get("method").and_then(Value::as_str) != message.method() {
        return Err("they read different methods".to_owned());
    }
    let mut slow = Vec::new();
    strings(&came, &mut slow);
    let mut fast: Vec<&str> = message.strings().map(|leaf| leaf.text).collect();
    slow.sort_unstable();
    fast.sort_unstable();
    if slow != fast {
        return Err("they read different strings".to_owned());
    }
    Ok(())
}

fn strings<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(members) => {
            for (key, member) in members {
                out.push(key);
                strings(member, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
