//! A distribution of times, in a fixed amount of memory.
//!
//! Enter: nanoseconds. Leave: percentiles, exact to 0.2%. Never: a sample kept by itself.

use std::time::Duration;

/// Counts of nanoseconds in buckets whose width grows with the value: below 1024 ns one each, above it 512
/// for each power of two.
///
/// A percentile is the upper edge of its bucket, so it is never told too low, and at most 1/512 too high.
#[derive(Clone, Debug)]
pub(crate) struct Distribution {
    /// 128 KiB.
    counts: Box<[u64]>,
    total: u64,
    most: u64,
}

/// A place in a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Percentile {
    /// Half are as fast.
    P50,
    /// All but one in a hundred.
    P99,
    /// All but one in a thousand.
    P999,
}

impl Percentile {
    fn per_mille(self) -> u64 {
        match self {
            Self::P50 => 500,
            Self::P99 => 990,
            Self::P999 => 999,
        }
    }
}

const BITS: u32 = 9;
/// 2^40 ns is 18 minutes; longer times count as that.
const MOST: u64 = (1 << 40) - 1;
/// One more than the bucket of [`MOST`].
const BUCKETS: usize = ((41 - BITS) as usize) << BITS;

impl Default for Distribution {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into_boxed_slice(),
            total: 0,
            most: 0,
        }
    }
}

impl Distribution {
    pub(crate) fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(MOST).min(MOST);
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count += 1;
            self.total += 1;
            self.most = self.most.max(nanos);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.most = self.most.max(other.most);
    }

    /// The time that this many were not longer than; none when nothing was recorded.
    pub(crate) fn at(&self, percentile: Percentile) -> Option<Duration> {
        let whole = u128::from(self.total) * u128::from(percentile.per_mille());
        let rank = u64::try_from(whole.div_ceil(1_000))
            .unwrap_or(u64::MAX)
            .max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_nanos(upper_edge(bucket).min(self.most)));
            }
        }
        None
    }
}

fn bucket(nanos: u64) -> usize {
    let shift = nanos.checked_ilog2().unwrap_or(0).saturating_sub(BITS);
    let place = (u64::from(shift) << BITS) + (nanos >> shift);
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The largest value of a bucket.
fn upper_edge(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    // The first two runs of buckets are one wide.
    let shift = (bucket >> BITS).saturating_sub(1);
    let place = bucket - (shift << BITS);
    ((place + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Percentile; 3] = [Percentile::P50, Percentile::P99, Percentile::P999];

    #[test]
    fn buckets_follow_each_other_without_gap() {
        assert_eq!(bucket(MOST), BUCKETS - 1);
        for place in 0..BUCKETS - 1 {
            let edge = upper_edge(place);
            assert_eq!(bucket(edge), place);
            assert_eq!(bucket(edge + 1), place + 1);
        }
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Distribution::default().at(Percentile::P50), None);
    }

    #[test]
    fn the_longest_time_is_kept_in_bounds() {
        let mut one = Distribution::default();
        one.record(Duration::from_secs(86_400));
        assert_eq!(one.at(Percentile::P50), Some(Duration::from_nanos(MOST)));
    }

    proptest! {
        /// The slow twin: sort, and take the sample at the rank.
        #[test]
        fn percentiles_are_those_of_the_sorted_samples(
            left in prop::collection::vec(0_u64..50_000_000, 1..300),
            right in prop::collection::vec(0_u64..5_000, 0..300),
        ) {
            let mut merged = Distribution::default();
            let mut other = Distribution::default();
            for nanos in &left {
                merged.record(Duration::from_nanos(*nanos));
            }
            for nanos in &right {
                other.record(Duration::from_nanos(*nanos));
            }
            merged.merge(&other);
            let mut sorted: Vec<u64> = left.iter().chain(&right).copied().collect();
            sorted.sort_unstable();
            prop_assert_eq!(merged.total, u64::try_from(sorted.len()).unwrap());
            for percentile in ALL {
                let per_mille = usize::try_from(percentile.per_mille()).unwrap();
                let rank = (sorted.len() * per_mille).div_ceil(1_000).max(1);
                let exact = sorted[rank - 1];
                let told = u64::try_from(merged.at(percentile).unwrap().as_nanos()).unwrap();
                prop_assert!(told >= exact && told <= exact + exact / 512, "{told} {exact}");
            }
        }
    }
}
