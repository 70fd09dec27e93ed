//! E-mail addresses and telephone numbers.

use super::numbers::digits;

/// RFC 5321 dot-atom local part of at most 64 bytes, a domain of two or more labels with an
/// alphabetic top label; not `example.*` or another reserved name, not a file name such as
/// `icon@2x.png`.
pub(super) fn email(text: &[u8]) -> bool {
    let Some(at) = memchr::memrchr(b'@', text) else {
        return false;
    };
    let (Some(local), Some(domain)) = (text.get(..at), text.get(at + 1..)) else {
        return false;
    };
    local_part(local) && domain_part(domain)
}

fn local_part(local: &[u8]) -> bool {
    let atom = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(b);
    (1..=64).contains(&local.len())
        && local.iter().all(atom)
        && local.first() != Some(&b'.')
        && local.last() != Some(&b'.')
        && !local.windows(2).any(|pair| pair == b"..")
}

fn domain_part(domain: &[u8]) -> bool {
    if domain.len() > 253 {
        return false;
    }
    let label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && label
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && label.first() != Some(&b'-')
            && label.last() != Some(&b'-')
    };
    let mut labels = domain.rsplit(|b| *b == b'.');
    let (Some(top), Some(second)) = (labels.next(), labels.next()) else {
        return false;
    };
    let known =
        |set: &[&str], name: &[u8]| set.iter().any(|s| s.as_bytes().eq_ignore_ascii_case(name));
    (2..=24).contains(&top.len())
        && top.iter().all(u8::is_ascii_alphabetic)
        && domain.split(|b| *b == b'.').all(label)
        && !known(&RESERVED_TOP, top)
        && !known(&FILE_ENDINGS, top)
        && !(second.eq_ignore_ascii_case(b"example") && known(&["com", "net", "org"], top))
}

/// RFC 2606 and RFC 6761 names that reach nobody.
const RESERVED_TOP: [&str; 5] = ["example", "invalid", "localhost", "test", "local"];

/// Endings that make `a@b.png` a file, not a mailbox.
const FILE_ENDINGS: [&str; 12] = [
    "png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "json", "html", "xml",
];

/// A plausible telephone number.
///
/// With `+`: 8 to 15 digits, the first not 0 (ITU-T E.164). Without: 10 digits, or 11 that
/// start with 0 or 1, written with at least one separator, whose last ten (North American)
/// digits have an area and an exchange from 2 up, or that start with a trunk 0. Never digits that
/// are all alike, and never a date or an IPv4 address.
pub(super) fn phone(text: &[u8]) -> bool {
    let plus = text.contains(&b'+');
    let mut number = [0_u8; 16];
    let mut count = 0;
    for digit in digits(text) {
        let Some(slot) = number.get_mut(count) else {
            return false;
        };
        *slot = digit;
        count += 1;
    }
    let Some(number) = number.get(..count) else {
        return false;
    };
    let Some((first, rest)) = number.split_first() else {
        return false;
    };
    let shape = text
        .iter()
        .all(|b| b.is_ascii_digit() || b" .-()+/".contains(b));
    if !shape || !rest.iter().skip(1).any(|digit| Some(digit) != rest.first()) {
        return false;
    }
    if plus {
        return (8..=15).contains(&count)
            && *first != 0
            && text.iter().filter(|b| **b == b'+').count() == 1;
    }
    let separated = text.iter().any(|b| b" .-()/".contains(b));
    separated && !looks_like_date_or_ip(text) && national(number)
}

fn national(number: &[u8]) -> bool {
    let north_american = |ten: &[u8]| ten.first() >= Some(&2) && ten.get(3) >= Some(&2);
    match number {
        ten if ten.len() == 10 && ten.first() != Some(&0) => north_american(ten),
        [1, ten @ ..] if ten.len() == 10 => north_american(ten),
        [0, second, ..] => matches!(number.len(), 10 | 11) && *second != 0,
        _ => false,
    }
}

/// `2026-07-28 11…`, `20260728-…` and four dotted groups of at most three digits.
fn looks_like_date_or_ip(text: &[u8]) -> bool {
    let groups = || {
        text.split(|b| !b.is_ascii_digit())
            .filter(|g| !g.is_empty())
    };
    let year = |g: &[u8]| g.len() == 4 && (g.starts_with(b"19") || g.starts_with(b"20"));
    let dotted = text.iter().filter(|b| **b == b'.').count() == 3
        && groups().count() == 4
        && groups().all(|g| g.len() <= 3);
    let dated = groups().next().is_some_and(year) && groups().nth(1).is_some_and(|g| g.len() <= 2);
    dotted || dated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes() {
        for good in [
            "ada@lovelace.org",
            "a.b+c@mail.co.uk",
            "x@y.io",
            "first_last@sub.domain.museum",
        ] {
            assert!(email(good.as_bytes()), "{good}");
        }
        for bad in [
            "ada@example.com",
            "ada@host",
            "icon@2x.png",
            "a..b@c.org",
            ".a@c.org",
            "a@-c.org",
            "a@c..org",
            "@c.org",
            "a@c.o1",
            "git@server.test",
        ] {
            assert!(!email(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn telephones() {
        for good in [
            "+44 20 7946 0958",
            "+14155552671",
            "(415) 555-2671",
            "415-555-2671",
            "1-415-555-2671",
            "020 7946 0958",
            "+49 (30) 901820",
        ] {
            assert!(phone(good.as_bytes()), "{good}");
        }
        for bad in [
            "4155552671",
            "115-555-2671",
            "2026-07-28 11",
            "+0 123 456 78",
            "192.168.100.200",
            "+11111111111",
            "555-2671",
            "12345678901234567",
        ] {
            assert!(!phone(bad.as_bytes()), "{bad}");
        }
    }
}
