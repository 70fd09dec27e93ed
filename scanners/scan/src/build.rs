//! From rules to what the engine runs.
//!
//! Enters: specs. Leaves: compiled patterns, the databases that find them, and every reason why a
//! rule is not usable. It never scans.

use std::path::Path;
use std::sync::Arc;

use mcpf_model::Surface;
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

/// Which patterns share a database: the first set here that holds all their surfaces.
///
/// What is said about tools, the costliest text to look through, is seldom sent; and an argument
/// is never read as an instruction. So neither pays for the other's patterns.
const SHARES: [SurfaceSet; 4] = [
    SurfaceSet::EMPTY.with(Surface::Arguments),
    SurfaceSet::EMPTY.with(Surface::ToolDescription),
    SurfaceSet::OUTBOUND,
    SurfaceSet::ALL,
];

/// The patterns of one of [`SHARES`].
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) surfaces: SurfaceSet,
    pub(crate) database: vectorscan::Database,
}

/// Compiles the databases of every pattern that a literal anchors, and tells whether these very
/// patterns were compiled before: then their regexes can be built when they are first needed.
pub(crate) fn find_with(
    specs: &[RuleSpec],
    patterns: &[Owned],
    cache_dir: Option<&Path>,
) -> Result<(Vec<Share>, bool), Vec<BuildError>> {
    let mut found: [(SurfaceSet, Vec<vectorscan::Pattern<'_>>); SHARES.len()] = Default::default();
    for (id, owned) in (0_u32..).zip(patterns) {
        let spec = specs.get(owned.rule as usize);
        let Some(spec) = spec.filter(|spec| spec.anchor == Anchor::Literal) else {
            continue;
        };
        let of = SHARES.iter().zip(&mut found);
        let mut fit = of.filter(|(share, _)| share.union(spec.surfaces) == **share);
        if let Some((_, (surfaces, list))) = fit.next() {
            *surfaces = surfaces.union(spec.surfaces);
            list.push(
                vectorscan::Pattern::new(id, &owned.compiled.expression)
                    .with_flags(owned.compiled.flags),
            );
        }
    }
    let mut shares = Vec::with_capacity(SHARES.len());
    let mut errors = Vec::new();
    let mut known = true;
    for (surfaces, list) in found.iter().filter(|(_, list)| !list.is_empty()) {
        match vectorscan::load_or_compile(cache_dir, list, vectorscan::Mode::Block) {
            Ok(loaded) => {
                known &= matches!(loaded.origin, vectorscan::Origin::Restored);
                shares.push(Share {
                    surfaces: *surfaces,
                    database: loaded.database,
                });
            }
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() {
        known &= !shares.is_empty();
        return Ok((shares, known));
    }
    // Rules are blamed in their order, which is that of their patterns' ids.
    errors.sort_by_key(|error| error.id);
    let blame = |error| blamed(error, specs, patterns);
    Err(errors.into_iter().map(blame).collect())
}

/// The rule whose pattern was refused.
fn blamed(error: vectorscan::CompileError, specs: &[RuleSpec], patterns: &[Owned]) -> BuildError {
    let owned = error.id.and_then(|id| patterns.get(id as usize));
    let spec = owned.and_then(|owned| specs.get(owned.rule as usize));
    match owned.zip(spec) {
        Some((owned, spec)) => BuildError::Pattern {
            rule: Arc::clone(&spec.id),
            pattern: owned.compiled.place,
            message: error.message,
        },
        None => BuildError::Set(error.message),
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
