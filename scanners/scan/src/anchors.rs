//! The byte scanner behind rules that have no literal.
//!
//! Enters: the joined buffer. Leaves: stretches around which anchored rules run their patterns.
//! It may report too much and never too little: its slow twin is in the tests.

use std::ops::Range;

use memchr::{memchr_iter, memmem};

use crate::spec::Anchor;

/// Digits a run needs before a [`Anchor::Digits`] rule looks at it.
pub const MIN_DIGITS: usize = 7;

/// Separators allowed between two digits of a run.
const MAX_GAP: usize = 3;

/// Bytes looked at in one step of the digit count. Two of them must hold the shortest run at its
/// widest: seven digits with three separators between each are 25 bytes.
const BLOCK: usize = 32;
const _: () = assert!(MIN_DIGITS + (MIN_DIGITS - 1) * MAX_GAP <= BLOCK);

/// Stretches closer than this, in bytes, become one, so that a flood of anchors stays small.
const JOIN: u32 = 32;

/// Half-open stretches of the buffer, in order and disjoint.
pub(crate) type Stretches = Vec<(u32, u32)>;

/// Writes to `out` where `anchor` occurs in `buffer`; nothing for [`Anchor::Literal`].
///
/// `buffer` is at most `u32::MAX` bytes long: the caller saw to that.
pub(crate) fn find(anchor: Anchor, buffer: &[u8], out: &mut Stretches) {
    out.clear();
    match anchor {
        Anchor::Literal => {}
        Anchor::Digits => digits(buffer, out),
        Anchor::At => memchr_iter(b'@', buffer).for_each(|at| push(out, at, at + 1)),
        Anchor::Url => memmem::find_iter(buffer, b"://").for_each(|at| push(out, at, at + 3)),
        Anchor::Colons => memchr_iter(b':', buffer)
            .filter(|at| is_colons(buffer, *at))
            .for_each(|at| push(out, at, at + 1)),
    }
}

fn is_colons(buffer: &[u8], at: usize) -> bool {
    let part = |b: Option<&u8>| b.is_some_and(|b| *b == b':' || b.is_ascii_hexdigit());
    let before = at.checked_sub(1).and_then(|ix| buffer.get(ix));
    before == Some(&b':') || (part(before) && part(buffer.get(at + 1)))
}

fn push(out: &mut Stretches, start: usize, end: usize) {
    // Saturation cannot happen below u32::MAX bytes; it would only widen the stretch.
    let start = u32::try_from(start).unwrap_or(u32::MAX);
    let end = u32::try_from(end).unwrap_or(u32::MAX);
    match out.last_mut() {
        Some(last) if start <= last.1.saturating_add(JOIN) => last.1 = last.1.max(end),
        _ => out.push((start, end)),
    }
}

/// Two neighbouring blocks with fewer than [`MIN_DIGITS`] digits hold no run that starts in the
/// first; most text is skipped by counting.
fn digits(buffer: &[u8], out: &mut Stretches) {
    let mut walk = DigitWalk {
        buffer,
        region: None,
        before: 0,
        at: 0,
    };
    let (blocks, tail) = buffer.as_chunks::<BLOCK>();
    for block in blocks {
        walk.step(count_digits(block), BLOCK, out);
    }
    walk.step(count_digits(tail), tail.len(), out);
    runs(buffer, walk.region, out);
}

/// Joins neighbouring blocks with enough digits into regions.
struct DigitWalk<'a> {
    buffer: &'a [u8],
    region: Option<(usize, usize)>,
    before: usize,
    at: usize,
}

impl DigitWalk<'_> {
    #[inline]
    fn step(&mut self, count: usize, len: usize, out: &mut Stretches) {
        let end = self.at + len;
        if self.before + count >= MIN_DIGITS {
            let start = self.at.saturating_sub(BLOCK);
            self.region = match self.region {
                Some((first, last)) if start <= last => Some((first, end)),
                done => {
                    runs(self.buffer, done, out);
                    Some((start, end))
                }
            };
        }
        self.before = count;
        self.at = end;
    }
}

/// Written so that it becomes a handful of vector instructions for a whole block.
#[inline]
fn count_digits(block: &[u8]) -> usize {
    let count = block.iter().fold(0_u8, |sum, b| {
        sum.wrapping_add(u8::from(b.wrapping_sub(b'0') < 10))
    });
    usize::from(count)
}

fn runs(buffer: &[u8], region: Option<(usize, usize)>, out: &mut Stretches) {
    let Some((first, last)) = region else { return };
    let bytes = buffer.get(first..last).unwrap_or_default();
    let mut at = 0;
    // Digits alone are everywhere in encoded data, stretches of digits and separators are not.
    while let Some(stretch) = long_run(bytes, at, MIN_DIGITS, is_part) {
        at = stretch.end;
        run(bytes, stretch, first, out);
    }
}

/// Whether `byte` can stand in a run: a digit, or a separator between two.
fn is_part(byte: u8) -> bool {
    byte.is_ascii_digit() || is_separator(byte)
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'.' | b'-' | b'(' | b')' | b'+' | b'/' | b'_')
}

