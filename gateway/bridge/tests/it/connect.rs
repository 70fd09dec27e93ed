//! `connect`: a client on stdio that the test plays, a server over HTTP that it plays too.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use mcpf_bridge::{Connect, ConnectError, Field, Retry, Target};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::agent::Agent;
use crate::host::{Host, Stream};
use crate::{call, failure, initialize, initialized, modern, not_now, note, request, result, run};

fn welcome(id: i64) -> Value {
    let server = json!({ "name": "played", "version": "0" });
    let outcome =
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": server });
    result(id, outcome)
}

/// A handshake with a server that has sessions; gives the server's own stream.
async fn begun(options: impl FnOnce(&mut Connect)) -> (Host, Agent, Stream) {
    let mut host = Host::start().await;
    let mut settings = host.options();
    settings.retry.first = Duration::from_millis(20);
    options(&mut settings);
    let mut agent = Agent::start(settings);
    agent.say(&initialize(0)).await;
    host.post(&initialize(0)).await.begin("s1", &welcome(0));
    assert_eq!(agent.hear().await, welcome(0));
    agent.say(&initialized()).await;
    host.post(&initialized()).await.status(202);
    let stream = host.asked("GET").await.events();
    (host, agent, stream)
}

#[test]
fn a_session_from_handshake_to_end() {
    run(async {
        let mut host = Host::start().await;
        let mut options = host.options();
        options.fields = vec![Field::parse("X-Key: k").unwrap()];
        let mut agent = Agent::start(options);
        // All at once: each step waits for the one before.
        let list = request("a", "tools/list", json!({}));
        agent.say(&initialize(0)).await;
        agent.say(&initialized()).await;
        agent.say(&list).await;

        let first = host.post(&initialize(0)).await;
        assert_eq!(first.header("mcp-session-id"), None);
        assert_eq!(first.header("mcp-protocol-version"), None);
        assert_eq!(
            first.header("accept"),
            Some("application/json, text/event-stream")
        );
        assert_eq!(first.header("content-type"), Some("application/json"));
        assert_eq!(first.header("accept-encoding"), Some("identity"));
        assert_eq!(first.header("x-key"), Some("k"));
        assert!(not_now(host.next()).await, "initialize was overtaken");
        first.begin("s1", &welcome(0));
        assert_eq!(agent.hear().await, welcome(0));

        let second = host.post(&initialized()).await;
        assert_eq!(second.header("mcp-session-id"), Some("s1"));
        assert_eq!(second.header("mcp-protocol-version"), Some("2025-06-18"));
        assert!(not_now(host.next()).await, "initialized was overtaken");
        second.status(202);

        let mut calls = [host.next().await, host.next().await];
        calls.sort_by_key(|call| call.method.clone());
        let [get, third] = calls;
        assert_eq!((&*get.method, &*third.method), ("GET", "POST"));
        assert_eq!(get.header("accept"), Some("text/event-stream"));
        assert_eq!(get.header("mcp-session-id"), Some("s1"));
        assert_eq!(get.header("x-key"), Some("k"));
        get.status(405);
        assert_eq!(third.body, list);
        assert_eq!(third.header("mcp-protocol-version"), Some("2025-06-18"));
        // On several lines: the client gets one.
        third.text(
            200,
            "application/json; charset=utf-8",
            "{\"jsonrpc\":\"2.0\",\r\n \"id\":\"a\",\n \"result\":{\"tools\":[]}}\n",
        );
        assert_eq!(agent.hear().await, result("a", json!({ "tools": [] })));

        agent.close();
        let last = host.asked("DELETE").await;
        assert_eq!(last.header("mcp-session-id"), Some("s1"));
        assert_eq!(last.header("x-key"), Some("k"));
        last.status(200);
        let (outcome, rest) = agent.ended().await;
        outcome.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    });
}

