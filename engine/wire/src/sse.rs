//! The streamable HTTP transport's framing: one message an event.
//!
//! What enters: the bytes of a `text/event-stream`, in any chunks. What leaves: events ([`SseFramer`]) as "Event
//! stream interpretation" reads them (WHATWG HTML, section 9.2.6; MCP "Transports", Streamable HTTP); and, the
//! other way, events spelled in the one way that lenient readers agree on ([`write_event`]). It never looks
//! inside the data of an event, never keeps an event that is longer than the limit, and never scans the bytes
//! of an unfinished line again.

use std::ops::Range;

use mcpf_model::ByteSize;

use crate::framing::{FrameError, PATIENCE, RESTING, head_of};
use crate::text::has_control;

/// One block of an event stream: what stands between two blank lines.
///
/// A block that holds nothing but comments comes out too, for they keep connections alive; a block of nothing
/// but fields that do not count does not. `data`, `id` and `event` are UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The values of the `data` fields, with LF between them. `None` if there is no such field; empty if there is
    /// one and it is empty, as in the events that only prime a client with an id.
    pub data: Option<&'a [u8]>,
    /// The value of the last `id` field of this event without a NUL; others are ignored. An empty one takes
    /// back the id that was said before.
    pub id: Option<&'a [u8]>,
    /// The value of the last `event` field.
    pub event: Option<&'a [u8]>,
    /// The value of the last `retry` field of nothing but ASCII digits, in milliseconds; others, and numbers
    /// beyond 64 bits, are ignored.
    pub retry: Option<u64>,
    /// Whether it holds comments and nothing else that counts.
    pub comment: bool,
}

/// Cuts the bytes of an event stream into events.
///
/// Lines end with LF, CR or CRLF; a byte order mark before the first is passed over. An event that the end of
/// the stream cuts off comes to nothing: drop the framer. Memory is at most twice the limit plus 256 KiB for a
/// caller who pushes at most 128 KiB at once and takes every event before pushing more, up to four times what
/// waits for one who does not; it returns to 256 KiB after a while without big events.
///
/// ```
/// use mcpf_model::ByteSize;
/// use mcpf_wire::SseFramer;
///
/// let mut framer = SseFramer::new(ByteSize::kib(64));
/// framer.push(b": hello\n\nid: 7\r\ndata: {\"a\":\r");
/// let event = framer.next_event().unwrap().unwrap();
/// assert!(event.comment);
/// assert_eq!(framer.next_event(), None);
/// framer.push(b"\ndata:1}\n\n");
/// let event = framer.next_event().unwrap().unwrap();
/// assert_eq!(event.id, Some(&b"7"[..]));
/// assert_eq!(event.data, Some(&b"{\"a\":\n1}"[..]));
/// ```
#[derive(Debug)]
pub struct SseFramer {
    limit: ByteSize,
    /// `block.start <= line <= scanned <= buffer.len()`: taken before, lines of the event before, searched for a
    /// line end before, read.
    buffer: Vec<u8>,
    line: usize,
    scanned: usize,
    block: Block,
    phase: Phase,
    /// Nothing was taken yet: a byte order mark may come.
    fresh: bool,
    /// The last line ended with CR: an LF that comes next belongs to it.
    after_return: bool,
    /// The data of the event, once it has more than one line.
    joined: Vec<u8>,
    /// Calls of `push` since the buffers were last needed at their size.
    idle: u32,
}

/// What becomes of the lines that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// They are read.
    Reading,
    /// They belong to an event that was reported as too large.
    Skipping,
    /// As before, and bytes of the current line were dropped.
    SkippingLine,
}

/// What was read of an event. Ranges count from `start`, so that they outlive compaction.
#[derive(Debug, Default)]
struct Block {
    /// Where the event starts in the buffer.
    start: usize,
    data: Data,
    id: Option<Range<usize>>,
    event: Option<Range<usize>>,
    retry: Option<u64>,
    /// A comment was seen.
    commented: bool,
    /// An `id` or `event` was seen that is not UTF-8.
    garbled: bool,
}

/// Where the data of an event is.
#[derive(Debug, Default)]
enum Data {
    /// There is none.
    #[default]
    None,
    /// One line, left where it is.
    Line(Range<usize>),
    /// In `SseFramer::joined`.
    Joined,
}

