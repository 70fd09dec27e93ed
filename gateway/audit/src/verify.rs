//! Checks a log: every byte, every link, every signature.
//!
//! A file or a directory and the trusted keys enter; a [`Report`] leaves, or the first fault. It
//! streams: memory is one line, whatever the length of the log. It shares no cryptography with
//! the writer (`ed25519-dalek` with `verify_strict` and `sha2` here, `aws-lc-rs` there), so that a
//! mistake in one is not repeated in the other.
//!
//! A good file may end without a `stop` record, in unsigned records, or in a cut write: a crash
//! leaves that, and it is a warning. Everything else that is not as it was written is a fault.

use crate::files::{self, FileError, system};
use crate::key::PublicKey;
use crate::line::{Fields, Line, fields, is_torn, split};
use crate::open::{Continues, log_files};
use crate::record::MAX_LINE;
use crate::report::{BadRecord, Ending, Fault, FileReport, Report, Stamp, Verdicts, VerifyError};
use crate::time::parse_micros;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A step back of the wall clock that is reported, in microseconds.
const CLOCK_STEP: u64 = 5_000_000;

/// Verifies the log file `path`, or every log file in the directory `path` and how they follow one
/// another. `trusted` are the public keys that may have signed it; take them from a place the
/// log's writer cannot change.
///
/// # Errors
/// The first bad record, by file, line and number; files of a directory that were cut, changed or
/// taken away after another went on from them; a file that cannot be read or holds no record.
pub fn verify(path: &Path, trusted: &[PublicKey]) -> Result<Report, VerifyError> {
    let metadata = std::fs::metadata(path).map_err(system("examine", path))?;
    if metadata.is_dir() {
        return directory(path, trusted);
    }
    let file = verify_file(path, trusted)?;
    if file.records == 0 {
        return Err(VerifyError::Empty(path.to_owned()));
    }
    Ok(Report { files: vec![file], warnings: Vec::new() })
}

fn directory(dir: &Path, trusted: &[PublicKey]) -> Result<Report, VerifyError> {
    let mut files = Vec::new();
    for path in log_files(dir)? {
        files.push(verify_file(&path, trusted)?);
    }
    if files.iter().all(|file| file.records == 0) {
        return Err(VerifyError::Empty(dir.to_owned()));
    }
    let warnings = sequence(&files)?;
    Ok(Report { files, warnings })
}

/// Checks that each file still ends where the file that goes on from it says.
fn sequence(files: &[FileReport]) -> Result<Vec<String>, VerifyError> {
    let mut warnings = Vec::new();
    let by_name: BTreeMap<_, _> =
        files.iter().filter_map(|file| Some((file.path.file_name()?.to_str()?, file))).collect();
    let oldest = by_name.keys().next().copied().unwrap_or_default();
    for file in files {
        let Some(continues) = &file.continues else { continue };
        let Some(earlier) = by_name.get(continues.file.as_str()) else {
            let what = format!("goes on from `{}`, which is missing", continues.file);
            if continues.file.as_str() < oldest {
                warnings.push(format!("`{}` {what} (older than every file here)", file.path.display()));
                continue;
            }
            return Err(VerifyError::Broken { path: file.path.clone(), what });
        };
        let same = earlier.last.as_ref().is_some_and(|last| last.seq == continues.seq && last.hash == continues.hash);
        if !same {
            let what = format!(
                "does not end at record {} as `{}` says: it was cut, changed or added to since",
                continues.seq,
                file.path.display()
            );
            return Err(VerifyError::Broken { path: earlier.path.clone(), what });
        }
    }
    Ok(warnings)
}

/// Verifies one file.
fn verify_file(path: &Path, trusted: &[PublicKey]) -> Result<FileReport, VerifyError> {
    let file = files::open_read(path)?;
    verify_reader(BufReader::with_capacity(256 * 1024, file), path, trusted)
}

/// Verifies the log that `reader` gives; `path` is its name in reports.
///
/// # Errors
/// As for [`verify`].
pub fn verify_reader(mut reader: impl BufRead, path: &Path, trusted: &[PublicKey]) -> Result<FileReport, VerifyError> {
    let mut walk = Walk::new(path, trusted);
    let mut line = Vec::with_capacity(4096);
    let (mut number, mut offset) = (0_u64, 0_u64);
    loop {
        line.clear();
        number += 1;
        let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let read = reader.by_ref().take(most).read_until(b'\n', &mut line).map_err(system("read", path))?;
        if read == 0 {
            break;
        }
        let judged = match line.strip_suffix(b"\n") {
            Some(line) => walk.record(line),
            None => torn(&mut walk, &line, &mut reader)?,
        };
        if let Err(fault) = judged {
            let seq = walk.next_seq;
            return Err(VerifyError::Bad(Box::new(BadRecord { path: path.to_owned(), line: number, seq, offset, fault })));
        }
        offset += u64::try_from(read).unwrap_or(u64::MAX);
    }
    Ok(walk.finish())
}

