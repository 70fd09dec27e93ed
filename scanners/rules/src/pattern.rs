//! What can be known about a pattern without running it.
//!
//! A pattern's text enters; leave its width, its groups, the literals every match must contain,
//! and the syntax that has no meaning in a scan over joined bytes. Nothing is matched here.

use std::collections::BTreeSet;

use regex_syntax::ast::{self, Ast};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest match a pattern may have, in bytes.
pub(crate) const MAX_WIDTH: usize = mcpf_scan::MAX_WIDTH as usize;

/// Literals of one place in a pattern that are still told apart; beyond it the place counts as
/// having none. Keeps the analysis of `[0-9a-f]{8}` from growing without end.
const MAX_SET: usize = 256;

/// Bytes a class may stand for, case folded, and still count as part of a literal.
const MAX_CLASS: usize = 4;

/// Deepest nesting in a pattern; what the engine takes.
const MAX_NEST: u32 = 64;

/// What a pattern promises.
#[derive(Debug)]
pub(crate) struct Analysis {
    /// Shortest match, in bytes.
    pub(crate) min_width: usize,
    /// Longest match, in bytes; `None` when there is no end to it.
    pub(crate) max_width: Option<usize>,
    /// How many capture groups there are, not counting the whole match.
    pub(crate) groups: usize,
    /// Every match contains one of these, in ASCII lowercase. Empty when nothing is required.
    pub(crate) required: BTreeSet<Vec<u8>>,
}

/// A reason not to use a pattern, found in its syntax, with the offset in the pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// Not a regular expression, or not one over bytes.
    Invalid(String),
    /// `^`, `$`, `\A`, `\z`: texts are scanned joined, so a text's ends cannot be seen.
    Look(String),
    /// Non-ASCII in a class: it would be several bytes.
    Class(String),
}

