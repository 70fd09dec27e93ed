//! The scan room, its yardstick and its naive twin.

use mcpf_model::{Finding, Limits, Span, Surface};
use mcpf_scan::{Engine, ScanError, Scratch, Text};
use mcpf_vectorscan::{Database, Flow};
use regex::bytes::RegexSet;

use crate::definition::{Count, TooMany};
use crate::work::{Observation, Work};

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

/// The shipped rules over the texts of a frame that is an array of strings.
pub(crate) struct Rules<'f> {
    engine: &'f Engine,
    scratch: Scratch,
    findings: Vec<Finding>,
    limits: Limits,
    frame: String,
    texts: Vec<(String, Span)>,
}

impl<'f> Rules<'f> {
    pub(crate) fn new(engine: &'f Engine, pieces: &[&str]) -> Result<Self, String> {
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
        Ok(Self {
            engine,
            scratch: engine.new_scratch().map_err(|error| error.to_string())?,
            findings: Vec::new(),
            limits: Limits::default(),
            frame,
            texts,
        })
    }
}

impl Work for Rules<'_> {
    fn run(&mut self) -> Observation {
        let texts = self.texts.iter().map(|(text, raw)| Text {
            text,
            raw: *raw,
            surface: Surface::ToolResult,
        });
        let scanned = self.engine.scan(
            self.frame.as_bytes(),
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
            let text = self.frame.get(finding.span.range()).unwrap_or_default();
            format!("{} {text:?}", self.engine.rule(finding.rule).id)
        });
        told.collect()
    }
}

/// 2,000 literals through the matcher's own API.
pub(crate) struct Literals<'f> {
    database: &'f Database,
    scratch: mcpf_vectorscan::Scratch,
    text: String,
}

impl<'f> Literals<'f> {
    pub(crate) fn new(database: &'f Database, text: String) -> Result<Self, String> {
        Ok(Self {
            database,
            scratch: mcpf_vectorscan::Scratch::new(&[database]).map_err(|e| e.to_string())?,
            text,
        })
    }
}

impl Work for Literals<'_> {
    fn run(&mut self) -> Observation {
        let mut count = 0;
        let done = self
            .database
            .scan(self.text.as_bytes(), &mut self.scratch, |_, _| {
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
