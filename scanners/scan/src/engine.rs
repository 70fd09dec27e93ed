//! The compiled rules, and the scan itself.
//!
//! Enters: rules once, then the strings of one message after another. Leaves: findings. An
//! [`Engine`] never changes and is shared; what changes lives in a [`Scratch`], one for each
//! worker. An error means the message was *not* scanned: the caller must treat it as hostile.

use std::path::Path;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;

use mcpf_model::{Action, Family, Finding, Limits, RuleIx, Severity, Span, Surface};
use mcpf_vectorscan as vectorscan;

use crate::anchors::{self, Stretches};
use crate::build::{self, BuildError, Owned};
use crate::confirm::{Caches, Confirm, Matches};
use crate::find::{Anchored, Finder, Sightings};
use crate::frame::FrameMap;
use crate::joined::Joined;
use crate::needle::Needle;
use crate::parallel::in_parallel;
use crate::pattern::{Compiled, Extension};
use crate::revision::revision;
use crate::spec::{RuleSpec, SurfaceSet};
use crate::views::{self, VIEW_FLOOR, Workspace};
use crate::windows::Windows;

/// Why a message was not scanned. Nothing is known about it: the caller must block it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// There is more to report than [`Limits::max_findings`].
    #[error("more than {limit} findings in one message")]
    TooManyFindings {
        /// The limit.
        limit: u32,
    },
    /// There is more text than one scan takes (256 MiB).
    #[error("more text than one scan takes")]
    TooLarge,
    /// A pattern that could be built before cannot be built now.
    #[error("a pattern cannot be confirmed")]
    Unconfirmed,
    /// The matcher failed.
    #[error("the pattern matcher failed: {0}")]
    Matcher(#[from] vectorscan::ScanError),
}

/// One string of a message.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The string as a JSON reader sees it.
    pub text: &'a str,
    /// Its bytes in the frame, between the quotes.
    pub raw: Span,
    /// Who will read it.
    pub surface: Surface,
}

/// How a scan went, besides its findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Some derived text was not looked at, because [`Limits::max_view_factor`] was reached. All
    /// plain text was.
    pub views_truncated: bool,
}

/// What was compiled from a rule, besides its patterns.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) index: u32,
    pub(crate) extend: Option<Extension>,
    /// Finds the keywords, in any ASCII case; `None` if there are none. Built when first asked.
    pub(crate) keywords: Option<OnceLock<Option<AhoCorasick>>>,
}

impl Rule {
    /// Whether a keyword of `spec`, whose rule this is, stands in `text`, in any ASCII case.
    pub(crate) fn has_keyword(&self, spec: &RuleSpec, text: &[u8]) -> bool {
        let Some(finder) = &self.keywords else {
            return false;
        };
        let finder = finder.get_or_init(|| {
            let mut builder = AhoCorasick::builder();
            builder
                .ascii_case_insensitive(true)
                .build(&spec.keywords)
                .ok()
        });
        match finder {
            Some(finder) => finder.is_match(text),
            // Too many or too long for the finder: a few more findings, none lost.
            None => true,
        }
    }
}

/// Rules compiled by one thread before it takes more.
const RULES_AT_ONCE: usize = 64;

/// Compiled rules. Immutable; share it between threads.
#[derive(Debug)]
pub struct Engine {
    specs: Vec<RuleSpec>,
    rules: Vec<Rule>,
    patterns: Vec<Owned>,
    finder: Finder,
    revision: String,
    unknown: RuleSpec,
}

/// What one worker needs to scan. Made by [`Engine::new_scratch`], for that engine only.
#[derive(Debug)]
pub struct Scratch {
    matcher: Option<vectorscan::Scratch>,
    joined: Joined,
    work: Workspace,
    sightings: Sightings,
    windows: Windows,
    stretches: Stretches,
    caches: Caches,
    matches: Matches,
}

