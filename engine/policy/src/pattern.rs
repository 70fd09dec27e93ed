//! Globs and regular expressions, compiled once with size limits.
//!
//! Pattern texts from a policy enter; [`Names`] (tools, methods, agents) and [`Values`] (argument
//! values, resource URIs) leave. Matching takes linear time and keeps no text.

use std::fmt;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Capture, Class, Hir, HirKind};

use crate::diagnostic::{Code, Sink};
use crate::lexical::Forms;
use crate::yaml::{Fields, Node, Value, clip};

/// Longest glob or regular expression, in bytes. 1,024.
pub const MAX_PATTERN: usize = 1_024;

/// Largest compiled regular expression, in bytes. 1 MiB.
const MAX_COMPILED: usize = 1024 * 1024;

/// A set of names: globs in which `*` matches anything and `|` separates alternatives.
///
/// Matching is case-sensitive. `\` escapes, `[a-z]` is a class, `{a,b}` a choice.
#[derive(Clone)]
pub struct Names {
    set: GlobSet,
    sources: Vec<String>,
}

impl Names {
    /// Whether any glob of the set matches `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// The globs, alternatives already separated.
    #[must_use]
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// Compiles one text or a list of them; mistakes go to `sink`.
    pub(crate) fn read(node: &Node, what: &str, sink: &mut Sink) -> Option<Self> {
        let mut builder = GlobSetBuilder::new();
        let mut sources = Vec::new();
        for item in node.one_or_many() {
            for part in alternatives(item.text(what, sink)?) {
                if let Some(glob) = name_glob(part, item, sink) {
                    builder.add(glob);
                    sources.push(part.to_owned());
                }
            }
        }
        let set = finish_set(&builder, node, sink)?;
        Some(Self { set, sources })
    }

    /// The globs, compiled anew.
    pub(crate) fn globs(&self) -> impl Iterator<Item = Glob> {
        recompiled(&self.sources)
    }

    /// The same set without the globs that match everything.
    pub(crate) fn explicit(&self) -> Self {
        let sources = self.sources.iter();
        let sources: Vec<String> = sources
            .filter(|s| !s.trim_matches('*').is_empty())
            .cloned()
            .collect();
        let mut builder = GlobSetBuilder::new();
        for glob in recompiled(&sources) {
            builder.add(glob);
        }
        Self {
            set: builder.build().unwrap_or_default(),
            sources,
        }
    }

    /// The set that holds exactly the globs of `text`, for keys of mappings.
    pub(crate) fn from_key(text: &str, at: &Node, sink: &mut Sink) -> Option<Self> {
        let node = Node {
            at: at.at,
            value: Value::Text(text.to_owned()),
        };
        Self::read(&node, "name", sink)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The compiled set would fill pages.
        f.debug_list().entries(&self.sources).finish()
    }
}

/// Whether a rule that uses a pattern closes or opens the gate.
///
/// A restriction applies when any reading of a value matches; a permission only when all do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// The rule denies or asks: one reading that matches is enough.
    Restrict,
    /// The rule lets through: every reading must match.
    Permit,
}

/// A set of patterns for values: globs in which `*` stops at `/` and `**` does not, and
/// regular expressions, which match anywhere unless anchored.
#[derive(Clone)]
pub struct Values {
    globs: GlobSet,
    regexes: Vec<Guarded>,
}

impl Values {
    /// Compiles one pattern or a list of them; mistakes go to `sink`.
    pub(crate) fn read(node: &Node, what: &str, intent: Intent, sink: &mut Sink) -> Option<Self> {
        let mut builder = GlobSetBuilder::new();
        let mut regexes = Vec::new();
        let items = node.one_or_many();
        if items.is_empty() {
            sink.error(node.at, Code::BadValue, format!("{what} has no pattern"));
            return None;
        }
        for item in items {
            if let Value::Map(_) = item.value {
                regexes.extend(regex_entry(item, what, sink).map(Guarded::new));
                continue;
            }
            let text = item.text(what, sink)?;
            if let Some(glob) = value_glob(text, item, sink) {
                builder.add(glob);
            }
            // A restriction on what lies below a directory holds for the directory itself.
            if let (Intent::Restrict, Some(parent)) = (intent, text.strip_suffix("/**"))
                && !parent.is_empty()
                && !parent.ends_with(['/', '*'])
            {
                builder.add(value_glob(parent, item, sink)?);
            }
        }
        let globs = finish_set(&builder, node, sink)?;
        Some(Self { globs, regexes })
    }

    /// Whether `value` matches: in any of its readings for a restriction, in all for a permission.
    pub(crate) fn matches(&self, value: &str, intent: Intent) -> bool {
        match intent {
            Intent::Restrict => Forms::any(value, |form| self.matches_text(form)),
            Intent::Permit => Forms::all(value, |form| self.matches_text(form)),
        }
    }

    /// Whether there are no globs.
    pub(crate) fn has_only_patterns(&self) -> bool {
        self.globs.is_empty()
    }

