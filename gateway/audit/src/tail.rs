//! Shows a log to a person as it grows: one line for each record.
//!
//! A file or a directory enters; text that is safe for a terminal leaves. Nothing is verified here,
//! so nothing is trusted: a line that is not a record is shown as such, and no byte of the log
//! reaches the terminal as a control or hidden character, whatever the file holds.

use crate::files::{self, FileError, system};
use crate::json::is_hidden;
use crate::open::log_files;
use crate::record::MAX_LINE;
use crate::recover::last_lines;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const BLOCK: usize = 64 * 1024;

/// What to show, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailOptions {
    /// Records of the past to begin with.
    pub last: usize,
    /// Whether to go on as the log grows.
    pub follow: bool,
    /// Whether to show the JSON lines themselves.
    pub json: bool,
}

/// Why showing ended.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The log cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no log in the directory.
    #[error("`{}` holds no audit log", .0.display())]
    None(PathBuf),
    /// The reader of the output is gone, or it cannot be written.
    #[error("cannot write")]
    Output(#[from] io::Error),
}

/// Writes the end of the log `path` (of a directory's newest log) to `out`; with `follow`, calls `wait` each
/// time all has been shown, and goes on unless it says to break. `wait` is where the caller sleeps.
///
/// # Errors
/// [`TailError`].
pub fn tail(
    path: &Path,
    options: TailOptions,
    out: &mut dyn Write,
    wait: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<(), TailError> {
    let mut current = newest(path)?.ok_or_else(|| TailError::None(path.to_owned()))?;
    let mut shown = Shown::open(&current, options.last)?;
    loop {
        shown.drain(&current, options.json, out)?;
        out.flush()?;
        if !options.follow {
            return shown.rest(options.json, out);
        }
        if let Some(newer) = newest(path)?.filter(|newer| *newer != current) {
            shown.drain(&current, options.json, out)?;
            shown = Shown::open(&newer, usize::MAX)?;
            current = newer;
            continue;
        }
        if wait().is_break() {
            return Ok(());
        }
    }
}

/// The file to show.
fn newest(path: &Path) -> Result<Option<PathBuf>, FileError> {
    if path.is_dir() {
        Ok(log_files(path)?.pop())
    } else {
        Ok(Some(path.to_owned()))
    }
}

/// A file being shown.
struct Shown {
    file: File,
    at: u64,
    /// The beginning of a line whose end has not been read yet.
    pending: Vec<u8>,
    /// Whether the rest of a line that is too long is being passed over.
    skipping: bool,
}

impl Shown {
    fn open(path: &Path, last: usize) -> Result<Self, FileError> {
        let mut file = files::open_read(path)?;
        let at = if last == usize::MAX {
            0
        } else {
            last_lines(&file, path, last)?
        };
        file.seek(SeekFrom::Start(at))
            .map_err(system("read", path))?;
        Ok(Self {
            file,
            at,
            pending: Vec::new(),
            skipping: false,
        })
    }

    /// Shows every whole line that is there.
    fn drain(&mut self, path: &Path, json: bool, out: &mut dyn Write) -> Result<(), TailError> {
        let length = self.file.metadata().map_err(system("examine", path))?.len();
        if length < self.at {
            // A recovery took a cut write off.
            self.at = self
                .file
                .seek(SeekFrom::Start(length))
                .map_err(system("read", path))?;
            self.pending.clear();
        }
        let mut block = vec![0; BLOCK];
        loop {
            let count = match self.file.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(system("read", path)(error).into()),
            };
            self.at += u64::try_from(count).unwrap_or(0);
            for piece in block
                .get(..count)
                .unwrap_or_default()
                .split_inclusive(|byte| *byte == b'\n')
            {
                self.piece(piece, json, out)?;
            }
        }
    }

    fn piece(&mut self, piece: &[u8], json: bool, out: &mut dyn Write) -> io::Result<()> {
        let (text, ended) = piece
            .strip_suffix(b"\n")
            .map_or((piece, false), |text| (text, true));
        if !self.skipping {
            self.pending.extend_from_slice(text);
            if self.pending.len() > MAX_LINE {
                writeln!(out, "(a line longer than any record)")?;
                self.pending.clear();
                self.skipping = true;
            }
        }
        if ended {
            if !self.skipping {
                show(&self.pending, json, out)?;
            }
            self.pending.clear();
            self.skipping = false;
        }
        Ok(())
    }

    /// Shows what stands after the last line end.
    fn rest(&mut self, json: bool, out: &mut dyn Write) -> Result<(), TailError> {
        if !self.pending.is_empty() && !json {
            writeln!(out, "(a record cut short: {} bytes)", self.pending.len())?;
        }
        out.flush()?;
        Ok(())
    }
}

fn show(line: &[u8], json: bool, out: &mut dyn Write) -> io::Result<()> {
    const SEAL: &[u8] = b",\"type\":\"seal\",";
    let text = if json {
        visible(&String::from_utf8_lossy(line))
    } else if line.windows(SEAL.len()).take(128).any(|w| w == SEAL) {
        // It only carries a signature: nothing happened.
        return Ok(());
    } else {
        human(line)
    };
    writeln!(out, "{text}")
}

/// A record as one line for a person, without any control or hidden character.
#[must_use]
pub fn human(line: &[u8]) -> String {
    match serde_json::from_slice::<Value>(line) {
        Ok(Value::Object(record)) => visible(&sentence(&record)),
        _ => "(not a record)".to_owned(),
    }
}

type Record = serde_json::Map<String, Value>;

