//! One regular expression, read once: to confirm with, and to know what to look for.
//!
//! Enters: a [`PatternSpec`]. Leaves: a `regex-automata` regex that confirms, and strings made of
//! its parsed form, by which its matches are found: they cannot disagree about a rule. It never
//! sees scanned text.

use std::sync::OnceLock;

use memchr::memmem::Finder;
use regex_automata::meta::{self, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::needle::{self, Chooser, Needles};
use crate::spec::{Anchor, PatternSpec, RuleSpec};
use crate::words::Lead;

/// Longest match a pattern may have, in bytes.
pub const MAX_WIDTH: u32 = 4096;

/// Most bytes an `extend` expression sees after the match: 16 KiB.
pub const MAX_EXTENSION: usize = 16 * 1024;

/// Most memory one compiled regex may take, in bytes: 4 MiB.
const REGEX_LIMIT: usize = 4 << 20;

/// Memory for the lazy states of one regex, in bytes: 512 KiB. More are recomputed.
const STATES_LIMIT: usize = 512 << 10;

/// Most characters in an alternation of single characters, where some are not one byte.
const MAX_CHARS: usize = 64;

/// A pattern ready to confirm with, and the text to find it with.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// Built when first asked for: hundreds of them cost more at start than a restored database.
    regex: OnceLock<Result<Regex, String>>,
    pub(crate) max_width: u32,
    /// Sets of rare strings: every match holds what one of them says. Empty if there are none.
    pub(crate) needles: Vec<Needles>,
    /// Words of which every match begins with one, if they are few.
    pub(crate) lead: Option<Lead>,
    /// A string without letters that every match holds.
    pub(crate) mark: Option<Finder<'static>>,
    /// Place among the rule's patterns.
    pub(crate) place: usize,
    /// Capture groups, the whole match not counted.
    pub(crate) groups: usize,
}

impl Compiled {
    /// The regex of this pattern of `rule`. Fails only if it takes more than [`REGEX_LIMIT`].
    pub(crate) fn regex(&self, rule: &RuleSpec) -> Result<&Regex, &str> {
        let built = self.regex.get_or_init(|| {
            let spec = rule.patterns.get(self.place).ok_or("no such pattern")?;
            let captures = rule.capture.is_some_and(|group| group > 0);
            build(&parse(spec, spec.caseless)?, captures)
        });
        built.as_ref().map_err(String::as_str)
    }
}

/// Reads `spec`, the `place`th pattern of a rule with `anchor`.
pub(crate) fn compile(
    spec: &PatternSpec,
    place: usize,
    anchor: Anchor,
    chooser: &mut Chooser,
) -> Result<Compiled, String> {
    // Read once, without folding the case: that changes no length and no group, and Vectorscan
    // folds it itself, which keeps the literals whole.
    let hir = parse(spec, false)?;
    let properties = hir.properties();
    let (Some(min), Some(max)) = (properties.minimum_len(), properties.maximum_len()) else {
        return Err(match properties.minimum_len() {
            None => "it can never match".to_owned(),
            Some(_) => format!(
                "a match has no greatest length: bound every repetition, {MAX_WIDTH} bytes in all"
            ),
        });
    };
    if min == 0 {
        return Err("it matches the empty string".to_owned());
    }
    let max_width = u32::try_from(max)
        .ok()
        .filter(|max| *max <= MAX_WIDTH)
        .ok_or_else(|| format!("a match can be {max} bytes long, the limit is {MAX_WIDTH}"))?;
    if properties.look_set().contains_anchor() {
        return Err(
            "`^`, `$`, `\\A` and `\\z` are not supported: texts are scanned joined".to_owned(),
        );
    }
    let needed: &[u8] = match anchor {
        Anchor::Literal | Anchor::Digits => b"",
        Anchor::At => b"@",
        Anchor::Url => b"://",
        Anchor::Colons => b":",
    };
    if !needed.is_empty() && !requires(&hir, needed) {
        return Err(format!(
            "its anchor is `{anchor}`, but it can match without `{}`",
            String::from_utf8_lossy(needed)
        ));
    }
    supported(&hir)?;
    Ok(Compiled {
        needles: chooser.choose(&hir, spec.caseless),
        mark: needle::mark(&hir).map(|mark| Finder::new(&mark).into_owned()),
        lead: needle::lead(&hir, spec.caseless).map(|words| Lead::new(&words)),
        regex: OnceLock::new(),
        groups: properties.explicit_captures_len(),
        max_width,
        place,
    })
}

/// A rule's `extend` expression; unbounded ones are welcome. Built when first asked for.
#[derive(Debug)]
pub(crate) struct Extension {
    text: String,
    regex: OnceLock<Result<Regex, String>>,
}

impl Extension {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            regex: OnceLock::new(),
        }
    }

    /// The regex. Fails if it cannot be built.
    pub(crate) fn regex(&self) -> Result<&Regex, &str> {
        let built = self.regex.get_or_init(|| {
            let spec = PatternSpec {
                text: self.text.clone(),
                caseless: false,
                dotall: false,
            };
            build(&parse(&spec, false)?, false)
        });
        built.as_ref().map_err(String::as_str)
    }
}

fn parse(spec: &PatternSpec, caseless: bool) -> Result<Hir, String> {
    let config = syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(caseless)
        .dot_matches_new_line(spec.dotall)
        .nest_limit(64);
    syntax::parse_with(&spec.text, &config).map_err(|error| error.to_string())
}

