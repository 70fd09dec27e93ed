//! What passes, and how: what a client and a server can do directly, they can do through the proxy.

use serde_json::json;

use super::{LEGACY, ping_message, result};
use crate::support::{Ask, Proxy, Upstream, call, request};

#[test]
fn a_message_passes_byte_for_byte_in_both_directions() {
    // Odd, and legal: spaces, escapes, number spellings, an order of its own.
    const ASKED: &str = r#" { "method" : "tools/call", "id":"a\u00e9-1" ,"params":{"arguments":{"n":1.50e2,"big":123456789012345678901234567890,"t":"\u0041\/"},"name":"echo"},"jsonrpc":"2.0"} "#;
    const ANSWERED: &str =
        "{\"result\" : {\"z\":[1,2.0 ,-0],\"content\":[]}, \"id\":\"aé-1\",\n\"jsonrpc\":\"2.0\" }";
    let upstream = Upstream::each(|_, peer| {
        peer.respond(
            "200 OK",
            &[("Content-Type", "Application/JSON; charset=utf-8")],
            ANSWERED,
        );
    });
    let gateway = Proxy::before(&upstream).start();
    let mut client = gateway.connect();
    let host = gateway.address;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        ASKED.len()
    );
    client.send_bytes((head + ASKED).as_bytes()).unwrap();
    let reply = client.reply().unwrap();
    assert_eq!(
        (reply.status(), reply.head.get("content-type")),
        (200, Some("application/json"))
    );
    // Only the escaped id is respelled, and the line feed between two tokens.
    let asked = String::from_utf8(upstream.last().body).unwrap();
    assert_eq!(asked, ASKED.replace("a\\u00e9-1", "aé-1"));
    assert_eq!(reply.text(), ANSWERED.replace('\n', " "));
    gateway.stop();
}

#[test]
fn a_clients_fields_go_on_but_for_those_of_its_connection() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let kept = [
        ("Authorization", "Bearer token-1"),
        ("Cookie", "a=b; c=d"),
        ("User-Agent", "suite/1"),
        ("X-Custom", "one, two"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("MCP-Protocol-Version", LEGACY),
        ("Accept", "application/json, text/event-stream"),
        ("Last-Event-ID", "opaque/../%00 1"),
    ];
    let dropped = [
        ("Connection", "X-Hop, keep-alive,x-hop-2"),
        ("X-Hop", "1"),
        ("X-Hop-2", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("TE", "trailers"),
        ("Trailer", "X-T"),
        ("Range", "bytes=0-1"),
        ("If-None-Match", "\"x\""),
        ("Origin", "http://localhost:3000"),
    ];
    let mut ask =
        Ask::bare_post(&ping_message()).with("Content-Type", "Application/JSON;charset=UTF-8");
    for (name, value) in kept.iter().chain(&dropped) {
        ask = ask.with(name, *value);
    }
    ask = ask
        .with("X-Twice", "1")
        .with("X-Twice", "2")
        .with("Accept-Encoding", "gzip, br");
    assert_eq!(gateway.ask(&ask).status(), 200);
    let seen = upstream.last();
    for (name, value) in kept {
        assert_eq!(seen.field(name), Some(value), "{name}");
    }
    for (name, _) in dropped {
        assert_eq!(seen.head.all(name), Vec::<&str>::new(), "{name}");
    }
    assert_eq!(seen.head.all("x-twice"), ["1", "2"]);
    assert_eq!(seen.field("accept-encoding"), Some("identity"));
    assert_eq!(seen.field("content-type"), Some("application/json"));
    assert_eq!(
        format!("http://{}/mcp", seen.field("host").unwrap()),
        upstream.url()
    );
    assert_eq!(seen.head.first, "POST /mcp HTTP/1.1");
    assert_eq!(
        seen.field("content-length"),
        Some(&*seen.body.len().to_string())
    );
    gateway.stop();
}

#[test]
fn a_client_that_says_not_what_it_accepts_accepts_both() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    gateway.ask(&Ask::bare_post(&ping_message()).with("Content-Type", "application/json"));
    assert_eq!(
        upstream.last().field("accept"),
        Some("application/json, text/event-stream")
    );
    gateway.ask(&Ask::bare_get());
    assert_eq!(upstream.last().field("accept"), Some("text/event-stream"));
    gateway.stop();
}

