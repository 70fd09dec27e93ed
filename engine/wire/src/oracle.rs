//! The slow twin: the same rules, written the plain way.
//!
//! What enters: a frame. What leaves: whether the fast parser and this one agree on it, and if not, on what.
//! It recurses, copies and compares everything with everything; nothing here is fit for traffic. Property
//! tests and fuzz targets call [`check`].

pub mod framing;
pub mod sse;

use std::fmt::Debug;

use mcpf_model::{Limits, MessageKind, RequestId};

use crate::names::{
    fold, is_notification, is_request, may_lack_target, takes_arguments, target_of,
};
use crate::text::{has_control, plain_integer, unescape};
use crate::{Parser, Place, apply};

/// A JSON value, kept as it was spelled where that matters.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// The text of a number.
    Number(String),
    /// The decoded text of a string.
    String(String),
    /// The elements of an array.
    Array(Vec<Json>),
    /// The members of an object, in order.
    Object(Vec<(String, Json)>),
}

impl Json {
    fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    fn str(&self) -> Option<&str> {
        match self {
            Self::String(s) => Some(s),
            _ => None,
        }
    }

    fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }
}

/// What the twin read in a message.
#[derive(Debug, PartialEq)]
pub struct Reading {
    /// Its kind.
    pub kind: MessageKind,
    /// Its id.
    pub id: Option<RequestId>,
    /// Its method.
    pub method: Option<String>,
    /// The whole value, members that count as absent removed.
    pub value: Json,
    /// Every string with whether it is a key, in order, as it came.
    pub strings: Vec<(String, bool)>,
}

/// Holds the fast parser to the twin on one frame.
///
/// # Errors
///
/// What they disagree on.
pub fn check(frame: &[u8], limits: &Limits) -> Result<(), String> {
    let mut parser = Parser::new(limits);
    let message = match (parser.parse(frame), read(frame, limits)) {
        (Err(_), None) => return Ok(()),
        (Err(refusal), Some(_)) => {
            return Err(format!("only the twin accepts: {}", refusal.code.as_str()));
        }
        (Ok(_), None) => return Err("only the fast parser accepts".to_owned()),
        (Ok(message), Some(reading)) => {
            same("kind", &message.kind(), &reading.kind)?;
            same(
                "method",
                &message.method().map(str::to_owned),
                &reading.method,
            )?;
            same("id", &message.id().map(|id| id.to_owned()), &reading.id)?;
            let strings: Vec<_> = message
                .strings()
                .map(|leaf| (leaf.text.to_owned(), leaf.is_key))
                .collect();
            same("strings", &strings, &reading.strings)?;
            for leaf in message.strings() {
                let raw = frame.get(leaf.raw.range()).and_then(unescape);
                same("raw", &raw.as_deref(), &Some(leaf.text))?;
            }
            let mut out = Vec::new();
            apply(frame, message.edits(), &mut out);
            (
                out,
                reading,
                message.edits().is_empty(),
                places(message.strings().map(|leaf| leaf.place)),
            )
        }
    };
    let (out, reading, untouched, places) = message;
    if !places {
        return Err("the parts of the message are interleaved".to_owned());
    }
    same("untouched", &untouched, &(out == frame))?;
    canonical(&out, &reading, limits)
}

/// The forwarded bytes: one line, the same value, nothing left to respell.
fn canonical(out: &[u8], reading: &Reading, limits: &Limits) -> Result<(), String> {
    let text = String::from_utf8_lossy(out);
    if text.contains(['\r', '\n', '\u{85}', '\u{2028}', '\u{2029}']) {
        return Err("a line break is left".to_owned());
    }
    // Escapes take room: the canonical spelling may exceed a limit that the original met.
    let limits = Limits {
        max_frame: mcpf_model::ByteSize(u32::MAX),
        ..*limits
    };
    let again = read(out, &limits).ok_or("the edited frame is refused")?;
    same("edited value", &again.value, &reading.value)?;
    match Parser::new(&limits).parse(out) {
        Ok(message) if message.edits().is_empty() => Ok(()),
        Ok(_) => Err("the edited frame needs edits".to_owned()),
        Err(refusal) => Err(format!(
            "the edited frame is refused: {}",
            refusal.code.as_str()
        )),
    }
}

