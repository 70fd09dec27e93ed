//! Bytes in, status out: the cases of `proxy/cases`, and the matrix of origins and hosts.
//!
//! A case is a name (`==`), the bytes sent (`>` a line, `>>` bytes without a line end) and what comes
//! of them (`<` status, JSON-RPC code, and whether the server has `seen` the request). `closed` says
//! that the connection ends there, `open` that another request is served on it. `let` names a text;
//! `{size}` is the length of the body, `{host}` the address, `{3*x}` is `xxx`.

use serde_json::json;

use crate::support::{Ask, Client, Gateway, Proxy, Upstream, call, request};

const AFTER: i64 = 4_711;

#[derive(Debug)]
struct Case {
    name: String,
    bytes: Vec<u8>,
    expected: Vec<Expected>,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
}

#[derive(Debug, PartialEq, Eq)]
struct Expected {
    status: u16,
    /// An error's code, `result`, or `none`.
    code: String,
}

/// The cases in `text`, and how many requests of each the server sees.
fn cases(text: &str, host: &str) -> Vec<(Case, usize)> {
    let mut names: Vec<(String, String)> = vec![("{host}".to_owned(), host.to_owned())];
    let mut cases: Vec<(Case, usize)> = Vec::new();
    let mut sent: Vec<String> = Vec::new();
    for line in text.lines().chain(["== "]) {
        if let Some(rest) = line.strip_prefix("let ") {
            let (name, value) = rest.split_once(' ').unwrap();
            let value = replaced(value, &names);
            names.push((format!("{{{name}}}"), value));
        } else if let Some(name) = line.strip_prefix("== ") {
            if let Some((case, _)) = cases.last_mut() {
                case.bytes = bytes(&sent.concat());
                sent.clear();
            }
            let case = Case {
                name: name.to_owned(),
                bytes: Vec::new(),
                expected: Vec::new(),
                end: None,
            };
            cases.push((case, 0));
        } else if let Some(bytes) = line.strip_prefix(">> ") {
            sent.push(replaced(bytes, &names));
        } else if let Some(line) = line.strip_prefix('>') {
            let line = line.strip_prefix(' ').unwrap_or(line);
            sent.push(replaced(line, &names) + "\\r\\n");
        } else if let Some(line) = line.strip_prefix("< ") {
            let (case, seen) = cases.last_mut().unwrap();
            let mut words = line.split(' ');
            case.expected.push(Expected {
                status: words.next().unwrap().parse().unwrap(),
                code: words.next().unwrap().to_owned(),
            });
            for word in words {
                match word {
                    "seen" => *seen += 1,
                    "open" => case.end = Some(End::Open),
                    "closed" => case.end = Some(End::Closed),
                    other => panic!("`{other}` in {}", case.name),
                }
            }
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "{line}");
        }
    }
    cases.pop();
    assert!(!cases.is_empty());
    cases
}

fn replaced(text: &str, names: &[(String, String)]) -> String {
    let replace = |text: String, (name, value): &(String, String)| text.replace(name, value);
    names.iter().rev().fold(text.to_owned(), replace)
}

/// What `text` spells: repetitions, then escapes, then the size of the body.
fn bytes(text: &str) -> Vec<u8> {
    let mut text = text.to_owned();
    while let Some((start, count)) = repetition(&text) {
        let star = text[start..].find('*').unwrap() + start;
        let end = text[star..].find('}').unwrap() + star;
        let many = text[star + 1..end].repeat(count);
        text.replace_range(start..=end, &many);
    }
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = (byte == b'\\').then(|| rest.next().unwrap());
        out.push(match escaped {
            None => byte,
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'x') => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            Some(other) => other,
        });
    }
    let blank = out.windows(4).position(|window| window == b"\r\n\r\n");
    let size = blank.map_or(0, |at| out.len() - at - 4).to_string();
    while let Some(at) = out.windows(6).position(|window| window == b"{size}") {
        out.splice(at..at + 6, size.bytes());
    }
    out
}

/// Where the first `{3*…}` stands, and its number.
fn repetition(text: &str) -> Option<(usize, usize)> {
    text.match_indices('{').find_map(|(start, _)| {
        let (number, _) = text[start + 1..].split_once('*')?;
        Some((start, number.parse().ok()?))
    })
}

/// What came of a case, in its own terms.
fn outcome(client: &mut Client, case: &Case) -> (Vec<Expected>, End) {
    // A refused request is not read to its end.
    let _refused = client.send_bytes(&case.bytes);
    let mut got = Vec::new();
    for _ in &case.expected {
        let Some(reply) = client.reply() else { break };
        let json = reply.json();
        got.push(Expected {
            status: reply.status(),
            code: match (json.get("result"), &json["error"]["code"]) {
                (Some(_), _) => "result".to_owned(),
                (None, code) if code.is_i64() => code.to_string(),
                _ => "none".to_owned(),
            },
        });
    }
    let after = Ask::post(&request(AFTER, "ping", &json!({})));
    let is_open = client.send_bytes(&after.bytes("localhost")).is_ok()
        && client.reply().is_some_and(|reply| {
            let json = reply.json();
            assert_eq!(json["id"], AFTER, "{}: another response came", case.name);
            true
        });
    (got, if is_open { End::Open } else { End::Closed })
}

