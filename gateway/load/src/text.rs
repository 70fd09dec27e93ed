//! Prose: clean text that varies.
//!
//! Enter: a size and a seed. Leave: sentences and paragraphs of plain English words, the same on every
//! machine. Never: anything a rule looks for, and never one letter over and over, which compressors, caches
//! and pattern matchers find easier than what tools really say.

/// `size` bytes of ASCII prose; another `seed` gives other sentences.
///
/// A paragraph ends with a line feed, so that the text needs an escape in JSON now and then, as real text does.
///
/// ```
/// let text = mcpf_load::prose(1_024, 1);
/// assert_eq!(text.len(), 1_024);
/// assert_ne!(text, mcpf_load::prose(1_024, 2));
/// ```
#[must_use]
pub fn prose(size: usize, seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let mut text = String::with_capacity(size.saturating_add(MAX_SENTENCE));
    let mut left = 0;
    while text.len() < size {
        if left == 0 {
            left = 4 + dice.roll(4);
            if !text.is_empty() {
                text.pop();
                text.push('\n');
            }
        }
        left -= 1;
        sentence(&mut text, &mut dice);
    }
    text.truncate(size);
    text
}

fn sentence(text: &mut String, dice: &mut Dice) {
    let words = 6 + dice.roll(12);
    for at in 0..words {
        let word = WORDS.get(dice.roll(WORDS.len())).copied().unwrap_or("the");
        if at == 0 {
            text.extend(word.chars().take(1).map(|first| first.to_ascii_uppercase()));
            text.extend(word.chars().skip(1));
        } else if dice.roll(24) == 0 {
            text.push_str(&(2 + dice.roll(97)).to_string());
        } else {
            text.push_str(word);
        }
        if at + 1 == words {
            text.push_str(". ");
        } else if dice.roll(9) == 0 {
            text.push_str(", ");
        } else {
            text.push(' ');
        }
    }
}

/// Xorshift: repeatable, and good enough to shuffle words.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed ^ 0x2545_f491_4f6c_dd1d)
    }

    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let sides = u64::try_from(sides).unwrap_or(1).max(1);
        usize::try_from((self.0 >> 11) % sides).unwrap_or_default()
    }
}

/// More than the longest sentence: 18 words of at most 12 letters, each with a comma and a space.
const MAX_SENTENCE: usize = 256;

const WORDS: [&str; 144] = [
    "the",
    "a",
    "this",
    "that",
    "each",
    "every",
    "some",
    "most",
    "several",
    "another",
    "report",
    "garden",
    "river",
    "station",
    "library",
    "harvest",
    "window",
    "morning",
    "evening",
    "winter",
    "summer",
    "valley",
    "bridge",
    "market",
    "village",
    "kitchen",
    "teacher",
    "painter",
    "driver",
    "farmer",
    "visitor",
    "neighbour",
    "engine",
    "paper",
    "letter",
    "story",
    "chapter",
    "picture",
    "question",
    "answer",
    "measure",
    "table",
    "result",
    "summary",
    "section",
    "figure",
    "number",
    "series",
    "season",
    "weather",
    "shows",
    "finds",
    "keeps",
    "brings",
    "carries",
    "follows",
    "changes",
    "explains",
    "describes",
    "reaches",
    "returns",
    "remains",
    "begins",
    "grows",
    "falls",
    "opens",
    "closes",
    "turns",
    "moves",
    "waits",
    "counts",
    "covers",
    "crosses",
    "prepares",
    "collects",
    "compares",
    "improves",
    "supports",
    "large",
    "small",
    "early",
    "late",
    "quiet",
    "bright",
    "narrow",
    "broad",
    "gentle",
    "steady",
    "common",
    "rare",
    "local",
    "distant",
    "modern",
    "older",
    "simple",
    "careful",
    "useful",
    "warm",
    "cold",
    "clear",
    "slowly",
    "quickly",
    "often",
    "rarely",
    "almost",
    "nearly",
    "together",
    "again",
    "already",
    "always",
    "perhaps",
    "usually",
    "in",
    "on",
    "under",
    "over",
    "between",
    "behind",
    "beside",
    "during",
    "after",
    "before",
    "until",
    "towards",
    "around",
    "across",
    "without",
    "within",
    "and",
    "but",
    "while",
    "because",
    "although",
    "where",
    "when",
    "whose",
    "which",
    "of",
    "for",
    "with",
    "from",
    "by",
    "about",
    "through",
];

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_has_the_size_that_was_asked_for() {
        for size in [0, 1, 2, 77, 1_024, 16_384, 1 << 20] {
            assert_eq!(prose(size, 7).len(), size);
        }
    }

    #[test]
    fn it_varies() {
        let text = prose(16_384, 1);
        assert!(text.is_ascii());
        assert!(text.lines().count() > 10);
        let mut words = HashMap::new();
        for word in text.split_whitespace() {
            *words.entry(word).or_insert(0) += 1;
        }
        assert!(words.len() > 200, "{}", words.len());
        let sentences: Vec<&str> = text.split(". ").collect();
        let distinct: std::collections::HashSet<&str> = sentences.iter().copied().collect();
        assert_eq!(distinct.len(), sentences.len());
    }

    #[test]
    fn it_is_repeatable() {
        assert_eq!(prose(4_096, 3), prose(4_096, 3));
    }
}