/// Judges what stands after the last line end; only zeros may follow what `line` holds of it.
fn torn(walk: &mut Walk<'_>, line: &[u8], reader: &mut impl BufRead) -> Result<Result<(), Fault>, FileError> {
    let mut more = 0_u64;
    loop {
        let block = reader.fill_buf().map_err(system("read", &walk.report.path))?;
        if block.is_empty() {
            break;
        }
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Err(Fault::TooLong));
        }
        let length = block.len();
        more += u64::try_from(length).unwrap_or(u64::MAX);
        reader.consume(length);
    }
    Ok(walk.torn(line, more))
}

/// Where in a run the walk is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing read yet.
    Begin,
    /// After a start that found an unclosed run: a recovery must follow, with this many unsigned records.
    Crashed(u64),
    /// After the start of a new file, which may follow a cut write that left no record.
    Fresh,
    Running,
    Stopped,
}

/// The state between two records.
struct Walk<'a> {
    trusted: &'a [PublicKey],
    next_seq: u64,
    group: u64,
    head: [u8; 32],
    key: Option<VerifyingKey>,
    /// Whether every record must carry a signature.
    every: bool,
    phase: Phase,
    /// Records since the last signature.
    unsigned: u64,
    run_decisions: u64,
    last_micros: u64,
    torn_bytes: u64,
    report: FileReport,
}

impl<'a> Walk<'a> {
    fn new(path: &Path, trusted: &'a [PublicKey]) -> Self {
        Self {
            trusted,
            next_seq: 0,
            group: 0,
            head: [0; 32],
            key: None,
            every: false,
            phase: Phase::Begin,
            unsigned: 0,
            run_decisions: 0,
            last_micros: 0,
            torn_bytes: 0,
            report: empty(path.to_owned()),
        }
    }

    /// Checks one line, without its line end.
    fn record(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let line = split(bytes).ok_or(Fault::NotARecord)?;
        let fields = fields(bytes).ok_or(Fault::NotARecord)?;
        if fields.v != 1 {
            return Err(Fault::Version(fields.v));
        }
        let hash: [u8; 32] = Sha256::new_with_prefix(line.prev).chain_update(line.body).finalize().into();
        if hash != line.hash {
            return Err(Fault::Hash);
        }
        if fields.seq != self.next_seq {
            return Err(Fault::Sequence(fields.seq));
        }
        let micros = parse_micros(fields.time).ok_or(Fault::NotARecord)?;
        if self.phase == Phase::Begin {
            self.head = first_prev(&fields)?;
        }
        if line.prev != self.head {
            return Err(Fault::Chain);
        }
        self.kind(&fields)?;
        if fields.group != self.group {
            return Err(Fault::Group { expected: self.group, found: fields.group });
        }
        self.signature(&line, fields.kind)?;
        self.count(&fields, micros, &line);
        Ok(())
    }

    /// Checks that this kind of record may stand here, and what it says about those before.
    fn kind(&mut self, fields: &Fields<'_>) -> Result<(), Fault> {
        let misplaced = || Err(Fault::Kind(fields.kind.to_owned()));
        match (fields.kind, self.phase) {
            ("start", phase) => return self.start(fields, phase),
            ("recovery", Phase::Crashed(expected)) => {
                let found = fields.unsigned.ok_or(Fault::NotARecord)?;
                if found != expected {
                    return Err(Fault::Recovery { expected, found });
                }
                self.recover(fields);
            }
            ("recovery", Phase::Fresh) => {
                if fields.unsigned != Some(0) {
                    return Err(Fault::Recovery { expected: 0, found: fields.unsigned.unwrap_or(0) });
                }
                self.recover(fields);
            }
            ("decision", Phase::Running | Phase::Fresh) => {
                let verdicts = &mut self.report.verdicts;
                match fields.decision {
                    Some("allow") => verdicts.allow += 1,
                    Some("redact") => verdicts.redact += 1,
                    Some("deny") => verdicts.deny += 1,
                    Some("monitor") => verdicts.monitor += 1,
                    _ => return Err(Fault::NotARecord),
                }
                self.run_decisions += 1;
                self.phase = Phase::Running;
            }
            ("event", Phase::Running | Phase::Fresh) => self.phase = Phase::Running,
            ("stop", Phase::Running | Phase::Fresh) => {
                let found = fields.decisions.ok_or(Fault::NotARecord)?;
                if found != self.run_decisions {
                    return Err(Fault::Count { expected: self.run_decisions, found });
                }
                self.phase = Phase::Stopped;
            }
            _ => return misplaced(),
        }
        Ok(())
    }

