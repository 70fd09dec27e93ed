//! Text as it looks, not as it is encoded.
//!
//! Invisible characters go, tag characters become the ASCII they stand for, compatibility forms
//! become plain (NFKC), exotic spaces and quotes become ASCII ones, letters outside ASCII become
//! lower case, and — in a second view, only when it matters — look-alikes become ASCII letters.
//! ASCII itself stays as it is.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, is_nfkc_quick};

use crate::joined::Writer;

use super::fold::{fold, is_stable_script};

/// Most characters normalised as one; marks beyond it start a new cluster (UAX 15 stream-safe).
const MAX_CLUSTER: usize = 32;

/// Whether look-alikes become ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folding {
    Off,
    On,
}

/// What was seen on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// A word that would be all ASCII if its look-alikes were folded, and has some.
    pub(super) look_alikes: bool,
    /// Tag characters (U+E0020 to U+E007E): text that is not drawn at all.
    pub(super) tags: bool,
}

/// Whether the normalised view could differ: anything but printable ASCII, tab, LF, VT, FF, CR.
///
/// One pass over whole blocks without a branch, so that it becomes vector instructions.
pub(super) fn may_differ(text: &[u8]) -> bool {
    let odd = |b: u8| u8::from(b >= 0x7f) | (u8::from(b < 0x20) & u8::from(b.wrapping_sub(9) > 4));
    let (blocks, tail) = text.as_chunks::<64>();
    blocks
        .iter()
        .any(|block| block.iter().fold(0, |any, b| any | odd(*b)) != 0)
        || tail.iter().fold(0, |any, b| any | odd(*b)) != 0
}

/// Writes the normalised form of `source`; bytes that are not UTF-8 are kept.
pub(super) fn normalise(
    source: &[u8],
    folding: Folding,
    cluster: &mut String,
    out: &mut Writer<'_>,
) -> Seen {
    let mut pass = Pass {
        folding,
        out,
        cluster,
        word: Word::default(),
        seen: Seen::default(),
    };
    let mut at = 0;
    for chunk in source.utf8_chunks() {
        pass.text(chunk.valid(), at);
        at += chunk.valid().len();
        if !chunk.invalid().is_empty() {
            pass.out.linear(chunk.invalid(), at);
            pass.word = Word::default();
            at += chunk.invalid().len();
        }
        if pass.out.is_full() {
            break;
        }
    }
    pass.end_word();
    pass.seen
}

/// Writes only the text hidden in tag characters.
pub(super) fn hidden_tags(source: &[u8], out: &mut Writer<'_>) {
    let mut at = 0;
    for chunk in source.utf8_chunks() {
        for (offset, c) in chunk.valid().char_indices() {
            if let Some(byte) = tag(c) {
                out.blob(&[byte], at + offset..at + offset + c.len_utf8());
            }
        }
        at += chunk.valid().len() + chunk.invalid().len();
    }
}

/// The word being written, as far as folding is concerned.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    letters: u32,
    look_alikes: u32,
    foreign: bool,
}

struct Pass<'p, 'j> {
    folding: Folding,
    out: &'p mut Writer<'j>,
    cluster: &'p mut String,
    word: Word,
    seen: Seen,
}

