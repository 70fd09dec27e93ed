//! How long reading takes. Run by hand, in release: `cargo test --release -p mcpf-wire --test speed -- --ignored --nocapture`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement is printed"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use mcpf_model::Limits;
use mcpf_wire::{LineFramer, Parser, SseFramer};

fn call(size: usize) -> String {
    let mut arguments = String::new();
    for n in 0.. {
        if arguments.len() + 150 >= size {
            break;
        }
        write!(arguments, r#","field_{n}":{{"path":"src/module_{n}.rs","line":{n},"tags":["alpha","beta"],"ok":true}}"#).unwrap();
    }
    format!(
        r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"edit","arguments":{{"p":1{arguments}}},"_meta":{{"progressToken":17}}}}}}"#
    )
}

fn blob(size: usize, text: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":17,"result":{{"content":[{{"type":"text","text":"{}"}}],"isError":false}}}}"#,
        text.repeat(size / text.len())
    )
}

fn measure(name: &str, frame: &str) {
    let limits = Limits::default();
    let mut parser = Parser::new(&limits);
    let mut leaves = 0;
    let rounds = 200_000_000 / frame.len().max(2000);
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..rounds / 5 {
            let message = parser.parse(black_box(frame.as_bytes())).unwrap();
            leaves += usize::from(black_box(message.edits()).is_empty());
        }
        best =
            best.min(start.elapsed().as_secs_f64() / f64::from(u32::try_from(rounds / 5).unwrap()));
    }
    let gigabytes = f64::from(u32::try_from(frame.len()).unwrap()) / best / 1e9;
    println!(
        "{name:<28}{:>9} B {:>12.2} us {gigabytes:>7.2} GB/s ({leaves})",
        frame.len(),
        best * 1e6
    );
}

#[test]
#[ignore = "a measurement, not a check"]
fn reading() {
    measure("ping", r#"{"jsonrpc":"2.0","id":17,"method":"ping"}"#);
    measure("call 1 KiB", &call(1024));
    measure("call 64 KiB", &call(65_536));
    measure("call 1 MiB", &call(1 << 20));
    measure("text 1 KiB", &blob(900, "Some words of a file. "));
    measure(
        "text 1 MiB",
        &blob(1 << 20, "Some words of a file, with commas: and more. "),
    );
    measure(
        "text 1 MiB, escapes",
        &blob(1 << 20, r"A line of a file with a line end.\n"),
    );
    measure(
        "base64 1 MiB",
        &blob(1 << 20, "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo"),
    );
    measure(
        "text 1 MiB, Chinese",
        &blob(1 << 20, "\u{4e00}\u{4e8c}\u{4e09}\u{ff0c}"),
    );
    measure(
        "text 1 MiB, curly quotes",
        &blob(1 << 20, "\u{201c}word\u{201d} and another "),
    );
    measure(
        "text 1 MiB, JSON in a string",
        &blob(1 << 20, r#"{\"key\":\"value\",\"n\":[1,2,3]},"#),
    );
    let lines = format!("{}\n", call(1024)).repeat(1000);
    let mut framer = LineFramer::new(Limits::default().max_frame);
    let start = Instant::now();
    let mut count = 0;
    for _ in 0..20 {
        framer.push(lines.as_bytes());
        while let Some(next) = framer.next_frame() {
            count += black_box(next.unwrap()).len();
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "framing 1 KiB lines: {:.2} GB/s",
        f64::from(u32::try_from(count).unwrap()) / seconds / 1e9
    );
    events(&format!("id: 7\ndata: {}\n\n", call(1024)).repeat(1000));
    events(&format!("id: 7\ndata: {}\n\n", call(1 << 20)));
    events(&format!("id: 7\ndata: {}\n\n", "{\ndata: ".repeat(100_000)));
    events(&"\r".repeat(1 << 20));
}

/// Event streams as a network gives them: 16 KiB at a time.
fn events(stream: &str) {
    let mut framer = SseFramer::new(Limits::default().max_frame);
    let start = Instant::now();
    let mut count = 0;
    for _ in 0..20 {
        for chunk in stream.as_bytes().chunks(16 * 1024) {
            framer.push(black_box(chunk));
            while let Some(next) = framer.next_event() {
                count += black_box(next.unwrap()).data.map_or(0, <[u8]>::len);
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let bytes = f64::from(u32::try_from(20 * stream.len()).unwrap());
    println!(
        "framing events, {} B of {}: {:.2} GB/s",
        count / 20,
        stream.len(),
        bytes / seconds / 1e9
    );
}