/// Parses `text` as the confirming engine will: bytes, no Unicode tables.
///
/// # Errors
/// What the syntax lint found, or the parser's complaint.
pub(crate) fn analyse(text: &str, caseless: bool, dotall: bool) -> Result<Analysis, Vec<Syntax>> {
    let ast = ast::parse::ParserBuilder::new()
        .nest_limit(MAX_NEST)
        .build()
        .parse(text)
        .map_err(|error| vec![Syntax::Invalid(error.kind().to_string())])?;
    let mut found = Vec::new();
    walk(&ast, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let hir = regex_syntax::hir::translate::TranslatorBuilder::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(caseless)
        .dot_matches_new_line(dotall)
        .build()
        .translate(text, &ast)
        .map_err(|error| vec![Syntax::Invalid(error.kind().to_string())])?;
    let properties = hir.properties();
    Ok(Analysis {
        min_width: properties.minimum_len().unwrap_or(0),
        max_width: properties.maximum_len(),
        groups: properties.explicit_captures_len(),
        required: Literals::of(&hir).required(),
    })
}

/// Whether `literal` is worth searching for, and how much: its length, or 0 for a token that
/// stands in most messages.
pub(crate) fn weight(literal: &[u8]) -> usize {
    let plain = |byte: &u8| byte.is_ascii_whitespace() || b":/.,;()[]{}\"'=_-".contains(byte);
    let start = literal.iter().position(|byte| !plain(byte));
    let end = literal.iter().rposition(|byte| !plain(byte));
    let common = match (start, end) {
        (Some(start), Some(end)) => literal
            .get(start..=end)
            .is_some_and(|word| COMMON.binary_search(&word).is_ok()),
        _ => {
            literal == b"://"
                || literal
                    .windows(2)
                    .all(|pair| pair.iter().all(|byte| Some(byte) == literal.first()))
        }
    };
    if common { 0 } else { literal.len() }
}

/// Tokens that stand in most messages or most prose; as a pattern's only literal each would
/// fire everywhere. Sorted.
const COMMON: [&[u8]; 68] = [
    b"about",
    b"all",
    b"and",
    b"any",
    b"are",
    b"arguments",
    b"array",
    b"but",
    b"can",
    b"code",
    b"content",
    b"data",
    b"default",
    b"description",
    b"error",
    b"false",
    b"file",
    b"for",
    b"from",
    b"function",
    b"has",
    b"have",
    b"html",
    b"http",
    b"https",
    b"id",
    b"if",
    b"in",
    b"input",
    b"into",
    b"is",
    b"it",
    b"json",
    b"line",
    b"list",
    b"message",
    b"method",
    b"name",
    b"not",
    b"null",
    b"number",
    b"object",
    b"of",
    b"on",
    b"output",
    b"params",
    b"path",
    b"result",
    b"return",
    b"string",
    b"text",
    b"that",
    b"the",
    b"this",
    b"title",
    b"to",
    b"tool",
    b"true",
    b"type",
    b"use",
    b"value",
    b"was",
    b"will",
    b"with",
    b"www",
    b"you",
    b"your",
    b"yours",
];

type Set = BTreeSet<Vec<u8>>;

/// The finite language of a part of a pattern, or what a match of it must contain.
#[derive(Default)]
struct Literals {
    /// Every string the part can be, when there are few of them.
    exact: Option<Set>,
    /// Every match of the part begins with one of these.
    prefix: Option<Set>,
    /// Every match of the part ends with one of these.
    suffix: Option<Set>,
    /// One of these is in every match of the part.
    best: Option<Set>,
}

impl Literals {
    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::exactly(empty()),
            HirKind::Literal(literal) => Self::exactly(Set::from([literal.0.to_ascii_lowercase()])),
            HirKind::Class(class) => Self::of_class(class),
            HirKind::Repetition(repetition) => {
                Self::of(&repetition.sub).repeated(repetition.min, repetition.max)
            }
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Concat(parts) => Self::of_concat(parts),
            HirKind::Alternation(branches) => Self::of_alternation(branches),
        }
    }

    fn exactly(set: Set) -> Self {
        Self {
            exact: Some(set),
            ..Self::default()
        }
    }

    /// A small class counts as its members, case folded and with all white space as one.
    fn of_class(class: &Class) -> Self {
        let mut set = Set::new();
        match class {
            Class::Bytes(bytes) => {
                for byte in bytes.iter().flat_map(|range| range.start()..=range.end()) {
                    let space = byte.is_ascii_whitespace() || byte == 0x0b;
                    set.insert(vec![if space {
                        b' '
                    } else {
                        byte.to_ascii_lowercase()
                    }]);
                }
            }
            // An alternation of single characters reads as a class even over bytes.
            Class::Unicode(chars) => {
                let chars = chars.iter().flat_map(|range| range.start()..=range.end());
                for char in chars.take(MAX_CLASS + 1) {
                    set.insert(char.to_ascii_lowercase().to_string().into_bytes());
                }
            }
        }
        if set.len() > MAX_CLASS {
            return Self::default();
        }
        Self::exactly(set)
    }

    fn of_concat(parts: &[Hir]) -> Self {
        let mut run = empty();
        let mut best = None;
        let mut prefix = None;
        for part in parts {
            let part = Self::of(part);
            better(&mut best, part.best);
            let (ended, next) = match part.exact {
                Some(exact) => match cross(&run, &exact) {
                    Some(longer) => {
                        // What may be empty shortens the run: what stood before it counts too.
                        if exact.iter().any(Vec::is_empty) {
                            better(&mut best, Some(run));
                        }
                        run = longer;
                        continue;
                    }
                    None => (run, exact),
                },
                None => {
                    let longer = part.prefix.and_then(|prefix| cross(&run, &prefix));
                    (longer.unwrap_or(run), part.suffix.unwrap_or_else(empty))
                }
            };
            prefix.get_or_insert_with(|| ended.clone());
            better(&mut best, Some(ended));
            run = next;
        }
        if prefix.is_none() {
            return Self {
                exact: Some(run),
                best,
                ..Self::default()
            };
        }
        better(&mut best, Some(run.clone()));
        Self {
            exact: None,
            prefix,
            suffix: Some(run),
            best,
        }
    }

    fn of_alternation(branches: &[Hir]) -> Self {
        let mut all = Self {
            exact: Some(Set::new()),
            prefix: Some(Set::new()),
            suffix: Some(Set::new()),
            best: Some(Set::new()),
        };
        for branch in branches {
            let branch = Self::of(branch);
            let exact = branch.exact.as_ref();
            unite(&mut all.prefix, branch.prefix.as_ref().or(exact));
            unite(&mut all.suffix, branch.suffix.as_ref().or(exact));
            unite(&mut all.exact, exact);
            let required = branch.required();
            unite(&mut all.best, (!required.is_empty()).then_some(&required));
        }
        all
    }

    fn repeated(mut self, min: u32, max: Option<u32>) -> Self {
        let once = self.exact.take();
        if min == 0 {
            return match (once, max) {
                (Some(mut set), Some(1)) => {
                    set.insert(Vec::new());
                    Self::exactly(set)
                }
                _ => Self::default(),
            };
        }
        let Some(once) = once else { return self };
        let mut run = once.clone();
        let mut whole = max == Some(min);
        for _ in 1..min {
            let Some(longer) = cross(&run, &once) else {
                whole = false;
                break;
            };
            run = longer;
        }
        if whole {
            return Self {
                exact: Some(run),
                ..self
            };
        }
        better(&mut self.best, Some(run.clone()));
        Self {
            exact: None,
            prefix: Some(run.clone()),
            suffix: Some(run),
            best: self.best,
        }
    }

    /// The set to search for; empty when a match need not contain anything.
    fn required(self) -> Set {
        let mut best = self.best;
        better(&mut best, self.exact);
        best.unwrap_or_default()
    }
}

