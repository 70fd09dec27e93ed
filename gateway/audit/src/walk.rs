//! The walk along one file: what each record must be, given those before it.
//!
//! Lines enter in order; the account of the file leaves, or the first fault. Only the last record's hash
//! and a few counts are carried from line to line.

use crate::files::{FileError, system};
use crate::key::PublicKey;
use crate::line::{Fields, Line, fields, is_torn, split};
use crate::record::MAX_LINE;
use crate::report::{BadRecord, Ending, Fault, FileReport, Stamp, Verdicts, VerifyError};
use crate::settings::Continues;
use crate::time::parse_micros;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

/// A step back of the wall clock that is reported, in microseconds.
const CLOCK_STEP: u64 = 5_000_000;

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
#[derive(Clone)]
pub(crate) struct Walk<'a> {
    trusted: &'a [PublicKey],
    /// Lines read, counting the one at hand.
    line: u64,
    /// Where the line at hand begins.
    offset: u64,
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
    pub(crate) fn new(path: &Path, trusted: &'a [PublicKey]) -> Self {
        Self {
            trusted,
            line: 0,
            offset: 0,
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

    /// Checks every line that `reader` gives.
    pub(crate) fn along(mut self, mut reader: impl BufRead) -> Result<FileReport, VerifyError> {
        let path = self.report.path.clone();
        let mut line = Vec::with_capacity(4096);
        let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        loop {
            line.clear();
            let read = reader
                .by_ref()
                .take(most)
                .read_until(b'\n', &mut line)
                .map_err(system("read", &path))?;
            if read == 0 {
                return Ok(self.finish());
            }
            self.line += 1;
            let judged = match line.strip_suffix(b"\n") {
                Some(line) => self.record(line),
                None => torn(&mut self, &line, &mut reader)?,
            };
            if let Err(fault) = judged {
                let Self {
                    line,
                    next_seq: seq,
                    offset,
                    ..
                } = self;
                return Err(VerifyError::Bad(Box::new(BadRecord {
                    path,
                    line,
                    seq,
                    offset,
                    fault,
                })));
            }
            self.offset += u64::try_from(read).unwrap_or(u64::MAX);
        }
    }

    /// Checks one line, without its line end.
    fn record(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let line = split(bytes).ok_or(Fault::NotARecord)?;
        let fields = fields(bytes).ok_or(Fault::NotARecord)?;
        if fields.v != 1 {
            return Err(Fault::Version(fields.v));
        }
        let hash: [u8; 32] = Sha256::new_with_prefix(line.prev)
            .chain_update(line.body)
            .finalize()
            .into();
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
            return Err(Fault::Group {
                expected: self.group,
                found: fields.group,
            });
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
                    return Err(Fault::Recovery {
                        expected: 0,
                        found: fields.unsigned.unwrap_or(0),
                    });
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
            ("event" | "seal", Phase::Running | Phase::Fresh) => self.phase = Phase::Running,
            ("stop", Phase::Running | Phase::Fresh) => {
                let found = fields.decisions.ok_or(Fault::NotARecord)?;
                if found != self.run_decisions {
                    return Err(Fault::Count {
                        expected: self.run_decisions,
                        found,
                    });
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
        let verifying =
            VerifyingKey::from_bytes(key.bytes()).map_err(|_| Fault::Key(text.to_owned()))?;
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
        fields
            .durability
            .unwrap_or("unknown")
            .clone_into(&mut self.report.durability);
        self.report.loss_window_ms = fields.loss_window_ms.unwrap_or(0);
        if let Some(continues) = &fields.continues {
            let hash = crate::bytes::unhex32(continues.hash.as_bytes()).ok_or(Fault::NotARecord)?;
            self.report.continues = Some(Continues {
                file: continues.file.clone(),
                seq: continues.seq,
                hash,
            });
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
        key.verify_strict(&line.hash, &Signature::from_bytes(signature))
            .map_err(|_| Fault::Signature)?;
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
        let stamp = Stamp {
            seq: fields.seq,
            time: fields.time.to_owned(),
            hash: line.hash,
        };
        if self.report.first.is_none() {
            self.report.first = Some(stamp.clone());
        }
        self.report.last = Some(stamp);
    }

    /// Judges the bytes behind the last line end, which `more` zero bytes follow.
    fn torn(&mut self, bytes: &[u8], more: u64) -> Result<(), Fault> {
        let opening = format!("{{\"v\":1,\"seq\":{},", self.next_seq);
        let written = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let shared = written.min(opening.len());
        let fits = bytes.get(..shared) == opening.as_bytes().get(..shared);
        // A record is never as long as the line limit, so zeros beyond it begin before it.
        let only_zeros = more == 0 || written < bytes.len();
        if !fits || !only_zeros || !is_torn(bytes) {
            return Err(Fault::Trailing);
        }
        self.torn_bytes = u64::try_from(bytes.len())
            .unwrap_or(u64::MAX)
            .saturating_add(more);
        Ok(())
    }

    fn finish(mut self) -> FileReport {
        let closed = self.phase == Phase::Stopped && self.unsigned == 0 && self.torn_bytes == 0;
        self.report.ending = if closed {
            Ending::Closed
        } else {
            Ending::Open {
                unsigned: self.unsigned,
                torn_bytes: self.torn_bytes,
            }
        };
        self.report
    }
}

/// Judges what stands after the last line end; only zeros may follow what `line` holds of it.
fn torn(
    walk: &mut Walk<'_>,
    line: &[u8],
    reader: &mut impl BufRead,
) -> Result<Result<(), Fault>, FileError> {
    let mut more = 0_u64;
    loop {
        let block = reader
            .fill_buf()
            .map_err(system("read", &walk.report.path))?;
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

/// The hash that the first record of a file must follow.
fn first_prev(fields: &Fields<'_>) -> Result<[u8; 32], Fault> {
    match &fields.continues {
        Some(continues) => {
            crate::bytes::unhex32(continues.hash.as_bytes()).ok_or(Fault::NotARecord)
        }
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
        ending: Ending::Open {
            unsigned: 0,
            torn_bytes: 0,
        },
        unattested: 0,
        clock_steps: 0,
        continues: None,
        key: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, entry};
    use crate::verify_reader;
    use crate::{Durability, Location, Log, Settings, SigningKey, Start};
    use std::time::{Duration, UNIX_EPOCH};

    /// A log of 200 records, in groups of several sizes.
    fn sample(key: &SigningKey) -> Vec<u8> {
        let scratch = Scratch::new();
        let mut settings = Settings::new(Location::File(scratch.path().join("a.jsonl")));
        settings.durability = Durability::Async {
            interval: Duration::from_millis(1),
        };
        let (log, _) = Log::open(
            &settings,
            key.clone(),
            &Start::new(UNIX_EPOCH, "test"),
            Box::new(|| {}),
        )
        .unwrap();
        for n in 0..198 {
            let _ = log.append(entry(n)).unwrap();
            if n % 9 == 0 {
                std::thread::sleep(Duration::from_millis(3));
            }
        }
        log.close().unwrap();
        std::fs::read(log.path()).unwrap()
    }

    /// Every byte of the log is changed in turn. The walk up to the line that holds it is made once: the
    /// verifier only looks forward.
    #[test]
    fn every_flipped_byte_is_seen() {
        let key = SigningKey::from_seed(&[5; 32]).unwrap();
        let trusted = [key.public()];
        let bytes = sample(&key);
        let whole = verify_reader(&*bytes, Path::new("log"), &trusted).unwrap();
        assert_eq!((whole.records, whole.ending), (200, Ending::Closed));
        assert!(whole.groups > 10);

        let mut walk = Walk::new(Path::new("log"), &trusted);
        let mut changed = bytes.clone();
        let mut start = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let last = start + line.len() == bytes.len();
            for at in start..start + line.len() {
                // One bit of each byte, another one each time; every value in the last line's last bytes.
                let masks = if last && at + 4 > bytes.len() {
                    1..=255
                } else {
                    1 << (at % 8)..=1 << (at % 8)
                };
                for mask in masks {
                    changed[at] = bytes[at] ^ mask;
                    match walk.clone().along(&changed[start..]) {
                        Err(VerifyError::Bad(bad)) => {
                            // A line end put in makes two bad lines of one; one taken out, one of two.
                            assert_eq!(
                                (bad.seq, bad.offset),
                                (walk.next_seq, walk.offset),
                                "byte {at} ^ {mask}"
                            );
                        }
                        other => panic!("byte {at} ^ {mask}: {other:?}"),
                    }
                    changed[at] = bytes[at];
                }
            }
            walk.record(line.strip_suffix(b"\n").unwrap()).unwrap();
            walk.line += 1;
            start += line.len();
            walk.offset = u64::try_from(start).unwrap();
        }
        assert_eq!(walk.finish(), whole);
    }
}
