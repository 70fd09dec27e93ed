//! Check digits: Luhn, payment cards, IBAN.

/// The ASCII digits of `text`, as values.
pub(super) fn digits(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    text.iter().filter(|b| b.is_ascii_digit()).map(|b| b - b'0')
}

/// ISO/IEC 7812-1 annex B over all the digits; separators are skipped.
pub(super) fn luhn(text: &[u8]) -> bool {
    let mut sum = 0_u32;
    let mut count = 0_u32;
    for byte in text.iter().rev().filter(|b| b.is_ascii_digit()) {
        let digit = u32::from(byte - b'0');
        sum += match (count % 2, digit) {
            (0, d) => d,
            (_, d) if d > 4 => 2 * d - 9,
            (_, d) => 2 * d,
        };
        count += 1;
    }
    count >= 2 && sum.is_multiple_of(10)
}

/// 13 to 19 digits that start with 2 to 6, pass Luhn and are not all alike.
pub(super) fn credit_card(text: &[u8]) -> bool {
    let count = digits(text).count();
    let mut all = digits(text);
    let Some(first) = all.next() else {
        return false;
    };
    (13..=19).contains(&count)
        && (2..=6).contains(&first)
        && all.any(|digit| digit != first)
        && luhn(text)
}

/// ISO 13616: country, its length, and mod 97 = 1. Spaces and hyphens are skipped.
pub(super) fn iban(text: &[u8]) -> bool {
    let mut compact = [0_u8; 34];
    let mut len = 0;
    for byte in text.iter().filter(|b| !matches!(b, b' ' | b'-')) {
        let Some(slot) = compact.get_mut(len) else {
            return false;
        };
        if !byte.is_ascii_alphanumeric() {
            return false;
        }
        *slot = byte.to_ascii_uppercase();
        len += 1;
    }
    let Some((head, body)) = compact.get(..len).and_then(|c| c.split_at_checked(4)) else {
        return false;
    };
    let Some((country, check)) = head.split_at_checked(2) else {
        return false;
    };
    let expected = IBAN_LENGTHS
        .iter()
        .find(|(code, _)| code.as_bytes() == country)
        .map(|(_, length)| usize::from(*length));
    if expected != Some(len) || !check.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let remainder = body.iter().chain(head).fold(0_u32, |rest, byte| {
        let value = u32::from(match byte {
            b'0'..=b'9' => byte - b'0',
            letter => letter - b'A' + 10,
        });
        let shift = if value < 10 { 10 } else { 100 };
        (rest * shift + value) % 97
    });
    remainder == 1
}

/// Country codes and lengths, SWIFT IBAN registry release 99.
const IBAN_LENGTHS: [(&str, u8); 89] = [
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HN", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("YE", 30),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luhn_agrees_with_published_numbers() {
        assert!(luhn(b"79927398713"));
        assert!(luhn(b"4111 1111 1111 1111"));
        assert!(!luhn(b"4111 1111 1111 1112"));
        assert!(!luhn(b"0"));
        assert!(!luhn(b"none"));
    }

    #[test]
    fn cards_need_a_card_shape() {
        assert!(credit_card(b"4111-1111-1111-1111"));
        assert!(credit_card(b"378282246310005"));
        assert!(credit_card(b"5555555555554444"));
        assert!(!credit_card(b"0000000000000000"));
        assert!(!credit_card(b"79927398713"));
        assert!(!credit_card(b"9111111111111111"));
    }

    #[test]
    fn ibans_of_the_registry() {
        for good in [
            "GB82 WEST 1234 5698 7654 32",
            "DE89370400440532013000",
            "FR14 2004 1010 0505 0001 3M02 606",
            "NO9386011117947",
            "MT84MALT011000012345MTLCAST001S",
            "gb82west12345698765432",
        ] {
            assert!(iban(good.as_bytes()), "{good}");
        }
        for bad in [
            "GB82 WEST 1234 5698 7654 33",
            "DE8937040044053201300",
            "ZZ89370400440532013000",
            "",
            "DE",
        ] {
            assert!(!iban(bad.as_bytes()), "{bad}");
        }
    }
}
