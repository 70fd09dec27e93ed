//! When a child that keeps failing may be started again.

use std::time::{Duration, Instant};

use super::options::Restart;

#[derive(Debug)]
pub(crate) struct Starts {
    restart: Restart,
    failures: u32,
    not_before: Option<Instant>,
    why: String,
}

impl Starts {
    pub(crate) const fn new(restart: Restart) -> Self {
        Self {
            restart,
            failures: 0,
            not_before: None,
            why: String::new(),
        }
    }

    /// Whether a child may be started at `now`; if not, why.
    pub(crate) fn check(&self, now: Instant) -> Result<(), String> {
        let Some(left) = self
            .not_before
            .map(|at| at.saturating_duration_since(now))
            .filter(|left| !left.is_zero())
        else {
            return Ok(());
        };
        let seconds = left.as_secs_f64();
        Err(format!(
            "{}, {} times in a row; it is started again in {seconds:.1} s at the earliest: see what it \
             wrote to standard error, and check the command",
            self.why, self.failures
        ))
    }

    pub(crate) fn failed(&mut self, now: Instant, why: &str) {
        let doubled = 1_u32 << self.failures.min(16);
        let wait = self.restart.first.saturating_mul(doubled);
        let wait: Duration = wait.min(self.restart.longest);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.checked_add(wait);
        why.clone_into(&mut self.why);
    }

    pub(crate) const fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait() {
        let mut starts = Starts::new(Restart {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(3),
        });
        let mut now = Instant::now();
        for wait in [1, 2, 3, 3] {
            assert!(starts.check(now).is_ok());
            starts.failed(now, "the server ended");
            now += Duration::from_secs(wait) - Duration::from_millis(1);
            let why = starts.check(now).unwrap_err();
            assert!(why.starts_with("the server ended, "), "{why}");
            now += Duration::from_millis(1);
        }
        starts.failed(now, "x");
        starts.succeeded();
        assert!(starts.check(now).is_ok());
    }
}
