//! Writes one JSON object, member by member, straight into a byte buffer.
//!
//! Names and values enter; JSON that is safe to `cat` leaves: everything a terminal or a person's eye
//! could be tricked with (control, bidirectional, zero-width, tag and line-separator characters) is
//! a `\u` escape. It never reorders, and it never writes more of a string than its limit.

use serde::de::IgnoredAny;

/// An object being written. Members come out in the order of the calls.
pub(crate) struct Object<'b> {
    out: &'b mut Vec<u8>,
    first: bool,
    clipped: Vec<&'static str>,
}

impl<'b> Object<'b> {
    /// Writes `{`.
    pub(crate) fn open(out: &'b mut Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            out,
            first: true,
            clipped: Vec::new(),
        }
    }

    /// Writes the comma, the name and the colon, and gives the buffer for the value.
    pub(crate) fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        push_string(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str, value: u64) {
        let out = self.key(name);
        push_number(out, value);
    }

    /// A truth value.
    pub(crate) fn boolean(&mut self, name: &str, value: bool) {
        self.key(name)
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A string of our own, short and known.
    pub(crate) fn word(&mut self, name: &str, value: &str) {
        let out = self.key(name);
        push_string(out, value);
    }

    /// A string from elsewhere, cut after `limit` bytes; a cut is remembered under `name`.
    pub(crate) fn text(&mut self, name: &'static str, value: &str, limit: usize) {
        let kept = clip(value, limit);
        if kept.len() < value.len() {
            self.clipped.push(name);
        }
        let out = self.key(name);
        push_string(out, kept);
    }

    /// Like [`Self::text`], or nothing at all.
    pub(crate) fn maybe(&mut self, name: &'static str, value: Option<&str>, limit: usize) {
        if let Some(value) = value {
            self.text(name, value, limit);
        }
    }

    /// Notes that the member `name` was cut.
    pub(crate) fn note_clipped(&mut self, name: &'static str) {
        self.clipped.push(name);
    }

    /// Writes `truncated`, the names of the members that were cut, if any was.
    pub(crate) fn truncated(&mut self) {
        if self.clipped.is_empty() {
            return;
        }
        let names = std::mem::take(&mut self.clipped);
        let out = self.key("truncated");
        push_list(out, b'[', b']', &names, |out, name| push_string(out, name));
    }

    /// Writes `}`.
    pub(crate) fn close(self) {
        self.out.push(b'}');
    }
}

/// Writes `items` between `open` and `close`, comma-separated.
pub(crate) fn push_list<T>(
    out: &mut Vec<u8>,
    open: u8,
    close: u8,
    items: &[T],
    mut each: impl FnMut(&mut Vec<u8>, &T),
) {
    out.push(open);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(out, item);
    }
    out.push(close);
}

/// Appends a decimal number.
pub(crate) fn push_number(out: &mut Vec<u8>, value: u64) {
    let mut scale = 1_u64;
    while value / scale >= 10 {
        scale *= 10;
    }
    while scale > 0 {
        out.push(b'0' + u8::try_from(value / scale % 10).unwrap_or(0));
        scale /= 10;
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text, |c| match c {
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        '\n' => Some("\\n"),
        '\r' => Some("\\r"),
        '\t' => Some("\\t"),
        _ => None,
    });
    out.push(b'"');
}

/// Appends `text` as it is, if it is one JSON value; hidden characters become escapes and line
/// ends become spaces, which leaves the value the same. Says whether it was.
pub(crate) fn push_value(out: &mut Vec<u8>, text: &str) -> bool {
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return false;
    }
    // In valid JSON a raw control character is white space between tokens, and a character beyond
    // ASCII stands inside a string, where an escape means the same.
    push_escaped(
        out,
        text.trim_matches([' ', '\n', '\r', '\t']),
        |c| match c {
            '\n' | '\r' | '\t' => Some(" "),
            _ => None,
        },
    );
    true
}

/// Whether `c` shows as nothing, moves the cursor, or changes how its neighbours show.
pub(crate) const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The longest start of `text` that is at most `limit` bytes and does not split a character.
pub(crate) fn clip(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn push_escaped(out: &mut Vec<u8>, text: &str, short: impl Fn(char) -> Option<&'static str>) {
    let mut clean_from = 0;
    for (at, c) in text.char_indices() {
        if matches!(c, ' '..='!' | '#'..='[' | ']'..='~') {
            continue;
        }
        let short = short(c);
        if short.is_none() && !is_hidden(c) {
            continue;
        }
        out.extend_from_slice(text.as_bytes().get(clean_from..at).unwrap_or_default());
        match short {
            Some(escape) => out.extend_from_slice(escape.as_bytes()),
            None => push_units(out, c),
        }
        clean_from = at + c.len_utf8();
    }
    out.extend_from_slice(text.as_bytes().get(clean_from..).unwrap_or_default());
}

fn push_units(out: &mut Vec<u8>, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(b"\\u");
        crate::bytes::push_hex(out, &unit.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(text: &str) -> String {
        let mut out = Vec::new();
        push_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hidden_characters_are_escaped() {
        assert_eq!(
            string("a\u{1b}[2J\u{202e}b\u{2028}\u{e0041}\n\"\\é"),
            "\"a\\u001b[2J\\u202eb\\u2028\\udb40\\udc41\\n\\\"\\\\é\""
        );
    }

    #[test]
    fn a_value_keeps_its_meaning_on_one_line() {
        let text = " {\"a\":\n[1, \"x\u{202e}\\n\"]}\r\n";
        let mut out = Vec::new();
        assert!(push_value(&mut out, text));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"a\": [1, \"x\\u202e\\n\"]}"
        );
        for bad in [
            "",
            "{",
            "{} {}",
            "[1,]",
            "nul",
            "\"a\nb\"",
            &"[".repeat(5_000),
        ] {
            let mut out = Vec::new();
            assert!(!push_value(&mut out, bad) && out.is_empty(), "{bad}");
        }
    }

    #[test]
    fn clip_keeps_characters_whole() {
        assert_eq!(clip("aé", 2), "a");
        assert_eq!(clip("aé", 3), "aé");
        assert_eq!(clip("é", 0), "");
    }

    proptest! {
        #[test]
        fn any_string_reads_back(text in any::<String>()) {
            let json = string(&text);
            prop_assert!(json.chars().all(|c| !is_hidden(c)));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn any_number(value: u64) {
            let mut out = Vec::new();
            push_number(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
