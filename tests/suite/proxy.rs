//! `mcp-firewall proxy` between raw clients and a server that does what it is told.

mod answers;
mod faults;
mod http2;
mod inspected;
mod limits;
mod operations;
mod passing;
mod reload;
mod requests;
mod sessions;
mod slow;
mod streams;

use std::fmt::Display;

use serde_json::{Value, json};

use crate::support::{Ask, Gateway, call, request};

/// The last revision with sessions.
const LEGACY: &str = "2025-11-25";

fn ping_message() -> Value {
    request(1, "ping", &json!({}))
}

fn ping() -> Ask {
    Ask::post(&ping_message())
}

/// A call that an honest server answers with its arguments.
fn echo(id: i64) -> Ask {
    Ask::post(&call(id, "echo", &json!({ "text": "x" })))
}

/// A tool's result.
fn result(id: &Value, text: &str) -> Value {
    let content = json!([{ "type": "text", "text": text }]);
    json!({ "jsonrpc": "2.0", "id": id, "result": { "content": content, "isError": false } })
}

/// Something that a server says of its own accord.
fn note(text: impl Display) -> Value {
    let params = json!({ "level": "info", "data": text.to_string() });
    json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params })
}

/// `ask`, which calls a tool as request 7, is answered once, with an error of ours.
fn assert_failed(gateway: &Gateway, what: &str, ask: &Ask) {
    let mut client = gateway.connect();
    client.send(ask);
    let reply = client.reply();
    let reply = reply.unwrap_or_else(|| panic!("{what}: no response\n{}", gateway.stderr()));
    assert_eq!(reply.status(), 200, "{what}: {}", reply.text());
    let answer = reply.answer_to(&json!(7));
    assert_eq!(answer["result"]["isError"], true, "{what}: {answer}");
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(" by mcp-firewall: "), "{what}: {text}");
}
