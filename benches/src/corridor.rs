//! The whole corridor: one frame walks it, as it would between two peers.

use mcpf_model::{Direction, Principal, RequestId, RuleIx, Span};
use mcpf_pipeline::{Context, Outcome, Scratch, Session, inspect};

use crate::definition::Size;
use crate::fixture::Fixture;
use crate::frame::{Carrier, ID, frame};
use crate::haystack::Haystack;
use crate::work::{Observation, Turns, Work};

pub(crate) struct Corridor<'f> {
    fixture: &'f Fixture,
    context: Context,
    session: Session,
    scratch: Scratch,
    carrier: Carrier,
    frames: Turns<String>,
    /// The call that the frame answers.
    question: String,
    /// The first few findings of the last walk.
    seen: Vec<(RuleIx, Span)>,
}

impl<'f> Corridor<'f> {
    pub(crate) fn new(
        fixture: &'f Fixture,
        carrier: Carrier,
        frames: Turns<String>,
    ) -> Result<Self, String> {
        let context = fixture.context();
        Ok(Self {
            fixture,
            session: Session::new(
                "bench".into(),
                "server".into(),
                Principal::anonymous(),
                &fixture.generation.limits,
            ),
            scratch: Scratch::new(&context.generation).map_err(|error| error.to_string())?,
            context,
            carrier,
            frames,
            question: frame(Haystack::Prose, Size(200), Carrier::Call, 0),
            seen: Vec::with_capacity(8),
        })
    }

    fn walk(&mut self, direction: Direction, which: Which) -> Observation {
        let frame = match which {
            Which::Frame => self.frames.now().map_or("", String::as_str),
            Which::Question => &self.question,
        };
        let inspection = inspect(
            &self.context,
            &mut self.session,
            &mut self.scratch,
            direction,
            frame.as_bytes(),
            self.fixture.now,
        );
        // What is forwarded is read once more, so that nothing of it is left out.
        if let Outcome::Forward(released) = &inspection.outcome {
            std::hint::black_box(released.bytes());
        }
        self.seen.clear();
        self.seen.extend(
            inspection
                .facts
                .findings
                .iter()
                .take(8)
                .map(|f| (f.rule, f.span)),
        );
        Observation {
            verdict: Some(inspection.facts.verdict.as_str()),
            ..Observation::of(inspection.facts.findings.len())
        }
    }
}

enum Which {
    Frame,
    Question,
}

impl Work for Corridor<'_> {
    fn before(&mut self) {
        self.frames.turn();
        let id = RequestId::Number(ID);
        self.session.answered(Direction::Inbound, &id);
        if self.carrier == Carrier::Result {
            self.walk(Direction::Inbound, Which::Question);
        }
    }

    fn run(&mut self) -> Observation {
        match self.carrier {
            Carrier::Call => self.walk(Direction::Inbound, Which::Frame),
            Carrier::Result => self.walk(Direction::Outbound, Which::Frame),
        }
    }

    fn seen(&self) -> Vec<String> {
        let told = self.seen.iter().map(|(rule, span)| {
            let text = self
                .frames
                .now()
                .and_then(|frame| frame.get(span.range()))
                .unwrap_or_default();
            format!("{} {text:?}", self.context.generation.engine.rule(*rule).id)
        });
        told.collect()
    }
}
