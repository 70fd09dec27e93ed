//! `serve`: a server on stdio that is told what to do, and a client over a Unix socket.

use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use hyper::Method;
use mcpf_bridge::{Children, Serve, ServeError, listen};
use mcpf_model::ByteSize;
use serde_json::{Value, json};

use crate::socket::Offer;
use crate::{
    call, failure, initialize, initialized, modern, not_now, note, request, result, run, soon,
};

fn gently(options: &mut Serve) {
    options.timeouts.grace = Duration::from_millis(200);
    options.timeouts.term_grace = Duration::from_millis(200);
}

fn shared(options: &mut Serve) {
    gently(options);
    options.children = Children::Shared;
}

/// Whether a process runs, and is no zombie.
fn is_alive(pid: &Value) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status
        .rsplit(')')
        .next()
        .unwrap()
        .trim_start()
        .chars()
        .next();
    state.is_some_and(|state| state != 'Z')
}

fn exists(pid: &Value) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

async fn gone(pid: &Value) {
    soon(async {
        while exists(pid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn pid_of(offer: &Offer, session: &str) -> Value {
    let reply = offer.post(session, &call(1, "echo", json!({}))).await;
    reply.json().await["result"]["pid"].clone()
}

#[test]
fn a_session_has_a_child_of_its_own_until_it_ends() {
    run(async {
        let offer = Offer::start(&[], gently);
        let mut first = offer.initialize(0).await;
        let session = first.session.clone().unwrap();
        assert!(session.len() == 64 && session.bytes().all(|b| b.is_ascii_hexdigit()));
        // What it says before it answers comes in the same response.
        assert!(first.is_stream());
        assert_eq!(first.next().await.unwrap()["params"]["data"], "early");
        let welcome = first.next().await.unwrap();
        assert_eq!(welcome["id"], 0);
        assert!(first.next().await.is_none());
        let other = offer.begin().await;
        assert_ne!(session, other);
        assert_eq!(offer.post(&session, &initialized()).await.status, 202);
        let told = offer
            .traced(|m| m["method"] == "notifications/initialized")
            .await;
        assert_eq!(told, initialized());
        let (pid, other_pid) = (pid_of(&offer, &session).await, pid_of(&offer, &other).await);
        assert_eq!(welcome["result"]["serverInfo"]["version"], pid.to_string());
        assert_ne!(pid, other_pid);
        assert_eq!(offer.delete(&session).await.status, 200);
        gone(&pid).await;
        assert!(is_alive(&other_pid));
        let late = offer.post(&session, &call(2, "echo", json!({}))).await;
        assert_eq!(late.status, 404);
        assert_eq!(late.json().await["id"], 2);
        assert_eq!(offer.get(&session).await.status, 404);
        assert_eq!(offer.delete(&session).await.status, 404);
        offer.end().await;
        assert!(!exists(&other_pid));
    });
}

#[test]
fn an_answer_comes_as_json_unless_something_comes_before() {
    run(async {
        let offer = Offer::start(&[], gently);
        let session = offer.begin().await;
        let asked = call("a", "echo", json!({ "x": "1\n2" }));
        let reply = offer.post(&session, &asked).await;
        assert!(!reply.is_stream() && reply.session.is_none());
        let answer = reply.json().await;
        assert_eq!(answer["id"], "a");
        assert_eq!(answer["result"]["got"], json!({ "x": "1\n2" }));
        // On several lines the child would not understand it.
        let pretty = serde_json::to_string_pretty(&call(2, "echo", json!({}))).unwrap();
        let reply = offer.send(Method::POST, Some(&session), None, pretty).await;
        assert_eq!(reply.json().await["id"], 2);
        let mut asked = call(3, "progress", json!({}));
        asked["params"]["_meta"]["progressToken"] = json!("t");
        let _stream = offer.get(&session).await;
        let reply = offer.post(&session, &asked).await;
        assert!(reply.is_stream());
        let all = reply.all().await;
        assert_eq!(all.len(), 3);
        assert_eq!(
            all[0]["params"],
            json!({ "progressToken": "t", "progress": 0 })
        );
        assert_eq!(all[2], result(3, json!({})));
    });
}

#[test]
fn what_answers_nothing_goes_to_the_sessions_stream_or_to_the_oldest() {
    run(async {
        let offer = Offer::start(&[], gently);
        let session = offer.begin().await;
        let log = |n| call(n, "log", json!({ "n": n }));
        // There is no other stream.
        let all = offer.post(&session, &log(1)).await.all().await;
        assert_eq!(
            (&all[0]["params"]["data"]["n"], &all[1]["id"]),
            (&json!(1), &json!(1))
        );
        let mut stream = offer.get(&session).await;
        assert!(stream.is_stream());
        assert_eq!(offer.get(&session).await.status, 409);
        let reply = offer.post(&session, &log(2)).await;
        assert!(!reply.is_stream());
        assert_eq!(stream.next().await.unwrap()["params"]["data"]["n"], 2);
        drop(stream);
        // What comes while nothing is open waits.
        soon(async {
            while offer
                .post(&session, &call(3, "later", json!({})))
                .await
                .is_stream()
            {}
        })
        .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut stream = offer.get(&session).await;
        assert_eq!(
            stream.next().await.unwrap()["method"],
            "notifications/tools/list_changed"
        );
        // A session's end is its stream's.
        offer.delete(&session).await;
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn a_server_asks_and_is_answered() {
    run(async {
        let offer = Offer::start(&[], gently);
        let session = offer.begin().await;
        let asked = call(1, "ask", json!({ "method": "roots/list" }));
        let mut reply = offer.post(&session, &asked).await;
        let question = reply.next().await.unwrap();
        assert_eq!(
            (&question["id"], &question["method"]),
            (&json!(0), &json!("roots/list"))
        );
        let roots = result(0, json!({ "roots": [] }));
        assert_eq!(offer.post(&session, &roots).await.status, 202);
        let answer = reply.next().await.unwrap();
        assert_eq!(answer["id"], 1);
        assert_eq!(answer["result"]["answered"], roots);
    });
}

#[test]
fn a_child_that_dies_is_missed_by_nobody_in_vain() {
    run(async {
        let offer = Offer::start(&[], gently);
        let session = offer.begin().await;
        let pid = pid_of(&offer, &session).await;
        let mut stream = offer.get(&session).await;
        let hang = call(1, "hang", json!({}));
        let (hanging, killed) = tokio::join!(offer.post(&session, &hang), async {
            offer.traced(|m| m["params"]["name"] == "hang").await;
            offer.post(&session, &call(2, "die", json!({}))).await
        });
        for (reply, id) in [(hanging, 1), (killed, 2)] {
            let why = failure(&reply.json().await, id);
            assert!(why.contains("exit code 3"), "{why}");
        }
        assert!(stream.next().await.is_none());
        assert_eq!(offer.post(&session, &hang).await.status, 404);
        gone(&pid).await;
    });
}

#[test]
fn its_whole_process_group_ends_with_a_session() {
    run(async {
        let offer = Offer::start(&["--stubborn"], gently);
        let session = offer.begin().await;
        let pid = pid_of(&offer, &session).await;
        let kin = offer.post(&session, &call(1, "kin", json!({}))).await;
        let kin = kin.json().await["result"]["pid"].clone();
        assert!(is_alive(&pid) && is_alive(&kin));
        offer.delete(&session).await;
        gone(&pid).await;
        soon(async {
            while is_alive(&kin) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        // And when the server ends by itself.
        let offer = Offer::start(&[], gently);
        let session = offer.begin().await;
        let kin = offer.post(&session, &call(1, "kin", json!({}))).await;
        let kin = kin.json().await["result"]["pid"].clone();
        offer.post(&session, &call(2, "die", json!({}))).await;
        soon(async {
            while is_alive(&kin) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    });
}

#[test]
fn dropped_it_kills_what_it_started() {
    run(async {
        let offer = Offer::start(&["--stubborn"], |_| {});
        let session = offer.begin().await;
        let pid = pid_of(&offer, &session).await;
        drop(offer);
        gone(&pid).await;
    });
}

#[test]
fn lines_that_are_no_messages_are_dropped_or_answered_for() {
    run(async {
        let offer = Offer::start(&[], |options| {
            gently(options);
            options.limits.max_frame = ByteSize::kib(64);
        });
        let session = offer.begin().await;
        let noise = offer.post(&session, &call(1, "noise", json!({}))).await;
        assert_eq!(noise.json().await, result(1, json!({})));
        let huge = call(2, "huge", json!({ "size": 100_000 }));
        let why = failure(&offer.post(&session, &huge).await.json().await, 2);
        assert!(why.contains("longer than the limit"), "{why}");
        let garbage = offer.post(&session, &call(3, "garbage", json!({}))).await;
        failure(&garbage.json().await, 3);
        // JSON, but not all read it alike: the firewall judges it.
        let odd = offer.post(&session, &call(4, "odd", json!({}))).await;
        assert_eq!(odd.json().await["extra"], 1);
        let long = call(5, "echo", json!({ "text": "x".repeat(70_000) }));
        assert_eq!(offer.post(&session, &long).await.status, 413);
    });
}

#[test]
fn what_is_no_message_is_refused() {
    run(async {
        let offer = Offer::start(&[], gently);
        let session = offer.begin().await;
        for (body, status) in [
            ("{", 400),
            ("[]", 400),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, 400),
        ] {
            let reply = offer.send(Method::POST, Some(&session), None, body.to_owned());
            assert_eq!(reply.await.status, status, "{body}");
        }
        let list = request(7, "tools/list", json!({})).to_string();
        let reply = offer.send(Method::POST, None, None, list).await;
        assert_eq!(reply.status, 400);
        assert_eq!(reply.json().await["id"], 7);
        let put = offer.send(Method::PUT, Some(&session), None, String::new());
        assert_eq!(put.await.status, 405);
        let get = offer.send(Method::GET, None, Some("2026-07-28"), String::new());
        assert_eq!(get.await.status, 405);
        let get = offer.send(Method::GET, None, None, String::new());
        assert_eq!(get.await.status, 400);
        // One id awaits one answer.
        let hang = call(1, "hang", json!({}));
        let (hanging, twice) = tokio::join!(not_now(offer.post(&session, &hang)), async {
            offer.traced(|m| m["params"]["name"] == "hang").await;
            offer.post(&session, &hang).await.json().await
        });
        assert!(hanging);
        assert_eq!(twice["error"]["code"], -32600);
    });
}

#[test]
fn sessions_are_limited_and_end_when_nobody_uses_them() {
    run(async {
        let offer = Offer::start(&[], |options| {
            gently(options);
            options.max_sessions = NonZeroUsize::new(2).unwrap();
            options.session_ttl = Duration::from_secs(3);
        });
        let idle = offer.begin().await;
        let pid = pid_of(&offer, &idle).await;
        let used = offer.begin().await;
        let _stream = offer.get(&used).await;
        let refused = offer.initialize(5).await;
        assert_eq!(refused.status, 503);
        assert!(failure(&refused.json().await, 5).contains("too many sessions"));
        gone(&pid).await;
        assert_eq!(offer.post(&idle, &initialized()).await.status, 404);
        assert_eq!(offer.post(&used, &initialized()).await.status, 202);
        offer.begin().await;
    });
}

#[test]
fn a_child_that_does_not_begin_is_said_so() {
    run(async {
        let offer = Offer::start(&["--crash"], gently);
        let reply = offer.initialize(1).await;
        assert_eq!((reply.status, &reply.session), (200, &None));
        let why = failure(&reply.json().await, 1);
        assert!(
            why.contains("exit code 7") && why.contains("standard error"),
            "{why}"
        );

        let offer = Offer::start(&["--deaf"], |options| {
            gently(options);
            options.timeouts.start = Duration::from_millis(300);
        });
        let why = failure(&offer.initialize(2).await.json().await, 2);
        assert!(why.contains("`initialize` within"), "{why}");

        let offer = Offer::start(&[], |options| options.command = "/no/such/program".into());
        let why = failure(&offer.initialize(3).await.json().await, 3);
        assert!(
            why.contains("`/no/such/program` cannot be started"),
            "{why}"
        );

        let offer = Offer::start(&[], gently);
        let mut old = initialize(4);
        old["params"]["protocolVersion"] = json!("1999-01-01");
        let reply = offer.send(Method::POST, None, None, old.to_string()).await;
        assert_eq!(reply.session, None);
        assert_eq!(reply.json().await["error"]["code"], -32602);
    });
}

#[test]
fn a_client_that_reads_slowly_holds_up_its_own_child() {
    run(async {
        let offer = Offer::start(&[], |options| {
            gently(options);
            options.queue = ByteSize::kib(64);
        });
        let session = offer.begin().await;
        let burst = call(1, "burst", json!({ "count": 500, "size": 10_000 }));
        let mut reply = offer.post(&session, &burst).await;
        reply.next().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        // Nothing was lost.
        let all = reply.all().await;
        assert_eq!(all.len(), 500);
        assert!(
            all[498]["params"]["data"]
                .as_str()
                .unwrap()
                .starts_with("499:")
        );
    });
}

#[test]
fn without_sessions_all_share_a_child_that_tells_them_apart() {
    run(async {
        let offer = Offer::start(&[], gently);
        let names = |id: Value| {
            let mut params = modern(json!({ "name": "names", "arguments": {} }));
            params["_meta"]["progressToken"] = json!("mine");
            request(id, "tools/call", params)
        };
        let a = offer.post_modern(&names(json!(1))).await.json().await;
        let b = offer.post_modern(&names(json!(1))).await.json().await;
        let c = offer.post_modern(&names(json!("x"))).await.json().await;
        assert_eq!(
            (&a["id"], &b["id"], &c["id"]),
            (&json!(1), &json!(1), &json!("x"))
        );
        for (answer, name) in [(a, 1), (b, 2), (c, 3)] {
            assert_eq!(answer["result"], json!({ "id": name, "token": name }));
        }
        let mut progress = modern(json!({ "name": "progress", "arguments": {} }));
        progress["_meta"]["progressToken"] = json!("p");
        let reply = offer.post_modern(&request(9, "tools/call", progress)).await;
        let all = reply.all().await;
        assert_eq!(all.len(), 3);
        assert_eq!(all[1]["params"]["progressToken"], "p");
        assert_eq!(all[2]["id"], 9);
        // The statuses of this revision.
        let unknown = offer
            .post_modern(&request(2, "no/such", modern(json!({}))))
            .await;
        assert_eq!(unknown.status, 404);
        assert_eq!(unknown.json().await["error"]["code"], -32601);
        let reply = offer.post_modern(&result(1, json!({}))).await;
        assert_eq!(reply.status, 400);
        let reply = offer
            .post_modern(&request(3, "tools/list", json!({})))
            .await;
        assert_eq!(reply.status, 400);
        let error = reply.json().await;
        assert_eq!(
            (&error["id"], &error["error"]["code"]),
            (&json!(3), &json!(-32602))
        );
    });
}

#[test]
fn a_head_that_says_something_else_is_refused() {
    run(async {
        let offer = Offer::start(&[], gently);
        let refused = async |heads: &[(&str, &str)], message: &Value| {
            let reply = offer.post_with(heads, message).await;
            let status = reply.status;
            let code = reply.json().await["error"]["code"].as_i64();
            (status, code)
        };
        let version = ("mcp-protocol-version", "2026-07-28");
        let asked = request(1, "tools/call", modern(json!({ "name": "echo" })));
        let mismatch = (400, Some(-32020));
        let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "echo"));
        assert_eq!(refused(&[version], &asked).await, mismatch);
        assert_eq!(refused(&[version, method], &asked).await, mismatch);
        assert_eq!(refused(&[method, name], &asked).await, mismatch);
        let other = ("mcp-name", "=?base64?YQ==?=");
        assert_eq!(refused(&[version, method, other], &asked).await, mismatch);
        let encoded = ("mcp-name", "=?base64?ZWNobw==?=");
        assert_eq!(
            refused(&[version, method, encoded], &asked).await,
            (200, None)
        );

        // What the tools of a list want.
        let list = request(2, "tools/list", modern(json!({})));
        offer.post_modern(&list).await.json().await;
        let arguments = json!({ "name": "names", "arguments": { "region": "eu" } });
        let asked = request(3, "tools/call", modern(arguments));
        let name = ("mcp-name", "names");
        assert_eq!(refused(&[version, method, name], &asked).await, mismatch);
        let region = ("mcp-param-region", "eu");
        let heads = [version, method, name, region];
        assert_eq!(refused(&heads, &asked).await, (200, None));
    });
}

#[test]
fn without_sessions_closing_cancels_and_subscriptions_stay_open() {
    run(async {
        let offer = Offer::start(&[], gently);
        let tool = |id: Value, name: &str| {
            request(
                id,
                "tools/call",
                modern(json!({ "name": name, "arguments": {} })),
            )
        };
        // A log can only be about the only request there is.
        let log = offer.post_modern(&tool(json!(0), "log")).await.all().await;
        assert_eq!(log.len(), 2);
        let hang = tool(json!("h"), "hang");
        tokio::select! {
            _ = offer.post_modern(&hang) => panic!("it was answered"),
            sent = offer.traced(|m| m["params"]["name"] == "hang") => assert_eq!(sent["id"], 2),
        }
        let cancelled = offer
            .traced(|m| m["method"] == "notifications/cancelled")
            .await;
        assert_eq!(cancelled["params"]["requestId"], 2);
        // Now it may be about what was cancelled.
        let log = offer.post_modern(&tool(json!(0), "log")).await;
        assert_eq!(log.json().await["id"], 0);

        let listen = request(
            "l",
            "subscriptions/listen",
            modern(json!({ "notifications": {} })),
        );
        let (mut a, mut b) = (
            offer.post_modern(&listen).await,
            offer.post_modern(&listen).await,
        );
        let id = |message: &Value| {
            message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].clone()
        };
        for stream in [&mut a, &mut b] {
            let first = stream.next().await.unwrap();
            assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
            assert_eq!(id(&first), "l");
        }
        offer
            .post_modern(&tool(json!(3), "change"))
            .await
            .json()
            .await;
        for stream in [&mut a, &mut b] {
            let changed = stream.next().await.unwrap();
            assert_eq!(changed["method"], "notifications/tools/list_changed");
            assert_eq!(id(&changed), "l");
        }
        drop(a);
        offer
            .traced(|m| m["method"] == "notifications/cancelled" && m["params"]["requestId"] == 4)
            .await;
        offer
            .post_modern(&tool(json!(4), "unsubscribe"))
            .await
            .json()
            .await;
        let ended = b.next().await.unwrap();
        assert_eq!(ended["method"], "notifications/cancelled");
        assert_eq!(ended["params"]["requestId"], "l");
    });
}

#[test]
fn a_shared_child_is_started_again() {
    run(async {
        let offer = Offer::start(&[], gently);
        let tool = |id: i64, name: &str| {
            request(
                id,
                "tools/call",
                modern(json!({ "name": name, "arguments": {} })),
            )
        };
        let first = offer.post_modern(&tool(1, "echo")).await.json().await;
        let died = offer.post_modern(&tool(2, "die")).await;
        assert!(failure(&died.json().await, 2).contains("exit code 3"));
        let second = offer.post_modern(&tool(3, "echo")).await.json().await;
        assert_ne!(first["result"]["pid"], second["result"]["pid"]);

        let offer = Offer::start(&["--crash"], |options| {
            gently(options);
            options.restart.first = Duration::from_millis(700);
        });
        let why = failure(&offer.post_modern(&tool(1, "echo")).await.json().await, 1);
        assert!(why.contains("exit code 7"), "{why}");
        let why = failure(&offer.post_modern(&tool(2, "echo")).await.json().await, 2);
        assert!(
            why.contains("1 times in a row") && why.contains("started again in"),
            "{why}"
        );
        tokio::time::sleep(Duration::from_millis(800)).await;
        failure(&offer.post_modern(&tool(3, "echo")).await.json().await, 3);
        let why = failure(&offer.post_modern(&tool(4, "echo")).await.json().await, 4);
        assert!(why.contains("2 times in a row"), "{why}");
    });
}

#[test]
fn sessions_that_share_a_child_are_kept_apart() {
    run(async {
        let offer = Offer::start(&[], shared);
        let (first, second) = tokio::join!(offer.initialize(0), offer.initialize(7));
        let (a, b) = (
            first.session.clone().unwrap(),
            second.session.clone().unwrap(),
        );
        let (first, second) = (first.json().await, second.json().await);
        assert_eq!((&first["id"], &second["id"]), (&json!(0), &json!(7)));
        assert_eq!(first["result"], second["result"]);
        for session in [&a, &b] {
            assert_eq!(offer.post(session, &initialized()).await.status, 202);
        }
        assert_eq!(pid_of(&offer, &a).await, pid_of(&offer, &b).await);
        let greeted = offer.trace();
        let begun = greeted.iter().filter(|m| m["method"] == "initialize");
        assert_eq!(begun.count(), 1);
        assert_eq!(greeted[0]["params"]["capabilities"], json!({}));
        let told = |m: &&Value| m["method"] == "notifications/initialized";
        assert_eq!(greeted.iter().filter(told).count(), 1);

        let (mut at_a, mut at_b) = (offer.get(&a).await, offer.get(&b).await);
        offer
            .post(&a, &call(1, "later", json!({})))
            .await
            .json()
            .await;
        for stream in [&mut at_a, &mut at_b] {
            let changed = stream.next().await.unwrap();
            assert_eq!(changed["method"], "notifications/tools/list_changed");
        }
        // A log could be of either, and is of neither.
        let log = offer
            .post(&a, &call(1, "log", json!({ "secret": "of a" })))
            .await;
        assert_eq!(log.json().await, result(1, json!({})));
        assert!(not_now(at_b.next()).await);
        // Whom would it ask?
        let ask = call(2, "ask", json!({ "method": "sampling/createMessage" }));
        let answer = offer.post(&b, &ask).await.json().await;
        assert_eq!(answer["id"], 2);
        assert_eq!(answer["result"]["answered"]["error"]["code"], -32601);
        let ask = call(3, "ask", json!({ "method": "ping" }));
        let answer = offer.post(&b, &ask).await.json().await;
        assert_eq!(answer["result"]["answered"]["result"], json!({}));

        // Each cancels only its own.
        let hang = call(1, "hang", json!({}));
        let hanging = offer.post(&a, &hang);
        tokio::select! {
            _ = hanging => panic!("it was answered"),
            () = async {
                let sent = offer.traced(|m| m["params"]["name"] == "hang").await;
                let cancel = note("notifications/cancelled", json!({ "requestId": 1 }));
                assert_eq!(offer.post(&b, &cancel).await.status, 202);
                assert_eq!(offer.post(&a, &cancel).await.status, 202);
                let told = offer.traced(|m| m["method"] == "notifications/cancelled").await;
                assert_eq!(told["params"]["requestId"], sent["id"]);
            } => {}
        }
        let cancels = offer.trace();
        let cancels = cancels
            .iter()
            .filter(|m| m["method"] == "notifications/cancelled");
        assert_eq!(cancels.count(), 1);

        // The end of one is not that of the other; the child's is both's.
        offer.delete(&a).await;
        assert_eq!(offer.post(&a, &initialized()).await.status, 404);
        pid_of(&offer, &b).await;
        let died = offer.post(&b, &call(5, "die", json!({}))).await;
        failure(&died.json().await, 5);
        assert_eq!(offer.post(&b, &initialized()).await.status, 404);
        let again = offer.begin().await;
        pid_of(&offer, &again).await;
    });
}

#[test]
fn a_shared_child_that_does_not_begin_is_said_so() {
    run(async {
        let offer = Offer::start(&["--crash"], shared);
        let why = failure(&offer.initialize(1).await.json().await, 1);
        assert!(why.contains("exit code 7"), "{why}");
        let why = failure(&offer.initialize(2).await.json().await, 2);
        assert!(why.contains("started again in"), "{why}");
        let offer = Offer::start(&[], shared);
        let mut old = initialize(4);
        old["params"]["protocolVersion"] = json!("1999-01-01");
        let reply = offer.send(Method::POST, None, None, old.to_string()).await;
        assert!(failure(&reply.json().await, 4).contains("too old"));
    });
}

#[test]
fn one_that_reads_slowly_does_not_hold_up_a_shared_child() {
    run(async {
        let offer = Offer::start(&[], |options| {
            shared(options);
            options.queue = ByteSize::kib(64);
        });
        let tool = |id: i64, name: &str, arguments: Value| {
            request(
                id,
                "tools/call",
                modern(json!({ "name": name, "arguments": arguments })),
            )
        };
        let burst = tool(1, "burst", json!({ "count": 500, "size": 10_000 }));
        let mut slow = offer.post_modern(&burst).await;
        slow.next().await.unwrap();
        let quick = offer.post_modern(&tool(2, "echo", json!({}))).await;
        assert_eq!(quick.json().await["id"], 2);
        let all = slow.all().await;
        assert!(all.len() < 499, "nothing was cut");
    });
}

#[test]
fn what_takes_long_becomes_a_stream_that_shows_life() {
    run(async {
        let offer = Offer::start(&[], |options| {
            gently(options);
            options.timeouts.keep_alive = Duration::from_millis(100);
        });
        let session = offer.begin().await;
        let asked = call(1, "sleep", json!({ "seconds": 0.5 }));
        let mut reply = offer.post(&session, &asked).await;
        assert!(reply.is_stream());
        assert_eq!(reply.raw().await, ": \n\n");
        assert_eq!(reply.all().await, [result(1, json!({}))]);
    });
}

#[test]
fn the_socket_is_closed_to_others() {
    run(async {
        let offer = Offer::start(&[], |_| {});
        let mode = std::fs::metadata(offer.socket())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let open = offer.directory.join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o750)).unwrap();
        let exposed = listen(&open.join("socket"));
        assert!(matches!(exposed, Err(ServeError::Exposed(_))));
        let taken = listen(&offer.socket());
        assert!(matches!(taken, Err(ServeError::Listen { .. })));
    });
}