impl Pass<'_, '_> {
    /// `base` is where `text` starts in the source.
    fn text(&mut self, text: &str, base: usize) {
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            if self.out.is_full() {
                return;
            }
            let plain = plain_prefix(rest);
            if plain > 0 {
                let bytes = rest.as_bytes().get(..plain).unwrap_or_default();
                self.ascii(bytes);
                self.out.linear(bytes, base + at);
                at += plain;
                continue;
            }
            at += self.cluster(rest, base + at);
        }
    }

    /// Handles one cluster at the start of `rest`; returns its length.
    fn cluster(&mut self, rest: &str, at: usize) -> usize {
        let mut chars = rest.chars();
        let Some(first) = chars.next() else {
            return rest.len();
        };
        let len = first.len_utf8();
        let span = at..at + len;
        if let Some(byte) = tag(first) {
            self.seen.tags = true;
            self.ascii(&[byte]);
            self.out.blob(&[byte], span);
            return len;
        }
        if is_invisible(first) {
            return len;
        }
        if let Some(byte) = punctuation(first) {
            self.ascii(&[byte]);
            self.out.blob(&[byte], span);
            return len;
        }
        let end = len
            + chars
                .take(MAX_CLUSTER - 1)
                .take_while(|c| joins(*c))
                .map(char::len_utf8)
                .sum::<usize>();
        let source = rest.get(..end).unwrap_or(rest);
        if end == len && is_stable_script(first) {
            self.word.foreign = true;
            self.out.linear(source.as_bytes(), at);
            return end;
        }
        self.normal(source);
        if self.cluster.len() == end {
            self.out.linear(self.cluster.as_bytes(), at);
        } else {
            self.out.blob(self.cluster.as_bytes(), at..at + end);
        }
        end
    }

    /// Writes the normal form of `source` to `self.cluster`.
    fn normal(&mut self, source: &str) {
        self.cluster.clear();
        for c in source.nfkc() {
            if c.is_ascii() {
                self.letter(c, None);
                self.cluster.push(c);
                continue;
            }
            if is_invisible(c) {
                continue;
            }
            let mark = canonical_combining_class(c) != 0;
            let look_alike = if mark { None } else { fold(c) };
            if mark {
                // A mark that composes with nothing is decoration on the letter before.
                self.word.look_alikes += 1;
                if self.folding == Folding::On {
                    continue;
                }
            } else {
                self.letter(c, look_alike);
            }
            match look_alike {
                Some(byte) if self.folding == Folding::On => self.cluster.push(char::from(byte)),
                _ => self.cluster.extend(c.to_lowercase()),
            }
        }
    }

    fn ascii(&mut self, bytes: &[u8]) {
        // Only words that touch something else matter: look at the ends.
        let is_word = |b: &u8| b.is_ascii_alphanumeric();
        let Some(first_end) = bytes.iter().position(|b| !is_word(b)) else {
            self.word.letters += crate::joined::offset(bytes.len());
            return;
        };
        self.word.letters += crate::joined::offset(first_end);
        self.end_word();
        self.word.letters =
            crate::joined::offset(bytes.iter().rev().take_while(|b| is_word(b)).count());
    }

    fn letter(&mut self, c: char, look_alike: Option<u8>) {
        if look_alike.is_some_and(|byte| byte.is_ascii_alphanumeric()) {
            self.word.letters += 1;
            self.word.look_alikes += 1;
        } else if c.is_ascii_alphanumeric() {
            self.word.letters += 1;
        } else if c.is_alphanumeric() {
            self.word.foreign = true;
        } else {
            // Punctuation that looks like ASCII punctuation matters too.
            self.seen.look_alikes |= look_alike.is_some();
            self.end_word();
        }
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        self.seen.look_alikes |= word.look_alikes > 0 && word.letters >= 2 && !word.foreign;
    }
}

/// Length of the prefix that stays as it is: ASCII without controls, and without a last character
/// that combines with what follows.
fn plain_prefix(text: &str) -> usize {
    let bytes = text.as_bytes();
    let stop = |b: &u8| *b >= 0x7f || (*b < 0x20 && !(9..=13).contains(b));
    let end = bytes.iter().position(stop).unwrap_or(bytes.len());
    let next = text.get(end..).and_then(|rest| rest.chars().next());
    if end > 0 && next.is_some_and(joins) {
        end - 1
    } else {
        end
    }
}

/// Whether `c` belongs to the cluster before it.
fn joins(c: char) -> bool {
    !c.is_ascii()
        && !is_invisible(c)
        && !is_stable_script(c)
        && (canonical_combining_class(c) != 0
            || is_nfkc_quick(std::iter::once(c)) == IsNormalized::Maybe)
}

/// The ASCII character a tag character stands for.
fn tag(c: char) -> Option<u8> {
    match c {
        '\u{e0020}'..='\u{e007e}' => u8::try_from(u32::from(c) - 0xe0000).ok(),
        _ => None,
    }
}

