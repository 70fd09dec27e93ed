//! What can be known about a pattern without running it.
//!
//! A pattern's text enters; leave its width, its groups, the literals every match must contain,
//! and the syntax that the prefilter and the confirming engine would read differently. Nothing
//! is matched here.

use std::collections::BTreeSet;

use regex_syntax::ast::{self, Ast};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest match a pattern may have, in bytes.
pub(crate) const MAX_WIDTH: usize = 4_096;

/// Literals of one place in a pattern that are still told apart; beyond it the place counts as
/// having none. Keeps the analysis of `[0-9a-f]{8}` from growing without end.
const MAX_SET: usize = 256;

/// Bytes a class may stand for, case folded, and still count as part of a literal.
const MAX_CLASS: usize = 4;

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
    pub(crate) required: Vec<Vec<u8>>,
}

/// A reason not to use a pattern, found in its syntax, with the offset in the pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// Not a regular expression, or not one over bytes.
    Invalid(String),
    /// `$`, `\z`, or `^` after the start.
    Look(String),
    /// Class syntax read differently by the engines, or non-ASCII in a class.
    Class(String),
}

/// Parses `text` as the confirming engine will: bytes, no Unicode tables.
///
/// # Errors
/// What the syntax lint found, or the parser's complaint.
pub(crate) fn analyse(text: &str, caseless: bool, dotall: bool) -> Result<Analysis, Vec<Syntax>> {
    let ast = ast::parse::Parser::new()
        .parse(text)
        .map_err(|error| vec![Syntax::Invalid(error.kind().to_string())])?;
    let mut found = Vec::new();
    walk(&ast, Position::Start, &mut found);
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
    let token = trim(literal);
    if token.is_empty() || COMMON.binary_search(&token).is_ok() {
        0
    } else {
        literal.len()
    }
}

/// Tokens that stand in most messages or most prose; as a pattern's only literal each would
/// fire everywhere. Sorted.
const COMMON: [&[u8]; 52] = [
    b"",
    b"about",
    b"and",
    b"arguments",
    b"array",
    b"body",
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
    b"have",
    b"html",
    b"http",
    b"https",
    b"input",
    b"into",
    b"json",
    b"line",
    b"list",
    b"message",
    b"method",
    b"name",
    b"null",
    b"number",
    b"object",
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
    b"tool",
    b"true",
    b"type",
    b"value",
    b"will",
    b"with",
    b"www",
    b"you",
    b"your",
];

fn trim(mut literal: &[u8]) -> &[u8] {
    while let Some((first, rest)) = literal.split_first() {
        if first.is_ascii_alphanumeric() || *first >= 0x80 {
            break;
        }
        literal = rest;
    }
    while let Some((last, rest)) = literal.split_last() {
        if last.is_ascii_alphanumeric() || *last >= 0x80 {
            break;
        }
        literal = rest;
    }
    literal
}

/// The finite language of a part of a pattern, or the best set a match of it must contain.
struct Literals {
    /// Every string the part can be, when there are few of them.
    exact: Option<BTreeSet<Vec<u8>>>,
    /// One of these is in every match of the part. `None`: nothing is required.
    best: Option<BTreeSet<Vec<u8>>>,
}

