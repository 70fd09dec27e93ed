//! The operator's own content rules, as rules of the scan engine.

use mcpf_model::{Direction, Family, Severity};
use mcpf_policy::{ContentRule, Plan};
use mcpf_scan::{BuildError, Engine, PatternSpec, RuleSpec, SurfaceSet};

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
    // An expression says itself whether case matters; a keyword is found in any case.
    let expressions = rule.regexes.iter().map(|text| (text.clone(), false));
    let words = rule.keywords.iter().map(|word| (escape(word), true));
    spec.patterns = expressions
        .chain(words)
        .map(|(text, caseless)| PatternSpec {
            text,
            caseless,
            dotall: false,
        })
        .collect();
    spec
}

/// Whether every content rule of `policy` can be searched for.
///
/// # Errors
///
/// Every rule that cannot, such as one that may match without end.
pub fn check_content(policy: &Plan) -> Result<(), Vec<BuildError>> {
    Engine::build(specs(policy), None).map(drop)
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
