//! The fast parser against its slow twin and against serde_json; framing against any chunking.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use mcpf_model::{ByteSize, Limits};
use mcpf_wire::{Parser, apply, oracle};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::Value;

fn agrees(frame: &[u8], limits: &Limits) {
    if let Err(difference) = oracle::check(frame, limits) {
        panic!("{difference}\n{}", String::from_utf8_lossy(frame));
    }
}

const BASES: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":12,"method":"tools/call","params":{"name":"a\u0062","arguments":{"k":[1.5e3,-0,true,null,"\n"]}}}"#,
    r#"{"jsonrpc" : "2.0", "id":"x", "result": {"tools":[{"name":"t"}], "v":false}}"#,
    r#"{"id":-1,"jsonrpc":"2.0","error":{"code":-32600,"message":"é\ud83d\ude00","data":{}}}"#,
    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":7,\"reason\":\"\u{2028}\"}\r}",
    r#"{"jsonrpc":"2.0","id":0,"method":"x","params":null}"#,
];

/// Every byte in every place, replaced and inserted, at every alignment modulo eight.
#[test]
fn one_changed_byte_never_divides_the_twins() {
    let limits = Limits::default();
    for (n, base) in BASES.iter().enumerate() {
        let shifted = format!("{}{base}", " ".repeat(n * 8));
        let base = shifted.as_bytes();
        agrees(base, &limits);
        for at in (n * 8)..base.len() {
            let mut without = base.to_vec();
            without.remove(at);
            agrees(&without, &limits);
            agrees(&base[..at], &limits);
            for byte in 0..=255 {
                let mut changed = base.to_vec();
                changed[at] = byte;
                agrees(&changed, &limits);
                let mut longer = base.to_vec();
                longer.insert(at, byte);
                agrees(&longer, &limits);
            }
        }
    }
}

#[test]
fn every_spelling_of_a_value_is_judged_alike() {
    let limits = Limits::default();
    let values = [
        "0",
        "-0",
        "00",
        "01",
        "-01",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "1e+",
        "1E5",
        "1e-5",
        "1.0e+05",
        "0x10",
        "1_000",
        "0e0",
        "0.0",
        "-0.0",
        "0.",
        "1e308",
        "1e309",
        "-1e309",
        "1e99999999999",
        "1e-99999999999",
        "0e99999999999",
        "179769313486231580793728971405301199999999999999999999e256",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "123456789012345678901234567890",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "true",
        "false",
        "null",
        "True",
        "tru",
        "truex",
        "nulll",
        "NaN",
        "Infinity",
        "-Infinity",
        "undefined",
        "''",
        "\"\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\\ud83d\\ude00\"",
        "\"\\u12\"",
        "\"\\u123\"",
        "\"\\u12g4\"",
        "\"\\U0041\"",
        "\"\\a\"",
        "\"\\'\"",
        "\"\\v\"",
        "\"\\/\"",
        "\"a\tb\"",
        "\"\\\"",
        "\"\\\\\"",
        "\"\u{7f}\u{85}\u{a0}\u{feff}\u{10ffff}\"",
        "[]",
        "{}",
        "[,]",
        "[1,]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "[1}",
        "{\"a\":1]",
        "[\"a\"b]",
        "[\"a\"\"b\"]",
        "[1\"a\"]",
        "[true\"a\"]",
        "\\\"\\\"",
        "1 2",
        "// x",
        "1/**/",
        "[[[]]",
        "\u{2028}1",
        "\u{a0}1",
        "\u{c}1",
    ];
    for value in values {
        for (before, after) in [
            (
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{\"a\":",
                "}}",
            ),
            (
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":[0,",
                ",1]}}",
            ),
            ("{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"id\":", "}"),
            (
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":",
                "}",
            ),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":", "}"),
            ("", ""),
        ] {
            for pad in [0, 1, 17, 40] {
                agrees(
                    format!("{}{before}{value}{after}", " ".repeat(pad)).as_bytes(),
                    &limits,
                );
            }
        }
    }
}

/// JSON text with all the liberty that JSON leaves, and some that it does not.
fn json(depth: u32) -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        40 => text(),
        20 => any::<i64>().prop_map(|n| n.to_string()),
        10 => any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        20 => prop::sample::select(vec!["true", "false", "null", "{}", "[]", "-0", "1E+2"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["1e400", "NaN", "01", "'a'"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(depth, 40, 6, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), gap()).prop_map(|(items, gap)| {
                format!("[{gap}{}{gap}]", items.join(&format!("{gap},")))
            }),
            (prop::collection::vec((key(), inner), 0..20), gap())
                .prop_map(|(members, gap)| object(&members, &gap)),
        ]
    })
    .boxed()
}

