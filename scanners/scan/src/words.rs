//! Needles that begin a word.
//!
//! Enters: needles of which a pattern says that a word boundary stands before them, then buffer
//! after buffer. Leaves: where they stand. Only the beginnings of words are looked at, a sixth of
//! ordinary text, and each costs a look or two into tables that stay in the cache. Thousands of
//! common words defeat a finder that looks at every byte, because every byte looks like a part of
//! one.

use crate::needle::Needle;

/// Bytes looked at in one step.
pub(crate) const BLOCK: usize = 64;

/// Slots of the table of whole words; a power of two.
const WHOLE_BITS: u32 = 13;
const WHOLE: usize = 1 << WHOLE_BITS;

/// Slots of the table of beginnings; a power of two.
const BEGINNING_BITS: u32 = 12;
const BEGINNING: usize = 1 << BEGINNING_BITS;

/// Bytes of a beginning that are hashed: shorter needles must be whole words.
pub(crate) const MIN_BEGINNING: usize = 3;

/// Bytes of a needle compared at once.
const KEY: usize = 8;

/// Makes ASCII letters lower case, and spoils other bytes in a way that does no harm: two needles
/// that look alike then are told apart when the match is confirmed.
const FOLD: u64 = 0x2020_2020_2020_2020;

/// Which bytes of a buffer stand in words: a bit for each.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    blocks: Vec<u64>,
}

impl Outline {
    /// Reads `buffer`.
    pub(crate) fn draw(&mut self, buffer: &[u8]) {
        self.blocks.clear();
        let (blocks, tail) = buffer.as_chunks::<BLOCK>();
        self.blocks.extend(blocks.iter().map(word_mask));
        if !tail.is_empty() {
            let mut padded = [0; BLOCK];
            padded
                .iter_mut()
                .zip(tail)
                .for_each(|(to, from)| *to = *from);
            self.blocks.push(word_mask(&padded));
        }
        self.blocks.shrink_to(1 << 14);
    }

    #[inline]
    fn block(&self, block: usize) -> u64 {
        self.blocks.get(block).copied().unwrap_or(0)
    }

    /// The beginnings of words in one block, a bit for each.
    #[inline]
    fn beginnings(&self, block: usize) -> u64 {
        let before = block.checked_sub(1).map_or(0, |before| self.block(before));
        let mask = self.block(block);
        mask & !(mask << 1 | before >> 63)
    }

    /// The first beginning of a word in `from..to`.
    #[inline]
    fn next_beginning(&self, from: usize, to: usize) -> Option<usize> {
        let mut block = from / BLOCK;
        let mut bits = self.beginnings(block) & (u64::MAX << (from % BLOCK));
        while bits == 0 {
            block += 1;
            if block * BLOCK >= to {
                return None;
            }
            bits = self.beginnings(block);
        }
        let at = block * BLOCK + bits.trailing_zeros() as usize;
        (at < to).then_some(at)
    }
}

/// A table of needles. Immutable.
#[derive(Debug)]
pub(crate) struct Words {
    /// For each hash of a word's first [`KEY`] bytes, where its entries are.
    whole: Box<[Head; WHOLE]>,
    /// The same for each hash of the first [`MIN_BEGINNING`] bytes.
    beginning: Box<[Head; BEGINNING]>,
    entries: Vec<Entry>,
    /// For each entry, what its needle holds behind its first [`KEY`] bytes.
    rests: Vec<Box<[u8]>>,
}

/// The entries of one hash.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    /// The place of the first one; 0 if there are none.
    first: u16,
    /// More of the hash of all of them; [`MIXED`] if they differ. It spares most words that are
    /// not looked for a look at the entries.
    tag: u16,
}

/// The tag of entries that differ in theirs.
const MIXED: u16 = u16::MAX;

/// A table without entries, made on the heap.
fn heads<const N: usize>() -> Option<Box<[Head; N]>> {
    vec![Head::default(); N].into_boxed_slice().try_into().ok()
}

