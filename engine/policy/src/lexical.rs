//! The readings of a value: as it came, and as the system that gets it may understand it.
//!
//! A path or URI from a call enters; the texts that patterns are held against leave. `..`, `.`,
//! doubled slashes, percent escapes, `file:` spellings, backslashes and NUL are undone lexically.
//! Nothing here asks a file system, so symbolic links remain the server's affair.

use std::borrow::Cow;

use memchr::memchr3;

/// How often the percent escapes of a plain path are undone.
const MAX_DECODES: usize = 3;

/// The readings of one value.
pub(crate) struct Forms;

impl Forms {
    /// Whether `test` holds for at least one reading of `value`.
    ///
    /// Allocates only when the value has a second reading.
    pub(crate) fn any(value: &str, test: impl Fn(&str) -> bool) -> bool {
        if test(value) {
            return true;
        }
        // A plain path is not a URI, but some servers decode it all the same.
        let mut escaped = Cow::Borrowed(value);
        for _ in 0..MAX_DECODES {
            if !escaped.contains('%') {
                break;
            }
            escaped = Cow::Owned(decoded(&escaped));
            if test(&escaped) || restrictive(&escaped).iter().any(|form| test(form)) {
                return true;
            }
        }
        if is_plain(value) {
            return false;
        }
        let before_nul = value.split('\0').next().unwrap_or_default();
        [value, before_nul]
            .into_iter()
            .take(if before_nul.len() == value.len() {
                1
            } else {
                2
            })
            .any(|text| restrictive(text).iter().any(|form| test(form)))
    }

    /// Whether `test` holds for every reading that a server could act on.
    ///
    /// A value with a NUL never passes: what follows it is read by some and not by others.
    pub(crate) fn all(value: &str, test: impl Fn(&str) -> bool) -> bool {
        if !test(value) || value.contains('\0') {
            return false;
        }
        if is_plain(value) {
            return true;
        }
        let slashed = value.contains('\\') && value.contains("..");
        test(&canonical(value, Decode::Once))
            && (!slashed || test(&canonical(&value.replace('\\', "/"), Decode::Once)))
    }
}

/// How often percent escapes are undone.
#[derive(Clone, Copy)]
enum Decode {
    /// As RFC 3986 says.
    Once,
    /// Until nothing changes, at most three times: for servers that decode again.
    Fully,
}

/// Whether a value has one reading only: no dot segment, no doubled or trailing slash,
/// no backslash, no NUL, and nothing that looks like a URI.
///
/// Only what stands around slashes, backslashes and NULs decides: blocks of text without them are
/// skipped.
fn is_plain(value: &str) -> bool {
    const BLOCK: usize = 64;
    if scheme_end(value).is_some() {
        return false;
    }
    let bytes = value.as_bytes();
    if memchr3(b'/', b'\\', 0, bytes).is_none() {
        return value != "." && value != "..";
    }
    let back = |i: usize, by: usize| i.checked_sub(by).and_then(|at| bytes.get(at)).copied();
    for (n, block) in bytes.chunks(BLOCK).enumerate() {
        // No early exit inside: this becomes a few vector instructions.
        let decides = block
            .iter()
            .fold(false, |any, byte| any | matches!(byte, b'/' | b'\\' | 0));
        if !decides {
            continue;
        }
        for (i, byte) in (n * BLOCK..).zip(block) {
            // The beginning of a value is the beginning of a segment.
            let (before, previous) = (back(i, 2).unwrap_or(b'/'), back(i, 1).unwrap_or(b'/'));
            match byte {
                b'\\' | 0 => return false,
                // "//", "./" and "../" at the start of a segment
                b'/' if i > 0 && previous == b'/' => return false,
                b'/' if previous == b'.' && matches!(before, b'/' | b'.') => return false,
                _ => {}
            }
        }
    }
    let last = value.rsplit('/').next().unwrap_or_default();
    let trailing = value.len() > 1 && last.is_empty();
    !trailing && last != "." && last != ".."
}

