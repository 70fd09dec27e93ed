//! What is sent, and whether what comes back is right.
//!
//! Enter: an endpoint, a tool, sizes. Leave: requests as bytes, in which only the id changes, and a judgement
//! of each answer. Never: an answer taken for right because its status was 200.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use crate::endpoint::Endpoint;
use crate::http::{Media, Response};
use crate::tally::{Failure, Flaw};
use crate::text::prose;

/// The protocol revision that the generator and the upstream speak.
pub(crate) const REVISION: &str = "2025-11-25";

/// The name of the upstream's only tool.
pub(crate) const TOOL: &str = "text";

/// Ids have ten digits, so that no request changes its length, and fit an `i32`, which some peers use.
const FIRST_ID: u32 = 1_000_000_000;
const IDS: u32 = 1_147_483_647;

/// A header that every request carries, such as one with a token: `Name: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header(String);

/// Why a header cannot be sent.
#[derive(Debug, Error)]
#[error("`{0}` is not a header such as `Authorization: Bearer abc`")]
pub struct HeaderError(String);

impl std::str::FromStr for Header {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let visible = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
        match text.split_once(':') {
            Some((name, value))
                if !name.is_empty() && name.bytes().all(token) && value.bytes().all(visible) =>
            {
                Ok(Self(format!("{name}: {}", value.trim())))
            }
            _ => Err(HeaderError(text.to_owned())),
        }
    }
}

/// Request number `number` of a run, as its id. Ids repeat after a thousand million requests.
pub(crate) fn id(number: u64) -> u32 {
    FIRST_ID + u32::try_from(number % u64::from(IDS)).unwrap_or_default()
}

/// A request as it goes over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    /// Where the id's ten digits begin; nowhere in a notification.
    id_at: Option<usize>,
}

impl Request {
    fn new(endpoint: &Endpoint, headers: &[Header], session: Option<&str>, body: &str) -> Self {
        let mut bytes = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {REVISION}\r\n",
            endpoint.path(),
            endpoint.authority(),
        );
        for Header(line) in headers {
            bytes.push_str(line);
            bytes.push_str("\r\n");
        }
        // Writing to a string does not fail.
        if let Some(session) = session {
            let _written = write!(bytes, "Mcp-Session-Id: {session}\r\n");
        }
        let _written = write!(bytes, "Content-Length: {}\r\n\r\n", body.len());
        let head = bytes.len();
        bytes.push_str(body);
        let mark = format!("\"id\":{FIRST_ID}");
        let id_at = body.find(&mark).map(|at| head + at + mark.len() - DIGITS);
        Self {
            bytes: bytes.into_bytes(),
            id_at,
        }
    }

    /// The bytes, with this id.
    pub(crate) fn with_id(&mut self, id: u32) -> &[u8] {
        let mut left = id;
        let digits = self
            .id_at
            .and_then(|at| self.bytes.get_mut(at..at + DIGITS));
        for digit in digits.unwrap_or_default().iter_mut().rev() {
            *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
            left /= 10;
        }
        &self.bytes
    }
}

/// Digits of an id.
const DIGITS: usize = 10;

/// Makes the requests of one conversation.
#[derive(Clone, Debug)]
pub(crate) struct Script<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) headers: &'a [Header],
    /// `Mcp-Session-Id`, once the gateway has given one.
    pub(crate) session: Option<String>,
}

impl Script<'_> {
    fn request(&self, body: &serde_json::Value) -> Request {
        let body = body.to_string();
        Request::new(self.endpoint, self.headers, self.session.as_deref(), &body)
    }

    pub(crate) fn initialize(&self) -> Request {
        self.request(&json!({
            "jsonrpc": "2.0", "id": FIRST_ID, "method": "initialize",
            "params": {
                "protocolVersion": REVISION,
                "capabilities": {},
                "clientInfo": {"name": "mcp-firewall-bench", "version": env!("CARGO_PKG_VERSION")},
            },
        }))
    }

    pub(crate) fn initialized(&self) -> Request {
        self.request(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
    }

    pub(crate) fn list(&self) -> Request {
        self.request(&json!({"jsonrpc": "2.0", "id": FIRST_ID, "method": "tools/list"}))
    }

    /// A call of `tool` that carries `arguments` bytes of text and asks for `size` bytes.
    pub(crate) fn call(&self, tool: &str, size: usize, arguments: usize) -> Request {
        self.request(&json!({
            "jsonrpc": "2.0", "id": FIRST_ID, "method": "tools/call",
            "params": {
                "name": tool,
                "arguments": {"size": size, "text": prose(arguments, ARGUMENT_SEED)},
            },
        }))
    }
}

const ARGUMENT_SEED: u64 = 2;
const RESULT_SEED: u64 = 1;

/// Everything of the upstream's answer that comes before the id.
pub(crate) const ANSWER_HEAD: &str = r#"{"jsonrpc":"2.0","id":"#;