impl SseFramer {
    /// A framer whose events hold at most `max_event` bytes: all their lines, comments included, with the line
    /// ends, without the blank line. A message of one line takes up to eight bytes beyond its own; `id`, `event`
    /// and `retry` come on top.
    #[must_use]
    pub fn new(max_event: ByteSize) -> Self {
        Self {
            limit: max_event,
            buffer: Vec::new(),
            line: 0,
            scanned: 0,
            block: Block::default(),
            phase: Phase::Reading,
            fresh: true,
            after_return: false,
            joined: Vec::new(),
            idle: 0,
        }
    }

    /// Copies in what comes next in the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.compact();
        self.give_back(bytes.len());
        append(&mut self.buffer, bytes, self.limit);
    }

    /// The next event, or `None` until more is pushed.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLarge`] once for each event longer than the limit, as soon as it is known; the bytes up to
    /// its end are skipped. [`FrameError::InvalidUtf8`] for an event whose data, id or type is not UTF-8.
    pub fn next_event(&mut self) -> Option<Result<SseEvent<'_>, FrameError>> {
        let block = match self.next_block()? {
            Ok(block) => block,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(SseEvent {
            data: self.data(&block),
            id: block.id.as_ref().map(|id| self.value(&block, id)),
            event: block.event.as_ref().map(|event| self.value(&block, event)),
            retry: block.retry,
            comment: !block.has_field(),
        }))
    }

    /// Reads lines until one ends a block that counts.
    fn next_block(&mut self) -> Option<Result<Block, FrameError>> {
        self.pass_byte_order_mark()?;
        loop {
            self.pass_line_feed();
            let start = self.line;
            let end = self.line_end();
            // How far the event is known to go.
            let reach = match end {
                None => self.scanned,
                Some(end) if end == start => start,
                Some(end) => end.saturating_add(1),
            };
            let size = reach.saturating_sub(self.block.start);
            if self.phase == Phase::Reading && size > self.limit.bytes() {
                return Some(Err(self.refuse(start..end.unwrap_or(reach))));
            }
            let Some(end) = end else {
                self.skip_unfinished();
                return None;
            };
            self.after_return = self.buffer.get(end) == Some(&b'\r');
            self.line = end.saturating_add(1);
            self.scanned = self.line;
            match self.phase {
                Phase::Reading if end > start => self.field(start..end),
                Phase::Reading => {
                    let block = std::mem::replace(&mut self.block, Block::at(self.line));
                    if let Some(outcome) = self.judge(block) {
                        return Some(outcome);
                    }
                }
                phase => {
                    let ends = phase == Phase::Skipping && end == start;
                    self.phase = if ends {
                        Phase::Reading
                    } else {
                        Phase::Skipping
                    };
                    self.block = Block::at(self.line);
                }
            }
        }
    }

    /// Passes over the byte order mark at the very start. `None` while it cannot be told whether there is one.
    fn pass_byte_order_mark(&mut self) -> Option<()> {
        if self.fresh {
            if self.buffer.starts_with(BYTE_ORDER_MARK) {
                self.line = BYTE_ORDER_MARK.len();
                self.scanned = self.line;
                self.block = Block::at(self.line);
            } else if BYTE_ORDER_MARK.starts_with(&self.buffer) {
                return None;
            }
            self.fresh = false;
        }
        Some(())
    }

    /// Passes over the second half of a CRLF.
    fn pass_line_feed(&mut self) {
        let Some(&next) = self.buffer.get(self.line) else {
            return;
        };
        if std::mem::take(&mut self.after_return) && next == b'\n' {
            // Outside of events it belongs to none.
            let between = self.block.start == self.line;
            self.line = self.line.saturating_add(1);
            self.scanned = self.scanned.max(self.line);
            if between {
                self.block.start = self.line;
            }
        }
    }

    /// Where the current line ends, if it does. Bytes that do not end it are not searched again.
    fn line_end(&mut self) -> Option<usize> {
        let unseen = self.buffer.get(self.scanned..).unwrap_or_default();
        let offset = memchr::memchr2(b'\r', b'\n', unseen);
        let seen = offset.unwrap_or(unseen.len());
        self.scanned = self.scanned.saturating_add(seen);
        offset.map(|_| self.scanned)
    }

    /// Drops what is there of a line that is skipped.
    fn skip_unfinished(&mut self) {
        if self.phase != Phase::Reading && self.scanned > self.line {
            self.phase = Phase::SkippingLine;
            self.line = self.scanned;
            self.block = Block::at(self.line);
        }
    }

    /// Reads one line that is not blank.
    fn field(&mut self, line: Range<usize>) {
        let start = self.block.start;
        let bytes = self.buffer.get(line.clone()).unwrap_or_default();
        let (name, value) = split_field(bytes);
        let to = line.end.saturating_sub(start);
        let place = to.saturating_sub(value.len())..to;
        match name {
            b"" => self.block.commented = true,
            b"data" => self.data_line(place),
            b"id" => {
                self.block.garbled |= !is_utf8(value);
                if memchr::memchr(0, value).is_none() {
                    self.block.id = Some(place);
                }
            }
            b"event" => {
                self.block.garbled |= !is_utf8(value);
                self.block.event = Some(place);
            }
            b"retry" => self.block.retry = number(value).or(self.block.retry),
            _ => {}
        }
    }

    /// Adds a line to the data. The first one stays where it is: most events have no other.
    fn data_line(&mut self, place: Range<usize>) {
        let start = self.block.start;
        let bytes = |place: &Range<usize>| {
            let place = start.saturating_add(place.start)..start.saturating_add(place.end);
            self.buffer.get(place).unwrap_or_default()
        };
        match &self.block.data {
            Data::None => {
                self.block.data = Data::Line(place);
                return;
            }
            Data::Line(first) => {
                self.joined.clear();
                append(&mut self.joined, bytes(first), self.limit);
            }
            Data::Joined => {}
        }
        append(&mut self.joined, b"\n", self.limit);
        append(&mut self.joined, bytes(&place), self.limit);
        self.block.data = Data::Joined;
    }

    /// Gives up the event that the given part of a line made too large. The line itself is read again, and skipped.
    fn refuse(&mut self, line: Range<usize>) -> FrameError {
        // Cut at the limit, the head does not depend on how much of the line was pushed.
        let end = self.block.start.saturating_add(self.limit.bytes());
        let line = line.start..line.end.min(end);
        if !line.is_empty() {
            self.field(line);
        }
        let head = head_of(self.data(&self.block).unwrap_or_default());
        self.phase = Phase::Skipping;
        self.scanned = self.line;
        self.block = Block::at(self.line);
        FrameError::TooLarge {
            limit: self.limit,
            head,
        }
    }

    /// What becomes of a block whose end was read. `None` if nothing in it counts.
    fn judge(&self, block: Block) -> Option<Result<Block, FrameError>> {
        let data = self.data(&block);
        if block.garbled || !data.is_none_or(is_utf8) {
            let data = data.unwrap_or_default().into();
            return Some(Err(FrameError::InvalidUtf8 { data }));
        }
        (block.has_field() || block.commented).then_some(Ok(block))
    }

    fn data(&self, block: &Block) -> Option<&[u8]> {
        match &block.data {
            Data::None => None,
            Data::Line(place) => Some(self.value(block, place)),
            Data::Joined => Some(&self.joined),
        }
    }

    fn value(&self, block: &Block, place: &Range<usize>) -> &[u8] {
        let start = block.start.saturating_add(place.start);
        let end = block.start.saturating_add(place.end);
        self.buffer.get(start..end).unwrap_or_default()
    }

    /// Drops what was taken, moving the rest to the front, if that is an unfinished event, which is moved once, or
    /// no more than was taken: so the moves are linear in what was pushed, however little is taken at a time.
    fn compact(&mut self) {
        let taken = self.block.start.min(self.buffer.len());
        let rest = self.buffer.len().saturating_sub(taken);
        let searched = self.scanned == self.buffer.len();
        if taken == 0 || (taken < rest && !searched) {
            return;
        }
        self.buffer.drain(..taken);
        self.line = self.line.saturating_sub(taken);
        self.scanned = self.scanned.saturating_sub(taken);
        self.block.start = 0;
    }

    /// Makes big buffers small after a while in which small ones would have done.
    fn give_back(&mut self, more: usize) {
        let capacity = self.buffer.capacity().max(self.joined.capacity());
        let wanted = self.buffer.len().saturating_add(more);
        if capacity <= RESTING || wanted > RESTING {
            self.idle = 0;
            return;
        }
        self.idle = self.idle.saturating_add(1);
        if self.idle >= PATIENCE {
            if !matches!(self.block.data, Data::Joined) {
                self.joined.clear();
            }
            self.joined.shrink_to(RESTING);
            self.buffer.shrink_to(RESTING);
            self.idle = 0;
        }
    }
}