/// Each part of a message is one piece.
fn places(places: impl Iterator<Item = Place>) -> bool {
    let mut seen: Vec<Place> = places
        .filter(|p| !matches!(p, Place::Envelope | Place::Params))
        .collect();
    seen.dedup();
    let runs = seen.len();
    seen.sort_by_key(|p| *p as u8);
    seen.dedup();
    seen.len() == runs
}

fn same<T: PartialEq + Debug>(what: &str, fast: &T, slow: &T) -> Result<(), String> {
    if fast == slow {
        Ok(())
    } else {
        Err(format!("{what}: fast {fast:?}, slow {slow:?}"))
    }
}

/// Reads a frame the slow way. `None` if it is refused.
#[must_use]
pub fn read(frame: &[u8], limits: &Limits) -> Option<Reading> {
    if frame.len() > limits.max_frame.bytes() {
        return None;
    }
    let mut json = Reader {
        text: std::str::from_utf8(frame).ok()?,
        limits,
        nodes: 0,
        strings: Vec::new(),
    };
    json.spaces();
    let value = json.value(0)?;
    json.spaces();
    if !json.text.is_empty() || json.nodes > limits.max_nodes {
        return None;
    }
    let strings = json.strings;
    let mut reading = message(value, limits)?;
    reading.strings = strings;
    Some(reading)
}

fn message(mut value: Json, limits: &Limits) -> Option<Reading> {
    keys(
        &value,
        ["jsonrpc", "id", "method", "params", "result", "error"].as_slice(),
    )?;
    let known = |(key, _): &(String, Json)| {
        matches!(
            &**key,
            "jsonrpc" | "id" | "method" | "params" | "result" | "error"
        )
    };
    let Json::Object(members) = &value else {
        return None;
    };
    let has = |key| value.get(key).is_some();
    if !members.iter().all(known) || value.get("jsonrpc")?.str()? != "2.0" || has_nul_key(&value) {
        return None;
    }
    let id = match value.get("id") {
        None => None,
        Some(Json::Null) if has("error") => None,
        Some(id) => Some(read_id(id, limits)?),
    };
    let method = match value.get("method") {
        None => None,
        Some(method) => Some(
            name(method.str()?, limits)
                .filter(|m| !m.is_empty())?
                .to_owned(),
        ),
    };
    let kind = match (&method, has("result"), has("error"), id.is_some()) {
        (Some(_), false, false, true) => MessageKind::Request,
        (Some(_), false, false, false) => MessageKind::Notification,
        (None, true, false, true) if !has("params") => MessageKind::Response,
        (None, false, true, _) if !has("params") => MessageKind::Error,
        _ => return None,
    };
    match kind {
        MessageKind::Request | MessageKind::Notification => {
            let method = method.as_deref()?;
            if is_notification(method) == id.is_some()
                && (is_notification(method) || is_request(method))
            {
                return None;
            }
            params(method, &mut value, limits)?;
        }
        MessageKind::Response => result(value.get("result")?, limits)?,
        MessageKind::Error => {
            let error = value.get("error")?;
            keys(error, &["code", "message", "data"])?;
            integer(error.get("code")?)?;
            error.get("message")?.str()?;
        }
    }
    Some(Reading {
        kind,
        id,
        method,
        value,
        strings: Vec::new(),
    })
}

