//! One look at a call's arguments for all rules together.
//!
//! The regular expressions that rules hold against *any* argument enter; whether any of them could
//! match something in a call leaves. Most calls name nothing that a rule is about, and each rule
//! for itself would read every argument to find that out. It may say yes too often, never no.

use std::cell::OnceCell;
use std::ops::ControlFlow;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::call::Call;
use crate::lexical::Forms;

/// Largest compiled form of all expressions together, in bytes. 8 MiB.
const MAX_COMPILED: usize = 8 * 1024 * 1024;

/// Most bytes of which one must occur.
const MAX_BYTES: usize = 8;

/// What any argument is held against, by every rule that restricts.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    /// Bytes without which nothing matches a value that is read only one way.
    bytes: Box<[bool; 256]>,
    any: Regex,
}

impl Screen {
    /// The screen of `patterns`; `None` if there are none or they are too large together.
    pub(crate) fn new<'p>(patterns: impl Iterator<Item = &'p str>) -> Option<Self> {
        let mut bytes = Box::new([false; 256]);
        let mut all = Vec::new();
        for pattern in patterns {
            let needed = regex_syntax::parse(pattern)
                .ok()
                .and_then(|hir| needed(&hir));
            match needed {
                Some(needed) => needed.iter().for_each(|byte| set(&mut bytes, *byte)),
                None => bytes.fill(true),
            }
            all.push(format!("(?:{pattern})"));
        }
        if all.is_empty() {
            return None;
        }
        // Percent escapes, backslashes and NULs are what a second reading begins with.
        b"%\\\0".iter().for_each(|byte| set(&mut bytes, *byte));
        let any = RegexBuilder::new(&all.join("|"))
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .build()
            .ok()?;
        Some(Self { bytes, any })
    }

    /// Whether a pattern could match some reading of `value`.
    fn may_match(&self, value: &str) -> bool {
        let held = |byte: &u8| self.bytes.get(usize::from(*byte)) == Some(&true);
        let scheme = Forms::has_scheme(value);
        (scheme || value.as_bytes().iter().any(held))
            && (self.any.is_match(value) || !Forms::has_one(value))
    }
}

fn set(bytes: &mut [bool; 256], byte: u8) {
    if let Some(place) = bytes.get_mut(usize::from(byte)) {
        *place = true;
    }
}

/// A screen and the call it is asked about, at most once.
pub(crate) struct Screened<'a> {
    screen: Option<&'a Screen>,
    call: &'a Call<'a>,
    answer: OnceCell<bool>,
}

impl<'a> Screened<'a> {
    pub(crate) fn new(screen: Option<&'a Screen>, call: &'a Call<'a>) -> Self {
        Self {
            screen,
            call,
            answer: OnceCell::new(),
        }
    }

    /// Whether a pattern of the screen could match some argument.
    pub(crate) fn may_match(&self) -> bool {
        *self.answer.get_or_init(|| {
            let Some(screen) = self.screen else {
                return true;
            };
            let mut found = false;
            self.call.arguments.all(&mut |value| {
                found = screen.may_match(value);
                if found {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            found
        })
    }
}

/// Bytes of which every match of `hir` holds one, the rarest choice of few.
fn needed(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => None,
        HirKind::Literal(literal) => literal
            .0
            .iter()
            .min_by_key(|byte| weight(**byte))
            .map(|byte| vec![*byte]),
        HirKind::Class(Class::Bytes(class)) => {
            members(class.iter().map(|r| (r.start().into(), r.end().into())))
        }
        HirKind::Class(Class::Unicode(class)) => {
            members(class.iter().map(|r| (r.start().into(), r.end().into())))
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => needed(&repetition.sub),
        HirKind::Repetition(_) => None,
        HirKind::Capture(capture) => needed(&capture.sub),
        HirKind::Concat(parts) => parts
            .iter()
            .filter_map(needed)
            .min_by_key(|bytes| bytes.iter().map(|byte| weight(*byte)).sum::<u32>()),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(needed(branch)?);
            }
            (all.len() <= MAX_BYTES).then_some(all)
        }
    }
}

/// The ASCII characters of a small class.
fn members(ranges: impl Iterator<Item = (u32, u32)>) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for (start, end) in ranges {
        for c in start..=end {
            // The long s and the Kelvin sign, and all else beyond ASCII, begin with these bytes.
            let byte = u8::try_from(c).ok().filter(u8::is_ascii);
            match byte {
                Some(byte) => all.push(byte),
                None => {
                    let mut utf8 = [0; 4];
                    let c = char::from_u32(c)?.encode_utf8(&mut utf8);
                    all.extend(c.as_bytes().first());
                }
            }
            if all.len() > MAX_BYTES {
                return None;
            }
        }
    }
    (!all.is_empty()).then_some(all)
}

/// How common a byte is in arguments, by and large.
fn weight(byte: u8) -> u32 {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b' ' => 10,
        b'.' | b',' | b'-' => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(patterns: &[&str]) -> Screen {
        Screen::new(patterns.iter().copied()).unwrap()
    }

    #[test]
    fn what_could_match_in_some_reading_passes() {
        let screen = screen(&[r"(^|/)\.ssh/", "/etc/shadow", r"(?i)id_(rsa|dsa)"]);
        for yes in [
            "/home/u/.ssh/x",
            "cat /etc/shadow",
            "ID_RSA",
            "/etc/x/../shadow",
            "/etc//shadow",
            "%2essh/",
            "file:etc/shadow",
            "\\etc\\shadow",
            "/etc/sha\0dow",
        ] {
            assert!(screen.may_match(yes), "{yes}");
        }
        for no in [
            "",
            "plain words",
            "12.5",
            "/srv/a.txt",
            "a_b",
            "2026-11-21T10:00",
        ] {
            assert!(!screen.may_match(no), "{no}");
        }
    }

    #[test]
    fn needed_bytes() {
        let of = |text| needed(&regex_syntax::parse(text).unwrap());
        assert_eq!(of(r"(^|/)\.ssh"), Some(vec![b'.']));
        assert_eq!(of("a|b/"), Some(vec![b'a', b'/']));
        assert_eq!(of(r"[\\/]windows"), Some(vec![b'/', b'\\']));
        assert_eq!(of("[a-z]*"), None);
        assert_eq!(of("(?i)k"), Some(vec![b'K', b'k', 0xe2]));
    }

    #[test]
    fn no_patterns_make_no_screen() {
        assert!(Screen::new(std::iter::empty()).is_none());
    }
}
