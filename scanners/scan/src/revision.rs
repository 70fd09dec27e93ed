//! A name for exactly this set of rules.
//!
//! Enters: the specs. Leaves: a SHA-256 over every field of every rule, in order. Two engines
//! with the same revision report the same findings for the same message.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::spec::{PatternSpec, RuleSpec};

/// Version of the encoding below and of what the engine makes of a rule.
const ENCODING: &[u8] = b"mcpf-scan 1";

/// Lower-case hexadecimal SHA-256 of `specs`.
pub(crate) fn revision(specs: &[RuleSpec]) -> String {
    let mut hash = Fields(Sha256::new());
    hash.bytes(ENCODING);
    for spec in specs {
        hash.spec(spec);
    }
    let mut hex = String::with_capacity(64);
    for byte in hash.0.finalize() {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Length first, so that fields cannot run into each other.
struct Fields(Sha256);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn count(&mut self, count: usize) {
        self.0
            .update(u64::try_from(count).unwrap_or(u64::MAX).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn spec(&mut self, spec: &RuleSpec) {
        // Destructured, so that a new field cannot be forgotten here.
        let RuleSpec {
            id,
            name,
            description,
            family,
            severity,
            action,
            surfaces,
            views,
            paranoia,
            patterns,
            anchor,
            extend,
            keywords,
            keyword_window,
            validators,
            capture,
        } = spec;
        for text in [
            &**id,
            name,
            description,
            family.as_str(),
            severity.as_str(),
            action.as_str(),
        ] {
            self.text(text);
        }
        self.text(&format!(
            "{surfaces:?} {views:?} {paranoia} {anchor} {keyword_window} {capture:?}"
        ));
        self.count(patterns.len());
        for PatternSpec {
            text,
            caseless,
            dotall,
        } in patterns
        {
            self.text(text);
            self.text(&format!("{caseless} {dotall}"));
        }
        self.text(&format!("{extend:?}"));
        self.count(keywords.len());
        keywords.iter().for_each(|keyword| self.text(keyword));
        self.count(validators.len());
        validators
            .iter()
            .for_each(|validator| self.text(&validator.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use mcpf_model::{Action, Family, Severity};

    use super::*;

    #[test]
    fn every_change_shows() {
        let rule = || {
            RuleSpec::new("A-B-001", Family::Secret, Severity::High, Action::Redact)
                .pattern("secret", true)
        };
        let base = revision(&[rule()]);
        assert_eq!(base.len(), 64);
        assert_eq!(base, revision(&[rule()]));
        let mut other = rule();
        other.action = Action::Block;
        assert_ne!(base, revision(&[other]));
        assert_ne!(base, revision(&[rule(), rule()]));
        let mut other = rule();
        other.keywords.push("x".to_owned());
        assert_ne!(base, revision(&[other]));
    }
}
