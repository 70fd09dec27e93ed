//! Texts for a pattern that was written by hand: members, near-members, noise.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::grammar::{self, Entropy};
use crate::pattern::Flags;

/// Turns of an unbounded repeat beyond its least.
const UNBOUNDED: u32 = 12;
/// Longest member, in bytes; a longer one is cut.
const LONGEST: usize = 600;

/// A parsed pattern that makes texts it matches.
pub(super) struct Member(Hir);

impl Member {
    pub(super) fn new(expression: &str, flags: Flags) -> Option<Self> {
        ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .case_insensitive(flags.contains(Flags::CASELESS))
            .dot_matches_new_line(flags.contains(Flags::DOTALL))
            .build()
            .parse(expression)
            .ok()
            .map(Self)
    }

    /// Noise, then one to three members, some damaged, with noise between; half end in a member.
    pub(super) fn text(&self, entropy: &mut Entropy<'_>) -> Vec<u8> {
        let mut text = Vec::new();
        noise(entropy, &mut text, 70);
        for _ in 0..=entropy.below(3) {
            let mut member = Vec::new();
            make(&self.0, entropy, &mut member);
            if entropy.chance(1, 4) {
                grammar::damage(entropy, &mut member);
            }
            text.extend_from_slice(&member);
            noise(entropy, &mut text, 20);
        }
        let mut last = Vec::new();
        make(&self.0, entropy, &mut last);
        text.extend_from_slice(&last);
        if entropy.chance(1, 2) {
            noise(entropy, &mut text, 40);
        }
        text
    }
}

/// Up to `most` bytes of one kind or of several; always a separator first.
fn noise(entropy: &mut Entropy<'_>, text: &mut Vec<u8>, most: usize) {
    const SEPARATORS: &[u8] = b" \n\"'=:,;(\t.";
    text.push(
        SEPARATORS
            .get(entropy.below(SEPARATORS.len()))
            .copied()
            .unwrap_or(b' '),
    );
    let same = entropy.chance(1, 3).then_some(b'~');
    for _ in 0..entropy.below(most) {
        text.push(same.unwrap_or_else(|| grammar::byte(entropy)));
    }
}

fn make(hir: &Hir, entropy: &mut Entropy<'_>, out: &mut Vec<u8>) {
    if out.len() > LONGEST {
        return;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(Class::Bytes(class)) => {
            let ranges = class.ranges();
            if let Some(range) = ranges.get(entropy.below(ranges.len())) {
                let width = usize::from(range.end() - range.start()) + 1;
                let step = u8::try_from(entropy.below(width)).unwrap_or(0);
                out.push(range.start().saturating_add(step));
            }
        }
        HirKind::Class(Class::Unicode(class)) => {
            // Non-ASCII text written literally: its one character.
            if let Some(range) = class.ranges().first() {
                let mut buffer = [0; 4];
                out.extend_from_slice(range.start().encode_utf8(&mut buffer).as_bytes());
            }
        }
        HirKind::Repetition(repeat) => {
            let most = repeat.max.unwrap_or(repeat.min.saturating_add(UNBOUNDED));
            let room = usize::try_from(most - repeat.min).unwrap_or(0);
            // Often the least, sometimes anything.
            let more = if entropy.chance(1, 2) {
                entropy.below(room + 1)
            } else {
                0
            };
            for _ in 0..repeat.min {
                make(&repeat.sub, entropy, out);
            }
            for _ in 0..more {
                make(&repeat.sub, entropy, out);
            }
        }
        HirKind::Capture(capture) => make(&capture.sub, entropy, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| make(part, entropy, out)),
        HirKind::Alternation(branches) => {
            if let Some(branch) = branches.get(entropy.below(branches.len())) {
                make(branch, entropy, out);
            }
        }
    }
}
