//! The slow twin of the event framer: all bytes at once, split into lines, the lines into blocks.

use mcpf_model::ByteSize;

use crate::{FrameError, SseEvent, SseFramer, write_event};

/// An event as it came out, kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its data.
    pub data: Option<Vec<u8>>,
    /// Its id.
    pub id: Option<Vec<u8>>,
    /// Its type.
    pub event: Option<Vec<u8>>,
    /// Its reconnection time.
    pub retry: Option<u64>,
    /// Whether it is only comments.
    pub comment: bool,
}

impl From<SseEvent<'_>> for Event {
    fn from(event: SseEvent<'_>) -> Self {
        Self {
            data: event.data.map(<[u8]>::to_vec),
            id: event.id.map(<[u8]>::to_vec),
            event: event.event.map(<[u8]>::to_vec),
            retry: event.retry,
            comment: event.comment,
        }
    }
}

/// An event, or why it was refused.
pub type Outcome = Result<Event, FrameError>;

/// Holds the framer to its twin: in one piece, byte by byte, and cut into pieces as long as
/// `cuts` says, a rest in one piece. What comes out is written and read again.
///
/// # Errors
///
/// What they disagree on.
pub fn check(bytes: &[u8], cuts: &[usize], limit: ByteSize) -> Result<(), String> {
    let slow = slow(bytes, limit);
    let ones = vec![1; bytes.len()];
    for (name, cuts) in [("whole", &[][..]), ("cut", cuts), ("bytes", &ones)] {
        super::same(name, &fast(bytes, cuts, limit), &slow)?;
    }
    slow.into_iter()
        .flatten()
        .filter(|event| !event.comment)
        .try_for_each(|event| survives(&event))
}

/// What the framer makes of `bytes`, given to it in pieces.
#[must_use]
pub fn fast(bytes: &[u8], cuts: &[usize], limit: ByteSize) -> Vec<Outcome> {
    let mut framer = SseFramer::new(limit);
    let mut out = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (now, later) = rest.split_at(cut.min(rest.len()));
        rest = later;
        framer.push(now);
        while let Some(next) = framer.next_event() {
            out.push(next.map(Event::from));
        }
    }
    out
}

/// The same, the plain way.
#[must_use]
pub fn slow(bytes: &[u8], limit: ByteSize) -> Vec<Outcome> {
    let mark = b"\xef\xbb\xbf";
    if mark.starts_with(bytes) {
        return Vec::new();
    }
    let bytes = bytes.strip_prefix(mark).unwrap_or(bytes);
    let mut out = Vec::new();
    let mut block = Vec::new();
    for (line, end) in lines(bytes) {
        if line.is_empty() {
            out.extend(outcome(&block, limit));
            block.clear();
        } else {
            block.extend_from_slice(line);
            block.extend_from_slice(end);
        }
    }
    out.extend(too_large(&block, limit).map(Err));
    out
}

/// Each line, and the bytes that end it: none for a last line without an end.
fn lines(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = rest.iter().take_while(|b| !b"\r\n".contains(b)).count();
        let (line, after) = rest.split_at(length);
        let end = if after.starts_with(b"\r\n") { 2 } else { 1 };
        let (end, after) = after.split_at(end.min(after.len()));
        out.push((line, end));
        rest = after;
    }
    out
}

fn outcome(block: &[u8], limit: ByteSize) -> Option<Outcome> {
    if let Some(error) = too_large(block, limit) {
        return Some(Err(error));
    }
    let fields = fields(block);
    let event = event(&fields);
    let text = |name: &&[u8]| [&b"data"[..], b"id", b"event"].contains(name);
    let garbled = fields
        .iter()
        .any(|(name, value)| text(name) && std::str::from_utf8(value).is_err());
    if garbled {
        let data = event.data.unwrap_or_default().into();
        return Some(Err(FrameError::InvalidUtf8 { data }));
    }
    (event != Event::default()).then_some(Ok(event))
}

fn too_large(block: &[u8], limit: ByteSize) -> Option<FrameError> {
    let (kept, _) = block.split_at_checked(limit.bytes())?;
    (kept.len() < block.len()).then(|| {
        let data = event(&fields(kept)).data.unwrap_or_default();
        FrameError::TooLarge {
            limit,
            head: data.into_iter().take(256).collect(),
        }
    })
}

/// The fields of a block, comments under an empty name.
fn fields(block: &[u8]) -> Vec<(&[u8], &[u8])> {
    lines(block)
        .into_iter()
        .map(|(line, _)| {
            let mut halves = line.splitn(2, |b| *b == b':');
            let name = halves.next().unwrap_or_default();
            let value = halves.next().unwrap_or_default();
            (name, value.strip_prefix(b" ").unwrap_or(value))
        })
        .collect()
}

fn event(fields: &[(&[u8], &[u8])]) -> Event {
    let all = |wanted: &'static [u8]| {
        fields
            .iter()
            .filter(move |(name, _)| *name == wanted)
            .map(|(_, value)| *value)
    };
    let data: Vec<&[u8]> = all(b"data").collect();
    let mut event = Event {
        data: (!data.is_empty()).then(|| data.join(&b'\n')),
        id: all(b"id").rfind(|id| !id.contains(&0)).map(<[u8]>::to_vec),
        event: all(b"event").next_back().map(<[u8]>::to_vec),
        retry: all(b"retry").filter_map(digits).next_back(),
        comment: false,
    };
    event.comment = event == Event::default() && all(b"").count() > 0;
    event
}

fn digits(value: &[u8]) -> Option<u64> {
    let mut number = value.first().map(|_| 0_u64)?;
    for digit in value {
        let digit = char::from(*digit).to_digit(10)?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// An event that is written reads as itself, but for an id or type that some reader would take for two lines.
fn survives(event: &Event) -> Result<(), String> {
    let odd = |c: char| c.is_control() || ('\u{2028}'..='\u{2029}').contains(&c);
    let plain = |value: &Option<Vec<u8>>| {
        let value = value.clone();
        value.filter(|value| !String::from_utf8_lossy(value).contains(odd))
    };
    let expected = Event {
        id: plain(&event.id),
        event: plain(&event.event),
        ..event.clone()
    };
    let mut out = Vec::new();
    write_event(
        &mut out,
        event.id.as_deref(),
        event.event.as_deref(),
        event.retry,
        event.data.as_deref(),
    );
    let expected: Vec<Outcome> = Some(expected)
        .filter(|event| *event != Event::default())
        .map(Ok)
        .into_iter()
        .collect();
    super::same("written", &slow(&out, ByteSize(u32::MAX)), &expected)
}
