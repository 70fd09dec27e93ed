//! Lower-case hex and padded base64 of fixed-size values, written and read strictly.
//!
//! Bytes enter, text leaves, and back. There is exactly one accepted spelling of each value: the
//! readers refuse upper-case hex, missing padding and non-zero spare bits, because hashes and
//! signatures are the only bytes of a record that no hash covers.

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Characters of a 64-byte signature in base64.
pub(crate) const SIGNATURE_TEXT: usize = 88;
/// Characters of a 32-byte hash in hex.
pub(crate) const HASH_TEXT: usize = 64;

/// Appends `bytes` in hex.
pub(crate) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(digit(HEX, nibble));
        }
    }
}

/// `bytes` in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    String::from_utf8(out).unwrap_or_default()
}

/// The 32 bytes that `text` spells, if it is 64 lower-case hex digits.
pub(crate) fn unhex32(text: &[u8]) -> Option<[u8; 32]> {
    if text.len() != HASH_TEXT {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = *pair else { return None };
        *byte = unhex_digit(high)? << 4 | unhex_digit(low)?;
    }
    Some(out)
}

/// Appends `bytes` in padded base64 (RFC 4648 section 4).
pub(crate) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.chunks(3) {
        let (a, b, c) = match *chunk {
            [a, b, c] => (a, b, c),
            [a, b] => (a, b, 0),
            [a] => (a, 0, 0),
            _ => continue,
        };
        out.push(digit(BASE64, a >> 2));
        out.push(digit(BASE64, (a & 3) << 4 | b >> 4));
        out.push(if chunk.len() > 1 {
            digit(BASE64, (b & 15) << 2 | c >> 6)
        } else {
            b'='
        });
        out.push(if chunk.len() > 2 {
            digit(BASE64, c & 63)
        } else {
            b'='
        });
    }
}

/// The 64 bytes that `text` spells, if it is the one base64 spelling of 64 bytes.
pub(crate) fn unbase64_64(text: &[u8]) -> Option<[u8; 64]> {
    let digits = text.strip_suffix(b"==")?;
    if text.len() != SIGNATURE_TEXT {
        return None;
    }
    let mut out = [0; 64];
    let mut bytes = out.iter_mut();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for &character in digits {
        bits = bits << 6 | u32::from(unbase64_digit(character)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            *bytes.next()? = u8::try_from(bits >> held & 0xff).ok()?;
        }
    }
    (bits & ((1 << held) - 1) == 0).then_some(out)
}

fn digit(alphabet: &[u8], value: u8) -> u8 {
    alphabet.get(usize::from(value)).copied().unwrap_or(b'?')
}

fn unhex_digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

fn unbase64_digit(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_rfc_4648_vectors() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, text) in vectors {
            let mut out = Vec::new();
            push_base64(&mut out, plain.as_bytes());
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn one_spelling_only() {
        let value: [u8; 64] = std::array::from_fn(|i| u8::try_from(i * 37 % 256).unwrap());
        let mut text = Vec::new();
        push_base64(&mut text, &value);
        assert_eq!(unbase64_64(&text), Some(value));
        for i in 0..text.len() {
            for byte in 0..=255_u8 {
                let mut other = text.clone();
                if other[i] != byte {
                    other[i] = byte;
                    assert_ne!(unbase64_64(&other), Some(value), "byte {i} as {byte}");
                }
            }
        }
        assert_eq!(unhex32(hex(&[0xab; 32]).as_bytes()), Some([0xab; 32]));
        assert_eq!(unhex32(hex(&[0xab; 32]).to_uppercase().as_bytes()), None);
        assert_eq!(unhex32(b"ab"), None);
    }
}
