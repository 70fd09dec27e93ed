//! From "something may be here" to "this is a match, exactly here".
//!
//! Enters: windows of the buffer in which a pattern may match. Leaves: matches that the regex
//! found, the rule applies to, a keyword stands near and every validator accepts, as spans of the
//! decoded text. It never looks outside the windows it is given.
//!
//! The windows of a pattern, merged where they touch, hold every match of it whole, and no match
//! crosses from one into another. So a search inside them finds exactly what a search of the whole
//! text would, and a window that is too wide changes nothing.

use std::ops::Range;

use regex_automata::meta::{Cache, Regex};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored, Input};

use mcpf_model::{Action, Family, View};

use crate::engine::{Engine, Rule, ScanError};
use crate::joined::{Joined, PlainSpan, Segment};
use crate::pattern::{Compiled, Extension, MAX_EXTENSION};
use crate::spec::RuleSpec;
use crate::words::Outline;

/// How often over a pattern may read one text again, behind the start of a match that was turned
/// down or for the lengthening of another, and how many bytes beyond that: 64 KiB. Then the rest of
/// the text is one finding: what cannot be read in bounded time does not pass unread.
const REREADS: usize = 4;
const REREAD_FLOOR: usize = 64 << 10;

/// Matches of one pattern in one text that are reported one by one; from the next one on all of the
/// text is one more. A flood must not be worth its while.
const MAX_KEPT: u32 = 32;

/// Most memory all regex caches of one scratch keep between messages, in bytes: 16 MiB.
const MAX_CACHES: usize = 16 << 20;

/// A confirmed match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Match {
    pub(crate) text: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) rule: u32,
    pub(crate) view: View,
}

/// Matches of one message, without duplicates and with a limit.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    items: Vec<Match>,
    limit: u32,
}

impl Matches {
    pub(crate) fn clear(&mut self, limit: u32) {
        self.items.clear();
        self.limit = limit;
    }

    fn push(&mut self, item: Match) -> Result<(), ScanError> {
        // Several views of a text find the same thing: only what is left without them counts.
        if self.items.len() >= (self.limit as usize).saturating_mul(4).saturating_add(16) {
            self.settle()?;
        }
        self.items.push(item);
        Ok(())
    }

    /// Sorts, drops what several views found, and checks the limit.
    pub(crate) fn settle(&mut self) -> Result<&[Match], ScanError> {
        self.items.sort_unstable();
        self.items
            .dedup_by(|b, a| (a.text, a.start, a.end, a.rule) == (b.text, b.start, b.end, b.rule));
        if self.items.len() > self.limit as usize {
            return Err(ScanError::TooManyFindings { limit: self.limit });
        }
        Ok(&self.items)
    }
}

/// Regex caches, made when a pattern first matches.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    patterns: Vec<Option<Box<Cache>>>,
    extensions: Vec<Option<Box<Cache>>>,
    slots: Vec<Option<NonMaxUsize>>,
}

impl Caches {
    pub(crate) fn new(patterns: usize, rules: usize) -> Self {
        Self {
            patterns: std::iter::repeat_with(|| None).take(patterns).collect(),
            extensions: std::iter::repeat_with(|| None).take(rules).collect(),
            slots: Vec::new(),
        }
    }

    /// Drops all caches if together they grew too large.
    pub(crate) fn trim(&mut self) {
        let all = || self.patterns.iter().chain(&self.extensions).flatten();
        if all().map(|cache| cache.memory_usage()).sum::<usize>() > MAX_CACHES {
            self.patterns.iter_mut().for_each(|cache| *cache = None);
            self.extensions.iter_mut().for_each(|cache| *cache = None);
        }
    }
}

fn cache<'c>(slot: &'c mut Option<Box<Cache>>, regex: &Regex) -> &'c mut Cache {
    slot.get_or_insert_with(|| Box::new(regex.create_cache()))
}

/// Confirms windows. Windows of one pattern must come in order.
pub(crate) struct Confirm<'a> {
    engine: &'a Engine,
    joined: &'a Joined,
    /// Where words begin in the buffer; `None` to do without shortcuts.
    outline: Option<&'a Outline>,
    caches: &'a mut Caches,
    matches: &'a mut Matches,
    progress: Progress,
}

/// What one pattern may still do in one segment.
#[derive(Default)]
struct Progress {
    /// The pattern and the segment's place; `None` before the first.
    of: Option<(u32, usize)>,
    /// Bytes that may be read again.
    budget: usize,
    /// Matches that were accepted.
    kept: u32,
    /// Whether all the rest of the segment is a finding: nothing is left to search.
    done: bool,
}