fn object(members: &[(String, String)], gap: &str) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(k, v)| format!("{k}{gap}:{gap}{v}"))
        .collect();
    format!("{{{gap}{}{gap}}}", members.join(&format!("{gap},{gap}")))
}

fn gap() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 2 => "[ \t]{1,3}", 1 => "[ \r\n]{1,3}", 1 => " {60,70}"]
}

/// A string with some characters escaped.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,8}",
        "[ -~é\u{2028}\u{85}–😀]{0,80}",
        prop::sample::select(vec!["\0", "\u{7f}", "\n", "tools/call", "ping"])
            .prop_map(str::to_owned),
    ]
    .prop_flat_map(|plain| {
        let n = plain.chars().count();
        (
            Just(plain),
            prop::collection::vec(prop::bool::weighted(0.1), n),
        )
    })
    .prop_map(|(plain, escape)| {
        let mut out = String::from("\"");
        for (c, escape) in plain.chars().zip(escape) {
            if escape || matches!(c, '"' | '\\') || c < ' ' {
                let mut units = [0; 2];
                out.extend(
                    c.encode_utf16(&mut units)
                        .iter()
                        .map(|unit| format!("\\u{unit:04x}")),
                );
            } else {
                out.push(c);
            }
        }
        out + "\""
    })
}

fn key() -> impl Strategy<Value = String> {
    let known = vec![
        "\"n\\u0061me\"",
        "\"uri\"",
        "\"_meta\"",
        "\"requestId\"",
        "\"tools\"",
        "\"c\\u006fde\"",
        "\"message\"",
        "\"progressToken\"",
    ];
    let odd = vec![
        "\"Name\"",
        "\"name\\u0000\"",
        "\"__proto__\"",
        "\"argumentſ\"",
        "\"a\\nb\"",
        "\"\u{85}\"",
    ];
    prop_oneof![
        60 => "\"[a-z]{2,6}\"",
        20 => prop::sample::select(known).prop_map(str::to_owned),
        2 => prop::sample::select(odd).prop_map(str::to_owned),
        10 => text(),
    ]
}

/// An object more often than not.
fn body(depth: u32) -> impl Strategy<Value = String> {
    let members = prop::collection::vec((key(), json(depth)), 0..6);
    prop_oneof![9 => (members, gap()).prop_map(|(members, gap)| object(&members, &gap)), 1 => json(depth)]
}

/// Something like a message: the right members more often than not.
fn message() -> impl Strategy<Value = String> {
    let id = || prop_oneof![9 => (0..100).prop_map(|n: i32| n.to_string()), 1 => json(1), 4 => "\"[a-z]{0,5}\""];
    let methods = vec![
        "tools/call",
        "prompts/get",
        "resources/read",
        "ping",
        "notifications/cancelled",
        "x",
    ];
    let params = (
        body(4),
        prop::collection::vec((key(), json(3)), 0..4),
        gap(),
    )
        .prop_map(|(arguments, mut more, gap)| {
            more.insert(more.len() / 2, ("\"arguments\"".to_owned(), arguments));
            more.insert(0, ("\"name\"".to_owned(), "\"t\\/\"".to_owned()));
            object(&more, &gap)
        });
    let params = prop_oneof![8 => params, 1 => json(4), 1 => Just("null".to_owned())];
    let right = prop::bool::weighted(0.9);
    let call = (
        prop::sample::select(methods),
        id(),
        right,
        prop::option::weighted(0.8, params),
    )
        .prop_map(|(method, id, right, params)| {
            let mut members = vec![("\"method\"".to_owned(), format!("\"{method}\""))];
            members.extend((right != method.starts_with("not")).then(|| ("\"id\"".to_owned(), id)));
            members.extend(params.map(|params| ("\"params\"".to_owned(), params)));
            members
        });
    let answer = (id(), body(5))
        .prop_map(|(id, value)| vec![("\"id\"".to_owned(), id), ("\"result\"".to_owned(), value)]);
    let error = (id(), text(), json(3)).prop_map(|(id, message, data)| {
        let error = format!("{{\"code\":-1,\"message\":{message},\"data\":{data}}}");
        vec![("\"id\"".to_owned(), id), ("\"error\"".to_owned(), error)]
    });
    let members = prop_oneof![3 => call, 2 => answer, 1 => error];
    (
        members,
        gap(),
        prop::option::weighted(0.05, (key(), json(1))),
    )
        .prop_map(|(mut members, gap, extra)| {
            members.push(("\"jsonrpc\"".to_owned(), "\"2.0\"".to_owned()));
            members.extend(extra);
            object(&members, &gap)
        })
}

