//! Checks rule files while they are being written: parses, lints, and tries every example.
//!
//! ```text
//! cargo run -p mcpf-rules --example check -- rulesets/secrets/*.yaml
//! ```
//! Exits with 0 when all is well and with 2 otherwise.
#![expect(clippy::print_stdout, reason = "a command-line tool for rule authors")]

use std::process::ExitCode;

use mcpf_rules::{Rule, lint, parse};
use regex::bytes::RegexBuilder;

fn main() -> ExitCode {
    let mut rules = Vec::new();
    let mut wrong = 0_usize;
    for file in std::env::args().skip(1) {
        let parsed = match std::fs::read_to_string(&file) {
            Ok(text) => parse(&text, &file),
            Err(error) => {
                println!("{file}: {error}");
                wrong += 1;
                continue;
            }
        };
        match parsed {
            Ok(more) => rules.extend(more),
            Err(found) => {
                wrong += found.len();
                found.iter().for_each(|one| println!("{one}"));
            }
        }
    }
    let found = lint(&rules);
    wrong += found.len();
    found.iter().for_each(|one| println!("{one}"));
    wrong += rules.iter().map(examples).sum::<usize>();
    println!("{} rules, {wrong} problems", rules.len());
    if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    }
}

/// Tries a rule's patterns on its examples; keywords and validators are not applied.
fn examples(rule: &Rule) -> usize {
    let regexes: Vec<_> = rule
        .patterns
        .iter()
        .filter_map(|at| {
            RegexBuilder::new(&at.value.text)
                .unicode(false)
                .case_insensitive(at.value.caseless)
                .dot_matches_new_line(at.value.dotall)
                .build()
                .ok()
        })
        .collect();
    let mut wrong = 0;
    for example in &rule.examples {
        if !regexes
            .iter()
            .any(|regex| regex.is_match(example.value.as_bytes()))
        {
            println!(
                "{}:{}:{}: example of {} is not found: {}",
                rule.source.file,
                example.place.line,
                example.place.column,
                rule.id.value,
                example.value
            );
            wrong += 1;
        }
    }
    for example in &rule.negative_examples {
        if rule.keywords.is_empty()
            && rule.validators.is_empty()
            && regexes
                .iter()
                .any(|regex| regex.is_match(example.value.as_bytes()))
        {
            println!(
                "{}:{}:{}: negative example of {} is found: {}",
                rule.source.file,
                example.place.line,
                example.place.column,
                rule.id.value,
                example.value
            );
            wrong += 1;
        }
    }
    wrong
}
