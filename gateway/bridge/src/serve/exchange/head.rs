//! What the head of a request without session must say, and the status of its answer.
//!
//! Enter: a message and its head. Leave: the error, if one is not what the other says.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName};
use mcpf_model::{ProtocolVersion, RequestId};
use serde_json::json;

use crate::answer::{self, INVALID_PARAMS, METHOD_NOT_FOUND};
use crate::envelope::Envelope;
use crate::fields::{self, METHOD, NAME, VERSION};

/// MCP 2026-07-28: errors of the transport, each with HTTP 400.
const HEADER_MISMATCH: i64 = -32020;
const MISSING_CAPABILITY: i64 = -32021;
const UNSUPPORTED_VERSION: i64 = -32022;

/// What is wrong with a request that says in its head that it needs no session. A child of several
/// revisions might take it for one of another, and settle on that for all that share the child.
pub(super) fn unsound(message: &Envelope, id: &RequestId, headers: &HeaderMap) -> Option<Bytes> {
    if !message.missing.is_empty() {
        let missing = message.missing.join(", ");
        let why = format!("Refused by mcp-firewall: `_meta` lacks {missing}.");
        return Some(answer::error(Some(id), INVALID_PARAMS, &why));
    }
    let spoken = ProtocolVersion::V2026_07_28;
    let requested = message.version.as_deref().unwrap_or_default();
    let said = [
        (VERSION, Some(requested)),
        (METHOD, Some(&*message.method)),
        (NAME, message.name.as_deref()),
    ];
    for (field, value) in said {
        if value.is_some() && fields::text(headers, &field).as_deref() != value {
            return Some(mismatch(id, &field));
        }
    }
    if ProtocolVersion::from_date(requested).is_some_and(|version| version >= spoken) {
        return None;
    }
    let error = json!({
        "code": UNSUPPORTED_VERSION,
        "message": "Refused by mcp-firewall: this revision is not spoken here.",
        "data": { "supported": [spoken.as_str()], "requested": requested },
    });
    let id = answer::spelled(id);
    Some(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into())
}

pub(super) fn mismatch(id: &RequestId, field: &HeaderName) -> Bytes {
    let why = format!("Refused by mcp-firewall: `{field}` does not say what the message does.");
    answer::error(Some(id), HEADER_MISMATCH, &why)
}

/// The HTTP status of an answer without session (MCP 2026-07-28, "Streamable HTTP").
pub(super) const fn status(code: Option<i64>) -> StatusCode {
    match code {
        Some(METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Some(HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}
