//! Dangerous sequences: harmless calls that together are an attack.
//!
//! Enter: which steps of which chain an event matches, and when. Leave: whether a chain is complete.
//! Never: the calls themselves; a chain remembers only when its furthest prefixes began.

use crate::buckets::Nanos;

/// How far one chain has come: for each of its steps, the latest start of a run that reached it.
#[derive(Clone, Debug, Default)]
struct Run {
    reached: Vec<Option<Start>>,
}

/// Where a run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    call: u64,
    at: Nanos,
}

/// Progress of every chain in one session.
///
/// Memory is one entry for each step of each chain, whatever the number of calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    runs: Vec<Run>,
    calls: u64,
}

/// How long a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Calls from the first step to the last, both counted.
    pub(crate) calls: u64,
    /// Nanoseconds from the first step to the last.
    pub(crate) nanos: u64,
}

impl Progress {
    /// Counts a call. Windows are measured in these.
    pub(crate) fn call(&mut self) {
        self.calls += 1;
    }

    /// An event that matches the steps of `chain` for which `matches` is true. Returns whether it
    /// completes the chain. Gaps are allowed: what matches no step changes nothing.
    pub(crate) fn observe(
        &mut self,
        chain: usize,
        steps: usize,
        window: Window,
        now: Nanos,
        matches: impl Fn(usize) -> bool,
    ) -> bool {
        if self.runs.len() <= chain {
            self.runs.resize_with(chain + 1, Run::default);
        }
        let Some(run) = self.runs.get_mut(chain) else {
            return false;
        };
        run.reached.resize(steps, None);
        let fresh = Start {
            call: self.calls,
            at: now,
        };
        let alive = |start: &Start| {
            self.calls - start.call < window.calls
                && now.0.saturating_sub(start.at.0) <= window.nanos
        };
        // From the last step down, so that one event cannot be two steps of the same run.
        for step in (0..steps).rev() {
            if !matches(step) {
                continue;
            }
            let start = match step.checked_sub(1) {
                None => Some(fresh),
                Some(before) => run.reached.get(before).copied().flatten().filter(alive),
            };
            let Some(start) = start else { continue };
            if step + 1 == steps {
                return true;
            }
            if let Some(place) = run.reached.get_mut(step) {
                // The latest start leaves the most room in the window.
                *place = Some(
                    place.map_or(start, |old| if old.call > start.call { old } else { start }),
                );
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        calls: 4,
        nanos: 100,
    };

    fn walk(events: &[(char, u64)]) -> Vec<bool> {
        let chain = ['r', 's'];
        let mut progress = Progress::default();
        events
            .iter()
            .map(|&(event, at)| {
                progress.call();
                progress.observe(0, 2, WINDOW, Nanos(at), |step| chain[step] == event)
            })
            .collect()
    }

    #[test]
    fn gaps_are_allowed_and_windows_are_kept() {
        assert_eq!(walk(&[('r', 1), ('x', 2), ('s', 3)]), [false, false, true]);
        assert_eq!(
            walk(&[('s', 1), ('r', 2)]),
            [false, false],
            "the order matters"
        );
        assert_eq!(walk(&[('r', 1), ('s', 102)]), [false, false], "too late");
        assert_eq!(
            walk(&[('r', 1), ('x', 1), ('x', 1), ('x', 1), ('s', 1)])[4..],
            [false],
            "too many calls"
        );
        assert_eq!(
            walk(&[('r', 1), ('r', 90), ('s', 150)])[2..],
            [true],
            "the latest start counts"
        );
    }

    #[test]
    fn one_event_is_one_step() {
        let mut progress = Progress::default();
        progress.call();
        assert!(!progress.observe(0, 2, WINDOW, Nanos(0), |_| true));
        progress.call();
        assert!(progress.observe(0, 2, WINDOW, Nanos(1), |_| true));
    }

    #[test]
    fn a_slow_twin_finds_the_same_chains() {
        // The twin tries every choice of earlier events.
        let mut state = 7_u64;
        for _ in 0..2_000 {
            let mut progress = Progress::default();
            let mut history: Vec<(u64, u64, usize)> = Vec::new();
            for call in 1..=12_u64 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(99);
                let event = usize::try_from((state >> 40) % 4).unwrap();
                let at = call * 20;
                progress.call();
                let fast = progress.observe(0, 3, WINDOW, Nanos(at), |step| step == event);
                history.push((call, at, event));
                let slow = event == 2
                    && history.iter().any(|&(c0, t0, e0)| {
                        e0 == 0
                            && call - c0 < WINDOW.calls
                            && at - t0 <= WINDOW.nanos
                            && history
                                .iter()
                                .any(|&(c1, _, e1)| e1 == 1 && c0 < c1 && c1 < call)
                    });
                assert_eq!(fast, slow, "{history:?}");
            }
        }
    }
}