/// Characters that are not drawn: controls, joiners, fillers, direction marks, variation selectors.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}'
            | '\u{e}'..='\u{1f}'
            | '\u{7f}'..='\u{84}'
            | '\u{86}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Spaces, line ends, quotes, dashes and slashes that are read as an ASCII character.
fn punctuation(c: char) -> Option<u8> {
    Some(match c {
        '\u{a0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200a}'
        | '\u{202f}'
        | '\u{205f}'
        | '\u{2800}'
        | '\u{3000}' => b' ',
        '\u{85}' | '\u{2028}' | '\u{2029}' => b'\n',
        '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{2bc}' => b'\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' => b'"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => b'-',
        '\u{2044}' | '\u{2215}' => b'/',
        '\u{2236}' => b':',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use mcpf_model::{Span, Surface};

    use super::*;
    use crate::joined::{Derivable, Joined};
    use crate::views::{Workspace, build};

    /// Every view made of `text`, in order.
    fn views(text: &str) -> Vec<String> {
        let mut joined = Joined::default();
        let derivable = Derivable {
            normalised: may_differ(text.as_bytes()),
            decoded: false,
        };
        let raw = Span { start: 0, end: 0 };
        joined
            .push(text.as_bytes(), raw, Surface::Prompt, derivable)
            .unwrap();
        joined.end_texts(1 << 20);
        build(&mut joined, &mut Workspace::default());
        joined.segments[1..]
            .iter()
            .map(|segment| String::from_utf8_lossy(joined.bytes(segment)).into_owned())
            .collect()
    }

    #[test]
    fn ascii_has_no_other_view() {
        assert!(!may_differ(b"plain text,\r\n\twith \"everything\" ~ ASCII"));
        assert!(may_differ(b"a\0b"));
        assert!(may_differ("é".as_bytes()));
        assert!(may_differ(&[b"x".repeat(70), vec![0x7f]].concat()));
    }

    #[test]
    fn invisible_characters_go() {
        assert_eq!(views("ig\u{200b}no\u{ad}re\u{feff}"), ["ignore"]);
        assert_eq!(views("a\u{202e}b\u{2066}c\0d"), ["abcd"]);
    }

    #[test]
    fn compatibility_forms_become_plain() {
        assert_eq!(views("ｉｇｎｏｒｅ"), ["ignore"]);
        assert_eq!(views("𝐢𝐠𝐧𝐨𝐫𝐞\u{a0}𝒂𝒍𝒍"), ["ignore all"]);
        assert_eq!(views("“don’t”"), ["\"don't\""]);
        assert_eq!(views("ⓘⓖⓝⓞⓡⓔ"), ["ignore"]);
    }

    #[test]
    fn look_alikes_fold_in_a_second_view() {
        assert_eq!(views("ignоre"), ["ignore"]);
        assert_eq!(views("ІGNORE аll"), ["іGNORE аll", "iGNORE all"]);
        assert!(views("i\u{307}g\u{308}nore").contains(&"ignore".to_owned()));
        assert!(views("ígnóre").contains(&"ignore".to_owned()));
        assert!(views("ɪɢɴᴏʀᴇ").contains(&"ignore".to_owned()));
    }

    #[test]
    fn other_scripts_are_left_alone() {
        assert_eq!(views("忽略之前的指令"), Vec::<String>::new());
        assert_eq!(views("привет мир"), Vec::<String>::new());
        assert_eq!(views("ПРИВЕТ"), ["привет"]);
    }

    #[test]
    fn tags_are_read() {
        let hidden: String = "ignore all"
            .chars()
            .map(|c| char::from_u32(0xe0000 + u32::from(c)).unwrap())
            .collect();
        let made = views(&format!("hi{hidden}"));
        assert_eq!(made, ["hiignore all", "ignore all"]);
    }

    #[test]
    fn decoration_without_end_is_cut_into_clusters() {
        let made = views(&format!("ab{}", "\u{301}".repeat(1000)));
        assert!(made.iter().any(|view| view == "ab"));
    }
}
