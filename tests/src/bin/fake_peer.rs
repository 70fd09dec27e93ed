//! A fake MCP server on stdio that behaves as its arguments say.
//!
//! Enter: a mode and the client's lines. Leave: honest answers, or the misbehaviour that was asked
//! for. Never: a clever reading of JSON; a line it cannot read is skipped.
//!
//! Modes are given one after another and add up:
//!
//! ```text
//! --args FILE        writes its own arguments to FILE, one JSON array
//! --stderr TEXT      writes TEXT to standard error at the start
//! --exit CODE        leaves with CODE at the end of input
//! --raise SIGNAL     kills itself with SIGNAL at the end of input
//! --crash-after N    leaves with 7 when it has read N requests, answering none of them
//! --record FILE      appends every line to FILE before it answers
//! --script DIR       answers a request whose params hold `cursor: NAME` with the bytes of DIR/NAME
//! --flood N          writes N bytes of notifications before the first answer
//! --slow MS          waits before it reads each line
//! --ignore-eof       stays when its input ends
//! --ignore-term      stays when it gets SIGTERM
//! --note FILE        writes the names of signals it gets to FILE, then leaves with 9
//! --grandchild FILE  starts a process that stays, and writes its id to FILE
//! --                 the rest is not looked at
//! ```
#![expect(
    clippy::print_stderr,
    reason = "standard error is part of what is tested"
)]

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mcpf_tests::answer;
use serde_json::{Value, json};

#[derive(Default)]
struct Modes {
    exit: u8,
    raise: Option<i32>,
    crash_after: Option<u64>,
    record: Option<PathBuf>,
    script: Option<PathBuf>,
    flood: usize,
    slow: Duration,
    ignore_eof: bool,
    noted: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fake-peer: {error}");
            ExitCode::from(70)
        }
    }
}

fn run() -> io::Result<ExitCode> {
    let modes = modes()?;
    let outcome = converse(&modes)?;
    if let Some(code) = outcome {
        return Ok(code);
    }
    if modes.noted {
        // The signal may be right behind the end of input.
        std::thread::sleep(Duration::from_secs(1));
    }
    if modes.ignore_eof {
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    if let Some(signal) = modes.raise {
        signal_hook::low_level::emulate_default_handler(signal)?;
    }
    Ok(ExitCode::from(modes.exit))
}

fn modes() -> io::Result<Modes> {
    let mut modes = Modes::default();
    let all: Vec<String> = std::env::args().skip(1).collect();
    let mut args = all.iter();
    while let Some(mode) = args.next() {
        let mut value = || args.next().cloned().unwrap_or_default();
        match mode.as_str() {
            "--args" => std::fs::write(value(), json!(all).to_string())?,
            "--stderr" => eprintln!("{}", value()),
            "--exit" => modes.exit = number(&value())?,
            "--raise" => modes.raise = Some(number(&value())?),
            "--crash-after" => modes.crash_after = Some(number(&value())?),
            "--record" => modes.record = Some(value().into()),
            "--script" => modes.script = Some(value().into()),
            "--flood" => modes.flood = number(&value())?,
            "--slow" => modes.slow = Duration::from_millis(number(&value())?),
            "--ignore-eof" => modes.ignore_eof = true,
            "--ignore-term" => {
                signal_hook::flag::register(
                    signal_hook::consts::SIGTERM,
                    Arc::new(AtomicBool::new(false)),
                )?;
            }
            "--note" => {
                note(value().into())?;
                modes.noted = true;
            }
            "--grandchild" => grandchild(Path::new(&value()))?,
            _ => break,
        }
    }
    Ok(modes)
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse()
        .map_err(|_| io::Error::other(format!("`{text}` is not a number here")))
}

/// Writes the name of the first signal that comes and leaves.
fn note(file: PathBuf) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let heard = [("INT", SIGINT), ("TERM", SIGTERM)];
    let mut flags = Vec::new();
    for (name, signal) in heard {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
        flags.push((name, flag));
    }
    std::thread::spawn(move || {
        loop {
            if let Some((name, _)) = flags.iter().find(|(_, flag)| flag.load(Ordering::Relaxed)) {
                let _unwritten = std::fs::write(&file, name);
                leave(9);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing here needs its destructor, and main is blocked in a read"
)]
fn leave(code: i32) -> ! {
    std::process::exit(code)
}

/// A process that holds our standard output open and outlives us unless its group is ended.
fn grandchild(file: &Path) -> io::Result<()> {
    let child = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::null())
        .spawn()?;
    std::fs::write(file, child.id().to_string())
}

/// Reads and answers until the input ends; a code when it is to leave at once.
fn converse(modes: &Modes) -> io::Result<Option<ExitCode>> {
    let mut input = BufReader::with_capacity(1 << 16, io::stdin());
    let mut output = io::stdout().lock();
    let mut record = match &modes.record {
        None => None,
        Some(path) => Some(
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)?,
        ),
    };
    let mut flood = modes.flood;
    let mut requests = 0_u64;
    let mut line = Vec::new();
    loop {
        std::thread::sleep(modes.slow);
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if let Some(record) = &mut record {
            record.write_all(&line)?;
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        let Some(reply) = answer(&message) else {
            continue;
        };
        requests += 1;
        if modes.crash_after == Some(requests) {
            return Ok(Some(ExitCode::from(7)));
        }
        if modes.crash_after.is_some() {
            continue;
        }
        pour(&mut output, &mut flood)?;
        let cursor = message.pointer("/params/cursor").and_then(Value::as_str);
        match (&modes.script, cursor) {
            (Some(dir), Some(name)) => output.write_all(&std::fs::read(dir.join(name))?)?,
            _ => writeln!(output, "{reply}")?,
        }
        output.flush()?;
    }
}

/// Writes `left` bytes of notifications.
fn pour(output: &mut impl Write, left: &mut usize) -> io::Result<()> {
    let text = "lorem ipsum ".repeat(600);
    let params = json!({ "level": "info", "data": text });
    let line = format!(
        "{}\n",
        json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params })
    );
    while *left > 0 {
        output.write_all(line.as_bytes())?;
        *left = left.saturating_sub(line.len());
    }
    Ok(())
}
