//! A rule as the engine wants it.
//!
//! Enters: what a rule file says, already parsed. Leaves: typed sets and enums that
//! [`Engine::build`](crate::Engine::build) compiles. It never reads files and never scans.

use std::fmt;
use std::sync::Arc;

use mcpf_model::{Action, Family, Severity, Surface, View};

use crate::validate::Validator;

/// A set of [`Surface`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SurfaceSet(u8);

impl SurfaceSet {
    /// No surface.
    pub const EMPTY: Self = Self(0);
    /// Every surface.
    pub const ALL: Self = Self(0b1111);
    /// What an agent sends: arguments and prompts.
    pub const INBOUND: Self = Self::EMPTY.with(Surface::Arguments).with(Surface::Prompt);
    /// What a server sends back: results, descriptions and prompts.
    pub const OUTBOUND: Self = Self::EMPTY
        .with(Surface::ToolResult)
        .with(Surface::ToolDescription)
        .with(Surface::Prompt);

    /// This set and `surface`.
    #[must_use]
    pub const fn with(self, surface: Surface) -> Self {
        Self(self.0 | 1 << surface as u8)
    }

    /// Everything that is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `surface` is in the set.
    #[must_use]
    pub const fn contains(self, surface: Surface) -> bool {
        self.0 & (1 << surface as u8) != 0
    }

    /// Whether the two sets share a surface.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no surface is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The surfaces of the set, in declaration order.
    pub fn iter(self) -> impl Iterator<Item = Surface> {
        Surface::ALL.into_iter().filter(move |s| self.contains(*s))
    }
}

impl FromIterator<Surface> for SurfaceSet {
    fn from_iter<I: IntoIterator<Item = Surface>>(surfaces: I) -> Self {
        surfaces.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// A set of [`View`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ViewSet(u8);

impl ViewSet {
    /// No view.
    pub const EMPTY: Self = Self(0);
    /// Every view.
    pub const ALL: Self = Self(0b111);
    /// Only the text as a JSON reader sees it.
    pub const PLAIN: Self = Self::EMPTY.with(View::Plain);

    /// This set and `view`.
    #[must_use]
    pub const fn with(self, view: View) -> Self {
        Self(self.0 | 1 << view as u8)
    }

    /// Whether `view` is in the set.
    #[must_use]
    pub const fn contains(self, view: View) -> bool {
        self.0 & (1 << view as u8) != 0
    }

    /// Whether the two sets share a view.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no view is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<View> for ViewSet {
    fn from_iter<I: IntoIterator<Item = View>>(views: I) -> Self {
        views.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// What makes the engine look at a place with a rule's patterns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// Vectorscan finds the pattern. Needs a literal to be cheap.
    #[default]
    Literal,
    /// A run of at least [`MIN_DIGITS`](crate::MIN_DIGITS) digits, with at most three of
    /// space `. - ( ) + / _` between two of them. Every match must hold such a run.
    Digits,
    /// An `@`. Every match must hold one.
    At,
    /// A `://`. Every match must hold one.
    Url,
    /// A `:` after another `:`, or between two bytes that are each a hex digit or `:`.
    /// Every match must hold one.
    Colons,
}

impl Anchor {
    /// Every anchor, in declaration order.
    pub const ALL: [Self; 5] = [
        Self::Literal,
        Self::Digits,
        Self::At,
        Self::Url,
        Self::Colons,
    ];

    /// The name used in rule files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Literal => "literal",
            Self::Digits => "digits",
            Self::At => "at",
            Self::Url => "url",
            Self::Colons => "colons",
        }
    }

    /// The anchor called `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|anchor| anchor.as_str() == name)
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One regular expression of a rule: `regex` syntax, byte semantics, no Unicode classes.
///
/// A match must have at least one byte and at most [`MAX_WIDTH`](crate::MAX_WIDTH).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PatternSpec {
    /// The expression.
    pub text: String,
    /// Whether ASCII letters match in either case.
    pub caseless: bool,
    /// Whether `.` matches a line feed too.
    pub dotall: bool,
}

/// Everything the engine needs to know about one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSpec {
    /// Stable unique name, such as `SEC-AWS-001`.
    pub id: Arc<str>,
    /// A short name for people.
    pub name: String,
    /// What it is and what harm it does.
    pub description: String,
    /// The kind of harm.
    pub family: Family,
    /// How bad it is.
    pub severity: Severity,
    /// What a finding asks for. [`Action::Pass`] switches the rule off: it is not compiled.
    pub action: Action,
    /// Where it applies.
    pub surfaces: SurfaceSet,
    /// In which readings of the text it applies.
    ///
    /// Where a text's normalised view equals its plain one, only the plain one is scanned,
    /// and counts as both.
    pub views: ViewSet,
    /// How eager it is, 1 to 4. The engine compiles what it is given; choosing is the caller's.
    pub paranoia: u8,
    /// Any of these is a match.
    pub patterns: Vec<PatternSpec>,
    /// What makes the engine look.
    pub anchor: Anchor,
    /// An expression tried exactly at a match's end to lengthen its span, such as the body of a
    /// private key. Sees at most [`MAX_EXTENSION`](crate::MAX_EXTENSION) bytes.
    pub extend: Option<String>,
    /// If not empty, one of these must stand near the match, in any ASCII case: within
    /// `keyword_window` bytes of it in its own text, or before it in the text before (the key
    /// of a JSON member stands before its value).
    pub keywords: Vec<String>,
    /// How far from the match a keyword may be, in bytes.
    pub keyword_window: u16,
    /// All of these must agree with the matched secret.
    pub validators: Vec<Validator>,
    /// The group that is the secret; the whole match if `None`, or if the group took no part.
    pub capture: Option<u8>,
}

impl RuleSpec {
    /// A literal-anchored rule without patterns that applies everywhere: the usual defaults.
    #[must_use]
    pub fn new(id: &str, family: Family, severity: Severity, action: Action) -> Self {
        Self {
            id: Arc::from(id),
            name: id.to_owned(),
            description: String::new(),
            family,
            severity,
            action,
            surfaces: SurfaceSet::ALL,
            views: ViewSet::ALL,
            paranoia: 1,
            patterns: Vec::new(),
            anchor: Anchor::Literal,
            extend: None,
            keywords: Vec::new(),
            keyword_window: 64,
            validators: Vec::new(),
            capture: None,
        }
    }

    /// The rule with one more pattern.
    #[must_use]
    pub fn pattern(mut self, text: &str, caseless: bool) -> Self {
        self.patterns.push(PatternSpec {
            text: text.to_owned(),
            caseless,
            dotall: false,
        });
        self
    }
}
