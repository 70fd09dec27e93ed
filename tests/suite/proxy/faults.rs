//! Servers that fail: every request gets one answer all the same, and others go on.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{LEGACY, assert_failed, ping, result};
use crate::support::{Ask, Peer, Proxy, Seen, Silent, Upstream, call};

/// A call that makes the server fail in a way of its own.
pub(super) fn failing(id: i64, fault: &str) -> Ask {
    Ask::post(&call(id, "fail", &json!({ "text": "x" }))).with("X-Fault", fault)
}

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// Sends `text` as it is, then closes.
fn raw(peer: &mut Peer, text: impl AsRef<[u8]>) {
    peer.send(text);
    peer.close();
}

/// A head of `fields`, and a body whose length nothing says.
pub(super) fn headed(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}")
}

pub(super) const AS_JSON: &str = "Content-Type: application/json";
const AS_EVENTS: &str = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked";

/// Every way to fail. Each ends with an error of ours under the id of the request.
const FAULTS: [&str; 52] = [
    "reset before the head",
    "close before the head",
    "close in the head",
    "reset in a body",
    "close in a body",
    "close in a body of chunks",
    "reset in a stream",
    "close in a stream",
    "close in an event",
    "a truncated chunk in a stream",
    "end of a stream without an answer",
    "end of a stream within an event",
    "never a head",
    "never a body",
    "garbage",
    "HTTP/2",
    "a bad version",
    "a bad status",
    "two lengths",
    "a bad length",
    "a bad chunk size",
    "an endless head",
    "an endless line of chunk size",
    "endless interim responses",
    "too many fields",
    "200 and nothing",
    "202 to a request",
    "204 to a request",
    "text/plain",
    "no media type",
    "HTML",
    "gzip",
    "br in a stream",
    "an answer beyond the limit",
    "an endless answer",
    "not JSON",
    "half of JSON",
    "two messages",
    "a batch",
    "NaN",
    "the same key twice",
    "a byte order mark",
    "bytes that are not UTF-8",
    "result and error",
    "another id",
    "an id of another type",
    "an id that is a float",
    "an id that is null",
    "no id",
    "a notification",
    "a request",
    "another id in a stream",
];