impl Literals {
    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::exactly(BTreeSet::from([Vec::new()])),
            HirKind::Literal(literal) => {
                Self::exactly(BTreeSet::from([literal.0.to_ascii_lowercase()]))
            }
            HirKind::Class(class) => Self::of_class(class),
            HirKind::Repetition(repetition) => {
                Self::of(&repetition.sub).repeated(repetition.min, repetition.max)
            }
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Concat(parts) => Self::of_concat(parts),
            HirKind::Alternation(branches) => Self::of_alternation(branches),
        }
    }

    fn exactly(set: BTreeSet<Vec<u8>>) -> Self {
        Self {
            exact: Some(set),
            best: None,
        }
    }

    const fn unknown() -> Self {
        Self {
            exact: None,
            best: None,
        }
    }

    fn of_class(class: &Class) -> Self {
        let Class::Bytes(bytes) = class else {
            return Self::unknown();
        };
        let mut set = BTreeSet::new();
        for range in bytes.iter() {
            for byte in range.start()..=range.end() {
                set.insert(vec![byte.to_ascii_lowercase()]);
            }
        }
        if set.len() > MAX_CLASS {
            return Self::unknown();
        }
        Self::exactly(set)
    }

    fn of_concat(parts: &[Hir]) -> Self {
        let mut run = BTreeSet::from([Vec::new()]);
        let mut best = None;
        let mut whole = true;
        for part in parts {
            let part = Self::of(part);
            better(&mut best, part.best);
            let Some(exact) = part.exact else {
                better(
                    &mut best,
                    Some(std::mem::replace(&mut run, BTreeSet::from([Vec::new()]))),
                );
                whole = false;
                continue;
            };
            match cross(&run, &exact) {
                Some(longer) => {
                    // A part that may be empty shortens the run: keep what stood before it too.
                    if exact.iter().any(Vec::is_empty) {
                        better(&mut best, Some(run));
                    }
                    run = longer;
                }
                None => {
                    better(&mut best, Some(std::mem::replace(&mut run, exact)));
                    whole = false;
                }
            }
        }
        if whole {
            return Self {
                exact: Some(run),
                best,
            };
        }
        better(&mut best, Some(run));
        Self { exact: None, best }
    }

    fn of_alternation(branches: &[Hir]) -> Self {
        let mut exact = Some(BTreeSet::new());
        let mut best = Some(BTreeSet::new());
        for branch in branches {
            let branch = Self::of(branch);
            exact = match (exact, &branch.exact) {
                (Some(mut set), Some(more)) if set.len() + more.len() <= MAX_SET => {
                    set.extend(more.iter().cloned());
                    Some(set)
                }
                _ => None,
            };
            let required = branch.required();
            best = match best {
                Some(mut set) if !required.is_empty() => {
                    set.extend(required);
                    Some(set)
                }
                _ => None,
            };
        }
        Self { exact, best }
    }

    fn repeated(self, min: u32, max: Option<u32>) -> Self {
        if min == 0 {
            return match (self.exact, max) {
                (Some(mut set), Some(1)) => {
                    set.insert(Vec::new());
                    Self::exactly(set)
                }
                _ => Self::unknown(),
            };
        }
        let mut best = self.best;
        let Some(once) = self.exact else {
            return Self { exact: None, best };
        };
        let mut run = once.clone();
        for _ in 1..min {
            match cross(&run, &once) {
                Some(longer) => run = longer,
                None => {
                    better(&mut best, Some(run));
                    return Self { exact: None, best };
                }
            }
        }
        if max == Some(min) {
            return Self {
                exact: Some(run),
                best,
            };
        }
        better(&mut best, Some(run));
        Self { exact: None, best }
    }

    /// The set to search for; empty when a match need not contain anything.
    fn required(self) -> Vec<Vec<u8>> {
        let mut best = self.best;
        better(&mut best, self.exact);
        best.unwrap_or_default().into_iter().collect()
    }
}