impl Block {
    /// An event of which nothing was read, from `start` on.
    fn at(start: usize) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// Whether a field was seen that counts.
    fn has_field(&self) -> bool {
        let data = !matches!(self.data, Data::None);
        data || self.id.is_some() || self.event.is_some() || self.retry.is_some()
    }
}

/// Writes an event, with LF line ends and a blank line after it; nothing if there is nothing to write.
///
/// Data of several lines becomes several fields; a CR counts as a line end, though JSON on its way to a peer has
/// none. An `id` or `event` that holds a control character, a line or paragraph separator, or bytes that are not
/// UTF-8 is left out: readers that end lines at more than LF and CR (httpx-sse before 0.4.2, by way of Python's
/// `splitlines`) would take the rest of it for another field.
///
/// ```
/// let mut out = Vec::new();
/// mcpf_wire::write_event(&mut out, Some(b"7"), None, None, Some(b"{}"));
/// assert_eq!(out, b"id: 7\ndata: {}\n\n");
/// ```
pub fn write_event(
    out: &mut Vec<u8>,
    id: Option<&[u8]>,
    event: Option<&[u8]>,
    retry: Option<u64>,
    data: Option<&[u8]>,
) {
    let before = out.len();
    if let Some(id) = id.filter(|id| is_plain(id)) {
        write_field(out, b"id", id);
    }
    if let Some(event) = event.filter(|event| is_plain(event)) {
        write_field(out, b"event", event);
    }
    if let Some(retry) = retry {
        write_field(out, b"retry", retry.to_string().as_bytes());
    }
    let mut rest = data;
    while let Some(text) = rest {
        let (line, after) = split_line(text);
        write_field(out, b"data", line);
        rest = after;
    }
    if out.len() > before {
        out.push(b'\n');
    }
}

