//! Clients that speak HTTP/2, of which the guard of HTTP/1 sees nothing.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use serde_json::json;

use super::note;
use crate::support::{
    Gateway, Http2, Outcome, PATIENCE, Proxy, Upstream, call, eventually, request,
};

type Fields<'f> = Vec<(&'f str, &'f [u8])>;

/// The head of a POST, as every client sends it.
fn head(host: &str) -> Fields<'_> {
    vec![
        (":method", b"POST"),
        (":scheme", b"http"),
        (":path", b"/mcp"),
        (":authority", host.as_bytes()),
        ("content-type", b"application/json"),
        ("accept", b"application/json, text/event-stream"),
    ]
}

/// `fields` with `name` said otherwise.
fn with<'f>(mut fields: Fields<'f>, name: &str, value: &'f [u8]) -> Fields<'f> {
    for field in fields.iter_mut().filter(|field| field.0 == name) {
        field.1 = value;
    }
    fields
}

/// `fields` and more of them.
fn and<'f>(mut fields: Fields<'f>, more: &[(&'f str, &'f [u8])]) -> Fields<'f> {
    fields.extend_from_slice(more);
    fields
}

fn without<'f>(mut fields: Fields<'f>, name: &str) -> Fields<'f> {
    fields.retain(|field| field.0 != name);
    fields
}

fn ping() -> Vec<u8> {
    request(1, "ping", &json!({})).to_string().into_bytes()
}

fn ask(gateway: &Gateway, fields: &[(&str, &[u8])], body: &[u8]) -> Outcome {
    let mut connection = Http2::connect(gateway.address);
    connection.send(fields, body);
    connection.outcome()
}

#[test]
fn a_message_passes_over_http2() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let fields = and(
        head("localhost"),
        &[("authorization", b"Bearer a"), ("x-custom", b"1")],
    );
    let outcome = ask(&gateway, &fields, &ping());
    assert_eq!(
        (outcome.status(), &outcome.json()["result"]),
        (Some(200), &json!({}))
    );
    let seen = upstream.last();
    assert_eq!(seen.head.first, "POST /mcp HTTP/1.1");
    assert_eq!(
        (seen.field("authorization"), seen.field("x-custom")),
        (Some("Bearer a"), Some("1"))
    );
    assert!(upstream.url().contains(seen.field("host").unwrap()));
    // What is refused is refused here too.
    let before = upstream.count();
    let stolen = call(2, "read_file", &json!({ "path": "/home/u/.ssh/id_rsa" })).to_string();
    let outcome = ask(&gateway, &head("localhost"), stolen.as_bytes());
    assert_eq!(outcome.status(), Some(200));
    assert_eq!(outcome.json()["result"]["isError"], true);
    let outcome = ask(&gateway, &head("localhost"), b"{} {}");
    assert_eq!(
        (outcome.status(), &outcome.json()["error"]["code"]),
        (Some(400), &json!(-32_700))
    );
    assert_eq!(upstream.count(), before);
    gateway.stop();
}

