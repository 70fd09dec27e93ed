//! What a request's head must look like before its body is read.
//!
//! Enter: a head that hyper has parsed. Leave: [`Head`], which says what is asked and carries the
//! fields that may go on; or the refusal. Never: the body.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode};
use mcpf_model::ProtocolVersion;

use super::answer::Refusal;
use super::settings::HttpSettings;

pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Longest session id and event id accepted, in bytes. 1 KiB.
const MAX_ID: usize = 1_024;

/// Length of the token of an endpoint: 128 bits in hexadecimal.
pub(crate) const TOKEN: usize = 32;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A message for the server.
    Post,
    /// A stream of what the server has to say.
    Get,
    /// The end of a session.
    Delete,
    /// Whether a browser may ask.
    Preflight,
    /// Something about authorization.
    Other,
}

/// A head that may pass.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) asked: Asked,
    /// `Mcp-Session-Id`; none under the sessionless revision.
    pub(crate) session: Option<Box<str>>,
    /// The end of a path that an `endpoint` event named (2024-11-05, "HTTP with SSE").
    pub(crate) endpoint: Option<Box<str>>,
    /// `MCP-Protocol-Version`.
    pub(crate) version: Option<Box<str>>,
    /// `Mcp-Method`.
    pub(crate) method: Option<Box<str>>,
    /// `Mcp-Name`, decoded.
    pub(crate) name: Option<Box<str>>,
    /// Whose credential the request carries.
    pub(crate) credential: Credential,
    /// The origin, when a browser calls from one that is allowed.
    pub(crate) origin: Option<HeaderValue>,
    /// The fields that go on to the server.
    pub(crate) forwarded: HeaderMap,
}

/// Tells callers apart that present credentials, without keeping these: the subject of a bearer
/// token, so that a token may be renewed, or the credential itself. Not a proof of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Credential(u64);

impl Head {
    /// Whether the request belongs to a revision without sessions.
    pub(crate) fn is_modern(&self) -> bool {
        self.version
            .as_deref()
            .is_some_and(|version| version >= ProtocolVersion::V2026_07_28.as_str())
    }
}

/// Checks a head against `settings`.
pub(crate) fn check(parts: &Parts, settings: &HttpSettings) -> Result<Head, Refusal> {
    fields(&parts.headers)?;
    host(parts, settings)?;
    let origin = origin(&parts.headers, settings)?;
    let path = parts.uri.path();
    let endpoint = endpoint(path, &settings.path);
    let is_ours = endpoint.is_some() || path == &*settings.path;
    let is_other = !is_ours && settings.passes(path, &parts.method);
    if !is_ours && !is_other && HttpSettings::is_metadata(path) {
        let text = "metadata is only fetched";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text));
    }
    if !is_other && (!is_ours || parts.uri.query().is_some()) {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "there is nothing at this path",
        ));
    }
    let asked = match parts.method {
        Method::OPTIONS if origin.is_some() => Asked::Preflight,
        _ if is_other => Asked::Other,
        Method::POST => Asked::Post,
        Method::GET if endpoint.is_none() => Asked::Get,
        Method::DELETE if endpoint.is_none() => Asked::Delete,
        _ => {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "only POST, GET and DELETE are served here",
            ));
        }
    };
    if asked == Asked::Post {
        media_type(&parts.headers)?;
    }
    let text = |name: &HeaderName| one(&parts.headers, name);
    let version = text(&VERSION)?.map(Box::from);
    let mut head = Head {
        asked,
        session: text(&SESSION)?.map(Box::from),
        endpoint: endpoint.map(Box::from),
        version,
        method: text(&METHOD)?.map(Box::from),
        name: text(&NAME)?.map(decoded).transpose()?,
        credential: credential(&parts.headers),
        origin,
        forwarded: HeaderMap::new(),
    };
    if head.is_modern() {
        head.session = None;
    }
    for name in [&SESSION, &LAST_EVENT] {
        if text(name)?.is_some_and(|id| id.len() > MAX_ID) {
            return Err(bad(format!("`{name}` is longer than {MAX_ID} bytes")));
        }
    }
    if let Some(id) = &head.session
        && (id.is_empty() || !id.bytes().all(|b| (0x21..=0x7e).contains(&b)))
    {
        return Err(bad("`Mcp-Session-Id` is not visible ASCII".to_owned()));
    }
    head.forwarded = forwarded(&parts.headers, head.is_modern());
    // Not every server decodes it.
    if let Some(name) = &head.name
        && name.bytes().all(|b| (0x21..=0x7e).contains(&b))
        && !name.starts_with("=?")
        && let Ok(value) = HeaderValue::from_str(name)
    {
        head.forwarded.insert(NAME, value);
    }
    Ok(head)
}

