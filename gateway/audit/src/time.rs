//! Wall-clock time as RFC 3339 text in UTC with microseconds, and back.
//!
//! A time enters, 27 characters leave. There is no clock in here. Years outside 1970 to 9999 are
//! clamped: a wrong clock must not stop the audit.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds from 1970 to the last second of 9999.
const LAST_SECOND: u64 = 253_402_300_799;
const DAY: u64 = 86_400;

/// A UTC calendar time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Utc {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    micros: u32,
}

impl Utc {
    /// The calendar time of `time`.
    pub(crate) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seconds = since.as_secs().min(LAST_SECOND);
        let (year, month, day) = civil(seconds / DAY);
        let of_day = seconds % DAY;
        Self {
            year,
            month,
            day,
            hour: of_day / 3_600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            micros: since.subsec_micros(),
        }
    }

    /// `20261120T101112.123456Z`: sorts as the time does and is safe in a file name.
    pub(crate) fn file_name(self) -> String {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            micros,
        } = self;
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{micros:06}Z")
    }

    /// Appends `2026-11-20T10:11:12.123456Z`, without allocating.
    pub(crate) fn push_rfc3339(self, out: &mut Vec<u8>) {
        let fields = [
            (self.year, 4, b'-'),
            (self.month, 2, b'-'),
            (self.day, 2, b'T'),
            (self.hour, 2, b':'),
            (self.minute, 2, b':'),
            (self.second, 2, b'.'),
            (u64::from(self.micros), 6, b'Z'),
        ];
        for (value, width, after) in fields {
            let mut scale = 10_u64.pow(width - 1);
            while scale > 0 {
                out.push(b'0' + u8::try_from(value / scale % 10).unwrap_or(0));
                scale /= 10;
            }
            out.push(after);
        }
    }
}

/// `time` as records spell it: RFC 3339 in UTC with microseconds.
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    let mut out = Vec::with_capacity(27);
    Utc::of(time).push_rfc3339(&mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Microseconds since 1970 of a time spelt as [`Utc::push_rfc3339`] does.
pub(crate) fn parse_micros(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 27 {
        return None;
    }
    let mut at = 0_usize;
    let mut values = [0_u64; 7];
    let layout = [
        (4, b'-'),
        (2, b'-'),
        (2, b'T'),
        (2, b':'),
        (2, b':'),
        (2, b'.'),
        (6, b'Z'),
    ];
    for (value, (width, after)) in values.iter_mut().zip(layout) {
        for byte in bytes.get(at..at + width)? {
            if !byte.is_ascii_digit() {
                return None;
            }
            *value = *value * 10 + u64::from(byte - b'0');
        }
        at += width;
        if bytes.get(at) != Some(&after) {
            return None;
        }
        at += 1;
    }
    let [year, month, day, hour, minute, second, micros] = values;
    if year < 1970
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let seconds = days(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

/// Year, month and day of a day count since 1970-01-01 (H. Hinnant, "chrono-compatible low-level
/// date algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a date not before it (same source, `days_from_civil`).
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let era = year / 400;
    let year_of_era = year % 400;
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Utc {
        fn rfc3339(self) -> String {
            let mut out = Vec::new();
            self.push_rfc3339(&mut out);
            String::from_utf8(out).unwrap()
        }
    }

    fn at(seconds: u64, micros: u32) -> Utc {
        Utc::of(UNIX_EPOCH + Duration::new(seconds, micros * 1_000))
    }

    #[test]
    fn known_times() {
        assert_eq!(at(0, 0).rfc3339(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400, 1).rfc3339(), "2000-02-29T00:00:00.000001Z");
        assert_eq!(
            at(1_700_000_000, 999_999).rfc3339(),
            "2023-11-14T22:13:20.999999Z"
        );
        assert_eq!(
            at(u64::from(u32::MAX) * 100, 0).rfc3339(),
            "9999-12-31T23:59:59.000000Z"
        );
        assert_eq!(
            Utc::of(UNIX_EPOCH - Duration::from_secs(5)).rfc3339(),
            "1970-01-01T00:00:00.000000Z"
        );
        assert_eq!(parse_micros("2023-11-14 22:13:20.999999Z"), None);
    }

    proptest! {
        #[test]
        fn text_and_back(seconds in 0..=LAST_SECOND, micros in 0..1_000_000_u32) {
            let utc = at(seconds, micros);
            prop_assert_eq!(parse_micros(&utc.rfc3339()), Some(seconds * 1_000_000 + u64::from(micros)));
        }
    }
}
