//! What an operator does: the kill switch, the end, and the questions of a monitor.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{LEGACY, echo, note, ping};
use crate::support::{
    Ask, Client, Gateway, PATIENCE, Proxy, Seen, Upstream, call, eventually, message_of, request,
};

fn wait(receiver: &Mutex<Receiver<()>>) {
    receiver.lock().unwrap().recv_timeout(PATIENCE).unwrap();
}

fn is_stopped(gateway: &Gateway) -> bool {
    gateway.ask(&ping()).answer_to(&json!(1))["error"]["data"]["stage"] == "kill_switch"
}

/// A server whose stream says what it is told to.
fn talkative(heard: Receiver<String>) -> Upstream {
    let heard = Mutex::new(heard);
    Upstream::each(move |seen, peer| match seen.verb() {
        "GET" => {
            peer.events();
            while let Ok(event) = heard.lock().unwrap().recv_timeout(PATIENCE) {
                peer.chunk(event);
            }
            peer.end();
        }
        _ => peer.honest(seen),
    })
}

/// Turns the switch on and off by `turn`; while it is on nothing passes in either direction.
fn turned(turn: impl Fn(&Gateway, bool)) {
    let (say, heard) = channel();
    let upstream = talkative(heard);
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    let mut stream = gateway.connect();
    stream.open(&Ask::get().session(&session));
    say.send(format!("data: {}\n\n", note("before"))).unwrap();
    assert_eq!(message_of(&stream.event().unwrap()), Some(note("before")));
    for _ in 0..2 {
        turn(&gateway, true);
        assert!(eventually(PATIENCE, || is_stopped(&gateway)));
        let before = upstream.count();
        let answer = gateway.ask(&echo(7).session(&session)).answer_to(&json!(7));
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        let modern = Ask::modern(call(8, "echo", &json!({}))).with("Mcp-Name", "echo");
        let answer = gateway.ask(&modern).answer_to(&json!(8));
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        let note_in = json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" });
        let reply = gateway.ask(&Ask::post(&note_in).session(&session));
        assert_eq!((reply.status(), reply.body.len()), (202, 0));
        assert_eq!(upstream.count(), before);
        // The message of this event is withheld, its id is not.
        say.send(format!("id: 5\ndata: {}\n\n", note("while it is on")))
            .unwrap();
        assert_eq!(stream.event().unwrap(), "id: 5\ndata: \n\n");
        // An operator can still look.
        assert_eq!(gateway.manage("GET", "/readyz").status(), 200);
        turn(&gateway, false);
        assert!(eventually(PATIENCE, || !is_stopped(&gateway)));
        let answer = gateway.ask(&echo(7).session(&session)).answer_to(&json!(7));
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        say.send(format!("data: {}\n\n", note("after"))).unwrap();
        assert_eq!(message_of(&stream.event().unwrap()), Some(note("after")));
    }
    drop(say);
    assert_eq!(stream.event(), None);
    let records = gateway.records();
    let turns: Vec<&Value> = records
        .iter()
        .filter(|record| record["type"] == "event")
        .collect();
    assert_eq!(turns.len(), 4, "{turns:?}");
    gateway.stop();
}

#[test]
fn the_kill_switch_by_signal_stops_both_directions() {
    turned(|gateway, on| gateway.signal(if on { Signal::USR1 } else { Signal::USR2 }));
}

#[test]
fn the_kill_switch_by_file_stops_both_directions() {
    turned(|gateway, on| {
        let file = gateway.dir.join("kill");
        if on {
            std::fs::write(&file, "").unwrap();
        } else {
            std::fs::remove_file(&file).unwrap();
        }
    });
}

#[test]
fn the_kill_switch_withholds_answers_under_way() {
    let (go, goes) = channel();
    let upstream = waiting(goes);
    let gateway = Proxy::before(&upstream).start();
    let mut message = gateway.connect();
    message.send(&echo(7).with("X-Waits", "message"));
    let mut stream = gateway.connect();
    stream.open(&echo(8).with("X-Waits", "stream"));
    assert_eq!(message_of(&stream.event().unwrap()), Some(note("one")));
    assert!(eventually(PATIENCE, || waits(&upstream.seen()) == 2));
    gateway.signal(Signal::USR1);
    assert!(eventually(PATIENCE, || is_stopped(&gateway)));
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    let answer = message.reply().unwrap().answer_to(&json!(7));
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    // Of the stream's two messages only the answer is owed.
    let answer = message_of(&stream.event().unwrap()).unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["isError"]),
        (&json!(8), &json!(true))
    );
    assert_eq!(stream.event(), None);
    gateway.stop();
}