fn sentence(record: &Record) -> String {
    let mut line = text(record, "time").to_owned();
    let _ = match text(record, "type") {
        "decision" => decision(&mut line, record),
        "start" => write!(
            line,
            " START  {} pid={} durability={} mode={} policy={}",
            text(record, "program"),
            number(record, "pid"),
            text(record, "durability"),
            text(record, "mode"),
            text(record, "policy").get(..12).unwrap_or_default()
        ),
        "recovery" => write!(
            line,
            " RECOVERY after a crash: {} records unsigned, {} bytes cut off",
            number(record, "unsigned"),
            number(record, "torn_bytes")
        ),
        "stop" => write!(line, " STOP   {} decisions", number(record, "decisions")),
        "seal" => write!(line, " SEAL"),
        "event" => {
            let detail = record.get("detail").map_or(String::new(), Value::to_string);
            write!(line, " EVENT  {} {detail}", text(record, "event"))
        }
        other => write!(line, " {other}"),
    };
    line
}

fn decision(line: &mut String, record: &Record) -> std::fmt::Result {
    let arrow = if text(record, "direction") == "inbound" {
        "->"
    } else {
        "<-"
    };
    write!(
        line,
        " {:8}{arrow}",
        text(record, "decision").to_uppercase(),
    )?;
    for name in ["method", "tool", "resource", "prompt"] {
        if !text(record, name).is_empty() {
            write!(line, " {}", text(record, name))?;
        }
    }
    write!(line, " agent={}", text(record, "agent"))?;
    if !text(record, "server").is_empty() {
        write!(line, " server={}", text(record, "server"))?;
    }
    if let Some(Value::Object(reason)) = record.get("reason") {
        write!(line, " {}: {}", text(reason, "stage"), text(reason, "text"))?;
        if !text(reason, "rule").is_empty() {
            write!(line, " ({})", text(reason, "rule"))?;
        }
    }
    if let Some(Value::Array(findings)) = record.get("findings") {
        let rules: Vec<_> = findings
            .iter()
            .filter_map(|finding| finding.get("rule")?.as_str())
            .collect();
        write!(line, " [{}]", rules.join(" "))?;
    }
    if let Some(nanos) = record.get("latency_ns").and_then(Value::as_u64) {
        write!(
            line,
            " {}.{:03}ms",
            nanos / 1_000_000,
            nanos / 1_000 % 1_000
        )?;
    }
    // What an answer of the firewall calls its audit reference.
    write!(
        line,
        " ref={}/{}",
        text(record, "session"),
        number(record, "seq")
    )?;
    Ok(())
}

fn text<'a>(record: &'a Record, name: &str) -> &'a str {
    record.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(record: &Record, name: &str) -> u64 {
    record.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// `text` with each control or hidden character spelt out.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, entry};
    use crate::{Location, Log, Settings, SigningKey, Start};
    use std::time::UNIX_EPOCH;

    const ALL: TailOptions = TailOptions {
        last: 1_000,
        follow: false,
        json: false,
    };

    fn shown(path: &Path, options: TailOptions) -> String {
        let mut out = Vec::new();
        tail(path, options, &mut out, &mut || ControlFlow::Break(())).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn log(path: &Path) -> Log {
        let key = SigningKey::from_seed(&[3; 32]).unwrap();
        let settings = Settings::new(Location::File(path.to_owned()));
        Log::open(
            &settings,
            key,
            &Start::new(UNIX_EPOCH, "test"),
            Box::new(|| {}),
        )
        .unwrap()
        .0
    }

    #[test]
    fn lines_for_people() {
        let scratch = Scratch::new();
        let path = scratch.path().join("a.jsonl");
        let log = log(&path);
        let mut evil = entry(1);
        evil.tool = Some("x\u{1b}[2J\u{202e}y".into());
        let _ = log.append(evil).unwrap();
        log.close().unwrap();
        let text = shown(&path, ALL);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("START  test"));
        assert!(
            lines[1].contains("ALLOW   -> tools/call x\\u{1b}[2J\\u{202e}y agent=cursor"),
            "{}",
            lines[1]
        );
        assert!(lines[2].contains("STOP   1 decisions"));
        assert_eq!(
            shown(&path, TailOptions { last: 1, ..ALL }).lines().count(),
            1
        );
        let json = shown(&path, TailOptions { json: true, ..ALL });
        assert_eq!(json, std::fs::read_to_string(&path).unwrap());
    }

    #[test]
    fn hostile_files_do_not_reach_the_terminal() {
        let scratch = Scratch::new();
        let path = scratch.path().join("a.jsonl");
        let long = vec![b'a'; MAX_LINE + 10];
        let lines: [&[u8]; 5] = [
            b"\x1b[2J",
            b"\xff\xfe",
            b"{\"type\":\"decision\",\"method\":\"\x9b\"}",
            &long,
            b"{}",
        ];
        std::fs::write(&path, lines.join(&b"\n"[..])).unwrap();
        for json in [false, true] {
            let text = shown(&path, TailOptions { json, ..ALL });
            assert!(text.chars().all(|c| c == '\n' || !is_hidden(c)), "{text:?}");
            assert!(text.len() < 1_000);
        }
    }

    #[test]
    fn follows_as_it_grows() {
        let scratch = Scratch::new();
        let path = scratch.path().join("a.jsonl");
        let log = log(&path);
        let mut out = Vec::new();
        let mut round = 0;
        tail(
            &path,
            TailOptions {
                last: 0,
                follow: true,
                json: true,
            },
            &mut out,
            &mut || {
                round += 1;
                match round {
                    1..=3 => {
                        let ticket = log.append(entry(round)).unwrap();
                        while !log.is_recorded(ticket) {
                            std::thread::yield_now();
                        }
                        ControlFlow::Continue(())
                    }
                    _ => ControlFlow::Break(()),
                }
            },
        )
        .unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 3);
    }
}
