//! Reading the id of a frame that was refused.
//!
//! What enters: bytes that may not even be JSON, or only the front of a line. What leaves: the id they can
//! be answered under, if exactly one stands at the top level, and the shape of the message. It never trusts
//! what it cannot follow: at the first top-level byte that is out of place it gives the id up.

use mcpf_model::{Limits, RequestId};

use crate::names;
use crate::refusal::{IdOfRefused, Refusal, RefusalCode, Shape};
use crate::text::{has_control, is_space, plain_integer, unescape};

/// A refusal of a whole frame.
pub(crate) fn refuse(code: RefusalCode, frame: &[u8], limits: &Limits) -> Refusal {
    build(code, &scan(frame, limits))
}

/// A refusal of a frame of which only the first bytes were kept.
pub(crate) fn refuse_head(code: RefusalCode, head: &[u8], limits: &Limits) -> Refusal {
    refuse(code, head, limits)
}

/// Whether one object ends before the frame does.
pub(crate) fn has_trailing(frame: &[u8], limits: &Limits) -> bool {
    scan(frame, limits).end == End::Trailing
}

fn build(code: RefusalCode, found: &Found) -> Refusal {
    let followed = matches!(found.end, End::Closed | End::Cut);
    let id = match (&found.id, found.ids) {
        (Some(id), 1) if followed => IdOfRefused::Known(id.clone()),
        _ => IdOfRefused::Unknown,
    };
    let shape = match (found.methods > 0, found.outcomes > 0, found.ids > 0) {
        _ if !followed => Shape::Unknown,
        (true, false, true) => Shape::Request,
        // Cut off before an id was seen: it may have been a request.
        (true, false, false) if found.end == End::Closed => Shape::Notification,
        (false, true, _) => Shape::Response,
        _ => Shape::Unknown,
    };
    let method = found.method.clone().filter(|_| found.methods == 1);
    Refusal {
        code,
        id,
        shape,
        method,
    }
}

/// How far the top level could be followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// To the closing brace, and nothing follows.
    Closed,
    /// To the closing brace, but something follows.
    Trailing,
    /// To the end of the bytes.
    Cut,
    /// To a byte that is out of place, or it is not an object.
    Lost,
}

struct Found {
    end: End,
    ids: u32,
    id: Option<RequestId>,
    methods: u32,
    method: Option<String>,
    outcomes: u32,
}

fn scan(frame: &[u8], limits: &Limits) -> Found {
    let mut found = Found {
        end: End::Lost,
        ids: 0,
        id: None,
        methods: 0,
        method: None,
        outcomes: 0,
    };
    let bytes = frame.strip_prefix(b"\xef\xbb\xbf").unwrap_or(frame);
    let mut cursor = Cursor { bytes, at: 0 };
    cursor.skip_spaces();
    found.end = if cursor.eat(b'{') {
        members(&mut cursor, &mut found, limits)
    } else {
        End::Lost
    };
    if found.end == End::Closed {
        cursor.skip_spaces();
        if cursor.peek().is_some() {
            found.end = End::Trailing;
        }
    }
    found
}

/// Walks the members of the top-level object whose brace was eaten.
fn members(cursor: &mut Cursor<'_>, found: &mut Found, limits: &Limits) -> End {
    loop {
        cursor.skip_spaces();
        match cursor.peek() {
            None => return End::Cut,
            Some(b'}') => {
                cursor.bump();
                return End::Closed;
            }
            Some(b'"') => {}
            Some(_) => return End::Lost,
        }
        let Some(key) = cursor.string() else {
            return End::Cut;
        };
        cursor.skip_spaces();
        match cursor.peek() {
            None => return End::Cut,
            Some(b':') => cursor.bump(),
            Some(_) => return End::Lost,
        }
        cursor.skip_spaces();
        let value = cursor.value();
        // A value that is cut off still tells the shape.
        member(key, value.unwrap_or_default(), found, limits);
        if value.is_none() {
            return End::Cut;
        }
        cursor.skip_spaces();
        match cursor.peek() {
            None => return End::Cut,
            Some(b',') => cursor.bump(),
            Some(b'}') => {}
            Some(_) => return End::Lost,
        }
    }
}

