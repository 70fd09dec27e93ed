//! Does it look random, or like something a person typed as an example?

/// Shannon entropy of the bytes, in hundredths of a bit per byte.
///
/// A string of `n` bytes has at most `log2(n)` bits per byte: a 16-byte key cannot reach 4.01.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "entropy of bytes lies between 0 and 8; matches are at most some KiB"
)]
pub(super) fn centibits(text: &[u8]) -> u16 {
    let mut counts = [0_u32; 256];
    for byte in text {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let total = text.len() as f64;
    let bits: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / total;
            -share * share.log2()
        })
        .sum();
    (bits * 100.0).round() as u16
}

/// Upper case, lower case and a digit.
pub(super) fn mixed(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_uppercase)
        && text.iter().any(u8::is_ascii_lowercase)
        && text.iter().any(u8::is_ascii_digit)
}

/// An example, a template variable, a mask or a keyboard run.
pub(super) fn placeholder(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    template(text) || masked(text) || names_itself_an_example(text) || counts(text)
}

/// `${VAR}`, `{{ var }}`, `<token>`, `%VAR%`, `$VAR`, `[REDACTED]`, `process.env.X`, `os.environ`.
fn template(text: &[u8]) -> bool {
    const PAIRS: [(&[u8], &[u8]); 6] = [
        (b"${", b"}"),
        (b"$(", b")"),
        (b"{{", b"}}"),
        (b"<", b">"),
        (b"%", b"%"),
        (b"[", b"]"),
    ];
    let variable = |rest: &[u8]| {
        rest.first()
            .is_some_and(|b| b.is_ascii_uppercase() || *b == b'_')
            && rest
                .iter()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
    };
    PAIRS.iter().any(|(open, close)| {
        text.len() > open.len() && text.starts_with(open) && text.ends_with(close)
    }) || text.strip_prefix(b"$").is_some_and(variable)
        || [&b"process.env"[..], b"os.environ", b"os.getenv", b"getenv("]
            .iter()
            .any(|code| text.starts_with(code))
}

/// Mostly `x`, `*`, `.`, `-`, `_`, `0` or one repeated byte, or a run of eight of them.
fn masked(text: &[u8]) -> bool {
    let mut run = 1_usize;
    let mut longest = 1_usize;
    for pair in text.windows(2) {
        let same = matches!(pair, [a, b] if a.eq_ignore_ascii_case(b));
        run = if same { run + 1 } else { 1 };
        longest = longest.max(run);
    }
    let masks = text.iter().filter(|b| b"xX*.#".contains(b)).count();
    text.is_empty() || longest >= 8 || longest == text.len() || masks * 2 > text.len()
}

fn names_itself_an_example(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 18] = [
        b"example",
        b"your_",
        b"your-",
        b"yourkey",
        b"yourtoken",
        b"yourapi",
        b"placeholder",
        b"changeme",
        b"change_me",
        b"change-me",
        b"dummy",
        b"redacted",
        b"replace",
        b"insert_",
        b"insert-",
        b"todo",
        b"foobar",
        b"sample",
    ];
    WORDS.iter().any(|word| {
        text.windows(word.len())
            .any(|window| window.eq_ignore_ascii_case(word))
    })
}

/// At least ten bytes, nearly all of them one more (or one less) than the one before: `1234567890`,
/// `abcdefghij`.
fn counts(text: &[u8]) -> bool {
    let next = |a: u8, b: u8| match (a, b) {
        (b'9', b'0') | (b'0', b'9') => true,
        _ => a.abs_diff(b) == 1,
    };
    let steps = text
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if next(*a, *b)))
        .count();
    text.len() >= 10 && steps * 10 >= (text.len() - 1) * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_known_strings() {
        assert_eq!(centibits(b""), 0);
        assert_eq!(centibits(b"aaaa"), 0);
        assert_eq!(centibits(b"abcd"), 200);
        assert_eq!(centibits(b"0123456789abcdef"), 400);
    }

    #[test]
    fn placeholders() {
        for fake in [
            "xxxxxxxxxxxxxxxx",
            "sk-xxxxxxxxxxxxxxxxxxxx",
            "AKIAIOSFODNN7EXAMPLE",
            "${API_KEY}",
            "$API_KEY",
            "<your-token>",
            "your_api_key_here",
            "****************",
            "1234567890",
            "abcdefghijklmnop",
            "0000000000000000",
            "{{ secret }}",
            "%TOKEN%",
            "changeme123",
        ] {
            assert!(placeholder(fake.as_bytes()), "{fake}");
        }
        for real in [
            "AKIAQ3EGRZ7TWBN5XK2P",
            "k9Qm2Zr8Lw4Vt6Yp",
            "$2b$12$R9h/cIPz0gi",
            "5f4dcc3b5aa765d61d83",
        ] {
            assert!(!placeholder(real.as_bytes()), "{real}");
        }
    }
}
