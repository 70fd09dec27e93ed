//! `decide` against a slow twin: random policies and calls, interpreted straight from the YAML
//! without compiling anything, with a backtracking glob and every reading of every value.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::ops::ControlFlow;

use mcpf_model::{Direction, Mode};
use mcpf_policy::{Arguments, Call, Plan};
use proptest::prelude::*;
use serde_json::Value;

/// Arguments as pairs of path and value.
#[derive(Clone, Debug)]
struct Pairs(Vec<(&'static str, &'static str)>);

impl Arguments for Pairs {
    fn leaves(&self, path: &str, visit: &mut dyn FnMut(&str) -> ControlFlow<()>) {
        for (_, value) in self.0.iter().filter(|(key, _)| *key == path) {
            if visit(value).is_break() {
                return;
            }
        }
    }

    fn all(&self, visit: &mut dyn FnMut(&str) -> ControlFlow<()>) {
        for (_, value) in &self.0 {
            if visit(value).is_break() {
                return;
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Sample {
    direction: Direction,
    method: &'static str,
    tool: Option<&'static str>,
    resource: Option<&'static str>,
    agent: &'static str,
    server: &'static str,
    arguments: Pairs,
}

const TOOLS: &[&str] = &[
    "read_file",
    "write_file",
    "delete_file",
    "exec",
    "list",
    "get_Delete",
    "a/b",
    "Read_x",
];
const TOOL_GLOBS: &[&str] = &[
    "read_*",
    "*_file",
    "exec|list",
    "*",
    "delete_file",
    "r?ad_*",
    "[rw]*",
    "*a*|*b*",
    "**",
];
const METHODS: &[&str] = &[
    "tools/call",
    "tools/call",
    "tools/call",
    "tools/list",
    "resources/read",
    "ping",
    "notifications/progress",
    "x/y",
    "prompts/get",
    "roots/list",
    "tasks/get",
];
const METHOD_GLOBS: &[&str] = &[
    "tools/*",
    "*",
    "tools/call",
    "ping",
    "notifications/*",
    "resources/read|prompts/get",
];
const URIS: &[&str] = &[
    "file:///etc/passwd",
    "file:///srv/a/../../etc/passwd",
    "file:///srv/a",
    "https://x/y",
    "FILE:/etc//passwd",
    "file:///%65tc/passwd?q",
    "file:///srv/%252e%252e/etc/passwd",
    "file:///srv/",
    "file://localhost/srv/b",
];
const VALUES: &[&str] = &[
    "/etc/passwd",
    "/srv/x",
    "/srv/../etc/passwd",
    "a/./b",
    "/srv//x",
    "/etc/passwd\0.txt",
    "C:\\srv\\..\\x",
    "hello",
    "/srv",
    "/srv/",
    "\\etc\\passwd",
    "/srv/..\\..\\etc",
    "file:///etc/x",
    "../../etc/passwd",
    "see http://x//y",
    "/etc",
    ".",
    "",
    "//",
    "x:y",
    "ab:/etc/./z",
    "/.srv/x",
];
const VALUE_GLOBS: &[&str] = &[
    "/etc/**",
    "/srv/*",
    "**",
    "**/passwd",
    "*",
    "file:///srv/**",
    "**/srv/**",
    "/srv/**",
    "h?llo",
    "https://*/*",
    "a/**/b",
    "file:///etc/*",
];
const REGEXES: &[&str] = &["passwd$", "^/srv", "x", r"\.\."];
const AGENTS: &[&str] = &["claude-1", "bot", "default"];
const SERVERS: &[&str] = &["", "mail", "files"];

fn pick(from: &'static [&'static str]) -> BoxedStrategy<&'static str> {
    prop::sample::select(from).boxed()
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

fn globs(from: &'static [&'static str], least: usize) -> BoxedStrategy<String> {
    prop::collection::vec(pick(from).prop_map(quoted), least..3)
        .prop_map(|all| format!("[{}]", all.join(", ")))
        .boxed()
}

fn values() -> BoxedStrategy<String> {
    let one = prop_oneof![
        3 => pick(VALUE_GLOBS).prop_map(quoted),
        1 => pick(REGEXES).prop_map(|r| format!("{{regex: '{r}'}}")),
    ];
    prop::collection::vec(one, 1..3)
        .prop_map(|all| format!("[{}]", all.join(", ")))
        .boxed()
}

fn maybe(key: &'static str, value: BoxedStrategy<String>, odds: f64) -> BoxedStrategy<String> {
    prop::option::weighted(odds, value)
        .prop_map(move |v| v.map_or(String::new(), |v| format!("{key}: {v}, ")))
        .boxed()
}

fn rule() -> BoxedStrategy<String> {
    let arguments = (pick(&["path", "*", "other"]), values())
        .prop_map(|(path, values)| format!("{{'{path}': {values}}}"))
        .boxed();
    let conditions = (
        maybe("methods", globs(METHOD_GLOBS, 1), 0.4),
        maybe("tools", globs(TOOL_GLOBS, 1), 0.4),
        maybe("resources", values(), 0.2),
        maybe("arguments", arguments, 0.4),
        maybe("agents", globs(&["claude-*", "bot", "*"], 1), 0.2),
        maybe(
            "direction",
            pick(&["inbound", "outbound", "both"])
                .prop_map(String::from)
                .boxed(),
            0.2,
        ),
    )
        .prop_map(|(a, b, c, d, e, f)| format!("{{{a}{b}{c}{d}{e}{f}}}"));
    let mode = maybe(
        "mode",
        pick(&["enforce", "monitor"]).prop_map(String::from).boxed(),
        0.3,
    );
    (
        conditions,
        pick(&["allow", "deny", "prompt", "audit", "redact"]),
        mode,
    )
        .prop_map(|(c, action, mode)| format!("{mode}match: {c}, action: {action}}}"))
        .boxed()
}

/// Rules as a YAML list; names are numbered from `prefix`.
fn rules(prefix: &'static str) -> BoxedStrategy<String> {
    prop::collection::vec(rule(), 0..4)
        .prop_map(move |all| {
            let named = all
                .iter()
                .enumerate()
                .map(|(i, r)| format!("{{name: {prefix}{i}, {r}"));
            format!("[{}]", named.collect::<Vec<_>>().join(", "))
        })
        .boxed()
}

fn policy() -> BoxedStrategy<String> {
    let agent = (
        maybe("allow", globs(TOOL_GLOBS, 0), 0.5),
        maybe("deny", globs(TOOL_GLOBS, 0), 0.4),
        maybe("require_approval", globs(TOOL_GLOBS, 0), 0.4),
    )
        .prop_map(|(a, b, c)| format!("{{{a}{b}{c}}}"))
        .boxed();
    let default = maybe(
        "default",
        pick(&["allow", "deny", "prompt"])
            .prop_map(String::from)
            .boxed(),
        0.8,
    );
    let words = (
        maybe(
            "allow_prefix",
            pick(&["[get_]", "[read, li]"])
                .prop_map(String::from)
                .boxed(),
            0.3,
        ),
        maybe(
            "block_keywords",
            pick(&["[delete]", "[EX]"]).prop_map(String::from).boxed(),
            0.3,
        ),
    )
        .prop_map(|(a, b)| format!("{a}{b}"))
        .boxed();
    let section = (rules("s"), default.clone(), words.clone())
        .prop_map(|(r, d, w)| format!("{{{d}{w}rules: {r}}}"))
        .boxed();
    let agents = (agent.clone(), agent)
        .prop_map(|(a, b)| format!("{{'*': {a}, 'claude-*': {b}}}"))
        .boxed();
    (
        maybe(
            "mode",
            pick(&["enforce", "monitor"]).prop_map(String::from).boxed(),
            0.5,
        ),
        default,
        words,
        maybe("agents", agents, 0.6),
        maybe(
            "servers",
            section.prop_map(|s| format!("{{mail: {s}}}")).boxed(),
            0.4,
        ),
        rules("g"),
    )
        .prop_map(|(m, d, w, a, s, r)| format!("{{version: 1, {m}{d}{w}{a}{s}rules: {r}}}"))
        .boxed()
}

fn sample() -> BoxedStrategy<Sample> {
    let pair = (pick(&["path", "other"]), pick(VALUES));
    (
        any::<bool>(),
        pick(METHODS),
        pick(TOOLS),
        pick(URIS),
        pick(AGENTS),
        pick(SERVERS),
        prop::collection::vec(pair, 0..4),
    )
        .prop_map(
            |(inbound, method, tool, uri, agent, server, pairs)| Sample {
                direction: if inbound {
                    Direction::Inbound
                } else {
                    Direction::Outbound
                },
                method,
                tool: (method == "tools/call").then_some(tool),
                resource: method.starts_with("resources/").then_some(uri),
                agent,
                server,
                arguments: Pairs(pairs),
            },
        )
        .boxed()
}

// The twin.

fn glob(pattern: &[char], text: &[char], slashes: bool, start: bool) -> bool {
    match pattern {
        [] => text.is_empty(),
        // "**" as a whole component
        ['*', '*', '/', rest @ ..] if slashes && start => {
            glob(rest, text, slashes, true)
                || (0..text.len())
                    .any(|i| text[i] == '/' && glob(rest, &text[i + 1..], slashes, true))
        }
        ['*', '*'] if slashes && start => true,
        ['/', '*', '*'] if slashes => text.first() == Some(&'/'),
        ['/', '*', '*', '/', rest @ ..] if slashes => {
            text.first() == Some(&'/')
                && (0..text.len())
                    .any(|i| text[i] == '/' && glob(rest, &text[i + 1..], slashes, false))
        }
        ['*', rest @ ..] => {
            glob(rest, text, slashes, false)
                || text.first().is_some_and(|c| !(slashes && *c == '/'))
                    && glob(pattern, &text[1..], slashes, false)
        }
        ['?', rest @ ..] => {
            text.first().is_some_and(|c| !(slashes && *c == '/'))
                && glob(rest, &text[1..], slashes, false)
        }
        ['[', rest @ ..] => {
            let end = rest.iter().position(|c| *c == ']').unwrap();
            text.first().is_some_and(|c| rest[..end].contains(c))
                && glob(&rest[end + 1..], &text[1..], slashes, false)
        }
        [c, rest @ ..] => text.first() == Some(c) && glob(rest, &text[1..], slashes, false),
    }
}

fn is_glob(pattern: &str, text: &str, slashes: bool) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    glob(&pattern, &text, slashes, true)
}

fn name_in(list: &Value, name: &str) -> bool {
    list.as_array()
        .unwrap()
        .iter()
        .flat_map(|glob| glob.as_str().unwrap().split('|'))
        .any(|glob| is_glob(glob, name, false))
}

fn value_in(list: &Value, text: &str, restrict: bool) -> bool {
    list.as_array()
        .unwrap()
        .iter()
        .any(|pattern| match pattern {
            Value::String(pattern) => {
                let parent = pattern
                    .strip_suffix("/**")
                    .filter(|p| restrict && !p.is_empty());
                is_glob(pattern, text, true)
                    || parent.is_some_and(|p| !p.ends_with('*') && is_glob(p, text, true))
            }
            pattern => {
                let regex = pattern.get("regex").unwrap().as_str().unwrap();
                regex::Regex::new(regex).unwrap().is_match(text)
            }
        })
}

fn tidy(path: &str) -> String {
    let mut text = path.to_owned();
    while text.contains("//") {
        text = text.replace("//", "/");
    }
    let mut kept: Vec<String> = Vec::new();
    for part in text.trim_matches('/').split('/') {
        let climbs = part == ".." && kept.last().is_some_and(|k| k != "..");
        if climbs {
            kept.pop();
        } else if !(part.is_empty() || part == "." || (part == ".." && path.starts_with('/'))) {
            kept.push(part.to_owned());
        }
    }
    format!(
        "{}{}",
        if path.starts_with('/') { "/" } else { "" },
        kept.join("/")
    )
}

fn undo_percent(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(i) = rest.find('%') {
        out.push_str(&rest[..i]);
        match rest
            .get(i + 1..i + 3)
            .and_then(|h| u8::from_str_radix(h, 16).ok())
        {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[i + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[i + 1..];
            }
        }
    }
    out + rest
}

fn settled(text: &str, rounds: usize) -> String {
    let scheme = regex::Regex::new(r"^([A-Za-z][A-Za-z0-9+.-]+):(//([^/]*))?(.*)$").unwrap();
    let Some(parts) = scheme.captures(text) else {
        return tidy(text);
    };
    let name = parts[1].to_lowercase();
    if parts.get(2).is_none() && name != "file" {
        return tidy(text);
    }
    let host = parts
        .get(3)
        .map_or(String::new(), |h| h.as_str().to_lowercase());
    let mut path = parts[4].to_owned();
    for _ in 0..rounds {
        path = undo_percent(&path);
    }
    path = tidy(&path);
    if name == "file" && !path.starts_with('/') {
        path = format!("/{path}");
    }
    let host = if name == "file" && host == "localhost" {
        String::new()
    } else {
        host
    };
    format!("{name}://{host}{path}")
}

fn value_holds(list: &Value, text: &str, restrict: bool) -> bool {
    if !restrict {
        let mut forms = vec![text.to_owned(), settled(text, 1)];
        if text.contains('\\') && text.contains("..") {
            forms.push(settled(&text.replace('\\', "/"), 1));
        }
        return !text.contains('\0') && forms.iter().all(|form| value_in(list, form, false));
    }
    let mut bases = vec![text.to_owned(), text.split('\0').next().unwrap().to_owned()];
    // Some servers decode a plain path, and some of them again.
    let mut decoded = text.to_owned();
    for _ in 0..3 {
        if decoded.contains('%') {
            decoded = undo_percent(&decoded);
            bases.push(decoded.clone());
        }
    }
    let mut forms = Vec::new();
    for base in bases {
        let mut starts = vec![base.clone(), base.replace('\\', "/")];
        if base.contains(':') {
            starts.push(base.split(['?', '#']).next().unwrap().to_owned());
        }
        for start in starts {
            for rounds in [1, 3] {
                let settled = settled(&start, rounds);
                forms.extend(settled.strip_prefix("file://").map(String::from));
                forms.push(settled);
            }
            forms.push(start);
        }
    }
    value_in(list, text, true) || forms.iter().any(|form| value_in(list, form, true))
}

fn left_alone(method: &str) -> bool {
    method.starts_with("notifications/") || method == "ping" || method == "tools/list"
}

fn rule_holds(rule: &Value, sample: &Sample) -> bool {
    let conditions = rule.get("match").unwrap();
    let restrict = matches!(
        rule.get("action").unwrap().as_str().unwrap(),
        "deny" | "prompt"
    );
    let method = match conditions.get("methods") {
        Some(list) if left_alone(sample.method) => {
            list.as_array().unwrap().iter().any(|glob| {
                glob != "*" && name_in(&Value::Array(vec![glob.clone()]), sample.method)
            })
        }
        Some(list) => name_in(list, sample.method),
        None => !left_alone(sample.method),
    };
    let tool = |list: &Value| sample.tool.is_some_and(|tool| name_in(list, tool));
    let resource = |list: &Value| {
        sample
            .resource
            .is_some_and(|uri| value_holds(list, uri, restrict))
    };
    let direction = |d: &Value| d == "both" || d == sample.direction.as_str();
    let argument = |all: &Value| {
        all.as_object().unwrap().iter().all(|(path, list)| {
            let mut chosen = sample
                .arguments
                .0
                .iter()
                .filter(|(key, _)| path == "*" || key == path);
            let count = chosen.clone().count();
            let held = |(_, value): &(&str, &str)| value_holds(list, value, restrict);
            if restrict {
                chosen.any(held)
            } else {
                count > 0 && chosen.all(held)
            }
        })
    };
    method
        && conditions.get("tools").is_none_or(tool)
        && conditions.get("resources").is_none_or(resource)
        && conditions.get("direction").is_none_or(direction)
        && conditions
            .get("agents")
            .is_none_or(|list| name_in(list, sample.agent))
        && conditions.get("arguments").is_none_or(argument)
}

/// Effect, mode, rule and the shadow's rule.
type Outcome = (String, String, Option<String>, Option<String>);

fn twin(policy: &Value, sample: &Sample) -> Outcome {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let mode = policy.get("mode").map_or("enforce".to_owned(), text);
    let none = Value::Array(vec![]);
    let section = policy.get("servers").and_then(|s| s.get(sample.server));
    let mut shadow = None;
    let first = section.and_then(|s| s.get("rules")).unwrap_or(&none);
    let second = policy.get("rules").unwrap();
    for rule in first
        .as_array()
        .unwrap()
        .iter()
        .chain(second.as_array().unwrap())
    {
        if !rule_holds(rule, sample) {
            continue;
        }
        let name = text(rule.get("name").unwrap());
        match rule.get("mode").map(text) {
            Some(own) if own == "monitor" => shadow = shadow.or(Some(name)),
            own => {
                let effect = text(rule.get("action").unwrap());
                return (effect, own.unwrap_or(mode), Some(name), shadow);
            }
        }
    }
    let (effect, rule) = lists(policy, section, sample);
    (effect, mode, rule, shadow)
}

fn lists(policy: &Value, section: Option<&Value>, sample: &Sample) -> (String, Option<String>) {
    let default = section
        .and_then(|s| s.get("default"))
        .or(policy.get("default"))
        .map_or("deny", |d| d.as_str().unwrap());
    if left_alone(sample.method) {
        return ("allow".into(), None);
    }
    let Some(tool) = sample.tool else {
        return (default.into(), None);
    };
    let key = if sample.agent.starts_with("claude-") {
        "claude-*"
    } else {
        "*"
    };
    let agent = policy.get("agents").and_then(|a| a.get(key));
    let list = |name: &str| agent.and_then(|a| a.get(name));
    let word = |key: &str, test: &dyn Fn(&str) -> bool| {
        [section, Some(policy)].into_iter().flatten().any(|level| {
            let list = level.get(key).and_then(Value::as_array);
            list.is_some_and(|all| all.iter().any(|w| test(w.as_str().unwrap())))
        })
    };
    if list("deny").is_some_and(|l| name_in(l, tool)) {
        return ("deny".into(), Some(format!("agents.{key}.deny")));
    }
    if word("block_keywords", &|w| {
        tool.to_lowercase().contains(&w.to_lowercase())
    }) {
        return ("deny".into(), Some("block_keywords".into()));
    }
    if list("require_approval").is_some_and(|l| name_in(l, tool)) {
        return (
            "prompt".into(),
            Some(format!("agents.{key}.require_approval")),
        );
    }
    match list("allow") {
        Some(l) if name_in(l, tool) => ("allow".into(), Some(format!("agents.{key}.allow"))),
        Some(_) if default == "prompt" => ("prompt".into(), Some(format!("agents.{key}"))),
        Some(_) => ("deny".into(), Some(format!("agents.{key}"))),
        None if word("allow_prefix", &|w| tool.starts_with(w)) => {
            ("allow".into(), Some("allow_prefix".into()))
        }
        None => (default.into(), None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_plan_decides_as_the_text_says(
        text in policy(),
        samples in prop::collection::vec(sample(), 1..8),
    ) {
        let plan = Plan::parse(&text, "p").unwrap_or_else(|all| panic!("{text}\n{all:#?}"));
        let raw: Value = serde_saphyr::from_str(&text).unwrap();
        for sample in &samples {
            let call = Call {
                tool: sample.tool,
                resource: sample.resource,
                agent: sample.agent,
                server: sample.server,
                arguments: &sample.arguments,
                ..Call::new(sample.direction, sample.method)
            };
            let decision = plan.decide(&call);
            let found = (
                decision.effect.as_str().to_owned(),
                decision.mode.as_str().to_owned(),
                decision.rule.as_deref().map(String::from),
                decision.shadow.as_ref().map(|s| s.rule.to_string()),
            );
            prop_assert_eq!(&found, &twin(&raw, sample), "{}\n{:?}", text, sample);
            if call.tool.is_some() {
                let shown = plan.could_permit(plan.scope(call.server, call.agent), &call);
                let passes = decision.effect != mcpf_policy::Effect::Deny
                    || decision.mode == Mode::Monitor;
                prop_assert!(shown || !passes, "hidden, yet permitted: {}\n{:?}", text, sample);
            }
        }
    }
}