/// Everything of the answer to a call that comes after the id.
pub(crate) fn answer_tail(size: usize) -> Bytes {
    let text = serde_json::Value::from(prose(size, RESULT_SEED));
    Bytes::from(format!(
        ",\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":{text}}}]}}}}"
    ))
}

/// What the answer to a call has to be.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    size: usize,
    tail: Bytes,
}

impl Expected {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            tail: answer_tail(size),
        }
    }

    /// Whether this answers call `id` with the right text.
    ///
    /// An answer that is the upstream's to the byte is compared, which is quick. One that was written anew by
    /// a gateway, or comes as an event, is read as JSON; its text has to have the right length.
    pub(crate) fn judge(&self, response: &Response, body: &[u8], id: u32) -> Result<(), Flaw> {
        if response.head.status == 200 && self.is_original(body, id) {
            return Ok(());
        }
        let text = json_of(response, body, id)?;
        let answer = Answer::read(&text, id)?;
        let result = answer.result.unwrap_or_default();
        if result.is_error {
            return Err(Flaw::new(Failure::ToolError, &text));
        }
        let length: usize = result.content.iter().map(|part| part.text.len()).sum();
        if length != self.size {
            return Err(Flaw::new(Failure::WrongText, &text));
        }
        Ok(())
    }

    fn is_original(&self, body: &[u8], id: u32) -> bool {
        let Some((digits, tail)) = body
            .strip_prefix(ANSWER_HEAD.as_bytes())
            .and_then(|rest| rest.split_at_checked(DIGITS))
        else {
            return false;
        };
        let number = digits.iter().try_fold(0_u64, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + u64::from(digit - b'0'))
        });
        number == Some(id.into()) && tail == &*self.tail
    }
}

/// The session that an answer to `initialize` opens, if any.
pub(crate) fn judge_initialize(
    response: &Response,
    body: &[u8],
    id: u32,
) -> Result<Option<String>, Flaw> {
    let text = json_of(response, body, id)?;
    Answer::read(&text, id)?;
    Ok(response.head.session.as_deref().map(str::to_owned))
}

/// The name under which `tools/list` shows the upstream's tool: a gateway may put a prefix before it.
pub(crate) fn judge_list(response: &Response, body: &[u8], id: u32) -> Result<String, Flaw> {
    let text = json_of(response, body, id)?;
    let answer = Answer::read(&text, id)?;
    let tools = answer.result.unwrap_or_default().tools;
    let prefixed = |tool: &&Tool<'_>| {
        tool.name
            .strip_suffix(TOOL)
            .is_some_and(|prefix| !prefix.ends_with(char::is_alphanumeric))
    };
    tools
        .iter()
        .find(prefixed)
        .map(|tool| tool.name.clone().into_owned())
        .ok_or_else(|| Flaw::new(Failure::NoTool, &text))
}

/// A notification is accepted, without an answer.
pub(crate) fn judge_notified(response: &Response, body: &[u8]) -> Result<(), Flaw> {
    match response.head.status {
        200 | 202 | 204 => Ok(()),
        _ => Err(Flaw::of_status(response.head.status, body)),
    }
}

/// The JSON of an answer: its body, or the event in it that answers `id`.
fn json_of<'a>(response: &Response, body: &'a [u8], id: u32) -> Result<Cow<'a, str>, Flaw> {
    if response.head.status != 200 {
        return Err(Flaw::of_status(response.head.status, body));
    }
    let text = std::str::from_utf8(body)
        .map_err(|_| Flaw::new(Failure::NotJson, &String::from_utf8_lossy(body)))?;
    if response.head.media != Media::Events {
        return Ok(Cow::Borrowed(text));
    }
    events(text)
        .find(|data| Answer::parse(data).is_some_and(|answer| answer.is_to(id)))
        .ok_or_else(|| Flaw::new(Failure::WrongId, text))
}

