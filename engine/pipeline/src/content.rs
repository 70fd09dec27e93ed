//! The operator's own content rules, as rules of the scan engine.

use mcpf_model::{Direction, Family, Severity};
use mcpf_policy::{ContentRule, Plan};
use mcpf_scan::{PatternSpec, RuleSpec, SurfaceSet};

/// One rule for each entry of the policy's `content` section.
pub(crate) fn specs(policy: &Plan) -> Vec<RuleSpec> {
    policy.content().iter().map(spec).collect()
}

fn spec(rule: &ContentRule) -> RuleSpec {
    let mut spec = RuleSpec::new(
        &format!("content.{}", rule.name),
        Family::Content,
        Severity::Medium,
        rule.action,
    );
    spec.name = rule.name.to_string();
    spec.surfaces = match rule.direction {
        Some(Direction::Inbound) => SurfaceSet::INBOUND,
        Some(Direction::Outbound) => SurfaceSet::OUTBOUND,
        None => SurfaceSet::ALL,
    };
    let words = rule.keywords.iter().map(|word| escape(word));
    spec.patterns = rule
        .regexes
        .iter()
        .cloned()
        .chain(words)
        .map(|text| PatternSpec {
            text,
            caseless: true,
            dotall: false,
        })
        .collect();
    spec
}

/// A pattern that matches `word` and nothing else.
fn escape(word: &str) -> String {
    let mut out = String::with_capacity(word.len() * 2);
    for c in word.chars() {
        if c.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
