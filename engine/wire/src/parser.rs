//! From a frame to a message.
//!
//! What enters: the bytes of one frame. What leaves: a [`Message`], or a [`Refusal`]. Every buffer is reused;
//! after warm-up a message without edits is read without an allocation. It never keeps a frame.

use mcpf_model::{Limits, Span};
use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape};

use crate::edit::Edit;
use crate::envelope;
use crate::keys::KeyCheck;
use crate::marks::{Mark, locate};
use crate::message::Message;
use crate::refusal::{Refusal, RefusalCode};
use crate::rescue;
use crate::respell::{self, Separators};
use crate::value::Doc;

/// Reads frames, one at a time. Belongs to one worker.
///
/// Memory follows the largest frame of recent times: two copies, 28 bytes for each structural character (a value
/// has at most three) and 12 for each value, of which there are at most `Limits::max_nodes`. A frame of bare words
/// instead of JSON can have address space reserved for it, 12 times its length, that is never touched. All of it
/// is given back after a while without big frames.
pub struct Parser {
    limits: Limits,
    copy: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
    marks: Vec<Mark>,
    open: Vec<u32>,
    keys: KeyCheck,
    separators: Separators,
    edits: Vec<Edit>,
    /// Small frames since the last big one.
    idle: u32,
}

impl Parser {
    /// A parser that holds every frame to `limits`.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            copy: Vec::new(),
            buffers: Buffers::with_max_depth(0, usize::from(limits.max_depth)),
            tape: Tape(Vec::new()),
            marks: Vec::new(),
            open: Vec::new(),
            keys: KeyCheck::default(),
            separators: Separators::new(),
            edits: Vec::new(),
            idle: 0,
        }
    }

    /// Reads one frame as one message.
    ///
    /// Linear in the frame, but for n log n in the keys of one object.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that names the first rule found broken.
    pub fn parse<'a>(&'a mut self, frame: &'a [u8]) -> Result<Message<'a>, Refusal> {
        let limits = self.limits;
        self.read(frame)
            .map_err(|code| rescue::refuse(code, frame, &limits))
    }

    /// Whether a frame is a batch, if it is anything: its first value is an array.
    #[must_use]
    pub fn is_batch(frame: &[u8]) -> bool {
        frame.iter().find(|b| !crate::text::is_space(**b)) == Some(&b'[')
    }

    /// Puts the spans of a batch's elements into `elements`, each then to be parsed as a frame of its own.
    ///
    /// Only for peers that negotiated revision 2025-03-26; for others [`parse`](Self::parse) refuses an array.
    /// The nesting of an element counts from the batch.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if the frame is not a JSON array of 1 to `Limits::max_in_flight` elements.
    pub fn split_batch(&mut self, frame: &[u8], elements: &mut Vec<Span>) -> Result<(), Refusal> {
        elements.clear();
        let limits = self.limits;
        let refuse = |code| rescue::refuse(code, frame, &limits);
        let Tree { doc, home, .. } = self.tree(frame).map_err(refuse)?;
        let root = doc.value(0);
        let checked = if !root.is_array() {
            Err(RefusalCode::NotAnObject)
        } else if root.is_empty() {
            Err(RefusalCode::EmptyBatch)
        } else if root.len() > limits.max_in_flight as usize {
            Err(RefusalCode::BatchTooLong)
        } else {
            elements.extend(root.elements().map(crate::value::Value::span));
            Ok(())
        };
        *home = Tape(doc.nodes).reset();
        checked.map_err(refuse)
    }

    fn read<'a>(&'a mut self, frame: &'a [u8]) -> Result<Message<'a>, RefusalCode> {
        let limits = self.limits;
        let Tree {
            doc,
            home,
            keys,
            separators,
            edits,
        } = self.tree(frame)?;
        edits.clear();
        let checked = if doc.value(0).is_array() {
            Err(RefusalCode::Batch)
        } else {
            keys.unique(&doc.nodes)
                .and_then(|()| respell::line_breaks(frame, edits))
                .and_then(|()| separators.escape(frame, edits))
                .and_then(|()| envelope::read(&doc, &limits, edits))
        };
        match checked {
            Ok(envelope) => {
                respell::settle(edits);
                Ok(Message {
                    doc,
                    envelope,
                    edits,
                    home,
                })
            }
            Err(code) => {
                *home = Tape(doc.nodes).reset();
                Err(code)
            }
        }
    }

    /// Builds the tape and the marks of a frame.
    fn tree<'a>(&'a mut self, frame: &'a [u8]) -> Result<Tree<'a>, RefusalCode> {
        if frame.len() > self.limits.max_frame.bytes() {
            return Err(RefusalCode::TooLarge);
        }
        let most = self.limits.max_nodes as usize;
        if too_many_tokens(frame, most) {
            return Err(RefusalCode::TooManyNodes);
        }
        self.relax(frame.len());
        let Self {
            limits,
            copy,
            buffers,
            tape: home,
            marks,
            open,
            keys,
            separators,
            edits,
            ..
        } = self;
        copy.clear();
        copy.extend_from_slice(frame);
        copy.resize(frame.len().saturating_add(INPUT_PADDING), b' ');
        let mut tape: Tape<'a> = std::mem::replace(home, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape_padded(copy, frame.len(), buffers, &mut tape);
        let checked = match parsed {
            Err(error) => Err(why(frame, &error, limits)),
            Ok(()) if tape.0.len() > most => Err(RefusalCode::TooManyNodes),
            Ok(()) => locate(frame, buffers.structural_indexes(), marks, open)
                .filter(|()| marks.len() == tape.0.len())
                .ok_or(RefusalCode::NotJson),
        };
        match checked {
            Ok(()) => Ok(Tree {
                doc: Doc {
                    frame,
                    nodes: tape.0,
                    marks,
                },
                home,
                keys,
                separators,
                edits,
            }),
            Err(code) => {
                *home = tape.reset();
                Err(code)
            }
        }
    }

    /// Gives big buffers back after a while without big frames.
    fn relax(&mut self, len: usize) {
        let held = self
            .copy
            .capacity()
            .max(self.tape.0.capacity())
            .max(self.keys.capacity())
            .max(self.edits.capacity());
        if held <= RESTING || len > RESTING / 2 {
            self.idle = 0;
            return;
        }
        self.idle = self.idle.saturating_add(1);
        if self.idle >= PATIENCE {
            *self = Self::new(&self.limits);
        }
    }
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parser")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A parsed frame with the parts of the parser that the rest of the way needs.
struct Tree<'a> {
    doc: Doc<'a>,
    home: &'a mut Tape<'static>,
    keys: &'a mut KeyCheck,
    separators: &'a Separators,
    edits: &'a mut Vec<Edit>,
}