fn member(key: &[u8], value: &[u8], found: &mut Found, limits: &Limits) {
    // A key that is not even a string could be read as anything by a lenient parser: it counts as an id.
    let folded = unescape(key).map(|key| names::fold(&key));
    match folded.as_deref() {
        Some("id") => {
            found.ids = found.ids.saturating_add(1);
            // Spelled otherwise it is a second name for the id: never answered under.
            found.id = id_of(value, limits).filter(|_| unescape(key).as_deref() == Some("id"));
        }
        Some("method") => {
            found.methods = found.methods.saturating_add(1);
            found.method = string_of(value, limits);
        }
        Some("result" | "error") => found.outcomes = found.outcomes.saturating_add(1),
        Some(_) => {}
        None => {
            found.ids = found.ids.saturating_add(2);
        }
    }
}

fn id_of(value: &[u8], limits: &Limits) -> Option<RequestId> {
    match plain_integer(value) {
        Some(n) => Some(RequestId::Number(n)),
        None => string_of(value, limits).map(|s| RequestId::String(s.into())),
    }
}

fn string_of(value: &[u8], limits: &Limits) -> Option<String> {
    let raw = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let text = unescape(raw)?;
    (text.len() <= usize::from(limits.max_name) && !has_control(&text)).then_some(text)
}

/// A place in bytes that need not be JSON. Every step moves forward.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn bump(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.bump();
        }
        there
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.bump();
        }
    }

    fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// The inside of the string that starts here. `None` if it does not end.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.bump();
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..)?;
            self.at = self.at.saturating_add(memchr::memchr2(b'"', b'\\', rest)?);
            if self.peek()? == b'"' {
                let inside = self.since(start);
                self.bump();
                return Some(inside);
            }
            self.at = self.at.saturating_add(2);
        }
    }

    /// The value that starts here, quotes and brackets included. `None` if it does not end.
    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        match self.peek()? {
            b'"' => {
                self.string()?;
            }
            b'{' | b'[' => self.container()?,
            _ => {
                while !self
                    .peek()
                    .is_none_or(|b| is_space(b) || matches!(b, b',' | b'}' | b']'))
                {
                    self.bump();
                }
                // Without a delimiter the rest of the number may be missing.
                self.peek()?;
            }
        }
        Some(self.since(start))
    }

    /// Skips to the bracket that matches the one here. Which kind closes which does not matter: such a frame
    /// is not JSON, and is only walked for its id.
    fn container(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth = depth.saturating_add(1),
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.bump();
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(frame: &str) -> (Option<String>, Shape, Option<String>) {
        let refusal = refuse(RefusalCode::NotJson, frame.as_bytes(), &Limits::default());
        (
            refusal.id.known().map(ToString::to_string),
            refusal.shape,
            refusal.method,
        )
    }

    #[test]
    fn one_plain_id_is_read() {
        let method = Some("m".to_owned());
        assert_eq!(
            read(r#"{"id":7,"method":"m","params":{"x":NaN}}"#),
            (Some("7".into()), Shape::Request, method.clone())
        );
        assert_eq!(
            read(r#"{"method":"m","params":{"id":3}}"#),
            (None, Shape::Notification, method)
        );
        assert_eq!(
            read(r#"{"id":"a\u0062","result":[}"#),
            (Some("\"ab\"".into()), Shape::Response, None)
        );
        assert_eq!(
            read(r#"{"id":7,"result":{"t":"cut off"#),
            (Some("7".into()), Shape::Response, None)
        );
    }

    #[test]
    fn anything_doubtful_has_no_id() {
        for frame in [
            r#"{"id":7,"id":7,"method":"m"}"#,
            r#"{"id":7,"ID":8,"method":"m"}"#,
            r#"{"Id":8,"method":"m"}"#,
            r#"{"id":7.0,"method":"m"}"#,
            r#"{"id":null,"method":"m"}"#,
            r#"{"id":7,"method":"m"} {"id":8}"#,
            r#"{"id":7,"method":"m",/*"#,
            r#"{"id":1234"#,
            r#"[{"id":7}]"#,
            r#"{"id":7,"i\x64":8}"#,
            "",
            "\"id\"",
        ] {
            assert_eq!(read(frame).0, None, "{frame}");
        }
    }

    #[test]
    fn an_escaped_id_key_is_the_id() {
        assert_eq!(read(r#"{"\u0069d":7,"method":"m"}"#).0, Some("7".into()));
    }
}