/// Small, so that thousands of them stay in the cache.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    id: u32,
    len: u8,
    /// Whether letters match in either case.
    caseless: bool,
    /// Whether the next entry belongs to another hash.
    last: bool,
}

/// Where an entry is looked for: in the table of whole words or that of beginnings, by a hash.
type Slot = (bool, usize);

/// A hash and its tag.
type Hash = (usize, u16);

impl Words {
    /// The table of `needles`, each found by its id; `None` if there are more than 65,534.
    pub(crate) fn new<'n>(needles: impl Iterator<Item = (u32, &'n Needle)>) -> Option<Self> {
        let mut hashed: Vec<(Slot, u16, Entry, Box<[u8]>)> = Vec::new();
        for (id, needle) in needles {
            let (first, rest) = needle.bytes.split_at(needle.bytes.len().min(KEY));
            let raw = load(first, 0);
            let word = needle.bytes.iter().take_while(|b| is_word(**b) == 1);
            let (whole, (hash, tag)) = if needle.is_whole() {
                (true, whole_hash(raw, word.count().min(KEY)))
            } else {
                (false, beginning_hash(raw))
            };
            let fold = if needle.caseless { FOLD } else { 0 };
            let entry = Entry {
                key: (raw | fold) & mask(first.len()),
                id,
                len: u8::try_from(needle.bytes.len()).ok()?,
                caseless: needle.caseless,
                last: true,
            };
            hashed.push(((whole, hash), tag, entry, rest.into()));
        }
        hashed.sort_by_key(|(slot, tag, entry, _)| (*slot, *tag, entry.id));
        let mut words = Self {
            whole: heads()?,
            beginning: heads()?,
            entries: Vec::with_capacity(hashed.len() + 1),
            rests: Vec::with_capacity(hashed.len() + 1),
        };
        // Entry 0 matches nothing: no word begins with the byte 1.
        words.entries.push(Entry {
            key: 1,
            id: 0,
            len: 8,
            caseless: false,
            last: true,
        });
        words.rests.push(Box::default());
        let mut before = None;
        for (slot, tag, entry, rest) in hashed {
            let (whole, hash) = slot;
            let head = if whole {
                words.whole.get_mut(hash)?
            } else {
                words.beginning.get_mut(hash)?
            };
            if before == Some(slot) {
                words.entries.last_mut()?.last = false;
                if head.tag != tag {
                    head.tag = MIXED;
                }
            } else {
                head.first = u16::try_from(words.entries.len()).ok()?;
                head.tag = tag;
                before = Some(slot);
            }
            words.entries.push(entry);
            words.rests.push(rest);
        }
        Some(words)
    }

    /// Calls `hit` with the id and the end of every needle that begins a word in `blocks` of
    /// `buffer`, of which `outline` was drawn.
    ///
    /// It may report a needle that differs from what stands there in the case of its letters or
    /// in a byte that is none, never miss one.
    #[inline]
    pub(crate) fn find(
        &self,
        buffer: &[u8],
        outline: &Outline,
        blocks: std::ops::Range<usize>,
        mut hit: impl FnMut(u32, usize),
    ) {
        for block in blocks {
            let mut beginnings = outline.beginnings(block);
            let mask = outline.block(block);
            let next = outline.block(block + 1);
            while beginnings != 0 {
                let bit = beginnings.trailing_zeros();
                beginnings &= beginnings - 1;
                // The mask from this byte on; what is shifted in from the next block comes in two
                // steps because a shift by 64 is none.
                let from = (mask >> bit) | (next << 1) << (63 - bit);
                let len = (from.trailing_ones() as usize).min(KEY);
                let at = block * BLOCK + bit as usize;
                let raw = load(buffer, at);
                let (hash, tag) = whole_hash(raw, len);
                if let Some(head) = self.whole.get(hash)
                    && (head.tag == tag || head.tag == MIXED)
                {
                    self.entries(buffer, at, raw, head.first, &mut hit);
                }
                let (hash, tag) = beginning_hash(raw);
                if let Some(head) = self.beginning.get(hash)
                    && (head.tag == tag || head.tag == MIXED)
                {
                    self.entries(buffer, at, raw, head.first, &mut hit);
                }
            }
        }
    }

    #[inline]
    fn entries(
        &self,
        buffer: &[u8],
        at: usize,
        raw: u64,
        first: u16,
        hit: &mut impl FnMut(u32, usize),
    ) {
        let folded = raw | FOLD;
        let mut place = usize::from(first);
        while let Some(entry) = self.entries.get(place) {
            let text = if entry.caseless { folded } else { raw };
            let len = usize::from(entry.len);
            if text & mask(len.min(KEY)) == entry.key
                && (len <= KEY || self.rest(buffer, at, place))
            {
                hit(entry.id, at + len);
            }
            place += 1;
            if entry.last {
                break;
            }
        }
    }

    /// Whether what stands behind the first [`KEY`] bytes at `at` is what entry `place` asks for.
    #[cold]
    fn rest(&self, buffer: &[u8], at: usize, place: usize) -> bool {
        let rest = self.rests.get(place).map_or(&[][..], |rest| rest);
        let start = at + KEY;
        buffer
            .get(start..start + rest.len())
            .is_some_and(|text| text.eq_ignore_ascii_case(rest))
    }
}