#[test]
fn the_kill_switch_stops_requests_without_a_message_too() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let session = gateway.session(LEGACY, &[]);
    gateway.signal(Signal::USR1);
    assert!(eventually(PATIENCE, || is_stopped(&gateway)));
    let before = upstream.count();
    for ask in [Ask::get(), Ask::delete()] {
        let reply = gateway.ask(&ask.session(&session));
        assert!(reply.status() >= 400, "{reply:?}");
    }
    assert_eq!(upstream.count(), before);
    gateway.stop();
}

/// A server that answers calls when it is told to: as a message, or as an event after another.
fn waiting(goes: Receiver<()>) -> Upstream {
    let goes = Mutex::new(goes);
    Upstream::each(move |seen, peer| {
        let answer = mcpf_tests::answer(&seen.message());
        match (seen.field("x-waits"), answer) {
            (Some("message"), Some(answer)) => {
                wait(&goes);
                peer.json(&answer);
            }
            (Some("stream"), Some(answer)) => {
                peer.events();
                peer.event(&note("one"));
                wait(&goes);
                peer.event(&note("two"));
                peer.event(&answer);
                peer.end();
            }
            _ => peer.honest(seen),
        }
    })
}

fn waits(seen: &[Seen]) -> usize {
    seen.iter()
        .filter(|seen| seen.field("x-waits").is_some())
        .count()
}

#[test]
fn the_end_awaits_requests_under_way_and_takes_no_new_ones() {
    let (go, goes) = channel();
    let upstream = waiting(goes);
    let mut gateway = Proxy::before(&upstream)
        .http("drain_timeout", "10m")
        .start();
    let mut idle = gateway.connect();
    assert_eq!(idle.ask(&ping()).status(), 200);
    let mut message = gateway.connect();
    message.send(&echo(7).with("X-Waits", "message"));
    let mut stream = gateway.connect();
    stream.open(&echo(8).with("X-Waits", "stream"));
    assert_eq!(message_of(&stream.event().unwrap()), Some(note("one")));
    assert!(eventually(PATIENCE, || waits(&upstream.seen()) == 2));
    gateway.signal(Signal::TERM);
    // Connections that carry nothing are closed, new ones refused.
    assert!(idle.is_closed());
    assert!(eventually(PATIENCE, || TcpStream::connect(gateway.address).is_err()));
    assert!(gateway.is_running());
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    let reply = message.reply().unwrap();
    assert_eq!(reply.answer_to(&json!(7))["result"]["isError"], false);
    assert_eq!(message_of(&stream.event().unwrap()), Some(note("two")));
    assert_eq!(message_of(&stream.event().unwrap()).unwrap()["id"], 8);
    assert_eq!(stream.event(), None);
    assert!(message.is_closed() && stream.is_closed());
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.stderr());
    gateway.verify();
    let answered = gateway.records();
    let answered = answered
        .iter()
        .filter(|r| r["direction"] == "outbound" && r["tool"] == "echo");
    assert_eq!(answered.count(), 2);
}

#[test]
fn a_request_that_does_not_end_does_not_hold_the_end_for_ever() {
    let (_go, goes) = channel();
    let upstream = waiting(goes);
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = Proxy::before(&upstream).http("drain_timeout", "1s").start();
        let before = waits(&upstream.seen());
        let mut message = gateway.connect();
        message.send(&echo(7).with("X-Waits", "message"));
        assert!(eventually(PATIENCE, || waits(&upstream.seen()) == before + 1));
        gateway.signal(signal);
        assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.stderr());
        assert!(message.reply().is_none());
        gateway.verify();
    }
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_the_end() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream)
        .http("drain_timeout", "10m")
        .http("idle_timeout", "10m");
    let mut gateway = gateway.start();
    let mut silent = gateway.connect();
    let mut other = gateway.connect();
    assert_eq!(other.ask(&ping()).status(), 200);
    gateway.signal(Signal::TERM);
    assert!(other.is_closed());
    assert!(silent.is_closed());
    assert_eq!(gateway.wait().code(), Some(0));
    gateway.verify();
}

#[test]
fn a_monitor_is_told_that_the_end_has_begun() {
    let (go, goes) = channel();
    let upstream = waiting(goes);
    let mut gateway = Proxy::before(&upstream)
        .http("drain_timeout", "10m")
        .start();
    let mut message = gateway.connect();
    message.send(&echo(7).with("X-Waits", "message"));
    assert!(eventually(PATIENCE, || waits(&upstream.seen()) == 1));
    assert_eq!(gateway.manage("GET", "/readyz").status(), 200);
    gateway.signal(Signal::TERM);
    assert!(eventually(PATIENCE, || TcpStream::connect(gateway.address).is_err()));
    assert_eq!(gateway.manage("GET", "/healthz").status(), 200);
    assert_eq!(gateway.manage("GET", "/readyz").status(), 503);
    go.send(()).unwrap();
    assert_eq!(message.reply().unwrap().status(), 200);
    assert_eq!(gateway.wait().code(), Some(0));
    gateway.verify();
}

