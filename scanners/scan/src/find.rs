//! Where patterns may match.
//!
//! Enters: compiled patterns once, then buffer after buffer. Leaves: windows that hold every match
//! whole, and more. It never decides whether something is a match.
//!
//! A pattern with rare needles is looked for by them: needles that begin words in a table of words,
//! all others in one literal database. Most needles of phrases are words that ordinary text holds
//! too, so the strings that every match holds *beside* its needle are looked for in the same pass,
//! and a window opens only where all of them stand close enough. Where a string stands is kept as
//! bits, one for each [`BLOCK`] bytes of the 4 KiB at hand: a flood of strings costs no more memory
//! and no more windows than one of them. A pattern without needles is looked for by its anchor, or
//! its regex reads everything: slowly, and without a second opinion.

use std::collections::HashMap;
use std::path::Path;

use mcpf_model::Surface;
use mcpf_vectorscan as vectorscan;

use crate::build::{BuildError, Owned};
use crate::engine::ScanError;
use crate::joined::offset;
use crate::needle::{MAX_BESIDE, MAX_LEN, Needle};
use crate::spec::{Anchor, RuleSpec, SurfaceSet};
use crate::windows::Windows;
use crate::words::{BLOCK, Outline, Words};

/// Blocks read in one step, half of what the bits of a string stand for.
const STEP: usize = 32;

/// The bits whose surroundings, [`STEP`]` / 2` blocks to each side, are known after a step.
const KNOWN: u64 = 0x0000_ffff_ffff_0000;

/// The same after the last step, when nothing comes behind.
const KNOWN_LAST: u64 = 0xffff_ffff_ffff_0000;

/// Which surfaces are read together: the first of these that holds all of a message's.
///
/// What is said about tools, the costliest text to look through, is seldom sent; and an argument
/// is never read as an instruction. So neither pays for the other's patterns.
const READERS: [SurfaceSet; 3] = [
    SurfaceSet::EMPTY.with(Surface::Arguments),
    SurfaceSet::EMPTY.with(Surface::ToolResult),
    SurfaceSet::ALL,
];

/// Finds windows. Immutable.
#[derive(Debug)]
pub(crate) struct Finder {
    readers: Vec<Reader>,
    /// Where the owners of each string begin; one more than there are strings.
    starts: Vec<u32>,
    owners: Vec<Owner>,
    /// Where the strings of each set begin; one more than there are sets.
    set_starts: Vec<u32>,
    set_strings: Vec<u32>,
    /// Patterns without needles and anchor, and where they apply.
    others: Vec<(u32, SurfaceSet)>,
    anchored: Vec<Anchored>,
    /// Whether these very patterns were compiled before.
    known: bool,
}

/// Finds the strings of the patterns for some surfaces.
#[derive(Debug)]
struct Reader {
    surfaces: SurfaceSet,
    words: Words,
    fragments: Option<vectorscan::Database>,
}

/// A pattern that is looked for by a string, and how far its match can reach around it.
#[derive(Clone, Copy, Debug)]
struct Owner {
    pattern: u32,
    before: u32,
    after: u32,
    /// Sets of which a string must stand within the same reach; [`NO_SET`] for none.
    beside: [u32; MAX_BESIDE],
    /// A bit for each of them that stands behind the string; the others stand before it.
    behind: u8,
    surfaces: SurfaceSet,
}

const NO_SET: u32 = u32::MAX;

/// The patterns that share an anchor, and where they apply.
#[derive(Debug)]
pub(crate) struct Anchored {
    pub(crate) anchor: Anchor,
    pub(crate) surfaces: SurfaceSet,
    pub(crate) patterns: Vec<u32>,
}

/// Where strings stand in the 4 KiB at hand: a bit for each block.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    /// For each string.
    strings: Vec<u64>,
    /// Strings that stand anywhere.
    seen: Vec<u32>,
    /// For each set, the step it was worked out in and the bits of all its strings.
    sets: Vec<(u32, u64)>,
    step: u32,
    /// Which bytes of the whole buffer stand in words.
    pub(crate) outline: Outline,
}

