//! How often a string stands in ordinary text: prose, code, JSON and documentation together.
//!
//! Enters: a byte string. Leaves: a guess, good to a factor of a few, which is enough to tell a
//! rare word from a common one. Words are counted in `ordinary.txt`, which `scripts/ordinary-words`
//! makes; the rest is what each byte is worth.

use std::collections::HashMap;

use memchr::memmem;

use crate::needle::Needle;

/// The frequency of what stands at every byte.
pub(crate) const EVERYWHERE: u64 = 1 << 40;

/// `COUNT WORD` lines; the count is for 16 MiB of text.
const COUNTS: &str = include_str!("ordinary.txt");
const SAMPLE: u64 = 1 << 24;

/// The frequency of a word that was not counted because it was too rare.
const UNCOUNTED: u64 = EVERYWHERE / SAMPLE * 64;

/// How often words stand in ordinary text.
pub(crate) struct Ordinary {
    /// Every word between line feeds, in alphabetical order.
    words: Vec<u8>,
    list: Vec<Word>,
    /// What was found for parts that stand anywhere in a word, which takes longest.
    known: HashMap<Vec<u8>, u64>,
}

struct Word {
    text: &'static [u8],
    /// Where it ends in `words`.
    end: usize,
    /// The frequency of this word and all before it.
    sum: u64,
}

impl Ordinary {
    pub(crate) fn new() -> Self {
        let mut counted: Vec<(&[u8], u64)> = COUNTS
            .lines()
            .filter_map(|line| {
                let (count, word) = line.split_once(' ')?;
                Some((word.as_bytes(), count.parse().ok()?))
            })
            .collect();
        counted.sort_unstable();
        let mut words = vec![b'\n'];
        let mut list = Vec::with_capacity(counted.len());
        let mut sum = 0_u64;
        for (text, count) in counted {
            words.extend_from_slice(text);
            words.push(b'\n');
            sum = sum.saturating_add(count.saturating_mul(EVERYWHERE / SAMPLE));
            let end = words.len();
            list.push(Word { text, end, sum });
        }
        Self {
            words,
            list,
            known: HashMap::new(),
        }
    }

    /// The frequency of the words in `from..to` of the list.
    fn between(&self, from: usize, to: usize) -> u64 {
        let sum = |to: usize| {
            let last = to.checked_sub(1).and_then(|last| self.list.get(last));
            last.map_or(0, |word| word.sum)
        };
        sum(to).saturating_sub(sum(from))
    }

    /// [`EVERYWHERE`] times the chance that `needle` ends at a given byte; at least 1.
    pub(crate) fn frequency(&mut self, needle: &Needle) -> u64 {
        let lower = needle.bytes.to_ascii_lowercase();
        // The rarest word in it bounds it from above; all else makes it rarer, in bits.
        let mut word = None;
        let mut bits = 0;
        let mut at = 0;
        while let Some(byte) = lower.get(at) {
            let rest = lower.get(at..).unwrap_or_default();
            let len = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
            if rest.starts_with(b"://") {
                bits += 1;
                at += 3;
                continue;
            }
            if len < 2 {
                bits += match *byte {
                    b' ' => 1,
                    b'.' | b',' | b':' | b'/' | b'-' | b'_' | b'"' | b'\n' => 2,
                    byte => quarter_bits(byte) / 5,
                };
                at += 1;
                continue;
            }
            let end = at + len;
            // Where the needle says what stands beside a word, it is a whole word there.
            let begins = at > 0 || needle.word;
            let ends = end < lower.len() || needle.whole;
            let mut often = self.part(rest.get(..len).unwrap_or_default(), begins, ends);
            let upper = |b: &u8| b.is_ascii_uppercase();
            if !needle.caseless
                && needle
                    .bytes
                    .get(at..end)
                    .is_some_and(|word| word.iter().any(upper))
            {
                often >>= 3;
            }
            word = Some(match word {
                Some(before) if before <= often => {
                    bits += 3;
                    before
                }
                Some(_) => {
                    bits += 3;
                    often
                }
                None => often,
            });
            at = end;
        }
        let often = match word {
            Some(word) => word >> bits.min(40),
            None => letters(&lower),
        };
        often.max(1)
    }

