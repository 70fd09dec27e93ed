//! What makes JSON a JSON-RPC message of MCP.
//!
//! What enters: a parsed frame without duplicate keys. What leaves: the places of its parts and the edits it
//! needs, or the rule it breaks (JSON-RPC 2.0 sections 4 and 5; MCP "Base protocol"). It never looks at what a
//! message asks for.

use std::borrow::Cow;
use std::ops::Range;

use mcpf_model::{Limits, MessageKind, Span};

use crate::edit::Edit;
use crate::names::{self, Level, Likeness};
use crate::refusal::RefusalCode;
use crate::text::{escape, has_control};
use crate::value::{Doc, Kind, Parts, Value};

/// The parts of a message, as places on the tape.
pub(crate) struct Envelope {
    pub(crate) kind: MessageKind,
    pub(crate) id: Option<usize>,
    pub(crate) method: Option<usize>,
    pub(crate) params: Option<usize>,
    pub(crate) arguments: Option<usize>,
    pub(crate) result: Option<usize>,
    pub(crate) error: Option<usize>,
    pub(crate) parts: Parts,
}

/// Reads the envelope of `doc`. Edits are appended in no order.
pub(crate) fn read(
    doc: &Doc<'_>,
    limits: &Limits,
    edits: &mut Vec<Edit>,
) -> Result<Envelope, RefusalCode> {
    let mut reader = Reader { doc, limits, edits };
    let root = doc.value(0);
    if !root.is_object() {
        return Err(RefusalCode::NotAnObject);
    }
    let members = reader.root(root)?;
    reader.version(members.jsonrpc)?;
    let kind = kind(&members)?;
    let id = reader.id_of(kind, members.id)?;
    let mut envelope = Envelope {
        kind,
        id,
        method: members.method,
        params: None,
        arguments: None,
        result: members.result,
        error: members.error,
        parts: Parts::default(),
    };
    match kind {
        MessageKind::Request | MessageKind::Notification => reader.call(&members, &mut envelope)?,
        MessageKind::Response => reader.result(doc.value(members.result.unwrap_or_default()))?,
        MessageKind::Error => reader.error(doc.value(members.error.unwrap_or_default()))?,
    }
    let extent = |at: Option<usize>| at.map_or(0..0, |at| doc.extent(at));
    envelope.parts = Parts {
        params: extent(envelope.params),
        arguments: extent(envelope.arguments),
        result: extent(envelope.result),
        error: extent(envelope.error),
    };
    keys(doc, &envelope.parts.arguments)?;
    Ok(envelope)
}

/// The values of the top-level members.
#[derive(Default)]
struct Members {
    jsonrpc: Option<usize>,
    id: Option<usize>,
    method: Option<usize>,
    params: Option<usize>,
    result: Option<usize>,
    error: Option<usize>,
}

fn kind(members: &Members) -> Result<MessageKind, RefusalCode> {
    match (members.method, members.result, members.error) {
        (Some(_), None, None) if members.id.is_some() => Ok(MessageKind::Request),
        (Some(_), None, None) => Ok(MessageKind::Notification),
        (Some(_), _, _) => Err(RefusalCode::Ambiguous),
        (None, Some(_), Some(_)) => Err(RefusalCode::ResultAndError),
        (None, None, None) => Err(RefusalCode::NotAMessage),
        (None, _, _) if members.params.is_some() => Err(RefusalCode::Ambiguous),
        (None, Some(_), None) => Ok(MessageKind::Response),
        (None, None, Some(_)) => Ok(MessageKind::Error),
    }
}

/// Keys below the protocol's own: no NUL anywhere, and in arguments no control character and no `__proto__`.
fn keys(doc: &Doc<'_>, arguments: &Range<usize>) -> Result<(), RefusalCode> {
    // A control character in a key is an escape, or one of those that JSON lets stand: DEL, and some beyond ASCII.
    let escapes = memchr::memchr(b'\\', doc.frame).is_some();
    if escapes && doc.keys(0..doc.nodes.len()).any(|key| key.contains('\0')) {
        return Err(RefusalCode::ControlInKey);
    }
    let controls = escapes || !doc.frame.is_ascii() || memchr::memchr(0x7f, doc.frame).is_some();
    for key in doc.keys(arguments.clone()) {
        if key == "__proto__" {
            return Err(RefusalCode::ProtoKey);
        }
        if controls && has_control(key) {
            return Err(RefusalCode::ControlInKey);
        }
    }
    Ok(())
}

/// The checks, with what they need at hand.
struct Reader<'d, 'a> {
    doc: &'d Doc<'a>,
    limits: &'d Limits,
    edits: &'d mut Vec<Edit>,
}

