//! The program as a process: its child, its signals, its streams, its memory.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use crate::support::{
    Dir, Session, Wrap, call, eventually, fake_peer, initialize, records, request,
};

const SECOND: Duration = Duration::from_secs(1);

fn ping(id: i64) -> Value {
    request(id, "ping", &json!({}))
}

#[test]
fn the_exit_status_is_the_servers() {
    for (modes, expected) in [
        (&["--exit", "0"][..], 0),
        (&["--exit", "3"], 3),
        (&["--exit", "255"], 255),
        (&["--raise", "15"], 128 + 15),
        (&["--raise", "9"], 128 + 9),
    ] {
        let mut session = Wrap::fake(modes).start();
        session.ask(&ping(1));
        assert_eq!(session.finish().code(), Some(expected), "{modes:?}");
    }
}

#[test]
fn arguments_reach_the_server_untouched() {
    let mut wrap = Wrap::fake(&["--args"]);
    let file = wrap.dir.join("args");
    wrap = wrap.arg(&file);
    let odd = [
        "--",
        "",
        "two words",
        "a\"b'c",
        "--policy",
        "$HOME `id` \\",
        "--",
        "-x",
        "é\u{1F511}",
        "*",
    ];
    for arg in odd {
        wrap = wrap.arg(arg);
    }
    let mut session = wrap.start();
    session.ask(&ping(1));
    let got: Vec<String> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(got[2..], odd);
    assert_eq!(session.finish().code(), Some(0));
}

#[test]
fn standard_error_passes_and_standard_output_carries_only_messages() {
    let mut session = Wrap::fake(&["--stderr", "hello from the server"]).start();
    session.ask(&initialize(1));
    session.send_bytes(b"garbage\n\n   \n");
    session.ask(&call(
        2,
        "read_file",
        &json!({ "path": "/root/.ssh/id_rsa" }),
    ));
    session.close();
    session.drain();
    assert_eq!(session.wait().code(), Some(0));
    assert!(session.stderr().contains("hello from the server"));
    for line in &session.seen {
        let message: Value = serde_json::from_slice(line).unwrap();
        assert_eq!(message["jsonrpc"], "2.0");
    }
    assert_eq!(session.seen.len(), 3);
    session.verify();
}

#[test]
fn a_command_that_cannot_be_started_is_said_plainly() {
    let mut session = Wrap::of(["/nonexistent/server", "x"]).start();
    assert_eq!(session.drain(), Vec::<Value>::new());
    assert_eq!(session.wait().code(), Some(1));
    assert!(
        session.stderr().contains("/nonexistent/server"),
        "{}",
        session.stderr()
    );
    session.verify();
    let dir = Dir::new();
    let plain = dir.join("plain");
    std::fs::write(&plain, "no program").unwrap();
    let mut session = Wrap::of([plain]).start();
    assert_eq!(session.wait().code(), Some(1));
}

/// Dead, or only waiting to be reaped by whoever inherited it.
fn is_gone(pid: Pid) -> bool {
    if test_kill_process(pid).is_err() {
        return true;
    }
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    std::fs::read_to_string(stat).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}

fn grandchild(wrap: Wrap) -> (Session, Pid) {
    let file = wrap.dir.join("grandchild");
    let mut session = wrap.arg("--grandchild").arg(&file).start();
    session.ask(&ping(1));
    let pid = Pid::from_raw(std::fs::read_to_string(&file).unwrap().parse().unwrap()).unwrap();
    assert!(!is_gone(pid));
    (session, pid)
}

#[test]
fn the_end_of_input_ends_the_server_and_what_it_started() {
    let (mut session, pid) = grandchild(Wrap::fake(&["--exit", "4"]));
    let start = Instant::now();
    session.close();
    assert_eq!(session.wait().code(), Some(4));
    assert!(start.elapsed() < 30 * SECOND);
    assert!(eventually(5 * SECOND, || is_gone(pid)));
    session.verify();
}

