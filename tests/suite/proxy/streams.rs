//! Streams of events: each of them passes as soon as it comes, and keeps its place.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::{LEGACY, note, ping_message, result};
use crate::support::{
    Ask, PATIENCE, Peer, Proxy, Seen, Upstream, call, eventually, message_of, request,
};

/// Waits for what the test has to say.
fn wait<T>(receiver: &Mutex<Receiver<T>>) -> T {
    receiver.lock().unwrap().recv_timeout(PATIENCE).unwrap()
}

#[test]
fn each_event_arrives_before_the_next_is_sent() {
    let (got, wait_got) = channel();
    let wait_got = Mutex::new(wait_got);
    let upstream = Upstream::each(move |seen, peer| {
        if seen.method() != "tools/call" {
            return peer.honest(seen);
        }
        peer.events();
        for number in 0..5 {
            peer.event(&note(number));
            // Until the client has it, nothing more is sent.
            assert_eq!(wait(&wait_got), number);
        }
        peer.event(&result(&seen.message()["id"], "done"));
        peer.end();
    });
    let gateway = Proxy::before(&upstream).start();
    let asks = [
        Ask::post(&call(7, "echo", &json!({}))).session(&gateway.session(LEGACY, &[])),
        Ask::modern(call(7, "echo", &json!({}))).with("Mcp-Name", "echo"),
    ];
    for ask in asks {
        let mut client = gateway.connect();
        let head = client.open(&ask);
        assert_eq!(head.get("x-accel-buffering"), Some("no"));
        assert_eq!(head.get("cache-control"), Some("no-store"));
        for number in 0..5 {
            assert_eq!(message_of(&client.event().unwrap()), Some(note(number)));
            got.send(number).unwrap();
        }
        assert_eq!(
            message_of(&client.event().unwrap()),
            Some(result(&json!(7), "done"))
        );
        assert_eq!(client.event(), None);
        // The connection goes on.
        assert_eq!(client.ask(&Ask::post(&ping_message())).status(), 200);
    }
    gateway.stop();
}

/// What a server sends, and what its client gets.
const EVENTS: [(&str, &str); 13] = [
    // Primes a cursor.
    ("id: stream-1/0\ndata: \n\n", "id: stream-1/0\ndata: \n\n"),
    ("id: stream-1/1\ndata\n\n", "id: stream-1/1\ndata: \n\n"),
    ("retry: 1500\n\n", "retry: 1500\n\n"),
    (": keep-alive 7\n\n", ": \n\n"),
    (
        "id: é/2\nevent: message\nretry: 20\ndata: {N}\n\n",
        "id: é/2\nevent: message\nretry: 20\ndata: {N}\n\n",
    ),
    // Spelled oddly, meant alike.
    ("data:{N}\r\nid:3\r\n\r\n", "id: 3\ndata: {N}\n\n"),
    ("data: {N}\rid: 4\r\r", "id: 4\ndata: {N}\n\n"),
    (
        "id: 5\nid: 6\n: x\nother: y\ndata: {N}\n\n",
        "id: 6\ndata: {N}\n\n",
    ),
    // Takes the cursor back.
    ("id:\ndata: {N}\n\n", "id: \ndata: {N}\n\n"),
    // Clients do not read these; the cursor moves on.
    (
        "event: ping\nid: 7\ndata: {\"x\":1}\n\n",
        "id: 7\nevent: ping\ndata: \n\n",
    ),
    ("id: 8\ndata: not JSON\n\n", "id: 8\ndata: \n\n"),
    ("id: 9\ndata: [{N}]\n\n", "id: 9\ndata: \n\n"),
    ("id: 10\ndata: {N}\ndata: {N}\n\n", "id: 10\ndata: \n\n"),
];

fn spelled(event: &str) -> String {
    event.replace("{N}", &note(1).to_string())
}

#[test]
fn cursors_and_times_of_a_stream_survive() {
    let (next, wait_next) = channel::<()>();
    let wait_next = Mutex::new(wait_next);
    let upstream = Upstream::each(move |seen, peer| match seen.verb() {
        "GET" => {
            peer.events();
            // A mark before the first event counts for nothing.
            peer.chunk("\u{feff}");
            for (event, _) in EVENTS {
                peer.chunk(spelled(event));
                wait(&wait_next);
            }
            peer.end();
        }
        _ => peer.honest(seen),
    });
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let mut client = gateway.connect();
    client.open(&Ask::get().session(&session));
    for (event, expected) in EVENTS {
        assert_eq!(client.event().unwrap(), spelled(expected), "{event:?}");
        next.send(()).unwrap();
    }
    assert_eq!(client.event(), None);
    gateway.stop();
}

