//! SIGHUP under load: policies change, and every request is decided by exactly one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Ask, Gateway, PATIENCE, Proxy, Upstream, call, eventually};

const RELOADS: usize = 200;

/// A policy whose every word says which one it is.
fn policy(name: &str) -> String {
    format!(
        "version: 1\ndefault: allow\nrules:\n  - name: by-{name}\n    match: {{ tools: [pick] }}\n    \
         action: deny\n    message: {name} decides\n"
    )
}

/// Puts `text` where the policy is, whole or not at all.
fn put(policy: &Path, text: &str) {
    let new = policy.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, policy).unwrap();
}

/// Which policy denied a call of `pick`, by its own word.
fn decider(answer: &Value) -> &'static str {
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    match ["alpha", "beta"].map(|name| text.contains(&format!("{name} decides [by-{name}]"))) {
        [true, false] => "alpha",
        [false, true] => "beta",
        _ => panic!("{text}"),
    }
}

fn pick(gateway: &Gateway) -> &'static str {
    decider(
        &gateway
            .ask(&Ask::post(&call(1, "pick", &json!({}))))
            .answer_to(&json!(1)),
    )
}

fn said(gateway: &Gateway, what: &str) -> usize {
    gateway.stderr().matches(what).count()
}

/// Sends calls until `is_over`, some allowed and some denied, and gives how many of each.
fn calls(gateway: &Gateway, is_over: &AtomicBool, sent: &AtomicU64) {
    let mut client = gateway.connect();
    let mut id = 0;
    while !is_over.load(Ordering::Relaxed) {
        id += 1;
        let tool = if id % 2 == 0 { "pick" } else { "echo" };
        let message = call(id, tool, &json!({ "text": "x" }));
        let ask = if id % 3 == 0 {
            Ask::modern(message).with("Mcp-Name", tool)
        } else {
            Ask::post(&message)
        };
        let answer = client.ask(&ask).answer_to(&json!(id));
        match tool {
            "pick" => {
                decider(&answer);
            }
            _ => assert_eq!(answer["result"]["isError"], false, "{answer}"),
        }
        sent.fetch_add(1, Ordering::Relaxed);
        // Reading policies takes most of the time: it should have the processor.
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_request_is_decided_by_one_policy_however_often_it_changes() {
    let upstream = Upstream::honest();
    let proxy = Proxy::before(&upstream).policy(&policy("alpha"));
    let file = proxy.dir.join("policy.yaml");
    let gateway = proxy.start();
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| calls(&gateway, &is_over, &sent)))
            .collect();
        let mut name = "alpha";
        for round in 0..RELOADS {
            if round % 10 == 9 {
                // Not a policy: the old one stays.
                let refused = said(&gateway, "the old configuration goes on");
                let bad =
                    ["version: 1\nrules: {", "version: 1\nsurprise: true\n", ""][round / 10 % 3];
                put(&file, bad);
                gateway.signal(Signal::HUP);
                let again = || said(&gateway, "the old configuration goes on") > refused;
                assert!(eventually(PATIENCE, again), "{}", gateway.stderr());
            } else {
                name = if name == "alpha" { "beta" } else { "alpha" };
                put(&file, &policy(name));
                gateway.signal(Signal::HUP);
                assert!(
                    eventually(PATIENCE, || pick(&gateway) == name),
                    "{}",
                    gateway.stderr()
                );
            }
            assert_eq!(pick(&gateway), name);
        }
        is_over.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().unwrap();
        }
    });
    let sent = sent.load(Ordering::Relaxed);
    eprintln!("{RELOADS} reloads under {sent} requests");
    assert!(sent > 2_000, "{sent}");
    // Rule and revision agree in every record: none was decided by parts of two policies.
    let records = gateway.records();
    let mut rules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let picked = records.iter().filter(|record| record["tool"] == "pick");
    for record in picked.clone() {
        assert_eq!(record["decision"], "deny", "{record}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let rule = text(&record["reason"]["rule"]);
        rules
            .entry(text(&record["policy"]))
            .or_default()
            .insert(rule);
    }
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert!(rules.values().all(|rules| rules.len() == 1), "{rules:?}");
    assert!(u64::try_from(picked.count()).unwrap() >= sent / 2 - 4);
    gateway.stop();
}