#[test]
fn signals_are_passed_on_and_end_the_whole_group() {
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT")] {
        let wrap = Wrap::fake(&["--note"]);
        let note = wrap.dir.join("note");
        let (mut session, pid) = grandchild(wrap.arg(&note));
        session.signal(signal);
        assert_eq!(
            session.wait().code(),
            Some(9),
            "{name}: {}",
            session.stderr()
        );
        assert_eq!(std::fs::read_to_string(&note).unwrap(), name);
        assert!(eventually(5 * SECOND, || is_gone(pid)), "{name}");
        session.verify();
    }
}

#[test]
fn a_server_that_ignores_the_end_is_told_then_killed() {
    let (mut session, pid) = grandchild(Wrap::fake(&["--ignore-eof"]));
    session.close();
    assert_eq!(session.wait().code(), Some(128 + 15));
    assert!(eventually(5 * SECOND, || is_gone(pid)));

    let (mut session, pid) = grandchild(Wrap::fake(&["--ignore-eof", "--ignore-term"]));
    session.close();
    assert_eq!(session.wait().code(), Some(128 + 9));
    assert!(eventually(5 * SECOND, || is_gone(pid)));
    session.verify();
}

#[test]
fn a_server_that_dies_leaves_no_request_without_an_answer() {
    let mut session = Wrap::fake(&["--crash-after", "20"]).start();
    for id in 1..=20 {
        session.send(&if id % 2 == 0 {
            ping(id)
        } else {
            call(id, "echo", &json!({ "n": id }))
        });
    }
    let answers = session.drain();
    let mut ids: Vec<i64> = answers
        .iter()
        .map(|answer| answer["id"].as_i64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=20).collect::<Vec<_>>());
    for answer in &answers {
        let is_call = answer["id"].as_i64().unwrap() % 2 == 1;
        assert_eq!(answer["result"]["isError"] == true, is_call, "{answer}");
        assert_eq!(answer["error"]["code"] == 1503, !is_call, "{answer}");
    }
    // Its input is still open: the end came from the server.
    assert_eq!(session.wait().code(), Some(7));
    session.verify();
}

#[test]
fn every_answer_arrives_although_the_client_has_ended_its_input() {
    let mut session = Wrap::fake(&["--slow", "5"]).start();
    for id in 0..50 {
        session.send(&ping(id));
    }
    session.close();
    let answers = session.drain();
    assert_eq!(answers.len(), 50);
    assert!(answers.iter().all(|answer| answer.get("result").is_some()));
    assert_eq!(session.wait().code(), Some(0));
}