#[test]
fn heads_of_http2_are_held_to_the_same_rules() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let usual = || head("localhost");
    let id = vec![b'a'; 1_025];
    let long = vec![b'a'; 100_000];
    // A status, or none where the request is malformed under HTTP/2 itself.
    let cases: Vec<(&str, Fields<'_>, Option<u16>)> = vec![
        (
            "a foreign authority",
            with(usual(), ":authority", b"evil.example"),
            Some(403),
        ),
        (
            "a user in the authority",
            with(usual(), ":authority", b"localhost:80@evil.example"),
            Some(400),
        ),
        (
            "a foreign Host beside our authority",
            and(usual(), &[("host", b"evil.example")]),
            Some(400),
        ),
        (
            "our Host beside a foreign authority",
            and(
                with(usual(), ":authority", b"evil.example"),
                &[("host", b"localhost")],
            ),
            Some(400),
        ),
        (
            "two Hosts",
            and(usual(), &[("host", b"localhost"), ("host", b"localhost")]),
            Some(400),
        ),
        (
            "a Host and no authority",
            and(without(usual(), ":authority"), &[("host", b"localhost")]),
            Some(200),
        ),
        ("neither", without(usual(), ":authority"), Some(400)),
        (
            "a foreign origin",
            and(usual(), &[("origin", b"http://evil.example")]),
            Some(403),
        ),
        (
            "the origin null",
            and(usual(), &[("origin", b"null")]),
            Some(403),
        ),
        (
            "two origins",
            and(
                usual(),
                &[
                    ("origin", b"http://localhost"),
                    ("origin", b"http://localhost"),
                ],
            ),
            Some(400),
        ),
        (
            "a slash at the end",
            with(usual(), ":path", b"/mcp/"),
            Some(404),
        ),
        ("other letters", with(usual(), ":path", b"/MCP"), Some(404)),
        (
            "percent-encoded",
            with(usual(), ":path", b"/%6dcp"),
            Some(404),
        ),
        ("two slashes", with(usual(), ":path", b"//mcp"), Some(404)),
        ("a query", with(usual(), ":path", b"/mcp?x"), Some(404)),
        ("PUT", with(usual(), ":method", b"PUT"), Some(405)),
        (
            "text/plain",
            with(usual(), "content-type", b"text/plain"),
            Some(415),
        ),
        (
            "utf-16le",
            with(
                usual(),
                "content-type",
                b"application/json; charset=utf-16le",
            ),
            Some(415),
        ),
        (
            "two media types",
            and(usual(), &[("content-type", b"text/plain")]),
            Some(400),
        ),
        (
            "gzip",
            and(usual(), &[("content-encoding", b"gzip")]),
            Some(415),
        ),
        (
            "a session that nobody made",
            and(usual(), &[("mcp-session-id", b"x")]),
            Some(404),
        ),
        (
            "two sessions",
            and(
                usual(),
                &[("mcp-session-id", b"x"), ("mcp-session-id", b"x")],
            ),
            Some(400),
        ),
        (
            "a long session",
            and(usual(), &[("mcp-session-id", &id)]),
            Some(400),
        ),
        (
            "two versions",
            and(
                usual(),
                &[
                    ("mcp-protocol-version", b"2025-11-25"),
                    ("mcp-protocol-version", b"2025-11-25"),
                ],
            ),
            Some(400),
        ),
        (
            "two methods",
            and(usual(), &[("mcp-method", b"ping"), ("mcp-method", b"ping")]),
            Some(400),
        ),
        (
            "two names",
            and(usual(), &[("mcp-name", b"x"), ("mcp-name", b"x")]),
            Some(400),
        ),
        (
            "two event ids",
            and(usual(), &[("last-event-id", b"x"), ("last-event-id", b"x")]),
            Some(400),
        ),
        (
            "CR LF in a value",
            and(usual(), &[("x-a", b"1\r\nmcp-name: x")]),
            None,
        ),
        (
            "LF in a value",
            and(usual(), &[("x-a", b"1\nmcp-name: x")]),
            None,
        ),
        ("NUL in a value", and(usual(), &[("x-a", b"1\0")]), None),
        (
            "CR LF in a name",
            and(usual(), &[("x-a: 1\r\nx-b", b"1")]),
            None,
        ),
        ("a space in a name", and(usual(), &[("x a", b"1")]), None),
        ("a colon in a name", and(usual(), &[("x:a", b"1")]), None),
        (
            "capital letters in a name",
            and(usual(), &[("X-A", b"1")]),
            None,
        ),
        (
            "Transfer-Encoding",
            and(usual(), &[("transfer-encoding", b"chunked")]),
            None,
        ),
        (
            "Connection",
            and(usual(), &[("connection", b"close")]),
            None,
        ),
        ("Upgrade", and(usual(), &[("upgrade", b"websocket")]), None),
        (
            "a length that is too long",
            and(usual(), &[("content-length", b"9999")]),
            None,
        ),
        (
            "a length that is too short",
            and(usual(), &[("content-length", b"1")]),
            None,
        ),
        (
            "a length of zero",
            and(usual(), &[("content-length", b"0")]),
            None,
        ),
        (
            "two lengths",
            and(
                usual(),
                &[("content-length", b"52"), ("content-length", b"1")],
            ),
            None,
        ),
        (
            "a space in the path",
            with(usual(), ":path", b"/mcp HTTP/1.1\r\nx: y"),
            None,
        ),
        ("two paths", and(vec![(":path", b"/x")], &usual()), None),
        (
            "a pseudo-field of a response",
            and(vec![(":status", b"200")], &usual()),
            None,
        ),
        (
            "a pseudo-field behind a field",
            and(without(usual(), ":path"), &[(":path", b"/mcp")]),
            None,
        ),
    ];
    let mut wrong = Vec::new();
    for (name, fields, expected) in cases {
        let before = upstream.count();
        let outcome = ask(&gateway, &fields, &ping());
        let saw = upstream.count() - before;
        // A head that HTTP/2 itself refuses may come out as a reset, or as 400.
        let is_expected = match expected {
            Some(_) => outcome.status() == expected,
            None => matches!(outcome.status(), None | Some(400)),
        };
        if !is_expected || saw != usize::from(expected == Some(200)) {
            wrong.push(format!(
                "{name}: {outcome:?}, the server saw {saw}; expected {expected:?}"
            ));
        }
    }
    let before = upstream.count();
    let outcome = ask(&gateway, &and(usual(), &[("x-long", &long)]), &ping());
    if !matches!(outcome.status(), None | Some(431)) || upstream.count() > before {
        wrong.push(format!("a field of 100,000 bytes: {outcome:?}"));
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        gateway.stderr()
    );
    gateway.stop();
}