/// The data of each server-sent event (WHATWG HTML, section 9.2).
fn events(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut data: Option<Cow<'_, str>> = None;
        for line in lines.by_ref() {
            if line.is_empty() && data.is_some() {
                return data;
            }
            let Some(rest) = line.strip_prefix("data:") else {
                continue;
            };
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            data = Some(match data {
                None => Cow::Borrowed(rest),
                Some(before) => Cow::Owned(format!("{before}\n{rest}")),
            });
        }
        data
    })
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    id: serde_json::Value,
    #[serde(borrow)]
    result: Option<Outcome<'a>>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, default)]
    content: Vec<Part<'a>>,
    #[serde(borrow, default)]
    tools: Vec<Tool<'a>>,
    #[serde(default, rename = "isError")]
    is_error: bool,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl<'a> Answer<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn is_to(&self, id: u32) -> bool {
        self.id == id
    }

    /// An answer to `id` that is no error.
    fn read(text: &'a str, id: u32) -> Result<Self, Flaw> {
        let answer = Self::parse(text).ok_or_else(|| Flaw::new(Failure::NotJson, text))?;
        if answer.error.is_some() {
            return Err(Flaw::new(Failure::RpcError, text));
        }
        if !answer.is_to(id) {
            return Err(Flaw::new(Failure::WrongId, text));
        }
        if answer.result.is_none() {
            return Err(Flaw::new(Failure::NotJson, text));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Reader;

    fn with_response<T>(head: &str, body: &str, judge: impl Fn(&Response, &[u8]) -> T) -> T {
        let text = format!(
            "HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut reader = Reader::default();
        reader.space().unwrap()[..text.len()].copy_from_slice(text.as_bytes());
        reader.filled(text.len());
        let response = reader.poll().unwrap().unwrap();
        judge(&response, reader.body(&response))
    }

    fn verdict(head: &str, body: &str) -> Result<(), Failure> {
        let expected = Expected::new(100);
        with_response(head, body, |response, bytes| {
            expected
                .judge(response, bytes, id(7))
                .map_err(|flaw| flaw.failure)
        })
    }

    fn answer(id: &str, size: usize) -> String {
        let tail = String::from_utf8(answer_tail(size).to_vec()).unwrap();
        format!("{ANSWER_HEAD}{id}{tail}")
    }

    #[test]
    fn the_id_is_the_only_thing_that_changes() {
        let endpoint: Endpoint = "http://127.0.0.1:1/mcp".parse().unwrap();
        let headers = ["X-Key:  abc".parse().unwrap()];
        let script = Script {
            endpoint: &endpoint,
            headers: &headers,
            session: Some("s1".into()),
        };
        let mut call = script.call(TOOL, 1_024, 200);
        let first = String::from_utf8(call.with_id(id(0)).to_vec()).unwrap();
        let second = String::from_utf8(call.with_id(id(1_234_567)).to_vec()).unwrap();
        assert_eq!(first.replace("1000000000", "1001234567"), second);
        assert!(first.contains("\r\nX-Key: abc\r\nMcp-Session-Id: s1\r\nContent-Length: "));
        let (head, body) = first.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["id"], 1_000_000_000);
        let text = body["params"]["arguments"]["text"].as_str().unwrap();
        assert_eq!(text.len(), 200);
    }

    #[test]
    fn ids_keep_their_length_and_fit_an_i32() {
        for number in [0, 1, u64::from(IDS) - 1, u64::from(IDS), u64::MAX] {
            let id = id(number);
            assert_eq!(id.to_string().len(), DIGITS);
            assert!(i32::try_from(id).is_ok());
        }
    }

    #[test]
    fn a_right_answer_is_right_in_any_spelling() {
        let ours = answer("1000000007", 100);
        assert_eq!(verdict("200 OK", &ours), Ok(()));
        let value: serde_json::Value = serde_json::from_str(&ours).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        assert_eq!(verdict("200 OK", &pretty), Ok(()));
        let event = format!(": hello\n\nevent: message\nid: 1\ndata: {ours}\n\n");
        let events = "200 OK\r\ncontent-type: text/event-stream";
        assert_eq!(verdict(events, &event), Ok(()));
    }

    #[test]
    fn a_wrong_answer_is_told_by_its_kind() {
        let error = r#"{"jsonrpc":"2.0","id":1000000007,"error":{"code":1,"message":"no"}}"#;
        let tool = r#"{"jsonrpc":"2.0","id":1000000007,"result":{"content":[],"isError":true}}"#;
        for (head, body, failure) in [
            ("503 Busy", answer("1000000007", 100), Failure::Status),
            ("200 OK", answer("1000000008", 100), Failure::WrongId),
            ("200 OK", answer("\"1000000007\"", 100), Failure::WrongId),
            ("200 OK", answer("1000000007", 99), Failure::WrongText),
            ("200 OK", error.into(), Failure::RpcError),
            ("200 OK", tool.into(), Failure::ToolError),
            ("200 OK", "<html>".into(), Failure::NotJson),
            (
                "200 OK",
                r#"{"jsonrpc":"2.0","id":1000000007}"#.into(),
                Failure::NotJson,
            ),
        ] {
            assert_eq!(verdict(head, &body), Err(failure), "{body}");
        }
    }

    #[test]
    fn the_tool_is_found_behind_a_prefix() {
        let list = r#"{"jsonrpc":"2.0","id":1000000007,"result":{"tools":[{"name":"context"},{"name":"demo_text"}]}}"#;
        let name = |body: &str| {
            with_response("200 OK", body, |response, bytes| {
                judge_list(response, bytes, id(7)).map_err(|flaw| flaw.failure)
            })
        };
        assert_eq!(name(list).unwrap(), "demo_text");
        assert_eq!(name(&list.replace("demo_", "")).unwrap(), "text");
        assert_eq!(name(&list.replace("_text", "")), Err(Failure::NoTool));
    }

    #[test]
    fn headers_cannot_carry_another_line() {
        for bad in ["no colon", ": x", "a b: c", "a: b\r\nc: d"] {
            assert!(bad.parse::<Header>().is_err(), "{bad}");
        }
    }
}