fn params(method: &str, message: &mut Json, limits: &Limits) -> Option<()> {
    let Json::Object(members) = message else {
        return None;
    };
    members.retain(|(key, value)| key != "params" || *value != Json::Null);
    let Some((_, params)) = members.iter_mut().find(|(key, _)| key == "params") else {
        return (target_of(method).is_none() || may_lack_target(method)).then_some(());
    };
    let table = crate::names::Level::Params.keys();
    keys(params, table)?;
    if let Json::Object(members) = params
        && takes_arguments(method)
    {
        members.retain(|(key, value)| key != "arguments" || *value != Json::Null);
    }
    if !matches!(params, Json::Object(_)) {
        return None;
    }
    let text = |key| params.get(key).and_then(Json::str);
    if text("name").is_some_and(|n| name(n, limits).is_none())
        || text("uri").is_some_and(|u| uri(u, limits).is_none())
    {
        return None;
    }
    if let Some(target) = target_of(method)
        && text(target).is_none()
        && (params.get(target).is_some() || !may_lack_target(method))
    {
        return None;
    }
    for (key, level) in [
        ("_meta", crate::names::Level::Meta.keys()),
        ("ref", table),
        ("clientInfo", table),
        ("task", table),
    ] {
        if let Some(object @ Json::Object(_)) = params.get(key) {
            keys(object, level)?;
        }
    }
    if method == "notifications/cancelled"
        && let Some(id) = params.get("requestId")
    {
        read_id(id, limits)?;
    }
    match params.get("arguments") {
        Some(Json::Object(_)) | None => {}
        Some(_) if takes_arguments(method) => return None,
        Some(_) => {}
    }
    params
        .get("arguments")
        .is_none_or(|arguments| !has_odd_key(arguments))
        .then_some(())
}

fn result(result: &Json, limits: &Limits) -> Option<()> {
    keys(result, crate::names::Level::Result.keys())?;
    if let Some(meta @ Json::Object(_)) = result.get("_meta") {
        keys(meta, crate::names::Level::Meta.keys())?;
    }
    for list in ["tools", "prompts", "resources", "resourceTemplates"] {
        let Some(Json::Array(items)) = result.get(list) else {
            continue;
        };
        for item in items.iter().filter(|item| matches!(item, Json::Object(_))) {
            keys(item, crate::names::Level::Item.keys())?;
            let text = |key| item.get(key).and_then(Json::str);
            let odd = text("name").is_some_and(|n| name(n, limits).is_none())
                || ["uri", "uriTemplate"]
                    .iter()
                    .any(|k| text(k).is_some_and(|u| uri(u, limits).is_none()));
            if odd {
                return None;
            }
        }
    }
    Some(())
}

/// The keys of one object: every one is a known one to the letter, or nothing like one and plain.
fn keys(object: &Json, table: &[&str]) -> Option<()> {
    let Json::Object(members) = object else {
        return None;
    };
    members
        .iter()
        .all(|(key, _)| {
            table.contains(&&**key)
                || !(has_control(key) || table.iter().any(|known| fold(known) == fold(key)))
        })
        .then_some(())
}

fn has_nul_key(value: &Json) -> bool {
    match value {
        Json::Array(elements) => elements.iter().any(has_nul_key),
        _ => value
            .members()
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul_key(value)),
    }
}

fn has_odd_key(value: &Json) -> bool {
    match value {
        Json::Array(elements) => elements.iter().any(has_odd_key),
        _ => value
            .members()
            .iter()
            .any(|(k, v)| k == "__proto__" || has_control(k) || has_odd_key(v)),
    }
}

fn read_id(id: &Json, limits: &Limits) -> Option<RequestId> {
    match id {
        Json::String(text) => name(text, limits).map(|text| RequestId::String(text.into())),
        _ => integer(id).map(RequestId::Number),
    }
}

fn integer(value: &Json) -> Option<i64> {
    match value {
        Json::Number(text) => plain_integer(text.as_bytes()),
        _ => None,
    }
}