/// The words every match of one pattern begins with.
#[derive(Debug)]
pub(crate) struct Lead {
    /// A bit for each lower five bits of a first byte.
    first: u32,
    keys: Vec<(u64, u64)>,
}

impl Lead {
    /// The lead of `needles`, each of which begins a word.
    pub(crate) fn new(needles: &[Needle]) -> Self {
        let mut keys: Vec<(u64, u64)> = needles
            .iter()
            .map(|needle| {
                let mask = mask(needle.bytes.len().min(KEY));
                ((load(&needle.bytes, 0) | FOLD) & mask, mask)
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let firsts = keys.iter().map(|(key, _)| 1_u32 << (key & 31));
        Self {
            first: firsts.fold(0, |all, bit| all | bit),
            keys,
        }
    }

    /// The first place in `from..to` of `buffer` where a match could begin.
    pub(crate) fn next(
        &self,
        buffer: &[u8],
        outline: &Outline,
        from: usize,
        to: usize,
    ) -> Option<usize> {
        let mut from = from;
        loop {
            let at = outline.next_beginning(from, to)?;
            let raw = load(buffer, at) | FOLD;
            let known = self.first >> (raw & 31) & 1 == 1
                && self.keys.iter().any(|(key, mask)| raw & mask == *key);
            if known {
                return Some(at);
            }
            from = at + 1;
        }
    }
}

/// A bit for each byte that can stand in a word.
#[inline]
fn word_mask(block: &[u8; BLOCK]) -> u64 {
    /// Brings the lowest bits of eight bytes together in the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    // One loop without a branch first: it becomes a few vector instructions.
    let mut flags = [0_u8; BLOCK];
    for (flag, byte) in flags.iter_mut().zip(block) {
        *flag = is_word(*byte);
    }
    let mut mask = 0;
    let shifts = [0, 8, 16, 24, 32, 40, 48, 56];
    for (eight, shift) in flags.as_chunks::<8>().0.iter().zip(shifts) {
        mask |= (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56) << shift;
    }
    mask
}

/// 1 for what `\w` matches in ASCII.
#[inline]
pub(crate) const fn is_word(byte: u8) -> u8 {
    ((byte | 0x20).wrapping_sub(b'a') < 26) as u8
        | (byte.wrapping_sub(b'0') < 10) as u8
        | (byte == b'_') as u8
}

/// The eight bytes at `at`; zeroes behind the end.
#[inline]
fn load(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    match rest.first_chunk::<KEY>() {
        Some(key) => u64::from_le_bytes(*key),
        None => {
            let mut padded = [0; KEY];
            padded
                .iter_mut()
                .zip(rest)
                .for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(padded)
        }
    }
}

/// Ones over the lowest `len` bytes, of which there are at least one and at most [`KEY`].
#[inline]
const fn mask(len: usize) -> u64 {
    // Without a branch: this runs for each word of a text.
    u64::MAX >> (((KEY - len) * 8) & 63)
}

/// Of the first `len` bytes, at most [`KEY`], in any case.
#[inline]
fn whole_hash(raw: u64, len: usize) -> Hash {
    mixed((raw | FOLD) & mask(len), WHOLE_BITS)
}

/// Of the first [`MIN_BEGINNING`] bytes, in any case.
#[inline]
fn beginning_hash(raw: u64) -> Hash {
    mixed((raw | FOLD) & mask(MIN_BEGINNING), BEGINNING_BITS)
}

/// `bits` bits of `key` and 15 more (Fibonacci hashing; Knuth, The Art of Computer Programming
/// 6.4). The tag is never 0, which is that of no entries, and never [`MIXED`].
#[inline]
fn mixed(key: u64, bits: u32) -> Hash {
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let tag = u16::try_from(mixed >> 40 & 0x7fff).unwrap_or(0) | 1;
    // At most 13 bits.
    (usize::try_from(mixed >> (64 - bits)).unwrap_or(0), tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needle(text: &str, caseless: bool, whole: bool) -> Needle {
        Needle {
            bytes: text.as_bytes().to_vec(),
            caseless,
            word: true,
            whole,
        }
    }

    fn found(needles: &[Needle], text: &[u8]) -> Vec<(u32, usize)> {
        let words = Words::new((0..).zip(needles)).unwrap();
        let mut outline = Outline::default();
        outline.draw(text);
        let mut all = Vec::new();
        words.find(text, &outline, 0..text.len().div_ceil(BLOCK), |id, end| {
            all.push((id, end));
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn beginnings_of_words_are_found() {
        let needles = [
            needle("ignore", true, false),
            needle("AKIA", false, false),
            needle("ai", true, true),
            needle("system prompt", true, false),
        ];
        let text = b"Please IGNORE AKIA, akia xAKIA aid AI! The System Prompt; ignored";
        assert_eq!(
            found(&needles, text),
            [(0, 13), (0, 64), (1, 18), (2, 37), (3, 56)]
        );
        assert_eq!(found(&needles, b"ai"), [(2, 2)]);
        assert_eq!(found(&needles, b"igno"), []);
        assert_eq!(found(&needles, b""), []);
    }

    #[test]
    fn leads_are_found_one_after_another() {
        let lead = Lead::new(&[
            needle("ignore", true, true),
            needle("disregard all", true, false),
        ]);
        let text = b"IGNORE; signore disregard disregarding ignored";
        let mut outline = Outline::default();
        outline.draw(text);
        let mut all = Vec::new();
        let mut at = 0;
        while let Some(next) = lead.next(text, &outline, at, text.len()) {
            all.push(next);
            at = next + 1;
        }
        // Only eight bytes are looked at.
        assert_eq!(all, [0, 16, 26, 39]);
        assert_eq!(lead.next(text, &outline, 1, 16), None);
    }

    proptest! {
        #[test]
        fn none_is_missed(
            text in "[aAbB_ .]{0,200}",
            needles in prop::collection::vec(("[ab_][ab_ ]{3,10}", any::<bool>(), any::<bool>()), 1..20),
        ) {
            let needles: Vec<Needle> = needles
                .iter()
                .map(|(text, caseless, whole)| needle(text, *caseless, *whole))
                .collect();
            let fast = found(&needles, text.as_bytes());
            for (id, needle) in (0..).zip(&needles) {
                for at in 0..text.len() {
                    let bytes = text.as_bytes();
                    let inside = |at: usize| bytes.get(at).is_some_and(|b| is_word(*b) == 1);
                    let end = at + needle.bytes.len();
                    let whole = inside(end - 1) != inside(end);
                    let there = bytes.get(at..end).is_some_and(|text| {
                        text == needle.bytes
                            || needle.caseless && text.eq_ignore_ascii_case(&needle.bytes)
                    });
                    let begins = at == 0 || !inside(at - 1);
                    if there && begins && (whole || !needle.whole) {
                        prop_assert!(fast.contains(&(id, end)), "{:?}", needle);
                    }
                }
            }
        }
    }
}
