//! Frames around a haystack: a `tools/call`, or the answer to one.

use std::fmt::Write as _;

use crate::definition::Size;
use crate::haystack::{Haystack, generate_from};

/// What carries a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The arguments of a `tools/call`.
    Call,
    /// The result of one.
    Result,
}

/// The id of every call and answer here.
pub(crate) const ID: i64 = 17;

/// A frame of about `size` bytes, never more, around the text made from `seed`.
#[must_use]
pub fn frame(haystack: Haystack, size: Size, carrier: Carrier, seed: u64) -> String {
    let (head, tail) = match carrier {
        Carrier::Call => (
            format!(
                r#"{{"jsonrpc":"2.0","id":{ID},"method":"tools/call","params":{{"name":"search_notes","arguments":{{"path":"notes/today.md","body":"#
            ),
            "}}}",
        ),
        Carrier::Result => (
            format!(r#"{{"jsonrpc":"2.0","id":{ID},"result":{{"content":[{{"type":"text","text":"#),
            r#"}],"isError":false}}"#,
        ),
    };
    let room = size.0.saturating_sub(head.len() + tail.len());
    let mut frame = head;
    match (haystack, carrier) {
        (Haystack::Json, Carrier::Call) => structured(room, seed, &mut frame),
        _ => {
            frame.push('"');
            spell(haystack, room.saturating_sub(2), seed, &mut frame);
            frame.push('"');
        }
    }
    frame.push_str(tail);
    frame
}

/// As many records as fit into `room` bytes, as an array.
fn structured(room: usize, seed: u64, frame: &mut String) {
    let text = generate_from(Haystack::Json, room.saturating_sub(2), seed);
    let whole = text
        .rfind("},")
        .map_or("", |at| text.get(..=at).unwrap_or(""));
    frame.push('[');
    frame.push_str(whole);
    frame.push(']');
}

/// As much of a text as fits into `room` bytes once it is escaped.
fn spell(haystack: Haystack, room: usize, seed: u64, frame: &mut String) {
    let text = generate_from(haystack, room, seed);
    let mut left = room;
    let mut piece = String::new();
    for character in text.chars() {
        piece.clear();
        if haystack == Haystack::Escapes {
            let _infallible = write!(piece, "\\u{:04x}", u32::from(character));
        } else {
            escape(character.encode_utf8(&mut [0; 4]), &mut piece);
        }
        let Some(less) = left.checked_sub(piece.len()) else {
            return;
        };
        left = less;
        frame.push_str(&piece);
    }
}

/// Appends `text` as it stands between the quotes of a JSON string.
pub(crate) fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
}
