//! Slow twin of the library: random patterns and texts, and an oracle that
//! says which match ends must be reported.
//!
//! Enters: a seed, or bytes from a fuzzer. Leaves: a [`Report`] of what the
//! library missed. Never part of a build that scans traffic: it stands behind
//! the feature `differential`.
//!
//! The property: for each pattern, the set of offsets at which the library
//! reports a match end contains every `e` for which some `s <= e` exists such
//! that the pattern matches exactly `text[s..e]`, with the rest of the text as
//! context for `\b`. The oracle finds these with an automaton of the `regex`
//! crate that reports overlapping matches; literals are searched for byte by
//! byte. Ends reported beyond that set are counted, not refused: the confirm
//! pass removes them.
//!
//! One *case* is one pattern on one text in one mode (block or stream). Texts
//! are copied to a random alignment, between bytes that would go on matching;
//! streams are cut at random places.
//!
//! # The known defect
//!
//! Version 5.4.13 misses matches of patterns such as
//! `(?:a|bc|qwertyuiopsdfghjk)needle[0-9]{1,5}`: where the part before a
//! literal may be short (here `a`) and may be longer than 16 bytes, the short
//! one is overlooked when 16 or more bytes of the data come before it. The
//! cause is in `run_accel` of `nfa/accel.c`: the double-byte skip over that part
//! runs to its last byte, where it used to stop one byte early because a path
//! that ends there has no second byte to look for. It is a fault of the
//! search, not of the CPU target, and no public option turns it off.
//!
//! Misses of generated patterns that *may* be of this kind (some part of one
//! byte or more, in more than 16 bytes) are counted apart, in
//! [`Report::known`]. [`run_patterns`] makes no such exception: shipped rules
//! must not be hit by it.

mod grammar;
mod member;
mod oracle;

use std::collections::BTreeSet;
use std::fmt;

pub use grammar::Entropy;
pub use oracle::Twin;

use crate::compile::{compile, compile_literals, info};
use crate::database::Database;
use crate::error::{CompileError, ScanError};
use crate::pattern::{Flags, Literal, Mode, Pattern};
use crate::relay::Flow;
use crate::scratch::Scratch;
use crate::stream::StreamScanner;
use grammar::Node;
use member::Member;

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    /// Patterns × texts × modes.
    pub cases: u64,
    /// Match ends the oracle asked for.
    pub matches: u64,
    /// Match ends the library reported and the oracle did not ask for.
    pub extra: u64,
    /// Generated sets that were not tried: they match the empty string, or the library refuses them.
    pub skipped: u64,
    /// Match ends that were missed by the known defect, see the module's text.
    pub known: u64,
    /// What else was missed; the first [`MAX_MISSES`].
    pub misses: Vec<Miss>,
}

/// Misses kept in a report.
pub const MAX_MISSES: usize = 20;

/// One match end that was not reported, with all it takes to try again.
#[derive(Debug)]
pub struct Miss {
    /// Expressions of the database (or escaped literals), in the order of their ids.
    pub expressions: Vec<String>,
    /// Id of the one that was missed.
    pub id: u32,
    /// Its flags.
    pub flags: Flags,
    /// The data.
    pub text: Vec<u8>,
    /// Where the text stood in its buffer.
    pub alignment: usize,
    /// The chunks it was cut into; empty in block mode.
    pub chunks: Vec<usize>,
    /// The end that was not reported.
    pub end: usize,
}

impl fmt::Display for Miss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "missed end {} of id {} {:?} in {:?}; text {} at alignment {}, chunks {:?}",
            self.end,
            self.id,
            self.flags,
            self.expressions,
            self.text.escape_ascii(),
            self.alignment,
            self.chunks
        )
    }
}

/// Runs rounds until at least `cases` cases were tried.
///
/// # Errors
/// A scan that failed.
pub fn run(seed: u64, cases: u64) -> Result<Report, ScanError> {
    let mut report = Report::default();
    let mut round_seed = seed;
    while report.cases < cases {
        round(&mut Entropy::from_seed(round_seed), &mut report)?;
        round_seed = round_seed.wrapping_add(1);
    }
    Ok(report)
}

