//! A stream of events from the server, and where to take it up again.
//!
//! Enter: an answer's body. Leave: the messages in it, one by one. Never: more than one event in memory,
//! beside what hyper has read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use mcpf_model::{ByteSize, Limits};
use mcpf_wire::{FrameError, SseFramer};

use super::options::Retry;
use super::wire::Line;
use crate::{body, fields};

/// Bytes that the other fields of an event may take beside a message of full size. 4 KiB.
const EVENT_FIELDS: u32 = 4 * 1_024;

/// Most that hyper gives at once is cut into pieces of this size for the framer. 64 KiB.
const PIECE: usize = 64 * 1_024;

/// The shortest wait before a stream is taken up again, even if the server says 0.
const SHORTEST: Duration = Duration::from_millis(10);

/// A connection that held so long was worth it, even if it brought nothing.
const WORTHWHILE: Duration = Duration::from_secs(1);

/// What to tell the server when a stream is taken up again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor {
    last: Option<HeaderValue>,
    retry: Option<Duration>,
    /// Attempts in a row that brought nothing.
    in_vain: u32,
}

impl Cursor {
    pub(crate) const fn last(&self) -> Option<&HeaderValue> {
        self.last.as_ref()
    }

    pub(crate) fn failed(&mut self) {
        self.in_vain = self.in_vain.saturating_add(1);
    }

    /// How long to wait before the next attempt, or `None` if there were enough.
    pub(crate) fn wait(&self, retry: &Retry) -> Option<Duration> {
        if self.in_vain >= retry.attempts {
            return None;
        }
        let first = self.retry.unwrap_or(retry.first);
        let wait = first.saturating_mul(1 << self.in_vain.min(16));
        Some(wait.max(SHORTEST).min(retry.longest))
    }
}

/// One message of a stream.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) data: Bytes,
    pub(crate) is_endpoint: bool,
}

/// A stream that is being read.
pub(crate) struct Events {
    incoming: Incoming,
    line: Line,
    framer: SseFramer,
    /// What hyper gave beyond the piece that is being cut into events.
    rest: Bytes,
    since: Instant,
    is_fruitful: bool,
}

impl Events {
    pub(crate) fn new(incoming: Incoming, line: Line, limits: &Limits) -> Self {
        let longest = limits.max_frame.0.saturating_add(EVENT_FIELDS);
        Self {
            incoming,
            line,
            framer: SseFramer::new(ByteSize(longest)),
            rest: Bytes::new(),
            since: Instant::now(),
            is_fruitful: false,
        }
    }

    /// The next message, or `None` when the stream has ended or broken. To be dropped at any time.
    pub(crate) async fn next(&mut self, cursor: &mut Cursor) -> Option<Result<Event, FrameError>> {
        loop {
            while let Some(event) = self.framer.next_event() {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => return Some(Err(error)),
                };
                if event.comment {
                    continue;
                }
                self.is_fruitful = true;
                cursor.in_vain = 0;
                if let Some(id) = event.id {
                    cursor.last = fields::event_id(id);
                }
                if let Some(retry) = event.retry {
                    cursor.retry = Some(Duration::from_millis(retry));
                }
                let is_endpoint = event.event == Some(b"endpoint");
                let is_message = event.event.is_none_or(|kind| kind == b"message");
                // Without data it only moves the cursor.
                if let Some(data) = event.data.filter(|data| !data.is_empty())
                    && (is_message || is_endpoint)
                {
                    return Some(Ok(Event {
                        data: Bytes::copy_from_slice(data),
                        is_endpoint,
                    }));
                }
            }
            if self.rest.is_empty() {
                let frame = body::next(&mut self.incoming).await?;
                if let Ok(data) = frame.ok()?.into_data() {
                    self.rest = data;
                }
            }
            let piece = self.rest.split_to(self.rest.len().min(PIECE));
            self.framer.push(&piece);
        }
    }

    /// The stream has ended: whether it was worth another attempt.
    pub(crate) fn ended(&self, cursor: &mut Cursor) {
        if !self.is_fruitful && self.since.elapsed() < WORTHWHILE {
            cursor.failed();
        }
    }

    /// The connection, once everything was read.
    pub(crate) fn into_line(self) -> Line {
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let retry = Retry {
            attempts: 3,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(3),
        };
        let mut cursor = Cursor::default();
        let mut waits = Vec::new();
        while let Some(wait) = cursor.wait(&retry) {
            waits.push(wait.as_secs());
            cursor.failed();
        }
        assert_eq!(waits, [1, 2, 3]);
        let cursor = Cursor {
            retry: Some(Duration::ZERO),
            ..Cursor::default()
        };
        assert_eq!(cursor.wait(&retry), Some(SHORTEST));
    }
}
