//! Both halves against peers that are played. The server on stdio is a script for python3.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod agent;
mod both;
mod connect;
mod host;
mod serve;
mod socket;

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::LocalSet;

/// Nothing here takes longer on an idle machine than a second; this one may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Runs a test whose parts share one thread.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async { soon(test).await })
}

pub(crate) async fn soon<T>(step: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, step)
        .await
        .expect("something did not happen")
}

/// Whether `step` does not happen for a while.
pub(crate) async fn not_now<T>(step: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::from_millis(150), step)
        .await
        .is_err()
}

pub(crate) fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

pub(crate) fn note(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

pub(crate) fn result(id: impl Into<Value>, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "result": result })
}

pub(crate) fn initialize(id: i64) -> Value {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "test", "version": "0" },
    });
    request(id, "initialize", params)
}

pub(crate) fn initialized() -> Value {
    note("notifications/initialized", json!({}))
}

/// `params` under 2026-07-28.
pub(crate) fn modern(mut params: Value) -> Value {
    let meta = &mut params["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "test", "version": "0" });
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params
}

pub(crate) fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    request(
        id,
        "tools/call",
        json!({ "name": tool, "arguments": arguments }),
    )
}

/// Asserts that `message` is an error of ours for request `id`; gives its text.
pub(crate) fn failure(message: &Value, id: impl Into<Value>) -> String {
    assert_eq!(message["id"], id.into(), "{message}");
    assert_eq!(message["error"]["code"], 1503, "{message}");
    message["error"]["message"].as_str().unwrap().to_owned()
}