#[test]
fn answers_come_in_any_order_and_requests_in_theirs() {
    run(async {
        let (mut host, mut agent, _stream) = begun(|_| {}).await;
        for id in 1..=3 {
            agent.say(&call(id, "t", json!({}))).await;
        }
        let mut calls = Vec::new();
        for id in 1..=3 {
            calls.push(host.post(&call(id, "t", json!({}))).await);
        }
        for (id, asked) in [3, 2, 1].into_iter().zip(calls.into_iter().rev()) {
            asked.json(&result(id, json!({})));
            assert_eq!(agent.hear().await["id"], id);
        }
    });
}

#[test]
fn a_stream_carries_progress_questions_and_the_answer() {
    run(async {
        let (mut host, mut agent, session) = begun(|_| {}).await;
        let asked = call(1, "t", json!({}));
        agent.say(&asked).await;
        let stream = host.post(&asked).await.events();
        let progress = note(
            "notifications/progress",
            json!({ "progressToken": 1, "progress": 1 }),
        );
        stream.raw(": comment\n\nevent: other\ndata: {}\n\n").await;
        stream.say(&progress).await;
        assert_eq!(agent.hear().await, progress);
        let question = request(0, "elicitation/create", json!({ "message": "?" }));
        stream.say(&question).await;
        assert_eq!(agent.hear().await, question);
        let reply = result(0, json!({ "action": "decline" }));
        agent.say(&reply).await;
        let posted = host.post(&reply).await;
        assert_eq!(posted.header("mcp-session-id"), Some("s1"));
        posted.status(202);
        // Only its own request is answered in it, once, and only with a message.
        stream.say(&result(2, json!({}))).await;
        stream.raw("data: not json\n\n").await;
        stream.say(&result(1, json!({}))).await;
        stream.say(&result(1, json!({ "twice": true }))).await;
        assert_eq!(agent.hear().await, result(1, json!({})));
        session
            .say(&note("notifications/tools/list_changed", json!({})))
            .await;
        assert_eq!(
            agent.hear().await["method"],
            "notifications/tools/list_changed"
        );
    });
}

#[test]
fn a_broken_answer_is_taken_up_where_it_broke() {
    run(async {
        let (mut host, mut agent, _session) = begun(|_| {}).await;
        let asked = call(1, "t", json!({}));
        agent.say(&asked).await;
        let stream = host.post(&asked).await.events();
        stream.raw("id: e1\nretry: 200\ndata:\n\n").await;
        let log = note(
            "notifications/message",
            json!({ "level": "info", "data": 1 }),
        );
        stream.say_as("e2", &log).await;
        assert_eq!(agent.hear().await, log);
        let before = Instant::now();
        stream.break_off().await;
        let back = host.asked("GET").await;
        assert!(before.elapsed() >= Duration::from_millis(200));
        assert_eq!(back.header("last-event-id"), Some("e2"));
        assert_eq!(back.header("mcp-session-id"), Some("s1"));
        back.status(503);
        let back = host.asked("GET").await;
        assert!(before.elapsed() >= Duration::from_millis(600));
        let stream = back.events();
        stream.say_as("e3", &result(1, json!({}))).await;
        assert_eq!(agent.hear().await, result(1, json!({})));
    });
}

#[test]
fn an_answer_that_cannot_be_taken_up_is_an_error() {
    run(async {
        let (mut host, mut agent, _session) = begun(|options| {
            options.retry = Retry {
                attempts: 2,
                first: Duration::from_millis(1),
                longest: Duration::from_millis(1),
            };
        })
        .await;
        // Without ids.
        agent.say(&call(1, "t", json!({}))).await;
        let stream = host.next().await.events();
        let log = note("notifications/message", json!({}));
        stream.say(&log).await;
        assert_eq!(agent.hear().await, log);
        stream.break_off().await;
        assert!(failure(&agent.hear().await, 1).contains("before it was complete"));
        // With ids, but the server does not know them.
        agent.say(&call(2, "t", json!({}))).await;
        let stream = host.next().await.events();
        stream.raw("id: e1\ndata:\n\n").await;
        drop(stream);
        host.asked("GET").await.status(400);
        assert!(failure(&agent.hear().await, 2).contains("400"));
        // Too often.
        agent.say(&call(3, "t", json!({}))).await;
        let stream = host.next().await.events();
        stream.raw("id: e1\ndata:\n\n").await;
        drop(stream);
        for _ in 0..2 {
            host.asked("GET").await.status(500);
        }
        assert!(failure(&agent.hear().await, 3).contains("500"));
    });
}