fn empty() -> Set {
    Set::from([Vec::new()])
}

/// Adds `more` to `all`; nothing is known once one of them is unknown or there are too many.
fn unite(all: &mut Option<Set>, more: Option<&Set>) {
    *all = match (all.take(), more) {
        (Some(mut all), Some(more)) if all.len() + more.len() <= MAX_SET => {
            all.extend(more.iter().cloned());
            Some(all)
        }
        _ => None,
    };
}

/// Keeps the set whose worst member is the better.
fn better(best: &mut Option<Set>, other: Option<Set>) {
    let Some(other) = other else { return };
    let worst = |set: &Set| {
        let weight = set.iter().map(|literal| weight(literal)).min().unwrap_or(0);
        let length = set.iter().map(Vec::len).min().unwrap_or(0);
        (weight, length)
    };
    if worst(&other).1 == 0 {
        return;
    }
    match best {
        Some(current) if worst(current) >= worst(&other) => {}
        _ => *best = Some(other),
    }
}

/// Every string of `a` followed by every string of `b`; `None` when that is too many or too long.
fn cross(a: &Set, b: &Set) -> Option<Set> {
    let longest = |set: &Set| set.iter().map(Vec::len).max().unwrap_or(0);
    if a.len().checked_mul(b.len())? > MAX_SET || longest(a) + longest(b) > MAX_WIDTH {
        return None;
    }
    let mut set = Set::new();
    for head in a {
        for tail in b {
            set.insert([head.as_slice(), tail].concat());
        }
    }
    Some(set)
}

/// The parser bounds the nesting, so the recursion is bounded too.
fn walk(ast: &Ast, found: &mut Vec<Syntax>) {
    match ast {
        Ast::Assertion(assertion) => assertion_at(assertion, found),
        Ast::ClassBracketed(class) => class_at(&class.kind, found),
        Ast::Repetition(repetition) => walk(&repetition.ast, found),
        Ast::Group(group) => walk(&group.ast, found),
        Ast::Alternation(alternation) => alternation.asts.iter().for_each(|one| walk(one, found)),
        Ast::Concat(concat) => concat.asts.iter().for_each(|one| walk(one, found)),
        Ast::Empty(_)
        | Ast::Flags(_)
        | Ast::Dot(_)
        | Ast::Literal(_)
        | Ast::ClassUnicode(_)
        | Ast::ClassPerl(_) => {}
    }
}

fn assertion_at(assertion: &ast::Assertion, found: &mut Vec<Syntax>) {
    use ast::AssertionKind as Kind;
    let offset = assertion.span.start.offset;
    let what = match &assertion.kind {
        Kind::WordBoundary | Kind::NotWordBoundary => return,
        Kind::StartLine | Kind::StartText => "start of text",
        Kind::EndLine | Kind::EndText => "end of text",
        _ => "half a word boundary",
    };
    found.push(Syntax::Look(format!(
        "{what} at offset {offset} of the pattern"
    )));
}