/// `value` and everything a server may take it for.
fn restrictive(value: &str) -> Vec<String> {
    let mut starts = vec![value.to_owned()];
    if value.contains('\\') {
        starts.push(value.replace('\\', "/"));
    }
    if scheme_end(value).is_some() {
        for i in 0..starts.len() {
            let cut = starts.get(i).and_then(|start| start.split_once(['?', '#']));
            if let Some((before, _)) = cut {
                let before = before.to_owned();
                starts.push(before);
            }
        }
    }
    let mut forms = Vec::with_capacity(starts.len() * 5);
    for start in starts {
        for decode in [Decode::Once, Decode::Fully] {
            let form = canonical(&start, decode);
            forms.extend(file_path(&form).map(str::to_owned));
            forms.push(form);
        }
        forms.push(start);
    }
    forms
}

/// The path of a canonical `file:` URI of this machine.
fn file_path(canonical: &str) -> Option<&str> {
    let rest = canonical.strip_prefix("file://")?;
    rest.starts_with('/').then_some(rest)
}

/// A URI as `scheme://authority/normal/path`, anything else as a normal path.
fn canonical(value: &str, decode: Decode) -> String {
    let Some(colon) = scheme_end(value) else {
        return normal_path(value);
    };
    let (scheme, rest) = value.split_at(colon);
    let rest = rest.get(1..).unwrap_or_default();
    let scheme = scheme.to_ascii_lowercase();
    let is_file = scheme == "file";
    let (authority, path) = match rest.strip_prefix("//") {
        Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
        None if is_file => ("", rest),
        None => return normal_path(value),
    };
    let mut path = decoded(path);
    if let Decode::Fully = decode {
        for _ in 0..2 {
            path = decoded(&path);
        }
    }
    let local = is_file && (authority.is_empty() || authority.eq_ignore_ascii_case("localhost"));
    let authority = if local {
        String::new()
    } else {
        authority.to_ascii_lowercase()
    };
    let mut path = normal_path(&path);
    if is_file && !path.starts_with('/') {
        path.insert(0, '/');
    }
    format!("{scheme}://{authority}{path}")
}

/// The offset of the colon that ends a scheme of two or more characters (RFC 3986, 3.1).
/// One character is a Windows drive.
fn scheme_end(value: &str) -> Option<usize> {
    let colon = value.bytes().take(32).position(|byte| byte == b':')?;
    let scheme = value.get(..colon)?;
    let mut bytes = scheme.bytes();
    let well_formed = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (well_formed && scheme.len() > 1).then_some(colon)
}

/// `path` without `.`, `..` and doubled slashes; `..` at the root stays at the root.
fn normal_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." if segments.last().is_some_and(|last| *last != "..") => {
                segments.pop();
            }
            ".." if rooted => {}
            _ => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    if rooted {
        normal.push('/');
    }
    normal.push_str(&segments.join("/"));
    normal
}