fn build(hir: &Hir, captures: bool) -> Result<Regex, String> {
    let config = meta::Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(REGEX_LIMIT))
        .hybrid_cache_capacity(STATES_LIMIT)
        .which_captures(if captures {
            WhichCaptures::All
        } else {
            WhichCaptures::Implicit
        })
        // Building these costs more at start than they give back in a short window.
        .onepass(false)
        .dfa(false);
    meta::Builder::new()
        .configure(config)
        .build_from_hir(hir)
        .map_err(|error| error.to_string())
}

/// Whether every match holds `needle`, as far as the structure shows.
fn requires(hir: &Hir, needle: &[u8]) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(_) | HirKind::Class(_) => {
            exact(hir).is_some_and(|bytes| memchr::memmem::find(&bytes, needle).is_some())
        }
        HirKind::Repetition(repetition) => {
            let copies = exact(&repetition.sub).map(|bytes| bytes.repeat(least(repetition.min)));
            copies.is_some_and(|bytes| memchr::memmem::find(&bytes, needle).is_some())
                || (repetition.min > 0 && requires(&repetition.sub, needle))
        }
        HirKind::Capture(capture) => requires(&capture.sub, needle),
        HirKind::Concat(parts) => concat_requires(parts, needle),
        HirKind::Alternation(branches) => branches.iter().all(|branch| requires(branch, needle)),
    }
}

/// As [`requires`], also for a needle that several parts make together.
fn concat_requires(parts: &[Hir], needle: &[u8]) -> bool {
    let mut run = Vec::new();
    for part in parts {
        let (bytes, open) = match part.kind() {
            HirKind::Empty | HirKind::Look(_) => continue,
            HirKind::Repetition(repetition) if repetition.min == 0 => (None, false),
            HirKind::Repetition(repetition) => (
                exact(&repetition.sub).map(|bytes| bytes.repeat(least(repetition.min))),
                repetition.max != Some(repetition.min),
            ),
            _ => (exact(part), false),
        };
        match bytes {
            Some(bytes) => {
                run.extend_from_slice(&bytes);
                if memchr::memmem::find(&run, needle).is_some() {
                    return true;
                }
                if open {
                    // What comes next stands after the last copy, if there must be one.
                    run = bytes;
                }
            }
            None if requires(part, needle) => return true,
            None => run.clear(),
        }
    }
    false
}

/// The one string that `hir` matches, if it is a literal or a class of one byte.
fn exact(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(literal.0.to_vec()),
        HirKind::Class(class) => class.literal(),
        HirKind::Capture(capture) => exact(&capture.sub),
        _ => None,
    }
}

/// Copies of a repetition worth looking at: anchors are at most three bytes long.
fn least(min: u32) -> usize {
    usize::try_from(min.min(4)).unwrap_or(4)
}

/// Refuses what has no meaning over joined bytes.
fn supported(hir: &Hir) -> Result<(), String> {
    match hir.kind() {
        HirKind::Empty | HirKind::Literal(_) => Ok(()),
        HirKind::Look(Look::WordAscii | Look::WordAsciiNegate) => Ok(()),
        HirKind::Look(_) => Err("of the assertions only `\\b` and `\\B` are supported".to_owned()),
        HirKind::Class(Class::Bytes(bytes)) if bytes.ranges().is_empty() => {
            Err(EMPTY_CLASS.to_owned())
        }
        HirKind::Class(Class::Bytes(_)) => Ok(()),
        // Alternatives that are single characters, some outside ASCII.
        HirKind::Class(Class::Unicode(unicode)) => {
            match unicode.iter().map(|range| range.len()).sum::<usize>() {
                0 => Err(EMPTY_CLASS.to_owned()),
                1..=MAX_CHARS => Ok(()),
                _ => Err(format!(
                    "Unicode classes are not supported, only {MAX_CHARS} characters in a row of `|`"
                )),
            }
        }
        HirKind::Capture(capture) => supported(&capture.sub),
        HirKind::Repetition(repetition) => supported(&repetition.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().try_for_each(supported)
        }
    }
}

const EMPTY_CLASS: &str = "a class in it is empty";

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> PatternSpec {
        PatternSpec {
            text: text.to_owned(),
            caseless: false,
            dotall: false,
        }
    }

    #[test]
    fn refuses_what_the_finder_cannot_promise() {
        for (text, word) in [
            ("a+", "greatest length"),
            ("a?", "empty"),
            ("^abc", "joined"),
            ("abc$", "joined"),
            (r"abc\z", "joined"),
            ("a{5000}", "5000"),
            (r"\<abc", "assertions"),
            ("(", "unclosed"),
            (r"(?-u:[a&&b])", "never match"),
        ] {
            let error = compile(&spec(text), 0, Anchor::Literal, &mut Chooser::new()).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn anchors_must_be_required() {
        for (text, anchor, good) in [
            (r"\w{1,9}@\w{1,9}", Anchor::At, true),
            (r"\w{1,9}[@#]\w{1,9}", Anchor::At, false),
            (r"(?:a@|b)c", Anchor::At, false),
            (r"https?://[a-z]{1,20}", Anchor::Url, true),
            (r"(?:http|ftp)s?:/{1,2}x", Anchor::Url, false),
            (r"[a-z]{2,9}://{1,3}[^/]{1,9}", Anchor::Url, true),
            (r"[a-z]{2,9}(:)/{2}x", Anchor::Url, true),
            (r"[a-z]{2,9}:?//x", Anchor::Url, false),
            (r"x:{1,2}//x", Anchor::Url, true),
            (r"(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}", Anchor::Colons, true),
        ] {
            assert_eq!(
                compile(&spec(text), 0, anchor, &mut Chooser::new()).is_ok(),
                good,
                "{text}"
            );
        }
    }
}