    /// For each regular expression, one that matches wherever it does.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.regexes
            .iter()
            .map(|regex| regex.guard.as_ref().unwrap_or(&regex.whole).as_str())
    }

    fn matches_text(&self, text: &str) -> bool {
        // A set of no globs still takes a path apart before it says no.
        (!self.globs.is_empty() && self.globs.is_match(text))
            || self.regexes.iter().any(|regex| regex.is_match(text))
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values")
            .field("globs", &self.globs.len())
            .field("regexes", &self.regexes)
            .finish()
    }
}

/// A regular expression, and what is tried before it.
///
/// `(^|/)\.ssh/` is searched byte by byte, because it begins with one of many; `\.ssh/` is found
/// several times faster, and where it is not the whole cannot match either.
#[derive(Clone)]
struct Guarded {
    guard: Option<Regex>,
    whole: Regex,
}

impl Guarded {
    fn new(whole: Regex) -> Self {
        Self {
            guard: guard(whole.as_str()),
            whole,
        }
    }

    fn is_match(&self, text: &str) -> bool {
        self.guard.as_ref().is_none_or(|guard| guard.is_match(text)) && self.whole.is_match(text)
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt(f)
    }
}

/// `text` from its first fixed character on, if other things stand before it: every match of the
/// whole ends with a match of this.
fn guard(text: &str) -> Option<Regex> {
    let hir = regex_syntax::parse(text).ok()?;
    let HirKind::Concat(parts) = hir.kind() else {
        return None;
    };
    let fixed = parts.iter().position(is_fixed)?;
    if fixed == 0 {
        return None;
    }
    let rest = Hir::concat(parts.get(fixed..)?.to_vec());
    RegexBuilder::new(&printed(&rest))
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build()
        .ok()
}

/// The text of `hir`, in which flags, comments and names of groups have become part of the rest.
///
/// The library prints the optional `(?:a+)?` as `a+?`, which is not optional: it leaves the group
/// out. Here what repeats a repetition is put in a group first.
pub(crate) fn printed(hir: &Hir) -> String {
    grouped(hir).to_string()
}

fn grouped(hir: &Hir) -> Hir {
    let group = |sub: Hir| {
        Hir::capture(Capture {
            index: 1,
            name: None,
            sub: Box::new(sub),
        })
    };
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            let sub = grouped(&repetition.sub);
            let twice = matches!(sub.kind(), HirKind::Repetition(_));
            Hir::repetition(repetition.with(if twice { group(sub) } else { sub }))
        }
        HirKind::Capture(capture) => group(grouped(&capture.sub)),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(grouped).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(grouped).collect()),
        _ => hir.clone(),
    }
}

/// Whether `part` is a character, in one case or several.
fn is_fixed(part: &Hir) -> bool {
    const CASES: usize = 4;
    match part.kind() {
        HirKind::Literal(_) => true,
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().map(|range| range.len()).sum::<usize>() <= CASES
        }
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().map(|range| range.len()).sum::<usize>() <= CASES
        }
        _ => false,
    }
}

/// Compiles a regular expression with the limits of this module; a mistake goes to `sink`.
pub(crate) fn regex(node: &Node, what: &str, sink: &mut Sink) -> Option<Regex> {
    let text = node.text(what, sink)?;
    bounded(text, node, sink)?;
    let built = RegexBuilder::new(text)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .nest_limit(64)
        .build();
    match built {
        Ok(regex) => Some(regex),
        Err(error) => {
            // The library draws the pattern over several lines; its last line says what is wrong.
            let message = error.to_string();
            let last = message.lines().last().unwrap_or_default();
            let why = last
                .trim_start_matches("error: ")
                .trim_end_matches('.')
                .to_lowercase();
            let shown = clip(text);
            sink.error(
                node.at,
                Code::BadRegex,
                format!("bad regular expression `{shown}`: {why}"),
            );
            None
        }
    }
}

fn regex_entry(node: &Node, what: &str, sink: &mut Sink) -> Option<Regex> {
    let mut fields = Fields::open(node, what, sink)?;
    let pattern = fields.need("regex", sink);
    fields.finish(sink);
    regex(pattern?, "regex", sink)
}

fn name_glob(text: &str, node: &Node, sink: &mut Sink) -> Option<Glob> {
    glob(
        GlobBuilder::new(text).literal_separator(false),
        text,
        node,
        sink,
    )
}

/// The globs of `sources`, each of which compiled before, so none is lost here.
fn recompiled(sources: &[String]) -> impl Iterator<Item = Glob> {
    sources.iter().filter_map(|source| {
        GlobBuilder::new(source)
            .literal_separator(false)
            .backslash_escape(true)
            .build()
            .ok()
    })
}

fn value_glob(text: &str, node: &Node, sink: &mut Sink) -> Option<Glob> {
    glob(
        GlobBuilder::new(text).literal_separator(true),
        text,
        node,
        sink,
    )
}

