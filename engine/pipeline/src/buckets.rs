//! Token buckets: how many calls an agent, a tool, both together, and everybody may make.
//!
//! Enter: a key, a quota and the time. Leave: admitted, or how long to wait. Never: a clock, a
//! lock held between messages, or a count that two cores see differently. Each bucket is the
//! generic cell rate algorithm (ITU-T I.371) in one atomic: the theoretical arrival time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

/// Monotonic time in nanoseconds since any fixed moment. The engine has no clock of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// A rate: one call every `interval`, with `burst` calls allowed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds between two calls at the sustained rate; at least 1.
    pub interval: u64,
    /// Calls that may come at once; at least 1.
    pub burst: u32,
}

/// The next call would be over the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverRate {
    /// Nanoseconds until one call would be admitted.
    pub retry_after: u64,
}

/// One bucket.
#[derive(Debug, Default)]
pub struct Gcra {
    /// When the bucket will be full again, in the caller's nanoseconds.
    tat: AtomicU64,
}

impl Gcra {
    /// Takes one call from the bucket.
    ///
    /// # Errors
    ///
    /// [`OverRate`] when the bucket is empty; nothing is taken then.
    pub fn take(&self, now: Nanos, rate: Rate) -> Result<(), OverRate> {
        let depth = rate.interval.saturating_mul(u64::from(rate.burst));
        let mut tat = self.tat.load(Ordering::Relaxed);
        loop {
            let next = tat.max(now.0).saturating_add(rate.interval);
            let ahead = next.saturating_sub(now.0);
            if ahead > depth {
                return Err(OverRate {
                    retry_after: ahead - depth,
                });
            }
            match self
                .tat
                .compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(seen) => tat = seen,
            }
        }
    }

    /// Gives back one call that was taken and not used.
    fn give_back(&self, rate: Rate) {
        let mut tat = self.tat.load(Ordering::Relaxed);
        while let Err(seen) = self.tat.compare_exchange_weak(
            tat,
            tat.saturating_sub(rate.interval),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            tat = seen;
        }
    }

    fn is_full(&self, now: Nanos) -> bool {
        self.tat.load(Ordering::Relaxed) <= now.0
    }
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every call of this gateway.
    Global,
    /// One agent's calls.
    Agent,
    /// Calls of one tool.
    Tool,
    /// One agent's calls of one tool.
    AgentTool,
}

impl Scope {
    /// The name used in messages and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Agent => "agent",
            Self::Tool => "tool",
            Self::AgentTool => "agent and tool",
        }
    }
}

/// Every bucket of a process, shared between sessions and cores.
#[derive(Debug)]
pub struct Buckets {
    map: DashMap<Key, Arc<Gcra>>,
}

type Key = (Scope, Box<str>, Box<str>);

impl Default for Buckets {
    fn default() -> Self {
        Self {
            map: DashMap::with_shard_amount(16),
        }
    }
}

impl Buckets {
    /// Most buckets kept at once. Past it, buckets that are full again are dropped; when none is,
    /// the call is refused. Worst-case memory is about 16 MiB with names of 100 bytes.
    pub const MAX: usize = 65_536;

    /// Takes one call from every bucket in `wanted`, or from none of them.
    ///
    /// # Errors
    ///
    /// The scope of the first bucket that is empty, and how long to wait.
    pub fn take_all(
        &self,
        wanted: &[(Scope, Rate)],
        agent: &str,
        tool: &str,
        now: Nanos,
    ) -> Result<(), (Scope, OverRate)> {
        let mut taken: Vec<(Arc<Gcra>, Rate)> = Vec::new();
        for &(scope, rate) in wanted {
            let result = match self.bucket(scope, agent, tool, now) {
                Some(bucket) => bucket.take(now, rate).map(|()| taken.push((bucket, rate))),
                None => Err(OverRate {
                    retry_after: rate.interval,
                }),
            };
            if let Err(over) = result {
                for (bucket, rate) in &taken {
                    bucket.give_back(*rate);
                }
                return Err((scope, over));
            }
        }
        Ok(())
    }

    fn bucket(&self, scope: Scope, agent: &str, tool: &str, now: Nanos) -> Option<Arc<Gcra>> {
        let (agent, tool) = match scope {
            Scope::Global => ("", ""),
            Scope::Agent => (agent, ""),
            Scope::Tool => ("", tool),
            Scope::AgentTool => (agent, tool),
        };
        let key: Key = (scope, Box::from(agent), Box::from(tool));
        if let Some(bucket) = self.map.get(&key) {
            return Some(Arc::clone(&bucket));
        }
        if self.map.len() >= Self::MAX {
            self.map.retain(|_, bucket| !bucket.is_full(now));
        }
        if self.map.len() >= Self::MAX {
            return None;
        }
        Some(Arc::clone(&self.map.entry(key).or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const RATE: Rate = Rate {
        interval: SECOND,
        burst: 3,
    };

    #[test]
    fn a_burst_passes_and_the_next_call_waits_one_interval() {
        let bucket = Gcra::default();
        let now = Nanos(10 * SECOND);
        for _ in 0..3 {
            bucket.take(now, RATE).unwrap();
        }
        assert_eq!(
            bucket.take(now, RATE),
            Err(OverRate {
                retry_after: SECOND
            })
        );
        bucket.take(Nanos(11 * SECOND), RATE).unwrap();
        assert!(bucket.take(Nanos(11 * SECOND), RATE).is_err());
    }

    #[test]
    fn a_refused_call_takes_nothing_from_any_bucket() {
        let buckets = Buckets::default();
        let now = Nanos(SECOND);
        let one = Rate {
            interval: SECOND,
            burst: 1,
        };
        let wanted = [(Scope::Global, RATE), (Scope::Tool, one)];
        buckets.take_all(&wanted, "a", "t", now).unwrap();
        for _ in 0..10 {
            let (scope, _) = buckets.take_all(&wanted, "a", "t", now).unwrap_err();
            assert_eq!(scope, Scope::Tool);
        }
        buckets.take_all(&wanted, "a", "other", now).unwrap();
    }

    #[test]
    fn a_slow_twin_admits_the_same_calls() {
        // The twin counts tokens in exact integer nanoseconds.
        let rate = Rate {
            interval: 7,
            burst: 5,
        };
        let bucket = Gcra::default();
        let (mut credit, mut last) = (35_u64, 1_000_u64);
        let mut state = 12_345_u64;
        for _ in 0..10_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let now = last + (state >> 60);
            credit = (credit + (now - last)).min(35);
            last = now;
            let expected = credit >= 7;
            if expected {
                credit -= 7;
            }
            assert_eq!(bucket.take(Nanos(now), rate).is_ok(), expected);
        }
    }

    #[test]
    fn names_made_up_by_a_client_cannot_grow_the_map_past_its_limit() {
        let buckets = Buckets::default();
        let slow = Rate {
            interval: u64::MAX / 4,
            burst: 1,
        };
        for n in 0..Buckets::MAX {
            buckets
                .take_all(&[(Scope::Tool, slow)], "", &n.to_string(), Nanos(1))
                .unwrap();
        }
        let (_, over) = buckets
            .take_all(&[(Scope::Tool, slow)], "", "one more", Nanos(2))
            .unwrap_err();
        assert_eq!(over.retry_after, slow.interval);
        assert_eq!(buckets.map.len(), Buckets::MAX);
    }
}