#[test]
fn the_servers_own_stream_is_taken_up_too() {
    run(async {
        let (mut host, mut agent, stream) = begun(|_| {}).await;
        let changed = note("notifications/tools/list_changed", json!({}));
        stream.say_as("g1", &changed).await;
        assert_eq!(agent.hear().await, changed);
        stream.break_off().await;
        let back = host.asked("GET").await;
        assert_eq!(back.header("last-event-id"), Some("g1"));
        // An answer may come here: the stream of its request was lost to the server.
        let stream = back.events();
        agent.say(&call(1, "t", json!({}))).await;
        let _open = host.post(&call(1, "t", json!({}))).await.events();
        stream.say(&result(1, json!({}))).await;
        assert_eq!(agent.hear().await, result(1, json!({})));
        stream.say(&result(1, json!({ "again": 1 }))).await;
        stream.say(&changed).await;
        assert_eq!(agent.hear().await, changed);
    });
}

#[test]
fn the_end_of_a_session_is_told_to_all_that_wait() {
    run(async {
        let (mut host, mut agent, _stream) = begun(|_| {}).await;
        agent.say(&call(1, "t", json!({}))).await;
        let _first = host.next().await;
        agent.say(&call(2, "t", json!({}))).await;
        let gone = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32001, "message": "Session not found" } });
        host.next()
            .await
            .text(404, "application/json", &gone.to_string());
        let mut told = [agent.hear().await, agent.hear().await];
        told.sort_by_key(|message| message["id"].as_i64());
        assert!(failure(&told[0], 1).contains("ended the session"));
        assert!(failure(&told[1], 2).contains("begin a new session"));
        agent.say(&call(3, "t", json!({}))).await;
        assert!(failure(&agent.hear().await, 3).contains("ended the session"));
        // Another handshake begins another session.
        agent.say(&initialize(4)).await;
        let again = host.post(&initialize(4)).await;
        assert_eq!(again.header("mcp-session-id"), None);
        assert_eq!(again.header("mcp-protocol-version"), None);
        again.begin("s2", &welcome(4));
        assert_eq!(agent.hear().await, welcome(4));
        agent.say(&call(5, "t", json!({}))).await;
        let next = host.next().await;
        assert_eq!(next.header("mcp-session-id"), Some("s2"));
        next.json(&result(5, json!({})));
        assert_eq!(agent.hear().await["id"], 5);
    });
}

#[test]
fn without_sessions_the_head_repeats_the_message_and_closing_cancels() {
    run(async {
        let mut host = Host::start().await;
        let mut agent = Agent::start(host.options());
        let asked = request(
            1,
            "tools/call",
            modern(json!({ "name": "grüß", "arguments": {} })),
        );
        agent.say(&asked).await;
        let first = host.post(&asked).await;
        assert_eq!(first.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(first.header("mcp-method"), Some("tools/call"));
        assert_eq!(first.header("mcp-name"), Some("=?base64?Z3LDvMOf?="));
        assert_eq!(first.header("mcp-session-id"), None);
        let stream = first.events();
        let read = request(2, "resources/read", modern(json!({ "uri": "file:///a" })));
        agent.say(&read).await;
        let second = host.post(&read).await;
        assert_eq!(second.header("mcp-name"), Some("file:///a"));
        let listen = request(
            "l",
            "subscriptions/listen",
            modern(json!({ "notifications": {} })),
        );
        agent.say(&listen).await;
        let third = host.post(&listen).await;
        assert_eq!(third.header("mcp-name"), None);
        let subscription = third.events();

        // A stream that is open, an answer that has not begun.
        let cancel = |id: Value| note("notifications/cancelled", json!({ "requestId": id }));
        agent.say(&cancel(json!(1))).await;
        stream.given_up().await;
        agent.say(&cancel(json!(2))).await;
        second.given_up().await;
        agent.say(&cancel(json!(99))).await;
        let acknowledged = note(
            "notifications/subscriptions/acknowledged",
            json!({ "_meta": { "io.modelcontextprotocol/subscriptionId": "l" } }),
        );
        subscription.say(&acknowledged).await;
        assert_eq!(agent.hear().await, acknowledged);
        drop(subscription);
        // A lost stream is a lost request.
        failure(&agent.hear().await, "l");
        // An HTTP error whose body says more.
        let discover = request(3, "server/discover", modern(json!({})));
        agent.say(&discover).await;
        let error = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32022, "message": "no", "data": { "supported": [] } } });
        host.post(&discover)
            .await
            .text(400, "application/json", &error.to_string());
        let told = agent.hear().await;
        assert_eq!((&told["id"], &told["error"]), (&json!(3), &error["error"]));
        agent.close();
        assert!(not_now(host.next()).await, "there is no session to end");
        agent.ended().await.0.unwrap();
    });
}

