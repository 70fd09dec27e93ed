//! A whole measurement: every load, on every target, in turn.
//!
//! Enter: targets and loads. Leave: a [`Row`] for each pair. Never: one target measured long after another:
//! each load goes through all targets several times, in an order that changes.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::load::{LoadError, Pace, Plan, measure};
use crate::message::Header;
use crate::stop::Stop;
use crate::tally::Tally;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Bytes of text in a result: one load for each size and pace.
    pub sizes: Vec<usize>,
    /// Bytes of text in each call's arguments.
    pub arguments: usize,
    /// Closed loop, or rates.
    pub paces: Vec<Pace>,
    /// Connections of each load.
    pub connections: NonZeroUsize,
    /// Threads of the generator.
    pub threads: NonZeroUsize,
    /// Measured time of each row, all rounds together.
    pub time: Duration,
    /// How many times each load goes through all targets.
    pub rounds: NonZeroU32,
    /// Headers that each request carries.
    pub headers: Vec<Header>,
}

/// Something that answers.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// What it is called in the table.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its process, for CPU time and memory.
    pub process: Option<u32>,
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The upstream itself.
    Direct,
    /// nginx in front of it.
    Nginx,
    /// The gateway that is measured.
    Gateway,
}

impl Kind {
    /// A word for it, as in the JSON report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Gateway => "gateway",
        }
    }
}

/// One load on one target.
#[derive(Clone, Debug)]
pub struct Row {
    /// Bytes of text in a result.
    pub size: usize,
    /// When requests were sent.
    pub pace: Pace,
    /// Which target.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What was counted.
    pub tally: Tally,
}

/// What is being measured now.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// Parts measured so far.
    pub done: usize,
    /// Parts in all.
    pub of: usize,
    /// Bytes of text in a result.
    pub size: usize,
    /// When requests are sent.
    pub pace: Pace,
    /// The target's name.
    pub target: &'a str,
}

impl Campaign {
    /// Measures every load on every target. The rows of one load follow each other, in the order of `targets`.
    ///
    /// # Errors
    ///
    /// The first part that cannot be measured ends it; see [`measure`].
    pub fn run(
        &self,
        targets: &[Target],
        stop: &Stop,
        tell: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Vec<Row>, LoadError> {
        let rounds = usize::try_from(self.rounds.get()).unwrap_or(usize::MAX);
        let of = self.sizes.len() * self.paces.len() * targets.len() * rounds;
        let mut done = 0;
        let mut rows = Vec::new();
        for size in &self.sizes {
            for pace in &self.paces {
                let mut tallies = vec![Tally::default(); targets.len()];
                for round in 0..rounds {
                    let pairs = targets.iter().zip(&mut tallies);
                    for (target, tally) in turned(pairs.collect(), round) {
                        tell(&Progress {
                            done,
                            of,
                            size: *size,
                            pace: *pace,
                            target: &target.name,
                        });
                        let plan = self.plan(target, *size, *pace);
                        tally.merge(&measure(&plan, target.process, stop)?);
                        done += 1;
                    }
                }
                rows.extend(targets.iter().zip(tallies).map(|(target, tally)| Row {
                    size: *size,
                    pace: *pace,
                    kind: target.kind,
                    name: target.name.clone(),
                    tally,
                }));
            }
        }
        Ok(rows)
    }

    fn plan(&self, target: &Target, size: usize, pace: Pace) -> Plan {
        Plan {
            endpoint: target.endpoint.clone(),
            headers: self.headers.clone(),
            connections: self.connections,
            threads: self.threads,
            pace,
            size,
            arguments: self.arguments,
            duration: self.time / self.rounds.get(),
        }
    }
}

/// Beginning elsewhere in each round, so that none always follows the same neighbour.
fn turned<T>(mut all: Vec<T>, round: usize) -> Vec<T> {
    if let Some(places) = round.checked_rem(all.len()) {
        all.rotate_left(places);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_changes_and_nobody_is_left_out() {
        assert_eq!(turned(vec!['a', 'b', 'c'], 0), ['a', 'b', 'c']);
        assert_eq!(turned(vec!['a', 'b', 'c'], 4), ['b', 'c', 'a']);
        assert_eq!(turned(Vec::<char>::new(), 1), []);
    }
}
