//! One buffer for all texts of a message, and the way back from it to the frame.
//!
//! Enters: decoded strings with their place in the frame, then views derived from them. Leaves:
//! the bytes to scan in one call, a table of segments, and spans of the frame for spans of a
//! segment. It never looks for anything.
//!
//! ```text
//! buffer    text 0 NUL text 1 NUL ... text n NUL view a NUL view b NUL
//! segments  [0..4]     [5..9]                    [from text 1, with runs]
//! ```
//!
//! A derived segment has *runs*: stretches of it that stand for stretches of its parent, either
//! byte for byte or as a whole. Every segment ends in a NUL, so that no `\b` depends on the end of
//! the buffer.

use std::ops::Range;

use mcpf_model::{Span, Surface, View};

use crate::spec::ViewSet;

/// Most bytes of text in one scan: 256 MiB, far above any frame limit.
const MAX_BUFFER: usize = 256 << 20;

/// One string of the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextEntry {
    /// Bytes of the frame between the quotes.
    pub(crate) raw: Span,
    /// Where the decoded text starts in the buffer.
    pub(crate) start: u32,
    /// Length of the decoded text in bytes.
    pub(crate) len: u32,
    pub(crate) surface: Surface,
}

/// One stretch of the buffer that is scanned as a text of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Index of the text it comes from.
    pub(crate) text: u32,
    /// Index of the segment it was derived from.
    parent: Option<u32>,
    /// Its runs in [`Joined::runs`].
    runs: (u32, u32),
    /// What a finding in it is called.
    pub(crate) view: View,
    /// The views it stands for.
    pub(crate) views: ViewSet,
    /// How many decodings deep it is.
    pub(crate) depth: u8,
    /// Whether it was normalised already.
    pub(crate) normal: bool,
    /// What could still be derived from it.
    pub(crate) derivable: Derivable,
}

/// Which derivations a cheap test could not rule out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Derivable {
    pub(crate) normalised: bool,
    pub(crate) decoded: bool,
}

impl Derivable {
    pub(crate) fn any(self) -> bool {
        self.normalised || self.decoded
    }
}

/// A stretch of a derived segment, from the end of the run before it to `end`.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// End, relative to the segment.
    end: u32,
    /// The stretch of the parent it stands for, relative to the parent.
    source: (u32, u32),
    /// Whether its bytes stand for the source's bytes one by one.
    linear: bool,
}

/// The buffer and its tables. Cleared, never shrunk below what the last message needed.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    pub(crate) buffer: Vec<u8>,
    pub(crate) texts: Vec<TextEntry>,
    pub(crate) segments: Vec<Segment>,
    runs: Vec<Run>,
    /// Bytes of the buffer that are texts, with their NULs; views come after.
    pub(crate) plain_len: u32,
    /// Most bytes of views; set when the last text is in.
    budget: usize,
    /// Whether a view was cut short or left out because of the budget.
    pub(crate) truncated: bool,
}

/// A span of a message's decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlainSpan {
    pub(crate) text: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// There is more text than one scan takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Joined {
    /// Most bytes of buffer kept between messages: 1 MiB.
    const KEEP: usize = 1 << 20;

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(Self::KEEP);
        self.texts.clear();
        self.texts.shrink_to(Self::KEEP / 16);
        self.segments.clear();
        self.segments.shrink_to(Self::KEEP / 16);
        self.runs.clear();
        self.runs.shrink_to(Self::KEEP / 16);
        self.plain_len = 0;
        self.budget = 0;
        self.truncated = false;
    }

    /// Adds one string of the message.
    pub(crate) fn push(
        &mut self,
        text: &[u8],
        raw: Span,
        surface: Surface,
        derivable: Derivable,
    ) -> Result<(), TooLarge> {
        if self.buffer.len().saturating_add(text.len()) >= MAX_BUFFER {
            return Err(TooLarge);
        }
        let start = offset(self.buffer.len());
        self.buffer.extend_from_slice(text);
        let end = offset(self.buffer.len());
        self.buffer.push(0);
        let index = offset(self.texts.len());
        self.texts.push(TextEntry {
            raw,
            start,
            len: end - start,
            surface,
        });
        self.segments.push(Segment {
            start,
            end,
            text: index,
            parent: None,
            runs: (0, 0),
            view: View::Plain,
            views: ViewSet::PLAIN.with(View::Normalised),
            depth: 0,
            normal: false,
            derivable,
        });
        Ok(())
    }

    /// No more texts; views may take `budget` bytes.
    pub(crate) fn end_texts(&mut self, budget: usize) {
        self.plain_len = offset(self.buffer.len());
        self.budget = budget.min(MAX_BUFFER * 4);
    }

    /// The bytes of a segment.
    pub(crate) fn bytes(&self, segment: &Segment) -> &[u8] {
        self.buffer
            .get(segment.start as usize..segment.end as usize)
            .unwrap_or_default()
    }

    /// Starts a segment derived from segment `parent`.
    pub(crate) fn derive(&mut self, parent: u32) -> Writer<'_> {
        let start = self.buffer.len();
        let first_run = self.runs.len();
        Writer {
            joined: self,
            parent,
            start,
            first_run,
        }
    }

    /// Index of the first segment that ends after `at`.
    pub(crate) fn segment_at(&self, at: u32) -> usize {
        self.segments.partition_point(|segment| segment.end <= at)
    }

    /// The stretch of decoded text that `range` of `segment` stands for.
    pub(crate) fn to_plain(&self, segment: &Segment, range: Range<usize>) -> PlainSpan {
        let (mut start, mut end) = (offset(range.start), offset(range.end));
        let mut segment = *segment;
        while let Some(parent) = segment.parent.and_then(|ix| self.segments.get(ix as usize)) {
            let runs = self
                .runs
                .get(segment.runs.0 as usize..segment.runs.1 as usize)
                .unwrap_or_default();
            start = source_start(runs, start);
            end = source_end(runs, end).max(start);
            segment = *parent;
        }
        PlainSpan {
            text: segment.text,
            start,
            end,
        }
    }
}