#[test]
fn messages_of_a_mebibyte_pass_whole() {
    let mut session = Wrap::fake(&[]).start();
    for (id, size) in [(1, 1 << 20), (2, 3 << 20), (3, 10)] {
        let text = "The quick brown fox. ".repeat(size / 21 + 1);
        let answer = session.ask(&call(id, "echo", &json!({ "text": text })));
        let got: Value =
            serde_json::from_str(answer["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
        assert!(got["text"] == text.as_str(), "{size}");
    }
    assert_eq!(session.finish().code(), Some(0));
}

#[test]
fn a_line_beyond_the_limit_is_refused_and_the_next_one_passes() {
    let mut session = Wrap::fake(&[]).option("--max-frame", "64KiB").start();
    let long = call(1, "echo", &json!({ "text": "x".repeat(200_000) })).to_string();
    // The id in front, where it can still be read.
    let long = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,{}\n",
        &long[1..].replacen("\"id\":1,\"jsonrpc\":\"2.0\",", "", 1)
    );
    session.send_bytes(long.as_bytes());
    let refused = session.answer_to(&json!(1));
    assert_eq!(refused["error"]["code"], 1429, "{refused}");
    assert_eq!(session.ask(&ping(2))["result"], json!({}));

    // The server's own long line: the waiting client is told in its place.
    let script = session.dir.join("script");
    std::fs::create_dir(&script).unwrap();
    drop(session);
    let wrap = Wrap::fake(&["--script"]).option("--max-frame", "64KiB");
    let script = wrap.dir.join("script");
    std::fs::create_dir(&script).unwrap();
    let long = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{{\"x\":\"{}\"}}}}\n",
        "y".repeat(300_000)
    );
    std::fs::write(script.join("long"), long).unwrap();
    let mut session = wrap.arg(&script).start();
    let answer = session.ask(&request(5, "tools/list", &json!({ "cursor": "long" })));
    assert_eq!(answer["error"]["code"], 1503, "{answer}");
    assert_eq!(session.ask(&ping(6))["result"], json!({}));
    assert_eq!(session.finish().code(), Some(0));
}

/// Memory the process has resident, in bytes.
#[cfg(target_os = "linux")]
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn a_flood_to_a_slow_client_is_held_back_not_held_in_memory() {
    use std::io::Read;
    const FLOOD: usize = 200 * 1000 * 1000;
    let mut wrap = Wrap::fake(&["--flood"]).arg(FLOOD.to_string());
    wrap = wrap.option("--audit-durability", "flush");
    let mut child = wrap.to_command().spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    // Rules and patterns are in memory before the first answer, whatever the traffic.
    std::io::Write::write_all(&mut stdin, b"garbage\n").unwrap();
    let mut buffer = vec![0; 1 << 20];
    assert!(stdout.read(&mut buffer).unwrap() > 0);
    let idle = resident(child.id());
    std::io::Write::write_all(&mut stdin, format!("{}\n", ping(1)).as_bytes()).unwrap();
    // Not reading at all for a while, then a little at a time, then as fast as it comes.
    let mut most = 0;
    let mut total = 0;
    for _ in 0..20 {
        std::thread::sleep(SECOND / 10);
        most = most.max(resident(child.id()));
    }
    for _ in 0..100 {
        total += stdout.read(&mut buffer[..4096]).unwrap();
        std::thread::sleep(SECOND / 200);
        most = most.max(resident(child.id()));
    }
    while total < FLOOD {
        let n = stdout.read(&mut buffer).unwrap();
        assert!(n > 0, "the output ended after {total} bytes");
        total += n;
        most = most.max(resident(child.id()));
    }
    eprintln!(
        "resident: {} KiB idle, at most {} KiB under a flood",
        idle >> 10,
        most >> 10
    );
    assert!(
        most < idle + (24 << 20),
        "{most} bytes resident, {idle} when idle"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_does_not_read_holds_its_client_back() {
    let mut session = Wrap::fake(&["--slow", "600000"])
        .option("--audit-durability", "async")
        .start();
    let line = format!(
        "{}\n",
        call(1, "echo", &json!({ "text": "lorem ipsum ".repeat(4000) }))
    );
    let (done, wait) = std::sync::mpsc::channel();
    let pid = session.pid();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sent = 0_u32;
            for id in 0..2000 {
                let line = line.replacen("\"id\":1,", &format!("\"id\":{id},"), 1);
                if session.try_send(line.as_bytes()).is_err() {
                    break;
                }
                sent += 1;
            }
            done.send(sent).unwrap();
        });
        // 96 MB would take a second; a blocked writer is still at it after three.
        assert!(
            wait.recv_timeout(3 * SECOND).is_err(),
            "the client was not held back"
        );
        kill_process(pid, Signal::KILL).unwrap();
        let sent = wait.recv().unwrap();
        assert!(sent < 100, "{sent} messages were swallowed");
    });
}

#[test]
fn the_kill_switch_by_file_stops_everything_until_it_is_gone() {
    let mut session = Wrap::fake(&[]).start();
    let kill = session.dir.join("kill");
    assert!(session.ask(&ping(1)).get("result").is_some());
    std::fs::write(&kill, "").unwrap();
    let mut id = 1;
    let mut stopped = |session: &mut Session| {
        id += 1;
        session.ask(&ping(id))["error"]["data"]["stage"] == "kill_switch"
    };
    assert!(eventually(10 * SECOND, || stopped(&mut session)));
    std::fs::remove_file(&kill).unwrap();
    assert!(eventually(10 * SECOND, || !stopped(&mut session)));
    assert_eq!(session.finish().code(), Some(0));
}