impl<'d, 'a> Reader<'d, 'a> {
    fn root(&mut self, root: Value<'_>) -> Result<Members, RefusalCode> {
        let mut found = Members::default();
        let mut members = root.members();
        while let Some((key, value)) = members.next_place() {
            let place = Some(value.place());
            match self.key(key, Level::Envelope)? {
                Some("jsonrpc") => found.jsonrpc = place,
                Some("id") => found.id = place,
                Some("method") => found.method = place,
                Some("params") => found.params = place,
                Some("result") => found.result = place,
                Some("error") => found.error = place,
                _ => return Err(RefusalCode::UnknownMember),
            }
        }
        Ok(found)
    }

    fn version(&mut self, jsonrpc: Option<usize>) -> Result<(), RefusalCode> {
        let at = jsonrpc.ok_or(RefusalCode::BadVersion)?;
        if self.doc.str_at(at) != Some("2.0") {
            return Err(RefusalCode::BadVersion);
        }
        self.canonical(at);
        Ok(())
    }

    /// The id a message of this kind has. Only an error may lack it: its sender may not have been able to read
    /// the request (JSON-RPC 2.0, section 5).
    fn id_of(
        &mut self,
        kind: MessageKind,
        id: Option<usize>,
    ) -> Result<Option<usize>, RefusalCode> {
        let null = id.is_some_and(|at| self.doc.value(at).kind() == Kind::Null);
        match (kind, id) {
            (MessageKind::Error, None) => Ok(None),
            (MessageKind::Error, Some(_)) if null => Ok(None),
            (MessageKind::Response, None) => Err(RefusalCode::MissingId),
            (_, None) => Ok(None),
            (_, Some(at)) => {
                self.id(self.doc.value(at))?;
                Ok(Some(at))
            }
        }
    }

    fn id(&mut self, id: Value<'_>) -> Result<(), RefusalCode> {
        match id.kind() {
            Kind::Number if id.as_integer().is_some() => Ok(()),
            Kind::String => self.name(id),
            _ => Err(RefusalCode::BadId),
        }
    }

    /// A request or notification.
    fn call(&mut self, members: &Members, envelope: &mut Envelope) -> Result<(), RefusalCode> {
        let doc: &'d Doc<'a> = self.doc;
        let method = self.method(members.method)?;
        match envelope.kind {
            MessageKind::Request if names::is_notification(method) => {
                return Err(RefusalCode::NotificationWithId);
            }
            MessageKind::Notification if names::is_request(method) => {
                return Err(RefusalCode::MissingId);
            }
            _ => {}
        }
        let params = members.params.map(|at| doc.value(at));
        match params.map(|params| (params, params.kind())) {
            None => {}
            Some((null, Kind::Null)) => self.remove(doc.value(0), null),
            Some((params, Kind::Object)) => {
                envelope.params = Some(params.place());
                envelope.arguments = self.params(method, params)?;
            }
            Some(_) => return Err(RefusalCode::BadParams),
        }
        let is_targeted = names::target_of(method).is_some() && !names::may_lack_target(method);
        if is_targeted && envelope.params.is_none() {
            return Err(RefusalCode::BadTarget);
        }
        Ok(())
    }

