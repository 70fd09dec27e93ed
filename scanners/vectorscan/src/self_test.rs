//! Start-up check that the linked library finds what it must.
//!
//! Enters: nothing, or (for tests) another way to make databases. Leaves: the
//! first known match that was not reported. Never says that a build is good,
//! only that it passed; the differential suite says more.
//!
//! Builds of the library were measured to miss plain literals near the end of
//! the buffer, and to miss matches in mid-buffer, depending on alignment. So
//! each known text is looked for at every alignment of a cache line, at the
//! very end of the data and before a tail, in one piece and cut in two.

use std::path::Path;

use crate::cache::{load_or_compile, load_or_compile_literals};
use crate::database::Database;
use crate::error::{CompileError, ScanError};
use crate::pattern::{Ext, Flags, Literal, Mode, Pattern};
use crate::relay::Flow;
use crate::scratch::Scratch;
use crate::stream::StreamScanner;

/// Why the linked library must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelfTestError {
    /// Known patterns did not compile.
    #[error("a known pattern did not compile: {}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Compile(Vec<CompileError>),
    /// A scan failed.
    #[error("a scan of known data failed: {0}")]
    Scan(#[from] ScanError),
    /// A known match was not reported.
    #[error(
        "the pattern matcher missed `{expression}` at offset {offset} of {length} bytes ({how})"
    )]
    Missed {
        /// The pattern.
        expression: &'static str,
        /// Where its text starts.
        offset: usize,
        /// Length of the data.
        length: usize,
        /// Kind of scan: `block`, `literal` or `stream`.
        how: &'static str,
    },
}

/// A pattern and a text it matches from first byte to last.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The pattern.
    pub expression: &'static str,
    /// Its flags.
    pub flags: Flags,
    /// The text.
    pub text: &'static [u8],
}

const fn known(expression: &'static str, text: &'static [u8]) -> Known {
    Known {
        expression,
        flags: Flags::NONE,
        text,
    }
}

const fn caseless(expression: &'static str, text: &'static [u8]) -> Known {
    Known {
        expression,
        flags: Flags::CASELESS,
        text,
    }
}

/// Expressions for the regular-expression compiler: each engine of the library has some.
const EXPRESSIONS: &[Known] = &[
    known("ab", b"ab"),
    known("xyz", b"xyz"),
    known("AKIA", b"AKIA"),
    known("needle", b"needle"),
    known("eightlng", b"eightlng"),
    known(
        "-----BEGIN PRIVATE KEY-----",
        b"-----BEGIN PRIVATE KEY-----",
    ),
    caseless("ignore previous", b"iGnOrE pReViOuS"),
    caseless("password", b"PassWord"),
    known("AKIA[0-9A-Z]{16}", b"AKIA0123456789ABCDEF"),
    known("ghp_[0-9A-Za-z]{20}", b"ghp_0123456789abcdefGHIJ"),
    known(r"\bsk-[a-z0-9]{8,24}\b", b"sk-abcdefgh12345678"),
    known("colou?r=(?:red|green|blue)", b"color=green"),
    known("a[bc]{2,5}d", b"abcbcd"),
    known("q.{0,12}zq", b"q0123456789zq"),
    caseless("(?:curl|wget) {1,4}https?://", b"CURL  https://"),
    known(r"\xff\xfe\x00\x01", b"\xff\xfe\x00\x01"),
    known("[0-9]{3}-[0-9]{2}-[0-9]{4}", b"123-45-6789"),
    known(r"tail\b", b"tail"),
];

/// Plain strings for the literal compiler.
const LITERALS: &[Known] = &[
    known("k", b"k"),
    known("qj", b"qj"),
    known("evil.example", b"evil.example"),
    caseless("bad.example", b"BAD.exAmple"),
    known(
        "literal-of-a-good-length-indeed",
        b"literal-of-a-good-length-indeed",
    ),
];

/// Alignments tried: one cache line, the widest step of any engine.
const ALIGNMENTS: usize = 64;
/// Bytes behind the text: none, less than a step, and more than one.
const TAILS: [usize; 4] = [0, 1, 7, 70];
/// What is around the text; no known text has this byte, and it ends a word.
const FILLER: u8 = b'~';