/// Size of a buffer, in bytes or entries, that is kept for good.
const RESTING: usize = 256 * 1024;
/// Small frames after which big buffers are given back.
const PATIENCE: u32 = 64;

/// Whether a frame has more tokens than `nodes` values can need, so that no tape is allocated for it.
///
/// A valid frame of n values has at most 2n-1 commas, colons and opening brackets outside its strings. A frame
/// with few of them in all is soon let go; only one with many is walked string by string.
fn too_many_tokens(frame: &[u8], nodes: usize) -> bool {
    let most = nodes.saturating_mul(2);
    if frame.len() <= most || count_tokens(frame) < most {
        return false;
    }
    let mut tokens = 0_usize;
    let mut rest = frame;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        let (outside, string) = rest.split_at(quote);
        tokens = tokens.saturating_add(count_tokens(outside));
        let mut at = 1_usize;
        while let Some(n) = string
            .get(at..)
            .and_then(|inside| memchr::memchr2(b'"', b'\\', inside))
        {
            at = at.saturating_add(n);
            if string.get(at) == Some(&b'"') {
                break;
            }
            at = at.saturating_add(2);
        }
        rest = string.get(at.saturating_add(1)..).unwrap_or_default();
    }
    tokens.saturating_add(count_tokens(rest)) >= most
}

/// How many commas, colons and opening brackets there are.
fn count_tokens(bytes: &[u8]) -> usize {
    // Counted in bytes, chunk by chunk, so that the compiler can do many at a time. `[` and `{` differ in one bit.
    let is_token = |b: u8| u8::from(b == b',') | u8::from(b == b':') | u8::from(b | 0x20 == b'{');
    let in_chunk = |chunk: &[u8]| chunk.iter().fold(0_u8, |n, b| n.wrapping_add(is_token(*b)));
    bytes
        .chunks(128)
        .map(|chunk| usize::from(in_chunk(chunk)))
        .sum()
}

/// The rule that a frame breaks which did not parse.
fn why(frame: &[u8], error: &simd_json::Error, limits: &Limits) -> RefusalCode {
    if frame.starts_with(b"\xef\xbb\xbf") {
        return RefusalCode::ByteOrderMark;
    }
    if std::str::from_utf8(frame).is_err() {
        return RefusalCode::InvalidUtf8;
    }
    match error.error() {
        ErrorType::DepthLimitExceeded => return RefusalCode::TooDeep,
        ErrorType::InvalidEscape | ErrorType::InvalidUnicodeCodepoint => {
            return RefusalCode::InvalidEscape;
        }
        ErrorType::InvalidNumber if is_number(frame, error.index()) => {
            return RefusalCode::NonFiniteNumber;
        }
        _ => {}
    }
    if frame
        .iter()
        .any(|b| *b < 0x20 && !matches!(b, b'\t' | b'\r' | b'\n'))
    {
        return RefusalCode::ControlCharacter;
    }
    let at = frame.get(error.index()..).unwrap_or_default();
    let word = at.strip_prefix(b"-").unwrap_or(at);
    if word.starts_with(b"NaN") || word.starts_with(b"Infinity") {
        return RefusalCode::NonFiniteNumber;
    }
    if rescue::has_trailing(frame, limits) {
        return RefusalCode::TrailingData;
    }
    RefusalCode::NotJson
}