/// The server of these tests. What it does not know it answers honestly.
fn fail(seen: &Seen, peer: &mut Peer) {
    let id = &seen.message()["id"];
    let answer = result(id, "an answer");
    let with_id = |id: &str| {
        answer
            .to_string()
            .replace(&format!("\"id\":{}", answer["id"]), id)
    };
    match seen.field("x-fault").unwrap_or_default() {
        "reset before the head" => peer.reset(),
        "close before the head" => peer.close(),
        "close in the head" => raw(peer, "HTTP/1.1 200 OK\r\nContent-Ty"),
        "reset in a body" => {
            peer.send(headed(
                "Content-Type: application/json\r\nContent-Length: 99",
                "{\"json",
            ));
            // The beginning has been read before the end is seen.
            peer.reset();
        }
        "close in a body" => {
            let fields = format!("{AS_JSON}\r\nContent-Length: 99");
            raw(peer, headed(&fields, "{\"jsonrpc\":\"2.0\""));
        }
        "close in a body of chunks" => {
            let fields = format!("{AS_JSON}\r\nTransfer-Encoding: chunked");
            raw(
                peer,
                headed(
                    &fields,
                    &format!("{:x}\r\n{answer}\r\n", answer.to_string().len()),
                ),
            );
        }
        "reset in a stream" => {
            peer.events();
            peer.chunk(": one\n\n");
            peer.reset();
        }
        "close in a stream" => {
            peer.events();
            peer.chunk(": one\n\n");
            peer.close();
        }
        "close in an event" => {
            peer.events();
            peer.chunk(format!("data: {answer}\n"));
            peer.close();
        }
        "a truncated chunk in a stream" => {
            raw(peer, headed(AS_EVENTS, "fff\r\ndata: {\"jsonrpc\""));
        }
        "end of a stream without an answer" => {
            peer.events();
            peer.chunk(": one\n\n");
            peer.end();
        }
        "end of a stream within an event" => {
            peer.events();
            peer.chunk(format!("data: {answer}\n"));
            peer.end();
        }
        "never a head" => {
            peer.is_closed();
        }
        "never a body" => {
            peer.send(headed(
                "Content-Type: application/json\r\nContent-Length: 99",
                "{\"json",
            ));
            peer.is_closed();
        }
        "garbage" => raw(peer, b"\x16\x03\x01\x02\x00\x01\x00\xff garbage\r\n\r\n"),
        "HTTP/2" => raw(
            peer,
            b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80",
        ),
        "a bad version" => raw(peer, "HTTP/3.7 200 OK\r\n\r\n"),
        "a bad status" => raw(peer, "HTTP/1.1 2000 OK\r\n\r\n"),
        "two lengths" => {
            let fields = format!("{AS_JSON}\r\nContent-Length: 5\r\nContent-Length: 6");
            raw(peer, headed(&fields, "{\"a\":"));
        }
        "a bad length" => raw(
            peer,
            headed(&format!("{AS_JSON}\r\nContent-Length: -5"), "{\"a\":"),
        ),
        "a bad chunk size" => raw(peer, headed(AS_EVENTS, "zz\r\ndata: {}\n\n\r\n")),
        "an endless head" => {
            peer.send("HTTP/1.1 200 OK\r\nX-A: ");
            peer.send_without_end(b'a');
        }
        "an endless line of chunk size" => {
            peer.send(headed(
                &format!("{AS_JSON}\r\nTransfer-Encoding: chunked"),
                "",
            ));
            peer.send_without_end(b'0');
        }
        "endless interim responses" => {
            while peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1_000)) {}
        }
        "too many fields" => raw(peer, headed(&"X-A: 1\r\n".repeat(5_000), "")),
        "200 and nothing" => peer.respond("200 OK", &JSON, ""),
        "202 to a request" => peer.respond("202 Accepted", &[], ""),
        "204 to a request" => {
            peer.send("HTTP/1.1 204 No Content\r\n\r\n");
        }
        "text/plain" => peer.respond(
            "200 OK",
            &[("Content-Type", "text/plain")],
            answer.to_string(),
        ),
        "no media type" => peer.respond("200 OK", &[], answer.to_string()),
        "HTML" => peer.respond("200 OK", &[("Content-Type", "text/html")], "<html></html>"),
        "gzip" => {
            let fields = [
                ("Content-Type", "application/json"),
                ("Content-Encoding", "gzip"),
            ];
            peer.respond(
                "200 OK",
                &fields,
                b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff",
            );
        }
        "br in a stream" => {
            raw(
                peer,
                headed(
                    &format!("{AS_EVENTS}\r\nContent-Encoding: br"),
                    "1\r\nx\r\n0\r\n\r\n",
                ),
            );
        }
        "an answer beyond the limit" => {
            peer.respond(
                "200 OK",
                &JSON,
                result(id, &"x".repeat(1 << 20)).to_string(),
            );
        }
        "an endless answer" => {
            peer.send(headed(
                &format!("{AS_JSON}\r\nTransfer-Encoding: chunked"),
                "",
            ));
            peer.chunks_without_end();
        }
        "not JSON" => peer.respond("200 OK", &JSON, "{'a': 1}"),
        "half of JSON" => {
            let text = answer.to_string();
            peer.respond("200 OK", &JSON, &text[..text.len() / 2]);
        }
        "two messages" => peer.respond("200 OK", &JSON, format!("{answer}{answer}")),
        "a batch" => peer.respond("200 OK", &JSON, format!("[{answer}]")),
        "NaN" => peer.respond("200 OK", &JSON, answer.to_string().replace("false", "NaN")),
        "the same key twice" => {
            peer.respond(
                "200 OK",
                &JSON,
                answer.to_string().replacen('{', "{\"id\":2,", 1),
            );
        }
        "a byte order mark" => peer.respond("200 OK", &JSON, format!("\u{feff}{answer}")),
        "bytes that are not UTF-8" => {
            let mut bytes = answer.to_string().into_bytes();
            let at = bytes.windows(2).position(|w| w == b"an").unwrap();
            bytes[at] = 0xff;
            peer.respond("200 OK", &JSON, bytes);
        }
        "result and error" => {
            let error = "{\"error\":{\"code\":1,\"message\":\"x\"},";
            peer.respond("200 OK", &JSON, answer.to_string().replacen('{', error, 1));
        }
        "another id" => peer.respond("200 OK", &JSON, with_id("\"id\":99")),
        "an id of another type" => peer.respond("200 OK", &JSON, with_id("\"id\":\"7\"")),
        "an id that is a float" => peer.respond("200 OK", &JSON, with_id("\"id\":7.0")),
        "an id that is null" => peer.respond("200 OK", &JSON, with_id("\"id\":null")),
        "no id" => peer.respond(
            "200 OK",
            &JSON,
            with_id("\"jsonrpc\":\"2.0\"").replacen("\"jsonrpc\":\"2.0\",", "", 1),
        ),
        "a notification" => {
            peer.respond(
                "200 OK",
                &JSON,
                "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}",
            );
        }
        "a request" => {
            peer.respond(
                "200 OK",
                &JSON,
                "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}",
            );
        }
        "another id in a stream" => {
            peer.events();
            peer.event(&result(&json!(99), "not yours"));
            peer.end();
        }
        _ => peer.honest(seen),
    }
}