/// Checks the linked library. Run it once at start-up and refuse to work on an error.
///
/// The scans take a few milliseconds. Compiling what they look for takes 20 to 30 more, unless
/// `cache`, the directory of [`load_or_compile`], has it already.
///
/// # Errors
/// The first thing that went wrong, see [`SelfTestError`].
pub fn self_test(cache: Option<&Path>) -> Result<(), SelfTestError> {
    self_test_with(|known, kind| {
        let loaded = match kind {
            Kind::Block => load_or_compile(cache, &patterns(known), Mode::Block),
            Kind::Stream => load_or_compile(cache, &patterns(known), Mode::Stream),
            Kind::Literal => load_or_compile_literals(cache, &literals(known), b"", Mode::Block),
        };
        loaded.map(|loaded| loaded.database)
    })
}

/// The kinds of database the self-test asks for.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Expressions, block mode.
    Block,
    /// Expressions, stream mode.
    Stream,
    /// Literals, block mode.
    Literal,
}

/// [`self_test`] with another maker of databases, so that a test can hand in a broken one.
///
/// # Errors
/// As for [`self_test`].
#[doc(hidden)]
pub fn self_test_with(
    make: impl Fn(&[Known], Kind) -> Result<Database, Vec<CompileError>>,
) -> Result<(), SelfTestError> {
    let build = |known: &[Known], kind| make(known, kind).map_err(SelfTestError::Compile);
    check_block(&build(EXPRESSIONS, Kind::Block)?, EXPRESSIONS, "block")?;
    check_block(&build(LITERALS, Kind::Literal)?, LITERALS, "literal")?;
    check_stream(&build(EXPRESSIONS, Kind::Stream)?, EXPRESSIONS)
}

/// Patterns with their place in `known` as id.
#[doc(hidden)]
#[must_use]
pub fn patterns(known: &[Known]) -> Vec<Pattern<'static>> {
    (0..)
        .zip(known)
        .map(|(id, known)| Pattern {
            expression: known.expression,
            id,
            flags: known.flags,
            ext: Ext::default(),
        })
        .collect()
}

/// Literals with their place in `known` as id.
#[doc(hidden)]
#[must_use]
pub fn literals(known: &[Known]) -> Vec<Literal<'static>> {
    (0..)
        .zip(known)
        .map(|(id, known)| Literal {
            bytes: known.text,
            id,
            flags: known.flags,
        })
        .collect()
}

/// The known text in filler, `offset` bytes from the start, with a tail.
fn place(buffer: &mut Vec<u8>, text: &[u8], offset: usize, tail: usize) {
    buffer.clear();
    buffer.resize(offset, FILLER);
    buffer.extend_from_slice(text);
    buffer.resize(offset + text.len() + tail, FILLER);
}

fn check_block(
    database: &Database,
    known: &[Known],
    how: &'static str,
) -> Result<(), SelfTestError> {
    let mut scratch = Scratch::new(&[database])?;
    let mut buffer = Vec::with_capacity(512);
    for (id, known) in (0..).zip(known) {
        for offset in 0..ALIGNMENTS {
            for tail in TAILS {
                place(&mut buffer, known.text, offset, tail);
                let end = offset + known.text.len();
                let mut found = false;
                let _ = database.scan(&buffer, &mut scratch, |seen, at| {
                    found |= (seen, at) == (id, end);
                    if found { Flow::Stop } else { Flow::Continue }
                })?;
                if !found {
                    return Err(missed(known, offset, buffer.len(), how));
                }
            }
        }
    }
    Ok(())
}

fn check_stream(database: &Database, known: &[Known]) -> Result<(), SelfTestError> {
    let mut scratch = Scratch::new(&[database])?;
    let mut stream = StreamScanner::open(database)?;
    let mut buffer = Vec::with_capacity(512);
    for (id, known) in (0..).zip(known) {
        for offset in 0..ALIGNMENTS {
            let tail = if offset % 2 == 0 { 0 } else { 9 };
            place(&mut buffer, known.text, offset, tail);
            // The cut wanders through the text as the alignment grows.
            let cut = offset + 1 + offset % known.text.len();
            let (head, rest) = buffer.split_at(cut.min(buffer.len()));
            let end = u64::try_from(offset + known.text.len()).unwrap_or(u64::MAX);
            let mut found = false;
            let mut note = |seen, at| {
                found |= (seen, at) == (id, end);
                Flow::Continue
            };
            let _ = stream.write(&mut scratch, head, &mut note)?;
            let _ = stream.write(&mut scratch, rest, &mut note)?;
            let _ = stream.reset(&mut scratch, &mut note)?;
            if !found {
                return Err(missed(known, offset, buffer.len(), "stream"));
            }
        }
    }
    Ok(())
}

fn missed(known: &Known, offset: usize, length: usize, how: &'static str) -> SelfTestError {
    SelfTestError::Missed {
        expression: known.expression,
        offset,
        length,
        how,
    }
}
