//! What was counted: latencies, answers, failures by kind.
//!
//! Enter: one request at a time, or another tally. Leave: counts and percentiles. Never: a percentile of
//! percentiles: tallies are merged as distributions.

use std::time::Duration;

use crate::distribution::{Distribution, Percentile};
use crate::process::Costs;

/// What became of the requests of a measurement.
///
/// `sent == answered + failed()`: each request that was sent has exactly one end.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Nanoseconds from the moment a request was due to the last byte of its right answer. Requests that were
    /// never sent ([`Tally::unsent`]) are in it with what they had waited when they were given up.
    latency: Distribution,
    /// Nanoseconds between the moment a request was due and the moment it was written: the generator's own
    /// lateness and, in an open loop, the wait for a free connection.
    lag: Distribution,
    /// Requests written to a connection, or tried to be.
    pub sent: u64,
    /// Right answers.
    pub answered: u64,
    /// Requests of an open loop that were due and found no free connection until the end.
    pub unsent: u64,
    failures: [u64; Failure::ALL.len()],
    /// Some failures in words, the first of each measured part; at most [`Tally::EXAMPLES`].
    pub examples: Vec<String>,
    /// From the beginning to the last answer, or to the end of the time to be measured when that is later.
    pub elapsed: Duration,
    /// CPU time and memory.
    pub costs: Costs,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No connection.
    Connect,
    /// The connection ended before the answer was whole.
    Closed,
    /// The answer is not HTTP/1.1, or its length is not certain.
    Http,
    /// Another status than 200.
    Status,
    /// The body is not the JSON of an answer.
    NotJson,
    /// A JSON-RPC error.
    RpcError,
    /// A result with `isError`.
    ToolError,
    /// The answer is to another request.
    WrongId,
    /// The text has another length than was asked for.
    WrongText,
    /// `tools/list` does not show the upstream's tool.
    NoTool,
    /// No answer until the measurement was given up.
    Unanswered,
}

impl Failure {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::Closed,
        Self::Http,
        Self::Status,
        Self::NotJson,
        Self::RpcError,
        Self::ToolError,
        Self::WrongId,
        Self::WrongText,
        Self::NoTool,
        Self::Unanswered,
    ];

    /// A word for it, as in the JSON report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "no_connection",
            Self::Closed => "connection_closed",
            Self::Http => "bad_http",
            Self::Status => "bad_status",
            Self::NotJson => "not_an_answer",
            Self::RpcError => "rpc_error",
            Self::ToolError => "tool_error",
            Self::WrongId => "wrong_id",
            Self::WrongText => "wrong_text",
            Self::NoTool => "tool_missing",
            Self::Unanswered => "unanswered",
        }
    }
}

/// A failure and how it showed.
#[derive(Debug)]
pub(crate) struct Flaw {
    pub(crate) failure: Failure,
    detail: String,
}

/// How much of a wrong answer is kept, in characters.
const MAX_DETAIL: usize = 300;

impl Flaw {
    pub(crate) fn new(failure: Failure, detail: &str) -> Self {
        let detail = detail
            .chars()
            .take(MAX_DETAIL)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Self { failure, detail }
    }

    pub(crate) fn of_status(status: u16, body: &[u8]) -> Self {
        let detail = format!("{status} {}", String::from_utf8_lossy(body));
        Self::new(Failure::Status, &detail)
    }
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.failure.as_str(), self.detail)
    }
}

impl Tally {
    /// Most [`Tally::examples`].
    pub const EXAMPLES: usize = 3;

    /// A right answer.
    pub(crate) fn answer(&mut self, latency: Duration) {
        self.answered += 1;
        self.latency.record(latency);
    }

    /// A request that was due and is given up unsent after `waited`.
    pub(crate) fn give_up(&mut self, waited: Duration) {
        self.unsent += 1;
        self.latency.record(waited);
    }

    /// A request is written `lag` after it was due.
    pub(crate) fn send(&mut self, lag: Duration) {
        self.sent += 1;
        self.lag.record(lag);
    }