#[test]
fn a_monitor_gets_its_answers() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let (healthz, readyz) = (
        gateway.manage("GET", "/healthz"),
        gateway.manage("GET", "/readyz"),
    );
    assert_eq!((healthz.status(), &*healthz.text()), (200, "ok\n"));
    assert_eq!((readyz.status(), &*readyz.text()), (200, "ready\n"));
    let health = gateway.manage("GET", "/health");
    assert_eq!(health.status(), 200);
    assert_eq!(health.head.get("content-type"), Some("application/json"));
    let health = health.json();
    assert_eq!(
        (&health["status"], &health["reason"]),
        (&json!("ok"), &Value::Null)
    );
    assert!(
        health["version"].is_string() && health["timestamp"].is_string(),
        "{health}"
    );
    for (verb, path, status) in [
        ("GET", "/", 404),
        ("GET", "/mcp", 404),
        ("GET", "/healthz/", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/metrics", 405),
    ] {
        assert_eq!(gateway.manage(verb, path).status(), status, "{verb} {path}");
    }
    // Operators are not clients, and clients no operators.
    let mut client = gateway.connect();
    for path in ["/healthz", "/readyz", "/health", "/metrics"] {
        assert_eq!(client.ask(&Ask::get().at(path)).status(), 404, "{path}");
    }
    assert_eq!(upstream.count(), 0);
    gateway.stop();
}

#[test]
fn nothing_goes_unrecorded() {
    let upstream = Upstream::honest();
    let mut gateway = Proxy::before(&upstream).largest_file(32).start();
    let session = gateway.session(LEGACY, &[]);
    let mut client = gateway.connect();
    let mut served = 0;
    let refused = loop {
        let answer = client.ask(&ping().session(&session)).answer_to(&json!(1));
        if answer.get("error").is_some() {
            break answer;
        }
        served += 1;
        assert!(served < 1_000, "more than fits a file of 32 KiB");
    };
    assert_eq!(refused["error"]["code"], 1_503, "{refused}");
    // From then on the server hears nothing, and a monitor is told.
    let before = upstream.count();
    for ask in [ping(), echo(7), echo(7).session(&session)] {
        let text = gateway.ask(&ask).text();
        assert!(text.contains("nothing goes unrecorded"), "{text}");
    }
    let modern = Ask::modern(call(8, "echo", &json!({}))).with("Mcp-Name", "echo");
    assert_eq!(
        gateway.ask(&modern).answer_to(&json!(8))["result"]["isError"],
        true
    );
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" });
    assert_eq!(
        gateway.ask(&Ask::post(&note).session(&session)).status(),
        503
    );
    assert_eq!(upstream.count(), before);
    assert_eq!(gateway.manage("GET", "/healthz").status(), 200);
    let readyz = gateway.manage("GET", "/readyz");
    assert_eq!(readyz.status(), 503);
    assert!(readyz.text().contains("cannot record"), "{}", readyz.text());
    assert_eq!(gateway.manage("GET", "/health").status(), 503);
    let metrics = gateway.manage("GET", "/metrics").text();
    assert_eq!(sample(&metrics, "mcp_firewall_ready"), 0.0);
    // Each answer that came has its record: what was served, and what asked for it.
    let records = gateway.records();
    let pings = records
        .iter()
        .filter(|r| r["method"] == "ping" && r["direction"] == "outbound");
    assert!(pings.count() >= served);
    gateway.signal(Signal::TERM);
    assert_eq!(
        gateway.wait().code(),
        Some(1),
        "the log did not close cleanly"
    );
    gateway.verify();
}