impl Progress {
    /// Takes `bytes` off the budget; whether it held as many.
    fn again(&mut self, bytes: usize) -> bool {
        let left = self.budget.checked_sub(bytes);
        self.budget = left.unwrap_or(0);
        left.is_some()
    }
}

/// One pattern and the segment it is searched in.
struct Search<'a> {
    pattern: u32,
    compiled: &'a Compiled,
    regex: &'a Regex,
    rule: &'a Rule,
    spec: &'a RuleSpec,
    segment: &'a Segment,
    /// The bytes of the segment.
    haystack: &'a [u8],
}

impl<'a> Confirm<'a> {
    /// `outline` is where words begin in the buffer of `joined`; `None` to do without shortcuts.
    pub(crate) fn new(
        engine: &'a Engine,
        joined: &'a Joined,
        outline: Option<&'a Outline>,
        caches: &'a mut Caches,
        matches: &'a mut Matches,
    ) -> Self {
        Self {
            engine,
            joined,
            outline,
            caches,
            matches,
            progress: Progress::default(),
        }
    }

    /// Searches `start..end` of the buffer for pattern `pattern`.
    pub(crate) fn window(&mut self, pattern: u32, start: u32, end: u32) -> Result<(), ScanError> {
        let joined = self.joined;
        let first = joined.segment_at(start);
        for (ix, segment) in joined.segments.iter().enumerate().skip(first) {
            if segment.start >= end {
                break;
            }
            let from = start.saturating_sub(segment.start);
            let to = end.min(segment.end) - segment.start;
            self.segment(pattern, ix, segment, from as usize..to as usize)?;
        }
        Ok(())
    }

    /// Searches `range` of one segment.
    pub(crate) fn segment(
        &mut self,
        pattern: u32,
        ix: usize,
        segment: &Segment,
        range: Range<usize>,
    ) -> Result<(), ScanError> {
        let Some((compiled, rule, spec)) = self.engine.pattern(pattern) else {
            return Ok(());
        };
        let Some(text) = self.joined.texts.get(segment.text as usize) else {
            return Ok(());
        };
        if !spec.surfaces.contains(text.surface) || !spec.views.intersects(segment.views) {
            return Ok(());
        }
        if self.progress.of != Some((pattern, ix)) {
            let len = (segment.end - segment.start) as usize;
            self.progress = Progress {
                of: Some((pattern, ix)),
                budget: len.saturating_mul(REREADS).saturating_add(REREAD_FLOOR),
                kept: 0,
                done: false,
            };
        }
        let haystack = self.joined.bytes(segment);
        if let (Some(mark), Some(_)) = (&compiled.mark, self.outline)
            && mark
                .find(haystack.get(range.clone()).unwrap_or_default())
                .is_none()
        {
            return Ok(());
        }
        let search = Search {
            pattern,
            compiled,
            regex: compiled.regex(spec).map_err(|_| ScanError::Unconfirmed)?,
            rule,
            spec,
            segment,
            haystack,
        };
        self.confirm(&search, range)
    }

    /// Keeps the accepted matches in `range`, or from one on all the rest of the segment.
    fn confirm(&mut self, search: &Search<'_>, range: Range<usize>) -> Result<(), ScanError> {
        // Each secret is redacted by itself, and each destination is forgiven by itself.
        let one_by_one =
            search.spec.action == Action::Redact || search.spec.family == Family::Egress;
        let most = if one_by_one { u32::MAX } else { MAX_KEPT };
        let mut at = range.start;
        while at < range.end && !self.progress.done {
            let Some(found) = self.first(search, at..range.end) else {
                break;
            };
            let secret = self.secret(search, found.clone(), range.end);
            if self.accepts(search, &found, &secret) {
                self.progress.kept += 1;
                if self.progress.kept <= most && self.keep(search, found.end, &secret)? {
                    at = found.end;
                    continue;
                }
            } else if self.progress.again(found.len()) {
                at = found.start + 1;
                continue;
            }
            // Too many, or too much to read again: all the rest is one.
            self.progress.done = true;
            return self.push(search, secret.start..search.haystack.len());
        }
        Ok(())
    }

