//! The audit log against sudden ends and changed bytes.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use mcpf_audit::{PUBLIC_KEY_FILE, PublicKey, verify_reader};
use mcpf_tests::Random;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Dir, Wrap, call, clean, eventually, log_files, records, verify};

/// Ids of the calls in what the fake server recorded. A last line without end was not read.
fn calls_seen(file: &Path) -> Vec<i64> {
    let bytes = std::fs::read(file).unwrap_or_default();
    let whole = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let lines = bytes[..whole]
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            serde_json::from_slice::<Value>(line).unwrap()["id"]
                .as_i64()
                .unwrap()
        })
        .collect()
}

/// Kills sessions at random moments; every call that reached the server has its record.
fn kill_at_random_moments(durability: &str, rounds: u64) {
    let mut random = Random::new(0x6b11);
    let mut most = 0;
    for round in 0..rounds {
        let wrap = Wrap::fake(&["--record"]).option("--audit-durability", durability);
        let file = wrap.dir.join("seen");
        let mut session = wrap.arg(&file).start();
        let dir = std::sync::Arc::clone(&session.dir);
        // Up to and a little beyond the first answers: the start is the most delicate part.
        let moment = Duration::from_micros(random.next_u64() % 120_000);
        if !random.percent(15) {
            session.send(&call(0, "echo", &json!({})));
            session.read();
        }
        let pid = session.pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(moment);
            let _ended = rustix::process::kill_process(pid, Signal::KILL);
        });
        for id in 1.. {
            let line = format!(
                "{}\n",
                call(
                    id,
                    "echo",
                    &json!({ "text": "x".repeat(random.below(300)) })
                )
            );
            if session.try_send(line.as_bytes()).is_err() || !session.is_running() {
                break;
            }
        }
        killer.join().unwrap();
        session.wait();
        // The server reads what is still in its pipe, answers nobody, and ends.
        let mut count = 0;
        assert!(eventually(Duration::from_secs(10), || {
            let now = calls_seen(&file).len();
            let settled = now == count;
            count = now;
            std::thread::sleep(Duration::from_millis(15));
            settled
        }));
        let seen = calls_seen(&file);
        most = most.max(seen.len());
        let begun = log_files(&dir)
            .first()
            .is_some_and(|log| std::fs::metadata(log).unwrap().len() > 0);
        if !begun {
            assert!(seen.is_empty(), "round {round}: calls without a log");
            continue;
        }
        let report = verify(&dir);
        assert_eq!(report.files.len(), 1);
        let recorded: HashSet<i64> = records(&dir)
            .iter()
            .filter(|r| r["direction"] == "inbound" && r["decision"] == "allow")
            .filter_map(|r| r["request"].as_i64())
            .collect();
        for id in seen {
            assert!(
                recorded.contains(&id),
                "round {round}: the server saw call {id}, which has no record"
            );
        }
    }
    assert!(most > 10, "no call was under way at any kill");
    eprintln!("{durability}: {rounds} kills, up to {most} calls before one");
}

#[test]
fn a_kill_at_any_moment_loses_no_record_with_fsync() {
    kill_at_random_moments("fsync", 200);
}

#[test]
fn a_kill_at_any_moment_loses_no_record_with_flush() {
    kill_at_random_moments("flush", 50);
}

#[test]
fn a_log_goes_on_after_a_kill() {
    let mut dir = None;
    for round in 0..5 {
        let mut wrap = Wrap::fake(&[]);
        if let Some(dir) = &dir {
            wrap = wrap.in_dir(dir);
        }
        let mut session = wrap.start();
        for id in 0..20 {
            session.ask(&call(id, "echo", &json!({ "round": round })));
        }
        session.signal(Signal::KILL);
        session.wait();
        dir = Some(std::sync::Arc::clone(&session.dir));
    }
    let dir = dir.unwrap();
    let report = verify(&dir);
    assert_eq!(report.files.len(), 5);
    assert!(report.decisions() >= 5 * 20);
    // One file that each run goes on with, whose last line was cut.
    let file = dir.join("one.jsonl");
    for round in 0..3 {
        let mut session = Wrap::fake(&[])
            .in_dir(&dir)
            .option("--audit-path", &file)
            .start();
        session.ask(&call(1, "echo", &json!({ "round": round })));
        session.signal(Signal::KILL);
        session.wait();
        let log = std::fs::OpenOptions::new()
            .append(true)
            .open(&file)
            .unwrap();
        std::io::Write::write_all(&mut &log, b"{\"v\":1,\"seq\":").unwrap();
    }
    let key = PublicKey::load(&dir.join(PUBLIC_KEY_FILE)).unwrap();
    let report = mcpf_audit::verify(&file, &[key]).unwrap();
    assert_eq!((report.files[0].runs, report.files[0].recoveries), (3, 2));
}

