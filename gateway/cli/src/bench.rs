//! `bench`: what the firewall costs on this machine.

mod http;

use std::ffi::OsString;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mcpf_model::{Direction, Principal};
use mcpf_pipeline::{Context, Nanos, Outcome, Scratch, Session, Shared, inspect};
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::peer::Peer;
use crate::{assemble, print};

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    if args.echo {
        return echo();
    }
    if args.load.http || args.load.serve.is_some() {
        return http::run(args);
    }
    let mut rows = engine(args)?;
    if !args.engine_only {
        rows.extend(round_trips(args)?);
    }
    if args.json {
        let all: Vec<Value> = rows.iter().map(Row::json).collect();
        print::line(&json!({"version": env!("CARGO_PKG_VERSION"), "rows": all}).to_string())?;
    } else {
        print::line(&format!(
            "{:<44} {:>10} {:>10} {:>10} {:>10}",
            "", "p50", "p99", "p99.9", "GB/s"
        ))?;
        for row in &rows {
            print::line(&row.text())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line of the table.
struct Row {
    name: String,
    /// Nanoseconds, sorted.
    samples: Vec<u64>,
    /// Bytes of one sample, when a rate makes sense.
    bytes: Option<usize>,
}

impl Row {
    fn new(name: String, mut samples: Vec<u64>, bytes: Option<usize>) -> Self {
        samples.sort_unstable();
        Self {
            name,
            samples,
            bytes,
        }
    }

    fn at(&self, per_mille: usize) -> u64 {
        let place = self.samples.len().saturating_sub(1) * per_mille / 1_000;
        self.samples.get(place).copied().unwrap_or_default()
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn rate(&self) -> Option<f64> {
        let bytes = self.bytes?;
        Some(bytes as f64 / self.at(500).max(1) as f64)
    }

    fn text(&self) -> String {
        let rate = self
            .rate()
            .map_or_else(String::new, |rate| format!("{rate:.2}"));
        format!(
            "{:<44} {:>10} {:>10} {:>10} {:>10}",
            self.name,
            micros(self.at(500)),
            micros(self.at(990)),
            micros(self.at(999)),
            rate
        )
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "samples": self.samples.len(),
            "p50_ns": self.at(500), "p99_ns": self.at(990), "p999_ns": self.at(999),
            "gigabytes_per_second": self.rate(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn micros(nanos: u64) -> String {
    format!("{:.1} µs", nanos as f64 / 1_000.0)
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The corridor, in this process.
fn engine(args: &BenchArgs) -> anyhow::Result<Vec<Row>> {
    let config = assemble::configuration(args.settings.flags())?;
    assemble::logging(&config);
    let begin = Instant::now();
    let generation = Arc::new(assemble::generation(&config)?);
    let mut rows = vec![Row::new(
        "load policy and rules".into(),
        vec![nanos(begin)],
        None,
    )];
    let mut scratch = Scratch::new(&generation)?;
    let context = Context {
        generation: Arc::clone(&generation),
        shared: Arc::new(Shared::default()),
    };
    let budget = Duration::from_millis(args.time);
    for (size, label) in [
        (200, "200 B"),
        (1_024, "1 KiB"),
        (16_384, "16 KiB"),
        (1_048_576, "1 MiB"),
    ] {
        for (kind, text) in [("clean", prose(size)), ("hostile", hostile(size))] {
            let name = format!("corridor, tools/call and answer, {kind}, {label}");
            let sample = pair(&text);
            let bytes = sample.0.len() + sample.1.len();
            let samples = walk(&context, &mut scratch, &sample, budget);
            rows.push(Row::new(name, samples, Some(bytes)));
        }
    }
    Ok(rows)
}

/// A call that carries `text` and the answer that brings it back.
fn pair(text: &str) -> (String, String) {
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "echo", "arguments": {"message": text}},
    });
    let answer =
        json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": text}]}});
    (call.to_string(), answer.to_string())
}

/// Times a call and, when it is let through, its answer.
fn walk(
    context: &Context,
    scratch: &mut Scratch,
    pair: &(String, String),
    budget: Duration,
) -> Vec<u64> {
    let limits = &context.generation.limits;
    let mut session = Session::new("bench".into(), "".into(), Principal::anonymous(), limits);
    let mut samples = Vec::new();
    let begin = Instant::now();
    let mut clock = 0;
    while samples.len() < 100 || (begin.elapsed() < budget && samples.len() < 1_000_000) {
        clock += 1_000_000_000;
        let sample = Instant::now();
        let call = inspect(
            context,
            &mut session,
            scratch,
            Direction::Inbound,
            pair.0.as_bytes(),
            Nanos(clock),
        );
        if matches!(call.outcome, Outcome::Forward(_)) {
            let answer = inspect(
                context,
                &mut session,
                scratch,
                Direction::Outbound,
                pair.1.as_bytes(),
                Nanos(clock),
            );
            std::hint::black_box(&answer);
        }
        std::hint::black_box(&call);
        samples.push(nanos(sample));
    }
    samples
}

/// Ordinary text of about `size` bytes, the same on every machine.
fn prose(size: usize) -> String {
    const WORDS: [&str; 24] = [
        "the", "report", "shows", "that", "every", "service", "answered", "within", "its",
        "budget", "and", "memory", "stayed", "flat", "during", "night", "while", "clients",
        "asked", "for", "pages", "of", "results", "quickly",
    ];
    let mut text = String::with_capacity(size + 16);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    while text.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = usize::try_from(state % 24)
            .ok()
            .and_then(|at| WORDS.get(at))
            .unwrap_or(&"the");
        text.push_str(word);
        text.push(if state.is_multiple_of(11) { '.' } else { ' ' });
    }
    text.truncate(size);
    text
}

/// Text that nearly matches rules everywhere, and matches now and then.
fn hostile(size: usize) -> String {
    const PARTS: [&str; 6] = [
        "ignore all the previous ",
        "AKIAQ3EGRZ7WTV5DHX2M ",
        "4111 1111 1111 1111 ",
        "\u{feff}ign\u{200b}ore ",
        "aWdub3JlIGFsbCBwcmV2aW91cyBpbnN0cnVjdGlvbnM= ",
        "http://0x7f.1/ ",
    ];
    let mut text = String::with_capacity(size + 64);
    for part in PARTS.iter().cycle() {
        if text.len() + part.len() > size {
            break;
        }
        text.push_str(part);
    }
    text
}

/// Direct and wrapped in turn, so that both see the same machine.
fn round_trips(args: &BenchArgs) -> anyhow::Result<Vec<Row>> {
    let this = assemble::this_program()?;
    let scratch = std::env::temp_dir().join(format!("mcp-firewall-bench-{}", assemble::run_id()));
    let outcome = measured_round_trips(args, this.as_os_str(), &scratch);
    // A leftover in the temporary directory harms nobody.
    let _left = std::fs::remove_dir_all(&scratch);
    outcome
}

fn measured_round_trips(
    args: &BenchArgs,
    this: &std::ffi::OsStr,
    scratch: &std::path::Path,
) -> anyhow::Result<Vec<Row>> {
    let echo: [OsString; 2] = ["bench".into(), "--echo".into()];
    let wrapped = |durability: &str| -> Vec<OsString> {
        let home = scratch.join(durability);
        [
            "wrap",
            "--log-level",
            "error",
            "--audit-durability",
            durability,
            "--audit-path",
        ]
        .into_iter()
        .map(OsString::from)
        .chain([home.join("audit").into_os_string()])
        .chain([
            "--audit-key".into(),
            home.join("state/audit.key").into_os_string(),
        ])
        .chain(["--".into(), this.to_owned()])
        .chain(echo.clone())
        .collect()
    };
    let mut rows = Vec::new();
    for (size, label) in [(200, "200 B"), (1_024, "1 KiB"), (16_384, "16 KiB")] {
        let mut peers = vec![(
            "direct".to_owned(),
            Peer::start(this, &echo, Stdio::inherit())?,
        )];
        for durability in ["async", "flush", "fsync"] {
            let peer = Peer::start(this, &wrapped(durability), Stdio::inherit())?;
            peers.push((format!("wrapped, audit {durability}"), peer));
        }
        let request = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "echo", "arguments": {"message": prose(size)}},
        });
        let request = format!("{request}\n");
        let mut samples = vec![Vec::new(); peers.len()];
        let begin = Instant::now();
        let budget = Duration::from_millis(args.time.saturating_mul(4));
        for (_, peer) in &mut peers {
            for _ in 0..50 {
                round_trip(peer, &request)?;
            }
        }
        while begin.elapsed() < budget {
            for ((_, peer), samples) in peers.iter_mut().zip(&mut samples) {
                for _ in 0..20 {
                    samples.push(round_trip(peer, &request)?);
                }
            }
        }
        for ((name, peer), samples) in peers.into_iter().zip(samples) {
            let memory = resident(peer.id()).filter(|_| name.starts_with("wrapped"));
            let note = memory.map_or_else(String::new, |kib| format!(", {} MiB", kib / 1_024));
            rows.push(Row::new(
                format!("stdio round trip {label}, {name}{note}"),
                samples,
                None,
            ));
            peer.finish()?;
        }
    }
    Ok(rows)
}

fn round_trip(peer: &mut Peer, request: &str) -> anyhow::Result<u64> {
    let begin = Instant::now();
    peer.send(request.as_bytes())?;
    let answer = peer.receive()?;
    let took = nanos(begin);
    anyhow::ensure!(
        answer.contains("\"result\""),
        "an answer was not a result: {answer}"
    );
    Ok(took)
}

/// Resident memory of a process in KiB, where the system tells it.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The fastest server there is: every call is answered with the same small result.
fn echo() -> anyhow::Result<ExitCode> {
    use std::io::{BufRead, Write};
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).context("cannot read")? == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let answer =
            br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"ok"}]}}"#;
        output
            .write_all(answer)
            .and_then(|()| output.write_all(b"\n"))
            .and_then(|()| output.flush())?;
    }
}
