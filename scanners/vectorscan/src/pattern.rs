//! What is compiled: patterns, literals, flags and the scan mode.
//!
//! Enters: rule text. Leaves: checked values in the C library's terms.
//! Never compiles anything.

use std::ops::{BitOr, BitOrAssign};

use crate::raw::hs;

/// Flags of one pattern. The default is none: case matters, `.` stops at a
/// line feed, every match is reported.
///
/// The library's UTF-8 and combination flags are left out on purpose: the
/// first is undefined behaviour on other bytes, the second fires early.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// ASCII letters match in either case.
    pub const CASELESS: Self = Self(hs::HS_FLAG_CASELESS);
    /// `.` matches a line feed too.
    pub const DOTALL: Self = Self(hs::HS_FLAG_DOTALL);
    /// `^` matches after each line feed.
    pub const MULTILINE: Self = Self(hs::HS_FLAG_MULTILINE);
    /// Report the pattern at most once per scan (per stream in stream mode).
    pub const SINGLEMATCH: Self = Self(hs::HS_FLAG_SINGLEMATCH);
    /// Compile an over-approximation if the pattern itself is not supported.
    pub const PREFILTER: Self = Self(hs::HS_FLAG_PREFILTER);
    /// Report where the match starts. Block mode only; doubles the database.
    pub const SOM_LEFTMOST: Self = Self(hs::HS_FLAG_SOM_LEFTMOST);

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// `self` with the flags of `other` as well.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.with(other);
    }
}

/// How the data will arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// In one piece: [`crate::Database::scan`].
    Block,
    /// In chunks: [`crate::StreamScanner`]. For bodies too large to buffer.
    Stream,
}

impl Mode {
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Self::Block => hs::HS_MODE_BLOCK,
            Self::Stream => hs::HS_MODE_STREAM,
        }
    }
}

/// Extra limits on one pattern; every field is off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Ext {
    /// Smallest offset, in bytes, at which a match may end.
    pub min_offset: Option<u64>,
    /// Largest offset, in bytes, at which a match may end.
    pub max_offset: Option<u64>,
    /// Shortest match, in bytes.
    pub min_length: Option<u64>,
    /// Levenshtein distance allowed. Costs much: measured +418 ns per KiB for a distance of 1.
    pub edit_distance: Option<u32>,
    /// Hamming distance allowed. Not together with `edit_distance`.
    pub hamming_distance: Option<u32>,
}

impl Ext {
    pub(crate) fn to_raw(self) -> Option<hs::hs_expr_ext> {
        if self == Self::default() {
            return None;
        }
        let flag = |on: bool, bit: u32| if on { u64::from(bit) } else { 0 };
        Some(hs::hs_expr_ext {
            flags: flag(self.min_offset.is_some(), hs::HS_EXT_FLAG_MIN_OFFSET)
                | flag(self.max_offset.is_some(), hs::HS_EXT_FLAG_MAX_OFFSET)
                | flag(self.min_length.is_some(), hs::HS_EXT_FLAG_MIN_LENGTH)
                | flag(self.edit_distance.is_some(), hs::HS_EXT_FLAG_EDIT_DISTANCE)
                | flag(
                    self.hamming_distance.is_some(),
                    hs::HS_EXT_FLAG_HAMMING_DISTANCE,
                ),
            min_offset: self.min_offset.unwrap_or(0),
            max_offset: self.max_offset.unwrap_or(0),
            min_length: self.min_length.unwrap_or(0),
            edit_distance: self.edit_distance.unwrap_or(0),
            hamming_distance: self.hamming_distance.unwrap_or(0),
        })
    }
}

/// One regular expression, in PCRE syntax as far as the library supports it,
/// with byte semantics.
///
/// Refused at compile time, besides what the library refuses: a NUL byte, a
/// leading `(*…)` verb (it could turn UTF-8 mode on), and the end anchors `$`,
/// `\z` and `\Z` (the library was measured to miss matches with them; anchor
/// in the confirm pass instead).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pattern<'a> {
    /// The expression, without delimiters.
    pub expression: &'a str,
    /// What a match reports. Need not be unique.
    pub id: u32,
    /// Flags of this expression.
    pub flags: Flags,
    /// Extra limits.
    pub ext: Ext,
}