fn source_start(runs: &[Run], at: u32) -> u32 {
    let ix = runs.partition_point(|run| run.end <= at);
    let begin = ix
        .checked_sub(1)
        .and_then(|before| runs.get(before))
        .map_or(0, |run| run.end);
    match runs.get(ix) {
        Some(run) if run.linear => run.source.0 + (at - begin),
        Some(run) => run.source.0,
        None => runs.last().map_or(0, |run| run.source.1),
    }
}

fn source_end(runs: &[Run], at: u32) -> u32 {
    let Some(last) = at.checked_sub(1) else {
        return 0;
    };
    let ix = runs.partition_point(|run| run.end <= last);
    let begin = ix
        .checked_sub(1)
        .and_then(|before| runs.get(before))
        .map_or(0, |run| run.end);
    match runs.get(ix) {
        Some(run) if run.linear => run.source.0 + (at - begin),
        Some(run) => run.source.1,
        None => runs.last().map_or(0, |run| run.source.1),
    }
}

/// Writes one derived segment. Dropping it without [`Writer::finish`] leaves nothing behind.
pub(crate) struct Writer<'a> {
    joined: &'a mut Joined,
    parent: u32,
    start: usize,
    first_run: usize,
}

impl Writer<'_> {
    /// Appends `bytes` that stand for the source's bytes from `source` on, one by one.
    pub(crate) fn linear(&mut self, bytes: &[u8], source: usize) {
        let fits = self.room().min(bytes.len());
        self.joined.truncated |= fits < bytes.len();
        let (source, end) = (offset(source), offset(source + fits));
        self.append(bytes.get(..fits).unwrap_or_default(), (source, end), true);
    }

    /// Appends `bytes` that stand for `source` as a whole.
    pub(crate) fn blob(&mut self, bytes: &[u8], source: Range<usize>) {
        if bytes.len() > self.room() {
            self.joined.truncated = true;
            return;
        }
        self.append(bytes, (offset(source.start), offset(source.end)), false);
    }

    /// Whether the budget is spent: what is appended from here on is dropped.
    pub(crate) fn is_full(&self) -> bool {
        self.joined.truncated
    }

    /// Bytes of budget left, with room for the closing NUL; none once something was dropped.
    fn room(&self) -> usize {
        if self.joined.truncated {
            return 0;
        }
        let used = self.joined.buffer.len() - self.joined.plain_len as usize;
        self.joined.budget.saturating_sub(used + 1)
    }

    fn append(&mut self, bytes: &[u8], source: (u32, u32), linear: bool) {
        if bytes.is_empty() {
            return;
        }
        self.joined.buffer.extend_from_slice(bytes);
        let end = offset(self.joined.buffer.len() - self.start);
        let mine = self.joined.runs.len() > self.first_run;
        match self.joined.runs.last_mut() {
            Some(run) if mine && linear && run.linear && run.source.1 == source.0 => {
                run.end = end;
                run.source.1 = source.1;
            }
            _ => self.joined.runs.push(Run {
                end,
                source,
                linear,
            }),
        }
    }

    /// Closes the segment, unless it is empty or equal to `unless`.
    pub(crate) fn finish(self, unless: &[u8], made: Made) -> Option<u32> {
        let content = self.joined.buffer.get(self.start..).unwrap_or_default();
        if content.is_empty() || content == unless {
            return None;
        }
        let parent = *self.joined.segments.get(self.parent as usize)?;
        let derivable = (made.examine)(content);
        let index = offset(self.joined.segments.len());
        let (view, depth) = match made.kind {
            Kind::Normalised if parent.view == View::Plain => (View::Normalised, parent.depth),
            Kind::Normalised => (parent.view, parent.depth),
            Kind::Decoded => (View::Decoded, parent.depth + 1),
        };
        self.joined.segments.push(Segment {
            start: offset(self.start),
            end: offset(self.joined.buffer.len()),
            text: parent.text,
            parent: Some(self.parent),
            runs: (offset(self.first_run), offset(self.joined.runs.len())),
            view,
            views: ViewSet::EMPTY.with(view),
            depth,
            normal: made.kind == Kind::Normalised,
            derivable,
        });
        self.joined.buffer.push(0);
        // What was written stays: the destructor must see nothing to undo.
        let mut kept = self;
        kept.start = kept.joined.buffer.len();
        kept.first_run = kept.joined.runs.len();
        Some(index)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.joined.buffer.truncate(self.start);
        self.joined.runs.truncate(self.first_run);
    }
}