impl Sightings {
    #[inline]
    fn mark(&mut self, string: u32, bit: usize) {
        if let Some(bits) = self.strings.get_mut(string as usize) {
            if *bits == 0 {
                self.seen.push(string);
            }
            *bits |= 1 << bit.min(63);
        }
    }

    fn clear(&mut self) {
        for string in self.seen.drain(..) {
            if let Some(bits) = self.strings.get_mut(string as usize) {
                *bits = 0;
            }
        }
        self.next();
    }

    /// Forgets the older half.
    fn slide(&mut self) {
        let strings = &mut self.strings;
        self.seen.retain(|string| {
            strings.get_mut(*string as usize).is_some_and(|bits| {
                *bits >>= STEP;
                *bits != 0
            })
        });
        self.next();
    }

    /// What was worked out for sets is void.
    fn next(&mut self) {
        self.step = self.step.wrapping_add(1);
        if self.step == 0 {
            self.sets.fill((0, 0));
            self.step = 1;
        }
    }
}

/// Strings of all patterns, each with a number.
#[derive(Default)]
struct Strings<'p> {
    ids: HashMap<&'p Needle, u32>,
    /// In order of their numbers, and the surfaces of the patterns that need each.
    list: Vec<(&'p Needle, SurfaceSet)>,
    sets: HashMap<Vec<u32>, u32>,
}

impl<'p> Strings<'p> {
    fn id(&mut self, needle: &'p Needle, surfaces: SurfaceSet) -> u32 {
        let id = *self.ids.entry(needle).or_insert_with(|| {
            self.list.push((needle, SurfaceSet::EMPTY));
            offset(self.list.len() - 1)
        });
        if let Some((_, all)) = self.list.get_mut(id as usize) {
            *all = all.union(surfaces);
        }
        id
    }

    fn set(&mut self, needles: &'p [Needle], surfaces: SurfaceSet) -> u32 {
        let mut ids: Vec<u32> = needles.iter().map(|n| self.id(n, surfaces)).collect();
        ids.sort_unstable();
        ids.dedup();
        let next = offset(self.sets.len());
        *self.sets.entry(ids).or_insert(next)
    }
}

impl Finder {
    /// Compiles what finds `patterns`, of the rules `specs` whose name is `revision`.
    pub(crate) fn new(
        specs: &[RuleSpec],
        patterns: &[Owned],
        revision: &str,
        cache_dir: Option<&Path>,
    ) -> Result<Self, Vec<BuildError>> {
        let mut strings = Strings::default();
        let mut owned_by: Vec<(u32, Owner)> = Vec::new();
        let mut others = Vec::new();
        let mut anchored: Vec<Anchored> = Vec::new();
        for (pattern, owned) in (0_u32..).zip(patterns) {
            let Some(spec) = specs.get(owned.rule as usize) else {
                continue;
            };
            let surfaces = spec.surfaces;
            let compiled = &owned.compiled;
            for found in &compiled.needles {
                let mut beside = [NO_SET; MAX_BESIDE];
                let mut behind = 0;
                for (bit, (place, found)) in beside.iter_mut().zip(&found.beside).enumerate() {
                    *place = strings.set(&found.list, surfaces);
                    behind |= u8::from(found.behind) << bit;
                }
                let owner = Owner {
                    pattern,
                    before: found.before,
                    // The end of a string is known to the block, or a little before.
                    after: found.after + offset(MAX_LEN),
                    beside,
                    behind,
                    surfaces,
                };
                for needle in &found.list {
                    owned_by.push((strings.id(needle, surfaces), owner));
                }
            }
            if !compiled.needles.is_empty() {
                continue;
            }
            if spec.anchor == Anchor::Literal {
                others.push((pattern, surfaces));
            } else {
                anchor(&mut anchored, spec, pattern);
            }
        }
        let count = strings.list.len();
        let (starts, owners) = grouped(count, owned_by);
        let sets = strings.sets.len();
        let members = strings.sets.into_iter();
        let members = members.flat_map(|(ids, set)| ids.into_iter().map(move |id| (set, id)));
        let (set_starts, set_strings) = grouped(sets, members.collect());

        let mut known = true;
        let mut readers = Vec::with_capacity(READERS.len());
        for surfaces in READERS {
            let (reader, stored) = Reader::new(surfaces, &strings.list, revision, cache_dir)?;
            known &= stored;
            readers.push(reader);
        }
        Ok(Self {
            readers,
            starts,
            owners,
            set_starts,
            set_strings,
            others,
            anchored,
            known,
        })
    }

