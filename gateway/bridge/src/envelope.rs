//! A message as a transport sees it.
//!
//! Enter: one frame. Leave: the same message on one line, its kind and id, and the places where it names
//! a request, so that these can be respelled. Never: a look at what it asks for.

use std::borrow::Cow;

use bytes::Bytes;
use mcpf_model::{Limits, MessageKind, ReasonCode, RequestId, Span};
use mcpf_wire::{Edit, Message, Parser, Refusal, RefusalCode, Shape, Value, apply};

use crate::answer::spelled;

/// `_meta` of a message that belongs to a subscription (MCP 2026-07-28, "Subscriptions").
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// `_meta` of a message under a revision without sessions (MCP 2026-07-28, "Versioning").
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// An id, and where the message says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) id: RequestId,
    pub(crate) span: Span,
}

/// A message, and what a transport needs of it.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// The message, in the spelling that all readers agree on: no line break in it.
    pub(crate) line: Bytes,
    pub(crate) kind: MessageKind,
    pub(crate) id: Option<Mark>,
    /// Empty in an answer.
    pub(crate) method: Box<str>,
    /// The revision it names: in `_meta`, or as parameter or result of `initialize`.
    pub(crate) version: Option<Box<str>>,
    /// Whether it carries its revision in `_meta`, and so belongs to one without sessions.
    pub(crate) is_modern: bool,
    /// What `_meta` of such a message should have and does not.
    pub(crate) missing: Vec<&'static str>,
    /// What `Mcp-Name` says of it.
    pub(crate) name: Option<Box<str>>,
    /// What its progress is reported under, or the token that it reports under.
    pub(crate) token: Option<Mark>,
    /// The request that it cancels.
    pub(crate) cancels: Option<Mark>,
    /// The `subscriptions/listen` that it belongs to.
    pub(crate) subscription: Option<Mark>,
    /// The result of an answer, or its error.
    pub(crate) outcome: Option<Span>,
    pub(crate) error_code: Option<i64>,
}

impl Envelope {
    /// Whether it answers a request.
    pub(crate) const fn is_answer(&self) -> bool {
        matches!(self.kind, MessageKind::Response | MessageKind::Error)
    }

    pub(crate) fn is_initialize(&self) -> bool {
        self.kind == MessageKind::Request && &*self.method == "initialize" && !self.is_modern
    }

    /// The message with other ids in the places of these.
    pub(crate) fn respelled<'m>(
        &self,
        changes: impl IntoIterator<Item = (&'m Mark, &'m RequestId)>,
    ) -> Bytes {
        let mut edits: Vec<Edit> = changes
            .into_iter()
            .filter(|(mark, id)| mark.id != **id)
            .map(|(mark, id)| Edit {
                span: mark.span,
                with: Cow::Owned(spelled(id)),
            })
            .collect();
        if edits.is_empty() {
            return self.line.clone();
        }
        edits.sort_by_key(|edit| edit.span.start);
        let mut out = Vec::new();
        apply(&self.line, &edits, &mut out);
        out.into()
    }

    /// The bytes of the result or error.
    pub(crate) fn outcome(&self) -> &[u8] {
        self.outcome
            .and_then(|span| self.line.get(span.range()))
            .unwrap_or_default()
    }
}

/// A frame that is not a message as all readers understand it.
#[derive(Clone, Debug)]
pub(crate) struct Odd {
    /// The frame on one line, if it is a JSON object at all: the firewall may judge it.
    pub(crate) line: Option<Bytes>,
    pub(crate) id: Option<RequestId>,
    pub(crate) shape: Shape,
    pub(crate) code: RefusalCode,
}

/// What a frame was read as.
#[derive(Debug)]
pub(crate) enum Reading {
    Message(Envelope),
    Odd(Odd),
}

/// Reads frames. Memory follows the largest of recent times, as [`Parser`] says.
#[derive(Debug)]
pub(crate) struct Reader {
    parser: Parser,
}

impl Reader {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            parser: Parser::new(limits),
        }
    }

    pub(crate) fn read(&mut self, frame: Bytes) -> Reading {
        let respelled = match self.parser.parse(&frame) {
            Ok(message) if message.edits().is_empty() => {
                return Reading::Message(envelope(&message, frame.clone()));
            }
            Ok(message) => {
                let mut line = Vec::new();
                apply(&frame, message.edits(), &mut line);
                line
            }
            Err(refusal) => return Reading::Odd(odd(refusal, &frame)),
        };
        // Read again: the places have moved.
        let line = Bytes::from(respelled);
        match self.parser.parse(&line) {
            Ok(message) => Reading::Message(envelope(&message, line.clone())),
            Err(refusal) => Reading::Odd(odd(refusal, &line)),
        }
    }

    /// The elements of a batch, or the frame itself.
    pub(crate) fn elements(&mut self, frame: Bytes) -> Vec<Bytes> {
        let mut spans = Vec::new();
        if !Parser::is_batch(&frame) || self.parser.split_batch(&frame, &mut spans).is_err() {
            return vec![frame];
        }
        let cut = |span: &Span| {
            let range = span.range();
            (range.end <= frame.len()).then(|| frame.slice(range))
        };
        spans.iter().filter_map(cut).collect()
    }
}

