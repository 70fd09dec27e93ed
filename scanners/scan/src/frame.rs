//! From decoded text back to the bytes of the frame.
//!
//! Enters: a JSON string as it stands in the frame, without its quotes, and offsets into what it
//! decodes to. Leaves: offsets into the frame that never split an escape or a character: a start
//! is moved back, an end forward.

use mcpf_model::Span;

use crate::joined::{PlainSpan, TextEntry, offset};

/// Maps spans of one message. Remembers where it was, so that spans that come in order cost one
/// walk of each string in all.
pub(crate) struct FrameMap<'a> {
    frame: &'a [u8],
    text: Option<u32>,
    at: Place,
}

/// The same place in the decoded text and in the raw string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    decoded: usize,
    raw: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Back,
    Forward,
}

impl<'a> FrameMap<'a> {
    pub(crate) fn new(frame: &'a [u8]) -> Self {
        Self {
            frame,
            text: None,
            at: Place::default(),
        }
    }

    /// Where `span` of `text` lies in the frame.
    ///
    /// If the string in the frame does not decode to a text of the length it should, the answer
    /// is the whole string: too much rather than too little.
    pub(crate) fn span(&mut self, text: &TextEntry, span: PlainSpan) -> Span {
        let Some(raw) = self.frame.get(text.raw.range()) else {
            return text.raw;
        };
        if self.text != Some(span.text) || self.at.decoded > span.start as usize {
            self.text = Some(span.text);
            self.at = Place::default();
        }
        let escaped = raw.len() != text.len as usize;
        let Some(start) = walk(raw, self.at, span.start as usize, Round::Back, escaped) else {
            return text.raw;
        };
        self.at = start;
        let Some(end) = walk(raw, start, span.end as usize, Round::Forward, escaped) else {
            return text.raw;
        };
        let place = |raw: usize| text.raw.start.saturating_add(offset(raw)).min(text.raw.end);
        Span {
            start: place(start.raw),
            end: place(end.raw),
        }
    }
}

/// The place of decoded offset `target`, walking from `from`. `None` if the string ends before.
fn walk(raw: &[u8], from: Place, target: usize, round: Round, escaped: bool) -> Option<Place> {
    let mut at = from;
    loop {
        let rest = raw.get(at.raw..)?;
        let plain = match escaped {
            true => memchr::memchr(b'\\', rest).unwrap_or(rest.len()),
            false => rest.len(),
        };
        let wanted = target.checked_sub(at.decoded)?;
        // At the very place of an escape, nothing is left to walk: the escape itself is not split.
        if wanted <= plain {
            let raw_at = char_boundary(raw, at.raw + wanted, round);
            return Some(Place {
                decoded: at.decoded + (raw_at - at.raw),
                raw: raw_at,
            });
        }
        let escape = Place {
            decoded: at.decoded + plain,
            raw: at.raw + plain,
        };
        let (raw_len, len) = escape_at(raw.get(escape.raw..)?)?;
        let next = Place {
            decoded: escape.decoded + len,
            raw: escape.raw + raw_len,
        };
        if target < next.decoded {
            return Some(if round == Round::Back { escape } else { next });
        }
        at = next;
    }
}

fn char_boundary(raw: &[u8], mut at: usize, round: Round) -> usize {
    while raw.get(at).is_some_and(|b| b & 0xc0 == 0x80) {
        match round {
            Round::Back if at > 0 => at -= 1,
            Round::Back => break,
            Round::Forward => at += 1,
        }
    }
    at
}