#[test]
fn declared_arguments_are_repeated_in_the_head() {
    run(async {
        let mut host = Host::start().await;
        let mut agent = Agent::start(host.options());
        let list = request(1, "tools/list", modern(json!({})));
        agent.say(&list).await;
        let schema = json!({ "type": "object", "properties": { "region": { "type": "string", "x-mcp-header": "Region" } } });
        let tools =
            json!({ "tools": [{ "name": "t", "inputSchema": schema }], "resultType": "complete" });
        host.post(&list).await.json(&result(1, tools));
        agent.hear().await;
        let asked = modern(json!({ "name": "t", "arguments": { "region": "eu" } }));
        agent.say(&request(2, "tools/call", asked)).await;
        let call = host.next().await;
        assert_eq!(call.header("mcp-param-region"), Some("eu"));
    });
}

#[test]
fn a_server_of_two_endpoints_is_spoken_to() {
    run(async {
        let mut host = Host::start().await;
        let mut agent = Agent::start(host.options());
        agent.say(&initialize(0)).await;
        host.post(&initialize(0)).await.status(405);
        let get = host.asked("GET").await;
        assert_eq!(get.header("accept"), Some("text/event-stream"));
        let stream = get.events();
        stream
            .raw("event: endpoint\ndata: /message?sessionId=7\n\n")
            .await;
        let posted = host.post(&initialize(0)).await;
        assert_eq!(posted.path, "/message?sessionId=7");
        posted.status(202);
        stream.say(&welcome(0)).await;
        assert_eq!(agent.hear().await, welcome(0));
        agent.say(&initialized()).await;
        agent.say(&call(1, "t", json!({}))).await;
        let posted = host.post(&initialized()).await;
        assert_eq!(posted.path, "/message?sessionId=7");
        posted.status(202);
        let posted = host.post(&call(1, "t", json!({}))).await;
        assert_eq!(posted.path, "/message?sessionId=7");
        // The answer may overtake what acknowledges the request.
        stream.say(&result(1, json!({}))).await;
        assert_eq!(agent.hear().await, result(1, json!({})));
        posted.status(202);
        agent.say(&call(2, "t", json!({}))).await;
        host.next().await.status(202);
        agent.say(&call(3, "t", json!({}))).await;
        host.next().await.status(500);
        assert!(failure(&agent.hear().await, 3).contains("500"));
        stream.break_off().await;
        assert!(failure(&agent.hear().await, 2).contains("stream"));
        agent.close();
        agent.ended().await.0.unwrap();
    });
}

#[test]
fn an_endpoint_elsewhere_is_not_used() {
    run(async {
        let mut host = Host::start().await;
        let mut agent = Agent::start(host.options());
        agent.say(&initialize(0)).await;
        host.post(&initialize(0)).await.status(404);
        let stream = host.asked("GET").await.events();
        stream
            .raw("event: endpoint\ndata: http://192.0.2.1/message\n\n")
            .await;
        assert!(failure(&agent.hear().await, 0).contains("404"));
        stream.given_up().await;
    });
}