fn envelope(message: &Message<'_>, line: Bytes) -> Envelope {
    let method = message.method().unwrap_or_default();
    let meta = message.meta();
    let token = match method {
        "notifications/progress" => message.params().and_then(|p| p.get("progressToken")),
        _ => meta.and_then(|meta| meta.get("progressToken")),
    };
    let cancels = match method {
        "notifications/cancelled" => message.params().and_then(|p| p.get("requestId")),
        _ => None,
    };
    let id = message.id().zip(message.id_span());
    let is_there = |key| {
        let value = meta.and_then(|meta| meta.get(key));
        value.is_some_and(|value| value.is_object() || (key == VERSION && value.as_str().is_some()))
    };
    let wanted = [VERSION, CAPABILITIES];
    Envelope {
        missing: wanted.into_iter().filter(|key| !is_there(key)).collect(),
        kind: message.kind(),
        id: id.map(|(id, span)| Mark {
            id: id.to_owned(),
            span,
        }),
        method: method.into(),
        version: message.protocol_version().map(Box::from),
        is_modern: meta.is_some_and(|meta| meta.get(VERSION).is_some()),
        name: name(message, method),
        token: token.and_then(mark),
        cancels: cancels.and_then(mark),
        subscription: meta.and_then(|m| m.get(SUBSCRIPTION)).and_then(mark),
        outcome: message
            .result()
            .or_else(|| message.error())
            .map(Value::span),
        error_code: message.error_code(),
        line,
    }
}

/// What `Mcp-Name` is made of (MCP 2026-07-28, "Streamable HTTP").
fn name(message: &Message<'_>, method: &str) -> Option<Box<str>> {
    let key = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return None,
    };
    let text = message.params()?.get(key)?.as_str()?;
    Some(text.into())
}

fn mark(value: Value<'_>) -> Option<Mark> {
    let id = match (value.as_integer(), value.as_str()) {
        (Some(n), _) => RequestId::Number(n),
        (None, Some(text)) => RequestId::String(text.into()),
        (None, None) => return None,
    };
    Some(Mark {
        id,
        span: value.span(),
    })
}

fn odd(refusal: Refusal, frame: &Bytes) -> Odd {
    let is_object = frame.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let is_json =
        refusal.code.reason() != ReasonCode::Malformed && refusal.code != RefusalCode::TooLarge;
    Odd {
        line: (is_object && is_json).then(|| one_line(frame)),
        id: refusal.id.known().cloned(),
        shape: refusal.shape,
        code: refusal.code,
    }
}

/// JSON allows no line break inside a string: each one found stands between tokens.
fn one_line(frame: &Bytes) -> Bytes {
    let is_break = |b: &u8| matches!(b, b'\r' | b'\n');
    if !frame.iter().any(is_break) {
        return frame.clone();
    }
    frame
        .iter()
        .map(|b| if is_break(b) { b' ' } else { *b })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(frame: &'static str) -> Reading {
        Reader::new(&Limits::default()).read(Bytes::from_static(frame.as_bytes()))
    }

    fn message(frame: &'static str) -> Envelope {
        match read(frame) {
            Reading::Message(envelope) => envelope,
            Reading::Odd(odd) => panic!("{odd:?}"),
        }
    }

    #[test]
    fn every_place_that_names_a_request_can_be_respelled() {
        let request = message(
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t","_meta":{"progressToken":7}}}"#,
        );
        let id = RequestId::Number(1);
        let (Some(own), Some(token)) = (&request.id, &request.token) else {
            panic!("{request:?}");
        };
        assert_eq!(
            request.respelled([(token, &id), (own, &id)]),
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":1}}}"#
        );
        assert_eq!(request.name.as_deref(), Some("t"));

        let note = message(
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#,
        );
        let cancels = note.cancels.clone().unwrap();
        assert_eq!(cancels.id, RequestId::String("a".into()));
        let tagged = message(
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":3}}}"#,
        );
        let two = RequestId::String("x\"".into());
        assert_eq!(
            tagged.respelled([(tagged.subscription.as_ref().unwrap(), &two)]),
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"x\""}}}"#
        );
    }

    #[test]
    fn a_message_on_several_lines_becomes_one() {
        let pretty = message("{\n  \"jsonrpc\": \"2.0\",\r\n  \"id\": 1,\n  \"result\": {}\n}");
        assert!(!pretty.line.iter().any(|b| matches!(b, b'\r' | b'\n')));
        let id = pretty.id.clone().unwrap();
        let at = pretty.line.get(id.span.range()).unwrap();
        assert_eq!(at, b"1");
        let Reading::Odd(odd) = read("{\"jsonrpc\":\"2.0\",\n\"id\":1,\"result\":{},\"x\":1}")
        else {
            panic!("an unknown member was let in");
        };
        assert_eq!(
            odd.line.unwrap(),
            "{\"jsonrpc\":\"2.0\", \"id\":1,\"result\":{},\"x\":1}"
        );
        assert_eq!(odd.id, Some(RequestId::Number(1)));
    }

    #[test]
    fn what_is_no_object_is_not_passed_on() {
        for frame in [
            "listening on port 1",
            "[]",
            "7",
            "{\"a\":",
            "{\"a\":\"\u{1}\"}",
        ] {
            match read(frame) {
                Reading::Odd(odd) => assert_eq!(odd.line, None, "{frame}"),
                Reading::Message(_) => panic!("{frame}"),
            }
        }
    }

    #[test]
    fn a_batch_is_cut_into_its_messages() {
        let mut reader = Reader::new(&Limits::default());
        let cut = |reader: &mut Reader, frame: &'static str| {
            reader.elements(Bytes::from_static(frame.as_bytes()))
        };
        assert_eq!(cut(&mut reader, " [{\"a\":1}, {}]"), ["{\"a\":1}", "{}"]);
        assert_eq!(cut(&mut reader, "{\"a\":1}"), ["{\"a\":1}"]);
        assert_eq!(cut(&mut reader, "[{]"), ["[{]"]);
    }
}
