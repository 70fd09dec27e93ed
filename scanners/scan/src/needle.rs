//! Which byte strings to look for instead of a pattern.
//!
//! Enters: a parsed pattern. Leaves: a set of byte strings of which every match holds one, and how
//! far a match can reach around it. Looking for thousands of plain strings costs a fraction of
//! what looking for patterns costs, if the strings are rare: so of all the sets that would do, the
//! one is taken that an ordinary text holds least of. A guess that is wrong costs time and never a
//! match. It never sees scanned text.

use std::ops::Range;

use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::ordinary::{EVERYWHERE, Ordinary};
use crate::words::{MIN_BEGINNING, is_word};

/// Most strings of one set.
const MAX_NEEDLES: usize = 160;

/// Most characters of a class that are spelled out.
const MAX_CLASS: usize = 4;

/// Longest string looked for, in bytes; longer ones are cut.
pub(crate) const MAX_LEN: usize = 24;

/// A set is good for nothing if it stands more often than once in this many bytes.
const RARE: u64 = 160;

/// The same for strings that are looked for only beside others.
const BESIDE: u64 = 300;

/// How often strings that begin no word may stand in ordinary text to be looked for beside others,
/// in the unit of [`EVERYWHERE`]: they cost more than words.
const FRAGMENTS: u64 = EVERYWHERE / 65_536;

/// Most sets looked for beside the rarest one.
pub(crate) const MAX_BESIDE: usize = 3;

/// What one more string costs, besides being met with, in the unit of [`EVERYWHERE`].
const UPKEEP: u64 = EVERYWHERE >> 22;

/// One string to look for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Needle {
    /// At least one byte; in lower case if case does not matter.
    pub(crate) bytes: Vec<u8>,
    /// Whether ASCII letters match in either case.
    pub(crate) caseless: bool,
    /// Whether it begins a word in every match: `\b` matches before it.
    pub(crate) word: bool,
    /// Whether it also ends with a word or behind one in every match: `\b` matches after it.
    pub(crate) whole: bool,
}

impl Needle {
    /// Whether its first word is whole in every match.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole || self.bytes.iter().any(|byte| is_word(*byte) == 0)
    }
}

/// Every match of the pattern holds one of `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needles {
    pub(crate) list: Vec<Needle>,
    /// From a match's start to the end of the needle in it, at most, in bytes.
    pub(crate) before: u32,
    /// From the end of the needle in a match to the match's end, at most, in bytes.
    pub(crate) after: u32,
    /// Every match holds one of each of these as well.
    pub(crate) beside: Vec<Beside>,
    /// How often they stand in ordinary text, in the unit of [`EVERYWHERE`].
    pub(crate) cost: u64,
}

/// Strings of which one stands in every match, beside a needle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beside {
    pub(crate) list: Vec<Needle>,
    /// Whether it ends behind the needle's end, not before.
    pub(crate) behind: bool,
}

/// Chooses needles.
pub(crate) struct Chooser {
    ordinary: Ordinary,
    exact: Exact,
}

impl Chooser {
    pub(crate) fn new() -> Self {
        Self {
            ordinary: Ordinary::new(),
            exact: Exact { caseless: false },
        }
    }

    /// The needles of `hir`, if rare ones exist: every match holds those of one set.
    pub(crate) fn choose(&mut self, hir: &Hir, caseless: bool) -> Vec<Needles> {
        self.exact = Exact { caseless };
        let parts = flat(hir);
        // Of a choice each branch has needles of its own, and others beside them.
        let mut real = parts.iter().enumerate().filter(|(_, part)| !is_look(part));
        if let (Some((place, part)), None) = (real.next(), real.next())
            && let HirKind::Alternation(branches) = part.kind()
        {
            let (before, behind) = parts.split_at(place);
            let behind = behind.get(1..).unwrap_or_default();
            let each = branches.iter().map(|branch| {
                let parts = [before, &flat(branch), behind].concat();
                self.choose_one(&parts)
            });
            if let Some(each) = each.collect::<Option<Vec<_>>>()
                && each.iter().map(|needles| needles.cost).sum::<u64>() <= EVERYWHERE / RARE
            {
                return each;
            }
        }
        self.choose_one(&parts).into_iter().collect()
    }

