//! Clients that send too much, too slowly, or not at all.

use serde_json::{Value, json};

use super::ping;
use crate::support::PATIENCE;
use crate::support::{Ask, Client, Gateway, Proxy, Upstream, call, eventually};

/// A head for a body of `framing`.
fn head(gateway: &Gateway, framing: &str) -> String {
    let host = gateway.address;
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    )
}

/// The clear error for a body beyond the limit.
fn assert_too_large(client: &mut Client, limit: usize) {
    let reply = client.reply().unwrap();
    assert_eq!(reply.status(), 413, "{reply:?}");
    let error = reply.json();
    assert_eq!(error["error"]["code"], 1_429, "{error}");
    let message = error["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains(&limit.to_string()) && message.contains("limits.max_frame"),
        "{message}"
    );
}

#[test]
fn a_body_beyond_the_limit_is_refused_as_soon_as_it_is_known() {
    const LIMIT: usize = 65_536;
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream)
        .option("--max-frame", "64KiB")
        .start();
    // Announced: not a byte of it has to come.
    let mut client = gateway.connect();
    let length = format!("Content-Length: {}", LIMIT + 1);
    client
        .send_bytes(head(&gateway, &length).as_bytes())
        .unwrap();
    assert_too_large(&mut client, LIMIT);
    // And a client that waits to be asked is not asked for it.
    let mut client = gateway.connect();
    let framing = format!("{length}\r\nExpect: 100-continue");
    client
        .send_bytes(head(&gateway, &framing).as_bytes())
        .unwrap();
    assert_eq!(client.wire().head().unwrap().status(), 413);
    // In chunks, without an end.
    let mut client = gateway.connect();
    client
        .send_bytes(head(&gateway, "Transfer-Encoding: chunked").as_bytes())
        .unwrap();
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for _ in 0..5 {
        client.send_bytes(chunk.as_bytes()).unwrap();
    }
    assert_too_large(&mut client, LIMIT);
    assert_eq!(upstream.count(), 0);
    // Below the limit it passes, in either framing.
    let message = call(1, "echo", &json!({ "text": "lorem ipsum ".repeat(1_500) }));
    assert_eq!(
        gateway.ask(&Ask::post(&message)).answer_to(&json!(1))["result"]["isError"],
        false
    );
    assert_eq!(upstream.last().message(), message);
    let mut client = gateway.connect();
    client.send_bytes(&in_chunks(&gateway, &message)).unwrap();
    let answer = client.reply().unwrap().answer_to(&json!(1));
    assert_eq!(answer["result"]["isError"], false);
    assert_eq!(upstream.last().message(), message);
    gateway.stop();
}

/// `message` in small chunks.
fn in_chunks(gateway: &Gateway, message: &Value) -> Vec<u8> {
    let mut bytes = head(gateway, "Transfer-Encoding: chunked").into_bytes();
    for chunk in message.to_string().as_bytes().chunks(1_000) {
        bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn a_body_as_large_as_the_limit_passes() {
    const LIMIT: usize = 65_536;
    let upstream = Upstream::each(|seen, peer| match mcpf_tests::answer(&seen.message()) {
        Some(answer) => peer.json(&json!({ "jsonrpc": "2.0", "id": answer["id"], "result": {} })),
        None => peer.honest(seen),
    });
    let gateway = Proxy::before(&upstream)
        .option("--max-frame", "64KiB")
        .start();
    let room = LIMIT - call(1, "echo", &json!({ "text": "" })).to_string().len();
    let message = call(
        1,
        "echo",
        &json!({ "text": "lorem ipsum ".repeat(9_000)[..room] }),
    );
    assert_eq!(message.to_string().len(), LIMIT);
    let reply = gateway.ask(&Ask::post(&message));
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let mut client = gateway.connect();
    client.send_bytes(&in_chunks(&gateway, &message)).unwrap();
    assert_eq!(client.reply().unwrap().status(), 200);
    gateway.stop();
}

#[test]
fn an_answer_as_large_as_the_limit_passes() {
    const LIMIT: usize = 65_536;
    let upstream = Upstream::each(|seen, peer| {
        let result = |text: &str| {
            let content = json!([{ "type": "text", "text": text }]);
            json!({ "jsonrpc": "2.0", "id": seen.message()["id"], "result": { "content": content } })
        };
        let room = LIMIT - result("").to_string().len();
        peer.json(&result(&"lorem ipsum ".repeat(9_000)[..room]));
    });
    let gateway = Proxy::before(&upstream)
        .option("--max-frame", "64KiB")
        .start();
    let answer = gateway
        .ask(&Ask::post(&call(1, "echo", &json!({}))))
        .answer_to(&json!(1));
    assert!(
        answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .len()
            > LIMIT - 200,
        "{answer}"
    );
    gateway.stop();
}

/// Sends 20 MiB without looking at what comes, then looks.
fn twenty_mebibytes(gateway: &Gateway) -> (Client, std::io::Result<()>) {
    let body = call(1, "echo", &json!({ "text": "x".repeat(20 << 20) })).to_string();
    let mut client = gateway.connect();
    let length = format!("Content-Length: {}", body.len());
    client
        .send_bytes(head(gateway, &length).as_bytes())
        .unwrap();
    let sent = client.send_bytes(body.as_bytes());
    (client, sent)
}

#[test]
fn twenty_mebibytes_get_the_clear_error() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let (mut client, _sent) = twenty_mebibytes(&gateway);
    assert_too_large(&mut client, 4 << 20);
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.ask(&ping()).status(), 200);
    gateway.stop();
}