impl Engine {
    /// Compiles `specs`. The place of a spec is its [`RuleIx`]; rules whose action is
    /// [`Action::Pass`] keep their place and are not compiled.
    ///
    /// The compiled database is kept in `cache_dir` if there is one and it is private to the
    /// user; trouble with it only costs time. Without it, some 870 patterns take about 0.3 s.
    ///
    /// # Errors
    /// Every unusable rule and pattern, in order.
    pub fn build(specs: Vec<RuleSpec>, cache_dir: Option<&Path>) -> Result<Self, Vec<BuildError>> {
        views::warm_up();
        let revision = revision(&specs);
        let mut errors = Vec::new();
        let mut rules = Vec::with_capacity(specs.len());
        let mut patterns = Vec::new();
        let numbered: Vec<_> = (0_u32..).zip(&specs).collect();
        let parts: Vec<_> = numbered.chunks(RULES_AT_ONCE).collect();
        let compiled = in_parallel(parts.len(), |part| {
            build::compile(parts.get(part).copied().unwrap_or_default())
        });
        for part in compiled {
            rules.extend(part.rules);
            patterns.extend(part.patterns);
            errors.extend(part.errors);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let finder = Finder::new(&specs, &patterns, &revision, cache_dir)?;
        if !finder.is_known() {
            build::try_regexes(&specs, &rules, &patterns)?;
        }
        Ok(Self {
            finder,
            specs,
            rules,
            patterns,
            revision,
            unknown: RuleSpec::new(
                "UNKNOWN",
                Family::Content,
                Severity::Critical,
                Action::Block,
            ),
        })
    }

    /// The rule at `ix`. For an index of another engine that has more rules: a rule called
    /// `UNKNOWN` without patterns.
    #[must_use]
    pub fn rule(&self, ix: RuleIx) -> &RuleSpec {
        self.specs.get(ix.0 as usize).unwrap_or(&self.unknown)
    }

    /// Every rule, in the order given to [`Engine::build`].
    #[must_use]
    pub fn rules(&self) -> &[RuleSpec] {
        &self.specs
    }

    /// Lower-case hexadecimal SHA-256 of the rules: equal revisions find equal things.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// How many patterns are compiled.
    #[must_use]
    pub fn pattern_count(&self) -> usize {
        self.patterns.len()
    }

    /// What is looked for to find each pattern, for rule authors: the rule's id, the pattern's
    /// place among its patterns, and the strings, with `*` before those that begin no word and `+`
    /// before those looked for beside others. A pattern of which no strings are rare enough comes
    /// with none: its rule's anchor finds where its regex searches, or, if that anchor is
    /// [`Anchor::Literal`](crate::Anchor::Literal), the regex searches all of every text and view
    /// the rule applies to.
    pub fn sought(&self) -> impl Iterator<Item = (&str, usize, Vec<String>)> {
        let shown = |needle: &Needle, sign: &str| {
            let begins = if needle.word { "" } else { "*" };
            format!("{sign}{begins}{}", needle.bytes.escape_ascii())
        };
        self.patterns.iter().map(move |owned| {
            let compiled = &owned.compiled;
            let mut strings = Vec::new();
            for needles in &compiled.needles {
                strings.extend(needles.list.iter().map(|needle| shown(needle, "")));
                let beside = needles.beside.iter().flat_map(|beside| &beside.list);
                strings.extend(beside.map(|needle| shown(needle, "+")));
            }
            (&*self.rule(RuleIx(owned.rule)).id, compiled.place, strings)
        })
    }

    /// Working memory for one worker.
    ///
    /// # Errors
    /// [`ScanError::Matcher`] if the matcher has no memory.
    pub fn new_scratch(&self) -> Result<Scratch, ScanError> {
        Ok(Scratch {
            matcher: self.finder.new_scratch()?,
            joined: Joined::default(),
            work: Workspace::default(),
            sightings: self.finder.new_sightings(),
            windows: Windows::new(self.patterns.len()),
            stretches: Stretches::new(),
            caches: Caches::new(self.patterns.len(), self.rules.len()),
            matches: Matches::default(),
        })
    }

    /// Scans every text of one message and writes to `findings` — cleared first — what was found,
    /// sorted by span, each rule at most once for a span. Texts come in frame order.
    ///
    /// A text whose decoded form is as long as its raw bytes is taken to have no escapes.
    ///
    /// # Errors
    /// Any [`ScanError`]: the message was not scanned, and `findings` is empty.
    pub fn scan<'t>(
        &self,
        frame: &[u8],
        texts: impl Iterator<Item = Text<'t>>,
        limits: &Limits,
        scratch: &mut Scratch,
        findings: &mut Vec<Finding>,
    ) -> Result<Outcome, ScanError> {
        findings.clear();
        let outcome = self.read(texts, limits, scratch)?;
        self.find(scratch)?;
        self.report(frame, scratch, findings)?;
        Ok(outcome)
    }