    fn method(&mut self, at: Option<usize>) -> Result<&'a str, RefusalCode> {
        let doc: &'d Doc<'a> = self.doc;
        let value = at.map(|at| doc.value(at)).ok_or(RefusalCode::BadMethod)?;
        match value.as_str() {
            None | Some("") => return Err(RefusalCode::BadMethod),
            Some(_) => self.name(value)?,
        }
        doc.str_at(value.place()).ok_or(RefusalCode::BadMethod)
    }

    /// The parameters; gives the place of the arguments.
    fn params(&mut self, method: &str, params: Value<'_>) -> Result<Option<usize>, RefusalCode> {
        let mut arguments = None;
        let mut target = None;
        let mut members = params.members();
        while let Some((key, value)) = members.next_place() {
            let known = self.key(key, Level::Params)?;
            let kind = value.kind();
            match known {
                Some("name") if kind == Kind::String => self.name(value)?,
                Some("uri") if kind == Kind::String => self.uri(value)?,
                Some("arguments") if kind == Kind::Null && names::takes_arguments(method) => {
                    self.remove(params, value);
                }
                Some("arguments") if kind != Kind::Object && names::takes_arguments(method) => {
                    return Err(RefusalCode::BadArguments);
                }
                Some("arguments") if kind != Kind::Null => arguments = Some(value.place()),
                Some("_meta") => self.level(value, Level::Meta)?,
                Some("ref" | "clientInfo" | "task") => self.level(value, Level::Params)?,
                Some("requestId") if method == "notifications/cancelled" => self.id(value)?,
                _ => {}
            }
            if known.is_some() && known == names::target_of(method) {
                if kind != Kind::String {
                    return Err(RefusalCode::BadTarget);
                }
                target = known;
            }
        }
        if target != names::target_of(method) && !names::may_lack_target(method) {
            return Err(RefusalCode::BadTarget);
        }
        Ok(arguments)
    }

    fn result(&mut self, result: Value<'_>) -> Result<(), RefusalCode> {
        if !result.is_object() {
            return Err(RefusalCode::BadResult);
        }
        let mut members = result.members();
        while let Some((key, value)) = members.next_place() {
            match self.key(key, Level::Result)? {
                Some("_meta") => self.level(value, Level::Meta)?,
                Some("tools" | "prompts" | "resources" | "resourceTemplates") => {
                    for item in value.elements() {
                        self.item(item)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// An entry of a list: what the client will call it by must be plain.
    fn item(&mut self, item: Value<'_>) -> Result<(), RefusalCode> {
        let mut members = item.members();
        while let Some((key, value)) = members.next_place() {
            let known = self.key(key, Level::Item)?;
            match (known, value.kind()) {
                (Some("name"), Kind::String) => self.name(value)?,
                (Some("uri" | "uriTemplate"), Kind::String) => self.uri(value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn error(&mut self, error: Value<'_>) -> Result<(), RefusalCode> {
        self.level(error, Level::Error)?;
        let code = error.get("code").and_then(Value::as_integer);
        let message = error.get("message").and_then(Value::as_str);
        match (code, message) {
            (Some(_), Some(_)) => Ok(()),
            _ => Err(RefusalCode::BadError),
        }
    }

    /// Checks the keys of one object that holds protocol keys; anything but an object passes.
    fn level(&mut self, object: Value<'_>, level: Level) -> Result<(), RefusalCode> {
        let mut members = object.members();
        while let Some((key, _)) = members.next_place() {
            self.key(key, level)?;
        }
        Ok(())
    }

    /// Checks one key where protocol keys live; gives it if it is one.
    fn key(&mut self, at: usize, level: Level) -> Result<Option<&'static str>, RefusalCode> {
        let key = self.doc.str_at(at).unwrap_or_default();
        match names::likeness(key, level) {
            Likeness::Same(known) => {
                self.canonical_as(at, Cow::Borrowed(known));
                Ok(Some(known))
            }
            Likeness::Alike => Err(RefusalCode::KeyCollision),
            Likeness::Other if has_control(key) => Err(RefusalCode::ControlInKey),
            Likeness::Other => Ok(None),
        }
    }

    /// A string others will look things up by.
    fn name(&mut self, value: Value<'_>) -> Result<(), RefusalCode> {
        self.plain(
            value,
            usize::from(self.limits.max_name),
            RefusalCode::NameTooLong,
        )
    }

    fn uri(&mut self, value: Value<'_>) -> Result<(), RefusalCode> {
        self.plain(
            value,
            usize::from(self.limits.max_uri),
            RefusalCode::UriTooLong,
        )
    }

    fn plain(
        &mut self,
        value: Value<'_>,
        most: usize,
        long: RefusalCode,
    ) -> Result<(), RefusalCode> {
        let text = value.as_str().unwrap_or_default();
        if text.len() > most {
            return Err(long);
        }
        if has_control(text) {
            return Err(RefusalCode::ControlInName);
        }
        self.canonical(value.place());
        Ok(())
    }

    /// Respells a string that has escapes and needs none.
    fn canonical(&mut self, at: usize) {
        if self.doc.is_escaped(at) {
            let with = escape(self.doc.str_at(at).unwrap_or_default());
            self.canonical_as(at, Cow::Owned(with));
        }
    }

    fn canonical_as(&mut self, at: usize, with: Cow<'static, str>) {
        if let Some(mark) = self.doc.mark(at)
            && self.doc.frame.get(mark.inside().range()) != Some(with.as_bytes())
        {
            self.edits.push(Edit {
                span: mark.inside(),
                with,
            });
        }
    }

    /// Removes the member of `object` that holds `value`, with one comma.
    fn remove(&mut self, object: Value<'_>, value: Value<'_>) {
        let mut before = None;
        let mut members = object.members();
        while let Some((key, member)) = members.next_place() {
            if member.place() != value.place() {
                before = Some(member.span().end);
                continue;
            }
            let start = self.doc.span_at(key).start;
            let end = member.span().end;
            let span = match (members.next_place(), before) {
                (Some((next, _)), _) => Span {
                    start,
                    end: self.doc.span_at(next).start,
                },
                (None, Some(before)) => Span { start: before, end },
                (None, None) => Span { start, end },
            };
            self.edits.push(Edit {
                span,
                with: Cow::Borrowed(""),
            });
        }
    }
}
