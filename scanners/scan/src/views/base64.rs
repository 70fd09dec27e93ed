//! Base64 and hexadecimal, forgivingly.

/// Value of each base64 digit, standard or URL-safe alphabet; 0xff for others.
const DIGITS: [u8; 256] = digits();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated at compile time, where an overrun is a compile error"
)]
const fn digits() -> [u8; 256] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [0xff; 256];
    let mut value = 0_u8;
    while value < 64 {
        table[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    table[b'-' as usize] = 62;
    table[b'_' as usize] = 63;
    table
}

/// Whether `byte` is a base64 digit of either alphabet.
pub(crate) fn is_digit(byte: u8) -> bool {
    value(byte) < 64
}

fn value(byte: u8) -> u8 {
    DIGITS.get(usize::from(byte)).copied().unwrap_or(0xff)
}

/// Appends what `text` decodes to. Line ends are skipped; padding or anything else ends it; an
/// incomplete last group gives the bytes it holds.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) {
    // Whole groups of digits, as most of a blob is, need no look at each digit.
    out.reserve(text.len() / 4 * 3 + 3);
    let mut read = 0;
    for four in text.as_chunks::<4>().0 {
        let [a, b, c, d] = four.map(|byte| u32::from(value(byte)));
        if (a | b | c | d) >= 64 {
            break;
        }
        let [_, x, y, z] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
        out.extend_from_slice(&[x, y, z]);
        read += 4;
    }
    let mut group = 0_u32;
    let mut count = 0_u32;
    for byte in text.get(read..).unwrap_or_default() {
        let digit = value(*byte);
        if digit >= 64 {
            if matches!(byte, b'\r' | b'\n') {
                continue;
            }
            break;
        }
        group = group << 6 | u32::from(digit);
        count += 1;
        if count == 4 {
            let [_, a, b, c] = group.to_be_bytes();
            out.extend_from_slice(&[a, b, c]);
            (group, count) = (0, 0);
        }
    }
    let [_, a, b, _] = (group << (6 * (4 - count))).to_be_bytes();
    match count {
        2 => out.push(a),
        3 => out.extend_from_slice(&[a, b]),
        _ => {}
    }
}

/// Appends the bytes that pairs of hexadecimal digits stand for; stops at anything else.
pub(crate) fn decode_hex(text: &[u8], out: &mut Vec<u8>) {
    for pair in text.as_chunks::<2>().0 {
        let Some(byte) = hex_pair(*pair) else { return };
        out.push(byte);
    }
}

/// The byte that two hexadecimal digits stand for.
pub(crate) fn hex_pair([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        decode(text.as_bytes(), &mut out);
        out
    }

    #[test]
    fn vectors_of_rfc_4648() {
        for (text, plain) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9v\r\nYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decoded(text), plain.as_bytes());
        }
        assert_eq!(decoded("-_-_"), decoded("+/+/"));
        assert_eq!(decoded("Z"), b"");
    }

    #[test]
    fn hexadecimal() {
        let mut out = Vec::new();
        decode_hex(b"48656C6c6fzz", &mut out);
        assert_eq!(out, b"Hello");
    }
}