fn class_at(set: &ast::ClassSet, found: &mut Vec<Syntax>) {
    match set {
        ast::ClassSet::BinaryOp(op) => {
            class_at(&op.lhs, found);
            class_at(&op.rhs, found);
        }
        ast::ClassSet::Item(item) => class_item(item, found),
    }
}

fn class_item(item: &ast::ClassSetItem, found: &mut Vec<Syntax>) {
    let mut literal = |literal: &ast::Literal| {
        if !literal.c.is_ascii() && literal.byte().is_none() {
            found.push(Syntax::Class(format!(
                "`{}` inside a class at offset {} of the pattern is not one byte",
                literal.c.escape_default(),
                literal.span.start.offset
            )));
        }
    };
    match item {
        ast::ClassSetItem::Literal(one) => literal(one),
        ast::ClassSetItem::Range(range) => {
            literal(&range.start);
            literal(&range.end);
        }
        ast::ClassSetItem::Bracketed(inner) => class_at(&inner.kind, found),
        ast::ClassSetItem::Union(union) => {
            union.items.iter().for_each(|one| class_item(one, found));
        }
        ast::ClassSetItem::Empty(_)
        | ast::ClassSetItem::Ascii(_)
        | ast::ClassSetItem::Unicode(_)
        | ast::ClassSetItem::Perl(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn required(text: &str) -> Vec<String> {
        let analysis = analyse(text, true, false).unwrap();
        analysis
            .required
            .into_iter()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    #[test]
    fn common_tokens_are_sorted() {
        assert!(COMMON.is_sorted());
    }

    #[test]
    fn a_run_is_cut_by_a_wide_class() {
        assert_eq!(required(r"ignore\s{1,4}previous"), [" previous"]);
        assert_eq!(required(r"run[\s_]{1,4}[a-z]{1,9}"), ["run ", "run_"]);
        assert_eq!(required(r"AKIA[0-9A-Z]{16}"), ["akia"]);
        assert_eq!(required(r"[0-9a-f]{32}"), [""; 0]);
    }

    #[test]
    fn every_branch_counts() {
        assert_eq!(required(r"(?:secret|token)="), ["secret=", "token="]);
        assert_eq!(required(r"(?:secret|[a-z]{5})"), [""; 0]);
        assert_eq!(required(r"(?:abcd|x)[0-9]"), ["abcd", "x"]);
    }

    #[test]
    fn an_optional_part_shortens_the_run() {
        assert_eq!(required(r"sk-(?:proj-)?[a-z]{9}"), ["sk-"]);
        assert_eq!(required(r"secrets?\b"), ["secret"]);
        assert_eq!(required(r"(?:secret){0,3}"), [""; 0]);
        assert_eq!(required(r"(?:ab){2}c"), ["ababc"]);
    }

    #[test]
    fn a_common_token_yields_to_a_rarer_one() {
        assert_eq!(required(r"https://[a-z]{1,9}\.webhook"), [".webhook"]);
        assert_eq!(weight(b"https://"), 0);
        assert_eq!(weight(b"](http"), 0);
        assert_eq!(weight(b"<|return|>"), 10);
        assert_eq!(weight(b"../../"), 6);
        assert_eq!(weight(b"http://evil"), 11);
    }

    #[test]
    fn syntax_without_a_meaning_is_refused() {
        for text in [r"a$", r"a\z", r"^b", r"a\b{start}"] {
            assert!(matches!(
                analyse(text, false, false).unwrap_err().as_slice(),
                [Syntax::Look(_)]
            ));
        }
        for text in ["[\u{200b}]", "[a[\u{200b}]]", "[a-\u{200b}]"] {
            assert!(matches!(
                analyse(text, false, false).unwrap_err().as_slice(),
                [Syntax::Class(_)]
            ));
        }
        for text in [r"(?=a)", r"(a)\1", r"\p{Greek}", r"["] {
            assert!(matches!(
                analyse(text, false, false).unwrap_err().as_slice(),
                [Syntax::Invalid(_)]
            ));
        }
        for text in [
            r"\babc\b",
            "(?:\u{200b}|\u{200c})",
            r"[a-f&&[^c]]",
            r"[\x80-\xff]",
        ] {
            analyse(text, false, false).unwrap();
        }
    }
}