/// What stands behind `base` in the path of an endpoint: the token of its stream.
fn endpoint<'p>(path: &'p str, base: &str) -> Option<&'p str> {
    let token = path
        .strip_prefix(base.trim_end_matches('/'))?
        .strip_prefix('/')?;
    (token.len() == TOKEN && token.bytes().all(|b| b.is_ascii_hexdigit())).then_some(token)
}

/// Most fields of a head. HTTP/1.1 is held to it before this.
const MAX_FIELDS: usize = 100;

/// Fields that stand once or not at all, beside those that begin with `mcp-`.
const SINGLE: [HeaderName; 7] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::ORIGIN,
    LAST_EVENT,
];

fn fields(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.len() > MAX_FIELDS {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal::new(
            status,
            format!("there are more than {MAX_FIELDS} fields"),
        ));
    }
    let is_single = |name: &HeaderName| name.as_str().starts_with("mcp-") || SINGLE.contains(name);
    // As many values as names, where nothing stands twice.
    if headers.len() != headers.keys_len()
        && let Some(name) = headers
            .keys()
            .find(|name| is_single(name) && headers.get_all(*name).iter().nth(1).is_some())
    {
        return Err(bad(format!("`{name}` stands twice")));
    }
    Ok(())
}

fn bad(message: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, message)
}

/// The only field called `name`, as text.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Refusal> {
    let mut all = headers.get_all(name).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(bad(format!("`{name}` stands twice")));
    }
    match first.map(HeaderValue::to_str) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.trim_matches([' ', '\t']))),
        Some(Err(_)) => Err(bad(format!("`{name}` is not ASCII"))),
    }
}

/// Against DNS rebinding: a page that made a name of its own point here still sends that name.
fn host(parts: &Parts, settings: &HttpSettings) -> Result<(), Refusal> {
    let field = one(&parts.headers, &header::HOST)?;
    // HTTP/2 names the host beside the fields, or in both places alike.
    let authority = parts.uri.authority().map(Authority::as_str);
    if let (Some(field), Some(authority)) = (field, authority)
        && !field.eq_ignore_ascii_case(authority)
    {
        return Err(bad(
            "`Host` and the request's target name different hosts".to_owned()
        ));
    }
    let text = field.or(authority).unwrap_or_default();
    let Some(name) = host_name(text) else {
        return Err(bad(
            "`Host` is not a host name with an optional port".to_owned()
        ));
    };
    let listened = |ip: IpAddr| ip.is_loopback() || ip == settings.listen.ip();
    let is_ours = name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(listened)
        || settings
            .hosts
            .iter()
            .any(|host| host.eq_ignore_ascii_case(name));
    if is_ours {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        format!("the host `{name}` is not served here; `http.hosts` lists those that are"),
    ))
}

/// The name in `host[:port]`, without brackets.
fn host_name(text: &str) -> Option<&str> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, after) = rest.split_once(']')?;
            let digits = name
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return None,
            };
            (Some(name).filter(|_| digits)?, port)
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    let good_port = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0)
    });
    (!name.is_empty() && name.bytes().all(plain) && good_port).then_some(name)
}

/// A browser says where the page that calls comes from.
fn origin(headers: &HeaderMap, settings: &HttpSettings) -> Result<Option<HeaderValue>, Refusal> {
    let Some(text) = one(headers, &header::ORIGIN)? else {
        return Ok(None);
    };
    let loopback = || {
        let rest = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"))?;
        let name = host_name(rest)?;
        let is_loopback = name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        Some(is_loopback && settings.listen.ip().is_loopback())
    };
    let is_ours =
        settings.origins.iter().any(|origin| **origin == *text) || loopback().unwrap_or(false);
    if !is_ours {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "calls from this origin are not allowed; `http.origins` lists those that are",
        ));
    }
    Ok(headers.get(header::ORIGIN).cloned())
}

/// `application/json` in UTF-8, not encoded.
fn media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let refuse = |message: &str| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    let text = one(headers, &header::CONTENT_TYPE)?.unwrap_or_default();
    let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
    if !media.trim().eq_ignore_ascii_case("application/json") {
        return Err(refuse("the body must be `application/json`"));
    }
    for parameter in parameters
        .split(';')
        .map(str::trim)
        .filter(|p| !p.is_empty())
    {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.trim().eq_ignore_ascii_case("charset")
            && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        {
            return Err(refuse("the body must be in UTF-8"));
        }
    }
    match one(headers, &header::CONTENT_ENCODING)? {
        None => Ok(()),
        Some(coding) if coding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(_) => Err(refuse("the body must not be encoded")),
    }
}

