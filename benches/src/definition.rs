//! The definitions: TOML enters, checked benches leave. Nothing is built or run here.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::haystack::Haystack;

/// Every definition file, by name.
const FILES: [(&str, &str); 4] = [
    ("wire.toml", include_str!("../definitions/wire.toml")),
    ("scan.toml", include_str!("../definitions/scan.toml")),
    ("policy.toml", include_str!("../definitions/policy.toml")),
    (
        "pipeline.toml",
        include_str!("../definitions/pipeline.toml"),
    ),
];

const GOALS: &str = include_str!("../definitions/goals.toml");

/// What is run over a haystack, and what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineName {
    /// The wire parser over a `tools/call`; counts strings, keys among them.
    ParseCall,
    /// The wire parser over the answer to one; counts strings, keys among them.
    ParseResult,
    /// Every shipped rule over one text; counts findings.
    Rules,
    /// Every shipped rule over the same text cut into many; counts findings.
    RulesMany,
    /// 2,000 literals through the literal API of the matcher; counts matches. The yardstick.
    Literals,
    /// Every pattern in one `regex::RegexSet`; counts the patterns that match. The naive way.
    RegexSet,
    /// Decisions of a policy that is one list of allowed tools; counts calls let through.
    AllowList,
    /// Decisions of a policy of 50 rules with conditions on arguments; counts calls let through.
    FiftyRules,
    /// The whole corridor with every shipped rule and the starter policy over a `tools/call`;
    /// counts findings.
    Call,
    /// The same over the answer to one.
    Result,
}

/// Length of a haystack, in bytes: of a text, or of a whole frame where an engine reads frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
        units
            .iter()
            .find_map(|(unit, factor)| {
                let number: usize = text.strip_suffix(unit)?.parse().ok()?;
                number.checked_mul(*factor).map(Self)
            })
            .ok_or_else(|| format!("`{text}` is not a size such as 200B, 16KiB or 1MiB"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 20 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n >= 1 << 10 && n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

/// What a bench must come to before it is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Count {
    /// This many.
    Exactly(u64),
    /// A refusal: more than the engine reports.
    TooMany(TooMany),
}

/// The word in a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TooMany {
    /// More than the limit.
    #[serde(rename = "too many")]
    TooMany,
}

/// One bench: an engine over a haystack of one size.
#[derive(Clone, Debug)]
pub struct Bench {
    /// `group/name/size`.
    pub name: String,
    /// What is run.
    pub engine: EngineName,
    /// What it is run over.
    pub haystack: Haystack,
    /// How much of it.
    pub size: Size,
    /// What it must count.
    pub expect: Count,
    /// What the corridor must decide; `None` where nothing is decided.
    pub verdict: Option<String>,
}

/// A ratio of two benches of one run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// What is aimed at, in words.
    pub name: String,
    /// The bench that is to be fast.
    pub bench: String,
    /// The yardstick.
    pub against: String,
    /// The least ratio of their throughputs.
    pub at_least: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    group: String,
    bench: Vec<RawBench>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBench {
    name: String,
    engine: EngineName,
    haystack: Haystack,
    /// For each size what must be counted.
    expect: BTreeMap<String, Count>,
    verdict: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGoals {
    goal: Vec<Goal>,
}

/// Every bench, in the order of the definitions, small sizes first.
///
/// # Errors
/// What is wrong with a definition, and in which file.
pub fn benches() -> Result<Vec<Bench>, String> {
    let mut all = Vec::new();
    for (file, text) in FILES {
        let raw: RawFile = toml::from_str(text).map_err(|error| format!("{file}: {error}"))?;
        for bench in raw.bench {
            let mut sizes = Vec::new();
            for (size, expect) in &bench.expect {
                let size: Size = size.parse().map_err(|error| format!("{file}: {error}"))?;
                sizes.push((size, *expect));
            }
            sizes.sort_by_key(|(size, _)| *size);
            all.extend(sizes.into_iter().map(|(size, expect)| Bench {
                name: format!("{}/{}/{size}", raw.group, bench.name),
                engine: bench.engine,
                haystack: bench.haystack,
                size,
                expect,
                verdict: bench.verdict.clone(),
            }));
        }
    }
    Ok(all)
}

/// The ratios aimed at.
///
/// # Errors
/// What is wrong with `goals.toml`.
pub fn goals() -> Result<Vec<Goal>, String> {
    let raw: RawGoals = toml::from_str(GOALS).map_err(|error| format!("goals.toml: {error}"))?;
    Ok(raw.goal)
}
