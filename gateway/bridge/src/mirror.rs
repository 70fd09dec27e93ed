//! Arguments that a server wants to see in the head too (MCP 2026-07-28, "Streamable HTTP": `x-mcp-header`).
//!
//! Enter: lists of tools, from a server whose client, or to a client whose server, is on stdio and knows
//! nothing of heads. Leave: `Mcp-Param-*` for the calls of those tools, or what is wrong with those
//! that a call came with. What a list does not declare soundly is left out.

use std::collections::HashMap;

use hyper::header::{HeaderMap, HeaderName};
use memchr::memmem;
use serde_json::Value;

use crate::envelope::Envelope;
use crate::fields;

/// Most tools with declarations that are remembered; one more, and all are forgotten.
const MAX_TOOLS: usize = 1_024;
/// Most declarations of one tool.
const MAX_PARAMS: usize = 32;
/// How deep in the arguments one may lie.
const MAX_DEPTH: usize = 8;

/// Where an argument lies, and the field that repeats it.
#[derive(Debug, PartialEq, Eq)]
struct Param {
    path: Box<[Box<str>]>,
    field: HeaderName,
}

/// What the tools of a server declared.
#[derive(Debug, Default)]
pub(crate) struct Mirror(HashMap<Box<str>, Box<[Param]>>);

impl Mirror {
    /// Reads the result of a `tools/list`.
    pub(crate) fn learn(&mut self, result: &[u8]) {
        if memmem::find(result, b"x-mcp-header").is_none() && self.0.is_empty() {
            return;
        }
        let Ok(result) = serde_json::from_slice::<Value>(result) else {
            return;
        };
        let tools = result.get("tools").and_then(Value::as_array);
        for tool in tools.into_iter().flatten() {
            let Some(name) = tool.get("name").and_then(Value::as_str) else {
                continue;
            };
            let mut params = Vec::new();
            if let Some(schema) = tool.get("inputSchema") {
                find(schema, &mut Vec::new(), &mut params);
            }
            if params.is_empty() {
                self.0.remove(name);
                continue;
            }
            if self.0.len() >= MAX_TOOLS {
                self.0.clear();
            }
            self.0.insert(name.into(), params.into());
        }
    }

    /// Adds what the tool that is called declared.
    pub(crate) fn reflect(&self, call: &Envelope, headers: &mut HeaderMap) {
        for (field, argument) in self.arguments(call) {
            if let Some(text) = fields::encoded(&argument) {
                headers.insert(field.clone(), text);
            }
        }
    }

    /// The field that does not repeat the argument that it should.
    pub(crate) fn contradiction(
        &self,
        call: &Envelope,
        headers: &HeaderMap,
    ) -> Option<&HeaderName> {
        for (field, argument) in self.arguments(call) {
            let said = fields::text(headers, field);
            if !said.is_some_and(|said| said == argument || same_number(&said, &argument)) {
                return Some(field);
            }
        }
        None
    }

    /// The arguments of a call that its tool wants to see in the head.
    fn arguments(&self, message: &Envelope) -> Vec<(&HeaderName, String)> {
        let params = match message.name.as_deref() {
            Some(name) if &*message.method == "tools/call" => self.0.get(name),
            _ => None,
        };
        let Some(params) = params else {
            return Vec::new();
        };
        let call: Value = serde_json::from_slice(&message.line).unwrap_or_default();
        let Some(arguments) = call.pointer("/params/arguments") else {
            return Vec::new();
        };
        let mut found = Vec::with_capacity(params.len());
        for Param { path, field } in params {
            let value = path
                .iter()
                .try_fold(arguments, |value, key| value.get(&**key));
            match value {
                Some(Value::String(text)) => found.push((field, text.clone())),
                Some(value @ (Value::Bool(_) | Value::Number(_))) => {
                    found.push((field, value.to_string()));
                }
                _ => {}
            }
        }
        found
    }
}

fn same_number(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.is_finite() && a.total_cmp(&b).is_eq(),
        _ => false,
    }
}

/// Declarations stand where nothing but `properties` lies between them and the root.
fn find(schema: &Value, path: &mut Vec<Box<str>>, out: &mut Vec<Param>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.into_iter().flatten() {
        if path.len() >= MAX_DEPTH || out.len() >= MAX_PARAMS {
            return;
        }
        path.push(key.as_str().into());
        let declared = property.get("x-mcp-header").and_then(Value::as_str);
        let name = declared.map(|name| format!("mcp-param-{name}"));
        if let Some(field) = name.and_then(|name| HeaderName::try_from(name).ok()) {
            let path = path.clone().into();
            out.push(Param { path, field });
        }
        find(property, path, out);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mcpf_model::Limits;

    use super::*;
    use crate::envelope::{Reader, Reading};

    fn call(arguments: &str) -> Envelope {
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
        );
        match Reader::new(&Limits::default()).read(Bytes::from(line)) {
            Reading::Message(envelope) => envelope,
            Reading::Odd(odd) => panic!("{odd:?}"),
        }
    }

    #[test]
    fn declared_arguments_are_repeated_in_the_head() {
        let mut mirror = Mirror::default();
        mirror.learn(
            br#"{"tools":[{"name":"t","inputSchema":{"properties":{
                "region":{"type":"string","x-mcp-header":"Region"},
                "deep":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
                "list":{"items":{"x-mcp-header":"Never"}},
                "bad":{"type":"string","x-mcp-header":"no token"},
                "plain":{"type":"string"}}}}]}"#,
        );
        let mut headers = HeaderMap::new();
        mirror.reflect(
            &call(
                r#"{"region":"gr\u00fc\u00df","deep":{"n":7},"list":["x"],"bad":"b","plain":"p"}"#,
            ),
            &mut headers,
        );
        assert_eq!(headers.len(), 2);
        assert_eq!(headers["mcp-param-region"], "=?base64?Z3LDvMOf?=");
        assert_eq!(headers["mcp-param-n"], "7");

        let like = call(r#"{"region":"gr\u00fc\u00df","deep":{"n":7.0}}"#);
        assert_eq!(mirror.contradiction(&like, &headers), None);
        let other = call(r#"{"region":"x"}"#);
        let wrong = mirror.contradiction(&other, &headers).unwrap();
        assert_eq!(wrong, "mcp-param-region");
        assert!(mirror.contradiction(&like, &HeaderMap::new()).is_some());

        let mut headers = HeaderMap::new();
        mirror.reflect(&call(r#"{"region":null,"deep":[]}"#), &mut headers);
        assert!(headers.is_empty());

        mirror.learn(br#"{"tools":[{"name":"t","inputSchema":{}}]}"#);
        mirror.reflect(&call(r#"{"region":"x"}"#), &mut headers);
        assert!(headers.is_empty());
    }
}