/// The runs in one stretch of digits and separators; `base` is where `bytes` starts in the buffer.
fn run(bytes: &[u8], stretch: Range<usize>, base: usize, out: &mut Stretches) {
    let (mut start, mut end, mut count, mut gap) = (0, 0, 0, 0);
    for at in stretch {
        if bytes.get(at).is_some_and(u8::is_ascii_digit) {
            if count == 0 {
                start = at;
            }
            end = at + 1;
            count += 1;
            gap = 0;
        } else if count > 0 {
            gap += 1;
            if gap > MAX_GAP {
                if count >= MIN_DIGITS {
                    push(out, base + start, base + end);
                }
                count = 0;
                gap = 0;
            }
        }
    }
    if count >= MIN_DIGITS {
        push(out, base + start, base + end);
    }
}

/// The next stretch of `min` or more bytes that `belongs`, whole, at or after `from`.
///
/// Such a stretch covers one of every `min` bytes: only those are looked at, until one belongs.
pub(crate) fn long_run(
    bytes: &[u8],
    from: usize,
    min: usize,
    belongs: impl Fn(u8) -> bool,
) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        let probe = at.checked_add(min)?.checked_sub(1)?;
        if !belongs(*bytes.get(probe)?) {
            at = probe + 1;
            continue;
        }
        let before = bytes.get(at..probe)?;
        let back = before.iter().rev().take_while(|b| belongs(**b)).count();
        let after = bytes.get(probe..)?;
        let ahead = after.iter().take_while(|b| belongs(**b)).count();
        let stretch = probe - back..probe + ahead;
        if stretch.len() >= min {
            return Some(stretch);
        }
        at = stretch.end;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stretches(anchor: Anchor, text: &str) -> Stretches {
        let mut out = Vec::new();
        find(anchor, text.as_bytes(), &mut out);
        out
    }

    #[test]
    fn digit_runs() {
        assert_eq!(stretches(Anchor::Digits, "call 555-1234 now"), [(5, 13)]);
        assert_eq!(stretches(Anchor::Digits, "(415) 555-2671"), [(1, 14)]);
        assert_eq!(stretches(Anchor::Digits, "123456 and 7"), []);
        assert_eq!(
            stretches(Anchor::Digits, "1   2   3   4   5   6   7"),
            [(0, 25)]
        );
        assert_eq!(stretches(Anchor::Digits, "1234\x00567"), []);
    }

    #[test]
    fn other_anchors() {
        assert_eq!(stretches(Anchor::At, "a@b"), [(1, 2)]);
        assert_eq!(stretches(Anchor::Url, "see http://x"), [(8, 11)]);
        assert_eq!(stretches(Anchor::Colons, "fe80::1"), [(4, 6)]);
        assert_eq!(stretches(Anchor::Colons, "::1"), [(1, 2)]);
        assert_eq!(stretches(Anchor::Colons, "key: value"), []);
    }

    #[test]
    fn a_flood_is_one_stretch() {
        assert_eq!(stretches(Anchor::At, &"@".repeat(10_000)), [(0, 10_000)]);
    }

    /// The slow twin: the run machine over every byte.
    fn slow(text: &[u8]) -> Stretches {
        let mut out = Vec::new();
        let mut start = 0;
        for (at, byte) in text.iter().chain(b"x").enumerate() {
            if !is_part(*byte) {
                run(text, start..at, 0, &mut out);
                start = at + 1;
            }
        }
        out
    }

    #[test]
    fn long_runs_are_found_whole() {
        for min in 1..6 {
            for bits in 0_u32..1 << 12 {
                let text: Vec<u8> = (0..12)
                    .map(|n| b'a' + u8::from(bits >> n & 1 == 1))
                    .collect();
                let mut fast = Vec::new();
                let mut at = 0;
                while let Some(stretch) = long_run(&text, at, min, |b| b == b'b') {
                    at = stretch.end;
                    fast.push(stretch);
                }
                let mut start = 0;
                let mut slow = Vec::new();
                for (at, byte) in text.iter().chain(b"a").enumerate() {
                    if *byte == b'a' {
                        if at - start >= min {
                            slow.push(start..at);
                        }
                        start = at + 1;
                    }
                }
                assert_eq!(fast, slow, "{min} {text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn blocks_miss_no_run(text in "[0-9 .a()-]{0,300}") {
            let fast = stretches(Anchor::Digits, &text);
            // Every seven digits of a slow run lie inside one fast stretch.
            for (start, end) in slow(text.as_bytes()) {
                let ends: Vec<u32> = (start..end)
                    .filter(|at| text.as_bytes()[*at as usize].is_ascii_digit())
                    .collect();
                for seven in ends.windows(MIN_DIGITS) {
                    let wide = seven.windows(2).all(|w| w[1] - w[0] <= 4);
                    if wide {
                        let inside = fast.iter().any(|(s, e)| *s <= seven[0] && seven[6] < *e);
                        prop_assert!(inside, "{text:?} {fast:?} {seven:?}");
                    }
                }
            }
        }
    }
}