#[test]
fn a_client_that_accepts_anything_accepts_both() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let ask = Ask::bare_post(&ping_message()).with("Content-Type", "application/json");
    gateway.ask(&ask.with("Accept", "*/*"));
    assert_eq!(
        upstream.last().field("accept"),
        Some("application/json, text/event-stream")
    );
    gateway.stop();
}

#[test]
fn a_servers_fields_go_on_but_for_those_of_its_connection() {
    let kept = [
        ("X-Custom", "one, two"),
        ("Set-Cookie", "a=b; HttpOnly"),
        ("Cache-Control", "private, max-age=5"),
        (
            "WWW-Authenticate",
            "Bearer resource_metadata=\"https://a.example/.well-known/x\"",
        ),
        ("MCP-Protocol-Version", LEGACY),
        ("Retry-After", "7"),
    ];
    let dropped = [
        ("Connection", "keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("Trailer", "X-T"),
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Content-Encoding", "identity"),
    ];
    let upstream = Upstream::each(move |seen, peer| {
        let json = [("Content-Type", "application/json")];
        let fields: Vec<_> = json.into_iter().chain(kept).chain(dropped).collect();
        let answer = mcpf_tests::answer(&seen.message()).unwrap();
        peer.respond("200 OK", &fields, answer.to_string());
    });
    let gateway = Proxy::before(&upstream).start();
    let reply = gateway.ask(&Ask::post(&ping_message()));
    for (name, value) in kept {
        assert_eq!(reply.head.get(name), Some(value), "{name}");
    }
    for (name, _) in dropped {
        assert_eq!(reply.head.all(name), Vec::<&str>::new(), "{name}");
    }
    gateway.stop();
    // Where the server says nothing of caches, nothing is stored.
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let reply = gateway.ask(&Ask::post(&ping_message()));
    assert_eq!(reply.head.get("cache-control"), Some("no-store"));
    gateway.stop();
}

#[test]
fn fields_that_the_servers_connection_names_do_not_go_on() {
    let upstream = Upstream::each(|seen, peer| {
        let fields = [
            ("Content-Type", "application/json"),
            ("Connection", "X-Hop, keep-alive"),
            ("X-Hop", "1"),
        ];
        let answer = mcpf_tests::answer(&seen.message()).unwrap();
        peer.respond("200 OK", &fields, answer.to_string());
    });
    let gateway = Proxy::before(&upstream).start();
    assert_eq!(
        gateway.ask(&Ask::post(&ping_message())).head.get("x-hop"),
        None
    );
    gateway.stop();
}

#[test]
fn a_modern_request_keeps_its_fields_and_has_no_session() {
    let upstream = Upstream::each(|seen, peer| {
        let fields = [
            ("Content-Type", "application/json"),
            ("Mcp-Session-Id", "minted"),
        ];
        let answer = mcpf_tests::answer(&seen.message()).unwrap();
        peer.respond("200 OK", &fields, answer.to_string());
    });
    let gateway = Proxy::before(&upstream).start();
    let ask = Ask::modern(call(1, "echo", &json!({ "text": "x" })))
        .with("Mcp-Name", "echo")
        .with("Mcp-Param-Text", "x")
        .with("Mcp-Param-Other", "=?base64?w6k=?=")
        .session("of-another-time");
    let reply = gateway.ask(&ask);
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.head.get("mcp-session-id"), None);
    let seen = upstream.last();
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
        ("mcp-param-text", "x"),
        ("mcp-param-other", "=?base64?w6k=?="),
    ] {
        assert_eq!(seen.field(name), Some(value), "{name}");
    }
    assert_eq!(seen.field("mcp-session-id"), None);
    gateway.stop();
}

#[test]
fn a_name_in_base64_reaches_the_server_plain() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let ask = Ask::modern(call(1, "echo", &json!({})));
    assert_eq!(
        gateway
            .ask(&ask.with("Mcp-Name", "=?base64?ZWNobw==?="))
            .status(),
        200
    );
    assert_eq!(upstream.last().field("mcp-name"), Some("echo"));
    gateway.stop();
}

#[test]
fn a_parameter_does_not_stand_twice() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let ask = Ask::modern(call(1, "echo", &json!({ "text": "x" }))).with("Mcp-Name", "echo");
    let ask = ask.with("Mcp-Param-Text", "x").with("mcp-param-text", "y");
    assert_eq!(gateway.ask(&ask).status(), 400);
    assert_eq!(upstream.count(), 0);
    gateway.stop();
}