/// Every string of a value with how often it occurs, keys and values alike.
fn count_strings<'v>(value: &'v Value, counts: &mut BTreeMap<&'v str, usize>) {
    match value {
        Value::String(text) => *counts.entry(text).or_default() += 1,
        Value::Array(items) => items.iter().for_each(|item| count_strings(item, counts)),
        Value::Object(members) => {
            for (key, value) in members {
                *counts.entry(key).or_default() += 1;
                count_strings(value, counts);
            }
        }
        _ => {}
    }
}

/// `value` without the members that count as absent.
fn without_nulls(mut value: Value) -> Value {
    let method = value["method"].as_str().unwrap_or_default().to_owned();
    let members = value.as_object_mut().unwrap();
    if members.get("params") == Some(&Value::Null) {
        members.remove("params");
    }
    if matches!(&*method, "tools/call" | "prompts/get")
        && let Some(Value::Object(params)) = members.get_mut("params")
        && params.get("arguments") == Some(&Value::Null)
    {
        params.remove("arguments");
    }
    value
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn the_twins_agree_on_messages(frame in message()) {
        agrees(frame.as_bytes(), &Limits::default());
    }

    #[test]
    fn the_twins_agree_under_tight_limits(frame in message(), depth in 1_u16..6, nodes in 1_u32..40, name in 0_u16..6) {
        let limits = Limits { max_depth: depth, max_nodes: nodes, max_name: name, max_uri: name, ..Limits::default() };
        agrees(frame.as_bytes(), &limits);
    }

    #[test]
    fn the_twins_agree_on_damaged_messages(frame in message(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = frame.into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        agrees(&bytes, &Limits::default());
    }

    #[test]
    fn serde_json_reads_what_is_accepted_alike(frame in message()) {
        let mut parser = Parser::new(&Limits::default());
        let Ok(message) = parser.parse(frame.as_bytes()) else { return Ok(()) };
        let value: Value = serde_json::from_str(&frame).unwrap();
        prop_assert_eq!(message.method(), value["method"].as_str());
        let mut slow = BTreeMap::new();
        count_strings(&value, &mut slow);
        let mut fast = BTreeMap::new();
        for leaf in message.strings() {
            *fast.entry(leaf.text).or_default() += 1;
        }
        prop_assert_eq!(fast, slow);
        let mut forwarded = Vec::new();
        apply(message.frame(), message.edits(), &mut forwarded);
        let forwarded: Value = serde_json::from_slice(&forwarded).unwrap();
        prop_assert_eq!(forwarded, without_nulls(value));
    }

    #[test]
    fn cursors_lead_where_serde_json_does(frame in message()) {
        let mut parser = Parser::new(&Limits::default());
        let Ok(message) = parser.parse(frame.as_bytes()) else { return Ok(()) };
        for part in [message.params(), message.result(), message.error()].into_iter().flatten() {
            walk(part, frame.as_bytes())?;
        }
        if message.kind() == mcpf_model::MessageKind::Request {
            let id: Value = serde_json::from_slice(&frame.as_bytes()[message.id_span().unwrap().range()]).unwrap();
            prop_assert_eq!(id.is_string(), matches!(message.id(), Some(mcpf_wire::Id::String(_))));
        }
    }

    #[test]
    fn any_chunking_gives_the_same_frames(
        bytes in prop::collection::vec(prop::sample::select(b"\n\n\r\r \t\x0c{}ab".to_vec()), 0..400),
        cuts in prop::collection::vec(1_usize..30, 0..100),
        limit in 0_u32..12,
    ) {
        let agreed = oracle::framing::check(&bytes, &cuts, ByteSize(limit));
        prop_assert_eq!(agreed, Ok(()));
    }

    #[test]
    fn any_chunking_gives_the_same_events(
        bytes in event_stream(),
        cuts in prop::collection::vec(0_usize..30, 0..100),
        limit in prop_oneof![0_u32..12, 12_u32..80, Just(1 << 20)],
    ) {
        let agreed = oracle::sse::check(&bytes, &cuts, ByteSize(limit));
        prop_assert_eq!(agreed, Ok(()));
    }

    #[test]
    fn written_events_read_as_themselves(
        data in prop::option::of(prop::collection::vec(prop::sample::select(b"\r\n\n :ab".to_vec()), 0..40)),
        id in prop::option::of("[ :a-z]{0,6}"),
        event in prop::option::of("[ :a-z]{0,6}"),
        retry in prop::option::of(any::<u64>()),
    ) {
        let (id, event) = (id.map(String::into_bytes), event.map(String::into_bytes));
        let mut out = Vec::new();
        mcpf_wire::write_event(&mut out, id.as_deref(), event.as_deref(), retry, data.as_deref());
        let data = data.map(|data| {
            let text = String::from_utf8(data).unwrap();
            text.replace("\r\n", "\n").replace('\r', "\n").into_bytes()
        });
        let event = oracle::sse::Event { data, id, event, retry, comment: false };
        let expected: Vec<_> = Some(event).filter(|e| *e != Default::default()).map(Ok).into_iter().collect();
        prop_assert_eq!(oracle::sse::fast(&out, &[], ByteSize::kib(1)), expected);
    }
}

/// Lines that count, lines that nearly do, and what makes one of the other, with every line end.
fn event_stream() -> impl Strategy<Value = Vec<u8>> {
    let names: Vec<&[u8]> = vec![
        b"data:", b"data:", b"data: ", b"id:", b"event: ", b"retry:", b":",
    ];
    let values: Vec<&[u8]> = vec![
        b"",
        b"a",
        b" 12",
        b"7",
        b"{\"id\":7,",
        b"\xc3\xa9",
        b"\xe2\x80\xa8b",
        b"ab:c",
    ];
    let loose: Vec<&[u8]> = vec![
        b"data",
        b"id",
        b"dat",
        b"other:",
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xa9",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"\n",
        b"\r",
    ];
    let ends: Vec<&[u8]> = vec![
        b"\n",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\n\r",
    ];
    let from = |list: Vec<&'static [u8]>| prop::sample::select(list);
    let line = (from(names), from(values), from(ends))
        .prop_map(|(name, value, end)| [name, value, end].concat());
    let piece = prop_oneof![8 => line, 1 => from(loose).prop_map(<[u8]>::to_vec)];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Each value's span holds exactly that value.
fn walk(value: mcpf_wire::Value<'_>, frame: &[u8]) -> Result<(), TestCaseError> {
    let source = &frame[value.span().range()];
    prop_assert_eq!(source, value.source());
    let slow: Value = serde_json::from_slice(source).unwrap();
    prop_assert_eq!(value.as_str(), slow.as_str());
    prop_assert_eq!(value.as_bool(), slow.as_bool());
    prop_assert_eq!(value.as_number().is_some(), slow.is_number());
    prop_assert_eq!(value.is_array(), slow.is_array());
    prop_assert_eq!(value.is_object(), slow.is_object());
    for element in value.elements() {
        walk(element, frame)?;
    }
    let keys: std::collections::BTreeSet<_> = value.members().map(|(key, _)| key).collect();
    if let Some(members) = slow.as_object() {
        prop_assert_eq!(keys.len(), value.len());
        prop_assert!(members.keys().all(|key| keys.contains(&**key)));
    }
    for (key, member) in value.members() {
        prop_assert_eq!(value.get(key).unwrap().span(), member.span());
        walk(member, frame)?;
    }
    Ok(())
}

/// The generator is worth its time: much of what it makes is accepted, some of that respelled.
#[test]
fn the_generator_is_not_vacuous() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut parser = Parser::new(&Limits::default());
    let (mut accepted, mut edited) = (0, 0);
    for _ in 0..400 {
        let frame = message().new_tree(&mut runner).unwrap().current();
        if let Ok(message) = parser.parse(frame.as_bytes()) {
            accepted += 1;
            edited += usize::from(!message.edits().is_empty());
        }
    }
    assert!(
        accepted > 80 && edited > 20,
        "{accepted} accepted, {edited} respelled"
    );
}

#[test]
fn the_event_streams_are_not_vacuous() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut full, mut joined, mut refused, mut comments) = (0, 0, 0, 0);
    for _ in 0..400 {
        let stream = event_stream().new_tree(&mut runner).unwrap().current();
        for outcome in oracle::sse::slow(&stream, ByteSize(40)) {
            match outcome {
                Ok(event) => {
                    full += usize::from(event.data.is_some() && event.id.is_some());
                    joined += usize::from(event.data.is_some_and(|data| data.contains(&b'\n')));
                    comments += usize::from(event.comment);
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(
        [full, joined, refused, comments].iter().all(|n| *n > 50),
        "{full} full, {joined} joined, {refused} refused, {comments} comments"
    );
}
