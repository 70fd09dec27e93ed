//! What is built once and shared by all benches: rules, policies, the yardstick.

use std::fmt::{Display, Write as _};
use std::sync::{Arc, OnceLock};

use mcpf_model::Limits;
use mcpf_pipeline::{Context, Generation, Nanos, Shared};
use mcpf_policy::{Builtin, Plan};
use mcpf_scan::RuleSpec;
use mcpf_vectorscan::{Database, Flags, Literal, Mode, compile_literals};
use regex::bytes::{RegexSet, RegexSetBuilder};

/// Literals of the yardstick.
const LITERALS: usize = 2_000;

/// Everything that benches share.
#[derive(Debug)]
pub struct Fixture {
    /// The shipped rules of the default paranoia level with the starter policy.
    pub generation: Arc<Generation>,
    pub(crate) allow_list: Plan,
    pub(crate) fifty_rules: Plan,
    pub(crate) literals: Database,
    rules: Vec<RuleSpec>,
    set: OnceLock<Result<RegexSet, String>>,
    pub(crate) now: Nanos,
}

impl Fixture {
    /// Builds it with the shipped rules. A few seconds.
    ///
    /// # Errors
    /// What does not compile.
    pub fn new() -> Result<Self, String> {
        let rules = mcpf_rules::load_builtin().map_err(|errors| said(&errors))?;
        Self::with_rules(
            rules
                .into_iter()
                .filter(|rule| rule.paranoia <= 1)
                .collect(),
        )
    }

    /// Builds it with `rules`.
    ///
    /// # Errors
    /// What does not compile.
    pub fn with_rules(rules: Vec<RuleSpec>) -> Result<Self, String> {
        let starter = plan(Builtin::Starter.yaml())?;
        let generation = Generation::build(starter, rules.clone(), Limits::default(), None)
            .map_err(|errors| said(&errors))?;
        Ok(Self {
            generation: Arc::new(generation),
            allow_list: plan(ALLOW_LIST)?,
            fifty_rules: plan(&fifty_rules())?,
            literals: literals()?,
            rules,
            set: OnceLock::new(),
            now: Nanos(1),
        })
    }

    /// The naive way, built when it is first asked for: it takes seconds.
    pub(crate) fn set(&self) -> Result<&RegexSet, String> {
        let set = self.set.get_or_init(|| regex_set(&self.rules));
        set.as_ref().map_err(Clone::clone)
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            generation: Arc::clone(&self.generation),
            shared: Arc::new(Shared::default()),
        }
    }
}

fn said(errors: &[impl Display]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn plan(yaml: &str) -> Result<Plan, String> {
    Plan::parse(yaml, "bench.yaml").map_err(|errors| said(&errors))
}

/// The patterns as one set, with the meaning the engine gives them: bytes, ASCII classes.
fn regex_set(rules: &[RuleSpec]) -> Result<RegexSet, String> {
    let patterns = rules.iter().flat_map(|rule| &rule.patterns).map(|pattern| {
        let flags = match (pattern.caseless, pattern.dotall) {
            (true, true) => "(?is)",
            (true, false) => "(?i)",
            (false, true) => "(?s)",
            (false, false) => "",
        };
        format!("{flags}(?:{})", pattern.text)
    });
    RegexSetBuilder::new(patterns)
        .unicode(false)
        .size_limit(1 << 30)
        .build()
        .map_err(|error| error.to_string())
}

/// What a feed of threats has: names of hosts with one of many endings, and words without one.
fn literals() -> Result<Database, String> {
    let syllables: Vec<String> = "bcdfghjklmnpqrstvwz"
        .chars()
        .flat_map(|first| "aeiouy".chars().map(move |vowel| format!("{first}{vowel}")))
        .collect();
    let endings = [
        "com", "net", "org", "io", "ru", "xyz", "info", "top", "cn", "shop",
    ];
    // Steps that share no factor with the counts, so that names spread over all of them.
    let syllable = |n: usize| {
        syllables
            .get(n % syllables.len())
            .map_or("", String::as_str)
    };
    let names: Vec<String> = (0..LITERALS)
        .map(|n| {
            let ending = endings.get(n % endings.len()).copied().unwrap_or("com");
            let (a, b, c, d) = (n * 7, n * 13 + n / 3, n * 29 + n / 7, n * 53 + n / 11);
            let name = format!("{}{}{}", syllable(a), syllable(b), syllable(c));
            match n % 3 {
                0 => format!("{name}{}", syllable(d)),
                1 => format!("{name}{}.{ending}", syllable(d)),
                _ => format!("{name}.{ending}"),
            }
        })
        .collect();
    let literals: Vec<Literal<'_>> = (0_u32..)
        .zip(&names)
        .map(|(id, name)| Literal {
            bytes: name.as_bytes(),
            id,
            flags: Flags::NONE,
        })
        .collect();
    compile_literals(&literals, Mode::Block).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|error| error.message.clone()).collect();
        lines.join("\n")
    })
}

/// What an operator writes first.
const ALLOW_LIST: &str = r#"
version: 1
agents:
  "claude-*":
    allow: ["read_*|list_*|search_*|get_*"]
    deny: ["*delete*|*remove*"]
    require_approval: ["write_*|send_*"]
"#;

/// Fifty rules, each of which names a tool and looks at an argument; the calls pass most of them.
fn fifty_rules() -> String {
    let mut yaml = String::from("version: 1\ndefault: deny\nrules:\n");
    for n in 0..50 {
        let action = if n % 5 == 0 { "deny" } else { "allow" };
        let _infallible = write!(
            yaml,
            "  - name: rule-{n}\n    match:\n      tools: [\"tool_{n}\", \"*_{n}_*\"]\n      \
             arguments:\n        path: [\"/home/**\", \"/srv/{n}/**\"]\n    action: {action}\n"
        );
    }
    yaml
}