fn run(gateway: &Gateway, upstream: &Upstream, text: &str) {
    let mut wrong = Vec::new();
    for (case, seen) in cases(text, &gateway.address.to_string()) {
        let before = upstream.count();
        let (got, end) = outcome(&mut gateway.connect(), &case);
        // Whatever got past the firewall got there before this.
        gateway.ask(&Ask::post(&request(AFTER, "ping", &json!({}))));
        let new = upstream.seen().split_off(before);
        let saw = new.iter().filter(|seen| seen.message()["id"] != AFTER);
        let saw = saw.count();
        if got != case.expected || case.end.is_some_and(|wanted| wanted != end) || saw != seen {
            let Case {
                name,
                expected,
                end: wanted,
                ..
            } = case;
            wrong.push(format!(
                "{name}: got {got:?} {end:?}, the server saw {saw}; expected {expected:?} {wanted:?}, {seen}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        gateway.stderr()
    );
}

fn hold(text: &str) {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream)
        .http("hosts", "[gateway.example]")
        .http("origins", "[\"https://app.example\"]")
        .start();
    run(&gateway, &upstream, text);
    gateway.stop();
}

#[test]
fn no_two_readers_find_different_requests() {
    hold(include_str!("cases/smuggling.case"));
}

#[test]
fn heads_are_served_or_refused_as_the_table_says() {
    hold(include_str!("cases/heads.case"));
}

#[test]
fn bodies_are_one_message_or_nothing() {
    hold(include_str!("cases/bodies.case"));
}

#[test]
fn fields_and_message_say_the_same() {
    hold(include_str!("cases/versions.case"));
}

#[test]
fn messages_do_not_pass_as_metadata() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let path = "/.well-known/oauth-protected-resource/mcp";
    let stolen = call(1, "read_file", &json!({ "path": "/home/u/.ssh/id_rsa" }));
    let reply = gateway.ask(&Ask::post(&stolen).at(path));
    assert_eq!(reply.status(), 405, "{}", reply.text());
    assert_eq!(gateway.ask(&Ask::delete().at(path)).status(), 405);
    assert_eq!(upstream.count(), 0);
    gateway.stop();
}

/// Origins, and whether a page of theirs may call.
const ORIGINS: [(&str, bool); 24] = [
    ("http://localhost", true),
    ("http://localhost:3000", true),
    ("https://localhost:8443", true),
    ("http://127.0.0.1:5173", true),
    ("https://[::1]:8443", true),
    ("https://app.example", true),
    ("null", false),
    ("", false),
    ("http://evil.example", false),
    ("https://evil.example", false),
    ("http://app.example", false),
    ("https://app.example:8443", false),
    ("https://app.example.evil.example", false),
    ("https://evil.example/https://app.example", false),
    ("https://app.example https://evil.example", false),
    ("HTTPS://APP.EXAMPLE", false),
    ("http://localhost.evil.example", false),
    ("http://localhost@evil.example", false),
    ("http://evil.example:80@localhost", false),
    ("http://localhost/", false),
    ("http://gateway.example", false),
    ("file://", false),
    ("chrome-extension://abcdefghijklmnop", false),
    ("localhost", false),
];

/// Hosts, and how a request to them is refused.
const HOSTS: [(&str, Option<u16>); 6] = [
    ("localhost:8080", None),
    ("127.0.0.1", None),
    ("gateway.example", None),
    ("evil.example", Some(403)),
    ("app.example", Some(403)),
    ("localhost:80@evil.example", Some(400)),
];

#[test]
fn a_page_calls_only_from_an_origin_that_may_and_only_a_host_that_is_ours() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream)
        .http("hosts", "[gateway.example]")
        .http("origins", "[\"https://app.example\"]")
        .start();
    let ping = request(1, "ping", &json!({}));
    for (host, refused) in HOSTS {
        for (origin, is_ours) in ORIGINS {
            for (ask, served) in [
                (Ask::post(&ping), 200),
                (Ask::get(), 405),
                (Ask::delete(), 200),
            ] {
                let before = upstream.count();
                let mut client = gateway.connect();
                let ask = ask.with("Origin", origin);
                client.send_bytes(&ask.bytes(host)).unwrap();
                let reply = client.reply().unwrap();
                let is_served = refused.is_none() && is_ours;
                let status = refused.unwrap_or(if is_ours { served } else { 403 });
                let case = format!("{ask:?} to {host}: {reply:?}");
                assert_eq!(reply.status(), status, "{case}");
                assert_eq!(upstream.count() - before, usize::from(is_served), "{case}");
                let shared = reply.head.get("access-control-allow-origin");
                assert_eq!(shared, is_served.then_some(origin), "{case}");
                if !is_served {
                    assert_eq!(reply.json()["error"]["code"], -32_600, "{case}");
                }
            }
        }
    }
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.field("origin").is_none())
    );
    // What a browser asks before it calls.
    let upstream_saw = upstream.count();
    for (origin, status) in [("https://app.example", 204), ("http://evil.example", 403)] {
        let preflight = format!(
            "OPTIONS /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n"
        );
        let mut client = gateway.connect();
        client.send_bytes(preflight.as_bytes()).unwrap();
        let reply = client.reply().unwrap();
        assert_eq!(reply.status(), status, "{reply:?}");
        let shared = reply.head.get("access-control-allow-origin");
        assert_eq!(shared, (status == 204).then_some(origin));
    }
    assert_eq!(upstream.count(), upstream_saw);
    gateway.stop();
}