impl<'a> Pattern<'a> {
    /// A pattern without flags or extra limits.
    #[must_use]
    pub fn new(id: u32, expression: &'a str) -> Self {
        Self {
            expression,
            id,
            flags: Flags::NONE,
            ext: Ext::default(),
        }
    }

    /// The same pattern with `flags`.
    #[must_use]
    pub fn with_flags(self, flags: Flags) -> Self {
        Self { flags, ..self }
    }
}

/// One plain byte string; nothing in it is special, NUL included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Literal<'a> {
    /// The bytes to find; at least one.
    pub bytes: &'a [u8],
    /// What a match reports. Need not be unique.
    pub id: u32,
    /// [`Flags::CASELESS`], [`Flags::SINGLEMATCH`] and [`Flags::SOM_LEFTMOST`] apply.
    pub flags: Flags,
}

/// Why the expression is refused before the library sees it.
pub(crate) fn refusal(expression: &str) -> Option<&'static str> {
    if expression.contains('\0') {
        return Some("a NUL byte must be written as \\x00");
    }
    if expression.starts_with("(*") {
        return Some("verbs such as (*UTF8) are not supported");
    }
    has_end_anchor(expression.as_bytes())
        .then_some("the end anchors `$`, `\\z` and `\\Z` miss matches; anchor in the confirm pass")
}

/// Whether `$`, `\z` or `\Z` stands outside classes, escapes and `\Q…\E`.
/// A `$` in a `(?x)` comment counts too: refusing too much is harmless here.
fn has_end_anchor(expression: &[u8]) -> bool {
    let mut rest = expression;
    let mut in_class = false;
    loop {
        rest = match rest {
            [] => return false,
            [b'\\', b'Q', tail @ ..] => {
                let end = tail.windows(2).position(|pair| pair == b"\\E");
                tail.get(end.unwrap_or(tail.len())..).unwrap_or_default()
            }
            [b'\\', b'z' | b'Z', ..] if !in_class => return true,
            [b'\\', _, tail @ ..] => tail,
            // The first `]` of a class is a member.
            [b'[', b'^', b']', tail @ ..] | [b'[', b']', tail @ ..] if !in_class => {
                in_class = true;
                tail
            }
            [b'[', b':', tail @ ..] if in_class => {
                let end = tail.windows(2).position(|pair| pair == b":]");
                end.and_then(|at| tail.get(at + 2..)).unwrap_or(tail)
            }
            [b'[', tail @ ..] => {
                in_class = true;
                tail
            }
            [b']', tail @ ..] => {
                in_class = false;
                tail
            }
            [b'$', ..] if !in_class => return true,
            [_, tail @ ..] => tail,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_anchors_are_refused_and_their_look_alikes_are_not() {
        for bad in [
            "a$",
            r"a\z",
            r"a\Z",
            "(a|b$)",
            "[]]$",
            r"[\]]$",
            "[[:alpha:]]$",
            r"\\$",
            r"\Qa\E$",
            "[^]x]$",
        ] {
            assert!(refusal(bad).is_some(), "{bad}");
        }
        for good in [
            "a",
            r"a\$",
            "[$]",
            "[]$]",
            "[^]$]",
            r"\Qa$\E",
            r"\\z",
            "[[:alpha:]$]",
            r"[\]$]",
            r"\b",
        ] {
            assert_eq!(refusal(good), None, "{good}");
        }
    }

    #[test]
    fn verbs_and_nul_are_refused() {
        assert!(refusal("(*UTF8)a").is_some());
        assert!(refusal("a\0b").is_some());
    }

    #[test]
    fn flags_are_a_set() {
        let both = Flags::CASELESS | Flags::DOTALL;
        assert!(both.contains(Flags::CASELESS) && both.contains(Flags::DOTALL));
        assert!(!both.contains(Flags::SOM_LEFTMOST) && both.contains(Flags::NONE));
    }
}