    pub(crate) fn fail(&mut self, flaw: &Flaw) {
        self.count(flaw.failure, 1);
        if self.examples.len() < Self::EXAMPLES {
            self.examples.push(flaw.to_string());
        }
    }

    pub(crate) fn count(&mut self, failure: Failure, more: u64) {
        for (kind, count) in Failure::ALL.iter().zip(&mut self.failures) {
            if *kind == failure {
                *count += more;
            }
        }
    }

    /// Adds what another thread, or another part of the same measurement, has counted.
    ///
    /// Times add up only between parts; threads of one part run together, so `elapsed` and
    /// `costs` of a part are set once, after its threads are merged.
    pub fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.lag.merge(&other.lag);
        self.sent += other.sent;
        self.answered += other.answered;
        self.unsent += other.unsent;
        for (mine, theirs) in self.failures.iter_mut().zip(&other.failures) {
            *mine += theirs;
        }
        for example in &other.examples {
            if self.examples.len() < Self::EXAMPLES && !self.examples.contains(example) {
                self.examples.push(example.clone());
            }
        }
        self.elapsed += other.elapsed;
        self.costs.merge(&other.costs);
    }

    /// Requests that failed, of all kinds.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// The kinds of failure that happened, and how often.
    pub fn failures(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL
            .into_iter()
            .zip(self.failures)
            .filter(|(_, count)| *count > 0)
    }

    /// From the moment a request was due to its answer; none when nothing was answered.
    #[must_use]
    pub fn latency(&self, percentile: Percentile) -> Option<Duration> {
        self.latency.at(percentile)
    }

    /// How late requests were written. In a closed loop that is never; in an open loop a large value with
    /// [`Tally::unsent`] at 0 says that the machine, not the gateway, was too slow.
    #[must_use]
    pub fn lag(&self, percentile: Percentile) -> Option<Duration> {
        self.lag.at(percentile)
    }

    /// Right answers per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn throughput(&self) -> f64 {
        if self.elapsed.is_zero() {
            return 0.0;
        }
        self.answered as f64 / self.elapsed.as_secs_f64()
    }

    /// `time` shared among all right answers, in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) fn micros_each(&self, time: Option<Duration>) -> Option<f64> {
        let time = time.filter(|_| self.answered > 0)?;
        Some(time.as_secs_f64() * 1e6 / self.answered as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut one = Tally::default();
        one.send(Duration::ZERO);
        one.answer(Duration::from_millis(1));
        one.elapsed = Duration::from_secs(1);
        one.costs.resident = Some(5);
        let mut two = Tally::default();
        two.send(Duration::ZERO);
        two.fail(&Flaw::of_status(503, b"busy\r\n"));
        two.elapsed = Duration::from_secs(1);
        two.costs.gateway = Some(Duration::from_micros(70));
        one.merge(&two);
        assert_eq!((one.sent, one.answered, one.failed()), (2, 1, 1));
        let failures: Vec<(Failure, u64)> = one.failures().collect();
        assert_eq!(failures, [(Failure::Status, 1)]);
        assert_eq!(one.examples, ["bad_status: 503 busy  "]);
        assert!((one.throughput() - 0.5).abs() < 1e-9);
        assert_eq!(one.micros_each(one.costs.gateway), Some(70.0));
        assert_eq!(one.costs.resident, Some(5));
        assert_eq!(
            one.latency(Percentile::P999),
            Some(Duration::from_millis(1))
        );
    }

    #[test]
    fn a_request_that_was_never_sent_counts_with_what_it_waited() {
        let mut tally = Tally::default();
        tally.answer(Duration::from_millis(1));
        tally.give_up(Duration::from_secs(2));
        assert_eq!(tally.latency(Percentile::P99), Some(Duration::from_secs(2)));
        assert_eq!((tally.sent, tally.unsent, tally.failed()), (0, 1, 0));
    }

    #[test]
    fn nothing_divides_by_nothing() {
        let tally = Tally::default();
        assert!(tally.throughput() < f64::EPSILON);
        assert_eq!(tally.micros_each(Some(Duration::from_secs(1))), None);
        assert_eq!(tally.latency(Percentile::P50), None);
    }
}