/// A small log with every kind of decision, and its key.
fn small_log() -> (std::sync::Arc<Dir>, std::path::PathBuf, PublicKey) {
    let mut session = Wrap::fake(&[]).start();
    session.ask(&call(1, "echo", &json!({ "text": "é" })));
    session.ask(&call(
        2,
        "read_file",
        &json!({ "path": "/root/.ssh/id_rsa" }),
    ));
    session.send_bytes(b"not a message\n");
    session.read();
    let dir = std::sync::Arc::clone(&session.dir);
    assert_eq!(session.finish().code(), Some(0));
    let file = log_files(&dir).remove(0);
    let key = PublicKey::load(&dir.join(PUBLIC_KEY_FILE)).unwrap();
    (dir, file, key)
}

#[test]
fn every_changed_byte_is_noticed() {
    let (_dir, file, key) = small_log();
    let good = std::fs::read(&file).unwrap();
    assert!(verify_reader(&good[..], &file, std::slice::from_ref(&key)).is_ok());
    let mut random = Random::new(1);
    for at in 0..good.len() {
        let bit = 1 << random.below(8);
        for changed in [good[at] ^ bit, b'0', b'"', b'\n', b' '] {
            if changed == good[at] {
                continue;
            }
            let mut bad = good.clone();
            bad[at] = changed;
            if at + 1 == good.len() {
                // Without its end the last line is a cut write, which a crash leaves too.
                let report = verify_reader(&bad[..], &file, std::slice::from_ref(&key));
                assert!(report.is_err() || !report.unwrap().warnings().is_empty());
                continue;
            }
            let verdict = verify_reader(&bad[..], &file, std::slice::from_ref(&key));
            assert!(
                verdict.is_err(),
                "byte {at} of {} as {changed:?} goes unnoticed",
                good.len()
            );
        }
    }
}

#[test]
fn lines_taken_out_doubled_or_moved_are_noticed() {
    let (_dir, file, key) = small_log();
    let good = std::fs::read(&file).unwrap();
    let lines: Vec<&[u8]> = good.split_inclusive(|&byte| byte == b'\n').collect();
    let check =
        |lines: &[&[u8]]| verify_reader(&lines.concat()[..], &file, std::slice::from_ref(&key));
    for at in 0..lines.len() {
        let mut less = lines.clone();
        less.remove(at);
        if at + 1 < lines.len() {
            assert!(check(&less).is_err(), "line {at} taken out");
        } else {
            assert!(!check(&less).unwrap().warnings().is_empty());
        }
        let mut more = lines.clone();
        more.insert(at, lines[at]);
        assert!(check(&more).is_err(), "line {at} doubled");
        if at > 0 {
            let mut moved = lines.clone();
            moved.swap(at - 1, at);
            assert!(check(&moved).is_err(), "line {at} moved");
        }
    }
}

#[test]
fn the_command_line_tells_a_good_log_from_a_bad_one() {
    let (dir, file, _key) = small_log();
    let audit = |key: &Path| {
        let mut command = clean(&dir);
        command
            .args(["audit", "verify"])
            .arg(dir.join("audit"))
            .arg("--key")
            .arg(key);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let key = dir.join(PUBLIC_KEY_FILE);
    assert_eq!(audit(&key).0, Some(0), "{}", audit(&key).1);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes
        .windows(4)
        .position(|window| window == b"deny")
        .unwrap();
    bytes[at..at + 5].copy_from_slice(b"allow");
    std::fs::write(&file, &bytes).unwrap();
    let (code, said) = audit(&key);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("line "), "{said}");
    // Another key trusts nothing of it.
    let other = small_log();
    assert_eq!(audit(&other.0.join(PUBLIC_KEY_FILE)).0, Some(2));
}
