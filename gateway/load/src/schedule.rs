//! When an open loop sends.
//!
//! Enter: a rate, and which thread of how many. Leave: the moment each request is due. Never: a look at the
//! clock, or at how the last request went: that is what makes the loop open.

use std::num::NonZeroU32;
use std::time::Duration;

/// One thread's part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// From 0.
    pub(crate) index: u64,
    /// How many threads there are.
    pub(crate) of: u64,
}

/// Evenly spaced moments, dealt to the threads in turn.
///
/// Thread `index` of `of` has the requests `index`, `index + of`, `index + 2 * of` and so on of the whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    rate: NonZeroU32,
    share: Share,
}

impl Schedule {
    pub(crate) fn new(rate: NonZeroU32, share: Share) -> Self {
        Self { rate, share }
    }

    /// When this thread's request `number` is due, counted from the beginning. It is computed from the
    /// number, so that rounding does not add up.
    pub(crate) fn due(&self, number: u64) -> Duration {
        let place = u128::from(number) * u128::from(self.share.of) + u128::from(self.share.index);
        let nanos = place * NANOS / u128::from(self.rate.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many of this thread's requests are due before `end`.
    pub(crate) fn count(&self, end: Duration) -> u64 {
        let rate = u128::from(self.rate.get());
        // Request k of the whole is due at k / rate: those with k * NANOS < end * rate.
        let whole = (end.as_nanos() * rate).div_ceil(NANOS);
        let (index, of) = (u128::from(self.share.index), u128::from(self.share.of));
        let mine = whole.saturating_sub(index).div_ceil(of.max(1));
        u64::try_from(mine).unwrap_or(u64::MAX)
    }
}

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(rate: u32, index: u64, of: u64) -> Schedule {
        Schedule::new(NonZeroU32::new(rate).unwrap(), Share { index, of })
    }

    #[test]
    fn a_rate_of_2000_is_a_request_each_500_microseconds() {
        let alone = schedule(2_000, 0, 1);
        assert_eq!(alone.due(0), Duration::ZERO);
        assert_eq!(alone.due(1), Duration::from_micros(500));
        assert_eq!(alone.due(2_000), Duration::from_secs(1));
        assert_eq!(alone.count(Duration::from_secs(5)), 10_000);
    }

    #[test]
    fn rounding_does_not_add_up() {
        let thirds = schedule(3, 0, 1);
        assert_eq!(thirds.due(1), Duration::from_nanos(333_333_333));
        assert_eq!(thirds.due(3_000_000), Duration::from_secs(1_000_000));
    }

    proptest! {
        /// Dealing the requests to several threads loses none, adds none and moves none.
        #[test]
        fn shares_make_up_the_whole(rate in 1_u32..20_000, of in 1_u64..9, millis in 1_u64..3_000) {
            let end = Duration::from_millis(millis);
            let whole = schedule(rate, 0, 1);
            let mut dealt = Vec::new();
            for index in 0..of {
                let share = schedule(rate, index, of);
                for number in 0..share.count(end) {
                    dealt.push(share.due(number));
                }
            }
            dealt.sort_unstable();
            let expected: Vec<Duration> = (0..whole.count(end)).map(|n| whole.due(n)).collect();
            prop_assert_eq!(dealt, expected);
        }

        /// The count is exactly of those that are due before the end.
        #[test]
        fn the_count_is_of_what_is_due(rate in 1_u32..20_000, millis in 0_u64..3_000) {
            let end = Duration::from_millis(millis);
            let whole = schedule(rate, 0, 1);
            let count = whole.count(end);
            prop_assert!(whole.due(count) >= end);
            if let Some(last) = count.checked_sub(1) {
                prop_assert!(whole.due(last) < end);
            }
        }
    }
}