#[test]
fn nothing_is_read_while_too_much_is_under_way() {
    run(async {
        let (mut host, mut agent, _stream) = begun(|options| {
            options.max_in_flight = NonZeroUsize::new(2).unwrap();
        })
        .await;
        for id in 1..=4 {
            agent.say(&call(id, "t", json!({}))).await;
        }
        let first = host.next().await;
        let _second = host.next().await;
        assert!(not_now(host.next()).await, "a third request was sent");
        first.json(&result(1, json!({})));
        assert_eq!(agent.hear().await["id"], 1);
        assert_eq!(host.next().await.body["id"], 3);
        assert!(not_now(host.next()).await, "a fourth request was sent");
    });
}

#[test]
fn a_client_that_does_not_read_holds_the_server_up() {
    run(async {
        let mut host = Host::start().await;
        let mut agent = Agent::with_pipe(host.options(), 4 * 1_024);
        let listen = request(1, "subscriptions/listen", modern(json!({})));
        agent.say(&listen).await;
        let stream = host.post(&listen).await.events();
        let text = "x".repeat(256 * 1_024);
        let log = note(
            "notifications/message",
            json!({ "level": "info", "data": text }),
        );
        let mut said = 0;
        while !not_now(stream.say(&log)).await {
            said += 1;
            assert!(said < 1_000, "nothing holds the server up");
        }
        assert!(stream.room() == 0);
        for _ in 0..said {
            assert_eq!(agent.hear().await, log);
        }
    });
}

#[test]
fn the_next_is_not_sent_before_the_last_byte_of_the_one_before() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let mut options = Connect::new(Target::parse(&url).unwrap());
        options.limits.max_frame = mcpf_model::ByteSize::mib(64);
        let mut agent = Agent::start(options);
        let big = call(1, "t", json!({ "text": "x".repeat(40 << 20) }));
        let small = call(2, "t", json!({}));
        let _stdin = agent.write_aside(format!("{big}\n{small}\n"));
        let (mut first, _) = listener.accept().await.unwrap();
        assert!(not_now(listener.accept()).await, "the second was sent");
        // Once it is read, it is out of the way, answered or not.
        let reading = async {
            let mut buffer = vec![0; 1 << 20];
            let mut read = 0;
            while read < 40 << 20 {
                read += first.read(&mut buffer).await.unwrap();
            }
        };
        let (second, ()) = tokio::join!(listener.accept(), reading);
        second.unwrap();
    });
}

#[test]
fn whatever_goes_wrong_the_request_is_answered() {
    run(async {
        let (mut host, mut agent, _stream) = begun(|options| {
            options.limits.max_frame = mcpf_model::ByteSize::kib(4);
        })
        .await;
        let long = json!({ "text": "x".repeat(5_000) });
        let cases: [(u16, &str, String, &str); 9] = [
            (200, "text/html", "<p>".into(), "neither JSON nor events"),
            (200, "application/json", "{".into(), "does not answer"),
            (
                200,
                "application/json",
                result(99, json!({})).to_string(),
                "does not answer",
            ),
            (
                200,
                "application/json",
                result(4, long.clone()).to_string(),
                "larger than 4096",
            ),
            (202, "text/plain", String::new(), "neither JSON nor events"),
            (401, "application/json", "{}".into(), "--header"),
            (307, "text/plain", String::new(), "called elsewhere"),
            (503, "text/plain", String::new(), "try again later"),
            (500, "text/html", "<p>".into(), "HTTP 500"),
        ];
        for (id, (status, media, text, why)) in (1..).zip(cases) {
            agent.say(&call(id, "t", json!({}))).await;
            host.next().await.text(status, media, &text);
            let told = failure(&agent.hear().await, id);
            assert!(told.contains(why), "{told}");
        }
        // An event that is too long, and a line of ours.
        agent.say(&call(20, "t", json!({}))).await;
        let stream = host.next().await.events();
        stream.say(&result(20, long.clone())).await;
        let told = failure(&agent.hear().await, 20);
        assert!(told.contains("longer than the limit"), "{told}");
        agent.say(&call(21, "t", long)).await;
        let refused = agent.hear().await;
        assert_eq!(refused["error"]["code"], -32600);
        assert_eq!(refused["id"], 21);
        // The same id twice.
        agent.say(&call(22, "t", json!({}))).await;
        agent.say(&call(22, "t", json!({}))).await;
        assert_eq!(agent.hear().await["error"]["code"], -32600);
        host.next().await.json(&result(22, json!({})));
        assert_eq!(agent.hear().await, result(22, json!({})));
        agent.write("garbage\n").await;
        assert_eq!(agent.hear().await["error"]["code"], -32700);
    });
}

