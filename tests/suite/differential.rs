//! Where JSON-RPC readers disagree: the cases of the wire crate, through the built program.

use serde_json::{Value, json};

use crate::support::{Wrap, request};

struct Case {
    place: String,
    title: String,
    input: Vec<u8>,
    expected: Vec<String>,
}

/// Reads a case file; its format is written at the top of `client.case`.
fn cases(file: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match line.split_at_checked(2) {
            Some(("==", title)) => cases.push(Case {
                place: format!("{file}:{}", number + 1),
                title: title.trim().to_owned(),
                input: Vec::new(),
                expected: Vec::new(),
            }),
            Some(("< ", input)) => cases.last_mut().unwrap().input = bytes(input),
            Some(("> ", expected)) => cases.last_mut().unwrap().expected.push(expected.to_owned()),
            _ => {}
        }
    }
    assert!(cases.len() > 40, "{file} holds {} cases", cases.len());
    cases
}

/// `<<0D>>` is a byte, `<<200*[>>` is a text repeated.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once("<<") {
        out.extend_from_slice(plain.as_bytes());
        let (inside, after) = after.split_once(">>").unwrap();
        match inside.split_once('*') {
            Some((times, what)) => out.extend(what.repeat(times.parse().unwrap()).into_bytes()),
            None => out.push(u8::from_str_radix(inside, 16).unwrap()),
        }
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// `refuse CODE RULE ID SHAPE`: the rule, the id and the shape. The code follows from the rule.
fn refusal(expected: &str) -> Option<(String, Value, String)> {
    let rest = expected.strip_prefix("refuse ")?;
    let (_code, rest) = rest.split_once(' ')?;
    let (rule, rest) = rest.split_once(' ')?;
    let (id, shape) = rest.rsplit_once(' ')?;
    Some((
        rule.to_owned(),
        serde_json::from_str(id).unwrap_or(Value::Null),
        shape.to_owned(),
    ))
}

const CLIENT: &str = include_str!("../../engine/wire/tests/cases/client.case");
const SERVER: &str = include_str!("../../engine/wire/tests/cases/server.case");

/// JSON-RPC codes that the rules of the wire are answered with.
const CODES: [i64; 3] = [-32700, -32600, 1429];