#[test]
fn a_session_that_starts_under_the_kill_switch_lets_nothing_pass() {
    let wrap = Wrap::fake(&["--record"]);
    let record = wrap.dir.join("record");
    std::fs::write(wrap.dir.join("kill"), "").unwrap();
    let mut session = wrap.arg(&record).start();
    assert_eq!(
        session.ask(&initialize(1))["error"]["data"]["stage"],
        "kill_switch"
    );
    session.send_bytes(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
    assert_eq!(session.finish().code(), Some(0));
    assert_eq!(std::fs::read(&record).unwrap_or_default(), b"");
}

#[test]
fn the_kill_switch_by_signal() {
    let mut session = Wrap::fake(&[]).start();
    session.ask(&ping(0));
    let mut id = 0;
    for (signal, on) in [
        (Signal::USR1, true),
        (Signal::USR2, false),
        (Signal::USR1, true),
    ] {
        session.signal(signal);
        assert!(eventually(10 * SECOND, || {
            id += 1;
            (session.ask(&ping(id))["error"]["data"]["stage"] == "kill_switch") == on
        }));
    }
    session.close();
    session.wait();
    let names: Vec<Value> = session
        .records()
        .iter()
        .filter(|r| r["type"] == "event")
        .cloned()
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    session.verify();
}

const ASK: &str = "version: 1\ndefault: allow\nrules:\n  - name: ask-first\n    match:\n      tools: [pay]\n    action: prompt\n    message: money leaves\n";

#[test]
fn approval_without_a_terminal_is_a_denial() {
    use std::os::unix::process::CommandExt;
    // A session of its own has no controlling terminal.
    let wrap = Wrap::fake(&[]).policy(ASK);
    let mut command = Command::new("setsid");
    command
        .arg("--wait")
        .arg(crate::support::program())
        .args(wrap.args());
    let clean = crate::support::clean(&wrap.dir);
    for (name, value) in clean.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.process_group(0);
    let input = format!("{}\n", call(1, "pay", &json!({ "amount": 5 })));
    let output = feed(&mut command, &input);
    let answer: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("terminal") && text.contains("[ask-first]"),
        "{text}"
    );
    let denied = records(&wrap.dir)
        .into_iter()
        .find(|r| r["tool"] == "pay")
        .unwrap();
    assert_eq!(denied["decision"], "deny");
    assert_eq!(denied["reason"]["stage"], "approval");
}