    fn choose_one(&mut self, parts: &[Hir]) -> Option<Needles> {
        let mut candidates = self.candidates(parts, Bounds::NONE)?;
        candidates.sort_by_key(|(_, set)| set.cost);
        let mut candidates = candidates.into_iter();
        let (place, mut chosen) = candidates
            .next()
            .filter(|(_, set)| set.cost <= EVERYWHERE / RARE)?;
        let needle_end = place.end;
        let mut taken = vec![place];
        for (place, set) in candidates {
            let apart = taken
                .iter()
                .all(|other| place.end <= other.start || other.end <= place.start);
            let useful = set.cost <= EVERYWHERE / BESIDE && self.fragments(&set.list) <= FRAGMENTS;
            if apart && useful && taken.len() <= MAX_BESIDE {
                let behind = place.start >= needle_end;
                taken.push(place);
                chosen.beside.push(Beside {
                    list: set.list,
                    behind,
                });
            }
        }
        chosen.list.sort();
        chosen.list.dedup();
        Some(chosen)
    }

    /// How often those of `list` that begin no word stand in ordinary text.
    fn fragments(&mut self, list: &[Needle]) -> u64 {
        let fragments = list.iter().filter(|needle| !needle.word);
        fragments.fold(0, |sum: u64, needle| {
            sum.saturating_add(self.ordinary.frequency(needle))
        })
    }

    /// The rarest set of `hir`, which stands between `bounds`, however common it is.
    fn best(&mut self, hir: &Hir, bounds: Bounds) -> Option<Needles> {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => None,
            HirKind::Literal(_) | HirKind::Class(_) => {
                self.set(self.exact.exact(hir)?, 0, 0, bounds)
            }
            HirKind::Capture(capture) => self.best(&capture.sub, bounds),
            HirKind::Repetition(repetition) => {
                if repetition.min == 0 {
                    return None;
                }
                let copies = repetition.max?.saturating_sub(1);
                // The first copy holds one; another may come right behind it.
                let inner = Bounds {
                    behind: bounds.behind && repetition.max == Some(1),
                    ..bounds
                };
                let chosen = self.best(&repetition.sub, inner)?;
                let after = longest(&repetition.sub)?.checked_mul(copies)?;
                Some(Needles {
                    after: chosen.after.checked_add(after)?,
                    ..chosen
                })
            }
            HirKind::Concat(parts) => self
                .candidates(parts, bounds)?
                .into_iter()
                .map(|(_, set)| set)
                .min_by_key(|set| set.cost),
            HirKind::Alternation(branches) => {
                let whole = self
                    .exact
                    .exact(hir)
                    .and_then(|all| self.set(all, 0, 0, bounds));
                cheaper(whole, self.branches(branches, bounds))
            }
        }
    }

    fn branches(&mut self, branches: &[Hir], bounds: Bounds) -> Option<Needles> {
        let mut all = Needles {
            list: Vec::new(),
            before: 0,
            after: 0,
            beside: Vec::new(),
            cost: 0,
        };
        for branch in branches {
            let chosen = self.best(branch, bounds)?;
            all.list.extend(chosen.list);
            if all.list.len() > MAX_NEEDLES {
                return None;
            }
            all.before = all.before.max(chosen.before);
            all.after = all.after.max(chosen.after);
            all.cost = all.cost.saturating_add(chosen.cost);
        }
        Some(all)
    }

    /// Every set that parts of a sequence make, and the places of the parts.
    fn candidates(
        &mut self,
        parts: &[Hir],
        bounds: Bounds,
    ) -> Option<Vec<(Range<usize>, Needles)>> {
        let lengths: Vec<u32> = parts.iter().map(longest).collect::<Option<_>>()?;
        let total = lengths
            .iter()
            .try_fold(0_u32, |sum, len| sum.checked_add(*len))?;
        let mut all = Vec::new();
        let mut before = 0;
        for (from, (part, len)) in parts.iter().zip(&lengths).enumerate() {
            // What begins with an assertion begins, and says more, behind it.
            if is_look(part) {
                continue;
            }
            let before_it = before_word(parts.get(..from).unwrap_or_default(), bounds.before);
            let bounds_up_to = |to: usize| Bounds {
                before: before_it,
                behind: behind_word(parts.get(to..).unwrap_or_default(), bounds.behind),
            };
            // Parts that are strings make longer strings together.
            let mut product = vec![Needle {
                bytes: Vec::new(),
                caseless: self.exact.caseless,
                word: false,
                whole: false,
            }];
            let mut covered = before;
            for (at, (next, len)) in parts.iter().zip(&lengths).enumerate().skip(from) {
                let Some(more) = self
                    .exact
                    .exact(next)
                    .filter(|more| more.len().saturating_mul(product.len()) <= MAX_NEEDLES)
                else {
                    break;
                };
                product = joined(&product, &more);
                covered += len;
                let set = self.set(
                    product.clone(),
                    before,
                    total - covered,
                    bounds_up_to(at + 1),
                );
                all.extend(set.map(|set| (from..at + 1, set)));
            }
            if let Some(chosen) = self.best(part, bounds_up_to(from + 1)) {
                all.push((
                    from..from + 1,
                    Needles {
                        before: chosen.before.checked_add(before)?,
                        after: chosen.after.checked_add(total - before - len)?,
                        ..chosen
                    },
                ));
            }
            before += len;
        }
        Some(all)
    }

    /// A set, `before` bytes into a match at most and `after` before its end.
    fn set(
        &mut self,
        list: Vec<Needle>,
        before: u32,
        after: u32,
        bounds: Bounds,
    ) -> Option<Needles> {
        let mut set = Needles {
            list: Vec::with_capacity(list.len()),
            before: 0,
            after: 0,
            beside: Vec::new(),
            cost: 0,
        };
        for mut needle in list {
            if needle.bytes.is_empty() {
                return None;
            }
            let cut = needle.bytes.len().saturating_sub(MAX_LEN);
            needle.bytes.truncate(MAX_LEN);
            let inside = |byte: Option<&u8>| byte.is_some_and(|byte| is_word(*byte) == 1);
            needle.whole = cut == 0 && bounds.behind && inside(needle.bytes.last());
            needle.word = bounds.before
                && inside(needle.bytes.first())
                && (needle.is_whole() || needle.bytes.len() >= MIN_BEGINNING);
            let len = u32::try_from(needle.bytes.len()).ok()?;
            set.before = set.before.max(before.checked_add(len)?);
            // The needle now ends before the bytes cut off it: a match reaches that much further.
            set.after = set.after.max(after.checked_add(u32::try_from(cut).ok()?)?);
            let often = self.ordinary.frequency(&needle);
            set.cost = set
                .cost
                .saturating_add(if needle.word { often } else { 4 * often })
                .saturating_add(UPKEEP)
                .saturating_add(burden(len, needle.word));
            set.list.push(needle);
        }
        (!set.list.is_empty()).then_some(set)
    }
}