#[test]
fn a_reload_reads_the_configuration_again_and_a_bad_one_changes_nothing() {
    let upstream = Upstream::honest();
    let proxy = Proxy::before(&upstream).policy(&policy("alpha"));
    let (file, config) = (
        proxy.dir.join("policy.yaml"),
        proxy.dir.join("mcp-firewall.yaml"),
    );
    let gateway = proxy.start();
    let good = std::fs::read_to_string(&config).unwrap();
    put(&file, &policy("beta"));
    for bad in [
        format!("{good}surprise: 1\n"),
        format!("{good}rules:\n  disable: [NO-SUCH-RULE]\n"),
        format!("{good}  request_timeout: never\n"),
    ] {
        let refused = said(&gateway, "the old configuration goes on");
        put(&config, &bad);
        gateway.signal(Signal::HUP);
        let again = || said(&gateway, "the old configuration goes on") > refused;
        assert!(eventually(PATIENCE, again), "{}", gateway.stderr());
        assert_eq!(pick(&gateway), "alpha");
    }
    // A file that is gone, and one that others may write.
    for spoil in [
        (|file| std::fs::remove_file(file).unwrap()) as fn(&Path),
        |file| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(file, policy("beta")).unwrap();
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)).unwrap();
        },
    ] {
        put(&config, &good);
        spoil(&file);
        let refused = said(&gateway, "the old configuration goes on");
        gateway.signal(Signal::HUP);
        let again = || said(&gateway, "the old configuration goes on") > refused;
        assert!(eventually(PATIENCE, again), "{}", gateway.stderr());
        assert_eq!(pick(&gateway), "alpha");
    }
    std::fs::remove_file(&file).unwrap();
    put(&file, &policy("beta"));
    gateway.signal(Signal::HUP);
    assert!(
        eventually(PATIENCE, || pick(&gateway) == "beta"),
        "{}",
        gateway.stderr()
    );
    gateway.stop();
}

#[test]
fn a_request_under_way_outlives_the_reload() {
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let goes = std::sync::Mutex::new(goes);
    let upstream = Upstream::each(move |seen, peer| {
        if seen.field("x-waits").is_some() {
            goes.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        peer.honest(seen);
    });
    let proxy = Proxy::before(&upstream).policy(&policy("alpha"));
    let file = proxy.dir.join("policy.yaml");
    let gateway = proxy.start();
    let session = gateway.session("2025-11-25", &[]);
    let mut client = gateway.connect();
    client.send(
        &Ask::post(&call(7, "echo", &json!({})))
            .session(&session)
            .with("X-Waits", "1"),
    );
    assert!(eventually(PATIENCE, || upstream.count() == 2));
    put(&file, &policy("beta"));
    gateway.signal(Signal::HUP);
    assert!(eventually(PATIENCE, || pick(&gateway) == "beta"));
    go.send(()).unwrap();
    assert_eq!(
        client.reply().unwrap().answer_to(&json!(7))["result"]["isError"],
        false
    );
    // Sessions, too.
    let ask = Ask::post(&call(8, "echo", &json!({}))).session(&session);
    assert_eq!(
        gateway.ask(&ask).answer_to(&json!(8))["result"]["isError"],
        false
    );
    gateway.stop();
}

#[test]
fn a_policy_that_changes_is_noticed_unasked() {
    let upstream = Upstream::honest();
    let proxy = Proxy::before(&upstream).policy(&policy("alpha"));
    let file = proxy.dir.join("policy.yaml");
    let gateway = proxy.start();
    assert_eq!(pick(&gateway), "alpha");
    put(&file, &policy("beta"));
    assert!(
        eventually(PATIENCE, || pick(&gateway) == "beta"),
        "{}",
        gateway.stderr()
    );
    put(&file, "version: 1\nsurprise: true\n");
    let refused = || said(&gateway, "the old configuration goes on") > 0;
    assert!(eventually(PATIENCE, refused), "{}", gateway.stderr());
    assert_eq!(pick(&gateway), "beta");
    gateway.stop();
}