    /// Whether these very patterns were compiled before: then their regexes can be built when
    /// they are first needed.
    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// Working memory for the databases, if there are any.
    pub(crate) fn new_scratch(&self) -> Result<Option<vectorscan::Scratch>, ScanError> {
        let fragments = self.readers.iter().filter_map(|r| r.fragments.as_ref());
        let databases: Vec<_> = fragments.collect();
        if databases.is_empty() {
            return Ok(None);
        }
        Ok(Some(vectorscan::Scratch::new(&databases)?))
    }

    /// Working memory for the strings.
    pub(crate) fn new_sightings(&self) -> Sightings {
        Sightings {
            strings: vec![0; self.starts.len() - 1],
            seen: Vec::new(),
            sets: vec![(0, 0); self.set_starts.len() - 1],
            step: 0,
            outline: Outline::default(),
        }
    }

    /// The anchored patterns that apply to a surface of `present`.
    pub(crate) fn anchored(&self, present: SurfaceSet) -> impl Iterator<Item = &Anchored> {
        self.anchored
            .iter()
            .filter(move |group| group.surfaces.intersects(present))
    }

    /// Writes to `windows` — cleared first — where patterns for a surface of `present` may match.
    pub(crate) fn find(
        &self,
        buffer: &[u8],
        present: SurfaceSet,
        mut matcher: Option<&mut vectorscan::Scratch>,
        sightings: &mut Sightings,
        windows: &mut Windows,
    ) -> Result<(), ScanError> {
        windows.clear();
        sightings.clear();
        sightings.outline.draw(buffer);
        let reader = self
            .readers
            .iter()
            .find(|reader| reader.surfaces.union(present) == reader.surfaces);
        let blocks = buffer.len().div_ceil(BLOCK);
        let mut first = 0;
        while let Some(reader) = reader
            && first < blocks
        {
            let last = (first + STEP).min(blocks);
            if first > 0 {
                sightings.slide();
            }
            reader.read(buffer, first..last, matcher.as_deref_mut(), sightings)?;
            let part = Part {
                first,
                is_last: last == blocks,
                present,
            };
            self.open(&part, sightings, windows);
            first = last;
        }
        let others = self.others.iter();
        for (pattern, _) in others.filter(|(_, surfaces)| surfaces.intersects(present)) {
            windows.add(*pattern, 0, offset(buffer.len()));
        }
        Ok(())
    }

    /// Opens windows around the strings whose surroundings are known.
    fn open(&self, part: &Part, sightings: &mut Sightings, windows: &mut Windows) {
        let known = if part.is_last { KNOWN_LAST } else { KNOWN };
        let Sightings {
            strings,
            seen,
            sets,
            step,
            ..
        } = sightings;
        for string in seen.iter() {
            let bits = strings.get(*string as usize).copied().unwrap_or(0) & known;
            if bits == 0 {
                continue;
            }
            for owner in group(&self.starts, &self.owners, *string) {
                if !owner.surfaces.intersects(part.present) {
                    continue;
                }
                let mut left = bits;
                let (back, ahead) = owner.blocks();
                for (place, set) in owner.beside.iter().enumerate() {
                    let Some((at, all)) = sets.get_mut(*set as usize) else {
                        break;
                    };
                    if *at != *step {
                        *all = group(&self.set_starts, &self.set_strings, *set)
                            .iter()
                            .filter_map(|string| strings.get(*string as usize))
                            .fold(0, |all, bits| all | bits);
                        *at = *step;
                    }
                    // Two strings in order can end in one block, or be marked one block early.
                    left &= if owner.behind >> place & 1 == 1 {
                        spread(*all, 1, ahead) | part.unseen_behind(ahead)
                    } else {
                        spread(*all, back, 1) | part.unseen_before(back)
                    };
                    if left == 0 {
                        break;
                    }
                }
                part.around(owner, left, windows);
            }
        }
    }
}