/// The parts of a sequence, those of sequences and groups in it included.
fn flat(hir: &Hir) -> Vec<Hir> {
    match hir.kind() {
        HirKind::Capture(capture) => flat(&capture.sub),
        HirKind::Concat(parts) => parts.iter().flat_map(flat).collect(),
        _ => vec![hir.clone()],
    }
}

fn is_look(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Look(_))
}

/// Spells patterns out.
#[derive(Clone, Copy)]
struct Exact {
    caseless: bool,
}

impl Exact {
    /// Every string that `hir` matches, if they are few. Assertions match the empty string.
    fn exact(self, hir: &Hir) -> Option<Vec<Needle>> {
        let one = |bytes: &[u8]| Needle {
            bytes: if self.caseless {
                bytes.to_ascii_lowercase()
            } else {
                bytes.to_vec()
            },
            caseless: self.caseless,
            word: false,
            whole: false,
        };
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Some(vec![one(b"")]),
            HirKind::Literal(literal) => Some(vec![one(&literal.0)]),
            HirKind::Class(class) => {
                if let Some(letter) = either_case(class) {
                    return Some(vec![Needle {
                        bytes: vec![letter],
                        caseless: true,
                        word: false,
                        whole: false,
                    }]);
                }
                Some(members(class)?.iter().map(|member| one(member)).collect())
            }
            HirKind::Capture(capture) => self.exact(&capture.sub),
            HirKind::Repetition(repetition) => {
                let max = repetition.max.filter(|max| *max <= 4)?;
                let copy = self.exact(&repetition.sub)?;
                let mut all = Vec::new();
                let mut product = vec![one(b"")];
                for count in 0..=max {
                    if count >= repetition.min {
                        all.extend(product.iter().cloned());
                    }
                    if count < max {
                        if all.len() + product.len() * copy.len() > MAX_NEEDLES {
                            return None;
                        }
                        product = joined(&product, &copy);
                    }
                }
                Some(all)
            }
            HirKind::Concat(parts) => {
                let mut product = vec![one(b"")];
                for part in parts {
                    let more = self.exact(part)?;
                    if product.len() * more.len() > MAX_NEEDLES {
                        return None;
                    }
                    product = joined(&product, &more);
                }
                Some(product)
            }
            HirKind::Alternation(branches) => {
                let mut all = Vec::new();
                for branch in branches {
                    all.extend(self.exact(branch)?);
                    if all.len() > MAX_NEEDLES {
                        return None;
                    }
                }
                Some(all)
            }
        }
    }
}

