//! One look at a call's arguments for all rules together.
//!
//! The regular expressions that rules hold against *any* argument enter; whether any of them could
//! match something in a call leaves. Most calls name nothing that a rule is about, and each rule
//! for itself would read every argument to find that out. It may say yes too often, never no.

use std::cell::OnceCell;
use std::ops::ControlFlow;

use memchr::{memchr_iter, memchr2_iter, memchr3_iter};
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::call::Call;
use crate::lexical::Forms;
use crate::pattern::printed;

/// Largest compiled form of all expressions together, in bytes. 8 MiB.
const MAX_COMPILED: usize = 8 * 1024 * 1024;

/// Most pairs of bytes of one pattern.
const MAX_PAIRS: usize = 24;

/// Values below this many bytes are walked, longer ones searched.
const SHORT: usize = 48;

/// What any argument is held against, by every rule that restricts.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    /// The first bytes of the pairs, and the bytes that a second reading begins with: without one
    /// of them there is no match.
    telling: Box<[bool; 256]>,
    /// The first bytes of the pairs.
    first: Vec<u8>,
    /// Two bytes in a row, one of which every match holds; `None` if some pattern has none.
    pairs: Option<Vec<[u8; 2]>>,
    any: Regex,
}

impl Screen {
    /// The screen of `patterns`; `None` if there are none or they are too large together.
    pub(crate) fn new<'p>(patterns: impl Iterator<Item = &'p str>) -> Option<Self> {
        let mut pairs = Some(Vec::new());
        let mut all = Vec::new();
        for pattern in patterns {
            let hir = regex_syntax::parse(pattern).ok()?;
            let needed = needed(&hir);
            pairs = pairs.zip(needed).map(|(mut pairs, needed)| {
                pairs.extend(needed);
                pairs
            });
            // Printed anew: flags and comments of one pattern must not reach into the next.
            all.push(format!("(?:{})", printed(&hir)));
        }
        if all.is_empty() {
            return None;
        }
        let mut first: Vec<u8> = pairs.iter().flatten().map(|[first, _]| *first).collect();
        first.sort_unstable();
        first.dedup();
        let mut telling = Box::new([false; 256]);
        for byte in first.iter().chain(b"%\\/:.\0") {
            if let Some(place) = telling.get_mut(usize::from(*byte)) {
                *place = true;
            }
        }
        let any = RegexBuilder::new(&all.join("|"))
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .build()
            .ok()?;
        Some(Self {
            telling,
            first,
            pairs,
            any,
        })
    }

    /// Whether a pattern matches some reading of `value`, its guard at least.
    fn may_match(&self, value: &str) -> bool {
        let telling = |byte: u8| self.telling.get(usize::from(byte)) == Some(&true);
        if value.len() < SHORT && self.pairs.is_some() && !value.bytes().any(telling) {
            return false;
        }
        Forms::any(value, |form| self.has_pair(form) && self.any.is_match(form))
    }

    fn has_pair(&self, value: &str) -> bool {
        let Some(pairs) = &self.pairs else {
            return true;
        };
        let bytes = value.as_bytes();
        if bytes.len() < SHORT {
            let begins = |pair: &[u8; 2]| self.first.contains(&pair[0]) && pairs.contains(pair);
            return bytes
                .windows(2)
                .filter_map(<[u8]>::first_chunk::<2>)
                .any(begins);
        }
        let held = |at: usize| {
            let found = bytes.get(at..).and_then(<[u8]>::first_chunk::<2>);
            found.is_some_and(|found| pairs.contains(found))
        };
        self.first.chunks(3).any(|first| match first {
            [a, b, c] => memchr3_iter(*a, *b, *c, bytes).any(held),
            [a, b] => memchr2_iter(*a, *b, bytes).any(held),
            [a] => memchr_iter(*a, bytes).any(held),
            _ => false,
        })
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

/// Pairs of bytes of which every match of `hir` holds one; of several choices the one with the
/// rarest first bytes.
fn needed(hir: &Hir) -> Option<Vec<[u8; 2]>> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            let pairs = literal.0.windows(2).filter_map(<[u8]>::first_chunk::<2>);
            pairs
                .min_by_key(|[first, _]| weight(*first))
                .map(|pair| vec![*pair])
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => needed(&repetition.sub),
        HirKind::Capture(capture) => needed(&capture.sub),
        HirKind::Concat(parts) => {
            let inside = parts.iter().filter_map(needed);
            let between = parts.windows(2).filter_map(|two| {
                let [first, second] = two.first_chunk::<2>()?;
                product(&edge(first, End::Last)?, &edge(second, End::First)?)
            });
            let weigh = |pairs: &Vec<[u8; 2]>| -> u32 {
                pairs.iter().map(|[first, _]| weight(*first)).sum()
            };
            inside.chain(between).min_by_key(weigh)
        }
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(needed(branch)?);
            }
            (all.len() <= MAX_PAIRS).then_some(all)
        }
        _ => None,
    }
}