#[test]
fn notifications_and_answers_are_202_whatever_the_server_says_to_them() {
    // A status, a body, and what becomes of it.
    for (status, body, expected) in [
        ("202 Accepted", "", 202),
        (
            "200 OK",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
            202,
        ),
        ("204 No Content", "", 204),
    ] {
        let upstream = Upstream::each(move |_, peer| {
            peer.respond(status, &[("Content-Type", "application/json")], body);
        });
        let gateway = Proxy::before(&upstream).start();
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let reply = gateway.ask(&Ask::post(&note));
        assert_eq!(
            (reply.status(), reply.body.len()),
            (expected, 0),
            "{status}"
        );
        assert_eq!(upstream.last().message(), note);
        gateway.stop();
    }
}

/// Heads and bodies of HTTP that mean the same. `{S}` is the body's size, `{B}` the body, `{C}` the
/// body in chunks.
const RESPONSES: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {S}\r\n\r\n{B}",
    "HTTP/1.1 200\r\ncontent-type:application/json\r\ncontent-length:{S}\r\n\r\n{B}",
    "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {S}\r\n\r\n{B}",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{C}",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{B}",
    "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{B}",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {S}\r\n\r\n{B}",
    "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream;charset=UTF-8\r\n\r\ndata: {B}\n\n",
    "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {B}\n\n",
];

#[test]
fn an_answer_passes_however_http_carries_it() {
    let upstream = Upstream::each(|seen, peer| {
        let Some(case) = seen.field("x-case") else {
            return peer.honest(seen);
        };
        let body = result(&seen.message()["id"], "an answer").to_string();
        let (front, back) = body.split_at(7);
        let chunks = format!("7\r\n{front}\r\n{:X}\r\n{back}\r\n0\r\n\r\n", back.len());
        let response = RESPONSES[case.parse::<usize>().unwrap()]
            .replace("{S}", &body.len().to_string())
            .replace("{B}", &body)
            .replace("{C}", &chunks);
        peer.send(response);
        peer.close();
    });
    let gateway = Proxy::before(&upstream).start();
    for (number, response) in RESPONSES.iter().enumerate() {
        let ask = Ask::post(&call(7, "echo", &json!({}))).with("X-Case", number.to_string());
        let answer = gateway.ask(&ask).answer_to(&json!(7));
        assert_eq!(answer, result(&json!(7), "an answer"), "{response}");
    }
    gateway.stop();
}

#[test]
fn a_success_without_a_message_keeps_its_meaning() {
    let upstream = Upstream::each(|_, peer| {
        peer.respond(
            "200 OK",
            &[("Content-Type", "text/html")],
            "<html>hello</html>",
        );
    });
    let gateway = Proxy::before(&upstream).start();
    // PROTOCOL 5.3: text/plain or no content type is 502.
    assert_eq!(gateway.ask(&Ask::get()).status(), 502);
    assert_eq!(gateway.ask(&Ask::delete()).status(), 200);
    gateway.stop();
}

#[test]
fn authorization_passes_as_it_is() {
    const METADATA: &str = "{\"resource\":\"http://localhost/mcp\",\"authorization_servers\":[]}";
    let upstream = Upstream::each(|seen, peer| match seen.verb() {
        "GET" => {
            let fields = [
                ("Content-Type", "application/json"),
                ("Cache-Control", "max-age=9"),
            ];
            peer.respond("200 OK", &fields, METADATA);
        }
        _ => peer.respond(
            "302 Found",
            &[("Location", "http://localhost:9/callback?code=x")],
            "",
        ),
    });
    let gateway = Proxy::before(&upstream)
        .http("passed", "[/token, /login/*]")
        .start();
    let path = "/.well-known/oauth-protected-resource/mcp?x=1";
    let reply = gateway.ask(&Ask::get().at(path));
    assert_eq!((reply.status(), &*reply.text()), (200, METADATA));
    assert_eq!(reply.head.get("cache-control"), Some("max-age=9"));
    let seen = upstream.last();
    assert_eq!(seen.head.first, format!("GET {path} HTTP/1.1"));
    // The server learns what it is called.
    assert_eq!(seen.field("host"), Some(&*gateway.address.to_string()));
    for (path, is_passed) in [
        ("/token", true),
        ("/login/", true),
        ("/login/x?y", true),
        ("/token/", false),
        ("/Token", false),
        ("/login", false),
        ("/login/../mcp", false),
        ("/login/%2e%2e/mcp", false),
        ("/login//mcp", false),
    ] {
        let before = upstream.count();
        let form = Ask::bare_post(&json!("a form"))
            .with("Content-Type", "text/plain")
            .at(path);
        let reply = gateway.ask(&form);
        assert_eq!(reply.status(), if is_passed { 302 } else { 404 }, "{path}");
        let location = is_passed.then_some("http://localhost:9/callback?code=x");
        assert_eq!(reply.head.get("location"), location);
        assert_eq!(upstream.count() - before, usize::from(is_passed));
        if is_passed {
            assert_eq!(upstream.last().field("content-type"), Some("text/plain"));
        }
    }
    gateway.stop();
}