#[test]
fn whatever_the_server_does_a_request_is_answered_once_and_others_go_on() {
    let upstream = Upstream::each(fail);
    let gateway = Proxy::before(&upstream)
        .option("--max-frame", "64KiB")
        .http("request_timeout", "10s")
        .start();
    let session = gateway.session(LEGACY, &[]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut client = gateway.connect();
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) || count == 0 {
                let ask = Ask::post(&call(count, "echo", &json!({ "text": "x" })));
                let reply = client.ask(&ask.session(&session));
                let answer = reply.answer_to(&json!(count));
                assert_eq!(answer["result"]["isError"], false, "{answer}");
                count += 1;
            }
        });
        let asks = FAULTS.iter().flat_map(|fault| {
            let modern = Ask::modern(call(7, "fail", &json!({ "text": "x" })));
            let modern = modern.with("Mcp-Name", "fail").with("X-Fault", *fault);
            [(fault, failing(7, fault)), (fault, modern)]
        });
        let failed: Vec<_> = asks
            .map(|(fault, ask)| {
                let gateway = &gateway;
                scope.spawn(move || assert_failed(gateway, fault, &ask))
            })
            .collect();
        let failed: Vec<_> = failed.into_iter().map(|thread| thread.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        others.join().unwrap();
        let failed = failed.iter().filter(|joined| joined.is_err()).count();
        assert_eq!(failed, 0, "so many of {} faults", FAULTS.len());
    });
    let count = upstream
        .seen()
        .iter()
        .filter(|seen| seen.field("x-fault").is_some())
        .count();
    assert_eq!(
        count,
        2 * FAULTS.len(),
        "a request was sent twice, or not at all"
    );
    gateway.stop();
}

#[test]
fn a_server_that_is_not_there_is_an_error_until_it_is() {
    let silent = Silent::new();
    let gateway = Proxy::of(&silent.url()).start();
    for ask in [
        failing(7, ""),
        Ask::modern(call(7, "fail", &json!({}))).with("Mcp-Name", "fail"),
    ] {
        assert_failed(&gateway, "refused", &ask);
    }
    let reply = gateway.ask(&ping());
    assert_eq!(
        (reply.status(), &reply.answer_to(&json!(1))["error"]["code"]),
        (200, &json!(1_503))
    );
    // Where nobody waits for a message, it is HTTP that says so.
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    for ask in [Ask::post(&note), Ask::get(), Ask::delete()] {
        assert_eq!(gateway.ask(&ask).status(), 502);
    }
    let _upstream = silent.listen();
    assert_eq!(
        gateway.ask(&ping()).answer_to(&json!(1))["result"],
        json!({})
    );
    gateway.stop();
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_an_error() {
    let upstream = Upstream::each(|seen, peer| match seen.field("x-fault") {
        Some(_) => raw(
            peer,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
        None => peer.honest(seen),
    });
    let gateway = Proxy::before(&upstream).start();
    let mut client = gateway.connect();
    client.send(&failing(7, "101"));
    let head = client.wire().head().unwrap();
    assert_eq!(head.status(), 200, "{head:?}");
    let modern = Ask::modern(call(7, "fail", &json!({}))).with("Mcp-Name", "fail");
    for ask in [failing(7, "101"), modern.with("X-Fault", "101")] {
        assert_failed(&gateway, "101", &ask);
    }
    for ask in [Ask::get(), Ask::delete()] {
        assert_eq!(gateway.ask(&ask.with("X-Fault", "101")).status(), 502);
    }
    gateway.stop();
}

#[test]
fn a_server_that_closes_after_each_answer_is_asked_on_new_connections() {
    let upstream = Upstream::each(|seen, peer| {
        let answer = mcpf_tests::answer(&seen.message()).unwrap();
        let fields = [
            ("Content-Type", "application/json"),
            ("Connection", "close"),
        ];
        peer.respond("200 OK", &fields, answer.to_string());
        peer.close();
    });
    let gateway = Proxy::before(&upstream).start();
    let mut client = gateway.connect();
    for _ in 0..50 {
        assert_eq!(
            client.ask(&ping()).answer_to(&json!(1))["result"],
            json!({})
        );
    }
    assert_eq!(upstream.last().connection, 49);
    gateway.stop();
}

#[test]
fn a_server_that_keeps_its_connections_is_asked_on_the_same_ones() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let mut client = gateway.connect();
    for _ in 0..50 {
        assert_eq!(
            client.ask(&ping()).answer_to(&json!(1))["result"],
            json!({})
        );
    }
    // One, but for pauses of a machine that is busy.
    let last = upstream.last().connection;
    assert!(last < 25, "{last} connections");
    gateway.stop();
}