#[test]
fn what_only_some_read_goes_on_for_the_firewall_to_judge() {
    run(async {
        let (mut host, mut agent, _stream) = begun(|_| {}).await;
        agent.say(&call(1, "t", json!({}))).await;
        let odd = r#"{"jsonrpc":"2.0","id":1,"result":{},"extra":1}"#;
        host.next().await.text(200, "application/json", odd);
        assert_eq!(agent.hear().await["extra"], 1);
        agent.say(&call(2, "t", json!({}))).await;
        let progress = note(
            "notifications/progress",
            json!({ "progressToken": 2, "progress": 1 }),
        );
        let batch = json!([progress, result(2, json!({}))]);
        host.next().await.json(&batch);
        assert_eq!(agent.hear().await, progress);
        assert_eq!(agent.hear().await, result(2, json!({})));
    });
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    run(async {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", free.local_addr().unwrap());
        drop(free);
        let mut agent = Agent::start(Connect::new(Target::parse(&url).unwrap()));
        agent.say(&initialize(0)).await;
        let told = failure(&agent.hear().await, 0);
        assert!(told.contains("cannot be reached"), "{told}");
        agent.say(&initialized()).await;
        agent.close();
        let (outcome, rest) = agent.ended().await;
        outcome.unwrap();
        assert!(rest.is_empty());
    });
}

#[test]
fn answers_under_way_are_waited_for_at_the_end() {
    run(async {
        let (mut host, mut agent, _stream) = begun(|options| {
            options.timeouts.drain = Duration::from_millis(400);
        })
        .await;
        agent.say(&call(1, "t", json!({}))).await;
        agent.say(&call(2, "t", json!({}))).await;
        agent.close();
        host.next().await.json(&result(1, json!({})));
        let _never = host.next().await;
        assert_eq!(agent.hear().await, result(1, json!({})));
        failure(&agent.hear().await, 2);
        host.asked("DELETE").await.status(405);
        agent.ended().await.0.unwrap();
    });
}

#[test]
fn told_to_stop_it_ends_the_session_at_once() {
    run(async {
        let (mut host, mut agent, stream) = begun(|_| {}).await;
        agent.say(&call(1, "t", json!({}))).await;
        let asked = host.next().await;
        agent.stop();
        asked.given_up().await;
        failure(&agent.hear().await, 1);
        host.asked("DELETE").await.status(200);
        stream.given_up().await;
        agent.ended().await.0.unwrap();

        let (mut host, mut agent, stream) = begun(|_| {}).await;
        agent.turn_away();
        stream.say(&note("notifications/message", json!({}))).await;
        host.asked("DELETE").await.status(200);
        let (outcome, _) = agent.ended().await;
        assert!(matches!(outcome, Err(ConnectError::Output(_))));
    });
}

#[test]
fn a_cancelled_request_needs_no_answer() {
    run(async {
        let (mut host, mut agent, _stream) = begun(|_| {}).await;
        agent.say(&call(1, "t", json!({}))).await;
        let stream = host.next().await.events();
        let cancel = note("notifications/cancelled", json!({ "requestId": 1 }));
        agent.say(&cancel).await;
        host.post(&cancel).await.status(202);
        stream.raw("id: e1\ndata:\n\n").await;
        drop(stream);
        agent.say(&call(2, "t", json!({}))).await;
        host.next().await.json(&result(2, json!({})));
        assert_eq!(agent.hear().await["id"], 2);
    });
}
