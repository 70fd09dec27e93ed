//! Answers in the stead of a server that does not give one.
//!
//! Enter: the id of a request, and why nobody else answers it. Leave: one JSON-RPC error, on one line.

use bytes::Bytes;
use mcpf_model::RequestId;
use serde_json::{Value, json};

/// The server, or what runs it, failed to answer. The code that the gateway uses for the same
/// (`FAILED` in `mcpf-proxy`): outside -32768..-32000, which the specifications reserve.
pub(crate) const FAILED: i64 = 1503;
/// JSON-RPC: "Invalid Request".
pub(crate) const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC: "Invalid params".
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// JSON-RPC: "Method not found".
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;

/// The error for a request that was not, or not to the end, dealt with.
pub(crate) fn failure(id: Option<&RequestId>, why: &str) -> Bytes {
    error(
        id,
        FAILED,
        &format!("Not passed on by mcp-firewall: {why}."),
    )
}

/// An error with a code of its own.
pub(crate) fn error(id: Option<&RequestId>, code: i64, message: &str) -> Bytes {
    json!({
        "jsonrpc": "2.0",
        "id": id.map_or(Value::Null, value),
        "error": { "code": code, "message": message },
    })
    .to_string()
    .into()
}

/// An id as it is spelled in a message.
pub(crate) fn spelled(id: &RequestId) -> String {
    value(id).to_string()
}

fn value(id: &RequestId) -> Value {
    match id {
        RequestId::Number(n) => json!(n),
        RequestId::String(s) => json!(&**s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_the_id_as_it_was() {
        let id = RequestId::String("a\"\n".into());
        let line = failure(Some(&id), "the server is gone");
        assert!(!line.contains(&b'\n'));
        let read: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(read["id"], "a\"\n");
        assert_eq!(read["error"]["code"], 1503);
        assert_eq!(
            read["error"]["message"],
            "Not passed on by mcp-firewall: the server is gone."
        );
        assert_eq!(spelled(&RequestId::Number(-7)), "-7");
        let read: Value = serde_json::from_slice(&failure(None, "x")).unwrap();
        assert_eq!(read["id"], Value::Null);
    }
}