fn glob(builder: &mut GlobBuilder<'_>, text: &str, node: &Node, sink: &mut Sink) -> Option<Glob> {
    bounded(text, node, sink)?;
    if text.is_empty() {
        sink.error(node.at, Code::BadGlob, "a glob must not be empty");
        return None;
    }
    match builder.backslash_escape(true).build() {
        Ok(glob) => Some(glob),
        Err(error) => {
            let shown = clip(text);
            let why = error.kind().to_string();
            sink.error(node.at, Code::BadGlob, format!("bad glob `{shown}`: {why}"));
            None
        }
    }
}

fn bounded(text: &str, node: &Node, sink: &mut Sink) -> Option<()> {
    if text.len() <= MAX_PATTERN {
        return Some(());
    }
    sink.error(
        node.at,
        Code::BadValue,
        format!("a pattern must not be longer than {MAX_PATTERN} bytes"),
    );
    None
}

fn finish_set(builder: &GlobSetBuilder, node: &Node, sink: &mut Sink) -> Option<GlobSet> {
    match builder.build() {
        Ok(set) => Some(set),
        Err(error) => {
            sink.error(node.at, Code::BadGlob, format!("bad globs: {error}"));
            None
        }
    }
}

/// Splits at each `|` that is neither escaped nor inside `[…]` or `{…}`.
fn alternatives(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut escaped) = (0, 0_i32, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' | '{' => depth = depth.saturating_add(1),
            ']' | '}' => depth = depth.saturating_sub(1),
            '|' if depth <= 0 => {
                parts.extend(text.get(start..i));
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts.into_iter().map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::At;

    fn node(text: &str) -> Node {
        Node {
            at: At { line: 1, column: 1 },
            value: Value::Text(text.to_owned()),
        }
    }

    fn names(text: &str) -> Names {
        let mut sink = Sink::new("t", 'P');
        Names::read(&node(text), "tools", &mut sink).unwrap()
    }

    fn values(text: &str, intent: Intent) -> Values {
        let mut sink = Sink::new("t", 'P');
        Values::read(&node(text), "path", intent, &mut sink).unwrap()
    }

    #[test]
    fn names_split_at_bars_and_match_case_sensitively() {
        let set = names("read_*| list_files |a[|]b");
        for yes in ["read_", "read_x/y", "list_files", "a|b"] {
            assert!(set.matches(yes), "{yes}");
        }
        for no in ["Read_x", "list_files2", "xread_", ""] {
            assert!(!set.matches(no), "{no}");
        }
        assert_eq!(set.sources(), ["read_*", "list_files", "a[|]b"]);
    }

    #[test]
    fn a_restriction_on_a_tree_holds_for_its_root() {
        let set = values("**/.ssh/**", Intent::Restrict);
        for yes in [
            ".ssh",
            "/home/u/.ssh",
            "~/.ssh/id",
            "cat ~/.ssh/id_rsa",
            "/a/.ssh/",
        ] {
            assert!(set.matches(yes, Intent::Restrict), "{yes}");
        }
        assert!(!set.matches("/home/u/x.ssh", Intent::Restrict));
        assert!(!values("/srv/**", Intent::Permit).matches("/srv", Intent::Permit));
    }

    #[test]
    fn a_guard_stands_before_what_begins_with_a_choice() {
        let guarded = |text: &str| guard(text).map(|regex| regex.as_str().to_owned());
        assert_eq!(guarded(r"(^|[^a-z])\.ssh/"), Some(r"(?:\.ssh/)".to_owned()));
        assert!(guarded(r"(?i)(^|/)id_(rsa|dsa)").is_some());
        for none in [r"\.ssh", "a|b", "(^|/)[a-z]*", "x", ""] {
            assert_eq!(guarded(none), None, "{none}");
        }
        let values = |text: &str| Guarded::new(Regex::new(text).unwrap());
        let keys = values(r"(?i)(^|[/\s])\.(ssh|kube)([/\\]|$)");
        for yes in [".ssh", "/a/.SSH/x", "cat .kube", ".\u{17f}sh"] {
            assert!(keys.is_match(yes), "{yes}");
        }
        for no in ["x.ssh", ".sshx", "", "ssh", ".", "/.ssh.x"] {
            assert!(!keys.is_match(no), "{no}");
        }
    }

    #[test]
    fn what_is_printed_means_the_same() {
        let again = |text: &str| printed(&regex_syntax::parse(text).unwrap());
        assert_eq!(again("(?:a+)?"), "(a+)?");
        assert_eq!(again("x(?:(?:ab){2,})?"), "(?:x((?:ab){2,})?)");
        assert_eq!(again("(?x) (?P<n>a+)? # b"), "(a+)?");
        let spaced = Guarded::new(Regex::new("(^|/)etc(?:/+)?shadow").unwrap());
        assert!(spaced.is_match("/etcshadow") && spaced.is_match("etc//shadow"));
    }

    #[test]
    fn a_star_stops_at_a_slash_in_values() {
        let set = values("/srv/*.txt", Intent::Restrict);
        assert!(set.matches("/srv/a.txt", Intent::Restrict));
        assert!(!set.matches("/srv/a/b.txt", Intent::Restrict));
    }
}
