//! Clients that read slowly or go away, servers that do not stop: what that costs others.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::{LEGACY, echo, note, ping, result};
use crate::support::{
    Ask, Client, Gateway, PATIENCE, Proxy, Upstream, call, eventually, message_of,
};

/// What the server has noticed.
fn noticed<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).unwrap()
}

/// How the client asks that will go away, and how much the server has said by then.
fn askers(gateway: &Gateway) -> Vec<(Ask, &'static str)> {
    let modern = || Ask::modern(call(7, "echo", &json!({}))).with("Mcp-Name", "echo");
    let legacy = |id| echo(id).session(&gateway.session(LEGACY, &[]));
    vec![
        (modern().with("X-Says", "nothing"), "nothing"),
        (modern().with("X-Says", "half of a body"), "half of a body"),
        (modern().with("X-Says", "an event"), "an event"),
        (legacy(7).with("X-Says", "nothing"), "nothing"),
        (legacy(7).with("X-Says", "half of a body"), "half of a body"),
        (legacy(7).with("X-Says", "an event"), "an event"),
    ]
}

#[test]
fn a_client_that_goes_away_is_not_worked_for() {
    let (notice, notices) = channel();
    let notice = Mutex::new(notice);
    let upstream = Upstream::each(move |seen, peer| {
        match seen.field("x-says") {
            None => return peer.honest(seen),
            Some("an event") => {
                peer.events();
                peer.event(&note("one"));
            }
            Some("half of a body") => {
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99";
                peer.send(format!("{head}\r\n\r\n{{\"jsonrpc"));
            }
            Some(_) => {}
        }
        let is_closed = peer.is_closed();
        notice.lock().unwrap().send(is_closed).unwrap();
        peer.close();
    });
    let gateway = Proxy::before(&upstream).start();
    for (ask, says) in askers(&gateway) {
        let before = upstream.count();
        let mut client = gateway.connect();
        client.send(&ask);
        assert!(eventually(PATIENCE, || upstream.count() > before));
        if says == "an event" {
            assert_eq!(client.wire().head().unwrap().status(), 200);
            assert_eq!(message_of(&client.event().unwrap()), Some(note("one")));
        }
        assert!(
            notices.try_recv().is_err(),
            "{ask:?}: closed before the client went"
        );
        drop(client);
        assert!(noticed(&notices), "{ask:?}");
        assert_eq!(gateway.ask(&ping()).status(), 200);
    }
    gateway.stop();
}

#[test]
fn a_client_of_a_session_that_went_away_may_come_back_for_its_answer() {
    let (notice, notices) = channel();
    let notice = Mutex::new(notice);
    let upstream = Upstream::each(
        move |seen, peer| match (seen.verb(), seen.field("x-says")) {
            ("POST", Some(_)) => {
                peer.events();
                peer.chunk("id: cursor\ndata: \n\n");
                let is_closed = peer.is_closed();
                notice.lock().unwrap().send(is_closed).unwrap();
                peer.close();
            }
            ("GET", _) => {
                peer.events();
                peer.event(&result(&json!(7), "late"));
                peer.end();
            }
            _ => peer.honest(seen),
        },
    );
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let mut client = gateway.connect();
    client.open(&echo(7).session(&session).with("X-Says", "a cursor"));
    assert_eq!(client.event().unwrap(), "id: cursor\ndata: \n\n");
    drop(client);
    noticed(&notices);
    let mut client = gateway.connect();
    client.open(&Ask::get().session(&session).with("Last-Event-ID", "cursor"));
    assert_eq!(
        message_of(&client.event().unwrap()),
        Some(result(&json!(7), "late"))
    );
    assert_eq!(client.event(), None);
    gateway.stop();
}