fn name<'t>(text: &'t str, limits: &Limits) -> Option<&'t str> {
    (text.len() <= usize::from(limits.max_name) && !has_control(text)).then_some(text)
}

fn uri<'t>(text: &'t str, limits: &Limits) -> Option<&'t str> {
    (text.len() <= usize::from(limits.max_uri) && !has_control(text)).then_some(text)
}

/// A recursive reader of RFC 8259, and not a byte more.
struct Reader<'t> {
    text: &'t str,
    limits: &'t Limits,
    nodes: u32,
    strings: Vec<(String, bool)>,
}

impl<'t> Reader<'t> {
    fn spaces(&mut self) {
        self.text = self.text.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn eat(&mut self, token: &str) -> Option<()> {
        self.text = self.text.strip_prefix(token)?;
        Some(())
    }

    fn value(&mut self, depth: u16) -> Option<Json> {
        self.nodes = self.nodes.checked_add(1)?;
        match self.text.bytes().next()? {
            b'"' => self.string(false).map(Json::String),
            b'{' | b'[' if depth >= self.limits.max_depth => None,
            b'{' => self.object(depth.checked_add(1)?),
            b'[' => self.array(depth.checked_add(1)?),
            b't' => self.eat("true").map(|()| Json::Bool(true)),
            b'f' => self.eat("false").map(|()| Json::Bool(false)),
            b'n' => self.eat("null").map(|()| Json::Null),
            _ => self.number().map(Json::Number),
        }
    }

    fn object(&mut self, depth: u16) -> Option<Json> {
        let mut members: Vec<(String, Json)> = Vec::new();
        self.eat("{")?;
        self.spaces();
        if self.eat("}").is_some() {
            return Some(Json::Object(members));
        }
        loop {
            self.spaces();
            self.nodes = self.nodes.checked_add(1)?;
            let key = self.string(true)?;
            self.spaces();
            self.eat(":")?;
            self.spaces();
            let value = self.value(depth)?;
            self.spaces();
            if members.iter().any(|(other, _)| *other == key) {
                return None;
            }
            members.push((key, value));
            if self.eat(",").is_none() {
                self.eat("}")?;
                return Some(Json::Object(members));
            }
        }
    }

    fn array(&mut self, depth: u16) -> Option<Json> {
        let mut elements = Vec::new();
        self.eat("[")?;
        self.spaces();
        if self.eat("]").is_some() {
            return Some(Json::Array(elements));
        }
        loop {
            self.spaces();
            elements.push(self.value(depth)?);
            self.spaces();
            if self.eat(",").is_none() {
                self.eat("]")?;
                return Some(Json::Array(elements));
            }
        }
    }

    fn string(&mut self, is_key: bool) -> Option<String> {
        self.eat("\"")?;
        let mut escaped = false;
        let end = self.text.bytes().position(|b| {
            let ends = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        })?;
        let (raw, rest) = self.text.split_at_checked(end)?;
        let text = unescape(raw.as_bytes())?;
        self.text = rest;
        self.eat("\"")?;
        self.strings.push((text.clone(), is_key));
        Some(text)
    }

    fn digits(&mut self) -> Option<()> {
        let rest = self.text.trim_start_matches(|c: char| c.is_ascii_digit());
        let some = rest.len() < self.text.len();
        self.text = rest;
        some.then_some(())
    }

    fn number(&mut self) -> Option<String> {
        let start: &'t str = self.text;
        let _ = self.eat("-");
        if self.eat("0").is_none() {
            self.digits()?;
        }
        if self.eat(".").is_some() {
            self.digits()?;
        }
        if self.eat("e").or_else(|| self.eat("E")).is_some() {
            let _ = self.eat("+").or_else(|| self.eat("-"));
            self.digits()?;
        }
        let text = start.get(..start.len().checked_sub(self.text.len())?)?;
        text.parse::<f64>().ok().filter(|n| n.is_finite())?;
        Some(text.to_owned())
    }
}
