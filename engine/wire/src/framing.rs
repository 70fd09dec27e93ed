//! The stdio transport's framing: one message a line.
//!
//! What enters: bytes as they were read, in any chunks. What leaves: ranges of one buffer, each a line
//! without its end. It never looks inside a line, never keeps a line that is longer than the limit, and
//! never scans a byte twice for the line end (MCP "Transports", stdio).

use std::ops::Range;

use mcpf_model::{ByteSize, Limits};

use crate::refusal::{Refusal, RefusalCode};
use crate::rescue;

/// A line, or an event of an event stream, that is not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The line or event is longer than the limit. Reported once, as soon as it is known; its remaining
    /// bytes are skipped, not kept.
    #[error("the frame is longer than {limit}")]
    TooLarge {
        /// The limit the framer was made with.
        limit: ByteSize,
        /// The first bytes of the line, or of the event's data, at most 256.
        head: Box<[u8]>,
    },
    /// The input ended inside a line.
    #[error("the input ended in the middle of a line")]
    Unterminated {
        /// The first bytes of the line, at most 256.
        head: Box<[u8]>,
    },
    /// The data, id or type of an event is not UTF-8. A line is not looked into, and never refused for this.
    #[error("the event is not valid UTF-8")]
    InvalidUtf8 {
        /// All data of the event: the id to answer under may stand at its end.
        data: Box<[u8]>,
    },
}

impl FrameError {
    /// The error as a refusal, with the id if it stands in what was kept.
    pub fn refusal(&self, limits: &Limits) -> Refusal {
        match self {
            Self::TooLarge { head, .. } => rescue::refuse_head(RefusalCode::TooLarge, head, limits),
            Self::Unterminated { head } => rescue::refuse_head(RefusalCode::NotJson, head, limits),
            Self::InvalidUtf8 { data } => rescue::refuse(RefusalCode::InvalidUtf8, data, limits),
        }
    }
}

/// Cuts a byte stream into lines.
///
/// Lines end with LF; one CR before it belongs to the line end. Lines of nothing but spaces, tabs and CRs
/// are dropped. Memory is at most the limit plus 128 KiB, and returns to 128 KiB after a while without big frames.
///
/// ```
/// use mcpf_model::ByteSize;
/// use mcpf_wire::LineFramer;
///
/// let mut framer = LineFramer::new(ByteSize::kib(64));
/// framer.push(b"{\"a\":1}\r\n\n{\"b\":");
/// let range = framer.next_frame().unwrap().unwrap();
/// assert_eq!(framer.frame(range), br#"{"a":1}"#);
/// assert!(framer.next_frame().is_none());
/// framer.push(b"2}\n");
/// let range = framer.next_frame().unwrap().unwrap();
/// assert_eq!(framer.frame(range), br#"{"b":2}"#);
/// ```
#[derive(Debug)]
pub struct LineFramer {
    limit: ByteSize,
    /// `0 <= taken <= scanned <= filled <= buffer.len()`: given away, searched for LF, read, allocated.
    buffer: Vec<u8>,
    taken: usize,
    scanned: usize,
    filled: usize,
    /// Inside a line that was reported as too large.
    skipping: bool,
    /// Calls of `space` since the buffer was last needed at its size.
    idle: u32,
}

impl LineFramer {
    /// A framer whose lines hold at most `max_frame` bytes, line end not counted.
    #[must_use]
    pub fn new(max_frame: ByteSize) -> Self {
        Self {
            limit: max_frame,
            buffer: Vec::new(),
            taken: 0,
            scanned: 0,
            filled: 0,
            skipping: false,
            idle: 0,
        }
    }