/// The value of the sample called `name`, labels and all.
fn sample(text: &str, name: &str) -> f64 {
    let line = text
        .lines()
        .find(|line| line.rsplit_once(' ').is_some_and(|(n, _)| n == name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn metrics_count_and_carry_no_text_of_peers() {
    let upstream = Upstream::each(|seen, peer| match seen.field("x-error") {
        Some(_) => peer.respond(
            "418 canary-status",
            &[("X-Canary", "canary-field")],
            "canary-text",
        ),
        None => peer.honest(seen),
    });
    let gateway = Proxy::before(&upstream)
        .option("--name", "canary-server")
        .start();
    let series = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    let before = gateway.manage("GET", "/metrics");
    assert_eq!(before.status(), 200);
    let media = before.head.get("content-type").unwrap();
    assert!(
        media.starts_with("application/openmetrics-text; version=1.0.0"),
        "{media}"
    );
    let before = before.text();
    assert!(before.ends_with("# EOF\n"));

    let session = gateway.session(LEGACY, &[("Authorization", "Bearer canary-token")]);
    let mut client: Client = gateway.connect();
    for number in 0..20 {
        let tool = format!("canary-tool-{number}");
        let mut message = call(number, &tool, &json!({ "canary-argument": "canary-value" }));
        message["id"] = json!(format!("canary-id-{number}"));
        let ask = Ask::post(&message)
            .session(&session)
            .with("Authorization", "Bearer canary-token")
            .with("User-Agent", "canary-agent");
        assert_eq!(client.ask(&ask).status(), 200);
        let method = format!("canary/method-{number}");
        assert_eq!(
            client
                .ask(&Ask::post(&request(1, &method, &json!({}))))
                .status(),
            200
        );
    }
    client.ask(&Ask::post(&call(
        7,
        "canary",
        &json!({ "path": "/home/canary/.ssh/id_rsa" }),
    )));
    assert_eq!(gateway.ask(&ping().with("X-Error", "1")).status(), 418);
    assert_eq!(gateway.ask(&ping().at("/canary-path")).status(), 404);
    assert_eq!(gateway.ask(&ping().session("canary-session")).status(), 404);

    let text = gateway.manage("GET", "/metrics").text();
    assert!(!text.to_lowercase().contains("canary"), "{text}");
    assert_eq!(
        series(&text),
        series(&before),
        "traffic has made new series"
    );
    let decisions = |text: &str, direction: &str, decision: &str| {
        let labels = format!("{{direction=\"{direction}\",decision=\"{decision}\"}}");
        sample(text, &format!("mcp_firewall_decisions_total{labels}"))
    };
    // The handshake, 40 calls and the ping that came to an error; of these the error has no answer
    // but a text, which is looked at too.
    assert_eq!(decisions(&text, "inbound", "allow"), 42.0);
    assert_eq!(decisions(&text, "inbound", "deny"), 1.0);
    assert_eq!(decisions(&text, "outbound", "allow"), 42.0);
    let responses = |class: &str| {
        sample(
            &text,
            &format!("mcp_firewall_http_responses_total{{status=\"{class}\"}}"),
        )
    };
    assert_eq!(
        (responses("2xx"), responses("4xx"), responses("5xx")),
        (42.0, 3.0, 0.0)
    );
    assert_eq!(sample(&text, "mcp_firewall_sessions"), 1.0);
    assert_eq!(sample(&text, "mcp_firewall_ready"), 1.0);
    assert!(sample(&text, "mcp_firewall_connections") >= 1.0);
    assert_eq!(
        sample(&text, "mcp_firewall_inspection_duration_seconds_count"),
        85.0
    );
    gateway.stop();
}

#[test]
fn a_wrong_setting_is_named_and_nothing_listens() {
    const URL: &str = "http://127.0.0.1:9/mcp";
    for (proxy, word) in [
        (Proxy::of("ftp://127.0.0.1/mcp"), "ftp"),
        (Proxy::of("127.0.0.1/mcp"), "upstream"),
        (Proxy::of("http://user:canary@127.0.0.1/mcp"), "credentials"),
        (Proxy::of(URL).option("--listen", "nowhere"), "nowhere"),
        (
            Proxy::of(URL).option("--management", "127.0.0.1"),
            "127.0.0.1",
        ),
        (
            Proxy::of(URL).option("--policy", "/nonexistent.yaml"),
            "/nonexistent.yaml",
        ),
        (Proxy::of(URL).option("--mode", "sometimes"), "sometimes"),
        (
            Proxy::of(URL).option("--listen", "192.0.2.1:80"),
            "192.0.2.1:80",
        ),
    ] {
        let (status, said) = proxy.run_to_end();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.contains(word) && !said.contains("firewall up"),
            "{said}"
        );
        assert!(!said.contains("canary"), "{said}");
    }
}

#[test]
fn a_container_asks_whether_traffic_is_taken() {
    let upstream = Upstream::honest();
    let gateway = Proxy::before(&upstream).start();
    let ask = |address: &str| {
        let mut command = crate::support::clean(&gateway.dir);
        command.args(["healthcheck", "--management", address]);
        command.output().unwrap()
    };
    let answer = ask(&gateway.management.to_string());
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    assert_eq!(answer.stdout, b"ready\n");
    let nobody = ask("127.0.0.1:1");
    assert_eq!(nobody.status.code(), Some(1));
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(said.contains("does not answer at 127.0.0.1:1"), "{said}");
    gateway.stop();
}