    /// The first match in `range`, which is not empty.
    fn first(&mut self, search: &Search<'_>, range: Range<usize>) -> Option<Range<usize>> {
        let Search {
            regex, haystack, ..
        } = search;
        let slot = self.caches.patterns.get_mut(search.pattern as usize)?;
        let (Some(lead), Some(outline)) = (&search.compiled.lead, self.outline) else {
            let input = Input::new(haystack).range(range);
            let found = regex.search_with(cache(slot, regex), &input)?;
            return Some(found.range());
        };
        // A match can only begin at one of these, and the first that does is the first.
        let base = search.segment.start as usize;
        let (mut at, end) = (range.start, range.end);
        while at < end {
            at = lead.next(&self.joined.buffer, outline, base + at, base + end)? - base;
            let input = Input::new(haystack).range(at..end).anchored(Anchored::Yes);
            if let Some(found) = regex.search_with(cache(slot, regex), &input) {
                return Some(found.range());
            }
            at += 1;
        }
        None
    }

    /// The stretch of the match that the rule's capture group took.
    fn secret(&mut self, search: &Search<'_>, found: Range<usize>, end: usize) -> Range<usize> {
        let group = search.spec.capture.map(usize::from);
        let Some(group) = group.filter(|group| *group > 0) else {
            return found;
        };
        let Some(slot) = self.caches.patterns.get_mut(search.pattern as usize) else {
            return found;
        };
        let input = Input::new(search.haystack)
            .range(found.start..end)
            .anchored(Anchored::Yes);
        let slots = &mut self.caches.slots;
        slots.clear();
        slots.resize(2 * group + 2, None);
        let _ = search
            .regex
            .search_slots_with(cache(slot, search.regex), &input, slots);
        match slots.get(2 * group..) {
            Some([Some(start), Some(end)]) => start.get()..end.get(),
            _ => found,
        }
    }

    /// Whether every validator accepts `secret`, and a keyword stands near if the rule has some.
    fn accepts(&self, search: &Search<'_>, found: &Range<usize>, secret: &Range<usize>) -> bool {
        let secret = search.haystack.get(secret.clone()).unwrap_or_default();
        let validators = &search.spec.validators;
        validators.iter().all(|validator| validator.accepts(secret))
            && (search.rule.keywords.is_none() || self.keyword_near(search, found.clone()))
    }

    /// Whether a keyword stands near the match in its own text, or before it in the text before.
    fn keyword_near(&self, search: &Search<'_>, found: Range<usize>) -> bool {
        let Search {
            rule,
            spec,
            segment,
            haystack,
            ..
        } = search;
        let reach = usize::from(spec.keyword_window);
        let near =
            found.start.saturating_sub(reach)..found.end.saturating_add(reach).min(haystack.len());
        if rule.has_keyword(spec, haystack.get(near).unwrap_or_default()) {
            return true;
        }
        let plain = self.joined.to_plain(segment, found);
        let Some(text) = self.joined.texts.get(plain.text as usize) else {
            return false;
        };
        let at = text.start.saturating_add(plain.start) as usize;
        // The text before and its NUL, and nothing of earlier ones.
        let floor = plain
            .text
            .checked_sub(1)
            .and_then(|before| self.joined.texts.get(before as usize))
            .map_or(at, |before| before.start as usize);
        let before = at.saturating_sub(reach).max(floor)..at;
        rule.has_keyword(spec, self.joined.buffer.get(before).unwrap_or_default())
    }

    /// Lengthens the match if the rule says so, and keeps it; whether the budget allowed that.
    fn keep(
        &mut self,
        search: &Search<'_>,
        end: usize,
        secret: &Range<usize>,
    ) -> Result<bool, ScanError> {
        let Search { rule, haystack, .. } = search;
        let mut range = secret.clone();
        let extend = rule.extend.as_ref().map(Extension::regex).transpose();
        if let Some(regex) = extend.map_err(|_| ScanError::Unconfirmed)?
            && let Some(slot) = self.caches.extensions.get_mut(rule.index as usize)
        {
            let limit = end.saturating_add(MAX_EXTENSION).min(haystack.len());
            let input = Input::new(haystack)
                .range(end..limit)
                .anchored(Anchored::Yes);
            if let Some(more) = regex.search_with(cache(slot, regex), &input) {
                range.end = range.end.max(more.end());
            }
            if !self.progress.again(range.end.saturating_sub(end)) {
                return Ok(false);
            }
        }
        self.push(search, range)?;
        Ok(true)
    }

    fn push(&mut self, search: &Search<'_>, range: Range<usize>) -> Result<(), ScanError> {
        let PlainSpan { text, start, end } = self.joined.to_plain(search.segment, range);
        self.matches.push(Match {
            text,
            start,
            end,
            rule: search.rule.index,
            view: search.segment.view,
        })
    }
}