/// Writes an empty comment and a blank line: it keeps a connection alive and means nothing.
pub fn write_comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b": \n\n");
}

fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The first line, and what follows its end if it has one.
fn split_line(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some((line, rest)) =
        memchr::memchr2(b'\r', b'\n', text).and_then(|end| text.split_at_checked(end))
    else {
        return (text, None);
    };
    let after = rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..));
    (line, after)
}

/// The name and the value of a field. A comment is a field without a name.
fn split_field(line: &[u8]) -> (&[u8], &[u8]) {
    // Names that count are short: a long line without a colon near its start is not searched for one.
    let front = line.get(..NAME.min(line.len())).unwrap_or_default();
    match memchr::memchr(b':', front).and_then(|colon| line.split_at_checked(colon)) {
        Some((name, rest)) => {
            let value = rest.strip_prefix(b":").unwrap_or_default();
            (name, value.strip_prefix(b" ").unwrap_or(value))
        }
        None => (line, b""),
    }
}

/// The number that is spelled with ASCII digits only.
fn number(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits)?;
    text.parse().ok()
}

fn is_utf8(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok()
}

/// Whether every reader takes `value` for one line.
fn is_plain(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| !has_control(text))
}

/// Appends to a buffer that grows by doubling, so that the copies are linear, but not beyond what an event needs.
fn append(buffer: &mut Vec<u8>, bytes: &[u8], limit: ByteSize) {
    let wanted = buffer.len().saturating_add(bytes.len());
    let most = limit.bytes().saturating_add(RESTING);
    if buffer.capacity() < wanted && wanted <= most {
        let doubled = buffer.capacity().saturating_mul(2).min(most);
        buffer.reserve_exact(wanted.max(doubled).saturating_sub(buffer.len()));
    }
    buffer.extend_from_slice(bytes);
}

/// What may stand before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes in which the colon after a name that counts stands: `event` and `retry` are the longest.
const NAME: usize = 6;

#[cfg(test)]
mod tests {
    use mcpf_model::{Limits, RequestId};

    use super::*;
    use crate::{RefusalCode, Shape};

    type Seen = Result<String, FrameError>;

