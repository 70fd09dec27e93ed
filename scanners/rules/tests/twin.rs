//! Every shipped rule, found by the engine wherever its slow twin finds it.
//!
//! The texts are the rules' own examples, whole and damaged, between pieces of other text, so that
//! each stands at many alignments. The twin is plain `regex` over every view of every text.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails loudly"
)]

use mcpf_model::{Finding, Limits, Span, Surface};
use mcpf_rules::Rule;
use mcpf_scan::{Engine, Scratch, Text};

/// Texts made from each example.
const VARIANTS: u64 = 3;

struct Entropy(u64);

impl Entropy {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }

    /// An example between pieces of other text, sometimes damaged by a byte.
    fn text(&mut self, example: &str, other: &str) -> String {
        const FILLERS: [&str; 6] = ["", " ", "the report shows ", "x=", "\n\n", "\u{200b}é "];
        let mut text = FILLERS[self.below(FILLERS.len())].repeat(self.below(9));
        let start = text.len();
        text.push_str(example);
        if self.below(3) == 0 {
            let at = start + self.below(example.len());
            if text.is_char_boundary(at) && text[at..].chars().next().is_some_and(|c| c.is_ascii())
            {
                let with = ["", "a", "A", "0", " ", "-"][self.below(6)];
                text.replace_range(at..=at, with);
            }
        }
        text.push_str(FILLERS[self.below(FILLERS.len())]);
        if self.below(4) == 0 {
            text.push_str(other);
        }
        text
    }
}

/// The engine and its slow twin, and texts to try them with.
struct Twins<'r> {
    engine: Engine,
    scratch: Scratch,
    seed: u64,
    entropy: Entropy,
    /// Of every rule, the negative ones too.
    examples: Vec<&'r str>,
    texts: usize,
    findings: usize,
}

impl<'r> Twins<'r> {
    /// `seed` gives way to `MCPF_TWIN_SEED`.
    fn new(rules: &'r [Rule], seed: u64) -> Self {
        let engine = Engine::build(mcpf_rules::specs(rules), None).unwrap();
        let scratch = engine.new_scratch().unwrap();
        let seed = std::env::var("MCPF_TWIN_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or(seed);
        let examples = rules
            .iter()
            .flat_map(|rule| rule.examples.iter().chain(&rule.negative_examples))
            .map(|example| example.value.as_str())
            .collect();
        Self {
            engine,
            scratch,
            seed,
            entropy: Entropy(seed),
            examples,
            texts: 0,
            findings: 0,
        }
    }

    fn any_example(&mut self) -> &'r str {
        self.examples[self.entropy.below(self.examples.len())]
    }

    /// Holds the two equal on `text`, whoever reads it.
    fn compare(&mut self, text: &str) {
        let surface = Surface::ALL[self.entropy.below(4)];
        let fast = self.found(text, surface, Twin::Fast);
        let slow = self.found(text, surface, Twin::Slow);
        assert_eq!(fast, slow, "seed {}, text {text:?}", self.seed);
        self.texts += 1;
        self.findings += slow.len();
    }

    fn found(&mut self, text: &str, surface: Surface, twin: Twin) -> Vec<Finding> {
        let frame = serde_json::to_string(text).unwrap();
        let raw = Span {
            start: 1,
            end: frame.len() as u32 - 1,
        };
        let texts = [Text { text, raw, surface }];
        let mut findings = Vec::new();
        let limits = Limits {
            max_findings: 1_000_000,
            ..Limits::default()
        };
        let scan = match twin {
            Twin::Fast => Engine::scan,
            Twin::Slow => Engine::scan_naive,
        };
        let outcome = scan(
            &self.engine,
            frame.as_bytes(),
            texts.into_iter(),
            &limits,
            &mut self.scratch,
            &mut findings,
        );
        assert!(outcome.is_ok(), "{outcome:?} on {text:?}");
        findings
    }
}

/// Which of the two scans.
#[derive(Clone, Copy)]
enum Twin {
    Fast,
    Slow,
}

#[test]
fn the_engine_misses_nothing_its_twin_finds() {
    let rules = mcpf_rules::builtin_rules().unwrap();
    let mut twins = Twins::new(&rules, 1);
    for example in twins.examples.clone() {
        for _ in 0..VARIANTS {
            let other = twins.any_example();
            let text = twins.entropy.text(example, other);
            twins.compare(&text);
        }
    }
    let (texts, findings) = (twins.texts, twins.findings);
    println!("{texts} texts, {findings} findings, no disagreement");
    assert!(findings > twins.examples.len());
}

/// Long texts, in which examples and their pieces stand at every distance from each other: what is
/// looked for is remembered for 4 KiB, in blocks of 64 bytes, and no border may hide a match.
#[test]
fn nor_in_long_texts() {
    const TEXTS: usize = 24;
    const LENGTH: usize = 14 * 1_024;
    let rules = mcpf_rules::builtin_rules().unwrap();
    let mut twins = Twins::new(&rules, 2);
    for _ in 0..TEXTS {
        let mut text = String::new();
        while text.len() < LENGTH {
            let example = twins.any_example();
            let entropy = &mut twins.entropy;
            match entropy.below(4) {
                0 => text.push_str(example),
                1 => {
                    let words: Vec<&str> = example.split(' ').collect();
                    let at = entropy.below(words.len());
                    text.push_str(&words[at..].join(" "));
                }
                2 => text.push_str(&"and so on ".repeat(entropy.below(20))),
                _ => text.push_str(&".".repeat(entropy.below(70))),
            }
            text.push(' ');
        }
        twins.compare(&text);
    }
    let (texts, findings) = (twins.texts, twins.findings);
    println!("{texts} texts, {findings} findings, no disagreement");
    assert!(findings > 20 * TEXTS);
}
