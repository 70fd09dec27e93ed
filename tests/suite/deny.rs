//! What a client reads when its call is refused.

use serde_json::{Value, json};

use mcpf_tests::to_modern;

use crate::support::{Session, Wrap, call, initialize, request};

const CANARY: &str = "/home/canary-4711/.ssh/id_ed25519";

fn forbidden(id: i64) -> Value {
    call(id, "read_file", &json!({ "path": CANARY }))
}

/// The record that an answer's reference names.
fn referred(session: &Session, reference: &str) -> Value {
    let (run, seq) = reference.split_once('/').unwrap();
    let seq: u64 = seq.parse().unwrap();
    let all = session.records();
    let found = all
        .into_iter()
        .find(|r| r["session"] == run && r["seq"] == seq);
    found.unwrap_or_else(|| panic!("no record {reference}"))
}

fn reference_in(text: &str) -> &str {
    let (_, rest) = text.split_once("Audit reference: ").unwrap();
    rest.trim_end_matches('.')
}

#[test]
fn a_refused_call_is_a_result_that_names_its_record() {
    let mut session = Wrap::fake(&[]).start();
    session.ask(&initialize(1));
    let answer = session.ask(&forbidden(2));
    assert_eq!(answer["result"]["isError"], true);
    assert_eq!(answer["result"].get("resultType"), None);
    assert_eq!(answer.get("error"), None);
    assert_eq!(answer["result"]["content"].as_array().unwrap().len(), 1);
    assert_eq!(answer["result"]["content"][0]["type"], "text");
    let text = answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(text.starts_with("Blocked by mcp-firewall: "), "{text}");
    assert!(
        !text.contains("canary"),
        "the refused text comes back: {text}"
    );
    let record = referred(&session, reference_in(&text));
    assert_eq!(
        (&record["request"], &record["decision"]),
        (&json!(2), &json!("deny"))
    );
    assert_eq!(record["tool"], "read_file");
    assert_eq!(session.finish().code(), Some(0));
}

#[test]
fn a_modern_refusal_carries_its_result_type() {
    let mut session = Wrap::fake(&[]).start();
    let answer = session.ask(&to_modern(forbidden(2)));
    assert_eq!(answer["result"]["isError"], true);
    assert_eq!(answer["result"]["resultType"], "complete");
    assert!(
        session
            .ask(&to_modern(call(3, "echo", &json!({}))))
            .get("result")
            .is_some()
    );
    assert_eq!(session.finish().code(), Some(0));
}

#[test]
fn deny_as_error_is_an_error_outside_the_reserved_range() {
    let mut session = Wrap::fake(&[]).option("--deny-as", "error").start();
    for answer in [
        session.ask(&forbidden(2)),
        session.ask(&to_modern(forbidden(3))),
    ] {
        assert_eq!(answer.get("result"), None);
        assert_eq!(answer["error"]["code"], 1403);
        let data = &answer["error"]["data"];
        assert!(
            data["stage"].is_string() && data["rule"].is_string(),
            "{answer}"
        );
        let record = referred(&session, data["reference"].as_str().unwrap());
        assert_eq!(record["request"], answer["id"]);
        assert!(!answer.to_string().contains("canary"));
    }
    assert_eq!(session.finish().code(), Some(0));
}

#[test]
fn what_is_no_tool_call_is_refused_with_an_error() {
    let mut session = Wrap::fake(&[]).start();
    let answer = session.ask(&request(
        2,
        "resources/read",
        &json!({ "uri": format!("file://{CANARY}") }),
    ));
    assert_eq!(answer["error"]["code"], 1403, "{answer}");
    assert!(!answer.to_string().contains("canary"));
    assert_eq!(session.finish().code(), Some(0));
}

#[test]
fn ids_come_back_as_they_were_spelled() {
    let mut session = Wrap::fake(&[]).start();
    for id in [
        json!("7"),
        json!(7),
        json!(-3),
        json!(9_007_199_254_740_991_i64),
        json!("ü\"\\/"),
        json!(""),
    ] {
        let mut call = forbidden(0);
        call["id"] = id.clone();
        assert_eq!(session.ask(&call)["result"]["isError"], true);
    }
    assert_eq!(session.finish().code(), Some(0));
}

#[test]
fn monitor_mode_lets_it_through_and_says_so_in_the_log() {
    let mut session = Wrap::fake(&[]).option("--mode", "monitor").start();
    let answer = session.ask(&forbidden(2));
    assert!(
        answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("canary")
    );
    let record = session
        .records()
        .into_iter()
        .find(|r| r["tool"] == "read_file")
        .unwrap();
    assert_eq!(
        (&record["decision"], &record["mode"]),
        (&json!("monitor"), &json!("monitor"))
    );
    assert_eq!(session.finish().code(), Some(0));
}

#[test]
fn a_secret_in_an_answer_is_replaced_and_the_rest_is_as_it_was() {
    let wrap = Wrap::fake(&["--script"]);
    let script = wrap.dir.join("script");
    std::fs::create_dir(&script).unwrap();
    let key = format!("AKIA{}", "QZ7T5JXWK2MVPL3N");
    let line =
        format!(r#"{{"jsonrpc":"2.0" , "id":1,"result":{{"x":[1.50,"a {key} b"],"e":"\u00e9"}}}}"#);
    std::fs::write(script.join("secret"), format!("{line}\n")).unwrap();
    let mut session = wrap.arg(&script).start();
    session.send(&request(1, "tools/list", &json!({ "cursor": "secret" })));
    session.answer_to(&json!(1));
    let got = String::from_utf8(session.seen[0].clone()).unwrap();
    assert!(!got.contains(&key), "{got}");
    let (head, tail) = line.split_once(&key).unwrap();
    let replaced = got.strip_prefix(head).unwrap().strip_suffix(tail).unwrap();
    assert!(
        replaced.starts_with("[REDACTED:") && replaced.ends_with(']'),
        "{replaced}"
    );
    let log = session.records();
    assert!(log.iter().any(|r| r["decision"] == "redact"), "{log:?}");
    assert!(log.iter().all(|r| !r.to_string().contains(&key)));
    assert_eq!(session.finish().code(), Some(0));
}
