//! A bench made ready: its input generated, its engine built, its count checked.

use crate::corridor::Corridor;
use crate::definition::{Bench, Count, EngineName, TooMany};
use crate::fixture::Fixture;
use crate::frame::{Carrier, frame};
use crate::haystack::generate;
use crate::policy::Policy;
use crate::scan::{Literals, Rules, Set};
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

/// Generates the haystack of `bench`, builds its work and holds it to the expected count, twice:
/// what is warm must say what was said when it was cold.
///
/// # Errors
/// What could not be built, or what was counted instead.
pub fn prepare<'f>(bench: &Bench, fixture: &'f Fixture) -> Result<Prepared<'f>, String> {
    let wrong = |what: String| format!("{}: {what}", bench.name);
    let framed = |carrier| frame(bench.haystack, bench.size, carrier);
    let text = || generate(bench.haystack, bench.size.0);
    let (bytes, mut work): (usize, Box<dyn Work + 'f>) = match bench.engine {
        EngineName::ParseCall | EngineName::ParseResult => {
            let carrier = match bench.engine {
                EngineName::ParseCall => Carrier::Call,
                _ => Carrier::Result,
            };
            let frame = framed(carrier);
            (frame.len(), Box::new(Wire::new(frame)))
        }
        EngineName::Rules | EngineName::RulesMany => {
            let text = text();
            let pieces = match bench.engine {
                EngineName::Rules => vec![text.as_str()],
                _ => crate::scan::pieces(&text),
            };
            let rules = Rules::new(&fixture.generation.engine, &pieces).map_err(wrong)?;
            (text.len(), Box::new(rules))
        }
        EngineName::Literals => {
            let text = text();
            let literals = Literals::new(&fixture.literals, text.clone()).map_err(wrong)?;
            (text.len(), Box::new(literals))
        }
        EngineName::RegexSet => {
            let text = text();
            let set = fixture.set().map_err(wrong)?;
            (text.len(), Box::new(Set::new(set, text)))
        }
        EngineName::AllowList | EngineName::FiftyRules => {
            let plan = match bench.engine {
                EngineName::AllowList => &fixture.allow_list,
                _ => &fixture.fifty_rules,
            };
            let text = text();
            (text.len(), Box::new(Policy::new(plan, text)))
        }
        EngineName::Call | EngineName::Result => {
            let carrier = match bench.engine {
                EngineName::Call => Carrier::Call,
                _ => Carrier::Result,
            };
            let frame = framed(carrier);
            let bytes = frame.len();
            let corridor = Corridor::new(fixture, carrier, frame).map_err(wrong)?;
            (bytes, Box::new(corridor))
        }
    };
    for _ in 0..2 {
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