/// How a derived segment came to be.
#[derive(Clone, Copy)]
pub(crate) struct Made {
    pub(crate) kind: Kind,
    /// What can be derived from it in turn.
    pub(crate) examine: fn(&[u8]) -> Derivable,
}

/// The two ways to derive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normalised,
    Decoded,
}

/// A buffer offset. The buffer is bounded far below `u32::MAX`.
pub(crate) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Made = Made {
        kind: Kind::Decoded,
        examine: |_| Derivable {
            normalised: false,
            decoded: false,
        },
    };

    fn joined(texts: &[&str]) -> Joined {
        let mut joined = Joined::default();
        for text in texts {
            let raw = Span { start: 0, end: 0 };
            joined
                .push(
                    text.as_bytes(),
                    raw,
                    Surface::Arguments,
                    Derivable::default(),
                )
                .unwrap();
        }
        joined.end_texts(4096);
        joined
    }

    #[test]
    fn texts_are_joined_with_nul() {
        let joined = joined(&["ab", "", "c"]);
        assert_eq!(joined.buffer, b"ab\0\0c\0");
        assert_eq!(joined.segment_at(0), 0);
        assert_eq!(joined.segment_at(2), 1);
        assert_eq!(joined.segment_at(4), 2);
    }

    #[test]
    fn runs_lead_back() {
        let mut joined = joined(&["xx%41%42yy"]);
        let mut writer = joined.derive(0);
        writer.linear(b"xx", 0);
        writer.blob(b"A", 2..5);
        writer.blob(b"B", 5..8);
        writer.linear(b"yy", 8);
        let child = writer.finish(b"", NOTHING).unwrap();
        let segment = joined.segments[child as usize];
        assert_eq!(joined.bytes(&segment), b"xxAByy");
        let back = |range: Range<usize>| {
            let plain = joined.to_plain(&segment, range);
            (plain.start, plain.end)
        };
        assert_eq!(back(0..6), (0, 10));
        assert_eq!(back(2..3), (2, 5));
        assert_eq!(back(1..4), (1, 8));
        assert_eq!(back(4..5), (8, 9));
    }

    #[test]
    fn nested_views_lead_back() {
        let mut joined = joined(&["--QUJD--"]);
        let mut writer = joined.derive(0);
        writer.blob(b"abc", 2..6);
        let first = writer.finish(b"", NOTHING).unwrap();
        let mut writer = joined.derive(first);
        writer.linear(b"bc", 1);
        let second = writer.finish(b"", NOTHING).unwrap();
        let segment = joined.segments[second as usize];
        assert_eq!(segment.depth, 2);
        let plain = joined.to_plain(&segment, 1..2);
        assert_eq!((plain.text, plain.start, plain.end), (0, 2, 6));
    }

    #[test]
    fn equal_or_unfinished_views_leave_nothing() {
        let mut joined = joined(&["same"]);
        let mut writer = joined.derive(0);
        writer.linear(b"same", 0);
        assert_eq!(writer.finish(b"same", NOTHING), None);
        assert_eq!(joined.buffer, b"same\0");
        drop(joined.derive(0));
        assert_eq!(joined.segments.len(), 1);
    }

    #[test]
    fn the_budget_cuts_and_says_so() {
        let mut joined = joined(&["text"]);
        joined.end_texts(4);
        let mut writer = joined.derive(0);
        writer.linear(b"abcdef", 0);
        assert!(writer.is_full());
        writer.finish(b"", NOTHING).unwrap();
        assert!(joined.truncated);
        assert_eq!(joined.buffer, b"text\0abc\0");
    }
}
