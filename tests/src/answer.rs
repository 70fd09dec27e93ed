//! What a small honest server answers.

use serde_json::{Value, json};

/// The answer to `message`, if it is a request. `tools/call` gives its own arguments back as text.
#[must_use]
pub fn answer(message: &Value) -> Option<Value> {
    let id = message.get("id")?;
    let method = message.get("method")?.as_str()?;
    let params = message.get("params").cloned().unwrap_or_else(|| json!({}));
    let member = |name: &str| params.get(name).cloned().unwrap_or(Value::Null);
    let result = match method {
        "initialize" => json!({
            "protocolVersion": member("protocolVersion"),
            "capabilities": { "tools": {}, "resources": {}, "prompts": {} },
            "serverInfo": { "name": "fake-peer", "version": "1.0.0" },
        }),
        "tools/list" => json!({ "tools": [tool("echo"), tool("read_file")] }),
        "tools/call" => {
            let text = params
                .get("arguments")
                .map(Value::to_string)
                .unwrap_or_default();
            json!({ "content": [{ "type": "text", "text": text }], "isError": false })
        }
        "resources/read" => json!({ "contents": [{ "uri": member("uri"), "text": "a resource" }] }),
        "prompts/get" => {
            json!({ "messages": [{ "role": "user", "content": { "type": "text", "text": "a prompt" } }] })
        }
        _ => json!({}),
    };
    Some(json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

fn tool(name: &str) -> Value {
    json!({
        "name": name,
        "description": "Gives its arguments back.",
        "inputSchema": { "type": "object", "properties": { "text": { "type": "string" } } },
    })
}

/// `request` as the sessionless revision of 2026-07-28 spells it: its revision in `_meta`.
#[must_use]
pub fn to_modern(mut request: Value) -> Value {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "suite", "version": "1.0.0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    if let Some(members) = request.as_object_mut() {
        let params = members.entry("params").or_insert_with(|| json!({}));
        if let Some(params) = params.as_object_mut() {
            params.insert("_meta".to_owned(), meta);
        }
    }
    request
}