    /// The slow twin of [`Engine::scan`]: the same result by running every regex over every text.
    /// For tests.
    ///
    /// # Errors
    /// As for [`Engine::scan`].
    #[doc(hidden)]
    pub fn scan_naive<'t>(
        &self,
        frame: &[u8],
        texts: impl Iterator<Item = Text<'t>>,
        limits: &Limits,
        scratch: &mut Scratch,
        findings: &mut Vec<Finding>,
    ) -> Result<Outcome, ScanError> {
        findings.clear();
        let outcome = self.read(texts, limits, scratch)?;
        let mut confirm = Confirm::new(
            self,
            &scratch.joined,
            None,
            &mut scratch.caches,
            &mut scratch.matches,
        );
        for pattern in (0_u32..).take(self.patterns.len()) {
            for (ix, segment) in scratch.joined.segments.iter().enumerate() {
                confirm.segment(
                    pattern,
                    ix,
                    segment,
                    0..(segment.end - segment.start) as usize,
                )?;
            }
        }
        self.report(frame, scratch, findings)?;
        Ok(outcome)
    }

    /// The pattern at `ix` and its rule.
    pub(crate) fn pattern(&self, ix: u32) -> Option<(&Compiled, &Rule, &RuleSpec)> {
        let owned = self.patterns.get(ix as usize)?;
        let rule = owned.rule as usize;
        Some((
            &owned.compiled,
            self.rules.get(rule)?,
            self.specs.get(rule)?,
        ))
    }

    /// Joins the texts and derives the views.
    fn read<'t>(
        &self,
        texts: impl Iterator<Item = Text<'t>>,
        limits: &Limits,
        scratch: &mut Scratch,
    ) -> Result<Outcome, ScanError> {
        scratch.matches.clear(limits.max_findings);
        let joined = &mut scratch.joined;
        joined.clear();
        let mut derivable = false;
        for Text { text, raw, surface } in texts {
            let possible = views::examine(text.as_bytes());
            derivable |= possible.any();
            joined
                .push(text.as_bytes(), raw, surface, possible)
                .map_err(|_| ScanError::TooLarge)?;
        }
        let plain = joined.buffer.len();
        let budget = plain.saturating_mul(usize::from(limits.max_view_factor));
        joined.end_texts(budget.saturating_add(VIEW_FLOOR));
        if derivable {
            views::build(joined, &mut scratch.work);
        }
        Ok(Outcome {
            views_truncated: joined.truncated,
        })
    }

    /// Finds and confirms.
    fn find(&self, scratch: &mut Scratch) -> Result<(), ScanError> {
        let Scratch {
            matcher,
            joined,
            sightings,
            windows,
            stretches,
            caches,
            matches,
            ..
        } = scratch;
        let present: SurfaceSet = joined.texts.iter().map(|text| text.surface).collect();
        self.finder.find(
            &joined.buffer,
            present,
            matcher.as_mut(),
            sightings,
            windows,
        )?;
        let mut confirm = Confirm::new(self, joined, Some(&sightings.outline), caches, matches);
        for window in windows.settle() {
            confirm.window(window.pattern, window.start, window.end)?;
        }
        for group in self.finder.anchored(present) {
            anchors::find(group.anchor, &joined.buffer, stretches);
            if !stretches.is_empty() {
                self.around(stretches, group, &mut confirm)?;
            }
        }
        Ok(())
    }

    /// Runs every pattern of an anchor around each of its stretches.
    fn around(
        &self,
        stretches: &Stretches,
        group: &Anchored,
        confirm: &mut Confirm<'_>,
    ) -> Result<(), ScanError> {
        for pattern in &group.patterns {
            let width = self
                .patterns
                .get(*pattern as usize)
                .map_or(u32::MAX, |owned| owned.compiled.max_width);
            let mut open: Option<(u32, u32)> = None;
            for (start, end) in stretches {
                let (start, end) = (start.saturating_sub(width), end.saturating_add(width));
                open = match open {
                    Some((first, last)) if start <= last => Some((first, end)),
                    Some((first, last)) => {
                        confirm.window(*pattern, first, last)?;
                        Some((start, end))
                    }
                    None => Some((start, end)),
                };
            }
            if let Some((first, last)) = open {
                confirm.window(*pattern, first, last)?;
            }
        }
        Ok(())
    }

    /// Turns matches into findings.
    fn report(
        &self,
        frame: &[u8],
        scratch: &mut Scratch,
        findings: &mut Vec<Finding>,
    ) -> Result<(), ScanError> {
        let matches = scratch.matches.settle()?;
        if matches.is_empty() {
            return Ok(());
        }
        let mut map = FrameMap::new(frame);
        for found in matches {
            let Some(text) = scratch.joined.texts.get(found.text as usize) else {
                continue;
            };
            let rule = self.rule(RuleIx(found.rule));
            let plain = crate::joined::PlainSpan {
                text: found.text,
                start: found.start,
                end: found.end,
            };
            findings.push(Finding {
                rule: RuleIx(found.rule),
                family: rule.family,
                severity: rule.severity,
                action: rule.action,
                surface: text.surface,
                view: found.view,
                span: map.span(text, plain),
            });
        }
        findings.sort_by_key(|finding| (finding.span, finding.rule, finding.view));
        findings.dedup_by(|b, a| (a.span, a.rule) == (b.span, b.rule));
        scratch.caches.trim();
        Ok(())
    }
}