/// Whether the token around `at` is spelled like a JSON number (RFC 8259, section 6).
fn is_number(frame: &[u8], at: usize) -> bool {
    let part = |b: &u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let (before, after) = frame.split_at(at.min(frame.len()));
    let back = before.iter().rev().take_while(|b| part(b)).count();
    let start = before.len().saturating_sub(back);
    let end = before
        .len()
        .saturating_add(after.iter().take_while(|b| part(b)).count());
    let token = frame.get(start..end).unwrap_or_default();
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let unsigned = token.strip_prefix(b"-").unwrap_or(token);
    let mut parts = unsigned.splitn(2, |b| matches!(b, b'e' | b'E'));
    let mantissa = parts.next().unwrap_or_default();
    let exponent = parts.next();
    let mut parts = mantissa.splitn(2, |b| *b == b'.');
    let whole = parts.next().unwrap_or_default();
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with(b"0"))
        && parts.next().is_none_or(digits)
        && exponent.is_none_or(|e| {
            digits(
                e.strip_prefix(b"+")
                    .or_else(|| e.strip_prefix(b"-"))
                    .unwrap_or(e),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_what_looks_like_them() {
        for good in [
            "0",
            "-1",
            "10.50",
            "1e400",
            "-1E-7",
            "123456789012345678901234567890",
        ] {
            assert!(
                (0..=good.len()).all(|at| is_number(good.as_bytes(), at)),
                "{good}"
            );
        }
        for bad in [
            "", "01", "1.", ".5", "-", "+1", "1e", "1e+", "--1", "1.2.3", "1e5e5",
        ] {
            assert!(!is_number(bad.as_bytes(), 0), "{bad}");
        }
    }

    #[test]
    fn valid_frames_within_the_limit_are_never_refused_for_their_tokens() {
        // The most tokens a value can bring: an empty container in an array.
        for (frame, nodes) in [
            ("[[],[],[],[]]", 5),
            (r#"{"a":{},"b":{}}"#, 5),
            (r#"["a,b:[{","\\",",,\",,"]"#, 4),
        ] {
            assert!(!too_many_tokens(frame.as_bytes(), nodes), "{frame}");
        }
        assert!(too_many_tokens(b"[0,0,0,0,0,0,0,0,0,0]", 4));
    }

    #[test]
    fn batches_are_split_when_asked_for() {
        let limits = Limits {
            max_in_flight: 3,
            ..Limits::default()
        };
        let mut parser = Parser::new(&limits);
        let mut spans = Vec::new();
        let frame =
            br#" [ {"jsonrpc":"2.0","id":1,"method":"ping"} ,7,{"jsonrpc":"2.0","method":"x"}] "#;
        assert!(Parser::is_batch(frame));
        parser.split_batch(frame, &mut spans).unwrap();
        let elements: Vec<&[u8]> = spans.iter().map(|span| &frame[span.range()]).collect();
        let expected: [&[u8]; 3] = [
            br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            b"7",
            br#"{"jsonrpc":"2.0","method":"x"}"#,
        ];
        assert_eq!(elements, expected);
        assert_eq!(parser.parse(elements[0]).unwrap().method(), Some("ping"));
        assert_eq!(
            parser.parse(elements[1]).unwrap_err().code,
            RefusalCode::NotAnObject
        );
        let mut code = |frame: &[u8]| parser.split_batch(frame, &mut Vec::new()).unwrap_err().code;
        assert_eq!(code(b"[]"), RefusalCode::EmptyBatch);
        assert_eq!(code(b"[1,2,3,4]"), RefusalCode::BatchTooLong);
        assert_eq!(code(b"{}"), RefusalCode::NotAnObject);
        assert_eq!(code(b"[1,]"), RefusalCode::NotJson);
    }

    #[test]
    fn buffers_are_kept_while_needed_and_given_back_after() {
        let mut parser = Parser::new(&Limits::default());
        let small = br#"{"jsonrpc":"2.0","method":"x"}"#;
        let text = "x".repeat(3_000_000);
        let big = format!(r#"{{"jsonrpc":"2.0","method":"x","params":{{"a":"{text}"}}}}"#);
        assert!(parser.parse(small).is_ok());
        let nodes = parser.tape.0.capacity();
        assert!(nodes > 0);
        assert!(parser.parse(small).is_ok());
        assert_eq!(parser.tape.0.capacity(), nodes);
        assert!(parser.parse(big.as_bytes()).is_ok());
        assert!(parser.copy.capacity() > 3_000_000);
        for _ in 0..=PATIENCE {
            assert!(parser.parse(small).is_ok());
        }
        assert!(parser.copy.capacity() < RESTING);
    }

    #[test]
    fn too_many_respellings_are_refused() {
        let text = "\u{2028}".repeat(respell::MAX_EDITS + 1);
        let frame = format!(r#"{{"jsonrpc":"2.0","method":"x","params":{{"a":"{text}"}}}}"#);
        let refusal = Parser::new(&Limits::default())
            .parse(frame.as_bytes())
            .unwrap_err();
        assert_eq!(refusal.code, RefusalCode::TooManyEdits);
    }
}