/// One round on a fuzzer's bytes.
///
/// # Errors
/// A scan that failed.
pub fn run_bytes(bytes: &[u8]) -> Result<Report, ScanError> {
    let mut report = Report::default();
    round(&mut Entropy::from_bytes(bytes), &mut report)?;
    Ok(report)
}

/// Why [`run_patterns`] could not run.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The library takes some pattern not.
    #[error("{} patterns do not compile", .0.len())]
    Compile(Vec<CompileError>),
    /// The `regex` crate takes this pattern not.
    #[error("`{0}` is not a pattern both engines take")]
    Twin(String),
    /// A scan failed.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// Holds given patterns, such as shipped rules, to the oracle: all in one
/// database, with `texts` random texts for each, made of members of the
/// pattern, damaged members and noise. Ids in a [`Miss`] are places in `patterns`;
/// `extra` is not counted. Extra limits ([`crate::Ext`]) are left out.
///
/// # Errors
/// See [`Refused`].
pub fn run_patterns(patterns: &[Pattern<'_>], seed: u64, texts: usize) -> Result<Report, Refused> {
    let renumbered: Vec<Pattern<'_>> = (0..)
        .zip(patterns)
        .map(|(id, pattern)| Pattern::new(id, pattern.expression).with_flags(pattern.flags))
        .collect();
    let block = compile(&renumbered, Mode::Block).map_err(Refused::Compile)?;
    let stream = compile(&renumbered, Mode::Stream).map_err(Refused::Compile)?;
    let mut scratch = Scratch::new(&[&block, &stream])?;
    let mut report = Report::default();
    let mut entropy = Entropy::from_seed(seed);
    for pattern in &renumbered {
        let refused = || Refused::Twin(pattern.expression.to_owned());
        let mut twin = Twin::expression(pattern.expression, pattern.flags).ok_or_else(refused)?;
        let member = Member::new(pattern.expression, pattern.flags).ok_or_else(refused)?;
        for _ in 0..texts {
            let text = member.text(&mut entropy);
            let alignment = entropy.below(64);
            let buffer = surround(&text, alignment);
            let placed = buffer
                .get(alignment..alignment + text.len())
                .unwrap_or_default();
            let chunks = cuts(&mut entropy, text.len());
            let whole = block_ends(&block, &mut scratch, placed)?;
            let cut = stream_ends(&stream, &mut scratch, placed, &chunks)?;
            for (reported, chunks) in [(whole, &[][..]), (cut, &chunks[..])] {
                report.cases += 1;
                for end in twin.ends(&text) {
                    report.matches += 1;
                    if !reported.contains(&(pattern.id, end)) && report.misses.len() < MAX_MISSES {
                        report.misses.push(Miss {
                            expressions: vec![pattern.expression.to_owned()],
                            id: pattern.id,
                            flags: pattern.flags,
                            text: text.clone(),
                            alignment,
                            chunks: chunks.to_vec(),
                            end,
                        });
                    }
                }
            }
        }
    }
    Ok(report)
}

/// One generated pattern with its twin.
struct Subject {
    node: Node,
    expression: String,
    flags: Flags,
    twin: Twin,
}

/// The same subjects compiled for both modes.
struct Pair {
    block: Database,
    stream: Database,
}

fn round(entropy: &mut Entropy<'_>, report: &mut Report) -> Result<(), ScanError> {
    let literal_api = entropy.chance(1, 6);
    let wanted = match entropy.below(10) {
        0..=5 => 1,
        6..=8 => 2 + entropy.below(6),
        _ => 16 + entropy.below(64),
    };
    let mut subjects: Vec<Subject> = (0..wanted)
        .filter_map(|_| subject(entropy, literal_api, wanted > 8))
        .collect();
    let Some(pair) = build(&subjects, literal_api) else {
        report.skipped += 1;
        return Ok(());
    };
    let mut scratch = Scratch::new(&[&pair.block, &pair.stream])?;
    let texts = if wanted > 8 { 6 } else { 24 };
    for _ in 0..texts {
        let text = text(entropy, &subjects);
        let alignment = entropy.below(64);
        let buffer = surround(&text, alignment);
        let placed = buffer
            .get(alignment..alignment + text.len())
            .unwrap_or_default();
        let ends = block_ends(&pair.block, &mut scratch, placed)?;
        compare(report, &mut subjects, &ends, (&text, alignment, &[]));
        let chunks = cuts(entropy, text.len());
        let ends = stream_ends(&pair.stream, &mut scratch, placed, &chunks)?;
        compare(report, &mut subjects, &ends, (&text, alignment, &chunks));
    }
    Ok(())
}

/// A pattern the library takes, or `None` if this one matches the empty string.
fn subject(entropy: &mut Entropy<'_>, literal_api: bool, short: bool) -> Option<Subject> {
    let mut flags = Flags::NONE;
    if entropy.chance(1, 3) {
        flags |= Flags::CASELESS;
    }
    if literal_api || (short && entropy.chance(3, 4)) {
        let bytes = grammar::literal(entropy);
        let twin = Twin::literal(&bytes, flags);
        let node = Node::Literal(bytes);
        return Some(Subject {
            expression: node.render(),
            node,
            flags,
            twin,
        });
    }
    if entropy.chance(1, 3) {
        flags |= Flags::DOTALL;
    }
    let node = grammar::pattern(entropy);
    let expression = node.render();
    let width = info(&expression, flags).ok()?.min_width;
    let twin = Twin::expression(&expression, flags)?;
    (width > 0).then_some(Subject {
        node,
        expression,
        flags,
        twin,
    })
}

fn build(subjects: &[Subject], literal_api: bool) -> Option<Pair> {
    if literal_api {
        let literals: Vec<Literal<'_>> = (0..)
            .zip(subjects)
            .filter_map(|(id, subject)| match &subject.node {
                Node::Literal(bytes) => Some(Literal {
                    bytes,
                    id,
                    flags: subject.flags,
                }),
                _ => None,
            })
            .collect();
        let block = compile_literals(&literals, Mode::Block).ok()?;
        let stream = compile_literals(&literals, Mode::Stream).ok()?;
        return Some(Pair { block, stream });
    }
    let patterns: Vec<Pattern<'_>> = (0..)
        .zip(subjects)
        .map(|(id, subject)| Pattern::new(id, &subject.expression).with_flags(subject.flags))
        .collect();
    let block = compile(&patterns, Mode::Block).ok()?;
    let stream = compile(&patterns, Mode::Stream).ok()?;
    Some(Pair { block, stream })
}

/// Noise, whole members and damaged members of the subjects, 1 to some 400 bytes.
fn text(entropy: &mut Entropy<'_>, subjects: &[Subject]) -> Vec<u8> {
    let target = if entropy.chance(1, 2) {
        entropy.below(64)
    } else {
        64 + entropy.below(300)
    };
    let mut text = Vec::with_capacity(target + 64);
    while text.len() <= target {
        for _ in 0..entropy.below(12) {
            text.push(grammar::byte(entropy));
        }
        let mut member = Vec::new();
        if let Some(subject) = subjects.get(entropy.below(subjects.len())) {
            subject.node.member(entropy, subject.flags, &mut member);
        }
        if entropy.chance(2, 5) {
            grammar::damage(entropy, &mut member);
        }
        text.extend_from_slice(&member);
        text.push(grammar::byte(entropy));
    }
    if entropy.chance(1, 2) {
        // So that a whole member ends where the data ends.
        text.pop();
    }
    text
}

/// The text at `alignment`, between copies of itself: reading past either end would match.
fn surround(text: &[u8], alignment: usize) -> Vec<u8> {
    let mut buffer: Vec<u8> = text.iter().copied().cycle().take(alignment).collect();
    buffer.extend_from_slice(text);
    buffer.extend_from_slice(text);
    buffer
}

fn cuts(entropy: &mut Entropy<'_>, length: usize) -> Vec<usize> {
    let largest = 1 + entropy.below(40);
    let mut chunks = Vec::new();
    let mut left = length;
    while left > 0 {
        let chunk = (1 + entropy.below(largest)).min(left);
        chunks.push(chunk);
        left -= chunk;
    }
    chunks
}

type Ends = BTreeSet<(u32, usize)>;

fn block_ends(database: &Database, scratch: &mut Scratch, text: &[u8]) -> Result<Ends, ScanError> {
    let mut ends = Ends::new();
    let _ = database.scan(text, scratch, |id, end| {
        ends.insert((id, end));
        Flow::Continue
    })?;
    Ok(ends)
}

fn stream_ends(
    database: &Database,
    scratch: &mut Scratch,
    text: &[u8],
    chunks: &[usize],
) -> Result<Ends, ScanError> {
    let mut ends = Ends::new();
    let mut note = |id, end| {
        ends.insert((id, usize::try_from(end).unwrap_or(usize::MAX)));
        Flow::Continue
    };
    let mut stream = StreamScanner::open(database)?;
    let mut rest = text;
    for chunk in chunks {
        let Some((head, tail)) = rest.split_at_checked(*chunk) else {
            break;
        };
        let _ = stream.write(scratch, head, &mut note)?;
        rest = tail;
    }
    let _ = stream.write(scratch, rest, &mut note)?;
    let _ = stream.close(scratch, &mut note)?;
    Ok(ends)
}

fn compare(
    report: &mut Report,
    subjects: &mut [Subject],
    reported: &Ends,
    (text, alignment, chunks): (&[u8], usize, &[usize]),
) {
    let mut asked = 0;
    let mut missed = Vec::new();
    for (id, subject) in (0..).zip(subjects.iter_mut()) {
        report.cases += 1;
        for end in subject.twin.ends(text) {
            asked += 1;
            if !reported.contains(&(id, end)) {
                missed.push((id, subject.flags, end, subject.node.may_be_known_defect()));
            }
        }
    }
    let reported = u64::try_from(reported.len()).unwrap_or(u64::MAX);
    let found = asked - u64::try_from(missed.len()).unwrap_or(asked);
    report.matches += asked;
    report.extra += reported.saturating_sub(found);
    for (id, flags, end, known) in missed {
        if known {
            report.known += 1;
        } else if report.misses.len() < MAX_MISSES {
            report.misses.push(Miss {
                expressions: subjects.iter().map(|s| s.expression.clone()).collect(),
                id,
                flags,
                text: text.to_vec(),
                alignment,
                chunks: chunks.to_vec(),
                end,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_noticed() {
        let bytes = b"ab".to_vec();
        let twin = Twin::literal(&bytes, Flags::NONE);
        let node = Node::Literal(bytes);
        let expression = node.render();
        let mut subjects = [Subject {
            node,
            expression,
            flags: Flags::NONE,
            twin,
        }];
        let mut report = Report::default();
        let reported = Ends::from([(0, 2), (0, 3)]);
        compare(&mut report, &mut subjects, &reported, (b"ab-ab", 7, &[]));
        assert_eq!((report.cases, report.matches, report.extra), (1, 2, 1));
        assert_eq!(report.misses.len(), 1);
        assert!(
            report.misses[0]
                .to_string()
                .starts_with("missed end 5 of id 0"),
            "{}",
            report.misses[0]
        );
    }

    #[test]
    fn a_seed_repeats_itself() {
        let once = || {
            let report = run(42, 500).unwrap();
            (report.cases, report.matches, report.extra)
        };
        assert_eq!(once(), once());
    }
}
