//! What a record holds, and how it is spelt.

use crate::common::{Scratch, entry, now, open, open_with, put, settings, verify_file};
use mcpf_audit::{
    Arguments, Durability, Ending, Event, FindingRecord, Location, MAX_ARGUMENTS, MAX_FINDINGS,
    MAX_LINE, MAX_NAME, ResultSummary,
};
use mcpf_model::{
    Action, Family, Reason, ReasonCode, RequestId, Severity, Span, Stage, Surface, View,
};
use serde_json::{Value, json};

fn records(path: &std::path::Path) -> Vec<Value> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What is flushed does not wait for its signature, which follows although nothing else happens.
#[test]
fn what_is_flushed_is_signed_soon_after() {
    let scratch = Scratch::new();
    let (log, _) = open(&scratch.file());
    for n in 0..5 {
        let ticket = log.append(entry(n)).unwrap();
        while !log.is_recorded(ticket) {
            std::thread::yield_now();
        }
    }
    let last = loop {
        let records = records(&scratch.file());
        let last = records.last().unwrap().clone();
        if last["type"] == "seal" {
            break last;
        }
        std::thread::yield_now();
    };
    assert!(last["sig"].is_string());
    let report = verify_file(&scratch.file()).unwrap();
    assert_eq!(report.decisions(), 5);
    let closed = log.close().unwrap();
    assert_eq!(closed.decisions, 5);
}

#[test]
fn a_round_trip() {
    let scratch = Scratch::new();
    let mut settings = settings(Location::File(scratch.file()));
    settings.durability = Durability::Fsync;
    let (log, recovery) = open_with(&settings, 0);
    assert_eq!(recovery, mcpf_audit::Recovery::default());
    let mut whole = entry(2);
    whole.tenant = Some("acme".into());
    whole.server = Some("files".into());
    whole.resource = Some("file:///etc/hosts".into());
    whole.prompt = Some("greet".into());
    whole.request = Some(RequestId::String("7".into()));
    whole.result = Some(ResultSummary {
        bytes: 12,
        is_error: true,
    });
    whole.labels = vec![
        ("team".into(), "red".into()),
        ("team".into(), "blue".into()),
    ];
    whole.policy = Some("p1".into());
    whole.rules = Some("r1".into());
    whole.upstream = Some("npx server".into());
    whole.latency_ns = Some(1_234);
    put(&log, whole);
    let detail = vec![("revision", "p2".into())];
    let _ = log
        .append_event(Event {
            time: now(3),
            monotonic_ns: 3,
            name: "reload",
            detail,
        })
        .unwrap();
    let closed = log.close().unwrap();

    let records = records(&scratch.file());
    assert_eq!(records.len(), 4);
    let mut decision = records[1].clone();
    for tail in ["prev", "hash", "sig"] {
        assert!(
            decision.as_object_mut().unwrap().remove(tail).is_some(),
            "{tail}"
        );
    }
    assert_eq!(
        decision,
        json!({
            "v": 1, "seq": 1, "group": 1, "type": "decision", "time": "2026-11-18T11:06:42.000000Z", "mono": 2,
            "direction": "inbound", "kind": "request", "method": "tools/call", "agent": "cursor", "tenant": "acme",
            "session": "s1", "server": "files", "tool": "read_file", "resource": "file:///etc/hosts",
            "prompt": "greet", "request": "7", "arguments": {"path": "/tmp/2"},
            "result": {"bytes": 12, "is_error": true}, "decision": "deny",
            "reason": {"stage": "secrets", "code": "denied", "rule": "SEC-AWS-001", "text": "holds a secret"},
            "findings": [{"rule": "SEC-AWS-001", "family": "secret", "severity": "high", "action": "block",
                "surface": "arguments", "view": "plain", "span": [10, 30]}],
            "labels": {"team": "red"}, "policy": "p1", "rules": "r1", "mode": "enforce", "upstream": "npx server",
            "latency_ns": 1234, "truncated": ["labels"],
        })
    );
    assert_eq!(
        (&records[2]["type"], &records[2]["detail"]),
        (&json!("event"), &json!({"revision": "p2"}))
    );
    assert_eq!(
        (&records[0]["durability"], &records[0]["loss_window_ms"]),
        (&json!("fsync"), &json!(0))
    );

    let report = verify_file(&scratch.file()).unwrap();
    let file = &report.files[0];
    assert_eq!(
        (file.records, file.verdicts.deny, file.runs, file.ending),
        (4, 1, 1, Ending::Closed)
    );
    assert_eq!(
        file.last.as_ref().map(|last| (last.seq, last.hash)),
        Some((closed.seq, closed.hash))
    );
    assert!(report.warnings().is_empty());
}