/// `text` with its percent escapes undone; bytes that are not UTF-8 become U+FFFD.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [b'%', high, low, after @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    after
                }
                _ => {
                    out.push(b'%');
                    rest.get(1..).unwrap_or_default()
                }
            },
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
            [] => break,
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow twin of [`is_plain`]: every byte, with the two before it.
    fn is_plain_slowly(value: &str) -> bool {
        let mut before = b'/';
        let mut previous = b'/';
        for (i, &byte) in value.as_bytes().iter().enumerate() {
            match byte {
                b'\\' | 0 => return false,
                b':' if scheme_end(value).is_some() => return false,
                b'/' if i > 0 && previous == b'/' => return false,
                b'/' if previous == b'.' && matches!(before, b'/' | b'.') => return false,
                _ => {}
            }
            (before, previous) = (previous, byte);
        }
        let last = value.rsplit('/').next().unwrap_or_default();
        let trailing = value.len() > 1 && last.is_empty();
        !trailing && last != "." && last != ".."
    }

    #[test]
    fn what_is_plain_is_plain_at_every_place() {
        let pieces = [
            "/", "//", "./", "../", "a/b", ".", "..", "\\", "\0", "x:", "/.", "é/", "",
        ];
        for n in 0..140 {
            for piece in pieces {
                for tail in ["", "z", "/z", "."] {
                    let value = format!("{}{piece}{tail}", "w".repeat(n));
                    assert_eq!(is_plain(&value), is_plain_slowly(&value), "{value:?}");
                }
            }
        }
    }

    #[test]
    fn paths_are_normalised_lexically() {
        for (given, wanted) in [
            ("/a/b/../c", "/a/c"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("a/../../b", "../b"),
            ("/a//b/./c/", "/a/b/c"),
            ("./x", "x"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(normal_path(given), wanted, "{given}");
            assert!(is_plain(wanted) || wanted.starts_with(".."), "{wanted}");
        }
    }

    #[test]
    fn uris_are_canonical() {
        for (given, wanted) in [
            ("file:///etc/passwd", "file:///etc/passwd"),
            ("FILE://LocalHost/etc//passwd", "file:///etc/passwd"),
            ("file:/etc/passwd", "file:///etc/passwd"),
            ("file:etc/passwd", "file:///etc/passwd"),
            ("file:///srv/%2e%2E/etc/passwd", "file:///etc/passwd"),
            ("file:///srv/..%2fetc/passwd", "file:///etc/passwd"),
            ("file://host/share/../x", "file://host/x"),
            ("HTTPS://Ex.org/a/../b", "https://ex.org/b"),
            ("mailto:a@b//c", "mailto:a@b/c"),
            ("C:/x/../y", "C:/y"),
        ] {
            assert_eq!(canonical(given, Decode::Once), wanted, "{given}");
        }
        let twice = canonical("file:///srv/%252e%252e/etc/passwd", Decode::Fully);
        assert_eq!(twice, "file:///etc/passwd");
    }

    #[test]
    fn a_restriction_sees_through_every_spelling() {
        let shadow = |form: &str| form == "/etc/shadow";
        for spelling in [
            "/etc/shadow",
            "/etc//shadow",
            "/etc/./shadow",
            "/var/../etc/shadow",
            "/etc/shadow/",
            "/etc/shadow/.",
            "/etc/x/../shadow\0.txt",
            "/etc/shadow\0",
            "file:///etc/shadow",
            "file:///%65tc/shadow?x=1",
            "file://localhost/etc/shadow#f",
            "\\etc\\shadow",
            "file:///%2565tc/shadow",
        ] {
            assert!(Forms::any(spelling, shadow), "{spelling:?}");
        }
        assert!(!Forms::any("/etc/shadows", shadow));
    }

    #[test]
    fn a_permission_needs_every_reading() {
        let inside = |form: &str| form.starts_with("/srv/") || form.starts_with("file:///srv/");
        for good in ["/srv/a", "/srv/a/../b", "file:///srv/a%20b"] {
            assert!(Forms::all(good, inside), "{good}");
        }
        for bad in [
            "/srv/../etc/passwd",
            "/srv/a\0/../../etc",
            "file:///srv/%2e%2e/etc/passwd",
            "/srv/..\\..\\etc/passwd",
            "/srv/x/../..",
            "/etc",
        ] {
            assert!(!Forms::all(bad, inside), "{bad:?}");
        }
    }

    #[test]
    fn a_plain_value_is_its_own_canonical_form() {
        for value in ["hello world", "/a/b.c", "..a/b", "a..", "C:x", ".ssh/id"] {
            assert!(is_plain(value), "{value}");
            assert_eq!(canonical(value, Decode::Fully), value);
        }
        for value in [
            "../a", "a/..", "a//b", "a/./b", "a/", "./a", "a\\b", "ab:c", ".",
        ] {
            assert!(!is_plain(value), "{value}");
        }
    }
}
