//! What a crash leaves is taken up; what a full disk leaves is not made worse.

use crate::common::{
    Scratch, entry, now, open, open_with, public, put, sample, settings, verify_bytes, verify_file,
};
use mcpf_audit::{AppendError, Ending, Failure, Location, OpenError, Sign};
use std::process::Command;

/// Offsets at which lines begin.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let ends = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).collect()
}

#[test]
fn a_tail_cut_at_any_byte_is_taken_up() {
    let scratch = Scratch::new();
    let path = scratch.file();
    let bytes = sample(&path, 4, Sign::Group);
    let starts = starts(&bytes);
    let last = starts[starts.len() - 2];
    for cut in last..bytes.len() {
        let torn = cut - last;
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let before = verify_file(&path).unwrap();
        assert_eq!(
            before.files[0].ending,
            Ending::Open {
                unsigned: 0,
                torn_bytes: torn as u64
            },
            "cut at {cut}"
        );
        assert_eq!(before.warnings().len(), 1);

        let (log, recovery) = open(&path);
        assert_eq!(
            (recovery.resumed, recovery.crashed, recovery.torn_bytes),
            (true, true, torn as u64)
        );
        put(&log, entry(9));
        log.close().unwrap();
        let after = verify_file(&path).unwrap();
        let file = &after.files[0];
        assert_eq!(
            (
                file.runs,
                file.recoveries,
                file.recovered_bytes,
                file.ending
            ),
            (2, 1, torn as u64, Ending::Closed)
        );
        assert_eq!(after.decisions(), 5);
        assert!(after.warnings().is_empty());
    }
}