#[test]
fn the_server_sees_only_what_has_one_meaning() {
    let wrap = Wrap::fake(&["--record"]).policy("version: 1\ndefault: allow\n");
    let record = wrap.dir.join("record");
    let mut session = wrap.arg(&record).start();
    let mut wrong = Vec::new();
    let mut seen_before = 0;
    for (n, case) in cases("client.case", CLIENT).iter().enumerate() {
        let sentinel = json!(format!("sentinel-{n}"));
        session.send_bytes(&case.input);
        session.send_bytes(b"\n");
        session.send(&json!({ "jsonrpc": "2.0", "id": sentinel, "method": "ping" }));
        let mut answers = Vec::new();
        loop {
            let message = session.read();
            if message["id"] == sentinel {
                break;
            }
            answers.push(message);
        }
        let seen = std::fs::read(&record).unwrap();
        let mut lines: Vec<&[u8]> = seen[seen_before..].split(|&byte| byte == b'\n').collect();
        seen_before = seen.len();
        assert_eq!(lines.pop(), Some(&b""[..]));
        let last = lines.pop().unwrap();
        assert!(
            String::from_utf8_lossy(last).contains("sentinel"),
            "{}",
            case.place
        );
        if let Err(why) = judge(case, &lines, &answers) {
            wrong.push(format!("{} {}: {why}", case.place, case.title));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(session.finish().code(), Some(0));
}

fn judge(case: &Case, lines: &[&[u8]], answers: &[Value]) -> Result<(), String> {
    let mut lines = lines.iter();
    let mut refused = answers
        .iter()
        .filter(|answer| answer.get("error").is_some());
    for expected in &case.expected {
        match refusal(expected) {
            None if expected == "nothing" => {}
            None => {
                // A response that answers nothing is well-formed, and refused all the same.
                if is_response(case) {
                    continue;
                }
                let want = if expected == "same" {
                    case.input.clone()
                } else {
                    bytes(expected)
                };
                match lines.next() {
                    Some(line) if **line == *want => {}
                    other => {
                        let got = other.map(|line| String::from_utf8_lossy(line).into_owned());
                        return Err(format!("the server saw {got:?}"));
                    }
                }
            }
            Some((rule, id, shape)) => {
                if matches!(shape.as_str(), "notification" | "response") {
                    continue;
                }
                let Some(answer) = refused.next() else {
                    return Err("no answer".to_owned());
                };
                let error = &answer["error"];
                let code = error["code"].as_i64().unwrap_or_default();
                if answer["id"] != id
                    || error["data"]["rule"] != rule.as_str()
                    || !CODES.contains(&code)
                {
                    return Err(format!("answered {answer}"));
                }
            }
        }
    }
    match lines.next() {
        Some(line) => Err(format!(
            "the server also saw {}",
            String::from_utf8_lossy(line)
        )),
        None => Ok(()),
    }
}

fn is_response(case: &Case) -> bool {
    serde_json::from_slice::<Value>(&case.input).is_ok_and(|value| value.get("method").is_none())
}

#[test]
fn the_client_sees_only_what_has_one_meaning_and_is_always_answered() {
    let wrap = Wrap::fake(&["--script"]).policy("version: 1\ndefault: allow\n");
    let script = wrap.dir.join("script");
    std::fs::create_dir(&script).unwrap();
    let mut session = wrap.arg(&script).start();
    let mut wrong = Vec::new();
    for (n, case) in (100..).zip(cases("server.case", SERVER)) {
        // Each case answers a request of its own.
        let ours = |bytes: &[u8]| replace(bytes, b"\"id\":1", format!("\"id\":{n}").as_bytes());
        let mut line = ours(&case.input);
        line.push(b'\n');
        std::fs::write(script.join(n.to_string()), &line).unwrap();
        line.pop();
        let from = session.seen.len();
        let ask = request(n, "tools/list", &json!({ "cursor": n.to_string() }));
        let sentinel = json!(format!("sentinel-{n}"));
        if owes_answer(&case) {
            session.ask(&ask);
        } else {
            session.send(&ask);
            session.ask(&json!({ "jsonrpc": "2.0", "id": sentinel, "method": "ping" }));
            let cancel = json!({ "requestId": n });
            session.send(
                &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel }),
            );
        }
        session.ask(&json!({ "jsonrpc": "2.0", "id": format!("after-{n}"), "method": "ping" }));
        let lines = &session.seen[from..];
        if let Err(why) = judge_server(&case, n, &ours, lines) {
            wrong.push(format!("{} {}: {why}", case.place, case.title));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(session.finish().code(), Some(0));
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Whether the waiting request is answered: by the server, or by the gateway in its place.
fn owes_answer(case: &Case) -> bool {
    case.expected
        .iter()
        .any(|expected| match refusal(expected) {
            Some((_, _, shape)) => matches!(shape.as_str(), "response" | "unknown"),
            None => {
                let forwarded = if expected == "same" {
                    case.input.clone()
                } else {
                    bytes(expected)
                };
                let value: Value = serde_json::from_slice(&forwarded).unwrap_or_default();
                value["id"] == 1 && value.get("method").is_none()
            }
        })
}

fn judge_server(
    case: &Case,
    id: i64,
    ours: &dyn Fn(&[u8]) -> Vec<u8>,
    lines: &[Vec<u8>],
) -> Result<(), String> {
    let show = || {
        let all: Vec<_> = lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        all.join(" | ")
    };
    let answers = lines
        .iter()
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let answers = answers
        .filter(|m| m["id"] == id && m.get("method").is_none())
        .count();
    if answers != usize::from(owes_answer(case)) {
        return Err(format!("answered {answers} times: {}", show()));
    }
    for expected in &case.expected {
        let input = ours(&case.input);
        match refusal(expected) {
            Some(_) if lines.contains(&input) => return Err("it was forwarded".to_owned()),
            Some(_) => {}
            None if expected == "nothing" => {}
            None => {
                let want = if expected == "same" {
                    input
                } else {
                    ours(&bytes(expected))
                };
                let value: Value = serde_json::from_slice(&want).unwrap_or_default();
                // An answer to nobody does not pass, however well-formed; nor one that comes after ours.
                let to_nobody =
                    value.get("method").is_none() && value["id"] != id && !value["id"].is_null();
                if !to_nobody && case.expected.len() == 1 && !lines.contains(&want) {
                    return Err(format!("the client saw {}", show()));
                }
            }
        }
    }
    Ok(())
}
