//! That a screen never says no where a rule would say yes.
//!
//! Regular expressions enter that are made together with texts they match, and the texts in other
//! spellings; each pattern is also held, as written, against every reading of a value.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use regex::Regex;

use super::{SHORT, Screen};
use crate::diagnostic::{At, Sink};
use crate::lexical::Forms;
use crate::pattern::{Intent, Values};
use crate::yaml::{Key, Node, Value};

/// A regular expression, and a text that it matches unless an anchor stands in the way.
#[derive(Clone, Debug)]
struct Pair {
    pattern: String,
    text: String,
}

/// Parts of patterns that hold something to look for, each with texts for it.
const FIXED: &[(&str, &[&str])] = &[
    (r"\.ssh", &[".ssh"]),
    ("/etc", &["/etc", "file:etc"]),
    ("etc/", &["etc/"]),
    ("localhost", &["localhost", "http://LOCALHOST"]),
    ("/", &["/", "\\"]),
    (r"\.", &["."]),
    (r"(\.[st])", &[".s", ".t"]),
    ("/proc/+(self|[0-9]+)", &["/proc/self", "/proc//12"]),
    ("(?i:id_(rsa|dsa))", &["id_rsa", "ID_dsa", "id_R\u{17f}a"]),
    (r"(?i:\.k)", &[".k", ".K", ".\u{212a}"]),
    (
        r"(^|[^a-z0-9_.-])\.(aws|kube)([/\\]|$)",
        &[".aws", " .kube/"],
    ),
    (r"\.\.", &[".."]),
    ("%2e", &["%2e"]),
    (r"[/\\]+config", &["/config", "\\\\config"]),
    ("(?-u:[.:])x", &[".x", ":x"]),
];

/// Parts that hold nothing to look for, or nothing at all.
const LOOSE: &[(&str, &[&str])] = &[
    ("[st]", &["s", "t"]),
    ("[é-ë]", &["é", "ê"]),
    ("(^|/)", &["", "/"]),
    ("(/|$)", &["", "/"]),
    (r"\b", &[""]),
    ("(?:/+)?", &["", "//"]),
    (r"\s", &[" ", "\u{a0}"]),
    ("[a-z]*", &["", "abc"]),
    ("[^/]", &["a", "é"]),
    (r"[/\\]", &["/", "\\"]),
    (r"\x00", &["\0"]),
    ("a", &["a"]),
];

/// What may stand after a pattern, and how often its text then does.
const REPETITIONS: &[(&str, usize)] = &[
    ("?", 0),
    ("?", 0),
    ("?", 1),
    ("*", 2),
    ("+", 1),
    ("+", 2),
    ("+?", 3),
    ("{2,}", 2),
];

/// What may stand around a whole pattern.
const FRAMES: &[(&str, &str)] = &[
    ("", ""),
    ("^", ""),
    ("", "$"),
    ("(?i)", ""),
    ("(?x) ", " # a|b"),
    ("(^|/)", ""),
];

fn part() -> BoxedStrategy<Pair> {
    prop_oneof![3 => prop::sample::select(FIXED), 1 => prop::sample::select(LOOSE)]
        .prop_flat_map(|(pattern, texts)| {
            prop::sample::select(texts).prop_map(|text| Pair {
                pattern: (*pattern).to_owned(),
                text: text.to_owned(),
            })
        })
        .boxed()
}

fn in_sequence(parts: &[Pair]) -> Pair {
    Pair {
        pattern: parts.iter().map(|part| &*part.pattern).collect(),
        text: parts.iter().map(|part| &*part.text).collect(),
    }
}

fn pair() -> BoxedStrategy<Pair> {
    let nested = part().prop_recursive(4, 12, 3, |inner| {
        let some = prop::collection::vec(inner.clone(), 2..4);
        let chosen = (some.clone(), any::<prop::sample::Index>()).prop_map(|(all, which)| {
            let branches: Vec<_> = all.iter().map(|branch| &*branch.pattern).collect();
            Pair {
                pattern: format!("(?:{})", branches.join("|")),
                text: which.get(&all).text.clone(),
            }
        });
        let repeated =
            (inner, prop::sample::select(REPETITIONS)).prop_map(|(one, (sign, times))| Pair {
                pattern: format!("(?:{}){sign}", one.pattern),
                text: one.text.repeat(times),
            });
        prop_oneof![
            2 => some.prop_map(|all| in_sequence(&all)),
            1 => chosen,
            2 => repeated,
        ]
    });
    let inner = prop_oneof![1 => part(), 3 => nested];
    (inner, prop::sample::select(FRAMES))
        .prop_map(|(inner, (before, after))| Pair {
            pattern: format!("{before}{}{after}", inner.pattern),
            text: if before == "(?i)" {
                inner.text.to_uppercase()
            } else {
                inner.text
            },
        })
        .boxed()
}