    /// Where the caller reads into; at least 64 KiB. Ranges given before are no longer valid.
    pub fn space(&mut self) -> &mut [u8] {
        self.compact();
        let wanted = self.filled.saturating_add(READ);
        if self.buffer.len() < wanted {
            // Doubling keeps the copies linear in what was read.
            let doubled = self.buffer.len().saturating_mul(2).min(self.longest());
            self.buffer.resize(wanted.max(doubled), 0);
            self.idle = 0;
        } else if self.buffer.len() > RESTING && wanted <= RESTING {
            self.idle = self.idle.saturating_add(1);
            if self.idle >= PATIENCE {
                self.buffer.truncate(RESTING);
                self.buffer.shrink_to(RESTING);
                self.idle = 0;
            }
        } else {
            self.idle = 0;
        }
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// Says that the first `n` bytes of [`space`](Self::space) were read into. More than it had counts as all of it.
    pub fn advance(&mut self, n: usize) {
        self.filled = self.filled.saturating_add(n).min(self.buffer.len());
    }

    /// Copies `bytes` in, for callers that do not read by themselves.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = self.space();
            let n = rest.len().min(space.len());
            let (now, later) = rest.split_at(n);
            if let Some(place) = space.get_mut(..n) {
                place.copy_from_slice(now);
            }
            self.advance(n);
            rest = later;
        }
    }

    /// The next line, as a range for [`frame`](Self::frame), or `None` until more is read.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLarge`] once for each line longer than the limit.
    pub fn next_frame(&mut self) -> Option<Result<Range<usize>, FrameError>> {
        loop {
            let unseen = self
                .buffer
                .get(self.scanned..self.filled)
                .unwrap_or_default();
            let Some(offset) = memchr::memchr(b'\n', unseen) else {
                self.scanned = self.filled;
                return self.overlong_tail();
            };
            let line = self.taken..self.scanned.saturating_add(offset);
            self.scanned = line.end.saturating_add(1);
            self.taken = self.scanned;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            let bytes = self.frame(line.clone());
            let content = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            if content.len() > self.limit.bytes() {
                return Some(Err(self.too_large(line)));
            }
            if is_blank(content) {
                continue;
            }
            let end = line.start.saturating_add(content.len());
            return Some(Ok(line.start..end));
        }
    }

    /// Whether a line end was read that [`next_frame`](Self::next_frame) has not looked at.
    #[must_use]
    pub fn has_frame(&self) -> bool {
        let unseen = self
            .buffer
            .get(self.scanned..self.filled)
            .unwrap_or_default();
        memchr::memchr(b'\n', unseen).is_some()
    }

    /// The bytes of a line. Empty if the range is no longer valid.
    #[must_use]
    pub fn frame(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// Drops what was given away, moving the rest to the front. Ranges given before are no longer valid.
    pub fn compact(&mut self) {
        if self.taken == 0 {
            return;
        }
        self.buffer.copy_within(self.taken..self.filled, 0);
        self.filled = self.filled.saturating_sub(self.taken);
        self.scanned = self.scanned.saturating_sub(self.taken);
        self.taken = 0;
    }

    /// Says that the input has ended. A last line without an end is dropped, and reported if it was not blank
    /// and not reported before: some servers would have run it, others not.
    pub fn finish(&mut self) -> Option<FrameError> {
        let line = self.frame(self.taken..self.filled);
        let error = (!is_blank(line) && !self.skipping).then(|| FrameError::Unterminated {
            head: head_of(line),
        });
        self.taken = self.filled;
        self.scanned = self.filled;
        self.skipping = false;
        error
    }

    /// Deals with the bytes after the last line end: skipped bytes are dropped, and a line that can no longer
    /// fit is reported.
    fn overlong_tail(&mut self) -> Option<Result<Range<usize>, FrameError>> {
        if self.skipping {
            self.taken = self.filled;
            return None;
        }
        // The one byte more could be the CR of the line end.
        if self.filled.saturating_sub(self.taken) <= self.limit.bytes().saturating_add(1) {
            return None;
        }
        let error = self.too_large(self.taken..self.filled);
        self.skipping = true;
        self.taken = self.filled;
        Some(Err(error))
    }

    fn too_large(&self, line: Range<usize>) -> FrameError {
        FrameError::TooLarge {
            limit: self.limit,
            head: head_of(self.frame(line)),
        }
    }

    /// The buffer never needs to be longer than this.
    fn longest(&self) -> usize {
        self.limit.bytes().saturating_add(RESTING)
    }
}

/// Whether a line is of no meaning to anybody: spaces, tabs and CRs. A form feed is not among them.
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

/// What is kept of a refused frame.
pub(crate) fn head_of(line: &[u8]) -> Box<[u8]> {
    line.get(..HEAD.min(line.len())).unwrap_or_default().into()
}