fn product(first: &[u8], second: &[u8]) -> Option<Vec<[u8; 2]>> {
    let pairs = first.iter().flat_map(|a| second.iter().map(|b| [*a, *b]));
    (first.len() * second.len() <= MAX_PAIRS).then(|| pairs.collect())
}

/// One end of a match.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

/// The bytes that matches of `hir` have at one end, if they are few and no match is empty.
fn edge(hir: &Hir, end: End) -> Option<Vec<u8>> {
    let mut all = match hir.kind() {
        HirKind::Literal(literal) => {
            let byte = match end {
                End::First => literal.0.first(),
                End::Last => literal.0.last(),
            };
            vec![*byte?]
        }
        HirKind::Class(Class::Bytes(class)) => members(
            class.iter().map(|r| (r.start().into(), r.end().into())),
            end,
        )?,
        HirKind::Class(Class::Unicode(class)) => members(
            class.iter().map(|r| (r.start().into(), r.end().into())),
            end,
        )?,
        HirKind::Capture(capture) => edge(&capture.sub, end)?,
        HirKind::Repetition(repetition) if repetition.min > 0 => edge(&repetition.sub, end)?,
        HirKind::Concat(parts) => match end {
            End::First => edge(parts.first()?, end)?,
            End::Last => edge(parts.last()?, end)?,
        },
        HirKind::Alternation(branches) => {
            let each = branches.iter().map(|branch| edge(branch, end));
            each.collect::<Option<Vec<_>>>()?.concat()
        }
        _ => return None,
    };
    all.sort_unstable();
    all.dedup();
    (all.len() <= MAX_PAIRS).then_some(all)
}

/// The first or last bytes of the characters of a small class, in UTF-8.
fn members(ranges: impl Iterator<Item = (u32, u32)>, end: End) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for (start, last) in ranges {
        for c in start..=last {
            let mut utf8 = [0; 4];
            let bytes = char::from_u32(c)?.encode_utf8(&mut utf8).as_bytes();
            all.extend(match end {
                End::First => bytes.first(),
                End::Last => bytes.last(),
            });
            if all.len() > MAX_PAIRS {
                return None;
            }
        }
    }
    Some(all)
}

/// How common a byte is in arguments, by and large.
fn weight(byte: u8) -> u32 {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b' ' => 100,
        b'.' | b',' | b'-' => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod property;

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
    fn needed_pairs() {
        let of = |text| needed(&regex_syntax::parse(text).unwrap());
        assert_eq!(of(r"(^|/)\.ssh"), Some(vec![*b".s"]));
        assert_eq!(of("ab|cd/e"), Some(vec![*b"ab", *b"/e"]));
        assert_eq!(of(r"[\\/]x"), Some(vec![*b"/x", *b"\\x"]));
        assert_eq!(of("/etc/+shadow"), Some(vec![*b"/e"]));
        assert_eq!(of(r"\.(ssh|aws)"), Some(vec![*b".a", *b".s"]));
        for none in ["[a-z]*b", "a", "a.b", "ab|c"] {
            assert_eq!(of(none), None, "{none}");
        }
        let kelvin = vec![[b'.', b'K'], [b'.', b'k'], [b'.', 0xe2]];
        assert_eq!(of(r"(?i)\.k"), Some(kelvin));
    }

    #[test]
    fn no_patterns_make_no_screen() {
        assert!(Screen::new(std::iter::empty()).is_none());
    }
}
