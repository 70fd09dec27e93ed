//! Checks rule files while they are being written: parses, lints, and tries every example
//! against the engine.
//!
//! ```text
//! cargo run -p mcpf-rules --example check -- rulesets/*/*.yaml
//! ```
//! Exits with 0 when all is well and with 2 otherwise. Rules that fail the linter are not tried.
#![expect(clippy::print_stdout, reason = "a command-line tool for rule authors")]

use std::collections::HashSet;
use std::fmt::Display;
use std::process::ExitCode;

use mcpf_rules::{Rule, check_examples, lint, parse, specs};
use mcpf_scan::{BuildError, Engine};

fn main() -> ExitCode {
    let mut rules = Vec::new();
    let mut wrong = 0;
    for file in std::env::args().skip(1) {
        match std::fs::read_to_string(&file) {
            Err(error) => wrong += show(&[format!("{file}: {error}")]),
            Ok(text) => match parse(&text, &file) {
                Ok(more) => rules.extend(more),
                Err(found) => wrong += show(&found),
            },
        }
    }
    let count = rules.len();
    let found = lint(&rules);
    wrong += show(&found);
    rules.retain(|rule| lint(std::slice::from_ref(rule)).is_empty());
    wrong += tried(&rules);
    println!("{count} rules, {wrong} problems");
    if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    }
}

/// Tries the examples of `rules`, without those that the engine refuses.
fn tried(rules: &[Rule]) -> usize {
    match Engine::build(specs(rules), None) {
        Ok(engine) => show(&check_examples(&engine, rules)),
        Err(errors) => {
            let wrong = show(&errors);
            let refused: HashSet<_> = errors
                .iter()
                .filter_map(|error| match error {
                    BuildError::Pattern { rule, .. } | BuildError::Rule { rule, .. } => {
                        Some(rule.to_string())
                    }
                    _ => None,
                })
                .collect();
            let rest: Vec<Rule> = rules
                .iter()
                .filter(|rule| !refused.contains(rule.id.value.as_ref()))
                .cloned()
                .collect();
            if rest.len() < rules.len() {
                wrong + tried(&rest)
            } else {
                wrong
            }
        }
    }
}

fn show(problems: &[impl Display]) -> usize {
    problems.iter().for_each(|problem| println!("{problem}"));
    problems.len()
}
