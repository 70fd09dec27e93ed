//! Escapes in running text: `%41`, `&lt;`, `&#65;`, `\x41`, `\u0041`.

use crate::joined::Writer;

use super::base64::hex_pair;

/// Longest escape read, in bytes: `&#x0010FFFF;`, and RFC 3986 and HTML names are shorter.
const MAX_ESCAPE: usize = 12;

/// Percent escapes a text needs before any is undone; one alone is more often a discount.
const MIN_PERCENT: usize = 2;

/// Whether `text` holds escapes worth undoing.
pub(super) fn may_hold(text: &[u8]) -> bool {
    let mut percent = 0;
    memchr::memchr3_iter(b'%', b'&', b'\\', text).any(|at| {
        let rest = text.get(at..).unwrap_or_default();
        match read(rest) {
            Some(_) if rest.first() == Some(&b'%') => {
                percent += 1;
                percent >= MIN_PERCENT
            }
            found => found.is_some(),
        }
    })
}

/// Writes `source` with every escape replaced by what it stands for.
pub(super) fn undo(source: &[u8], out: &mut Writer<'_>) {
    let mut done = 0;
    for at in memchr::memchr3_iter(b'%', b'&', b'\\', source) {
        if at < done || out.is_full() {
            continue;
        }
        let Some(escape) = source.get(at..).and_then(read) else {
            continue;
        };
        out.linear(source.get(done..at).unwrap_or_default(), done);
        done = at + escape.len;
        out.blob(escape.bytes(), at..done);
    }
    out.linear(source.get(done..).unwrap_or_default(), done);
}

/// One escape and what it stands for.
struct Escape {
    /// Its length in the text.
    len: usize,
    value: [u8; 4],
    value_len: usize,
}

impl Escape {
    fn byte(len: usize, byte: u8) -> Self {
        Self {
            len,
            value: [byte, 0, 0, 0],
            value_len: 1,
        }
    }

    fn char(len: usize, c: char) -> Self {
        let mut value = [0; 4];
        let value_len = c.encode_utf8(&mut value).len();
        Self {
            len,
            value,
            value_len,
        }
    }

    fn bytes(&self) -> &[u8] {
        self.value.get(..self.value_len).unwrap_or_default()
    }
}

fn read(rest: &[u8]) -> Option<Escape> {
    match *rest {
        [b'%', high, low, ..] => hex_pair([high, low]).map(|byte| Escape::byte(3, byte)),
        [b'\\', b'x', high, low, ..] => hex_pair([high, low]).map(|byte| Escape::byte(4, byte)),
        [b'\\', b'u', ..] => unicode(rest),
        [b'&', ..] => entity(rest),
        _ => None,
    }
}

/// `\uXXXX`, a pair of them for a surrogate pair, or `\u{X…}`.
fn unicode(rest: &[u8]) -> Option<Escape> {
    if let [b'\\', b'u', b'{', tail @ ..] = rest {
        let end = tail.iter().take(7).position(|b| *b == b'}')?;
        let c = code_point(tail.get(..end)?, 16)?;
        return Some(Escape::char(end + 4, c));
    }
    let high = utf16(rest)?;
    if let Some(c) = char::from_u32(u32::from(high)) {
        return Some(Escape::char(6, c));
    }
    let low = utf16(rest.get(6..)?)?;
    let c = char::decode_utf16([high, low]).next()?.ok()?;
    Some(Escape::char(12, c))
}

fn utf16(rest: &[u8]) -> Option<u16> {
    let [b'\\', b'u', a, b, c, d, ..] = *rest else {
        return None;
    };
    Some(u16::from_be_bytes([hex_pair([a, b])?, hex_pair([c, d])?]))
}

fn entity(rest: &[u8]) -> Option<Escape> {
    let end = rest.iter().take(MAX_ESCAPE).position(|b| *b == b';')?;
    let c = match rest.get(1..end)? {
        [b'#', b'x' | b'X', digits @ ..] => code_point(digits, 16)?,
        [b'#', digits @ ..] => code_point(digits, 10)?,
        name => NAMES.iter().find(|(known, _)| known.as_bytes() == name)?.1,
    };
    Some(Escape::char(end + 1, c))
}

fn code_point(digits: &[u8], radix: u32) -> Option<char> {
    let digits = std::str::from_utf8(digits).ok()?;
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}

/// The names that matter: markup, quotes, spaces and the invisible ones.
const NAMES: [(&str, char); 30] = [
    ("lt", '<'),
    ("LT", '<'),
    ("gt", '>'),
    ("GT", '>'),
    ("amp", '&'),
    ("AMP", '&'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("colon", ':'),
    ("semi", ';'),
    ("comma", ','),
    ("period", '.'),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("lpar", '('),
    ("rpar", ')'),
    ("lsqb", '['),
    ("rsqb", ']'),
    ("lbrace", '{'),
    ("rbrace", '}'),
    ("sol", '/'),
    ("bsol", '\\'),
    ("commat", '@'),
    ("equals", '='),
    ("shy", '\u{ad}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Option<(usize, String)> {
        read(text.as_bytes()).map(|e| (e.len, String::from_utf8_lossy(e.bytes()).into_owned()))
    }

    #[test]
    fn escapes() {
        for (text, len, value) in [
            ("%41", 3, "A"),
            ("&lt;b", 4, "<"),
            ("&#65;", 5, "A"),
            ("&#x1F600;", 9, "😀"),
            (r"\x41", 4, "A"),
            (r"\u0041", 6, "A"),
            (r"\u{1F600}", 9, "😀"),
            (r"\uD83D\uDE00", 12, "😀"),
        ] {
            assert_eq!(read_all(text), Some((len, value.to_owned())), "{text}");
        }
        for text in [
            "%4",
            "%zz",
            "&unknown;",
            "& ",
            "&#xZZ;",
            r"\uD83D",
            r"\n",
            "&#1114112;",
            "",
        ] {
            assert_eq!(read_all(text), None, "{text}");
        }
    }

    #[test]
    fn one_percent_escape_is_not_enough() {
        assert!(!may_hold(b"50%20off"));
        assert!(may_hold(b"a%20b%20c"));
        assert!(may_hold(b"a &lt; b"));
        assert!(!may_hold(b"100% & more \\ path"));
    }
}