/// What a string of `len` bytes costs because the finder cannot tell it well from others.
fn burden(len: u32, word: bool) -> u64 {
    match len {
        0 | 1 => EVERYWHERE >> 4,
        2 | 3 if word => EVERYWHERE >> 18,
        2 => EVERYWHERE >> 7,
        3 => EVERYWHERE >> 10,
        _ => 0,
    }
}

/// What a pattern says about the places before and behind a part of it.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Whether `\b` matches before it when it begins with a word.
    before: bool,
    /// Whether `\b` matches behind it when it ends with a word.
    behind: bool,
}

impl Bounds {
    const NONE: Self = Self {
        before: false,
        behind: false,
    };
}

/// Whether `\b` matches behind `parts` when a word comes next; `bounded` if it does before them.
fn before_word(parts: &[Hir], bounded: bool) -> bool {
    outside(parts.iter().rev(), Edge::Last).unwrap_or(bounded)
}

/// Whether `\b` matches before `parts` when a word stands there; `bounded` if it does behind them.
fn behind_word(parts: &[Hir], bounded: bool) -> bool {
    outside(parts.iter(), Edge::First).unwrap_or(bounded)
}

/// One end of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    First,
    Last,
}

/// Whether the byte next to a word is in no word or missing, given the parts beside the word from
/// the nearest on; `None` if they can all be empty.
fn outside<'h>(parts: impl Iterator<Item = &'h Hir>, edge: Edge) -> Option<bool> {
    for part in parts {
        if matches!(part.kind(), HirKind::Look(Look::WordAscii)) {
            return Some(true);
        }
        if !is_outside(part, edge) {
            return Some(false);
        }
        if part.properties().minimum_len() != Some(0) {
            return Some(true);
        }
    }
    None
}

/// Whether every match of `hir`, but for empty ones, has at its `edge` a byte that is in no word.
fn is_outside(hir: &Hir, edge: Edge) -> bool {
    let no_word = |byte: u8| is_word(byte) == 0;
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => {
            let byte = match edge {
                Edge::First => literal.0.first(),
                Edge::Last => literal.0.last(),
            };
            byte.is_some_and(|byte| no_word(*byte))
        }
        HirKind::Class(Class::Bytes(bytes)) => bytes
            .iter()
            .all(|range| (range.start()..=range.end()).all(no_word)),
        // No byte of a character beyond ASCII is in a word.
        HirKind::Class(Class::Unicode(unicode)) => unicode.iter().all(|range| {
            let last = u32::from(range.end()).min(0x7f);
            (u32::from(range.start())..=last).all(|c| u8::try_from(c).is_ok_and(no_word))
        }),
        HirKind::Repetition(repetition) => is_outside(&repetition.sub, edge),
        HirKind::Capture(capture) => is_outside(&capture.sub, edge),
        HirKind::Alternation(branches) => branches.iter().all(|branch| is_outside(branch, edge)),
        HirKind::Concat(parts) => match edge {
            Edge::First => outside_or_empty(parts.iter(), edge),
            Edge::Last => outside_or_empty(parts.iter().rev(), edge),
        },
    }
}

/// As [`is_outside`], for parts from the edge inwards. A word boundary at the edge says nothing
/// about the byte beside it.
fn outside_or_empty<'h>(parts: impl Iterator<Item = &'h Hir>, edge: Edge) -> bool {
    for part in parts {
        if !is_outside(part, edge) {
            return false;
        }
        if part.properties().minimum_len() != Some(0) {
            return true;
        }
    }
    true
}

/// A string without letters that every match of `hir` holds, if it is short enough to be no needle:
/// the longest.
pub(crate) fn mark(hir: &Hir) -> Option<Vec<u8>> {
    let parts = match hir.kind() {
        HirKind::Capture(capture) => return mark(&capture.sub),
        HirKind::Concat(parts) => parts,
        _ => return None,
    };
    let rare = |bytes: &&[u8]| {
        !bytes.is_empty()
            && bytes
                .iter()
                .all(|b| !b.is_ascii_alphanumeric() && !b" .,:\"/-_".contains(b))
    };
    let of_part = |part: &Hir| match part.kind() {
        HirKind::Literal(literal) => literal
            .0
            .split(|byte| byte.is_ascii_alphanumeric())
            .filter(rare)
            .max_by_key(|bytes| bytes.len())
            .map(<[u8]>::to_vec),
        HirKind::Capture(_) => mark(part),
        _ => None,
    };
    parts.iter().filter_map(of_part).max_by_key(Vec::len)
}

