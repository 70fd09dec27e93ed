//! From rules to what the engine runs.
//!
//! Enters: specs. Leaves: compiled patterns, the database that finds them, and every reason why a
//! rule is not usable. It never scans.

use std::path::Path;
use std::sync::Arc;

use mcpf_vectorscan as vectorscan;

use crate::engine::Rule;
use crate::pattern::{self, Compiled, Extension};
use crate::spec::{Anchor, RuleSpec, SurfaceSet};

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

/// The patterns that share an anchor, and where they apply.
#[derive(Debug)]
pub(crate) struct Anchored {
    pub(crate) anchor: Anchor,
    pub(crate) surfaces: SurfaceSet,
    pub(crate) patterns: Vec<u32>,
}

pub(crate) fn compile_patterns(
    spec: &RuleSpec,
    rule: u32,
    patterns: &mut Vec<Owned>,
    errors: &mut Vec<BuildError>,
) {
    let group = spec.capture.filter(|group| *group > 0);
    for (ix, text) in spec.patterns.iter().enumerate() {
        let fault = match pattern::compile(text, ix, spec.anchor) {
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

pub(crate) fn compile_rule(spec: &RuleSpec, index: u32, errors: &mut Vec<BuildError>) -> Rule {
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
    let keywords = spec
        .keywords
        .iter()
        .map(|keyword| keyword.to_ascii_lowercase().into_bytes().into_boxed_slice())
        .collect();
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

/// Compiles the database of every pattern that a literal anchors, and tells whether these very
/// patterns were compiled before: then their regexes can be built when they are first needed.
pub(crate) fn find_with(
    specs: &[RuleSpec],
    patterns: &[Owned],
    cache_dir: Option<&Path>,
) -> Result<(Option<vectorscan::Database>, bool), Vec<BuildError>> {
    let spec_of = |owned: &Owned| specs.get(owned.rule as usize);
    let found: Vec<vectorscan::Pattern<'_>> = (0_u32..)
        .zip(patterns)
        .filter(|(_, owned)| spec_of(owned).is_some_and(|spec| spec.anchor == Anchor::Literal))
        .map(|(id, owned)| {
            vectorscan::Pattern::new(id, &owned.compiled.expression)
                .with_flags(owned.compiled.flags)
        })
        .collect();
    if found.is_empty() {
        return Ok((None, false));
    }
    match vectorscan::load_or_compile(cache_dir, &found, vectorscan::Mode::Block) {
        Ok(loaded) => {
            let known = matches!(loaded.origin, vectorscan::Origin::Restored);
            Ok((Some(loaded.database), known))
        }
        Err(errors) => Err(errors
            .into_iter()
            .map(|error| {
                let owned = error.id.and_then(|id| patterns.get(id as usize));
                match owned.and_then(|owned| Some((owned, spec_of(owned)?))) {
                    Some((owned, spec)) => BuildError::Pattern {
                        rule: Arc::clone(&spec.id),
                        pattern: owned.compiled.place,
                        message: error.message,
                    },
                    None => BuildError::Set(error.message),
                }
            })
            .collect()),
    }
}

/// Groups the patterns of the other anchors.
pub(crate) fn anchored(specs: &[RuleSpec], patterns: &[Owned]) -> Vec<Anchored> {
    let mut groups: Vec<Anchored> = Vec::new();
    for (ix, owned) in (0_u32..).zip(patterns) {
        let Some(spec) = specs.get(owned.rule as usize) else {
            continue;
        };
        if spec.anchor == Anchor::Literal {
            continue;
        }
        match groups.iter_mut().find(|group| group.anchor == spec.anchor) {
            Some(group) => {
                group.surfaces = group.surfaces.union(spec.surfaces);
                group.patterns.push(ix);
            }
            None => groups.push(Anchored {
                anchor: spec.anchor,
                surfaces: spec.surfaces,
                patterns: vec![ix],
            }),
        }
    }
    groups
}
