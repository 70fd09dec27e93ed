//! Answers of the gateway's own, as HTTP.
//!
//! Enter: frames that [`respond`](crate::respond()) built, or a refusal of the head. Leave: responses.

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::Out;
use super::gate::SESSION;
use crate::respond::INVALID_REQUEST;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A request that is refused before its message is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// The response, and nothing more is read from this client.
    pub(crate) fn response(&self) -> Response<Out> {
        let frame = error_frame(INVALID_REQUEST, &self.message);
        let mut response = message(self.status, HeaderMap::new(), frame);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("POST, GET, DELETE");
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        response
    }
}

/// A JSON-RPC error that answers no particular request.
pub(crate) fn error_frame(code: i64, message: &str) -> Bytes {
    json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": { "code": code, "message": format!("Refused by mcp-firewall: {message}.") },
    })
    .to_string()
    .into()
}

/// A response with one message.
pub(crate) fn message(status: StatusCode, headers: HeaderMap, frame: Bytes) -> Response<Out> {
    let mut response = bare(status, headers);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    *response.body_mut() = Out::of(frame);
    response
}

/// A response without a body.
pub(crate) fn bare(status: StatusCode, headers: HeaderMap) -> Response<Out> {
    let mut response = Response::new(Out::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(NO_STORE);
    response
}

/// A response with a stream of events.
pub(crate) fn events(status: StatusCode, headers: HeaderMap, body: Out) -> Response<Out> {
    let mut response = bare(status, headers);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, EVENTS);
    // nginx and its like would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    *response.body_mut() = body;
    response
}

/// Lets a page of `origin` read the response.
pub(crate) fn share(response: &mut Response<Out>, origin: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate"),
    );
}

/// What a browser may send.
pub(crate) fn preflight() -> Response<Out> {
    let mut response = bare(StatusCode::NO_CONTENT, HeaderMap::new());
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, GET, DELETE"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Content-Type, Accept, Authorization, Mcp-Session-Id, MCP-Protocol-Version, \
             Mcp-Method, Mcp-Name, Last-Event-ID",
        ),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    response
}

/// The session id in `headers`, if it is one.
pub(crate) fn session_id(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(SESSION).iter();
    let id = all.next()?.to_str().ok()?;
    let good =
        !id.is_empty() && id.len() <= 1_024 && id.bytes().all(|b| (0x21..=0x7e).contains(&b));
    (good && all.next().is_none()).then_some(id)
}