/// The words that every match of `hir` begins with, if they are few.
pub(crate) fn lead(hir: &Hir, caseless: bool) -> Option<Vec<Needle>> {
    let parts = match hir.kind() {
        HirKind::Capture(capture) => return lead(&capture.sub, caseless),
        HirKind::Concat(parts) => parts,
        _ => return None,
    };
    let (first, rest) = parts.split_first()?;
    if !matches!(first.kind(), HirKind::Look(Look::WordAscii)) {
        return None;
    }
    let mut all = Vec::new();
    let chooser = Exact { caseless };
    if chooser.lead(rest, &mut all)? {
        // It can be empty.
        return None;
    }
    all.iter()
        .all(|needle| {
            needle.bytes.len() >= 2 && needle.bytes.first().is_some_and(|b| is_word(*b) == 1)
        })
        .then_some(all)
}

impl Exact {
    /// Adds what matches of `parts` begin with to `all`; whether they can all be empty.
    fn lead(self, parts: &[Hir], all: &mut Vec<Needle>) -> Option<bool> {
        for part in parts {
            if let Some(list) = self.exact(part) {
                let can_be_empty = list.iter().any(|needle| needle.bytes.is_empty());
                all.extend(list.into_iter().filter(|needle| !needle.bytes.is_empty()));
                if all.len() > MAX_NEEDLES {
                    return None;
                }
                if !can_be_empty {
                    return Some(false);
                }
                continue;
            }
            let can_be_empty = match part.kind() {
                HirKind::Capture(capture) => self.lead(std::slice::from_ref(&capture.sub), all)?,
                HirKind::Repetition(repetition) => {
                    self.lead(std::slice::from_ref(&repetition.sub), all)? || repetition.min == 0
                }
                HirKind::Concat(parts) => self.lead(parts, all)?,
                HirKind::Alternation(branches) => {
                    let mut empty = false;
                    for branch in branches {
                        empty |= self.lead(std::slice::from_ref(branch), all)?;
                    }
                    empty
                }
                _ => return None,
            };
            if !can_be_empty {
                return Some(false);
            }
        }
        Some(true)
    }
}

/// Every string of `first` followed by every string of `second`.
fn joined(first: &[Needle], second: &[Needle]) -> Vec<Needle> {
    let mut all = Vec::with_capacity(first.len() * second.len());
    for before in first {
        for after in second {
            let caseless = before.caseless || after.caseless;
            let mut bytes = [before.bytes.as_slice(), after.bytes.as_slice()].concat();
            if caseless {
                bytes.make_ascii_lowercase();
            }
            all.push(Needle {
                bytes,
                caseless,
                word: false,
                whole: false,
            });
        }
    }
    all
}

/// The letter, in lower case, if the class is one letter in both cases.
fn either_case(class: &Class) -> Option<u8> {
    match members(class)?.as_slice() {
        [first, second] => match (first.as_slice(), second.as_slice()) {
            ([upper], [lower])
                if upper.is_ascii_uppercase() && upper.to_ascii_lowercase() == *lower =>
            {
                Some(*lower)
            }
            _ => None,
        },
        _ => None,
    }
}

/// What a class of few characters matches.
fn members(class: &Class) -> Option<Vec<Vec<u8>>> {
    match class {
        Class::Bytes(bytes) => {
            let ranges = bytes.ranges().iter();
            let all = ranges.flat_map(|range| range.start()..=range.end());
            spelled_out(all, |byte| vec![byte])
        }
        Class::Unicode(unicode) => {
            let ranges = unicode.ranges().iter();
            let all = ranges.flat_map(|range| range.start()..=range.end());
            spelled_out(all, |c| c.to_string().into_bytes())
        }
    }
}

/// The bytes of each of `members`, if there are some and at most [`MAX_CLASS`].
fn spelled_out<T>(
    members: impl Iterator<Item = T> + Clone,
    bytes: impl Fn(T) -> Vec<u8>,
) -> Option<Vec<Vec<u8>>> {
    let count = members.clone().take(MAX_CLASS + 1).count();
    (1..=MAX_CLASS)
        .contains(&count)
        .then(|| members.map(bytes).collect())
}

/// The longest match of `hir`, in bytes.
fn longest(hir: &Hir) -> Option<u32> {
    u32::try_from(hir.properties().maximum_len()?).ok()
}

fn cheaper(first: Option<Needles>, second: Option<Needles>) -> Option<Needles> {
    match (first, second) {
        (Some(first), Some(second)) => Some(if second.cost < first.cost {
            second
        } else {
            first
        }),
        (first, second) => first.or(second),
    }
}