#[test]
fn a_get_stream_carries_what_the_server_says_and_can_be_taken_up_again() {
    let (say, heard) = channel::<String>();
    let heard = Mutex::new(heard);
    let upstream = Upstream::each(move |seen, peer| match seen.verb() {
        "GET" => {
            peer.events();
            while let Ok(event) = heard.lock().unwrap().recv() {
                if event.is_empty() || !peer.chunk(event) {
                    break;
                }
            }
            peer.end();
        }
        _ => peer.honest(seen),
    });
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let get = Ask::get()
        .session(&session)
        .with("MCP-Protocol-Version", LEGACY);
    let mut client = gateway.connect();
    client.open(&get);
    for number in 0..3 {
        say.send(format!("id: {number}\ndata: {}\n\n", note(number)))
            .unwrap();
        let event = client.event().unwrap();
        assert_eq!(event, format!("id: {number}\ndata: {}\n\n", note(number)));
    }
    say.send(String::new()).unwrap();
    assert_eq!(client.event(), None);
    // The client comes back for more, with an id that is nobody's business.
    let mut client = gateway.connect();
    client.open(&get.clone().with("Last-Event-ID", "2"));
    let seen = upstream.last();
    assert_eq!(seen.field("last-event-id"), Some("2"));
    assert_eq!(seen.field("mcp-session-id"), Some(&*session));
    assert_eq!(seen.field("mcp-protocol-version"), Some(LEGACY));
    // Meanwhile a request of the server's goes this way, and its answer comes by POST.
    let sampling = request(1, "roots/list", &json!({}));
    say.send(format!("data: {sampling}\n\n")).unwrap();
    assert_eq!(message_of(&client.event().unwrap()), Some(sampling));
    let roots = json!({ "jsonrpc": "2.0", "id": 1, "result": { "roots": [] } });
    let reply = gateway.ask(&Ask::post(&roots).session(&session));
    assert_eq!((reply.status(), reply.body.len()), (202, 0), "{reply:?}");
    assert_eq!(upstream.last().message(), roots);
    // Once only.
    let reply = gateway.ask(&Ask::post(&roots).session(&session));
    assert_eq!(reply.status(), 400);
    say.send(String::new()).unwrap();
    assert_eq!(client.event(), None);
    gateway.stop();
}

/// A server that asks its client something that is refused, in the stream of a GET; the test gets
/// the POST by which the server is told.
fn told(field: &str) -> Option<String> {
    let upstream = Upstream::each(|seen, peer| match seen.verb() {
        "GET" => {
            peer.events();
            peer.chunk(
                "data: {\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"roots/list\",\"extra\":1}\n\n",
            );
            peer.is_closed();
        }
        _ => peer.honest(seen),
    });
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let mut client = gateway.connect();
    client.open(&Ask::get().session(&session).with("Last-Event-ID", "7"));
    let is_told = || upstream.last().message()["error"]["code"] == -32_600;
    assert!(eventually(PATIENCE, is_told));
    let seen = upstream.last();
    assert_eq!((seen.verb(), &seen.message()["id"]), ("POST", &json!(5)));
    assert_eq!(seen.field("mcp-session-id"), Some(&*session));
    assert_eq!(seen.field("content-type"), Some("application/json"));
    drop(client);
    gateway.stop();
    seen.field(field).map(str::to_owned)
}

#[test]
fn a_server_whose_request_is_refused_is_told() {
    assert_eq!(told("x-nothing"), None);
}

#[test]
fn a_server_whose_request_is_refused_is_told_as_by_a_client() {
    assert_eq!(told("last-event-id"), None);
    assert_eq!(
        told("accept").as_deref(),
        Some("application/json, text/event-stream")
    );
}