fn feed(command: &mut Command, input: &str) -> String {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Runs argv[4:] with a terminal of its own, streams on pipes; types argv[1] each time argv[2] is
/// shown; sends the lines of argv[3], prints what comes back and, last, what was shown.
const TYPIST: &str = r#"
import json, os, pty, select, subprocess, sys
typed, shown_first, lines = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3].encode()
master, slave = pty.openpty()
def lead():
    os.setsid()
    import fcntl, termios
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
child = subprocess.Popen(sys.argv[4:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=lead)
child.stdin.write(lines); child.stdin.flush()
shown, out, wanted, at = b"", b"", lines.count(b"\n"), 0
while out.count(b"\n") < wanted:
    ready, _, _ = select.select([master, child.stdout], [], [], 30)
    if not ready: break
    if master in ready:
        shown += os.read(master, 4096)
        while shown.find(shown_first, at) >= 0:
            at = shown.find(shown_first, at) + len(shown_first)
            os.write(master, typed)
    if child.stdout in ready:
        chunk = os.read(child.stdout.fileno(), 65536)
        if not chunk: break
        out += chunk
child.stdin.close()
child.wait(30)
sys.stdout.write(json.dumps({"out": out.decode().splitlines(), "shown": shown.decode()}))
"#;

fn at_a_terminal(wrap: &Wrap, typed: &str, calls: &[Value]) -> (Vec<Value>, String) {
    let lines: String = calls.iter().map(|call| format!("{call}\n")).collect();
    let mut command = Command::new("python3");
    command
        .args(["-c", TYPIST, typed, "[y/N]", &lines])
        .arg(crate::support::program())
        .args(wrap.args());
    let clean = crate::support::clean(&wrap.dir);
    for (name, value) in clean.get_envs() {
        if let (Some(value), true) = (value, name != "HOME") {
            command.env(name, value);
        }
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let got: Value = serde_json::from_slice(&output.stdout).unwrap();
    let out = got["out"].as_array().unwrap().iter();
    let answers = out
        .map(|line| serde_json::from_str(line.as_str().unwrap()).unwrap())
        .collect();
    (answers, got["shown"].as_str().unwrap().to_owned())
}

#[test]
fn a_person_at_the_terminal_decides() {
    let pay = call(1, "pay", &json!({ "to": "\u{1b}[2Jbob" }));
    let wrap = Wrap::fake(&[]).policy(ASK);
    let (answers, shown) = at_a_terminal(&wrap, "y\n", std::slice::from_ref(&pay));
    assert_eq!(
        answers[0]["result"]["isError"], false,
        "{answers:?} {shown}"
    );
    for part in ["pay", "money leaves", "ask-first", "bob"] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
    assert!(
        !shown.contains('\u{1b}'),
        "a control sequence reached the terminal: {shown:?}"
    );
    let record = records(&wrap.dir)
        .into_iter()
        .find(|r| r["tool"] == "pay")
        .unwrap();
    assert_eq!(record["decision"], "allow");
    assert!(
        record["reason"]["text"]
            .as_str()
            .unwrap()
            .contains("approved"),
        "{record}"
    );

    for typed in ["n\n", "\n", "yikes\n"] {
        let wrap = Wrap::fake(&[]).policy(ASK);
        let (answers, shown) = at_a_terminal(&wrap, typed, std::slice::from_ref(&pay));
        assert_eq!(
            answers[0]["result"]["isError"], true,
            "{typed:?}: {answers:?} {shown}"
        );
    }

    // Other calls go on while a person thinks, and several questions come one after another.
    let wrap = Wrap::fake(&[]).policy(ASK);
    let calls = [pay, call(2, "pay", &json!({})), ping(3)];
    let (answers, shown) = at_a_terminal(&wrap, "yes\n", &calls);
    assert_eq!(answers.len(), 3, "{answers:?} {shown}");
    assert!(
        answers
            .iter()
            .all(|answer| answer["result"]["isError"] != true)
    );
}

#[test]
fn nobody_answers_in_time() {
    let wrap = Wrap::fake(&[])
        .policy(ASK)
        .option("--approval-timeout", "1s");
    let (answers, shown) = at_a_terminal(&wrap, "", &[call(1, "pay", &json!({}))]);
    assert_eq!(answers[0]["result"]["isError"], true, "{answers:?}");
    assert!(shown.contains("no answer in time"), "{shown}");
}

#[test]
fn a_wrong_setting_is_named_and_nothing_is_started() {
    for (name, value) in [
        ("--policy", "/nonexistent.yaml"),
        ("--mode", "sometimes"),
        ("--max-frame", "1"),
    ] {
        let wrap = Wrap::fake(&["--grandchild"]);
        let file = wrap.dir.join("started");
        let mut session = wrap.arg(&file).option(name, value).start();
        assert_eq!(session.drain(), Vec::<Value>::new());
        assert_eq!(session.wait().code(), Some(1), "{name}");
        assert!(!session.stderr().is_empty());
        assert!(!file.exists(), "{name}: the server was started");
    }
    assert!(std::path::Path::new(fake_peer()).exists());
}