/// Least room offered to a read, in bytes: the default capacity of a pipe.
const READ: usize = 64 * 1024;
/// Size of a framer's buffer while frames are small, in bytes.
pub(crate) const RESTING: usize = 2 * READ;
/// Reads at rest before a big buffer is given back.
pub(crate) const PATIENCE: u32 = 64;
/// Bytes kept of a refused frame.
const HEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(framer: &mut LineFramer) -> Vec<Result<Vec<u8>, FrameError>> {
        let mut out = Vec::new();
        while let Some(next) = framer.next_frame() {
            out.push(next.map(|range| framer.frame(range).to_vec()));
        }
        out
    }

    fn line(text: &str) -> Result<Vec<u8>, FrameError> {
        Ok(text.as_bytes().to_vec())
    }

    #[test]
    fn line_ends_are_cut_and_blank_lines_dropped() {
        let mut framer = LineFramer::new(ByteSize(10));
        framer.push(b"a\nb\r\n\n \t\r\n\r\nc\r\r\nd");
        assert_eq!(frames(&mut framer), [line("a"), line("b"), line("c\r")]);
        assert!(
            matches!(framer.finish(), Some(FrameError::Unterminated { head }) if *head == *b"d")
        );
        assert_eq!(framer.finish(), None);
    }

    #[test]
    fn a_form_feed_is_no_blank_line_at_the_end_either() {
        let mut framer = LineFramer::new(ByteSize(10));
        framer.push(b"\n\x0c");
        assert_eq!(frames(&mut framer), []);
        assert!(framer.finish().is_some());
    }

    #[test]
    fn the_limit_counts_the_line_without_its_end() {
        for (text, fits) in [
            ("12345\n", true),
            ("12345\r\n", true),
            ("123456\n", false),
            ("123456\r\n", false),
        ] {
            let mut framer = LineFramer::new(ByteSize(5));
            framer.push(text.as_bytes());
            assert_eq!(frames(&mut framer)[0].is_ok(), fits, "{text:?}");
            framer.push(b"ok\n");
            assert_eq!(frames(&mut framer), [line("ok")]);
        }
    }

    #[test]
    fn an_oversize_line_is_reported_once_and_not_kept() {
        let mut framer = LineFramer::new(ByteSize::kib(1));
        let mut reported = 0;
        for _ in 0..1000 {
            framer.push(&[b'x'; 10_000]);
            reported += frames(&mut framer).len();
            assert!(framer.buffer.len() <= RESTING + 1024);
        }
        assert_eq!(reported, 1);
        framer.push(b"tail\nnext\n");
        assert_eq!(frames(&mut framer), [line("next")]);
    }

    #[test]
    fn an_oversize_line_that_is_cut_off_is_reported_once() {
        let mut framer = LineFramer::new(ByteSize(4));
        framer.push(b"0123456789");
        assert_eq!(frames(&mut framer).len(), 1);
        assert_eq!(framer.finish(), None);
    }

    #[test]
    fn the_id_of_an_oversize_line_is_read_from_its_head() {
        let limits = Limits::default();
        let mut framer = LineFramer::new(ByteSize::kib(1));
        framer.push(br#"{"jsonrpc":"2.0","id":41,"method":"tools/call","params":{"name":""#);
        framer.push(&[b'x'; 4000]);
        let error = frames(&mut framer).remove(0).unwrap_err();
        let refusal = error.refusal(&limits);
        assert_eq!(refusal.id.known(), Some(&mcpf_model::RequestId::Number(41)));
        assert_eq!(refusal.code, RefusalCode::TooLarge);
        assert_eq!(refusal.shape, crate::Shape::Request);
    }

    #[test]
    fn byte_by_byte_feeding_is_linear_and_big_buffers_are_given_back() {
        let mut framer = LineFramer::new(ByteSize::mib(4));
        let big = vec![b'x'; 3 * 1024 * 1024];
        framer.push(&big);
        assert!(frames(&mut framer).is_empty());
        for _ in 0..100_000 {
            framer.push(b"y");
            assert!(framer.next_frame().is_none());
        }
        framer.push(b"\n");
        assert_eq!(
            frames(&mut framer)[0].as_ref().unwrap().len(),
            big.len() + 100_000
        );
        for _ in 0..=PATIENCE {
            framer.push(b"z\n");
            assert_eq!(frames(&mut framer), [line("z")]);
        }
        assert_eq!(framer.buffer.len(), RESTING);
    }
}