#[test]
fn peers_cannot_break_a_line() {
    let scratch = Scratch::new();
    let (log, _) = open(&scratch.file());
    let evil = "a\"\n\r\u{0}\u{1b}]8;;x\u{7}\u{202e}\u{2028}\u{200b}\u{feff}\u{e0041}\\}";
    let mut hostile = entry(1);
    for slot in [
        &mut hostile.method,
        &mut hostile.tool,
        &mut hostile.resource,
        &mut hostile.prompt,
    ] {
        *slot = Some(evil.into());
    }
    hostile.agent = evil.into();
    hostile.request = Some(RequestId::String(evil.into()));
    hostile.labels = vec![(evil.into(), evil.into())];
    hostile.arguments = Some(Arguments {
        text: evil.into(),
        truncated: false,
    });
    put(&log, hostile);
    let mut spaced = entry(2);
    spaced.arguments = Some(Arguments {
        text: "{\n\"a\":\t\"\u{202e}\u{7f}\"}".into(),
        truncated: true,
    });
    put(&log, spaced);
    log.close().unwrap();
    let bytes = std::fs::read(scratch.file()).unwrap();
    assert!(bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
    let records = records(&scratch.file());
    assert_eq!(records.len(), 4);
    for member in [
        "method",
        "tool",
        "resource",
        "prompt",
        "agent",
        "request",
        "arguments",
    ] {
        assert_eq!(records[1][member], evil, "{member}");
    }
    assert_eq!(records[1]["labels"][evil], evil);
    assert_eq!(records[2]["arguments"], json!({"a": "\u{202e}\u{7f}"}));
    assert_eq!(records[2]["truncated"], json!(["arguments"]));
    verify_file(&scratch.file()).unwrap();
}

#[test]
fn the_largest_record_fits_its_limit() {
    let scratch = Scratch::new();
    let (log, _) = open(&scratch.file());
    let long: std::sync::Arc<str> = "\u{1}".repeat(100_000).into();
    let mut big = entry(1);
    for slot in [
        &mut big.method,
        &mut big.tenant,
        &mut big.server,
        &mut big.tool,
        &mut big.resource,
        &mut big.prompt,
        &mut big.policy,
        &mut big.rules,
        &mut big.upstream,
    ] {
        *slot = Some(long.clone());
    }
    big.agent = long.clone();
    big.session = long.clone();
    big.request = Some(RequestId::String(long.clone()));
    big.arguments = Some(Arguments {
        text: (&*long).into(),
        truncated: false,
    });
    big.reason = Some(Reason {
        stage: Stage::ToolIntegrity,
        code: ReasonCode::PeerMisbehaved,
        rule: Some(long.clone()),
        text: long.to_string(),
    });
    big.labels = (0..100)
        .map(|n| (format!("{n}{long}").into(), long.clone()))
        .collect();
    big.findings = vec![
        FindingRecord {
            rule: long.clone(),
            family: Family::Injection,
            severity: Severity::Critical,
            action: Action::Redact,
            surface: Surface::ToolDescription,
            view: View::Normalised,
            span: Span {
                start: u32::MAX,
                end: u32::MAX
            },
        };
        1_024
    ];
    put(&log, big);
    log.close().unwrap();
    let records = records(&scratch.file());
    assert_eq!(
        records[1]["findings"].as_array().unwrap().len(),
        MAX_FINDINGS
    );
    assert_eq!(records[1]["findings_omitted"], 1_024 - MAX_FINDINGS);
    assert_eq!(records[1]["tool"].as_str().unwrap().len(), MAX_NAME);
    assert_eq!(
        records[1]["arguments"].as_str().unwrap().len(),
        MAX_ARGUMENTS
    );
    let text = std::fs::read_to_string(scratch.file()).unwrap();
    let longest = text.lines().map(str::len).max().unwrap();
    assert!(longest < MAX_LINE, "{longest}");
    verify_file(&scratch.file()).unwrap();
}