#[test]
fn an_answer_can_be_fetched_in_another_stream() {
    let upstream = Upstream::each(|seen, peer| match (seen.verb(), seen.method().as_str()) {
        // The server lets go of the client, which is told how to come back.
        ("POST", "tools/call") => {
            peer.events();
            peer.chunk("id: a-0\nretry: 10\ndata: \n\n");
            peer.end();
        }
        ("GET", _) => {
            peer.events();
            assert_eq!(seen.field("last-event-id"), Some("a-0"));
            peer.chunk(format!("id: a-1\ndata: {}\n\n", result(&json!(7), "late")));
            peer.end();
        }
        _ => peer.honest(seen),
    });
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let mut client = gateway.connect();
    client.open(&Ask::post(&call(7, "echo", &json!({}))).session(&session));
    assert_eq!(client.event().unwrap(), "id: a-0\nretry: 10\ndata: \n\n");
    assert_eq!(
        client.event(),
        None,
        "the request is not lost, so nothing is answered"
    );
    client.open(&Ask::get().session(&session).with("Last-Event-ID", "a-0"));
    assert_eq!(
        message_of(&client.event().unwrap()),
        Some(result(&json!(7), "late"))
    );
    gateway.stop();
}

#[test]
fn a_session_that_begins_in_a_stream_is_a_session() {
    let upstream = Upstream::each(|seen, peer| {
        let Some(answer) = mcpf_tests::answer(&seen.message()) else {
            return peer.honest(seen);
        };
        peer.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nMcp-Session-Id: ~a.b/c=!\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        );
        peer.event(&answer);
        peer.end();
    });
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session("2025-03-26", &[]);
    assert_eq!(session, "~a.b/c=!");
    let reply = gateway.ask(&Ask::post(&ping_message()).session(&session));
    assert_eq!(reply.answer_to(&json!(1))["result"], json!({}));
    // The revision was read from the event.
    let reply = gateway.ask(&Ask::post(&json!([ping_message()])).session(&session));
    assert_eq!(reply.answer_to(&json!(1))["result"], json!({}));
    gateway.stop();
}

/// The fake server's one event stream, as clients of 2024-11-05 know it.
fn old_server(seen: &Seen, peer: &mut Peer, posts: &Mutex<Receiver<Value>>) {
    match (seen.verb(), seen.head.first.split(' ').nth(1).unwrap()) {
        ("GET", "/mcp") => {
            peer.events();
            peer.chunk("event: endpoint\ndata: /messages?sessionId=s3cret\n\n");
            while let Ok(message) = posts.lock().unwrap().recv_timeout(PATIENCE) {
                if let Some(answer) = mcpf_tests::answer(&message) {
                    peer.chunk(format!("event: message\ndata: {answer}\n\n"));
                }
            }
        }
        ("POST", "/messages?sessionId=s3cret") => peer.respond("202 Accepted", &[], "Accepted"),
        _ => peer.respond("404 Not Found", &[], ""),
    }
}

#[test]
fn a_server_of_2024_is_reached_through_an_endpoint_of_ours() {
    let (posted, posts) = channel();
    let posts = Mutex::new(posts);
    let upstream = Upstream::each(move |seen, peer| {
        if seen.verb() == "POST" {
            posted.send(seen.message()).unwrap();
        }
        old_server(seen, peer, &posts);
    });
    let gateway = Proxy::before(&upstream).start();
    let mut client = gateway.connect();
    client.open(&Ask::get());
    let event = client.event().unwrap();
    let path = event
        .strip_prefix("event: endpoint\ndata: ")
        .unwrap()
        .trim_end()
        .to_owned();
    assert!(
        path.starts_with("/mcp/") && !path.contains("s3cret"),
        "{path}"
    );
    let post = |message: &Value, fields: &[(&str, &str)]| {
        let ask = Ask::post(message).at(&path);
        let with = |ask: Ask, (name, value): &(&str, &str)| ask.with(name, *value);
        gateway.ask(&fields.iter().fold(ask, with))
    };
    let reply = post(&call(1, "echo", &json!({ "text": "x" })), &[]);
    assert_eq!(reply.status(), 202);
    let answer = message_of(&client.event().unwrap()).unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["isError"]),
        (&json!(1), &json!(false))
    );
    // What is refused is answered in the stream too, and the server hears nothing of it.
    let before = upstream.count();
    let reply = post(
        &call(2, "read_file", &json!({ "path": "/home/u/.ssh/id_rsa" })),
        &[],
    );
    assert_eq!(reply.status(), 202);
    let answer = message_of(&client.event().unwrap()).unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["isError"]),
        (&json!(2), &json!(true))
    );
    // It is not for others.
    assert_eq!(
        post(&ping_message(), &[("Authorization", "Bearer b")]).status(),
        404
    );
    assert_eq!(upstream.count(), before);
    // And it ends with its stream.
    drop(client);
    assert!(eventually(PATIENCE, || post(&ping_message(), &[]).status() == 404));
    let log = gateway.stderr();
    gateway.stop();
    assert!(!log.contains("s3cret"), "{log}");
}
