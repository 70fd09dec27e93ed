//! The library against the `regex` crate, on random patterns and texts.
//!
//! `MCPF_DIFFERENTIAL_CASES` sets how many cases are tried (100,000),
//! `MCPF_DIFFERENTIAL_SEED` where the choices start (1).
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::collections::BTreeSet;

use mcpf_vectorscan::differential::{Refused, Twin, run, run_bytes, run_patterns};
use mcpf_vectorscan::{Flags, Pattern, target, version};
use regex::bytes::RegexBuilder;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| {
        text.replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: `{text}`"))
    })
}

#[test]
fn no_match_is_missed() {
    let cases = setting("MCPF_DIFFERENTIAL_CASES", 100_000);
    let seed = setting("MCPF_DIFFERENTIAL_SEED", 1);
    let report = run(seed, cases).unwrap();
    println!(
        "library {} for {}, seed {seed}: {} cases, {} match ends, {} extra, \
         {} missed by the known defect, {} sets skipped",
        version(),
        target(),
        report.cases,
        report.matches,
        report.extra,
        report.known,
        report.skipped
    );
    for miss in &report.misses {
        println!("{miss}");
    }
    assert!(
        report.misses.is_empty(),
        "{} misses, seed {seed}",
        report.misses.len()
    );
    assert!(
        report.matches > report.cases / 10,
        "the generator makes too few matches"
    );
}

#[test]
fn a_fuzzers_bytes_drive_the_same_oracle() {
    for length in 0..200_u8 {
        let bytes: Vec<u8> = (0..length).map(|i| i.wrapping_mul(73) ^ length).collect();
        let report = run_bytes(&bytes).unwrap();
        assert!(report.misses.is_empty(), "{:?}", report.misses);
    }
}

#[test]
fn given_patterns_are_held_to_the_oracle() {
    let patterns = [
        Pattern::new(9, r"\bsk-[a-z0-9]{8,24}\b"),
        Pattern::new(9, "(?:ignore|disregard) {1,3}(?:all )?previous").with_flags(Flags::CASELESS),
        Pattern::new(9, "a.{0,40}z").with_flags(Flags::DOTALL),
        Pattern::new(9, "(?:key|token|secret)[=:] ?[A-Za-z0-9_-]{20}"),
    ];
    let report = run_patterns(&patterns, 1, 200).unwrap();
    assert!(report.misses.is_empty(), "{:?}", report.misses);
    assert!(report.matches > report.cases, "{report:?}");
    let refused = run_patterns(&[Pattern::new(0, "a(")], 1, 1);
    assert!(matches!(refused, Err(Refused::Compile(_))));
}

/// When a new version of the library passes, the exception for the known
/// defect can go.
#[test]
fn the_known_defect_is_still_there() {
    let defective = [Pattern::new(
        0,
        "(?:a|bc|qwertyuiopsdfghjk)needle[0-9]{1,5}",
    )];
    assert!(!run_patterns(&defective, 1, 200).unwrap().misses.is_empty());
    let sound = [Pattern::new(0, "(?:a|bc|qwertyuiopsdfghj)needle[0-9]{1,5}")];
    assert!(run_patterns(&sound, 1, 200).unwrap().misses.is_empty());
}

/// All ends by brute force: is there a start such that the pattern matches
/// exactly the bytes between, in the context of the whole text?
fn brute(expression: &str, flags: Flags, text: &[u8]) -> BTreeSet<usize> {
    let mut ends = BTreeSet::new();
    for start in 0..=text.len() {
        for end in start..=text.len() {
            let rest = text.len() - end;
            let whole = format!(r"\A(?s-u:.){{{start}}}(?:{expression})(?s-u:.){{{rest}}}\z");
            let regex = RegexBuilder::new(&whole)
                .unicode(false)
                .case_insensitive(flags.contains(Flags::CASELESS))
                .dot_matches_new_line(flags.contains(Flags::DOTALL))
                .build()
                .unwrap();
            if regex.is_match(text) {
                ends.insert(end);
            }
        }
    }
    ends
}

#[test]
fn the_oracle_agrees_with_brute_force() {
    let patterns = [
        "ab",
        "a[bc]{1,3}",
        r"\bab\b",
        "(?:ab|b|bc)c{0,2}",
        "a.{0,3}b",
        r"[^a]\w",
        r"\ba{2,4}",
        r"b\b",
    ];
    let texts: [&[u8]; 5] = [b"abcbcab", b"aB ab-AB", b"aaaa\nab", b"\xff\x00ab b", b"b"];
    for flags in [Flags::NONE, Flags::CASELESS | Flags::DOTALL] {
        for pattern in patterns {
            let mut twin = Twin::expression(pattern, flags).unwrap();
            for text in texts {
                assert_eq!(
                    twin.ends(text),
                    brute(pattern, flags, text),
                    "{pattern} on {}",
                    text.escape_ascii()
                );
            }
        }
    }
    let mut twin = Twin::literal(b"ab", Flags::CASELESS);
    assert_eq!(twin.ends(b"xAbab"), brute("ab", Flags::CASELESS, b"xAbab"));
}
