//! National identifiers.

use super::numbers::digits;

/// A US social security number that could have been issued.
///
/// Area 001 to 899 except 666, group 01 to 99, serial 0001 to 9999, nine digits, and neither a
/// number printed in advertisements nor nine times the same digit.
pub(super) fn us_ssn(text: &[u8]) -> bool {
    let mut number = 0_u32;
    let mut count = 0_u32;
    for digit in digits(text) {
        count += 1;
        if count > 9 {
            return false;
        }
        number = number * 10 + u32::from(digit);
    }
    let (area, group, serial) = (number / 1_000_000, number / 10_000 % 100, number % 10_000);
    count == 9
        && (1..900).contains(&area)
        && area != 666
        && group != 0
        && serial != 0
        && !DUMMIES.contains(&number)
        && !number.is_multiple_of(111_111_111)
}

/// Numbers that were printed on cards and in advertisements, and counting.
const DUMMIES: [u32; 3] = [78_051_120, 219_099_999, 123_456_789];

#[cfg(test)]
mod tests {
    use super::us_ssn;

    #[test]
    fn areas_groups_and_serials() {
        assert!(us_ssn(b"536-22-1843"));
        assert!(us_ssn(b"536221843"));
        for bad in [
            "000-22-1843",
            "666-22-1843",
            "900-22-1843",
            "536-00-1843",
            "536-22-0000",
            "078-05-1120",
            "123-45-6789",
            "111-11-1111",
            "536-22-184",
            "536-22-18433",
        ] {
            assert!(!us_ssn(bad.as_bytes()), "{bad}");
        }
    }
}
