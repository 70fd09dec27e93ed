//! What each shipped rule costs: the rule alone over clean text, in nanoseconds for each KiB,
//! what an engine without rules takes not counted.
//!
//! ```text
//! cargo run --release -p mcpf-benches --example cost -- [WORD...]
//! ```
//! Words choose rules by what their ids hold. The dearest come last.
#![expect(
    clippy::print_stdout,
    clippy::panic,
    reason = "a measurement is printed, and what does not compile ends it"
)]

use std::time::{Duration, Instant};

use mcpf_benches::{Haystack, generate};
use mcpf_model::{Finding, Limits, Span, Surface};
use mcpf_scan::{Engine, RuleSpec, Text};

const SIZE: u32 = 64 << 10;

const KINDS: [Haystack; 5] = [
    Haystack::Prose,
    Haystack::Code,
    Haystack::Json,
    Haystack::Base64,
    Haystack::NearMisses,
];

/// Nanoseconds for each KiB of every kind.
fn cost(rules: Vec<RuleSpec>) -> [f64; KINDS.len()] {
    let engine = Engine::build(rules, None).unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut scratch = engine
        .new_scratch()
        .unwrap_or_else(|error| panic!("{error}"));
    let limits = Limits::default();
    let mut findings: Vec<Finding> = Vec::new();
    KINDS.map(|kind| {
        let text = generate(kind, SIZE as usize);
        let mut best = Duration::MAX;
        for _ in 0..8 {
            let start = Instant::now();
            let texts = [
                Surface::ToolResult,
                Surface::Arguments,
                Surface::ToolDescription,
            ];
            for surface in texts {
                let one = Text {
                    text: &text,
                    raw: Span {
                        start: 0,
                        end: SIZE,
                    },
                    surface,
                };
                let done = engine.scan(
                    text.as_bytes(),
                    std::iter::once(one),
                    &limits,
                    &mut scratch,
                    &mut findings,
                );
                let _ = std::hint::black_box(done);
            }
            best = best.min(start.elapsed());
        }
        best.as_secs_f64() * 1e9 / 3.0 / (f64::from(SIZE) / 1024.0)
    })
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rules = mcpf_rules::load_builtin().unwrap_or_else(|errors| panic!("{errors:?}"));
    let none = cost(Vec::new());
    let all = cost(rules.clone());
    let mut costs: Vec<(String, [f64; KINDS.len()])> = rules
        .into_iter()
        .filter(|rule| words.is_empty() || words.iter().any(|word| rule.id.contains(word)))
        .map(|rule| {
            let name = format!("{} {}", rule.id, rule.anchor);
            let mut cost = cost(vec![rule]);
            for (cost, none) in cost.iter_mut().zip(none) {
                *cost -= none;
            }
            (name, cost)
        })
        .collect();
    costs.sort_by(|(_, a), (_, b)| a.iter().sum::<f64>().total_cmp(&b.iter().sum()));
    println!("{:<32}{:?}", "", KINDS);
    for (name, cost) in &costs {
        show(name, cost);
    }
    show("all of them together", &all);
    show("no rule at all", &none);
}

fn show(name: &str, cost: &[f64]) {
    let columns: Vec<String> = cost.iter().map(|cost| format!("{cost:>9.1}")).collect();
    println!("{name:<32}{}", columns.join(""));
}
