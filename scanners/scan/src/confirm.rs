//! From "something may be here" to "this is a match, exactly here".
//!
//! Enters: windows of the buffer in which a pattern may match. Leaves: matches that the regex
//! found, the rule applies to, a keyword stands near and every validator accepts, as spans of the
//! decoded text. It never looks outside the windows it is given.
//!
//! Given every end Vectorscan reports for a pattern of greatest width `w`, the windows
//! `[end - w, end]`, merged where they touch, hold every match of that pattern whole, and no match
//! crosses from one into another. So a search inside them finds exactly what a search of the whole
//! text would, and a window that is too wide changes nothing.

use std::ops::Range;

use regex_automata::meta::{Cache, Regex};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored, Input};

use mcpf_model::View;

use crate::engine::{Engine, Rule, ScanError};
use crate::joined::{Joined, PlainSpan, Segment, offset};
use crate::pattern::{Extension, MAX_EXTENSION};
use crate::spec::RuleSpec;

/// How often a pattern, in one text, goes on right after the start of a match that was turned
/// down, not after its end. Beyond it, matches that overlap such a match are not looked for.
const MAX_RETRIES: u32 = 64;

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
    pub(crate) engine: &'a Engine,
    pub(crate) joined: &'a Joined,
    pub(crate) caches: &'a mut Caches,
    pub(crate) matches: &'a mut Matches,
    /// The pattern and segment that the retries count for.
    pub(crate) current: (u32, usize),
    pub(crate) retries: u32,
}

impl Confirm<'_> {
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
        if self.current != (pattern, ix) {
            self.current = (pattern, ix);
            self.retries = 0;
        }
        let regex = compiled.regex(spec).map_err(|_| ScanError::Unconfirmed)?;
        let haystack = self.joined.bytes(segment);
        let mut at = range.start;
        while at < range.end {
            let input = Input::new(haystack).range(at..range.end);
            let Some(slot) = self.caches.patterns.get_mut(pattern as usize) else {
                break;
            };
            let Some(found) = regex.search_with(cache(slot, regex), &input) else {
                break;
            };
            let secret = self.secret(pattern, regex, spec, haystack, found.range(), range.end);
            let accepted = spec.validators.iter().all(|validator| {
                validator.accepts(haystack.get(secret.clone()).unwrap_or_default())
            }) && (rule.keywords.is_empty()
                || self.keyword_near(rule, spec, segment, haystack, found.range()));
            if accepted {
                self.keep(rule, segment, haystack, found.end(), secret)?;
            }
            at = if accepted || self.retries >= MAX_RETRIES {
                found.end()
            } else {
                self.retries += 1;
                found.start() + 1
            };
        }
        Ok(())
    }

    /// The stretch of the match that the rule's capture group took.
    fn secret(
        &mut self,
        pattern: u32,
        regex: &Regex,
        spec: &RuleSpec,
        haystack: &[u8],
        found: Range<usize>,
        end: usize,
    ) -> Range<usize> {
        let Some(group) = spec.capture.map(usize::from).filter(|group| *group > 0) else {
            return found;
        };
        let Some(slot) = self.caches.patterns.get_mut(pattern as usize) else {
            return found;
        };
        let input = Input::new(haystack)
            .range(found.start..end)
            .anchored(Anchored::Yes);
        let slots = &mut self.caches.slots;
        slots.clear();
        slots.resize(2 * group + 2, None);
        let _ = regex.search_slots_with(cache(slot, regex), &input, slots);
        match slots.get(2 * group..) {
            Some([Some(start), Some(end)]) => start.get()..end.get(),
            _ => found,
        }
    }

    /// Whether a keyword stands near the match in its own text, or before it in the text before.
    fn keyword_near(
        &self,
        rule: &Rule,
        spec: &RuleSpec,
        segment: &Segment,
        haystack: &[u8],
        found: Range<usize>,
    ) -> bool {
        let reach = usize::from(spec.keyword_window);
        let near =
            found.start.saturating_sub(reach)..found.end.saturating_add(reach).min(haystack.len());
        if rule.has_keyword(haystack.get(near).unwrap_or_default()) {
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
        rule.has_keyword(self.joined.buffer.get(before).unwrap_or_default())
    }

    /// Lengthens the match if the rule says so, and keeps it.
    fn keep(
        &mut self,
        rule: &Rule,
        segment: &Segment,
        haystack: &[u8],
        end: usize,
        secret: Range<usize>,
    ) -> Result<(), ScanError> {
        let mut range = secret;
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
        }
        let PlainSpan { text, start, end } = self.joined.to_plain(segment, range);
        self.matches.push(Match {
            text,
            start,
            end,
            rule: rule.index,
            view: segment.view,
        })
    }
}

/// Where Vectorscan says a pattern may match: windows, merged as the ends come in.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    list: Vec<Window>,
    /// For each pattern, its last window and how many it has.
    last: Vec<Last>,
    touched: Vec<u32>,
}

/// One window of one pattern.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) pattern: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    window: u32,
    count: u32,
}

/// Windows kept apart for one pattern in one message. Beyond it the last one is stretched over
/// all that follows: the regex has more to read, and a flood stays small.
const MAX_WINDOWS: u32 = 64;

impl Windows {
    pub(crate) fn new(patterns: usize) -> Self {
        Self {
            list: Vec::new(),
            last: vec![Last::default(); patterns],
            touched: Vec::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        for pattern in self.touched.drain(..) {
            if let Some(last) = self.last.get_mut(pattern as usize) {
                *last = Last::default();
            }
        }
        self.list.clear();
    }

    /// A match of `pattern`, at most `width` bytes long, ends at `end`.
    #[inline]
    pub(crate) fn add(&mut self, pattern: u32, width: u32, end: usize) {
        let end = offset(end);
        let start = end.saturating_sub(width);
        let Some(last) = self.last.get_mut(pattern as usize) else {
            return;
        };
        if last.count > 0
            && let Some(window) = self.list.get_mut(last.window as usize)
            && (start <= window.end || last.count >= MAX_WINDOWS)
        {
            window.start = window.start.min(start);
            window.end = window.end.max(end);
            return;
        }
        if last.count == 0 {
            self.touched.push(pattern);
        }
        last.count += 1;
        last.window = offset(self.list.len());
        self.list.push(Window {
            pattern,
            start,
            end,
        });
    }

    pub(crate) fn list(&self) -> &[Window] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_merge_where_they_touch() {
        let mut windows = Windows::new(2);
        for end in [10, 12, 15, 40, 41] {
            windows.add(1, 5, end);
        }
        windows.add(0, 5, 12);
        let list: Vec<_> = windows
            .list()
            .iter()
            .map(|w| (w.pattern, w.start, w.end))
            .collect();
        assert_eq!(list, [(1, 5, 15), (1, 35, 41), (0, 7, 12)]);
        windows.clear();
        windows.add(1, 5, 7);
        assert_eq!(windows.list().len(), 1);
    }

    #[test]
    fn a_flood_stretches_the_last_window() {
        let mut windows = Windows::new(1);
        for n in 0..1000 {
            windows.add(0, 2, n * 10 + 5);
        }
        assert_eq!(windows.list().len(), MAX_WINDOWS as usize);
        assert_eq!(windows.list().last().unwrap().end, 9995);
    }
}