/// Answers of servers that are no success: status, media type, body.
const REMARKS: [(&str, &str, &str); 11] = [
    (
        "400 Bad Request",
        "application/json",
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2025-11-25"],"requested":"2026-07-28"}}}"#,
    ),
    (
        "400 Bad Request",
        "application/json",
        r#"{"jsonrpc": "2.0", "error": {"code": -32000, "message": "Bad Request: Server not initialized"}, "id": null}"#,
    ),
    (
        "400 Bad Request",
        "text/plain",
        "Bad Request: no valid session ID provided",
    ),
    (
        "401 Unauthorized",
        "application/json",
        r#"{"error":"invalid_token","error_description":"The access token expired"}"#,
    ),
    (
        "403 Forbidden",
        "application/json",
        r#"{"error":"insufficient_scope"}"#,
    ),
    (
        "404 Not Found",
        "application/json",
        r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}"#,
    ),
    (
        "404 Not Found",
        "text/html; charset=utf-8",
        "<html>\n<body>Cannot POST /mcp</body></html>\n",
    ),
    ("405 Method Not Allowed", "text/plain", ""),
    ("406 Not Acceptable", "text/plain", "Not Acceptable"),
    ("429 Too Many Requests", "text/plain", "slow down\r\n"),
    (
        "500 Internal Server Error",
        "text/plain; charset=iso-8859-1",
        "Internal Server Error",
    ),
];

#[test]
fn an_http_error_passes_with_its_status_its_fields_and_its_body() {
    let upstream = Upstream::each(|seen, peer| {
        let (status, media, body) =
            REMARKS[seen.field("x-case").unwrap().parse::<usize>().unwrap()];
        let fields = [
            ("Content-Type", media),
            ("WWW-Authenticate", "Bearer realm=\"x\", scope=\"tools\""),
        ];
        peer.respond(status, &fields, body);
    });
    let gateway = Proxy::before(&upstream).start();
    for (number, (status, media, body)) in REMARKS.into_iter().enumerate() {
        let discover = Ask::modern(request(1, "server/discover", &json!({})));
        for ask in [
            Ask::post(&ping_message()),
            discover,
            Ask::get(),
            Ask::delete(),
        ] {
            let reply = gateway.ask(&ask.with("X-Case", number.to_string()));
            assert!(
                status.starts_with(&reply.status().to_string()),
                "{status}: {reply:?}"
            );
            assert_eq!(reply.text(), body, "{status}");
            let media = (!body.is_empty()).then_some(media);
            assert_eq!(reply.head.get("content-type"), media, "{status}");
            let challenge = reply.head.get("www-authenticate");
            assert_eq!(challenge, Some("Bearer realm=\"x\", scope=\"tools\""));
        }
    }
    gateway.stop();
}

#[test]
fn a_redirect_does_not_lead_past_the_firewall() {
    let upstream = Upstream::each(|_, peer| {
        let fields = [("Location", "http://elsewhere.example/mcp/")];
        peer.respond("307 Temporary Redirect", &fields, "");
    });
    let gateway = Proxy::before(&upstream).start();
    for ask in [Ask::post(&ping_message()), Ask::get(), Ask::delete()] {
        let reply = gateway.ask(&ask);
        assert_eq!(reply.head.get("location"), None, "{reply:?}");
        assert!(!(300..400).contains(&reply.status()), "{reply:?}");
    }
    gateway.stop();
}
