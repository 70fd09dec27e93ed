//! The one room that answers in the stead of a peer.
//!
//! Enter: who is owed what, why, and where it is recorded. Leave: one frame. Never: text from the
//! message that was refused, so that nothing it carried comes back through an answer.

use std::fmt::Write as _;

use mcpf_model::{Reason, ReasonCode, RequestId};
use mcpf_pipeline::{Answer, AnsweredCall};
use serde_json::json;

/// How a refused `tools/call` is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DenyAs {
    /// A result with `isError`, which the model reads and can act upon.
    #[default]
    Result,
    /// A JSON-RPC error, which the client handles.
    Error,
}

/// JSON-RPC: "Parse error".
pub const PARSE_ERROR: i64 = -32700;
/// JSON-RPC: "Invalid Request".
pub const INVALID_REQUEST: i64 = -32600;
/// MCP 2026-07-28: "HeaderMismatch".
pub const HEADER_MISMATCH: i64 = -32020;
/// A policy, a rule or a person said no. Outside -32768..-32000, which the specifications reserve.
pub const DENIED: i64 = 1403;
/// A rate or another limit was reached; the message says when to try again, where that is known.
pub const OVERLOADED: i64 = 1429;
/// The gateway could not decide or record, or the peer that owed the answer is gone.
pub const FAILED: i64 = 1503;

/// The JSON-RPC error code for a refusal.
#[must_use]
pub const fn error_code(code: ReasonCode) -> i64 {
    match code {
        ReasonCode::Malformed => PARSE_ERROR,
        ReasonCode::PeerMisbehaved => INVALID_REQUEST,
        ReasonCode::HeaderMismatch => HEADER_MISMATCH,
        ReasonCode::Denied => DENIED,
        ReasonCode::Overloaded => OVERLOADED,
        // A remark refuses nothing; should one ever get here, it is a fault of ours.
        ReasonCode::Failed | ReasonCode::Noted => FAILED,
    }
}

/// The frame that answers a refused or abandoned request, without its line end.
///
/// `reference` names the audit record, as `audit tail` shows it.
#[must_use]
pub fn respond(answer: &Answer, reason: &Reason, reference: &str, deny_as: DenyAs) -> Vec<u8> {
    let id = answer.id.as_ref();
    // A message that could not be read is a protocol error whatever it tried to call.
    let as_result = matches!(
        answer.code,
        ReasonCode::Denied | ReasonCode::Overloaded | ReasonCode::Failed
    );
    let body = match (answer.call, deny_as) {
        (AnsweredCall::Tool { modern }, DenyAs::Result) if as_result => {
            let mut result = json!({
                "content": [{ "type": "text", "text": sentence(reason, reference) }],
                "isError": true,
            });
            if modern && let Some(members) = result.as_object_mut() {
                members.insert("resultType".into(), json!("complete"));
            }
            json!({ "jsonrpc": "2.0", "id": id_value(id), "result": result })
        }
        _ => json!({
            "jsonrpc": "2.0",
            "id": id_value(id),
            "error": {
                "code": error_code(answer.code),
                "message": sentence(reason, reference),
                "data": {
                    "stage": reason.stage.as_str(),
                    "rule": reason.rule.as_deref(),
                    "reference": reference,
                },
            },
        }),
    };
    body.to_string().into_bytes()
}

fn id_value(id: Option<&RequestId>) -> serde_json::Value {
    match id {
        None => serde_json::Value::Null,
        Some(RequestId::Number(n)) => json!(n),
        Some(RequestId::String(s)) => json!(&**s),
    }
}

/// What a person or a model reads.
fn sentence(reason: &Reason, reference: &str) -> String {
    let verb = match reason.code {
        ReasonCode::Malformed | ReasonCode::PeerMisbehaved | ReasonCode::HeaderMismatch => {
            "Refused"
        }
        ReasonCode::Denied => "Blocked",
        ReasonCode::Overloaded => "Held back",
        ReasonCode::Failed | ReasonCode::Noted => "Not passed on",
    };
    let mut text = format!("{verb} by mcp-firewall: {}", reason.text);
    if let Some(rule) = &reason.rule {
        let _infallible = write!(text, " [{rule}]");
    }
    let _infallible = write!(text, ". Audit reference: {reference}.");
    text
}

#[cfg(test)]
mod tests {
    use mcpf_model::{Direction, Stage};

    use super::*;

    fn reason(code: ReasonCode) -> Reason {
        Reason {
            stage: Stage::Policy,
            code,
            rule: Some("no-keys".into()),
            text: "reading keys is not allowed".into(),
        }
    }

    fn answer(call: AnsweredCall, code: ReasonCode) -> Answer {
        Answer {
            direction: Direction::Outbound,
            id: Some(RequestId::String("a\"b".into())),
            call,
            code,
        }
    }

    fn value(answer: &Answer, deny_as: DenyAs) -> serde_json::Value {
        let bytes = respond(answer, &reason(answer.code), "r1", deny_as);
        assert!(!bytes.contains(&b'\n'));
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_denied_tool_call_is_a_result_that_the_model_reads() {
        let call = AnsweredCall::Tool { modern: false };
        let got = value(&answer(call, ReasonCode::Denied), DenyAs::Result);
        assert_eq!(got["id"], "a\"b");
        assert_eq!(got["result"]["isError"], true);
        assert_eq!(got["result"].get("resultType"), None);
        assert_eq!(
            got["result"]["content"][0]["text"],
            "Blocked by mcp-firewall: reading keys is not allowed [no-keys]. Audit reference: r1."
        );
        let modern = AnsweredCall::Tool { modern: true };
        let got = value(&answer(modern, ReasonCode::Denied), DenyAs::Result);
        assert_eq!(got["result"]["resultType"], "complete");
        let got = value(&answer(modern, ReasonCode::Denied), DenyAs::Error);
        assert_eq!(got["error"]["code"], 1403);
    }

    #[test]
    fn everything_else_is_an_error_outside_the_reserved_range() {
        for (code, expected) in [
            (ReasonCode::Malformed, -32700),
            (ReasonCode::PeerMisbehaved, -32600),
            (ReasonCode::Denied, 1403),
            (ReasonCode::Overloaded, 1429),
            (ReasonCode::Failed, 1503),
        ] {
            let got = value(&answer(AnsweredCall::Other, code), DenyAs::Result);
            assert_eq!(got["error"]["code"], expected);
            assert_eq!(got["error"]["data"]["reference"], "r1");
        }
        let unknown = Answer {
            id: None,
            ..answer(AnsweredCall::Other, ReasonCode::Malformed)
        };
        assert_eq!(
            value(&unknown, DenyAs::Result)["id"],
            serde_json::Value::Null
        );
    }

    #[test]
    fn a_protocol_error_is_never_dressed_as_a_result() {
        let call = AnsweredCall::Tool { modern: true };
        let got = value(&answer(call, ReasonCode::PeerMisbehaved), DenyAs::Result);
        assert_eq!(got["error"]["code"], -32600);
    }
}