    /// Events in a short spelling: `id|event|retry|data`, `-` for what is not there, `:` for comments.
    fn events(framer: &mut SseFramer) -> Vec<Seen> {
        let mut out = Vec::new();
        while let Some(next) = framer.next_event() {
            out.push(next.map(|event| {
                let text = |bytes: Option<&[u8]>| {
                    bytes.map_or("-".to_owned(), |b| String::from_utf8(b.to_vec()).unwrap())
                };
                let retry = event.retry.map_or("-".to_owned(), |n| n.to_string());
                let fields = [text(event.id), text(event.event), retry, text(event.data)];
                if event.comment {
                    assert_eq!(fields.join(""), "----");
                    return ":".to_owned();
                }
                fields.join("|")
            }));
        }
        out
    }

    fn read(stream: &[u8]) -> Vec<Seen> {
        let mut framer = SseFramer::new(ByteSize::kib(1));
        framer.push(stream);
        events(&mut framer)
    }

    fn ok(text: &str) -> Seen {
        Ok(text.to_owned())
    }

    #[test]
    fn every_line_end_is_one() {
        for end in ["\n", "\r", "\r\n"] {
            let stream =
                "id: 1#data: a#data: b##event: e#data#retry: 5###data:c##".replace('#', end);
            let whole = read(stream.as_bytes());
            let expected = [ok("1|-|-|a\nb"), ok("-|e|5|"), ok("-|-|-|c")];
            assert_eq!(whole, expected, "{end:?}");
            let mut framer = SseFramer::new(ByteSize::kib(1));
            let mut seen = Vec::new();
            for byte in stream.bytes() {
                framer.push(&[byte]);
                seen.extend(events(&mut framer));
            }
            assert_eq!(seen, expected, "{end:?}");
        }
        assert_eq!(
            read(b"data: a\r\n\rdata: b\n\r\n"),
            [ok("-|-|-|a"), ok("-|-|-|b")]
        );
    }

