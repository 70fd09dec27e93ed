//! The rule file as written: YAML enters, untrusted serde types leave.
//!
//! Every closed set is still a string here, so that a misspelt name is reported with the others
//! instead of ending the parse. Nothing outside this crate sees these types.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_saphyr::{Location, Options, Spanned, UserMessageFormatter};

use crate::diagnostic::{At, Place};

/// A rule file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) version: Spanned<u32>,
    pub(crate) rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) id: Spanned<String>,
    pub(crate) name: Spanned<String>,
    pub(crate) family: Spanned<String>,
    pub(crate) severity: Spanned<String>,
    pub(crate) action: Option<Spanned<String>>,
    pub(crate) description: Spanned<String>,
    #[serde(default)]
    pub(crate) references: Vec<Spanned<String>>,
    pub(crate) surfaces: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) direction: Option<Spanned<String>>,
    pub(crate) views: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) paranoia: Option<Spanned<u32>>,
    pub(crate) anchor: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) capture: Option<Spanned<u32>>,
    pub(crate) extend: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) keywords: Vec<Spanned<String>>,
    pub(crate) keyword_window: Option<Spanned<u32>>,
    #[serde(default)]
    pub(crate) validators: Vec<Spanned<Validator>>,
    #[serde(default)]
    pub(crate) examples: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) negative_examples: Vec<Spanned<String>>,
    pub(crate) lint: Option<Spanned<Lint>>,
}

/// Exceptions from the linter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lint {
    pub(crate) allow: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) reason: String,
}

/// A check on the matched text: its name, or a map of its name to its argument.
#[derive(Debug)]
pub(crate) struct Validator {
    pub(crate) name: String,
    pub(crate) argument: Option<f64>,
}

impl<'de> Deserialize<'de> for Validator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValidatorVisitor)
    }
}

struct ValidatorVisitor;

impl<'de> Visitor<'de> for ValidatorVisitor {
    type Value = Validator;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a validator, or a map of one name to a number")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Validator, E> {
        Ok(Validator {
            name: name.to_owned(),
            argument: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Validator, A::Error> {
        let Some((name, argument)) = map.next_entry::<String, f64>()? else {
            return Err(A::Error::custom("an empty validator"));
        };
        if map.next_key::<String>()?.is_some() {
            return Err(A::Error::custom("one validator a list item"));
        }
        Ok(Validator {
            name,
            argument: Some(argument),
        })
    }
}

/// A pattern: a bare string, or a map with options.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) regex: Spanned<String>,
    pub(crate) caseless: Option<bool>,
    pub(crate) dotall: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternMap {
    regex: Spanned<String>,
    caseless: Option<bool>,
    #[serde(default)]
    dotall: bool,
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let at = Spanned::<Either>::deserialize(deserializer)?;
        Ok(match at.value {
            Either::Text(text) => Self {
                regex: Spanned::new(text, at.referenced, at.defined),
                caseless: None,
                dotall: false,
            },
            Either::Map(map) => Self {
                regex: map.regex,
                caseless: map.caseless,
                dotall: map.dotall,
            },
        })
    }
}

enum Either {
    Text(String),
    Map(PatternMap),
}

impl<'de> Deserialize<'de> for Either {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EitherVisitor)
    }
}

struct EitherVisitor;

impl<'de> Visitor<'de> for EitherVisitor {
    type Value = Either;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a regular expression, or a map with `regex`, `caseless` and `dotall`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Either, E> {
        Ok(Either::Text(text.to_owned()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Either, E> {
        Err(E::custom("an empty pattern"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Either, A::Error> {
        PatternMap::deserialize(MapAccessDeserializer::new(map))
            .map(Either::Map)
            .map_err(A::Error::custom)
    }
}

/// Reads `yaml`. Bounded by [`options`]; the caller bounds the length.
///
/// # Errors
/// The first thing that is not the YAML of a rule file, and where.
pub(crate) fn read(yaml: &str) -> Result<File, At<String>> {
    serde_saphyr::from_str_with_options(yaml, options()).map_err(|error| {
        let place = error.location().map_or_else(Place::default, place);
        At {
            value: message(&error),
            place,
        }
    })
}

/// Budgets for one rule file, at most 1 MiB long: 50,000 nodes, 32 deep, 100 aliases.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: 50_000,
            max_events: 200_000,
            max_aliases: 100,
            max_anchors: 100,
            max_depth: 32,
            max_documents: 1,
            max_total_scalar_bytes: 1_048_576,
        },
        strict_booleans: true,
        with_snippet: false,
    }
}

/// The parser's sentence without the place, which the diagnostic prints in front.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.render_with_formatter(&UserMessageFormatter);
    let first = text.lines().next().unwrap_or_default();
    let end = first.find(" at line ").unwrap_or(first.len());
    first
        .get(..end)
        .unwrap_or(first)
        .trim_start_matches("error: ")
        .to_owned()
}

/// A parser's location as ours.
pub(crate) fn place(location: Location) -> Place {
    Place {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

/// A parser's located value as ours.
pub(crate) fn at<T>(spanned: Spanned<T>) -> At<T> {
    At {
        place: place(spanned.referenced),
        value: spanned.value,
    }
}
