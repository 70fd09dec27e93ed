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
use crate::respell;
use crate::value::Doc;

/// Reads frames, one at a time. Belongs to one worker.
///
/// Memory is about twelve times the largest frame of recent times: its copy, its structural positions, and 36
/// bytes for each value in it (at most `Limits::max_nodes`). It is given back after a while without big frames.
pub struct Parser {
    limits: Limits,
    copy: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
    marks: Vec<Mark>,
    open: Vec<u32>,
    keys: KeyCheck,
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
            edits,
        } = self.tree(frame)?;
        edits.clear();
        let checked = if doc.value(0).is_array() {
            Err(RefusalCode::Batch)
        } else {
            keys.unique(&doc.nodes)
                .and_then(|()| respell::line_breaks(frame, edits))
                .and_then(|()| respell::separators(frame, edits))
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
    edits: &'a mut Vec<Edit>,
}

/// Size of a buffer, in bytes or entries, that is kept for good.
const RESTING: usize = 256 * 1024;
/// Small frames after which big buffers are given back.
const PATIENCE: u32 = 64;

/// Whether a frame has more tokens than `nodes` values can need, so that no tape is allocated for it.
///
/// A valid frame of n values has at most 2n-1 of these bytes outside its strings. A frame with few of them in
/// all is soon let go; only one with many is walked string by string.
fn too_many_tokens(frame: &[u8], nodes: usize) -> bool {
    let opens = |b: &u8| matches!(b, b',' | b':' | b'[' | b'{');
    let most = nodes.saturating_mul(2);
    if frame.len() <= most || frame.iter().filter(|b| opens(b)).count() < most {
        return false;
    }
    let mut tokens = 0_usize;
    let mut rest = frame;
    // Outside of strings count, inside skip.
    while let Some(quote) = memchr::memchr(b'"', rest) {
        let (outside, string) = rest.split_at(quote);
        tokens = tokens.saturating_add(outside.iter().filter(|b| opens(b)).count());
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
    tokens.saturating_add(rest.iter().filter(|b| opens(b)).count()) >= most
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

/// Whether what stands at `at` is spelled like a JSON number (RFC 8259, section 6).
fn is_number(frame: &[u8], at: usize) -> bool {
    let rest = frame.get(at..).unwrap_or_default();
    let end = rest
        .iter()
        .position(|b| !matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let token = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let unsigned = token.strip_prefix(b"-").unwrap_or(token);
    let mut mantissa_exponent = unsigned.splitn(2, |b| matches!(b, b'e' | b'E'));
    let mantissa = mantissa_exponent.next().unwrap_or_default();
    let exponent = mantissa_exponent.next();
    let mut whole_fraction = mantissa.splitn(2, |b| *b == b'.');
    let whole = whole_fraction.next().unwrap_or_default();
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with(b"0"))
        && whole_fraction.next().is_none_or(digits)
        && exponent.is_none_or(|e| {
            digits(
                e.strip_prefix(b"+")
                    .or_else(|| e.strip_prefix(b"-"))
                    .unwrap_or(e),
            )
        })
}