    #[test]
    fn an_event_that_ends_with_cr_does_not_wait_for_lf() {
        let mut framer = SseFramer::new(ByteSize::kib(1));
        framer.push(b"data: a\r\n\r");
        assert_eq!(events(&mut framer), [ok("-|-|-|a")]);
        framer.push(b"\n");
        assert_eq!(events(&mut framer), []);
        framer.push(b"data: b\n\n");
        assert_eq!(events(&mut framer), [ok("-|-|-|b")]);
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_once() {
        for cut in 0..6 {
            let mut framer = SseFramer::new(ByteSize::kib(1));
            let (now, later) = b"\xef\xbb\xbfdata: a\n\n".split_at(cut);
            framer.push(now);
            assert_eq!(events(&mut framer), []);
            framer.push(later);
            assert_eq!(events(&mut framer), [ok("-|-|-|a")]);
            framer.push(b"\xef\xbb\xbfdata: unknown\nid: 1\n\n");
            assert_eq!(events(&mut framer), [ok("1|-|-|-")]);
        }
        assert_eq!(read(b"\xef\xbbdata: a\nid: 1\n\n"), [ok("1|-|-|-")]);
    }

    #[test]
    fn fields_are_split_at_the_first_colon_less_one_space() {
        for (line, expected) in [
            ("data:a", "-|-|-|a"),
            ("data: a", "-|-|-|a"),
            ("data:  a", "-|-|-| a"),
            ("data:\ta", "-|-|-|\ta"),
            ("data: a: b ", "-|-|-|a: b "),
            ("data", "-|-|-|"),
            ("data:", "-|-|-|"),
            ("data: ", "-|-|-|"),
            ("id", "|-|-|-"),
            ("event", "-||-|-"),
        ] {
            assert_eq!(
                read(format!("{line}\n\n").as_bytes()),
                [ok(expected)],
                "{line}"
            );
        }
        for line in [
            "Data: a",
            " data: a",
            "data : a",
            "dat",
            "datum: a",
            "retry",
            "longer_name: data: a",
        ] {
            assert_eq!(read(format!("{line}\n\n").as_bytes()), [], "{line}");
        }
    }

    #[test]
    fn data_lines_are_joined_and_the_last_of_the_others_counts() {
        let stream = b"data: a\nid: 1\ndata\nevent: e\ndata: b\nid: 2\nevent: f\nretry: 3\ndata:\nretry: 4\n\n";
        assert_eq!(read(stream), [ok("2|f|4|a\n\nb\n")]);
        assert_eq!(
            read(b"data\ndata\n\ndata: a\n\n"),
            [ok("-|-|-|\n"), ok("-|-|-|a")]
        );
    }

    #[test]
    fn priming_events_and_fields_without_data_come_out() {
        assert_eq!(read(b"id: x\ndata:\n\n"), [ok("x|-|-|")]);
        assert_eq!(
            read(b"id: x\n\nretry: 10\n\nevent: ping\n\n"),
            [ok("x|-|-|-"), ok("-|-|10|-"), ok("-|ping|-|-"),]
        );
    }

    #[test]
    fn ids_with_nul_and_odd_retries_are_ignored() {
        assert_eq!(read(b"id: 1\nid: a\0b\ndata: a\n\n"), [ok("1|-|-|a")]);
        assert_eq!(read(b"id: a\0b\n\n"), []);
        for retry in [
            "",
            "-1",
            "+1",
            "1.5",
            "1 ",
            " 1",
            "0x1",
            "\u{661}",
            "18446744073709551616",
        ] {
            let stream = format!("retry: 7\nretry: {retry}\n\n");
            assert_eq!(read(stream.as_bytes()), [ok("-|-|7|-")], "{retry}");
        }
        assert_eq!(
            read(b"retry:18446744073709551615\n\nretry: 007\n\n"),
            [ok("-|-|18446744073709551615|-"), ok("-|-|7|-"),]
        );
    }

    #[test]
    fn comments_alone_come_out_and_blank_lines_do_not() {
        assert_eq!(
            read(b":\n\n: a\r\r\n\n:data: a\nother: b\n\n"),
            vec![ok(":"); 3]
        );
        assert_eq!(read(b": a\ndata: b\n\n"), [ok("-|-|-|b")]);
        assert_eq!(read(b"\n\n\r\rother: b\n\n"), []);
        assert_eq!(read(b": \xff\n\n"), [ok(":")]);
    }

    #[test]
    fn what_the_end_cuts_off_never_comes_out() {
        assert_eq!(read(b"data: a\n\ndata: b\nid: 1\n"), [ok("-|-|-|a")]);
        assert_eq!(read(b"data: a\n\ndata: b"), [ok("-|-|-|a")]);
    }

    #[test]
    fn what_is_not_utf8_is_refused_alone() {
        let garbled = |data: &[u8]| Err(FrameError::InvalidUtf8 { data: data.into() });
        for (stream, data) in [
            (&b"data: a\xff\n\n"[..], &b"a\xff"[..]),
            (b"data: \xc3\ndata: \xa9\n\n", b"\xc3\n\xa9"),
            (b"id: \xff\ndata: a\n\n", b"a"),
            (b"id: \xff\nid: b\n\n", b""),
            (b"event: \xed\xa0\x80\ndata: a\n\n", b"a"),
        ] {
            let stream = [stream, b"data: \xc3\xa9\nother: \xff\n\n"].concat();
            assert_eq!(read(&stream), [garbled(data), ok("-|-|-|\u{e9}")]);
        }
    }

    #[test]
    fn a_refused_event_is_answered_under_its_id() {
        let limits = Limits::default();
        let mut framer = SseFramer::new(ByteSize::kib(1));
        framer.push(b"id: 9\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":41,\ndata: \"result\":{\"t\":\"");
        framer.push(&[b'x'; 4000]);
        let refusal = events(&mut framer).remove(0).unwrap_err().refusal(&limits);
        assert_eq!(refusal.id.known(), Some(&RequestId::Number(41)));
        assert_eq!(
            (refusal.code, refusal.shape),
            (RefusalCode::TooLarge, Shape::Response)
        );

        let long = "x".repeat(400);
        framer.push(b"\n\ndata: {\"jsonrpc\":\"2.0\",\"result\":{\"t\":\"\xff");
        framer.push(format!("{long}\"}},\"id\":42}}\n\n").as_bytes());
        let refusal = events(&mut framer).remove(0).unwrap_err().refusal(&limits);
        assert_eq!(refusal.id.known(), Some(&RequestId::Number(42)));
        assert_eq!(refusal.code, RefusalCode::InvalidUtf8);
    }

    #[test]
    fn the_limit_counts_all_lines_with_their_ends() {
        for (event, fits) in [
            ("data: 123\n", true),
            ("data: 1234\n", false),
            ("data:123\r\n", true),
            ("data: 123\r\n", false),
            (":\nid:1\nid\n", true),
            (":\nid:1\nid:\n", false),
            (":23456789\n", true),
            ("other: 890\n", false),
        ] {
            let mut framer = SseFramer::new(ByteSize(10));
            framer.push(format!("{event}\r\ndata: a\n\n").as_bytes());
            let seen = events(&mut framer);
            assert_eq!(seen[0].is_ok(), fits, "{event:?}");
            assert_eq!(seen[1..], [ok("-|-|-|a")], "{event:?}");
        }
    }

    #[test]
    fn an_oversize_event_is_reported_once_and_not_kept() {
        let mut framer = SseFramer::new(ByteSize::kib(1));
        let mut reported = 0;
        for round in 0..1000 {
            framer.push(b"data: ");
            framer.push(&[b'x'; 10_000]);
            framer.push(if round % 2 == 0 { b"\n" } else { b"\r\n" });
            reported += events(&mut framer).len();
            assert!(framer.buffer.capacity() <= RESTING + 1024);
            assert!(framer.joined.capacity() <= RESTING + 1024);
        }
        assert_eq!(reported, 1);
        framer.push(b"tail");
        assert_eq!(events(&mut framer), []);
        framer.push(b"\ndata: skipped\n\ndata: next\n\n");
        assert_eq!(events(&mut framer), [ok("-|-|-|next")]);
    }

    #[test]
    fn feeding_in_pieces_is_linear_and_big_buffers_are_given_back() {
        let mut framer = SseFramer::new(ByteSize::mib(11));
        framer.push(b"data: ");
        for _ in 0..10 * 1024 {
            framer.push(&[b'x'; 1024]);
            assert!(framer.next_event().is_none());
        }
        for _ in 0..100_000 {
            framer.push(b"y");
            assert!(framer.next_event().is_none());
        }
        framer.push(b"\ndata: z\n\n");
        let event = framer.next_event().unwrap().unwrap();
        assert_eq!(event.data.unwrap().len(), 10 * 1024 * 1024 + 100_000 + 2);
        let most = 11 * 1024 * 1024 + RESTING;
        assert!(framer.buffer.capacity() <= most && framer.joined.capacity() <= most);
        for _ in 0..=PATIENCE {
            framer.push(b"data: z\n\n");
            assert_eq!(events(&mut framer), [ok("-|-|-|z")]);
        }
        assert!(framer.buffer.capacity() <= RESTING && framer.joined.capacity() <= RESTING);
    }

    #[test]
    fn a_backlog_taken_event_by_event_is_linear() {
        let mut framer = SseFramer::new(ByteSize::kib(1));
        framer.push(&b"data: a\n\n".repeat(400_000));
        for _ in 0..400_000 {
            assert_eq!(framer.next_event().unwrap().unwrap().data, Some(&b"a"[..]));
            framer.push(b"\n");
        }
        assert_eq!(framer.next_event(), None);
    }

    #[test]
    fn events_are_written_in_one_spelling() {
        let written = |id: Option<&str>, event: Option<&str>, retry, data: Option<&str>| {
            let mut out = b"before".to_vec();
            let [id, event, data] = [id, event, data].map(|text| text.map(str::as_bytes));
            write_event(&mut out, id, event, retry, data);
            String::from_utf8(out)
                .unwrap()
                .strip_prefix("before")
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            written(Some("1"), Some("message"), Some(5), Some("{}")),
            "id: 1\nevent: message\nretry: 5\ndata: {}\n\n"
        );
        assert_eq!(
            written(Some("x"), None, None, Some("")),
            "id: x\ndata: \n\n"
        );
        assert_eq!(written(Some(""), None, None, None), "id: \n\n");
        assert_eq!(
            written(None, None, None, Some("a\nb\r\nc\rd\n\r")),
            "data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: \n\n"
        );
        assert_eq!(written(None, None, None, None), "");
        for odd in [
            "a\nb",
            "a\rb",
            "a\0b",
            "a\u{b}b",
            "a\u{1e}b",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{2029}b",
        ] {
            assert_eq!(
                written(Some(odd), Some(odd), None, Some("{}")),
                "data: {}\n\n"
            );
            assert_eq!(written(Some(odd), None, None, None), "");
        }
        let mut out = Vec::new();
        write_event(&mut out, Some(b"\xff"), None, None, None);
        write_comment(&mut out);
        assert_eq!(out, b": \n\n");
    }
}
