//! Which of the messages that a server sends is the answer.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use serde_json::{Value, json};

use super::faults::{AS_JSON, failing, headed};
use super::{LEGACY, assert_failed, result};
use crate::support::{Ask, PATIENCE, Peer, Proxy, Upstream, call, eventually, message_of};

#[test]
fn of_two_answers_the_first_counts() {
    let upstream = Upstream::each(|seen, peer| {
        if seen.field("x-fault").is_none() {
            return peer.honest(seen);
        }
        let id = &seen.message()["id"];
        peer.events();
        peer.event(&json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {} }));
        peer.event(&result(id, "the first"));
        peer.event(&result(id, "the second"));
        peer.chunk(format!("id: cursor\ndata: {}\n\n", result(id, "the third")));
        peer.end();
    });
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let mut client = gateway.connect();
    client.open(&failing(7, "two answers").session(&session));
    assert_eq!(
        message_of(&client.event().unwrap()).unwrap()["method"],
        "notifications/message"
    );
    assert_eq!(
        message_of(&client.event().unwrap()).unwrap(),
        result(&json!(7), "the first")
    );
    assert_eq!(client.event().unwrap(), "id: cursor\ndata: \n\n");
    assert_eq!(client.event(), None);
    // The id is free.
    assert_eq!(
        gateway.ask(&failing(7, "").with("X-Other", "1")).status(),
        200
    );
    gateway.stop();
}

#[test]
fn a_garbage_event_is_skipped_where_the_answer_can_still_come() {
    // What a server says before its answer, none of which is anybody's answer.
    let garbage = [
        "data: {\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}\n\n",
        "data: {\"jsonrpc\":\"2.0\",\"id\":\"7\",\"result\":{}}\n\n",
        "event: other\ndata: {}\n\n",
        "data\n\n",
        ":\n\n",
        "\n\n\n",
        "nonsense\n\n",
    ];
    let upstream = Upstream::each(move |seen, peer| {
        peer.events();
        for event in garbage {
            peer.chunk(event);
        }
        peer.event(&result(&seen.message()["id"], "the answer"));
        peer.end();
    });
    let gateway = Proxy::before(&upstream).start();
    let reply = gateway.ask(&failing(7, ""));
    assert_eq!(reply.answer_to(&json!(7)), result(&json!(7), "the answer"));
    gateway.stop();
}

/// Two calls at once, in one session: what each gets when the server says `first` to the one, and
/// answers the other afterwards, as a message or in a stream.
fn two_at_once(first: fn(&mut Peer), as_events: bool) -> [Vec<Value>; 2] {
    let (go_first, first_goes) = channel::<()>();
    let (go_second, second_goes) = channel::<()>();
    let (first_goes, second_goes) = (Mutex::new(first_goes), Mutex::new(second_goes));
    let upstream = Upstream::each(move |seen, peer| match seen.field("x-fault") {
        Some("first") => {
            first_goes.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            first(peer);
        }
        Some("second") => {
            second_goes.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            let answer = result(&json!(8), "the second");
            if !as_events {
                return peer.json(&answer);
            }
            peer.events();
            peer.event(&answer);
            peer.end();
        }
        _ => peer.honest(seen),
    });
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let is_there = |fault| {
        upstream
            .seen()
            .iter()
            .any(|seen| seen.field("x-fault") == Some(fault))
    };
    let answers = std::thread::scope(|scope| {
        let [first, second] = [(7, "first"), (8, "second")].map(|(id, fault)| {
            let ask = failing(id, fault).session(&session);
            let gateway = &gateway;
            let asked = scope.spawn(move || gateway.ask(&ask));
            assert!(eventually(PATIENCE, || is_there(fault)));
            asked
        });
        go_first.send(()).unwrap();
        let first = first.join().unwrap().messages();
        go_second.send(()).unwrap();
        [first, second.join().unwrap().messages()]
    });
    gateway.stop();
    answers
}

fn foreign_answer_in_a_stream(peer: &mut Peer) {
    peer.events();
    peer.event(&result(&json!(8), "not from here"));
    peer.event(&result(&json!(7), "the first"));
    peer.end();
}

fn foreign_answer_as_a_message(peer: &mut Peer) {
    peer.json(&result(&json!(8), "not from here"));
}

fn garbage_behind_the_answer(peer: &mut Peer) {
    peer.events();
    peer.event(&result(&json!(7), "the first"));
    peer.chunk("data: {\"jsonrpc\"\n\n");
    peer.end();
}

#[test]
fn an_answer_does_not_travel_in_the_stream_of_another_request() {
    let [first, _] = two_at_once(foreign_answer_in_a_stream, true);
    assert_eq!(first, [result(&json!(7), "the first")]);
    let [first, _] = two_at_once(foreign_answer_as_a_message, true);
    assert_eq!((first.len(), &first[0]["id"]), (1, &json!(7)), "{first:?}");
    assert_eq!(first[0]["result"]["isError"], true, "{first:?}");
}