#[test]
fn an_event_without_an_end_is_an_error_and_does_not_stay_in_memory() {
    let (notice, notices) = channel();
    let notice = Mutex::new(notice);
    let upstream = Upstream::each(move |seen, peer| match seen.field("x-says") {
        None => peer.honest(seen),
        Some(_) => {
            peer.events();
            peer.chunk("id: cursor\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"");
            peer.chunks_without_end();
            notice.lock().unwrap().send(()).unwrap();
            peer.close();
        }
    });
    let gateway = Proxy::before(&upstream)
        .option("--max-frame", "64KiB")
        .start();
    let modern = Ask::modern(call(7, "echo", &json!({}))).with("Mcp-Name", "echo");
    for ask in [echo(7).session(&gateway.session(LEGACY, &[])), modern] {
        let mut client = gateway.connect();
        client.open(&ask.with("X-Says", "too much"));
        let answer = message_of(&client.event().unwrap()).unwrap();
        assert_eq!(
            (&answer["id"], &answer["result"]["isError"]),
            (&json!(7), &json!(true))
        );
        assert_eq!(gateway.ask(&ping()).status(), 200);
        drop(client);
        noticed(&notices);
    }
    gateway.stop();
}

#[test]
fn an_event_beyond_the_limit_is_skipped_and_the_next_one_passes() {
    let upstream = Upstream::each(|seen, peer| match seen.verb() {
        "GET" => {
            peer.events();
            peer.event(&note("before"));
            peer.chunk(format!("id: 2\ndata: {}\n\n", note("x".repeat(200_000))));
            peer.event(&note("after"));
            peer.end();
        }
        _ => peer.honest(seen),
    });
    let gateway = Proxy::before(&upstream)
        .option("--max-frame", "64KiB")
        .start();
    let session = gateway.session(LEGACY, &[]);
    let mut client = gateway.connect();
    client.open(&Ask::get().session(&session));
    assert_eq!(message_of(&client.event().unwrap()), Some(note("before")));
    assert_eq!(message_of(&client.event().unwrap()), Some(note("after")));
    assert_eq!(client.event(), None);
    gateway.stop();
}

/// Reads the answer to request 7, in whatever it comes, and leaves.
fn answer(client: &mut Client) -> Value {
    let head = client.wire().head().unwrap();
    if head.get("content-type") == Some("text/event-stream") {
        loop {
            let message = message_of(&client.event().unwrap()).unwrap();
            if message.get("method").is_none() {
                return message;
            }
        }
    }
    let body = client.wire().body(&head).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn two_hundred_bad_answers_at_once_stay_within_their_memory() {
    /// Largest message in the test.
    const FRAME: usize = 256 << 10;
    /// What a request may cost while it is at its worst: the connection's buffers, and an event
    /// with its framing twice over.
    const EACH: usize = 4 * FRAME;
    const COUNT: usize = 200;
    let upstream = Upstream::each(|seen, peer| match seen.field("x-says") {
        Some("an endless event") => {
            peer.events();
            peer.chunk("data: {\"jsonrpc\":\"2.0\",\"method\":\"");
            peer.chunks_without_end();
        }
        Some("an endless answer") => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
            peer.send(format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n"));
            peer.chunks_without_end();
        }
        Some("an endless head") => {
            peer.send("HTTP/1.1 200 OK\r\nX-A: ");
            peer.send_without_end(b'x');
        }
        Some("a large answer") => {
            peer.json(&result(&seen.message()["id"], &"x ".repeat(FRAME)));
        }
        Some("almost too much, and no end") => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
            peer.send(format!("{head}\r\nContent-Length: {FRAME}\r\n\r\n"));
            peer.send(vec![b' '; FRAME - 1]);
            peer.is_closed();
        }
        Some("many large events") => {
            peer.events();
            for _ in 0..4 {
                peer.event(&note("x ".repeat(FRAME / 2 - 100)));
            }
            peer.end();
        }
        Some(_) => {
            peer.is_closed();
        }
        None => peer.honest(seen),
    });
    let gateway = Proxy::before(&upstream)
        .option("--max-frame", "256KiB")
        .http("request_timeout", "10s")
        .start();
    for _ in 0..20 {
        assert_eq!(gateway.ask(&ping()).status(), 200);
    }
    let kinds = [
        "an endless event",
        "an endless answer",
        "an endless head",
        "a large answer",
        "almost too much, and no end",
        "many large events",
        "nothing",
    ];
    let idle = gateway.memory("VmHWM:");
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..COUNT {
            let (gateway, failed) = (&gateway, &failed);
            scope.spawn(move || {
                let says = kinds[number % kinds.len()];
                let mut client = gateway.connect();
                client.send(&echo(7).with("X-Says", says));
                let answer = answer(&mut client);
                assert_eq!(answer["id"], 7, "{says}: {answer}");
                assert_eq!(answer["result"]["isError"], true, "{says}: {answer}");
                failed.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(failed.load(Ordering::Relaxed), COUNT);
    assert_eq!(gateway.ask(&ping()).status(), 200);
    let most = gateway.memory("VmHWM:");
    eprintln!(
        "resident: {} KiB idle, at most {} KiB with {COUNT}",
        idle >> 10,
        most >> 10
    );
    assert!(
        most < idle + COUNT * EACH,
        "{most} bytes resident, {idle} when idle"
    );
    gateway.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_does_not_read_holds_its_server_back_and_nobody_else() {
    const EVENTS: usize = 600;
    let is_all_sent = Arc::new(AtomicBool::new(false));
    let all_sent = Arc::clone(&is_all_sent);
    let upstream = Upstream::each(move |seen, peer| match seen.field("x-says") {
        None => peer.honest(seen),
        Some(_) => {
            peer.events();
            let text = "x".repeat(60_000);
            for _ in 0..EVENTS {
                peer.event(&note(&text));
            }
            all_sent.store(true, Ordering::Relaxed);
            peer.event(&result(&seen.message()["id"], "the end"));
            peer.end();
        }
    });
    let gateway = Proxy::before(&upstream)
        .option("--audit-durability", "async")
        .start();
    for _ in 0..20 {
        assert_eq!(gateway.ask(&ping()).status(), 200);
    }
    let idle = gateway.memory("VmHWM:");
    let mut client = gateway.connect();
    client.open(&echo(7).with("X-Says", "a flood"));
    let mut other = gateway.connect();
    for _ in 0..500 {
        assert_eq!(other.ask(&ping()).status(), 200);
    }
    assert!(
        !is_all_sent.load(Ordering::Relaxed),
        "the flood was swallowed"
    );
    for _ in 0..EVENTS {
        let event = client.event().unwrap();
        assert!(event.len() > 60_000 && event.ends_with("\n\n"));
    }
    assert_eq!(
        message_of(&client.event().unwrap()),
        Some(result(&json!(7), "the end"))
    );
    assert_eq!(client.event(), None);
    let most = gateway.memory("VmHWM:");
    eprintln!(
        "resident: {} KiB idle, at most {} KiB under a flood",
        idle >> 10,
        most >> 10
    );
    assert!(
        most < idle + (24 << 20),
        "{most} bytes resident, {idle} when idle"
    );
    gateway.stop();
}
