//! Small readings of bytes and strings: escapes, control characters, integers.
//!
//! What enters: a slice. What leaves: what it says. It never allocates unless it decodes.

/// Largest integer every parser keeps exactly: 2^53-1 (RFC 8259, section 6).
pub(crate) const MAX_SAFE_INTEGER: i64 = 9_007_199_254_740_991;

/// Whether JSON takes `byte` for whitespace.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether `text` holds a control character, or a separator that ends a line for some readers.
pub(crate) fn has_control(text: &str) -> bool {
    // Plain text is decided by its bytes: no C0, no DEL, nothing beyond ASCII.
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return false;
    }
    text.chars()
        .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

/// The integer that `text` spells in the one way every parser agrees on: digits without a leading zero,
/// perhaps a minus sign, not `-0`, within ±(2^53-1).
pub(crate) fn plain_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.len() < 16 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !plain {
        return None;
    }
    let magnitude = digits.iter().try_fold(0_i64, |n, d| {
        n.checked_mul(10)?
            .checked_add(i64::from(d.saturating_sub(b'0')))
    })?;
    if magnitude > MAX_SAFE_INTEGER {
        return None;
    }
    Some(if digits.len() == text.len() {
        magnitude
    } else {
        magnitude.saturating_neg()
    })
}

/// Decodes the inside of a JSON string. `None` if it is not the inside of one.
pub(crate) fn unescape(raw: &[u8]) -> Option<String> {
    let mut rest = std::str::from_utf8(raw).ok()?;
    let mut out = String::with_capacity(rest.len());
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = escape.chars();
        let decoded = match chars.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (decoded, after) = unicode_escape(chars.as_str())?;
                out.push(decoded);
                rest = after;
                continue;
            }
            _ => return None,
        };
        out.push(decoded);
        rest = chars.as_str();
    }
    out.push_str(rest);
    (!out_of_place(raw)).then_some(out)
}

/// What a canonical JSON writer puts between the quotes for `text`, which has no control characters.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The character `XXXX` or `XXXX\uXXXX` names, and what follows it.
fn unicode_escape(text: &str) -> Option<(char, &str)> {
    let (first, rest) = hex4(text)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, rest));
    }
    let (second, rest) = hex4(rest.strip_prefix("\\u")?)?;
    let c = char::decode_utf16([u16::try_from(first).ok()?, u16::try_from(second).ok()?])
        .next()?
        .ok()?;
    Some((c, rest))
}

fn hex4(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

/// Whether `raw` holds a byte that may not stand in a string unescaped.
fn out_of_place(raw: &[u8]) -> bool {
    raw.iter().any(|b| *b < 0x20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("-7", -7),
            ("9007199254740991", MAX_SAFE_INTEGER),
        ] {
            assert_eq!(plain_integer(text.as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "-0",
            "00",
            "07",
            "+1",
            "7.0",
            "7e0",
            "1E3",
            " 7",
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551616",
            "0x7",
            "99999999999999999999999999",
        ] {
            assert_eq!(plain_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn escapes_decode_or_fail() {
        assert_eq!(
            unescape(br#"a\n\u0041\ud83d\ude00\/\\\""#).as_deref(),
            Some("a\nA\u{1f600}/\\\"")
        );
        for bad in [
            &br"\ud800"[..],
            br"\ud800\u0041",
            br"\udc00",
            br"\x",
            br"\u00g0",
            br"\",
            b"\xff",
            b"\t",
            br"\u+123",
        ] {
            assert_eq!(unescape(bad), None);
        }
        assert_eq!(
            unescape(escape("a\"\\b\u{e9}").as_bytes()).as_deref(),
            Some("a\"\\b\u{e9}")
        );
    }

    #[test]
    fn controls_are_seen_beyond_ascii() {
        for text in ["\0", "a\u{7f}", "\u{85}", "x\u{2028}"] {
            assert!(has_control(text));
        }
        assert!(!has_control("caf\u{e9} ok"));
    }
}