#[test]
fn a_request_is_answered_although_its_answer_stood_elsewhere() {
    for first in [
        foreign_answer_in_a_stream as fn(&mut Peer),
        foreign_answer_as_a_message,
    ] {
        for as_events in [false, true] {
            let [_, second] = two_at_once(first, as_events);
            assert_eq!(
                (second.len(), &second[0]["id"]),
                (1, &json!(8)),
                "{second:?}"
            );
        }
    }
}

#[test]
fn garbage_in_the_stream_of_one_request_does_not_answer_another() {
    for as_events in [false, true] {
        let [first, second] = two_at_once(garbage_behind_the_answer, as_events);
        assert_eq!(first, [result(&json!(7), "the first")]);
        assert_eq!(second, [result(&json!(8), "the second")]);
    }
}

#[test]
fn garbage_in_the_stream_of_a_get_does_not_answer_a_request() {
    let (go, goes) = channel::<()>();
    let goes = Mutex::new(goes);
    let upstream = Upstream::each(
        move |seen, peer| match (seen.verb(), seen.field("x-fault")) {
            ("GET", _) => {
                goes.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                peer.events();
                peer.chunk("data: {\"jsonrpc\"\n\n");
                peer.chunk(": behind it\n\n");
                // Until the client has gone.
                peer.is_closed();
            }
            (_, Some(_)) => {
                goes.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                peer.json(&result(&seen.message()["id"], "the answer"));
            }
            _ => peer.honest(seen),
        },
    );
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let mut stream = gateway.connect();
    stream.send(&Ask::get().session(&session));
    assert!(eventually(PATIENCE, || upstream
        .seen()
        .iter()
        .any(|seen| seen.verb() == "GET")));
    let mut client = gateway.connect();
    client.send(&failing(7, "").session(&session));
    let is_there = || {
        upstream
            .seen()
            .iter()
            .any(|seen| seen.field("x-fault").is_some())
    };
    assert!(eventually(PATIENCE, is_there));
    go.send(()).unwrap();
    assert_eq!(stream.wire().head().unwrap().status(), 200);
    assert_eq!(stream.event().unwrap(), ": \n\n");
    go.send(()).unwrap();
    assert_eq!(
        client.reply().unwrap().answer_to(&json!(7)),
        result(&json!(7), "the answer")
    );
    gateway.stop();
}

#[test]
fn of_two_http_responses_the_second_is_nobodys() {
    let upstream = Upstream::each(|seen, peer| {
        let response = |text: &str| {
            let body = result(&seen.message()["id"], text).to_string();
            let length = body.len();
            headed(&format!("{AS_JSON}\r\nContent-Length: {length}"), &body)
        };
        peer.send(response("asked for") + &response("smuggled"));
    });
    let gateway = Proxy::before(&upstream).http("workers", "1").start();
    for _ in 0..20 {
        let answer = gateway.ask(&failing(7, "")).answer_to(&json!(7));
        assert_eq!(answer, result(&json!(7), "asked for"));
    }
    gateway.stop();
}

#[test]
fn a_stream_that_nobody_can_take_up_again_ends_with_an_answer() {
    let upstream = Upstream::each(|_, peer| {
        peer.events();
        peer.chunk("id: cursor\ndata: \n\n");
        peer.end();
    });
    let gateway = Proxy::before(&upstream).start();
    let modern = Ask::modern(call(7, "fail", &json!({}))).with("Mcp-Name", "fail");
    for ask in [modern, failing(7, "")] {
        assert_failed(&gateway, "lost", &ask);
    }
    gateway.stop();
}

#[test]
fn the_answer_behind_a_garbage_event_counts() {
    let upstream = Upstream::each(|seen, peer| {
        peer.events();
        peer.chunk("data: not JSON\n\n");
        peer.chunk(b"data: {\"jsonrpc\":\"2.0\",\"method\":\"x\xff\"}\n\n");
        peer.event(&result(&seen.message()["id"], "the answer"));
        peer.end();
    });
    let gateway = Proxy::before(&upstream).start();
    let reply = gateway.ask(&failing(7, ""));
    assert_eq!(reply.answer_to(&json!(7)), result(&json!(7), "the answer"));
    gateway.stop();
}

#[test]
fn garbage_in_a_stream_is_answered_once() {
    let upstream = Upstream::each(|seen, peer| {
        peer.events();
        peer.chunk("data: not JSON\n\n");
        peer.chunk(b"data: {\"jsonrpc\":\"2.0\",\"method\":\"x\xff\"}\n\n");
        peer.event(&result(&seen.message()["id"], "the answer"));
        peer.end();
    });
    let gateway = Proxy::before(&upstream).start();
    assert_eq!(gateway.ask(&failing(7, "")).answer_to(&json!(7))["id"], 7);
    gateway.stop();
}