    fn start(&mut self, fields: &Fields<'_>, phase: Phase) -> Result<(), Fault> {
        // A signed start without its recovery would leave the unsigned records before it uncounted.
        let uncounted = matches!(phase, Phase::Crashed(unsigned) if unsigned > self.unsigned);
        if uncounted || phase != Phase::Begin && fields.continues.is_some() {
            return Err(Fault::Kind(fields.kind.to_owned()));
        }
        let text = fields.public_key.ok_or(Fault::NotARecord)?;
        let key = PublicKey::from_hex(text).filter(|key| self.trusted.contains(key));
        let key = key.ok_or_else(|| Fault::Key(text.to_owned()))?;
        let verifying = VerifyingKey::from_bytes(key.bytes()).map_err(|_| Fault::Key(text.to_owned()))?;
        self.phase = match phase {
            Phase::Begin => Phase::Fresh,
            Phase::Stopped => Phase::Running,
            Phase::Fresh | Phase::Running | Phase::Crashed(_) => {
                // The group the crash cut short was given up; a new one begins.
                self.group += u64::from(self.unsigned > 0);
                Phase::Crashed(self.unsigned)
            }
        };
        self.key = Some(verifying);
        self.every = match fields.sign {
            Some("every") => true,
            Some("group") => false,
            _ => return Err(Fault::NotARecord),
        };
        self.run_decisions = 0;
        self.report.runs += 1;
        self.report.key = Some(key);
        fields.durability.unwrap_or("unknown").clone_into(&mut self.report.durability);
        self.report.loss_window_ms = fields.loss_window_ms.unwrap_or(0);
        if let Some(continues) = &fields.continues {
            let hash = crate::bytes::unhex32(continues.hash.as_bytes()).ok_or(Fault::NotARecord)?;
            self.report.continues = Some(Continues { file: continues.file.clone(), seq: continues.seq, hash });
        }
        Ok(())
    }

    fn recover(&mut self, fields: &Fields<'_>) {
        self.report.recoveries += 1;
        self.report.unattested += fields.unsigned.unwrap_or(0);
        self.report.recovered_bytes += fields.torn_bytes.unwrap_or(0);
        self.phase = Phase::Running;
    }

    fn signature(&mut self, line: &Line<'_>, kind: &str) -> Result<(), Fault> {
        let Some(signature) = &line.signature else {
            // A stop ends its group, so the cut that takes its signature takes its line end too.
            if self.every || kind == "stop" {
                return Err(Fault::Signature);
            }
            self.unsigned += 1;
            return Ok(());
        };
        let key = self.key.as_ref().ok_or(Fault::Signature)?;
        key.verify_strict(&line.hash, &Signature::from_bytes(signature)).map_err(|_| Fault::Signature)?;
        self.unsigned = 0;
        self.group += 1;
        self.report.groups += 1;
        Ok(())
    }

    fn count(&mut self, fields: &Fields<'_>, micros: u64, line: &Line<'_>) {
        self.head = line.hash;
        self.next_seq += 1;
        self.report.records += 1;
        self.report.clock_steps += u64::from(micros.saturating_add(CLOCK_STEP) < self.last_micros);
        self.last_micros = micros;
        let stamp = Stamp { seq: fields.seq, time: fields.time.to_owned(), hash: line.hash };
        if self.report.first.is_none() {
            self.report.first = Some(stamp.clone());
        }
        self.report.last = Some(stamp);
    }

    /// Judges the bytes behind the last line end, which `more` zero bytes follow.
    fn torn(&mut self, bytes: &[u8], more: u64) -> Result<(), Fault> {
        let opening = format!("{{\"v\":1,\"seq\":{},", self.next_seq);
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let shared = written.min(opening.len());
        let fits = bytes.get(..shared) == opening.as_bytes().get(..shared);
        // A record is never as long as the line limit, so zeros beyond it begin before it.
        let only_zeros = more == 0 || written < bytes.len();
        if !fits || !only_zeros || !is_torn(bytes) {
            return Err(Fault::Trailing);
        }
        self.torn_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX).saturating_add(more);
        Ok(())
    }

    fn finish(mut self) -> FileReport {
        let closed = self.phase == Phase::Stopped && self.unsigned == 0 && self.torn_bytes == 0;
        self.report.ending = if closed {
            Ending::Closed
        } else {
            Ending::Open { unsigned: self.unsigned, torn_bytes: self.torn_bytes }
        };
        self.report
    }
}

/// The hash that the first record of a file must follow.
fn first_prev(fields: &Fields<'_>) -> Result<[u8; 32], Fault> {
    match &fields.continues {
        Some(continues) => crate::bytes::unhex32(continues.hash.as_bytes()).ok_or(Fault::NotARecord),
        None => Ok([0; 32]),
    }
}

fn empty(path: PathBuf) -> FileReport {
    FileReport {
        path,
        records: 0,
        verdicts: Verdicts::default(),
        groups: 0,
        runs: 0,
        recoveries: 0,
        recovered_bytes: 0,
        first: None,
        last: None,
        durability: String::new(),
        loss_window_ms: 0,
        ending: Ending::Open { unsigned: 0, torn_bytes: 0 },
        unattested: 0,
        clock_steps: 0,
        continues: None,
        key: None,
    }
}