/// Sorts `items` by the string they belong to: where those of each begin, and the items.
fn grouped<T>(strings: usize, mut items: Vec<(u32, T)>) -> (Vec<u32>, Vec<T>) {
    items.sort_by_key(|(string, _)| *string);
    let mut starts = vec![0; strings + 1];
    for (string, _) in &items {
        if let Some(next) = starts.get_mut(*string as usize + 1) {
            *next += 1;
        }
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    (starts, items.into_iter().map(|(_, item)| item).collect())
}

/// The items of one string.
#[inline]
fn group<'a, T>(starts: &[u32], items: &'a [T], string: u32) -> &'a [T] {
    let string = string as usize;
    match starts.get(string..string + 2) {
        Some([start, end]) => items
            .get(*start as usize..*end as usize)
            .unwrap_or_default(),
        _ => &[],
    }
}

impl Reader {
    /// The reader of `surfaces`, and whether its database was compiled before.
    fn new(
        surfaces: SurfaceSet,
        strings: &[(&Needle, SurfaceSet)],
        revision: &str,
        cache_dir: Option<&Path>,
    ) -> Result<(Self, bool), Vec<BuildError>> {
        let wanted = || {
            (0_u32..)
                .zip(strings)
                .filter(|(_, (_, of))| of.intersects(surfaces))
                .map(|(id, (needle, _))| (id, *needle))
        };
        let literals: Vec<_> = wanted()
            .filter(|(_, needle)| !needle.word)
            .map(|(id, needle)| vectorscan::Literal {
                bytes: &needle.bytes,
                id,
                flags: if needle.caseless {
                    vectorscan::Flags::CASELESS
                } else {
                    vectorscan::Flags::NONE
                },
            })
            .collect();
        let mut known = true;
        let mut fragments = None;
        if !literals.is_empty() {
            let loaded = vectorscan::load_or_compile_literals(
                cache_dir,
                &literals,
                revision.as_bytes(),
                vectorscan::Mode::Block,
            );
            let whole = |error: vectorscan::CompileError| BuildError::Set(error.message);
            let loaded =
                loaded.map_err(|errors| errors.into_iter().map(whole).collect::<Vec<_>>())?;
            known = matches!(loaded.origin, vectorscan::Origin::Restored);
            fragments = Some(loaded.database);
        }
        let words = Words::new(wanted().filter(|(_, needle)| needle.word))
            .ok_or_else(|| vec![BuildError::Set("the rules have too many words".to_owned())])?;
        let reader = Self {
            surfaces,
            words,
            fragments,
        };
        Ok((reader, known))
    }

    /// Marks the strings that end in `blocks`, at most [`STEP`] of them.
    fn read(
        &self,
        buffer: &[u8],
        blocks: std::ops::Range<usize>,
        matcher: Option<&mut vectorscan::Scratch>,
        sightings: &mut Sightings,
    ) -> Result<(), ScanError> {
        // The bits stand for the blocks of the step before, then for these.
        let bit = |end: usize| ((end - 1) / BLOCK + STEP).saturating_sub(blocks.start);
        let outline = std::mem::take(&mut sightings.outline);
        self.words
            .find(buffer, &outline, blocks.clone(), |string, end| {
                sightings.mark(string, bit(end));
            });
        sightings.outline = outline;
        if let (Some(database), Some(matcher)) = (&self.fragments, matcher) {
            // What began in the step before is seen whole.
            let from = (blocks.start * BLOCK).saturating_sub(MAX_LEN);
            let to = (blocks.end * BLOCK).min(buffer.len());
            let bytes = buffer.get(from..to).unwrap_or_default();
            // It never stops early: the callback never asks for it.
            let _done = database.scan(bytes, matcher, |string, end| {
                sightings.mark(string, bit(from + end));
                vectorscan::Flow::Continue
            })?;
        }
        Ok(())
    }
}

