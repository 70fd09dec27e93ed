//! YAML as a tree in which every value knows its place, and a reader that names every mistake.
//!
//! Text enters; a [`Node`] leaves, or diagnostics. The typed formats (policy, configuration) are
//! read from it by hand rather than derived, so that one pass reports all mistakes of a file and
//! not merely the first. Every mapping is read through [`Fields`], which refuses the keys nobody
//! asked for. Nothing here knows what the keys mean.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::diagnostic::{At, Code, Sink};

/// Largest file that is parsed, in bytes. 1 MiB.
pub const MAX_FILE: usize = 1024 * 1024;

/// A YAML value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value begins; for an alias, where it is used.
    pub at: At,
    /// The value.
    pub value: Value,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`; `yes`, `no`, `on` and `off` are text.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other finite number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file. Keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where the key begins.
    pub at: At,
    /// The key.
    pub text: String,
}

/// Reads `text` as one YAML document within the budget: 1 MiB, 50,000 nodes, 32 levels,
/// 100 aliases, no merge keys, no tags, no duplicate keys.
///
/// `None` when it cannot be read; the mistake is in `sink`.
pub fn parse(text: &str, sink: &mut Sink) -> Option<Node> {
    if text.len() > MAX_FILE {
        sink.error(
            At::default(),
            Code::Syntax,
            format!("the file is larger than {MAX_FILE} bytes"),
        );
        return None;
    }
    match serde_saphyr::from_str_with_options::<Node>(text, options()) {
        Ok(node) => Some(node),
        Err(error) => {
            let at = error.location().map(place).unwrap_or_default();
            let message = error.without_snippet().to_string();
            let mut first = message.lines().next().unwrap_or("not YAML");
            // The place stands in front already, and the library's own settings are not the
            // operator's.
            for tail in [" at line ", ", set ", " (set "] {
                first = first.split(tail).next().unwrap_or(first);
            }
            sink.error(at, Code::Syntax, first);
            None
        }
    }
}

fn options() -> serde_saphyr::Options {
    let budget = serde_saphyr::budget! {
        max_reader_input_bytes: Some(MAX_FILE),
        max_nodes: 50_000,
        max_events: 200_000,
        max_depth: 32,
        flow_nesting_limit: 32,
        max_aliases: 100,
        max_anchors: 100,
        max_documents: 1,
        max_recorded_anchor_events: 50_000,
        max_recorded_anchor_bytes: MAX_FILE,
        max_total_scalar_bytes: MAX_FILE,
    };
    serde_saphyr::options! {
        budget: budget,
        strict_booleans: true,
        reject_unsupported_tags: true,
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        with_snippet: false,
    }
}

fn place(location: serde_saphyr::Location) -> At {
    At {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

impl Node {
    /// What kind of value this is, for a message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The text, or a diagnostic. `what` names the value in the message.
    pub fn text(&self, what: &str, sink: &mut Sink) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                sink.error_with_help(
                    self.at,
                    Code::WrongType,
                    format!("{what} must be text, not {}", self.kind()),
                    "put it in quotes",
                );
                None
            }
            _ => self.wrong(what, "text", sink),
        }
    }

    /// The boolean, or a diagnostic.
    pub fn boolean(&self, what: &str, sink: &mut Sink) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong(what, "true or false", sink),
        }
    }

    /// The whole number if it lies in `least..=most`, or a diagnostic.
    pub fn whole(&self, what: &str, least: u32, most: u32, sink: &mut Sink) -> Option<u32> {
        let Value::Int(number) = self.value else {
            return self.wrong(what, "a whole number", sink);
        };
        match u32::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                sink.error(
                    self.at,
                    Code::BadValue,
                    format!("{what} must lie between {least} and {most}, not `{number}`"),
                );
                None
            }
        }
    }

    /// A span of time such as `500ms`, `30s`, `10m`, `2h` or `7d` that lies in `least..=most`,
    /// or a diagnostic.
    pub fn duration(
        &self,
        what: &str,
        least: Duration,
        most: Duration,
        sink: &mut Sink,
    ) -> Option<Duration> {
        let text = match &self.value {
            Value::Text(text) => text.as_str(),
            _ => return self.wrong(what, "a time such as 30s", sink),
        };
        let Some(duration) = parse_duration(text) else {
            let shown = clip(text);
            sink.error_with_help(
                self.at,
                Code::BadValue,
                format!("{what} is not a time: `{shown}`"),
                "a whole number and ms, s, m, h or d: 30s",
            );
            return None;
        };
        if !(least..=most).contains(&duration) {
            sink.error(
                self.at,
                Code::BadValue,
                format!("{what} must lie between {least:?} and {most:?}"),
            );
            return None;
        }
        Some(duration)
    }

    /// The items of a list, or a diagnostic.
    pub fn list(&self, what: &str, sink: &mut Sink) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => self.wrong(what, "a list", sink),
        }
    }

    /// The items of a list, or the node itself as its only item.
    #[must_use]
    pub fn one_or_many(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// The entries of a mapping, or a diagnostic.
    pub fn map(&self, what: &str, sink: &mut Sink) -> Option<&[(Key, Self)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => self.wrong(what, "a mapping", sink),
        }
    }

    /// The meaning of a word from a closed set, or a diagnostic that lists the set.
    pub fn word<T: Copy>(&self, what: &str, words: &[(&str, T)], sink: &mut Sink) -> Option<T> {
        let text = self.text(what, sink)?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let shown = clip(text);
        sink.error_with_help(
            self.at,
            Code::UnknownWord,
            format!("unknown {what} `{shown}`"),
            format!("one of {}", known.join(", ")),
        );
        None
    }

    fn wrong<T>(&self, what: &str, wanted: &str, sink: &mut Sink) -> Option<T> {
        let message = format!("{what} must be {wanted}, not {}", self.kind());
        match self.value {
            Value::Null => sink.error_with_help(
                self.at,
                Code::WrongType,
                message,
                "give it a value or remove the key",
            ),
            _ => sink.error(self.at, Code::WrongType, message),
        }
        None
    }
}

/// Reads the keys of one mapping and refuses those nobody asked for.
#[derive(Debug)]
pub struct Fields<'n> {
    /// Where the mapping begins.
    pub at: At,
    what: &'n str,
    entries: &'n [(Key, Node)],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Opens `node` as a mapping, or leaves a diagnostic. `what` names it in messages.
    pub fn open(node: &'n Node, what: &'n str, sink: &mut Sink) -> Option<Self> {
        Some(Self {
            at: node.at,
            what,
            entries: node.map(what, sink)?,
            known: Vec::new(),
        })
    }

    /// The value of `key`, if the mapping has it.
    pub fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        self.entries
            .iter()
            .find_map(|(name, node)| (name.text == key).then_some(node))
    }

    /// The value of `key`, or a diagnostic that it is missing.
    pub fn need(&mut self, key: &'static str, sink: &mut Sink) -> Option<&'n Node> {
        let found = self.take(key);
        if found.is_none() {
            sink.error(
                self.at,
                Code::MissingKey,
                format!("{} has no `{key}`", self.what),
            );
        }
        found
    }

    /// Refuses every key that was never asked for.
    pub fn finish(self, sink: &mut Sink) {
        for (key, _) in self.entries {
            if self.known.iter().any(|known| *known == key.text) {
                continue;
            }
            let help = match nearest(&key.text, &self.known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of {}", self.known.join(", ")),
            };
            let shown = clip(&key.text);
            let what = self.what;
            sink.error_with_help(
                key.at,
                Code::UnknownKey,
                format!("unknown key `{shown}` in {what}"),
                help,
            );
        }
    }
}

/// The time that `text` stands for: a whole number and `ms`, `s`, `m`, `h` or `d`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().ok()?;
    let millis = match unit.trim() {
        "ms" => 1,
        "s" | "sec" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}

/// At most the first 60 characters of `text`, for a message.
#[must_use]
pub fn clip(text: &str) -> String {
    let mut shown: String = text.chars().take(60).map(visible).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

fn visible(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}

/// The known word at an edit distance of at most two, if there is one.
fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    if word.len() > 40 {
        return None;
    }
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, pair) in b.iter().zip(row.windows(2)) {
            let [diagonal, above] = *pair else { continue };
            left = (diagonal + usize::from(x != *y))
                .min(above + 1)
                .min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            at: place(spanned.referenced),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value)
            .map(Value::Int)
            .map_err(|_| E::custom("number too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key {
                at: place(key.referenced),
                text: key.value,
            };
            entries.push((key, map.next_value()?));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        let mut sink = Sink::new("t.yaml", 'P');
        let node = parse(text, &mut sink);
        sink.finish(node).map_err(|all| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            all.join("\n")
        })
    }

    #[test]
    fn every_value_and_key_knows_its_place() {
        let node = read("a: 1\nb:\n  - x\n  - {c: yes}\n").unwrap();
        let Value::Map(entries) = &node.value else {
            panic!("{node:?}")
        };
        assert_eq!(entries[0].0.at, At { line: 1, column: 1 });
        assert_eq!(entries[0].1.at, At { line: 1, column: 4 });
        assert_eq!(entries[1].0.at, At { line: 2, column: 1 });
        let Value::List(items) = &entries[1].1.value else {
            panic!("{node:?}")
        };
        assert_eq!(items[0].at, At { line: 3, column: 5 });
        let Value::Map(inner) = &items[1].value else {
            panic!("{node:?}")
        };
        assert_eq!(inner[0].0.at, At { line: 4, column: 6 });
        assert_eq!(
            inner[0].1.value,
            Value::Text("yes".into()),
            "strict booleans"
        );
    }

    #[test]
    fn hostile_documents_are_refused() {
        for (text, why) in [
            ("a: 1\na: 2\n", "duplicate"),
            ("a: 1\n---\nb: 2\n", "document"),
            ("a: !x 1\n", "tag"),
            ("b: &b {c: 1}\na:\n  <<: *b\n", "merge"),
            (&format!("{}1{}", "[".repeat(64), "]".repeat(64)), ""),
            (&format!("a: [{}]", "1,".repeat(60_000)), ""),
            (
                "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                 c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                 e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
                "",
            ),
            ("a: 99999999999999999999999999\nb: [", ""),
            ("a: .nan\n", ""),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains("error[P001]"), "{message}");
            assert!(message.to_lowercase().contains(why), "{why}: {message}");
        }
        assert!(read(&"#".repeat(MAX_FILE + 1)).is_err());
    }

    #[test]
    fn near_misses_are_suggested() {
        assert_eq!(nearest("alow", &["allow", "deny"]), Some("allow"));
        assert_eq!(nearest("zzz", &["allow", "deny"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