/// Length of the JSON escape at the start of `raw`, and of the UTF-8 it decodes to (RFC 8259
/// section 7). `None` if it is none.
fn escape_at(raw: &[u8]) -> Option<(usize, usize)> {
    let unit = |at: usize| -> Option<u16> {
        let digits = std::str::from_utf8(raw.get(at + 2..at + 6)?).ok()?;
        match raw.get(at..at + 2)? {
            b"\\u" => u16::from_str_radix(digits, 16).ok(),
            _ => None,
        }
    };
    match raw {
        [b'\\', b'u', ..] => {
            let high = unit(0)?;
            if (0xd800..0xdc00).contains(&high)
                && unit(6).is_some_and(|low| (0xdc00..0xe000).contains(&low))
            {
                return Some((12, 4));
            }
            // A lone surrogate becomes U+FFFD in the readers that accept it: three bytes too.
            Some((6, char::from_u32(u32::from(high)).map_or(3, char::len_utf8)))
        }
        [b'\\', _, ..] => Some((2, 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use mcpf_model::Surface;
    use proptest::prelude::*;

    use super::*;

    fn map(raw: &str, start: usize, end: usize) -> String {
        let decoded: String = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
        let frame = format!("\"{raw}\"");
        let text = TextEntry {
            raw: Span {
                start: 1,
                end: 1 + offset(raw.len()),
            },
            start: 0,
            len: offset(decoded.len()),
            surface: Surface::Arguments,
        };
        let plain = PlainSpan {
            text: 0,
            start: offset(start),
            end: offset(end),
        };
        let span = FrameMap::new(frame.as_bytes()).span(&text, plain);
        frame[span.range()].to_owned()
    }

    #[test]
    fn escapes_are_not_split() {
        assert_eq!(map(r"a\nb", 1, 2), r"\n");
        assert_eq!(map(r"a\nb", 2, 3), "b");
        assert_eq!(map(r"\u0041bc", 0, 1), r"\u0041");
        assert_eq!(map(r"x\u00e9y", 1, 2), r"\u00e9");
        assert_eq!(map(r"x\u00e9y", 2, 4), r"\u00e9y");
        assert_eq!(map(r"x\ud83d\ude00y", 2, 3), r"\ud83d\ude00");
        assert_eq!(map(r#"\"quoted\""#, 0, 1), r#"\""#);
        assert_eq!(map("é!", 1, 3), "é!");
        assert_eq!(map(r"é\n", 0, 1), "é");
        assert_eq!(map("plain", 1, 3), "la");
    }

    #[test]
    fn a_string_that_does_not_fit_is_covered_whole() {
        let text = TextEntry {
            raw: Span { start: 1, end: 4 },
            start: 0,
            len: 9,
            surface: Surface::Arguments,
        };
        let plain = PlainSpan {
            text: 0,
            start: 7,
            end: 9,
        };
        assert_eq!(FrameMap::new(b"\"abc\"").span(&text, plain), text.raw);
        assert_eq!(FrameMap::new(b"").span(&text, plain), text.raw);
    }

    /// A JSON string as some writer might have escaped `text`.
    fn escape(text: &str, choices: &[u8]) -> String {
        let mut out = String::new();
        for (ix, c) in text.chars().enumerate() {
            let choice = choices.get(ix % choices.len().max(1)).copied().unwrap_or(0) % 3;
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                c if choice == 0 || c < ' ' => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn the_mapped_bytes_decode_to_the_chars_of_the_span(
            text in "[a-c\"\\\\\n\u{e9}\u{4e2d}\u{1f600}]{1,30}",
            choices in proptest::collection::vec(any::<u8>(), 1..8),
            a in 0_usize..100,
            b in 0_usize..100,
        ) {
            let raw = escape(&text, &choices);
            let (start, end) = (a.min(b) % text.len(), (a.max(b) % text.len()) + 1);
            let (start, end) = (start.min(end - 1), end.max(start + 1));
            let mapped = map(&raw, start, end);
            let decoded: String = serde_json::from_str(&format!("\"{mapped}\"")).unwrap();
            let (mut first, mut last) = (start, end);
            while !text.is_char_boundary(first) {
                first -= 1;
            }
            while !text.is_char_boundary(last) {
                last += 1;
            }
            prop_assert_eq!(&decoded, &text[first..last]);
        }
    }
}