/// The blocks at hand.
struct Part {
    /// The first block read in this step; bit [`STEP`] stands for it.
    first: usize,
    /// Whether nothing comes behind.
    is_last: bool,
    present: SurfaceSet,
}

impl Part {
    /// The blocks of which the `back` before are not all at hand.
    #[inline]
    fn unseen_before(&self, back: u32) -> u64 {
        if self.first > STEP { below(back) } else { 0 }
    }

    /// The blocks of which the `ahead` behind are not all at hand.
    #[inline]
    fn unseen_behind(&self, ahead: u32) -> u64 {
        if self.is_last {
            0
        } else {
            !(u64::MAX.checked_shr(ahead).unwrap_or(0))
        }
    }

    /// Opens windows of `owner` around strings in the blocks of `bits`.
    #[inline]
    fn around(&self, owner: &Owner, mut bits: u64, windows: &mut Windows) {
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            let block = self.first + bit as usize - STEP;
            let start = offset(block * BLOCK).saturating_sub(owner.before);
            let end = offset((block + 1) * BLOCK).saturating_add(owner.after);
            windows.add(owner.pattern, start, end);
        }
    }
}

impl Owner {
    /// How many blocks before and behind a string's own a match can reach.
    #[inline]
    fn blocks(&self) -> (u32, u32) {
        // A string stands anywhere in its block, and one that ends in the next step's first block
        // is marked in the last of this one.
        (
            self.before / offset(BLOCK) + 2,
            self.after / offset(BLOCK) + 2,
        )
    }
}

/// Ones in the lowest `count` bits.
#[inline]
fn below(count: u32) -> u64 {
    !u64::MAX.checked_shl(count).unwrap_or(0)
}

/// The bits from which one of `bits` is at most `back` below or `ahead` above.
#[inline]
fn spread(bits: u64, back: u32, ahead: u32) -> u64 {
    let mut all = bits;
    let (mut up, mut down) = (bits, bits);
    let (mut back, mut ahead) = (back.min(63), ahead.min(63));
    let mut by = 1;
    while back > 0 {
        let step = by.min(back);
        up |= up << step;
        back -= step;
        by *= 2;
    }
    by = 1;
    while ahead > 0 {
        let step = by.min(ahead);
        down |= down >> step;
        ahead -= step;
        by *= 2;
    }
    all |= up | down;
    all
}

fn anchor(groups: &mut Vec<Anchored>, spec: &RuleSpec, pattern: u32) {
    match groups.iter_mut().find(|group| group.anchor == spec.anchor) {
        Some(group) => {
            group.surfaces = group.surfaces.union(spec.surfaces);
            group.patterns.push(pattern);
        }
        None => groups.push(Anchored {
            anchor: spec.anchor,
            surfaces: spec.surfaces,
            patterns: vec![pattern],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_spread() {
        for back in [0, 1, 2, 3, 7, 40, 63, 100] {
            for ahead in [0, 1, 2, 5, 8, 63, 100] {
                for bits in [0, 1, 1 << 63, 0b1001 << 20] {
                    let slow = (0..64_u32)
                        .filter(|bit| {
                            let near = bit.saturating_sub(back)..=bit.saturating_add(ahead).min(63);
                            near.into_iter().any(|at| bits >> at & 1 == 1)
                        })
                        .fold(0_u64, |all, bit| all | 1 << bit);
                    assert_eq!(spread(bits, back, ahead), slow, "{bits:b} {back} {ahead}");
                }
            }
        }
        assert_eq!((below(0), below(3), below(64)), (0, 7, u64::MAX));
    }
}
