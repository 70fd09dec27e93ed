//! Whose session it is, and since when it is nobody's.

use serde_json::{Value, json};

use super::{LEGACY, ping};
use crate::support::{Ask, Gateway, Proxy, Reply, Upstream, request};

/// Every way to use a session.
fn uses(session: &str) -> [Ask; 4] {
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" });
    let all = [ping(), Ask::post(&note), Ask::get(), Ask::delete()];
    all.map(|ask| ask.session(session).with("MCP-Protocol-Version", LEGACY))
}

/// `ask` is answered as one for a session that nobody made, and the server hears nothing of it.
fn assert_unknown(gateway: &Gateway, upstream: &Upstream, ask: &Ask) {
    let before = upstream.count();
    let reply = gateway.ask(ask);
    let nobody = gateway.ask(&ping().session("nobody-s"));
    assert_eq!(reply.status(), 404, "{ask:?}: {reply:?}");
    assert_eq!(reply.json()["error"]["code"], -32_600);
    assert_eq!(
        reply.body, nobody.body,
        "one can tell that the session exists"
    );
    assert_eq!(upstream.count(), before, "{ask:?}");
}

#[test]
fn a_session_is_only_for_the_credential_that_began_it() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let bearer = |ask: Ask, token: &str| ask.with("Authorization", token);
    let theirs = gateway.session(LEGACY, &[("Authorization", "Bearer a")]);
    let nobodys = gateway.session(LEGACY, &[]);
    assert_ne!(theirs, nobodys);
    for ask in uses(&theirs) {
        assert_unknown(&gateway, &upstream, &ask);
        for other in ["Bearer b", "Bearer A", "Bearer a b", "Basic a", "a", ""] {
            assert_unknown(&gateway, &upstream, &bearer(ask.clone(), other));
        }
    }
    for ask in uses(&nobodys) {
        assert_unknown(&gateway, &upstream, &bearer(ask, "Bearer a"));
    }
    // Whose it is may use it, on any connection; and the server sees the credential.
    let reply = gateway.ask(&bearer(ping().session(&theirs), "Bearer a"));
    assert_eq!(reply.answer_to(&json!(1))["result"], json!({}));
    assert_eq!(upstream.last().field("authorization"), Some("Bearer a"));
    assert_eq!(upstream.last().field("mcp-session-id"), Some(&*theirs));
    assert_eq!(gateway.ask(&ping().session(&nobodys)).status(), 200);
    gateway.stop();
}

#[test]
fn a_renewed_token_of_one_subject_keeps_its_session() {
    // {"alg":"none"} . {"iss":"i","sub":"ann","exp":1} and so on, unsigned: the server verifies.
    let token = |claims: &str| format!("Bearer eyJhbGciOiJub25lIn0.{claims}.x");
    let ann = token("eyJpc3MiOiJpIiwic3ViIjoiYW5uIiwiZXhwIjoxfQ");
    let ann_later = token("eyJpc3MiOiJpIiwic3ViIjoiYW5uIiwiZXhwIjoyfQ");
    let bob = token("eyJpc3MiOiJpIiwic3ViIjoiYm9iIiwiZXhwIjoxfQ");
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[("Authorization", &ann)]);
    let with = |token: &str| ping().session(&session).with("Authorization", token);
    assert_eq!(gateway.ask(&with(&ann_later)).status(), 200);
    assert_unknown(&gateway, &upstream, &with(&bob));
    gateway.stop();
}

#[test]
fn a_deleted_session_is_gone() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let other = gateway.session(LEGACY, &[]);
    let reply = gateway.ask(&Ask::delete().session(&session));
    assert_eq!(reply.status(), 200);
    assert_eq!(upstream.last().verb(), "DELETE");
    assert_eq!(upstream.last().field("mcp-session-id"), Some(&*session));
    for ask in uses(&session) {
        assert_unknown(&gateway, &upstream, &ask);
    }
    assert_eq!(gateway.ask(&ping().session(&other)).status(), 200);
    gateway.stop();
}

