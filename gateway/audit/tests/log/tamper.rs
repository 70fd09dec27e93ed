//! Nothing can be changed, moved, doubled or taken out unseen.

use crate::common::{Scratch, public, sample, verify_bytes, verify_file};
use mcpf_audit::{Ending, Fault, PublicKey, Sign, VerifyError, verify};

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

fn fault(bytes: &[u8]) -> (u64, u64, Fault) {
    match verify_bytes(bytes) {
        Err(VerifyError::Bad(bad)) => (bad.line, bad.seq, bad.fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_flipped_byte_is_seen() {
    let scratch = Scratch::new();
    let bytes = sample(&scratch.file(), 8, Sign::Every);
    let mut changed = bytes.clone();
    for at in 0..bytes.len() {
        changed[at] ^= 1 << (at % 8);
        match verify_bytes(&changed) {
            Err(VerifyError::Bad(bad)) => assert!(bad.offset <= at as u64, "byte {at}: {bad}"),
            other => panic!("byte {at}: {other:?}"),
        }
        changed[at] = bytes[at];
    }
}

#[test]
fn missing_doubled_and_swapped_lines_are_seen() {
    let scratch = Scratch::new();
    for sign in [Sign::Group, Sign::Every] {
        let _ = std::fs::remove_file(scratch.file());
        let bytes = sample(&scratch.file(), 30, sign);
        let lines = lines(&bytes);
        for at in 0..lines.len() {
            let mut cut = lines.clone();
            cut.remove(at);
            match verify_bytes(&cut.concat()) {
                // Only the very last can go without a fault; the report then says the log is not closed.
                Ok(report) if at + 1 == lines.len() => assert_ne!(report.ending, Ending::Closed),
                Ok(_) => panic!("line {at} is gone unseen"),
                Err(_) => assert_ne!(at + 1, lines.len()),
            }
            let mut doubled = lines.clone();
            doubled.insert(at, lines[at]);
            let (line, seq, _) = fault(&doubled.concat());
            assert_eq!((line, seq), (at as u64 + 2, at as u64 + 1));
            for other in at + 1..lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(at, other);
                assert_eq!(fault(&swapped.concat()).0, at as u64 + 1);
            }
        }
    }
}

#[test]
fn a_signature_taken_out_is_seen() {
    let scratch = Scratch::new();
    for sign in [Sign::Group, Sign::Every] {
        let _ = std::fs::remove_file(scratch.file());
        let bytes = sample(&scratch.file(), 30, sign);
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(cut) = line.find(",\"sig\":") else {
                continue;
            };
            let mut changed: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
            changed[at] = format!("{}}}\n", &line[..cut]);
            let (bad, _, _) = fault(changed.concat().as_bytes());
            assert!(
                (at as u64 + 1..=at as u64 + 2).contains(&bad),
                "line {at}, fault at {bad}"
            );
        }
    }
}

#[test]
fn spelling_is_part_of_the_record() {
    let scratch = Scratch::new();
    let text = String::from_utf8(sample(&scratch.file(), 3, Sign::Group)).unwrap();
    let changes: [(&str, &str); 8] = [
        ("\n", "\r\n"),
        ("\n", "\n\n"),
        ("{\"v\":1", "{ \"v\":1"),
        ("\"}\n", "\" }\n"),
        ("==\"}", "=\"}"),
        (",\"prev\":", ", \"prev\":"),
        ("\"hash\":\"", "\"hash\": \""),
        ("\"v\":1", "\"v\":1.0"),
    ];
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        fault(text.replacen(from, to, 1).as_bytes());
    }
    for extra in [
        "\n",
        " ",
        "{}",
        "{}\n",
        "x",
        "{\"v\":1,\"seq\":99,",
        "\u{feff}",
    ] {
        fault(format!("{text}{extra}").as_bytes());
    }
    // What the write of a next run's first record may leave when it is cut short is no fault, but seen.
    for torn in ["\0", "{\"v\":1,\"seq\":5,"] {
        let report = verify_bytes(format!("{text}{torn}").as_bytes()).unwrap();
        assert_eq!(
            report.ending,
            Ending::Open {
                unsigned: 0,
                torn_bytes: torn.len() as u64
            }
        );
    }
    fault(format!("\u{feff}{text}").as_bytes());
    let upper = text.replacen("\"hash\":\"", "\u{1}", 1);
    let (head, tail) = upper.split_once('\u{1}').unwrap();
    let mut hash: String = tail[..64].to_uppercase();
    hash.insert_str(0, "\"hash\":\"");
    assert_eq!(
        fault(format!("{head}{hash}{}", &tail[64..]).as_bytes()).2,
        Fault::NotARecord
    );
}

#[test]
fn only_trusted_keys_count() {
    let scratch = Scratch::new();
    sample(&scratch.file(), 3, Sign::Group);
    let other = PublicKey::from_hex(&"07".repeat(32)).unwrap();
    for trusted in [&[][..], &[other]] {
        match verify(&scratch.file(), trusted) {
            Err(VerifyError::Bad(bad)) => assert_eq!(
                (bad.line, &bad.fault),
                (1, &Fault::Key(public().to_string()))
            ),
            other => panic!("{other:?}"),
        }
    }
    verify(&scratch.file(), &[other, public()]).unwrap();
}

#[test]
fn a_line_without_end_is_not_read_into_memory() {
    let (line, _, what) = fault(&vec![b'{'; 10 * 1024 * 1024]);
    assert_eq!((line, what), (1, Fault::TooLong));
    assert!(matches!(
        verify_file(std::path::Path::new("/dev/zero")),
        Err(VerifyError::File(_))
    ));
}