/// A field that may be written as `=?base64?…?=` (MCP 2026-07-28, "Streamable HTTP").
fn decoded(text: &str) -> Result<Box<str>, Refusal> {
    let Some(inner) = text
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    else {
        return Ok(text.into());
    };
    STANDARD
        .decode(inner)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(String::into_boxed_str)
        .ok_or_else(|| bad("`Mcp-Name` is not padded base64 of UTF-8".to_owned()))
}

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn credential(headers: &HeaderMap) -> Credential {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Credential(0);
    };
    let subject = value.to_str().ok().and_then(subject);
    Credential(match subject {
        Some(subject) => HASHER.hash_one(subject),
        None => HASHER.hash_one(value.as_bytes()),
    })
}

/// Issuer, subject and client of a bearer token that is a JWT. Unverified: it only tells callers
/// apart whom the server has to authenticate.
fn subject(authorization: &str) -> Option<String> {
    let (scheme, token) = authorization.split_once(' ')?;
    let payload = token.trim().split('.').nth(1)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let subject = claims.get("sub")?.as_str()?;
    let other = |name: &str| {
        claims
            .get(name)
            .and_then(|v| v.as_str())
            .unwrap_or_default()
    };
    Some(format!(
        "{}\0{subject}\0{}",
        other("iss"),
        other("client_id")
    ))
}

/// Names that `Connection` lists: they are about the connection too.
fn listed(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect()
}

fn is_listed(listed: &[&str], name: &HeaderName) -> bool {
    listed
        .iter()
        .any(|other| name.as_str().eq_ignore_ascii_case(other))
}

/// All end-to-end fields but those the gateway writes itself.
fn forwarded(headers: &HeaderMap, is_modern: bool) -> HeaderMap {
    let listed = listed(headers);
    let mut out = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        let is_dropped =
            is_hop_by_hop(name) || (is_modern && *name == SESSION) || is_listed(&listed, name);
        if !is_dropped {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

/// Fields about one connection, one body or one cache, never about the message (RFC 9110 section
/// 7.6.1), and those that the gateway decides.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
            | "http2-settings"
            | "content-length"
            | "content-encoding"
            | "content-type"
            | "accept-encoding"
            | "origin"
            | "range"
            | "if-none-match"
            | "if-modified-since"
    )
}

/// The fields of the server's answer that go on to the client.
pub(crate) fn answered(headers: &HeaderMap, is_modern: bool) -> HeaderMap {
    let listed = listed(headers);
    let mut out = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        let is_ours = is_hop_by_hop(name)
            || is_listed(&listed, name)
            || name.as_str().starts_with("access-control-")
            || *name == header::CONTENT_TYPE
            || (is_modern && *name == SESSION);
        if !is_ours {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_address_with_an_optional_port() {
        for (text, name) in [
            ("localhost", "localhost"),
            ("localhost:8080", "localhost"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:80", "::1"),
            ("[::1]", "::1"),
            ("a-b.example", "a-b.example"),
        ] {
            assert_eq!(host_name(text), Some(name));
        }
        for bad in [
            "",
            ":80",
            "localhost:",
            "localhost:0",
            "localhost:80@evil.example",
            "a b",
            "[::1",
            "[::1]x",
            "localhost:99999",
            "user@localhost",
            "a/b",
            "localhost:+8",
            "[evil]",
        ] {
            assert_eq!(host_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_may_come_encoded() {
        assert_eq!(&*decoded("plain").unwrap(), "plain");
        assert_eq!(&*decoded("=?base64?Z3LDvMOf?=").unwrap(), "grüß");
        assert_eq!(&*decoded("=?base64?YQ==?=").unwrap(), "a");
        assert_eq!(&*decoded("=?base64??=").unwrap(), "");
        for bad in [
            "=?base64?YQ?=",
            "=?base64?Y===?=",
            "=?base64?/w==?=",
            "=?base64?Y Q=?=",
        ] {
            assert!(decoded(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_renewed_token_of_one_subject_is_the_same_caller() {
        let token = |claims: &str| {
            let text = URL_SAFE_NO_PAD.encode(claims);
            format!("Bearer e30.{text}.sig")
        };
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            credential(&headers)
        };
        let old = of(&token(r#"{"iss":"i","sub":"ann","exp":1}"#));
        assert_eq!(old, of(&token(r#"{"iss":"i","sub":"ann","exp":2}"#)));
        assert_ne!(old, of(&token(r#"{"iss":"i","sub":"bob","exp":1}"#)));
        assert_ne!(of("Bearer a"), of("Bearer b"));
        assert_ne!(of("Bearer a"), Credential(0));
    }
}