#[test]
fn a_session_ends_when_the_server_says_so() {
    // Status of the DELETE, and whether the session is there afterwards.
    for (status, is_there) in [
        ("204 No Content", false),
        ("202 Accepted", false),
        ("404 Not Found", false),
        ("405 Method Not Allowed", true),
        ("403 Forbidden", true),
        ("500 Internal Server Error", true),
    ] {
        let upstream = Upstream::each(move |seen, peer| match seen.verb() {
            "DELETE" => peer.respond(status, &[], ""),
            _ => peer.honest(seen),
        });
        let gateway = Proxy::before(&upstream).start();
        let session = gateway.session(LEGACY, &[]);
        let reply = gateway.ask(&Ask::delete().session(&session));
        assert!(status.starts_with(&reply.status().to_string()), "{reply:?}");
        let after = gateway.ask(&ping().session(&session)).status();
        assert_eq!(after, if is_there { 200 } else { 404 }, "{status}");
        gateway.stop();
    }
}

#[test]
fn requests_of_two_sessions_may_have_the_same_ids_at_once() {
    let (met, both) = std::sync::mpsc::channel();
    let both = std::sync::Mutex::new(both);
    let upstream = Upstream::each(move |seen, peer| {
        let message = seen.message();
        if message["method"] == "tools/call" {
            // The first one is answered when the second is there.
            match message["params"]["arguments"]["text"].as_str() {
                Some("first") => both.lock().unwrap().recv().unwrap(),
                _ => met.send(()).unwrap(),
            }
        }
        peer.honest(seen);
    });
    let gateway = Proxy::before(&upstream).start();
    let call = |text: &str| {
        let params = json!({ "name": "echo", "arguments": { "text": text } });
        Ask::post(&request(7, "tools/call", &params))
    };
    let ask = |text: &str, session: &str| {
        let reply = gateway.ask(&call(text).session(session));
        let answer = reply.answer_to(&json!(7));
        let echoed = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(echoed).unwrap()["text"], text);
    };
    let sessions = [gateway.session(LEGACY, &[]), gateway.session(LEGACY, &[])];
    std::thread::scope(|scope| {
        scope.spawn(|| ask("first", &sessions[0]));
        let is_there = || {
            upstream
                .seen()
                .iter()
                .any(|seen| seen.method() == "tools/call")
        };
        assert!(crate::support::eventually(
            crate::support::PATIENCE,
            is_there
        ));
        ask("second", &sessions[1]);
    });
    gateway.stop();
}

#[test]
fn one_session_does_not_have_one_id_twice_at_once() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::each(move |seen, peer| {
        if seen.method() == "tools/call" {
            wait.lock().unwrap().recv().unwrap();
        }
        peer.honest(seen);
    });
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let call = Ask::post(&request(7, "tools/call", &json!({ "name": "echo" }))).session(&session);
    let calls = || {
        let seen = upstream.seen();
        seen.iter()
            .filter(|seen| seen.method() == "tools/call")
            .count()
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| gateway.ask(&call));
        assert!(crate::support::eventually(
            crate::support::PATIENCE,
            || calls() == 1
        ));
        let second: Reply = gateway.ask(&call);
        assert_eq!(second.status(), 400, "{second:?}");
        assert_eq!(second.json()["error"]["code"], -32_600);
        assert_eq!(second.json()["error"]["data"]["rule"], "id_in_flight");
        go.send(()).unwrap();
        assert_eq!(
            first.join().unwrap().answer_to(&json!(7))["result"]["isError"],
            false
        );
    });
    assert_eq!(calls(), 1);
    // Answered, the id is free.
    go.send(()).unwrap();
    assert_eq!(
        gateway.ask(&call).answer_to(&json!(7))["result"]["isError"],
        false
    );
    gateway.stop();
}

#[test]
fn sessions_are_bounded() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).http("max_sessions", "3").start();
    let all: Vec<String> = (0..3).map(|_| gateway.session(LEGACY, &[])).collect();
    let mut message = crate::support::initialize(5);
    message["params"]["protocolVersion"] = LEGACY.into();
    let before = upstream.count();
    let reply = gateway.ask(&Ask::post(&message));
    assert_eq!(
        reply.answer_to(&json!(5))["error"]["code"],
        1_503,
        "{reply:?}"
    );
    assert_eq!(upstream.count(), before);
    gateway.ask(&Ask::delete().session(&all[0]));
    gateway.session(LEGACY, &[]);
    assert_eq!(gateway.ask(&ping().session(&all[1])).status(), 200);
    gateway.stop();
}