    /// The frequency of the words that hold `part`, at their beginning and end if asked for.
    fn part(&mut self, part: &[u8], begins: bool, ends: bool) -> u64 {
        let counted = if begins {
            let from = self.list.partition_point(|word| word.text < part);
            let run = self.list.get(from..).unwrap_or_default();
            let fits = |word: &Word| {
                if ends {
                    word.text == part
                } else {
                    word.text.starts_with(part)
                }
            };
            self.between(
                from,
                from + run.iter().take_while(|word| fits(word)).count(),
            )
        } else {
            self.inside(part, ends)
        };
        // Words that were not counted, all together, are as common as their letters allow, within
        // reason.
        counted.saturating_add(letters(part).clamp(UNCOUNTED / 64, UNCOUNTED))
    }

    /// The frequency of the words that hold `part` anywhere, or at their end.
    fn inside(&mut self, part: &[u8], ends: bool) -> u64 {
        let mut wanted = part.to_vec();
        if ends {
            wanted.push(b'\n');
        }
        if let Some(known) = self.known.get(&wanted) {
            return *known;
        }
        let mut sum = 0_u64;
        let mut last = usize::MAX;
        for at in memmem::find_iter(&self.words, &wanted) {
            let word = self.list.partition_point(|word| word.end <= at);
            if word != last {
                last = word;
                sum = sum.saturating_add(self.between(word, word + 1));
            }
        }
        self.known.insert(wanted, sum);
        sum
    }
}

/// The frequency if each byte came by itself.
fn letters(bytes: &[u8]) -> u64 {
    let bits = bytes
        .iter()
        .map(|byte| quarter_bits(*byte))
        .fold(0, u32::saturating_add);
    // Quarters of a bit are rounded down: too often is the safe side.
    EVERYWHERE >> (bits / 4).min(40)
}

/// What a byte is worth, in quarters of a bit.
fn quarter_bits(byte: u8) -> u32 {
    match byte {
        b' ' => 10,
        b'e' => 14,
        b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 17,
        b'h' | b'l' | b'd' => 20,
        b'c' | b'u' | b'm' | b'p' | b'f' => 22,
        b'g' | b'w' | b'y' | b'b' => 25,
        b'v' | b'k' => 29,
        b'A'..=b'Z' | b'x' => 32,
        b'j' | b'q' | b'z' => 38,
        b'0'..=b'9' => 22,
        b'\n' | b'"' | b'.' | b',' | b'-' | b'_' | b'/' | b':' => 22,
        b'=' | b'(' | b')' | b'\'' | b'\r' | b'\t' | b'<' | b'>' | b'{' | b'}' | b'[' | b']' => 26,
        _ => 36,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_are_told_from_common_ones() {
        let mut ordinary = Ordinary::new();
        let needle = |text: &str, caseless| Needle {
            bytes: text.as_bytes().to_vec(),
            caseless,
            word: false,
            whole: false,
        };
        let mut often = |text: &str| ordinary.frequency(&needle(text, true));
        assert!(often("the") > often("instructions"));
        assert!(often("instructions") > often("disregard"));
        assert!(often("disregard") > often("webhook.site"));
        assert!(often("sk-") > often("disregard"));
        assert!(often("nstruction") >= often("instructions"));
        assert!(often("system") > often("system prompt"));
        assert_eq!(often("x-y-z-x-y-z-x-y-z-x-y-z"), 1);
        assert!(often("https://") > often("https-x"));
        let exact = ordinary.frequency(&needle("AKIA", false));
        assert!(exact < ordinary.frequency(&needle("AKIA", true)));
    }

    #[test]
    fn the_words_are_read_whole() {
        let ordinary = Ordinary::new();
        assert_eq!(ordinary.list.len(), COUNTS.lines().count());
        assert!(ordinary.list.is_sorted_by_key(|word| word.text));
    }
}