#[test]
fn a_group_cut_in_the_middle_is_counted() {
    let scratch = Scratch::new();
    let path = scratch.file();
    let bytes = sample(&path, 60, Sign::Group);
    let text = String::from_utf8(bytes.clone()).unwrap();
    let starts = starts(&bytes);
    let mut seen = 0;
    for (line, start) in starts.iter().enumerate().skip(1) {
        let unsigned = text[..*start]
            .lines()
            .rev()
            .take_while(|line| !line.contains(",\"sig\":"))
            .count() as u64;
        std::fs::write(&path, &bytes[..*start]).unwrap();
        let before = verify_file(&path).unwrap().files.remove(0);
        if line == starts.len() - 1 {
            assert_eq!(before.ending, Ending::Closed);
            continue;
        }
        assert_eq!(
            before.ending,
            Ending::Open {
                unsigned,
                torn_bytes: 0
            }
        );
        let (log, recovery) = open(&path);
        assert_eq!((recovery.crashed, recovery.unsigned), (true, unsigned));
        log.close().unwrap();
        let after = verify_file(&path).unwrap().files.remove(0);
        assert_eq!(
            (after.unattested, after.records, after.ending),
            (unsigned, line as u64 + 3, Ending::Closed)
        );
        seen += usize::from(unsigned > 0);

        // The recovery itself may be cut, too.
        let whole = std::fs::read(&path).unwrap();
        let second_start = start
            + whole[*start..]
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap()
            + 1;
        std::fs::write(&path, &whole[..second_start + 20]).unwrap();
        verify_file(&path).unwrap();
        let (log, recovery) = open(&path);
        assert_eq!((recovery.unsigned, recovery.torn_bytes), (unsigned + 1, 20));
        log.close().unwrap();
        assert_eq!(
            verify_file(&path).unwrap().files[0].unattested,
            unsigned + 1
        );
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn a_first_write_cut_short_is_taken_up() {
    let scratch = Scratch::new();
    let path = scratch.file();
    let bytes = sample(&path, 1, Sign::Group);
    for cut in [0, 1, 5, 100, 400] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(verify_file(&path).is_err(), "nothing in it to verify");
        let (log, recovery) = open(&path);
        assert_eq!(
            (recovery.crashed, recovery.torn_bytes),
            (cut > 0, cut as u64)
        );
        log.close().unwrap();
        let report = verify_file(&path).unwrap();
        assert_eq!(report.files[0].recoveries, u64::from(cut > 0));
        assert!(report.warnings().is_empty());
    }
}

#[test]
fn zeros_after_a_power_cut_are_taken_up() {
    let scratch = Scratch::new();
    let path = scratch.file();
    let bytes = sample(&path, 4, Sign::Group);
    let starts = starts(&bytes);
    let last = starts[starts.len() - 2];
    for (kept, zeros) in [(0, 4096), (30, 4096), (30, 3 * 1024 * 1024)] {
        let mut tail = bytes[..last + kept].to_vec();
        tail.resize(tail.len() + zeros, 0);
        std::fs::write(&path, &tail).unwrap();
        verify_file(&path).unwrap();
        let (log, recovery) = open(&path);
        assert_eq!(recovery.torn_bytes, (kept + zeros) as u64);
        log.close().unwrap();
        verify_file(&path).unwrap();
    }
}

#[test]
fn a_damaged_end_is_left_as_it_is() {
    let scratch = Scratch::new();
    let path = scratch.file();
    let bytes = sample(&path, 4, Sign::Group);
    let starts = starts(&bytes);
    let last = starts[starts.len() - 2];
    let mut flipped = bytes.clone();
    flipped[last + 40] ^= 1;
    let mut appended = bytes.clone();
    appended.extend_from_slice(b"hello");
    let mut line = bytes.clone();
    line.extend_from_slice(b"{\"v\":1}\n");
    let mut endless = bytes.clone();
    endless.resize(endless.len() + 20 * 1024 * 1024, b'x');
    let headless = bytes[starts[1]..].to_vec();
    for (name, content) in [
        ("flipped", flipped),
        ("appended", appended),
        ("line", line),
        ("other", b"root:x:0:0\n".to_vec()),
        ("text", b"some text".to_vec()),
        ("endless", endless),
    ] {
        std::fs::write(&path, &content).unwrap();
        let start = mcpf_audit::Start::new(now(0), "test");
        let opened = mcpf_audit::Log::open(
            &settings(Location::File(path.clone())),
            crate::common::key(),
            &start,
            Box::new(|| {}),
        );
        assert!(matches!(opened, Err(OpenError::Recover(_))), "{name}");
        assert!(
            std::fs::read(&path).unwrap() == content,
            "{name} was changed"
        );
    }
    assert!(verify_bytes(&headless).is_err());
}

#[test]
fn a_full_disk_denies_and_leaves_a_log_that_verifies() {
    // The limit on file sizes makes write(2) stop short and then fail, as a full disk does. It is set
    // by a shell, with its signal ignored, for a child that is this very test program.
    if let Ok(path) = std::env::var("MCPF_AUDIT_TEST_FULL") {
        let (log, _) = open(std::path::Path::new(&path));
        let mut recorded = 0_u64;
        let failed_at = loop {
            let ticket = match log.append(entry(recorded)) {
                Ok(ticket) => ticket,
                Err(error) => break error,
            };
            while !log.is_recorded(ticket) && !log.has_failed() {
                std::thread::yield_now();
            }
            recorded += u64::from(log.is_recorded(ticket));
            assert!(recorded < 1_000);
        };
        assert_eq!(failed_at, AppendError::Failed);
        assert_eq!(log.append(entry(0)), Err(AppendError::Failed));
        assert!(matches!(log.close(), Err(Failure::Write(_))));
        println!("recorded {recorded}.");
        return;
    }
    let scratch = Scratch::new();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 20; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "crash::a_full_disk_denies_and_leaves_a_log_that_verifies",
        ])
        .env("MCPF_AUDIT_TEST_FULL", scratch.file())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let recorded: u64 = text
        .split("recorded ")
        .nth(1)
        .unwrap()
        .split('.')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let report = verify_file(&scratch.file()).unwrap();
    assert!(recorded > 5, "{recorded}");
    assert_eq!(
        report.decisions(),
        recorded,
        "what was called recorded is there"
    );
    let (log, recovery) = open(&scratch.file());
    assert!(recovery.crashed);
    log.close().unwrap();
    assert_eq!(verify_file(&scratch.file()).unwrap().files[0].recoveries, 1);
}

#[test]
fn killed_writers_lose_nothing_recorded() {
    if let Ok(path) = std::env::var("MCPF_AUDIT_TEST_KILLED") {
        let (log, _) = open(std::path::Path::new(&path));
        for n in 0.. {
            let ticket = log.append(entry(n)).unwrap();
            if n % 5 == 0 {
                while !log.is_recorded(ticket) {
                    std::thread::yield_now();
                }
                println!("recorded {}.", ticket.seq);
            }
        }
        return;
    }
    let scratch = Scratch::new();
    let mut floor = 0;
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "crash::killed_writers_lose_nothing_recorded",
            ])
            .env("MCPF_AUDIT_TEST_KILLED", scratch.file())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20 + round * 3));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let whole = text.rsplit_once('.').map_or("", |(whole, _)| whole);
        if let Some(seq) = whole
            .rsplit("recorded ")
            .next()
            .and_then(|seq| seq.parse::<u64>().ok())
        {
            floor = seq;
        }
        if scratch
            .file()
            .metadata()
            .is_ok_and(|metadata| metadata.len() > 2_000)
        {
            let report = verify_file(&scratch.file()).unwrap();
            assert!(report.files[0].last.as_ref().unwrap().seq >= floor);
        }
    }
    assert!(floor > 0);
    let (log, _) = open_with(&settings(Location::File(scratch.file())), 0);
    log.close().unwrap();
    mcpf_audit::verify(&scratch.file(), &[public()]).unwrap();
}
