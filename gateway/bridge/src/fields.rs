//! Header fields of Streamable HTTP.
//!
//! Enter: header fields, and what is to be put into one. Leave: their meaning, and their spelling.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use mcpf_model::ProtocolVersion;

pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
pub(crate) const BOTH: HeaderValue =
    HeaderValue::from_static("application/json, text/event-stream");
pub(crate) const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Longest session id and event id, in bytes. 1 KiB, as the gateway has it.
const MAX_ID: usize = 1_024;

/// The only field called `name`, if it is visible ASCII and not too long.
pub(crate) fn token(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut all = headers.get_all(name).iter();
    let value = all.next()?;
    let is_good = !value.is_empty()
        && value.len() <= MAX_ID
        && value.as_bytes().iter().all(|b| (0x21..=0x7e).contains(b));
    (is_good && all.next().is_none()).then(|| value.clone())
}

/// An event id as it is sent back.
pub(crate) fn event_id(id: &[u8]) -> Option<HeaderValue> {
    if id.is_empty() || id.len() > MAX_ID {
        return None;
    }
    HeaderValue::from_bytes(id).ok()
}

/// Whether the request belongs to a revision without sessions.
pub(crate) fn is_modern(headers: &HeaderMap) -> bool {
    token(headers, &VERSION).is_some_and(|version| {
        version.as_bytes() >= ProtocolVersion::V2026_07_28.as_str().as_bytes()
    })
}

pub(crate) fn is_media(headers: &HeaderMap, media: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case(media)
        })
}

pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// `text` as a field: as it is, or as `=?base64?…?=` where a field could not carry it (MCP 2026-07-28,
/// "Streamable HTTP").
pub(crate) fn encoded(text: &str) -> Option<HeaderValue> {
    let is_plain = !text.is_empty()
        && text.bytes().all(|b| matches!(b, 0x09 | 0x20..=0x7e))
        && text.trim_matches([' ', '\t']).len() == text.len()
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    if is_plain {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_str(&format!("=?base64?{}?=", STANDARD.encode(text))).ok()
}

/// What [`encoded`] put into a field; `None` if it is no such thing.
pub(crate) fn decoded(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?.trim_matches([' ', '\t']);
    let inner = text.strip_prefix("=?base64?");
    match inner.and_then(|rest| rest.strip_suffix("?=")) {
        None => Some(text.to_owned()),
        Some(inner) => String::from_utf8(STANDARD.decode(inner).ok()?).ok(),
    }
}

/// The only field called `name`, decoded.
pub(crate) fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut all = headers.get_all(name).iter();
    let value = decoded(all.next()?)?;
    all.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_field_cannot_carry_is_encoded() {
        for (text, field) in [
            ("echo", "echo"),
            ("two words", "two words"),
            ("grüß", "=?base64?Z3LDvMOf?="),
            (" x", "=?base64?IHg=?="),
            ("a\nb", "=?base64?YQpi?="),
            ("", "=?base64??="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ] {
            let value = encoded(text).unwrap();
            assert_eq!(value, field, "{text:?}");
            assert_eq!(decoded(&value).as_deref(), Some(text));
        }
        for bad in ["=?base64?YQ?=", "=?base64?/w==?=", "=?base64?Y Q=?="] {
            assert_eq!(decoded(&HeaderValue::from_static(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_token_stands_once_and_is_visible() {
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers, &SESSION), None);
        headers.insert(SESSION, HeaderValue::from_static("a1"));
        assert_eq!(token(&headers, &SESSION).unwrap(), "a1");
        headers.append(SESSION, HeaderValue::from_static("a2"));
        assert_eq!(token(&headers, &SESSION), None);
        headers.insert(SESSION, HeaderValue::from_static("a b"));
        assert_eq!(token(&headers, &SESSION), None);
        headers.insert(VERSION, HeaderValue::from_static("2025-11-25"));
        assert!(!is_modern(&headers));
        headers.insert(VERSION, HeaderValue::from_static("2026-07-28"));
        assert!(is_modern(&headers));
    }
}
