//! A bench made ready: its input generated, its engine built, its count checked.

use crate::corridor::Corridor;
use crate::definition::{Bench, Count, EngineName, TooMany};
use crate::fixture::Fixture;
use crate::frame::{Carrier, frame};
use crate::haystack::{generate, generate_from};
use crate::policy::Policy;
use crate::scan::{Laid, Literals, Rules, Set};
use crate::wire::Wire;

/// What one run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What the engine counts; see [`EngineName`].
    pub count: Count,
    /// What was decided, if something was.
    pub verdict: Option<&'static str>,
}

impl Observation {
    /// A count without a verdict; one too large for the type is [`Count::TooMany`].
    #[must_use]
    pub fn of(count: usize) -> Self {
        let count = u64::try_from(count).map_or(Count::TooMany(TooMany::TooMany), Count::Exactly);
        Self {
            count,
            verdict: None,
        }
    }
}

/// Something to be timed, again and again.
pub trait Work {
    /// Brings the state back to what [`run`](Self::run) needs. Not timed.
    fn before(&mut self) {}

    /// What is timed.
    fn run(&mut self) -> Observation;

    /// The first few things that the last run counted, in words, for whoever has to look into a
    /// wrong count.
    fn seen(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A bench that may be timed: its count was right.
pub struct Prepared<'f> {
    /// Bytes read in one run.
    pub bytes: usize,
    /// What to run. `dyn`: chosen by the definitions, and one call is nothing beside a scan.
    pub work: Box<dyn Work + 'f>,
}

impl std::fmt::Debug for Prepared<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Texts that a bench goes through in turn. With one text alone, and a small one, the processor
/// learns it by heart, and every branch in the matcher is foretold: figures come out several times
/// better than traffic will ever see.
pub(crate) struct Turns<T> {
    all: Vec<T>,
    at: usize,
}

impl<T> Turns<T> {
    fn new(all: Vec<T>) -> Self {
        Self { all, at: 0 }
    }

    /// Goes on to the next.
    pub(crate) fn turn(&mut self) {
        self.at = (self.at + 1) % self.all.len().max(1);
    }

    /// The one whose turn it is.
    pub(crate) fn now(&self) -> Option<&T> {
        self.all.get(self.at)
    }
}

/// Bytes of text that a bench goes through before it begins again; at most 256 texts.
const VARIETY: usize = 1 << 20;

/// The seeds of a bench's texts: many for small ones. Where something is to be counted there is
/// only one text, because the next would count differently.
fn seeds(bench: &Bench) -> std::ops::Range<u64> {
    let many = VARIETY / bench.size.0.max(1);
    match bench.expect {
        Count::Exactly(0) if many > 1 => 0..u64::try_from(many.min(1 << 8)).unwrap_or(1),
        _ => 0..1,
    }
}

/// Generates the haystacks of `bench`, builds its work and holds every one of them to the expected
/// count, and the first of them twice: what is warm must say what was said when it was cold.
///
/// # Errors
/// What could not be built, or what was counted instead.
pub fn prepare<'f>(bench: &Bench, fixture: &'f Fixture) -> Result<Prepared<'f>, String> {
    let wrong = |what: String| format!("{}: {what}", bench.name);
    let framed = |carrier| {
        let frames = seeds(bench).map(|seed| frame(bench.haystack, bench.size, carrier, seed));
        frames.collect::<Vec<String>>()
    };
    let texts = || {
        let texts = seeds(bench).map(|seed| generate_from(bench.haystack, bench.size.0, seed));
        texts.collect::<Vec<String>>()
    };
    let bytes_of = |texts: &[String]| texts.iter().map(String::len).sum::<usize>() / texts.len();
    let (bytes, mut work): (usize, Box<dyn Work + 'f>) = match bench.engine {
        EngineName::ParseCall | EngineName::ParseResult => {
            let carrier = match bench.engine {
                EngineName::ParseCall => Carrier::Call,
                _ => Carrier::Result,
            };
            let frames = framed(carrier);
            (bytes_of(&frames), Box::new(Wire::new(Turns::new(frames))))
        }
        EngineName::Rules | EngineName::RulesMany => {
            let texts = texts();
            let laid_out = texts.iter().map(|text| match bench.engine {
                EngineName::Rules => Laid::out(&[text.as_str()]),
                _ => Laid::out(&crate::scan::pieces(text)),
            });
            let laid_out = laid_out.collect::<Result<_, _>>().map_err(wrong)?;
            let engine = &fixture.generation.engine;
            let rules = Rules::new(engine, Turns::new(laid_out)).map_err(wrong)?;
            (bytes_of(&texts), Box::new(rules))
        }
        EngineName::Literals => {
            let texts = texts();
            let bytes = bytes_of(&texts);
            let turns = Turns::new(texts);
            let literals = Literals::new(&fixture.literals, turns).map_err(wrong)?;
            (bytes, Box::new(literals))
        }
        EngineName::RegexSet => {
            let text = generate(bench.haystack, bench.size.0);
            let set = fixture.set().map_err(wrong)?;
            (text.len(), Box::new(Set::new(set, text)))
        }
        EngineName::AllowList | EngineName::FiftyRules => {
            let plan = match bench.engine {
                EngineName::AllowList => &fixture.allow_list,
                _ => &fixture.fifty_rules,
            };
            let text = generate(bench.haystack, bench.size.0);
            (text.len(), Box::new(Policy::new(plan, text)))
        }
        EngineName::Call | EngineName::Result => {
            let carrier = match bench.engine {
                EngineName::Call => Carrier::Call,
                _ => Carrier::Result,
            };
            let frames = framed(carrier);
            let bytes = bytes_of(&frames);
            let corridor = Corridor::new(fixture, carrier, Turns::new(frames)).map_err(wrong)?;
            (bytes, Box::new(corridor))
        }
    };
    for _ in seeds(bench).chain([0]) {
        work.before();
        let seen = work.run();
        if seen.count != bench.expect || seen.verdict != bench.verdict.as_deref() {
            return Err(wrong(format!(
                "expected {:?} {:?}, saw {:?} {:?} {:?}",
                bench.expect,
                bench.verdict,
                seen.count,
                seen.verdict,
                work.seen()
            )));
        }
    }
    Ok(Prepared { bytes, work })
}