/// Ways to write a value that [`Forms`] sees through.
#[derive(Clone, Copy, Debug)]
enum Disguise {
    Replace(&'static str, &'static str),
    Before(&'static str),
    After(&'static str),
    /// Percent escapes for the bytes whose place, modulo 64, has its bit set, and for all that are
    /// not ASCII.
    Escape(u64),
}

/// Longer than what is walked, and gone when normalised.
const GONE: &str = "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww/../";

/// Longer than what is walked.
const LONG: &str = " as many words as it takes to make a value a long one, and then some ";

fn disguise() -> BoxedStrategy<Disguise> {
    use Disguise::{After, Before, Escape, Replace};
    let fixed = [
        Replace("/", "//"),
        Replace("/", "/./"),
        Replace("/", "/x/../"),
        Replace("/", "\\"),
        Before("\\"),
        Before("file://"),
        Before("FILE:"),
        Before("file://LocalHost/"),
        Before("/home/u/"),
        Before("cat "),
        Before("x/../"),
        Before(GONE),
        Before(LONG),
        After(LONG),
        After("\0.png"),
        After("?x=1"),
        After("/"),
        After("/."),
        After(" word"),
    ];
    prop_oneof![
        4 => prop::sample::select(fixed.to_vec()),
        1 => any::<u64>().prop_map(Escape),
        1 => Just(Escape(u64::MAX)),
    ]
    .boxed()
}

fn disguised(text: &str, disguise: Disguise) -> String {
    match disguise {
        Disguise::Replace(from, to) => text.replace(from, to),
        Disguise::Before(front) => format!("{front}{text}"),
        Disguise::After(end) => format!("{text}{end}"),
        Disguise::Escape(places) => {
            let escape = |(at, byte): (usize, u8)| {
                let plain = byte.is_ascii() && places >> (at % 64) & 1 == 0;
                if plain {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02x}")
                }
            };
            text.bytes().enumerate().map(escape).collect()
        }
    }
}

/// What one rule restricts, and a value that one of its patterns may match.
type Rule = (Vec<String>, String);

fn rule() -> BoxedStrategy<Rule> {
    let pairs = prop::collection::vec(pair(), 1..3);
    let disguises = prop::collection::vec(disguise(), 0..4);
    (pairs, disguises)
        .prop_map(|(pairs, disguises)| {
            let text = pairs.first().map(|pair| pair.text.clone());
            let value = disguises
                .into_iter()
                .fold(text.unwrap(), |text, disguise| disguised(&text, disguise));
            (pairs.into_iter().map(|pair| pair.pattern).collect(), value)
        })
        .boxed()
}

/// A few rules behind one screen, or several, which together look for many bytes.
fn rules() -> BoxedStrategy<Vec<Rule>> {
    prop_oneof![
        3 => prop::collection::vec(rule(), 1..3),
        1 => prop::collection::vec(rule(), 4..7),
    ]
    .boxed()
}

/// The patterns as written.
fn whole(patterns: &[String]) -> Vec<Regex> {
    let compiled = patterns.iter().map(|pattern| Regex::new(pattern));
    compiled.collect::<Result<_, _>>().unwrap()
}

fn any_matches(whole: &[Regex], text: &str) -> bool {
    whole.iter().any(|regex| regex.is_match(text))
}

fn values(patterns: &[String]) -> Values {
    let at = At { line: 1, column: 1 };
    let node = |value| Node { at, value };
    let entry = |pattern: &String| {
        let text = "regex".to_owned();
        let pattern = node(Value::Text(pattern.clone()));
        node(Value::Map(vec![(Key { at, text }, pattern)]))
    };
    let list = node(Value::List(patterns.iter().map(entry).collect()));
    let mut sink = Sink::new("t", 'P');
    let values = Values::read(&list, "argument", Intent::Restrict, &mut sink);
    assert!(sink.is_clean(), "{:#?}", sink.finish(values));
    values.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_rule_restricts_is_never_screened_out(
        rules in rules(),
    ) {
        let compiled = rules.iter().map(|(patterns, _)| (values(patterns), whole(patterns)));
        let compiled: Vec<_> = compiled.collect();
        let screen = Screen::new(compiled.iter().flat_map(|(values, _)| values.patterns())).unwrap();
        for (_, value) in &rules {
            for (values, whole) in &compiled {
                let matches = values.matches(value, Intent::Restrict);
                let slowly = Forms::any(value, |form| any_matches(whole, form));
                prop_assert_eq!(matches, slowly, "{:?} {:?}", whole, value);
                prop_assert!(screen.may_match(value) || !matches, "{:?} {:?}", whole, value);
            }
        }
    }
}

/// The generator is worth its time: many values match, some of them only when undone, short
/// ones and long ones, behind screens that know what to look for.
#[test]
fn the_generator_is_not_vacuous() {
    const CASES: usize = 500;
    let mut runner = TestRunner::deterministic();
    let (mut matched, mut undone, mut short, mut long, mut screened) = (0, 0, 0, 0, 0);
    for _ in 0..CASES {
        let (patterns, value) = rule().new_tree(&mut runner).unwrap().current();
        let values = values(&patterns);
        let screen = Screen::new(values.patterns()).unwrap();
        screened += usize::from(!screen.may_match(&value));
        if !values.matches(&value, Intent::Restrict) {
            continue;
        }
        matched += 1;
        undone += usize::from(!any_matches(&whole(&patterns), &value));
        if screen.pairs.is_some() {
            short += usize::from(value.len() < SHORT);
            long += usize::from(value.len() >= SHORT);
        }
    }
    assert!(
        matched > CASES / 2 && undone > 20 && short > 50 && long > 20 && screened > 20,
        "{matched} matched, {undone} undone, {short} short, {long} long, {screened} screened out"
    );
}
