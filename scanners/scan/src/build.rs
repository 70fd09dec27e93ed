//! From rules to what the engine runs.
//!
//! Enters: specs. Leaves: compiled patterns, the databases that find them, and every reason why a
//! rule is not usable. It never scans.

use std::sync::{Arc, OnceLock};

use mcpf_model::Action;

use crate::engine::Rule;
use crate::needle::Chooser;
use crate::pattern::{self, Compiled, Extension};
use crate::spec::RuleSpec;

/// Why a rule cannot be compiled. The rule's author is the culprit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A pattern is not usable.
    #[error("rule `{rule}`, pattern {pattern}: {message}")]
    Pattern {
        /// Id of the rule.
        rule: Arc<str>,
        /// Place among the rule's patterns, from 0.
        pattern: usize,
        /// What is wrong.
        message: String,
    },
    /// Something else about the rule is not usable.
    #[error("rule `{rule}`: {message}")]
    Rule {
        /// Id of the rule.
        rule: Arc<str>,
        /// What is wrong.
        message: String,
    },
    /// The set as a whole was refused by the matcher.
    #[error("{0}")]
    Set(String),
}

/// A pattern and the rule it belongs to.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) rule: u32,
    pub(crate) compiled: Compiled,
}

/// What was compiled of some rules.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) rules: Vec<Rule>,
    pub(crate) patterns: Vec<Owned>,
    pub(crate) errors: Vec<BuildError>,
}

/// Compiles rules and their patterns, each rule given with its number.
pub(crate) fn compile(specs: &[(u32, &RuleSpec)]) -> Part {
    let mut part = Part::default();
    let mut chooser = Chooser::new();
    for (index, spec) in specs {
        if spec.action != Action::Pass {
            compile_patterns(
                spec,
                *index,
                &mut chooser,
                &mut part.patterns,
                &mut part.errors,
            );
        }
        let rule = compile_rule(spec, *index, &mut part.errors);
        part.rules.push(rule);
    }
    part
}

fn compile_patterns(
    spec: &RuleSpec,
    rule: u32,
    chooser: &mut Chooser,
    patterns: &mut Vec<Owned>,
    errors: &mut Vec<BuildError>,
) {
    let group = spec.capture.filter(|group| *group > 0);
    for (ix, text) in spec.patterns.iter().enumerate() {
        let fault = match pattern::compile(text, ix, spec.anchor, chooser) {
            Ok(compiled) => match group {
                Some(group) if usize::from(group) > compiled.groups => {
                    format!("it has no capture group {group}")
                }
                _ => {
                    patterns.push(Owned { rule, compiled });
                    continue;
                }
            },
            Err(message) => message,
        };
        errors.push(BuildError::Pattern {
            rule: Arc::clone(&spec.id),
            pattern: ix,
            message: fault,
        });
    }
}

fn compile_rule(spec: &RuleSpec, index: u32, errors: &mut Vec<BuildError>) -> Rule {
    let mut fault = |message: String| {
        errors.push(BuildError::Rule {
            rule: Arc::clone(&spec.id),
            message,
        });
    };
    if spec.patterns.is_empty() {
        fault("it has no pattern".to_owned());
    }
    if spec.keywords.iter().any(String::is_empty) {
        fault("a keyword is empty".to_owned());
    }
    let extend = spec.extend.as_deref().map(Extension::new);
    let keywords = (!spec.keywords.is_empty()).then(OnceLock::new);
    Rule {
        index,
        extend,
        keywords,
    }
}

/// Builds every regex, to report the ones that cannot be built.
pub(crate) fn try_regexes(
    specs: &[RuleSpec],
    rules: &[Rule],
    patterns: &[Owned],
) -> Result<(), Vec<BuildError>> {
    let mut errors: Vec<BuildError> = patterns
        .iter()
        .filter_map(|owned| {
            let spec = specs.get(owned.rule as usize)?;
            let message = owned.compiled.regex(spec).err()?.to_owned();
            Some(BuildError::Pattern {
                rule: Arc::clone(&spec.id),
                pattern: owned.compiled.place,
                message,
            })
        })
        .collect();
    errors.extend(rules.iter().zip(specs).filter_map(|(rule, spec)| {
        let message = rule.extend.as_ref()?.regex().err()?;
        Some(BuildError::Rule {
            rule: Arc::clone(&spec.id),
            message: format!("extend: {message}"),
        })
    }));
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}