/// Keeps the set whose worst member is the better.
fn better(best: &mut Option<BTreeSet<Vec<u8>>>, other: Option<BTreeSet<Vec<u8>>>) {
    let Some(other) = other else { return };
    let worst = |set: &BTreeSet<Vec<u8>>| {
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
fn cross(a: &BTreeSet<Vec<u8>>, b: &BTreeSet<Vec<u8>>) -> Option<BTreeSet<Vec<u8>>> {
    let longest = |set: &BTreeSet<Vec<u8>>| set.iter().map(Vec::len).max().unwrap_or(0);
    if a.len().checked_mul(b.len())? > MAX_SET || longest(a) + longest(b) > MAX_WIDTH {
        return None;
    }
    let mut set = BTreeSet::new();
    for head in a {
        for tail in b {
            set.insert([head.as_slice(), tail].concat());
        }
    }
    Some(set)
}

/// Whether a part stands where a match begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Start,
    Later,
}

/// The parser bounds the nesting (250), so the recursion is bounded too.
fn walk(ast: &Ast, position: Position, found: &mut Vec<Syntax>) {
    match ast {
        Ast::Assertion(assertion) => assertion_at(assertion, position, found),
        Ast::ClassBracketed(class) => class_at(&class.kind, found),
        Ast::Literal(literal)
            if literal.kind == ast::LiteralKind::Special(ast::SpecialLiteralKind::VerticalTab) =>
        {
            found.push(Syntax::Class(format!(
                "`\\v` at offset {} means any vertical space to one engine and one byte to the other",
                literal.span.start.offset
            )));
        }
        Ast::Repetition(repetition) => walk(&repetition.ast, Position::Later, found),
        Ast::Group(group) => walk(&group.ast, position, found),
        Ast::Alternation(alternation) => {
            for branch in &alternation.asts {
                walk(branch, position, found);
            }
        }
        Ast::Concat(concat) => {
            let mut position = position;
            for part in &concat.asts {
                walk(part, position, found);
                if !matches!(part, Ast::Flags(_) | Ast::Empty(_)) {
                    position = Position::Later;
                }
            }
        }
        Ast::Empty(_)
        | Ast::Flags(_)
        | Ast::Dot(_)
        | Ast::Literal(_)
        | Ast::ClassUnicode(_)
        | Ast::ClassPerl(_) => {}
    }
}

fn assertion_at(assertion: &ast::Assertion, position: Position, found: &mut Vec<Syntax>) {
    use ast::AssertionKind as Kind;
    let offset = assertion.span.start.offset;
    match &assertion.kind {
        Kind::WordBoundary | Kind::NotWordBoundary => {}
        Kind::StartLine | Kind::StartText if position == Position::Start => {}
        Kind::StartLine | Kind::StartText => found.push(Syntax::Look(format!(
            "start-of-text at offset {offset} of the pattern, after its start"
        ))),
        Kind::EndLine | Kind::EndText => found.push(Syntax::Look(format!(
            "end-of-text at offset {offset} of the pattern"
        ))),
        _ => found.push(Syntax::Look(format!(
            "half word boundary at offset {offset} of the pattern, which the database does not know"
        ))),
    }
}

fn class_at(set: &ast::ClassSet, found: &mut Vec<Syntax>) {
    match set {
        ast::ClassSet::BinaryOp(op) => found.push(Syntax::Class(format!(
            "class set operation at offset {} of the pattern, which the database reads as plain characters",
            op.span.start.offset
        ))),
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
        ast::ClassSetItem::Bracketed(inner) => found.push(Syntax::Class(format!(
            "nested class at offset {} of the pattern, which the database reads as plain characters",
            inner.span.start.offset
        ))),
        ast::ClassSetItem::Union(union) => {
            for item in &union.items {
                class_item(item, found);
            }
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
        assert_eq!(required(r"ignore\s{1,4}previous"), ["previous"]);
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
        assert_eq!(weight(b"http://evil"), 11);
    }

    #[test]
    fn syntax_read_two_ways_is_refused() {
        for text in [r"a$", r"a\z", r"a^b", r"a\b{start}"] {
            assert!(matches!(
                analyse(text, false, false).unwrap_err().as_slice(),
                [Syntax::Look(_)]
            ));
        }
        for text in [r"[a&&b]", r"[a[b]]", "[\u{200b}]", r"a\v"] {
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
        for text in [r"^abc", r"(?:^a|^b)", r"(?i)^abc", r"\babc\b"] {
            analyse(text, false, false).unwrap();
        }
    }
}
