//! What is written in the place of a match.
//!
//! Enters: findings of one message. Leaves: disjoint spans of the frame, in order, each with the
//! text that replaces it. It never writes a frame itself.

use mcpf_model::{Finding, Span};

use crate::engine::Engine;

impl Engine {
    /// Replacements that remove every one of `findings` from its frame.
    ///
    /// Overlapping spans become one, named after the gravest finding in it. A replacement is
    /// `[REDACTED:RULE-ID]`: ASCII that needs no escape inside a JSON string. Which findings to
    /// redact is the caller's decision. Two keys of one object may come out equal.
    #[must_use]
    pub fn redactions<'f>(
        &self,
        findings: impl IntoIterator<Item = &'f Finding>,
    ) -> Vec<(Span, String)> {
        let mut sorted: Vec<&Finding> = findings.into_iter().collect();
        sorted.sort_by_key(|finding| {
            (
                finding.span,
                std::cmp::Reverse(finding.severity),
                finding.rule,
            )
        });
        let mut merged: Vec<(Span, &Finding)> = Vec::with_capacity(sorted.len());
        for finding in sorted {
            match merged.last_mut() {
                Some((span, gravest)) if finding.span.start < span.end => {
                    span.end = span.end.max(finding.span.end);
                    if finding.severity > gravest.severity {
                        *gravest = finding;
                    }
                }
                _ => merged.push((finding.span, finding)),
            }
        }
        merged
            .into_iter()
            .map(|(span, finding)| (span, replacement(&self.rule(finding.rule).id)))
            .collect()
    }
}

/// `[REDACTED:id]`, with anything unusual in the id made an underscore.
fn replacement(id: &str) -> String {
    let safe = id.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') => c,
        _ => '_',
    });
    "[REDACTED:".chars().chain(safe).chain([']']).collect()
}

#[cfg(test)]
mod tests {
    use super::replacement;

    #[test]
    fn replacements_are_safe_inside_json() {
        assert_eq!(replacement("SEC-AWS-001"), "[REDACTED:SEC-AWS-001]");
        assert_eq!(replacement("a\"b\\é"), "[REDACTED:a_b__]");
    }
}