#[test]
fn two_credentials_are_nobodys_over_http2() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session("2025-11-25", &[("Authorization", "Bearer a")]);
    let before = upstream.count();
    let fields = and(
        head("localhost"),
        &[
            ("mcp-session-id", session.as_bytes()),
            ("authorization", b"Bearer a"),
            ("authorization", b"Bearer b"),
        ],
    );
    let outcome = ask(&gateway, &fields, &ping());
    assert_eq!(outcome.status(), Some(400), "{outcome:?}");
    assert_eq!(upstream.count(), before);
    gateway.stop();
}

#[test]
fn as_many_fields_as_over_http1_and_no_more() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let many = vec![("x-a", &b"1"[..]); 200];
    let outcome = ask(&gateway, &and(head("localhost"), &many), &ping());
    assert!(matches!(outcome.status(), None | Some(431)), "{outcome:?}");
    assert_eq!(upstream.count(), 0);
    gateway.stop();
}

#[test]
fn events_pass_one_by_one_over_http2_and_a_reset_is_passed_on() {
    let (got, gets) = channel::<()>();
    let (notice, notices) = channel();
    let (gets, notice) = (Mutex::new(gets), Mutex::new(notice));
    let upstream = Upstream::each(move |seen, peer| {
        if seen.method() != "tools/call" {
            return peer.honest(seen);
        }
        peer.events();
        for number in 0..3 {
            peer.event(&note(number));
            gets.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        notice.lock().unwrap().send(peer.is_closed()).unwrap();
        peer.close();
    });
    let gateway = Proxy::before(&upstream).start();
    let message = mcpf_tests::to_modern(call(7, "echo", &json!({}))).to_string();
    let fields = and(
        head("localhost"),
        &[
            ("mcp-protocol-version", b"2026-07-28"),
            ("mcp-method", b"tools/call"),
            ("mcp-name", b"echo"),
        ],
    );
    let mut connection = Http2::connect(gateway.address);
    connection.send(&fields, message.as_bytes());
    for number in 0..3 {
        let piece = String::from_utf8(connection.piece().unwrap()).unwrap();
        assert_eq!(piece, format!("data: {}\n\n", note(number)));
        assert!(notices.try_recv().is_err());
        got.send(()).unwrap();
    }
    connection.cancel();
    assert!(notices.recv_timeout(PATIENCE).unwrap());
    assert!(eventually(PATIENCE, || ask(
        &gateway,
        &head("localhost"),
        &ping()
    )
    .status()
        == Some(200)));
    gateway.stop();
}

#[test]
fn bodies_over_http2_have_the_same_limits() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream)
        .option("--max-frame", "8KiB")
        .http("body_timeout", "3s")
        .start();
    let large = call(1, "echo", &json!({ "text": "x".repeat(10_000) })).to_string();
    let outcome = ask(&gateway, &head("localhost"), large.as_bytes());
    assert_eq!(
        (outcome.status(), &outcome.json()["error"]["code"]),
        (Some(413), &json!(1_429))
    );
    // One that never comes: the stream is left open.
    let mut connection = Http2::connect(gateway.address);
    connection.send_head(&head("localhost"));
    assert_eq!(connection.outcome().status(), Some(408));
    assert_eq!(upstream.count(), 0);
    gateway.stop();
}

#[test]
fn a_server_is_called_over_http2_as_the_client_calls_it() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let fields: Fields<'_> = vec![
        (":method", b"GET"),
        (":scheme", b"http"),
        (":path", b"/.well-known/oauth-protected-resource"),
        (":authority", b"localhost:4711"),
    ];
    ask(&gateway, &fields, b"");
    assert_eq!(upstream.last().field("host"), Some("localhost:4711"));
    gateway.stop();
}