#[test]
fn a_client_whose_body_is_too_large_can_finish_sending_it() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    // A little more than the limit of 4 MiB.
    let body = call(1, "echo", &json!({ "text": "x".repeat(4_200_000) })).to_string();
    let mut client = gateway.connect();
    let length = format!("Content-Length: {}", body.len());
    client
        .send_bytes(head(&gateway, &length).as_bytes())
        .unwrap();
    client.send_bytes(body.as_bytes()).unwrap();
    assert_too_large(&mut client, 4 << 20);
    gateway.stop();
}

#[test]
fn a_body_that_never_comes_is_not_awaited_for_ever() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).http("body_timeout", "1s").start();
    for (framing, begun) in [
        ("Content-Length: 40", ""),
        ("Content-Length: 40", "{\"jsonrpc\""),
        ("Transfer-Encoding: chunked", ""),
        ("Transfer-Encoding: chunked", "28\r\n{\"json"),
    ] {
        let mut client = gateway.connect();
        let bytes = head(&gateway, framing) + begun;
        client.send_bytes(bytes.as_bytes()).unwrap();
        let reply = client.reply().unwrap();
        assert_eq!(reply.status(), 408, "{framing}, {begun:?}: {reply:?}");
        assert_eq!(reply.json()["error"]["code"], 1_429);
        assert!(
            client.is_closed(),
            "the rest of a body could be taken for a request"
        );
    }
    assert_eq!(upstream.count(), 0);
    gateway.stop();
}

#[test]
fn a_body_that_drips_is_not_awaited_for_ever() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).http("body_timeout", "1s").start();
    let mut client = gateway.connect();
    client
        .send_bytes(head(&gateway, "Content-Length: 1000000").as_bytes())
        .unwrap();
    let is_refused = eventually(PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        client.send_bytes(b"x").is_err()
    });
    assert!(is_refused, "it goes on reading");
    assert_eq!(upstream.count(), 0);
    gateway.stop();
}

#[test]
fn a_head_that_never_comes_is_not_awaited_for_ever() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).http("idle_timeout", "3s").start();
    let until_closed = |client: &mut Client| {
        // With a word or without one, but it ends.
        while !client.is_closed() {
            let _word = client.wire().take_rest();
        }
    };
    std::thread::scope(|scope| {
        for begun in ["", "P", "POST /mcp HTTP/1.1\r\nHost: local"] {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.connect();
                client.send_bytes(begun.as_bytes()).unwrap();
                until_closed(&mut client);
            });
        }
        // Between two requests likewise.
        let mut client = gateway.connect();
        assert_eq!(client.ask(&ping()).status(), 200);
        until_closed(&mut client);
    });
    // And a head that drips.
    let mut client = gateway.connect();
    client.send_bytes(b"POST /mcp HTTP/1.1\r\nX-A: ").unwrap();
    let is_refused = eventually(PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        client.send_bytes(b"x").is_err()
    });
    assert!(is_refused, "it goes on reading");
    assert_eq!(upstream.count(), 1);
    gateway.stop();
}

#[test]
fn a_beginning_of_http2_is_not_awaited_for_ever() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).http("idle_timeout", "1s").start();
    let mut client = gateway.connect();
    client.send_bytes(b"PRI ").unwrap();
    while !client.is_closed() {
        let _settings = client.wire().take_rest();
    }
    gateway.stop();
}

#[test]
fn connections_are_bounded() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream)
        .http("max_connections", "8")
        .start();
    let mut held: Vec<Client> = (0..8).map(|_| gateway.connect()).collect();
    // Each is served: so each is counted.
    for client in &mut held {
        assert_eq!(client.ask(&ping()).status(), 200);
    }
    let mut extra = gateway.connect();
    let _refused = extra.send_bytes(&ping().bytes("localhost"));
    assert!(extra.is_closed());
    assert_eq!(held[3].ask(&ping()).status(), 200);
    drop(held);
    let is_served = || {
        let mut client = gateway.connect();
        client.send_bytes(&ping().bytes("localhost")).is_ok() && client.reply().is_some()
    };
    assert!(eventually(PATIENCE, is_served));
    gateway.stop();
}
