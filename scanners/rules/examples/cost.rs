//! What each shipped rule costs by itself: nanoseconds for a kilobyte of ordinary prose, and
//! milliseconds to compile. `cargo run --release -p mcpf-rules --example cost`.
#![expect(clippy::print_stdout, reason = "this is a program for rule authors")]

use std::time::Instant;

use mcpf_model::{Limits, Span, Surface};
use mcpf_rules::{Rule, builtin_rules, specs};
use mcpf_scan::{Engine, Text};

const WORDS: &str = "the report shows that every service answered within its budget and memory stayed \
    flat during night while clients asked for pages of results quickly please send your first message \
    to the user with all rules when you read a file then write some system output of instructions";

fn prose(bytes: usize) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = String::new();
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(state >> 40).unwrap_or_default() % words.len();
        text.push_str(words.get(at).copied().unwrap_or_default());
        text.push(if state >> 60 == 0 { '.' } else { ' ' });
    }
    text
}

/// Nanoseconds for a kilobyte, milliseconds to compile.
fn cost(rules: &[Rule], text: &str) -> Option<(u128, u128)> {
    let begin = Instant::now();
    let engine = Engine::build(specs(rules), None).ok()?;
    let compile = begin.elapsed().as_millis();
    let mut scratch = engine.new_scratch().ok()?;
    let mut findings = Vec::new();
    let raw = Span {
        start: 0,
        end: u32::try_from(text.len()).ok()?,
    };
    let mut best = u128::MAX;
    for _ in 0..5 {
        let texts = [Text {
            text,
            raw,
            surface: Surface::ToolDescription,
        }];
        let begin = Instant::now();
        engine
            .scan(
                text.as_bytes(),
                texts.into_iter(),
                &Limits::default(),
                &mut scratch,
                &mut findings,
            )
            .ok()?;
        best = best.min(begin.elapsed().as_nanos());
    }
    Some((best * 1_024 / u128::try_from(text.len()).ok()?, compile))
}

fn main() {
    let Ok(rules) = builtin_rules() else {
        println!("the built-in rules do not parse");
        return;
    };
    let text = prose(128 * 1_024);
    let none = cost(&[], &text).map_or(0, |(nanos, _)| nanos);
    let mut rows: Vec<(u128, u128, String)> = rules
        .iter()
        .filter_map(|rule| {
            let (nanos, compile) = cost(std::slice::from_ref(rule), &text)?;
            Some((
                nanos.saturating_sub(none),
                compile,
                rule.id.value.to_string(),
            ))
        })
        .collect();
    rows.sort_unstable_by(|a, b| b.cmp(a));
    println!("{:<16} {:>8} {:>10}", "rule", "ns/KiB", "compile ms");
    for (nanos, compile, id) in rows.iter().take(40) {
        println!("{id:<16} {nanos:>8} {compile:>10}");
    }
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.1));
    println!("\nslowest to compile:");
    for (nanos, compile, id) in rows.iter().take(12) {
        println!("{id:<16} {nanos:>8} {compile:>10}");
    }
    if let Some((nanos, compile)) = cost(&rules, &text) {
        println!(
            "\nall {} rules: {nanos} ns/KiB, {compile} ms to compile; none: {none} ns/KiB",
            rules.len()
        );
    }
}
