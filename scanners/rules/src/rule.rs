//! A checked rule: every name resolved, every number in range, and where each part stands in its
//! file. Made by the checks of [`parse`](crate::parse); leaves as the engine's [`RuleSpec`].

use std::sync::Arc;

use mcpf_model::{Action, Family, Severity};
use mcpf_scan::{Anchor, PatternSpec, RuleSpec, SurfaceSet, Validator, ViewSet};

use crate::diagnostic::{At, Place};

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file as the caller named it.
    pub file: Arc<str>,
    /// The rule set: the name of the file's directory, for example `secrets`.
    pub set: Arc<str>,
}

/// One rule as a file defines it, checked.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it comes from.
    pub source: Source,
    /// Its identifier, unique among all loaded rules.
    pub id: At<Arc<str>>,
    /// A few words.
    pub name: String,
    /// What it finds and what harm that does.
    pub description: String,
    /// The kind of harm.
    pub family: Family,
    /// How bad it is when the rule is right.
    pub severity: Severity,
    /// What is done about a match. By default `redact` for secrets and personal data, else
    /// `block` from severity high up and `alert` below.
    pub action: At<Action>,
    /// Where to read more; `https` URLs.
    pub references: Vec<At<String>>,
    /// The strings the rule applies to; never empty.
    pub surfaces: SurfaceSet,
    /// The readings of those strings; never empty. All three by default.
    pub views: ViewSet,
    /// From which paranoia level on the rule is active, 1 to 4. Default 1.
    pub paranoia: u8,
    /// How candidates are found. Default literal.
    pub anchor: Anchor,
    /// What to match; any of them is enough.
    pub patterns: Vec<At<PatternSpec>>,
    /// The group that is the finding; the whole match by default.
    pub capture: Option<At<u8>>,
    /// An expression that lengthens a match from its end.
    pub extend: Option<At<String>>,
    /// Words of which one must stand near the match, in either case. None by default.
    pub keywords: Vec<At<String>>,
    /// How near, in bytes. Default 64.
    pub keyword_window: u16,
    /// Checks the match must pass, all of them.
    pub validators: Vec<Validator>,
    /// Texts the rule finds.
    pub examples: Vec<At<String>>,
    /// Texts the rule does not find.
    pub negative_examples: Vec<At<String>>,
    /// Where a literal shorter than four bytes was allowed, with a reason.
    pub short_literal: Option<Place>,
}

impl Rule {
    /// The rule as the engine takes it.
    #[must_use]
    pub fn spec(&self) -> RuleSpec {
        RuleSpec {
            id: Arc::clone(&self.id.value),
            name: self.name.clone(),
            description: self.description.clone(),
            family: self.family,
            severity: self.severity,
            action: self.action.value,
            surfaces: self.surfaces,
            views: self.views,
            paranoia: self.paranoia,
            patterns: self.patterns.iter().map(|at| at.value.clone()).collect(),
            anchor: self.anchor,
            extend: self.extend.as_ref().map(|at| at.value.clone()),
            keywords: self.keywords.iter().map(|at| at.value.clone()).collect(),
            keyword_window: self.keyword_window,
            validators: self.validators.clone(),
            capture: self.capture.as_ref().map(|at| at.value),
        }
    }
}

/// The rules as the engine takes them, in the same order.
#[must_use]
pub fn specs(rules: &[Rule]) -> Vec<RuleSpec> {
    rules.iter().map(Rule::spec).collect()
}
