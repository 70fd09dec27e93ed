//! The scan room, its yardstick and its naive twin.

use mcpf_model::{Finding, Limits, Span, Surface};
use mcpf_scan::{Engine, ScanError, Scratch, Text};
use mcpf_vectorscan::{Database, Flow};
use regex::bytes::RegexSet;

use crate::definition::{Count, TooMany};
use crate::work::{Observation, Turns, Work};

/// Bytes of a small text: about what a key or a short value takes.
const PIECE: usize = 15;

/// `text` cut at character boundaries into pieces of [`PIECE`] bytes or a little more.
pub(crate) fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let cut = (PIECE..rest.len()).find(|at| rest.is_char_boundary(*at));
        let (piece, more) = rest.split_at(cut.unwrap_or(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

fn span(start: usize, end: usize) -> Result<Span, String> {
    match (u32::try_from(start), u32::try_from(end)) {
        (Ok(start), Ok(end)) => Ok(Span { start, end }),
        _ => Err("the haystack is too large".to_owned()),
    }
}

/// Texts laid out in a frame that is an array of strings.
pub(crate) struct Laid {
    frame: String,
    texts: Vec<(String, Span)>,
}

impl Laid {
    pub(crate) fn out(pieces: &[&str]) -> Result<Self, String> {
        let mut frame = String::from("[");
        let mut texts = Vec::new();
        for piece in pieces {
            frame.push('"');
            let start = frame.len();
            crate::frame::escape(piece, &mut frame);
            texts.push(((*piece).to_owned(), span(start, frame.len())?));
            frame.push_str("\",");
        }
        frame.pop();
        frame.push(']');
        Ok(Self { frame, texts })
    }
}

/// The shipped rules over texts.
pub(crate) struct Rules<'f> {
    engine: &'f Engine,
    scratch: Scratch,
    findings: Vec<Finding>,
    limits: Limits,
    laid: Turns<Laid>,
}

impl<'f> Rules<'f> {
    pub(crate) fn new(engine: &'f Engine, laid: Turns<Laid>) -> Result<Self, String> {
        Ok(Self {
            engine,
            scratch: engine.new_scratch().map_err(|error| error.to_string())?,
            findings: Vec::new(),
            limits: Limits::default(),
            laid,
        })
    }
}

impl Work for Rules<'_> {
    fn before(&mut self) {
        self.laid.turn();
    }

    fn run(&mut self) -> Observation {
        let Some(laid) = self.laid.now() else {
            return Observation::of(0);
        };
        let texts = laid.texts.iter().map(|(text, raw)| Text {
            text,
            raw: *raw,
            surface: Surface::ToolResult,
        });
        let scanned = self.engine.scan(
            laid.frame.as_bytes(),
            texts,
            &self.limits,
            &mut self.scratch,
            &mut self.findings,
        );
        match scanned {
            Ok(_) => Observation::of(self.findings.len()),
            Err(ScanError::TooManyFindings { .. }) => Observation {
                count: Count::TooMany(TooMany::TooMany),
                verdict: None,
            },
            Err(_) => Observation {
                verdict: Some("scan failed"),
                ..Observation::of(0)
            },
        }
    }

    fn seen(&self) -> Vec<String> {
        let told = self.findings.iter().take(8).map(|finding| {
            let laid = self.laid.now();
            let text = laid.and_then(|laid| laid.frame.get(finding.span.range()));
            let text = text.unwrap_or_default();
            format!("{} {text:?}", self.engine.rule(finding.rule).id)
        });
        told.collect()
    }
}

/// 2,000 literals through the matcher's own API.
pub(crate) struct Literals<'f> {
    database: &'f Database,
    scratch: mcpf_vectorscan::Scratch,
    texts: Turns<String>,
}

impl<'f> Literals<'f> {
    pub(crate) fn new(database: &'f Database, texts: Turns<String>) -> Result<Self, String> {
        Ok(Self {
            database,
            scratch: mcpf_vectorscan::Scratch::new(&[database]).map_err(|e| e.to_string())?,
            texts,
        })
    }
}

impl Work for Literals<'_> {
    fn before(&mut self) {
        self.texts.turn();
    }

    fn run(&mut self) -> Observation {
        let mut count = 0;
        let text = self.texts.now().map_or("", String::as_str);
        let done = self
            .database
            .scan(text.as_bytes(), &mut self.scratch, |_, _| {
                count += 1;
                Flow::Continue
            });
        Observation {
            verdict: done.is_err().then_some("scan failed"),
            ..Observation::of(count)
        }
    }
}

/// Every pattern in one set.
pub(crate) struct Set<'f> {
    set: &'f RegexSet,
    text: String,
}

impl<'f> Set<'f> {
    pub(crate) const fn new(set: &'f RegexSet, text: String) -> Self {
        Self { set, text }
    }
}

impl Work for Set<'_> {
    fn run(&mut self) -> Observation {
        Observation::of(self.set.matches(self.text.as_bytes()).iter().count())
    }
}
